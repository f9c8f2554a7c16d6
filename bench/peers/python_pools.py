"""Pools of processes for Python programs: python_pools.py (executor | multiprocessing | loky) SIZE..."""

from __future__ import annotations

import sys

from measuring import Call, serve


def start(kind: str, size: int) -> Call:
    if kind == "multiprocessing":
        from multiprocessing import Pool

        pool = Pool(size)
        return lambda function, *args: pool.apply(function, args)
    if kind == "loky":
        from loky import ProcessPoolExecutor
    else:
        from concurrent.futures import ProcessPoolExecutor
    executor = ProcessPoolExecutor(size)
    return lambda function, *args: executor.submit(function, *args).result()


if __name__ == "__main__":
    serve(lambda size: start(sys.argv[1], size), sys.argv[2:])
