"""Lesson 21_sde: ten steps of the reverse SDE around its network against diffusers' ScoreSdeVpScheduler."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.deprecated.scheduling_sde_vp import ScoreSdeVpScheduler

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "21_sde: ten steps of the reverse VP SDE against diffusers' ScoreSdeVpScheduler, the same network"
CHANNELS, BATCH, STEPS = 32, 8, 10  # channels of the setting quick; few pictures, so that overhead shows


def chapter() -> dict[str, Any]:
    """Return the names of the chapter, with a network of the size of quick that says something."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "21_sde")
    torch.manual_seed(0)
    lesson["net"] = lesson["UNet"](CHANNELS, 36).eval().requires_grad_(False)
    torch.nn.init.normal_(lesson["net"].leave.weight, std=0.01)
    return lesson


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (our loop from noise, theirs), with VP's betas from 0.1 to 20 in both."""
    lesson = chapter()
    y, net, VP = torch.arange(BATCH), lesson["net"], lesson["VP"]
    noise, ts = lesson["noise_like"](y, 0), lesson["time_grid"](1, 1e-3, STEPS)

    def score(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return net(x, t.to(x.dtype).expand(len(x)), y)

    drift, g = lesson["reverse"](VP, score)

    def ours() -> object:
        return lesson["euler_maruyama"](drift, g, noise, ts, torch.Generator().manual_seed(0))

    scheduler = ScoreSdeVpScheduler(num_train_timesteps=STEPS)

    @torch.no_grad()
    def diffusers_loop() -> object:
        scheduler.set_timesteps(STEPS)
        x, generator = noise, torch.Generator().manual_seed(0)
        for t in scheduler.timesteps:
            said = net(x, t.expand(len(x)), y)
            x, _ = scheduler.step_pred(said, x, t, generator)
        return x

    return ours, diffusers_loop
