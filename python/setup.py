"""The accelerator, on request: LAIR_NATIVE=on pip install python/. All else is in pyproject.toml."""

import os

from setuptools import Extension, setup

native = Extension(
    "lair_worker._native",
    [
        "native/native.c",
        "native/context.c",
        "native/wait.c",
        "native/send.c",
        "native/handover.c",
        "native/array.c",
        "native/array_call.c",
        "native/object.c",
        "native/batch.c",
        "native/stream.c",
        "native/stream_call.c",
        "native/session_call.c",
        "native/msgpack.c",
    ],
    depends=["native/array.h", "native/loop.h", "native/native.h", "native/stream.h"],
    extra_compile_args=["-std=gnu11", "-fvisibility=hidden"],
)
setup(ext_modules=[native] if os.environ.get("LAIR_NATIVE") == "on" else [])
