"""Runs the real programs. After each test nothing that it started may be left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("LAIR_BIN_DIR", ROOT / "build/dev/bin")).resolve()
EXAMPLES = ROOT / "examples"
WORKERS = Path(__file__).parent / "workers"
PATIENCE = 30.0

# Programs inherit what is ignored, as under nohup.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

if not (BIN / "lair").exists():
    pytest.exit(f"{BIN / 'lair'} is missing: ./dev build, or set LAIR_BIN_DIR", returncode=2)


def eventually(condition, what: str, patience: float = PATIENCE):
    """Waits for a condition, not for a time."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {patience} s still not: {what}"
        time.sleep(0.005)


def default_signals() -> None:
    """What a shell gives to a program in the foreground, however the tests were started."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


class Programs:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = f"LAIR_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.env = {**os.environ, name: value}

    def start(self, *arguments, program="lair", env=None, **more) -> subprocess.Popen:
        return subprocess.Popen(
            [str(BIN / program), *map(str, arguments)],
            env={**self.env, **(env or {})},
            cwd=more.pop("cwd", self.directory),
            stdin=more.pop("stdin", subprocess.DEVNULL),
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=more.pop("stderr", subprocess.PIPE),
            preexec_fn=default_signals,
            **more,
        )

    def run(self, *arguments, stdin: bytes = b"", **more) -> subprocess.CompletedProcess:
        """Like subprocess.run; stdout and stderr are text."""
        process = self.start(*arguments, stdin=subprocess.PIPE, **more)
        try:
            out, err = process.communicate(stdin, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        text = (None if stream is None else stream.decode() for stream in (out, err))  # must be UTF-8
        return subprocess.CompletedProcess(arguments, process.returncode, *text)

    def left(self) -> list[str]:
        """The living processes with this test's mark in their environment."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found.append(f"{entry.name}: {(entry / 'cmdline').read_bytes()!r}")
            except OSError:  # it has just ended, or belongs to somebody else
                continue
        return found


@pytest.fixture
def programs(tmp_path):
    programs = Programs(tmp_path)
    yield programs
    eventually(lambda: not programs.left(), "every process has ended")


@pytest.fixture
def lair(programs):
    return programs.run
