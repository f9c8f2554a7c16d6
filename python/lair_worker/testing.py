"""Calls commands without a host: in this process, with arguments and results as they would travel.

    from lair_worker import testing

    def test_count_words():
        with testing.Worker("textstats", host={"log": print}) as worker:
            assert worker.call("count_words", "a b c") == 3
            assert list(worker.stream("words", "a b c")) == ["a", "b", "c"]

``testing.call`` and ``testing.stream`` do the same with the commands that are registered already, by whatever
modules have been imported.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from time import monotonic

from lair_worker import _errors, _host, _registry
from lair_worker._cancel import Cancelled
from lair_worker._context import Context, current
from lair_worker._encode import decode, encode, explain
from lair_worker._host import HostError
from lair_worker._settle import event_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Callable

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
    """

    def __init__(
        self, target: str | None = None, *, host: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        self._host = dict(host or {})
        if target is None:
            self._commands = _registry.commands
            self._start, self._stop = _registry.start_hooks, _registry.stop_hooks
        else:
            self._commands, self._start, self._stop = _load(target)

    def __enter__(self) -> Worker:
        for hook in self._start:
            hook()
        return self

    def __exit__(self, *_: object) -> None:
        for hook in reversed(self._stop):
            hook()

    def call(self, command: str, /, *args: Any, **keywords: Any) -> Any:
        """The result of a call. CallError if it fails."""
        return self.call_with({}, command, *args, **keywords)

    def call_with(self, meta: Mapping[str, Any], command: str, /, *args: Any, **keywords: Any) -> Any:
        """A call with ``deadline`` (seconds from now), ``session`` or ``traceparent``."""
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
        call = Context(command, _meta(meta), monotonic())

        def begin() -> Any:
            value = function(*positional, **named)
            if hasattr(type(value), "__await__"):
                value = event_loop().run_until_complete(_awaited(value))
            return value

        value = self._guard(call, begin, function, positional, named)
        if hasattr(type(value), "__anext__") or hasattr(type(value), "__next__"):
            return self._items(call, value), None
        return None, self._result(value, "result")

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

    def _guard(
        self,
        call: Context,
        run: Callable[[], Any],
        function: Any = None,
        positional: Any = (),
        keywords: Any = None,
    ) -> Any:
        """Runs some of the command, with its context and its host."""
        token, before = current.set(call), _host.callback
        _host.callback = self._callback
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
            _host.callback = before
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
        function = self._host.get(name)
        if function is None:
            raise HostError("UnknownCommand", f"Unknown command: {name}", "unknown_command")
        sent = message[5]
        try:
            value = function(**sent) if type(sent) is dict else function(*sent)
        except HostError:
            raise
        except Exception as error:
            failure = _errors.from_exception(error)
            raise HostError(failure.type, failure.message, failure.kind, failure.traceback) from error
        return decode(encode(value))


def call(command: str, /, *args: Any, **keywords: Any) -> Any:
    """``Worker().call``."""
    return Worker().call(command, *args, **keywords)


def stream(command: str, /, *args: Any, **keywords: Any) -> Iterator[Any]:
    """``Worker().stream``."""
    return Worker().stream(command, *args, **keywords)


def _load(target: str) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """The commands and hooks of a target, without those of other modules that have been imported."""
    commands, hooks = _registry.commands, (_registry.start_hooks, _registry.stop_hooks)
    everything = dict(commands), list(hooks[0]), list(hooks[1])
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
        _loaded[target] = dict(commands), list(hooks[0]), list(hooks[1])
        return _loaded[target]
    finally:
        sys.path[:] = path
        commands.clear()
        commands.update(everything[0])
        hooks[0][:], hooks[1][:] = everything[1:]


_loaded: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {}


def _meta(wanted: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(wanted) - {"deadline", "session", "traceparent"}
    if unknown:
        raise TypeError(f"a call has deadline, session and traceparent, not {', '.join(sorted(unknown))}")
    meta = dict(wanted)
    if "deadline" in meta:
        meta["ms"] = meta.pop("deadline") * 1000
    return meta


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
