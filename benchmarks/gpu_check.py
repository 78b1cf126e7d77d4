"""Everything that needs an NVIDIA GPU, in one command: the suite's GPU tests, then facts about what is measured there.

python benchmarks/gpu_check.py [--out FOLDER] [--device cuda|cpu] [--facts a,b]

Each fact runs in a process of its own with a limit. With `--device cpu` this is a rehearsal without a GPU: the same
code runs as far as it can, in this process, and no figure is a GPU's. Ends with 0, 1 where a fact failed, 2 where
nothing could be looked at.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
NEEDED = ("torch", "transformers", "numpy", "msgspec", "rich", "pytest", "llm_latency", "pytest_llm_latency")
# Eight minutes in all, of which the last are for writing it down.
MOST_S, TESTS_S, LEAST_S = 470.0, 90.0, 15.0


def main(arguments: list[str] | None = None) -> int:
    """Parse, look, write, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, help="folder for DATE-gpu.json and DATE-gpu.md; without it nothing is written"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal")
    parser.add_argument("--facts", help="only these, separated by commas")
    parser.add_argument("--fact", help=argparse.SUPPRESS)  # in a process of its own: one, as JSON
    options = parser.parse_args(arguments)
    began = time.monotonic()
    if (why := _impossible(options.device, options.out)) is not None:
        print(f"gpu-check: {why}", file=sys.stderr)
        return 2

    import msgspec
    from gpu.fact import Fact, Setting, skipped
    from gpu.facts import FACTS, look
    from gpu.process import run_fact, run_tests
    from gpu.record import markdown, record, write

    setting = Setting(device=options.device)
    if options.fact:
        print(msgspec.json.encode(look(options.fact, setting)).decode())
        return 0
    names = options.facts.split(",") if options.facts else [*FACTS]
    if unknown := [name for name in names if name not in FACTS]:
        print(f"gpu-check: there is no fact {unknown[0]!r}; known: {', '.join(FACTS)}", file=sys.stderr)
        return 2
    found: list[Fact] = []
    if not options.facts:
        found.append(run_tests(most_s=TESTS_S))
        _say(found[-1])
    for name in names:
        left_s = MOST_S - (time.monotonic() - began)
        if setting.is_rehearsal:
            found.append(look(name, setting))
        elif left_s < LEAST_S:
            found.append(skipped(name, "no time was left of the eight minutes"))
        else:
            command = [sys.executable, __file__, "--device", options.device, "--fact", name]
            found.append(run_fact(command, name=name, most_s=min(left_s, FACTS[name].most_s)))
        _say(found[-1])
    whole = record(tuple(found), setting)
    if options.out is None:
        print(f"\n{markdown(whole)}")
    else:
        print("written:", *write(whole, options.out))
    return 1 if whole.failed else 0


def _impossible(device: str, out: Path | None) -> str | None:
    """Why nothing can be looked at, in a sentence, or None."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"{sys.executable} lacks {', '.join(missing)}; name a Python that has them (make gpu-check PYTHON=…), or"
            " pip install them there. llm_latency and pytest_llm_latency are found with PYTHONPATH=.:pytest_plugin"
        )
    if device == "cpu":
        measurements = REPOSITORY / "docs" / "measurements"
        if out is not None and out.resolve() == measurements:
            return f"a rehearsal's figures are no GPU's and do not go into {measurements}; name another --out"
        return None
    import torch

    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} sees no CUDA device here; run this on a machine with an NVIDIA GPU, or rehearse"
            " it with --device cpu"
        )
    return None


def _say(fact: Any) -> None:
    print(f"{fact.outcome:8} {fact.name}{': ' if fact.words else ''}{fact.words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
