"""How many instructions the hot path takes: counted by callgrind, where times would say little.

python tests/counts/count.py            what they are now, beside those of counts.json
python tests/counts/count.py --record   writes them there
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECORDED = HERE / "counts.json"
PROGRAM = Path(os.environ.get("LAIR_BIN_DIR", ROOT / "build/release/bin")).resolve() / "lair-hot-path"


def recorded() -> dict[str, int]:
    """Instructions, by case."""
    return json.loads(RECORDED.read_text())


def count(case: str) -> int:
    """Of doing it once, in the thread that does it; in the kernel none are counted."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no",
                   "--toggle-collect=counted", PROGRAM, case]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"{PROGRAM} {case} exited with {done.returncode}:\n{done.stderr}")
        total = re.search(r"^totals: (\d+)$", out.read_text(), re.MULTILINE)
        assert total, "callgrind has written no total"
        return round(int(total[1]) / int(done.stdout))


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--record"]):
        print(__doc__, file=sys.stderr)
        return 2
    before = recorded()
    now = {case: count(case) for case in before}
    for case, instructions in now.items():
        change = 100 * (instructions / before[case] - 1) if before[case] else 0.0
        print(f"{case:22}{instructions:9}{change:+9.1f} %")
    if arguments:
        RECORDED.write_text(json.dumps(now, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
