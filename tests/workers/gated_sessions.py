"""Commands of sessions that wait where their test wants them to: `host.gate(name)` returns when it says so.

Those of `sessions.py` are here, too.
"""

import os
import sys
import time

import lair_worker as lair
import sessions  # noqa: F401 - its commands are registered
from lair_worker import host
from sessions import mine

notes = []


@lair.command
def gate(name):
    return host.gate(name)


@lair.command
async def agate(name):
    return await host.gate(name)


@lair.command
def gate_then_crash(name):
    host.gate(name)
    os._exit(7)


@lair.command
def gated_numbers(name, n):
    for i in range(n):
        if i == 1:
            host.gate(name)
        mine().shared["number"] = i
        yield i


@lair.command
def take_notes():
    taken, notes[:] = list(notes), []
    return taken


# --- the order of calls -------------------------------------------------------------------------------


@lair.command
def append(value):
    """Reads and writes: calls of one session that overlapped would lose some."""
    shared = mine().shared
    values = shared.get("values", [])
    values.append(value)
    shared["values"] = values
    return values


@lair.command
async def aappend(value):
    shared = mine().shared
    values = await shared.get("values", [])
    values.append(value)
    await shared.put("values", values)
    return values


# --- the store, by force ------------------------------------------------------------------------------


@lair.command
def by_force(what, arguments):
    """What the host answers to a frame that the SDK would not send: its answer, or the kind of error."""
    try:
        return ["answer", host["lair.session." + what](**arguments)]
    except lair.HostError as error:
        return [error.kind, str(error)]


@lair.command
def by_position(what, arguments):
    try:
        return ["answer", host["lair.session." + what](*arguments)]
    except lair.HostError as error:
        return [error.kind, str(error)]


@lair.command
def put_when_over(key, value, path):
    """Puts a value when the call is over for its caller, and the file is there; notes what came of it."""
    with lair.shield():
        sys.stdout.write("begun\n")
        while not lair.context().cancelled() or not os.path.exists(path):
            time.sleep(0.001)
        for _ in range(3):
            try:
                mine().shared.put(key, value)
                notes.append("done")
            except BaseException as error:
                notes.append(type(error).__name__)


@lair.command
def put_and_wait(key, value):
    """Puts a value at once, and again when the call is cancelled."""
    mine().shared.put(key, value)
    try:
        sys.stdout.write("begun\n")
        time.sleep(600)
    finally:
        try:
            mine().shared.put(key, "too late")
            notes.append("done")
        except BaseException as error:
            notes.append(type(error).__name__)


# --- live objects -------------------------------------------------------------------------------------


class Thing:
    """No JSON: it can only stay."""

    def __init__(self):
        self.uses = 0


@lair.command
def use_thing():
    thing = mine().local.setdefault("thing", Thing())
    thing.uses += 1
    return thing.uses


@lair.on_session_end
def hang_or_raise(session):
    local = session.local if session.affinity in ("strict", "exclusive") else {}
    if local.get("at_end") == "raise":
        raise ValueError("at the end")
    while local.get("at_end") == "hang":
        time.sleep(600)
    if local.get("at_end") == "put":
        session.shared.put("at_end", "put")
