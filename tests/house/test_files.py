"""The house's rules that no import contract can say: file sizes, docstrings, and where and when imports happen."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = [REPOSITORY / "llm_latency", REPOSITORY / "pytest_plugin" / "pytest_llm_latency"]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
BENCHMARKS = sorted((REPOSITORY / "benchmarks").rglob("*.py"))

# A file that grows past this is split by noun (design: a newcomer reads a room in one sitting).
MOST_LINES = 400
HEAVY = {"IPython", "anywidget", "ipywidgets", "matplotlib", "numpy", "pandas", "psutil", "pytest", "rich", "scipy"}
HEAVY |= {"torch", "transformers"}
# Where a heavy library is loaded already when the room is, because the room runs inside it.
AT_HOME = {"llm_latency/notebook": {"IPython"}, "pytest_plugin/pytest_llm_latency": {"pytest"}}
# What must not be loaded before it is used, at `import llm_latency` and at pytest's start.
LATE_AT_IMPORT = ["IPython", "anywidget", "ipywidgets", "msgspec", "numpy", "pytest", "rich", "torch", "transformers"]
LATE_IN_PYTEST = [
    "IPython",
    "llm_latency.core",
    "llm_latency.record",
    "llm_latency.report",
    "msgspec",
    "numpy",
    "rich",
    "torch",
    "transformers",
]


def name(path: Path) -> str:
    """The path as the repository spells it."""
    return path.relative_to(REPOSITORY).as_posix()


def tree(path: Path) -> ast.Module:
    """The file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def is_type_checking(test: ast.expr) -> bool:
    """Whether an `if` is never entered at run time."""
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: not in a function, not under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and is_type_checking(child.test):
            for late in child.orelse:
                yield late
                yield from run_at_import(late)
            continue
        yield child
        yield from run_at_import(child)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Full names of the modules that the nodes import."""
    modules: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


def heavy_at_import(source: str, allowed: set[str]) -> set[str]:
    """Heavy libraries that importing `source` would load."""
    return {module.partition(".")[0] for module in imported(run_at_import(ast.parse(source)))} & HEAVY - allowed


def root_imports(source: str) -> list[str]:
    """Imports of the package root in `source`, which hide which room is meant."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module == "llm_latency" or node.level):
            found.append(f"line {node.lineno}: from {'.' * node.level}{node.module or ''} import ...")
        elif isinstance(node, ast.Import) and any(alias.name == "llm_latency" for alias in node.names):
            found.append(f"line {node.lineno}: import llm_latency")
    return found


def undocumented(module: ast.Module) -> list[str]:
    """Public names of the module that have no docstring: its functions, its classes, and their methods."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    missing = []
    for node in module.body:
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        members = (
            [member for member in node.body if isinstance(member, kinds)] if isinstance(node, ast.ClassDef) else []
        )
        public = [member for member in members if not member.name.startswith("_") and not is_repeated(member)]
        missing += [node.name] if ast.get_docstring(node) is None else []
        missing += [f"{node.name}.{member.name}" for member in public if ast.get_docstring(member) is None]
    return missing


def is_repeated(member: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether the docstring belongs to another definition of the same name: an overload, a property's setter."""
    last = {
        decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
        for decorator in member.decorator_list
    }
    return bool(last & {"overload", "override", "setter", "deleter"})


