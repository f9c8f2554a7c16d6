"""What bench/sessions calls: nothing, a nap, and the session's store in the middle of a call."""

import statistics
import time

import lair_worker as lair


@lair.command
def empty():
    pass


@lair.command
def nap(seconds):
    time.sleep(seconds)


@lair.command
def use_store(times, value):
    """Seconds that a put and a get take: medians."""
    shared = lair.context().session.shared
    took = {"put": [], "get": []}
    for i in range(times):
        key, other = f"key {i % 16}", f"{value} {i}"  # to write what is there already costs a file nothing
        began = time.perf_counter()
        shared.put(key, other)
        wrote = time.perf_counter()
        shared.get(key)
        took["put"].append(wrote - began)
        took["get"].append(time.perf_counter() - wrote)
    return {what: statistics.median(each) for what, each in took.items()}
