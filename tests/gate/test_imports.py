"""Each module from its own side's tree: what is asked for, who finds it, and what is given instead."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llm_latency.errors import UsageError
from llm_latency.gate.imports import Imports, inventory, require_own
from llm_latency.gate.message import Imported, Job


class Two:
    """A base's and a head's tree, and sys.path as the user has it: the head's."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base, self.head, self.others = folder / "base", folder / "head", folder / "others" / "site-packages"
        for place in (self.base, self.head, self.others):
            place.mkdir(parents=True)
        self.monkeypatch = monkeypatch
        self.path("")

    def path(self, *entries: str) -> None:
        """Let sys.path be folders of the head, and then where packages are installed."""
        odd = [self.base, b"/bytes"]  # which Python passes over
        path = [*(str(self.head / entry) for entry in entries), *odd, str(self.others)]
        self.monkeypatch.setattr(sys, "path", path)

    def write(self, base: Mapping[str, str] = {}, head: Mapping[str, str] = {}, others: Mapping[str, str] = {}) -> None:
        """Write files of both trees and among the installed packages."""
        for place, files in ((self.base, base), (self.head, head), (self.others, others)):
            for name, text in files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
        importlib.invalidate_caches()

    def imports(self, side: str = "base", tests: tuple[str, ...] = ("tests",)) -> Imports:
        """One side's."""
        own = str(self.base if side == "base" else self.head)
        trees = (str(self.head), str(self.base))
        job = Job(side=side, run="", arguments={}, own=own, home=str(self.head), trees=trees, tests=tests)
        return Imports(job)

    def found(self, name: str, side: str = "base", path: list[str] | None = None) -> str:
        """Where a side takes a module from, as its tree and the place in it."""
        spec = self.imports(side).find_spec(name, path)
        if spec is None:
            return "nowhere"
        origin = spec.origin or next(iter(spec.submodule_search_locations or ()), "no place")
        places = {"base": self.base, "head": self.head, "others": self.others}
        return next(
            (f"{tree} {Path(origin).relative_to(p)}" for tree, p in places.items() if Path(origin).is_relative_to(p))
        )


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    """Two empty trees."""
    return Two(tmp_path, monkeypatch)


def require_raises(spec: ModuleSpec | None, words: str) -> None:
    """A module that is found and cannot be imported."""
    assert spec is not None
    with pytest.raises(ModuleNotFoundError, match=words) as raised:
        importlib.util.module_from_spec(spec)
    assert spec.name == raised.value.name


@pytest.mark.parametrize("name", ["pkg/__init__.py", "pkg.py", "src/pkg/__init__.py", "lib/deep/pkg.py"])
def test_the_same_place_in_the_own_tree(two: Two, name: str) -> None:
    """Whichever folder of the head sys.path names."""
    two.write({name: ""}, {name: ""})
    two.path(str(Path(name.removesuffix("/__init__.py")).parent))
    assert (f"base {name}", f"head {name}") == (two.found("pkg"), two.found("pkg", "head"))


def test_packages_and_the_standard_library_are_the_same_on_both_sides(two: Two) -> None:
    """So are built-in modules, what nobody has, and this tool itself."""
    two.write(head={"llm_latency/__init__.py": ""}, others={"third.py": ""})
    assert "others third.py" == two.found("third")
    assert None not in [two.imports().find_spec(name) for name in ("sys", "zipimport")]
    assert "nowhere" == two.found("nothing_like_it") == two.found("llm_latency") == two.found("pytest_llm_latency.a")


def test_tests_come_from_one_tree(two: Two) -> None:
    """conftest files as well, wherever they are; a helper that only the base has is still its."""
    files = {"tests/help.py": "", "conftest.py": "", "tests/__init__.py": ""}
    two.write(files | {"tests/old.py": ""}, files)
    two.path("", "tests")
    assert ["head tests/help.py", "head conftest.py"] == [two.found(name) for name in ("help", "conftest")]
    assert "base tests/old.py" == two.found("tests.old", path=[str(two.base / "tests")])


def test_tests_inside_of_a_package_of_the_base(two: Two) -> None:
    """They came with the head."""
    two.write({"pkg/__init__.py": ""}, {"pkg/__init__.py": "", "pkg/tests/__init__.py": ""})
    spec = two.imports(tests=("pkg/tests",)).find_spec("pkg.tests", [str(two.base / "pkg")])
    assert spec is not None and str(two.head / "pkg/tests/__init__.py") == spec.origin


@pytest.mark.parametrize(("old", "new"), [("pkg.py", "src/pkg.py"), ("src/pkg/__init__.py", "pkg/__init__.py")])
def test_a_module_that_has_moved(two: Two, old: str, new: str) -> None:
    """It is found at its old place, and so is what lay beside it and is no more."""
    two.write(
        {old: "", str(Path(old).parents[old.count("/") - 1] / "gone.py") if "/" in old else "gone.py": ""}, {new: ""}
    )
    two.path("src" if new.startswith("src") else "")
    imports = two.imports()
    spec = imports.find_spec("pkg")
    assert spec is not None and str(two.base / old) == spec.origin
    gone = imports.find_spec("gone")
    assert gone is not None and str(two.base) in str(gone.origin)


