"""Whole gates as users run them, in a project of their own, and pytest-benchmark's compare-fail on the same work.

Each run is a process: `pytest --latency-base HEAD` on a small repository whose working tree is unchanged, does more
work in each step (+10 %), or takes its sampling from a slower version of an installed package (--latency-base-python).
Its exit code, verdict, pairs and seconds are a line of a file, so that the run can be stopped and goes on. Beside it
two runs of pytest-benchmark on the same call, the second with --benchmark-compare-fail at 5 % of the mean, the median
and the minimum.

python benchmarks/bench_gate_live.py [--runs 8] [--minutes 60] [--out docs/measurements/gate-live.jsonl] [--quick]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench_gate import read
from gates import CONDITIONS, told
from neighbours import burning

_PACKAGE = '''"""Answers of a small GPT-2 shape."""

import sampling
import torch
import transformers

torch.set_num_threads(1)


def load():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2, n_embd=256, n_head=4, vocab_size=1000, eos_token_id=None, bos_token_id=1
    )
    return transformers.GPT2LMHeadModel(config).eval()


def answer(model):
    ids = torch.arange(5, 53).reshape(1, 48)
    return model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, pad_token_id=0,
        logits_processor=[more],
    )


def more(ids, scores):
    sampling.step()
    one = torch.full((48, 48), 0.01)
    for _ in range(PRODUCTS):
        torch.mm(one, one)
    return scores


PRODUCTS = 0
'''
_TESTS = """import answers
import pytest


@pytest.fixture(scope="module")
def model():
    return answers.load()


@pytest.mark.latency_budget(max_slowdown="5%")
def test_answer(llmtime, model):
    llmtime(lambda: answers.answer(model))
"""
_RIVAL = """import answers


def test_answer(benchmark):
    model = answers.load()
    answers.answer(model)
    benchmark(answers.answer, model)
