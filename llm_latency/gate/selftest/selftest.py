"""Self-test's workers: the gate's own engine on calls whose slowdown is planted, and so known; not what follows."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.core.stats import quantile
from llm_latency.errors import TargetError
from llm_latency.gate.message import Finished, Job, Reported
from llm_latency.gate.pair import BASE, SIDES, Rounds
from llm_latency.gate.process import Launcher
from llm_latency.gate.ratio import log_ratio
from llm_latency.gate.server import Prepared
from llm_latency.gate.sides import Sides
from llm_latency.gate.worker import Baton
from llm_latency.record.measure import measure
from llm_latency.workloads.planted import Plant, calibrated, default_threads, planted_call, python_call

STEP = "step"
# What the planted call imports, so that its workers can be forked from the first pair on.
_MODULES = ("torch", "transformers", "transformers.models.gpt2.modeling_gpt2", "transformers.generation.utils")
_PATIENCE_S = 180.0
# Half of the call: a slowdown far above what one process's calls scatter; the work grows evenly with its amount.
_TRIED, _ROUNDS, _CALLS = 0.5, 24, 24


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has found out: CPU seconds of a call, planted work that takes as long, and torch's own threads."""

    call_s: float
    whole: float
    threads: int

    def plant(self, share: float) -> Plant:
        """Work that makes the call slower by a share."""
        return Plant(kind=STEP, amount=round(self.whole * share))


def job(side: str, plants: Mapping[str, Mapping[str, Plant]], *, threads: int = 1, has_model: bool = True) -> Job:
    """One side's job: for each test, in order, its plant; without a model it is plain Python that is timed."""
    asked = {test: {"kind": own[side].kind, "amount": own[side].amount} for test, own in plants.items()}
    arguments: dict[str, Any] = {"tests": asked, "threads": threads, "has_model": has_model}
    return Job(side=side, run=f"{__name__}:run", arguments=arguments, own="/", home="/", trees=())


def run(job: Job, baton: Baton) -> None:
    """Time each planted call of a job in turn; one model serves them all."""
    model: Any = None
    for test, plant in job.arguments["tests"].items():
        call: Any = python_call()
        if job.arguments["has_model"]:
            call = planted_call(Plant(**plant), threads=job.arguments["threads"], model=model)
            model = call.model
        turns = baton.turns(test, test)
        measurement = measure(call, name=test, pace=turns)
        turns.ended(environment=measurement.environment)
        baton.reported(test, "passed")


def calibrate(job: Job, baton: Baton) -> None:
    """In a worker: how long the call takes, and how much planted work, done inside of it, takes as long."""
    threads = default_threads()
    plain: Any = planted_call(Plant(kind=STEP), threads=job.arguments["threads"])
    for _ in range(5):
        plain()
    call_s = quantile([_seconds(plain) for _ in range(_CALLS)], 0.5)
    tried = calibrated(STEP, _TRIED, call_s=call_s)
    slower = planted_call(tried, threads=job.arguments["threads"], model=plain.model)
    slower()
    times: dict[Any, list[float]] = {plain: [], slower: []}
    for number in range(_ROUNDS):
        outer, inner = (plain, slower) if number % 2 else (slower, plain)
        for call in (outer, inner, inner, outer):
            times[call].append(_seconds(call))
    share = math.expm1(log_ratio(times[plain], times[slower]))
    # Alone the work was timed without the model around it; where neighbours have spoilt this reading, that one counts.
    seen = share if _TRIED / 2 < share < 2 * _TRIED else _TRIED
    found = Calibration(call_s=call_s, whole=tried.amount / seen, threads=threads)
    baton.reported("calibration", "passed", msgspec.json.encode(found).decode())


def look(job: Job, baton: Baton) -> None:
    """In a worker: how many threads torch takes here."""
    baton.reported("threads", "passed", str(default_threads()))


def _seconds(call: Callable[[], object]) -> float:
    """Time of this thread's own, which neighbours do not lengthen by taking the core; the call has one thread."""
    begin = time.thread_time()
    call()
    return time.thread_time() - begin


def has_models() -> bool:
    """Whether torch and transformers are installed; neither is imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))


@contextmanager
def launched() -> Iterator[Launcher]:
    """A launcher of this interpreter's workers, whose fork server has imported what the planted call needs."""
    with tempfile.TemporaryDirectory(prefix="llm-latency-") as folder:
        launcher = Launcher(Path(folder), python=sys.executable, environment=os.environ)
        try:
            launcher.prepare(Prepared(path=None, modules=_MODULES if has_models() else ()))
            yield launcher
        finally:
            launcher.close()


def sides_of(launcher: Launcher, plants: Mapping[str, Plant], *, has_model: bool = True) -> Sides:
    """Both sides with these tests: the base with nothing planted, the head with each test's plant."""
    both = {test: dict(zip(SIDES, (Plant(kind=plant.kind), plant), strict=True)) for test, plant in plants.items()}
    return Sides(
        lambda side, tests, _: job(side, {test: both[test] for test in tests}, has_model=has_model),
        launchers=dict.fromkeys(SIDES, launcher),
        rounds=Rounds(),
        patience_s=_PATIENCE_S,
    )


def calibration(launcher: Launcher) -> Calibration:
    """Let a worker calibrate, so that this process never loads torch; raises TargetError where it cannot."""
    return msgspec.json.decode(_told(launcher, "calibrate"), type=Calibration)


def torch_threads(launcher: Launcher) -> int:
    """Ask a worker how many threads torch takes; raises TargetError where it cannot say."""
    return int(_told(launcher, "look"))


def _told(launcher: Launcher, function: str) -> str:
    """Run one of the jobs above in a worker, for what it reports."""
    asked = Job(side=BASE, run=f"{__name__}:{function}", arguments={"threads": 1}, own="/", home="/", trees=())
    worker = launcher.launch(asked)
    text = ""
    try:
        while True:
            match worker.channel.receive(_PATIENCE_S):
                case Reported(text=told):
                    text = told
                case Finished(problem=""):
                    return text
                case Finished(problem=problem):
                    raise TargetError(f"the self-test's model could not be run: {problem.strip().splitlines()[-1]}")
                case None:
                    raise TargetError(f"the self-test's model said nothing for {_PATIENCE_S:g} s")
    except (EOFError, OSError) as error:
        raise TargetError(f"the process of the self-test's model has ended: {worker.last_lines()}") from error
    finally:
        worker.end()
