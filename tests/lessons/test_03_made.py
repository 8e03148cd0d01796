"""Lesson 03_made: its masks are zuko's, its laws sum to 1, and its networks see no more than they may."""

import math

import pytest
import torch
from course_root import COURSE
from zuko.nn import MaskedLinear, MaskedMLP

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "03_made")


def order(D, seed):
    return torch.randperm(D, generator=torch.Generator().manual_seed(seed))


def everything(K, D):
    return torch.cartesian_prod(*[torch.arange(K)] * D)


@pytest.mark.parametrize(("D", "width"), [(4, 12), (9, 40), (64, 512), (7, 6)])
def test_masks_are_zukos(lesson, D, width):
    """In raster order degrees are dealt alike, so that all three masks coincide entry by entry."""
    theirs = MaskedMLP(torch.ones(D, D).tril(-1).bool(), [width, width])
    theirs = [layer.mask for layer in theirs if isinstance(layer, MaskedLinear)]
    for ours, other in zip(lesson["masks"](torch.arange(D), width), theirs, strict=True):
        assert torch.equal(ours.bool(), other)


@pytest.mark.parametrize("D", [4, 9])
def test_masked_layers_are_zukos(lesson, D):
    """With zuko's weights, and without what the lesson adds (bypass, label), the logits are the same."""
    torch.manual_seed(0)
    theirs = MaskedMLP(torch.ones(D, D).tril(-1).bool(), [30, 30])
    linear, x = [layer for layer in theirs if isinstance(layer, MaskedLinear)], torch.randn(5, D)
    masks = lesson["masks"](torch.arange(D), 30)
    h = x
    for n, (own, mask) in enumerate(zip(linear, masks, strict=True)):
        ours = lesson["MaskedLinear"](own.in_features, own.out_features)
        ours.load_state_dict({"weight": own.weight, "bias": own.bias})
        h = ours(h, mask).relu() if n < 2 else ours(h, mask)
    assert torch.allclose(h, theirs(x), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("K", "D"), [(2, 9), (3, 5), (5, 3)])
def test_every_order_is_a_law(lesson, K, D, seed):
    """Summed over all pictures the probabilities are 1, for any order, degrees and class."""
    torch.manual_seed(seed)
    net, all_of_them = lesson["MADE"](D, K, 32, classes=2), everything(K, D)
    degree = torch.randint(1, D, (32,))
    for masks in (lesson["masks"](order(D, seed), 32, K), lesson["masks"](order(D, seed), 32, K, degree)):
        p = lesson["log_p"](net, all_of_them, masks, torch.ones(len(all_of_them)).long()).double().exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("cut", [[3, 3], [1, 2, 3], [6], [1] * 6])
def test_every_cut_is_a_law(lesson, cut):
    torch.manual_seed(1)
    net, all_of_them = lesson["SetNet"](6, 2, 16), everything(2, 6)
    torch.nn.init.normal_(net.leave.weight)
    q = lesson["log_q"](net, all_of_them, order(6, 2).split(cut)).double().exp()
    assert q.sum().item() == pytest.approx(1, abs=1e-5)


def test_any_order_loss_is_the_mean_over_orders(lesson):
    """Over all orders and numbers of hidden pixels its mean is that of -log p(x) in all orders."""
    torch.manual_seed(3)
    net, x = lesson["SetNet"](4, 3, 16), torch.tensor([[2, 0, 1, 1]])
    torch.nn.init.normal_(net.leave.weight)
    orders = torch.tensor(lesson["orders"])
    exact = torch.stack([-lesson["log_q"](net, x, o[:, None])[0] for o in orders]).mean()
    n = torch.arange(1, 5).repeat_interleave(24)
    loss = lesson["any_order_loss"](net, x.expand(96, -1), n, orders.repeat(4, 1)).mean()
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


def test_nade_is_a_law_and_its_own_sum(lesson):
    """O(H D) gives what each pixel's own sum gives; 2^8 pictures sum to 1."""
    g = torch.Generator().manual_seed(4)
    W, V, b, a = (torch.randn(s, generator=g).double() for s in ((6, 8), (8, 6), (6,), (8,)))
    x = everything(2, 8)
    got, slow = lesson["nade_log_p"](x, W, V, b, a), 0.0
    for i in range(8):
        p = torch.sigmoid(a[i] + (b + x[:, :i].double() @ W[:, :i].T).sigmoid() @ V[i])
        slow = slow + torch.where(x[:, i] == 1, p, 1 - p).log()
    assert torch.allclose(got, slow) and math.isclose(got.exp().sum().item(), 1)


def test_any_clock_is_a_bound_of_the_law(lesson):
    """With exact conditionals the expected loss is the entropy, for clocks that differ (exercise 5)."""
    law = torch.tensor([[0.4, 0.1], [0.15, 0.35]]).double()

    def net(x):
        rows = []
        for a, b in x.tolist():
            first = law.sum(1) if b == 2 else law[:, b] / law[:, b].sum()
            second = law.sum(0) if a == 2 else law[a] / law[a].sum()
            rows.append(torch.stack([first, second]))
        return torch.stack(rows).log()

    entropy = -(law * law.log()).sum().item()
    x, steps = everything(2, 2), 400
    for r in (1.0, 2.0):
        t = (torch.arange(steps).double() + 0.5) / steps
        total = 0.0
        for hide in ((0,), (1,), (0, 1)):  # the probability of each hidden set, at each time
            hidden = torch.tensor([i in hide for i in range(2)])
            chance = torch.where(hidden, t[:, None] ** r, 1 - t[:, None] ** r).prod(1)
            u = torch.where(hidden, 1.0, 0.0).double().expand(4, 2)
            half, slope = torch.full((4,), 0.5).double(), torch.full((4,), -0.5).double()
            nats = (law.flatten() * lesson["diffusion_loss"](net, x, 2, half, slope, u)).sum()
            total += (chance * r / t).mean() * nats  # the weight for alpha = 1 - t^r is r / t
        assert total.item() == pytest.approx(entropy, rel=2e-3)
