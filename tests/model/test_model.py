"""The model of the pool's core protocol keeps its invariants, and would not if one piece of it were wrong."""

from __future__ import annotations

import os
import re

import pytest

# What can be searched while one waits: bounds of which each leaves something else out.
SMALL = {
    "two workers": ("WORKERS=2", "DEATHS=1", "EXPIRIES=0"),
    "two workers, a deadline": ("WORKERS=2", "CALLS=1", "DEATHS=1"),
    "one worker, checked": ("WORKERS=1", "DEATHS=1", "CHECKS=1"),
    "three callers": ("WORKERS=1", "CALLERS=3", "CALLS=1", "DEATHS=1"),
}
LARGE = ("WORKERS=2", "CALLERS=2", "CALLS=2", "DEATHS=2")

# What is made wrong, and what must be said of it.
PLANTED = {
    "DIRTY_RETURN": "invariant 2: an idle worker is owned, or has unfinished business",
    "TWO_OWNERS": "invariant 1: the owner's epoch is not the row's",
    "CHECKIN_BY_SLOT": "invariant 1: the owner's epoch is not the row's",
    "LOST_WORKER": "invariant 3: a busy worker is nobody's",
    "LOST_WAKE": "invariant 4: a worker is free while a waiter sleeps unwoken",
    "LEAKED_GRANT": "waiters[_pid].epoch==0",
    "STALE_REPLY": "j==waiters[_pid].call",
    "RECORD_BY_SLOT": "j==waiters[_pid].call",
    "STRANDED_WAITER": "invalid end state",
}


def holds(verdict) -> None:
    assert verdict.errors == 0, f"the model breaks a promise:\n{verdict}"
    assert verdict.complete, f"the search was cut short:\n{verdict}"


@pytest.mark.parametrize("bounds", SMALL.values(), ids=SMALL.keys())
def test_every_invariant_holds(bounds, spin):
    verdict = spin.verify(*bounds, flags=("-O1",))
    holds(verdict)
    if "CHECKS=1" in bounds:  # no part of the model is out of reach
        assert set(verdict.unreached()) == {'"-end-"'}, str(verdict)


@pytest.mark.skipif(not os.environ.get("LAIR_LONG"), reason="takes minutes: ./dev test --long")
def test_every_invariant_holds_with_two_deaths(spin):
    holds(spin.verify(*LARGE, flags=("-O2", "-DCOLLAPSE"), megabytes=4000))


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug, spin):
    verdict = spin.verify("WORKERS=1", "DEATHS=1", f"PLANT_{bug}", flags=("-O0",))
    assert verdict.errors == 1, f"nothing found:\n{verdict}"
    assert PLANTED[bug] in str(verdict), f"something else was found:\n{verdict}"
    assert verdict.states < 100_000
    assert re.search(r"^ *Checkout by \d$", verdict.story, re.MULTILINE), f"not a story:\n{verdict.story}"
