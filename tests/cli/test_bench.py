"""lair bench: what it counts, how it ends, what it refuses."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from conftest import BIN, EXAMPLES, WORKERS, default_signals, eventually

TEXTSTATS = EXAMPLES / "textstats.py"
WELL_BEHAVED = ["--", sys.executable, WORKERS / "well_behaved.py", "--mode=pool-worker", "--worker-id=1"]


@pytest.fixture
def module(tmp_path):
    def write(text: str):
        path = tmp_path / "module.py"
        path.write_text(text)
        return path

    return write


def bench(lair, *arguments, status=0, **more) -> dict:
    done = lair("bench", "--json", *arguments, **more)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def test_every_call_is_counted_once(lair, module, tmp_path):
    path = module("def f(a, b=0):\n  with open('calls', 'a') as file: file.write(f'{a}{b}\\n')\n")
    measured = bench(lair, "--workers", 2, "--callers", 3, "--calls", 50, "-m", path, "--command", "f",
                     "--args", '{"a": 1, "b": 2}')
    assert (tmp_path / "calls").read_text() == "12\n" * 50
    assert measured["calls"] == 50
    assert measured["errors"] == {}
    assert (measured["workers"], measured["callers"], measured["command"]) == (2, 3, "f")
    assert measured["interrupted"] is False
    assert measured["calls_per_s"] == pytest.approx(50 / measured["elapsed_s"])
    assert 0 < measured["start_s"] < 30
    latency = measured["latency_us"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p999"] <= latency["max"]
    assert latency["max"] <= measured["elapsed_s"] * 1e6


def test_latencies_are_those_of_the_calls(lair, module):
    path = module("import time\ndef f(): time.sleep(0.05)")
    measured = bench(lair, "--callers", 2, "--calls", 8, "-m", path, "--command", "f")
    # Two callers share one worker: a call waits for the other's, and the whole takes eight times one.
    assert measured["latency_us"]["p50"] > 95e3
    assert measured["elapsed_s"] >= 0.4


def test_the_echo_that_needs_no_worker_of_yours(lair):
    measured = bench(lair, "--workers", 2, "--calls", 200)
    assert (measured["command"], measured["callers"], measured["calls"]) == ("echo", 2, 200)
    measured = bench(lair, "--calls", 10, "--args", "-", stdin=b'["x"]')
    assert measured["calls"] == 10 and measured["errors"] == {}


def test_a_duration_ends_it(lair, module):
    path = module("import time\ndef f(): time.sleep(0.01)")
    measured = bench(lair, "--duration", "300ms", "-m", path, "--command", "f")
    assert 0.3 <= measured["elapsed_s"] < 10
    assert 1 <= measured["calls"] <= 30


def test_a_program_of_protocol_1(lair):
    measured = bench(lair, "--calls", 20, "--command", "add", "--args", '{"a": 1, "b": 2}', *WELL_BEHAVED)
    assert measured["calls"] == 20 and measured["errors"] == {}


def test_errors_are_counted_by_kind_and_not_timed(lair, module):
    path = module(
        "import os, time\n"
        "n = 0\n"
        "def f():\n"
        "  global n\n"
        "  n += 1\n"
        "  if n % 10 == 0: os._exit(3)\n"  # this worker's tenth call; the next worker begins at 1 again
        "  if n % 3 == 0: raise ValueError(f'no {n}')\n"
        "  return n\n"
    )
    kept_on = bench(lair, "-q", "--calls", 40, "-m", path, "--command", "f")["errors"]
    assert kept_on["worker_lost"]["count"] == 3 and kept_on["unavailable"]["count"] == 10, "quarantined"
    without = ["--set", "breaker_enabled=false"]
    measured = bench(lair, "-q", "--calls", 40, *without, "-m", path, "--command", "f")
    errors = measured["errors"]
    assert {kind: each["count"] for kind, each in errors.items()} == {"remote": 12, "worker_lost": 4}
    assert measured["calls"] == 40 - 12 - 4
    assert errors["remote"]["first"]["python"]["type"] == "ValueError"
    assert "no 3" in errors["remote"]["first"]["message"]
    assert "exited with status 3" in errors["worker_lost"]["first"]["message"]


def test_deadlines_are_errors_too(lair, module):
    path = module("import time\ndef f(): time.sleep(1000)")
    done = lair("bench", "--json", "--calls", 2, "--timeout", "100ms", "--set", "terminate_grace=100ms",
                "-m", path, "--command", "f")
    assert done.returncode == 5  # not one call succeeded
    measured = json.loads(done.stdout)
    assert measured["calls"] == 0 and measured["errors"]["deadline_exceeded"]["count"] == 2
    assert measured["latency_us"] == {"p50": None, "p99": None, "p999": None, "max": None}
    assert "missed its deadline" in done.stderr


def test_more_callers_than_a_queue_takes(lair, module):
    """By default nobody is turned away; with a max_waiters of one's own, those beyond it are."""
    path = module("import time\ndef f(): time.sleep(0.01)")
    many = ["--callers", 20, "--calls", 40, "-m", path, "--command", "f"]
    assert bench(lair, *many)["errors"] == {}
    assert bench(lair, *many, "--set", "max_waiters=1")["errors"]["overloaded"]["count"] > 0