def test_a_module_that_became_a_package(two: Two) -> None:
    """And the other way round."""
    two.write({"one.py": "", "two/__init__.py": ""}, {"one/__init__.py": "", "two.py": ""})
    assert ["base one.py", "base two/__init__.py"] == [two.found("one"), two.found("two")]


def test_a_module_of_the_head_alone(two: Two) -> None:
    """It can be seen, as on the other side, and says what to do when it is imported."""
    two.write({"pkg/__init__.py": ""}, {"new.py": "", "pkg/__init__.py": "", "pkg/made.py": ""})
    require_raises(two.imports().find_spec("new"), "the base has no new.py, which is in .*--latency-share")
    made = two.imports().find_spec("pkg.made", [str(two.base / "pkg")])
    require_raises(made, "No module named 'pkg.made': the base has no pkg/made.py")
    assert "head new.py" == two.found("new", "head")


def test_a_module_of_the_base_alone(two: Two) -> None:
    """Where the head's path would find it; a script that both have beside the path is for nobody."""
    two.write({"old.py": "", "evaluate.py": "", "src/pkg.py": ""}, {"evaluate.py": "", "src/pkg.py": ""})
    assert "base old.py" == two.found("old")
    two.path("src")
    assert ["nowhere"] * 2 == [two.found("evaluate"), two.found("evaluate", "head")]


@pytest.mark.parametrize(("entries", "expected"), [(("",), "base vendored.py"), ((), "others vendored.py")])
def test_own_code_that_gave_way_to_a_package(two: Two, entries: tuple[str, ...], expected: str) -> None:
    """The base runs its own where that would come first."""
    two.write({"vendored.py": ""}, {}, {"vendored.py": ""})
    two.path(*entries)
    assert expected == two.found("vendored")
    assert "others vendored.py" == two.found("vendored", "head")
    assert (bool(entries), False) == (two.imports().has_own("vendored"), two.imports("head").has_own("vendored"))


def test_namespace_packages(two: Two) -> None:
    """Their folders in the own tree, and those of others as they are; a folder without code is seen on both sides."""
    two.write({"acme/one.py": ""}, {"acme/one.py": "", "data/a.txt": ""}, {"acme/two.py": ""})
    spec = two.imports().find_spec("acme")
    assert spec is not None and spec.loader is None
    assert [str(two.base / "acme"), str(two.others / "acme")] == list(spec.submodule_search_locations or ())
    assert "NamespacePath" in str(spec.submodule_search_locations)  # what importlib.resources asks for
    data = two.imports().find_spec("data")
    assert data is not None and [str(two.base / "data")] == list(data.submodule_search_locations or ())
    two.monkeypatch.setattr(sys, "path", [*sys.path, str(two.head / "lib")])
    (two.head / "lib" / "acme").mkdir(parents=True)
    assert str(two.head) not in str(list(spec.submodule_search_locations or ()))


def test_a_namespace_package_that_has_moved(two: Two) -> None:
    """It has no file that would tell."""
    two.write({"acme/one.py": ""}, {"src/acme/one.py": ""})
    two.path("src")
    spec = two.imports().find_spec("acme")
    assert spec is not None and [str(two.base / "acme")] == list(spec.submodule_search_locations or ())


class Editable:
    """A finder as an editable install has it: one name, one file."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.file = name, file

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The file, whatever the path."""
        folders = [str(self.file.parent)] if self.file.name == "__init__.py" else None
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.file, submodule_search_locations=folders)


def test_finders_of_editable_installs(two: Two) -> None:
    """They know one tree; where the base has the package elsewhere it is found too."""
    two.write({"src/pkg/__init__.py": "", "flat.py": ""}, {"src/pkg/__init__.py": "", "src/flat.py": ""})
    two.path()
    editable = [Editable("pkg", two.head / "src/pkg/__init__.py"), Editable("flat", two.head / "src/flat.py")]
    two.monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, *editable])
    assert ["base src/pkg/__init__.py", "base flat.py"] == [two.found("pkg"), two.found("flat")]


