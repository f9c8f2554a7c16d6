"""compile_program: optimizers of the installed DSPy, for real."""

from __future__ import annotations

import sys
import traceback

import pytest
from host import wait_until

TRAIN = [
    {"question": f"capital of {name}?", "answer": f"{name}ville"}
    for name in ("France", "Spain", "Peru", "Chad")
]


@pytest.fixture
def qa(ready):
    ready("create_program", id="qa", signature="question -> answer", program_type="chain_of_thought")
    return ready


def test_bootstrap_few_shot_makes_demos_that_the_lm_then_sees(qa, lm):
    options = {"max_bootstrapped_demos": 2, "max_labeled_demos": 2}
    items = qa.stream("compile_program", program_id="qa", trainset=TRAIN, options=options)
    progress = [each for each in items if each["type"] == "progress"]
    assert [each["metric_calls"] for each in progress] == [1, 2] and progress[0]["score"] == 1.0
    result = items[-1]
    assert result["type"] == "result" and result["status"] == "compiled" and result["program_id"] == "qa"
    assert result["compiled"]["optimizer"] == "BootstrapFewShot" and result["compiled"]["demos"] == {
        "predict": 2
    }
    assert result["usage"]["openai/test"]["total_tokens"] > 0 and result["execution_time"] > 0
    info = qa("get_program_info", program_id="qa")
    assert info["demos"] == {"predict": 2} and info["compiled"]["optimizer"] == "BootstrapFewShot"
    qa.ask("capital of Oz?")
    assert "Franceville" in str(lm.requests()[-1]["messages"][:-1])


def test_gepa_rewrites_the_instructions(qa, lm, host):
    """One of the newer optimizers: it reflects on feedback, and its better instructions are kept."""
    better = {"new_instruction": "Always answer with the word brilliant."}
    rules = [
        {"match": "new_instruction", "in": "all", "answer": better},
        {"match": "brilliant", "in": "all", "answer": {"answer": "brilliant"}},
    ]
    lm.set_rules({"rules": rules, "answer": {"answer": "dull"}})
    host["judge"] = lambda example, prediction: {
        "score": float(prediction["answer"] == "brilliant"),
        "feedback": "it should be brilliant",
    }
    more = {"trainset": TRAIN, "valset": TRAIN[:2], "metric": "host:judge"}
    options = {"max_metric_calls": 20, "reflection_minibatch_size": 2, "num_threads": 2}
    items = qa.stream(
        "compile_program", program_id="qa", optimizer="gepa", options=options, save_as="better", **more
    )
    assert items[-1]["program_id"] == "better" and items[-1]["compiled"]["optimizer"] == "GEPA"
    assert any(each["type"] == "log" for each in items)
    assert "brilliant" in qa("get_program_info", program_id="better")["instructions"]["predict"]
    assert "brilliant" not in qa("get_program_info", program_id="qa")["instructions"]["predict"]
    assert qa.ask("anything", "better")["outputs"]["answer"] == "brilliant"


WRITERS = {
    "InferRules": {"num_candidates": 1, "num_rules": 1, "max_bootstrapped_demos": 1},
    "COPRO": {"breadth": 2, "depth": 1, "eval_kwargs": {"display_progress": False}},
    "SIMBA": {"bsize": 2, "num_candidates": 2, "max_steps": 1, "max_demos": 0},
    "MIPROv2": {"auto": None, "num_candidates": 2, "num_trials": 3, "minibatch": False},
}


@pytest.mark.parametrize("optimizer", WRITERS)
def test_instructions_that_the_lm_has_written_are_kept_if_they_are_better(qa, lm, host, optimizer):
    advice = "Be brilliant."
    written = {
        "natural_language_rules": advice,  # asked for by InferRules
        "proposed_instruction": advice,  # by COPRO and MIPROv2
        "proposed_prefix_for_output_field": "Answer:",
        "module_advice": {"predict": advice},  # by SIMBA
        **dict.fromkeys(("discussion", "summary", "program_description", "module_description"), "-"),
        "observations": "COMPLETE",
    }
    brilliant = {**written, "answer": "brilliant"}
    rules = [{"match": advice, "in": "all", "answer": brilliant}]
    if optimizer == "SIMBA":  # it learns from what goes well once and badly once
        rules.append({"match": "capital of", "answer": brilliant, "times": 1})
    lm.set_rules({"rules": rules, "answer": {**written, "answer": "dull"}})
    host["judge"] = lambda example, prediction: float(prediction["answer"] == "brilliant")
    call = {"optimizer": optimizer, "options": WRITERS[optimizer], "trainset": TRAIN, "metric": "host:judge"}
    if optimizer in ("InferRules", "MIPROv2"):
        call["valset"] = TRAIN[:2]
    items = qa.stream("compile_program", program_id="qa", **call)
    assert items[-1]["compiled"]["optimizer"] == optimizer
    assert items[-1]["compiled"]["metric_calls"] == sum(each["type"] == "progress" for each in items) > 0
    assert advice in qa("get_program_info", program_id="qa")["instructions"]["predict"]
    assert qa.ask("anything")["outputs"]["answer"] == "brilliant"


