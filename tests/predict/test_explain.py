"""Explanations of profiles that are written by hand, and of a real call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_latency.core.cost import Cost
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.peaks import Peaks
from llm_latency.core.trace import Request, Trace
from llm_latency.errors import UsageError
from llm_latency.predict.explain import Explanation, attention_kernel, beside, explain
from llm_latency.predict.profile import DEVICE, FORWARD, LAYER, OPERATOR, Event, Profile
from llm_latency.workloads.target import Settings

MS = 1_000_000
PEAKS = Peaks(flops=1e9, bandwidth=1e9)


def operator(name: str, start: float, stop: float, **parts: float) -> Event:
    """An operator that no other called, with what it called by name."""
    own = tuple(parts.items()) or ((name, stop - start),)
    return Event(kind=OPERATOR, name=name, start_us=start, stop_us=stop, parts=own)


def layer(name: str, start: float, stop: float) -> Event:
    """A layer of a kind."""
    return Event(kind=LAYER, name=name, start_us=start, stop_us=stop)


def forward(start: float, stop: float) -> Event:
    """The model's forward."""
    return Event(kind=FORWARD, name=FORWARD, start_us=start, stop_us=stop)


# A prefill from 0 to 100 µs, of which 60 in operators; two steps up to 200, of which 30.
EVENTS = (
    forward(10, 100),
    layer("attention", 10, 40),
    operator("scaled_dot_product_attention", 10, 40, _scaled_dot_product_flash_attention_for_cpu=28, transpose=2),
    layer("mlp", 50, 90),
    operator("linear", 50, 80, addmm=30),
    forward(110, 150),
    layer("mlp", 110, 130),
    operator("linear", 110, 125, addmm=15),
    forward(160, 200),
    layer("mlp", 160, 180),
    operator("linear", 160, 175, addmm=15),
)


def measured(ttft_ms: int = 30, gap_ms: int = 10) -> Measurement:
    """Six calls of three tokens."""
    emissions = tuple(((ttft_ms + gap_ms * index) * MS, 1) for index in range(3))
    request = Request(
        kind="generate", start_ns=0, stop_ns=emissions[-1][0], emissions=emissions, rows=1, row_tokens=(3,)
    )
    trace = Trace(start_ns=0, stop_ns=emissions[-1][0], requests=(request,))
    return Measurement(
        name="m", workload={}, environment=Environment(), traces=(trace,) * 6, stopped_because="6 calls, as asked"
    )


def told(**costs: Cost) -> Explanation:
    """The events beside such calls."""
    return beside(measured(), EVENTS, costs=costs, peaks=PEAKS)


def test_phases_have_shares_of_their_own_time() -> None:
    """The prefill ends with the first forward; what runs no operator is the host's, what no layer lies between them."""
    found = told()
    prefill, decode = found.phases["prefill"], found.phases["decode"]
    assert (0.030, 0.020) == (prefill.seconds, decode.seconds)
    # From the first event at 10 to 100.
    assert prefill.layers == pytest.approx({"attention": 30 / 90, "mlp": 40 / 90, "between": 20 / 90})
    assert prefill.operators == pytest.approx(
        {"addmm": 30 / 90, "_scaled_dot_product_flash_attention_for_cpu": 28 / 90, "transpose": 2 / 90, "host": 30 / 90}
    )
    assert decode.layers == pytest.approx({"mlp": 0.4, "between": 0.6})
    assert decode.operators == pytest.approx({"addmm": 0.3, "host": 0.7})
    for phase in (prefill, decode):
        assert sum(phase.layers.values()) == pytest.approx(1)
        assert sum(phase.operators.values()) == pytest.approx(1)


def test_the_roofline_is_the_longer_of_computing_and_reading() -> None:
    """24 MFLOP at 1 GFLOP/s are 24 ms of the prefill's 30; 16 MB at 1 GB/s are 16 ms of the decode's 20."""
    found = told(
        prefill=Cost(linear_flops=24_000_000, weight_bytes=1_000_000),
        decode=Cost(linear_flops=1_000_000, weight_bytes=15_000_000, cache_bytes=1_000_000),
    )
    assert (0.024, "computing") == (found.phases["prefill"].bound_s, found.phases["prefill"].bound_by)
    assert (0.016, "reading") == (found.phases["decode"].bound_s, found.phases["decode"].bound_by)
    assert (
        "prefill (60% of the time) is bound by computing: 80% of it is what that takes at this machine's peak"
        == found.sentence
    )


def test_decode_that_reads_weights_is_bound_by_it() -> None:
    """Where it takes most of the time, and the host does not take more."""
    steps = (
        forward(110, 150),
        operator("linear", 112, 148, addmm=36),
        forward(152, 200),
        operator("linear", 154, 198, addmm=44),
    )
    found = beside(
        measured(ttft_ms=5),
        (*EVENTS[:5], *steps),
        costs={"decode": Cost(weight_bytes=16_200_000), "prefill": Cost(linear_flops=1)},
        peaks=PEAKS,
    )
    assert (
        "decode (80% of the time) is bound by reading weights: 81% of it is what that takes at this machine's peak"
        == found.sentence
    )


