"""A worker's life: channel, first frame, start, calls, end.

    first frame -> user's module -> handshake's reply -> on_start -> READY -> calls ... -> on_stop -> exit

Under protocol 1 on_start comes before the handshake's reply. A foreign host may leave the handshake out: then
its first command is answered after on_start.
"""

from __future__ import annotations

import os
import sys
from _signal import SIG_IGN  # type: ignore[import-not-found]
from time import monotonic, time

import lair_worker
from lair_worker import _background, _codec, _protocol1, _protocol2, _registry, _signals
from lair_worker._announce import announce
from lair_worker._channel import Channel, HostBroken, HostGone, open_channel, say
from lair_worker._context import identity
from lair_worker._standard import PYTHON_VERSION, standard_commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn

    from lair_worker._errors import Failure
    from lair_worker._multiplex import Multiplex
    from lair_worker._protocol1 import Protocol1
    from lair_worker._protocol2 import Protocol2

_SERVED_TWICE = "lair_worker.serve() runs once in a process; put it under `if __name__ == '__main__':`"


class StartFailed(Exception):
    """The host has been told; what remains is to exit with status 1."""


def serve(*, thread_safe: bool = False) -> NoReturn:
    """Serves this process's commands until the host ends it. Does not return: it ends the process.

    Call it from the main thread, at the end of a worker script. Without any decorated function, the
    script's public functions are the commands. ``thread_safe=True`` says that all of them may run in several
    threads at once, as ``@command(thread_safe=True)`` says of one.
    """
    _registry.all_thread_safe = thread_safe
    serve_target(None, sys.argv[1:])


_serving = False


def serve_target(target: str | None, arguments: list[str]) -> NoReturn:
    """``serve`` for a module or a file; ``arguments`` may hold ``--mode`` and ``--worker-id``."""
    global _serving
    if _serving:
        raise RuntimeError(_SERVED_TWICE)
    _serving = True
    worker = Worker(target, arguments)
    status = worker.run()
    _end(status)


