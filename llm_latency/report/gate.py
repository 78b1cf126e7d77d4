"""A gate's result in the format that is asked for, into files, a step summary and JUnit's properties; not its words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from llm_latency.core.measurement import write_atomically
from llm_latency.errors import UsageError
from llm_latency.gate.result import Answer, GateResult, to_json
from llm_latency.report.gate_html import gate_html
from llm_latency.report.gate_markdown import gate_markdown
from llm_latency.report.gate_rows import word_of

_FORMATS: Mapping[str, Callable[[GateResult], bytes]] = {
    "json": to_json,
    "md": lambda result: gate_markdown(result).encode(),
    "html": lambda result: gate_html(result).encode(),
}
_SUFFIXES = {".json": "json", ".md": "md", ".html": "html", ".htm": "html"}
_SUMMARY = "GITHUB_STEP_SUMMARY"
# GitHub drops the summary of a step that is larger.
_MOST_SUMMARY_BYTES = 1024 * 1024


def report(result: GateResult, form: str) -> bytes:
    """Write a result as "json", "md" or "html"; raises UsageError for another format."""
    if form not in _FORMATS:
        raise UsageError(f"there is no report in the format {form!r}; known: {', '.join(_FORMATS)}")
    return _FORMATS[form](result)


def form_of(path: str | os.PathLike[str]) -> str:
    """The format that a file's name asks for; raises UsageError for a name that asks for none."""
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(f"{os.fspath(path)!r} does not say which report it is; end it in {', '.join(_SUFFIXES)}")
    return _SUFFIXES[suffix]


def write_reports(result: GateResult, paths: Iterable[str | os.PathLike[str]]) -> None:
    """Write a result to files, each in the format of its name; raises UsageError before it writes any, and OSError."""
    forms = [(path, form_of(path)) for path in paths]
    for path, form in forms:
        write_atomically(path, report(result, form))


def append_step_summary(result: GateResult, environ: Mapping[str, str]) -> str:
    """Append the Markdown to the file that a CI names for it; returns a sentence where that failed, else nothing."""
    path = environ.get(_SUMMARY, "")
    if not path:
        return ""
    content = f"{gate_markdown(result)}\n".encode()
    try:
        with Path(path).open("ab") as stream:
            if stream.tell() + len(content) > _MOST_SUMMARY_BYTES:
                return f"the step summary was not written: {path} would be larger than 1 MiB, which GitHub drops"
            stream.write(content)
    except OSError as error:
        return f"the step summary was not written: {path}: {error.strerror or error}"
    return ""


def properties(answers: Sequence[Answer]) -> list[tuple[str, str]]:
    """Numbers of one test's answers for JUnit: `latency.gate.total.slowdown`, a share, and so on.

    Where the test has several llmtime() they are counted: `latency.gate.1.total.slowdown`.
    """
    names = list(dict.fromkeys(answer.name for answer in answers))
    counts = {name: f"{index}." if len(names) > 1 else "" for index, name in enumerate(names, start=1)}
    return [pair for answer in answers for pair in _properties(answer, counts[answer.name])]


def _properties(answer: Answer, count: str) -> Iterator[tuple[str, str]]:
    start = f"latency.gate.{count}{answer.metric}"
    numbers = {"slowdown": answer.slowdown, "low": answer.low, "high": answer.high, "limit": answer.limit}
    yield f"{start}.word", word_of(answer)
    for name, share in numbers.items():
        if share is not None:
            yield f"{start}.{name}", f"{share:.6g}"
    yield f"{start}.pairs", str(len(answer.pairs))
    if answer.fresh:
        yield f"{start}.fresh", str(len(answer.fresh))
