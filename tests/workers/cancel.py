"""Commands to be cancelled. Each says on stdout that it has begun, and leaves in `notes` what it saw."""

import os
import signal
import socket
import threading
import time

import lair_worker as lair

notes = []
forever = iter(int, 1)  # not `while True: pass`, whose jump CPython knows can't raise


@lair.command
def echo(value=None):
    return value


@lair.command
def take_notes():
    taken, notes[:] = list(notes), []
    return taken


@lair.command
def pid():
    return os.getpid()


@lair.command
def sleep():
    print("begun")
    time.sleep(600)


@lair.command
def spin():
    print("begun")
    for _ in forever:
        pass


@lair.command
def read():
    ours, theirs = socket.socketpair()
    print("begun")
    with ours, theirs:
        ours.recv(1)


@lair.command
def wait_for_a_lock():
    lock = threading.Lock()
    lock.acquire()
    print("begun")
    lock.acquire()


@lair.command
def swallow():
    try:
        print("begun")
        for _ in forever:
            pass
    except BaseException as error:
        notes.append(type(error).__name__)
        return "as if nothing had been"


@lair.command
def convert():
    try:
        print("begun")
        time.sleep(600)
    except lair.Cancelled:
        raise ValueError("something else") from None


@lair.command
def clean_up():
    try:
        print("begun")
        time.sleep(600)
    finally:
        notes.append(f"finally {lair.context().cancelled()} {lair.context().command}")


@lair.command
def in_finally():
    try:
        notes.append("try")
    finally:
        print("begun")
        time.sleep(600)
        notes.append("not reached")


@lair.command
def shielded():
    with lair.shield():
        with lair.shield():
            print("begun")
            while not lair.context().cancelled():
                time.sleep(0.001)
            notes.append("cancelled, and going on")
        notes.append("inner shield ended")
    notes.append("not reached")


@lair.command
def shield_and_raise():
    try:
        with lair.shield():
            print("begun")
            while not lair.context().cancelled():
                time.sleep(0.001)
            raise ValueError("from within")
    except lair.Cancelled as error:
        notes.append(type(error.__context__).__name__)
        raise


@lair.command
def shield_only():
    with lair.shield():
        return "through"


@lair.command
def numbers():
    try:
        print("begun")
        for number in forever:
            yield number
            time.sleep(600)
    finally:
        notes.append("closed")


@lair.command
def fork_and_wait():
    """A forked child, which only waits; then sleeps."""
    child = os.fork()
    if child == 0:
        try:
            for _ in forever:
                pass
        finally:
            os._exit(7)
    notes.append(child)
    try:
        print("begun")
        time.sleep(600)
    finally:
        os.kill(child, 0)  # it is there still
        os.kill(child, 9)
        notes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@lair.command
def fail():
    raise ValueError("at once")


@lair.command
def raise_it():
    raise lair.Cancelled("by hand")


@lair.command
def outside():
    """In another thread there is no call: a shield there does nothing."""
    found = []

    def run():
        with lair.shield():
            found.append("through")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


@lair.command
def hard_of_hearing():
    """Sleeps. The first bell goes unheard, as one that rings just before a sleep begins."""
    bell = signal.SIGRTMAX - 4
    heard = signal.getsignal(bell)

    def once(*_):
        signal.signal(bell, heard)

    signal.signal(bell, once)
    print("begun")
    time.sleep(600)
