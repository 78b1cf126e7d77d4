"""From which statements names come: the parts of a file."""

from __future__ import annotations

import collections
import functools
import math
from collections import OrderedDict
from typing import Any

import pytest

from llm_latency.notebook.provenance import Provenance, import_of, is_reserved, trace


def traced(names: str, *cells: str, namespace: dict[str, Any] | None = None, **more: Any) -> Provenance:
    """Trace names through cells."""
    return trace(names.split(), earlier=cells, namespace=namespace or {}, **more)


def parts(found: Provenance) -> list[tuple[str, str, str]]:
    """Each fixture as what it gives, what it needs, and its code."""
    return [
        (" ".join(part.gives), " ".join(part.needs), "; ".join(one.code for one in part.statements))
        for part in found.fixtures
    ]


@pytest.mark.parametrize(
    ("names", "cells", "expected"),
    [
        ("a", ["a = f()"], [("a", "f", "a = f()")]),
        ("a", ["a = len('')", "a = len('x')"], [("a", "", "a = len('x')")]),
        ("b", ["a = len('')", "b = [a]"], [("a", "", "a = len('')"), ("b", "a", "b = [a]")]),
        # A change afterwards belongs to it; what it needs as well.
        ("a", ["a = len", "c = len('')", "a.x = c"], [("a", "c", "a = len; a.x = c"), ("c", "", "c = len('')")]),
        # Of two on one line neither is made twice.
        ("a b", ["a, b = divmod(7, 2)"], [("a b", "", "a, b = divmod(7, 2)")]),
        ("a", ["a, b = divmod(7, 2)"], [("a", "", "a, b = divmod(7, 2)")]),
        # An older value that another needs; a change between; each needs the other.
        ("b", ["a = len('')", "b = [a]", "a = len('x')"], [("b", "", "a = len(''); b = [a]")]),
        (
            "a b",
            ["a = len('')", "b = [a]", "a = len('x')"],
            [("b", "", "a = len(''); b = [a]"), ("a", "", "a = len('x')")],
        ),
        ("b", ["a = [len]", "b = len(a)", "a.append(1)"], [("b", "", "a = [len]; b = len(a)")]),
        ("a b", ["a = [len]", "b = [a]", "a.append(b)"], [("a b", "", "a = [len]; b = [a]; a.append(b)")]),
        # Bound on some way only.
        ("a", ["a = len('')", "if a: a = 3"], [("a", "", "a = len(''); if a: a = 3")]),
        ("a", ["for i in range(3): a = i"], [("a", "", "for i in range(3): a = i")]),
        # A loop's variable hides what another statement of the part reads from elsewhere.
        (
            "out",
            ["x = len('')", "out = [x]", "for x in out: out.append(x)"],
            [("out", "", "x = len(''); out = [x]; for x in out: out.append(x)")],
        ),
        # A function that needs a fixture is one itself; two that call each other are made together.
        ("f", ["m = len('')", "def f(): return m"], [("m", "", "m = len('')"), ("f", "m", "def f(): return m")]),
        (
            "f",
            ["m = len('')", "def f(): return g()", "def g(): return f, m"],
            [("m", "", "m = len('')"), ("f", "m", "def f(): return g(); def g(): return f, m")],
        ),
        # A function that ran at its time, with what its names were then.
        (
            "b",
            ["m = len('')", "def f(): return m", "b = [f()]", "m = len('x')"],
            [("b", "", "m = len(''); def f(): return m; b = [f()]; m = len('x')")],
        ),
    ],
)
def test_statements_that_make_a_name_in_the_end(
    names: str, cells: list[str], expected: list[tuple[str, str, str]]
) -> None:
    """Worked out by hand: run in this order, each part gives what the notebook had."""
    assert expected == parts(traced(names, *cells))


def test_imports_literals_and_functions_stand_at_the_top() -> None:
    """With what they need, and only that."""
    found = traced(
        "f K",
        "import math, os\nfrom collections import deque as dq\nK = -3; L = 4\nW = ['a', {'b': None}]",
        "def f(): return math.pi + L + g()\ndef g(): return dq(W), f",
        "def unused(): ...",
    )
    assert ["import math", "from collections import deque as dq"] == [one.code for one in found.imports]
    assert ["K = -3", "L = 4", "W = ['a', {'b': None}]"] == [one.code for one in found.at_top[:3]]
    assert ["def f(): return math.pi + L + g()", "def g(): return dq(W), f"] == [one.code for one in found.at_top[3:]]
    assert ([], ()) == (parts(found), found.given)


@pytest.mark.parametrize("code", ["def test_it(): ...", "class Testing: ...", "from m import test_data", "setup = 1"])
def test_what_pytest_would_collect_does_not_stand_at_the_top(code: str) -> None:
    """It is a fixture."""
    name = code.replace("(", " ").replace(":", " ").split()[-1 if "import" in code else 1 if " = " not in code else 0]
    found = traced(name, code)
    assert ((), [(name, "", code)]) == (found.at_top + found.imports, parts(found))


