"""Runs every benchmark in turn and keeps what they print as one Markdown file; not what any of them measures.

Each benchmark is a process of its own, and one that fails does not stop the rest. The file is written anew, at once,
after each, so that a run that is interrupted keeps what it has. With `--only` the file's other sections stay.

python benchmarks/run.py [--quick] [--only observer --only import] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llm_latency.core.measurement import write_atomically

HERE = Path(__file__).parent
_PREFIX = "bench_"


def benchmarks(folder: Path, only: Sequence[str]) -> list[Path]:
    """The files to run, by name; raises SystemExit that lists the known ones for a name that is none."""
    known = {path.stem.removeprefix(_PREFIX): path for path in sorted(folder.glob(f"{_PREFIX}*.py"))}
    wanted = [name.removesuffix(".py").removeprefix(_PREFIX) for name in only] or list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"there is no benchmark {', '.join(map(repr, unknown))}; known: {', '.join(known)}")
    return [known[name] for name in known if name in wanted]


def output_of(bench: Path, options: Sequence[str]) -> str:
    """Run one and give its section's text: what it printed, and that it failed where it did."""
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(bench), *options], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        printed, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    lines = [f"`{command(bench, options)}`, {time.monotonic() - begin:.0f} s", "", printed.strip()]
    if process.returncode:
        lines += ["", f"**Failed** with exit code {process.returncode}; what it said stands on the terminal."]
    return "\n".join(lines).rstrip()


def command(bench: Path, options: Sequence[str]) -> str:
    """The command line, as one would type it in the repository."""
    return " ".join(["python", f"{bench.parent.name}/{bench.name}", *options])


def header(*, today: date, device: str, quick: bool) -> str:
    """What ran where."""
    packages = ("torch", "transformers", "numpy", "pytest", "pytest-benchmark", "llm-latency")
    versions = [f"{name} {_version(name)}" for name in packages]
    lines = [
        f"# Benchmarks of {today}, {device}",
        "",
        f"{processor()}, {os.cpu_count()} cores; {platform.system()} {platform.release()}; Python"
        f" {platform.python_version()}; {', '.join(versions)}. Load at the start: {_load()}.",
    ]
    if quick:
        lines += ["", "**Run with `--quick`: a look at what is printed, no figures.**"]
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def processor() -> str:
    """The processor by its own name, where the system tells it."""
    try:
        told = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        told = None
    return told.group(1) if told else platform.processor() or platform.machine()


def device_name() -> str:
    """`cuda` where torch sees a CUDA device, else `cpu`."""
    try:
        import torch
    except ImportError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"


def sections_of(text: str) -> dict[str, str]:
    """The sections of a file that was written before, by the benchmark's name."""
    parts = re.split(rf"^## ({_PREFIX}\w+)\n", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def document(head: str, sections: Mapping[str, str]) -> bytes:
    """The file: the header, then the sections by name."""
    parts = [head, *(f"## {name}\n\n{sections[name]}" for name in sorted(sections))]
    return ("\n\n".join(parts) + "\n").encode()


def run(
    found: Sequence[Path],
    out: Path,
    *,
    head: str,
    options: Sequence[str] = (),
    kept: Mapping[str, str] | None = None,
    execute: Callable[[Path, Sequence[str]], str] = output_of,
) -> list[str]:
    """Run the benchmarks and write after each; `kept` are sections of before. Gives the names of those that failed.

    An option goes to those that have it: `--quick` leaves one without a quick look as it is.
    """
    sections, failed = dict(kept or {}), []
    for number, bench in enumerate(found, start=1):
        print(f"[{number}/{len(found)}] {bench.stem}", file=sys.stderr)
        understood = [option for option in options if f'"{option}"' in bench.read_text(encoding="utf-8")]
        sections[bench.stem] = execute(bench, understood)
        write_atomically(out, document(head, sections))
        print(f"{sections[bench.stem]}\n", flush=True)
        if "**Failed**" in sections[bench.stem]:
            failed.append(bench.stem)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and say where the file lies; 1 where a benchmark failed, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds of each, into a file of its own")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this benchmark; may be repeated")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "measurements", metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    found = benchmarks(HERE, chosen.only)
    today, device = date.today(), device_name()
    chosen.out.mkdir(parents=True, exist_ok=True)
    out = chosen.out / f"{today}-{device}-bench{'-quick' if chosen.quick else ''}.md"
    kept = sections_of(out.read_text(encoding="utf-8")) if chosen.only and out.exists() else {}
    options = ["--quick"] if chosen.quick else []
    try:
        failed = run(
            found, out, head=header(today=today, device=device, quick=chosen.quick), options=options, kept=kept
        )
    except KeyboardInterrupt:
        print(f"interrupted; what was measured until then is in {out}", file=sys.stderr)
        return 130
    print(f"written to {out}" + (f"; failed: {', '.join(failed)}" if failed else ""), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
