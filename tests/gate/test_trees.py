"""Where files lie in two trees, one of which may be inside of the other, with environments and links in them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llm_latency.gate.message import Job
from llm_latency.gate.trees import Trees, outside, real


def trees(folder: Path, *, own: str = "base", tests: tuple[str, ...] = ("tests",)) -> Trees:
    """Those of one side, a base's inside of a head's."""
    places = {"head": folder / "head", "base": folder / "head" / "tmp" / "base"}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    job = Job(
        side=own,
        run="",
        arguments={},
        own=str(places[own]),
        home=str(places["head"]),
        trees=tuple(map(str, places.values())),
        tests=tests,
    )
    return Trees(job)


@pytest.mark.parametrize(
    ("place", "tree", "inside"),
    [
        ("head/a.py", "head", "a.py"),
        ("head/tmp/base/a.py", "head/tmp/base", "a.py"),
        ("head/tmp/based/a.py", "head", "tmp/based/a.py"),
        ("head/tmp/base", "head/tmp/base", "."),
        ("header/a.py", None, None),
        ("head/.venv/lib/python3/site-packages/a.py", "head", None),
        ("head/tmp/base/dist-packages/a.py", "head/tmp/base", None),
    ],
)
def test_the_innermost_tree(tmp_path: Path, place: str, tree: str | None, inside: str | None) -> None:
    """And what is in none, or installed in one."""
    found = trees(tmp_path)
    assert (tree and tmp_path / tree) == found.closest(tmp_path / place)
    assert (inside and Path(inside)) == found.inside(tmp_path / place)


def test_a_tree_that_lies_among_packages(tmp_path: Path) -> None:
    """Only what is below it counts."""
    found = trees(tmp_path / "site-packages")
    assert Path("a.py") == found.inside(tmp_path / "site-packages" / "head" / "a.py")


@pytest.mark.parametrize("name", ["prefix", "base_prefix", "exec_prefix", "base_exec_prefix"])
def test_a_python_inside_of_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its standard library is no code of a project; a project inside of a Python's folder is."""
    monkeypatch.setattr(sys, name, str(tmp_path / "head" / "env"))
    found = trees(tmp_path)
    assert found.inside(tmp_path / "head/env/lib/python3/json/__init__.py") is None
    assert Path("environment.py") == found.inside(tmp_path / "head" / "environment.py")
    monkeypatch.setattr(sys, name, str(tmp_path))
    assert Path("env/a.py") == trees(tmp_path).inside(tmp_path / "head" / "env" / "a.py")


def test_which_side_has_what(tmp_path: Path) -> None:
    """Tests and conftest files come from the home, all else from the own tree."""
    found = trees(tmp_path, tests=("tests", "check.py"))
    own, home = found.own, found.home
    expected = {"a.py": own, "tests/a.py": home, "testing/a.py": own, "check.py": home, "pkg/conftest.py": home}
    assert {name: tree / name for name, tree in expected.items()} == {n: found.right(Path(n)) for n in expected}


def test_links(tmp_path: Path) -> None:
    """One from outside is followed; one inside of the own tree stays, since what is shared belongs to both sides."""
    found = trees(tmp_path)
    (tmp_path / "head" / "made.py").touch()
    (found.own / "made.py").symlink_to(tmp_path / "head" / "made.py")
    (tmp_path / "link").symlink_to(tmp_path / "head")
    (tmp_path / "file.py").symlink_to(tmp_path / "head" / "made.py")
    assert found.own / "made.py" == found.place(str(found.own / "made.py"))
    for other in ("link/made.py", "file.py", "head/made.py"):
        assert tmp_path / "head" / "made.py" == found.place(str(tmp_path / other))


def test_a_job_without_trees(tmp_path: Path) -> None:
    """The self-test's: nothing is in any."""
    found = Trees(Job(side="base", run="", arguments={}, own="/", home="/", trees=()))
    assert found.closest(tmp_path) is None and found.inside(tmp_path) is None


def test_what_a_fork_server_may_import_from(tmp_path: Path) -> None:
    """Packages, also those in a tree, and what lies elsewhere; nothing of a project, and not where it happens to be."""
    head = tmp_path / "head"
    entries = ["", str(head), str(head / "src"), str(head / ".venv/lib/site-packages"), str(tmp_path / "other")]
    assert entries[3:] == outside([*entries, tmp_path], [str(head)])  # type: ignore[list-item]  # passed over
    assert entries[1:] == outside(entries, [])


def test_a_folder_is_asked_once(tmp_path: Path) -> None:
    """A name that is used again, which a side's thousands of modules do."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert real(str(tmp_path / "b")) == str(tmp_path / "a") == real(str(tmp_path / "b"))
