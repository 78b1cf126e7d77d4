"""Every import contract of pyproject.toml is kept, and breaks when violated: one that cannot break protects nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="the contracts are checked with import-linter: pip install -e '.[all,dev]'")

REPOSITORY = Path(__file__).parents[2]
SETTINGS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
NAMES = {contract["name"]: contract["id"] for contract in SETTINGS["contracts"]}
PLUGIN = "pytest_plugin/pytest_llm_latency"

# (file to plant in, source, the contracts that must break; others may too, through chains of imports).
VIOLATIONS = [
    # One floor up, for each floor.
    ("llm_latency/report/planted.py", "import llm_latency.cli", {"floors"}),
    ("llm_latency/report/planted.py", "import pytest_llm_latency", {"floors"}),
    ("llm_latency/record/planted.py", "import llm_latency.report", {"floors"}),
    ("llm_latency/workloads/planted.py", "import llm_latency.report", {"floors"}),
    ("llm_latency/core/planted.py", "import llm_latency.record", {"floors"}),
    ("llm_latency/core/planted.py", "import llm_latency.workloads", {"floors"}),
    # Inside a function an import still points up.
    ("llm_latency/record/planted.py", "def up():\n    from llm_latency.notebook import x", {"floors"}),
    # Rooms of one floor.
    ("llm_latency/record/planted.py", "import llm_latency.workloads", {"floors"}),
    ("llm_latency/workloads/planted.py", "import llm_latency.record", {"floors"}),
    ("llm_latency/cli/planted.py", "import llm_latency.notebook", {"floors", "faces"}),
    ("llm_latency/notebook/planted.py", "import llm_latency.cli", {"floors", "faces"}),
    ("llm_latency/notebook/planted.py", "import pytest_llm_latency", {"floors", "faces"}),
    (f"{PLUGIN}/planted.py", "import llm_latency.notebook", {"floors", "faces"}),
    (f"{PLUGIN}/planted.py", "import llm_latency.cli", {"floors", "faces"}),
    # The package root.
    ("llm_latency/report/planted.py", "import llm_latency", {"root"}),
    ("llm_latency/core/planted.py", "from llm_latency import __version__", {"root"}),
    (f"{PLUGIN}/planted.py", "def late():\n    import llm_latency", {"root"}),
    # The core.
    ("llm_latency/core/planted.py", "import time", {"core-pure"}),
    ("llm_latency/core/planted.py", "def screen():\n    from rich.table import Table", {"core-pure"}),
    ("llm_latency/core/planted.py", "import torch.nn", {"core-pure", "models"}),
    ("llm_latency/core/planted.py", "import IPython", {"core-pure", "shell"}),
    ("llm_latency/core/planted.py", "import pytest", {"core-pure", "test-runner"}),
    # Heavy libraries, each with its own rooms.
    ("llm_latency/record/planted.py", "def late():\n    import torch", {"models"}),
    ("llm_latency/report/planted.py", "import transformers", {"models"}),
    ("llm_latency/cli/planted.py", "import transformers.models", {"models"}),
    (f"{PLUGIN}/planted.py", "def late():\n    import torch", {"models"}),
    ("llm_latency/record/planted.py", "import anywidget", {"shell"}),
    (f"{PLUGIN}/planted.py", "import IPython", {"shell"}),
    ("llm_latency/report/planted.py", "import _pytest.reports", {"test-runner"}),
    # A cycle: budgets read units.
    ("llm_latency/core/units.py", "def late():\n    import llm_latency.core.budget", {"cycles"}),
]
ALLOWED = [
    ("llm_latency/record/devices/planted.py", "def late():\n    import torch"),
    ("llm_latency/record/observe/planted.py", "def late():\n    import transformers"),
    ("llm_latency/workloads/planted.py", "def late():\n    import torch, transformers"),
    ("llm_latency/notebook/planted.py", "import IPython, anywidget"),
    (f"{PLUGIN}/planted.py", "import pytest"),
]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the packages and their contracts, where violations can be planted."""
    leave = shutil.ignore_patterns("__pycache__")
    for package in ("llm_latency", "pytest_plugin"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=leave)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(folder: Path) -> set[str]:
    """Run lint-imports in `folder`; return the ids of the contracts that it calls broken."""
    environment = os.environ | {
        "COLUMNS": "300",  # a name on one line
        "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "pytest_plugin")]),
    }
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c; c()",
            "--no-cache",
            "--no-logo",
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = run.stdout.splitlines()
    outcomes = {
        NAMES[name]: line.removeprefix(f"{name} ").split()[0]
        for line in lines
        for name in NAMES
        if line.startswith(f"{name} ")
    }
    assert set(outcomes) == set(NAMES.values()), run.stdout + run.stderr
    broken = {contract for contract, outcome in outcomes.items() if outcome == "BROKEN"}
    assert run.returncode == (1 if broken else 0), run.stdout + run.stderr
    return broken


def plant(house: Path, file: str, source: str) -> None:
    """Append `source` to `file`, which need not exist."""
    with (house / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{source}\n")


def test_every_contract_is_kept_by_the_packages_as_they_are(house: Path) -> None:
    """The house keeps its rules."""
    assert set() == broken_contracts(house)


@pytest.mark.parametrize(("file", "source", "expected"), VIOLATIONS)
def test_a_planted_violation_breaks_its_contract(house: Path, file: str, source: str, expected: set[str]) -> None:
    """Each rule is able to fail, and the output names it."""
    plant(house, file, source)
    assert expected <= broken_contracts(house)


@pytest.mark.parametrize(("file", "source"), ALLOWED)
def test_a_room_may_import_the_library_it_exists_for(house: Path, file: str, source: str) -> None:
    """The rules forbid no more than they say."""
    plant(house, file, source)
    assert set() == broken_contracts(house)


def test_every_contract_has_a_violation_planted_above() -> None:
    """A contract added to pyproject.toml needs a plant here."""
    assert set(NAMES.values()) == set().union(*(expected for _, _, expected in VIOLATIONS))


def test_every_room_stands_on_a_floor() -> None:
    """A new room is named in the floors contract, or that contract would not see it."""
    layers = next(contract["layers"] for contract in SETTINGS["contracts"] if contract["id"] == "floors")
    on_a_floor = {module.strip(" ()") for layer in layers for module in layer.split("|")}
    package = REPOSITORY / "llm_latency"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert set() == {f"llm_latency.{name}" for name in rooms | modules} - on_a_floor
