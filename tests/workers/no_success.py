"""Answers without saying whether it succeeded."""

import original


def babble(request):
    original.write_bytes(original.frame(b'{"id": %d}' % request["id"]))


if __name__ == "__main__":
    original.serve_but(babble)
