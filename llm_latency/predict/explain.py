"""explain(): where a call's time goes, its phases by kinds of layers and operators, beside what its roofline allows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from llm_latency.core.architecture import read_architecture
from llm_latency.core.cost import Cost
from llm_latency.core.measurement import Measurement
from llm_latency.core.peaks import Peaks
from llm_latency.core.stats import quantile
from llm_latency.errors import UsageError
from llm_latency.predict.fit import width_of
from llm_latency.predict.profile import DEVICE, FORWARD, LAYER, OPERATOR, Event, Profile
from llm_latency.record.devices.peaks import peaks_here
from llm_latency.record.measure import measure
from llm_latency.workloads.target import Settings, load, load_model

SCHEMA = 1
_REPEAT = 5
_MOST_OPERATORS = 12


class PhaseShare(msgspec.Struct, frozen=True, kw_only=True):
    """A phase: `seconds` as measured (of decode all steps), and shares of its time as profiled, which add up to 1.

    `layers` go by kind, with `between` for what runs between them; `operators` are torch's, with `host` for the time
    in which none runs: Python and transformers between them. `bound_s` is the least that the phase takes by the
    roofline, `bound_by` whether that is computing or reading; None without peaks or costs.
    """

    seconds: float
    layers: dict[str, float]
    operators: dict[str, float]
    device_busy: float | None = None
    bound_s: float | None = None
    bound_by: str | None = None

    @property
    def host(self) -> float:
        """The share of time in which no operator runs."""
        return self.operators.get("host", 0.0)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time of a workload goes. `attention` names the kernel that attention ran, and why a slow one."""

    name: str
    sentence: str
    phases: dict[str, PhaseShare]
    measurement: Measurement
    peaks: Peaks | None
    attention: str | None
    trace: str | None = None


def explain(
    target: str,
    *,
    settings: Settings | None = None,
    trace: str | os.PathLike[str] | None = None,
    probe: bool = True,
) -> Explanation:
    """Measure a target, then profile one more call of it and say where the time goes.

    `trace` is a file for the profile that Perfetto opens; `probe` finds this machine's peaks where nobody has, in some
    5 s. Raises UsageError for a callable, which has no model to look into, and what loading raises.
    """
    if ".py" in target:
        raise UsageError(f"{target} is a callable; explain looks into a model: shape:NAME, a folder or a hub id")
    asked = settings or Settings()
    loaded = load_model(target, settings=asked)
    workload = load(target, settings=asked, model=loaded)
    measurement = measure(workload.call, name=workload.name, repeat=_REPEAT, workload=workload.facts)
    with Profile(chrome=trace) as profile:
        workload.call()
    return explained(measurement, profile.events, model=profile.model, probe=probe, trace=trace)


def explained(
    measurement: Measurement,
    events: Sequence[Event],
    *,
    model: Any = None,
    probe: bool = False,
    trace: str | os.PathLike[str] | None = None,
) -> Explanation:
    """Set a profile of one call beside measured calls, with costs and peaks of the model that ran, if they are known.

    Raises UsageError where the profile holds no forward.
    """
    costs, peaks = _costs(model, measurement), measurement.environment.peaks
    if peaks is None and probe and costs:
        dtype = str(getattr(model, "dtype", "float32")).removeprefix("torch.")
        peaks = peaks_here(device=str(getattr(model, "device", "cpu")), dtype=dtype)
    return beside(
        measurement,
        events,
        costs=costs,
        peaks=peaks,
        trace=None if trace is None else os.fspath(trace),
    )


def _costs(model: Any, measurement: Measurement) -> dict[str, Cost]:
    """Costs of the prefill and of all steps of a call with one plain request, where the config tells."""
    requests = measurement.traces[0].requests if measurement.traces else ()
    if len(requests) != 1 or requests[0].prefill_flops is None:
        return {}
    (request,) = requests
    architecture = read_architecture(model.config.get_text_config().to_dict())
    rows, tokens = request.rows or 1, (request.prompt_tokens or 0) // (request.rows or 1)
    width = width_of(str(model.dtype).removeprefix("torch."))
    found = {"prefill": architecture.prefill(tokens, batch=rows, width=width)}
    steps = [
        architecture.step(tokens, index=index, batch=rows, width=width) for index in range(1, len(request.emissions))
    ]
    return found | ({"decode": sum(steps, Cost())} if steps else {})


def beside(
    measurement: Measurement,
    events: Sequence[Event],
    *,
    costs: Mapping[str, Cost],
    peaks: Peaks | None,
    trace: str | None = None,
) -> Explanation:
    """The same with costs and peaks as they are given."""
    spans = _spans(events)
    times = {name: _median(measurement, name) for name in ("prefill", "decode", "e2e")}
    seconds = {"prefill": times["prefill"] or times["e2e"] or 0.0, "decode": times["decode"] or 0.0}
    phases = {
        name: _phase(seconds[name], events, span, costs.get(name), peaks)
        for name, span in spans.items()
        if seconds[name] > 0
    }
    attention = attention_kernel(events)
    return Explanation(
        name=measurement.name,
        sentence=_sentence(phases, costs, attention),
        phases=phases,
        measurement=measurement,
        peaks=peaks,
        attention=attention,
        trace=trace,
    )


