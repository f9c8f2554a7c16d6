"""Streams of every sort. `notes` says what the generators saw."""

import gc
import itertools
import os
import sys
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
def count(n):
    try:
        yield from range(n)
    finally:
        notes.append("closed")


@lair.command
def count_and_say(n):
    for i in range(n):
        notes.append(i)
        yield i


@lair.command
def texts(lengths):
    for length in lengths:
        yield "x" * length


@lair.command
def fail_after(n):
    yield from range(n)
    raise ValueError("in mid-stream")


@lair.command
def nan_after(n):
    try:
        yield from range(n)
        yield {"a": [float("nan")]}
    finally:
        notes.append("closed")


@lair.command
def two_then_rest():
    yield 1
    yield 2
    yield 3
    print("resting")
    time.sleep(600)


@lair.command
def bursts(n):
    for i in range(n):
        yield from (3 * i, 3 * i + 1, 3 * i + 2)
        time.sleep(0.01)
    time.sleep(600)


@lair.command
async def abursts(n):
    import asyncio

    for i in range(n):
        for j in range(3):
            yield 3 * i + j
        await asyncio.sleep(0.01)
    await asyncio.sleep(600)


@lair.command
def spin_after(n):
    yield from range(n)
    print("spinning")
    for _ in iter(int, 1):
        pass


@lair.command
def clean_up_loudly():
    try:
        yield 1
        time.sleep(600)
    finally:
        raise ValueError("while closing")


@lair.command
def stubborn():
    while True:
        try:
            yield 1
        except GeneratorExit:
            notes.append("not now")


@lair.command
def about():
    yield lair.context().session_id
    yield lair.context().command


@lair.command
def returns_a_generator(n):
    return (i * i for i in range(n))


@lair.command
def returns_a_map(n):
    return map(str, range(n))


@lair.command
def asks_then_rests():
    host.begun()
    time.sleep(600)
    yield 1


@lair.command
def asks_then_counts(n):
    host.begun()
    yield from range(n)


@lair.command
def pid():
    return os.getpid()


# --- Iterators that run no Python code -----------------------------------------------------------------


@lair.command
def counts_in_c():
    return itertools.count()


@lair.command
def until_another_thread_has_run():
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.01, lock.release).start()
    return iter(lock.locked, False)


class Countdown:
    """Has no ``close``, and is no generator."""

    def __init__(self, n):
        self.left = n

    def __next__(self):
        self.left -= 1
        if self.left < 0:
            raise StopIteration("what a return would give")
        return {"left": self.left, "text": "é" * 3, "more": [None, True, 0.5, -7]}


@lair.command
def countdown(n):
    return Countdown(n)


# --- Odd items -----------------------------------------------------------------------------------------


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


@lair.command
def nests(depth):
    yield 1
    yield nested(depth)


@lair.command
async def anests(depth):
    yield 1
    yield nested(depth)


@lair.command
def large_then_fail(n, length):
    for i in range(n):
        yield [str(i) * length, {"i": i + 1000}]
    raise ValueError("in mid-stream")


@lair.command
def allocated():
    gc.collect()
    return sys.getallocatedblocks()


@lair.command
async def returns_an_async_generator(n):
    return acount(n)


@lair.command
async def acount(n):
    import asyncio

    try:
        for i in range(n):
            yield i
            if i % 3 == 0:
                await asyncio.sleep(0)
    finally:
        notes.append("closed")


@lair.command
async def atwo_then_rest():
    import asyncio

    yield 1
    yield 2
    yield 3
    print("resting")
    await asyncio.sleep(600)


@lair.command
async def afail_after(n):
    for i in range(n):
        yield i
    raise ValueError("in mid-stream")
