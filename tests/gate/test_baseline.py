"""The file of a module's rows: what it looks like, how it merges, what is wrong with it in words."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from llm_latency.errors import MeasurementFileError
from llm_latency.gate.stored.baseline import MOST_ROWS, Acceptance, Baseline, Change, from_json, to_json
from llm_latency.gate.stored.fingerprint import Machine
from llm_latency.gate.stored.row import Row, Stored

MACHINE = Machine(cores=2, device="cpu", memory_gib=8, processor="x", system="Linux")
EMPTY = Baseline(module="tests/test_a.py", machine=MACHINE)
START = datetime(2026, 11, 25, 8, tzinfo=UTC)


def row(run: str, *, test: str = "test_a", minutes: int = 0, value: float = 0.01) -> Row:
    """A row, so many minutes after the first."""
    return Row(
        test=test,
        name=test,
        when=(START + timedelta(minutes=minutes)).isoformat(timespec="seconds"),
        run=run,
        metrics={"total@1": Stored(n=6, wall=value)},
        work={"requests": "1"},
        facts={"torch": "2.13.0", "python": "3.11.7"},
    )


def acceptance(identity: str, *, test: str = "test_a", minutes: int = 0) -> Acceptance:
    """Somebody's word."""
    when = (START + timedelta(minutes=minutes)).isoformat(timespec="seconds")
    changes = {"total@1": Change(old=0.01, new=0.02, rows=3)}
    return Acceptance(id=identity, test=test, name=test, when=when, reason="a safer sampler", metrics=changes)


WHOLE = """{
"accepted": [
{"id":"c","metrics":{"total@1":{"new":0.02,"old":0.01,"rows":3}},"name":"test_a","reason":"a safer sampler","test":\
"test_a","when":"2026-11-25T08:30:00+00:00"},
null],
"machine": {"cores":2,"device":"cpu","driver":null,"memory_gib":8,"processor":"x","system":"Linux"},
"module": "tests/test_a.py",
"rows": [
{"after":"c","facts":{"python":"3.11.7","torch":"2.13.0"},"metrics":{"total@1":{"n":6,"wall":0.02}},"name":"test_a",\
"run":"c","test":"test_a","when":"2026-11-25T08:30:00+00:00","work":{"requests":"1"}},
{"facts":{"python":"3.11.7","torch":"2.13.0"},"metrics":{"total@1":{"n":6,"wall":0.01}},"name":"test_b","run":"a",\
"test":"test_b","when":"2026-11-25T08:00:00+00:00","work":{"requests":"1"}},
null],
"schema": 1
}
"""


def test_the_file_has_a_line_for_each_row_with_its_keys_sorted() -> None:
    """Each line above null has its comma, so that lines can be added, taken away and joined."""
    baseline = EMPTY.with_row(row("a", test="test_b")).with_row(row("b"))
    baseline = baseline.replaced(row("c", minutes=30, value=0.02), acceptance("c", minutes=30))
    assert WHOLE == to_json(baseline).decode()
    assert baseline == replace(from_json(WHOLE.encode(), source="x"), rows=baseline.rows)
    assert WHOLE == to_json(from_json(WHOLE.encode(), source="x")).decode()
    assert {"accepted", "machine", "module", "rows", "schema"} == json.loads(WHOLE).keys()


def test_an_empty_file_has_two_empty_lists() -> None:
    """Nothing yet."""
    assert EMPTY == from_json(to_json(EMPTY), source="x")
    assert ((), ()) == (EMPTY.rows_of("test_a", "test_a"), EMPTY.tests())


def test_rows_are_in_order_of_time_whatever_the_order_of_lines() -> None:
    """A run in another zone, too; the same instant goes by the run's name."""
    east = replace(row("east"), when="2026-11-25T10:01:00+02:00")
    baseline = replace(EMPTY, rows=(row("c", minutes=2), east, row("b"), row("a"), row("x", test="test_b")))
    assert ["a", "b", "east", "c"] == [one.run for one in baseline.rows_of("test_a", "test_a")]
    assert ("test_a", "test_b") == baseline.tests()


