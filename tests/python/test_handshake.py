"""The first frame, from every kind of host, and what follows it."""

from __future__ import annotations

import os
import signal

import pytest

from host import INTERPRETER, READY, RESULT, wait_until

PLAIN = "def echo(value): return value"
NOTED = """
    import lair_worker as lair, os
    @lair.on_start
    def warm():
        open("started", "w").close()
    @lair.command
    def started():
        return os.path.exists("started")
"""


def test_an_offer_leads_to_protocol_2(start, transport, tier):
    worker = start(PLAIN, transport=transport)
    reply = worker.handshake(worker.offer())
    assert reply["id"] == 0 and reply["success"] is True
    result = reply["result"]
    assert result["status"] == "ok" and result["worker_id"] == "text-0-1" and result["pid"] == worker.pid
    assert result["python"].startswith("3.") and result["uptime"] >= 0
    lair = result["lair"]
    assert lair["version"] == 2 and lair["concurrency"] == 1
    assert lair["codec"] == ("json" if tier == "T0" else "msgpack")
    assert lair["max_frame"] == 64 << 20 and lair["sdk"] == "0.1.0"
    assert os.path.isabs(lair["executable"])
    assert [command["name"] for command in lair["commands"]] == ["echo"]
    assert worker.receive() == [READY, 0, worker.generation]
    assert worker.call("echo", {"a": [1, None]}) == {"a": [1, None]}


def test_no_offer_leads_to_protocol_1(start, transport):
    worker = start(PLAIN, transport=transport)
    reply = worker.handshake()
    assert reply["success"] is True and reply["result"]["status"] == "ok"
    assert reply["result"]["worker_id"] == "text-0-1"
    assert "lair" not in reply["result"]
    assert worker.request("echo", {"value": 3})["result"] == 3


def test_a_foreign_host_may_leave_the_handshake_out(start, transport):
    worker = start(NOTED, transport=transport)
    assert worker.request("started")["result"] is True  # on_start ran before the first command


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"version": "2"},
        {"codecs": ["msgpack"]},
        {"codecs": "json"},
        {"generation": None},
    ],
)
def test_an_offer_that_cannot_be_taken_up_leads_to_protocol_1(start, change):
    worker = start()
    reply = worker.handshake(worker.offer(**change))
    assert reply["success"] is True and "lair" not in reply["result"]
    assert worker.request("echo", {"value": 3})["result"] == 3


@pytest.mark.parametrize("offer", [None, [], 2, "2"])
def test_an_offer_of_another_type_leads_to_protocol_1(start, offer):
    worker = start()
    worker.send({"id": 0, "command": "ping", "args": {"lair": offer}})
    assert "lair" not in worker.receive()["result"]
    assert worker.request("echo", {"value": 3})["result"] == 3


def test_a_later_version_is_answered_with_ours(start):
    worker = start()
    reply = worker.handshake(worker.offer(version=3, codecs=["cbor", "json"], features=["teleport"], more=1))
    assert reply["result"]["lair"]["version"] == 2


@pytest.mark.parametrize(
    ("spin", "short"),
    [(1, True), (1000, True), *((each, False) for each in (1001, 0, -1, True, 0.5, "100", None))],
)
def test_the_accelerator_looks_for_calls_for_as_long_as_it_is_told(start, tier, spin, short):
    worker = start(PLAIN, transport="channel")
    announced = worker.greet(features=["spin"], spin=spin)["lair"]["features"]
    assert announced == (["spin"] if short and tier == "T2" else [])
    assert worker.call("echo", 1) == 1


def test_nothing_looks_where_it_would_not_pay(start, tier):
    assert "spin" not in start(PLAIN, transport="stdio-pipe").greet(features=["spin"])["lair"]["features"]
    many = start("async def f(): pass", transport="channel").greet(features=["spin"], concurrency=2)
    assert many["lair"]["concurrency"] == 2 and many["lair"]["features"] == []
    codec = start(PLAIN, transport="channel", env={"LAIR_NATIVE": "codec"})
    assert codec.greet(features=["spin"])["lair"]["features"] == []


def test_on_start_comes_after_the_reply_in_protocol_2(start):
    worker = start(
        """
        import lair_worker as lair, os
        @lair.on_start
        def wait():
            os.read(os.open("gate", os.O_RDONLY), 1)
        @lair.command
        def f(): return 1
        """
    )
    os.mkfifo(os.path.join(f"/proc/{worker.pid}/cwd", "gate"))
    assert worker.handshake(worker.offer())["success"]
    worker.assert_silent()  # on_start waits at the gate
    with open(f"/proc/{worker.pid}/cwd/gate", "w") as gate:
        gate.write("x")
    assert worker.receive() == [READY, 0, worker.generation]


def test_on_start_comes_before_the_reply_in_protocol_1(start, tmp_path):
    worker = start(NOTED)
    assert worker.handshake()["success"]
    assert (tmp_path / "started").exists()


