"""Several calls at a time on one worker: coroutines on a loop, functions in threads."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from host import (
    CALL,
    CALLBACK,
    CALLBACK_RESULT,
    CANCEL,
    CANCELLED,
    CHUNK,
    CREDIT,
    END,
    ERROR,
    FEATURES,
    RESULT,
    SHUTDOWN,
    wait_until,
)

SOURCE = (Path(__file__).parents[1] / "workers" / "several.py").read_text()


@pytest.fixture
def worker(full):
    return full(SOURCE, concurrency=2500)


def noted(worker, *wanted):
    """Waits until the worker has made all these notes; gives all."""
    notes = []

    def enough():
        notes.extend(worker.call("take_notes"))
        return set(wanted) <= set(notes)

    wait_until(enough, f"{wanted} among the notes")
    return notes


def replies(worker, count):
    """The next frames, by id."""
    found = {}
    for _ in range(count):
        kind, number, generation, *rest = worker.receive()
        assert generation == worker.generation and number not in found
        found[number] = (kind, rest[0] if rest else None)
    return found


def test_concurrency_is_the_smaller_of_both(start):
    assert start(SOURCE).greet(concurrency=7)["lair"]["concurrency"] == 7
    assert start(SOURCE).greet()["lair"]["concurrency"] == 1
    assert start("def f(): pass").greet(concurrency=7)["lair"]["concurrency"] == 1
    assert start("async def f(): pass").greet(concurrency=7)["lair"]["concurrency"] == 7
    for odd in (None, 0, -1, "2", 2.5, True):
        assert start(SOURCE).greet(concurrency=odd)["lair"]["concurrency"] == 1


@pytest.mark.parametrize(
    ("kind", "offered", "may"), [("async def", 8, 8), ("async def", 1, 1), ("def", 8, 1)]
)
def test_a_call_knows_how_many_there_may_be(full, kind, offered, may):
    source = f"""
        import lair_worker as lair

        @lair.command
        {kind} how_many():
            return lair.context().concurrency
    """
    assert full(source, concurrency=offered).call("how_many") == may


def test_serve_can_say_that_all_is_thread_safe(start):
    source = "import lair_worker\ndef f(): return 1\nlair_worker.serve(thread_safe=True)"
    worker = start(source, script=True)
    assert worker.greet(concurrency=3)["lair"]["concurrency"] == 3
    assert worker.call("f") == 1


def test_kinds_are_announced(start):
    commands = start(SOURCE).greet()["lair"]["commands"]
    kinds = {each["name"]: each["kind"] for each in commands}
    assert kinds["sleep"] == "async" and kinds["count"] == "async_stream"
    assert kinds["t_work"] == "call" and kinds["t_count"] == "stream"


MAY_AWAIT = """
    import asyncio, threading
    import lair_worker as lair

    @lair.command(may_await=True)
    def half(number):
        async def later():
            await asyncio.sleep(0)
            return number / 2, "later", lair.context().command
        where = threading.current_thread() is threading.main_thread()
        return later() if number % 2 else (number / 2, asyncio._get_running_loop() is not None, where)
