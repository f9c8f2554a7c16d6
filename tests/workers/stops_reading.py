"""Answers, and reads nothing from then on."""

import time

import original


def babble(request):
    original.write_bytes(original.good(request))
    time.sleep(3600)


if __name__ == "__main__":
    original.serve_but(babble)
