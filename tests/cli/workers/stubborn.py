"""Ignores SIGTERM and the end of stdin, and acknowledges shutdown without ending. Only SIGKILL helps.

stubborn.py PIDFILE: its pid is written there when the command `hang` begins, which never answers.
"""

import os
import signal
import sys

from framing import answer, read_request

for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_IGN)

while (request := read_request()) is not None:
    if request["command"] == "hang":
        with open(sys.argv[1] + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        break
    answer(request, {"status": "ok", "pid": os.getpid()})
while True:
    signal.pause()
