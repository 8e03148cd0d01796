"""Lesson 18_score: scores against torch.distributions, losses against torch.func, walks against diffusers."""

import math

import pytest
import torch
from course_root import COURSE

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "18_score")


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers is in the extra bench")


def points(n=40, D=2, seed=0, spread=2.0):
    return spread * torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 5.0])
def test_mixture_score_is_the_slope_of_torchs_mixture(lesson, sigma):
    means, widths, shares = lesson["three"]
    spread = (widths**2 + sigma**2).sqrt()
    parts = torch.distributions.MultivariateNormal(means, spread[:, None, None] ** 2 * torch.eye(2).double())
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(shares), parts)
    x = points().requires_grad_()
    slope = torch.autograd.grad(mixture.log_prob(x).sum(), x)[0]
    assert (lesson["mixture_score"](x.detach(), sigma, lesson["three"]) - slope).abs().max() <= 1e-8


def test_tweedie_is_lesson_20s_denoiser(lesson):
    """x + sigma^2 times the score is the closed form of another lesson."""
    denoise = definitions(COURSE, "20_samplers")["three_clouds"]
    for sigma in (0.05, 0.7, 12.0):
        x = points(spread=2 + sigma)
        ours = x + sigma**2 * lesson["mixture_score"](x, sigma, lesson["three"])
        assert (ours - denoise(x, torch.tensor(sigma, dtype=torch.float64))).abs().max() <= 1e-9 * (
            1 + sigma**2
        )


def small(D, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(D, 16), torch.nn.Tanh(), torch.nn.Linear(16, D)).double()


@pytest.mark.parametrize("D", [1, 2, 7])
def test_exact_loss_is_torch_func(lesson, D):
    """The trace by jacrev, row by row; and the same gradients."""
    net, x = small(D), points(9, D)
    jacobian = torch.func.vmap(torch.func.jacrev(net))(x)
    trace = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    theirs = (net(x).square().sum(1) / 2 + trace).mean()
    ours = lesson["exact_loss"](net, x)
    assert torch.allclose(ours, theirs, rtol=1e-10)
    for a, b in zip(*(torch.autograd.grad(v, net.parameters()) for v in (ours, theirs)), strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_sliced_loss_has_the_exact_mean(lesson):
    """Over all 2^4 probes of signs the mean is exact."""
    net, x = small(4), points(5, 4)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 4)
    mean = torch.stack([lesson["sliced_loss"](net, x, v.expand(5, 4)) for v in signs]).mean()
    assert torch.allclose(mean, lesson["exact_loss"](net, x), rtol=1e-10)


def test_three_losses_have_one_minimum(lesson):
    """Of scores -a (x - m) of a normal cloud: all three are least at the right a."""
    g = torch.Generator().manual_seed(3)
    eps, v = (torch.randn(20_000, 2, generator=g, dtype=torch.float64) for _ in range(2))
    x, sigma = 1 + 0.5 * torch.randn(20_000, 2, generator=g, dtype=torch.float64), 0.3
    slopes = torch.linspace(0.5, 6, 111, dtype=torch.float64)
    score = lambda a: lambda x: -a * (x - 1)  # noqa: E731
    least = lambda loss: slopes[torch.stack([loss(score(a)) for a in slopes]).argmin()].item()  # noqa: E731
    assert least(lambda s: lesson["exact_loss"](s, x)) == pytest.approx(4, abs=0.15)
    assert least(lambda s: lesson["sliced_loss"](s, x, v)) == pytest.approx(4, abs=0.3)
    blurred = 1 / (0.25 + sigma**2)
    assert least(lambda s: lesson["denoising_loss"](s, x, sigma, eps)) == pytest.approx(blurred, abs=0.2)


def test_a_step_is_the_corrector_of_diffusers(lesson, diffusers):
    """ScoreSdeVeScheduler.step_correct chooses the step by norms; with that step ours is the same."""
    scheduler = diffusers.ScoreSdeVeScheduler(snr=0.15)
    scheduler.set_timesteps(4)
    x, score = points(6, 3).float(), lambda x: -x / 4
    theirs = scheduler.step_correct(score(x), x, generator=torch.Generator().manual_seed(4)).prev_sample
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    h = 2 * (0.15 * z.norm(dim=1).mean() / score(x).norm(dim=1).mean()).item() ** 2
    ours = lesson["langevin"](score, x, h, 1, torch.Generator().manual_seed(4))
    assert (ours - theirs).abs().max() <= 1e-6
    alone = scheduler.step_correct(
        score(x[:1]), x[:1], generator=torch.Generator().manual_seed(5)
    ).prev_sample
    z = torch.randn(1, 1, 3, generator=torch.Generator().manual_seed(5))
    level = torch.ones(1, dtype=torch.float64)
    swept = lesson["repaired_sweep"](lambda x, sigma: score(x), x[:1], level, 0.15, z)
    assert (swept - score(alone) - alone).abs().max() <= 1e-6


