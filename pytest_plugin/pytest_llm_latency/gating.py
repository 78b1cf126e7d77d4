"""A gate against a base inside of a pytest run: what it asks about, and what tests then report; not its engine."""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_latency.core.measurement import Measurement, verdict_on
from llm_latency.errors import LLMLatencyError, UsageError
from llm_latency.gate.conclusion import conclude
from llm_latency.gate.gate import Gate, Progress
from llm_latency.gate.refs import Opened, TwoRefs, opened
from llm_latency.gate.result import BROKEN, NEW, SKIPPED, TOO_SLOW, UNDECIDED, Answer, Asked, GateResult
from llm_latency.report.gate import append_step_summary, form_of, write_reports
from llm_latency.report.gate_rows import change_of, full_name, limit, word_of
from llm_latency.report.gate_why import why
from pytest_llm_latency.gated import Gated
from pytest_llm_latency.limits import MARKER, read_limits
from pytest_llm_latency.llmtime import LlmTime
from pytest_llm_latency.lock import DeviceLock
from pytest_llm_latency.outcome import BudgetFailure, WorkersFailure
from pytest_llm_latency.settings import Settings
from pytest_llm_latency.stash import GATED, LOCK, PATH, RESULT, SETTINGS, TIMED
from pytest_llm_latency.worker import XFAILED

FIXTURE = "llmtime"
# Folders whose files are tests and what tests need; the highest such one above a timed test is taken as a whole.
_OF_TESTS = re.compile(r"(tests?|testing|bench(mark)?s?|perf)([_-].*)?", re.IGNORECASE)
# What lets coverage begin in every process that is started: it would slow what is timed.
_OF_COVERAGE = ("COVERAGE_PROCESS_", "COV_CORE_")


def is_timed(item: pytest.Item) -> bool:
    """Whether a test asks for the fixture."""
    return FIXTURE in getattr(item, "fixturenames", ())


def refuse_workers(config: pytest.Config) -> None:
    """Raise pytest.UsageError where pytest-xdist would spread the tests: a gate needs the machine to itself."""
    if getattr(config.option, "tx", None) or getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "--latency-base cannot run under pytest-xdist (-n): its workers would be each other's busy neighbours."
            " Run the gate in a step of its own, with -n 0"
        )


def run_gate(session: pytest.Session, *, tell: Callable[[Progress], None]) -> None:
    """Gate the session's timed tests and let each of them report what was found, in the place of running it here.

    Raises pytest.UsageError where there is nothing to gate or it cannot be run.
    """
    config = session.config
    settings = config.stash[SETTINGS]
    items = [item for item in session.items if is_timed(item)]
    if not items:
        raise pytest.UsageError(
            f"--latency-base={settings.base} was asked for and no selected test uses the llmtime fixture: nothing was"
            " gated. Select the tests that do, or leave the option out"
        )
    try:
        for path in settings.report:
            form_of(path)
        for place in _report_paths(config):
            _require_folder(place)
        _run(config, items, settings, tell)
    except LLMLatencyError as error:
        raise pytest.UsageError(f"the gate against {settings.base} did not run: {error}") from error
    tested = config.stash[RESULT].tests
    if all(one.word == SKIPPED for one in tested):
        raise pytest.UsageError(
            f"--latency-base={settings.base} was asked for and every timed test was skipped on both sides"
            f" ({'; '.join(tested[0].reasons)}): nothing was gated"
        )
    for item in items:
        _replace(item, config.stash[RESULT], config)


def hand_over(config: pytest.Config) -> Iterator[str]:
    """Write the reports that were asked for and the CI's step summary; sentences about what could not be written."""
    result = config.stash[RESULT]
    for path in _report_paths(config):
        try:
            write_reports(result, [path])
        except (OSError, LLMLatencyError) as error:
            yield f"llm-latency: a report was not written: {error}"
    if problem := append_step_summary(result, os.environ):
        yield f"llm-latency: {problem}"


def _report_paths(config: pytest.Config) -> list[Path]:
    return [config.invocation_params.dir / path for path in config.stash[SETTINGS].report]


def _require_folder(path: Path) -> None:
    """Refuse a report that could not be written, before anybody waits for it."""
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for the report {path.name}; make it, or name another")


def _run(
    config: pytest.Config, items: Sequence[pytest.Item], settings: Settings, tell: Callable[[Progress], None]
) -> None:
    """Run it and keep its result, also of a gate that was interrupted."""
    lock = config.stash.setdefault(LOCK, DeviceLock())
    with opened(_refs(config, items)) as refs:
        gate = Gate(
            [_asked(item, settings) for item in items],
            play=refs.sides.play,
            time_budget_s=settings.gate_time_s,
            needs_own_code=settings.base_python is None,
            on_progress=tell,
            turn=functools.partial(lock.held, on_wait=functools.partial(_say_waiting, config)),
        )
        try:
            gate.run()
        except KeyboardInterrupt:
            config.stash[RESULT] = _concluded(gate, items, refs, complete=False)
            raise
        config.stash[RESULT] = _concluded(gate, items, refs, complete=True)


