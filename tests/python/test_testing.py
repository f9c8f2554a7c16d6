"""lair_worker.testing: commands called in this process, as a host would have them called."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from itertools import count

import pytest

from host import INTERPRETER, worker_environment

SOURCE = """
    import asyncio
    import lair_worker as lair
    from lair_worker import host

    seen = []

    @lair.on_start
    def begin(): seen.append("begin")
    @lair.on_stop
    def end(): seen.append("end")

    @lair.command
    def echo(value=None): return value
    @lair.command
    def pair(a, b=2): return (a, b)
    @lair.command
    def keys(): return {1: (1, 2), None: 3}
    @lair.command
    def nan(): return {"a": [float("nan")]}
    @lair.command
    def boom(): raise ValueError("boom")
    @lair.command
    def leave(): raise SystemExit(3)
    @lair.command
    def type_error(): return len(5)
    @lair.command
    def about():
        call = lair.context()
        return [call.command, call.session_id, call.traceparent, call.remaining(), call.cancelled()]
    @lair.command
    def numbers(n):
        try:
            for i in range(n): yield i, lair.context().command
        finally:
            seen.append("closed")
    @lair.command
    def broken(n):
        yield from range(n)
        raise ValueError("in mid-stream")
    @lair.command
    async def later(value):
        await asyncio.sleep(0)
        return [value, lair.context().session_id]
    @lair.command
    async def anumbers(n):
        try:
            for i in range(n):
                yield i
                await asyncio.sleep(0)
        finally:
            seen.append("closed")
    @lair.command
    def ask(*args): return host.tool(*args)
    @lair.command
    async def aask(*args): return await host.tool(*args)
    @lair.command
    def ask_twice(x): return host.nested(host.tool(x))
    @lair.command
    def caught():
        try: host.tool(1)
        except lair.HostError as error: return [error.type, error.message, error.kind]
    @lair.command
    def shielded():
        with lair.shield(): return lair.context().command

    @lair.on_session_end
    def ended(session):
        seen.append(["ended", session.id, session.number, session.affinity])
        if session.affinity == "strict": seen.append(dict(session.local))

    @lair.command
    def load(key, value):
        lair.context().session.local[key] = value
        return dict(lair.context().session.local)
    @lair.command
    def who():
        session = lair.context().session
        return session and [session.id, session.number, session.affinity]
    @lair.command
    def run(code): return eval(code, {"shared": lair.context().session.shared, "lair": lair})
    @lair.command
    async def arun(code): return await eval(code, {"shared": lair.context().session.shared, "lair": lair})

    def helper(): pass
