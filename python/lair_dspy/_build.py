"""From a program's data to the dspy.Module that runs it."""

from __future__ import annotations

import shutil
from typing import Any

from lair_dspy import _lm, _metrics, _tools
from lair_dspy._dspy import need
from lair_dspy._errors import ExecutionFailed, InvalidArgument, among
from lair_dspy._signature import Signature

# Each type's options, with their defaults; None: no default.
OPTIONS: dict[str, dict[str, Any]] = {
    "predict": {},
    "chain_of_thought": {},
    "react": {"max_iters": 20},
    "program_of_thought": {"max_iters": 3, "interpreter": "deno"},
    "best_of_n": {"n": 3, "threshold": 1.0, "reward": None, "inner": "chain_of_thought", "fail_count": None},
    "refine": {"n": 3, "threshold": 1.0, "reward": None, "inner": "chain_of_thought", "fail_count": None},
    "parallel": {"inner": "predict", "num_threads": 8},
    "custom": {"module": None, "args": None},
}
_ALIASES = {"cot": "chain_of_thought", "chainofthought": "chain_of_thought", "pot": "program_of_thought"}


def type_of(given: Any) -> str:
    """The program type that a name means. InvalidArgument."""
    name = str(given).strip().lower().replace("-", "_")
    name = _ALIASES.get(name, name)
    if name not in OPTIONS:
        raise InvalidArgument(f"there is no program_type {given!r}" + among(name, OPTIONS))
    return name


def options_of(program_type: str, given: Any) -> dict[str, Any]:
    """Checked options; those that are not given are not added."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidArgument(f"options is an object, not {type(given).__name__}")
    for name in given:
        if name not in OPTIONS[program_type]:
            raise InvalidArgument(f"a program of type {program_type} has no option {name!r}" +
                                  among(name, OPTIONS[program_type]))  # fmt: skip
    for name in ("n", "max_iters", "num_threads"):
        if name in given and (type(given[name]) is not int or given[name] < 1):
            raise InvalidArgument(f"options.{name} is a number from 1, not {given[name]!r}")
    return dict(given)


class Built:
    """A program that is ready to run: its data, its signature and its module."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.program_type: str = record["program_type"]
        self.options: dict[str, Any] = {**OPTIONS[self.program_type], **record.get("options", {})}
        self.signature = Signature(record["signature"]) if record.get("signature") else None
        self.module = _module(self.program_type, self.options, self.signature, record.get("tools"))
        if record.get("state"):
            self.load_state(record["state"])
        if record.get("demos"):
            self._set_demos(record["demos"])
        self.lm = _lm.Settings(record["lm"]) if record.get("lm") else None
        self.awaits = callable(getattr(self.module, "aforward", None))  # else it runs in a thread

    @property
    def predictors(self) -> dict[str, Any]:
        """DSPy's predictors, by their names."""
        return dict(self.module.named_predictors())

    def fresh(self) -> Any:
        """The module for one run. Some types of DSPy count their failures in themselves."""
        if self.program_type in ("best_of_n", "refine"):
            copied = type(self.module).__new__(type(self.module))
            copied.__dict__.update(self.module.__dict__)
            return copied
        return self.module

    def dump_state(self) -> dict[str, Any]:
        """DSPy's own state, as plain JSON."""
        return state_of(self.module)

    def load_state(self, state: Any) -> None:
        """Takes DSPy's own state in. InvalidArgument if it is another program's."""
        if not isinstance(state, dict):
            raise InvalidArgument(f"a state is an object by predictor, not {type(state).__name__}")
        state = {name: value for name, value in state.items() if name != "metadata"}
        single = isinstance(self.module, need().Predict)  # whose state is not by predictor
        parts = {"self": state} if single else state
        wanted = {name for name, _ in self.module.named_parameters()}
        if wanted != set(parts) or not all(
            isinstance(part, dict) and "signature" in part for part in parts.values()
        ):
            raise InvalidArgument(
                f"the state is of another program: it has {', '.join(sorted(state)) or 'nothing'}, and "
                f"this one the predictors {', '.join(sorted(wanted)) or '(none)'}"
            )
        # LMs come from sessions, with their keys.
        parts = {name: {**part, "lm": None} if part.get("lm") else part for name, part in parts.items()}
        state = parts["self"] if single else parts
        try:
            self.module.load_state(state)
        except Exception as error:
            raise InvalidArgument(f"DSPy refuses the state: {type(error).__name__}: {error}") from None

    def _set_demos(self, demos: list[dict[str, Any]]) -> None:
        dspy = need()
        for predictor in self.predictors.values():
            fields = set(predictor.signature.fields)
            fitting = [{k: v for k, v in demo.items() if k in fields} for demo in demos]
            outputs = set(predictor.signature.output_fields)
            inputs = set(predictor.signature.input_fields)
            predictor.demos = [
                dspy.Example(**demo).with_inputs(*inputs & set(demo))
                for demo in fitting
                if inputs & set(demo) and outputs & set(demo)
            ]