def _concluded(gate: Gate, items: Sequence[pytest.Item], refs: Opened, *, complete: bool) -> GateResult:
    return conclude(
        gate,
        ref=refs.worktree.ref,
        what=(refs.worktree.commit, refs.worktree.head or "the working tree"),
        pythons=refs.pythons,
        is_new=frozenset(item.nodeid for item in items if _is_new(item, refs)),
        changed=refs.worktree.changed,
        notes=refs.sides.notes,
        complete=complete,
    )


def _say_waiting(config: pytest.Config) -> None:
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.ensure_newline()
        terminal.write_line("gate: waiting for the turn: something else is timed on this machine")


def _asked(item: pytest.Item, settings: Settings) -> Asked:
    limits = read_limits(item.iter_markers(MARKER))
    return Asked(
        test=item.nodeid,
        limit=settings.max_slowdown if limits.max_slowdown is None else limits.max_slowdown,
        metrics=limits.metrics,
        min_change=limits.min_change,
        same_output=limits.same_output,
    )


def _refs(config: pytest.Config, items: Sequence[pytest.Item]) -> TwoRefs:
    settings = config.stash[SETTINGS]
    assert settings.base is not None
    return TwoRefs(
        project=config.rootpath,
        ref=settings.base,
        run="pytest_llm_latency.worker:run",
        arguments={"argv": list(map(os.fspath, config.invocation_params.args)), "options": _shared_options(config)},
        start=config.invocation_params.dir,
        path=config.stash.get(PATH, tuple(sys.path)),
        tests=tuple(dict.fromkeys(_area(item.path, config.rootpath) for item in items)),
        are_tests_of_base=settings.tests == "base",
        shared=settings.share,
        base_python=settings.base_python,
        environment={name: text for name, text in os.environ.items() if not name.startswith(_OF_COVERAGE)},
        patience_s=settings.patience_s,
    )


def _shared_options(config: pytest.Config) -> dict[str, int]:
    """What this run has drawn by lot, which would differ from worker to worker: pytest-randomly's seed."""
    seed = getattr(config.option, "randomly_seed", None)
    return {"randomly_seed": seed} if isinstance(seed, int) else {}


def _area(file: Path, root: Path) -> Path:
    """The folder of tests that a file belongs to, or the file alone, relative to the repository."""
    top = _top(root)
    try:
        inside = Path(os.path.realpath(file)).relative_to(top)
    except ValueError:
        raise UsageError(
            f"{file} lies outside of the repository {top}, whose two versions are compared; leave its tests out"
        ) from None
    for folder in reversed(list(inside.parents)[:-1]):
        if _OF_TESTS.fullmatch(folder.name):
            return folder
    parent = inside.parent
    is_plain = parent != Path() and top / parent != root.resolve() and not (top / parent / "__init__.py").exists()
    return parent if is_plain else inside


def _top(root: Path) -> Path:
    """The folder that git keeps; the root itself outside of one, which is then refused by the gate."""
    return next((folder for folder in (root.resolve(), *root.resolve().parents) if (folder / ".git").exists()), root)


