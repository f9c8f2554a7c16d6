"""lair doctor: a healthy machine, and each breakage named with what mends it."""

from __future__ import annotations

import json
import os
import pty
import shutil
import stat
import sys

import pytest
from conftest import BIN, EXAMPLES, ROOT

TEXTSTATS = EXAMPLES / "textstats.py"


@pytest.fixture
def doctor(programs):
    """Runs `lair doctor --json`: exit status and the findings by name."""

    def run(*arguments, **more):
        done = programs.run("doctor", "--json", *arguments, **more)
        report = json.loads(done.stdout)
        assert done.stderr == ""
        assert report["exit_status"] == done.returncode
        assert report["usable"] == (done.returncode == 0)
        checks = {check["name"]: check for check in report["checks"]}
        assert len(checks) == len(report["checks"])
        for check in checks.values():
            assert check["text"] or check["verdict"] == "ok", check
            if check["verdict"] in ("bad", "warning"):
                assert check["remedy"], check
        assert any(check["verdict"] == "bad" for check in checks.values()) == (done.returncode != 0)
        return done.returncode, checks

    return run


def executable(path, text: str):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_all_is_well(doctor):
    status, found = doctor("--module", TEXTSTATS, "--python", sys.executable)
    assert status == 0, found
    interpreter = found["interpreter"]["facts"]
    assert interpreter["version"] == ".".join(map(str, sys.version_info[:3]))
    assert interpreter["executable"] == sys.executable
    assert found["lair-keeper"]["facts"]["path"] == str(BIN / "lair-keeper")
    assert found["SDK"]["facts"]["version"] == found["lair"]["facts"]["version"]
    assert found["accelerator"]["verdict"] in ("ok", "note")
    start = found["start"]["facts"]
    assert (start["module"], start["stand_in"]) == (str(TEXTSTATS), False)
    stages = [start[stage] for stage in ("environment", "spawn", "handshake", "warm_up")]
    assert all(seconds > 0 for seconds in stages)
    assert start["verify"] == 0
    assert sum(stages) == pytest.approx(start["seconds"])
    assert found["no orphans"]["facts"]["holds"] is True
    assert found["keeper killed"]["facts"]["holds"] == "workers"


def test_the_accelerator_is_named_and_may_be_absent(doctor, tmp_path):
    sdk = shutil.copytree(ROOT / "python/lair_worker", tmp_path / "lair_worker")
    for built in sdk.glob("_native*"):
        built.unlink()
    status, found = doctor("--python", sys.executable, env={"LAIR_SDK": str(tmp_path)})
    assert status == 0 and found["accelerator"]["verdict"] == "note", found
    (sdk / "_native.py").write_text("")
    _, found = doctor("--python", sys.executable, env={"LAIR_SDK": str(tmp_path)})
    assert found["accelerator"]["facts"] == {"path": str(sdk / "_native.py")}


def test_without_a_worker_one_of_the_standard_library_stands_in(doctor):
    status, found = doctor()
    assert status == 0, found
    assert found["start"]["facts"]["stand_in"] is True
    assert "--module" in found["start"]["text"]


def test_a_program_of_protocol_1(doctor):
    status, found = doctor("--", sys.executable, ROOT / "tests/workers/original.py")
    assert status == 0, found
    assert found["start"]["facts"]["warm_up"] == 0
    assert found["no orphans"]["verdict"] == "skipped"


def test_what_it_says_to_people(lair):
    done = lair("doctor", "--python", sys.executable)
    assert done.returncode == 0
    assert done.stdout.startswith("lair ") and done.stdout.endswith("\nLair works here.\n")
    for word in ("programs\n", "worker\n", "system\n", "guarantees\n", "pidfd works", "ready after"):
        assert word in done.stdout
    assert "\033" not in done.stdout  # no terminal, no colours


def test_colours_on_a_terminal_unless_unwanted(programs):
    def shown(**env) -> bytes:
        ours, theirs = pty.openpty()
        process = programs.start("doctor", "--python", sys.executable, stdout=theirs, env=env)
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 4096):
                text += piece
        except OSError:  # a terminal's end of file
            pass
        os.close(ours)
        assert process.wait(30) == 0
        process.stderr.close()
        return text

    assert b"\033[32mok" in shown(NO_COLOR="")
    assert b"\033" not in shown(NO_COLOR="1")


def test_a_missing_interpreter(doctor):
    status, found = doctor("--python", "/nonexistent/python3")
    assert status == 6
    assert "/nonexistent/python3 does not exist" in found["interpreter"]["text"]
    assert "--venv" in found["interpreter"]["remedy"]
    assert found["start"]["verdict"] == "skipped"
    status, found = doctor("--venv", "/nonexistent")
    assert status == 6
    assert "python3 -m venv /nonexistent" in found["interpreter"]["text"]


def test_an_interpreter_that_is_too_old(doctor, tmp_path):
    # Answers as one would: the SDK is never imported.
    old = executable(
        tmp_path / "python",
        "#!/bin/sh\nfor line in 3.8.20 /usr/bin/python3.8 /usr; do echo lair-doctor:$line; done\n",
    )
    status, found = doctor("--python", old)
    assert status == 6
    assert "Python 3.8.20" in found["interpreter"]["text"] and "3.9 or newer" in found["interpreter"]["text"]
    assert found["interpreter"]["facts"]["version"] == "3.8.20"
    assert "--python" in found["interpreter"]["remedy"]
    assert found["start"]["verdict"] == "skipped"


