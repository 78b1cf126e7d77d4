"""A self-test as text, made by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_latency.gate.ratio import Ratio
from llm_latency.gate.result import FASTER, OK, TOO_SLOW, UNDECIDED
from llm_latency.gate.selftest.rates import Rates, Spread
from llm_latency.gate.selftest.soundness import FAILS, UNKNOWN, WORKS, Kind, Soundness, Visible
from llm_latency.gate.selftest.trial import Standing
from llm_latency.report.selftest import closing, percent, selftest_table, standing_line

RATIO = Ratio(own=0.0, wall=0.0, base=0.015, head=0.015)


def kind(name: str, share: float, gates: dict[str, int], **fields: Any) -> Kind:
    """A kind with one test of 26 pairs, that read what was planted to within 1 %."""
    given: dict[str, Any] = {
        "amount": round(400 * share),
        "spread": Spread(sd=0.021, low=0.018, high=0.0264, n=26),
        "gate_pairs": (),
        "seen": share,
        "low": share - 0.01,
        "high": share + 0.01,
        "resampled": Rates(gates=1000, passed=1000, failed=0, undecided=0, pairs=6.5),
        "ratios": (RATIO,) * 26,
    }
    return Kind(name=name, share=share, gates=gates, **given | fields)


def found(**fields: Any) -> Soundness:
    """A gate that works; fields may be replaced."""
    mixed = Rates(gates=1000, passed=951, failed=2, undecided=47, pairs=11.0)
    failed = Rates(gates=1000, passed=0, failed=1000, undecided=0, pairs=12.0)
    given: dict[str, Any] = {
        "outcome": WORKS,
        "reasons": (),
        "limit": 0.05,
        "kinds": (
            kind("unchanged", 0.0, {OK: 4}),
            kind("+3 %", 0.03, {OK: 2, UNDECIDED: 1}, resampled=mixed),
            kind("+10 %", 0.1, {TOO_SLOW: 2}, resampled=failed),
        ),
        "pairs": 26,
        "seconds": 231.0,
        "pair_s": 8.5,
        "call_s": 0.015,
        "wall_spread": Spread(sd=0.023, low=0.02, high=0.03, n=26),
        "supported": 0.02,
        "visible": Visible(smallest=0.047, low=0.0466, high=0.0512),
        "stopped_because": "time budget of 240 s used after 26 pairs",
        "not_seen": ("the moon",),
    }
    return Soundness(**given | fields)


TABLE = """\
self-test of the gate · max slowdown 5 % · 26 pairs of fresh processes · 231 s

planted    read in its pairs  spread   n  whole gates         right
unchanged  0 % [−1, +1]        2.1 %  26  4 ok               4 of 4
+3 %       +3 % [+2, +4]       2.1 %  26  2 ok, 1 UNDECIDED       –
+10 %      +10 % [+9, +11]     2.1 %  26  2 TOO SLOW         2 of 2

false alarms: 0 of 4 whole gates of unchanged code (0 % to 49 %)
detection: 2 of 2 whole gates of +10 % (34 % to 100 %)
whole gates: what the rule said of the pairs in the order in which they came; no pair is in two
  gates of its test. The intervals are Wilson's, 95 %
resampled: unchanged 100.0 % ok; +3 % 95.1 % ok, 0.2 % too slow, 4.7 % undecided; +10 % 100.0 % too
  slow. 1,000 gates each, drawn from the same pairs: they are not independent, so there is no
  interval
spread: the standard deviation of a pair's log ratio; of unchanged code 2.1 % (1.8 % to 2.6 % at 90
  % each) in own time and 2.3 % in wall time, n = 26
smallest visible change: +4.7 % (+4.7 % to +5.1 % with that spread at its bounds): fails in 95 % of
  simulated gates, whose pairs scatter as those of unchanged code do and with heavy tails, 46 of
  them and as many to confirm. Smallest supported limit: 2 %
time: a pair took 8.50 s (median) for 3 kinds of tests of a call of 15.0 ms; time budget of 240 s
  used after 26 pairs

not seen: the moon

