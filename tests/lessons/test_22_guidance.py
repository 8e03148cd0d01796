"""Lesson 22_guidance: RePaint and guidance agree with diffusers; guesses with laws."""

import math

import pytest
import torch
from course_root import COURSE

from autograde.authoring.definitions import definitions

N = 12


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "22_guidance")


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers is in the extra bench")


def levels():
    """Times of no known rule, falling, from noise to data."""
    return torch.tensor([0.97, 0.8, 0.66, 0.6, 0.41, 0.3, 0.12], dtype=torch.float64)


def prepared(diffusers):
    """diffusers' RePaintScheduler with our levels, one training step for each."""
    alpha_bar = torch.cos(levels().flip(0) * math.pi / 2) ** 2
    n = len(alpha_bar)
    scheduler = diffusers.RePaintScheduler(num_train_timesteps=n, clip_sample=False)
    scheduler.set_timesteps(n, jump_length=1, jump_n_sample=1)
    scheduler.alphas_cumprod = alpha_bar
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    scheduler.betas = 1 - alpha_bar / before
    return scheduler


def picture(seed):
    return torch.randn(N, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_step_of_repaint_is_diffusers(lesson, diffusers):
    """The unknown half moves by DDIM, the known one is noised to the level, as RePaintScheduler has it."""
    scheduler, c = prepared(diffusers), picture(0)
    known, x = torch.tensor([True, False]), picture(1)
    D = lesson["cloud"](0.3, 0.7)
    for i, t in enumerate(levels()[:-1]):
        s, step = levels()[i + 1], len(levels()) - 1 - i
        (a, b), (a_s, b_s) = lesson["mix"](t, x), lesson["mix"](s, x)
        eps = (x - a * D(x, t)) / b
        z = torch.randn(x.shape, generator=torch.Generator().manual_seed(i), dtype=x.dtype)
        ours = torch.where(known, a_s * c + b_s * z, lesson["step"](D(x, t), x, t, s))
        theirs = scheduler.step(
            eps, step, x, c, known.double(), generator=torch.Generator().manual_seed(i)
        ).prev_sample
        assert (ours - theirs).abs().max() <= 1e-6
        x = ours


def test_the_way_back_is_diffusers_undo_step(lesson, diffusers):
    """Renoising from s to t is one product with sqrt(1 - beta) and noise of variance beta."""
    scheduler, x = prepared(diffusers), picture(2)
    for i in range(len(levels()) - 1):
        t, s, step = levels()[i], levels()[i + 1], len(levels()) - 1 - i
        (a, b), (a_s, b_s) = lesson["mix"](t, x), lesson["mix"](s, x)
        z = torch.randn(x.shape, generator=torch.Generator().manual_seed(i), dtype=x.dtype)
        ours = a / a_s * x + (b**2 - (a / a_s * b_s) ** 2).sqrt() * z
        theirs = scheduler.undo_step(x, step, generator=torch.Generator().manual_seed(i))
        assert (ours - theirs).abs().max() <= 1e-6


def test_fill_with_one_round_is_replacement(lesson):
    """With everything known the picture comes back; with nothing known it is DDIM."""
    c, D, times = picture(3), lesson["cloud"](0.3, 0.7), lesson["grid"](7)
    full, empty = torch.tensor([True, True]), torch.tensor([False, False])
    g = torch.Generator().manual_seed(4)
    assert torch.equal(lesson["fill"](D, c, full, times, 3, g), c)
    start = torch.randn(c.shape, generator=torch.Generator().manual_seed(5), dtype=c.dtype)
    plain = lesson["fill"](D, c, empty, times, 1, torch.Generator().manual_seed(5))
    assert (plain - lesson["ddim"](D, start, times)).abs().max() <= 1e-12


@pytest.mark.parametrize("w", [0.0, 1.0, 2.5])
def test_guidance_is_diffusers_arithmetic(lesson, w):
    """A line through guesses of x_0 is the same line through what the network says, as diffusers draws it."""
    x, t, y, none = picture(6), torch.tensor(0.4, dtype=torch.float64), torch.arange(N), torch.full((N,), 40)
    net = lambda x, t, y: torch.sin(x) + 0.1 * y[:, None].to(x)  # noqa: E731
    ours = lesson["guided"](lesson["denoiser"](net), y, w, none)(x, t)
    v_none, v_text = net(x, t, none), net(x, t, y)
    a, b = lesson["mix"](t, x)
    theirs = a * x - b * (v_none + w * (v_text - v_none))
    assert (ours - theirs).abs().max() <= 1e-6


def test_guided_cloud_is_the_limit_of_fine_steps(lesson):
    """The closed form of mean and deviation against DDIM in 2,000 steps, at several weights."""
    z = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    everything, wanted = lesson["cloud"](0.0, 1.3), lesson["cloud"](0.7, 0.6)
    for w in (0.5, 2.0, 3.0):
        ends = lesson["ddim"](
            lambda x, t, w=w: torch.lerp(everything(x, t), wanted(x, t), w), z, lesson["grid"](2_000)
        )
        mean, width = lesson["guided_cloud"](w, 0.7, 0.6, 1.3)
        assert (ends - (mean + width * z)).abs().max() <= 5e-3


def test_posterior_is_the_kalman_update(lesson):
    """With everything measured and little noise the guess is the measurement; with much, the plain guess."""
    x, t = picture(7), torch.tensor(0.6, dtype=torch.float64)
    D, eye = lesson["cloud"](0.2, 0.9), torch.eye(2, dtype=torch.float64)
    y = picture(8)
    near = lesson["posterior_guess"](D, y, eye, 1e-4)(x, t)
    far = lesson["posterior_guess"](D, y, eye, 1e5)(x, t)
    assert (near - y).abs().max() <= 1e-6 and (far - D(x, t)).abs().max() <= 1e-6
