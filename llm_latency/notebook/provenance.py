"""From which earlier statements a name has what it holds, as parts of a test file; not how the parts are written.

A part runs its statements in the notebook's order. Two parts become one where they would not be right apart: where
one reads a name between two changes of it, or each needs the other.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import msgspec

from llm_latency.notebook.changes import Changes, reachable, role_of
from llm_latency.notebook.statements import DEFINITIONS, Statement, read_session, star_of

# What pytest looks for in a test file, and fixtures that it or a common plugin of it has.
_COLLECTED = re.compile(r"[tT]est\w*|pytest\w*|(setup|teardown)(_\w+)?|setUpModule|tearDownModule|load_tests|llmtime")
_FIXTURE = re.compile(
    "cache|cap(fd|sys)(binary)?|caplog|capteesys|doctest_namespace|monkeypatch|record_(property|testsuite_property"
    "|xml_attribute)|recwarn|request|subtests|tmp_path(_factory)?|tmpdir(_factory)?|event_loop|benchmark|worker_id"
    "|collect_ignore(_glob)?"
)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Statements that run together. It `gives` names to others, and needs those that other fixtures give."""

    gives: tuple[str, ...]
    needs: tuple[str, ...]
    statements: tuple[Statement, ...]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of a file from which names come; `unresolved` are explained by no statement.

    `names` are those that the cell reads. The functions `within` read what the cell binds: they belong into it.
    """

    names: frozenset[str]
    imports: tuple[Statement, ...]
    derived_imports: tuple[str, ...]
    at_top: tuple[Statement, ...]
    fixtures: tuple[Part, ...]
    settings: tuple[Statement, ...]
    unresolved: tuple[str, ...]
    futures: frozenset[str]
    within: tuple[Statement, ...]

    @property
    def modules(self) -> tuple[str, ...]:
        """Top-level modules that are imported, in whatever part."""
        inside = [one.node for part in self.fixtures for one in part.statements]
        lines = [ast.parse(line).body[0] for line in self.derived_imports]
        found: dict[str, None] = {}
        for node in (node for one in [*(one.node for one in self.imports), *lines, *inside] for node in ast.walk(one)):
            paths = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            paths += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= dict.fromkeys(path.partition(".")[0] for path in paths)
        return tuple(found)

    @property
    def given(self) -> tuple[str, ...]:
        """Names that fixtures give."""
        return (*(name for fixture in self.fixtures for name in fixture.gives), *self.unresolved)


def _future(node: ast.stmt) -> list[ast.alias]:
    return node.names if isinstance(node, ast.ImportFrom) and node.module == "__future__" else []


def is_reserved(name: str) -> bool:
    """Whether a fixture of this name would stand in pytest's way."""
    return _COLLECTED.fullmatch(name) is not None or _FIXTURE.fullmatch(name) is not None


def trace(
    names: Iterable[str],
    *,
    perhaps: Iterable[str] = (),
    stars: Iterable[str] = (),
    bound: frozenset[str] = frozenset(),
    earlier: Sequence[str],
    namespace: Mapping[str, object],
) -> Provenance:
    """Find where names that a cell reads have their values from: statements before it, or modules.

    `bound` are the names that the cell gives a value itself; those that it reads `perhaps` before are looked for, and
    not missed where there is no statement for them. `stars` are modules of which it imports every name.
    """
    made = _Trace(read_session(earlier), namespace, stars=stars)
    return made.found(names, perhaps=perhaps, bound=bound)


class _Need(NamedTuple):
    """A name as it was before the statement `end`, read by statements (the one that names it last).

    It is not `is_sure` that it is read at all.
    """

    users: tuple[int, ...]
    name: str
    end: int
    is_sure: bool


