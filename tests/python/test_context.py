"""context(): one call's own view of itself."""

from __future__ import annotations

import signal

import pytest

from host import RESULT, wait_until

ABOUT = """
    import lair_worker as lair, threading, time

    @lair.command
    def about():
        c = lair.context()
        return [c.worker_id, c.slot, c.generation, c.session_id, c.command, c.traceparent]

    @lair.command
    def times():
        c = lair.context()
        now = time.monotonic()
        return [c.deadline - now, c.remaining(), c.deadline == c.deadline]

    @lair.command
    def kept():
        global last
        first, last = globals().get("last"), lair.context()
        return first and [first.session_id, first.command, first is last]

    @lair.command
    def in_thread():
        seen = []
        def look():
            try:
                seen.append(lair.context().command)
            except LookupError as error:
                seen.append(str(error))
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return seen[0]

    @lair.command
    def copied():
        import contextvars
        return contextvars.copy_context().run(lambda: lair.context().command)

    @lair.command
    def repeated(): return repr(lair.context())

    @lair.on_start
    def outside():
        global error
        try:
            lair.context()
        except LookupError as found:
            error = str(found)

    @lair.on_stop
    def afterwards():
        try:
            print(lair.context())
        except LookupError as found:
            print("outside:", found)

    @lair.command
    def outside_error(): return error

    @lair.command
    def assigning(): lair.context().worker_id = "x"
"""


def test_it_knows_the_worker(greeted):
    worker = greeted(ABOUT, env={"LAIR_WORKER_ID": "w", "LAIR_SLOT": "3", "LAIR_GENERATION": "1"})
    assert worker.call("about") == ["text-0-1", 3, worker.generation, None, "about", None]


def test_environment_and_defaults_without_a_handshake(start):
    worker = start(ABOUT, env={"LAIR_WORKER_ID": "w", "LAIR_SLOT": "3", "LAIR_GENERATION": "1"})
    assert worker.request("about")["result"] == ["w", 3, 1, None, "about", None]
    assert start(ABOUT).request("about")["result"] == [None, None, None, None, "about", None]
    odd = start(ABOUT, env={"LAIR_SLOT": "x", "LAIR_GENERATION": "-1"})
    assert odd.request("about")["result"][1:3] == [None, None]


def test_deadline_and_remaining_agree(greeted):
    left, remaining, same = greeted(ABOUT).exchange("times", [], ms=60_000)[1]
    assert 30 < remaining <= left <= 60 and same is True


@pytest.mark.parametrize("ms", ["soon", None, []])
def test_a_deadline_that_is_no_number_is_none(greeted, ms):
    assert greeted(ABOUT).exchange("times", [], ms=ms)[1]["type"] == "TypeError"


def test_a_kept_context_stays_with_its_call(greeted):
    worker = greeted(ABOUT)
    worker.exchange("kept", [], session="first")
    assert worker.exchange("kept", [], session="second")[1] == ["first", "kept", False]


def test_there_is_none_outside_a_command(greeted):
    worker = greeted(ABOUT)
    assert "no command is running" in worker.call("outside_error")
    assert "no command is running" in worker.call("in_thread") or worker.call("in_thread") == "in_thread"


@pytest.mark.parametrize("protocol", [1, 2])
def test_there_is_none_after_a_command(start, protocol):
    worker = start(ABOUT)
    if protocol == 2:
        worker.greet()
        worker.call("about")
    else:
        worker.request("about")
    worker.close_channel()
    assert worker.wait() == 0
    assert worker.stdout_log.all().startswith("outside: ")


def test_it_follows_a_copied_context(greeted):
    assert greeted(ABOUT).call("copied") == "copied"


def test_it_is_read_only_and_printable(greeted):
    worker = greeted(ABOUT)
    assert worker.fail("assigning")["type"] == "AttributeError"
    assert "repeated" in worker.call("repeated")


def test_there_is_none_while_the_worker_waits(greeted, tmp_path):
    worker = greeted(f"""
        import lair_worker as lair, signal
        def look(*_):
            try:
                found = lair.context().command
            except LookupError:
                found = "none"
            with open("{tmp_path}/found", "w") as file:
                file.write(found)
        signal.signal(signal.SIGUSR1, look)
        def echo(value): return value
    """)
    worker.call("echo", 1)
    worker.wait_for_sleep()
    worker.signal(signal.SIGUSR1)
    wait_until(lambda: (tmp_path / "found").exists() and (tmp_path / "found").read_text(), "the handler")
    assert (tmp_path / "found").read_text() == "none"
    assert worker.call("echo", 2) == 2


def test_a_copied_context_stays_with_its_call_also_where_calls_follow_at_once(start):
    worker = start("""
        import contextvars
        import lair_worker as lair
        copies, kept = [], []
        def copy():
            copies.append(contextvars.copy_context())
        def keep():
            kept.append(lair.context())
        def nothing(): pass
        def look():
            told = [each.run(lambda: (lair.context().session_id, lair.context().command)) for each in copies]
            return told + [(each.session_id, each.command) for each in kept]
    """)
    worker.greet(features=["spin"], spin=1000)  # it looks for the next call, and does not sleep
    expected = []
    for command in ("copy", "keep"):
        for i in range(20):
            assert worker.exchange(command, [], session=f"{command}{i}")[0] == RESULT
            expected.append([f"{command}{i}", command])
            for _ in range(i % 4):
                worker.call("nothing")
    assert worker.call("look") == expected


def test_one_that_is_used_again_has_nothing_of_the_call_before(start):
    worker = start("""
        import lair_worker as lair
        def given():
            return [name for name in lair.Context.__slots__ if hasattr(lair.context(), name)]
        def fill():
            for name in lair.Context.__slots__:
                if not hasattr(lair.context(), name):
                    setattr(lair.context(), name, {"shields": 0, "changed": 0, "told": []}.get(name))
    """)
    worker.greet(features=["spin"], spin=1000)  # it looks for the next call, and does not sleep
    given = worker.call("given")
    for _ in range(20):
        worker.call("fill")
        assert worker.call("given") == given  # two are used in turn
        assert worker.call("given") == given
