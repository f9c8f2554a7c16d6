"""``context().session.shared``: a session's values in the host's store.

Each access is a callback in the middle of the call, with a name that is reserved for it, and so waits, fails
and is awaited like one.
"""

from __future__ import annotations

import sys

from lair_worker import _host
from lair_worker._context import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable

    from lair_worker._context import Context
    from lair_worker._session import Session


class _Absent:
    """The type of ABSENT."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "lair_worker.ABSENT"

    def __reduce__(self) -> str:
        return "ABSENT"


_PUT, _CHANGES = _host.STORE + "put", _host.STORE + "changes"

ABSENT = _Absent()  # in compare_and_set: no value


class Shared:
    """Values by key. In ``async def`` each function is to be awaited, and ``shared[key]`` can't be used."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or ``default`` if there is none."""
        return self._get(key, default, None)

    def put(self, key: str, value: Any) -> Any:
        """Sets a value, which is what JSON has."""
        return self._put(key, value, None)

    def put_at_end(self, key: str, value: Any) -> Any:
        """Sets a value when the call has ended, before its caller has the result. Costs no wait for the host.

        Until then ``get`` gives the old one. A limit, or a store that fails, is for the host to report: the
        call's outcome stands. Of a call that has been cancelled nothing is set. A host that knows no such
        thing has it at once, as by ``put``.
        """
        name = _PUT
        call = self._call(name)
        if _host.tell is None or type(call.meta.get("session_changes")) is not int:
            return self._put(key, value, None)
        _host.tell(call, name, {"key": _checked(key), "value": value})
        _count(call)
        asyncio = sys.modules.get("asyncio")
        return None if asyncio is None or asyncio._get_running_loop() is None else _DONE

    @property
    def changes(self) -> int | None:
        """Tells whether values that were read in an earlier call are still the same: if this is what it was.

        It is of the moment when the host sent the call, and what the call itself has changed is added. None
        where the host does not count, as in a batch.
        """
        call = self._call(_CHANGES)
        found = call.meta.get("session_changes")
        return found + getattr(call, "changed", 0) if type(found) is int else None

    def delete(self, key: str) -> Any:
        """Removes a value; gives whether there was one."""
        return self._delete(key, None)

    def compare_and_set(self, key: str, expected: Any, value: Any) -> Any:
        """Sets a value if it is ``expected`` now, and gives whether it was. ABSENT, for either: no value."""
        args = {"key": _checked(key)}
        if expected is not ABSENT:
            args["expected"] = expected
        if value is not ABSENT:
            args["value"] = value
        return self._ask("compare_and_set", args, bool, None, changes=True)

    def keys(self, prefix: str = "") -> Any:
        """The keys that begin with ``prefix``, sorted, in a list."""
        return self._keys(prefix, None)

    def __getitem__(self, key: str) -> Any:
        value = self._get(key, ABSENT, ("shared[key]", "get(key)"))
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._put(key, value, ("shared[key] = value", "put(key, value)"))

    def __delitem__(self, key: str) -> None:
        if not self._delete(key, ("del shared[key]", "delete(key)")):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        return self._get(key, ABSENT, ("key in shared", "get(key)")) is not ABSENT

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys("", ("for key in shared", "keys()")))

    def __repr__(self) -> str:
        return f"<the shared values of session {self._session.id!r}>"

    # Each with the syntax that has led here, which can't be awaited, and the function that can.

    def _get(self, key: str, default: Any, syntax: tuple[str, str] | None) -> Any:
        def value(answer: Any) -> Any:
            return answer["value"] if answer["found"] else default

        return self._ask("get", {"key": _checked(key)}, value, syntax)

    def _put(self, key: str, value: Any, syntax: tuple[str, str] | None) -> Any:
        return self._ask("put", {"key": _checked(key), "value": value}, _nothing, syntax, changes=True)

    def _delete(self, key: str, syntax: tuple[str, str] | None) -> Any:
        return self._ask("delete", {"key": _checked(key)}, bool, syntax, changes=True)

    def _keys(self, prefix: str, syntax: tuple[str, str] | None) -> Any:
        return self._ask("list", {"prefix": _checked(prefix)} if prefix != "" else {}, list, syntax)

    def _ask(
        self,
        what: str,
        args: dict[str, Any],
        finish: Callable[[Any], Any],
        syntax: tuple[str, str] | None,
        changes: bool = False,
    ) -> Any:
        name = _host.STORE + what
        call = self._call(name)
        if changes and "session_changes" in call.meta:
            finish = _counting(call, finish)
        if _host.callback is None:
            raise RuntimeError(
                f"{_host.label(name)}: the host takes no calls from its workers (it speaks protocol 1, or is "
                f"too old), so nobody keeps values for session {self._session.id!r}"
            )
        try:
            answer = _host.callback(call, name, args)
        except _host.HostError as error:
            raise _explained(error, name) from None
        if not hasattr(type(answer), "__await__"):
            return finish(answer)
        if syntax is not None:
            answer.close()  # before it has begun: nothing is sent
            raise TypeError(
                f"`{syntax[0]}` can't wait for the host in async def: write `await shared.{syntax[1]}`"
            )
        return _later(answer, name, finish)

    def _call(self, name: str) -> Context:
        """The call that asks, if it is the session's."""
        session, call = self._session, current.get()
        if call is None:
            raise RuntimeError(
                f"{_host.label(name)}: no command is running in this thread, and the values of session "
                f"{session.id!r} are reached in the middle of a call of it"
            )
        if not session.runs():
            raise RuntimeError(
                f"{_host.label(name)}: the values are those of session {session.id!r} (number "
                f"{session.number}), and the call that runs is another's: take context().session in each call"
            )
        return call


async def _later(answer: Any, name: str, finish: Callable[[Any], Any]) -> Any:
    try:
        return finish(await answer)
    except _host.HostError as error:
        raise _explained(error, name) from None


def _count(call: Context) -> None:
    call.changed = getattr(call, "changed", 0) + 1


def _counting(call: Context, finish: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``finish`` for what changes a value, unless it gives False."""

    def counted(answer: Any) -> Any:
        value = finish(answer)
        if value is not False:
            _count(call)
        return value

    return counted


class _Done:
    """To be awaited where there is nothing to wait for."""

    __slots__ = ()

    def __await__(self) -> Iterator[None]:
        return iter(())


_DONE = _Done()


def _explained(error: _host.HostError, name: str) -> Exception:
    if error.kind != "unknown_command":
        return error
    return RuntimeError(f"{_host.label(name)}: the host has no store for sessions ({error})")


def _checked(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of session.shared is a str, not {key!r}")
    return key


def _nothing(_: Any) -> None:
    return None
