"""Well behaved until it is asked to misbehave: `babble` with args.how."""

import os
import signal
import time

import original

GOOD = b'{"id": %d, "success": true, "result": "late"}'


def answer(request):
    if request["command"] != "babble":
        return original.answer(request)
    number = request["id"]
    how = request["args"]["how"]
    good = original.frame(GOOD % number)
    if how == "garbage":
        original.write_bytes(b"Traceback (most recent call last):\n  this is not a frame\n")
    elif how == "huge_length":
        original.write_bytes(b"\xff\xff\xff\xff")
    elif how == "half_frame":
        original.write_bytes(good[:9])
    elif how == "silence":
        pass
    elif how == "not_json":
        original.write_bytes(original.frame(b"{nope"))
    elif how == "not_object":
        original.write_bytes(original.frame(b"[1, 2]"))
    elif how == "nan":
        original.write_bytes(original.frame(b'{"id": %d, "success": true, "result": NaN}' % number))
    elif how == "wrong_id":
        original.write_bytes(original.frame(GOOD % (number + 7)))
    elif how == "no_success":
        original.write_bytes(original.frame(b'{"id": %d}' % number))
    elif how == "empty_frame":
        original.write_bytes(original.frame(b""))
    elif how == "twice":
        original.write_bytes(good + good)
    elif how == "one_byte_writes":
        for i in range(len(good)):
            original.write_bytes(good[i : i + 1])
    elif how == "closes_channel":
        os.close(1)
        os.close(0)
        time.sleep(3600)
    elif how == "reply_then_die":
        original.write_bytes(good)
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "stops":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        original.reply(request, "no such babble", success=False)
    return None


if __name__ == "__main__":
    original.serve(answer)
