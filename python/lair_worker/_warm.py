"""The warm parent of a pool with start = "fork": ``python3 -m lair_worker --warm-parent TARGET MODULE...``.

It imports the modules once, tells the host that it is ready, and then forks a worker for each order of
lair-keeper (docs/protocol.md, "Warm parent"). A fork copies one thread, and none of the promises that the
kernel has made to a process, so:

- A process with a second thread, or with CUDA in use, is not forked; the host gets the reason.
- A go-between is forked first, which forks the worker, says its pid to the keeper, and ends. The keeper, its
  subreaper, becomes the worker's parent; the worker waits for that before it does anything.
- The worker then makes itself what an executed one would have been: group, death signal, environment,
  directory, descriptors, signals, random numbers.
"""

from __future__ import annotations

import gc
import os
import sys
from _signal import (
    NSIG,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIGINT,
    SIGKILL,
    SIGPIPE,
    SIGSTOP,
    SIGXFSZ,
    default_int_handler,
    pthread_sigmask,
    set_wakeup_fd,
    signal,
)
from contextlib import suppress
from socket import MSG_CMSG_CLOEXEC, recv_fds, socket
from struct import Struct
from time import monotonic, sleep

from lair_worker import _errors, _protocol1
from lair_worker._channel import Channel, HostGone, open_channel, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

# As in src/worker/keeper_protocol.hpp.
_KEEPER = 4  # the descriptor of the socket to the keeper
_CHANNEL = 3
_ORDER = Struct("=4I2Q5BB2x16Q")
_FORKED = Struct("=IiQ")
_FAILURE = Struct("=Ii")
_STRINGS = Struct("=2I")
_FORK, _SESSION, _STRINGS_STEP, _AFFINITY, _DIRECTORY, _DESCRIPTORS, _REFUSED = 2, 3, 4, 5, 6, 7, 9
_MOST_DESCRIPTORS = 8

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_NO_DESCRIPTORS = "the warm parent is out of descriptors (ulimit -n); what does `preload` hold open?"

# A thread that is just ending may do so.
_PATIENCE = 1.0


