"""Generators as streams: CHUNK, END, CREDIT, on a worker that runs one call at a time."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from host import CALL, CANCEL, CANCELLED, CHUNK, CREDIT, END, ERROR, RESULT, Closed, wait_until

SOURCE = (Path(__file__).parents[1] / "workers" / "streams.py").read_text()
PLENTY = [10**9, 10**12]


@pytest.fixture
def worker(full):
    return full(SOURCE)


def open_stream(worker, command, *args, credit=PLENTY, **meta):
    return worker.send_call(command, list(args), stream=credit, **meta)


def next_frame(worker, number):
    """(kind, what is in it, its length)."""
    payload = worker.receive_bytes()
    message = worker.decode(payload)
    assert message[1:3] == [number, worker.generation], message
    return message[0], (message[3] if len(message) > 3 else None), len(payload)


def items_of(worker, number):
    """All items, and the last frame's kind and body."""
    items = []
    while True:
        kind, body, _ = next_frame(worker, number)
        if kind != CHUNK:
            return items, kind, body
        assert body, "an empty CHUNK"
        items += body


@pytest.mark.parametrize("command", ["count", "acount"])
@pytest.mark.parametrize("n", [0, 1, 2, 1000, 20_000])
def test_a_stream_comes_whole_and_in_order(worker, command, n):
    assert items_of(worker, open_stream(worker, command, n)) == (list(range(n)), END, None)
    assert worker.call("echo", 1) == 1


@pytest.mark.parametrize("command", ["count", "acount", "returns_an_async_generator"])
def test_a_host_that_asks_for_no_stream_gets_a_list(worker, command):
    assert worker.call(command, 1000) == list(range(1000))
    assert worker.call("returns_a_generator", 4) == [0, 1, 4, 9]


def test_a_host_without_features_gets_lists_too(start, transport):
    worker = start(SOURCE, transport=transport)
    worker.greet()
    assert worker.call("count", 3) == [0, 1, 2]
    assert worker.call("acount", 3) == [0, 1, 2]
    assert worker.fail("fail_after", 2)["message"] == "in mid-stream"


def test_a_host_of_protocol_1_gets_lists_too(start):
    worker = start(SOURCE, transport="stdio-socket")
    worker.handshake()
    for command in ("count", "acount", "returns_an_async_generator"):
        assert worker.request(command, {"n": 3})["result"] == [0, 1, 2]
    assert worker.request("afail_after", {"n": 3})["error"] == "in mid-stream"


def test_what_gives_a_generator_is_a_stream(worker):
    assert items_of(worker, open_stream(worker, "returns_a_generator", 4))[0] == [0, 1, 4, 9]
    assert items_of(worker, open_stream(worker, "returns_a_map", 3))[0] == ["0", "1", "2"]
    assert items_of(worker, open_stream(worker, "returns_an_async_generator", 5))[0] == [0, 1, 2, 3, 4]


def test_what_gives_another_value_is_an_error(worker):
    kind, body = worker.exchange("echo", [[1, 2]], stream=PLENTY)
    assert kind == ERROR and body["kind"] == "unencodable"
    assert "echo was asked for a stream and gave a value of type list" in body["message"]
    assert worker.exchange("count", [], stream=PLENTY)[1]["kind"] == "invalid_argument"


@pytest.mark.parametrize("command", ["fail_after", "afail_after"])
@pytest.mark.parametrize("n", [0, 1, 50])
def test_an_error_in_mid_stream_keeps_what_came_before(worker, command, n):
    items, kind, body = items_of(worker, open_stream(worker, command, n))
    assert (items, kind) == (list(range(n)), ERROR)
    assert body["type"] == "ValueError" and body["message"] == "in mid-stream" and body["kind"] == "remote"
    assert f"in {command}" in body["traceback"]
    assert worker.call("echo", 1) == 1


def test_an_item_that_json_cannot_carry_ends_the_stream(worker):
    items, kind, body = items_of(worker, open_stream(worker, "nan_after", 5))
    assert (items, kind, body["kind"]) == (list(range(5)), ERROR, "unencodable")
    assert body["message"] == "item.a[0] is NaN, which is not JSON"
    assert worker.call("take_notes") == ["closed"]


