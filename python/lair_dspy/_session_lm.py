"""The LM of a session: in its store, and remembered here so that a run need not ask for it.

A program's use, which each run reads anyway, names the LM's settings that were the session's at its last run,
by their fingerprint. Where this worker remembers those it need not read them. So whoever changes the LM makes
all uses forget it first: a worker that dies in between leaves uses that name none, and the next run reads
what there is. What is remembered belongs to one opening of one session (``Scope.key``).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from lair_dspy._lm import Settings
from lair_dspy._store import LM, USE, Scope

_MOST = 256
_NAMED = "lm"  # in a use

_known: OrderedDict[Any, Settings] = OrderedDict()


async def read(scope: Scope, use: dict[str, Any] | None = None) -> Settings | None:
    """The session's LM, if it has one. ``use`` is the program's, and written after the run."""
    if not scope.durable:
        found = await scope.get(LM)
        return None if found is None else Settings(found)
    known = _known.get(scope.key)
    if known is not None and use is not None and use.get(_NAMED) == known.key:
        _known.move_to_end(scope.key)
        return known
    found = await scope.get(LM)
    if found is None:
        forget(scope)
        return None
    settings = _known[scope.key] = Settings(found)
    _known.move_to_end(scope.key)
    while len(_known) > _MOST:
        _known.popitem(last=False)
    if use is not None:
        use[_NAMED] = settings.key
    return settings


async def write(scope: Scope, settings: dict[str, Any]) -> None:
    """Sets it."""
    await _unname(scope)
    await scope.put(LM, settings)


async def remove(scope: Scope) -> None:
    """There is none any more."""
    await _unname(scope)
    await scope.delete(LM)


def forget(scope: Scope) -> None:
    """Drops what is remembered here."""
    _known.pop(scope.key, None)


def forget_all() -> None:
    """Drops what is remembered of all sessions."""
    _known.clear()


async def _unname(scope: Scope) -> None:
    forget(scope)
    if not scope.durable:
        return
    for key in await scope.keys(USE):
        use = await scope.get(key)
        if use is not None and use.pop(_NAMED, None) is not None:
            await scope.put(key, use)
