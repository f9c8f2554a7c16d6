"""Text statistics: an ordinary module. Its public functions are a worker's commands."""

from __future__ import annotations

from collections import Counter


def count_words(text: str) -> int:
    """How many words there are."""
    return len(text.split())


def analyse(text: str, top: int = 3) -> dict:
    """Characters, words, and the words that come most often."""
    words = text.lower().split()
    return {"characters": len(text), "words": len(words), "top": Counter(words).most_common(top)}
