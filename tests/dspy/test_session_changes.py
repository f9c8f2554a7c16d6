"""What a worker remembers of a session holds until somebody changes a value, as a host that counts tells."""

from __future__ import annotations

import pytest

from support import Failed, Process

USE, PROGRAM = "dspy/use/qa", "dspy/program/qa"
QA = {"id": "qa", "signature": "question -> answer"}


def ask(worker, session="s", **more):
    inputs = {"question": "capital of France?"}
    return worker.call("execute_program", session, program_id="qa", inputs=inputs, **more)


def as_of_one_pool(lm, one, other):
    """Two workers whose host counts, with a session that has a program."""
    other.stores, other.functions = one.stores, one.functions
    one.changes = other.changes = {}
    one.stores.clear()
    for each in (one, other):  # so that both have the same number for it
        each.new_sessions()
        each.call("get_stats", "s")
    one.configure(lm, session="s", cache=False)
    one.call("create_program", "s", **QA)
    return one, other


@pytest.fixture(scope="module", params=[1, 16], ids=["one at a time", "several"])
def pair(request, tmp_path_factory):
    found = [Process(tmp_path_factory.mktemp("pair"), concurrency=request.param) for _ in range(2)]
    yield found
    for each in found:
        each.close()


@pytest.fixture
def two(pair, lm):
    pair[0].refuses = set()
    return as_of_one_pool(lm, *pair)


@pytest.fixture
def asked(two, monkeypatch):
    found = []
    for worker in two:
        take = worker._take

        def recorded(message, take=take):
            if message[0] == 11:
                found.append(
                    ("told" if message[3] == 0 else message[4].rpartition(".")[2], message[5]["key"])
                )
            take(message)

        monkeypatch.setattr(worker, "_take", recorded)
    return found


def runs(worker):
    return worker.stores["s"][USE]["execution_count"]


def test_a_run_asks_the_store_for_nothing(two, asked):
    one, _ = two
    ask(one)
    asked.clear()
    for _ in range(3):
        ask(one)
    assert asked == [("told", USE)] * 3
    assert runs(one) == 4 and two[0].stores["s"][USE]["usage"]


def test_every_run_of_every_worker_is_counted(two, asked):
    one, other = two
    for at, worker in enumerate((one, other, other, one, one, other, one)):
        ask(worker)
        assert runs(one) == at + 1
    assert ("get", USE) in asked and ("told", USE) in asked


def test_a_failed_run_is_counted(two, asked, lm):
    one, _ = two
    ask(one)
    for _ in range(2):
        with pytest.raises(Failed):
            one.call("execute_program", "s", program_id="qa", inputs={"question": "refuse"})
    assert one.stores["s"][USE]["error_count"] == 2 and runs(one) == 3
    assert ask(one)["outputs"] and runs(one) == 4


def test_what_the_program_has_changed_is_read(two):
    """As C++ does: with put, and with erase."""
    one, _ = two
    ask(one)
    ask(one)
    store = one.stores["s"]
    store[USE] = {**store[USE], "execution_count": 100}
    one.changed("s")
    ask(one)
    assert runs(one) == 101
    del store[USE]
    one.changed("s")
    ask(one)
    assert runs(one) == 1
    del store[USE], store[PROGRAM]
    one.changed("s", 2)
    with pytest.raises(Failed, match="Program not found"):
        ask(one)


def test_a_change_of_something_else_is_one_too_and_loses_nothing(two):
    one, _ = two
    for at in range(4):
        one.stores["s"]["mine"] = at
        one.changed("s")
        ask(one)
    assert runs(one) == 4


def test_a_program_that_another_worker_replaces_or_deletes_is_used_no_more(two, lm):
    one, other = two
    ask(one)
    before = one.call("get_program_info", "s", program_id="qa")["version"]
    other.call("create_program", "s", **QA, instructions="Say it in French.", replace=True)
    ask(one)
    after = one.call("get_program_info", "s", program_id="qa")
    assert after["version"] != before and after["execution_count"] == 1

    other.call("delete_program", "s", program_id="qa")
    with pytest.raises(Failed, match="Program not found"):
        ask(one)
    other.call("create_program", "s", **QA)
    ask(one)
    assert runs(one) == 1, "another program of the same id begins anew"


def test_a_count_that_could_not_be_put_is_not_believed(two):
    one, _ = two
    ask(one)
    one.refuses = {USE}
    assert ask(one)["outputs"], "the answer stands"
    one.refuses = set()
    assert runs(one) == 1
    ask(one)
    assert runs(one) == 2, "what is there counts"


def test_a_call_that_the_host_has_given_up_is_not_believed(two, monkeypatch):
    """Its last words are not taken, and the number goes far on."""
    one, _ = two
    ask(one)
    with monkeypatch.context() as patch:
        patch.setattr(one, "_callback", lambda *_: None)
        ask(one)
    one.changed("s", 1 << 32)
    ask(one)
    assert runs(one) == 2


def test_a_worker_that_is_killed_takes_nothing_with_it(process, lm):
    one, other = as_of_one_pool(lm, process(), process())
    for _ in range(3):
        ask(one)
    one.worker.kill()
    ask(other)
    assert runs(other) == 4


def test_what_a_compilation_has_counted_goes_on(two):
    one, _ = two
    ask(one)
    examples = [{"question": "capital of Peru?", "answer": "Peruville"}] * 4
    found = one.call("evaluate_program", "s", program_id="qa", examples=examples)
    assert found["score"] == 100.0 and runs(one) == 2
    items = one.wait(
        one.start(
            "compile_program",
            "s",
            stream=True,
            program_id="qa",
            optimizer="LabeledFewShot",
            trainset=examples,
        )
    )
    assert items[-1]["type"] == "result" and runs(one) == 3
    ask(one)
    assert runs(one) == 4


def test_a_session_that_is_opened_anew_remembers_nothing(two):
    one, _ = two
    ask(one)
    one.stores.clear()
    one.new_sessions()
    one.changes.clear()
    one.changes["s"] = 0
    with pytest.raises(Failed, match="Program not found"):
        ask(one)
