"""Calls written down by hand, in whole milliseconds, so that every number about them can be checked by head."""

from __future__ import annotations

from llm_latency.core.trace import Request, Trace

MS = 1_000_000
# A logits processor sees a token's logits before the token is chosen; in these traces this much before it exists.
SELECTION_MS = 1
# Of the 32 J of SINGLE, what a run that only prefills would take.
PREFILL_J = 12.0


def _request(start_ms: int, stop_ms: int, *emissions: tuple[int, int], **fields: object) -> Request:
    stamps = tuple((instant * MS, positions) for instant, positions in emissions)
    timed = {"kind": "generate", "start_ns": start_ms * MS, "stop_ns": stop_ms * MS, "emissions": stamps}
    return Request(**timed | fields)  # type: ignore[arg-type]


def _call(stop_ms: int, *requests: Request, **fields: object) -> Trace:
    return Trace(start_ns=0, stop_ns=stop_ms * MS, requests=requests, **fields)  # type: ignore[arg-type]


# One row of five tokens; the request returns 5 ms after the last, the call 15 ms after that.
SINGLE = _call(
    120,
    _request(10, 105, (60, 1), (70, 1), (80, 1), (95, 1), (100, 1), rows=1, prompt_tokens=40, row_tokens=(5,)),
    peak_bytes={"allocated": 6 * 10**9, "reserved": 8 * 10**9},
    energy_j=32.0,
)
# Three rows of 4, 9 and 1 tokens share nine emissions 10 ms apart; 10 prompt tokens each.
BATCH = _call(
    200,
    _request(10, 195, *((110 + 10 * i, 1) for i in range(9)), rows=3, prompt_tokens=30, row_tokens=(4, 9, 1)),
)
# Two requests, one after the other, of 3 and 4 tokens.
SEVERAL = _call(
    200,
    _request(10, 105, (60, 1), (80, 1), (100, 1), rows=1, prompt_tokens=20, row_tokens=(3,)),
    _request(120, 190, (150, 1), (160, 1), (180, 1), (185, 1), rows=1, prompt_tokens=10, row_tokens=(4,)),
)
# Six tokens in chunks of 2, 3 and 1.
CHUNKS = _call(
    170, _request(10, 165, (110, 2), (140, 3), (160, 1), rows=1, prompt_tokens=12, row_tokens=(6,), kind="stream")
)
ONE_TOKEN = _call(70, _request(10, 65, (60, 1), rows=1, prompt_tokens=8, row_tokens=(1,)))
# Four tokens that came in one piece, as from a server that does not stream.
AT_ONCE = _call(70, _request(10, 65, (60, 4), rows=1, prompt_tokens=8, row_tokens=(4,)))
# An encoder's forward: no emission.
NOTHING = _call(20, _request(10, 15, rows=1, prompt_tokens=60, kind="forward"))

CASES = {
    "single": SINGLE,
    "batch": BATCH,
    "several": SEVERAL,
    "chunks": CHUNKS,
    "one token": ONE_TOKEN,
    "at once": AT_ONCE,
    "nothing": NOTHING,
}
