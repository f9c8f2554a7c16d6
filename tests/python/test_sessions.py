"""context().session: what is local to a worker, and how sessions end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from host import CALL, CANCELLED, ERROR, RESULT, SHUTDOWN, wait_until

SOURCE = (Path(__file__).parents[1] / "workers" / "sessions.py").read_text()

# Prints each end; `blocked` waits in one, and `unblock` goes on with it.
ENDS = """
    import asyncio, os, threading
    import lair_worker as lair

    gate = threading.Event()

    class Thing:
        def __init__(self, name): self.name = name
        def __del__(self): print("dropped", self.name)

    @lair.on_session_end
    def first(session):
        print("first", session.id, session.number, sorted(session.local))
        if session.local.get("blocked"): gate.wait(60)
        if session.local.get("spins"):
            print("spinning")
            while True: pass
        if session.local.get("leaves"): raise SystemExit(3)
        if session.local.get("fails"): raise ValueError("no luck")

    @lair.on_session_end
    def second(session):
        print("second", session.id, session.number)

    @lair.on_stop
    def stop(): print("stop")

    @lair.command
    def keep(name, value=None):
        local = lair.context().session.local
        local[name] = Thing(name) if value is None else value
        print("kept", name)
        return sorted(local)

    @lair.command
    def look(): return "nothing"

    @lair.command
    async def unblock(): gate.set()

    @lair.command
    async def aecho(value): return value
"""


def exchange(worker, command, *args, session=None, number=None, affinity="strict", **more):
    """(kind, body) of a call in a session."""
    meta = {"session": session, "session_number": number, "affinity": affinity, **more}
    return worker.exchange(
        command, list(args), **{key: each for key, each in meta.items() if each is not None}
    )


def call(worker, command, *args, **session):
    kind, body = exchange(worker, command, *args, **session)
    assert kind == RESULT, body
    return body


def fail(worker, command, *args, **session):
    kind, body = exchange(worker, command, *args, **session)
    assert kind == ERROR, body
    return body


def lines(worker):
    return worker.stdout_log.now().split("\n")[:-1]


def printed(worker, *wanted):
    """Waits until these have been printed, as the last lines."""
    count = len(wanted)
    wait_until(lambda: lines(worker)[-count:] == list(wanted), f"{wanted}, but {lines(worker)}")


@pytest.fixture(params=[1, 8], ids=["one at a time", "several"])
def concurrency(request):
    return request.param


@pytest.fixture
def worker(full, concurrency):
    return full(SOURCE, concurrency)


@pytest.fixture
def ending(full, concurrency):
    return full(ENDS, concurrency)


# --- who -----------------------------------------------------------------------------------------------


def test_an_anonymous_call_has_none(worker):
    assert worker.call("whoami")[:3] == [None, None, None]


@pytest.mark.parametrize("affinity", ["prefer", "strict", "exclusive"])
def test_a_call_knows_its_session(worker, affinity):
    assert call(worker, "whoami", session="ann", number=4, affinity=affinity)[:3] == ["ann", 4, affinity]
    assert worker.call("whoami")[:3] == [None, None, None]


@pytest.mark.parametrize("number", [None, 0, -1, "3", True, 1.5, [1], {"n": 1}])
def test_a_number_that_is_none_is_no_number(worker, number):
    worker.send(
        [CALL, 9, 7, "whoami", [], {"session": "ann", "session_number": number, "affinity": "strict"}]
    )
    assert worker.receive()[3][:3] == ["ann", None, None]


@pytest.mark.parametrize("session", [7, [], {"a": []}, True])
def test_an_id_that_is_no_text_does_no_harm(worker, session):
    worker.send([CALL, 9, 7, "whoami", [], {"session": session, "session_number": 1, "affinity": "strict"}])
    assert worker.receive()[3][1:3] == [None, None]
    worker.send([CALL, 10, 7, "cleanup_session", [], {"session": session, "session_number": 1}])
    assert worker.receive()[0] == RESULT


def test_a_session_is_printable(full):
    worker = full(
        "import lair_worker as lair\ndef f(): return [repr(lair.context().session), repr(lair.ABSENT)]"
    )
    assert call(worker, "f", session="ann", number=4) == [
        "<lair_worker.Session 'ann', number 4, strict>",
        "lair_worker.ABSENT",
    ]
    assert call(worker, "f", session="ann")[0] == "<lair_worker.Session 'ann', no number>"


def test_nothing_is_loaded_for_anonymous_calls(full):
    worker = full("def loaded():\n    import sys\n    return list(sys.modules)")
    ours = {"lair_worker._session", "lair_worker._shared"}
    assert not ours & set(worker.call("loaded"))
    assert ours < set(call(worker, "loaded", session="ann", number=1))


# --- local ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("affinity", ["strict", "exclusive"])
def test_local_stays_with_its_session(worker, affinity):
    for session, number in (("ann", 1), ("bob", 2)):
        call(worker, "remember", "secret", session, session=session, number=number, affinity=affinity)
    for session, number in (("ann", 1), ("bob", 2), ("eve", 3)):
        found = call(worker, "recall", "secret", session=session, number=number, affinity=affinity)
        assert found == (None if session == "eve" else session)


def test_local_is_the_same_in_coroutines_and_in_threads(worker):
    for wanted, command in enumerate(["count", "acount", "count", "acount"], 1):
        assert call(worker, command, session="ann", number=1) == wanted


def test_a_stream_has_local_too(worker):
    assert call(worker, "numbers", 3, session="ann", number=1) == [1, 2, 3]
    assert call(worker, "count", session="ann", number=1) == 4


def test_local_of_a_session_that_may_move_says_what_to_do(worker):
    error = fail(worker, "remember", "a", 1, session="ann", number=1, affinity="prefer")
    assert error["type"] == "RuntimeError" and "session.shared" in error["message"]
    assert "open it as 'strict'" in error["message"] and "'prefer'" in error["message"]


def test_local_without_a_number_says_what_to_do(worker):
    error = fail(worker, "remember", "a", 1, session="ann", affinity=None)
    assert error["type"] == "RuntimeError" and "keep what the session needs with the host" in error["message"]


def test_several_sessions_at_a_time(full):
    worker = full(SOURCE, 50)
    numbers = {}
    for round in range(1, 4):
        for i in range(1, 51):
            meta = {"session": f"s{i}", "session_number": i, "affinity": "strict"}
            numbers[worker.send_call("acount" if i % 2 else "count", [], **meta)] = round
        got = {reply[1]: reply[3] for reply in (worker.receive() for _ in range(50))}
        assert got == {number: numbers[number] for number in got} and len(got) == 50


# --- which sessions a worker remembers -----------------------------------------------------------------

KNOWN = """
    import lair_worker as lair
    def known():
        from lair_worker import _session
        return sorted(_session.sessions.known)
    def touch():
        lair.context().session.local
    def same():
        session = lair.context().session
        return session is lair.context().session
