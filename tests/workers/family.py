"""A worker with a family: on start it leaves three detached processes, and says who they are."""

import os
import time

import lair_worker

PIDS = []


@lair_worker.on_start
def have_children():
    for _ in range(3):
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            child = os.fork()
            if child == 0:
                while True:
                    time.sleep(3600)
            os.write(write, str(child).encode())
            os._exit(0)
        PIDS.append(int(os.read(read, 32)))
        os.wait()


@lair_worker.command
def family():
    return [os.getpid(), *PIDS]


@lair_worker.command
def nap(seconds):
    time.sleep(seconds)
