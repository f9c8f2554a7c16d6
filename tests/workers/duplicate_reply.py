"""Answers twice."""

import original


def babble(request):
    original.write_bytes(2 * original.good(request))


if __name__ == "__main__":
    original.serve_but(babble)
