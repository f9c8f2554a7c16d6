"""Items of a map."""

import time

import lair_worker


@lair_worker.command
def same(value):
    return value


@lair_worker.command
def work(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
