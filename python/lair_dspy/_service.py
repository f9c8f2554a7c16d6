"""What the commands do, once they know their scope. ``commands`` is their face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from lair_dspy import _compile, _evaluate, _lm, _metrics, _programs, _run, _saving, _session_lm, _stream
from lair_dspy._build import Built
from lair_dspy._dspy import need
from lair_dspy._errors import InvalidArgument
from lair_dspy._store import Scope


async def configure_lm(scope: Scope, given: dict[str, Any], check: bool) -> dict[str, Any]:
    """Settings into the store, after DSPy has taken them, and the endpoint too if that is asked for."""
    settings = _lm.settings_of(given)
    if check:
        lm = _lm.make(settings)
        try:
            with need().context(disable_history=True):
                await lm.acall("Say OK.", cache=False)
        except Exception as error:
            raise _run.failure(error) from None
    await _session_lm.write(scope, settings)
    return {
        "status": "configured",
        "model": given["model"],
        "provider": settings["provider"],
        "temperature": settings["temperature"],
        "lm": _lm.shown(settings),
        "scope": scope.name,
    }


async def create(scope: Scope, program_id: Any, given: dict[str, Any], replace: bool) -> dict[str, Any]:
    """A new program."""
    record = _programs.record_of(_programs.id_of(program_id), given)
    return created(scope, await _programs.create(scope, record, replace), "created")


def created(scope: Scope, built: Built, status: str) -> dict[str, Any]:
    """What is said of a program that has just come into the store."""
    record = built.record
    result = {"program_id": record["program_id"], "status": status, "scope": scope.name}
    result |= _programs.definition(record, built.signature)
    if not scope.durable:  # only this worker has it: the host can keep it and send it along
        result["program_data"] = _programs.data_of(record)
    return result


async def execute(run: _run.Run, inputs: Any, config: Any) -> dict[str, Any]:
    """One run, or one for each of the inputs of a parallel program."""
    if not run.blocks:
        await run.waits()
    result: dict[str, Any] = {"program_id": run.built.record["program_id"]}
    if run.built.program_type == "parallel":
        if not isinstance(inputs, list) or not inputs:
            raise InvalidArgument("the inputs of a parallel program are a list, with an object for each run")
        values = [inputs_of(run, each, config, f"inputs[{at}]") for at, each in enumerate(inputs)]
        async with run.counted(at_end=True):
            result["outputs"], result["errors"] = await _all(run, values)
    else:
        value = inputs_of(run, inputs, config)
        async with run.counted(at_end=True):
            with run.asks_no_other_lm().settings():
                result["outputs"] = run.answer(await run.ask(run.built.fresh(), value))
    return result | ended(run)


async def _all(run: _run.Run, values: list[dict[str, Any]]) -> tuple[list[Any], dict[str, str]]:
    places = asyncio.Semaphore(run.built.options["num_threads"])
    errors: dict[str, str] = {}

    async def one(at: int) -> Any:
        async with places:
            try:
                return run.answer(await run.ask(run.built.module, values[at]))
            except Exception as error:
                errors[str(at)] = str(_run.failure(error))
                return None

    with run.settings():
        tasks = [asyncio.ensure_future(one(at)) for at in range(len(values))]
        try:
            return list(await asyncio.gather(*tasks)), errors
        finally:
            for task in tasks:
                task.cancel()


def inputs_of(run: _run.Run, given: Any, config: Any, what: str = "inputs") -> dict[str, Any]:
    """A run's inputs, by identifier."""
    given = {} if given is None else given
    if run.signature is not None:
        values = run.signature.take_inputs(given, what)
    elif isinstance(given, dict):
        values = dict(given)
    else:
        raise InvalidArgument(f"{what} is an object of values by name, not {type(given).__name__}")
    if config is not None:
        if not isinstance(config, dict) or run.built.program_type not in (
            "predict",
            "chain_of_thought",
            "parallel",
        ):
            raise InvalidArgument(
                "config is an object of LM settings, for predict, chain_of_thought and parallel"
            )
        values["config"] = config
    return values


def ended(run: _run.Run) -> dict[str, Any]:
    """What every result of a run ends with."""
    found: dict[str, Any] = {
        "execution_time": run.seconds(),
        "usage": run.used,
        "lm_calls": run.lm_calls,
    }
    if run.keeps_history:
        found["history"] = run.history
    return found


