"""Writes far more on stderr than a pipe holds, before and during a call."""

import sys

from framing import answer, read_request

LINES = 4000  # of 100 bytes

while (request := read_request()) is not None:
    for number in range(LINES):
        print(f"{request['command']} {number:06}".ljust(99, "."), file=sys.stderr)
    answer(request, {"status": "ok", "lines": LINES})
    if request["command"] == "shutdown":
        break
