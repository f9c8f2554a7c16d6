"""Announces a frame of 2³²−1 bytes."""

import original


def babble(request):
    original.write_bytes(b"\xff\xff\xff\xff")


if __name__ == "__main__":
    original.serve_but(babble)
