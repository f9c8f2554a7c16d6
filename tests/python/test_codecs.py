"""The two codecs take and refuse the same values, in both directions; MessagePack is the accelerator's."""

from __future__ import annotations

import json
import math
import random
import sys
from collections import OrderedDict, namedtuple
from datetime import datetime, timezone
from decimal import Decimal
from enum import IntEnum
from pathlib import Path

import pytest

import reference
from host import RESULT

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "msgpack.json").read_text("utf-8"))
Point = namedtuple("Point", "x y")


class Color(IntEnum):
    RED = 7


class Odd(dict):
    """Whose items are made up."""

    def items(self):
        return [("made", "up")]


class Text(str):
    __slots__ = ()


@pytest.fixture(scope="module")
def native():
    return pytest.importorskip("lair_worker._native")


@pytest.fixture(params=["json", "msgpack"])
def codec(request):
    """Encode and decode of each codec, on the SDK's side."""
    if request.param == "msgpack":
        native = pytest.importorskip("lair_worker._native")
        return native.pack, native.unpack
    from lair_worker import _encode

    return _encode.encode, _encode.decode


def same(one, other) -> bool:
    """Also the same types, and the same zeros."""
    return repr(one) == repr(other)


# --- vectors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["values"], ids=lambda vector: vector["name"])
def test_values_are_these_bytes(native, vector):
    value, data = json.loads(vector["json"]), bytes.fromhex(vector["msgpack"])
    assert native.pack(value) == data
    assert same(native.unpack(data), value)
    assert reference.pack(value) == data and same(reference.unpack(data), value)


@pytest.mark.parametrize("vector", VECTORS["longer"], ids=lambda vector: vector["name"])
def test_longer_forms_are_read(native, vector):
    assert same(native.unpack(bytes.fromhex(vector["msgpack"])), json.loads(vector["json"]))


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_what_is_not_json_is_refused(native, vector):
    with pytest.raises(ValueError):
        native.unpack(bytes.fromhex(vector["msgpack"]))


def test_nesting_ends_at_1000_levels(native):
    for opening in (b"\x91", b"\x81\xa1k"):
        assert native.unpack(opening * 999 + b"\x90")
        for depth in (1000, 1_000_000):
            with pytest.raises(RecursionError):
                native.unpack(opening * depth + b"\x90")
    value = []
    for _ in range(999):
        value = [value]
    assert native.pack(value) == b"\x91" * 999 + b"\x90"
    with pytest.raises(RecursionError):
        native.pack([value])
    endless = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        native.pack(endless)


# --- out: what Python values become ----------------------------------------------------------------------

TAKEN = [
    ((1, (2,)), [1, [2]]),
    (Point(1, 2), [1, 2]),
    (Color.RED, 7),
    (True, True),
    (Text("text"), "text"),
    (OrderedDict([("b", 1), ("a", 2)]), {"b": 1, "a": 2}),
    (Odd(real=1), {"made": "up"}),
    ({1: "a", -2: "b", 2**70: "c"}, {"1": "a", "-2": "b", str(2**70): "c"}),
    (
        {1.5: 1, 1e300: 2, None: 3, True: 4, False: 5},
        {"1.5": 1, "1e+300": 2, "null": 3, "true": 4, "false": 5},
    ),
    ({Color.RED: 1, Text("t"): 2}, {"7": 1, "t": 2}),
]
REFUSED = [
    b"bytes",
    bytearray(b"bytes"),
    memoryview(b"bytes"),
    datetime.now(timezone.utc),
    Decimal("1.5"),
    1j,
    {1, 2},
    range(3),
    object(),
    math.nan,
    math.inf,
    -math.inf,
    2**64,
    -(2**63) - 1,
    10**4000,
    "\ud800",
    "\ud83d\ude00",  # two halves are not a character
    {"\udfff": 1},
    {b"key": 1},
    {(1, 2): 1},
    {math.nan: 1},
    {math.inf: 1},
]


@pytest.mark.parametrize(("value", "becomes"), TAKEN, ids=lambda each: repr(each)[:30])
def test_what_is_taken_becomes_the_same(codec, value, becomes):
    encode, decode = codec
    assert same(decode(encode(value)), becomes)
    assert same(decode(encode([{"a": value}])), [{"a": becomes}])


@pytest.mark.parametrize("value", REFUSED, ids=lambda each: repr(each).partition(" at 0x")[0][:30])
def test_what_is_refused_is_refused_by_both(codec, value):
    encode, _ = codec
    for outer in (value, [value], {"a": [1, value]}, (value,)):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            encode(outer)


def test_errors_name_the_place_in_the_same_words(full):
    """Whichever tier it is: the words are here."""
    worker = full(
        """
        import datetime
        def number(): return {"a": [1, float("nan")]}
        def raw(): return {"a": [b"x"]}
        def when(): return [datetime.datetime(2026, 1, 1)]
        def large(): return 2**64
        def half(): return {"k": "\\ud800"}
        def key(): return {b"k": 1}
        def deep():
            value = []
            for _ in range(1200): value = [value]
            return value
        def around():
            value = {}
            value["self"] = [value]
            return value
        """
    )
    messages = {
        "number": "result.a[1] is NaN, which is not JSON",
        "raw": "result.a[0] is of type bytes, which is not JSON",
        "when": "result[0] is of type datetime.datetime, which is not JSON",
        "large": "result is an integer outside -2^63 to 2^64-1; send it as text",
        "half": "result.k holds a lone surrogate (character 0), which is not text",
        "key": "result has a key of type bytes, which is not JSON: a key is a str, int, float, bool or None",
        "around": "result.self[0] contains itself",
        "deep": "result is nested too deeply",
    }
    for name, message in messages.items():
        error = worker.fail(name)
        assert (error["kind"], error["message"]) == ("unencodable", message)


