"""lair call with Python workers: arguments, results, options."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import EXAMPLES

TEXTSTATS = EXAMPLES / "textstats.py"


@pytest.fixture
def module(tmp_path):
    """Writes a module and gives its path."""

    def write(text: str, name: str = "module.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_positions_and_keywords(lair):
    assert lair("call", "--module", TEXTSTATS, "count_words", '["to be or not"]').stdout == "4\n"
    done = lair("call", "--module", TEXTSTATS, "analyse", '{"text": "a b a", "top": 1}')
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"characters": 5, "words": 3, "top": [["a", 2]]}
    assert done.stdout.count("\n") == 1


def test_no_arguments_at_all(lair, module):
    path = module("def f(): return [None, True, 1.5, 'ä']")
    assert lair("call", "-m", path, "f").stdout == '[null,true,1.5,"ä"]\n'


def test_pretty(lair):
    done = lair("call", "--pretty", "--module", TEXTSTATS, "analyse", '{"text": "a"}')
    assert done.stdout.startswith('{\n  "characters": 1,\n')


def test_arguments_from_stdin_and_from_a_file(lair, tmp_path):
    assert lair("call", "-m", TEXTSTATS, "count_words", "-", stdin=b'["a b c"]').stdout == "3\n"
    (tmp_path / "in.json").write_text('{"text": "a b"}\n')
    assert lair("call", "-m", TEXTSTATS, "count_words", "@in.json").stdout == "2\n"


def test_json_envelope(lair):
    done = lair("call", "--json", "-m", TEXTSTATS, "count_words", '["a b"]')
    assert json.loads(done.stdout) == {"result": 2}
    done = lair("call", "--json", "-m", TEXTSTATS, "count_words", "[2]")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == error["exit_status"] == 3
    assert (error["kind"], error["delivery"]) == ("remote", "executed")
    assert error["python"]["type"] == "AttributeError"
    assert "count_words" in error["python"]["traceback"]
    assert error["worker"]["slot"] == 0
    assert "AttributeError" in done.stderr


def test_environment_path_directory_and_interpreter(lair, module, tmp_path):
    module("import os, sys, helper\ndef f(): return [os.environ['A'], os.getcwd(), helper.X, sys.executable]")
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs/helper.py").write_text("X = 7")
    done = lair("call", "-m", "module", "--env", "A=b=c", "--cwd", tmp_path, "--path", tmp_path / "libs",
                "--python", sys.executable, "f", cwd="/")
    assert json.loads(done.stdout) == ["b=c", str(tmp_path), 7, sys.executable], done.stderr


def test_the_workers_output_goes_to_stderr(lair, module):
    path = module("import sys\ndef f():\n print('on stdout')\n print('on stderr', file=sys.stderr)")
    done = lair("call", "-m", path, "f")
    assert done.stdout == "null\n"
    assert "on stdout" in done.stderr and "on stderr" in done.stderr
    assert lair("call", "-q", "-m", path, "f").stderr == ""


def test_verbose_says_what_the_pool_does(lair):
    assert "idle" in lair("call", "-v", "-m", TEXTSTATS, "count_words", '[""]').stderr


def test_one_worker_is_started_whatever_the_size(lair, module):
    path = module("import os\nprint('started', os.getpid(), flush=True)\ndef f(): return 1")
    done = lair("call", "--workers", 4, "-m", path, "f")
    assert done.returncode == 0
    assert done.stderr.count("started") == 1


def test_deadline(lair, module):
    path = module("import time\ndef f(): time.sleep(1000)")
    done = lair("call", "--timeout", "300ms", "-m", path, "f")
    assert done.returncode == 5
    assert "missed its deadline" in done.stderr and "may have run" in done.stderr


def test_a_worker_that_dies(lair, module):
    path = module("import os, sys\ndef f():\n  print('goodbye', file=sys.stderr, flush=True)\n  os._exit(7)")
    done = lair("call", "-m", path, "f")
    assert done.returncode == 8
    assert "exited with status 7" in done.stderr and "goodbye" in done.stderr


def test_an_idempotent_call_outlives_its_worker(lair, module, tmp_path):
    path = module(
        "import os\n"
        "def f(note):\n"
        "    if os.path.exists(note): return 'at last'\n"
        "    open(note, 'x').close()\n"
        "    os._exit(3)\n"
    )
    once = lair("call", "-m", path, "f", json.dumps([str(tmp_path / "once")]))
    assert once.returncode == 8
    done = lair("call", "-m", path, "--idempotent", "f", json.dumps([str(tmp_path / "twice")]))
    assert (done.returncode, done.stdout) == (0, '"at last"\n')


def test_standard_commands_can_be_called(lair):
    assert json.loads(lair("call", "-m", TEXTSTATS, "ping").stdout)["status"] == "ok"


def test_stdout_that_cannot_be_written(lair):
    with open("/dev/full", "w") as full:
        done = lair("call", "-m", TEXTSTATS, "count_words", '[""]', stdout=full)
    assert done.returncode == 1
    assert "stdout" in done.stderr


def test_help_and_version(lair):
    assert lair("--version").stdout.startswith("lair ")
    for arguments in (["--help"], ["call", "--help"], ["bench", "--help"], ["describe", "--help"],
                      ["demo", "--help"]):
        done = lair(*arguments)
        assert done.returncode == 0 and "Usage: lair" in done.stdout, arguments
    assert lair().returncode == 2


def test_describe_shows_signatures(lair, module):
    path = module("def b(x, /, y: int = 3, *, z='q', **more):\n  '''Does b.'''\ndef longer(*args): 'Any.'\n")
    done = lair("describe", "-m", path)
    assert done.stdout.splitlines() == [
        "b(x, /, y: int = 3, *, z='q', **more)  Does b.",
        "longer(*args)                          Any.",
    ]
    described = json.loads(lair("describe", "--json", "-m", path).stdout)
    assert described["protocol"] == 2
    assert [command["name"] for command in described["commands"]] == ["b", "longer"]
    assert described["commands"][0]["params"][1]["annotation"] == "int"


def test_the_quickstart_example(programs):
    done = programs.run(program="quickstart")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 words: {") and "remote: " in done.stdout


def test_the_session_example(programs):
    for run in (1, 2):  # the second one finds what the first has stored
        done = programs.run(programs.directory / "sessions.db", program="session")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == f"bob was here {2 * run} times; the store says {2 * run}"
        assert lines[1] == 'ann asks: [["Basel"],["Bern"]]'
        assert lines[2].startswith("then worker_lost, then session_lost: ") and "reopen()" in lines[2]
        assert lines[3] == 'ann asks again: [["Basel"],["Bern"]]'
        assert lines[4] == "what was not kept: no such table: scratch"
        assert lines[5].startswith("open: bob, 2 calls, ") and len(lines) == 6


def test_worker_output_is_utf8_on_stderr(lair, module):
    done = lair("call", "-m", module("import os\ndef f(): os.write(2, b'caf\\xe9 \\x1b[31m\\n')"), "f")
    assert r"caf\xe9 \x1b[31m" in done.stderr or "caf\ufffd" in done.stderr


def test_a_closed_pipe_on_stdout_leaves_nothing(programs):
    process = programs.start("call", "-m", TEXTSTATS, "count_words", '[""]', stdout=subprocess.PIPE)
    process.stdout.close()
    process.stderr.close()
    process.wait(30)
