"""Protocol 1 after the handshake: requests, refusals, sessions."""

from __future__ import annotations

import pytest

COMMANDS = """
    import lair_worker as lair

    @lair.command
    def echo(value=None): return value

    @lair.command
    def boom(): raise KeyError("k")

    @lair.command
    def with_session(session_id, x=0): return [session_id, x]

    @lair.command
    def any_keyword(**rest): return rest

    @lair.command
    def without(x=0): return [lair.context().session_id, x]
"""


@pytest.fixture
def worker(start, transport):
    worker = start(COMMANDS, transport=transport)
    worker.handshake()
    return worker


def test_success_has_the_traditional_fields(worker):
    reply = worker.request("echo", {"value": {"a": 1}})
    assert reply["success"] is True and reply["result"] == {"a": 1} and "timestamp" in reply


def test_error_has_text_type_and_traceback(worker):
    reply = worker.request("boom")
    assert reply["success"] is False and reply["error"] == "'k'" and reply["error_type"] == "KeyError"
    assert 'raise KeyError("k")' in reply["traceback"] and "refused" not in reply


def test_an_unknown_command_has_the_exact_text(worker):
    reply = worker.request("ecko", {})
    assert reply["error"] == "Unknown command: ecko" and reply["refused"] is True


def test_arguments_that_do_not_fit_are_refused(worker):
    reply = worker.request("echo", {"valeu": 1})
    assert reply["refused"] is True and reply["error_type"] == "TypeError"
    assert "valeu" in reply["error"] and "echo(value=None)" in reply["error"]


@pytest.mark.parametrize("args", [None, {}])
def test_args_may_be_missing_or_null(worker, args):
    assert worker.request("echo", **({"args": args} if args is not None else {}))["result"] is None
    worker.send({"id": 99, "command": "echo", "args": None})
    assert worker.receive()["result"] is None


def test_unknown_fields_are_ignored(worker):
    assert worker.request("echo", {"value": 1}, priority=9, nested={"a": []})["result"] == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"   ",
        b"{",
        b"nonsense",
        b"\xff\xfe{}",
        b'{"id": 1, "command": "echo"} x',
        b"[" * 100_000,
        b'{"id": 1, "command": "echo", "args": {"value": NaN}}',
        b'{"id": 1, "command": "echo", "args": {"value": -Infinity}}',
        b'{"id": 1, "command": "ec\nho"}',
        b"1" * 10_000 + b"x",
        b'"text"',
        b"null",
        b"[1, 2]",
        b"7",
    ],
)
def test_what_is_no_json_object_is_answered_and_the_worker_goes_on(worker, payload):
    worker.send_bytes(payload)
    reply = worker.receive()
    assert reply["id"] is None and reply["success"] is False and reply["error"]
    assert worker.request("echo", {"value": 5})["result"] == 5


@pytest.mark.parametrize("number", [None, "1", -1, 1.5, True, [], 2**64])
def test_an_id_that_is_none_is_answered_with_null(worker, number):
    worker.send({"id": number, "command": "echo"})
    reply = worker.receive()
    assert reply["id"] is None and "id" in reply["error"]
    assert worker.request("echo")["success"]


@pytest.mark.parametrize(("field", "value"), [("command", None), ("command", 5), ("args", []), ("args", "x")])
def test_a_request_with_a_wrong_field_is_refused_under_its_id(worker, field, value):
    worker.send({"id": 42, "command": "echo", field: value})
    reply = worker.receive()
    assert reply["id"] == 42 and reply["success"] is False and reply["refused"] and field in reply["error"]


@pytest.mark.parametrize("number", [0, 1, 2**53 + 1, 2**64 - 1])
def test_ids_come_back_exactly(worker, number):
    worker.send({"id": number, "command": "echo", "args": {"value": 1}})
    assert worker.receive()["id"] == number


def test_white_space_around_the_object_is_json(worker):
    worker.send_bytes(b' \n{"id": 3, "command": "echo", "args": {"value": 1}}\r\n ')
    assert worker.receive()["result"] == 1


def test_requests_sent_together_are_answered_in_order(worker):
    for number in range(50):
        worker.send({"id": number, "command": "echo", "args": {"value": number}})
    assert [worker.receive()["id"] for _ in range(50)] == list(range(50))


def test_a_session_reaches_the_context_and_only_functions_that_ask(worker):
    assert worker.request("without", {"session_id": "s1", "x": 3})["result"] == ["s1", 3]
    assert worker.request("with_session", {"session_id": "s1", "x": 3})["result"] == ["s1", 3]
    assert worker.request("any_keyword", {"session_id": "s1"})["result"] == {"session_id": "s1"}
    assert worker.request("without", {"x": 3})["result"] == [None, 3]
    assert worker.request("with_session", {"x": 3})["refused"] is True


def test_a_wrapper_passes_the_session_only_if_the_wrapped_function_takes_it(start):
    worker = start(
        """
        import functools, lair_worker as lair
        def logged(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs): return function(*args, **kwargs)
            return wrapper
        @lair.command
        @logged
        def f(x): return x
        """
    )
    assert worker.request("f", {"session_id": "s", "x": 1})["result"] == 1
