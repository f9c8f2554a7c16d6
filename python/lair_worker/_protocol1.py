"""Protocol 1: one JSON object a frame. Spoken by any host, and by every host in its first frame."""

from __future__ import annotations

from time import monotonic, time

from lair_worker._context import Context, current
from lair_worker._encode import LARGEST_INT, decode, encode, explain, is_flow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._channel import Channel
    from lair_worker._errors import Failure
    from lair_worker._worker import Worker


class Malformed(Exception):
    """A frame that is no request. Answered, and the loop goes on."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


def parse(payload: Any) -> tuple[int, str, dict[str, Any]]:
    """A request's id, command and arguments. Malformed if the frame is none."""
    try:
        request = decode(payload)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"Invalid JSON: {error}") from None
    if type(request) is not dict:
        raise Malformed(f"Invalid request: an object is expected, not {type(request).__name__}")
    number = request.get("id")
    if type(number) is not int or not 0 <= number <= LARGEST_INT:
        raise Malformed("Invalid request: id must be an integer of at least 0")
    name = request.get("command")
    if type(name) is not str:
        raise Malformed("Invalid request: command must be a string", number)
    args = request.get("args")
    if args is None:
        args = {}
    elif type(args) is not dict:
        raise Malformed("Invalid request: args must be an object", number)
    return number, name, args


def malformed_reply(error: Malformed) -> bytes:
    """The answer to what is no request."""
    return encode(
        {
            "id": error.number,
            "success": False,
            "error": str(error).encode("utf-8", "backslashreplace").decode(),
            "error_type": "InvalidRequest",
            "refused": True,
            "timestamp": time(),
        }
    )


def success_reply(number: int, result: Any) -> bytes:
    """Raises what ``encode`` raises if the result can't be sent."""
    return encode({"id": number, "success": True, "result": result, "timestamp": time()})


def error_reply(number: int, failure: Failure, **more: Any) -> bytes:
    """``more`` is for a failed start: its stage, and whether it is permanent."""
    reply = {
        "id": number,
        "success": False,
        "error": failure.message or failure.type,
        "error_type": failure.type,
        "traceback": failure.traceback,
        "timestamp": time(),
    }
    if failure.kind in ("unknown_command", "invalid_argument"):
        reply["refused"] = True
    reply.update(more)
    return encode(reply)


class Protocol1:
    """Answers requests, one after the other."""

    def __init__(self, worker: Worker, channel: Channel) -> None:
        self._worker = worker
        self._max_frame = channel.max_frame
        self._channel = channel
        self._takes_session: dict[str, bool] = {}

    def run(self) -> None:
        """Until EOF or the command ``shutdown``. Raises HostGone and HostBroken."""
        receive, send, ending = self._channel.receive, self._channel.send, self._worker.ending
        while not ending.requested:
            payload = receive()
            if payload is None:
                return
            send(self.answer(payload))
            payload = None  # a large one is not kept while the worker waits

    def answer(self, payload: Any) -> bytes:
        """The reply to one frame."""
        try:
            number, name, args = parse(payload)
        except Malformed as error:
            self._worker.error_count += 1
            return malformed_reply(error)
        return self.answer_request(number, name, args)

    def answer_request(self, number: int, name: str, args: dict[str, Any]) -> bytes:
        """The reply to one request."""
        worker = self._worker
        worker.command_count += 1
        function = worker.table.get(name)
        if function is None:
            from lair_worker import _errors

            return self._failed(number, _errors.unknown(name))
        session = args.get("session_id")
        if session is not None and not self._wants_session(name):
            del args["session_id"]
        current.set(Context(name, {"session": session}, monotonic()))
        try:
            result = function(**args)
            if is_flow(result):
                from lair_worker._settle import settled

                result = settled(result)
        except BaseException as error:
            if worker.ending.terminated:
                raise
            from lair_worker import _errors

            return self._failed(number, _errors.from_call(error, name, function, [], args))
        finally:
            current.set(None)
        try:
            reply = success_reply(number, result)
        except Exception as error:
            from lair_worker import _errors

            return self._failed(number, _errors.unencodable(explain(result, error)))
        if len(reply) > self._max_frame:
            from lair_worker import _errors

            return self._failed(number, _errors.too_long(len(reply), self._max_frame))
        return reply

    def _wants_session(self, name: str) -> bool:
        """Whether the command declares ``session_id`` (or takes any keyword)."""
        wants = self._takes_session.get(name)
        if wants is None:
            from lair_worker._announce import accepts

            wants = self._takes_session[name] = accepts(self._worker.table[name], "session_id")
        return wants

    def _failed(self, number: int, failure: Failure) -> bytes:
        self._worker.error_count += 1
        reply = error_reply(number, failure)
        return reply if len(reply) <= self._max_frame else error_reply(number, failure.shortened())
