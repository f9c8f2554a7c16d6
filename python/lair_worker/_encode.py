"""Strict JSON, both ways, as fast as the standard library can do it.

Strict means: what leaves is UTF-8 JSON that any reader gets back exactly, or it does not leave. NaN,
Infinity, lone surrogates, integers outside [-2^63, 2^64-1] and unknown types are errors, and the slow walk
that names the place runs only once one of them has been met.

The C encoder and scanner are taken from ``_json`` itself: the ``json`` package would import ``re`` and
``enum``, 6 of the 16 ms that an interpreter needs to start with it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Writer = Callable[[Any], str]
    Scanner = Callable[[str, int], tuple[Any, int]]

SMALLEST_INT = -(2**63)
LARGEST_INT = 2**64 - 1
MOST_NESTING = 998  # the host counts to 1000, and a stream or a batch puts two more around an item


class Unencodable(Exception):
    """A value that JSON can't carry; the text names the place in it."""


def decode(payload: bytes | bytearray | memoryview) -> Any:
    """The value of a JSON text. ValueError (or RecursionError) if it is not one."""
    text = str(payload, "utf-8")
    try:
        value, end = _scan(text, 0)
    except (StopIteration, SystemError):  # the latter where json.decoder, with its exception, isn't loaded
        return _decode_slowly(text)
    if end != len(text):
        return _decode_slowly(text)
    return value


def encode(message: Any) -> bytes:
    """``message`` as JSON. Any exception means that some part of it can't be sent; ``explain`` says which."""
    text = _to_ascii(message)
    if "\\" in text and _SURROGATE in text:
        text = _to_unicode(message)  # whose encode() tells pairs, which are text, from lone ones
    data = text.encode()
    if len(data) > 18 and (len(data) < 256 or _THIN_RUN in data[::9].translate(_DIGITS_TO_ZERO)):
        _check_long_numbers(data, message)
    if len(data) > 2 * MOST_NESTING and data.count(b"[") + data.count(b"{") > MOST_NESTING:
        _check_nesting(data)
    return data


def is_flow(value: Any) -> bool:
    """Whether a command's result is to be awaited or iterated over, rather than sent as it is."""
    cls = type(value)
    return hasattr(cls, "__next__") or hasattr(cls, "__await__") or hasattr(cls, "__anext__")


def explain(value: Any, error: BaseException) -> Unencodable:
    """Why ``encode`` failed with ``error`` on a message that holds ``value``, with the place in ``value``."""
    fault = _find_fault(value)
    if fault is None:
        fault = "result is nested too deeply" if isinstance(error, RecursionError) else f"result: {error}"
    return Unencodable(fault.encode("utf-8", "backslashreplace").decode())


_SURROGATE = "\\ud"  # how the ASCII encoder, nearly twice as fast as the other, writes half a character


# --- integers -----------------------------------------------------------------------------------------
# Every integer of up to 18 digits fits, so only a run of 19 digits or more is worth a look. Runs in strings
# and fractions are told apart by their neighbour or, at worst, by the walk. In long results every ninth byte
# is looked at first: a run of 19 has two of them side by side.

_RUN = b"0" * 19
_THIN_RUN = b"0" * 2
_DIGITS_TO_ZERO = bytes(48 if 48 <= byte <= 57 else byte for byte in range(256))


def _check_long_numbers(data: bytes, message: Any) -> None:
    flat = data.translate(_DIGITS_TO_ZERO)
    at = flat.find(_RUN)
    while at >= 0:
        run = flat[at : at + 21]  # one digit more than any that fits
        length = len(run) - len(run.lstrip(b"0"))
        before = data[at - 1 : at]
        if before != b".":
            number = int(data[at : at + length])
            if number > (-SMALLEST_INT if before == b"-" else LARGEST_INT):
                if _find_fault(message) is not None:
                    raise OverflowError("an integer outside -2^63 to 2^64-1")
                return  # the long numbers are in strings
        at = flat.find(_RUN, at + length)


# --- nesting ------------------------------------------------------------------------------------------
# How deep the C encoder goes differs by version (from Python 3.12 on C has a limit of its own, far beyond
# what the host takes) and by sys.setrecursionlimit. So what has brackets enough is looked at.

_SQUARE = bytes({123: 91, 125: 93}.get(byte, byte) for byte in range(256))  # braces as brackets
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_FLAT = 8


def _check_nesting(data: bytes) -> None:
    from itertools import accumulate

    outside = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]  # what is in no string
    brackets = b"".join(outside).translate(_SQUARE, _OTHERS)
    for _ in range(_FLAT):  # each takes the innermost level away: of many short lists nothing is left
        brackets = brackets.replace(b"[]", b"")
    # ASCII has the two side by side, with 92 between them.
    if _FLAT + max(accumulate(92 - byte for byte in brackets), default=0) > MOST_NESTING:
        raise RecursionError("nested too deeply")


# --- the walk that names the place --------------------------------------------------------------------


