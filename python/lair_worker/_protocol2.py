"""Protocol 2: one JSON array a frame, ``[kind, id, generation, ...]``. Negotiated in the handshake."""

from __future__ import annotations

from _thread import get_ident
from time import monotonic

from lair_worker import _host
from lair_worker._cancel import Door
from lair_worker._channel import HostBroken
from lair_worker._context import Context, current
from lair_worker._encode import decode, encode, explain, is_flow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._channel import Channel
    from lair_worker._errors import Failure
    from lair_worker._midcall import MidCall
    from lair_worker._worker import Worker

CALL, RESULT, ERROR, READY, SHUTDOWN = 1, 2, 3, 4, 5
CREDIT, CANCEL, CANCELLED, CALLBACK_RESULT = 8, 9, 10, 12
_FEATURE_OF = {CREDIT: "stream", CANCEL: "cancel", CALLBACK_RESULT: "callback"}
FEATURES = ("cancel", "stream", "callback")
VERSION = 2
CODEC = "json"


def features_of(offer: dict[str, Any]) -> list[str]:
    """Those of the offer that this side does."""
    offered = offer.get("features")
    return [each for each in FEATURES if each in offered] if type(offered) is list else []


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

    def __init__(self, worker: Worker, channel: Channel, generation: int, features: list[str]) -> None:
        self._worker = worker
        self._channel = channel
        self._generation = generation
        self._features = features
        self._max_frame = channel.max_frame
        self._table = worker.table
        self._door = Door(channel, generation)
        self._midcall: MidCall | None = None
        self._thread = get_ident()

    def hang_bell(self) -> int:
        """Makes calls cancellable; gives the signal that interrupts them, or 0."""
        self._channel.watch()
        self._channel.door = self._door
        return self._door.hang()

    def ready(self) -> None:
        """Says that the worker can be called."""
        if "callback" in self._features:
            _host.callback = self._callback
        self._channel.send(encode([READY, 0, self._generation]))

    def start_failed(self, failure: Failure, stage: str, permanent: bool) -> None:
        """Says that it never will."""
        self._channel.send(self._error(0, failure, {"stage": stage, "permanent": permanent}))

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
        return self._call(number, function, Context(name, meta, received, number), args)

    def _call(self, number: int, function: Any, call: Context, args: Any) -> bytes | None:
        worker, door = self._worker, self._door
        worker.command_count += 1
        current.set(call)
        try:
            try:
                door.armed = call
                if door.rung:
                    door.answer()
                value = function(**args) if type(args) is dict else function(*args)
            finally:
                door.armed = None
        except BaseException as error:
            door.armed = None  # where Cancelled, or a handler of the user's, has come in between
            if worker.ending.terminated:
                raise
            if door.hit is None:
                from lair_worker import _errors

                positional, keywords = ([], args) if type(args) is dict else (args, {})
                return self.failed(
                    number, _errors.from_call(error, call.command, function, positional, keywords)
                )
        finally:
            current.set(None)
        if door.hit is not None:
            return self.cancelled(number)
        if "stream" in call.meta:
            return self.midcall().answer(call, value)
        return self.result(number, call, value)

    def result(self, number: int, call: Context, value: Any) -> bytes | None:
        """The last frame of a call that has given a value."""
        try:
            reply = encode([RESULT, number, self._generation, value])
        except Exception as error:
            from lair_worker import _errors

            if is_flow(value):
                return self.midcall().answer(call, value)
            return self.failed(number, _errors.unencodable(explain(value, error)))
        if len(reply) > self._max_frame:
            from lair_worker import _errors

            return self.failed(number, _errors.too_long(len(reply), self._max_frame))
        return reply

    def cancelled(self, number: int) -> bytes:
        """The last frame of a call that has been cancelled, whatever its command made of that."""
        self._door.hit = None
        return encode([CANCELLED, number, self._generation])

    def _callback(self, call: Context, name: str, args: Any) -> Any:
        if get_ident() != self._thread:
            raise RuntimeError(
                f"lair_worker.host.{name}: only the thread that runs the command can call the host"
            )
        return self.midcall().callback(call, name, args)

    def midcall(self) -> MidCall:
        """What is needed for more than a value."""
        if self._midcall is None:
            from lair_worker._midcall import MidCall

            self._channel.watch()
            self._midcall = MidCall(self._worker, self, self._channel, self._door, self._generation)
        return self._midcall

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
        if _FEATURE_OF.get(kind) in self._features:
            return None  # for a call that has ended
        if kind != CALL:
            raise HostBroken(f"a frame of kind {kind}, which no host sends")
        if len(message) < 6 or type(message[3]) is not str or not _fit(message[4], message[5]):
            raise HostBroken("a CALL that is not [1, id, generation, command, args, meta]")
        name, args, meta = message[3:6]
        function = self._table.get(name)
        if function is not None:
            return self._call(number, function, Context(name, meta, received, number), args)
        from lair_worker import _errors

        self._worker.command_count += 1
        failure = _errors.unknown(name)
        failure.message += _errors.suggest(name, list(self._table))
        return self.failed(number, failure)

    def failed(self, number: int, failure: Failure) -> bytes:
        """The last frame of a call that has failed."""
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
