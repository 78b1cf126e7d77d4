"""Options of the magic's line."""

from __future__ import annotations

import pytest

from llm_latency.errors import UsageError
from llm_latency.notebook.options import Options, parse_options


def counts(options: Options) -> tuple[int | None, int | None]:
    """Repetitions and warm-up calls."""
    return options.plan.repeat, options.plan.warmup


def test_nothing_asked_is_one_call() -> None:
    """A bare line runs once, without warm-up, and is shown."""
    options = parse_options("")
    assert (1, 0) == counts(options)
    assert (False, False, False) == (options.quiet, options.output, options.last)
    assert (None, None, "") == (options.variable, options.name, options.code)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-r 5", (5, None)),
        ("-r5", (5, None)),
        ("-r 1", (1, None)),
        ("-w 3", (1, 3)),
        ("-w0", (1, 0)),
        ("-r 2 -w 0", (2, 0)),
        ("-r 2 -r 7", (7, None)),
        ("--time-budget 5", (None, None)),
        ("--time-budget 5 -w 1", (None, 1)),
        ("--time-budget 5 -r 2", (2, None)),
    ],
)
def test_counts_are_those_of_measure(line: str, expected: tuple[int | None, int | None]) -> None:
    """`-r` and `-w` mean `repeat=` and `warmup=`; a time budget alone repeats until the interval is narrow."""
    assert expected == counts(parse_options(line))


@pytest.mark.parametrize(("line", "expected"), [("30", 30.0), ("0.5", 0.5), ("'250 ms'", 0.25), ("2min", 120.0)])
def test_a_time_budget_is_seconds_or_has_its_unit(line: str, expected: float) -> None:
    """Both `--time-budget 30` and `--time-budget "30 s"` read well."""
    assert expected == parse_options(f"--time-budget {line}").plan.time_budget_s


@pytest.mark.parametrize("line", ["-q -o", "-qo", "-o -q", "  -qo  "])
def test_flags_may_be_joined_as_in_timeit(line: str) -> None:
    """`-qo` is `-q -o`."""
    options = parse_options(line)
    assert (True, True) == (options.quiet, options.output)


def test_a_joined_flag_may_be_followed_by_an_option_with_a_value() -> None:
    """`-qr3` is `-q -r 3`, as getopt has it."""
    options = parse_options("-qr3 f(x)")
    assert (True, 3, "f(x)") == (options.quiet, options.plan.repeat, options.code)


def test_budgets_accumulate() -> None:
    """Each `--budget` is one limit, quoted either way, with or without `=`."""
    options = parse_options("""--budget "ttft p95 < 250 ms" --budget='tpot < 20 ms' --budget total<1s""")
    assert ["ttft p95", "tpot p50", "total p50"] == [f"{b.metric} {b.statistic}" for b in options.plan.budgets]


def test_quotes_hold_blanks_and_escaped_quotes() -> None:
    r"""`--name "a \"b\" c"` is one value."""
    assert 'a "b" c' == parse_options(r'--name "a \"b\" c"').name


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("f(x, -1)", "f(x, -1)"),
        ("-r 3 model('a  b', k=-r)", "model('a  b', k=-r)"),
        ("-5 + x", "-5 + x"),
        ("-- -x", "-x"),
        ("-q -- --x", "--x"),
        ("x = {'a': 1}", "x = {'a': 1}"),
        ("not --q", "not --q"),
    ],
)
def test_code_stays_as_written(line: str, expected: str) -> None:
    """What stands behind the options is not split, unquoted or looked into."""
    assert expected == parse_options(line).code


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--frob", "--frob"),
        ("--live widget", "--live"),
        ("-x", "-x"),
        ("-n 5", "-n"),
        ("--budge 'ttft < 1 s'", "--budge"),
        ("-qz", "-z"),
    ],
)
def test_an_unknown_option_lists_the_known_ones(line: str, words: str) -> None:
    """Including options of %timeit that we do not have, and abbreviations."""
    with pytest.raises(UsageError, match=rf"no option {words};") as error:
        parse_options(line)
    for option in ("-r", "-w", "-v", "-q", "-o", "--budget", "--name", "--time-budget", "--last"):
        assert option in str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-r", "-r needs a value"),
        ("-r 0", "-r 0; expected a whole number of calls, at least 1"),
        ("-r 1.5", "-r 1.5;"),
        ("-r -3", "-r -3;"),
        ("-r " + "9" * 5000, "expected a whole number"),
        ("-w -1", "-w -1; expected a whole number of calls, at least 0"),
        ("-w x", "-w x;"),
        ("-v 1m", "expected the name of a variable"),
        ("-v class", "expected the name of a variable"),
        ("-v a.b", "expected the name of a variable"),
        ('--name "open', "quotes closed"),
        ("--budget ttft p95 < 250 ms", "is not a budget"),
        ("--budget 'ttft p95 < 250'", "250"),
        ("--budget 'frob < 1 s'", "frob"),
        ("--time-budget 0", "time_budget=0"),
        ("--time-budget never", "never"),
        ("--time-budget '5 GiB'", "5 GiB"),
    ],
)
def test_a_value_that_does_not_fit_is_shown(line: str, words: str) -> None:
    """Every message has the value and what was expected."""
    with pytest.raises(UsageError) as error:
        parse_options(line)
    assert words in str(error.value)
