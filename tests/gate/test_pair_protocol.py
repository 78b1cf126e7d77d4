"""Whatever two workers do, a pair ends and mixes nothing up; and what is balanced between its sides, exactly."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from llm_latency.gate.message import Go, Imported, Reported
from llm_latency.gate.pair import BASE, BEGUN, HEAD, SIDES, Rounds
from llm_latency.testing import ManualClock
from tests.gate.scripted_sides import (
    MESSAGE_NS,
    Body,
    Dead,
    Failed,
    Released,
    Scripted,
    Skipped,
    Talk,
    both,
    marks,
    played_by,
    timed,
)

MS = 1_000_000
TESTS = tuple("abcd")
FEWEST = Rounds(seconds=0.0, least=2, most=2)


# --- any two workers ---


class Act:
    """What a test does, drawn once, so that both sides may do the same."""

    def __init__(self, chance: random.Random, *, is_wild: bool) -> None:
        self.begins = chance.random() < 0.3
        self.runs = 2 if is_wild and chance.random() < 0.1 else 1
        self.llmtimes = [self._llmtime(chance, is_wild=is_wild) for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))]
        self.swallows = is_wild and chance.random() < 0.3
        self.ends_with = chance.choice((Failed, Skipped, Dead)) if is_wild and chance.random() < 0.2 else None
        self.reports_twice = is_wild and chance.random() < 0.1

    def _llmtime(self, chance: random.Random, *, is_wild: bool) -> dict[str, object]:
        how: dict[str, object] = {"takes": chance.choice(((10.0,), (10.0, 20.0), (40.0, 20.0, 10.0, 10.0)))}
        if is_wild and chance.random() < 0.4:
            what = chance.choice(("raises_at", "dies_at", "silent_at", "ends_at", "nested_at"))
            how |= {what: chance.randint(1, 8)}
        how |= {"is_mute": True} if is_wild and chance.random() < 0.1 else {}
        return how

    def body(self) -> Body:
        """It, as a test of a worker."""
        return self._run

    def _run(self, worker: Scripted, test: str) -> Talk:
        if self.begins:
            yield Reported(test=test, outcome=BEGUN)
        for _ in range(self.runs):
            worker.again(test)
            for how in self.llmtimes:
                try:
                    yield from worker.llmtime(test, **how)  # type: ignore[arg-type]  # its own arguments
                except (Failed, Released):
                    if not self.swallows:
                        raise
        if self.reports_twice:
            yield Reported(test=test, outcome="passed")
            yield Imported(files={}, versions={})
        if self.ends_with is not None:
            raise self.ends_with


def drawn(chance: random.Random) -> tuple[Scripted, Scripted, bool]:
    """A base and a head that are alike to some part, and whether they are wholly so and do nothing that is wrong."""
    wildness = chance.choice((0.0, 0.2, 0.6))
    clock = ManualClock()
    acts = {test: Act(chance, is_wild=chance.random() < wildness) for test in TESTS}
    sides = []
    for side in SIDES:
        own = [(test, act if chance.random() >= wildness else Act(chance, is_wild=True)) for test, act in acts.items()]
        if chance.random() < wildness:
            chance.shuffle(own)
        if chance.random() < wildness:
            own.insert(chance.randrange(len(own)), (f"x{side}", Act(chance, is_wild=True)))
        if chance.random() < wildness:
            del own[chance.randrange(len(own))]
        sides.append(Scripted(side, [(test, act.body()) for test, act in own], clock=clock))
    return sides[0], sides[1], wildness == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_a_pair_of_any_two_workers_ends_and_mixes_nothing_up(seed: int) -> None:
    """Of 200 pairs: no side is told anything out of turn or listened to while it waits; calls are of one llmtime()."""
    chance = random.Random(seed)
    for _ in range(200):
        base, head, is_tame = drawn(chance)
        played = played_by(base, head, tests=TESTS, seed=chance.randrange(1 << 30), rounds=FEWEST)
        keys = [(calls.test, calls.index) for calls in played.calls]
        assert len(set(keys)) == len(keys)
        for calls in played.calls:
            assert {f"base {calls.test} {calls.index} counted"} >= set(marks(calls.base))
            assert {f"head {calls.test} {calls.index} counted"} >= set(marks(calls.head))
            assert len(calls.base) == len(calls.head) == 2 * len(calls.orders)
            assert calls.problem or 2 == len(calls.orders)
            assert calls.test in TESTS
            assert not calls.problem or calls.problem.startswith(("base: ", "head: "))
        if is_tame:
            assert [(test, index) for test in TESTS for index in sorted(base.begun.get(test, ()))] == keys
            assert [""] * len(keys) == [calls.problem for calls in played.calls]
        if played.lost is None:
            assert not base.waits and not head.waits
        else:
            assert not is_tame
            assert played.lost.test in ("", *TESTS, "xbase", "xhead")


def test_what_both_have_is_played_whatever_the_other_tests_do() -> None:
    """A plain test between two wild ones has its times in each pair that was not lost before it."""
    chance = random.Random(7)
    for _ in range(300):
        sides = []
        clock = ManualClock()
        for side in SIDES:
            wild = [Act(chance, is_wild=True).body() for _ in range(2)]
            sides.append(Scripted(side, [("a", wild[0]), ("b", timed()), ("c", wild[1])], clock=clock))
        played = played_by(*sides, tests="abc", seed=chance.randrange(1 << 30), rounds=FEWEST)
        plain = [calls for calls in played.calls if calls.test == "b"]
        if played.lost is None or played.lost.test == "c":
            assert [""] == [calls.problem for calls in plain]


# --- balance ---


def spans(base: Scripted, head: Scripted) -> list[tuple[int, int, str]]:
    """Begin, end and side of each call, in order of time."""
    return sorted((begin, end, side.side) for side in (base, head) for begin, end in side.spans)


@pytest.mark.parametrize("seed", range(30))
def test_between_any_two_calls_lies_the_same_time(seed: int) -> None:
    """A message from the one that has ended, one to the one that follows, and its spin: whoever they are."""
    base, head = both([("a", timed())], [("a", timed(takes=[13.0]))])
    played_by(base, head, tests="a", seed=seed, rounds=Rounds(seconds=0.6, spin_s=0.02))
    gaps = [after[0] - before[1] for before, after in pairwise(spans(base, head))]
    assert {2 * MESSAGE_NS + 20 * MS} == set(gaps)


@pytest.mark.parametrize("seed", range(30))
def test_sides_are_balanced(seed: int) -> None:
    """First in half of the rounds and last in half of them; as many calls behind one of their own; as long idle."""
    base, head = both([("a", timed())], [("a", timed())])
    (calls,) = played_by(base, head, tests="a", seed=seed, rounds=Rounds(seconds=0.6, spin_s=0.02)).calls
    letters = "".join(calls.orders)
    firsts = [order[0] for order in calls.orders]
    assert firsts.count("a") == firsts.count("b") == len(firsts) / 2
    assert {"abba", "baab"} == set(calls.orders)
    behind_own = [after for before, after in pairwise(letters) if before == after]
    assert behind_own.count("a") == behind_own.count("b")
    counted = spans(base, head)[-len(letters) :]
    assert letters == "".join("a" if side == BASE else "b" for _, _, side in counted)
    idle = {}
    for which in (BASE, HEAD):
        own = [(begin, end) for begin, end, side in counted if side == which]
        idle[which] = sum(after[0] - before[1] for before, after in pairwise(own))
    assert idle[BASE] == idle[HEAD]


def test_the_order_is_drawn() -> None:
    """Thirty seeds give more than ten orders of six rounds; of the first call either side has about half."""
    orders = []
    for seed in range(30):
        base, head = both([("a", timed())], [("a", timed())])
        orders.append(played_by(base, head, tests="a", seed=seed).calls[0].orders)
    assert len(set(orders)) > 10
    assert 8 <= sum(order[0] == "abba" for order in orders) <= 22


@pytest.mark.parametrize("seed", range(10))
def test_cold_calls_and_warm_ups_are_drawn_too(seed: int) -> None:
    """Each stage has one call a side, in either order."""
    base, head = both([("a", timed(takes=[10.0, 20.0]))], [("a", timed())])
    played_by(base, head, tests="a", seed=seed)
    stages = [one.stage for one in base.told if isinstance(one, Go)]
    assert stages == [one.stage for one in head.told if isinstance(one, Go)]
    sides = [side for _, _, side in spans(base, head)][:22]
    assert all({BASE, HEAD} == set(two) for two in zip(sides[::2], sides[1::2], strict=True))
