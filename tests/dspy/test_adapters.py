"""What is put together once is what DSPy puts together each time."""

from __future__ import annotations

import dspy
import pytest
from lair_dspy import _adapters

NAMES = ["chat", "json", "xml"]
CLASSES = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": dspy.XMLAdapter}
SIGNATURES = [
    "question -> answer",
    "context: list[str], question -> answer: str, score: float",
]


def prompt(adapter, signature, **inputs):
    return adapter.format(signature, [], inputs)


@pytest.mark.parametrize("text", SIGNATURES)
@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_dspys_the_second_time_too(name, text):
    signature = dspy.Signature(text)
    remembering = _adapters.adapter_of(name, signature_stays=True)
    for inputs in {"question": "one", "context": ["a"]}, {"question": "two", "context": []}:
        assert prompt(remembering, signature, **inputs) == prompt(CLASSES[name](), signature, **inputs)


def test_signatures_of_the_same_fields_are_told_apart():
    remembering = _adapters.adapter_of(None, signature_stays=True)
    plain = dspy.Signature("question -> answer")
    others = plain.with_instructions("Answer in Latin."), plain.append("why", dspy.OutputField())
    for signature in plain, *others:
        expected = prompt(dspy.ChatAdapter(), signature, question="?")
        assert prompt(remembering, signature, question="?") == expected


def test_the_message_is_put_together_once(monkeypatch):
    made = []
    original = dspy.ChatAdapter.format_field_structure
    monkeypatch.setattr(
        dspy.ChatAdapter,
        "format_field_structure",
        lambda self, signature: made.append(signature) or original(self, signature),
    )
    signature = dspy.Signature("question -> answer")
    for _ in range(3):
        prompt(_adapters.adapter_of("chat", signature_stays=True), signature, question="?")
    assert made == [signature]
    for _ in range(2):
        prompt(_adapters.adapter_of("chat"), signature, question="?")
    assert made == [signature] * 3


@pytest.mark.parametrize("name", NAMES)
def test_errors_name_dspys_adapter(name):
    assert type(_adapters.adapter_of(name, signature_stays=True)).__name__ == CLASSES[name].__name__


def test_programs_whose_signature_is_theirs_alone_have_it(worker, lm, monkeypatch):
    given = []
    original = _adapters.adapter_of

    def adapter_of(name, signature_stays):
        given.append(signature_stays)
        return original(name, signature_stays)

    monkeypatch.setattr(_adapters, "adapter_of", adapter_of)
    worker.configure(lm)
    for program_type in "predict", "chain_of_thought", "parallel":
        worker("create_program", id=program_type, signature="question -> answer", program_type=program_type)
    worker.ask("capital of Peru?", "predict")
    worker.ask("capital of Peru?", "chain_of_thought")
    worker("execute_program", program_id="parallel", inputs=[{"question": "capital of Peru?"}])
    assert given == [True, True, False]
