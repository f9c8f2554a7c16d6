"""One run of a program: with which LM, what it used, and what went wrong.

DSPy's settings for the run are a context of its own (``dspy.context``), never the process's. They carry the
run itself, also into the threads that DSPy starts.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import lair_worker

from lair_dspy import _adapters, _lm, _programs, _secrets, _session_lm, _tools
from lair_dspy._begin import a_loop
from lair_dspy._build import Built
from lair_dspy._dspy import SCOPE, need
from lair_dspy._errors import AnswerUnusable, ExecutionFailed, LairDspyError, LMFailed, NoLM
from lair_dspy._signature import plain
from lair_dspy._store import Scope

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
        self,
        scope: Scope,
        built: Built,
        use: dict[str, Any] | None,
        settings: _lm.Settings | None,
        history: bool = False,
    ) -> None:
        self.scope = scope
        self.built = built
        self.use = use  # the counters of a program of the store
        self.signature = built.signature
        self.lm = settings
        self.keeps_history = history
        self.history: list[dict[str, Any]] = []
        self._open: dict[Any, dict[str, Any]] = {}  # LM calls under way, for the history
        self.usage = Usage()
        self.used: dict[str, dict[str, int]] = {}  # when the run has ended: the sums
        self.lm_calls = 0
        self.stopped = False
        self.started = time.monotonic()
        self.hears_from_its_lm = False  # and not from DSPy's callbacks
        # Nothing else waits for the event loop, and DSPy's calls that block are the quickest.
        self.blocks = built.program_type in _NEVER_ASK_THE_HOST and lair_worker.context().concurrency == 1
        self._loop: Any = asyncio._get_running_loop()
        self._context = contextvars.copy_context() if self._loop is not None else None

    async def waits(self) -> Run:
        """Said before anything that waits, or runs in a thread: from here on there is an event loop."""
        await a_loop()
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        return self

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
        own = self.lm
        if own is None and self.built.predictors:
            raise NoLM(
                "No LM is loaded. configure_lm sets one for the session; create_program and execute_program "
                "take `lm`, too; LAIR_DSPY_LM in the workers' environment is for all"
            )
        adapter = self.built.record.get("adapter") or (own.values.get("adapter") if own else None)
        key, also = own.key if own else "", more.pop("also", None)
        with dspy.context(
            lm=own.lm() if own else None,
            adapter=_adapters.adapter_of(adapter, signature_stays=self.hears_from_its_lm),
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
        if self.blocks and not one_of_many:
            return module(**inputs)
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

    def counted(self, at_end: bool = False) -> _Counted:
        """Around what runs the program: counts it, and has its failure told without keys.

        ``at_end``: when the call has ended, which costs no wait.
        """
        return _Counted(self, at_end)

    async def count(self, ok: bool, at_end: bool) -> None:
        """Adds this run to what is counted."""
        usage = self.used = self.usage.total()
        _programs.add(totals["usage"], usage)
        totals["lm_calls"] += self.lm_calls
        if self.use is not None:
            program_id = self.built.record["program_id"]
            await _programs.count_run(self.scope, program_id, self.use, self.seconds(), usage, ok, at_end)


class _Counted:
    """What ``Run.counted`` gives: an ``asynccontextmanager`` costs more than what is done here."""

    __slots__ = ("_at_end", "_run")

    def __init__(self, run: Run, at_end: bool) -> None:
        self._run = run
        self._at_end = at_end

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        if error is None:
            await self._run.count(True, self._at_end)
        elif isinstance(error, Exception):
            await self._run.count(False, self._at_end)
            raise failure(error) from None


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
    use: dict[str, Any] | None = None
    if program_data is None:
        built, use = await _programs.find(scope, program_id)
    else:
        built = _programs.built_of_data(program_data, program_id)
    return Run(scope, built, use, await _settings_for(scope, built, use, lm), history)


async def _settings_for(
    scope: Scope, built: Built, use: dict[str, Any] | None, of_call: Any
) -> _lm.Settings | None:
    """The call's LM, else the program's, the session's, or the environment's."""
    if of_call is not None:
        return _lm.checked(of_call)
    return built.lm or await _session_lm.read(scope, use) or _lm.of_environment()
