"""What a gate needs around it: refs, repositories, files outside of git, interpreters; and the words where it lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.pytest_plugin.gates import TEST, Project, Seen, code

RUN = "tests/test_it.py"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A base and a head that differ in who they are."""
    project = Project(tmp_path, monkeypatch).commit({"pkg/__init__.py": code("base"), RUN: TEST}, tag="base")
    return project.commit({"pkg/__init__.py": code("head")})


def require_refused(project: Project, seen: Seen, words: str) -> None:
    """pytest's code for wrong use, the words, no worker, and nothing left."""
    assert 4 == seen.code, seen.text
    assert "ERROR: the gate against" in seen.text and words in seen.text, seen.text
    assert [] == seen.notes
    assert [] == project.left()


def require_run(project: Project, seen: Seen) -> None:
    """One pair of both sides, which is too few to decide, and nothing left."""
    assert ["base", "head"] == seen.who, seen.text
    assert 1 == seen.code and "fewer than 6 pairs" in seen.text, seen.text
    assert [] == project.left()


@pytest.mark.parametrize("ref", ["--upload-pack=x", "$(touch pwned)", "a\nb; touch pwned", "фу☃" * 1000])
def test_a_ref_that_is_none(project: Project, ref: str) -> None:
    """A name is a name: no option, no shell, and no page of it in the message."""
    seen = project.gate(base=ref)
    require_refused(project, seen, "there is no commit ")
    assert (len(ref) > 1000) == ("…' here" in seen.text)
    assert not list(project.folder.rglob("pwned"))


def test_no_repository(project: Project) -> None:
    """A folder that was copied without it."""
    copy = project.folder / "copy"
    shutil.copytree(project.top, copy, ignore=shutil.ignore_patterns(".git"))
    require_refused(project, project.gate(cwd=copy), "is in no git repository (fatal: not a git repository")


def test_no_git(project: Project) -> None:
    """It is not on the PATH."""
    empty = project.folder / "bin"
    empty.mkdir()
    require_refused(project, project.gate(env={"PATH": str(empty)}), "needs git, and there is none on the PATH")


def test_a_shallow_clone(project: Project) -> None:
    """The base lies beyond its depth; the words say how to fetch it, also in a workflow."""
    clone = project.folder / "clone"
    project.git("clone", "-q", "--depth", "1", "--branch", "main", project.top.as_uri(), str(clone))
    require_refused(project, project.gate(cwd=clone), "set fetch-depth: 0")


def test_a_base_without_the_project(project: Project) -> None:
    """The folder came later."""
    project.commit({"service/pytest.ini": "[pytest]\n", "service/tests/test_it.py": TEST})
    seen = project.gate(cwd=project.top / "service", path=[project.top])
    require_refused(project, seen, "base has no folder service")


def test_submodules_and_their_remedy(project: Project) -> None:
    """They are refused, and taken from the working tree where the user says so."""
    inner = Project(project.folder / "inner", pytest.MonkeyPatch()).commit({"data.txt": "data"})
    project.git("submodule", "--quiet", "add", inner.top.as_uri(), "inner")
    project.commit({RUN: TEST.replace("note()", "note(data=open('inner/data.txt').read())")}, tag="with")
    require_refused(project, project.gate(base="with"), "has submodules (inner)")
    seen = project.gate("--latency-share=inner", base="with")
    assert ["head", "head"] == seen.who and 1 == seen.code, seen.text
    assert ["data", "data"] == [note["data"] for note in seen.notes]
    assert [] == project.left()


def test_a_filter_that_fails(project: Project) -> None:
    """Such as that of Git LFS without a network."""
    project.git("config", "filter.lost.smudge", "false")
    project.git("config", "filter.lost.required", "true")
    project.git("config", "filter.lost.clean", "cat")
    project.commit({".gitattributes": "*.bin filter=lost\n", "a.bin": "x"}, tag="filtered")
    require_refused(
        project, project.gate(base="filtered"), "git worktree failed: fatal: a.bin: smudge filter lost failed"
    )


@pytest.mark.parametrize("kind", ["worktree", "of a bare clone", "detached", "dirty"])
def test_other_kinds_of_checkouts(project: Project, kind: str) -> None:
    """A gate needs a folder with a repository behind it, whatever that looks like."""
    place = project.folder / "place"
    if kind == "worktree":
        project.git("worktree", "add", "-q", str(place), "main~0")
    elif kind == "of a bare clone":
        project.git("clone", "-q", "--bare", str(project.top), str(project.folder / "bare"))
        project.git("worktree", "add", "-q", str(place), "main", cwd=project.folder / "bare")
    elif kind == "detached":
        project.git("checkout", "-q", "--detach")
    else:
        project.write({"pkg/__init__.py": code("head") + "\n", "ünused file": ""})
    seen = project.gate(cwd=place if place.exists() else None)
    if kind == "worktree":
        project.git("worktree", "remove", str(place))
    require_run(project, seen)
    assert ("changed: pkg/__init__.py, ünused file" in seen.text) == (kind == "dirty")


def test_no_room_for_temporary_files(project: Project) -> None:
    """The folder for them cannot be written, or the disk is full."""
    nowhere = project.folder / "nowhere"
    (project.folder / "sitecustomize.py").write_text(f"import tempfile\ntempfile.tempdir = {str(nowhere)!r}\n")
    seen = project.gate("--capture=no", path=[project.folder])
    require_refused(project, seen, "there is no temporary folder for the base's checkout")
    assert "set TMPDIR" in seen.text


