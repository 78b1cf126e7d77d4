"""Random notebooks: what an exported cell gives is what the notebook gave, whatever was done before it."""

from __future__ import annotations

import ast
import inspect
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from llm_latency.notebook.provenance import trace
from llm_latency.notebook.pytest_file import Heading, make_file, read_cell

NAMES = "abcde"
PRELUDE = "import contextlib\n@contextlib.contextmanager\ndef ctx():\n    yield [6]\n" + "\n".join(
    [*(f"{name} = [{index}]" for index, name in enumerate(NAMES)), "def f(): return [1]", "def g(): return f()"]
)
SIMPLE = [
    "{a} = [{n}]",
    "{a} = [{b}, 1]",
    "{a} = {b}",
    "{a} = len({b}) * [{c}]",
    "{a}.append({n})",
    "{a}.append(len({b}))",
    "{a} = {a} + {b}",
    "{a} += [1]",
    "{a}, {b} = {b}, {a}",
    "{a}, *{b} = [{c}, 1, 2]",
    "{a} = {f}()",
    "{a} = [len(str({b})), len({c})]",
    "{a}[0:0] = {b}[:1]",
    "{a} = {{'k': {b}}}['k']",
    "{a} = [i for i in {b}]",
    "{a} = (lambda: {b} + [3])()",
    "{a} = [0, *{b}[:3]]",
    "import math as {a}{a}",
]
FUNCTIONS = ["def {f}(): return {a} + [len({b})]", "def {f}(x=None): return [{n}] + {a}"]
COMPOUND = [
    "for {a} in ([1], [2]):\n    {s}",
    "if len({b}) > 1:\n    {s}",
    "if {b}:\n    {s}\nelse:\n    {a} = [4]",
    "with ctx() as {a}:\n    {s}",
    "try:\n    {s}\n    1 / 0\nexcept ZeroDivisionError:\n    {a} = [9]",
]


def statement(draw: random.Random) -> str:
    """A statement over a few names."""
    kind = draw.choice([SIMPLE, SIMPLE, SIMPLE, FUNCTIONS, COMPOUND])
    names = dict(zip("abc", draw.sample(NAMES, 3), strict=True), f=draw.choice("fg"), n=draw.randint(0, 9))
    return draw.choice(kind).format(**names, s=draw.choice(SIMPLE).format(**names))


def notebook(draw: random.Random) -> list[str]:
    """Cells that run, and none of which makes a list that grows without end."""
    cells = [PRELUDE]
    for _ in range(draw.randint(1, 5)):
        cell = "\n".join(statement(draw) for _ in range(draw.randint(1, 3)))
        namespace: dict[str, Any] = {}
        try:
            exec("\n".join([*cells, cell]), namespace)
        except Exception:
            continue
        if all(len(str(namespace[name])) < 500 for name in NAMES):
            cells.append(cell)
    return cells


def run_test(text: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """What the cell in a written test gives, with fixtures made as pytest makes them."""
    fixtures: dict[str, Callable[..., object]] = {}
    made: dict[str, object] = {}
    given: list[object] = []

    def fixture(**_: str) -> Callable[[Callable[..., object]], object]:
        return lambda function: fixtures.__setitem__(function.__name__, function)

    def value(name: str) -> object:
        if name == "llmtime":
            return lambda cell: given.append(cell())
        if name not in made:
            made[name] = fixtures[name](*map(value, inspect.signature(fixtures[name]).parameters))
        return made[name]

    mark = SimpleNamespace(latency_budget=lambda **_: lambda function: function)
    namespace: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "pytest", SimpleNamespace(fixture=fixture, mark=mark))
        exec(compile(text, "test", "exec", dont_inherit=True), namespace)
    namespace["test_cell"](*map(value, inspect.signature(namespace["test_cell"]).parameters))
    return given[0]


@pytest.mark.parametrize("seed", range(40))
def test_a_random_notebook(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten a seed: rebound, shared, swapped and looped over; read between two changes, by functions and by lambdas."""
    draw = random.Random(seed)
    for _ in range(10):
        cells = notebook(draw)
        names = draw.sample(NAMES, draw.randint(1, 4))
        before = f"{statement(draw)}\n" if draw.random() < 0.4 else ""
        call = draw.choice(["", "f(), ", "g(), "])
        source = f"{before}repr(({call}{', '.join(names)},))"
        namespace: dict[str, Any] = {}
        exec("\n".join(cells), namespace)
        tree = ast.parse(source)
        try:
            exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), namespace)
            expected = eval(source.rsplit("\n", maxsplit=1)[-1], namespace)
        except Exception:
            continue
        cell = read_cell(source)
        found = trace(cell.reads, perhaps=cell.rebound, bound=cell.bound, earlier=cells, namespace=namespace)
        heading = Heading(paragraphs=("About.",), cell="cell", limits={"total_p50": "1 s"})
        text = make_file(cell, found, heading=heading, namespace=namespace)
        assert expected == run_test(text, monkeypatch), "\n---\n".join([*cells[1:], source, text])
