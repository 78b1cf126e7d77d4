"""Reading this machine and the models that ran into an Environment; what it does not report is None.

torch and transformers are asked only where the user's code has imported them.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from llm_latency.core.environment import Environment
from llm_latency.record.devices.peaks import known_peaks


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What of a model can change a number, without holding on to the model."""

    attention: str | None
    dtype: str | None
    quantization: str | None
    cache: str | None
    compile: str | None


def facts_of(model: Any) -> ModelFacts:
    """Read a model that was called."""
    attention = getattr(getattr(model, "config", None), "_attn_implementation", None)
    quantization = getattr(getattr(model, "config", None), "quantization_config", None)
    forward = getattr(model, "forward", None)
    is_compiled = hasattr(forward, "_torchdynamo_orig_callable") or type(model).__name__ == "OptimizedModule"
    return ModelFacts(
        attention=attention if isinstance(attention, str) else None,
        dtype=str(getattr(model, "dtype", "")).removeprefix("torch.") or None,
        quantization=None if quantization is None else type(quantization).__name__,
        cache=getattr(getattr(model, "generation_config", None), "cache_implementation", None),
        compile="torch.compile" if is_compiled else None,
    )


def read_environment(models: Iterable[ModelFacts] = (), *, device: Mapping[str, object] | None = None) -> Environment:
    """Read what can change a number, for the models that were called and the device they ran on."""
    listed = tuple(models)
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None and hasattr(torch, "get_num_threads") else None
    cores = available_cores()
    told = {"device": "cpu"} | dict(device or {})
    doubts: Any = told.pop("warnings", ())
    version = getattr(torch, "__version__", None) and str(torch.__version__)  # type: ignore[union-attr]  # as above
    dtype = _joined(facts.dtype for facts in listed)
    return Environment(
        **told,  # type: ignore[arg-type]  # devices name Environment's own fields
        processor=_processor(),
        cores=cores,
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.release()}",
        threads=threads,
        openmp=_openmp(),
        python=platform.python_version(),
        torch=version,
        transformers=getattr(sys.modules.get("transformers"), "__version__", None),
        attention=_joined(facts.attention for facts in listed),
        dtype=dtype,
        quantization=_joined(facts.quantization for facts in listed),
        cache=_joined(facts.cache for facts in listed),
        compile=_joined(facts.compile for facts in listed),
        peaks=known_peaks(device=str(told["device"]), dtype=dtype, threads=threads, torch=version),
        warnings=(*doubts, *_warnings(threads, cores)),
    )


def available_cores() -> int | None:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _joined(values: Iterable[str | None]) -> str | None:
    found = sorted({value for value in values if value})
    return ", ".join(found) or None


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return name or platform.machine() or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def memory_room() -> tuple[int | None, int | None]:
    """Bytes that this process uses of its models' memory and that are free there: a CUDA device's, else the host's.

    From /proc/self/status and /proc/meminfo (proc(5)), or torch.cuda's allocator and mem_get_info; None where unknown.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
        return int(torch.cuda.memory_reserved()), int(torch.cuda.mem_get_info()[0])
    return _kibibytes("/proc/self/status", "VmRSS:"), _kibibytes("/proc/meminfo", "MemAvailable:")


def _kibibytes(file: str, field: str) -> int | None:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), None)


def _openmp() -> str:
    """OpenMP's waiting and thread settings, which turn one busy neighbour into a 2.7-fold slowdown."""
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ) or "defaults"


def _warnings(threads: int | None, cores: int | None) -> tuple[str, ...]:
    found = []
    spins = os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE"
    if threads is not None and cores is not None and threads >= cores > 1 and spins:
        found.append(
            f"torch uses {threads} threads on {cores} cores and its threads spin while waiting: one busy neighbour"
            " slows it far more than its share. Leave a core free (torch.set_num_threads) or set"
            " OMP_WAIT_POLICY=PASSIVE before the start"
        )
    if not spins and threads is not None and threads > 1:
        found.append(
            "OMP_WAIT_POLICY=PASSIVE puts torch's threads to sleep between operators: busy neighbours do little harm,"
            " and small operators are up to 1.9 times slower than with spinning threads while the machine is quiet"
        )
    if sys.gettrace() is not None:
        found.append("a tracer (debugger or coverage) is active: Python code runs slower than without it")
    return tuple(found)
