"""Modules, tools and metrics that the tests name by import path."""

from __future__ import annotations

import logging
import sys
import warnings

import dspy


class TwoSteps(dspy.Module):
    """A custom program of two predictors, without `aforward`."""

    def __init__(self, style: str = "plain"):
        super().__init__()
        self.style = style
        self.first = dspy.Predict("question -> answer")
        self.second = dspy.ChainOfThought("question, answer -> verdict: bool")

    def forward(self, question):
        answer = self.first(question=question).answer
        verdict = self.second(question=question, answer=answer).verdict
        return dspy.Prediction(answer=answer, verdict=verdict, style=self.style)


class Leaky(dspy.Module):
    """Tells its LM's key wherever one can, as a careless library does."""

    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question):
        key = dspy.settings.lm.kwargs["api_key"]
        print(f"stdout has {key}")
        print(f"stderr has {key}", file=sys.stderr)
        logging.getLogger("dspy.careless").error("log has %s", key)
        logging.getLogger("careless").warning("last resort has %s", key)
        warnings.warn(f"warning has {key}", stacklevel=1)
        raise RuntimeError(f"error has {key}")


class NotAModule:
    """What options.module must not be."""


def broken():
    """What can't be made."""
    raise RuntimeError("no such luck")


def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


def is_a_town(example, prediction):
    """A metric of two parameters."""
    return {"score": float(prediction.answer.endswith("ville")), "feedback": "towns end in ville"}


def short(inputs, prediction):
    """A reward."""
    return 1.0 if len(prediction.answer) < 10 else 0.25
