"""Lesson 20_samplers: every sampler agrees with diffusers at equal grids; frame and network with laws."""

import itertools
import math

import pytest
import torch
from course_root import COURSE

from autograde.authoring.definitions import definitions

GRID = torch.tensor([60.0, 14.0, 5.0, 2.1, 1.2, 0.55, 0.2, 0.06, 0.0], dtype=torch.float64)  # no known rule


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "20_samplers")


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers is in the extra bench")


def start(seed=0):
    return GRID[0] * torch.randn(50, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def alpha(sigma):
    """The signal of the path that preserves the variance."""
    return 1 / (1 + sigma**2).sqrt()


def prepared(scheduler, sigmas):
    """A scheduler of diffusers with our levels."""
    scheduler.set_timesteps(len(sigmas) - 1)
    scheduler.sigmas, scheduler.timesteps = sigmas, torch.arange(len(sigmas) - 1, 0, -1).double()
    return scheduler


def variance_preserving(scheduler, denoise, sigmas, **how):
    """From start() down the levels, by a scheduler whose x is alpha times ours and whose network says x_0."""
    prepared(scheduler, sigmas)
    x = alpha(sigmas[0]) * start()
    for i, t in enumerate(scheduler.timesteps):
        guess = denoise(x / alpha(sigmas[i]), sigmas[i])
        x = scheduler.step(guess, t, x, **how).prev_sample.double()
    return x / alpha(sigmas[-1])


def agree(ours, theirs):
    assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim_is_diffusers(lesson, diffusers, eta):
    """DDIMScheduler knows a table of alpha_bar: ours, one training step for each level."""
    n = len(GRID) - 1
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=n, prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(n)
    scheduler.alphas_cumprod = alpha(GRID[:-1].flip(0)) ** 2
    scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    denoise = lesson["three_clouds"]
    ours_g, theirs_g = (torch.Generator().manual_seed(3) for _ in range(2))
    ours = lesson["ddim"](denoise, start(), GRID, eta, ours_g)
    x = alpha(GRID[0]) * start()
    for sigma, t in zip(GRID, range(n - 1, -1, -1), strict=False):
        noise = torch.randn(x.shape, generator=theirs_g, dtype=x.dtype) if eta else None
        guess = denoise(x / alpha(sigma), sigma)
        x = scheduler.step(guess, t, x, eta=eta, variance_noise=noise).prev_sample
    agree(ours, x)


def test_eta_one_is_lesson_19_and_euler_ancestral(lesson, diffusers):
    """DDIM with eta = 1 is lesson 19's posterior on x_0 + sigma eps, and diffusers' ancestral Euler."""
    posterior = definitions(COURSE, "19_ddpm")["posterior"]
    one, x, g = torch.ones((), dtype=torch.float64), start(), torch.Generator().manual_seed(4)
    ours = lesson["ddim"](lesson["two_modes"], x[:, :1], GRID, 1.0, torch.Generator().manual_seed(4))
    x = x[:, :1]
    for t, s in itertools.pairwise(GRID):
        a, b, c = posterior(one, s, one, t)
        x = a * x + b * lesson["two_modes"](x, t) + c * torch.randn(x.shape, generator=g, dtype=x.dtype)
    agree(ours, x)
    scheduler = prepared(diffusers.EulerAncestralDiscreteScheduler(), GRID)
    x, g = start()[:, :1], torch.Generator().manual_seed(4)
    for i, t in enumerate(scheduler.timesteps):
        scheduler.is_scale_input_called = True
        eps = (x - lesson["two_modes"](x, GRID[i])) / GRID[i]
        x = scheduler.step(eps, t, x.double(), generator=g).prev_sample.double()
    assert (ours - x).abs().max() <= 2e-5  # its sums are float32, of numbers up to 100


def test_2m_is_dpm_solver_multistep(lesson, diffusers):
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="sample", lower_order_final=False)
    theirs = variance_preserving(scheduler, lesson["three_clouds"], GRID)
    agree(lesson["dpm_2m"](lesson["three_clouds"], start(), GRID), theirs)


