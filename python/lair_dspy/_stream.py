"""A program's answer while it is made: tokens of its outputs, steps of agents, then the result.

DSPy's listeners know which token belongs to which field. The program runs in a task of its own, whose
settings nobody else sees; if the stream is closed early, the task is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lair_dspy._dspy import need
from lair_dspy._errors import InvalidArgument, among
from lair_dspy._run import Run

_MOST_AHEAD = 64  # items, until the program waits for its reader


async def items(run: Run, module: Any, inputs: dict[str, Any], fields: Any) -> AsyncIterator[Any]:
    """``{"type": "token" | "status", ...}``, and at last the prediction itself."""
    listeners = _listeners(run, module, fields)
    queue: asyncio.Queue[Any] = asyncio.Queue(_MOST_AHEAD)
    task = asyncio.create_task(_produce(run, module, inputs, listeners, queue))
    try:
        while True:
            kind, value = await queue.get()
            if kind == "end":
                break
            yield value
        await task  # raises what the program has raised
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _produce(run: Run, module: Any, inputs: dict[str, Any], listeners: list[Any], queue: Any) -> None:
    dspy = need()
    try:
        with run.settings():
            streamed = dspy.streamify(
                module,
                stream_listeners=listeners,
                status_message_provider=_statuses(),
                include_final_prediction_in_output_stream=True,
                is_async_program=run.built.awaits,
            )
            async for item in streamed(**inputs):
                await queue.put(("item", _told(run, item)))
    finally:
        await queue.put(("end", None))


def _told(run: Run, item: Any) -> Any:
    from dspy.streaming.messages import StatusMessage, StreamResponse

    if isinstance(item, StreamResponse):
        name = item.signature_field_name
        originals = run.signature.originals if run.signature else {}
        return {
            "type": "token",
            "field": originals.get(name, name),
            "text": item.chunk if isinstance(item.chunk, str) else str(item.chunk),
            "predictor": item.predict_name,
            "last": bool(item.is_last_chunk),
        }
    if isinstance(item, StatusMessage):
        return {"type": "status", "message": item.message}
    return item  # the prediction


def _listeners(run: Run, module: Any, fields: Any) -> list[Any]:
    """One for each output field of each predictor, or of those that are asked for."""
    dspy = need()
    predictors = run.built.predictors
    mapping = run.signature.mapping if run.signature else {}
    known = {field for each in predictors.values() for field in each.signature.output_fields}
    wanted = known
    if fields is not None:
        if not isinstance(fields, list):
            raise InvalidArgument("fields is a list of output fields")
        wanted = {mapping.get(field, field) for field in fields}
        for field in fields:
            if mapping.get(field, field) not in known:
                raise InvalidArgument(f"there is no output {field!r}" + among(field, known))
    return [
        dspy.streaming.StreamListener(field, predict=each, predict_name=name, allow_reuse=True)
        for name, each in module.named_predictors()
        for field in each.signature.output_fields
        if field in wanted
    ]


def _statuses() -> Any:
    from dspy.streaming.messages import StatusMessageProvider

    class Statuses(StatusMessageProvider):
        """Says which tool is called. LM calls show by their tokens."""

        def tool_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
            return None if instance.name == "finish" else f"calling {instance.name}"

        def tool_end_status_message(self, outputs: Any) -> str | None:
            return None

    return Statuses()
