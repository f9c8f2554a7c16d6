"""Fixtures: a test LM, and a worker of lair_dspy, in this process or in one of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / "python"),
    str(ROOT / "tests/lm"),
    str(ROOT / "tests/python"),
    str(Path(__file__).parent),
]
# Before lair_dspy is imported: no settings of whoever runs the tests, and no proxy between them and the LM.
for name in set(os.environ) - {"LAIR_LONG"}:
    if name.startswith(("LAIR_", "DSPY_", "OPENAI_")) or name.lower() in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        del os.environ[name]
sys.dont_write_bytecode = True

import lair_dspy  # noqa: E402, F401
import pytest  # noqa: E402
from lair_dspy import _dspy, _lm, _programs, _session_lm, _store, _worker  # noqa: E402
from lair_worker import testing  # noqa: E402
from server import LMServer  # noqa: E402

from support import KEY, Caller, Process  # noqa: E402

RULES = {
    "rules": [
        {"match": r"capital of (\w+)", "answer": {"answer": "$1ville", "score": 0.5}},
        {"match": "refuse", "fault": 401},
    ],
    "answer": {"answer": "nobody knows", "score": 0},
}


@pytest.fixture
def lm():
    """The test LM, at `lm.url`."""
    with LMServer(RULES) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_left():
    """Each test begins with a worker that knows nothing."""
    _store._drawers.clear()
    _programs.forget_all()
    _lm._made.clear()
    _lm._checked.clear()
    _session_lm.forget_all()
    _store.forget_remembered()
    _worker.reset()
    _dspy.dspy.cache.reset_memory_cache()


@pytest.fixture
def host():
    """Functions of the host, for a test to fill: `lookup`, `judge` and `score`."""
    return {}


def functions(host: dict) -> dict:
    """What a worker is given at its start, to find what the test has filled in by then."""

    def late(own: str):
        return lambda *args, **keywords: host[own](*args, **keywords)

    return {own: late(own) for own in ("lookup", "judge", "score")}


@pytest.fixture(params=["session", "anonymous"])
def worker(request, host):
    """A worker, called in a session and without one."""
    with testing.Worker(host=functions(host)) as found:
        yield Caller(found, "s1" if request.param == "session" else None)


@pytest.fixture
def plain(host):
    """A worker, called in a session."""
    with testing.Worker(host=functions(host)) as found:
        yield Caller(found, "s1")


@pytest.fixture
def ready(worker, lm):
    """`worker` with an LM."""
    worker.configure(lm)
    return worker


@pytest.fixture(scope="session")
def started(tmp_path_factory):
    """Worker processes that many tests share, by their concurrency: to import DSPy takes a while."""
    found: dict[int, Process] = {}

    def started(concurrency: int) -> Process:
        if concurrency not in found:
            found[concurrency] = Process(tmp_path_factory.mktemp("shared"), concurrency=concurrency)
        return found[concurrency]

    yield started
    for each in found.values():
        each.close()


@pytest.fixture
def shared(started):
    """`shared(concurrency)` is a worker process that knows nothing any more."""
    used = []

    def shared(concurrency: int = 1) -> Process:
        used.append(started(concurrency))
        return used[-1]

    yield shared
    for each in used:
        each.stores.clear()
        each.functions.clear()
        each.new_sessions()
        each.call("reset_state")


@pytest.fixture
def process(tmp_path, lm):
    """`process(...)` starts a worker process of the test's own; its home and directory are empty folders."""
    started = []

    def process(**options) -> Process:
        found = Process(tmp_path, **options)
        started.append(found)
        return found

    yield process
    for each in started:
        each.close()


__all__ = ["KEY"]
