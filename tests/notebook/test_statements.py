"""Statements of cells: their text and the names in them."""

from __future__ import annotations

import ast
import textwrap

import pytest

from llm_latency.notebook.statements import (
    Text,
    indented,
    names_in,
    names_of,
    normalized,
    read_from_outside,
    read_session,
    star_of,
    surely_bound,
    without_marker,
)


@pytest.mark.parametrize(
    ("code", "binds", "reads", "later"),
    [
        ("x", "", "x", ""),
        ("x = y", "x", "y", ""),
        ("x: int = y", "x", "int y", ""),
        ("x += 1", "x", "x", ""),
        ("del x", "x", "x", ""),
        ("x.a = y[z]", "", "x y z", ""),
        ("import a.b, c as d", "a d", "", ""),
        ("def f(a=x) -> y: return a + z + len(b)", "f", "x y", "z len b"),
        ("@deco\nclass A(B):\n    n = x; m = n\n    def g(self): return later", "A", "deco B x", "later"),
        ("[f(i) for i in xs if (n := i)]", "n", "f xs", ""),
        ("sorted(xs, key=lambda x: g(x))", "", "sorted xs", "g"),
        ("x = [lambda: i for i in y]", "x", "y", ""),
        ("x = await y", "x", "y", ""),
        ("[x async for x in y()]", "", "y", ""),
        ("__name__, __x", "", "__x", ""),
        ("try:\n    x\nexcept E as e:\n    e", "e", "x E e", ""),
    ],
)
def test_the_compiler_says_which_names_code_uses(code: str, binds: str, reads: str, later: str) -> None:
    """When it runs, and when a function in it is called; not names of its own, nor Python's `__names__`."""
    names = names_in(ast.parse(code).body[0])
    assert (set(binds.split()), set(reads.split()), set(later.split())) == (names.binds, names.reads, names.later)


def test_a_function_may_bind_names_of_the_module() -> None:
    """With `global`, once it is called."""
    names = names_in(ast.parse("def f():\n    global x, y\n    x = 1\n    del y").body[0])
    assert (frozenset("xy"), frozenset("y")) == (names.later_binds, names.later)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 1\ny = x", "x y"),
        ("if a:\n    x = y = 1\nelse:\n    x = 2", "x"),
        ("if a:\n    x = 1", ""),
        ("for i in a:\n    x = 1", ""),
        ("while a:\n    break", ""),
        ("with a as b, c as (d, e):\n    x = 1", "b d e x"),
        ("try:\n    x = y = 1\nexcept E:\n    x = 2\nfinally:\n    z = 3", "x z"),
        ("try:\n    x = 1\nexcept E:\n    pass\nelse:\n    y = 1", ""),
        ("match a:\n    case _:\n        x = 1", ""),
        ("import a.b", ""),
        ("import a.b as c", "c"),
        ("async def f(): ...\nclass A: ...", "f A"),
    ],
)
def test_what_is_bound_on_every_way(code: str, expected: str) -> None:
    """A branch, a loop or a dotted import may leave the name as it was."""
    assert set(expected.split()) == surely_bound(ast.parse(code).body)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 1\nx", ""),
        ("x\nx = 1", "x"),
        ("x = x", "x"),
        ("for i in xs:\n    if i: p\n    p = i", "xs p"),
        ("for i in xs: i\nelse: i", "xs i"),
        ("while n > 0: n -= 1", "n"),
        ("if a: x = 1\nx", "a x"),
        ("if a: x = 1\nelse: x = 2\nx", "a"),
        ("with a as b: b, c", "a c"),
        ("try:\n    x = f()\nexcept E as e:\n    e, x\nelse:\n    x\nfinally:\n    y", "f E x y"),
        ("match a:\n    case {'k': k, **r}: k, r\n    case [b, *c]: b, c\n    case str() as s: s", "a str"),
        ("async for x in y():\n    x", "y"),
        ("for i in []:\n    continue", ""),
        ("def f(): return x", ""),
    ],
)
def test_what_code_may_read_before_it_has_bound_it(code: str, expected: str) -> None:
    """Names that must come from outside, or may."""
    assert set(expected.split()) == read_from_outside(ast.parse(code).body)


def test_a_session_is_read_statement_by_statement() -> None:
    """Several on a line, decorators and comments with their statement, an import for each name; no marker."""
    cells = [
        "u'%%llmtime -r 2'\nimport os, a.b as c; x = \"é\"; y = f(\n  x,  # in\n)  # behind\n",
        "from m import p, q as r\n@deco\n# why\ndef g():\n    return 1\n\n\n# lost",
    ]
    assert [
        (0, 0, "import os"),
        (1, 0, "import a.b as c"),
        (2, 0, 'x = "é"'),
        (3, 0, "y = f(\n  x,  # in\n)  # behind"),
        (4, 1, "from m import p"),
        (5, 1, "from m import q as r"),
        (6, 1, "@deco\n# why\ndef g():\n    return 1"),
    ] == [(one.index, one.cell, one.code) for one in read_session(cells)]


