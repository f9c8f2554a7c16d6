"""Frames in every ordinary and extraordinary size and pace, on every transport."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import struct

import pytest
from lair_worker._channel import BUFFER_SIZE

from host import CALL, INTERPRETER, RESULT

ECHO = "def echo(value): return value\ndef length(text): return len(text)\n"


def frame(message) -> bytes:
    payload = json.dumps(message).encode()
    return struct.pack(">I", len(payload)) + payload


def test_one_byte_writes(start, transport):
    worker = start(ECHO, transport=transport)
    for data in (
        frame({"id": 0, "command": "ping", "args": {"lair": worker.offer()}}),
        frame([CALL, 1, worker.generation, "echo", ["slow"], {}]),
    ):
        for index in range(len(data)):
            worker.write(data[index : index + 1])
        if data[4:5] == b"{":
            assert worker.receive_handshake()["success"]
            worker.receive()  # READY
    assert worker.receive() == [RESULT, 1, worker.generation, "slow"]


def test_frames_cut_and_joined_anywhere(start, transport):
    worker = start(ECHO, transport=transport)
    worker.greet()
    rng = random.Random(5)
    sizes = [0, 1, 100, 1000, 60_000, BUFFER_SIZE - 36, BUFFER_SIZE, BUFFER_SIZE + 4000, 3 * BUFFER_SIZE]
    values = [rng.choice("abc") * rng.choice(sizes) for _ in range(40)]
    stream = b"".join(
        frame([CALL, number, worker.generation, "length", [value], {}])
        for number, value in enumerate(values, 1)
    )
    while stream:
        cut = rng.choice([1, 3, 4, 5, 1000, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 4, 3 * BUFFER_SIZE])
        worker.write(stream[:cut])
        stream = stream[cut:]
    for number, value in enumerate(values, 1):
        assert worker.receive() == [RESULT, number, worker.generation, len(value)]


def test_frames_around_the_size_of_the_buffer(greeted):
    worker = greeted(ECHO)
    empty = len(frame([CALL, 8, worker.generation, "length", [""], {}]))
    for size in range(BUFFER_SIZE - empty - 5, BUFFER_SIZE - empty + 6):
        assert worker.call("echo", "x" * size) == "x" * size
        worker.write(frame([CALL, 8, worker.generation, "length", ["y" * size], {}]) * 3)
        for _ in range(3):
            assert worker.receive() == [RESULT, 8, worker.generation, size]


def test_replies_around_the_size_of_the_buffer(greeted):
    worker = greeted("def text(size): return 'x' * size")
    for size in range(BUFFER_SIZE - 30, BUFFER_SIZE + 10):
        assert len(worker.call("text", size)) == size


def test_large_frames_both_ways(start, transport):
    worker = start(ECHO, transport=transport)
    worker.greet()
    text = "0123456789abcdef" * (1 << 18)
    number = worker.send_call("echo", [text])
    assert worker.reply_to(number)[3] == text


def test_a_frame_of_exactly_max_frame(start):
    worker = start(ECHO)
    worker.greet(max_frame=100_000)
    empty = frame([CALL, 1, worker.generation, "length", [""], {}])
    room = 100_000 - (len(empty) - 4)
    worker.write(frame([CALL, 1, worker.generation, "length", ["x" * room], {}]))
    assert worker.receive()[3] == room
    worker.write(frame([CALL, 1, worker.generation, "length", ["x" * (room + 1)], {}])[:70_000])
    assert "max_frame" in worker.expect_end(1)


@pytest.mark.parametrize("length", [(64 << 20) + 1, 2**31, 2**32 - 1])
def test_a_huge_length_is_refused_before_memory_is_taken(start, transport, length):
    worker = start(ECHO, transport=transport)
    worker.greet()
    worker.write(struct.pack(">I", length))
    stderr = worker.expect_end(1)
    assert str(length) in stderr and str(64 << 20) in stderr


def test_a_huge_first_frame_is_refused(start):
    worker = start(ECHO)
    worker.write(struct.pack(">I", 2**32 - 1) + b"{")
    assert "max_frame" in worker.expect_end(1)


@pytest.mark.parametrize(
    "cut", [b"\0", b"\0\0\0", b"\0\0\0\x09", b"\0\0\0\x09[1,1", struct.pack(">I", 1 << 20) + b"["]
)
def test_eof_within_a_frame_ends_the_worker(start, transport, cut):
    worker = start(ECHO, transport=transport)
    worker.greet()
    worker.write(cut)
    worker.close_input()
    assert "ended within a frame" in worker.expect_end(0)


def test_a_frame_that_is_complete_at_eof_is_still_answered(start, transport):
    worker = start(ECHO, transport=transport)
    worker.greet()
    worker.send_call("echo", ["last"])
    worker.close_input()
    assert worker.receive()[3] == "last"
    assert worker.expect_end(0) == ""


def test_a_host_that_goes_with_a_reply_unread_is_no_error(start, transport):
    worker = start(ECHO, transport=transport)
    worker.greet()
    worker.send_call("echo", ["unread"])
    assert select.select([worker._read_fd], [], [], 20)[0]
    worker.close_channel()  # on a socket the worker's read now fails: connection reset
    assert worker.expect_end(0) == ""


def test_a_length_of_zero_is_a_frame(start):
    worker = start(ECHO)
    worker.handshake()
    worker.write(b"\0\0\0\0")
    assert worker.receive()["id"] is None
    assert worker.request("echo", {"value": 1})["result"] == 1


def test_a_channel_made_non_blocking_behind_our_back(greeted, start):
    source = ECHO + (
        "def unblock(size=0):\n    import os\n    for fd in os.listdir('/proc/self/fd'):\n"
        "        if int(fd) > 2 and os.path.exists('/proc/self/fd/' + fd): os.set_blocking(int(fd), False)\n"
        "    return 'z' * size\n"
    )
    for transport in ("channel", "stdio-pipe"):
        worker = start(source, transport=transport)
        worker.greet()
        worker.call("unblock")
        assert worker.call("echo", "y" * 1_000_000) == "y" * 1_000_000
        worker.call("unblock")
        assert worker.call("echo", 2) == 2
        number = worker.send_call("unblock", [4_000_000])  # more than any socket or pipe takes at once
        assert len(worker.reply_to(number)[3]) == 4_000_000


@pytest.mark.parametrize("value", ["", "x", "-1", "2", "99", "{file}"])
def test_a_channel_that_is_none_is_refused(start, tmp_path, value):
    import subprocess

    from host import worker_environment

    (tmp_path / "file").write_text("")
    with open(tmp_path / "file") as file:
        done = subprocess.run(
            [INTERPRETER, "-m", "lair_worker", "json"],
            env=worker_environment(LAIR_CHANNEL_FD=value.format(file=file.fileno())),
            pass_fds=[file.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1 and "LAIR_CHANNEL_FD" in done.stderr


def test_children_of_the_worker_never_see_the_channel(greeted):
    worker = greeted(
        """
        import os, subprocess, sys
        def child(close_fds):
            program = "import os; print(os.environ.get('LAIR_CHANNEL_FD'), [os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)])"
            return subprocess.run([sys.executable, "-c", program], close_fds=close_fds, capture_output=True, text=True).stdout
        def own(): return [os.environ.get("LAIR_CHANNEL_FD"), os.listdir("/proc/self/fd")]
        """  # noqa: E501
    )
    assert worker.call("own")[0] is None
    for close_fds in (True, False):
        seen = worker.call("child", close_fds)
        assert seen.startswith("None ") and "socket:" not in seen


def test_a_forked_child_has_no_channel(start, transport):
    worker = start(
        """
        import os
        def fork():
            pid = os.fork()
            if not pid:
                return "the child goes on as if it were the worker"
            return os.waitpid(pid, 0)[1]
        """,
        transport=transport,
    )
    worker.greet()
    assert worker.call("fork") == 0  # the child's reply went nowhere, and its end was orderly
    assert worker.call("fork") == 0


def test_a_forked_child_does_not_hold_the_channel_open(greeted):
    worker = greeted(
        """
        import os, time
        def leave_child_behind():
            pid = os.fork()
            if not pid:
                os.close(1), os.close(2)
                time.sleep(600)
                os._exit(0)
            return pid
        """
    )
    child = worker.call("leave_child_behind")
    try:
        worker.process.kill()
        worker.wait()
        with socket.socket(fileno=os.dup(worker._read_fd)) as end:
            end.settimeout(10)
            assert end.recv(1) == b""
    finally:
        os.kill(child, 9)


def test_no_other_thread_reads_the_channel_with_the_accelerator(start, tier):
    worker = start("""
        import threading
        from lair_worker import _codec

        def refusals():
            found = []
            def read():
                try:
                    _codec.native.read_into(bytearray(1))
                except RuntimeError as error:
                    found.append(str(error))
            if _codec.native:
                thread = threading.Thread(target=read)
                thread.start()
                thread.join()
            return found
    """)
    worker.greet()
    assert worker.call("refusals") == (["serve() does not run in this thread"] if tier == "T2" else [])
