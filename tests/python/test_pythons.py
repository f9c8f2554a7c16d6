"""What the SDK does, on each Python that is installed here, with an accelerator built for it and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from host import (
    CALLBACK,
    CALLBACK_RESULT,
    ERROR,
    FEATURES,
    PYTHON_DIR,
    RESULT,
    Worker,
    is_running,
    wait_until,
)
from interpreters import FREE_THREADED, SUPPORTED, interpreter
from test_arrays import Memory, doubles
from test_streams import END, items_of, open_stream

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "msgpack.json"
SOURCE = """
    import array
    import asyncio
    import json
    import sys
    import time
    import lair_worker as lair
    from lair_worker import host

    def add(a: int, b: int = 2) -> int: return a + b
    def inner(): raise ValueError("no")
    def boom(): inner()
    def odd(): return [1, {"a": float("nan")}]
    def nested(depth, value=1):
        for _ in range(depth): value = [value]
        return value
    def depth_of(value):
        depth = 0
        while type(value) is list: value, depth = value[0], depth + 1
        return depth
    def count(n):
        for i in range(n): yield {"i": i}
    async def acount(n):
        for i in range(n): yield i
    def endless():
        while True: yield 0
    def nap():
        print("sleeps", flush=True)
        time.sleep(600)
    def spin():
        print("spins", flush=True)
        while True: pass
    async def anap():
        print("awaits", flush=True)
        await asyncio.sleep(600)
    async def later(value):
        await asyncio.sleep(0)
        return value
    def ask(x): return host.double(x) + 1
    async def ask_later(x): return await host.double(x) + 1
    def total(x): return sum(memoryview(x) if sys.version_info >= (3, 12) else x.memoryview())
    def fill(n):
        result = lair.empty(n)
        result.memoryview()[:] = array.array("d", range(n))
        return result
    def gil_is_on(): return getattr(sys, "_is_gil_enabled", lambda: True)()
    def vectors(path):
        from lair_worker import _codec, _encode
        with open(path, encoding="utf-8") as file: vectors = json.load(file)
        for each in vectors["values"] + vectors["longer"]:
            value, data = json.loads(each["json"]), bytes.fromhex(each["msgpack"])
            codecs = [(_encode.encode, _encode.decode)]
            if _codec.native:
                assert repr(_codec.native.unpack(data)) == repr(value), each
                codecs.append((_codec.native.pack, _codec.native.unpack))
            for encode, decode in codecs: assert repr(decode(encode(value))) == repr(value), each
            if _codec.native and each in vectors["values"]: assert _codec.native.pack(value) == data, each
        for each in vectors["refused"] if _codec.native else ():
            try: _codec.native.unpack(bytes.fromhex(each["msgpack"]))
            except (ValueError, RecursionError): continue
            raise AssertionError(each)
        return len(vectors["values"])
"""


def sdk_with_accelerator(folder: Path, python: str) -> Path:
    """A copy of the SDK, with an accelerator for this interpreter, whose compiler warns of nothing."""
    program = "import os, sysconfig as s; print(os.path.exists(s.get_path('include') + '/Python.h'))"
    if subprocess.run([python, "-c", program], capture_output=True, text=True).stdout.strip() != "True":
        pytest.skip(f"{python} has no headers")
    ignored = shutil.ignore_patterns("_native*", "__pycache__")
    shutil.copytree(PYTHON_DIR / "lair_worker", folder / "lair_worker", ignore=ignored)
    build = PYTHON_DIR / "native" / "build.sh"
    subprocess.run(["sh", build, folder / "lair_worker", python, "-O1", "-g0", "-Werror"], check=True)
    return folder


def serves(worker):
    assert worker.call("add", 1) == 3 and worker.call("add", a=1, b=-3) == -2
    error = worker.fail("boom")
    assert error["type"] == "ValueError" and error["message"] == "no"
    lines = error["traceback"].splitlines()
    assert "in boom" in error["traceback"] and "in inner" in error["traceback"] and "no" in lines[-1]
    assert "result[1].a is NaN" in worker.fail("odd")["message"]
    assert worker.fail("add")["kind"] == "invalid_argument"
    assert worker.call("vectors", str(VECTORS)) > 20


def counts_nesting(worker):
    """As the host does, whatever the interpreter's own limits are."""
    assert depth_of(worker.call("nested", 300)) == 300 == worker.call("depth_of", nested(300))
    for depth in (1000, 1500, 6000, 100_000):
        assert "result is nested too deeply" in worker.fail("nested", depth)["message"]


