"""The warm parent, with a keeper made of a few lines: this process is the subreaper."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import textwrap

import pytest

from host import INTERPRETER, PATIENCE, Log, is_running, wait_until, worker_environment

ORDER, FORKED, FAILURE = struct.Struct("=4I2Q8B16Q"), struct.Struct("=IiQ"), struct.Struct("=Ii")
FORK, AFFINITY, DIRECTORY, REFUSED = 2, 5, 6, 9
PR_SET_CHILD_SUBREAPER = 36


def read_frame(channel):
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        assert select.select([channel], [], [], PATIENCE)[0], "nothing came"
        piece = channel.recv(1 << 16)
        if not piece:
            raise EOFError
        data += piece
    return json.loads(data[4:])


class Forked:
    """What has come of an order."""

    def __init__(self, pid, channel, log, failure):
        self.pid, self.channel, self.log, self._failure = pid, channel, log, failure

    def failure(self):
        """(step, errno), or None for a worker that is up."""
        assert select.select([self._failure], [], [], PATIENCE)[0], "neither up nor a reason why not"
        data = os.read(self._failure, FAILURE.size)
        return FAILURE.unpack(data) if data else None

    def request(self, command, args=None):
        payload = json.dumps({"id": 1, "command": command, "args": args or {}}).encode()
        self.channel.sendall(struct.pack(">I", len(payload)) + payload)
        return read_frame(self.channel)

    def status(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Parent:
    """A warm parent, and this end of its two sockets."""

    def __init__(self, modules, cwd, env):
        self.channel, theirs = socket.socketpair()
        self.keeper, warm = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log = Log()
        self.cwd = cwd
        self.forked = []
        above = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (self.log.sink, theirs, warm)]
        targets = zip((1, 2, 3, 4), (above[0], *above))
        self.pid = os.posix_spawn(
            INTERPRETER,
            [INTERPRETER, "-m", "lair_worker", "--warm-parent", "mod", *modules],
            worker_environment(LAIR_CHANNEL_FD=3, LAIR_POOL="text", PYTHONPATH_EXTRA=None, **env),
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in targets],
        )
        for fd in above:
            os.close(fd)
        theirs.close()
        warm.close()
        self.log.start()

    def word(self):
        return read_frame(self.channel)

    def order(self, *, cwd=None, env=None, cpus=0, slot=1):
        ours, theirs = socket.socketpair()
        log = Log()
        failure, told = os.pipe()
        env = {"LAIR_CHANNEL_FD": "3", **(env or {})}
        argv = [INTERPRETER, "-m", "lair_worker", "mod"]
        texts = [*argv, *(f"{name}={value}" for name, value in env.items()), str(cwd or self.cwd)]
        strings = os.memfd_create("strings")
        os.write(strings, struct.pack("=2I", len(argv), len(env)))
        os.write(strings, b"".join(os.fsencode(text) + b"\0" for text in texts))
        fds = [strings, log.sink, theirs.fileno(), told]
        place = (0, 1, 1, 2, 0)
        masks = (cpus, *[0] * 15)
        message = ORDER.pack(3, slot, 1 if cpus else 0, len(fds) - 1, 5, 1, *place, 0, 0, 0, *masks)
        socket.send_fds(self.keeper, [message], fds)
        for fd in (strings, told):
            os.close(fd)
        theirs.close()
        log.start()
        self.forked.append(Forked(0, ours, log, failure))
        return self.forked[-1]

    def fork(self, **options):
        """An order that is carried out."""
        forked = self.order(**options)
        assert select.select([self.keeper], [], [], PATIENCE)[0], self.log.now()
        slot, forked.pid, generation = FORKED.unpack(self.keeper.recv(FORKED.size))
        assert (slot, generation) == (options.get("slot", 1), 5)
        return forked

    def status(self):
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def end(self):
        for pid in (self.pid, *(forked.pid for forked in self.forked)):
            if pid:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
        for forked in self.forked:
            forked.channel.close()
            os.close(forked._failure)
        self.channel.close()
        self.keeper.close()


@pytest.fixture
def warm(tmp_path):
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parents = []

    def warm(modules=(), **sources):
        sources.setdefault("mod", "import os\ndef ids(): return [os.getpid(), os.getppid(), os.getpgid(0)]")
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        parents.append(Parent(modules, tmp_path, {"PYTHONPATH": f"{_python_path()}:{tmp_path}"}))
        return parents[-1]

    yield warm
    for parent in parents:
        parent.end()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _python_path():
    return worker_environment()["PYTHONPATH"]


def test_a_worker_is_a_child_of_the_keeper_and_leads_its_group(warm):
    parent = warm()
    assert parent.word()["result"]["pid"] == parent.pid
    worker = parent.fork()
    assert worker.failure() is None
    assert worker.request("ids")["result"] == [worker.pid, os.getpid(), worker.pid]
    worker.channel.close()
    assert worker.status() == 0


def test_a_worker_outlives_its_warm_parent(warm):
    parent = warm()
    parent.word()
    worker = parent.fork()
    assert worker.failure() is None
    os.kill(parent.pid, signal.SIGKILL)
    assert parent.status() == -signal.SIGKILL
    assert worker.request("ids")["result"][0] == worker.pid


def test_a_warm_parent_ends_with_its_keeper(warm):
    parent = warm()
    parent.word()
    parent.keeper.shutdown(socket.SHUT_RDWR)
    assert parent.status() == 0


def test_a_module_is_imported_once_and_its_state_is_each_worker_s_own(warm):
    parent = warm(
        ["table"],
        table="print('imported', flush=True)\nrows = []",
        mod="""
        import table
        def add(row):
            table.rows.append(row)
            return table.rows
        """,
    )
    parent.word()
    first, second = parent.fork(), parent.fork(slot=2)
    assert first.request("add", {"row": 1})["result"] == [1]
    assert second.request("add", {"row": 2})["result"] == [2]
    assert parent.log.now().count("imported") == 1
    assert "imported" not in first.log.now() + second.log.now()


def test_a_worker_inherits_no_session(warm):
    parent = warm(
        ["pre"],
        pre="""
        import lair_worker as lair
        from lair_worker import testing
        ended = []
        @lair.on_session_end
        def end(session):
            ended.append(session.id)
        @lair.command
        def state():
            from lair_worker import _session
            return [sorted(_session.sessions.known), ended]
        @lair.command
        def touch():
            lair.context().session.local["a"] = 1
        testing.Worker().call_with({"session": "ann", "affinity": "strict"}, "touch")
        """,
    )
    parent.word()
    for _ in range(2):
        worker = parent.fork()
        assert worker.failure() is None
        assert worker.request("state")["result"] == [[], []]
        assert worker.request("cleanup_session", {"session_id": "ann"})["success"]
        assert worker.request("state")["result"] == [[], ["ann"]], "once, by the worker's own functions"


def test_what_a_module_left_unwritten_is_written_once(warm):
    parent = warm(["half"], half="import sys\nsys.stdout.write('half a line')")
    parent.word()
    worker = parent.fork()
    assert worker.failure() is None
    worker.channel.close()
    assert worker.status() == 0
    assert worker.log.all() == ""
    wait_until(lambda: parent.log.now() == "half a line", "the parent has written it")


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        (None, "ModuleNotFoundError", "No module named 'broken'"),
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("raise SystemExit(5)", "SystemExit", "5"),
        ("def", "SyntaxError", "invalid syntax"),
    ],
)
def test_a_module_that_does_not_import_is_the_host_s_to_know(warm, source, kind, text):
    parent = warm(["broken"], **({} if source is None else {"broken": source}))
    word = parent.word()
    assert (word["id"], word["success"], word["error_type"]) == (0, False, kind)
    assert text in word["error"]
    assert (word["stage"], word["permanent"]) == ("environment", True)
    assert word["traceback"]
    assert parent.status() == 1


def test_a_thread_is_refused_at_the_start(warm):
    parent = warm(
        ["busy"],
        busy="""
        import threading
        threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
        """,
    )
    word = parent.word()
    assert word["error_type"] == "ForkRefused"
    for part in ("2 threads", "poller", "preload", "busy", "start = 'spawn'", "OMP_NUM_THREADS"):
        assert part in word["error"]
    assert parent.status() == 1


def test_a_thread_that_comes_later_is_refused_at_the_next_fork(warm, tmp_path):
    # A fork hook runs in the parent, after the fork that was still allowed.
    parent = warm(
        ["late"],
        late="""
        import os, threading
        def start():
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        os.register_at_fork(after_in_parent=start)
        """,
    )
    assert parent.word()["success"]
    parent.order()
    refused = parent.order()
    assert refused.failure() == (REFUSED, 0)
    word = parent.word()
    assert "threads" in word["error"]
    assert is_running(parent.pid)


def test_a_thread_that_ends_soon_is_waited_for(warm):
    parent = warm(
        ["short"],
        short="""
        import threading, time
        threading.Thread(target=time.sleep, args=(0.1,)).start()
        """,
    )
    assert parent.word()["success"]


def test_cuda_in_use_is_refused(warm, tmp_path):
    parent = warm(
        ["torch"],
        torch=f"""
        import os
        class cuda:
            is_initialized = staticmethod(lambda: os.path.exists({str(tmp_path / "cuda")!r}))
        """,
    )
    assert parent.word()["success"]
    assert parent.fork().failure() is None
    (tmp_path / "cuda").touch()
    assert parent.order().failure() == (REFUSED, 0)
    word = parent.word()
    assert "CUDA" in word["error"] and "on_start" in word["error"]
    assert "CUDA" in warm(["torch"]).word()["error"]


def test_a_worker_that_cannot_be_made_says_which_step_failed(warm, tmp_path):
    parent = warm()
    parent.word()
    lost = parent.fork(cwd=tmp_path / "nowhere")
    assert lost.failure() == (DIRECTORY, errno.ENOENT)
    assert lost.status() == 127
    unplaced = parent.fork(cpus=1 << 63)
    assert unplaced.failure() == (AFFINITY, errno.EINVAL)
    assert unplaced.status() == 127
    assert parent.fork().failure() is None


def test_a_fork_that_the_system_refuses_is_reported(warm):
    parent = warm(
        ["forbidding"],
        forbidding="""
        import os
        def refuse():
            raise BlockingIOError(11, "no more processes")
        os.fork = refuse
        """,
    )
    assert parent.word()["success"]
    assert parent.order().failure() == (FORK, errno.EAGAIN)
    assert is_running(parent.pid)


def test_an_order_that_lost_its_descriptors_is_refused_in_words(warm):
    parent = warm(
        ["small"],
        small="""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))
        """,
    )
    assert parent.word()["success"]
    parent.order()
    assert "descriptors" in parent.word()["error"]
    assert is_running(parent.pid)


def test_by_hand_it_is_an_error():
    for arguments in ([], ["mod"]):
        command = [INTERPRETER, "-m", "lair_worker", "--warm-parent", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, env=worker_environment(), check=False)
        assert ended.returncode == 2
        assert "--warm-parent is for pools" in ended.stderr