def test_an_item_longer_than_max_frame_ends_the_stream(start):
    worker = start(SOURCE)
    worker.greet(features=["stream"], max_frame=1000)
    fits = 1000 - len(b'[6,1,7,[""]]')
    items, kind, body = items_of(worker, open_stream(worker, "texts", [fits, 10, fits, fits + 1]))
    assert [len(item) for item in items] == [fits, 10, fits]
    assert kind == ERROR and "1001 bytes" in body["message"] and "1000 bytes" in body["message"]


def test_the_first_items_come_at_once_and_the_next_ones_soon(worker):
    """None waits for the next one: the generator sleeps (or spins) for ever after a few."""
    for command, said in (("two_then_rest", [1, 2, 3]), ("atwo_then_rest", [1, 2, 3])):
        number = open_stream(worker, command)
        items = []
        while len(items) < 3:
            kind, body, _ = next_frame(worker, number)
            assert kind == CHUNK
            items += body
        assert items == said
        worker.cancel(number)
        worker.expect_cancelled(number)
    number = open_stream(worker, "spin_after", 500)
    items = []
    while len(items) < 500:
        items += next_frame(worker, number)[1]
    wait_until(lambda: "spinning" in worker.stdout_log.now(), "spinning")
    worker.cancel(number)
    worker.expect_cancelled(number)


@pytest.mark.parametrize("command", ["bursts", "abursts"])
def test_no_burst_waits_for_the_next_one(worker, command):
    number = open_stream(worker, command, 5)
    items = []
    while len(items) < 15:
        items += next_frame(worker, number)[1]
    worker.cancel(number)
    worker.expect_cancelled(number)
    assert items == list(range(15))


def test_a_tight_generator_shares_chunks(worker):
    number = open_stream(worker, "count", 20_000)
    sizes = []
    while True:
        kind, body, length = next_frame(worker, number)
        if kind == END:
            break
        sizes.append(len(body))
        assert length <= (64 << 10)
    assert sizes[0] == 1 and sum(sizes) == 20_000
    assert len(sizes) < 10_000, "hardly any item shared a CHUNK"


@pytest.mark.parametrize("command", ["count", "acount"])
def test_chunks_are_in_the_codec_of_the_channel(worker, tier, command):
    number = open_stream(worker, command, 100)
    kind = CHUNK
    while kind != END:
        payload = worker.receive_bytes()
        assert (payload[0] >= 0x80) == (tier == "T2")
        kind, of = worker.decode(payload)[:2]
        assert of == number


def test_any_iterator_makes_a_stream(worker):
    expected = [{"left": i, "text": "ééé", "more": [None, True, 0.5, -7]} for i in reversed(range(1000))]
    assert items_of(worker, open_stream(worker, "countdown", 1000)) == (expected, END, None)


def test_other_threads_run_beside_an_iterator_that_is_written_in_c(worker):
    items, kind, _ = items_of(worker, open_stream(worker, "until_another_thread_has_run"))
    assert kind == END and set(items) <= {True}


@pytest.mark.parametrize("command", ["nests", "anests"])
def test_an_item_that_is_nested_too_deeply_ends_the_stream(worker, command):
    """It counts from the message's own array, so that the host takes what is sent."""
    for depth, fits in ((100, True), (999, False), (100_000, False)):
        items, kind, body = items_of(worker, open_stream(worker, command, depth))
        assert items[0] == 1 and kind == (END if fits else ERROR)
        assert len(items) == (2 if fits else 1)
        if not fits:
            assert body["kind"] == "unencodable" and body["message"] == "item is nested too deeply"
    assert worker.call("echo", 1) == 1


