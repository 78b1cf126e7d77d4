"""What has been timed in a session, and finding it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_latency.core.measurement import Measurement, save
from llm_latency.errors import MeasurementFileError, UsageError
from llm_latency.notebook.session import Session
from tests.notebook.results import result

NOTHING = "nothing has been timed yet; put %%llmtime on the first line of a cell"


def session_of(*names: str) -> Session:
    """A session with a measurement of each name, of 1, 2, 3 ms and so on."""
    session = Session()
    for number, name in enumerate(names, start=1):
        session.add(result(name, total_ms=number), source=f"code {number}", inputs=number)
    return session


def found(session: Session, text: str, folder: Path, **names: object) -> Any:
    """What a text stands for, by its name and its milliseconds."""
    measurement = session.find(text, names=names, baselines=folder / "baselines")
    return measurement.name, measurement.total.values[0] * 1000


def test_entries_are_numbered_from_one() -> None:
    """Each with its code and how many inputs came before."""
    session = session_of("a", "b")
    assert [(1, "a", "code 1", 1), (2, "b", "code 2", 2)] == [
        (entry.number, entry.measurement.name, entry.source, entry.inputs) for entry in session.entries
    ]


def test_an_empty_session_says_how_to_fill_it() -> None:
    """Also where a name was asked for."""
    for name in (None, "a", "1"):
        with pytest.raises(UsageError) as error:
            Session().last(name)
        assert NOTHING == str(error.value)


def test_the_last_is_the_newest_or_the_newest_of_a_name() -> None:
    """By its name or by its number."""
    session = session_of("a", "b", "a", "c")
    assert [4, 3, 2, 1] == [session.last(name).number for name in (None, "a", "b", "1")]


def test_an_unknown_name_lists_the_known_ones() -> None:
    """With their numbers."""
    with pytest.raises(UsageError) as error:
        session_of("a", "In [2]").last("x")
    assert "there is no measurement 'x'; known: 1 (a), 2 (In [2])" == str(error.value)


def test_the_oldest_give_way_and_numbers_go_on() -> None:
    """A hundred stay: a measurement of many calls is large."""
    session = session_of(*map(str, range(1000, 1101)))
    assert (100, 2, 101) == (len(session.entries), session.entries[0].number, session.last().number)
    with pytest.raises(UsageError, match="there is no measurement '1'"):
        session.last("1")


def test_a_number_comes_before_a_name_that_looks_like_one() -> None:
    """Whichever is newer."""
    session = session_of("2", "b", "1")
    assert ["2", "b", "1"] == [session.last(number).measurement.name for number in ("1", "2", "3")]


def test_a_text_is_a_number_a_name_a_variable_a_baseline_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order: each is found once those before it are not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "baselines").mkdir()
    save(result("of a file", total_ms=13), "x.json")
    save(result("a baseline", total_ms=12), tmp_path / "baselines" / "x.json.json")
    variable = result("of a variable", total_ms=11)
    named, other = session_of("x.json"), session_of("y")
    assert ("x.json", 1) == pytest.approx(found(named, "x.json", tmp_path, **{"x.json": variable}))
    assert "of a variable" == found(other, "x.json", tmp_path, **{"x.json": variable})[0]
    assert "a baseline" == found(other, "x.json", tmp_path, **{"x.json": "no measurement"})[0]
    (tmp_path / "baselines" / "x.json.json").unlink()
    assert "of a file" == found(other, "x.json", tmp_path)[0]
    assert "y" == found(other, "1", tmp_path, **{"1": variable})[0]


def test_a_baseline_is_found_by_its_name_and_a_file_by_its_path(tmp_path: Path) -> None:
    """A session with nothing in it finds both."""
    (tmp_path / "baselines").mkdir()
    save(result("kept"), tmp_path / "baselines" / "main.json")
    save(result("written"), tmp_path / "other.json")
    assert "kept" == found(Session(), "main", tmp_path)[0]
    assert "written" == found(Session(), str(tmp_path / "other.json"), tmp_path)[0]


@pytest.mark.parametrize("text", ["x", "", ".", "..", "x" * 5000, "a\0b", "nowhere.json", "~", "/", "😀"])
def test_what_is_nothing_is_refused_with_what_there_is(tmp_path: Path, text: str) -> None:
    """Also texts that are no path at all."""
    with pytest.raises(UsageError) as error:
        found(session_of("a"), text, tmp_path)
    assert f"there is no measurement {text!r}; known by number or name: 1 (a)." in str(error.value)
    assert "a baseline and the path of a JSON file do as well" in str(error.value)
    with pytest.raises(UsageError, match="known by number or name: none"):
        found(Session(), text, tmp_path)


def test_only_json_files_are_read(tmp_path: Path) -> None:
    """A script of the same name is no measurement, and a folder no file."""
    (tmp_path / "x.py").write_text("pass")
    (tmp_path / "folder.json").mkdir()
    for text in ("x.py", "folder.json"):
        with pytest.raises(UsageError, match="there is no measurement"):
            found(session_of("a"), str(tmp_path / text), tmp_path)


def test_a_file_that_cannot_be_read_is_said_to_be_it(tmp_path: Path) -> None:
    """Its own error, which the caller words."""
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(MeasurementFileError, match="is not complete JSON"):
        found(session_of("a"), str(tmp_path / "x.json"), tmp_path)


def test_a_variable_of_another_kind_is_none(tmp_path: Path) -> None:
    """Only a measurement counts."""
    kept = result("v")
    assert isinstance(kept, Measurement)
    for value in (None, "text", [kept], kept.total):
        with pytest.raises(UsageError, match="there is no measurement 'v'"):
            found(session_of("a"), "v", tmp_path, v=value)
    assert "v" == found(session_of("a"), "w", tmp_path, w=kept)[0]
