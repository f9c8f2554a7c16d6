"""Calls commands without a host: in this process, with arguments and results as they would travel.

    from lair_worker import testing

    def test_count_words():
        with testing.Worker("textstats", host={"log": print}) as worker:
            assert worker.call("count_words", "a b c") == 3
            assert list(worker.stream("words", "a b c")) == ["a", "b", "c"]
            worker.call_with({"session": "ann", "affinity": "strict"}, "load", "a.bin")
            worker.end_session("ann")

``testing.call`` and ``testing.stream`` do the same with the commands that are registered already, by whatever
modules have been imported.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from time import monotonic

from lair_worker import _errors, _host, _registry, _session
from lair_worker._cancel import Cancelled
from lair_worker._context import Context, current
from lair_worker._encode import decode, encode, explain
from lair_worker._host import HostError
from lair_worker._settle import event_loop
from lair_worker._testing_store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Callable

    _Loaded = tuple[dict[str, Any], list[Any], list[Any], list[Any]]  # commands, hooks: start, stop, session

__all__ = ["CallError", "Worker", "call", "stream"]


class CallError(Exception):
    """What the host would be told: ``type``, ``message``, ``traceback`` and ``kind``.

    The exception that the command raised, if it was one, is its ``__cause__``.
    """

    def __init__(self, failure: _errors.Failure) -> None:
        super().__init__(f"{failure.type}: {failure.message} ({failure.kind})")
        self.type = failure.type
        self.message = failure.message
        self.traceback = failure.traceback
        self.kind = failure.kind


class Worker:
    """The commands of a module, or of a file; without ``target``, those that are registered already.

    ``host`` are the functions that commands reach as ``lair_worker.host.NAME``. A target's ``on_start``
    functions run when it is entered as a context manager, and its ``on_stop`` functions when it is left. One
    at a time in a process.

    A session is opened by the first call that names it. ``values`` are what sessions share, by id and key.
    """

    def __init__(
        self, target: str | None = None, *, host: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self._host = dict(host or {})
        self._store = Store()
        self.values = self._store.values
        if target is None:
            self._commands = _registry.commands
            self._start, self._stop = _registry.start_hooks, _registry.stop_hooks
            session_hooks = _registry.session_hooks
        else:
            self._commands, self._start, self._stop, session_hooks = _load(target)
        self._sessions = _session.Sessions(session_hooks)
        self._open: dict[str, tuple[int, str]] = {}  # number and affinity of the sessions that are
        self._opened = 0

    def __enter__(self) -> Worker:
        for hook in self._start:
            hook()
        return self

    def __exit__(self, *_: object) -> None:
        failed: list[BaseException] = []
        self._sessions.end_all(lambda error, _: failed.append(error))
        for hook in reversed(self._stop):
            hook()
        if failed:
            raise failed[0]

    def call(self, command: str, /, *args: Any, **keywords: Any) -> Any:
        """The result of a call. CallError if it fails."""
        return self.call_with({}, command, *args, **keywords)

    def call_with(self, meta: Mapping[str, Any], command: str, /, *args: Any, **keywords: Any) -> Any:
        """A call with ``deadline`` (seconds from now), ``session``, ``affinity`` or ``traceparent``.

        ``affinity`` is for the first call of a session: ``prefer`` (where nothing is said), ``strict`` or
        ``exclusive``.
        """
        items, value = self._run(meta, command, args, keywords)
        return value if items is None else list(items)

    def stream(self, command: str, /, *args: Any, **keywords: Any) -> Iterator[Any]:
        """The items of a stream, made as they are asked for. To close it early closes the generator."""
        return self.stream_with({}, command, *args, **keywords)

    def stream_with(
        self, meta: Mapping[str, Any], command: str, /, *args: Any, **keywords: Any
    ) -> Iterator[Any]:
        """As ``call_with``."""
        items, value = self._run(meta, command, args, keywords)
        if items is None:
            from lair_worker._encode import type_name

            message = (
                f"{command} was asked for a stream and gave a value of type {type_name(type(value))}; "
                "a generator makes a stream"
            )
            raise CallError(_errors.unencodable(ValueError(message)))
        return items

    def end_session(self, id: str) -> None:
        """Ends a session as a host does; its ``values`` are dropped, and its next call opens it anew.

        A ``cleanup_session`` of the target's own runs first, then its ``on_session_end`` functions. CallError
        if any of them fails.
        """
        if id not in self._open:
            raise ValueError(f"session {id!r} is not open")
        failed: list[BaseException] = []
        call = self._context({"session": id}, _session.CLEANUP)
        try:
            if _session.CLEANUP in self._commands:
                self.call_with({"session": id}, _session.CLEANUP, session_id=id)
        finally:
            ended = self._sessions.leave(call)
            if ended is not None:
                session = ended
                self._guard(call, lambda: session.end(lambda error, _: failed.append(error)))
            del self._open[id]
            self._store.end(id)
        if failed:
            raise CallError(_errors.from_exception(failed[0])) from failed[0]

    # --- how it runs ----------------------------------------------------------------------------------

    def _run(
        self, meta: Mapping[str, Any], command: str, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[Iterator[Any] | None, Any]:
        """The items of a stream, or None and the value."""
        if args and keywords:
            raise TypeError(f"{command}: arguments go by position or by name, not both")
        function = self._commands.get(command)
        if function is None:
            failure = _errors.unknown(command)
            failure.message += _errors.suggest(command, list(self._commands))
            raise CallError(failure)
        positional, named = _through_json(list(args), "args"), _through_json(keywords, "args")
        call = self._context(meta, command)
        self._sessions.enter(call)

        def begin() -> Any:
            value = function(*positional, **named)
            if hasattr(type(value), "__await__"):
                value = event_loop().run_until_complete(_awaited(value))
            return value

        try:
            value = self._guard(call, begin, function, positional, named)
        except BaseException:
            self._take_told(call)
            raise
        if hasattr(type(value), "__anext__") or hasattr(type(value), "__next__"):
            return self._items(call, value), None
        self._take_told(call)
        return None, self._result(value, "result")

    def _context(self, wanted: Mapping[str, Any], command: str) -> Context:
        unknown = set(wanted) - {"deadline", "session", "affinity", "traceparent"}
        if unknown:
            known = "deadline, session, affinity and traceparent"
            raise TypeError(f"a call has {known}, not {', '.join(sorted(unknown))}")
        meta = dict(wanted)
        if "deadline" in meta:
            meta["ms"] = meta.pop("deadline") * 1000
        id, affinity = meta.get("session"), meta.pop("affinity", None)
        if id is not None:
            meta["session_number"], meta["affinity"] = self._open_session(id, affinity)
            meta["session_changes"] = self._store.count(id)
        elif affinity is not None:
            raise TypeError("affinity is a session's; the call has none")
        return Context(command, meta, monotonic())

    def _open_session(self, id: Any, affinity: Any) -> tuple[int, str]:
        if type(id) is not str:
            raise TypeError(f"session is an id, a str, not {id!r}")
        if affinity not in (None, "prefer", "strict", "exclusive"):
            raise TypeError(f"affinity is 'prefer', 'strict' or 'exclusive', not {affinity!r}")
        if id not in self._open:
            self._opened += 1
            self._open[id] = self._opened, affinity or "prefer"
        elif affinity not in (None, self._open[id][1]):
            raise TypeError(f"session {id!r} is open as {self._open[id][1]!r}; end_session() ends it")
        return self._open[id]

    def _items(self, call: Context, generator: Any) -> Iterator[Any]:
        try:
            while True:
                found = self._guard(call, lambda: _next(generator))
                if found is None:
                    return
                yield self._result(found[0], "item")
        finally:
            with suppress(AttributeError):
                self._guard(call, lambda: _close(generator))
            self._take_told(call)

    def _guard(
        self,
        call: Context,
        run: Callable[[], Any],
        function: Any = None,
        positional: Any = (),
        keywords: Any = None,
    ) -> Any:
        """Runs some of the command, with its context and its host."""
        token, before = current.set(call), (_host.callback, _host.tell, _session.sessions)
        _host.callback, _host.tell, _session.sessions = self._callback, self._tell, self._sessions
        try:
            return run()
        except (Exception, SystemExit, Cancelled) as error:
            trace = error.__traceback__
            if function is not None and trace is not None:
                shown = error.with_traceback(trace.tb_next)  # without this function's frame
                failure = _errors.from_call(shown, call.command, function, list(positional), keywords or {})
            else:
                failure = _errors.from_exception(error)
            error.__traceback__ = trace
            raise CallError(failure) from error
        finally:
            _host.callback, _host.tell, _session.sessions = before
            current.reset(token)

    def _result(self, value: Any, what: str) -> Any:
        try:
            return decode(encode(value))
        except Exception as error:
            text = str(explain(value, error)).replace("result", what, 1)
            raise CallError(_errors.unencodable(ValueError(text))) from None

    def _callback(self, call: Context, name: str, args: Any) -> Any:
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None and asyncio._get_running_loop() is not None:
            return self._call_host_later(call, name, args)
        return self._call_host(call, name, args)

    async def _call_host_later(self, call: Context, name: str, args: Any) -> Any:
        return self._call_host(call, name, args)

    def _call_host(self, call: Context, name: str, args: Any) -> Any:
        message = decode(_host.request(call, 0, 0, name, args, sys.maxsize))
        sent = message[5]
        if name.startswith(_host.STORE):
            return self._store.use(call, name[len(_host.STORE) :], sent)
        function = self._host.get(name)
        if function is None:
            raise HostError("UnknownCommand", f"Unknown command: {name}", "unknown_command")
        try:
            value = function(**sent) if type(sent) is dict else function(*sent)
        except HostError:
            raise
        except Exception as error:
            failure = _errors.from_exception(error)
            raise HostError(failure.type, failure.message, failure.kind, failure.traceback) from error
        return decode(encode(value))

    def _tell(self, call: Context, name: str, args: Any) -> None:
        _host.keep(call, decode(_host.request(call, 0, 0, name, args, sys.maxsize)))

    def _take_told(self, call: Context) -> None:
        """What was left for the end of the call."""
        for message in getattr(call, "told", ()):
            self._store.use(call, message[4][len(_host.STORE) :], message[5])


def call(command: str, /, *args: Any, **keywords: Any) -> Any:
    """``Worker().call``."""
    return Worker().call(command, *args, **keywords)


def stream(command: str, /, *args: Any, **keywords: Any) -> Iterator[Any]:
    """``Worker().stream``."""
    return Worker().stream(command, *args, **keywords)


def _load(target: str) -> _Loaded:
    """The commands and hooks of a target, without those of other modules that have been imported."""
    commands = _registry.commands
    hooks: tuple[list[Any], ...] = (_registry.start_hooks, _registry.stop_hooks, _registry.session_hooks)
    everything: list[Any] = [dict(commands), *map(list, hooks)]
    path = list(sys.path)
    imported = target in sys.modules or target in _loaded
    for each in (commands, *hooks):
        each.clear()
    try:
        if target in _loaded:
            return _loaded[target]
        if imported:  # its decorators have been run
            commands.update(
                {n: f for n, f in everything[0].items() if getattr(f, "__module__", None) == target}
            )
            for here, all_of_them in zip(hooks, everything[1:]):
                here += [hook for hook in all_of_them if getattr(hook, "__module__", None) == target]
        _registry.load(target)
        _loaded[target] = dict(commands), list(hooks[0]), list(hooks[1]), list(hooks[2])
        return _loaded[target]
    finally:
        sys.path[:] = path
        commands.clear()
        commands.update(everything[0])
        for here, all_of_them in zip(hooks, everything[1:]):
            here[:] = all_of_them


_loaded: dict[str, _Loaded] = {}


def _through_json(value: Any, what: str) -> Any:
    try:
        return decode(encode(value))
    except Exception as error:
        raise TypeError(str(explain(value, error)).replace("result", what, 1)) from None


def _next(generator: Any) -> tuple[Any] | None:
    """The next item in a tuple; None at the end."""
    if hasattr(type(generator), "__next__"):
        for item in generator:
            return (item,)
        return None
    return event_loop().run_until_complete(_anext(generator))


async def _anext(generator: Any) -> tuple[Any] | None:
    try:
        return (await generator.__anext__(),)
    except StopAsyncIteration:
        return None


def _close(generator: Any) -> None:
    if hasattr(type(generator), "__next__"):
        generator.close()
    else:
        event_loop().run_until_complete(_awaited(generator.aclose()))


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
