# %% [markdown]
# # 02 · Naive Bayes and Gaussian mixtures
#
# > **A mixture is a few simple guesses and one hidden label. If you know the label, fitting is
# > counting. If you do not, guess it, count, and guess again.**
#
# | | |
# |---|---|
# | You will build | naive Bayes, which reads digits and draws them; a Gaussian mixture, fitted by EM, which draws digits, cleans noisy ones and notices one that it never met; in the exercises, an EM of your own, whose hidden label is a number |
# | You need to know | lesson 01 (densities, held-out nats, dequantisation); Bayes' rule; matrix products, gradients |
# | Time on two CPU cores | a minute to run, an hour and a half to read, two hours to solve; no GPU needed |

# %% folded="Imports and settings"
# long: imports, and every setting
import math
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression  # a classifier to compare with, in section 6

import genmap
from genmap import board, data, diagram, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
if device.type == "mps":
    device = torch.device("cpu")  # everything below is float64, which Apple's GPUs do not have
torch.set_num_threads(1)  # on a CPU: the matrices are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    sizes=((1, 2, 5), (1, 2, 5, 10, 20, 40), (1, 2, 5, 10, 20, 40, 80)),
    steps=(10, 60, 300),
    seeds=(2, 10, 50),
    left_out=((1, 8), range(10), range(10)),
    draws=(270, 1_000, 9_990),
    crowd=(4, 20, 20),
    widths=((0.1, 0.2), (0.06, 0.08, 0.1, 0.12, 0.14, 0.16), (0.06, 0.08, 0.1, 0.12, 0.14, 0.16)),
)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("mixture")
diagram.machine(
    "π, μ, Σ | at first a guess -> [E-step | Bayes' rule] -> r | (N, K) -> [M-step | counting] -> new π, μ, Σ"
    " | K of each -> [draw | k, then x] -> new x | (n, D)",
    "x | (N, D), the data -> E-step",
    "x -> M-step",
    title="To train, put the new π, μ, Σ in at the left, until nothing is gained",
)
plt.show()

# %% [markdown]
# The box that is lit, and its neighbour *naive Bayes*, are the oldest on the map. They stand in bucket 1:
# the density is explicit, exact and cheap. The machine has two halves. The *E-step* asks which of $K$ simple
# densities may have made each $x$; the *M-step* fits each of them to its share of the data.
#
# ## The compromise
#
# A density over pictures must add up to 1 over all pictures. These two families get there by
# *restricting the shape*. Naive Bayes says: once the class is known, the pixels have nothing to do with each
# other. A Gaussian mixture says: the data are a few clouds, each an ellipsoid. Neither is true of
# digits. For this price everything comes in closed form: the density, samples, the class given the picture,
# every part of the picture given the rest.
#
# | | naive Bayes | Gaussian mixture |
# |---|---|---|
# | What is modelled? | features one by one: here binary pixels | real vectors: here 1, 2 or 64 numbers |
# | Is the density explicit? | yes, exact | yes, exact |
# | Is sampling one-shot or iterative? | one-shot: a class, then all pixels | one-shot: a component, then one normal vector |
# | What conditions it? | the class; Bayes' rule turns it round | the component, a class, or any of the coordinates |
# | How is it evaluated, and how does that fail? | accuracy: good even where its probabilities are far too sure | held-out log-likelihood: on training data it has no upper limit |
#
# Pearson (1894) split the measurements of a thousand crabs into two normal curves, by solving a polynomial of
# degree nine by hand. Maron (1961) sorted articles by their words with what is now called naive Bayes.
# Dempster, Laird and Rubin (1977) saw that dozens of algorithms for hidden labels were one algorithm, gave it
# the name *EM*, and showed why it climbs. The variational autoencoder and the diffusion model are its
# descendants: they, too, guess what is hidden and raise a lower bound.
#
# | symbol | is |
# |---|---|
# | $x_n$; $N$, $D$ | a picture or point, numbers in a row; how many there are, and how many numbers each has |
# | $c$; $k$, $K$ | a class, whose label is known; a component, whose label is hidden, and how many there are |
# | $\pi$ | the share of each class or component; they add up to 1 |
# | $\theta_{cd}$ | the probability that pixel $d$ is inked in class $c$ |
# | $\alpha$ | imagined throws added to both sides of a coin |
# | $\mu_k$, $\Sigma_k$ | mean and covariance matrix of component $k$ |
# | $r_{nk}$, $N_k$ | the responsibility of component $k$ for $x_n$, and its sum over $n$ |
# | $F(r)$, $\ell$ | the lower bound with the weights $r$; the log-likelihood of all data |
# | $\varepsilon$ | a floor under every variance |
# | $\nu$, $T$ | how many digits are imagined in each component, and their covariance: that of all data |
# | $P$ | how many numbers a model is free to choose |
# | $\eta$, $s$ | standard normal noise; the width of noise that is added |
#
# ## 1 · The label is known: naive Bayes
#
# Let $x \in \{0, 1\}^D$ be a binary picture and $c$ its class. A general table of $p(x \mid c)$ has $2^D$
# entries. Naive Bayes keeps $D$: every pixel is a coin of its own.
#
# $$p(x, c) = \pi_c \prod_{d=1}^D \theta_{cd}^{\,x_d}\,(1 - \theta_{cd})^{1 - x_d}$$
#
# How should the coins be set? Take one of them. In the $N_c$ training pictures of class $c$, pixel $d$ is inked $a$
# times. The log-likelihood of that is $a \log\theta + (N_c - a)\log(1 - \theta)$, with the slope
#
# $$\frac a\theta - \frac{N_c - a}{1 - \theta},\qquad\text{which is 0 at}\quad \theta = \frac a{N_c} .$$
#
# To the left of it the slope is positive, to the right negative: this is the top, and the best coin is the share that
# we *count*. In the same way $\pi_c = N_c / N$ (section 2 proves it for any number of shares). A pixel that was never
# inked in a class would be impossible there for ever. So imagine $\alpha$ more throws on each side of each
# coin (*Laplace smoothing*), and count them, too:
#
# $$\theta_{cd} = \frac{\alpha + \sum_{n:\,c_n = c} x_{nd}}{2\alpha + N_c} .$$
#
# A product of many probabilities leaves the range of floating-point numbers, so we keep its logarithm. To
# draw a picture of a class, throw its 64 coins.


# %% build="counting"
def fit_bernoulli(x, c, classes, alpha=0.3):
    """The shares and the coins: x (N, D) of 0 and 1, c (N,) -> log pi (C,), theta (C, D)."""
    ### BEGIN SOLUTION
    one_hot = torch.nn.functional.one_hot(c, classes).to(x)  # (N, C)
    n = one_hot.sum(dim=0)
    return (n / n.sum()).log(), (one_hot.T @ x + alpha) / (n[:, None] + 2 * alpha)
    ### END SOLUTION


def log_joint(x, log_pi, theta):
    """log p(x, c) in nats for every class: (N, D) -> (N, C)."""
    ### BEGIN SOLUTION
    return log_pi + x @ theta.log().T + (1 - x) @ (1 - theta).log().T
    ### END SOLUTION


def draw_bernoulli(c, theta, generator):
    """One binary picture for each class in c: (n,), (C, D) -> (n, D)."""
    return torch.bernoulli(theta[c].cpu(), generator=generator).to(theta)


# %% check="counting"
# Two classes of pictures with four pixels, whose truth is known: all 16 pictures can be added up.
pi_true = torch.tensor([0.3, 0.7], dtype=torch.float64)
theta_true = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.1, 0.5, 0.6, 0.9]], dtype=torch.float64)
g = torch.Generator().manual_seed(1)
c_toy = torch.multinomial(pi_true, 20_000, replacement=True, generator=g)
log_pi_toy, theta_toy = fit_bernoulli(draw_bernoulli(c_toy, theta_true, g), c_toy, 2)
every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)  # (16, 4)
total = log_joint(every, log_pi_toy, theta_toy).exp().sum().item()
worst = (theta_toy - theta_true).abs().max().item()
assert worst < 0.03, f"with 20,000 pictures a coin is off by {worst:.3f}"
assert math.isclose(total, 1), f"p must add up to 1 over all pictures and classes, not to {total}"
one = fit_bernoulli(torch.ones(2, 1), torch.zeros(2).long(), 1, alpha=1.0)[1].item()
assert math.isclose(one, 0.75, rel_tol=1e-6), f"2 of 2 throws, and 1 imagined on each side: 3/4, not {one}"
print(f"largest error of a coin: {worst:.3f}; p over all 16 pictures: {total:.12f}")

# %% [markdown]
# Now real digits: a pixel is ink where its grey is one half or more. The split into training, validation and
# test digits is that of lesson 01. **As a classifier**, naive Bayes needs one division, in log space a subtraction:
#
# $$\log p(c \mid x) = \log p(x, c) - \log \sum_{c'} p(x, c') .$$
#
# **Question.** The most probable class is right for some share of the held-out digits. The model also says
# how sure it is: the mean of $\max_c p(c \mid x)$. Will it be as sure as it is right, surer, or less sure?
#
# <details><summary>Answer</summary>
#
# Surer. Ten pixels of one stroke are one piece of evidence, and naive Bayes counts them ten times.
# </details>

# %%
digits = data.digits()
c_train, c_val, c_test = (torch.as_tensor(part.y, device=device) for part in digits)
b_train, b_val, b_test = (
    torch.as_tensor(part.x, device=device).flatten(1).ge(0.5).double() for part in digits
)
log_pi, theta = fit_bernoulli(b_train, c_train, 10)
print({name: tuple(part.shape) for name, part in (("train", b_train), ("val", b_val), ("test", b_test))})
print(f"naive Bayes stores {theta.numel() + 9} numbers")

# %% tags=["demo"]
# long: how sure, how right, and a table of alphas
log_p_b = torch.logsumexp(log_joint(b_test, log_pi, theta), dim=1)  # log p(x) of the binary digit
b_held, c_held = torch.cat([b_val, b_test]), torch.cat([c_val, c_test])
sure, guess = log_joint(b_held, log_pi, theta).softmax(dim=1).max(dim=1)
reads = (guess == c_held).double().mean().item()
print(f"540 held-out digits: accuracy {reads:.3f}, but on average {sure.mean():.3f} sure of itself")
print(f"test digits: {log_p_b.mean():.2f} nats each (the uniform density: {-64 * math.log(2):.2f})")
by_alpha = {}
for alpha in (0.0, 0.01, 0.1, 0.3, 1.0, 10.0):
    lp, th = fit_bernoulli(b_train, c_train, 10, alpha)
    ruled_out = ((b_val @ (th == 0).double().T) + ((1 - b_val) @ (th == 1).double().T)) > 0  # (M, 10)
    own = ruled_out[torch.arange(len(c_val)), c_val].sum()
    joint = log_joint(b_val, lp, th.clamp(1e-12, 1 - 1e-12)).masked_fill(ruled_out, -math.inf)
    by_alpha[alpha] = torch.logsumexp(joint, dim=1).mean().item()
    text = f"{by_alpha[alpha]:6.2f} nats, accuracy {(joint.argmax(1) == c_val).double().mean():.3f}"
    print(
        f"alpha = {alpha:5}: {text}; the true class is ruled out for {own} of {len(c_val)} validation digits"
    )
board.claim("With coins alone it reads about nine held-out digits of ten.", 0.87 < reads < 0.93)
board.claim("It is surer of itself than it is right.", bool(sure.mean() > reads + 0.03))
board.claim("The validation digits choose α = 0.3.", max(by_alpha, key=by_alpha.get) == 0.3)

# %% [markdown]
# Without smoothing, one validation digit has a pixel that no class allows, and $-\infty$ for it makes the mean over all
# digits $-\infty$. A hundredth of a throw mends that. Then little changes: a hundred digits of each class are enough for
# 64 coins. (The more features and the fewer examples, as with texts, the more $\alpha$ matters.) Large values drown the
# counts. The validation digits choose $\alpha = 0.3$, which `fit_bernoulli` has by default.
#
# With coins alone naive Bayes reads about nine held-out digits of ten, and it is surer of itself than it is right.
#
# **As a sampler.** Choose a class and throw 64 coins.

# %% folded="Figure: the coins, draws and real digits" tags=["demo"]
ten = torch.arange(10, device=device).repeat(2)
coins = draw_bernoulli(ten, theta, torch.Generator().manual_seed(2))
real_rows = torch.cat([(c_test == c).nonzero()[:2] for c in range(10)], 1).flatten()
plot.images(theta.reshape(-1, 8, 8), title=r"The coins $\theta_c$: how often each pixel is inked")
plt.show()
fig, axes = plot.figure(2, 1, height=1.9)
plot.images(coins.reshape(-1, 8, 8), ax=axes[0], title="Drawn by naive Bayes, class 0 to 9")
plot.images(b_test[real_rows].reshape(-1, 8, 8), ax=axes[1], title="Real digits, held out")
plt.show()

