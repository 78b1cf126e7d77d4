"""A gate's result as Markdown, to the letter, and as an independent parser reads it."""

from __future__ import annotations

import time

import msgspec
import pytest

from llm_latency.gate.result import GateResult
from llm_latency.report.gate_markdown import MARKER, MOST_CHARACTERS, gate_markdown
from tests.report.gate_results import HOSTILE, REALISTIC, a_test, answered, around, gate

FINE = answered("tests/test_chat.py::test_a", around(0.01, 0.0, 6))
SLOW = answered("tests/test_chat.py::test_b[x-1]", around(0.1, 0.0, 9), around(0.1, 0.0, 6), metric="ttft", base=0.1)
NEW = a_test("tests/test_chat.py::test_c", "NEW", reasons=("it fails at the base: ImportError",))

OK = "✅\N{NO-BREAK SPACE}ok"

EXPECTED = r"""<!-- llm-latency gate -->

### ❌ Latency gate: TOO SLOW

**1 TOO SLOW, 1 NEW, 1 ok**

against origin/main · base 1a2b3c4d5e6f · head working tree · 15 pairs in 41 s: every question answered after 15 pairs

| verdict | test, metric | change | limit | base | head | pairs |
| --- | --- | --- | ---: | ---: | ---: | ---: |
| ✅~ok | tests/test_chat.py::test_a<br>**total** | +1.0~%~\[+1.0,~+1.0\] | 5~% | 200~ms | 202~ms | 6 |
| ❌~TOO~SLOW | tests/test_chat.py::test_b\[x-1\]<br>**ttft** | +10.0~%~\[+10.0,~+10.0\] | 5~% | 100~ms | 110~ms | 9~+~6~fresh |
| 🆕~NEW | tests/test_chat.py::test_c |  |  |  |  |  |

<details open><summary>Why</summary>

**❌ TOO SLOW** tests/test_chat.py::test_b\[x-1\] ttft

- first 6 pairs +10.0 % \[+10.0, +10.0\]; 6 fresh pairs +10.0 % \[+10.0, +10.0\]: the whole interval lies above 2.5 %, half of the limit, both times

**🆕 NEW** tests/test_chat.py::test_c

- it fails at the base: ImportError

</details>

<details><summary>How this was measured</summary>

- differs: torch: 2.6 → 2.13
- level: each look at one-sided 0.3 %, on the failing side divided by 2 questions; a failure needs fresh pairs that fail too

</details>
""".replace("~", "\N{NO-BREAK SPACE}")  # noqa: E501  # to the letter


def many(count: int, *, slow_every: int = 10) -> GateResult:
    """So many answers of tests of their own."""
    return gate(
        *(
            msgspec.structs.replace(SLOW if index % slow_every == 0 else FINE, test=f"tests/test_chat.py::test_{index}")
            for index in range(count)
        )
    )


def rendered(text: str) -> str:
    """As an independent parser makes HTML of it."""
    parser = pytest.importorskip("markdown_it", reason="comes with rich").MarkdownIt("gfm-like", {"linkify": False})
    return str(parser.render(text))


def test_the_markdown_to_the_letter() -> None:
    """A mark beside each verdict, never instead of it."""
    assert EXPECTED == gate_markdown(gate(FINE, SLOW, tests=(NEW,), differences=("torch: 2.6 → 2.13",)))


def test_a_workflow_finds_its_comment() -> None:
    """The first line, whatever was found."""
    for result in (REALISTIC, gate(), many(100)):
        assert MARKER == gate_markdown(result).splitlines()[0]


def test_a_gate_that_was_not_finished_says_so_below_its_word() -> None:
    """In bold."""
    text = gate_markdown(gate(FINE, complete=False, stopped_because="interrupted"))
    assert "**PARTIAL: interrupted; this is what 15 pairs can tell**" == text.splitlines()[4]


def test_nothing_at_all_has_no_table() -> None:
    """But a verdict."""
    text = gate_markdown(gate(pairs=0, seconds=0.0, level=0.0, stopped_because=""))
    assert "### ❔ Latency gate: UNDECIDED" in text
    assert "no test was gated" in text
    assert "|" not in text
    assert "<details" not in text


