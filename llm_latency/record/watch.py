"""Watch: one call from its first line to its last, as a Trace; not how many calls there are."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from llm_latency.core.trace import Request, Trace
from llm_latency.errors import ObservationError
from llm_latency.record.clock import Clock, check_advanced, ticks
from llm_latency.record.devices.device import Device
from llm_latency.record.devices.used import Used
from llm_latency.record.exhausted import explained, is_exhausted
from llm_latency.record.gauges import Gauges
from llm_latency.record.machine import ModelFacts, available_cores, facts_of
from llm_latency.record.observe.attribution import current_chain, opened
from llm_latency.record.observe.log import CallLog
from llm_latency.record.observe.onlook import Onlook
from llm_latency.record.observe.taps import requests_of, tapped
from llm_latency.record.view import Guard


class Watch:
    """Observes a block. `trace` and `models` (facts of those that ran) are there when the block has ended.

    The clock starts last and stops first: putting the taps on, counting and reading memory lie outside.
    """

    def __init__(
        self, name: str, *, clock: Clock, used: Used, modules: Iterable[object] = (), view: Guard | None = None
    ) -> None:
        """Prepare; `modules` are torch modules beside transformers' own whose forwards count, `view` may look on."""
        self._view = view
        self._onlook: Onlook | None = None
        self.name = name
        self.clock = clock
        self.modules = tuple(modules)
        self.trace: Trace | None = None
        self.models: tuple[ModelFacts, ...] = ()
        self.device: Device | None = None
        self._used = used
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Put the taps on and start the clock; raises DeviceError where a device cannot be waited for."""
        outer = current_chain()
        around = [log.gauges for log in outer if log.gauges is not None]
        stack = self._stack = ExitStack()
        try:
            stack.enter_context(tapped(self.modules))
            self._gauges = Gauges(self.clock, self._used, cores=available_cores(), outer=around)
            self._log = log = CallLog(self.name, clock=self.clock, outer=outer, gauges=self._gauges)
            if self._view is not None:
                self._onlook = Onlook(self._view, clock=self.clock, gauges=self._gauges, call=log)
                stack.callback(self._onlook.close)
            stack.enter_context(opened(self._log))
            stack.enter_context(self._gauges.reading(self.modules))
            if self._onlook is not None:
                self._onlook.start()
            self._ticks = ticks()
            log.start_ns = self.clock.now_ns()
            self._gauges.start(self._log.start_ns)
            return self
        except BaseException:  # an interrupt after this would be the block's own
            stack.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the clock, take the taps off, and count.

        Raises ObservationError, ClockError or DeviceError where the times would be wrong, unless the block
        itself has raised.
        """
        log, gauges = self._log, self._gauges
        try:
            if error is not None:
                with suppress(Exception):  # the block's own exception goes on, whatever it is like
                    if is_exhausted(error):
                        error.add_note(explained(log, error, gauges.most_bytes()))
            gauges.wait()
            stop_ns = self.clock.now_ns()
            stop_ticks = ticks()
            gauges.end(stop_ns)
            self._stack.close()
            elapsed = None if self._ticks is None or stop_ticks is None else stop_ticks - self._ticks
            check_advanced(self.clock, log.start_ns, stop_ns, elapsed_ticks=elapsed)
            if gauges.refused is not None:
                raise gauges.refused
            requests = requests_of(log)
            gauges.settle()
            models = {id(request.model): request.model for request in log.requests if request.model is not None}
            self.models = tuple(facts_of(model) for model in models.values())
        except Exception as doubt:
            if error is None:
                raise
            with suppress(Exception):
                error.add_note(f"llm-latency: this call has no times: {doubt}")
            return
        finally:
            self._stack.close()
            log.requests.clear()
        self.device = gauges.device
        self.trace = Trace(
            start_ns=log.start_ns,
            stop_ns=stop_ns,
            requests=requests or (Request(kind="call", start_ns=log.start_ns, stop_ns=stop_ns),),
            phases=tuple(log.phases),
            pauses=tuple(gauges.pauses),
            peak_bytes=gauges.peak_bytes,
            energy_j=gauges.energy_j(seconds=(stop_ns - log.start_ns) * 1e-9),
            contention=gauges.contention,
            annotations=(
                *log.annotations,
                *gauges.annotations(stop_ns=stop_ns),
                *(self._onlook.annotations(stop_ns) if self._onlook is not None else ()),
            ),
        )

    def ended(self) -> Trace:
        """The call's trace; raises ObservationError while the block is still running."""
        if self.trace is None:
            raise ObservationError(f"{self.name!r} has no times yet: read them after the `with` block has ended")
        return self.trace