class _Trace:
    """The slice of a session that some names need, and its statements in groups (by union-find)."""

    def __init__(
        self, statements: tuple[Statement, ...], namespace: Mapping[str, object], *, stars: Iterable[str]
    ) -> None:
        self._statements = statements
        self._stars = [*stars, *(module for one in statements if (module := star_of(one.node)))]
        self._namespace = namespace
        changes = Changes(namespace)
        self._changed = [changes.of(statement) for statement in statements]
        self._roles = [role_of(statement.node, namespace) for statement in statements]
        self._end = len(statements)
        self._parent: dict[int, int] = {}
        self._uses: dict[int, set[str]] = {}
        self._seeds: dict[int, list[int]] = {}
        self._derived: dict[str, str] = {}
        self._unresolved: set[str] = set()
        self._chains: dict[tuple[str, int], tuple[int, ...]] = {}
        self._names: set[str] = set()

    def _reading(self, bound: frozenset[str], names: set[str]) -> tuple[Statement, ...]:
        """Definitions that are reached from the names and read what is bound, or set what the cell reads."""
        found: dict[int, Statement] = {}
        reached, pending = set[str](), list(names)
        while pending:
            if (name := pending.pop()) not in reached:
                reached.add(name)
                for one in [self._statements[index] for index in self._chain(name, self._end)]:
                    is_definition = isinstance(one.node, DEFINITIONS) and name in one.binds
                    pending += [*one.later, *(one.reads if is_definition else ())]
                    if is_definition and name not in bound and (one.later & bound or one.may_bind & (bound | names)):
                        found[one.index] = one
                        bound |= {name}
                        reached, pending = set(), list(names)
        return tuple(found[index] for index in sorted(found))

    def found(self, names: Iterable[str], *, perhaps: Iterable[str], bound: frozenset[str]) -> Provenance:
        names = {*names, *(name for name in perhaps if self._chain(name, self._end))}
        within = self._reading(bound, names)
        inner = frozenset[str]().union(*(one.later for one in within)) - bound
        # What they may need before the cell's own code has bound it: defaults, decorators, bases, an early call.
        inner = inner.union(*(one.reads for one in within))
        inner |= {name for one in within for name in one.later & bound if self._chain(name, self._end)}
        self._names |= (names | inner) - {name for one in within for name in one.binds}
        settings = self._settings()
        self._slice([_Need((), name, self._end, True) for name in self._names])
        self._slice([_Need((index,), name, self._end, True) for index in settings for name in self._reads(index)])
        while self._joined_two():
            pass
        top = self._module_level()
        parts = [self._part(group) for root, group in self._groups().items() if root not in top]
        at_top = [self._statements[index] for index in sorted(self._parent) if self._root(index) in top]
        attached = {seed for seeds in self._seeds.values() for seed in seeds}
        return Provenance(
            names=frozenset(self._names),
            imports=tuple(one for one in at_top if isinstance(one.node, ast.Import | ast.ImportFrom)),
            derived_imports=tuple(sorted(self._derived.values())),
            at_top=tuple(one for one in at_top if not isinstance(one.node, ast.Import | ast.ImportFrom)),
            fixtures=tuple(sorted((part for part in parts if part.gives), key=lambda part: part.statements[0].index)),
            settings=tuple(self._statements[index] for index in settings if index not in attached),
            unresolved=tuple(sorted(self._unresolved)),
            futures=frozenset(alias.name for one in self._statements for alias in _future(one.node)),
            within=within,
        )

    def _reads(self, index: int) -> frozenset[str]:
        return self._statements[index].reads

    def _chain(self, name: str, end: int) -> tuple[int, ...]:
        """Statements before `end` that made the name what it is there: the last sure binding and what came after."""
        if (name, end) in self._chains:
            return self._chains[name, end]
        chain: list[int] = []
        is_explained = False
        for statement in reversed(self._statements[:end]):
            if name in statement.binds:
                is_deleted = isinstance(statement.node, ast.Delete)
                chain += [] if is_deleted else [statement.index]
                is_explained = (is_explained or not is_deleted) and statement.is_usable
                break
            if (name in statement.may_bind or name in self._changed[statement.index]) and statement.is_usable:
                chain.append(statement.index)
                is_explained |= name in statement.may_bind
        found = self._chains[name, end] = tuple(reversed(chain)) if is_explained else ()
        return found

    def _slice(self, wanted: list[_Need]) -> None:
        """Follow what is read back to what made it."""
        seen = set(wanted)
        while wanted:
            more = self._needs(wanted.pop())
            wanted += more - seen
            seen |= more

    def _needs(self, need: _Need) -> set[_Need]:
        """Join the statements that made a name, and say what they need in turn."""
        users, name, end, is_sure = need
        chain, final = self._chain(name, end), self._chain(name, self._end)
        if self._is_module_by_other_means(name, final):
            chain = final = ()
        if not chain and not final and not self._explained_without_statement(name):
            if not is_sure:
                return set()
            self._unresolved.add(name)
        self._join(*chain)
        more = set[_Need]()
        if chain and chain != final:
            self._join(*users, *chain)
        elif users:
            self._uses.setdefault(users[-1], set()).add(name)
            more |= set() if chain else {_Need((), name, self._end, is_sure)}
        for index in chain:
            statement = self._statements[index]
            more |= {_Need((index,), read, index, is_sure) for read in statement.reads}
            through = users if index in users else (*users, index)
            is_definition = isinstance(statement.node, DEFINITIONS)
            for read in statement.later:
                # A function is called when its name is used, and perhaps in the end; any other one perhaps at once.
                more |= {_Need(through, read, end, is_sure and is_definition), _Need((index,), read, self._end, False)}
                more |= set() if is_definition else {_Need((index,), read, index, is_sure)}
            for seed in self._seeds_for(statement):
                more |= {_Need((index,), read, seed, is_sure) for read in self._statements[seed].reads}
        return more

    def _seeds_for(self, statement: Statement) -> list[int]:
        """Statements of the same cell before this one that seed a generator, where it may use one."""
        if statement.is_plain or all(hasattr(builtins, name) for name in statement.reads):
            return []
        same = [one.index for one in self._statements[: statement.index] if one.cell == statement.cell]
        return self._seeds.setdefault(statement.index, [index for index in same if self._roles[index] == "seed"])

    def _settings(self) -> list[int]:
        """Statements that steer a library and need nothing but imports and literals."""
        return [
            one.index for one in self._statements if one.is_usable and self._roles[one.index] and self._is_free(one)
        ]

    def _is_free(self, statement: Statement) -> bool:
        chains = {self._chain(name, statement.index): self._chain(name, self._end) for name in statement.reads}
        plain = all(self._statements[index].is_plain for chain in chains for index in chain)
        return plain and all(chain == final for chain, final in chains.items())

    def _is_module_by_other_means(self, name: str, chain: tuple[int, ...]) -> bool:
        """Whether a `try`, an alias or a function has imported a module, which an `import` does without them."""
        is_import = all(isinstance(self._statements[index].node, ast.Import | ast.ImportFrom) for index in chain)
        is_module = isinstance(self._namespace.get(name), ModuleType)
        return is_module and not is_import and self._explained_without_statement(name)

    def _explained_without_statement(self, name: str) -> bool:
        """Whether the name is a builtin one, or what it holds can be imported from where it says that it lives."""
        if name == "display":
            self._derived[name] = "from IPython.display import display"
        elif not hasattr(builtins, name) and (line := import_of(name, self._namespace, stars=self._stars)) is not None:
            self._derived[name] = line
        return name in self._derived or hasattr(builtins, name)

    def _root(self, index: int) -> int:
        while self._parent.get(index, index) != index:
            index = self._parent[index]
        return index

    def _join(self, *indices: int) -> None:
        for index in indices:
            self._parent.setdefault(index, index)
            self._parent[self._root(index)] = self._root(indices[0])

    def _groups(self) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for index in sorted(self._parent):
            groups.setdefault(self._root(index), []).append(index)
        return groups

    def _sources(self, group: list[int]) -> dict[str, int]:
        """The names that a group uses as they are in the end, each with the group that makes it, itself included."""
        names = set().union(*(self._uses.get(index, set()) for index in group))
        finals = {name: self._chain(name, self._end) for name in names if name not in self._derived}
        return {name: self._root(chain[0]) for name, chain in finals.items() if chain}

    def _module_level(self) -> set[int]:
        """Groups that can stand at the top of a file: imports, literals, and functions that need nothing else."""
        groups = self._groups()
        top = {root for root, group in groups.items() if self._may_stand_at_top(group)}
        while True:
            ready = {root for root in top if set(self._sources(groups[root]).values()) <= top}
            if ready == top:
                return top
            top = ready

    def _may_stand_at_top(self, group: list[int]) -> bool:
        statements = [self._statements[index] for index in group]
        names = set().union(*(self._uses.get(index, set()) for index in group))
        is_one = len(group) == 1 or all(isinstance(one.node, ast.Import) for one in statements)
        definitions = [one for one in statements if not isinstance(one.node, ast.Import)]
        is_hidden = any(_COLLECTED.fullmatch(name) for one in definitions for name in one.bound)
        return is_one and not is_hidden and not names & self._unresolved and all(s.is_plain for s in statements)

    def _joined_two(self) -> bool:
        """Join two groups that would not be right apart; False where there are none."""
        groups, top = self._groups(), self._module_level()
        sources = {root: self._sources(group) for root, group in groups.items()}
        for root, group in groups.items():
            bound = frozenset[str]().union(*(self._statements[index].bound for index in group))
            for name, other in sources[root].items():
                if other != root and name in bound:  # its own value of the name would hide the other
                    self._join(root, other)
                    return True
        needed = {root: set(found.values()) - top - {root} for root, found in sources.items() if root not in top}
        circle = next(((a, b) for a, others in needed.items() for b in others if a in reachable(b, needed)), ())
        self._join(*circle)
        return bool(circle)

    def _part(self, group: list[int]) -> Part:
        root, top = self._root(group[0]), self._module_level()
        uses = self._sources(group)
        unresolved = set().union(*(self._uses.get(index, set()) for index in group)) & self._unresolved
        outside = set(self._names).union(*(self._uses[index] for index in self._uses if self._root(index) != root))
        given = [name for name in outside if (chain := self._chain(name, self._end)) and self._root(chain[0]) == root]
        indices = set(group).union(*(self._seeds.get(index, ()) for index in group))
        return Part(
            gives=tuple(sorted(set(given) - set(self._derived), key=lambda name: (self._chain(name, self._end), name))),
            needs=tuple(sorted({name for name, other in uses.items() if other not in top | {root}} | unresolved)),
            statements=tuple(self._statements[index] for index in sorted(indices)),
        )


def import_of(name: str, namespace: Mapping[str, object], *, stars: Iterable[str] = ()) -> str | None:
    """The line that imports what the name holds, or None where neither its own module nor one of `stars` has it."""
    if name not in namespace:
        return None
    value = namespace[name]
    for path in stars:
        if getattr(sys.modules.get(path), name, stars) is value:
            return f"from {path} import {name}"
    if isinstance(value, ModuleType):
        path = value.__name__
        if sys.modules.get(path) is not value or path == "__main__":
            return None
        return f"import {path}" if path == name else f"import {path} as {name}"
    home, own = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(home, str) or not isinstance(own, str) or not own.isidentifier() or home == "__main__":
        return None
    parents = [home.rsplit(".", count)[0] for count in range(home.count("."), -1, -1)]  # the public one first
    for path in parents:
        if getattr(sys.modules.get(path), own, None) is value:
            return f"from {path} import {own}" + ("" if own == name else f" as {name}")
    return None
