"""Where programs and LM settings live: as data, in the session's store if the call has a session.

A call without a session, or from a host that keeps no sessions, has a drawer in this process, by the
session's id. It is as good as the worker: its end is theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import lair_worker

from lair_dspy._errors import InvalidArgument

# PROGRAM and LM are read by the C++ half, too, to evaluate (src/dspy/evaluate.cpp).
PROGRAM = "dspy/program/"  # + id: the program's data
USE = "dspy/use/"  # + id: their version, and how often the program has run
LM = "dspy/lm"  # the session's LM

_MOST_DRAWERS = 1000
_drawers: dict[str | None, dict[str, Any]] = {}

# Uses, which every run needs, as this worker has last seen them: for each opening of a session, with the
# number of changes that the host had counted then. They hold for a call that comes with the same number.
_MOST_REMEMBERED = 256
_MOST_USES = 64  # of each
_remembered: OrderedDict[Any, tuple[int, dict[str, Any]]] = OrderedDict()


class Scope:
    """The store of one call's session; or of the worker, where ``session`` is None.

    The calls of a session run one after another, so that reading and then writing is safe.
    """

    def __init__(self, session_id: str | None, session: Any) -> None:
        self.session_id = session_id
        self.durable = session is not None
        # What tells this session from all others, also from an earlier one of the same id.
        self.key: Any = ("session", session.number) if session is not None else ("worker", session_id)
        self._shared = session.shared if session is not None else None
        self._drawer: dict[str, Any] = {}
        self._known: dict[str, Any] | None = None  # uses that hold; None: the host doesn't count
        if session is not None:
            changes = getattr(self._shared, "changes", None)
            if changes is not None:
                found = _remembered.get(self.key)
                self._known = found[1] if found is not None and found[0] == changes else {}
        else:
            self._drawer = _drawers.setdefault(session_id, {})
            if len(_drawers) > _MOST_DRAWERS:
                del _drawers[next(each for each in _drawers if each not in (None, session_id))]

    @property
    def name(self) -> str:
        """For results: ``session`` or ``worker``."""
        return "session" if self.session_id is not None else "worker"

    async def get(self, key: str) -> Any:
        """The value, or None."""
        if self._shared is None:
            return self._drawer.get(key)
        if self._known is not None and (known := self._known.get(key)) is not None:
            return dict(known)
        value = await _value(self._shared.get(key))
        self._remember(key, value)
        return value

    async def put(self, key: str, value: Any, at_end: bool = False) -> None:
        """Sets the value; ``at_end``: with the call's end, for a call that does nothing more with it."""
        if self._shared is None:
            self._drawer[key] = value
            return
        put = self._shared.put
        if at_end:
            put = getattr(self._shared, "put_at_end", put)
        await self._changed(put, key, value)
        self._remember(key, value)

    async def delete(self, key: str) -> bool:
        """Whether there was one."""
        if self._shared is None:
            return self._drawer.pop(key, None) is not None
        found = bool(await self._changed(self._shared.delete, key))
        self._remember(key, None)
        return found

    async def keys(self, prefix: str) -> list[str]:
        """Those that begin with the prefix, sorted."""
        if self._shared is None:
            return sorted(key for key in self._drawer if key.startswith(prefix))
        return list(await _value(self._shared.keys(prefix)))

    async def _changed(self, change: Callable[..., Any], *args: Any) -> Any:
        """What the store says of a change. Where it says nothing, nothing is remembered any more."""
        known, self._known = self._known, None
        value = await _value(change(*args))
        self._known = known
        return value

    def _remember(self, key: str, value: Any) -> None:
        """What the store has under a key now."""
        known = self._known
        if known is None:
            return
        if not key.startswith(USE):
            pass
        elif isinstance(value, dict):
            known[key] = dict(value)
            if len(known) > _MOST_USES:
                del known[next(iter(known))]
        else:
            known.pop(key, None)
        changes = self._shared.changes
        before = _remembered.get(self.key)
        if before is not None and before[0] > changes:
            return  # of a later call: this one is over for its caller
        _remembered[self.key] = changes, known
        _remembered.move_to_end(self.key)
        while len(_remembered) > _MOST_REMEMBERED:
            _remembered.popitem(last=False)


async def _value(answer: Any) -> Any:
    """What the host's store has said: to be awaited within an event loop, else it is there already."""
    return await answer if hasattr(type(answer), "__await__") else answer


def current_session() -> Any:
    """The running call's session with a store, or None: there may be no session, or a host without stores."""
    session = getattr(lair_worker.context(), "session", None)
    return session if getattr(session, "number", None) else None


def scope(session_id: str | None = None) -> Scope:
    """The running call's scope. ``session_id`` is the original's way to say it, for calls that have none."""
    own = lair_worker.context().session_id
    if session_id is not None and own is not None and session_id != own:
        raise InvalidArgument(f"the call belongs to the session {own!r}, and session_id says {session_id!r}")
    return Scope(own if own is not None else session_id, current_session())


def forget_remembered() -> None:
    """Drops what is remembered of all sessions."""
    _remembered.clear()


def forget(session_id: str | None) -> int:
    """Empties a drawer; how many programs were in it."""
    drawer = _drawers.pop(session_id, {})
    return sum(key.startswith(PROGRAM) for key in drawer)
