"""A session's LM is what its store says, whichever worker remembers what; runs ask the store for little."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from lair_dspy import _begin, _session_lm

from support import KEY, Failed

OTHER = "sk-another-key-of-tests-02"
QA = {"id": "qa", "signature": "question -> answer"}


def ask(worker, session="s", program_id="qa"):
    inputs = {"question": "capital of France?"}
    return worker.call("execute_program", session, program_id=program_id, inputs=inputs)


@pytest.fixture
def two(process, lm):
    """Two workers of one pool: what the one keeps for a session is the other's, too."""
    one, other = process(), process()
    other.stores = one.stores
    for each in (one, other):  # so that both have the same number for it
        each.call("get_stats", "s")
    return one, other


def uses(worker):
    return {key: value for key, value in worker.stores["s"].items() if key.startswith("dspy/use/")}


def test_an_lm_that_is_changed_by_another_worker_is_used_at_once(two, lm):
    one, other = two
    one.configure(lm, session="s", cache=False)
    one.call("create_program", "s", **QA)
    for worker in (one, other, one, other):
        ask(worker)
    assert lm.keys() == {KEY: 4}
    one.configure(lm, OTHER, session="s", cache=False)
    for worker in (other, one, other):
        ask(worker)
    assert lm.keys() == {KEY: 4, OTHER: 3}
    other.configure(lm, session="s", cache=False)
    ask(one)
    assert lm.keys() == {KEY: 5, OTHER: 3}
    assert uses(one)["dspy/use/qa"]["execution_count"] == 8


def test_each_of_many_programs_forgets_the_lm_that_is_changed(two, lm):
    one, other = two
    one.configure(lm, session="s", cache=False)
    for name in ("a", "b", "c"):
        one.call("create_program", "s", id=name, signature="question -> answer")
        ask(other, program_id=name)
    assert all("lm" in use for use in uses(one).values())
    one.configure(lm, OTHER, session="s", cache=False)
    assert not any("lm" in use for use in uses(one).values())
    for name in ("a", "b", "c"):
        ask(other, program_id=name)
    assert lm.keys() == {KEY: 3, OTHER: 3}


def test_an_lm_that_is_gone_is_used_no_more(two, lm):
    one, other = two
    one.configure(lm, session="s")
    one.call("create_program", "s", **QA)
    ask(other)
    one.call("reset_state", "s")
    one.call("create_program", "s", **QA)
    for worker in (one, other):
        with pytest.raises(Failed, match="No LM is loaded"):
            ask(worker)


def test_a_worker_that_ends_between_the_two_writes_leaves_no_wrong_lm(two, lm):
    """As it would: uses name no LM any more, and the LM is still the old one, or already the new one."""
    one, other = two
    one.configure(lm, session="s", cache=False)
    one.call("create_program", "s", **QA)
    ask(one)
    store = one.stores["s"]
    store["dspy/use/qa"].pop("lm")
    ask(one)
    assert lm.keys() == {KEY: 2}
    store["dspy/use/qa"].pop("lm")
    store["dspy/lm"]["api_key"] = OTHER
    ask(one)
    ask(other)
    assert lm.keys() == {KEY: 2, OTHER: 2}


def test_a_session_that_is_opened_anew_remembers_nothing(two, lm):
    one, _ = two
    one.configure(lm, session="s")
    one.call("create_program", "s", **QA)
    ask(one)
    use = dict(uses(one)["dspy/use/qa"])
    program = one.stores["s"]["dspy/program/qa"]
    one.stores.clear()
    one.new_sessions()
    one.stores["s"] = {"dspy/use/qa": use, "dspy/program/qa": program}
    with pytest.raises(Failed, match="No LM is loaded"):
        ask(one)


