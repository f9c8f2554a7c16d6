"""How tests call a worker: in this process, or in one of its own with a host that keeps sessions."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest
from host import CALL, CALLBACK, CALLBACK_RESULT, CHUNK, END, ERROR, FEATURES, PATIENCE, RESULT
from host import Worker as WorkerProcess
from lair_worker import testing

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-key-of-the-tests-0001"


class Caller:
    """Calls with or without a session."""

    def __init__(self, worker: testing.Worker, session: str | None) -> None:
        self.worker = worker
        self.session = session
        self.meta = {} if session is None else {"session": session}

    def __call__(self, command: str, **args):
        return self.worker.call_with(self.meta, command, **args)

    def stream(self, command: str, **args) -> list:
        return list(self.worker.stream_with(self.meta, command, **args))

    def fails(self, command: str, **args) -> testing.CallError:
        with pytest.raises(testing.CallError) as caught:
            self(command, **args)
        return caught.value

    def stream_fails(self, command: str, **args) -> testing.CallError:
        with pytest.raises(testing.CallError) as caught:
            self.stream(command, **args)
        return caught.value

    def configure(self, lm, key: str = KEY, **more):
        return self("configure_lm", model="test", api_base=lm.url, api_key=key, num_retries=0, **more)

    def ask(self, question: str, program_id: str = "qa", **more):
        return self("execute_program", program_id=program_id, inputs={"question": question}, **more)


class Failed(Exception):
    """The error of a call to a process."""

    def __init__(self, error: dict) -> None:
        super().__init__(f"{error.get('type')}: {error.get('message')}")
        self.error = error


class Process:
    """A worker process under a host that keeps sessions in `stores`: {id: {key: value}}."""

    def __init__(
        self, folder: Path, concurrency: int = 1, features=FEATURES, argv=None, env=None, greet=True
    ):
        self.home, self.cwd = folder / "home", folder / "cwd"
        for each in (self.home, self.cwd):
            each.mkdir(exist_ok=True)
        self.stores: dict[str, dict] = {}
        self.changes: dict[str, int] | None = None  # of sessions, where this is to be a host that counts
        self.refuses: set[str] = set()  # keys that it has no room for
        self.functions: dict = {}
        self._sessions: dict[int, str | None] = {}
        self._numbers: dict[str, int] = {}
        self._last_number = 0
        self._done: dict[int, list] = {}
        self._items: dict[int, list] = {}
        environment = {
            "HOME": self.home, "TMPDIR": self.cwd, "XDG_CACHE_HOME": None, "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": os.environ["PATH"], **(env or {}),
        }  # fmt: skip
        argv = [sys.executable, *(argv or ["-m", "lair_worker", "lair_dspy"])]
        self.worker = WorkerProcess(argv, cwd=self.cwd, env=environment)
        # To import DSPy takes seconds of a processor, and on a busy machine minutes.
        self.worker.receive = partial(self.worker.receive, 5 * PATIENCE)
        if greet:
            self.hello = self.worker.greet(features=features, concurrency=concurrency)

    def start(self, command: str, session: str | None = None, stream: bool = False, **args) -> int:
        """Sends a call; `wait` gives its result."""
        meta: dict = {"ms": int(PATIENCE * 1000)}
        if session is not None:
            if session not in self._numbers:
                self._last_number += 1
                self._numbers[session] = self._last_number
            number = self._numbers[session]
            meta |= {"session": session, "session_number": number, "affinity": "prefer"}
            if self.changes is not None:
                meta["session_changes"] = self.changes.setdefault(session, 0)
        if stream:
            meta["stream"] = [10_000, 64 << 20]
        call = self.worker.send_call(command, args, **meta)
        self._sessions[call] = session
        self._items[call] = []
        return call

    def wait(self, call: int):
        """The result, or the items of a stream. Failed."""
        while call not in self._done:
            self._take(self.worker.receive())
        message = self._done.pop(call)
        if message[0] == RESULT:
            return message[3]
        if message[0] == END:
            return self._items.pop(call)
        if message[0] == ERROR:
            raise Failed(message[3])
        raise AssertionError(message)

    def call(self, command: str, session: str | None = None, **args):
        return self.wait(self.start(command, session, **args))

    def _take(self, message: list) -> None:
        kind, call = message[:2]
        if kind == CALLBACK:
            number, name, args = message[3:6]
            outcome = self._callback(self._sessions[call], name, args)
            if number == 0:
                return
            self.worker.send([CALLBACK_RESULT, call, self.worker.generation, number, *outcome])
        elif kind == CHUNK:
            self._items[call] += message[3]
        else:
            assert kind != CALL
            self._done[call] = message

    def _callback(self, session: str | None, name: str, args) -> tuple:
        if not name.startswith("lair.session."):
            function = self.functions[name]
            return True, function(**args) if isinstance(args, dict) else function(*args)
        store, what, key = self.stores.setdefault(session, {}), name.rpartition(".")[2], args.get("key")
        if what == "get":
            return True, {"found": key in store, "value": store.get(key)}
        if what == "put" and key in self.refuses:
            self.changed(session, 2)
            return False, {"message": "no room", "kind": "unavailable"}
        if what == "put":
            store[key] = args["value"]
            self.changed(session)
            return True, None
        if what == "delete":
            found = store.pop(key, None) is not None
            self.changed(session, found)
            return True, found
        assert what == "list"
        return True, sorted(each for each in store if each.startswith(args.get("prefix", "")))

    def changed(self, session: str | None, times: int = 1) -> None:
        """As a host counts, whoever has changed a value."""
        if self.changes is not None and session is not None:
            self.changes[session] = self.changes.get(session, 0) + times

    def new_sessions(self) -> None:
        """From now on ids name sessions that are opened anew."""
        self._numbers.clear()

    def log(self) -> str:
        """All that the worker has written, after its end."""
        self.worker.close_channel()
        self.worker.wait()
        return self.worker.stderr_log.all() + self.worker.stdout_log.all()

    def close(self) -> None:
        self.worker.kill()

    def configure(self, lm, key: str = KEY, session: str | None = None, **more):
        settings = {"model": "test", "api_base": lm.url, "api_key": key, "num_retries": 0, **more}
        return self.call("configure_lm", session, **settings)
