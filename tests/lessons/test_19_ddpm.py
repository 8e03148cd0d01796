"""Lesson 19_ddpm: schedules, network and samplers agree with diffusers; posterior and bound with laws."""

import copy
import math

import numpy as np
import pytest
import torch
from course_root import COURSE

from autograde.authoring.definitions import definitions

NONE = 36  # the label "no class"


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "19_ddpm")


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers is in the extra bench")


def scheduler(kind, schedule, **how):
    """One of diffusers' schedulers with our table, whose times end where ours do."""
    beta = 1 - schedule[1:] / schedule[:-1]
    common = {"prediction_type": "v_prediction", "clip_sample": True, "timestep_spacing": "trailing"}
    return kind(trained_betas=beta.numpy(), **common, **how)


def toy_net(x, t, y):
    """A smooth function of everything that the network is given."""
    return torch.sin(x + 5 * t[:, None, None, None]) * 0.6 + 0.02 * y[:, None, None, None]


def pictures(seed=0, n=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 16, 16, generator=generator), torch.randint(36, (n,), generator=generator)


def test_the_schedules_are_diffusers(lesson, diffusers):
    theirs = diffusers.DDPMScheduler(beta_start=1e-4, beta_end=0.02).alphas_cumprod
    assert torch.allclose(lesson["LINEAR"][1:].float(), theirs, rtol=1e-4, atol=1e-7)
    theirs = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod
    assert torch.allclose(
        lesson["COSINE"][1:-1].float(), theirs[:-1], rtol=1e-3, atol=1e-6
    )  # all but the cap
    assert lesson["COSINE"][-1] < 1e-30


@pytest.mark.parametrize("name", ["LINEAR", "COSINE"])
def test_q_sample_is_add_noise(lesson, diffusers, name):
    schedule, (x, _), eps = lesson[name], pictures(), pictures(1)[0]
    k = torch.tensor([1, 2, 250, 500, 999, 1000])
    ours = lesson["q_sample"](schedule, x, k / 1000, eps)
    theirs = scheduler(diffusers.DDPMScheduler, schedule).add_noise(x, eps, k - 1)
    assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["LINEAR", "COSINE"])
@pytest.mark.parametrize("steps", [5, 20, 100])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_ddim_is_diffusers(lesson, diffusers, name, steps, guidance):
    schedule, (x, y) = lesson[name], pictures(2)
    ours = lesson["ddim"](toy_net, x, lesson["time_grid"](steps), y, guidance, schedule)
    theirs = scheduler(diffusers.DDIMScheduler, schedule, set_alpha_to_one=True)
    theirs.set_timesteps(steps)
    for i in theirs.timesteps:
        t = (i + 1) / torch.full((len(x),), 1000.0)
        v = toy_net(x, t, y)
        if guidance != 1:
            none = toy_net(x, t, torch.full_like(y, NONE))
            v = none + guidance * (v - none)
        x = theirs.step(v, i, x, use_clipped_model_output=True).prev_sample
    assert (ours - x).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["LINEAR", "COSINE"])
@pytest.mark.parametrize("steps", [5, 20, 100])
def test_ancestral_is_diffusers(lesson, diffusers, name, steps):
    schedule, (x, y) = lesson[name], pictures(3)
    ts = lesson["time_grid"](steps)
    ours = lesson["ancestral"](toy_net, x, ts, y, 1.0, schedule, generator=torch.Generator().manual_seed(4))
    theirs = scheduler(diffusers.DDPMScheduler, schedule, variance_type="fixed_small")
    theirs.set_timesteps(steps)
    generator = torch.Generator().manual_seed(4)
    for i in theirs.timesteps:
        v = toy_net(x, (i + 1) / torch.full((len(x),), 1000.0), y)
        x = theirs.step(v, i, x, generator=generator).prev_sample
    assert (ours - x).abs().max() <= 1e-5


def theirs_of(net, diffusers):
    """diffusers' U-Net with our weights: the same layers in the same order of use."""
    C = net.enter.out_channels
    model = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(C, 2 * C),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=NONE + 1,
        add_attention=False,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
    )
    down, mid, up = model.down_blocks, model.mid_block, model.up_blocks
    blocks = [down[0].resnets[0], down[1].resnets[0], *mid.resnets, *up[0].resnets, *up[1].resnets]
    pairs = [
        (model.conv_in, net.enter),
        (model.time_embedding.linear_1, net.embed.mlp[0]),
        (model.time_embedding.linear_2, net.embed.mlp[2]),
        (model.class_embedding, net.embed.label),
        (down[0].downsamplers[0].conv, net.down),
        (up[0].upsamplers[0].conv, net.up),
        (model.conv_norm_out, net.norm),
        (model.conv_out, net.leave),
    ]
    for theirs, ours in zip(blocks, net.blocks, strict=True):
        pairs += [
            (theirs.norm1, ours.norm1),
            (theirs.conv1, ours.conv1),
            (theirs.time_emb_proj, ours.modulate),
        ]
        pairs += [(theirs.norm2, ours.norm2), (theirs.conv2, ours.conv2)]
        pairs += [(theirs.conv_shortcut, ours.bypass)] if theirs.conv_shortcut is not None else []
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    return model