def test_an_interpreter_that_is_none(doctor, tmp_path):
    liar = executable(tmp_path / "python", "#!/bin/sh\necho I am a teapot >&2\nexit 7\n")
    status, found = doctor("--python", liar)
    assert status == 6
    assert "is no Python" in found["interpreter"]["text"] and "teapot" in found["interpreter"]["text"]
    assert "status 7" in found["interpreter"]["text"]


def test_an_interpreter_behind_a_script(doctor, tmp_path):
    shim = executable(tmp_path / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    status, found = doctor("--python", shim)
    assert status == 0, found
    assert found["interpreter"]["facts"]["executable"] == sys.executable
    assert "script" in found["interpreter"]["text"]


def test_a_startup_file_that_prints_is_no_trouble(doctor, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('welcome')")
    status, found = doctor("--python", sys.executable, "--path", tmp_path)
    assert status == 0, found


def test_a_module_that_is_missing(doctor):
    status, found = doctor("--module", "no_such_module", "--python", sys.executable)
    assert status == 6
    assert "No module named 'no_such_module'" in found["start"]["text"]
    assert found["start"]["facts"]["stage"] == "environment"
    assert "--path" in found["start"]["remedy"]
    assert f"{sys.executable} -m pip install" in found["start"]["remedy"]
    assert found["no orphans"]["verdict"] == "ok"  # that is tried all the same


@pytest.mark.parametrize(
    ("text", "said", "stage"),
    [
        ("def f(:", "SyntaxError", "environment"),
        ("import nowhere_to_be_found", "nowhere_to_be_found", "environment"),
        ("raise RuntimeError('no licence')", "no licence", "environment"),
        ("import os; os._exit(3)", "exited with status 3", "handshake"),
        (
            "import lair_worker as l\n@l.command\ndef f(): pass\n"
            "@l.on_start\ndef g(): raise OSError('no model')",
            "no model",
            "warm_up",
        ),
    ],
)
def test_a_module_that_does_not_start(doctor, tmp_path, text, said, stage):
    (tmp_path / "module.py").write_text(text)
    status, found = doctor("--module", tmp_path / "module.py", "--python", sys.executable)
    assert status == 6
    assert said in found["start"]["text"]
    assert found["start"]["facts"]["stage"] == stage


def test_a_program_that_does_not_answer(doctor):
    status, found = doctor("--", "cat")
    assert status == 6
    assert found["start"]["facts"]["stage"] == "handshake"
    assert "docs/protocol.md" in found["start"]["remedy"]
    status, found = doctor("--", "/nonexistent/worker")
    assert status == 6
    assert "/nonexistent/worker does not exist" in found["worker program"]["text"]


@pytest.mark.parametrize("keeper", ["/nonexistent/lair-keeper", "/bin/true"])
def test_a_keeper_that_is_none(doctor, keeper):
    status, found = doctor(env={"LAIR_KEEPER": keeper})
    assert status == 6
    assert keeper in found["lair-keeper"]["text"]
    assert "LAIR_KEEPER" in found["lair-keeper"]["remedy"]
    assert {found[name]["verdict"] for name in ("start", "no orphans", "interpreter")} == {"skipped"}


def test_an_sdk_that_is_none(doctor, tmp_path):
    status, found = doctor(env={"LAIR_SDK": str(tmp_path)})
    assert status == 6
    assert str(tmp_path) in found["SDK"]["text"] and "LAIR_SDK" in found["SDK"]["remedy"]


def test_an_sdk_of_another_version(doctor, tmp_path):
    shutil.copytree(BIN.parent / "share/lair/python/lair_worker", tmp_path / "lair_worker")
    source = tmp_path / "lair_worker/__init__.py"
    ours = doctor()[1]["lair"]["facts"]["version"]
    source.write_text(source.read_text().replace(f'"{ours}"', '"0.0.7"'))
    status, found = doctor(env={"LAIR_SDK": str(tmp_path)})
    assert status == 0  # what counts is the protocol
    assert found["SDK"]["verdict"] == "warning"
    assert "0.0.7" in found["SDK"]["text"] and "LAIR_SDK" in found["SDK"]["remedy"]


@pytest.mark.parametrize(("number", "workers"), [(14, 1), (40, 64)])
def test_too_few_open_files(programs, number, workers):
    script = f'ulimit -S -n {number}; exec "$0" doctor --json --workers {workers}'
    done = programs.run("-c", script, BIN / "lair", program="/bin/sh")
    assert done.returncode == 6, done.stderr
    files = {check["name"]: check for check in json.loads(done.stdout)["checks"]}["open files"]
    assert files["verdict"] == "bad"
    assert (files["facts"]["soft"], files["facts"]["workers"]) == (number, workers)
    assert "ulimit -n" in files["remedy"] and "LimitNOFILE" in files["remedy"]


def test_a_wrong_setting_is_a_wrong_command_line(lair):
    done = lair("doctor", "--set", "nonsense=1")
    assert done.returncode == 2 and done.stdout == ""
    assert "nonsense" in done.stderr
