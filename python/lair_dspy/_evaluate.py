"""A program on a slice of a data set: the score of each example.

The host spreads a data set over its workers by giving each a slice; ``offset`` makes the indices those of the
whole. Here the slice's examples run at the same time, ``num_threads`` of them.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

from lair_dspy import _metrics, _run
from lair_dspy._dspy import need
from lair_dspy._errors import InvalidArgument
from lair_dspy._signature import Signature


def examples_of(
    given: Any, signature: Signature | None, what: str = "examples", labels: bool = True
) -> list[Any]:
    """dspy.Example of each. InvalidArgument and InvalidInputs name the example that is wrong."""
    dspy = need()
    if not isinstance(given, list) or not given:
        raise InvalidArgument(f"{what} is a list of at least one example")
    if signature is None:
        raise InvalidArgument("the program has no signature that tells inputs from outputs")
    found = []
    for at, each in enumerate(given):
        place = f"{what}[{at}]"
        if not isinstance(each, dict):
            raise InvalidArgument(f"{place} is an object, not {type(each).__name__}")
        nested = set(each) <= {"inputs", "outputs"} and isinstance(each.get("inputs"), dict)
        flat = {**each["inputs"], **(each.get("outputs") or {})} if nested else each
        own = {
            name: value
            for name, value in flat.items()
            if signature.mapping.get(name, name) in _inputs(signature)
        }
        rest = {signature.mapping.get(name, name): value for name, value in flat.items() if name not in own}
        inputs = signature.take_inputs(own, place)
        if labels and not rest:
            raise InvalidArgument(f"{place} has none of the outputs {', '.join(signature.outputs)}")
        found.append(dspy.Example(**inputs, **rest).with_inputs(*inputs))
    return found


def _inputs(signature: Signature) -> set[str]:
    return {signature.mapping[name] for name in signature.inputs}


async def evaluate(
    run: _run.Run, examples: list[Any], metric: Any, num_threads: int, offset: int, outputs: bool
) -> dict[str, Any]:
    """Runs and scores them. An example that fails scores 0 and says why; the others go on."""
    places = asyncio.Semaphore(num_threads)

    async def one(at: int, example: Any) -> dict[str, Any]:
        async with places:
            started = time.monotonic()
            found: dict[str, Any] = {"index": offset + at, "score": 0.0}
            try:
                prediction = await run.ask(run.built.fresh(), dict(example.inputs()), one_of_many=True)
                answer = run.answer(prediction)
                if outputs:
                    found["outputs"] = answer
                found["score"], feedback = await _score(run, metric, example, prediction)
                if feedback is not None:
                    found["feedback"] = feedback
            except Exception as error:
                failed = _run.failure(error)
                found["error"] = f"{type(failed).__name__}: {failed}"
            found["seconds"] = round(time.monotonic() - started, 6)
            return found

    tasks = [asyncio.ensure_future(one(at, example)) for at, example in enumerate(examples)]
    try:
        results = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    scores = [each["score"] for each in results]
    return {
        "score": round(100 * sum(scores) / len(scores), 2),
        "total": sum(scores),
        "count": len(scores),
        "errors": sum("error" in each for each in results),
        "scores": scores,
        "results": results,
    }


async def _score(run: _run.Run, metric: Any, example: Any, prediction: Any) -> tuple[float, str | None]:
    if getattr(metric, "blocks", False):
        found = await run.in_thread(lambda: metric(example, prediction))
    else:
        found = metric(example, prediction)
    if inspect.isawaitable(found):
        found = await found
    return _metrics.number(found)