@pytest.mark.parametrize("count", [1, MOST_ROWS, MOST_ROWS + 1, MOST_ROWS + 5])
def test_the_oldest_rows_go(count: int) -> None:
    """A bounded number is kept, of each measurement."""
    baseline = EMPTY.with_row(row("other", test="test_b"))
    for index in range(count):
        baseline = baseline.with_row(row(f"{index:02}", minutes=index))
    kept = [f"{index:02}" for index in range(max(0, count - MOST_ROWS), count)]
    assert kept == [one.run for one in baseline.rows_of("test_a", "test_a")]
    assert len(kept) + 1 == len(baseline.rows)


def test_a_run_is_one_row_however_often_it_is_written() -> None:
    """By a writer that tried again, or by a merge that doubled a line."""
    baseline = EMPTY.with_row(row("a")).with_row(row("a", value=0.02))
    assert [0.02] == [one.metrics["total@1"].value for one in baseline.rows]
    doubled = replace(EMPTY, rows=(row("a"), row("a"), row("b")))
    assert ["a", "b"] == [one.run for one in doubled.rows_of("test_a", "test_a")]


def test_an_acceptance_puts_one_row_in_the_place_of_all_before() -> None:
    """Of its own measurement only, and later rows come after it."""
    baseline = EMPTY.with_row(row("a")).with_row(row("b")).with_row(row("z", test="test_b"))
    baseline = baseline.replaced(row("c", minutes=5), acceptance("c", minutes=5)).with_row(row("d", minutes=6))
    assert ["c", "d"] == [one.run for one in baseline.rows_of("test_a", "test_a")]
    assert ["z"] == [one.run for one in baseline.rows_of("test_b", "test_b")]
    assert ["c", "c", ""] == [one.after for one in sorted(baseline.rows, key=lambda one: one.run)]


def test_rows_that_a_merge_brings_back_stay_superseded() -> None:
    """Another branch had added a row to the old ones, even a later one; the next writer cleans up."""
    accepted = EMPTY.with_row(row("a")).replaced(row("c", minutes=5), acceptance("c", minutes=5))
    other = EMPTY.with_row(row("a")).with_row(row("b", minutes=60))
    merged = replace(accepted, rows=(*accepted.rows, *other.rows))
    assert ["c"] == [one.run for one in merged.rows_of("test_a", "test_a")]
    assert ["c", "d"] == [one.run for one in merged.with_row(row("d", minutes=90)).rows]


def test_of_two_acceptances_the_later_holds() -> None:
    """Both branches accepted something."""
    ours = EMPTY.replaced(row("c", minutes=5), acceptance("c", minutes=5))
    theirs = EMPTY.replaced(row("d", minutes=9), acceptance("d", minutes=9))
    for first, second in itertools.permutations((ours, theirs)):
        merged = replace(EMPTY, rows=(*first.rows, *second.rows), accepted=(*first.accepted, *second.accepted))
        assert ["d"] == [one.run for one in merged.rows_of("test_a", "test_a")]


GOOD = to_json(EMPTY.with_row(row("a")).replaced(row("c"), acceptance("c"))).decode()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            '"n":6',
            '"n":"six"',
            "x.json was edited: Expected `int`, got `str` - at `$.rows[0].metrics[...].n`; restore it",
        ),
        ('"n":6', '"n":0', "x.json, $.rows[0].metrics['total@1'] was edited: expected medians above zero"),
        ('"wall":0.01', '"wall":0', "$.rows[0].metrics['total@1'] was edited"),
        ('"wall":0.01', '"wall":-1', "$.rows[0].metrics['total@1'] was edited"),
        ('"run":"c",', '"run":"c","mine":1,', "Object contains unknown field `mine` - at `$.rows[0]`"),
        ('"run":"c",', "", "Object missing required field `run` - at `$.rows[0]`"),
        (
            '"when":"2026-11-25T08:00:00+00:00","work"',
            '"when":"then","work"',
            "$.rows[0].when is 'then'; expected a time",
        ),
        (
            '"when":"2026-11-25T08:00:00+00:00"},',
            '"when":"2026-11-25"},',
            "$.accepted[0].when is '2026-11-25'; expected",
        ),
        ('"schema": 1', '"schema": 2', "schema is 2 and this version reads 1; use the llm-latency that wrote it"),
        ('"schema": 1', '"schema": "1"', "schema is '1' and this version reads 1"),
        (',\n"schema": 1', "", "schema is None"),
        ('"cores":2', '"cores":"2"', "at `$.machine.cores`"),
        ("null],", "],", "x.json is not complete JSON"),
    ],
)
def test_a_file_that_was_edited_names_the_place_and_the_remedy(before: str, after: str, words: str) -> None:
    """File, path in the JSON, what to do."""
    assert before in GOOD
    with pytest.raises(MeasurementFileError) as caught:
        from_json(GOOD.replace(before, after, 1).encode(), source="x.json")
    assert words in str(caught.value)
    assert str(caught.value).startswith("x.json")
    assert "delete it and record anew with --latency-baseline=create" in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"schema": 1}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_baseline_at_all_is_said(text: bytes) -> None:
    """Whatever the bytes are."""
    with pytest.raises(MeasurementFileError, match=r"x\.json"):
        from_json(text, source="x.json")


