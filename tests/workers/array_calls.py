"""Commands with arrays at some of their positions, without numpy."""

import os
import signal

import lair_worker as lair


@lair.command
def codec():
    from lair_worker import _codec

    return _codec.name


@lair.command
def mixed(first, by, second):
    """first += by * second."""
    to, of = first.memoryview(), second.memoryview()
    for index in range(len(to)):
        to[index] += by * of[index]


@lair.command
def dot(first, second):
    return sum(a * b for a, b in zip(first.memoryview(), second.memoryview(), strict=True))


@lair.command
def every_second(count):
    whole = lair.empty(count, "float64").memoryview()
    for index in range(count):
        whole[index] = index
    return whole[::2]


@lair.command
def layout(array):
    return [list(array.shape), list(array.strides)]


@lair.command
def values(array):
    return array.tolist()


@lair.command
def total_or_die(array, path):
    """Dies, unless there is such a file: then it says what is in the array."""
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(array.tolist())
