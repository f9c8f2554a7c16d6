"""Arrays in memory that the host shares: what a worker sees of them, keeps, lets go, and gives back."""

from __future__ import annotations

import gc
import mmap
import os
import socket
import struct
import sys

import pytest

from host import CALL, CALLBACK, CALLBACK_RESULT, CANCEL, CANCELLED, ERROR, FEATURES, RELEASE, RESULT, Closed

ORDER = "<" if sys.byteorder == "little" else ">"
F8, I4 = ORDER + "f8", ORDER + "i4"
SIZE = 1 << 20

SOURCE = """
    import asyncio
    import array, os, threading
    import lair_worker as lair

    kept = []

    def about(x):
        return [type(x).__name__, x.dtype, list(x.shape), list(x.strides), x.readonly, x.nbytes, x.ndim,
                x.size, x.contiguous, repr(x)]
    def total(x): return sum(x.memoryview())
    def values(x): return x.tolist()
    def value_of(d): return [d["a"][1].tolist(), d["b"]]
    def write(x): x.memoryview()[0] = 5.0
    def keep(x): kept.append(x.memoryview())
    def keep_array(x): kept.append(x)
    def forget(): kept.clear()
    def kept_values(): return [list(each) for each in kept]
    def keep_second(first, second): kept.append(second)
    def in_all(*arrays): return [sum(each.memoryview()) for each in arrays]
    def drop_arguments(d): d.clear()
    def remembered(): return [name in vars(lair) for name in ("empty", "Array")]
    def fail(x): raise ValueError("no")
    def gap(x): return list(x.memoryview())
    def fill(n):
        result = lair.empty(n)
        result.memoryview()[:] = array.array("d", range(n))
        return result
    def two(n): return {"a": [fill(n), 1], "b": array.array("i", [1, 2])}
    def part(n): return fill(n).memoryview()[1:3]
    def raw(): return b"abc"
    def echo(x): return x
    def blank(shape, dtype): return lair.empty(shape, dtype)
    def strange(): return [memoryview(b"ab").cast("c")]
    async def later(n):
        await asyncio.sleep(0)
        return fill(n)
    def in_thread(n):
        made = []
        thread = threading.Thread(target=lambda: made.append(fill(n)))
        thread.start()
        thread.join()
        return fill(n) if made[0].tolist() == list(range(n)) else None
    def gives_up(n):
        try:
            lair.empty(n)
        except MemoryError as error:
            return str(error)
    def mappings():
        with open("/proc/self/maps") as maps:
            return sum("lair-test" in line for line in maps)
    def descriptors(): return len(os.listdir("/proc/self/fd"))
    class Interface:
        def __init__(self, array, **changes):
            self.array = array
            self.__array_interface__ = {**array.__array_interface__, **changes}
    def odd_type(x): return Interface(x, typestr="|O")
"""


class Memory:
    """The host's half: segments, callbacks that ask for them, releases."""

    def __init__(self, worker) -> None:
        self.worker = worker
        self.segments: dict[int, tuple[int, mmap.mmap]] = {}
        self.room: list = []  # what `allocate` gives; nothing: an error
        self.asked: list[tuple[str, dict]] = []

    def add(self, number: int, size: int = SIZE) -> mmap.mmap:
        fd = os.memfd_create("lair-test")
        os.truncate(fd, size)
        self.segments[number] = (fd, mmap.mmap(fd, size))
        return self.segments[number][1]

    def close(self) -> None:
        for fd, _ in self.segments.values():
            os.close(fd)

    def send(self, command, args, **arrays):
        self.worker._ids += 1
        number = self.worker._ids
        message = [CALL, number, self.worker.generation, command, args, {"arrays": {"in": [], **arrays}}]
        self.worker.send(message)
        return number

    def finish(self, number):
        """The last frame, and what was released before it."""
        released = []
        while True:
            reply = self.worker.reply_to(number)
            if reply[0] == CALLBACK:
                self.answer(number, reply)
            elif reply[0] == RELEASE:
                released += map(tuple, reply[3])
            else:
                return reply, sorted(released)

    def answer(self, number, asked):
        self.asked.append((asked[4], asked[5]))
        if asked[4] == "lair.array.segment":
            fd, memory = self.segments[asked[5]["segment"]]
            frame = self.worker.frame(CALLBACK_RESULT, number, asked[3], True, {"size": len(memory)})
            with socket.socket(fileno=os.dup(self.worker._write_fd)) as end:
                socket.send_fds(end, [frame[:3]], [fd])
            self.worker.write(frame[3:])
        elif self.room:
            self.worker.write(self.worker.frame(CALLBACK_RESULT, number, asked[3], True, self.room.pop(0)))
        else:
            error = {"type": "CallError", "message": "no memory", "traceback": "", "kind": "unavailable"}
            self.worker.write(self.worker.frame(CALLBACK_RESULT, number, asked[3], False, error))

    def call(self, command, *args, **arrays):
        reply, released = self.finish(self.send(command, list(args), **arrays))
        assert reply[0] == RESULT, reply
        return reply[3], reply[4] if len(reply) > 4 else [], released


