"""Frames (u32 big-endian length, then the payload) on the descriptor or descriptors that the host gave.

One thread, blocking reads into one buffer, one write per frame. ``FileIO`` rather than ``socket``: it serves
sockets and pipes alike, and it is loaded already, while ``socket`` would add 4 ms to the start.
"""

from __future__ import annotations

import os
import sys
from io import FileIO
from stat import S_ISSOCK
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_MAX_FRAME = 64 << 20
BUFFER_SIZE = 256 << 10

_HEADER = Struct(">I")
_unpack_header = _HEADER.unpack_from
_pack_header = _HEADER.pack


# In a worker that is forked from a warm parent: a buffer whose memory is the parent's until it is written to.
_inherited: list[bytearray] = []


class HostGone(Exception):
    """The host has closed the channel while a frame was under way: nobody is left to tell."""


class HostBroken(Exception):
    """The host has sent what no host of this protocol sends; the channel can't be trusted any more."""


class Channel:
    """A duplex stream of frames. Not thread-safe; the worker's main thread owns it."""

    __slots__ = (
        "_buffer", "_descriptors", "_descriptors_in", "_end", "_plain_readinto", "_poll", "_readinto",
        "_receiver", "_start", "_view", "_write", "door", "max_frame", "sink", "source", "spin",
    )  # fmt: skip

    def __init__(self, source: int, sink: int) -> None:
        self.max_frame = DEFAULT_MAX_FRAME
        self.spin = 0  # for so many microseconds the accelerator looks for a frame before it sleeps (wait.c)
        self._descriptors = {source, sink}
        self.source = source
        self.sink = sink
        self.door: Any = None  # told when a frame comes with others behind it
        for fd in self._descriptors:
            os.set_blocking(fd, True)
        # closefd=False: the descriptors live as long as the process, also while the interpreter winds down.
        self._readinto = FileIO(source, "rb", closefd=False).readinto
        self._write = FileIO(sink, "wb", closefd=False).write
        self._buffer = _inherited.pop() if _inherited else bytearray(BUFFER_SIZE)
        self._view = memoryview(self._buffer)
        self._start = 0  # the unread bytes in the buffer are [_start, _end)
        self._end = 0

    def receive(self) -> memoryview | bytearray | None:
        """The next frame's payload, valid until the next call; None at EOF between two frames."""
        if not self._end:  # the ordinary case: nothing left over, and one read brings exactly one frame
            try:
                count = self._readinto(self._buffer) or 0
            except ConnectionResetError:
                count = 0
            if count >= 4:
                length = _unpack_header(self._buffer)[0]
                if count == length + 4 and length <= self.max_frame:
                    return self._view[4:count]
            self._end = count
        return self._receive_piecemeal()

    def send(self, payload: bytes) -> None:
        """Sends one frame. HostGone if nobody reads any more."""
        header = _pack_header(len(payload))
        try:
            if len(payload) > BUFFER_SIZE:  # joining would copy a long one once more
                self._write_long(header, memoryview(payload))
                return
            frame = header + payload
            written = self._write(frame)
            if written != len(frame):
                self._write_rest(memoryview(frame)[written or 0 :])
        except (BrokenPipeError, ConnectionResetError):
            raise HostGone from None

    def send_both(self, first: bytes, second: bytes) -> None:
        """Sends two frames as one piece, the first of which is short."""
        header = _pack_header(len(first))
        if len(second) > BUFFER_SIZE:
            self.send(first)
            self.send(second)
        else:
            self.send_rest(header + first + _pack_header(len(second)) + second)

    def send_rest(self, rest: bytes) -> None:
        """Sends what is left of a frame. HostGone if nobody reads any more."""
        try:
            self._write_rest(memoryview(rest))
        except (BrokenPipeError, ConnectionResetError):
            raise HostGone from None

    def ready(self) -> bool:
        """Whether ``receive`` would give something at once, or wait for no more than the rest of a frame."""
        return self._end > self._start or self._readable()

    @property
    def holds_bytes(self) -> bool:
        """Whether something was read and not received: the descriptor says nothing of it any more."""
        return self._end > self._start

    def look_ahead(self) -> list[memoryview]:
        """The payloads of all whole frames that have come, which stay to be received. Doesn't block.

        Only what fits into the buffer: a frame behind a longer one is not seen. For the thread that receives.
        Whoever waits for the descriptor to be readable must be told of them, as they are no longer there.
        """
        self._make_room(BUFFER_SIZE if self._end == BUFFER_SIZE else 0)
        while self._end < BUFFER_SIZE and self._readable() and self._fill():
            pass
        found = []
        at = self._start
        while self._end - at >= 4:
            first = at + 4
            at = first + _unpack_header(self._buffer, at)[0]
            if at > self._end:
                break
            found.append(self._view[first:at])
        return found

    def watch(self) -> None:
        """Makes the two functions above work; not in them, because a signal handler must import nothing."""
        from select import POLLIN, poll

        poller = poll()
        poller.register(self.source, POLLIN)
        self._poll = poller.poll

    def _readable(self) -> bool:
        return bool(self._poll(0))

    @property
    def is_socket(self) -> bool:
        """Whether descriptors can come with its bytes."""
        return S_ISSOCK(os.fstat(self.source).st_mode)

    def expect_descriptors(self) -> None:
        """From now on keeps those that come, until they are taken. Otherwise they would be dropped."""
        from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET, socket

        self._descriptors_in: list[int] = []
        self._receiver = receiver = socket(-1, -1, -1, self.source)
        receiver.settimeout(None)  # the user's default may be another
        space = CMSG_SPACE(16)

        def readinto(target: bytearray | memoryview) -> int:
            count, control, _, _ = receiver.recvmsg_into([target], space, MSG_CMSG_CLOEXEC)
            for level, kind, data in control:
                if level == SOL_SOCKET and kind == SCM_RIGHTS:
                    self._descriptors_in += memoryview(data)[: len(data) & ~3].cast("i").tolist()
            return count

        self._plain_readinto, self._readinto = self._readinto, readinto  # type: ignore[assignment]

    def taken_descriptors(self) -> list[int]:
        """Those that have come since ``expect_descriptors``; the caller's."""
        self._readinto = self._plain_readinto
        self._receiver.detach()
        return self._descriptors_in

    def move_with(self, readinto: Any, write: Any) -> tuple[Any, Any]:
        """Moves bytes with these from now on, which are as FileIO's; gives those that it has used so far."""
        plain = self._readinto, self._write
        self._readinto, self._write = readinto, write
        return plain

    def take_over(self) -> bytes:
        """What has come and was not received, for somebody who will read the descriptor himself."""
        rest = bytes(self._view[self._start : self._end])
        self._start = self._end = 0
        return rest

    def bequeath(self) -> None:
        """Leaves the buffer of this channel, which receives nothing, to the next one of a forked process."""
        _inherited.append(self._buffer)

    def detach(self) -> None:
        """Puts /dev/null in place of the channel, which a forked child must not hold open or write to."""
        null = os.open(os.devnull, os.O_RDWR)
        for fd in self._descriptors:
            os.dup2(null, fd, inheritable=False)
        os.close(null)

    def _receive_piecemeal(self) -> memoryview | bytearray | None:
        """Half frames, several frames at once, frames longer than the buffer."""
        self._make_room(4)
        while self._end - self._start < 4:
            if not self._fill():
                return self._at_eof(within_frame=self._end > self._start)
        length = _unpack_header(self._buffer, self._start)[0]
        if length > self.max_frame:
            raise HostBroken(f"a frame of {length} bytes is longer than max_frame, {self.max_frame} bytes")
        if length + 4 > BUFFER_SIZE:
            return self._receive_long(length)
        self._make_room(length + 4)
        while self._end - self._start < length + 4:
            if not self._fill():
                return self._at_eof(within_frame=True)
        first = self._start + 4
        last = first + length
        self._start = last
        if last == self._end:
            self._start = self._end = 0
        elif self.door is not None:
            self.door.rung = True  # the next frame may be the CANCEL of this one
        return self._view[first:last]

    def _receive_long(self, length: int) -> bytearray | None:
        payload = bytearray(length)
        view = memoryview(payload)
        filled = self._end - self._start - 4  # shorter than length, which is beyond the buffer
        view[:filled] = self._view[self._start + 4 : self._end]
        self._start = self._end = 0
        while filled < length:
            count = self._read(view[filled:])
            if not count:
                return self._at_eof(within_frame=True)
            filled += count
        return payload

    def _make_room(self, size: int) -> None:
        """Makes the buffer able to hold ``size`` unread bytes, by moving what is there to its front."""
        if self._start and self._start + size > BUFFER_SIZE:
            waiting = self._end - self._start
            self._buffer[:waiting] = self._buffer[self._start : self._end]
            self._start, self._end = 0, waiting

    def _fill(self) -> int:
        """One read into the buffer's free end; its count, 0 at EOF."""
        count = self._read(self._view[self._end :] if self._end else self._buffer)
        self._end += count
        return count

    def _read(self, target: bytearray | memoryview) -> int:
        while True:
            try:
                count = self._readinto(target)
            except ConnectionResetError:
                return 0  # the host died with our last reply unread
            if count is not None:
                return count
            self._make_blocking()

    def _write_long(self, header: bytes, payload: memoryview) -> None:
        self._write_rest(memoryview(header + payload[:BUFFER_SIZE]))
        self._write_rest(payload[BUFFER_SIZE:])

    def _write_rest(self, rest: memoryview) -> None:
        while rest:
            written = self._write(rest)
            if written is None:
                self._make_blocking()
            else:
                rest = rest[written:]

    def _make_blocking(self) -> None:
        """Somebody who shares the descriptor has made it non-blocking behind our back."""
        for fd in self._descriptors:
            os.set_blocking(fd, True)

    @staticmethod
    def _at_eof(within_frame: bool) -> None:
        if within_frame:
            say("the channel ended within a frame")


