"""Ignores SIGTERM, acknowledges `shutdown` and stays, and spins when its channel is closed."""

import signal

import original


def answer(request):
    if request["command"] == "shutdown":
        original.reply(request, {"status": "shutting_down"})
    elif request["command"] == "hang":
        while True:
            pass
    else:
        original.answer(request)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        original.serve(answer)
