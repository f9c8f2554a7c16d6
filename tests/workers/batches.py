"""Commands for maps: quick ones, and ones that break off in the middle."""

import os
import time
from pathlib import Path

import lair_worker as lair


@lair.command
def add(a, b=1):
    return a + b


@lair.command
def same(value):
    return value


@lair.command
def pid(_):
    return os.getpid()


@lair.command
def meet(folder):
    """Until two workers are here."""
    Path(folder, str(os.getpid())).touch()
    while len(os.listdir(folder)) < 2:
        time.sleep(0.001)
    return os.getpid()


@lair.command
def odd(n):
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n


@lair.command
def text(n):
    return "x" * n


@lair.command
def die_at(n, at):
    if n == at:
        os._exit(3)
    return n


@lair.command
def die_once_at(n, at, flag):
    """Dies the first time that it comes there."""
    if n == at and not Path(flag).exists():
        Path(flag).touch()
        os._exit(3)
    return n


@lair.command
def hang_at(n, at):
    while n == at:
        time.sleep(0.01)
    return n


@lair.command
def nap(_):
    time.sleep(0.002)


@lair.command
def ask(n):
    return lair.host.twice(n)


@lair.command
def session(_):
    return lair.context().session_id


@lair.command
def items(n):
    yield from range(n)


@lair.command
async def later(n):
    return n