class Rewriting:
    """A finder that changes the code it loads, as pytest does with asserts."""

    def find_spec(self, name: str, path: Any = None, target: object = None) -> ModuleSpec | None:
        """What the others find, loaded by itself."""
        spec = PathFinder.find_spec(name, path)
        if spec is None or not spec.has_location:
            return None
        return importlib.util.spec_from_file_location(name, str(spec.origin), loader=self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run."""
        module.changed = True  # type: ignore[attr-defined]


def test_finders_in_front(two: Two) -> None:
    """What puts itself first comes second, and still loads what it has found, from the right tree."""
    two.write({"plain.py": "NAME = 1\n"}, {"plain.py": "NAME = 2\n"})
    two.monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    imports, rewriting = two.imports(), Rewriting()
    imports.install()
    sys.meta_path.insert(0, rewriting)  # type: ignore[arg-type]  # a finder by what it can
    assert [imports, rewriting] == sys.meta_path[:2]
    module = importlib.import_module("plain")
    try:
        assert str(two.base / "plain.py") == module.__file__ and module.changed
    finally:
        del sys.modules["plain"]
    sys.meta_path.remove(rewriting)  # type: ignore[arg-type]  # the same
    assert imports is sys.meta_path[0]


@pytest.mark.parametrize("path", ["", "pkg"], ids=["its parent", "its own folder"])
def test_pytests_importlib_mode(two: Two, path: str) -> None:
    """It takes no spec but that of the file that it has named, and gets a module from another."""
    two.write({"pkg/__init__.py": "NAME = 'base'\n"}, {"pkg/__init__.py": "NAME = 'head'\n", "pkg/pkg.py": ""})
    spec = two.imports().find_spec("pkg", [str(two.head / path)])
    assert spec is not None and spec.loader is not None and str(two.head / "pkg/__init__.py") == spec.origin
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert ("base", str(two.base / "pkg/__init__.py")) == (module.NAME, module.__file__)
    assert [str(two.base / "pkg")] == list(module.__path__) and module.__spec__.origin == module.__file__


def test_a_submodule_with_its_packages_name(two: Two) -> None:
    """Is itself."""
    files = {"pkg/__init__.py": "", "pkg/pkg.py": ""}
    two.write(files, files)
    assert "base pkg/pkg.py" == two.found("pkg.pkg", path=[str(two.base / "pkg")])


def module(name: str, file: Path | str | None) -> ModuleType:
    """As it stands in sys.modules."""
    made = ModuleType(name)
    made.__file__ = None if file is None else str(file)
    return made


class Lazy(ModuleType):
    """A module that imports what it is asked for."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"was asked for {name}")


def test_what_was_imported(two: Two) -> None:
    """Own files, foreign ones, installed copies of what is in the tree, and what a fork server may import."""
    two.write({"pkg/__init__.py": "", "copied/__init__.py": "", "datasets/__init__.py": "", "datasets/mine.py": ""})
    two.write(others={"copied/__init__.py": "", "datasets/__init__.py": "", "datasets/theirs.py": "", "third.py": ""})
    two.write({"datasets/more.py": ""})
    found = {
        "pkg.deep": two.base / "pkg/deep.py",
        "pkg": two.base / "pkg/__init__.py",
        "apart.deep": two.base / "apart/deep.py",
        "wrong": two.head / "wrong.py",
        "conftest": two.head / "conftest.py",
        "tests.help": two.head / "tests/help.py",
        "copied": two.others / "copied/__init__.py",
        "datasets": two.others / "datasets/__init__.py",
        "third": two.others / "third.py",
        "sitecustomize": two.head / "sitecustomize.py",
        "elsewhere": "/nowhere/elsewhere.py",
        "json": importlib.util.find_spec("json").origin,  # type: ignore[union-attr]  # there is one
        "llm_latency.gate.trees": two.head / "llm_latency/gate/trees.py",
        "nothing": None,
    }
    modules: dict[str, Any] = {name: module(name, file) for name, file in found.items()}
    two.monkeypatch.setattr(sys, "modules", modules | {"lazy": Lazy("lazy"), "odd": object()})
    imported = two.imports().imported()
    assert {"pkg": "pkg/__init__.py", "apart": "apart/deep.py"} == imported.files
    assert (f"wrong is {two.head / 'wrong.py'}",) == imported.foreign
    assert (f"copied is {two.others / 'copied/__init__.py'}",) == imported.copies
    assert ("copied", "datasets", "third", "json", "llm_latency.gate.trees") == imported.modules


def test_what_is_shared_is_not_foreign(two: Two) -> None:
    """A link in the own tree to a file of the other one."""
    two.write({"pkg/__init__.py": ""}, {"pkg/made.py": ""})
    (two.base / "pkg/made.py").symlink_to(two.head / "pkg/made.py")
    assert "base pkg/made.py" == two.found("pkg.made", path=[str(two.base / "pkg")])
    two.monkeypatch.setattr(sys, "modules", {"pkg.made": module("pkg.made", two.base / "pkg/made.py")})
    assert () == two.imports().imported().foreign


def test_sides_that_do_not_run_their_own_code_are_refused() -> None:
    """In words that name the module; a side that does is not."""
    require_own("base", Imported(files={}, versions={}))
    with pytest.raises(UsageError, match=r"the head imported the other side's code \(a is b\)"):
        require_own("head", Imported(files={}, versions={}, foreign=("a is b",)))
    with pytest.raises(UsageError, match=r"installed copy .* \(a is b\), .* `pip install -e`"):
        require_own("base", Imported(files={}, versions={}, copies=("a is b",)))


def test_the_inventory() -> None:
    """Every distribution with its version."""
    assert importlib.metadata.version("pytest") == inventory()["pytest"]