def test_of_many_tests_those_that_are_ok_are_folded() -> None:
    """From thirteen rows on; all others stay in sight."""
    twelve, thirteen = gate_markdown(many(12)), gate_markdown(many(13))
    assert " ok</summary>" not in twelve
    assert "<details><summary>11 ok</summary>" in thirteen
    shown, folded = thirteen.split("<details><summary>11 ok</summary>")
    assert (0, 11) == (shown.count(OK), folded.count(OK))
    assert 2 == rendered(thirteen).count("<table>")


def test_a_comment_is_never_larger_than_github_takes() -> None:
    """What does not fit is counted, and what is wrong goes first."""
    text = gate_markdown(many(2000))
    assert len(text) <= MOST_CHARACTERS
    assert len(text) > 0.9 * MOST_CHARACTERS
    assert "more findings: the JSON and HTML reports have them all" in text
    assert "more rows: the JSON and HTML reports have them all" in text
    assert text.count("| ❌\N{NO-BREAK SPACE}TOO\N{NO-BREAK SPACE}SLOW |") == 200
    assert text.count("<details") == text.count("</details>") == 3
    worst = gate_markdown(many(2000, slow_every=1))
    assert len(worst) <= MOST_CHARACTERS
    assert "How this was measured" in worst


def test_long_names_are_cut() -> None:
    """A file may hold any; four hundred characters are enough to know one by."""
    long = answered("t::" + "x" * 100_000, around(0.1, 0.0, 6), name="")
    tests = tuple(
        a_test(f"t::{index}" + "y" * 50_000, "BROKEN", failure="\n".join(["z" * 9000] * 90)) for index in "ab"
    )
    text = gate_markdown(
        gate(long, tests=tests, ref="r" * 100_000, notes=("n" * 100_000,) * 9, changed=("c" * 90_000,))
    )
    assert len(text) <= MOST_CHARACTERS
    assert "x" * 390 + "…" in text


def test_a_failure_stands_between_fences_that_it_cannot_close() -> None:
    """Nothing in it is markup, and its escapes are seen."""
    failure = "E  first\n```\n</details>\n````` @someone\n\x1b[31mred"
    text = gate_markdown(gate(tests=(a_test("t::a", "BROKEN", failure=failure),)))
    assert "\n``````text\nE  first\n```\n</details>\n````` @someone\n\\x1b[31mred\n``````\n" in text
    assert 1 == rendered(text).count("<pre>")


@pytest.mark.parametrize(
    "text", ["- item", "+ item", "1. item", "2) item", "---", "===", "    code", "# head", "* item"]
)
def test_a_sentence_begins_nothing(text: str) -> None:
    """A reason for a skip is whatever somebody wrote."""
    html = rendered(gate_markdown(gate(tests=(a_test("t::a", "skipped", reasons=(text,)),))))
    for tag in ("<ol", "<hr", "<h1", "<h2", "<pre"):
        assert tag not in html
    assert html.count("<li>") == 2  # the reason and the level


def test_nothing_from_outside_becomes_markup() -> None:
    """As markdown-it reads it: our own heading, tables and lists, and nothing else; nobody is notified."""
    bad = answered(f"t::{HOSTILE}", around(0.1, 0.0, 6), withheld=(HOSTILE,), name=HOSTILE)
    text = gate_markdown(
        gate(
            msgspec.structs.replace(bad, metric=HOSTILE),
            tests=(a_test(HOSTILE, "BROKEN", reasons=(HOSTILE, "GH-12"), failure=f"one {HOSTILE}"),),
            ref=HOSTILE,
            changed=(HOSTILE,),
            differences=(HOSTILE,),
            notes=(HOSTILE,),
            stopped_because=HOSTILE,
        )
    )
    html = rendered(text)
    for tag in ("<script", "<a ", "<img", "<code>", "<em", "<h1", "<s>", "<blockquote", "<hr"):
        assert tag not in html
    assert 1 == html.count("<table>")
    assert (2, 2) == (html.count("<details"), html.count("</details>"))
    outside = "".join(text.split("```")[::2])  # in a fence nothing is a mention
    assert not [sign for sign in ("@someone", " #1", "://evil", "www.evil", "GH-12") if sign in outside]
    assert not {"\x1b", "\u202e"} & set(text)


def test_a_thousand_answers_are_quick() -> None:
    """A tenth of a second as measured; two would be an accident of growth."""
    result = many(1000)
    begin = time.process_time()
    gate_markdown(result)
    assert time.process_time() - begin < 2.0
