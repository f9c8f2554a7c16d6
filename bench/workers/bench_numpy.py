"""A worker that is slow to import and large in memory."""

import os

import lair_worker
import numpy


@lair_worker.command
def pid() -> int:
    return os.getpid()


@lair_worker.command
def dot() -> float:
    """Has numpy do something."""
    return float(numpy.ones(100) @ numpy.ones(100))


@lair_worker.command
def private_bytes() -> int:
    """What this process shares with no other."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        lines = [line.split() for line in file if line.startswith("Private_")]
    return 1024 * sum(int(line[1]) for line in lines)
