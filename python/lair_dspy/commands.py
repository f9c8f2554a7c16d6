"""The commands, with the names, arguments and results that users of the original pool know.

Everything is ``async def``, so that a worker runs as many calls at a time as its pool's ``concurrency``
says; ``ping`` has nothing to wait for, and ``execute_program`` often has not (``_begin``). What an argument
means is in docs/dspy.md.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import lair_worker
from lair_worker import command

from lair_dspy import _dspy, _programs, _run, _service, _session_lm, _store, _worker
from lair_dspy._begin import begun
from lair_dspy._store import scope
from lair_dspy._worker import told, told_stream


@command(may_await=True)
def ping(**_: Any) -> dict[str, Any]:
    """Says that the worker is there, and whether it has DSPy."""
    return {
        "status": "ok",
        "timestamp": time.time(),
        "dspy_available": _dspy.available(),
        "dspy_version": _dspy.dspy.__version__ if _dspy.available() else None,
        "gemini_available": _dspy.available(),  # one of DSPy's LMs, like all others
        "uptime": _worker.uptime(),
        "mode": _worker.mode(),
        "worker_id": lair_worker.context().worker_id,
    }


@command
async def get_stats(session_id: str | None = None) -> dict[str, Any]:
    """Counts this worker's commands and the programs of the session."""
    here = scope(session_id)
    return {
        "programs_count": len(await _programs.ids(here)),
        "command_count": _worker.commands,
        "error_count": _worker.errors,
        "uptime": _worker.uptime(),
        "memory_usage": _worker.memory_usage(),
        "dspy_available": _dspy.available(),
        "gemini_available": _dspy.available(),
        "lm_calls": _run.totals["lm_calls"],
        "usage": _run.totals["usage"],
    }


