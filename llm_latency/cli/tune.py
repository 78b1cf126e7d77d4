"""`llm-latency tune`: learns which strategy is best for which input; options, progress and files, not the search."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any, Self

from llm_latency.adapt.equivalence import LEAST_TOP1
from llm_latency.adapt.policy import Policy, save_policy
from llm_latency.adapt.tuner import SECONDS, Search, tune
from llm_latency.cli.output import Output, check_outputs
from llm_latency.cli.parser import PROGRAM, count, duration, listed
from llm_latency.cli.quiet import quiet_libraries
from llm_latency.cli.result import INTERRUPTED, PASSED, UNUSABLE, print_safely
from llm_latency.cli.shown import share, width_of
from llm_latency.core.units import show
from llm_latency.report.policy import policy_table
from llm_latency.report.status import StatusLine
from llm_latency.workloads.scenarios import find_scenario, scenarios
from llm_latency.workloads.target import Settings, load_model, set_threads

_DESCRIPTION = (
    "Learn how to run a model: for each length and batch of a scenario the strategy that is measured to be best here,"
    " among those whose answers are the model's own."
)
_EXAMPLES = f"""\
examples:
  {PROGRAM} tune shape:gpt2 --scenario chat --time-budget 180 --out POLICY.json
  {PROGRAM} tune ./my-model --scenario document-generation --lossy --table --out POLICY.json

then, in Python:
  policy = llm_latency.load_policy("POLICY.json")
  policy.generate(model, inputs, max_new_tokens=64)

scenarios: {", ".join(scenarios())}; or FILE.toml:NAME

exit codes:
  0 learned   2 misuse, or the model cannot be tuned   130 interrupted; what was learned until then is written
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSettings:
    """What was asked of `tune`."""

    target: str
    model: Settings
    scenario: str
    strategies: tuple[str, ...] | None
    lossy: bool
    least_top1: float
    assistant: str | None
    time_budget: float
    seed: int
    table: bool
    output: Output | None
    quiet: bool

    @classmethod
    def from_namespace(cls, given: argparse.Namespace) -> Self:
        """Take leave of argparse."""
        return cls(
            target=given.target,
            model=Settings(dtype=given.dtype, device=given.device, attention=given.attention, threads=given.threads),
            scenario=given.scenario,
            strategies=given.strategies,
            lossy=given.lossy,
            least_top1=given.least_agreement,
            assistant=given.assistant,
            time_budget=given.time_budget,
            seed=given.seed,
            table=given.table,
            output=None if given.out is None else Output(option="--out", path=given.out),
            quiet=given.quiet,
        )


def add_command(commands: Any) -> None:
    """Add `tune` to the main parser's commands."""
    parser = commands.add_parser(
        "tune", help="learn which strategy is best for which input", description=_DESCRIPTION, epilog=_EXAMPLES
    )
    parser.set_defaults(run=lambda given: run(TuneSettings.from_namespace(given)))
    parser.add_argument("target", metavar="TARGET", help="shape:NAME, a folder with a model or a hub id")
    parser.add_argument("--scenario", default="chat", metavar="NAME", help="what it is used for (chat)")
    parser.add_argument(
        "--time-budget", type=duration, default=SECONDS, metavar="TIME", help='such as 180 or "3 min" (3 min)'
    )
    parser.add_argument("--strategies", type=listed(str), metavar="NAMES", help="only these, as the table names them")
    parser.add_argument("--lossy", action="store_true", help="also such as change the numbers: bfloat16, int8, layers")
    parser.add_argument(
        "--least-agreement",
        type=share,
        default=LEAST_TOP1,
        metavar="SHARE",
        help="of positions with the same first choice, for those (95%%)",
    )
    parser.add_argument("--assistant", metavar="TARGET", help="a smaller model of the same vocabulary, which guesses")
    model = parser.add_argument_group("the model")
    model.add_argument("--dtype", metavar="NAME", help="float32, bfloat16 or float16")
    model.add_argument("--device", metavar="NAME", help="such as cpu or cuda:1 (the first accelerator, else cpu)")
    model.add_argument("--attention", metavar="NAME", help="attention implementation, such as eager or sdpa")
    model.add_argument("--threads", type=count(1), metavar="N", help="threads of torch, as the model is run now")
    parser.add_argument("--seed", type=count(0), default=0, metavar="N", help="of the order of the calls (0)")
    parser.add_argument("--table", action="store_true", help="show what each strategy gains, in every number")
    parser.add_argument("--out", metavar="POLICY.json", help="write the policy")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(settings: TuneSettings) -> int:
    """Search, show, write; returns the exit code. Raises LLMLatencyError for what cannot be tuned."""
    check_outputs(() if settings.output is None else (settings.output,))
    case = find_scenario(settings.scenario)
    status = StatusLine(sys.stderr, shown=not settings.quiet and sys.stderr.isatty())
    with quiet_libraries(bars=False):
        status.write(f"building {settings.target} …")
        set_threads(settings.model)
        loaded = load_model(settings.target, settings=settings.model)
        try:
            found: Policy | None = tune(
                loaded,
                scenario=case,
                strategies=settings.strategies,
                lossy=settings.lossy,
                assistant=settings.assistant,
                time_budget=settings.time_budget,
                seed=settings.seed,
                least_top1=settings.least_top1,
                on_progress=lambda search: status.write(progress(search)),
            )
        except KeyboardInterrupt as interrupt:
            found = getattr(interrupt, "llm_latency_policy", None)
            if found is None:
                raise
        finally:
            status.clear()
    assert found is not None
    if settings.output is not None:
        save_policy(found, settings.output.path)
    text = policy_table(found, width=width_of(sys.stdout), gains=settings.table)
    arrived = print_safely(text, sys.stdout)
    if not found.complete:
        return INTERRUPTED
    return PASSED if arrived else UNUSABLE


def progress(search: Search) -> str:
    """One line: what it does, and the time that is used."""
    time = f"{show(search.elapsed_s, 's')} of {show(search.time_budget_s, 's')}"
    return f"{search.stage} · {search.left} strategies ready · {time}"
