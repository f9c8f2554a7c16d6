"""Types of fields: from expressions (``list[str]``, ``Literal['a', 'b']``) and from JSON schemas.

Expressions are read, not evaluated, and only names of this list mean something: a signature comes from a
caller, and DSPy's own reader would import any module that it names.
"""

from __future__ import annotations

import ast
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from lair_dspy._dspy import need
from lair_dspy._errors import InvalidSignature, among
from lair_dspy._names import mapping

_NAMES: dict[str, Any] = {
    "str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "tuple": tuple,
    "set": set, "Any": Any, "Optional": typing.Optional, "Union": typing.Union, "Literal": Literal,
    "List": list, "Dict": dict, "Tuple": tuple, "Set": set, "NoneType": type(None),
    # As JSON and other languages call them.
    "string": str, "text": str, "integer": int, "number": float, "boolean": bool, "array": list,
    "object": dict, "any": Any,
}  # fmt: skip
_OF_DSPY = ("Image", "Audio", "File", "History", "Code", "Document", "Citations")

Models = Mapping[str, Any]  # types by name


def from_expression(text: str, models: Models) -> Any:
    """The type that an expression names. InvalidSignature says which part is not one."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise InvalidSignature(f"{text!r} is not a type") from None
    return _of_node(tree, models)


def _of_node(node: ast.expr, models: Models) -> Any:
    text = ast.unparse(node)
    if isinstance(node, ast.Constant):
        if node.value is None:
            return type(None)
        if isinstance(node.value, str):
            return from_expression(node.value, models)
    elif isinstance(node, ast.Name):
        if node.id in models:
            return models[node.id]
        if node.id in _NAMES:
            return _NAMES[node.id]
        raise InvalidSignature(f"there is no type {node.id!r}" + among(node.id, [*_NAMES, *models]))
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.value.id == "dspy" and node.attr in _OF_DSPY and hasattr(need(), node.attr):
            return getattr(need(), node.attr)
        if node.value.id == "typing" and node.attr in _NAMES:
            return _NAMES[node.attr]
        raise InvalidSignature(
            f"there is no type {text!r}" + among(text, [f"dspy.{name}" for name in _OF_DSPY])
        )
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return typing.Union[_of_node(node.left, models), _of_node(node.right, models)]  # noqa: UP007
    elif isinstance(node, ast.Subscript):
        return _generic(node, text, models)
    raise InvalidSignature(f"{text!r} is not a type")


def _generic(node: ast.Subscript, text: str, models: Models) -> Any:
    base = _of_node(node.value, models)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if base is Literal:
        values = []
        for part in parts:
            try:
                values.append(ast.literal_eval(part))
            except ValueError:
                raise InvalidSignature(f"{text}: {ast.unparse(part)} is no literal; quote texts") from None
        if not all(value is None or isinstance(value, (str, int, bool)) for value in values):
            raise InvalidSignature(f"{text}: only texts, integers, true, false and null can be literals")
        return Literal[tuple(values)]
    ellipsis = (
        base is tuple and len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is ...
    )
    inner = tuple(_of_node(part, models) for part in parts[: 1 if ellipsis else None])
    if ellipsis:
        return tuple[inner[0], ...]
    wanted = {list: 1, set: 1, dict: 2, typing.Optional: 1}.get(base)
    if base not in (tuple, typing.Union) and wanted is None:
        raise InvalidSignature(f"{text}: {ast.unparse(node.value)} takes no types in brackets")
    if wanted is not None and len(inner) != wanted:
        raise InvalidSignature(
            f"{text}: {ast.unparse(node.value)} takes {wanted} in brackets, not {len(inner)}"
        )
    return base[inner if len(inner) != 1 else inner[0]]


# --- JSON schemas -------------------------------------------------------------------------------------

_PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}
_LIMITS = {
    "minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of", "minLength": "min_length", "maxLength": "max_length",
    "minItems": "min_length", "maxItems": "max_length",
    "pattern": "pattern",
}  # fmt: skip
_READ = {
    "type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "properties",
    "required", "items", "additionalProperties", *_LIMITS,
    # Said of a value, not asked of it.
    "title", "description", "default", "examples", "format", "$schema", "$id", "$comment", "deprecated",
    "readOnly", "writeOnly", "uniqueItems", "nullable",
}  # fmt: skip


def models_of(schemas: Any) -> dict[str, Any]:
    """Types from ``{name: JSON schema}``; a schema may name another one as ``#/$defs/NAME``."""
    if not isinstance(schemas, dict):
        raise InvalidSignature(f"models is an object of JSON schemas by name, not {type(schemas).__name__}")
    found: dict[str, Any] = {}
    for name, schema in schemas.items():
        if not name.isidentifier() or name in _NAMES:
            raise InvalidSignature(f"models.{name}: not a name for a type")
        found[name] = from_schema(schema, name, schemas)
    return found


