"""Lesson 24_one_step: a MeanFlow step by forward mode against the plainest way, autograd twice."""

from collections.abc import Callable
from pathlib import Path

import torch
from steps import training_step

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "24_one_step: MeanFlow step, jvp against autograd twice"
WIDTH, BATCH, CLASSES = 256, 128, 10  # those of the setting quick


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (the lesson's loss and update, the same with the slope by two reverse passes)."""
    lesson = definitions(Course.at(Path(__file__).parents[2]), "24_one_step")
    torch.manual_seed(0)
    net, theirs = (lesson["FlowMap"](64, CLASSES, WIDTH) for _ in range(2))
    theirs.load_state_dict(net.state_dict())
    generator = torch.Generator().manual_seed(0)
    x, u = torch.randn(2, BATCH, 64, generator=generator)
    s, t = torch.rand(2, BATCH, generator=generator).sort(dim=0).values
    c = torch.eye(CLASSES)[torch.arange(BATCH) % CLASSES]

    def ours_loss() -> torch.Tensor:
        U, target = lesson["meanflow"](net, x, t, s, u, c)
        return torch.nn.functional.mse_loss(U, target)

    def twice_loss() -> torch.Tensor:
        """The slope along (u, 1, 0) as the derivative, by a probe, of a product with that probe."""
        x_in, t_in = x.clone().requires_grad_(True), t.clone().requires_grad_(True)
        U = theirs(x_in, t_in, s, c)
        probe = torch.zeros_like(U, requires_grad=True)
        back = torch.autograd.grad(U, (x_in, t_in), probe, create_graph=True)
        along = (back[0] * u).sum() + back[1].sum()
        slope = torch.autograd.grad(along, probe, retain_graph=True)[0]
        target = (u - (t - s)[:, None] * slope).detach()
        return torch.nn.functional.mse_loss(U, target)

    assert torch.allclose(ours_loss(), twice_loss(), rtol=1e-4)
    return training_step(net, ours_loss), training_step(theirs, twice_loss)
