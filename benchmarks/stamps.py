"""Stamps of tokens as people take them themselves, as parts of generate; not a criterion, which one benchmark has."""

from __future__ import annotations

import time


def streamer_and_processor() -> tuple[type, type]:
    """A streamer that stamps each `put` and `end`, and a logits processor that stamps each call, with perf_counter."""
    from transformers import LogitsProcessor
    from transformers.generation.streamers import BaseStreamer

    class Streamer(BaseStreamer):
        def __init__(self) -> None:
            self.stamps: list[float] = []

        def put(self, value: object) -> None:
            self.stamps.append(time.perf_counter())

        def end(self) -> None:
            self.stamps.append(time.perf_counter())

    class Processor(LogitsProcessor):
        def __init__(self) -> None:
            self.stamps: list[float] = []

        def __call__(self, input_ids: object, scores: object) -> object:
            self.stamps.append(time.perf_counter())
            return scores

    return Streamer, Processor
