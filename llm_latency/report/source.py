"""Python source that is moved in or out of a function; which of its lines have to stay as they are."""

from __future__ import annotations

import io
import tokenize


def lines_in_strings(source: str) -> set[int]:
    """Lines, from 1, that begin inside of a string: another indent would change what it says."""
    lines, opened = set[int](), list[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "STRING":
            lines |= set(range(token.start[0] + 1, token.end[0] + 1))
        elif kind.endswith("STRING_START"):  # f-strings, from Python 3.12 on
            opened.append(token.start[0])
        elif kind.endswith("STRING_END"):
            lines |= set(range(opened.pop() + 1, token.end[0] + 1))
    return lines
