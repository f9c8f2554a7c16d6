"""A language model for tests: OpenAI's chat completions over HTTP, from a rule file, with faults on demand.

    python tests/lm/server.py --port 0 --rules FILE [--latency S]   # prints its URL

    with LMServer({"rules": [{"match": "capital", "answer": {"answer": "Paris"}}]}) as lm:
        dspy.LM("openai/test", api_base=lm.url, api_key="sk-a")
        ...
        assert lm.keys() == {"sk-a": 1}

Standard library only; one thread, however many callers. Rules: `rules.py`. Over HTTP a test elsewhere has

    POST /control   {"rules": {...}}     other rules, and what was recorded is forgotten
    GET  /control   {"keys": {key: calls}, "in_flight": n, "most_in_flight": n}
    GET  /control/requests?key=K         the recorded requests of a key: model, messages, stream
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import threading
from collections import Counter, deque
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rules import Reply, Rules  # noqa: E402

_MOST_RECORDED = 50_000
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Hangup(Exception):
    """The connection is to be closed without another word."""


class Service:
    """Answers requests; shared by all connections."""

    def __init__(self, rules: dict[str, Any] | None) -> None:
        self.set_rules(rules)

    def set_rules(self, rules: dict[str, Any] | None) -> None:
        """Other rules; what was recorded is forgotten."""
        self.rules = Rules(rules)
        self.by_key: Counter[str] = Counter()
        self.requests: deque[dict[str, Any]] = deque(maxlen=_MOST_RECORDED)
        self.in_flight = self.most_in_flight = 0
        self._gates: dict[int, asyncio.Event] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side has enough."""
        try:
            while (request := await _read(reader)) is not None:
                await self._answer(*request, reader, writer)
                await writer.drain()
        except (Hangup, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(
        self, method: str, target: str, headers: dict, body: bytes, reader: Any, writer: Any
    ) -> None:
        url = urlsplit(target)
        if url.path.startswith("/control"):
            _send(writer, 200, self._control(method, url, body))
        elif url.path.endswith("/chat/completions") and method == "POST":
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            for count, gate in self._gates.items():
                if self.in_flight >= count:
                    gate.set()
            try:
                await self._complete(headers, body, reader, writer)
            finally:
                self.in_flight -= 1
        elif url.path.endswith("/models"):
            _send(writer, 200, {"object": "list", "data": [{"id": "test", "object": "model"}]})
        else:
            _send(writer, 404, _error("there is no such path", "not_found"))

    def _control(self, method: str, url: Any, body: bytes) -> Any:
        if method == "POST":
            self.set_rules(json.loads(body).get("rules"))
            return {"ok": True}
        if url.path.endswith("/requests"):
            key = parse_qs(url.query).get("key", [None])[0]
            return [each for each in self.requests if key in (None, each["key"])]
        return {"keys": dict(self.by_key), "in_flight": self.in_flight, "most_in_flight": self.most_in_flight}

    async def _complete(self, headers: dict, body: bytes, reader: Any, writer: Any) -> None:
        key = headers.get("authorization", "").removeprefix("Bearer ").strip()
        try:
            request = json.loads(body)
            model, messages = request["model"], request["messages"]
        except (ValueError, KeyError) as error:
            _send(writer, 400, _error(f"not a chat completion: {error}", "invalid_request_error"))
            return
        stream = bool(request.get("stream"))
        self.by_key[key] += 1
        record = {"key": key, "model": model, "messages": messages, "stream": stream}
        more = ("temperature", "max_tokens", "max_completion_tokens", "tools", "response_format", "n")
        self.requests.append(record | {name: request[name] for name in more if name in request})
        reply = self.rules.reply(request, key)
        if reply.wait_for > self.most_in_flight:
            await self._gates.setdefault(reply.wait_for, asyncio.Event()).wait()
        if reply.latency:
            await asyncio.sleep(reply.latency)
        if not await self._fault(reply, key, stream, reader, writer):
            return
        if stream:
            await _stream(reply, request, writer)
        else:
            _send(writer, 200, _completion(reply, request))

    async def _fault(self, reply: Reply, key: str, stream: bool, reader: Any, writer: Any) -> bool:
        """Whether there is still something to answer."""
        fault = reply.fault
        if fault is None or (fault == "disconnect_midstream" and stream):
            return True
        if isinstance(fault, int):
            texts = {401: f"Incorrect API key provided: {key}", 429: "Rate limit reached"}
            more = {"Retry-After": str(reply.retry_after)} if reply.retry_after is not None else {}
            _send(writer, fault, _error(texts.get(fault, f"the server answers {fault}"), "test_fault"), more)
        elif fault == "hang":
            await reader.read()  # until the caller goes
            raise Hangup
        elif fault == "broken_json":
            _send_bytes(writer, 200, b'{"id": "x", "choices": [{"message": {"content": "hal')
        elif fault == "empty":
            _send_bytes(writer, 200, b"")
        else:
            raise Hangup
        return False


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes] | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return method, target, headers, body


