"""The items of a stream on their way to the host: when they go, and that they never exceed its credit.

An item goes at once unless the one before has just gone; then it waits for others to share a CHUNK with,
until ``GAP`` has passed or the CHUNK is full. Nobody knows when a generator will yield again, so somebody
else must see to it that an item that waits goes soon: a thread, which lives only as long as a stream that
needs it, or a timer of the event loop.
"""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic, sleep

from lair_worker import _background, _codec
from lair_worker._channel import HostGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn

    from lair_worker._cancel import Door
    from lair_worker._context import Context
    from lair_worker._midcall import MidCall

CHUNK, END = 6, 7
GAP = 0.0002  # items that come quicker after each other share a CHUNK
PATIENCE = 0.001  # how long one waits for company, if the generator takes its time then
LARGEST_CHUNK = 64 << 10


class Unstreamable(Exception):
    """An item that can't be sent."""


def unencodable(item: Any, error: BaseException) -> Unstreamable:
    """Why an item can't be encoded."""
    from lair_worker._encode import explain

    return Unstreamable(str(explain(item, error)).replace("result", "item", 1))


def too_long(size: int, max_frame: int) -> Unstreamable:
    """Why an item is not sent, which makes a frame of this size."""
    return Unstreamable(f"item makes a frame of {size} bytes; max_frame is {max_frame} bytes")


