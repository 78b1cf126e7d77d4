"""Sweeps with scripted calls: the order, what goes on after a stop, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.predict.cell import Cell
from llm_latency.predict.folder import RUNS, Folder
from llm_latency.predict.run import FAILED, LOST, NO_MEMORY, Shelf, run_cell
from llm_latency.predict.sweep import Step, Sweep, merged, read_sweep, run_sweep, sweep

CELLS = tuple(Cell(model="m", prompt_tokens=length, new_tokens=3) for length in (8, 16, 32, 64))


class Scripted:
    """A shelf whose calls are token streams; it raises what it is told to, and notes which cells it was asked for."""

    def __init__(self, **raises: BaseException) -> None:
        self.asked: list[int] = []
        self.held = 0
        self.raises = {int(length.removeprefix("at_")): error for length, error in raises.items()}

    def call(self, cell: Cell) -> tuple[Callable[[], object], dict[str, Any]]:
        """A stream of three tokens."""
        self.asked.append(cell.prompt_tokens)
        if error := self.raises.get(cell.prompt_tokens):
            raise error

        def stream() -> Iterator[str]:
            yield from "abc"

        return stream, {"device": "cpu"}

    def beside(self, cell: Cell) -> int:
        """What other models hold."""
        return self.held


def run(path: Path, shelf: Scripted | None = None, **options: Any) -> Sweep:
    """Sweep the four cells."""
    return run_sweep(CELLS, Folder(path), shelf=shelf or Scripted(), **({"rounds": 2} | options))


def test_cells_are_measured_in_rounds_each_in_its_own_order(tmp_path: Path) -> None:
    """The same seed gives the same orders, another one others; no cell comes twice before all came once."""
    orders = []
    for seed in (0, 0, 1):
        shelf = Scripted()
        run(tmp_path / str(len(orders)), shelf, rounds=3, seed=seed)
        orders.append([tuple(shelf.asked[begin : begin + 4]) for begin in (0, 4, 8)])
    assert all({8, 16, 32, 64} == set(order) for order in orders[0])
    assert len(set(orders[0])) > 1
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_a_point_has_the_counted_calls_of_all_turns(tmp_path: Path) -> None:
    """Two warm up in the first turn, one in each later one."""
    found = run(tmp_path, rounds=3, repeat=2)
    assert list(CELLS) == [cell for cell, _ in found.measured]
    for _, measurement in found.measured:
        assert 6 == len(measurement.traces)
        assert measurement.cold is not None
        assert 1 == len(measurement.warmup)
        assert "6 calls in 3 turns" == measurement.stopped_because
    assert 8 + 4 == len((tmp_path / RUNS).read_bytes().splitlines())


def test_a_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    """Turns that are there are not measured again; more rounds and other cells add to them."""
    run(tmp_path)
    again = Scripted()
    assert 4 == len(run(tmp_path, again).measured)
    assert [] == again.asked
    more = Scripted()
    run(tmp_path, more, rounds=3)
    assert 4 == len(more.asked)
    assert CELLS[::-1] == tuple(point.cell for point in run_sweep(CELLS[::-1], Folder(tmp_path), rounds=3).points)


def test_a_line_that_was_cut_off_loses_its_turn_only(tmp_path: Path) -> None:
    """As a process that is killed while it writes leaves it; the next line begins on its own."""
    run(tmp_path)
    file = tmp_path / RUNS
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    assert 7 == len(Folder(tmp_path).outcomes())
    shelf = Scripted()
    run(tmp_path, shelf)
    assert 1 == len(shelf.asked)
    assert 8 == len(Folder(tmp_path).outcomes())


def test_a_broken_line_within_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    run(tmp_path)
    file = tmp_path / RUNS
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([lines[0], b"{", *lines[1:]]) + b"\n")
    with pytest.raises(MeasurementFileError, match=r"runs.jsonl, line 2: .*remove that line"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("error", "problem", "words"),
    [
        (MemoryError("needs 9 GiB"), NO_MEMORY, "needs 9 GiB"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), NO_MEMORY, "DefaultCPUAllocator"),
        (ZeroDivisionError("division by zero"), FAILED, "ZeroDivisionError: division by zero"),
        (UsageError("no such dtype"), FAILED, "no such dtype"),
    ],
)
def test_a_cell_that_cannot_be_measured_is_kept_as_such(
    tmp_path: Path, error: Exception, problem: str, words: str
) -> None:
    """It is left out of later rounds, and the others are measured."""
    shelf = Scripted(at_16=error)
    found = run(tmp_path, shelf, rounds=3)
    assert 1 == shelf.asked.count(16)
    assert 3 == len(found.measured)
    point = found.points[1]
    assert (problem, None) == (point.problem, point.measurement)
    assert words in point.words


@pytest.mark.parametrize(("kills", "measured"), [(1, 4), (2, 3)])
def test_a_cell_that_ended_its_process_twice_is_left_out(tmp_path: Path, kills: int, measured: int) -> None:
    """A kill for want of memory leaves nothing but the note of what ran; once may have been somebody else's."""
    folder, note = Folder(tmp_path), tmp_path / "running.json"
    folder.prepare()
    with folder.running([(CELLS[0], 0)]):
        left = note.read_bytes()
    for _ in range(kills):
        note.write_bytes(left)
        folder.lost()
    shelf = Scripted()
    found = run(tmp_path, shelf)
    assert (2 * measured, measured) == (len(shelf.asked), len(found.measured))
    assert (LOST if kills == 2 else None) == found.points[0].problem
    assert not note.exists()


