"""Writes more than any pipe holds, in every way there is, in the middle of its calls."""

import os
import sys


def chatter(megabytes: int) -> int:
    """So many on each of stdout and stderr: by print, by the streams, by their descriptors."""
    line = "x" * 1023
    for _ in range(megabytes * 256):
        print(line)
        print(line, file=sys.stderr)
        sys.stdout.write(line + "\n")
        sys.stderr.write(line + "\n")
        os.write(1, (line + "\n").encode() * 2)
        os.write(2, (line + "\n").encode() * 2)
    return megabytes
