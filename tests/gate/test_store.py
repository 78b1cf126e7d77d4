"""The folder of baselines: whose file is whose, two writers, and disks that do not play along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

import llm_latency.gate.stored.store
from llm_latency.errors import LLMLatencyError, MeasurementFileError, UsageError
from llm_latency.gate.stored.baseline import from_json
from llm_latency.gate.stored.fingerprint import Machine
from llm_latency.gate.stored.promotion import Promotion
from llm_latency.gate.stored.row import Row, Stored
from llm_latency.gate.stored.store import Nearest, Store

MACHINE = Machine(cores=2, device="cpu", memory_gib=8, processor="AMD EPYC", system="Linux")
MODULE = "tests/latency/test_chat.py"


def promotion(run: str = "r", *, test: str = "test_a", module: str = MODULE, machine: Machine = MACHINE) -> Promotion:
    """A row on its way."""
    row = Row(
        test=test,
        name=test,
        when="2026-11-25T08:00:00+00:00",
        run=run,
        metrics={"total@1": Stored(n=6, wall=0.01)},
    )
    return Promotion(module=module, machine=machine, row=row)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in a project of its own."""
    return Store(tmp_path)


def runs(store: Store, module: str = MODULE, machine: Machine = MACHINE) -> list[str]:
    """The runs that a file has of the test."""
    baseline = store.read(module, machine)
    assert baseline is not None
    return [row.run for row in baseline.rows_of("test_a", "test_a")]


def test_a_file_for_each_module_and_machine(store: Store) -> None:
    """In folders that git merges by lines; no file, no baseline."""
    other = replace(MACHINE, cores=4)
    assert store.read(MODULE, MACHINE) is None
    written = store.write(
        [promotion("a"), promotion("b"), promotion("c", machine=other), promotion("d", module="test_x.py")]
    )
    folder = store.root / "latency_baselines"
    assert [
        folder / "tests__latency__test_chat" / f"{MACHINE.fingerprint}.json",
        folder / "tests__latency__test_chat" / f"{other.fingerprint}.json",
        folder / "test_x" / f"{MACHINE.fingerprint}.json",
    ] == list(written)
    assert [["a", "b"], ["c"], ["d"]] == [runs(store), runs(store, machine=other), runs(store, "test_x.py")]
    assert "*.json merge=union\n" == (folder / ".gitattributes").read_text()
    assert "*\n" == (store.root / ".llm-latency" / ".gitignore").read_text()


def test_nothing_to_write_makes_nothing(store: Store) -> None:
    """Not even a folder."""
    assert () == store.write([])
    assert [] == list(store.root.iterdir())


def test_attributes_that_somebody_has_changed_stay(store: Store) -> None:
    """They are the project's."""
    store.folder.mkdir()
    (store.folder / ".gitattributes").write_text("mine\n")
    store.write([promotion()])
    assert "mine\n" == (store.folder / ".gitattributes").read_text()


@pytest.mark.parametrize("module", ["../outside/test_a.py", "a b/test_ü.py", "C:/x/test_a.py"])
def test_any_modules_name_is_a_folder_inside(store: Store, module: str) -> None:
    """A path that leads out of the project, and characters that files cannot have."""
    store.write([promotion(module=module)])
    path = store.path(module, MACHINE)
    assert path.exists() and store.folder == path.parent.parent
    assert ["r"] == runs(store, module)


def test_rows_that_another_run_has_written_meanwhile_stay(store: Store) -> None:
    """The file is read again when it is written."""
    other = Store(store.root)
    assert (store.read(MODULE, MACHINE), other.read(MODULE, MACHINE)) == (None, None)
    store.write([promotion("a")])
    other.write([promotion("b")])
    assert ["a", "b"] == runs(store)


