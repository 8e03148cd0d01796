"""The training step of lesson 10_vae beside the same network in the plainest torch.nn."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autograde.authoring.definitions import definitions
from autograde.course import Course
from genmap import data

TITLE = "10_vae: conditional VAE on 16x16 glyphs, batch 64"
WIDTH, LATENT, BATCH, CLASSES, RATE = 32, 16, 64, 36, 4e-3


class Reference(nn.Module):
    """The same layers, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(CLASSES, 64)
        self.conv1 = nn.Conv2d(1, WIDTH, 4, 2, 1)
        self.conv2 = nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1)
        self.hidden = nn.Linear(32 * WIDTH + 64, 128)
        self.mu = nn.Linear(128, LATENT)
        self.log_var = nn.Linear(128, LATENT)
        self.wide1 = nn.Linear(LATENT + 64, 256)
        self.wide2 = nn.Linear(256, 32 * WIDTH)
        self.up1 = nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1)
        self.up2 = nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 1, 16, 16), (N,) -> logits, mu, log_var."""
        label = self.label(c)
        h = F.silu(self.conv2(F.silu(self.conv1(x)))).flatten(1)
        h = F.silu(self.hidden(torch.cat([h, label], dim=1)))
        mu, log_var = self.mu(h), self.log_var(h)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        h = F.silu(self.wide2(F.silu(self.wide1(torch.cat([z, label], dim=1)))))
        return self.up2(F.silu(self.up1(h.view(-1, 2 * WIDTH, 4, 4)))), mu, log_var


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Our training step and the reference's, on the same batch and device."""
    names = definitions(Course.at(Path(__file__).parents[2]), "10_vae")
    device, train = names["device"], data.glyphs(16).train
    x, c = (torch.as_tensor(values[:BATCH], device=device) for values in (train.x, train.y))
    net = names["ConditionalVAE"](WIDTH, LATENT).to(device)
    optimiser, g = names["adam"](net, RATE), torch.Generator().manual_seed(0)
    reference = Reference().to(device)
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in reference.parameters())
    plain = torch.optim.AdamW(reference.parameters(), lr=RATE)

    def ours() -> object:
        return names["training_step"](net, optimiser, x, c, names["noise"](BATCH, LATENT, generator=g))

    def theirs() -> object:
        logits, mu, log_var = reference(x, c)
        cost = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / BATCH
        loss = cost - 0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp()) / BATCH
        plain.zero_grad()
        loss.backward()
        plain.step()
        return loss.detach()

    return ours, theirs
