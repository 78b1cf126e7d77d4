"""A gate's result as a file: round trip, files of other versions and hands, and the words that speak for several."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace
from llm_latency.errors import MeasurementFileError
from llm_latency.gate.decision import Decision, Look
from llm_latency.gate.ratio import Ratio
from llm_latency.gate.result import (
    BROKEN,
    FASTER,
    NEW,
    OK,
    SCHEMA,
    SKIPPED,
    TOO_SLOW,
    UNDECIDED,
    WORDS,
    Answer,
    GateResult,
    Moved,
    Side,
    from_json,
    to_json,
    worst_word,
)
from llm_latency.gate.result import Tested as OneTest

LOOK = Look(pairs=6, center=0.1 + 0.2, low=1 / 3, high=1e-17, spread=2.5e-3, outcome="fail")
ANSWER = Answer(
    test='tests/test_a.py::test_a[é\n"]',
    name="test_a #2",
    metric="output_throughput",
    unit="tok/s",
    better="higher",
    word=TOO_SLOW,
    limit=0.05,
    shown=0.025,
    decision=Decision(outcome="fail", first=LOOK, second=LOOK, reason="", more=None),
    slowdown=0.1,
    low=0.05,
    high=0.15,
    wall=0.2,
    base=40.0,
    head=36.0,
    pairs=(Ratio(own=0.1, wall=0.2, base=40.0, head=36.0),) * 6,
    fresh=(Ratio(own=-0.1, wall=-0.2, base=40.0, head=36.0),),
    moved=(Moved(metric="ttft", unit="s", base=0.1, head=0.11, log=0.095, low=0.09, high=0.1, seconds=0.01),),
    reasons=("a", "b"),
)
RESULT = GateResult(
    ref="origin/main",
    base=Side(what="1a2b", python="3.11.2", files={"p": "p.py"}, versions={"torch": "2.13.0"}),
    head=Side(what="working tree", python="3.12.0", environment=Environment(torch="2.14.0", threads=2)),
    tests=(
        OneTest(test="tests/test_a.py::test_a", word=TOO_SLOW, reasons=("x",)),
        OneTest(test="b", word=BROKEN, failure="E   KeyError: 'x'"),
        OneTest(test="c", word=SKIPPED),
    ),
    answers=(ANSWER,),
    changed=("src/p.py",),
    differences=("torch: 2.13.0 → 2.14.0",),
    notes=("the head was lost in b: gone",),
    pairs=13,
    family=3,
    level=0.003,
    seconds=41.25,
    stopped_because="every question answered after 13 pairs",
    recorded_at="2026-07-02T10:00:00+00:00",
    complete=False,
)
EMPTY = GateResult(ref="", base=Side(what="", python=""), head=Side(what="", python=""), tests=(), answers=())


def edited(**fields: Any) -> bytes:
    """The file with some of its top fields changed; None removes one."""
    content = json.loads(to_json(RESULT)) | fields
    return json.dumps({name: value for name, value in content.items() if value is not None}).encode()


# --- the file ---


@pytest.mark.parametrize("result", [RESULT, EMPTY], ids=["full", "empty"])
def test_a_result_survives_its_file(result: GateResult) -> None:
    """To the last digit of its floats."""
    assert result == from_json(to_json(result))
    assert to_json(result) == to_json(from_json(to_json(result)))


def test_the_file_begins_with_its_schema_and_the_word() -> None:
    """So that a person, and a script that reads one word, find them."""
    content = json.loads(to_json(RESULT))
    assert ["schema", "word", "ref"] == list(content)[:3]
    assert (SCHEMA, BROKEN) == (content["schema"], content["word"])
    assert "UNDECIDED" == json.loads(to_json(EMPTY))["word"]


def test_raw_calls_stay_out_of_the_file() -> None:
    """They are the measurements', and may be many megabytes."""
    measurement = Measurement(
        name="a",
        workload={},
        environment=Environment(),
        traces=(Trace(start_ns=0, stop_ns=1),),
        stopped_because="1 call",
    )
    first = msgspec.structs.replace(RESULT.tests[0], measurements=(measurement,))
    result = msgspec.structs.replace(RESULT, tests=(first, *RESULT.tests[1:]))
    assert to_json(RESULT) == to_json(result)
    # And what is written is not changed by it.
    assert (measurement,) == result.tests[0].measurements


def test_every_field_is_in_the_file() -> None:
    """But for the measurements."""
    content = json.loads(to_json(RESULT))
    assert {"schema", "word", *GateResult.__struct_fields__} == set(content)
    assert set(Answer.__struct_fields__) == set(content["answers"][0])
    assert {"own", "wall", "base", "head"} == set(content["answers"][0]["pairs"][0])


# --- files of other versions and hands ---


