"""View: who looks on while calls run, and what it is shown of one; not how it comes to look or what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Annotation

if TYPE_CHECKING:
    from llm_latency.record.sampling import Plan, Progress


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it stands at a look; times in nanoseconds since it began, with the pauses taken out.

    `instants_ns` are the emissions of the running request since the last look, and `first` is the index of the first
    of them; `texts` and `ids` belong to the last of those. `tokens` counts all rows; there will be at most `limit`.
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
