"""Answers with another request's id."""

import original


def babble(request):
    original.write_bytes(original.good({"id": request["id"] + 7}))


if __name__ == "__main__":
    original.serve_but(babble)
