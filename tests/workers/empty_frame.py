"""Answers with a frame of length 0."""

import original


def babble(request):
    original.write_bytes(original.frame(b""))


if __name__ == "__main__":
    original.serve_but(babble)
