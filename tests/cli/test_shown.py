"""What the two commands about the machine share: a share read, a JSON written, a text shown."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import msgspec
import pytest

from llm_latency.cli.output import Output
from llm_latency.cli.shown import add_json, json_output, present, share


class Found(msgspec.Struct, frozen=True):
    """Something that was found."""

    answer: int


def printed(width: int) -> str:
    """Its text."""
    return f"width {width}"


@pytest.mark.parametrize(
    ("text", "expected"), [("5%", 0.05), (" 7.5 % ", 0.075), ("0.05", 0.05), ("100%", 1.0), ("0.5%", 0.005), ("1", 1.0)]
)
def test_a_share_is_a_percentage_or_a_part_of_one(text: str, expected: float) -> None:
    """With and without the sign."""
    assert expected == pytest.approx(share(text))


@pytest.mark.parametrize("text", ["", "5", "0", "0%", "0.4%", "101%", "-5%", "five", "nan", "inf%", "5%%"])
def test_what_is_no_share_is_refused_with_an_example(text: str) -> None:
    """Five is not 5 %."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected a share from 0\.5% to 100%, such as 5%"):
        share(text)


@pytest.mark.parametrize(("words", "expected"), [([], ()), (["--json"], ("-",)), (["--json", "x.json"], ("x.json",))])
def test_json_may_do_without_a_file(words: list[str], expected: tuple[str, ...]) -> None:
    """It is stdout then."""
    parser = argparse.ArgumentParser()
    add_json(parser)
    assert expected == tuple(output.path for output in json_output(parser.parse_args(words)))


def test_the_text_goes_to_stdout_beside_a_file(tmp_path: Path) -> None:
    """100 columns where nobody says how wide it is."""
    stdout, file = io.StringIO(), tmp_path / "x.json"
    assert present(printed, Found(5), (Output(option="--json", path=str(file)),), schema=3, stdout=stdout)
    assert "width 100\n" == stdout.getvalue()
    document = json.loads(file.read_bytes())
    assert (["schema", "llm_latency", "answer"], 3, 5) == (list(document), document["schema"], document["answer"])


def test_the_text_makes_way_for_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to stderr."""
    assert present(printed, Found(5), (Output(option="--json", path="-"),), schema=1, stdout=sys.stdout)
    out, err = capsys.readouterr()
    assert (5, "width 100\n") == (json.loads(out)["answer"], err)
