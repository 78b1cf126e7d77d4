"""What is said to a live view: exact messages; the timeline that they make up is in test_wire_timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from llm_latency.core.trace import Annotation
from llm_latency.notebook import wire
from llm_latency.record.view import Moment
from tests.notebook.wires import CALL, MS, instants, looks, progress, wire_of


@pytest.fixture(autouse=True)
def _at_one_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock, which says how old a message is, stands at 1.5 s."""
    monkeypatch.setattr(wire.time, "time", lambda: 1.5)


def test_what_does_not_change_is_said_once() -> None:
    """The run, its name and its budgets as text."""
    expected = {"run": "ab12cd", "name": "chat", "budgets": ["ttft p95 < 250 ms"]}
    assert expected == wire_of(budget="ttft p95 < 250 ms").setup()
    assert {"kind": "end", "run": "ab12cd"} == wire_of().end()


def test_the_first_call_is_announced() -> None:
    """Nothing is known yet of how long it takes."""
    first = progress(stage="cold", done=0, of=1, elapsed_s=0.0, last=None, is_live=True)
    expected = {
        "kind": "call",
        "run": "ab12cd",
        "stage": "cold",
        "words": "first call",
        "done": 0,
        "of": 1,
        "quiet": False,
        "width": None,
        "aim": None,
        "eta": None,
        "last": None,
        "budgets": [{"text": "total p50 < 1 s", "mark": "open", "seen": None}],
    }
    assert expected == wire_of(budget="total < 1 s").call(first)


def test_a_counted_call_is_announced_with_what_is_known() -> None:
    """Its number, the interval and where it is to come to, the last call's times, and what is left of the time."""
    message = wire_of(repeat=None, precision=0.05).call(progress(of=None, half_width=0.042))
    assert message is not None
    assert ("call 3", True, 0.042, 0.05) == tuple(message[name] for name in ("words", "quiet", "width", "aim"))
    assert ("ttft 100 ms, 10.0 tok/s", "at most 9.00 s") == (message["last"], message["eta"])


@pytest.mark.parametrize(
    ("plan", "aim"),
    [({"repeat": None}, 0.03), ({"repeat": 9}, None), ({"repeat": None, "budget": "total < 1 s"}, None)],
)
def test_an_aim_is_said_where_it_ends_sampling(plan: dict[str, Any], aim: float | None) -> None:
    """Not where a number of calls or a budget does."""
    message = wire_of(**plan).call(progress())
    assert message is not None and aim == message["aim"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "600 ms"),
        ({"done": 4}, "200 ms"),
        ({"done": 5}, None),
        ({"last": None}, None),
        ({"of": None}, "at most 9.00 s"),
        ({"of": None, "elapsed_s": 10.0}, None),
        ({"of": None, "elapsed_s": 12.0}, None),
        ({"stage": "warmup", "of": None}, "at most 9.00 s"),
        ({"stage": "warmup", "of": 3}, None),
        ({"last": msgspec.structs.replace(CALL, pauses=((0, 100 * MS),))}, "300 ms"),
    ],
)
def test_what_is_left_is_said_in_words(fields: dict[str, Any], expected: str | None) -> None:
    """Three calls of 200 ms each; without a number of calls, what is left of the seconds at most."""
    message = wire_of(repeat=5).call(progress(**fields))
    assert message is not None and expected == message["eta"]


def test_calls_that_follow_fast_are_not_each_announced() -> None:
    """At most one in 0.1 s, and each new stage."""
    told = wire_of(repeat=9)
    calls = [("cold", 0.0), ("warmup", 0.01), ("warmup", 0.1), ("warmup", 0.11), ("counted", 0.15), ("counted", 0.24)]
    said = [told.call(progress(stage=stage, elapsed_s=elapsed)) for stage, elapsed in calls]
    assert [True, True, False, True, True, False] == [message is not None for message in said]


