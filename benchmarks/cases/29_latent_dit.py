"""Lesson 29_latent_dit: a training step of a DiT's blocks against diffusers' of the same shape."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention import JointTransformerBlock
from steps import training_step

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "29_latent_dit: training step of its joint blocks against diffusers' JointTransformerBlock"
WIDTH, LAYERS, HEADS, BATCH = 128, 3, 4, 64  # those of the setting quick


def chapter() -> dict[str, Any]:
    """Return the names of the chapter."""
    return definitions(Course.at(Path(__file__).parents[2]), "29_latent_dit")


class Ours(torch.nn.Module):
    """The lesson's blocks."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(block(WIDTH, HEADS, "joint") for _ in range(LAYERS))

    def forward(
        self, h: torch.Tensor, words: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture tokens, words and condition -> new picture tokens and words."""
        for block in self.blocks:
            h, words = block(h, words, c)
        return h, words


class Theirs(torch.nn.Module):
    """SD3's blocks as diffusers has them, with RMS norm of queries and keys."""

    def __init__(self) -> None:
        super().__init__()
        make = lambda: JointTransformerBlock(WIDTH, HEADS, WIDTH // HEADS, qk_norm="rms_norm")  # noqa: E731
        self.blocks = torch.nn.ModuleList(make() for _ in range(LAYERS))

    def forward(
        self, h: torch.Tensor, words: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As the lesson's."""
        for block in self.blocks:
            words, h = block(h, words, c)
        return h, words


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's training step, diffusers'), both with AdamW, on the same tokens."""
    ours, theirs = Ours(chapter()["Block"]), Theirs()
    g = torch.Generator().manual_seed(0)
    h, words = torch.randn(BATCH, 4, WIDTH, generator=g), torch.randn(BATCH, 5, WIDTH, generator=g)
    c = torch.randn(BATCH, WIDTH, generator=g)

    def loss_of(net: torch.nn.Module) -> torch.Tensor:
        new_h, new_words = net(h, words, c)
        return (new_h - 1).square().mean() + (new_words - 1).square().mean()

    return training_step(ours, lambda: loss_of(ours)), training_step(theirs, lambda: loss_of(theirs))
