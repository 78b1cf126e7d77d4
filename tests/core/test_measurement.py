"""Measurement files: exact there and back, refused in words where broken."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from measured import BASE, EMPTY, FULL, MS, call

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import (
    SCHEMA,
    Measurement,
    from_json,
    sample_of,
    to_json,
)
from llm_latency.core.metrics import METRICS
from llm_latency.core.trace import Trace
from llm_latency.core.units import Quantity
from llm_latency.errors import LLMLatencyError, MeasurementFileError


def edited(change: Callable[[dict[str, Any]], None]) -> bytes:
    """The JSON of a measurement after a person has edited it."""
    document = json.loads(to_json(FULL))
    change(document)
    return json.dumps(document).encode()


# --- there and back ---


@pytest.mark.parametrize("measurement", [EMPTY, FULL])
@pytest.mark.parametrize("indent", [0, 1, 2])
def test_a_measurement_comes_back_as_it_was(measurement: Measurement, indent: int) -> None:
    """Equal as an object, and the same bytes again."""
    encoded = to_json(measurement, indent=indent)
    assert measurement == from_json(encoded)
    assert encoded == to_json(from_json(encoded), indent=indent)
    assert measurement == from_json(encoded.decode())


def test_the_schema_comes_first_and_metrics_before_traces() -> None:
    """A person who opens the file sees what it is, then the numbers, then the raw calls."""
    assert to_json(FULL).startswith(b'{"schema":1,"name":"chat')
    head = ["schema", "name", "workload", "environment", "metrics", "traces"]
    assert head == list(json.loads(to_json(FULL)))[:6]


def test_instants_keep_every_nanosecond() -> None:
    """2⁶² + 1 is no float64: a reader that went through floats would lose the 1."""
    assert BASE != int(float(BASE))
    assert BASE == json.loads(to_json(FULL))["traces"][0]["start_ns"]
    assert BASE == from_json(to_json(FULL)).traces[0].start_ns


def test_a_workload_keeps_integers_of_any_size() -> None:
    """Beyond 64 bits, as seeds are."""
    huge = Measurement(
        name="n", workload={"seed": 2**70}, environment=Environment(), traces=(), stopped_because="0 calls"
    )
    assert 2**70 == from_json(to_json(huge)).workload["seed"]


def test_the_file_says_what_the_numbers_are() -> None:
    """Each metric with unit, direction and definition; ttft by hand: the median of 190 … 210 ms is 200 ms."""
    metrics = json.loads(to_json(FULL))["metrics"]
    assert list(METRICS) == list(metrics)
    expected = {
        "unit": "s",
        "better": "lower",
        "definition": "ttft@1",
        "n": 6,
        "p50": 0.2,
        "low": 0.19,
        "high": 0.21,
        "confidence": 0.96875,  # 1 - 2/2⁶
        "max": 0.21,
        "warnings": [],
    }
    assert expected == metrics["ttft"]
    assert (0, None, ["no value"]) == tuple(metrics["load"][key] for key in ("n", "p50", "warnings"))


def test_metrics_are_recomputed_from_the_traces() -> None:
    """A number that was edited in the summary does not come back, nor does a missing summary matter."""

    def lie(document: dict[str, Any]) -> None:
        document["metrics"]["ttft"]["p50"] = 0.001
        document["metrics"]["made_up"] = "anything"

    assert FULL == from_json(edited(lie))
    assert "200 ms" == str(from_json(edited(lie)).ttft.p50)
    assert to_json(FULL) == to_json(from_json(edited(lie)))
    assert FULL == from_json(edited(lambda document: document.pop("metrics")))


def test_metrics_follow_the_traces_when_those_are_edited() -> None:
    """A first token moved by 100 ms moves the median's sample."""

    def later(document: dict[str, Any]) -> None:
        document["traces"] = document["traces"][:1]
        document["traces"][0]["requests"][0]["start_ns"] -= 100 * MS

    assert Quantity(0.299, "s") == from_json(edited(later)).ttft.p50  # 300 ms less the pause of 1 ms within


# --- what is refused ---


@pytest.mark.parametrize("schema", [SCHEMA + 1, 99, 2**70, 0, -1])
def test_another_schema_is_refused_in_words(schema: int) -> None:
    """A file of the future is not half read."""
    with pytest.raises(MeasurementFileError) as refusal:
        from_json(edited(lambda document: document.update(schema=schema)), source="base.json")
    expected = (
        f"base.json has schema {schema} and this version reads up to 1;"
        " read it with the llm-latency that wrote it, or a newer one"
    )
    assert expected == str(refusal.value)


