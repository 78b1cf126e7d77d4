"""The statements of a session's cells: their text, and the names they bind and read; not where a name comes from."""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType

import msgspec

from llm_latency.report.source import lines_in_strings

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LOADS = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS")
_IN_PLACE = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")  # code of its own that runs where it stands
_UNWRAPPED = ("time", "capture", "prun")  # cell magics that run their cell as it is
_ASKING = ("input", "getpass")


class Names(msgspec.Struct, frozen=True):
    """Names of the module that code binds and reads when it runs, and when a function in it is called."""

    binds: frozenset[str]
    reads: frozenset[str]
    later_binds: frozenset[str]
    later: frozenset[str]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One statement at the top of a cell; `index` counts through the session.

    `binds` it surely gives a value and `may_bind` perhaps. `reads` are looked up when it runs and `later` when a
    function in it is called. What asks IPython or a person is not usable. `is_last` in its cell, it may have stood
    there for what it shows.
    """

    index: int
    cell: int
    code: str
    node: ast.stmt
    binds: frozenset[str]
    may_bind: frozenset[str]
    reads: frozenset[str]
    later: frozenset[str]
    is_usable: bool
    is_last: bool

    @property
    def bound(self) -> frozenset[str]:
        """Every name that it may give a value."""
        return self.binds | self.may_bind

    @property
    def is_plain(self) -> bool:
        """Whether it imports, defines, or names a literal."""
        node = self.node
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return all(map(_is_name, targets)) and _is_literal(node.value)
        return isinstance(node, (ast.Import, ast.ImportFrom, *DEFINITIONS))


def _is_name(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) or (isinstance(target, ast.Tuple) and all(map(_is_name, target.elts)))


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


class Text:
    """Source with places in it: ast counts lines, and bytes of UTF-8 in a line."""

    def __init__(self, source: str) -> None:
        """Take source whose lines end in a line feed."""
        self.source = source
        self._lines = source.split("\n")  # no other separator ends a line of Python
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def place(self, line: int, column: int) -> int:
        """Where a line, from 1, and a column in bytes lie in the source."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.stmt | ast.expr) -> slice:
        """Where a node stands, its decorators included."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.place(node.lineno, node.col_offset)
        for decorator in getattr(node, "decorator_list", ()):
            start = min(start, self.source.rindex("@", 0, self.place(decorator.lineno, decorator.col_offset)))
        return slice(start, self.place(node.end_lineno, node.end_col_offset))

    def of(self, node: ast.stmt) -> str:
        """A statement's text, with the comment behind it."""
        span = self.span(node)
        rest = self.source[span.stop :].partition("\n")[0].strip()
        return self.source[span] + (f"  {rest}" if rest.startswith("#") else "")


def normalized(source: str) -> str:
    """The source with line feeds only."""
    return source.replace("\r\n", "\n").replace("\r", "\n")


def without_marker(tree: ast.Module) -> list[ast.stmt]:
    """The statements of a cell without the marker that our input transformer leaves."""
    first = tree.body[0].value if tree.body and isinstance(tree.body[0], ast.Expr) else None
    is_marker = isinstance(first, ast.Constant) and first.kind == "u" and str(first.value).startswith("%%llmtime")
    return tree.body[1:] if is_marker else tree.body


def indented(code: str) -> str:
    """The code four spaces further in; what lies inside of strings stays, and blank lines are one at a time."""
    inside, lines = lines_in_strings(code), list[str]()
    for number, line in enumerate(code.split("\n"), start=1):
        if number in inside:
            lines.append(line)
        elif line.strip():
            lines.append(f"    {line.rstrip()}" if number + 1 not in inside else f"    {line}")
        elif not lines or lines[-1]:
            lines.append("")
    return "\n".join(lines).strip("\n")