# %% [markdown]
# Most can be guessed, and none looks written: the strokes are frayed, with holes in them and crumbs beside
# them. Each pixel is inked as often as it should be, but none knows of its neighbours. Section 10 measures
# that.
#
# ## 2 · The label is hidden: a mixture
#
# Take the labels away. The density of $x$ alone is the sum over the label that nobody told us, and a density
# that is such a sum is a *mixture*. With normal components it is
#
# $$p(x) = \sum_{k=1}^K \pi_k\, \mathcal N(x;\, \mu_k, \Sigma_k),\qquad
# \log \mathcal N = -\tfrac12\big(\lVert L^{-1}(x - \mu)\rVert^2 + 2 \textstyle\sum_d \log L_{dd} + D \log 2\pi\big) .$$
#
# $\Sigma_k$ is a full covariance matrix, and $L$ its Cholesky factor: lower triangular, with
# $LL^\top = \Sigma$. It gives the distance (by solving a triangular system, without an inverse) and the determinant
# (the product of its diagonal, squared).
#
# **Why is this harder than counting?** The log-likelihood is
# $\sum_n \log \sum_k \pi_k\,\mathcal N(x_n; \mu_k, \Sigma_k)$. A logarithm of a *product* falls apart into terms, one
# for each parameter. The logarithm of a *sum* does not: set a slope to 0, and all parameters stand in all equations.
# Two facts help. If somebody told us the component of each $x$, fitting would be counting, as in section 1. If somebody
# told us the parameters, Bayes' rule would tell the component, as it told the class. The trick that makes the family
# work turns these two into one ascent: **weights $r$ put the sum outside the logarithm, and what is lost by it is a KL
# divergence, which one can set to 0.**
#
# For one $x$ take any weights $r_k \ge 0$ that add up to 1. Then
#
# $$\begin{aligned}
# \log p(x) &= \sum_k r_k \log p(x) && r \text{ adds up to 1}\\
# &= \sum_k r_k \log \frac{p(x, k)}{p(k \mid x)} && \text{Bayes' rule, solved for } p(x)\\
# &= \underbrace{\sum_k r_k \log \frac{p(x, k)}{r_k}}_{\text{lower bound } F(r)} +
# \underbrace{\sum_k r_k \log \frac{r_k}{p(k \mid x)}}_{\mathrm{KL}(r\,\|\,p(k \mid x))} && \text{times and divided by } r_k
# \end{aligned}$$
#
# The KL divergence is never negative. For any $u > 0$ we have $\log u \le u - 1$, the tangent at $u = 1$; so
# $-\mathrm{KL} = \sum_k r_k \log\frac{p(k \mid x)}{r_k} \le \sum_k r_k\big(\frac{p(k \mid x)}{r_k} - 1\big) \le 1 - 1 = 0$,
# and it is 0 only where $r_k = p(k \mid x)$ for all $k$. Hence $F(r) \le \log p(x)$, and the two touch if $r$ is what
# Bayes' rule gives. That is the **E-step**:
#
# $$r_{nk} = p(k \mid x_n) = \frac{\pi_k\,\mathcal N(x_n; \mu_k, \Sigma_k)}{\sum_j \pi_j\,\mathcal N(x_n; \mu_j, \Sigma_j)} ,$$
#
# the *responsibility* of component $k$ for $x_n$. In $F$ the logarithm stands at one component at a time.


# %% build="e-step"
# long: the density of a component, the E-step, and the bound
def log_normal(x, mu, Sigma):
    """log N(x; mu_k, Sigma_k) in nats: (N, D), (K, D), (K, D, D) -> (N, K).

    Raises torch.linalg.LinAlgError where a Sigma_k is not positive definite.
    """
    ### BEGIN SOLUTION
    L = torch.linalg.cholesky(Sigma)
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False)  # (K, D, N)
    log_det = 2 * L.diagonal(dim1=1, dim2=2).log().sum(dim=1)  # (K,)
    return -0.5 * (z.square().sum(dim=1).T + log_det + x.shape[1] * math.log(2 * math.pi))
    ### END SOLUTION


def e_step(x, log_pi, mu, Sigma):
    """r (N, K), each row summing to 1, and log p(x) in nats (N,)."""
    ### BEGIN SOLUTION
    joint = log_pi + log_normal(x, mu, Sigma)  # log p(x, k)
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p
    ### END SOLUTION


def bound(x, r, log_pi, mu, Sigma):
    """F(r) in nats, sum_k r_k (log p(x, k) - log r_k), for any r (N, K) whose rows add up to 1: (N,)."""
    ### BEGIN SOLUTION
    return (r * (log_pi + log_normal(x, mu, Sigma))).sum(dim=1) - torch.xlogy(r, r).sum(dim=1)
    ### END SOLUTION


# %% check="e-step"
two = (
    torch.tensor([0.25, 0.75], dtype=torch.float64).log(),
    torch.tensor([[0.0, 0.0], [3.0, 1.0]], dtype=torch.float64),
    torch.tensor([[[1.0, 0.8], [0.8, 1.0]], [[2.0, 0.0], [0.0, 0.5]]], dtype=torch.float64),
)
x_two = 2 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
theirs = [torch.distributions.MultivariateNormal(m, C).log_prob(x_two) for m, C in zip(*two[1:], strict=True)]
assert torch.allclose(log_normal(x_two, *two[1:]), torch.stack(theirs, 1)), "not torch's own normal density"
r_two, log_p_two = e_step(x_two, *two)
assert torch.allclose(r_two.sum(1), torch.ones_like(log_p_two)), "a sample's responsibilities add up to 1"
assert torch.allclose(bound(x_two, r_two, *two), log_p_two), "with the E-step's r the bound touches log p(x)"
r_any = torch.full_like(r_two, 0.5)
gap_two = (r_any * (r_any / r_two).log()).sum(1)  # KL(r || p(k | x))
assert torch.allclose(bound(x_two, r_any, *two) + gap_two, log_p_two), (
    "the bound lies below by the KL, exactly"
)

# %% [markdown]
# The **M-step** holds $r$ and chooses the parameters that make $F$ largest. Of $F$, only
# $\sum_{n,k} r_{nk} \big[\log \pi_k + \log \mathcal N(x_n; \mu_k, \Sigma_k)\big]$ depends on them. Each parameter
# stands in a term of its own, and the best values are those of counting, with $r_{nk}$ as the share of $x_n$ that
# belongs to component $k$:
#
# $$N_k = \sum_n r_{nk},\quad \pi_k = \frac{N_k}{N},\quad \mu_k = \frac1{N_k}\sum_n r_{nk}\, x_n,\quad
# \Sigma_k = \frac{\sum_n r_{nk}(x_n - \mu_k)(x_n - \mu_k)^\top + \nu\, T}{N_k + \nu} + \varepsilon I .$$
#
# With $\nu = \varepsilon = 0$ this is the top of $F$. Both are repairs for later.
#
# <details><summary>Derivation, step by step</summary>
#
# *Shares.* Write $f_k = N_k/N$. Then $\sum_k N_k \log \pi_k = N\big[\sum_k f_k \log f_k - \mathrm{KL}(f\,\|\,\pi)\big]$.
# Only the KL contains $\pi$; it is 0 at $\pi = f$ and positive elsewhere. (This proves the shares of section 1, too.)
#
# *Means.* The term with $\mu_k$ is $-\tfrac12 \sum_n r_{nk}(x_n - \mu_k)^\top \Lambda_k (x_n - \mu_k)$, where
# $\Lambda_k = \Sigma_k^{-1}$. Its gradient is $\Lambda_k \sum_n r_{nk}(x_n - \mu_k)$. $\Lambda_k$ is invertible, so the
# sum must be 0: $\sum_n r_{nk} x_n = N_k \mu_k$. The mean does not depend on the covariance.
#
# *Covariances.* Let $S_k = \sum_n r_{nk}(x_n - \mu_k)(x_n - \mu_k)^\top$. As
# $a^\top \Lambda a = \operatorname{tr}(\Lambda\, a a^\top)$, the terms with $\Lambda_k$ are
# $\tfrac12 N_k \log\lvert\Lambda_k\rvert - \tfrac12 \operatorname{tr}(\Lambda_k S_k)$. The gradient of
# $\log\lvert\Lambda\rvert$ is $\Lambda^{-1}$, and that of the trace is $S_k$. So
# $\tfrac12 N_k \Lambda_k^{-1} - \tfrac12 S_k = 0$, and $\Sigma_k = \Lambda_k^{-1} = S_k / N_k$. The function is concave
# in $\Lambda_k$, so this is its top, if $S_k$ is invertible. If not, there is none: section 10.
#
# *Imagined samples.* $\nu$ more samples around $\mu_k$ with covariance $T$ add $\tfrac\nu2\big(\log\lvert\Lambda_k\rvert
# - \operatorname{tr}(\Lambda_k T)\big)$: the same terms, with $N_k + \nu$ for $N_k$ and $S_k + \nu
#   T$ for $S_k$. What then climbs is the log-likelihood *plus* these terms. The floor $\varepsilon$ comes from no
# such objective; it is added afterwards.
# </details>


# %% build="m-step"
def m_step(x, r, floor=0.0, nu=0.0):
    """The parameters that fit x (N, D), given r (N, K): log pi, mu (K, D), Sigma (K, D, D)."""
    ### BEGIN SOLUTION
    D = x.shape[1]
    n = r.sum(dim=0) + 10 * torch.finfo(x.dtype).eps  # a component may lose all its samples
    mu = r.T @ x / n[:, None]
    gap = x - mu[:, None]  # (K, N, D)
    scatter = (r.T[:, :, None] * gap).mT @ gap  # (K, D, D)
    T = x.T.cov(correction=0).reshape(D, D)
    Sigma = (scatter + nu * T) / (n + nu)[:, None, None] + floor * torch.eye(D).to(x)
    return (n / n.sum()).log(), mu, Sigma
    ### END SOLUTION


# %% check="m-step"
best = m_step(x_two, r_two)
top = bound(x_two, r_two, *best).sum()
for i in range(3):  # log shares, means, covariances
    for way in (0.05, -0.05):
        moved = [v.clone() for v in best]
        moved[i].view(-1)[0] += way
        moved[0] = moved[0].log_softmax(0)  # so that the shares add up to 1
        lower = bound(x_two, r_two, *moved).sum()
        assert lower < top, f"the {('shares', 'means', 'covariances')[i]} can be moved to a higher bound"
assert torch.allclose(best[0].exp().sum(), torch.ones(()).to(x_two)), "the shares add up to 1"
some = m_step(x_two, r_two, floor=0.5, nu=1e12)[2]
all_data = x_two.T.cov(correction=0) + 0.5 * torch.eye(2).to(x_two)
assert torch.allclose(some[0], all_data), "many imagined samples: the covariance of all data, and the floor"

# %% [markdown]
# **Why it climbs.** Write $\ell$ for the log-likelihood, the sum of $\log p(x_n)$. One round of EM goes up a
# chain of three:
#
# $$\ell(\text{old}) \overset{\text{E-step}}{=} F(r, \text{old}) \overset{\text{M-step}}{\le} F(r, \text{new}) \overset{\mathrm{KL}\,\ge\,0}{\le} \ell(\text{new}) .$$
#
# The E-step makes the bound touch, the M-step takes its highest point, and $\ell$ lies nowhere below it. With
# $\nu = \varepsilon = 0$ a single fall would be a bug. Where $F$ touches $\ell$ from below the two have the same
# slope, so EM stands still only where the slope of $\ell$ is 0. The same bound, with a network in the place
# of Bayes' rule, will train the variational autoencoder in lesson 10.
#
# **Where to start?** *k-means++* (Arthur and Vassilvitskii, 2007) takes a sample as the first centre, and each
# further one at random with probability proportional to its squared distance to the nearest centre so far. So
# the centres lie apart. Each sample then belongs to the nearest one.


# %% build="em"
# long: where EM begins, and its loop
def start(x, K, generator):
    """k-means++: responsibilities of 0 and 1 to begin with, (N, D) -> (N, K)."""
    centres = x[torch.randint(len(x), (1,), generator=generator).to(x.device)]
    for _ in range(K - 1):
        d2 = torch.cdist(x, centres).square().min(dim=1).values
        chosen = torch.multinomial(d2.cpu(), 1, generator=generator).to(x.device)
        centres = torch.cat([centres, x[chosen]])
    return torch.nn.functional.one_hot(torch.cdist(x, centres).argmin(dim=1), K).to(x)


def em(x, r, steps, floor=0.0, nu=0.0, tol=1e-5):
    """M-step, then E-step, until ten gain less than tol: (log pi, mu, Sigma), mean log p of each step."""
    ### BEGIN SOLUTION
    history = []
    for step in range(steps):
        parameters = m_step(x, r, floor, nu)
        r, log_p = e_step(x, *parameters)
        history.append(log_p.mean())
        if step and step % 10 == 0 and history[-1] - history[-11] < tol:  # the device waits once in ten
            break
    return parameters, torch.stack(history).cpu()
    ### END SOLUTION


# %% check="em"
far = torch.cat(
    [torch.randn(30, 1, generator=torch.Generator().manual_seed(s)) + m for s, m in ((0, 0), (1, 50))]
)
found, climb = em(far.double(), start(far.double(), 2, torch.Generator().manual_seed(0)), 50)
assert torch.allclose(found[0].exp(), torch.full((2,), 0.5).double()), (
    "two clouds far apart, thirty samples each"
)
means = torch.stack([far[:30].mean(), far[30:].mean()]).double()
assert torch.allclose(found[1].flatten().sort().values, means), "their means, as if the labels were known"
assert (climb.diff() > -1e-12).all(), "the log-likelihood fell"
assert len(climb) < 50, "it should stop by itself when ten steps gain less than tol"
assert len(em(far.double(), torch.full((60, 2), 0.5).double(), 3)[1]) == 3, (
    "an entry of history for each step"
)

# %% [markdown]
# ### One dimension, where the truth is known
#
# These are the two modes of lesson 01: 2,000 numbers from
# $\tfrac12 \mathcal N(-0.6, 0.4^2) + \tfrac12 \mathcal N(0.6, 0.4^2)$. The modes overlap, so that no label
# can be told for sure. We start badly on purpose: the second component gets the right tail and the first all
# the rest. **Question.** How many steps until both means are within 0.01 of where they end: about 10, 100 or 1,000?
#
# <details><summary>Answer</summary>
#
# About a hundred. Where both components claim a sample, its responsibility moves only a little in a step. Near the top
# the distance shrinks by the same factor each step, printed below; it is the nearer to 1 the more of the labels is
# hidden (Dempster, Laird and Rubin). EM needs no step size and never overshoots, and this is its price.
# </details>

# %%
MU, SIGMA = 0.6, 0.4


def mixture_sample(n, rng):
    """n numbers from the two-mode mixture, as a column: (n, 1)."""
    x = rng.choice([-MU, MU], size=n) + SIGMA * rng.normal(size=n)
    return torch.tensor(x[:, None], device=device)


def log_kde(x, points, h):
    """Lesson 01's kernel density estimate in nats: (M, D), (N, D) -> (M,)."""
    N, D = points.shape
    terms = torch.cdist(x, points).square() / (-2 * h**2)
    return torch.logsumexp(terms, dim=1) - math.log(N) - D / 2 * math.log(2 * math.pi * h**2)


