"""The input transformer and the AST transformer, in a real shell where it matters."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from llm_latency.notebook.transform import Wrapper, mark


def transformed(cell: str) -> str:
    """What IPython's transformers make of a cell, ours among them."""
    manager = TransformerManager()
    manager.line_transforms.insert(0, mark)
    return manager.transform_cell(cell)


@pytest.mark.parametrize("cell", ["", "x = 1\n", "%%llmtimes\nx", "%%llmtime?\n", "%llmtime x", "# %%llmtime\nx = 1"])
def test_other_cells_pass_through(cell: str) -> None:
    """Only a first line that is `%%llmtime` is marked."""
    lines = cell.splitlines(keepends=True)
    assert lines == mark(lines)


@pytest.mark.parametrize(
    "cell",
    ["%%llmtime\nx = 1\n", "%%llmtime -r 2\nx = 1\n", "%%llmtime --name 'a\"b'\nx = 1\n", "%%llmtime  \r\nx = 1\r\n"],
)
def test_the_marker_is_one_line(cell: str) -> None:
    """The code keeps its line numbers, and the marker is an expression that does nothing."""
    tree = ast.parse(transformed(cell))
    assert isinstance(tree.body[0].value, ast.Constant)
    assert [1, 2] == [node.lineno for node in tree.body]


def test_the_cell_is_complete_when_ipython_says_so() -> None:
    """check_complete runs on half-typed cells and treats ours as any cell magic."""
    manager = TransformerManager()
    plain = TransformerManager()
    manager.line_transforms.insert(0, mark)
    for cell in ("%%llmtime", "%%llmtime\nx = (", "%%llmtime\nfor x in y:\n    x\n", "%%llmtime\nx\n\n", "%%llmtime ("):
        assert plain.check_complete(cell) == manager.check_complete(cell)


def test_a_magic_may_come_next() -> None:
    """`%%time` below `%%llmtime` is a cell magic although it is not the first line, blank lines or not."""
    expected = "u'%%llmtime'\n\nget_ipython().run_cell_magic('time', '', 'x\\n')\n"
    assert expected == transformed("%%llmtime\n\n%%time\nx\n")


def test_indented_code_is_dedented_as_in_any_cell() -> None:
    """IPython takes a common indentation off the beginning of a cell; it is ours to do after the first line."""
    assert "u'%%llmtime'\nx = 1\nif x:\n    x\n" == transformed("%%llmtime\n    x = 1\n    if x:\n        x\n")


def test_strings_keep_their_indentation() -> None:
    """The code is not indented to fit into the loop."""
    assert 's = """\n  a\n    b"""\n' in transformed('%%llmtime\ns = """\n  a\n    b"""\n')


def test_a_cell_of_blank_lines_is_marked() -> None:
    """Nothing is lost and nothing is raised."""
    assert "u'%%llmtime'\n\n\n" == transformed("%%llmtime\n\n\n")


class _Interactivity:
    ast_node_interactivity = "last_expr"


@pytest.mark.parametrize(
    "source",
    ["", "x = 1", "'%%llmtime'\nx", "'docstring'\nx", "u'other'\nx", "5\nx", "u'%%llmtimes'\nx"],
)
def test_unmarked_modules_stay_as_they_are(source: str) -> None:
    """A user's own string is no marker."""
    assert ast.dump(ast.parse(source)) == ast.dump(Wrapper(_Interactivity()).visit(ast.parse(source)))


