"""What was done and where, in words: the kind of work and the environment; not how long it took."""

from __future__ import annotations

from collections.abc import Iterable

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace
from llm_latency.core.units import show


def work(measurement: Measurement) -> tuple[str, ...]:
    """Kind of request, model, rows and tokens of a call, each in words; empty where no call was recorded."""
    traces = measurement.traces or ((measurement.cold,) if measurement.cold else ())
    if not traces:
        return ()
    requests = traces[0].requests
    kinds = _distinct(request.kind for request in requests)
    models = _distinct(request.model for request in requests if request.model)
    words = [" + ".join(kinds), " + ".join(models)]
    words.append(f"{len(requests)} requests" if len(requests) > 1 else "")
    words.append(_counted(_values(traces, "rows"), "row", plural="rows"))
    prompt = _counted(_values(traces, "prompt_tokens"), "prompt")
    new = _counted(_values(traces, "new_tokens"), "new")
    tokens = " + ".join(part for part in (prompt, new) if part)
    words.append(f"{tokens} tokens" if tokens else "")
    return tuple(word for word in words if word)


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _values(traces: tuple[Trace, ...], field: str) -> list[int]:
    return [value for trace in traces if (value := getattr(trace, field)) is not None]


def _counted(values: list[int], noun: str, *, plural: str | None = None) -> str:
    """The count with its noun, as a range where calls differ."""
    if not values:
        return ""
    least, most = min(values), max(values)
    count = f"{least:,}" if least == most else f"{least:,}–{most:,}"
    return f"{count} {noun if most == 1 else plural or noun}"


def machine(environment: Environment) -> tuple[str, ...]:
    """The environment in a line's worth of words; unknown facts are left out."""
    device = environment.device if environment.device not in (None, "cpu") else None
    words = [
        device,
        environment.processor,
        _counted_fact(environment.cores, "core"),
        _counted_fact(environment.threads, "torch thread"),
        _version("torch", environment.torch),
        _version("transformers", environment.transformers),
        environment.dtype,
        _version("attention", environment.attention),
        environment.quantization,
        _version("cache", environment.cache),
        environment.compile,
    ]
    return tuple(word for word in words if word)


def _counted_fact(count: int | None, noun: str) -> str | None:
    return None if count is None else f"{count} {noun}{'' if count == 1 else 's'}"


def _version(name: str, value: str | None) -> str | None:
    return None if value is None else f"{name} {value}"


def environment_facts(environment: Environment) -> tuple[tuple[str, str], ...]:
    """Every known fact of an environment as (name, value with its unit); warnings are not among them."""
    facts = []
    for field in Environment.__struct_fields__:
        value = getattr(environment, field)
        if field != "warnings" and value is not None:
            facts.append(_fact(field, value))
    return tuple(facts)


def _fact(field: str, value: object) -> tuple[str, str]:
    """A field's name without its unit, and its value with it."""
    name, _, unit = field.rpartition("_")
    if unit == "bytes" and isinstance(value, int):
        return name, show(float(value), "B")
    if unit in ("mhz", "w"):
        return name, f"{value:g} {'MHz' if unit == 'mhz' else 'W'}" if isinstance(value, int | float) else str(value)
    return field, str(value)