def test_the_ladder_is_that_of_diffusers(lesson, diffusers):
    scheduler = diffusers.ScoreSdeVeScheduler(sigma_min=0.01, sigma_max=50.0)
    scheduler.set_timesteps(20)
    scheduler.set_sigmas(20)
    theirs = scheduler.discrete_sigmas.flip(0).double()
    ours = torch.tensor(lesson["ladder"](50.0, 0.01, 20), dtype=torch.float64)
    assert torch.allclose(ours, theirs, rtol=1e-5)


def test_a_class_is_added_by_bayes(lesson):
    """Scores of all clouds and of their responsibilities sum to that of one cloud, along a whole walk."""
    three, one = lesson["three"], [v[1:2] for v in lesson["three"]]
    everything = lambda x, sigma: lesson["mixture_score"](x, sigma, three)  # noqa: E731
    classes = lambda x, sigma: lesson["log_parts"](x, sigma, three)  # noqa: E731
    y = torch.ones(50, dtype=torch.long)
    both = lesson["with_classifier"](everything, classes, y, 1.0)
    alone = lambda x, sigma: lesson["mixture_score"](x, sigma, one)  # noqa: E731
    given = 4 * points(50), lesson["ladder"](8.0, 0.05, 12), 10, 0.3
    ends = [lesson["annealed"](s, *given, torch.Generator().manual_seed(6)) for s in (both, alone)]
    assert (ends[0] - ends[1]).abs().max() <= 1e-6


def test_lag_is_what_walkers_have(lesson):
    """Walkers around a single point, on a ladder of equal ratios."""
    rho, g = 0.8, torch.Generator().manual_seed(7)
    sigmas = [10 * rho**i for i in range(25)]
    x = sigmas[0] * torch.randn(40_000, 1, generator=g, dtype=torch.float64)
    for sigma in sigmas:
        x = lesson["langevin"](lambda x, s=sigma: -x / s**2, x, 0.3 * sigma**2, 2, g)
    assert x.var().item() / sigmas[-1] ** 2 == pytest.approx(lesson["lag"](0.3, 2, rho), rel=0.04)


def test_mala_keeps_a_law_that_langevin_bends(lesson):
    """From exact draws of a normal cloud, 30 large steps."""
    g = torch.Generator().manual_seed(8)
    x = torch.randn(20_000, 1, generator=g, dtype=torch.float64)
    plain = lesson["langevin"](lambda x: -x, x, 0.8, 30, torch.Generator().manual_seed(9))
    for _ in range(30):
        z = torch.randn(x.shape, generator=g, dtype=x.dtype)
        u = torch.rand(len(x), generator=g, dtype=x.dtype)
        x, _ = lesson["mala_step"](lambda x: -x.square().sum(1) / 2, lambda x: -x, x, 0.8, z, u)
    assert plain.var().item() == pytest.approx(1 / (1 - 0.4), rel=0.06)
    assert x.var().item() == pytest.approx(1, rel=0.06)


def test_one_step_at_full_size():
    """The setting for a GPU: its networks, one update of four pictures each."""
    full = definitions(COURSE, "18_score", "full")
    cases = ("digit_net", "d_train", "c_train", "DIGIT"), ("glyph_net", "x_train", "y_train", "GLYPH")
    assert full["glyph_parameters"] > 5_000_000
    for net, x, y, given in cases:
        net, x, y, given = (full[name] for name in (net, x, y, given))
        assert math.isfinite(given["high"]) and given["high"] > 5
        before = [p.clone() for p in net.parameters()]
        optimizer, _ = full["optimizer_for"](net, 10, 1e-3)
        loss = full["ncsn_loss"](
            net, x[:4], y[:4], generator=torch.Generator(x.device).manual_seed(0), **given
        )
        assert full["update"](net, net, optimizer, loss, 0.5).isfinite()
        assert any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
