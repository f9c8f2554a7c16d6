"""Calls and starts that take a known time."""

import os
import platform
import sys
import time

import lair_worker

time.sleep(float(os.environ.get("BENCH_IMPORT", "0")))


@lair_worker.on_start
def warm_up():
    time.sleep(float(os.environ.get("BENCH_WARM_UP", "0")))


@lair_worker.command
def empty():
    """What a call costs by itself."""


@lair_worker.command
def add(a, b):
    return a + b


@lair_worker.command
def same(value):
    return value


@lair_worker.command
def nap(seconds: float):
    time.sleep(seconds)


@lair_worker.command
def interpreter() -> str:
    return sys.executable


@lair_worker.command
def version() -> str:
    return platform.python_version()


@lair_worker.command
def codec() -> str:
    from lair_worker import _codec

    return _codec.name


@lair_worker.command
def cpu_seconds() -> float:
    """What this process has used so far, its start included."""
    return time.process_time()
