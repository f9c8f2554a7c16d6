"""Commands of which several run at a time: coroutines, thread-safe functions, and one that is neither."""

import asyncio
import contextvars
import threading
import time

import lair_worker as lair
from lair_worker import host

notes = []
gates = {}


@lair.command
async def take_notes():
    taken, notes[:] = list(notes), []
    return taken


@lair.command
async def echo(value=None):
    return value


@lair.command
async def sleep(seconds, value=None):
    await asyncio.sleep(seconds)
    return value


@lair.command
async def wait(gate):
    notes.append(f"waits {gate}")
    try:
        await gates.setdefault(gate, asyncio.Event()).wait()
    except asyncio.CancelledError:
        notes.append(f"cancelled {gate} {lair.context().cancelled()}")
        raise
    return gate


@lair.command
async def open_gate(gate):
    gates.setdefault(gate, asyncio.Event()).set()


@lair.command
async def swallow(gate):
    try:
        await gates.setdefault(gate, asyncio.Event()).wait()
    except asyncio.CancelledError:
        return "as if nothing had been"


@lair.command
async def shielded():
    with lair.shield():
        notes.append("begun")
        while not lair.context().cancelled():
            await asyncio.sleep(0.001)
        notes.append("going on")
    notes.append("not reached")


@lair.command
async def block():
    """A coroutine that keeps the loop from running."""
    print("begun")
    time.sleep(600)


@lair.command
async def about():
    async def inner():
        await asyncio.sleep(0)
        return lair.context().session_id

    own = contextvars.copy_context()
    thread = asyncio.get_running_loop().run_in_executor(None, own.run, session)
    await asyncio.sleep(0.001)
    return [lair.context().session_id, await asyncio.create_task(inner()), await thread]


def session():
    return lair.context().session_id


@lair.command
async def double(x):
    return await host.double(x)


@lair.command
async def count(n):
    try:
        for i in range(n):
            yield i
            await asyncio.sleep(0)
    finally:
        notes.append("closed")


@lair.command
async def fail():
    await asyncio.sleep(0)
    raise ValueError("in a task")


@lair.command
async def exits():
    raise SystemExit(3)


# --- in threads ---------------------------------------------------------------------------------------


@lair.command(thread_safe=True)
def t_meet(n):
    """Returns when n of it run."""
    with lock:
        barrier = gates.setdefault("barrier", threading.Barrier(n))
    barrier.wait(60)
    return threading.current_thread().name


lock = threading.Lock()


@lair.command(thread_safe=True)
def t_spin(name):
    notes.append(f"spins {name}")
    try:
        for _ in iter(int, 1):
            pass
    except lair.Cancelled:
        notes.append(f"cancelled {name} {lair.context().cancelled()}")
        raise


@lair.command(thread_safe=True)
def t_swallow():
    notes.append("begun")
    try:
        for _ in iter(int, 1):
            pass
    except BaseException:
        return "as if nothing had been"


@lair.command(thread_safe=True)
def t_shielded():
    with lair.shield():
        with lair.shield():
            notes.append("begun")
            while not lair.context().cancelled():
                pass
        notes.append("going on")
    notes.append("not reached")


@lair.command(thread_safe=True)
def t_cleans_up_in_a_shield():
    notes.append("begun")
    try:
        for _ in iter(int, 1):
            pass
    finally:
        with lair.shield():
            notes.append("clean")


@lair.command(thread_safe=True)
def t_work(rounds):
    for _ in range(rounds):
        pass
    return rounds


@lair.command(thread_safe=True)
def t_about():
    return session()


@lair.command(thread_safe=True)
def t_double(x):
    return host.double(host.double(x))


@lair.command(thread_safe=True)
def t_slow():
    try:
        return host.slow()
    except lair.Cancelled:
        notes.append("Cancelled")
        raise
    except lair.HostError as error:
        return [error.type, error.message]


@lair.command(thread_safe=True)
def t_count(n):
    try:
        yield from range(n)
    finally:
        notes.append("closed")


@lair.command(thread_safe=True)
def t_in_another_thread():
    found = []

    def run():
        try:
            found.append(host.f())
        except RuntimeError as error:
            found.append(str(error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
    thread.start()
    thread.join()
    return found[0]


@lair.command(thread_safe=True)
def t_fail():
    raise ValueError("in a thread")


@lair.command(thread_safe=True)
def t_hang():
    print("hanging")
    time.sleep(600)


# --- one at a time ------------------------------------------------------------------------------------

inside = 0


@lair.command
def plain(rounds):
    """Not thread-safe: fails if another one of it runs."""
    global inside
    inside += 1
    assert inside == 1
    for _ in range(rounds):
        pass
    assert inside == 1
    inside -= 1
    return threading.get_ident()


@lair.command
def plain_spin():
    notes.append("plain spins")
    for _ in iter(int, 1):
        pass
