"""The interpreters that are installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

SUPPORTED = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]
TOO_OLD = ["2.7", "3.6", "3.7", "3.8"]
FREE_THREADED = ["3.13t", "3.14t"]  # without the lock


@lru_cache(maxsize=32)
def interpreter(version: str) -> str:
    """A real interpreter of that version, on PATH or in pyenv; the test is skipped without one."""
    candidates = [shutil.which(f"python{version}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    number, free = version.rstrip("t"), version[len(version.rstrip("t")) :]
    candidates += sorted(pyenv.glob(f"{number}.*{free}/bin/python"))
    program = "import sys; f = getattr(sys, 'abiflags', ''); v = sys.version_info[:2];"
    program += "print('%d.%d' % v + ('t' if v >= (3, 13) and 't' in f else '') + ' ' + sys.executable)"
    for candidate in filter(None, candidates):
        done = subprocess.run([str(candidate), "-c", program], capture_output=True, text=True)
        found, _, path = done.stdout.strip().partition(" ")
        if done.returncode == 0 and found == version:
            return path
    pytest.skip(f"no Python {version} here")
