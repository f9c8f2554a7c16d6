"""Becomes ready a while after it was loaded: SLOW_START seconds."""

import os
import time

import lair_worker


@lair_worker.on_start
def warm():
    time.sleep(float(os.environ.get("SLOW_START", "0.5")))


@lair_worker.command
def pid():
    return os.getpid()


@lair_worker.command
def nap(seconds):
    time.sleep(seconds)
