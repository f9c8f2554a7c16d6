"""Handover: small frames that change hands in a page of shared memory. These tests play the host's part."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import random
import select
import signal
import struct
import time
from pathlib import Path

import pytest

import host
from host import CALL, CALLBACK, CALLBACK_RESULT, CANCEL, CANCELLED, CHUNK, END, ERROR, FEATURES, RESULT
from test_batch import batch
from test_shared import ANN

ASLEEP, LOOKS, WRITING, FULL = 0, 1, 2, 3
MOST = 2040
TO_WORKER, TO_HOST = 0, 2048 // 4  # where the boxes begin, in words: the state, then the size, then the room

SOURCE = """
    import os, subprocess, threading
    import lair_worker
    from lair_worker import host

    def echo(value): return value
    def text(size): return "x" * size
    async def later_text(size): return "x" * size
    def ask(value): return host.f(value)
    def ask_text(size): return host.f("x" * size)
    def count(n): yield from range(n)
    def fail(value): raise ValueError(value)
    def stick(): threading.Event().wait()
    def die(): os._exit(3)
    def end(value):
        lair_worker.context().session.shared.put_at_end("a", value)
        return value
    def fork():
        if child := os.fork(): return os.waitpid(child, 0)[1]
        return "the child goes on as if it were the worker"
    def listed():
        return subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, stdout=-1).stdout.decode()
"""


@pytest.fixture
def tier():
    """The accelerator's alone: without it nothing is handed over."""
    if not host.has_native(host.INTERPRETER):
        pytest.skip("no accelerator for this interpreter: python/native/build.sh python/lair_worker PYTHON")
    return "T2"


PTRACE_DETACH, PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 24, 0x4206, 0x4207
RECVFROM = {"x86_64": 45, "aarch64": 207}.get(os.uname().machine)


def trace(request, pid):
    if ctypes.CDLL(None, use_errno=True).ptrace(request, pid, None, None):
        pytest.skip(f"no ptrace: {os.strerror(ctypes.get_errno())}")


def without_pause(attempt, what):
    """As wait_until, but for its pauses: after one the worker would not look, or no longer."""
    deadline = time.monotonic() + host.PATIENCE
    while not attempt():
        assert time.monotonic() < deadline, f"in {host.PATIENCE} s never: {what}"
        os.sched_yield()


