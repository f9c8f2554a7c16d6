"""context().session.shared: the values that a host keeps for a session, as the host sees the traffic."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import CALLBACK, CALLBACK_RESULT, CANCEL, CANCELLED, CHUNK, END, ERROR, RESULT, wait_until

SOURCE = (Path(__file__).parents[1] / "workers" / "sessions.py").read_text()
ANN = {"session": "ann", "session_number": 1, "affinity": "prefer"}
ABSENT = object()

MORE = """
    import asyncio, threading
    import contextvars
    import lair_worker as lair

    def shared(): return lair.context().session.shared

    @lair.command
    def at(key): return shared()[key]
    @lair.command
    def set_at(key, value): shared()[key] = value
    @lair.command
    def del_at(key): del shared()[key]
    @lair.command
    def has(key): return key in shared()
    @lair.command
    def every(): return [key for key in shared()]
    @lair.command
    def run(code): return eval(code, {"shared": shared(), "lair": lair, "session": lair.context().session})
    @lair.command
    def default(key):
        missing = object()
        return shared().get(key, missing) is missing
    @lair.command
    def stream(n):
        for i in range(n):
            shared().put("last", i)
            yield i
    @lair.command
    def keep(): globals()["kept"] = lair.context().session
    @lair.command
    def use_kept(): return kept.shared.get("a")
    @lair.command
    def kept_local(): return kept.local
    @lair.command
    async def together(n): return await asyncio.gather(*(shared().get(f"k{i}", i) for i in range(n)))
    @lair.command
    async def odd(code):
        tried = eval(code, {"shared": shared()})
        return tried
    @lair.command
    async def odd_set(): shared()["a"] = 1
    @lair.command
    async def odd_del(): del shared()["a"]
    @lair.command
    async def in_a_thread(key): return await asyncio.to_thread(lambda: shared()[key])
    @lair.command
    async def akept(): return await kept.shared.get("a")
    @lair.command
    def bare_thread():
        found, session = [], lair.context().session
        def work():
            try: found.append(session.shared.get("a"))
            except RuntimeError as error: found.append(str(error))
        for context in (contextvars.Context(), contextvars.copy_context()):
            thread = threading.Thread(target=context.run, args=(work,))
            thread.start()
            thread.join()
        return found
    @lair.command
    def shielded():
        try: shared().get("slow")
        finally: print("out")

    @lair.on_session_end
    def end(session):
        print("end", session.id, session.shared.get("a"))
"""


class Store:
    """A host's store of sessions; `asked` is what came for it."""

    def __init__(self, **values):
        self.values = {"ann": dict(values)}
        self.asked = []

    def answer(self, session, name, args):
        self.asked.append((name, args))
        values = self.values.setdefault(session, {})
        key = args.get("key")
        if name == "lair.session.get":
            return {"found": key in values, "value": values.get(key)}
        if name == "lair.session.put":
            values[key] = args["value"]
            return None
        if name == "lair.session.delete":
            return values.pop(key, ABSENT) is not ABSENT
        if name == "lair.session.list":
            return sorted(each for each in values if each.startswith(args.get("prefix", "")))
        assert name == "lair.session.compare_and_set", name
        if values.get(key, ABSENT) != args.get("expected", ABSENT):
            return False
        values.pop(key, None)
        if "value" in args:
            values[key] = args["value"]
        return True


def serve(worker, number, store, session="ann"):
    """Plays the host until the call's last frame, which it gives without the header; and what came before."""
    chunks = []
    while True:
        kind, *header = message = worker.receive()
        assert header[:2] == [number, worker.generation], message
        if kind == CALLBACK:
            value = store.answer(session, message[4], message[5])
            worker.write(worker.frame(CALLBACK_RESULT, number, message[3], True, value))
        elif kind == CHUNK:
            chunks += message[3]
        else:
            return kind, (message[3] if len(message) > 3 else chunks)


def call(worker, store, command, *args, **meta):
    kind, body = serve(worker, worker.send_call(command, list(args), **{**ANN, **meta}), store)
    assert kind == RESULT, body
    return body


def fail(worker, store, command, *args, **meta):
    kind, body = serve(worker, worker.send_call(command, list(args), **{**ANN, **meta}), store)
    assert kind == ERROR, body
    return body


@pytest.fixture(params=[1, 8], ids=["one at a time", "several"])
def concurrency(request):
    return request.param


@pytest.fixture
def worker(full, concurrency):
    return full(SOURCE, concurrency)


@pytest.fixture
def more(full, concurrency):
    return full(MORE, concurrency)


