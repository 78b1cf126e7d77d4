"""One call under torch's profiler, as events with instants: operators, layers by kind and the first forward's end.

The profiler explains; it never measures: it makes small operators slower, so only shares are taken from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

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


class Profile:
    """A block under the profiler. `events` are there when it has ended, and `model`, the outermost module that ran.

    With `chrome` the profile is a file as well, which Perfetto opens.
    """

    def __init__(self, *, chrome: str | os.PathLike[str] | None = None) -> None:
        """Nothing runs yet."""
        self.events: tuple[Event, ...] = ()
        self.model: Any = None
        self._chrome = chrome
        self._stack = ExitStack()
        self._profiler: Any = None

    def __enter__(self) -> Self:
        """Set the marks and start the profiler, whose first start in a process takes its time outside of the block."""
        import torch
        from torch.profiler import ProfilerActivity, profile

        cuda: Any = torch.cuda
        self._waits = [cuda.synchronize] if cuda.is_initialized() else []
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._waits else [])]
        try:
            with _hushed():
                with profile(activities=activities):
                    pass
                self._marks = self._stack.enter_context(marked())
                self._profiler = self._stack.enter_context(profile(activities=activities, record_shapes=True))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it and take the marks off; what it saw is read after that, and not where the block has raised."""
        try:
            if error is None:
                for wait in self._waits:
                    wait()
        finally:
            with _hushed():
                self._stack.close()
        if error is None:
            self.model = self._marks.model
            self.events = tuple(sorted(_events(self._profiler.events()), key=lambda event: event.start_us))
            if self._chrome is not None:
                self._profiler.export_chrome_trace(os.fspath(self._chrome))


def kind_of(module: Any) -> str | None:
    """What kind of layer a module is; None for one that only holds others, or is a part of one."""
    name = type(module).__name__.lower()
    return next((kind for kind, words in _KINDS if any(word in name for word in words)), None)


class _Marks:
    """Which modules are open, each with its mark, and the outermost of all that ran."""

    def __init__(self) -> None:
        self.model: Any = None
        self._open: list[tuple[str | None, Any]] = []

    def before(self, module: Any, *_: Any) -> None:
        """Open a mark for the outermost module, and within it for the outermost of each kind of layer."""
        from torch.profiler import record_function

        name = self._name(module)
        mark: Any = None if name is None else record_function(f"{_MARK}{name}")
        if mark is not None:
            mark.__enter__()
        self._open.append((name, mark))

    def after(self, *_: Any) -> None:
        """Close the mark of the module that ends."""
        if self._open:
            mark = self._open.pop()[1]
            if mark is not None:
                mark.__exit__(None, None, None)

    def _name(self, module: Any) -> str | None:
        if not self._open:
            if self.model is None or _size(module) > _size(self.model):
                self.model = module
            return f"{FORWARD}/{type(module).__name__}"
        if any(opened is not None for opened, _ in self._open[1:]):
            return None
        head = getattr(self.model, "get_output_embeddings", lambda: None)()
        kind = "head" if module is head else kind_of(module)
        return None if kind is None else f"{LAYER}/{kind}"


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep libkineto's notes of its start and stop off the screen; it writes them to the file number of stderr."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _size(module: Any) -> int:
    return sum(1 for _ in module.modules())


@contextmanager
def marked() -> Iterator[_Marks]:
    """Have the forwards of all modules stand in a profile, by hooks on the class of them; they come off again."""
    from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

    marks = _Marks()
    with ExitStack() as stack:
        stack.callback(register_module_forward_pre_hook(marks.before).remove)
        stack.callback(register_module_forward_hook(marks.after, always_call=True).remove)
        yield marks


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
