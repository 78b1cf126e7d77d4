"""The self-test's jobs and workers: what they are told and tell, with written messages and, once, for real."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from llm_latency.errors import TargetError
from llm_latency.gate.gate import Gate
from llm_latency.gate.message import Finished, Job, Message, Reported
from llm_latency.gate.pair import BASE, HEAD
from llm_latency.gate.result import Asked
from llm_latency.gate.selftest import selftest
from llm_latency.gate.selftest.selftest import (
    Calibration,
    calibration,
    has_models,
    job,
    launched,
    run,
    sides_of,
    torch_threads,
)
from llm_latency.workloads.planted import Plant

SIZED = Calibration(call_s=0.015, whole=400.0, threads=2)


class Scripted:
    """A launcher whose worker says what is written, and where there is nothing more has ended."""

    def __init__(self, messages: Sequence[Message | None]) -> None:
        self.jobs: list[Job] = []
        self.ended = 0
        self._following = iter(messages)

    def launch(self, asked: Job) -> Any:
        """Its only worker."""
        self.jobs.append(asked)
        return SimpleNamespace(
            channel=SimpleNamespace(receive=self._receive), end=self._end, last_lines=lambda: "last words"
        )

    def _receive(self, timeout_s: float) -> Message | None:
        try:
            return next(self._following)
        except StopIteration:
            raise EOFError from None

    def _end(self) -> None:
        self.ended += 1


def told(launcher: Scripted) -> Calibration:
    """What a worker has found out."""
    return calibration(launcher)  # type: ignore[arg-type]  # a stand-in


def test_a_plant_is_a_share_of_what_takes_as_long_as_the_call() -> None:
    """400 products are a call: 40 are a tenth of it, and nothing is nothing."""
    assert [Plant(kind="step", amount=amount) for amount in (0, 2, 40)] == [SIZED.plant(s) for s in (0, 0.006, 0.1)]


def test_a_job_names_its_tests_in_order_with_their_plants() -> None:
    """Each side its own; what a worker runs is named as a module and a function."""
    plants = {test: {BASE: Plant(), HEAD: Plant(kind="step", amount=count)} for test, count in (("b", 1), ("a", 2))}
    found = job(HEAD, plants)
    assert (f"{selftest.__name__}:run", HEAD) == (found.run, found.side)
    assert {"b": {"kind": "step", "amount": 1}, "a": {"kind": "step", "amount": 2}} == found.arguments["tests"]
    assert (["b", "a"], 1, True) == (
        list(found.arguments["tests"]),
        found.arguments["threads"],
        found.arguments["has_model"],
    )
    assert "unchanged" == job(BASE, plants).arguments["tests"]["b"]["kind"]


def test_what_a_worker_tells_is_taken_and_the_worker_ended() -> None:
    """Its report, once it has finished."""
    report = Reported(test="calibration", outcome="passed", text=msgspec.json.encode(SIZED).decode())
    launcher = Scripted([report, Finished()])
    assert (SIZED, 1) == (told(launcher), launcher.ended)
    assert [f"{selftest.__name__}:calibrate"] == [one.run for one in launcher.jobs]
    threads = Scripted([Reported(test="threads", outcome="passed", text="6"), Finished()])
    assert 6 == torch_threads(threads)  # type: ignore[arg-type]  # a stand-in


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([Finished(problem="ImportError: no torch\n")], "could not be run: ImportError: no torch$"),
        ([None], "said nothing for 180 s"),
        ([], "has ended: last words"),
    ],
)
def test_a_worker_that_tells_nothing_is_an_error(messages: list[Message | None], words: str) -> None:
    """In words, and it is ended all the same."""
    launcher = Scripted(messages)
    with pytest.raises(TargetError, match=words):
        told(launcher)
    assert 1 == launcher.ended


def test_models_are_there_where_both_libraries_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is imported to find out."""
    find = importlib.util.find_spec
    assert has_models()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    assert not has_models()


class Turns:
    """A pace of one cold call and two counted ones."""

    def __init__(self) -> None:
        self.stages: Iterator[str | None] = iter(("cold", "counted", "counted", None))
        self.has_ended = False

    def next_call(self, last: object) -> str | None:
        """The next one."""
        return next(self.stages)

    def ended(self, **_: object) -> None:
        """It is over."""
        self.has_ended = True


def test_without_a_model_plain_python_is_timed() -> None:
    """Each test takes its turns and reports."""
    turns = {test: Turns() for test in ("a", "b")}
    reports: list[str] = []
    baton: Any = SimpleNamespace(
        turns=lambda test, name: turns[test], reported=lambda test, outcome: reports.append(f"{test} {outcome}")
    )
    plants = {test: {BASE: Plant(), HEAD: Plant()} for test in turns}
    run(job(BASE, plants, has_model=False), baton)
    assert ["a passed", "b passed"] == reports
    assert all(one.has_ended for one in turns.values())


def _children() -> set[str]:
    """Processes whose parent is this one."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(stat.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_for_real_a_planted_slowdown_goes_from_worker_to_question() -> None:
    """Half as slow again is a slowdown in every pair, the process that conducts never loads torch, nothing is left."""
    pytest.importorskip("transformers")
    before, had_torch = _children(), "torch" in sys.modules
    with launched() as launcher:
        sized = calibration(launcher)
        assert sized.threads >= 1
        assert 0 < sized.call_s < 10
        sides = sides_of(launcher, {"unchanged": sized.plant(0.0), "+50 %": sized.plant(0.5)})
        gate = Gate(
            [Asked(test=test, limit=0.05) for test in ("unchanged", "+50 %")],
            play=sides.play,
            time_budget_s=0.0,
            needs_own_code=False,
        )
        gate.run()
    assert 1 == gate.pairs
    pairs = {question.test: question.pairs for question in gate.questions.values()}
    assert [1, 1] == [len(pairs[test]) for test in ("unchanged", "+50 %")]
    assert pairs["+50 %"][0].own > pairs["unchanged"][0].own
    assert had_torch == ("torch" in sys.modules)
    assert before == _children()
