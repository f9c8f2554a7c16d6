"""Each type of program, on real DSPy; agents whose tools are the host's functions."""

from __future__ import annotations

import time

import pytest

LOOK_UP = {
    "name": "lookup",
    "description": "Looks a person up.",
    "args": {"name": "str", "limit": {"type": "integer", "default": 3}},
}


def agent(tool: str, arguments: dict) -> dict:
    """Rules of an agent that calls a tool once and then tells what it saw."""
    step = {"next_thought": "I should look.", "next_tool_name": tool, "next_tool_args": arguments}
    done = {"next_thought": "I know.", "next_tool_name": "finish", "next_tool_args": {}}
    seen = {"match": r"observation_0 ## \]\]\n(.*?)\n", "answer": {**done, "answer": "seen: $1"}}
    return {"rules": [seen, {"match": "", "answer": step}]}


def test_chain_of_thought_gives_its_reasoning(ready):
    made = ready("create_program", id="cot", signature="question -> answer", program_type="chain_of_thought")
    assert made["program_type"] == "chain_of_thought"
    assert ready.ask("capital of France?", "cot")["outputs"] == {
        "reasoning": "Let me think.",
        "answer": "Franceville",
    }


def test_react_calls_functions_of_the_host(ready, lm, host):
    calls = []
    host["lookup"] = lambda *args: calls.append(args) or f"facts about {args[0]}"
    lm.set_rules(agent("lookup", {"name": "Bob", "limit": 2}))
    ready("create_program", id="agent", signature="question -> answer", program_type="react", tools=[LOOK_UP])
    done = ready.ask("who is Bob?", "agent")
    assert calls == [("Bob", 2)] and done["outputs"]["answer"] == "seen: facts about Bob"
    assert (
        done["outputs"]["trajectory"]["tool_args_0"] == {"name": "Bob", "limit": 2} and done["lm_calls"] == 3
    )
    assert "Looks a person up." in lm.requests()[0]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("tool", "arguments", "called"),
    [
        (LOOK_UP, {"limit": 2, "name": "Bob"}, (("Bob", 2), {})),  # in the order that the host declares
        (LOOK_UP, {"name": "Bob"}, (("Bob",), {})),
        ({**LOOK_UP, "keywords": True}, {"name": "Bob", "limit": 1}, ((), {"name": "Bob", "limit": 1})),
        ("lookup", {"any": 1}, ((), {"any": 1})),  # nothing is declared
        ({"name": "find", "host": "lookup", "args": {"name": "str"}}, {"name": "Bob"}, (("Bob",), {})),
    ],
)
def test_how_arguments_reach_the_host(ready, lm, host, tool, arguments, called):
    calls = []
    host["lookup"] = lambda *args, **keywords: calls.append((args, keywords)) or "ok"
    lm.set_rules(agent(tool if isinstance(tool, str) else tool["name"], arguments))
    ready("create_program", id="agent", signature="question -> answer", program_type="react", tools=[tool])
    assert ready.ask("who?", "agent")["outputs"]["answer"] == "seen: ok"
    assert calls == [called]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"name": 5}, "Arg name is invalid"), ({"nme": "x"}, "Arg nme is not in the tool's args")],
)
def test_arguments_that_do_not_fit_are_told_to_the_agent(ready, lm, host, arguments, said):
    host["lookup"] = lambda *args: pytest.fail("called")
    lm.set_rules(agent("lookup", arguments))
    ready("create_program", id="agent", signature="question -> answer", program_type="react", tools=[LOOK_UP])
    assert said in ready.ask("who?", "agent")["outputs"]["trajectory"]["observation_0"]


def test_a_tool_that_fails_is_told_to_the_agent(ready, lm, host):
    def lookup(name):
        raise KeyError("nobody of that name")

    host["lookup"] = lookup
    lm.set_rules(agent("lookup", {"name": "Bob"}))
    ready("create_program", id="agent", signature="question -> answer", program_type="react", tools=[LOOK_UP])
    assert "nobody of that name" in ready.ask("who?", "agent")["outputs"]["trajectory"]["observation_0"]


