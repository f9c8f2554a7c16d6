"""A traditional worker program: --mode pool-worker --worker-id ID, JSON frames on stdin and stdout."""

import argparse
import os
import sys

from framing import answer, read_request, refuse

parser = argparse.ArgumentParser()
parser.add_argument("--mode", choices=["standalone", "pool-worker"], required=True)
parser.add_argument("--worker-id", required=True)
options = parser.parse_args()

print("ready to work", file=sys.stderr, flush=True)
while (request := read_request()) is not None:
    command, args = request["command"], request.get("args", {})
    if command == "ping":
        answer(request, {"status": "ok", "mode": options.mode, "worker_id": options.worker_id})
    elif command == "add":
        answer(request, args["a"] + args["b"])
    elif command == "environment":
        answer(request, {name: os.environ.get(name) for name in args["names"]})
    elif command == "large":
        answer(request, "x" * args["size"])
    elif command == "shutdown":
        answer(request, {"status": "shutting_down"})
        break
    else:
        refuse(request, f"Unknown command: {command}")