def _send(writer: Any, status: int, value: Any, more: dict[str, str] | None = None) -> None:
    _send_bytes(writer, status, json.dumps(value).encode(), more)


def _send_bytes(writer: Any, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (more or {}).items()]
    writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)


def _error(message: str, kind: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": kind, "param": None}}


def _usage(reply: Reply, request: dict[str, Any]) -> dict[str, int]:
    """Words, so that tests can count them."""
    prompt = len(json.dumps(request["messages"]).split())
    answer = max(1, len(reply.text.split()))
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _completion(reply: Reply, request: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if reply.tool_calls else reply.text}
    if reply.tool_calls:
        message["tool_calls"] = reply.tool_calls
    finish = "tool_calls" if reply.tool_calls else "stop"
    choices = [
        {"index": n, "message": message, "finish_reason": finish} for n in range(request.get("n") or 1)
    ]
    return {
        "id": "chatcmpl-test", "object": "chat.completion", "created": 0, "model": request["model"],
        "choices": choices, "usage": _usage(reply, request),
    }  # fmt: skip


async def _stream(reply: Reply, request: dict[str, Any], writer: Any) -> None:
    """Server-sent events: a token is a word with the space before it."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    def event(value: Any) -> None:
        data = f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        return {
            "id": "chatcmpl-test", "object": "chat.completion.chunk", "created": 0, "model": request["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more,
        }  # fmt: skip

    event(chunk({"role": "assistant", "content": ""}))
    pieces = [] if reply.tool_calls else _tokens(reply.text)
    for number, piece in enumerate(pieces):
        if reply.fault == "disconnect_midstream" and number == len(pieces) // 2:
            await writer.drain()
            raise Hangup
        event(chunk({"content": piece}))
        if reply.token_delay:
            await writer.drain()
            await asyncio.sleep(reply.token_delay)
    for index, call in enumerate(reply.tool_calls):
        event(chunk({"tool_calls": [{"index": index, **call}]}))
    event(chunk({}, "tool_calls" if reply.tool_calls else "stop"))
    event({**chunk({}), "choices": [], "usage": _usage(reply, request)})
    event("[DONE]")
    writer.write(b"0\r\n\r\n")


def _tokens(text: str) -> list[str]:
    pieces: list[str] = []
    for word in text.replace("\n", " \n ").split(" "):
        pieces.append((" " if pieces and word != "\n" and pieces[-1] != "\n" else "") + word)
    return [piece for piece in pieces if piece]


class LMServer:
    """The server in a thread of this process, at ``url``."""

    def __init__(self, rules: dict[str, Any] | None = None, port: int = 0) -> None:
        self.service = Service(rules)
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="test LM", daemon=True)
        self.url = ""

    def __enter__(self) -> LMServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(start(self.service, self._port))
        self.url = url_of(server)
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def set_rules(self, rules: dict[str, Any]) -> None:
        """Other rules; what was recorded is forgotten."""
        self.service.set_rules(rules)

    def keys(self) -> dict[str, int]:
        """Calls by API key."""
        return dict(self.service.by_key)

    def requests(self, key: str | None = None) -> list[dict[str, Any]]:
        """What was asked, in order."""
        return [each for each in self.service.requests if key in (None, each["key"])]


async def start(service: Service, port: int) -> asyncio.Server:
    """Begins to listen."""
    return await asyncio.start_server(service.serve, "127.0.0.1", port, limit=64 << 20, backlog=1024)


def url_of(server: asyncio.Server) -> str:
    """What ``api_base`` is."""
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def _main(arguments: argparse.Namespace) -> None:
    rules = json.loads(Path(arguments.rules).read_text(encoding="utf-8")) if arguments.rules else {}
    if arguments.latency is not None:
        rules["latency"] = arguments.latency
    server = await start(Service(rules), arguments.port)
    print(url_of(server), flush=True)
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    if arguments.until_eof:
        loop.add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.read1(65536) or end.set())
    await end.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A language model for tests")
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free")
    parser.add_argument("--rules", help="a JSON file; rules.py says what is in it")
    parser.add_argument("--latency", type=float, help="seconds before each answer")
    parser.add_argument("--until-eof", action="store_true", help="ends when stdin does, as with its parent")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args()))
