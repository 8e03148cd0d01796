"""Lesson 26_tokens_to_images: a training step of its prior against transformers' GPT-2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from steps import training_step
from transformers import GPT2Config, GPT2Model

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "26_tokens_to_images: prior's training step against transformers' GPT-2"
K, N, WIDTH, LAYERS, HEADS, BATCH = 256, 16, 128, 3, 4, 48  # those of the setting quick


def chapter() -> dict[str, Any]:
    """Return the names of the chapter."""
    return definitions(Course.at(Path(__file__).parents[2]), "26_tokens_to_images")


def peer() -> torch.nn.Module:
    """Return GPT-2's blocks of the same shape, without dropout; they have biases, ours have none."""
    config = GPT2Config(
        vocab_size=1, n_positions=N, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, use_cache=False,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="sdpa",
        activation_function="gelu_pytorch_tanh",
    )  # fmt: skip
    return GPT2Model(config)


class Theirs(torch.nn.Module):
    """The lesson's embeddings and head around GPT-2's blocks, which take the sum of embeddings."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.code, self.word, self.caption, self.leave = ours.code, ours.word, ours.caption, ours.leave
        self.body = peer()

    def forward(self, codes: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """As the lesson's: codes (B, T), words (B, 5) -> (B, T, K)."""
        h = self.code(codes) + self.caption(self.word(words).sum(1))[:, None]
        return self.leave(self.body(inputs_embeds=h).last_hidden_state)


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's training step, GPT-2's), both with AdamW, on the same codes and captions."""
    lesson = chapter()
    make, loss = lesson["CodeTransformer"], lesson["raster_loss"]
    net, theirs = (make(K, N, WIDTH, LAYERS, HEADS) for _ in range(2))
    other = Theirs(theirs)
    other.K = K
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(K, (BATCH, N), generator=generator)
    words = torch.randint(1, 44, (BATCH, 5), generator=generator)

    return (
        training_step(net, lambda: loss(net, codes, words)),
        training_step(other, lambda: loss(other, codes, words)),
    )
