"""The number of changes of a session's values, and what a call leaves to be put at its end."""

from __future__ import annotations

import pytest

from host import CALLBACK, CALLBACK_RESULT, CANCEL, CANCELLED, CHUNK, END, ERROR, RESULT
from test_shared import ANN, Store, call

AT_END = """
    import asyncio, os, threading
    import lair_worker as lair

    def shared(): return lair.context().session.shared

    @lair.command
    def changes(): return shared().changes
    @lair.command
    def change():
        found = [shared().changes]
        for step in (
            lambda: shared().put("a", 1),
            lambda: shared().delete("no"),
            lambda: shared().compare_and_set("a", 2, 3),
            lambda: shared().compare_and_set("a", 1, 2),
            lambda: shared().get("a"),
            lambda: shared().delete("a"),
            lambda: shared().put_at_end("b", 1),
        ):
            step()
            found.append(shared().changes)
        return found
    @lair.command
    def end(*values):
        for value in values: assert shared().put_at_end("a", value) is None
        return shared().get("a")
    @lair.command
    async def aend(*values):
        for value in values: assert await shared().put_at_end("a", value) is None
        return await shared().get("a")
    @lair.command
    def end_and_raise():
        shared().put_at_end("a", 1)
        raise KeyError("x")
    @lair.command
    def stream():
        shared().put_at_end("a", 1)
        yield 1
        yield 2
    @lair.command
    def wrong(code): return eval(code, {"shared": shared()})
    @lair.command
    def long(size):
        shared().put_at_end("a", "x" * size)
        return "y" * size
    @lair.command
    def wait():
        shared().put_at_end("a", 1)
        shared().get("slow")
    @lair.command
    def keep(): globals()["kept"] = shared()
    @lair.command
    def use_kept(): return kept.put_at_end("a", 1)
    @lair.command
    def cleanup_session(session_id): shared().put_at_end("a", session_id)
"""


@pytest.fixture(params=[1, 8], ids=["one at a time", "several"])
def ends(full, request):
    worker = full(AT_END, request.param)
    assert call(worker, Store(), "changes") is None  # the accelerator leaves the first of a session to Python
    return worker


def told(worker, number):
    """What is told up to the call's last frame, which comes with it; callbacks are answered with nothing."""
    found = []
    while True:
        message = worker.receive()
        if message[0] == CALLBACK and message[3] == 0:
            assert message[4] == "lair.session.put"
            found.append(message[5])
        elif message[0] == CALLBACK:
            assert not found, "only at the end"
            value = {"found": False, "value": None}
            worker.write(worker.frame(CALLBACK_RESULT, number, message[3], True, value))
        elif message[0] != CHUNK:
            return found, message


def test_changes_are_those_of_the_call_and_its_own(ends):
    store = Store()
    assert call(ends, store, "changes") is None
    assert call(ends, store, "changes", session_changes=7) == 7
    assert call(ends, store, "changes", session_changes="7") is None
    number = ends.send_call("change", [], **ANN, session_changes=2**40)
    found = []
    while (message := ends.receive())[0] == CALLBACK:
        if message[3] == 0:
            continue
        value = store.answer("ann", message[4], message[5])
        ends.write(ends.frame(CALLBACK_RESULT, number, message[3], True, value))
    found = [each - 2**40 for each in message[3]]
    assert found == [0, 1, 1, 1, 2, 2, 3, 4]
    assert call(ends, store, "changes", session_changes=5) == 5, "each call begins anew"


@pytest.mark.parametrize("a", ["", "a"], ids=["def", "async def"])
def test_what_is_put_at_the_end_goes_before_the_last_frame(ends, a):
    for values in ([1], [1, {"deep": [None]}, "3"]):
        number = ends.send_call(a + "end", values, **ANN, session_changes=0)
        found, last = told(ends, number)
        assert found == [{"key": "a", "value": value} for value in values]
        assert last == [RESULT, number, ends.generation, None]
    ends.assert_silent()


@pytest.mark.parametrize("a", ["", "a"], ids=["def", "async def"])
def test_a_host_that_does_not_count_has_it_at_once(ends, a):
    store = Store()
    assert call(ends, store, a + "end", 1, 2) == 2
    assert [name for name, _ in store.asked] == ["lair.session.put"] * 2 + ["lair.session.get"]


def test_an_error_a_stream_and_the_end_of_a_session_have_it_too(ends):
    ann = {**ANN, "session_changes": 0}
    found, last = told(ends, ends.send_call("end_and_raise", [], **ann))
    assert last[0] == ERROR and found == [{"key": "a", "value": 1}]
    found, last = told(ends, ends.send_call("stream", [], **ann, stream=[10, 1000]))
    assert last[0] == END and found == [{"key": "a", "value": 1}]
    found, last = told(ends, ends.send_call("stream", [], **ann))
    assert last[3] == [1, 2] and found == [{"key": "a", "value": 1}]
    found, last = told(ends, ends.send_call("cleanup_session", ["ann"], **ann))
    assert last[0] == RESULT and found == [{"key": "a", "value": "ann"}]


def test_long_ones_go_too(ends):
    for size in (1000, 300_000):
        found, last = told(ends, ends.send_call("long", [size], **ANN, session_changes=0))
        assert found[0]["value"] == "x" * size and last[3] == "y" * size


@pytest.mark.parametrize(
    "code, type, message",
    [
        ("shared.put_at_end('a', {1})", "ValueError", "session.shared.put: args.value"),
        ("shared.put_at_end('a', float('nan'))", "ValueError", "session.shared.put: args.value"),
        ("shared.put_at_end(1, 2)", "TypeError", "a key of session.shared is a str, not 1"),
    ],
)
def test_what_cannot_be_put_at_the_end_is_an_error_at_once(ends, code, type, message):
    found, last = told(ends, ends.send_call("wrong", [code], **ANN, session_changes=0))
    assert found == [] and last[0] == ERROR
    assert last[3]["type"] == type and message in last[3]["message"]


def test_of_another_call_nothing_is_put_at_the_end(ends):
    assert told(ends, ends.send_call("keep", [], **ANN, session_changes=0))[0] == []
    bob = {"session": "bob", "session_number": 2, "affinity": "prefer", "session_changes": 0}
    found, last = told(ends, ends.send_call("use_kept", [], **bob))
    assert found == [] and "the call that runs is another's" in last[3]["message"]


def test_what_a_cancelled_call_tells_comes_before_its_last_frame(ends):
    """It need not: a host that has cancelled the call does not take it."""
    number = ends.send_call("wait", [], **ANN, session_changes=0)
    assert ends.receive()[4] == "lair.session.get"
    ends.write(ends.frame(CANCEL, number))
    ends.ring()
    while (message := ends.receive())[0] == CALLBACK:
        assert message[3] == 0
    assert message == [CANCELLED, number, ends.generation]
    assert call(ends, Store(), "changes", session_changes=4) == 4