def test_the_store_has_the_key_in_one_place(two, lm):
    one, _ = two
    one.configure(lm, session="s")
    one.call("create_program", "s", **QA)
    ask(one)
    assert [key for key, value in one.stores["s"].items() if KEY in json.dumps(value)] == ["dspy/lm"]


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_run_asks_the_store_twice(shared, lm, concurrency, monkeypatch):
    """Once for the program's use, and once to count the run; the first one reads the rest."""
    worker = shared(concurrency)
    worker.configure(lm, session="s", cache=False)
    worker.call("create_program", "s", **QA)
    asked = []
    answer = worker._callback

    def recorded(session, name, args):
        asked.append((name.rpartition(".")[2], args["key"]))
        return answer(session, name, args)

    monkeypatch.setattr(worker, "_callback", recorded)
    ask(worker)
    first = len(asked)
    for _ in range(3):
        ask(worker)
    assert asked[:first].count(("get", "dspy/lm")) == 1
    assert asked[first:] == [("get", "dspy/use/qa"), ("put", "dspy/use/qa")] * 3


def test_evaluation_in_a_session_uses_what_another_worker_has_configured(two, lm):
    one, other = two
    one.configure(lm, session="s", cache=False)
    one.call("create_program", "s", **QA)
    examples = [{"question": "capital of Peru?", "answer": "Peruville"}] * 2
    for key in (KEY, OTHER):
        one.configure(lm, key, session="s", cache=False)
        found = other.call("evaluate_program", "s", program_id="qa", examples=examples)
        assert found["score"] == 100.0
    assert lm.keys() == {KEY: 2, OTHER: 2}


def test_evaluation_without_an_lm_says_so(two, lm):
    one, _ = two
    one.call("create_program", "s", **QA)
    examples = [{"question": "?", "answer": "x"}]
    with pytest.raises(Failed, match="No LM is loaded"):
        one.call("evaluate_program", "s", program_id="qa", examples=examples)
    one.configure(lm)  # of calls without a session
    data = one.call("save_program", "s", program_id="qa")["saved"]["program"]
    with pytest.raises(Failed, match="No LM is loaded"):  # as the C++ half asks for the session's program
        one.call("evaluate_program", None, program_data=data, examples=examples, session_id="s")
    assert lm.keys() == {}


def test_what_is_remembered_is_bounded(plain, lm, monkeypatch):
    monkeypatch.setattr(_session_lm, "_MOST", 2)
    for n in range(4):
        meta = {"session": f"s{n}"}
        plain.worker.call_with(
            meta, "configure_lm", model="test", api_base=lm.url, api_key=KEY, num_retries=0
        )
        plain.worker.call_with(meta, "create_program", **QA)
        for _ in range(2):
            plain.worker.call_with(meta, "execute_program", program_id="qa", inputs={"question": "?"})
    assert len(_session_lm._known) <= 2


# --- without an event loop ----------------------------------------------------------------------------


def begun_directly(monkeypatch, coroutine):
    monkeypatch.setattr(_begin.lair_worker, "context", lambda: SimpleNamespace(concurrency=1))
    return _begin.begun(coroutine)


def test_what_waits_without_saying_so_is_an_error(monkeypatch):
    async def waits():
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="no event loop"):
        begun_directly(monkeypatch, waits())


def test_a_coroutine_goes_on_in_a_loop_from_where_it_had_to_wait(monkeypatch):
    steps = []

    async def works():
        steps.append("begins")
        await _begin.a_loop()
        steps.append(asyncio.get_running_loop() is not None)
        await asyncio.sleep(0)
        await _begin.a_loop()  # there is one: nothing happens
        return "done"

    async def value(awaitable):
        return await awaitable

    rest = begun_directly(monkeypatch, works())
    assert steps == ["begins"]
    assert asyncio.run(value(rest)) == "done" and steps == ["begins", True]


def test_what_is_not_to_go_on_is_closed(monkeypatch):
    closed = []

    async def works():
        try:
            await _begin.a_loop()
        finally:
            closed.append(True)

    begun_directly(monkeypatch, works()).close()
    assert closed == [True]


def test_values_and_errors_come_at_once(monkeypatch):
    async def value():
        return 5

    async def fails():
        raise KeyError("x")

    assert begun_directly(monkeypatch, value()) == 5
    with pytest.raises(KeyError):
        begun_directly(monkeypatch, fails())
