"""What statements change in place, and which libraries they steer."""

from __future__ import annotations

import os
import random
from collections import UserDict
from typing import Any

import pytest

from llm_latency.notebook.changes import Changes, reachable, role_of
from llm_latency.notebook.statements import read_session


class Thing:
    """Something with a state."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("no_"):
            raise AttributeError(name)
        return lambda *_: self

    @property
    def broken(self) -> int:
        """A property that cannot be read."""
        raise ValueError


class Module(Thing):
    """Something that looks like a torch module."""

    def named_parameters(self) -> None:
        """As torch has it."""


NAMESPACE: dict[str, object] = {name: Thing() for name in "abcdx"} | {"m": Module(), "u": UserDict()}
NAMESPACE |= {"n": 3, "os": os, "random": random, "init": os}


def changed(*cells: str) -> list[str]:
    """For each statement the names whose object it changes."""
    changes = Changes(NAMESPACE)
    return [" ".join(sorted(changes.of(statement))) for statement in read_session(cells)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a.x = 1", "a"),
        ("a.x.y[0] = b", "a"),
        ("a['k'], (b.c, _) = 1, (2, 3)", "a b"),
        ("a.x += 1", "a"),
        ("a.x: int = 1", "a"),
        ("del a[0], b.c", "a b"),
        ("a = 1", ""),
        ("a.eval()", "a"),
        ("a.to('cpu').half()", "a"),
        ("a.b.c.do(b)", "a"),
        ("await a.connect()", "a"),
        ("a.generate(b)", ""),
        ("a.get_config()", ""),
        ("a.to_dict()", ""),
        ("a.save_pretrained('x')", ""),
        ("a.no_method()", ""),  # mistyped: it has never run
        ("a.broken()", "a"),
        ("_ = a.eval()", "a"),
        ("k = a.add_tokens(['x'])", "a"),
        ("k = a.size()", ""),
        ("k = b.f(a.half())", ""),  # a tensor's half is another tensor
        ("k = b.f(m.half())", "m"),
        ("k = b.f(u.to('cpu'))", ""),  # has no such method
        ("k = a.pop()", "a"),
        ("a.requires_grad_(False)", "a"),
        ("init.zeros_(a.weight)", "a"),
        ("random.shuffle(a)", "a"),
        ("setattr(a, 'x', 1)", "a"),
        ("print(a)", ""),
        ("os.putenv('a', 'b')", ""),
        ("os.x = 1", ""),
        ("for p in a.parameters():\n    p.grad = None", "a p"),
        ("for k, (p, q) in zip(b, c):\n    q.x = 1", "b c k p q"),
        ("for p in (a, b):\n    p.eval()", "a b p"),
        ("if a.pad is None:\n    a.pad = 1", "a"),
        ("with b:\n    a.x = 1", "a"),
        ("def f():\n    a.x = 1", ""),
        ("(lambda: a.pop())", ""),
    ],
)
def test_a_statement_changes_what_it_sets_a_part_of_or_calls_a_method_on(code: str, expected: str) -> None:
    """Not what it asks, nor what only a function in it would change."""
    assert [expected] == changed(code)


def test_a_part_of_a_changed_object_is_changed_with_it() -> None:
    """Whichever of the names is used; a name that was bound again is no part any more, and numbers never are."""
    assert ["", "a b", "", "a b c", "", "b c", "", "a"] == changed(
        "a = b.part", "a.x = 1", "c = a[0]", "b.x = 1", "a = d()", "c.x = 1", "n = a.size", "a.x = 2"
    )


def test_functions_of_the_notebook_are_called_for_what_they_do_or_show() -> None:
    """The last value of a cell is shown; one before it was called for its effect."""
    assert ["", "", "a", ""] == changed("def prepare(x): ...\ndef show(x): ...\nprepare(a)\nshow(b)")
    assert ["", "k"] == changed("def load():\n    global k\n    k = 1", "load()")


def function() -> None:
    """Seed something."""


function.__module__ = "transformers.trainer_utils"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("random.seed(0)", "seed"),
        ("_ = random.seed(0)", "seed"),
        ("k = random.seed(0)", ""),
        ("set_seed(0)", "seed"),
        ("a.seed(0)", ""),
        ("random.set_state(0)", "setting"),
        ("random.level = 3", "setting"),
        ("random.level = a", ""),
        ("os.level = 3", ""),
        ("os.set_blocking(0, 1)", ""),
        ("x = 1", ""),
        ("nowhere.seed(0)", ""),
        ("a()[0](0)", ""),
    ],
)
def test_seeds_and_settings_of_libraries(code: str, expected: str) -> None:
    """Of those libraries that change how fast a model runs."""
    (statement,) = read_session([code])
    assert expected == role_of(statement.node, NAMESPACE | {"set_seed": function})


def test_reachable() -> None:
    """A node reaches itself, and circles end."""
    assert {1} == reachable(1, {})
    assert {1, 2, 3} == reachable(1, {1: {2}, 2: {3, 1}, 4: {1}})
