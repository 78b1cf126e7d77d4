"""A pytest file as text: imports, fixtures, and the cell as a function in a test; not where its names come from."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from llm_latency.errors import UsageError
from llm_latency.notebook.provenance import Part, Provenance, is_reserved
from llm_latency.notebook.statements import (
    DEFINITIONS,
    Statement,
    Text,
    future_flags,
    indented,
    names_in,
    names_of,
    normalized,
    read_from_outside,
    star_of,
    surely_bound,
    without_marker,
)
from llm_latency.report.escape import plain

_WIDTH = 88  # ruff's and black's default
_COMPOUND = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
_FIXTURE = '@pytest.fixture(scope="module")'


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What a file begins with: paragraphs about itself, the cell's name, the limits by the marker's keys.

    `folders` are where modules lie that are not installed, as seen from the file's own.
    """

    paragraphs: tuple[str, ...]
    cell: str
    limits: Mapping[str, str]
    folders: tuple[str, ...] = ()


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell's code as the body of a function.

    It `reads` names from outside, and `rebound` ones perhaps before it gives them a value itself, as all in `bound`.
    """

    code: str
    is_async: bool
    reads: frozenset[str]
    rebound: frozenset[str]
    bound: frozenset[str]
    stars: tuple[str, ...]
    futures: frozenset[str]


def read_cell(source: str) -> Cell:
    """Read a timed cell; raises UsageError for what cannot stand in a function of a test file."""
    text = Text(normalized(source))
    try:
        tree = ast.parse(text.source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UsageError(f"the cell is no Python code: {error}") from error
    body = without_marker(tree)
    for name in (name for node in body for name in names_of(node)):
        if name.id == "get_ipython":
            line = " ".join(text.source.split("\n")[name.lineno - 1].split())
            raise UsageError(
                f"line {name.lineno} of the cell is a command of IPython, which a test does not have: {line}. Take it"
                " out of the cell and time that"
            )
    futures = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    kept = [node for node in body if node not in futures and not _is_nothing(node)]
    if not kept:
        raise UsageError("there is no code in the cell to write a test of")
    flags = 0
    for node in futures:
        flags |= future_flags(node)
    try:
        names = [names_in(node, flags=flags) for node in kept]
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UsageError(f"the cell is no Python code: {error}") from error
    bound = frozenset[str]().union(*(one.binds for one in names))
    later = frozenset[str]().union(*(one.later for one in names))
    made = bound.union(*(one.later_binds for one in names))
    reads = frozenset[str]().union(*(one.reads for one in names)) | later
    first = read_from_outside(kept, flags=flags)
    for index, one in enumerate(names):  # a function may be called at once, and one with a name when all is bound
        first |= one.later - surely_bound(kept if isinstance(kept[index], DEFINITIONS) else kept[:index])
    start = text.span(tree.body[0]).stop if len(body) < len(tree.body) else 0
    return Cell(
        code=_body(text, body, kept, start=start),
        is_async=_awaits(kept),
        reads=(reads - made) | _surely_read(kept, flags=flags),
        rebound=first & made,
        bound=bound,
        stars=tuple(module for node in body if (module := star_of(node))),
        futures=frozenset(alias.name for node in futures for alias in node.names),
    )


def _is_nothing(node: ast.stmt) -> bool:
    """What means nothing inside of a function: `global x` of a cell; and a star, whose names are imported alone."""
    return isinstance(node, ast.Global) or star_of(node) is not None


def _surely_read(body: list[ast.stmt], *, flags: int) -> frozenset[str]:
    """Names that a cell reads before it may have given them a value."""
    found, bound = frozenset[str](), frozenset[str]()
    for node in body:
        names = names_in(node, flags=flags)
        if not isinstance(node, _COMPOUND):
            found |= names.reads - bound
        bound |= names.binds
    return found


def _awaits(body: list[ast.stmt]) -> bool:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(ast.Module(body, []), "cell", "exec", flags=flags, dont_inherit=True)
    return bool(code.co_flags & inspect.CO_COROUTINE)


def _body(text: Text, body: list[ast.stmt], kept: list[ast.stmt], *, start: int) -> str:
    """The cell's code as written, comments too: a statement a line, and its last value returned."""
    pieces: list[str] = []
    cursor = start
    for node in body:
        span = text.span(node)
        pieces.append(_between(text.source[cursor : span.start]))
        returned = "return " if node is body[-1] and isinstance(node, ast.Expr) else ""
        pieces += [returned, text.source[span]] if node in kept else []
        cursor = span.stop
    return "".join([*pieces, _between(text.source[cursor:])]).strip("\n")


def _between(gap: str) -> str:
    """What stands between two statements, a line break in place of a semicolon."""
    match = re.match(r"[ \t]*;[ \t]*(\\\n[ \t]*)?", gap)
    if match is None:
        return gap
    rest = gap[match.end() :]
    return rest if rest.lstrip(" \t").startswith("\n") else f"  {rest}" if rest.startswith("#") else f"\n{rest}"


def make_file(cell: Cell, found: Provenance, *, heading: Heading, namespace: Mapping[str, object]) -> str:
    """Write the file's text."""
    return _File(cell, found, heading, namespace).text()


