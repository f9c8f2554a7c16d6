"""Starts a thread when it is imported."""

import threading

threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
