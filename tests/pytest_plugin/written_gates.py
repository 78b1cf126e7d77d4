"""Gates without processes: in the place of two checkouts and their workers stand pairs that are written; no tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_latency.core.trace import Request, Trace
from llm_latency.gate.message import Reported
from llm_latency.gate.pair import SIDES, Alternated, Played
from llm_latency.gate.refs import Opened, TwoRefs
from llm_latency.gate.worktree import Worktree

if TYPE_CHECKING:
    from conftest import Seen, Suite

BASE_NS = 10_000_000
GATE = "--latency-base=main"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Pairs lie this far above and below their mean in turn: much less than any limit.
_SPREAD = 0.001
_IN_V = re.compile(r"test_it\.py::(\S+) ([A-Za-z ]+?)(?: \(.*\))? +\[ *\d+%\]")


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What becomes of a test in each pair: its head takes `share` longer than the base's 10 ms.

    `tokens` are those of a base's and a head's call; `names` those of its llmtime() calls; `outcomes` what the sides
    report in the place of times, as (outcome, words), in the first `for_pairs` pairs; `peaks` the bytes of each side.
    """

    share: float = 0.0
    tokens: tuple[int, int] = (4, 4)
    names: tuple[str, ...] = ("",)
    outcomes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    for_pairs: int = 1_000
    peaks: tuple[int, int] | None = None


class Written:
    """The seat of `gating.opened`: pairs by what is written for each test, unchanged where nothing is."""

    def __init__(self, base: Path, tests: Mapping[str, Timed] | None = None) -> None:
        """`base` is the base's checkout, an empty folder."""
        self.base = base
        self.tests = dict(tests or {})
        self.refs: TwoRefs | None = None
        self.pairs = 0
        # The tests of the first pair.
        self.asked: list[str] = []
        self.is_open = False
        # What the base has of the tests.
        self.has: dict[str, str] = {}
        self.changed: tuple[str, ...] = ()
        # What happens in the place of a pair, from 1 on.
        self.at_pair: dict[int, Callable[[], None]] = {}

    @contextmanager
    def opened(self, refs: TwoRefs) -> Iterator[Opened]:
        """As the engine's, without git and processes."""
        for name, text in self.has.items():
            (self.base / name).write_text(text)
        self.refs = refs
        self.is_open = True
        sides: Any = _Sides(self)
        tree = Worktree(
            path=self.base,
            project=self.base,
            top=refs.project,
            ref=refs.ref,
            commit=COMMIT,
            scratch=self.base,
            changed=self.changed,
        )
        try:
            yield Opened(worktree=tree, top=refs.project, sides=sides, pythons=dict.fromkeys(SIDES, "3.12.0"))
        finally:
            self.is_open = False

    def play(self, tests: Sequence[str], on_test: Callable[[str], None]) -> Played:
        """The next pair."""
        self.pairs += 1
        self.asked = self.asked or [test.rpartition("::")[2] for test in tests]
        calls: list[Alternated] = []
        reports: dict[tuple[str, str], Reported] = {}
        for test in tests:
            on_test(test)
            self.at_pair.get(self.pairs, lambda: None)()
            timed = self.tests.get(test.rpartition("::")[2], Timed())
            outcomes = timed.outcomes if self.pairs <= timed.for_pairs else {}
            for side in SIDES:
                outcome, words = outcomes.get(side, ("passed", ""))
                reports[side, test] = Reported(test=test, outcome=outcome, text=words)
            if not outcomes:
                step = _SPREAD if self.pairs % 2 else -_SPREAD
                calls += [_calls(test, timed, step, name, index) for index, name in enumerate(timed.names, start=1)]
        return Played(calls=tuple(calls), reports=reports, imported={}, problems={})


class _Sides:
    """What an opened gate has to play with."""

    def __init__(self, written: Written) -> None:
        self.play = written.play
        self.notes: list[str] = []


def _calls(test: str, timed: Timed, step: float, name: str, index: int) -> Alternated:
    base, head = (
        _trace(round(BASE_NS * factor), tokens, peak)
        for factor, tokens, peak in zip(
            (1.0, (1.0 + timed.share) * (1.0 + step)), timed.tokens, timed.peaks or (None, None), strict=True
        )
    )
    own = test.rpartition("::")[2]
    return Alternated(
        test=test,
        name=name or own,
        index=index,
        base=(base,) * 4,
        head=(head,) * 4,
        orders=("abba", "baab"),
    )


def _trace(length_ns: int, tokens: int, peak: int | None) -> Trace:
    """A stream of tokens at equal distances."""
    request = Request(
        kind="stream",
        start_ns=0,
        stop_ns=length_ns,
        emissions=tuple((length_ns * number // tokens, 1) for number in range(1, tokens + 1)),
        rows=1,
        row_tokens=(tokens,),
    )
    peaks = None if peak is None else {"allocated": peak}
    return Trace(start_ns=0, stop_ns=length_ns, requests=(request,), peak_bytes=peaks)


def fails(*sides: str, words: str = "ValueError: no", for_pairs: int = 1_000) -> Timed:
    """A test whose own code fails on these sides, and on no other is anything timed."""
    return Timed(outcomes=dict.fromkeys(sides, ("failed", words)), for_pairs=for_pairs)


def skips(*sides: str, words: str) -> Timed:
    """A test that these sides skip."""
    return Timed(outcomes=dict.fromkeys(sides, ("skipped", words)))


def gate(suite: Suite, written: Written, source: str, *arguments: str, **tests: Timed) -> Seen:
    """Gate the tests of a file; the base has all of them but what is new."""
    written.tests |= tests
    names = [line.partition("(")[0].removeprefix("def ") for line in source.splitlines() if line.startswith("def test")]
    written.has = {"test_it.py": "".join(f"def {name}(): pass\n" for name in names if "new" not in name)}
    return suite.run(source, GATE, *arguments)


def words_of(seen: Seen) -> dict[str, str]:
    """Each test's word in -v."""
    return {match[1]: match[2] for line in seen.lines if (match := _IN_V.fullmatch(line))}
