"""What the handshake tells about commands: names, parameters, the first line of the docstring.

Plain functions are read directly; ``inspect`` (10 ms to import) is needed only for other callables and for
the text of a signature in an error.
"""

from __future__ import annotations

from types import FunctionType, MethodType

from lair_worker._encode import type_name
from lair_worker._registry import kind_of_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

_CO_VARARGS, _CO_VARKEYWORDS = 0x04, 0x08
_LONGEST_TEXT = 200

_INSPECT_KINDS = ("positional_only", "positional_or_keyword", "var_positional", "keyword_only", "var_keyword")


def announce(commands: dict[str, Callable[..., Any]]) -> list[dict[str, Any]]:
    """The handshake's ``commands``."""
    return [
        {
            "name": name,
            "kind": kind_of_command(name, function),
            "doc": _first_line(function),
            "params": parameters(function),
        }
        for name, function in commands.items()
    ]


def parameters(function: Callable[..., Any]) -> list[dict[str, Any]]:
    """One dict a parameter: name, kind, required, and default and annotation where there are any."""
    plain, skipped = _plain_function(function)
    return _with_inspect(function) if plain is None else _of_code(plain, skipped)


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether ``name`` can be given as a keyword argument."""
    for parameter in parameters(function):
        if parameter["kind"] == "var_keyword":
            return True
        if parameter["name"] == name and parameter["kind"] in ("positional_or_keyword", "keyword_only"):
            return True
    return False


def signature_text(function: Callable[..., Any], name: str) -> str | None:
    """``count_words(text: str) -> int``; None for a callable that doesn't say."""
    import inspect

    try:
        return name + str(inspect.signature(function))
    except Exception:  # builtins without one; annotations that can't be evaluated
        return None


def fits(function: Callable[..., Any], positional: list[Any], keywords: dict[str, Any]) -> bool:
    """Whether a callable that is not a plain function would take these arguments, as far as it tells."""
    import inspect

    try:
        signature = inspect.signature(function)
    except Exception:
        return True
    try:
        signature.bind(*positional, **keywords)
    except TypeError:
        return False
    return True


def is_plain(function: Any) -> bool:
    """A Python function or a method of one: if its call raises, its frame is in the traceback."""
    while isinstance(function, MethodType):
        function = function.__func__
    return isinstance(function, FunctionType)


def _plain_function(function: Any) -> tuple[FunctionType | None, int]:
    """The function whose parameters count (behind ``functools.wraps``), and how many of them are bound."""
    skipped = 0
    for _ in range(100):  # wrappers that go round in a circle are inspect's business
        if hasattr(function, "__signature__"):
            break
        if isinstance(function, MethodType):
            skipped += 1
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, FunctionType):
            return function, skipped
        else:
            break
    return None, 0


def _of_code(function: FunctionType, skipped: int) -> list[dict[str, Any]]:
    code = function.__code__
    count = code.co_argcount
    keyword_only = count + code.co_kwonlyargcount
    names = code.co_varnames
    annotations = _annotations(function)
    defaults = dict(zip(reversed(names[:count]), reversed(function.__defaults__ or ())))
    defaults.update(function.__kwdefaults__ or {})

    kinds = [(name, "positional_only") for name in names[: code.co_posonlyargcount]]
    kinds += [(name, "positional_or_keyword") for name in names[code.co_posonlyargcount : count]]
    kinds = kinds[skipped:]
    if code.co_flags & _CO_VARARGS:
        kinds.append((names[keyword_only], "var_positional"))
    kinds += [(name, "keyword_only") for name in names[count:keyword_only]]
    if code.co_flags & _CO_VARKEYWORDS:
        kinds.append((names[keyword_only + bool(code.co_flags & _CO_VARARGS)], "var_keyword"))

    found = []
    for name, how in kinds:
        required = name not in defaults and not how.startswith("var_")
        parameter = {"name": name, "kind": how, "required": required}
        if name in defaults:
            parameter["default"] = _repr(defaults[name])
        if name in annotations:
            parameter["annotation"] = _annotation_text(annotations[name])
        found.append(parameter)
    return found


def _with_inspect(function: Callable[..., Any]) -> list[dict[str, Any]]:
    import inspect

    try:
        signature = inspect.signature(function)
    except Exception:  # many builtins have none: anything may be passed
        return [
            {"name": "args", "kind": "var_positional", "required": False},
            {"name": "kwargs", "kind": "var_keyword", "required": False},
        ]
    found = []
    for each in signature.parameters.values():
        how = _INSPECT_KINDS[each.kind]
        required = each.default is each.empty and not how.startswith("var_")
        parameter: dict[str, Any] = {"name": each.name, "kind": how, "required": required}
        if each.default is not each.empty:
            parameter["default"] = _repr(each.default)
        if each.annotation is not each.empty:
            parameter["annotation"] = _annotation_text(each.annotation)
        found.append(parameter)
    return found


def _annotations(function: FunctionType) -> dict[str, Any]:
    try:
        return function.__annotations__
    except Exception:
        # Python 3.14 evaluates them here, and names that are imported for type checkers only are missing.
        try:
            from annotationlib import Format, get_annotations  # type: ignore[import-not-found]

            return dict(get_annotations(function, format=Format.STRING))
        except Exception:
            return {}


def _annotation_text(annotation: Any) -> str:
    if isinstance(annotation, str):
        return _clean(annotation)
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):  # list[int] is a type to 3.9
        return type_name(annotation)
    return _repr(annotation).replace("typing.", "")


def _first_line(function: Any) -> str:
    doc = getattr(function, "__doc__", None)
    if not isinstance(doc, str) or doc is getattr(type(function), "__doc__", None):
        return ""
    return _clean(doc.strip().partition("\n")[0].strip())


def _repr(value: Any) -> str:
    try:
        return _clean(repr(value))
    except Exception:
        return f"<{type_name(type(value))}>"


def _clean(text: str) -> str:
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "..."
    return text.encode("utf-8", "backslashreplace").decode()