def test_the_table(lair, module):
    path = module("def f(x):\n  if x: raise ValueError('no')\n")
    done = lair("bench", "--workers", 2, "--calls", 30, "-m", path, "--command", "f", "--args", "[0]")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2 workers, 2 callers, command f"
    assert [line[:22].strip() for line in lines[1:]] == [
        "start", "calls", "calls/s", "latency p50", "latency p99", "latency p999", "latency max", "errors",
    ]  # fmt: skip
    assert lines[2].split()[1] == "30" and lines[-1].split() == ["errors", "0"]
    assert done.stderr == ""  # a progress bar is for terminals

    done = lair("bench", "--calls", 3, "-m", path, "--command", "f", "--args", "[1]")
    assert done.returncode == 3
    assert "errors: remote" in done.stdout and "raised ValueError: no" in done.stdout
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(("amount", "unit"), [(["--calls", "30"], "calls"), (["--duration", "300ms"], "ms")])
def test_a_progress_bar_on_a_terminal(programs, module, amount, unit):
    path = module("import time\ndef f(): time.sleep(0.01)")
    ours, theirs = pty.openpty()
    process = programs.start("bench", *amount, "-m", path, "--command", "f", stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            some = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        shown += some
    os.close(ours)
    assert process.wait(30) == 0
    assert f"\r{unit} [".encode() in shown and shown.endswith(b"\r\x1b[K"), shown
    assert b"#" in shown
    process.communicate()


@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_reports_what_there_was(programs, module, tmp_path, as_json):
    """In the middle of a call that never ends, sent to the whole group as a terminal does."""
    path = module(
        "import os, time\n"
        "n = 0\n"
        "def f():\n"
        "  global n\n"
        "  n += 1\n"
        "  if n == 6:\n"
        "    open('hangs', 'w').close()\n"
        "    time.sleep(1000)\n"
    )
    process = programs.start("bench", *(["--json"] if as_json else []), "--duration", "forever", "-m", path,
                             "--command", "f", start_new_session=True)
    eventually((tmp_path / "hangs").exists, "the sixth call has begun")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT  # which a shell reports as 130
    assert err == b""
    if as_json:
        measured = json.loads(out)
        assert (measured["calls"], measured["interrupted"], measured["errors"]) == (5, True, {})
        assert measured["latency_us"]["p50"] > 0
    else:
        assert b"interrupted" in out and b"\n  calls                           5  in " in out
    eventually(lambda: not programs.left(), "no worker is left", 10)


def test_a_shell_sees_130(programs, module, tmp_path):
    path = module("def f(): open('called', 'w').close()")
    script = f'{BIN}/lair bench --duration forever -m {path} --command f; echo "status $?"'
    shell = subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=programs.env, preexec_fn=default_signals,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    eventually((tmp_path / "called").exists, "calls are made")
    [pid] = [each.split(":")[0] for each in programs.left() if "/lair\\x00bench" in each]
    os.kill(int(pid), signal.SIGINT)
    out, _ = shell.communicate(timeout=10)
    assert "interrupted" in out and out.endswith("status 130\n"), out


def test_ctrl_c_while_workers_start(programs, tmp_path):
    (tmp_path / "slow.py").write_text("import time\nopen('started', 'w').close()\ntime.sleep(1000)\n")
    process = programs.start("bench", "-m", "slow.py", "--command", "f")
    eventually((tmp_path / "started").exists, "the import has begun")
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    process.communicate()


def test_a_worker_that_does_not_start(lair, module):
    path = module("import nonsense_that_is_nowhere")
    done = lair("bench", "--json", "--workers", 3, "-m", path, "--command", "f")
    assert done.returncode == 6
    assert json.loads(done.stdout)["error"]["kind"] == "unavailable"
    assert "nonsense_that_is_nowhere" in done.stderr


def test_an_unknown_command(lair):
    done = lair("bench", "--calls", 5, "-m", TEXTSTATS, "--command", "count_wrods")
    assert done.returncode == 4
    assert "count_words" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--calls", "0"], "--calls"),
        (["--calls", "many"], "--calls"),
        (["--callers", "0"], "--callers"),
        (["--callers", "1025"], "--callers"),
        (["--workers", "two"], "--workers"),
        (["--workers", "-1"], "--workers"),
        (["--duration", "5 parsecs"], "--duration: '5 parsecs' is not a duration"),
        (["--duration", "0s"], "--duration '0s'"),
        (["--duration", "1s", "--calls", "5"], "--duration"),
        (["--module", TEXTSTATS], "--command"),
        (WELL_BEHAVED, "--command"),
        (["--args", "[1"], "not JSON"),
        (["--args", "1"], "'[1]'"),
        (["--args", "@nowhere.json"], "'nowhere.json'"),
        (["--set", "sise=3"], "did you mean 'size'?"),
        (["--set", "size"], "--set"),
        (["--python", "nowhere/python", "--venv", "."], "venv"),
        (["--durations", "5s"], "did you mean '--duration'?"),
        (["echo"], "unexpected argument 'echo'"),
        (["--module", TEXTSTATS, *WELL_BEHAVED], "--module"),
        (["--"], "'--'"),
    ],
)
def test_a_wrong_command_line(lair, arguments, named):
    done = lair("bench", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert named in done.stderr
    assert "See 'lair bench --help'." in done.stderr


def test_stdout_that_cannot_be_written(lair):
    with open("/dev/full", "w") as full:
        done = lair("bench", "--calls", 5, stdout=full)
    assert done.returncode == 1
    assert "stdout" in done.stderr
