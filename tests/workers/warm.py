"""Says what became of a worker that is forked from a warm parent."""

import ctypes
import gc
import os
import random
import signal
import sys
import time

import lair_worker
import warm_heavy


@lair_worker.on_start
def started():
    global STARTED_IN
    STARTED_IN = os.getpid()


@lair_worker.command
def describe():
    death = ctypes.c_int()
    subreaper = ctypes.c_int()
    libc = ctypes.CDLL(None)
    libc.prctl(2, ctypes.byref(death), 0, 0, 0)
    libc.prctl(37, ctypes.byref(subreaper), 0, 0, 0)
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "started_in": STARTED_IN,
        "death_signal": death.value,
        "subreaper": subreaper.value,
        "inherited": warm_heavy.FIRST,
        "random": random.random(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "cwd": os.getcwd(),
        "first_path": sys.path[0],
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": _descriptors(),
        "environment": {name: value for name, value in os.environ.items() if name[:5] in ("LAIR_", "WARM_")},
        "inherited_by_programs": sorted(
            line.split("=")[0] for line in _environ() if line[:5] in ("LAIR_", "WARM_")
        ),
        "argv": sys.argv[1:],
        "gc": gc.isenabled(),
        "usr1": signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL,
        "frozen": gc.get_freeze_count() > 0,
    }


def _descriptors():
    found = {int(fd) for fd in os.listdir("/proc/self/fd")}
    return sorted(fd for fd in found if os.path.exists(f"/proc/self/fd/{fd}"))  # not the listing's own


def _environ():
    """As a program that this process starts gets it."""
    import subprocess

    return subprocess.run(["env"], stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")


@lair_worker.command
def pid():
    return os.getpid()


@lair_worker.command
def nap(seconds):
    time.sleep(seconds)
