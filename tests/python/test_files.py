"""A host that asks for them is told the files of the worker's code; others are not."""

from __future__ import annotations

import pytest

from host import ERROR, READY

HELPED = """
import json
import lair_worker
import helper

@lair_worker.command
def f():
    return 1

@lair_worker.on_start
def late():
    import package.part
"""


@pytest.fixture
def modules(tmp_path):
    (tmp_path / "helper.py").write_text("x = 1\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text("")
    (tmp_path / "package/part.py").write_text("y = 1\n")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages/installed.py").write_text("z = 1\n")
    return tmp_path


def asked(worker):
    return worker.offer(features=["files"])


def test_its_own_and_what_it_imports_also_in_on_start(start, modules):
    worker = start("import sys; sys.path.append('site-packages')\nimport installed\n" + HELPED)
    assert worker.handshake(asked(worker))["success"] is True
    kind, number, _, told = worker.receive()
    assert (kind, number) == (READY, 0)
    names = ["mod.py", "helper.py", "package/__init__.py", "package/part.py"]
    assert sorted(told["files"]) == sorted(str(modules / name) for name in names)
    assert worker.call("f") == 1


def test_nobody_is_told_without_asking(start, modules):
    worker = start(HELPED)
    assert "files" not in worker.handshake(worker.offer())
    assert worker.receive() == [READY, 0, worker.generation]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import broken", ["mod.py", "broken.py"]),
        ("import helper\nimport nowhere_to_be_found", ["mod.py", "helper.py"]),
        ("def f(:", ["mod.py"]),
    ],
)
def test_a_module_that_fails_is_named_with_what_it_imported(start, modules, source, named):
    (modules / "broken.py").write_text("def f(:\n")
    worker = start(source)
    reply = worker.handshake(asked(worker))
    assert reply["success"] is False
    assert sorted(reply["files"]) == sorted(str(modules / name) for name in named)
    assert "files" not in start(source).handshake(worker.offer())


def test_an_on_start_that_fails_names_them_too(start, modules):
    worker = start(HELPED + "    raise RuntimeError('no model')\n")
    worker.handshake(asked(worker))
    kind, _, _, failure = worker.receive()
    assert kind == ERROR and failure["stage"] == "warm_up"
    assert str(modules / "package/part.py") in failure["files"]


def test_a_module_that_waits_for_its_first_use_is_not_loaded(start, modules):
    worker = start(
        "import importlib.util, sys\n"
        "spec = importlib.util.find_spec('helper')\n"
        "spec.loader = importlib.util.LazyLoader(spec.loader)\n"
        "lazy = importlib.util.module_from_spec(spec)\n"
        "sys.modules['helper'] = lazy\n"
        "spec.loader.exec_module(lazy)\n"
        "del lazy\n"
        "def f():\n    return type(sys.modules['helper']).__name__\n"
    )
    worker.handshake(asked(worker))
    assert str(modules / "helper.py") in worker.receive()[3]["files"]
    assert worker.call("f") == "_LazyModule"