def test_tools_may_be_python(ready, lm):
    lm.set_rules(agent("shout", {"text": "hey"}))
    tools = [{"name": "shout", "import": "modules_of_tests:shout"}]
    ready("create_program", id="agent", signature="question -> answer", program_type="react", tools=tools)
    assert ready.ask("who?", "agent")["outputs"]["answer"] == "seen: HEY"


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ([{"description": "x"}], "tools[0] has no name"),
        ([5], "tools[0] is a name or"),
        (["a", "a"], "two tools are named 'a'"),
        (["finish"], "can't be named 'finish'"),
        ([{"name": "a", "arg": {}}], "a tool has no 'arg'; did you mean 'args'"),
        ([{"name": "a", "args": {"x": "strng"}}], "tools[0].args.x: there is no type 'strng'"),
        ([{"name": "a", "import": "no.such:thing"}], "can't be imported"),
        ("lookup", "tools is a list"),
    ],
)
def test_bad_tools_are_errors(worker, tools, said):
    made = {"id": "agent", "signature": "question -> answer", "program_type": "react", "tools": tools}
    assert said in worker.fails("create_program", **made).message


def test_best_of_n_takes_the_best(ready, lm, host):
    scores = {"first": 0.1, "second": 0.9, "third": 0.5}
    seen = []
    host["score"] = lambda inputs, outputs: (
        seen.append((inputs, outputs["answer"])) or scores[outputs["answer"]]
    )
    lm.set_rules({"rules": [{"match": "", "answer": {"answer": each}, "times": 1} for each in scores]})
    options = {"n": 3, "reward": "host:score", "inner": "predict"}
    ready(
        "create_program", id="best", signature="question -> answer", program_type="best_of_n", options=options
    )
    assert ready.ask("?", "best")["outputs"] == {"answer": "second"}
    assert seen == [({"question": "?"}, each) for each in scores]


def test_refine_gives_advice_between_attempts(ready, lm):
    answers = [
        {"answer": "much too long an answer"},
        {"discussion": "long", "advice": {"self": "be brief"}},
        {"answer": "short"},
    ]
    lm.set_rules({"rules": [{"match": "", "answer": each, "times": 1} for each in answers]})
    options = {"n": 2, "reward": "import:modules_of_tests:short", "inner": "predict"}
    ready(
        "create_program", id="refine", signature="question -> answer", program_type="refine", options=options
    )
    assert ready.ask("?", "refine")["outputs"] == {"answer": "short"}
    assert "be brief" in lm.requests()[-1]["messages"][-1]["content"]


def test_attempts_that_all_fail_are_an_error_each_time(ready, lm):
    """DSPy's module counts its failures in itself; the next run has to begin with none."""
    lm.set_rules({"rules": [{"match": "", "fault": 500}]})
    options = {"n": 2, "reward": "import:modules_of_tests:short"}
    ready(
        "create_program", id="best", signature="question -> answer", program_type="best_of_n", options=options
    )
    messages = {
        ready.fails("execute_program", program_id="best", inputs={"question": "?"}).message for _ in range(4)
    }
    assert len(messages) == 1 and messages.pop().startswith("Program execution failed: ")


def test_parallel_runs_a_list_of_inputs_at_the_same_time(ready, lm):
    refuse = {"match": "refuse", "wait_for": 4, "fault": 401}
    lm.set_rules({"rules": [refuse, {"match": "", "wait_for": 4, "answer": {"answer": "to {question}"}}]})
    options = {"num_threads": 4}
    ready(
        "create_program", id="par", signature="question -> answer", program_type="parallel", options=options
    )
    inputs = [{"question": each} for each in ("a", "refuse", "c", "d")]
    done = ready("execute_program", program_id="par", inputs=inputs)
    assert done["outputs"] == [{"answer": "to a"}, None, {"answer": "to c"}, {"answer": "to d"}]
    assert list(done["errors"]) == ["1"] and "LMAuthError" in done["errors"]["1"]
    assert lm.service.most_in_flight == 4
    assert (
        "inputs[1]: missing 'question'"
        in ready.fails("execute_program", program_id="par", inputs=[inputs[0], {}]).message
    )
    assert "are a list" in ready.fails("execute_program", program_id="par", inputs={}).message


def test_program_of_thought_runs_the_code(ready, lm):
    code = "```python\nresult = 6 * 7\nSUBMIT({'answer': result})\n```"
    lm.set_rules(
        {
            "rules": [
                {"match": "code_output", "answer": {"answer": "42"}},
                {"match": "", "answer": {"generated_code": code}},
            ]
        }
    )
    options = {"interpreter": "local"}
    ready(
        "create_program",
        id="pot",
        signature="question -> answer",
        program_type="program_of_thought",
        options=options,
    )
    assert ready.ask("6 * 7?", "pot")["outputs"]["answer"] == "42"
    assert '"answer": 42' in lm.requests()[-1]["messages"][-1]["content"]


