"""What the test LM answers: the first rule that fits a prompt, filled in the form that the prompt asks for.

    {"latency": 0.2,
     "rules": [{"match": "capital of (\\w+)", "answer": {"answer": "the capital of $1"}},
               {"match": "boom", "fault": 500, "times": 2},
               {"key": "sk-b", "answer": "plain text"},
               {"match": "weather", "tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}],
     "answer": {"answer": "I don't know"}}

A rule fits if all that it names does: `match` (a regular expression, on the last message or, with `"in":
"all"`, on the whole prompt), `key` (the API key), `model`. `times` is how often it fits. An `answer` is a
text, or values by field: then the reply has the fields that the prompt asks for, in DSPy's chat, JSON or
XML form, and those that the rule leaves out are made up. `$1` is a group of the match, `{question}` an
input field of the last message.

`fault`: a status (401, 429, 500, ...), "hang", "disconnect", "disconnect_midstream", "broken_json",
"empty". `latency` are seconds before the answer begins, `token_delay` between the tokens of a stream. With
`wait_for` N nobody is answered before N requests have been under way at the same time.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_MARK = re.compile(r"\[\[ ## (\w+) ## \]\]")
_ASKS = "Respond with"


@dataclass
class Reply:
    """One answer, as the server is to give it."""

    text: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    fault: Any = None
    retry_after: Any = None
    latency: float = 0.0
    wait_for: int = 0
    token_delay: float = 0.0


class Rules:
    """A rule file, and how often its rules have fitted."""

    def __init__(self, given: dict[str, Any] | None = None) -> None:
        given = given or {}
        self.latency = float(given.get("latency", 0))
        self.token_delay = float(given.get("token_delay", 0))
        self._default = given.get("answer", {})
        self._rules = [dict(rule) for rule in given.get("rules", [])]
        for rule in self._rules:
            rule["pattern"] = re.compile(rule.get("match", ""), re.DOTALL)

    def reply(self, request: dict[str, Any], key: str) -> Reply:
        """The answer to a request's body."""
        messages = [_text(message) for message in request.get("messages", [])]
        last, everything = (messages or [""])[-1], "\n".join(messages)
        told = last.rpartition(_ASKS)[0] if _ASKS in last else last
        for rule in self._rules:
            found = rule["pattern"].search(everything if rule.get("in") == "all" else told)
            if (
                found is None
                or rule.get("key", key) != key
                or rule.get("model", request["model"]) != request["model"]
            ):
                continue
            if "times" in rule:
                if rule["times"] <= 0:
                    continue
                rule["times"] -= 1
            return Reply(
                _answer(rule.get("answer", self._default), found, last, everything, request),
                _tool_calls(rule.get("tool_calls", []), found, last),
                rule.get("fault"),
                rule.get("retry_after"),
                float(rule.get("latency", self.latency)),
                int(rule.get("wait_for", 0)),
                float(rule.get("token_delay", self.token_delay)),
            )
        text = _answer(self._default, None, last, everything, request)
        return Reply(text, latency=self.latency, token_delay=self.token_delay)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def _tool_calls(given: list[dict[str, Any]], found: Any, last: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {
                "name": each["name"],
                "arguments": _filled(json.dumps(each.get("arguments", {})), found, last),
            },
        }
        for number, each in enumerate(given)
    ]


def _answer(answer: Any, found: Any, last: str, everything: str, request: dict[str, Any]) -> str:
    if isinstance(answer, str):
        return _filled(answer, found, last)
    values = {name: _value(value, found, last) for name, value in answer.items()}
    if "[[ ## completed ## ]]" in everything and "response_format" not in request:
        asked = _MARK.findall(last.rpartition(_ASKS)[2]) if _ASKS in last else list(values)
        parts = [f"[[ ## {name} ## ]]\n{_shown(values, name)}\n" for name in asked if name != "completed"]
        return "\n".join([*parts, "[[ ## completed ## ]]\n"])
    if "JSON object" in last or "response_format" in request:
        asked = re.findall(r"`(\w+)`", last.rpartition(_ASKS)[2]) or list(values)
        return json.dumps({name: values.get(name, _made_up(name)) for name in asked})
    asked = re.findall(r"`<(\w+)>`", last.rpartition(_ASKS)[2]) or list(values)
    if asked and "<" in everything:
        return "\n".join(f"<{name}>\n{_shown(values, name)}\n</{name}>" for name in asked)
    return "\n".join(_shown(values, name) for name in values)


def _value(value: Any, found: Any, last: str) -> Any:
    if isinstance(value, dict):
        return {name: _value(each, found, last) for name, each in value.items()}
    return _filled(value, found, last) if isinstance(value, str) else value


def _shown(values: dict[str, Any], name: str) -> str:
    value = values.get(name, _made_up(name))
    return value if isinstance(value, str) else json.dumps(value)


def _made_up(name: str) -> str:
    return "Let me think." if name == "reasoning" else f"some {name}"


def _filled(text: str, found: Any, last: str) -> str:
    if found is not None:
        text = re.sub(r"\$(\d)", lambda each: found[int(each[1])] or "", text)
    if "{" not in text:
        return text
    pieces = _MARK.split(last.rpartition(_ASKS)[0])
    inputs = {name: value.strip() for name, value in zip(pieces[1::2], pieces[2::2], strict=True)}
    return re.sub(r"\{(\w+)\}", lambda each: inputs.get(each[1], each[0]), text)
