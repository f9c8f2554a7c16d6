"""How a worker is told to end: SIGTERM, and the death of a host that has no keeper.

The worker's handlers are Python functions, never SIG_IGN: ignoring would be inherited by every program that a
command starts. ``_signal`` is what ``signal`` wraps; the wrapper would import ``enum``.
"""

from __future__ import annotations

import os
from _signal import (  # type: ignore[import-not-found]
    ITIMER_REAL,
    SIG_BLOCK,
    SIG_DFL,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SIGALRM,
    SIGINT,
    SIGRTMAX,
    SIGTERM,
    default_int_handler,
    getsignal,
    pthread_sigmask,
    setitimer,
    signal,
)
from _thread import get_ident

from lair_worker import _background, _codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._channel import Channel

# With the host gone, nobody is left to kill a worker whose end takes too long.
LAST_SECONDS = 10.0

_PR_SET_PDEATHSIG = 1
_PARENT_DEATH = SIGRTMAX - 1
_WRITE_STACKS = SIGRTMAX - 2
_SHOW_STACKS = SIGRTMAX - 3


class Terminated(SystemExit):
    """Raised in the main thread by SIGTERM, wherever it is: in a command, in on_start, or waiting."""


class Ending:
    """Whether this process is on its way out; shared by the signal handlers and the loop."""

    __slots__ = ("closing", "requested", "terminated")

    def __init__(self) -> None:
        self.requested = False  # the loop ends after the current call: by SIGTERM, or by the command shutdown
        self.terminated = False  # by SIGTERM: also the current call ends
        self.closing = False  # on_stop is running, and is not to be interrupted

    def terminate(self, *_: Any) -> None:
        """The handler of SIGTERM. A command may swallow the exception; the flags stay."""
        if not self.closing:
            self.requested = self.terminated = True
            raise Terminated(0)


def install(ending: Ending, pooled: bool) -> None:
    """SIGTERM ends the worker; SIGINT too, but not in a pool, where the host alone decides.

    A handler that the user's script has set before stays.
    """
    if not callable(getsignal(SIGTERM)):
        signal(SIGTERM, ending.terminate)
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, _ignore if pooled else ending.terminate)
    pthread_sigmask(SIG_UNBLOCK, [SIGTERM])  # a host may have started us with it blocked


def watch_parent(ending: Ending, parent: int) -> None:
    """Ends a worker whose host dies while a command runs (an idle one sees EOF).

    Only for hosts without a Lair pool, whose keeper does better. The kernel also sends this signal when just
    the *thread* that started us ends, so the handler looks whether the parent has changed.
    """
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return  # an interpreter without ctypes: EOF remains

    def on_parent_death(*_: Any) -> None:
        if os.getppid() != parent:
            limit_end()
            ending.terminate()

    signal(_PARENT_DEATH, on_parent_death)
    prctl(_PR_SET_PDEATHSIG, int(_PARENT_DEATH), 0, 0, 0)
    if os.getppid() != parent:
        on_parent_death()  # it died before the call above


def write_stacks_on_demand() -> int:
    """Has a signal, which is returned, write the stacks of all threads to stderr; 0 where that can't be.

    ``faulthandler`` does it in C: also while C code holds the GIL. A fatal signal has them written, too.
    """
    try:
        import faulthandler

        if getsignal(_WRITE_STACKS) != SIG_DFL:
            return 0  # the user's
        faulthandler.register(_WRITE_STACKS, file=2, all_threads=True)
        if not faulthandler.is_enabled():
            faulthandler.enable(file=2, all_threads=False)
    except (ImportError, OSError, RuntimeError, ValueError):
        return 0
    return int(_WRITE_STACKS)


def show_stacks_on_demand() -> dict[str, int] | None:
    """Has a signal append the stacks of all threads to a file in memory, which the host opens through /proc.

    What to announce: the signal and the file's descriptor; None where that can't be. A file of its own: on
    stderr the stacks would mix with whatever else is written there. To append, as the host empties it.
    """
    fd = -1
    try:
        import faulthandler

        if getsignal(_SHOW_STACKS) != SIG_DFL:
            return None  # the user's
        memory = os.memfd_create("lair-stacks")
        try:
            fd = os.open(f"/proc/self/fd/{memory}", os.O_WRONLY | os.O_APPEND)
        finally:
            os.close(memory)
        faulthandler.register(_SHOW_STACKS, file=fd, all_threads=True)
    except (AttributeError, ImportError, OSError, RuntimeError, ValueError):
        if fd >= 0:
            os.close(fd)
        return None
    return {"signal": int(_SHOW_STACKS), "fd": fd}


def limit_end() -> None:
    """Has the kernel kill this process in LAST_SECONDS, whatever it is doing then."""
    signal(SIGALRM, SIG_DFL)
    setitimer(ITIMER_REAL, LAST_SECONDS)


def let_forks_go(channel: Channel, ending: Ending) -> None:
    """A forked child (``os.fork``, multiprocessing) is no worker: it loses the channel and the handlers.

    The signals are blocked meanwhile: Python forgets one that reaches a child during its fork, and then
    ``Process.terminate()`` would wait for ever.
    """
    masks: dict[int, set[int]] = {}  # by thread

    def before() -> None:
        masks[get_ident()] = pthread_sigmask(SIG_BLOCK, (SIGTERM, SIGINT))

    def in_parent() -> None:
        pthread_sigmask(SIG_SETMASK, masks.pop(get_ident()))

    def in_child() -> None:
        channel.detach()
        _background.forget()
        if _codec.native is not None:
            _codec.native.forget_handover()
        if channel.door is not None:
            channel.door.take_down()
        for number, default in ((SIGTERM, SIG_DFL), (SIGINT, default_int_handler)):
            if getsignal(number) in (ending.terminate, _ignore):
                signal(number, default)
        in_parent()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _ignore(*_: Any) -> None:
    pass