line, line_held = (mixture_sample(2_000, np.random.default_rng(seed)) for seed in (1, 7))
truth = (
    torch.full((2,), 0.5, dtype=torch.float64, device=device).log(),
    torch.tensor([[-MU], [MU]], dtype=torch.float64, device=device),
    torch.full((2, 1, 1), SIGMA**2, dtype=torch.float64, device=device),
)

# %% tags=["demo"]
snapshots, loss = {}, progress.Curve("EM on the line", "step", "mean log-likelihood, nats")
r = torch.cat([line < 1, line >= 1], dim=1).to(line)  # the second component gets the right tail only
for step in range(401):
    parameters = m_step(line, r)
    r, log_p = e_step(line, *parameters)
    loss.add(step, log_p.mean())
    snapshots[step] = parameters
loss.close()
shown = zip(("pi", "mu", "sigma"), (parameters[0].exp(), parameters[1], parameters[2].sqrt()), strict=True)
print(*(f"{name} {value.flatten().cpu().numpy().round(3)}" for name, value in shown))
apart = [(p[1] - parameters[1]).abs().max().item() for p in snapshots.values()]
slow = sum(gap > 0.01 for gap in apart)
print(f"both means within 0.01 of where they end: after {slow} steps;", end=" ")
print(f"near the end a step leaves {apart[100] / apart[99]:.2f} of the distance")
board.claim("It takes about a hundred steps.", 60 < slow < 160)

# %% folded="Figure: the components find the modes" tags=["demo"]
t = torch.linspace(-2.2, 2.2, 441, dtype=torch.float64, device=device)[:, None]
fig, axes = plot.figure(1, 4, height=2.7)
for ax, step in zip(axes, (0, 10, 50, 400), strict=True):
    log_pi_s, mu_s, Sigma_s = snapshots[step]
    parts = (log_pi_s + log_normal(t, mu_s, Sigma_s)).exp().cpu()  # (441, 2)
    ax.fill_between(t[:, 0].cpu(), e_step(t, *truth)[1].exp().cpu(), color=plot.RULE)
    for part, colour in zip(parts.T, (plot.COLOURS.blue, plot.COLOURS.vermilion), strict=True):
        ax.plot(t[:, 0].cpu(), part, color=colour, lw=1.8)
    ax.plot(t[:, 0].cpu(), parts.sum(1), color=plot.INK, lw=1.2)
    nats = f"{e_step(line, *snapshots[step])[1].mean():.4f} nats".replace("-", "−")
    ax.set(title=f"step {step}", ylim=(0, 0.62), xticks=[-1, 0, 1], xlabel=nats)
    ax.tick_params(labelleft=ax is axes[0])
plt.show()

# %% [markdown]
# The components (blue, vermilion) find the two modes of the truth (grey). Now the chain of three, drawn. Of
# the five parameters let one move, the mean of the second component, and hold the others at the truth. The black curve is
# the log-likelihood, each coloured one the bound $F$ for the $r$ of one E-step: it touches at the dot, and its top is the
# next dot.


# %% folded="Figure: a bound touches, its top is the next step" tags=["demo"]
# long: one figure, and the chain checked over many starts
def moved_mean(m):
    """The truth with another mean of the second component."""
    return truth[0], torch.stack([truth[1][0], torch.full_like(truth[1][1], m)]), truth[2]


ms = np.linspace(-0.1, 1.25, 81)
fig, ax = plot.figure(height=3.0)
ax.plot(ms, [e_step(line, *moved_mean(m))[1].mean().item() for m in ms], color=plot.INK, label=r"$\ell / N$")
m, colours = 0.03, (plot.COLOURS.vermilion, plot.COLOURS.orange, plot.COLOURS.blue)
for step, colour in enumerate(colours):
    r_m, log_p_m = e_step(line, *moved_mean(m))
    below = [bound(line, r_m, *moved_mean(v)).mean().item() for v in ms]
    ax.plot(ms, below, color=colour, lw=1.5, label=f"$F$ after E-step {step + 1}")
    ax.plot(m, log_p_m.mean().item(), "o", color=colour, ms=8)
    m = (r_m[:, 1] @ line[:, 0] / r_m[:, 1].sum()).item()
ax.set(xlabel=r"mean $\mu_2$", ylabel="nats a sample", ylim=(-1.5, -1.0))
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()
falls = 0
for seed in range(S.seeds):
    _, history = em(line, start(line, 3, torch.Generator().manual_seed(seed)), 200)
    falls += int((history.diff() < -1e-12).sum())
held = {"EM": e_step(line_held, *snapshots[400])[1].mean().item()}
held["truth"] = e_step(line_held, *truth)[1].mean().item()
print(f"steps at which the log-likelihood fell, over {S.seeds} starts with 3 components: {falls}")
held["KDE"] = max(log_kde(line_held, line, h).mean().item() for h in np.geomspace(0.05, 0.5, 25))
print("held-out nats:", {name: round(value, 4) for name, value in held.items()})
board.claim("No step of any start fell.", falls == 0)
board.claim("Five numbers come within 0.01 nats of the truth.", held["EM"] > held["truth"] - 0.01)
board.claim("So does the KDE, with 2,000 stored samples.", abs(held["KDE"] - held["truth"]) < 0.01)

# %% [markdown]
# No step of any start fell. On fresh numbers the mixture comes within 0.01 nats of the truth, and so does lesson 01's KDE
# with the bandwidth that suits them best. The KDE stores 2,000 samples, the mixture five numbers.
#
# ## 3 · How many components? BIC
#
# More components never fit the training data worse: the better of two models with $K$ and $K + 1$ components must be
# chosen by something else. One could ask how probable the *data* are under each model, if its parameters $\vartheta$ ($P$
# of them) are unknown and only have a prior:
# $p(\text{data} \mid K) = \int p(\text{data} \mid \vartheta)\, p(\vartheta)\, d\vartheta$. With many samples this
# integral needs nothing but the best fit $\hat\vartheta$:
#
# $$\log p(\text{data} \mid K) = \ell(\hat\vartheta) - \tfrac P2 \log N + \text{terms that do not grow with } N .$$
#
# Each parameter costs $\tfrac12 \log N$ nats: the *Bayesian information criterion* (Schwarz, 1978). By custom both sides
# are taken times $-2$, so that lower is better:
#
# $$\text{BIC}(K) = -2\,\ell(\hat\vartheta) + P_K \log N,\qquad P_K = (K - 1) + KD + K\,\tfrac{D(D+1)}2 .$$
#
# <details><summary>Where ½ log N comes from</summary>
#
# $\ell$ is a sum of $N$ terms, so its curvature at the top is about $N H$, where $H$ is the mean curvature of one
# sample's term and does not grow. Near the top
# $\ell(\vartheta) \approx \ell(\hat\vartheta) - \tfrac N2 (\vartheta - \hat\vartheta)^\top H (\vartheta - \hat\vartheta)$.
# So the integrand is $e^{\ell(\hat\vartheta)}\, p(\hat\vartheta)$ times a normal density without its factor, with
# covariance $(NH)^{-1}$. The factor is known: the integral is
# $e^{\ell(\hat\vartheta)}\, p(\hat\vartheta)\, (2\pi)^{P/2}\, \lvert NH \rvert^{-1/2}$, and
# $\lvert NH \rvert = N^P \lvert H \rvert$. The logarithm has $-\tfrac P2 \log N$, and the rest does not contain $N$.
# In words: $N$ samples tell a parameter to a width like $1/\sqrt N$, and only this share of what was plausible before
# survives.
# </details>
#
# It needs no held-out data. It is derived for many samples for each parameter; keep that in mind. First a case in which
# the integral is known: one coin, thrown $N$ times with $a$ heads, every $\theta$ equally plausible before. It is
# $\int_0^1 \theta^a (1 - \theta)^{N-a} d\theta = \frac{a!\,(N - a)!}{(N + 1)!}$. Printed below: what
# $\ell(\hat\vartheta) - \tfrac12 \log N$ leaves out of it is the same constant from a hundred throws on.
#
# Then two mixtures. On the line we know that there are two components. The *plane of digits* has no known truth: the
# training digits, dequantised as in lesson 01 and projected on their first two principal components. (A *principal
# component* is a direction in which they vary most.)


# %%
# long: three functions, and a coin for which all is known
def free_parameters(K, D):
    """Numbers that a mixture of K full-covariance components in D dimensions is free to choose."""
    return K - 1 + K * D + K * D * (D + 1) // 2


def bic(log_p, K, D):
    """-2 sum log p + P log N, from log p (N,) of the training data; lower is better."""
    return -2 * log_p.sum().item() + free_parameters(K, D) * math.log(len(log_p))


def fit(x, K, steps, seeds=1, **how):
    """The best of several starts, by training log-likelihood: (log pi, mu, Sigma)."""
    runs = [em(x, start(x, K, torch.Generator().manual_seed(s)), steps, **how) for s in range(seeds)]
    return max(runs, key=lambda run: run[1][-1])[0]


left = []
for N in (10, 100, 1_000, 10_000, 100_000):
    a = round(0.3 * N)
    exact = math.lgamma(a + 1) + math.lgamma(N - a + 1) - math.lgamma(N + 2)
    peak = a * math.log(a / N) + (N - a) * math.log(1 - a / N)
    charged = peak - 0.5 * math.log(N)
    left.append(exact - charged)
    print(f"N = {N:7,}: exact {exact:11.2f}, best fit {peak:11.2f}, less ½ log N {charged:11.2f}")
board.claim("From 100 throws on, what BIC leaves out is one constant.", max(left[1:]) - min(left[1:]) < 0.03)


# %%
def dequantise(x, seed):
    """Digits (N, 1, 8, 8) in 17 levels -> continuous y in [0, 1), (N, 64); lesson 01's noise."""
    u = torch.rand(len(x), 64, generator=torch.Generator().manual_seed(seed))
    y = (16 * torch.as_tensor(x).flatten(1) + u) / 17
    return y.clamp(max=1 - 2**-20).double()


def to_pixels(y):
    """Back to digits in 17 levels, (N, 1, 8, 8); values outside [0, 1) are clipped."""
    return ((17 * y).floor().clamp(0, 16) / 16).reshape(-1, 1, 8, 8).float()


y_train, y_val, y_test = (dequantise(part.x, seed).to(device) for seed, part in enumerate(digits))
V = torch.linalg.svd(y_train - y_train.mean(0), full_matrices=False)[2][:2].T  # (64, 2)
z_train, z_val = ((y - y_train.mean(0)) @ V for y in (y_train, y_val))

# %% folded="Figure: what BIC says, on the line and in the plane" tags=["demo"]
# long: eight sizes on two data sets, fitted and drawn
sizes = range(1, 9) if genmap.setting() != "smoke" else (1, 2, 4)
curves, says = {}, {}
for name, x, held_x in (("the line", line, line_held), ("the plane of digits", z_train, z_val)):
    D, rows = x.shape[1], []
    for K in progress.track(sizes, title=name):
        parameters = fit(x, K, 5 * S.steps, min(S.seeds, 3))
        log_p, held_p = e_step(x, *parameters)[1], e_step(held_x, *parameters)[1]
        rows.append((bic(log_p, K, D) / (-2 * len(x)), log_p.mean().item(), held_p.mean().item()))
    curves[name] = np.array(rows)  # (sizes, 3)
    says[name] = list(sizes)[curves[name][:, 0].argmax()]
fig, axes = plot.figure(1, 2, height=3.2)
labels = "by BIC, a sample", "training", "held out"
styles = ("-", plot.COLOURS.vermilion), (":", plot.COLOURS.blue), ("-", plot.COLOURS.blue)
for ax, (name, curve) in zip(axes, curves.items(), strict=True):
    for values, label, (dash, colour) in zip(curve.T, labels, styles, strict=True):
        ax.plot(sizes, values, dash, marker="o", color=colour, label=label, ms=4)
    ax.plot(says[name], curve[:, 0].max(), "o", ms=11, mfc="none", mec=plot.COLOURS.vermilion, mew=2)
    ax.set(
        title=f"{name[0].upper()}{name[1:]}: BIC says {says[name]}",
        xlabel="components $K$",
        xticks=list(sizes),
    )
axes[0].set_ylabel("nats, higher is better")
axes[1].legend(loc="lower right")
plt.show()
board.claim("On the line BIC finds the two modes that are there.", says["the line"] == 2)


# %% folded="Figure: EM in the plane" tags=["demo"]
# long: a density over the plane with its components, at three steps
def ellipse(ax, mu, Sigma, colour, **style):
    """Draw the curve at two standard deviations of a normal density in the plane."""
    angle = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()])  # (2, 100)
    x, y = mu.cpu()[:, None] + 2 * torch.linalg.cholesky(Sigma.cpu()) @ circle
    ax.plot(x, y, color=colour, **style)


R = 2.4
axis = torch.linspace(-R, R, 121, dtype=torch.float64)
grid = torch.cartesian_prod(axis, axis).to(device)


def draw_plane(ax, parameters, points, title, size=2, top=0.35):
    """The density of a mixture over the plane, and its components."""
    p = e_step(grid, *parameters)[1].exp().reshape(121, 121).T.cpu()
    plot.density(ax, axis, axis, p, top=top)
    ax.scatter(*points.cpu().T, s=size, color=plot.INK, alpha=0.5 if size > 2 else 0.25)
    for mu_k, Sigma_k in zip(*parameters[1:], strict=True):
        ellipse(ax, mu_k, Sigma_k, plot.COLOURS.vermilion, lw=1.4)
    ax.set(title=title, xlim=(-R, R), ylim=(-R, R), xticks=[-2, 0, 2], yticks=[-2, 0, 2])


fig, axes = plot.figure(1, 3, height=3.1)
for ax, steps in zip(axes, (1, 5, 10 * S.steps), strict=True):
    g = torch.Generator().manual_seed(4)
    parameters, history = em(z_train, start(z_train, says["the plane of digits"], g), steps)
    draw_plane(ax, parameters, z_train, f"step {len(history)}: {history[-1]:.3f} nats".replace("-", "−"))
