"""Two measurements beside each other, to the letter, and what an untrusted notebook keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import msgspec
import pytest

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Trace
from llm_latency.errors import UsageError
from llm_latency.report.contrast import compare, contrast_html, contrast_table
from llm_latency.report.ratios import draw, make_ratios
from llm_latency.report.svg import encoded

Call = Callable[..., Trace]
Make = Callable[..., Measurement]

# Nine calls with a ttft of 100 … 108 ms against nine of 120 … 128, gaps of 20 ms. The 41st of the 81 ratios is
# 124/104, and the interval goes from the 18th to the 64th, since tables of U give 17 for nine and nine (5 %).
# e2e is 80 ms more than ttft and total 20 more than that; the rate is 5 tokens/e2e.
EXPECTED = """\
first: chat · second: slow

metric                  first      second  ratio  95 % interval  calls  difference
ttft                   104 ms      124 ms  1.192  1.160 – 1.225   9, 9  slower
tpot                  20.0 ms     20.0 ms  1.000  1.000 – 1.000   9, 9  not distinguishable
itl                   20.0 ms     20.0 ms  1.000  1.000 – 1.000   9, 9  not distinguishable
e2e                    184 ms      204 ms  1.109  1.091 – 1.126   9, 9  slower
total                  204 ms      224 ms  1.098  1.083 – 1.114   9, 9  slower
output_throughput  27.2 tok/s  24.5 tok/s  0.902  0.888 – 0.916   9, 9  slower
peak_memory           512 MiB     512 MiB  1.000  1.000 – 1.000   9, 9  not distinguishable

environment differs: torch: 2.13.0 → 2.14.0
note: each interval is at 95 % on its own: of twenty comparisons of equal code
  about one differs, and more where the machine changed between the two
  measurements
warning: second: spins"""


@pytest.fixture
def slow(measured: Make, call: Call) -> Measurement:
    """The second of them."""
    traces = tuple(call(ttft_ms=120 + index) for index in range(9))
    given = {name: getattr(measured().environment, name) for name in Environment.__struct_fields__}
    environment = Environment(**given | {"torch": "2.14.0"})
    return measured(name="slow", traces=traces, environment=environment, warnings=("spins",))


def test_the_table_to_the_letter(measured: Make, slow: Measurement) -> None:
    """With the metrics that the tables of both show."""
    assert EXPECTED == contrast_table(compare(measured(), slow), width=80)


def test_a_single_call_has_ratios_and_no_words(measured: Make, call: Call) -> None:
    """A reason that all metrics share is said once."""
    one = measured(traces=(call(),), name="one")
    expected = """\
first: one · second: one

metric   first  second  ratio  95 % interval  calls  difference
ttft    100 ms  100 ms  1.000              –   1, 1  no interval
total   200 ms  200 ms  1.000              –   1, 1  no interval

no interval: 1 and 1 calls, an interval needs 4 and 4
note: both: one call, which has no interval"""
    assert expected == contrast_table(compare(one, one, metrics=["ttft", "total"]))


def test_a_reason_of_some_metrics_names_them(measured: Make, call: Call) -> None:
    """Here the second counted other bytes."""
    traces = tuple(msgspec.structs.replace(call(), peak_bytes={"allocated": 1}) for _ in range(9))
    table = contrast_table(compare(measured(), measured(traces=traces)))
    assert "no interval: peak_memory: rss and allocated bytes are not the same thing" in table.splitlines()


def test_unequal_work_is_said_first_and_withholds_the_words(measured: Make, call: Call) -> None:
    """Calls without a request against calls with one."""
    idle = measured(traces=(Trace(start_ns=0, stop_ns=1_000_000),) * 9)
    lines = contrast_table(compare(measured(), idle)).splitlines()
    assert lines[3].endswith("  unequal work")
    assert "unequal work: generate and unknown" == lines[5]
    assert "unequal work: 1 and 0 requests" == lines[6]


def test_without_a_common_metric_there_are_words_only(measured: Make) -> None:
    """Nothing was counted in the second."""
    found = compare(measured(), measured(traces=()))
    assert "\n\nno metric has a value in both\n\n" in contrast_table(found)
    assert "<div>no metric has a value in both</div>" in contrast_html(found)
    assert "<img" not in contrast_html(found)


def test_the_metrics_may_be_named(measured: Make, slow: Measurement) -> None:
    """In the order asked for; an unknown one is refused."""
    found = compare(measured(), slow, metrics=("total", "ntpot"))
    assert ["total", "ntpot"] == [line.metric for line in found.metrics]
    with pytest.raises(UsageError, match="there is no metric 'speed'"):
        compare(measured(), slow, metrics=("speed",))


@pytest.mark.parametrize("width", [80, 100])
def test_no_sentence_is_wider_than_asked(measured: Make, slow: Measurement, width: int) -> None:
    """Long names and warnings are wrapped, also where they have no spaces."""
    long = measured(name="n" * 300, warnings=("w" * 300, "word " * 60))
    title, _, sentences = contrast_table(compare(long, slow), width=width).split("\n\n")
    assert max(map(len, f"{title}\n{sentences}".splitlines())) <= width


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str | None] = []
        self.styles: set[str | None] = set()
        self.text: list[str] = []
        self.closed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name == "src"]
        self.styles |= {value for name, value in attrs if name == "style"}

    def handle_endtag(self, tag: str) -> None:
        """Remember what closed."""
        self.closed.append(tag)

    def handle_data(self, data: str) -> None:
        """Remember text."""
        self.text.append(data)


def test_html_holds_the_table_the_picture_and_the_sentences(measured: Make, slow: Measurement) -> None:
    """The same words; the picture is the one of the ratios."""
    found = compare(measured(), slow)
    ratios = make_ratios(found)
    reader = Reader()
    reader.feed(contrast_html(found))
    assert {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "img"} == set(reader.tags)
    assert sorted(tag for tag in reader.tags if tag != "img") == sorted(reader.closed)
    assert {"text-align:left", "text-align:right"} == reader.styles
    start = reader.text.index("ttft")
    assert ["ttft", "104 ms", "124 ms", "1.192", "1.160 – 1.225", "9, 9", "slower"] == reader.text[start : start + 7]
    assert "environment differs: torch: 2.13.0 → 2.14.0" in reader.text
    assert ["warning", ": second: spins"] == reader.text[-2:]
    assert ratios is not None
    assert [encoded(draw(ratios))] == reader.sources


def test_what_comes_from_outside_is_escaped(measured: Make, slow: Measurement) -> None:
    """Names, facts and warnings close no tag and move no cursor."""
    hostile = '<script>alert(1)</script>" \x1b[31m\n'
    environment = Environment(torch=hostile)
    found = compare(
        measured(name=hostile, warnings=(hostile,), environment=environment, stopped_because=hostile, complete=False),
        slow,
    )
    text, page = contrast_table(found), contrast_html(found)
    assert "<script" not in page
    assert "\x1b" not in text + page
    assert r'first: <script>alert(1)</script>" \x1b[31m\n' in text
    assert page.count("&lt;script&gt;") == 4