def state_of(module: Any) -> dict[str, Any]:
    """A module's state as plain JSON."""
    import orjson

    def other(value: Any) -> Any:
        return value.toDict() if hasattr(value, "toDict") else str(value)

    return orjson.loads(orjson.dumps(module.dump_state(), default=other, option=orjson.OPT_NON_STR_KEYS))


def demos_of(given: Any, signature: Signature | None) -> list[dict[str, Any]]:
    """Checked demos, by identifier."""
    if not given:
        return []
    if not isinstance(given, list) or not all(isinstance(demo, dict) and demo for demo in given):
        raise InvalidArgument("demos is a list of objects, each with values of the signature's fields")
    if signature is None:
        raise InvalidArgument("demos need a signature")
    found = []
    for at, demo in enumerate(given):
        for name in demo:
            if name not in signature.mapping and name not in ("reasoning",):
                raise InvalidArgument(
                    f"demos[{at}]: there is no field {name!r}" + among(name, signature.mapping)
                )
        found.append({signature.mapping.get(name, name): value for name, value in demo.items()})
    return found


def _module(program_type: str, options: dict[str, Any], signature: Signature | None, tools: Any) -> Any:
    dspy = need()
    if program_type == "custom":
        return _custom(options)
    if signature is None:
        raise InvalidArgument("a program needs a signature, like 'question -> answer'")
    if tools and program_type != "react":
        raise InvalidArgument(f"tools are for programs of type react, not {program_type}")
    if program_type == "react":
        return dspy.ReAct(signature.dspy, tools=_tools.tools_of(tools or []), max_iters=options["max_iters"])
    if program_type == "program_of_thought":
        return dspy.ProgramOfThought(
            signature.dspy,
            max_iters=options["max_iters"],
            interpreter_factory=_interpreter(options["interpreter"]),
        )
    if program_type in ("best_of_n", "refine"):
        inner = _inner(options, signature, program_type)
        if options["reward"] is None:
            raise InvalidArgument(f"a program of type {program_type} needs options.reward, like 'host:score'")
        if not isinstance(options["threshold"], (int, float)):
            raise InvalidArgument(f"options.threshold is a number, not {options['threshold']!r}")
        make = dspy.BestOfN if program_type == "best_of_n" else dspy.Refine
        return make(
            inner,
            options["n"],
            _metrics.reward_of(options["reward"]),
            options["threshold"],
            options["fail_count"],
        )
    if program_type == "parallel":
        return _inner(options, signature, program_type)
    return {"predict": dspy.Predict, "chain_of_thought": dspy.ChainOfThought}[program_type](signature.dspy)


def _inner(options: dict[str, Any], signature: Signature, program_type: str) -> Any:
    inner = type_of(options["inner"])
    if inner not in ("predict", "chain_of_thought"):
        raise InvalidArgument(f"options.inner of {program_type} is predict or chain_of_thought, not {inner}")
    return _module(inner, {}, signature, None)


def _interpreter(name: Any) -> Any:
    """Deno keeps the LM's code in a sandbox. ``local``, asked for by name, has the worker's rights."""
    dspy = need()
    if name == "local":
        from dspy.primitives.local_interpreter import LocalInterpreter

        return LocalInterpreter
    if name != "deno":
        raise InvalidArgument(f"options.interpreter is 'deno' or 'local', not {name!r}")

    def sandbox() -> Any:
        if not _has_deno():
            raise ExecutionFailed(
                "program_of_thought runs the LM's code in Deno, which is not there (pip install "
                "'dspy[deno]'); options.interpreter = 'local' runs it without a sandbox, as the worker itself"
            )
        return dspy.PythonInterpreter()

    return sandbox


def _has_deno() -> bool:
    try:
        from deno import find_deno_bin

        return bool(find_deno_bin())
    except (ImportError, OSError):
        return shutil.which("deno") is not None


def _custom(options: dict[str, Any]) -> Any:
    dspy = need()
    make = _tools.imported(options["module"], "options.module")
    given = options["args"] or {}
    if not isinstance(given, dict) or not callable(make):
        raise InvalidArgument(
            "options.module is a class or a function, and options.args are its keyword arguments"
        )
    try:
        module = make(**given)
    except Exception as error:
        raise InvalidArgument(
            f"options.module {options['module']!r}: {type(error).__name__}: {error}"
        ) from None
    if not isinstance(module, dspy.Module):
        raise InvalidArgument(
            f"options.module {options['module']!r} makes a {type(module).__name__}, no dspy.Module"
        )
    return module
