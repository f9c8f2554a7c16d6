"""``python3 -m lair_worker MODULE``: serves a module's commands.

The package's ``__init__`` has checked the interpreter's version by now.
"""

from __future__ import annotations

import os
import sys

from lair_worker._worker import option, serve_target

USAGE = """\
usage: python3 -m lair_worker [--mode MODE] [--worker-id ID] MODULE

Serves the commands of a Python module to the program that started this process.

  MODULE          a module's name (found as by python -m: the current directory first),
                  or the path of a .py file
  --mode MODE     standalone or pool-worker; only reported by the command ping
  --worker-id ID  the worker's name, where LAIR_WORKER_ID and the handshake give none
  --version       prints the version
  -h, --help      prints this

The commands are the functions decorated with @lair_worker.command; if there are none, the functions
that the module's __all__ names, else the public functions that it defines.

Frames travel on the socket that LAIR_CHANNEL_FD names, else on stdin and stdout.
"""


def main(arguments: list[str]) -> int:
    """Parses by hand: argparse would take longer to import than all of the SDK."""
    if arguments[:1] == ["--warm-parent"]:
        if len(arguments) < 2 or "LAIR_CHANNEL_FD" not in os.environ:
            return _wrong("--warm-parent is for pools with start = 'fork'")
        from lair_worker import _warm

        arguments = _warm.run(arguments[1:])  # comes back in the workers that it forks
    target = None
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-h", "--help"):
            sys.stdout.write(USAGE)
            return 0
        if argument == "--version":
            from lair_worker import __version__

            print("lair-worker " + __version__)
            return 0
        if argument in ("--mode", "--worker-id"):
            if next(rest, None) is None:
                return _wrong(argument + " needs a value")
        elif argument.startswith(("--mode=", "--worker-id=")):
            pass
        elif argument.startswith("-"):
            return _wrong("unknown option " + argument)
        elif target is None:
            target = argument
        else:
            return _wrong("one module is expected, not also " + argument)
    if target is None:
        return _wrong("which module?")
    mode = option(arguments, "--mode")
    if mode not in (None, "standalone", "pool-worker"):
        return _wrong("--mode is standalone or pool-worker, not " + mode)
    if "LAIR_CHANNEL_FD" not in os.environ and os.isatty(0):
        return _wrong("stdin is a terminal; a worker is started by the program that calls it")
    serve_target(target, arguments)


def _wrong(what: str) -> int:
    sys.stderr.write("lair_worker: " + what + "\n" + USAGE)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
