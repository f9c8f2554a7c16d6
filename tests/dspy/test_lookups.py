"""What is remembered of DSPy's lookups is what they would find."""

from __future__ import annotations

import dspy  # noqa: F401 (of which these are parts)
import pytest
from dspy._vendor.lm15.transports import _proxy
from dspy.clients import capabilities, costs, model_metadata
from lair_dspy import _dspy, _lookups

MODELS = ["gpt-4o-mini", "gpt-4o", "a-model-of-our-own"]


@pytest.fixture(autouse=True)
def loaded():
    _dspy.load()


def test_dspys_own_functions_are_wrapped():
    for module, name in (_proxy, "getproxies"), (costs, "model_info"), (capabilities, "model_info"):
        assert hasattr(getattr(module, name), "__wrapped__"), f"{module.__name__} looks up for itself"


def test_a_proxy_is_the_environments_of_now(monkeypatch):
    for name in "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy":
        monkeypatch.delenv(name, raising=False)

    def route():
        return _proxy.proxy_route_for(_proxy.parse_url("http://lm.test/v1"), proxy=None, trust_env=True)

    assert route() is None
    monkeypatch.setenv("HTTP_PROXY", "http://one.test:3128")
    assert (route().host, route().port) == ("one.test", 3128)
    monkeypatch.setenv("HTTP_PROXY", "http://two.test:3129")
    assert (route().host, route().port) == ("two.test", 3129)
    monkeypatch.setenv("NO_PROXY", "lm.test")
    assert route() is None
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("HTTP_PROXY")
    assert route() is None


def test_the_environment_is_walked_through_when_it_has_changed(monkeypatch):
    asked = []
    remembered = _lookups._while_the_environment_stays(lambda: asked.append(1) or {"http": "http://a"})
    for _ in range(3):
        found = remembered()
        assert found == {"http": "http://a"}
        found.clear()  # is the caller's
    assert len(asked) == 1
    monkeypatch.setenv("LAIR_TEST_ANYTHING", "new")
    assert remembered() and remembered()
    assert len(asked) == 2


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("namespaces", [None, (), ("openai",), ["azure", "openai"]])
def test_models_are_known_as_dspy_knows_them(model, namespaces):
    expected = model_metadata.model_info("openai", model, namespaces=namespaces)
    for _ in range(2):
        found = costs.model_info("openai", model, namespaces=namespaces)
        assert found == expected
        for value in found.values():  # is the caller's, down to the lists
            if isinstance(value, list):
                value.append("mine")
        found["mine"] = True
    assert bool(expected) == (model != "a-model-of-our-own" and namespaces != ())


def test_a_model_is_looked_up_once():
    asked = []

    def found(*key, namespaces):
        asked.append((key, namespaces))
        return {"a": 1}

    remembered = _lookups._for_each_model(found)
    for _ in range(3):
        assert remembered("openai", "one") == {"a": 1}
        assert remembered("openai", "one", namespaces=["x"]) == {"a": 1}
        assert remembered("azure", "one") == {"a": 1}
    assert asked == [(("openai", "one"), None), (("openai", "one"), ("x",)), (("azure", "one"), None)]


def test_a_dspy_without_them_is_left_as_it_is():
    before = dict(vars(costs))
    for name in "no_such_function", "model_info":  # nor is it wrapped twice
        _lookups._wrap(name, _lookups._for_each_model, ["dspy.clients.costs", "dspy.no_such_module"])
    assert dict(vars(costs)) == before
