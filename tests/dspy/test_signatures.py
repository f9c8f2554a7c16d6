"""Signatures: what can be written, what values may be, and that nothing is put in the place of a bad one."""

from __future__ import annotations

from typing import Any, Literal

import dspy
import pytest
from lair_dspy import InvalidInputs, InvalidSignature
from lair_dspy._signature import Signature, described

PERSON = {
    "type": "object",
    "properties": {
        "first-name": {"type": "string", "description": "as on the passport"},
        "age": {"type": ["integer", "null"], "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["first-name"],
}


def signature(given, **more) -> Signature:
    return Signature(described(given, **more))


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("question -> answer", [str, str]),
        ("question, ids: list[str] -> answer: str, score: float", [str, list[str], str, float]),
        ("a: int, b: bool -> c: dict[str, int]", [int, bool, dict[str, int]]),
        ("a: number, b: string -> c: integer", [float, str, int]),
        ("a -> b: Literal['x', 'y', 3]", [str, Literal["x", "y", 3]]),
        ("a: Optional[str] -> b: int | None", [str | None, int | None]),
        ("a -> b: tuple[int, ...]", [str, tuple[int, ...]]),
        ("a -> b: list[dict[str, Union[int, str]]]", [str, list[dict[str, int | str]]]),
        ("a -> b: Any", [str, Any]),
        ("history: dspy.History, a -> b", [dspy.History, str, str]),
        ("-> joke", [str]),
    ],
)
def test_texts_have_types(text, types):
    assert list(signature(text).types.values()) == types


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("question", "0 '->'"),
        ("a -> b -> c", "2 '->'"),
        ("a, b c -> d", "no list of fields"),
        ("a=1 -> b", "more than names and types"),
        ("*a -> b", "more than names and types"),
        ("a -> ", "at least one output"),
        ("a -> b: strng", "output 'b': there is no type 'strng'; did you mean 'string' or 'str'?"),
        ("a -> b: os.system", "there is no type 'os.system'"),
        ("a -> b: list[int, int]", "takes 1 in brackets, not 2"),
        ("a -> b: int[str]", "takes no types in brackets"),
        ("a -> b: Literal[x]", "no literal; quote texts"),
        ("a -> b: f()", "is not a type"),
        ("a, a -> b", ""),
        ("a -> a", "two fields are named 'a'"),
        ("a:: int -> b", "no list of fields"),
        (None, "not null"),
        (7, "not int"),
        ({"inputs": ["a"], "outputs": []}, "at least one output"),
        ({"inputs": "a", "outputs": ["b"]}, "signature.inputs is a list"),
        ({"inputs": ["a"], "output": ["b"]}, "no 'output'; did you mean 'outputs'"),
        ({"inputs": [{"name": "a", "kind": "str"}], "outputs": ["b"]}, "inputs[0]: a field has no 'kind'"),
        ({"inputs": [{"type": "str"}], "outputs": ["b"]}, "field 1 has no name"),
        ({"inputs": [{"name": "a", "type": 5}], "outputs": ["b"]}, "inputs[0].type is the name of a type or"),
        ({"inputs": ["a-b", "a_b"], "outputs": ["c"]}, "'a-b' and 'a_b' both become 'a_b'"),
        ({"inputs": ["x y"], "outputs": ["x.y"]}, "'x y' and 'x.y' both become 'x_y'"),
    ],
)
def test_a_bad_signature_is_an_error_that_names_the_place(given, said):
    with pytest.raises(InvalidSignature) as caught:
        described(given)
    assert said in str(caught.value)


def test_a_type_never_imports_anything(monkeypatch):
    monkeypatch.setattr("importlib.import_module", None)
    with pytest.raises(InvalidSignature):
        described("a -> b: antigravity")


def test_through_the_command_it_is_the_commands_error(worker):
    error = worker.fails("create_program", id="qa", signature="question, -> answr: strng")
    assert error.type == "lair_dspy.InvalidSignature" and "'strng'" in error.message
    assert worker.fails("create_program", id="qa").type == "lair_dspy.InvalidSignature"
    assert worker("list_programs")["total_count"] == 0


def test_names_are_made_identifiers_and_told():
    names = ["my question", "_hidden", "2nd", "class", "config", "instructions", "Größe"]
    found = signature({"inputs": names, "outputs": ["the answer"]})
    assert found.mapping == {
        "my question": "my_question",
        "_hidden": "field_2",
        "2nd": "field_3",
        "class": "class_",
        "config": "config_",
        "instructions": "instructions_",
        "Größe": "Größe",
        "the answer": "the_answer",
    }
    assert set(found.dspy.input_fields) == set(list(found.mapping.values())[:-1])


