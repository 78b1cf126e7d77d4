"""A callable out of a user's file, and what is said when there is none."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from llm_latency.errors import TargetError
from llm_latency.workloads.program import is_program, load_callable

SOURCE = """
    from functools import partial
    from beside import ANSWER

    VALUE = 3
    if __name__ == "__main__":
        raise SystemExit("ran as a script")

    def plain():
        return ANSWER

    async def later():
        return ANSWER

    def pieces():
        yield ANSWER

    def needs(text, n, *rest, limit=1, must, **more):
        return text

    def optional(n=5, *rest, **more):
        return n

    bound = partial(needs, "x", 1, must=2)

    class Chat:
        @staticmethod
        def turn():
            return "turn"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that imports its neighbour."""
    (tmp_path / "beside.py").write_text("ANSWER = 42\n", encoding="utf-8")
    path = tmp_path / "chat.py"
    path.write_text(dedent(SOURCE), encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "expected"), [("plain", 42), ("optional", 5), ("bound", "x"), ("Chat.turn", "turn")])
def test_a_callable_without_arguments_is_loaded_as_it_is(file: Path, name: str, expected: Any) -> None:
    """Functions, partials and attributes of classes."""
    assert expected == load_callable(f"{file}:{name}")()


def test_async_and_generator_functions_are_not_wrapped(file: Path) -> None:
    """Whoever records them has to see what they are."""
    assert inspect.iscoroutinefunction(load_callable(f"{file}:later"))
    assert [42] == list(load_callable(f"{file}:pieces")())  # type: ignore[call-overload] # a generator, as said


def test_the_callable_may_import_beside_itself_later(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder stays on the path, and the module has a private name, so that it hides none."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    function = load_callable(f"{file}:plain")
    assert str(file.parent) == sys.path[0]
    assert "_llm_latency_target_chat" == function.__module__
    assert "chat" not in sys.modules


def test_a_relative_path_is_looked_for_from_here(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell completes it."""
    monkeypatch.chdir(file.parent)
    assert 42 == load_callable("chat.py:plain")()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":nope", "has no 'nope'; callables there: plain, later, pieces, needs, optional, Chat$"),
        (":Chat.nope", "has no 'Chat.nope'; callables there: plain"),
        (":VALUE", "VALUE in .* is of type int and cannot be called; callables there: plain"),
        (":needs", r"needs arguments \(text, n, must\) and is called with none"),
        ("", "names no callable; write .*chat.py:NAME. It has: plain"),
        (":", "names no callable"),
    ],
)
def test_a_callable_that_cannot_be_called_is_an_error(file: Path, name: str, message: str) -> None:
    """Which lists those that the file defines."""
    with pytest.raises(TargetError, match=message):
        load_callable(f"{file}{name}")


def test_a_missing_file_is_an_error_with_the_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake is seen at once."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetError, match=r"there is no file nope\.py \(looked for .*nope\.py\)"):
        load_callable("nope.py:f")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_a_file_that_fails_is_an_error_with_its_reason(tmp_path: Path, source: str, message: str) -> None:
    """Nothing of it stays behind."""
    before = list(sys.path)
    (tmp_path / "broken.py").write_text(source, encoding="utf-8")
    with pytest.raises(TargetError, match=f"failed while it was imported, with {message}"):
        load_callable(f"{tmp_path / 'broken.py'}:f")
    assert before == sys.path
    assert "_llm_latency_target_broken" not in sys.modules


@pytest.mark.parametrize(
    ("target", "expected"),
    [("a.py:f", True), ("a.py", True), (r"C:\a.py:f", True), ("shape:gpt2", False), ("owner/name", False), ("", False)],
)
def test_a_program_is_told_by_its_ending(target: str, expected: bool) -> None:
    """Everything else is a model."""
    assert expected is is_program(target)
