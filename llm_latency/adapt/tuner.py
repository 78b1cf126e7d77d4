"""tune(): learns from measurements which strategy is best for which input; not the contest itself, nor its use."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from llm_latency.adapt.contest import Contest, Point
from llm_latency.adapt.crossing import computed, narrowed
from llm_latency.adapt.equivalence import LEAST_TOP1, Agreement, agreement, reason_against
from llm_latency.adapt.policy import Entry, Policy, assistant_of, environment_of, fingerprint
from llm_latency.adapt.prepared import Prepared
from llm_latency.adapt.strategy import BASELINE, Strategy, candidates, chosen
from llm_latency.adapt.winners import winners
from llm_latency.core.architecture import read_architecture
from llm_latency.core.stats import LEAST_FOR_INTERVAL
from llm_latency.core.trace import Trace
from llm_latency.errors import UsageError
from llm_latency.record.machine import available_cores, memory_room
from llm_latency.record.timed import timed
from llm_latency.workloads.loaded import LoadedModel, held_bytes
from llm_latency.workloads.prompts import token_ids
from llm_latency.workloads.scenarios import Scenario, find_scenario
from llm_latency.workloads.shapes import RANDOM
from llm_latency.workloads.target import load_model

SECONDS = 180.0
# Of the time for the search: what comparing answers may take, and what is kept back for crossovers.
_ANSWERS, _CROSSOVERS = 0.25, 0.15
_ANSWER_TOKENS = 16
_CONFIRMED_ROUNDS = 5


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Where a search stands: what it does, the rounds so far, how many strategies are left, seconds used and given."""

    stage: str
    rounds: int
    left: int
    elapsed_s: float
    time_budget_s: float


def tune(
    model: str | LoadedModel,
    *,
    scenario: str | Scenario = "chat",
    strategies: Iterable[str] | None = None,
    lossy: bool = False,
    least_top1: float = LEAST_TOP1,
    prompts: Sequence[Mapping[str, Any]] = (),
    assistant: str | None = None,
    time_budget: float = SECONDS,
    seed: int = 0,
    on_progress: Callable[[Search], None] | None = None,
) -> Policy:
    """Learn a policy: for each length and batch of a scenario the strategy that was measured to be best.

    `model` is a target such as "shape:gpt2" or a loaded one; decoders only. `strategies` names some of those that
    there are here, `lossy` allows those that change the numbers, of which each has to have the model's own first
    choice at a share of `least_top1` of the positions. Answers are compared on `prompts`, inputs of transformers, or
    on random ones. `assistant` is a smaller model that guesses.

    Takes `time_budget` seconds. A strategy that fails or produces other answers is left out with the reason. Raises
    UsageError for what cannot be tuned; an interrupt goes on, with what was learned as its `llm_latency_policy`.
    """
    case = find_scenario(scenario) if isinstance(scenario, str) else scenario
    if not (math.isfinite(time_budget) and time_budget > 0):
        raise UsageError(f"time_budget={time_budget!r}; expected seconds, more than 0, such as 180.0")
    begin = time.monotonic()
    loaded = load_model(model) if isinstance(model, str) else model
    if loaded.kind != "decoder":
        raise UsageError(f"{loaded.name} is an {loaded.kind}; a policy is for models that go on from their prompt")
    points = _points(case, loaded)
    known = _candidates(loaded, case, lossy=lossy, assistant=assistant, seconds=time_budget)
    asked = known if strategies is None else chosen(tuple(strategies), known)
    search = _Searching(loaded, case, asked, points, begin=begin, seconds=time_budget, on_progress=on_progress)
    try:
        search.prepare()
        search.compare(prompts, least_top1=least_top1)
        contest = search.contest(seed=seed)
        contest.run(
            until=begin + (1 - _CROSSOVERS) * time_budget, latest=begin + time_budget, on_round=search.tell_round
        )
        entries, notes = search.entries(contest)
    except KeyboardInterrupt as interrupt:
        interrupt.llm_latency_policy = search.policy((), (), complete=False)  # type: ignore[attr-defined]  # documented
        raise
    return search.policy(entries, notes, complete=True)


def _points(case: Scenario, loaded: LoadedModel) -> tuple[Point, ...]:
    room = math.inf if loaded.context is None else loaded.context - case.new_tokens
    lengths = [length for length in case.prompt_tokens if length <= room]
    if not lengths:
        raise UsageError(
            f"{loaded.name} has a context of {loaded.context}, and {case.name} begins with {min(case.prompt_tokens)}"
            f" prompt and {case.new_tokens} new tokens; write a scenario of your own"
        )
    return tuple(Point(batch=rows, prompt_tokens=length) for rows in case.batch for length in lengths)


