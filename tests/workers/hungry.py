"""Takes memory, and holds it."""

import time

import lair_worker as lair

held = []


@lair.command
def eat(mebibytes: int, then_sleep: float = 0.0) -> int:
    held.append(bytearray(mebibytes << 20))
    time.sleep(then_sleep)
    return len(held)


@lair.command
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
