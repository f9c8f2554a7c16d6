"""signatures.json holds this half and C++'s (tests/unit/dspy_signature_test.cpp) to the same rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lair_dspy._dspy import need
from lair_dspy._errors import InvalidSignature
from lair_dspy._signature import Signature, described

from support import ROOT

CASES = json.loads((Path(__file__).parent / "signatures.json").read_text(encoding="utf-8"))


def fields(given: list) -> list:
    return [
        {"name": each} if isinstance(each, str) else {"name": each[0], "type": each[1]} for each in given
    ]


def told(description: list) -> list:
    """Without what is not compared: descriptions, defaults, schemas."""
    return [
        {name: each[name] for name in ("name", "type") if isinstance(each.get(name), str)}
        for each in description
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["signature"])[:60])
def test_both_halves_read_it_alike(case):
    if "error" in case:
        with pytest.raises(InvalidSignature) as refused:
            described(case["signature"])
        assert case["error"] in str(refused.value)
        return
    found = described(case["signature"])
    assert told(found["inputs"]) == fields(case["inputs"])
    assert told(found["outputs"]) == fields(case["outputs"])
    renamed = {name: field for name, field in Signature(found).mapping.items() if name != field}
    assert renamed == case["mapping"]


def test_cpp_knows_the_names_that_dspy_has_taken():
    source = (ROOT / "src/dspy/names.cpp").read_text()
    listed = set(re.findall(r'"(\w+)"sv', source[source.index("kTaken") :]))
    own = need().Signature
    named = {*dir(own), *dir(type(own))}
    assert {name for name in named if not name.startswith("_") and hasattr(own, name)} <= listed
