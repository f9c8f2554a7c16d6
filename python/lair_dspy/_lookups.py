"""What DSPy looks up anew for each request, though the answer stays the same: remembered.

Two functions of DSPy's own modules are wrapped, so that they give what they gave, in less time: which
proxies the environment names (for which DSPy's client walks through all of it), and what is known of a model
(where that is not on the list of prices, as most local models are not, the whole list is searched, twice). A
DSPy that has no such functions is left as it is.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

_MOST_MODELS = 256


def remember() -> None:
    """Wraps them, once; DSPy has been imported."""
    _wrap("getproxies", _while_the_environment_stays, ["dspy._vendor.lm15.transports._proxy"])
    _wrap("model_info", _for_each_model, ["dspy.clients.costs", "dspy.clients.capabilities"])


def _wrap(name: str, wrapper: Callable[[Any], Any], modules: list[str]) -> None:
    for module_name in modules:
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue
        function = getattr(module, name, None)
        if callable(function) and not hasattr(function, "__wrapped__"):
            setattr(module, name, wrapper(function))


def _while_the_environment_stays(getproxies: Callable[[], dict[str, str]]) -> Callable[[], dict[str, str]]:
    last: tuple[Any, dict[str, str]] = (None, {})

    @wraps(getproxies)
    def remembered() -> dict[str, str]:
        nonlocal last
        # What os.environ decodes for each look at it. Two dicts of bytes are compared in no time.
        variables = getattr(os.environ, "_data", None)
        known, proxies = last
        if variables is None or variables != known:
            now = None if variables is None else dict(variables)
            proxies = getproxies()
            last = (now, proxies)
        return dict(proxies)

    return remembered


def _for_each_model(model_info: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    @lru_cache(_MOST_MODELS)
    def once(provider: Any, model: Any, namespaces: Any) -> dict[str, Any]:
        return model_info(provider, model, namespaces=namespaces)

    @wraps(model_info)
    def remembered(provider: Any, model: Any, *, namespaces: Any = None) -> dict[str, Any]:
        found = once(provider, model, namespaces if namespaces is None else tuple(namespaces))
        # As DSPy's own is: the caller's, down to the lists.
        return {
            name: copy.deepcopy(value) if isinstance(value, (list, dict)) else value
            for name, value in found.items()
        }

    return remembered
