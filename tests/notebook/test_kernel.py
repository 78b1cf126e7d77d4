"""The magic in a real kernel, with real models: what a reader of the notebook sees."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llm_latency.core.measurement import Measurement, from_json
from tests.notebook.conftest import Kernel, texts

pytestmark = pytest.mark.slow

MODEL = """
import torch, transformers
torch.manual_seed(0)
config = transformers.GPT2Config(
    n_layer=2, n_embd=32, n_head=2, n_positions=128, vocab_size=120, bos_token_id=1, eos_token_id=None
)
model = transformers.GPT2LMHeadModel(config).eval()
ids = torch.arange(2, 9)[None]
kept = dict(max_new_tokens=4, min_new_tokens=4, do_sample=False, pad_token_id=0)
"""


def errors(cell: Any) -> list[str]:
    """Names of the errors that a cell shows."""
    return [output.ename for output in cell.outputs if output.output_type == "error"]


def traceback(cell: Any) -> str:
    """The traceback that a cell shows, without colours."""
    (error,) = [output for output in cell.outputs if output.output_type == "error"]
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))


def measured(cell: Any) -> Measurement:
    """The measurement in a cell's metadata."""
    (output,) = [output for output in cell.outputs if "llm_latency" in output.get("metadata", {})]
    return from_json(json.dumps(output["metadata"]["llm_latency"]))


@pytest.fixture(scope="module")
def models(kernel: Kernel) -> Kernel:
    """The kernel with a small GPT-2 in it; `first` is the cell that imported torch and transformers, timed."""
    assert [] == errors(kernel.run("import sys; assert not {'torch', 'transformers'} & set(sys.modules)"))
    kernel.first = kernel.run(f"%%llmtime\n{MODEL}\nout = model.generate(ids, **kept)")
    return kernel


def test_transformers_may_be_imported_inside_of_the_timed_cell(models: Kernel) -> None:
    """The first import of torch and transformers, the model and its generate all in one cell: it is seen."""
    assert [] == errors(models.first)
    (request,) = measured(models.first).traces[0].requests
    assert ("generate", 7, 4, "GPT2LMHeadModel") == (
        request.kind,
        request.prompt_tokens,
        request.new_tokens,
        request.model,
    )


def test_the_output_is_text_html_and_metadata(models: Kernel) -> None:
    """One display_data, its metadata the measurement; Out holds the cell's own value."""
    cell = models.run("%%llmtime\nout = model.generate(ids, **kept)\nout.shape")
    (text,), (html,) = texts(cell), texts(cell, mime="text/html")
    assert "GPT2LMHeadModel" in text
    assert "7 prompt + 4 new tokens" in text
    assert "ttft" in text
    assert "<table>" in html
    assert ["torch.Size([1, 11])"] == texts(cell, "execute_result")
    assert cell.execution_count == next(o for o in cell.outputs if o.output_type == "execute_result").execution_count
    assert 4 == measured(cell).traces[0].new_tokens


def test_repetition_shows_the_interval(models: Kernel) -> None:
    """A first call apart, then seven counted ones with an interval."""
    cell = models.run("%%llmtime -r 7 -w 1 -v m --name '<script>alert(1)</script>'\nmodel.generate(ids, **kept);")
    measurement = measured(cell)
    assert (7, 1, True) == (len(measurement.traces), len(measurement.warmup), measurement.cold is not None)
    assert "95 % interval" in texts(cell)[0]
    assert "<script" not in texts(cell, mime="text/html")[0]
    assert [] == texts(cell, "execute_result")
    assert ["True"] == texts(models.run("m.ttft.p50 < '10 s'"), "execute_result")


def test_top_level_await_works(models: Kernel) -> None:
    """Once and repeated, also where the model runs in another thread."""
    code = "import asyncio\nout = await asyncio.to_thread(model.generate, ids, **kept)\nout.shape[1]"
    for options, calls in (("", 1), ("-r 2 -w 0", 2)):
        cell = models.run(f"%%llmtime {options}\n{code}")
        assert ["11"] == texts(cell, "execute_result")
        assert [4] * calls == [trace.new_tokens for trace in measured(cell).traces]


def test_an_exception_keeps_its_line_and_the_partial_result(models: Kernel) -> None:
    """The table comes first, then the error at the line that the user sees."""
    cell = models.run("%%llmtime -r 2\n\nout = model.generate(ids, **kept)\nout.nowhere")
    assert ["display_data", "error"] == [output.output_type for output in cell.outputs]
    assert ["AttributeError"] == errors(cell)
    assert re.search(r"Cell In\[\d+\], line 4", traceback(cell))
    assert "----> 4 out.nowhere" in traceback(cell)
    assert "llm_latency/" not in traceback(cell)
    assert "PARTIAL: AttributeError in the first call" in texts(cell)[0]
    assert (False, 4) == (measured(cell).complete, measured(cell).traces[0].new_tokens)


