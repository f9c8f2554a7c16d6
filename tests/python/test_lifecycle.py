"""How a worker ends: EOF, shutdown, signals, the death of its host."""

from __future__ import annotations

import os
import signal

import pytest

from host import CALL, FEATURES, SHUTDOWN, Closed, wait_until

# Not `while True: pass`: CPython knows that its jump can't raise, and leaves it out of a `try` around it.
HOOKS = """
    import lair_worker as lair, os, signal, time
    forever = iter(int, 1)

    @lair.on_start
    def begin(): print("started")

    @lair.on_stop
    def first(): print("first defined")

    @lair.on_stop
    def second(): print("second defined")

    @lair.command
    def echo(value=None): return value

    @lair.command
    def spin():
        print("spinning")
        for _ in forever: pass

    @lair.command
    def sleep():
        print("sleeping")
        time.sleep(600)

    @lair.command
    def swallow():
        try:
            print("swallowing")
            for _ in forever: pass
        except BaseException as error:
            return type(error).__name__

    @lair.command
    def convert():
        try:
            print("converting")
            for _ in forever: pass
        except BaseException:
            raise ValueError("something else")

    @lair.command
    def no_pipe():
        signal.signal(signal.SIGALRM, lambda *_: None)
"""
STOPPED = "second defined\nfirst defined\n"  # in reverse order of their definition


def logged(worker, line):
    wait_until(lambda: line in worker.stdout_log.now(), f"{line!r} in the log")


@pytest.mark.parametrize("greet", ["protocol 2", "protocol 1", "none"])
def test_eof_ends_the_worker(start, transport, greet):
    worker = start(HOOKS, transport=transport)
    if greet == "protocol 2":
        worker.greet()
    elif greet == "protocol 1":
        worker.handshake()
    worker.close_channel()
    assert worker.wait() == 0
    # Without a first frame nothing was started, so there is nothing to stop.
    assert worker.stdout_log.all() == ("" if greet == "none" else "started\n" + STOPPED)


def test_a_shutdown_frame_ends_the_worker(start, transport):
    worker = start(HOOKS, transport=transport)
    worker.greet()
    worker.send([SHUTDOWN, 0, worker.generation])
    worker.expect_end(0)
    assert worker.stdout_log.all() == "started\n" + STOPPED


def test_frames_after_a_shutdown_are_not_run(greeted):
    worker = greeted(HOOKS)
    # In one write: the worker may be gone before a second one.
    worker.write(worker.frame(SHUTDOWN, 0) + worker.frame(CALL, 1, "spin", [], {}))
    worker.expect_end(0)
    assert "spinning" not in worker.stdout_log.all()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_ends_an_idle_worker(start, transport, number):
    worker = start(HOOKS, transport=transport)
    worker.greet()
    worker.call("echo")
    if transport == "channel" and number == signal.SIGINT:
        worker.signal(number)  # a pool alone decides: a Ctrl-C at its terminal is not for its workers
        assert worker.call("echo", "still here") == "still here"
        return
    worker.signal(number)
    assert worker.expect_end(0) == ("" if transport == "channel" else "started\n" + STOPPED)
    assert worker.stdout_log.all() == "started\n" + STOPPED


@pytest.mark.parametrize("end", ["SIGTERM", "EOF"])
def test_a_worker_that_looks_for_its_next_call_ends_as_one_that_sleeps(start, end):
    worker = start(HOOKS, transport="channel")
    worker.greet(features=FEATURES, spin=1000)
    for number in range(20):  # the end comes while it looks: it does for a millisecond
        assert worker.call("echo", number) == number
    if end == "SIGTERM":
        worker.signal(signal.SIGTERM)
    else:
        worker.close_input()
    assert worker.wait() == 0
    assert worker.stdout_log.all() == "started\n" + STOPPED


def test_sigint_leaves_a_pooled_stdio_worker_alone(start):
    worker = start(HOOKS, transport="stdio-pipe", env={"LAIR_POOL": "text"})
    worker.greet()
    worker.signal(signal.SIGINT)
    assert worker.call("echo", "still here") == "still here"


@pytest.mark.parametrize(
    ("command", "line"),
    [("spin", "spinning"), ("sleep", "sleeping"), ("swallow", "swallowing"), ("convert", "converting")],
)
@pytest.mark.parametrize("protocol", [1, 2])
def test_sigterm_interrupts_a_command(start, transport, command, line, protocol):
    worker = start(HOOKS, transport=transport)
    if protocol == 2:
        worker.greet()
        worker.send_call(command, [])
    else:
        worker.handshake()
        worker.send({"id": 1, "command": command})
    logged(worker, line)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert worker.stdout_log.all() == f"started\n{line}\n" + STOPPED
    if command == "swallow":
        assert b"Terminated" in worker.receive_bytes()
    with pytest.raises(Closed):
        worker.receive()


