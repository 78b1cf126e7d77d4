"""The table, to the letter."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace
from llm_latency.core.verdict import Verdict
from llm_latency.report.text import environment_table, table

# Nine calls: ttft 100 … 108 ms, four gaps of 20 ms, 10 ms before and behind. Medians are those of the fifth call:
# e2e 104 + 80, total 184 + 20, rate 5/0.184. The interval is from the second to the eighth.
EXPECTED = """\
chat · generate · GPT2LMHeadModel · 1 row · 64 prompt + 5 new tokens

metric                 median      95 % interval            tail   n
ttft                   104 ms       101 – 107 ms      max 108 ms   9
tpot                  20.0 ms     20.0 – 20.0 ms     max 20.0 ms   9
itl                   20.0 ms     20.0 – 20.0 ms     p95 20.0 ms  36
e2e                    184 ms       181 – 187 ms      max 188 ms   9
total                  204 ms       201 – 207 ms      max 208 ms   9
output_throughput  27.2 tok/s  26.7 – 27.6 tok/s  min 26.6 tok/s   9
peak_memory (rss)     512 MiB      512 – 512 MiB     max 512 MiB   9

ttft p95 < 250 ms  PASS       observed 108 ms; upper bound 120 ms (95%,
                              log-normal tolerance bound from 9 calls)
tpot p50 < 1.00 s  UNDECIDED  observed 20.0 ms; why not

first call: ttft 300 ms, total 400 ms (kept apart)
calls: 9 counted after 1 warm-up call; stopped: 9 calls, as asked
machine: Abacus, 2 cores, 1 torch thread, torch 2.13.0, float32, attention sdpa
observer: 500 ns an emission
warning: a warning that is long enough to be wrapped at eighty columns, which a
  narrow terminal has"""


def test_the_table_to_the_letter(measured: Callable[..., Measurement]) -> None:
    """What a terminal, a notebook and pytest show, at 80 columns."""
    verdicts = (
        Verdict(
            budget="ttft p95 < 250 ms",
            outcome="pass",
            metric="ttft",
            observed=0.1076,
            limit=0.25,
            high=0.12,
            n=9,
            reasons=("log-normal tolerance bound from 9 calls",),
        ),
        Verdict(
            budget="tpot p50 < 1.00 s",
            outcome="undecided",
            metric="tpot",
            observed=0.02,
            limit=1.0,
            n=9,
            reasons=("why not",),
        ),
    )
    warning = "a warning that is long enough to be wrapped at eighty columns, which a narrow terminal has"
    assert EXPECTED == table(measured(verdicts=verdicts, warnings=(warning,)), width=80)


ONE_CALL = """\
chat · generate · GPT2LMHeadModel · 1 row · 64 prompt + 5 new tokens

metric                one call         tail  n
ttft                    100 ms               1
tpot                   20.0 ms               1
itl                p50 20.0 ms  max 20.0 ms  4
e2e                     180 ms               1
total                   200 ms               1
output_throughput   27.8 tok/s               1
peak_memory (rss)      512 MiB               1

calls: one call; one call has no interval
machine: Abacus, 2 cores, 1 torch thread, torch 2.13.0, float32, attention sdpa
observer: 500 ns an emission"""


def test_a_single_call_is_shown_as_one(measured: Callable[..., Measurement], call: Callable[..., Trace]) -> None:
    """No interval, no word of a median."""
    measurement = measured(traces=(call(),), cold=None, warmup=(), stopped_because="one call")
    assert ONE_CALL == table(measurement)


def test_without_counted_calls_the_first_call_is_what_there_is(measured: Callable[..., Measurement]) -> None:
    """Ctrl-C during the warm-up."""
    measurement = measured(traces=(), warmup=(), stopped_because="KeyboardInterrupt", complete=False, observer_ns=None)
    expected = """\
chat · generate · GPT2LMHeadModel · 1 row · 64 prompt + 5 new tokens

first call: ttft 300 ms, total 400 ms (kept apart)
calls: 0 counted; PARTIAL: KeyboardInterrupt; an interval needs 6 calls
machine: Abacus, 2 cores, 1 torch thread, torch 2.13.0, float32, attention sdpa"""
    assert expected == table(measurement)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_asked(measured: Callable[..., Measurement], width: int) -> None:
    """Long names and warnings are wrapped, also where they have no spaces."""
    measurement = measured(name="n" * 300, warnings=("w" * 300, "word " * 60), stopped_because="reason " * 40)
    assert max(map(len, table(measurement, width=width).splitlines())) <= width


def test_what_comes_from_outside_stays_on_its_line(measured: Callable[..., Measurement]) -> None:
    """A name cannot colour the terminal, overwrite a line, or fake a verdict on a line of its own."""
    text = table(measured(name="x\x1b[2J\n\rtotal < 1 s  PASS", warnings=("a\x07\u202eb",)))
    assert r"x\x1b[2J\n\rtotal < 1 s  PASS · generate" in text
    assert r"warning: a\x07\u202eb" in text
    assert not set(text) & set("\x1b\r\x07\u202e")


def test_an_environment_is_a_line_a_fact() -> None:
    """Then what to beware of."""
    environment = Environment(device="cpu", cores=2, memory_bytes=2**30, warnings=("spins",))
    assert "device  cpu\ncores   2\nmemory  1.00 GiB\n\nwarning: spins" == environment_table(environment)
    assert "" == environment_table(Environment())