"""
names = count()


@pytest.fixture(scope="module")
def testing():
    from lair_worker import testing

    return testing


@pytest.fixture
def target(tmp_path, monkeypatch):
    name = f"testing_target_{next(names)}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def worker(testing, target):
    with testing.Worker(target, host={"tool": lambda *args: [*args, "from the host"]}) as worker:
        yield worker


def test_values_travel_as_json(worker):
    assert worker.call("pair", 1) == [1, 2] and worker.call("pair", a=1, b=(3,)) == [1, [3]]
    assert worker.call("keys") == {"1": [1, 2], "null": 3}
    value = {"a": [1]}
    assert worker.call("echo", value) == value and worker.call("echo", value) is not value
    with pytest.raises(TypeError, match=r"args\[0\] is of type set"):
        worker.call("echo", {1})
    with pytest.raises(TypeError, match="not both"):
        worker.call("pair", 1, b=2)


@pytest.mark.parametrize(
    ("command", "args", "kind", "type", "message"),
    [
        ("boom", [], "remote", "ValueError", "boom"),
        ("leave", [], "remote", "SystemExit", "3"),
        ("type_error", [], "remote", "TypeError", "object of type 'int' has no len()"),
        ("nan", [], "unencodable", "ValueError", "result.a[0] is NaN, which is not JSON"),
        ("nowhere", [], "unknown_command", "UnknownCommand", "Unknown command: nowhere"),
        ("helper", [], "unknown_command", "UnknownCommand", "Unknown command: helper"),
        ("pair", [], "invalid_argument", "TypeError", "; the signature is pair(a, b=2)"),
    ],
)
def test_errors_are_what_the_host_would_get(testing, worker, command, args, kind, type, message):
    with pytest.raises(testing.CallError) as caught:
        worker.call(command, *args)
    error = caught.value
    assert (error.kind, error.type) == (kind, type) and message in error.message
    if kind == "remote":
        assert isinstance(error.__cause__, BaseException) and f"in {command}" in error.traceback
        assert "testing.py" not in error.traceback


def test_the_same_errors_come_over_the_wire(worker, testing, start):
    real = start(SOURCE)
    real.greet()
    for command in ("boom", "leave", "type_error", "nan", "pair", "nowhere", "echo_"):
        with pytest.raises(testing.CallError) as caught:
            worker.call(command)
        sent = real.fail(command)
        error = caught.value
        assert (error.type, error.kind) == (sent["type"], sent["kind"])
        if command not in ("echo_", "nowhere"):  # the standard commands are suggested too
            assert error.message == sent["message"]


def test_context(worker):
    assert worker.call("about") == ["about", None, None, None, False]
    meta = {"session": "s", "traceparent": "t", "deadline": 60}
    name, session, trace, remaining, _ = worker.call_with(meta, "about")
    assert (name, session, trace) == ("about", "s", "t") and 0 < remaining <= 60
    assert worker.call_with({"session": "s"}, "later", 1) == [1, "s"]
    assert worker.call("shielded") == "shielded"
    with pytest.raises(TypeError, match="not id"):
        worker.call_with({"id": 1}, "about")
    import lair_worker

    with pytest.raises(LookupError):
        lair_worker.context()


def test_streams_are_lazy_and_closed(worker, testing, target):
    seen = sys.modules[target].seen
    for command, first in (("numbers", [0, "numbers"]), ("anumbers", 0)):
        del seen[:]
        items = worker.stream(command, 10**9)
        assert next(items) == first and seen == []
        items.close()
        assert seen == ["closed"]
    assert list(worker.stream("anumbers", 3)) == worker.call("anumbers", 3) == [0, 1, 2]
    items = worker.stream("broken", 2)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(testing.CallError, match="in mid-stream"):
        next(items)
    with pytest.raises(testing.CallError, match="asked for a stream and gave a value of type int"):
        worker.stream("echo", 1)


def test_the_host_is_called(worker, testing, target):
    assert worker.call("ask", 1, (2,)) == [1, [2], "from the host"]
    assert worker.call("aask", 1) == [1, "from the host"]
    with pytest.raises(testing.CallError) as caught:
        worker.call("ask_twice", 1)
    assert caught.value.type == "lair_worker.HostError"
    assert caught.value.message == "Unknown command: nested"

    def fail(_):
        raise KeyError("k")

    with testing.Worker(target, host={"tool": fail}) as other:
        assert other.call("caught") == ["KeyError", "'k'", "remote"]


def test_sessions_have_what_is_theirs(worker):
    ann, bob = {"session": "ann", "affinity": "strict"}, {"session": "bob"}
    assert worker.call("who") is None
    assert worker.call_with(ann, "who") == ["ann", 1, "strict"]
    assert worker.call_with(bob, "who") == ["bob", 2, "prefer"]
    assert worker.call_with(ann, "load", "a", 1) == {"a": 1}
    assert worker.call_with({"session": "ann"}, "load", "b", 2) == {"a": 1, "b": 2}
    assert worker.call_with({"session": "eve", "affinity": "strict"}, "load", "c", 3) == {"c": 3}


def test_local_where_a_session_may_move_is_an_error(worker, testing):
    with pytest.raises(testing.CallError, match="may serve its next call"):
        worker.call_with({"session": "ann"}, "load", "a", 1)


@pytest.mark.parametrize("run", ["run", "arun"])
def test_shared_values(worker, run):
    def ask(code, session="ann"):
        return worker.call_with({"session": session}, run, f"shared.{code}")

    worker.values["ann"] = {"a": [1]}
    assert ask("get('a')") == [1] and ask("get('b')") is None and ask("get('b', 2)") == 2
    assert ask("put('b', (1, 2))") is None and worker.values["ann"]["b"] == [1, 2]
    assert ask("keys()") == ["a", "b"] and ask("keys('b')") == ["b"] and ask("keys()", "bob") == []
    assert ask("delete('a')") is True and ask("delete('a')") is False
    assert ask("compare_and_set('c', lair.ABSENT, {'x': 1.0, 'y': [True]})") is True
    assert ask("compare_and_set('c', lair.ABSENT, 1)") is False
    assert ask("compare_and_set('c', {'y': [1], 'x': 1}, 2)") is False, "true is not 1"
    assert ask("compare_and_set('c', {'y': [True], 'x': 1}, 2)") is True
    assert ask("compare_and_set('c', 2, lair.ABSENT)") is True and ask("keys()") == ["b"]
    ask("get('b')").append(3)
    assert worker.values == {"ann": {"b": [1, 2]}, "bob": {}}
    if run == "run":
        found = worker.call_with({"session": "ann"}, run, "[*shared], shared['b'], 'a' in shared")
        assert found == [["b"], [1, 2], False]


def test_a_session_is_ended(testing, target, worker):
    seen = sys.modules[target].seen
    ann = {"session": "ann", "affinity": "strict"}
    worker.call_with(ann, "load", "a", 1)
    worker.call_with(ann, "run", "shared.put('a', 1)")
    worker.end_session("ann")
    assert seen[1:] == [["ended", "ann", 1, "strict"], {"a": 1}] and worker.values == {}
    assert worker.call_with({"session": "ann"}, "who") == ["ann", 2, "prefer"]
    worker.end_session("ann")
    assert seen[3:] == [["ended", "ann", 2, "prefer"]]
    with pytest.raises(ValueError, match="'ann' is not open"):
        worker.end_session("ann")


def test_sessions_end_with_the_worker(testing, target):
    with testing.Worker(target) as worker:
        seen = sys.modules[target].seen
        for session in ("zoe", "ann"):
            worker.call_with({"session": session, "affinity": "strict"}, "who")
        worker.call_with({"session": "bob"}, "who")
    ends = [["ended", "zoe", 1, "strict"], {}, ["ended", "ann", 2, "strict"], {}]
    assert seen == ["begin", *ends, "end"]


def test_the_end_of_a_session_that_fails_is_an_error(testing, tmp_path):
    path = tmp_path / "failing_ends.py"
    path.write_text(
        textwrap.dedent("""
            import lair_worker as lair
            seen = []
            @lair.command
            def f(): return lair.context().session.number
            @lair.command
            def cleanup_session(session_id):
                seen.append([session_id, lair.context().session.number])
            @lair.on_session_end
            def end(session): raise ValueError("boom")
            @lair.on_session_end
            def also(session): seen.append("also")
        """)
    )
    worker = testing.Worker(str(path))
    ann = {"session": "ann", "affinity": "exclusive"}
    assert worker.call_with(ann, "f") == 1
    with pytest.raises(testing.CallError, match="ValueError: boom"):
        worker.end_session("ann")
    assert sys.modules["failing_ends"].seen == [["ann", 1], "also"]
    assert worker.call_with(ann, "f") == 2
    with pytest.raises(ValueError, match="boom"):
        worker.__exit__()


def test_sessions_that_make_no_sense(worker):
    worker.call_with({"session": "ann", "affinity": "strict"}, "who")
    for meta, message in (
        ({"session": "ann", "affinity": "prefer"}, "open as 'strict'"),
        ({"session": "bob", "affinity": "loose"}, "not 'loose'"),
        ({"session": 7}, "a str, not 7"),
        ({"affinity": "strict"}, "the call has none"),
    ):
        with pytest.raises(TypeError, match=message):
            worker.call_with(meta, "who")


def test_hooks_run_around_a_worker_that_is_entered(testing, target):
    with testing.Worker(target) as worker:
        assert sys.modules[target].seen == ["begin"]
        assert worker.call("echo", 1) == 1
    assert sys.modules[target].seen == ["begin", "end"]


def test_a_module_that_is_imported_already(testing, target):
    module = __import__(target)
    for _ in range(2):
        with testing.Worker(target) as worker:
            assert worker.call("echo", 1) == 1
            with pytest.raises(testing.CallError, match="Unknown command: helper"):
                worker.call("helper")
    assert module.seen == ["begin", "end"] * 2


def test_a_file_without_decorators(testing, tmp_path):
    path = tmp_path / "plain_jobs.py"
    path.write_text("def double(x): return 2 * x\ndef _private(): pass\n")
    worker = testing.Worker(str(path))
    assert worker.call("double", 4) == 8
    with pytest.raises(testing.CallError):
        worker.call("_private")
    assert str(tmp_path) not in sys.path


def test_the_functions_of_the_module_in_a_script():
    script = """
        import lair_worker as lair
        from lair_worker import testing

        @lair.command
        def double(x): return 2 * x

        @lair.command
        def up_to(n): yield from range(n)

        print(testing.call("double", 4), list(testing.stream("up_to", 3)))
    """
    done = subprocess.run(
        [INTERPRETER, "-c", textwrap.dedent(script)],
        env=worker_environment(),
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("8 [0, 1, 2]\n", "")


def test_values_that_change_and_are_put_at_the_end(testing, tmp_path):
    path = tmp_path / "at_the_end.py"
    path.write_text(
        textwrap.dedent("""
            import lair_worker as lair
            def shared(): return lair.context().session.shared
            def changes(): return shared().changes
            def put(value):
                shared().put("a", value)
                shared().delete("nothing")
                return shared().changes
            def end(value):
                shared().put_at_end("a", value)
                return [shared().get("a"), shared().changes]
            async def aend(value):
                await shared().put_at_end("a", value)
                return [await shared().get("a"), shared().changes]
            def fail():
                shared().put_at_end("a", "failed")
                raise KeyError("x")
            def stream():
                shared().put_at_end("a", "streamed")
                yield shared().get("a")
        """)
    )
    worker = testing.Worker(str(path))
    ann = {"session": "ann"}
    first = worker.call_with(ann, "changes")
    assert worker.call_with(ann, "put", 1) == first + 1
    assert worker.call_with(ann, "end", 2) == [1, first + 2] and worker.values["ann"] == {"a": 2}
    assert worker.call_with(ann, "aend", 3) == [2, first + 3] and worker.values["ann"] == {"a": 3}
    assert worker.call_with(ann, "changes") == first + 3
    worker.values["ann"]["a"] = 4  # by the test, which stands for the program
    assert worker.call_with(ann, "changes") == first + 4
    with pytest.raises(testing.CallError):
        worker.call_with(ann, "fail")
    assert worker.values["ann"] == {"a": "failed"}
    assert list(worker.stream_with(ann, "stream")) == ["failed"]
    assert worker.values["ann"] == {"a": "streamed"}
    worker.end_session("ann")
    assert worker.call_with(ann, "changes") == first
    assert testing.Worker(str(path)).call_with(ann, "changes") > first + 4, "another worker is another pool"
