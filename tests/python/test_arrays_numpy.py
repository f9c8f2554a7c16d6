"""Arrays and numpy: what is a view, what is copied, what is refused, and what keeps memory."""

from __future__ import annotations

import struct
import subprocess

import pytest

from host import ERROR, FEATURES, INTERPRETER, RESULT
from test_arrays import F8, I4, ORDER, Memory, doubles, result_of

numpy = pytest.importorskip("numpy")
if subprocess.run([INTERPRETER, "-c", "import numpy"], capture_output=True).returncode != 0:
    pytest.skip("the workers' interpreter has no numpy", allow_module_level=True)

SOURCE = """
    import numpy as np
    import lair_worker as lair

    kept = []

    def about(x):
        view = np.asarray(x)
        return [str(view.dtype), list(view.shape), list(view.strides), bool(view.flags.writeable),
                bool(view.flags.owndata), bool(view.flags.aligned)]
    def total(x): return float(np.asarray(x).sum())
    def values(x): return np.asarray(x).tolist()
    def same_memory(x): return bool(np.shares_memory(np.asarray(x), np.asarray(x)))
    def add(x, by): np.asarray(x)[...] += by
    def write(x): np.asarray(x)[0] = 1
    def make_writable(x): np.asarray(x).setflags(write=True)
    def keep(x): kept.append(np.asarray(x)[1:][::2])
    def forget(): kept.clear()
    def kept_values(): return [each.tolist() for each in kept]

    def plain(dtype): return np.arange(4).astype(dtype)
    def fortran(): return np.asfortranarray(np.arange(6, dtype="float64").reshape(2, 3))
    def every_second(): return np.arange(6, dtype="int32")[::2]
    def backwards(): return np.arange(3, dtype="float64")[::-1]
    def none(): return np.zeros((2, 0, 3), dtype="float64")
    def one(): return np.array(2.5)
    def number(): return np.float64(2.5)
    def numbers(): return {"mean": np.float64(2.5), "sum": np.float32(1), "all": np.arange(2)}
    def swapped(): return np.arange(3, dtype=np.dtype("f8").newbyteorder())
    def objects(): return np.array([object()])
    def half(): return np.arange(3, dtype="float16")
    def table(): return np.zeros(2, dtype=[("a", "i4"), ("b", "f8")])
    def frozen():
        made = np.arange(3, dtype="float64")
        made.setflags(write=False)
        return made
    def in_place(how):
        room = np.asarray(lair.empty((2, 3), "float64"))
        room[...] = np.arange(6).reshape(2, 3)
        return {"all": room, "turned": room.T, "row": room[1], "column": room[:, 1], "back": room[::-1]}[how]
    def parts():
        room = np.asarray(lair.empty(4, "float64"))
        room[...] = 1
        return {"a": room[:2], "b": [np.arange(2, dtype="int32"), 3]}
    def through(x): return np.asarray(x) * 2
    def kept_room(n):
        room = np.asarray(lair.empty(n))
        room[...] = 7
        kept.append(room)
        return room
"""


@pytest.fixture
def memory(start):
    worker = start(SOURCE)
    worker.greet(features=FEATURES)
    memory = Memory(worker)
    memory.add(1)
    yield memory
    memory.close()


def numbers(memory, found, form="d"):
    """The numbers of an array of a result, in the order of C, with whatever strides it has."""
    _, segment, block, first, _, shape, strides = found
    steps = strides
    if steps is None:
        steps, size = [], struct.calcsize(form)
        for each in reversed(shape):
            steps.insert(0, size)
            size *= each
    places = [first + block]
    for each, step in zip(shape, steps):
        places = [place + index * step for place in places for index in range(each)]
    return [struct.unpack_from(f"={form}", memory.segments[segment][1], place)[0] for place in places]


def test_a_view_of_an_argument_is_read_only_and_copies_nothing(memory):
    where = doubles(memory, values=(1.0, 2.0, 3.0, 4.0), shape=[2, 2])
    about = memory.call("about", None, **{"in": [where]})[0]
    assert about == ["float64", [2, 2], [16, 8], False, False, True]
    assert memory.call("same_memory", None, **{"in": [where]})[0] is True
    for command in ("write", "make_writable"):
        reply, released = memory.finish(memory.send(command, [None], **{"in": [where]}))
        assert reply[0] == ERROR and reply[3]["type"] == "ValueError"
        assert released == [(1, 0)]
    assert struct.unpack_from("=d", memory.segments[1][1], 0) == (1.0,)


def test_inout_is_written_in_place(memory):
    where = doubles(memory, values=(1.0, 2.0, 3.0, 4.0), shape=[2, 2], inout=True)
    assert memory.call("add", None, 10, **{"in": [where]})[2] == [(1, 0)]
    assert struct.unpack_from("=4d", memory.segments[1][1], 0) == (11.0, 12.0, 13.0, 14.0)
    column = doubles(memory, values=(1.0, 2.0, 3.0, 4.0), shape=[2], strides=[16], first=8, inout=True)
    memory.call("add", None, 5, **{"in": [column]})
    assert struct.unpack_from("=4d", memory.segments[1][1], 0) == (1.0, 7.0, 3.0, 9.0)


