"""View: who looks on while calls run, and what it is shown of one; not how it comes to look or what it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Annotation

if TYPE_CHECKING:
    from llm_latency.record.sampling import Plan, Progress


# The period of a view that looks at no call while it runs.
NEVER_NS = 1 << 62


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it stands at a look; times in nanoseconds since it began, with the pauses taken out.

    `instants_ns` are the emissions of the running request since the last look, and `first` is the index of the first
    of them; `texts` and `ids` belong to the last of those. `tokens` are the running request's, of all rows, of which
    there will be at most `limit`, and `total` those of all requests so far.
    `delay_ns` is the delay by other programs, `peaks` memory's high-water marks by what they count; both None where
    they are not known.
    """

    at_ns: int
    phase: str
    request: int = 0
    entered_ns: int = 0
    first: int = 0
    instants_ns: tuple[int, ...] = ()
    tokens: int = 0
    total: int = 0
    limit: int | None = None
    texts: tuple[str, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()
    delay_ns: int | None = None
    peaks: Mapping[str, int] | None = None
    annotations: tuple[Annotation, ...] = ()


class View(Protocol):
    """Looks on. `period_ns` is the least time between two looks at a call."""

    period_ns: int

    def begin(self, name: str, plan: Plan) -> None:
        """Be told once, before the first call, what is to be run."""
        ...

    def follow(self, progress: Progress | None) -> None:
        """Be told between two calls where sampling stands, and None as soon as no call comes any more.

        `progress.is_live` says whether the next call is looked at.
        """
        ...

    def look(self, moment: Moment) -> None:
        """Show a call that runs; what this takes is not the call's time."""
        ...

    def end(self, measurement: Measurement | None, error: BaseException | None) -> None:
        """Be told once that it is over, with what was measured and what ended it."""
        ...


class Guard:
    """A view that costs nobody their calls: one that has failed is asked no more, and `problem` says why.

    It is told of the end all the same, where what stays is shown.
    """

    def __init__(self, view: View) -> None:
        """Trust the view until it fails."""
        self._view = view
        self.problem: str | None = None

    @property
    def period_ns(self) -> int:
        """The least time between two looks at a call."""
        return self._view.period_ns

    def begin(self, name: str, plan: Plan) -> None:
        """Let it begin; what it raises goes on, since nothing has run yet."""
        self._view.begin(name, plan)

    def follow(self, progress: Progress | None) -> None:
        """Tell it where sampling stands."""
        if self.problem is None:
            self._attempt(lambda: self._view.follow(progress))

    def look(self, make: Callable[[], Moment]) -> None:
        """Show it a moment, which may itself be hard to make."""
        if self.problem is None:
            self._attempt(lambda: self._view.look(make()))

    def end(self, measurement: Measurement | None, error: BaseException | None) -> None:
        """Tell it of the end."""
        self._attempt(lambda: self._view.end(measurement, error))

    def _attempt(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # the user's call goes on; an interrupt is the user's own
            self.problem = self.problem or f"live view: it failed and was switched off: {type(error).__name__}: {error}"