def from_schema(schema: Any, name: str, others: Mapping[str, Any] | None = None) -> Any:
    """The type that a JSON schema describes; objects with properties become pydantic models."""
    return _Reader(schema, others or {}).read(schema, name, name)


class _Reader:
    def __init__(self, root: Any, others: Mapping[str, Any]) -> None:
        self._known = dict(others)
        if isinstance(root, dict):
            self._known.update(root.get("definitions") or {})
            self._known.update(root.get("$defs") or {})
        self._made: dict[str, Any] = {}
        self._making: set[str] = set()

    def read(self, schema: Any, name: str, path: str) -> Any:
        if schema is True or schema == {}:
            return Any
        if not isinstance(schema, dict):
            raise InvalidSignature(f"{path}: not a JSON schema, but {schema!r}")
        if unknown := sorted(set(schema) - _READ):
            raise InvalidSignature(f"{path}: the JSON schema has {unknown[0]!r}" + among(unknown[0], _READ))
        from pydantic import Field

        found = self._of(schema, name, path)
        limits = {ours: schema[theirs] for theirs, ours in _LIMITS.items() if theirs in schema}
        if schema.get("nullable") is True:
            found = typing.Optional[found]  # noqa: UP045
        return Annotated[found, Field(**limits)] if limits else found

    def _of(self, schema: dict[str, Any], name: str, path: str) -> Any:
        if "$ref" in schema:
            return self._referred(schema["$ref"], path)
        if "enum" in schema or "const" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            if not values or not all(
                value is None or isinstance(value, (str, int, bool)) for value in values
            ):
                raise InvalidSignature(
                    f"{path}: enum holds texts, integers, true, false and null, and at least one"
                )
            return Literal[tuple(values)]
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema:
                parts = [
                    self.read(each, f"{name}{n}", f"{path}.{word}[{n}]")
                    for n, each in enumerate(schema[word])
                ]
                if not parts or (word == "allOf" and len(parts) > 1):
                    raise InvalidSignature(f"{path}: {word} of {len(parts)} schemas is not supported")
                return typing.Union[tuple(parts)]  # noqa: UP007
        kind = schema.get("type", "object" if "properties" in schema else None)
        if isinstance(kind, list):
            parts = [self._of({**schema, "type": each}, name, path) for each in kind]
            return typing.Union[tuple(parts)]  # noqa: UP007
        if kind is None:
            return Any
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind == "array":
            return (
                list[self.read(schema["items"], f"{name}Item", f"{path}.items")]
                if "items" in schema
                else list
            )
        if kind == "object":
            return self._object(schema, name, path)
        raise InvalidSignature(
            f"{path}: there is no type {kind!r}" + among(str(kind), [*_PLAIN, "array", "object"])
        )

    def _referred(self, reference: Any, path: str) -> Any:
        name = str(reference).rsplit("/", 1)[-1]
        if name in self._made:
            return self._made[name]
        if not str(reference).startswith(("#/$defs/", "#/definitions/")) or name not in self._known:
            raise InvalidSignature(f"{path}: $ref {reference!r} leads nowhere" + among(name, self._known))
        if name in self._making:
            raise InvalidSignature(f"{path}: {name} contains itself, which is not supported")
        self._making.add(name)
        self._made[name] = self.read(self._known[name], name, name)
        return self._made[name]

    def _object(self, schema: dict[str, Any], name: str, path: str) -> Any:
        from pydantic import ConfigDict, Field, create_model

        properties, more = schema.get("properties"), schema.get("additionalProperties", True)
        if not properties:
            return dict[str, self.read(more, f"{name}Value", f"{path}.additionalProperties") if more else Any]
        required = set(schema.get("required") or [])
        if missing := sorted(required - set(properties)):
            raise InvalidSignature(
                f"{path}: {missing[0]!r} is required and no property" + among(missing[0], properties)
            )
        fields: dict[str, Any] = {}
        for key, field in mapping(properties).items():
            each = properties[key]
            kind = self.read(each, f"{name}{field.title().replace('_', '')}", f"{path}.{key}")
            told = each if isinstance(each, dict) else {}
            default = ... if key in required else told.get("default")
            if default is None and key not in required:
                kind = typing.Optional[kind]  # noqa: UP045
            fields[field] = (kind, Field(default, alias=key, description=told.get("description")))
        title = schema.get("title") if str(schema.get("title", "")).isidentifier() else name
        config = ConfigDict(populate_by_name=True, extra="forbid" if more is False else "ignore")
        model = create_model(title, __config__=config, __doc__=schema.get("description"), **fields)
        model.__module__ = "lair_dspy.models"
        return model


def takes_none(kind: Any) -> bool:
    """Whether null is a value of the type."""
    if kind is Any or kind is type(None):
        return True
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return takes_none(typing.get_args(kind)[0])
    if origin is Literal:
        return None in typing.get_args(kind)
    return origin in (typing.Union, types.UnionType) and any(
        takes_none(each) for each in typing.get_args(kind)
    )