class _File:
    """A file in the making; names of fixtures are those of the notebook, or `notebook_...` where pytest has its own."""

    def __init__(self, cell: Cell, found: Provenance, heading: Heading, namespace: Mapping[str, object]) -> None:
        self._cell = cell
        self._found = found
        self._heading = heading
        self._namespace = namespace
        self._taken = {*found.names, *found.given, *cell.bound, "pytest", "asyncio"}
        for one in (*found.at_top, *found.imports, *(one for part in found.fixtures for one in part.statements)):
            self._taken |= one.bound
        self._fixtures = {name: self._own(f"notebook_{name}") if is_reserved(name) else name for name in found.given}
        self._uses_asyncio = False

    def text(self) -> str:
        test = self._test()
        blocks = [*self._at_top(), *self._settings()]
        blocks += [block for part in self._found.fixtures for block in self._part(part)]
        blocks += [self._unresolved(name) for name in self._found.unresolved]
        features = ", ".join(sorted(self._cell.futures | self._found.futures))
        futures = [f"from __future__ import {features}"] if features else []
        head = "\n\n".join([self._docstring(), *futures, *self._paths(), self._imports()])
        is_literal = bool(self._found.at_top) and not isinstance(self._found.at_top[0].node, DEFINITIONS)
        if is_literal:  # one blank line behind imports, as isort has it
            head = f"{head}\n\n{blocks.pop(0)}"
        return "\n\n\n".join([head, *blocks, test]) + "\n"

    def _own(self, name: str) -> str:
        """A name that nothing else in the file has."""
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        found = next(one for one in itertools.chain([name], numbered) if one not in self._taken)
        self._taken.add(found)
        return found

    def _docstring(self) -> str:
        first, *rest = (_quotable(text) for text in self._heading.paragraphs)
        wrapped = (
            "\n".join(textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False))
            for text in (f'"""{first}', *rest)
        )
        return '{}\n\n{}\n"""'.format(next(wrapped), "\n".join(wrapped))

    def _paths(self) -> Iterator[str]:
        """Where to find modules that are not installed, as they were found from the notebook."""
        if self._heading.folders:
            yield "import sys\nfrom pathlib import Path"
            yield "\n".join(
                f"sys.path.append(str(Path(__file__).parent.joinpath({_quoted(folder)}).resolve()))"
                for folder in self._heading.folders
            )

    def _imports(self) -> str:
        lines = {ast.unparse(one.node) for one in self._found.imports} | {"import pytest"}
        lines |= set(self._found.derived_imports) | ({"import asyncio"} if self._uses_asyncio else set())
        sections: dict[bool, list[str]] = {True: [], False: []}
        for line in _sorted_imports(lines):
            sections[line.split()[1].partition(".")[0] in sys.stdlib_module_names].append(line)
        return "\n\n".join("\n".join(section) for section in sections.values() if section)

    def _at_top(self) -> Iterator[str]:
        """Functions and classes by themselves, literals together."""
        for is_literal, group in itertools.groupby(
            self._found.at_top, key=lambda one: not isinstance(one.node, DEFINITIONS)
        ):
            if is_literal:
                yield "\n".join(one.code for one in group)
            else:
                yield from (one.code for one in group)

    def _settings(self) -> Iterator[str]:
        if self._found.settings:
            name = self._own("notebook_settings")
            code = "\n".join(one.code for one in self._found.settings)
            yield f'@pytest.fixture(scope="module", autouse=True)\ndef {name}():\n{indented(code)}'

    def _part(self, part: Part) -> Iterator[str]:
        if len(part.gives) == 1:
            yield self._fixture(self._fixtures[part.gives[0]], part)
            return
        together = "_and_".join(part.gives)
        name = self._own(together if len(together) <= 40 else "made_together")
        yield self._fixture(name, part)
        for index, given in enumerate(part.gives):
            yield f"{_FIXTURE}\ndef {self._fixtures[given]}({name}):\n    return {name}[{index}]"

    def _fixture(self, name: str, part: Part) -> str:
        lines = [f"{need} = {self._fixtures[need]}" for need in part.needs if self._fixtures[need] != need]
        written = frozenset[str]().union(*(names_in(one.node).later_binds for one in part.statements))
        lines += [f"global {', '.join(sorted(written))}"] if written else []
        code = _joined(part.statements)
        value = _value_of(part) if not lines else None
        if value is not None:
            code = code.removesuffix(part.statements[-1].code) + f"return {value}"
        else:
            first, last = (isinstance(part.statements[end].node, DEFINITIONS) for end in (0, -1))
            lines += [""] if lines and first else []
            code = "\n".join([*lines, code, *([""] if last else []), f"return {', '.join(part.gives)}"])
        if _awaits([one.node for one in part.statements]):
            self._uses_asyncio = True
            make = self._own("make")
            code = f"async def {make}():\n{indented(code)}\n\nreturn asyncio.run({make}())"
        head = _wrapped(f"def {name}(", [self._fixtures[need] for need in part.needs], "):")
        return f"{_FIXTURE}\n{head}\n{indented(code)}"

    def _unresolved(self, name: str) -> str:
        kind = f"a {type(self._namespace[name]).__qualname__}" if name in self._namespace else "not there any more"
        words = _quoted(f"say here how `{name}` is made: it was {kind} in the notebook")
        call = _wrapped("pytest.fail(", [words], ")", indent=4)
        return f"{_FIXTURE}\ndef {self._fixtures[name]}():\n{indented(call)}"

    def _test(self) -> str:
        cell, found = self._cell, self._found
        function = self._own("cell")
        test = self._own(f"test_{_slug(self._heading.cell)}")
        needed = [name for name in found.given if name in found.names]
        first = (cell.rebound | cell.bound) & found.names
        renamed = {name for name in needed if self._fixtures[name] != name}
        given = [f"{name}={self._fixtures.get(name, name)}" for name in sorted(first | renamed)]
        outer = frozenset(needed) | cell.bound
        code = "\n".join([*(f"{one.code}\n" for one in found.within), cell.code])
        code = indented(_nonlocal(code, outer))
        head = _wrapped(f"{'async ' if cell.is_async else ''}def {function}(", given, "):", indent=4)
        docstring = f'"""Keep the limits of the cell {_quotable(self._heading.cell)}, timed in a notebook."""'
        lines = [
            _wrapped("@pytest.mark.latency_budget(", [f'{k}="{v}"' for k, v in self._heading.limits.items()], ")"),
            _wrapped(f"def {test}(", ["llmtime", *(self._fixtures[name] for name in needed)], "):"),
            indented(f"{docstring}\n\n{head}\n{code}\n\nllmtime({function})"),
        ]
        return "\n".join(lines)


