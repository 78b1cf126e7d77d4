"""Why an answer is what it is: sentences to the letter."""

from __future__ import annotations

import msgspec
import pytest

from llm_latency.core.metrics import METRICS
from llm_latency.gate.result import Answer
from llm_latency.report.gate_why import Finding, duration, explained, make_findings, why
from tests.report.gate_results import BROKEN_TEST, NEW_TEST, SKIPPED_TEST, a_test, answered, around, gate, moved

TEN_SLOWER = around(0.1, 0.0, 6)
NOTHING_STANDS_OUT = ("no single part of the call moved beyond its noise",)


def slow(**fields: object) -> Answer:
    """+10 % of 200 ms in every pair."""
    return answered("t::a", TEN_SLOWER, TEN_SLOWER, **fields)  # type: ignore[arg-type]  # fields by name


def test_an_ok_says_nothing() -> None:
    """Its row is enough."""
    assert [] == why(answered("t::a", around(0.0, 0.0, 6)), pair_s=3.0)


def test_a_failure_tells_both_looks_and_what_they_show() -> None:
    """Half of a limit of 5 % is what has to be shown."""
    assert [
        "first 6 pairs +10.0 % [+10.0, +10.0]; 6 fresh pairs +10.0 % [+10.0, +10.0]: the whole interval lies above"
        " 2.5 %, half of the limit, both times"
    ] == why(slow())


def test_a_smallest_change_is_what_has_to_be_shown() -> None:
    """8 ms of 200 are 4 %, more than half of the limit; 16 ms are 8 %, more than all of it."""
    for least, expected in ((0.008, "above 4 %, both times"), (0.016, "above 8 %, both times")):
        assert why(slow(min_change=(least, "s")))[0].endswith(f": the whole interval lies {expected}")
    # An older file does not say what had to be shown.
    assert why(msgspec.structs.replace(slow(), shown=None))[0].endswith("6 fresh pairs +10.0 % [+10.0, +10.0]")


def test_a_win_tells_what_moved_and_repeats_no_row() -> None:
    """Without parts there is nothing more to say."""
    quick = answered("t::a", around(-0.1, 0.0, 6))
    assert ("FASTER", []) == (quick.word, why(quick))
    parts = (moved("ttft", 0.1, -0.2), moved("tpot", 0.02, 0.0))
    assert ["ttft moved: −20.0 % [−20.4, −19.6], −20.0 ms of −20.0 ms"] == why(
        msgspec.structs.replace(quick, moved=parts)
    )


@pytest.mark.parametrize(
    ("pair_s", "time"), [(None, ""), (2.5, ", about 18 s"), (60.0, ", about 7 min"), (3600.0, ", about 7.0 h")]
)
def test_an_open_answer_tells_what_would_decide_it(pair_s: float | None, time: str) -> None:
    """A spread of 6 % about 0 after six pairs: its upper bound is below 5 % from 18 pairs on, 12 more."""
    answer = answered("t::a", around(0.0, 0.06, 6))
    assert 18 == answer.decision.more
    expected = time if pair_s is None else f", about {duration(12 * pair_s)}"
    assert [
        "the interval holds the limit; more pairs, or a quieter machine, would narrow it",
        f"about 12 more pairs would probably decide it{expected}",
    ] == why(answer, pair_s=pair_s)


def test_too_few_pairs_tell_how_many_are_missing() -> None:
    """The first look is after six."""
    assert ["fewer than 6 pairs were run", "about 1 more pair would probably decide it, about 3 s"] == why(
        answered("t::a", around(0.0, 0.0, 5)), pair_s=3.0
    )


def test_more_pairs_than_a_gate_looks_at_are_no_advice() -> None:
    """A spread of 20 % would need hundreds."""
    answer = answered("t::a", around(0.0, 0.2, 46))
    assert (answer.decision.more or 0) > 46
    assert (
        f"about {answer.decision.more} pairs would probably decide it, and a gate looks at 46 at most; a quieter"
        " machine would need fewer"
    ) == why(answer, pair_s=3.0)[-1]