def test_a_file_that_was_cut_off_at_any_byte_is_refused() -> None:
    """But for the last line break, which JSON does not need."""
    whole = GOOD.encode()
    for length in range(len(whole) - 1):
        with pytest.raises(MeasurementFileError):
            from_json(whole[:length], source="x.json")


def test_an_unknown_definition_of_another_version_is_in_nobodys_way() -> None:
    """A row may hold metrics that this version does not know."""
    text = GOOD.replace('"total@1":{"n":6', '"karma@7":{"n":0', 1)
    (one,) = from_json(text.encode(), source="x").rows_of("test_a", "test_a")
    assert {"karma@7"} == one.metrics.keys()


def git(folder: Path, *arguments: str) -> str:
    """Run git, alone with this repository."""
    done = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"},
        timeout=60,
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("attributes", ["*.json merge=union\n", ""])
def test_two_branches_that_both_add_rows_merge(tmp_path: Path, attributes: str) -> None:
    """With git's union driver by themselves; without it the conflict says to keep both sides' lines, which is right."""
    file = tmp_path / "x.json"
    start = EMPTY.with_row(row("a")).with_row(row("b", test="test_b"))
    branches = {
        "ours": start.with_row(row("c", minutes=1)).with_row(row("d", test="test_b", minutes=1)),
        "theirs": start.with_row(row("e", minutes=2)).with_row(row("f", test="test_b", minutes=2)),
    }
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitattributes").write_text(attributes)
    file.write_bytes(to_json(start))
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "start")
    for name, baseline in branches.items():
        git(tmp_path, "checkout", "-q", "-b", name, "main")
        file.write_bytes(to_json(baseline))
        git(tmp_path, "commit", "-qam", name)
    said = git(tmp_path, "merge", "-q", "-m", "both", "ours")
    if not attributes:
        assert "CONFLICT" in said
        with pytest.raises(MeasurementFileError, match="conflict markers: keep the lines of both sides"):
            from_json(file.read_bytes(), source="x.json")
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(line for line in lines if not line.startswith((b"<<<<", b"====", b">>>>"))))
    merged = from_json(file.read_bytes(), source="x.json")
    assert ["a", "c", "e"] == [one.run for one in merged.rows_of("test_a", "test_a")]
    assert ["b", "d", "f"] == [one.run for one in merged.rows_of("test_b", "test_b")]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_two_branches_that_both_made_the_file_merge(tmp_path: Path) -> None:
    """There is no common ancestor of it; its head is the same since the machine is."""
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitattributes").write_text("*.json merge=union\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "start")
    for name in ("a", "b"):
        git(tmp_path, "checkout", "-q", "-b", name, "main")
        baseline = EMPTY.with_row(row(name)).with_row(row(name, test="test_b"))
        (tmp_path / "x.json").write_bytes(to_json(baseline))
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", name)
    git(tmp_path, "merge", "-q", "-m", "both", "a")
    merged = from_json((tmp_path / "x.json").read_bytes(), source="x.json")
    assert ["a", "b"] == [one.run for one in merged.rows_of("test_b", "test_b")]
