"""Other interpreters, where they are installed: the ones that work, and the ones that are too old."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
import sysconfig

import pytest

from host import PYTHON_DIR, worker_environment
from interpreters import SUPPORTED, TOO_OLD, interpreter

PACKAGE = PYTHON_DIR / "lair_worker"
NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}  # the oldest know no folder for it but the source tree


SOURCE = """
    from __future__ import annotations
    import typing
    import lair_worker as lair

    @lair.on_start
    def warm(): print("warm")

    @lair.command
    def pair(a: int, b: typing.Optional[str] = None, *, c=1.5) -> list:
        "Pairs."
        return [a, b, c]

    @lair.command
    def boom(): raise ValueError("x")
    @lair.command
    def nan(): return {"a": [float("nan")]}
    @lair.command
    def about(): return lair.context().session_id
    @lair.command
    def endless(): return endless()
"""


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_supported_python_serves(start, transport, version):
    worker = start(SOURCE, transport=transport, python=interpreter(version))
    result = worker.greet()
    assert result["python"].startswith(version + ".")
    pair = result["lair"]["commands"][0]
    assert pair["doc"] == "Pairs." and [each.get("annotation") for each in pair["params"]] == [
        "int",
        "typing.Optional[str]",
        None,
    ]
    assert worker.call("pair", a=1, b="é", c=2) == [1, "é", 2]
    assert worker.fail("pair")["kind"] == "invalid_argument"
    assert worker.fail("boom")["type"] == "ValueError"
    assert "result.a[0] is NaN" in worker.fail("nan")["message"]
    assert worker.fail("endless")["type"] == "RecursionError"
    assert worker.exchange("about", [], session="s")[1] == "s"
    worker.close_channel()
    assert worker.wait() == 0


@pytest.mark.parametrize("version", TOO_OLD)
@pytest.mark.parametrize("how", ["module", "script"])
def test_a_python_that_is_too_old_says_so_on_the_channel(start, version, how):
    source = "import lair_worker as lair\ndef f(): pass\nlair.serve()\n"
    worker = start(source, script=how == "script", python=interpreter(version), env=NO_BYTECODE)
    reply = worker.handshake(worker.offer())
    assert reply["id"] == 0 and reply["success"] is False
    assert reply["stage"] == "environment" and reply["permanent"] is True
    assert "3.9 or newer" in reply["error"] and version in reply["error"]
    assert "3.9 or newer" in worker.expect_end(1)


@pytest.mark.parametrize("version", TOO_OLD[1:])
@pytest.mark.parametrize("transport", ["stdio-socket", "stdio-pipe"])
def test_a_python_that_is_too_old_says_so_on_stdio(start, version, transport):
    worker = start("def f(): pass", transport=transport, python=interpreter(version), env=NO_BYTECODE)
    assert "3.9 or newer" in worker.request("f")["error"]
    assert "3.9 or newer" in worker.expect_end(1)


@pytest.mark.parametrize("version", TOO_OLD)
def test_a_library_import_on_an_old_python_is_an_import_error(version):
    program = "try:\n    import lair_worker\nexcept ImportError as error:\n    print(error)\n"
    command = [interpreter(version), "-c", program]
    done = subprocess.run(
        command,
        env=worker_environment(**NO_BYTECODE),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "3.9 or newer" in done.stdout


def test_files_that_old_pythons_read_keep_to_old_syntax():
    """The check behind the tests above, for machines without those interpreters."""
    for name in ("__init__.py", "_too_old.py"):
        source = (PACKAGE / name).read_text()
        tree = ast.parse(source, feature_version=(3, 4))
        for node in ast.walk(tree):
            assert not isinstance(
                node, (ast.JoinedStr, ast.AnnAssign, ast.AsyncFunctionDef, ast.NamedExpr)
            ), name
            if isinstance(node, ast.FunctionDef):
                assert node.returns is None and not node.args.kwonlyargs and not node.args.posonlyargs, name
        assert "from __future__" not in source and not re.search(r"[^\x00-\x7f]", source), name


def test_nothing_newer_than_python_39_is_used():
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        assert not any(type(node).__name__ in ("Match", "TryStar") for node in ast.walk(tree)), path.name


def find_standard_modules():
    folder = sysconfig.get_path("stdlib")
    found = pkgutil.iter_modules([folder, f"{folder}/lib-dynload"])
    return [*sys.builtin_module_names, *(each.name for each in found)]


def test_only_the_standard_library_is_imported():
    known = getattr(sys, "stdlib_module_names", None)  # from Python 3.10 on
    allowed = set(known or find_standard_modules()) | {"lair_worker", "annotationlib"}
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] in allowed, f"{path.name} imports {name}"


def test_files_tell_one_story():
    for path in PACKAGE.glob("*.py"):
        assert len(path.read_text().splitlines()) < 400, path.name


def test_the_version_is_the_packages():
    text = (PYTHON_DIR / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"$', text, re.M).group(1)
    assert f'__version__ = "{version}"' in (PACKAGE / "__init__.py").read_text()


def test_all_places_name_the_same_versions():
    project = (PYTHON_DIR / "pyproject.toml").read_text()
    assert re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project) == SUPPORTED
    oldest = SUPPORTED[0]
    says = {
        "python/pyproject.toml": f'requires-python = ">={oldest}"',
        "python/lair_worker/_too_old.py": f'OLDEST = "{oldest}"',
        "apps/lair/doctor_programs.cpp": f"workers need Python {oldest} or newer",
        "cmake/LairPackage.cmake": f"python3 (>= {oldest})",
        "docs/python.md": f"Python {oldest} or newer",
        "docs/config.md": f"Python {oldest} or newer",
        "README.md": f"Python {oldest} or newer",
    }
    for name, words in says.items():
        assert words in (PYTHON_DIR.parent / name).read_text("utf-8"), name
    doctor = (PYTHON_DIR.parent / "apps/lair/doctor_programs.cpp").read_text()
    assert f"minor < {oldest.partition('.')[2]}" in doctor
