"""The hot path takes as many instructions as it did when they were last recorded."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from count import PROGRAM, count, recorded

# In per cent: what another build of the C library's changes without anybody having done anything.
TOLERANCE = 3.0

if shutil.which("valgrind") is None:
    pytest.exit("valgrind (of Debian's package valgrind) is missing: ./dev setup", returncode=2)
if not PROGRAM.exists():
    pytest.exit(f"{PROGRAM} is missing: ./dev build release, or set LAIR_BIN_DIR", returncode=2)


@pytest.mark.parametrize("case", recorded())
def test_it_takes_as_many_instructions_as_recorded(case):
    before, now = recorded()[case], count(case)
    change = 100 * (now / before - 1)
    assert abs(change) <= TOLERANCE, (
        f"{case} takes {now} instructions, recorded are {before} ({change:+.1f} %). If that is meant: "
        "python tests/counts/count.py --record"
    )


def test_all_cases_are_recorded():
    known = subprocess.run([PROGRAM], capture_output=True, text=True).stderr.split("\n  ")[1:]
    assert sorted(case.strip() for case in known) == sorted(recorded())
