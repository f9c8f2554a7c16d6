"""DSPy's adapters, as they are; and as ones that remember what they say of a signature."""

from __future__ import annotations

from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from lair_dspy._dspy import need
from lair_dspy._errors import InvalidLM, among

_CLASSES = {"chat": "ChatAdapter", "json": "JSONAdapter", "xml": "XMLAdapter"}
_DEFAULT = "chat"  # DSPy's own


def check(name: Any) -> None:
    """InvalidLM if there is no such adapter. None is the default one."""
    if name is not None and name not in _CLASSES:
        raise InvalidLM(f"there is no adapter {name!r}" + among(str(name), _CLASSES))


def adapter_of(name: str | None, signature_stays: bool = False) -> Any:
    """DSPy's adapter of this name, which has been checked; None for the default one.

    ``signature_stays``: nobody else has the program's signature, so none of its fields changes. The part of
    the prompt that hangs on nothing else is then put together once, not in each run.
    """
    if signature_stays:
        return _remembering(name or _DEFAULT)
    return None if name is None else getattr(need(), _CLASSES[name])()


@cache
def _remembering(name: str) -> Any:
    adapter = getattr(need(), _CLASSES[name])

    class Remembering(adapter):  # type: ignore[misc, valid-type]
        """The same, one for all runs."""

        def __init__(self) -> None:
            super().__init__()
            self._said: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

        def format_system_message(self, signature: Any) -> str:
            said = self._said.get(signature)
            if said is None:
                said = self._said[signature] = super().format_system_message(signature)
            return said

    # An adapter's name is in its errors.
    Remembering.__name__, Remembering.__qualname__ = adapter.__name__, adapter.__qualname__
    Remembering.__module__ = adapter.__module__
    return Remembering()
