"""Calls, measurements and cells for tests of the export; no tests."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from llm_latency.core.environment import Environment
from llm_latency.core.measurement import Measurement
from llm_latency.core.trace import Request, Trace

MS = 1_000_000


def call(first_ms: int, *, gap_ms: int = 20, tokens: int = 3, kind: str = "generate") -> Trace:
    """A call of one request; without tokens it takes `first_ms`."""
    emissions = tuple(((first_ms + index * gap_ms) * MS, 1) for index in range(tokens))
    stop_ns = emissions[-1][0] if emissions else first_ms * MS
    request = Request(
        kind=kind, start_ns=0, stop_ns=stop_ns, emissions=emissions, row_tokens=(tokens,) if tokens else None
    )
    return Trace(start_ns=0, stop_ns=stop_ns, requests=(request,))


def measured(*traces: Trace, name: str = "In [5]", **fields: Any) -> Measurement:
    """A measurement of these calls, by default six of a cell without a model, of five seconds each."""
    return Measurement(
        name=name,
        workload={},
        environment=Environment(device="cpu", cores=2, torch="2.13.0"),
        traces=traces or tuple(call(5000, tokens=0, kind="call") for _ in range(6)),
        stopped_because="6 calls, as asked",
        recorded_at="2025-11-25T03:00:00+00:00",
        **fields,
    )


def executed(*cells: str) -> dict[str, Any]:
    """The namespace after these cells, as IPython runs them; a cell that fails is a cell that fails."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        try:
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            code = compile(cell, "cell", "exec", flags=flags, dont_inherit=True)
            if code.co_flags & inspect.CO_COROUTINE:
                asyncio.run(eval(code, namespace))
            else:
                exec(code, namespace)
        except Exception as error:
            namespace["failed"] = error
    return namespace


def run_pytest(*paths: Path) -> str:
    """What pytest says about these files in a process of its own."""
    command = [sys.executable, "-Im", "pytest", "-q", "-p", "no:cacheprovider", "--latency-time-budget=5 s"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, *map(str, paths)],
        cwd=paths[0].parent,
        env=environment | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return f"{done.stdout}\n{done.stderr}"


def unused_imports(path: Path) -> set[str]:
    """Names that a file imports at its top and does not use."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = [node for node in imports if getattr(node, "module", "") != "__future__"]
    bound = {alias.asname or alias.name.partition(".")[0] for node in lines for alias in node.names}
    return bound - {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


# --- the path ---