class Worker:
    """What the protocols and the standard commands share: the commands, the counters and the end."""

    __slots__ = (
        "_announced", "_broken", "_channel", "_own_channel", "_parent", "_pooled", "_started_by", "_target",
        "_tells_files", "command_count", "ending", "error_count", "mode", "started", "table",
    )  # fmt: skip

    def __init__(self, target: str | None, arguments: list[str]) -> None:
        self.started = monotonic()
        self.ending = _signals.Ending()
        self.table: dict[str, Callable[..., Any]] = {}
        self.command_count = 0
        self.error_count = 0
        self._target = target
        self._announced: list[dict[str, Any]] = []
        self._parent = os.getppid()
        self._started_by: int | None = None  # the process that on_start ran in; its forks have no on_stop
        self._channel: Channel | None = None
        self._broken: HostBroken | None = None
        self._tells_files = False
        self._own_channel = "LAIR_CHANNEL_FD" in os.environ
        self._pooled = self._own_channel or "LAIR_POOL" in os.environ
        self.mode = option(arguments, "--mode") or ("pool-worker" if self._pooled else "standalone")
        identity.worker_id = os.environ.get("LAIR_WORKER_ID") or option(arguments, "--worker-id")
        identity.slot = _number(os.environ.get("LAIR_SLOT"))
        identity.generation = _number(os.environ.get("LAIR_GENERATION"))

    def run(self) -> int:
        """The whole life; its exit status."""
        status = 0
        try:
            try:
                self._live()
            finally:
                self.ending.closing = True  # from here on SIGTERM changes nothing; the host has SIGKILL left
        except (_signals.Terminated, HostGone):
            pass
        except StartFailed:
            status = 1
        except HostBroken as error:
            self._broken = error
        except BaseException:
            # A SIGTERM that user code has turned into another exception ends the worker all the same.
            if not self.ending.terminated:
                raise
        if self._broken is not None:
            say(f"the host has broken the protocol: {self._broken}")
            status = 1
        if not self._stop():
            status = 1
        if self._channel is not None and self._channel.door is not None:
            self._channel.door.take_down(SIG_IGN)
        return status

    def abandon(self, error: HostBroken | None) -> NoReturn:
        """The host has gone (None) or broken the protocol while a command runs, which ends as by SIGTERM."""
        self._broken = error
        self.ending.requested = self.ending.terminated = True
        raise _signals.Terminated(0)

    def _live(self) -> None:
        try:
            _signals.install(self.ending, self._pooled)
        except ValueError:
            raise RuntimeError("lair_worker.serve() must be called from the main thread") from None
        self._channel = channel = open_channel()
        _signals.let_forks_go(channel, self.ending)
        protocol = self._greet(channel)
        if protocol is not None:
            protocol.run()

    # --- start ----------------------------------------------------------------------------------------

    def _greet(self, channel: Channel) -> Protocol1 | Protocol2 | Multiplex | None:
        """Reads the first request and starts accordingly; None if the host has gone before it."""
        while True:
            payload = channel.receive()
            if payload is None:
                return None
            try:
                number, name, args = _protocol1.parse(payload)
                break
            except _protocol1.Malformed as error:
                channel.send(_protocol1.malformed_reply(error))
        offer = args.get("lair")
        handshake = name == "ping" and ("initialization" in args or "lair" in args)
        if handshake and isinstance(args.get("worker_id"), str):
            identity.worker_id = args["worker_id"]

        self._tells_files = _wants_files(offer)
        self._load(channel, number)
        if handshake and type(offer) is dict and _protocol2.accepts(offer):
            return self._start_protocol2(channel, number, offer)
        return self._start_protocol1(channel, number, name, args, handshake)

    def _load(self, channel: Channel, number: int) -> None:
        """Imports the user's module. A failure is the reply to the first request."""
        try:
            _registry.load(self._target)
            self._announced = announce(_registry.commands)
        except BaseException as error:
            if self.ending.terminated:
                raise
            more = {"stage": "environment", "permanent": True, **self._files(error)}
            failure = self._report(error, "the worker's module can't be imported")
            channel.send(_protocol1.error_reply(number, failure, **more))
            raise StartFailed from None
        self.table.update(standard_commands(self))
        self.table.update(_registry.commands)

    def _start_protocol2(self, channel: Channel, number: int, offer: dict[str, Any]) -> Protocol2 | Multiplex:
        if type(offer.get("max_frame")) is int and offer["max_frame"] > 0:
            channel.max_frame = offer["max_frame"]
        identity.generation = offer["generation"]
        codec = _codec.choose(offer.get("codecs"))
        concurrency = _protocol2.concurrency_of(offer) if _registry.can_overlap() else 1
        features = _protocol2.features_of(offer, concurrency, channel.is_socket)
        identity.concurrency = concurrency
        if "spin" in features:
            channel.spin = offer["spin"]
        protocol: Any
        if concurrency == 1:
            protocol = _protocol2.Protocol2(self, channel, offer["generation"], features)
        else:
            from lair_worker._multiplex import Multiplex

            protocol = Multiplex(self, channel, offer["generation"], features, concurrency)
        result = self._pong()
        result["lair"] = {
            "version": _protocol2.VERSION,
            "codec": codec,
            "max_frame": channel.max_frame,
            "concurrency": concurrency,
            "sdk": lair_worker.__version__,
            "features": features,
            "executable": sys.executable,
            "commands": self._announced,
        }
        if "cancel" in features and (cancel_signal := protocol.hang_bell()):
            result["lair"]["cancel_signal"] = cancel_signal
        if "batch" in features and (journal := protocol.make_journal()) >= 0:
            result["lair"]["journal"] = journal
        if "handover" in features and (page := _codec.native.make_handover()) >= 0:
            result["lair"]["handover"] = page
        if stack_signal := _signals.write_stacks_on_demand():
            result["lair"]["stack_signal"] = stack_signal
        if stacks := _signals.show_stacks_on_demand():
            result["lair"]["stacks"] = stacks
        channel.send(_protocol1.success_reply(number, result))
        try:
            self._run_start_hooks()
        except BaseException as error:
            if self.ending.terminated:
                raise
            more = {"stage": "warm_up", "permanent": _is_permanent(error), **self._files(error)}
            failure = self._report(error, "an on_start function failed")
            protocol.start_failed(failure, more)
            raise StartFailed from None
        protocol.ready(self._files())
        return protocol

    def _start_protocol1(
        self, channel: Channel, number: int, name: str, args: dict[str, Any], handshake: bool
    ) -> Protocol1:
        try:
            self._run_start_hooks()
        except BaseException as error:
            if self.ending.terminated:
                raise
            failure = self._report(error, "an on_start function failed")
            more = {"stage": "warm_up", "permanent": _is_permanent(error)}
            channel.send(_protocol1.error_reply(number, failure, **more))
            raise StartFailed from None
        protocol = _protocol1.Protocol1(self, channel)
        if handshake:
            channel.send(_protocol1.success_reply(number, self._pong()))
        if not self._pooled:
            _signals.watch_parent(self.ending, self._parent)
        if not handshake:
            channel.send(protocol.answer_request(number, name, args))
        return protocol

    def _files(self, error: BaseException | None = None) -> dict[str, Any]:
        """What tells the host, if it has asked, where the code is that it has loaded, or that failed."""
        if not self._tells_files:
            return {}
        from lair_worker import _files

        return {"files": _files.code_files(error)}

    def _pong(self) -> dict[str, Any]:
        """The handshake's answer; the SDK's own, also if the user has a command ``ping``."""
        return {
            "status": "ok",
            "worker_id": identity.worker_id,
            "python": PYTHON_VERSION,
            "pid": os.getpid(),
            "uptime": monotonic() - self.started,
            "mode": self.mode,
            "timestamp": time(),
        }

    def _run_start_hooks(self) -> None:
        for hook in _registry.start_hooks:
            hook()
        self._started_by = os.getpid()

    def _report(self, error: BaseException, what: str) -> Failure:
        """For the reply, and on stderr too: that is where an operator looks first."""
        from lair_worker import _errors

        failure = _errors.from_exception(error, _errors.START)
        say(f"{what}:\n{failure.traceback.rstrip()}")
        return failure

    # --- end ------------------------------------------------------------------------------------------

    def _stop(self) -> bool:
        """Runs the on_stop functions, all of them; False if one raised. Not for a start that has failed."""
        self.ending.closing = True
        clean = True
        if settle := sys.modules.get("lair_worker._settle"):
            settle.close_event_loop()
        if (session := sys.modules.get("lair_worker._session")) and self._started_by == os.getpid():
            session.sessions.end_all()
        for hook in reversed(_registry.stop_hooks if self._started_by == os.getpid() else []):
            try:
                hook()
            except BaseException as error:
                clean = False
                self._report(error, "an on_stop function failed")
        return clean


def _wants_files(offer: Any) -> bool:
    features = offer.get("features") if type(offer) is dict else None
    return type(features) is list and "files" in features


def _is_permanent(error: BaseException) -> bool:
    """Trying again can't help: code is missing or is not Python."""
    return isinstance(error, (ImportError, SyntaxError))


def option(arguments: list[str], name: str) -> str | None:
    """The value of ``--name VALUE`` or ``--name=VALUE`` among arguments that may be anybody's."""
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith(name + "="):
            return argument[len(name) + 1 :]
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _end(status: int) -> NoReturn:
    """Ends the process, as sys.exit() does, but never waits for a thread that the user has left running."""
    others = _other_threads()
    if not others:
        _background.let_begin()
        sys.exit(status)
    say(f"ending without waiting for threads: {', '.join(others)}")
    import atexit

    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
    finally:
        os._exit(status)


def _other_threads() -> list[str]:
    """The names of the threads that the interpreter would wait for."""
    threading = sys.modules.get("threading")
    if threading is None:
        return []
    main = threading.main_thread()
    return [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not main]
