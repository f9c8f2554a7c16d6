"""``context().session``: what a session's calls share. Loaded by the first call that belongs to one.

``shared`` is in the host's store, and reached by callbacks: the host takes the session from the call, so only
a call of the session can reach it. ``local`` is a dict of this process. Its sessions are *lasting* (strict or
exclusive: all their calls come here), and ``Sessions`` remembers those of them that somebody would miss:
those that have a ``local``, and, where there are ``on_session_end`` functions, all that have been here.
Nothing is kept for a session that prefers a worker: its next call may be served by another.

The host runs the calls of one session one after another, so no two threads are in one session at a time, and
the table needs no lock beyond the GIL.
"""

from __future__ import annotations

from lair_worker import _context, _registry
from lair_worker._cancel import Cancelled
from lair_worker._shared import Shared
from lair_worker._signals import Terminated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from lair_worker._context import Context

CLEANUP = "cleanup_session"  # the command by which the host says that a session has ended

_LASTING = ("strict", "exclusive")


class Session:
    """One opening of a session: it is opened anew under another number."""

    __module__ = "lair_worker"
    __slots__ = ("_local", "_sessions", "_state", "affinity", "id", "number")

    id: str
    number: int | None
    affinity: str | None

    def __init__(self, sessions: Sessions, id: str, number: int | None, affinity: str | None) -> None:
        self._sessions = sessions
        self._local: dict[str, Any] | None = None
        self._state = ""  # then "ending", then "ended"
        self.id = id
        self.number = number  # unique in its pool, and only grows; None where the host gives none
        self.affinity = affinity  # "prefer", "strict" or "exclusive"; None where the host gives none

    @property
    def shared(self) -> Shared:
        """Values that the host keeps for the session, wherever its next call is served."""
        return Shared(self)

    @property
    def local(self) -> dict[str, Any]:
        """Any objects, in this process, until the session ends. Of strict and exclusive sessions only."""
        found = self._local
        return self._first_local() if found is None else found

    def runs(self) -> bool:
        """Whether a call of this session runs here, in the caller's context."""
        call = _context.current.get()
        if call is None:
            return False
        meta = call.meta
        if meta.get("session_number") == self.number is not None and meta.get("session") == self.id:
            return True
        return identity_of(meta)[:2] == (self.id, self.number)

    def _first_local(self) -> dict[str, Any]:
        if self.number is None:
            raise RuntimeError(
                f"session.local of {self.id!r}: the host doesn't say that all calls of the session come to "
                "this worker (it speaks protocol 1, or is too old): keep what the session needs with the host"
            )
        if self.affinity not in _LASTING:
            raise RuntimeError(
                f"session.local of {self.id!r}: the session's affinity is {self.affinity!r}, so another "
                "worker may serve its next call: keep values in session.shared, or open it as 'strict'"
            )
        if self._state != "ending":
            if self._state or not self.runs():
                raise RuntimeError(
                    f"session.local of {self.id!r} (number {self.number}): the session has ended here, or "
                    "none of its calls runs in this thread: take context().session in each call"
                )
            known = self._sessions.known.setdefault(self.id, self)
            if known.number != self.number:
                raise RuntimeError(
                    f"session.local of {self.id!r} (number {self.number}): the session has ended, and been "
                    f"opened anew as number {known.number}"
                )
            if known is not self:
                return known.local
        self._local = {}
        return self._local

    def end(self, report: Callable[[BaseException, Session], Any] | None = None) -> None:
        """Runs the ``on_session_end`` functions, all of them, and drops ``local``.

        Their exceptions are reported. Raises Cancelled or Terminated, at the end, if one has come.
        """
        due: BaseException | None = None
        self._state = "ending"
        for hook in self._sessions.hooks:
            try:
                hook(self)
            except (Cancelled, Terminated) as error:
                due = error
            except BaseException as error:
                (report or _report)(error, self)
        self._state = "ended"
        local, self._local = self._local, None
        if local is not None:
            local.clear()
        if due is not None:
            raise due

    def __repr__(self) -> str:
        what = "no number" if self.number is None else f"number {self.number}, {self.affinity}"
        return f"<lair_worker.Session {self.id!r}, {what}>"


class Sessions:
    """The sessions that a worker remembers, by id; of each id only the one with the highest number lives."""

    def __init__(self, hooks: list[Callable[[Session], Any]]) -> None:
        self.hooks = hooks
        self.known: dict[str, Session] = {}

    def of(self, call: Context) -> Session | None:
        """The session that a call belongs to."""
        if call.meta.get("session") is None:
            return None
        id, number, affinity = identity_of(call.meta)
        known = self.known.get(id)
        if known is not None and known.number == number:
            return known
        return Session(self, id, number, affinity)

    def enter(self, call: Context) -> Session | None:
        """A numbered call begins: remembers its session. Gives one of an older number, which this ends.

        Every call of a session comes through here.
        """
        known = self.known
        if not known and not self.hooks:
            return None
        id, number, affinity = identity_of(call.meta)
        if number is None:
            return None
        before = known.get(id)
        if before is not None and before.number >= number:  # type: ignore[operator]
            return None
        if before is not None:
            del known[id]
        if self.hooks and affinity in _LASTING and call.command != CLEANUP:
            known[id] = Session(self, id, number, affinity)
        return before

    def leave(self, call: Context) -> Session | None:
        """The session that the call, a ``cleanup_session``, has ended, if there is anything to be done."""
        id, number, affinity = identity_of(call.meta)
        if number is None:
            return None
        known = self.known.get(id)
        if known is not None and known.number == number:
            return self.known.pop(id)
        if self.hooks and affinity not in _LASTING:
            return Session(self, id, number, affinity)
        return None

    def end_by_id(self, id: str) -> None:
        """Ends a session of which the host says no more than that."""
        session = self.known.pop(id, None)
        if session is None and self.hooks:
            session = Session(self, id, None, None)
        if session is not None:
            session.end()

    def end_all(self, report: Callable[[BaseException, Session], Any] | None = None) -> None:
        """The worker ends, and with it all sessions that it remembers. In the order of their opening."""
        while self.known:
            first = min(self.known.values(), key=lambda session: session.number or 0)
            del self.known[first.id]
            first.end(report)


def identity_of(meta: dict[str, Any]) -> tuple[str, int | None, str | None]:
    """Id, number and affinity of the session that a CALL names."""
    id, number, affinity = meta.get("session"), meta.get("session_number"), meta.get("affinity")
    if type(id) is not str:
        return str(id), None, None
    if type(number) is not int or number <= 0:
        return id, None, None
    return id, number, affinity if type(affinity) is str else "prefer"


def _report(error: BaseException, session: Session) -> None:
    """On stderr: nobody waits for more than the session's end."""
    from lair_worker import _errors
    from lair_worker._channel import say

    failure = _errors.from_exception(error)
    say(f"an on_session_end function failed for session {session.id!r}:\n{failure.traceback.rstrip()}")


# Of this process; lair_worker.testing puts its own in the place while it runs a command.
sessions = Sessions(_registry.session_hooks)


def of(call: Context) -> Session | None:
    """The session that a call belongs to."""
    return sessions.of(call)
