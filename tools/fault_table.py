"""Prints the rows that the fault tests have measured as one table: `fault_table.py FILE` (JSON lines).

Each bound allows for what the machine added, in brackets. Exit status 1 if a row is wrong or too slow.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def verdict(row: dict, time: dict | None) -> str:
    if row["outcome"] != "as expected":
        return "WRONG"
    if time is None:
        return "ok"
    if not row["valid"]:
        return "invalid"  # the machine was too busy to tell
    return "ok" if time["worst_ms"] <= time["bound_ms"] + allowance(row, time) else "TOO SLOW"


def allowance(row: dict, time: dict) -> float:
    return time["allowance_ms"]


def main(path: str) -> int:
    file = Path(path)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines]
    if not rows:
        print(f"{path}: no row was measured")
        return 1
    verdicts = []
    print(f"{'row':>3}  {'fault':<58} {'worst':>9}  {'bound (+ machine)':<22} times  verdict")
    for row in sorted(rows, key=lambda each: (each["row"], each["fault"])):
        for time in row["times"] or [None]:
            verdicts.append(verdict(row, time))
            head = f"{row['row']:>3}  {row['fault']:<58}"
            if time is None:
                facts = "; ".join(f"{what}: {value}" for what, value in row["facts"].items())
                print(f"{head} {'':>9}  {facts:<22} {'':>5}  {verdicts[-1]}")
                continue
            bound = f"{time['bound_ms']:.0f} ms (+ {allowance(row, time):.1f} ms)"
            print(f"{head} {time['worst_ms']:>6.1f} ms  {bound:<22} {time['times']:>5}  {verdicts[-1]}")
            print(f"     {'· ' + time['what']}")
    bad = sum(each in ("WRONG", "TOO SLOW") for each in verdicts)
    invalid = verdicts.count("invalid")
    note = f", {invalid} invalid: the machine was too busy" if invalid else ""
    print(f"{len(verdicts)} measured, {bad} bad{note}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
