"""Commands that call the host back."""

import asyncio
import contextvars
import threading
import time

import lair_worker as lair
from lair_worker import host

notes = []


@lair.command
def take_notes():
    taken, notes[:] = list(notes), []
    return taken


@lair.command
def echo(value=None):
    return value


@lair.command
def twice(value):
    return host.double(host.double(value))


@lair.command
async def atwice(value):
    return await host.double(await host.double(value))


@lair.command
def many(n):
    return sum(host.double(i) for i in range(n))


@lair.command
async def together(n):
    return await asyncio.gather(*(host.double(i) for i in range(n)))


@lair.command
def by_name():
    return host["odd-name"](a=1, b=[2])


@lair.command
def both_ways():
    return host.f(1, a=2)


@lair.command
def report():
    try:
        return host.fail()
    except lair.HostError as error:
        return [str(error), error.type, error.message, error.kind, error.traceback]


@lair.command
def uncaught():
    return host.fail()


@lair.command
async def areport():
    try:
        return await host.fail()
    except lair.HostError as error:
        return [str(error), error.type, error.message, error.kind, error.traceback]


@lair.command
def unsendable():
    host.f({"deep": [float("nan")]})


@lair.command
def long_one(size):
    host.f("x" * size)


@lair.command
def in_a_thread():
    found = []

    def run():
        try:
            found.append(host.f())
        except RuntimeError as error:
            found.append(str(error))

    for context in (contextvars.Context(), contextvars.copy_context()):
        thread = threading.Thread(target=context.run, args=(run,))
        thread.start()
        thread.join()
    return found


@lair.command
def wait():
    try:
        return host.slow()
    except BaseException as error:
        notes.append(type(error).__name__)
        raise


@lair.command
async def await_it():
    try:
        return await host.slow()
    except BaseException as error:
        notes.append(type(error).__name__)
        raise


@lair.command
def wait_and_call_again():
    try:
        host.slow()
    finally:
        try:
            host.again()
        except BaseException as error:
            notes.append(type(error).__name__)


@lair.command
def shielded():
    with lair.shield():
        notes.append(host.slow())
        notes.append(lair.context().cancelled())
    notes.append("not reached")


@lair.command
def numbers(n):
    for i in range(n):
        yield host.double(i)


@lair.command
async def anumbers(n):
    for i in range(n):
        yield await host.double(i)


@lair.command
def hasattr_of_host():
    return [hasattr(host, "__deepcopy__"), hasattr(host, "anything")]


@lair.command
async def leave_one_open():
    asyncio.get_running_loop().create_task(_ask())
    await asyncio.sleep(0)
    return "left"


async def _ask():
    notes.append(await host.slow())


@lair.command
async def sleep(seconds):
    await asyncio.sleep(seconds)


@lair.command
async def block():
    try:
        print("begun")
        time.sleep(600)
    except asyncio.CancelledError:
        notes.append("CancelledError")
        raise


@lair.command
async def spin_in_a_coroutine():
    print("begun")
    for _ in iter(int, 1):
        pass


@lair.command
async def async_sleep():
    try:
        print("begun")
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        notes.append("CancelledError")
        raise


@lair.command
async def async_swallow():
    try:
        print("begun")
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        return "as if nothing had been"


@lair.command
async def async_shielded():
    with lair.shield():
        print("begun")
        while not lair.context().cancelled():
            await asyncio.sleep(0.001)
        notes.append("going on")
    notes.append("not reached")


@lair.command
async def cancels_itself():
    raise asyncio.CancelledError("its own")


@lair.command
async def background():
    """A task that is left behind goes on with the next call that runs the loop."""

    async def later():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        notes.append("later")

    asyncio.get_running_loop().create_task(later())


@lair.command
async def about():
    async def inner():
        await asyncio.sleep(0)
        return lair.context().session_id

    own = contextvars.copy_context()
    thread = asyncio.get_running_loop().run_in_executor(None, own.run, _session)
    return [lair.context().session_id, await asyncio.create_task(inner()), await thread]


def _session():
    return lair.context().session_id
