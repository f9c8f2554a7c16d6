"""CANCEL and its doorbell: mostly on a worker that runs one call at a time, in its main thread."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from host import CALL, CANCEL, CANCELLED, ERROR, FEATURES, RESULT, is_running, wait_until

SOURCE = (Path(__file__).parents[1] / "workers" / "cancel.py").read_text()


@pytest.fixture
def worker(full):
    return full(SOURCE)


def begin(worker, command, *args):
    """Sends a call and waits until its command runs."""
    before = worker.stdout_log.now().count("begun")
    number = worker.send_call(command, list(args))
    wait_until(lambda: worker.stdout_log.now().count("begun") > before, f"{command} has begun")
    return number


def test_the_handshake_announces_what_the_host_offers(start):
    result = start().greet(features=["stream", "cancel", "levitation"], concurrency=8)["lair"]
    assert result["features"] == ["cancel", "stream"]
    assert result["concurrency"] == 1  # a module without anything async or thread-safe
    assert signal.SIGRTMIN <= result["cancel_signal"] <= signal.SIGRTMAX


@pytest.mark.parametrize("features", [None, [], {}, "cancel", ["callback"], [["cancel"]]])
def test_without_the_feature_there_is_no_signal(start, features):
    result = start().greet(features=features)["lair"]
    assert "cancel_signal" not in result
    assert result["features"] == (["callback"] if features == ["callback"] else [])


@pytest.mark.parametrize(
    "command",
    ["sleep", "spin", "read", "wait_for_a_lock", "convert", "clean_up", "swallow", "in_finally"],
)
def test_a_running_call_is_cancelled_and_the_worker_stays(worker, command):
    pid = worker.call("pid")
    for _ in range(10):
        worker.cancel(begin(worker, command))
        worker.expect_cancelled(worker._ids)
        assert worker.call("echo", 1) == 1
    assert worker.call("pid") == pid


def test_what_the_command_does_with_it_is_seen(worker):
    for command, notes in (
        ("swallow", ["Cancelled"]),
        ("clean_up", ["finally True clean_up"]),
        ("in_finally", ["try"]),
        ("shielded", ["cancelled, and going on", "inner shield ended"]),
        ("shield_and_raise", ["ValueError"]),
    ):
        number = begin(worker, command)
        worker.cancel(number)
        worker.expect_cancelled(number)
        assert worker.call("take_notes") == notes


def test_a_shield_without_a_cancel_changes_nothing(worker):
    assert worker.call("shield_only") == "through"
    assert worker.call("outside") == ["through"]


def test_cancelled_that_nobody_asked_for_is_an_error_like_others(worker):
    error = worker.fail("raise_it")
    assert error["kind"] == "remote" and error["type"] == "lair_worker.Cancelled"
    assert worker.call("echo", 1) == 1


def test_a_second_cancel_of_the_same_call_changes_nothing(worker):
    number = begin(worker, "shielded")
    for _ in range(3):
        worker.cancel(number)
    worker.expect_cancelled(number)
    assert worker.call("take_notes") == ["cancelled, and going on", "inner shield ended"]


def test_a_cancel_for_another_call_or_generation_hits_nobody(worker):
    number = begin(worker, "sleep")
    worker.write(worker.frame(CANCEL, number + 1))
    worker.send([CANCEL, number, worker.generation + 1])
    worker.send_bytes(b"[ 9, " + str(number - 1).encode() + b" , 7 ]")
    worker.ring()
    worker.wait_for_sleep()
    worker.assert_silent()
    worker.send_bytes(b" [ 9 , " + str(number).encode() + b" , 7, null ]")  # any white space, extra elements
    worker.ring()
    worker.expect_cancelled(number)
    assert worker.call("echo", 1) == 1


def test_the_bell_without_a_frame_does_nothing(worker):
    number = begin(worker, "sleep")
    for _ in range(20):
        worker.ring()
    worker.wait_for_sleep()
    worker.assert_silent()
    worker.cancel(number)
    worker.expect_cancelled(number)
    for _ in range(20):
        worker.ring()  # while it is idle
    assert worker.call("echo", 1) == 1


def test_a_frame_without_the_bell_waits_for_the_commands_end(full, tmp_path):
    worker = full("def read(path): return open(path).read()\ndef echo(value): return value")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    number = worker.send_call("read", [str(fifo)])
    with fifo.open("w") as sink:  # opens when the command has opened its end
        worker.write(worker.frame(CANCEL, number))
        sink.write("undisturbed")
    assert worker.receive() == [RESULT, number, worker.generation, "undisturbed"]
    assert worker.call("echo", 1) == 1


def test_a_cancel_that_comes_with_the_call_keeps_it_from_running(worker):
    number = worker._ids + 1
    worker._ids = number
    worker.write(worker.frame(CALL, number, "clean_up", [], {}) + worker.frame(CANCEL, number))
    worker.expect_cancelled(number)
    assert worker.call("take_notes") == [] and "begun" not in worker.stdout_log.now()


IN_C = """
import lair_worker, time
lair_worker.command(time.sleep, name="nap")
"""


def test_a_command_that_is_not_written_in_python_is_cancelled(full):
    worker = full(IN_C)
    number = worker.send_call("nap", [60])
    worker.wait_for_sleep()
    worker.cancel(number)
    worker.expect_cancelled(number)


IN_PLACE_OF_THE_SDK = """
import sys
from types import SimpleNamespace
from lair_worker._cancel import Cancelled, Door