async def stream(run: _run.Run, inputs: Any, fields: Any) -> AsyncIterator[dict[str, Any]]:
    """Tokens and steps, then the result."""
    if run.built.program_type == "parallel":
        raise InvalidArgument("a parallel program can't be streamed; stream the runs one by one")
    values = inputs_of(run, inputs, None)
    outputs = None
    async with run.counted():
        async with aclosing(_stream.items(run, run.built.fresh(), values, fields)) as items:
            async for item in items:
                if isinstance(item, dict):
                    yield item
                else:
                    outputs = run.answer(item)
        if outputs is None:
            run.answer(None)
    yield {"type": "result", "program_id": run.built.record["program_id"], "outputs": outputs, **ended(run)}


async def evaluate(
    run: _run.Run, examples: Any, metric: Any, num_threads: Any, offset: Any, outputs: bool
) -> dict[str, Any]:
    """Scores by example."""
    if type(num_threads) is not int or num_threads < 1:
        raise InvalidArgument(f"num_threads is a number from 1, not {num_threads!r}")
    if type(offset) is not int or offset < 0:
        raise InvalidArgument(f"offset is the index of the first example, not {offset!r}")
    measured = _metrics.metric_of(metric, run.signature)
    taken = _evaluate.examples_of(examples, run.signature, labels=_metrics.compares(metric))
    async with run.counted(at_end=True):
        with run.settings():
            found = await _evaluate.evaluate(run, taken, measured, num_threads, offset, outputs)
    return {"program_id": run.built.record["program_id"], **found, **ended(run)}


async def compile(
    run: _run.Run,
    optimizer: Any,
    trainset: Any,
    valset: Any,
    metric: Any,
    options: Any,
    save_as: Any,
    replace: bool,
) -> AsyncIterator[dict[str, Any]]:
    """Progress, then the compiled program, which takes the place of the other or has an id of its own."""
    record = run.built.record
    new_id = _programs.id_of(save_as) if save_as is not None else record["program_id"]
    train = _evaluate.examples_of(trainset, run.signature, "trainset", labels=False)
    val = None if valset is None else _evaluate.examples_of(valset, run.signature, "valset", labels=False)
    measured = _metrics.metric_of(metric, run.signature)
    compilation = _compile.Compilation(run, optimizer, options, measured, train, val)
    async with run.counted(), aclosing(compilation.progress(run.built.fresh().deepcopy())) as items:
        async for item in items:
            yield item
    told = compilation.told()
    kept = {name: value for name, value in record.items() if name != "demos"}
    new = {**kept, "program_id": new_id, "state": compilation.state(), "compiled": told}
    if run.use is None:  # the program came with the call, and goes back with it
        built = _programs.built_of("data", new)
    elif new_id == record["program_id"]:
        built = await _programs.update(run.scope, new)
    else:
        built = await _programs.create(run.scope, {**new, "created_at": _programs.now()}, replace)
    result = {"type": "result", **created(run.scope, built, "compiled"), "compiled": told, **ended(run)}
    if run.use is None:
        result["program_data"] = _programs.data_of(built.record)
    yield result


async def list_programs(scope: Scope) -> dict[str, Any]:
    """All programs of the scope."""
    programs = []
    for program_id in await _programs.ids(scope):
        built, use = await _programs.find(scope, program_id)
        programs.append(_programs.info(built, use))
    return {"programs": programs, "total_count": len(programs)}


async def delete(scope: Scope, program_id: Any) -> dict[str, Any]:
    """A program less."""
    await _programs.delete(scope, program_id)
    return {"program_id": program_id, "status": "deleted"}


async def info(scope: Scope, program_id: Any) -> dict[str, Any]:
    """All about one program."""
    built, use = await _programs.find(scope, program_id)
    return _programs.info(built, use)


async def save(scope: Scope, program_id: Any, program_data: Any) -> dict[str, Any]:
    """A program as JSON."""
    if program_data is not None:
        built = _programs.built_of_data(program_data, program_id)
    else:
        built, _ = await _programs.find(scope, program_id)
    return {"program_id": built.record["program_id"], "status": "saved", "saved": _saving.saved(built)}


async def load(
    scope: Scope, program_id: Any, saved: Any, state: Any, replace: bool, code: bool
) -> dict[str, Any]:
    """A program from JSON: ours, or DSPy's state for one that is there."""
    if (saved is None) == (state is None):
        raise InvalidArgument(
            "load_program takes either saved (of save_program) or dspy_state (of DSPy's save)"
        )
    if state is not None:
        return created(scope, await _saving.load_state(scope, program_id, state), "loaded")
    record = _saving.record_of_saved(saved, program_id, code)
    return created(scope, await _programs.create(scope, record, replace), "loaded")
