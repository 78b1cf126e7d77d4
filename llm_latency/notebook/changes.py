"""What a statement does beside binding names: objects that it changes in place, and libraries that it steers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TypeVar

from llm_latency.notebook.statements import DEFINITIONS, Statement, names_of

_Node = TypeVar("_Node")
_SEEDS = ("manual_seed", "manual_seed_all", "seed", "set_seed", "seed_everything")
_SETTINGS = ("set_", "enable_", "disable_", "use_deterministic")
_WITH_SETTINGS = ("torch", "transformers", "numpy", "random", "jax", "tensorflow", "mlx")
# Methods that are called for what they give. Any other one that stands alone is taken to change its object.
_QUERY = re.compile(
    "generate|generate_batch|forward|encode|decode|tokenize|chat|stream|complete|invoke|predict|create|post|request|send"
    "|query|search|ask|write|upload|download|fetch|head|tail|info|summary|keys|values|items|count|index|copy|tolist|numpy"
    "|item|size|dim|numel|mean|sum|max|min|format|join|split|strip|startswith|endswith|lower|upper|parameters|buffers"
    "|modules|children|state_dict|report|run|call|execute|test|benchmark|profile|wait|close|stop|shutdown"
    r"|(get|is|has|num|print|named|batch|convert|save|to|as|show|plot|log|display|describe|push)(_\w+|(?<!to))"
)
# Methods that change their object also where their result is kept: `_ = model.eval()`; of tensors, none that moves.
_CHANGE = re.compile(
    "eval|train|append|extend|insert|update|setdefault|pop|popitem|remove|clear|sort|reverse|add|discard|add_tokens"
    r"|add_special_tokens|resize_token_embeddings|load_state_dict|load_adapter|\w+_"
)
_MOVE = re.compile("to|half|float|double|bfloat16|cuda|cpu")


def role_of(node: ast.stmt, namespace: Mapping[str, object]) -> str:
    """Whether the statement seeds a generator, or sets how a library works."""
    match node:
        case ast.Expr(value=ast.Call() as call) | ast.Assign(targets=[ast.Name(id="_")], value=ast.Call() as call):
            path = _dotted(call)
        case ast.Assign(targets=[ast.Attribute() as target], value=ast.Constant()):
            path = _dotted(target)
        case _:
            return ""
    origin = namespace.get(path[0]) if path else None
    if not isinstance(origin, ModuleType | FunctionType | BuiltinFunctionType):
        return ""
    if path[-1] in _SEEDS:
        return "seed"
    home = origin.__name__ if isinstance(origin, ModuleType) else str(origin.__module__)
    is_setting = isinstance(node, ast.Assign) or path[-1].startswith(_SETTINGS)
    return "setting" if is_setting and home.partition(".")[0] in _WITH_SETTINGS else ""


class Changes(ast.NodeVisitor):
    """Which objects statements change in place, also by another name: `config = model.config; config.x = 1`."""

    def __init__(self, namespace: Mapping[str, object]) -> None:
        self._namespace = namespace
        self._shared: dict[str, set[str]] = {}
        self._functions: dict[str, Statement] = {}
        self._found: set[str] = set()
        self._statement: Statement | None = None

    def of(self, statement: Statement) -> frozenset[str]:
        """Names whose object the next statement changes."""
        self._found, self._statement = set(), statement
        self.visit(statement.node)
        if isinstance(statement.node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._functions[statement.node.name] = statement
        is_module = {name for name in self._found if isinstance(self._namespace.get(name), ModuleType)}
        return frozenset(self._found - is_module - statement.binds)

    def _add(self, names: Iterable[str]) -> None:
        self._found = self._found.union(*(reachable(name, self._shared) for name in names))

    def visit(self, node: ast.AST) -> None:
        """Look at one node, and not into functions, which run later."""
        if isinstance(node, (*DEFINITIONS, ast.Lambda)):
            return
        match node:
            case ast.For(target=target, iter=iterable):
                self._share(target, _roots(iterable), is_sure=False)
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                self._add(set().union(*map(_stored_in, targets)))
            case ast.AugAssign(target=target):
                self._add(_roots(target))  # of a list, all that share it
            case ast.AnnAssign(target=target):
                self._add(_stored_in(target))
            case ast.Expr(value=ast.Call() as call) | ast.Expr(value=ast.Await(value=ast.Call() as call)):
                self._stands_alone(call)
            case ast.Call():
                self._called(node)
        self.generic_visit(node)
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            shared = set() if isinstance(node.value, ast.Call | ast.Await) else _roots(node.value)
            self._share(node.targets[0], shared, is_sure=self._statement is not None and node is self._statement.node)

    def _stands_alone(self, call: ast.Call) -> None:
        match call.func:
            case ast.Attribute(attr=method) if not _QUERY.fullmatch(method):
                self._add(self._objects(call.func))
            case ast.Name(id="setattr" | "delattr") if call.args:
                self._add(_roots(call.args[0]))
            case ast.Name(id=name) if name in self._functions and not self._is_last():
                # Called for what it does; the last value of a cell is called for what it shows.
                self._add({argument.id for argument in call.args if isinstance(argument, ast.Name)})

    def _called(self, call: ast.Call) -> None:
        if isinstance(call.func, ast.Name):
            calls = {name: {*function.later} for name, function in self._functions.items()}
            for name in reachable(call.func.id, calls) & set(self._functions):
                self._add(self._functions[name].may_bind)  # its `global` names
        if isinstance(call.func, ast.Attribute) and not call.func.attr.startswith("_"):
            method = call.func.attr
            if _CHANGE.fullmatch(method):
                self._add(self._objects(call.func))
            if _MOVE.fullmatch(method):
                self._add({name for name in self._objects(call.func) if self._moves_in_place(name)})
            if (method == "shuffle" or method.endswith("_")) and call.args:
                self._add(_roots(call.args[0]))

    def _objects(self, method: ast.Attribute) -> set[str]:
        """What the method is called on: things with a state that have it, since a mistyped one has never run."""
        found = set()
        path = _dotted(method)
        for name in _roots(method.value):
            value = self._namespace.get(name)
            try:
                is_known = value is None or len(path) < 2 or hasattr(value, path[1])
            except Exception:  # a property of the user's
                is_known = True
            if is_known and not isinstance(value, ModuleType | FunctionType | BuiltinFunctionType | type):
                found.add(name)
        return found

    def _is_last(self) -> bool:
        return self._statement is not None and self._statement.is_last

    def _moves_in_place(self, name: str) -> bool:
        value = self._namespace.get(name)
        return isinstance(value, Mapping) or "named_parameters" in dir(type(value))  # a tokenizer's output, a module

    def _share(self, target: ast.expr, roots: set[str], *, is_sure: bool) -> None:
        for name in [name.id for name in names_of(target) if isinstance(name.ctx, ast.Store)]:
            others = self._shared.pop(name, set()) if is_sure and name not in roots else set()
            for other in others:  # still parts of each other, without this name between them
                self._shared[other] = (self._shared[other] | others) - {name, other}
            is_value = name in self._namespace and isinstance(
                self._namespace[name], int | float | str | bytes | tuple | None
            )
            for root in set() if is_value else roots - {name}:
                self._shared.setdefault(name, set()).add(root)
                self._shared.setdefault(root, set()).add(name)


def reachable(start: _Node, edges: Mapping[_Node, set[_Node]]) -> set[_Node]:
    """Where the edges lead from a node, itself included."""
    seen, pending = set[_Node](), [start]
    while pending:
        if (one := pending.pop()) not in seen:
            seen.add(one)
            pending += edges.get(one, ())
    return seen


def _stored_in(target: ast.expr) -> set[str]:
    """Objects of which an assignment sets a part."""
    if isinstance(target, ast.Tuple | ast.List):
        return set[str]().union(*map(_stored_in, target.elts))
    return _roots(target) if isinstance(target, ast.Attribute | ast.Subscript) else set()


def _roots(node: ast.expr) -> set[str]:
    """The names whose objects, or parts of them, an expression may give."""
    match node:
        case ast.Name(id=name):
            return {name}
        case ast.Attribute(value=value) | ast.Subscript(value=value) | ast.Starred(value=value):
            return _roots(value)
        case ast.Await(value=value) | ast.Call(func=ast.Attribute(value=value)):
            return _roots(value)
        case ast.Call(args=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.BoolOp(values=parts):
            return set[str]().union(*map(_roots, parts))
        case ast.Dict(values=parts):
            return set[str]().union(*map(_roots, parts))
        case ast.ListComp(generators=parts) | ast.SetComp(generators=parts) | ast.DictComp(generators=parts):
            return set[str]().union(*(_roots(part.iter) for part in parts))
        case ast.BinOp(left=one, right=other) | ast.IfExp(body=one, orelse=other):
            return _roots(one) | _roots(other)
    return set()


def _dotted(node: ast.AST | None) -> list[str]:
    """The names of `a.b.c`, also where it is called; empty for another expression."""
    match node:
        case ast.Name(id=name):
            return [name]
        case ast.Attribute(value=value, attr=name) if path := _dotted(value):
            return [*path, name]
        case ast.Call(func=function) | ast.Expr(value=ast.Call(func=function)):
            return _dotted(function)
    return []
