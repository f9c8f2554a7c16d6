"""Programs as files: plain JSON, which the host keeps where it likes. No pickle, no keys, no code.

A saved program holds its data and DSPy's own state of it (what ``module.save("x.json")`` writes), so that
both can go on with it.
"""

from __future__ import annotations

import platform
from typing import Any

from lair_dspy import _programs
from lair_dspy._build import Built
from lair_dspy._dspy import need
from lair_dspy._errors import InvalidArgument
from lair_dspy._store import Scope

FORMAT = "lair-dspy-program"
VERSION = 1


def saved(built: Built) -> dict[str, Any]:
    """A program to keep."""
    record = _programs.data_of(built.record)
    record.pop("demos", None)  # they are in the state
    record["state"] = built.dump_state()
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "program": record,
        "dspy_state": {**record["state"], "metadata": {"dependency_versions": versions()}},
        "metadata": {**versions(), "saved_at": _programs.now()},
    }


def versions() -> dict[str, str]:
    """As DSPy notes them."""
    from dspy.utils.saving import get_dependency_versions

    return {**get_dependency_versions(), "python": ".".join(platform.python_version_tuple()[:2])}


def record_of_saved(given: Any, program_id: Any, allow_code: bool) -> dict[str, Any]:
    """The data of a saved program. InvalidArgument if it is none, or would import code without leave."""
    if (
        not isinstance(given, dict)
        or given.get("format") != FORMAT
        or not isinstance(given.get("program"), dict)
    ):
        raise InvalidArgument(f"saved is not what save_program gives (an object of format {FORMAT!r})")
    if given.get("format_version") != VERSION:
        raise InvalidArgument(
            f"saved is of format version {given.get('format_version')!r}, and this lair_dspy reads {VERSION}"
        )
    record = _programs.record_of_data(given["program"], program_id)
    record["created_at"] = given["program"].get("created_at") or _programs.now()
    if not allow_code and (place := _code_in(record)):
        raise InvalidArgument(
            f"the saved program imports Python code ({place}): allow_code loads it, if you trust its source"
        )
    return record


def _code_in(record: dict[str, Any]) -> str | None:
    """Where data name Python code."""
    options = record.get("options", {})
    if options.get("module"):
        return f"options.module {options['module']!r}"
    for tool in record.get("tools") or []:
        if isinstance(tool, dict) and "import" in tool:
            return f"the tool {tool.get('name')!r}: {tool['import']!r}"
    reward = options.get("reward")
    if reward is not None and "import" in (reward if isinstance(reward, dict) else str(reward)):
        return f"options.reward {reward!r}"
    if options.get("interpreter") == "local":
        return "options.interpreter 'local'"
    return None


async def load_state(scope: Scope, program_id: Any, state: Any) -> Built:
    """Puts DSPy's own state into a program that is there."""
    need()
    built, _ = await _programs.find(scope, program_id)
    record = {name: value for name, value in built.record.items() if name != "demos"}
    fresh = Built({**record, "state": None})
    fresh.load_state(state)
    return await _programs.update(scope, {**record, "state": fresh.dump_state()})