@pytest.mark.parametrize(
    ("shape", "strides", "first", "values"),
    [
        ([6], None, 0, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ([3, 2], [8, 24], 0, [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]),
        ([3], [-16], 40, [5.0, 3.0, 1.0]),
        ([2, 3], [0, 8], 0, [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]),
        ([], None, 16, 2.0),
        ([0], None, 0, []),
        ([2, 0], None, 0, [[], []]),
    ],
)
def test_any_shape_and_strides(memory, shape, strides, first, values):
    six = doubles(memory, values=range(6), shape=shape, strides=strides, first=first)
    assert memory.call("values", None, **{"in": [six]})[0] == values
    assert memory.call("about", None, **{"in": [six]})[0][1] == shape


KINDS = ("|b1", "|i1", "i2", "i4", "i8", "|u1", "u2", "u4", "u8", "f4", "f8", "c8", "c16")


@pytest.mark.parametrize("kind", [each if each[0] == "|" else ORDER + each for each in KINDS])
def test_every_type(memory, kind):
    dtype = numpy.dtype(kind)
    where = [[0], 1, 0, 64, 0, kind, [2], None, False]
    assert memory.call("about", None, **{"in": [where]})[0][0] == dtype.name
    _, arrays, _ = memory.call("plain", dtype.name, out=[1, 128, 64])
    assert arrays[0][4:6] == [kind, [4]]
    sent = numpy.frombuffer(memory.segments[1][1], dtype=dtype, count=4, offset=128)
    assert sent.tolist() == numpy.arange(4).astype(dtype).tolist()
    del sent


@pytest.mark.parametrize(
    ("command", "kind", "shape", "values"),
    [
        ("fortran", F8, [2, 3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ("every_second", I4, [3], [0, 2, 4]),
        ("backwards", F8, [3], [2.0, 1.0, 0.0]),
        ("none", F8, [2, 0, 3], []),
        ("one", F8, [], [2.5]),
        ("frozen", F8, [3], [0.0, 1.0, 2.0]),
    ],
)
def test_results_of_numpys_own_memory_are_copied_in_the_order_of_c(memory, command, kind, shape, values):
    _, arrays, _ = memory.call(command, out=[1, 128, 64])
    assert arrays[0][1:] == [1, 128, 0, kind, shape, None]
    assert result_of(memory, arrays[0]) == values


@pytest.mark.parametrize(
    ("how", "first", "shape", "strides", "values"),
    [
        ("all", 0, [2, 3], None, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ("turned", 0, [3, 2], [8, 24], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        ("row", 24, [3], None, [3.0, 4.0, 5.0]),
        ("column", 8, [2], [24], [1.0, 4.0]),
        ("back", 24, [2, 3], [-24, 8], [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]),
    ],
)
def test_results_in_room_of_the_caller_are_not_copied(memory, how, first, shape, strides, values):
    _, arrays, released = memory.call("in_place", how, out=[1, 128, 64])
    assert arrays[0][1:] == [1, 128, first, F8, shape, strides]
    assert numbers(memory, arrays[0]) == values
    assert memory.asked == [("lair.array.segment", {"segment": 1})]
    assert released == [(1, 128)]


def test_results_may_be_mixed(memory):
    memory.room = [[1, 512, 64]]
    value, arrays, _ = memory.call("parts", out=[1, 128, 64])
    assert value == {"a": None, "b": [None, 3]}
    assert [each[:3] for each in arrays] == [[["a"], 1, 128], [["b", 0], 1, 512]]
    assert result_of(memory, arrays[1]) == [0, 1]
    where = doubles(memory)
    _, arrays, _ = memory.call("through", None, **{"in": [where], "out": [1, 128, 64]})
    assert result_of(memory, arrays[0]) == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("command", ["swapped", "objects", "half", "table"])
def test_types_that_do_not_travel_are_named(memory, command):
    reply, released = memory.finish(memory.send(command, [], out=[1, 128, 64]))
    assert reply[0] == ERROR and reply[3]["kind"] == "unencodable"
    assert "ndarray" in reply[3]["message"] and "float32" in reply[3]["message"]
    assert released == [(1, 128)]


def test_a_view_that_is_kept_pins_its_memory(memory):
    where = doubles(memory, values=(1.0, 2.0, 3.0, 4.0))
    assert memory.call("keep", None, **{"in": [where]})[2] == []
    other = doubles(memory, at=128)
    assert memory.call("total", None, **{"in": [other]}) == (6.0, [], [(1, 128)])
    assert memory.worker.call("kept_values") == [[2.0, 4.0]]
    memory.worker.call("forget")
    assert memory.call("total", None, **{"in": [other]})[2] == [(1, 0), (1, 128)]
    _, arrays, released = memory.call("kept_room", 2, out=[1, 256, 64])
    assert released == [] and result_of(memory, arrays[0]) == [7.0, 7.0]
    memory.worker.call("forget")
    assert memory.call("total", None, **{"in": [other]})[2] == [(1, 128), (1, 256)]


def test_a_float_of_numpys_is_a_float_and_its_other_numbers_are_arrays(memory):
    for arrays in ({}, {"out": [1, 128, 64]}):
        reply, _ = memory.finish(memory.send("number", [], **arrays))
        assert reply[0] == RESULT and reply[3:] == [2.5]
    memory.room = [[1, 512, 64]]
    value, arrays, _ = memory.call("numbers", out=[1, 128, 64])
    assert value == {"mean": 2.5, "sum": None, "all": None}
    assert [each[5] for each in arrays] == [[], [2]]
