"""One run of a program: with which LM, what it used, and what went wrong.

DSPy's settings for the run are a context of its own (``dspy.context``), never the process's. They carry the
run itself, also into the threads that DSPy starts.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import lair_worker

from lair_dspy import _lm, _programs, _secrets, _tools
from lair_dspy._build import Built
from lair_dspy._dspy import SCOPE, need
from lair_dspy._errors import AnswerUnusable, ExecutionFailed, LairDspyError, LMFailed, NoLM
from lair_dspy._signature import plain
from lair_dspy._store import LM, Scope

_MOST_THREADS = 64
_NEVER_ASK_THE_HOST = ("predict", "chain_of_thought")

_threads: ThreadPoolExecutor | None = None
totals: dict[str, Any] = {"usage": {}, "lm_calls": 0}  # of this worker


class Stopped(BaseException):
    """The run's caller has gone; ends its threads where they next ask an LM, a metric or the host.

    No Exception, which DSPy would take for a failure of one example, or of a callback, and go on.
    """


class Usage:
    """Counts tokens by model, in place of DSPy's tracker.

    DSPy gives each thread a copy of its tracker, and what the thread adds is lost; this one stays itself.
    """

    def __init__(self) -> None:
        self.usage_data: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def __deepcopy__(self, _: Any) -> Usage:
        return self

    def add_usage(self, lm: str, entry: dict[str, Any]) -> None:
        """DSPy calls it after each answer that is not from the cache."""
        if entry:
            self.usage_data[lm].append(entry)

    def total(self) -> dict[str, dict[str, int]]:
        """Sums of what are counts."""
        found: dict[str, dict[str, int]] = {}
        for model, entries in list(self.usage_data.items()):
            into = found.setdefault(model, {})
            for entry in list(entries):
                for name, value in entry.items():
                    if isinstance(value, int) and not isinstance(value, bool):
                        into[name] = into.get(name, 0) + value
        return found


class Run:
    """Settings and counters of one call."""

    def __init__(
        self, scope: Scope, built: Built, use: dict[str, Any] | None, settings: Any, history: bool = False
    ) -> None:
        self.scope = scope
        self.built = built
        self.use = use  # the counters of a program of the store
        self.signature = built.signature
        self.lm_settings = settings
        self.keeps_history = history
        self.history: list[dict[str, Any]] = []
        self._open: dict[Any, dict[str, Any]] = {}  # LM calls under way, for the history
        self.usage = Usage()
        self.lm_calls = 0
        self.stopped = False
        self.started = time.monotonic()
        self.hears_from_its_lm = False  # and not from DSPy's callbacks
        self._alone = getattr(lair_worker.context(), "concurrency", None) == 1
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()

    # --- the LM ---------------------------------------------------------------------------------------

    def asks_no_other_lm(self) -> Run:
        """Said of a run that does nothing but its program, where that is one of DSPy's simplest."""
        self.hears_from_its_lm = self.built.program_type in _NEVER_ASK_THE_HOST
        return self

    @contextmanager
    def asking(self, lm: Any, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Around a call of an LM, whose ``outputs`` go into what this gives."""
        asked: dict[str, Any] = {"outputs": None}
        self.lm_begins(id(asked), lm, inputs)
        try:
            yield asked
        except BaseException as error:
            self.lm_ends(id(asked), None, error)
            raise
        self.lm_ends(id(asked), asked["outputs"], None)

    @contextmanager
    def settings(self, **more: Any) -> Iterator[None]:
        """DSPy's settings for this run. NoLM if there is none to run it with."""
        dspy = need()
        if self.lm_settings is None and self.built.predictors:
            raise NoLM(
                "No LM is loaded. configure_lm sets one for the session; create_program and execute_program "
                "take `lm`, too; LAIR_DSPY_LM in the workers' environment is for all"
            )
        own = self.lm_settings or {}
        adapter = self.built.record.get("adapter") or own.get("adapter")
        key, also = _lm.fingerprint(own), more.pop("also", None)
        with dspy.context(
            lm=_lm.make(own, key) if own else None,
            adapter=_lm.adapter_of(adapter),
            trace=[],
            callbacks=[] if self.hears_from_its_lm else [_recorder_class()(self)],
            usage_tracker=self.usage,
            disable_history=True,  # DSPy's is the process's, and has all sessions' prompts
            warn_on_type_mismatch=False,  # the inputs have been checked
            **{_tools.RUN: self, SCOPE: _lm.fingerprint(key, also) if also else key},
            **more,
        ):
            yield

    # --- running --------------------------------------------------------------------------------------

    async def ask(self, module: Any, inputs: dict[str, Any], one_of_many: bool = False) -> Any:
        """Runs a module once, with the settings in force. Whatever it raises."""
        if self._alone and not one_of_many and self.built.program_type in _NEVER_ASK_THE_HOST:
            return module(**inputs)  # nothing else waits for the event loop, and this is the quickest
        if self.built.awaits:
            return await module.acall(**inputs)
        return await self.in_thread(lambda: module(**inputs))

    async def in_thread(self, function: Callable[[], Any]) -> Any:
        """Runs something that blocks. When the caller goes, the thread is told; it ends when it next asks."""
        global _threads
        if _threads is None:
            _threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="lair-dspy")
        context = contextvars.copy_context()
        try:
            return await self._loop.run_in_executor(_threads, context.run, function)
        except asyncio.CancelledError:
            self.stopped = True
            raise

    def wait_for(self, start: Callable[[], Awaitable[Any]]) -> Any:
        """Has the event loop await something, from a thread."""
        if self.stopped:
            raise Stopped
        context = self._context.copy()  # the call's, which threads of DSPy's own don't have
        future = context.run(asyncio.run_coroutine_threadsafe, _awaiting(start), self._loop)
        return future.result()

    def answer(self, prediction: Any) -> dict[str, Any]:
        """A prediction's values as plain JSON. AnswerUnusable if an output is missing."""
        if prediction is None:
            raise AnswerUnusable("Program execution failed: no attempt gave an answer")
        if not hasattr(prediction, "items"):
            return {"result": plain(prediction)}
        values = dict(prediction.items())
        if self.signature is None:
            return plain(values)
        if missing := self.signature.missing_outputs(values):
            raise AnswerUnusable(
                f"Program execution failed: the answer has no {', '.join(map(repr, missing))}, which the "
                f"signature '{self.signature.text}' promises"
            )
        return self.signature.give(values)

    def lm_begins(self, call_id: Any, lm: Any, inputs: dict[str, Any]) -> None:
        """An LM is about to be asked."""
        if self.stopped:
            raise Stopped
        self.lm_calls += 1
        if self.keeps_history:
            messages = inputs.get("messages") or [{"role": "user", "content": inputs.get("prompt")}]
            entry = {"model": lm.model, "messages": plain(messages), "started": time.monotonic()}
            self._open[call_id] = entry

    def lm_ends(self, call_id: Any, outputs: Any, exception: BaseException | None) -> None:
        """It has answered, or failed."""
        entry = self._open.pop(call_id, None)
        if entry is not None:
            entry["seconds"] = round(time.monotonic() - entry.pop("started"), 6)
            entry["outputs"] = plain(outputs)
            if exception is not None:
                entry["error"] = _secrets.redact(f"{type(exception).__name__}: {exception}")
            self.history.append(_secrets.masked(entry))

    # --- the end --------------------------------------------------------------------------------------

    def seconds(self) -> float:
        """Since the run began."""
        return round(time.monotonic() - self.started, 6)

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        """Around what runs the program: counts it, and has its failure told without keys."""
        try:
            yield
        except Exception as error:
            await self._count(False)
            raise failure(error) from None
        await self._count(True)

    async def _count(self, ok: bool) -> None:
        usage = self.usage.total()
        totals["usage"] = _programs.added(totals["usage"], usage)
        totals["lm_calls"] += self.lm_calls
        if self.use is not None:
            program_id = self.built.record["program_id"]
            await _programs.count_run(self.scope, program_id, self.use, self.seconds(), usage, ok)


