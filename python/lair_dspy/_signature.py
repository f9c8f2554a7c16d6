"""Signatures: from a text or a structure to a plain description, and from that to DSPy's.

The description is what a program's data hold. Reading is strict: what can't be understood is an error that
names the place, never some other signature.
"""

from __future__ import annotations

import ast
from functools import cached_property
from typing import Any

from lair_dspy import _names, _types
from lair_dspy._dspy import need
from lair_dspy._errors import InvalidInputs, InvalidSignature, among
from lair_dspy._secrets import redact

_KEYS = {"name", "description", "instructions", "inputs", "outputs", "models"}
_FIELD_KEYS = {"name", "type", "description", "desc", "default", "schema"}


def described(signature: Any, instructions: str | None = None, models: Any = None) -> dict[str, Any]:
    """The description of a signature: ``name, instructions, inputs, outputs, models``. InvalidSignature."""
    if isinstance(signature, str):
        found = _from_text(signature)
    elif isinstance(signature, dict):
        found = _from_structure(signature)
    else:
        raise InvalidSignature(
            "a signature is a text like 'question -> answer: str' or an object with inputs and outputs, not "
            + ("null" if signature is None else type(signature).__name__)
        )
    if instructions is not None:
        found["instructions"] = instructions
    found["models"] = {**found.get("models", {}), **(models or {})}
    if not found["outputs"]:
        raise InvalidSignature("a signature needs at least one output")
    Signature(found).check()
    return found


def _from_text(text: str) -> dict[str, Any]:
    if text.count("->") != 1:
        raise InvalidSignature(f"{text!r} has {text.count('->')} '->'; a signature is 'inputs -> outputs'")
    before, after = text.split("->")
    return {"name": "StringSignature", "inputs": _fields(before, text), "outputs": _fields(after, text)}


def _fields(part: str, text: str) -> list[dict[str, Any]]:
    if not part.strip():
        return []
    try:
        arguments = ast.parse(f"def f({part}): pass").body[0].args  # type: ignore[attr-defined]
    except SyntaxError:
        raise InvalidSignature(f"{text!r}: {part.strip()!r} is no list of fields like 'a, b: int'") from None
    if (
        arguments.vararg
        or arguments.kwarg
        or arguments.kwonlyargs
        or arguments.posonlyargs
        or arguments.defaults
    ):
        raise InvalidSignature(f"{text!r}: {part.strip()!r} is more than names and types")
    return [
        {"name": each.arg} | ({"type": ast.unparse(each.annotation)} if each.annotation else {})
        for each in arguments.args
    ]


