"""Cancelling the call that runs: the frame is the truth, a signal is only the doorbell.

The handler of the signal is a Python function, so it runs in the main thread between two bytecodes, and also
interrupts sleeps and waits for I/O. It reads what has come, without blocking, and raises ``Cancelled`` only
if there is a CANCEL for the very call that runs. It never raises in the SDK's own code: a call is *armed*
from the moment that its command is entered to the moment that it has returned, except while it is inside the
SDK. A bell that rings at any other time is noted (``rung``), and answered when the next call is armed.
"""

from __future__ import annotations

from _signal import (  # type: ignore[import-not-found]
    SIG_DFL,
    SIGRTMAX,
    getsignal,
    pthread_kill,
    signal,
)
from _thread import get_ident
from time import sleep

from lair_worker import _background, _codec
from lair_worker._context import Context, current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, Callable

    from lair_worker._channel import Channel

CANCEL = 9
_BELL = SIGRTMAX - 4
_AGAIN_AFTER = 0.001


class Cancelled(BaseException):
    """Raised in a command whose caller has cancelled it, or has stopped waiting at its deadline."""

    __module__ = "lair_worker"


class shield:
    """``with lair_worker.shield():`` what is inside is not interrupted; Cancelled is raised at its end.

    Of nested shields, at the end of the outermost one. Outside a command it does nothing.
    """

    __slots__ = ("_call",)

    def __enter__(self) -> None:
        self._call = call = current.get()
        if call is not None:
            task = getattr(call, "task", None)
            change_shields = add_shields if task is None else task.add_shields
            change_shields(call, 1)

    def __exit__(self, *_: object) -> None:
        call = self._call
        if call is not None:
            task = getattr(call, "task", None)
            change_shields = add_shields if task is None else task.add_shields
            if change_shields(call, -1):
                raise Cancelled if task is None else task.exception


def add_shields(call: Context, count: int) -> bool:
    """Changes how many shields a call is in; gives whether it is to raise now what they have kept away."""
    call.shields = left = getattr(call, "shields", 0) + count
    if left or not getattr(call, "owed", False):
        return False
    call.owed = False
    return True


class Door:
    """Where CANCEL comes in while a command runs in the main thread. One for each channel."""

    __slots__ = ("_busy", "_channel", "_enters", "_generation", "_spared", "armed", "hit", "rung")

    def __init__(self, channel: Channel, generation: int, enters: CodeType) -> None:
        self._channel = channel
        self._generation = generation
        self._enters = enters  # the SDK's function that calls commands
        self._busy = False
        self._spared = 0  # the number of the call that was not interrupted when the bell rang, but next time
        self.armed: Context | None = None  # the call that may be interrupted just now
        self.hit: Context | None = None  # the call that runs, once it is cancelled
        self.rung = False  # something may have come that should be looked at before a command is entered

    def hang(self) -> int:
        """Installs the bell and gives its signal; 0 if that is the user's."""
        return hang_bell(self.ring)

    def take_down(self, action: Any = SIG_DFL) -> None:
        """Takes the bell down: see ``take_bell_down``."""
        self.armed = None
        take_bell_down(self.ring, action)

    def ring(self, _number: int = 0, frame: Any = None) -> None:
        """The handler of the bell."""
        call = self.armed
        if call is None or self._busy:
            self.rung = True
        elif frame is not None and frame.f_code is self._enters and call.number != self._spared:
            # The command is about to begin, or is not Python's, or has ended: its value, which may be
            # a coroutine that must be awaited, would be lost with this frame.
            self._spared = call.number
            self.rung = True
            ring_again(_AGAIN_AFTER)
        else:
            self.answer(frame)

    def answer(self, frame: Any = None) -> None:
        """Looks at what has come. Raises Cancelled if the armed call is cancelled by it."""
        while True:
            self._busy = True
            due = None
            try:
                self.rung = False
                call = self.armed
                if call is None:
                    pass
                elif self.hit is call:
                    task = getattr(call, "task", None)
                    due = None if task is None else task.insist(frame)
                elif self._finds_cancel(call):
                    self.hit = call
                    due = self.strike(call)
            finally:
                self._busy = False
            if due is not None:
                raise due
            if not self.rung:  # it has rung since, and the handler has seen that this was busy
                return

    def strike(self, call: Context) -> type[BaseException] | None:
        """Notes that a call is cancelled; gives what is to be raised here and now, if anything is."""
        call.hit = True
        if getattr(call, "shields", 0):
            call.owed = True
            return None
        task = getattr(call, "task", None)
        if task is None:
            return Cancelled
        task.cancel()
        return None

    def _finds_cancel(self, call: Context) -> bool:
        """Whether a CANCEL of this call is among the frames that have come and not been taken."""
        frames = self._channel.look_ahead()
        task = getattr(call, "task", None)
        if frames and task is not None:
            task.frames_held()
        return any(is_cancel(payload, call.number, self._generation) for payload in frames)


_hung: Callable[[int, Any], None] | None = None


def hang_bell(handler: Callable[[int, Any], None]) -> int:
    """Installs the bell and gives its signal; 0 if that is the user's."""
    global _hung
    if getsignal(_BELL) != SIG_DFL:
        return 0
    signal(_BELL, handler)
    _hung = handler
    return int(_BELL)


def take_bell_down(handler: Callable[[int, Any], None], action: Any = SIG_DFL) -> None:
    """For a forked child, which is not to be hit; and with SIG_IGN for the worker's last moments.

    Python takes its handlers away before the process is gone, and a bell after that would kill it.
    """
    if getsignal(_BELL) == handler:
        signal(_BELL, action)


def ring_again(seconds: float) -> None:
    """Has the bell ring in the main thread, from which this is called, after a while."""
    ident = get_ident()

    def ring() -> None:
        sleep(seconds)
        if _hung is not None and getsignal(_BELL) == _hung:
            pthread_kill(ident, _BELL)

    try:
        _background.start(ring)
    except RuntimeError:  # no more threads to be had
        pass


def is_cancel(payload: Any, number: int, generation: int) -> bool:
    """Whether a frame, which is only looked at, is the CANCEL of this call."""
    head = bytes(payload[:8])
    if b"9" not in head and b"\t" not in head:  # '[9,' with any white space, or 9 as MessagePack
        return False
    try:
        message = _codec.decode(payload)
    except (ValueError, RecursionError):
        return False  # the loop will find it, and break with the host
    return type(message) is list and message[:3] == [CANCEL, number, generation]