"""
_SAMPLING = '''"""Version {version} of an installed package that each step calls."""


def step():
    total = 0
    for number in range({additions}):
        total += number & 7
    return total
'''
KINDS = ("unchanged", "step +10%", "dependency +10%")
RIVAL = "pytest-benchmark"
_FIELDS = ("mean", "median", "min")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8, help="whole gates of each kind and condition")
    parser.add_argument("--rivals", type=int, default=30, help="pairs of runs of pytest-benchmark, each condition")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this long")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/gate-live.jsonl"))
    parser.add_argument("--quick", action="store_true", help="one gate, one pair of runs, into a temporary file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.quick:
            out = Path(folder) / "live.jsonl"
            project = Project(Path(folder), calibration=(20, 2000))
            _append(out, gate(project, "unchanged", "quiet"))
            _append(out, rival(project, "quiet"))
            print("\n".join(report(read(out))))
            return
        with suppress(KeyboardInterrupt):
            record(given.out, Path(folder), runs=given.runs, rivals=given.rivals, seconds=60 * given.minutes)
    print("\n".join(report(read(given.out))))


def record(file: Path, folder: Path, *, runs: int, rivals: int, seconds: float) -> None:
    """Append runs to the file, going round the conditions, until there are enough or the time is over."""
    end = time.monotonic() + seconds
    file.parent.mkdir(parents=True, exist_ok=True)
    known = next((row["calibration"] for row in read(file) if "calibration" in row), None)
    project = Project(folder, calibration=known)
    if known is None:
        _append(file, {"calibration": project.calibration})
    wanted = [
        (condition, kind, max(1, runs // 2) if kind == KINDS[2] else rivals if kind == RIVAL else runs)
        for condition in CONDITIONS
        for kind in (*KINDS, RIVAL)
    ]
    while time.monotonic() < end:
        rows = read(file)
        have = [sum(r.get("condition") == c and r.get("kind") == k for r in rows) for c, k, _ in wanted]
        shares = [count / want for count, (_, _, want) in zip(have, wanted, strict=True)]
        if min(shares) >= 1:
            return
        condition, kind, _ = wanted[shares.index(min(shares))]
        with burning(CONDITIONS[condition]):
            _append(file, rival(project, condition) if kind == RIVAL else gate(project, kind, condition))


class Project:
    """A small repository, and two environments that differ in the version of one package."""

    def __init__(self, folder: Path, *, calibration: Sequence[int] | None) -> None:
        """Write it and commit it; `calibration` is how many products and additions a step make +10 %."""
        self.folder = folder / "project"
        (self.folder / "tests").mkdir(parents=True)
        (self.folder / "answers").mkdir()
        self.write(products=0)
        (self.folder / "tests" / "test_answers.py").write_text(_TESTS)
        (self.folder / "rival_answers.py").write_text(_RIVAL)
        (self.folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
        for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "base")):
            who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
            subprocess.run(["git", *who, *command], cwd=self.folder, check=True)
        self.pythons = {version: self._environment(folder, version, additions=0) for version in ("1.0", "2.0")}
        self.calibration = list(calibration or self._calibrated())
        self._environment(folder, "2.0", additions=self.calibration[1])

    def write(self, *, products: int) -> None:
        """The package as the working tree has it."""
        text = _PACKAGE.replace("PRODUCTS = 0", f"PRODUCTS = {products}")
        (self.folder / "answers" / "__init__.py").write_text(text)

    def _environment(self, folder: Path, version: str, *, additions: int) -> Path:
        """An environment that finds everything of this one, and a package of its own."""
        place = folder / f"with-{version}"
        python = place / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        site = next((place / "lib").iterdir()) / "site-packages"
        ours = [entry for entry in sys.path if entry.endswith("site-packages") or Path(entry, "llm_latency").is_dir()]
        plugin = Path(__import__("pytest_llm_latency").__file__).parent.parent
        (site / "others.pth").write_text("\n".join([*ours, str(plugin)]) + "\n")
        (site / "sampling.py").write_text(_SAMPLING.format(version=version, additions=additions))
        metadata = site / f"sampling-{version}.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sampling\nVersion: {version}\n")
        return python

    def _calibrated(self) -> tuple[int, int]:
        """Products and additions a step that lengthen a call by a tenth, timed in a process of their own."""
        program = (
            "import sys, time; sys.path.insert(0, sys.argv[1]); import answers, torch; m = answers.load()\n"
            "def timed(f, n=40):\n  f(); ts = []\n"
            "  for _ in range(n):\n    t = time.perf_counter(); f(); ts.append(time.perf_counter() - t)\n"
            "  return sorted(ts)[n // 4]\n"
            "whole = timed(lambda: answers.answer(m))\n"
            "answers.PRODUCTS = 100; more = timed(lambda: answers.answer(m)); answers.PRODUCTS = 0\n"
            "def add():\n  t = 0\n  for n in range(20000):\n    t += n & 7\n"
            "print(round(0.1 * whole / ((more - whole) / 100)), round(0.1 * whole / 8 / (timed(add) / 20000)))"
        )
        done = subprocess.run(
            [self.pythons["1.0"], "-c", program, self.folder], capture_output=True, text=True, check=True
        )
        products, additions = done.stdout.split()
        return int(products), int(additions)


def gate(project: Project, kind: str, condition: str) -> dict[str, Any]:
    """One whole gate: what the user sees of it."""
    project.write(products=project.calibration[0] if kind == "step +10%" else 0)
    report = project.folder / "gate.json"
    report.unlink(missing_ok=True)
    head = "2.0" if kind == "dependency +10%" else "1.0"
    options = ["--latency-base", "HEAD", "--latency-report", str(report), "-p", "no:cacheprovider", "-q"]
    options += [f"--latency-base-python={project.pythons['1.0']}"] if kind == "dependency +10%" else []
    begin = time.monotonic()
    done = subprocess.run(
        [project.pythons[head], "-m", "pytest", *options],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.monotonic() - begin
    if not report.exists():
        raise SystemExit(f"a gate ended with {done.returncode} and without a report:\n{done.stdout}\n{done.stderr}")
    found = json.loads(report.read_text())
    return {
        "condition": condition,
        "kind": kind,
        "exit": done.returncode,
        "word": found["word"],
        "pairs": found["pairs"],
        "seconds": round(took, 1),
        "slowdown": [found["answers"][0][key] for key in ("slowdown", "low", "high")],
    }


def rival(project: Project, condition: str) -> dict[str, Any]:
    """Two runs of pytest-benchmark on unchanged code, and which of its fields the second calls slower by 5 %."""
    project.write(products=0)
    with tempfile.TemporaryDirectory() as storage:
        command = [project.pythons["1.0"], "-m", "pytest", "rival_answers.py", "-q", "-p", "no:cacheprovider"]
        command += [f"--benchmark-storage=file://{storage}", "--benchmark-min-rounds=20", "--benchmark-save=run"]
        subprocess.run(command, cwd=project.folder, capture_output=True, check=True)
        begin = time.monotonic()
        subprocess.run(command, cwd=project.folder, capture_output=True, check=True)
        took = time.monotonic() - begin
        runs = sorted(Path(storage).rglob("*.json"))
        stats = [json.loads(run.read_text())["benchmarks"][0]["stats"] for run in runs]
    ratios = {field: stats[1][field] / stats[0][field] for field in _FIELDS}
    return {"condition": condition, "kind": RIVAL, "ratios": ratios, "seconds": round(took, 1)}


def _append(file: Path, row: dict[str, Any]) -> None:
    with file.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def report(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What whole gates said, how long they took, and what pytest-benchmark's rule says about unchanged code."""
    yield "| condition | code | gates | ok | TOO SLOW | UNDECIDED | pairs, median | seconds, median [least, most] |"
    yield "|" + " --- |" * 8
    for condition in CONDITIONS:
        for kind in KINDS:
            own = [row for row in rows if row.get("condition") == condition and row.get("kind") == kind]
            if not own:
                continue
            words = [
                told(sum(row["word"] == word for row in own), len(own)) for word in ("ok", "TOO SLOW", "UNDECIDED")
            ]
            seconds = sorted(row["seconds"] for row in own)
            pairs = sorted(row["pairs"] for row in own)[len(own) // 2]
            times = f"{seconds[len(own) // 2]:.0f} [{seconds[0]:.0f}, {seconds[-1]:.0f}]"
            yield f"| {condition} | {kind} | {len(own)} | {' | '.join(words)} | {pairs} | {times} |"
    yield ""
    yield "| condition | pytest-benchmark, unchanged code called slower by its | mean | median | min | s a run |"
    yield "|" + " --- |" * 6
    for condition in CONDITIONS:
        own = [row for row in rows if row.get("condition") == condition and row.get("kind") == RIVAL]
        if own:
            wrong = [told(sum(row["ratios"][field] > 1.05 for row in own), len(own)) for field in _FIELDS]
            seconds = sorted(row["seconds"] for row in own)[len(own) // 2]
            yield f"| {condition} | {len(own)} pairs of runs | {' | '.join(wrong)} | {seconds:.1f} |"


if __name__ == "__main__":
    main()
