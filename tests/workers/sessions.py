"""Commands of sessions: objects in `local`, values in `shared`, and a note of each end in a file.

The environment variable SESSION_ENDS names the file; each session that ends adds a line of JSON to it.
"""

import asyncio
import json
import os
import time

import lair_worker as lair
from lair_worker import _host


@lair.on_session_end
def note_end(session):
    path = os.environ.get("SESSION_ENDS")
    if path is None:
        return
    lasting = session.affinity in ("strict", "exclusive")
    line = {
        "id": session.id,
        "number": session.number,
        "affinity": session.affinity,
        "pid": os.getpid(),
        "local": dict(session.local) if lasting else None,
    }
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, json.dumps(line).encode() + b"\n")
    os.close(file)


def mine():
    session = lair.context().session
    assert session is not None, "the call belongs to no session"
    return session


@lair.command
def whoami():
    """[id, number, affinity, pid]; the first three are null for an anonymous call."""
    session = lair.context().session
    if session is None:
        return [None, None, None, os.getpid()]
    return [session.id, session.number, session.affinity, os.getpid()]


@lair.command
def slow_whoami(seconds):
    time.sleep(seconds)
    return whoami()


# --- local --------------------------------------------------------------------------------------------


@lair.command
def remember(key, value):
    mine().local[key] = value


@lair.command
def recall(key):
    return mine().local.get(key)


@lair.command
def slow_remember(key, value, seconds):
    time.sleep(seconds)
    remember(key, value)


@lair.command
def slow_recall(key, seconds):
    time.sleep(seconds)
    return recall(key)


@lair.command
def count():
    """How many times this has been called in the session, by what is local."""
    local = mine().local
    local["count"] = local.get("count", 0) + 1
    return local["count"]


@lair.command
async def acount(seconds=0):
    """The same, with a gap that a second call of the session would fall into."""
    local = mine().local
    seen = local.get("count", 0)
    await asyncio.sleep(seconds)
    local["count"] = seen + 1
    return seen + 1


# --- shared -------------------------------------------------------------------------------------------


@lair.command
def put(key, value):
    mine().shared.put(key, value)


@lair.command
def get(key, default=None):
    return mine().shared.get(key, default)


@lair.command
def delete(key):
    return mine().shared.delete(key)


@lair.command
def cas(key, expected, value):
    return mine().shared.compare_and_set(key, expected, value)


@lair.command
def create(key, value):
    """Sets a value where there is none."""
    return mine().shared.compare_and_set(key, lair.ABSENT, value)


@lair.command
def delete_if(key, expected):
    return mine().shared.compare_and_set(key, expected, lair.ABSENT)


@lair.command
def keys(prefix=""):
    return mine().shared.keys(prefix)


@lair.command
def slow_put(key, value, seconds):
    time.sleep(seconds)
    put(key, value)


@lair.command
def slow_get(key, seconds):
    time.sleep(seconds)
    return get(key)


@lair.command
def put_many(prefix, n, size=0):
    """`n` values of `size` characters; gives how many have been acknowledged."""
    shared = mine().shared
    for i in range(n):
        shared[f"{prefix}{i}"] = "x" * size
    return n


@lair.command
def add(key, n=1, seconds=0):
    """Reads, waits, writes: calls of a session that overlap would lose some of it."""
    shared = mine().shared
    value = shared.get(key, 0)
    time.sleep(seconds)
    shared[key] = value + n
    return value + n


@lair.command
def report(command, *args):
    """What a command of this module has the host say: [type, kind, message], or null."""
    try:
        globals()[command](*args)
    except lair.HostError as error:
        return [error.type, error.kind, str(error)]
    except RuntimeError as error:
        return ["RuntimeError", None, str(error)]
    return None


@lair.command
async def aput(key, value):
    await mine().shared.put(key, value)


@lair.command
async def aget(key, default=None):
    return await mine().shared.get(key, default)


@lair.command
async def adelete(key):
    return await mine().shared.delete(key)


@lair.command
async def acas(key, expected, value):
    return await mine().shared.compare_and_set(key, expected, value)


@lair.command
async def akeys(prefix=""):
    return await mine().shared.keys(prefix)


@lair.command
async def aadd(key, n=1, seconds=0):
    shared = mine().shared
    value = await shared.get(key, 0)
    await asyncio.sleep(seconds)
    await shared.put(key, value + n)
    return value + n


# --- as they come -------------------------------------------------------------------------------------


@lair.command
def crash():
    os._exit(7)


@lair.command
def sleep(seconds):
    time.sleep(seconds)


@lair.command
async def asleep(seconds):
    await asyncio.sleep(seconds)


@lair.command
def numbers(n):
    """A stream, which counts in what is local."""
    local = mine().local
    for _ in range(n):
        local["count"] = local.get("count", 0) + 1
        yield local["count"]


# --- what is put at the end, and the number of changes ------------------------------------------------


@lair.command
def changes():
    return mine().shared.changes


@lair.command
def changes_of(_):
    return mine().shared.changes


@lair.command
def number_and_changes():
    return [mine().number, mine().shared.changes]


@lair.command
def change_and_count():
    """Changes values four times, and tries to where there is nothing to change."""
    shared = mine().shared
    shared.put("changed", 1)
    shared.delete("nothing")
    shared.compare_and_set("changed", 2, 3)
    shared.compare_and_set("changed", 1, 2)
    shared.delete("changed")
    shared.put_at_end("changed", 3)
    return shared.changes


@lair.command
def put_at_end(key, value):
    """What is there in the middle of the call; and the number of changes that there will be."""
    shared = mine().shared
    shared.put_at_end(key, value)
    return [shared.get(key), shared.changes]


@lair.command
async def aput_at_end(key, value):
    shared = mine().shared
    await shared.put_at_end(key, value)
    return [await shared.get(key), shared.changes]


@lair.command
def put_at_end_and_raise(key, value):
    mine().shared.put_at_end(key, value)
    raise ValueError("after all")


@lair.command
def put_at_end_and_die(key, value):
    mine().shared.put_at_end(key, value)
    os._exit(7)


@lair.command
def put_at_end_of_stream(key, n):
    for i in range(n):
        mine().shared.put_at_end(key, i)
        yield i


@lair.command
def put_at_end_at_gate(key, value, name):
    mine().shared.put_at_end(key, value)
    lair.host.gate(name)


@lair.command
def tell_by_force(what, arguments):
    """Tells the store something that the SDK would not, and also without a session."""
    call, owner = lair.context(), _host.callback.__self__
    frame = _host.request(call, call.generation, 0, _host.STORE + what, arguments, 1 << 20)
    if hasattr(owner, "_line"):
        owner._from_thread(lambda: owner._line.send(frame))
    else:
        owner._channel.send(frame)
    return "told"
