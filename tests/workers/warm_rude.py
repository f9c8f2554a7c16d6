"""A module that changes, when it is imported, what belongs to the whole process."""

import os
import signal
import sys

signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
os.environ["WARM_RUDE"] = "1"
print("rude on stdout")
print("rude on stderr", file=sys.stderr)
sys.stdout.write("not a whole line")
