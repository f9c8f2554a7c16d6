"""Ignores SIGTERM once it is told to, and is busy when it should go."""

import signal
import time

__all__ = ["ignore", "nap"]


def ignore():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def nap(seconds, note):
    with open(note, "x"):
        pass
    time.sleep(seconds)
