"""How a pair ends: processes that are lost, what is kept of them, and two sides played one after the other."""

from __future__ import annotations

import random

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.errors import UsageError
from llm_latency.gate.message import Finished, Imported, Reported
from llm_latency.gate.pair import BASE, BEGUN, HEAD, Alternated, Lost, Pair, Played, Rounds, merged, require_two_trees
from tests.gate.scripted_sides import ENVIRONMENTS, Dead, Scripted, Talk, both, marks, played_by, timed

ROUNDS = Rounds(seconds=0.6, least=6, most=40, spin_s=0.02)


def dying(worker: Scripted, test: str) -> Talk:
    """A test that takes its process down before its llmtime()."""
    raise Dead
    yield None


# --- processes ---


@pytest.mark.parametrize("stage", ["cold", "warmup", "counted"])
@pytest.mark.parametrize(
    ("how", "reason"),
    [("dies_at", "its process ended without a word"), ("silent_at", "it said nothing for 60 s")],
)
def test_a_process_that_is_lost_ends_the_pair(how: str, reason: str, stage: str) -> None:
    """What was measured until then stays, and nobody waits for it twice."""
    at = {"cold": 1, "warmup": 2, "counted": 9}[stage]
    base, head = both([("a", timed()), ("b", timed())], [("a", timed()), ("b", timed(**{how: at})), ("c", timed())])
    played = played_by(base, head)
    assert ["a"] == [calls.test for calls in played.calls]
    assert {(BASE, "a"), (HEAD, "a")} == set(played.reports)
    lost = played.lost
    assert lost is not None
    assert (HEAD, "b", reason) == (lost.side, lost.test, lost.reason)
    assert f"the head was lost in b: {reason}" == str(lost)


def test_one_that_dies_while_it_waits_is_lost_when_it_is_told() -> None:
    """Its channel does not take the turn."""
    base, head = both([("a", timed())], [("a", timed())])
    pair = Pair([base, head], tests=["a"], rounds=Rounds(), chance=random.Random(0), patience_s=1.0)
    assert pair.first_ready() is not None
    base.is_gone = True
    lost = pair.play().lost
    assert lost is not None and (BASE, "a") == (lost.side, lost.test)


def test_a_process_lost_between_two_tests_was_lost_in_the_later_one() -> None:
    """Test a is over, and its times stay; b has not come to its llmtime()."""
    base, head = both([("a", timed()), ("b", timed())], [("a", timed()), ("b", dying)])
    played = played_by(base, head, tests="abc")
    assert played.lost is not None and (HEAD, "b") == (played.lost.side, played.lost.test)
    assert ["a"] == [calls.test for calls in played.calls]


def test_a_process_lost_before_it_has_said_anything_was_in_no_test() -> None:
    """What imports and collects is in the way, and no test."""
    base, head = both([("a", timed())], [])
    head._talk = dying(head, "")
    lost = played_by(base, head).lost
    assert lost is not None and "" == lost.test
    assert "the head was lost before its first test: its process ended without a word" == str(lost)


def test_a_worker_that_says_when_a_test_begins_is_lost_in_that_one() -> None:
    """It dies in the first test's fixtures, before its llmtime()."""

    def begun(worker: Scripted, test: str) -> Talk:
        yield Reported(test=test, outcome=BEGUN)
        raise Dead

    base, head = both([("a", timed())], [("a", begun)])
    played = played_by(base, head)
    assert played.lost is not None and (HEAD, "a") == (played.lost.side, played.lost.test)
    assert {} == played.reports


@pytest.mark.parametrize("how", [{"last": Dead}, {"last": None}], ids=["dies", "hangs"])
def test_a_process_lost_after_its_last_test_is_a_problem_and_no_loss(how: dict[str, object]) -> None:
    """All that it had to tell is told."""
    base, head = both([("a", timed())], [("a", timed())])
    whole = head._talk

    def cut(talk: Talk) -> Talk:
        answer = None
        while not isinstance(message := talk.send(answer), Finished):
            answer = yield message
        if how["last"] is Dead:
            raise Dead
        yield None

    head._talk = cut(whole)
    played = played_by(base, head, tests="a")
    words = "its process ended without a word" if how["last"] is Dead else "it said nothing for 60 s"
    assert ({HEAD: f"{words} after its last test"}, None) == (played.problems, played.lost)
    assert 12 == len(played.calls[0].head)


def test_a_side_that_is_lost_is_not_listened_to_again() -> None:
    """first_ready() has waited for it as long as it may be silent; play() says the same at once."""

    def silent(worker: Scripted, test: str) -> Talk:
        yield None

    base, head = both([("a", silent)], [("a", timed())])
    pair = Pair([base], tests=["a"], rounds=ROUNDS, chance=random.Random(0), patience_s=60.0)
    with pytest.raises(Lost) as first:
        pair.first_ready()
    heard = base.listened
    pair.add(head)
    assert first.value is pair.play().lost
    assert heard == base.listened


# --- where the code came from ---


def test_what_a_side_has_imported_is_kept() -> None:
    """Also of one that times nothing."""
    base, head = both([("a", timed())], [])
    head._talk = head._run([])
    played = played_by(base, head, tests="a")
    assert {BASE: base._imported} == played.imported


