"""LMs: whose they are, what they take, and that their keys are seen by nobody but their endpoint."""

from __future__ import annotations

import sys

import dspy
import pytest
from lair_dspy import InvalidLM
from lair_dspy._lm import settings_of
from server import LMServer

from support import KEY


def test_configure_lm_is_told_as_the_original_did(worker, lm):
    done = worker.configure(lm)
    assert done["status"] == "configured" and done["model"] == "test" and done["temperature"] == 0.7
    assert done["scope"] == ("session" if worker.session else "worker")
    assert done["lm"]["api_key"] == "***" and KEY not in str(done)


@pytest.mark.parametrize(
    ("given", "model", "provider"),
    [
        ({"model": "gemini-1.5-flash"}, "gemini/gemini-1.5-flash", "google"),
        ({"model": "gemini-1.5-flash", "provider": "google"}, "gemini/gemini-1.5-flash", "google"),
        ({"model": "openai/gpt-4o-mini"}, "openai/gpt-4o-mini", "openai"),
        ({"model": "gpt-4o-mini", "provider": "openai"}, "openai/gpt-4o-mini", "openai"),
        ({"model": "llama", "api_base": "http://localhost:1/v1"}, "openai/llama", "openai"),
        ({"model": "ollama_chat/llama3"}, "ollama_chat/llama3", "ollama_chat"),
    ],
)
def test_models_have_providers(given, model, provider):
    found = settings_of(given)
    assert (found["model"], found["provider"]) == (model, provider)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "model is required"),
        ({"model": 5}, "model is required"),
        ({"model": "whatever"}, "whose model is 'whatever'"),
        ({"model": "openai/x", "temprature": 1}, "did you mean 'temperature'?"),
        ({"model": "openai/x", "max_token": 1}, "did you mean 'max_tokens'?"),
        ({"model": "openai/"}, "DSPy refuses the LM"),
        ({"model": "openai/x", "num_retries": -1}, "num_retries must be"),
        ({"model": "openai/x", "engine": "steam"}, "engine must be"),
        ({"model": "openai/x", "adapter": "jsn"}, "there is no adapter 'jsn'; did you mean 'json'"),
        ({"model": "openai/x", "callbacks": []}, "is no data"),
        ({"model": "openai/x", "api_key": "a", "api_key_env": "B"}, "exclude each other"),
        ({"model": "openai/x", "api_key_env": "NOT_THERE"}, "'NOT_THERE'"),
        ("openai/x", "LM settings are an object"),
    ],
)
def test_what_dspy_would_not_take_is_an_error(given, said):
    with pytest.raises(InvalidLM) as caught:
        settings_of(given)
    assert said in str(caught.value)


def test_a_failed_configure_lm_is_an_error_and_changes_nothing(ready, lm):
    assert ready.fails("configure_lm", model="whatever").type == "lair_dspy.InvalidLM"
    ready("create_program", id="qa", signature="question -> answer")
    assert ready.ask("capital of France?")["outputs"]["answer"] == "Franceville"


def test_with_check_the_endpoint_is_asked(worker, lm):
    lm.set_rules({"rules": [{"key": "sk-a-wrong-key-12", "fault": 401}], "answer": "OK"})
    error = worker.fails(
        "configure_lm", model="test", api_base=lm.url, api_key="sk-a-wrong-key-12", check=True
    )
    assert error.type == "lair_dspy.LMFailed" and "Incorrect API key provided: ***" in error.message
    assert worker.configure(lm, check=True)["status"] == "configured"
    assert lm.keys() == {"sk-a-wrong-key-12": 1, KEY: 1}


def test_reasoning_models_take_no_temperature_unless_it_is_asked_for(worker):
    assert worker("configure_lm", model="openai/gpt-5", api_key="x")["temperature"] is None
    assert "temperature" in worker.fails("configure_lm", model="openai/gpt-5", temperature=0.5).message


