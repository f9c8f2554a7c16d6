"""Commands that call the host back, and `async def` commands, on a worker that runs one call at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import CALL, CALLBACK, CALLBACK_RESULT, CANCEL, CHUNK, END, ERROR, RESULT, wait_until

SOURCE = (Path(__file__).parents[1] / "workers" / "callbacks.py").read_text()


@pytest.fixture
def worker(full):
    return full(SOURCE)


def expect_callback(worker, number, name):
    """The next frame is a CALLBACK; gives its number, args and meta."""
    kind, *header, count, said, args, meta = worker.receive()
    assert (kind, header, said) == (CALLBACK, [number, worker.generation], name)
    return count, args, meta


def give(worker, number, count, value):
    worker.write(worker.frame(CALLBACK_RESULT, number, count, True, value))


def serve(worker, number, functions):
    """Plays the host until the call's last frame, which it gives."""
    while True:
        message = worker.receive()
        assert message[1:3] == [number, worker.generation], message
        if message[0] != CALLBACK:
            return message
        give(worker, number, message[3], functions[message[4]](*message[5]))


DOUBLE = {"double": lambda x: 2 * x}


@pytest.mark.parametrize("command", ["twice", "atwice"])
def test_a_command_calls_the_host(worker, command):
    for _ in range(3):
        number = worker.send_call(command, [5])
        assert serve(worker, number, DOUBLE) == [RESULT, number, worker.generation, 20]


def test_callbacks_are_counted_on_the_channel(worker):
    for first in (1, 3):
        number = worker.send_call("twice", [1])
        for count in (first, first + 1):
            found, _, _ = expect_callback(worker, number, "double")
            assert found == count
            give(worker, number, count, 0)
        assert worker.receive()[3] == 0


def test_many_callbacks_in_one_call(worker):
    number = worker.send_call("many", [2000])
    assert serve(worker, number, DOUBLE)[3] == 2 * sum(range(2000))


def test_the_bytes_of_a_callback(worker):
    worker.send([CALL, 9, 7, "by_name", [], {"session": "s", "traceparent": "t", "chain": [[1, "p"], {}]}])
    meta = {"session": "s", "traceparent": "t", "chain": [[1, "p"], {}]}
    assert worker.receive() == [11, 9, 7, 1, "odd-name", {"a": 1, "b": [2]}, meta]
    worker.send_bytes(b'[12, 9, 7, 1, true, {"x": null}, "more"]')
    assert worker.receive() == [2, 9, 7, {"x": None}]


def test_a_callback_has_what_is_left_of_the_deadline(worker):
    number = worker.send_call("twice", [1], ms=60_000)
    count, args, meta = expect_callback(worker, number, "double")
    assert args == [1] and set(meta) == {"ms"} and 30_000 < meta["ms"] <= 60_000
    give(worker, number, count, 1)
    count, _, later = expect_callback(worker, number, "double")
    assert later["ms"] <= meta["ms"]
    give(worker, number, count, 1)
    assert worker.receive()[0] == RESULT


@pytest.mark.parametrize("command", ["report", "areport"])
def test_an_error_of_the_host_is_raised(worker, command):
    body = {"type": "std::range_error", "message": "too far", "traceback": "trace", "kind": "remote"}
    number = worker.send_call(command, [])
    count, _, _ = expect_callback(worker, number, "fail")
    worker.write(worker.frame(CALLBACK_RESULT, number, count, False, body))
    assert worker.receive()[3] == ["too far", "std::range_error", "too far", "remote", "trace"]
    number = worker.send_call(command, [])
    count, _, _ = expect_callback(worker, number, "fail")
    worker.write(worker.frame(CALLBACK_RESULT, number, count, False, {"message": "m"}))
    assert worker.receive()[3] == ["m", "Error", "m", "remote", ""]


def test_an_error_of_the_host_that_nobody_catches_is_the_calls(worker):
    number = worker.send_call("uncaught", [])
    count, _, _ = expect_callback(worker, number, "fail")
    worker.write(worker.frame(CALLBACK_RESULT, number, count, False, {"message": "too far"}))
    kind, _, _, body = worker.receive()
    assert kind == ERROR and body["kind"] == "remote"
    assert body["type"] == "lair_worker.HostError" and body["message"] == "too far"
    assert "in uncaught" in body["traceback"] and "_midcall" not in body["traceback"]


