"""Knows one command, and the handshake's ping only for the first time, as a program may."""

import original

greeted = False


def answer(request):
    global greeted
    if request["command"] == "ping" and greeted:
        original.reply(request, "Unknown command: ping", success=False)
    else:
        greeted = greeted or request["command"] == "ping"
        original.answer(request)


if __name__ == "__main__":
    original.serve(answer)
