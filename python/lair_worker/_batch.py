"""BATCH: one command for each of many arguments, one after another. Each item is a call like any other.

Their replies are made as those of calls are, and only then put together, so that an error, a cancel, a
generator or a session is here what it is everywhere.
"""

from __future__ import annotations

import os
from struct import Struct
from time import monotonic

from lair_worker import _codec
from lair_worker._channel import HostBroken
from lair_worker._context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._protocol2 import Protocol2

RESULT, ERROR, CHUNK, CANCELLED = 2, 3, 6, 10

# Results wait for each other no longer, and take no more room.
FLUSH_SECONDS = 0.001
FLUSH_BYTES = 64 << 10
# What a frame has besides the one value that it may hold.
OVERHEAD = 64

JOURNAL_BYTES = 128 << 10
_STATE = Struct("=QQQQ")


def make_journal() -> int:
    """A file in memory, for the host to read if this worker dies in mid-batch; -1: there is none."""
    try:
        fd = os.memfd_create("lair-journal")
    except (AttributeError, OSError):
        return -1
    os.truncate(fd, JOURNAL_BYTES)
    return fd


class Journal:
    """What has been done of a batch and was not told yet.

    The batch, how many items were told, how many have begun, how many bytes of frames follow; and the frames
    that would have answered the items.
    """

    def __init__(self, fd: int) -> None:
        from mmap import mmap

        self._memory = mmap(fd, JOURNAL_BYTES)
        self._batch = self._told = self._begun = self._size = 0

    def tell(self, number: int, told: int) -> None:
        """Starts anew, after so many items of a batch."""
        self._batch, self._told, self._begun, self._size = number, told, told, 0
        _STATE.pack_into(self._memory, 0, number, told, told, 0)

    def begin(self, begun: int) -> None:
        """An item begins."""
        self._begun = begun
        _STATE.pack_into(self._memory, 0, self._batch, self._told, begun, self._size)

    def add(self, reply: bytes) -> bool:
        """It has ended. False: there is no room to note it."""
        at = _STATE.size + self._size
        end = at + 4 + len(reply)
        if end > JOURNAL_BYTES:
            return False
        self._memory[at:end] = len(reply).to_bytes(4, "big") + reply
        self._size = end - _STATE.size
        _STATE.pack_into(self._memory, 0, self._batch, self._told, self._begun, self._size)
        return True


class Batch:
    """The frames of one batch."""

    def __init__(self, protocol: Protocol2, number: int) -> None:
        self._protocol = protocol
        self._number = number
        self._packed = _codec.name == _codec.MESSAGEPACK
        self._values: list[bytes] = []
        self._errors: list[bytes] = []
        self._size = 0
        self._result, self._error = self._open(RESULT), self._open(ERROR)
        self._cancelled = protocol.cancelled_frame(number)

    def answer(self, function: Any, name: str, items: list[Any], meta: dict[str, Any]) -> bytes:
        """Runs them; gives the last frame, having sent those before it."""
        protocol, number, journal = self._protocol, self._number, self._protocol.journal()
        flushed = started = monotonic()
        last = len(items)
        if journal is not None:
            journal.tell(number, 0)
        for begun, args in enumerate(items, 1):
            if type(args) is not dict and type(args) is not list:
                raise HostBroken("a BATCH with an item that is neither an object nor an array")
            if journal is not None:
                journal.begin(begun)
            reply = protocol.call_item(number, function, Context(name, meta, started, number), args)
            if reply == self._cancelled:
                self._flush(begun - 1)
                return _codec.encode([CANCELLED, number, protocol.generation, begun])
            noted = self._add(reply, begun, journal)
            started = monotonic()
            due = started - flushed >= FLUSH_SECONDS or self._size >= FLUSH_BYTES or not noted
            if due and begun < last:
                self._flush(begun)
                protocol.look_for_cancel()
                flushed = started
        return self._frame(RESULT)

    def _add(self, reply: bytes, begun: int, journal: Journal | None) -> bool:
        """Takes the frame that would have answered a call. False: the journal has no room for it."""
        most = self._protocol.max_frame - OVERHEAD
        if len(reply) > most:
            reply = self._protocol.too_long(self._number, len(reply))
        if self._size + len(reply) > most:
            self._flush(begun - 1)
        self._size += len(reply)
        if reply.startswith(self._result):
            self._values.append(self._body(reply, self._result))
        else:
            index = _codec.encode(len(self._values))
            self._values.append(_codec.encode(None))
            self._errors.append(self._list([index, self._body(reply, self._error)]))
        return journal is None or journal.add(reply)

    def _flush(self, told: int) -> None:
        """Sends what there is; so many items are told then."""
        if self._values:
            self._protocol.send_now(self._frame(CHUNK))
        if (journal := self._protocol.journal()) is not None:
            journal.tell(self._number, told)

    # --- pieces of frames -----------------------------------------------------------------------------

    def _open(self, kind: int) -> bytes:
        """How a frame of four elements begins."""
        head = _codec.encode([kind, self._number, self._protocol.generation])
        return b"\x94" + head[1:] if self._packed else head[:-1] + b","

    def _body(self, frame: bytes, head: bytes) -> bytes:
        return frame[len(head) :] if self._packed else frame[len(head) : -1]

    def _list(self, elements: list[bytes]) -> bytes:
        if self._packed:
            return b"\xdd" + len(elements).to_bytes(4, "big") + b"".join(elements)
        return b"[" + b",".join(elements) + b"]"

    def _frame(self, kind: int) -> bytes:
        head = self._open(kind)
        values, errors = self._list(self._values), self._list(self._errors)
        self._values, self._errors, self._size = [], [], 0
        if self._packed:
            return b"\x95" + head[1:] + values + errors
        return head + values + b"," + errors + b"]"
