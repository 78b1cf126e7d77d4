"""Imports: one side's modules from its own tree, whoever finds them; and where they came from. Not what is run.

Editable installs, PYTHONPATH, pytest's pythonpath and rootdir all point into the tree that the user works in. So
everybody else is asked first, and what they find in one tree is taken at the same place of the other.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from llm_latency.errors import UsageError
from llm_latency.gate.message import Imported, Job

# The tool itself cannot be one of its two sides: it is loaded before them.
_TOOL = ("llm_latency", "pytest_llm_latency")
# Folders that hold installed packages, also where an environment lies inside a tree.
INSTALLED = frozenset({"site-packages", "dist-packages"})


class Imports(MetaPathFinder):
    """Resolves modules of a job's trees in its own tree, and those of its tests in the tree that has them."""

    def __init__(self, job: Job) -> None:
        """Read what a job says about its trees; `install` puts it to work."""
        self.own = Path(os.path.realpath(job.own))
        self.home = Path(os.path.realpath(job.home))
        self.trees = tuple(Path(os.path.realpath(tree)) for tree in job.trees)
        self._side = job.side
        self._project = job.project
        self._tests = tuple(Path(folder) for folder in job.tests)
        self._asking = threading.local()

    def install(self) -> None:
        """Be asked first; what was imported before stays."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as all others would, at its place in the right tree; raises ModuleNotFoundError without one."""
        if getattr(self._asking, "now", False) or fullname.partition(".")[0] in _TOOL:
            return None
        self._asking.now = True
        try:
            spec = _found(fullname, path, target, without=self)
            place = _place(spec)
            inside = None if place is None else self._inside(place)
            if inside is None:
                return spec if spec is not None or path is not None else self._only_here(fullname)
            assert spec is not None
            assert place is not None
            there = self._tree_of(inside) / inside
            if there == place:
                return spec
            if there.exists():
                return _moved(spec, there)
            if path is None and (only := self._only_here(fullname)) is not None:
                return only
        finally:
            self._asking.now = False
        raise ModuleNotFoundError(
            f"{fullname} was found as {place}, and the {self._side} has no {there}. A module that is built or generated"
            " in place has to be there too: name it in latency_share, or build it in a way that git knows",
            name=fullname,
        )

    def imported(self, *, with_inventory: bool) -> Imported:
        """What has been imported until now, and from where."""
        files: dict[str, str] = {}
        foreign, copies, modules = [], [], []
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            top = name.partition(".")[0]
            if not isinstance(file, str) or top in (*_TOOL, "__main__"):
                continue
            place = Path(os.path.realpath(file))
            inside = self._inside(place)
            if inside is None:
                if INSTALLED.intersection(place.parts):
                    modules.append(name)
                    copies += [f"{name} is {place}"] if name == top and self._has(top) else []
            elif self._is_test(inside):
                continue
            elif place.is_relative_to(self.own) and self._closest(place) == self.own:
                if name == top or top not in files:
                    files[top] = str(inside)
            else:
                foreign.append(f"{name} is {place}")
        return Imported(
            files=files,
            versions=_versions(("torch", "transformers")),
            foreign=tuple(foreign),
            copies=tuple(copies),
            modules=tuple(modules),
            inventory=inventory() if with_inventory else {},
        )

    def _inside(self, place: Path) -> Path | None:
        """The place relative to the tree that it lies in; None for what is in none, or installed in one."""
        tree = self._closest(place)
        if tree is None or INSTALLED.intersection(place.parts):
            return None
        return place.relative_to(tree)

    def _closest(self, place: Path) -> Path | None:
        """The innermost tree around a place."""
        return max((t for t in self.trees if place.is_relative_to(t)), key=lambda tree: len(tree.parts), default=None)

    def _tree_of(self, inside: Path) -> Path:
        return self.home if self._is_test(inside) else self.own

    def _is_test(self, inside: Path) -> bool:
        return inside.name == "conftest.py" or any(inside.is_relative_to(folder) for folder in self._tests)

    def _only_here(self, name: str) -> ModuleSpec | None:
        """A top-level module at a place where the other tree has none: one side has moved or removed it."""
        roots = [self.own / self._project, self.own / self._project / "src"]
        for entry in sys.path:
            inside = self._inside(Path(os.path.realpath(entry or ".")))
            roots += [self.own / inside] if inside is not None else []
        spec = PathFinder.find_spec(name, [str(root) for root in dict.fromkeys(roots)])
        return spec if spec is not None and spec.origin is not None else None

    def _has(self, name: str) -> bool:
        project = self.own / self._project
        return any((root / name / "__init__.py").is_file() for root in (project, project / "src"))


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


def _found(
    name: str, path: Sequence[str] | None, target: ModuleType | None, *, without: MetaPathFinder
) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if finder is without or find is None:
            continue
        spec: ModuleSpec | None = find(name, path, target)
        if spec is not None:
            return spec
    return None


def _place(spec: ModuleSpec | None) -> Path | None:
    """Where a module's file lies, or the first folder of a package that has none."""
    if spec is None:
        return None
    if spec.has_location and spec.origin is not None:
        return Path(os.path.realpath(spec.origin))
    locations = list(spec.submodule_search_locations or ())
    return Path(os.path.realpath(locations[0])) if locations else None


def _moved(spec: ModuleSpec, there: Path) -> ModuleSpec | None:
    if spec.has_location:
        folders = None if spec.submodule_search_locations is None else [str(there.parent)]
        return importlib.util.spec_from_file_location(spec.name, there, submodule_search_locations=folders)
    moved = ModuleSpec(spec.name, None, is_package=True)
    moved.submodule_search_locations = [str(there)]
    return moved