"""


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_plain_function_may_await(full, concurrency):
    worker = full(MAY_AWAIT, concurrency=concurrency)
    for _ in range(2):
        assert worker.call("half", 4) == [2, concurrency > 1, True]
        assert worker.call("half", 5) == [2.5, "later", "half"]
    error = worker.fail("half", numbr=4)
    assert error["kind"] == "invalid_argument" and "the signature is half(number)" in error["message"]


def test_what_may_await_is_announced_and_overlaps(start):
    hello = start(MAY_AWAIT).greet(concurrency=8)["lair"]
    assert hello["concurrency"] == 8 and hello["commands"][0]["kind"] == "async"


def test_thousands_of_sleeps_in_flight(worker):
    numbers = [worker.send_call("sleep", [0.5, i]) for i in range(2500)]
    found = replies(worker, 2500)
    assert found == {number: (RESULT, i) for i, number in enumerate(numbers)}


def test_replies_come_in_the_order_of_their_ends(worker):
    gates = ["a", "b", "c"]
    numbers = {gate: worker.send_call("wait", [gate]) for gate in gates}
    for gate in ("c", "a", "b"):
        opened = worker.send_call("open_gate", [gate])
        found = replies(worker, 2)
        assert found == {opened: (RESULT, None), numbers[gate]: (RESULT, gate)}


def test_standard_commands_and_errors(worker):
    assert worker.call("ping")["status"] == "ok"
    assert worker.fail("fail")["message"] == "in a task"
    assert worker.fail("t_fail")["message"] == "in a thread"
    assert worker.fail("exits")["type"] == "SystemExit"
    assert worker.fail("nope")["kind"] == "unknown_command"
    assert worker.fail("t_work")["kind"] == "invalid_argument"
    assert worker.fail("echo", 1, 2)["kind"] == "invalid_argument"
    assert worker.fail("echo", x=2)["kind"] == "invalid_argument"
    assert worker.call("echo", value=3) == 3
    assert "in fail" in worker.fail("fail")["traceback"]
    assert worker.call("get_stats")["error_count"] == 8


def test_one_cancelled_hits_only_its_own(worker):
    numbers = [worker.send_call("wait", [f"g{i}"]) for i in range(20)]
    noted(worker, *(f"waits g{i}" for i in range(20)))
    random.seed(1)
    for number in random.sample(numbers, 10):
        worker.write(worker.frame(CANCEL, number))
        worker.expect_cancelled(number)
        numbers.remove(number)
    notes = worker.call("take_notes")
    assert sum(note.startswith("cancelled") and note.endswith("True") for note in notes) == 10
    for i in range(20):
        worker._ids += 1
        worker.send([CALL, worker._ids, worker.generation, "open_gate", [f"g{i}"], {}])
    found = replies(worker, 20 + len(numbers))
    assert all(found[number][0] == RESULT for number in numbers)


def test_cancel_in_the_same_read_keeps_the_call_from_running(worker):
    for command in ("wait", "t_spin"):
        worker._ids += 1
        number = worker._ids
        worker.write(worker.frame(CALL, number, command, ["never"], {}) + worker.frame(CANCEL, number))
        worker.expect_cancelled(number)
    assert worker.call("take_notes") == []


def test_a_cancel_for_an_ended_or_unknown_call_is_ignored(worker):
    worker.call("echo", 1)
    for number in (worker._ids, 10**6, -1):
        worker.write(worker.frame(CANCEL, number))
    assert worker.call("echo", 2) == 2


def test_swallowed_and_shielded_cancels(worker):
    number = worker.send_call("swallow", ["s"])
    worker.write(worker.frame(CANCEL, number))
    worker.expect_cancelled(number)
    number = worker.send_call("shielded", [])
    worker.write(worker.frame(CALL, 900, "echo", [], {}))
    assert worker.receive()[1] == 900
    worker.write(worker.frame(CANCEL, number))
    worker.expect_cancelled(number)
    assert worker.call("take_notes") == ["begun", "going on"]


def test_a_coroutine_that_blocks_the_loop_is_cancelled_by_the_bell(worker):
    for _ in range(5):
        before = worker.stdout_log.now().count("begun")
        other = worker.send_call("sleep", [0.001, "other"])
        number = worker.send_call("block", [])
        wait_until(lambda n=before: worker.stdout_log.now().count("begun") > n, "begun")
        late = worker.send_call("echo", ["late"])
        worker.cancel(number)
        found = replies(worker, 3)
        assert found == {other: (RESULT, "other"), number: (CANCELLED, None), late: (RESULT, "late")}


def test_context_is_each_calls_own(worker):
    numbers = {}
    for i in range(50):
        numbers[worker.send_call("about", [], session=f"s{i}")] = [f"s{i}"] * 3
        numbers[worker.send_call("t_about", [], session=f"t{i}")] = f"t{i}"
    assert replies(worker, 100) == {number: (RESULT, value) for number, value in numbers.items()}


# --- threads ------------------------------------------------------------------------------------------


def test_thread_safe_commands_run_at_the_same_time(worker):
    numbers = [worker.send_call("t_meet", [8]) for _ in range(8)]
    found = replies(worker, 8)
    assert set(found) == set(numbers) and len({name for _, name in found.values()}) == 8


def test_there_are_no_more_threads_than_calls_at_a_time(full):
    worker = full(SOURCE, concurrency=3)
    numbers = [worker.send_call("t_meet", [3]) for _ in range(3)]
    assert len({name for _, name in replies(worker, 3).values()}) == 3
    for _ in range(50):
        assert worker.call("t_work", 10) == 10
    assert numbers


def test_other_commands_run_one_at_a_time(worker):
    numbers = [worker.send_call("plain", [20_000]) for _ in range(50)]
    found = replies(worker, 50)
    assert set(found) == set(numbers)
    assert len({value for _, value in found.values()}) == 1, "not one thread"


def test_a_thread_is_cancelled_and_only_its_own_call(worker):
    numbers = {name: worker.send_call("t_spin", [name]) for name in "abc"}
    noted(worker, "spins a", "spins b", "spins c")
    for name in "bca":
        worker.write(worker.frame(CANCEL, numbers[name]))
        worker.expect_cancelled(numbers[name])
        assert worker.call("take_notes") == [f"cancelled {name} True"]
    assert worker.call("t_work", 5) == 5


@pytest.mark.parametrize(
    "command, notes",
    [
        ("t_swallow", []),
        ("t_shielded", ["going on"]),
        ("t_cleans_up_in_a_shield", ["clean"]),
        ("plain_spin", []),
    ],
)
def test_cancel_in_threads(worker, command, notes):
    for _ in range(20):
        number = worker.send_call(command, [])
        noted(worker, "plain spins" if command == "plain_spin" else "begun")
        worker.write(worker.frame(CANCEL, number))
        worker.expect_cancelled(number)
        assert worker.call("take_notes") == notes


def test_cancel_races_with_the_end_of_a_thread(worker):
    """One last frame an id; the thread's next call is never hit."""
    random.seed(8)
    ends = {RESULT: 0, CANCELLED: 0}
    for turn in range(2500):
        number = worker.send_call("t_work", [random.choice([0, 100, 1000, 5000])])
        for _ in range(random.choice([0, 100, 1000, 3000])):
            pass
        # Where a busy machine lets none of them end in time, the CANCEL of one in ten is late by itself.
        found = replies(worker, 1) if turn % 10 == 0 else {}
        worker.write(worker.frame(CANCEL, number))
        next_number = worker.send_call("t_work", [20])
        found |= replies(worker, 2 - len(found))
        assert found[next_number] == (RESULT, 20)
        ends[found[number][0]] += 1
    assert ends[RESULT] and ends[CANCELLED], ends
    assert worker.stderr_log.now() == ""


