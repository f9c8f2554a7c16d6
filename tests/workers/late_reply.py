"""Answers, and while it is idle answers once more, a little later."""

import threading

import original


def babble(request):
    original.write_bytes(original.good(request))
    threading.Timer(0.05, original.write_bytes, [original.good(request)]).start()


if __name__ == "__main__":
    original.serve_but(babble)