def test_an_interrupt_keeps_what_has_ended(tmp_path: Path) -> None:
    """The turn in which it came is measured again."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Scripted(at_32=KeyboardInterrupt()))
    kept = Folder(tmp_path).outcomes()
    assert {outcome.problem for outcome in kept} <= {None}
    assert not (tmp_path / "running.json").exists()
    shelf = Scripted()
    run(tmp_path, shelf)
    assert 8 == len(kept) + len(shelf.asked)


def test_progress_tells_how_much_is_left(tmp_path: Path) -> None:
    """Nothing is known of the time before the first turn has ended, and all is done at the end."""
    steps: list[Step] = []
    run(tmp_path, on_progress=steps.append)
    assert [(done, 8) for done in range(9)] == [(step.done, step.of) for step in steps]
    assert steps[0].left_s is None
    assert (None, 0) == (steps[-1].cell, steps[-1].left_s)
    assert all(step.left_s is not None and step.left_s >= 0 for step in steps[1:])


def test_another_machine_does_not_go_on(tmp_path: Path) -> None:
    """Its numbers would stand beside others that they cannot be compared with."""
    run(tmp_path, rounds=1)
    file = tmp_path / RUNS
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    for line in lines:
        line["measurement"]["environment"]["torch"] = "1.0"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UsageError, match=r"begun elsewhere: torch: 1.0 → .*another folder with --out"):
        run(tmp_path, rounds=2)


def test_any_executor_runs_the_cells(tmp_path: Path) -> None:
    """One worker, because two calls that are watched in one process at once cannot be told apart."""
    cells = [Cell(model="shape:gpt2-tiny", prompt_tokens=length, new_tokens=2, threads=1) for length in (8, 16)]
    with ThreadPoolExecutor(1) as executor:
        found = run_sweep(cells, Folder(tmp_path), rounds=2, repeat=1, executor=executor)
    assert [2, 2] == [len(measurement.traces) for _, measurement in found.measured]


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_dask_runs_the_cells(tmp_path: Path) -> None:
    """Processes of their own, through the executor that its client gives."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        found = sweep(
            "shape:gpt2-tiny",
            prompt_tokens=(8, 16),
            new_tokens=(2,),
            threads=(1,),
            rounds=2,
            repeat=1,
            out=tmp_path,
            executor=client.get_executor(),
        )
    assert [2, 2] == [len(measurement.traces) for _, measurement in found.measured]
    assert [cell for cell, _ in found.measured] == [cell for cell, _ in read_sweep(tmp_path).measured]


def test_without_a_folder_the_result_is_all_that_stays() -> None:
    """And it knows its numbers."""
    found = sweep("shape:gpt2-tiny", prompt_tokens=(8,), new_tokens=(3,), threads=(1,), rounds=1, repeat=2)
    ((cell, measurement),) = found.measured
    assert ("shape:gpt2-tiny", 8) == (cell.model, cell.prompt_tokens)
    assert 2 == len(measurement.sample("ttft").values)
    assert 2 == len(measurement.sample("tpot").values)


def test_a_folder_of_another_kind_is_no_sweep(tmp_path: Path) -> None:
    """What was expected is said."""
    with pytest.raises(MeasurementFileError, match="holds no sweep"):
        read_sweep(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Before anything is measured."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        run(tmp_path / "file" / "below")


@pytest.mark.parametrize("name", ["rounds", "repeat"])
def test_rounds_and_repeat_are_counts(tmp_path: Path, name: str) -> None:
    """None is no sweep."""
    with pytest.raises(UsageError, match=f"{name}=0"):
        run(tmp_path, **{name: 0})


def test_a_cell_without_a_turn_is_not_measured() -> None:
    """As when a sweep was interrupted early."""
    (point,) = merged(CELLS[:1], [])
    assert (None, "not measured") == (point.measurement, point.problem)


def test_memory_that_weights_alone_would_fill_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest shape fits nowhere, and says so without being built."""
    monkeypatch.setattr("llm_latency.predict.run.memory_room", lambda: (None, 1 << 30))
    outcome = run_cell(Cell(model="shape:gpt3-175b", prompt_tokens=8, new_tokens=2), turn=0, repeat=1)
    assert NO_MEMORY == outcome.problem
    assert "weights and cache need 650 GiB and 1.00 GiB are free" == outcome.words


def test_memory_of_other_models_is_not_a_cells_own() -> None:
    """They are only kept for the turns to come."""
    shelf = Scripted()
    shelf.held = 1 << 20
    whole = run_cell(CELLS[0], turn=0, repeat=1, shelf=Scripted()).measured()
    less = run_cell(CELLS[0], turn=0, repeat=1, shelf=shelf).measured()
    assert whole is not None and less is not None
    if not whole.sample("peak_memory").values:
        pytest.skip("this system tells no peak memory")
    shelf.held = 1 << 60
    nothing = run_cell(CELLS[0], turn=0, repeat=1, shelf=shelf).measured()
    assert nothing is not None
    assert (0.0,) == nothing.sample("peak_memory").values
    assert less.sample("peak_memory").values < whole.sample("peak_memory").values


def test_a_shelf_tells_what_it_holds_for_other_cells() -> None:
    """198,400 float32 numbers of gpt2-tiny, beside a cell of another number type and not beside its own."""
    pytest.importorskip("transformers")
    shelf = Shelf()
    own, other = (
        Cell(model="shape:gpt2-tiny", prompt_tokens=8, new_tokens=2, dtype=dtype) for dtype in ("float32", "bfloat16")
    )
    shelf.call(own)
    assert (0, 4 * 198_400) == (shelf.beside(own), shelf.beside(other))
