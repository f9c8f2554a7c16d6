"""Nothing that user code prints can get into a frame, and nothing of it is lost or late."""

from __future__ import annotations

import os
import sys

import pytest

from host import Log, wait_until

PRINTS = """
    import os, subprocess, sys
    print("at import")

    def say(text, times=1):
        for _ in range(times):
            print(text)
        return times

    def raw(text):
        os.write(1, text.encode())
        os.system("echo from a child")
        subprocess.run([sys.executable, "-c", "print('from python')"])

    def both():
        print("1 out")
        print("2 err", file=sys.stderr)
        print("3 out")
        sys.stderr.write("4 err\\n")

    def read():
        return [sys.stdin.read(), os.read(0, 10).decode()]

    def crash():
        print("last words")
        os._exit(9)

    def closed():
        sys.stdout.close()
        sys.stderr.close()
        os.close(1), os.close(2), os.close(0)
        return "still here"
"""


def test_prints_of_every_kind_stay_out_of_the_channel(start, transport):
    worker = start(PRINTS, transport=transport)
    worker.greet()
    worker.call("say", "hello")
    worker.call("raw", "raw bytes\n")
    worker.close_channel()
    worker.wait()
    lines = worker.stdout_log.all().splitlines()
    assert lines == ["at import", "hello", "raw bytes", "from a child", "from python"]


def test_a_flood_of_prints_neither_corrupts_nor_blocks(start, transport):
    worker = start(PRINTS, transport=transport)
    worker.greet()
    line = "x" * 999
    for _ in range(4):
        assert worker.call("say", line, 2500) == 2500
    worker.close_channel()
    worker.wait()
    assert worker.stdout_log.all().count(line + "\n") == 10_000


def test_stdout_and_stderr_come_in_order(start):
    worker = start(PRINTS, merged_log=True)
    worker.greet()
    worker.call("both")
    wait_until(lambda: "4 err\n" in worker.stderr_log.now(), "the last line")
    assert worker.stderr_log.now() == "at import\n1 out\n2 err\n3 out\n4 err\n"


def test_a_line_is_out_before_the_reply(start, transport):
    worker = start(PRINTS, transport=transport)
    worker.greet()
    worker.call("say", "hello")
    wait_until(lambda: "hello\n" in worker.stdout_log.now(), "the line, with the worker alive")


def test_last_words_of_a_crash_are_kept(start):
    worker = start(PRINTS)
    worker.greet()
    worker.send_call("crash", [])
    assert worker.wait() == 9
    assert worker.stdout_log.all().endswith("last words\n")


def test_stdin_is_empty_for_user_code(start, transport):
    worker = start(PRINTS, transport=transport)
    worker.greet()
    assert worker.call("read") == ["", ""]


def test_user_code_may_close_its_streams(start, transport):
    worker = start(PRINTS, transport=transport)
    worker.greet()
    assert worker.call("closed") == "still here"
    assert worker.call("ping")["status"] == "ok"


def test_what_a_script_prints_before_serve_is_no_frame(start):
    worker = start(
        "print('early')\nimport lair_worker as lair\ndef f(): return 1\nlair.serve()\n",
        script=True,
        transport="stdio-pipe",
    )
    worker.greet()
    assert worker.call("f") == 1
    worker.close_channel()
    assert worker.expect_end(0) == "early\n"


@pytest.mark.parametrize("closed", [(2,), (1, 2), (0, 1, 2)])
def test_closed_standard_descriptors_do_not_end_up_in_a_frame(start, closed):
    def close():
        for fd in closed:
            os.close(fd)

    worker = start(PRINTS, preexec=close)
    worker.greet()
    assert worker.call("say", "into nothing", 3) == 3
    worker.call("raw", "into nothing\n")
    assert worker.call("ping")["status"] == "ok"


def test_the_sdk_itself_prints_nothing(start, transport):
    worker = start("def f(): return 1", transport=transport)
    worker.greet()
    worker.call("f")
    worker.fail("f", 1)
    worker.fail("g")
    worker.call("cleanup")
    worker.close_channel()
    worker.wait()
    assert worker.stderr_log.all() == "" and worker.stdout_log.all() == ""


def test_the_log_helper_sees_everything():
    log = Log()
    sink = os.dup(log.sink)
    log.start()
    os.write(sink, b"a")
    os.close(sink)
    assert log.all() == "a" and sys.stdout is not None