class Page:
    """The page as the host has it, and its worker.

    There is no compare-exchange here. So between our seeing that the worker looks and our saying that the
    box is full it may have gone to sleep. Then it never sees the frame, which is taken away again.
    """

    def __init__(self, worker, number: int) -> None:
        self.worker = worker
        fd = os.open(f"/proc/{worker.pid}/fd/{number}", os.O_RDWR)
        self.memory = mmap.mmap(fd, 4096)
        os.close(fd)
        self.words = memoryview(self.memory).cast("I")

    def make_call(self, command: str, *args, **meta) -> bytes:
        self.worker._ids += 1
        return self.worker.frame(CALL, self.worker._ids, command, list(args), meta)

    def put(self, data: bytes, size: int | None = None, state: int = FULL) -> None:
        """Fills the worker's box, in whatever state that is."""
        self.memory[8 : 8 + len(data)] = data
        self.words[TO_WORKER + 1] = len(data) if size is None else size
        self.words[TO_WORKER] = state

    def worker_sleeps(self) -> bool:
        return host.process_state(self.worker.pid) in "SZX"

    def finds_looking(self) -> bool:
        """Whether the worker, which has just answered, looks for the next frame before it sleeps."""
        without_pause(lambda: self.words[TO_WORKER] == LOOKS or self.worker_sleeps(), "it looks, or sleeps")
        return self.words[TO_WORKER] == LOOKS

    def leave(self, frame: bytes) -> bool:
        """Hands a frame over, if the worker looks for one; gives whether it has taken it."""
        if len(frame) > MOST or not self.finds_looking():
            return False
        self.put(frame)
        without_pause(lambda: self.words[TO_WORKER] != FULL or self.worker_sleeps(), "it takes it, or sleeps")
        if self.words[TO_WORKER] != FULL:
            return True
        self.words[TO_WORKER] = ASLEEP
        return False

    def warm_up(self) -> None:
        """A worker looks only after calls that came quickly."""
        assert [self.worker.call("echo", n) for n in range(2)] == [0, 1]

    def hand_over(self, command: str, *args, looks: bool = False) -> int:
        """Has the worker take a call from its box, however often that must be tried."""

        def attempt():
            self.warm_up()
            self.words[TO_HOST] = LOOKS if looks else ASLEEP
            taken = self.leave(self.make_call(command, *args))
            if not taken:
                self.words[TO_HOST] = ASLEEP
            return taken

        without_pause(attempt, "the worker takes a call from its box")
        return self.worker._ids

    def freeze(self, late: bool = False) -> None:
        """Stops the worker while it looks; if ``late``, when it has looked into its box for the last time."""
        pid, system_call = self.worker.pid, Path(f"/proc/{self.worker.pid}/syscall")
        if late and RECVFROM is None:
            pytest.skip("the number of a system call is not known here")

        def attempt():
            self.warm_up()
            self.finds_looking()
            if late:
                trace(PTRACE_SEIZE, pid)
                trace(PTRACE_INTERRUPT, pid)
                while os.waitpid(pid, 0) and self.words[TO_WORKER] == LOOKS:
                    if int(system_call.read_text().split()[0]) == RECVFROM:
                        return True
                    trace(PTRACE_SYSCALL, pid)
            else:
                self.worker.stop()
            return self.words[TO_WORKER] == LOOKS or self.go_on(late)

        without_pause(attempt, "the worker is stopped while it looks")

    def go_on(self, late: bool = False) -> None:
        """Lets a frozen worker find what is in its box by now."""
        if late:
            time.sleep(0.002)  # longer than it may look (spin): so its next step is to stop
            trace(PTRACE_DETACH, self.worker.pid)
        else:
            self.worker.signal(signal.SIGCONT)

    def receive(self):
        """The next frame for a host that looks, and whether it was in the box."""
        channel = [self.worker._read_fd]

        def has_come():
            return self.words[TO_HOST] == FULL or self.worker._buffer or select.select(channel, [], [], 0)[0]

        without_pause(has_come, "a frame from the worker")
        if self.words[TO_HOST] != FULL:
            message = self.worker.receive()
            if message[0] in host.LAST:  # so nothing is written to the box now
                assert self.words[TO_HOST] in (ASLEEP, LOOKS)
                self.words[TO_HOST] = ASLEEP
            return False, message
        frame = self.memory[2056 : 2056 + self.words[TO_HOST + 1]]
        assert struct.unpack(">I", frame[:4]) == (len(frame) - 4,)
        self.words[TO_HOST] = ASLEEP
        return True, self.worker.decode(frame[4:])

    def receive_all(self, give=None):
        """What comes up to a call's last frame, as (kind, in the box), and that; callbacks get a value."""
        found = []
        while True:
            was_in_box, message = self.receive()
            found.append((message[0], was_in_box))
            if message[0] in host.LAST:
                return found, message
            if message[0] == CALLBACK and message[3]:
                self.worker.write(self.worker.frame(CALLBACK_RESULT, message[1], message[3], True, give))

    def result(self, command: str, *args):
        """Whether the result of a call that is sent is in the box, and the result."""
        self.words[TO_HOST] = LOOKS
        number = self.worker.send_call(command, list(args))
        was_in_box, message = self.receive()
        assert message[:3] == [RESULT, number, self.worker.generation]
        self.worker.assert_silent()
        return was_in_box, message[3]


@pytest.fixture
def page(start):
    worker = start(SOURCE)
    lair = worker.greet(features=[*FEATURES, "handover"], spin=1000)["lair"]
    assert worker.call("echo", "READY is no answer") == "READY is no answer"  # the first goes by the socket
    return Page(worker, lair["handover"])


