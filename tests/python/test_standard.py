"""The commands of every worker."""

from __future__ import annotations

import pytest

PLAIN = """
    def echo(value=None): return value
    def boom(): raise ValueError
    def grow(size):
        global kept
        kept = b"x" * size
"""


def test_ping_tells_who_answers(greeted):
    worker = greeted(PLAIN)
    pong = worker.call("ping")
    assert pong["status"] == "ok" and pong["worker_id"] == "text-0-1" and pong["pid"] == worker.pid
    assert pong["python"].count(".") == 2 and pong["mode"] == "pool-worker"
    assert pong["uptime"] >= 0 and pong["timestamp"] > 1e9
    assert worker.call("ping", anything=1)["status"] == "ok"
    assert worker.call("ping", 1, 2)["status"] == "ok"


def test_get_stats_counts_and_reset_state_starts_over(greeted):
    worker = greeted(PLAIN)
    worker.call("echo")
    worker.fail("boom")
    stats = worker.call("get_stats")
    assert (stats["command_count"], stats["error_count"]) == (3, 1) and stats["uptime"] >= 0
    assert worker.call("reset_state") == {"status": "reset", "commands_reset": 4, "errors_reset": 1}
    assert worker.call("get_stats")["command_count"] == 1


def test_memory_usage_is_real(greeted):
    worker = greeted(PLAIN)
    before = worker.call("get_stats")["memory_usage"]
    worker.call("grow", 64 << 20)
    after = worker.call("get_stats")["memory_usage"]
    assert after["rss"] - before["rss"] > 60 << 20 and after["vms"] - before["vms"] > 60 << 20
    assert before["vms"] >= before["rss"] > 1 << 20


def test_cleanup_collects_garbage(greeted):
    worker = greeted(
        """
        import gc
        def litter():
            gc.disable()
            for _ in range(100):
                loop = []
                loop.append(loop)
        """
    )
    worker.call("litter")
    result = worker.call("cleanup")
    assert result["status"] == "cleaned" and result["objects_collected"] >= 100


def test_cleanup_session_answers_for_its_session(greeted, start):
    worker = greeted()
    assert worker.call("cleanup_session", session_id="s1") == {"status": "cleaned", "session_id": "s1"}
    assert worker.exchange("cleanup_session", [], session="s2")[1]["session_id"] == "s2"
    traditional = start()
    assert traditional.request("cleanup_session", {"session_id": "s3"})["result"]["session_id"] == "s3"


def test_standard_commands_are_not_announced(start):
    announced = start(PLAIN).greet()["lair"]["commands"]
    assert [command["name"] for command in announced] == ["echo", "boom", "grow"]


@pytest.mark.parametrize("name", ["ping", "get_stats", "cleanup", "cleanup_session", "reset_state"])
def test_a_users_command_wins(greeted, name):
    worker = greeted(f"def {name}(): return 'mine'")
    assert worker.call(name) == "mine"


def test_shutdown_is_reserved(start):
    worker = start(
        """
        import lair_worker as lair
        @lair.command
        def shutdown(): pass
        """
    )
    assert "shutdown" in worker.handshake(worker.offer())["error"]
    assert worker.wait() == 1


def test_a_plain_modules_shutdown_is_no_command(start):
    worker = start("def shutdown(): return 'mine'\ndef f(): pass")
    assert [command["name"] for command in worker.greet()["lair"]["commands"]] == ["f"]
    assert worker.call("shutdown")["status"] == "shutting_down"
    assert worker.wait() == 0


def test_shutdown_answers_then_exits(start, transport):
    worker = start(
        """
        import lair_worker as lair
        @lair.on_stop
        def stop(): print("stopped")
        @lair.command
        def f(): pass
        """,
        transport=transport,
    )
    worker.handshake()
    reply = worker.request("shutdown", {"worker_id": "text-0-1"})
    assert reply["result"] == {
        "status": "shutting_down",
        "worker_id": "text-0-1",
        "mode": "pool-worker" if transport == "channel" else "standalone",
        "sessions_cleaned": 0,
    }
    worker.expect_end(0)
    assert worker.stdout_log.all() == "stopped\n"


def test_shutdown_says_how_many_sessions_end_with_the_worker(full):
    worker = full("""
        import lair_worker as lair
        def keep(): lair.context().session.local["kept"] = True
        def look(): pass
    """)
    for number, session in enumerate(("ann", "bob"), 1):
        worker.exchange("keep", [], session=session, session_number=number, affinity="strict")
    worker.exchange("look", [], session="cy", session_number=3, affinity="strict")  # leaves nothing here
    assert worker.call("shutdown")["sessions_cleaned"] == 2
    worker.expect_end(0)
