"""Text with units to floats and back, and the Quantity that people read off a measurement."""

from __future__ import annotations

import copy
import math
import operator
import pickle
import re
from collections.abc import Callable

import pytest

from llm_latency.core.units import SCALES, Quantity, parse, show
from llm_latency.errors import UsageError


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("0 s", "s", 0.0),
        ("1 ns", "s", 1e-9),
        ("1 us", "s", 1e-6),
        ("250µs", "s", 250e-6),  # U+00B5 MICRO SIGN
        ("250μs", "s", 250e-6),  # U+03BC GREEK SMALL LETTER MU
        ("250 ms", "s", 0.25),
        ("1.5 s", "s", 1.5),
        ("1.5s", "s", 1.5),
        (".5 s", "s", 0.5),
        ("2. s", "s", 2.0),
        ("2 min", "s", 120.0),
        ("0.5 h", "s", 1800.0),
        ("  7\tms ", "s", 0.007),
        ("2.5e2 ms", "s", 0.25),
        ("1E-3 s", "s", 0.001),
        ("40 tok/s", "tok/s", 40.0),
        ("40 tokens/s", "tok/s", 40.0),
        ("1 token/s", "tok/s", 1.0),
        ("2 ktok/s", "tok/s", 2000.0),
        ("8 req/s", "req/s", 8.0),
        ("8 requests/s", "req/s", 8.0),
        ("1 request/s", "req/s", 1.0),
        ("6 B", "B", 6.0),
        ("6 kB", "B", 6e3),
        ("6 KB", "B", 6e3),
        ("6 MB", "B", 6e6),
        ("6 GB", "B", 6e9),
        ("6 TB", "B", 6e12),
        ("6 KiB", "B", 6.0 * 2**10),
        ("6 MiB", "B", 6.0 * 2**20),
        ("6 GiB", "B", 6.0 * 2**30),
        ("6 TiB", "B", 6.0 * 2**40),
        ("3 mJ", "J", 0.003),
        ("3 J", "J", 3.0),
        ("3 kJ", "J", 3e3),
        ("1 Wh", "J", 3600.0),
        ("0.4 J/tok", "J/tok", 0.4),
        ("400 mJ/tok", "J/tok", 0.4),
        ("0.4 J/token", "J/tok", 0.4),
        ("400 mJ/token", "J/tok", 0.4),
    ],
)
def test_text_with_a_unit_becomes_a_float_in_the_base_unit(text: str, unit: str, expected: float) -> None:
    """Every unit is read, with or without space, and both signs for micro are right."""
    assert expected == parse(text, unit=unit)


def test_every_unit_of_the_table_is_read() -> None:
    """Three of each unit are three times its scale, so that no unit of the table is out of the pattern's reach."""
    for unit, scales in SCALES.items():
        for name, scale in scales.items():
            assert parse(f"3 {name}", unit=unit) == pytest.approx(3.0 * scale, rel=1e-15)


@pytest.mark.parametrize("number", ["3", "7", "70", "1.1", "123.456", "1023"])
def test_text_becomes_the_float_nearest_to_what_was_written(number: str) -> None:
    """As Python reads the same decimals: a limit that is met exactly is equal."""
    assert float(f"{number}e-9") == parse(f"{number} ns", unit="s")
    assert float(f"{number}e-3") == parse(f"{number} ms", unit="s")


def test_gigabytes_and_gibibytes_differ() -> None:
    """6 GB are 6·10⁹ bytes and 6 GiB are 6·2³⁰, 7.4 % more."""
    assert (6_000_000_000.0, 6_442_450_944.0) == (parse("6 GB", unit="B"), parse("6 GiB", unit="B"))


NO_QUANTITIES = """ms  250  2.5  1e3  1,5 s  1.5.2 s  nan s  nan  inf s  -inf s  inf  -250 ms  +5 ms  1_000 ms
½ s  ٣ ms  5 ٣  5 /s  5 ‰"""


@pytest.mark.parametrize("text", ["", " ", *re.split(r"  |\n", NO_QUANTITIES)])
def test_text_that_is_no_number_with_a_unit_is_refused(text: str) -> None:
    """The message shows the text as it was written, and what was expected."""
    with pytest.raises(UsageError) as refusal:
        parse(text, unit="s")
    assert f"{text!r} is not a number with a unit; expected something like '250 ms'" == str(refusal.value)


@pytest.mark.parametrize(
    ("text", "unit", "suffix"),
    [
        ("6 GiB", "s", "GiB"),
        ("250 ms", "B", "ms"),
        ("40 tok/s", "req/s", "tok/s"),
        ("250 MS", "s", "MS"),
        ("6 Gib", "B", "Gib"),
        ("250 ms ms", "s", "ms ms"),
        ("5 m", "s", "m"),
        ("0x10 ms", "s", "x10 ms"),
    ],
)
def test_a_unit_of_the_wrong_kind_is_refused(text: str, unit: str, suffix: str) -> None:
    """Units are told apart by case, and the message lists those that would do."""
    with pytest.raises(UsageError) as refusal:
        parse(text, unit=unit)
    assert f"{text!r} has the unit {suffix!r}; expected one of {', '.join(SCALES[unit])}" in str(refusal.value)


