"""What the live view costs the call that it shows, what `%load_ext` costs, and how late a browser is.

In a real kernel a GPT-2 shape generates with a live widget that is updated five times a second. *An update* is how long
the call's clock stood still for one; *the step behind it* is the first gap after an update beside the other gaps of the
same call; *its share* is all updates of a call of some 30 s, beside its time. `%load_ext` runs in fresh processes, in
random order within each round, beside pyinstrument's. The browser is a headless Chromium on the same machine, so that
both ends read one clock: from the message's making in the kernel to the drawn page.

python benchmarks/bench_live.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from rounds import measured, middle, milliseconds, more

GOALS = {"update": 0.6e-3, "step": 30e-6, "share": 0.006}
MODEL = """
import torch, transformers
torch.manual_seed(0); torch.set_num_threads(1)
config = transformers.GPT2Config(
    n_layer=4, n_embd=512, n_head=8, n_positions={positions}, vocab_size=5000, bos_token_id=1, eos_token_id=None
)
model = transformers.GPT2LMHeadModel(config).eval()
ids = torch.arange(2, 66)[None]
kept = dict(min_new_tokens=1, do_sample=False, pad_token_id=0)
"""
# Paired within a call: the gap after an update less the median of the gaps that follow none.
CALL = """
import json, statistics
from llm_latency.record.timed import timed
from llm_latency.notebook.live import live
with timed("bench", view=live("widget")) as watched:
    model.generate(ids, max_new_tokens={tokens}, **kept)
(trace,) = watched.measurement.traces
(request,) = trace.requests
(note,) = [note for note in trace.annotations if note.kind == "view"]
instants = [at for at, _ in request.emissions]
updates = [end - begin for begin, end in trace.pauses[1:]]  # the first is our reading at the first emission
after, other = [], []
for before, now in zip(instants[1:], instants[2:]):
    gap = trace.elapsed_ns(before, now)
    (after if now - before - gap > 50_000 else other).append(gap)
quiet = statistics.median(other)
print(json.dumps(dict(
    updates=updates, behind=[gap - quiet for gap in after], step=quiet, count=int(note.detail),
    spent=note.duration_ns, seconds=trace.elapsed_ns(trace.start_ns, trace.stop_ns) / 1e9,
)))
"""
LOAD = """
import sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
begin = time.process_time()
shell.run_line_magic("load_ext", {name!r})
seconds = time.process_time() - begin
heavy = {{"torch", "transformers", "numpy", "anywidget", "ipywidgets", "pandas", "matplotlib", "rich"}}
print("\\n", seconds, len(set(sys.modules) - before), ",".join(sorted(heavy & (set(sys.modules) - before))) or "none")
"""
NOTHING, OURS, THEIRS = "storemagic", "llm_latency", "pyinstrument"


def in_kernel(calls: int, tokens: int) -> list[dict[str, Any]]:
    """Run so many generate calls with a live widget in a kernel of their own."""
    sources = [MODEL.format(positions=tokens + 66), *[CALL.format(tokens=tokens)] * (calls + 1)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=600).execute()
    printed = ["".join(o.text for o in cell.outputs if o.get("name") == "stdout") for cell in notebook.cells[2:]]
    return [json.loads(text.splitlines()[-1]) for text in printed]


def load_seconds(name: str) -> float:
    """CPU seconds of `%load_ext NAME` in a fresh process."""
    return float(_loaded(name).split()[0])


def _loaded(name: str) -> str:
    environment = os.environ | {"IPYTHONDIR": tempfile.gettempdir() + "/bench-live-ipython"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-Ic", LOAD.format(name=name)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[-1]


def in_browser(tokens: int) -> list[float]:
    """Milliseconds from kernel to page, for each update of one generate that the page drew."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.notebook.lab import browsing, serving

    with tempfile.TemporaryDirectory() as home, serving(Path(home)) as lab, browsing() as tab:
        cell = f"%%llmtime\nout = model.generate(ids, max_new_tokens={tokens}, **kept)"
        lab.write("bench.ipynb", "%load_ext llm_latency\n" + MODEL.format(positions=tokens + 66), cell)
        tab.open(lab, "bench.ipynb")
        tab.run(0)
        tab.page.evaluate(
            """() => { window.lags = [];
                const seen = new MutationObserver((found) => {
                    for (const change of found) window.lags.push(Number(change.target.dataset.lag)); });
                seen.observe(document.body, {subtree: true, attributes: true, attributeFilter: ['data-ticks']}); }"""
        )
        tab.run(1)
        return [float(lag) for lag in tab.page.evaluate("window.lags")]


