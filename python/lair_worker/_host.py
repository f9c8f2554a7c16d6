"""``lair_worker.host``: the functions that the host has exposed, callable in the middle of a command."""

from __future__ import annotations

from lair_worker import _codec
from lair_worker._context import Context, current
from lair_worker._encode import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

CALLBACK = 11


class HostError(Exception):
    """A function of the host has failed. ``type``, ``message``, ``kind`` and ``traceback`` are the host's."""

    __module__ = "lair_worker"

    def __init__(self, type: str, message: str, kind: str, traceback: str = "") -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.kind = kind
        self.traceback = traceback


# Who makes the calls: callback(call, name, args) of the protocol that runs, if its host takes any.
callback: Callable[[Context, str, Any], Any] | None = None
# The same for what is told to the store at the end of the call, and not answered.
tell: Callable[[Context, str, Any], None] | None = None


class Host:
    """``host.tool(x)`` calls the host's function ``tool``, and so does ``host["tool"](x)``.

    In ``async def``, ``await host.tool(x)``.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):  # what copy, pickle and inspect look for
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Callable[..., Any]:
        def function(*args: Any, **keywords: Any) -> Any:
            call = current.get()
            if call is None:
                raise RuntimeError(f"{label(name)}: no command is running in this thread")
            if callback is None:
                raise RuntimeError(f"{label(name)}: the host takes no calls from its workers")
            if args and keywords:
                raise TypeError(f"{label(name)}: arguments go by position or by name, not both")
            return callback(call, name, keywords if keywords else list(args))

        function.__name__ = function.__qualname__ = name
        return function


host = Host()

STORE = "lair.session."  # what the names of the functions of a session's store begin with


def label(name: str) -> str:
    """A function of the host, as an error names it."""
    if not name.startswith(STORE):
        return "lair_worker.host." + name
    name = name[len(STORE) :]
    return "session.shared." + ("keys" if name == "list" else name)


def request(call: Context, generation: int, number: int, name: str, args: Any, longest: int) -> bytes:
    """A CALLBACK; of number 0 one that is not answered. ValueError if its arguments can't be sent."""
    meta = {}
    if number:
        meta = {key: call.meta[key] for key in ("session", "traceparent", "chain") if key in call.meta}
        remaining = call.remaining()
        if remaining is not None:
            meta["ms"] = int(remaining * 1000)
    try:
        frame = _codec.encode([CALLBACK, call.number, generation, number, name, args, meta])
    except Exception as error:
        place = str(explain(args, error)).replace("result", "args", 1)
        raise ValueError(f"{label(name)}: {place}") from None
    if len(frame) > longest:
        raise ValueError(
            f"{label(name)}: args make a frame of {len(frame)} bytes; max_frame is {longest} bytes"
        )
    return frame


def keep(call: Context, told: Any) -> None:
    """Keeps what a call tells the store until its end."""
    try:
        call.told.append(told)
    except AttributeError:
        call.told = [told]


def outcome(message: list[Any]) -> tuple[bool, Any] | None:
    """What a CALLBACK_RESULT says: ``(True, value)`` or ``(False, HostError)``; None if it is malformed."""
    if len(message) < 6 or type(message[3]) is not int or type(message[4]) is not bool:
        return None
    if message[4]:
        return True, message[5]
    error = message[5]
    if type(error) is not dict:
        return None
    text = {key: str(error.get(key) or "") for key in ("type", "message", "kind", "traceback")}
    return False, HostError(
        text["type"] or "Error", text["message"], text["kind"] or "remote", text["traceback"]
    )
