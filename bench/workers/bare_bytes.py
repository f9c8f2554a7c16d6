"""The floor under everything: gives back the bytes that it reads."""

import os

while received := os.read(0, 1 << 16):
    os.write(1, received)
