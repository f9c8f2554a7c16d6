"""Programs as data: made, found, changed and told about.

Two values for each in the scope's store: the data, which is all that a program is and is written seldom,
and its use, a small one that is written with every run and names the version of the data. The module that
is built from the data stays in this process, under (session, id, version), so that any worker can run any
program of its session, and builds it when it first does.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from lair_dspy import _adapters, _lm
from lair_dspy._build import Built, demos_of, options_of, type_of
from lair_dspy._errors import InvalidArgument, ProgramExists, ProgramNotFound, among
from lair_dspy._signature import Signature, described, plain
from lair_dspy._store import PROGRAM, USE, Scope

_MOST_BUILT = 128
_LONGEST_ID = 200

_built: OrderedDict[Any, Built] = OrderedDict()


def now() -> str:
    """Date and time for data, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def id_of(given: Any) -> str:
    """A program's id. InvalidArgument."""
    if given is None or given == "":
        raise InvalidArgument("Program ID is required")
    if not isinstance(given, str):
        raise InvalidArgument(f"a program's id is a text, not {type(given).__name__}")
    if len(given) > _LONGEST_ID:
        raise InvalidArgument(f"a program's id has at most {_LONGEST_ID} characters, not {len(given)}")
    return given


def record_of(program_id: str, given: dict[str, Any]) -> dict[str, Any]:
    """A program's data from what ``create_program`` is given."""
    program_type = type_of(given.get("program_type") or "predict")
    record: dict[str, Any] = {
        "program_id": program_id,
        "program_type": program_type,
        "options": options_of(program_type, given.get("options")),
        "created_at": given.get("created_at") or now(),
    }
    signature = given.get("signature")
    if signature is not None or program_type != "custom":
        record["signature"] = described(signature, given.get("instructions"), given.get("models"))
    for name in ("tools", "adapter", "state", "compiled"):
        if given.get(name):
            record[name] = given[name]
    _adapters.check(record.get("adapter"))
    if given.get("demos"):
        record["demos"] = demos_of(
            given["demos"], Signature(record["signature"]) if "signature" in record else None
        )
    if given.get("lm") is not None:
        record["lm"] = _lm.settings_of(given["lm"])
    return record


def version_of(record: Any) -> str:
    """Changes when the data do."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:20]


def built_of(scope_key: Any, record: dict[str, Any], version: str | None = None) -> Built:
    """The program, built now or before. InvalidArgument and the like if it can't be."""
    return _built_once((scope_key, record["program_id"], version or version_of(record)), lambda: record)


def built_of_data(given: Any, program_id: Any) -> Built:
    """A program whose data came with the call. Data that come with every call are read once."""
    return _built_once(("data", version_of([given, program_id])), lambda: record_of_data(given, program_id))


def _built_once(key: Any, record: Callable[[], dict[str, Any]]) -> Built:
    found = _built.get(key)
    if found is None:
        found = _built[key] = Built(record())
        while len(_built) > _MOST_BUILT:
            _built.popitem(last=False)
    _built.move_to_end(key)
    return found


def forget(scope_key: Any) -> None:
    """Drops what has been built for a scope."""
    for key in [key for key in _built if key[0] == scope_key]:
        del _built[key]


def forget_all() -> None:
    """Drops all that has been built."""
    _built.clear()


# --- in the store -------------------------------------------------------------------------------------


async def create(scope: Scope, record: dict[str, Any], replace: bool) -> Built:
    """Puts a program into the store, after it has been built once. ProgramExists."""
    program_id = record["program_id"]
    if not replace and await scope.get(PROGRAM + program_id) is not None:
        raise ProgramExists(
            f"Program already exists: {program_id!r}; delete it, take another id, or say replace"
        )
    built = built_of(scope.key, record)
    await _put(scope, record, {})
    return built


async def update(scope: Scope, record: dict[str, Any]) -> Built:
    """Puts other data in the place of a program's; its counters go on."""
    built = built_of(scope.key, record)
    use = await scope.get(USE + record["program_id"])
    await _put(scope, record, use or {})
    return built


async def _put(scope: Scope, record: dict[str, Any], use: dict[str, Any]) -> None:
    # A worker that dies in between leaves a program without its use, which find() makes up for; the other
    # order could leave a use that names data which are not there.
    program_id = record["program_id"]
    await scope.delete(USE + program_id)
    await scope.put(PROGRAM + program_id, record)
    await scope.put(USE + program_id, {**use, "version": version_of(record)})