@pytest.mark.parametrize("path", MODULES + BENCHMARKS, ids=name)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    """No Python file outside the tests is longer than the limit."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES


@pytest.mark.parametrize("path", MODULES + BENCHMARKS, ids=name)
def test_a_module_says_what_lives_in_it(path: Path) -> None:
    """Every module begins with a sentence."""
    assert ast.get_docstring(tree(path)), f"{name(path)} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_public_names_are_documented(path: Path) -> None:
    """Every public function, class and method has a docstring."""
    assert [] == undocumented(tree(path))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nothing_heavy_is_imported_at_module_level(path: Path) -> None:
    """A heavy import stands in the function that needs it."""
    allowed = set().union(*(libraries for room, libraries in AT_HOME.items() if name(path).startswith(f"{room}/")))
    assert set() == heavy_at_import(path.read_text(encoding="utf-8"), allowed)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_nobody_inside_imports_the_package_root(path: Path) -> None:
    """`from llm_latency import core` names a room by way of the root, which import-linter takes for the room itself."""
    assert [] == root_imports(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "llm_latency" / "core").glob("*.py")), ids=name)
def test_the_core_reads_no_clock(path: Path) -> None:
    """Nor `datetime.now()` and its like, which no import contract can see."""
    clocks = {"now", "utcnow", "today", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns"}
    calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert set() == {call.attr for call in calls if isinstance(call, ast.Attribute)} & clocks


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch", {"torch"}),
        ("import torch.nn as nn, os", {"torch"}),
        ("try:\n    from numpy import array\nexcept ImportError:\n    array = None", {"numpy"}),
        ("class A:\n    import rich", {"rich"}),
        ("if True:\n    import pytest", {"pytest"}),
        ("if TYPE_CHECKING:\n    import torch", set()),
        ("if typing.TYPE_CHECKING:\n    pass\nelse:\n    import torch", {"torch"}),
        ("def late():\n    import torch", set()),
        ("class A:\n    async def late(self):\n        import torch", set()),
        ("import llm_latency.core.torch", set()),
    ],
)
def test_the_rule_on_heavy_imports_sees_what_runs_at_import(source: str, expected: set[str]) -> None:
    """The rule is tested on small sources, since the house itself breaks it nowhere."""
    assert expected == heavy_at_import(source, set())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import llm_latency.core.units", 0),
        ("from llm_latency.core import units", 0),
        ("import llm_latency", 1),
        ("def late():\n    from llm_latency import core", 1),
        ("from . import units", 1),
        ("from .units import parse", 1),
    ],
)
def test_the_rule_on_the_package_root_sees_every_spelling(source: str, expected: int) -> None:
    """Relative imports are refused by the same rule."""
    assert expected == len(root_imports(source))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): ...", ["f"]),
        ("def _f(): ...", []),
        ("class A:\n    'A.'\n    def f(self): ...\n    def _g(self): ...", ["A.f"]),
        ("class _A:\n    def f(self): ...", []),
        ("class A:\n    'A.'\n    @x.setter\n    def x(self, value): ...", []),
        ("async def f():\n    'Says.'", []),
    ],
)
def test_the_rule_on_docstrings_sees_public_names_only(source: str, expected: list[str]) -> None:
    """Private names need none."""
    assert expected == undocumented(ast.parse(source))


def loaded_after(command: str, watched: list[str]) -> list[str]:
    """Which of the watched modules a fresh interpreter has loaded after `command`."""
    script = f"import json, sys\n{command}\nprint(json.dumps([m for m in {watched!r} if m in sys.modules]))"
    run = subprocess.run([sys.executable, "-Ic", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import llm_latency` costs next to nothing; what a name needs is loaded when the name is used."""
    assert [] == loaded_after("import llm_latency", LATE_AT_IMPORT)


PROBE = """
import sys

def pytest_collection_finish(session):
    print("LOADED", *[m for m in {watched!r} if m in sys.modules], "OF", len(session.items))
"""


def test_starting_pytest_with_the_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    """Teams pay for the plugin in every run, so it loads neither libraries nor the core before a test uses it."""
    if not (PACKAGES[1] / "plugin.py").exists():
        pytest.skip("the plugin is not written yet")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "conftest.py").write_text(PROBE.format(watched=LATE_IN_PYTEST), encoding="utf-8")
    (tmp_path / "test_empty.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
    options = ["-p", "pytest_llm_latency.plugin", "-p", "no:cacheprovider", "--collect-only", "-q", "-s"]
    # Other plugins of this installation may load numpy; only ours is looked at.
    script = "import os; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'; import pytest, sys; "
    script += f"sys.exit(pytest.main({options!r}))"
    run = subprocess.run([sys.executable, "-Ic", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "LOADED OF 1" in run.stdout.splitlines(), run.stdout


def test_the_plugin_and_the_command_are_installed_where_pyproject_says() -> None:
    """The installed distribution, not this checkout, is asked: an edited entry point needs a new install."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    plugins = {entry.name: entry.value for entry in entry_points(group="pytest11")}
    commands = {entry.name: entry.value for entry in entry_points(group="console_scripts")}
    assert project["entry-points"]["pytest11"]["llm_latency"] == plugins.get("llm_latency")
    assert project["scripts"]["llm-latency"] == commands.get("llm-latency")
