"""Lesson 06_gpt: writing 32 tokens, without a cache, against transformers' generate on GPT2LMHeadModel."""

import runpy
from collections.abc import Callable
from pathlib import Path

import torch

TITLE = "06_gpt: 32 tokens drawn, no cache, against transformers' generate"
BATCH, PROMPT, NEW = 8, 16, 32


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's sampling, transformers'), from the same prompts; neither keeps keys and values."""
    ours, theirs, lesson = runpy.run_path(str(Path(__file__).with_name("06_gpt.py")))["both"]()
    ours.eval()
    theirs.eval()
    prompt = torch.randint(512, (BATCH, PROMPT), generator=torch.Generator().manual_seed(0))
    attend, generator = torch.ones_like(prompt), torch.Generator().manual_seed(0)

    def library() -> object:
        return theirs.generate(
            prompt,
            attention_mask=attend,
            max_new_tokens=NEW,
            do_sample=True,
            top_k=0,
            use_cache=False,
            pad_token_id=0,
        )

    assert library().shape == (BATCH, PROMPT + NEW)
    return lambda: lesson["write"](ours, prompt, NEW, generator), library
