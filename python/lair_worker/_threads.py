"""Commands in threads, for a worker that runs several calls at a time.

Cancelled is raised in a thread by ``PyThreadState_SetAsyncExc``, at the next bytecode: it can't interrupt a
function of C, such as ``time.sleep``. It is sent only while the command itself runs there: the lock of its
door decides which comes first, its end or the CANCEL. Without ``ctypes`` the command is left to look at
``context().cancelled()``.
"""

from __future__ import annotations

from _queue import SimpleQueue
from _thread import allocate_lock, get_ident
from threading import Thread

from lair_worker import _cancel
from lair_worker._cancel import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from lair_worker._context import Context

try:
    from ctypes import c_ulong, py_object, pythonapi

    _set_exception = pythonapi.PyThreadState_SetAsyncExc
    _set_exception.argtypes = [c_ulong, py_object]
    _clear = py_object()
except (ImportError, AttributeError):  # pragma: no cover - an interpreter without ctypes
    _set_exception = None  # type: ignore[assignment]


class ThreadDoor:
    """How a call that runs in a thread is cancelled, and how it waits for the host."""

    __slots__ = ("_give", "_lock", "_sent", "_thread")

    exception = Cancelled

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._thread = 0  # that runs the user's code just now, and may be interrupted
        self._sent = False  # an exception has been sent there
        self._give: Callable[[Any], None] | None = None  # wakes the thread, which waits for the host

    def strike(self, call: Context) -> None:
        """Cancels the call. From another thread."""
        with self._lock:
            call.hit = True
            if call.shields:
                call.owed = True
            elif self._give is not None:
                self._give(None)
            elif self._thread and _set_exception is not None:
                self._sent = True
                _set_exception(self._thread, Cancelled)

    def guard(self, call: Context, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Runs some of the user's code, which Cancelled may interrupt."""
        try:
            self._arm(call, get_ident())
            return function(*args, **keywords)
        finally:
            self._disarm()

    def guard_close(self, call: Context, close: Callable[[], Any]) -> None:
        """Closes a generator; if that is because the call is cancelled, without raising it once more."""
        with self._lock:
            self._sent = self._sent or call.hit
        self.guard(call, close)

    def wait(self, call: Context, start: Callable[[Callable[[Any], None]], None]) -> Any:
        """What is given to the function that ``start`` gets, which it waits for. Raises Cancelled."""
        slot: list[Any] = []
        given = allocate_lock()
        given.acquire()

        def give(what: Any) -> None:
            if not slot:
                slot.append(what)
                given.release()

        with self._lock:
            on_its_way = self._sent and self._thread != 0 and not call.shields
            armed = self._thread
            if not on_its_way:
                self._raise_if_due(call)
                self._thread, self._give = 0, give
        if on_its_way:
            _let_it_arrive()
            raise Cancelled  # it had arrived before; the host no longer listens
        try:
            start(give)
            given.acquire()
        finally:
            self._arm(call, armed)
        return slot[0]

    def is_in_command(self) -> bool:
        """Whether the caller is the command, in its own thread."""
        return self._thread == get_ident()

    def add_shields(self, call: Context, count: int) -> bool:
        """As _cancel.add_shields; a shield is not entered while an exception is on its way."""
        with self._lock:
            on_its_way = self._sent and self._thread != 0 and call.hit and not call.shields
            if not on_its_way:
                due = _cancel.add_shields(call, count)
                self._sent = self._sent or due
                return due
        _let_it_arrive()  # or it has before, and this is the user's way of ending
        with self._lock:
            return _cancel.add_shields(call, count)

    def _arm(self, call: Context, thread: int) -> None:
        with self._lock:
            self._give = None
            self._thread = thread
            self._raise_if_due(call)

    def _raise_if_due(self, call: Context) -> None:
        if call.hit and not self._sent and not call.shields:
            self._sent = True
            self._thread = 0
            raise Cancelled

    def _disarm(self) -> None:
        """From here on nothing is raised: what was sent and has not arrived is taken back."""
        while True:
            try:
                with self._lock:
                    self._thread = 0
                if self._sent and _set_exception is not None:
                    _set_exception(get_ident(), _clear)
                return
            except Cancelled:
                continue  # it has arrived in here


def _let_it_arrive() -> None:
    """An exception that was sent to this thread is raised in here."""
    for _ in range(100):
        pass


class Threads:
    """Threads that run jobs in their order; started as they are needed, up to a limit. Used by one thread."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._jobs: Any = SimpleQueue()
        self._threads: list[Thread] = []
        self._busy = 0  # jobs that are queued or run

    def run(self, job: Callable[[], None]) -> None:
        """Has a thread run ``job``; ``done`` is to be called when it has ended."""
        self._busy += 1
        if self._busy > len(self._threads) and len(self._threads) < self._limit:
            thread = Thread(target=self._work, name=f"{self._name} {len(self._threads) + 1}")
            try:
                thread.start()
            except RuntimeError:
                if not self._threads:
                    self._busy -= 1
                    raise
            else:
                self._threads.append(thread)
        self._jobs.put(job)

    def done(self) -> None:
        """A job has ended."""
        self._busy -= 1

    def close(self) -> None:
        """Ends the threads. Those that run a job are left to it."""
        for _ in self._threads:
            self._jobs.put(None)
        if not self._busy:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()
            job = None  # what it holds is not kept while the thread waits
