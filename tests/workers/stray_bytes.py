"""Writes what nobody asked for while it is idle."""

import original


def babble(request):
    original.write_bytes(original.good(request) + b"by the way")


if __name__ == "__main__":
    original.serve_but(babble)
