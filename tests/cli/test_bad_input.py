"""Whatever is wrong, the message names it and says what to do, and the exit status tells the kind."""

from __future__ import annotations

import json
import sys

import pytest
from conftest import EXAMPLES, WORKERS

TEXTSTATS = str(EXAMPLES / "textstats.py")
CALL = ["call", "--module", TEXTSTATS]

MODULES = {
    "broken.py": "def f(:\n",
    "fails.py": "import lair_worker\n@lair_worker.on_start\ndef warm(): raise RuntimeError('no model file')\n"
    "@lair_worker.command\ndef f(): pass\n",
    "imports.py": "import no_such_package\ndef f(): pass\n",
    "results.py": "def nan(): return {'a': [float('nan')]}\ndef odd(): return object()\n"
    "def large(): return 'x' * 100000\ndef one(a): return a\n",
    "slow.py": "import time\ntime.sleep(1000)\n",
    "empty.py": "",
}

BAD = {
    # name: (arguments, exit status, what the message must say)
    "unknown option": (
        [*CALL, "--timout", "5", "count_words"],
        2, ["'--timout'", "did you mean '--timeout'"],
    ),
    "unknown subcommand": (["descripe"], 2, ["'descripe'", "did you mean 'describe'"]),
    "no command": (["call", "--module", TEXTSTATS], 2, ["COMMAND", "--help"]),
    "no worker": (["call", "ping"], 2, ["--module", "'--'"]),
    "two workers": ([*CALL, "ping", "--", "true"], 2, ["--module", "'--'", "contradict"]),
    "empty command line": (["call", "ping", "--"], 2, ["'--'", "command line"]),
    "worker without --": (["call", "ping", "{}", "python3", "w.py"], 2, ["'python3'", "'--'"]),
    "quiet and verbose": ([*CALL, "-q", "-v", "f"], 2, ["--quiet", "--verbose"]),
    "unknown setting": ([*CALL, "--set", "max_frames=65536", "f"], 2, ["max_frames", "'max_frame'"]),
    "setting of the wrong type": ([*CALL, "--set", "max_frame=big", "f"], 2, ["max_frame", "big"]),
    "setting without a value": ([*CALL, "--set", "max_frame", "f"], 2, ["--set 'max_frame'", "NAME=VALUE"]),
    "setting out of range": ([*CALL, "--set", "max_frame=1", "f"], 2, ["max_frame", "between"]),
    "setting given twice": ([*CALL, "--timeout", "1s", "--set", "timeout=2", "f"], 2, ["'timeout'", "twice"]),
    "bad duration": ([*CALL, "--timeout", "5 parsecs", "f"], 2, ["timeout", "5 parsecs"]),
    "bad number": ([*CALL, "--workers", "-1", "f"], 2, ["--workers"]),
    "bad stdio": (["call", "--stdio", "tty", "f", "--", "true"], 2, ["stdio", "'tty'", "pipe"]),
    "stdio of a module": ([*CALL, "--stdio", "pipe", "f"], 2, ["stdio", "argv"]),
    "bad environment": ([*CALL, "--env", "A", "f"], 2, ["--env 'A'", "NAME=VALUE"]),
    "interpreter and venv": ([*CALL, "--python", "python3", "--venv", ".", "f"], 2, ["interpreter", "venv"]),
    "interpreter of a program": (
        ["call", "--python", "python3", "f", "--", "true"],
        2, ["interpreter", "argv"],
    ),
    "args not JSON": ([*CALL, "count_words", '{text: "a"}'], 2, ["not JSON", '\n    {text: "a"}\n      ^\n']),
    "args cut short": ([*CALL, "count_words", '["a"'], 2, ["not JSON", '\n    ["a"\n        ^']),
    "args a word": ([*CALL, "count_words", "hello"], 2, ["not JSON", "\n    hello\n"]),
    "args a text": ([*CALL, "count_words", '"hello"'], 2, ["string", """'["hello"]'"""]),
    "args a number": ([*CALL, "count_words", "5"], 2, ["number", "'[5]'"]),
    "args file missing": ([*CALL, "count_words", "@nope.json"], 2, ["nope.json"]),
    "args not UTF-8": ([*CALL, "count_words", "@latin1.json"], 2, ["latin1.json", "UTF-8", r"caf\xe9", "^"]),
    "args that don't fit": ([*CALL, "count_words", '{"txt": "a"}'], 2, ["count_words", "'txt'", "text: "]),
    "too many args": ([*CALL, "count_words", '["a", "b"]'], 2, ["count_words", "2 were given"]),
    "args too large": (
        ["call", "-m", "results.py", "--set", "max_frame=65536", "one", "@large.json"],
        2, ["max_frame"],
    ),
    "unknown command": ([*CALL, "count_word"], 4, ['"count_word"', 'did you mean "count_words"']),
    "missing interpreter": (
        [*CALL, "--python", "/nonexistent/python", "f"],
        6, ["/nonexistent/python", "--python"],
    ),
    "missing venv": ([*CALL, "--venv", "nowhere", "f"], 6, ["nowhere", "python3 -m venv"]),
    "missing directory": ([*CALL, "--cwd", "/nonexistent", "f"], 6, ["/nonexistent", "cwd"]),
    "missing module": (
        ["call", "-m", "nope", "f"],
        6, ["No module named 'nope'", "looked in", "environment"],
    ),
    "missing file": (["call", "-m", "nope.py", "f"], 6, ["nope.py", "environment"]),
    "missing program": (["call", "f", "--", "./no-such-program"], 6, ["./no-such-program"]),
    "missing import": (
        ["call", "-m", "imports.py", "f"],
        6, ["no_such_package", "environment", "imports.py"],
    ),
    "syntax error": (["call", "-m", "broken.py", "f"], 6, ["SyntaxError", "broken.py", "line 1"]),
    "no functions": (["call", "-m", "empty.py", "f"], 6, ["empty"]),
    "on_start raises": (
        ["call", "-m", "fails.py", "f"],
        6, ["RuntimeError", "no model file", "warm_up", "in warm"],
    ),
    "start too slow": (["call", "--start-timeout", "300ms", "-m", "slow.py", "f"], 6, ["300 ms", "stage"]),
    "result is NaN": (["call", "-m", "results.py", "nan"], 3, ["result.a[0]", "NaN", "cannot be sent"]),
    "result is an object": (["call", "-m", "results.py", "odd"], 3, ["type object", "not JSON"]),
    "result too large": (
        ["call", "-m", "results.py", "--set", "max_frame=65536", "large"],
        3, ["max_frame", "65536"],
    ),
    "not a worker": (["call", "f", "--", "true"], 6, ["exited with status 0"]),
    "dies at once": (
        ["call", "f", "--", "sh", "-c", "echo no licence >&2; exit 9"],
        6, ["no licence", "status 9"],
    ),
    "demo with a worker": (["demo", "--", "true"], 2, ["demonstration"]),
    "demo of no files": (["demo", "--files", "0"], 2, ["--files"]),
    "describe a missing module": (["describe", "-m", "nope"], 6, ["No module named 'nope'"]),
}


