"""Commands that are somewhere when they are looked at: each makes the file `note` when it has begun."""

import os
import threading
import time

__all__ = ["beside_a_thread", "hold_the_gil", "pid", "until"]


def pid():
    return os.getpid()


def _begun(note):
    with open(note, "x"):
        pass


def until(note, end):
    """Computes until the file `end` is there."""
    _begun(note)
    rounds = 0
    while not os.path.exists(end):
        rounds += 1
    return rounds > 0


def hold_the_gil(note):
    """C code that never lets another thread, or a Python signal handler, run."""
    _begun(note)
    return sum(range(10**15))


def beside_a_thread(note, seconds):
    waiting = threading.Thread(target=_rest_in_a_thread, args=(seconds,), daemon=True)
    waiting.start()
    _begun(note)
    time.sleep(seconds)


def _rest_in_a_thread(seconds):
    time.sleep(seconds)
