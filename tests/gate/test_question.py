"""One question of a gate: the rule on pairs that come one by one, its limit with the absolute leg, and the answer."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import median

import pytest

from llm_latency.core.tolerance import mean_factor
from llm_latency.core.trace import Contention, Request, Trace
from llm_latency.core.verdict import FAIL, PASS
from llm_latency.gate.decision import LOOKS, MORE, Decision, Rule, decide
from llm_latency.gate.pair import Alternated
from llm_latency.gate.question import Question
from llm_latency.gate.result import FASTER, OK, TOO_SLOW, UNDECIDED, Asked

SECOND = 1_000_000_000


def call(seconds: float, *, tokens: int | None = None, delay: float = 0.0) -> Trace:
    """A call, with `tokens` of them in one request, and so much of delay by other programs added."""
    stop = round((seconds + delay) * SECOND)
    requests = ()
    if tokens is not None:
        first, done = (1, 1), (stop, tokens - 1)
        requests = (Request(kind="generate", start_ns=0, stop_ns=stop, emissions=(first, done), row_tokens=(tokens,)),)
    readings = ((0, 0), (stop, round(delay * SECOND)))
    return Trace(start_ns=0, stop_ns=stop, requests=requests, contention=Contention(readings=readings))


def pair(share: float, *, base: float = 1.0, delay: float = 0.0, tokens: int | None = None) -> Alternated:
    """A round of a base and a head that takes so much longer, the head delayed beside it."""
    head = call(base * (1 + share), delay=delay, tokens=tokens)
    return Alternated(test="t", name="t", index=1, base=(call(base, tokens=tokens),) * 2, head=(head,) * 2)


def question(*, metric: str = "total", limit: float = 0.05, min_change: tuple[float, str] | None = None) -> Question:
    """A question that knows nothing yet."""
    asked = Asked(test="t", limit=limit, metrics=(metric,), min_change=min_change)
    return Question(asked, test="t", name="t", metric=metric)


def told(asking: Question, pairs: Sequence[Alternated], *, family: int = 1) -> Question:
    """The same after these pairs, as long as it is open."""
    for one in pairs:
        if asking.is_open():
            asking.add(one, family=family)
    return asking


def spread_out(share: float, spread: float, n: int) -> list[Alternated]:
    """n pairs above and below a share in turns, with this mean and standard deviation of logs (n even)."""
    step = spread * math.sqrt((n - 1) / n)
    return [pair(math.expm1(math.log1p(share) + (step if index % 2 else -step))) for index in range(n)]


# --- one by one, as on lists ---


def by_lists(logs: Sequence[float], rule: Rule) -> tuple[int, int, Decision]:
    """How many first and fresh pairs are needed of so many, and the decision, by decide() on every beginning."""
    for n in range(len(logs) + 1):
        decision = decide(logs[:n], rule)
        if decision.outcome != MORE or (decision.first is not None and decision.first.outcome == FAIL):
            break
    first, fresh = logs[:n], logs[n:]
    if decision.outcome != MORE:
        return n, 0, decision
    for m in range(len(fresh) + 1):
        decision = decide(first, rule, confirmation=fresh[:m])
        if decision.outcome != MORE:
            break
    return n, m, decision


@pytest.mark.parametrize("family", [1, 7])
def test_pairs_that_come_one_by_one_decide_as_lists_do(family: int) -> None:
    """300 gates of 92 drawn ratios around nothing to +10 %, with a spread of 1 to 6 %."""
    chance = random.Random(family)
    rule, outcomes = Rule(limit=0.05, family=family), set()
    for _ in range(300):
        center, spread = chance.uniform(0.0, 0.1), chance.uniform(0.01, 0.06)
        pairs = [pair(math.expm1(chance.gauss(center, spread))) for _ in range(92)]
        asking = told(question(), pairs, family=family)
        logs = [math.log(one.head[0].stop_ns / one.base[0].stop_ns) for one in pairs]
        first, fresh, decision = by_lists(logs, rule)
        assert (first, fresh) == (len(asking.pairs), len(asking.fresh))
        found = asking.decision()
        assert (decision.outcome, decision.reason, decision.more) == (found.outcome, found.reason, found.more)
        outcomes.add((found.outcome, found.second is not None and found.second.outcome))
    assert {(PASS, False), (FAIL, FAIL), ("undecided", False)} <= outcomes


def test_looks_are_told_by_how_far_they_are() -> None:
    """Six pairs to the first, three to the second; of a confirmation six again; none behind the last."""
    asking, seen = question(), []
    for one in spread_out(0.1, 0.05, 46):
        seen.append(asking.pairs_to_look())
        asking.add(one, family=1)
    assert [6, 5, 4, 3, 2, 1, 3, 2, 1] == seen[:9]
    confirming = told(question(), [pair(0.1)] * 8)
    assert (6, 2, 4) == (len(confirming.pairs), len(confirming.fresh), confirming.pairs_to_look())
    assert confirming.is_confirming()
    behind = told(question(), spread_out(0.03, 0.08, 46))
    assert (46, None, False) == (len(behind.pairs), behind.pairs_to_look(), behind.is_open())


# --- the limit ---


def test_the_absolute_leg_is_a_share_of_the_bases_median() -> None:
    """0.2 s of a base of 1 s are 20 %; of bases of 1, 2 … 6 s, whose median is 3.5, 5.7 %."""
    asking = told(question(min_change=(0.2, "s")), [pair(0.0)] * 3)
    assert 0.2 == asking.rule.least
    asking = told(question(min_change=(0.2, "s")), [pair(0.06, base=float(base)) for base in range(1, 7)])
    assert 0.2 / 3.5 == pytest.approx(asking.rule.allowed)


def test_the_rule_stays_as_it_was_at_the_first_look() -> None:
    """Neither another base nor a larger family changes what was asked; until then both may."""
    asking = question(min_change=(0.2, "s"))
    families = (1, 2, 3, 3, 3, 3)
    for base, family in zip(range(1, 7), families, strict=True):
        asking.add(pair(0.05, base=float(base)), family=family)
        assert family == asking.rule.family
    frozen = asking.rule
    for base in (100.0, 0.01, 7.0):
        asking.add(pair(0.05, base=base), family=99)
    assert frozen == asking.rule == Rule(limit=0.05, family=3, least=0.2 / 3.5)


def test_more_pairs_than_the_first_look_do_not_count_for_its_limit() -> None:
    """Also where nobody has asked in between."""
    asking = question(min_change=(0.5, "s"))
    asking.pairs = told(question(), [pair(0.0)] * 6).pairs + told(question(), [pair(0.0, base=9.0)] * 6).pairs
    assert 0.5 == asking.rule.least


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, OK), (0.079, OK), (0.081, TOO_SLOW), (-0.079, OK), (-0.081, FASTER)]
)
def test_less_than_the_least_change_never_fails_nor_is_it_a_win(share: float, expected: str) -> None:
    """80 ms of 1 s: 7.9 % pass against a limit of 5 %, and 8.1 fail. A win of 1/1.08 is one of 7.4 %."""
    if share < 0:
        share = 1 / (1 - share) - 1
    answer = told(question(min_change=(0.08, "s")), [pair(share)] * 12).answer()
    assert (expected, 0.08, 0.08) == (answer.word, answer.limit, answer.shown)


@pytest.mark.parametrize(("share", "expected"), [(0.039, OK), (0.041, OK), (0.049, OK), (0.051, TOO_SLOW)])
def test_a_least_change_below_the_limit_moves_only_what_has_to_be_shown(share: float, expected: str) -> None:
    """40 ms of 1 s: it passes below 5 % as before, and fails only above 4 in the place of 2.5."""
    answer = told(question(min_change=(0.04, "s")), [pair(share)] * 12).answer()
    assert (expected, 0.05, 0.04) == (answer.word, answer.limit, answer.shown)
    noisy = spread_out(0.05, 0.007, 6)
    # 1.866 times 0.7 % below 5 % is 3.7 %: shown to be more than 2.5, and not more than 4.
    assert [1, 0] == [
        len(told(question(min_change=least), [*noisy, pair(0.05)]).fresh) for least in (None, (0.04, "s"))
    ]


@pytest.mark.parametrize("unit", ["B", "tok/s"])
def test_a_least_change_of_another_unit_is_none(unit: str) -> None:
    """Bytes say nothing about seconds."""
    answer = told(question(min_change=(0.5, unit)), [pair(0.1)] * 12).answer()
    assert (TOO_SLOW, 0.05, 0.025) == (answer.word, answer.limit, answer.shown)


def test_a_least_change_of_what_should_be_high_is_a_loss() -> None:
    """100 tok/s that become 80 are a ratio of 1.25 turned round, so 20 tok/s less are 25 %."""
    asking = told(question(metric="output_throughput", min_change=(20.0, "tok/s")), [pair(0.0, tokens=100)] * 6)
    assert 0.25 == pytest.approx(asking.rule.allowed)
    # More than there is: any loss passes.
    asking = told(question(metric="output_throughput", min_change=(200.0, "tok/s")), [pair(5.0, tokens=100)] * 6)
    assert (OK, pytest.approx(2000.0)) == (asking.answer().word, asking.answer().limit)


# --- the answer ---


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, OK), (0.049, OK), (0.051, TOO_SLOW), (1.0, TOO_SLOW), (-0.024, OK), (-0.025, FASTER), (-0.5, FASTER)],
)
@pytest.mark.parametrize("metric", ["total", "output_throughput"])
def test_the_word_follows_the_direction_of_the_metric(metric: str, share: float, expected: str) -> None:
    """A head that takes longer is slower, and has less throughput: the same share, and the same word.

    Beyond the margin is below 1/1.025 = 0.9756.
    """
    answer = told(question(metric=metric), [pair(share, tokens=100)] * 12).answer()
    assert expected == answer.word
    assert share == pytest.approx(answer.slowdown)
    head = 1 + share if metric == "total" else 100 / (1 + share)
    assert (1.0 if metric == "total" else 100.0, head) == pytest.approx((answer.base, answer.head))
    assert ("lower" if metric == "total" else "higher") == answer.better
    assert () == answer.reasons


def test_a_win_that_is_not_shown_is_ok() -> None:
    """3 % faster with an upper bound of -3.05 + 1.866 · 1 = -1.2 %."""
    answer = told(question(), spread_out(-0.03, 0.01, 6)).answer()
    assert OK == answer.word
    assert answer.high == pytest.approx(math.expm1(math.log(0.97) + mean_factor(6, 0.997) * 0.01), abs=1e-6)
    assert answer.low == pytest.approx(math.expm1(math.log(0.97) - mean_factor(6, 0.997) * 0.01), abs=1e-6)


def test_a_failure_is_told_by_its_fresh_pairs_alone() -> None:
    """What made it suspicious is not what it is measured by: 20 % at first, 10 % in the confirmation."""
    pairs = [*[pair(0.2)] * 6, *[pair(0.1, base=2.0, delay=0.4)] * 6]
    asking = told(question(), pairs)
    assert not asking.is_open()
    answer = asking.answer()
    assert TOO_SLOW == answer.word
    assert [0.1] * 3 == pytest.approx([answer.slowdown, answer.low, answer.high])
    assert (2.0, 2.2) == pytest.approx((answer.base, answer.head))
    # 2.2 s and 0.4 of delay are 1.3 times 2.
    assert 0.3 == pytest.approx(answer.wall)
    assert (6, 6) == (len(answer.pairs), len(answer.fresh))


def test_a_failure_that_fresh_pairs_do_not_see_is_undecided_for_good() -> None:
    """It is closed, and says so."""
    asking = told(question(), [*[pair(0.2)] * 6, *[pair(0.0)] * 20])
    assert ((6, 6), False) == ((len(asking.pairs), len(asking.fresh)), asking.is_open())
    answer = asking.answer()
    assert (UNDECIDED, ("the first pairs showed a slowdown and fresh ones none",)) == (answer.word, answer.reasons)
    assert None is answer.decision.more
    assert 0.0 == pytest.approx(answer.slowdown)


def test_a_failure_without_its_confirmation_is_undecided() -> None:
    """Six fresh pairs would probably do, since six first ones did; the numbers are those of the first."""
    for fresh in (0, 5):
        answer = told(question(), [pair(0.2)] * (6 + fresh)).answer()
        reason = "a slowdown was seen and fresh pairs could not confirm it"
        assert (UNDECIDED, (reason,), 6, fresh) == (
            answer.word,
            answer.reasons,
            answer.decision.more,
            len(answer.fresh),
        )
        assert 0.2 == pytest.approx(answer.slowdown)


def test_undecided_says_how_many_pairs_would_do() -> None:
    """No pair; five; and 8 pairs of a spread of 5 %, of which six are looked at: the look that would pass them."""
    for n in (0, 5):
        answer = told(question(), [pair(0.0)] * n).answer()
        assert (UNDECIDED, ("fewer than 6 pairs were run",), 6) == (answer.word, answer.reasons, answer.decision.more)
        assert (None, None) == (answer.slowdown, answer.low)
    answer = told(question(), [*spread_out(0.0, 0.05, 6), pair(0.0), pair(0.0)]).answer()
    expected = next(n for n in LOOKS if mean_factor(n, 0.997) * 0.05 < math.log1p(0.05))
    assert (UNDECIDED, expected, 6, 8) == (
        answer.word,
        answer.decision.more,
        answer.decision.first.pairs if answer.decision.first else None,
        len(answer.pairs),
    )


def test_own_time_decides_and_wall_time_stands_beside_it() -> None:
    """A head that others delay by half of its time is ok, and its wall is 50 % longer."""
    answer = told(question(), [pair(0.0, delay=0.5)] * 6).answer()
    assert (OK, 0.0) == (answer.word, answer.slowdown)
    assert 0.5 == pytest.approx(answer.wall)


def test_the_medians_are_over_pairs() -> None:
    """Of the seven there were, though six were looked at."""
    bases = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0]
    shares = [0.1, -0.1] * 4
    answer = told(question(), [pair(share, base=base) for base, share in zip(bases, shares, strict=False)]).answer()
    assert (UNDECIDED, 4.0) == (answer.word, answer.base)
    assert answer.head == pytest.approx(median(base * (1 + share) for base, share in zip(bases, shares, strict=False)))


# --- what cannot be asked ---


def test_a_metric_that_no_call_has_is_given_up_after_two_pairs() -> None:
    """It says so, and not that more pairs would help."""
    asking = told(question(metric="ttft"), [pair(0.0)] * 5)
    assert (2, []) == (asking.missing, asking.pairs)
    answer = asking.answer()
    assert (UNDECIDED, ("its calls have no value of ttft",)) == (answer.word, answer.reasons)
    assert (None, None, None) == (answer.slowdown, answer.base, answer.wall)


def test_a_metric_that_some_calls_have_goes_on() -> None:
    """Every second pair has one; it is decided by those, or says how many had none."""
    mixed = [pair(0.0, tokens=10 if number % 2 else None) for number in range(8)]
    asking = told(question(metric="e2e"), mixed)
    assert (asking.is_open(), 4, 4) == (True, asking.missing, len(asking.pairs))
    reasons = asking.answer().reasons
    assert ("fewer than 6 pairs were run", "its calls have no value of e2e in 4 of 8 pairs") == reasons
    assert (OK, ()) == (told(asking, mixed).answer().word, asking.answer().reasons)


def test_a_metric_that_most_calls_lack_is_given_up() -> None:
    """Two more pairs without than with."""
    asking = told(question(metric="e2e"), [pair(0.0, tokens=10), *[pair(0.0)] * 9])
    assert (3, 1, False) == (asking.missing, len(asking.pairs), asking.is_open())


def test_unequal_work_is_undecided_whatever_the_times() -> None:
    """With its reasons, each once, and the numbers beside them; no pair is asked for any more."""
    asking = told(question(), [pair(0.2)] * 12)
    asking.withhold(["unequal work: 4 and 8 new tokens"])
    asking.withhold(["unequal work: 4 and 8 new tokens", "unequal work: 1 and 2 rows"])
    answer = asking.answer()
    assert (UNDECIDED, False) == (answer.word, asking.is_open())
    assert ("unequal work: 4 and 8 new tokens", "unequal work: 1 and 2 rows") == answer.reasons
    assert 0.2 == pytest.approx(answer.slowdown)
    assert not told(question(metric="ttft"), [pair(0.0)]).is_confirming()


def test_the_last_look_is_what_progress_shows() -> None:
    """None before the first, the first pairs' until they have failed, then the fresh ones'."""
    asking = question()
    assert None is asking.look()
    seen = []
    for one in [*[pair(0.2)] * 6, *[pair(0.1)] * 5]:
        asking.add(one, family=1)
        seen.append(asking.look())
    assert [None] * 5 == seen[:5]
    assert all(look is not None and 0.2 == pytest.approx(math.expm1(look.center)) for look in seen[5:])
    asking.add(pair(0.1), family=1)
    look = asking.look()
    assert look is not None and 0.1 == pytest.approx(math.expm1(look.center))
