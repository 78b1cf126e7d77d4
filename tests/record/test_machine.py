"""Reading the machine, also where it says nothing."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from llm_latency.record import machine
from llm_latency.record.machine import facts_of, read_environment


def test_this_machine_names_itself() -> None:
    """Cores, Python and system are known wherever Python runs."""
    environment = read_environment()
    assert "cpu" == environment.device
    assert environment.cores is not None and environment.cores >= 1
    assert ".".join(map(str, sys.version_info[:3])) == environment.python


def test_without_proc_the_processor_is_asked_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc and no affinity: other sources, or None, never an error."""
    monkeypatch.setattr(machine, "Path", lambda _: SimpleNamespace(read_text=lambda: (_ for _ in ()).throw(OSError())))
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "sysconf", lambda _: (_ for _ in ()).throw(ValueError()), raising=False)
    environment = read_environment()
    assert (None, None, os.cpu_count()) == (environment.processor, environment.memory_bytes, environment.cores)


def test_facts_of_a_model_are_its_attention_dtype_and_compiling() -> None:
    """What is not there is None."""
    forward = SimpleNamespace(_torchdynamo_orig_callable=print)
    config = SimpleNamespace(_attn_implementation="sdpa")
    model = SimpleNamespace(config=config, dtype="torch.bfloat16", forward=forward)
    facts = facts_of(model)
    assert ("sdpa", "bfloat16", "torch.compile", None, None) == (
        facts.attention,
        facts.dtype,
        facts.compile,
        facts.cache,
        facts.quantization,
    )
    assert facts_of(object()).dtype is None


def test_several_models_are_named_together() -> None:
    """A call with two kinds of attention says both, in order of their names."""
    models = [
        facts_of(SimpleNamespace(config=SimpleNamespace(_attn_implementation=name), dtype="torch.float32"))
        for name in ("sdpa", "eager", "sdpa")
    ]
    assert ("eager, sdpa", "float32") == (read_environment(models).attention, read_environment(models).dtype)


def test_threads_that_spin_on_every_core_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as cores with OpenMP's default waiting is a trap, PASSIVE its other side; a core less is none."""
    torch = SimpleNamespace(get_num_threads=lambda: 4, __version__="2.13.0")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(machine, "available_cores", lambda: 4)
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    (warning,) = read_environment().warnings
    assert "4 threads on 4 cores" in warning
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    (warning,) = read_environment().warnings
    assert "up to 1.9 times slower" in warning
    monkeypatch.delenv("OMP_WAIT_POLICY")
    torch.get_num_threads = lambda: 3
    assert () == read_environment().warnings


def test_an_active_tracer_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coverage and debuggers slow Python code down."""
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    assert any("tracer" in warning for warning in read_environment().warnings)