def test_start_hooks_run_in_order_and_once(greeted):
    worker = greeted(
        """
        import lair_worker as lair
        seen = []
        @lair.on_start
        def first(): seen.append(1)
        @lair.on_start
        def second(): seen.append(2)
        @lair.command
        def order(): return seen
        """
    )
    assert worker.call("order") == [1, 2]


def test_a_user_ping_does_not_answer_the_handshake(start):
    worker = start("def ping(): return {'status': 'mine'}")
    assert worker.handshake()["result"]["status"] == "ok"
    assert worker.request("ping")["result"] == {"status": "mine"}


@pytest.mark.parametrize("script", [True, False])
def test_serve_in_a_script_tolerates_other_arguments(start, script):
    source = """
        import lair_worker as lair
        @lair.command
        def who(): return lair.context().worker_id
        if __name__ == "__main__":
            lair.serve()
    """
    tail = ["--mode", "pool-worker", "--worker-id=w9"]
    argv = ["mod.py", "-x", *tail, "--colour", "red"] if script else ["-m", "lair_worker", *tail, "mod"]
    worker = start(source, argv=argv)
    assert worker.request("who")["result"] == "w9"
    assert worker.request("ping")["result"]["mode"] == "pool-worker"


def test_mode_says_who_runs_it(start):
    assert start(transport="stdio-pipe").request("ping")["result"]["mode"] == "standalone"
    assert start(transport="channel").request("ping")["result"]["mode"] == "pool-worker"
    pooled = start(transport="stdio-pipe", env={"LAIR_POOL": "text"})
    assert pooled.request("ping")["result"]["mode"] == "pool-worker"


def test_bad_first_frames_are_answered_and_the_next_one_counts(start):
    worker = start()
    for frame in (b"", b"{", b"[]", b'{"id": "x", "command": "echo"}'):
        worker.send_bytes(frame)
        reply = worker.receive()
        assert reply["id"] is None and reply["success"] is False
    worker.greet()
    assert worker.call("echo", 1) == 1


def test_the_interpreter_can_be_told_from_the_reply(start):
    worker = start()
    executable = worker.greet()["lair"]["executable"]
    assert os.path.realpath(executable) == os.path.realpath(INTERPRETER)


def test_the_announced_signal_writes_the_stacks_while_c_code_holds_the_gil(start):
    worker = start("""
        import ctypes, sys
        def hold():
            print("holding", file=sys.stderr, flush=True)
            ctypes.PyDLL(None).sleep(60)  # without giving the GIL away
    """)
    number = worker.greet()["lair"]["stack_signal"]
    assert signal.SIGRTMIN <= number <= signal.SIGRTMAX
    worker.send_call("hold", [])
    wait_until(lambda: "holding" in worker.stderr_log.now(), "the call has begun")
    worker.signal(number)
    wait_until(lambda: "in hold" in worker.stderr_log.now(), "its stack is written")


def test_the_stacks_go_to_a_file_in_memory_and_not_to_stderr(start):
    worker = start("""
        import time
        def rest(): time.sleep(60)
    """)
    stacks = worker.greet()["lair"]["stacks"]
    assert signal.SIGRTMIN <= stacks["signal"] <= signal.SIGRTMAX
    path = f"/proc/{worker.pid}/fd/{stacks['fd']}"
    assert os.readlink(path).startswith("/memfd:lair-stacks")
    worker.send_call("rest", [])
    with open(path, "r+") as file:

        def shown():
            worker.signal(stacks["signal"])
            file.seek(0)
            return "in rest" in file.read()

        wait_until(shown, "the command's frame is in the file")
        file.truncate(0)  # as the host does: what follows is written at the begin again
        wait_until(shown, "it is there again")
        file.seek(0)
        assert "\0" not in file.read()
    assert "in rest" not in worker.stderr_log.now()


def test_no_program_that_a_command_starts_has_the_file_of_the_stacks(start):
    worker = start("""
        import os, subprocess
        def listed():
            return subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, stdout=-1).stdout.decode()
    """)
    fd = worker.greet()["lair"]["stacks"]["fd"]
    assert "lair-stacks" in os.readlink(f"/proc/{worker.pid}/fd/{fd}")
    assert "lair-stacks" not in worker.call("listed")


def test_a_signal_that_the_user_has_taken_is_not_announced(start):
    worker = start("""
        import signal
        signal.signal(signal.SIGRTMAX - 2, lambda *_: None)
        signal.signal(signal.SIGRTMAX - 3, lambda *_: None)
        def f(): return 1
    """)
    announced = worker.greet()["lair"]
    assert "stack_signal" not in announced and "stacks" not in announced
    assert worker.call("f") == 1


def test_stdio_and_channel_give_the_same_replies(start):
    replies = []
    for transport in ("channel", "stdio-socket", "stdio-pipe"):
        worker = start("def f(a, b=2): 'Adds.'; return a + b", transport=transport)
        announced = worker.greet()["lair"]["commands"]
        replies.append((announced, worker.exchange("f", [1]), worker.exchange("f", {"c": 1})))
    assert replies[0] == replies[1] == replies[2]
    assert replies[0][1] == (RESULT, 3)
