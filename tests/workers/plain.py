"""A plain module: its public functions are the commands."""

import os
import signal
import sys
import time

import lair_worker

__all__ = [
    "add",
    "big",
    "big_int",
    "boom",
    "context",
    "crash",
    "cwd",
    "dies_once",
    "echo",
    "env",
    "exit_now",
    "grandchild",
    "items",
    "nan",
    "nap",
    "noise",
    "not_json",
    "pid",
    "spin",
    "text_with_surrogate",
]


def add(a: int, b: int = 1) -> int:
    """The sum."""
    return a + b


def echo(value):
    return value


def pid():
    return os.getpid()


def nap(seconds, note=None):
    """Sleeps. `note`: a file to make first, so that it can be seen from outside that the call has begun."""
    if note is not None:
        with open(note, "x"):
            pass
    time.sleep(seconds)
    return seconds


def spin():
    while True:
        pass


def boom(message="a bad thing"):
    raise ValueError(message)


def crash():
    print("about to crash", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def dies_once(note):
    """Kills its worker if there is no such file yet, having made it."""
    if os.path.exists(note):
        return "second time"
    with open(note, "x"):
        os._exit(1)


def exit_now(status):
    os._exit(status)


def env(name):
    return os.environ.get(name)


def cwd():
    return os.getcwd()


def nan():
    return {"scores": [0.5, float("nan")]}


def not_json():
    return {"thing": object()}


def text_with_surrogate():
    return "\udc80"


def big(size):
    return "x" * size


def items(count):
    return [f"item {i}" for i in range(count)]


def big_int(exponent):
    return 2**exponent


def noise(lines):
    for i in range(lines):
        print("out", i)
        print("err", i, file=sys.stderr)
    os.write(1, b"straight to fd 1\n")
    return lines


def grandchild():
    """Leaves a process behind that has detached itself from everything but our pipes. Returns its pid."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        child = os.fork()
        if child == 0:
            time.sleep(3600)
            os._exit(0)
        os.write(write, str(child).encode())
        os._exit(0)
    return int(os.read(read, 32))


def context():
    current = lair_worker.context()
    return {
        "worker_id": current.worker_id,
        "slot": current.slot,
        "generation": current.generation,
        "session_id": current.session_id,
        "traceparent": current.traceparent,
        "remaining": current.remaining(),
    }