def test_nothing_is_left_of_streams(worker):
    """Of their items, whether they end, fail or are cancelled: not one object for a hundred of them."""

    def streams():
        assert len(items_of(worker, open_stream(worker, "countdown", 20_000))[0]) == 20_000
        assert items_of(worker, open_stream(worker, "large_then_fail", 5000, 20))[1] == ERROR
        assert items_of(worker, open_stream(worker, "nan_after", 2000))[1] == ERROR
        for credit in (PLENTY, [100, 10**9], [10**9, 2000]):
            number = open_stream(worker, "large_then_fail", 10**9, 2, credit=credit)
            assert next_frame(worker, number)[0] == CHUNK
            worker.cancel(number)
            assert items_of(worker, number)[1] == CANCELLED

    streams()  # what is made once
    before = worker.call("allocated")
    for _ in range(4):
        streams()
    assert worker.call("allocated") - before < 1000


# --- credit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["count", "acount"])
@pytest.mark.parametrize("window", [1, 2, 7, 100])
def test_no_more_items_come_than_there_is_credit_for(worker, command, window):
    number = open_stream(worker, command, 300, credit=[window, 10**9])
    items, left, kind = [], window, CHUNK
    while True:
        kind, body, _ = next_frame(worker, number)
        if kind != CHUNK:
            break
        items += body
        left -= len(body)
        assert left >= 0
        if left == 0 and len(items) < 300:  # END needs no credit
            worker.wait_for_sleep()  # for credit
            worker.assert_silent()
            worker.write(worker.frame(CREDIT, number, window, 0))
            left = window
    assert (items, kind) == (list(range(300)), END)


@pytest.mark.parametrize("window", [1, 20, 21, 30, 100, 1000])
def test_no_more_bytes_come_than_there_is_credit_for(worker, window):
    """A CHUNK costs its payload's length; one of a single item may go beyond, and that is owed."""
    lengths = [1, 1, 1, 50, 1, 200, 3, 3, 3, 3, 3, 90] * 5
    number = open_stream(worker, "texts", lengths, credit=[10**9, window])
    items, left = [], window
    while True:
        kind, body, cost = next_frame(worker, number)
        if kind != CHUNK:
            break
        assert left >= 1 and (cost <= left or len(body) == 1), (left, cost, body)
        items += body
        left -= cost
        if left < 1 and len(items) < len(lengths):
            worker.wait_for_sleep()  # for credit
            worker.assert_silent()
            if left < 0:  # paying what is owed is not enough
                worker.write(worker.frame(CREDIT, number, 0, -left))
                worker.wait_for_sleep()  # for credit
                worker.assert_silent()
                left = 0
            worker.write(worker.frame(CREDIT, number, 0, window))
            left += window
    assert ([len(item) for item in items], kind) == (lengths, END)


def test_the_generator_itself_waits_for_credit(worker):
    """One item beyond the credit is made, and held; no more."""
    number = open_stream(worker, "count_and_say", 100, credit=[5, 10**9])
    got = []
    while len(got) < 5:
        got += next_frame(worker, number)[1]
    worker.wait_for_sleep()  # for credit
    worker.cancel(number)
    worker.expect_cancelled(number)
    assert worker.call("take_notes") == list(range(6))


def test_credit_of_nothing_at_first(worker):
    number = open_stream(worker, "count", 2, credit=[0, 0])
    worker.wait_for_sleep()  # for credit
    worker.write(worker.frame(CREDIT, number, 10, 0))
    worker.write(worker.frame(CREDIT, number, 0, 100))
    assert items_of(worker, number) == ([0, 1], END, None)


def test_credit_for_an_ended_stream_is_ignored(worker):
    number = open_stream(worker, "count", 3)
    assert items_of(worker, number)[0] == [0, 1, 2]
    worker.write(worker.frame(CREDIT, number, 10, 100))
    worker.write(worker.frame(CREDIT, number + 7, 10, 100))
    assert worker.call("echo", 1) == 1
    number = open_stream(worker, "count", 3, credit=[1, 100])
    worker.write(worker.frame(CREDIT, number - 1, 10, 100))
    assert next_frame(worker, number)[:2] == (CHUNK, [0])
    worker.wait_for_sleep()  # for credit
    worker.assert_silent()
    worker.write(worker.frame(CREDIT, number, 10, 100))
    assert items_of(worker, number)[0] == [1, 2]