def test_a_second_sigterm_reaches_a_command_that_swallowed_the_first(greeted):
    worker = greeted(
        """
        import lair_worker as lair
        forever = iter(int, 1)
        @lair.command
        def stubborn():
            for count in range(3):
                try:
                    print("try", count)
                    for _ in forever: pass
                except SystemExit: pass
            return "ended"
        """
    )
    worker.send_call("stubborn", [])
    for count in range(3):
        logged(worker, f"try {count}\n")
        worker.signal(signal.SIGTERM)
    assert worker.receive()[3] == "ended"  # it had its way, and its result; nothing more is run
    assert worker.wait() == 0


def test_sigterm_during_on_start_ends_the_worker(start):
    worker = start(
        """
        import lair_worker as lair
        forever = iter(int, 1)
        @lair.on_start
        def warm():
            print("warming")
            for _ in forever: pass
        @lair.on_stop
        def stop(): print("stopped")
        @lair.command
        def f(): pass
        """
    )
    worker.handshake(worker.offer())
    logged(worker, "warming")
    worker.signal(signal.SIGTERM)
    assert worker.expect_end(0) == ""
    assert worker.stdout_log.all() == "warming\n"


def test_sigterm_during_import_ends_the_worker(start):
    worker = start("print('importing')\nwhile True: pass\n")
    worker.send({"id": 0, "command": "ping"})
    logged(worker, "importing")
    worker.signal(signal.SIGTERM)
    assert worker.expect_end(0) == ""


def test_sigterm_does_not_cut_on_stop_short(start, tmp_path):
    os.mkfifo(tmp_path / "gate")
    worker = start(
        """
        import lair_worker as lair
        @lair.command
        def f(): pass
        @lair.on_stop
        def stop():
            print("stopping")
            open("gate").read()
            print("stopped")
        """
    )
    worker.greet()
    worker.send([SHUTDOWN, 0, worker.generation])
    logged(worker, "stopping")
    worker.signal(signal.SIGTERM)
    with open(tmp_path / "gate", "w"):
        pass
    assert worker.expect_end(0) == ""
    assert worker.stdout_log.all() == "stopping\nstopped\n"


@pytest.mark.parametrize(
    "statement", ["raise ValueError('stuck')", "raise SystemExit(7)", "raise KeyboardInterrupt"]
)
@pytest.mark.parametrize("how", ["eof", "sigterm", "shutdown"])
def test_on_stop_that_raises_is_reported_and_the_others_run(start, statement, how):
    worker = start(
        f"""
        import lair_worker as lair
        @lair.command
        def f(): pass
        @lair.on_stop
        def last(): print("last")
        @lair.on_stop
        def failing(): {statement}
        """
    )
    worker.greet()
    if how == "eof":
        worker.close_channel()
    elif how == "sigterm":
        worker.signal(signal.SIGTERM)
    else:
        assert worker.call("shutdown")["status"] == "shutting_down"
    stderr = worker.expect_end(1)
    assert "on_stop" in stderr and "in failing" in stderr
    assert worker.stdout_log.all() == "last\n"


def test_a_log_that_is_gone_keeps_nothing_from_being_stopped(start, tmp_path):
    worker = start(
        """
        import lair_worker as lair, os
        @lair.command
        def f(): pass
        @lair.on_stop
        def last(): open("stopped", "w").close()
        @lair.on_stop
        def failing():
            os.close(2)
            raise ValueError("nobody hears it")
        """
    )
    worker.greet()
    worker.close_channel()
    assert worker.wait() == 1
    assert (tmp_path / "stopped").exists()


def test_a_blocked_sigterm_is_unblocked(start):
    worker = start(HOOKS, preexec=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]))
    worker.greet()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_an_ignored_sigterm_is_minded(start):
    worker = start(HOOKS, preexec=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    worker.greet()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_users_own_handler_stays(start):
    worker = start(
        """
        import lair_worker as lair, os, signal
        signal.signal(signal.SIGTERM, lambda *_: print("mine"))
        @lair.command
        def f(): return os.kill(os.getpid(), signal.SIGTERM)
        lair.serve()
        """,
        script=True,
    )
    worker.greet()
    worker.call("f")
    logged(worker, "mine")
    assert worker.call("f") is None


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_host_that_is_gone_before_the_reply_is_no_error(start, transport, tmp_path, size):
    os.mkfifo(tmp_path / "gate")
    worker = start(
        f"""
        import lair_worker as lair
        @lair.command
        def reply():
            print("waiting")
            open("gate").read()
            return "x" * {size}
        @lair.on_stop
        def stop(): print("stopped")
        """,
        transport=transport,
    )
    worker.greet()
    worker.send_call("reply", [])
    logged(worker, "waiting")
    worker.close_channel()
    with open(tmp_path / "gate", "w"):
        pass
    worker.expect_end(0)
    assert worker.stdout_log.all() == "waiting\nstopped\n"
