"""Reading: one metric of a measurement as a person asks for it, `m.ttft.p50`; not the statistics behind it."""

from __future__ import annotations

import re

from llm_latency.core.metrics import Metric
from llm_latency.core.stats import Sample, Summary, percentile, summarize
from llm_latency.core.units import Quantity

_PERCENTILE = re.compile(r"p(\d+(?:_\d+)?)")


class Reading:
    """The values of one metric over a measurement's calls. False, with every statistic None, where it has none.

    `p50`, `p95`, `p99_9` and so on are Quantities; a percentile that the sample cannot hold raises
    TooFewCallsError.
    """

    __slots__ = ("_summary", "metric", "sample")

    def __init__(self, metric: Metric, sample: Sample) -> None:
        """Keep the metric's row and its sample."""
        self.metric = metric
        self.sample = sample
        self._summary: Summary | None = None

    def __bool__(self) -> bool:
        return bool(self.sample.values)

    @property
    def n(self) -> int:
        """Number of values."""
        return len(self.sample.values)

    @property
    def values(self) -> tuple[float, ...]:
        """The values in base units, in order of time."""
        return self.sample.values

    @property
    def summary(self) -> Summary | None:
        """Median with its interval of at least 95 %, or None where there are no values."""
        if self._summary is None and self:  # once: a million values take 0.2 s
            self._summary = summarize(self.sample)
        return self._summary

    @property
    def max(self) -> Quantity | None:
        """Largest value."""
        return self._quantity(max(self.values, default=None))

    @property
    def min(self) -> Quantity | None:
        """Smallest value."""
        return self._quantity(min(self.values, default=None))

    @property
    def low(self) -> Quantity | None:
        """Lower end of the median's interval, or None where the sample holds no interval."""
        return self._quantity(self.summary.low if self.summary else None)

    @property
    def high(self) -> Quantity | None:
        """Upper end of the median's interval, or None where the sample holds no interval."""
        return self._quantity(self.summary.high if self.summary else None)

    def percentile(self, percent: float) -> Quantity | None:
        """Percentile, 0 < percent < 100; raises TooFewCallsError when the sample cannot hold it."""
        return self._quantity(percentile(self.sample, percent / 100) if self else None)

    def __getattr__(self, name: str) -> Quantity | None:
        if name in self.__slots__:  # not set yet: copy and pickle ask an empty one
            raise AttributeError(name)
        match = _PERCENTILE.fullmatch(name)
        if match is None or not 0 < float(match[1].replace("_", ".")) < 100:
            raise AttributeError(
                f"{self.metric.name} has no {name!r}; known: p50, p95, p99 (any p between 0 and 100), max, min,"
                " low, high, n, values, summary"
            )
        return self.percentile(float(match[1].replace("_", ".")))

    def _quantity(self, value: float | None) -> Quantity | None:
        return None if value is None else Quantity(value, self.metric.unit)

    def __repr__(self) -> str:
        if not self:
            return f"{self.metric.name}: no value"
        ends = f" [{self.low}, {self.high}]" if self.low is not None else ""
        return f"{self.metric.name} p50 {self.p50}{ends}, n = {self.n}"
