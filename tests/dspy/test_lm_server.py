"""The test LM itself: what a caller without DSPy sees."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from host import wait_until
from server import LMServer

from support import ROOT

RULES = {
    "rules": [
        {"match": r"capital of (\w+)", "answer": "the capital of $1 is {city}"},
        {"match": "busy", "fault": 429, "retry_after": 7, "times": 2},
        {"match": "wrong", "fault": 401},
        {"match": "broken", "fault": "broken_json"},
        {"match": "empty", "fault": "empty"},
        {"match": "gone", "fault": "disconnect"},
        {"match": "hang", "fault": "hang"},
        {"match": "half", "fault": "disconnect_midstream", "answer": "one two three four"},
        {"match": "weather in (\\w+)", "tool_calls": [{"name": "weather", "arguments": {"city": "$1"}}]},
        {"key": "sk-b", "answer": "for b"},
        {"match": "earlier", "in": "all", "answer": "seen"},
    ],
    "answer": "nothing",
}


@pytest.fixture
def server():
    with LMServer(RULES) as found:
        yield found


def post(url: str, content: str, key: str = "sk-a", **more) -> tuple[int, dict, bytes]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **more}
    headers = {"Authorization": f"Bearer {key}"}
    try:
        connection.request("POST", place.path + "/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def text(url: str, content: str, **more) -> str:
    status, _, body = post(url, content, **more)
    assert status == 200
    return json.loads(body)["choices"][0]["message"]["content"]


def test_the_first_rule_that_fits_answers(server):
    city = "[[ ## city ## ]]\nParis\n\ncapital of France\nRespond with"
    assert text(server.url, city) == "the capital of France is Paris\n\ncapital of France"
    assert text(server.url, "other") == "nothing" and text(server.url, "other", key="sk-b") == "for b"
    assert server.keys() == {"sk-a": 2, "sk-b": 1}
    assert [each["messages"][0]["content"] for each in server.requests("sk-b")] == ["other"]


def test_a_rule_may_look_at_the_whole_prompt(server):
    messages = [{"role": "user", "content": "earlier"}, {"role": "user", "content": "x"}]
    assert text(server.url, "", messages=messages) == "seen"


def test_faults(server):
    for _ in range(2):
        status, headers, _ = post(server.url, "busy")
        assert status == 429 and headers["Retry-After"] == "7"
    assert text(server.url, "busy") == "nothing"  # it has been busy often enough
    status, _, body = post(server.url, "wrong", key="sk-wrong")
    assert status == 401 and "sk-wrong" in json.loads(body)["error"]["message"]
    with pytest.raises(ValueError):
        json.loads(post(server.url, "broken")[2])
    assert post(server.url, "empty")[2] == b""
    with pytest.raises(http.client.RemoteDisconnected):
        post(server.url, "gone")


def test_a_hang_lasts_until_the_caller_goes(server):
    place = urlsplit(server.url)
    connection = http.client.HTTPConnection(place.hostname, place.port)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hang"}]})
    connection.request("POST", place.path + "/chat/completions", body)
    wait_until(lambda: server.service.in_flight == 1, "the request is there")
    connection.close()
    wait_until(lambda: server.service.in_flight == 0, "the server has noticed")


def test_streams_are_events(server):
    city = "capital of France"
    _, headers, body = post(server.url, city, stream=True)
    assert headers["Content-Type"] == "text/event-stream"
    lines = [each.removeprefix("data: ") for each in body.decode().split("\n\n") if each]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(each) for each in lines[:-1]]
    pieces = [each["choices"][0]["delta"].get("content") or "" for each in chunks if each["choices"]]
    assert "".join(pieces) == text(server.url, city) and len(pieces) > 5
    assert chunks[-1]["usage"]["total_tokens"] > 0
    with pytest.raises(http.client.IncompleteRead):
        post(server.url, "half", stream=True)


def test_tool_calls(server):
    _, _, body = post(server.url, "weather in Oslo")
    choice = json.loads(body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"] == {
        "name": "weather",
        "arguments": '{"city": "Oslo"}',
    }
    _, _, body = post(server.url, "weather in Oslo", stream=True)
    assert '"tool_calls"' in body.decode() and '\\"Oslo\\"' in body.decode()


def test_it_is_a_program_too(tmp_path):
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(RULES))
    argv = [
        sys.executable,
        ROOT / "tests/lm/server.py",
        "--port",
        "0",
        "--rules",
        rules,
        "--latency",
        "0",
        "--until-eof",
    ]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        url = program.stdout.readline().strip()
        assert text(url, "other") == "nothing"
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)

        def control(method: str, path: str, body: str | None = None):
            connection.request(method, path, body)
            return json.loads(connection.getresponse().read())

        assert control("GET", "/control")["keys"] == {"sk-a": 1}
        assert len(control("GET", "/control/requests?key=sk-a")) == 1
        assert control("POST", "/control", json.dumps({"rules": {"answer": "other rules"}})) == {"ok": True}
        assert text(url, "x") == "other rules" and control("GET", "/control")["keys"] == {"sk-a": 1}
        connection.close()
        program.stdin.close()
        assert program.wait(20) == 0
