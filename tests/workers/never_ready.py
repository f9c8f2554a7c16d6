"""Starts, says so on stderr, and never answers the handshake."""

import sys
import time

print("loading a model that never comes", file=sys.stderr, flush=True)
time.sleep(3600)
