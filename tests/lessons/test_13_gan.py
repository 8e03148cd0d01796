"""Lesson 13_gan: its definitions agree with torch's own losses and norms, and with what they claim."""

import math

import pytest
import torch
from course_root import COURSE
from torch import nn
from torch.nn import functional as F

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    """The names of the chapter in the smoke setting."""
    return definitions(COURSE, "13_gan")


def test_losses_are_cross_entropies(lesson):
    real, fake = 30 * torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bce, ones = F.binary_cross_entropy_with_logits, torch.ones_like(real)
    ours = lesson["discriminator_loss"](real, fake)
    assert torch.isclose(ours, bce(real, ones) + bce(fake, 0 * ones))
    assert torch.isclose(lesson["non_saturating"](fake), bce(fake, ones))
    assert torch.isclose(lesson["saturating"](fake), -bce(fake, 0 * ones))


def test_the_best_value_is_the_divergence(lesson):
    t = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    log_p, log_q, dt = lesson["log_p_line"](t), lesson["log_q_line"](t), 18 / 20_000
    for shift in (0.0, 0.2, -0.2):
        logit = log_p - log_q + shift
        value = (log_p.exp() * F.logsigmoid(logit) + log_q.exp() * F.logsigmoid(-logit)).sum() * dt
        limit = 2 * lesson["jensen_shannon"](log_p, log_q, dt) - math.log(4)
        assert value.item() == pytest.approx(limit.item(), abs=1e-9) if shift == 0 else value < limit - 1e-4
    assert lesson["jensen_shannon"](log_p, log_p, dt).item() == pytest.approx(0, abs=1e-12)


def test_pulls_are_those_of_the_closed_form(lesson):
    eps = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for theta, s in ((0.7, 1.0), (2.0, 1.5)):
        D = ((theta**2 - 2 * theta * (theta + s * eps)) / (2 * s**2)).sigmoid().mean().item()
        found = lesson["pull"](theta, s)
        assert found["saturating"] == pytest.approx(theta / s**2 * D, abs=2e-3)
        assert found["non-saturating"] == pytest.approx(theta / s**2 * (1 - D), abs=2e-3)
        assert found["Wasserstein"] == pytest.approx(1)


@pytest.mark.parametrize("shape", [(30, 50), (4, 7, 3), (2, 1, 5)])
def test_power_iteration_finds_the_norm(lesson, shape):
    g = torch.Generator().manual_seed(1)
    W = torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True)
    u = torch.randn(*shape[:-1], 1, generator=g, dtype=torch.float64)
    sigma, _ = lesson["power_iteration"](W, u, 3_000)
    exact = torch.linalg.matrix_norm(W, 2)
    assert torch.allclose(sigma.flatten(), exact.flatten(), rtol=1e-6)
    ours, theirs = (torch.autograd.grad(v.sum(), W)[0] for v in (sigma, exact))
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_gradient_penalty_of_known_slopes(lesson):
    g = torch.Generator().manual_seed(2)
    real, fake = torch.randn(2, 3, 5, 2, generator=g)
    plane = lesson["gradient_penalty"](lambda x: x @ torch.tensor([0.6, 0.0]), real, fake, g)
    assert torch.allclose(plane, torch.full((3, 5), 0.16), atol=1e-6)
    bowl = lesson["gradient_penalty"](lambda x: x.square().sum(-1) / 2, real, real, g)
    assert torch.allclose(bowl, (real.norm(dim=-1) - 1) ** 2, atol=1e-5)


def test_minibatch_std_sees_a_collapse(lesson):
    h = torch.randn(4, 32, 6, generator=torch.Generator().manual_seed(3))
    many = lesson["minibatch_std"](h, 1)
    assert torch.allclose(many[:, 0, 0], torch.stack([lesson["minibatch_std"](one) for one in h]), atol=1e-6)
    assert torch.allclose(many[0, 0, 0], h[0].std(0, correction=0).mean(), atol=1e-4)
    assert lesson["minibatch_std"](h[:1].expand(8, 32, 6)) < 1e-3


