"""The commands that every worker has. A user's command of the same name wins, ``shutdown`` excepted."""

from __future__ import annotations

import os
import sys
from time import monotonic, time

from lair_worker._context import context, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from lair_worker._worker import Worker

PYTHON_VERSION = ".".join(map(str, sys.version_info[:3]))


def standard_commands(worker: Worker) -> dict[str, Callable[..., Any]]:
    """Bound to their worker. They ignore arguments that they don't know, as the traditional ones did."""

    def ping(*_: Any, **__: Any) -> dict[str, Any]:
        return {
            "status": "ok",
            "timestamp": time(),
            "uptime": monotonic() - worker.started,
            "worker_id": identity.worker_id,
            "mode": worker.mode,
            "python": PYTHON_VERSION,
            "pid": os.getpid(),
        }

    def get_stats(*_: Any, **__: Any) -> dict[str, Any]:
        return {
            "command_count": worker.command_count,
            "error_count": worker.error_count,
            "uptime": monotonic() - worker.started,
            "memory_usage": _memory_usage(),
        }

    def cleanup(*_: Any, **__: Any) -> dict[str, Any]:
        import gc

        return {"status": "cleaned", "objects_collected": gc.collect()}

    def cleanup_session(session_id: Any = None, *_: Any, **__: Any) -> dict[str, Any]:
        # The session of a call that belongs to a numbered one is ended when the call is: see _session.
        call = context()
        own = call.session_id
        if own is None:
            own = session_id
        elif session_id not in (None, own):
            raise ValueError(f"a call of session {own!r} can't clean up session {session_id!r}")
        if type(own) is str and "session_number" not in call.meta:
            from lair_worker import _session

            _session.sessions.end_by_id(own)
        return {"status": "cleaned", "session_id": own}

    def reset_state(*_: Any, **__: Any) -> dict[str, Any]:
        commands, errors = worker.command_count, worker.error_count
        worker.command_count = worker.error_count = 0
        return {"status": "reset", "commands_reset": commands, "errors_reset": errors}

    def shutdown(*_: Any, **__: Any) -> dict[str, Any]:
        worker.ending.requested = True
        loaded = sys.modules.get("lair_worker._session")
        return {
            "status": "shutting_down",
            "worker_id": identity.worker_id,
            "mode": worker.mode,
            "sessions_cleaned": len(loaded.sessions.known) if loaded else 0,  # they end with the worker
        }

    every = (ping, get_stats, cleanup, cleanup_session, reset_state, shutdown)
    return {each.__name__: each for each in every}


def _memory_usage() -> dict[str, int]:
    """Bytes, from the kernel: the whole address space and what of it is in memory."""
    with open("/proc/self/statm", "rb") as file:
        pages = file.read().split()
    size = os.sysconf("SC_PAGE_SIZE")
    return {"rss": int(pages[1]) * size, "vms": int(pages[0]) * size}
