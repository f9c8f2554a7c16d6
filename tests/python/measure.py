"""Measures the SDK against a bare loop, and its start: python3 tests/python/measure.py [INTERPRETER]

Interleaved rounds, medians, ratio. The host is a C program, so that its own time does not hide the
difference. Not a test: pytest does not collect it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from host import Worker, worker_environment

HERE = Path(__file__).resolve().parent
WORKERS = HERE.parent / "workers"
VALUES = {
    "int": ("7", 4000),
    "small object": ('{"text":"a b c","top":5,"scores":[0.5,0.25]}', 4000),
    "1 KiB string": ("@1024", 4000),
    "64 KiB string": ("@65536", 1000),
    "3 MiB string": (f"@{3 << 20}", 40),
}


def rounds_of(host: str, python: str, prefix: list[str], value: str, calls: int, rounds: int):
    """Median round trips of (bare, SDK), one pair a round."""
    commands = ([python, str(WORKERS / "sdk_bare_loop.py")], [python, "-m", "lair_worker", "sdk_echo"])
    results = ([], [])
    for _ in range(rounds):
        for command, result in zip(commands, results):
            done = subprocess.run(
                [*prefix, host, str(calls), value, *command],
                env=worker_environment(),
                cwd=WORKERS,
                check=True,
                capture_output=True,
                text=True,
            )
            result.append(float(done.stdout.split()[0]))
    return results


def main() -> None:
    """Prints both tables."""
    python = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/python3"
    rounds = int(os.environ.get("ROUNDS", "20"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        host = os.path.join(folder, "host")
        subprocess.run(["cc", "-O2", "-o", host, str(HERE / "measure_host.c")], check=True)
        for where, prefix in (("pinned to one core", ["taskset", "-c", "0"]), ("unpinned", [])):
            for name, (value, calls) in VALUES.items():
                bare, sdk = rounds_of(host, python, prefix, value, calls, rounds)
                ratio = statistics.median(b / a for a, b in zip(bare, sdk))
                low, high = statistics.median(bare), statistics.median(sdk)
                print(f"{where:18}  {name:14}  bare {low:9.2f} us  SDK {high:9.2f} us  ratio {ratio:.2f}")
        measure_start(python, rounds)


def measure_start(python: str, rounds: int) -> None:
    """Spawn to READY, beside the life of an interpreter that does nothing."""
    bare, ready = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([python, "-c", "pass"], check=True)
        bare.append(time.perf_counter() - start)
        start = time.perf_counter()
        worker = Worker([python, "-m", "lair_worker", "sdk_echo"], cwd=WORKERS)
        worker.greet()
        ready.append(time.perf_counter() - start)
        worker.kill()
    print(f"start: python -c pass {statistics.median(bare) * 1e3:.1f} ms (with its end), ", end="")
    print(f"spawn to READY {statistics.median(ready) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
