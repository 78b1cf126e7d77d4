"""A live view over a real CUDA device: what a look takes is no time of the call; not what is shown."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import pytest

from llm_latency.core.measurement import Measurement
from llm_latency.record.sampling import Plan, Progress
from llm_latency.record.timed import timed
from llm_latency.record.view import Moment

pytestmark = pytest.mark.gpu

_LOOK_S = 0.03


class Slow:
    """A view whose every look takes 30 ms, at most ten times a second."""

    period_ns = 100_000_000

    def __init__(self) -> None:
        self.looks = 0

    def begin(self, name: str, plan: Plan) -> None:
        """Begin nothing."""

    def follow(self, progress: Progress | None) -> None:
        """Follow nothing."""

    def look(self, moment: Moment) -> None:
        """Take a while."""
        self.looks += 1
        time.sleep(_LOOK_S)

    def end(self, measurement: Measurement | None, error: BaseException | None) -> None:
        """Keep nothing."""


def test_a_slow_look_is_no_time_of_the_call(torch: Any) -> None:
    """With looks of 30 ms a call of some seconds takes as long as without."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=12, n_embd=768, n_head=12, n_positions=512, eos_token_id=None)
    model = transformers.GPT2LMHeadModel(config).eval().to("cuda")
    ids = torch.arange(2, 66, device="cuda")[None]
    kept = {"max_new_tokens": 200, "min_new_tokens": 200, "do_sample": False, "pad_token_id": 0}

    def run(view: Slow | None) -> Measurement:
        with timed("generate", view=view) as watched:
            model.generate(ids, **kept)
        return watched.measurement

    run(None)
    plain, looked, view = [], [], Slow()
    for _ in range(3):
        plain.append(run(None))
        looked.append(run(view))
    assert view.looks >= 6
    totals = [median(m.total.values[0] for m in measured) for measured in (plain, looked)]
    assert totals[1] / totals[0] == pytest.approx(1.0, abs=0.15)