@pytest.mark.parametrize("schema", [SCHEMA + 1, 99, 0, -1])
def test_another_schema_is_refused_before_anything_else_is_read(schema: int) -> None:
    """A newer file may look like nothing that this version knows."""
    text = json.dumps({"schema": schema, "answers": {"of": "another kind"}}).encode()
    with pytest.raises(MeasurementFileError) as refused:
        from_json(text, source="gate.json")
    expected = f"gate.json has schema {schema} and this version reads up to {SCHEMA}; read it with the llm-latency that"
    assert str(refused.value).startswith(expected)


@pytest.mark.parametrize(
    "text", [b"{}", edited(schema=None), edited(schema="1"), edited(schema=True), edited(schema=1.0)]
)
def test_a_file_without_a_schema_is_no_result(text: bytes) -> None:
    """A whole number, and no text or truth that looks like one."""
    with pytest.raises(MeasurementFileError, match=r"gate\.json has no integer 'schema'"):
        from_json(text, source="gate.json")


@pytest.mark.parametrize(
    "text", [b"", b"{", to_json(RESULT)[:-40], b'{"schema": 1, "ref": "\xff"}', b'{"x": ' + b"[" * 100_000]
)
def test_a_file_that_was_cut_off_says_so(text: bytes) -> None:
    """And what to do."""
    with pytest.raises(MeasurementFileError, match=r"gate\.json is not complete JSON .*Run the gate again, or restore"):
        from_json(text, source="gate.json")


@pytest.mark.parametrize("text", [b"[]", b"1", b'"schema"', b"null"])
def test_what_is_no_object_is_no_result(text: bytes) -> None:
    """Whatever JSON it is."""
    with pytest.raises(MeasurementFileError, match="is no result of a gate: Expected `object`"):
        from_json(text)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"pairs": "many"}, r"\$\.pairs"),
        ({"ref": None}, "`ref`"),
        ({"base": None}, "`base`"),
        ({"tests": [{"test": "a"}]}, r"`word`.* `\$\.tests\[0\]`"),
        ({"tests": [{"test": "a", "word": "ok", "reasons": "none"}]}, r"\$\.tests\[0\]\.reasons"),
        ({"answers": [{"test": "a"}]}, r"\$\.answers\[0\]"),
    ],
)
def test_a_file_that_was_edited_wrongly_says_where(fields: dict[str, Any], place: str) -> None:
    """Source and place in the JSON."""
    with pytest.raises(MeasurementFileError, match=rf"^gate\.json is no result of a gate: .*{place}"):
        from_json(edited(**fields), source="gate.json")


def test_a_word_that_no_gate_says_is_refused() -> None:
    """It would speak for nothing; the known ones are listed."""
    tests = [{"test": "a", "word": "OK"}]
    with pytest.raises(
        MeasurementFileError, match=r"gate\.json, tests\[0\]: the word 'OK' is none .*known: BROKEN, TOO"
    ):
        from_json(edited(tests=tests), source="gate.json")
    answers = json.loads(to_json(RESULT))["answers"]
    answers[0]["word"] = "SLOWER"
    with pytest.raises(MeasurementFileError, match=r"answers\[0\]: the word 'SLOWER'"):
        from_json(edited(answers=answers))


def test_what_a_hand_may_leave_out_is_filled() -> None:
    """Only what has no sensible default has to be there; the word is told by the tests, not by the file."""
    least = {"schema": 1, "word": "ok", "ref": "main", "base": {"what": "b", "python": "3"}}
    least |= {"head": {"what": "h", "python": "3"}, "tests": [{"test": "a", "word": "TOO SLOW"}], "answers": []}
    result = from_json(json.dumps(least | {"comment": "by hand"}).encode())
    assert (TOO_SLOW, 0, True, ()) == (result.word, result.pairs, result.complete, result.notes)


# --- words ---


def test_the_worst_word_speaks_for_several() -> None:
    """In whatever order they come."""
    assert (BROKEN, TOO_SLOW, UNDECIDED, NEW, FASTER, OK, SKIPPED) == WORDS
    for words in permutations(WORDS, 3):
        assert min(words, key=list(WORDS).index) == worst_word(list(words))


def test_no_test_is_never_ok() -> None:
    """Nothing asked is nothing decided; nothing run is skipped."""
    assert UNDECIDED == worst_word([]) == EMPTY.word
    skipped = msgspec.structs.replace(EMPTY, tests=(OneTest(test="a", word=SKIPPED),))
    assert SKIPPED == skipped.word


def test_the_tests_speak_for_the_gate() -> None:
    """Not its answers: of a test that fails at the head there may be good ones."""
    assert BROKEN == RESULT.word
    one = msgspec.structs.replace(RESULT, tests=(OneTest(test="a", word=OK), OneTest(test="b", word=SKIPPED)))
    assert OK == one.word
