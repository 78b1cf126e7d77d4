"""From a timed cell to a pytest file: the path, the limits, and whether what is written runs as it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from llm_latency.core.budget import parse_key
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Annotation, Trace
from llm_latency.errors import UsageError
from llm_latency.notebook.export import limits_of, write_test
from tests.notebook.exports import MS, call, executed, measured, run_pytest


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chat.py", "not 'chat.py'; write --export {}/test_chat.py"),
        ("test_chat", "not 'test_chat'; write --export {}/test_chat.py"),
        ("test_chat.ipynb", "write --export {}/test_chat.py"),
        ("chat turn.py", "write --export {}/test_chat_turn.py"),
        ("test_a.b.py", "for its dots; write --export {}/test_a_b.py"),
        ("nowhere/test_chat.py", "there is no folder '{}/nowhere'"),
        (".", "{} is a folder; name the file, such as --export {}/test_cell.py"),
    ],
)
def test_a_path_that_pytest_would_not_run_is_refused_with_one_that_does(tmp_path: Path, name: str, words: str) -> None:
    """Nothing is written, and the message has what to write instead."""
    with pytest.raises(UsageError) as error:
        write_test(tmp_path / name, source="1", earlier=[], namespace={}, measurement=measured())
    assert words.replace("{}", str(tmp_path)) in str(error.value)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["test_x.py", "x_test.py", "test_é-x.py"])
def test_both_of_pytests_names_do(tmp_path: Path, name: str) -> None:
    """As its default for `python_files` has it."""
    write_test(tmp_path / name, source="1", earlier=[], namespace={}, measurement=measured())
    assert [tmp_path / name] == list(tmp_path.iterdir())


def test_a_file_is_kept_unless_forced(tmp_path: Path) -> None:
    """Byte for byte; a dangling link is something too."""
    path, link = tmp_path / "test_x.py", tmp_path / "test_y.py"
    path.write_bytes(b"mine\r\n")
    link.symlink_to(tmp_path / "nowhere.py")
    for target in (path, link):
        with pytest.raises(UsageError, match="exists and is not overwritten; choose another name, or add --force"):
            write_test(target, source="1", earlier=[], namespace={}, measurement=measured())
    assert b"mine\r\n" == path.read_bytes()
    assert not (tmp_path / "nowhere.py").exists()
    write_test(path, source="1", earlier=[], namespace={}, measurement=measured(), force=True)
    assert path.read_text(encoding="utf-8").startswith('"""Made by')


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's reason, as a usage error."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("llm_latency.notebook.export.write_atomically", refuse)
    with pytest.raises(UsageError, match=r"test_x\.py cannot be written: Permission denied"):
        write_test(tmp_path / "test_x.py", source="1", earlier=[], namespace={}, measurement=measured())


# --- the limits ---


@pytest.mark.parametrize(
    ("measurement", "expected"),
    [
        # Six order statistics: the median lies between the extremes, the upper one 260 ms; * 1.5 = 390 ms.
        (measured(*(call(210 + 10 * i) for i in range(6))), {"ttft_p50": "390 ms", "tpot_p50": "30 ms"}),
        # 261 ms * 1.5 = 391.5 ms, rounded up to two digits.
        (measured(*(call(211 + 10 * i) for i in range(6))), {"ttft_p50": "400 ms", "tpot_p50": "30 ms"}),
        # One call: twice the head-room, 200 ms * 2.
        (measured(call(200)), {"ttft_p50": "400 ms", "tpot_p50": "40 ms"}),
        # Some calls: the largest of them, 220 ms * 2.
        (measured(call(200), call(220), call(210)), {"ttft_p50": "440 ms", "tpot_p50": "40 ms"}),
        (measured(call(200, tokens=1)), {"ttft_p50": "400 ms"}),
        (measured(call(200, tokens=0, kind="forward")), {"e2e_p50": "400 ms"}),
        (measured(call(200, tokens=0, kind="call")), {"total_p50": "400 ms"}),
        (measured(Trace(start_ns=0, stop_ns=3_600_000 * MS)), {"total_p50": "7200 s"}),
        (measured(Trace(start_ns=0, stop_ns=0)), {"total_p50": "1 µs"}),
    ],
)
def test_limits_are_what_was_measured_and_head_room(measurement: Measurement, expected: dict[str, str]) -> None:
    """The upper end of the median's interval, rounded up; each is read back by the marker as more than that."""
    limits = limits_of(measurement, headroom=0.5)
    assert expected == {f"{limit.budget.metric}_p50": limit.text for limit in limits}
    for limit in limits:
        assert limit.budget == parse_key(f"{limit.budget.metric}_p50", limit.text)
        assert limit.budget.limit >= measurement.reading(limit.budget.metric).p50.__float__()


@pytest.mark.parametrize(("headroom", "expected"), [(0, "260 ms"), (0.02, "270 ms"), (3.0, "1.1 s")])
def test_head_room_is_a_share(headroom: float, expected: str) -> None:
    """260 ms and nothing, 265.2 and 1040 rounded up."""
    limits = limits_of(measured(*(call(210 + 10 * i) for i in range(6))), headroom=headroom)
    assert expected == limits[0].text


def lazy() -> Measurement:
    """A measurement of a cell that gave a promise."""
    trace = call(5, tokens=0, kind="call")
    note = Annotation(kind="lazy", at_ns=5, detail="the value is a coroutine, which has run nothing yet")
    return measured(msgspec.structs.replace(trace, annotations=(note,)))