def test_values_go_in_and_out_under_the_hosts_names(ready):
    fields = {"inputs": [{"name": "the question"}], "outputs": [{"name": "answer"}]}
    ready("create_program", id="odd", signature=fields)
    done = ready("execute_program", program_id="odd", inputs={"the question": "capital of France?"})
    assert done["outputs"] == {"answer": "Franceville"}
    again = ready("execute_program", program_id="odd", inputs={"the_question": "capital of Spain?"})
    assert again["outputs"] == {"answer": "Spainville"}


def test_missing_unknown_and_mistyped_inputs_are_named():
    found = signature("question, n: int, ids: list[int], note: Optional[str] -> answer")
    with pytest.raises(InvalidInputs) as caught:
        found.take_inputs({"qestion": "?"})
    assert "missing 'question', 'n', 'ids'" in str(caught.value)
    assert "unknown 'qestion'; did you mean 'question'?" in str(caught.value)
    with pytest.raises(InvalidInputs, match=r"'n' is not int: .*'ids' is not list\[int\]: 1: "):
        found.take_inputs({"question": "?", "n": "many", "ids": [1, "x"]})
    with pytest.raises(InvalidInputs, match="not list"):
        found.take_inputs([])
    assert found.take_inputs({"question": {"any": "thing"}, "n": "5", "ids": []}) == {
        "question": {"any": "thing"},
        "n": 5,
        "ids": [],
        "note": None,
    }


def test_defaults_make_inputs_optional(ready, lm):
    fields = {"inputs": ["question", {"name": "style", "default": "brief"}], "outputs": ["answer"]}
    ready("create_program", id="qa", signature=fields)
    ready.ask("capital of France?")
    assert "[[ ## style ## ]]\nbrief" in lm.requests()[-1]["messages"][-1]["content"]


def test_models_from_json_schema_are_typed_both_ways(ready, lm):
    lm.set_rules({"answer": {"person": {"first-name": "Ada", "age": 36, "tags": ["a"]}}})
    ready(
        "create_program", id="p", signature="text, like: Person -> person: Person", models={"Person": PERSON}
    )
    given = {"text": "Ada", "like": {"first-name": "Bob"}}
    done = ready("execute_program", program_id="p", inputs=given)
    assert done["outputs"] == {"person": {"first-name": "Ada", "age": 36, "tags": ["a"]}}
    error = ready.fails("execute_program", program_id="p", inputs={"text": "", "like": {"age": 1}})
    assert (
        error.type == "lair_dspy.InvalidInputs"
        and "'like' is not Person: first-name: Field required" in error.message
    )
    lm.set_rules({"answer": {"person": {"first-name": "Ada", "age": -1}}})
    error = ready.fails("execute_program", program_id="p", inputs=given | {"text": "other"})
    assert error.type == "lair_dspy.AnswerUnusable"


def test_a_schema_may_be_in_the_field(ready, lm):
    lm.set_rules({"answer": {"scores": {"x": 0.25}}})
    kind = {"type": "object", "additionalProperties": {"type": "number"}}
    ready(
        "create_program", id="p", signature={"inputs": ["t"], "outputs": [{"name": "scores", "type": kind}]}
    )
    assert ready("execute_program", program_id="p", inputs={"t": "t"})["outputs"] == {"scores": {"x": 0.25}}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strin"}, "there is no type 'strin'"),
        ({"type": "string", "minLenght": 3}, "'minLenght'; did you mean 'minLength'"),
        ({"$ref": "#/$defs/Nope"}, "leads nowhere"),
        ({"$ref": "#/$defs/M"}, "contains itself"),
        ({"enum": []}, "at least one"),
        ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, "'b' is required and no property"),
        ({"properties": {"a-b": {}, "a_b": {}}}, "both become 'a_b'"),
        ({"properties": {"a": {"items": 5, "type": "array"}}}, "M.a.items: not a JSON schema"),
        ({"allOf": [{}, {}]}, "allOf of 2"),
        ([], "not a JSON schema"),
    ],
)
def test_a_schema_that_is_not_understood_is_an_error(schema, said):
    with pytest.raises(InvalidSignature) as caught:
        described("a -> b: M", models={"M": schema})
    assert said in str(caught.value)


def test_schemas_refer_to_each_other():
    models = {"Item": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
              "Things": {"type": "array", "items": {"$ref": "#/$defs/Item"}, "maxItems": 2}}  # fmt: skip
    found = signature("things: Things -> b", models=models)
    assert found.take_inputs({"things": [{"n": 1}]})["things"][0].n == 1
    with pytest.raises(InvalidInputs, match="things"):
        found.take_inputs({"things": [{"n": 1}, {"n": 2}, {"n": 3}]})


def test_a_missing_output_is_an_error_and_no_sentence(ready, lm):
    lm.set_rules({"answer": "[[ ## answer ## ]]\nonly this\n\n[[ ## completed ## ]]"})
    ready("create_program", id="qa", signature="question -> answer, score: float")
    error = ready.fails("execute_program", program_id="qa", inputs={"question": "?"})
    assert error.type == "lair_dspy.AnswerUnusable" and "score" in error.message
