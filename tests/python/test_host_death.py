"""A foreign host that dies takes its worker with it, also in the middle of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from host import INTERPRETER, is_running, wait_until, worker_environment

HOST = """
    import os, struct, subprocess, sys, threading
    def frame(text): return struct.pack(">I", len(text)) + text
    command = [sys.executable, "-m", "lair_worker", "mod"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    held = os.dup(worker.stdin.fileno())
    worker.stdin.write(b"".join(map(frame, {frames})))
    worker.stdin.flush()
    print(worker.pid, flush=True)
    {then}
"""
PING = b'{"id": 0, "command": "ping", "args": {"initialization": true}}'
COMMANDS = """
    import lair_worker as lair, os, time
    forever = iter(int, 1)
    @lair.command
    def spin():
        os.write(2, b"running")
        for _ in forever: pass
    @lair.command
    def swallow():
        os.write(2, b"running")
        while True:
            try:
                for _ in forever: pass
            except BaseException: pass
    @lair.command
    def sleep():
        os.write(2, b"running")
        time.sleep(600)
    @lair.on_stop
    def stop(): os.write(2, b" stopped")
"""


def foreign_host(tmp_path, frames, then="sys.stdin.read()", commands=COMMANDS):
    """A host of its own process; its worker's pid; its stderr, which is the worker's too."""
    (tmp_path / "mod.py").write_text(textwrap.dedent(commands))
    (tmp_path / "host.py").write_text(textwrap.dedent(HOST).format(frames=frames, then=then))
    log = open(tmp_path / "log", "wb")  # noqa: SIM115
    host = subprocess.Popen(
        [INTERPRETER, "host.py"],
        cwd=tmp_path,
        env=worker_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    log.close()
    return host, int(host.stdout.readline())


def in_log(tmp_path, text):
    wait_until(lambda: text in (tmp_path / "log").read_text(), f"{text!r} on stderr")


@pytest.mark.parametrize("command", ["spin", "sleep"])
@pytest.mark.parametrize("handshake", [True, False])
def test_a_worker_whose_host_dies_in_mid_command_ends(tmp_path, command, handshake):
    frames = [PING] * handshake + [b'{"id": 1, "command": "%s"}' % command.encode()]
    host, pid = foreign_host(tmp_path, frames)
    try:
        in_log(tmp_path, "running")
        host.kill()
        wait_until(lambda: not is_running(pid), "the worker's end")
        assert (tmp_path / "log").read_text() == "running stopped"
    finally:
        _kill(host, pid)


def test_a_worker_that_swallows_everything_is_killed_by_the_kernel(tmp_path):
    commands = COMMANDS + "\n    import lair_worker._signals\n    lair_worker._signals.LAST_SECONDS = 0.3\n"
    host, pid = foreign_host(tmp_path, [PING, b'{"id": 1, "command": "swallow"}'], commands=commands)
    try:
        in_log(tmp_path, "running")
        host.kill()
        wait_until(lambda: not is_running(pid), "the worker's end")
    finally:
        _kill(host, pid)


def test_the_end_of_the_thread_that_started_a_worker_is_not_the_hosts(tmp_path):
    then = """
    sys.stdin.readline()
    worker.stdin.write(frame(b'{"id": 2, "command": "ping"}'))
    worker.stdin.flush()
    for _ in range(3):
        header = worker.stdout.read(4)
        print(worker.stdout.read(struct.unpack(">I", header)[0]).decode(), flush=True)
    sys.stdin.read()
    """
    # The worker is started by a thread that ends once the command is running.
    source = textwrap.dedent(HOST).format(
        frames=[PING, b'{"id": 1, "command": "short"}'], then=textwrap.dedent(then)
    )
    start_line = "worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)"
    assert start_line in source
    source = source.replace(
        start_line,
        "running = threading.Event()\n"
        "def starter():\n"
        "    global worker\n"
        f"    {start_line}\n"
        "    running.set()\n"
        "    done.wait()\n"
        "done = threading.Event()\n"
        "thread = threading.Thread(target=starter)\n"
        "thread.start()\n"
        "running.wait()\n",
    ).replace(
        "sys.stdin.readline()",
        "sys.stdin.readline(); done.set(); thread.join(); open('gate', 'w').close()",
        1,
    )
    (tmp_path / "mod.py").write_text(
        "import os\ndef short():\n    os.write(2, b'running')\n    return open('gate').read()\n"
    )
    (tmp_path / "threaded.py").write_text(source)
    os.mkfifo(tmp_path / "gate")
    with open(tmp_path / "log", "wb") as log:
        host = subprocess.Popen(
            [INTERPRETER, "threaded.py"],
            cwd=tmp_path,
            env=worker_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    pid = int(host.stdout.readline())
    try:
        in_log(tmp_path, "running")
        host.stdin.write("\n")
        host.stdin.flush()
        replies = [host.stdout.readline() for _ in range(3)]
        assert '"id":1,"success":true' in replies[1] and '"id":2,"success":true' in replies[2]
        assert is_running(pid)
    finally:
        _kill(host, pid)


def test_an_idle_worker_whose_host_dies_ends(tmp_path):
    host, pid = foreign_host(tmp_path, [PING])
    try:
        host.kill()
        wait_until(lambda: not is_running(pid), "the worker's end")
    finally:
        _kill(host, pid)


def test_a_pooled_worker_arms_no_parent_signal(start):
    """Its keeper does, and better; and ctypes costs."""
    source = "def loaded():\n    import sys\n    return 'ctypes' in sys.modules"
    for transport, env in (("channel", {}), ("stdio-pipe", {"LAIR_POOL": "text"})):
        worker = start(source, transport=transport, env=env)
        worker.handshake()
        assert worker.request("loaded")["result"] is False
    foreign = start(source, transport="stdio-pipe")
    foreign.handshake()
    assert foreign.request("loaded")["result"] is True


def _kill(host, pid):
    host.kill()
    host.wait()
    for stream in (host.stdin, host.stdout):
        stream.close()
    if is_running(pid):
        os.kill(pid, signal.SIGKILL)
    assert sys.exc_info()[0] or not is_running(pid) or wait_until(lambda: not is_running(pid), "its end")