def _is_new(item: pytest.Item, refs: Opened) -> bool:
    """Whether the base has no test of this name."""
    inside = Path(os.path.realpath(item.path)).relative_to(refs.top)
    name = getattr(item, "originalname", None) or item.name.partition("[")[0]
    try:
        tree = ast.parse((refs.worktree.path / inside).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return True
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return not any(isinstance(node, functions) and node.name == name for node in ast.walk(tree))


def _replace(item: pytest.Item, result: GateResult, config: pytest.Config) -> None:
    """Let a test report what the gate has found; its own fixtures and code stay out of this process."""
    tested = next(one for one in result.tests if one.test == item.nodeid)
    answers = tuple(answer for answer in result.answers if answer.test == item.nodeid)
    limits = read_limits(item.iter_markers(MARKER))
    gated = Gated(tested=tested, answers=answers)

    def setup() -> None:
        timed = LlmTime(item.name, limits=lambda: limits, settings=config.stash[SETTINGS], lock=config.stash[LOCK])
        timed.measurements += [_judged(measurement, item) for measurement in tested.measurements]
        timed.close()
        item.stash[TIMED] = timed
        item.stash[GATED] = gated

    def runtest() -> None:
        require_gate_passed(gated, config.stash[SETTINGS])

    item.setup = setup  # type: ignore[method-assign]  # this item's, not its class's
    item.runtest = runtest  # type: ignore[method-assign]  # the same
    item.teardown = lambda: None  # type: ignore[method-assign]  # unittest's takes down what its setup has made


def require_gate_passed(gated: Gated, settings: Settings) -> None:
    """Raise BudgetFailure when a test got slower than the base, or was undecided where that fails.

    One whose code fails at the head fails with that. A test that the head skips is skipped here, and one that fails
    there as its xfail says is xfailed.
    """
    tested = gated.tested
    if tested.word == SKIPPED:
        reason = "; ".join(tested.reasons)
        if reason.startswith(XFAILED):
            pytest.xfail(reason.removeprefix(XFAILED))
        raise pytest.skip.Exception(reason, _use_item_location=True)
    if tested.word == BROKEN:
        raise WorkersFailure("\n".join(_shortly(f"it fails in the gate's workers: {tested.failure}")))
    fails = tested.word == TOO_SLOW or (tested.word == UNDECIDED and settings.undecided_gate == "fail")
    fails |= tested.word == NEW and settings.require_baseline
    if fails:
        lines = [line for answer in gated.answers if answer.word == tested.word for line in _complaint(answer)]
        lines += [_NOTHING_TO_COMPARE] if tested.word == NEW else []
        lines += [line for reason in tested.reasons for line in _shortly(reason)]
        raise BudgetFailure("\n".join(lines), word=gated.word, measurements=tested.measurements)


_NOTHING_TO_COMPARE = "the base has no such test, and a baseline is required (--latency-require-baseline)"


def _shortly(reason: str) -> Iterator[str]:
    """A reason on a line, with what an exception says as pytest marks it; below it all, where it is long."""
    head, _, failure = reason.partition(": ")
    lines = [line.strip() for line in failure.splitlines() if line.strip()]
    if len(lines) < 2:
        yield reason
        return
    marked = [index for index, line in enumerate(lines) if line.startswith("E  ")]
    first = [index for index in marked if index - 1 not in marked]  # of each exception in a chain
    said = lines[first[-1]].removeprefix("E").strip() if first else lines[-1 if "Traceback (" in lines[0] else 0]
    yield f"{head}: {said}"
    yield failure


def _complaint(answer: Answer) -> Iterator[str]:
    """One metric's answer, and why."""
    name = full_name(answer).removeprefix(answer.test).strip()
    word = word_of(answer)
    if answer.slowdown is None and answer.reasons:
        word = f"{word}, {answer.reasons[0]}"
    yield f"{name} {answer.metric} {change_of(answer)}, limit {limit(answer.limit)}: {word}".lstrip()
    yield from (line for line in why(answer) if not word.endswith(line))


def _judged(measurement: Measurement, item: pytest.Item) -> Measurement:
    budgets = read_limits(item.iter_markers(MARKER)).budgets
    verdicts = tuple(verdict_on(budget, measurement.traces, measurement.environment) for budget in budgets)
    return msgspec.structs.replace(measurement, verdicts=verdicts)


@contextmanager
def live(terminal: Any) -> Iterator[Callable[[Progress], None]]:
    """Where the gate stands, on the terminal's line where there is one, else a line a pair."""
    last_pair = 0

    def tell(progress: Progress) -> None:
        nonlocal last_pair
        if terminal is None:
            return
        text = told(progress)
        if terminal.isatty:
            terminal.rewrite(text[: terminal._tw.fullwidth - 1], erase=True)
        elif progress.pair != last_pair:
            terminal.write_line(text)
        last_pair = progress.pair

    try:
        yield tell
    finally:
        if terminal is not None and terminal.isatty and last_pair:
            terminal.rewrite("", erase=True)
            terminal.rewrite("\n")  # to the beginning of a line of its own, as pytest counts columns


def told(progress: Progress) -> str:
    """One line: the pair, the test, what is open, the widest interval, the time."""
    parts = [f"gate: pair {progress.pair}", progress.test.rpartition("::")[2]]
    tests = f"{progress.tests} test{'' if progress.tests == 1 else 's'}"
    parts.append(f"{progress.open} of {progress.tests} open" if progress.pair > 1 else tests)
    if progress.confirming:
        parts.append(f"{progress.confirming} being confirmed on fresh pairs")
    if progress.widest is not None:
        _, center, low, high = progress.widest
        parts.append(f"{100 * center:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}]")
    left = "" if progress.left_s is None else f", next look in {progress.left_s:.0f} s"
    parts.append(f"{progress.seconds:.0f} of {progress.time_budget_s:.0f} s{left}")
    return ", ".join(parts)
