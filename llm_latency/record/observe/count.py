"""Counting a generate request after the clock has stopped: prompt, rows, tokens of each row, why it ended.

Not seeing it: that is `generate`. Tensors come in by reference and are read here only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from llm_latency.core.trace import Request
from llm_latency.record.observe.log import Fire, RequestLog

_FOR_ALL_ROWS = ("MaxLengthCriteria", "MaxTimeCriteria", "EosTokenCriteria")
_CACHE_NAMES = ("cache", "past_key_values", "cache_params", "state")


@dataclass(slots=True)
class Segment:
    """One run of a decoding loop. `length` is what its sequences begin with; `expanded` its rows on entry.

    An emission is the last of every `every` fires from `first_fire` on. Of those that follow in a row only the
    instants are kept, in `row`.
    """

    length: int
    expanded: int
    config: Any
    mask: Any
    embeds: Any
    encoder: Any
    cached_tokens: int | None
    first_fire: int
    every: int = 1
    row: list[int] = field(default_factory=list)
    result: Any = None

    @classmethod
    def of(cls, input_ids: Any, kwargs: dict[str, Any], *, first_fire: int, every: int = 1) -> Segment:
        """Take references and shapes at the loop's entry; nothing is read from a device."""
        encoder = kwargs.get("encoder_outputs")
        return cls(
            length=input_ids.shape[1],
            expanded=input_ids.shape[0],
            config=kwargs.get("generation_config"),
            mask=kwargs.get("attention_mask"),
            embeds=kwargs.get("inputs_embeds"),
            encoder=None if encoder is None else encoder[0].shape,
            cached_tokens=cached_tokens(kwargs),
            first_fire=first_fire,
            every=every,
        )

    @property
    def copies(self) -> int:
        """How many rows of the loop come from one row of the prompt."""
        beams = getattr(self.config, "num_beams", None) or 1
        returned = getattr(self.config, "num_return_sequences", None) or 1
        return int(max(beams, returned))

    def ends_rows_alike(self, criteria: Any) -> bool:
        """Whether no criterion can end one row before another but by its own end of sequence, which the ids show."""
        return self.expanded == 1 or all(type(criterion).__name__ in _FOR_ALL_ROWS for criterion in criteria or ())


def cached_tokens(kwargs: dict[str, Any]) -> int | None:
    """Positions that a handed-in cache holds, where that is known without reading a device; else None."""
    cache = next((kwargs[name] for name in _CACHE_NAMES if kwargs.get(name) is not None), None)
    length = getattr(cache, "get_seq_length", None)
    if length is None or "Static" in type(cache).__name__:
        return None
    try:
        found = length()
    except (RuntimeError, TypeError, AttributeError, IndexError, ValueError):
        return None
    return found if isinstance(found, int) else None


def count_generate(log: RequestLog) -> Request:
    """Make the Request of a `generate`; emissions beyond what was returned (a deferred stop) are dropped."""
    segments: list[Segment] = log.facts.get("segments", []) or _segment_of_own_loop(log)
    notes = list(log.notes)
    log.marks = []
    emissions: list[tuple[int, int]] = []
    rows: int | None = None
    row_tokens: tuple[int, ...] | None = None
    reasons: tuple[str, ...] = ()
    outputs: list[str | None] = []
    for index, segment in enumerate(segments):
        last = segments[index + 1].first_fire if index + 1 < len(segments) else len(log.fires)
        fires = log.fires[segment.first_fire : last][segment.every - 1 :: segment.every]
        found, tokens, reasons, output = _count_segment(segment, _with_row(segment, fires, notes))
        outputs.append(output)
        emissions += [(instant, positions) for instant, positions, _ in found]
        log.marks += [mark for _, _, mark in found]
        if row_tokens is None:
            rows, row_tokens = len(tokens), tokens
        elif len(row_tokens) == len(tokens):
            row_tokens = tuple(a + b for a, b in zip(row_tokens, tokens, strict=True))
        else:
            row_tokens = (sum(row_tokens) + sum(tokens),)
            rows = None
    if len(segments) > 1:
        notes.append(f"{len(segments)} inner decoding loops joined into one request")
    if not segments:
        rows, row_tokens = _from_result(log)
        notes.append("no decoding loop was seen: only entry and return are known")
    if error := log.facts.get("error"):
        notes.append(f"ended by {error}")
        reasons = ("error",) * (rows or 0)
    stop_ns = log.stop_ns
    if stop_ns is None:
        stop_ns = log.now_ns()
        notes.append("still running when the watch ended")
    return Request(
        kind="generate",
        start_ns=log.start_ns,
        stop_ns=stop_ns,
        emissions=tuple(emissions),
        rows=rows,
        prompt_tokens=_prompt_tokens(log, segments),
        cached_tokens=segments[0].cached_tokens if segments else None,
        row_tokens=row_tokens,
        finish_reasons=reasons,
        token_source=None if row_tokens is None else "ids",
        output=" ".join(output or "" for output in outputs) if outputs and None not in outputs else None,
        model=type(log.model).__name__ if log.model is not None else None,
        thread=log.thread,
        notes=tuple(notes),
    )


def _segment_of_own_loop(log: RequestLog) -> list[Segment]:
    """A `generate` with a loop of its own that asks the stopping criteria: its prompt is what it was called with."""
    given = log.facts.get("arguments", {})
    ids = given.get("input_ids", given.get("inputs"))
    if not log.fires or getattr(ids, "dim", lambda: 0)() != 2:
        return []
    segment = Segment.of(ids, given, first_fire=0)
    segment.config = getattr(log.model, "generation_config", None)
    segment.result = log.facts.get("result")
    return [segment]


