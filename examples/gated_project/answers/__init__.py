"""Answers of a GPT-2 shape with random weights: the code whose speed the tests guard."""

import torch
import transformers

PROMPT = range(5, 69)


def load():
    """A model of 2 layers, 256 wide, on one thread; no download."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=2, n_embd=256, n_head=4, vocab_size=1000, bos_token_id=1, eos_token_id=None
    )
    return transformers.GPT2LMHeadModel(config).eval()


def answer(model, tokens=8):
    """Generate some tokens, greedily; (1, prompt and new tokens)."""
    prompt = torch.tensor([list(PROMPT)])
    mask = torch.ones_like(prompt)
    return model.generate(prompt, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
