"""Python's own pools, as peers: python_pools.py (executor | multiprocessing) SIZE...

Starts a pool of each size, then answers each line "SIZE CALLERS CALLS" on stdin with "calls/s p50-in-µs":
so many calls of a function that does nothing, from so many threads. Until the next line it does nothing.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool
from time import perf_counter


def empty():
    pass


def pool_call(kind: str, size: int):
    """Starts a pool and gives the function that makes one call on it."""
    if kind == "executor":
        executor = ProcessPoolExecutor(size)
        return lambda: executor.submit(empty).result()
    pool = Pool(size)
    return lambda: pool.apply(empty)


def measure(call, callers: int, calls: int) -> tuple[float, float]:
    tickets = iter(range(calls))
    latencies: list[list[float]] = [[] for _ in range(callers)]
    start = threading.Barrier(callers + 1)

    def run(mine: list[float]) -> None:
        start.wait()
        for _ in tickets:  # under the GIL, next() of a range iterator is atomic
            began = perf_counter()
            call()
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


def main() -> None:
    kind, *sizes = sys.argv[1:]
    calls_on = {int(size): pool_call(kind, int(size)) for size in sizes}
    for call in calls_on.values():
        measure(call, 4, 200)  # all workers have started
    print("ready", flush=True)
    for line in sys.stdin:
        size, callers, calls = map(int, line.split())
        print(*measure(calls_on[size], callers, calls), flush=True)


if __name__ == "__main__":
    main()
