"""How messages of protocol 2 are written: as JSON, or, where both sides can, as MessagePack.

A frame says by its first byte which of them it is, so whoever can read both reads either at any time. The
accelerator's codec takes and refuses the same values as the JSON of ``_encode``, which an installed
``msgpack`` would not (it sends bytes and NaN, and keys that are numbers), so that one isn't used.
"""

from __future__ import annotations

import os

from lair_worker import _encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_wanted = os.environ.get("LAIR_NATIVE")

native: ModuleType | None = None
if _wanted != "off":
    try:
        from lair_worker import _native as native  # type: ignore[attr-defined,no-redef]
    except ImportError:
        pass  # not built for this interpreter

JSON, MESSAGEPACK = "json", "msgpack"

name = JSON
encode, decode = _encode.encode, _encode.decode


def choose(offered: Any) -> str:
    """The best codec of the offer. From now on ``encode`` writes it, and ``decode`` reads it, too."""
    global name, encode, decode
    if native is not None and type(offered) is list and MESSAGEPACK in offered:
        name = MESSAGEPACK
        encode, decode = native.pack, _decode_either
    return name


def loop_is_native() -> bool:
    """Whether the accelerator's loop makes the calls, too, and not its codec alone."""
    return name == MESSAGEPACK and _wanted != "codec"


def label(payload: Any) -> str:
    """What a frame is taken for, for messages."""
    return "MessagePack" if name == MESSAGEPACK and len(payload) and payload[0] >= 0x80 else "JSON"


def _decode_either(payload: Any) -> Any:
    if len(payload) and payload[0] >= 0x80:  # no text begins so
        return native.unpack(payload)  # type: ignore[union-attr]
    return _encode.decode(payload)