@pytest.mark.parametrize("transport", ["channel", "stdio-socket"])
def test_it_is_announced_with_a_memfd_of_its_own_that_cannot_become_shorter(start, transport):
    worker = start(SOURCE, transport=transport)
    lair = worker.greet(features=["spin", "handover"], spin=1000)["lair"]
    assert lair["features"] == ["spin", "handover"] and lair["handover"] > 2
    path = f"/proc/{worker.pid}/fd/{lair['handover']}"
    assert os.readlink(path).startswith("/memfd:lair-handover")
    with open(path, "r+b", buffering=0) as file:
        assert fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        for size in (0, 2048, 4095):
            with pytest.raises(PermissionError):
                os.ftruncate(file.fileno(), size)
        assert file.read(5000) == bytes(4096)
    assert "lair-handover" not in worker.call("listed"), "a program that a command starts has it"


LESS = [{"features": ["spin"]}, {"features": ["handover"]}, {"features": FEATURES}, {"concurrency": 2}]
LESS += [{"codecs": ["json"]}, *({"spin": spin} for spin in (0, 1001, None))]
PLACES = [{"transport": "stdio-pipe"}, {"env": {"LAIR_NATIVE": "off"}}, {"env": {"LAIR_NATIVE": "codec"}}]
CASES = [({}, change) for change in LESS] + [(place, {}) for place in PLACES]


@pytest.mark.parametrize(("place", "change"), CASES, ids=str)
def test_it_is_announced_only_where_it_can_be(start, place, change):
    worker = start("async def echo(value): return value", **place)
    lair = worker.greet(**{"features": ["spin", "handover"], "spin": 1000, **change})["lair"]
    assert "handover" not in lair["features"] and "handover" not in lair
    assert worker.call("echo", 1) == 1


@pytest.mark.parametrize("looks", [False, True])
def test_a_call_that_is_handed_over_is_answered_where_the_host_waits(page, looks):
    for n in range(20):
        number = page.hand_over("echo", n, looks=looks)
        assert page.receive() == (looks, [RESULT, number, page.worker.generation, n])
        page.worker.assert_silent()
        assert page.words[TO_WORKER] in (ASLEEP, LOOKS) and page.words[TO_HOST] == ASLEEP


def test_whatever_its_command_does_a_call_may_be_handed_over(page):
    assert page.worker.reply_to(page.hand_over("fail", "no"))[0] == ERROR
    assert page.worker.reply_to(page.hand_over("subtract"))[3]["kind"] == "unknown_command"
    assert page.worker.reply_to(page.hand_over("later_text", 1))[3] == "x"
    page.hand_over("ask", 1)
    assert page.receive_all(give=5)[1][3] == 5
    page.hand_over("die")
    assert page.worker.wait() == 3
    assert page.words[TO_WORKER] == ASLEEP


def test_a_call_that_fills_the_box_is_whole(page):
    page.worker._ids = 1000  # the numbers from here on have the same length
    text = "x" * (MOST - len(page.make_call("echo", "x" * 1000)) + 1000)
    page.hand_over("echo", text)
    assert page.words[TO_WORKER + 1] == MOST
    assert page.worker.receive()[3] == text


@pytest.mark.parametrize("late", [False, True])
def test_a_cancel_on_the_socket_comes_after_its_call_in_the_box(page, late):
    """Who takes the CANCEL first drops it, and then the call that sticks never ends."""
    for bell in (True, False, True, False):
        page.freeze(late)
        page.put(page.make_call(*(["stick"] if bell else ["echo", "value"])))
        if bell:
            page.worker.cancel(page.worker._ids)
        else:
            page.worker.write(page.worker.frame(CANCEL, page.worker._ids))
        page.go_on(late)
        kind, *_, last = page.worker.reply_to(page.worker._ids)
        assert kind == CANCELLED or (not bell and (kind, last) == (RESULT, "value"))
        assert page.worker.call("echo", 1) == 1
    page.worker.assert_silent()


