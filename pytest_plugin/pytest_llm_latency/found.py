"""Found: what stored baselines say of a test, measurement by measurement; not how it was found."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_latency.core.measurement import Measurement
from llm_latency.gate.result import FASTER, OK, TOO_SLOW, UNDECIDED
from llm_latency.gate.stored.promotion import Promotion

NOT_GATED, NOT_STORED, ACCEPTED = "NOT GATED", "NOT STORED", "ACCEPTED"
# Which of several words speaks for a test.
WORDS = (TOO_SLOW, UNDECIDED, NOT_GATED, NOT_STORED, ACCEPTED, FASTER, OK, "")


@dataclass(slots=True)
class Said:
    """What is said of one measurement: a word, "" where there is nothing to say, and its sentence.

    `reasons` are why it is undecided, and alike for many tests. `failure` is why the test fails, or nothing.
    `promotion` is the row that it leaves.
    """

    name: str
    word: str
    text: str
    reasons: tuple[str, ...] = ()
    failure: str = ""
    promotion: Promotion | None = None
    notes: tuple[str, ...] = ()
    measurement: Measurement | None = None


@dataclass(slots=True)
class Found:
    """What stored baselines say of a test, measurement by measurement."""

    said: list[Said] = field(default_factory=list)

    @property
    def word(self) -> str:
        """The word for a test that has passed; nothing where it needs none."""
        worst = min((said.word for said in self.said), key=WORDS.index, default="")
        return worst if worst not in (OK, ACCEPTED) else ""

    @property
    def properties(self) -> list[tuple[str, str]]:
        """For JUnit, as `latency.baseline` or, where several were measured, `latency.1.baseline`."""
        several = len(self.said) > 1
        return [
            (
                f"latency.{index}.baseline" if several else "latency.baseline",
                "; ".join([f"{said.word} {said.text}", *said.reasons]),
            )
            for index, said in enumerate(self.said, start=1)
            if said.word
        ]