async def find(scope: Scope, program_id: Any) -> tuple[Built, dict[str, Any]]:
    """A program and its use. ProgramNotFound, with the ids that are nearest."""
    program_id = id_of(program_id)
    use = await scope.get(USE + program_id)
    if use is not None:
        found = _built.get((scope.key, program_id, use["version"]))
        if found is not None:
            _built.move_to_end((scope.key, program_id, use["version"]))
            return found, use
    record = await scope.get(PROGRAM + program_id)
    if record is None:
        where = (
            f"session {scope.session_id!r}"
            if scope.session_id is not None
            else "this worker, without a session"
        )
        known = await ids(scope)
        raise ProgramNotFound(f"Program not found: {program_id} (in {where})" + among(program_id, known))
    use = use or {"version": version_of(record)}
    return built_of(scope.key, record, use["version"]), use


async def ids(scope: Scope) -> list[str]:
    """The ids of all programs."""
    return [key[len(PROGRAM) :] for key in await scope.keys(PROGRAM)]


async def delete(scope: Scope, program_id: Any) -> None:
    """Removes a program. ProgramNotFound."""
    built, _ = await find(scope, program_id)
    await _remove(scope, built.record["program_id"])


async def delete_all(scope: Scope) -> int:
    """Removes all programs; how many."""
    found = await ids(scope)
    for program_id in found:
        await _remove(scope, program_id)
    forget(scope.key)
    return len(found)


async def _remove(scope: Scope, program_id: str) -> None:
    await scope.delete(PROGRAM + program_id)
    await scope.delete(USE + program_id)
    for key in [key for key in _built if key[:2] == (scope.key, program_id)]:
        del _built[key]


async def count_run(
    scope: Scope, program_id: str, use: dict[str, Any], seconds: float, usage: Any, ok: bool, at_end: bool
) -> None:
    """Adds a run to a program's use; ``at_end``: its call does nothing more with that."""
    if not scope.durable:  # where several runs at a time may have begun with the same counters
        use = await scope.get(USE + program_id) or {}
        if not use:
            return  # deleted meanwhile
    use = dict(use)
    use["execution_count"] = use.get("execution_count", 0) + 1
    use["error_count"] = use.get("error_count", 0) + (not ok)
    use["total_time"] = round(use.get("total_time", 0.0) + seconds, 6)
    use["last_executed"] = now()
    use["usage"] = added(use.get("usage") or {}, usage)
    await scope.put(USE + program_id, use, at_end)


def added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Sums of token counts by model."""
    total = {model: dict(counts) for model, counts in one.items()}
    add(total, other)
    return total


def add(total: dict[str, Any], more: dict[str, Any]) -> None:
    """The same into the first of them."""
    for model, counts in more.items():
        into = total.setdefault(model, {})
        for name, value in counts.items():
            into[name] = into.get(name, 0) + value


# --- told about ---------------------------------------------------------------------------------------


def definition(record: dict[str, Any], signature: Signature | None) -> dict[str, Any]:
    """What the original's results call a program's signature."""
    return {
        "signature": signature.text if signature else None,
        "signature_def": record.get("signature"),
        "signature_class": record["signature"].get("name") if signature else None,
        "field_mapping": signature.mapping if signature else {},
        "fallback_used": False,
        "program_type": record["program_type"],
    }


def info(built: Built, use: dict[str, Any]) -> dict[str, Any]:
    """All about a program, but for its keys."""
    record = built.record
    count = use.get("execution_count", 0)
    return {
        "program_id": record["program_id"],
        "id": record["program_id"],
        **definition(record, built.signature),
        "options": record.get("options", {}),
        "tools": record.get("tools", []),
        "adapter": record.get("adapter"),
        "lm": _lm.shown(record.get("lm")),
        "demos": {name: len(each.demos) for name, each in built.predictors.items()},
        "instructions": {name: each.signature.instructions for name, each in built.predictors.items()},
        "compiled": plain(record.get("compiled")),
        "created_at": record["created_at"],
        "execution_count": count,
        "error_count": use.get("error_count", 0),
        "last_executed": use.get("last_executed"),
        "average_time": round(use["total_time"] / count, 6) if count else None,
        "usage": use.get("usage") or {},
        "version": use["version"],
    }


def data_of(record: dict[str, Any]) -> dict[str, Any]:
    """A program's data to give away, as ``program_data``: without keys."""
    given = dict(record)
    if "lm" in given:
        given["lm"] = _lm.without_secrets(given["lm"])
    return given


def record_of_data(given: Any, program_id: Any = None) -> dict[str, Any]:
    """A program's data that came with the call: ours, or what the original's host keeps."""
    if not isinstance(given, dict):
        raise InvalidArgument(f"program_data is an object, not {type(given).__name__}")
    own = id_of(program_id if program_id is not None else given.get("program_id") or given.get("id"))
    signature = given.get("signature_def") or given.get("signature")
    names = ("program_type", "options", "tools", "adapter", "state", "compiled", "created_at", "models", "lm")
    record = record_of(own, {**{name: given.get(name) for name in names}, "signature": signature})
    if given.get("demos"):
        record["demos"] = given["demos"]
    record["created_at"] = given.get("created_at") or ""
    return record
