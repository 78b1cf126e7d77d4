"""How often the merge gate is right: unchanged code, and slowdowns that are planted, quiet and beside busy neighbours.

Pairs of fresh processes are recorded in blocks that go round the conditions, each pair with a test of unchanged code
and three of four also with one of +6 % and one of +10 %, of a kind that changes from pair to pair. Every pair is a
line of a file, so that the run can be stopped and goes on where it was; with `--minutes` it stops by itself. From the
pairs of each kind of test, in their order of time, gates are formed one after the other by the gate's own rule, each of
pairs that no other has. Beside that the rule alone, simulated. `bench_gate_live.py` runs whole gates, and
pytest-benchmark's.

python benchmarks/bench_gate.py [--pairs 300] [--minutes 60] [--out docs/measurements/gate-pairs.jsonl] [--quick]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gates import CONDITIONS, told, wilson
from neighbours import burning, busy_seconds

from llm_latency.core.verdict import FAIL, PASS
from llm_latency.gate.decision import Rule, decide
from llm_latency.gate.pair import SIDES, Rounds
from llm_latency.gate.process import Launcher
from llm_latency.gate.ratio import ratio
from llm_latency.gate.selftest.rates import simulated
from llm_latency.gate.selftest.selftest import job, launched
from llm_latency.gate.sides import Sides
from llm_latency.workloads.planted import Plant, calibrated, planted_call

LIMIT = 0.05
PLANTS = ("step", "prefill", "python", "copy", "leak")
SHARES = (0.06, 0.10)
BLOCK = 10


def main() -> None:
    """Record what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=300, help="pairs of each condition")
    parser.add_argument("--only", action="append", choices=tuple(CONDITIONS), help="record this condition; repeatable")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop recording after this long")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/gate-pairs.jsonl"))
    parser.add_argument("--quick", action="store_true", help="two pairs of each condition, into a temporary file")
    given = parser.parse_args()
    if given.quick:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "pairs.jsonl"
            record(out, pairs=2, seconds=math.inf)
            print("\n".join(report(read(out))))
        return
    with suppress(KeyboardInterrupt):
        record(given.out, pairs=given.pairs, seconds=60 * given.minutes, only=given.only or tuple(CONDITIONS))
    print("\n".join([*report(read(given.out)), "", *simulation()]))


