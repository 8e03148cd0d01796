"""Lesson 25_vqvae: a quantisation step of its code book against vector-quantize-pytorch's VectorQuantize."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from vector_quantize_pytorch import VectorQuantize

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "25_vqvae: a quantisation step against vector-quantize-pytorch"
BATCH, PLACES, CODES, WIDTH = 48, 16, 64, 8  # those of the setting quick


def chapter() -> dict[str, Any]:
    """Return the names of the chapter."""
    return definitions(Course.at(Path(__file__).parents[2]), "25_vqvae")


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's step, the library's): the same codes, vectors, moving averages and revival."""
    lesson = chapter()
    ours = lesson["Codebook"](CODES, WIDTH, decay=0.97, floor=0.1, start=False)
    least = 0.1 * BATCH * PLACES / CODES  # revived below this count, as ours are
    theirs = VectorQuantize(WIDTH, CODES, decay=0.97, threshold_ema_dead_code=least, rotation_trick=False)
    theirs.codebook = ours.codes.clone()
    theirs._codebook.embed_avg.copy_(ours.m[None])
    z = torch.randn(BATCH, PLACES, WIDTH, generator=torch.Generator().manual_seed(0))
    pull = torch.randn(BATCH, PLACES, WIDTH, generator=torch.Generator().manual_seed(1))

    def step(forward: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> Any:
        def once() -> torch.Tensor | None:
            vectors = z.clone().requires_grad_()
            q, _, commitment = forward(vectors)
            ((q * pull).mean() + 0.25 * commitment).backward()
            return vectors.grad

        return once

    def ours_forward(vectors: torch.Tensor) -> Any:
        q, k, commitment = ours(vectors.flatten(0, 1))
        return q.unflatten(0, (BATCH, PLACES)), k, commitment

    return step(ours_forward), step(theirs)
