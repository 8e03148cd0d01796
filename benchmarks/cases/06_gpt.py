"""Lesson 06_gpt: a training step of its GPT against transformers' GPT2LMHeadModel of the same shape."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from steps import training_step
from transformers import GPT2Config, GPT2LMHeadModel

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "06_gpt: training step against transformers' GPT2LMHeadModel"
VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS, BATCH = 512, 64, 96, 3, 4, 16  # those of the setting quick


def chapter() -> dict[str, Any]:
    """Return the names of the chapter."""
    return definitions(Course.at(Path(__file__).parents[2]), "06_gpt")


def both() -> tuple[torch.nn.Module, torch.nn.Module, dict[str, Any]]:
    """Return our network, transformers' of the same shape, with its fused attention, and the chapter."""
    lesson = chapter()
    ours = lesson["Transformer"](VOCABULARY, CONTEXT, WIDTH, LAYERS, HEADS)
    drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    shape = {"n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    config = GPT2Config(
        vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=None, use_cache=False, **shape, **drop
    )
    config._attn_implementation = "sdpa"
    theirs = GPT2LMHeadModel(config)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    return ours, theirs, lesson


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's training step, transformers'), on the same tokens, both with AdamW."""
    ours, theirs, lesson = both()
    tokens = torch.randint(VOCABULARY, (BATCH, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].flatten()

    return (
        training_step(ours, lambda: lesson["next_token_loss"](ours, tokens)),
        training_step(theirs, lambda: torch.nn.functional.cross_entropy(theirs(x).logits.flatten(0, 1), y)),
    )