"""


def test_a_worker_remembers_only_what_has_a_local(full):
    worker = full(KNOWN)
    for i in range(1, 100):
        affinity = ("prefer", "strict", "exclusive")[i % 3]
        assert call(worker, "same", session=f"s{i}", number=i, affinity=affinity) is True
    assert worker.call("known") == []
    call(worker, "touch", session="ann", number=200)
    assert worker.call("known") == ["ann"]
    call(worker, "cleanup_session", "ann", session="ann", number=200)
    assert worker.call("known") == []


def test_with_a_hook_it_remembers_the_lasting_ones(full):
    worker = full(
        KNOWN + "    @lair.on_session_end\n    def end(session): print('end', session.id, session.affinity)\n"
        "    for each in (known, touch, same): lair.command(each)\n"
    )
    for i in range(1, 100):
        call(worker, "same", session=f"p{i}", number=i, affinity="prefer")
    assert worker.call("known") == []
    call(worker, "same", session="ann", number=100)
    assert worker.call("known") == ["ann"]
    call(worker, "cleanup_session", "p9", session="p9", number=9, affinity="prefer")
    call(worker, "cleanup_session", "ann", session="ann", number=100)
    assert worker.call("known") == []
    printed(worker, "end p9 prefer", "end ann strict")


# --- how they end --------------------------------------------------------------------------------------


def test_cleanup_session_runs_the_functions_and_drops_local(ending):
    call(ending, "keep", "a", session="ann", number=1)
    call(ending, "keep", "b", session="bob", number=2)
    answer = {"status": "cleaned", "session_id": "ann"}
    assert call(ending, "cleanup_session", "ann", session="ann", number=1) == answer
    printed(ending, "kept a", "kept b", "first ann 1 ['a']", "second ann 1", "dropped a")
    assert call(ending, "keep", "c", 0, session="bob", number=2) == ["b", "c"]


def test_a_session_ends_once(ending):
    call(ending, "look", session="ann", number=1)
    for _ in range(3):
        call(ending, "cleanup_session", "ann", session="ann", number=1)
    call(ending, "cleanup_session", "bob", session="bob", number=2)  # was never here
    call(ending, "keep", "last", 0, session="eve", number=3)
    printed(ending, "first ann 1 []", "second ann 1", "kept last")


def test_a_function_that_fails_does_not_stop_the_others(ending):
    for number, how in enumerate(["fails", "leaves"], 1):
        call(ending, "keep", how, 1, session="ann", number=number)
        assert call(ending, "cleanup_session", "ann", session="ann", number=number)["status"] == "cleaned"
        printed(ending, f"kept {how}", f"first ann {number} ['{how}']", f"second ann {number}")
    wait_until(lambda: "SystemExit: 3" in ending.stderr_log.now(), "the second report")
    log = ending.stderr_log.now()
    assert log.count("an on_session_end function failed for session 'ann'") == 2
    assert "ValueError: no luck" in log and "in first" in log and "lair_worker/_session" not in log


def test_a_newer_number_first_ends_the_older(ending):
    call(ending, "keep", "old", session="ann", number=1)
    assert call(ending, "keep", "new", 0, session="ann", number=5) == ["new"]
    printed(ending, "kept old", "first ann 1 ['old']", "second ann 1", "dropped old", "kept new")
    call(ending, "look", session="ann", number=9, affinity="prefer")
    printed(ending, "kept new", "first ann 5 ['new']", "second ann 5")


def test_a_newer_number_ends_the_older_before_it_is_cleaned_up_itself(ending):
    call(ending, "keep", "old", 0, session="ann", number=1)
    call(ending, "cleanup_session", "ann", session="ann", number=2)
    printed(ending, "kept old", "first ann 1 ['old']", "second ann 1")


def test_an_older_number_never_sees_what_is_the_newers(ending):
    call(ending, "keep", "new", 0, session="ann", number=5)
    error = fail(ending, "keep", "old", 0, session="ann", number=4)
    assert "opened anew as number 5" in error["message"]
    call(ending, "cleanup_session", "ann", session="ann", number=4)
    assert call(ending, "keep", "more", 0, session="ann", number=5) == ["more", "new"]


def test_a_call_of_a_session_cannot_clean_up_another(ending):
    call(ending, "keep", "a", 0, session="ann", number=1)
    error = fail(ending, "cleanup_session", "ann", session="eve", number=2)
    assert "'eve' can't clean up session 'ann'" in error["message"]
    assert call(ending, "keep", "b", 0, session="ann", number=1) == ["a", "b"]


def test_a_host_that_says_no_number_ends_by_id(ending):
    call(ending, "keep", "a", 0, session="ann", number=1)
    assert ending.call("cleanup_session", session_id="ann") == {"status": "cleaned", "session_id": "ann"}
    printed(ending, "kept a", "first ann 1 ['a']", "second ann 1")


def test_a_frame_with_more_elements_is_a_sessions_too(ending):
    meta = {"session": "ann", "session_number": 1, "affinity": "strict"}
    for number, command in enumerate(["look", "cleanup_session"], 50):
        ending.send([CALL, number, 7, command, [], meta, "extra"])
        assert ending.receive()[:2] == [RESULT, number]
    printed(ending, "first ann 1 []", "second ann 1")


@pytest.mark.parametrize("how", ["plain", "async", "stream", "raises", "thread"])
def test_a_cleanup_session_of_the_users_wins_and_the_rest_is_done(full, concurrency, how):
    own = {
        "plain": "def cleanup_session(session_id): print('own', session_id, sorted(mine())); return 'own'",
        "async": "async def cleanup_session(session_id): await asyncio.sleep(0); print('own'); return 'own'",
        "stream": "def cleanup_session(session_id): print('own'); yield 'own'",
        "raises": "def cleanup_session(session_id): print('own'); raise ValueError('own')",
        "thread": "def cleanup_session(session_id): print('own'); return 'own'",
    }[how]
    safe = "(thread_safe=True)" if how == "thread" else ""
    source = (
        ENDS + f"    def mine(): return lair.context().session.local\n    @lair.command{safe}\n    {own}\n"
    )
    worker = full(source, concurrency)
    call(worker, "keep", "a", session="ann", number=1)
    kind, body = exchange(worker, "cleanup_session", "ann", session="ann", number=1)
    assert (kind, body["message"] if kind == ERROR else body) == {
        "raises": (ERROR, "own"),
        "stream": (RESULT, ["own"]),
    }.get(how, (RESULT, "own"))
    said = "own ann ['a']" if how == "plain" else "own"
    printed(worker, "kept a", said, "first ann 1 ['a']", "second ann 1", "dropped a")


@pytest.mark.parametrize("how", ["shutdown", "command", "eof", "sigterm"])
def test_sessions_end_with_the_worker(ending, how):
    for number, session in enumerate(["zoe", "ann", "bob"], 1):
        call(ending, "keep", "fails", 1, session=session, number=number)
    call(ending, "cleanup_session", "ann", session="ann", number=2)
    call(ending, "look", session="pat", number=4, affinity="prefer")
    if how == "shutdown":
        ending.write(ending.frame(SHUTDOWN, 0))
    elif how == "command":
        ending.call("shutdown")
    elif how == "eof":
        ending.close_input()
    else:
        ending.signal(signal.SIGTERM)
    assert ending.wait() == 0
    ends = [line for line in ending.stdout_log.all().split("\n") if "kept" not in line]
    zoe, ann, bob = (
        [f"first {each} {n} ['fails']", f"second {each} {n}"]
        for each, n in (("zoe", 1), ("ann", 2), ("bob", 3))
    )
    assert ends == [*ann, *zoe, *bob, "stop", ""]
    assert ending.stderr_log.all().count("ValueError: no luck\n") == 3


def test_a_fork_ends_no_session(full):
    worker = full(
        ENDS + "    @lair.command\n"
        "    def fork():\n"
        "        lair.context().session.local['a'] = 1\n"
        "        if (child := os.fork()) == 0: raise SystemExit(5)\n"
        "        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
    )
    call(worker, "fork", session="ann", number=1)
    worker.close_input()
    worker.wait()
    assert worker.stdout_log.all().count("first ann") == 1


# --- what runs meanwhile -------------------------------------------------------------------------------


def test_the_loop_goes_on_while_a_session_ends(full):
    worker = full(ENDS, 8)
    call(worker, "keep", "blocked", 1, session="ann", number=1)
    number = worker.send_call("cleanup_session", ["ann"], session="ann", session_number=1, affinity="strict")
    printed(worker, "kept blocked", "first ann 1 ['blocked']")
    assert worker.call("aecho", 1) == 1
    worker.call("unblock")
    assert worker.receive()[:2] == [RESULT, number]


def test_the_loop_goes_on_while_an_older_session_ends(full):
    worker = full(ENDS, 8)
    call(worker, "keep", "blocked", 1, session="ann", number=1)
    number = worker.send_call("aecho", ["new"], session="ann", session_number=2, affinity="strict")
    printed(worker, "kept blocked", "first ann 1 ['blocked']")
    assert worker.call("aecho", 1) == 1
    worker.call("unblock")
    assert worker.receive() == [RESULT, number, 7, "new"]


@pytest.mark.parametrize("command", ["cleanup_session", "keep"])
def test_cancel_reaches_a_function_that_ends_a_session(ending, command):
    call(ending, "keep", "spins", 1, session="ann", number=1)
    meta = {
        "session": "ann",
        "session_number": 1 if command == "cleanup_session" else 2,
        "affinity": "strict",
    }
    number = ending.send_call(command, ["ann"], **meta)
    printed(ending, "first ann 1 ['spins']", "spinning")
    ending.cancel(number)
    assert ending.receive() == [CANCELLED, number, 7]
    printed(ending, "first ann 1 ['spins']", "spinning", "second ann 1")
    assert call(ending, "keep", "a", 0, session="ann", number=3) == ["a"]
    assert "on_session_end" not in ending.stderr_log.now()


# --- protocol 1 ----------------------------------------------------------------------------------------


def test_protocol_1_has_sessions_by_id_alone(start, tmp_path):
    ends = tmp_path / "ends"
    worker = start(SOURCE, env={"SESSION_ENDS": ends})
    assert worker.request("whoami", {"session_id": "ann"})["result"][:3] == ["ann", None, None]
    assert worker.request("whoami")["result"][:3] == [None, None, None]
    error = worker.request("recall", {"session_id": "ann", "key": "a"})["error"]
    assert "protocol 1" in error and "session.local" in error
    assert worker.request("cleanup_session", {"session_id": "ann"})["result"]["status"] == "cleaned"
    found = [json.loads(line) for line in ends.read_text().splitlines()]
    assert [each["id"] for each in found] == ["ann"] and found[0]["local"] is None


# --- the module's functions ----------------------------------------------------------------------------


def test_a_hook_of_a_plain_module_is_no_command(full):
    worker = full(
        "import lair_worker as lair\n@lair.on_session_end\ndef end(session): pass\ndef f(): return 1"
    )
    assert worker.call("f") == 1 and worker.fail("end", 1)["kind"] == "unknown_command"


@pytest.mark.parametrize("head", ["async def end(session): pass", "def end(session): yield"])
def test_a_hook_is_a_plain_function(start, head):
    worker = start(f"import lair_worker as lair\n@lair.on_session_end\n{head}\ndef f(): pass")
    reply = worker.handshake(worker.offer())
    assert reply["error_type"] == "TypeError" and "must be a plain function" in reply["error"]
