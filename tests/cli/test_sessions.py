"""lair call in a session: what it keeps, and what is refused before there is a worker."""

from __future__ import annotations

import json

import pytest

MODULE = """
import pathlib
import lair_worker as lair

pathlib.Path("started").touch()


@lair.command
def whoami():
    session = lair.context().session
    return None if session is None else [session.id, session.affinity]


@lair.command
def visit():
    shared = lair.context().session.shared
    count = shared.get("count", 0) + 1
    shared["count"] = count
    return count


@lair.command
def keep():
    lair.context().session.local["key"] = 1
"""


@pytest.fixture
def call(lair, tmp_path):
    (tmp_path / "visits.py").write_text(MODULE)

    def run(*arguments):
        return lair("call", "--module", tmp_path / "visits.py", *arguments, cwd=tmp_path)

    return run


def test_a_call_is_in_the_session_that_is_named(call):
    assert call("whoami").stdout == "null\n"
    assert json.loads(call("--session", "user-42", "whoami").stdout) == ["user-42", "prefer"]
    for affinity in ("prefer", "strict", "exclusive"):
        done = call("--session", "s", "--affinity", affinity, "whoami")
        assert json.loads(done.stdout) == ["s", affinity]


def test_values_last_in_a_file(call, tmp_path):
    store = ("--set", f"session_store={tmp_path / 'sessions.db'}")
    assert [call(*store, "--session", "s", "visit").stdout for _ in range(3)] == ["1\n", "2\n", "3\n"]
    assert call(*store, "--session", "other", "visit").stdout == "1\n"
    assert call("--session", "s", "visit").stdout == "1\n", "without it they end with the program"


def test_objects_are_for_lasting_sessions(call):
    assert call("--session", "s", "--affinity", "strict", "keep").returncode == 0
    done = call("--session", "s", "keep")
    assert done.returncode == 3
    assert "session.shared" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--session", "", "whoami"], ["id", "empty"]),
        (["--session", "x" * 257, "whoami"], ["id", "257 bytes"]),
        (["--session", "s", "--affinity", "sticky", "whoami"], ["--affinity", "sticky"]),
        (["--affinity", "strict", "whoami"], ["--affinity", "--session"]),
        (["--set", "session_ttl=0", "--session", "s", "whoami"], ["session_ttl"]),
        (["--set", "session_store=/", "--session", "s", "whoami"], ["session"]),
    ],
)
def test_what_is_wrong_is_refused_without_a_worker(call, tmp_path, arguments, words):
    done = call(*arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr
    assert not (tmp_path / "started").exists()
