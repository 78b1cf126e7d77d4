"""What is shown of a call while it runs: its emissions, tokens, texts, memory and what else happened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from scripted import Bench, Onlooker

from llm_latency.core.trace import Annotation
from llm_latency.errors import DeviceError
from llm_latency.record.observe.attribution import current_chain, open_request
from llm_latency.record.observe.count import Segment, count_generate
from llm_latency.record.observe.log import RequestLog
from llm_latency.record.observe.stream import count_stream, stream, stream_async
from llm_latency.record.timed import timed
from llm_latency.testing import FakeDevice, ScriptedModel

MS = 1_000_000
GIB = 2**30


def test_moments_tell_the_call_without_its_pauses(bench: Bench, view: Onlooker) -> None:
    """From 5 ms before the request: each emission once, at its time of the call, and how many there are so far."""
    bench.clock.advance("1 s")
    with timed("block", clock=bench.clock, device=FakeDevice(bench.clock, marks=False), view=view):
        bench.clock.advance("5 ms")
        list(stream(bench.model.stream()))
    assert [5 * MS] * 4 == [moment.entered_ns for moment in view.moments]
    assert [(205 * MS,), (225 * MS,), (245 * MS,), (285 * MS,)] == [moment.instants_ns for moment in view.moments]
    assert [205 * MS, 225 * MS, 245 * MS, 285 * MS] == [moment.at_ns for moment in view.moments]
    assert [(0, 1, 1), (1, 2, 2), (2, 3, 3), (3, 4, 4)] == [(m.first, m.tokens, m.total) for m in view.moments]
    assert {("decode", 1, None)} == {(m.phase, m.request, m.limit) for m in view.moments}


def test_each_request_of_a_call_is_told_from_its_own_beginning(bench: Bench, view: Onlooker, block: timed) -> None:
    """Also where they take turns: nothing is told twice, and the tokens are those of all."""
    with block:
        one, other = stream(iter("abcd")), stream(iter("xy"))
        for tokens in (one, one, other, one, other, one):
            next(tokens)
            bench.clock.advance("1 ms")
    told = [(moment.request, moment.first, len(moment.instants_ns), moment.tokens) for moment in view.moments]
    assert [(1, 0, 1, 1), (1, 1, 1, 2), (2, 0, 1, 1), (1, 2, 1, 3), (2, 1, 1, 2), (1, 3, 1, 4)] == told
    assert [1, 2, 3, 4, 5, 6] == [moment.total for moment in view.moments]
    assert ["a", "b", "x", "c", "y", "d"] == [text for moment in view.moments for text in moment.texts]


def test_requests_too_short_to_be_looked_at_are_counted(bench: Bench, view: Onlooker) -> None:
    """Ten streams of three tokens, one a millisecond, and a look each 7 ms: what is said is what there is."""
    view.period_ns = 7 * MS
    with timed("block", clock=bench.clock, device=bench.device, view=view):
        for _ in range(10):
            list(stream(ScriptedModel(bench.clock, prefill="1 ms", steps=["1 ms"] * 2).stream()))
    assert [1, 8, 15, 22, 29] == [moment.total for moment in view.moments]


def test_a_stream_around_a_model_counts_its_tokens_once(bench: Bench, view: Onlooker, block: timed) -> None:
    """As in the result, where a stream gives way to the model call that its items come from."""

    def tokens() -> Iterator[str]:
        log = open_request("generate", count_stream)
        assert log is not None
        for token in "abc":
            log.fire(1)
            yield token
        log.end()

    with block:
        list(stream(tokens()))
    assert [1, 1, 2, 2, 3, 3] == [moment.total for moment in view.moments]


def test_the_last_texts_are_told(bench: Bench, view: Onlooker) -> None:
    """At most twelve: a look ends at 5 ms, the next is due at 35, and three of the fifteen until then are lost."""
    view.period_ns = 30 * MS

    def letters() -> Iterator[str]:
        for letter in "abcdefghijklmnop":
            bench.clock.advance("2 ms")
            yield letter

    with timed("block", clock=bench.clock, device=bench.device, view=view):
        list(stream(letters()))
    assert [("a",), tuple("efghijklmnop")] == [moment.texts for moment in view.moments]


def test_a_text_that_comes_after_its_emission_was_told_is_lost(block: timed) -> None:
    """The thread beside may look between the two: the texts that are told belong to the last emissions."""
    with block:
        log = open_request("stream", count_stream)
        assert log is not None and log.look is not None
        looker, told = log.look.__self__, []  # type: ignore[attr-defined]
        for step in ["emit", "look", "text-a", "emit", "text-b", "look", "emit", "look", "text-c", "look"]:
            if step == "emit":
                log.fires.append((log.now_ns(), 1, None, None))
            elif step == "look":
                told.append(looker._moment(log, "decode", log.now_ns(), None).texts)
            else:
                log.look(log, -1, None, step)
    assert [(), ("text-b",), (), ()] == told


def test_items_that_are_no_text_have_none(view: Onlooker, block: timed) -> None:
    """Whatever a stream hands on."""
    with block:
        list(stream(iter([1, b"2", "3", None, {"text": "5"}])))
    assert [(), (), ("3",), (), ()] == [moment.texts for moment in view.moments]


class Config:
    """Of a generation: what is read of it."""

    def __init__(self, max_length: int | None = None, **fields: int) -> None:
        self.max_length = max_length
        self.__dict__ |= fields


def generating(prompt: int, rows: int, config: Config) -> RequestLog:
    """An open generate whose sequences begin with `prompt` positions in `rows` rows."""
    log = open_request("generate", count_stream)
    assert log is not None
    ids = SimpleNamespace(shape=(rows, prompt))
    log.facts["segments"] = [Segment.of(ids, {"generation_config": config}, first_fire=0)]
    return log


def emit(log: RequestLog, ids: Any, *, length: int | None = None) -> None:
    """Emit as the stopping criteria do; `ids` are the sequences so far."""
    instant = log.now_ns()
    if not log.fires:
        log.first(instant)
    log.fires.append((instant, ids.shape[1] if length is None else length, None, None))
    assert log.look is not None
    log.look(log, instant, ids, None)


def sequences(rows: int, length: int) -> Any:
    """Row r holds 100 r, 100 r + 1 and so on."""
    return numpy.arange(length) + 100 * numpy.arange(rows)[:, None]


def test_ids_of_the_first_row_are_told(view: Onlooker, block: timed) -> None:
    """One a step, three at once where drafts were right; the prompt's are none of them."""
    with block:
        log = generating(5, 1, Config())
        for length in (6, 7, 10):
            emit(log, sequences(1, length))
        log.end()
    assert [((5,),), ((6,),), ((7, 8, 9),)] == [moment.ids for moment in view.moments]
    assert [1, 2, 5] == [moment.tokens for moment in view.moments]


