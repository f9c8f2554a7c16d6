"""BATCH: many calls of a command in one frame, on either tier."""

from __future__ import annotations

import os
import struct

import pytest

from host import BATCH, CALLBACK, CALLBACK_RESULT, CANCELLED, CHUNK, ERROR, FEATURES, RESULT, wait_until

SOURCE = """
    import asyncio, os, threading, time
    import lair_worker

    kept = []

    def add(a, b=0): return a + b
    def odd(n):
        if n % 2: raise ValueError(f"{n} is odd")
        return n
    def text(n): return "x" * n
    def nan(n): return float("nan")
    def items(n): yield from range(n)
    async def later(n):
        await asyncio.sleep(0)
        return n
    def keep(n):
        kept.append(lair_worker.context())
        return [c.deadline for c in kept]
    def who(n):
        call = lair_worker.context()
        return [call.command, call.session_id, call.traceparent, call.remaining()]
    def stick(n):
        if n: return n
        print("stuck", flush=True)
        threading.Event().wait()
    def die(n):
        if n: return n
        os._exit(3)
    def slow(n):
        until = time.monotonic() + 0.002
        while time.monotonic() < until: pass
        return n
"""


@pytest.fixture
def worker(full):
    return full(SOURCE)


def send(worker, command, items, **meta):
    worker._ids += 1
    worker.send([BATCH, worker._ids, worker.generation, command, items, meta])
    return worker._ids


def gather(worker, number):
    """All results of a batch, errors as their objects, up to its last frame, which comes after them."""
    found = []
    while True:
        reply = worker.reply_to(number)
        if reply[0] not in (CHUNK, RESULT):
            return found, reply
        values, errors = reply[3], reply[4]
        for index, error in errors:
            assert values[index] is None
            values[index] = error
        found += values
        if reply[0] == RESULT:
            return found, reply


def batch(worker, command, items, **meta):
    found, last = gather(worker, send(worker, command, items, **meta))
    assert last[0] == RESULT, last
    return found


def test_the_feature_is_announced_with_a_journal(start):
    result = start().greet(features=FEATURES)["lair"]
    assert "batch" in result["features"]
    assert result["journal"] > 2


def test_it_is_not_offered_where_calls_overlap(start):
    worker = start("async def f(): pass")
    result = worker.greet(features=FEATURES, concurrency=4)["lair"]
    assert "batch" not in result["features"] and "journal" not in result


def test_results_come_in_order(worker):
    assert batch(worker, "add", [[n, 1] for n in range(1000)]) == list(range(1, 1001))
    assert batch(worker, "add", [{"a": 1}, {"a": 1, "b": 2}, [5]]) == [1, 3, 5]
    assert batch(worker, "add", []) == []
    assert worker.call("add", 1) == 1


def test_every_item_counts(worker):
    batch(worker, "odd", [[n] for n in range(10)])
    stats = worker.call("get_stats")
    assert stats["command_count"] == 11, "this one, too"
    assert stats["error_count"] == 5


def test_an_error_is_its_items(worker):
    found = batch(worker, "odd", [[n] for n in range(6)])
    assert found[::2] == [0, 2, 4]
    assert [error["message"] for error in found[1::2]] == ["1 is odd", "3 is odd", "5 is odd"]
    assert {error["type"] for error in found[1::2]} == {"ValueError"}
    assert "in odd" in found[1]["traceback"]
    found = batch(worker, "add", [[1], [], [1, 2, 3]])
    assert found[0] == 1
    assert [error["kind"] for error in found[1:]] == ["invalid_argument"] * 2
    assert batch(worker, "nan", [[1]])[0]["kind"] == "unencodable"


def test_an_unknown_command_is_refused_as_a_whole(worker):
    found, last = gather(worker, send(worker, "subtract", [[1], [2]]))
    assert found == []
    assert last[0] == ERROR and last[3]["kind"] == "unknown_command"


def test_what_is_no_plain_value_is_settled_item_by_item(worker):
    assert batch(worker, "items", [[2], [0], [3]]) == [[0, 1], [], [0, 1, 2]]
    assert batch(worker, "later", [[1], [2]]) == [1, 2]


def test_each_item_has_its_own_context(worker):
    assert [who[:3] for who in batch(worker, "who", [[1], [2]], traceparent="00-a")] == [
        ["who", None, "00-a"]
    ] * 2
    deadlines = batch(worker, "keep", [[n] for n in range(3)], ms=60_000)
    assert deadlines[2][:2] == deadlines[1], "a context that is kept is not used again"
    assert deadlines[2] == sorted(deadlines[2])


def test_an_items_time_runs_from_its_beginning(worker):
    batch(worker, "slow", [[n] for n in range(5)], ms=60_000)
    remaining = [who[3] for who in batch(worker, "who", [[n] for n in range(200)], ms=60_000)]
    assert min(remaining) > 59.9


def test_a_session_goes_with_each_item(worker):
    meta = {"session": "s", "session_number": 1, "affinity": "prefer"}
    assert [who[1] for who in batch(worker, "who", [[1], [2]], **meta)] == ["s", "s"]


