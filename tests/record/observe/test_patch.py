"""Wrapping methods and putting them back: inherited, own, class methods, lifted for a while, late imports."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_latency.record.observe.patch import Patches, after_import


def _louder(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args) + "!"

    return call


def _family() -> tuple[type, type, type]:
    class Base:
        def say(self) -> str:
            return "base"

        @classmethod
        def make(cls) -> str:
            return cls.__name__

    class Own(Base):
        def say(self) -> str:
            return "own"

    class Heir(Base):
        pass

    return Base, Own, Heir


def test_overrides_are_wrapped_and_heirs_inherit_the_wrapper_once() -> None:
    """A subclass with its own method is wrapped itself; one without is reached through its base."""
    base, own, heir = _family()
    before = (base.__dict__["say"], own.__dict__["say"])
    patches = Patches()
    patches.wrap_overrides(base, "say", _louder)
    assert ("base!", "own!", "base!") == (base().say(), own().say(), heir().say())
    patches.restore()
    assert before == (base.__dict__["say"], own.__dict__["say"])
    assert "say" not in heir.__dict__


def test_an_inherited_method_is_put_on_the_class_and_taken_off_again() -> None:
    """What the class did not have it does not have afterwards."""
    base, _, heir = _family()
    patches = Patches()
    patches.wrap(heir, "say", _louder)
    assert ("base", "base!") == (base().say(), heir().say())
    patches.restore()
    assert "say" not in heir.__dict__


def test_class_methods_stay_class_methods() -> None:
    """The wrapped function still gets the class it was called on."""
    base, own, _ = _family()
    patches = Patches()
    patches.wrap(base, "make", _louder)
    assert ("Base!", "Own!") == (base.make(), own.make())
    patches.restore()
    assert ("Base", "Own") == (base.make(), own.make())


def test_wrapping_twice_wraps_once() -> None:
    """Installing again while installed changes nothing."""
    base, _, _ = _family()
    patches = Patches()
    patches.wrap(base, "say", _louder)
    patches.wrap(base, "say", _louder)
    assert "base!" == base().say()


def test_the_same_wrapper_comes_back_after_a_restore() -> None:
    """Compiled code is guarded by the wrapper's identity."""
    base, _, _ = _family()
    patches = Patches()
    patches.wrap(base, "say", _louder)
    first = base.__dict__["say"]
    patches.restore()
    patches.wrap(base, "say", _louder)
    assert first is base.__dict__["say"]


def test_lifting_puts_back_until_lowered_as_often() -> None:
    """Two overlapping lifts need two lowers; the same wrappers stand again."""
    base, own, heir = _family()
    patches = Patches()
    patches.wrap_overrides(base, "say", _louder)
    patches.wrap(heir, "say", _louder)
    wrapped = (base.__dict__["say"], own.__dict__["say"], heir.__dict__["say"])
    patches.lift()
    patches.lift()
    assert ("base", "own", "base") == (base().say(), own().say(), heir().say())
    patches.lower()
    assert "base" == base().say()
    patches.lower()
    assert wrapped == (base.__dict__["say"], own.__dict__["say"], heir.__dict__["say"])


def test_a_method_that_is_not_there_is_left_alone() -> None:
    """Other versions of a library may lack it."""
    base, _, _ = _family()
    patches = Patches()
    patches.wrap(base, "whisper", _louder)
    patches.restore()
    assert not hasattr(base, "whisper")


def test_modules_imported_inside_the_block_call_back_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback comes after the module's code ran; the finder is gone afterwards."""
    package = tmp_path / "late_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("value = 3")
    (tmp_path / "late_other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    finders = list(sys.meta_path)
    seen: list[tuple[str, object]] = []
    with after_import("late_package", lambda name: seen.append((name, getattr(sys.modules[name], "value", None)))):
        importlib.import_module("late_other")
        importlib.import_module("late_package.inner")
    assert [("late_package", None), ("late_package.inner", 3)] == seen
    assert finders == sys.meta_path
