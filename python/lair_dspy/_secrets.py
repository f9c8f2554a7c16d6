"""Keys of LMs: known here from the moment they come in, so that nothing this worker says has them.

What goes out is redacted in three places: the messages of errors, descriptions of LMs, and everything that
is written to stdout and stderr, which DSPy and the libraries below it log to. Values shorter than 8
characters are left alone: local servers take keys like "x", and no text would survive without that letter.
"""

from __future__ import annotations

import os
import re
import sys
from collections import OrderedDict
from typing import Any

MASK = "***"
_SHORTEST = 8
_MOST = 4096  # keys that are remembered; the oldest are forgotten first

_known: OrderedDict[str, None] = OrderedDict()
_NAME = re.compile(
    r"(?:key|token|secret|password|passwd|credential|auth|header|cookie)s?(?:_|$)", re.IGNORECASE
)
# What keys look like, for those that came by another way.
_SHAPES = re.compile(r"\b(?:sk|pk|gsk|xai|AIza)[-_]?[A-Za-z0-9_\-]{16,}|(?<=Bearer )[^\s'\"]{8,}")


def remember(value: Any) -> None:
    """Takes every text within a value for a secret."""
    if isinstance(value, str):
        for piece in (value, value.removeprefix("Bearer ")):
            if len(piece) >= _SHORTEST:
                _known[piece] = None
                _known.move_to_end(piece)
        while len(_known) > _MOST:
            _known.popitem(last=False)
    elif isinstance(value, dict):
        for each in value.values():
            remember(each)
    elif isinstance(value, list):
        for each in value:
            remember(each)


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name is none to show: ``api_key``, ``extra_headers``, ``azure_ad_token``."""
    return bool(_NAME.search(name)) and not name.startswith(("max_", "api_key_env"))


def redact(text: str) -> str:
    """The text without any key."""
    for secret in reversed(list(_known)):
        if secret in text:
            text = text.replace(secret, MASK)
    return _SHAPES.sub(MASK, text)


def masked(settings: Any) -> Any:
    """Settings to show: secrets are replaced by ``***``, also in what lies within."""
    if isinstance(settings, dict):
        return {
            name: MASK if is_secret_name(str(name)) and value is not None else masked(value)
            for name, value in settings.items()
        }
    if isinstance(settings, list):
        return [masked(each) for each in settings]
    return redact(settings) if isinstance(settings, str) else settings


class _Redacting:
    """A text stream whose writes are redacted; everything else is the stream's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_output() -> None:
    """From now on stdout and stderr are redacted; keys of the environment are secrets, too."""
    for name, value in os.environ.items():
        if name.endswith(("_API_KEY", "_TOKEN", "_SECRET_ACCESS_KEY")):
            remember(value)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Redacting):
            setattr(sys, name, _Redacting(stream))
