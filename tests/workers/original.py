"""A worker of the original pool, as its users wrote them: protocol 1 by hand, on stdin and stdout.

The misbehaving workers beside it import its pieces.
"""

import datetime
import json
import os
import struct
import sys


def read_exactly(size):
    data = b""
    while len(data) < size:
        piece = sys.stdin.buffer.read(size - len(data))
        if not piece:
            return None
        data += piece
    return data


def read_request():
    header = read_exactly(4)
    if header is None:
        return None
    return json.loads(read_exactly(struct.unpack(">I", header)[0]))


def frame(payload):
    return struct.pack(">I", len(payload)) + payload


def write_bytes(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def reply(request, result, success=True):
    stamp = datetime.datetime.utcnow().isoformat()
    key = "result" if success else "error"
    body = {"id": request["id"], "success": success, key: result, "timestamp": stamp}
    write_bytes(frame(json.dumps(body).encode()))


def good(request, result="late"):
    """A good reply, as the bytes of its frame."""
    return frame(json.dumps({"id": request["id"], "success": True, "result": result}).encode())


def worker_id():
    return sys.argv[sys.argv.index("--worker-id") + 1] if "--worker-id" in sys.argv else None


def answer(request):
    command, args = request["command"], request.get("args", {})
    if command == "ping":
        reply(request, {"status": "ok", "worker_id": worker_id(), "mode": "pool-worker"})
    elif command == "echo":
        reply(request, args)
    elif command == "pid":
        reply(request, os.getpid())
    elif command == "fail":
        reply(request, "Program execution failed: no", success=False)
    elif command == "shutdown":
        reply(request, {"status": "shutting_down"})
        sys.exit(0)
    else:
        reply(request, "Unknown command: " + command, success=False)


def serve(answer=answer):
    while True:
        request = read_request()
        if request is None:
            return
        answer(request)


def serve_but(babble):
    """Serves well, but for the command `babble`, which is left to `babble(request)`."""
    serve(lambda request: babble(request) if request["command"] == "babble" else answer(request))


if __name__ == "__main__":
    serve()
