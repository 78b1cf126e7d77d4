"""What a failed test has timed, as a notebook cell to paste; not why it failed. Read only once a budget was broken."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.report.source import lines_in_strings

TITLE = "llm-latency: a cell to paste"
# A gate has the calls of many processes; in one notebook nobody waits for as many.
_MOST_CALLS = 100
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def cells(timed: Iterable[tuple[Measurement, object]], item: Any) -> list[tuple[str, str]]:
    """Sections for a report, one for each measurement with its callable; none where something is not as expected.

    A mistake in here would cost the user a test run, and the cell is a courtesy.
    """
    try:
        test = _Test.of(item)
        return [(TITLE, _cell(measurement, target, test)) for measurement, target in timed]
    except Exception:
        return []


@dataclass(frozen=True, slots=True)
class _Test:
    """What is known of a test: where it stands, its function, and the values of its fixtures and parameters."""

    file: str
    name: str
    path: str
    function: Any
    fixtures: Mapping[str, object]
    parameters: Mapping[str, object]

    @classmethod
    def of(cls, item: Any) -> _Test:
        file, _, name = item.nodeid.partition("::")
        return cls(
            file=file,
            name=name,
            path=str(item.path),
            function=inspect.unwrap(item.function),
            fixtures=dict(getattr(item, "funcargs", {})),
            parameters=dict(getattr(getattr(item, "callspec", None), "params", {})),
        )


def _cell(measurement: Measurement, target: object, test: _Test) -> str:
    budgets = [verdict.budget.replace(",", "") for verdict in measurement.verdicts]  # 3,600 s cannot be read
    line = " ".join(
        [f"%%llmtime -r {min(_MOST_CALLS, len(measurement.traces))}", *(f'--budget "{budget}"' for budget in budgets)]
    )
    code = _code(target, test)
    names = _free(code)
    values = [f"{name} = {value!r}" for name, value in test.parameters.items() if name in names and _is_literal(value)]
    return "\n".join([line, f"# {_origin(names, test)}", *values, code])


def _origin(names: set[str], test: _Test) -> str:
    """The test, and what the code needs that a notebook does not have."""
    words = f"{test.name} in {test.file}"
    code = getattr(test.function, "__code__", None)
    local = {*getattr(code, "co_varnames", ()), *getattr(code, "co_cellvars", ())}
    own = sorted(names & local - set(test.fixtures))
    arguments = set(inspect.signature(test.function).parameters) - {"llmtime"} if own else set()
    fixtures = sorted((names | arguments) & set(test.fixtures) - set(test.parameters))
    others = sorted(names & set(getattr(test.function, "__globals__", {})) - local)
    words += f"; it used the fixture{'s' if len(fixtures) > 1 else ''} {', '.join(fixtures)}" if fixtures else ""
    words += f"; {', '.join(own)} of the test" if own else ""
    return words + (f"; {', '.join(others)} of the file" if others else "")


def _free(code: str) -> set[str]:
    """Names that the code reads and gives no value, whatever the scope."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {name.id for name in names if not isinstance(name.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, ast.ClassDef | _FUNCTION)}
    bound |= {a.asname or a.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names}
    outer = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    return ({name.id for name in names} - bound | outer) - set(dir(builtins))


def _is_literal(value: object) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except Exception:
        return False


def _code(target: object, test: _Test) -> str:
    """The timed code: a function's own where the test's file has it, else a call of what the test names."""
    function = target
    if isinstance(function, FunctionType) and function.__code__.co_filename == test.path:
        file = _File(test.path)
        node = file.find(function.__code__)
        text = file.body(node, function.__code__) if node is not None else None
        if text is not None and _compiles(text):
            return text
        if isinstance(node, _FUNCTION):
            return f"{file.definition(node)}\n\n{_called(f'{node.name}()', function)}"
    return _call(target, test)