def enters(door, call):
    door.armed, door.hit, door.rung = call, None, False
    door.ring(0, sys._getframe())

def outcome(door, call):
    try:
        enters(door, call)
    except Cancelled:
        return "raised"
    return "spared" if door.rung else "?"

def outcomes(generation):
    frames = [b"[9,%d,%d]" % (number, generation) for number in (5, 6)]
    channel = SimpleNamespace(look_ahead=lambda: frames)
    door = Door(channel, generation, enters.__code__)
    five, six = SimpleNamespace(number=5), SimpleNamespace(number=6)
    return [outcome(door, call) for call in (five, five, six, six)]
"""


def test_a_value_that_has_just_been_given_is_not_lost_to_the_bell(greeted):
    """Where a command has returned, the bell is not answered at once: the value may be a coroutine."""
    assert greeted(IN_PLACE_OF_THE_SDK).call("outcomes", 7) == ["spared", "raised"] * 2


def test_of_calls_in_a_row_only_the_cancelled_one_is_not_run(worker):
    first = worker._ids + 1
    worker._ids += 3
    worker.write(
        b"".join(worker.frame(CALL, first + i, "echo", [i], {}) for i in range(3))
        + worker.frame(CANCEL, first + 1)
    )
    assert worker.receive() == [RESULT, first, worker.generation, 0]
    worker.expect_cancelled(first + 1)
    assert worker.receive() == [RESULT, first + 2, worker.generation, 2]


def test_a_cancel_for_an_ended_call_is_ignored(worker):
    for _ in range(50):
        worker.call("echo", 1)
        worker.cancel(worker._ids)
        assert worker.call("echo", "next") == "next"


def test_a_generator_is_closed(worker):
    for meta in ({"stream": [100, 10_000]}, {}):
        before = worker.stdout_log.now().count("begun")
        worker._ids += 1
        worker.send([CALL, worker._ids, worker.generation, "numbers", [], meta])
        wait_until(lambda before=before: worker.stdout_log.now().count("begun") > before, "begun")
        if meta:
            assert worker.receive() == [6, worker._ids, worker.generation, [0]]
        worker.cancel(worker._ids)
        worker.expect_cancelled(worker._ids)
        assert worker.call("take_notes") == ["closed"]


def test_forked_children_are_not_hit(worker):
    number = begin(worker, "fork_and_wait")
    worker.cancel(number)
    worker.expect_cancelled(number)
    child, status = worker.call("take_notes")
    assert status == -signal.SIGKILL, "the child had ended by itself"
    assert not is_running(child)


def test_a_user_who_takes_the_signal_at_import_keeps_it(start):
    take = "import signal\nsignal.signal(signal.SIGRTMAX - 4, lambda *_: None)\n"
    worker = start(take + "def echo(value): return value")
    assert "cancel_signal" not in worker.greet(features=FEATURES)["lair"]
    assert worker.call("echo", 1) == 1


def test_a_user_who_takes_the_signal_later_loses_only_the_bell(full):
    worker = full(
        """
        import lair_worker as lair, signal, time
        heard = []
        @lair.command
        def take(): signal.signal(signal.SIGRTMAX - 4, lambda *_: heard.append(1))
        @lair.command
        def until_heard():
            print("begun")
            while not heard: time.sleep(0.001)
            return heard
        """
    )
    worker.call("take")
    worker.cancel(begin(worker, "until_heard"))
    assert worker.receive() == [RESULT, worker._ids, worker.generation, [1]]
    assert worker.call("until_heard") == [1]


def test_a_host_without_the_feature_may_not_send_cancel(start):
    worker = start(SOURCE)
    worker.greet(features=["stream"])
    worker.write(worker.frame(CANCEL, 1))
    assert "a frame of kind 9" in worker.expect_end(1)


def test_sigterm_wins_over_cancel(worker):
    number = begin(worker, "sleep")
    worker.stop()
    worker.signal(signal.SIGTERM)
    worker.cancel(number)
    worker.signal(signal.SIGCONT)
    assert worker.wait() == 0


def test_eof_that_the_handler_finds_is_seen_at_the_commands_end(worker):
    begin(worker, "shielded")
    worker.write(worker.frame(CANCEL, worker._ids))
    worker.close_input()
    worker.ring()
    worker.expect_cancelled(worker._ids)
    assert worker.wait() == 0


@pytest.mark.parametrize("transport", ["channel", "stdio-pipe"])
def test_the_race_with_the_commands_end(start, transport):
    """CANCEL at every moment of a short call's life. One last frame an id, and nobody else is ever hit."""
    import random

    worker = start(
        """
        import lair_worker as lair, os
        @lair.command
        def work(rounds):
            for _ in range(rounds): pass
            return rounds
        @lair.command
        def pid(): return os.getpid()
        """,
        transport=transport,
    )
    worker.greet(features=FEATURES)
    pid = worker.call("pid")
    random.seed(5)
    ends = {RESULT: 0, CANCELLED: 0}
    for turn in range(4000):
        work, delay = random.choice([0, 10, 100, 1000, 5000]), random.choice([0, 0, 10, 100, 1000])
        number = worker.send_call("work", [work])
        for _ in range(delay):
            pass
        # Where a busy machine lets none of them end in time, the CANCEL of one in ten is late by itself.
        reply = worker.receive() if turn % 10 == 0 else None
        worker.cancel(number)
        if random.random() < 0.2:
            worker.ring()
        reply = reply or worker.receive()
        assert reply[1:3] == [number, worker.generation] and reply[0] in ends, reply
        ends[reply[0]] += 1
        next_number = worker.send_call("work", [50])
        assert worker.receive() == [RESULT, next_number, worker.generation, 50]
    assert worker.call("pid") == pid
    assert ends[RESULT] and ends[CANCELLED], ends
    assert worker.stderr_log.now() == ""