@pytest.fixture
def memory(full):
    memory = Memory(full(SOURCE))
    yield memory
    memory.close()


def doubles(memory, number=1, at=0, values=(1.0, 2.0, 3.0), path=(0,), size=64, **changes):
    """An argument of these values, put where it says."""
    if number not in memory.segments:
        memory.add(number)
    struct.pack_into(f"={len(values)}d", memory.segments[number][1], at, *values)
    said = {"first": 0, "type": F8, "shape": [len(values)], "strides": None, "inout": False, **changes}
    return [list(path), number, at, size, *said.values()]


def test_the_feature_needs_a_socket_and_one_call_at_a_time(start):
    assert "arrays" in start().greet(features=FEATURES)["lair"]["features"]
    assert "arrays" in start(transport="stdio-socket").greet(features=FEATURES)["lair"]["features"]
    assert "arrays" not in start(transport="stdio-pipe").greet(features=FEATURES)["lair"]["features"]
    many = start("async def f(): pass").greet(features=FEATURES, concurrency=4)
    assert "arrays" not in many["lair"]["features"]


def test_an_argument_is_a_view_that_is_read_only(memory):
    where = doubles(memory, at=128)
    said = ["Array", "float64", [3], [8], True, 24, 1, 3, True, "<lair_worker.Array float64 (3,)>"]
    assert memory.call("about", None, **{"in": [where]}) == (said, [], [(1, 128)])
    assert memory.call("total", None, **{"in": [where]})[0] == 6.0
    struct.pack_into("=d", memory.segments[1][1], 128, 10.0)
    assert memory.call("total", None, **{"in": [where]})[0] == 15.0
    assert memory.asked == [("lair.array.segment", {"segment": 1})], "once for each segment"
    reply, released = memory.finish(memory.send("write", [None], **{"in": [where]}))
    assert reply[0] == ERROR and reply[3]["type"] == "TypeError"
    assert released == [(1, 128)]
    assert memory.call("write", None, **{"in": [doubles(memory, inout=True)]})[2] == [(1, 0)]
    assert struct.unpack_from("=d", memory.segments[1][1], 0) == (5.0,)


def test_arrays_may_be_anywhere_among_the_arguments(memory):
    where = doubles(memory, path=("d", "a", 1))
    number = memory.send("value_of", {"d": {"a": [0, None], "b": "x"}}, **{"in": [where]})
    assert memory.finish(number)[0][3] == [[1.0, 2.0, 3.0], "x"]


def test_arrays_have_any_shape(memory):
    six = dict(values=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))

    def values(**changes):
        return memory.call("values", None, **{"in": [doubles(memory, **six, **changes)]})[0]

    assert values(shape=[2, 3]) == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert values(shape=[], first=8) == 2.0
    assert values(shape=[0]) == []
    assert values(shape=[2, 0]) == [[], []]
    about = memory.call("about", None, **{"in": [doubles(memory, shape=[3, 2], strides=[8, 24], **six)]})[0]
    assert about[2:4] == [[3, 2], [8, 24]] and about[8] is False
    odd = doubles(memory, shape=[3], strides=[16], **six)
    reply, released = memory.finish(memory.send("gap", [None], **{"in": [odd]}))
    assert reply[3]["type"] == "BufferError" and "numpy.asarray() can" in reply[3]["message"]
    assert released == [(1, 0)]


