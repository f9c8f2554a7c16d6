"""Threads of the SDK's own, which the process does not wait for at its end, but for their beginning.

CPython, 3.11 at least, crashes where a thread that was started first runs when the interpreter has ended:
what it begins with has been freed by then. On a machine that is busy that may take a while.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

PATIENCE = 5.0  # seconds

_starting: list[Any] = []  # for each that has not begun, a lock that is held until then


def start(function: Callable[[], None]) -> None:
    """Runs it in a thread. RuntimeError: there are no more threads to be had."""
    beginning = allocate_lock()
    beginning.acquire()
    _starting.append(beginning)

    def run() -> None:
        _starting.remove(beginning)
        beginning.release()
        function()

    try:
        start_new_thread(run, ())
    except RuntimeError:
        _starting.remove(beginning)
        raise


def forget() -> None:
    """In a forked child, which has none of them."""
    _starting.clear()


def let_begin() -> None:
    """Waits until all have begun. To be called before the interpreter ends."""
    for beginning in list(_starting):
        beginning.acquire(timeout=PATIENCE)
