"""A gate finds each side's code in its own tree, however a project is laid out, installed and run."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pytest_plugin.gates import PYTEST, TEST, Project, Seen, code

# As the script `pytest` does, the current folder stays out of sys.path; not every environment has the script.
SCRIPT = (sys.executable, "-P", "-m", "pytest")
RUN = "tests/test_it.py"
INI = "[pytest]\npythonpath = {}\n"
BOTH = ["base", "head"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty repository."""
    return Project(tmp_path, monkeypatch)


def two(project: Project, where: str = "pkg/__init__.py", test: str = RUN, **others: str) -> Project:
    """A base and a head that differ in who they are; `others` are files of both, dots and slashes as __."""
    files = {name.replace("__s__", "/").replace("__d__", "."): text for name, text in others.items()}
    project.commit({where: code("base"), test: TEST, **files}, tag="base")
    return project.commit({where: code("head")})


def require_both(project: Project, seen: Seen, who: Sequence[str] = BOTH) -> None:
    """Each side has run its own code, one pair was too few to decide, and nothing is left."""
    assert list(who) == seen.who, seen.text
    assert 1 == seen.code and "fewer than 6 pairs" in seen.text, seen.text
    assert [] == project.left()


def sitecustomize(folder: Path, text: str) -> Path:
    """A folder for PYTHONPATH in which code runs as Python starts, as that of an installed .pth file does."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(text))
    return folder


def environment(folder: Path) -> tuple[Path, Path]:
    """A virtual environment with what this one has: its interpreter, and its own folder of packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next((folder / "lib").iterdir()) / "site-packages"
    here = sysconfig.get_path("purelib")
    (packages / "below.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    return folder / "bin" / "python", packages


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
@pytest.mark.parametrize(
    ("where", "files"),
    [
        ("pkg/__init__.py", {RUN: TEST}),
        ("pkg/__init__.py", {RUN: TEST, "tests/__init__.py": ""}),
        ("src/pkg/__init__.py", {RUN: TEST, "pytest.ini": INI.format("src")}),
        ("pkg/__init__.py", {"pkg/tests/test_it.py": TEST}),
        ("pkg/__init__.py", {"pkg/tests/test_it.py": TEST, "pkg/tests/__init__.py": ""}),
    ],
    ids=["flat", "tests a package", "src", "tests inside", "tests a package inside"],
)
def test_layouts_and_import_modes(project: Project, where: str, files: dict[str, str], mode: str) -> None:
    """python -m pytest, with each way in which pytest imports test files."""
    project.commit({where: code("base"), **files}, tag="base").commit({where: code("head")})
    require_both(project, project.gate(f"--import-mode={mode}"))


def test_folders_that_come_last(project: Project) -> None:
    """--import-mode=append, with nothing else that would find the code."""
    two(project, conftest__d__py="")
    require_both(project, project.gate("--import-mode=append", command=SCRIPT))


def test_plain_pytest_with_a_conftest_at_the_root(project: Project) -> None:
    """Its folder comes into sys.path, where the other side's code lies too."""
    two(project, conftest__d__py="import pkg\n")
    require_both(project, project.gate(command=SCRIPT))


def test_pythonpath(project: Project) -> None:
    """A relative entry of the environment variable."""
    two(project, "lib/pkg/__init__.py")
    require_both(project, project.gate(command=SCRIPT, path=["lib"]))


def test_an_editable_install_by_path(project: Project) -> None:
    """What hatchling and others write: a .pth file with a folder in it."""
    two(project, "src/pkg/__init__.py")
    paths = project.folder / "paths"
    paths.mkdir()
    (paths / "pkg.pth").write_text(f"{project.top / 'src'}\n")
    site = sitecustomize(project.folder / "site", f"import site\nsite.addsitedir({str(paths)!r})\n")
    require_both(project, project.gate(command=SCRIPT, path=[site]))


FINDER = """
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == {namespace!r}:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = ["__editable__.finder.__path_hook__"]
            return spec
        if name != {name!r}:
            return None
        return spec_from_file_location(name, Path({folder!r}, "__init__.py"))

sys.meta_path.append(Finder)
"""


def test_an_editable_install_by_a_finder(project: Project) -> None:
    """What setuptools and editables write: a finder that maps names to files of the tree that was installed."""
    two(project, "src/pkg/__init__.py")
    finder = FINDER.format(namespace="", name="pkg", folder=str(project.top / "src" / "pkg"))
    require_both(project, project.gate(command=SCRIPT, path=[sitecustomize(project.folder / "site", finder)]))


def test_an_editable_install_of_a_part_of_a_namespace(project: Project) -> None:
    """The finder gives the namespace no folder at all."""
    two(
        project,
        "src/acme/pkg/__init__.py",
        test="unused.py",
        tests__s__test_it__d__py=TEST.replace("pkg", "acme.pkg", 1),
    )
    project.write({RUN: TEST.replace("import pkg", "import acme.pkg as pkg")})
    finder = FINDER.format(namespace="acme", name="acme.pkg", folder=str(project.top / "src" / "acme" / "pkg"))
    require_both(project, project.gate(command=SCRIPT, path=[sitecustomize(project.folder / "site", finder)]))


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_namespace_packages(project: Project, mode: str) -> None:
    """One part of it is the project's, the other somebody else's, and importlib.resources sees both."""
    other = project.folder / "other"
    (other / "acme" / "second").mkdir(parents=True)
    (other / "acme" / "second" / "__init__.py").write_text("")
    imports = "from importlib.resources import files\nimport acme.second\nimport acme.pkg as pkg"
    test = TEST.replace("import pkg", imports).replace("note()", 'note(places=str(files("acme")))')
    project.commit({"acme/pkg/__init__.py": code("base"), RUN: test}, tag="base")
    project.commit({"acme/pkg/__init__.py": code("head")})
    seen = project.gate(f"--import-mode={mode}", path=[other])
    require_both(project, seen)
    assert str(project.top) in seen.of("head")["places"] and str(project.top) not in seen.of("base")["places"]
    assert all(str(other) in note["places"] for note in seen.notes)


@pytest.mark.parametrize("from_top", [True, False], ids=["from the top", "from its folder"])
def test_a_project_in_a_folder_of_its_repository(project: Project, from_top: bool) -> None:
    """Code from elsewhere in the repository has two versions as well."""
    service = {
        "service/pytest.ini": "[pytest]\n",
        "service/tests/test_it.py": TEST.replace("note()", "note(lib=pkg.LIB)"),
    }
    shared = "import common\nLIB = common.LIB\n"
    project.commit(
        {"service/pkg/__init__.py": code("base") + shared, "lib/common.py": "LIB = 'base'\n", **service}, "base"
    )
    project.commit({"service/pkg/__init__.py": code("head") + shared, "lib/common.py": "LIB = 'head'\n"})
    path = [project.top / "lib", project.top / "service"]
    where = {"cwd": project.top / "service"}
    seen = project.gate("service/tests", path=path) if from_top else project.gate(path=path, **where)
    require_both(project, seen)
    assert all(note["who"] == note["lib"] for note in seen.notes)


@pytest.mark.slow
def test_an_environment_inside_of_the_project(project: Project) -> None:
    """Packages in .venv are nobody's code, and the same on both sides."""
    two(project, __d__gitignore=".venv\n")
    python, packages = environment(project.top / ".venv")
    (packages / "third.py").write_text("")
    project.write({RUN: f"import third\n{TEST}"})
    require_both(project, project.gate(command=(str(python), "-m", "pytest")))


@pytest.mark.parametrize(
    ("to_src", "command"), [(True, SCRIPT), (True, PYTEST), (False, SCRIPT)], ids=["to src", "to src, -m", "to flat"]
)
def test_a_layout_that_has_moved(project: Project, to_src: bool, command: Sequence[str]) -> None:
    """The base has its package, and a module that is no more, at another place than the head."""
    old, new = ("", "src/") if to_src else ("src/", "")
    project.commit(
        {f"{old}pkg/__init__.py": f"import gone\n{code('base')}", f"{old}gone.py": "", RUN: TEST}, tag="base"
    )
    project.commit({f"{old}pkg": None, f"{old}gone.py": None, f"{new}pkg/__init__.py": code("head")})
    project.commit({"pytest.ini": INI.format(new or ".")})
    require_both(project, project.gate(command=command))


@pytest.mark.parametrize(("side", "mode"), [("base", "prepend"), ("head", "prepend"), ("head", "importlib")])
def test_a_module_on_one_side_only(project: Project, side: str, mode: str) -> None:
    """It is found where it is, and missed where it is not."""
    extra: dict[str, dict[str, str | None]] = {"base": {}, "head": {"extra.py": None} if side == "base" else {}}
    extra[side] = {"extra.py": code(side), "pkg/__init__.py": "from extra import WHO, work\n"}
    project.commit({"pkg/__init__.py": code("base"), RUN: TEST, **extra["base"]}, tag="base")
    project.commit({"pkg/__init__.py": code("head"), **extra["head"]})
    require_both(project, project.gate(f"--import-mode={mode}"))


def test_a_module_that_the_base_had_and_the_head_installs(project: Project) -> None:
    """Vendored code that gave way to a package: the base runs its own, the head the installed one."""
    packages = project.folder / "installed" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "vendored.py").write_text("NAME = 'installed'\n")
    package = "import vendored\nWHO = vendored.NAME\n\ndef work():\n    return sum(range(20_000))\n"
    project.commit({"pkg/__init__.py": package, "vendored.py": "NAME = 'own'\n", RUN: TEST}, tag="base")
    project.commit({"vendored.py": None})
    require_both(project, project.gate(path=[packages]), ["installed", "own"])


