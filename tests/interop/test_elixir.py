"""An Elixir port is the host: protocol 1 from a program that knows nothing of Lair."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
MODULE = """
    import os, time
    import lair_worker as lair

    @lair.command
    def count_words(text: str) -> int: return len(text.split())
    @lair.command
    def echo(value): return value
    @lair.command
    def whose(): return [lair.context().session_id, lair.context().worker_id]
    @lair.command
    def boom(): raise ValueError("no such luck")
    @lair.command
    def chatter(): print("this goes to stderr"); return "said"
    @lair.command
    def spin():
        open("spinning", "w").close()
        while True: pass
    @lair.on_stop
    def stopped(): open("stopped", "w").close()
"""


class ElixirHost:
    def __init__(self, folder: Path) -> None:
        (folder / "served.py").write_text(textwrap.dedent(MODULE))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("LAIR_", "PYTHON"))}
        self.process = subprocess.Popen(
            ["elixir", Path(__file__).with_name("port_host.exs"), sys.executable, "served"],
            cwd=folder,
            env={**env, "PYTHONPATH": str(ROOT / "python"), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.worker = int(self.line().removeprefix("pid "))
        self.worker_pidfd = os.pidfd_open(self.worker)
        self.id = 0

    def line(self) -> str:
        line = self.process.stdout.readline().decode()
        assert line, f"the host has ended with status {self.process.wait(PATIENCE)}"
        return line.rstrip("\n")

    def tell(self, line: str) -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.line()

    def send(self, command: str, **args) -> None:
        self.id += 1
        self.tell(json.dumps({"id": self.id, "command": command, "args": args}, ensure_ascii=False))

    def call(self, command: str, **args) -> dict:
        self.send(command, **args)
        reply = json.loads(self.line())
        assert reply.pop("id") == self.id
        return reply

    def worker_ended(self) -> bool:
        return bool(select.select([self.worker_pidfd], [], [], PATIENCE)[0])

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        ended = self.worker_ended()
        os.close(self.worker_pidfd)
        assert ended, f"worker {self.worker} has outlived its host"


@pytest.fixture
def host(tmp_path):
    host = ElixirHost(tmp_path)
    yield host
    host.end()


def test_a_conversation(host, tmp_path):
    hello = host.call("ping", initialization=True, worker_id="elixir-1")
    assert hello["success"]
    assert (hello["result"]["status"], hello["result"]["worker_id"]) == ("ok", "elixir-1")
    assert hello["result"]["pid"] == host.worker
    assert "lair" not in hello["result"]  # nobody asked for protocol 2

    assert host.call("count_words", text="to be or not to be")["result"] == 6
    value = {"text": "ä – 雪 – 🌨", "list": [1, 2.5, None, True], "large": 2**63, "none": {}}
    assert host.call("echo", value=value)["result"] == value
    large = "x" * (1 << 20)
    assert host.call("echo", value=large)["result"] == large
    assert host.call("whose", session_id="s-17")["result"] == ["s-17", "elixir-1"]
    assert host.call("chatter")["result"] == "said"  # and nothing of it in the frames

    failed = host.call("boom")
    assert (failed["success"], failed["error"], failed["error_type"]) == (False, "no such luck", "ValueError")
    assert "served.py" in failed["traceback"]
    unknown = host.call("count_word", text="")
    assert not unknown["success"] and unknown["refused"]
    assert unknown["error"] == "Unknown command: count_word"
    wrong = host.call("count_words", texts="")
    assert not wrong["success"] and wrong["refused"]
    not_json = json.loads(host.ask("{this is not JSON"))
    assert (not_json["id"], not_json["success"]) == (None, False)
    assert host.call("get_stats")["result"]["command_count"] >= 8

    bye = host.call("shutdown")
    assert bye["result"]["status"] == "shutting_down"
    assert host.ask("wait") == "exit_status 0"
    assert host.worker_ended() and (tmp_path / "stopped").exists()


def test_without_a_handshake_and_the_port_is_closed(host, tmp_path):
    assert host.call("count_words", text="a b c")["result"] == 3
    assert host.ask("close") == "closed"
    assert host.worker_ended() and (tmp_path / "stopped").exists()


def test_the_host_is_killed_while_a_command_spins(host, tmp_path):
    host.send("spin")
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "spinning").exists():
        assert time.monotonic() < deadline, "the command never ran"
        time.sleep(0.005)
    host.process.kill()
    assert host.worker_ended()
