"""Commands whose parameters and results are typed on the other side."""

import os

import lair_worker


@lair_worker.command
def add(a, b):
    return a + b


@lair_worker.command
def echo(*values, **named):
    return list(values) if not named else [list(values), named]


@lair_worker.command
def same(value):
    return value


@lair_worker.command
def codec() -> str:
    from lair_worker import _codec

    return _codec.name


@lair_worker.command
def kinds(*values):
    return [type(value).__name__ for value in values]


@lair_worker.command
def traceparent():
    return lair_worker.context().traceparent


@lair_worker.command
def fail(message):
    raise ValueError(message)


@lair_worker.command
def ask(value):
    """What the host's function makes of it."""
    return lair_worker.host.twice(value)


@lair_worker.command
def dies_once(note, value):
    if os.path.exists(note):
        return value
    with open(note, "x"):
        os._exit(1)