@pytest.mark.parametrize("credit", [5, [1], [1, 2, 3], [-1, 5], [1.5, 5], ["1", 5], [True, 1]])
def test_credit_that_is_none_breaks_the_protocol(worker, credit):
    open_stream(worker, "count", 3, credit=credit)
    assert "meta.stream" in worker.expect_end(1)


def test_null_for_credit_asks_for_no_stream(worker):
    assert worker.exchange("count", [3], stream=None) == (RESULT, [0, 1, 2])


@pytest.mark.parametrize("command", ["count", "acount"])
def test_a_host_that_goes_while_a_stream_waits_for_credit_ends_the_worker(worker, command):
    open_stream(worker, command, 100, credit=[1, 100])
    worker.wait_for_sleep()  # for credit
    worker.close_input()
    assert worker.wait() == 0
    assert worker.stderr_log.all() == ""


# --- cancel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["count", "acount"])
@pytest.mark.parametrize("credit", [PLENTY, [10, 10**9], [10**9, 100]])
def test_a_cancelled_stream_closes_its_generator(worker, command, credit):
    for _ in range(20):
        number = open_stream(worker, command, 10**12, credit=credit)
        assert next_frame(worker, number)[0] == CHUNK
        worker.cancel(number)
        assert items_of(worker, number)[1] == CANCELLED
        assert worker.call("take_notes") == ["closed"]


def test_an_iterator_that_is_written_in_c_can_be_cancelled(worker):
    """It never comes to where Python runs the handlers of signals."""
    for credit in (PLENTY, [10, 10**9]):
        number = open_stream(worker, "counts_in_c", credit=credit)
        assert next_frame(worker, number)[0] == CHUNK
        worker.cancel(number)
        assert items_of(worker, number)[1] == CANCELLED
    assert worker.call("echo", 1) == 1


def test_an_iterator_that_is_written_in_c_can_be_terminated(worker):
    number = open_stream(worker, "counts_in_c")
    assert next_frame(worker, number)[0] == CHUNK
    worker.signal(signal.SIGTERM)
    with pytest.raises(Closed):
        while True:
            worker.receive_bytes()
    assert worker.wait() == 0


def test_without_the_bell_a_waiting_stream_sees_cancel_all_the_same(worker):
    for command in ("count", "acount"):
        number = open_stream(worker, command, 100, credit=[1, 10**9])
        assert next_frame(worker, number)[1] == [0]
        worker.write(worker.frame(CANCEL, number))
        worker.expect_cancelled(number)


def test_a_generator_that_fails_while_it_is_closed_is_cancelled_all_the_same(worker):
    for command in ("clean_up_loudly", "stubborn"):
        number = open_stream(worker, command, credit=[1, 10**9])
        assert next_frame(worker, number)[1] == [1]
        worker.cancel(number)
        worker.expect_cancelled(number)
    assert "not now" in worker.call("take_notes")


def test_a_stream_has_its_calls_context(worker):
    assert items_of(worker, open_stream(worker, "about", session="s1"))[0] == ["s1", "about"]
    assert worker.exchange("about", [], session="s2") == (RESULT, ["s2", "about"])


def test_calls_after_streams_are_plain_calls(worker):
    """Nothing of a stream is left: thousands, some ended by the host at random moments."""
    import random

    random.seed(3)
    for round in range(600):
        number = open_stream(worker, "count", random.choice([0, 1, 3, 500]), credit=[1000, 10**6])
        if round % 3:
            for _ in range(random.choice([0, 10, 1000])):
                pass
            worker.cancel(number)
        items, kind, _ = items_of(worker, number)
        assert kind in (END, CANCELLED) and items == list(range(len(items)))
        worker._ids += 1
        worker.send([CALL, worker._ids, worker.generation, "echo", [round], {}])
        assert worker.receive() == [RESULT, worker._ids, worker.generation, round]
