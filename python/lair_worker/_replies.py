"""The frames that end a call, or a start, whoever runs it."""

from __future__ import annotations

from lair_worker import _codec
from lair_worker._encode import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._arrays import Arrays
    from lair_worker._channel import Channel
    from lair_worker._context import Context
    from lair_worker._errors import Failure
    from lair_worker._worker import Worker

RESULT, ERROR, READY, CANCELLED = 2, 3, 4, 10


class Replies:
    """Makes them for one channel."""

    def __init__(self, worker: Worker, channel: Channel, generation: int) -> None:
        self._worker = worker
        self._channel = channel
        self._generation = generation
        self._max_frame = self.max_frame = channel.max_frame
        self._arrays: Arrays | None = None  # from the first one on

    def ready_frame(self, more: dict[str, Any]) -> bytes:
        """The worker can be called."""
        return _codec.encode([READY, 0, self._generation, *([more] if more else [])])

    def start_failed_frame(self, failure: Failure, more: dict[str, Any]) -> bytes:
        """It never will be."""
        return self._error(0, failure, more)

    def result(self, call: Context, value: Any) -> bytes:
        """A call has given a plain value."""
        try:
            reply = _codec.encode([RESULT, call.number, self._generation, value])
        except Exception as error:
            return self.unencodable(call, value, error)
        return reply if len(reply) <= self._max_frame else self.too_long(call.number, len(reply))

    def unencodable(self, call: Context, value: Any, error: Exception) -> bytes:
        """Its value can't be sent, unless it is for its arrays, which go another way."""
        from lair_worker import _errors

        if self._arrays is not None:
            try:
                reply = self._arrays.result(call, value)
            except Exception as refused:
                return self.failed(call.number, _errors.unencodable(refused))
            if reply is not None:
                return reply if len(reply) <= self._max_frame else self.too_long(call.number, len(reply))
        return self.failed(call.number, _errors.unencodable(explain(value, error)))

    def too_long(self, number: int, size: int) -> bytes:
        """Its value makes a frame of this size."""
        from lair_worker import _errors

        return self.failed(number, _errors.too_long(size, self._max_frame))

    def unknown(self, number: int, name: str, known: Any) -> bytes:
        """There is no such command."""
        from lair_worker import _errors

        failure = _errors.unknown(name)
        failure.message += _errors.suggest(name, list(known))
        return self.failed(number, failure)

    def failed(self, number: int, failure: Failure) -> bytes:
        """It has failed."""
        self._worker.error_count += 1
        return self._error(number, failure, {})

    def cancelled_frame(self, number: int) -> bytes:
        """It has been cancelled."""
        return _codec.encode([CANCELLED, number, self._generation])

    def _error(self, number: int, failure: Failure, more: dict[str, Any]) -> bytes:
        reply = _codec.encode([ERROR, number, self._generation, {**_body(failure), **more}])
        if len(reply) > self._max_frame:
            reply = _codec.encode([ERROR, number, self._generation, {**_body(failure.shortened()), **more}])
        return reply


def _body(failure: Failure) -> dict[str, Any]:
    return {
        "type": failure.type,
        "message": failure.message,
        "traceback": failure.traceback,
        "kind": failure.kind,
    }