def _compiles(code: str) -> bool:
    try:
        tree = compile(code, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return bool(tree.co_code)


def _call(target: object, test: _Test) -> str:
    """A call of what the test has handed over, as the test spells it."""
    file = _File(test.path)
    node = file.find(test.function.__code__)
    calls = [call for call in ast.walk(node or ast.Module([], [])) if isinstance(call, ast.Call) and call.args]
    handed = {
        file.text_of(call.args[0]): call.args[0]
        for call in calls
        if "llmtime" in (getattr(call.func, "id", ""), getattr(call.func, "attr", ""))
    }
    if len(handed) == 1:
        ((text, given),) = handed.items()
        return _called(file.call_of(given) or f"{text}()", target)
    owner = getattr(target, "__self__", None)
    for name, value in test.fixtures.items():
        if value is target:
            return _called(f"{name}()", target)
        if owner is not None and value is owner:
            return _called(f"{name}.{getattr(target, '__name__', '__call__')}()", target)
    kind = "" if target is None else f", a {type(target).__name__},"  # a gate has timed it in another process
    return f"# which of its callables was timed{kind} cannot be told: call it here"


def _called(call: str, target: Any) -> str:
    """The call, with what it takes to let it run: `await`, or a loop over its tokens."""
    inner: Any = target
    while isinstance(inner, functools.partial):
        inner = inner.func
    kinds = (inner, getattr(type(inner), "__call__", None))  # noqa: B004  # the method itself is asked
    if any(map(inspect.iscoroutinefunction, kinds)):
        return f"await {call}"
    if any(map(inspect.isasyncgenfunction, kinds)):
        return f"import llm_latency\nasync for _ in llm_latency.stream_async({call}):\n    pass"
    if any(map(inspect.isgeneratorfunction, kinds)):
        return f"import llm_latency\nfor _ in llm_latency.stream({call}):\n    pass"
    return call


class _File:
    """A source file with its tree; ast counts lines, and bytes of UTF-8 in a line."""

    def __init__(self, path: str) -> None:
        linecache.checkcache(path)
        self.lines = [line.rstrip("\n") for line in linecache.getlines(path)]
        self.tree = ast.parse("\n".join(self.lines))
        self.inside = lines_in_strings("\n".join(self.lines))

    def find(self, code: CodeType) -> _FUNCTION | ast.Lambda | None:
        """The function that was compiled to `code`; None where several could be it."""
        functions = [node for node in ast.walk(self.tree) if isinstance(node, _FUNCTION | ast.Lambda)]
        places = set(code.co_positions())
        found: list[_FUNCTION | ast.Lambda] = []
        if code.co_name == "<lambda>":
            found += [node for node in functions if isinstance(node, ast.Lambda) and _place(node.body) in places]
        # Not every body leaves its place in the code; then the line must do.
        found = found or [
            node for node in functions if (_name(node), _line(node)) == (code.co_name, code.co_firstlineno)
        ]
        return found[0] if len(found) == 1 else None

    def body(self, node: _FUNCTION | ast.Lambda, code: CodeType) -> str | None:
        """What the function does as statements, or None where only a function can do it."""
        if (defaults := self._defaults(node)) is None or code.co_flags & (
            inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
        ):
            return None
        if isinstance(node, ast.Lambda):
            text = self.text_of(node.body)
            return "\n".join([*defaults, text if _compiles(text) else f"({text})"])
        returns = [one for one in _own_nodes(node) if isinstance(one, ast.Return)]
        if node.decorator_list or returns not in ([], node.body[-1:]):
            return None
        has_docstring = ast.get_docstring(node) is not None and len(node.body) > 1
        first = node.body[1 if has_docstring else 0]
        header = [node, *ast.walk(node.args), *([node.returns] if node.returns else []), *node.body[:has_docstring]]
        after = max(getattr(part, "lineno" if part is node else "end_lineno", 0) for part in header)
        start = _line(first)
        while start - 1 > after and self.lines[start - 2].strip()[:1] in ("#", ""):
            start -= 1
        text = self._cut(node, start=start, column=first.col_offset if first.lineno == node.lineno else 0)
        return "\n".join([*defaults, text.strip("\n")])

    def definition(self, node: _FUNCTION) -> str:
        """The whole function, at the left margin."""
        return self._cut(node, start=_line(node), column=0, keeps_return=True)

    def text_of(self, node: ast.expr) -> str:
        """An expression's text, its further lines at the left margin of its first one's."""
        assert node.end_lineno is not None
        lines = self._span(node.lineno, node.col_offset, node.end_lineno, node.end_col_offset).split("\n")
        return "\n".join(self._dedented(lines, node.lineno, _indent(self.lines[node.lineno - 1])))

    def call_of(self, node: ast.expr) -> str | None:
        """A call of what a `functools.partial(...)` holds, or of a plain name; None for another expression."""
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).split(".")[-1] == "partial":
            keywords = [
                f"{one.arg}={self.text_of(one.value)}" if one.arg else f"**{self.text_of(one.value)}"
                for one in node.keywords
            ]
            arguments = [*map(self.text_of, node.args[1:]), *keywords]
            return f"{self.text_of(node.args[0])}({', '.join(arguments)})"
        is_called_as_it_is = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript)
        return None if is_called_as_it_is else f"({self.text_of(node)})()"

    def _defaults(self, node: _FUNCTION | ast.Lambda) -> list[str] | None:
        """Parameters as assignments of their defaults; None where one has none."""
        given = node.args
        positional = [*given.posonlyargs, *given.args]
        pairs = [*zip(positional, given.defaults, strict=False), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
        if len(positional) != len(given.defaults) or None in given.kw_defaults or given.vararg or given.kwarg:
            return None
        texts = [(name.arg, self.text_of(value)) for name, value in pairs if value is not None]
        return [f"{name} = {text}" for name, text in texts if name != text]

    def _cut(self, node: _FUNCTION, *, start: int, column: int, keeps_return: bool = False) -> str:
        """Lines of a function at the left margin, as they must be outside of one."""
        assert node.end_lineno is not None
        lines = list(self.lines)
        last = node.body[-1]
        if isinstance(last, ast.Return) and not keeps_return:
            lines[last.lineno - 1] = _edited(lines[last.lineno - 1], last, r"return\b[ \t]*", "")
        for one in _own_nodes(node):
            if isinstance(one, ast.Nonlocal):
                lines[one.lineno - 1] = _edited(lines[one.lineno - 1], one, "nonlocal", "global")
        kept = lines[start - 1 : node.end_lineno]
        kept[0] = kept[0].encode()[column:].decode()
        margin = _indent(next(line for line in kept if line.strip() and not line.lstrip().startswith("#")))
        return "\n".join(self._dedented(kept, start, margin))

    def _span(self, line: int, column: int, end_line: int, end_column: int | None) -> str:
        lines = [text.encode() for text in self.lines[line - 1 : end_line]]
        lines[-1] = lines[-1][:end_column]
        lines[0] = lines[0][column:]
        return b"\n".join(lines).decode()

    def _dedented(self, lines: list[str], start: int, margin: str) -> list[str]:
        return [
            line if number in self.inside else line.removeprefix(margin) if line.startswith(margin) else line.lstrip()
            for number, line in enumerate(lines, start=start)
        ]


def _place(node: ast.expr) -> tuple[int, int | None, int, int | None]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _name(node: _FUNCTION | ast.Lambda) -> str:
    return "<lambda>" if isinstance(node, ast.Lambda) else node.name


def _line(node: ast.AST) -> int:
    """The line on which a statement begins, with its decorators."""
    lines: list[int] = [decorator.lineno for decorator in getattr(node, "decorator_list", ())]
    return min([*lines, getattr(node, "lineno", 0)])


def _own_nodes(node: ast.AST) -> Iterable[ast.AST]:
    """The nodes of a function, not of functions and classes inside of it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, _FUNCTION | ast.ClassDef | ast.Lambda):
            yield from _own_nodes(child)


def _edited(line: str, node: ast.stmt, pattern: str, replacement: str) -> str:
    before, behind = (part.decode() for part in (line.encode()[: node.col_offset], line.encode()[node.col_offset :]))
    return before + re.sub(f"^{pattern}", replacement, behind)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]