@pytest.mark.parametrize("a", ["", "a"], ids=["def", "async def"])
@pytest.mark.parametrize("affinity", ["prefer", "strict"])
def test_each_function_is_a_callback(worker, a, affinity):
    store = Store(old=1)

    def ask(command, *args):
        return call(worker, store, a + command, *args, affinity=affinity)

    assert ask("get", "new") is None and ask("get", "new", 7) == 7
    assert ask("put", "new", {"deep": [1, None]}) is None
    assert ask("get", "new") == {"deep": [1, None]}
    assert ask("delete", "new") is True and ask("delete", "new") is False
    assert ask("cas", "old", 2, 3) is False and ask("cas", "old", 1, 3) is True
    assert ask("keys") == ["old"] and ask("keys", "x") == []
    assert store.asked == [
        ("lair.session.get", {"key": "new"}),
        ("lair.session.get", {"key": "new"}),
        ("lair.session.put", {"key": "new", "value": {"deep": [1, None]}}),
        ("lair.session.get", {"key": "new"}),
        ("lair.session.delete", {"key": "new"}),
        ("lair.session.delete", {"key": "new"}),
        ("lair.session.compare_and_set", {"key": "old", "expected": 2, "value": 3}),
        ("lair.session.compare_and_set", {"key": "old", "expected": 1, "value": 3}),
        ("lair.session.list", {}),
        ("lair.session.list", {"prefix": "x"}),
    ]


def test_absent_is_left_out(worker):
    store = Store()
    assert call(worker, store, "create", "a", None) is True and call(worker, store, "create", "a", 1) is False
    assert store.values["ann"] == {"a": None}
    assert call(worker, store, "delete_if", "a", 1) is False and call(worker, store, "delete_if", "a", None)
    assert store.values["ann"] == {}
    assert store.asked[0] == ("lair.session.compare_and_set", {"key": "a", "value": None})
    assert store.asked[2] == ("lair.session.compare_and_set", {"key": "a", "expected": 1})


def test_null_is_a_value(more):
    store = Store(a=None)
    assert call(more, store, "default", "a") is False and call(more, store, "default", "b") is True
    assert call(more, store, "at", "a") is None and call(more, store, "has", "a") is True


def test_the_syntax_of_mappings(more):
    store = Store()
    assert call(more, store, "set_at", "a", [1]) is None and call(more, store, "at", "a") == [1]
    assert call(more, store, "has", "a") is True and call(more, store, "has", "b") is False
    assert call(more, store, "set_at", "b", 2) is None and call(more, store, "every") == ["a", "b"]
    assert call(more, store, "del_at", "a") is None and store.values["ann"] == {"b": 2}
    for command in ("at", "del_at"):
        error = fail(more, store, command, "a")
        assert (error["type"], error["message"]) == ("KeyError", "'a'")
    asked = len(store.asked)
    assert call(more, store, "has", 7) is False and len(store.asked) == asked, "no such key can be"


@pytest.mark.parametrize(
    ("command", "args", "instead"),
    [
        ("odd", ["shared['a']"], "await shared.get(key)"),
        ("odd", ["'a' in shared"], "await shared.get(key)"),
        ("odd", ["list(shared)"], "await shared.keys()"),
        ("odd_set", [], "await shared.put(key, value)"),
        ("odd_del", [], "await shared.delete(key)"),
    ],
)
def test_mapping_syntax_in_a_coroutine_says_what_to_write(more, command, args, instead):
    store = Store(a=1)
    error = fail(more, store, command, *args)
    assert error["type"] == "TypeError" and instead in error["message"] and store.asked == []
    assert "never awaited" not in more.stderr_log.now()


def test_coroutines_ask_at_once(more):
    assert call(more, Store(k3="x"), "together", 20) == [0, 1, 2, "x", *range(4, 20)]


def test_streams_can_ask(more):
    store = Store()
    number = more.send_call("stream", [3], **ANN, stream=[100, 10_000])
    assert serve(more, number, store) == (END, [0, 1, 2]) and store.values["ann"] == {"last": 2}


# --- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", ["", "a"], ids=["def", "async def"])
@pytest.mark.parametrize("kind", ["invalid_argument", "session_lost", "unavailable"])
def test_what_the_host_refuses_is_its_error(worker, a, kind):
    number = worker.send_call(a + "put", ["a", 1], **ANN)
    count = worker.receive()[3]
    error = {"type": "CallError", "message": "not so", "traceback": "", "kind": kind}
    worker.write(worker.frame(CALLBACK_RESULT, number, count, False, error))
    reply = worker.receive()
    assert reply[0] == ERROR and reply[3]["type"] == "lair_worker.HostError"
    assert reply[3]["message"] == "not so"