def _find_fault(value: Any) -> str | None:
    """The first thing within ``value`` that can't be sent, in the order of its JSON; None if all can be."""
    stack = [(0, iter([("result", value)]))]  # the containers around the item: id, and what is left of it
    around = {0}
    while stack:
        for place, item in stack[-1][1]:
            if len(place) > 300:  # deep down; the end of the path says more than its beginning
                place = "..." + place[-200:]
            if isinstance(item, (list, tuple)):
                inner = _elements(place, item)
            elif isinstance(item, dict):
                inner = _entries(place, item)
            else:
                fault = _leaf_fault(place, item)
                if fault is not None:
                    return fault
                continue
            if id(item) in around:
                return f"{place} contains itself"
            stack.append((id(item), inner))
            around.add(id(item))
            break
        else:
            around.discard(stack.pop()[0])
    return None


def _elements(place: str, sequence: list[Any] | tuple[Any, ...]) -> Any:
    for index, element in enumerate(sequence):
        yield f"{place}[{index}]", element


def _entries(place: str, mapping: dict[Any, Any]) -> Any:
    for key, element in list(mapping.items()):
        if isinstance(key, str):
            yield f"the key {key!r} of {place}", key
            yield (f"{place}.{key}" if key.isidentifier() else f"{place}[{key!r}]"), element
        elif key is None or isinstance(key, (int, float)):
            if isinstance(key, float):
                yield f"the key {key!r} of {place}", key
            yield f"{place}[{key!r}]", element
        else:
            yield f"{place} has a key of type {type_name(type(key))}, which", _BadKey
            return


class _BadKey:
    pass


def _leaf_fault(place: str, item: Any) -> str | None:
    if item is None or isinstance(item, bool):
        return None
    if isinstance(item, str):
        try:
            str.encode(item)
        except UnicodeEncodeError as error:
            return f"{place} holds a lone surrogate (character {error.start}), which is not text"
        return None
    if isinstance(item, int):
        if SMALLEST_INT <= item <= LARGEST_INT:
            return None
        return f"{place} is an integer outside -2^63 to 2^64-1; send it as text"
    if isinstance(item, float):
        if item != item:
            return f"{place} is NaN, which is not JSON"
        if item in (float("inf"), float("-inf")):
            return f"{place} is {'-' if item < 0 else ''}Infinity, which is not JSON"
        return None
    if item is _BadKey:
        return f"{place} is not JSON: a key is a str, int, float, bool or None"
    hint = "; .tolist() makes it a plain value" if callable(getattr(item, "tolist", None)) else ""
    return f"{place} is of type {type_name(type(item))}, which is not JSON{hint}"


def type_name(cls: type) -> str:
    """``ValueError`` for a builtin, ``module.Name`` for any other type."""
    module = getattr(cls, "__module__", None)
    name = getattr(cls, "__qualname__", None) or "?"
    text = name if module in ("builtins", None) else f"{module}.{name}"
    return text.encode("utf-8", "backslashreplace").decode()


# --- the C encoder and scanner ------------------------------------------------------------------------


def _refuse_type(item: Any) -> Any:
    raise TypeError(f"{type_name(type(item))} is not JSON")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _decode_slowly(text: str) -> Any:
    """For white space around the value, and for the full wording of an error."""
    from json import loads

    return loads(text, parse_constant=_refuse_constant)


class _ScanRules:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


def _fast_codec() -> tuple[Writer, Writer, Scanner]:
    if hasattr(sys, "gettotalrefcount"):
        raise ImportError("a debug build aborts on the SystemError that decode() relies on")
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    # markers, default, encoder, indent, key_separator, item_separator, sort_keys, skipkeys, allow_nan.
    # No markers: a value that contains itself ends in a RecursionError, and the walk names it.
    ascii_chunks = make_encoder(
        None, _refuse_type, encode_basestring_ascii, None, ":", ",", False, False, False
    )
    chunks = make_encoder(None, _refuse_type, encode_basestring, None, ":", ",", False, False, False)
    join = "".join

    def to_ascii(message: Any) -> str:
        return join(ascii_chunks(message, 0))

    def to_unicode(message: Any) -> str:
        return join(chunks(message, 0))

    scan = make_scanner(_ScanRules)  # type: ignore[arg-type]
    if to_ascii([1, {"a": "\u00e9"}]) != '[1,{"a":"\\u00e9"}]' or scan('{"a":[1.5]}', 0) != (
        {"a": [1.5]},
        11,
    ):
        raise ImportError("_json is not the one that this file knows")
    return to_ascii, to_unicode, scan


def _portable_codec() -> tuple[Writer, Writer, Scanner]:
    """The same from the public package, for interpreters whose ``_json`` is missing or different."""
    import json

    def writer(ensure_ascii: bool) -> Writer:
        return json.JSONEncoder(
            ensure_ascii=ensure_ascii,
            allow_nan=False,
            check_circular=False,
            separators=(",", ":"),
            default=_refuse_type,
        ).encode

    return writer(True), writer(False), json.JSONDecoder(parse_constant=_refuse_constant).scan_once  # type: ignore[attr-defined]


try:
    _to_ascii, _to_unicode, _scan = _fast_codec()
except Exception:
    _to_ascii, _to_unicode, _scan = _portable_codec()
