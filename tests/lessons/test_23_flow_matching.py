"""Lesson 23_flow_matching: its definitions agree with flow_matching, torchdiffeq, scipy and known laws."""

import itertools
import math

import numpy as np
import pytest
import torch
from course_root import COURSE
from lesson_runs import at_full_size
from scipy.stats import norm

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    """The names of the chapter."""
    return definitions(COURSE, "23_flow_matching")


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 2), (3, 1, 8, 8)])
def test_points_and_targets_are_flow_matchings(lesson, shape):
    path = pytest.importorskip("flow_matching.path")
    x_0, eps, t = double(*shape), double(*shape, seed=1), torch.linspace(0, 1, shape[0], dtype=torch.float64)
    x_t, u = lesson["cfm_pair"](x_0, eps, t)
    theirs = path.CondOTProbPath().sample(x_0=eps, x_1=x_0, t=1 - t)  # its clock starts at the noise
    assert (x_t - theirs.x_t).abs().max() <= 1e-6
    assert (u + theirs.dx_t).abs().max() <= 1e-6


def test_diffusions_velocity_is_flow_matchings(lesson):
    """A v-prediction, turned into data and noise by hand and into a velocity by the outside library."""
    scheduler = pytest.importorskip("flow_matching.path.scheduler")
    path = pytest.importorskip("flow_matching.path")
    z, s = double(6, 3), torch.full((6, 1), 0.37, dtype=torch.float64)
    seen = {}

    def v_net(x, t):
        alpha, sigma = lesson["cosine"](t)
        v = torch.sin(3 * x) + t
        seen["x_0"], seen["eps"] = alpha * x - sigma * v, sigma * x + alpha * v
        return v

    u = lesson["as_flow"](v_net)(z, s)
    assert (
        (1 - s) * seen["x_0"] + s * seen["eps"] - z
    ).abs().max() < 1e-9  # the ends lie on the line through z
    library = path.AffineProbPath(scheduler=scheduler.CondOTScheduler())
    theirs = library.target_to_velocity(x_1=seen["x_0"], x_t=z, t=1 - s)
    assert (u + theirs).abs().max() <= 1e-6


def test_the_clock_runs_backwards(lesson):
    t = torch.linspace(0, 1, 51, dtype=torch.float64)
    asked = []
    lesson["as_flow"](lambda x, time: asked.append(time) or x)(double(51), lesson["straight_clock"](t))
    assert torch.allclose(asked[0], t, atol=1e-6)
    alpha, sigma = lesson["cosine"](t)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones_like(t))
    assert alpha[0] == 1 and sigma[-1] == 1


@pytest.mark.parametrize("steps", [3, 10])
def test_ddim_is_euler(lesson, steps):
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    clock, x = lesson["straight_clock"](times), double(20)
    z, u = x, lesson["as_flow"](lesson["best_v"])
    for now, later in itertools.pairwise(clock):
        z = lesson["euler"](u, z, now, later - now)
    assert torch.allclose(lesson["ddim"](lesson["best_v"], x, times), z, atol=1e-10)


def test_gaussian_velocity_is_the_mean_of_the_pairs(lesson):
    x_0, eps = 0.7 - 0.5 * double(400_000), double(400_000, seed=1)
    for t in (0.1, 0.5, 0.9):
        x_t, u = lesson["cfm_pair"](x_0, eps, torch.full((400_000,), t, dtype=torch.float64))
        closed = lesson["gaussian_velocity"](x_t, t, 0.7, 0.5)
        for basis in (torch.ones_like(x_t), x_t, x_t**2, torch.sin(3 * x_t)):  # orthogonal to the error
            assert abs(((u - closed) * basis).mean()) < 0.02
        v = (1 - t) ** 2 * 0.25 + t**2
        assert (u - closed).square().mean() == pytest.approx(0.25 / v, rel=0.02)  # the floor of the loss


def test_velocity_of_two_modes_is_the_mean_of_the_pairs(lesson):
    side = torch.where(double(400_000, seed=2) > 0, 1.0, -1.0)
    x_0, eps = side + 0.25 * double(400_000), double(400_000, seed=1)
    x_t, u = lesson["cfm_pair"](x_0, eps, torch.full((400_000,), 0.4, dtype=torch.float64))
    off = u - lesson["two_modes_velocity"](x_t, 0.4)
    for basis in (torch.ones_like(x_t), x_t, x_t**2, torch.sin(3 * x_t)):
        assert abs((off * basis).mean()) < 0.02


def test_score_is_the_slope_of_the_density(lesson):
    x, t = double(7, 3).requires_grad_(True), torch.tensor(0.3, dtype=torch.float64)
    v = (0.7 * lesson["SD"]) ** 2 + 0.09
    log_p = -0.5 * ((x - 0.7 * lesson["M"]) ** 2 / v).sum()
    slope = torch.autograd.grad(log_p, x)[0]
    assert torch.allclose(lesson["score"](lesson["straight_case"], x.detach(), t), slope, atol=1e-9)


