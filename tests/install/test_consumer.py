"""A program of somebody else's is built against a moved tree, by CMake and by hand, and calls Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, VERSION, Tree, run

CONSUMER = Path(__file__).parent / "consumer"


def check(tree: Tree, done: subprocess.CompletedProcess) -> None:
    sdk = tree.prefix / "share/lair/python/lair_worker/__init__.py"
    assert done.stdout == f"{VERSION} 6 remote {sdk}\n", done.stderr


def configure(tree: Tree, build: Path, version: str, **more) -> subprocess.CompletedProcess:
    return run(
        "cmake", "-G", "Ninja", "-S", CONSUMER, "-B", build, f"-DCMAKE_PREFIX_PATH={tree.prefix}",
        f"-DWANTED_VERSION={version}", **more,
    )  # fmt: skip


def test_by_cmake(tree, module, tmp_path):
    build = tmp_path / "build"
    configure(tree, build, VERSION)
    run("cmake", "--build", build)
    check(tree, run(build / "consumer", module))


def test_by_pkg_config(tree, module, tmp_path):
    path = {"PKG_CONFIG_PATH": str(tree.libdir / "pkgconfig")}
    assert run("pkg-config", "--modversion", "lair", env=path).stdout.strip() == VERSION
    flags = run("pkg-config", "--cflags", "--libs", "lair", env=path).stdout.split()
    # What a static library needs is nobody's business where a shared one brings it.
    for library in ("-lspdlog", "-lsqlite3"):
        assert (library in flags) == (tree.build.name == "release")
    program = tmp_path / "consumer"
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
    run("g++", "-std=c++20", *warnings, CONSUMER / "main.cpp", "-o", program, *flags)
    env = {"LD_LIBRARY_PATH": str(tree.libdir)}
    check(tree, run(program, module, env=env))

    # Where the tree goes away, the program says what it misses and where it looked; the environment mends it.
    away = tree.prefix.with_name("away")
    tree.prefix.rename(away)
    try:
        if tree.build.name == "release":
            lost = run(program, module, check=False)
            assert lost.returncode == 1
            assert "lair-keeper" in lost.stderr and str(tree.prefix) in lost.stderr
            assert str(tree.build) not in lost.stderr
        env = {
            "LD_LIBRARY_PATH": str(away / tree.libdir.relative_to(tree.prefix)),
            "LAIR_KEEPER": str(away / "libexec/lair/lair-keeper"),
            "LAIR_SDK": str(away / "share/lair/python"),
        }
        sdk = away / "share/lair/python/lair_worker/__init__.py"
        assert run(program, module, env=env).stdout.endswith(f" {sdk}\n")
    finally:
        away.rename(tree.prefix)


def test_by_cmake_a_version_that_does_not_fit_is_refused(tree, tmp_path):
    major, minor, _ = VERSION.split(".")
    wrong = configure(tree, tmp_path / "build", f"{major}.{int(minor) + 1}", check=False)
    assert wrong.returncode != 0
    assert "not find a configuration file" in wrong.stderr and f"version: {VERSION}" in wrong.stderr


def test_as_a_subdirectory(tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        f'cmake_minimum_required(VERSION 3.25)\nproject(host LANGUAGES CXX)\n'
        f'add_subdirectory("{ROOT}" lair)\n'
        "file(WRITE ${CMAKE_BINARY_DIR}/main.cpp)\nadd_executable(host ${CMAKE_BINARY_DIR}/main.cpp)\n"
        "target_link_libraries(host PRIVATE lair::lair)\n"
    )
    run("cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build")
    targets = run("cmake", "--build", tmp_path / "build", "--target", "help").stdout
    assert "lair-keeper: phony" in targets
    assert "lair-cli" not in targets  # and so needs no CLI11


def test_the_programs_of_a_moved_tree(tree, module):
    done = tree.lair("call", "--module", module, "where")
    assert done.stdout == f'"{tree.prefix}/share/lair/python/lair_worker/__init__.py"\n'
    assert tree.lair("--version").stdout == f"lair {VERSION}\n"
    doctor = json.loads(tree.lair("doctor", "--json").stdout)
    places = {check["name"]: check["facts"].get("path") for check in doctor["checks"]}
    assert places["lair-keeper"] == str(tree.prefix / "libexec/lair/lair-keeper")
    assert places["SDK"] == str(tree.prefix / "share/lair/python")
    demo = tree.lair("demo", "--files", "8", "--json")
    assert '"files"' in demo.stdout


def test_a_tree_holds_what_it_should_and_no_more(tree):
    found = tree.files
    assert {"bin/lair", "libexec/lair/lair-keeper", "share/lair/python/lair_worker/py.typed"} <= found
    assert "share/lair/python/lair_dspy/commands.py" in found
    headers = {f"include/lair/{path.name}" for path in (ROOT / "include/lair").iterdir()}
    assert headers == {name for name in found if name.startswith("include/")}
    assert not [name for name in found if "__pycache__" in name or "/tests/" in name]
    for path in tree.libdir.rglob("*"):
        if path.suffix in (".cmake", ".pc"):
            assert str(tree.installed_at) not in path.read_text(), path


def test_without_a_part_the_error_says_which(tree, module, tmp_path):
    """A copy of the program alone finds the rest nowhere; each part is named with what would mend it."""
    if tree.build.name == "shared" and Path("/usr/libexec/lair").exists():
        pytest.skip("another Lair is installed in /usr, and would be found")
    alone = tmp_path / "bin" / "lair"
    alone.parent.mkdir()
    shutil.copy(tree.prefix / "bin/lair", alone)
    done = run(alone, "call", "--module", module, "where", check=False)
    assert done.returncode == 6
    assert "lair-keeper" in done.stderr and str(tmp_path / "libexec/lair") in done.stderr
    keeper = {"LAIR_KEEPER": str(tree.prefix / "libexec/lair/lair-keeper")}
    done = run(alone, "call", "--module", module, "where", check=False, env=keeper)
    assert done.returncode == 6
    assert "LAIR_SDK" in done.stderr and str(tmp_path / "share/lair/python") in done.stderr
