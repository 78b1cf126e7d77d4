"""Options of the magic's line."""

from __future__ import annotations

import pytest

from llm_latency.errors import UsageError
from llm_latency.notebook.options import Defaults, Options, parse_options


def counts(options: Options) -> tuple[int | None, int | None]:
    """Repetitions and warm-up calls."""
    return options.plan.repeat, options.plan.warmup


def test_nothing_asked_is_one_call() -> None:
    """A bare line runs once, without warm-up, and is shown."""
    options = parse_options("")
    assert (1, 0) == counts(options)
    assert (False, False, False, False) == (options.quiet, options.output, options.strict, options.force)
    assert (None, None, "") == (options.variable, options.name, options.code)
    assert ("auto", None, None, ()) == (options.live, options.baseline, options.action, options.operands)


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
        ("--lively", "--lively"),
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
    for option in ("-r R", "-w W", "-v NAME", "-q", "-o", '--budget "ttft p95 < 250 ms"', "--name", "--time-budget"):
        assert option in str(error.value)
    for option in ("--live auto|widget|text|off", "--baseline NAME", "--strict", "--force", "--last", "--history"):
        assert option in str(error.value)
    for option in ("--compare [A B]", "--export tests/test_x.py"):
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
        ("--live", "--live needs a value: --live auto|widget|text|off"),
        ("--live frob", "live view 'frob'; expected one of auto, widget, text, off"),
        ("--baseline", "--baseline needs a value: --baseline NAME"),
        ("--export", "--export needs a value: --export tests/test_x.py"),
        ("--last f(x)", "'f(x)' was not expected; write %llmtime --last"),
        ("--history 1 'two words'", "'1 two words' was not expected; write %llmtime --history"),
        ("--compare a b c", "'c' was not expected; write %llmtime --compare [A B]"),
        ("--export a.py b.py", "'b.py' was not expected; write %llmtime --export tests/test_x.py"),
        ("--last --history", "--last and --history are different things to do; write a line for each"),
        ("--export x.py --compare", "--compare and --export are different things"),
        ("--last --baseline main", "--last and --baseline are different things"),
    ],
)
def test_a_value_that_does_not_fit_is_shown(line: str, words: str) -> None:
    """Every message has the value and what was expected."""
    with pytest.raises(UsageError) as error:
        parse_options(line)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("line", "action", "operands"),
    [
        ("--last", "--last", ()),
        ("--last --name chat -v m", "--last", ()),
        ("--history", "--history", ()),
        ("--compare", "--compare", ()),
        ("--compare 3", "--compare", ("3",)),
        ("--compare 'In [2]' \"two words\"", "--compare", ("In [2]", "two words")),
        ("--compare -- -x --y", "--compare", ("-x", "--y")),
        ("--export tests/test_x.py", "--export", ("tests/test_x.py",)),
        ("--export='a b.py' --force", "--export", ("a b.py",)),
        ("--export a.py --export b.py", "--export", ("b.py",)),
    ],
)
def test_an_action_has_its_operands_and_no_code(line: str, action: str, operands: tuple[str, ...]) -> None:
    """What stands behind it is what it is about, quotes taken off."""
    options = parse_options(line)
    assert (action, operands, "") == (options.action, options.operands, options.code)


def test_new_options_stand_before_code() -> None:
    """With or without `=`; a baseline is no action, since a cell may have one."""
    options = parse_options("--live=text --baseline main --strict --force f(x)")
    assert ("text", "main", True, True) == (options.live, options.baseline, options.strict, options.force)
    assert (None, (), "f(x)") == (options.action, options.operands, options.code)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (5, 3)),
        ("-r 2", (2, 3)),
        ("-w 1", (5, 1)),
        ("--time-budget 9", (None, 3)),
        ("--time-budget 9 -r 2 -w 0", (2, 0)),
    ],
)
def test_defaults_hold_where_a_cell_says_nothing(line: str, expected: tuple[int | None, int | None]) -> None:
    """A time budget of the cell's own asks for as many calls as it takes, whatever the default repetition."""
    assert expected == counts(parse_options(line, Defaults(repeat=5, warmup=3)))


def test_a_default_warmup_does_not_repeat_a_cell_that_runs_once() -> None:
    """A chat cell would append to its history three times more; `-w` asks for it."""
    assert (1, 0) == counts(parse_options("", Defaults(warmup=3)))
    assert (1, 2) == counts(parse_options("-w 2", Defaults(warmup=3)))
    assert (None, 3) == counts(parse_options("", Defaults(warmup=3, time_budget=5.0)))


def test_a_cells_own_word_comes_before_the_defaults() -> None:
    """Its budgets take the place of all of the default ones; strict cannot be taken back."""
    defaults = Defaults(live="off", time_budget=7.0, budgets=("ttft < 1 s", "tpot < 1 s"), strict=True)
    quiet, own = parse_options("", defaults), parse_options("--live text --budget total<2s --time-budget 3", defaults)
    assert ("off", True, 7.0) == (quiet.live, quiet.strict, quiet.plan.time_budget_s)
    assert ["ttft p50 < 1 s", "tpot p50 < 1 s"] == [str(budget) for budget in quiet.plan.budgets]
    assert ("text", True, 3.0) == (own.live, own.strict, own.plan.time_budget_s)
    assert ["total p50 < 2 s"] == [str(budget) for budget in own.plan.budgets]


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        (Defaults(live="frob"), "live view 'frob'"),
        (Defaults(time_budget=0.0), "time_budget=0.0"),
        (Defaults(repeat=0), "repeat=0"),
        (Defaults(budgets=("frob < 1 s",)), "frob"),
    ],
)
def test_defaults_that_do_not_fit_are_refused(defaults: Defaults, words: str) -> None:
    """Whoever set them, in the words of the options."""
    with pytest.raises(UsageError, match=words):
        parse_options("", defaults)
