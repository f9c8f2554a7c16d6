"""Adds up JUnit files: `summary.py DIR [STEP...]` prints the failed tests and steps, then the totals.

STEPs are steps that failed without a test result (a build, a linter); each counts as one failure.
The last line is `N passed, N failed`, with `, N skipped` where there were any. Exit status 1 on failure.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def main(folder: str, *failed_steps: str) -> int:
    passed, skipped, failures = 0, 0, [f"step: {step}" for step in failed_steps]
    for report in sorted(Path(folder).glob("*.xml")):
        for case in ET.parse(report).iter("testcase"):
            if (
                case.find("failure") is not None
                or case.find("error") is not None
                or case.get("status") == "fail"
            ):
                failures.append(f"{report.stem}: {case.get('classname')} {case.get('name')}")
            elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
                skipped += 1
            else:
                passed += 1
    for failure in failures:
        print(f"  failed  {failure}")
    if passed == 0 and not failures:
        print("no test ran")
        return 1
    print(f"{passed} passed, {len(failures)} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