def say(what: str) -> None:
    """A line on stderr, for a human. Not through sys.stderr: that may be closed, or anything."""
    try:
        os.write(2, f"lair_worker: {what}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # the log of a host that is gone


def open_channel() -> Channel:
    """The channel of this process: the descriptor that LAIR_CHANNEL_FD names, else stdin and stdout."""
    named = os.environ.pop("LAIR_CHANNEL_FD", None)
    _keep_standard_descriptors_open()
    if named is None:
        source, sink = _take_over_stdio()
    else:
        source = sink = _inherited_socket(named)
    # Line by line, so that the host's log shows prints in order and before a crash.
    if sys.stdout is None:
        sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - as long as the process
    elif hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    _let_the_heap_keep_its_top()
    return Channel(source, sink)


def _let_the_heap_keep_its_top() -> None:
    """Has glibc keep up to 16 MiB of freed memory for the next call, instead of returning and refetching it.

    Its thresholds rise once a large block has been freed (mallopt(3), M_MMAP_THRESHOLD); this one is never
    touched, so it costs a few microseconds and no memory. Measured: an echo of 3 MiB takes 13 ms, not 24.
    """
    try:
        bytes(8 << 20)
    except MemoryError:
        pass  # a tight limit on the address space


def _inherited_socket(named: str) -> int:
    try:
        fd = int(named)
        if fd < 3 or not S_ISSOCK(os.fstat(fd).st_mode):
            raise ValueError
    except (OSError, ValueError):
        raise HostBroken(f"LAIR_CHANNEL_FD={named} is not an open socket") from None
    os.set_inheritable(fd, False)
    return fd


def _keep_standard_descriptors_open() -> None:
    """A closed descriptor below 3 would be the next one to be handed out, and print() would hit it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            os.set_inheritable(fd, True)


def _take_over_stdio() -> tuple[int, int]:
    """Moves the frames to private descriptors, so that a print() goes to stderr and never into a frame.

    Not flushed on purpose: what user code printed before is still in sys.stdout's buffer, and it will go to
    stderr as well.
    """
    source, sink = os.dup(0), os.dup(1)  # Python's dup is not inheritable
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return source, sink
