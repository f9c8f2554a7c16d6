"""Protocol 2: one JSON array a frame, ``[kind, id, generation, ...]``. Negotiated in the handshake."""

from __future__ import annotations

from _thread import get_ident
from time import monotonic

from lair_worker import _codec
from lair_worker._cancel import Cancelled, Door
from lair_worker._channel import HostBroken
from lair_worker._context import Context, current
from lair_worker._encode import is_flow
from lair_worker._replies import Replies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lair_worker._batch import Journal
    from lair_worker._channel import Channel
    from lair_worker._errors import Failure
    from lair_worker._midcall import MidCall
    from lair_worker._session import Session, Sessions
    from lair_worker._worker import Worker

CALL, RESULT, SHUTDOWN = 1, 2, 5
CREDIT, CANCEL, CALLBACK_RESULT, BATCH = 8, 9, 12, 13
FEATURE_OF = {CREDIT: "stream", CANCEL: "cancel", CALLBACK_RESULT: "callback"}
FEATURES = ("cancel", "stream", "callback", "batch", "arrays", "spin", "handover")
ALONE = ("batch", "arrays", "spin", "handover")  # only where calls are made one after another
VERSION = 2


def features_of(offer: dict[str, Any], concurrency: int, socket: bool = True) -> list[str]:
    """Those of the offer that this side does. ``socket``: descriptors can come with the frames."""
    offered = offer.get("features")
    if type(offered) is not list:
        return []
    refused = set(ALONE) if concurrency > 1 else set()
    if not socket:
        refused |= {"arrays", "spin", "handover"}
    spin = offer.get("spin")
    if "spin" not in offered or not _codec.loop_is_native() or type(spin) is not int or not 0 < spin <= 1000:
        refused |= {"spin", "handover"}
    return [each for each in FEATURES if each in offered and each not in refused]


def concurrency_of(offer: dict[str, Any]) -> int:
    """How many calls the host would have in flight."""
    offered = offer.get("concurrency")
    return offered if type(offered) is int and offered > 1 else 1


def accepts(offer: dict[str, Any]) -> bool:
    """Whether the handshake's offer is one that this side can take up."""
    codecs = offer.get("codecs", [_codec.JSON])
    return (
        type(offer.get("version")) is int
        and offer["version"] >= VERSION
        and type(offer.get("generation")) is int
        and type(codecs) is list
        and _codec.JSON in codecs
    )