@pytest.mark.parametrize("around", [lambda each: [each], lambda each: {'a]\\"': each, "b": []}])
def test_nesting_is_counted_however_deep_the_interpreter_would_go(codec, around):
    """Some of it is the message's own: the host counts to 1000."""
    encode, _ = codec
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(8000)
    try:
        fits = '"[{' * 2000
        for _ in range(997):
            fits = around(fits)
        encode(fits)
        for depth in (4, 1000):
            for _ in range(depth):
                fits = around(fits)
            with pytest.raises(RecursionError):
                encode(fits)
    finally:
        sys.setrecursionlimit(limit)


# --- in: whatever comes ------------------------------------------------------------------------------------


def random_value(rng: random.Random, depth: int = 0):
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return rng.choice([None, True, False, 0.5, -0.0, 1e300])
    if kind == 1:
        return rng.choice(
            [0, -1, 2**63, 2**64 - 1, -(2**63), rng.randrange(-(2**63), 2**64), rng.randrange(300)]
        )
    if kind < 5:
        return "".join(rng.choice('abc "\\\0é€😀') for _ in range(rng.choice([0, 1, 5, 31, 32, 300])))
    if kind == 5:
        return {str(rng.random()): random_value(rng, depth + 1) for _ in range(rng.randrange(20))}
    return [random_value(rng, depth + 1) for _ in range(rng.randrange(20))]


def test_any_value_comes_back(codec):
    encode, decode = codec
    rng = random.Random(3)
    for _ in range(100):
        value = random_value(rng)
        assert same(decode(encode(value)), value)


def test_the_decoder_survives_anything(native):
    """Random bytes, and messages that are cut off or changed: a value or an error, and memory as before."""
    rng = random.Random(4)
    kinds = bytes([0x91, 0x81, 0xA1, 0xC4, 0xCB, 0xCF, 0xD9, 0xDC, 0xDD, 0xDE, 0xDF, 0xC0])
    read = 0
    for _ in range(5_000):
        data = bytearray(
            reference.pack(random_value(rng, 2)) if rng.random() < 0.5 else rng.randbytes(rng.randrange(40))
        )
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.choice([rng.randrange(256), rng.choice(kinds)])
        del data[rng.randrange(len(data) + 1) if rng.random() < 0.3 else len(data) :]
        try:
            value = native.unpack(data)
        except (ValueError, RecursionError):
            continue
        read += 1
        assert same(native.unpack(native.pack(value)), value)
    assert read > 500


def test_a_container_that_changes_while_it_is_written_does_no_harm(native):
    class Meddler(dict):
        def items(self):
            outer.clear()
            return [("a", 1)]

    for outer in ([Meddler(), "x" * 100, *range(50)], {"m": Meddler(), **{str(i): [i] for i in range(50)}}):
        with pytest.raises(RuntimeError):
            native.pack(outer)


# --- the loop ----------------------------------------------------------------------------------------------


def test_a_frame_may_be_json_at_any_time(greeted):
    """What a host has already written as text, it need not write again."""
    worker = greeted()
    for codec in ("json", worker.codec, "json"):
        worker.codec, chosen = codec, worker.codec
        worker.send([1, 9, worker.generation, "echo", [[1, "é"]], {}])
        worker.codec = chosen
        assert worker.receive() == [RESULT, 9, worker.generation, [1, "é"]]


def test_a_host_that_offers_only_json_gets_json(start):
    worker = start()
    assert worker.greet(codecs=["json"])["lair"]["codec"] == "json"
    assert worker.call("echo", {"a": 1}) == {"a": 1}


NO_FRAMES = [each["msgpack"] for each in VECTORS["refused"] if each["msgpack"] >= "8"]


@pytest.mark.parametrize("frame", NO_FRAMES)
def test_a_frame_that_is_not_messagepack_ends_the_worker(greeted, frame):
    worker = greeted()
    worker.send_bytes(bytes.fromhex(frame))
    assert "the host has broken the protocol: a frame that is not " in worker.expect_end(1)


def test_memory_stays_flat_over_many_calls(full):
    worker = full(
        """
        import gc, os
        def echo(*args, **keywords): return [args, keywords]
        def fails(): raise ValueError("no")
        def odd(): return {1, 2}
        def resident():
            gc.collect()
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        """
    )

    def rounds(count):
        for _ in range(count):
            for number in range(20):
                worker.send(
                    [1, number, worker.generation, "echo", ["text", 1.5, {"k": [number]}], {"ms": 100}]
                )
                worker.send([1, number, worker.generation, "echo", {"a": "x" * 300}, {}])
                worker.send([1, number, worker.generation, "fails", [], {}])
                worker.send([1, number, worker.generation, "odd", [], {}])
            for _ in range(80):
                worker.receive_bytes()

    rounds(50)
    before = worker.call("resident")
    rounds(100)
    assert worker.call("resident") - before < 512 << 10


def test_texts_that_come_again_are_what_they_were(greeted):
    """The accelerator keeps short ones, of which many have the same place."""
    worker = greeted()
    names = [
        f"{first}{middle}{last}"
        for first in "aé"
        for middle in ("", "b", "c" * 28, "c" * 29, "c" * 40)
        for last in "xyü"
    ]
    for _ in range(3):
        for name in names:
            value = {name: 1, f"{name}2": [name, {name: name}]}
            assert worker.call("echo", value) == value
    assert worker.fail("e" * 3)["kind"] == "unknown_command"
    assert worker.call("echo", 1) == 1
