"""The wheels of lair_worker and lair_dspy: built without the network, installed, run."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import DSPY_FILES, ENVIRONMENT, PATIENCE, ROOT, SDK_FILES, VERSION, run


def built(folder: Path, project: str, **env: str) -> Path:
    """The wheel of a project in python/."""
    # A copy, because setuptools builds beside the sources.
    shutil.copytree(ROOT / "python", folder / "python", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index",
        "--no-build-isolation", "--no-deps", "--wheel-dir", folder, folder / project, env=env)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"), "python")


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of a new virtual environment that has the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    run("/usr/bin/python3", "-m", "venv", "--without-pip", folder)
    python = folder / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check",
        "--no-index", wheel)  # fmt: skip
    return python


def test_it_is_pure_python_of_the_librarys_version(wheel):
    assert wheel.name == f"lair_worker-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"lair_worker-{VERSION}.dist-info/METADATA").decode()
    assert {f"lair_worker/{name}" for name in SDK_FILES} == {n for n in names if n.startswith("lair_worker/")}
    assert "Requires-Python: >=3.9" in metadata and "License-Expression: Apache-2.0" in metadata
    assert "Requires-Dist" not in metadata


def test_it_has_the_accelerator_if_asked(tmp_path):
    wheel = built(tmp_path, "python", LAIR_NATIVE="on")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    program = "from lair_worker import _codec; print(_codec.native.unpack(_codec.native.pack([1, 'a'])))"
    done = run(sys.executable, "-c", program, cwd=tmp_path / "unpacked")
    assert done.stdout == "[1, 'a']\n"


def test_that_of_lair_dspy_is_another_and_asks_for_dspy(tmp_path):
    wheel = built(tmp_path, "python/lair_dspy")
    assert wheel.name == f"lair_dspy-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"lair_dspy-{VERSION}.dist-info/METADATA").decode()
    assert {f"lair_dspy/{name}" for name in DSPY_FILES} == {n for n in names if n.startswith("lair_dspy/")}
    assert "Requires-Dist: lair-worker" in metadata and "Requires-Dist: dspy<4,>=3.4" in metadata


def test_it_says_the_librarys_version(python):
    program = "import lair_worker; print(lair_worker.__version__, lair_worker.__file__)"
    version, place = run(python, "-c", program, cwd="/").stdout.split()
    assert version == VERSION
    assert Path(place).is_relative_to(python.parent.parent)


def test_it_serves_a_module(python, module):
    def frame(message: dict) -> bytes:
        text = json.dumps(message).encode()
        return struct.pack(">I", len(text)) + text

    calls = [("count_words", {"text": "a b c"}), ("where", {}), ("shutdown", {})]
    done = subprocess.run(
        [python, "-m", "lair_worker", "words"],
        input=b"".join(frame({"id": i, "command": c, "args": a}) for i, (c, a) in enumerate(calls)),
        capture_output=True,
        cwd=module.parent,
        env=ENVIRONMENT,
        timeout=PATIENCE,
    )
    replies, rest = [], done.stdout
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        replies.append(json.loads(rest[4 : 4 + length]))
        rest = rest[4 + length :]
    assert [reply["success"] for reply in replies] == [True] * 3, done.stderr
    assert replies[0]["result"] == 3
    assert Path(replies[1]["result"]).is_relative_to(python.parent.parent)
    assert done.returncode == 0
