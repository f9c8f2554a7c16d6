"""The project keeps its own rules; and every public header compiles alone, twice, without a warning."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import rules

ROOT = Path(__file__).resolve().parents[2]
HEADERS = sorted(path.name for path in (ROOT / "include/lair").glob("*.hpp"))


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_project_keeps_the_rule(rule):
    findings = list(rule(ROOT))
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize("header", HEADERS)
def test_public_header_stands_alone(header):
    include = f"#include <lair/{header}>\n"
    flags = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
    command = ["g++", *flags, f"-I{ROOT}/include", "-x", "c++", "-"]
    compiled = subprocess.run(command, input=include * 2, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr


def test_the_forward_header_is_light():
    command = ["g++", "-std=c++20", "-E", f"-I{ROOT}/include", "-x", "c++", "-"]
    done = subprocess.run(
        command, input="#include <lair/fwd.hpp>\n", capture_output=True, text=True, check=True
    )
    for heavy in ("nlohmann", "<string>", "/string", "/vector", "/functional", "/memory"):
        assert heavy not in done.stdout, f"lair/fwd.hpp includes {heavy}"


def test_the_forward_header_agrees_with_the_others():
    source = "".join(
        f"#include <lair/{header}>\n" for header in ["fwd.hpp", "async.hpp", "pool.hpp", "testing.hpp"]
    )
    command = [
        "clang++-14",
        "-std=c++20",
        "-fsyntax-only",
        "-Wmismatched-tags",
        "-Werror",
        f"-I{ROOT}/include",
    ]
    compiled = subprocess.run(
        [*command, "-x", "c++", "-"], input=source, capture_output=True, text=True, check=False
    )
    assert compiled.returncode == 0, compiled.stderr
