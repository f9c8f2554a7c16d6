"""Answers and is dead at once."""

import os
import signal

import original


def babble(request):
    original.write_bytes(original.good(request))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    original.serve_but(babble)
