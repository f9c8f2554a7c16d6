"""What a call does besides taking arguments and giving a value, on a worker that runs one at a time.

It calls the host back, its result is a generator or an awaitable, the host wants a stream: all this has
frames come and go between a CALL and its last frame. Made when the first call needs it.
"""

from __future__ import annotations

from lair_worker import _codec, _host, _streams
from lair_worker._cancel import Cancelled
from lair_worker._channel import HostBroken
from lair_worker._context import current
from lair_worker._streams import Stream, Tended, Unstreamable, pump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn

    from lair_worker._cancel import Door
    from lair_worker._channel import Channel
    from lair_worker._context import Context
    from lair_worker._coroutines import Loop
    from lair_worker._protocol2 import Protocol2
    from lair_worker._streams import Fed
    from lair_worker._worker import Worker

SHUTDOWN, CREDIT, CANCEL, CALLBACK_RESULT = 5, 8, 9, 12


class MidCall:
    """The frames within a call. The main thread's."""

    _fed = getattr(_streams, "Fed", None)  # there with the accelerator, which looks for it here

    def __init__(
        self, worker: Worker, protocol: Protocol2, channel: Channel, door: Door, generation: int
    ) -> None:
        self._worker = worker
        self._protocol = protocol
        self.channel = channel
        self.door = door
        self.generation = generation
        self.running: Context | None = None  # a call that may be cancelled, though not by raising just now
        self.stream: Stream | Fed | None = None
        self._results: dict[int, Callable[[Any], Any]] = {}  # who gets the result of which open callback
        self._number = 0
        self._loop: Loop | None = None

    # --- odd results ----------------------------------------------------------------------------------

    def answer(self, call: Context, value: Any) -> bytes:
        """The last frame of a call that gave ``value``, which is a flow or was to be a stream."""
        return self._end(call, self._settle, value)

    def conclude(
        self, call: Context, iterator: Any, stream: Fed, ended: bool, error: BaseException | None
    ) -> bytes:
        """The last frame of a stream that the accelerator has fed until its end, a cancel, or an error."""
        failed = [] if error is None else [error]
        del error  # which refers to this frame, by way of its traceback

        def feed() -> bool:
            if failed:
                raise failed.pop()
            return ended

        return self._end(call, pump, iterator, stream, feed, self.guard)

    def _end(self, call: Context, settle: Callable[..., Any], *args: Any) -> bytes:
        protocol, door = self._protocol, self.door
        current.set(call)
        try:
            value = settle(call, *args)
        except BaseException as error:
            door.armed = None
            if self._worker.ending.terminated:
                raise
            if door.hit is None:
                from lair_worker import _errors

                if isinstance(error, Unstreamable):
                    return protocol.failed(call.number, _errors.unencodable(error))
                return protocol.failed(call.number, _errors.from_exception(error))
        finally:
            self.running = self.stream = None
            current.set(None)
        if door.hit is not None:
            return protocol.cancelled(call.number)
        return value if type(value) is bytes else protocol.result(call, value[0])

    def _settle(self, call: Context, value: Any) -> Any:
        """The last frame of a stream, or the result in a tuple."""
        self.running = call
        credit = call.meta.get("stream")
        cls = type(value)
        if hasattr(cls, "__await__"):
            value = self.loop().run(call, value)
            cls = type(value)
        if credit is not None and not is_credit(credit):
            self.abandon(HostBroken("a CALL whose meta.stream is not [items, bytes]"))
        if hasattr(cls, "__anext__"):
            stream = None
            if credit is not None:
                self.stream = stream = Stream(
                    call.number, self.generation, credit, self.channel.max_frame, self.channel.send
                )
            items = self.loop().drain(call, value, stream)
            return (items,) if stream is None else stream.end()
        if credit is None:
            return (self.guard(call, list, value),) if hasattr(cls, "__next__") else (value,)
        if not hasattr(cls, "__next__"):
            from lair_worker._encode import type_name

            raise Unstreamable(
                f"{call.command} was asked for a stream and gave a value of type {type_name(cls)}; "
                "a generator makes a stream"
            )
        return self._pump(call, value, credit)

    def _pump(self, call: Context, iterator: Any, credit: list[int]) -> bytes:
        if _codec.name == _codec.MESSAGEPACK:
            fed = self.stream = self._fed(call.number, self.generation, credit, self.channel)
            return pump(call, iterator, fed, lambda: fed.feed(call, iterator, self.door, self), self.guard)
        tended = self.stream = Tended(
            call.number, self.generation, credit, self.channel.max_frame, self.channel.send
        )

        def feed() -> bool:
            return tended.feed(call, iterator, self.guard, self._wait, self.poll)

        return pump(call, iterator, tended, feed, self.guard)

    def guard(self, call: Context, function: Callable[..., Any], *args: Any) -> Any:
        """Runs some of the user's code, which Cancelled may interrupt."""
        door = self.door
        try:
            door.armed = call
            if door.rung:
                door.answer()
            return function(*args)
        finally:
            door.armed = None

    def loop(self) -> Loop:
        """The event loop for what is ``async``; it runs only while a call does."""
        if self._loop is None:
            from lair_worker._coroutines import Loop

            self._loop = Loop(self)
        return self._loop

    # --- callbacks ------------------------------------------------------------------------------------

    def callback(self, call: Context, name: str, args: Any) -> Any:
        """Has the host run a function; in a coroutine, gives something to await."""
        if self._loop is not None and self._loop.running():
            return self._loop.callback(call, name, args)
        door = self.door
        armed, door.armed = door.armed, None
        slot: list[Any] = []
        number = 0
        try:
            number = self.open_callback(call, name, args, slot.append)
            while not slot:
                self._wait()
        finally:
            self._results.pop(number, None)
            door.armed = armed
        if door.rung and armed is not None:
            door.answer()
        return unwrap(slot[0])

    def open_callback(self, call: Context, name: str, args: Any, give: Callable[[Any], Any]) -> int:
        """Sends a CALLBACK, and has ``give`` called with its outcome."""
        if getattr(call, "hit", False) and not getattr(call, "shields", 0):
            raise Cancelled  # the host no longer listens
        number = self._number + 1
        frame = _host.request(call, self.generation, number, name, args, self.channel.max_frame)
        self._number = number
        self._results[number] = give
        self.running = call
        self.channel.send(frame)
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for this callback any more."""
        self._results.pop(number, None)

    @property
    def in_loop(self) -> bool:
        """Whether a coroutine runs just now, which can't wait for the host without ``await``."""
        return self._loop is not None and self._loop.running()

    @property
    def has_open_callbacks(self) -> bool:
        """Whether somebody waits for the host."""
        return bool(self._results)

    @property
    def closing(self) -> bool:
        """Whether the worker ends already; what is left in the loop has a moment then."""
        return self._worker.ending.closing

    # --- frames ---------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Takes one frame, which it waits for. Raises Cancelled if that is what it says."""
        payload = self.channel.receive()
        if payload is None:
            self.abandon(None)
        due = self.take(payload)
        if due is not None:
            raise due

    def poll(self) -> None:
        """Takes the frames that have come."""
        while self.channel.ready():
            payload = self.channel.receive()
            if payload is None:
                return  # the next one who waits will see it too
            due = self.take(payload)
            if due is not None:
                raise due

    def take(self, payload: Any) -> type[BaseException] | None:
        """One frame in mid-call; what is to be raised now, if anything is."""
        try:
            message = _codec.decode(payload)
            kind, number, generation = message[:3]
        except (ValueError, RecursionError, TypeError) as error:
            what = f"{_codec.label(payload)}, or not [kind, id, generation, ...]"
            self.abandon(HostBroken(f"a frame that is not {what}: {error}"))
        if generation != self.generation:
            return None
        if kind == CREDIT:
            if not is_credit(message[3:5]):
                self.abandon(HostBroken("a CREDIT that is not [8, id, generation, items, bytes]"))
            if self.stream is not None and self.stream.number == number:
                self.stream.add_credit(*message[3:5])
        elif kind == CANCEL:
            call = self.running
            if call is not None and call.number == number and self.door.hit is None:
                self.door.hit = call
                return self.door.strike(call)
        elif kind == CALLBACK_RESULT:
            found = _host.outcome(message)
            if found is None:
                self.abandon(HostBroken("a CALLBACK_RESULT that is not [12, id, generation, number, ...]"))
            give = self._results.pop(message[3], None)
            if give is not None:
                give(found)
        elif kind == SHUTDOWN:
            self._worker.ending.requested = True
        else:
            self.abandon(HostBroken(f"a frame of kind {kind!r} in the middle of a call"))
        return None

    def abandon(self, error: HostBroken | None) -> NoReturn:
        """The host has gone, or can't be understood, in the middle of a call: that ends as by SIGTERM."""
        self._worker.abandon(error)


def is_credit(numbers: Any) -> bool:
    """Two integers of at least 0."""
    if type(numbers) is not list or len(numbers) != 2:
        return False
    return all(type(each) is int and 0 <= each < 2**63 for each in numbers)


def unwrap(outcome: tuple[bool, Any]) -> Any:
    """The value of a callback. Raises its HostError."""
    ok, value = outcome
    if ok:
        return value
    raise value