@pytest.mark.parametrize("field", ["foreign", "copies"])
def test_a_side_that_runs_other_code_stops_the_gate(field: str) -> None:
    """That is no loss of a process; it goes on as the error that it is."""
    base, _ = both([("a", timed())], [])
    wrong = Imported(files={}, versions={}, **{field: ("project is /elsewhere/project.py",)})
    head = Scripted(HEAD, [("a", timed())], clock=base.clock, imported=wrong)
    with pytest.raises(UsageError, match=r"the head .*project is /elsewhere/project.py"):
        played_by(base, head)


def test_two_sides_without_code_of_their_own_guard_nothing() -> None:
    """One of them with a file is enough; one that is not there is no proof."""
    plain, own = Imported(files={}, versions={}), Imported(files={"project": "project.py"}, versions={})

    def with_imported(**imported: Imported) -> Played:
        return Played(calls=(), reports={}, imported=imported, problems={})

    with pytest.raises(UsageError, match=r"would guard nothing\. .*move what is timed into a module"):
        require_two_trees(with_imported(base=plain, head=plain))
    for imported in ({"base": own, "head": plain}, {"base": plain}, {}):
        require_two_trees(with_imported(**imported))


# --- one after the other ---


def alone(side: str, *, seed: int = 0, takes: float = 10.0, **how: object) -> Played:
    """What one side gives by itself."""
    worker = Scripted(side, [("a", timed(takes=[takes], **how)), ("b", timed(takes=[takes]))])
    return played_by(worker, seed=seed, rounds=ROUNDS)


def test_a_side_alone_runs_two_calls_a_round() -> None:
    """As many rounds as it would run beside another: 16 of 10 ms."""
    played = alone(HEAD)
    assert [("a", 32), ("b", 32)] == [(calls.test, len(calls.head)) for calls in played.calls]
    assert [(), ()] == [calls.base for calls in played.calls]
    assert ("bb",) * 16 == played.calls[0].orders


@pytest.mark.parametrize("first", [BASE, HEAD])
def test_two_sides_played_in_turn_are_one_pair(first: str) -> None:
    """16 rounds of 10 ms and 10 of 15 ms: ten stay, whichever side was played first."""
    played = {BASE: alone(BASE), HEAD: alone(HEAD, takes=15.0)}
    second = HEAD if first == BASE else BASE
    pair = merged(played[first], played[second])
    assert ["a", "b"] == [calls.test for calls in pair.calls]
    calls = pair.calls[0]
    assert ["base a 1 counted"] * 20 == marks(calls.base)
    assert ["head a 1 counted"] * 20 == marks(calls.head)
    assert ("aabb" if first == BASE else "bbaa",) * 10 == calls.orders
    assert (ENVIRONMENTS[BASE], ENVIRONMENTS[HEAD]) == calls.environments
    assert 4 == len(pair.reports)
    assert {BASE, HEAD} == set(pair.imported)


@pytest.mark.parametrize("first", [BASE, HEAD])
@pytest.mark.parametrize("broken", [BASE, HEAD])
@pytest.mark.parametrize("at", [1, 6])
def test_a_problem_of_either_side_stays(first: str, broken: str, at: int) -> None:
    """Before its first counted call or after three; the whole rounds that both have stay beside it."""
    played = {side: alone(side, **({"raises_at": at} if side == broken else {})) for side in (BASE, HEAD)}
    calls = merged(played[first], played[HEAD if first == BASE else BASE]).calls[0]
    assert f"{broken}: ValueError: no" == calls.problem
    rounds = 0 if at == 1 else 1
    assert (2 * rounds, 2 * rounds) == (len(calls.base), len(calls.head))
    assert {*marks(calls.base)} <= {"base a 1 counted"}


def test_what_only_one_side_has_is_left_out() -> None:
    """A test, and a side that was lost; whose loss stays."""
    lost = Lost(HEAD, "b", "gone")
    first = Played(calls=alone(BASE).calls, reports={}, imported={}, problems={BASE: "no"})
    second = Played(calls=alone(HEAD).calls[:1], reports={}, imported={}, problems={}, lost=lost)
    pair = merged(first, second)
    assert (["a"], {BASE: "no"}, lost) == ([calls.test for calls in pair.calls], pair.problems, pair.lost)
    assert lost is merged(second, first).lost


def test_an_odd_call_is_in_no_round() -> None:
    """Three and five calls have one round in common."""
    trace = alone(BASE).calls[0].base[0]
    one = Alternated(test="a", name="a", index=1, base=(trace,) * 3, head=())
    other = msgspec.structs.replace(one, base=(), head=(trace,) * 5, environments=(None, Environment()))
    nothing = Played(calls=(), reports={}, imported={}, problems={})
    pair = merged(msgspec.structs.replace(nothing, calls=(one,)), msgspec.structs.replace(nothing, calls=(other,)))
    assert [(2, 2)] == [(len(calls.base), len(calls.head)) for calls in pair.calls]
    assert (None, Environment()) == pair.calls[0].environments