def test_an_exception_in_await_keeps_its_line(models: Kernel) -> None:
    """The same in a cell that awaits."""
    cell = models.run("%%llmtime\nimport asyncio\nawait asyncio.sleep(0)\n1 / 0")
    assert "----> 4 1 / 0" in traceback(cell)
    assert "PARTIAL" in texts(cell)[0]


ENDLESS = """%%llmtime -v m
import pathlib
class Slow(transformers.LogitsProcessor):
    def __call__(self, ids, scores):
        if ids.shape[1] == 10:
            pathlib.Path({when!r}).touch()
            while True: pass
        return scores
out = model.generate(ids, logits_processor=[Slow()], **kept)
after = 1
"""


def test_an_interrupt_keeps_the_tokens_so_far(models: Kernel, tmp_path: Path) -> None:
    """The partial table, then KeyboardInterrupt; what follows in the cell does not run, and the next cell does."""
    when = tmp_path / "busy"
    cell = models.run_and_interrupt(ENDLESS.format(when=str(when)), when=when)
    assert ["display_data", "error"] == [output.output_type for output in cell.outputs]
    assert ["KeyboardInterrupt"] == errors(cell)
    assert "PARTIAL: KeyboardInterrupt in the first call" in texts(cell)[0]
    # Three of four tokens: at length 10 three are there, and the fourth's logits are being processed.
    assert 3 == measured(cell).traces[0].requests[0].positions
    assert ["(False, False)"] == texts(models.run("'after' in globals(), m.complete"), "execute_result")
    assert 4 == measured(models.run("%%llmtime\nmodel.generate(ids, **kept);")).traces[0].new_tokens


def test_an_interrupt_of_a_repetition_keeps_the_calls_so_far(models: Kernel, tmp_path: Path) -> None:
    """Two calls were counted before the third was broken off."""
    when = tmp_path / "busy"
    models.run("n = 0")
    code = f"""%%llmtime -r 9 -w 0
import pathlib, time
n += 1
model.generate(ids, **kept)
if n == 3:
    pathlib.Path({str(when)!r}).touch()
    time.sleep(60)
"""
    cell = models.run_and_interrupt(code, when=when)
    assert ["KeyboardInterrupt"] == errors(cell)
    assert "PARTIAL: KeyboardInterrupt after 2 counted calls" in texts(cell)[0]


def test_an_interrupted_await_keeps_its_partial_result(models: Kernel, tmp_path: Path) -> None:
    """ipykernel cancels the task of a cell that awaits, at its next await: the error is its CancelledError."""
    when = tmp_path / "busy"
    code = f"%%llmtime\nimport asyncio, pathlib\npathlib.Path({str(when)!r}).touch()\n"
    code += "for _ in range(600): await asyncio.sleep(0.1)"
    cell = models.run_and_interrupt(code, when=when)
    assert "display_data" == cell.outputs[0].output_type
    assert "PARTIAL: CancelledError in the first call" in texts(cell)[0]


def test_a_streaming_thread_is_one_generate(models: Kernel) -> None:
    """The user's own Thread with a streamer: seen as the generate that it is, its tokens when they came."""
    code = """%%llmtime -r 3 -w 0
import threading
class Letters:
    def decode(self, ids, **_):
        return "".join(chr(97 + int(i) % 26) + " " for i in ids)
streamer = transformers.TextIteratorStreamer(Letters(), skip_prompt=True)
thread = threading.Thread(target=model.generate, args=(ids,), kwargs=dict(streamer=streamer, **kept))
thread.start()
text = "".join(streamer)
thread.join()
len(text)
"""
    cell = models.run(code)
    assert [] == errors(cell)
    assert ["8"] == texts(cell, "execute_result")
    assert [("generate", 4)] * 3 == [(r.kind, r.new_tokens) for t in measured(cell).traces for r in t.requests]


def test_a_module_of_the_users_own_is_seen(models: Kernel) -> None:
    """A forward of a torch module in the namespace is a request, in the line form too."""
    models.run("class Net(torch.nn.Module):\n    def forward(self, x): return x + 1\nnet = Net()")
    cell = models.run("%llmtime -r 2 -w 0 net(torch.ones(1, 4)).shape")
    assert ["torch.Size([1, 4])"] == texts(cell, "execute_result")
    assert [("forward", "Net")] * 2 == [(r.kind, r.model) for t in measured(cell).traces for r in t.requests]