plt.show()

# %% [markdown]
# Both axes show nats for each sample, so BIC is drawn divided by $-2N$: higher is better. The training curve keeps
# rising. On the line BIC finds the two modes, without having seen a held-out sample. On the plane its curve turns flat
# where a component only just pays for its six numbers, and the held-out curve is flat from about there. The second
# figure shows EM in the plane with that many components: dots are training digits, ellipses the components at two
# standard deviations, and the blue ground the density that they add up to.
#
# ## 4 · All 64 dimensions
#
# The model is the same; only $D$ is 64. Each component now has 64 means and 2,080 covariances, for 1,257
# digits in all. That is far too much, and section 10 shows what happens. Here the repair is on from the start:
# $\nu = 30$ imagined digits with the covariance of all digits in each component. What then climbs is the likelihood
# *with* what the imagined digits say; $\log p(x)$ alone may slip back by a hair near the top. To draw from a
# component, use its Cholesky factor once more: $\mu_k + L_k \eta$ with standard normal $\eta$ has
# covariance $L_k\, \mathbb E[\eta\eta^\top] L_k^\top = \Sigma_k$.


# %% build="draw"
def draw_normal(k, mu, Sigma, generator):
    """One draw of each component in k: mu_k + L_k eta, (n,), (K, D), (K, D, D) -> (n, D)."""
    ### BEGIN SOLUTION
    eta = torch.randn(len(k), mu.shape[1], generator=generator, dtype=mu.dtype).to(mu.device)
    x = torch.empty_like(eta)
    for j, L in enumerate(torch.linalg.cholesky(Sigma)):
        own = k == j  # together: L[k] would copy a matrix for every draw
        x[own] = mu[j] + eta[own] @ L.T
    return x
    ### END SOLUTION


def sample(n, log_pi, mu, Sigma, generator):
    """n draws: choose a component by pi, then draw from it. -> (n, D)"""
    ### BEGIN SOLUTION
    k = torch.multinomial(log_pi.exp().cpu(), n, replacement=True, generator=generator)
    return draw_normal(k.to(mu.device), mu, Sigma, generator)
    ### END SOLUTION


# %% check="draw"
drawn = sample(40_000, *two, torch.Generator().manual_seed(0))
assert drawn.shape == (40_000, 2), f"40,000 points of the plane, not {tuple(drawn.shape)}"
middle = two[0].exp() @ two[1]
assert torch.allclose(drawn.mean(0), middle, atol=0.06), (
    "the mean of all draws is the shares' mean of the means"
)
one = draw_normal(torch.zeros(40_000).long(), *two[1:], torch.Generator().manual_seed(1))
assert torch.allclose(one.T.cov(), two[2][0], atol=0.05), (
    "draws of one component have its covariance: L, not Σ"
)

# %% [markdown]
# Now train it, and watch it climb and its samples improve. (Here we start with nearly equal shares, on purpose: so
# there is something to watch.)

# %% tags=["demo"]
# long: training, with samples while it trains
NU, K = 30.0, 20
loss, rows = progress.Curve("EM on digits, K = 20", "step", "nats per training digit"), {}
began = time.perf_counter()
r = start(y_train, K, torch.Generator().manual_seed(0))
r = torch.full_like(r, 1 / K) + 1e-3 * r
for step in range(min(S.steps, 15)):
    parameters = m_step(y_train, r / r.sum(1, keepdim=True), nu=NU)
    r, log_p = e_step(y_train, *parameters)
    loss.add(step, log_p.mean())
    if step in (0, 2, 9):
        drawn = sample(15, *parameters, torch.Generator().manual_seed(5))
        rows[f"step {step}: {e_step(y_val, *parameters)[1].mean():.1f} nats per validation digit"] = drawn
loss.close()
print(f"{time.perf_counter() - began:.1f} s")
fig, axes = plot.figure(len(rows), 1, height=0.97)
for ax, (title, y) in zip(axes, rows.items(), strict=True):
    plot.images(to_pixels(y), columns=15, ax=ax, title=title)
plt.show()

# %% [markdown]
# At step 0 all components are one normal distribution, whose draws are of no digit in particular; then each takes digits
# for itself. (EM
# finds *a* top, not the highest; which one, the start decides. This start, from nearly equal components, ends higher
# on the validation digits than the k-means++ start with $K = 20$ below: a start that is good for clusters need not
# be for densities.) Now the number of components: several sizes, each from the k-means++
# start. **Question.** BIC charges $\tfrac12 \log 1257 = 3.6$ nats for each of a component's 2,145 numbers. What will it
# say, and what will the validation digits say?
#
# <details><summary>Answer</summary>
#
# A component costs 7,650 nats in all, six for each digit of the training data, as if the data had to determine each of
# its numbers. BIC hardly lets one pay. But the imagined digits hold most directions in place, and the validation digits
# gain from ten components and more. BIC's derivation assumes many samples for each parameter; here it is fewer
# than one. Where you can afford held-out data, believe them.
# </details>

# %% tags=["demo"]
# long: six sizes, what two judges say of them, and what the best has learned
models, scores, fit_seconds = {}, {}, {}
for K in progress.track(S.sizes, title="components"):
    began = time.perf_counter()
    models[K] = fit(y_train, K, S.steps, nu=NU, tol=0.01)
    fit_seconds[K] = time.perf_counter() - began
print(f"{len(models)} fits in {sum(fit_seconds.values()):.1f} s")
for K, model in models.items():
    scores[K] = bic(e_step(y_train, *model)[1], K, 64), e_step(y_val, *model)[1].mean().item()
    text = f"BIC {scores[K][0]:10,.0f}, {scores[K][1]:5.1f} nats (validation)"
    print(f"K = {K:3}: {free_parameters(K, 64):7,} parameters, {text}")
by_bic, by_nats = min(scores, key=lambda K: scores[K][0]), max(scores, key=lambda K: scores[K][1])
gmm = models[by_nats]
owner = e_step(y_train, *gmm)[0].argmax(1)
members = [torch.bincount(c_train[owner == k], minlength=10) for k in range(by_nats)]
alike = sum(m.max().item() for m in members) / len(c_train)
print(f"BIC says {by_bic}, the validation digits say {by_nats}")
print(f"of the digits of a component, {alike:.0%} are of its most frequent class")
board.claim(
    "BIC takes one or two components, the validation digits at least ten.", by_bic <= 2 and by_nats >= 10
)
board.claim("More than six digits of ten are of their component's most frequent class.", alike > 0.6)
from_equal = e_step(y_val, *parameters)[1].mean().item()  # the mixture above, K = 20
board.claim(
    "The start from nearly equal components ends higher than k-means++.",
    from_equal > scores.get(20, (0, 0))[1],
)
fig, axes = plot.figure(2, 1, height=1.75)
means = gmm[1][gmm[0].argsort(descending=True)][:30]
plot.images(to_pixels(means), columns=15, ax=axes[0], title=r"Means $\mu_k$ of the largest components")
drawn = sample(30, *gmm, torch.Generator().manual_seed(6))
plot.images(to_pixels(drawn), columns=15, ax=axes[1], title="Thirty draws")
plt.show()

# %% [markdown]
# Nobody told the model about classes, yet more than six digits of ten are of their component's most
# frequent class. The draws have strokes: the covariance knows which pixels go together.
#
# ## 5 · A digit that was asked for: p(x given class)
#
# With labels nothing is hidden, and EM has nothing to alternate: the responsibilities *are* the labels, and
# one M-step is the whole fit. A component for each class, full covariance, the same imagined digits. To draw
# a seven, draw from component 7. And the E-step of this model is a classifier.
#
# Against section 1 two things changed: grey levels for black and white, and pixels that may depend on each other. To tell
# them apart we also set all covariances to 0, and keep the grey.

# %% tags=["demo"]
# long: one normal a class, with and without its covariances
NU = 30.0
labels_train = torch.nn.functional.one_hot(c_train, 10).to(y_train)
by_class = m_step(y_train, labels_train, nu=NU)
alone = by_class[2].diagonal(dim1=1, dim2=2).diag_embed()  # the same variances, no covariances
y_held, held_reads = torch.cat([y_val, y_test]), {"coins": reads}
for name, Sigma in (("grey, no covariances", alone), ("full covariance", by_class[2])):
    r, log_p = e_step(y_held, *by_class[:2], Sigma)
    held_reads[name] = (r.argmax(1) == c_held).double().mean().item()
    print(f"{name:20}: {log_p.mean():.1f} nats, accuracy {held_reads[name]:.3f}")
first, middle, last = held_reads.values()
print(f"of the gain over naive Bayes, {(last - middle) / (last - first):.0%} comes from the covariances")
board.claim(
    "More than half of the gain comes from the covariances.", 0.5 < (last - middle) / (last - first) < 0.95
)
board.claim("It makes less than half of naive Bayes' errors.", 1 - last < 0.5 * (1 - first))
log_p_class = e_step(y_test, *by_class)[1]
asked = draw_normal(ten, *by_class[1:], torch.Generator().manual_seed(7))
fig, axes = plot.figure(2, 1, height=1.9)
plot.images(to_pixels(asked), ax=axes[0], title="A full covariance for each class, 0 to 9")
plot.images(coins.reshape(-1, 8, 8), ax=axes[1], title="Naive Bayes, the same classes, from section 1")
plt.show()

# %% [markdown]
# More than half of the gain, on the 540 held-out digits, comes from the covariances, the rest from the grey. With them
# the strokes hold together, and the classifier makes less than half of the errors.
#
# ## 6 · The unknown digit: anomalies
#
# A density can be asked *is this like anything that you saw?* Take one digit out of the training data altogether, fit,
# and rank held-out digits by $-\log p(x)$, the *surprise*. The digits of the class left out should surprise most. Two
# rivals need no density. A classifier of the nine classes left (logistic regression) gives each digit its highest
# $p(c \mid x)$: where it is unsure, something may be odd. And the distance to the nearest training digit.
#
# How well a score separates is measured without choosing a threshold. The **ROC-AUC** is the probability that
# a random anomaly has a higher score than a random normal digit: ½ is guessing, 1 is perfect.
#
# $$\text{AUC} = \frac1{M_a M_n} \sum_{i \in \text{anomalies}}\ \sum_{j \in \text{normal}} [\,s_i > s_j\,]$$
#
# $s$ is the score, $M_a$ and $M_n$ are the numbers of anomalies and of normal digits, and $[\cdot]$ is 1
# where the statement holds, else 0.
#
# **Question.** Which will be the best alarm: the mixture with the best nats ($\nu = 30$), one with a plain floor
# ($\varepsilon$ under every variance, no imagined digits), naive Bayes, the unsure classifier, or the distance?
#
# <details><summary>Answer</summary>
#
# Distance and floor, and nothing separates the two here. The mixture with the best nats is clearly worse, and so is the
# unsure classifier: its probabilities add up to 1 over the classes that it knows, also for a digit of none of them.
# </details>


# %%
def auc(anomalous, normal):
    """The share of pairs in which the anomaly has the higher score: (A,), (B,) -> a number."""
    return (anomalous[:, None] > normal).double().mean().item()


# %% folded="Figure: ten digits, left out one by one" tags=["demo"]
# long: six scores for each digit left out, on validation and on test digits
FLOORS = (1e-2, 1e-1)
SHRUNK, FLOORED = "mixture, ν = 30", "mixture, ε = 0.01"


def surprise(kept, x, b):
    """How odd each of x (M, 64), b (M, 64) is after fits to the kept training digits: six scores (M,)."""
    y, c = y_train[kept], c_train[kept]
    scores = {SHRUNK: -e_step(x, *fit(y, S.crowd, min(S.steps, 12), tol=0.1, nu=NU))[1]}
    for floor in FLOORS:
        fitted = fit(y, S.crowd, min(S.steps, 12), tol=0.1, floor=floor)
        scores[f"mixture, ε = {floor:g}"] = -e_step(x, *fitted)[1]
    lp, th = fit_bernoulli(b_train[kept], c, 10)
    scores["naive Bayes"] = -torch.logsumexp(log_joint(b, lp, th), dim=1)  # the class left out has pi = 0
    classifier = LogisticRegression(max_iter=300).fit(y.cpu().numpy(), c.cpu().numpy())
    scores["unsure classifier"] = -torch.tensor(classifier.predict_proba(x.cpu().numpy())).to(x).amax(dim=1)
    return scores | {"nearest digit": torch.cdist(x, y).amin(dim=1)}


table, odd = {"validation": [], "test": []}, {}
for c in progress.track(S.left_out, title="left out"):
    odd = surprise(c_train != c, y_held, b_held)
    for name, part in (("validation", slice(0, len(c_val))), ("test", slice(len(c_val), None))):
        new = c_held[part] == c
        table[name].append([auc(s[part][new], s[part][~new]) for s in odd.values()])
means = {name: dict(zip(odd, np.mean(rows, axis=0), strict=True)) for name, rows in table.items()}
for kind in odd:
    print(f"{kind:18} " + ", ".join(f"{name} {means[name][kind]:.3f}" for name in means))
mean_auc = means["test"]
shown = SHRUNK, FLOORED, "naive Bayes", "unsure classifier", "nearest digit"
fig, ax = plot.figure(height=3.3)
colours = "blue", "sky", "orange", "vermilion", "grey"
for i, (kind, colour) in enumerate(zip(shown, colours, strict=True)):
    heights = [row[list(odd).index(kind)] for row in table["test"]]
    style = {"color": getattr(plot.COLOURS, colour), "label": f"{kind}: {mean_auc[kind]:.3f}"}
    ax.bar(np.arange(len(heights)) + 0.16 * (i - 2), heights, 0.15, **style)