def test_a_host_that_runs_no_operator_is_told() -> None:
    """Small models spend their time in Python."""
    found = beside(measured(ttft_ms=5), EVENTS, costs={}, peaks=None)
    assert "decode (80% of the time) is bound by the host: no operator runs in 70% of it" == found.sentence
    assert found.phases["decode"].bound_s is None


def test_otherwise_the_largest_kind_of_layer_is_named() -> None:
    """With the roofline beside it."""
    found = told(prefill=Cost(linear_flops=3_000_000))
    assert "prefill takes 60% of the time: 44% of it goes to mlp layers; its roofline is 10% of it" == found.sentence


def test_a_device_is_busy_for_its_kernels_time() -> None:
    """45 of 90 µs."""
    kernel = Event(kind=DEVICE, name="gemm", start_us=20, stop_us=65)
    found = beside(measured(), (*EVENTS, kernel), costs={}, peaks=None)
    assert 0.5 == pytest.approx(found.phases["prefill"].device_busy)
    assert told().phases["prefill"].device_busy is None


def test_many_operators_are_summed_up() -> None:
    """Twelve by name, and the others."""
    many = [operator(f"op{index}", index, index + 0.5) for index in range(20)]
    found = beside(measured(), (forward(0, 30), *many), costs={}, peaks=None)
    operators = found.phases["prefill"].operators
    assert 14 == len(operators)
    assert operators["others"] == pytest.approx(8 * 0.5 / 30)


def test_without_a_forward_there_is_nothing_to_explain() -> None:
    """A call that ran no model."""
    with pytest.raises(UsageError, match="ran no forward of the model"):
        beside(measured(), (operator("add", 0, 1),), costs={}, peaks=None)


Q, K = (1, 8, 16, 64), (1, 2, 16, 64)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ((Q, K, K), "because it is given 8 heads of queries over 2 of keys"),
        ((Q, Q, (1, 8, 16, 32)), "because queries are 64 and values 32 numbers wide"),
        ((Q, Q, Q), "for a reason|because of something that torch does not tell"),
    ],
)
def test_why_attention_falls_back_to_math_is_told(shapes: tuple[tuple[int, ...], ...], words: str) -> None:
    """As far as the shapes tell it."""
    slow = Event(
        kind=OPERATOR,
        name="scaled_dot_product_attention",
        start_us=0,
        stop_us=1,
        parts=(("_scaled_dot_product_attention_math", 1.0),),
        shapes=shapes,
    )
    found = attention_kernel((slow,))
    assert found is not None
    assert found.startswith("sdpa falls back to math in 1 of 1 calls ")
    assert any(word in found for word in words.split("|"))


def test_the_fused_kernel_has_its_name() -> None:
    """And a model without sdpa has none."""
    assert "sdpa runs flash attention for cpu" == attention_kernel(EVENTS)
    assert attention_kernel((operator("bmm", 0, 1),)) is None


@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        ("shape:gpt2-tiny", {"attention", "mlp", "norm", "embedding", "head"}),
        ("shape:bert-base", {"attention", "mlp"} - {"mlp"}),
        ("shape:t5-small", {"attention", "norm", "head"}),
    ],
)
def test_a_real_call_is_beside(target: str, kinds: set[str], tmp_path: Path) -> None:
    """With layers by kind, shares that add up, and a trace that is JSON; nothing stays on the model."""
    pytest.importorskip("transformers")
    trace = tmp_path / "trace.json"
    new = None if "bert" in target else 4
    found = explain(target, settings=Settings(prompt_tokens=16, new_tokens=new, threads=1), trace=trace, probe=False)
    assert kinds <= set(found.phases["prefill"].layers)
    assert ({"prefill"} if new is None else {"prefill", "decode"}) == set(found.phases)
    for phase in found.phases.values():
        assert 0.9 < sum(phase.operators.values()) < 1.1
        assert 0.9 < sum(phase.layers.values()) < 1.1
    assert json.loads(trace.read_bytes())["traceEvents"]
    assert found.peaks is None


def test_marks_come_off_again() -> None:
    """Also when the block fails, and then there are no events."""
    pytest.importorskip("torch")
    from torch.nn.modules import module

    before = len(module._global_forward_hooks), len(module._global_forward_pre_hooks)
    profile = Profile()
    with pytest.raises(ZeroDivisionError), profile:
        raise ZeroDivisionError
    assert () == profile.events
    assert before == (len(module._global_forward_hooks), len(module._global_forward_pre_hooks))


def test_an_encoder_before_the_model_belongs_to_the_prefill() -> None:
    """As T5's, whose forward is one of its own."""
    encoder = Event(kind=FORWARD, name="encoder", start_us=0, stop_us=5)
    found = beside(measured(), (encoder, *EVENTS), costs={}, peaks=None)
    assert found.phases["prefill"].layers == pytest.approx({"attention": 0.3, "mlp": 0.4, "between": 0.3})


def test_a_callable_has_no_model_to_look_into() -> None:
    """Its user knows which."""
    with pytest.raises(UsageError, match="explain looks into a model"):
        explain("chat.py:answer")
