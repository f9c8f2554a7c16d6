"""What bench/inflight calls: shared sleeps, commands to be cancelled, streams, host functions."""

import asyncio
import os
import socket
import time

import lair_worker as lair
from lair_worker import host


@lair.command
async def nap(seconds):
    await asyncio.sleep(seconds)


@lair.command
def empty():
    pass


@lair.command
def pid():
    return os.getpid()


# --- To be cancelled: each calls the host when it has begun --------------------------------------------


@lair.command
def sleeps():
    host.begun()
    time.sleep(600)


@lair.command
def loops():
    host.begun()
    for _ in iter(int, 1):
        pass


@lair.command
def reads():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        host.begun()
        ours.recv(1)


@lair.command
async def awaits():
    await host.begun()
    await asyncio.sleep(600)


@lair.command
def yields():
    host.begun()
    while True:
        yield 1
        time.sleep(600)


# --- Streams, callbacks ----------------------------------------------------------------------------------


@lair.command
def numbers(count):
    return iter(range(count))


@lair.command
def calls_back(count):
    for _ in range(count):
        host.tick()
