"""Number type, device and attention by name, checked against this torch; not the models that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_latency.errors import DeviceError, TargetError, UsageError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
_DEVICES = ("cpu", "cuda", "mps", "xpu")


def require_torch() -> None:
    """Raise TargetError with what to install when torch or transformers is missing."""
    try:
        import torch  # noqa: F401 - only whether it is there
        import transformers  # noqa: F401 - the same
    except ImportError as error:
        raise TargetError(
            f"a model was asked for and {error.name or error} cannot be imported; models need torch and transformers:"
            " pip install '.[torch]' in the clone of llm-latency"
        ) from error


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype called `name`; raises UsageError for a name outside of DTYPES."""
    import torch

    if name not in DTYPES:
        raise UsageError(f"there is no dtype {name!r}; known: {', '.join(DTYPES)}, and auto for weights on disk")
    found: torch.dtype = getattr(torch, name)
    return found


def device_of(name: str) -> torch.device:
    """The torch device called `name`, such as cpu or cuda:1; raises DeviceError when it is not here."""
    import torch

    here = devices_here()
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(f"there is no device {name!r}; here: {', '.join(here)}") from error
    indexed = f"{device.type}:{device.index or 0}"
    if device.type != "cpu" and indexed not in here:
        raise DeviceError(
            f"the device {name!r} was asked for and this machine's torch {torch.__version__} does not see it;"
            f" here: {', '.join(here)}. Choose one of these, or install a torch built for the device"
        )
    return device


def devices_here() -> tuple[str, ...]:
    """Names of the devices that this torch can run on; cpu first."""
    import torch

    found = ["cpu"]
    for kind in _DEVICES[1:]:
        module = getattr(torch, kind, None)
        if module is not None and module.is_available():
            found += [f"{kind}:{index}" for index in range(module.device_count())]
    return tuple(found)


def default_device() -> str:
    """Where a model runs when nothing else is asked for: the first accelerator that this torch sees, else the CPU."""
    here = devices_here()
    return here[1] if len(here) > 1 else here[0]


def check_attention(name: str | None) -> None:
    """Raise UsageError unless transformers knows an attention implementation of that name; None is its own choice."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = sorted({"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()})
    if name is not None and name not in known:
        raise UsageError(f"there is no attention implementation {name!r}; known: {', '.join(known)}")
