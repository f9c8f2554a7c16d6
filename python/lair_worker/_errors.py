"""Exceptions as the host gets them. Loaded when the first one is met."""

from __future__ import annotations

import os

from lair_worker._encode import type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LONGEST_MESSAGE = 64 << 10
_LONGEST_TRACEBACK = 256 << 10

# Kinds of protocol 2's ERROR. After the first two the command was not run.
UNKNOWN_COMMAND = "unknown_command"
INVALID_ARGUMENT = "invalid_argument"
REMOTE = "remote"
UNENCODABLE = "unencodable"
START = "start"
NOT_RUN = (UNKNOWN_COMMAND, INVALID_ARGUMENT)


class Failure:
    """One error reply: what both protocols say about it, each in its own form."""

    __slots__ = ("kind", "message", "traceback", "type")

    def __init__(self, type: str, message: str, traceback: str, kind: str) -> None:
        self.type = type
        self.message = message
        self.traceback = traceback
        self.kind = kind

    def shortened(self) -> Failure:
        """For a channel whose max_frame is too small for the whole of it."""
        return Failure(self.type[:100], self.message[:200], "", self.kind)


def from_exception(error: BaseException, kind: str = REMOTE) -> Failure:
    """An exception that user code raised. Never raises itself, however odd the exception is.

    BaseException on purpose: a ``__str__`` may raise anything. A SIGTERM that is caught with it is remembered
    by its handler.
    """
    try:
        cls = type_name(type(error))
    except Exception:
        cls = "Exception"
    try:
        message = _clean(str(error), _LONGEST_MESSAGE)
    except BaseException as second:
        message = f"<{cls}: its __str__ raised {type_name(type(second))}>"
    try:
        text = _traceback_text(error)
    except BaseException as second:
        text = f"{cls}: {message} (its traceback can't be shown: {type_name(type(second))})\n"
    # An exception object that is raised again and again would keep every traceback it ever had.
    error.__traceback__ = None
    return Failure(cls, message, text, kind)


def unencodable(error: Exception) -> Failure:
    """A result that can't be sent."""
    return Failure("ValueError", _clean(str(error), _LONGEST_MESSAGE), "", UNENCODABLE)


def too_long(size: int, limit: int) -> Failure:
    """A result whose frame would break the channel's limit."""
    return unencodable(ValueError(f"result makes a frame of {size} bytes; max_frame is {limit} bytes"))


def unknown(name: str) -> Failure:
    """No such command. Protocol 1 fixes the wording, so suggestions are ``suggest``'s."""
    message = _clean(f"Unknown command: {name}", _LONGEST_MESSAGE)
    return Failure("UnknownCommand", message, "", UNKNOWN_COMMAND)


def suggest(name: str, known: list[str]) -> str:
    """`` (did you mean 'count_words'?)``, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name[:100], known, n=3)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def from_call(
    error: BaseException,
    name: str,
    function: Callable[..., Any],
    positional: list[Any],
    keywords: dict[str, Any],
) -> Failure:
    """An exception out of ``function(*positional, **keywords)``, whose frame called it.

    A TypeError without any frame below the caller's was raised by the call itself: the arguments don't fit,
    and nothing has run. That holds for Python functions; a C function leaves no frame whatever it did, so
    there its signature decides, if it has one.
    """
    trace = error.__traceback__
    if trace is not None and trace.tb_next is not None and _is_guard(trace.tb_next):
        trace = trace.tb_next
    if isinstance(error, TypeError) and trace is not None and trace.tb_next is None:
        from lair_worker import _announce

        if _announce.is_plain(function) or not _announce.fits(function, positional, keywords):
            failure = from_exception(error, INVALID_ARGUMENT)
            signature = _announce.signature_text(function, name)
            if signature is not None:
                failure.message += _clean(f"; the signature is {signature}", _LONGEST_MESSAGE)
            return failure
    return from_exception(error)


def _is_guard(trace: TracebackType) -> bool:
    """Whether this is the frame of the SDK between a command in a thread and what has it run."""
    code = trace.tb_frame.f_code
    return code.co_name == "guard" and code.co_filename.startswith(_HERE)


def _traceback_text(error: BaseException) -> str:
    from traceback import format_exception

    text = "".join(format_exception(type(error), error, _without_sdk(error.__traceback__)))
    if len(text) > _LONGEST_TRACEBACK:
        text = "...\n" + text[-_LONGEST_TRACEBACK:]  # the end names the exception
    return _clean(text, len(text))


def _without_sdk(trace: TracebackType | None) -> TracebackType | None:
    """Leaves the user's frames: without the SDK's own, and those of the import of the user's module."""
    from types import TracebackType

    users = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith((_HERE, "<frozen importlib")):
            users.append(trace)
        trace = trace.tb_next
    for each in reversed(users):
        trace = TracebackType(trace, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return trace


def _clean(text: str, longest: int) -> str:
    """Plain text that can be sent: not a subclass, no lone surrogate, not endless."""
    if len(text) > longest:
        text = text[:longest] + f"... ({len(text)} characters)"
    return str.encode(text, "utf-8", "backslashreplace").decode()
