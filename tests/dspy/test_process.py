"""Worker processes, as a pool runs them: over the channel, with a host that keeps sessions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from host import CANCELLED, PYTHON_DIR, wait_until

from support import KEY, ROOT, Failed

QA = {"id": "qa", "signature": "question -> answer"}


def ask(question: str) -> dict:
    return {"program_id": "qa", "inputs": {"question": question}}


def test_a_pools_worker_serves_programs_in_sessions(shared, lm):
    worker = shared()
    assert {each["name"] for each in worker.hello["lair"]["commands"]} >= {
        "execute_program",
        "stream_program",
    }
    assert worker.call("ping")["mode"] == "standalone" and worker.call("ping")["dspy_available"] is True
    worker.configure(lm, session="s")
    worker.call("create_program", "s", **QA)
    assert worker.call("execute_program", "s", **ask("capital of France?"))["outputs"] == {
        "answer": "Franceville"
    }
    items = worker.wait(worker.start("stream_program", "s", stream=True, **ask("capital of Spain?")))
    assert items[0]["type"] == "token" and items[-1]["outputs"] == {"answer": "Spainville"}
    assert set(worker.stores["s"]) == {"dspy/lm", "dspy/program/qa", "dspy/use/qa"}
    with pytest.raises(Failed, match="did you mean 'qa'"):
        worker.call("get_program_info", "s", program_id="qaa")
    worker.call("cleanup_session", "s")
    assert worker.stores["s"] == {}


def test_a_killed_worker_loses_no_program_and_no_lm(process, lm):
    first, second = process(), process()
    second.stores = first.stores
    first.configure(lm, session="s")
    first.call("create_program", "s", **QA)
    first.call("execute_program", "s", **ask("capital of France?"))
    running = first.start("execute_program", "s", **ask("capital of Chad?"))
    assert running
    first.worker.kill()
    assert second.call("execute_program", "s", **ask("capital of Spain?"))["outputs"] == {
        "answer": "Spainville"
    }
    assert second.call("get_program_info", "s", program_id="qa")["execution_count"] >= 2


@pytest.mark.parametrize("program_type", ["predict", "chain_of_thought"])
def test_calls_run_at_the_same_time(shared, lm, program_type):
    lm.set_rules({"rules": [{"match": "", "wait_for": 16, "answer": {"answer": "to {question}"}}]})
    worker = shared(16)
    assert worker.hello["lair"]["concurrency"] == 16
    worker.configure(lm)
    worker.call("create_program", **QA, program_type=program_type)
    calls = [worker.start("execute_program", **ask(f"q{n}")) for n in range(16)]
    assert [worker.wait(call)["outputs"]["answer"] for call in calls] == [f"to q{n}" for n in range(16)]
    assert lm.service.most_in_flight == 16


def test_programs_that_block_run_at_the_same_time_too(shared, lm):
    lm.set_rules({"rules": [{"match": "", "wait_for": 12, "answer": {"answer": "x"}}]})
    worker = shared(16)
    worker.functions["score"] = lambda inputs, outputs: 1.0
    worker.configure(lm)
    options = {"n": 1, "reward": "host:score", "inner": "predict"}
    worker.call("create_program", **QA, program_type="best_of_n", options=options)
    calls = [worker.start("execute_program", **ask(f"q{n}")) for n in range(12)]
    assert all(worker.wait(call)["outputs"] == {"answer": "x"} for call in calls)
    assert lm.service.most_in_flight == 12


@pytest.mark.parametrize("concurrency", [1, 16])
def test_agents_call_the_host_in_the_middle_of_a_call(shared, lm, concurrency):
    step = {
        "next_thought": "look",
        "next_tool_name": "lookup",
        "next_tool_args": {"name": "{question}", "limit": 2},
    }
    done = {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}, "answer": "$1"}
    seen = {"match": r"observation_0 ## \]\]\n(.*?)\n", "answer": done}
    lm.set_rules({"rules": [seen, {"match": "", "answer": step}]})
    worker = shared(concurrency)
    worker.functions["lookup"] = lambda name, limit: f"{limit} facts about {name}"
    worker.configure(lm)
    tools = [{"name": "lookup", "args": {"name": "str", "limit": "int"}}]
    worker.call("create_program", **QA, program_type="react", tools=tools)
    names = ["Ann", "Bob", "Cy"] * 2 if concurrency > 1 else ["Ann"]
    calls = [worker.start("execute_program", **ask(name)) for name in names]
    answers = [worker.wait(call)["outputs"]["answer"] for call in calls]
    assert answers == [f"2 facts about {name}" for name in names]


def test_optimizers_and_metrics_reach_the_host_from_their_threads(shared, lm):
    worker = shared()
    seen = []
    worker.functions["judge"] = lambda example, prediction: seen.append(example["question"]) or True
    worker.configure(lm, session="s")
    worker.call("create_program", "s", **QA)
    train = [{"question": f"capital of {name}?"} for name in ("France", "Spain")]
    options = {"num_candidate_programs": 1, "num_threads": 4, "max_labeled_demos": 0}
    call = {"program_id": "qa", "optimizer": "BootstrapRS", "trainset": train, "metric": "host:judge"}
    items = worker.wait(worker.start("compile_program", "s", stream=True, options=options, **call))
    assert items[-1]["compiled"]["score"] == 100.0 and len(seen) > 4
    done = worker.call("evaluate_program", "s", program_id="qa", examples=train, metric="host:judge")
    assert done["scores"] == [1.0, 1.0]


def test_two_sessions_never_mix(shared, lm):
    """At the same time, on one worker, with the same model and questions; checked at the LM by key."""
    lm.set_rules({"latency": 0.005, "answer": {"answer": "{question}"}})
    worker = shared(16)
    sessions = [f"s{n}" for n in range(8)]
    for session in sessions:
        worker.configure(lm, f"sk-secret-of-{session}", session, cache=False)
        worker.call("create_program", session, **QA)
    for turn in range(25):
        calls = [worker.start("execute_program", each, **ask(f"{each} asks {turn}")) for each in sessions]
        for session, call in zip(sessions, calls, strict=True):
            assert worker.wait(call)["outputs"] == {"answer": f"{session} asks {turn}"}
    assert lm.keys() == {f"sk-secret-of-{each}": 25 for each in sessions}
    for session in sessions:
        asked = [each["messages"][-1]["content"] for each in lm.requests(f"sk-secret-of-{session}")]
        assert all(f"{session} asks" in each for each in asked)


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_cancelled_call_gives_the_worker_back(shared, lm, concurrency):
    lm.set_rules({"rules": [{"match": "hang", "fault": "hang"}], "answer": {"answer": "fine"}})
    worker = shared(concurrency)
    worker.configure(lm)
    worker.call("create_program", **QA)
    call = worker.start("execute_program", **ask("hang"))
    wait_until(lambda: lm.service.in_flight == 1, "the LM has been asked")
    worker.worker.cancel(call)
    assert worker.worker.receive()[:2] == [CANCELLED, call]
    assert worker.call("execute_program", **ask("fine"))["outputs"] == {"answer": "fine"}
    wait_until(lambda: lm.service.in_flight == 0, "the LM's connection is closed")


def files_below(*folders) -> list[str]:
    return [str(path) for folder in folders for path in folder.rglob("*") if path.is_file()]


def everything(worker, lm) -> None:
    worker.configure(lm)
    worker.call("create_program", **QA)
    worker.call("execute_program", **ask("capital of France?"))
    worker.wait(worker.start("stream_program", stream=True, **ask("capital of Spain?")))
    train = [{"question": "capital of Peru?", "answer": "Peruville"}]
    worker.wait(worker.start("compile_program", stream=True, program_id="qa", trainset=train))
    worker.call("evaluate_program", program_id="qa", examples=train)
    worker.call("save_program", program_id="qa")
    worker.configure(lm, engine="litellm")
    worker.call("execute_program", **ask("capital of Chad?"))


def test_nothing_is_written_unless_a_cache_is_configured(process, lm):
    worker = process()
    everything(worker, lm)
    worker.log()
    assert files_below(worker.home, worker.cwd) == []


def test_a_configured_cache_is_all_that_is_written_and_is_found_again(process, lm, tmp_path):
    cache = tmp_path / "cache"
    worker = process(env={"LAIR_DSPY_CACHE": cache})
    everything(worker, lm)
    worker.log()
    assert files_below(worker.home, worker.cwd) == [] and files_below(cache) != []
    assert not any(KEY.encode() in Path(path).read_bytes() for path in files_below(cache))
    asked = sum(lm.keys().values())
    again = process(env={"LAIR_DSPY_CACHE": cache})
    again.configure(lm)
    again.call("create_program", **QA)
    done = again.call("execute_program", **ask("capital of France?"))
    assert done["outputs"] == {"answer": "Franceville"} and sum(lm.keys().values()) == asked


def test_no_cache_at_all(process, lm):
    worker = process(env={"LAIR_DSPY_CACHE": "off"})
    worker.configure(lm)
    worker.call("create_program", **QA)
    for _ in range(2):
        worker.call("execute_program", **ask("capital of France?"))
    assert lm.keys() == {KEY: 2}


def test_keys_are_in_no_log_and_no_error(process, lm):
    path = os.pathsep.join([str(PYTHON_DIR), str(ROOT / "tests/dspy")])
    worker = process(env={"PYTHONPATH": path})
    leaky = {**QA, "program_type": "custom", "options": {"module": "modules_of_tests:Leaky"}}
    for session in (None, "s"):
        worker.configure(lm, f"{KEY}-{session}", session)
        worker.call("create_program", session, **leaky)
        with pytest.raises(Failed) as caught:
            worker.call("execute_program", session, **ask("?"))
        assert KEY not in json.dumps(caught.value.error) and "error has ***" in str(caught.value)
    log = worker.log()
    assert KEY not in log
    for place in ("stdout", "stderr", "log", "last resort", "warning"):
        assert f"{place} has ***" in log


def test_without_dspy_it_is_there_and_says_so(process, lm):
    worker = process(argv=["-S", "-m", "lair_worker", "lair_dspy"])
    assert worker.call("ping")["dspy_available"] is False
    assert worker.call("get_stats")["dspy_available"] is False
    assert worker.call("list_programs", "s") == {"programs": [], "total_count": 0}
    for command, args in (
        ("create_program", QA),
        ("configure_lm", {"model": "openai/x"}),
        ("list_optimizers", {}),
    ):
        with pytest.raises(Failed, match="lair_dspy.DspyMissing: .*pip install dspy"):
            worker.call(command, **args)


def test_a_foreign_host_keeps_sessions_in_the_worker(process, lm):
    """Protocol 1, as the original's host spoke it: session_id among the arguments, nobody to keep values."""
    worker = process(greet=False).worker
    worker.handshake()

    def request(command: str, **args):
        reply = worker.request(command, {"session_id": "s", **args})
        assert reply["success"], reply
        return reply["result"]

    request("configure_lm", model="test", api_base=lm.url, api_key=KEY)
    made = request("create_program", **QA)
    assert made["scope"] == "session" and made["program_data"]["program_id"] == "qa"
    assert request("execute_program", **ask("capital of France?"))["outputs"] == {"answer": "Franceville"}
    reply = worker.request("execute_program", {"session_id": "other", **ask("?")})
    assert not reply["success"] and reply["error"].startswith("Program not found: qa")
    assert request("cleanup_session")["programs_removed"] == 1
    done = worker.request("shutdown")["result"]
    assert done["status"] == "shutting_down"
    worker.expect_end()