@pytest.mark.parametrize("value", [True, False, None, 250, 0.25, b"250 ms", ["250 ms"], Quantity(0.25, "s")])
def test_what_is_no_text_has_no_unit(value: object) -> None:
    """A bare number, a bool or None is shown, with the text that would do."""
    with pytest.raises(UsageError) as refusal:
        parse(value, unit="s")  # type: ignore[arg-type]
    assert f"{value!r} has no unit; write it as text, such as '250 ms'" == str(refusal.value)


@pytest.mark.parametrize("text", ["1e400 s", "1e308 h"])
def test_a_number_too_large_for_a_float_is_refused(text: str) -> None:
    """Also when only the unit makes it too large."""
    with pytest.raises(UsageError, match=r"is not finite"):
        parse(text, unit="s")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "s", "–"),
        (0.0, "s", "0 s"),
        (-0.0, "s", "0 s"),
        (0.0, "B", "0 B"),
        (1.0, "s", "1.00 s"),
        (0.312, "s", "312 ms"),
        (0.0312, "s", "31.2 ms"),
        (0.00312, "s", "3.12 ms"),
        (0.000312, "s", "312 µs"),
        (3.12e-7, "s", "312 ns"),
        (-0.25, "s", "-250 ms"),
        (75.5, "s", "75.5 s"),
        (3600.0, "s", "3,600 s"),
        (123_456.0, "s", "123,456 s"),
        # Rounding decides the unit and the digits: 999.6 ms has three digits as 1.00 s, and 999.4 ms as 999 ms.
        (0.9996, "s", "1.00 s"),
        (0.9994, "s", "999 ms"),
        (0.0009996, "s", "1.00 ms"),
        (0.009996, "s", "10.0 ms"),
        (0.009994, "s", "9.99 ms"),
        (0.09996, "s", "100 ms"),
        (59.96, "s", "60.0 s"),
        (999.6, "s", "1,000 s"),
        (1e-12, "s", "0.00100 ns"),
        (1e-18, "s", "1e-09 ns"),
        (1e7, "s", "1e+07 s"),
        (math.inf, "s", "inf s"),
        (-math.inf, "s", "-inf s"),
        (math.nan, "s", "nan s"),
        (1.5 * 2**30, "B", "1.50 GiB"),
        (1023.9 * 2**20, "B", "1.00 GiB"),
        (1023.4 * 2**20, "B", "1,023 MiB"),
        (2048.0, "B", "2.00 KiB"),
        (12.0, "B", "12.0 B"),
        (1536.0 * 2**30, "B", "1,536 GiB"),
        (40.0, "tok/s", "40.0 tok/s"),
        (0.5, "req/s", "0.500 req/s"),
        (1500.0, "J", "1.50 kJ"),
        (0.03, "J", "30.0 mJ"),
        (0.4, "J/tok", "400 mJ/tok"),
        (0.3456, "1", "34.6 %"),
        (0.0, "1", "0 %"),
    ],
)
def test_a_number_is_shown_with_three_digits_and_its_unit(value: float | None, unit: str, expected: str) -> None:
    """A missing value is a dash, zero has the base unit, and larger numbers keep all digits before the point."""
    assert expected == show(value, unit)


@pytest.mark.parametrize("exponent", range(-9, 6))
def test_what_is_shown_is_read_back_within_three_digits(exponent: int) -> None:
    """Half a unit of the third digit is 0.5 % of the smallest three digits, 100."""
    for mantissa in (1.0, 1.234, 5.555, 9.994, 9.996):
        value = mantissa * 10.0**exponent
        assert parse(show(value, "s").replace(",", ""), unit="s") == pytest.approx(value, rel=0.005)


QUARTER = Quantity(0.25, "s")


@pytest.mark.parametrize("other", ["300 ms", Quantity(0.3, "s"), "0.3 s", "300000µs"])
def test_a_quantity_compares_with_text_and_with_its_kind(other: object) -> None:
    """All six comparisons agree with the numbers in seconds."""
    verdicts = [compare(QUARTER, other) for compare in (operator.lt, operator.le, operator.gt, operator.ge)]
    assert [True, True, False, False] == verdicts
    assert (False, True) == (QUARTER == other, QUARTER != other)


def test_a_quantity_equals_the_same_length_however_it_is_written() -> None:
    """Equal is also at most and at least, and not less and not more."""
    assert QUARTER == "250 ms"
    assert QUARTER == Quantity(0.25, "s")
    verdicts = [compare(QUARTER, "0.25 s") for compare in (operator.ne, operator.lt, operator.gt)]
    assert [False, False, False] == verdicts
    assert [True, True] == [compare(QUARTER, "250000 µs") for compare in (operator.le, operator.ge)]


