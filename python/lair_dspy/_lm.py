"""LMs: settings as data, and the dspy.LM that this worker makes of them.

Settings belong to a call, a program or a session; nothing here touches DSPy's process-wide configuration.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections import OrderedDict
from functools import cache
from typing import Any

from lair_dspy import _adapters, _secrets
from lair_dspy._dspy import RUN, need
from lair_dspy._errors import InvalidLM

_PREFIX = {"google": "gemini"}  # what the original called it
_OWN = {"model", "api_key", "api_key_env", "provider", "adapter", "temperature"}
# Names that are meant when a name is nearly one of them; all others go to dspy.LM as they are.
_KNOWN = _OWN | {
    "api_base", "base_url", "api_version", "max_tokens", "cache", "num_retries", "model_type", "timeout",
    "engine", "top_p", "stop", "n", "seed", "headers", "extra_headers", "use_developer_role", "rollout_id",
}  # fmt: skip
_NOT_DATA = {"callbacks", "async_engine", "launch_kwargs", "train_kwargs", "finetuning_model", "prompt_cache"}
_DEFAULT_TEMPERATURE = 0.7  # the original's
_MOST_LMS = 64

_made: OrderedDict[str, Any] = OrderedDict()
_checked: OrderedDict[str, Settings] = OrderedDict()  # by the fingerprint of what was given


def settings_of(given: Any) -> dict[str, Any]:
    """Checked settings, with ``model`` as ``provider/name``. InvalidLM."""
    if not isinstance(given, dict):
        raise InvalidLM(
            f"LM settings are an object like {{'model': 'openai/gpt-4o-mini'}}, not {type(given).__name__}"
        )
    _secrets.remember({name: value for name, value in given.items() if _secrets.is_secret_name(name)})
    settings = {name: value for name, value in given.items() if value is not None or name == "temperature"}
    for name in settings:
        if name in _NOT_DATA:
            raise InvalidLM(f"{name} is no data, and can't be set from outside")
        if name not in _KNOWN and (near := difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.75)):
            raise InvalidLM(f"there is no LM setting {name!r}; did you mean {near[0]!r}?")
    settings["model"], settings["provider"] = _model(settings)
    _adapters.check(settings.get("adapter"))
    if not isinstance(settings.get("engine", "auto"), str):
        raise InvalidLM("engine is 'auto', 'lm15' or 'litellm'")
    variable = settings.get("api_key_env")
    if variable is not None and "api_key" in settings:
        raise InvalidLM("api_key and api_key_env exclude each other")
    if variable is not None and not os.environ.get(str(variable)):
        raise InvalidLM(
            f"api_key_env names the variable {variable!r}, which this worker's environment has not"
        )
    explicit = "temperature" in settings
    settings.setdefault("temperature", _DEFAULT_TEMPERATURE)
    try:
        make(settings)
    except InvalidLM:
        if explicit:
            raise
        settings["temperature"] = None  # OpenAI's reasoning models take none
        make(settings)
    return settings


def _model(settings: dict[str, Any]) -> tuple[str, str]:
    model, provider = settings.get("model"), settings.get("provider")
    if not isinstance(model, str) or not model.strip():
        raise InvalidLM("model is required, like 'openai/gpt-4o-mini'")
    if provider is not None and not isinstance(provider, str):
        raise InvalidLM(f"provider is a text, not {type(provider).__name__}")
    prefix = _PREFIX.get(provider or "", provider)
    head, slash, _ = model.partition("/")
    if prefix and not (slash and head == prefix):
        return f"{prefix}/{model}", str(provider)
    if slash:
        return model, str(provider or head)
    if model.startswith("gemini"):
        return f"gemini/{model}", "google"
    if "api_base" in settings or "base_url" in settings:
        return f"openai/{model}", "openai"  # what local servers speak
    raise InvalidLM(f"whose model is {model!r}? Write 'provider/{model}', or set provider or api_base")


class Settings:
    """Checked settings, and what many runs with them need to know."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.key = fingerprint(values)
        self._secrets = {name: each for name, each in values.items() if _secrets.is_secret_name(name)}

    def lm(self) -> Any:
        """The dspy.LM of them. Their keys are secrets, here, too, from now on."""
        _secrets.remember(self._secrets)
        return make(self.values, self.key)


