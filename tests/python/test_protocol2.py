"""Protocol 2 after the handshake: calls, metadata, generations, and hosts that break it."""

from __future__ import annotations

import pytest

from host import CALL, ERROR, RESULT, SHUTDOWN

COMMANDS = """
    import lair_worker as lair
    ran = []

    @lair.command
    def echo(value=None): return value

    @lair.command
    def two(a, b, *, c=3):
        ran.append("two")
        return [a, b, c]

    @lair.command(name="other-name")
    def renamed(): return "renamed"

    @lair.command
    def repeat(text, times): return text * times

    @lair.command
    def has_run(): return ran

    @lair.command
    def about():
        c = lair.context()
        return [c.command, c.session_id, c.traceparent, c.deadline is None, c.remaining()]
"""


@pytest.fixture
def worker(greeted):
    return greeted(COMMANDS)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**63,
        2**64 - 1,
        1.5,
        1e300,
        "",
        "é €😀",
        "\u0000\u001f\u2028",
        [],
        {},
        [[{"a": [1]}]],
    ],
)
def test_values_travel_exactly(worker, value):
    assert worker.call("echo", value) == value
    assert worker.call("echo", value=value) == value


def test_arguments_by_position_and_by_name(worker):
    assert worker.call("two", 1, 2) == [1, 2, 3]
    assert worker.call("two", b=1, a=2, c=4) == [2, 1, 4]
    assert worker.exchange("two", [1, 2]) == (RESULT, [1, 2, 3])


def test_a_command_may_have_another_name(worker):
    assert worker.call("other-name") == "renamed"
    assert worker.fail("renamed")["kind"] == "unknown_command"


def test_an_unknown_command_suggests_close_ones(worker):
    error = worker.fail("ehco")
    assert error["kind"] == "unknown_command"
    assert error["message"].startswith("Unknown command: ehco") and "'echo'" in error["message"]
    assert "did you mean" not in worker.fail("zzzzzzzz")["message"]


@pytest.mark.parametrize("args", [[1], [1, 2, 3, 4], {"a": 1}, {"a": 1, "b": 2, "d": 3}, {"": 1}, []])
def test_arguments_that_do_not_fit_do_not_run_the_command(worker, args):
    kind, error = worker.exchange("two", args)
    assert kind == ERROR and error["kind"] == "invalid_argument" and error["type"] == "TypeError"
    assert "two(a, b, *, c=3)" in error["message"]
    assert worker.call("has_run") == []


def test_extra_trailing_elements_are_ignored(worker):
    worker.send([CALL, 5, worker.generation, "echo", [1], {"new": 1}, "more", {}])
    assert worker.receive() == [RESULT, 5, worker.generation, 1]


def test_frames_of_another_generation_are_dropped(worker):
    worker.send([CALL, 1, worker.generation + 1, "echo", [1], {}])
    worker.send([SHUTDOWN, 0, worker.generation - 1])
    worker.send([99, 0, worker.generation - 1])
    worker.send([CALL, 2, worker.generation, "echo", [2], {}])
    assert worker.receive() == [RESULT, 2, worker.generation, 2]


def test_metadata_is_the_calls_own(worker):
    assert worker.exchange("about", [])[1] == ["about", None, None, True, None]
    name, session, trace, endless, remaining = worker.exchange(
        "about", [], ms=60_000, session="s1", traceparent="00-ab-cd-01", idempotent=True, unknown=1
    )[1]
    assert (name, session, trace, endless) == ("about", "s1", "00-ab-cd-01", False)
    assert 30 < remaining <= 60
    assert worker.exchange("about", [])[1] == ["about", None, None, True, None]


def test_a_deadline_in_the_past_leaves_nothing(worker):
    assert worker.exchange("about", [], ms=0)[1][4] == 0


def test_a_session_is_not_passed_as_an_argument(worker):
    assert worker.exchange("echo", [], session="s1") == (RESULT, None)
    assert worker.exchange("two", {"a": 1, "b": 2, "session_id": 1})[1]["kind"] == "invalid_argument"


def test_calls_sent_together_are_answered_in_order(worker):
    for number in range(1, 51):
        worker.send([CALL, number, worker.generation, "echo", [number], {}])
    assert [worker.receive()[1] for _ in range(50)] == list(range(1, 51))


def test_shutdown_finishes_what_came_before(worker):
    worker.send([CALL, 1, worker.generation, "echo", ["last"], {}])
    worker.send([SHUTDOWN, 0, worker.generation])
    assert worker.receive()[3] == "last"
    assert worker.expect_end(0) == ""


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"\xff",
        b"{}",
        b"7",
        b"[]",
        b"[1, 1]",
        b'["1", 1, 7]',
        b"[1, 1, 7]",
        b'[1, 1, 7, "echo", [], []]',
        b'[1, 1, 7, "echo", "text", {}]',
        b'[1, 1, 7, "echo", null, {}]',
        b"[1, 1, 7, 5, [], {}]",
        b"[1, 1, 7, [], [], {}]",
        b'[1, "1", 7, "echo", [], {}]',
        b"[9, 1, 7]",
        b"[2, 1, 7, 1]",
        b'[1, 1, 7, "echo", [NaN], {}]',
        pytest.param(b"[" * 200_000, id="deep"),  # not an id of that length: it is put into the environment
        b'{"id": 1, "command": "echo"}',
    ],
)
def test_a_malformed_frame_ends_the_worker(worker, frame):
    worker.send_bytes(frame)
    assert "the host has broken the protocol" in worker.expect_end(1)


def test_max_frame_is_the_offered_one_in_both_directions(start):
    worker = start(COMMANDS)
    assert worker.greet(max_frame=20_000)["lair"]["max_frame"] == 20_000
    error = worker.fail("repeat", "x", 20_001)
    assert error["kind"] == "unencodable"
    size = len(worker.encode([RESULT, 1, worker.generation, "x" * 20_001]))
    assert f"{size} bytes; max_frame is 20000 bytes" in error["message"]
    assert worker.call("echo", "x" * 15_000) == "x" * 15_000
    worker.send([CALL, 1, worker.generation, "echo", ["x" * 20_000], {}])
    assert "max_frame" in worker.expect_end(1)


def test_an_error_too_long_for_max_frame_is_shortened(start):
    worker = start("def f(): raise ValueError('y' * 50_000)")
    worker.greet(max_frame=2_000)
    error = worker.fail("f")
    assert error["type"] == "ValueError" and error["message"].startswith("yyyy")


@pytest.mark.parametrize("value", [None, 0, -5, "many", 1.5])
def test_an_offered_max_frame_that_is_none_leaves_the_default(start, value):
    assert start().greet(max_frame=value)["lair"]["max_frame"] == 64 << 20
