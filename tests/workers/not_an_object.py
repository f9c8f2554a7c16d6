"""Answers with JSON that is not an object."""

import original


def babble(request):
    original.write_bytes(original.frame(b"[1, 2]"))


if __name__ == "__main__":
    original.serve_but(babble)
