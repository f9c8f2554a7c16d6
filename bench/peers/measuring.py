"""What the peers that are pools of a Python program share: what they call, and how they measure it."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter

Call = Callable  # of one of the functions below, with its arguments; gives what that returns


def empty():
    pass


def same(value):
    return value


FLOATS = [math.sqrt(i) for i in range(10_000)]
WORK = {"empty": (empty,), "floats": (same, FLOATS)}


def measure(call: Call, callers: int, calls: int, work: str) -> tuple[float, float]:
    tickets = iter(range(calls))
    latencies: list[list[float]] = [[] for _ in range(callers)]
    start = threading.Barrier(callers + 1)
    what = WORK[work]

    def run(mine: list[float]) -> None:
        start.wait()
        for _ in tickets:  # under the GIL, next() of a range iterator is atomic
            began = perf_counter()
            call(*what)
            mine.append(perf_counter() - began)

    threads = [threading.Thread(target=run, args=(mine,)) for mine in latencies]
    for thread in threads:
        thread.start()
    start.wait()
    began = perf_counter()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - began
    return calls / seconds, statistics.median(itertools.chain(*latencies)) * 1e6


def serve(start: Callable[[int], Call], sizes: list[str]) -> None:
    """Starts a pool of each size, then answers each line "SIZE CALLERS CALLS WORK" on stdin with
    "calls/s p50-in-µs": so many calls, from so many threads. Until the next line it does nothing; it ends
    with stdin.
    """
    # Ctrl-C ends the program that asks, with which stdin ends: time to end in order what was started here.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls_on = {int(size): start(int(size)) for size in sizes}
    for call in calls_on.values():
        measure(call, 4, 200, "empty")  # all workers have started
        if call(same, FLOATS) != FLOATS:
            sys.exit(f"{sys.argv[0]}: not what was sent")
    print("ready", flush=True)
    for line in sys.stdin:
        size, callers, calls, work = line.split()
        print(*measure(calls_on[int(size)], int(callers), int(calls), work), flush=True)


# --- Workers that the peer starts itself ----------------------------------------------------------------
def lending(workers: list, use: Callable) -> Call:
    """Gives the function that waits for one of `workers` to be idle and has `use(worker, function, args)`."""
    idle: SimpleQueue = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def call(function: Callable, *args):
        worker = idle.get()
        try:
            return use(worker, function, args)
        finally:
            idle.put(worker)

    return call


class Workers(contextlib.ExitStack):
    """Processes that run sys.argv[0] as "worker SOCKET", each with a path of its own for its socket."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = self.enter_context(tempfile.TemporaryDirectory(prefix="lair-bench-"))
        self._count = 0

    def start(self) -> str:
        self._count += 1
        path = os.path.join(self._folder, str(self._count))
        command = [sys.executable, sys.argv[0], "worker", path]
        # Left in reverse order: closes stdin, with which it ends, and waits.
        self.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
        return path


def end_with_stdin() -> None:
    """For a worker: it ends with the program that has started it, however that ends."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait, daemon=True).start()


FUNCTIONS = {"empty": empty, "same": same}


def dumps(value) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def main(work: Callable[[str], None], start: Callable[[Workers, int], Call]) -> None:
    """The program of a peer whose workers it starts itself, as ``worker PATH``; see `serve`."""
    match sys.argv[1:]:
        case ["worker", path]:
            work(path)
        case sizes:
            with Workers() as workers:
                serve(lambda size: start(workers, size), sizes)