@pytest.mark.parametrize("code", ["x = input()", "x = get_ipython().getoutput('ls')", "del x", "del x\nx.append(1)"])
def test_a_name_that_no_statement_explains(code: str) -> None:
    """Nor does an older binding, where a newer one asked somebody or took it away."""
    found = traced("x y", "x = len('')", code, "y = [x]")
    assert ("x",) == found.unresolved
    assert ("y", "x", "y = [x]") in parts(found)


def test_builtins_need_no_statement() -> None:
    """Unless a cell has given the name another value."""
    assert ((), []) == ((found := traced("len print")).unresolved, parts(found))
    assert [("len", "", "len = str.upper")] == parts(traced("len", "len = str.upper"))


def test_modules_are_imported_however_they_came() -> None:
    """From a `try`, by another name, or by a function; and what says where it lives."""
    cells = ["try:\n    import math\nexcept ImportError:\n    math = None", "m = math", "c = __import__('collections')"]
    namespace = {"math": math, "m": math, "c": collections, "OD": OrderedDict, "pi": math.pi, "it": Provenance}
    found = traced("math m c OD pi it", *cells, namespace=namespace, stars=["math"])
    assert (
        "from collections import OrderedDict as OD",
        "from llm_latency.notebook.provenance import Provenance as it",
        "from math import pi",
        "import collections as c",
        "import math",
        "import math as m",
    ) == found.derived_imports
    assert ([], ()) == (parts(found), found.unresolved)
    assert ("collections", "llm_latency", "math") == found.modules


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math, "import math as x"),
        (OrderedDict, "from collections import OrderedDict as x"),
        (functools.partial(len), None),
        (lambda: 1, None),
        (OrderedDict.fromkeys, None),
        (OrderedDict(), None),
        (type("Made", (), {}), None),
        (3, None),
    ],
)
def test_what_can_be_imported(value: object, expected: str | None) -> None:
    """A module, or what a module has by that very name."""
    assert expected == import_of("x", {"x": value})
    assert import_of("x", {}) is None


def test_seeds_come_with_what_they_came_before() -> None:
    """In their cell, for what may draw; others set what they set before anything else."""
    import random

    found = traced(
        "a b c",
        "import random\nSEED = 3",
        "random.seed(SEED)\na = random.random()\nb = list('b')",
        "random.seed(4)",
        "random.set_state = 5\nc = random.random()",
        namespace={"random": random},
    )
    assert [
        ("a", "", "random.seed(SEED); a = random.random()"),
        ("b", "", "b = list('b')"),
        ("c", "", "c = random.random()"),
    ] == parts(found)
    assert ["random.seed(4)", "random.set_state = 5"] == [one.code for one in found.settings]
    assert ["SEED = 3"] == [one.code for one in found.at_top]


def test_a_setting_that_needs_more_than_literals_is_left() -> None:
    """It would draw a fixture into every test."""
    import random

    found = traced("a", "import random", "n = len('x')\nrandom.seed(n)", "a = [1].copy()", namespace={"random": random})
    assert ((), ()) == (found.settings, found.imports)


def test_functions_that_read_what_the_cell_binds_belong_into_it() -> None:
    """And those that call them; a class as well."""
    cells = ["S = 1\ndef outer(): return chat()\ndef chat(): return messages + [S]\ndef other(): return S"]
    found = traced("outer other", *cells, bound=frozenset({"messages"}))
    assert ["def outer(): return chat()", "def chat(): return messages + [S]"] == [one.code for one in found.within]
    assert {"S", "other"} == found.names
    assert ["S = 1", "def other(): return S"] == [one.code for one in found.at_top]


def test_a_name_that_is_perhaps_read_is_not_missed() -> None:
    """It is given where there is a statement for it."""
    assert set() == traced("", perhaps=["x"]).names
    assert {"x"} == traced("", "x = len('')", perhaps=["x"]).names


def test_a_global_of_a_function_is_made_with_it() -> None:
    """By the call that ran it."""
    cells = ["def load():\n    global m\n    m = len('')", "load()"]
    assert [("m", "", f"{cells[0]}; load()")] == parts(traced("m", *cells))


def test_futures_hold_for_the_file() -> None:
    """As they hold for the session."""
    assert {"annotations"} == traced("x", "from __future__ import annotations", "x = 1").futures


def test_a_long_session_is_no_problem() -> None:
    """Hundreds of changes to one object, each of which reads it."""
    cells = ["h = [len('')]", *["h.append(len(h))"] * 400, *[f"x{i} = h" for i in range(100)]]
    ((gives, _, code),) = parts(traced("h", *cells))
    assert ("h", 401) == (gives, code.count(";") + 1)


@pytest.mark.parametrize("name", ["request", "tmp_path", "llmtime", "test_x", "Testing", "pytest", "setup", "capsys"])
def test_pytests_own_names(name: str) -> None:
    """No fixture is called so."""
    assert is_reserved(name)
    assert not is_reserved(f"my_{name}")