class _Order:
    """One worker to be forked."""

    def __init__(self, message: bytes, fds: list[int]) -> None:
        fields = _ORDER.unpack(message)
        self.slot, has_cpus, self.descriptors, self.generation = fields[1:5]
        self.place = fields[6:10]
        masks = fields[12:]
        self.cpus = {cpu for cpu in range(64 * len(masks)) if masks[cpu // 64] >> cpu % 64 & 1}
        if not has_cpus:
            self.cpus.clear()
        self.fds = fds
        self.complete = len(fds) == self.descriptors + 1  # else this process is out of descriptors
        self.failure = fds[-1] if self.complete else None

    def fail(self, step: int, error: int | None) -> None:
        """Tells the keeper that there will be no worker."""
        if self.failure is not None:
            os.write(self.failure, _FAILURE.pack(step, error or 0))

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


def run(arguments: list[str]) -> list[str]:
    """The warm parent's whole life. Returns in each worker that it forks, with the worker's arguments."""
    gc.disable()  # a collection would touch, and so copy, what the workers are to share
    home = os.getcwd()
    keeper_pid = os.getppid()
    keeper = socket(fileno=_KEEPER)
    keeper.set_inheritable(False)
    keeper.setblocking(True)
    channel = open_channel()
    target, modules = arguments[0], arguments[1:]
    try:
        prctl = _prctl()
        _import(target, modules)
    except BaseException as error:
        failure = _errors.from_exception(error, _errors.START)
        say(f"a module of preload can't be imported:\n{failure.traceback.rstrip()}")
        channel.send(_protocol1.error_reply(0, failure, stage="environment", permanent=True))
        sys.exit(1)
    refusal = _refusal(modules)
    if refusal is not None:
        _tell_refusal(channel, refusal)
        sys.exit(1)
    channel.bequeath()
    gc.freeze()
    channel.send(_protocol1.success_reply(0, {"status": "ok", "pid": os.getpid()}))
    while True:
        order = _next_order(keeper)
        if order is None:
            sys.exit(0)  # the keeper is gone
        if _serve(order, channel, keeper, modules):
            break
        order.close()
    return _become_worker(order, keeper, keeper_pid, prctl, home)


def _import(target: str, modules: list[str]) -> None:
    if target.endswith(".py") or "/" in target:
        sys.path.insert(0, os.path.dirname(os.path.abspath(target)))  # as for the worker that will serve it
    # What workers need sooner or later, and import when they do.
    import faulthandler
    import traceback

    from lair_worker import _worker

    del faulthandler, traceback, _worker
    for name in modules:
        __import__(name)


def _next_order(keeper: socket) -> _Order | None:
    while True:
        message, fds, _, _ = recv_fds(keeper, _ORDER.size, _MOST_DESCRIPTORS, MSG_CMSG_CLOEXEC)
        if not message:
            return None
        if len(message) == _ORDER.size:
            return _Order(message, fds)


def _serve(order: _Order, channel: Channel, keeper: socket, modules: list[str]) -> bool:
    """Forks, or refuses to. True in the worker."""
    try:
        refusal = _refusal(modules) if order.complete else _NO_DESCRIPTORS
        if refusal is not None:
            _tell_refusal(channel, refusal)
            order.fail(_REFUSED, None)
            return False
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with suppress(ValueError):  # a module has closed it
                    stream.flush()  # or the worker would write it once more
        return _fork(order, keeper)
    except OSError as error:
        order.fail(_FORK, error.errno)
        return False


def _tell_refusal(channel: Channel, refusal: str) -> None:
    say(refusal)
    failure = _errors.Failure("ForkRefused", refusal, "", _errors.START)
    with suppress(HostGone):  # the keeper sees to the rest
        channel.send(_protocol1.error_reply(0, failure, stage="environment", permanent=True))


# --- What forbids a fork ------------------------------------------------------------------------------


def _refusal(modules: list[str]) -> str | None:
    """Why this process must not be forked, and what to do about it; None if it may be."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and getattr(cuda, "is_initialized", bool)():
        return (
            "CUDA is initialised in the warm parent (torch.cuda.is_initialized()), and a forked process "
            "can't use it: have on_start initialise it, not a module in `preload`, or set start = 'spawn'"
        )
    deadline = monotonic() + _PATIENCE
    while (count := len(os.listdir("/proc/self/task"))) != 1:
        if monotonic() > deadline:
            return (
                f"the warm parent has {count} threads{_thread_names()}, and a fork would leave all but one "
                f"of them behind: take what starts them out of `preload` ({', '.join(modules)}), or set "
                "start = 'spawn'. BLAS and OpenMP start none with OMP_NUM_THREADS=1 and its kin, the default"
            )
        sleep(0.001)
    return None


def _thread_names() -> str:
    threading = sys.modules.get("threading")
    if threading is None:
        return ""
    main = threading.main_thread()
    names = [thread.name for thread in threading.enumerate() if thread is not main]
    return f" (Python's: {', '.join(names)})" if names else " (none of Python's own)"


# --- Forking ------------------------------------------------------------------------------------------


def _fork(order: _Order, keeper: socket) -> bool:
    """True in the worker, once its go-between is dead and the keeper its parent."""
    wait, hold = os.pipe()  # at its end when neither this process nor the go-between holds `hold`
    try:
        between = os.fork()
    except OSError:
        os.close(wait)
        os.close(hold)
        raise
    if between:
        os.close(wait)
        with suppress(ChildProcessError):  # where a module ignores SIGCHLD; it has ended all the same
            os.waitpid(between, 0)
        os.close(hold)
        return False
    try:
        worker = os.fork()
        if worker:
            keeper.send(_FORKED.pack(order.slot, worker, order.generation))
            os._exit(0)
    except BaseException as error:
        order.fail(_FORK, getattr(error, "errno", None))
        os._exit(1)
    try:
        os.close(hold)
        os.read(wait, 1)
        os.close(wait)
    except OSError:
        os._exit(127)  # never back into the loop of the warm parent
    return True


def _become_worker(
    order: _Order, keeper: socket, keeper_pid: int, prctl: Callable[[int, int], None], home: str
) -> list[str]:
    """What lair-keeper and exec do for an executed worker. Gives the arguments of its command line."""
    step = _SESSION
    try:
        os.setpgid(0, 0)
        prctl(_PR_SET_PDEATHSIG, int(SIGKILL))  # fork has cleared it
        if os.getppid() != keeper_pid:  # it died before that, or a module has made our parent a subreaper
            order.fail(_REFUSED, None)
            os._exit(127)
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        step = _STRINGS_STEP
        argv, env, directory = _read_strings(order.fds[0])
        step = _AFFINITY
        if order.cpus:
            os.sched_setaffinity(0, order.cpus)
        step = _DIRECTORY
        if directory:
            os.chdir(directory)
            if sys.path and sys.path[0] == home:
                sys.path[0] = os.getcwd()
        step = _DESCRIPTORS
        keeper.close()
        _place_descriptors(order)
    except OSError as error:
        order.fail(step, error.errno)
        os._exit(127)
    _reset_signals()
    _take_environment(env)
    _reseed()
    gc.enable()
    arguments = argv[argv.index("lair_worker") + 1 :]
    sys.argv[1:] = arguments
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = argv
    order.close()  # the last of them tells the keeper that all is well
    return arguments


def _read_strings(blob: int) -> tuple[list[str], list[bytes], bytes]:
    data = os.pread(blob, os.fstat(blob).st_size, 0)
    argc, envc = _STRINGS.unpack_from(data)
    texts = data[_STRINGS.size :].split(b"\0")
    return [os.fsdecode(text) for text in texts[:argc]], texts[argc : argc + envc], texts[argc + envc]


def _place_descriptors(order: _Order) -> None:
    """The order's descriptors are above those that are placed: this process has had 0 to 4 all along."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for target, index in enumerate(order.place):
        if index:
            os.dup2(order.fds[index], target)
        elif target < _CHANNEL:
            os.dup2(null, target)
        else:
            os.close(target)
    os.close(null)


def _reset_signals() -> None:
    """To what the interpreter starts with. Handlers of a preloaded module would run where it expects none."""
    faulthandler = sys.modules["faulthandler"]
    faulthandler.disable()
    set_wakeup_fd(-1)
    for number in range(1, NSIG):
        if number in (SIGKILL, SIGSTOP):
            continue
        action: Any = SIG_DFL
        if number == SIGINT:
            action = default_int_handler
        elif number in (SIGPIPE, SIGXFSZ):
            action = SIG_IGN
        with suppress(OSError, ValueError):  # the C library's own
            signal(number, action)
    pthread_sigmask(SIG_SETMASK, ())


def _take_environment(entries: list[bytes]) -> None:
    wanted = dict(entry.split(b"=", 1) for entry in entries)
    for name in [name for name in os.environb if name not in wanted]:
        del os.environb[name]
    for name, value in wanted.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


def _reseed() -> None:
    """The generators that all of a process share. ``secrets`` and its like ask the kernel each time."""
    for name in ("random", "numpy.random"):
        seed = getattr(sys.modules.get(name), "seed", None)
        if seed is not None:
            seed()


def _prctl() -> Callable[[int, int], None]:
    try:
        import ctypes

        function = ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError) as error:
        raise ImportError(f"start = 'fork' needs Python's ctypes ({error}); set start = 'spawn'") from None

    def prctl(option: int, value: int) -> None:
        if function(option, value, 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    return prctl
