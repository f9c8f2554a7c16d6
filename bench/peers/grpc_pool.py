"""A pool of gRPC servers: grpc_pool.py SIZE...

Each worker is a synchronous server of one thread on a unix socket, and the program has a channel to each,
which a caller takes while it needs it. Generic handlers and pickles: no more work than generated stubs have.
"""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import grpc
from measuring import FUNCTIONS, Call, Workers, dumps, end_with_stdin, lending, main

SERVICE = "bench.Functions"


def work(path: str) -> None:
    end_with_stdin()

    def method(function):
        # In a tuple: gRPC takes a message that is None for one that cannot be read.
        return grpc.unary_unary_rpc_method_handler(
            lambda args, _: (function(*args),), request_deserializer=pickle.loads, response_serializer=dumps
        )

    methods = {name: method(function) for name, function in FUNCTIONS.items()}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
    server.add_insecure_port(f"unix:{path}")
    server.start()
    server.wait_for_termination()


def stub(path: str) -> dict:
    channel = grpc.insecure_channel(f"unix:{path}")
    grpc.channel_ready_future(channel).result(timeout=60)
    return {
        name: channel.unary_unary(
            f"/{SERVICE}/{name}", request_serializer=dumps, response_deserializer=pickle.loads
        )
        for name in FUNCTIONS
    }


def start(workers: Workers, size: int) -> Call:
    stubs = [stub(path) for path in [workers.start() for _ in range(size)]]
    return lending(stubs, lambda methods, function, args: methods[function.__name__](args)[0])


if __name__ == "__main__":
    main(work, start)
