"""The items of a stream on their way to the host: when they go, and that they never exceed its credit.

An item goes at once unless the one before has just gone; then it waits for others to share a CHUNK with,
until ``GAP`` has passed or the CHUNK is full. Nobody knows when a generator will yield again, so somebody
else must see to it that an item that waits goes soon: a thread, which lives only as long as a stream that
needs it, or a timer of the event loop.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread
from time import monotonic, sleep

from lair_worker._channel import HostGone
from lair_worker._encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from lair_worker._context import Context

CHUNK, END = 6, 7
GAP = 0.0002  # items that come quicker after each other share a CHUNK
PATIENCE = 0.001  # how long one waits for company, if the generator takes its time then
LARGEST_CHUNK = 64 << 10


class Unstreamable(Exception):
    """An item that can't be sent."""


class Stream:
    """The CHUNKs of one call. Thread-safe."""

    def __init__(
        self, number: int, generation: int, credit: list[int], max_frame: int, send: Callable[[bytes], Any]
    ) -> None:
        self.number = number
        self._generation = generation
        self._head = b"[%d,%d,%d,[" % (CHUNK, number, generation)
        self._items, self._bytes = credit
        self._half = (self._items // 2, self._bytes // 2)
        self._max_frame = max_frame
        self._send = send
        self._lock = allocate_lock()
        self._pending: list[bytes] = []
        self._size = self._empty = len(self._head) + 1  # of the CHUNK, were it sent now; an item adds a comma
        self._last = 0.0
        self._flushes = 0
        self._ended = False

    def encoded(self, item: Any) -> bytes:
        """An item as it goes into a CHUNK. Unstreamable if it can't."""
        try:
            data = encode(item)
        except Exception as error:
            from lair_worker._encode import explain

            raise Unstreamable(str(explain(item, error)).replace("result", "item", 1)) from None
        if self._empty + len(data) + 1 > self._max_frame:
            size = self._empty + len(data) + 1
            raise Unstreamable(f"item makes a frame of {size} bytes; max_frame is {self._max_frame} bytes")
        return data

    def put(self, data: bytes) -> bool:
        """Takes an item, if there is credit for it; when False comes back, there is nothing else waiting."""
        with self._lock:
            size = self._size + len(data) + 1
            if self._pending and (
                len(self._pending) >= self._items
                or size > self._bytes
                or size > LARGEST_CHUNK
                or size > self._max_frame
            ):
                self._flush()
                size = self._size + len(data) + 1
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
            if not self._ended and if_unchanged_since in (-1, self._flushes):
                self._flush()
            return self._flushes

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
        self._ended = True
        return encode([END, self.number, self._generation])

    def drop(self) -> None:
        """Nothing more is to go: the call was cancelled."""
        with self._lock:
            self._ended = True
            self._pending = []

    def _flush(self) -> None:
        if self._pending:
            self._items -= len(self._pending)
            payload = self._head + b",".join(self._pending) + b"]]"
            self._bytes -= len(payload)
            self._pending = []
            self._size = self._empty
            self._flushes += 1
            self._send(payload)


class Tended(Stream):
    """A stream whose generator runs in a thread: another thread sends what is left waiting."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._tending: Any = None  # released when there is something to tend
        self._idle = True

    def put(self, data: bytes) -> bool:
        """As Stream.put."""
        taken = super().put(data)
        if self._idle and self._pending:
            self._idle = False
            if self._tending is not None:
                self._tending.release()
            else:
                self._tending = allocate_lock()
                try:
                    start_new_thread(self._tend, ())
                except RuntimeError:  # no more threads to be had
                    self._tending, self._idle = None, True
                    self.flush()
        return taken

    def end(self) -> bytes:
        """As Stream.end."""
        frame = super().end()
        self._let_go()
        return frame

    def drop(self) -> None:
        """As Stream.drop."""
        super().drop()
        self._let_go()

    def _let_go(self) -> None:
        if self._idle and self._tending is not None:
            self._idle = False
            self._tending.release()

    def _tend(self) -> None:
        tending = self._tending
        tending.acquire()
        flushes = self._flushes
        while not self._ended:
            sleep(PATIENCE)
            try:
                now = self.flush(flushes)
            except HostGone:
                return  # the generator's thread will meet it as well
            with self._lock:
                idle = not self._pending
                self._idle = idle
            if idle and not self._ended:
                tending.acquire()
                flushes = self._flushes
            else:
                flushes = now


def pump(
    call: Context,
    iterator: Any,
    stream: Stream,
    guard: Callable[..., Any],
    guard_close: Callable[..., Any],
    wait: Callable[[], None],
    poll: Callable[[], None],
) -> bytes:
    """Sends what a generator yields; gives the last frame, which is of no use if the call has been cancelled.

    ``guard`` runs user code and ``guard_close`` its end, ``wait`` waits for more credit and ``poll`` looks
    for it; all four may raise Cancelled.
    """
    advance = iterator.__next__
    try:
        while True:
            try:
                item = guard(call, advance)
            except StopIteration:
                break
            if call.cancelled():
                return b""
            data = stream.encoded(item)
            while not stream.put(data):
                wait()
            if stream.running_low and not stream.waiting:  # once a CHUNK, not once an item
                poll()
        return stream.end()
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
