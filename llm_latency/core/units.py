"""Text such as "250 ms" or "40 tok/s" to floats in base units and back; not which metric has which unit.

Base units: seconds `s`, tokens per second `tok/s`, requests per second `req/s`, bytes `B`, joules `J`,
joules per token `J/tok`, shares `1`, which are written in per cent.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from llm_latency.errors import UsageError

# Prefixes follow the SI brochure (9th edition, table 7); KiB and so on follow IEC 80000-13.
_TIME = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_BYTES = {"B": 1.0} | {
    f"{prefix}{tail}": float(base**power)
    for tail, base in (("B", 1000), ("iB", 1024))
    for power, prefix in enumerate(("k" if base == 1000 else "K", "M", "G", "T"), start=1)
}
_BYTES["KB"] = 1000.0
_ENERGY = {"mJ": 1e-3, "J": 1.0, "kJ": 1e3, "Wh": 3600.0}

SCALES: dict[str, dict[str, float]] = {
    "s": _TIME,
    "tok/s": {"tok/s": 1.0, "tokens/s": 1.0, "token/s": 1.0, "ktok/s": 1e3},
    "req/s": {"req/s": 1.0, "requests/s": 1.0, "request/s": 1.0},
    "B": _BYTES,
    "J": _ENERGY,
    "J/tok": {"J/tok": 1.0, "mJ/tok": 1e-3, "J/token": 1.0, "mJ/token": 1e-3},
    "1": {"%": 1e-2},
}
_EXAMPLE = {
    "s": "250 ms",
    "tok/s": "40 tok/s",
    "req/s": "8 req/s",
    "B": "6 GiB",
    "J": "30 J",
    "J/tok": "0.4 J/tok",
    "1": "40 %",
}
_DISPLAY = {
    "s": (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)),
    "B": (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0)),
    "J": (("kJ", 1e3), ("J", 1.0), ("mJ", 1e-3)),
    "J/tok": (("J/tok", 1.0), ("mJ/tok", 1e-3)),
    "1": (("%", 1e-2),),
}
# A unit begins with a letter that is no exponent, so that "1,5 s", "2.5" and "1e3" are refused for what they lack.
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*((?![eE][+-]?[0-9])[^\W\d_].*?|%)\s*")


def parse(text: str, *, unit: str) -> float:
    """Read a limit or length with its unit, such as "250 ms", as a float in the base unit.

    `unit` is the base unit that is expected. Raises UsageError when the text is no finite, non-negative
    number with a unit of that kind.
    """
    example = _EXAMPLE[unit]
    if not isinstance(text, str):
        raise UsageError(f"{text!r} has no unit; write it as text, such as {example!r}")
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a number with a unit; expected something like {example!r}")
    suffix = match[2]
    scale = SCALES[unit].get(suffix)
    if scale is None:
        raise UsageError(
            f"{text!r} has the unit {suffix!r}; expected one of {', '.join(SCALES[unit])}, such as {example!r}"
        )
    # In decimals, as it was written: 3 * 1e-9 is not the float nearest to 3 ns, and "<= 3 ns" would be wrong.
    value = float(Decimal(match[1]) * Decimal(str(scale))) if math.isfinite(float(match[1])) else math.inf
    if not math.isfinite(value):
        raise UsageError(f"{text!r} is not finite; expected something like {example!r}")
    return value


def show(value: float | None, unit: str) -> str:
    """Write a number in a base unit the way a person reads it, with three significant digits: `312 ms`."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return f"{value} {unit}"
    scales = _DISPLAY.get(unit, ((unit, 1.0),))
    name, scale = next(((n, s) for n, s in scales if abs(value) >= s * 0.9995), scales[-1])
    if value == 0:
        name, scale = "%" if unit == "1" else unit, 1.0
    return f"{_three_digits(value / scale)} {name}"


def show_exactly(value: float, unit: str) -> str:
    """Write a number that somebody has set, such as a limit, with all its digits: `100.4 ms`."""
    scales = _DISPLAY.get(unit, ((unit, 1.0),))
    name, scale = next(((n, s) for n, s in scales if abs(value) >= s), scales[-1])
    return f"{value / scale:,.10g} {name}"


def _three_digits(number: float) -> str:
    if number == 0:
        return "0"
    rounded = float(f"{number:.2e}")  # rounded first: 9.996 has one digit more before its point than it seems to
    decimals = 2 - math.floor(math.log10(abs(rounded)))
    if not -4 < decimals <= 6:
        return f"{rounded:.3g}"
    return f"{number:,.0f}" if decimals <= 0 else f"{rounded:.{decimals}f}"


class Quantity(float):
    """A float in a base unit that prints with its unit and compares with text: `m.ttft.p50 < "250 ms"`.

    Quantities of one unit compare, add and subtract; `2 * m.ttft.p50` is a quantity and the ratio of two is a
    float. Comparing with a bare number or with another unit raises UsageError that says what to write.
    """

    __slots__ = ("unit",)
    unit: str

    def __new__(cls, value: float, unit: str) -> Quantity:
        """Make a quantity from a float in the base unit `unit`."""
        quantity = super().__new__(cls, value)
        quantity.unit = unit
        return quantity

    def __getnewargs__(self) -> tuple[float, str]:  # type: ignore[override]  # pickle needs both arguments
        return (float(self), self.unit)

    def __str__(self) -> str:
        return show(float(self), self.unit)

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec[-1:] in tuple("eEfFgGn%") else format(str(self), spec)

    def _other(self, other: object) -> float:
        if isinstance(other, str):
            return parse(other, unit=self.unit)
        if isinstance(other, Quantity):
            if other.unit != self.unit:
                raise UsageError(f"{self} cannot be compared with {other}: {self.unit} is not {other.unit}")
            return float(other)
        raise UsageError(
            f"{self} was compared with {other!r}, which has no unit; write text such as {_EXAMPLE[self.unit]!r},"
            f" or take float(...) of it for a number in {self.unit}"
        )

    def __lt__(self, other: object) -> bool:
        return float(self) < self._other(other)

    def __le__(self, other: object) -> bool:
        return float(self) <= self._other(other)

    def __gt__(self, other: object) -> bool:
        return float(self) > self._other(other)

    def __ge__(self, other: object) -> bool:
        return float(self) >= self._other(other)

    def __eq__(self, other: object) -> bool:
        return float(self) == self._other(other) if isinstance(other, str | int | float) else False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __add__(self, other: float) -> Quantity:
        return Quantity(float(self) + self._other(other), self.unit)

    def __sub__(self, other: float) -> Quantity:
        return Quantity(float(self) - self._other(other), self.unit)

    def __radd__(self, other: float) -> Quantity:
        return self if other == 0 else self + other  # sum() begins with a bare 0

    def __rsub__(self, other: float) -> Quantity:
        return Quantity(self._other(other) - float(self), self.unit)

    def __neg__(self) -> Quantity:
        return Quantity(-float(self), self.unit)

    def __abs__(self) -> Quantity:
        return Quantity(abs(float(self)), self.unit)

    def __mul__(self, factor: float) -> Quantity:
        return Quantity(float(self) * float(factor), self.unit)

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> float:
        if isinstance(other, Quantity):
            return float(self) / self._other(other)
        return Quantity(float(self) / other, self.unit)

    __hash__ = float.__hash__
