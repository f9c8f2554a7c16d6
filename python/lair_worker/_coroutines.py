"""``async def`` commands on a worker that runs one call at a time: the loop runs only while a call does.

asyncio is imported by the first such call. The loop also reads the channel, so that results of callbacks,
credit and CANCEL come in while it waits.
"""

from __future__ import annotations

import asyncio
import os

from lair_worker import _cancel
from lair_worker._midcall import unwrap
from lair_worker._settle import event_loop
from lair_worker._streams import drain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Callable

    from lair_worker._context import Context
    from lair_worker._midcall import MidCall
    from lair_worker._streams import Stream

_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
INSIST_AFTER = 0.001
_RUNNERS = ("_await", "drain", "_run_task")  # the functions of the SDK whose tasks run a command


class TaskDoor:
    """How a task is cancelled: by ``task.cancel()``.

    If it keeps the loop from running, so that this comes to nothing for ``INSIST_AFTER``, the bell rings
    again, and CancelledError is raised where the task is. Not at once: most coroutines are just about to
    await something, and are better off with the ordinary way.
    """

    __slots__ = ("_loop", "_read", "_soon", "task")

    exception = asyncio.CancelledError  # at the end of a shield
    add_shields = staticmethod(_cancel.add_shields)

    def __init__(
        self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any], read: Callable[[], None] | None = None
    ) -> None:
        self._loop = loop
        self._read = read
        self._soon: asyncio.Handle | None = None
        self.task = task

    def strike(self, call: Context) -> None:
        """Cancels a call, from the loop."""
        call.hit = True
        if call.shields:
            call.owed = True
        else:
            self.task.cancel()

    def cancel(self) -> None:
        """Cancels the task, from a signal handler, or from the loop."""
        self._soon = self._loop.call_soon_threadsafe(self._cancel)
        if asyncio.current_task(self._loop) is self.task:
            _cancel.ring_again(INSIST_AFTER)

    def _cancel(self) -> None:
        self._soon = None
        self.task.cancel()

    def frames_held(self) -> None:
        """Frames are in the channel's buffer, where a loop that waits for the descriptor can't see them."""
        if self._read is not None:
            self._loop.call_soon_threadsafe(self._read)

    def insist(self, frame: FrameType | None) -> type[BaseException] | None:
        """What is to be raised in ``frame``, which the bell interrupts, if the loop has not run since."""
        if self._soon is None or asyncio.current_task(self._loop) is not self.task:
            return None
        if not is_users(frame):
            _cancel.ring_again(INSIST_AFTER)
            return None
        self._soon.cancel()
        self._soon = None
        return asyncio.CancelledError


def is_users(frame: FrameType | None) -> bool:
    """Whether a frame is the coroutine's code, or what it calls, without anything of asyncio's in between.

    An exception within asyncio's own code could leave a loop that is of no more use.
    """
    if frame is not None and frame.f_code.co_filename.startswith(_HERE):
        return False
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_HERE):
            return frame.f_code.co_name in _RUNNERS
        if name.startswith(_ASYNCIO):
            return False
        frame = frame.f_back
    return False


class Loop:
    """The worker's event loop."""

    def __init__(self, midcall: MidCall) -> None:
        self._midcall = midcall
        self._loop = event_loop()
        self._source = midcall.channel.source
        self._reading = False
        self._credit: asyncio.Future[None] | None = None

    def running(self) -> bool:
        """Whether the caller is in a coroutine (or a callback of the loop)."""
        return self._loop.is_running()

    def run(self, call: Context, awaitable: Any) -> Any:
        """The value of an awaitable."""
        return self._run(call, self._await(awaitable), awaitable)

    def drain(self, call: Context, generator: Any, stream: Stream | None) -> list[Any]:
        """The items of an asynchronous generator: in a list, or sent."""
        later = self._loop.call_later
        return self._run(call, drain(call, generator, stream, self._more_credit, later), None)

    def callback(self, call: Context, name: str, args: Any) -> Any:
        """An awaitable for the value of a function of the host."""
        future = self._loop.create_future()
        midcall = self._midcall

        def give(outcome: Any) -> None:
            if not future.done():
                future.set_result(outcome)

        async def wait() -> Any:
            number = midcall.open_callback(call, name, args, give)
            try:
                self._listen()
                return unwrap(await future)
            finally:
                midcall.forget(number)

        return wait()

    def _run(self, call: Context, coroutine: Any, awaitable: Any) -> Any:
        loop, door = self._loop, self._midcall.door
        self._listen()
        task = loop.create_task(coroutine)
        call.task = TaskDoor(loop, task, self._read)
        if self._midcall.channel.holds_bytes:
            loop.call_soon(self._read)  # they came with the CALL, or the bell's handler has read them
        try:
            door.armed = call
            if door.rung:
                door.answer()
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            if door.hit is None:
                raise  # its own doing
        finally:
            door.armed = None
            del call.task
            close = getattr(awaitable, "close", None)
            if close is not None:
                close()  # one that was cancelled before it began
        return None if door.hit is not None else task.result()

    async def _await(self, awaitable: Any) -> Any:
        return await awaitable

    def _listen(self) -> None:
        """To the channel; once more also where it has ended: who waits for the host now must hear of it."""
        if not self._reading:
            self._loop.add_reader(self._source, self._read)
            self._reading = True

    async def _more_credit(self) -> None:
        self._credit = self._loop.create_future()
        self._listen()
        try:
            await self._credit
        finally:
            self._credit = None

    def _read(self) -> None:
        """Something has come."""
        door = self._midcall.door
        armed, door.armed = door.armed, None  # the handler of the bell must not read meanwhile
        try:
            self._take_all()
        finally:
            door.armed = armed
        if door.rung and armed is not None:
            door.answer()

    def _take_all(self) -> None:
        midcall = self._midcall
        while midcall.channel.ready():
            payload = midcall.channel.receive()
            if payload is None:
                self._loop.remove_reader(self._source)
                self._reading = False
                if (self._credit is not None or midcall.has_open_callbacks) and not midcall.closing:
                    midcall.abandon(None)
                return  # seen when the call has ended
            midcall.take(payload)
            if self._credit is not None and not self._credit.done():
                self._credit.set_result(None)