@command
async def configure_lm(
    model: str | None = None,
    api_key: str | None = None,
    temperature: float | None = 0.7,
    provider: str | None = None,
    session_id: str | None = None,
    check: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Sets the LM of the session, or without one of this worker's calls that have none."""
    given = {"model": model, "api_key": api_key, "provider": provider, **settings}
    if temperature != 0.7:  # the default gives way where a model takes none
        given["temperature"] = temperature
    return await told(_service.configure_lm(scope(session_id), given, check))


@command
async def create_program(
    id: str | None = None,
    signature: Any = None,
    program_type: str = "predict",
    use_dynamic_signature: Any = None,
    session_id: str | None = None,
    instructions: str | None = None,
    models: dict[str, Any] | None = None,
    demos: list[Any] | None = None,
    tools: list[Any] | None = None,
    options: dict[str, Any] | None = None,
    lm: dict[str, Any] | None = None,
    adapter: str | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Declares a program."""
    given = {
        "signature": signature, "program_type": program_type, "instructions": instructions, "models": models,
        "demos": demos, "tools": tools, "options": options, "lm": lm, "adapter": adapter,
    }  # fmt: skip
    return await told(_service.create(scope(session_id), id, given, replace))


@command(may_await=True)
def execute_program(
    program_id: str | None = None,
    inputs: Any = None,
    program_data: dict[str, Any] | None = None,
    session_id: str | None = None,
    lm: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    history: bool = False,
) -> Any:
    """Runs a program."""

    async def run() -> dict[str, Any]:
        opened = await _run.opened(scope(session_id), program_id, program_data, lm, history)
        return await _service.execute(opened, inputs, config)

    return begun(told(run()))


@command
async def stream_program(
    program_id: str | None = None,
    inputs: Any = None,
    program_data: dict[str, Any] | None = None,
    session_id: str | None = None,
    lm: dict[str, Any] | None = None,
    fields: list[str] | None = None,
    history: bool = False,
) -> AsyncIterator[dict[str, Any]]:
    """Runs a program and gives its outputs token by token."""

    async def run() -> AsyncIterator[dict[str, Any]]:
        opened = await _run.opened(scope(session_id), program_id, program_data, lm, history)
        async with aclosing(_service.stream(opened, inputs, fields)) as items:
            async for item in items:
                yield item

    async with aclosing(told_stream(run())) as items:
        async for item in items:
            yield item


@command
async def evaluate_program(
    program_id: str | None = None,
    examples: list[Any] | None = None,
    metric: Any = None,
    num_threads: int = 8,
    offset: int = 0,
    outputs: bool = False,
    program_data: dict[str, Any] | None = None,
    session_id: str | None = None,
    lm: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Scores a program on examples."""

    async def run() -> dict[str, Any]:
        opened = await _run.opened(scope(session_id), program_id, program_data, lm)
        return await _service.evaluate(opened, examples, metric, num_threads, offset, outputs)

    return await told(run())


@command
async def compile_program(
    program_id: str | None = None,
    optimizer: str = "BootstrapFewShot",
    trainset: list[Any] | None = None,
    valset: list[Any] | None = None,
    metric: Any = None,
    options: dict[str, Any] | None = None,
    save_as: str | None = None,
    replace: bool = False,
    program_data: dict[str, Any] | None = None,
    session_id: str | None = None,
    lm: dict[str, Any] | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """Has an optimizer improve a program, and says how far it is."""

    async def run() -> AsyncIterator[dict[str, Any]]:
        opened = await _run.opened(scope(session_id), program_id, program_data, lm)
        compiling = _service.compile(opened, optimizer, trainset, valset, metric, options, save_as, replace)
        async with aclosing(compiling) as items:
            async for item in items:
                yield item

    async with aclosing(told_stream(run())) as items:
        async for item in items:
            yield item


@command
async def list_programs(session_id: str | None = None) -> dict[str, Any]:
    """All programs of the session, or of this worker without one."""
    return await told(_service.list_programs(scope(session_id)))


@command
async def delete_program(program_id: str | None = None, session_id: str | None = None) -> dict[str, Any]:
    """Removes a program."""
    return await told(_service.delete(scope(session_id), program_id))


@command
async def get_program_info(program_id: str | None = None, session_id: str | None = None) -> dict[str, Any]:
    """Describes a program."""
    return await told(_service.info(scope(session_id), program_id))


@command
async def save_program(
    program_id: str | None = None, session_id: str | None = None, program_data: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Gives a program as JSON, to keep and to load."""
    return await told(_service.save(scope(session_id), program_id, program_data))


@command
async def load_program(
    program_id: str | None = None,
    saved: dict[str, Any] | None = None,
    dspy_state: dict[str, Any] | None = None,
    session_id: str | None = None,
    replace: bool = False,
    allow_code: bool = False,
) -> dict[str, Any]:
    """Takes a saved program, or DSPy's own state of one that is there."""
    return await told(_service.load(scope(session_id), program_id, saved, dspy_state, replace, allow_code))


@command
async def list_optimizers() -> dict[str, Any]:
    """The optimizers of the installed DSPy."""
    from lair_dspy._compile import optimizers

    _dspy.need()
    return {"optimizers": sorted(optimizers())}


# --- ends ---------------------------------------------------------------------------------------------


@command
async def cleanup(session_id: str | None = None) -> dict[str, Any]:
    """Removes the programs of the session, or of this worker without one, and what has been built of all."""

    async def run() -> dict[str, Any]:
        removed = await _programs.delete_all(scope(session_id))
        _programs.forget_all()
        _session_lm.forget_all()
        _store.forget_remembered()
        return {"status": "cleaned", "programs_removed": removed, "objects_collected": gc.collect()}

    return await told(run())


@command
async def cleanup_session(session_id: str | None = None) -> dict[str, Any]:
    """Removes a session's programs and LM; the host has it called when a session ends."""

    async def run() -> dict[str, Any]:
        here = scope(session_id)
        removed = await _programs.delete_all(here)
        await _session_lm.remove(here)
        _store.forget(here.session_id)
        return {"status": "cleaned", "session_id": here.session_id, "programs_removed": removed}

    return await told(run())


@command
async def reset_state(session_id: str | None = None) -> dict[str, Any]:
    """Removes programs and LM of the session, or of this worker without one; counters start over."""

    async def run() -> dict[str, Any]:
        here = scope(session_id)
        cleared = await _programs.delete_all(here)
        await _session_lm.remove(here)
        commands, errors = _worker.reset()
        return {
            "status": "reset",
            "programs_cleared": cleared,
            "commands_reset": commands,
            "errors_reset": errors,
        }

    return await told(run())


# --- one vendor's, as they were called ----------------------------------------------------------------


@command
async def create_gemini_program(
    id: str | None = None,
    signature: Any = None,
    model: str = "gemini-2.5-flash",
    program_type: str = "predict",
    session_id: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """create_program with a Gemini model of its own."""
    lm = {"model": model, "provider": "google", **(more.pop("lm", None) or {})}
    given = {"signature": signature, "program_type": program_type, "lm": lm, **more}
    return await told(_service.create(scope(session_id), id, given, bool(more.pop("replace", False))))


@command
async def execute_gemini_program(
    program_id: str | None = None,
    inputs: Any = None,
    program_data: dict[str, Any] | None = None,
    session_id: str | None = None,
    lm: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """execute_program, with the LM's text as it came."""

    async def run() -> dict[str, Any]:
        opened = await _run.opened(scope(session_id), program_id, program_data, lm, history=True)
        result = await _service.execute(opened, inputs, None)
        outputs = result.pop("history")[-1:]
        return {
            **result,
            "raw_response": outputs[0]["outputs"][0] if outputs and outputs[0]["outputs"] else None,
        }

    return await told(run())
