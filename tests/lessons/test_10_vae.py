"""Lesson 10_vae: its definitions agree with PyTorch's own and with the laws that they claim."""

import importlib.util
import math
from types import ModuleType

import numpy as np
import pytest
import torch
from course_root import COURSE
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from autograde.authoring.definitions import definitions
from autograde.course import hidden_tests


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "10_vae")


@pytest.fixture
def hidden(pytestconfig: pytest.Config) -> ModuleType:
    known = pytestconfig.getini("markers")
    known.append("exercise(name, weight=1): as the judge has it")
    spec = importlib.util.spec_from_file_location("hidden_10_vae", hidden_tests("10_vae"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    known.pop()
    return module


def draws(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_kl_and_density_are_torchs(lesson):
    mu, log_var, x = draws(40, 3), draws(39, 4)[:, :3].repeat(2, 1)[:40], draws(41, 3)[:40]
    q = Normal(mu, (0.5 * log_var).exp())
    prior = Normal(torch.zeros_like(mu), 1.0)
    assert torch.allclose(lesson["kl_to_prior"](mu, log_var), kl_divergence(q, prior))
    assert torch.allclose(lesson["log_normal"](x, mu, log_var), q.log_prob(x))


def test_the_oracles_of_the_hidden_tests_are_torchs_and_scipys(hidden):
    rng = np.random.default_rng(5)
    for N, D in ((1, 1), (9, 3), (500, 6)):
        pair = hidden.normal_pair(rng, N, D)
        mu_q, L_q, mu_p, L_p = map(torch.tensor, pair)
        q, p = MultivariateNormal(mu_q, scale_tril=L_q), MultivariateNormal(mu_p, scale_tril=L_p)
        assert hidden.kl_reference(*pair) == pytest.approx(kl_divergence(q, p).numpy(), rel=1e-9)
    u = np.concatenate([rng.uniform(size=50), [1e-300, 1e-12, 0.5, 1 - 1e-12]])
    assert hidden.deviations(u) == pytest.approx(stats.laplace.ppf(u), rel=1e-12)


def test_elbo_and_kl_add_up_to_log_p(lesson):
    for x in (-1.2, 0.0, 1.5):
        density, log_p = lesson["posterior"](x)
        assert torch.trapezoid(density, lesson["z_grid"]).item() == pytest.approx(1, abs=1e-6)
        mu, log_var, elbo = lesson["fit_q"](x, 200)
        gap = lesson["kl_on_grid"](mu, log_var, density)
        assert (elbo + gap).item() == pytest.approx(log_p.item(), abs=0.01)
        assert elbo < log_p


def test_both_gradients_have_the_right_mean(lesson):
    x, mu = torch.tensor([1.0, -0.3]), torch.tensor([0.5, 0.2])
    eps = torch.randn(400_000, 2, generator=torch.Generator().manual_seed(0))
    for samples in lesson["gradient_samples"](x, mu, 0.5, eps):
        assert torch.allclose(samples.mean(dim=0), 2 * (x - mu) - mu, atol=0.05)


def test_the_bound_rises_to_the_exact_value(lesson):
    eps = draws(512, 400, 2)
    log_w = lesson["linear_log_w"](lesson["best_mean"], lesson["best_log_var"] + 0.7, eps)
    bounds = [lesson["iwae"](log_w[:k]).mean().item() for k in (1, 8, 64, 512)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(lesson["exact"].item(), abs=0.02)


def test_the_weights_of_the_exact_posterior_are_constant(lesson):
    A, x, s2 = torch.tensor([[0.7], [0.2], [1.1]]).double(), lesson["x_linear"], lesson["S2"]
    names = {**lesson, "A": A}
    precision = 1 + (A.T @ A / s2).squeeze()
    mean, log_var = (A.T @ x / s2 / precision), -precision.log()[None]
    function = type(lesson["linear_log_w"])(lesson["linear_log_w"].__code__, names)
    log_w = function(mean, log_var, draws(50, 1))
    assert log_w.std() < 1e-10


def test_bernoulli_is_torchs_on_black_and_white(lesson):
    logits, x = draws(9, 1, 4, 4), (draws(9, 1, 4, 4) > 0).double()
    wanted = Bernoulli(logits=logits).log_prob(x).sum(dim=(1, 2, 3))
    assert torch.allclose(lesson["log_bernoulli"](x, logits), wanted)


def test_no_surprise_beyond_its_own_entropy_is_a_divergence(lesson):
    x, p = torch.rand(20, 64).double(), torch.rand(20, 64).double()
    excess = -lesson["log_bernoulli"](x, p.logit()) - lesson["own_entropy"](x)
    wanted = kl_divergence(Bernoulli(probs=x), Bernoulli(probs=p)).sum(dim=1)
    assert torch.allclose(excess, wanted)
    assert torch.allclose(-lesson["log_bernoulli"](x, x.logit()), lesson["own_entropy"](x))


def test_interpolations(lesson):
    a, b, t = draws(5), draws(1, 5)[0], torch.linspace(0, 1, 9).double()
    for walk in (lesson["lerp"], lesson["slerp"]):
        assert torch.allclose(walk(a, b, t)[[0, -1]], torch.stack([a, b]))
    arc = lesson["slerp"](a / a.norm(), b / b.norm(), t)
    assert torch.allclose(arc.norm(dim=1), torch.ones(9).double())
    steps = (arc[1:] * arc[:-1]).sum(dim=1)
    assert torch.allclose(steps, steps[0].expand(8))


def test_no_pixel_of_the_context_decoder_sees_itself_or_a_later_one(lesson):
    net = lesson["ContextVAE"](4).eval()
    x, z = torch.rand(1, 64), torch.randn(1, 4)
    jacobian = torch.autograd.functional.jacobian(lambda v: net.decode(z, v)[0], x)[:, 0]
    assert (jacobian.triu() == 0).all()
    assert (jacobian.tril(-1) != 0).float().sum() > 1_900


def test_auc_is_scikit_learns(lesson):
    rng = np.random.default_rng(0)
    scores, flags = rng.normal(size=200), rng.random(200) < 0.3
    ours = lesson["auc"](*(torch.tensor(scores[part]) for part in (flags, ~flags)))
    assert ours == pytest.approx(roc_auc_score(flags, scores))


def test_slant_and_ink(lesson):
    row, column = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    for lean in (0.0, 0.3, -0.2):
        x = torch.exp(-0.5 * (column - 7.5 + lean * (row - 7.5)) ** 2 - 0.05 * (row - 7.5) ** 2)[None, None]
        assert lesson["slant"](x).item() == pytest.approx(lean, abs=0.02)
    assert lesson["ink"](torch.full((2, 1, 4, 4), 0.25)).tolist() == [0.25, 0.25]


def test_training_steps_raise_the_bound(lesson):
    torch.manual_seed(0)
    net = lesson["ConditionalVAE"](8, 4)
    optimiser = lesson["adam"](net, 3e-3)
    g = torch.Generator().manual_seed(1)
    x, c = torch.rand(64, 1, 16, 16, generator=g).round(), torch.arange(64) % 36
    bounds = []
    for _ in range(40):
        terms = lesson["training_step"](net, optimiser, x, c, torch.randn(64, 4, generator=g))
        bounds.append((terms[0] - terms[1]).item())
    assert bounds[-1] > bounds[0] + 1


def test_one_step_at_full_size():
    """The network of the full setting: one step of four pictures changes every parameter, all stay finite."""
    names = definitions(COURSE, "10_vae", "full")
    S = names["S"]
    torch.manual_seed(0)
    net = names["ConditionalVAE"](S.width, S.latent).to(names["device"])
    before = [p.detach().clone() for p in net.parameters()]
    x = torch.rand(4, 1, 16, 16, device=names["device"])
    c = torch.arange(4, device=names["device"])
    noise = names["noise"](4, S.latent, seed=0)
    terms = names["training_step"](net, names["adam"](net, 4e-3), x, c, noise)
    assert all(math.isfinite(term.item()) for term in terms)
    assert all(not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))
    assert all(p.isfinite().all() for p in net.parameters())
