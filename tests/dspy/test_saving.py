"""save_program and load_program: JSON, without keys, code or pickle; and DSPy's own files."""

from __future__ import annotations

import json

import dspy
import pytest

TRAIN = [{"question": "capital of France?", "answer": "Franceville"}]


@pytest.fixture
def saved(ready, lm):
    settings = {"model": "test", "api_base": lm.url, "api_key": "sk-secret-of-the-program"}
    demos = [{"question": "capital of Oz?", "answer": "Emerald City"}]
    ready(
        "create_program",
        id="qa",
        signature="question -> answer",
        program_type="chain_of_thought",
        demos=demos,
        lm=settings,
    )
    ready.stream("compile_program", program_id="qa", trainset=TRAIN)
    done = ready("save_program", program_id="qa")
    assert done["program_id"] == "qa" and done["status"] == "saved"
    return json.loads(json.dumps(done["saved"]))


def test_a_saved_program_is_the_same_elsewhere(ready, saved, lm):
    before = ready("get_program_info", program_id="qa")
    ready("delete_program", program_id="qa")
    done = ready("load_program", saved=saved)
    assert (
        done["program_id"] == "qa"
        and done["status"] == "loaded"
        and done["program_type"] == "chain_of_thought"
    )
    after = ready("get_program_info", program_id="qa")
    for name in ("signature_def", "demos", "instructions", "compiled", "created_at"):
        assert after[name] == before[name], name
    settings = {"model": "test", "api_base": lm.url, "api_key": "sk-another-key-1"}
    ready.ask("capital of Spain?", lm=settings)
    assert "Franceville" in str(lm.requests()[-1]["messages"][:-1])


def test_it_has_no_key(saved):
    assert "sk-secret" not in json.dumps(saved)
    assert saved["program"]["lm"]["model"] == "openai/test" and "api_key" not in saved["program"]["lm"]
    assert saved["format"] == "lair-dspy-program" and saved["metadata"]["dspy"] == dspy.__version__


def test_it_may_have_another_id_and_does_not_overwrite(ready, saved):
    assert ready("load_program", program_id="again", saved=saved)["program_id"] == "again"
    assert ready.fails("load_program", saved=saved).type == "lair_dspy.ProgramExists"
    assert ready("load_program", saved=saved, replace=True)["status"] == "loaded"


def test_dspy_reads_its_state(saved, tmp_path):
    """What DSPy calls module.load()."""
    path = tmp_path / "program.json"
    path.write_text(json.dumps(saved["dspy_state"]))
    module = dspy.ChainOfThought("question -> answer")
    module.load(path)
    assert module.predict.demos[0]["question"] == "capital of France?"


def test_and_lair_reads_dspys(ready, tmp_path, lm):
    module = dspy.ChainOfThought(dspy.Signature("question -> answer", "Be brief."))
    module.predict.demos = [dspy.Example(question="capital of Oz?", answer="Emerald City", reasoning="r")]
    module.save(tmp_path / "program.json")
    state = json.loads((tmp_path / "program.json").read_text())
    ready("create_program", id="qa", signature="question -> answer", program_type="chain_of_thought")
    assert ready("load_program", program_id="qa", dspy_state=state)["status"] == "loaded"
    info = ready("get_program_info", program_id="qa")
    assert info["instructions"] == {"predict": "Be brief."} and info["demos"] == {"predict": 1}
    ready.ask("capital of France?")
    assert "Emerald City" in str(lm.requests()[-1]["messages"])


def test_an_lm_in_dspys_state_is_left_out(ready, lm):
    ready("create_program", id="qa", signature="question -> answer")
    state = ready("save_program", program_id="qa")["saved"]["dspy_state"]
    state["lm"] = {"model": "openai/other", "api_base": "http://elsewhere"}
    ready("load_program", program_id="qa", dspy_state=state)
    assert ready.ask("capital of France?")["outputs"] == {"answer": "Franceville"}


def test_code_is_imported_only_with_leave(ready):
    options = {"module": "modules_of_tests:TwoSteps"}
    ready("create_program", id="two", program_type="custom", options=options)
    saved = ready("save_program", program_id="two")["saved"]
    error = ready.fails("load_program", program_id="again", saved=saved)
    assert "imports Python code" in error.message and "modules_of_tests:TwoSteps" in error.message
    assert ready("load_program", program_id="again", saved=saved, allow_code=True)["status"] == "loaded"
    tools = [{"name": "shout", "import": "modules_of_tests:shout"}]
    ready("create_program", id="agent", signature="question -> answer", program_type="react", tools=tools)
    saved = ready("save_program", program_id="agent")["saved"]
    assert "'modules_of_tests:shout'" in ready.fails("load_program", program_id="x", saved=saved).message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "pickle"}, "not what save_program gives"),
        ({"format_version": 9}, "format version 9"),
        ({"program": None}, "not what save_program gives"),
    ],
)
def test_what_is_no_saved_program(ready, saved, change, said):
    assert said in ready.fails("load_program", program_id="new", saved={**saved, **change}).message


def test_a_state_of_another_program_is_refused(ready, saved):
    ready("create_program", id="plain", signature="question -> answer")
    error = ready.fails("load_program", program_id="plain", dspy_state=saved["dspy_state"])
    assert "the state is of another program" in error.message
    assert "an object by predictor" in ready.fails("load_program", program_id="plain", dspy_state=5).message
    for arguments in ({}, {"saved": saved, "dspy_state": {}}):
        assert "takes either saved" in ready.fails("load_program", program_id="plain", **arguments).message
