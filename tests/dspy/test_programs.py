"""create, list, describe, delete: in a session's store and in the worker's own drawer."""

from __future__ import annotations

import lair_dspy

SIGNATURE = {
    "name": "Answering",
    "description": "Answer briefly.",
    "inputs": [{"name": "question", "type": "string", "description": "what is asked"}],
    "outputs": [{"name": "answer", "type": "str"}, {"name": "score", "type": "float"}],
}


def test_a_created_program_is_told_as_the_original_did(worker):
    made = worker(
        "create_program", id="qa", signature=SIGNATURE, program_type="predict", use_dynamic_signature=True
    )
    assert made["program_id"] == "qa" and made["status"] == "created"
    assert made["signature"] == "question: string -> answer: str, score: float"
    assert (
        made["signature_class"] == "Answering" and made["signature_def"]["instructions"] == "Answer briefly."
    )
    assert made["field_mapping"] == {"question": "question", "answer": "answer", "score": "score"}
    assert made["fallback_used"] is False and made["program_type"] == "predict"


def test_ids_are_required_and_are_texts(worker):
    assert worker.fails("create_program", signature="q -> a").message == "Program ID is required"
    assert worker.fails("execute_program", inputs={}).message == "Program ID is required"
    assert "text, not int" in worker.fails("create_program", id=5, signature="q -> a").message
    assert "at most 200" in worker.fails("create_program", id="x" * 201, signature="q -> a").message


def test_a_duplicate_id_is_refused_unless_it_replaces(worker):
    worker("create_program", id="qa", signature="question -> answer")
    error = worker.fails("create_program", id="qa", signature="other -> answer")
    assert error.type == "lair_dspy.ProgramExists" and "'qa'" in error.message
    assert worker("get_program_info", program_id="qa")["signature"] == "question -> answer"
    worker("create_program", id="qa", signature="other -> answer", replace=True)
    assert worker("get_program_info", program_id="qa")["signature"] == "other -> answer"


def test_programs_are_listed_and_deleted(worker):
    assert worker("list_programs") == {"programs": [], "total_count": 0}
    for name in ("b", "a"):
        worker("create_program", id=name, signature="q -> a")
    listed = worker("list_programs")
    assert [each["program_id"] for each in listed["programs"]] == ["a", "b"] and listed["total_count"] == 2
    assert worker("delete_program", program_id="a") == {"program_id": "a", "status": "deleted"}
    assert [each["id"] for each in worker("list_programs")["programs"]] == ["b"]
    assert worker.fails("delete_program", program_id="a").type == "lair_dspy.ProgramNotFound"


def test_an_unknown_id_suggests_the_nearest(worker):
    worker("create_program", id="summary", signature="text -> summary")
    for command in (
        "execute_program",
        "delete_program",
        "get_program_info",
        "save_program",
        "evaluate_program",
    ):
        error = worker.fails(command, program_id="sumary")
        assert error.type == "lair_dspy.ProgramNotFound", command
        assert (
            error.message.startswith("Program not found: sumary")
            and "did you mean 'summary'?" in error.message
        )
    assert "did you mean 'summary'?" in worker.stream_fails("stream_program", program_id="sumary").message
    assert "did you mean 'summary'?" in worker.stream_fails("compile_program", program_id="sumary").message


def test_info_tells_all_and_counts_runs(ready):
    ready(
        "create_program", id="qa", signature=SIGNATURE, demos=[{"question": "q", "answer": "a", "score": 1}]
    )
    info = ready("get_program_info", program_id="qa")
    assert info["execution_count"] == 0 and info["last_executed"] is None and info["average_time"] is None
    assert info["demos"] == {"self": 1} and info["instructions"] == {"self": "Answer briefly."}
    ready.ask("capital of France?")
    assert "401" not in ready.fails("execute_program", program_id="qa", inputs={"question": "refuse"}).message
    info = ready("get_program_info", program_id="qa")
    assert info["execution_count"] == 2 and info["error_count"] == 1
    assert info["last_executed"] > info["created_at"] and info["average_time"] > 0
    assert info["usage"]["openai/test"]["completion_tokens"] > 0


def test_inputs_that_are_refused_are_no_runs(ready):
    ready("create_program", id="qa", signature=SIGNATURE)
    ready.fails("execute_program", program_id="qa", inputs={})
    assert ready("get_program_info", program_id="qa")["execution_count"] == 0


def test_what_the_sessions_store_holds_is_data(plain, lm):
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer", demos=[{"question": "q", "answer": "a"}])
    plain.ask("capital of France?")
    values = plain.worker.values["s1"]
    assert set(values) == {"dspy/lm", "dspy/program/qa", "dspy/use/qa"}
    assert values["dspy/program/qa"]["demos"] == [{"question": "q", "answer": "a"}]
    assert values["dspy/use/qa"]["execution_count"] == 1


def test_another_worker_of_the_session_runs_the_program(plain, lm):
    """Nothing but the store is needed: as after a worker's death."""
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer")
    lair_dspy._programs.forget_all()
    lair_dspy._lm._made.clear()
    assert plain.ask("capital of France?")["outputs"] == {"answer": "Franceville"}


def test_a_program_without_its_use_is_whole(plain, lm):
    """A worker that dies while it creates a program may leave it so."""
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer")
    del plain.worker.values["s1"]["dspy/use/qa"]
    lair_dspy._programs.forget_all()
    assert plain.ask("capital of France?")["outputs"] == {"answer": "Franceville"}
    assert plain("get_program_info", program_id="qa")["execution_count"] == 1


