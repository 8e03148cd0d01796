"""Lesson 24_one_step: its definitions agree with torch's Jacobian, diffusers' DDIM, scipy and known laws."""

import copy
import math

import numpy as np
import pytest
import torch
from course_root import COURSE
from lesson_runs import at_full_size
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.stats import norm

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    """The names of the chapter."""
    return definitions(COURSE, "24_one_step")


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_net(lesson, D=3, C=2):
    torch.manual_seed(0)
    net = lesson["FlowMap"](D, C, width=16).double()
    for weight in (net.leave.weight, net.span.weight):
        torch.nn.init.normal_(weight, std=0.3)
    return net


def test_the_slope_is_the_jacobians(lesson):
    net, c = small_net(lesson), torch.eye(2, dtype=torch.float64)[[0, 1, 0, 1]]
    x, u, t, s = double(4, 3), double(4, 3, seed=1), torch.rand(4).double(), torch.zeros(4).double()
    U, target = lesson["meanflow"](net, x, t, s, u, c)
    for i in range(4):
        row = lambda x, t: net(x[None], t[None], s[i : i + 1], c[i : i + 1])[0]  # noqa: B023, E731
        by_x, by_t = torch.autograd.functional.jacobian(row, (x[i], t[i]))
        assert torch.allclose(target[i], u[i] - t[i] * (by_x @ u[i] + by_t), atol=1e-9)
    assert torch.allclose(U, net(x, t, s, c))
    assert U.requires_grad
    assert not target.requires_grad


def test_the_pairs_mean_is_the_marginal_target(lesson):
    """The identity's right side is linear in the velocity: a mean of targets is the mean's target."""
    net, c = small_net(lesson), torch.zeros(2_000, 2, dtype=torch.float64)
    x, t = double(1, 3).repeat(2_000, 1), torch.ones(2_000, dtype=torch.float64)
    s, u = 0.3 * t, 2 + double(2_000, 3)
    targets = lesson["meanflow"](net, x, t, s, u, c)[1]
    one = lesson["meanflow"](net, x[:1], t[:1], s[:1], u.mean(0, keepdim=True), c[:1])[1]
    assert torch.allclose(targets.mean(0), one[0], atol=1e-9)


def test_the_gaussian_map_composes_and_follows_the_flow(lesson):
    x, t, r, s = double(50, 1), 0.9, 0.5, 0.1
    there = lesson["gaussian_map"](x, t, s, 0.7, 0.4)
    middle = lesson["gaussian_map"](x, t, r, 0.7, 0.4)
    assert torch.allclose(lesson["gaussian_map"](middle, r, s, 0.7, 0.4), there, atol=1e-12)

    def u(x, a):
        v = (1 - a) ** 2 * 0.16 + a**2
        return -0.7 + (a - (1 - a) * 0.16) / v * (x - (1 - a) * 0.7)

    assert torch.allclose(lesson["follow"](u, x, t, s, 400), there, atol=1e-5)


def test_two_modes_are_carried_to_their_quantiles(lesson):
    """In one dimension the flow keeps the order: the exact map is the data's quantile of the noise's rank."""
    z = np.array([-1.7, -0.4, 0.2, 1.1])
    ends = lesson["follow"](lesson["two_modes_velocity"], torch.tensor(z)[:, None], 1.0, 0.0, 2_000)[:, 0]
    law = lambda x: (norm.cdf(x, -1, 0.25) + norm.cdf(x, 1, 0.25)) / 2  # noqa: E731
    wanted = [brentq(lambda x, q=q: law(x) - q, -4, 4) for q in norm.cdf(z)]
    assert np.allclose(ends, wanted, atol=2e-3)
    velocity = lambda a, x: lesson["two_modes_velocity"](torch.tensor(x), torch.tensor(a)).numpy()  # noqa: E731
    scipys = solve_ivp(velocity, (1.0, 0.0), z, rtol=1e-9, atol=1e-9).y[:, -1]
    assert np.allclose(ends, scipys, atol=1e-4)


def test_one_euler_step_is_the_mean_of_all_data(lesson):
    ends = lesson["follow"](lesson["two_modes_velocity"], double(100, 1), 1.0, 0.0, 1, "euler")
    assert ends.abs().max() < 1e-12


