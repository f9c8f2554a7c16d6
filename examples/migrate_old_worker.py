"""A worker as the original pool had them: frames and JSON by hand on stdin and stdout; state by session."""

import argparse
import json
import struct
import sys

PROGRAMS = {}  # by session, then by id


def create_program(args):
    PROGRAMS.setdefault(args["session_id"], {})[args["id"]] = args["signature"]
    return {"program_id": args["id"], "status": "created"}


def execute_program(args):
    programs = PROGRAMS.get(args["session_id"], {})
    if args["program_id"] not in programs:
        raise KeyError("Program not found: " + args["program_id"])
    return {"program_id": args["program_id"], "outputs": {"answer": args["inputs"]["question"].upper()}}


def cleanup_session(args):
    return {"status": "cleaned", "programs_removed": len(PROGRAMS.pop(args["session_id"], {}))}


COMMANDS = {
    "ping": lambda args: {"status": "ok", "worker_id": args.get("worker_id")},
    "create_program": create_program,
    "execute_program": execute_program,
    "cleanup_session": cleanup_session,
    "count_words": lambda args: {"words": len(args["text"].split())},
}


def answer(request):
    command = COMMANDS.get(request["command"])
    if command is None:
        return {"success": False, "error": "Unknown command: " + request["command"]}
    try:
        return {"success": True, "result": command(request.get("args", {}))}
    except Exception as error:
        return {"success": False, "error": str(error.args[0])}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--mode", default="standalone")
    options.add_argument("--worker-id")
    options.parse_args()
    while header := sys.stdin.buffer.read(4):
        request = json.loads(sys.stdin.buffer.read(struct.unpack(">I", header)[0]))
        reply = json.dumps({"id": request["id"], "timestamp": 0, **answer(request)}).encode()
        sys.stdout.buffer.write(struct.pack(">I", len(reply)) + reply)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
