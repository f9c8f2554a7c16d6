"""What a running command can ask about its call."""

from __future__ import annotations

from _contextvars import ContextVar
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._session import Session


class Identity:
    """Who this worker is; set once, at the start."""

    __slots__ = ("concurrency", "generation", "slot", "worker_id")

    def __init__(self) -> None:
        self.worker_id: str | None = None
        self.slot: int | None = None
        self.generation: int | None = None
        self.concurrency = 1


identity = Identity()


class Context:
    """One call: its command, deadline and session, and the worker that runs it.

    Built for every call, so it keeps what came with the call as it came and works out the rest when asked.
    """

    __slots__ = (
        "_received", "_session", "changed", "command", "hit", "meta", "number", "owed", "shields", "task",
        "told",
    )  # fmt: skip

    # The SDK's own; all but the first are left empty until a call needs them.
    number: int  # of the call on the wire
    _session: Session | None
    hit: bool  # it is cancelled
    shields: int  # how many of them it is in
    owed: bool  # it is to raise Cancelled at the end of the outermost shield
    task: Any  # how to cancel it, where that is not just raised in the main thread
    told: list[Any]  # for the host's store, to go before the last frame
    changed: int  # how many changes it has made there, or will have

    def __init__(self, command: str, meta: dict[str, Any], received: float, number: int = 0) -> None:
        self.command = command
        self.meta = meta
        self._received = received
        self.number = number

    @property
    def worker_id(self) -> str | None:
        """The worker's name, for example ``text-0-1``; None when the host gave none."""
        return identity.worker_id

    @property
    def slot(self) -> int | None:
        """The worker's place in its pool; None outside a Lair pool."""
        return identity.slot

    @property
    def generation(self) -> int | None:
        """Counts the workers that have held the slot; None outside a Lair pool."""
        return identity.generation

    @property
    def concurrency(self) -> int:
        """How many calls at a time the worker may be given: 1 unless pool and commands allow more."""
        return identity.concurrency

    @property
    def session_id(self) -> str | None:
        """The session that the call belongs to, if any."""
        return self.meta.get("session")

    @property
    def session(self) -> Session | None:
        """What the calls of its session share; None for a call that belongs to none."""
        if self.meta.get("session") is None:
            return None
        try:
            return self._session
        except AttributeError:
            from lair_worker import _session

            self._session = _session.of(self)
            return self._session

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that came with the call, if any."""
        return self.meta.get("traceparent")

    @property
    def deadline(self) -> float | None:
        """When the host stops waiting, on the clock of ``time.monotonic()``; None for no deadline."""
        ms = self.meta.get("ms")
        return self._received + ms / 1000 if isinstance(ms, (int, float)) else None

    def remaining(self) -> float | None:
        """Seconds until the deadline, never below 0; None for no deadline."""
        deadline = self.deadline
        return None if deadline is None else max(0.0, deadline - monotonic())

    def cancelled(self) -> bool:
        """Whether the caller has cancelled the call, which one that is in a shield may want to know."""
        return getattr(self, "hit", False)

    def __repr__(self) -> str:
        return f"<lair_worker.Context of {self.command!r}, session {self.session_id!r}>"


current: ContextVar[Context | None] = ContextVar("lair_worker.current", default=None)


def context() -> Context:
    """The call that is running. LookupError outside a command (and in a thread that a command started)."""
    found = current.get()
    if found is None:
        raise LookupError("lair_worker.context(): no command is running in this thread")
    return found
