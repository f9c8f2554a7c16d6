"""Whatever a command raises comes back as an error reply, and the worker goes on."""

from __future__ import annotations

import pytest

ODD = """
    import functools, math, os, sys
    import lair_worker as lair

    class MyError(Exception): pass

    class Outer:
        class Inner(ValueError): pass

    class Unprintable(Exception):
        def __str__(self): raise RuntimeError("no text")

    class Exiting(Exception):
        def __str__(self): sys.exit(3)

    class NotText(Exception):
        def __str__(self): return 5

    class Evil(Exception):
        @property
        def __cause__(self): raise ValueError("evil")
        __notes__ = 7

    @lair.command
    def echo(value=None): return value

    @lair.command
    def value_error(): raise ValueError("wrong")

    @lair.command
    def no_text(): raise ValueError

    @lair.command
    def mine(): raise MyError("own")

    @lair.command
    def inner(): raise Outer.Inner("nested")

    @lair.command
    def unprintable(): raise Unprintable()

    @lair.command
    def exiting(): raise Exiting()

    @lair.command
    def not_text(): raise NotText()

    @lair.command
    def evil(): raise Evil("e")

    @lair.command
    def surrogate(): raise ValueError("half \\ud800 a character")

    @lair.command
    def endless():
        return endless()

    @lair.command
    def leave(): sys.exit(4)

    @lair.command
    def interrupt(): raise KeyboardInterrupt

    @lair.command
    def generator_exit(): raise GeneratorExit

    @lair.command
    def memory(): raise MemoryError

    @lair.command
    def long(): raise ValueError("z" * 10_000_000)

    @lair.command
    def chained():
        try:
            1 / 0
        except ZeroDivisionError as error:
            raise KeyError("second") from error

    @lair.command
    def deep(): return helper()
    def helper(): raise OSError(2, "No such file", "x")

    @lair.command
    def type_error_inside():
        return echo(1, 2, 3)

    @lair.command
    def type_error_raised():
        raise TypeError("own words")

    @lair.command(name="narrower")
    @functools.wraps(echo)
    def narrower(): return "ran"

    @lair.command
    def wraps_none(*args, **kwargs): return echo(*args, **kwargs)

    lair.command(math.sqrt, name="sqrt")
    lair.command(len, name="len")
    lair.command(sorted, name="sorted")
    lair.command(dict.fromkeys, name="fromkeys")
    lair.command(functools.partial(value_error), name="partial")
    lair.command(functools.lru_cache(echo), name="cached")

    class Callable:
        def __call__(self, a): return a + 1
        def method(self, a): return a + 2
    lair.command(Callable(), name="instance")
    lair.command(Callable().method, name="method")

    one = ValueError("again")
    @lair.command
    def again():
        raise one
"""


@pytest.fixture
def worker(greeted):
    return greeted(ODD)


@pytest.mark.parametrize(
    ("command", "cls", "message"),
    [
        ("value_error", "ValueError", "wrong"),
        ("no_text", "ValueError", ""),
        ("mine", "mod.MyError", "own"),
        ("inner", "mod.Outer.Inner", "nested"),
        ("unprintable", "mod.Unprintable", "<mod.Unprintable: its __str__ raised RuntimeError>"),
        ("exiting", "mod.Exiting", "<mod.Exiting: its __str__ raised SystemExit>"),
        ("not_text", "mod.NotText", "<mod.NotText: its __str__ raised TypeError>"),
        ("evil", "mod.Evil", "e"),
        ("surrogate", "ValueError", "half \\ud800 a character"),
        ("leave", "SystemExit", "4"),
        ("interrupt", "KeyboardInterrupt", ""),
        ("generator_exit", "GeneratorExit", ""),
        ("memory", "MemoryError", ""),
        ("chained", "KeyError", "'second'"),
        ("deep", "FileNotFoundError", "[Errno 2] No such file: 'x'"),
        ("type_error_raised", "TypeError", "own words"),
        ("partial", "ValueError", "wrong"),
    ],
)
def test_an_exception_is_an_error_reply(worker, command, cls, message):
    error = worker.fail(command)
    assert (error["type"], error["message"], error["kind"]) == (cls, message, "remote")
    assert worker.call("echo", 1) == 1


def test_recursion_without_end_is_an_error_reply(worker):
    error = worker.fail("endless")
    assert error["type"] == "RecursionError" and "endless" in error["traceback"]
    assert worker.call("echo", 1) == 1


def test_a_traceback_starts_in_the_users_code(worker):
    text = worker.fail("deep")["traceback"]
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.index("in deep") < text.index("in helper") and "lair_worker" not in text
    assert text.rstrip().endswith("FileNotFoundError: [Errno 2] No such file: 'x'")


def test_a_traceback_shows_causes(worker):
    text = worker.fail("chained")["traceback"]
    assert "ZeroDivisionError" in text and "direct cause" in text


def test_a_long_message_is_cut(worker):
    error = worker.fail("long")
    assert 60_000 < len(error["message"]) < 70_000 and "10000000 characters" in error["message"]
    assert len(error["traceback"]) < 300_000


def test_a_type_error_of_the_commands_own_is_remote(worker):
    error = worker.fail("type_error_inside")
    assert (error["type"], error["kind"]) == ("TypeError", "remote")
    assert worker.fail("wraps_none", 1, 2, 3)["kind"] == "remote"
    assert worker.fail("narrower", 1)["kind"] == "invalid_argument"  # whatever its signature pretends


def test_c_functions_are_judged_by_their_signature(worker):
    assert worker.call("sqrt", 4) == 2
    assert worker.fail("sqrt", 1, 2)["kind"] == "invalid_argument"
    assert worker.fail("len")["kind"] == "invalid_argument"
    assert worker.fail("len", 5)["kind"] == "remote"  # it ran, and said so
    assert worker.fail("sorted", [1, "a"])["kind"] == "remote"
    assert worker.call("fromkeys", ["a"]) == {"a": None}
    assert worker.fail("fromkeys", 5)["kind"] == "remote"
    assert worker.fail("cached", [1])["kind"] == "remote"  # unhashable
    assert worker.fail("cached", 1, 2)["kind"] == "invalid_argument"


def test_other_callables_are_judged_by_their_signature(worker):
    assert worker.call("instance", 1) == 2 and worker.call("method", 1) == 3
    assert worker.fail("instance")["kind"] == "invalid_argument"
    assert worker.fail("instance", "x")["kind"] == "remote"
    assert worker.fail("method", 1, 2)["kind"] == "invalid_argument"
    assert worker.fail("method", "x")["kind"] == "remote"
    assert worker.fail("partial", 1)["kind"] == "invalid_argument"


def test_an_exception_raised_again_keeps_no_old_tracebacks(worker):
    lengths = {len(worker.fail("again")["traceback"]) for _ in range(5)}
    assert len(lengths) == 1


def test_protocol_1_gives_the_type_where_there_is_no_text(start):
    worker = start(ODD)
    assert worker.request("no_text")["error"] == "ValueError"
    assert worker.request("leave")["error_type"] == "SystemExit"
    assert worker.request("surrogate")["error"] == "half \\ud800 a character"
    assert worker.request("echo", {"value": 1})["result"] == 1


def test_errors_are_counted(worker):
    worker.fail("value_error")
    worker.fail("nope")
    worker.call("echo", 1)
    assert worker.call("get_stats")["error_count"] == 2
