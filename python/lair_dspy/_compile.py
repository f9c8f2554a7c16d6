"""Optimizers: which there are, what they take, and how far one is.

All of the installed DSPy that change the prompts and demos of one program; those that train weights are left
out, and those whose result is no data. An optimizer blocks, so it runs in a thread; what it does is seen by
its metric, by DSPy's callbacks and by its log.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator
from typing import Any

from lair_dspy import _lm, _metrics, _programs, _run, _secrets, _tools
from lair_dspy._build import state_of
from lair_dspy._dspy import need
from lair_dspy._errors import InvalidArgument, LairDspyError, among

_TRAIN_WEIGHTS = {"BootstrapFinetune", "BetterTogether"}
# Ensemble makes one program of many, KNNFewShot changes forward(), Avatar is for agents of its own kind.
_NO_DATA = {"Ensemble", "KNNFewShot", "AvatarOptimizer", "Teleprompter"}
_LMS = {"prompt_model", "task_model", "reflection_lm", "teacher_lm"}  # options that are LM settings
_OURS = {"self", "metric", "student", "trainset", "valset", "teacher", "kwargs", "args", "metric_kwargs"}


def optimizers() -> dict[str, Any]:
    """Those of the installed DSPy, by name."""
    import dspy.teleprompt as teleprompt

    found = {}
    for name in dir(teleprompt):
        each = getattr(teleprompt, name)
        if (
            isinstance(each, type)
            and issubclass(each, teleprompt.Teleprompter)
            and name not in _TRAIN_WEIGHTS | _NO_DATA
        ):
            found[name] = each
    return found


def _taken_by_init(make: Any) -> dict[str, inspect.Parameter]:
    """What an optimizer's ``__init__`` takes, also by passing it on to that of its base."""
    found: dict[str, inspect.Parameter] = {}
    for each in (base for base in make.__mro__ if "__init__" in vars(base)):
        own = inspect.signature(each.__init__).parameters
        found = {**own, **found}
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in own.values()):
            break
    return found


def optimizer_of(name: Any) -> Any:
    """The class; case does not matter. InvalidArgument."""
    known = optimizers()
    aliases = {"bootstraprs": "BootstrapFewShotWithRandomSearch"}
    lowered = {each.lower(): each for each in known}
    wanted = str(name).lower().replace("_", "")
    found = lowered.get(aliases.get(wanted, wanted).lower())
    if found is None:
        raise InvalidArgument(f"there is no optimizer {name!r}" + among(str(name), known))
    return known[found]


class Compilation:
    """One optimizer with its options, checked before anything runs."""

    def __init__(
        self, run: _run.Run, name: Any, options: Any, metric: Any, trainset: Any, valset: Any
    ) -> None:
        self.run = run
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._metric = metric
        self._count = 0
        self._lms: list[dict[str, Any]] = []
        make = optimizer_of(name)
        self.name = make.__name__
        init, compiling = _taken_by_init(make), inspect.signature(make.compile).parameters
        own, later = self._split(options, init, compiling)
        if "metric" in init:
            own["metric"] = self.watched_metric
        if "reflection_lm" in init and "reflection_lm" not in own and run.lm is not None:
            own["reflection_lm"] = run.lm.lm()
        later["trainset"] = trainset
        if valset is not None:
            if "valset" not in compiling:
                raise InvalidArgument(f"{self.name} takes no valset")
            later["valset"] = valset
        if "requires_permission_to_run" in compiling:
            later["requires_permission_to_run"] = False
        self._compiling = later
        try:
            with run.settings(also=self._lms):  # some look for their LM here
                self.optimizer = make(**own)
        except LairDspyError:
            raise
        except ImportError as error:
            raise InvalidArgument(f"{self.name}: {error}") from None
        except Exception as error:
            raise InvalidArgument(_secrets.redact(f"{self.name} refuses its options: {error}")) from None

    @property
    def lms(self) -> list[dict[str, Any]]:
        """The settings of the LMs that it uses besides the program's."""
        return self._lms

    def _split(self, options: Any, init: Any, compiling: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if options is not None and not isinstance(options, dict):
            raise InvalidArgument(f"options is an object, not {type(options).__name__}")
        own: dict[str, Any] = {}
        later: dict[str, Any] = {}
        known = (set(init) | set(compiling) | {"teacher_lm"}) - _OURS
        for name, value in (options or {}).items():
            if name not in known:
                raise InvalidArgument(f"{self.name} has no option {name!r}" + among(name, known))
            if name in _LMS and isinstance(value, dict):
                settings = _lm.settings_of(value)
                self._lms.append(settings)
                value = _lm.make(settings)
            if name == "teacher_lm" and name not in init:
                own["teacher_settings"] = {"lm": value}
            elif name in init:
                own[name] = value
            else:
                later[name] = value
        return own, later

    # --- seen from the optimizer's threads ------------------------------------------------------------

    def watched_metric(
        self, example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
    ) -> Any:
        """The metric; says how far the optimizer is, and ends it when nobody waits any more."""
        if self.run.stopped:
            raise _run.Stopped
        found = self._metric(example, prediction, trace, pred_name, pred_trace)
        self._count += 1
        self.tell({"type": "progress", "metric_calls": self._count, "score": _metrics.number(found)[0]})
        return found

    def tell(self, item: dict[str, Any]) -> None:
        """Puts an item into the stream."""
        item |= {"lm_calls": self.run.lm_calls, "seconds": self.run.seconds()}
        self._loop.call_soon_threadsafe(self.queue.put_nowait, item)

    # --- running --------------------------------------------------------------------------------------

    async def progress(self, student: Any) -> AsyncIterator[dict[str, Any]]:
        """Items of progress; after the last one ``compiled`` is the program."""
        task = asyncio.create_task(self._compile(student))
        try:
            while (item := await self.queue.get()) is not None:
                yield item
            self.compiled = await task
        finally:
            self.run.stopped = not task.done()
            task.cancel()
            await asyncio.wait([task])

    async def _compile(self, student: Any) -> Any:
        log = _Log(self)
        logger = logging.getLogger("dspy")
        logger.addHandler(log)
        try:
            with self.run.settings(also=self._lms):
                return await self.run.in_thread(lambda: self.optimizer.compile(student, **self._compiling))
        finally:
            logger.removeHandler(log)
            self._loop.call_soon(self.queue.put_nowait, None)

    def told(self) -> dict[str, Any]:
        """What came out, for the program's data."""
        compiled = self.compiled
        found = {"optimizer": self.name, "metric_calls": self._count, "at": _programs.now()}
        scores = [each.get("score") for each in getattr(compiled, "candidate_programs", None) or []]
        if scores and all(isinstance(score, (int, float)) for score in scores):
            found["score"] = max(scores)
        found["demos"] = {name: len(each.demos) for name, each in compiled.named_predictors()}
        return found

    def state(self) -> dict[str, Any]:
        """The compiled program's state."""
        return state_of(self.compiled)


class _Log(logging.Handler):
    """The optimizer's own log lines, as items; of this run only."""

    def __init__(self, compilation: Compilation) -> None:
        super().__init__(logging.INFO)
        self._compilation = compilation

    def emit(self, record: logging.LogRecord) -> None:
        if need().settings.get(_tools.RUN) is not self._compilation.run:
            return
        if not record.name.startswith(("dspy.teleprompt", "dspy.evaluate")):
            return
        message = _secrets.redact(record.getMessage())
        self._compilation.tell({"type": "log", "level": record.levelname.lower(), "message": message})
