"""Answers with NaN, which is not JSON."""

import original


def babble(request):
    original.write_bytes(original.frame(b'{"id": %d, "success": true, "result": NaN}' % request["id"]))


if __name__ == "__main__":
    original.serve_but(babble)
