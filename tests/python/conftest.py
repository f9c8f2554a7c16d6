"""Fixtures of the SDK's tests: workers made from a few lines of source, and gone when the test ends."""

from __future__ import annotations

import os
import sys
import textwrap

import pytest

from host import FEATURES, INTERPRETER, PYTHON_DIR, TRANSPORTS, Worker, has_native

sys.path.insert(0, str(PYTHON_DIR))


@pytest.fixture(scope="session", autouse=True)
def bytecode_beside_the_tree(tmp_path_factory):
    """Workers find the SDK compiled, and the source tree stays clean."""
    os.environ["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("pycache"))
    yield
    del os.environ["PYTHONPYCACHEPREFIX"]


@pytest.fixture(params=["T0", "T2"])
def tier(request):
    """T0: JSON, in Python alone. T2: MessagePack and the accelerator, where it has been built."""
    if request.param == "T2" and not has_native(INTERPRETER):
        pytest.skip("no accelerator for this interpreter: python/native/build.sh python/lair_worker PYTHON")
    return request.param


@pytest.fixture
def start(tmp_path, tier):
    """``start(source)`` runs ``python -m lair_worker mod`` on a module of that source.

    ``script=True`` runs the source itself as a script; ``argv`` replaces all after the interpreter.
    """
    workers = []

    def start(
        source="def echo(value): return value", *, script=False, argv=None, python=INTERPRETER, **options
    ):
        (tmp_path / "mod.py").write_text(textwrap.dedent(source), encoding="utf-8")
        if argv is None:
            argv = ["mod.py"] if script else ["-m", "lair_worker", "mod"]
        if tier == "T0":
            options["env"] = {"LAIR_NATIVE": "off", **(options.get("env") or {})}
        worker = Worker([python, *argv], cwd=tmp_path, **options)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def greeted(start):
    """``start`` and the protocol 2 handshake."""

    def greeted(source="def echo(value): return value", **options):
        worker = start(source, **options)
        worker.greet()
        return worker

    return greeted


@pytest.fixture
def full(start):
    """``start`` and a handshake that offers all features."""

    def full(source, concurrency=1, **options):
        worker = start(source, **options)
        worker.greet(features=FEATURES, concurrency=concurrency)
        return worker

    return full


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    """Each way to be connected."""
    return request.param
