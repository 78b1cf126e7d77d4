"""Recording: calls recorded so far and what they amount to; not who runs them.

`measure`, `timed` and the notebook drive it: ask for the next stage, open a watch, add the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from llm_latency.core.doubts import doubts
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement, verdict_on
from llm_latency.core.trace import Trace
from llm_latency.core.work import UNEQUAL_WORK
from llm_latency.errors import UsageError
from llm_latency.record.clock import Clock, HostClock
from llm_latency.record.devices.device import Device
from llm_latency.record.devices.used import Used
from llm_latency.record.machine import ModelFacts, read_environment
from llm_latency.record.observe.taps import emission_cost_ns
from llm_latency.record.sampling import Listener, Pace, Plan, Progress, Sampling
from llm_latency.record.view import NEVER_NS, Guard, View
from llm_latency.record.watch import Watch


class Recording:
    """Calls recorded so far, and what they amount to."""

    def __init__(
        self,
        name: str,
        *,
        plan: Plan,
        workload: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        device: Device | None = None,
        modules: Iterable[object] = (),
        on_progress: Listener | None = None,
        view: View | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Nothing is recorded yet; without `clock` and `device` the host's clock and the CPU are meant."""
        self._pace = pace
        self.view = None if view is None else Guard(view)
        self._is_live = self._has_begun = False
        self.name = name
        self.clock = clock or HostClock()
        self._used = Used(device)
        self.device = self._used.all[-1]
        self.modules = tuple(modules)
        self.sampling = Sampling(plan, Environment())
        self._workload = _checked(dict(workload or {}))
        self._models: set[ModelFacts] = set()
        self._on_progress = on_progress
        self._begin_ns = self.clock.now_ns()

    def next_stage(self) -> str | None:
        """What the next call is, or None; tells the listener where sampling stands."""
        elapsed_s = (self.clock.now_ns() - self._begin_ns) * 1e-9
        stage = self.sampling.next_stage(elapsed_s) if self._pace is None else self._paced(self._pace)
        if stage is None:
            return None
        # Calls that are counted together are quiet between their ends, so that they are alike.
        self._is_live = stage != "counted" or self.sampling.plan.repeat == 1
        if self._on_progress is not None:
            self._on_progress(self._progress(stage, elapsed_s))
        if self.view is not None:
            if not self._has_begun:
                self._has_begun = True
                self.view.begin(self.name, self.sampling.plan)
                self._begin_ns = self.clock.now_ns()  # opening it is no time of the sampling's
            self.view.follow(self._progress(stage, elapsed_s))
        return stage

    def _paced(self, pace: Pace) -> str | None:
        sampling = self.sampling
        if sampling.stopped_because is not None:
            return None
        calls = [sampling.cold, *sampling.warmup, *sampling.traces]
        stage = pace.next_call(calls[-1])
        if stage is None:
            sampling.stopped_because = f"{len(sampling.traces)} calls, in turn with another process"
        return stage

    def watch(self) -> Watch:
        """A watch for the next call."""
        looks = self._is_live and self.view is not None and self.view.period_ns < NEVER_NS
        view = self.view if looks else None
        return Watch(self.name, clock=self.clock, used=self._used, modules=self.modules, view=view)

    def add(self, stage: str, watch: Watch) -> None:
        """Keep a call that has ended."""
        self._models |= set(watch.models)
        self.device = watch.device or self.device
        self.sampling.add(stage, watch.ended())

    def measurement(self, *, interrupted_by: BaseException | None = None) -> Measurement:
        """What has been recorded, whole or, after an exception, in part."""
        if self.view is not None and self._has_begun:
            self.view.follow(None)
        sampling = self.sampling
        environment = read_environment(self._models, device=self.device.describe())
        traces = tuple(sampling.traces)
        because = sampling.stopped_because or f"{len(traces)} calls"
        if interrupted_by is not None:
            because = f"{type(interrupted_by).__name__} after {len(traces)} counted calls"
        budgets = sampling.plan.budgets
        changed = (because,) if because.startswith(UNEQUAL_WORK) else ()
        first = sampling.cold or next(iter(traces), None)
        return Measurement(
            name=self.name,
            workload=self._workload | _observed(first),
            environment=environment,
            traces=traces,
            cold=sampling.cold,
            warmup=tuple(sampling.warmup),
            stopped_because=because,
            warnings=(*environment.warnings, *changed, *doubts(traces), *self._failed_view()),
            verdicts=tuple(verdict_on(budget, traces, environment, level=sampling.plan.level) for budget in budgets),
            observer_ns=emission_cost_ns(self.clock, self.device) if isinstance(self.clock, HostClock) else None,
            recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
            complete=interrupted_by is None,
        )

    def finish(self, error: BaseException | None = None) -> Measurement:
        """What has been recorded, in part after an exception, and the end for who looks on."""
        measurement = self.measurement(interrupted_by=error)
        self.close(measurement, error)
        failed_now = [words for words in self._failed_view() if words not in measurement.warnings]
        if not failed_now:
            return measurement
        return msgspec.structs.replace(measurement, warnings=(*measurement.warnings, *failed_now))

    def close(self, measurement: Measurement | None, error: BaseException | None) -> None:
        """Tell who looks on that it is over, with what was measured and what ended it."""
        if self.view is not None:
            self.view.end(measurement, error)

    def attach_to(self, error: BaseException) -> None:
        """Let the partial measurement travel with an exception, as `llm_latency_measurement`."""
        with suppress(Exception):  # an exception may refuse attributes; it goes on as it is
            self._attach_to(error)

    def _attach_to(self, error: BaseException) -> None:
        sampling = self.sampling
        done = len(sampling.traces) + len(sampling.warmup) + (sampling.cold is not None)
        part = self.measurement(interrupted_by=error) if done else None
        self.close(part, error)
        if part is not None:
            error.llm_latency_measurement = part  # type: ignore[attr-defined]  # documented
            error.add_note(
                f"llm-latency: {done} calls of {self.name!r} were recorded before; see .llm_latency_measurement"
            )

    def _failed_view(self) -> tuple[str, ...]:
        return () if self.view is None or self.view.problem is None else (self.view.problem,)

    def _progress(self, stage: str, elapsed_s: float) -> Progress:
        sampling, plan = self.sampling, self.sampling.plan
        done, of = {
            "cold": (0, 1),
            "warmup": (len(sampling.warmup), plan.warmup),
            "counted": (len(sampling.traces), plan.repeat),
        }[stage]
        calls = [sampling.cold, *sampling.warmup, *sampling.traces]
        return Progress(
            stage=stage,
            done=done,
            of=of,
            elapsed_s=elapsed_s,
            time_budget_s=plan.time_budget_s,
            half_width=sampling.width,
            last=calls[-1],
            is_live=self._is_live,
        )


def _checked(workload: dict[str, Any]) -> dict[str, Any]:
    """Notice before the first call what could not be written after the last."""
    try:
        msgspec.json.encode(workload)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"workload= holds what JSON cannot: {error}; expected text, numbers, lists and mappings"
        ) from error
    return workload


def _observed(trace: Trace | None) -> dict[str, Any]:
    """What one call was seen to do, as facts of the workload."""
    if trace is None:
        return {}
    kinds = sorted({request.kind for request in trace.requests})
    facts: dict[str, Any] = {"requests": len(trace.requests), "kinds": kinds}
    models = sorted({request.model for request in trace.requests if request.model})
    facts |= {"models": models} if models else {}
    for field in ("rows", "prompt_tokens", "new_tokens"):
        if (value := getattr(trace, field)) is not None:
            facts[field] = value
    return {"observed": facts}
