"""Arrays: what a call with one costs beside its bytes."""

import lair_worker as lair


@lair.command
def nothing():
    return None


@lair.command
def look(array):
    return array.memoryview().nbytes


@lair.command
def blank(size):
    return lair.empty(size, "uint8")
