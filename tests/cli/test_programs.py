"""Programs that speak protocol 1 on stdin and stdout, well and badly behaved; and how `lair` may end."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
from conftest import EXAMPLES, WORKERS, eventually


def program(name, *arguments):
    return ["--", sys.executable, WORKERS / f"{name}.py", *arguments]


WELL_BEHAVED = program("well_behaved", "--mode", "pool-worker", "--worker-id", "{worker_id}")
QUICK_KILL = ["--set", "terminate_grace=200ms"]


@pytest.mark.parametrize("stdio", ["socket", "pipe"])
def test_a_well_behaved_program(lair, stdio):
    done = lair("call", "--stdio", stdio, "ping", *WELL_BEHAVED)
    pong = {"status": "ok", "mode": "pool-worker", "worker_id": "lair-0-1"}
    assert json.loads(done.stdout) == pong, done.stderr
    assert "ready to work" in done.stderr
    assert lair("call", "--stdio", stdio, "add", '{"a": 1, "b": 2}', *WELL_BEHAVED).stdout == "3\n"


def test_its_environment(lair):
    done = lair("call", "environment", '{"names": ["LAIR_SLOT", "A"]}', "--env", "A={slot}", *WELL_BEHAVED)
    assert json.loads(done.stdout) == {"LAIR_SLOT": "0", "A": "0"}


def test_its_errors(lair):
    done = lair("call", "nonsense", *WELL_BEHAVED)
    assert done.returncode in (3, 4)
    assert "Unknown command: nonsense" in done.stderr
    done = lair("call", "large", '{"size": 100000}', "--set", "max_frame=65536", *WELL_BEHAVED)
    assert done.returncode == 9
    assert "max_frame" in done.stderr


def test_describe_says_that_it_does_not_announce(lair):
    done = lair("describe", *WELL_BEHAVED)
    assert done.returncode == 0
    assert "protocol 1" in done.stdout and "announce" in done.stdout
    assert json.loads(lair("describe", "--json", *WELL_BEHAVED).stdout) == {"protocol": 1, "commands": []}


def test_noise_on_stdout_at_the_start(lair):
    done = lair("call", "f", *program("babbling"))
    assert done.returncode == 6
    assert "Load" in done.stderr and "stdout" in done.stderr and "handshake" in done.stderr


def test_noise_on_stdout_in_answer(lair):
    done = lair("call", "f", *program("babbling", "late"))
    assert done.returncode == 9
    assert "Load" in done.stderr and "broke the protocol" in done.stderr


def test_much_output_on_stderr(lair):
    done = lair("call", "f", *program("chatty"))
    assert json.loads(done.stdout)["lines"] == 4000
    assert "] f 003999" in done.stderr
    assert done.stderr.count("] f 00") == 4000


def test_a_stubborn_program_is_dead_when_the_call_ends(programs):
    done = programs.run("call", *QUICK_KILL, "pid", *program("stubborn", "unused"))
    pid = json.loads(done.stdout)["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert done.returncode == 0
    assert programs.left() == []


def test_a_stubborn_program_is_dead_after_a_deadline(programs, tmp_path):
    stubborn = program("stubborn", tmp_path / "pid")
    done = programs.run("call", *QUICK_KILL, "--timeout", "1s", "hang", *stubborn)
    assert done.returncode == 5
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def hanging_call(programs, tmp_path, **more):
    """A `lair call` in the middle of a call that never ends."""
    pid_file = tmp_path / "pid"
    process = programs.start("call", "hang", *program("stubborn", pid_file), **more)
    eventually(pid_file.exists, "the call has begun")
    return process, int(pid_file.read_text())


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_call_and_its_worker(programs, tmp_path, number):
    process, worker = hanging_call(programs, tmp_path)
    process.send_signal(number)
    assert process.wait(5) == -number  # which a shell reports as 128 + number: 130, 143
    eventually(lambda: gone(worker), "the worker is dead", 10)
    process.communicate()


def test_ctrl_c_in_a_terminal_goes_to_the_whole_group(programs, tmp_path):
    process, worker = hanging_call(programs, tmp_path, start_new_session=True)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    eventually(lambda: gone(worker), "the worker is dead", 10)
    process.communicate()


def test_ctrl_c_during_the_start(programs, tmp_path):
    (tmp_path / "slow.py").write_text("import time\nopen('started', 'w').close()\ntime.sleep(1000)\n")
    process = programs.start("call", "-m", "slow.py", "f")
    eventually((tmp_path / "started").exists, "the import has begun")
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    process.communicate()


def test_ctrl_c_during_the_demo(programs):
    process = programs.start("demo", "--files", 200)
    eventually(lambda: len(programs.left()) >= 2, "workers have started")
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    process.communicate()


def test_the_demo_finishes_though_a_worker_is_killed(lair):
    done = lair("demo", "--json", "--files", 100)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # a progress bar is for terminals
    demo = json.loads(done.stdout)
    assert demo["files"] == 100
    assert demo["killed"]["pid"] > 0
    for again in demo["measured_again"]:
        assert again["pid"] == demo["killed"]["pid"]
    complexities = [function["complexity"] for function in demo["most_complex"]]
    assert len(complexities) == 10 and complexities == sorted(complexities, reverse=True)
    assert demo["runs"][0]["workers"] == 1
    assert demo["lines"] > 10000


def test_the_demo_as_text(lair):
    done = lair("demo", "--files", 200)  # enough for the second half of them to take a while
    assert done.returncode == 0, done.stderr
    for fragment in ("Python 3.", "1 worker:", "files/s", "times as fast", "was killed", "most complex"):
        assert fragment in done.stdout, done.stdout


def test_the_measure_of_complexity(lair, tmp_path):
    (tmp_path / "sample.py").write_text(
        "def plain(): pass\n"
        "def branchy(a, b):\n"
        "    if a and b or a:\n"  # 1 + 1 + 2
        "        return [x for x in a if x]\n"  # + 2
        "    def inner():\n"
        "        while True: pass\n"
        "    class C:\n"
        "        def method(self): return 1 if self else 2\n"
    )
    done = lair("call", "-m", EXAMPLES / "code_metrics.py", "measure_file", '["sample.py"]')
    measured = json.loads(done.stdout)
    assert (measured["lines"], measured["classes"], measured["functions"]) == (8, 1, 4)
    found = {function["name"]: function["complexity"] for function in measured["most_complex"]}
    assert found == {"plain": 1, "branchy": 6, "branchy.inner": 2, "branchy.C.method": 2}