class Protocol2(Replies):
    """Answers calls, one after the other."""

    # For the accelerator, which does the work of ``run``, ``_take`` and ``_call`` for plain calls.
    _context_type = Context
    _context_var = current

    def __init__(self, worker: Worker, channel: Channel, generation: int, features: list[str]) -> None:
        super().__init__(worker, channel, generation)
        self._features = features
        self._table = worker.table
        self._door = Door(channel, generation, Protocol2._call.__code__)
        self._midcall: MidCall | None = None
        self._sessions: Sessions | None = None
        self._thread = get_ident()
        self._batches = "batch" in features
        self.generation = generation
        self.journal_fd = -1
        self._journal: Journal | None = None

    def hang_bell(self) -> int:
        """Makes calls cancellable; gives the signal that interrupts them, or 0."""
        self._channel.watch()
        self._channel.door = self._door
        return self._door.hang()

    def ready(self, more: dict[str, Any]) -> None:
        """Says that the worker can be called."""
        if "callback" in self._features:
            from lair_worker import _host

            _host.callback, _host.tell = self._callback, self._tell
        self._channel.send(self.ready_frame(more))

    def start_failed(self, failure: Failure, more: dict[str, Any]) -> None:
        """Says that it never will."""
        self._channel.send(self.start_failed_frame(failure, more))

    def run(self) -> None:
        """Until EOF, SHUTDOWN or the command ``shutdown``. Raises HostGone and HostBroken."""
        if _codec.loop_is_native():
            native: Any = _codec.native
            plain = self._channel.move_with(native.read_into, native.write_from)
            try:
                native.serve(self)
            finally:
                self._channel.move_with(*plain)
            return
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
            message = _codec.decode(payload)
        except (ValueError, RecursionError) as error:
            raise HostBroken(f"a frame that is not {_codec.label(payload)}: {error}") from None
        return self._take(message, received)

    def _take(self, message: Any, received: float) -> bytes | None:
        try:
            kind, number, generation, name, args, meta = message
            function = self._table[name]
        except (ValueError, TypeError, KeyError):
            return self._uncommon(message, received)
        if (
            kind != CALL
            or generation != self._generation
            or type(number) is not int
            or (type(args) is not dict and type(args) is not list)
            or type(meta) is not dict
        ):
            return self._uncommon(message, received)
        call = Context(name, meta, received, number)
        if "arrays" in meta:
            return self._call_with_arrays(number, function, call, args)
        if "session_number" in meta:
            return self._call_in_session(number, function, call, args)
        return self._call(number, function, call, args)

    def _call(self, number: int, function: Any, call: Context, args: Any) -> bytes:
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
                return self._failed_call(call, function, args, error)
        finally:
            current.set(None)
        if door.hit is not None:
            return self.cancelled(number)
        if "stream" in call.meta:
            return self.midcall().answer(call, value)
        try:
            reply = _codec.encode([RESULT, number, self._generation, value])
        except Exception as error:
            return self._odd_result(call, value, error)
        return reply if len(reply) <= self._max_frame else self.too_long(number, len(reply))

    def _call_in_session(self, number: int, function: Any, call: Context, args: Any) -> bytes | None:
        """A call, and what it tells the store at its end; None where that has taken the reply along."""
        reply = self._call_of_session(number, function, call, args)
        return reply if getattr(call, "told", None) is None else self._tell_before(call, reply)

    def _tell_before(self, call: Context, reply: bytes) -> bytes | None:
        """What is left of a reply when what its call told the store is on its way; None if both have gone."""
        told = call.told
        last = None if "arrays" in call.meta else told.pop()  # there RELEASE goes with the reply
        for frame in told:
            self._channel.send(frame)
        if last is None:
            return reply
        self._channel.send_both(last, reply)
        return None

    def _call_of_session(self, number: int, function: Any, call: Context, args: Any) -> bytes:
        """A call with what it ends: an older session of the same id, or, if it is the clean-up, its own."""
        sessions = self._sessions
        if sessions is None:
            from lair_worker import _session

            sessions = self._sessions = _session.sessions
        older = sessions.enter(call)
        if older is not None and self._is_hit_at_end_of(older, call):
            return self.cancelled(number)
        reply = self._call(number, function, call, args)
        if call.command == "cleanup_session":
            ended = sessions.leave(call)
            if ended is not None and self._is_hit_at_end_of(ended, call):
                return self.cancelled(number)
        return reply

    def _is_hit_at_end_of(self, session: Session, call: Context) -> bool:
        """Ends a session as part of a call; gives whether that call is cancelled meanwhile."""
        current.set(call)
        try:
            self.midcall().guard(call, session.end)
        except BaseException:
            if self._worker.ending.terminated:
                raise
        finally:
            self._door.armed = None
            current.set(None)
        return self._door.hit is not None

    def _call_with_arrays(self, number: int, function: Any, call: Context, args: Any) -> bytes | None:
        """A call with arrays among its arguments, or whose result may hold some."""
        if "arrays" not in self._features:
            raise HostBroken("a CALL with arrays, which this worker has not said that it takes")
        try:
            if self._arrays is None:
                from lair_worker._arrays import Arrays

                self._arrays = Arrays(self, self._channel, self._generation)
            self._arrays.enter(call, args)
        except (Cancelled, Exception) as error:  # not _arrays' own: no ctypes, no memory for another mapping
            if isinstance(error, HostBroken):
                raise
            if self._door.hit is not None:
                reply = self.cancelled(number)
            else:
                from lair_worker import _errors

                reply = self.failed(number, _errors.from_exception(error, _errors.INVALID_ARGUMENT))
        else:
            if "session_number" in call.meta:
                reply = self._call_in_session(number, function, call, args)  # type: ignore[assignment]
            else:
                reply = self._call(number, function, call, args)
        if self._arrays is None:
            return reply
        released = self._arrays.leave()
        if not released:
            return reply
        self._channel.send_both(self._arrays.release_frame(number, released), reply)
        return None

    # --- batches --------------------------------------------------------------------------------------

    def make_journal(self) -> int:
        """The file that tells the host how far a batch had got; -1 where there is none."""
        if self._batches:
            from lair_worker._batch import make_journal

            self.journal_fd = make_journal()
        return self.journal_fd

    def journal(self) -> Journal | None:
        """That file, to be written to."""
        if self._journal is None and self.journal_fd >= 0:
            from lair_worker._batch import Journal

            self._journal = Journal(self.journal_fd)
        return self._journal

    def _batch(self, message: list[Any]) -> bytes:
        if (
            len(message) < 6
            or type(message[3]) is not str
            or type(message[4]) is not list
            or type(message[5]) is not dict
        ):
            raise HostBroken("a BATCH that is not [13, id, generation, command, items, meta]")
        from lair_worker._batch import Batch

        _, number, _, name, items, meta = message[:6]
        function = self._table.get(name)
        if function is None:
            return self.unknown(number, name, self._table)
        return Batch(self, number).answer(function, name, items, meta)

    def call_item(self, number: int, function: Any, call: Context, args: Any) -> bytes:
        """The reply to an item of a batch, as to a call."""
        if "session_number" in call.meta:
            return self._call_of_session(number, function, call, args)
        return self._call(number, function, call, args)

    def send_now(self, reply: bytes) -> None:
        """A frame before the last one."""
        self._channel.send(reply)

    def look_for_cancel(self) -> None:
        """Has the next item looked whether it has been cancelled, should there be no bell."""
        if "cancel" in self._features:
            self._door.rung = True

    # --- what is odd ----------------------------------------------------------------------------------

    def _failed_call(self, call: Context, function: Any, args: Any, error: BaseException) -> bytes:
        from lair_worker import _errors

        positional, keywords = ([], args) if type(args) is dict else (args, {})
        return self.failed(
            call.number, _errors.from_call(error, call.command, function, positional, keywords)
        )

    def _raised(self, call: Context, function: Any, args: Any, error: BaseException) -> bytes | None:
        """What has come out of a call that the accelerator made; None if the call is cancelled."""
        if self._worker.ending.terminated:
            raise error
        if self._door.hit is not None:
            return None
        try:
            raise error  # puts a frame before its traceback, as `_call` would have one
        except BaseException as same:
            return self._failed_call(call, function, args, same)

    def _odd_result(self, call: Context, value: Any, error: Exception) -> bytes:
        if is_flow(value):
            return self.midcall().answer(call, value)
        return self.unencodable(call, value, error)

    def cancelled(self, number: int) -> bytes:
        """The last frame of a call that has been cancelled, whatever its command made of that."""
        self._door.hit = None
        return self.cancelled_frame(number)

    def _callback(self, call: Context, name: str, args: Any) -> Any:
        if get_ident() != self._thread:
            from lair_worker import _host

            raise RuntimeError(
                f"{_host.label(name)}: only the thread that runs the command can call the host"
            )
        return self.midcall().callback(call, name, args)

    def _tell(self, call: Context, name: str, args: Any) -> None:
        from lair_worker import _host

        _host.keep(call, _host.request(call, self._generation, 0, name, args, self._max_frame))

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
        if FEATURE_OF.get(kind) in self._features:
            return None  # for a call that has ended
        if kind == BATCH and self._batches:
            return self._batch(message)
        if kind != CALL:
            raise HostBroken(f"a frame of kind {kind}, which no host sends")
        if len(message) < 6 or type(message[3]) is not str or not _fit(message[4], message[5]):
            raise HostBroken("a CALL that is not [1, id, generation, command, args, meta]")
        name, args, meta = message[3:6]
        function = self._table.get(name)
        if function is not None:
            call = Context(name, meta, received, number)
            if "arrays" in meta:
                return self._call_with_arrays(number, function, call, args)
            if "session_number" in meta:
                return self._call_in_session(number, function, call, args)
            return self._call(number, function, call, args)
        self._worker.command_count += 1
        return self.unknown(number, name, self._table)


def _fit(args: Any, meta: Any) -> bool:
    return type(meta) is dict and (type(args) is dict or type(args) is list)