def test_gaussian_path_follows_its_velocity(lesson):
    t, x_1 = torch.linspace(0.05, 0.95, 10, dtype=torch.float64), double(10)
    ahead, behind = (lesson["gaussian_path"](x_1, t + h, 0.7, 0.5) for h in (1e-6, -1e-6))
    u = lesson["gaussian_velocity"](lesson["gaussian_path"](x_1, t, 0.7, 0.5), t, 0.7, 0.5)
    assert torch.allclose((ahead - behind) / 2e-6, u, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "theirs"), [("euler", "euler"), ("midpoint", "midpoint"), ("rk4", "rk4"), ("heun", "heun2")]
)
def test_solvers_are_torchdiffeqs(lesson, name, theirs):
    diffeq = pytest.importorskip("torchdiffeq")

    def u(x, t):
        return torch.sin(2 * x) * t - x * x + 0.3

    x = 0.3 * double(4)
    grid = torch.linspace(1, 0, 9, dtype=torch.float64)
    found = lesson["solve"](u, x, 8, lesson[name])
    if name == "rk4":  # theirs is the 3/8 rule: the same order, another table
        exact = diffeq.odeint(lambda t, y: u(y, t), x, grid, rtol=1e-11, atol=1e-12)
        assert (found - exact).abs().max() < 1e-4
    else:
        assert torch.allclose(found, diffeq.odeint(lambda t, y: u(y, t), x, grid, method=theirs), atol=1e-9)


def test_likelihood_is_flow_matchings(lesson):
    solver = pytest.importorskip("flow_matching.solver")
    x_0 = double(6, 2)

    def u(x, t):
        return torch.tanh(x @ torch.tensor([[0.5, -1.0], [1.0, 0.3]], dtype=x.dtype)) * (1 + t)

    def normal(x):
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)

    _, theirs = solver.ODESolver(lambda x, t: -u(x, 1 - t)).compute_likelihood(
        x_1=x_0, log_p0=normal, step_size=0.01, method="midpoint", exact_divergence=True
    )
    assert torch.allclose(lesson["log_likelihood"](u, x_0, 100), theirs.detach(), atol=1e-6)


def test_likelihood_of_a_gaussian_is_exact(lesson):
    x_0 = 1.5 + 0.4 * double(50, 3)
    found = lesson["log_likelihood"](lesson["straight_case"], x_0, 200)
    assert np.allclose(found, norm.logpdf(x_0, 1.5, 0.4).sum(1), atol=1e-3)


def test_the_best_pairing_is_the_best_of_all(lesson):
    for n in (1, 2, 5):
        x_0, eps = double(n, 3, seed=n), double(n, 3, seed=n + 10)
        chosen = lesson["ot_order"](x_0, eps).tolist()
        cost = {
            p: sum((x_0[i] - eps[j]).square().sum().item() for i, j in enumerate(p))
            for p in itertools.permutations(range(n))
        }
        assert cost[tuple(chosen)] == pytest.approx(min(cost.values()))
    x_0, eps = double(40, 2), double(40, 2, seed=1)
    assert lesson["crossings"](x_0, eps) > 0.3
    assert lesson["crossings"](x_0, eps[lesson["ot_order"](x_0, eps)]) == 0


def test_bend_knows_straight(lesson):
    x_1 = double(30, 2)
    assert lesson["bend"](lambda x, t: torch.ones_like(x), x_1) < 1e-12

    def turn(x, t):  # half a circle in the time from 1 to 0
        return math.pi * torch.stack([-x[:, 1], x[:, 0]], dim=1)

    assert lesson["bend"](turn, x_1) == pytest.approx(math.pi**2 / 4 - 1, rel=1e-3)


def test_guidance_is_linear(lesson):
    torch.manual_seed(0)
    net = lesson["UNet"](channels=8)
    torch.nn.init.normal_(net.leave.weight)
    x, y, t = double(4, 1, 16, 16).float(), torch.arange(4), torch.tensor(0.4)
    u = {w: lesson["guided"](net, y, w)(x, t) for w in (0, 1, 2)}
    assert torch.allclose(u[2] - u[1], u[1] - u[0], atol=1e-4)
    assert torch.allclose(u[1], net(x, t.expand(4), y), atol=1e-5)
    assert not torch.allclose(u[0], u[1], atol=1e-3)


def test_the_ball_obeys_newton(lesson):
    start = torch.tensor([[-1.0, 0.0], [1.3, -1.2], [0.0, 0.0]], dtype=torch.float64)
    q = lesson["roll"](start, parts=16)
    assert torch.allclose(q[0], torch.full((32,), -1.0, dtype=torch.float64))  # it rests in its valley
    assert torch.allclose(q[2], torch.zeros(32, dtype=torch.float64))  # and on the ridge
    assert lesson["newton_error"](q) < 0.1
    assert torch.allclose(q, lesson["roll"](start, parts=4), atol=1e-4)
    seen = torch.tensor([0.2, 1.4])
    assert lesson["true_futures"](seen, 50, torch.Generator().manual_seed(0)).shape == (50, 32)


def test_full_takes_one_step_at_full_size(lesson, monkeypatch):
    """The setting for a GPU: one step of the flow, of four pictures, on any device."""
    full = at_full_size(lesson, "23_flow_matching", monkeypatch)
    assert full.channels >= 96
    net = lesson["UNet"](channels=full.channels)
    ema, before = lesson["copy"].deepcopy(net).requires_grad_(False), [p.clone() for p in net.parameters()]
    optimizer = torch.optim.AdamW(net.parameters(), full.rate)
    x, y, g = double(4, 1, 16, 16).float(), torch.arange(4), torch.Generator().manual_seed(0)
    loss = lesson["train_step"](net, ema, optimizer, lesson["glyph_batch"](x, y, g), full.ema)
    assert loss.isfinite()
    assert any(not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
