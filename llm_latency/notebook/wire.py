"""Wire: what is said to a live view of the calls that run, in messages of at most some 2 kB; not how they travel."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from llm_latency.core.budget import Budget
from llm_latency.core.environment import Environment
from llm_latency.core.measurement import verdict_on
from llm_latency.core.trace import Trace
from llm_latency.core.units import show
from llm_latency.core.verdict import FAIL, PASS
from llm_latency.record.devices.session import main_peak
from llm_latency.record.sampling import Plan, Progress
from llm_latency.record.view import Moment
from llm_latency.report.status import call_name, last_words

# Of a message's content; with the protocol's own headers it stays below 2 kB.
MOST_BYTES = 1_400
_MOST_BYTES_OF_BUDGETS = 600
_MOST_ITEMS, _MOST_TEXTS, _MOST_LETTERS, _MOST_NOTES = 64, 12, 24, 8
# Of one look, so that those of two fit into a message: emissions one by one, or more of them together.
_MOST_NEW, _MERGED_INTO = 31, 18
_LEAST_GAP_S = 0.1
# A stretch between two looks of which other programs had so much is marked.
_CONTENDED = 0.25
_MARKS = {PASS: "ok", FAIL: "over"}

Message = dict[str, Any]
# One emission as its gap in microseconds, or several as (the sum of their gaps, how many, the longest).
Item = int | list[int]


class Wire:
    """Puts progress and moments into messages of one run.

    A message repeats the last emissions, so that one which is lost does no harm. `decode` makes text of a token's
    ids; without it they are shown as numbers.
    """

    def __init__(
        self, run: str, *, name: str, plan: Plan, decode: Callable[[Sequence[int]], str] | None = None
    ) -> None:
        """Nothing has been said yet."""
        self.run = run
        self.name = name
        self._plan = plan
        self._decode = decode
        self._counted: list[Trace] = []
        self._said_s: float | None = None
        self._stage = ""
        self._begin_call()

    def setup(self) -> Message:
        """What does not change in a run."""
        return {"run": self.run, "name": self.name, "budgets": [str(budget) for budget in self._plan.budgets]}

    def call(self, progress: Progress) -> Message | None:
        """The call that is about to begin; None where the last was told less than a tenth of a second ago."""
        if progress.stage == "counted" and progress.done and progress.last is not None:
            self._counted.append(progress.last)
        self._begin_call()
        is_due = self._said_s is None or progress.elapsed_s - self._said_s >= _LEAST_GAP_S
        if not is_due and progress.stage == self._stage:
            return None
        self._said_s, self._stage = progress.elapsed_s, progress.stage
        plan = self._plan
        return {
            "kind": "call",
            "run": self.run,
            "stage": progress.stage,
            "words": call_name(progress),
            "done": progress.done,
            "of": progress.of,
            "quiet": not progress.is_live,
            "width": progress.half_width,
            "aim": plan.precision if plan.repeat is None and not plan.budgets else None,
            "eta": _eta(progress),
            "last": None if progress.last is None else last_words(progress.last),
            "budgets": _fitting(self._judged(budget) for budget in plan.budgets),
        }

    def tick(self, moment: Moment) -> Message:
        """A call that runs, as it stands."""
        self._take(moment)
        notes = list(self._notes(moment))[-_MOST_NOTES:]
        message: Message = {
            "kind": "tick",
            "run": self.run,
            "phase": moment.phase,
            "t_us": moment.at_ns // 1000,
            "n": moment.total,
            **self._words(moment),
            "budgets": _fitting(map(self._seen, self._plan.budgets)) if self._plan.repeat == 1 else None,
            "sent_ms": round(time.time() * 1000),
        }
        texts, items = list(self._texts), list(self._items)
        # What does not fit is left out, the oldest first: emissions that were told twice, then texts, then notes.
        while True:
            content = message | self._emissions(items) | {"text": texts[-len(items) :] if items else [], "notes": notes}
            over = len(msgspec.json.encode(content)) - MOST_BYTES
            twice = len(items) - sum(self._new)
            if over <= 0 or not (items or notes):
                return content
            if twice > 0:
                del items[: min(twice, 1 + over // 8)]
            else:
                del (texts or notes or items)[0]

    def _emissions(self, items: list[Item]) -> Message:
        """The last emissions: the first one's index and instant, and the gaps."""
        return {
            "first": self._count - sum(map(_count, items)),
            "at_us": self._at_us - sum(map(_span, items[1:])),
            "e": items,
        }

    def end(self) -> Message:
        """The run is over."""
        return {"kind": "end", "run": self.run}

    def _begin_call(self) -> None:
        self._items: deque[Item] = deque(maxlen=_MOST_ITEMS)
        self._texts: deque[str] = deque(maxlen=_MOST_TEXTS)
        self._new = (0, 0)  # items of the last look but one, and of the last
        self._count = self._at_us = 0
        self._delay_at = (0, 0)
        self._known: dict[int, dict[str, float]] = {}  # metrics so far by request
        self._so_far: dict[str, float] = {}

    def _take(self, moment: Moment) -> None:
        """Add the emissions since the last look."""
        self._so_far = self._known.setdefault(moment.request, {})
        gaps = []
        for instant_ns in moment.instants_ns:
            at_us = max(self._at_us, instant_ns // 1000)  # another request's may lie before those that were told
            gaps.append(at_us - self._at_us)
            self._at_us = at_us
        # The first gap is the time to first token and stays on its own.
        own = gaps[:1] if self._count == 0 else []
        items = [*own, *_merged(gaps[len(own) :])]
        self._items += items
        self._new = self._new[1], len(items)
        self._count += len(gaps)
        texts = [_cut(text, _MOST_LETTERS) for text in moment.texts or map(self._text, moment.ids)]
        if self._texts and len(texts) < len(items):  # each belongs to an item, counted from the last
            texts = ["⋯", *[""] * (len(items) - len(texts) - 1), *texts]
        self._texts += texts
        if moment.instants_ns:
            self._measure(moment)

    def _measure(self, moment: Moment) -> None:
        """The metrics of the running request so far, as `core.metrics` defines them for one that ends here."""
        count, last_ns = moment.first + len(moment.instants_ns), moment.instants_ns[-1]
        if moment.first == 0:
            self._so_far["ttft"] = (moment.instants_ns[0] - moment.entered_ns) / 1e9
        e2e = self._so_far["e2e"] = (last_ns - moment.entered_ns) / 1e9
        if count > 1 and "ttft" in self._so_far:
            self._so_far["tpot"] = (e2e - self._so_far["ttft"]) / (count - 1)
        if e2e > 0:
            self._so_far["output_throughput"] = moment.tokens / e2e

    def _words(self, moment: Moment) -> dict[str, str | None]:
        rate = self._so_far.get("output_throughput")
        peak = main_peak(moment.peaks)
        left = None if moment.limit is None or not rate else (moment.limit - moment.tokens) / rate
        return {
            "ttft": show(self._so_far["ttft"], "s") if "ttft" in self._so_far else None,
            "rate": None if rate is None else show(rate, "tok/s"),
            "memory": None if peak is None else show(float(peak), "B"),
            "others": None if moment.delay_ns is None or not moment.at_ns else f"{moment.delay_ns / moment.at_ns:.0%}",
            "eta": None if left is None or left <= 0 else f"at most {show(left, 's')}",
        }

    def _notes(self, moment: Moment) -> Iterator[list[object]]:
        for note in moment.annotations:
            spent = [show(note.duration_ns / 1e9, "s")] if note.duration_ns else []
            yield [note.kind, note.at_ns // 1000, ", ".join([_cut(note.detail, 80)] * bool(note.detail) + spent)]
        if moment.delay_ns is None:
            return
        (before_ns, delay_ns), self._delay_at = self._delay_at, (moment.at_ns, moment.delay_ns)
        share = (moment.delay_ns - delay_ns) / max(1, moment.at_ns - before_ns)
        if share >= _CONTENDED:
            yield ["contended", moment.at_ns // 1000, f"other programs had {min(1.0, share):.0%} since the last update"]

    def _text(self, ids: Sequence[int]) -> str:
        if self._decode is not None:
            try:
                return self._decode(ids)
            except Exception:  # a tokenizer of another model, or one in use: numbers say enough
                self._decode = None
        return "".join(f" #{token}" for token in ids)

    def _judged(self, budget: Budget) -> Message:
        """What the counted calls say about a budget."""
        if not self._counted:
            return {"text": str(budget), "mark": "open", "seen": None}
        verdict = verdict_on(budget, self._counted, Environment(), level=self._plan.level)
        seen = None if verdict.observed is None else show(verdict.observed, budget.row.unit)
        return {"text": str(budget), "mark": _MARKS.get(verdict.outcome, "open"), "seen": seen}

    def _seen(self, budget: Budget) -> Message:
        """What a single call has shown of a budget so far; only what cannot get better is over."""
        value = self._so_far.get(budget.metric)
        if value is None:
            return {"text": str(budget), "mark": "open", "seen": None}
        inside = value < budget.limit if budget.is_upper else value > budget.limit
        mark = "ok" if inside and budget.metric == "ttft" else "open" if inside else "over"
        if not inside and budget.metric not in ("ttft", "e2e"):
            mark = "open"
        return {"text": str(budget), "mark": mark, "seen": show(value, budget.row.unit)}


def _eta(progress: Progress) -> str | None:
    if progress.last is None:
        return None
    if progress.of is None or progress.stage != "counted":
        left = progress.time_budget_s - progress.elapsed_s if progress.of is None else None
    else:
        left = (
            (progress.of - progress.done)
            * progress.last.elapsed_ns(progress.last.start_ns, progress.last.stop_ns)
            / 1e9
        )
    return None if left is None or left <= 0 else f"{'at most ' if progress.of is None else ''}{show(left, 's')}"


def _cut(text: str, letters: int) -> str:
    """The beginning of a text, as what can be written: half of a surrogate pair cannot."""
    return text[:letters].encode("utf-8", "replace").decode()


def _fitting(budgets: Iterable[Message]) -> list[Message]:
    """The first of many budgets."""
    kept: list[Message] = []
    for budget in budgets:
        if len(msgspec.json.encode([*kept, budget])) > _MOST_BYTES_OF_BUDGETS:
            break
        kept.append(budget)
    return kept


def _merged(gaps: list[int]) -> list[Item]:
    """No more items than two looks' share of a message; neighbours go together, the longest gap of each stays known."""
    if len(gaps) <= _MOST_NEW:
        return list(gaps)
    size = -(-len(gaps) // _MERGED_INTO)
    parts = [gaps[start : start + size] for start in range(0, len(gaps), size)]
    return [[sum(part), len(part), max(part)] for part in parts]


def _count(item: Item) -> int:
    return 1 if isinstance(item, int) else item[1]


def _span(item: Item) -> int:
    return item if isinstance(item, int) else item[0]
