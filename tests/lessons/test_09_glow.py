"""Lesson 09_glow: its layers are nflows', zuko's and torchdiffeq's, and keep their accounts."""

import math

import numpy as np
import pytest
import torch
from course_root import COURSE

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    """The names of the chapter."""
    return definitions(COURSE, "09_glow")


def roughened(net: torch.nn.Module, std: float = 0.1) -> torch.nn.Module:
    """The net with random weights, far from where it starts."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(std * torch.randn(parameter.shape, generator=g, dtype=parameter.dtype))
    return net.eval()


def draws(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_actnorm_is_nflows(lesson):
    norm = pytest.importorskip("nflows.transforms.normalization", reason="compared where nflows is installed")
    ours, theirs, x = lesson["ActNorm"](3).double(), norm.ActNorm(3).double(), 2 * draws(8, 3, 4, 5) + 1
    ours.start(x)
    theirs.train()
    z, log_det = ours(x)
    other, other_det = theirs(x)  # its start divides by one less than the number of places
    n = x.numel() / 3
    assert torch.allclose(z * math.sqrt((n - 1) / n), other, rtol=0, atol=1e-5)
    shift = 3 * 20 * 0.5 * math.log((n - 1) / n)
    assert torch.allclose(log_det + shift, other_det, rtol=0, atol=1e-5)


def test_mixing_is_nflows(lesson):
    conv = pytest.importorskip("nflows.transforms.conv", reason="compared where nflows is installed")
    torch.manual_seed(0)
    ours, theirs = roughened(lesson["Mixing"](4).double()), conv.OneByOneConvolution(4).double()
    with torch.no_grad():
        ours.P.copy_(torch.eye(4))
        ours.sign.fill_(1.0)
        theirs.permutation._permutation.copy_(torch.arange(4))
        theirs.bias.zero_()
        theirs.lower_entries.copy_(ours.lower[tuple(theirs.lower_indices)])
        theirs.upper_entries.copy_(ours.upper[tuple(theirs.upper_indices)])
        theirs.unconstrained_upper_diag.copy_(torch.log(torch.expm1(ours.log_d.exp() - theirs.eps)))
    x = draws(2, 4, 3, 3)
    for mine, other in zip(ours(x), theirs(x), strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-5)
    assert torch.allclose(ours.inverse(x), theirs.inverse(x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("back", [False, True])
def test_spline_is_nflows(lesson, back):
    splines = pytest.importorskip("nflows.transforms.splines", reason="compared where nflows is installed")
    w, h, d, x = draws(200, 6), draws(200, 6, seed=2), draws(200, 5, seed=3), 2 * draws(200, seed=4)
    mine = lesson["spline"](x, lesson["knots"](w, 3.0), lesson["knots"](h, 3.0), lesson["slopes"](d), back)
    start = math.log(math.expm1(1 - lesson["LEAST"]))  # 0 is a slope of 1
    other = splines.unconstrained_rational_quadratic_spline(
        x, w, h, d + start, inverse=back, tails="linear", tail_bound=3.0
    )
    for one, two in zip(mine, other, strict=True):
        assert torch.allclose(one, two, rtol=0, atol=1e-5)


@pytest.mark.parametrize("back", [False, True])
def test_spline_is_zukos(lesson, back):
    zuko = pytest.importorskip("zuko", reason="zuko is in the extra bench")
    w, h, d, x = draws(200, 6), draws(200, 6, seed=2), draws(200, 5, seed=3), 2 * draws(200, seed=4)
    knots = lesson["knots"](w, 3.0), lesson["knots"](h, 3.0), lesson["slopes"](d)
    theirs = zuko.transforms.MonotonicRQSTransform(w, h, d, bound=3.0)
    theirs.horizontal, theirs.vertical, theirs.derivatives = knots
    y, log_slope = lesson["spline"](x, *knots, back)
    other, other_slope = (theirs.inv if back else theirs).call_and_ladj(x)
    assert torch.allclose(y, other, rtol=0, atol=1e-9)
    assert torch.allclose(log_slope, other_slope, rtol=0, atol=1e-9)


def test_spline_far_out_and_on_its_knots(lesson):
    knots = lesson["knots"](draws(1, 5), 2.0), lesson["knots"](draws(1, 5, seed=2), 2.0)
    delta = lesson["slopes"](draws(1, 4, seed=3))
    y, log_slope = lesson["spline"](knots[0][0], *(t.expand(6, -1) for t in (*knots, delta)))
    assert torch.allclose(y, knots[1][0], atol=1e-12) and torch.allclose(log_slope, delta[0].log(), atol=1e-9)
    far = torch.tensor([-1e6, 1e6], dtype=torch.float64)
    y, log_slope = lesson["spline"](far, *(t.expand(2, -1) for t in (*knots, delta)))
    assert torch.equal(y, far) and not log_slope.any()


def test_continuous_flow_is_torchdiffeqs(lesson):
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq is in the extra bench")
    torch.manual_seed(1)
    v, x = roughened(lesson["Velocity"](16).double(), 0.3), draws(20, 2)
    probes = math.sqrt(2) * torch.eye(2, dtype=torch.float64)[:, None].expand(2, 20, 2)

    def by_torchdiffeq(f, state, start, end):
        times = torch.tensor([start, end], dtype=torch.float64)
        both = torchdiffeq.odeint(lambda t, s: f(s, t.item()), state, times, rtol=1e-10, atol=1e-10)
        return tuple(part[-1] for part in both)

    with torch.no_grad():
        theirs = lesson["continuous_log_p"](v, x, probes, by_torchdiffeq)
        fixed = lesson["continuous_log_p"](v, x, probes, lambda *a: lesson["rk4"](*a, 60))
        chosen = lesson["continuous_log_p"](v, x, probes, lambda *a: lesson["adaptive"](*a, 1e-8)[0])
    assert torch.allclose(fixed, theirs, rtol=0, atol=1e-5)
    assert torch.allclose(chosen, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("T", "d"), [(1, 3), (4, 1), (5, 3)])
def test_block_keeps_its_account(lesson, T, d, backwards):
    torch.manual_seed(2)
    block = roughened(lesson["Block"](T, d, 8, 2, 3, backwards), 0.3)
    x, c = draws(2, T, d).float(), torch.tensor([0, 3])
    z, log_det = block(x, c)
    J = torch.autograd.functional.jacobian(lambda v: block(v[None], c[:1])[0][0], x[0]).reshape(T * d, -1)
    assert log_det[0].item() == pytest.approx(torch.linalg.slogdet(J).logabsdet.item(), abs=1e-3)
    assert torch.allclose(block.inverse(z, c, lambda mu, alpha, share: (mu, alpha)), x, atol=1e-3)


def test_a_row_does_not_know_of_others(lesson):
    torch.manual_seed(3)
    tar = roughened(lesson["TarFlow"](4, 3, 8, 3, 1, 5))
    z, c = draws(3, 4, 3).float(), torch.tensor([0, 2, 5])
    for g in (0.0, 2.0):
        together = tar.draw(z, c, g)
        alone = torch.cat([tar.draw(z[i : i + 1], c[i : i + 1], g) for i in range(3)])
        assert torch.allclose(together, alone, atol=1e-4)


def test_denoising_a_normal_law_is_its_posterior_mean(lesson):
    y, sigma = draws(50, 3), 0.7
    var = torch.tensor([0.5, 2.0, 0.6], dtype=torch.float64)
    log_p = lambda y: -(y**2 / (2 * var)).sum(1)  # noqa: E731
    assert np.allclose(lesson["denoised"](log_p, y, sigma), (1 - sigma**2 / var) * y, atol=1e-12)


def test_full_runs_a_step():
    """The nets of the full setting take a step, of two pictures: more of them find no other fault."""
    full = definitions(COURSE, "09_glow", "full")
    S, g = full["S"], torch.Generator().manual_seed(0)
    x, c = full["x_train"][:2], full["c_train"][:2]
    tar = full["OfPictures"](16, 4, S.width, S.blocks, S.layers, 36)
    glow = full["Glow"](S.glow_depth, S.glow_width)
    glow.start(x + 0.1 * torch.randn(x.shape, generator=g), c)
    for net, optimizers in (
        (tar, full["optimizers_of"](tar)),
        (glow, [torch.optim.Adam(glow.parameters(), 1e-3)]),
    ):
        losses, _ = full["fit"](net, optimizers, lambda net: -net.log_prob(x, c).mean() / 256, 1, "one step")
        assert losses.isfinite().all()
