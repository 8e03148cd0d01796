"""Lesson 19_ddpm: a training step of its U-Net against one of diffusers' UNet2DModel of the same shape."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from steps import training_step

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "19_ddpm: U-Net training step against diffusers' UNet2DModel"
CHANNELS, BATCH, CLASSES = 32, 32, 36  # those of the setting quick


def chapter() -> dict[str, Any]:
    """Return the names of the chapter."""
    return definitions(Course.at(Path(__file__).parents[2]), "19_ddpm")


def peer(channels: int = CHANNELS) -> torch.nn.Module:
    """Return diffusers' network with the layers of the lesson's, on pictures that are unshuffled already."""
    return UNet2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(channels, 2 * channels),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=CLASSES + 1,
        add_attention=False,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
    )


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's training step, diffusers'), on the same pictures, times and noise."""
    lesson = chapter()
    net, theirs = lesson["UNet"](CHANNELS), peer()
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in theirs.parameters())
    generator = torch.Generator().manual_seed(0)
    x_t, v = torch.randn(2, BATCH, 1, 16, 16, generator=generator)
    t, y = torch.rand(BATCH, generator=generator), torch.randint(CLASSES, (BATCH,), generator=generator)
    folded = [torch.nn.functional.pixel_unshuffle(x, 2) for x in (x_t, v)]

    mse = torch.nn.functional.mse_loss
    return (
        training_step(net, lambda: mse(net(x_t, t, y), v)),
        training_step(theirs, lambda: mse(theirs(folded[0], 1000 * t, class_labels=y).sample, folded[1])),
    )
