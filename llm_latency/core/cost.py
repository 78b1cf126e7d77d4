"""Cost: FLOPs and bytes of a prefill, a step or an encoder's forward, as arithmetic; not how long they take.

A multiply-add is two FLOPs. Matrix products and convolutions count, as in torch's FlopCounterMode with eager attention,
whose counts these are; norms, activations and sampling do not.
"""

from __future__ import annotations

import msgspec


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one stretch of a call computes and reads.

    `linear_flops` are those of weights, `mixing_flops` those between positions (attention, a recurrence).
    `weight_bytes` are read once for all rows of a batch, in `weight_rows` stretches of memory; `cache_bytes` are keys
    and values, or a state, of all rows of a batch. `layers` counts layers that run, `loops` turns of a recurrence that
    has to go token by token.
    """

    linear_flops: int = 0
    mixing_flops: int = 0
    weight_bytes: int = 0
    weight_rows: int = 0
    cache_bytes: int = 0
    layers: int = 0
    loops: int = 0

    @property
    def flops(self) -> int:
        """All FLOPs."""
        return self.linear_flops + self.mixing_flops

    @property
    def bytes(self) -> int:
        """All bytes."""
        return self.weight_bytes + self.cache_bytes

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in Cost.__struct_fields__})


class Matrices(msgspec.Struct, frozen=True):
    """Matrices of weights: how many numbers they hold, in how many rows as they lie in memory."""

    size: int = 0
    rows: int = 0

    @classmethod
    def of(cls, *shapes: tuple[int, int]) -> Matrices:
        """Those of such shapes: rows, and numbers in each."""
        return cls(size=sum(rows * length for rows, length in shapes), rows=sum(rows for rows, _ in shapes))

    def __add__(self, other: Matrices) -> Matrices:
        return Matrices(size=self.size + other.size, rows=self.rows + other.rows)


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Layers of one kind.

    `weights` are the matrices that each token meets in a layer. Attention has `query` (heads × head size) and `key`
    (key-value heads × head size) numbers a position; `sliding` of its layers look back `window` positions only.
    Attention over a source has `cross` matrices that each token meets and `source` ones that each position of the
    source meets, once.
    A recurrence has a `state` of so many numbers a row and layer, `scan` FLOPs a token and layer, and the
    convolutions before it `edge` FLOPs more a row and layer in a prefill, `step_edge` in a step. `loops` says
    that it goes token by token.
    """

    layers: int
    weights: Matrices = Matrices()
    query: int = 0
    key: int = 0
    sliding: int = 0
    window: int = 0
    cross: Matrices = Matrices()
    source: Matrices = Matrices()
    state: int = 0
    scan: int = 0
    edge: int = 0
    step_edge: int = 0
    loops: bool = False

    @property
    def size(self) -> int:
        """Weights of all matrices."""
        return self.layers * (self.weights + self.cross + self.source).size

    def run(self, *, tokens: int, batch: int, width: int, source: int = 0) -> Cost:
        """All layers over `tokens` positions of `batch` rows from the first on; `width` bytes a number."""
        rows, met = batch * tokens, self.weights + self.cross
        return Cost(
            linear_flops=2 * self.layers * (rows * met.size + batch * source * self.source.size),
            mixing_flops=self.layers * (rows * (4 * self.query * (tokens + source) + self.scan) + batch * self.edge),
            weight_bytes=width * self.size,
            weight_rows=self.layers * (met + self.source).rows,
            # Written, and read again by attention.
            cache_bytes=2 * width * batch * self.layers * (self.key * (tokens + source) + self.state),
            layers=self.layers,
            loops=self.layers * tokens if self.loops else 0,
        )

    def step(self, *, context: int, batch: int, width: int, source: int = 0) -> Cost:
        """All layers over one more position of `batch` rows, the last of `context`; `width` bytes a number."""
        met = self.weights + self.cross
        short = min(context, self.window) if self.sliding else context
        seen = (self.layers - self.sliding) * context + self.sliding * short + self.layers * source
        return Cost(
            linear_flops=2 * self.layers * batch * met.size,
            mixing_flops=batch * (4 * self.query * seen + self.layers * (self.scan + self.step_edge)),
            weight_bytes=width * self.layers * met.size,
            weight_rows=self.layers * met.rows,
            cache_bytes=2 * width * batch * (self.key * seen + self.layers * self.state),
            layers=self.layers,
            loops=self.layers if self.loops else 0,
        )


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A model as what it computes: `encoder` and `decoder` stacks, of which one may be missing, and a head.

    The `head` meets the last position of a prefill only, as `generate` has it. `ends` are matrices beside the layers
    that each position meets. `context` is the most positions that it can look at.
    """

    name: str
    encoder: Stack | None = None
    decoder: Stack | None = None
    head: Matrices = Matrices()
    ends: Matrices = Matrices()
    context: int | None = None

    @property
    def kind(self) -> str:
        """`decoder`, `encoder` or `encoder-decoder`."""
        return "-".join(word for word in ("encoder", "decoder") if getattr(self, word) is not None)

    @property
    def size(self) -> int:
        """Weights of all matrices that are multiplied, the head's included; embeddings are looked up, not counted."""
        return (
            sum(stack.size for stack in (self.encoder, self.decoder) if stack is not None)
            + (self.head + self.ends).size
        )

    def prefill(self, tokens: int, *, batch: int = 1, width: int = 4) -> Cost:
        """What it takes from the prompt to the first new token, or an encoder's whole forward.

        `tokens` a row, `batch` rows, `width` bytes a number.
        """
        cost = Cost()
        positions = tokens
        if self.encoder is not None:
            cost += self.encoder.run(tokens=tokens, batch=batch, width=width)
            positions = 1
        if self.decoder is not None:
            source = tokens if self.encoder is not None else 0
            cost += self.decoder.run(tokens=positions, batch=batch, width=width, source=source)
        return cost + self._ends(batch * positions, batch, width)

    def step(self, tokens: int, *, index: int = 1, batch: int = 1, width: int = 4) -> Cost:
        """What it takes from new token number `index` (from 1) to the next, after a prompt of `tokens` a row."""
        if self.decoder is None:
            return Cost()
        source = tokens if self.encoder is not None else 0
        context = index + (1 if self.encoder is not None else tokens)
        step = self.decoder.step(context=context, batch=batch, width=width, source=source)
        return step + self._ends(batch, batch, width)

    def _ends(self, positions: int, heads: int, width: int) -> Cost:
        both = self.ends + self.head
        flops = 2 * (positions * self.ends.size + heads * self.head.size)
        return Cost(linear_flops=flops, weight_bytes=width * both.size, weight_rows=both.rows)
