"""Field names: what the host calls a field, and the Python identifier that it has in a DSPy signature."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from lair_dspy._dspy import need
from lair_dspy._errors import InvalidSignature

# What dspy.Predict takes as arguments of its own.
_TAKEN = {
    "signature",
    "demos",
    "config",
    "lm",
    "new_signature",
    "prediction",
    "max_iters",
    "interpreter",
    "self",
}


def sanitise(name: str, position: int) -> str:
    """Non-word characters become ``_``; what would begin with one, or with a digit, becomes ``field_N``."""
    field = re.sub(r"\W", "_", name)
    if not field.isidentifier() or field.startswith("_"):
        return f"field_{position}"
    if keyword.iskeyword(field) or field in _TAKEN or hasattr(need().Signature, field):
        return field + "_"
    return field


def mapping(names: Iterable[str]) -> dict[str, str]:
    """Each name with its identifier. InvalidSignature if two names are one, or would become one."""
    found: dict[str, str] = {}
    owner: dict[str, str] = {}
    for position, name in enumerate(names, 1):
        if not isinstance(name, str) or not name.strip():
            raise InvalidSignature(f"field {position} has no name, but {name!r}")
        if name in found:
            raise InvalidSignature(f"two fields are named {name!r}")
        field = sanitise(name, position)
        if field in owner:
            raise InvalidSignature(
                f"the fields {owner[field]!r} and {name!r} both become {field!r} in Python: rename one"
            )
        found[name], owner[field] = field, name
    return found
