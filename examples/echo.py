"""Gives back what it is given: what a call costs when the work is nothing. `lair bench` calls it."""

from __future__ import annotations


def echo(value: object = None) -> object:
    """The same value."""
    return value
