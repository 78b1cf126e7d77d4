"""The console script: finds the command and turns errors into a line and an exit code; not the commands."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llm_latency.cli import doctor, env, explain, extract, fit, gate, predict, selftest, sweep, time, tune
from llm_latency.cli.parser import PROGRAM, Parser
from llm_latency.cli.result import INTERRUPTED, UNUSABLE, complain
from llm_latency.cli.version import version
from llm_latency.errors import LLMLatencyError

_DESCRIPTION = "Times LLM code: time to first token, time per token, throughput, with intervals and budgets."
_EXAMPLES = f"""\
examples:
  {PROGRAM} time shape:gpt2
  {PROGRAM} time chat.py:answer --budget "ttft p95 < 250 ms"
  {PROGRAM} time --help
  {PROGRAM} gate --base origin/main -- tests/latency
  {PROGRAM} env
  {PROGRAM} extract notebooks/*.ipynb --csv results.csv
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Misuse ends here too, and help and version."""
    with _any_character(), _terminable():
        try:
            given = make_parser().parse_args(argv)
            return int(given.run(given))
        except SystemExit as left:  # argparse has said what there is to say
            return left.code if isinstance(left.code, int) else UNUSABLE
        except LLMLatencyError as error:
            complain(str(error))
            return UNUSABLE
        except KeyboardInterrupt:
            print(f"{PROGRAM}: interrupted", file=sys.stderr)
            return INTERRUPTED


def make_parser() -> Parser:
    """The parser with every command that there is."""
    parser = Parser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    time.add_command(commands)
    env.add_command(commands)
    extract.add_command(commands)
    selftest.add_command(commands)
    gate.add_command(commands)
    doctor.add_command(commands)
    sweep.add_command(commands)
    fit.add_command(commands)
    predict.add_command(commands)
    tune.add_command(commands)
    explain.add_command(commands)
    return parser


@contextmanager
def _terminable() -> Iterator[None]:
    """Take SIGTERM, which a job's time limit sends, as Ctrl-C: what was measured until then is kept."""
    is_free = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_free:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _any_character() -> Iterator[None]:
    """Let a terminal that cannot show `µ` show its escape, where Python would raise UnicodeEncodeError."""
    stdout = sys.stdout
    errors = getattr(stdout, "errors", None)
    if not hasattr(stdout, "reconfigure"):
        yield
        return
    stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stdout.reconfigure(errors=errors)
