"""Protocol 1 by hand (docs/protocol.md), for programs that know nothing of Lair's SDK."""

import json
import os
import struct


def read_exactly(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            return None
        data += piece
    return data


def read_request():
    """The next request; None at the end of stdin."""
    header = read_exactly(4)
    if header is None:
        return None
    body = read_exactly(struct.unpack(">I", header)[0])
    return None if body is None else json.loads(body)


def send(message):
    body = json.dumps(message).encode()
    data = struct.pack(">I", len(body)) + body
    while data:
        data = data[os.write(1, data) :]


def answer(request, result):
    send({"id": request["id"], "success": True, "result": result, "timestamp": "2026-01-01T00:00:00Z"})


def refuse(request, error):
    send({"id": request["id"], "success": False, "error": error, "timestamp": "2026-01-01T00:00:00Z"})