async def _awaiting(start: Callable[[], Awaitable[Any]]) -> Any:
    return await start()


@cache
def _recorder_class() -> Any:
    from dspy.utils.callback import BaseCallback

    class Recorder(BaseCallback):
        """Sees all calls of LMs in a run, also of LMs that a module has made by itself.

        DSPy calls it for modules and adapters, too, which costs more than all else that is done for a run. So
        runs that have no such LMs are told by their LM itself (``_lm``).
        """

        def __init__(self, run: Run) -> None:
            self._run = run

        def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self._run.lm_begins(call_id, instance, inputs)

        def on_lm_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
            self._run.lm_ends(call_id, outputs, exception)

    return Recorder


def failure(error: Exception) -> LairDspyError:
    """The error that a host is told, for one that a program has raised. Without keys."""
    if isinstance(error, LairDspyError):
        return error
    dspy = need()
    text = _secrets.redact(str(error))
    said = f"Program execution failed: {type(error).__name__}: {text}"
    if isinstance(error, dspy.LMError):
        return LMFailed(said)
    if isinstance(error, dspy.AdapterParseError):
        return AnswerUnusable(said)
    return ExecutionFailed(said)


async def opened(scope: Scope, program_id: Any, program_data: Any, lm: Any, history: bool = False) -> Run:
    """The run of a program that the store has, or that comes with the call."""
    if program_data is None:
        asked = asyncio.ensure_future(scope.get(LM))  # at the same time
        try:
            built, use = await _programs.find(scope, program_id)
        except BaseException:
            asked.cancel()
            raise
        of_session = await asked
    else:
        record = _programs.record_of_data(program_data, program_id)
        built, use, of_session = _programs.built_of("data", record), None, await scope.get(LM)
    return Run(scope, built, use, _settings_for(built, lm, of_session), history)


def _settings_for(built: Built, of_call: Any, of_session: Any) -> dict[str, Any] | None:
    """The call's LM, else the program's, the session's, or the environment's."""
    if of_call is not None:
        return _lm.settings_of(of_call)
    settings = built.record.get("lm") or of_session
    if settings is None:
        return _lm.of_environment()
    _secrets.remember({name: each for name, each in settings.items() if _secrets.is_secret_name(name)})
    return settings
