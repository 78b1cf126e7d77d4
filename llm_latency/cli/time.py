"""`llm-latency time`: measures a target, then shows, writes and judges the result; not how any of that is done."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TextIO

from llm_latency.cli.failure import shortened
from llm_latency.cli.model import add_model, model_settings
from llm_latency.cli.output import Output, check_outputs, reserved_stdout
from llm_latency.cli.parser import PROGRAM, budget, count, duration
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import INTERRUPTED, UNUSABLE, complain, exit_code, present
from llm_latency.core.budget import Budget
from llm_latency.core.measurement import Measurement
from llm_latency.errors import LLMLatencyError, TargetError
from llm_latency.record.measure import measure
from llm_latency.record.sampling import Progress
from llm_latency.report.escape import plain
from llm_latency.report.status import StatusLine, call_name
from llm_latency.workloads.target import Settings as ModelSettings
from llm_latency.workloads.target import Workload, load

# Half-width of the 95 % interval of the median at which sampling ends, as a share of the median.
PRECISION = 0.03
_DESCRIPTION = "Measure a target: a first call kept apart, a warm-up, then calls until their interval is narrow."
_EXAMPLES = f"""\
examples:
  {PROGRAM} time shape:gpt2
  {PROGRAM} time shape:gpt2 --prompt-tokens 512 --new-tokens 64 --json result.json
  {PROGRAM} time ./my-model --dtype bfloat16 --threads 1 --time-budget "1 min"
  {PROGRAM} time chat.py:answer --budget "ttft p95 < 250 ms" --budget "tpot < 40 ms" --strict

exit codes:
  0 measured, no budget failed   1 a budget failed   2 misuse, or the target cannot be timed
  3 a budget is undecided, with --strict   130 interrupted or terminated; what was measured until then is kept
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSettings:
    """What was asked of `time`."""

    target: str
    name: str | None
    model: ModelSettings
    repeat: int | None
    warmup: int | None
    time_budget: float | None
    budgets: tuple[Budget, ...]
    outputs: tuple[Output, ...]
    strict: bool
    quiet: bool

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        paths = (("--json", given.json), ("--markdown", given.markdown), ("--html", given.html))
        return cls(
            target=given.target,
            name=given.name,
            model=model_settings(given),
            repeat=given.repeat,
            warmup=given.warmup,
            time_budget=given.time_budget,
            budgets=tuple(given.budget),
            outputs=tuple(Output(option=option, path=path) for option, path in paths if path is not None),
            strict=given.strict,
            quiet=given.quiet,
        )


def add_command(commands: Any) -> None:
    """Add `time` to the main parser's commands."""
    parser = commands.add_parser(
        "time", help="measure a model, a shape or a function", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(TimeSettings.from_namespace(given)))
    parser.add_argument("target", metavar="TARGET", help="shape:NAME, a folder with a model, a hub id, or FILE.py:NAME")
    add_model(parser, "not for FILE.py:NAME, which sets up its own")
    calls = parser.add_argument_group("the calls", "without --repeat: until the interval is within ±3 %")
    calls.add_argument("--repeat", type=count(1), metavar="N", help="exactly N counted calls")
    calls.add_argument("--warmup", type=count(0), metavar="N", help="exactly N warm-up calls; 0 counts the first call")
    calls.add_argument("--time-budget", type=duration, metavar="TIME", help='such as 15, 15s or "2 min" (10 s)')
    calls.add_argument(
        "--budget",
        type=budget,
        action="append",
        default=[],
        metavar="LIMIT",
        help='such as "ttft p95 < 250 ms"; may be repeated; samples until each is decided (30 s)',
    )
    calls.add_argument("--strict", action="store_true", help="exit with 3 when a budget is undecided")
    result = parser.add_argument_group("the result", "the table goes to stdout, and to stderr where a file is -")
    result.add_argument("--name", metavar="NAME", help="what the result is called (the target)")
    result.add_argument("--json", metavar="FILE", help="write every call and metric; - for stdout")
    result.add_argument("--markdown", metavar="FILE", help="write the table as Markdown; - for stdout")
    result.add_argument("--html", metavar="FILE", help="write a page with a timeline; - for stdout")
    result.add_argument("--quiet", action="store_true", help="no progress, and no table beside a result on stdout")


def run(settings: TimeSettings) -> int:
    """Measure and hand over; returns the exit code.

    Raises LLMLatencyError where nothing can be timed as asked. Outputs are tried before anything is measured.
    """
    check_outputs(settings.outputs)
    shown = not settings.quiet and sys.stderr.isatty()
    status = StatusLine(sys.stderr, shown=shown)
    is_download = not settings.target.startswith("shape:") and ".py" not in settings.target
    stdout_taken = any(output.is_stdout for output in settings.outputs)
    with reserved_stdout(reserve=stdout_taken) as stdout, quiet_libraries(bars=shown and is_download):
        session = _Session(settings, status)
        try:
            measurement = session.measure()
        except TargetError:
            raise
        except BaseException as error:
            status.clear()
            return _stopped(error, session, stdout)
        finally:
            status.clear()
        arrived = present(measurement, settings.outputs, stdout=stdout, quiet=settings.quiet)
    return exit_code(measurement, strict=settings.strict) if arrived else UNUSABLE


class _Session:
    """One target being measured: what is going on, and the workload's own check after its first call."""

    def __init__(self, settings: TimeSettings, status: StatusLine) -> None:
        self.settings = settings
        self.doing = f"building {settings.target}"
        self._status = status
        self._check: Callable[[], None] | None = None

    def measure(self) -> Measurement:
        """Build the target, then measure it."""
        settings = self.settings
        self._status.write(f"{self.doing} …")
        workload: Workload = load(settings.target, settings=settings.model)
        self._check = workload.check
        measurement = measure(
            workload.call,
            name=settings.name or workload.name,
            repeat=settings.repeat,
            warmup=settings.warmup,
            budget=settings.budgets,
            time_budget=settings.time_budget,
            precision=PRECISION,
            workload=workload.facts,
            on_progress=self._follow,
        )
        self._check_once()
        return measurement

    def _follow(self, progress: Progress) -> None:
        if progress.last is not None:
            self._check_once()
        self.doing = call_name(progress)
        self._status.follow(progress, precision=None if self.settings.budgets else PRECISION)

    def _check_once(self) -> None:
        """Run the check behind the first call, which is timed cold and must not be warmed by it."""
        check, self._check = self._check, None
        if check is not None:
            check()


def _stopped(error: BaseException, session: _Session, stdout: TextIO) -> int:
    """Hand over what there was before an interrupt or an exception of the target's, and say what happened."""
    settings = session.settings
    partial = getattr(error, "llm_latency_measurement", None)
    if partial is not None:
        present(partial, settings.outputs, stdout=stdout, quiet=settings.quiet)
    if isinstance(error, LLMLatencyError):
        raise error
    if isinstance(error, KeyboardInterrupt):
        kept = "what was measured before is above" if partial is not None else "nothing had been measured"
        print(f"{PROGRAM}: interrupted during {plain(session.doing)}; {kept}", file=sys.stderr, flush=True)
        return INTERRUPTED
    print(shortened(error), file=sys.stderr)
    first = str(error).partition("\n")[0]
    complain(f"{session.doing} raised {type(error).__name__}{f': {first}' if first else ''}")
    return UNUSABLE
