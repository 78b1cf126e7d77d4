"""What is built and what is pinned, read from pyproject.toml, constraints.txt and a wheel built here."""

from __future__ import annotations

import os
import shutil
import tomllib
import zipfile
from pathlib import Path

import pytest

from llm_latency.cli.version import DISTRIBUTION

hatchling = pytest.importorskip(
    "hatchling.build", reason="the wheel is built with hatchling: pip install -e '.[all,dev]'"
)
requirements = pytest.importorskip("packaging.requirements")

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = {
    requirement.name.lower().replace("_", "-"): requirement
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for requirement in [requirements.Requirement(line)]
}
WANTED = [
    requirement
    for group in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in map(requirements.Requirement, group)
    if requirement.name != PROJECT["name"]
]


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_every_dependency_is_pinned_to_a_version_it_allows(wanted: requirements.Requirement) -> None:
    """A new dependency needs a pin."""
    (pin,) = PINS[wanted.name].specifier
    assert wanted.specifier.contains(pin.version)


@pytest.mark.parametrize("pin", PINS.values(), ids=str)
def test_a_pin_is_one_public_release(pin: requirements.Requirement) -> None:
    """No path, no address, no build that only one machine has."""
    assert pin.url is None
    assert ["=="] == [specifier.operator for specifier in pin.specifier]
    assert "+" not in str(pin.specifier)


def test_the_code_knows_the_distribution_by_its_name() -> None:
    """Outside pyproject.toml the name stands in one place, so whoever publishes under another changes two lines."""
    assert PROJECT["name"] == DISTRIBUTION
    quoted = f'"{DISTRIBUTION}"'
    files = sorted(
        path for package in ("llm_latency", "pytest_plugin") for path in (REPOSITORY / package).rglob("*.py")
    )
    knowing = [path for path in files if f"version({quoted}" in path.read_text(encoding="utf-8")]
    assert [] == knowing


def test_dependencies_have_no_upper_bounds() -> None:
    """Users hold their own pins."""
    assert {">="} == {specifier.operator for wanted in WANTED for specifier in wanted.specifier}


def test_the_wheel_holds_both_packages_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of the packages, the notebook's static ones included; no tests, no benchmarks."""
    source = tmp_path / "source"
    source.mkdir()
    leave = shutil.ignore_patterns("__pycache__")
    for package in ("llm_latency", "pytest_plugin"):
        shutil.copytree(REPOSITORY / package, source / package, ignore=leave)
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, source)
    monkeypatch.chdir(source)
    wheel = hatchling.build_wheel(os.fspath(tmp_path))
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    expected = {path.as_posix() for path in files if path.parts[0] == "llm_latency"}
    expected |= {path.relative_to("pytest_plugin").as_posix() for path in files if path.parts[0] == "pytest_plugin"}
    assert expected == packed
    assert {"llm_latency/py.typed", "pytest_llm_latency/py.typed"} <= packed
