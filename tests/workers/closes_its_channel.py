"""Closes its channel and lives on."""

import os
import time

import original


def babble(request):
    os.close(1)
    os.close(0)
    time.sleep(3600)


if __name__ == "__main__":
    original.serve_but(babble)
