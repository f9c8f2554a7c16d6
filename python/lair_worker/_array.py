"""Array: numbers of one kind, as a command sees them; and room for those that it returns.

Imported with the first array.
"""

from __future__ import annotations

import ctypes
import sys

from lair_worker._codec import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._arrays import Arrays

# The channel's, from its first call with arrays on.
serving: Arrays | None = None

_ORDER = "<" if sys.byteorder == "little" else ">"
# What numpy calls it, how the array interface writes it, its size, what struct calls it, if it can say it.
_ROWS = (
    ("bool", "|b1", 1, "?"),
    ("int8", "|i1", 1, "b"),
    ("int16", _ORDER + "i2", 2, "h"),
    ("int32", _ORDER + "i4", 4, "i"),
    ("int64", _ORDER + "i8", 8, "q"),
    ("uint8", "|u1", 1, "B"),
    ("uint16", _ORDER + "u2", 2, "H"),
    ("uint32", _ORDER + "u4", 4, "I"),
    ("uint64", _ORDER + "u8", 8, "Q"),
    ("float32", _ORDER + "f4", 4, "f"),
    ("float64", _ORDER + "f8", 8, "d"),
    ("complex64", _ORDER + "c8", 8, ""),
    ("complex128", _ORDER + "c16", 16, ""),
)
OF_TYPESTR = {row[1]: row for row in _ROWS}
_OF_NAME = {row[0]: row for row in _ROWS}
OF_FORMAT = {row[3]: row for row in _ROWS if row[3]}
for _letter, _kind in (("l", "int"), ("L", "uint")):
    OF_FORMAT[_letter] = _OF_NAME[f"{_kind}{8 * ctypes.sizeof(ctypes.c_long)}"]
KINDS = ", ".join(row[0] for row in _ROWS)


class _View:
    """What Array has from the accelerator where that is there."""

    __slots__ = ("__weakref__", "_block", "_first", "_typestr", "dtype", "readonly", "shape", "strides")

    def __init__(
        self,
        block: Any,
        first: int,
        typestr: str,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None,
        readonly: bool,
    ) -> None:
        self._block = block
        self._first = first
        self._typestr = typestr
        self.dtype: str = OF_TYPESTR[typestr][0]
        self.shape = shape
        self.strides = strides if strides is not None else contiguous_strides(OF_TYPESTR[typestr][2], shape)
        self.readonly = readonly

    @property
    def size(self) -> int:
        """How many elements."""
        count = 1
        for each in self.shape:
            count *= each
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * OF_TYPESTR[self._typestr][2]

    @property
    def contiguous(self) -> bool:
        """Whether the elements follow each other in the order of C."""
        if not self.size:
            return True
        plain = contiguous_strides(OF_TYPESTR[self._typestr][2], self.shape)
        return all(n == 1 or a == b for n, a, b in zip(self.shape, self.strides, plain))

    @property
    def _address(self) -> int:
        return address_of(self._block) + self._first

    def memoryview(self) -> memoryview:
        """The elements, with their format and shape, which is one dimension where there are none.

        BufferError where a memoryview can't say it: strides that leave gaps, and complex numbers, which
        numpy can.
        """
        form = OF_TYPESTR[self._typestr][3]
        if not self.contiguous or not form:
            raise BufferError(f"a memoryview can't show {self!r}; numpy.asarray() can")
        flat = memoryview(self._block)[self._first : self._first + self.nbytes]
        if self.readonly:
            flat = flat.toreadonly()
        if not self.size:
            return flat.cast("B").cast(form)
        return flat.cast("B").cast(form, self.shape)

    def __buffer__(self, _flags: int) -> memoryview:  # asked for from Python 3.12 on
        if not self.size:
            raise BufferError("a memoryview can't show a shape without elements")
        return self.memoryview()


def address_of(block: Any) -> int:
    """Of a block's first byte."""
    return block.address if native else ctypes.addressof(block)


def own_block(size: int) -> Any:
    """Memory of this process, of so many bytes at least."""
    return native.Block(bytearray(size or 1), 0, size or 1) if native else (ctypes.c_ubyte * (size or 1))()


class Array(native.View if native else _View):  # type: ignore[misc]
    """Numbers of one kind, of any shape. ``numpy.asarray(array)`` and ``array.memoryview()`` copy nothing.

    ``shape`` is a tuple, ``dtype`` a name as numpy has it (``"float32"``), ``strides`` in bytes. An argument
    is read-only unless the caller has said ``inout``. Views may be kept for as long as one likes: the
    caller's memory is not used for anything else meanwhile, though he may write to it.
    """

    __slots__ = ()

    @property
    def ndim(self) -> int:
        """How many dimensions; 0: a single element."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return OF_TYPESTR[self._typestr][2]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "typestr": self._typestr,
            "shape": self.shape,
            "strides": self.strides,
            "data": (self._address, self.readonly),
        }

    def tolist(self) -> Any:
        """Lists of Python numbers, one within another; a number if there are no dimensions."""
        if not self.size:
            return [] if self.shape[0] == 0 else _nested_empty(self.shape)
        return self.memoryview().tolist()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("an array without dimensions has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<lair_worker.Array {self.dtype} {self.shape}{'' if self.readonly else ', writable'}>"


def empty(shape: int | tuple[int, ...] | list[int], dtype: str = "float64") -> Array:
    """A writable Array, to be filled and returned. Its elements are whatever was there before.

    In a call whose caller takes arrays, the caller gets this very memory, and nothing is copied; elsewhere
    (in a coroutine, too) it is memory of this process. ``dtype``: a name, or a ``numpy.dtype``.
    ValueError for what can't be; MemoryError where the host has no room.
    """
    if native:
        granted = native.empty_granted(Array, shape, dtype)
        if granted is not None:
            return granted  # type: ignore[no-any-return]
    sizes = (shape,) if isinstance(shape, int) else tuple(int(each) for each in shape)
    name = dtype
    if not isinstance(dtype, str):
        name = getattr(dtype, "name", None) or getattr(dtype, "__name__", "?")
    row = _OF_NAME.get(name)
    if row is None or any(each < 0 for each in sizes):
        raise ValueError(f"no array of {name!r} and shape {sizes}; the types are {KINDS}")
    bytes_needed = row[2]
    for each in sizes:
        bytes_needed *= each
    if serving is not None and serving.has_room():
        _, block = serving.room(bytes_needed)
        return Array(block, 0, row[1], sizes, None, False)
    return Array(own_block(bytes_needed), 0, row[1], sizes, None, False)


def contiguous_strides(itemsize: int, shape: Any) -> tuple[int, ...]:
    strides = []
    for each in reversed(shape):
        strides.append(itemsize)
        itemsize *= max(each, 1)
    return tuple(reversed(strides))


def _nested_empty(shape: tuple[int, ...]) -> Any:
    return [_nested_empty(shape[1:]) for _ in range(shape[0])] if len(shape) > 1 else []
