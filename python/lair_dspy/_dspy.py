"""DSPy itself, if this Python has it, and how it is kept from writing where it was not told to.

By itself DSPy caches answers in ``~/.dspy_cache``, and LiteLLM asks the network for prices when it is
imported. Here the cache is in memory, or in the folder that LAIR_DSPY_CACHE (or DSPY_CACHEDIR) names;
``off`` means none.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from lair_dspy import _lookups, _secrets
from lair_dspy._errors import DspyMissing

_MEMORY_ENTRIES = 20_000
RUN = "lair_run"  # the setting of DSPy that holds the run
SCOPE = "lair_scope"  # the setting of DSPy that tells whose answers are whose

dspy: Any = None
_why_not = ""


def cache_place() -> str:
    """``off``, ``memory``, or a folder."""
    return os.environ.get("LAIR_DSPY_CACHE") or os.environ.get("DSPY_CACHEDIR") or "memory"


def load() -> None:
    """Imports DSPy. That it is missing is said when somebody needs it."""
    global dspy, _why_not
    if dspy is not None:
        return
    place = cache_place()
    if place not in ("off", "memory"):
        os.environ["DSPY_CACHEDIR"] = place
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars in a log
    _secrets.guard_output()
    try:
        found = importlib.import_module("dspy")
    except ImportError as error:
        _why_not = str(error)
        return
    found.configure_cache(
        enable_disk_cache=False, enable_memory_cache=False
    )  # before anything makes the default
    found.cache = _scoped_cache(found, place)
    _lookups.remember()
    dspy = found


def available() -> bool:
    """Whether programs can run here."""
    return dspy is not None


def need() -> Any:
    """The module dspy. DspyMissing says how to get it."""
    if dspy is None:
        raise DspyMissing(
            f"this worker's Python can't import dspy ({_why_not}); `pip install dspy` in the environment of "
            "the pool's interpreter, then reload the pool"
        )
    return dspy


def _scoped_cache(found: Any, place: str) -> Any:
    from dspy.clients.cache import Cache

    class ScopedCache(Cache):
        """Answers are found again only with the same LM settings.

        DSPy's own key leaves out endpoint and API key, so that one session would be given what another one's
        endpoint has answered.
        """

        def cache_key(self, request: dict[str, Any], ignored: list[str] | None = None) -> str:
            scope = found.settings.get(SCOPE, "")
            return super().cache_key({**request, "_lair_scope": scope}, ignored)

    if place == "off":
        return ScopedCache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None)
    in_memory = place == "memory"
    return ScopedCache(
        enable_disk_cache=not in_memory,
        enable_memory_cache=True,
        disk_cache_dir=None if in_memory else os.path.abspath(place),
        disk_size_limit_bytes=int(os.environ.get("DSPY_CACHE_LIMIT", 1 << 30)),
        memory_max_entries=_MEMORY_ENTRIES,
        restrict_pickle=True,  # what lies in a folder may have been put there by anybody
    )
