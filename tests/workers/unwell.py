"""Well until it is told to be sick: then its own ping raises."""

import os

sick = False


def ping():
    if sick:
        raise RuntimeError("the model is gone")


def sicken():
    global sick
    sick = True


def recover():
    global sick
    sick = False


def pid() -> int:
    return os.getpid()
