"""How measurements and contrasts show themselves where a shell asks them to; not what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_latency.core.contrast import Contrast
from llm_latency.core.measurement import Measurement

if TYPE_CHECKING:
    from llm_latency.predict.sweep import Sweep


class MeasurementReport:
    """Shows a measurement; what it needs is loaded when it is asked."""

    def html(self, measurement: Measurement) -> str:
        """Write it as an HTML fragment."""
        from llm_latency.report.html import html

        return html(measurement)

    def frame(self, measurement: Measurement, rows: str) -> Any:
        """Make a pandas DataFrame of it."""
        from llm_latency.report.frame import to_frame

        return to_frame(measurement, rows)

    def plot(self, measurement: Measurement, kind: str, *, other: Measurement | None, ax: Any) -> Any:
        """Draw it with matplotlib."""
        from llm_latency.report.plot import plot

        return plot(measurement, kind, other=other, ax=ax)


class ContrastReport:
    """Shows a contrast; what it needs is loaded when it is asked."""

    def text(self, contrast: Contrast) -> str:
        """Write it as plain text."""
        from llm_latency.report.contrast import contrast_table

        return contrast_table(contrast)

    def html(self, contrast: Contrast) -> str:
        """Write it as an HTML fragment."""
        from llm_latency.report.contrast import contrast_html

        return contrast_html(contrast)


class SweepReport:
    """Shows a sweep; what it needs is loaded when it is asked."""

    def text(self, sweep: Sweep) -> str:
        """Write it as plain text."""
        from llm_latency.report.sweep import sweep_table

        return sweep_table(sweep)

    def frame(self, sweep: Sweep) -> Any:
        """Make a pandas DataFrame of it."""
        from llm_latency.report.sweep import sweep_frame

        return sweep_frame(sweep)

    def plot(self, sweep: Sweep, kind: str) -> Any:
        """Draw it with matplotlib."""
        from llm_latency.report.sweep_plot import sweep_plot

        return sweep_plot(sweep, kind)


def install_for_sweeps() -> None:
    """Let sweeps show themselves by the report; a presenter that is there already stays."""
    from llm_latency.predict.sweep import Sweep

    if Sweep.presenter is None:
        Sweep.presenter = SweepReport()


def install() -> None:
    """Let measurements and contrasts show themselves by the report; a presenter that is there already stays."""
    if Measurement.presenter is None:
        Measurement.presenter = MeasurementReport()
    if Contrast.presenter is None:
        Contrast.presenter = ContrastReport()
