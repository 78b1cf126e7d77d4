"""Fit: a sweep's times as functions of model and input, in a file; not what they say of other inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

import msgspec

from llm_latency.core.cost import Architecture
from llm_latency.core.environment import Environment
from llm_latency.core.filed import read_struct, write_struct
from llm_latency.core.measurement import Measurement
from llm_latency.core.stats import quantile
from llm_latency.errors import UsageError
from llm_latency.predict.cell import Cell
from llm_latency.predict.phase import PREFILL, STEP, STEP_ON_CPU, Observed, Phase, fit_phase
from llm_latency.predict.sweep import Sweep
from llm_latency.workloads.described import architecture_of

SCHEMA = 1
RECURRENT = "recurrent"
_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


class Span(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least and the most of something among the fitted points."""

    least: int
    most: int


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a group's points have in common; `nature` is decoder, encoder, encoder-decoder or recurrent."""

    nature: str
    device: str | None
    dtype: str | None
    attention: str | None
    threads: int | None

    def __str__(self) -> str:
        threads = None if self.threads is None else f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return ", ".join(str(word) for word in (self.nature, self.device, self.dtype, self.attention, threads) if word)


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fitted phases of one setting, and what they were fitted on.

    `spans` have `prompt_tokens`, `new_tokens`, `batch` and `weights`. `mfu` and `mbu` are the largest that a point
    reached of the peaks, where these were known.
    """

    setting: Setting
    prefill: Phase
    step: Phase | None
    spans: dict[str, Span]
    models: tuple[str, ...]
    families: tuple[str, ...]
    mfu: float | None = None
    mbu: float | None = None


class Fit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Groups by setting, and where they were measured."""

    groups: tuple[Group, ...]
    environment: Environment
    left_out: tuple[str, ...] = ()


def fit(sweep: Sweep) -> Fit:
    """Fit the measured points of a sweep, each setting by itself.

    Times are the call's own, without the time its threads waited for a core, where that is known. Raises UsageError
    where no setting has points of three prompt lengths, and for times that are no numbers.
    """
    groups: dict[Setting, list[tuple[Cell, Measurement, Architecture]]] = {}
    left_out = []
    for cell, measurement in sweep.measured:
        try:
            architecture = architecture_of(cell.model)
        except UsageError as error:
            left_out.append(f"{cell.model}: {error}")
            continue
        groups.setdefault(_setting(measurement, architecture), []).append((cell, measurement, architecture))
    if not groups:
        raise UsageError(
            "the sweep holds no measured cell whose costs are known; "
            + (left_out[0] if left_out else "run llm-latency sweep first")
        )
    fitted, problems = [], []
    for setting, points in groups.items():
        try:
            fitted.append(_group(setting, points))
        except UsageError as error:
            problems.append(f"{setting}: {error}")
    if not fitted:
        raise UsageError("; ".join(problems))
    first = next(iter(groups.values()))[0][1]
    return Fit(groups=tuple(fitted), environment=first.environment, left_out=(*dict.fromkeys(left_out), *problems))


def _setting(measurement: Measurement, architecture: Architecture) -> Setting:
    facts, environment = measurement.workload, measurement.environment
    loops = architecture.decoder is not None and architecture.decoder.loops
    return Setting(
        nature=RECURRENT if loops else architecture.kind,
        device=_text(facts.get("device")),
        dtype=_text(facts.get("dtype")),
        attention=None if loops else _text(facts.get("attention")),
        threads=environment.threads if facts.get("device", "cpu") == "cpu" else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _group(setting: Setting, points: list[tuple[Cell, Measurement, Architecture]]) -> Group:
    width = width_of(setting.dtype)
    prefills, steps = [], []
    for cell, measurement, architecture in points:
        first = "ttft" if cell.new_tokens is not None else "e2e"
        cost = architecture.prefill(cell.prompt_tokens, batch=cell.batch, width=width)
        where = partial(Observed, length=cell.prompt_tokens, model=cell.model)
        if (seconds := _middle(measurement, first)) is not None:
            prefills.append(where(cost=cost, seconds=seconds))
        if (cell.new_tokens or 0) > 1 and (seconds := _middle(measurement, "tpot")) is not None:
            middle = architecture.step(
                cell.prompt_tokens, index=(cell.new_tokens or 0) // 2, batch=cell.batch, width=width
            )
            steps.append(where(cost=middle, seconds=seconds))
    on_device = STEP_ON_CPU if setting.device in (None, "cpu") else STEP
    shares = {name: [one for _, m, _ in points if (one := _middle(m, name)) is not None] for name in ("mfu", "mbu")}
    return Group(
        setting=setting,
        prefill=fit_phase(prefills, name="the prefill", terms=PREFILL),
        step=fit_phase(steps, name="a step", terms=on_device) if steps else None,
        spans={
            "prompt_tokens": _span(cell.prompt_tokens for cell, _, _ in points),
            "new_tokens": _span(cell.new_tokens or 0 for cell, _, _ in points),
            "batch": _span(cell.batch for cell, _, _ in points),
            "weights": _span(architecture.size for _, _, architecture in points),
        },
        models=tuple(dict.fromkeys(cell.model for cell, _, _ in points)),
        families=tuple(dict.fromkeys(architecture.name for _, _, architecture in points)),
        mfu=max(shares["mfu"], default=None),
        mbu=max(shares["mbu"], default=None),
    )


def width_of(dtype: str | None) -> int:
    """Bytes of a number of this type; 4 where it is unknown."""
    return _WIDTHS.get(dtype or "float32", 4)


def _middle(measurement: Measurement, name: str) -> float | None:
    """The median of a time, of its own where that is known."""
    for metric in (f"{name}_own", name) if name in ("ttft", "tpot", "e2e") else (name,):
        if values := measurement.sample(metric).values:
            return quantile(values, 0.5)
    return None


def _span(values: Iterable[int]) -> Span:
    listed = list(values)
    return Span(least=min(listed), most=max(listed))


def save_fit(found: Fit, path: str | os.PathLike[str]) -> None:
    """Write JSON atomically."""
    write_struct(found, path, schema=SCHEMA)


def load_fit(path: str | os.PathLike[str]) -> Fit:
    """Read a fit; raises MeasurementFileError when it is missing, broken or of another schema."""
    return read_struct(path, Fit, schema=SCHEMA, what="fit of llm-latency (made by llm-latency fit DIR --out FIT.json)")
