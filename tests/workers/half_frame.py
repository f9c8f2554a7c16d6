"""Answers with the first half of a frame, and then not at all."""

import original


def babble(request):
    original.write_bytes(original.good(request)[:9])


if __name__ == "__main__":
    original.serve_but(babble)