@pytest.mark.parametrize("tree", [ast.parse("x", mode="eval"), ast.parse("x", mode="single"), ast.Module([], [])])
def test_other_trees_stay_as_they_are(tree: Any) -> None:
    """Whatever IPython hands over, the transformer does not raise."""
    assert tree is Wrapper(_Interactivity()).visit(tree)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("x = 1", None),
        ("x = 1\nx", 1),
        ("x = 1\nx;", None),
        ("x = 1\nx  # why", 1),
        ("x = 1\nx;  # why", None),
        ("(y := 4)", 4),
        ("x = 1\n(x,\n 2)", (1, 2)),
        ("*[1, 2], 3", (1, 2, 3)),
        ("x = 5\nif x:\n    x", None),
        ('"""doc"""', "doc"),
        ("'a'; 'b'", "b"),
        ("None", None),
        ("l = !echo hello\nl[0]", "hello"),
        ("%time 1 + 1", 2),
        ("def f():\n    class A:\n        x = 3\n    return A.x\nf()", 3),
        ("def f():\n    for i in range(3):\n        if i: break\n    return i\nf()", 1),
        ("for i in range(3):\n    if i: break\nelse:\n    i = 9\ni", 1),
        ("from os.path import *\njoin('a', 'b')", "a/b"),
        ("global g\ng = 2\ng", 2),
        ("x = 1\ndel x\n'x' in globals()", False),
        ("s = '''\n  a\n    b'''\ns", "\n  a\n    b"),
        ("'''%%llmtime'''\n7", 7),
        ("from __future__ import annotations\ndef f(x: nowhere): ...\nf.__annotations__", {"x": "nowhere"}),
        ("'''doc'''\nfrom __future__ import annotations\n8", 8),
        ("import asyncio\nawait asyncio.sleep(0, 'slept')", "slept"),
        ("async def f():\n    yield 1\n[x async for x in f()]", [1]),
        ("from __future__ import annotations\nimport asyncio\nawait asyncio.sleep(0, 9)", 9),
    ],
)
@pytest.mark.parametrize("options", ["", "-r 2 -w 0"])
def test_a_cell_shows_what_it_shows_without_the_magic(shell: Any, cell: str, expected: object, options: str) -> None:
    """Value, `;`, names, await, futures: as if the first line were not there, once and repeated."""
    plain = shell.value(cell)
    number = shell.ip.execution_count
    assert expected == shell.value(f"%%llmtime {options}\n{cell}") == plain
    shown = shell.names["Out"].get(number)
    assert expected == shown
    assert expected is None or shell.names["_"] == expected
    assert [] == shell.hidden


@pytest.mark.parametrize("outside", ["break", "continue", "return 1", "yield 1", "if x:\n    break", "*x"])
@pytest.mark.parametrize("options", ["", "-r 2"])
def test_what_is_no_code_outside_of_a_function_stays_none(shell: Any, outside: str, options: str) -> None:
    """The loop around the code must not make `break` legal; nothing of the cell runs."""
    result = shell.run(f"%%llmtime {options}\nx = 1\n{outside}\n")
    assert isinstance(result.error_before_exec, SyntaxError)
    assert 3 + outside.count("\n") == result.error_before_exec.lineno
    assert "x" not in shell.names
    assert [] == shell.outputs


@pytest.mark.parametrize(("cell", "line"), [("x = (", 2), ("x = 1\n  y = 2", 3), ("x = 1\nx +* 2", 3), ("'open", 2)])
def test_a_syntax_error_has_its_line(shell: Any, cell: str, line: int) -> None:
    """Counted from the first line of the cell, which is ours."""
    result = shell.run(f"%%llmtime\n{cell}")
    assert isinstance(result.error_before_exec, SyntaxError)
    assert line == result.error_before_exec.lineno
    assert [] == shell.outputs


@pytest.mark.parametrize(
    ("interactivity", "cell", "expected"),
    [
        ("all", "1\nfor i in (2, 3): i\n4", [1, 2, 3, 4]),
        ("last", "1\n4", [4]),
        ("last", "1\nx = 4", []),
        ("last_expr", "1\nx = 4", []),
        ("last_expr_or_assign", "1\nx = 4", [4]),
        ("last_expr_or_assign", "x = 1\nx += 4", [5]),
        ("last_expr_or_assign", "x: int = 4", [4]),
        ("last_expr_or_assign", "a = b = 4", []),
        ("last_expr_or_assign", "a, b = 4, 5", []),
        ("none", "1\n4", []),
    ],
)
def test_the_shells_interactivity_is_kept(
    shell: Any, monkeypatch: pytest.MonkeyPatch, interactivity: str, cell: str, expected: list[int]
) -> None:
    """`ast_node_interactivity` decides what is shown, as without the magic."""
    shown: list[object] = []
    shell.ip.ast_node_interactivity = interactivity
    monkeypatch.setattr(type(shell.ip.displayhook), "compute_format_data", lambda _, value: (shown.append(value), {}))
    for source in (cell, f"%%llmtime\n{cell}", f"%%llmtime -w 0 -r 1\n{cell}"):
        shown.clear()
        shell.run(source).raise_error()
        assert expected == shown


def test_other_transformers_see_the_code(shell: Any) -> None:
    """An AST transformer of the user's own, which turns every 1 into a 2, works inside a timed cell."""

    class Twos(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.Constant:
            return ast.copy_location(ast.Constant(2), node) if node.value == 1 and node.value is not True else node

    shell.ip.ast_transformers.append(Twos())
    assert 4 == shell.value("%%llmtime\n1 + 1")
