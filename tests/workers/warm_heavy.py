"""Notes each of its imports, by a line with the process's pid in the file that WARM_NOTE names."""

import os
import random

with open(os.environ["WARM_NOTE"], "a", encoding="ascii") as note:
    note.write(f"{os.getpid()}\n")

FIRST = random.random()  # also has every worker inherit a generator that has been used
