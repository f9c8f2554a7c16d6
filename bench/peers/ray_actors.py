"""Ray's actors, on this machine alone: ray_actors.py SIZE...

A caller takes an idle actor, calls it and waits: ray.get(actor.method.remote(...)). Ray listens on every
interface of the machine, and starts daemons. So this is run as the first process of namespaces
(bench/peers.cpp): their network has nothing but the loopback, and its end is the end of whatever it has
started. What Ray writes is in a temporary folder.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import struct
import sys
import tempfile

from measuring import Call, empty, lending, same, serve

SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def start(ray, size: int) -> Call:
    @ray.remote(num_cpus=0)
    class Actor:
        def empty(self):
            return empty()

        def same(self, value):
            return same(value)

    actors = [Actor.remote() for _ in range(size)]

    def use(actor, function, args: tuple):
        return ray.get(getattr(actor, function.__name__).remote(*args))

    return lending(actors, use)


def main() -> None:
    if os.getpid() != 1:
        sys.exit(f"{sys.argv[0]}: not in a namespace of its own")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    with tempfile.TemporaryDirectory(prefix="lair-bench-", ignore_cleanup_errors=True) as folder:
        os.environ |= {
            "HOME": folder,
            "TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # nobody else is in this network
            "RAY_BACKEND_LOG_LEVEL": "error",  # of which there is one at least in such a network
            "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)),
        }
        import ray  # reads the environment

        ray.init(
            "local",
            num_cpus=1,  # of which its actors take none
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 << 20,
            _temp_dir=folder,
            _plasma_directory=folder,
        )
        try:
            serve(lambda size: start(ray, size), sys.argv[1:])
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
