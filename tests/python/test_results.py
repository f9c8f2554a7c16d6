"""Results are strict JSON, or an error that names the place. Through a worker, and against json itself."""

from __future__ import annotations

import json
import random

import pytest

RESULTS = """
    import collections, decimal, enum, lair_worker as lair
    nan, inf = float("nan"), float("inf")
    loop = []
    loop.append([loop])
    around = {"a": {}}
    around["a"]["b"] = around
    nest = []
    for _ in range(100_000): nest = [nest]
    class Colour(enum.IntEnum): RED = 3
    class Thing: pass
    class Array:
        def tolist(self): return [1]
    Point = collections.namedtuple("Point", "x y")

    @lair.command
    def give(expression): return eval(expression, globals())

    @lair.command
    def text(size): return "x" * size
"""


@pytest.fixture
def worker(greeted):
    return greeted(RESULTS)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("nan", "result is NaN, which is not JSON"),
        ("inf", "result is Infinity, which is not JSON"),
        ("{'scores': [1, 2, 3, nan]}", "result.scores[3] is NaN"),
        ("[{'a b': -inf}]", "result[0]['a b'] is -Infinity"),
        ("{3: {None: nan}}", "result[3][None] is NaN"),
        ("{nan: 1}", "the key nan of result is NaN"),
        ("{(1, 2): 1}", "result has a key of type tuple"),
        ("{'x': {b'k': 1}}", "result.x has a key of type bytes"),
        ("Thing()", "result is of type mod.Thing"),
        ("[1, {2}]", "result[1] is of type set"),
        ("b'bytes'", "result is of type bytes"),
        ("1j", "result is of type complex"),
        ("decimal.Decimal(1)", "result is of type decimal.Decimal"),
        ("[(n for n in 'x')]", "result[0] is of type generator"),
        ("len", "result is of type builtin_function_or_method"),
        ("{'a': Array()}", "result.a is of type mod.Array, which is not JSON; .tolist() makes it"),
        ("2**64", "result is an integer outside -2^63 to 2^64-1"),
        ("-2**63 - 1", "result is an integer outside"),
        ("[[0, 10**19 * 2]]", "result[0][1] is an integer outside"),
        ("[1, -9223372036854775809]", "result[1] is an integer outside"),
        ("10**5000", "result is an integer outside"),
        ("['12345678901234567890123', 2**70]", "result[1] is an integer outside"),
        ("['x' * 70_000, 2**70]", "result[1] is an integer outside"),
        ("[*range(10_000), 2**64, *range(10_000)]", "result[10000] is an integer outside"),
        ("'a\\ud800'", "result holds a lone surrogate (character 1)"),
        ("{'k': ['\\udfff']}", "result.k[0] holds a lone surrogate"),
        ("{'\\ud800': 1}", "the key '\\ud800' of result holds a lone surrogate"),
        ("['😀', '\\ude00\\ud83d']", "result[1] holds a lone surrogate"),
        ("loop", "result[0][0] contains itself"),
        ("around", "result.a.b contains itself"),
        ("nest", "result is nested too deeply"),
        ("[nest]", "result is nested too deeply"),
    ],
)
def test_what_json_cannot_carry_is_named(worker, expression, message):
    error = worker.fail("give", expression)
    assert error["kind"] == "unencodable"
    assert message in error["message"]
    assert worker.call("give", "1") == 1


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("(1, (2, 3))", [1, [2, 3]]),
        ("Point(1, 2)", [1, 2]),
        ("Colour.RED", 3),
        ("{1: 'a', None: 'b', True: 'c', 1.5: 'd'}", {"1": "c", "null": "b", "1.5": "d"}),
        ("collections.OrderedDict(b=1, a=2)", {"b": 1, "a": 2}),
        ("collections.Counter('aab')", {"a": 2, "b": 1}),
        ("[2**64 - 1, -2**63, 2**63, 10**18]", [2**64 - 1, -(2**63), 2**63, 10**18]),
        ("{2**70: 1}", {str(2**70): 1}),
        ("'18446744073709551616'", "18446744073709551616"),
        ("['1' * 25, '-' + '9' * 30]", ["1" * 25, "-" + "9" * 30]),
        ("[0.00012345678901234567, 1e300, 5e-324]", [0.00012345678901234567, 1e300, 5e-324]),
        ("'\\ud83d\\ude00'.encode('utf-16', 'surrogatepass').decode('utf-16')", "😀"),
        ("'\\\\ud800'", "\\ud800"),
        ("'é' * 3", "ééé"),
        ("[[]] * 3", [[], [], []]),
    ],
)
def test_what_json_can_carry_arrives(worker, expression, result):
    assert worker.call("give", expression) == result


