"""What a page makes of a wire's messages: the whole timeline, also where some are lost, in messages that stay small."""

from __future__ import annotations

import msgspec
import pytest

from llm_latency.core.trace import Annotation
from llm_latency.notebook.wire import MOST_BYTES
from llm_latency.record.view import Moment
from tests.notebook.wires import MS, Page, instants, looks, progress, size, wire_of


@pytest.mark.parametrize("each", [1, 2, 10, 31])
@pytest.mark.parametrize("kept", [1, 2])
def test_a_lost_message_does_no_harm(each: int, kept: int) -> None:
    """From every message, and from every second one alone, the whole timeline is known to the microsecond."""
    expected, told, page = instants(310), wire_of(), Page()
    for number, moment in enumerate(looks(expected, each=each), start=1):
        message = told.tick(moment)
        if number % kept == 0:
            page.take(message)
    known = len(expected) // (each * kept) * each * kept
    assert [(index, index, expected[index]) for index in range(known)] == [span[:3] for span in page.spans]
    gaps = [later - earlier for earlier, later in zip([0, *expected], expected, strict=False)]
    assert gaps[:known] == [gap for *_, gap in page.spans]


@pytest.mark.parametrize("each", [32, 100, 1_000])
@pytest.mark.parametrize("kept", [1, 2])
def test_many_emissions_are_told_together(each: int, kept: int) -> None:
    """Each part with its end and its longest gap; the first token stays alone, and a lost message does no harm."""
    expected, told, page = instants(4 * each), wire_of(), Page()
    for number, moment in enumerate(looks(expected, each=each), start=1):
        message = told.tick(moment)
        assert size(message) <= MOST_BYTES
        if number % kept == 0:
            page.take(message)
    assert (0, 0, 200_000) == page.spans[0][:3]
    assert 4 * each == page.next
    gaps = [later - earlier for earlier, later in zip([0, *expected], expected, strict=False)]
    following = 0
    for first, last, at, longest in page.spans:
        assert (following, expected[last], max(gaps[first : last + 1])) == (first, at, longest)
        following = last + 1


def test_a_hundred_thousand_emissions_fit() -> None:
    """In one look: 1 + 18 items, of which all parts but the last are of equal size."""
    (moment,) = looks(range(100_000, 200_000), each=100_000)
    message = wire_of().tick(moment)
    assert (0, 100_000, 100_000) == (message["first"], message["at_us"], message["n"])
    assert [100_000, *[[5_556, 5_556, 1]] * 17, [5_547, 5_547, 1]] == message["e"]
    assert size(message) <= MOST_BYTES


HOSTILE = {
    "control characters": "\x00\x1b\x7f",
    "emoji": "😀👩‍👩‍👧‍👦",
    "long": "a",
    "quotes": '"\\',
    "half a pair": "\ud800",
    "separators": "\u2028\u2029\u202e",
    "markup": "</script><img src=x onerror=alert(1)>",
}


@pytest.mark.parametrize("letters", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("kept", [1, 2])
def test_no_text_breaks_the_limit_or_the_timeline(letters: str, kept: int) -> None:
    """Tokens of 10,000 letters, twelve a look, with notes as long and thirty budgets: texts give way to emissions."""
    expected, page = instants(240), Page()
    told = wire_of(budget=[f"ttft p{n} < 250.125 ms" for n in range(50, 80)])
    texts = [letters * (10_000 // len(letters))] * 240
    for number, moment in enumerate(looks(expected, each=12, texts=texts), start=1):
        notes = tuple(Annotation(kind="held back", at_ns=0, detail=letters * 99, duration_ns=7) for _ in range(50))
        message = told.tick(msgspec.structs.replace(moment, annotations=notes, delay_ns=moment.at_ns))
        assert size(message) <= MOST_BYTES
        assert all(len(text) <= 24 for text in message["text"])
        if number % kept == 0:
            page.take(message)
    assert [(index, index, at) for index, at in enumerate(expected)] == [span[:3] for span in page.spans]


def test_messages_of_many_budgets_fit() -> None:
    """The first ones are said, as many as there is room for, before a call and while it runs."""
    told = wire_of(budget=[f"output_throughput p{n} > 1234.5 tok/s" for n in range(1, 90)])
    call = told.call(progress())
    (moment,) = looks(instants(12), each=12, texts=["word"] * 12)
    tick = told.tick(moment)
    assert call is not None
    for message in (call, tick):
        assert size(message) <= MOST_BYTES
        assert 5 < len(message["budgets"]) < 20
        assert "output_throughput p1 > 1,234.5 tok/s" == message["budgets"][0]["text"]
    assert (12, 12) == (len(tick["e"]), len(tick["text"]))


def test_texts_are_those_of_the_last_emissions() -> None:
    """Twelve of the thirty in a look; a page that has missed some says so."""
    told, page = wire_of(), Page()
    for moment in looks(instants(60), each=30, texts=[f"{index} " for index in range(60)]):
        page.take(told.tick(moment))
    halves = ["".join(f"{index} " for index in range(first, first + 12)) for first in (18, 48)]
    assert f"…{halves[0]}…{halves[1]}" == page.text


def test_emissions_whose_texts_are_not_known_do_not_repeat_the_last_ones() -> None:
    """A look from beside knows no ids: a page shows that something is missing there, not the same words again."""
    told, page = wire_of(), Page()
    moments = list(looks(instants(9), each=3, texts=list("abcdefghi")))
    moments[1] = msgspec.structs.replace(moments[1], texts=())
    for moment in moments:
        page.take(told.tick(moment))
    assert "abc⋯ghi" == page.text


def test_requests_of_a_call_have_their_own_first_tokens() -> None:
    """Two that take turns: each has its ttft and rate, the timeline never goes back, and tokens are those of all."""
    told, page = wire_of(), Page()
    turns = [(1, 0, 0, 100), (2, 50, 0, 120), (1, 0, 1, 110), (2, 50, 1, 180)]
    said = []
    for number, (request, entered, first, at) in enumerate(turns, start=1):
        moment = Moment(
            at_ns=200 * MS,
            phase="decode",
            request=request,
            entered_ns=entered * MS,
            first=first,
            instants_ns=(at * MS,),
            tokens=first + 1,
            total=number,
        )
        message = told.tick(moment)
        page.take(message)
        said.append((message["ttft"], message["rate"], message["n"]))
    assert [
        ("100 ms", "10.0 tok/s", 1),
        ("70.0 ms", "14.3 tok/s", 2),
        ("100 ms", "18.2 tok/s", 3),
        ("70.0 ms", "15.4 tok/s", 4),
    ] == said
    assert [100_000, 120_000, 120_000, 180_000] == [at for _, _, at, _ in page.spans]
