"""The programs of docs/migrating.md run, and print what the page says."""

from __future__ import annotations

import re
import textwrap

import pytest
from conftest import ROOT

PAGE = (ROOT / "docs/migrating.md").read_text(encoding="utf-8")
NEEDS_DSPY = "migrate_programs"  # tests/dspy/test_migrating.py


def printed(name: str) -> str:
    """What the page says that a program prints: the indented lines after "it prints"."""
    below = PAGE.split(f"<!-- examples/{name}.cpp -->", 1)[1]
    return textwrap.dedent(re.search(r"it prints\n\n((?:    .*\n)+)", below, re.IGNORECASE)[1])


PROGRAMS = set(re.findall(r"<!-- examples/(\w+)\.cpp -->", PAGE)) - {NEEDS_DSPY}


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_it_prints_what_the_page_says(lair, name):
    done = lair(program=name)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed(name), done.stderr
