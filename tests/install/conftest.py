"""Installed trees: made from the builds `release`, `shared` and `package`, then moved."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "include/lair/version.hpp").read_text().splitlines()
    if "LAIR_VERSION_STRING" in line
)
SDK_FILES = {p.name for p in (ROOT / "python/lair_worker").iterdir() if p.suffix in (".py", ".typed")}
DSPY_FILES = {p.name for p in (ROOT / "python/lair_dspy").iterdir() if p.suffix in (".py", ".typed")}
PATIENCE = 300.0
# What calls from outside must work with: no LAIR_KEEPER, no LAIR_SDK, no PYTHONPATH.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("LAIR_", "PYTHON", "CMAKE_", "PKG_CONFIG"))
}


def run(*command, check=True, **more) -> subprocess.CompletedProcess:
    """Runs a program to its end; one that fails fails the test with everything that it wrote."""
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**ENVIRONMENT, **more.pop("env", {})},
        **more,
    )
    if check and done.returncode != 0:
        shown = " ".join(map(str, command))
        pytest.fail(f"{shown}\nstatus {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done


def build_of(preset: str) -> Path:
    folder = BUILD / preset
    if not (folder / "bin/lair").exists():
        pytest.fail(f"{folder} is not built: ./dev build {preset}", pytrace=False)
    return folder


class Tree:
    """An installed Lair that no longer lies where it was installed."""

    def __init__(self, preset: str, folder: Path) -> None:
        self.build = build_of(preset)
        self.installed_at = folder / "first"
        self.prefix = folder / "elsewhere" / "lair"
        run("cmake", "--install", self.build, "--prefix", self.installed_at, "--strip")
        self.files = {
            path.relative_to(self.installed_at).as_posix()
            for path in self.installed_at.rglob("*")
            if not path.is_dir()
        }
        self.prefix.parent.mkdir()
        self.installed_at.rename(self.prefix)
        # lib, or lib/x86_64-linux-gnu where /usr is configured
        self.libdir = next(self.prefix.glob("lib/**/pkgconfig")).parent

    def lair(self, *arguments, **more) -> subprocess.CompletedProcess:
        return run(self.prefix / "bin/lair", *arguments, **more)


@pytest.fixture(scope="session", params=["release", "shared"], ids=["static", "shared"])
def tree(request, tmp_path_factory) -> Tree:
    return Tree(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> dict[str, Path]:
    """The Debian packages, by name."""
    folder = tmp_path_factory.mktemp("packages")
    run("cpack", "-G", "DEB", "-B", folder, cwd=build_of("package"))
    shutil.rmtree(folder / "_CPack_Packages", ignore_errors=True)
    return {path.name.split("_")[0]: path for path in folder.glob("*.deb")}


@pytest.fixture
def module(tmp_path) -> Path:
    """A worker's module, which says as well which SDK serves it."""
    path = tmp_path / "words.py"
    path.write_text(
        "import sys\n"
        "def count_words(text: str) -> int: return len(text.split())\n"
        "def where() -> str: return sys.modules['lair_worker'].__file__\n"
    )
    return path