@pytest.mark.parametrize("a", ["", "a"], ids=["def", "async def"])
def test_a_host_without_a_store_is_named(worker, a):
    number = worker.send_call(a + "get", ["a"], **ANN)
    count = worker.receive()[3]
    error = {"type": "", "message": "Unknown command: lair.session.get", "kind": "unknown_command"}
    worker.write(worker.frame(CALLBACK_RESULT, number, count, False, error))
    reply = worker.receive()[3]
    assert reply["type"] == "RuntimeError" and "the host has no store for sessions" in reply["message"]


def test_a_host_that_takes_no_calls_is_named(start):
    worker = start(SOURCE)
    worker.greet()
    kind, error = worker.exchange("get", ["a"], **ANN)
    assert (kind, error["type"]) == (ERROR, "RuntimeError")
    assert error["message"].startswith("session.shared.get: the host takes no calls from its workers")
    assert "never awaited" not in worker.stderr_log.now()


def test_protocol_1_has_no_store(start):
    error = start(SOURCE).request("keys", {"session_id": "ann"})
    assert "session.shared.keys" in error["error"] and "protocol 1" in error["error"]


@pytest.mark.parametrize(
    ("code", "type", "message"),
    [
        ("shared.get(1)", "TypeError", "a key of session.shared is a str, not 1"),
        ("shared.put(None, 1)", "TypeError", "a str, not None"),
        ("shared.delete(b'a')", "TypeError", "a str, not b'a'"),
        ("shared.keys(1)", "TypeError", "a str, not 1"),
        ("shared.compare_and_set(1, 2, 3)", "TypeError", "a str, not 1"),
        ("shared.put('a', {1})", "ValueError", "session.shared.put: args.value is of type set"),
        ("shared.put('a', lair.ABSENT)", "ValueError", "args.value is of type lair_worker._shared._Absent"),
        ("shared.put('\\ud800', 1)", "ValueError", "args.key holds a lone surrogate"),
        ("session.nothing", "AttributeError", "nothing"),
    ],
)
def test_what_cannot_be_asked(more, code, type, message):
    store = Store()
    error = fail(more, store, "run", code)
    assert error["type"] == type and message in error["message"] and store.asked == []


def test_a_session_that_is_kept_reaches_nothing_in_anothers_call(more):
    store = Store(a=1)
    call(more, store, "keep")
    assert call(more, store, "use_kept") == 1, "in its own session's next call"
    for command in ("use_kept", "akept"):
        for other in ({"session": "bob", "session_number": 2}, {"session_number": 2}):
            error = fail(more, store, command, **other)
            assert error["type"] == "RuntimeError" and "session 'ann' (number 1)" in error["message"]
        kind, error = more.exchange(command, [])
        assert kind == ERROR and "the call that runs is another's" in error["message"]


def test_local_of_a_session_that_is_kept_is_its_own(more):
    store = Store()
    call(more, store, "keep", affinity="strict")
    error = fail(more, store, "kept_local", session="bob", session_number=2, affinity="strict")
    assert "take context().session in each call" in error["message"]
    assert call(more, store, "kept_local", affinity="strict") == {}


def test_another_thread_is_told(full):
    worker = full(MORE)
    found = call(worker, Store(), "bare_thread")
    assert "session.shared.get: no command is running in this thread" in found[0]
    assert "session.shared.get: only the thread that runs the command" in found[1]


def test_a_thread_of_a_coroutine_can_ask(full):
    worker = full(MORE, 8)
    assert call(worker, Store(a=1), "in_a_thread", "a") == 1


def test_cancel_ends_the_wait(more):
    number = more.send_call("shielded", [], **ANN)
    assert more.receive()[4] == "lair.session.get"
    more.write(more.frame(CANCEL, number))
    more.ring()
    assert more.receive() == [CANCELLED, number, more.generation]
    assert call(more, Store(a=1), "at", "a") == 1


def test_a_session_that_ends_can_still_ask(more):
    store = Store(a=1)
    for affinity in ("strict", "prefer"):
        call(more, store, "at", "a", affinity=affinity)
        call(more, store, "cleanup_session", "ann", affinity=affinity)
    wait_until(lambda: more.stdout_log.now() == "end ann 1\n" * 2, "two ends")


def test_a_session_that_is_replaced_or_outlives_its_worker_cannot(more):
    store = Store(a=1)
    call(more, store, "at", "a", affinity="strict")
    call(more, store, "at", "a", affinity="strict", session_number=2)
    more.close_input()
    more.wait()
    log = more.stderr_log.all()
    assert "the values are those of session 'ann' (number 1)" in log
    assert "no command is running in this thread" in log
    assert store.asked == [("lair.session.get", {"key": "a"})] * 2