@pytest.mark.parametrize("command", ["keep", "keep_array"])
def test_a_block_is_released_when_its_last_view_has_gone(memory, command):
    one, two = doubles(memory), doubles(memory, at=64, values=(7.0,))
    assert memory.call(command, None, **{"in": [one]})[2] == []
    assert memory.call("total", None, **{"in": [one]})[2] == [], "it is still kept"
    assert memory.call("total", None, **{"in": [two]})[2] == [(1, 64)]
    if command == "keep":
        assert memory.worker.call("kept_values") == [[1.0, 2.0, 3.0]]
    memory.worker.call("forget")
    assert memory.call("total", None, **{"in": [two]})[2] == [(1, 0), (1, 64)]
    memory.call("keep", None, **{"in": [one]})
    memory.worker.call("forget")
    number = memory.send("forget", [])
    assert memory.finish(number)[1] == [(1, 0)], "also by a call without any"


def test_a_block_in_two_places_is_released_once_and_not_before_both_are_free(memory):
    memory.call("total", None, **{"in": [doubles(memory)]})
    twice = {"in": [doubles(memory, path=[0]), doubles(memory, path=[1])]}
    assert memory.call("in_all", None, None, **twice) == ([6.0, 6.0], [], [(1, 0)])
    assert memory.call("keep_second", None, None, **twice)[2] == []
    assert memory.call("in_all", None, None, **twice)[2] == []
    memory.worker.call("forget")
    assert memory.call("in_all", None, None, **twice)[2] == [(1, 0)]


def test_a_call_may_have_many_arrays(memory):
    memory.call("total", None, **{"in": [doubles(memory)]})
    for count in (15, 16, 17, 40):
        arrays = [doubles(memory, path=[i], at=64 * i, values=(i, 1.0)) for i in range(count)]
        totals, _, released = memory.call("in_all", *[None] * count, **{"in": arrays})
        assert totals == [i + 1.0 for i in range(count)]
        assert released == [(1, 64 * i) for i in range(count)]


def test_a_command_may_change_its_arguments(memory):
    memory.call("total", None, **{"in": [doubles(memory)]})
    kept = doubles(memory, path=[0, "a"])
    assert memory.call("drop_arguments", {"a": None}, **{"in": [kept]})[2] == [(1, 0)]
    assert memory.call("total", None, **{"in": [doubles(memory)]})[0] == 6.0


def test_what_is_imported_when_asked_for_stays(memory):
    assert memory.worker.call("remembered") == [False, False]
    memory.add(1)
    memory.call("fill", 1, out=[1, 0, 64])
    assert memory.worker.call("remembered") == [True, False]


def test_a_block_is_released_whatever_becomes_of_the_call(memory):
    reply, released = memory.finish(memory.send("fail", [None], **{"in": [doubles(memory)]}))
    assert reply[0] == ERROR and reply[3]["message"] == "no"
    assert released == [(1, 0)]
    reply, released = memory.finish(memory.send("total", [None, 2], **{"in": [doubles(memory)]}))
    assert reply[3]["kind"] == "invalid_argument"
    assert released == [(1, 0)]
    # Cancelled before it has the memory that it asks for.
    memory.add(2)
    number = memory.send("total", [None], **{"in": [doubles(memory, number=2)]})
    asked = memory.worker.reply_to(number)
    assert asked[0] == CALLBACK
    memory.worker.write(memory.worker.frame(CANCEL, number))
    reply, released = memory.finish(number)
    assert (reply[0], released) == (CANCELLED, [(2, 0)])
    memory.answer(number, asked)  # too late: for nobody
    assert memory.call("total", None, **{"in": [doubles(memory, number=2)]})[0] == 6.0


def result_of(memory, found):
    """The numbers of an array of a result."""
    _, number, block, first, kind, shape, strides = found
    assert strides is None
    form = {F8: "d", I4: "i", "|u1": "B"}[kind]
    count = 1
    for each in shape:
        count *= each
    return list(struct.unpack_from(f"={count}{form}", memory.segments[number][1], block + first))