def micro(values: list[float]) -> str:
    """Median of nanoseconds as microseconds, with its interval."""
    summary = middle(values)
    ends = "–" if summary.low is None or summary.high is None else f"{summary.low / 1e3:.0f}, {summary.high / 1e3:.0f}"
    return f"{summary.center / 1e3:.0f} µs [{ends}]"


def report_kernel(calls: list[dict[str, Any]]) -> Iterator[str]:
    """The costs of short calls, and of a long one, the last."""
    *short, long = calls
    updates = [ns for call in short for ns in call["updates"]]
    behind = [ns for call in short for ns in call["behind"]]
    steps = middle([call["step"] for call in short]).center / 1e6
    share = long["spent"] / 1e9 / long["seconds"]
    yield f"{len(short)} generate calls with a live widget, {steps:.2f} ms a step; medians [95 %].\n"
    yield "| what | measured | goal | n |\n| --- | --- | --- | --- |"
    yield f"| an update | {micro(updates)} | ≤ {GOALS['update'] * 1e6:.0f} µs | {len(updates):,} |"
    p95 = sorted(updates)[int(0.95 * len(updates))] / 1e3
    yield f"| an update, p95 | {p95:.0f} µs | – | {len(updates):,} |"
    step = f"≤ {GOALS['step'] * 1e6:.0f} µs"
    yield f"| the step behind it, more than others | {micro(behind)} | {step} | {len(behind):,} |"
    yield (
        f"| its share of a call of {long['seconds']:.1f} s, {long['count'] / long['seconds']:.1f} updates a second |"
        f" {share:.2%} | ≤ {GOALS['share']:.1%} | {long['count']} updates |"
    )


def report_load(seconds: dict[str, list[float]], imported: dict[str, str]) -> Iterator[str]:
    """`%load_ext` beside pyinstrument's."""
    rounds = len(seconds[OURS])
    yield f"\nCPU time of `%load_ext` in a fresh process, {rounds} rounds in random order; medians [95 %].\n"
    yield "| extension | time | new modules | heavy ones among them |\n| --- | --- | --- | --- |"
    for name, values in seconds.items():
        _, modules, heavy = imported[name].split()
        yield f"| {name} | {milliseconds(middle(values))} | {modules} | {heavy} |"
    yield f"\nOurs less pyinstrument's in the same round: {milliseconds(more(seconds[OURS], seconds[THEIRS]))}."


def report_browser(lags: list[float]) -> Iterator[str]:
    """How late the page is."""
    if not lags:
        yield "\nNo update was drawn in a browser."
        return
    found = middle([lag / 1e3 for lag in lags])
    yield f"\nKernel to drawn page: {milliseconds(found)}, slowest {max(lags):.0f} ms, n = {len(lags)} updates."


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few calls: a look, not a figure")
    arguments = parser.parse_args()
    calls, rounds, long = (2, 5, 900) if arguments.quick else (arguments.calls, arguments.rounds, 4_000)
    found = in_kernel(calls, 400) + in_kernel(1, long)[-1:]
    print("\n".join(report_kernel(found)), flush=True)
    loads = measured((NOTHING, OURS, THEIRS), load_seconds, rounds=rounds, seed=arguments.seed)
    imported = {name: _loaded(name) for name in loads}
    print("\n".join(report_load(loads, imported)), flush=True)
    print("\n".join(report_browser(in_browser(900))))


if __name__ == "__main__":
    main()