def test_cancel_races_with_the_end_of_a_task(worker):
    random.seed(9)
    for _ in range(1000):
        number = worker.send_call("sleep", [random.choice([0, 0.0001, 0.001])])
        for _ in range(random.choice([0, 100, 1000, 3000])):
            pass
        worker.cancel(number)
        next_number = worker.send_call("echo", ["x"])
        found = replies(worker, 2)
        assert found[next_number] == (RESULT, "x")
        assert found[number][0] in (RESULT, CANCELLED), found
    assert worker.stderr_log.now() == ""


# --- callbacks and streams ----------------------------------------------------------------------------


def test_callbacks_of_many_calls(worker):
    numbers = {}
    for i in range(100):
        numbers[worker.send_call("double", [i], chain=i)] = 2 * i
        numbers[worker.send_call("t_double", [i], chain=i)] = 4 * i
    ended, seen = {}, set()
    while len(ended) < 200:
        message = worker.receive()
        if message[0] == CALLBACK:
            _, number, _, count, name, args, meta = message
            assert name == "double" and count not in seen and number in numbers and "chain" in meta
            seen.add(count)
            worker.write(worker.frame(CALLBACK_RESULT, number, count, True, 2 * args[0]))
        else:
            ended[message[1]] = message[3]
    assert ended == numbers and seen == set(range(1, 301))


def test_cancel_inside_a_callback_of_a_thread(worker):
    for _ in range(20):
        number = worker.send_call("t_slow", [])
        count = worker.receive()[3]
        worker.write(worker.frame(CANCEL, number))
        worker.expect_cancelled(number)
        worker.write(worker.frame(CALLBACK_RESULT, number, count, True, "late"))
        assert worker.call("take_notes") == ["Cancelled"]
    number = worker.send_call("t_slow", [])
    count = worker.receive()[3]
    worker.write(worker.frame(CALLBACK_RESULT, number, count, False, {"type": "E", "message": "m"}))
    assert worker.receive()[3] == ["E", "m"]