def _candidates(
    loaded: LoadedModel, case: Scenario, *, lossy: bool, assistant: str | None, seconds: float
) -> tuple[Strategy, ...]:
    import torch

    config = loaded.model.config
    try:
        architecture = read_architecture(config.get_text_config().to_dict())
    except UsageError:
        architecture = None
    return candidates(
        architecture=architecture,
        device=loaded.model.device.type,
        dtype=str(loaded.model.dtype).removeprefix("torch."),
        attention=getattr(config, "_attn_implementation", None),
        cores=available_cores() or 1,
        threads=torch.get_num_threads(),
        batch=case.batch,
        lossy=lossy,
        assistant=assistant,
        seconds=seconds,
    )


class _Searching:
    """One search: the strategies that are ready, and why others are not."""

    def __init__(
        self,
        loaded: LoadedModel,
        case: Scenario,
        strategies: Sequence[Strategy],
        points: Sequence[Point],
        *,
        begin: float,
        seconds: float,
        on_progress: Callable[[Search], None] | None,
    ) -> None:
        self.loaded, self.case, self.strategies, self.points = loaded, case, strategies, points
        self.ready: dict[str, Prepared] = {}
        self.excluded: dict[str, str] = {}
        self.agreements: dict[str, Agreement] = {}
        self._contest: Contest | None = None
        self._held: dict[str, int] = {}
        self._begin, self._seconds, self._on_progress = begin, seconds, on_progress

    def tell(self, stage: str) -> None:
        """Say where the search stands."""
        if self._on_progress is not None:
            rounds = 0 if self._contest is None else self._contest.rounds
            self._on_progress(
                Search(
                    stage=stage,
                    rounds=rounds,
                    left=len(self.ready),
                    elapsed_s=time.monotonic() - self._begin,
                    time_budget_s=self._seconds,
                )
            )

    def tell_round(self, contest: Contest) -> None:
        """Between rounds."""
        self.tell(f"round {contest.rounds + 1}")

    def prepare(self) -> None:
        """Make each strategy's weights; one that cannot be had is left out."""
        for strategy in self.strategies:
            self.tell(f"setting up {strategy.name}")
            try:
                if strategy.is_a_copy:
                    self._check_room()
                self.ready[strategy.name] = Prepared(
                    self.loaded.model, strategy, assistant=assistant_of(strategy, self.loaded.model)
                )
            except Exception as error:
                if strategy.name == BASELINE:
                    raise
                self.excluded[strategy.name] = _words(error)
        gc.collect()  # what copies were made of

    def _check_room(self) -> None:
        """Raise MemoryError where a copy of the weights would not fit."""
        needed = sum(one.numel() * one.element_size() for one in self.loaded.model.parameters())
        free = memory_room()[1]
        if free is not None and needed > 0.8 * free:
            raise MemoryError(f"a copy of the weights needs {needed:,} bytes, and {free:,} are free")

    def compare(self, prompts: Sequence[Mapping[str, Any]], *, least_top1: float) -> None:
        """Leave out what produces other answers, or loses too much."""
        given = list(prompts) or [self._inputs(Point(batch=1, prompt_tokens=length), 0) for length in (12, 40)]
        tokens = min(_ANSWER_TOKENS, self.case.new_tokens)
        end = self._begin + _ANSWERS * self._seconds
        for name, prepared in list(self.ready.items()):
            if name == BASELINE:
                continue
            self.tell(f"comparing the answers of {name}")
            compared = given if time.monotonic() < end else given[:1]
            try:
                found = agreement(self.ready[BASELINE], prepared, compared, new_tokens=tokens)
                reason = reason_against(found, is_lossy=prepared.strategy.is_lossy, least_top1=least_top1)
                self.agreements[name] = found
            except Exception as error:
                reason = f"it fails: {_words(error)}"
            if reason is not None:
                self.excluded[name] = reason
                del self.ready[name]

    def contest(self, *, seed: int) -> Contest:
        """All that are ready, at all points; what guesses takes one row only."""
        contest = Contest(list(self.ready), self.points, self, objective=self.case.objective, seed=seed)
        single = [name for name, one in self.ready.items() if one.strategy.lookup or one.strategy.assistant]
        for point in contest.left:
            if point.batch > 1:
                contest.left[point] = [name for name in contest.left[point] if name not in single]
        self._contest = contest
        return contest

    def run(self, strategy: str, point: Point, index: int) -> Trace:
        """One call, watched; the same prompt for all strategies of a round."""
        inputs = self._inputs(point, index)
        new = self.case.new_tokens
        with timed(strategy) as block:
            self.ready[strategy].generate(inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False)
        return block.measurement.traces[0].apart_from(self._beside_bytes(strategy))

    def _beside_bytes(self, name: str) -> int:
        """Bytes that are held for other strategies than this one, which alone would not need them."""
        if name not in self._held:
            every = [model for one in self.ready.values() for model in one.models]
            self._held[name] = held_bytes(*every) - held_bytes(*self.ready[name].models)
        return self._held[name]

    def _inputs(self, point: Point, index: int) -> dict[str, Any]:
        import torch

        rows = token_ids(
            self.loaded.vocab_size,
            tokens=point.prompt_tokens,
            batch=point.batch,
            index=index,
            avoid=self.loaded.special_ids,
        )
        ids = torch.tensor(rows, device=self.loaded.model.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def entries(self, contest: Contest) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
        """The best at each point, and between two points with different ones the length at which they cross."""
        self.excluded |= contest.failed
        notes: list[str] = []
        if contest.rounds < LEAST_FOR_INTERVAL:
            notes.append(
                f"there was time for {contest.rounds} round{'' if contest.rounds == 1 else 's'} only, and fewer than"
                f" {LEAST_FOR_INTERVAL} show no difference: give it more time, or fewer strategies"
            )
        spans: dict[int, list[tuple[int | None, str]]] = {}
        setup_s = {name: self.setup_s(name) / self.case.calls for name in self.ready if name != BASELINE}
        best = winners(contest, setup_s=setup_s)
        for batch in sorted({point.batch for point in self.points}):
            own = sorted(point for point in self.points if point.batch == batch)
            for index, point in enumerate(own):
                winner = best[point]
                if index + 1 < len(own) and best[own[index + 1]] == winner:
                    continue
                end = None
                if index + 1 < len(own):
                    end, note = self._crossover(contest, point, own[index + 1], winner, best[own[index + 1]])
                    notes.append(note)
                spans.setdefault(batch, []).append((end, winner))
        # A batch that is run as the next larger one is needs no entries of its own.
        batches = list(spans)
        ends = [batch for batch, larger in pairwise(batches) if spans[batch] != spans[larger]] + batches[-1:]
        found = tuple(
            Entry(batch=None if batch == batches[-1] else batch, prompt_tokens=end, strategy=winner)
            for batch in ends
            for end, winner in spans[batch]
        )
        return found, tuple(notes)

    def setup_s(self, name: str) -> float:
        """Seconds of making it ready, and what its first call took longer than the later ones."""
        contest = self._contest
        if contest is None or name not in self.ready:
            return 0.0
        first = contest.first_s.get(name, 0.0)
        later = [
            trace.elapsed_ns(trace.start_ns, trace.stop_ns) / 1e9
            for (one, _), traces in contest.traces.items()
            if one == name
            for trace in traces
        ]
        return self.ready[name].setup_s + max(0.0, first - max(later, default=first))

    def _crossover(self, contest: Contest, before: Point, after: Point, first: str, second: str) -> tuple[int, str]:
        """Where the second overtakes the first: by lines through their scores, then by measuring on both sides."""
        lengths = before.prompt_tokens, after.prompt_tokens
        scores = {name: [contest.scores(name, point) for point in (before, after)] for name in (first, second)}
        means = [[sum(one) / len(one) for one in scores[name] if one] for name in (first, second)]
        at = computed(lengths, *means)

        def first_wins(length: int) -> bool | None:
            won = self._beside(Point(batch=before.batch, prompt_tokens=length), first, second)
            return None if won is None else won == first

        low, high = narrowed(lengths, at, first_wins)
        where = (
            f"batch {before.batch}, between {lengths[0]} and {lengths[1]} prompt tokens: {first} gives way to {second}"
        )
        if (low, high) == lengths:
            return at, f"{where} at {at}, computed; there was no time to confirm it"
        end = math.isqrt(low * high)
        return end, f"{where} at {end}: {first} was faster at {low}, {second} at {high}"

    def _beside(self, point: Point, first: str, second: str) -> str | None:
        """Which of two is faster at a length, by some rounds of both; None when time is over."""
        contest = Contest([first, second], [point], self, objective=self.case.objective, seed=point.prompt_tokens)
        self.tell(f"confirming at {point.prompt_tokens} prompt tokens")
        contest.run(until=self._begin + self._seconds, most=_CONFIRMED_ROUNDS)
        scores = [contest.scores(name, point) for name in (first, second)]
        if min(map(len, scores)) < 3:
            return None
        wins = sum(one < two for one, two in zip(*scores, strict=False))
        return first if 2 * wins > len(scores[0]) else second

    def policy(self, entries: Sequence[Entry], notes: Sequence[str], *, complete: bool) -> Policy:
        """What was learned, whole or in part; without entries every input is run the model's own way."""
        contest = self._contest
        random_weights = (RANDOM,) if RANDOM in self.loaded.notes and self.agreements else ()
        return Policy(
            model=self.loaded.name,
            config=fingerprint(self.loaded.model),
            scenario=self.case.name,
            objective=self.case.objective,
            entries=tuple(entries) or (Entry(batch=None, prompt_tokens=None, strategy=BASELINE),),
            strategies=tuple(one for one in self.strategies if one.name not in self.excluded),
            gains=() if contest is None else contest.gains(),
            excluded=dict(self.excluded),
            agreements=dict(self.agreements),
            setup_s={name: round(self.setup_s(name), 3) for name in self.ready if name != BASELINE},
            environment=environment_of(self.loaded.model),
            search_s=round(time.monotonic() - self._begin, 1),
            notes=(*notes, *random_weights),
            complete=complete,
        )


def _words(error: Exception) -> str:
    first = str(error).partition("\n")[0]
    return first if isinstance(error, UsageError | MemoryError) else f"{type(error).__name__}: {first}"