def test_where_no_number_of_pairs_would_decide_it_says_so() -> None:
    """A mean on the boundary, far apart."""
    answer = answered("t::a", around(0.025, 0.3, 46))
    assert answer.decision.more is None
    assert (
        "no number of pairs would probably decide this; a quieter machine, or another limit, might" == why(answer)[-1]
    )


def test_fresh_pairs_that_show_nothing_leave_it_open_for_good() -> None:
    """Both looks are told; no more pairs are asked for."""
    assert [
        "the first pairs showed a slowdown and fresh ones none",
        "first 6 pairs +10.0 % [+10.0, +10.0]; 6 fresh pairs 0.0 % [0.0, 0.0]",
    ] == why(answered("t::a", TEN_SLOWER, around(0.0, 0.0, 6)), pair_s=3.0)


def test_a_confirmation_that_had_no_time_counts_its_own_pairs() -> None:
    """Two of the six that the first ones needed were run; of those that were looked at the next look decides."""
    assert [
        "a slowdown was seen and fresh pairs could not confirm it",
        "about 4 more pairs would probably decide it, about 4 s",
    ] == why(answered("t::a", TEN_SLOWER, around(0.1, 0.0, 2)), pair_s=1.0)
    # At a spread of 4 % about 10 % the lower bound is above 2.5 % from nine pairs on.
    open_still = answered("t::a", TEN_SLOWER, around(0.1, 0.04, 8))
    assert (9, "about 1 more pair would probably decide it") == (open_still.decision.more, why(open_still)[-1])


def test_unequal_work_asks_for_no_pairs() -> None:
    """It was withheld, whatever the ratios say."""
    reason = "unequal work: 16 and 24 new tokens"
    assert [reason] == why(answered("t::a", TEN_SLOWER, withheld=(reason,)), pair_s=3.0)


@pytest.mark.parametrize("metric", METRICS)
def test_only_times_are_slow(metric: str) -> None:
    """Each reason of the decision speaks of a loss where more is better, and of a rise of bytes and joules."""
    cases = (
        (around(0.0, 0.0, 3), ()),
        (around(0.04, 0.05, 46), ()),
        (around(0.0, 0.2, 46), ()),
        (TEN_SLOWER, around(0.0, 0.0, 6)),
        (TEN_SLOWER, around(0.1, 0.0, 2)),
        (TEN_SLOWER, TEN_SLOWER),
    )
    said = "\n".join(
        sentence for first, fresh in cases for sentence in why(answered("t", first, fresh, metric=metric), pair_s=1.0)
    )
    is_time = METRICS[metric].unit == "s"
    assert is_time == ("slowdown" in said) == ("too slow" in said)
    assert is_time or ("loss" if METRICS[metric].better == "higher" else "rise") in said


def test_wall_time_is_told_where_it_says_something_else() -> None:
    """Outside of the interval of own time, not within it."""
    close = answered("t::a", around(0.1, 0.01, 6), around(0.1, 0.01, 6), wall=0.005)
    far = answered("t::a", around(0.1, 0.01, 6), around(0.1, 0.01, 6), wall=0.1)
    assert not any("wall" in sentence for sentence in why(close))
    # 1.1 · exp(0.1) = 1.2157
    assert "wall time: +21.6 %, outside of the interval of own time; other programs delayed one side more" in why(far)


def test_the_part_that_moved_is_named_with_its_seconds() -> None:
    """20 ms of 200 are the whole; ttft is 18 of them; decode says what tpot says."""
    parts = (moved("ttft", 0.1, 0.18), moved("tpot", 0.02, 0.001, seconds=0.0001), moved("decode", 0.08, 0.001))
    # exp(log 1.18 ± 0.005) - 1
    assert ("ttft moved: +18.0 % [+17.4, +18.6], +18.0 ms of +20.0 ms",) == explained(slow(moved=parts))


def test_several_parts_are_named_what_adds_most_first() -> None:
    """A part of less than a quarter of that is left out, however sure."""
    parts = (moved("ttft", 0.1, 0.08), moved("tpot", 0.02, 0.15, seconds=0.012), moved("tokenize", 0.002, 0.5))
    assert ["tpot", "ttft"] == [sentence.partition(" ")[0] for sentence in explained(slow(moved=parts))]


