"""evaluate_program: a slice of a data set, scored example by example."""

from __future__ import annotations

import pytest

EXAMPLES = [
    {"question": "capital of France?", "answer": "Franceville"},
    {"inputs": {"question": "capital of Spain?"}, "outputs": {"answer": "the spainville."}},
    {"question": "capital of Peru?", "answer": "Lima"},
    {"question": "refuse", "answer": "x"},
]


@pytest.fixture
def qa(ready):
    ready("create_program", id="qa", signature="question -> answer")
    return ready


def test_scores_by_example_with_the_indices_of_the_whole(qa, lm):
    done = qa("evaluate_program", program_id="qa", examples=EXAMPLES, offset=100, outputs=True)
    assert done["scores"] == [1.0, 1.0, 0.0, 0.0] and done["score"] == 50.0
    assert done["total"] == 2.0 and done["count"] == 4 and done["errors"] == 1
    assert [each["index"] for each in done["results"]] == [100, 101, 102, 103]
    assert done["results"][2]["outputs"] == {"answer": "Peruville"}
    assert "LMAuthError" in done["results"][3]["error"] and done["execution_time"] > 0
    assert done["usage"]["openai/test"]["total_tokens"] > 0 and sum(lm.keys().values()) == 4


@pytest.mark.parametrize(
    ("metric", "scores"),
    [
        (None, [1, 1, 0]),
        ("exact_match", [1, 1, 0]),
        ("identical", [1, 0, 0]),
        ({"name": "contains", "fields": ["answer"]}, [1, 1, 0]),
        ("f1", [1, 1, 0]),
        ("host:judge", [0.25, 0.25, 0.25]),
        ({"host": "judge"}, [0.25, 0.25, 0.25]),
        ("import:modules_of_tests:is_a_town", [1, 1, 1]),
        ("import:dspy.evaluate:answer_exact_match", [1, 1, 0]),
    ],
)
def test_metrics(qa, host, metric, scores):
    host["judge"] = lambda example, prediction: {"score": 0.25, "feedback": prediction["answer"]}
    done = qa("evaluate_program", program_id="qa", examples=EXAMPLES[:3], metric=metric)
    assert done["scores"] == scores and done["errors"] == 0
    if "judge" in str(metric):
        assert done["results"][0]["feedback"] == "Franceville"


def test_a_host_metric_is_given_example_and_answer_under_the_hosts_names(ready, host):
    seen = []
    host["judge"] = lambda example, prediction: seen.append((example, prediction)) or True
    fields = {"inputs": [{"name": "the question"}], "outputs": [{"name": "answer"}]}
    ready("create_program", id="odd", signature=fields)
    examples = [{"the question": "capital of France?"}]  # such a metric may need no label
    assert (
        ready("evaluate_program", program_id="odd", examples=examples, metric="host:judge")["score"] == 100.0
    )
    assert seen == [({"the question": "capital of France?"}, {"answer": "Franceville"})]


def test_a_metric_that_fails_is_the_examples_error(qa, host):
    host["judge"] = lambda example, prediction: "very good"
    done = qa("evaluate_program", program_id="qa", examples=EXAMPLES[:1], metric="host:judge")
    assert done["errors"] == 1 and "a metric gives a number" in done["results"][0]["error"]
    done = qa("evaluate_program", program_id="qa", examples=EXAMPLES[:1], metric="host:nobody")
    assert "Unknown command: nobody" in done["results"][0]["error"]


def test_examples_run_at_the_same_time(qa, lm):
    lm.set_rules({"rules": [{"match": "", "wait_for": 6, "answer": {"answer": "x"}}]})
    examples = [{"question": f"{n}", "answer": "x"} for n in range(12)]
    done = qa("evaluate_program", program_id="qa", examples=examples, num_threads=6)
    assert done["score"] == 100.0 and lm.service.most_in_flight == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"examples": []}, "at least one example"),
        ({"examples": None}, "at least one example"),
        ({"examples": ["x"]}, "examples[0] is an object"),
        ({"examples": [EXAMPLES[0], {"answer": "x"}]}, "examples[1]: missing 'question'"),
        ({"examples": [{"question": "x"}]}, "none of the outputs answer"),
        ({"metric": "exact"}, "there is no metric 'exact'; did you mean 'exact_match'"),
        ({"metric": {"name": "f1", "fields": ["answr"]}}, "there is no output 'answr'"),
        ({"metric": "import:no.such:metric"}, "can't be imported"),
        ({"metric": 5}, "a metric is a name"),
        ({"num_threads": 0}, "num_threads is a number from 1"),
        ({"offset": -1}, "offset is the index"),
    ],
)
def test_what_can_not_be_evaluated(qa, lm, given, said):
    given = {"examples": EXAMPLES} | given
    assert said in qa.fails("evaluate_program", program_id="qa", **given).message
    assert lm.keys() == {}


def test_a_slice_on_any_worker_with_the_programs_data(plain, lm):
    """As a host does that spreads a data set: program and LM travel with each slice."""
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer")
    data = plain("save_program", program_id="qa")["saved"]["program"]
    settings = {"model": "test", "api_base": lm.url, "api_key": "sk-of-the-slices"}
    scores = []
    for offset in range(0, 4, 2):
        part = EXAMPLES[offset : offset + 2]
        more = {"program_data": data, "lm": settings, "offset": offset}
        scores += plain.worker.call("evaluate_program", examples=part, **more)["scores"]
    assert scores == [1.0, 1.0, 0.0, 0.0] and lm.keys() == {"sk-of-the-slices": 4}