ax.set(ylim=(0.5, 1.01), xticks=range(len(S.left_out)), xticklabels=[str(c) for c in S.left_out])
ax.set(ylabel="ROC-AUC", xlabel="digit left out, test digits")
ax.set_title("How well is a digit noticed that was never seen?", pad=52)
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9.5, columnspacing=1.2)
plt.show()
ahead = [m[FLOORED] - max(m[k] for k in (SHRUNK, "naive Bayes", "unsure classifier")) for m in means.values()]
ties = [abs(m[f"mixture, ε = {f:g}"] - m["nearest digit"]) for m in means.values() for f in FLOORS]
board.claim("The floored mixture beats best nats, coins and the unsure classifier.", min(ahead) > 0.01)
board.claim("Floors of 0.01 and 0.1 and the nearest digit are within 0.012.", max(ties) < 0.012)

# %% [markdown]
# On validation and on test digits alike, the floored mixture beats the one with the best nats, naive Bayes and the unsure
# classifier, and a ten times higher floor does about as well. The nearest training digit does as well: differences
# within 0.012 say nothing with 27 anomalies each. (Lesson 01's KDE ranks like the nearest digit.) So on 8x8 digits
# the density wins no race against a distance. Industry knows the same two rivals: PaDiM (2020) puts one normal on the
# features of each place of a picture, PatchCore (2021) keeps examples and measures the distance.
#
# Why do the best nats make a poor alarm? A log density is a sum over directions, and a
# narrow direction speaks loudest: a gap of $\delta$ costs $\delta^2/2\sigma^2$. Ask both mixtures about a grey
# speck in the quietest pixel, and about a missing stroke: the eight darkest pixels, erased.

# %% tags=["demo"]
speck, erased = y_test.clone(), y_test.clone()
speck[:, y_train.var(dim=0).argmin()] += 4 / 17
erased.scatter_(1, y_test.topk(8, dim=1).indices, 0.5 / 17)
floored = fit(y_train, S.crowd, min(S.steps, 20), floor=0.01)
price = {}
for name, model in (("ν = 30", gmm), ("ε = 0.01", floored)):
    usual = e_step(y_test, *model)[1]
    price[name] = [(usual - e_step(y, *model)[1]).median().item() for y in (speck, erased)]
    print(f"{name:8}: a speck costs {price[name][0]:6.1f} nats, a missing stroke {price[name][1]:6.1f}")
board.claim("With imagined digits a speck costs more than a stroke.", price["ν = 30"][0] > price["ν = 30"][1])
board.claim(
    "With the floor it costs less than a tenth of it.", price["ε = 0.01"][0] < 0.1 * price["ε = 0.01"][1]
)
novel = S.left_out[-1]
order = odd[FLOORED].argsort(descending=True)[:15]
captions = ["new" if c_held[i] == novel else "seen" for i in order]
title = f"The most surprising digits for a floored mixture without {novel}"
plot.images(to_pixels(y_held[order]), columns=15, title=title, captions=captions)
plt.show()

# %% [markdown]
# The floor says: below 0.1 a difference is noise. **Nats reward getting the noise right; an alarm must
# not listen to it.**
#
# ## 7 · Held-out nats: against lesson 01
#
# All densities of $y \in [0, 1]^{64}$, on the same digits and the same split as in lesson 01. Two more join
# them. A KDE whose bumps are *reflected* at 0 and 1, so that no mass lies outside the range of a pixel:
# each bump $b(y - y_i)$ becomes $b(y - y_i) + b(y + y_i) + b(2 - y - y_i)$, pixel by pixel. And naive Bayes whose
# pixels have 17 sides instead of 2. It is a mixture, too: ten classes, independent *levels* in each, added up.


# %%
def fit_levels(y, c, alpha=0.3):
    """Naive Bayes on 17 levels: log pi (C,), and the log density of y by level, (C, D, 17)."""
    levels = torch.nn.functional.one_hot((17 * y).long(), 17).to(y)  # (N, D, 17)
    one_hot = torch.nn.functional.one_hot(c, 10).to(y)
    count = torch.einsum("nc,ndl->cdl", one_hot, levels) + alpha
    return one_hot.mean(dim=0).log(), (17 * count / count.sum(dim=2, keepdim=True)).log()


def log_levels(y, log_pi, log_density):
    """log p(y) in nats: (M, D) -> (M,)."""
    levels = torch.nn.functional.one_hot((17 * y).long(), 17).to(y)
    return torch.logsumexp(log_pi + torch.einsum("cdl,ndl->nc", log_density, levels), dim=1)


# %% folded="Figure: a ladder of densities" tags=["demo"]
# long: eight densities, measured on the test digits and drawn
H_DIGITS = max(np.geomspace(0.04, 0.6, 40), key=lambda h: log_kde(y_val, y_train, h).mean().item())


def log_reflected(x, points, h):
    """The KDE with bumps reflected at 0 and 1 in each pixel: (M, D), (N, D) -> (M,) nats."""
    parts, (x, b) = [], (x.float(), points.float())
    for a in x.split(30):
        bumps = sum((-(a[:, None] - m).square() / (2 * h**2)).exp() for m in (b, -b, 2 - b))  # (30, N, D)
        parts.append(torch.logsumexp(bumps.log().sum(2).double(), dim=1))
    return torch.cat(parts) - math.log(len(points)) - x.shape[1] / 2 * math.log(2 * math.pi * h**2)


h_reflected = max(S.widths, key=lambda h: log_reflected(y_val, y_train, h).mean().item())
one_class = torch.zeros_like(c_train)
normal = torch.distributions.Normal(y_train.mean(0), y_train.std(0))
densities = {
    "KDE (lesson 01)": lambda y: log_kde(y, y_train, H_DIGITS),
    "KDE, reflected": lambda y: log_reflected(y, y_train, h_reflected),
    "normal pixels": lambda y: normal.log_prob(y).sum(1),
    "+ covariance": lambda y: e_step(y, *m_step(y_train, torch.ones_like(y_train[:, :1])))[1],
    "+ components": lambda y: e_step(y, *gmm)[1],
    "+ classes, one each": lambda y: e_step(y, *by_class)[1],
    "17-level pixels": lambda y: log_levels(y, *fit_levels(y_train, one_class)),
    "+ classes": lambda y: log_levels(y, *fit_levels(y_train, c_train)),
}
nats = {name: f(y_test).mean().item() for name, f in densities.items()}
for name, value in nats.items():
    print(f"{name:19} {value:6.1f} nats, {(64 * math.log(17) - value) / (64 * math.log(2)):.2f} bits/dim")
white = ((17 * y_train).floor() == 0).double().mean(0)
table = fit_levels(y_train, one_class)[1][0]  # (64, 17)
# by pixel, of a table over a normal
lead = table.gather(1, (17 * y_test).long().T).mean(1) - normal.log_prob(y_test).mean(0)
often = white > 0.99
print(f"{often.sum()} pixels are white in more than 99 of 100 training digits;", end=" ")
print(f"of the tables' lead of {lead.sum():.1f} nats over normal pixels {lead[often].sum():.1f} are theirs")
fig, ax = plot.figure(height=3.3)
colours = [plot.COLOURS.grey] * 2 + [plot.COLOURS.blue] * 4 + [plot.COLOURS.orange] * 2
bars = ax.barh(list(nats)[::-1], list(nats.values())[::-1], color=colours[::-1])
ax.bar_label(bars, fmt="%.1f", padding=4)
ax.set(title="Held-out digits: two ways to climb", xlabel="nats per digit", xlim=(0, 95))
ax.grid(axis="y", visible=False)
plt.show()
reflected = nats["KDE, reflected"]
board.claim("To reflect its bumps gives the KDE more than 20 nats.", reflected > nats["KDE (lesson 01)"] + 20)
board.claim(
    "The mixture is between one and six nats ahead of that.", 1 < nats["+ components"] - reflected < 6
)
gained = np.diff(list(nats.values()))[[2, 3, 6]]
board.claim("Covariances, components and classes all gain more than 5 nats.", bool((gained > 5).all()))
board.claim(
    "Less than a fifth of the tables' lead is the white pixels'.", bool(lead[often].sum() < lead.sum() / 5)
)

# %% [markdown]
# Most of what the KDE of lesson 01 loses, it loses at the edge: half of each bump on a white pixel lies below 0.
# Reflected, it is only a few nats behind the mixture, which stores ellipsoids and no digits. Read the blue bars as a
# ladder: the same normal pixels gain from covariances, that is from strokes, and gain again from components or classes.
# The orange ladder starts higher, for a reason that has little to do with digits: a table of 17 levels has the shape of a
# pixel, white or nearly so most of the time and anything else otherwise, and no normal curve has. (Ten pixels are
# nearly always white. There a narrow normal curve does nearly as well as the table; the other fifty-four make the
# difference.) And note that only the KDE was reflected: the normal densities, too, spend mass outside the box,
# which a reflection would give back. The best model of the page
# would know both, the shape of a pixel and the strokes. Lessons 03 and 04 build it.
#
# ## 8 · What it wins: clean digits from noisy ones
#
# Somebody hands us $y = x + s\,\eta$, a digit in normal noise of known width $s$. Which $x$ has the least expected
# squared error? The mean of $p(x \mid y)$, and a mixture has it in closed form. Within component $k$ the pair $(x, y)$ is
# jointly normal: both have mean $\mu_k$; $y$ has covariance $\Sigma_k + s^2 I$; their cross-covariance is $\Sigma_k$,
# for the noise is independent. Let $A_k = \Sigma_k(\Sigma_k + s^2 I)^{-1}$. Then
#
# $$\begin{aligned}
# \operatorname{Cov}(x - A_k y,\, y) &= \Sigma_k - A_k(\Sigma_k + s^2 I) = 0 && \text{so the two, jointly normal, are independent}\\
# \mathbb E[x \mid y, k] &= A_k y + \mathbb E[x - A_k y] = \mu_k + A_k(y - \mu_k) && \text{what is independent keeps its mean}\\
# \mathbb E[x \mid y] &= \sum_k p(k \mid y)\,\big[\mu_k + A_k(y - \mu_k)\big] && \text{the E-step, with } \Sigma_k + s^2 I
# \end{aligned}$$
#
# $A_k$ keeps the directions in which component $k$ varies by more than $s$, and shrinks the others. The rivals:
# a blur; the nearest training digit; and the KDE of lesson 01, which has the same formula with $\Sigma_k = h^2 I$ and a
# component on each of 1,257 stored digits. Blur and bandwidth are the best of many for the validation digits, anew for
# each $s$.
#
# **Question.** The KDE remembers every digit, the mixture knows twenty ellipsoids. Who wins in little noise, and who in
# much?
#
# <details><summary>Answer</summary>
#
# In little noise the mixture: the digit itself is nearly known, and what helps is which *small* changes digits make.
# In much noise only the rough shape survives, and a remembered whole digit is the better guess.
# </details>


# %%
def denoise(y, s, log_pi, mu, Sigma):
    """The mean of p(x | y) for y = x + s eta, x from the mixture: (M, D) -> (M, D)."""
    noisy = Sigma + s**2 * torch.eye(y.shape[1]).to(y)
    r, _ = e_step(y, log_pi, mu, noisy)  # which component, given what we see
    A = torch.linalg.solve(noisy, Sigma)  # (K, D, D), transposed: both matrices are symmetric
    return torch.einsum("mk,kmd->md", r, mu[:, None] + (y - mu[:, None]) @ A)


# %% folded="Figure: five ways to clean a digit" tags=["demo"]
# long: five estimators at five widths of noise, and pictures at one
def kde_mean(y, s, h):
    """denoise for the KDE: components h^2 I on all training digits."""
    means = (torch.cdist(y, y_train).square() / (-2 * (h**2 + s**2))).softmax(1) @ y_train
    return means + h**2 / (h**2 + s**2) * (y - means)


def blur(y, s, width):
    """Each pixel's mean with its neighbours, weighted by a normal curve."""
    bump = torch.exp(-torch.arange(-2, 3).to(y).square() / (2 * width**2))
    image = torch.nn.functional.pad(y.reshape(-1, 1, 8, 8), (2, 2, 2, 2), mode="replicate")
    return torch.nn.functional.conv2d(image, (bump[:, None] * bump / bump.sum() ** 2)[None, None]).flatten(1)


clean = {
    "blur": (blur, (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)),
    "nearest digit": (lambda y, s, _: y_train[torch.cdist(y, y_train).argmin(1)], (0,)),
    "KDE": (kde_mean, (0.03, 0.06, 0.09, 0.11, 0.14, 0.17, 0.2)),
    "one normal": (lambda y, s, _: denoise(y, s, *models[1]), (0,)),
    "mixture": (lambda y, s, _: denoise(y, s, *gmm), (0,)),
}
noise_levels, left_over, pictures = (0.05, 0.1, 0.2, 0.3, 0.5), {name: [] for name in clean}, {}
for s in noise_levels:
    g = torch.Generator().manual_seed(3)
    noisy_val, noisy_test = (
        x + s * torch.randn(x.shape, generator=g, dtype=x.dtype).to(x) for x in (y_val, y_test)
    )
    for name, (job, options) in clean.items():
        best = min(options, key=lambda o: (job(noisy_val, s, o) - y_val).square().mean().item())
        found = job(noisy_test, s, best)
        left_over[name].append((found - y_test).square().mean().item() / s**2)
        if s == 0.2:
            pictures |= {"clean": y_test, "noise 0.2": noisy_test, name: found}
for name, values in left_over.items():
    print(f"{name:14} leaves " + ", ".join(f"{v:.2f}" for v in values) + " of the noise's squares")
fig, ax = plot.figure(height=2.9)
colours = "grey", "orange", "vermilion", "sky", "blue"
for (name, values), colour in zip(left_over.items(), colours, strict=True):
    ax.plot(noise_levels, values, "o-", color=getattr(plot.COLOURS, colour), label=name, ms=4)
ax.set(xlabel="width of the noise $s$", ylabel="squared error / $s^2$", ylim=(0, 1.1), xticks=noise_levels)
ax.set_title("What is left of the noise")
ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()
fig, axes = plot.figure(6, 1, height=0.97)
names = "clean", "noise 0.2", "blur", "nearest digit", "KDE", "mixture"
for ax, name in zip(axes, names, strict=True):
    plot.images(to_pixels(pictures[name][:15]), columns=15, ax=ax, title=name)
