"""Training step of lesson 13_gan's conditional DCGAN against the same networks in the plainest torch loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autograde.authoring.definitions import definitions
from autograde.course import Course

TITLE = "13_gan: conditional DCGAN, one step of both players, with the running average of G"
CH_G, CH_D, SIZE, BATCH, CLASSES, NOISE = 48, 32, 16, 32, 36, 64


class PlainG(nn.Module):
    """The generator's layers, in torch.nn alone."""

    def __init__(self) -> None:
        super().__init__()
        self.name = nn.Embedding(CLASSES, 32)
        self.first = nn.Linear(NOISE + 32, 2 * CH_G * 16, bias=False)
        self.body = nn.Sequential(
            nn.Unflatten(1, (2 * CH_G, 4, 4)),
            nn.BatchNorm2d(2 * CH_G), nn.ReLU(),
            nn.ConvTranspose2d(2 * CH_G, CH_G, 4, 2, 1, bias=False), nn.BatchNorm2d(CH_G), nn.ReLU(),
            nn.ConvTranspose2d(CH_G, CH_G // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(CH_G // 2), nn.ReLU(),
            nn.Conv2d(CH_G // 2, 1, 3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Noise and class to pictures."""
        return self.body(self.first(torch.cat([z, self.name(y)], 1)))


class PlainD(nn.Module):
    """The discriminator's layers, in torch.nn alone."""

    def __init__(self) -> None:
        super().__init__()
        self.name = nn.Embedding(CLASSES, SIZE**2)
        self.down = nn.Sequential(
            nn.Conv2d(2, CH_D, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(CH_D, 2 * CH_D, 4, 2, 1),
            nn.LeakyReLU(0.2),
        )
        self.mix = nn.Sequential(nn.Conv2d(2 * CH_D + 1, 2 * CH_D, 3, padding=1), nn.LeakyReLU(0.2))
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(2 * CH_D * 16, 1))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Pictures and classes to logits."""
        h = self.down(torch.cat([x, self.name(y).view(-1, 1, SIZE, SIZE)], 1))
        spread = (h.var(0, correction=0) + 1e-8).sqrt().mean().expand(len(h), 1, 4, 4)
        return self.last(self.mix(torch.cat([h, spread], 1)))


def plain_step(G: PlainG, D: PlainD, opts: list[Any], x: Any, y: Any, z: Any) -> Any:
    """The usual loop: the discriminator on real, on made, then the generator."""
    loss, ones, zeros = nn.BCEWithLogitsLoss(), torch.ones(len(x), 1), torch.zeros(len(x), 1)
    opts[1].zero_grad()
    loss_real = loss(D(x, y), ones)
    loss_real.backward()
    fake = G(z, y)
    loss_fake = loss(D(fake.detach(), y), zeros)
    loss_fake.backward()
    opts[1].step()
    opts[0].zero_grad()
    loss_G = loss(D(fake, y), ones)
    loss_G.backward()
    opts[0].step()
    return loss_G


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Our training step and the reference's, on the same batch."""
    torch.manual_seed(0)
    x, y, z = (
        torch.rand(BATCH, 1, SIZE, SIZE) * 2 - 1,
        torch.randint(CLASSES, (BATCH,)),
        torch.randn(BATCH, NOISE),
    )
    names = definitions(Course.at(Path(__file__).parents[2]), "13_gan", "quick")
    G, D, G_ema, opt_G, opt_D = names["make_gan"](CH_G, CH_D, SIZE)
    plain_G, plain_D = PlainG(), PlainD()
    plain_opts = [
        torch.optim.Adam(net.parameters(), lr, betas=(0.0, 0.99))
        for net, lr in ((plain_G, 4e-4), (plain_D, 2e-3))
    ]
    sizes = [sum(w.numel() for w in net.parameters()) for net in (G, D, plain_G, plain_D)]
    assert sizes[:2] == sizes[2:], sizes

    def ours() -> object:
        losses = names["gan_step"](G, D, opt_G, opt_D, x, y, z)
        names["average"](G_ema, G, 0.995)
        return losses

    return ours, lambda: plain_step(plain_G, plain_D, plain_opts, x, y, z)
