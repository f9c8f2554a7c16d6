"""The worker itself: its counters, memory and mode."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any

_started = time.monotonic()
commands = 0
errors = 0


async def told(doing: Awaitable[Any]) -> Any:
    """The result of a command, counted."""
    global commands, errors
    commands += 1
    try:
        return await doing
    except Exception:
        errors += 1
        raise


async def told_stream(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The items of a command, counted as one."""
    global commands, errors
    commands += 1
    try:
        async with aclosing(items) as each:  # type: ignore[type-var]
            async for item in each:
                yield item
    except Exception:
        errors += 1
        raise


def reset() -> tuple[int, int]:
    """Counters start over; what they were."""
    global commands, errors
    before = commands, errors
    commands = errors = 0
    return before


def uptime() -> float:
    """Seconds."""
    return time.monotonic() - _started


def mode() -> str:
    """``pool-worker`` or ``standalone``: as the command line says, else by whether there is a pool."""
    arguments = sys.argv[1:]
    for at, each in enumerate(arguments):
        if each == "--mode" and at + 1 < len(arguments):
            return arguments[at + 1]
        if each.startswith("--mode="):
            return each.partition("=")[2]
    return "pool-worker" if "LAIR_POOL" in os.environ or "LAIR_SLOT" in os.environ else "standalone"


def memory_usage() -> dict[str, float]:
    """Bytes, from the kernel, and the part of the machine's memory in per cent."""
    page = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/statm", encoding="ascii") as file:
        size, resident = file.read().split()[:2]
    whole = os.sysconf("SC_PHYS_PAGES") * page
    rss = int(resident) * page
    return {"rss": rss, "vms": int(size) * page, "percent": round(100 * rss / whole, 2)}