plt.show()
by_kde = [a / b for a, b in zip(left_over["mixture"], left_over["KDE"], strict=True)]
board.claim("At s = 0.1 the mixture leaves a fifth less than the KDE, or better.", by_kde[1] < 0.8)
board.claim(
    "At s = 0.2 it still has the least error of the five.",
    min(left_over, key=lambda n: left_over[n][2]) == "mixture",
)
board.claim("At s = 0.5 the KDE is ahead.", by_kde[4] > 1)

# %% [markdown]
# At $s = 0.1$ the mixture takes out half of the noise, and leaves at least a fifth less of it than lesson 01's best; at
# 0.5 the digits that the KDE remembers are worth a little more. The formula is in use today: *extreme deconvolution*
# (Bovy, Hogg and Roweis, 2011) fits mixtures to the noisy measurements of stars, and EPLL (Zoran and Weiss, 2011)
# cleans photographs patch by patch with a mixture of 200. Other mixtures at work: OpenCV's `BackgroundSubtractorMOG2`
# keeps a few normals for each pixel of a camera and reports what fits none; the Montreal Forced Aligner finds where
# each sound of a recording begins with mixtures inside a hidden Markov chain; SpamAssassin and rspamd sort mail with
# naive Bayes.
#
# ## 9 · Play: components and floor
#
# *What does the floor do to many components?* Every position fits a mixture to a hundred training
# digits of the plane, from scratch, and scores it on the validation digits.

# %% folded="Play: two sliders, and six of their positions" tags=["demo"]
# long: the control, and a static figure that says the same
z_few = z_train[:100]


def draw_fit(ax, K, floor):
    """Fit to 100 digits of the plane; draw it; return training and validation nats."""
    parameters, history = em(z_few, start(z_few, K, torch.Generator().manual_seed(1)), 100, floor=floor)
    inside, outside = history[-1].item(), e_step(z_val, *parameters)[1].mean().item()
    draw_plane(ax, parameters, z_few, rf"$K = {K}$, $\varepsilon =$ {floor:g}", size=5, top=0.5)
    ax.set_xlabel(f"train ${inside:.2f}$, held out ${outside:.2f}$")
    return inside, outside


def play(K, log_floor):
    """One fit for the two sliders."""
    draw_fit(plot.figure(height=3.6)[1], K, 10.0**log_floor)
    plt.show()


slider = {"continuous_update": False, "description": "log10 ε"}
floors = widgets.FloatSlider(-3.0, min=-5.0, max=0.0, step=0.5, **slider)
controls = interact(play, K=widgets.IntSlider(12, min=1, max=20, continuous_update=False), log_floor=floors)
fig, axes = plot.figure(2, 3, height=3.5)
seen = {}
for row, size in zip(axes, (3, 15), strict=True):
    for ax, floor in zip(row, (1e-4, 0.03, 0.3), strict=True):
        seen[size, floor] = draw_fit(ax, size, floor)
plt.show()
crowded = seen[15, 1e-4]
board.claim(
    "The lower left has the best training and the worst held-out nats.",
    crowded == (max(v[0] for v in seen.values()), min(v[1] for v in seen.values())),
)

# %% [markdown]
# Three components need little of a floor, and too large a one makes one blob of them. With many it is what
# keeps them from shrinking onto a handful of dots: on the lower left the training nats are the best of the
# figure and the held-out nats the worst.
#
# ## 10 · What breaks
#
# **A component collapses onto one point.** The likelihood of a mixture has no maximum. Put one component on a
# single sample $x_1$ and let its width $\sigma$ shrink. At $x_1$ the density grows like $1/\sigma$ without
# limit, and the other samples lose nothing, for the other component looks after them. Two components on the
# line, the first with one sample of 2,000.
#
# **Question.** Start EM with the first component on $x_1$, at a width of 0.1, 0.01, … $10^{-6}$. From which of them
# does it fall into the hole?
#
# <details><summary>Answer</summary>
#
# From the narrow ones, within a few steps. A component at 0.1 reaches many samples, takes a share of each, and
# stays wide. In between there is a third fate, which the printed widths show: the component settles on a handful of
# samples that lie close together, at a top of the likelihood that is real, low and of no use. Training ends there as
# quietly as anywhere: only held-out nats tell.
# </details>


# %% folded="Figure: the hole in the likelihood" tags=["demo"]
# long: EM from seven widths, and the likelihood without a maximum
def collapsed(sigma):
    """The line's mixture with a component of this width on its first sample: (log pi, mu, Sigma)."""
    share = torch.tensor([1 / len(line), 1 - 1 / len(line)], dtype=line.dtype, device=device)
    Sigma = torch.tensor([sigma**2, line.var().item()], dtype=line.dtype, device=device)
    return share.log(), torch.stack([line[0], line.mean(dim=0)]), Sigma.reshape(2, 1, 1)


ends = {}
for width in (0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
    parameters, trace = collapsed(width), []
    for _ in range(200):
        parameters = m_step(line, e_step(line, *parameters)[0], floor=1e-300)
        trace.append(parameters[2][0].sqrt().item())
    fell = next((step + 1 for step, w in enumerate(trace) if w < 1e-9), None)
    ends[width] = fell
    where = f"in the hole after step {fell}" if fell else f"at {trace[-1]:.1e} after 200"
    print(f"from width {width:7g}: {where}, held out {e_step(line_held, *parameters)[1].mean():.4f} nats")
board.claim(
    "From a width of 1e-6 EM is in the hole within three steps.", ends[1e-6] is not None and ends[1e-6] <= 3
)
board.claim("From a width of 0.1 it is not in 200.", ends[0.1] is None)
sigmas = np.logspace(0, -150, 31)
inside, outside = (
    np.array([e_step(x, *collapsed(s))[1].sum().item() for s in sigmas]) for x in (line, line_held)
)
good = 2_000 * e_step(line, *snapshots[400])[1].mean().item() - inside[0]
fig, axes = plot.figure(1, 2, height=3.0)
axes[0].plot(sigmas, inside - inside[0], color=plot.COLOURS.vermilion, label="training")
axes[0].plot(sigmas, outside - outside[0], color=plot.COLOURS.blue, label="held out")
axes[0].axhline(good, color=plot.INK, lw=1.2)
axes[0].text(1e-2, good + 6, "the fit of section 2", va="bottom", fontsize=10)
axes[0].set(xscale="log", xlabel=r"width $\sigma$ of the component", ylabel="gain, nats in all")
axes[0].set(title="No maximum", xticks=[1, 1e-50, 1e-100, 1e-150], xlim=(1e3, 1e-153))
axes[0].legend(loc="upper left", bbox_to_anchor=(0.0, 0.88))
close = line[0].item() + torch.linspace(-1, 1, 40_001, dtype=torch.float64, device=device)[:, None]
spike = e_step(close, *collapsed(1e-4))[1].exp().cpu()
axes[1].plot(close[:, 0].cpu(), spike, color=plot.COLOURS.vermilion, lw=1.4)
axes[1].set(title=r"The density at $\sigma = 10^{-4}$", xlabel="$x$", ylim=(0, None))
plt.show()

# %% [markdown]
# EM stops at a width of about $10^{-15}$ only because `m_step` adds a number of that size to every $N_k$, against a
# division by 0. In the formula nothing stops it: on the left the training curve passes the honest fit and goes on.
#
# In 64 dimensions it needs no bad luck: a component with fewer than 65 digits has directions in which its
# digits do not vary at all. There the width is 0, and the matrix has no Cholesky factor. Below, twenty
# components with floors and imagined digits of several sizes.

# %% folded="Figure: eight repairs" tags=["demo"]
# long: eight fits, printed and drawn
try:
    em(y_train, start(y_train, S.crowd, torch.Generator().manual_seed(0)), 20)
except torch.linalg.LinAlgError as error:
    print(f"no repair: {type(error).__name__}: {str(error).split('(')[0][:90].strip()}")
repairs = [{"floor": f} for f in (1e-12, 1e-4, 1e-3, 1e-2)] + [{"nu": n} for n in (1.0, 10.0, 30.0, 100.0)]
ladder = {}
for repair in progress.track(repairs, title="repairs"):
    parameters = fit(y_train, S.crowd, min(S.steps, 20), tol=0.01, **repair)
    name = ", ".join(f"{'ε' if key == 'floor' else 'ν'} = {value:g}" for key, value in repair.items())
    ladder[name] = [e_step(y, *parameters)[1].mean().item() for y in (y_train, y_val)]
    print(f"{name:10} training {ladder[name][0]:8.1f}, held out {ladder[name][1]:14,.1f} nats")
fig, ax = plot.figure(height=3.0)
for i, colour, label in ((0, plot.COLOURS.vermilion, "training"), (1, plot.COLOURS.blue, "held out")):
    ax.plot(list(ladder), [pair[i] for pair in ladder.values()], "o", ms=9, color=colour, label=label)
ax.vlines(list(ladder), *np.array(list(ladder.values())).T, color=plot.RULE, lw=3, zorder=0)
ax.axhline(0, color=plot.INK, lw=0.8)
ax.set(title="The gap between training and held-out nats closes", ylabel="nats per digit")
ax.legend(loc="upper right")
plt.show()
board.claim(
    "With a floor of 1e-12 held-out digits do worse than under the uniform density.",
    ladder["ε = 1e-12"][1] < 0,
)
board.claim("Yet training digits like it best.", max(ladder, key=lambda n: ladder[n][0]) == "ε = 1e-12")
board.claim(
    "The best repair for held-out nats is ν = 30.", max(ladder, key=lambda n: ladder[n][1]) == "ν = 30"
)

# %% [markdown]
# A floor of $10^{-12}$ makes the error message go away, and nothing else: held-out digits do worse than under
# the uniform density, which has 0 nats. The floor has to be of the size of real noise. The imagined digits do
# better still, for they know in *which* directions digits vary. How much of either, held-out digits must say
# (an alarm wants more than nats do: section 6); the training column would choose the smallest floor.
#
# **Independence blurs strokes.** We provoked it in section 1. Now the measure: take what the class explains
# out of each pixel, and correlate what remains with the neighbour's. And count *crumbs*, inked pixels without
# an inked neighbour.


# %% tags=["demo"]
# long: two measures of strokes, on three kinds of digits
def neighbour_correlation(b, c):
    """Correlation of pixels side by side, given the class: (N, 64) of 0 and 1, (N,) -> a number."""
    image = (b - torch.stack([b[c == k].mean(dim=0) for k in range(10)])[c]).reshape(-1, 8, 8)
    pairs = (image[:, :, 1:], image[:, :, :-1]), (image[:, 1:], image[:, :-1])
    u, v = (torch.cat([pair[i].flatten() for pair in pairs]) for i in (0, 1))
    return ((u * v).sum() / (u.square().sum() * v.square().sum()).sqrt()).item()


def crumbs(b):
    """The share of inked pixels none of whose eight neighbours is inked: (N, 64) -> a number."""
    image = b.reshape(-1, 1, 8, 8)
    around = torch.nn.functional.avg_pool2d(image, 3, stride=1, padding=1) * 9 - image
    return ((image > 0) & (around < 0.5)).sum().item() / image.sum().item()


many = torch.arange(S.draws, device=device) % 10
g = torch.Generator().manual_seed(8)
kinds = {
    "real digits": (b_held, c_held),
    "naive Bayes": (draw_bernoulli(many, theta, g), many),
    "full covariance": ((draw_normal(many, *by_class[1:], g) >= 0.5).double(), many),
}
measured = {name: (neighbour_correlation(b, c), crumbs(b)) for name, (b, c) in kinds.items()}
for name, (correlation, share) in measured.items():
    print(f"{name:16} correlation of neighbours {correlation:6.3f}, crumbs {share:.2%}")
real, coin, full = measured.values()
board.claim("Naive Bayes has many times the crumbs of real digits.", coin[1] > 5 * real[1])
print(f"crumbs among the real digits: {round(real[1] * b_held.sum().item())} pixels")
board.claim("A full covariance brings more than half of the correlation back.", full[0] > 0.5 * real[0])

# %% [markdown]
# Naive Bayes has no correlation, as it must, and many times the crumbs (real digits have next to none). The repair is
# to model what it leaves out: a full covariance for each class brings most of the correlation back, from the same
# labels, though not all of it, and some crumbs stay. (Exercise 5
# repairs it another way: more than one set of coins.)
#
# ## 11 · How good is it?
#
# Nats and alarms are measured. For the samples, the course's measuring net reads draws of which we know the
# wanted class: which share does it *recognise*? The *Fréchet distance* compares means and covariances of the net's
# features of drawn and real digits; lower is better. The table turns one knob, the number of imagined digits.

# %% tags=["demo"]
# long: a table of ν, and two models before the judge
judge = features.digits()
wanted = torch.arange(len(c_test)) % 10
real_grey, real_binary = digits.test.x, b_test.reshape(-1, 1, 8, 8).float().cpu()


def looks(parameters):
    """How digits drawn from one normal a class look to the judge."""
    drawn = draw_normal(wanted.to(device), *parameters[1:], torch.Generator().manual_seed(9))
    return judge.compare(to_pixels(drawn).cpu(), wanted, real_grey, digits.test.y)


turned = {}
for nu in (1.0, 3.0, 10.0, 30.0, 100.0):
    parameters = m_step(y_train, labels_train, nu=nu)
    turned[nu] = e_step(y_val, *parameters)[1].mean().item(), looks(parameters)
    known, frechet = turned[nu][1]["class_accuracy"], turned[nu][1]["frechet"]
    text = f"recognised {known:.3f}, Fréchet distance {frechet:.2f}"
    print(f"ν = {nu:5}: {turned[nu][0]:.1f} nats (validation), {text}")
drawn = draw_bernoulli(wanted, theta, torch.Generator().manual_seed(9)).reshape(-1, 1, 8, 8).float().cpu()
looks_grey, looks_binary = turned[30.0][1], judge.compare(drawn, wanted, real_binary, digits.test.y)
ceiling = (judge(real_binary).labels == digits.test.y).mean()
print(
    f"real digits {judge.accuracy:.3f}, in black and white {ceiling:.3f};",
    f"naive Bayes {looks_binary['class_accuracy']:.3f}",
)
board.claim("The nats want some thirty imagined digits.", max(turned, key=lambda n: turned[n][0]) == 30)
distances = [look["frechet"] for _, look in turned.values()]
board.claim("The distance only grows with their number.", distances == sorted(distances))


# %% folded="Seconds, and rows for the board" tags=["demo"]
# long: three models are timed, six rows recorded
def seconds(job, repeats=5):
    """The fastest of some runs: whatever else the machine does only adds to it."""
    times = []
    for _ in range(repeats):
        start_time = time.perf_counter()
        job()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start_time)
    return min(times)


