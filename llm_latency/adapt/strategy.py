"""Strategy: one way to run a model's generate, as data, and which ways there are here; not the running."""

from __future__ import annotations

import msgspec

from llm_latency.core.cost import Architecture
from llm_latency.errors import UsageError

BASELINE = "as it is"
MOST = 12


class Strategy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done otherwise than the model's own way; None and False are that way.

    `threads` are torch's while a call runs, `decode_threads` from the first new token on. `cache` is a cache
    implementation of transformers, `compile` compiles the steps over it. `dtype`, `int8` (weights of linear layers,
    quantized as they are used) and `drop_layers` (how many of the middle layers are left out) change the numbers:
    they are lossy. `lookup` guesses so many tokens from the prompt, `assistant` is a smaller model that guesses.
    `chunk` is how many prompt tokens are read at a time, `bucket` the multiple to which prompts are padded.
    """

    name: str
    attention: str | None = None
    threads: int | None = None
    decode_threads: int | None = None
    cache: str | None = None
    compile: bool = False
    dtype: str | None = None
    int8: bool = False
    drop_layers: int = 0
    lookup: int | None = None
    assistant: str | None = None
    chunk: int | None = None
    bucket: int | None = None

    @property
    def is_lossy(self) -> bool:
        """Whether its numbers are others than the model's own."""
        return self.dtype is not None or self.int8 or self.drop_layers > 0

    @property
    def is_a_copy(self) -> bool:
        """Whether it needs weights of its own beside the model's."""
        return self.is_lossy


def candidates(
    *,
    architecture: Architecture | None,
    device: str,
    dtype: str,
    attention: str | None,
    cores: int,
    threads: int,
    batch: tuple[int, ...] = (1,),
    lossy: bool = False,
    assistant: str | None = None,
    seconds: float = 180.0,
) -> tuple[Strategy, ...]:
    """Strategies worth trying, the model's own way first; at most twelve.

    `architecture` tells how many layers there are and whether there is attention, where it is known; `cores` and
    `threads` are the machine's and torch's. What needs a long set-up is tried where `seconds` leave room for it.
    """
    found = [Strategy(name=BASELINE)]
    loops = architecture is not None and architecture.decoder is not None and architecture.decoder.loops
    is_cpu = device == "cpu"
    if not loops:
        found += [Strategy(name=f"{name} attention", attention=name) for name in ("eager", "sdpa") if name != attention]
    if is_cpu:
        found += [
            Strategy(name=f"{count} thread{'' if count == 1 else 's'}", threads=count)
            for count in sorted({1, max(1, cores // 2), cores} - {threads})
        ]
        if cores > 1:
            found.append(Strategy(name=f"{cores} threads, then 1", threads=cores, decode_threads=1))
    if not loops:
        found.append(Strategy(name="static cache", cache="static"))
        if max(batch) > 1:
            found.append(Strategy(name="static cache, padded to 64s", cache="static", bucket=64))
        # Compiling takes long on a CPU, and would leave a short search without rounds.
        if not is_cpu or seconds >= 600:
            found.append(Strategy(name="static cache, compiled", cache="static", compile=True))
        if 1 in batch:
            found.append(Strategy(name="prompt lookup", lookup=4))
            if assistant is not None:
                found.append(Strategy(name=f"assistant {assistant}", assistant=assistant))
        found.append(Strategy(name="chunked prefill", chunk=128))
    if lossy:
        if dtype == "float32":
            found.append(Strategy(name="bfloat16", dtype="bfloat16"))
        if is_cpu:
            found.append(Strategy(name="int8", int8=True))
        layers = None if architecture is None or architecture.decoder is None else architecture.decoder.layers
        if layers is not None and layers >= 4 and not loops:
            found.append(Strategy(name=f"{layers // 4} of {layers} layers dropped", drop_layers=layers // 4))
    return tuple(found[:MOST])


def chosen(names: tuple[str, ...], known: tuple[Strategy, ...]) -> tuple[Strategy, ...]:
    """Those of the known strategies that are named, the model's own way always; raises UsageError for another name."""
    by_name = {strategy.name: strategy for strategy in known}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        lossy = (
            " Lossy ones have to be allowed." if any(word in unknown[0] for word in ("int8", "float", "layers")) else ""
        )
        raise UsageError(f"there is no strategy {unknown[0]!r} here; known: {', '.join(by_name)}.{lossy}")
    return tuple(by_name[name] for name in dict.fromkeys((BASELINE, *names)))