def test_shutdown_ends_the_worker_although_threads_are_left(process, lm):
    lm.set_rules({"rules": [{"match": "hang", "fault": "hang"}], "answer": {"answer": "fine"}})
    worker = process(concurrency=2)
    worker.functions["score"] = lambda inputs, outputs: 1.0
    worker.configure(lm)
    options = {"n": 1, "reward": "host:score", "inner": "predict"}
    worker.call("create_program", **QA, program_type="best_of_n", options=options)
    call = worker.start("execute_program", **ask("hang"))
    wait_until(lambda: lm.service.in_flight == 1, "the LM has been asked")
    worker.worker.cancel(call)
    assert worker.worker.receive()[:2] == [CANCELLED, call]
    worker.call("shutdown")
    assert worker.worker.wait() == 0


def test_it_can_be_imported_before_a_fork(tmp_path):
    """A warm parent must have no threads."""
    program = "import threading, lair_dspy; print(lair_dspy._dspy.available(), threading.active_count())"
    env = {**os.environ, "PYTHONPATH": str(PYTHON_DIR), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "True 1\n", done.stderr
    assert files_below(tmp_path) == []


def test_the_public_name_of_an_error_is_its_type(shared):
    worker = shared()
    with pytest.raises(Failed) as caught:
        worker.call("execute_program", program_id="qa", inputs={})
    assert (
        caught.value.error["type"] == "lair_dspy.ProgramNotFound"
        and "lair_dspy" in caught.value.error["traceback"]
    )


def test_arguments_that_no_command_has_are_refused(shared):
    worker = shared()
    with pytest.raises(Failed, match="unexpected keyword argument 'program'"):
        worker.call("execute_program", program="qa")


def test_versions_agree():
    import tomllib

    import lair_dspy
    import lair_worker

    project = tomllib.loads((PYTHON_DIR / "lair_dspy/pyproject.toml").read_text())["project"]
    assert project["version"] == lair_dspy.__version__ == lair_worker.__version__