@pytest.mark.parametrize("late", [False, True])
def test_whatever_is_on_the_socket_comes_after_what_is_in_the_box(page, late):
    """No host sends a call before the last frame of the one before; here it shows the order."""
    for behind in ([], ["second"]) * 4:
        page.freeze(late)
        page.put(page.make_call("echo", "first"))
        page.worker.write(b"".join(page.make_call("echo", value) for value in behind))
        page.go_on(late)
        assert [page.worker.receive()[3] for _ in ("first", *behind)] == ["first", *behind]
    page.freeze(late)
    page.worker.close_input()
    page.put(page.make_call("echo", "last"))
    page.go_on(late)
    assert page.worker.receive()[3] == "last"
    assert page.worker.expect_end() == ""


def test_a_call_that_a_worker_did_not_live_to_take_is_still_there(page):
    page.freeze()
    page.put(page.make_call("echo", 1))
    page.worker.signal(signal.SIGKILL)
    assert page.worker.wait() == -signal.SIGKILL
    assert page.words[TO_WORKER] == FULL


def test_a_result_is_left_only_for_a_host_that_looks(page):
    for n in range(20):
        assert page.result("echo", n) == (True, n)
    for state in (ASLEEP, WRITING, FULL, 77, 2**32 - 1):
        page.words[TO_HOST] = state
        assert page.worker.call("echo", state) == state
        assert page.words[TO_HOST] == state
    assert page.result("echo", 1) == (True, 1)


def test_a_result_that_just_fits_is_handed_over_and_none_longer(page):
    page.worker._ids = 1000
    fitting = MOST - len(page.worker.frame(RESULT, 1000, "x" * 1000)) + 1000
    for more in (-1, 0, 1, 100, 8, 0, 100_000, 0):
        assert page.result("text", fitting + more) == (more <= 0, "x" * (fitting + more))


@pytest.mark.parametrize(
    ("kinds", "command", "args", "meta"),
    [
        ({CALLBACK, RESULT}, "ask", [1], {}),
        ({CHUNK, END}, "count", [1000], {"stream": [5000, 1_000_000]}),
        ({CALLBACK, RESULT}, "end", [1], {**ANN, "session_changes": 0}),
        ({ERROR}, "fail", ["no"], {}),
        ({ERROR}, "echo", [], {}),
        ({ERROR}, "subtract", [], {}),
    ],
    ids=["callback", "chunks", "put at end", "error", "arguments", "unknown"],
)
def test_a_last_frame_goes_the_way_of_what_its_call_has_sent(page, kinds, command, args, meta):
    for _ in range(3):
        page.words[TO_HOST] = LOOKS
        number = page.worker.send_call(command, args, **meta)
        found, last = page.receive_all(give=1)
        assert set(found) == {(kind, False) for kind in kinds}
        assert last[1:3] == [number, page.worker.generation]
        assert page.result("echo", "next")[1] == "next"  # either way: the last frame is one like any other
        assert page.result("echo", "next but one") == (True, "next but one")


def test_a_forked_child_has_neither_box_nor_channel(page):
    for _ in range(3):
        assert page.result("fork") == (True, 0)


def test_a_host_that_neither_looks_nor_hands_over_sees_no_difference(page):
    worker = page.worker
    assert [worker.call("echo", n) for n in range(300)] == list(range(300))
    assert worker.fail("fail", "no")["type"] == "ValueError"
    assert batch(worker, "echo", [[n] for n in range(10)]) == list(range(10))
    worker.send_call("count", [3], stream=[10, 1000])
    assert {in_box for _, in_box in page.receive_all()[0]} == {False}
    worker.cancel(worker.send_call("stick", []))
    worker.expect_cancelled(worker._ids)
    worker.close_input()
    assert worker.expect_end() == ""
    assert page.words[TO_WORKER] == ASLEEP and page.memory[2048:] == bytes(2048)


