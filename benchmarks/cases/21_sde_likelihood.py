"""Lesson 21_sde: bits of pictures by its RK45 and trace against torchdiffeq's dopri5 at equal tolerance."""

import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from torchdiffeq import odeint

TITLE = "21_sde: a likelihood by the ODE against torchdiffeq's dopri5, equal tolerance, the same network"
BATCH, TOLERANCE = 8, 1e-2


def pair() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (log p of pictures by the lesson, by torchdiffeq), with the same probes."""
    lesson = runpy.run_path(str(Path(__file__).with_name("21_sde.py")))["chapter"]()
    y = torch.arange(BATCH)
    x = lesson["dequantised"](lesson["levels_test"][:BATCH], torch.Generator().manual_seed(0))
    field = lesson["flow"](lesson["EVEN"], lesson["score_of"](lesson["net"], y))
    probes = torch.sign(torch.randn(1, *x.shape, generator=torch.Generator().manual_seed(1)))
    begin = torch.nn.functional.pad(x.flatten(1), (0, 1))

    def ours() -> object:
        return lesson["log_likelihood"](field, x, probes, tol=TOLERANCE)[0]

    def both(t: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        place = state[:, :-1].reshape(x.shape)
        b, div = lesson["value_and_trace"](lambda u: field(u, t.item()), place, probes)
        return torch.cat([b.flatten(1), div[:, None]], dim=1)

    def torchdiffeq() -> object:
        end = odeint(both, begin, torch.tensor([0.0, 1.0]), rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")[
            -1
        ]
        return torch.distributions.Normal(0.0, 1.0).log_prob(end[:, :-1]).sum(1) + end[:, -1]

    return ours, torchdiffeq