A gate at 5 % works here: 4 gates of unchanged code passed and 2 gates of +10 % failed, as they
should."""


def test_the_table_tells_what_was_planted_seen_and_said() -> None:
    """Word for word."""
    assert TABLE.splitlines() == selftest_table(found(), width=100).splitlines()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_keeps_to_its_width(width: int) -> None:
    """Also the rows, which are not broken."""
    assert max(map(len, selftest_table(found(notes=("n" * 30,) * 3), width=width).splitlines())) <= width


def test_where_there_was_nothing_nothing_is_claimed() -> None:
    """No pair at all."""
    nothing = {"seen": None, "low": None, "high": None, "spread": None, "resampled": None, "ratios": ()}
    text = selftest_table(
        found(
            outcome=UNKNOWN,
            reasons=("no whole gate of unchanged came about",),
            kinds=(kind("unchanged", 0.0, {}, **nothing), kind("+10 %", 0.1, {}, **nothing)),
            pairs=0,
            wall_spread=None,
            visible=None,
            supported=None,
            pair_s=None,
            call_s=None,
        )
    )
    assert "false alarms: no whole gate of unchanged code" in text.splitlines()
    assert "detection: no whole gate of +10 %" in text.splitlines()
    assert not any(line.startswith(("spread", "smallest", "time", "resampled")) for line in text.splitlines())
    assert "could not be told: no whole gate of unchanged came about." in text.replace("\n", " ")
    assert "Give it more time with --time-budget." in text.replace("\n", " ")


def test_false_gains_are_told_where_there_are_some() -> None:
    """Unchanged code that was called faster."""
    kinds = (kind("unchanged", 0.0, {OK: 3, FASTER: 1}), kind("+10 %", 0.1, {TOO_SLOW: 1}))
    lines = selftest_table(found(kinds=kinds)).splitlines()
    assert "false gains: 1 of 4 whole gates of unchanged code (5 % to 70 %)" in lines
    assert "false gains" not in selftest_table(found())


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"outcome": FAILS, "reasons": ("a", "b")},
            "A gate at 5 % does not work here: a; b.",
        ),
        (
            {"outcome": UNKNOWN, "reasons": ("a",)},
            "Whether a gate at 5 % works here could not be told: a. More time (--time-budget) or a quieter machine"
            " (`llm-latency doctor` says what disturbs it) would tell.",
        ),
        (
            {"complete": False},
            "Interrupted: this is what there was. A gate at 5 % works here: 4 gates of unchanged code passed and"
            " 2 gates of +10 % failed, as they should.",
        ),
        (
            {"kinds": (kind("unchanged", 0.0, {OK: 1}), kind("+10 %", 0.1, {TOO_SLOW: 1}))},
            "A gate at 5 % works here: 1 gate of unchanged code passed and 1 gate of +10 % failed, as they should.",
        ),
    ],
)
def test_the_closing_sentence_says_what_to_remember(fields: dict[str, Any], sentence: str) -> None:
    """And what to do, where it could not be told."""
    assert sentence == closing(found(**fields))


@pytest.mark.parametrize(
    ("share", "sign", "expected"),
    [
        (None, False, "–"),
        (0.05, False, "5 %"),
        (0.0475, False, "4.8 %"),
        (0.004, False, "0.40 %"),
        (0.0, True, "0 %"),
        (-0.0, True, "0 %"),
        (-0.00001, True, "0 %"),
        (0.012, True, "+1.2 %"),
        (-0.012, True, "−1.2 %"),
        (1.234, True, "+123 %"),
        (0.0996, False, "10.0 %"),
    ],
)
def test_a_share_has_two_digits_that_say_something(share: float | None, sign: bool, expected: str) -> None:
    """And no sign before nothing."""
    assert expected == percent(share, sign=sign)


def test_the_status_line_tells_the_pair_the_test_the_time_and_the_last_ratios() -> None:
    """log 1.1 is +10 %."""
    standing = Standing(pair=1, test="+3 %", seconds=12.0, time_budget_s=240.0)
    assert "pair 1 · +3 % · 12.0 s of 240 s" == standing_line(standing)
    later = msgspec.structs.replace(standing, pair=2, last={"unchanged": -0.01, "+10 %": 0.09531})
    assert "pair 2 · +3 % · 12.0 s of 240 s · last unchanged −1.0 %, +10 % +10.0 %" == standing_line(later)
