"""The worker as a process: its children, its threads, and code around serve()."""

from __future__ import annotations

import signal

import pytest


def test_programs_that_a_command_starts_have_default_signals(greeted):
    worker = greeted(
        """
        import subprocess, sys
        def child():
            program = "from signal import *; print([int(getsignal(n) is not SIG_IGN) for n in (2, 15)])"
            return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
        """
    )
    assert worker.call("child") == "[1, 1]\n"


def test_multiprocessing_children_can_be_terminated(greeted):
    worker = greeted(
        """
        import multiprocessing, time
        def children(count):
            context = multiprocessing.get_context("fork")
            codes = set()
            for _ in range(count):
                process = context.Process(target=time.sleep, args=(600,))
                process.start()
                process.terminate()
                process.join(5)
                codes.add(process.exitcode)
                if process.exitcode is None:
                    process.kill()
            return list(codes)
        def pool():
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(abs, [-1, -2, -3])
        """
    )
    # At once, again and again: there is a moment within fork() when Python would forget the signal.
    assert worker.call("children", 60) == [-signal.SIGTERM]
    assert worker.call("pool") == [1, 2, 3]


@pytest.mark.parametrize("how", ["eof", "shutdown", "sigterm"])
def test_a_thread_left_running_does_not_keep_the_process(greeted, how):
    worker = greeted(
        """
        import atexit, lair_worker as lair, threading
        @lair.on_start
        def begin(): threading.Thread(target=threading.Event().wait, name="straggler").start()
        @lair.on_stop
        def stop(): print("stopped")
        @lair.command
        def f(): pass
        atexit.register(print, "at exit")
        """
    )
    if how == "eof":
        worker.close_channel()
    elif how == "sigterm":
        worker.signal(signal.SIGTERM)
    else:
        worker.call("shutdown")
    assert "straggler" in worker.expect_end(0)
    assert worker.stdout_log.all() == "stopped\nat exit\n"


def test_serve_needs_no_code_after_it_and_runs_finally(start):
    worker = start(
        """
        import lair_worker as lair
        def f(): pass
        try:
            lair.serve()
            print("never")
        finally:
            print("finally")
        """,
        script=True,
    )
    worker.greet()
    worker.close_channel()
    worker.expect_end(0)
    assert worker.stdout_log.all() == "finally\n"


def test_serve_belongs_in_the_main_thread(start):
    worker = start(
        """
        import lair_worker as lair, threading
        def f(): pass
        def run():
            try:
                lair.serve()
            except RuntimeError as error:
                print(error)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        """,
        script=True,
    )
    worker.wait()
    assert "main thread" in worker.stdout_log.all()


def test_the_sdk_starts_no_thread(start, transport):
    worker = start(
        "def threads():\n    import os\n    return len(os.listdir('/proc/self/task'))", transport=transport
    )
    worker.greet()
    assert worker.call("threads") == 1


def test_threads_of_the_sdk_begin_before_the_interpreter_ends(start):
    program = """
        import sys
        from lair_worker import _background
        sys.setswitchinterval(60)  # none of them runs as long as this thread does not wait
        for _ in range(50):
            _background.start(lambda: None)
        assert _background._starting
        _background.let_begin()
        assert not _background._starting
    """
    worker = start(program, script=True)
    assert worker.expect_end() == ""


def test_a_forked_child_waits_for_no_thread_to_begin(greeted):
    worker = greeted(
        """
        import os
        from lair_worker import _background
        def child_waits():
            _background._starting.append(None)  # one that has not begun when the child is forked
            child = os.fork()
            if not child:
                os._exit(len(_background._starting))
            _background._starting.clear()
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        """
    )
    assert worker.call("child_waits") == 0
