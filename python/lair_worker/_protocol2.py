"""Protocol 2: one JSON array a frame, ``[kind, id, generation, ...]``. Negotiated in the handshake."""

from __future__ import annotations

from time import monotonic

from lair_worker._channel import HostBroken
from lair_worker._context import Context, current
from lair_worker._encode import decode, encode, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._channel import Channel
    from lair_worker._errors import Failure
    from lair_worker._worker import Worker

CALL, RESULT, ERROR, READY, SHUTDOWN = 1, 2, 3, 4, 5
VERSION = 2
CODEC = "json"


def accepts(offer: dict[str, Any]) -> bool:
    """Whether the handshake's offer is one that this side can take up."""
    codecs = offer.get("codecs", [CODEC])
    return (
        type(offer.get("version")) is int
        and offer["version"] >= VERSION
        and type(offer.get("generation")) is int
        and type(codecs) is list
        and CODEC in codecs
    )


class Protocol2:
    """Answers calls, one after the other."""

    def __init__(self, worker: Worker, channel: Channel, generation: int) -> None:
        self._worker = worker
        self._channel = channel
        self._generation = generation
        self._max_frame = channel.max_frame
        self._table = worker.table

    def ready(self, more: dict[str, Any]) -> None:
        """Says that the worker can be called."""
        self._channel.send(encode([READY, 0, self._generation, *([more] if more else [])]))

    def start_failed(self, failure: Failure, more: dict[str, Any]) -> None:
        """Says that it never will."""
        self._channel.send(self._error(0, failure, more))

    def run(self) -> None:
        """Until EOF, SHUTDOWN or the command ``shutdown``. Raises HostGone and HostBroken."""
        receive, send, answer = self._channel.receive, self._channel.send, self._answer
        ending = self._worker.ending
        while not ending.requested:
            payload = receive()
            if payload is None:
                return
            reply = answer(payload)
            if reply is not None:
                send(reply)
            payload = reply = None  # large ones are not kept while the worker waits

    def _answer(self, payload: Any) -> bytes | None:
        """The reply to one frame; None where there is none. This is the path of every call: keep it short."""
        received = monotonic()
        try:
            message = decode(payload)
        except (ValueError, RecursionError) as error:
            raise HostBroken(f"a frame that is not JSON: {error}") from None
        try:
            kind, number, generation, name, args, meta = message
            function = self._table[name]
        except (ValueError, TypeError, KeyError):
            return self._uncommon(message, received)
        if kind != CALL or generation != self._generation or type(number) is not int or not _fit(args, meta):
            return self._uncommon(message, received)
        return self._call(number, function, Context(name, meta, received), args)

    def _call(self, number: int, function: Any, call: Context, args: Any) -> bytes:
        worker = self._worker
        worker.command_count += 1
        current.set(call)
        try:
            value = function(**args) if type(args) is dict else function(*args)
        except BaseException as error:
            if worker.ending.terminated:
                raise
            from lair_worker import _errors

            positional, keywords = ([], args) if type(args) is dict else (args, {})
            return self._failed(
                number, _errors.from_call(error, call.command, function, positional, keywords)
            )
        finally:
            current.set(None)
        try:
            reply = encode([RESULT, number, self._generation, value])
        except Exception as error:
            from lair_worker import _errors

            return self._failed(number, _errors.unencodable(explain(value, error)))
        if len(reply) > self._max_frame:
            from lair_worker import _errors

            return self._failed(number, _errors.too_long(len(reply), self._max_frame))
        return reply

    def _uncommon(self, message: Any, received: float) -> bytes | None:
        """Everything but a well-formed call of six elements to a known command."""
        header = message[:3] if type(message) is list else []
        if len(header) < 3 or any(type(each) is not int for each in header):
            raise HostBroken("a frame that is not [kind, id, generation, ...]")
        kind, number, generation = header
        if generation != self._generation:
            return None  # meant for a worker that held this slot before
        if kind == SHUTDOWN:
            self._worker.ending.requested = True
            return None
        if kind != CALL:
            raise HostBroken(f"a frame of kind {kind}, which no host sends")
        if len(message) < 6 or type(message[3]) is not str or not _fit(message[4], message[5]):
            raise HostBroken("a CALL that is not [1, id, generation, command, args, meta]")
        name, args, meta = message[3:6]
        function = self._table.get(name)
        if function is not None:
            return self._call(number, function, Context(name, meta, received), args)
        from lair_worker import _errors

        self._worker.command_count += 1
        failure = _errors.unknown(name)
        failure.message += _errors.suggest(name, list(self._table))
        return self._failed(number, failure)

    def _failed(self, number: int, failure: Failure) -> bytes:
        self._worker.error_count += 1
        return self._error(number, failure, {})

    def _error(self, number: int, failure: Failure, more: dict[str, Any]) -> bytes:
        reply = encode([ERROR, number, self._generation, {**_body(failure), **more}])
        if len(reply) > self._max_frame:
            reply = encode([ERROR, number, self._generation, {**_body(failure.shortened()), **more}])
        return reply


def _fit(args: Any, meta: Any) -> bool:
    return type(meta) is dict and (type(args) is dict or type(args) is list)


def _body(failure: Failure) -> dict[str, Any]:
    return {
        "type": failure.type,
        "message": failure.message,
        "traceback": failure.traceback,
        "kind": failure.kind,
    }
