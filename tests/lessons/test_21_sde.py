"""Lesson 21_sde: solvers agree with scipy, torchdiffeq and torchsde; processes and scores with known laws."""

import math

import numpy as np
import pytest
import torch
from course_root import COURSE
from scipy.integrate import solve_ivp

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "21_sde")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clouds(lesson):
    """log p and score of three clouds under VP noise."""
    return lesson["noisy_mixture"](lesson["VP"], *lesson["CLOUDS"])


@pytest.mark.parametrize("ends", [(1.0, 0.01), (0.02, 1.0)])
def test_rk45_is_scipys(lesson, ends):
    """The same method; at a fine tolerance both are the solution."""
    field, x = lesson["flow"](lesson["VP"], clouds(lesson)[1]), normal(20, 2)

    def flat(t, y):
        return field(torch.tensor(y).reshape(20, 2), t).numpy().ravel()

    theirs = solve_ivp(flat, ends, x.numpy().ravel(), method="RK45", rtol=1e-9, atol=1e-9).y[:, -1]
    ours, *_ = lesson["rk45"](field, x, *ends, 1e-9)
    assert np.abs(ours.numpy().ravel() - theirs).max() <= 1e-5


def test_a_step_is_scipys(lesson):
    """Dormand and Prince's table: one step, and its estimate of the error."""
    from scipy.integrate._ivp.rk import RK45, rk_step

    field = lambda x, t: torch.sin(x) * (1 + t)  # noqa: E731
    x, t, h = normal(5), 0.3, 0.4
    k = np.empty((7, 5))
    there = lambda t, y: field(torch.tensor(y), t).numpy()  # noqa: E731
    end, slope = rk_step(there, t, x.numpy(), field(x, t).numpy(), h, RK45.A, RK45.B, RK45.C, k)
    ours, k_new, error = lesson["dopri_step"](field, x, t, h, field(x, t))
    assert np.allclose(ours, end, atol=1e-14) and np.allclose(k_new, slope, atol=1e-14)
    assert np.allclose(error.abs(), np.abs(h * k.T @ RK45.E), atol=1e-14)


def test_the_order_is_five(lesson):
    """Over a fixed number of steps."""

    def error(n):
        x, t, h = torch.ones(1, dtype=torch.float64), 0.0, 1 / n
        for _ in range(n):
            x, _, _ = lesson["dopri_step"](lambda x, t: x * math.cos(3 * t), x, t, h, x * math.cos(3 * t))
            t += h
        return abs(x.item() - math.exp(math.sin(3) / 3))

    assert 4.6 < math.log2(error(8) / error(16)) < 6.5


def test_likelihood_is_torchdiffeqs(lesson):
    """Equal tolerance and equal probes, on the three clouds: values agree, and ours needs no more calls."""
    diffeq = pytest.importorskip("torchdiffeq")
    field, x = lesson["flow"](lesson["VP"], clouds(lesson)[1]), normal(20, 2) / 2
    probes, calls = torch.sign(normal(1, 20, 2, seed=1)), []

    def both(t, state):
        calls.append(t)
        b, div = lesson["value_and_trace"](lambda u: field(u, t.item()), state[:, :-1], probes)
        return torch.cat([b, div[:, None]], dim=1)

    begin = torch.nn.functional.pad(x, (0, 1))
    for tol, near in ((1e-5, 1e-2), (1e-8, 1e-5)):
        calls.clear()
        end = diffeq.odeint(both, begin, torch.tensor([0.001, 1.0]).double(), rtol=tol, atol=tol)[-1]
        theirs = torch.distributions.Normal(0.0, 1.0).log_prob(end[:, :-1]).sum(1) + end[:, -1]
        ours, used = lesson["log_likelihood"](field, x, probes, start=0.001, tol=tol)
        assert (ours - theirs).abs().max() <= near
        assert used <= 1.1 * len(calls)


def test_likelihood_of_a_normal_density(lesson):
    """Exact traces by unit vectors; all three processes."""
    C = torch.tensor([[1.0, 0.4], [0.4, 0.6]], dtype=torch.float64)
    x, law = normal(9, 2), torch.distributions.MultivariateNormal(torch.zeros(2).double(), C)
    units = math.sqrt(2) * torch.eye(2).double()[:, None].expand(2, 9, 2)
    for name in ("VP", "sub-VP"):
        sde = lesson["PROCESSES"][name]

        def score(x, t, sde=sde):
            total = sde.alpha(t) ** 2 * C + sde.sigma(t) ** 2 * torch.eye(2).double()
            return -torch.linalg.solve(total, x.T).T

        got, _ = lesson["log_likelihood"](lesson["flow"](sde, score), x, units, tol=1e-9)
        assert (got - law.log_prob(x)).abs().max() < 2e-3, name