@pytest.mark.parametrize("cell", ["", "# nothing", "x = (", "return 1", "a\0b", "%time x", "\ud800", "(" * 9000])
def test_what_is_no_python_is_left_out(cell: str) -> None:
    """Cells that never ran, or are another language's."""
    assert [] == list(read_session([cell]))


def test_a_name_is_bound_surely_or_perhaps() -> None:
    """And a function may bind a name of the module."""
    first, second = read_session(["if a:\n    x = y = 1\nelse:\n    x = 2", "def f():\n    global n\n    n = 1"])
    assert (set("x"), set("y"), set("xy")) == (first.binds, first.may_bind, first.bound)
    assert (set("f"), set("n")) == (second.binds, second.may_bind)


def test_annotations_are_not_read_in_the_future() -> None:
    """`from __future__ import annotations` holds for the cells after it, as in IPython."""
    past, _, future = read_session(["def f(x: A): ...", "from __future__ import annotations", "def f(x: A): ..."])
    assert (set("A"), set()) == (past.reads, future.reads)


@pytest.mark.parametrize(
    ("code", "is_usable"),
    [
        ("x = input('?')", False),
        ("x = getpass.getpass()", False),
        ("x = get_ipython().getoutput('ls')", False),
        ("input = tokenizer('hi')", True),
        ("x = input", True),
    ],
)
def test_what_asks_somebody_is_not_usable(code: str, is_usable: bool) -> None:
    """A variable may be called `input`."""
    (statement,) = read_session([code])
    assert is_usable == statement.is_usable


@pytest.mark.parametrize(
    ("code", "is_plain"),
    [
        ("import a", True),
        ("def f(): ...", True),
        ("x = -1", True),
        ("x = y = {'a': [1, (2, None)]}", True),
        ("a, (b, c) = 1, (2, 3)", True),
        ("x: int = 3", True),
        ("x: int", False),
        ("x = []", True),
        ("x.a = 1", False),
        ("x = 1 + y", False),
        ("x = 'a' * 3", False),
        ("x = f'{1}'", False),
    ],
)
def test_plain_is_what_imports_defines_or_names_a_literal(code: str, is_plain: bool) -> None:
    """It needs no fixture of its own."""
    (statement,) = read_session([code])
    assert is_plain == statement.is_plain


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x", "    x"),
        ("if x:\n  y\n\n\n\nz  \n", "    if x:\n      y\n\n    z"),
        ('x = """\n a\n\n\n"""', '    x = """\n a\n\n\n"""'),
        ('f(f"""a\n{b}\n  c""",\n  2)', '    f(f"""a\n{b}\n  c""",\n      2)'),
        ("x = ('a'\n     'b')", "    x = ('a'\n         'b')"),
        ("'a\\\n  b'", "    'a\\\n  b'"),
        ('"""a  \nb"""', '    """a  \nb"""'),
        ("\n# c\n\tx", "    # c\n    \tx"),
    ],
)
def test_code_is_indented_and_strings_are_not(code: str, expected: str) -> None:
    """What lies inside of a string is its value."""
    assert expected == indented(code)


def test_indented_code_means_the_same() -> None:
    """An independent oracle: textwrap takes away again what was added, where there are no strings."""
    code = "def f(x):\n    if x:\n        return [\n            x,\n        ]\n\n    return 2"
    assert code == textwrap.dedent(indented(code))


def test_places_are_told_in_characters() -> None:
    """ast counts bytes."""
    source = 'x = "ä🚀"; y = 1\n@é\ndef f(): ...'
    text = Text(source)
    assert ['x = "ä🚀"', "y = 1", "@é\ndef f(): ..."] == [text.of(node) for node in ast.parse(source).body]


def test_small_things() -> None:
    """Line ends, markers, stars, names."""
    assert "a\nb\nc" == normalized("a\r\nb\rc")
    assert 1 == len(without_marker(ast.parse("u'%%llmtime'\n1")))
    assert 2 == len(without_marker(ast.parse("'%%llmtime'\n1")))
    assert [] == without_marker(ast.parse(""))
    assert ["m", None] == [star_of(node) for node in ast.parse("from m import *\nfrom m import n").body]
    assert {"a", "b"} == {name.id for name in names_of(ast.parse("a.b(b)"))}
