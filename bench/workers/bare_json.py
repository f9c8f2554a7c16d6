"""The floor: the messages of protocol 2, read, called and answered by as little Python as does it.

Not a worker to use: no handshake, no errors, no log, no deadline. One read and one write a call.
"""

import json
import os
import struct
import time

COMMANDS = {"empty": lambda: None, "nap": time.sleep, "same": lambda value: value}


def main() -> None:
    header = struct.Struct(">I")
    while data := os.read(0, 1 << 16):
        while len(data) < 4 or len(data) < 4 + header.unpack_from(data)[0]:
            data += os.read(0, 1 << 16)
        _, number, generation, name, args, _ = json.loads(str(data[4:], "utf-8"))
        reply = json.dumps([2, number, generation, COMMANDS[name](*args)]).encode()
        os.write(1, header.pack(len(reply)) + reply)


main()