def test_slow_items_are_told_as_they_end(worker):
    number = send(worker, "slow", [[n] for n in range(4)])
    kinds = []
    found = []
    while not kinds or kinds[-1] == CHUNK:
        reply = worker.reply_to(number)
        kinds.append(reply[0])
        found += reply[3]
    assert kinds == [CHUNK] * 3 + [RESULT]
    assert found == [0, 1, 2, 3]


def test_long_results_are_split_to_fit(start):
    worker = start(SOURCE)
    worker.greet(features=FEATURES, max_frame=5000)
    found = batch(worker, "text", [[n] for n in (3000, 1800, 4900, 4999, 10, 9000, 0)])
    assert [len(one) for one in found if isinstance(one, str)] == [3000, 1800, 4900, 10, 0]
    assert [one["kind"] for one in found if isinstance(one, dict)] == ["unencodable"] * 2


def test_a_cancel_hits_the_item_that_runs(worker):
    for _ in range(5):
        before = worker.stdout_log.now().count("stuck")
        number = send(worker, "stick", [[n] for n in (1, 2, 0, 4)])
        wait_until(lambda: worker.stdout_log.now().count("stuck") > before, "the item has begun")  # noqa: B023
        worker.cancel(number)
        found, last = gather(worker, number)
        assert found == [1, 2]
        assert last == [CANCELLED, number, worker.generation, 3]
    assert worker.call("add", 1) == 1


def test_a_cancel_without_a_bell_is_seen_between_slow_items(worker):
    number = send(worker, "slow", [[n] for n in range(10_000)])
    worker.receive()
    worker.write(worker.frame(9, number))
    found, last = gather(worker, number)
    assert last[0] == CANCELLED
    assert last[3] == len(found) + 2, "one was in the first frame, and one is cancelled"
    assert worker.call("add", 1) == 1


def test_a_late_cancel_is_ignored(worker):
    number = send(worker, "add", [[1]])
    assert gather(worker, number)[0] == [1]
    worker.cancel(number)
    assert worker.call("add", 1) == 1


def read_journal(worker, journal):
    """The batch, items told and begun, and the frames of those that were done and not told."""
    batch, told, begun, size = struct.unpack("=QQQQ", os.pread(journal, 32, 0))
    frames, at, data = [], 0, os.pread(journal, size, 32)
    while at < size:
        (length,) = struct.unpack_from(">I", data, at)
        frames.append(worker.decode(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return batch, told, begun, frames


def test_the_journal_tells_after_death_what_was_done(start):
    worker = start(SOURCE)
    fd = worker.greet(features=FEATURES)["lair"]["journal"]
    journal = os.open(f"/proc/{worker.pid}/fd/{fd}", os.O_RDONLY)
    try:
        batch(worker, "add", [[n] for n in range(100)])
        number = send(worker, "die", [[1], [], ["x" * 10], [0], [4]])
        assert worker.wait() == 3
        batch_of, told, begun, frames = read_journal(worker, journal)
        assert (batch_of, told + len(frames), begun) == (number, 3, 4)
        for frame in frames:
            assert frame[1:3] == [number, worker.generation]
        assert [frame[0] for frame in frames] == [RESULT, ERROR, RESULT][told:]
        assert frames[-1][3] == "x" * 10
    finally:
        os.close(journal)


def test_what_the_journal_has_no_room_for_is_told_at_once(start):
    worker = start(SOURCE)
    fd = worker.greet(features=FEATURES)["lair"]["journal"]
    journal = os.open(f"/proc/{worker.pid}/fd/{fd}", os.O_RDONLY)
    try:
        number = send(worker, "die", [["x" * 200_000], [0]])
        reply = worker.reply_to(number)
        assert reply[0] == CHUNK and len(reply[3][0]) == 200_000
        assert worker.wait() == 3
        assert read_journal(worker, journal)[:3] == (number, 1, 2)
    finally:
        os.close(journal)


def test_an_item_may_call_the_host(full):
    worker = full("""
        from lair_worker import host
        def ask(n): return host.f(n)
    """)
    number = send(worker, "ask", [[1], [2]])
    found = []
    for n in (1, 2):
        asked = worker.receive()
        while asked[0] == CHUNK:
            found += asked[3]
            asked = worker.receive()
        assert asked[0] == CALLBACK
        assert asked[4:6] == ["f", [n]]
        worker.write(worker.frame(CALLBACK_RESULT, number, asked[3], True, n * 10))
    assert found + gather(worker, number)[0] == [10, 20]


@pytest.mark.parametrize("items", [{}, None, 7, [1], [[1], None]])
def test_a_host_that_sends_no_batch_is_broken_with(worker, items):
    send(worker, "add", items)
    assert "broken the protocol" in worker.expect_end(1)


def test_a_host_that_has_not_offered_it_may_not_send_it(start):
    worker = start(SOURCE)
    worker.greet(features=["cancel"])
    send(worker, "add", [[1]])
    assert "kind 13" in worker.expect_end(1)
