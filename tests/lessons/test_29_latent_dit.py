"""Lesson 29_latent_dit: its blocks are diffusers' with the same weights; formulas agree with torch's."""

import math

import pytest
import torch
from course_root import COURSE

from autograde.authoring.definitions import definitions

d, HEADS = 32, 4


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "29_latent_dit")


def diffusers_class(module, name):
    package = pytest.importorskip(f"diffusers.models.{module}", reason="diffusers is in the extra bench")
    return getattr(package, name)


def awake(net):
    """The same net with random weights where it starts at zero."""
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.2 * torch.randn(p.shape))
    return net.eval()


def copy_stream(stream, norm, attention, feed, names):
    """A stream's weights into the parts of a block of diffusers."""
    q, k, v = (getattr(attention, name) for name in names)
    with torch.no_grad():
        norm.load_state_dict(stream.modulation.state_dict())
        for part, w, b in zip((q, k, v), stream.qkv.weight.chunk(3), stream.qkv.bias.chunk(3), strict=True):
            part.weight.copy_(w)
            part.bias.copy_(b)
    feed.net[0].proj.load_state_dict(stream.up.state_dict())
    feed.net[2].load_state_dict(stream.down.state_dict())


def test_autoencoder_block_is_diffusers(lesson):
    torch.manual_seed(0)
    ours = awake(lesson["ResBlock"](16))
    make = diffusers_class("resnet", "ResnetBlock2D")
    theirs = make(in_channels=16, temb_channels=None, groups=4, eps=1e-6).eval()
    theirs.load_state_dict(ours.state_dict())
    h = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        assert (ours(h) - theirs(h, None)).abs().max() <= 1e-5


def test_kl_is_diffusers_and_torchs(lesson):
    normal = diffusers_class("autoencoders.vae", "DiagonalGaussianDistribution")
    both = torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, log_var = both.chunk(2, dim=1)
    ours = lesson["kl_to_normal"](mean, log_var)
    assert torch.allclose(ours, normal(both).kl(), rtol=1e-5)
    law = torch.distributions.Normal(mean, (log_var / 2).exp())
    other = torch.distributions.kl_divergence(law, torch.distributions.Normal(0.0, 1.0))
    assert torch.allclose(ours, other.flatten(1).sum(1), rtol=1e-5)


def test_dit_block_is_diffusers(lesson):
    """DiT's block, which makes its own vector of time and class."""
    torch.manual_seed(1)
    ours = awake(lesson["Block"](d, HEADS, "add", qk_norm=False))
    theirs = diffusers_class("attention", "BasicTransformerBlock")(
        d, HEADS, d // HEADS, activation_fn="gelu-approximate", num_embeds_ada_norm=10, attention_bias=True,
        norm_type="ada_norm_zero", norm_elementwise_affine=False, norm_eps=1e-6,
    ).eval()  # fmt: skip
    stream = ours.picture
    copy_stream(stream, theirs.norm1.linear, theirs.attn1, theirs.ff, ("to_q", "to_k", "to_v"))
    theirs.attn1.to_out[0].load_state_dict(stream.out.state_dict())
    h, time, label = torch.randn(2, 5, d), torch.tensor([3, 700]), torch.tensor([1, 4])
    with torch.no_grad():
        c = theirs.norm1.emb(time, label)
        found, _ = ours(h, None, c)
        assert (found - theirs(h, timestep=time, class_labels=label)).abs().max() <= 1e-5


@pytest.mark.parametrize("qk_norm", [None, "rms_norm"])
def test_joint_block_is_diffusers(lesson, qk_norm):
    torch.manual_seed(2)
    ours = awake(lesson["Block"](d, HEADS, "joint", qk_norm=qk_norm is not None))
    theirs = diffusers_class("attention", "JointTransformerBlock")(
        d, HEADS, d // HEADS, qk_norm=qk_norm
    ).eval()
    picture, text, attention = ours.picture, ours.text, theirs.attn
    copy_stream(picture, theirs.norm1.linear, attention, theirs.ff, ("to_q", "to_k", "to_v"))
    added = ("add_q_proj", "add_k_proj", "add_v_proj")
    copy_stream(text, theirs.norm1_context.linear, attention, theirs.ff_context, added)
    attention.to_out[0].load_state_dict(picture.out.state_dict())
    attention.to_add_out.load_state_dict(text.out.state_dict())
    if qk_norm:
        with torch.no_grad():
            for norm, weight in (
                (attention.norm_q, picture.q_weight), (attention.norm_k, picture.k_weight),
                (attention.norm_added_q, text.q_weight), (attention.norm_added_k, text.k_weight),
            ):  # fmt: skip
                norm.weight.copy_(weight)
    h, words, c = torch.randn(2, 4, d), torch.randn(2, 5, d), torch.randn(2, d)
    with torch.no_grad():
        found, found_words = ours(h, words, c)
        their_words, their_h = theirs(h, words, c)
    assert (found - their_h).abs().max() <= 1e-5
    assert (found_words - their_words).abs().max() <= 1e-5


def test_patchify_is_a_convolutions(lesson):
    """A linear layer on patches is the convolution with which DiT begins; and unpatchify undoes it."""
    z = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    conv = torch.nn.Conv2d(3, 7, 2, 2)
    with torch.no_grad():
        ours = lesson["patchify"](z, 2) @ conv.weight.flatten(1).T + conv.bias
        assert torch.allclose(ours, conv(z).flatten(2).mT, atol=1e-5)
    assert torch.equal(lesson["unpatchify"](lesson["patchify"](z, 2), 2, 6), z)


def test_every_block_starts_as_the_identity(lesson):
    torch.manual_seed(4)
    for way in ("add", "cross", "joint"):
        block = lesson["Block"](d, HEADS, way)
        h, words = torch.randn(2, 4, d), torch.randn(2, 5, d)
        new_h, new_words = block(h, words, torch.randn(2, d))
        assert torch.equal(new_h, h) and torch.equal(new_words, words)


def test_rms_norm_is_torchs(lesson):
    h, weight = torch.randn(2, 3, 4, 8), torch.rand(8)
    assert torch.allclose(lesson["rms_norm"](h, weight), torch.rms_norm(h, (8,), weight, 1e-6), atol=1e-6)


def test_times_have_the_logit_normal_density(lesson):
    """Shares of drawn times in ten bins are the integrals of its density, for a shifted law too."""
    for m, sigma in ((0.0, 1.0), (0.7, 0.5)):
        t = lesson["logit_normal"](200_000, torch.Generator().manual_seed(5), m, sigma).double()
        grid = torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:-1]
        density = torch.exp(-((grid.logit() - m) ** 2) / (2 * sigma**2)) / (grid * (1 - grid))
        density = density / (sigma * math.sqrt(2 * math.pi))
        wanted = torch.stack([part.sum() / 100_000 for part in density.split(10_000)])
        found = torch.histc(t, 10, 0, 1) / len(t)
        assert (found - wanted).abs().max() < 0.005