def test_protocol_1_has_the_same_errors(start):
    worker = start(RESULTS)
    reply = worker.request("give", {"expression": "{'scores': [nan]}"})
    assert reply["success"] is False and "result.scores[0] is NaN" in reply["error"]
    assert "refused" not in reply  # the command has run
    assert worker.request("give", {"expression": "1"})["result"] == 1


@pytest.mark.parametrize("size", [0, 1, 65_000, 65_519, 65_520, 65_536, 70_000, 1 << 20, (4 << 20) - 10])
def test_results_of_any_size_up_to_the_limit(start, size):
    worker = start(RESULTS)
    worker.greet(max_frame=4 << 20)
    assert worker.call("text", size) == "x" * size


def test_a_result_beyond_the_limit_names_both_sizes(start):
    worker = start(RESULTS)
    worker.greet(max_frame=4 << 20)
    least = len(worker.encode([2, 1, worker.generation, "x" * 70_000])) - 70_000 + (4 << 20)
    error = worker.fail("text", 4 << 20)
    assert error["kind"] == "unencodable"
    assert f"{least} bytes" in error["message"] and f"{4 << 20} bytes" in error["message"]
    assert worker.call("text", 1) == "x"


def test_a_too_long_result_of_protocol_1_names_both_sizes(start):
    reply = start(RESULTS).request("text", {"size": 64 << 20})
    assert reply["success"] is False and str(64 << 20) in reply["error"]


# --- the encoder itself, in this process ----------------------------------------------------------------


def codecs():
    from lair_worker import _encode

    return {"fast": _encode._fast_codec, "portable": _encode._portable_codec}


@pytest.fixture(params=["fast", "portable"])
def encoder(request, monkeypatch):
    """The module with one of its two engines."""
    from lair_worker import _encode

    to_ascii, to_unicode, scan = codecs()[request.param]()
    monkeypatch.setattr(_encode, "_to_ascii", to_ascii)
    monkeypatch.setattr(_encode, "_to_unicode", to_unicode)
    monkeypatch.setattr(_encode, "_scan", scan)
    return _encode


def random_value(rng: random.Random, depth: int = 0):
    kind = rng.randrange(10 if depth < 4 else 7)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice([0, -1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), rng.randrange(-(2**63), 2**64)])
    if kind == 2:
        return rng.choice([0.0, -1.5, 1e-5, 1.2345678901234567e-4, rng.random(), rng.random() * 1e-3, 1e22])
    if kind < 7:
        alphabet = 'abc "\\/\n\t\u0001é€😀0123456789-.u'
        return "".join(rng.choice(alphabet) for _ in range(rng.choice([0, 1, 5, 40, 300])))
    if kind == 9:
        return {str(rng.random()): random_value(rng, depth + 1) for _ in range(rng.randrange(5))}
    return [random_value(rng, depth + 1) for _ in range(rng.randrange(6))]


def test_any_value_comes_back_from_json(encoder):
    rng = random.Random(1)
    for _ in range(3000):
        value = random_value(rng)
        assert json.loads(encoder.encode(value)) == value
        assert encoder.decode(encoder.encode(value)) == value


def test_an_integer_too_large_is_found_wherever_it_is(encoder):
    rng = random.Random(2)
    for _ in range(2000):
        large = rng.choice([2**64, -(2**63) - 1, 10**20, -(10**19), 10 ** rng.randrange(20, 60), 2**64 + 5])
        value = [random_value(rng) for _ in range(rng.randrange(4))]
        value.insert(rng.randrange(len(value) + 1), rng.choice([large, {"k": large}, ["1" * 19, large]]))
        with pytest.raises(OverflowError):
            encoder.encode(value)


def test_the_decoder_refuses_what_is_not_json(encoder):
    for text in ("", " ", "NaN", "[Infinity]", "[1,]", "{'a': 1}", "01", "1 2", '"\n"', "nul", "\ufeff1"):
        with pytest.raises(ValueError):
            encoder.decode(text.encode())
    with pytest.raises(ValueError):
        encoder.decode(b'"\xff"')


def test_the_walk_is_linear_in_depth(encoder):
    nest = value = []
    for _ in range(100_000):
        nest.append([])
        nest = nest[0]
    nest.append(float("nan"))
    fault = encoder.explain(value, RecursionError())
    assert "is NaN" in str(fault) and len(str(fault)) < 500