def checked(given: Any) -> Settings:
    """``settings_of`` for what comes with each call, which is checked once. InvalidLM."""
    key = fingerprint(given)
    found = _checked.get(key)
    if found is None:
        found = _checked[key] = Settings(settings_of(given))
        while len(_checked) > _MOST_LMS:
            _checked.popitem(last=False)
    _checked.move_to_end(key)
    return found


def make(settings: dict[str, Any], key: str | None = None) -> Any:
    """The dspy.LM of these settings; the same one for the same settings, so that connections are kept.

    ``key``: their fingerprint, if the caller has it.
    """
    key = key or fingerprint(settings)
    found = _made.get(key)
    if found is None:
        found = _made[key] = _construct(settings)
        while len(_made) > _MOST_LMS:
            _made.popitem(last=False)
    _made.move_to_end(key)
    return found


def _construct(settings: dict[str, Any]) -> Any:
    lm_class = _lm_class()
    options = {
        name: value for name, value in settings.items() if name not in _OWN - {"temperature", "api_key"}
    }
    if variable := settings.get("api_key_env"):
        options["api_key"] = os.environ.get(variable)
    _secrets.remember({name: value for name, value in options.items() if _secrets.is_secret_name(name)})
    try:
        return lm_class(settings["model"], **options)
    except Exception as error:
        raise InvalidLM(_secrets.redact(f"DSPy refuses the LM {settings['model']!r}: {error}")) from None


@cache
def _lm_class() -> Any:
    dspy = need()

    class LM(dspy.LM):
        """dspy.LM that tells the run which asks it, if that has no other way to know.

        DSPy's callbacks could do this, at the price of looking at the signatures of what they are called for.
        """

        def __call__(self, prompt: Any = None, *, messages: Any = None, **more: Any) -> Any:
            run = dspy.settings.get(RUN)
            if run is None or not run.hears_from_its_lm:
                return super().__call__(prompt, messages=messages, **more)
            with run.asking(self, {"prompt": prompt, "messages": messages}) as asked:
                asked["outputs"] = super().__call__(prompt, messages=messages, **more)
            return asked["outputs"]

        async def acall(self, prompt: Any = None, *, messages: Any = None, **more: Any) -> Any:
            run = dspy.settings.get(RUN)
            if run is None or not run.hears_from_its_lm:
                return await super().acall(prompt, messages=messages, **more)
            with run.asking(self, {"prompt": prompt, "messages": messages}) as asked:
                asked["outputs"] = await super().acall(prompt, messages=messages, **more)
            return asked["outputs"]

    # Whose state is that of DSPy's own class, wherever DSPy writes it down.
    LM.__module__, LM.__qualname__ = dspy.LM.__module__, dspy.LM.__qualname__
    return LM


def fingerprint(*settings: Any) -> str:
    """Tells settings apart, keys included, without telling them."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=repr).encode()).hexdigest()


def shown(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """Settings without their secrets."""
    return None if settings is None else _secrets.masked(settings)


def without_secrets(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """Settings to give away: secrets are left out, so that the rest can be used with others."""
    if settings is None:
        return None
    return {name: value for name, value in settings.items() if not _secrets.is_secret_name(name)}


def of_environment() -> Settings | None:
    """LAIR_DSPY_LM, the settings of all calls that have no others: a model's name, or settings as JSON."""
    text = os.environ.get("LAIR_DSPY_LM", "").strip()
    if not text:
        return None
    try:
        given = json.loads(text) if text.startswith("{") else {"model": text}
        return checked(given)
    except (InvalidLM, ValueError) as error:
        raise InvalidLM(_secrets.redact(f"the environment variable LAIR_DSPY_LM: {error}")) from None
