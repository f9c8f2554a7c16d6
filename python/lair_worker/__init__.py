"""The Python side of Lair: turns functions into commands of a warm, supervised worker process.

    import lair_worker as lair

    @lair.command
    def count_words(text: str) -> int:
        return len(text.split())

    if __name__ == "__main__":
        lair.serve()          # also: python3 -m lair_worker textstats

This file and ``_too_old.py`` keep to syntax that any Python can parse, so that an interpreter that is too
old gets a clear answer instead of a SyntaxError.
"""

import sys

__version__ = "0.1.0"

if sys.version_info < (3, 9):
    from lair_worker import _too_old

    _too_old.refuse()

from lair_worker._cancel import Cancelled, shield
from lair_worker._context import Context, context
from lair_worker._registry import command, on_session_end, on_start, on_stop
from lair_worker._worker import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lair_worker._array import Array, empty
    from lair_worker._host import HostError, host
    from lair_worker._session import Session
    from lair_worker._shared import ABSENT


def __getattr__(name):  # type: ignore[no-untyped-def]
    """What only few workers need is imported when it is asked for, and stays."""
    if name in ("HostError", "host"):
        from lair_worker import _host as module
    elif name in ("Array", "empty"):
        from lair_worker import _array as module
    elif name == "ABSENT":
        from lair_worker import _shared as module
    elif name == "Session":
        from lair_worker import _session as module
    else:
        raise AttributeError("module 'lair_worker' has no attribute " + repr(name))
    value = globals()[name] = getattr(module, name)
    return value


__all__ = [
    "ABSENT",
    "Array",
    "Cancelled",
    "Context",
    "HostError",
    "Session",
    "__version__",
    "command",
    "context",
    "empty",
    "host",
    "on_session_end",
    "on_start",
    "on_stop",
    "serve",
    "shield",
]