def test_program_of_thought_asks_for_its_sandbox(ready, monkeypatch):
    monkeypatch.setattr("lair_dspy._build._has_deno", lambda: False)
    ready("create_program", id="pot", signature="question -> answer", program_type="program_of_thought")
    error = ready.fails("execute_program", program_id="pot", inputs={"question": "6 * 7?"})
    assert "Deno" in error.message and "interpreter = 'local'" in error.message


def test_a_custom_module_by_its_import_path(ready, lm):
    lm.set_rules({"answer": {"answer": "yes", "verdict": "True"}})
    options = {"module": "modules_of_tests:TwoSteps", "args": {"style": "fancy"}}
    made = ready("create_program", id="two", program_type="custom", options=options)
    assert made["signature"] is None
    assert ready.ask("?", "two")["outputs"] == {"answer": "yes", "verdict": True, "style": "fancy"}
    ready(
        "create_program",
        id="typed",
        program_type="custom",
        options=options,
        signature="question -> answer, verdict: bool",
    )
    error = ready.fails("execute_program", program_id="typed", inputs={})
    assert error.type == "lair_dspy.InvalidInputs"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"program_type": "chain_of_though"}, "did you mean 'chain_of_thought'"),
        ({"program_type": "predict", "options": {"n": 2}}, "has no option 'n'"),
        ({"program_type": "best_of_n", "options": {"n": 0}}, "options.n is a number from 1"),
        ({"program_type": "best_of_n"}, "needs options.reward"),
        ({"program_type": "best_of_n", "options": {"reward": "better"}}, "a reward is 'host:NAME'"),
        (
            {"program_type": "refine", "options": {"reward": "host:r", "inner": "react"}},
            "is predict or chain_of_thought",
        ),
        ({"program_type": "predict", "tools": ["a"]}, "tools are for programs of type react"),
        ({"program_type": "custom", "options": {"module": "nope:Nope"}}, "can't be imported"),
        ({"program_type": "custom", "options": {"module": "modules_of_tests:NotAModule"}}, "no dspy.Module"),
        ({"program_type": "custom", "options": {"module": "modules_of_tests:broken"}}, "no such luck"),
        ({"program_type": "custom"}, "options.module is a text"),
        ({"program_type": "program_of_thought", "options": {"interpreter": "sh"}}, "'deno' or 'local'"),
        ({"demos": [{"questoin": "q"}]}, "demos[0]: there is no field 'questoin'; did you mean 'question'"),
        ({"demos": ["q"]}, "demos is a list of objects"),
        ({"adapter": "yaml"}, "there is no adapter 'yaml'"),
        ({"lm": {"model": 1}}, "model is required"),
        ({"models": {"M": 5}}, "not a JSON schema"),
    ],
)
def test_what_a_program_can_not_be_is_an_error_at_its_creation(worker, given, said):
    given = {"signature": "question -> answer"} | given
    if given.get("program_type") == "custom":
        del given["signature"]
    assert said in worker.fails("create_program", id="p", **given).message
    assert worker("list_programs")["total_count"] == 0


def test_demos_are_shown_to_the_lm(ready, lm):
    demos = [{"question": "capital of Oz?", "answer": "Emerald City"}]
    ready("create_program", id="qa", signature="question -> answer", demos=demos)
    ready.ask("capital of France?")
    messages = lm.requests()[-1]["messages"]
    assert "capital of Oz?" in messages[1]["content"] and "Emerald City" in messages[2]["content"]


def test_usage_and_history_come_with_the_result(ready, lm):
    ready("create_program", id="cot", signature="question -> answer", program_type="chain_of_thought")
    done = ready.ask("capital of France?", "cot", history=True)
    assert (
        done["usage"]["openai/test"]["total_tokens"] > done["usage"]["openai/test"]["completion_tokens"] > 0
    )
    (entry,) = done["history"]
    assert entry["model"] == "openai/test" and "capital of France?" in entry["messages"][-1]["content"]
    assert "Franceville" in entry["outputs"][0] and entry["seconds"] > 0
    again = ready.ask("capital of France?", "cot")
    assert again["usage"] == {} and "history" not in again  # from the cache
    assert ready("get_stats")["lm_calls"] >= 2


def test_execution_time_is_a_duration(ready, lm):
    lm.set_rules({"latency": 0.2, "answer": {"answer": "x"}})
    ready("create_program", id="qa", signature="question -> answer")
    started = time.monotonic()
    found = ready.ask("?")["execution_time"]
    assert 0.2 <= found <= time.monotonic() - started
