"""Lesson 04_pixelcnn: its shifts are masked convolutions, its laws torch's, its two samplers one."""

import math

import pytest
import torch
from course_root import COURSE
from torch import distributions, nn
from torch.nn import functional as F

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "04_pixelcnn")


def scattered(net, seed=0, std=0.3):
    """The network with random weights everywhere, biases and labels, too."""
    torch.manual_seed(seed)
    for p in net.parameters():
        nn.init.normal_(p, std=std)
    return net.eval()


@pytest.mark.parametrize("k", [3, 5, 7])
@pytest.mark.parametrize("kind", ["A", "B"])
def test_shifts_are_a_masked_convolution(lesson, kind, k):
    """Rows above and pixels to the left, each a small kernel with padding, are one kernel times its mask."""
    g, half = torch.Generator().manual_seed(k), k // 2
    x, kernel = torch.randn(2, 3, 7, 7, generator=g).double(), torch.randn(4, 3, k, k, generator=g).double()
    upper = nn.Conv2d(3, 4, (half, k), bias=False).double()
    beside = nn.Conv2d(3, 4, (1, half + (kind == "B")), bias=False).double()
    upper.weight.data, row = kernel[:, :, :half], kernel[:, :, half : half + 1]
    beside.weight.data = row[..., : half + (kind == "B")]
    ours = lesson["down"](lesson["above"](x, upper)) + lesson["left"](x, beside, kind == "A")
    assert torch.allclose(ours, F.conv2d(x, kernel * lesson["causal_mask"](kind, k), padding=half))


@pytest.mark.parametrize(("M", "K"), [(1, 2), (3, 17), (5, 256)])
def test_levels_are_differences_of_torchs_distribution(lesson, M, K):
    """torch.distributions' mixture of logistics, integrated over each level's cell, ends open."""
    g = torch.Generator().manual_seed(M)
    weight, centre, log_scale = torch.randn(3, M, generator=g).double()
    base = distributions.Uniform(torch.zeros(M).double(), torch.ones(M).double())
    to_logistic = [
        distributions.SigmoidTransform().inv,
        distributions.AffineTransform(centre, log_scale.exp()),
    ]
    each = distributions.TransformedDistribution(base, to_logistic)
    edges = (2 * torch.arange(K - 1).double() + 1) / (K - 1) - 1
    below = (each.cdf(edges[:, None]) * weight.softmax(0)).sum(1)
    wanted = torch.cat([below, torch.ones(1)]) - torch.cat([torch.zeros(1), below])
    outputs = torch.cat([weight, centre, log_scale])[None, :, None]
    ours = lesson["discretised"](outputs, torch.arange(K)[None], K)[0].exp()
    assert torch.allclose(ours, wanted, rtol=1e-6, atol=1e-9)
    assert ours.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("M", [0, 2])
@pytest.mark.parametrize(("K", "side"), [(2, 3), (5, 2)])
def test_every_network_is_a_law(lesson, K, side, M):
    """Summed over all pictures the probabilities are 1, for any class and head."""
    everything = torch.cartesian_prod(*[torch.arange(K)] * side**2).reshape(-1, side, side)
    net = scattered(lesson["PixelCNN"](side, K, 6, 3, M=M), seed=K)
    for c in (0, 7):
        with torch.no_grad():
            p = lesson["log_p"](net, everything, torch.full((len(everything),), c)).double().exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("M", [0, 3])
@pytest.mark.parametrize(("side", "rows", "heat"), [(1, 0, 1.0), (5, 0, 1.0), (6, 2, 0.7), (4, 4, 1.0)])
def test_both_samplers_draw_the_same(lesson, side, rows, heat, M):
    """In float64 the cached sampler gives the pictures of whole passes, level by level."""
    net = scattered(lesson["PixelCNN"](side, 9, 8, 4, M=M), seed=side, std=0.5)
    g = torch.Generator().manual_seed(side)
    u, canvas = torch.rand(6, side, side, generator=g), torch.randint(9, (6, side, side), generator=g)
    given = (torch.arange(6), u, canvas, rows, heat)
    with torch.no_grad():
        slow = lesson["draw"](net, *given)
    assert torch.equal(lesson["draw_cached"](net, *given), slow)
    assert torch.equal(slow[:, :rows], canvas[:, :rows])


def test_row_lstm_is_torchs_lstm_down_each_column(lesson):
    """With the side taps of the state at 0, each column is torch.nn.LSTM over the rows."""
    n, C = 5, 4
    net = scattered(lesson["RowLSTM"](n, 3, C), seed=1).double()
    net.head = nn.Identity()
    net.from_state.weight.data[..., [0, 2]] = 0
    v, c = torch.randn(2, 2, n, n).double(), torch.tensor([3, 8])
    ours = net.through(v, c)
    mask = lesson["causal_mask"]("A", 3).double()
    x = F.conv2d(v, net.first.weight * mask, net.first.bias, padding=1)
    inputs = lesson["left"](x, net.from_row, False) + net.label(c)[:, :, None, None] + net.place
    order = [2, 1, 3, 0]  # torch has input, forget, new, output; the lesson output, forget, input, new
    theirs = nn.LSTM(4 * C, C, batch_first=True).double()
    rows = torch.cat([torch.eye(4 * C).double().split(C)[k] for k in order])
    state = torch.cat([net.from_state.weight.data[..., 0, 1].split(C)[k] for k in order])
    bias = torch.cat([net.from_state.bias.data.split(C)[k] for k in order])
    theirs.weight_ih_l0.data, theirs.weight_hh_l0.data = rows, state
    theirs.bias_ih_l0.data, theirs.bias_hh_l0.data = bias, 0 * bias
    for j in range(n):
        column, _ = theirs(inputs[..., j].transpose(1, 2))  # (B, n, 4 C)
        assert torch.allclose(column.transpose(1, 2), ours[..., j])


def test_completions_follow_the_law_given_what_is_known(lesson):
    """Drawn by the class's posterior, the last row has the frequencies of the mixture of classes."""
    net = scattered(lesson["PixelCNN"](2, 2, 6, 2), seed=5, std=0.8)
    everything = torch.cartesian_prod(*[torch.arange(2)] * 4).reshape(-1, 2, 2)
    with torch.no_grad():
        joint = lesson["by_class"](net, everything).flatten(2).sum(2)
    p = lesson["class_unknown"](joint).exp().reshape(2, 2, 2, 2)
    g, known = torch.Generator().manual_seed(2), torch.tensor([[[1, 0], [0, 0]]]).expand(20_000, 2, 2)
    u, u_class = torch.rand(20_000, 2, 2, generator=g), torch.rand(20_000, generator=g)
    filled, _ = lesson["complete"](net, known, 1, u, u_class, lesson["draw_cached"])
    share = (2 * filled[:, 1, 0] + filled[:, 1, 1]).bincount(minlength=4) / 20_000
    wanted = (p[1, 0] / p[1, 0].sum()).flatten()
    assert (share - wanted).abs().max() < 5 * math.sqrt(0.25 / 20_000)