@pytest.mark.parametrize("state", [WRITING, 77, 2**32 - 1])
def test_a_state_that_is_not_full_is_no_frame(page, state):
    page.freeze()
    page.put(b"\xff" * MOST, 2**32 - 1, state)
    page.go_on()
    page.worker.wait_for_sleep()
    assert page.words[TO_WORKER] == ASLEEP
    assert page.worker.call("echo", 1) == 1


@pytest.mark.parametrize("size", [MOST, MOST + 1, 4096, 2**31, 4_000_000_000, 2**32 - 1])
def test_no_size_has_more_read_than_the_box(page, size):
    page.freeze()
    text = random.Random(size).randbytes(3000).hex()
    call = page.make_call("echo", text)
    page.put(call[:MOST], size)
    page.memory[2056:] = b"\xff" * MOST  # what is behind it, should it read on
    page.go_on()
    page.worker.write(call[MOST:])
    assert page.worker.receive() == [RESULT, page.worker._ids, page.worker.generation, text]


@pytest.mark.parametrize("cut", [3, 30])
def test_parts_of_frames_and_several_are_what_they_are_on_the_socket(page, cut):
    page.freeze()
    both = page.make_call("echo", "first") + page.make_call("echo", "second")
    page.put(both[:-cut])
    page.go_on()
    page.worker.write(both[-cut:])
    assert [page.worker.receive()[3] for _ in range(2)] == ["first", "second"]


@pytest.mark.parametrize("data", [b"\0\0\0\5[1,2]", b"\xff" * 4, b"\xff" * MOST, bytes(MOST), bytes(4)])
def test_nonsense_breaks_the_protocol_as_on_the_socket(page, data):
    page.freeze()
    page.put(data)
    page.go_on()
    assert "broken the protocol" in page.worker.expect_end(1)


@pytest.mark.parametrize("native", [None, "off"], ids=["T2", "T0"])
@pytest.mark.parametrize("command", ["text", "later_text", "ask_text"])
def test_long_frames_arrive_whole_also_when_the_bell_rings_in_their_midst(start, native, command):
    worker = start(SOURCE, env={"LAIR_NATIVE": native})
    worker.greet(features=[*FEATURES, "handover"], spin=1000)
    for size in (256 << 10, (256 << 10) + 1, 300_000, 5_000_000):
        number = worker.send_call(command, [size])
        for _ in range(5 if size > 1 << 20 else 0):
            worker.wait_for_sleep()  # the socket is full
            worker.ring()
        message = worker.reply_to(number)
        if message[0] == CALLBACK:
            assert message[5] == ["x" * size]
            worker.write(worker.frame(CALLBACK_RESULT, number, message[3], True, message[5][0]))
            message = worker.reply_to(number)
        assert message[0] == RESULT and message[3] == "x" * size


def test_calls_and_results_that_go_either_way_are_answered_once_each(page):
    worker, chance, strayed = page.worker, random.Random(4), False  # strayed: the last frame was an error
    for n in range(2000):
        value = [n, "x" * chance.choice([0, 10, 500, 1900, 2100, 5000])]
        fails, looks, hands = (chance.random() < odds for odds in (0.05, 0.6, 0.7))
        frame = page.make_call(*(["fail", str(n)] if fails else ["echo", value]))
        if looks:
            page.words[TO_HOST] = LOOKS
        if not (hands and page.leave(frame)):
            worker.write(frame)
        was_in_box, message = page.receive()
        assert message[:3] == [ERROR if fails else RESULT, worker._ids, worker.generation]
        assert (message[3]["message"] if fails else message[3]) == (str(n) if fails else value)
        fits = len(worker.frame(RESULT, worker._ids, value)) <= MOST
        assert was_in_box == (looks and fits and not (fails or strayed))
        worker.assert_silent()
        strayed = fails
    assert worker.call("get_stats")["command_count"] == 2002, "the first and this one, too"