WRITER = """
import sys
from pathlib import Path
from llm_latency.gate.stored.fingerprint import Machine
from llm_latency.gate.stored.promotion import Promotion
from llm_latency.gate.stored.row import Row, Stored
from llm_latency.gate.stored.store import Store

machine = Machine(cores=2, device="cpu", memory_gib=8, processor="AMD EPYC", system="Linux")
for index in range(10):
    row = Row(test="test_a", name="test_a", when=f"2026-11-25T08:00:0{index}+00:00", run=f"{sys.argv[2]}{index}",
              metrics={"total@1": Stored(n=6, wall=0.01)})
    Store(Path(sys.argv[1])).write([Promotion(module="tests/latency/test_chat.py", machine=machine, row=row)])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock on Windows yet")
def test_two_processes_that_write_at_once_lose_no_row(store: Store) -> None:
    """Ten rows each, twenty together, whatever the order."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(store.root), name]) for name in "ab"]
    assert [0, 0] == [writer.wait(timeout=120) for writer in writers]
    assert {f"{name}{index}" for name in "ab" for index in range(10)} == set(runs(store))


def test_the_nearest_machine_is_that_with_the_fewest_differences(store: Store) -> None:
    """Broken files of other machines are passed over; ours is none of them."""
    assert store.nearest(MODULE, MACHINE) is None
    near, far = replace(MACHINE, cores=4), replace(MACHINE, cores=4, processor="Apple M4", system="Darwin")
    store.write([promotion(machine=near), promotion(machine=far), promotion()])
    (store.path(MODULE, MACHINE).parent / "broken.json").write_text("{")
    assert Nearest(fingerprint=near.fingerprint, differences=("cores: 4 → 2",)) == store.nearest(MODULE, MACHINE)
    assert store.nearest("test_x.py", MACHINE) is None


def test_a_file_at_another_ones_place_is_refused(store: Store) -> None:
    """A copy for another module, and an edited machine."""
    store.write([promotion()])
    good = store.path(MODULE, MACHINE)
    copy = store.path("test_x.py", MACHINE)
    copy.parent.mkdir()
    copy.write_bytes(good.read_bytes())
    with pytest.raises(MeasurementFileError, match=r"test_x/.*, \$.module is 'tests/latency/test_chat.py'; expected"):
        store.read("test_x.py", MACHINE)
    good.write_bytes(good.read_bytes().replace(b'"cores":2', b'"cores":8'))
    with pytest.raises(MeasurementFileError, match=r"\$.machine is not the machine of its name \(cores: 8 → 2\)"):
        store.read(MODULE, MACHINE)


def test_a_broken_file_is_not_written_over(store: Store) -> None:
    """It may hold rows that somebody wants to rescue."""
    store.write([promotion("a")])
    path = store.path(MODULE, MACHINE)
    path.write_bytes(path.read_bytes()[:-20])
    kept = path.read_bytes()
    with pytest.raises(MeasurementFileError, match="not complete JSON"):
        store.write([promotion("b")])
    assert kept == path.read_bytes()


def test_a_file_that_cannot_be_read_is_an_error_with_its_name(store: Store) -> None:
    """A folder in its place."""
    store.path(MODULE, MACHINE).mkdir(parents=True)
    with pytest.raises(MeasurementFileError, match=rf"{MACHINE.fingerprint}\.json cannot be read: "):
        store.read(MODULE, MACHINE)


@pytest.mark.parametrize("problem", [(28, "No space left on device"), (30, "Read-only file system")])
def test_a_disk_that_is_full_or_read_only_leaves_the_file_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch, problem: tuple[int, str]
) -> None:
    """And says what is not stored."""
    store.write([promotion("a")])
    kept = store.path(MODULE, MACHINE).read_bytes()

    def refuse(path: Path, content: bytes) -> None:
        raise OSError(*problem, str(path))

    monkeypatch.setattr(llm_latency.gate.stored.store, "write_atomically", refuse)
    with pytest.raises(UsageError, match=rf"\.json cannot be written \({problem[1]}\): what was measured"):
        store.write([promotion("b")])
    assert kept == store.path(MODULE, MACHINE).read_bytes()
    assert [] == list(store.path(MODULE, MACHINE).parent.glob("*.tmp"))


def test_a_file_in_the_place_of_the_folder_is_said(store: Store) -> None:
    """Nothing can be written there, by whomever."""
    store.folder.write_text("")
    with pytest.raises(LLMLatencyError, match="cannot be"):
        store.write([promotion()])


def test_what_was_written_is_read_back(store: Store) -> None:
    """By bytes."""
    (path,) = store.write([promotion("a")])
    assert from_json(path.read_bytes(), source="x") == store.read(MODULE, MACHINE)
