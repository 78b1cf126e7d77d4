"""TimedCell: the calls of one cell's code, recorded one by one; not how the code got between them or what is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import msgspec

from llm_latency.core.measurement import Measurement
from llm_latency.errors import LLMLatencyError
from llm_latency.notebook.promise import noted, unrun
from llm_latency.notebook.transform import CALL, CALLS, OUT, VALUE
from llm_latency.predict.profile import Profile
from llm_latency.record.observe.taps import tapped
from llm_latency.record.recording import Recording

Ended = Callable[[Measurement | None, BaseException | None], None]


class TimedCell:
    """Yields itself for each call to come; entered, it watches until it is left. `value` is the last call's value.

    `ended` is told once, with what was measured (None when no call was) and with the exception that ended it.
    """

    def __init__(
        self, recording: Recording, *, namespace: dict[str, Any], ended: Ended, profile: Profile | None = None
    ) -> None:
        """Prepare; `namespace` is where the code's names land. With a `profile` one more call runs under it."""
        self._profile = profile
        self._profiling = False
        self.value: object = None
        self._recording = recording
        self._namespace = namespace
        self._ended = ended
        self._taps: ExitStack | None = None
        self._watch = recording.watch()
        self._stage: str | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Self:
        for name in (CALLS, OUT):
            self._namespace.pop(name, None)
        try:
            if self._taps is None:
                self._taps = ExitStack()
                self._taps.enter_context(tapped(self._recording.modules))
            self._stage = self._recording.next_stage()
        except BaseException as error:
            self._end(error)
            if isinstance(error, LLMLatencyError):
                show_without_traceback(error)
            raise
        if self._stage is None and self._profile is not None and not self._profiling:
            self._profiling = True
        elif self._stage is None:
            self._end(None)
            raise StopIteration
        self.value = None  # not kept in memory while the code runs again
        return self

    def __enter__(self) -> None:
        """Start the next call's watch."""
        try:
            self._namespace.pop(CALL, None)
            if self._profiling and self._profile is not None:
                self._profile.__enter__()
                return
            self._watch = self._recording.watch()
            self._watch.__enter__()
        except BaseException as error:
            # An interrupt may come after the watch has opened and before Python knows that it has to be left.
            with suppress(Exception):
                self._watch.__exit__(type(error), error, error.__traceback__)
            self._end(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the watch and keep the call; an exception goes on after what there is has been told."""
        ending = error
        try:
            if self._profiling and self._profile is not None:
                self._profile.__exit__(kind, error, traceback)
                self.value = self._namespace.pop(VALUE, None)
                return
            self._watch.__exit__(kind, error, traceback)
            if error is None:
                self._keep(self._namespace.pop(VALUE, None))
        except BaseException as doubt:
            ending = doubt
            if isinstance(doubt, LLMLatencyError):
                show_without_traceback(doubt)
            raise
        finally:
            if ending is not None:
                self._end(ending)

    def _keep(self, value: object) -> None:
        assert self._stage is not None
        self.value = value
        trace = self._watch.trace = noted(self._watch.ended(), value)
        if (words := unrun(trace)) is None:
            self._recording.add(self._stage, self._watch)
        else:
            # It would be the same again and again.
            self._recording.add("counted", self._watch)
            self._recording.sampling.stopped_because = words

    def _end(self, error: BaseException | None) -> None:
        self._namespace.pop(VALUE, None)
        if self._taps is not None:
            self._taps.close()
        self._ended(self._measured(error), error)

    def _measured(self, error: BaseException | None) -> Measurement | None:
        """What there is; a call that was broken off is kept only where it is all there is."""
        sampling = self._recording.sampling
        if error is None:
            return self._recording.measurement()
        if sampling.cold or sampling.warmup or sampling.traces:
            return self._recording.measurement(interrupted_by=error)
        if self._watch.trace is None:
            return None
        self._recording.add("counted", self._watch)
        measurement = self._recording.measurement(interrupted_by=error)
        return msgspec.structs.replace(measurement, stopped_because=f"{type(error).__name__} in the first call")


def show_without_traceback(doubt: Exception) -> None:
    """Let IPython show the message alone: the frames are ours and say nothing about the user's code."""
    doubt._render_traceback_ = lambda: [f"{type(doubt).__name__}: {doubt}"]  # type: ignore[attr-defined]  # IPython's hook