def test_settings_reach_the_endpoint(worker, lm):
    worker.configure(lm, temperature=0.25, max_tokens=321, cache=False)
    worker("create_program", id="qa", signature="question -> answer")
    worker.ask("capital of France?")
    worker.ask("capital of France?", config={"temperature": 1.0})
    first, second = lm.requests(KEY)
    assert first["temperature"] == 0.25 and first["max_completion_tokens"] == 321 and first["model"] == "test"
    assert second["temperature"] == 1.0


def test_the_call_beats_the_program_which_beats_the_session(worker, lm):
    def settings(key: str) -> dict:
        return {"model": "test", "api_base": lm.url, "api_key": key}

    worker.configure(lm, "sk-of-session")
    worker("create_program", id="own", signature="question -> answer", lm=settings("sk-of-program"))
    worker("create_program", id="none", signature="question -> answer")
    for program, more in (("none", {}), ("own", {}), ("own", {"lm": settings("sk-of-the-call")})):
        worker.ask("capital of France?", program, **more)
    assert list(lm.keys()) == ["sk-of-session", "sk-of-program", "sk-of-the-call"]
    info = worker("get_program_info", program_id="own")
    assert info["lm"]["api_key"] == "***" and "sk-of-program" not in str(info)


def test_nothing_is_the_processs(ready):
    ready("create_program", id="qa", signature="question -> answer")
    ready.ask("capital of France?")
    assert dspy.settings.lm is None and not dspy.settings.callbacks
    assert dspy.clients.base_lm.GLOBAL_HISTORY == [] and dspy.settings.trace == []


def test_without_an_lm_it_says_how_to_set_one(worker, lm):
    worker("create_program", id="qa", signature="question -> answer")
    error = worker.fails("execute_program", program_id="qa", inputs={"question": "?"})
    assert error.type == "lair_dspy.NoLM" and error.message.startswith("No LM is loaded.")


def test_the_environment_may_set_one_for_all(worker, lm, monkeypatch):
    monkeypatch.setenv(
        "LAIR_DSPY_LM", f'{{"model": "test", "api_base": "{lm.url}", "api_key_env": "MY_KEY"}}'
    )
    monkeypatch.setenv("MY_KEY", "sk-from-environment")
    worker("create_program", id="qa", signature="question -> answer")
    assert worker.ask("capital of France?")["outputs"]["answer"] == "Franceville"
    assert lm.keys() == {"sk-from-environment": 1}
    monkeypatch.setenv("LAIR_DSPY_LM", '{"model": 5}')
    assert (
        "LAIR_DSPY_LM" in worker.fails("execute_program", program_id="qa", inputs={"question": "?"}).message
    )


def test_an_anonymous_callers_lm_is_no_sessions(plain, lm):
    plain.worker.call("configure_lm", model="test", api_base=lm.url, api_key="sk-anonymous-one")
    plain("create_program", id="qa", signature="question -> answer")
    assert plain.fails("execute_program", program_id="qa", inputs={"question": "?"}).type == "lair_dspy.NoLM"


def test_two_sessions_with_different_lms_and_keys_never_mix(plain):
    """The same model name and the same questions, so that a shared cache would show."""
    rules = (
        {"rules": [{"match": "who", "answer": {"answer": "ONE"}}]},
        {"rules": [{"match": "who", "answer": {"answer": "TWO"}}]},
    )
    with LMServer(rules[0]) as one, LMServer(rules[1]) as two:
        for session, server in (("a", one), ("b", two)):
            meta = {"session": session}
            settings = {"model": "test", "api_base": server.url, "api_key": f"sk-session-{session}-key"}
            plain.worker.call_with(meta, "configure_lm", **settings)
            plain.worker.call_with(meta, "create_program", id="qa", signature="question -> answer")
        for number in range(20):
            for session, wanted in (("a", "ONE"), ("b", "TWO")):
                inputs = {"question": f"who {number % 5}"}
                done = plain.worker.call_with(
                    {"session": session}, "execute_program", program_id="qa", inputs=inputs
                )
                assert done["outputs"] == {"answer": wanted}
        assert one.keys() == {"sk-session-a-key": 5} and two.keys() == {
            "sk-session-b-key": 5
        }  # the rest is cached


