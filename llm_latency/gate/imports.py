"""Imports: one side's modules from its own tree, whoever finds them; and where they came from. Not what is run.

Editable installs, PYTHONPATH, pytest's pythonpath and rootdir all point into the tree that the user works in. So
everybody else is asked first, and what they find in one tree is taken at the same place of the other.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, NamespaceLoader, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from llm_latency.errors import UsageError
from llm_latency.gate.message import Imported, Job
from llm_latency.gate.trees import INSTALLED, Trees, real

# The tool itself cannot be one of its two sides: it is loaded before them.
_TOOL = ("llm_latency", "pytest_llm_latency")
# Loaded by the interpreter itself, before anybody could say from where.
_ITS_OWN = ("__main__", "sitecustomize", "usercustomize")
_STANDARD = os.path.dirname(os.__file__) + os.sep


class Imports(MetaPathFinder):
    """Resolves modules of a job's trees in its own tree, and those of its tests in the tree that has them."""

    def __init__(self, job: Job) -> None:
        """Read what a job says about its trees; `install` puts it to work."""
        self.trees = Trees(job)
        self._side = job.side
        self._roots: dict[Path, None] = {}

    def install(self) -> None:
        """Be asked first; what was imported before stays."""
        sys.meta_path = _Behind([self, *sys.meta_path])

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as all others would, at its place in the right tree."""
        if fullname.partition(".")[0] in _TOOL:
            return None
        named = self._named_by_folder(fullname, path)
        if named is not None:
            return self._replaced(ModuleSpec(fullname, None, origin=str(named), is_package=True), named, path, None)
        spec, finder = _found(fullname, path, target, without=self)
        if spec is None:
            return self._found_by_none(fullname, path)
        if not spec.has_location:
            return spec if spec.submodule_search_locations is None else self._namespace(spec, path)
        place = self.trees.place(spec.origin or "")
        inside = self.trees.inside(place)
        if inside is None:
            return (None if path is not None else self._vendored(fullname, place)) or spec
        if path is None:
            self._roots[self.trees.own / (inside.parent.parent if _is_package(spec) else inside.parent)] = None
        if self.trees.right(inside) == place or self._is_test_of_one(inside, place):
            return spec
        return self._replaced(spec, place, path, finder)

    def has_own(self, name: str) -> bool:
        """Whether a top-level module lies in the own tree alone, where sys.path would find it."""
        return self._own_alone(name, self._mapped(_entries())) is not None

    def imported(self) -> Imported:
        """What has been imported until now, and from where."""
        files: dict[str, str] = {}
        foreign, copies, modules = [], [], []
        libraries: dict[str, bool] = {}
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__dict__", {}).get("__file__")  # a lazy module would import what it is asked for
            top = name.partition(".")[0]
            if not isinstance(file, str) or top in _ITS_OWN:
                continue
            folder = os.path.dirname(file)
            if folder not in libraries:
                libraries[folder] = self._is_outside(folder)
            if top in _TOOL or libraries[folder]:  # as are thousands, told by their folders alone
                modules += [name] if top in _TOOL or _is_library(file) else []
                copies += [f"{name} is {file}"] if name == top and self._is_copy(top, file) else []
                continue
            place = self.trees.place(file)
            inside = self.trees.inside(place)
            if inside is None or self.trees.is_test(inside):
                continue
            if self.trees.closest(place) != self.trees.own:
                foreign.append(f"{name} is {place}")
            elif name == top or top not in files:
                files[top] = str(inside)
        return Imported(
            files=files,
            versions=_versions(("torch", "transformers")),
            foreign=tuple(foreign),
            copies=tuple(copies),
            modules=tuple(modules),
        )

    def _is_outside(self, folder: str) -> bool:
        """Whether it holds nothing of a project: in no tree, or installed in one."""
        return self.trees.inside(self.trees.place(os.path.join(folder, "__init__.py"))) is None

    def _replaced(self, spec: ModuleSpec, place: Path, path: Sequence[str] | None, finder: Any) -> ModuleSpec:
        """What lies at the same place in the right tree; where there is nothing, a module that says so if imported."""
        inside = self.trees.inside(place)
        assert inside is not None
        there = self.trees.right(inside)
        if there.exists():
            moved = _moved(spec, there, finder)
            return moved if path is None else _instead_of(place, moved)
        if path is None and (only := self._only_here(spec.name)) is not None:
            return only
        return self._missing(spec.name, inside, place)

    def _missing(self, name: str, inside: Path, place: Path) -> ModuleSpec:
        words = (
            f"No module named {name!r}: the {self._side} has no {inside}, which is in {place}. What git does not know,"
            " such as a file that is built or generated in place, has to be named in --latency-share (ini:"
            " latency_share)"
        )
        return ModuleSpec(name, _Missing(words), origin=str(place))

    def _named_by_folder(self, fullname: str, path: Sequence[str] | None) -> Path | None:
        """A package's file in the wrong tree: pytest's importlib mode asks for it with its own folder as the path."""
        folders = list(path or ())
        if len(folders) != 1 or os.path.basename(folders[0]) != fullname.rpartition(".")[2]:
            return None
        place = self.trees.place(os.path.join(folders[0], "__init__.py"))
        inside = self.trees.inside(place)
        is_wrong = inside is not None and self.trees.right(inside) != place
        return place if is_wrong and place.is_file() else None

    def _is_test_of_one(self, inside: Path, place: Path) -> bool:
        """Whether a file among the tests is only in the tree that it was found in."""
        return (
            self.trees.is_test(inside)
            and place.is_relative_to(self.trees.own)
            and not self.trees.right(inside).exists()
        )

    def _found_by_none(self, fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
        if path is None:
            return self._own_alone(fullname, [*self._mapped(_entries()), *self._roots])
        for folder in path:
            inside = self.trees.inside(self.trees.place(os.path.join(folder, fullname.rpartition(".")[2])))
            if inside is None:
                continue
            if self.trees.is_test(inside):  # tests that came with the head, inside of a package of the base
                return _in_folder(fullname, self.trees.right(inside).parent)
            for tree in self.trees.all:
                spec = _in_folder(fullname, (tree / inside).parent)
                if spec is not None and spec.origin is not None:
                    return self._missing(fullname, Path(spec.origin).relative_to(tree), Path(spec.origin))
        return None

    def _vendored(self, name: str, installed: Path) -> ModuleSpec | None:
        """An own module that would come before an installed one, where the other tree has it no more."""
        if not INSTALLED.intersection(installed.parts):
            return None
        entries = _entries()
        last = next((at for at, entry in enumerate(entries) if entry and installed.is_relative_to(real(entry))), 0)
        return self._own_alone(name, self._mapped(entries[:last]))

    def _own_alone(self, name: str, roots: Iterable[Path]) -> ModuleSpec | None:
        """A top-level module of the own tree alone; what both have and nobody found is not meant to be imported."""
        for root in dict.fromkeys(roots):
            spec = _in_folder(name, root)
            inside = root.relative_to(self.trees.own)
            others = (tree / inside for tree in self.trees.all if tree != self.trees.own)
            if spec is not None and not any(_in_folder(name, other) for other in others):
                return spec
        return None

    def _only_here(self, name: str) -> ModuleSpec | None:
        """A top-level module that the other tree has at another place: one side has moved it."""
        project = self.trees.own / self.trees.project
        for root in dict.fromkeys((*self._mapped(_entries()), *self._roots, project, project / "src")):
            if (spec := _in_folder(name, root)) is not None:
                self._roots[root] = None
                return spec
        return None

    def _mapped(self, entries: Iterable[str]) -> Iterator[Path]:
        """The own tree's folders at the places of a sys.path."""
        for entry in entries:
            inside = self.trees.inside(Path(real(entry) if entry else os.getcwd()))
            if inside is not None:
                yield self.trees.own / inside

    def _namespace(self, spec: ModuleSpec, path: Sequence[str] | None) -> ModuleSpec:
        """A package without a file of its own, with its folders in the right tree; those outside of the trees stay."""
        before = list(spec.submodule_search_locations or ())
        after = []
        for folder in before:
            place = Path(os.path.realpath(folder))
            inside = self.trees.inside(place)
            after.append(folder if inside is None else str(self.trees.right(inside)))
        if all(map(os.path.samefile, before, after)) if _are_there(before, after) else before == after:
            return spec
        if path is None and not _are_there(after, after) and (only := self._only_here(spec.name)) is not None:
            return only
        moved = ModuleSpec(spec.name, None, is_package=True)
        moved.submodule_search_locations = _folders(spec.name, after, self)
        return moved

    def _is_copy(self, name: str, file: str) -> bool:
        """Whether an installed package is the project's own: half of the modules in its tree have the same names."""
        if not INSTALLED.intersection(file.split(os.sep)):
            return False
        project = self.trees.own / self.trees.project
        for root in (project, project / "src"):
            inside = self.trees.inside(root / name / "__init__.py")
            if inside is not None and (root / name / "__init__.py").is_file() and not self.trees.is_test(inside):
                own = {file.name for file in (root / name).glob("*.py")}
                return 2 * len(own & {found.name for found in Path(file).parent.glob("*.py")}) >= len(own)
        return False