def _spans(events: Sequence[Event]) -> dict[str, tuple[float, float]]:
    """The prefill up to the end of the model's first forward, and what follows up to the end of the last.

    An encoder may run before it, as T5's does; the model is what runs last.
    """
    forwards = [event for event in events if event.kind == FORWARD]
    if not forwards:
        raise UsageError("the profiled call ran no forward of the model, so there is nothing to explain")
    last = forwards[-1]
    first = next(event for event in forwards if event.name == last.name)
    begin = min(event.start_us for event in events if event.kind in (OPERATOR, FORWARD))
    found = {"prefill": (begin, first.stop_us)}
    if last is not first:
        found["decode"] = (first.stop_us, last.stop_us)
    return found


def _phase(
    seconds: float, events: Sequence[Event], span: tuple[float, float], cost: Cost | None, peaks: Peaks | None
) -> PhaseShare:
    whole = span[1] - span[0]
    inside = [event for event in events if span[0] <= event.start_us and event.stop_us <= span[1]]
    layers: dict[str, float] = {}
    operators: dict[str, float] = {}
    busy = 0.0
    for event in inside:
        took = event.stop_us - event.start_us
        if event.kind == LAYER:
            layers[event.name] = layers.get(event.name, 0.0) + took / whole
        elif event.kind == OPERATOR:
            for name, part in event.parts or ((event.name, took),):
                operators[name] = operators.get(name, 0.0) + part / whole
        elif event.kind == DEVICE:
            busy += took / whole
    layers["between"] = max(0.0, 1 - sum(layers.values()))
    host = max(0.0, 1 - sum(operators.values()))
    named = sorted(operators.items(), key=lambda one: -one[1])
    shown = dict(named[:_MOST_OPERATORS])
    if len(named) > _MOST_OPERATORS:
        shown["others"] = sum(share for _, share in named[_MOST_OPERATORS:])
    bound = None if cost is None or peaks is None else (cost.flops / peaks.flops, cost.bytes / peaks.bandwidth)
    return PhaseShare(
        seconds=seconds,
        layers=dict(sorted(layers.items(), key=lambda one: -one[1])),
        operators=shown | {"host": host},
        device_busy=busy if any(event.kind == DEVICE for event in events) else None,
        bound_s=None if bound is None else max(bound),
        bound_by=None if bound is None else "computing" if bound[0] >= bound[1] else "reading",
    )


def _median(measurement: Measurement, name: str) -> float | None:
    values = measurement.sample(name).values
    return quantile(values, 0.5) if values else None


def attention_kernel(events: Sequence[Event]) -> str | None:
    """Which kernel `scaled_dot_product_attention` took, and why the slow one where the shapes tell; None without it."""
    calls = [event for event in events if event.name == "scaled_dot_product_attention"]
    if not calls:
        return None
    slow = [event for event in calls if any("_math" in name for name, _ in event.parts)]
    if not slow:
        inner = (name for event in calls for name, _ in event.parts if name.startswith("_scaled_dot_product_"))
        kernel = next(inner, "a fused kernel").removeprefix("_scaled_dot_product_").replace("_", " ")
        return f"sdpa runs {kernel}"
    return f"sdpa falls back to math in {len(slow)} of {len(calls)} calls because {_why_math(slow[0])}"


def _why_math(event: Event) -> str:
    """What of the shapes the fused kernels do not take (aten/src/ATen/native/transformers/sdp_utils_cpp.cpp)."""
    shapes = [shape for shape in event.shapes if len(shape) == 4]
    if len(shapes) >= 3:
        query, key, value = shapes[:3]
        if query[1] != key[1]:
            return f"it is given {query[1]} heads of queries over {key[1]} of keys"
        if query[3] != value[3]:
            return f"queries are {query[3]} and values {value[3]} numbers wide"
    elif shapes:
        return "its inputs are not four-dimensional"
    return "of something that torch does not tell (a mask, dropout or number type that the fused kernel does not take)"


def _sentence(phases: Mapping[str, PhaseShare], costs: Mapping[str, Cost], attention: str | None) -> str:
    """What binds the phase that takes most of the time, and what falls back."""
    name = max(phases, key=lambda one: phases[one].seconds)
    phase = phases[name]
    whole = sum(one.seconds for one in phases.values())
    bound = None if phase.bound_s is None else min(1.0, phase.bound_s / phase.seconds)
    cost = costs.get(name)
    slow = f"; {attention}" if attention is not None and "math" in attention else ""
    share = f"{phase.seconds / whole:.0%} of the time" if len(phases) > 1 else "all of the time"
    if bound is not None and cost is not None and bound >= max(0.5, phase.host):
        what = "reading weights" if cost.weight_bytes >= cost.cache_bytes else "reading the cache"
        what = what if phase.bound_by == "reading" else "computing"
        return f"{name} ({share}) is bound by {what}: {bound:.0%} of it is what that takes at this machine's peak{slow}"
    if phase.host >= 0.4:
        return f"{name} ({share}) is bound by the host: no operator runs in {phase.host:.0%} of it{slow}"
    kinds = {kind: part for kind, part in phase.layers.items() if kind != "between"}
    most = max(kinds, key=kinds.__getitem__, default=None)
    where = "" if most is None else f"{kinds[most]:.0%} of it goes to {most} layers"
    reached = "" if bound is None else f"; its roofline is {bound:.0%} of it"
    return f"{name} takes {share}: {where or 'no layer stands out'}{reached}{slow}"