def nested(depth, value=1):
    for _ in range(depth):
        value = [value]
    return value


def depth_of(value):
    depth = 0
    while type(value) is list:
        value, depth = value[0], depth + 1
    return depth


def streams_and_is_cancelled(worker):
    items = [{"i": i} for i in range(1000)]
    assert items_of(worker, open_stream(worker, "count", 1000)) == (items, END, None)
    assert items_of(worker, open_stream(worker, "acount", 10)) == (list(range(10)), END, None)
    for command, says in (("nap", "sleeps"), ("spin", "spins"), ("anap", "awaits")):
        number = worker.send_call(command, [])
        wait_until(lambda says=says: says in worker.stdout_log.now(), says)
        worker.cancel(number)
        worker.expect_cancelled(number)
        assert worker.call("later", command) == command
    number = open_stream(worker, "endless")
    worker.cancel(number)
    while worker.receive()[0] not in (10, END):
        pass
    assert worker.call("add", 2, 2) == 4


def calls_back(worker):
    for command in ("ask", "ask_later"):
        number = worker.send_call(command, [20], chain=1)
        kind, _, _, asked, name, args, *_ = worker.receive()
        assert (kind, name, args) == (CALLBACK, "double", [20])
        worker.write(worker.frame(CALLBACK_RESULT, number, asked, True, 40))
        assert worker.receive() == [RESULT, number, worker.generation, 41]
    number = worker.send_call("ask", [1], chain=1)
    error = {"type": "KeyError", "message": "gone", "traceback": "", "kind": "exception"}
    worker.write(worker.frame(CALLBACK_RESULT, number, worker.receive()[3], False, error))
    kind, _, _, body = worker.receive()
    assert kind == ERROR and "gone" in body["message"]


def shares_arrays(worker):
    memory = Memory(worker)
    try:
        assert memory.call("total", None, **{"in": [doubles(memory)]}) == (6.0, [], [(1, 0)])
        memory.add(2)
        value, places, _ = memory.call("fill", 3, out=[2, 0, 64])
        assert value is None and places[0][1:4] == [2, 0, 0], "in the room that came with the call"
        assert memory.segments[2][1][8:16] == memory.segments[1][1][0:8], "1.0"
    finally:
        memory.close()


@pytest.mark.parametrize("version", [*SUPPORTED, *FREE_THREADED])
def test_a_python_does_what_all_do(tmp_path, version):
    python = interpreter(version)
    sdk = sdk_with_accelerator(tmp_path / "sdk", python)
    (tmp_path / "mod.py").write_text(textwrap.dedent(SOURCE), encoding="utf-8")
    for native in ("on", "codec", "off"):
        changes = {"PYTHONPATH": str(sdk), "LAIR_NATIVE": native}
        worker = Worker([python, "-W", "error", "-m", "lair_worker", "mod"], cwd=tmp_path, env=changes)
        try:
            result = worker.greet(features=FEATURES)
            assert result["python"].startswith(version.rstrip("t") + ".")
            assert result["lair"]["codec"] == ("json" if native == "off" else "msgpack")
            done = FEATURES if native == "on" else [each for each in FEATURES if each != "spin"]
            assert result["lair"]["features"] == done
            for part in (serves, counts_nesting, streams_and_is_cancelled, calls_back, shares_arrays):
                part(worker)
            if "PYTHON_GIL" not in os.environ:
                assert worker.call("gil_is_on") == (not version.endswith("t")), "loading it put the lock back"
            worker.close_channel()
            assert worker.wait() == 0
            assert worker.stderr_log.all() == "" and not is_running(worker.pid)
        finally:
            worker.kill()
