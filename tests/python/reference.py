"""MessagePack in plain Python, after its specification: what the tests' hosts speak."""

from __future__ import annotations

import struct

_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_SIZES = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}


def _sized(size: int, fixed: int, most: int, *longer: int) -> bytes:
    if size < most:
        return bytes([fixed | size])
    for kind in longer:
        if size < 1 << 8 * struct.calcsize(_SIZES[kind]):
            return bytes([kind]) + struct.pack(_SIZES[kind], size)
    raise OverflowError(size)


def pack(value) -> bytes:
    """A value in the shortest form."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if -32 <= value < 128:
            return struct.pack(">b", value)
        for kind in (0xCC, 0xCD, 0xCE, 0xCF) if value >= 0 else (0xD0, 0xD1, 0xD2, 0xD3):
            try:
                return bytes([kind]) + struct.pack(_NUMBERS[kind], value)
            except struct.error:
                continue
        raise OverflowError(value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return _sized(len(data), 0xA0, 32, 0xD9, 0xDA, 0xDB) + data
    if isinstance(value, (list, tuple)):
        return _sized(len(value), 0x90, 16, 0xDC, 0xDD) + b"".join(map(pack, value))
    if isinstance(value, dict):
        entries = b"".join(pack(key) + pack(each) for key, each in value.items())
        return _sized(len(value), 0x80, 16, 0xDE, 0xDF) + entries
    raise TypeError(type(value))


def unpack(data: bytes):
    """The value of a whole message."""
    value, end = _read(data, 0)
    assert end == len(data), "more behind it"
    return value


def _read(data: bytes, at: int):
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 256, at
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at
    if kind in _NUMBERS:
        form = _NUMBERS[kind]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if kind in _SIZES:
        (size,) = struct.unpack_from(_SIZES[kind], data, at)
        at += struct.calcsize(_SIZES[kind])
    else:
        assert kind < 0xC0, f"the SDK sends no {kind:#x}"
        size = kind & (0x1F if kind >= 0xA0 else 0x0F)
    if kind in (0xD9, 0xDA, 0xDB) or 0xA0 <= kind < 0xC0:
        return data[at : at + size].decode(), at + size
    if kind in (0xDC, 0xDD) or 0x90 <= kind < 0xA0:
        elements = []
        for _ in range(size):
            element, at = _read(data, at)
            elements.append(element)
        return elements, at
    entries = {}
    for _ in range(size):
        key, at = _read(data, at)
        entries[key], at = _read(data, at)
    return entries, at
