"""stream_program: tokens as they come, then the result."""

from __future__ import annotations

import pytest
from host import wait_until

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def text_of(items: list[dict], field: str) -> str:
    return "".join(each["text"] for each in items if each["type"] == "token" and each["field"] == field)


@pytest.mark.parametrize("adapter", ["chat", "json", "xml"])
def test_tokens_add_up_to_the_answer(ready, lm, adapter):
    lm.set_rules({"answer": {"reasoning": "because of this and that", "answer": LONG}})
    ready(
        "create_program",
        id="qa",
        signature="question -> answer",
        program_type="chain_of_thought",
        adapter=adapter,
    )
    items = ready.stream("stream_program", program_id="qa", inputs={"question": "?"})
    texts = text_of(items, "answer").strip(), text_of(items, "reasoning").strip()
    wanted = LONG, "because of this and that"
    if adapter == "json":  # whose tokens have quotes and commas of the JSON around them
        assert all(text.strip(' "').startswith(each) for text, each in zip(texts, wanted, strict=True))
    else:
        assert texts == wanted
    assert len([each for each in items if each["type"] == "token"]) > 5
    last = items[-1]
    assert last["type"] == "result" and last["outputs"]["answer"] == LONG and last["program_id"] == "qa"
    assert last["execution_time"] > 0 and last["usage"]["openai/test"]["total_tokens"] > 0
    assert lm.requests()[-1]["stream"] is True


def test_only_the_fields_that_are_asked_for(ready, lm):
    lm.set_rules({"answer": {"reasoning": "because", "answer": LONG}})
    fields = {"inputs": ["question"], "outputs": [{"name": "the answer"}]}
    ready("create_program", id="qa", signature=fields, program_type="chain_of_thought")
    lm.set_rules({"answer": {"the_answer": LONG}})
    items = ready.stream("stream_program", program_id="qa", inputs={"question": "?"}, fields=["the answer"])
    assert {each["field"] for each in items if each["type"] == "token"} == {"the answer"}
    error = ready.stream_fails("stream_program", program_id="qa", inputs={"question": "?"}, fields=["anwser"])
    assert "there is no output 'anwser'" in error.message


def test_a_cached_answer_has_no_tokens(ready):
    ready("create_program", id="qa", signature="question -> answer")
    first = ready.stream("stream_program", program_id="qa", inputs={"question": "capital of France?"})
    (second,) = ready.stream("stream_program", program_id="qa", inputs={"question": "capital of France?"})
    assert len(first) > 1 and second["outputs"] == first[-1]["outputs"] == {"answer": "Franceville"}


def test_an_agents_steps_are_told(ready, lm, host):
    host["lookup"] = lambda name: "facts"
    step = {"next_thought": "look", "next_tool_name": "lookup", "next_tool_args": {"name": "x"}}
    done = {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}, "answer": "facts it is"}
    lm.set_rules({"rules": [{"match": "observation_0", "answer": done}, {"match": "", "answer": step}]})
    tools = [{"name": "lookup", "args": {"name": "str"}}]
    ready("create_program", id="agent", signature="question -> answer", program_type="react", tools=tools)
    items = ready.stream("stream_program", program_id="agent", inputs={"question": "?"})
    assert {"type": "status", "message": "calling lookup"} in items
    assert text_of(items, "answer") == "facts it is"
    assert {each["predictor"] for each in items if each["type"] == "token"} == {"react", "extract.predict"}


def test_a_module_without_async_streams_too(ready, lm):
    lm.set_rules({"answer": {"answer": LONG, "verdict": "True"}})
    ready("create_program", id="two", program_type="custom", options={"module": "modules_of_tests:TwoSteps"})
    items = ready.stream("stream_program", program_id="two", inputs={"question": "?"})
    assert text_of(items, "answer").strip() == LONG and items[-1]["outputs"]["verdict"] is True


@pytest.mark.parametrize(
    ("fault", "said"), [(500, "LMServerError"), ("disconnect_midstream", "Program execution failed")]
)
def test_a_failure_ends_the_stream_with_an_error(ready, lm, fault, said):
    lm.set_rules({"rules": [{"match": "", "fault": fault, "answer": {"answer": LONG}}]})
    ready("create_program", id="qa", signature="question -> answer")
    error = ready.stream_fails("stream_program", program_id="qa", inputs={"question": "?"})
    assert said in error.message and error.type in ("lair_dspy.LMFailed", "lair_dspy.ExecutionFailed")
    assert ready("get_program_info", program_id="qa")["error_count"] == 1


def test_bad_inputs_are_refused_before_anything_is_asked(ready, lm):
    ready("create_program", id="qa", signature="question -> answer")
    assert ready.stream_fails("stream_program", program_id="qa", inputs={}).type == "lair_dspy.InvalidInputs"
    ready("create_program", id="par", signature="question -> answer", program_type="parallel")
    assert "can't be streamed" in ready.stream_fails("stream_program", program_id="par", inputs=[]).message
    assert lm.keys() == {}


def test_a_stream_that_is_closed_early_ends_its_request(plain, lm):
    lm.set_rules({"token_delay": 0.02, "answer": {"answer": LONG * 50}})
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer")
    items = plain.worker.stream_with(plain.meta, "stream_program", program_id="qa", inputs={"question": "?"})
    assert next(items)["type"] == "token"
    items.close()
    wait_until(lambda: lm.service.in_flight == 0, "the LM's connection is closed", 10)
