"""Turning a cell that begins with `%%llmtime` into a loop over timed calls of its code; not the timing.

Two steps, because only IPython should compile the user's code: then its line numbers, `await`, magics and shell
lines are right by themselves. The input transformer replaces the first line by a marker, and the AST transformer
puts what follows the marker into the loop. Not `run_cell` inside a magic, which is `%%time`'s way and cannot await.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from IPython.core.inputtransformer2 import cell_magic, leading_indent

from llm_latency.errors import UsageError
from llm_latency.notebook.options import parse_options

_MAGIC = "%%llmtime"
_FIRST = re.compile(rf"{_MAGIC}(?=\s|$)")
# Names in the user's namespace, each only for a moment: never while the user's code runs.
CALL, VALUE, OUT, CALLS = "__llmtime_call__", "__llmtime_value__", "__llmtime_out__", "__llmtime_calls__"


def mark(lines: list[str]) -> list[str]:
    """Replace a first line `%%llmtime ...` by the marker; an input transformer, run on half-typed cells too."""
    if not lines or not _FIRST.match(lines[0]):
        return lines
    blank = next((index for index, text in enumerate(lines[1:]) if text.strip()), len(lines) - 1) + 1
    # What IPython does to the beginning of a cell, here to the beginning of ours: so `%%time` may come next.
    body = cell_magic(leading_indent(lines[blank:]))  # type: ignore[no-untyped-call]  # IPython's
    # A string, since `from __future__` lines may follow one and a traceback shows it. With a `u`, as none writes it.
    return [f"u{lines[0].strip()!r}\n", *lines[1:blank], *body]


class Wrapper:
    """An AST transformer that times the code behind a marker; other cells pass through.

    It must not raise: IPython would remove it.
    """

    def __init__(self, shell: Any) -> None:
        """Keep the shell, whose `ast_node_interactivity` may change."""
        self._shell = shell

    def visit(self, tree: Any) -> Any:
        """Wrap the body of a marked module."""
        line = _marked(tree)
        if line is None:
            return tree
        marker, *body = tree.body
        if not body:
            nodes: list[ast.stmt] = [ast.Expr(_expression(f"llmtime({line!r})"))]
        else:
            nodes = self._timed(body, line)
        tree.body = [ast.fix_missing_locations(ast.copy_location(node, marker)) for node in nodes]
        return tree

    def _timed(self, body: list[ast.stmt], line: str) -> list[ast.stmt]:
        interactivity = self._shell.ast_node_interactivity
        if interactivity == "last_expr_or_assign":
            body = _naming_assigned(body)
        # With "all" the expressions show themselves where they stand, and with "none" nothing is shown.
        keeps = interactivity.startswith("last") and isinstance(body[-1], ast.Expr)
        shows = keeps or _wants_output(line)
        nodes = timed_loop(body, _expression(f"calls({line!r}, shows={shows})"), keeps=keeps)
        end = ast.Expr(ast.Call(ast.Name(OUT, ast.Load()), [], [])) if shows else ast.Pass()
        return [*nodes, ast.copy_location(end, body[-1])]


def timed_loop(body: list[ast.stmt], calls: ast.expr, *, keeps: bool) -> list[ast.stmt]:
    """Run `body` once in each of `calls`, in the scope where it stands; the last expression's value goes to VALUE.

    `from __future__` lines come first. A `break` that leaves the body stays the error that it is.
    """
    future = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    body = [node for node in body if node not in future] or [ast.Pass()]
    if any(_breaks_out(node) for node in body):
        return [*future, ast.If(ast.Constant(True), body, [])]
    last = body[-1]
    if keeps and isinstance(last, ast.Expr):
        body = [*body[:-1], ast.copy_location(ast.Assign([ast.Name(VALUE, ast.Store())], last.value), last)]
    entered = ast.With([ast.withitem(ast.Name(CALL, ast.Load()))], body)
    return [*future, ast.For(ast.Name(CALL, ast.Store()), calls, [entered], [])]


def _marked(tree: Any) -> str | None:
    """The options of a marked module, or None."""
    first = tree.body[0] if isinstance(tree, ast.Module) and tree.body else None
    marker = first.value if isinstance(first, ast.Expr) else None
    if not isinstance(marker, ast.Constant) or marker.kind != "u" or not _FIRST.match(str(marker.value)):
        return None
    return str(marker.value).removeprefix(_MAGIC).strip()


def _expression(call: str) -> ast.expr:
    """A call of the magic's own object, found as IPython finds it."""
    return ast.parse(f"get_ipython().find_cell_magic('llmtime').__self__.{call}", mode="eval").body


def _wants_output(line: str) -> bool:
    try:
        return parse_options(line).output
    except UsageError:  # raised again and shown when the cell runs
        return False


def _naming_assigned(body: list[ast.stmt]) -> list[ast.stmt]:
    """What IPython does for `last_expr_or_assign`: name the variable that the last statement assigns."""
    last = body[-1]
    targets = last.targets if isinstance(last, ast.Assign) else [getattr(last, "target", None)]
    if isinstance(last, ast.Assign | ast.AugAssign | ast.AnnAssign) and len(targets) == 1:
        target = targets[0]
        if isinstance(target, ast.Name):
            return [*body, ast.copy_location(ast.Expr(ast.Name(target.id, ast.Load())), last)]
    return body


def _breaks_out(node: ast.AST) -> bool:
    """Whether a `break` or `continue` belongs to no loop inside this statement."""
    if isinstance(node, ast.Break | ast.Continue):
        return True
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return False
    if isinstance(node, ast.For | ast.AsyncFor | ast.While):
        return any(map(_breaks_out, node.orelse))
    return any(map(_breaks_out, ast.iter_child_nodes(node)))
