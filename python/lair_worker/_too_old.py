"""What an interpreter older than 3.9 gets: an answer on the channel, a line on stderr, exit status 1.

Parsed by Pythons that know none of today's syntax: no annotations, no f-strings, no keyword-only
parameters here.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

import json
import os
import struct
import sys

OLDEST = "3.9"


def refuse():
    """Ends a worker process with the wire's error. Elsewhere (a test, a shell) it only raises ImportError."""
    message = "lair_worker needs Python %s or newer; this is %s.%s.%s (%s)" % (
        (OLDEST,) + tuple(sys.version_info[:3]) + (sys.executable,)
    )
    channel = _channel()
    if channel is None:
        raise ImportError(message)
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
    try:
        _answer(channel, message)
    except (OSError, ValueError):
        pass  # no channel, or a host that is gone: stderr and the status have said it
    os._exit(1)


def _channel():
    """The descriptors to (read, write), or None when nothing says that this process is a worker."""
    named = os.environ.get("LAIR_CHANNEL_FD", "")
    if named.isdigit():
        return int(named), int(named)
    started_as_worker = "LAIR_WORKER_ID" in os.environ or "--worker-id" in sys.argv or sys.argv[:1] == ["-m"]
    if started_as_worker and not os.isatty(0):
        return 0, 1
    return None


def _answer(channel, message):
    source, sink = channel
    (length,) = struct.unpack(">I", _read_exactly(source, 4))
    if length > 1 << 20:
        raise ValueError("not a handshake")
    request = json.loads(_read_exactly(source, length).decode("utf-8"))
    reply = json.dumps(
        {
            "id": request.get("id", 0),
            "success": False,
            "error": message,
            "error_type": "ImportError",
            "traceback": "",
            "stage": "environment",
            "permanent": True,
        }
    ).encode("utf-8")
    os.write(sink, struct.pack(">I", len(reply)) + reply)


def _read_exactly(source, count):
    data = b""
    while len(data) < count:
        piece = os.read(source, count - len(data))
        if not piece:
            raise ValueError("the host is gone")
        data += piece
    return data
