"""Wrapping methods of classes and putting them back, also when a module is imported late; not what a wrapper does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_MISSING = object()
Wrap = Callable[[Any], Any]


class Patches:
    """Attributes of classes that were replaced, with what stood there before. A wrapper is made once and reused.

    Reused, because code that torch.compile compiled under a wrapper is guarded by that object's identity.
    """

    def __init__(self) -> None:
        """Nothing is replaced yet."""
        self._before: list[tuple[type, str, Any]] = []
        self._lifted = 0
        self._lock = threading.RLock()
        self._wrappers: dict[tuple[type, str, int], tuple[Any, Any]] = {}

    def wrap(self, owner: type, name: str, wrap: Wrap) -> None:
        """Replace `owner.name`, inherited or its own, by `wrap(function)`; classmethods stay classmethods."""
        own = owner.__dict__.get(name, _MISSING)
        raw = (
            own if own is not _MISSING else next((b.__dict__[name] for b in owner.__mro__ if name in b.__dict__), None)
        )
        if raw is None or any(entry[0] is owner and entry[1] == name for entry in self._before):
            return
        kept, wrapper = self._wrappers.get((owner, name, id(raw)), (None, None))
        if kept is not raw:
            is_classmethod = isinstance(raw, classmethod)
            wrapper = classmethod(wrap(raw.__func__)) if is_classmethod else wrap(raw)
            self._wrappers[owner, name, id(raw)] = (raw, wrapper)
        self._before.append((owner, name, own))
        setattr(owner, name, wrapper)

    def put(self, owner: type, name: str, value: object) -> None:
        """Give a class an attribute that it does not have."""
        if not any(entry[0] is owner and entry[1] == name for entry in self._before):
            self._before.append((owner, name, _MISSING))
            setattr(owner, name, value)

    def wrap_overrides(self, base: type, name: str, wrap: Wrap) -> None:
        """Wrap `name` on `base` and on each loaded subclass that defines its own."""
        self.wrap(base, name, wrap)
        for child in _subclasses(base):
            if name in child.__dict__:
                self.wrap(child, name, wrap)

    def restore(self) -> None:
        """Put everything back, the last replaced first."""
        while self._before:
            _put_back(*self._before[-1])
            self._before.pop()

    def lift(self) -> None:
        """Put everything back for a while, until `lower` was called as often; calls may overlap in threads."""
        with self._lock:
            self._lifted += 1
            for entry in reversed(self._before if self._lifted == 1 else ()):
                _put_back(*entry)

    def lower(self) -> None:
        """End a `lift`: the same wrappers stand where they stood."""
        with self._lock:
            self._lifted -= 1
            for owner, name, own in self._before if self._lifted == 0 else ():
                raw = own if own is not _MISSING else _inherited(owner, name)
                setattr(owner, name, self._wrappers[owner, name, id(raw)][1])


def _inherited(owner: type, name: str) -> Any:
    return next((base.__dict__[name] for base in owner.__mro__[1:] if name in base.__dict__), None)


def _put_back(owner: type, name: str, own: Any) -> None:
    if own is not _MISSING:
        setattr(owner, name, own)
    elif name in owner.__dict__:
        delattr(owner, name)


def _subclasses(base: type) -> Iterator[type]:
    seen: set[type] = set()
    stack: list[type] = [base]
    while stack:
        children: list[type] = type.__subclasses__(stack.pop())
        for child in children:
            if child not in seen:
                seen.add(child)
                stack.append(child)
                yield child


class _ImportHook:
    """A finder that calls back after a module of `package` was loaded, and finds nothing by itself."""

    def __init__(self, package: str, loaded: Callable[[str], None]) -> None:
        self._package = package
        self._loaded = loaded
        self._busy = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != self._package or getattr(self._busy, "name", None) == name:
            return None
        self._busy.name = name
        try:
            spec = next(
                (found for f in list(sys.meta_path) if f is not self and (found := _ask(f, name, path, target))), None
            )
        finally:
            self._busy.name = None
        execute = getattr(getattr(spec, "loader", None), "exec_module", None)
        if spec is None or execute is None:
            return spec

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._loaded(name)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign,union-attr]  # this spec's loader only
        return spec


def _ask(finder: Any, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    find: Callable[..., ModuleSpec | None] | None = getattr(finder, "find_spec", None)
    return None if find is None else find(name, path, target)


@contextmanager
def after_import(package: str, loaded: Callable[[str], None]) -> Iterator[None]:
    """Call `loaded(name)` after each module of `package` that is imported inside the block."""
    hook = _ImportHook(package, loaded)
    sys.meta_path.insert(0, hook)
    try:
        yield
    finally:
        sys.meta_path.remove(hook)