def read(file: Path) -> list[dict[str, Any]]:
    """The recorded lines; one that was cut off by a stop is left out."""
    lines = file.read_text().splitlines() if file.exists() else []
    found = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def undisturbed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pairs in which no more than a quarter of a core was used beside ours and the condition's neighbours.

    Told by what the whole machine used, not by what the pair showed. Where all cores are taken anyway it cannot be
    told, and every pair counts.
    """
    cores = os.cpu_count() or 1
    return [
        row
        for row in rows
        if "tests" in row and ((used := 1 + CONDITIONS[row["condition"]]) >= cores or (row["busy"] or 0) <= used + 0.25)
    ]


def record(file: Path, *, pairs: int, seconds: float, only: Sequence[str] = tuple(CONDITIONS)) -> None:
    """Append pairs to the file until each condition has enough, or the time is over."""
    file.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    plants = _plants(file)
    while time.monotonic() < end:
        rows = undisturbed(read(file))
        have = {name: sum(row["condition"] == name for row in rows) for name in only}
        short = [name for name in only if have[name] < pairs]
        if not short:
            return
        condition = min(short, key=have.__getitem__)
        with burning(CONDITIONS[condition]), launched() as launcher:
            _block(file, condition, launcher, plants, start=have[condition], end=end, most=pairs - have[condition])


def _block(
    file: Path,
    condition: str,
    launcher: Launcher,
    plants: dict[str, dict[str, Plant]],
    *,
    start: int,
    end: float,
    most: int,
) -> None:
    """Some pairs of one condition; the first, in which the sides start one after the other, is not counted."""
    tests: dict[str, dict[str, Plant]] = {}
    sides = Sides(
        lambda side, names, _: job(side, {name: tests[name] for name in names}),
        launchers=dict.fromkeys(SIDES, launcher),
        rounds=Rounds(),
    )
    try:
        for index in range(-1, min(BLOCK, most)):
            if time.monotonic() > end:
                return
            kind = PLANTS[(start + index) % len(PLANTS)]
            tests.clear()
            tests["unchanged"] = dict.fromkeys(SIDES, Plant())
            for share in SHARES if index >= 0 and (start + index) % 4 != 3 else ():
                name = f"{kind} {share:+.0%}"
                tests[name] = {"base": Plant(kind=kind), "head": plants[name]["head"]}
            begin, busy = time.monotonic(), busy_seconds()
            played = sides.play(tuple(tests))
            took, used = time.monotonic() - begin, busy_seconds()
            if index < 0 or played.lost is not None:
                continue
            found = {calls.test: _row(calls) for calls in played.calls if not calls.problem}
            _append(
                file,
                {
                    "condition": condition,
                    "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "seconds": round(took, 2),
                    "busy": None if used is None or busy is None else round((used - busy) / took, 2),
                    "forked": sides.is_forked,
                    "tests": found,
                },
            )
    finally:
        sides.close()


def _row(calls: Any) -> dict[str, float]:
    found = ratio(calls, "total")
    assert found is not None
    return {
        "own": round(found.own, 6),
        "wall": round(found.wall, 6),
        "base": round(found.base, 6),
        "n": len(calls.base),
    }


def _plants(file: Path) -> dict[str, dict[str, Plant]]:
    """How much of each kind of work a share is: calibrated once, in pairs of its own, and kept in the first line."""
    known = next((row["plants"] for row in read(file) if "plants" in row), None)
    if known is None:
        call = planted_call(Plant())
        times = []
        for _ in range(60):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        call_s = sorted(times)[15]
        known = _corrected({kind: calibrated(kind, SHARES[-1], call_s=call_s).amount for kind in PLANTS})
        _append(file, {"plants": known, "call_s": call_s, "cores": os.cpu_count()})
    return {name: {"head": Plant(kind=name.split()[0], amount=amount)} for name, amount in known.items()}


def _corrected(amounts: dict[str, int], pairs: int = 8) -> dict[str, int]:
    """Amounts that take the largest share, from pairs in which the first guess of them was timed."""
    tests = {k: {"base": Plant(kind=k), "head": Plant(kind=k, amount=amount)} for k, amount in amounts.items()}
    read_as: dict[str, list[float]] = {kind: [] for kind in amounts}
    with launched() as launcher:
        sides = Sides(lambda side, *_: job(side, tests), launchers=dict.fromkeys(SIDES, launcher), rounds=Rounds())
        try:
            for _ in range(pairs):
                for calls in sides.play(tuple(tests)).calls:
                    read_as[calls.test].append(_row(calls)["own"])
        finally:
            sides.close()
    return {
        f"{kind} {share:+.0%}": max(1, round(amount * share / max(0.01, math.expm1(_mean(read_as[kind])))))
        for kind, amount in amounts.items()
        for share in SHARES
    }


def _append(file: Path, row: dict[str, Any]) -> None:
    with file.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
        stream.flush()


def formed(logs: Sequence[float]) -> Iterator[tuple[str, int]]:
    """Gates of pairs in their order, none of them used twice: (outcome, pairs); what is left over decides nothing."""
    rule = Rule(limit=LIMIT)
    start = at = 0
    first: int | None = None
    while at < len(logs):
        at += 1
        shown = logs[start : first if first is not None else at]
        fresh = logs[first:at] if first is not None else ()
        decision = decide(shown, rule, confirmation=fresh)
        if first is None and decision.first is not None and decision.first.outcome == FAIL:
            first = at
        elif decision.outcome != "more":
            yield decision.outcome, at - start
            start, first = at, None


def report(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The spread of pairs, and what gates of them found."""
    pairs = undisturbed(rows)
    yield f"{len(pairs)} pairs; {sum('tests' in row for row in rows) - len(pairs)} more beside others' work, not used."
    yield ""
    names = ["unchanged", *(f"{share:+.0%}" for share in SHARES)]
    yield "| condition | test | pairs | mean | sd own | sd wall | gates | pass | fail | undecided | pairs a gate |"
    yield "|" + " --- |" * 11
    for condition in CONDITIONS:
        for name in names:
            logs, walls = [], []
            for row in pairs:
                for test, found in row["tests"].items():
                    if row["condition"] == condition and test.endswith(name):
                        logs.append(found["own"])
                        walls.append(found["wall"])
            if len(logs) < 2:
                continue
            gates = list(formed(logs))
            counts = [sum(outcome == word for outcome, _ in gates) for word in (PASS, FAIL, "undecided")]
            shown = [told(count, len(gates)) for count in counts]
            middle = sorted(count for _, count in gates)[len(gates) // 2] if gates else "–"
            cells = (
                condition,
                name,
                len(logs),
                f"{_percent(_mean(logs))}",
                *(f"{100 * _sd(v):.1f} %" for v in (logs, walls)),
            )
            yield "| " + " | ".join(map(str, (*cells, len(gates), *shown, middle))) + " |"
    yield ""
    for kind in PLANTS:
        means = []
        for share in SHARES:
            test = f"{kind} {share:+.0%}"
            logs = [row["tests"][test]["own"] for row in pairs if test in row["tests"]]
            means.append(
                f"{share:+.0%} read {_percent(_mean(logs))} (n = {len(logs)})" if logs else f"{share:+.0%}: none"
            )
        yield f"- {kind}: {'; '.join(means)}"
    yield ""
    unchanged = [outcome for name in CONDITIONS for outcome, _ in formed(_logs(pairs, name, "unchanged"))]
    wrong = sum(outcome != PASS for outcome in unchanged)
    low, high = wilson(wrong, len(unchanged))
    yield (
        f"Unchanged code failed or stayed undecided in {wrong} of {len(unchanged)} gates [{low:.1%}, {high:.1%}]; in a"
        f" suite of ten such tests, were they independent, in {1 - (1 - wrong / max(1, len(unchanged))) ** 10:.1%}."
    )


def simulation(gates: int = 2000) -> Iterator[str]:
    """What the rule says of drawn pairs, by their spread and the true slowdown: pass / fail / undecided, pairs."""
    slowdowns = (0.0, 0.03, 0.04, 0.05, 0.06, 0.10)
    yield f"The rule alone, {gates:,} simulated gates a cell, pairs with tails of Student's t with 4 degrees:"
    yield ""
    yield "| sd of a pair | " + " | ".join(f"{slowdown:+.0%}" for slowdown in slowdowns) + " |"
    yield "|" + " --- |" * (len(slowdowns) + 1)
    for spread in (0.006, 0.02, 0.03, 0.047):
        cells = []
        for slowdown in slowdowns:
            found = simulated(spread=spread, slowdown=slowdown, rule=Rule(limit=LIMIT), gates=gates)
            shares = " / ".join(f"{100 * count / gates:.3g}" for count in (found.passed, found.failed, found.undecided))
            cells.append(f"{shares} %, {found.pairs:.1f}")
        yield f"| {100 * spread:.1f} % | {' | '.join(cells)} |"


def _logs(pairs: Sequence[dict[str, Any]], condition: str, name: str) -> list[float]:
    return [row["tests"][name]["own"] for row in pairs if row["condition"] == condition and name in row["tests"]]


def _mean(logs: Sequence[float]) -> float:
    return math.fsum(logs) / len(logs)


def _sd(logs: Sequence[float]) -> float:
    return math.sqrt(math.fsum((log - _mean(logs)) ** 2 for log in logs) / (len(logs) - 1))


def _percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.1f} %"


if __name__ == "__main__":
    main()