def test_a_result_is_made_in_room_that_was_granted(memory):
    memory.add(1)
    value, arrays, released = memory.call("fill", 3, out=[1, 256, 64])
    assert value is None and [each[:4] for each in arrays] == [[[], 1, 256, 0]]
    assert result_of(memory, arrays[0]) == [0.0, 1.0, 2.0]
    assert released == [(1, 256)], "which counts from the last frame on"
    _, arrays, _ = memory.call("part", 5, out=[1, 256, 64])
    assert arrays[0][3] == 8 and result_of(memory, arrays[0]) == [1.0, 2.0]
    for _ in range(2):  # what one call had is not the next one's
        assert memory.call("blank", [2, 3], "int32", out=[1, 512, 64]) == (
            None,
            [[[], 1, 512, 0, I4, [2, 3], None]],
            [(1, 512)],
        )
        value, arrays, released = memory.call("echo", None, out=[1, 576, 64])
        assert (value, arrays, released) == (None, [], [(1, 576)])
    assert memory.asked == [("lair.array.segment", {"segment": 1})]
    assert memory.worker.fail("fill", 3)["kind"] == "unencodable", "where nobody wants one"


def test_more_room_is_asked_for(memory):
    memory.add(1)
    memory.room = [[1, 4096, 128]]
    value, arrays, _ = memory.call("two", 9, out=[1, 0, 64])
    assert value == {"a": [None, 1], "b": None}
    assert [(each[0], each[2]) for each in arrays] == [(["a", 0], 4096), (["b"], 0)]
    assert memory.asked[0] == ("lair.array.allocate", {"bytes": 72})


def test_without_room_there_is_an_error(memory):
    memory.add(1)
    assert memory.call("gives_up", 9, out=None)[0] == "no memory"
    reply, _ = memory.finish(memory.send("raw", [], out=None))
    assert reply[0] == ERROR and reply[3]["kind"] == "unencodable" and "no memory" in reply[3]["message"]


def test_other_buffers_are_copied(memory):
    memory.add(1)
    _, arrays, _ = memory.call("raw", out=[1, 64, 64])
    assert bytes(result_of(memory, arrays[0])) == b"abc"
    where = doubles(memory)
    _, arrays, released = memory.call("echo", None, **{"in": [where], "out": [1, 64, 64]})
    assert arrays[0][2] == 64 and result_of(memory, arrays[0]) == [1.0, 2.0, 3.0]
    assert released == [(1, 0), (1, 64)]
    _, arrays, _ = memory.call("later", 2, out=[1, 64, 64])
    assert result_of(memory, arrays[0]) == [0.0, 1.0]


def test_room_is_not_for_other_threads(memory):
    memory.add(1)
    _, arrays, _ = memory.call("in_thread", 2, out=[1, 64, 64])
    assert result_of(memory, arrays[0]) == [0.0, 1.0] and arrays[0][2] == 64
    assert [name for name, _ in memory.asked] == ["lair.array.segment"], "nothing more had to be allocated"


@pytest.mark.parametrize(
    ("command", "args", "words"),
    [
        ("odd_type", [None], "'|O'"),
        ("strange", [], "'c'"),
        ("blank", [[2], "float16"], "float16"),
        ("blank", [[-1], "float64"], "(-1,)"),
    ],
)
def test_what_cannot_travel_is_named(memory, command, args, words):
    arrays = {"in": [doubles(memory)]} if args == [None] else {}
    reply, _ = memory.finish(memory.send(command, args, out=None, **arrays))
    assert reply[0] == ERROR
    assert words in reply[3]["message"] and "float32" in reply[3]["message"]


def test_many_calls_leave_nothing_behind(memory):
    for number in (1, 2):
        memory.call("total", None, **{"in": [doubles(memory, number=number)]})
    before = memory.worker.call("mappings"), memory.worker.call("descriptors")
    for at in range(0, 64 * 300, 64):
        memory.call("total", None, **{"in": [doubles(memory, at=at)], "out": [2, 0, 64]})
    assert (memory.worker.call("mappings"), memory.worker.call("descriptors")) == before
    memory.call("forget", dropped=[1, 2])
    gc.collect()
    assert memory.worker.call("mappings") == 0
    assert memory.worker.call("descriptors") == before[1] - 2


def test_a_host_that_says_nonsense_ends_the_worker(full):
    worker = full(SOURCE)
    worker.send([CALL, 1, worker.generation, "forget", [], {"arrays": 1}])
    with pytest.raises(Closed):
        worker.receive()


def test_a_worker_that_was_not_asked_takes_none(greeted):
    worker = greeted(SOURCE)
    worker.send([CALL, 1, worker.generation, "forget", [], {"arrays": {"in": []}}])
    with pytest.raises(Closed):
        worker.receive()
