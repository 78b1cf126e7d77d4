"""A checkup as text, made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from llm_latency.gate.doctor.doctor import FINE, UNFIT, UNTOLD, Checkup, Supported
from llm_latency.gate.doctor.finding import MISSING, NOISY, OK, RISK, UNKNOWN, Finding
from llm_latency.gate.doctor.probe import Probe, Steadiness
from llm_latency.gate.ratio import Ratio
from llm_latency.gate.selftest.rates import Spread
from llm_latency.report.doctor import checkup_table, verdict

RATIO = Ratio(own=0.0, wall=0.0, base=0.015, head=0.015)
SPREAD = Spread(sd=0.021, low=0.015, high=0.037, n=6)


def found(**fields: Any) -> Checkup:
    """A machine with one of each word, and a probe; fields may be replaced."""
    given: dict[str, Any] = {
        "outcome": FINE,
        "reasons": (),
        "max_slowdown": 0.05,
        "findings": (
            Finding(topic="cores", word=OK, seen="2", remedy="none is needed"),
            Finding(topic="steal", word=UNKNOWN, seen="not reported by this system"),
            Finding(topic="turbo", word=RISK, seen="on", remedy="switch it off"),
            Finding(topic="neighbours", word=NOISY, seen="evil \x1b[31m " + "x" * 90, remedy="stop them"),
            Finding(topic="git", word=MISSING, seen="cannot be run", remedy="install git"),
        ),
        "steadiness": Steadiness(calls=50, median_s=0.005, width=0.021, cpu_width=0.004, waited=0.0),
        "probe": Probe(
            work="plain Python", ratios=(RATIO,) * 6, own=SPREAD, wall=SPREAD, waited=0.012, call_s=0.015, pair_s=2.2
        ),
        "supported": Supported(limit=0.03, at_low=0.02, at_high=0.04, unchanged_s=14.5, slower_s=27.0),
        "seconds": 19.5,
        "not_seen": ("the moon",),
    }
    return Checkup(**given | fields)


TABLE = """\
doctor · max slowdown 5 % · 19.5 s

noisy    neighbours  evil \\x1b[31m
                     xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
                     xxxxxxxxxxx
missing  git         cannot be run
risk     turbo       on
unknown  steal       not reported by this system
ok       cores       2

what to do, the worst first
- neighbours: stop them
- git: install git
- turbo: switch it off

fixed Python work: 50 times 5.00 ms; the middle half lies within 2.1 % of wall time and 0.40 % of
  CPU time, and 0 % of the time it did not run
pairs of unchanged code (plain Python, 15.0 ms a call): 6, whose log ratios scatter by 2.1 % (1.5 %
  to 3.7 % at 90 % each) of own time, 2.1 % of wall time; time of the calls in which others had the
  core: 1.2 %
smallest supported limit: 3 % (2 % to 4 % with the spread at its bounds): unchanged code passes in
  99 % of simulated gates and a slowdown of twice the limit fails in 95 %, within 46 pairs and as
  many to confirm
time of a gate with one such test: about 14.5 s where nothing changed, 27.0 s where it is 10 %
  slower; what each process starts beside (pytest, imports, models) comes on top

not seen: the moon

A gate at 5 % is fine here; the smallest supported limit is 3 %. Noisy now: neighbours."""


def test_the_table_has_the_worst_first_then_what_to_do() -> None:
    """Word for word; what is unknown or ok has no remedy, and nothing moves the terminal's cursor."""
    assert TABLE.splitlines() == checkup_table(found(), width=100).splitlines()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_keeps_to_its_width(width: int) -> None:
    """Long findings go on below themselves."""
    assert max(map(len, checkup_table(found(notes=("n " * 90,)), width=width).splitlines())) <= width


def test_without_a_probe_there_are_findings_and_notes() -> None:
    """Nothing is claimed that was not measured."""
    text = checkup_table(
        found(outcome=UNTOLD, reasons=("r",), steadiness=None, probe=None, supported=None, notes=("no probe",))
    )
    assert "note: no probe" in text.splitlines()
    assert not any(line.startswith(("fixed", "pairs", "smallest", "time")) for line in text.splitlines())


def test_too_few_pairs_say_how_many() -> None:
    """One; where the system tells no delay, that is said."""
    probe = Probe(work="w", ratios=(RATIO,), own=None, wall=None, waited=None, call_s=0.015, pair_s=2.2, notes=("odd",))
    lines = checkup_table(found(probe=probe)).splitlines()
    assert "pairs of unchanged code (w): 1, too few to say how they scatter" in lines
    assert "note: odd" in lines
    blind = Probe(work="w", ratios=(RATIO,) * 6, own=SPREAD, wall=SPREAD, waited=None, call_s=0.015, pair_s=2.2)
    text = checkup_table(found(findings=found().findings[:1], probe=blind)).replace("\n  ", " ")
    assert "in which others had the core: not reported by this system" in text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"outcome": UNFIT, "reasons": ("times scatter too much from pair to pair",)},
            "A gate at 5 % is not fine here: times scatter too much from pair to pair; they support 3 %."
            " Noisy now: neighbours.",
        ),
        (
            {"outcome": UNFIT, "reasons": ("git: cannot be run",), "supported": None, "findings": ()},
            "A gate at 5 % is not fine here: git: cannot be run.",
        ),
        (
            {"outcome": UNTOLD, "reasons": ("the probe gave 2 pairs",), "findings": ()},
            "Whether a gate at 5 % is fine here could not be told: the probe gave 2 pairs. More time"
            " (--time-budget, up to 30s) or `llm-latency selftest` would tell.",
        ),
        (
            {"complete": False, "findings": ()},
            "Interrupted: this is what there was. A gate at 5 % is fine here; the smallest supported limit is 3 %.",
        ),
    ],
)
def test_the_closing_sentence_says_what_to_remember(fields: dict[str, Any], sentence: str) -> None:
    """And what disturbs now."""
    assert sentence == verdict(found(**fields))
