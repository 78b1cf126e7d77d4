"""`%%llmtime` and `%llmtime`: from options to a timed cell, and from its end to what is shown; not the rewriting."""

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
from llm_latency.errors import UsageError
from llm_latency.notebook.options import Options, parse_options
from llm_latency.notebook.result import publish
from llm_latency.notebook.timed_cell import TimedCell
from llm_latency.notebook.transform import CALLS, OUT, timed_loop
from llm_latency.record.observe.attribution import current_chain
from llm_latency.record.observe.forward import modules_in
from llm_latency.record.recording import Recording

_LONGEST_NAME = 60


class LLMTime:
    """The magic and the one thing that it remembers between cells: the last result."""

    def __init__(self, shell: Any) -> None:
        """Belong to a shell; nothing has been timed yet."""
        self.shell = shell
        self.last: Measurement | None = None

    @no_var_expand
    @output_can_be_silenced
    @needs_local_scope
    def llmtime(self, line: str, cell: str | None = None, local_ns: dict[str, Any] | None = None) -> object:
        """Time LLM code: time to first token, time per token, phases, memory, with the machine it ran on.

        As a cell magic::

          %%llmtime [-r R] [-w W] [-q] [-o] [-v NAME] [--budget LIMIT]... [--name NAME] [--time-budget S]
          code
          more code

        As a line magic::

          %llmtime [options] expression
          %llmtime --last

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
        -v NAME
          Store the measurement in the variable NAME: NAME.ttft.p50 reads it, llm_latency.save(NAME, path) keeps it.
        -o
          Return the measurement, instead of the code's own value.
        -q
          Show no table.
        --name NAME
          Name the measurement; otherwise it is called after its cell.
        --last
          Show the last result again.

        Examples
        --------
        ::

          %%llmtime -r 5 --budget "ttft p50 < 500 ms"
          ids = model.generate(**inputs, max_new_tokens=32)
        """
        __tracebackhide__ = True  # IPython leaves our frames out of the user's traceback
        with _usage():
            options = parse_options(line)
            if options.last:
                return self._show_last(options)
            code = _code_of(options, cell)
        namespace = self.shell.user_ns if local_ns is None else local_ns
        name = " ".join(code.split())[:_LONGEST_NAME] if cell is None else self._cell_name()
        calls = self._start(options, name=name, namespace=namespace)
        self._run(code, calls, namespace)
        return self.last if options.output else calls.value

    def calls(self, line: str, *, shows: bool) -> TimedCell:
        """What a rewritten cell loops over; `shows` says that it ends by calling OUT for the value to show."""
        with _usage():
            options = parse_options(line)
            if options.last:
                raise UsageError("--last shows the last result and times nothing; write %llmtime --last on its own")
            _refuse_code_in(options)
        return self._start(options, name=self._cell_name(), namespace=self.shell.user_ns, shows=shows)

    def _start(self, options: Options, *, name: str, namespace: dict[str, Any], shows: bool = False) -> TimedCell:
        if inside := current_chain():
            raise MagicUsageError(
                f"llmtime runs inside {inside[-1].name!r}, which is being timed itself: showing a result there would"
                " count as its time. Time one of the two, or use llm_latency.timed inside"
            )
        user_ns = self.shell.user_ns
        recording = Recording(
            options.name or name,
            plan=options.plan,
            modules=modules_in((user_ns | namespace).values()),
        )

        def ended(measurement: Measurement | None, error: BaseException | None) -> None:
            self._ended(options, measurement, error)
            if shows and error is None:
                value = measurement if options.output else calls.value
                user_ns[OUT] = functools.partial(_take, user_ns, value)

        calls = TimedCell(recording, namespace=namespace, ended=ended)
        return calls

    def _ended(self, options: Options, measurement: Measurement | None, error: BaseException | None) -> None:
        if measurement is not None:
            self.last = measurement
        if options.variable is not None:
            if measurement is None:
                self.shell.user_ns.pop(options.variable, None)  # an older measurement would pass for this one
            else:
                self.shell.user_ns[options.variable] = measurement
        is_shown_by_itself = options.output and error is None
        if not options.quiet and not is_shown_by_itself:
            publish(self.shell, measurement)

    def _show_last(self, options: Options) -> Measurement | None:
        if self.last is None:
            raise UsageError("nothing has been timed yet; put %%llmtime on the first line of a cell")
        self._ended(options, self.last, None)
        return self.last if options.output else None

    def _run(self, code: str, calls: TimedCell, namespace: dict[str, Any]) -> None:
        """Run code that came as text; what it raises goes on, with its own line numbers."""
        __tracebackhide__ = True
        shell = self.shell
        source = shell.transform_cell(code)
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