def test_the_network_is_diffusers(lesson, diffusers):
    net = lesson["UNet"](16)
    assert net(*batch(4)).abs().max() == 0  # untrained it says 0
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(p.numel()))
    model, (x, t, y) = theirs_of(net, diffusers), batch(4)
    theirs = model(torch.nn.functional.pixel_unshuffle(x, 2), 1000 * t, class_labels=y).sample
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in net.parameters())
    assert (net(x, t, y) - torch.nn.functional.pixel_shuffle(theirs, 2)).abs().max() <= 1e-4


def batch(n):
    x, y = pictures(5, n)
    return x, torch.linspace(0, 1, n), y


@pytest.mark.parametrize("s", [0, 1, 300, 699])
def test_the_posterior_is_bayes(lesson, s):
    """Joint covariance of x_s and x_t given x_0, conditioned on x_t."""
    bar, t = lesson["COSINE"], 700
    (a_s, s_s), (a_t, s_t) = ((bar[k].sqrt(), (1 - bar[k]).sqrt()) for k in (s, t))
    a, b, c = lesson["posterior"](a_s, s_s, a_t, s_t)
    gain = a_t / a_s * s_s**2 / s_t**2
    assert a.item() == pytest.approx(gain.item(), abs=1e-12)
    assert b.item() == pytest.approx((a_s - gain * a_t).item(), abs=1e-9)
    assert c.item() ** 2 == pytest.approx((s_s**2 - gain**2 * s_t**2).item(), abs=1e-12)


def test_the_elbo_terms_are_kl_divergences(lesson):
    bar, normal = lesson["COSINE"].cpu(), torch.distributions.Normal
    x_0, guess, x_t = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    for k in (2, 100, 900):
        pair = [v for j in (k - 1, k) for v in (bar[j].sqrt(), (1 - bar[j]).sqrt())]
        a, b, c = lesson["posterior"](*pair)
        kl = torch.distributions.kl_divergence(normal(a * x_t + b * x_0, c), normal(a * x_t + b * guess, c))
        term = 0.5 * (lesson["snr"](bar, k - 1) - lesson["snr"](bar, k)) * (x_0 - guess) ** 2
        assert kl.item() == pytest.approx(term.item(), rel=1e-6)


def test_levels_add_up_to_one(lesson):
    levels = (2 * torch.arange(256.0) / 255 - 1)[:, None]
    for width in (0.01, 0.3, 5.0):
        guess = torch.linspace(-1, 1, 7).expand(256, 7)
        log_mass = lesson["log_levels"](levels.expand(256, 7), guess, torch.tensor(width))
        assert torch.allclose(log_mass.exp().sum(0), torch.ones(7).double(), atol=1e-5)


def test_a_bound_is_above_the_truth(lesson):
    """For pictures of which the network knows nothing, and so for any network, the parts are not negative."""
    net, g = lesson["UNet"](8), torch.Generator().manual_seed(0)
    prior, k, terms, last = lesson["bound"](net, lesson["x_test"][:8], lesson["y_test"][:8], 3, g)
    assert k.min() >= 2 and k.max() <= 1000 and k.shape == terms.shape == (3, 8)
    assert (terms >= 0).all() and (last >= 0).all() and prior.abs().max() < 1e-6


def test_the_exact_network_is_the_best_guess(lesson):
    """It has no more error in v than the mean over many draws near one x_t."""
    g = torch.Generator().manual_seed(0)
    x_0 = lesson["toy_sample"](400_000, g)
    t, eps = torch.full((len(x_0),), 0.4), torch.randn(x_0.shape, generator=g)
    x_t = lesson["q_sample"](lesson["COSINE"], x_0, t, eps)
    alpha, sigma = lesson["alpha_sigma"](lesson["COSINE"], t[:1])
    v = alpha * eps - sigma * x_0
    off = (v - lesson["exact_net"](x_t, t, None)).flatten()
    for low in (-1.2, -0.3, 0.1, 0.7):
        near = off[(x_t[:, 0] > low) & (x_t[:, 0] < low + 0.2)]
        assert abs(near.mean()) < 5 * near.std() / math.sqrt(len(near))


def test_times_are_stratified(lesson):
    t = lesson["stratified_times"](50, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert np.array_equal((t * 50 - 1e-4).floor(), np.arange(50))
    assert t.min() > 0 and t.max() <= 1


def test_one_step_at_full_size():
    """The setting for a GPU: its network, one update of four pictures, on any device."""
    full = definitions(COURSE, "19_ddpm", "full")
    net, x, y = full["net"], full["x_train"], full["y_train"]
    ema, before = copy.deepcopy(net), copy.deepcopy(net.state_dict())
    assert full["parameters"] > 5_000_000
    optimizer = torch.optim.AdamW(net.parameters(), lr=full["S"].rate)
    generator = torch.Generator(x.device).manual_seed(0)
    loss = full["update"](net, ema, optimizer, x[:4], y[:4], generator, 0.5)
    assert loss.isfinite()
    assert any(not torch.equal(p, before[name]) for name, p in net.state_dict().items())
    name = "leave.bias"
    assert torch.allclose(ema.state_dict()[name], (before[name] + net.state_dict()[name]) / 2, atol=1e-6)
