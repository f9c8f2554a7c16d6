"""DSPy programs as commands of a Lair worker: ``python3 -m lair_worker lair_dspy``.

Declared, run, compiled and evaluated from the host, in sessions that keep programs and LMs apart. Public
are the commands (``lair_dspy.commands``, docs/dspy.md) and the types of their errors.
"""

from lair_dspy import _dspy

_dspy.load()

from lair_dspy import commands as commands  # noqa: E402
from lair_dspy._errors import (  # noqa: E402
    AnswerUnusable,
    DspyMissing,
    ExecutionFailed,
    InvalidArgument,
    InvalidInputs,
    InvalidLM,
    InvalidSignature,
    LairDspyError,
    LMFailed,
    NoLM,
    ProgramExists,
    ProgramNotFound,
)

__version__ = "0.1.0"

__all__ = [
    "AnswerUnusable",
    "DspyMissing",
    "ExecutionFailed",
    "InvalidArgument",
    "InvalidInputs",
    "InvalidLM",
    "InvalidSignature",
    "LMFailed",
    "LairDspyError",
    "NoLM",
    "ProgramExists",
    "ProgramNotFound",
    "__version__",
]