def test_files_beside_the_project_that_have_famous_names(project: Project) -> None:
    """A script like the standard library's is not run in its place, and what looks like a library is seen alike."""
    finds = 'note(finds=[find_spec(name) is not None for name in ("datasets", "wandb", "evaluate", "nothing_like_it")])'
    test = "from importlib.util import find_spec\n" + TEST.replace("note()", finds)
    stray = {"tokenize.py": "raise SystemExit('a script')\n", "evaluate.py": "raise SystemExit('a script')\n"}
    project.commit(
        {"src/pkg/__init__.py": code("base"), "conftest.py": "", "pytest.ini": INI.format("src"), **stray}, "base"
    )
    project.commit({"src/pkg/__init__.py": code("head"), RUN: test})
    project.write({"datasets/a.txt": "", "wandb/run/a.txt": ""})
    seen = project.gate(command=SCRIPT)
    require_both(project, seen)
    assert seen.of("base")["finds"] == seen.of("head")["finds"] == [True, True, True, False]


def test_a_folder_behind_a_link(project: Project) -> None:
    """The project is entered, installed and named through it."""
    two(project, "src/pkg/__init__.py", pytest__d__ini="[pytest]\n")
    link = project.folder / "link"
    link.symlink_to(project.top)
    require_both(project, project.gate(str(link / "tests"), command=SCRIPT, cwd=link, path=[link / "src"]))