def test_euler_maruyama_is_torchsdes(lesson):
    """Means and deviations of the reverse SDE's ends agree within their errors."""
    torchsde = pytest.importorskip("torchsde")
    VP, (_, score) = lesson["VP"], clouds(lesson)
    drift, g = lesson["reverse"](VP, score)
    n, start = 4_000, normal(4_000, 2)

    class Reverse(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, s, x):
            return -drift(x, 1 - s)

        def g(self, s, x):
            return (g(1 - s)).expand_as(x).to(x)

    times = torch.tensor([0.0, 0.98], dtype=torch.float64)
    torch.manual_seed(0)
    theirs = torchsde.sdeint(Reverse(), start, times, method="euler", dt=0.01)[-1]
    grid = lesson["time_grid"](1, 0.02, 98)
    ours = lesson["euler_maruyama"](drift, g, start, grid, torch.Generator().manual_seed(1))
    spread = ours.std(0) / n**0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 5 * 2**0.5 * spread).all()
    assert (ours.std(0) / theirs.std(0) - 1).abs().max() < 0.05


@pytest.mark.parametrize("name", ["VP", "VE", "sub-VP"])
def test_moments_solve_their_equations(lesson, name):
    """The integral of section 2's equations, by scipy."""
    sde, at = lesson["PROCESSES"][name], lambda v: torch.tensor(v, dtype=torch.float64)

    def slope(t, y):
        f, g2 = sde.f(at(t)).item(), sde.g2(at(t)).item()
        return [f * y[0], 2 * f * y[1] + g2]

    end = solve_ivp(slope, (0, 1), [1.0, 0.0], rtol=1e-10, atol=1e-12).y[:, -1]
    assert end[0] == pytest.approx(sde.alpha(at(1.0)).item(), rel=1e-6)
    assert end[1] == pytest.approx(sde.sigma(at(1.0)).item() ** 2, rel=1e-6)


def test_the_score_is_the_slope_of_log_p(lesson):
    log_p, score = clouds(lesson)
    x, (t,) = normal(7, 2).requires_grad_(), lesson["moments"](0.2)
    (slope,) = torch.autograd.grad(log_p(x, t).sum(), x)
    assert torch.allclose(score(x.detach(), t), slope, atol=1e-10)


def test_the_corrector_leaves_its_density(lesson):
    """Many small Langevin steps, from another density, come to the clouds'."""
    _, score = clouds(lesson)
    (t,), g = lesson["moments"](0.3), torch.Generator().manual_seed(2)
    x = normal(3_000, 2)
    for _ in range(300):
        x = lesson["corrector"](score, x, t, 0.15, g)
    means, widths, shares = (torch.tensor(v).double() for v in lesson["CLOUDS"])
    alpha, sigma = lesson["VP"].alpha(t), lesson["VP"].sigma(t)
    mean = alpha * (shares[:, None] * means).sum(0)
    second = (shares[:, None] * (alpha**2 * (means**2 + widths[:, None] ** 2) + sigma**2)).sum(0)
    assert (x.mean(0) - mean).abs().max() < 0.1
    assert ((x**2).mean(0) / second - 1).abs().max() < 0.1


def test_the_even_path_is_its_sde(lesson):
    """f and g^2 of the glyphs' path by finite differences; signal and noise preserve the variance."""
    even, t, h = lesson["EVEN"], torch.linspace(0.01, 0.99, 9, dtype=torch.float64), 1e-6
    f = (even.alpha(t + h).log() - even.alpha(t - h).log()) / (2 * h)
    slope = (even.sigma(t + h) ** 2 - even.sigma(t - h) ** 2) / (2 * h)
    assert torch.allclose(f, even.f(t), rtol=1e-5, atol=1e-7)
    assert torch.allclose(slope - 2 * f * even.sigma(t) ** 2, even.g2(t), rtol=1e-5)
    assert torch.allclose(even.alpha(t) ** 2 + even.sigma(t) ** 2, torch.ones_like(t))


def test_inpainting_keeps_what_is_known(lesson):
    y = torch.arange(4)
    x_0 = 2 * lesson["levels_test"][:4] / 255 - 1
    known = torch.zeros_like(x_0, dtype=torch.bool)
    known[..., :8, :] = True
    got = lesson["inpaint"](lesson["score_of"](lesson["net"].eval(), y), x_0, known, 0, 3)
    assert torch.equal(got[known], x_0[known]) and got.isfinite().all()


def test_one_step_at_full_size():
    """The setting for a GPU: its network, one update of four pictures."""
    full = definitions(COURSE, "21_sde", "full")
    net, ema, levels, y = full["net"], full["ema"], full["levels_train"], full["y_train"]
    assert full["parameters"] > 5_000_000
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator, (optimizer, _) = (
        torch.Generator(levels.device).manual_seed(0),
        full["adam"](net.parameters(), 10),
    )
    assert full["update"](net, ema, optimizer, levels[:4], y[:4], generator, 0.5).isfinite()
    assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items())