def names_in(node: ast.stmt | ast.expr, *, flags: int = 0) -> Names:
    """Ask the compiler which names of the module code uses; raises SyntaxError or ValueError as compiling does."""
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    module = ast.Expression(node) if isinstance(node, ast.expr) else ast.Module([node], [])
    mode = "eval" if isinstance(node, ast.expr) else "exec"
    code = compile(module, "cell", mode, flags=flags, dont_inherit=True)
    found: dict[str, set[str]] = {"binds": set(), "reads": set(), "later_binds": set(), "later": set()}
    _collect(code, found, late="", is_class=False)
    return Names(**{kind: frozenset(name for name in names if not _is_special(name)) for kind, names in found.items()})


def _collect(code: CodeType, found: dict[str, set[str]], *, late: str, is_class: bool) -> None:
    own: set[str] = set()
    for instruction in dis.get_instructions(code):
        operation, name = instruction.opname, instruction.argval
        is_deleting = operation in ("DELETE_NAME", "DELETE_GLOBAL")
        if is_class and operation in ("STORE_NAME", "DELETE_NAME"):
            own.add(name)
        elif (operation in _LOADS or is_deleting) and name not in own:
            found[late or "reads"].add(name)
        if operation == "STORE_GLOBAL" or (not is_class and (is_deleting or operation == "STORE_NAME")):
            found["later_binds" if late else "binds"].add(name)
    for child in code.co_consts:
        if isinstance(child, CodeType):
            is_body = not child.co_flags & inspect.CO_OPTIMIZED  # a class's
            runs_here = is_body or child.co_name in _IN_PLACE or child.co_name.startswith("<generic parameters")
            _collect(child, found, late=late if runs_here else "later", is_class=is_body)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def surely_bound(body: Iterable[ast.stmt]) -> frozenset[str]:
    """Names that have a value when these statements have run to their end."""
    return frozenset[str]().union(*map(_surely, body))


def _surely(node: ast.stmt) -> frozenset[str]:
    match node:
        case ast.If(body=body, orelse=orelse):
            return surely_bound(body) & surely_bound(orelse)
        case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
            targets = [item.optional_vars for item in items if item.optional_vars is not None]
            return surely_bound(body).union(*({name.id for name in names_of(target)} for target in targets))
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=last):
            ways = [surely_bound([*body, *orelse]), *(surely_bound(handler.body) for handler in handlers)]
            return frozenset.intersection(*ways) | surely_bound(last)
        case ast.Import(names=[ast.alias(name=name, asname=None)]) if "." in name:
            return frozenset()  # `import a.b` adds to what `import a` bound
        case ast.For() | ast.AsyncFor() | ast.While() | ast.Match() | ast.TryStar():
            return frozenset()
        case ast.Break() | ast.Continue():
            return frozenset()
    return names_in(node).binds


def read_from_outside(
    body: Iterable[ast.stmt], known: frozenset[str] = frozenset(), *, flags: int = 0
) -> frozenset[str]:
    """Names that statements may read before they have bound them themselves, functions in them left aside."""
    found = frozenset[str]()
    for node in body:
        found |= _read_by(node, known, flags)
        known |= _surely(node)
    return found


def _read_by(node: ast.stmt, known: frozenset[str], flags: int) -> frozenset[str]:
    def reads(*expressions: ast.expr | None) -> frozenset[str]:
        return frozenset[str]().union(*(names_in(one).reads for one in expressions if one is not None)) - known

    def body(statements: list[ast.stmt], *bound: ast.AST | None) -> frozenset[str]:
        names = {name.id for one in bound if one is not None for name in names_of(one)}
        return read_from_outside(statements, known | names, flags=flags)

    match node:
        case ast.If(test=test) | ast.While(test=test):
            return reads(test) | body(node.body) | body(node.orelse)
        case ast.For(target=target, iter=iterable) | ast.AsyncFor(target=target, iter=iterable):
            return reads(iterable) | body(node.body, target) | body(node.orelse)
        case ast.With(items=items) | ast.AsyncWith(items=items):
            managers = [item.context_expr for item in items]
            return reads(*managers) | body(node.body, *(item.optional_vars for item in items))
        case ast.Try(handlers=handlers) | ast.TryStar(handlers=handlers):
            caught = [ast.Name(handler.name or "", ast.Store()) for handler in handlers]
            found = reads(*(handler.type for handler in handlers)) | body([*node.body, *node.orelse])
            found = found.union(*(body(handler.body, name) for handler, name in zip(handlers, caught, strict=True)))
            return found | body(node.finalbody)
        case ast.Break() | ast.Continue():
            return frozenset()
    return names_in(node, flags=flags).reads - known - _bound_by_match(node)


