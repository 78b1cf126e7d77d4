"""Values of options, and misuse in one line."""

from __future__ import annotations

import argparse

import pytest

from llm_latency.cli.parser import Parser, budget, count, duration
from llm_latency.core.budget import parse_budget


@pytest.mark.parametrize(
    ("text", "seconds"), [("15", 15.0), ("15s", 15.0), ("2 min", 120.0), ("1.5", 1.5), (" 250 ms ", 0.25), (".5", 0.5)]
)
def test_a_duration_is_in_seconds_or_says_its_unit(text: str, seconds: float) -> None:
    """A bare number is what people write first."""
    assert seconds == duration(text)


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "nan", "inf", "1,5", "3 parsecs", "1e3", "six", "1.2.3", "²"])
def test_a_duration_that_cannot_be_meant_is_refused(text: str) -> None:
    """With the value in the message."""
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        duration(text)


@pytest.mark.parametrize(("least", "text", "value"), [(1, "1", 1), (0, "0", 0), (1, "0064", 64)])
def test_a_count_is_a_whole_number(least: int, text: str, value: int) -> None:
    """From its least value on."""
    assert value == count(least)(text)


@pytest.mark.parametrize(("least", "text"), [(1, "0"), (1, "-1"), (0, "-1"), (1, "1.0"), (1, ""), (1, "²"), (1, "1_0")])
def test_a_count_that_cannot_be_meant_is_refused(least: int, text: str) -> None:
    """With the value and what was expected."""
    expected = f"{text!r} was given; expected a whole number of at least {least}"
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        count(least)(text)
    assert expected == str(caught.value)


def test_a_budget_is_read_by_the_core() -> None:
    """And its message arrives, where argparse would say `invalid budget value`."""
    assert parse_budget("ttft p95 < 250 ms") == budget("ttft p95 < 250 ms")
    with pytest.raises(argparse.ArgumentTypeError, match="did you mean 'ttft'"):
        budget("tftt < 250 ms")


@pytest.fixture
def parser() -> Parser:
    """A program with one command."""
    main = Parser(prog="llm-latency")
    commands = main.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("time")
    command.add_argument("target", metavar="TARGET")
    command.add_argument("--prompt-tokens", type=count(1))
    command.add_argument("--new-tokens", type=count(1))
    command.add_argument("--json")
    return main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND; see `llm-latency --help`"),
        (["time"], "the following arguments are required: TARGET; see `llm-latency time --help`"),
        (
            ["time", "x", "--prompt-token", "5"],
            "there is no option --prompt-token; did you mean --prompt-tokens or --new-tokens?;"
            " see `llm-latency time --help`",
        ),
        (
            ["time", "x", "--zzz=1"],
            "there is no option --zzz; known: --help, --prompt-tokens, --new-tokens, --json;"
            " see `llm-latency time --help`",
        ),
        (["time", "x", "y"], "'y' was not expected; see `llm-latency time --help`"),
        (["time", "x", "--js", "f"], "there is no option --js; did you mean --json?; see `llm-latency time --help`"),
        (
            ["time", "x", "--new-tokens", "0"],
            "argument --new-tokens: '0' was given; expected a whole number of at least 1;"
            " see `llm-latency time --help`",
        ),
        (["time", "x", "--\x1b[2J"], None),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(
    parser: Parser, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str | None
) -> None:
    """No usage block; unknown options name close ones; an abbreviation is not guessed; controls are visible."""
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(arguments)
    assert 2 == caught.value.code
    error = capsys.readouterr().err
    assert 1 == error.count("\n")
    assert "\x1b" not in error
    assert error.startswith("llm-latency: error: ")
    if message is not None:
        assert f"llm-latency: error: {message}\n" == error
