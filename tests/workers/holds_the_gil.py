"""C code that holds the GIL and does not come back, whatever signals come."""

import collections
import itertools
import signal
import time

import lair_worker as lair

__all__ = ["hold", "hold_later"]

_WRITE_STACKS = {signal.SIGRTMAX - 2}


def hold():
    collections.deque(itertools.repeat(None), maxlen=0)


def hold_later():
    """The same, but like one that gets no time to run: it takes the signal for its stack a while later."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WRITE_STACKS)
    with lair.shield():
        while not _WRITE_STACKS & signal.sigpending():
            time.sleep(0.001)
        time.sleep(0.06)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WRITE_STACKS)
        hold()
