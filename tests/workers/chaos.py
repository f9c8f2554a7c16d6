"""What the chaos tests call. Every execution is noted in a file, before anything else; replies may be spoilt.

As a module it is served by the SDK; as a program it speaks the original protocol by hand.
"""

import os
import signal
import struct
import threading
import time

__all__ = ["act"]

# Appended to by all workers: one small write per execution, whole or absent also when its writer is killed.
journal = os.open(os.environ["LAIR_TEST_JOURNAL"], os.O_WRONLY | os.O_APPEND)

spoil = None  # how the next reply is to be spoilt
last = b""  # the frame of the reply before


def act(number, deed="well", amount=0, padding=""):
    """Notes the execution of call `number`, does the deed, returns the number and the padding."""
    global spoil
    os.write(journal, struct.pack("=II", number, os.getpid()))
    if deed == "raise":
        raise ValueError(f"call {number}.")
    if deed == "nap":
        time.sleep(amount / 1000)
    elif deed == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif deed == "leave":
        os._exit(3)
    elif deed == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif deed in SPOILT:
        spoil = deed
    return [number, padding or chr(ord("a") + number % 26) * amount]


def late(frame, write):
    write(frame)
    threading.Timer(0.005, write, [frame]).start()


SPOILT = {
    "garbage": lambda frame, write: write(b"Traceback (most recent call last):\n  not a frame\n"),
    "twice": lambda frame, write: write(2 * frame),
    "stray": lambda frame, write: write(frame + b"by the way"),
    "late": late,
    "another": lambda frame, write: write(last or b"nothing was said before"),
    "half": lambda frame, write: write(frame[: len(frame) // 2]),
    "silent": lambda frame, write: None,
}


def send(frame, write):
    """Writes a reply's frame, or what is to be written instead."""
    global last, spoil
    how, spoil = spoil, None
    SPOILT[how](frame, write) if how else write(frame)
    last = frame


def serve_original():
    import original

    def answer(request):
        if request["command"] != "act":
            return original.answer(request)
        try:
            body = {"success": True, "result": act(**request["args"])}
        except Exception as error:
            body = {"success": False, "error": str(error)}
        text = original.json.dumps({"id": request["id"], **body}).encode()
        return send(original.frame(text), original.write_bytes)

    original.serve(answer)


def spoil_sdk():
    from lair_worker import _channel

    class Spoilt(_channel.Channel):
        def send(self, payload):
            def write(data):
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self.sink, rest) :]

            send(struct.pack(">I", len(payload)) + payload, write)

    _channel.Channel.send = Spoilt.send


if __name__ == "__main__":
    serve_original()
else:
    spoil_sdk()
