"""Prints on stdout, where its frames belong: instead of the handshake's reply, or (`late`) of a call's."""

import sys

from framing import answer, read_request

if sys.argv[1:] == ["late"]:
    answer(read_request(), {"status": "ok"})
    read_request()
print("Loading the model, please wait ...", flush=True)
while read_request() is not None:
    pass