def test_what_cannot_be_sent_is_an_error_in_the_command(worker):
    assert worker.fail("both_ways")["type"] == "TypeError"
    error = worker.fail("unsendable")
    assert error["type"] == "ValueError"
    assert error["message"] == "lair_worker.host.f: args[0].deep[0] is NaN, which is not JSON"


def test_arguments_longer_than_max_frame_are_an_error_in_the_command(start):
    worker = start(SOURCE)
    worker.greet(features=["callback"], max_frame=1000)
    assert "max_frame is 1000 bytes" in worker.fail("long_one", 1000)["message"]


def test_only_the_commands_own_thread_can_call(worker):
    outside, inside = worker.call("in_a_thread")
    assert "no command is running in this thread" in outside
    assert "only the thread that runs the command" in inside


def test_a_host_that_takes_no_callbacks_is_said_so(start):
    worker = start(SOURCE)
    worker.greet(features=["cancel"])
    assert "takes no calls" in worker.fail("twice", 1)["message"]
    worker.write(worker.frame(CALLBACK_RESULT, 1, 1, True, 1))
    assert "a frame of kind 12" in worker.expect_end(1)


def test_coroutines_have_several_open(worker):
    number = worker.send_call("together", [50])
    open_ones = [expect_callback(worker, number, "double")[:2] for _ in range(50)]
    for count, (value,) in reversed(open_ones):
        give(worker, number, count, 2 * value)
    assert worker.receive()[3] == [2 * i for i in range(50)]


@pytest.mark.parametrize("command", ["numbers", "anumbers"])
def test_a_stream_calls_back(worker, command):
    number = worker.send_call(command, [5], stream=[2, 10**6])
    items = []
    while True:
        message = worker.receive()
        if message[0] == CALLBACK:
            give(worker, number, message[3], 2 * message[5][0])
        elif message[0] == CHUNK:
            items += message[3]
            worker.write(worker.frame(8, number, len(message[3]), 0))
        else:
            break
    assert (message[0], items) == (END, [0, 2, 4, 6, 8])


def test_late_and_unknown_results_are_ignored(worker):
    number = worker.send_call("twice", [1])
    count, _, _ = expect_callback(worker, number, "double")
    give(worker, number, count + 5, "unknown")
    worker.send([CALLBACK_RESULT, number, worker.generation + 1, count, True, "other generation"])
    give(worker, number, count, 2)
    give(worker, number, count, "once more")
    count, args, _ = expect_callback(worker, number, "double")
    assert args == [2]
    give(worker, number, count, 4)
    assert worker.receive()[3] == 4
    give(worker, number, count, "after the end")
    assert worker.call("echo", 1) == 1


def test_an_open_callback_of_an_ended_call_hurts_nobody(worker):
    assert worker.send_call("leave_one_open", [])
    number = worker._ids
    count, _, _ = expect_callback(worker, number, "slow")
    assert worker.receive() == [RESULT, number, worker.generation, "left"]
    give(worker, number, count, "late")
    assert worker.call("echo", 1) == 1
    assert worker.call("sleep", 0) is None


@pytest.mark.parametrize(
    "frame", [b"[12,1,7]", b"[12,1,7,1,1,1]", b'[12,1,7,"1",true,1]', b"[12,1,7,1,false,5]"]
)
@pytest.mark.parametrize("command", ["wait", "await_it"])
def test_a_malformed_result_ends_the_worker(worker, frame, command):
    worker.send_call(command, [])
    expect_callback(worker, worker._ids, "slow")
    worker.send_bytes(frame)
    assert "a CALLBACK_RESULT that is not" in worker.expect_end(1)


@pytest.mark.parametrize("frame", [b"{", b"7", b"[3,1,7,{}]", b'[1,2,7,"echo",[],{}]'])
def test_what_does_not_belong_in_the_middle_of_a_call_ends_the_worker(worker, frame):
    worker.send_call("wait", [])
    expect_callback(worker, worker._ids, "slow")
    worker.send_bytes(frame)
    assert "the host has broken the protocol" in worker.expect_end(1)


