"""One call under torch's profiler, as events with instants: operators, layers by kind and the first forward's end.

The profiler explains; it never measures: it makes small operators slower, so only shares are taken from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

OPERATOR, LAYER, FORWARD, DEVICE = "operator", "layer", "forward", "device"
# A module's kind by what its class is called, in transformers' models; the first that fits is meant.
_KINDS = (
    ("attention", ("attention", "attn")),
    ("mlp", ("mlp", "feedforward", "denserelu", "densegated", "ffn")),
    ("norm", ("norm",)),
    ("embedding", ("embedding",)),
    ("recurrence", ("mixer",)),
)
_MARK = "llm_latency/"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that began and ended, in microseconds of the profiler's clock.

    `kind` is an operator that no other called, a layer of a kind (`name`), the model's forward, or a kernel on the
    device. `own_us` is what an operator took without those that it called, by name in `parts`.
    """

    kind: str
    name: str
    start_us: float
    stop_us: float
    parts: tuple[tuple[str, float], ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()


def profiled(call: Callable[[], object], model: Any, *, chrome: Path | None = None) -> tuple[Event, ...]:
    """Run a call once under the profiler and return its events in order; `chrome` is a file that Perfetto opens."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if model.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    # The first profile of a process sets itself up inside of the call.
    for _ in range(2):
        with _marked(model), profile(activities=activities, record_shapes=True) as found:
            call()
            if model.device.type == "cuda":
                torch.cuda.synchronize()
    if chrome is not None:
        found.export_chrome_trace(str(chrome))
    return tuple(sorted(_events(found.events()), key=lambda event: event.start_us))


def kind_of(module: Any) -> str | None:
    """What kind of layer a module is; None for one that only holds others, or is a part of one."""
    name = type(module).__name__.lower()
    return next((kind for kind, words in _KINDS if any(word in name for word in words)), None)


@contextmanager
def _marked(model: Any) -> Iterator[None]:
    """Have the model's forward and its outermost layers of each kind stand in the profile; the marks come off again."""
    with ExitStack() as stack:
        seen: set[int] = set()
        head = getattr(model, "get_output_embeddings", lambda: None)()
        named = [(model, f"{_MARK}{FORWARD}"), *([(head, f"{_MARK}{LAYER}/head")] if head is not None else [])]
        for module in model.modules():
            kind = kind_of(module)
            if kind is not None and id(module) not in seen:
                named.append((module, f"{_MARK}{LAYER}/{kind}"))
                seen |= {id(part) for part in module.modules()}
        for module, mark in named:
            for handle in _hooks(module, mark):
                stack.callback(handle.remove)
        yield


def _hooks(module: Any, mark: str) -> Sequence[Any]:
    from torch.profiler import record_function

    open_marks: list[Any] = []

    def before(*_: Any) -> None:
        found: Any = record_function(mark)  # untyped in torch
        found.__enter__()
        open_marks.append(found)

    def after(*_: Any) -> None:
        if open_marks:
            open_marks.pop().__exit__(None, None, None)

    return module.register_forward_pre_hook(before), module.register_forward_hook(after)


def _events(found: Any) -> Iterator[Event]:
    """Ours: marks as layers and forwards, operators that no operator called, and kernels."""
    for event in found:
        start, stop = float(event.time_range.start), float(event.time_range.end)
        if str(event.device_type).endswith(("CUDA", "XPU")):
            yield Event(kind=DEVICE, name=event.name, start_us=start, stop_us=stop)
        elif event.name.startswith(_MARK):
            _, kind, *name = event.name.split("/")
            yield Event(kind=kind, name=name[0] if name else kind, start_us=start, stop_us=stop)
        elif event.name.startswith("aten::") and not _is_inner(event):
            parts: dict[str, float] = {}
            _add_parts(event, parts)
            listed = (one for one in event.input_shapes or () if isinstance(one, list))
            shapes = tuple(tuple(int(side) for side in one) for one in listed)
            yield Event(
                kind=OPERATOR,
                name=event.name.removeprefix("aten::"),
                start_us=start,
                stop_us=stop,
                parts=tuple(parts.items()),
                shapes=shapes,
            )


def _is_inner(event: Any) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if parent.name.startswith("aten::"):
            return True
        parent = parent.cpu_parent
    return False


def _add_parts(event: Any, parts: dict[str, float]) -> None:
    name = event.name.removeprefix("aten::")
    parts[name] = parts.get(name, 0.0) + float(event.self_cpu_time_total)
    for child in event.cpu_children:
        _add_parts(child, parts)
