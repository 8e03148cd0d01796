"""A training step, as the cases of training.py time it: one optimiser for both sides."""

from collections.abc import Callable

import torch


def training_step(net: torch.nn.Module, loss_of: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """Return a function that makes one step of AdamW on loss_of() and returns the loss, without its graph."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def run() -> torch.Tensor:
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run
