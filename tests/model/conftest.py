"""Spin: from the model to a verdict, and to a story if it is a bad one."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODEL = "pool.pml"
TRAIL_LINES = 60
PATIENCE = 1800.0

for tool in ("spin", "gcc"):
    if shutil.which(tool) is None:
        pytest.exit(f"{tool} (of Debian's package {tool}) is missing: ./dev setup", returncode=2)


@dataclass
class Verdict:
    errors: int
    complete: bool
    states: int
    output: str
    story: str  # of the first error: what led to it

    def unreached(self) -> list[str]:
        return re.findall(r"^\t.*state \d+, (.*)$", self.output, re.MULTILINE)

    def __str__(self) -> str:
        return f"{self.output}\n{self.story}"


class Spin:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def verify(self, *bounds: str, flags: tuple[str, ...], megabytes: int = 1500) -> Verdict:
        """Searches all that can happen within these bounds ("DEATHS=1"), or until something is wrong."""
        defines = [f"-D{bound}" for bound in bounds]
        for source in HERE.glob("*.pml"):
            shutil.copy(source, self.folder)
        self.run("spin", "-a", *defines, MODEL)
        self.run("gcc", "-w", "-DSAFETY", f"-DMEMLIM={megabytes}", *flags, "-o", "pan", "pan.c")
        output = self.run("./pan", "-m100000")
        errors = int(re.search(r"errors: (\d+)", output)[1])
        states = int(float(re.search(r"([\d.e+]+) states, stored", output)[1]))
        cut_short = re.search(r"Search not completed|max search depth|out of memory|memory limit", output)
        story = self.story(defines) if errors else ""
        return Verdict(errors, not errors and not cut_short, states, output, story)

    def story(self, defines: list[str]) -> str:
        """What led to the error: the events, the last statements, and the values then that are not zero."""
        events = self.run("spin", "-t", *defines, MODEL).partition("spin: trail ends")[0]
        trail = self.run("spin", "-t", "-p", *defines, MODEL)
        steps, _, values = trail.partition("spin: trail ends")
        dull = ("[IF]", "[DO]", "[(1)]", "[else]", "[.(goto)]", "[break]", "[sub-sequence]")
        acts = [line for line in steps.splitlines() if not line.endswith(dull) and "[goto " not in line]
        return "\n".join(
            [
                "The events (callers by number, workers by slot.generation):",
                *events.splitlines()[-TRAIL_LINES:],
                "The last statements:",
                *acts[-TRAIL_LINES:],
                "The values then:",
                *(line for line in values.splitlines() if not line.endswith(" = 0")),
            ]
        )


@pytest.fixture
def spin(tmp_path) -> Spin:
    return Spin(tmp_path)