def test_cancel_in_the_middle_of_an_error_being_made(worker):
    """An error's traceback is the SDK's own code, where nothing is raised: ERROR or CANCELLED comes."""
    for _ in range(300):
        number = worker.send_call("fail", [])
        worker.cancel(number)
        reply = worker.receive()
        assert reply[0] in (ERROR, CANCELLED) and reply[1] == number, reply
        assert reply[0] == CANCELLED or reply[3]["type"] == "ValueError"
    assert worker.call("echo", 1) == 1


@pytest.mark.parametrize("in_one_piece", [True, False])
def test_the_bell_rings_when_a_task_begins(full, in_one_piece):
    """Its call may have been cancelled before that; then the bell finds no command to interrupt."""
    worker = full(
        """
        import asyncio, signal
        current_task = asyncio.current_task

        def ring(*loop):
            if not loop:
                signal.raise_signal(signal.SIGRTMAX - 4)
            return current_task(*loop)

        asyncio.current_task = ring

        async def echo(value): return value
        async def wait(): await asyncio.Event().wait()
        """,
        concurrency=10,
    )
    for number in range(100, 110):
        call = worker.frame(CALL, number, "wait", [], {})
        if in_one_piece:
            worker.write(call + worker.frame(CANCEL, number))
        else:
            worker.write(call)
            worker.cancel(number)
        worker.expect_cancelled(number)
        assert worker.call("echo", number) == number
    assert worker.stderr_log.now() == ""
