"""Lesson 23_flow_matching: a training step against one of diffusers' UNet2DModel of the same shape."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "23_flow_matching: training step against diffusers' UNet2DModel"
CHANNELS, BATCH, CLASSES = 24, 48, 36  # those of the setting quick


def chapter() -> dict[str, Any]:
    """Return the names of the chapter."""
    return definitions(Course.at(Path(__file__).parents[2]), "23_flow_matching")


class Peer(torch.nn.Module):
    """diffusers' network with the layers of the lesson's, called like the lesson's."""

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet2DModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(CHANNELS, 2 * CHANNELS),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            num_class_embeds=CLASSES + 1,
            add_attention=False,
            norm_num_groups=8,
            resnet_time_scale_shift="scale_shift",
        )

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """As the lesson's network: pixels folded on the way in, and back on the way out."""
        folded = torch.nn.functional.pixel_unshuffle(x_t, 2)
        return torch.nn.functional.pixel_shuffle(self.net(folded, 1_000 * t, class_labels=y).sample, 2)


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's training step, the same with diffusers' network): loss, update and average."""
    lesson, theirs = chapter(), Peer()
    net = lesson["UNet"](CHANNELS)
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in theirs.parameters())
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, BATCH, 1, 16, 16, generator=generator)
    t, y = torch.rand(BATCH, generator=generator), torch.randint(CLASSES, (BATCH,), generator=generator)

    def step(model: torch.nn.Module) -> Callable[[], object]:
        ema = copy.deepcopy(model).requires_grad_(False)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
        return lambda: lesson["train_step"](model, ema, optimizer, (x_0, eps, t, y), 0.99)

    return step(net), step(theirs)