def test_gans_side_by_side_do_not_feel_each_other(lesson):
    torch.manual_seed(0)
    D = lesson["RingJudge"](3, see_batch=True)
    x = torch.randn(3, 10, 2, generator=torch.Generator().manual_seed(4))
    changed = x.clone()
    changed[1] += 1
    gap = (D(x) - D(changed)).abs().amax(dim=1)
    assert (gap > 1e-4).tolist() == [False, True, False]


def test_the_non_saturating_gradient_is_that_of_reverse_kl_less_twice_jsd(lesson):
    t, step = torch.linspace(-12, 15, 40_001, dtype=torch.float64), 1e-4
    log_normal, dx = lesson["log_normal"], 27 / 40_000

    def value(theta, s):
        log_p, log_q = log_normal(t, 0.0, s), log_normal(t, theta, s)
        kl = (log_q.exp() * (log_q - log_p)).sum() * dx
        return (kl - 2 * lesson["jensen_shannon"](log_p, log_q, dx)).item()

    for theta, s in ((0.5, 1.0), (2.0, 1.0), (4.0, 1.3)):
        slope = (value(theta + step, s) - value(theta - step, s)) / (2 * step)
        assert lesson["pull"](theta, s)["non-saturating"] == pytest.approx(slope, rel=2e-3)


def test_the_smallest_game(lesson):
    at_once, in_turn = (lesson["bilinear"](0.3, 40, how).double() for how in (False, True))
    assert at_once.norm(dim=1)[-1].item() == pytest.approx(math.sqrt(2 * 1.09**40), rel=1e-4)
    theta, psi = in_turn.T
    assert torch.allclose(theta**2 + 0.3 * theta * psi + psi**2, torch.tensor(2.3).double(), atol=1e-4)
    assert psi[1:].mean().item() == pytest.approx((theta[0] - theta[-1]).item() / (0.3 * 40), abs=1e-5)


def test_modes_are_counted(lesson):
    centres = lesson["centres"].cpu()
    x = centres.repeat_interleave(torch.tensor([50, 20, 1, 0, 0, 0, 0, 29]), dim=0)[None]
    modes, good = lesson["count_modes"](torch.cat([x, x * 0], 0).to(lesson["device"]))
    assert modes.tolist() == [4, 0]
    assert good.tolist() == [1, 0]


def test_the_average_follows(lesson):
    slow, fast = nn.Linear(3, 2), nn.Linear(3, 2)
    start = slow.weight.clone()
    lesson["average"](slow, fast, 0.9)
    assert torch.allclose(slow.weight, 0.9 * start + 0.1 * fast.weight)


def test_one_step_at_full_size():
    """Both networks of the full setting take a step, of four pictures."""
    full = definitions(COURSE, "13_gan", "full")
    S, device = full["S"], full["device"]
    G, D, G_ema, opt_G, opt_D = full["make_gan"](*S.ch, S.size)
    before = [[w.clone() for w in net.parameters()] for net in (G, D)]
    g = torch.Generator().manual_seed(0)
    x = torch.rand(4, 1, S.size, S.size, generator=g).to(device) * 2 - 1
    y = torch.randint(36, (4,), generator=g).to(device)
    z = torch.randn(4, 64, generator=g).to(device)
    losses = full["gan_step"](G, D, opt_G, opt_D, x, y, z)
    full["average"](G_ema, G, 0.9)
    assert all(loss.isfinite() for loss in losses)
    for net, old in zip((G, D), before, strict=True):
        moved = [not torch.equal(w, w_old) for w, w_old in zip(net.parameters(), old, strict=True)]
        assert sum(moved) >= len(moved) - 1  # a bias before a batch norm may have no gradient
        assert all(w.isfinite().all() for w in net.parameters())
    assert G_ema(z, y).shape == (4, 1, 28, 28)