@pytest.fixture
def directory(tmp_path):
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin1.json").write_bytes(b'["caf\xe9"]')
    (tmp_path / "large.json").write_text(json.dumps(["x" * 100000]))
    return tmp_path


@pytest.mark.parametrize("name", BAD)
def test_bad_input(lair, directory, name):
    arguments, status, fragments = BAD[name]
    done = lair(*arguments)
    for fragment in fragments:
        assert fragment in done.stderr, done.stderr
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(("lair", "[lair")) and "terminate called" not in done.stderr
    assert "\x1b" not in done.stderr  # no colours: this is not a terminal


NOT_JSON = [b'["caf\xe9"]', b"\xff\xfe[\x00]\x00", b"\x80", b"[\x00]", b"", b"[" * 1000]


@pytest.mark.parametrize("sent", NOT_JSON)
def test_stdin_that_is_not_json(lair, sent):
    done = lair(*CALL, "count_words", "-", stdin=sent)
    assert done.returncode == 2
    assert done.stderr.startswith("lair call: stdin is not JSON, line 1: ") and "^" in done.stderr


def test_the_place_in_a_long_text_is_shown(lair):
    done = lair(*CALL, "count_words", "-", stdin=b'[\n  "' + "ä".encode() * 200 + b'",\n  nul,\n  1\n]')
    assert "line 3: " in done.stderr
    assert "\n      nul,\n         ^\n" in done.stderr
    done = lair(*CALL, "count_words", "-", stdin=b'["' + b"x" * 500 + b'" 5 ' + b", 6" * 100 + b"]")
    lines = done.stderr.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() == "^")
    assert len(lines[at - 1]) < 90
    assert lines[at - 1][len(lines[at]) - 1] == "5"


def test_keeper_not_found(lair):
    done = lair(*CALL, "count_words", '[""]', env={"LAIR_KEEPER": "/nonexistent/keeper"})
    assert done.returncode == 6
    assert "/nonexistent/keeper" in done.stderr and "LAIR_KEEPER" in done.stderr


def test_sdk_not_found(lair):
    done = lair(*CALL, "count_words", '[""]', env={"LAIR_SDK": "/nonexistent"})
    assert done.returncode == 6
    assert "/nonexistent" in done.stderr and "lair_worker" in done.stderr


def test_positions_for_a_protocol_1_program(lair):
    argv = [sys.executable, WORKERS / "well_behaved.py", "--mode", "pool-worker", "--worker-id", "x"]
    done = lair("call", "add", "[1, 2]", "--", *argv)
    assert done.returncode == 2
    assert "keyword" in done.stderr and "protocol 1" in done.stderr