@pytest.mark.parametrize(
    ("measurement", "headroom", "words"),
    [
        (msgspec.structs.replace(measured(), traces=()), 0.5, "In [5] has no call that ended"),
        (measured(call(9), complete=False), 0.5, "In [5] has no call that ended"),
        (lazy(), 0.5, "which has run nothing yet"),
        (measured(), -0.1, "headroom=-0.1; expected a share"),
        (measured(), float("nan"), "headroom=nan; expected a share"),
        (measured(), float("inf"), "headroom=inf; expected a share"),
    ],
)
def test_no_limit_is_set_by_what_says_nothing(measurement: Measurement, headroom: float, words: str) -> None:
    """No call, a call that broke off, a promise; and no head-room that is none."""
    with pytest.raises(UsageError) as error:
        limits_of(measurement, headroom=headroom)
    assert words in str(error.value)


def test_calls_before_an_interrupt_count(tmp_path: Path) -> None:
    """Whoever stopped a hundred repetitions after seven has seven."""
    stopped = measured(*(call(210 + 10 * i) for i in range(7)), complete=False)
    exported = write_test(tmp_path / "test_x.py", source="1", earlier=[], namespace={}, measurement=stopped)
    assert ("ttft p50 < 410 ms", "tpot p50 < 30 ms") == exported.budgets


# --- the file ---

EARLIER = '''import numpy as np, json
from collections import OrderedDict as Ordered
STYLE = "plain"
def shout(text):
    """Make it loud."""
    return text.upper() + STYLE
class Model:
    def generate(self, text):
        return shout(text)
model = Model()
model.is_ready = True
prompt = "say " + STYLE
'''
CELL = '''
# the question
text = f"""
  {prompt}
"""
answer = model.generate(text); np.zeros(1)
history = history + [answer]  # kept
Ordered(a=answer);
'''
EXPECTED = '''"""Made by `%llmtime --export` from the cell 'chat turn' on 2025-11-25.

Measured there: total 5.00 s (95 % interval 5.00 s – 5.00 s, 6 calls).
Measured on: 2 cores, torch 2.13.0.
Limits: the upper end of the interval and 50 % more, rounded up.
"""

from collections import OrderedDict as Ordered

import numpy as np
import pytest

STYLE = "plain"


def shout(text):
    """Make it loud."""
    return text.upper() + STYLE


class Model:
    def generate(self, text):
        return shout(text)


history = []


@pytest.fixture(scope="module")
def model():
    model = Model()
    model.is_ready = True
    return model


@pytest.fixture(scope="module")
def prompt():
    return "say " + STYLE


@pytest.mark.latency_budget(total_p50="7.5 s")
def test_chat_turn(llmtime, model, prompt):
    """Keep the limits of the cell chat turn, timed in a notebook."""

    def cell(history=history):
        # the question
        text = f"""
  {prompt}
"""
        answer = model.generate(text)
        np.zeros(1)
        history = history + [answer]  # kept
        return Ordered(a=answer)

    llmtime(cell)
'''


def test_the_whole_file(tmp_path: Path) -> None:
    """Imports, constants, functions, fixtures with later changes, and the cell; and nothing that it does not need."""
    path = tmp_path / "test_x.py"
    earlier = [EARLIER, "u'%%llmtime -r 3'\nhistory = []"]
    exported = write_test(
        path,
        source=CELL,
        earlier=earlier,
        namespace=executed(*earlier, CELL),
        measurement=measured(name="chat turn"),
    )
    assert EXPECTED == path.read_text(encoding="utf-8")
    assert ("model", "prompt") == exported.fixtures
    assert () == exported.unresolved
    assert f"wrote {path}: total p50 < 7.5 s; fixtures model, prompt; run it with pytest {path}" == str(exported)


def test_what_no_statement_explains_is_told_in_the_file_and_in_words(tmp_path: Path) -> None:
    """A name from `input()` or a magic is a fixture that says what it was."""
    path = tmp_path / "test_x.py"
    earlier = ["text = input()", "files = get_ipython().getoutput('ls')"]
    exported = write_test(
        path,
        source="text, files",
        earlier=earlier,
        namespace={"text": "x", "files": ["a"]},
        measurement=measured(call(200)),
    )
    written = path.read_text(encoding="utf-8")
    assert 'def text():\n    pytest.fail("say here how `text` is made: it was a str in the notebook")\n' in written
    assert 'def files():\n    pytest.fail("say here how `files` is made: it was a list in the notebook")\n' in written
    assert "Limits: without an interval, what was measured and 100 % more (twice the usual 50 %)" in written
    assert "Measured there: ttft 200 ms (1 call, no interval)" in written
    assert ("files", "text") == exported.unresolved
    assert str(exported).endswith(
        f"; fixtures files, text; say in it how files, text is made; run it with pytest {path}"
    )
    assert "2 errors" not in run_pytest(path)


def test_nothing_is_written_that_python_would_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the writing be wrong, the user's folder stays as it was."""
    monkeypatch.setattr("llm_latency.notebook.export.make_file", lambda *_, **__: "def (")
    with pytest.raises(UsageError, match="the cell cannot be written as a function"):
        write_test(tmp_path / "test_x.py", source="1", earlier=[], namespace={}, measurement=measured())
    assert [] == list(tmp_path.iterdir())