def test_every_student_starts_as_its_teacher(lesson):
    torch.manual_seed(1)
    net = lesson["FlowMap"](4, 3, width=16)
    torch.nn.init.normal_(net.leave.weight)
    x, t, c = double(5, 4).float(), torch.rand(5), torch.eye(3)[[0, 1, 2, 0, 1]]
    assert torch.allclose(net(x, t, t, c), net(x, t, 0 * t, c), atol=1e-6)
    net = copy.deepcopy(net)
    torch.nn.init.normal_(net.span.weight)
    assert not torch.allclose(net(x, t, t, c), net(x, t, 0 * t, c), atol=1e-3)


def test_guidance_is_linear(lesson):
    net = small_net(lesson)
    x, t, c = double(4, 3), torch.rand(4).double(), torch.eye(2, dtype=torch.float64)[[0, 1, 0, 1]]
    u = {w: lesson["guided"](net, x, t, c, w) for w in (0, 1, 2)}
    assert torch.allclose(u[2] - u[1], u[1] - u[0], atol=1e-9)
    assert torch.allclose(u[1], net(x, t, t, c), atol=1e-9)
    assert torch.allclose(u[0], net(x, t, t, 0 * c), atol=1e-9)


def test_the_crowds_direction_is_the_difference_of_scores(lesson):
    """For Gaussians whose scores are known: (grad log q - grad log p) is (1 - t) / t (u_p - u_q)."""
    x_t, t = double(6, 2), torch.linspace(0.2, 0.8, 6, dtype=torch.float64)

    def score_and_u(m, d):
        v = (1 - t) ** 2 * d**2 + t**2
        gap = x_t - ((1 - t) * m)[:, None]
        return -gap / v[:, None], -m + ((t - (1 - t) * d**2) / v)[:, None] * gap

    (score_p, u_p), (score_q, u_q) = score_and_u(0.3, 0.5), score_and_u(-1.0, 0.2)
    x = double(6, 2, seed=1)
    way = lesson["crowd_direction"](x, x_t, t, u_p, u_q)
    apart = (x - (x_t - t[:, None] * u_p)).abs().mean(1, keepdim=True) + 1e-3
    assert torch.allclose(way * apart, (score_q - score_p) * (t**2 / (1 - t))[:, None], atol=1e-9)


def test_the_teachers_two_steps_are_diffusers(lesson):
    """On a cosine path diffusers' DDIM, twice, ends where one step of the target of exercise 3 ends."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=1_000, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=True
    )
    angle = torch.linspace(0, math.pi / 2, 1_001, dtype=torch.float64)[1:]
    scheduler.alphas_cumprod = angle.cos() ** 2
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(2)
    x = double(3, 2)
    net = lambda x, step: torch.sin(2 * x) + float(angle[step])  # noqa: E731
    y = x
    for step in scheduler.timesteps:
        y = scheduler.step(net(y, step), step, y).prev_sample
    times = [*(angle[scheduler.timesteps] / (math.pi / 2)).tolist(), 0.0]
    v_net = lambda x, t: torch.sin(2 * x) + t[:, None] * math.pi / 2  # noqa: E731
    t, r, s = (torch.full((3,), a, dtype=torch.float64) for a in times)
    v = lesson["distilled_v"](v_net, x, t, r, s)
    turn = (math.pi / 2 * (t - s))[:, None]
    assert torch.allclose(turn.cos() * x - turn.sin() * v, y, atol=1e-6)


def test_full_takes_one_step_at_full_size(lesson, monkeypatch):
    """The setting for a GPU: one consistency step at full width, on any device."""
    full = at_full_size(lesson, "24_one_step", monkeypatch)
    assert full.width >= 512
    net = lesson["FlowMap"](256, 36, full.glyph_width, 4)
    ema, before = copy.deepcopy(net).requires_grad_(False), [p.clone() for p in net.parameters()]
    x, t, c = double(4, 256).float(), torch.rand(4), torch.eye(36)[:4]
    loss = lesson["consistency_loss"](net, ema, x, 0.9 * x, t, 0.9 * t, c)
    lesson["update"](net, ema, torch.optim.AdamW(net.parameters(), 1e-3), loss, 0.9)
    assert loss.isfinite()
    assert any(not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
