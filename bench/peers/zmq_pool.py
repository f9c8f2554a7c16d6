"""A pool on ZeroMQ, as small as it can be: zmq_pool.py SIZE...

Each worker has a REP socket on ipc://, and the program a REQ socket for each worker, which a caller takes
while it needs it. There is no broker: a ROUTER and a DEALER in between would be two more messages a call.
Calls and results are pickled, functions by their names. Who calls a dead worker waits for ever.
"""

from __future__ import annotations

import pickle

import zmq
from measuring import FUNCTIONS, Call, Workers, dumps, end_with_stdin, lending, main


def work(path: str) -> None:
    end_with_stdin()
    socket = zmq.Context.instance().socket(zmq.REP)
    socket.bind(f"ipc://{path}")
    while True:
        name, args = pickle.loads(socket.recv())
        socket.send(dumps(FUNCTIONS[name](*args)))


def use(socket: zmq.Socket, function, args: tuple):
    socket.send(dumps((function.__name__, args)))
    return pickle.loads(socket.recv())


def start(workers: Workers, size: int) -> Call:
    sockets = []
    for _ in range(size):
        socket = zmq.Context.instance().socket(zmq.REQ)
        socket.linger = 0
        socket.connect(f"ipc://{workers.start()}")
        sockets.append(socket)
    return lending(sockets, use)


if __name__ == "__main__":
    main(work, start)