@pytest.mark.parametrize("command", ["wait", "await_it"])
def test_a_host_that_goes_in_a_callback_ends_the_worker(worker, command):
    worker.send_call(command, [])
    expect_callback(worker, worker._ids, "slow")
    worker.close_channel()
    assert worker.wait() == 0
    assert worker.stderr_log.all() == ""


def test_shutdown_in_a_callback_lets_the_call_finish(worker):
    number = worker.send_call("wait", [])
    count, _, _ = expect_callback(worker, number, "slow")
    worker.send([5, 0, worker.generation])
    give(worker, number, count, "last")
    assert worker.receive()[3] == "last"
    assert worker.wait() == 0


# --- cancel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bell", [True, False])
@pytest.mark.parametrize("command, seen", [("wait", "Cancelled"), ("await_it", "CancelledError")])
def test_cancel_inside_a_callback(worker, command, seen, bell):
    for _ in range(20):
        number = worker.send_call(command, [])
        count, _, _ = expect_callback(worker, number, "slow")
        worker.write(worker.frame(CANCEL, number))
        if bell:
            worker.ring()
        worker.expect_cancelled(number)
        give(worker, number, count, "late")
        assert worker.call("take_notes") == [seen]


def test_a_cancelled_call_cannot_call_again(worker):
    number = worker.send_call("wait_and_call_again", [])
    expect_callback(worker, number, "slow")
    worker.cancel(number)
    worker.expect_cancelled(number)
    assert worker.call("take_notes") == ["Cancelled"]


def test_a_shielded_callback_gets_its_result(worker):
    number = worker.send_call("shielded", [])
    count, _, _ = expect_callback(worker, number, "slow")
    worker.cancel(number)
    give(worker, number, count, "result")
    worker.expect_cancelled(number)
    assert worker.call("take_notes") == ["result", True]


@pytest.mark.parametrize(
    "command, notes",
    [
        ("block", ["CancelledError"]),
        ("spin_in_a_coroutine", []),
        ("async_sleep", ["CancelledError"]),
        ("async_swallow", []),
        ("async_shielded", ["going on"]),
    ],
)
def test_async_commands_are_cancelled(worker, command, notes):
    for _ in range(10):
        before = worker.stdout_log.now().count("begun")
        number = worker.send_call(command, [])
        wait_until(lambda n=before: worker.stdout_log.now().count("begun") > n, "begun")
        worker.cancel(number)
        worker.expect_cancelled(number)
        assert worker.call("take_notes") == notes
        assert worker.call("about") == [None, None, None]


def test_an_async_call_sees_cancel_without_the_bell(worker):
    number = worker.send_call("async_sleep", [])
    wait_until(lambda: "begun" in worker.stdout_log.now(), "begun")
    worker.write(worker.frame(CANCEL, number))
    worker.expect_cancelled(number)


def test_a_coroutine_that_cancels_itself_is_an_error(worker):
    error = worker.fail("cancels_itself")
    assert error["kind"] == "remote" and "CancelledError" in error["type"]


def test_async_calls_race_with_cancel(worker):
    import random

    random.seed(11)
    for round in range(1000):
        number = worker.send_call("sleep", [random.choice([0, 0.0001, 0.001])])
        for _ in range(random.choice([0, 100, 1000])):
            pass
        worker.cancel(number)
        reply = worker.receive()
        assert reply[0] in (RESULT, 10) and reply[1] == number
        assert worker.call("echo", round) == round
    assert worker.stderr_log.now() == ""


def test_context_in_tasks_and_threads_of_a_coroutine(worker):
    assert worker.exchange("about", [], session="s")[1] == ["s", "s", "s"]


def test_what_is_left_in_the_loop_goes_on_with_the_next_call(worker):
    worker.call("background")
    worker.call("sleep", 0.01)
    assert worker.call("take_notes") == ["later"]


def test_host_looks_like_nothing_special(worker):
    assert worker.call("hasattr_of_host") == [False, True]


def test_asyncio_is_imported_by_the_first_that_needs_it(full):
    worker = full(
        """
        import sys
        DEAR = {"asyncio", "threading", "ctypes", "json"}
        def plain(): return sorted(DEAR & set(sys.modules))
        async def asynchronous(): return "asyncio" in sys.modules
        """
    )
    assert worker.call("plain") == []
    assert worker.call("asynchronous") is True