class _Behind(list[Any]):
    """sys.meta_path with a first finder that stays first: test runners put their own in front of all others."""

    def insert(self, index: Any, finder: Any, /) -> None:
        """Insert it behind the first one."""
        super().insert(max(1, index), finder)


class _Missing(Loader):
    """Loads nothing: the module is found where its tree has none, so that those who only look see both sides alike."""

    def __init__(self, words: str) -> None:
        self._words = words

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        raise ModuleNotFoundError(self._words, name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Never reached."""


class _Instead(Loader):
    """Loads one file where another was asked for: pytest's importlib mode takes only the spec of the file it names."""

    def __init__(self, spec: ModuleSpec) -> None:
        self._spec = spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return importlib.util.module_from_spec(self._spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
        assert self._spec.loader is not None
        self._spec.loader.exec_module(module)


def require_own(side: str, imported: Imported) -> None:
    """Refuse a side that does not run its own tree's code; raises UsageError."""
    if imported.foreign:
        raise UsageError(
            f"the {side} imported the other side's code ({'; '.join(imported.foreign[:3])}), so the two would not be"
            " compared. Something loads it past Python's import system; tell us how"
        )
    if imported.copies:
        raise UsageError(
            f"the {side} runs an installed copy of code that is in its tree ({'; '.join(imported.copies[:3])}), the"
            " same on both sides. Install the project with `pip install -e`, or set pytest's pythonpath"
        )


def inventory() -> dict[str, str]:
    """Every installed distribution and its version."""
    return {
        str(name): found.version
        for found in importlib.metadata.distributions()
        if (name := found.metadata["Name"]) is not None
    }


def _versions(names: Iterable[str]) -> dict[str, str]:
    loaded = ((name, sys.modules.get(name)) for name in names)
    return {name: str(getattr(module, "__version__", "unknown")) for name, module in loaded if module is not None}


def _entries() -> list[str]:
    """sys.path without what Python passes over: somebody's Path objects."""
    return [entry for entry in sys.path if isinstance(entry, str)]


def _found(
    name: str, path: Sequence[str] | None, target: ModuleType | None, *, without: MetaPathFinder
) -> tuple[ModuleSpec | None, Any]:
    """What the other finders say, and which of them."""
    for finder in list(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        if finder is without or find is None:
            continue
        spec: ModuleSpec | None = find(name, path, target)
        if spec is not None:
            return spec, finder
    return None, None


def _moved(spec: ModuleSpec, there: Path, finder: Any) -> ModuleSpec:
    """The same module from another file, by whoever has found it: some of them change the code that they load."""
    folder = there.parent.parent if _is_package(spec) else there.parent
    for one in filter(None, (finder, PathFinder)):
        found: ModuleSpec | None = one.find_spec(spec.name, [str(folder)], None)
        if found is not None and found.has_location and found.origin == str(there):
            return found
    folders = [str(there.parent)] if _is_package(spec) else None
    moved = importlib.util.spec_from_file_location(spec.name, there, submodule_search_locations=folders)
    assert moved is not None  # it has the name of a file that has a loader
    return moved


def _instead_of(place: Path, spec: ModuleSpec) -> ModuleSpec:
    instead = ModuleSpec(spec.name, _Instead(spec), origin=str(place))
    instead.submodule_search_locations = spec.submodule_search_locations
    return instead


def _in_folder(name: str, folder: Path) -> ModuleSpec | None:
    """A module in one folder; a folder without Python files is none."""
    spec = PathFinder.find_spec(name, [str(folder)])
    if spec is None or spec.has_location:
        return spec
    within = [Path(place) for place in spec.submodule_search_locations or ()]
    has_code = any(any(place.glob("*.py")) or any(place.glob("*/*.py")) for place in within)
    return spec if has_code else None


def _folders(name: str, folders: list[str], finder: MetaPathFinder) -> Any:
    """A package's search path that follows its parent's, asking a finder: what namespace packages have."""

    def again(_: str, parent: Sequence[str]) -> ModuleSpec | None:
        return finder.find_spec(name, parent if "." in name else None)

    # There is no public name for it; a list does for all but importlib.resources.
    return getattr(NamespaceLoader(name, folders, again), "_path", folders)


def _is_library(file: str) -> bool:
    """Whether a file is of an installed package or of the standard library."""
    return file.startswith(_STANDARD) or not INSTALLED.isdisjoint(file.split(os.sep))


def _is_package(spec: ModuleSpec) -> bool:
    return spec.submodule_search_locations is not None


def _are_there(*lists: list[str]) -> bool:
    return all(os.path.isdir(folder) for folders in lists for folder in folders)