def test_only_the_commands_own_thread_can_call(worker):
    assert "only the thread that runs the command" in worker.call("t_in_another_thread")


@pytest.mark.parametrize("command", ["count", "t_count"])
def test_streams_at_the_same_time(worker, command):
    window = 10
    numbers = [worker.send_call(command, [200 + i], stream=[window, 10**6]) for i in range(5)]
    items, left, ends = {n: [] for n in numbers}, dict.fromkeys(numbers, window), {}
    while len(ends) < 5:
        message = worker.receive()
        number = message[1]
        if message[0] == CHUNK:
            items[number] += message[3]
            left[number] -= len(message[3])
            assert left[number] >= 0
            if left[number] == 0:
                left[number] = window
                worker.write(worker.frame(CREDIT, number, window, 0))
        else:
            ends[number] = message[0]
    assert set(ends.values()) == {END}
    assert [items[n] for n in numbers] == [list(range(200 + i)) for i in range(5)]


@pytest.mark.parametrize("command", ["count", "t_count"])
def test_a_cancelled_stream_closes_its_generator(worker, command):
    for credit in [[3, 10**6], [10**9, 10**12]] * 10:
        number = worker.send_call(command, [10**12], stream=credit)
        assert worker.receive()[0] == CHUNK
        worker.write(worker.frame(CANCEL, number))
        while True:
            message = worker.receive()
            if message[0] != CHUNK:
                break
        assert message == [CANCELLED, number, worker.generation]
        assert worker.call("take_notes") == ["closed"]
    assert worker.call("count" if command == "count" else "t_count", 3) == [0, 1, 2]


def test_what_gives_no_stream_is_an_error(worker):
    for command in ("echo", "t_work"):
        kind, body = worker.exchange(command, [1], stream=[1, 1])
        assert kind == ERROR and body["kind"] == "unencodable" and "was asked for a stream" in body["message"]


# --- the end ------------------------------------------------------------------------------------------


def test_shutdown_lets_calls_finish(worker):
    numbers = [worker.send_call("sleep", [0.05, i]) for i in range(10)]
    thread = worker.send_call("t_work", [1000])
    worker.send([SHUTDOWN, 0, worker.generation])
    assert set(replies(worker, 11)) == {*numbers, thread}
    assert worker.expect_end(0) == ""


def test_the_command_shutdown(worker):
    assert worker.call("shutdown")["status"] == "shutting_down"
    assert worker.expect_end(0) == ""


def test_eof_ends_the_worker_and_cancels_what_runs(worker):
    worker.send_call("wait", ["never"])
    worker.call("echo")
    worker.close_channel()
    assert worker.expect_end(0) == ""


def test_sigterm_ends_the_worker_without_replies(worker):
    worker.send_call("wait", ["never"])
    worker.call("echo")
    worker.signal(signal.SIGTERM)
    assert worker.expect_end(0) == ""
    with pytest.raises(Exception, match="closed"):
        worker.receive()


def test_a_thread_that_hangs_does_not_keep_the_worker(worker):
    worker.send_call("t_hang", [])
    wait_until(lambda: "hanging" in worker.stdout_log.now(), "hanging")
    worker.close_channel()
    assert "ending without waiting for threads: lair call 1" in worker.expect_end(0)


@pytest.mark.parametrize(
    "frame", [b"{", b"7", b"[1,1,7]", b'[1,1,7,"echo",[],5]', b"[3,1,7,{}]", b'["1",1,7]', b"[8,1,7,-1,1]"]
)
def test_a_malformed_frame_ends_the_worker(worker, frame):
    worker.send_bytes(frame)
    assert "the host has broken the protocol" in worker.expect_end(1)


def test_long_frames_both_ways_while_the_host_reads_slowly(worker):
    text = "x" * 3_000_000
    numbers = [worker.send_call("echo", [text]) for _ in range(3)]
    found = replies(worker, 3)
    assert set(found) == set(numbers) and all(value == text for _, value in found.values())


def test_max_frame_is_kept(start):
    worker = start(SOURCE)
    worker.greet(features=FEATURES, concurrency=2, max_frame=1000)
    worker.write((1001).to_bytes(4, "big"))
    assert "longer than max_frame, 1000 bytes" in worker.expect_end(1)
