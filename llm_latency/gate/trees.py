"""Trees: where a file lies in one side's own tree and in the other's; not how modules are found."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from llm_latency.gate.message import Job

# Folders that hold installed packages, also where an environment lies inside a tree.
INSTALLED = frozenset({"site-packages", "dist-packages"})


class Trees:
    """A job's trees: the side's `own`, the `home` that tests come from, and `all` of them."""

    def __init__(self, job: Job) -> None:
        """Resolve what a job says; nothing is looked for yet."""
        self.own = Path(os.path.realpath(job.own))
        self.home = Path(os.path.realpath(job.home))
        self.all = tuple(Path(os.path.realpath(tree)) for tree in job.trees)
        self.project = Path(job.project)
        self._tests = tuple(Path(folder) for folder in job.tests)
        self._own = f"{self.own}{os.sep}"
        self._starts = tuple(f"{tree}{os.sep}" for tree in self.all)
        self._systems = _systems(self.all)

    def place(self, file: str) -> Path:
        """Where a file lies. A link inside the own tree stays there: what both sides share belongs to both."""
        path = os.path.abspath(file)
        if path.startswith(self._own):
            return Path(path)
        path = os.path.join(real(os.path.dirname(path)), os.path.basename(path))
        return Path(os.path.realpath(path) if os.path.islink(path) else path)

    def closest(self, place: Path) -> Path | None:
        """The innermost tree around a place."""
        if not str(place).startswith(self._starts) and place not in self.all:
            return None
        return max((tree for tree in self.all if place.is_relative_to(tree)), key=lambda tree: len(tree.parts))

    def inside(self, place: Path) -> Path | None:
        """The place relative to the tree that it lies in; None for what is in none, or installed in one."""
        tree = self.closest(place)
        if tree is None:
            return None
        inside = place.relative_to(tree)
        is_installed = INSTALLED.intersection(inside.parts) or any(place.is_relative_to(s) for s in self._systems)
        return None if is_installed else inside

    def right(self, inside: Path) -> Path:
        """The place that this side takes: of tests and conftest files the home's, of all else its own."""
        return (self.home if self.is_test(inside) else self.own) / inside

    def is_test(self, inside: Path) -> bool:
        """Whether a place belongs to the tests, which both sides take from one tree."""
        return inside.name == "conftest.py" or any(inside.is_relative_to(folder) for folder in self._tests)


def outside(path: Iterable[str], trees: Sequence[str]) -> list[str]:
    """The entries of a sys.path that hold nothing of a project: in no tree, or installed packages in one."""
    real = tuple(Path(os.path.realpath(tree)) for tree in trees)
    systems = _systems(real)
    found = []
    for entry in (entry for entry in path if entry and isinstance(entry, str)):
        place = Path(os.path.realpath(entry))
        tree = next((tree for tree in real if place.is_relative_to(tree)), None)
        is_library = tree is not None and INSTALLED.intersection(place.relative_to(tree).parts)
        if tree is None or is_library or any(place.is_relative_to(system) for system in systems):
            found.append(entry)
    return found


def _systems(trees: Sequence[Path]) -> tuple[Path, ...]:
    """Folders inside a tree that are this interpreter's: an environment, or a whole Python, beside the project."""
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, os.path.dirname(os.__file__))
    real = dict.fromkeys(Path(os.path.realpath(prefix)) for prefix in prefixes)
    return tuple(prefix for prefix in real if any(prefix != tree and prefix.is_relative_to(tree) for tree in trees))


@functools.lru_cache(maxsize=4096)
def real(folder: str) -> str:
    """Where a folder lies behind all links, asked once."""
    return os.path.realpath(folder)