def test_a_program_that_is_built_is_not_built_again(plain, lm, monkeypatch):
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer")
    monkeypatch.setattr(lair_dspy._programs, "Built", None)
    assert plain.ask("capital of France?")["outputs"] == {"answer": "Franceville"}


def test_a_session_that_is_opened_anew_has_none_of_the_old_ones(plain, lm):
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer")
    plain.worker.end_session("s1")
    assert plain("list_programs")["total_count"] == 0
    assert plain.fails("execute_program", program_id="qa", inputs={}).type == "lair_dspy.ProgramNotFound"


def test_sessions_and_calls_without_one_do_not_see_each_other(plain):
    plain("create_program", id="mine", signature="q -> a")
    other, nobody = {"session": "s2"}, {}
    assert plain.worker.call_with(other, "list_programs")["total_count"] == 0
    assert plain.worker.call_with(nobody, "list_programs")["total_count"] == 0
    plain.worker.call_with(nobody, "create_program", id="mine", signature="x -> y")
    assert plain("get_program_info", program_id="mine")["signature"] == "q -> a"


def test_session_id_as_an_argument_is_a_scope_where_the_call_has_none(plain):
    call = plain.worker.call
    call("create_program", id="a", signature="q -> a", session_id="old")
    assert call("list_programs", session_id="old")["total_count"] == 1
    assert call("list_programs")["total_count"] == 0
    assert call("cleanup_session", session_id="old") == {
        "status": "cleaned",
        "session_id": "old",
        "programs_removed": 1,
    }
    assert call("list_programs", session_id="old")["total_count"] == 0
    assert "belongs to the session 's1'" in plain.fails("list_programs", session_id="s2").message


def test_program_data_come_back_where_nobody_else_keeps_them(worker, lm):
    made = worker(
        "create_program",
        id="qa",
        signature=SIGNATURE,
        lm={"model": "test", "api_base": lm.url, "api_key": "sk-secret-key-1"},
    )
    assert ("program_data" in made) == (worker.session is None)
    assert "sk-secret" not in str(made)


def test_a_program_may_come_with_the_call(worker, lm):
    """The original's way: its host keeps program_data, and any worker runs it."""
    data = {
        "program_id": "qa", "signature_def": SIGNATURE, "signature_class": "X", "field_mapping": {},
        "fallback_used": False,
        "created_at": 1, "execution_count": 7, "last_executed": None, "program_type": "chain_of_thought",
    }  # fmt: skip
    settings = {"model": "test", "api_base": lm.url, "api_key": "sk-of-the-call-1"}
    done = worker.ask("capital of France?", program_data=data, lm=settings)
    assert done["outputs"]["answer"] == "Franceville" and done["outputs"]["reasoning"]
    assert worker("list_programs")["total_count"] == 0
    assert lm.keys() == {"sk-of-the-call-1": 1}


def test_cleanup_removes_programs_and_reset_state_the_lm_too(ready):
    for name in ("a", "b"):
        ready("create_program", id=name, signature="question -> answer")
    done = ready("cleanup")
    assert done["status"] == "cleaned" and done["programs_removed"] == 2
    assert ready("list_programs")["total_count"] == 0
    ready("create_program", id="qa", signature="question -> answer")
    ready.ask("capital of France?")
    reset = ready("reset_state")
    assert reset["status"] == "reset" and reset["programs_cleared"] == 1
    assert reset["commands_reset"] >= 6 and reset["errors_reset"] == 0
    ready("create_program", id="qa", signature="question -> answer")
    assert ready.fails("execute_program", program_id="qa", inputs={"question": "x"}).type == "lair_dspy.NoLM"


def test_cleanup_session_counts_what_it_removes(plain, lm):
    plain.configure(lm)
    plain("create_program", id="qa", signature="question -> answer")
    done = plain("cleanup_session")
    assert done == {"status": "cleaned", "session_id": "s1", "programs_removed": 1}
    assert plain.worker.values["s1"] == {}


def test_stats_count_commands_errors_programs_and_memory(worker):
    worker("reset_state")
    worker("create_program", id="qa", signature="question -> answer")
    worker.fails("delete_program", program_id="other")
    stats = worker("get_stats")
    assert stats["programs_count"] == 1 and stats["error_count"] == 1 and stats["command_count"] == 2
    assert stats["memory_usage"]["rss"] > 1 << 20 and 0 < stats["memory_usage"]["percent"] < 100
    assert stats["memory_usage"]["vms"] >= stats["memory_usage"]["rss"]
    assert stats["dspy_available"] is True and stats["gemini_available"] is True and stats["uptime"] > 0


def test_ping_says_what_there_is(worker):
    pong = worker("ping", initialization=True)
    assert pong["status"] == "ok" and pong["dspy_available"] is True and pong["mode"] == "standalone"
    assert pong["dspy_version"].split(".")[0] == "3" and pong["timestamp"] > 0 and pong["uptime"] > 0


def test_the_vendors_names_are_aliases(worker, lm):
    settings = {
        "model": "openai/test",
        "provider": "openai",
        "api_base": lm.url,
        "api_key": "sk-gemini-key-1",
    }
    made = worker("create_gemini_program", id="g", signature="question -> answer", lm=settings)
    assert made["status"] == "created"
    done = worker("execute_gemini_program", program_id="g", inputs={"question": "capital of France?"})
    assert (
        done["outputs"] == {"answer": "Franceville"}
        and "[[ ## answer ## ]]\nFranceville" in done["raw_response"]
    )
