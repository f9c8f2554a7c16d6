"""What an answer is worth: built-in comparisons, functions of the host, Python functions by import path.

A metric is given as a name, as ``host:NAME``, as ``import:package.module:name``, or as an object
``{"name": ..., "fields": [...]}``, ``{"host": ...}``, ``{"import": ...}``. It gives a number, a bool, or
``{"score": ..., "feedback": ...}``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lair_dspy import _tools
from lair_dspy._dspy import need
from lair_dspy._errors import InvalidArgument, among
from lair_dspy._signature import Signature

Metric = Callable[..., Any]


def metric_of(given: Any, signature: Signature | None) -> Metric:
    """``metric(example, prediction, trace=None, pred_name=None, pred_trace=None)``.

    In the event loop one of the host gives something to await.
    """
    kind, name, fields = _parts("exact_match" if given is None else given)
    if kind == "host":
        return _of_host(name)
    if kind == "import":
        return _imported(name)
    compare = _COMPARE.get(name)
    if compare is None:
        raise InvalidArgument(
            f"there is no metric {name!r}" + among(name, [*_COMPARE, "host:NAME", "import:PATH"])
        )
    if signature is not None:
        for field in fields or []:
            if field not in signature.outputs:
                raise InvalidArgument(
                    f"metric.fields: there is no output {field!r}" + among(field, signature.outputs)
                )
        fields = [signature.mapping[field] for field in fields or signature.outputs]

    def metric(
        example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        known = [field for field in fields or example.labels().keys() if field in example]
        if not known:
            raise InvalidArgument(
                f"the example has none of the outputs {', '.join(fields or [])} to compare with"
            )
        scores = [compare(example[field], prediction.get(field)) for field in known]
        return sum(scores) / len(scores)

    return metric


def compares(given: Any) -> bool:
    """Whether a metric needs something to compare with. One of the host's or of Python may not."""
    return _parts("exact_match" if given is None else given)[0] == "name"


def reward_of(given: Any) -> Callable[[Any, Any], float]:
    """``reward(inputs, prediction)`` for best_of_n and refine."""
    kind, name, _ = _parts(given)
    if kind == "host":

        def of_host(inputs: Any, prediction: Any) -> float:
            found = _tools.call_host(name, [_plain(inputs), _plain(prediction)], {})
            return number(found)[0]

        return of_host
    if kind == "import":
        function = _function(name)

        def of_python(inputs: Any, prediction: Any) -> float:
            return number(function(inputs, prediction))[0]

        return of_python
    raise InvalidArgument(f"a reward is 'host:NAME' or 'import:package.module:name', not {given!r}")


def number(found: Any) -> tuple[float, str | None]:
    """Score and feedback of what a metric gave. InvalidArgument if it is neither number nor object."""
    feedback = None
    if isinstance(found, dict) or hasattr(found, "toDict"):
        found, feedback = found.get("score"), found.get("feedback")
    if isinstance(found, (bool, int, float)):
        return float(found), feedback
    raise InvalidArgument(f"a metric gives a number, a bool or {{score, feedback}}, not {found!r}")


def _parts(given: Any) -> tuple[str, str, list[str] | None]:
    if isinstance(given, str):
        for kind in ("host", "import"):
            if given.startswith(kind + ":"):
                return kind, given[len(kind) + 1 :], None
        return "name", given, None
    if isinstance(given, dict):
        for kind in ("host", "import", "name"):
            if isinstance(given.get(kind), str):
                return kind, given[kind], given.get("fields")
    raise InvalidArgument(
        f"a metric is a name, 'host:NAME', 'import:PATH' or an object of these, not {given!r}"
    )


def _of_host(name: str) -> Metric:
    def metric(
        example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        found = _tools.call_host(name, [_plain(example), _plain(prediction)], {})
        return found if inspect.isawaitable(found) else _shaped(found, pred_name)

    return metric


def _imported(path: str) -> Metric:
    function = _function(path)
    optional = ("trace", "pred_name", "pred_trace")
    try:
        own = inspect.signature(function).parameters.values()
        anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in own)
        takes = [name for name in optional if anything or any(each.name == name for each in own)]
    except (TypeError, ValueError):
        takes = []

    def metric(
        example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        given = {"trace": trace, "pred_name": pred_name, "pred_trace": pred_trace}
        return _shaped(function(example, prediction, **{name: given[name] for name in takes}), pred_name)

    metric.blocks = True  # type: ignore[attr-defined]  # for all that is known
    return metric


def _function(path: str) -> Any:
    found = _tools.imported(path, "the metric")
    if isinstance(found, type):
        found = found()
    if not callable(found):
        raise InvalidArgument(f"the metric {path!r} is no function")
    return found


def _shaped(found: Any, wants_feedback: Any) -> Any:
    """As optimizers take it: a number, or for those that look at one predictor a score with feedback."""
    score, feedback = number(found)
    if wants_feedback is not None or feedback is not None:
        return need().Prediction(score=score, feedback=feedback or f"This answer scored {score}.")
    return score


def _plain(values: Any) -> dict[str, Any]:
    from lair_dspy._signature import plain

    run = need().settings.get(_tools.RUN)
    own = dict(values.items()) if hasattr(values, "items") else dict(values)
    own = {name: value for name, value in own.items() if not name.startswith("dspy_")}
    signature = getattr(run, "signature", None)
    return signature.give(own) if signature is not None else plain(own)


# --- comparisons --------------------------------------------------------------------------------------


def _exact(wanted: Any, got: Any) -> float:
    """Texts are compared without case, articles, punctuation and more than one space in a row."""
    if isinstance(wanted, str) and isinstance(got, str):
        from dspy.evaluate.metrics import normalize_text

        return float(normalize_text(wanted) == normalize_text(got))
    return _identical(wanted, got)


def _identical(wanted: Any, got: Any) -> float:
    from lair_dspy._signature import plain

    return float(plain(wanted) == plain(got))


def _contains(wanted: Any, got: Any) -> float:
    if isinstance(got, str):
        from dspy.evaluate.metrics import normalize_text

        return float(normalize_text(str(wanted)) in normalize_text(got))
    return float(isinstance(got, (list, dict)) and wanted in got)


def _f1(wanted: Any, got: Any) -> float:
    from dspy.evaluate.metrics import f1_score

    return float(f1_score("" if got is None else str(got), str(wanted)))


_COMPARE = {"exact_match": _exact, "identical": _identical, "contains": _contains, "f1": _f1}
