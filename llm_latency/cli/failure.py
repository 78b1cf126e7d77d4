"""What the timed code raised, as a traceback that holds only the user's side; not our own errors."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

from llm_latency.report.escape import plain

# Frames of this package and of the event loop it runs coroutines on lie between the user's lines and say nothing.
_OURS = (str(Path(__file__).parents[1]), str(Path(asyncio.__file__).parent))


def shortened(error: BaseException) -> str:
    """Format an exception and its causes without our frames; what it says cannot move the terminal's cursor."""
    found = traceback.TracebackException.from_exception(error)
    _trim(found)
    return "\n".join(plain(line) for chunk in found.format() for line in chunk.splitlines())


def _trim(found: traceback.TracebackException) -> None:
    kept = [frame for frame in found.stack if not frame.filename.startswith(_OURS)]
    found.stack = traceback.StackSummary.from_list(kept)
    found.__notes__ = [note for note in found.__notes__ or () if not note.startswith("llm-latency:")]
    for earlier in (found.__cause__, found.__context__):
        if earlier is not None:
            _trim(earlier)
