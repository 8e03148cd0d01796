"""Lesson 02_mixtures: its definitions agree with scikit-learn and with the laws that they claim."""

import math

import numpy as np
import pytest
import torch
from course_root import COURSE
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import BernoulliNB

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    """The names of the chapter."""
    return definitions(COURSE, "02_mixtures")


def clouds(D: int, n: int = 300) -> torch.Tensor:
    """Samples of three clouds in D dimensions, (n, D)."""
    rng = np.random.default_rng(D)
    return torch.tensor(rng.normal(size=(n, D)) * rng.uniform(0.5, 2, D) + 4 * rng.integers(0, 3, (n, 1)))


def theirs(x: torch.Tensor, start: tuple[torch.Tensor, ...], steps: int, floor: float) -> GaussianMixture:
    """scikit-learn's mixture after so many EM steps from the same parameters."""
    log_pi, mu, Sigma = (v.numpy() for v in start)
    model = GaussianMixture(
        len(mu),
        weights_init=np.exp(log_pi),
        means_init=mu,
        precisions_init=np.linalg.inv(Sigma),
        max_iter=steps,
        tol=0,
        reg_covar=floor,
    )
    with pytest.warns(UserWarning):  # that it has not converged, which is meant
        return model.fit(x.numpy())


@pytest.mark.parametrize("D", [1, 2, 10])
@pytest.mark.parametrize("floor", [0.0, 1e-2])
def test_em_is_scikit_learns(lesson, D, floor):
    x, steps = clouds(D), 7
    r = lesson["start"](x, 3, torch.Generator().manual_seed(0))
    start = lesson["m_step"](x, r, floor)
    r, _ = lesson["e_step"](x, *start)
    log_pi, mu, Sigma = lesson["em"](x, r, steps, floor)[0]
    model = theirs(x, start, steps, floor)
    assert np.allclose(log_pi.exp(), model.weights_, atol=1e-8)
    assert np.allclose(mu, model.means_, atol=1e-6)
    assert np.allclose(Sigma, model.covariances_, atol=1e-6)
    r, log_p = lesson["e_step"](x, log_pi, mu, Sigma)
    assert np.allclose(log_p, model.score_samples(x.numpy()), atol=1e-6)
    assert np.allclose(r, model.predict_proba(x.numpy()), atol=1e-6)
    assert lesson["bic"](log_p, 3, D) == pytest.approx(model.bic(x.numpy()), rel=1e-9)


@pytest.mark.parametrize("nu", [0.0, 5.0])
def test_the_objective_never_falls(lesson, nu):
    x, T = clouds(4), clouds(4).T.cov(correction=0)
    r, history = lesson["start"](x, 5, torch.Generator().manual_seed(1)), []
    for _ in range(30):
        log_pi, mu, Sigma = lesson["m_step"](x, r, nu=nu)
        r, log_p = lesson["e_step"](x, log_pi, mu, Sigma)
        spread = torch.linalg.solve(Sigma, T).diagonal(dim1=1, dim2=2).sum(1)
        history.append((log_p.sum() - nu / 2 * (Sigma.logdet() + spread).sum()).item())
    assert np.diff(history).min() > -1e-8
    assert history[-1] > history[0]


def test_naive_bayes_is_scikit_learns(lesson):
    x, y = lesson["b_train"], lesson["c_train"]
    for alpha in (0.1, 1.0):
        log_pi, theta = lesson["fit_bernoulli"](x, y, 10, alpha)
        joint = lesson["log_joint"](lesson["b_test"], log_pi, theta)
        model = BernoulliNB(alpha=alpha).fit(x.numpy(), y.numpy())
        assert np.allclose(joint, model.predict_joint_log_proba(lesson["b_test"].numpy()), atol=1e-6)


def test_draws_follow_the_mixture(lesson):
    log_pi, mu = torch.tensor([0.2, 0.8]).double().log(), torch.tensor([[-3.0, 0.0], [2.0, 1.0]]).double()
    Sigma = torch.tensor([[[1.0, 0.8], [0.8, 1.0]], [[2.0, -0.5], [-0.5, 0.5]]]).double()
    x = lesson["sample"](40_000, log_pi, mu, Sigma, torch.Generator().manual_seed(0))
    mean = log_pi.exp() @ mu
    spread = (log_pi.exp()[:, None, None] * (Sigma + (mu - mean)[:, :, None] * (mu - mean)[:, None])).sum(0)
    assert torch.allclose(x.mean(0), mean, atol=0.06)
    assert torch.allclose(x.T.cov(), spread, atol=0.15)


def test_auc_is_scikit_learns(lesson):
    rng = np.random.default_rng(0)
    scores, flags = rng.normal(size=200), rng.random(200) < 0.3
    ours = lesson["auc"](*(torch.tensor(scores[part]) for part in (flags, ~flags)))
    assert ours == pytest.approx(roc_auc_score(flags, scores))


def test_the_kde_is_a_mixture_with_a_component_on_every_sample(lesson):
    points, x, h = clouds(3)[:50], clouds(3)[50:], 0.4
    flat = torch.full((50,), -math.log(50)).double(), points, h**2 * torch.eye(3).double().expand(50, 3, 3)
    assert torch.allclose(lesson["e_step"](x, *flat)[1], lesson["log_kde"](x, points, h), atol=1e-9)


def test_levels_add_up_to_one(lesson):
    log_pi, log_density = lesson["fit_levels"](lesson["y_train"], lesson["c_train"])
    assert torch.allclose((log_density.exp() / 17).sum(2), torch.ones(10, 64).double())
    assert log_pi.exp().sum().item() == pytest.approx(1)
