"""What a gate has found about one test, as it travels with the test; not what the test does with it."""

from __future__ import annotations

import msgspec

from llm_latency.gate.result import Answer, Tested


class Gated(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate has found about one test: its word and reasons, and each metric's answer."""

    tested: Tested
    answers: tuple[Answer, ...]
