"""What a gate found, as versioned JSON: for each test and metric word, interval and pairs; nothing decides here."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.errors import MeasurementFileError
from llm_latency.gate.decision import Decision
from llm_latency.gate.ratio import Ratio

SCHEMA = 1
OK, TOO_SLOW, FASTER, UNDECIDED = "ok", "TOO SLOW", "FASTER", "UNDECIDED"
# Of tests without an answer: the base has no such test, its own code fails at the head, or it was skipped there.
NEW, BROKEN, SKIPPED = "NEW", "BROKEN", "skipped"
# Which of several words speaks for a test or for a whole gate.
WORDS = (BROKEN, TOO_SLOW, UNDECIDED, NEW, FASTER, OK, SKIPPED)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about one test: the limit on its slowdown as a share, in each of the metrics.

    A change of less than `min_change` (a value in base unit, and that unit) never fails a metric of that unit, and
    passes where the limit alone would not let it. With `same_output` answers of other tokens are unequal work.
    """

    test: str
    limit: float
    metrics: tuple[str, ...] = ("total",)
    min_change: tuple[float, str] | None = None
    same_output: bool = False


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """How one part of the call changed: medians over pairs in base unit, the mean log ratio and its 95 % interval.

    `seconds` is what it adds to the call.
    """

    metric: str
    unit: str
    base: float
    head: float
    log: float
    low: float
    high: float
    seconds: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one llmtime(): `slowdown` with `low` and `high` as shares of the base, more is worse.

    The interval has the level of the gate's looks. `wall` is the slowdown in wall time, `base` and `head` medians over
    pairs in base unit. `pairs` are the ratios that came first and `fresh` those of the confirmation. `limit` is the
    effective one: what was asked, or `min_change` where that is more; a slowdown fails that is more than `shown`.
    `moved` has the parts of the call where the word is not that all is well.
    """

    test: str
    name: str
    metric: str
    unit: str
    better: str
    word: str
    limit: float
    decision: Decision
    shown: float | None = None
    slowdown: float | None = None
    low: float | None = None
    high: float | None = None
    wall: float | None = None
    base: float | None = None
    head: float | None = None
    pairs: tuple[Ratio, ...] = ()
    fresh: tuple[Ratio, ...] = ()
    moved: tuple[Moved, ...] = ()
    reasons: tuple[str, ...] = ()


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one side was: its commit or "working tree", interpreter, where its packages lay, and its environment."""

    what: str
    python: str
    files: dict[str, str] = {}
    versions: dict[str, str] = {}
    environment: Environment | None = None


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """One test: the word that speaks for it, what is to be told about it, and whether it is through.

    `failure` is what its own code raised at the head. The head's calls of all pairs are `measurements`.
    """

    test: str
    word: str
    reasons: tuple[str, ...] = ()
    failure: str = ""
    measurements: tuple[Measurement, ...] = ()


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """A whole gate. `differences` are those of environment and packages between the sides; seconds and counts of pairs.

    `level` is the one-sided level of a look, divided by `family` on the failing side.
    """

    ref: str
    base: Side
    head: Side
    tests: tuple[Tested, ...]
    answers: tuple[Answer, ...]
    changed: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pairs: int = 0
    family: int = 1
    level: float = 0.0
    seconds: float = 0.0
    stopped_because: str = ""
    recorded_at: str | None = None
    complete: bool = True

    @property
    def word(self) -> str:
        """The word for the gate as a whole."""
        return worst_word([tested.word for tested in self.tests])


def worst_word(words: list[str] | tuple[str, ...]) -> str:
    """The word that speaks for several; for none of them, nothing is decided."""
    return min(words, key=WORDS.index, default=UNDECIDED)


def to_json(result: GateResult) -> bytes:
    """Encode with `schema` first; the head's raw calls stay out, the pairs' ratios are in."""
    fields: dict[str, Any] = {name: getattr(result, name) for name in GateResult.__struct_fields__}
    fields["tests"] = [msgspec.structs.replace(tested, measurements=()) for tested in result.tests]
    return msgspec.json.format(msgspec.json.encode({"schema": SCHEMA, "word": result.word} | fields), indent=1)


def from_json(text: bytes, *, source: str = "this file") -> GateResult:
    """Read what `to_json` wrote.

    Raises MeasurementFileError, naming the source and the place in the JSON, when it is broken, holds words that no
    gate says, or has a schema that this version does not know.
    """
    try:
        schema = msgspec.json.decode(text, type=_Head).schema
        if type(schema) is not int:
            raise MeasurementFileError(f"{source} has no integer 'schema'; it is no result of a gate of llm-latency")
        if not 1 <= schema <= SCHEMA:
            raise MeasurementFileError(
                f"{source} has schema {schema} and this version reads up to {SCHEMA};"
                " read it with the llm-latency that wrote it, or a newer one"
            )
        read = msgspec.json.decode(text, type=_File)
    except msgspec.ValidationError as error:
        raise MeasurementFileError(f"{source} is no result of a gate: {error}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MeasurementFileError(
            f"{source} is not complete JSON ({error}); it was cut off or edited. Run the gate again, or restore it"
        ) from error
    for part in ("tests", "answers"):
        for index, one in enumerate(getattr(read, part)):
            if one.word not in WORDS:
                raise MeasurementFileError(
                    f"{source}, {part}[{index}]: the word {one.word!r} is none of a gate's; known: {', '.join(WORDS)}"
                )
    return GateResult(**{name: getattr(read, name) for name in GateResult.__struct_fields__})


class _Head(msgspec.Struct):
    """What is read of a file first, whatever else it holds."""

    schema: object = None


class _File(GateResult, frozen=True, kw_only=True):
    """A result as it is written."""

    schema: int
