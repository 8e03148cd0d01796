"""Lesson 12_ebm: free energies are scikit-learn's, sums are sums, chains keep their laws, Z is found."""

import math

import numpy as np
import pytest
import torch
from course_root import COURSE
from sklearn.neural_network import BernoulliRBM

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "12_ebm")


def parameters(D, H, seed, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(s, generator=g, dtype=torch.float64) for s in ((D, H), (D,), (H,)))


def scikit_learns(W, a, b):
    """Their machine with our parameters."""
    theirs = BernoulliRBM(len(b))
    theirs.components_, theirs.intercept_visible_, theirs.intercept_hidden_ = (
        W.T.numpy(),
        a.numpy(),
        b.numpy(),
    )
    return theirs


@pytest.mark.parametrize(("D", "H", "scale"), [(4, 3, 1.0), (64, 12, 0.5), (7, 1, 20.0)])
def test_free_energy_is_scikit_learns(lesson, D, H, scale):
    own = parameters(D, H, D, scale)
    v = torch.randint(2, (9, D)).double()
    theirs = scikit_learns(*own)
    ours = lesson["free_energy"](v, *own)
    assert ours.numpy() == pytest.approx(theirs._free_energy(v.numpy()), rel=1e-10)
    hidden = (v @ own[0] + own[2]).sigmoid()
    assert hidden.numpy() == pytest.approx(theirs.transform(v.numpy()), rel=1e-9)


def test_sweeps_are_scikit_learns(lesson):
    """From one start the means after a sweep agree, within their errors."""
    own = parameters(6, 4, 1)
    v = torch.tensor([[1.0, 0, 1, 1, 0, 0]], dtype=torch.float64).expand(20_000, -1)
    ours = lesson["gibbs"](v, *own, torch.Generator().manual_seed(2)).mean(0)
    theirs = scikit_learns(*own)
    theirs.random_state_ = np.random.RandomState(3)
    assert ours.numpy() == pytest.approx(theirs.gibbs(v.numpy()).mean(0), abs=0.02)


def test_both_sums_are_one(lesson):
    """log Z over hidden vectors is log Z over pictures."""
    own = parameters(8, 5, 4)
    over_v = (-lesson["free_energy"](lesson["states"](8).double(), *own)).logsumexp(0)
    assert lesson["exact_log_Z"](*own) == pytest.approx(over_v.item(), rel=1e-10)


def test_exact_negative_phase_is_the_gradient(lesson):
    own = tuple(p.requires_grad_() for p in parameters(6, 4, 5))
    (-lesson["free_energy"](lesson["states"](6).double(), *own)).logsumexp(0).backward()
    for mean, leaf in zip(lesson["exact_negative"](*(p.detach() for p in own)), own, strict=True):
        assert torch.allclose(mean, leaf.grad)


@pytest.mark.parametrize("n", [1, 5, 50])
def test_annealing_is_unbiased(lesson, n):
    own = parameters(5, 3, 6)
    exact = (-lesson["free_energy"](lesson["states"](5).double(), *own)).logsumexp(0).item()
    betas = torch.linspace(0, 1, n + 1).tolist()
    log_w = lesson["ais"](*own, torch.zeros(5).double(), betas, 20_000, torch.Generator().manual_seed(n))
    found, error = lesson["log_mean"](log_w)
    assert abs(found - exact) < 5 * error
    assert log_w.mean().item() < exact


def test_sweep_matrix_keeps_the_law(lesson):
    W, a, b = parameters(9, 3, 7)
    T, p = torch.mm(*lesson["halves"](W, a, b)), (-lesson["free_energy"](lesson["nine"], W, a, b)).softmax(0)
    assert torch.allclose(T.sum(1), torch.ones(512).double()) and torch.allclose(p @ T, p)


def test_chain_is_softmax_chain(lesson):
    """Exercise 1 against a product of matrices; a chain of equal links is a power of one."""
    K, D = 3, 7
    g = torch.Generator().manual_seed(8)
    P = torch.randn(K, K, generator=g).double()
    powers = torch.linalg.matrix_power((-P).exp(), D - 1).sum().log()
    got = lesson["chain_log_Z"](torch.zeros(1, D, K).double(), P.expand(1, D - 1, K, K))
    assert got.item() == pytest.approx(powers.item(), rel=1e-10)


def test_normal_energy_is_the_noisy_datas(lesson):
    """Without a network the lesson's energy is that of the normal law of the noisy digits."""
    net = lesson["Energy"](lesson["g_train"], [10], 4)
    x, flat = lesson["g_test"][:6], lesson["g_train"].flatten(1).double()
    cov = flat.T.cov() + lesson["SIGMA"] ** 2 * torch.eye(64)
    law = torch.distributions.MultivariateNormal(flat.mean(0), cov)
    level = 0.5 * torch.logdet(2 * math.pi * cov)
    assert net.normal(x).double().numpy() == pytest.approx(
        (-law.log_prob(x.flatten(1).double()) - level).numpy(), rel=1e-3
    )
