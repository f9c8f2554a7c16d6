"""C code that holds the GIL and does not come back, whatever signals come."""

import collections
import itertools


def hold():
    collections.deque(itertools.repeat(None), maxlen=0)