def _joined(statements: Iterable[Statement]) -> str:
    """Statements below each other, with a blank line around functions."""
    lines: list[str] = []
    for one in statements:
        is_apart = isinstance(one.node, DEFINITIONS)
        lines += [""] if is_apart and lines and lines[-1] else []
        lines += [one.code, ""] if is_apart else [one.code]
    return "\n".join(lines).rstrip("\n")


def _value_of(part: Part) -> str | None:
    """The text of the value where the last statement of a part gives its one name a value and nothing else."""
    last = part.statements[-1]
    is_one = len(part.gives) == 1 and all(not one.bound & set(part.gives) for one in part.statements[:-1])
    if is_one and isinstance(last.node, ast.Assign) and len(last.node.targets) == 1 and last.bound == set(part.gives):
        match = re.match(rf"{part.gives[0]}\s*=\s*(?=[^=])", last.code)
        return last.code[match.end() :] if match else None
    return None


def _nonlocal(code: str, outer: frozenset[str]) -> str:
    """The code with `global x` of its functions as `nonlocal x`, where x has become a variable of the test."""
    text = Text(code)
    for node in [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Global)]:
        kinds = {"global": set(node.names) - outer, "nonlocal": set(node.names) & outer}
        line = "; ".join(f"{kind} {', '.join(sorted(names))}" for kind, names in kinds.items() if names)
        span = text.span(node)
        text = Text(text.source[: span.start] + line + text.source[span.stop :])
    return text.source


def _wrapped(head: str, arguments: list[str], tail: str, *, indent: int = 0) -> str:
    """A call or a signature as ruff breaks it: on one line, its arguments on one line, or a line each."""
    whole = f"{head}{', '.join(arguments)}{tail}"
    if indent + len(whole) <= _WIDTH or not arguments:
        return whole
    inner = f"    {', '.join(arguments)}"
    lines = [inner] if indent + len(inner) <= _WIDTH else [f"    {argument}," for argument in arguments]
    return "\n".join([head, *lines, tail])


def _sorted_imports(lines: set[str]) -> Iterator[str]:
    """Imports in isort's order: `import` before `from`, and what comes from one module on one line."""
    yield from sorted((line for line in lines if line.startswith("import ")), key=str.lower)
    members: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("from "):
            module, _, member = line.removeprefix("from ").partition(" import ")
            members.setdefault(module, []).append(member)
    for module in sorted(members, key=str.lower):
        ordered = sorted(members[module], key=lambda member: (not member.isupper(), not member[0].isupper(), member))
        together = [member for member in ordered if " as " not in member]
        if together:
            line = f"from {module} import {', '.join(together)}"
            listed = "".join(f"    {member},\n" for member in together)
            yield line if len(line) <= _WIDTH else f"from {module} import (\n{listed})"
        yield from (f"from {module} import {member}" for member in ordered if " as " in member)


def _slug(name: str) -> str:
    for flags in (0, re.ASCII):
        words = re.sub(r"\W+", "_", name, flags=flags).strip("_").lower()
        words = re.sub(r"^in_(\d+)$", r"cell_\1", words).removeprefix("test_")[:60].strip("_")
        if f"test_{words}".isidentifier() and words:
            return words
    return "cell"


def _quoted(text: str) -> str:
    """A string as ruff writes it."""
    escaped = plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _quotable(text: str) -> str:
    r"""Text for a docstring: no escape, no quotes that would end it, and nothing unseen."""
    return plain(text).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
