"""Functions of the host within a program: the tools of an agent, metrics and rewards.

DSPy calls them in the event loop or in threads of its own, which know nothing of the call that they work for.
The run that DSPy's settings carry does (``_run``); it takes them back to the loop.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

from lair_worker import host

from lair_dspy import _types
from lair_dspy._dspy import RUN, need
from lair_dspy._errors import InvalidArgument, InvalidSignature, among
from lair_dspy._signature import plain

_TOOL_KEYS = {"name", "description", "args", "host", "keywords", "import"}


async def ask_host(name: str, args: list[Any], keywords: dict[str, Any]) -> Any:
    """Calls a function of the host, from the event loop."""
    return await host[name](*args, **keywords)


def call_host(name: str, args: list[Any], keywords: dict[str, Any]) -> Any:
    """The same from anywhere: in the event loop something to await, in a thread the value."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        run = need().settings.get(RUN)
        if run is None:
            raise RuntimeError(f"the host's function {name!r} can't be called outside of a command") from None
        return run.wait_for(lambda: ask_host(name, args, keywords))
    return ask_host(name, args, keywords)


def imported(path: Any, what: str) -> Any:
    """``package.module:name``. InvalidArgument says what is missing."""
    if not isinstance(path, str) or not path:
        raise InvalidArgument(f"{what} is a text like 'package.module:name', not {path!r}")
    module, colon, name = path.partition(":")
    if not colon:
        module, _, name = path.rpartition(".")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgument(f"{what} {path!r} can't be imported: {error}") from None
    return found


def tools_of(given: Any) -> list[Any]:
    """dspy.Tool of each description."""
    if not isinstance(given, list):
        raise InvalidArgument(f"tools is a list, not {type(given).__name__}")
    found = [_tool(each, f"tools[{at}]") for at, each in enumerate(given)]
    names = [tool.name for tool in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(f"two tools are named {name!r}")
        if name == "finish":
            raise InvalidArgument("a tool can't be named 'finish': that is how an agent ends")
    return found


def _tool(given: Any, path: str) -> Any:
    dspy = need()
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, dict):
        raise InvalidArgument(f"{path} is a name or {{name, description, args}}, not {type(given).__name__}")
    if unknown := sorted(set(given) - _TOOL_KEYS):
        raise InvalidArgument(f"{path}: a tool has no {unknown[0]!r}" + among(unknown[0], _TOOL_KEYS))
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"{path} has no name")
    if "import" in given:
        return dspy.Tool(
            imported(given["import"], f"{path}.import"), name=name, desc=given.get("description")
        )
    return _host_tool(given, name, path)


def _host_tool(given: dict[str, Any], name: str, path: str) -> Any:
    target, declared = given.get("host") or name, given.get("args")
    order = list(declared or {})
    by_keyword = bool(given.get("keywords")) or declared is None

    def call(**values: Any) -> Any:
        values = {key: plain(value) for key, value in values.items()}
        if by_keyword:
            return call_host(target, [], values)
        args = [values[key] for key in order if key in values]
        if list(values) != order[: len(values)]:  # a hole, or another order: as the host declares them
            last = max(order.index(key) for key in values)
            args = [values.get(key, _default(declared, key)) for key in order[: last + 1]]
        return call_host(target, args, {})

    schemas = {key: _arg_schema(kind, f"{path}.args.{key}") for key, kind in (declared or {}).items()}
    tool = need().Tool(
        call,
        name=name,
        desc=given.get("description") or f"The function {name} of the program.",
        args=schemas,
        arg_types=dict.fromkeys(schemas, Any),
    )
    tool.has_kwargs = declared is None  # else what is not declared is refused
    return tool


def _default(declared: Any, key: str) -> Any:
    kind = declared[key]
    return kind.get("default") if isinstance(kind, dict) else None


def _arg_schema(kind: Any, path: str) -> dict[str, Any]:
    """The JSON schema of an argument, given as one or as the name of a type."""
    import pydantic

    try:
        if isinstance(kind, str):
            return pydantic.TypeAdapter(_types.from_expression(kind, {})).json_schema()
        _types.from_schema(kind, "Argument")
    except InvalidSignature as error:
        raise InvalidArgument(f"{path}: {error}") from None
    return dict(kind)
