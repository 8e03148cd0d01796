"""Lesson 08_realnvp: its flows agree with zuko's and with the laws of densities; full runs a step."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from course_root import COURSE
from scipy import integrate, stats

from autograde.authoring.definitions import definitions
from genmap import metrics


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    """The names of the chapter."""
    return definitions(COURSE, "08_realnvp")


def roughened(flow: torch.nn.Module, std: float = 0.2) -> torch.nn.Module:
    """The flow with random weights, far from the identity with which it starts; in float64."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(std * torch.randn(parameter.shape, generator=g))
    return flow.double().eval()


def masks_of(lesson, dims: int, layers: int) -> list[torch.Tensor]:
    size = math.isqrt(dims)
    return lesson["picture_masks"](size, layers) if size**2 == dims else lesson["swapped"](layers, dims)


@pytest.mark.parametrize(("dims", "classes", "width", "N"), [(2, 0, 16, 50), (5, 3, 16, 1), (64, 10, 32, 7)])
def test_log_probabilities_are_zukos(lesson, dims, classes, width, N):
    zuko = pytest.importorskip("zuko", reason="zuko is in the extra bench")
    bounded = partial(
        zuko.transforms.MonotonicAffineTransform, slope=math.exp(-lesson["LIMIT"])
    )  # the same soft limit of s
    masks = masks_of(lesson, dims, 6)
    ours = roughened(lesson["Flow"](lesson["couplings"](masks, width, classes, 0.1), dims))
    coupling = partial(zuko.flows.coupling.GeneralCouplingTransform, dims, classes, univariate=bounded)
    layers = [coupling(mask=mask, hidden_features=(width, width)) for mask in masks]
    normal = partial(zuko.distributions.DiagNormal, torch.zeros(dims), torch.ones(dims))
    theirs = zuko.flows.Flow(layers, zuko.flows.UnconditionalDistribution(normal)).double()
    for mine, other in zip(ours.layers, layers, strict=True):
        for p, q in zip(mine.parameters(), other.parameters(), strict=True):
            q.data.copy_(p.data)
    x = torch.randn(N, dims, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    c = torch.eye(classes, dtype=torch.float64)[torch.arange(N) % classes] if classes else None
    distribution = theirs(c)
    assert torch.allclose(ours.log_prob(x, c), distribution.log_prob(x), rtol=0, atol=1e-5)
    assert torch.allclose(ours.inverse(x, c), distribution.transform.inv(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3, 16])
def test_round_trip_and_jacobian(lesson, dims):
    flow = roughened(lesson["Flow"](lesson["couplings"](masks_of(lesson, dims, 7), 24), dims))
    x = torch.randn(3, dims, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    z, log_det = flow(x)
    assert torch.allclose(flow.inverse(z), x, atol=1e-9)
    truth = torch.stack([lesson["log_det_by_autograd"](lambda v: flow(v)[0], row) for row in x])
    assert torch.allclose(log_det, truth, atol=1e-8)


def test_the_density_of_the_plane_adds_up_to_one(lesson):
    flow = lesson["plane_flow"]()
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([0.4, 1.2]) + 0.5
    lesson["train_plane"](flow, x, 30)
    assert lesson["grid_integral"](flow.log_prob)[0] == pytest.approx(1, abs=0.01)
    missed = lesson["grid_integral"](lambda v: lesson["claimed_log_prob"](flow, v, tuple(range(8))))[0]
    assert abs(missed - 1) > 0.05


def test_the_line_is_johnsons_law(lesson):
    x = torch.linspace(-300, 300, 101, dtype=torch.float64)
    assert np.allclose(lesson["log_p_line"](x), stats.johnsonsu(0, 1).logpdf(x), atol=1e-9)


@pytest.mark.parametrize("how", ["DIGITS", "GLYPHS"])
def test_logit_keeps_the_account_and_the_levels(lesson, how):
    how, g = lesson[how], torch.Generator().manual_seed(4)
    k = torch.arange(how.levels, dtype=torch.float64)[:, None]
    y = lesson["dequantise"](k, g, how)
    x, log_det = lesson["logit"](y, how)
    assert torch.equal(lesson["to_levels"](x, how), k)
    slope = torch.stack(
        [lesson["log_det_by_autograd"](lambda v: lesson["logit"](v, how)[0], row) for row in y]
    )
    assert torch.allclose(log_det, slope, atol=1e-9)
    ends = lesson["logit"](torch.tensor([[0.0, 1.0]], dtype=torch.float64), how)[0]
    assert ends.isfinite().all()


def test_the_density_of_grey_adds_up_to_one(lesson):
    """One pixel with a normal density of its logit: the account of the logit makes it a density of y."""

    class Alone:
        def log_prob(self, x, c=None):
            return stats_normal(x).sum(dim=1)

    stats_normal = torch.distributions.Normal(0.3, 0.8).log_prob

    def p(y):
        return lesson["log_density"](Alone(), torch.tensor([[y]], dtype=torch.float64)).exp().item()

    low, high = (
        stats.norm(0.3, 0.8).cdf(lesson["logit"](torch.tensor([[end]]).double())[0].item())
        for end in (0.0, 1.0)
    )
    assert integrate.quad(p, 0, 1)[0] == pytest.approx(high - low, abs=1e-6)  # what the inset leaves out


def test_bits_of_a_uniform_density_are_those_of_the_levels(lesson):
    assert lesson["bits"](0.0) == pytest.approx(math.log2(17))
    assert lesson["bits"](0.0, 256, 256) == pytest.approx(8)
    assert lesson["bits"](64.0) == metrics.bits_per_dim(64.0, 64, 17)


def test_squeeze_and_masks(lesson):
    x = torch.arange(36).reshape(1, 1, 6, 6)
    assert lesson["squeeze"](x)[0, :, 1, 2].tolist() == x[0, 0, 2:4, 4:6].flatten().tolist()
    assert torch.equal(lesson["squeeze"](x), torch.nn.functional.pixel_unshuffle(x, 2))
    board, channels = lesson["checkerboard_mask"](8).reshape(8, 8), lesson["channel_mask"](8).reshape(8, 8)
    assert (board[1:] != board[:-1]).all() and (board[:, 1:] != board[:, :-1]).all()
    assert torch.equal(channels, (torch.arange(8) % 2 == 0)[:, None].expand(8, 8))


def test_learned_noise_has_the_density_that_it_claims(lesson):
    noise = roughened(lesson["Noise"](2, 8), 0.5)
    k = torch.tensor([[3.0, 16.0]]).double().expand(100_000, -1)
    g = torch.Generator().manual_seed(5)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", partial(torch.randn, dtype=torch.float64))
        u, log_q = noise(k, g)
    assert ((u > 0) & (u < 1)).all()
    # E[1 / q] over a set is its volume
    inside = ((u > 0.2) & (u < 0.8)).all(dim=1)
    assert ((-log_q).exp() * inside).mean().item() == pytest.approx(0.36, abs=0.02)


@pytest.mark.parametrize(("part", "size"), [("digits", 8), ("glyphs", 16)])
def test_full_runs_a_step(part, size):
    """The flow of the full setting takes a step, of four pictures: more of them find no other fault."""
    full = definitions(COURSE, "08_realnvp", "full")
    settings, how = getattr(full["S"], part), full["DIGITS" if part == "digits" else "GLYPHS"]
    flow = full["picture_flow"](size, 10, settings)
    before = [p.detach().clone() for p in flow.parameters()]
    g, N = torch.Generator().manual_seed(0), 4
    k = torch.randint(how.levels, (N, size**2), generator=g).float().to(full["device"])
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-3)
    loss = full["training_step"](flow, optimizer, k, full["one_hot"](torch.arange(N) % 10), g, how=how)
    assert loss.isfinite()
    assert any((p != q).any() for p, q in zip(flow.parameters(), before, strict=True))
