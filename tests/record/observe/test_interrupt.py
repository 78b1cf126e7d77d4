"""Ctrl-C at any moment: nothing stays patched or listening, and the calls so far are kept."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

CHAOS = """
import gc, random, signal, sys
import torch, transformers
from llm_latency import measure
from llm_latency.record.observe import attribution, forward, taps

torch.set_num_threads(1)
config = transformers.GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=50, eos_token_id=None, bos_token_id=1)
model = transformers.GPT2LMHeadModel(config).eval()
ids = torch.tensor([[5, 6, 7]])
mixin, criteria, base = transformers.GenerationMixin, transformers.StoppingCriteriaList, transformers.PreTrainedModel


def now():
    return (mixin.__dict__["generate"], mixin.__dict__["_sample"], criteria.__dict__["__call__"],
            base.__dict__.get("__call__"), base.__dict__["from_pretrained"], len(sys.meta_path))


run = lambda: model.generate(ids, max_new_tokens=4, pad_token_id=0)
run()
before, kept, interrupted = now(), 0, 0
generator = random.Random(7)
for attempt in range(150):
    try:
        signal.setitimer(signal.ITIMER_REAL, generator.uniform(0.0002, 0.03))
        measure(run, repeat=1000, warmup=0)
    except KeyboardInterrupt as error:
        interrupted += 1
        kept += hasattr(error, "llm_latency_measurement")
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    assert now() == before, (attempt, now(), before)
    assert "__call__" not in model.__dict__ and not gc.callbacks, attempt
    assert not taps._watching and not attribution._open, attempt
measurement = measure(run, repeat=2, warmup=0)
assert measurement.traces[0].requests[0].row_tokens == (4,)
print(interrupted, kept > 50)
"""


def test_an_interrupt_at_any_moment_leaves_nothing_patched() -> None:
    """150 interrupts at seeded random instants; afterwards the classes are as before and measuring works."""
    pytest.importorskip("transformers")
    signal = pytest.importorskip("signal")
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no interval timer to interrupt with")
    script = "import signal\nsignal.signal(signal.SIGALRM, signal.default_int_handler)\n" + textwrap.dedent(CHAOS)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=180)
    assert "150 True" == done.stdout.strip(), done.stderr[-3000:]
