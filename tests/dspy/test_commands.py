"""Every command, in a session and without one: what it gives, and what it says to what makes no sense."""

from __future__ import annotations

import json

import pytest
from lair_worker import _registry

from support import KEY

EXAMPLES = [{"question": "capital of France?", "answer": "Franceville"}]
QA = {"id": "new", "signature": "question -> answer"}
INPUTS = {"question": "capital of Spain?"}
STREAMS = ("stream_program", "compile_program")

# The command; arguments that are right; what its result (of a stream: the last item) then has.
RIGHT = [
    ("ping", {"anything": 1}, {"status": "ok", "dspy_available": True}),
    ("get_stats", {}, {"programs_count": 1, "dspy_available": True}),
    ("create_program", QA, {"program_id": "new", "status": "created"}),
    ("execute_program", {"program_id": "qa", "inputs": INPUTS}, {"outputs": {"answer": "Spainville"}}),
    ("stream_program", {"program_id": "qa", "inputs": INPUTS}, {"outputs": {"answer": "Spainville"}}),
    ("evaluate_program", {"program_id": "qa", "examples": EXAMPLES}, {"score": 100.0, "errors": 0}),
    ("compile_program", {"program_id": "qa", "trainset": EXAMPLES}, {"status": "compiled"}),
    ("list_programs", {}, {"total_count": 1}),
    ("get_program_info", {"program_id": "qa"}, {"program_id": "qa", "execution_count": 0}),
    ("delete_program", {"program_id": "qa"}, {"program_id": "qa", "status": "deleted"}),
    ("save_program", {"program_id": "qa"}, {"program_id": "qa", "status": "saved"}),
    ("list_optimizers", {}, {}),
    ("cleanup", {}, {"status": "cleaned", "programs_removed": 1}),
    ("cleanup_session", {}, {"status": "cleaned", "programs_removed": 1}),
    ("reset_state", {}, {"status": "reset", "programs_cleared": 1}),
    ("create_gemini_program", QA, {"program_id": "new", "status": "created"}),
    ("execute_gemini_program", {"program_id": "qa", "inputs": INPUTS}, {"program_id": "qa"}),
]

# The command; arguments that are wrong; the error's type; what it says.
NOBODY = {"program_id": "nobody"}
WRONG = [
    ("get_stats", {"session_id": "of another"}, "InvalidArgument", "belongs to the session"),
    ("configure_lm", {}, "InvalidLM", "model is required"),
    ("configure_lm", {"model": "openai/x", "adapter": "yaml"}, "InvalidLM", "there is no adapter 'yaml'"),
    ("create_program", {"signature": "q -> a"}, "InvalidArgument", "Program ID is required"),
    ("create_program", {"id": "new", "signature": "q"}, "InvalidSignature", "->"),
    ("create_program", {"id": "qa", "signature": "q -> a"}, "ProgramExists", "already exists"),
    ("execute_program", NOBODY, "ProgramNotFound", "Program not found: nobody"),
    ("execute_program", {"program_id": "qa", "inputs": {"questoin": 1}}, "InvalidInputs", "did you mean"),
    ("execute_program", {"program_id": "qa", "inputs": INPUTS, "config": 5}, "InvalidArgument", "config"),
    ("execute_program", {"program_id": "qa", "inputs": INPUTS, "lm": 5}, "InvalidLM", "are an object"),
    (
        "execute_program",
        {"program_data": 5, "inputs": INPUTS},
        "InvalidArgument",
        "program_data is an object",
    ),
    ("stream_program", NOBODY, "ProgramNotFound", "Program not found: nobody"),
    ("evaluate_program", {"examples": EXAMPLES, **NOBODY}, "ProgramNotFound", "Program not found: nobody"),
    ("evaluate_program", {"program_id": "qa", "examples": []}, "InvalidArgument", "at least one example"),
    ("compile_program", {"program_id": "qa", "trainset": []}, "InvalidArgument", "at least one example"),
    ("compile_program", {"trainset": EXAMPLES, **NOBODY}, "ProgramNotFound", "Program not found: nobody"),
    ("list_programs", {"session_id": "of another"}, "InvalidArgument", "belongs to the session"),
    ("get_program_info", NOBODY, "ProgramNotFound", "Program not found: nobody"),
    ("delete_program", NOBODY, "ProgramNotFound", "Program not found: nobody"),
    ("delete_program", {}, "InvalidArgument", "Program ID is required"),
    ("save_program", NOBODY, "ProgramNotFound", "Program not found: nobody"),
    ("load_program", {"saved": {}}, "InvalidArgument", ""),
    ("load_program", {}, "InvalidArgument", "either saved"),
    ("cleanup", {"session_id": "of another"}, "InvalidArgument", "belongs to the session"),
    ("cleanup_session", {"session_id": "of another"}, "InvalidArgument", "belongs to the session"),
    ("reset_state", {"session_id": "of another"}, "InvalidArgument", "belongs to the session"),
    ("create_gemini_program", {"signature": "q -> a"}, "InvalidArgument", "Program ID is required"),
    ("execute_gemini_program", NOBODY, "ProgramNotFound", "Program not found: nobody"),
]
TAKE_ANYTHING = {"ping", "list_optimizers"}  # and so can't be called wrongly


@pytest.fixture
def told(ready):
    """What a command gives, or the last item of its stream, of a worker with an LM and the program `qa`."""
    ready("create_program", id="qa", signature="question -> answer")

    def told(command: str, **args):
        return ready.stream(command, **args)[-1] if command in STREAMS else ready(command, **args)

    told.fails = lambda command, **args: (ready.stream_fails if command in STREAMS else ready.fails)(
        command, **args
    )
    told.session = ready.session
    return told


@pytest.mark.parametrize(("command", "given", "has"), RIGHT, ids=[each[0] for each in RIGHT])
def test_each_command_does_what_it_says(told, command, given, has):
    found = told(command, **given)
    assert {name: found.get(name) for name in has} == has
    assert KEY not in json.dumps(found)


def test_a_saved_program_is_loaded(told):
    saved = told("save_program", program_id="qa")["saved"]
    assert told("load_program", saved=saved, program_id="new")["status"] == "loaded"
    assert told("execute_program", program_id="new", inputs=INPUTS)["outputs"] == {"answer": "Spainville"}


@pytest.mark.parametrize(
    ("command", "given", "kind", "said"), WRONG, ids=[f"{each[0]}-{each[2]}" for each in WRONG]
)
def test_each_command_says_what_is_wrong(told, command, given, kind, said):
    if "session_id" in given and told.session is None:
        pytest.skip("without a session of its own a call may name any")
    error = told.fails(command, **given)
    assert error.type == f"lair_dspy.{kind}" and said in error.message
    assert KEY not in f"{error.message} {error.traceback}"


@pytest.mark.parametrize("command", ["execute_program", "list_programs", "compile_program"])
def test_arguments_that_a_command_has_not_are_named(told, command):
    error = told.fails(command, programm="qa")
    assert error.kind == "invalid_argument" and "'programm'" in error.message


def test_no_command_is_left_out():
    ours = {
        name for name, function in _registry.commands.items() if function.__module__ == "lair_dspy.commands"
    }
    tested = {each[0] for each in RIGHT} | {"configure_lm", "load_program"}  # by the fixture, and above
    assert tested == ours
    assert {each[0] for each in WRONG} == ours - TAKE_ANYTHING