def _from_structure(given: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(set(given) - _KEYS):
        raise InvalidSignature(f"a signature has no {unknown[0]!r}" + among(unknown[0], _KEYS))
    found: dict[str, Any] = {"name": given.get("name") or "Signature", "models": given.get("models") or {}}
    instructions = given.get("instructions") or given.get("description")
    if instructions:
        found["instructions"] = instructions
    for side in ("inputs", "outputs"):
        fields = given.get(side) or []
        if not isinstance(fields, list):
            raise InvalidSignature(f"signature.{side} is a list of fields, not {type(fields).__name__}")
        found[side] = [_field(each, f"{side}[{at}]") for at, each in enumerate(fields)]
    return found


def _field(given: Any, path: str) -> dict[str, Any]:
    if isinstance(given, str):
        return {"name": given}
    if not isinstance(given, dict):
        raise InvalidSignature(f"{path} is a field {{name, type, description}}, not {type(given).__name__}")
    if unknown := sorted(set(given) - _FIELD_KEYS):
        raise InvalidSignature(f"{path}: a field has no {unknown[0]!r}" + among(unknown[0], _FIELD_KEYS))
    found = {"name": given.get("name")}
    kind = given.get("schema", given.get("type"))
    if kind is not None:
        if not isinstance(kind, (str, dict)):
            raise InvalidSignature(
                f"{path}.type is the name of a type or a JSON schema, not {type(kind).__name__}"
            )
        found["type"] = kind
    if description := given.get("description") or given.get("desc"):
        found["description"] = str(description)
    if "default" in given:
        found["default"] = given["default"]
    return found


class Signature:
    """A description at work: builds DSPy's signature, and takes values in and out."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.description = description
        self.inputs: list[str] = [each["name"] for each in description["inputs"]]
        self.outputs: list[str] = [each["name"] for each in description["outputs"]]
        self.mapping = _names.mapping([*self.inputs, *self.outputs])
        self.originals = {field: name for name, field in self.mapping.items()}

    def check(self) -> None:
        """Builds everything once, for the errors. InvalidSignature."""
        try:
            _ = self.dspy
        except InvalidSignature:
            raise
        except Exception as error:
            raise InvalidSignature(f"DSPy refuses the signature: {error}") from None

    @cached_property
    def types(self) -> dict[str, Any]:
        """The type of each field, by identifier; those without one are texts."""
        models = _types.models_of(self.description.get("models") or {})
        found = {}
        for side in ("inputs", "outputs"):
            for each in self.description[side]:
                kind, field = each.get("type", "str"), self.mapping[each["name"]]
                try:
                    if isinstance(kind, dict):
                        found[field] = _types.from_schema(kind, field.title().replace("_", ""))
                    else:
                        found[field] = _types.from_expression(kind, models)
                except InvalidSignature as error:
                    raise InvalidSignature(f"{side[:-1]} {each['name']!r}: {error}") from None
        return found

    @cached_property
    def dspy(self) -> Any:
        """DSPy's class for it."""
        dspy = need()
        fields = {}
        for side, make in (("inputs", dspy.InputField), ("outputs", dspy.OutputField)):
            for each in self.description[side]:
                options = {}
                if "description" in each:
                    options["desc"] = each["description"]
                elif self.mapping[each["name"]] != each["name"]:
                    options["desc"] = each["name"]
                if "default" in each:
                    options["default"] = each["default"]
                field = self.mapping[each["name"]]
                fields[field] = (self.types[field], make(**options))
        name = self.description.get("name") or "Signature"
        return dspy.make_signature(
            fields, self.description.get("instructions"), name if name.isidentifier() else "Signature"
        )

    @property
    def text(self) -> str:
        """``question, context -> answer: str``, under the host's names."""

        def side(fields: list[dict[str, Any]]) -> str:
            kinds = ((each["name"], each.get("type")) for each in fields)
            return ", ".join(
                name
                if kind is None
                else f"{name}: {kind if isinstance(kind, str) else kind.get('title', 'object')}"
                for name, kind in kinds
            )

        return f"{side(self.description['inputs'])} -> {side(self.description['outputs'])}"

    # --- values ---------------------------------------------------------------------------------------

    def take_inputs(self, given: Any, what: str = "inputs") -> dict[str, Any]:
        """Values by identifier, of their types. InvalidInputs names all that is missing, unknown or wrong."""
        if not isinstance(given, dict):
            raise InvalidInputs(f"{what} is an object of values by name, not {type(given).__name__}")
        values = {self.mapping.get(name, name): value for name, value in given.items()}
        own, optional = self._taken
        faults = []
        missing = [
            name
            for name, field in zip(self.inputs, own, strict=True)
            if field not in values and field not in optional
        ]
        if missing:
            faults.append(f"missing {', '.join(map(repr, missing))}")
        for name in given:
            if self.mapping.get(name, name) not in own:
                faults.append(f"unknown {name!r}" + among(name, self.inputs))
        if not faults:
            values = {field: self._typed(field, value, faults) for field, value in values.items()}
        if faults:
            raise InvalidInputs(f"{what}: {'; '.join(faults)} (the signature is '{self.text}')")
        for field, has_default in optional.items():
            if field not in values and not has_default:
                values[field] = None
        return values

    @cached_property
    def _taken(self) -> tuple[list[str], dict[str, bool]]:
        """The inputs' identifiers; and those that may be missing, with whether they have a default."""
        own = [self.mapping[name] for name in self.inputs]
        optional = {
            field: "default" in each
            for field, each in zip(own, self.description["inputs"], strict=True)
            if "default" in each or _types.takes_none(self.types[field])
        }
        return own, optional

    def _typed(self, field: str, value: Any, faults: list[str]) -> Any:
        import pydantic

        adapter = self._adapters.get(field)
        if adapter is None:
            return value  # as DSPy does: a field without a type takes anything
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            name = self.originals[field]
            kind = next(each["type"] for each in self.description["inputs"] if each["name"] == name)
            faults.append(f"{name!r} is not {kind}: {place + ': ' if place else ''}{first['msg']}")
        return value

    @cached_property
    def _adapters(self) -> dict[str, Any]:
        """What checks the inputs that have a type, by identifier."""
        import pydantic

        fields = (self.mapping[each["name"]] for each in self.description["inputs"] if "type" in each)
        return {field: pydantic.TypeAdapter(self.types[field]) for field in fields}

    def give(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values as plain JSON under the host's names."""
        return {self.originals.get(field, field): plain(value) for field, value in values.items()}

    def missing_outputs(self, values: dict[str, Any]) -> list[str]:
        """The outputs that an answer lacks."""
        return [
            name
            for name in self.outputs
            if values.get(self.mapping[name]) is None
            and not _types.takes_none(self.types[self.mapping[name]])
        ]


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    import pydantic_core

    return pydantic_core.to_jsonable_python(value, by_alias=True, fallback=lambda other: redact(repr(other)))