def test_budgets_are_judged_by_the_counted_calls() -> None:
    """Also by those that were not announced: a maximum is one of three calls, which decide no median."""
    told = wire_of(repeat=9, budget=["total max < 1 s", "total max < 300 ms", "total < 300 ms", "energy < 1 J"])
    for done, last in enumerate((None, CALL, msgspec.structs.replace(CALL, stop_ns=400 * MS))):
        said = told.call(progress(done=done, elapsed_s=0.01 * done, last=last))
        assert (said is None) == (done > 0)
    said = told.call(progress(done=3, elapsed_s=1.0))
    assert said is not None
    assert [("ok", "400 ms"), ("over", "400 ms"), ("open", "200 ms"), ("open", None)] == [
        (budget["mark"], budget["seen"]) for budget in said["budgets"]
    ]


def test_warm_up_calls_are_not_judged() -> None:
    """Nor the first: what they took is no promise."""
    told = wire_of(repeat=9, budget="total max < 100 ms")
    for stage, done in (("warmup", 0), ("warmup", 1), ("counted", 0)):
        said = told.call(progress(stage=stage, done=done, elapsed_s=done + 1.0))
        assert said is None or [("open", None)] == [(budget["mark"], budget["seen"]) for budget in said["budgets"]]


def test_a_tick_is_said_exactly() -> None:
    """Three tokens at 100, 120 and 145 ms of a request that began at 40; two of them are new in the second."""
    told = wire_of()
    moment = Moment(at_ns=101 * MS, phase="decode", request=1, entered_ns=40 * MS, instants_ns=(100 * MS,), tokens=1)
    told.tick(moment)
    moment = Moment(
        at_ns=150 * MS,
        phase="decode",
        request=1,
        entered_ns=40 * MS,
        first=1,
        instants_ns=(120 * MS, 145 * MS),
        tokens=3,
        total=3,
        limit=9,
        texts=(" b", " c"),
        delay_ns=3 * MS,
        peaks={"rss": 2**30},
        annotations=(Annotation(kind="gc", at_ns=130 * MS, detail="generation 2", duration_ns=2 * MS),),
    )
    expected = {
        "kind": "tick",
        "run": "ab12cd",
        "phase": "decode",
        "t_us": 150_000,
        "n": 3,
        "ttft": "60.0 ms",
        "rate": "28.6 tok/s",  # 3 in 105 ms
        "memory": "1.00 GiB",
        "others": "2%",
        "eta": "at most 210 ms",  # six more
        "budgets": [],
        "sent_ms": 1500,
        "first": 0,
        "at_us": 100_000,
        "e": [100_000, 20_000, 25_000],
        "text": [" b", " c"],
        "notes": [["gc", 130_000, "generation 2, 2.00 ms"]],
    }
    assert expected == told.tick(moment)


def test_a_tick_without_tokens_says_only_its_phase() -> None:
    """While a model loads; at the very beginning not even a share of the time is known."""
    message = wire_of(repeat=2).tick(Moment(at_ns=0, phase="load", delay_ns=0))
    assert ("load", 0, [], [], 0, 0) == tuple(message[name] for name in ("phase", "n", "e", "text", "first", "at_us"))
    assert {None} == {message[name] for name in ("ttft", "rate", "memory", "others", "eta", "budgets")}


def test_a_limit_that_is_reached_leaves_nothing() -> None:
    """Nor where the first token took no time at all."""
    done = Moment(at_ns=MS, phase="decode", instants_ns=(MS,), tokens=4, total=4, limit=4)
    assert wire_of().tick(done)["eta"] is None
    at_once = Moment(at_ns=0, phase="decode", instants_ns=(0,), tokens=1, total=1, limit=4)
    assert (None, None, "0 s") == tuple(wire_of().tick(at_once)[name] for name in ("eta", "rate", "ttft"))


