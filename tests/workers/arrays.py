"""Commands that take and give arrays, without numpy."""

import os
import signal

import lair_worker as lair

kept = []


def _flat(array):
    return array.memoryview().cast("B").cast("d") if array.nbytes else []


@lair.command
def pid():
    return os.getpid()


@lair.command
def total(array):
    return float(sum(_flat(array)))


@lair.command
def describe(array):
    return {
        "type": type(array).__name__,
        "dtype": array.dtype,
        "shape": list(array.shape),
        "strides": list(array.strides),
        "readonly": array.readonly,
        "nbytes": array.nbytes,
    }


@lair.command
def values(array):
    return array.tolist()


@lair.command
def at(array, places):
    view = array.memoryview()
    return [view[place] for place in places]


@lair.command
def nested(value):
    return [value["rows"][1].tolist(), value["name"]]


@lair.command
def scale(array, by):
    view = array.memoryview()
    for index in range(len(view)):
        view[index] *= by


@lair.command
def write_to(array):
    array.memoryview()[0] = 1.0


@lair.command
def keep(array):
    kept.append(array.memoryview())
    return len(kept)


@lair.command
def kept_totals():
    return [float(sum(each)) for each in kept]


@lair.command
def forget():
    kept.clear()


@lair.command
def nothing(array=None):
    return None


@lair.command
def echo(array):
    return array.memoryview()


@lair.command
def fill(count, value):
    result = lair.empty(count, "float64")
    view = result.memoryview()
    for index in range(count):
        view[index] = value
    return result


@lair.command
def blank(count, dtype="uint8"):
    return lair.empty(count, dtype)


@lair.command
def part(count):
    return lair.empty(count, "float64").memoryview()[2:4]


@lair.command
def some(counts):
    return {"parts": [_filled(count) for count in counts], "count": len(counts)}


def _filled(count):
    result = lair.empty((count,), "int32")
    result.memoryview()[:] = memoryview(bytes(4 * count)).cast("i")
    return result


@lair.command
def raw():
    return b"abc"


@lair.command
async def later(array):
    return array.memoryview()


@lair.command
def count_up(array):
    yield from array.tolist()


@lair.command
def count_up_and_give(array):
    yield from array.tolist()
    yield array


@lair.command
async def acount_up_and_give(array):
    for each in array.tolist():
        yield each
    yield array


@lair.command
def tell_host(array):
    return lair.host.take(array)


@lair.command
def ask_host():
    return lair.host.give()


@lair.command
def fail(array):
    raise ValueError("no good: " + str(array.shape))


@lair.command
def die(array):
    os.kill(os.getpid(), signal.SIGKILL)


@lair.command
def hang(array, path):
    open(path, "w").close()
    while True:
        signal.pause()


@lair.command
def developed(picture):
    mask = lair.empty(picture["pixels"].shape, "int32")
    mask.memoryview()[:] = memoryview(b"\1\0\0\0" * mask.size).cast("i")
    return {"pixels": picture["pixels"], "mask": mask, "name": picture["name"] + "!"}


@lair.command
def developed_all(pictures):
    return [developed(each) for each in pictures]
