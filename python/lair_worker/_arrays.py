"""Arrays in memory that the host shares: views of its arguments, and room for results.

A call's ``meta.arrays`` says where its arrays are; ``null`` is in their places until they are put there. The
memory is mapped once. What tells that nobody looks at a block any more is the end of the object that exports
it: every ``memoryview`` and every numpy array that was made of it keeps that object. Only then is the block
released, ahead of the call's last frame.

Imported with the first array.
"""

from __future__ import annotations

import ctypes
import os
import sys
from _thread import get_ident
from contextlib import suppress
from mmap import mmap
from weakref import ref

from lair_worker import _array, _codec
from lair_worker._array import KINDS, OF_FORMAT, OF_TYPESTR, Array, address_of, contiguous_strides
from lair_worker._channel import HostBroken
from lair_worker._codec import native
from lair_worker._encode import Unencodable, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._channel import Channel
    from lair_worker._context import Context
    from lair_worker._protocol2 import Protocol2

RESULT, RELEASE = 2, 14
SEGMENT, ALLOCATE = "lair.array.segment", "lair.array.allocate"


class _View(ref):  # type: ignore[type-arg]
    """Tells of the end of the object that exports a block."""

    __slots__ = ("key",)
    key: Any


class Arrays:
    """One for each channel. The main thread's, but for the ends of views, which come in any thread.

    The accelerator does the work of ``enter`` and ``leave`` for plain calls, with what is in these slots.
    """

    __slots__ = (
        "_call",
        "_channel",
        "_counts",
        "_ended",
        "_generation",
        "_grant",
        "_keys",
        "_places",
        "_protocol",
        "_rooms",
        "_segments",
        "_thread",
        "_types",
        "_views",
    )
    _array_type = Array

    def __init__(self, protocol: Protocol2, channel: Channel, generation: int) -> None:
        self._protocol = protocol
        self._channel = channel
        self._generation = generation
        self._thread = get_ident()
        self._segments: dict[int, mmap] = {}
        self._types: dict[int, Any] = {}
        self._views: dict[int, _View] = {}  # by their id
        self._counts: dict[tuple[int, int], int] = {}  # of views of a block, by its key
        self._ended: list[tuple[int, int]] = []  # the keys of views that have, and are still counted
        # Of the call that runs.
        self._call: Context | None = None
        self._places: list[tuple[Any, Any]] = []
        self._keys: list[tuple[int, int]] = []
        self._grant: list[int] | None = None
        self._rooms: list[tuple[int, int, tuple[int, int]]] = []  # address, size, key
        _array.serving = self

    def enter(self, call: Context, args: Any) -> None:
        """Puts a call's arrays into their places. Raises what mapping memory may, and Cancelled."""
        said = call.meta["arrays"]
        if type(said) is not dict or type(said.get("in", [])) is not list:
            raise HostBroken("a CALL whose meta.arrays is not what it should be")
        self._call = call
        self._places, self._keys, self._rooms = [], [], []
        self._grant = said.get("out")
        if self._grant is not None:
            self._keys.append((self._grant[0], self._grant[1]))
        arguments = said.get("in", [])
        for each in arguments:  # all of them, before anything can fail: they are released whatever happens
            self._keys.append((each[1], each[2]))
        for number in said.get("dropped", ()):
            self._drop(number)
        for path, segment, block, size, first, typestr, shape, strides, inout in arguments:
            exporter = self._export(segment, block, size)
            array = Array(
                exporter,
                first,
                typestr,
                tuple(shape),
                None if strides is None else tuple(strides),
                not inout,
            )
            inner = args
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = array
            self._places.append((inner, path[-1]))

    def leave(self) -> list[list[int]]:
        """After the call: takes them away. Gives the blocks of which there is no view any more."""
        self._call = self._grant = None
        for container, step in self._places:
            with suppress(LookupError, TypeError):  # the command may have changed its arguments
                container[step] = None
        self._places, self._rooms = [], []
        keys = dict.fromkeys(self._keys)
        self._keys = []
        while self._ended:
            key = self._ended.pop()
            keys[key] = None
            left = self._counts.pop(key) - 1
            if left:
                self._counts[key] = left
        return [list(key) for key in keys if key not in self._counts]

    def release_frame(self, number: int, released: list[list[int]]) -> bytes:
        """Tells the host of them."""
        return _codec.encode([RELEASE, number, self._generation, released])

    # --- memory ---------------------------------------------------------------------------------------

    def _export(self, number: int, offset: int, size: int) -> Any:
        segment = self._segments.get(number)
        if segment is None:
            segment = self._segments[number] = self._fetch(number)
        if offset + size > len(segment):
            raise HostBroken("an array beyond the end of its segment")
        key = (number, offset)
        if native:
            exporter = native.Block(segment, offset, size, key, self._ended)
        else:
            exporter = self._exporter(segment, offset, size)
            view = _View(exporter, self._end_view)
            view.key = key
            self._views[id(view)] = view
        self._counts[key] = self._counts.get(key, 0) + 1
        return exporter

    def _exporter(self, segment: mmap, offset: int, size: int) -> Any:
        kind = self._types.get(size)
        if kind is None:
            if len(self._types) >= 256:
                self._types.clear()
            # A class of its own: only such objects can be referred to weakly.
            kind = self._types[size] = type("Block", (ctypes.c_ubyte * size,), {})
        return kind.from_buffer(segment, offset)

    def _end_view(self, view: Any) -> None:
        self._views.pop(id(view), None)
        self._ended.append(view.key)

    def _fetch(self, number: int) -> mmap:
        """Has the host send the descriptor, once for each segment."""
        channel = self._channel
        channel.expect_descriptors()
        try:
            said = self._ask(SEGMENT, {"segment": number})
        finally:
            descriptors = channel.taken_descriptors()
        try:
            if len(descriptors) != 1:
                raise OSError(f"{len(descriptors)} descriptors came with an array; ulimit -n may be too low")
            return mmap(descriptors[0], said["size"])
        finally:
            for fd in descriptors:
                os.close(fd)

    def _ask(self, name: str, args: dict[str, int]) -> Any:
        return self._protocol.midcall().callback(self._call, name, args)  # type: ignore[arg-type]

    def _drop(self, number: int) -> None:
        segment = self._segments.pop(number, None)
        if segment is not None:
            with suppress(BufferError):  # then it goes with its last view
                segment.close()

    # --- results --------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether the call's result may be in the host's memory. Coroutines and threads can't ask for it."""
        call = self._call
        if call is None or "out" not in call.meta["arrays"] or get_ident() != self._thread:
            return False
        return not self._protocol.midcall().in_loop

    def room(self, size: int) -> tuple[Any, Any]:
        """A block of at least so many bytes, by its key and what exports it. MemoryError: there is none."""
        where = self._grant
        if where is not None and where[2] >= size:
            self._grant = None
        else:
            from lair_worker._host import HostError

            try:
                where = self._ask(ALLOCATE, {"bytes": size})
            except HostError as error:
                raise MemoryError(str(error)) from None
        key = (where[0], where[1])
        self._keys.append(key)
        block = self._export(*where)
        self._rooms.append((address_of(block), where[2], key))
        return key, block

    def result(self, call: Context, value: Any) -> bytes | None:
        """The RESULT of a value with arrays in it; None if there are none, or the caller takes none.

        Unencodable, MemoryError.
        """
        if self._call is not call or "out" not in call.meta["arrays"]:
            return None
        found: list[Any] = []
        value = self._extract(value, [], found)
        return _codec.encode([RESULT, call.number, self._generation, value, found]) if found else None

    def _extract(self, value: Any, path: list[Any], found: list[Any]) -> Any:
        cls = type(value)
        if cls is dict:
            return {key: self._extract(each, [*path, key], found) for key, each in value.items()}
        if cls is list or cls is tuple:
            return [self._extract(each, [*path, index], found) for index, each in enumerate(value)]
        if value is None or isinstance(value, (str, int, float)):  # numpy's float64 is one
            return value
        place = self._place(value)
        if place is None:
            return value
        found.append([path, *place])
        return None

    def _place(self, value: Any) -> list[Any] | None:
        """Where an array is in the host's memory, copied if it was elsewhere. None: it is no array."""
        interface = getattr(value, "__array_interface__", None)
        if type(interface) is dict:
            return self._place_interface(value, interface)
        try:
            view = memoryview(value)
        except TypeError:
            return None
        row = OF_FORMAT.get(view.format.lstrip("@="))
        if row is None or view.itemsize != row[2]:
            raise _no_such_type(value, view.format)
        data = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        if not data.readonly and data.nbytes:
            address = ctypes.addressof(ctypes.c_ubyte.from_buffer(data))
            if place := self._within(address, view.nbytes):
                return [*place, row[1], list(view.shape), None]
        key, block = self.room(view.nbytes)
        memoryview(block).cast("B")[: view.nbytes] = data
        return [*key, 0, row[1], list(view.shape), None]

    def _place_interface(self, value: Any, interface: dict[str, Any]) -> list[Any]:
        typestr, shape = interface["typestr"], list(interface["shape"])
        row = OF_TYPESTR.get(typestr)
        if row is None:
            raise _no_such_type(value, typestr)
        size = row[2]
        for each in shape:
            size *= each
        plain = contiguous_strides(row[2], shape)
        strides = interface.get("strides")
        contiguous = not size or strides is None
        contiguous = contiguous or all(n == 1 or a == b for n, a, b in zip(shape, strides, plain))
        address = interface["data"][0]
        low, high = address, address + size
        if not contiguous:
            reaches = [(n - 1) * each for n, each in zip(shape, strides)]
            low = address + sum(each for each in reaches if each < 0)
            high = address + sum(each for each in reaches if each > 0) + row[2]
        if size and (place := self._within(low, high - low)):
            segment, block, first = place
            if contiguous or all(each % row[2] == 0 for each in strides):
                first += address - low
                return [segment, block, first, typestr, shape, None if contiguous else list(strides)]
        numpy = sys.modules.get("numpy")  # whoever has such an array has it, too
        if numpy is None and not contiguous:
            raise Unencodable("result is an array with gaps between its elements; make it contiguous")
        key, exporter = self.room(size)
        if contiguous:
            ctypes.memmove(address_of(exporter), address, size)
        else:
            target = Array(exporter, 0, typestr, tuple(shape), None, False)
            numpy.asarray(target)[...] = value
        return [*key, 0, typestr, shape, None]

    def _within(self, address: int, size: int) -> tuple[int, int, int] | None:
        for begin, length, key in self._rooms:
            if begin <= address and address + size <= begin + length:
                return key[0], key[1], address - begin
        return None


def _no_such_type(value: Any, kind: str) -> Unencodable:
    return Unencodable(
        f"result is of type {type_name(type(value))} with elements {kind!r}; those that travel are {KINDS}"
    )
