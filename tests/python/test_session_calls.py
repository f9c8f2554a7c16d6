"""Who makes the calls of sessions: the accelerator, or the Python code that knows their beginning and end."""

from __future__ import annotations

import pytest

from test_sessions import call


@pytest.mark.parametrize("hooks", [False, True], ids=["plain", "on_session_end"])
def test_the_accelerator_makes_all_calls_that_begin_and_end_no_session(full, tier, hooks):
    worker = full(
        f"""
        import sys
        import lair_worker as lair
        @lair.command
        def caller(local=False):
            if local: lair.context().session.local["a"] = 1
            return sys._getframe(1).f_code.co_name
        @lair.command
        def cleanup_session(session_id): return sys._getframe(1).f_code.co_name
        if {hooks}:
            @lair.on_session_end
            def end(session): pass
        """
    )
    native, python = "_call" if tier == "T0" else "run", "_call"
    first = python if hooks else native  # what is to be remembered at once is remembered by Python
    assert call(worker, "caller", session="first", number=1) == python
    assert call(worker, "caller", session="first", number=1) == native
    assert call(worker, "caller", True, session="a", number=2) == first
    assert call(worker, "caller", session="a", number=2) == native
    assert call(worker, "caller", session="b", number=3) == first
    assert call(worker, "caller", session="a", number=4) == python, "it ends number 2"
    assert call(worker, "cleanup_session", "a", session="a", number=4) == python
