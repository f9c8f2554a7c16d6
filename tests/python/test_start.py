"""Starts that fail say so, with their stage, on the channel and on stderr; starts that succeed are light."""

from __future__ import annotations

import pytest

from host import ERROR

IMPORT_FAILURES = [
    ("import nope_not_there", "ModuleNotFoundError", "No module named 'nope_not_there'"),
    ("def f(:", "SyntaxError", "invalid syntax"),
    ("raise ValueError('at import')", "ValueError", "at import"),
    ("import sys; sys.exit(3)", "SystemExit", "3"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
    ("from os import nope", "ImportError", "cannot import name 'nope'"),
    ("1 / 0", "ZeroDivisionError", "division by zero"),
    ("\tx = 1\n  y = 2", "IndentationError", "unexpected indent"),
    ("x = '\\0'\n\0", "", "null bytes"),
    ("import lair_worker\ndef f(): pass\nlair_worker.serve()", "RuntimeError", "__name__ == '__main__'"),
]


@pytest.mark.parametrize(("source", "cls", "message"), IMPORT_FAILURES)
@pytest.mark.parametrize("offered", [True, False])
def test_a_module_that_cannot_be_imported(start, source, cls, message, offered):
    worker = start(source)
    reply = worker.handshake(worker.offer() if offered else None)
    assert reply["id"] == 0 and reply["success"] is False
    assert reply["stage"] == "environment" and reply["permanent"] is True
    assert reply["error_type"] == (cls or reply["error_type"]) and message in reply["error"]
    assert "lair_worker/_" not in reply["traceback"] and "importlib" not in reply["traceback"]
    stderr = worker.expect_end(1)
    assert reply["traceback"] in stderr


def test_the_traceback_shows_the_users_line(start):
    worker = start("def helper():\n    raise ValueError('deep')\nhelper()\n")
    text = worker.handshake(worker.offer())["traceback"]
    assert 'mod.py", line 3' in text and 'mod.py", line 2, in helper' in text


@pytest.mark.parametrize("name", ["nope", "nope.sub", "os.nope", "json.nope.deeper"])
def test_a_missing_module_is_named_with_the_places_searched(start, tmp_path, name):
    worker = start(argv=["-m", "lair_worker", name])
    reply = worker.handshake(worker.offer())
    assert reply["stage"] == "environment" and reply["error_type"] == "ModuleNotFoundError"
    assert "No module named" in reply["error"] and "nope" in reply["error"]
    assert f"looked in {str(tmp_path)!r}" in reply["error"]
    assert worker.wait() == 1


def test_a_missing_dependency_is_told_from_a_missing_module(start):
    worker = start("import nope_not_there")
    assert "looked in" not in worker.handshake(worker.offer())["error"]


def test_a_missing_file_is_named(start, tmp_path):
    worker = start(argv=["-m", "lair_worker", "jobs/none.py"])
    reply = worker.handshake(worker.offer())
    assert reply["stage"] == "environment" and str(tmp_path / "jobs/none.py") in reply["error"]


def test_a_failed_import_answers_a_foreign_hosts_first_command(start, transport):
    worker = start("raise ValueError('x')", transport=transport)
    reply = worker.request("anything")
    assert reply["success"] is False and reply["stage"] == "environment"
    worker.expect_end(1)


def test_a_command_that_cannot_be_described_fails_the_start(start):
    worker = start(
        """
        import lair_worker as lair
        class Proxy:
            __name__ = "proxy"
            def __call__(self): pass
            def __getattr__(self, name): raise RuntimeError("not bound to " + name)
        lair.command(Proxy())
        """
    )
    reply = worker.handshake(worker.offer())
    assert reply["stage"] == "environment" and "not bound" in reply["error"]
    worker.expect_end(1)


WARM_UP = """
    import lair_worker as lair
    @lair.command
    def f(): pass
    @lair.on_start
    def warm():
        {statement}
    @lair.on_stop
    def stop(): print("stopped")
"""


@pytest.mark.parametrize(
    ("statement", "cls", "permanent"),
    [
        ("raise ValueError('cold')", "ValueError", False),
        ("import nope_not_there", "ModuleNotFoundError", True),
        ("compile('1 +', 'x', 'exec')", "SyntaxError", True),
        ("raise SystemExit(5)", "SystemExit", False),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", False),
        ("open('/nope')", "FileNotFoundError", False),
    ],
)
def test_on_start_that_raises(start, statement, cls, permanent):
    worker = start(WARM_UP.format(statement=statement))
    assert worker.handshake(worker.offer())["success"] is True
    kind, number, generation, error = worker.receive()
    assert (kind, number, generation) == (ERROR, 0, worker.generation)
    assert (error["kind"], error["stage"]) == ("start", "warm_up")
    assert error["type"] == cls and error["permanent"] is permanent and "in warm" in error["traceback"]
    assert error["traceback"] in worker.expect_end(1)
    assert worker.stdout_log.all() == ""  # what has not started is not stopped


@pytest.mark.parametrize("handshake", [True, False])
def test_on_start_that_raises_under_protocol_1(start, handshake):
    worker = start(WARM_UP.format(statement="raise ValueError('cold')"))
    reply = worker.handshake() if handshake else worker.request("f")
    assert reply["success"] is False and reply["stage"] == "warm_up" and reply["permanent"] is False
    assert reply["error"] == "cold" and reply["error_type"] == "ValueError"
    worker.expect_end(1)


def test_a_start_loads_nothing_heavy(greeted):
    """Each of these would cost milliseconds; the whole start of the SDK takes about 5."""
    worker = greeted("def modules():\n    import sys\n    return sorted(sys.modules)")
    heavy = {
        "re",
        "enum",
        "typing",
        "inspect",
        "asyncio",
        "traceback",
        "datetime",
        "argparse",
        "ctypes",
        "dataclasses",
    }
    heavy |= {
        "json",
        "json.decoder",
        "signal",
        "socket",
        "threading",
        "logging",
        "collections",
        "difflib",
        "pathlib",
    }
    loaded_by_python_itself = set(_bare_modules())
    assert not (heavy & set(worker.call("modules"))) - loaded_by_python_itself
    assert not {"lair_worker._errors", "lair_worker._too_old"} & set(worker.call("modules"))


def _bare_modules():
    """What this interpreter loads for any ``python -m`` of a package."""
    import subprocess

    from host import INTERPRETER

    program = "import runpy, sys; print(*sys.modules)"
    return subprocess.run(
        [INTERPRETER, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
