"""What a gate has found about one test, as it travels with the test; not what the test does with it."""

from __future__ import annotations

import msgspec

from llm_latency.gate.result import Answer, Tested
from llm_latency.report.gate import properties
from llm_latency.report.gate_rows import word_of_test


class Gated(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate has found about one test: its word and reasons, and each metric's answer."""

    tested: Tested
    answers: tuple[Answer, ...]

    @property
    def word(self) -> str:
        """The word that speaks for the test."""
        return word_of_test(self.tested, self.answers)

    @property
    def properties(self) -> list[tuple[str, str]]:
        """Its numbers for JUnit."""
        return properties(self.answers)