def _bound_by_match(node: ast.stmt) -> frozenset[str]:
    if not isinstance(node, ast.Match):
        return frozenset()
    patterns = [part for case in node.cases for part in ast.walk(case.pattern)]
    return frozenset(
        name for part in patterns for field in ("name", "rest") if isinstance(name := getattr(part, field, None), str)
    )


def star_of(node: ast.stmt) -> str | None:
    """The module of which a statement imports every name, or None."""
    return node.module if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" else None


def names_of(node: ast.AST) -> Iterator[ast.Name]:
    """Every name in the code, in whatever scope."""
    return (found for found in ast.walk(node) if isinstance(found, ast.Name))


def read_session(cells: Sequence[str]) -> tuple[Statement, ...]:
    """Statements of the cells that were executed, oldest first; what does not parse or compile is left out."""
    statements: list[Statement] = []
    flags = 0
    for cell, source in enumerate(cells):
        for text, body in _parsed(normalized(source)):
            for node in body:
                if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                    flags |= future_flags(node)
                for one in _one_import_each(node):
                    code = text.of(node) if one is node else ast.unparse(one)
                    made = _statement(one, code, (len(statements), cell), flags=flags, is_last=node is body[-1])
                    statements += [made] if made is not None else []
    return tuple(statements)


def future_flags(node: ast.ImportFrom) -> int:
    """Compiler flags of a `from __future__` line."""
    flags = 0
    for alias in node.names:
        feature = getattr(importlib.import_module("__future__"), alias.name, None)
        flags |= feature.compiler_flag if feature is not None else 0
    return flags


def _parsed(source: str) -> Iterator[tuple[Text, list[ast.stmt]]]:
    """Text and statements of a cell, and of what a magic such as `%%time` has run for it."""
    try:
        body = without_marker(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    text, pending = Text(source), list[ast.stmt]()
    for node in body:
        inner = _run_by_magic(node)
        if inner is None:
            pending.append(node)
            continue
        yield text, pending
        yield from _parsed(normalized(inner))
        pending = []
    yield text, pending


def _run_by_magic(node: ast.stmt) -> str | None:
    """The code that a magic runs as it is, or None."""
    match node:
        case ast.Expr(ast.Call(ast.Attribute(ast.Call(ast.Name("get_ipython")), method), arguments)):
            given = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
            match method, given:
                case "run_cell_magic", [str(name), _, str(code)] if name in _UNWRAPPED:
                    return code
                case "run_line_magic", ["time", str(code)]:
                    return code
    return None


def _one_import_each(node: ast.stmt) -> list[ast.stmt]:
    """An import as one for each name that it binds."""
    if isinstance(node, ast.Import):
        return [ast.Import([alias]) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
    return [node]


def _statement(node: ast.stmt, code: str, place: tuple[int, int], *, flags: int, is_last: bool) -> Statement | None:
    node = ast.fix_missing_locations(node)
    try:
        names = names_in(node, flags=flags)
        binds, reads = _surely(node) & names.binds, read_from_outside([node], flags=flags)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return Statement(
        index=place[0],
        cell=place[1],
        code=code,
        node=node,
        binds=binds,
        may_bind=(names.binds | names.later_binds) - binds,
        reads=reads,
        later=names.later,
        is_usable=not _asks(node),
        is_last=is_last,
    )


def _asks(node: ast.stmt) -> bool:
    calls = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
    by_name = {call.id for call in calls if isinstance(call, ast.Name)}
    by_name |= {call.attr for call in calls if isinstance(call, ast.Attribute) and call.attr == "getpass"}
    return bool(by_name & {*_ASKING}) or any(name.id == "get_ipython" for name in names_of(node))
