"""The C++ half: its own tests on DSPy (end_to_end_test.cpp), and the example. Needs the release build."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from host import wait_until

from support import ROOT

BIN = ROOT / "build/release/bin"
PATIENCE = 600  # worker processes import DSPy, on a machine that may be busy
RULES = {
    "rules": [
        {"model": "another", "answer": {"answer": "said by another"}},
        {
            "match": "observation_0 ##",
            "answer": {
                "next_thought": "done",
                "next_tool_name": "finish",
                "next_tool_args": {},
                "answer": "found facts about Ann",
            },
        },
        {
            "match": "agent",
            "answer": {"next_thought": "look", "next_tool_name": "look", "next_tool_args": {"name": "Ann"}},
        },
        {"match": "be brief", "answer": {"answer": "short"}},
        {"match": "reward_code", "answer": {"discussion": "long", "advice": {"self": "be brief"}}},
        {"match": "refine me", "answer": {"answer": "much too long an answer"}},
        {"match": "code_output", "answer": {"answer": "42"}},
        {"match": r"6 \* 7", "answer": {"generated_code": "```python\nSUBMIT({'answer': 6 * 7})\n```"}},
        {"match": "two steps", "answer": {"answer": "yes", "verdict": "True"}},
        {"match": r"capital of (\w+)", "answer": {"answer": "$1ville", "score": 0.5}},
        {"match": "refuse", "fault": 401},
        {"match": "hang", "fault": "hang"},
        {"match": "long answer", "answer": {"answer": "one two three four five"}},
    ],
    "answer": {"answer": "nobody knows", "score": 0},
}


def start(program: str, *arguments: str, **env: str) -> subprocess.Popen:
    path = BIN / program
    if not path.exists():
        pytest.fail(f"{path} is not built: ./dev build release", pytrace=False)
    return subprocess.Popen(
        [path, *arguments],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen, patience: float = PATIENCE) -> tuple[str, str]:
    try:
        return process.communicate(timeout=patience)
    finally:
        process.kill()


def test_the_cpp_half(lm):
    lm.set_rules(RULES)
    env = {"LAIR_TEST_LM": lm.url, "LAIR_TEST_PYTHON": sys.executable}
    process = start("lair-dspy-tests", "--gtest_brief=1", "--gtest_filter=-DspyStorm.*", **env)
    out, err = end(process)
    assert process.returncode == 0, f"{out}\n{err[-5000:]}"


def test_programs_in_a_storm():
    """storm_test.cpp, which has a language model of its own. LAIR_LONG: ten times as long."""
    process = start("lair-dspy-tests", "--gtest_filter=DspyStorm.*", LAIR_TEST_PYTHON=sys.executable)
    out, err = end(process, 3000 if "LAIR_LONG" in os.environ else PATIENCE)
    print(out)
    assert process.returncode == 0, f"{out}\n{err[-5000:]}"


@pytest.fixture
def example(lm):
    lm.set_rules(json.loads((ROOT / "examples/dspy_qa_rules.json").read_text(encoding="utf-8")))

    def example(*arguments: str) -> subprocess.Popen:
        given = ["--url", lm.url, "--model", "made-up", "--python", sys.executable, *arguments]
        return start("dspy_qa", *given, DSPY_QA_KEY="none")

    return example


def test_the_example_runs(example):
    process = example()
    out, err = end(process)
    assert process.returncode == 0, err
    assert err == ""
    told = {line[2:14].strip(): line[14:] for line in out.splitlines()}
    assert told["before"] == "62.5 % of 8 questions" and told["after"] == "100 % of 8 questions", out
    assert "24 right, 0 failed" in told["8 callers"]
    assert 'search "priority queue"' in out and "read heapq" in out
    assert "heapq, which" in out


def test_the_example_is_interrupted(example, lm):
    lm.set_rules({"rules": [{"match": "Which", "fault": "hang"}], "answer": "OK"})
    process = example()
    wait_until(lambda: len(lm.requests()) > 1, "evaluation, in which the LM hangs", PATIENCE)
    process.send_signal(signal.SIGINT)
    out, err = end(process)
    assert process.returncode == 130 and err == "dspy_qa: interrupted\n", (out, err)


def test_the_example_says_what_it_needs(lm):
    process = start("dspy_qa")
    _, err = end(process)
    assert process.returncode == 2 and "--model NAME" in err
    lm.set_rules({"rules": [{"match": "", "fault": 401}]})
    given = ["--url", lm.url, "--model", "m", "--python", sys.executable]
    process = start("dspy_qa", *given, DSPY_QA_KEY="sk-wrong-key-0001")
    _, err = end(process)
    assert process.returncode == 1 and "Incorrect API key" in err
    assert "sk-wrong-key-0001" not in err and "Traceback" not in err
