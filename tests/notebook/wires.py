"""Wires, what is told to them, and what a page makes of what they say; no tests."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from llm_latency.core.trace import Request, Trace
from llm_latency.notebook.wire import Message, Wire
from llm_latency.record.sampling import Progress, make_plan
from llm_latency.record.view import Moment

MS, US = 1_000_000, 1_000
CALL = Trace(
    start_ns=0,
    stop_ns=200 * MS,
    requests=(
        Request(
            kind="generate", start_ns=0, stop_ns=200 * MS, emissions=((100 * MS, 1), (200 * MS, 1)), row_tokens=(2,)
        ),
    ),
)


def wire_of(decode: Any = None, **plan: Any) -> Wire:
    """A wire of a single call, unless the plan says otherwise."""
    return Wire("ab12cd", name="chat", plan=make_plan(**{"repeat": 1, "warmup": 0} | plan), decode=decode)


def progress(**fields: Any) -> Progress:
    """The third of five counted calls, one second into sampling; the last took 200 ms."""
    given = {"stage": "counted", "done": 2, "of": 5, "elapsed_s": 1.0, "time_budget_s": 10.0, "half_width": None}
    return Progress(**given | {"last": CALL} | fields)


def size(message: Message) -> int:
    """Bytes of a message's content, as Jupyter writes it: UTF-8, nothing escaped that need not be."""
    return len(msgspec.json.encode(message))


def looks(instants_us: Sequence[int], *, each: int, **fields: Any) -> Iterator[Moment]:
    """Moments that tell `each` emissions of one request; a token has no text unless `fields` say so."""
    for first in range(0, len(instants_us), each):
        told = [instant * US for instant in instants_us[first : first + each]]
        count = first + len(told)
        yield Moment(
            at_ns=told[-1] + 5 * US,
            phase="decode",
            request=1,
            first=first,
            instants_ns=tuple(told),
            tokens=count,
            total=count,
            **{name: tuple(given[first:count][-12:]) for name, given in fields.items()},
        )


class Page:
    """What a page knows of a call: the module's own `merge`, in a few lines."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int, int, int]] = []  # first, last, instant of the last, longest gap
        self.next = self.heard = 0
        self.text = ""

    def take(self, message: Message) -> None:
        """Skip what is known, add what is not; a hole would be an index that is beyond the next."""
        index, at = message["first"], message["at_us"]
        for position, entry in enumerate(message["e"]):
            gap, count, longest = entry if isinstance(entry, list) else (entry, 1, entry)
            at += gap if position else 0
            last = index + count - 1
            if last >= self.next:
                self.spans.append((index, last, at, longest))
                self.next = last + 1
            words = position - len(message["e"]) + len(message["text"])
            if words >= 0 and last >= self.heard:
                self.text += ("…" if index > self.heard else "") + message["text"][words]
                self.heard = last + 1
            index = last + 1


def instants(count: int, *, seed: int = 1) -> list[int]:
    """Instants in microseconds, with gaps of 1 to 30 ms."""
    generator, at, found = random.Random(seed), 200_000, []
    for _ in range(count):
        found.append(at)
        at += generator.randrange(1_000, 30_000)
    return found
