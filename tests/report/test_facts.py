"""The kind of work and the machine in words."""

from __future__ import annotations

import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Request, Trace
from llm_latency.report.facts import environment_facts, machine, work


def measurement(*traces: Trace, cold: Trace | None = None) -> Measurement:
    """Only what `work` reads."""
    return Measurement(
        name="x", workload={}, environment=Environment(), traces=traces, cold=cold, stopped_because="one call"
    )


def trace(*requests: Request) -> Trace:
    """A call with these requests."""
    return Trace(start_ns=0, stop_ns=10, requests=requests)


def request(kind: str = "generate", **fields: object) -> Request:
    """A request with these fields."""
    return Request(kind=kind, start_ns=0, stop_ns=5, **fields)  # type: ignore[arg-type]  # fields by name


GENERATED = request(rows=1, prompt_tokens=64, row_tokens=(32,), model="GPT2LMHeadModel")


@pytest.mark.parametrize(
    ("traces", "expected"),
    [
        ([trace(GENERATED)], ("generate", "GPT2LMHeadModel", "1 row", "64 prompt + 32 new tokens")),
        ([trace(request(kind="call"))], ("call",)),
        (
            [trace(request(kind="forward", rows=8, prompt_tokens=4096, model="BertModel"))],
            ("forward", "BertModel", "8 rows", "4,096 prompt tokens"),
        ),
        (
            [trace(GENERATED, request(kind="forward", model="BertModel"))],
            ("generate + forward", "GPT2LMHeadModel + BertModel", "2 requests", "1 row", "64 prompt + 32 new tokens"),
        ),
        ([trace(request(row_tokens=(3,))), trace(request(row_tokens=(9,)))], ("generate", "3–9 new tokens")),
        ([trace(request(row_tokens=(0,), rows=0))], ("generate", "0 rows", "0 new tokens")),
        ([], ()),
    ],
)
def test_work_says_what_was_seen(traces: list[Trace], expected: tuple[str, ...]) -> None:
    """Unknown counts are left out, and counts that vary are a range."""
    assert expected == work(measurement(*traces))


def test_work_falls_back_to_the_first_call() -> None:
    """An interrupt during warm-up leaves only the cold call to describe."""
    assert ("call",) == work(measurement(cold=trace(request(kind="call"))))


def test_machine_leaves_unknown_facts_out() -> None:
    """Nothing known is nothing said, and `cpu` is said by the processor's name."""
    assert () == machine(Environment())
    assert ("Abacus", "1 core", "2 torch threads") == machine(
        Environment(device="cpu", processor="Abacus", cores=1, threads=2)
    )


def test_machine_names_what_changes_numbers() -> None:
    """The order is that of a reader: where, with what, how."""
    expected = ("H100", "Abacus", "torch 2.13.0", "transformers 5.24.0", "bfloat16", "attention sdpa", "Bnb")
    expected += ("cache static", "torch.compile")
    assert expected == machine(
        Environment(
            device="H100",
            processor="Abacus",
            torch="2.13.0",
            transformers="5.24.0",
            dtype="bfloat16",
            attention="sdpa",
            quantization="Bnb",
            cache="static",
            compile="torch.compile",
        )
    )


def test_environment_facts_carry_their_units() -> None:
    """The field's name gives up its unit to the value; warnings and unknown facts are left out."""
    environment = Environment(
        device="cpu", clocks_mhz=1980, power_cap_w=700.0, memory_bytes=8 * 2**30, cores=2, warnings=("x",)
    )
    assert (
        ("device", "cpu"),
        ("clocks", "1980 MHz"),
        ("power_cap", "700 W"),
        ("cores", "2"),
        ("memory", "8.00 GiB"),
    ) == environment_facts(environment)
