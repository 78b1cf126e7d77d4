"""Results of gates made by hand: the gate's own questions, answered from ratios that are written down."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.core.metrics import METRICS
from llm_latency.gate.question import Question
from llm_latency.gate.ratio import Ratio
from llm_latency.gate.result import Answer, Asked, GateResult, Moved, Side, Tested, worst_word

COMMIT = "1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b"
CHAT = "tests/latency/test_chat.py"
HOSTILE = (
    "a<script>x</script> [l](https://evil.example) ![i](c) | `d` *e* __f__ @someone #1 <!-- c --> ~~s~~\n# g\x1b[31m"
    ' "q" \u202e www.evil.example </details></table>'
)


def around(share: float, spread: float, n: int) -> list[float]:
    """n log ratios above and below a share in turns, with exactly this mean of the logs and this standard deviation."""
    step = spread * math.sqrt((n - 1) / n) if n > 1 else 0.0
    return [math.log1p(share) + (step if index % 2 else -step) for index in range(n)]


def scattered(share: float, spread: float, n: int) -> list[float]:
    """n log ratios about a share as pairs give them, the same each time."""
    chance = random.Random(f"{share} {spread} {n}")
    return [math.log1p(share) + chance.gauss(0.0, spread) for _ in range(n)]


def ratios(logs: Sequence[float], *, base: float, wall: float = 0.0) -> list[Ratio]:
    """A pair for each log ratio, the base as it is; `wall` is what wall time adds to each log."""
    return [Ratio(own=log, wall=log + wall, base=base, head=base * math.exp(log)) for log in logs]


def answered(
    test: str,
    first: Sequence[float] = (),
    fresh: Sequence[float] = (),
    *,
    metric: str = "total",
    base: float = 0.2,
    limit: float = 0.05,
    wall: float = 0.0,
    name: str | None = None,
    moved: tuple[Moved, ...] = (),
    withheld: tuple[str, ...] = (),
    min_change: tuple[float, str] | None = None,
) -> Answer:
    """What the gate's question makes of these log ratios, more being worse, of the first and of the fresh pairs."""
    sign = 1.0 if METRICS[metric].better == "lower" else -1.0
    asked = Asked(test=test, limit=limit, metrics=(metric,), min_change=min_change)
    question = Question(asked, test=test, name=test.rpartition("::")[2] if name is None else name, metric=metric)
    question.pairs = ratios([sign * log for log in first], base=base, wall=sign * wall)
    question.fresh = ratios([sign * log for log in fresh], base=base, wall=sign * wall)
    question.withhold(withheld)
    return msgspec.structs.replace(question.answer(), moved=moved)


def a_test(test: str, word: str, *, reasons: tuple[str, ...] = (), failure: str = "") -> Tested:
    """What became of a test; by this name pytest takes it for none of ours."""
    return Tested(test=test, word=word, reasons=reasons, failure=failure)


def moved(metric: str, base: float, share: float, spread: float = 0.005, *, seconds: float | None = None) -> Moved:
    """A part that took `share` more of `base` seconds, give or take `spread`; in a call as often as `seconds` say."""
    log = math.log1p(share)
    return Moved(
        metric=metric,
        unit="s",
        base=base,
        head=base * (1 + share),
        log=log,
        low=log - spread,
        high=log + spread,
        seconds=base * share if seconds is None else seconds,
    )


PARTS = (
    moved("ttft", 0.1, 0.12),
    moved("tpot", 0.02, 0.001, seconds=0.0001),
    moved("decode", 0.08, 0.001),
    moved("tokenize", 0.004, 0.002, 0.01),
    moved("host", 0.002, -0.003, 0.03),
)

OK_ANSWER = answered(f"{CHAT}::test_chat", scattered(0.004, 0.004, 6))
SLOW = answered(
    f"{CHAT}::test_generate[gpt2-batch-1-prompt-512-float32]",
    scattered(0.061, 0.018, 9),
    scattered(0.060, 0.012, 6),
    wall=0.03,
    moved=PARTS,
)
FAST = answered(
    f"{CHAT}::test_generate[llama-batch-8-prompt-2048-float32]",
    scattered(-0.081, 0.009, 6),
    base=1.25,
    moved=(moved("ttft", 0.5, 0.001), moved("tpot", 0.02, -0.13, seconds=-0.1)),
)
OPEN = answered(f"{CHAT}::test_stream[gpt2]", scattered(0.034, 0.05, 46), metric="tpot", base=0.0213)
LOST_RATE = answered(
    f"{CHAT}::test_stream[gpt2]",
    scattered(0.2, 0.01, 6),
    scattered(0.19, 0.01, 6),
    metric="output_throughput",
    base=40.0,
)
HEAVY = answered(
    f"{CHAT}::test_memory", scattered(0.3, 0.001, 6), scattered(0.3, 0.001, 6), metric="peak_memory", base=2.0**30
)
UNEQUAL = answered(
    f"{CHAT}::test_beams",
    scattered(0.5, 0.01, 6),
    withheld=("unequal work: 16 and 24 new tokens; compare tpot and itl, not e2e",),
)
BROKEN_TEST = a_test(
    f"{CHAT}::test_long_context[rope-scaled]",
    "BROKEN",
    failure="E   AttributeError: 'Rope' object has no attribute 'scale'",
)
NEW_TEST = a_test(
    f"{CHAT}::test_tools",
    "NEW",
    reasons=("it fails at the base: E   ModuleNotFoundError: No module named 'chat.tools'",),
)
SKIPPED_TEST = a_test(f"{CHAT}::test_gpu", "skipped", reasons=("needs a CUDA device",))


def tested(*answers: Answer) -> tuple[Tested, ...]:
    """The tests that these are the answers of."""
    tests = dict.fromkeys(answer.test for answer in answers)
    return tuple(
        Tested(test=test, word=worst_word([answer.word for answer in answers if answer.test == test])) for test in tests
    )


def gate(*answers: Answer, tests: tuple[Tested, ...] = (), **fields: object) -> GateResult:
    """A gate of 15 pairs in 41 s that asked for these; fields may be replaced."""
    given = {
        "ref": "origin/main",
        "base": Side(what=COMMIT, python="3.11.2", environment=Environment(torch="2.13.0")),
        "head": Side(what="working tree", python="3.11.2", environment=Environment(torch="2.13.0")),
        "tests": (*tested(*answers), *tests),
        "answers": answers,
        "pairs": 15,
        "family": max(1, len(answers)),
        "level": 0.003,
        "seconds": 41.2,
        "stopped_because": "every question answered after 15 pairs",
    }
    return GateResult(**given | fields)  # type: ignore[arg-type]  # fields by name


REALISTIC = gate(
    OK_ANSWER,
    SLOW,
    FAST,
    OPEN,
    LOST_RATE,
    HEAVY,
    UNEQUAL,
    tests=(BROKEN_TEST, NEW_TEST, SKIPPED_TEST),
    changed=("chat/rope.py", "chat/sampling.py"),
    differences=("transformers: 5.0.0 → 5.24.0", "threads: 2 → 1"),
    notes=("the head was lost in tests/latency/test_chat.py::test_chat: it said nothing for 300 s",),
    pairs=52,
    seconds=168.0,
    stopped_because="time budget of 170 s used after 52 pairs",
    recorded_at="2026-07-02T10:00:00+00:00",
)