g = torch.Generator().manual_seed(10)
costs = {  # seconds of fitting, seconds of drawing one sample
    "naive Bayes": (
        seconds(lambda: fit_bernoulli(b_train, c_train, 10)),
        seconds(lambda: draw_bernoulli(many, theta, g)) / S.draws,
    ),
    "Gaussian mixture": (fit_seconds[by_nats], seconds(lambda: sample(S.draws, *gmm, g)) / S.draws),
    "one normal a class": (
        seconds(lambda: m_step(y_train, labels_train, nu=NU)),
        seconds(lambda: draw_normal(many, *by_class[1:], g)) / S.draws,
    ),
}
costs = {
    name: dict(zip(("train_seconds", "sample_seconds"), pair, strict=True)) for name, pair in costs.items()
}


def put(model, nats, parameters, data="digits 8x8", **figures):
    """A row of the board, with bits per dimension where y is the dequantised digit."""
    if data == "digits 8x8":
        figures["bits_per_dim"] = (64 * math.log(17) - nats) / (64 * math.log(2))
        figures |= costs.get(model, {})
    board.record("02_mixtures", model, data=data, parameters=parameters, nats=nats, **figures)


coins_row = {"data": "digits 8x8, binary", "roc_auc": mean_auc["naive Bayes"], **costs["naive Bayes"]}
put("naive Bayes", log_p_b.mean().item(), 649, **coins_row, **looks_binary)
put("Gaussian mixture", nats["+ components"], free_parameters(by_nats, 64), roc_auc=mean_auc[SHRUNK])
put("one normal a class", log_p_class.mean().item(), free_parameters(10, 64), **looks_grey)
put("naive Bayes, 17 levels", nats["+ classes"], 10 * 64 * 16 + 9)
nats_floored = e_step(y_test, *floored)[1].mean().item()
floor_row = {"roc_auc": mean_auc[FLOORED]}
put("Gaussian mixture, floor 0.01", nats_floored, free_parameters(S.crowd, 64), **floor_row)
put("Gaussian mixture", held["EM"], 5, data="two modes")
board.table("digits 8x8")

# %% [markdown]
# In the table of $\nu$, the nats want some thirty imagined digits: better to be vague than surprised. The looks want as
# few as possible: imagined digits are of all classes, and blur the one that was asked for.
#
# Different questions, different winners: the best nats for 17-level coins, a better alarm for the floor than for the best
# mixture, the best-looking digits, of the two that the measuring net looked at, for one covariance a class. A model is good *at* something.
#
# ## 12 · In production
#
# A draw is one component's work, a density is every component's. With $t_{\text{mul}}$ for a multiplication:
#
# $$t_{\text{sample}} = t_{\text{choose}} + D^2\, t_{\text{mul}}, \qquad
# t_{\text{density}} = K\,D^2\, t_{\text{mul}}, \qquad \text{memory} = K\,\tfrac{D(D+3)}2 .$$
#
# Nothing waits for anything else: latency is one pass. No term has $N$ in it, the number of training samples,
# which the KDE carries for ever. With these few digits the two bills are alike, $N D = 80{,}448$ multiplications for
# the KDE and $K D^2 = 81{,}920$ for $K = 20$; with more data only one of them grows. The term to fear is $D^2$. (A
# draw takes longer than its formula says: for so little work, random numbers and calls are most of it.)

# %% tags=["demo"]
per = {K: seconds(lambda p=p: e_step(y_test, *p)) / len(y_test) for K, p in models.items()}
unit = per[max(per)] / max(per)
print(f"a multiplication, measured on the largest model: {unit / 64**2 * 1e9:.3f} ns")
for K, value in per.items():
    print(f"K = {K:3}: density of a digit {1e6 * value:7.1f} µs, predicted {1e6 * K * unit:7.1f} µs")
kde_time = seconds(lambda: log_kde(y_test, y_train, H_DIGITS)) / len(y_test)
draw_time = 1e6 * costs["Gaussian mixture"]["sample_seconds"]
print(f"KDE: {1e6 * kde_time:.1f} µs; a draw from the mixture: {draw_time:.1f} µs")
print(f"at 256 x 256 pixels one full covariance would fill {(256**2) ** 2 * 8 / 2**30:,.0f} GiB")

# %% [markdown]
# The prediction from the largest model holds within a factor of two or three down to one component: the cost is linear
# in $K$. At the size of a photograph the covariance alone is the end. The rest of this course is about densities that
# need no such matrix.
#
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple.
#
# ### 1 · BIC across shapes (easy, 10 minutes)
#
# Section 3 counted parameters of full covariances. Three cheaper shapes: `tied` (one full matrix for all
# components), `diag` (a variance for each coordinate of each component), `spherical` (one variance for each
# component). Compare fits of different shapes *and* sizes.


# %% exercise="bic"
def best_fit(fits, N, D):
    """The index of the fit with the lowest BIC, the first of equal ones, and the BIC of each, a list.

    fits: list of (shape, K, mean log p of the N training samples in D dimensions, in nats), where shape is
    "full", "tied", "diag" or "spherical". Raises ValueError for another shape. All is in float64: scores that
    are nearly equal are not equal.
    """
    ### BEGIN SOLUTION
    full = D * (D + 1) // 2
    scores = []
    for shape, K, mean_log_p in fits:
        covariances = {"full": K * full, "tied": full, "diag": K * D, "spherical": K}
        if shape not in covariances:
            raise ValueError(f"unknown shape {shape!r}")
        parameters = K - 1 + K * D + covariances[shape]
        scores.append(-2 * N * mean_log_p + parameters * math.log(N))
    return scores.index(min(scores)), scores
    ### END SOLUTION


# %% test="bic" points=2
index, scores_bic = best_fit([("spherical", 2, -3.0), ("tied", 2, -2.9)], 100, 3)
nine, thirteen = 600 + 9 * math.log(100), 580 + 13 * math.log(100)
assert math.isclose(scores_bic[0], nine), "1 share, 6 means, 2 variances: 9 parameters"
assert math.isclose(scores_bic[1], thirteen), "1 share, 6 means, 6 covariances: 13 parameters"
assert index == 1, "641.4 against 639.9: the second is lower"
index, _ = best_fit([("diag", 2, -3.0 - 1e-9), ("diag", 2, -3.0)], 1_000_000, 3)
assert index == 1, "the second is lower by 0.002 of 6 million, which float32 cannot tell"

# %% [markdown]
# ### 2 · A mean that never sees all its terms (medium, 15 minutes)
#
# `torch.logsumexp` needs all terms at once. A server that scores a picture under a mixture spread over
# machines gets them block by block. Compute the logarithm of the *mean* of $e^{a}$ over all terms $a$ of all
# blocks, in one pass. Keep the largest term so far, and the sum relative to it; when a larger one comes,
# rescale. (Attention kernels on GPUs do the same.) A block may be empty, and a term may be $-\infty$; if all
# are, so is the answer, and never NaN.


# %% exercise="log-mean-exp"
def log_mean_exp(blocks):
    """log of the mean of exp(a) over all terms of all blocks, a number to the digits of float64.

    blocks: a list of (n_i,) tensors of float64, where n_i may be 0; terms may be -inf, and huge.
    Raises ValueError if there is no term at all.
    """
    ### BEGIN SOLUTION
    top, total, count = -math.inf, 0.0, 0
    for block in blocks:
        count += len(block)
        new = max([top, *block.tolist()])
        if new == -math.inf:
            continue
        total = total * math.exp(top - new) + (block - new).exp().sum().item()
        top = new
    if count == 0:
        raise ValueError("the mean of no terms")
    return top + math.log(total / count) if total else -math.inf
    ### END SOLUTION


# %% test="log-mean-exp" points=1
three = [[-math.inf, 0.0], [], [math.log(5.0)]]
got = log_mean_exp([torch.tensor(block, dtype=torch.float64) for block in three])
assert math.isclose(got, math.log(2)), f"0, 1 and 5 have the mean 2, whose logarithm is 0.6931, not {got}"
got = log_mean_exp([torch.tensor([a], dtype=torch.float64) for a in (-5_000.0, 5_000.0)])
assert math.isclose(got, 5_000 - math.log(2)), f"stay in log space: 4999.31, not {got}"
assert log_mean_exp([torch.tensor([-math.inf])]) == -math.inf, "all terms -inf: the answer is -inf, not NaN"

# %% [markdown]
# ### 3 · One covariance for all, and samples that count more (medium, 20 minutes)
#
# With little data, let the components share a single covariance matrix: a *tied* mixture. And let sample $n$
# count $w_n \ge 0$ times, as if it stood $w_n$ times in the data; $w_n$ need not be whole. Derive the M-step:
# start from that of section 2 and ask where each sum gets its $w_n$, and which terms of $F$ contain the one
# covariance.


# %% exercise="tied-m-step"
def tied_m_step(x, r, w):
    """The M-step of a mixture with one covariance for all components, from weighted samples.

    x: (N, D); r: (N, K), rows sum to 1; w: (N,), not negative; all float64. Every component has some weight.
    Returns pi (K,), not its logarithm; mu (K, D); Sigma (D, D), by maximum likelihood; all of it float64.
    """
    ### BEGIN SOLUTION
    share = r * w[:, None]  # (N, K)
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    gap = x[:, None] - mu  # (N, K, D)
    Sigma = torch.einsum("nk,nkd,nke->de", share, gap, gap) / w.sum()
    return n / w.sum(), mu, Sigma
    ### END SOLUTION


# %% test="tied-m-step" points=2
x_four = torch.tensor([[0.0], [2.0], [10.0], [10.0]], dtype=torch.float64)
r_four = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
pi_t, mu_t, Sigma_t = tied_m_step(x_four, r_four, torch.tensor([3.0, 1.0, 2.0, 0.0], dtype=torch.float64))
assert torch.allclose(pi_t, torch.tensor([4 / 6, 2 / 6], dtype=torch.float64), rtol=1e-9, atol=1e-12), (
    f"weights 4 and 2 of 6, to the digits of float64, not {pi_t.tolist()}"
)
assert torch.allclose(mu_t[:, 0], torch.tensor([0.5, 10.0], dtype=torch.float64)), (
    "0, 0, 0 and 2 have the mean 0.5"
)
assert torch.allclose(Sigma_t, torch.tensor([[0.5]], dtype=torch.float64)), (
    "3 x 0.25 + 2.25, over a weight of 6"
)

# %% [markdown]
# ### 4 · ROC-AUC with ties and weights (medium, 10 minutes)
#
# The `auc` of section 6 gives a tie no credit, so that a detector with one score for everything gets 0. A tie
# should count one half. And let each sample have a weight: a pair then counts the product of its two. Scores
# may be $\pm\infty$ (a model that rules a sample out), and two equal infinities are a tie.


# %% exercise="auc"
def weighted_auc(scores, anomaly, w):
    """The weighted share of pairs in which the anomaly scores higher, ties counted one half: a number.

    scores: (N,) float64, may hold inf and -inf; anomaly: (N,) of booleans; w: (N,), not negative.
    Raises ValueError unless both kinds have some weight.
    """
    ### BEGIN SOLUTION
    a, b, w_a, w_b = scores[anomaly], scores[~anomaly], w[anomaly], w[~anomaly]
    pairs = w_a[:, None] * w_b
    if pairs.sum() == 0:
        raise ValueError("both kinds need samples with weight")
    credit = (a[:, None] > b).double() + 0.5 * (a[:, None] == b).double()
    return ((pairs * credit).sum() / pairs.sum()).item()
    ### END SOLUTION


# %% test="auc" points=2
flags = torch.tensor([True, True, False, False])
same = weighted_auc(torch.zeros(4).double(), flags, torch.ones(4).double())
assert math.isclose(same, 0.5), f"one score for all is guessing: 0.5, not {same}"
ends_auc = torch.tensor([math.inf, 1.0, math.inf, 0.0], dtype=torch.float64)
got = weighted_auc(ends_auc, flags, torch.tensor([1.0, 3.0, 1.0, 1.0], dtype=torch.float64))
assert math.isclose(got, 4.5 / 8), f"of weight 8: a tie of weight 1, 1 and 3 won, 3 lost: 4.5 / 8, not {got}"
near = torch.tensor([1 + 1e-9, 1 + 1e-9, 1.0, 1.0], dtype=torch.float64)
got = weighted_auc(near, flags, torch.ones(4).double())
assert got == 1, f"nearly equal in float64 is not equal, as it would be in float32: 1, not {got}"

# %% [markdown]
# ### 5 · Repair a broken EM (medium, 20 minutes)
#
# Naive Bayes with *hidden* labels is a mixture of coins: pictures $x \in \{0, 1\}^D$, components $\theta_k$.
# Somebody wrote one EM step for it. It returns the new parameters and $\log p(x)$ under the old ones. On toys
# of three pixels it runs, and $\log p$ falls where it should climb. It has **three** faults; on pictures of a
# thousand pixels it soon returns $-\infty$ and NaN. Run it, find them, and write the step that works, from three pixels to thousands, with $\alpha > 0$ as in
# section 1.


# %%
def broken_step(x, log_pi, theta, alpha):
    """One EM step of a mixture of coins, with three faults:
    (N, D), (K,), (K, D) -> log pi, theta, log p (N,).
    """
    p_x_given_k = (theta ** x[:, None] * (1 - theta) ** (1 - x[:, None])).prod(dim=2)  # (N, K)
    joint = log_pi.exp() * p_x_given_k
    r = joint / joint.sum(dim=0)
    n = r.sum(dim=0)
    new_theta = (r.T @ x + alpha) / (len(x) + 2 * alpha)
    return (n / n.sum()).log(), new_theta, joint.sum(dim=1).log()


