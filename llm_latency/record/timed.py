"""timed(): watching a block once; not running it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from llm_latency.core.measurement import Measurement
from llm_latency.record.clock import Clock
from llm_latency.record.devices.device import Device
from llm_latency.record.recording import Recording
from llm_latency.record.sampling import Budgets, make_plan
from llm_latency.record.view import View


class timed:  # reads as a verb: with timed("chat") as t
    """Watch a block once: `with timed("chat") as t: ...`, then `t.measurement`.

    `modules` are torch modules beside transformers' own whose forwards count. Inside an exception the
    measurement holds what there was, with `complete` False. `view` shows the block while it runs and its result
    after it, such as `llm_latency.live()`.
    """

    def __init__(
        self,
        name: str = "block",
        *,
        budget: Budgets = None,
        workload: Mapping[str, Any] | None = None,
        modules: Iterable[object] = (),
        view: View | None = None,
        clock: Clock | None = None,
        device: Device | None = None,
    ) -> None:
        """Prepare; raises UsageError for a budget that cannot be read."""
        plan = make_plan(repeat=1, warmup=0, budget=budget)
        self._record = partial(
            Recording, name, plan=plan, workload=workload, clock=clock, device=device, modules=tuple(modules), view=view
        )
        self._recording = self._record()
        self._watch = self._recording.watch()
        self._has_run = False
        self._measurement: Measurement | None = None

    def __enter__(self) -> Self:
        """Start watching."""
        if self._has_run:
            # Used again: what the block before did is no measure for this one.
            self._recording, self._measurement = self._record(), None
        self._has_run = True
        try:
            self._recording.next_stage()
            self._watch = self._recording.watch()
            self._watch.__enter__()
        except BaseException as error:
            self._recording.close(None, error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop watching; the block's exception goes on with its measurement attached."""
        try:
            self._watch.__exit__(kind, error, traceback)
        except BaseException as doubt:
            self._recording.close(None, doubt)
            raise
        if self._watch.trace is None:
            self._recording.close(None, error)
            return
        # The block's own exception goes on, whatever it is like.
        with suppress(Exception) if error is not None else nullcontext():
            self._recording.add("counted", self._watch)
            self._recording.sampling.stopped_because = "one call"
            self._measurement = self._recording.finish(error)
            if error is not None:
                error.llm_latency_measurement = self._measurement  # type: ignore[attr-defined]  # documented

    @property
    def measurement(self) -> Measurement:
        """What was seen; raises ObservationError while the block is still running."""
        if self._measurement is None:
            self._watch.ended()
        assert self._measurement is not None
        return self._measurement
