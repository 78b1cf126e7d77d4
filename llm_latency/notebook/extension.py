"""Putting the magic into an IPython shell and taking it out again without a trace; not what it does."""

from __future__ import annotations

from typing import Any

from llm_latency.core.measurement import Measurement
from llm_latency.notebook.magic import Magic
from llm_latency.notebook.result import bundle
from llm_latency.notebook.settings import LLMTime
from llm_latency.notebook.transform import CALL, CALLS, OUT, VALUE, Wrapper, mark

_NAME = "llmtime"


def load_into(shell: Any) -> None:
    """Add `%%llmtime`, `%llmtime` and the way in which the shell shows a measurement; loading twice is loading once."""
    unload_from(shell)
    magic = Magic(shell)
    shell.register_magic_function(magic.llmtime, magic_kind="line_cell", magic_name=_NAME)
    shell.configurables.append(magic.desk.settings)
    # First of all: before IPython makes a run_cell_magic of the line, and before others move the marker.
    shell.input_transformer_manager.line_transforms.insert(0, mark)
    shell.ast_transformers.insert(0, Wrapper(shell))
    shell.display_formatter.mimebundle_formatter.for_type(Measurement, bundle)


def unload_from(shell: Any) -> None:
    """Remove what `load_into` added; does nothing where nothing is loaded. A cell that runs keeps its own end."""
    transforms = shell.input_transformer_manager.line_transforms
    transforms[:] = [transform for transform in transforms if transform is not mark]
    shell.ast_transformers[:] = [one for one in shell.ast_transformers if not isinstance(one, Wrapper)]
    for magics in shell.magics_manager.magics.values():
        if isinstance(getattr(magics.get(_NAME), "__self__", None), Magic):
            del magics[_NAME]
    shell.configurables[:] = [one for one in shell.configurables if not isinstance(one, LLMTime)]
    formatter = shell.display_formatter.mimebundle_formatter
    if formatter.type_printers.get(Measurement) is bundle:
        formatter.pop(Measurement)
    for name in (CALL, CALLS, OUT, VALUE):
        shell.user_ns.pop(name, None)
