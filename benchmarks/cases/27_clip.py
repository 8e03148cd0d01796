"""Lesson 27_clip: logits, contrastive loss and gradient against open_clip's, or else transformers' CLIP's."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from steps import training_step
from torch.nn import functional as F

from autograde.authoring.definitions import definitions
from autograde.course import Course

BATCH, WIDTH = 256, 64  # those of the setting quick
FOUND = importlib.util.find_spec("open_clip")  # looked for and not imported: all of it needs torchvision
PEER = "open_clip's" if FOUND else "transformers' CLIP's"
TITLE = f"27_clip: training step with its loss against {PEER}"


def chapter() -> dict[str, Any]:
    """Return the names of the chapter."""
    return definitions(Course.at(Path(__file__).parents[2]), "27_clip")


def peer() -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the library's loss of directions (N, D), (N, D) and a scale."""
    if FOUND is None or not FOUND.submodule_search_locations:
        from transformers.models.clip.modeling_clip import image_text_contrastive_loss

        return lambda a, b, scale: image_text_contrastive_loss(scale * b @ a.T)
    path = Path(FOUND.submodule_search_locations[0]) / "loss.py"  # a module that needs torch alone
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ClipLoss()


class Towers(torch.nn.Module):
    """Vectors of one batch in the place of towers, and the logit scale: what is timed is all that follows."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.a, self.b = (torch.nn.Parameter(torch.randn(BATCH, WIDTH, generator=g)) for _ in range(2))
        self.log_scale = torch.nn.Parameter(torch.tensor(2.6592))


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's step, the library's), both with AdamW, on the same vectors."""
    lesson, theirs = chapter(), peer()
    logits, loss = lesson["clip_logits"], lesson["symmetric_loss"]
    ours, other = Towers(), Towers()
    return (
        training_step(ours, lambda: loss(logits(ours.a, ours.b, ours.log_scale))),
        training_step(
            other,  # as in open_clip's CLIP.forward, from the towers' vectors on
            lambda: theirs(F.normalize(other.a, dim=-1), F.normalize(other.b, dim=-1), other.log_scale.exp()),
        ),
    )
