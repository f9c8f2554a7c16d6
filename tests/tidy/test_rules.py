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