def test_dpm_2_is_dpm_solver_singlestep(lesson, diffusers):
    """Singlestep takes its middle levels from the grid: they stand there, between ours."""
    with_middles = [GRID[0]]
    for t, s in itertools.pairwise(GRID[:-1]):
        with_middles += [(t * s).sqrt(), s]
    levels = torch.stack([*with_middles, GRID[-1]])
    how = {"prediction_type": "sample", "solver_order": 2, "final_sigmas_type": "zero"}
    scheduler = diffusers.DPMSolverSinglestepScheduler(lower_order_final=True, **how)
    agree(
        lesson["dpm_2"](lesson["three_clouds"], start(), GRID),
        variance_preserving(scheduler, lesson["three_clouds"], levels),
    )


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("correct", [True, False])
def test_unipc_is_diffusers(lesson, diffusers, order, correct):
    """Down to the last level above 0: diffusers' last step there has an order of its own."""
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="sample",
        solver_order=order,
        lower_order_final=False,
        disable_corrector=[] if correct else list(range(99)),
    )
    levels = GRID[:-1]
    theirs = variance_preserving(scheduler, lesson["three_clouds"], levels)
    agree(lesson["unipc"](lesson["three_clouds"], start(), levels, order, correct), theirs)


def test_heun_is_diffusers(lesson, diffusers):
    scheduler = diffusers.HeunDiscreteScheduler()
    scheduler.set_timesteps(len(GRID) - 1)
    scheduler.sigmas = torch.cat([GRID[:1], GRID[1:-1].repeat_interleave(2), GRID[-1:]])
    scheduler.timesteps = torch.arange(2 * len(GRID) - 3, 0, -1).double()
    x = start()
    scheduler._step_index = 0
    levels = scheduler.sigmas
    for i, t in enumerate(scheduler.timesteps):
        eps = (x - lesson["three_clouds"](x, levels[i])) / levels[i]
        x = scheduler.step(eps, t, x).prev_sample
    agree(lesson["heun"](lesson["three_clouds"], start(), GRID), x)


def test_the_frame_and_the_grid_are_edm(lesson, diffusers):
    """EDMEulerScheduler puts its frame around the network's output; its levels are Karras'."""
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.1, sigma_max=80.0, sigma_data=0.5)
    scheduler.set_timesteps(7)
    agree(scheduler.sigmas.double() / 80, lesson["karras_grid"](7, 0.1, 80.0).cpu() / 80)
    prepared(scheduler, GRID)
    scheduler.is_scale_input_called = True
    x = start()
    for i, t in enumerate(scheduler.timesteps):
        skip, out, _ = lesson["precondition"](GRID[i], 0.5)
        said = (lesson["three_clouds"](x, GRID[i]) - skip * x) / out
        x = scheduler.step(said, t, x).prev_sample.double()
    assert (lesson["ddim"](lesson["three_clouds"], start(), GRID) - x).abs().max() <= 2e-5  # float32 inside


def test_churn_is_edm(lesson, diffusers):
    """One step of Euler with churn: EDMEulerScheduler's noise and its way down, for gamma 0.3."""
    levels = GRID[[2, 4]]
    scheduler = prepared(diffusers.EDMEulerScheduler(sigma_data=0.5), levels)
    scheduler.is_scale_input_called = True
    x, up = start() / 12, levels[0] * 1.3
    g = torch.Generator().manual_seed(5)
    noisy = x + (up**2 - levels[0] ** 2).sqrt() * torch.randn(x.shape, generator=g, dtype=x.dtype)
    skip, out, _ = lesson["precondition"](up, 0.5)
    said = (lesson["three_clouds"](noisy, up) - skip * noisy) / out
    g = torch.Generator().manual_seed(5)
    theirs = scheduler.step(said, scheduler.timesteps[0], x, s_churn=0.3, generator=g).prev_sample.double()
    calls = []
    denoise = lambda x, sigma: calls.append((x, sigma)) or lesson["three_clouds"](x, sigma)  # noqa: E731
    lesson["churned"](denoise, x, levels, 0.3, torch.Generator().manual_seed(5))
    agree(calls[0][0], noisy)
    agree(calls[1][0], theirs)  # where Heun looks ahead is Euler's end


