"""Answers with a frame that is not JSON."""

import original


def babble(request):
    original.write_bytes(original.frame(b"{nope"))


if __name__ == "__main__":
    original.serve_but(babble)
