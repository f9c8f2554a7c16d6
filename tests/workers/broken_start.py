import lair_worker


@lair_worker.on_start
def warm():
    raise RuntimeError("the model file is missing")


@lair_worker.command
def f():
    return 1
