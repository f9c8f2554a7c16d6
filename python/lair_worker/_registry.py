"""Which functions are commands, and which run around them.

One registry per process: decorators fill it while the user's module is imported; a module without any
decorated function offers its public functions.
"""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar, overload

    Function = TypeVar("Function", bound=Callable[..., Any])
    from lair_worker._session import Session

    Hook = TypeVar("Hook", bound=Callable[..., Any])
    SessionHook = TypeVar("SessionHook", bound=Callable[[Session], Any])

_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200

RESERVED = "shutdown"  # the host must always be able to end its worker

commands: dict[str, Callable[..., Any]] = {}
thread_safe_names: set[str] = set()
may_await_names: set[str] = set()
all_thread_safe = False  # by serve(thread_safe=True)
start_hooks: list[Callable[[], Any]] = []
stop_hooks: list[Callable[[], Any]] = []
session_hooks: list[Callable[[Session], Any]] = []


class NoCommands(Exception):
    """The module has nothing to call, so a worker for it would be of no use."""


if TYPE_CHECKING:

    @overload
    def command(function: Function) -> Function: ...
    @overload
    def command(
        *, name: str | None = None, thread_safe: bool = False, may_await: bool = False
    ) -> Callable[[Function], Function]: ...


def command(
    function: Any = None, *, name: str | None = None, thread_safe: bool = False, may_await: bool = False
) -> Any:
    """Makes a function a command, under its own name or under ``name``; gives the function back unchanged.

    Arguments and results are what JSON has: None, bool, int, float, str, lists (tuples become lists) and
    dicts. A generator (also an asynchronous one) is a stream, or a list to a host that asked for none;
    ``async def`` is awaited. A name may be taken once; ``shutdown`` is reserved.

    ``thread_safe=True`` says that the function may run in several threads at once, which a host that wants
    several calls at a time on one worker will have it do.

    ``may_await=True`` is said of a plain function that may give an awaitable in place of its value. Where
    several calls run at a time it is called as ``async def`` is, in the event loop, and must not block; a
    worker that runs one at a time starts the loop only for what it gives.
    """
    if function is None:
        return lambda decorated: _register(decorated, name, thread_safe, may_await)
    return _register(function, name, thread_safe, may_await)


def _register(function: Any, name: str | None, thread_safe: bool, may_await: bool) -> Any:
    if not callable(function):
        raise TypeError(f"lair_worker.command takes a function, not {function!r}")
    if may_await and (thread_safe or kind(function) != "call"):
        raise TypeError(
            f"may_await is said of a plain function that runs in the event loop, and not of {function!r}"
        )
    if name is None:
        name = getattr(function, "__name__", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"{function!r} has no name; say it: @lair_worker.command(name=...)")
    if name == RESERVED:
        raise ValueError(f"a command can't be named {RESERVED!r}: every worker has its own")
    known = commands.get(name)
    if known is not None and _origin(known) != _origin(function):
        raise ValueError(f"two commands are named {name!r}: {_origin(known)} and {_origin(function)}")
    commands[name] = function
    if thread_safe:
        thread_safe_names.add(name)
    if may_await:
        may_await_names.add(name)
    return function


def on_start(function: Hook) -> Hook:
    """Has a function run once, before the worker is ready. Several run in the order of their definition.

    If one raises, the start fails: the host gets the exception, and the process ends with status 1.
    """
    return _add_hook(start_hooks, function)


def on_stop(function: Hook) -> Hook:
    """Has a function run once, before an orderly end. Several run in reverse order, also when one raises."""
    return _add_hook(stop_hooks, function)


def on_session_end(function: SessionHook) -> SessionHook:
    """Has a function run when a session ends that this worker has served. It gets the Session.

    Several run in the order of their definition, also when one raises, which is reported on stderr. They run
    once for each opening of a session, also when the worker ends in an orderly way. They can still use
    ``session.local``, and, where the host has ended the session, its ``shared`` values.
    """
    return _add_hook(session_hooks, function)


def _add_hook(hooks: list[Callable[..., Any]], function: Hook) -> Hook:
    if not callable(function):
        raise TypeError(f"a hook is a function, not {function!r}")
    if kind(function) != "call":
        raise TypeError(
            f"the hook {_origin(function)} is a generator or async def; it must be a plain function"
        )
    hooks.append(function)
    return function


def load(target: str | None) -> None:
    """Fills the registry: imports ``target`` (a module's name, or a path to a file), else takes ``__main__``.

    Raises whatever the module raises, ModuleNotFoundError or FileNotFoundError when there is none, and
    NoCommands.
    """
    if target is None:
        module = sys.modules["__main__"]
    elif target.endswith(".py") or "/" in target:
        module = _import_file(target)
    else:
        module = _import_module(target)
    if not commands:
        commands.update(_public_functions(module))
    if not commands:
        raise NoCommands(
            f"{target or module.__name__} has no commands: no function decorated with @lair_worker.command, "
            "and no public function of its own"
        )


def _import_module(name: str) -> ModuleType:
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            places = ", ".join(repr(place) for place in sys.path)
            raise ModuleNotFoundError(f"{error} (looked in {places})", name=missing) from None
        raise
    return sys.modules[name]


def _import_file(path: str) -> ModuleType:
    """Imports a file under its own name; its folder comes first in the search path, as in ``python FILE``."""
    import os
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"No file {path!r}")
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules:
        name += "_worker"
    # A loader by hand: the default one goes by the suffix, which a path need not have here.
    spec = spec_from_file_location(name, path, loader=SourceFileLoader(name, path))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _public_functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The functions that ``__all__`` names, else the public ones that the module itself defines."""
    found = {}
    listed = getattr(module, "__all__", None)
    for name in list(vars(module)) if listed is None else listed:
        value = getattr(module, name)  # AttributeError says which name in __all__ is wrong
        if listed is None and (name.startswith("_") or not _is_function_of(module, value)):
            continue
        callable_object = callable(value) and not isinstance(value, type)
        hook = any(value is known for known in [*start_hooks, *stop_hooks, *session_hooks])
        if callable_object and not hook and name != RESERVED:
            found[name] = value
    return found


def _is_function_of(module: ModuleType, value: Any) -> bool:
    """A function that the module defines itself, also when a decorator has made another object of it."""
    function = isinstance(value, (FunctionType, BuiltinFunctionType)) or hasattr(value, "__wrapped__")
    return function and getattr(value, "__module__", None) == module.__name__


def kind(function: Any) -> str:
    """``call``, ``async``, ``stream`` or ``async_stream``: what a call gives, as far as the code tells."""
    while True:
        if isinstance(function, MethodType):
            function = function.__func__
        elif type(function).__name__ == "partial" and callable(getattr(function, "func", None)):
            function = function.func
        else:
            break
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & _CO_ASYNC_GENERATOR:
        return "async_stream"
    if flags & _CO_COROUTINE:
        return "async"
    return "stream" if flags & _CO_GENERATOR else "call"


def kind_of_command(name: str, function: Any) -> str:
    """As ``kind``, and what was said of the command besides."""
    return "async" if name in may_await_names else kind(function)


def can_overlap() -> bool:
    """Whether several calls at a time would be of use."""
    if all_thread_safe or thread_safe_names or may_await_names:
        return True
    return any(kind(function).startswith("async") for function in commands.values())


def _origin(function: Any) -> str:
    """Module, name and line: two imports of one file give the same, two functions never do."""
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
    return f"{code.co_filename}:{code.co_firstlineno} {getattr(function, '__qualname__', '?')}"
