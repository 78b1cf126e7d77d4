"""Weights written in tiles: nothing is left as the memory was, and nothing is written twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_latency.errors import TargetError
from llm_latency.workloads.loaded import LoadedModel
from llm_latency.workloads.shapes import SHAPES, auto_class, build, configuration
from llm_latency.workloads.weights import random_model

torch = pytest.importorskip("torch", reason="models need it: pip install -e '.[all,dev]'")


def small(name: str) -> Any:
    """The config of a shape with two layers and a small vocabulary; heads, widths and rotations as they are."""
    config = configuration(name)
    config.vocab_size = 512
    config.num_hidden_layers = 2  # RWKV's initialization divides by one less
    if name == "t5-small":
        config.num_decoder_layers = 2
    return config


# Of architectures that a smaller shape has too, and with two layers still gigabytes.
HEAVY = {"gpt2-large", "gpt2-xl", "gpt3-175b", "llama-3.1-8b", "t5-base"}


@pytest.fixture(params=[name for name in SHAPES if name not in HEAVY], scope="module")
def pair(request: pytest.FixtureRequest) -> tuple[str, Any, Any]:
    """A shape's name, ours built upon memory full of garbage, and the same config built by transformers alone."""
    name: str = request.param
    auto = auto_class(SHAPES[name].kind)
    empty = torch.empty_like
    garbage = {True: float("nan"), False: 77}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch, "empty_like", lambda one, **where: empty(one, **where).fill_(garbage[one.is_floating_point()])
        )
        ours = random_model(auto, small(name), dtype=torch.float32, device=torch.device("cpu"), seed=0)
    return name, ours, auto.from_config(small(name)).eval()


def test_buffers_are_those_of_the_architecture(pair: tuple[str, Any, Any]) -> None:
    """Rotary frequencies and positions, which lie in no checkpoint and which `to_empty` leaves as garbage."""
    _, ours, whole = pair
    expected, actual = dict(whole.named_buffers()), dict(ours.named_buffers())
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


@pytest.mark.parametrize("name", ["llama-3.2-1b", "qwen2.5-0.5b"])
def test_rotary_frequencies_stay_float32_in_a_half_precision_model(name: str) -> None:
    """Rounded to bfloat16 they would turn by the wrong angle."""
    auto = auto_class("decoder")
    ours = random_model(auto, small(name), dtype=torch.bfloat16, device=torch.device("cpu"), seed=0)
    expected = dict(auto.from_config(small(name), dtype=torch.bfloat16).named_buffers())
    assert 2 == len(expected)
    assert all(
        torch.equal(expected[key], value) and value.dtype is torch.float32 for key, value in ours.named_buffers()
    )


def test_norms_biases_and_decays_are_those_of_the_architecture(pair: tuple[str, Any, Any]) -> None:
    """All that is no matrix, but for what transformers draws at random: the step sizes and kernels of Mamba."""
    _, ours, whole = pair
    expected = {
        key: value
        for key, value in whole.named_parameters()
        if (value.ndim != 2 or not key.endswith("weight")) and "dt_proj.bias" not in key and "conv1d.weight" not in key
    }
    actual = dict(ours.named_parameters())
    assert expected
    assert all(torch.equal(value, actual[key]) for key, value in expected.items())


def test_every_weight_is_written_and_tied_ones_stay_one(pair: tuple[str, Any, Any]) -> None:
    """Also where memory held NaN before; and the same tensors are shared as in transformers' own."""
    _, ours, whole = pair

    def shared(model: Any) -> dict[str, list[str]]:
        first: dict[int, list[str]] = {}
        for key, parameter in model.named_parameters(remove_duplicate=False):
            first.setdefault(id(parameter), []).append(key)
        return {keys[0]: keys for keys in first.values()}

    assert all(parameter.isfinite().all() for parameter in ours.parameters())
    assert shared(whole) == shared(ours)


def test_the_logits_of_few_layers_are_finite(pair: tuple[str, Any, Any]) -> None:
    """Of the shapes too heavy to build in a test as well."""
    name, ours, _ = pair
    ids = torch.tensor([[4, 5, 6, 7]])
    decoder = {"decoder_input_ids": ids} if name == "t5-small" else {}
    with torch.no_grad():
        output = ours(input_ids=ids, **decoder)
    assert output["logits" if "logits" in output else "last_hidden_state"].isfinite().all()


def test_weights_beyond_all_memory_are_refused_before_they_are_made() -> None:
    """Or the system would end this process, or another one."""
    with pytest.raises(TargetError, match=r"the weights need 6\d\d GiB and cpu has .* llm-latency predict"):
        build("gpt3-175b")


def test_the_step_sizes_of_mamba_lie_where_its_paper_puts_them() -> None:
    """softplus(bias) is between 0.001 and 0.1 (Mamba, section 3.6, and `time_step_min`, `time_step_max`)."""
    steps = torch.nn.functional.softplus(build("mamba-130m").model.backbone.layers[0].mixer.dt_proj.bias)
    assert bool(((steps > 0.00099) & (steps < 0.101)).all())


def test_no_two_rows_of_an_embedding_are_alike() -> None:
    """The tile's length is a prime, so that no row begins where another one did."""
    table = build("gpt2").model.transformer.wte.weight.detach()
    assert 50257 == torch.unique(table[:, :4], dim=0).shape[0]
    # 38.6 million normal numbers out of a tile of 1.05 million: the deviation is 0.02 to within 0.5 %.
    assert 0.02 == pytest.approx(float(table.std()), rel=0.005)


def test_building_leaves_the_users_random_numbers_alone() -> None:
    """Whoever seeded torch before gets the numbers that the seed promises."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build("mamba-130m", seed=9)
    assert torch.equal(expected, torch.rand(3))


def test_a_weight_can_be_trained_as_one_from_a_checkpoint(tiny: LoadedModel) -> None:
    """As `from_pretrained` leaves it."""
    assert all(parameter.requires_grad for parameter in tiny.model.parameters())


MEMORY = """
import torch, transformers

torch.set_num_threads(1)
from llm_latency.workloads.shapes import build

def kib(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key))

build("gpt2-tiny")  # what transformers imports on first use is no weight
before = kib("VmRSS:")
model = build("qwen2.5-0.5b", dtype="bfloat16").model
print(kib("VmHWM:") - before, sum(one.numel() * one.element_size() for one in model.parameters()) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_half_a_billion_parameters_take_hardly_more_memory_than_their_weights() -> None:
    """The peak while building is at most 1.3 times the weights, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    peak, weights = map(int, run.stdout.split())
    assert 964_907 == weights  # 494,032,768 parameters of 2 bytes in KiB
    assert peak <= 1.3 * weights
