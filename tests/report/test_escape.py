"""What comes from outside cannot move a cursor, run in a page, or ping anybody."""

from __future__ import annotations

import pytest

from llm_latency.report.escape import html, markdown, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("chat ünïcode 漢字 µs – · 🙂", "chat ünïcode 漢字 µs – · 🙂"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("over\rwritten\nnext\ttab\0", r"over\rwritten\nnext\ttab\x00"),
        ("\x9b31m", r"\x9b31m"),  # the C1 form of ESC [
        ("\x7f", r"\x7f"),
        ("a\u202eb\u2066c\u200fd", r"a\u202eb\u2066c\u200fd"),  # bidirectional override, isolate, mark
        ("a\u200bb\ufeffc", r"a\u200bb\ufeffc"),  # invisible
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\ud800", r"\ud800"),  # cannot be encoded, and would stop the print
        ("\U000e0041", r"\U000e0041"),  # a tag character
    ],
)
def test_plain_shows_what_cannot_be_seen(text: str, expected: str) -> None:
    """Letters of every script stay; what acts on a terminal is written out."""
    assert expected == plain(text)


def test_plain_is_idempotent_and_takes_any_object() -> None:
    """Escaping twice is escaping once, so that no format has to know who escaped before it."""
    assert plain("\x1b") == plain(plain("\x1b"))
    assert "3" == plain(3)


def test_html_is_inert_in_text_and_in_attributes() -> None:
    """Angle brackets, both quotes and the ampersand are entities, controls are visible."""
    assert "&lt;b a=&quot;x&quot; c=&#x27;y&#x27;&gt;&amp;\\x1b" == html("<b a=\"x\" c='y'>&\x1b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("output_throughput", "output_throughput"),
        ("_private_ __init__", r"\_private\_ \_\_init\_\_"),
        ("a|b", r"a\|b"),
        ("<script>", r"\<script\>"),
        ("[x](y) `z` *w* ~v~ &amp; $1$", r"\[x\](y) \`z\` \*w\* \~v\~ \&amp; \$1\$"),
        ("back\\slash", r"back\\slash"),
        ("@user closes #12", "@<!-- -->user closes #<!-- -->12"),
        ("https://a.b www.a.b", "https:<!-- -->//a.b www.<!-- -->a.b"),
        ("line\nbreak", r"line\\nbreak"),
    ],
)
def test_markdown_is_text_and_nothing_else(text: str, expected: str) -> None:
    """No emphasis, cell border, link, mention or reference; names of metrics stay readable in the source."""
    assert expected == markdown(text)
