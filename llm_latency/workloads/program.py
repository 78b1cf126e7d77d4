"""A user's callable out of a file, `file.py:callable`; not models, which have targets of their own."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from llm_latency.errors import TargetError


def is_program(target: str) -> bool:
    """Whether the target names a Python file, with or without a callable in it."""
    file, _, _ = target.rpartition(":")
    return file.endswith(".py") or target.endswith(".py")


def load_callable(target: str) -> Callable[[], object]:
    """Import the file of `file.py:callable` and return the callable, which may be async or a generator function.

    The file's folder stays on sys.path, as for `python file.py`: the callable may import beside itself later.
    Raises TargetError when the file is missing or fails, and when the callable is missing, is none, or needs arguments.
    """
    file, _, name = target.rpartition(":") if not target.endswith(".py") else (target, "", "")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise TargetError(f"there is no file {file} (looked for {path}); expected file.py:callable")
    module = _import(path, file)
    if not name:
        raise TargetError(f"{file} names no callable; write {file}:NAME. It has: {_callables(module)}")
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, _MISSING)
    if found is _MISSING:
        raise TargetError(f"{file} has no {name!r}; callables there: {_callables(module)}")
    if not callable(found):
        raise TargetError(
            f"{name} in {file} is of type {type(found).__name__} and cannot be called; callables there:"
            f" {_callables(module)}"
        )
    if needed := _needed(found):
        raise TargetError(
            f"{name} in {file} needs arguments ({', '.join(needed)}) and is called with none;"
            " name a function without them that calls it"
        )
    return found  # type: ignore[no-any-return] # whatever it is, it was found callable


_MISSING = object()


def _import(path: Path, shown: str) -> ModuleType:
    """Run the file as a module of a private name, under which its classes can be pickled."""
    name = f"_llm_latency_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{shown} is not a file that Python can import; expected file.py:callable")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.path.remove(str(path.parent))
        del sys.modules[name]
        what = f"{type(error).__name__}: {error}"
        raise TargetError(f"{shown} failed while it was imported, with {what}; it has to run as it stands") from error
    return module


def _callables(module: ModuleType) -> str:
    """Names of the public callables that the file defines itself."""
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return ", ".join(own) or "none"


def _needed(function: Callable[..., object]) -> list[str]:
    """Names of the arguments without which it cannot be called."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins do not tell
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is inspect.Parameter.empty and one.kind not in variable]