class Stream:
    """The CHUNKs of one call. Thread-safe."""

    def __init__(
        self, number: int, generation: int, credit: list[int], max_frame: int, send: Callable[[bytes], Any]
    ) -> None:
        self.number = number
        self.generation = generation
        self._packed = _codec.name == _codec.MESSAGEPACK
        head = _codec.encode([CHUNK, number, generation])
        # Without its end; as MessagePack without the array's length, which is put into four bytes.
        self._head = b"\x94" + head[1:] + b"\xdd" if self._packed else head[:-1] + b",["
        self._items, self._bytes = credit
        self._half = (self._items // 2, self._bytes // 2)
        self._max_frame = max_frame
        self._send = send
        self._lock = allocate_lock()
        self._pending: list[bytes] = []
        # Of the CHUNK, were it sent now. As JSON, an item adds a comma.
        self._comma = 0 if self._packed else 1
        self._size = self._empty = len(self._head) + (4 if self._packed else 1)
        self._last = 0.0
        self.flushes = 0
        self.idle = True  # nothing waits, or somebody is to see to it that what waits is sent
        self.ended = False

    def encoded(self, item: Any) -> bytes:
        """An item as it goes into a CHUNK. Unstreamable if it can't."""
        try:
            # As MessagePack, at the depth that it will have.
            data = _codec.encode([[item]])[2:] if self._packed else _codec.encode(item)
        except Exception as error:
            raise unencodable(item, error) from None
        size = self._empty + len(data) + self._comma
        if size > self._max_frame:
            raise too_long(size, self._max_frame)
        return data

    def put(self, data: bytes) -> bool:
        """Takes an item, if there is credit for it; when False comes back, there is nothing else waiting."""
        with self._lock:
            size = self._size + len(data) + self._comma
            if self._pending and (
                len(self._pending) >= self._items
                or size > self._bytes
                or size > LARGEST_CHUNK
                or size > self._max_frame
            ):
                self._flush()
                size = self._size + len(data) + self._comma
            if not self.has_credit:
                return False
            self._pending.append(data)
            self._size = size
            now = monotonic()
            if now - self._last > GAP:
                self._flush()
                self._last = now
            return True

    def flush(self, if_unchanged_since: int = -1) -> int:
        """Sends what waits; if a number of CHUNKs is given, only if no more have gone. Gives their number."""
        with self._lock:
            if not self.ended and if_unchanged_since in (-1, self.flushes):
                self._flush()
            return self.flushes

    def rest(self) -> bool:
        """Whether nothing waits. Whoever sends what waits may sleep then, and is to be woken again."""
        with self._lock:
            self.idle = not self._pending
            return self.idle

    @property
    def waiting(self) -> bool:
        """Whether an item is waiting for others."""
        return bool(self._pending)

    @property
    def has_credit(self) -> bool:
        """Whether ``put`` would take an item."""
        return self._items >= 1 and self._bytes >= 1

    @property
    def running_low(self) -> bool:
        """Whether it is time to look for more credit."""
        return self._items <= self._half[0] or self._bytes <= self._half[1]

    def add_credit(self, items: int, size: int) -> None:
        """CREDIT has come."""
        with self._lock:
            self._items += items
            self._bytes += size

    def end(self) -> bytes:
        """Sends what waits, and gives the last frame."""
        self.flush()
        self.ended = True
        return _codec.encode([END, self.number, self.generation])

    def drop(self) -> None:
        """Nothing more is to go: the call was cancelled."""
        with self._lock:
            self.ended = True
            self._pending = []

    def _flush(self) -> None:
        if self._pending:
            self._items -= len(self._pending)
            if self._packed:
                payload = self._head + len(self._pending).to_bytes(4, "big") + b"".join(self._pending)
            else:
                payload = self._head + b",".join(self._pending) + b"]]"
            self._bytes -= len(payload)
            self._pending = []
            self._size = self._empty
            self.flushes += 1
            self._send(payload)


class _Tending:
    """For a stream whose generator runs in a thread: another thread sends what is left waiting."""

    _tending: Any = None  # released when there is something to tend

    def wake(self: Any) -> None:
        """Something waits, and nobody has seen to it so far."""
        if self._tending is not None:
            self._tending.release()
            return
        self._tending = allocate_lock()
        try:
            _background.start(self._tend)
        except RuntimeError:  # no more threads to be had
            self._tending = None
            self.flush()
            self.rest()

    def end(self: Any) -> bytes:
        """As Stream.end."""
        self.flush()
        self.ended = True
        self._let_go()
        return _codec.encode([END, self.number, self.generation])

    def drop(self: Any) -> None:
        """As Stream.drop."""
        super().drop()  # type: ignore[misc]
        self._let_go()

    def _let_go(self: Any) -> None:
        if self.idle and self._tending is not None:
            self.idle = False
            self._tending.release()

    def _tend(self: Any) -> None:
        tending = self._tending
        tending.acquire()
        flushes = self.flushes
        while not self.ended:
            sleep(PATIENCE)
            try:
                now = self.flush(flushes)
            except HostGone:
                return  # the generator's thread will meet it as well
            if self.rest() and not self.ended:
                tending.acquire()
                flushes = self.flushes
            else:
                flushes = now


class Tended(_Tending, Stream):
    """In Python."""

    def put(self, data: bytes) -> bool:
        """As Stream.put."""
        taken = super().put(data)
        if self.idle and self._pending:
            self.idle = False
            self.wake()
        return taken

    def feed(
        self,
        call: Context,
        iterator: Any,
        guard: Callable[..., Any],
        wait: Callable[[], None],
        poll: Callable[[], None],
    ) -> bool:
        """Takes what a generator yields until that ends. False: the call has been cancelled.

        ``guard`` runs user code, ``wait`` waits for more credit and ``poll`` looks for it; all three may
        raise Cancelled.
        """
        advance = iterator.__next__
        while True:
            try:
                item = guard(call, advance)
            except StopIteration:
                return True
            if call.cancelled():
                return False
            data = self.encoded(item)
            while not self.put(data):
                wait()
            if self.running_low and not self.waiting:  # once a CHUNK, not once an item
                poll()


if _codec.native is not None:

    class Fed(_Tending, _codec.native.Chunks):  # type: ignore[misc]
        """The same with the accelerator, for the main thread of a worker that runs one call at a time.

        Made as ``Fed(number, generation, credit, channel)``, to whose descriptor it writes itself.
        """

        def feed(self, call: Context, iterator: Any, door: Door, midcall: MidCall) -> bool:
            """As Tended.feed. What it needs of ``midcall`` are ``_wait`` and ``poll``."""
            return _codec.native.feed(self, call, iterator, door, midcall)  # type: ignore[union-attr,no-any-return]

        def refuse(self, item: Any, error: BaseException) -> NoReturn:
            """An item can't be encoded."""
            raise unencodable(item, error) from None

        def refuse_length(self, size: int) -> NoReturn:
            """An item makes a frame of this size."""
            raise too_long(size, self.max_frame)


def pump(
    call: Context,
    iterator: Any,
    stream: Any,
    feed: Callable[[], bool],
    guard_close: Callable[..., Any],
) -> bytes:
    """Sends what a generator yields; gives the last frame, which is of no use if the call has been cancelled.

    ``feed`` calls the stream's ``feed``; ``guard_close`` runs the generator's end, and may raise Cancelled.
    """
    try:
        return stream.end() if feed() else b""
    except BaseException:
        if not call.cancelled():
            stream.flush()  # what came before the error stays
        raise
    finally:
        stream.drop()
        close = getattr(iterator, "close", None)
        if close is not None:
            guard_close(call, close)  # nothing to an exhausted one; else its finally runs


async def drain(
    call: Context,
    generator: Any,
    stream: Stream | None,
    more_credit: Callable[[], Any],
    call_later: Callable[..., Any],
) -> list[Any]:
    """The same for an asynchronous generator; without a stream, gives its items."""
    from contextlib import suppress

    items: list[Any] = []
    timer: Any = None

    def send_what_waits() -> None:
        nonlocal timer
        timer = None
        with suppress(HostGone):  # the next one who writes will meet it as well
            stream.flush()

    try:
        async for item in generator:
            if call.cancelled():
                break
            if stream is None:
                items.append(item)
                continue
            data = stream.encoded(item)
            while not stream.put(data):
                await more_credit()
            if stream.waiting and timer is None:
                timer = call_later(PATIENCE, send_what_waits)
            elif timer is not None and not stream.waiting:
                timer.cancel()
                timer = None
    except BaseException:
        if stream is not None and not call.cancelled():
            stream.flush()
        raise
    finally:
        if timer is not None:
            timer.cancel()
        if stream is not None and call.cancelled():
            stream.drop()
        if hasattr(generator, "aclose"):
            await generator.aclose()
    return items
