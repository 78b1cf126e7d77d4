"""Trace: one call as it was recorded, in integer nanoseconds, and the requests inside it; not what they mean."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice

import msgspec

REQUEST_KINDS = ("generate", "forward", "stream", "batch", "call")
PHASE_NAMES = ("load", "tokenize", "detokenize", "other")
# Kinds of annotations that say what it took to look on, with the clock stopped and while the call went on; their detail
# is how often.
VIEW, BESIDE = "view", "view beside"


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One outermost generate, forward or stream inside a call.

    `emissions` holds (instant in ns, new positions) for each moment at which tokens came to exist; all rows
    share positions. `row_tokens` counts each returned row up to and including its own end of sequence. Token
    counts are None where they could not be known, with the reason in `notes`.

    These instants are the host's. Where the work ran on another device, `device_ns` has the instant on the host's
    clock at which the device had come as far, for each emission and then for the request's end. `peak_bytes` is
    the high-water mark while `prefill` and `decode` ran, None where several requests ran at once. `host_waits` says
    that the host waited for the device before each stamp, so that the two cannot be told apart. `output` is a hash of
    the generated token ids of all rows, None where they were not seen. `prefill_flops` is what it takes to the first
    token, or for a forward as a whole, and `step_bytes` what a middle step reads, by the model's config; None where
    that does not tell.
    """

    kind: str
    start_ns: int
    stop_ns: int
    emissions: tuple[tuple[int, int], ...] = ()
    device_ns: tuple[int, ...] | None = None
    rows: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    row_tokens: tuple[int, ...] | None = None
    finish_reasons: tuple[str, ...] = ()
    token_source: str | None = None
    host_waits: bool = False
    peak_bytes: dict[str, int] | None = None
    output: str | None = None
    prefill_flops: int | None = None
    step_bytes: int | None = None
    model: str | None = None
    thread: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def instants(self) -> tuple[tuple[int, int], ...]:
        """Emissions at the instants at which host and device had both come so far: then the tokens exist."""
        if self.device_ns is None:
            return self.emissions
        pairs = zip(self.emissions, self.device_ns, strict=False)
        return tuple((max(host_ns, device_ns), positions) for (host_ns, positions), device_ns in pairs)

    @property
    def done_ns(self) -> int:
        """When the last emission existed, or without emissions when the request was done on host and device."""
        if self.emissions:
            return self.instants[-1][0]
        return self.stop_ns if self.device_ns is None else max(self.stop_ns, self.device_ns[-1])

    @property
    def new_tokens(self) -> int | None:
        """Generated tokens over all returned rows, or None where they are not known."""
        return None if self.row_tokens is None else sum(self.row_tokens)

    @property
    def positions(self) -> int:
        """New positions over all emissions."""
        return sum(positions for _, positions in self.emissions)


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stretch of a call spent beside the model: load, tokenize, detokenize or other."""

    name: str
    start_ns: int
    stop_ns: int


class Contention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Readings of (instant in ns, delay so far in ns) at a call's entry, its requests' first emissions and ends.

    The delay is the time during which the call's threads were ready to run and other programs had their cores; no
    readings where the system does not report it. `switches` counts how often a core was taken from the process.
    """

    readings: tuple[tuple[int, int], ...] = ()
    switches: int | None = None


class Annotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happened in a call and may explain its numbers, such as gc, compile, steal, lazy, thread."""

    kind: str
    at_ns: int
    detail: str = ""
    duration_ns: int = 0


def _end(pause: tuple[int, int]) -> int:
    return pause[1]


def elapsed_ns(pauses: Sequence[tuple[int, int]], start_ns: int, stop_ns: int) -> int:
    """Time from one instant to another without the pauses between them, which ascend and do not overlap."""
    elapsed_ns = stop_ns - start_ns
    for begin, end in islice(pauses, bisect_right(pauses, start_ns, key=_end), None):
        if begin >= stop_ns:
            break
        elapsed_ns -= min(stop_ns, end) - max(start_ns, begin)
    return elapsed_ns


class Trace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call, raw: one run of the cell, the callable or the test's body.

    `pauses` are the stretches (begin, end) in which its clock stood still: for the live view, and for what is read
    beside the clock at a first emission.
    """

    start_ns: int
    stop_ns: int
    requests: tuple[Request, ...] = ()
    phases: tuple[Phase, ...] = ()
    pauses: tuple[tuple[int, int], ...] = ()
    peak_bytes: dict[str, int] | None = None
    energy_j: float | None = None
    contention: Contention | None = None
    annotations: tuple[Annotation, ...] = ()

    @property
    def new_tokens(self) -> int | None:
        """Generated tokens over all requests, or None where no request knows its own."""
        known = [request.new_tokens for request in self.requests if request.new_tokens is not None]
        return sum(known) if known else None

    @property
    def prompt_tokens(self) -> int | None:
        """Prompt tokens over all requests, or None where no request knows its own."""
        known = [request.prompt_tokens for request in self.requests if request.prompt_tokens is not None]
        return sum(known) if known else None

    @property
    def rows(self) -> int | None:
        """Returned sequences over all requests, or None where no request knows its own."""
        known = [request.rows for request in self.requests if request.rows is not None]
        return sum(known) if known else None

    def elapsed_ns(self, start_ns: int, stop_ns: int) -> int:
        """Time from one instant to another, with the pauses between them taken out."""
        return elapsed_ns(self.pauses, start_ns, stop_ns)

    def apart_from(self, held_bytes: int) -> Trace:
        """The trace less memory that was held all the while for something else, such as another model."""

        def less(peaks: dict[str, int] | None) -> dict[str, int] | None:
            return peaks and {name: max(0, value - held_bytes) for name, value in peaks.items()}

        requests = tuple(msgspec.structs.replace(one, peak_bytes=less(one.peak_bytes)) for one in self.requests)
        return msgspec.structs.replace(self, requests=requests, peak_bytes=less(self.peak_bytes))

    def asked_work(self) -> tuple[tuple[object, ...], ...]:
        """What each request was asked to do; two calls that differ here did unequal work."""
        return tuple((r.kind, r.rows, r.prompt_tokens, r.cached_tokens or 0) for r in self.requests)

    def done_work(self) -> tuple[tuple[object, ...], ...]:
        """What each request produced: tokens of each row and why it ended."""
        return tuple((r.row_tokens, r.finish_reasons) for r in self.requests)