def test_time_of_other_programs_is_marked_from_a_quarter_on() -> None:
    """Of the stretch since the last update, at most all of it; where it is not known, nothing is said."""
    told = wire_of()
    found = []
    for at_ms, delay_ms in ((100, 24), (200, 49), (300, None), (400, 99), (500, 300), (600, 290)):
        delay = None if delay_ms is None else delay_ms * MS
        found.append(told.tick(Moment(at_ns=at_ms * MS, phase="running", delay_ns=delay))["notes"])
    words = "other programs had {} since the last update"
    assert [
        [],
        [["contended", 200_000, words.format("25%")]],
        [],
        [["contended", 400_000, words.format("25%")]],
        [["contended", 500_000, words.format("100%")]],
        [],
    ] == found


def test_ids_are_shown_as_numbers_where_nobody_decodes_them() -> None:
    """Several at once where drafts were right."""
    (moment,) = looks(instants(2), each=2, ids=[(5,), (6, 7)])
    assert [" #5", " #6 #7"] == wire_of().tick(moment)["text"]


def test_a_decoder_that_fails_is_asked_no_more() -> None:
    """What it had decoded before stays text, the rest is numbers."""
    asked: list[Sequence[int]] = []

    def decode(ids: Sequence[int]) -> str:
        asked.append(ids)
        if ids == (7,):
            raise RuntimeError("Already borrowed")
        return f" t{ids[0]}"

    told = wire_of(decode)
    ids = [(5,), (7,), (6,), (5,)]
    messages = [told.tick(moment) for moment in looks(instants(4), each=2, ids=ids)]
    assert [" t5", " #7", " #6", " #5"] == messages[-1]["text"]
    assert [(5,), (7,)] == asked


def test_a_streams_own_text_comes_before_ids() -> None:
    """It is what the user sees."""
    (moment,) = looks(instants(1), each=1, ids=[(5,)], texts=["five"])
    assert ["five"] == wire_of(lambda _: pytest.fail("asked")).tick(moment)["text"]


def test_a_new_call_begins_anew() -> None:
    """Nothing of the one before is repeated: emissions, texts, notes and what is known so far."""
    told = wire_of(repeat=9)
    for moment in looks(instants(5), each=5, texts=list("abcde")):
        told.tick(msgspec.structs.replace(moment, delay_ns=50 * MS))
    told.call(progress())
    message = told.tick(Moment(at_ns=100 * MS, phase="prefill", delay_ns=20 * MS))
    assert ([], [], [], None, 0) == tuple(message[name] for name in ("e", "text", "notes", "ttft", "at_us"))


@pytest.mark.parametrize(
    ("budget", "mark", "seen"),
    [
        ("ttft < 61 ms", "ok", "60.0 ms"),
        ("ttft < 60 ms", "over", "60.0 ms"),
        ("ttft p95 < 1 s", "ok", "60.0 ms"),
        ("e2e < 106 ms", "open", "105 ms"),
        ("e2e < 105 ms", "over", "105 ms"),
        ("tpot < 1 s", "open", "22.5 ms"),
        ("tpot < 1 ms", "open", "22.5 ms"),
        ("output_throughput > 1 tok/s", "open", "28.6 tok/s"),
        ("output_throughput > 99 tok/s", "open", "28.6 tok/s"),
        ("total < 1 ms", "open", None),
        ("energy < 1 J", "open", None),
    ],
)
def test_a_budget_is_over_only_when_it_cannot_get_better(budget: str, mark: str, seen: str | None) -> None:
    """A time that has passed stays passed; a rate may recover. Tokens at 60, 80 and 105 ms."""
    at_ns = (60 * MS, 80 * MS, 105 * MS)
    message = wire_of(budget=budget).tick(
        Moment(at_ns=110 * MS, phase="decode", request=1, instants_ns=at_ns, tokens=3, total=3)
    )
    assert [(mark, seen)] == [(said["mark"], said["seen"]) for said in message["budgets"]]
