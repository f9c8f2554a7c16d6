"""Stops, as by SIGSTOP, in the middle of a call."""

import os
import signal

import original


def babble(request):
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    original.serve_but(babble)
