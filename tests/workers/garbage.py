"""Answers with what is not a frame."""

import original


def babble(request):
    original.write_bytes(b"Traceback (most recent call last):\n  this is not a frame\n")


if __name__ == "__main__":
    original.serve_but(babble)
