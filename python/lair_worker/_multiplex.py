"""Protocol 2 with several calls in flight: an event loop in the main thread owns the channel.

One read takes in many frames, and one write sends all replies of a turn of the loop. What a CALL becomes is
told in ``_calls``.
"""

from __future__ import annotations

import asyncio
import os
from _signal import SIG_DFL  # type: ignore[import-not-found]
from struct import Struct
from time import monotonic

from lair_worker import _codec, _host
from lair_worker._calls import Calls
from lair_worker._cancel import CANCEL, hang_bell, is_cancel, take_bell_down
from lair_worker._channel import HostBroken, HostGone
from lair_worker._context import Context
from lair_worker._coroutines import is_users
from lair_worker._midcall import is_credit
from lair_worker._protocol2 import CALL, CALLBACK_RESULT, CREDIT, FEATURE_OF, SHUTDOWN
from lair_worker._replies import Replies
from lair_worker._settle import event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._channel import Channel
    from lair_worker._errors import Failure
    from lair_worker._worker import Worker

_HEADER = Struct(">I")
_ONE_READ = 256 << 10


class Multiplex(Replies):
    """Answers calls, several at a time."""

    def __init__(
        self, worker: Worker, channel: Channel, generation: int, features: list[str], concurrency: int
    ) -> None:
        super().__init__(worker, channel, generation)
        self.loop = event_loop()
        self._features = features
        self._calls = Calls(self, worker, generation, concurrency)
        self._incoming = bytearray(channel.take_over())
        self._source, self._sink = channel.source, channel.sink
        self._outgoing: list[bytes] = []  # frames of this turn of the loop
        self._rest = b""  # what the host has not taken yet
        self._flushing = False
        self._end: Exception | None = None
        self._open = True  # frames come and go

    # --- start and end --------------------------------------------------------------------------------

    def hang_bell(self) -> int:
        """Makes calls cancellable that keep the loop from running; gives the signal, or 0."""
        self._channel.door = self
        return hang_bell(self._ring)

    def take_down(self, action: Any = SIG_DFL) -> None:
        """Takes the bell down: see ``take_bell_down``."""
        take_bell_down(self._ring, action)

    def ready(self, more: dict[str, Any]) -> None:
        """Says that the worker can be called."""
        if "callback" in self._features:
            _host.callback, _host.tell = self._calls.callback, self._calls.tell
        self._channel.send(self.ready_frame(more))

    def start_failed(self, failure: Failure, more: dict[str, Any]) -> None:
        """Says that it never will."""
        self._channel.send(self.start_failed_frame(failure, more))

    def run(self) -> None:
        """Until EOF, SHUTDOWN or the command ``shutdown``. Raises HostGone and HostBroken."""
        os.set_blocking(self._source, False)
        os.set_blocking(self._sink, False)
        self.loop.add_reader(self._source, self._read)
        self.loop.call_soon(self._take_all)
        try:
            self.loop.run_forever()
        finally:
            self._open = False
            self.loop.remove_reader(self._source)
            self._calls.close()
        if self._end is not None:
            raise self._end

    def _stop(self, error: Exception | None) -> None:
        self._end = self._end or error
        if self._open:
            self.loop.stop()

    def call_ended(self) -> None:
        """A call has sent its last frame."""
        if self._worker.ending.requested and not self._calls.running and not self._flushing:
            self._stop(None)

    # --- in -------------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._read_some():
            self._take_all()
        else:
            self._stop(None)

    def _read_some(self) -> bool:
        """One read; False at EOF."""
        try:
            data = os.read(self._source, _ONE_READ)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        self._incoming += data
        return bool(data)

    def _take_all(self) -> None:
        """Takes the frames that are whole."""
        data, at, received = self._incoming, 0, monotonic()
        try:
            while len(data) - at >= 4:
                first = at + 4
                last = first + _HEADER.unpack_from(data, at)[0]
                if last - first > self._max_frame:
                    raise HostBroken(
                        f"a frame of {last - first} bytes is longer than max_frame, {self._max_frame} bytes"
                    )
                if last > len(data):
                    break
                at = last
                self._take(data[first:last], received)
        except HostBroken as error:
            self._stop(error)
        del data[:at]

    def _take(self, payload: bytearray, received: float) -> None:
        try:
            message = _codec.decode(payload)
            kind, number, generation = message[:3]
        except (ValueError, RecursionError, TypeError) as error:
            raise HostBroken(f"a frame that is not [kind, id, generation, ...]: {error}") from None
        if type(kind) is not int or type(number) is not int or type(generation) is not int:
            raise HostBroken("a frame that is not [kind, id, generation, ...]")
        if generation != self._generation:
            return
        if kind == CALL:
            self._take_call(message, received)
        elif kind == SHUTDOWN:
            self._worker.ending.requested = True
            self.call_ended()
        elif FEATURE_OF.get(kind) not in self._features:
            raise HostBroken(f"a frame of kind {kind}, which no host sends")
        elif kind == CANCEL:
            self._calls.cancel(number)
        elif kind == CREDIT:
            if not is_credit(message[3:5]):
                raise HostBroken("a CREDIT that is not [8, id, generation, items, bytes]")
            self._calls.add_credit(number, *message[3:5])
        elif kind == CALLBACK_RESULT:
            found = _host.outcome(message)
            if found is None:
                raise HostBroken("a CALLBACK_RESULT that is not [12, id, generation, number, ...]")
            self._calls.give(message[3], found)

    def _take_call(self, message: list[Any], received: float) -> None:
        if self._worker.ending.requested:
            return
        if len(message) < 6:
            raise HostBroken("a CALL that is not [1, id, generation, command, args, meta]")
        _, number, _, name, args, meta = message[:6]
        if type(name) is not str or type(meta) is not dict or type(args) not in (dict, list):
            raise HostBroken("a CALL that is not [1, id, generation, command, args, meta]")
        if "stream" in meta and meta["stream"] is not None and not is_credit(meta["stream"]):
            raise HostBroken("a CALL whose meta.stream is not [items, bytes]")
        self._worker.command_count += 1
        function = self._worker.table.get(name)
        if function is None:
            self.send(self.unknown(number, name, self._worker.table))
            return
        call = Context(name, meta, received, number)
        call.hit, call.shields, call.owed = False, 0, False
        self._calls.begin(call, function, args)

    def _ring(self, _number: int, frame: Any) -> None:
        """The handler of the bell: for a coroutine that keeps the loop from running, and is cancelled."""
        task = asyncio.current_task(self.loop) if self.loop.is_running() else None
        call = self._calls.of_task(task)
        door = getattr(call, "task", None)  # none: its command has not begun, and the call may be hit already
        if call is None or door is None:
            return  # the loop will read it
        if call.hit:
            due = door.insist(frame)
            if due is not None:
                raise due
            return
        if not is_users(frame):
            return
        self._read_some()
        self.loop.call_soon_threadsafe(self._take_all)
        data, at = self._incoming, 0
        while len(data) - at >= 4:
            first = at + 4
            at = first + _HEADER.unpack_from(data, at)[0]
            if at <= len(data) and is_cancel(data[first:at], call.number, self._generation):
                call.hit = True
                if call.shields:
                    call.owed = True
                else:
                    door.cancel()

    # --- out ------------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Sends a frame at the end of this turn of the loop. From the loop's thread."""
        if not self._flushing and self._open:
            self._flushing = True
            self.loop.call_soon(self._flush)
        self._outgoing += (_HEADER.pack(len(payload)), payload)

    def _flush(self) -> None:
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        if self._rest:
            data = self._rest + data
        try:
            written = os.write(self._sink, data)
        except BlockingIOError:
            written = 0
        except (BrokenPipeError, ConnectionResetError):
            self._stop(HostGone())
            return
        if written < len(data):
            if not self._rest:
                self.loop.add_writer(self._sink, self._flush)
            self._rest = data[written:]
            return
        if self._rest:
            self._rest = b""
            self.loop.remove_writer(self._sink)
        self._flushing = False
        self.call_ended()