def test_noise_and_the_other_direction_are_no_reason() -> None:
    """An interval that holds zero, or a part that became shorter."""
    unsure = (moved("ttft", 0.1, 0.1, 0.2), moved("tpot", 0.02, -0.1, seconds=-0.008))
    assert NOTHING_STANDS_OUT == explained(slow(moved=unsure))


def test_a_metric_is_explained_by_its_own_parts() -> None:
    """The host is no part of a request; of a call's parts none explains memory, and none a part."""
    parts = (moved("host", 0.1, 0.18), moved("ttft", 0.1, 0.0001), moved("tpot", 0.02, 0.1, seconds=0.01))
    assert ("tpot moved: +10.0 % [+9.5, +10.6], +10.0 ms a call",) == explained(slow(metric="e2e", moved=parts))
    assert ("tpot moved: +10.0 % [+9.5, +10.6], +10.0 ms a call",) == explained(
        slow(metric="output_throughput", moved=parts)
    )
    for metric in ("ttft", "tpot", "peak_memory", "energy"):
        assert () == explained(slow(metric=metric, moved=parts))


def test_one_part_explains_nothing() -> None:
    """It is the whole itself."""
    assert () == explained(slow(moved=(moved("ttft", 0.2, 0.1),)))
    assert () == explained(slow())
    assert () == explained(answered("t::a", moved=(moved("ttft", 0.2, 0.1), moved("host", 0.2, 0.1))))


def test_findings_are_by_test() -> None:
    """All that is not plainly ok, the test's own word before its answers'; not what a row says already."""
    fine, bad = answered("t::a", around(0.0, 0.0, 6)), answered("t::b", TEN_SLOWER, TEN_SLOWER)
    result = gate(fine, bad, tests=(BROKEN_TEST, NEW_TEST, SKIPPED_TEST, a_test("t::c", "NEW")))
    assert [
        ("t::b", "total", "TOO SLOW"),
        (BROKEN_TEST.test, "", "BROKEN"),
        (NEW_TEST.test, "", "NEW"),
        (SKIPPED_TEST.test, "", "skipped"),
    ] == [(found.test, found.metric, found.word) for found in make_findings(result)]
    assert ("E   AttributeError: 'Rope' object has no attribute 'scale'",) == make_findings(result)[1].sentences
    assert () == make_findings(gate())


def test_a_test_does_not_repeat_its_answers() -> None:
    """A reason that both have is told once; a test's own one stands before."""
    reason = "unequal work: 16 and 24 new tokens"
    bad = answered("t::a", TEN_SLOWER, withheld=(reason,))
    result = msgspec.structs.replace(gate(bad), tests=(a_test("t::a", "UNDECIDED", reasons=(reason, "odd")),))
    assert [("odd",), (reason,)] == [found.sentences for found in make_findings(result)]


def test_long_words_are_a_sentence_and_stand_below_as_they_are() -> None:
    """The first line and the last of a traceback."""
    failure = "Traceback (most recent call last):\n  File 'x.py', line 1\n\nValueError: no\n"
    assert (
        Finding(
            test="t::a",
            metric="",
            word="BROKEN",
            sentences=("Traceback (most recent call last): … ValueError: no",),
            failure=failure,
        ),
    ) == make_findings(gate(tests=(a_test("t::a", "BROKEN", failure=failure),)))


def test_a_broken_test_without_words_is_a_finding_all_the_same() -> None:
    """Its row alone would be overlooked among a thousand."""
    assert [()] == [found.sentences for found in make_findings(gate(tests=(a_test("t::a", "BROKEN"),)))]


def test_answers_of_no_test_are_told() -> None:
    """As their rows are."""
    alone = msgspec.structs.replace(gate(slow()), tests=())
    assert ["TOO SLOW"] == [found.word for found in make_findings(alone)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (41.4, "41 s"), (99.4, "99 s"), (99.6, "2 min"), (5900.0, "98 min"), (7200.0, "2.0 h")],
)
def test_a_wait_is_told_roughly(seconds: float, text: str) -> None:
    """In the unit that one waits in."""
    assert text == duration(seconds)
