"""What can go wrong, by type. The type's name and the message are what a host is told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AnswerUnusable",
    "DspyMissing",
    "ExecutionFailed",
    "InvalidArgument",
    "InvalidInputs",
    "InvalidLM",
    "InvalidSignature",
    "LMFailed",
    "NoLM",
    "ProgramExists",
    "ProgramNotFound",
    "among",
]


class LairDspyError(Exception):
    """The base of all of them."""

    __module__ = "lair_dspy"

    def __init_subclass__(cls) -> None:
        cls.__module__ = "lair_dspy"


class DspyMissing(LairDspyError):
    """The worker's Python has no dspy."""


class InvalidArgument(LairDspyError, ValueError):
    """An argument that no program could mean."""


class InvalidSignature(InvalidArgument):
    """A signature that can't be read. Nothing is put in its place."""


class InvalidInputs(InvalidArgument):
    """Inputs that are missing, unknown or of another type."""


class InvalidLM(InvalidArgument):
    """LM settings that DSPy does not take."""


class NoLM(LairDspyError, LookupError):
    """There is no LM to run the program with."""


class ProgramNotFound(LairDspyError, LookupError):
    """There is no such program here."""


class ProgramExists(LairDspyError, ValueError):
    """The id is taken."""


class ExecutionFailed(LairDspyError, RuntimeError):
    """The program ran and failed."""


class LMFailed(ExecutionFailed):
    """The LM's endpoint failed, or refused."""


class AnswerUnusable(ExecutionFailed):
    """The LM has answered, but not with what the signature asks for."""


def among(wrong: str, known: Iterable[str]) -> str:
    """How an error about an unknown name ends: with the nearest ones, or with all, if those are few."""
    names = sorted(known)
    near = difflib.get_close_matches(wrong, names, n=3, cutoff=0.6)
    if near:
        return "; did you mean " + " or ".join(repr(name) for name in near) + "?"
    if 0 < len(names) <= 12:
        return "; known: " + ", ".join(names)
    return ""