def test_the_orders_are_those_of_theory(lesson):
    """On three clouds, by the slope between 40 and 160 steps against 640 of UniPC."""
    x = start() / 6
    grid = lambda n: torch.logspace(1, math.log10(0.02), n + 1, dtype=torch.float64)  # noqa: E731
    best = lesson["unipc"](lesson["three_clouds"], x, grid(640))

    def error(sampler, n):
        return (sampler(lesson["three_clouds"], x, grid(n)) - best).square().mean().sqrt().item()

    for name, order in (("ddim", 1), ("heun", 2), ("dpm_2", 2), ("dpm_2m", 2), ("unipc", 3)):
        found = math.log(error(lesson[name], 40) / error(lesson[name], 160), 4)
        assert order - 0.35 < found < order + (1 if name == "unipc" else 0.35), name


def test_the_denoiser_is_the_posterior_mean(lesson):
    """Bayes on a grid, for the two modes."""
    grid = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    prior = sum(torch.exp(-((grid - m) ** 2) / (2 * 0.15**2)) for m in (-0.6, 0.6))
    for x, sigma in ((0.1, 0.3), (-2.0, 1.5), (0.7, 0.05), (12.0, 9.0)):
        weight = prior * torch.exp(-((x - grid) ** 2) / (2 * sigma**2))
        mean = (weight * grid).sum() / weight.sum()
        got = lesson["two_modes"](torch.tensor([[x]]).double(), torch.tensor(sigma).double())
        assert got.item() == pytest.approx(mean.item(), abs=1e-6)


def test_the_network_is_lesson_19s(lesson):
    """With the same weights it says the same, and with sigma_data = 1 the frame is lesson 19's v."""
    before = definitions(COURSE, "19_ddpm")
    theirs, ours = before["UNet"](16), lesson["UNet"](16, 36)
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(p.numel()))
    renamed = {
        name.replace("embed.mlp", "clock").replace("embed.label", "label"): value
        for name, value in theirs.state_dict().items()
    }
    ours.load_state_dict({"frequency": ours.frequency, **renamed})
    g = torch.Generator().manual_seed(0)
    x, t, y = torch.randn(5, 1, 16, 16, generator=g), torch.rand(5, generator=g), torch.arange(5)
    assert (ours(x, t, y) - theirs(x, t, y)).abs().max() <= 1e-4
    sigma = torch.tan(t * math.pi / 2)
    skip, out, into = (v[:, None, None, None] for v in lesson["precondition"](sigma, 1.0))
    a, s = ((t * math.pi / 2).cos()[:, None, None, None], (t * math.pi / 2).sin()[:, None, None, None])
    v, x_t = theirs(x, t, y), x  # at x_t; ours sees x_t / alpha
    x_0 = before["picture_and_noise"]("v", v, x_t, a, s)[0]
    assert torch.allclose(skip * x_t / a + out * -v, x_0, atol=1e-4) and torch.allclose(into, a, atol=1e-5)


def test_inversion_and_back(lesson):
    """Up and down again in many steps is nearly where it began; at much noise it has the noise's size."""
    levels = torch.logspace(math.log10(40), -2, 600, dtype=torch.float64)
    x = torch.tensor([[0.5, 0.1], [-0.6, 0.8], [0.1, -1.0]], dtype=torch.float64)
    up = lesson["invert"](
        lesson["three_clouds"], x, torch.cat([levels, torch.zeros(1).double()]), lesson["heun"]
    )
    down = lesson["heun"](lesson["three_clouds"], up, levels)
    assert (down - x).abs().max() < 1e-3
    assert 5 < up.abs().mean() < 120


def test_one_step_at_full_size():
    """The setting for a GPU: its network, one update of four pictures."""
    full = definitions(COURSE, "20_samplers", "full")
    net, ema, x, y = full["net"], full["ema"], full["x_train"], full["y_train"]
    assert full["parameters"] > 5_000_000
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.Generator(x.device).manual_seed(0)
    assert full["update"](net, ema, full["optimizer"], x[:4], y[:4], generator, 0.5).isfinite()
    assert any(not torch.equal(value, before[name]) for name, value in net.state_dict().items())
