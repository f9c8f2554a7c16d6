"""Its smoke call does what VERIFY says."""

import os
import time

calls = 0


def smoke():
    global calls
    calls += 1
    print("smoking", flush=True)
    what = os.environ.get("VERIFY", "")
    if what == "raise":
        raise ValueError("no weights")
    if what == "hang":
        time.sleep(60)
    if what == "die":
        os._exit(3)
    return


def smoked() -> int:
    return calls