# %% exercise="repair"
def coin_step(x, log_pi, theta, alpha):
    """One EM step of a mixture of coins: the new log pi (K,), the new theta (K, D), log p(x) (N,).

    x: (N, D) float64 of 0 and 1; log_pi: (K,), finite; theta: (K, D), between 0 and 1 and neither; alpha > 0
    is added to both sides of every coin. log p, in nats, is under the parameters that came in.
    """
    ### BEGIN SOLUTION
    joint = log_pi + x @ theta.log().T + (1 - x) @ (1 - theta).log().T
    r = joint.softmax(dim=1)
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), joint.logsumexp(dim=1)
    ### END SOLUTION


# %% test="repair" points=3
toss = torch.Generator().manual_seed(0)
wide = torch.bernoulli(torch.full((20, 2_000), 0.5, dtype=torch.float64), generator=toss)
coins_start = 0.25 + 0.5 * torch.rand(3, 2_000, generator=toss, dtype=torch.float64)
step_pi, step_theta, step_log_p = coin_step(
    wide, torch.full((3,), 1 / 3, dtype=torch.float64).log(), coins_start, 1.0
)
assert step_log_p.isfinite().all(), "2,000 pixels: the product underflows, its logarithm does not"
assert math.isclose(step_pi.exp().sum(), 1), "the shares add up to 1, to the digits of float64"
two_coins = torch.tensor([[0.9, 0.2], [0.5, 0.5]], dtype=torch.float64)
even = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
_, new_coins, log_seen = coin_step(torch.tensor([[1.0, 0.0]], dtype=torch.float64), even, two_coins, 1.0)
assert math.isclose(log_seen.item(), math.log(0.5 * 0.72 + 0.5 * 0.25)), (
    "0.9 x 0.8 and 0.5 x 0.5, half of each"
)
weight_0 = 0.72 / 0.97  # the responsibility of the first component
assert torch.allclose(new_coins[0, 0], torch.tensor((weight_0 + 1) / (weight_0 + 2), dtype=torch.float64)), (
    "the first coin counts its share of one picture, and one imagined throw on each side"
)

# %% [markdown]
# ### 6 · Half a digit (hard, 30 minutes)
#
# A Gaussian mixture knows every marginal and every conditional. For one component, split the coordinates of
# $x$ into observed ones $o$ and missing ones $m$ (the two steps of section 8 give the second formula):
#
# $$p(x_o) = \mathcal N(x_o; \mu_o, \Sigma_{oo}), \qquad
# p(x_m \mid x_o) = \mathcal N\big(\mu_m + \Sigma_{mo}\Sigma_{oo}^{-1}(x_o - \mu_o),\ \Sigma_{mm} - \Sigma_{mo}\Sigma_{oo}^{-1}\Sigma_{om}\big).$$
#
# Write the E-step for data with holes, marked by NaN: responsibilities and log density given what is
# *observed*. Each row has holes of its own; a row may have none, or nothing else. (The density of nothing is
# 1, and what nothing tells about the component is $\pi$.) Then fill the holes: for each row draw a component
# given the observed part, then the missing part given the observed part *and* the component. Observed values
# stay as they are.


# %% exercise="missing"
def e_step_missing(x, log_pi, mu, Sigma):
    """r (N, K) and log p(observed part) in nats (N,). x: (N, D), float64, NaN where missing."""
    ### BEGIN SOLUTION
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    return joint.softmax(dim=1), joint.logsumexp(dim=1)
    ### END SOLUTION


def fill_in(x, log_pi, mu, Sigma, generator):
    """x with each NaN replaced by one draw from p(missing | observed), (N, D).

    All randomness comes from `generator`, a torch.Generator. x itself is left alone.
    """
    ### BEGIN SOLUTION
    component = torch.multinomial(e_step_missing(x, log_pi, mu, Sigma)[0], 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])  # (o, m)
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        L = torch.linalg.cholesky(Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A)
        row[m] = mean + L @ torch.randn(int(m.sum()), generator=generator, dtype=x.dtype)
    return filled
    ### END SOLUTION


# %% test="missing" points=4
halves = (
    torch.tensor([0.5, 0.5], dtype=torch.float64).log(),
    torch.tensor([[0.0, 0.0], [4.0, 4.0]], dtype=torch.float64),
    torch.tensor([[[1.0, 0.9], [0.9, 1.0]]] * 2, dtype=torch.float64),
)
holes = torch.tensor([[2.0, math.nan], [math.nan, math.nan]], dtype=torch.float64)
r_holes, log_p_holes = e_step_missing(holes, *halves)
assert torch.allclose(r_holes, torch.full((2, 2), 0.5, dtype=torch.float64)), (
    "2 lies half way; nothing tells nothing"
)
assert (log_p_holes - torch.tensor([-2.918938533205, 0.0], dtype=torch.float64)).abs().max() < 1e-10, (
    "a density of one number, to the digits of float64; of none: log 1"
)
corner = torch.tensor([[0.1, math.nan]] * 500, dtype=torch.float64)
whole = fill_in(corner, *halves, torch.Generator().manual_seed(0))
assert not whole.isnan().any() and (whole[:, 0] == 0.1).all(), "fill only the holes; 0.1 stays, in float64"
assert abs(whole[:, 1].mean()) < 0.2, "the first component is nearly certain, and its mean given 0.1 is 0.09"
assert 0.35 < whole[:, 1].std() < 0.53, (
    "given the first number, the second has the deviation sqrt(0.19) = 0.44"
)

# %% [markdown]
# When it is done, try it on digits: set the lower half of some `y_test` to NaN, and fill it in with
# `by_class` or `gmm`.
#
# ### 7 · Build an EM whose hidden label is a number (hard, 40 minutes)
#
# A mixture hides one of $K$ labels. Hide $Q$ real numbers instead: $z \sim \mathcal N(0, I)$ decides where $x$ lies, and
# noise of variance $s^2$ is added. This is a mixture with endlessly many components, known as *probabilistic PCA*
# (Tipping and Bishop, 1999; here with mean 0):
#
# $$x = W z + s\,\eta,\qquad p(x \mid z) = \mathcal N(x;\, Wz,\, s^2 I),\qquad p(x) = \mathcal N(x;\, 0,\, W W^\top + s^2 I) .$$
#
# $W$ is $D \times Q$, and $\eta$ standard normal. (Lesson 10 puts a network in the place of $W$.) The bound of section 2
# holds with an integral for the sum: its $r$ becomes a density $q_n(z)$ for each $x_n$. Derive and write the three parts.
#
# - **E-step.** $q_n(z) = p(z \mid x_n)$ is normal. Find its mean $m_n$ and its covariance $C$, which is the same for
#   all $n$; and $\log p(x_n)$ in nats, with all its constants.
# - **M-step.** Choose $W$ and $s^2$ so that $\sum_n \mathbb E_{q_n}\big[\log p(x_n, z)\big]$ is largest, for any
#   given $m$ and $C$. $W$ first: its best value does not depend on $s^2$. The square
#   $\mathbb E_q \lVert x - Wz \rVert^2$ needs $\mathbb E_q[z z^\top] = C + m m^\top$, not only $m$.
# - **Loop.** From the start that is given, E-step and M-step in turn, `steps` times. No early stop.
#
# Do not subtract a mean: the model's is 0. All is float64; the tests compare to a relative error of $10^{-6}$: with
# formulas, with a least-squares solution, and the end of your loop with the best that any $W$ and $s^2$ can reach,
# which here is known from eigenvalues. $Q$ may be 1, and is less than $D$.
#
# <details><summary>A hint for the E-step</summary>
#
# $z$ and $x$ are jointly normal with cross-covariance $\operatorname{Cov}(z, x) = W^\top$. Repeat the two steps of
# section 8 with $A = W^\top (W W^\top + s^2 I)^{-1}$; what is left over, $z - Ax$, has the covariance $I - A W$.
# </details>


# %% exercise="factors"
def factor_e_step(x, W, s2):
    """The posterior of z and log p(x): x (N, D), W (D, Q), s2 a number -> m (N, Q), C (Q, Q), log p (N,)."""
    ### BEGIN SOLUTION
    D, Q = W.shape
    covariance = W @ W.T + s2 * torch.eye(D, dtype=x.dtype)
    A = torch.linalg.solve(covariance, W).T  # (Q, D)
    C = torch.eye(Q, dtype=x.dtype) - A @ W
    return x @ A.T, C, log_normal(x, torch.zeros(1, D, dtype=x.dtype), covariance[None])[:, 0]
    ### END SOLUTION


def factor_m_step(x, m, C):
    """The best parameters for given posteriors: x (N, D), m (N, Q), C (Q, Q) -> W (D, Q), s2 a number."""
    ### BEGIN SOLUTION
    second = len(x) * C + m.T @ m  # the sum of E[z z^T], (Q, Q)
    W = torch.linalg.solve(second, m.T @ x).T
    squares = x.square().sum() - 2 * (x * (m @ W.T)).sum() + (W @ second * W).sum()
    return W, squares / x.numel()
    ### END SOLUTION


def fit_factors(x, W, s2, steps):
    """EM from W, s2: the last W (D, Q), the last s2, and the history (steps,).

    history: for each step, the mean log p(x) in nats under the parameters with which the step began.
    """
    ### BEGIN SOLUTION
    climb = []
    for _ in range(steps):
        m, C, log_p = factor_e_step(x, W, s2)
        climb.append(log_p.mean())
        W, s2 = factor_m_step(x, m, C)
    return W, s2, torch.stack(climb)
    ### END SOLUTION


# %% test="factors" points=6
# long: each of the three parts on numbers that one can check by hand
x_pair = torch.tensor([[3.0, 3.0], [1.0, -1.0]], dtype=torch.float64)
ones = torch.ones(2, 1, dtype=torch.float64)
m_pair, C_pair, log_p_pair = factor_e_step(x_pair, ones, 1.0)
wanted_m = torch.tensor([[2.0], [0.0]], dtype=torch.float64)
assert torch.allclose(m_pair, wanted_m, rtol=1e-9, atol=1e-12), f"(3 + 3) / (2 + 1) = 2, and 0; not {m_pair}"
assert torch.allclose(C_pair, ones[:1] / 3, rtol=1e-9), f"two looks and the prior: a third, not {C_pair}"
covariance_pair = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
law = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance_pair)
assert torch.allclose(log_p_pair, law.log_prob(x_pair), rtol=1e-9), "log p(x) under W W^T + s^2 I"
W_pair, s2_pair = factor_m_step(x_pair, torch.tensor([[2.0], [0.0]], dtype=torch.float64), 0 * C_pair)
assert torch.allclose(W_pair, 1.5 * ones, rtol=1e-9), (
    "z = 2 and 0 for certain: x = (3, 3) needs W = (1.5, 1.5)"
)
assert math.isclose(s2_pair, 0.5, rel_tol=1e-9), (
    f"left are squares of 0, 0, 1 and 1: their mean, not {s2_pair}"
)
W_pair, _ = factor_m_step(x_pair, torch.tensor([[2.0], [0.0]], dtype=torch.float64), 0 * C_pair + 2)
assert torch.allclose(W_pair, 0.75 * ones, rtol=1e-9), "z is unsure, E[z^2] is 2 more in both rows: W halves"
climb_pair = fit_factors(x_pair, ones, 1.0, 20)[2]
assert climb_pair.shape == (20,) and math.isclose(climb_pair[0], log_p_pair.mean()), (
    "begin with the start's own"
)
assert (climb_pair.diff() > -1e-12).all(), "a step of EM never falls"

# %% [markdown]
# Then look at what it finds: `W, s2, history = fit_factors(y_train - y_train.mean(0), 0.1 * torch.randn(64, 8,
# dtype=torch.float64), 0.1, 200)`. Draw the columns of $W$ with `plot.images`, and new digits $\bar y + Wz + s\,\eta$.
#
# ## Further reading
#
# - K. Pearson. *Contributions to the mathematical theory of evolution.* Philosophical Transactions of the
#   Royal Society A 185, 1894.
# - M. E. Maron. *Automatic indexing: an experimental inquiry.* Journal of the ACM 8, 1961.
# - A. P. Dempster, N. M. Laird, D. B. Rubin. *Maximum likelihood from incomplete data via the EM algorithm.*
#   Journal of the Royal Statistical Society B 39, 1977.
# - G. Schwarz. *Estimating the dimension of a model.* Annals of Statistics 6, 1978. BIC.
# - R. M. Neal, G. E. Hinton. *A view of the EM algorithm that justifies incremental, sparse, and other
#   variants.* 1998. EM as ascent of one bound.
# - M. E. Tipping, C. M. Bishop. *Probabilistic principal component analysis.* Journal of the Royal Statistical Society
#   B 61, 1999. Exercise 7.
# - C. Fraley, A. E. Raftery. *Bayesian regularization for normal mixture estimation and model-based
#   clustering.* Journal of Classification 24, 2007. Imagined samples against the collapse.
# - D. Arthur, S. Vassilvitskii. *k-means++: the advantages of careful seeding.* SODA, 2007.
# - D. Zoran, Y. Weiss. *From learning models of natural image patches to whole image restoration.* ICCV, 2011. EPLL.
# - J. Bovy, D. W. Hogg, S. T. Roweis. *Extreme deconvolution.* Annals of Applied Statistics 5, 2011, arXiv:0905.2979.
# - E. Nalisnick and others. *Do deep generative models know what they don't know?* 2018, arXiv:1810.09136.
#   The surprise of section 6, in deep models.
# - E. Richardson, Y. Weiss. *On GANs and GMMs.* 2018, arXiv:1805.12462. Mixtures at the size of photographs,
#   with low-rank covariances.
# - T. Defard and others. *PaDiM.* 2020, arXiv:2011.08785. K. Roth and others. *Towards total recall in industrial
#   anomaly detection.* 2021, arXiv:2106.08265. PatchCore.

# %% tags=["demo"]
selfcheck.run("02_mixtures")
