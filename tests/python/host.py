"""A small protocol host in Python: starts a worker over real descriptors and talks to it frame by frame."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path

import reference

PYTHON_DIR = Path(__file__).resolve().parents[2] / "python"
# The workers' interpreter; the tests themselves need pytest and may run under another one.
INTERPRETER = os.environ.get("LAIR_TEST_PYTHON", sys.executable)
PATIENCE = 60.0  # seconds until a test gives up on what should happen at once, however busy the machine

TRANSPORTS = ("channel", "stdio-socket", "stdio-pipe")
CALL, RESULT, ERROR, READY, SHUTDOWN = 1, 2, 3, 4, 5
CHUNK, END, CREDIT, CANCEL, CANCELLED, CALLBACK, CALLBACK_RESULT = 6, 7, 8, 9, 10, 11, 12
BATCH, RELEASE = 13, 14
LAST = (RESULT, ERROR, END, CANCELLED)  # the frames that end a call
FEATURES = ["cancel", "stream", "callback", "batch", "arrays", "spin"]


@lru_cache(maxsize=32)
def has_native(interpreter: str) -> bool:
    """Whether the accelerator has been built for an interpreter. One that does not load is an error."""
    program = "import importlib.util as i, sys; sys.exit(i.find_spec('lair_worker._native') is None)"
    if subprocess.run([interpreter, "-c", program], env=worker_environment()).returncode != 0:
        return False
    subprocess.run([interpreter, "-c", "import lair_worker._native"], env=worker_environment(), check=True)
    return True


class Closed(Exception):
    """The worker has closed its end of the channel."""


def wait_until(condition, what: str, patience: float = PATIENCE):
    """Polls until ``condition()`` is true, and gives its value back."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"in {patience} s never: {what}")
        time.sleep(0.005)


def process_state(pid: int) -> str:
    """The kernel's letter for what a process does; X where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return stat.rpartition(")")[2].split()[0]


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    return process_state(pid) not in "ZX"


def worker_environment(**changes) -> dict[str, str]:
    """A worker's environment without anything that this process got from a pool of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LAIR_")}
    for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
        env.pop(name, None)
    env["PYTHONPATH"] = str(PYTHON_DIR)
    for name, value in changes.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = str(value)
    return env