def test_text_on_the_left_compares_too() -> None:
    """Python turns the comparison round."""
    assert "300 ms" > QUARTER
    assert "200 ms" <= QUARTER
    assert "250 ms" == QUARTER


COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("number", [0.3, 1, True, math.inf])
def test_a_bare_number_is_refused_with_what_to_write(compare: Callable[[object, object], bool], number: float) -> None:
    """0.3 may be seconds or milliseconds, so the message asks for text or for float()."""
    with pytest.raises(UsageError) as refusal:
        compare(QUARTER, number)
    expected = (
        f"250 ms was compared with {number!r}, which has no unit; write text such as '250 ms',"
        " or take float(...) of it for a number in s"
    )
    assert expected == str(refusal.value)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_another_kind_of_quantity_is_refused(compare: Callable[[object, object], bool]) -> None:
    """Seconds are not bytes, neither as quantity nor as text."""
    with pytest.raises(UsageError, match=r"250 ms cannot be compared with 6\.00 GiB: s is not B"):
        compare(QUARTER, Quantity(6 * 2.0**30, "B"))
    with pytest.raises(UsageError, match="has the unit 'GiB'"):
        compare(QUARTER, "6 GiB")


def test_a_quantity_is_no_thing_of_another_kind() -> None:
    """None and other objects are just not equal, so that `m.ttft.p50 == None` asks nothing of units."""
    assert (False, False, True) == (QUARTER == None, QUARTER == object(), QUARTER != [])  # noqa: E711  # on purpose


def test_quantities_add_and_subtract() -> None:
    """With their kind and with text, on either side; the result keeps the unit."""
    results = [QUARTER + Quantity(0.5, "s"), QUARTER + "500 ms", QUARTER - "125 ms", -QUARTER, abs(-QUARTER)]
    results += ["500 ms" + QUARTER, "1 s" - QUARTER, sum([QUARTER, QUARTER, QUARTER])]  # type: ignore[operator]
    assert [0.75, 0.75, 0.125, -0.25, 0.25, 0.75, 0.75, 0.75] == [float(result) for result in results]
    assert {"s"} == {result.unit for result in results}


def test_a_difference_compares_with_text() -> None:
    """`abs(a - b) < "5 ms"` is how people say that two times agree."""
    assert abs(Quantity(0.250, "s") - Quantity(0.253, "s")) < "5 ms"


@pytest.mark.parametrize("combine", [operator.add, operator.sub])
def test_a_bare_number_is_not_added(combine: Callable[[object, object], object]) -> None:
    """On neither side: 1 would be seconds to the one and milliseconds to the other."""
    for left, right in ((QUARTER, 1.0), (1.0, QUARTER)):
        with pytest.raises(UsageError, match="which has no unit"):
            combine(left, right)


def test_a_multiple_is_a_quantity_and_a_ratio_is_a_number() -> None:
    """Two quantities of one kind divide to a float; one of another kind is refused."""
    assert (Quantity(0.5, "s"), Quantity(0.5, "s"), Quantity(0.125, "s")) == (2 * QUARTER, QUARTER * 2, QUARTER / 2)
    assert {"s"} == {(2 * QUARTER).unit, (QUARTER * 2).unit, (QUARTER / 2).unit}  # type: ignore[attr-defined]
    ratio = Quantity(0.5, "s") / QUARTER
    assert (2.0, float) == (ratio, type(ratio))
    with pytest.raises(UsageError, match="s is not B"):
        QUARTER / Quantity(1.0, "B")


def test_a_quantity_is_a_float() -> None:
    """float(), math and sorting work in the base unit."""
    assert (0.25, 0.5, 0) == (float(QUARTER), math.sqrt(QUARTER), round(float(QUARTER)))
    assert [QUARTER, Quantity(0.5, "s")] == sorted([Quantity(0.5, "s"), QUARTER])


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_quantity_survives_pickling(protocol: int) -> None:
    """Value and unit come back, as worker processes need."""
    back = pickle.loads(pickle.dumps(QUARTER, protocol))
    assert (Quantity, 0.25, "s") == (type(back), float(back), back.unit)


def test_a_quantity_survives_copying() -> None:
    """Shallow and deep."""
    copies = [copy.copy(QUARTER), copy.deepcopy([QUARTER])[0]]
    assert [(0.25, "s")] * 2 == [(float(found), found.unit) for found in copies]


def test_equal_quantities_hash_alike() -> None:
    """So that they can be members of a set."""
    assert 1 == len({QUARTER, Quantity(0.25, "s")})
    assert hash(0.25) == hash(QUARTER)


def test_a_quantity_prints_with_its_unit() -> None:
    """str, repr and an empty format; a format that is asked for is that of the float in the base unit."""
    assert ("250 ms", "250 ms", "250 ms", "0.250") == (str(QUARTER), repr(QUARTER), f"{QUARTER}", f"{QUARTER:.3f}")