def test_watching_an_encoder_writes_nothing(models: Kernel) -> None:
    """Looking for a cache in the output must not make transformers warn the user of a name that only we asked for."""
    sizes = "num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=32, vocab_size=120"
    models.run(f"bert = transformers.BertModel(transformers.BertConfig({sizes})).eval()")
    cell = models.run("%%llmtime\nout = bert(input_ids=ids)")
    assert ["display_data"] == [output.output_type for output in cell.outputs]
    assert "forward · BertModel · 1 row · 7 prompt tokens" in texts(cell)[0]


def test_a_lazy_pipeline_is_not_consumed(models: Kernel) -> None:
    """A pipeline over a generator returns at once: words, and the pipeline's items still to come."""
    models.run(
        """
class Echo(transformers.Pipeline):
    ran = []
    def _sanitize_parameters(self, **kwargs): return {}, {}, {}
    def preprocess(self, item): self.ran.append(item); return {"input_ids": ids}
    def _forward(self, inputs): return self.model(**inputs)
    def postprocess(self, outputs): return outputs.logits.shape[-1]
pipe = Echo(model=model, device=-1)
"""
    )
    cell = models.run("%%llmtime\nresults = pipe(item for item in 'ab')\nlen(pipe.ran)")
    assert ["0"] == texts(cell, "execute_result")
    assert "has run nothing yet" in texts(cell)[0]
    assert "µs" not in texts(cell)[0]
    assert ["[120, 120]"] == texts(models.run("list(results)"), "execute_result")
    assert "forward" in texts(models.run("%%llmtime\nx = list(pipe(item for item in 'ab'))"))[0]


def test_an_input_that_grows_is_noticed(models: Kernel) -> None:
    """`ids = generate(ids)` repeated is unequal work: repeating stops, the first call stays, the reason is said."""
    cell = models.run("%%llmtime -r 5\ngrown = model.generate(globals().get('grown', ids), **kept)\ngrown.shape[1]")
    assert ["15"] == texts(cell, "execute_result")
    assert "prompt tokens went from 7 to 11" in texts(cell)[0]
    assert 1 == len(measured(cell).traces)


def test_nesting_and_unloading(models: Kernel) -> None:
    """%%capture and %%time in a kernel; after %unload_ext nothing of ours is left, and loading again works."""
    models.run("%%capture got\n%%llmtime\nprint('hi')\nout = model.generate(ids, **kept)")
    assert ["('hi\\n', True)"] == texts(
        models.run("got.stdout, 'llm_latency' in got.outputs[0].metadata"), "execute_result"
    )
    cell = models.run("%%time\n%%llmtime\n1 + 1")
    assert ["display_data", "stream", "execute_result"] == [output.output_type for output in cell.outputs]
    models.run("%unload_ext llm_latency")
    left = models.run("[n for n in dir() if 'llmtime' in n], get_ipython().find_cell_magic('llmtime')")
    assert ["([], None)"] == texts(left, "execute_result")
    assert "not found" in models.run("%%llmtime\n1").outputs[0].text
    models.run("%load_ext llm_latency")
    assert ["2"] == texts(models.run("%%llmtime\n1 + 1"), "execute_result")


def test_run_cell_magic_works_in_a_kernel(models: Kernel) -> None:
    """What an exported notebook calls, with a real generate."""
    cell = models.run(
        "get_ipython().run_cell_magic('llmtime', '-r 2 -w 0', 'o = model.generate(ids, **kept)\\no.shape')"
    )
    assert ["torch.Size([1, 11])"] == texts(cell, "execute_result")
    assert [4, 4] == [trace.new_tokens for trace in measured(cell).traces]


def test_wrong_use_is_one_line_in_a_kernel(models: Kernel) -> None:
    """A usage error is a line on stderr, and the cell does not run."""
    cell = models.run("%%llmtime --frob\nfrobbed = 1")
    assert [("stderr", True)] == [
        (o.name, o.text.startswith("UsageError: %llmtime has no option")) for o in cell.outputs
    ]
    assert ["False"] == texts(models.run("'frobbed' in globals()"), "execute_result")


def test_help_is_paged(models: Kernel) -> None:
    """`%%llmtime?` answers with the documentation and runs nothing."""
    assert [] == errors(models.run("%%llmtime?"))
