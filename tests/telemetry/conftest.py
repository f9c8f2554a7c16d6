"""What Prometheus itself says of Lair's metrics and alert rules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("LAIR_BIN_DIR", ROOT / "build/dev/bin")).resolve()

PROMTOOL = shutil.which("promtool", path=f"{ROOT}/.venv/bin:{os.environ['PATH']}")
if PROMTOOL is None:
    pytest.exit("promtool (of Debian's package prometheus) is missing: ./dev setup", returncode=2)
if not (BIN / "metrics_host_main").exists():
    pytest.exit(f"{BIN / 'metrics_host_main'} is missing: ./dev build, or set LAIR_BIN_DIR", returncode=2)


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    return subprocess.run([PROMTOOL, *arguments], input=stdin, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def page() -> str:
    """The metrics of a program with three pools, one of which has been through trouble."""
    done = subprocess.run([str(BIN / "metrics_host_main")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
