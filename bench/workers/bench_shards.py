"""The demo's work as a bare loop: one call walks a whole share of the files."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples"))

import code_metrics  # noqa: E402

__all__ = ["list_files", "measure_file", "measure_share"]

list_files = code_metrics.list_files


def measure_file(path: str):
    """One file; None where it is not Python."""
    try:
        return code_metrics.measure_file(path)
    except SyntaxError:
        return None


def measure_share(paths: list) -> int:
    for path in paths:
        measure_file(path)
    return len(paths)