def test_what_is_imported_inside_of_the_timed_call(project: Project) -> None:
    """Neither side had imported anything of the project before its first call."""
    lazy = "def work():\n    import pkg.deep\n    return pkg.deep.work()\n"
    test = TEST.replace("import pkg\n", lazy).replace("llmtime(pkg.work)", "llmtime(work)")
    test = test.replace("note()", "global pkg; import pkg.deep as pkg; note()")
    project.commit({"pkg/__init__.py": "", "pkg/deep.py": code("base"), RUN: test}, tag="base")
    project.commit({"pkg/deep.py": code("head")})
    require_both(project, project.gate())


def test_data_beside_the_code(project: Project) -> None:
    """Through __file__, importlib.resources and the working folder."""
    read = "from pathlib import Path\nHERE = (Path(__file__).parent / 'data.txt').read_text()\n"
    facts = 'note(data=[pkg.HERE, files("pkg").joinpath("data.txt").read_text(), Path("data.txt").read_text()])'
    test = "from importlib.resources import files\nfrom pathlib import Path\n" + TEST.replace("note()", facts)
    for side in BOTH:
        texts = {"pkg/data.txt": side, "data.txt": side, "pkg/__init__.py": read + code(side), RUN: test}
        project.commit(texts, tag=side)
    seen = project.gate()
    require_both(project, seen)
    assert all([note["who"]] * 3 == note["data"] for note in seen.notes)


def test_modules_whose_asserts_pytest_rewrites(project: Project) -> None:
    """pytest puts its own finder in front of all others, for plugins and what is registered."""
    two(project, conftest__d__py="import pytest\npytest.register_assert_rewrite('pkg')\n", mine__d__py="WHO = 1\n")
    require_both(project, project.gate("-p", "mine"))


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_tests_that_came_with_the_head(project: Project, mode: str) -> None:
    """A package of tests inside of a package that the base has without them."""
    project.commit({"pkg/__init__.py": code("base")}, tag="base")
    tests = {
        "pkg/tests/__init__.py": "",
        "pkg/tests/help.py": "",
        "pkg/tests/test_it.py": f"import pkg.tests.help\n{TEST}",
    }
    project.commit({"pkg/__init__.py": code("head"), **tests})
    require_both(project, project.gate(f"--import-mode={mode}"))


def test_the_bases_tests(project: Project) -> None:
    """With --latency-tests=base, both sides run its test files, and still their own code."""
    two(project)
    project.write({RUN: TEST.replace("note()", "raise SystemExit('the head has other tests')")})
    require_both(project, project.gate("--latency-tests=base"))


def test_an_installed_copy_is_refused(project: Project) -> None:
    """Both sides would run the same code."""
    two(project, "src/pkg/__init__.py")
    packages = project.folder / "site-packages"
    (packages / "pkg").mkdir(parents=True)
    (packages / "pkg" / "__init__.py").write_text(code("installed"))
    seen = project.gate(command=SCRIPT, path=[packages])
    assert 4 == seen.code, seen.text
    assert "runs an installed copy of code that is in its tree (pkg is" in seen.text
    assert "pip install -e" in seen.text
    assert [] == project.left()


def test_code_that_comes_past_the_import_system_is_refused(project: Project) -> None:
    """A side that has run the other's code is never compared."""
    two(project)
    load = f"""
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("pkg", "{project.top}/pkg/__init__.py")
        sys.modules["pkg"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    """
    project.write({"conftest.py": textwrap.dedent(load)})
    seen = project.gate()
    assert 4 == seen.code, seen.text
    assert f"the base imported the other side's code (pkg is {project.top}" in seen.text
    assert [] == project.left()


def test_timed_code_that_lives_in_the_test_file_is_refused(project: Project) -> None:
    """Both sides run the same tests, so there is nothing to compare, and the words say where to put it."""
    project.commit({RUN: "def test_it(llmtime):\n    llmtime(lambda: sum(range(20_000)))\n"}, tag="base")
    seen = project.gate()
    assert 4 == seen.code, seen.text
    assert "neither side has imported anything of the project" in seen.text
    assert "move what is timed into a module of the project" in seen.text
    assert [] == project.left()
