"""The report as Markdown, to the letter, and as an independent parser reads it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.core.verdict import Verdict
from llm_latency.report.markdown import markdown

EXPECTED = r"""### chat

generate · GPT2LMHeadModel · 1 row · 64 prompt + 5 new tokens

| metric | median | 95 % interval | tail | n |
| --- | ---: | ---: | ---: | ---: |
| ttft | 104 ms | 101 – 107 ms | max 108 ms | 9 |
| tpot | 20.0 ms | 20.0 – 20.0 ms | max 20.0 ms | 9 |
| itl | 20.0 ms | 20.0 – 20.0 ms | p95 20.0 ms | 36 |
| e2e | 184 ms | 181 – 187 ms | max 188 ms | 9 |
| total | 204 ms | 201 – 207 ms | max 208 ms | 9 |
| output_throughput | 27.2 tok/s | 26.7 – 27.6 tok/s | min 26.6 tok/s | 9 |
| peak_memory (rss) | 512 MiB | 512 – 512 MiB | max 512 MiB | 9 |

| budget | verdict | why |
| --- | --- | --- |
| ttft max \< 250 ms | ✅ PASS | max of 9 is 108 ms |
| ttft max \< 105 ms | ❌ TOO SLOW | max of 9 is 108 ms |

- first call: ttft 300 ms, total 400 ms (kept apart)
- calls: 9 counted after 1 warm-up call; stopped: 9 calls, as asked
- machine: Abacus, 2 cores, 1 torch thread, torch 2.13.0, float32, attention sdpa
- observer: 500 ns an emission
"""


def verdict(outcome: str, limit: float) -> Verdict:
    """A verdict on the largest ttft."""
    budget = f"ttft max < {limit * 1000:.0f} ms"
    return Verdict(
        budget=budget, outcome=outcome, metric="ttft", observed=0.108, limit=limit, n=9, reasons=("max of 9",)
    )


def test_the_markdown_to_the_letter(measured: Callable[..., Measurement]) -> None:
    """The same words as the table; a mark beside each verdict, never instead of it."""
    assert EXPECTED == markdown(measured(verdicts=(verdict("pass", 0.25), verdict("fail", 0.105))))


def test_without_rows_there_is_no_table(measured: Callable[..., Measurement]) -> None:
    """An interrupt before the first counted call."""
    assert "|" not in markdown(measured(traces=()))


def test_nothing_from_outside_becomes_markup(measured: Callable[..., Measurement]) -> None:
    """As markdown-it reads it: text, our own heading, tables and list, and nothing else."""
    parser = pytest.importorskip("markdown_it", reason="comes with rich").MarkdownIt("gfm-like", {"linkify": False})
    hostile = "<script>x</script> [a](https://evil.example) ![b](c) | `d` *e* __f__\n# g <https://h.example> ~~i~~"
    rendered = parser.render(markdown(measured(name=hostile, warnings=(hostile,))))
    for tag in ("<script", "<a ", "<img", "<code", "<em", "<strong", "<h1", "<s>"):
        assert tag not in rendered
    assert 1 == rendered.count("<table>")
