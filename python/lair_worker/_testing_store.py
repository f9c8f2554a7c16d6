"""The store of sessions that ``testing.Worker`` plays, as a host has it."""

from __future__ import annotations

from copy import deepcopy
from itertools import count

from lair_worker._host import HostError
from lair_worker._shared import ABSENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._context import Context

_stores = count()


class Store:
    """``values`` by id of the session and key. Tests may change them, too, as a program does."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}
        # How often those of a session have changed, and what they were then.
        self._changes: dict[str, tuple[int, dict[str, Any]]] = {}
        self._first = next(_stores) << 32  # no two stores' numbers are the same

    def count(self, id: str, more: int = 0) -> int:
        """The changes of a session's values, up to now; ``more`` have just been made here."""
        values = self.values.get(id, {})
        changes, known = self._changes.get(id, (self._first, {}))
        if more or not _same(values, known):
            changes, known = changes + (more or 1), deepcopy(values)
        self._changes[id] = changes, known
        return changes

    def end(self, id: str) -> None:
        """A session has ended."""
        self.values.pop(id, None)
        self._changes.pop(id, None)

    def use(self, call: Context, what: str, args: dict[str, Any]) -> Any:
        """What a call asks, or tells."""
        if call.session_id is None:
            raise HostError("CallError", f"lair.session.{what}: the call has no session", "invalid_argument")
        values = self.values.setdefault(call.session_id, {})
        self.count(call.session_id)
        value = _use(values, what, args)
        if what == "put" or (what in ("delete", "compare_and_set") and value):
            self.count(call.session_id, 1)
        return value


def _use(values: dict[str, Any], what: str, args: dict[str, Any]) -> Any:
    key: Any = args.get("key")
    if what == "get":
        return {"found": key in values, "value": deepcopy(values.get(key))}
    if what == "put":
        values[key] = args["value"]
        return None
    if what == "delete":
        return values.pop(key, ABSENT) is not ABSENT
    if what == "list":
        return sorted(each for each in values if each.startswith(args.get("prefix", "")))
    if what != "compare_and_set":
        raise HostError("UnknownCommand", f"Unknown command: lair.session.{what}", "unknown_command")
    if not _same(values.get(key, ABSENT), args.get("expected", ABSENT)):
        return False
    values.pop(key, None)
    if "value" in args:
        values[key] = args["value"]
    return True


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON, for which 1 is 1.0 and True is neither."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