def test_a_full_disk(project: Project) -> None:
    """git cannot write the checkout."""
    project.commit({"large.txt": "x" * 200_000}, tag="large")
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    (project.folder / "sitecustomize.py").write_text(limit)
    require_refused(project, project.gate(base="large", path=[project.folder]), "git worktree failed: ")


@pytest.mark.parametrize("place", ["cwd", "code"])
def test_a_file_outside_of_git(project: Project, place: str) -> None:
    """The base lacks it, the words name the option, and the option brings it, though not over what the base has."""
    where = "Path('weights.bin')" if place == "cwd" else "Path(__file__).parent / 'weights.bin'"
    package = f"from pathlib import Path\n\ndef read():\n    return ({where}).read_text()\n"
    name = "weights.bin" if place == "cwd" else "pkg/weights.bin"
    test = TEST.replace("note()", "note(read=pkg.read())").replace("llmtime(pkg.work)", "pkg.read(); llmtime(pkg.work)")
    for side in ("base", "head"):
        files = {"pkg/__init__.py": package + code(side), ".gitignore": "*.bin\n", "pkg/kept.txt": side, RUN: test}
        project.commit(files, tag=f"{side}-reads")
    project.write({name: "weights"})
    seen = project.gate(base="base-reads")
    assert 1 == seen.code and [] == seen.who, seen.text
    assert f"{name} is in {project.top} only" in seen.text and "--latency-share" in seen.text
    seen = project.gate("--latency-share", name if place == "cwd" else "pkg", base="base-reads")
    require_run(project, seen)
    assert "weights" == (project.top / name).read_text()


def test_a_generated_module(project: Project) -> None:
    """A version file that a build writes: missed in words, and brought by the setting."""
    for side in ("base", "head"):
        project.commit(
            {"pkg/__init__.py": f"from pkg._version import V\n{code(side)}", ".gitignore": "_version.py\n"},
            f"{side}-generated",
        )
    project.write({"pkg/_version.py": "V = 1\n"})
    seen = project.gate(base="base-generated")
    assert 1 == seen.code, seen.text
    assert "No module named 'pkg._version': the base has no pkg/_version.py" in seen.text
    project.write({"pytest.ini": "[pytest]\nlatency_share = pkg/_version.py\n"})
    require_run(project, project.gate(base="base-generated"))


@pytest.mark.parametrize(
    ("name", "words"), [("weights", "and there is no"), ("../outside", "lies outside of the repository")]
)
def test_what_cannot_be_shared(project: Project, name: str, words: str) -> None:
    """It is not there, or has an address that both sides can use."""
    (project.folder / "outside").mkdir()
    require_refused(project, project.gate(f"--latency-share={name}"), words)


def interpreter(folder: Path, *paths: Path | str) -> Path:
    """Another environment's Python, whose packages lie in other folders."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next((folder / "lib").iterdir()) / "site-packages"
    (packages / "below.pth").write_text("".join(f"import site; site.addsitedir({str(path)!r})\n" for path in paths))
    return folder / "bin" / "python"


def distribution(folder: Path, version: str) -> Path:
    """A folder with a package of a version in it."""
    (folder / f"fake_runtime-{version}.dist-info").mkdir(parents=True)
    (folder / f"fake_runtime-{version}.dist-info" / "METADATA").write_text(f"Name: fake-runtime\nVersion: {version}\n")
    (folder / "fake_runtime.py").write_text(f"VERSION = {version!r}\n")
    return folder


@pytest.mark.slow
def test_another_interpreter_for_the_base(project: Project) -> None:
    """A change of dependencies alone: each side has its own, they are listed, and the project may be the same."""
    old, new = (distribution(project.folder / version, version) for version in ("1.0", "2.0"))
    project.commit(
        {RUN: f"import fake_runtime\n{TEST}".replace("note()", "note(version=fake_runtime.VERSION)")}, tag="same"
    )
    python = interpreter(project.folder / "old", old, sysconfig.get_path("purelib"))
    seen = project.gate(f"--latency-base-python={python}", base="same", env={"PYTHONPATH": f"{new}"}, path=())
    assert 4 == seen.code, seen.text
    paths = [*project.environment()["PYTHONPATH"].split(os.pathsep)]
    mine = interpreter(project.folder / "new", new, sysconfig.get_path("purelib"), *paths)
    seen = project.gate(f"--latency-base-python={python}", base="same", command=(str(mine), "-m", "pytest"))
    assert 1 == seen.code and ["head", "head"] == seen.who, seen.text
    assert ["1.0", "2.0"] == sorted(note["version"] for note in seen.notes)
    assert "fake-runtime: 1.0 → 2.0" in seen.text
    assert [] == project.left()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (None, "there is no interpreter"),
        (f'#!/bin/sh\nexec {sys.executable} -I -S "$@"', "install llm-latency[pytest] into its environment too"),
    ],
)
def test_an_interpreter_that_cannot_be_used(project: Project, program: str | None, words: str) -> None:
    """It is not there, or lacks what a worker needs."""
    python = project.folder / "python"
    if program is not None:
        python.write_text(program)
        python.chmod(0o755)
    require_refused(project, project.gate(f"--latency-base-python={python}"), words)
