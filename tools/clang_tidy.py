"""Runs clang-tidy over the compiled files below some folders: `clang_tidy.py BUILD [-j N] FOLDER...`.

A file that passed is not looked at again until it, a header of this project that it includes, its flags or
.clang-tidy change: the proof is an empty file in ~/.cache/lair-clang-tidy, named by the hash of all of these.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Outside the tree, as ccache's: a fresh clone on the same machine profits.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lair-clang-tidy"
TIDY = "clang-tidy-14"
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def project_files(source: Path, seen: set[Path]) -> set[Path]:
    """The source and all headers of this project that it includes, directly or not."""
    if source in seen:
        return seen
    seen.add(source)
    for name in INCLUDE.findall(source.read_text(encoding="utf-8")):
        for folder in (source.parent, ROOT / "src", ROOT / "include", ROOT / "tests"):
            if (folder / name).is_file():
                project_files((folder / name).resolve(), seen)
                break
    return seen


def fingerprint(source: Path, command: str) -> str:
    digest = hashlib.sha256(command.encode())
    for path in [ROOT / ".clang-tidy", *sorted(project_files(source, set()))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check(build: Path, source: Path, command: str) -> tuple[Path, str]:
    """Empty text: it passed."""
    proof = CACHE / fingerprint(source, command)
    if proof.exists():
        return source, ""
    run = subprocess.run(
        [TIDY, "--quiet", "-p", str(build), str(source)], capture_output=True, text=True, check=False
    )
    if run.returncode == 0:
        proof.touch()
        return source, ""
    return source, run.stdout or run.stderr


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("build", type=Path)
    arguments.add_argument("folders", nargs="+")
    arguments.add_argument("-j", type=int, default=2, dest="jobs")
    given = arguments.parse_args()

    CACHE.mkdir(parents=True, exist_ok=True)
    folders = tuple(f"{ROOT / folder}/" for folder in given.folders)
    entries = json.loads((given.build / "compile_commands.json").read_text(encoding="utf-8"))
    commands = {entry["file"]: entry["command"] for entry in entries if entry["file"].startswith(folders)}
    failed = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        checks = pool.map(lambda item: check(given.build, Path(item[0]), item[1]), sorted(commands.items()))
        for source, findings in checks:
            if findings:
                failed += 1
                print(f"{source.relative_to(ROOT)}:\n{findings}")
    print(f"{len(commands)} files, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
