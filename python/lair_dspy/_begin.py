"""Coroutines that begin before there is an event loop, and need one only if they have to wait.

A worker that runs one call at a time starts its loop anew for each awaitable that a command gives, with a
task, futures and a poll for whatever is awaited: several times what a short run costs besides its LM. What
only asks the host and DSPy can block instead, since nothing else runs meanwhile. So a command of such a
worker begins its coroutine at once, without a loop. Most come to their end that way; one that has to wait
says so by awaiting ``a_loop`` first, and goes on from there in a loop.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

import lair_worker

_NEEDS_A_LOOP = object()


def begun(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Its value, if it ends without a loop; else an awaitable for that. For commands that may await."""
    if lair_worker.context().concurrency != 1:
        return coroutine
    try:
        awaited = coroutine.send(None)
    except StopIteration as end:
        return end.value
    if awaited is not _NEEDS_A_LOOP:
        coroutine.close()
        raise RuntimeError(f"a command of lair_dspy waits for {awaited!r} where there is no event loop")
    return _Rest(coroutine)


class _Rest:
    """What is left of a coroutine that has begun."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def close(self) -> None:
        """It is not to go on."""
        self._coroutine.close()


@types.coroutine
def a_loop() -> Generator[Any, Any, None]:
    """To be awaited before anything that waits, in a coroutine that may have begun without a loop."""
    from asyncio import _get_running_loop

    if _get_running_loop() is None:
        yield _NEEDS_A_LOOP