class Log:
    """What a worker writes to a descriptor, drained as it comes: a full pipe would block it."""

    def __init__(self) -> None:
        self.source, self.sink = os.pipe()
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._drain, daemon=True)

    def start(self) -> None:
        os.close(self.sink)
        self._thread.start()

    def _drain(self) -> None:
        while True:
            piece = os.read(self.source, 1 << 16)
            if not piece:
                os.close(self.source)
                return
            self._pieces.append(piece)

    def now(self) -> str:
        """What has come so far."""
        return b"".join(self._pieces).decode("utf-8", "replace")

    def all(self) -> str:
        """Everything, once the worker has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "somebody still holds the worker's log open"
        return self.now()


class Worker:
    """A worker process, the host's end of its channel, and its logs."""

    def __init__(self, argv, transport="channel", env=None, cwd=None, merged_log=False, preexec=None):
        self.transport = transport
        self._buffer = b""
        self._cancelling: int | None = None  # the call that has been told so, until its last frame
        self._ids = 0
        self.generation = 7
        self.offered = ["msgpack", "json"]
        self.codec = "json"  # that of the handshake; then the worker's choice
        self.cancel_signal = None
        self.stderr_log = Log()
        self.stdout_log = self.stderr_log if merged_log or transport != "channel" else Log()
        environment = worker_environment(**(env or {}))
        if transport == "channel":
            ours, theirs = socket.socketpair()
            self._read_fd = self._write_fd = ours.detach()
            environment["LAIR_CHANNEL_FD"] = str(theirs.fileno())
            stdin, stdout, passed = subprocess.DEVNULL, self.stdout_log.sink, (theirs.fileno(),)
            to_close = [theirs.detach()]
        elif transport == "stdio-socket":
            ours, theirs = socket.socketpair()
            self._read_fd = self._write_fd = ours.detach()
            stdin = stdout = theirs.detach()
            passed, to_close = (), [stdin]
        else:
            stdin, self._write_fd = os.pipe()
            self._read_fd, stdout = os.pipe()
            passed, to_close = (), [stdin, stdout]

        def prepare():
            # As a shell starts a program in the foreground, however these tests were started.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            if preexec is not None:
                preexec()

        self.process = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=self.stderr_log.sink,
            env=environment,
            cwd=cwd,
            pass_fds=passed,
            preexec_fn=prepare,
        )
        self.pid = self.process.pid
        for fd in to_close:
            os.close(fd)
        for log in {self.stderr_log, self.stdout_log}:
            log.start()

    # --- bytes ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._write_fd, data) :]

    def send_bytes(self, payload: bytes) -> None:
        self.write(struct.pack(">I", len(payload)) + payload)

    def encode(self, message) -> bytes:
        """A message in the codec that the worker has chosen."""
        if self.codec == "msgpack":
            return reference.pack(message)
        return json.dumps(message, separators=(",", ":")).encode()

    def send(self, message) -> None:
        self.send_bytes(self.encode(message))

    def _read_exactly(self, count: int, patience: float) -> bytes:
        deadline = time.monotonic() + patience
        pause = 0.005
        while len(self._buffer) < count:
            left = max(0.0, deadline - time.monotonic())
            rings = self._cancelling is not None and pause < left
            ready, _, _ = select.select([self._read_fd], [], [], pause if rings else left)
            if rings and not ready:
                self.ring()
                pause *= 2
                continue
            assert ready, f"no reply within {patience} s; log:\n{self.stderr_log.now()}"
            try:
                piece = os.read(self._read_fd, 1 << 20)
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise Closed(f"the worker closed its channel; log:\n{self.stderr_log.now()}")
            self._buffer += piece
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def receive_bytes(self, patience: float = PATIENCE) -> bytes:
        (length,) = struct.unpack(">I", self._read_exactly(4, patience))
        return self._read_exactly(length, patience)

    def receive(self, patience: float = PATIENCE):
        return self.decode(self.receive_bytes(patience))

    def decode(self, payload: bytes):
        """A message, in whichever codec it came."""
        if payload[:1] >= b"\x80":
            assert self.codec == "msgpack", payload[:100]
            message = reference.unpack(payload)
        else:
            message = json.loads(payload.decode("utf-8"), parse_constant=_refuse)
        if type(message) is list and message[1] == self._cancelling and message[0] in LAST:
            self._cancelling = None
        return message

    def assert_silent(self) -> None:
        """Nothing more has come. For use where the worker has already done something later."""
        ready, _, _ = select.select([self._read_fd], [], [], 0)
        assert not ready and not self._buffer

    # --- protocol 1 -----------------------------------------------------------------------------------

    def handshake(self, offer=None, **args):
        """Sends the first frame and gives the reply."""
        args = {"initialization": True, "worker_id": "text-0-1", **args}
        if offer is not None:
            args["lair"] = offer
        self.send({"id": 0, "command": "ping", "args": args, "timestamp": "2025-01-01T00:00:00Z"})
        return self.receive_handshake()

    def receive_handshake(self):
        reply = self.receive()
        result = reply.get("result")
        self.codec = result.get("lair", {}).get("codec", "json") if isinstance(result, dict) else "json"
        return reply

    def request(self, command: str, args=None, **more):
        """One protocol 1 exchange."""
        self._ids += 1
        message = {"id": self._ids, "command": command, "timestamp": "2025-01-01T00:00:00Z", **more}
        if args is not None:
            message["args"] = args
        self.send(message)
        reply = self.receive()
        assert reply["id"] == self._ids
        return reply

    # --- protocol 2 -----------------------------------------------------------------------------------

    def offer(self, **changes):
        offer = {
            "version": 2,
            "generation": self.generation,
            "codecs": self.offered,
            "features": [],
            "max_frame": 64 << 20,
            "spin": 100,
        }
        offer.update(changes)
        return offer

    def greet(self, **changes):
        """The protocol 2 start up to READY; gives the handshake's result."""
        reply = self.handshake(self.offer(**changes))
        assert reply["success"], reply
        assert self.receive() == [READY, 0, self.generation]
        self.cancel_signal = reply["result"]["lair"].get("cancel_signal")
        return reply["result"]

    def send_call(self, command: str, args, **meta) -> int:
        self._ids += 1
        self.send([CALL, self._ids, self.generation, command, args, meta])
        return self._ids

    def reply_to(self, number: int):
        reply = self.receive()
        assert reply[1:3] == [number, self.generation], reply
        return reply

    def exchange(self, command: str, args, **meta):
        """One protocol 2 exchange, as (kind, body)."""
        reply = self.reply_to(self.send_call(command, args, **meta))
        return reply[0], reply[3]

    def call(self, command: str, *args, **keywords):
        """The result of a call that must succeed."""
        kind, body = self.exchange(command, keywords if keywords else list(args))
        assert kind == RESULT, body
        return body

    def fail(self, command: str, *args, **keywords):
        """The error of a call that must fail."""
        kind, body = self.exchange(command, keywords if keywords else list(args))
        assert kind == ERROR, body
        return body

    # --- cancel, streams, callbacks -------------------------------------------------------------------

    def frame(self, *message) -> bytes:
        """A frame with this worker's generation: ``frame(CANCEL, id)``."""
        payload = self.encode([*message[:2], self.generation, *message[2:]])
        return struct.pack(">I", len(payload)) + payload

    def ring(self) -> None:
        """The doorbell of CANCEL."""
        self.signal(self.cancel_signal)

    def cancel(self, number: int) -> None:
        """CANCEL as a host sends it: the frame, then the bell, again and again until the last frame."""
        self.write(self.frame(CANCEL, number))
        if self.cancel_signal:
            self.ring()
            self._cancelling = number

    def expect_cancelled(self, number: int) -> None:
        """The next frame is the last one of a call that has been cancelled."""
        assert self.receive() == [CANCELLED, number, self.generation]

    # --- the process ----------------------------------------------------------------------------------

    def close_channel(self) -> None:
        for fd in {self._read_fd, self._write_fd}:
            with contextlib.suppress(OSError):
                os.close(fd)

    def close_input(self) -> None:
        """The worker sees EOF; its replies can still be read."""
        if self._read_fd == self._write_fd:
            with socket.socket(fileno=os.dup(self._write_fd)) as end:
                end.shutdown(socket.SHUT_WR)
        else:
            os.close(self._write_fd)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_for_sleep(self) -> None:
        """Until the worker waits in a system call: whoever is written to is awake at once."""
        wait_until(lambda: process_state(self.pid) == "S", "the worker sleeps")

    def stop(self) -> None:
        """Stops the process, which finds what comes meanwhile when it goes on (SIGCONT)."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: process_state(self.pid) == "T", "the worker is stopped")

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit status; negative for a signal."""
        return self.process.wait(patience)

    def expect_end(self, status: int = 0) -> str:
        """Waits for the end; gives stderr."""
        assert self.wait() == status, self.stderr_log.now()
        return self.stderr_log.all()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.close_channel()


def _refuse(name: str):
    raise AssertionError(f"{name} on the wire")
