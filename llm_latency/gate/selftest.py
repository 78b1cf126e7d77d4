"""Self-test: the gate's own engine on calls whose slowdown is planted, and so known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm_latency.gate.message import Job
from llm_latency.gate.worker import Baton
from llm_latency.record.measure import measure
from llm_latency.workloads.planted import Plant, planted_call


def job(side: str, plants: dict[str, dict[str, Plant]], *, threads: int = 1) -> Job:
    """One side's job: for each test, in order, its plant."""
    asked = {test: {"kind": own[side].kind, "amount": own[side].amount} for test, own in plants.items()}
    arguments: dict[str, Any] = {"tests": asked, "threads": threads}
    return Job(side=side, run=f"{__name__}:run", arguments=arguments, own="/", home="/", trees=())


def run(job: Job, baton: Baton) -> None:
    """Time each planted call of a job in turn; one model serves them all."""
    model: Any = None
    for test, plant in job.arguments["tests"].items():
        call = planted_call(Plant(**plant), threads=job.arguments["threads"], model=model)
        model = call.model  # type: ignore[attr-defined]  # as planted_call says
        turns = baton.turns(test, test)
        measurement = measure(call, name=test, pace=turns)
        turns.ended(environment=measurement.environment)
        baton.reported(test, "passed")


def tests_of(plants: dict[str, dict[str, Plant]]) -> Sequence[str]:
    """Their names, in order."""
    return tuple(plants)