def test_a_future_schema_is_named_before_its_unknown_fields() -> None:
    """Whatever else it holds."""
    future = b'{"schema": 2, "shape": "new"}'
    with pytest.raises(MeasurementFileError, match="has schema 2 and this version reads up to 1"):
        from_json(future)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "3", "null", '"text"', '{"schema": "1"}', '{"schema": 1.0}', '{"schema": true}']
)
def test_json_of_something_else_is_refused(text: str) -> None:
    """Without an integer schema it is none of ours."""
    with pytest.raises(MeasurementFileError, match=r"^it\.json has no integer 'schema'; it is not a measurement"):
        from_json(text, source="it.json")


@pytest.mark.parametrize(
    "text", [b"", b" ", b"{", b"not json", b"\xff\xfe", b'{"schema": 1', b"{'schema': 1}", b'{"schema": NaN}']
)
def test_text_that_is_no_json_is_refused(text: bytes) -> None:
    """With what probably happened and what to do."""
    with pytest.raises(MeasurementFileError, match=r"^it\.json is not complete JSON .*cut off or edited\."):
        from_json(text, source="it.json")


@pytest.mark.parametrize("place", [b"chat", b'"ttft@1"', b"Gpt2"])
def test_text_that_is_no_unicode_is_refused_wherever_it_is(place: bytes) -> None:
    """Also in the derived metrics, which are not read back."""
    broken = to_json(FULL).replace(place, place[:-2] + b"\xff" + place[-1:], 1)
    with pytest.raises(MeasurementFileError, match=r"^it\.json is not complete JSON"):
        from_json(broken, source="it.json")


def test_hopeless_text_is_refused_too() -> None:
    """A lone surrogate that is no Unicode, and nesting without end."""
    for text in ("\ud800", "[" * 100_000):
        with pytest.raises(MeasurementFileError, match="is not complete JSON"):
            from_json(text)


def test_a_file_cut_anywhere_is_refused() -> None:
    """At each 97th byte of it, and one byte before its end."""
    whole = to_json(FULL)
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        with pytest.raises(MeasurementFileError, match=r"cut\.json is not complete JSON"):
            from_json(whole[:length], source="cut.json")


def put(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    """An edit that sets the value at a path."""

    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


REQUEST = ("traces", 2, "requests", 0)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (put("name", value=3), r"`\$\.name`"),
        (put("environment", "cores", value="two"), r"`\$\.environment\.cores`"),
        (put("environment", "moon", value=1), r"unknown field `moon` - at `\$\.environment`"),
        (put("extra", value=1), r"unknown field `extra`"),
        (put("traces", value=None), r"`\$\.traces`"),
        (put("traces", 2, "start_ns", value="1"), r"`\$\.traces\[2\]\.start_ns`|`\$\.traces\[\.\.\.\]\.start_ns`"),
        (put("traces", 2, "start_ns", value=1.5), r"`\$\.traces\[.*\]\.start_ns`"),
        (put("traces", 2, "speed", value=1), r"unknown field `speed` - at `\$\.traces\[.*\]`"),
        (put(*REQUEST, "emissions", value=[[1]]), r"`\$\.traces\[.*\]\.requests\[.*\]\.emissions"),
        (put(*REQUEST, "rows", value="one"), r"`\$\.traces\[.*\]\.requests\[.*\]\.rows`"),
        (lambda document: document.pop("environment"), r"missing required field `environment`"),
        (lambda document: document["traces"][0].pop("stop_ns"), r"missing required field `stop_ns`"),
        (put("traces", 2, "stop_ns", value=BASE - 1), r"traces\[2\]: stop_ns \d+ lies before start_ns \d+"),
        (put("warmup", 1, "stop_ns", value=BASE - 1), r"warmup\[1\]: stop_ns \d+ lies before start_ns"),
        (put("cold", "stop_ns", value=BASE - 1), r"cold: stop_ns \d+ lies before start_ns"),
        (put("traces", 2, "phases", 0, "name", value="lunch"), r"traces\[2\]: phase 'lunch' is unknown"),
        (put("traces", 2, "phases", 0, "stop_ns", value=0), r"traces\[2\]: phase 'tokenize' .* ends before it starts"),
        (put(*REQUEST, "kind", value="guess"), r"traces\[2\]: request kind 'guess'; known: generate, forward"),
        (put(*REQUEST, "stop_ns", value=0), r"traces\[2\]: the instants of a request do not ascend"),
        (put(*REQUEST, "emissions", 1, value=[0, 1]), r"traces\[2\]: the instants of a request do not ascend"),
        (put("traces", 2, "pauses", value=[[5, 9], [8, 12]]), r"traces\[2\]: pauses overlap"),
        (put("traces", 2, "contention", value={"readings": [[5, 9], [8, 3]]}), r"traces\[2\]: readings of delay"),
        (put(*REQUEST, "device_ns", value=[1, 2]), r"traces\[2\]: device_ns holds 2 instants"),
        (put(*REQUEST, "device_ns", value=[4, 3, 2, 1]), r"traces\[2\]: device_ns holds 4 instants; .* ascending"),
        (put(*REQUEST, "emissions", 0, 1, value=0), r"traces\[2\]: a request counts fewer than no tokens"),
        (put(*REQUEST, "row_tokens", value=[-1]), r"traces\[2\]: a request counts fewer than no tokens"),
        (put(*REQUEST, "prompt_tokens", value=-8), r"traces\[2\]: a request counts fewer than no tokens"),
        (put(*REQUEST, "rows", value=-1), r"traces\[2\]: a request counts fewer than no tokens"),
    ],
)
def test_an_edited_file_is_refused_with_the_place(change: Callable[[dict[str, Any]], None], place: str) -> None:
    """The message names the file and where in it."""
    with pytest.raises(MeasurementFileError, match=rf"^edited\.json.*{place}"):
        from_json(edited(change), source="edited.json")


