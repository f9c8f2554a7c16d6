"""Answers byte by byte."""

import original


def babble(request):
    for byte in original.good(request):
        original.write_bytes(bytes([byte]))


if __name__ == "__main__":
    original.serve_but(babble)