def _with_row(segment: Segment, fires: list[Fire], notes: list[str]) -> list[Fire]:
    """Fires, and those of which only the instants were kept: each came behind one more position, if that adds up."""
    length = fires[-1][1] if fires else segment.length
    known = [*fires, *((instant, length + more, None, None) for more, instant in enumerate(segment.row, start=1))]
    returned = getattr(segment.result, "shape", (0, 0))[-1]
    if segment.row and returned > known[-1][1]:
        notes.append(
            f"{len(known)} steps were seen for {returned - segment.length} new positions: when each came is not known"
        )
        return []
    return known


def _count_segment(
    segment: Segment, fires: list[Fire]
) -> tuple[list[tuple[int, int, object]], tuple[int, ...], tuple[str, ...], str | None]:
    returned = None
    if getattr(segment.result, "dim", None) is not None and segment.result.dim() == 2:
        returned = segment.result[:, segment.length :]
    emissions = []
    before = segment.length
    beams = (getattr(segment.config, "num_beams", None) or 1) > 1
    limit = None if returned is None or beams else segment.length + returned.shape[1]
    for instant, length, _, mark in fires:
        if length > before and (limit is None or length <= limit):
            emissions.append((instant, length - before, mark))
            before = length
    if returned is None:
        rows = segment.expanded if not beams else segment.expanded // segment.copies
        return emissions, (sum(k for _, k, _ in emissions),) * rows, ("unknown",) * rows, None
    ends = _eos_ids(segment.config)
    done_at = None if beams else _done_lengths(fires, returned.shape[0], limit)
    tokens, reasons, answers = [], [], []
    for row, ids in enumerate(returned.tolist()):
        count = next((index + 1 for index, token in enumerate(ids) if token in ends), len(ids))
        if done_at is not None and (stop := done_at[row]) is not None:
            count = stop - segment.length
        by_eos = 0 < count <= len(ids) and ids[count - 1] in ends
        tokens.append(count)
        answers.append(ids[:count])
        reasons.append("eos" if by_eos else "length" if beams or count >= _allowed(segment) else "stop")
    return emissions, tuple(tokens), tuple(reasons), hashed(answers)


def hashed(rows: Iterable[Sequence[int]]) -> str:
    """A hash of each row's generated token ids, by which two answers can be told to be the same."""
    digest = blake2b(digest_size=8)
    for ids in rows:
        digest.update(len(ids).to_bytes(8, "little") + array("q", ids).tobytes())
    return digest.hexdigest()


def _eos_ids(config: Any) -> frozenset[int]:
    tensor = getattr(config, "_eos_token_tensor", None)
    if tensor is not None:
        return frozenset(int(token) for token in tensor.reshape(-1).tolist())
    given = getattr(config, "eos_token_id", None)
    return frozenset() if given is None else frozenset([given] if isinstance(given, int) else given)


def _allowed(segment: Segment) -> float:
    longest = getattr(segment.config, "max_length", None)
    return float("inf") if longest is None else longest - segment.length


def _done_lengths(fires: list[Fire], rows: int, limit: int | None) -> list[int | None] | None:
    """Length at which each row was first told to be done, by whatever criterion; None where rows do not match."""
    found: list[int | None] = [None] * rows
    for _, length, done, _ in fires:
        if limit is not None and length > limit:
            break
        flags = done.tolist() if hasattr(done, "tolist") else done
        if not isinstance(flags, list) or len(flags) != rows:
            return None
        for row, is_done in enumerate(flags):
            if is_done and found[row] is None:
                found[row] = length
    return found


def _prompt_tokens(log: RequestLog, segments: list[Segment]) -> int | None:
    """Tokens that the prompt really holds: the mask's sum, over the rows the user gave."""
    if not segments:
        given = log.facts.get("arguments", {})
        mask = given.get("attention_mask")
        ids = given.get("input_ids", given.get("inputs"))
        if mask is not None:
            return int(mask.sum())
        return int(ids.numel()) if hasattr(ids, "numel") and not ids.is_floating_point() else None
    segment = segments[0]
    rows = max(1, segment.expanded // segment.copies)
    given_mask = log.facts.get("arguments", {}).get("attention_mask")
    if given_mask is not None and given_mask.dim() == 2:
        return int(given_mask.sum())
    if getattr(log.model, "main_input_name", "input_ids") not in ("input_ids", "inputs_embeds"):
        log.notes.append("the prompt is not text: its tokens are not counted")
        return None
    if segment.mask is not None and segment.mask.dim() == 2:
        return int(segment.mask[:: segment.copies].sum())
    if segment.encoder is not None:
        return int(rows * segment.encoder[1])
    if segment.embeds is not None:
        return int(rows * segment.embeds.shape[1])
    return rows * segment.length


def _from_result(log: RequestLog) -> tuple[int | None, tuple[int, ...] | None]:
    result: Any = log.facts.get("result")
    given = log.facts.get("arguments", {})
    ids: Any = given.get("input_ids", given.get("inputs"))
    if getattr(result, "dim", lambda: 0)() != 2:
        return None, None
    rows = int(result.shape[0])
    if getattr(ids, "dim", lambda: 0)() != 2:
        return rows, None
    return rows, (max(0, int(result.shape[1]) - int(ids.shape[1])),) * rows
