"""The options of every command that loads a model, and the settings that they ask for."""

from __future__ import annotations

import argparse

from llm_latency.cli.parser import count
from llm_latency.workloads.target import Settings


def add_model(parser: argparse.ArgumentParser, about: str = "") -> None:
    """Add the group `the model`; `about` is what to know of it."""
    model = parser.add_argument_group("the model", about or None)
    model.add_argument("--prompt-tokens", type=count(1), metavar="N", help="tokens of each prompt (64)")
    model.add_argument("--new-tokens", type=count(1), metavar="N", help="tokens to generate in each row (32)")
    model.add_argument("--batch", type=count(1), metavar="N", help="rows (1)")
    model.add_argument("--dtype", metavar="NAME", help="float32, bfloat16 or float16")
    model.add_argument("--device", metavar="NAME", help="such as cpu or cuda:1 (the first accelerator, else cpu)")
    model.add_argument("--attention", metavar="NAME", help="attention implementation, such as eager or sdpa")
    model.add_argument("--threads", type=count(1), metavar="N", help="threads of torch; also for FILE.py:NAME")


def model_settings(given: argparse.Namespace) -> Settings:
    """What was asked of the model."""
    return Settings(
        prompt_tokens=given.prompt_tokens,
        new_tokens=given.new_tokens,
        batch=given.batch,
        dtype=given.dtype,
        device=given.device,
        attention=given.attention,
        threads=given.threads,
    )
