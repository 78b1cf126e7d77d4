"""`%%llmtime` and `%llmtime`: from options to a timed cell, and from its end to what stays; not the rewriting."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.error import UsageError as MagicUsageError
from IPython.core.magic import needs_local_scope, no_var_expand, output_can_be_silenced

from llm_latency.core.measurement import Measurement
from llm_latency.core.verdict import PASS
from llm_latency.errors import UsageError
from llm_latency.notebook.actions import ACTIONS, beside_baseline, explanation
from llm_latency.notebook.baselines import baseline_path
from llm_latency.notebook.desk import Desk
from llm_latency.notebook.live import LiveView, result_of
from llm_latency.notebook.options import Options, parse_options
from llm_latency.notebook.result import Bundle
from llm_latency.notebook.timed_cell import TimedCell, show_without_traceback
from llm_latency.notebook.transform import CALLS, OUT, timed_loop
from llm_latency.predict.profile import Profile
from llm_latency.record.observe.attribution import current_chain
from llm_latency.record.observe.forward import modules_in
from llm_latency.record.recording import Recording
from llm_latency.report.ruling import rule

_LONGEST_NAME = 60


class Magic:
    """The magic of one shell; `desk` has what it has timed and its settings."""

    def __init__(self, shell: Any) -> None:
        """Belong to a shell; nothing has been timed yet."""
        self.shell = shell
        self.desk = Desk(shell)

    @no_var_expand
    @output_can_be_silenced
    @needs_local_scope
    def llmtime(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> object:
        """Time LLM code: time to first token, time per token, phases, memory, with the machine it ran on.

        As a cell magic::

          %%llmtime [-r R] [-w W] [-q] [-o] [-v NAME] [--budget LIMIT]... [--strict] [--name NAME] [--time-budget S]
                    [--live auto|widget|text|off] [--baseline NAME] [--explain]
          code
          more code

        As a line magic::

          %llmtime [options] expression
          %llmtime --last | --history | --compare [A B] | --baseline NAME | --export tests/test_x.py

        The cell runs once, as written, unless it is asked to repeat; it behaves as if the magic were not there.
        Model calls in it (transformers' generate and pipelines, forwards of torch modules, token streams) are
        recognised by themselves. Top-level `await` works in a cell.

        Options:

        -r R
          Repeat: after a first call, which is kept apart, and a warm-up, count R calls.
        -w W
          Run W warm-up calls instead of as many as it takes.
        --time-budget S
          Spend at most about S seconds; without -r, repeat until the interval is narrow or the time is up.
        --budget LIMIT
          Judge the result: --budget "ttft p95 < 250 ms". May be given several times.
        --strict
          Raise an AssertionError, after the table, unless every budget is kept.
        --baseline NAME
          Keep the result under NAME, or compare it with what was kept before. With --force keep it anew. On a line
          without code it does so with the last result.
        -v NAME
          Store the measurement in the variable NAME: NAME.ttft.p50 reads it, llm_latency.save(NAME, path) keeps it.
        --explain
          Run the code once more under torch's profiler, and say below the table where its time goes: layers, operators,
          and what of it this machine's peaks would allow.
        -o
          Return the measurement, instead of the code's own value.
        -q
          Show no table, and nothing while it runs.
        --live MODE
          What is shown while it runs: widget, text, off, or auto for what fits the place.
        --name NAME
          Name the measurement; otherwise it is called after its cell.

        Without code:

        --last
          Show the last result again; with --name NAME the last of that name.
        --history
          List what has been timed.
        --compare [A B]
          Set B beside A: the last two results, or numbers of the history, names, variables, baselines or JSON files.
        --export tests/test_x.py
          Write a test of the last timed cell, or of the one with --name NAME; --force overwrites a file.

        Defaults are set with %config LLMTime.

        Examples
        --------
        ::

          %%llmtime -r 5 --budget "ttft p50 < 500 ms"
          ids = model.generate(**inputs, max_new_tokens=32)
        """
        __tracebackhide__ = True  # IPython leaves our frames out of the user's traceback
        with _usage():
            options = self._options(line)
            if options.action is not None or (options.baseline is not None and cell is None and not options.code):
                _refuse_cell(options, cell)
                return ACTIONS[options.action or "--baseline"](self.desk, options)
            code = _code_of(options, cell)
        namespace = self.shell.user_ns if local_ns is None else local_ns
        name = _shortened(" ".join(code.split())) if cell is None else self._cell_name()
        with _usage():
            source = self.shell.transform_cell(code)
        calls = self._start(options, name=name, source=source, namespace=namespace)
        self._run(code, source, calls, namespace)
        return self.desk.session.last().measurement if options.output else calls.value

    def calls(self, line: str, *, shows: bool) -> TimedCell:
        """What a rewritten cell loops over; `shows` says that it ends by calling OUT for the value to show."""
        with _usage():
            options = self._options(line)
            if options.action is not None:
                _refuse_cell(options, "")
            _refuse_code_in(options)
        inputs = self.desk.inputs
        source = inputs[-1].partition("\n")[2] if inputs else ""  # without the marker
        return self._start(options, name=self._cell_name(), source=source, namespace=self.shell.user_ns, shows=shows)

    def _options(self, line: str) -> Options:
        options = parse_options(line, self.desk.settings.defaults())
        if options.baseline is not None:
            baseline_path(self.desk.baselines, options.baseline)  # a name that is none is refused before anything runs
        return options

    def _start(
        self, options: Options, *, name: str, source: str, namespace: dict[str, Any], shows: bool = False
    ) -> TimedCell:
        if inside := current_chain():
            raise MagicUsageError(
                f"llmtime runs inside {inside[-1].name!r}, which is being timed itself: showing a result there would"
                " count as its time. Time one of the two, or use llm_latency.timed inside"
            )
        user_ns = self.shell.user_ns
        inputs = len(self.desk.inputs) - 1

        def stays(measurement: Measurement | None, error: BaseException | None) -> Bundle | None:
            is_shown_by_itself = options.output and error is None
            was_refused = measurement is None and isinstance(error, UsageError)
            return None if options.quiet or is_shown_by_itself or was_refused else result_of(measurement)

        mode = "off" if options.quiet else options.live
        view = LiveView(mode, shell=self.shell, names=user_ns, shows=stays)
        recording = Recording(
            options.name or name, plan=options.plan, modules=modules_in((user_ns | namespace).values()), view=view
        )

        def ended(measurement: Measurement | None, error: BaseException | None) -> None:
            if measurement is not None:
                self.desk.session.add(measurement, source=source, inputs=inputs)
            self.desk.store(options, measurement)
            view.end(measurement, error)
            if error is None and measurement is not None:
                if profile is not None:
                    with _usage():
                        self.desk.show(explanation(measurement, profile), options)
                if options.baseline is not None:
                    with _usage():
                        beside_baseline(self.desk, measurement, options)
                if options.strict:
                    _require_kept(measurement)
            if shows and error is None:
                value = measurement if options.output else calls.value
                user_ns[OUT] = functools.partial(_take, user_ns, value)

        profile = Profile() if options.explain else None
        calls = TimedCell(recording, namespace=namespace, ended=ended, profile=profile)
        return calls

    def _run(self, code: str, source: str, calls: TimedCell, namespace: dict[str, Any]) -> None:
        """Run code that came as text; what it raises goes on, with its own line numbers."""
        __tracebackhide__ = True
        shell = self.shell
        file = shell.compile.cache(source, shell.displayhook.prompt_count, raw_code=code)
        tree = shell.compile.ast_parse(source, filename=file)
        if not tree.body:
            raise MagicUsageError("there is no code to time, only comments")
        first, keeps = tree.body[0], isinstance(tree.body[-1], ast.Expr)
        nodes = timed_loop(tree.body, ast.Name(CALLS, ast.Load()), keeps=keeps)
        tree.body = [ast.fix_missing_locations(ast.copy_location(node, first)) for node in nodes]
        with shell.compile.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
            compiled = shell.compile(shell.transform_ast(tree), file, "exec")
        if compiled.co_flags & inspect.CO_COROUTINE:
            raise MagicUsageError(
                "this code awaits, which %llmtime on a line and run_cell_magic cannot do; put %%llmtime on the first"
                " line of a cell of its own"
            )
        namespace[CALLS] = calls
        exec(compiled, shell.user_ns, namespace)

    def _cell_name(self) -> str:
        return f"In [{self.shell.displayhook.prompt_count}]"


def _take(namespace: dict[str, Any], value: object) -> object:
    """Give the value to show, and leave no name behind."""
    namespace.pop(OUT, None)
    return value


def _shortened(code: str) -> str:
    return code if len(code) <= _LONGEST_NAME else f"{code[: _LONGEST_NAME - 1]}…"


def _require_kept(measurement: Measurement) -> None:
    """Raise AssertionError, in the rulings' words, unless every budget is kept."""
    broken = [rule(verdict) for verdict in measurement.verdicts if verdict.outcome != PASS]
    if broken:
        error = AssertionError("; ".join(f"{ruling.budget} {ruling.word}: {ruling.why}" for ruling in broken))
        show_without_traceback(error)
        raise error


def _code_of(options: Options, cell: str | None) -> str:
    if cell is None:
        if not options.code:
            raise UsageError(
                "there is no code to time; write %llmtime EXPRESSION, or %%llmtime with the code on the lines below it"
            )
        return options.code
    _refuse_code_in(options)
    if not cell.strip():
        raise UsageError("there is no code to time; write it on the lines below %%llmtime")
    return cell


def _refuse_cell(options: Options, cell: str | None) -> None:
    if cell is not None:
        raise UsageError(f"{options.action} times nothing; write %llmtime {options.action} on its own")


def _refuse_code_in(options: Options) -> None:
    if options.code:
        raise UsageError(
            f"{options.code!r} stands behind the options of %%llmtime; code goes on the lines below it, and values with"
            " blanks into quotes"
        )


@contextmanager
def _usage() -> Iterator[None]:
    """Let IPython show our usage errors as its own: one line and no traceback."""
    try:
        yield
    except UsageError as error:
        raise MagicUsageError(str(error)) from None