def test_a_refusal_is_a_value_error_of_ours() -> None:
    """So that both kinds of `except` work."""
    assert issubclass(MeasurementFileError, ValueError)
    assert issubclass(MeasurementFileError, LLMLatencyError)


# --- reading numbers ---


def test_metrics_are_attributes() -> None:
    """In the unit of each, with the pause taken out."""
    assert ("200 ms", "20.0 ms") == (str(FULL.ttft.p50), str(FULL.tpot.p50))
    # 5 ms to the request, 200 ms, two gaps of 20 ms, 1 ms to its return and 1 ms to the call's, less the pause.
    assert Quantity(0.246, "s") == FULL.total.p50
    assert all(getattr(FULL, name).metric is row for name, row in METRICS.items())


def test_the_first_call_and_warm_up_are_not_counted() -> None:
    """The cold call took 900 ms and is kept apart."""
    assert "210 ms" == str(FULL.ttft.max)
    assert 6 == FULL.ttft.n


def test_a_missing_metric_is_false() -> None:
    """Not an error, and not 0."""
    assert not EMPTY.ttft
    assert EMPTY.ttft.p50 is None


def test_an_unknown_metric_lists_the_known() -> None:
    """As an AttributeError, so that hasattr works."""
    with pytest.raises(AttributeError, match=r"a measurement has no 'tttf'; metrics: ttft, tpot"):
        FULL.tttf  # noqa: B018  # reading it is what fails
    assert not hasattr(FULL, "tttf")


def test_a_measurement_is_copied() -> None:
    """Copying asks for hooks that are no metrics."""
    assert FULL == copy.copy(FULL) == copy.deepcopy(FULL)


@pytest.mark.parametrize("pause_ms", [(190, 195), (206, 207), (215, 230), (250, 260)])
def test_gaps_leave_a_pause_out_wherever_it_is(pause_ms: tuple[int, int]) -> None:
    """Before the first token (at 205 ms), inside one gap, over two of them, and after the last token (at 245 ms)."""
    begin, end = (BASE + at * MS for at in pause_ms)
    paused = msgspec.structs.replace(call(200), pauses=((begin, end),))
    instants = [instant for instant, _ in paused.requests[0].emissions]
    expected = [paused.elapsed_ns(a, b) / 1e9 for a, b in pairwise(instants)]
    for name in ("itl", "itl_per_token"):
        assert expected == list(sample_of([paused], name, Environment()).values)


def test_a_sample_knows_the_call_of_each_value() -> None:
    """Two gaps a call, and none from a call without tokens."""
    silent = Trace(start_ns=0, stop_ns=1)
    found = sample_of([call(200, gap_ms=10), silent, call(200, gap_ms=30)], "itl", Environment())
    assert ((0.01, 0.01, 0.03, 0.03), (0, 0, 2, 2)) == (found.values, found.calls)
    assert 2 == found.call_count