def test_ids_of_all_emissions_since_the_last_look_are_told(bench: Bench, view: Onlooker) -> None:
    """At most those of the last twelve, each with its own; here one comes a millisecond and a look each 20 ms."""
    view.period_ns = 20 * MS
    with timed("block", clock=bench.clock, device=bench.device, view=view):
        log = generating(5, 1, Config())
        for length in range(6, 27):
            bench.clock.advance("1 ms")
            emit(log, sequences(1, length))
    assert [((5,),), tuple((token,) for token in range(14, 26))] == [moment.ids for moment in view.moments]
    assert [(0, 1), (1, 20)] == [(moment.first, len(moment.instants_ns)) for moment in view.moments]


@pytest.mark.parametrize(
    ("expanded", "config", "expected"),
    [
        (3, Config(9), (3, 12)),
        (4, Config(9, num_return_sequences=4), (4, 16)),
        (8, Config(9, num_beams=4), (2, 8)),
        (8, Config(9, num_beams=4, num_return_sequences=3), (6, 24)),
        (1, Config(9, num_beams=None, num_return_sequences=None), (1, 4)),
        (0, Config(9), (1, 4)),
        (2, Config(), (2, None)),
    ],
)
def test_tokens_are_those_of_the_rows_that_will_be_returned(
    view: Onlooker, block: timed, expanded: int, config: Config, expected: tuple[int, int | None]
) -> None:
    """A batch has one a row; beams run more rows than they return."""
    with block:
        emit(generating(5, expanded, config), sequences(max(1, expanded), 6))
    (moment,) = view.moments
    assert expected == (moment.tokens, moment.limit)
    assert moment.tokens == moment.total


