"""Reads, and never answers."""

import original


def babble(request):
    pass


if __name__ == "__main__":
    original.serve_but(babble)
