"""The calls in flight on a worker that runs several: tasks of the event loop, and jobs of threads.

``async def`` commands are tasks. Commands that say they are thread-safe run in a pool of threads, all others
one at a time in a thread of their own; the standard commands run at once. All but ``_work`` and what it calls
is the loop's thread's.
"""

from __future__ import annotations

import asyncio
from _contextvars import copy_context
from contextlib import suppress
from itertools import count
from types import CoroutineType

from lair_worker import _errors, _host, _registry
from lair_worker._context import current
from lair_worker._coroutines import TaskDoor
from lair_worker._encode import type_name
from lair_worker._midcall import unwrap
from lair_worker._streams import Stream, Tended, Unstreamable, drain, pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from lair_worker._context import Context
    from lair_worker._multiplex import Multiplex
    from lair_worker._session import Session, Sessions
    from lair_worker._threads import Threads
    from lair_worker._worker import Worker

_PLAIN = frozenset((type(None), bool, int, float, str, list, dict))  # what is seen at once to be no flow


class Calls:
    """Runs them."""

    def __init__(self, line: Multiplex, worker: Worker, generation: int, concurrency: int) -> None:
        self._line = line
        self._loop = line.loop
        self._worker = worker
        self._generation = generation
        self._concurrency = concurrency
        self.running: dict[int, Context] = {}
        self._tasks: dict[Any, Context] = {}
        self._streams: dict[int, tuple[Stream, Callable[[], None]]] = {}
        self._callbacks: dict[int, Callable[[Any], Any]] = {}
        self._numbers = count(1)  # of callbacks
        self._kinds = {
            name: _registry.kind_of_command(name, function) for name, function in _registry.commands.items()
        }
        if _registry.session_hooks:
            self._kinds.setdefault("cleanup_session", "call")  # runs the user's code: not in the loop
        self._pool: Threads | None = None
        self._single: Threads | None = None

    def begin(self, call: Context, function: Any, args: Any) -> None:
        """Runs a call's command."""
        self.running[call.number] = call
        if "session_number" in call.meta:
            older = _sessions().enter(call)
            if older is not None:
                self._end_session(call, older, lambda: self._start(call, function, args))
                return
        self._start(call, function, args)

    def _start(self, call: Context, function: Any, args: Any) -> None:
        kind = self._kinds.get(call.command)
        if kind in ("async", "async_stream"):
            task = self._loop.create_task(self._run_task(call, function, args))
            self._tasks[task] = call
        elif kind is None:  # a standard command
            self._end(call, self._run_here(call, function, args))
        else:
            self._run_in_thread(call, function, args)

    def of_task(self, task: Any) -> Context | None:
        """The call that a task runs."""
        return self._tasks.get(task)

    def cancel(self, number: int) -> None:
        """CANCEL has come."""
        call = self.running.get(number)
        if call is None or call.hit:
            return
        door = getattr(call, "task", None)
        if door is None:
            call.hit = True  # seen when it begins
        else:
            door.strike(call)

    def close(self) -> None:
        """The worker ends."""
        for threads in (self._pool, self._single):
            if threads is not None:
                threads.close()

    def _end(self, call: Context, reply: bytes) -> None:
        if call.command == "cleanup_session" and "session_number" in call.meta:
            ended = _sessions().leave(call)
            if ended is not None:
                hit = self._line.cancelled_frame(call.number)
                self._end_session(call, ended, lambda: self._answer(call, hit if call.hit else reply))
                return
        self._answer(call, reply)

    def _answer(self, call: Context, reply: bytes) -> None:
        del self.running[call.number]
        for frame in getattr(call, "told", ()):
            self._line.send(frame)
        self._line.send(reply)

    def _end_session(self, call: Context, session: Session, then: Callable[[], None]) -> None:
        """Ends a session as part of a call, where its functions may block: in a thread. Then goes on."""
        from lair_worker._threads import ThreadDoor

        threads = self._one_by_one()
        door = call.task = ThreadDoor()

        def work() -> None:
            current.set(call)
            with suppress(BaseException):  # Cancelled: the call shows it
                door.guard_close(call, session.end)
            self._from_thread(finish)

        def finish() -> None:
            threads.done()
            del call.task
            then()

        context = copy_context()
        threads.run(lambda: context.run(work))

    def _failed(self, call: Context, error: BaseException, function: Any, args: Any) -> bytes:
        if isinstance(error, Unstreamable):
            return self._line.failed(call.number, _errors.unencodable(error))
        positional, keywords = ([], args) if type(args) is dict else (args, {})
        return self._line.failed(
            call.number, _errors.from_call(error, call.command, function, positional, keywords)
        )

    def _run_here(self, call: Context, function: Any, args: Any) -> bytes:
        token = current.set(call)
        try:
            value = function(**args) if type(args) is dict else function(*args)
        except Exception as error:
            return self._failed(call, error, function, args)
        finally:
            current.reset(token)
        return self._line.result(call, value)

    # --- tasks ----------------------------------------------------------------------------------------

    async def _run_task(self, call: Context, function: Any, args: Any) -> None:
        task = asyncio.current_task()
        reply = b""
        if not call.hit:
            current.set(call)
            call.task = TaskDoor(self._loop, task)
            try:
                value = function(**args) if type(args) is dict else function(*args)
                if type(value) is CoroutineType or hasattr(type(value), "__await__"):
                    value = await value
                if type(value) in _PLAIN and "stream" not in call.meta:
                    reply = self._line.result(call, value)
                else:
                    reply = await self._settle(call, value)
            except BaseException as error:
                if self._worker.ending.terminated:
                    raise
                if not call.hit:
                    reply = self._failed(call, error, function, args)
            finally:
                self._streams.pop(call.number, None)
                self._tasks.pop(task, None)
        else:
            self._tasks.pop(task, None)
        self._end(call, self._line.cancelled_frame(call.number) if call.hit else reply)

    async def _settle(self, call: Context, value: Any) -> bytes:
        credit = call.meta.get("stream")
        if not hasattr(type(value), "__anext__"):
            if credit is not None:
                raise no_stream(call, value)
            if hasattr(type(value), "__next__"):
                value = list(value)
            return self._line.result(call, value)
        if credit is None:
            return self._line.result(call, await drain(call, value, None, None, None))
        more = asyncio.Event()
        stream = Stream(call.number, self._generation, credit, self._line.max_frame, self._line.send)
        self._streams[call.number] = stream, more.set

        async def more_credit() -> None:
            more.clear()
            await more.wait()

        await drain(call, value, stream, more_credit, self._loop.call_later)
        return stream.end()

    # --- threads --------------------------------------------------------------------------------------

    def _run_in_thread(self, call: Context, function: Any, args: Any) -> None:
        from lair_worker._threads import ThreadDoor, Threads

        threads: Threads
        if call.command in _registry.thread_safe_names or _registry.all_thread_safe:
            if self._pool is None:
                self._pool = Threads(self._concurrency, "lair call")
            threads = self._pool
        else:
            threads = self._one_by_one()
        call.task = ThreadDoor()
        context = copy_context()
        threads.run(lambda: context.run(self._work, threads, call, function, args))

    def _one_by_one(self) -> Threads:
        if self._single is None:
            from lair_worker._threads import Threads

            self._single = Threads(1, "lair calls, one at a time,")
        return self._single

    def _work(self, threads: Threads, call: Context, function: Any, args: Any) -> None:
        current.set(call)
        door: Any = call.task
        reply = b""
        try:
            if type(args) is dict:
                value = door.guard(call, function, **args)
            else:
                value = door.guard(call, function, *args)
            reply = self._settle_in_thread(call, door, value)
        except BaseException as error:
            if not call.hit:
                reply = self._failed(call, error, function, args)
        if call.hit:
            reply = self._line.cancelled_frame(call.number)

        def end() -> None:
            threads.done()
            self._streams.pop(call.number, None)
            self._end(call, reply)

        self._from_thread(end)

    def _settle_in_thread(self, call: Context, door: Any, value: Any) -> bytes:
        credit = call.meta.get("stream")
        if hasattr(type(value), "__await__") or hasattr(type(value), "__anext__"):
            raise Unstreamable(
                f"{call.command} gave a value of type {type_name(type(value))}; a command that awaits must "
                "be async def itself, where several calls run at a time"
            )
        if credit is None:
            if hasattr(type(value), "__next__"):
                value = door.guard(call, list, value)
            return self._line.result(call, value)
        if not hasattr(type(value), "__next__"):
            raise no_stream(call, value)
        return self._pump(call, door, value, credit)

    def _pump(self, call: Context, door: Any, iterator: Any, credit: list[int]) -> bytes:
        give: list[Callable[[Any], None]] = []

        def send(payload: bytes) -> None:
            self._from_thread(lambda: self._line.send(payload))

        def more() -> None:
            if give:
                give.pop()(True)

        stream = Tended(call.number, self._generation, credit, self._line.max_frame, send)

        def wait() -> None:
            door.wait(call, lambda wake: self._from_thread(lambda: listen(wake)))

        def listen(wake: Callable[[Any], None]) -> None:
            if stream.has_credit:
                wake(True)
            else:
                give.append(wake)

        self._from_thread(lambda: self._streams.__setitem__(call.number, (stream, more)))

        def feed() -> bool:
            return stream.feed(call, iterator, door.guard, wait, lambda: None)

        return pump(call, iterator, stream, feed, door.guard_close)

    def _from_thread(self, function: Callable[[], Any]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the host gone
            self._loop.call_soon_threadsafe(function)

    # --- streams and callbacks ------------------------------------------------------------------------

    def add_credit(self, number: int, items: int, size: int) -> None:
        """CREDIT has come."""
        found = self._streams.get(number)
        if found is not None:
            stream, more = found
            stream.add_credit(items, size)
            if stream.has_credit:
                more()

    def callback(self, call: Context, name: str, args: Any) -> Any:
        """Has the host run a function; in a coroutine, gives something to await."""
        if self._is_loops_thread():
            return self._callback_of_task(call, name, args)
        door = getattr(call, "task", None)
        if isinstance(door, TaskDoor):  # a thread that a coroutine has started
            coroutine = self._callback_of_task(call, name, args)
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        if not door.is_in_command():
            raise RuntimeError(
                f"{_host.label(name)}: only the thread that runs the command can call the host"
            )
        number = next(self._numbers)
        frame = _host.request(call, self._generation, number, name, args, self._line.max_frame)

        def start(give: Callable[[Any], None]) -> None:
            def ask() -> None:
                self._callbacks[number] = give
                self._line.send(frame)

            self._from_thread(ask)

        try:
            return unwrap(door.wait(call, start))
        finally:
            self._from_thread(lambda: self._callbacks.pop(number, None))

    def tell(self, call: Context, name: str, args: Any) -> None:
        """Has the host told something before the call's last frame."""
        _host.keep(call, _host.request(call, self._generation, 0, name, args, self._line.max_frame))

    async def _callback_of_task(self, call: Context, name: str, args: Any) -> Any:
        if call.hit and not call.shields:
            raise asyncio.CancelledError  # the host no longer listens
        number = next(self._numbers)
        frame = _host.request(call, self._generation, number, name, args, self._line.max_frame)
        future = self._loop.create_future()

        def give(outcome: Any) -> None:
            if not future.done():
                future.set_result(outcome)

        self._callbacks[number] = give
        self._line.send(frame)
        try:
            return unwrap(await future)
        finally:
            self._callbacks.pop(number, None)

    def give(self, number: int, outcome: Any) -> None:
        """CALLBACK_RESULT has come."""
        give = self._callbacks.pop(number, None)
        if give is not None:
            give(outcome)

    def _is_loops_thread(self) -> bool:
        return asyncio._get_running_loop() is self._loop


def _sessions() -> Sessions:
    from lair_worker import _session

    return _session.sessions


def no_stream(call: Context, value: Any) -> Unstreamable:
    """The error of a command that was asked for a stream and gave something else."""
    return Unstreamable(
        f"{call.command} was asked for a stream and gave a value of type {type_name(type(value))}; "
        "a generator makes a stream"
    )