@pytest.mark.parametrize(
    "ids",
    [
        SimpleNamespace(shape=(1, 6)),
        numpy.zeros((0, 6)),
        numpy.zeros(6),
        SimpleNamespace(shape=(1, 6), __getitem__=None),
    ],
)
def test_sequences_that_cannot_be_read_cost_only_their_ids(view: Onlooker, block: timed, ids: Any) -> None:
    """Whatever a custom loop passes: the emission is told, and the view goes on."""
    with block:
        log = generating(5, 1, Config())
        emit(log, ids, length=6)
        emit(log, sequences(1, 7))
    assert [(), ((6,),)] == [moment.ids for moment in view.moments]
    assert [1, 1] == [len(moment.instants_ns) for moment in view.moments]


def test_a_loop_without_a_decoding_method_begins_at_its_first_emission(view: Onlooker, block: timed) -> None:
    """Its prompt is not known while it runs: an emission each."""
    with block:
        log = open_request("generate", count_generate)
        assert log is not None
        for length in (8, 9):
            emit(log, sequences(1, length))
    assert [((7,),), ((8,),)] == [moment.ids for moment in view.moments]
    assert [(1, None), (2, None)] == [(moment.tokens, moment.limit) for moment in view.moments]


def forwarded(log: RequestLog) -> None:
    """A forward of the request has returned."""
    log.fires.append((log.now_ns(), 1, None, None))
    log.stop_ns = log.now_ns()
    assert log.look is not None
    log.look(log, log.now_ns(), None, None)


def test_a_single_forward_emits_nothing(view: Onlooker, block: timed) -> None:
    """It may be an encoder's; a second one that goes on with its cache shows that both gave a token."""
    with block:
        log = open_request("forward", count_stream)
        assert log is not None
        for _ in range(3):
            forwarded(log)
    told = [(moment.phase, moment.first, len(moment.instants_ns), moment.tokens) for moment in view.moments]
    assert [("forward", 0, 0, 0), ("decode", 0, 2, 2), ("decode", 2, 1, 3)] == told


def test_memory_and_what_happened_are_told(bench: Bench, view: Onlooker, block: timed) -> None:
    """High-water marks of the call so far, and each disturbance once, at its time of the call: also from before."""
    device = FakeDevice(bench.clock, peaks=[{"allocated": gib * GIB} for gib in (4, 6, 5)], marks=False)

    def tokens() -> Iterator[str]:
        bench.clock.advance("10 ms")
        yield "a"
        (log,) = current_chain()
        assert log.gauges is not None
        bench.clock.advance("1 ms")
        heard = log.gauges._disturbances.annotations
        heard += [Annotation(kind="gc", at_ns=7 * MS), Annotation(kind="compile", at_ns=bench.clock.now_ns())]
        yield "b"
        yield "c"

    with timed("block", clock=bench.clock, device=device, view=view):
        list(stream(tokens()))
    assert [{"allocated": 6 * GIB}] * 3 == [moment.peaks for moment in view.moments]
    assert [[], [("gc", 7 * MS), ("compile", 11 * MS)], []] == [
        [(note.kind, note.at_ns) for note in moment.annotations] for moment in view.moments
    ]


def test_a_moment_that_cannot_be_made_costs_the_view_alone(bench: Bench, view: Onlooker) -> None:
    """A device that does not tell its memory once: the view is switched off, the call and its times are whole."""

    class Silent(FakeDevice):
        is_silent = False

        def peak_bytes(self) -> Any:
            if Silent.is_silent:
                raise DeviceError("no memory is told")
            return super().peak_bytes()

    device = Silent(bench.clock)

    def tokens() -> Iterator[str]:
        bench.clock.advance("10 ms")
        yield "a"
        Silent.is_silent = True
        yield "b"
        Silent.is_silent = False
        yield "c"

    with timed("block", clock=bench.clock, device=device, view=view) as block:
        list(stream(tokens()))
    assert (1, (0.01,)) == (len(view.moments), block.measurement.total.values)
    failed = "live view: it failed and was switched off: DeviceError: no memory is told"
    assert failed in block.measurement.warnings


@pytest.mark.asyncio
async def test_an_asynchronous_streams_texts_are_told(view: Onlooker, block: timed) -> None:
    """As those of a plain one."""

    async def letters() -> AsyncIterator[str]:
        for letter in "abc":
            yield letter

    with block:
        async for _ in stream_async(letters()):
            pass
    assert [("a",), ("b",), ("c",)] == [moment.texts for moment in view.moments]