def test_the_same_endpoint_with_another_key_is_another_cache(plain, lm):
    for session in "ab":
        plain.worker.call_with(
            {"session": session},
            "configure_lm",
            model="test",
            api_base=lm.url,
            api_key=f"sk-key-of-{session}",
        )
        plain.worker.call_with(
            {"session": session}, "create_program", id="qa", signature="question -> answer"
        )
        for _ in range(2):
            plain.worker.call_with(
                {"session": session}, "execute_program", program_id="qa", inputs={"question": "same"}
            )
    assert lm.keys() == {"sk-key-of-a": 1, "sk-key-of-b": 1}


def test_keys_are_masked_in_errors_and_on_stderr(ready, lm, capsys):
    ready("create_program", id="qa", signature="question -> answer")
    error = ready.fails("execute_program", program_id="qa", inputs={"question": "refuse"})
    assert error.type == "lair_dspy.LMFailed"
    assert KEY not in error.message + error.traceback and "***" in error.message
    print(f"a library logs {KEY}", file=sys.stderr)
    import lair_dspy._secrets as secrets

    assert secrets.redact(f"x {KEY} y") == "x *** y"
    assert secrets.redact("Authorization: Bearer abcdefgh1234") == "Authorization: Bearer ***"
    assert secrets.masked({"extra_headers": {"X-Key": "v"}, "max_tokens": 5, "top": [KEY]}) == {
        "extra_headers": "***",
        "max_tokens": 5,
        "top": ["***"],
    }


def test_failures_of_the_endpoint_are_told(ready, lm):
    ready("create_program", id="qa", signature="question -> answer")
    for fault, said in (
        (500, "LMServerError"),
        (429, "LMRateLimitError"),
        ("disconnect", "LMTransportError"),
    ):
        lm.set_rules({"rules": [{"match": "", "fault": fault}]})
        error = ready.fails("execute_program", program_id="qa", inputs={"question": f"{fault}"})
        assert error.type == "lair_dspy.LMFailed" and said in error.message, fault
        assert error.message.startswith("Program execution failed: ")
    for fault in ("broken_json", "empty"):
        lm.set_rules({"rules": [{"match": "", "fault": fault}]})
        error = ready.fails("execute_program", program_id="qa", inputs={"question": fault})
        assert error.type in ("lair_dspy.LMFailed", "lair_dspy.ExecutionFailed"), fault


def test_a_slow_endpoint_times_out(worker, lm):
    lm.set_rules({"rules": [{"match": "", "fault": "hang"}]})
    worker.configure(lm, timeout=0.3)
    worker("create_program", id="qa", signature="question -> answer")
    error = worker.fails("execute_program", program_id="qa", inputs={"question": "?"})
    assert error.type == "lair_dspy.LMFailed" and "imeout" in error.message


def test_retries_are_the_settings(worker, lm):
    rule = {"match": "", "fault": 429, "retry_after": 0, "times": 2}
    lm.set_rules({"rules": [rule], "answer": {"answer": "at last"}})
    worker("configure_lm", model="test", api_base=lm.url, api_key=KEY, num_retries=2)
    worker("create_program", id="qa", signature="question -> answer")
    assert worker.ask("?")["outputs"] == {"answer": "at last"}
    assert lm.keys() == {KEY: 3}


@pytest.mark.parametrize("adapter", ["chat", "json", "xml"])
def test_adapters(worker, lm, adapter):
    worker.configure(lm, adapter=adapter)
    worker("create_program", id="qa", signature="question -> answer, score: float")
    assert worker.ask("capital of France?")["outputs"] == {"answer": "Franceville", "score": 0.5}
    worker("create_program", id="own", signature="question -> answer", adapter="json")
    assert worker.ask("capital of France?", "own")["outputs"]["answer"] == "Franceville"


def test_litellm_is_an_engine_too(worker, lm):
    worker.configure(lm, engine="litellm")
    worker("create_program", id="qa", signature="question -> answer")
    done = worker.ask("capital of France?")
    assert done["outputs"]["answer"] == "Franceville" and done["usage"]["openai/test"]["total_tokens"] > 0
    assert lm.keys() == {KEY: 1}