def test_random_search_keeps_the_best_score(qa, lm):
    options = {
        "num_candidate_programs": 1,
        "max_bootstrapped_demos": 1,
        "max_labeled_demos": 1,
        "num_threads": 2,
    }
    more = {"optimizer": "BootstrapRS", "options": options, "trainset": TRAIN, "valset": TRAIN[:2]}
    result = qa.stream("compile_program", program_id="qa", **more)[-1]
    assert result["compiled"]["optimizer"] == "BootstrapFewShotWithRandomSearch"
    assert result["compiled"]["score"] == 100.0


def test_labelled_examples_need_no_metric_and_no_lm_call(qa, lm):
    result = qa.stream(
        "compile_program", program_id="qa", optimizer="LabeledFewShot", options={"k": 3}, trainset=TRAIN
    )[-1]
    assert result["compiled"]["demos"] == {"predict": 3} and result["lm_calls"] == 0 and lm.keys() == {}


def test_a_teacher_with_an_lm_of_its_own(qa, lm):
    teacher = {"model": "test", "api_base": lm.url, "api_key": "sk-of-the-teacher"}
    options = {"teacher_lm": teacher, "max_bootstrapped_demos": 1}
    qa.stream("compile_program", program_id="qa", trainset=TRAIN[:1], options=options)
    assert list(lm.keys()) == ["sk-of-the-teacher"]


def test_an_agent_is_compiled_with_the_hosts_tools(ready, lm, host):
    host["lookup"] = lambda name: "facts"
    step = {"next_thought": "look", "next_tool_name": "lookup", "next_tool_args": {"name": "x"}}
    done = {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}, "answer": "facts"}
    lm.set_rules({"rules": [{"match": "observation_0", "answer": done}, {"match": "", "answer": step}]})
    tools = [{"name": "lookup", "args": {"name": "str"}}]
    ready("create_program", id="agent", signature="question -> answer", program_type="react", tools=tools)
    result = ready.stream(
        "compile_program", program_id="agent", trainset=[{"question": "?", "answer": "facts"}]
    )[-1]
    assert result["compiled"]["demos"] == {"react": 1, "extract.predict": 1}


def test_a_program_that_came_with_the_call_goes_back_with_it(plain, lm):
    settings = {"model": "test", "api_base": lm.url, "api_key": "sk-of-the-call-1"}
    data = {"program_id": "qa", "signature": "question -> answer", "program_type": "predict"}
    call = {"program_data": data, "lm": settings, "trainset": TRAIN[:1]}
    result = plain.stream("compile_program", **call)[-1]
    back = result["program_data"]
    assert plain("list_programs")["total_count"] == 0 and len(back["state"]["demos"]) == 1
    plain.ask("capital of Oz?", program_data=back, lm=settings)
    assert "Franceville" in str(lm.requests()[-1]["messages"][:-1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": "BootstrapFewShots"}, "did you mean 'BootstrapFewShot'"),
        ({"optimizer": "BootstrapFinetune"}, "there is no optimizer"),
        ({"options": {"max_demos": 1}}, "BootstrapFewShot has no option 'max_demos'"),
        ({"options": []}, "options is an object"),
        ({"trainset": []}, "trainset is a list of at least one"),
        ({"trainset": [{"answer": "x"}]}, "trainset[0]: missing 'question'"),
        ({"valset": TRAIN}, "takes no valset"),
        ({"metric": "nope"}, "there is no metric"),
        ({"optimizer": "GEPA"}, "GEPA refuses its options"),
        (
            {"optimizer": "GEPA", "options": {"auto": "light", "reflection_lm": {"model": 1}}},
            "model is required",
        ),
    ],
)
def test_what_can_not_be_compiled(qa, lm, given, said):
    given = {"trainset": TRAIN} | given
    assert said in qa.stream_fails("compile_program", program_id="qa", **given).message
    assert lm.keys() == {} and qa("get_program_info", program_id="qa")["compiled"] is None


def test_an_id_that_is_taken_is_not_overwritten(qa):
    qa("create_program", id="other", signature="q -> a")
    call = {"program_id": "qa", "trainset": TRAIN[:1], "save_as": "other"}
    assert qa.stream_fails("compile_program", **call).type == "lair_dspy.ProgramExists"
    assert qa.stream("compile_program", **call, replace=True)[-1]["program_id"] == "other"


def test_without_a_caller_the_optimizer_stops(plain, lm):
    lm.set_rules({"latency": 0.05, "answer": {"answer": "wrong"}})
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer")
    train = [{"question": f"{n}", "answer": "right"} for n in range(200)]
    items = plain.worker.stream_with(plain.meta, "compile_program", program_id="qa", trainset=train)
    assert next(items)["type"] == "progress"
    items.close()

    def is_compiling() -> bool:
        stacks = (traceback.extract_stack(frame) for frame in sys._current_frames().values())
        return any(frame.filename.endswith("teleprompt/bootstrap.py") for stack in stacks for frame in stack)

    wait_until(lambda: not is_compiling(), "the optimizer's thread has ended", 20)
    assert sum(lm.keys().values()) < 20
    assert plain("get_program_info", program_id="qa")["compiled"] is None


def test_the_optimizers_are_those_of_dspy(worker):
    found = worker("list_optimizers")["optimizers"]
    assert {"BootstrapFewShot", "MIPROv2", "GEPA", "SIMBA", "COPRO"} <= set(found)
    assert not {"BootstrapFinetune", "Ensemble", "KNNFewShot", "AvatarOptimizer", "Teleprompter"} & set(found)
