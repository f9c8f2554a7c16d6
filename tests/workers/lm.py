"""The test LM as a worker: it listens on loopback, and tells what it has been asked."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lm"))

import lair_worker as lair
from server import LMServer

server = LMServer()


@lair.on_start
def listen():
    server.__enter__()


@lair.on_stop
def close():
    server.__exit__()


@lair.command
def url():
    return server.url


@lair.command
def set_rules(rules):
    server.set_rules(rules)


@lair.command
def seen(pattern):
    """By API key: how many calls, of which models, and all that fits the pattern in what was asked."""
    found = {key: {"calls": calls, "models": set(), "texts": set()} for key, calls in server.keys().items()}
    for request in server.requests():
        entry = found[request["key"]]
        entry["models"].add(request["model"])
        for message in request["messages"]:
            entry["texts"].update(re.findall(pattern, str(message["content"])))
    return {
        key: {**entry, "models": sorted(entry["models"]), "texts": sorted(entry["texts"])}
        for key, entry in found.items()
    }
