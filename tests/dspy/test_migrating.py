"""The program of docs/migrating.md that needs DSPy prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

from support import ROOT

PROGRAM = ROOT / "build/release/bin/migrate_programs"


def test_it_prints_what_the_page_says(lm):
    lm.set_rules({"answer": {"answer": "Paris"}})
    done = subprocess.run([PROGRAM, lm.url, sys.executable], capture_output=True, text=True, timeout=300)
    page = (ROOT / "docs/migrating.md").read_text(encoding="utf-8")
    below = page.split("<!-- examples/migrate_programs.cpp -->", 1)[1]
    assert done.stdout == textwrap.dedent(re.search(r"it prints\n\n((?:    .*\n)+)", below)[1]), done.stderr
    assert lm.keys() == {"key-of-ann": 1}
