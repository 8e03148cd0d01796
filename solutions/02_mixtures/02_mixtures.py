# %% [markdown]
# # 02 · Naive Bayes and Gaussian mixtures
#
# > **A mixture is a few simple guesses and one hidden label. If you know the label, fitting is
# > counting. If you do not, guess it, count, and guess again.**
#
# | | |
# |---|---|
# | You will build | naive Bayes, which classifies digits and draws them; a Gaussian mixture, fitted by EM, which draws digits, chooses its own size and raises the alarm when it sees a digit that it never met |
# | You need to know | lesson 01 (densities, held-out nats, dequantisation); Bayes' rule; a matrix product |
# | Time on two CPU cores | a minute to run, three to four hours to read and to solve; no GPU needed |

# %%
import math
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch

import genmap
from genmap import board, data, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

# %%
device = genmap.device()
if device.type == "mps":
    device = torch.device("cpu")  # everything below is float64, which Apple's GPUs do not have

# %%
S = genmap.settings(
    # smoke, quick, full
    sizes=((1, 2, 5), (1, 2, 5, 10, 20, 40), (1, 2, 5, 10, 20, 40, 80)),
    steps=(10, 60, 300),
    seeds=(2, 10, 50),
    left_out=((1, 8), range(10), range(10)),
    draws=(270, 1_000, 9_990),
    crowd=(4, 20, 20),
)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("mixture")
plt.show()

# %% [markdown]
# The box that is lit, and its neighbour *naive Bayes*, are the oldest on the map. They stand in bucket 1:
# the density is explicit, exact and cheap.
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
# descendants: they, too, guess what is hidden and improve a lower bound.

# %% [markdown]
# ## 1 · The label is known: naive Bayes
#
# Let $x \in \{0, 1\}^D$ be a binary picture and $c$ its class. A general table of $p(x \mid c)$ has $2^D$
# entries. Naive Bayes keeps $D$: every pixel is a coin of its own.
#
# $$p(x, c) = \pi_c \prod_{d=1}^D \theta_{cd}^{\,x_d}\,(1 - \theta_{cd})^{1 - x_d}$$
#
# $\pi_c$ is the share of class $c$, and $\theta_{cd}$ the probability that pixel $d$ is inked in it. The most
# likely values are the shares that we count: of the $N$ training pictures, $N_c$ are of class $c$. $\alpha$
# is a count added to both sides of each coin (*Laplace smoothing*), so that no coin is two-headed only
# because few were thrown:
#
# $$\theta_{cd} = \frac{\alpha + \sum_{n:\,c_n = c} x_{nd}}{2\alpha + N_c} .$$
#
# A product of many probabilities leaves the range of floating-point numbers, so we keep its logarithm.


# %%
def fit_bernoulli(x, c, classes, alpha=1.0):
    """The shares and the coins: x (N, D) of 0 and 1, c (N,) -> log pi (C,), theta (C, D)."""
    one_hot = torch.nn.functional.one_hot(c, classes).to(x)  # (N, C)
    n = one_hot.sum(dim=0)
    theta = (one_hot.T @ x + alpha) / (n[:, None] + 2 * alpha)
    return (n / n.sum()).log(), theta


def log_joint(x, log_pi, theta):
    """log p(x, c) in nats for every class: (N, D) -> (N, C)."""
    return log_pi + x @ theta.log().T + (1 - x) @ (1 - theta).log().T


# %% [markdown]
# First a case whose truth is known: two classes of pictures with four pixels. There are only 16 such
# pictures, so that the sum over all of them can be taken.

# %%
pi_true = torch.tensor([0.3, 0.7], dtype=torch.float64)
theta_true = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.1, 0.5, 0.6, 0.9]], dtype=torch.float64)
g = torch.Generator().manual_seed(1)
c_toy = torch.multinomial(pi_true, 20_000, replacement=True, generator=g)
x_toy = torch.bernoulli(theta_true[c_toy], generator=g)
log_pi_toy, theta_toy = fit_bernoulli(x_toy, c_toy, 2)
every_picture = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)  # (16, 4)
total = log_joint(every_picture, log_pi_toy, theta_toy).exp().sum()
print(f"largest error of a coin: {(theta_toy - theta_true).abs().max():.3f}")
print(f"p added up over all 16 pictures: {total:.12f}")

# %% [markdown]
# Now real digits: a pixel is ink where its grey is one half or more. The split into training, validation and
# test digits is that of lesson 01.

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
fig, axes = plot.figure(2, 1, height=1.25)
plot.images(theta.reshape(-1, 8, 8), ax=axes[0], title=r"The coins $\theta_c$: how often each pixel is inked")
plot.images(
    b_train[torch.stack([(c_train == c).nonzero()[0, 0] for c in range(10)])].reshape(-1, 8, 8), ax=axes[1]
)
axes[1].set_title("One training digit of each class")
plt.show()

# %% [markdown]
# **As a classifier.** Bayes' rule needs one division, which in log space is a subtraction:
#
# $$\log p(c \mid x) = \log p(x, c) - \log \sum_{c'} p(x, c') .$$

# %%
joint = log_joint(b_test, log_pi, theta)  # (M, 10)
log_p_b = torch.logsumexp(joint, dim=1)  # log p(x) of the binary digit
posterior = (joint - log_p_b[:, None]).exp()
sure, guess = posterior.max(dim=1)
right = guess == c_test
print(f"accuracy {right.double().mean():.3f}, but on average {sure.mean():.3f} sure of itself")
print(f"wrong and yet more than 0.99 sure: {((sure > 0.99) & ~right).sum()} of {(~right).sum()} errors")
print(f"held-out: {log_p_b.mean():.2f} nats per binary digit (the uniform density: {-64 * math.log(2):.2f})")

# %% [markdown]
# With coins alone it reads about seven digits of eight. But look at how sure it is. Ten pixels of one stroke
# are one piece of evidence; naive Bayes counts them ten times.
#
# **What $\alpha$ is for.** Without it, a pixel that was never inked in a class is impossible there. One such
# pixel in a new digit, and the class is ruled out for ever, whatever all other pixels say.

# %% tags=["demo"]
for alpha in (0.0, 0.01, 0.1, 1.0, 10.0):
    lp, th = fit_bernoulli(b_train, c_train, 10, alpha)
    ruled_out = ((b_test @ (th == 0).double().T) + ((1 - b_test) @ (th == 1).double().T)) > 0  # (M, 10)
    own = ruled_out[torch.arange(len(c_test)), c_test].sum()
    joint_a = log_joint(b_test, lp, th.clamp(1e-12, 1 - 1e-12)).masked_fill(ruled_out, -math.inf)
    nats, hits = torch.logsumexp(joint_a, 1).mean(), (joint_a.argmax(1) == c_test).double().mean()
    text = f"{nats:6.2f} nats, accuracy {hits:.3f}"
    print(f"alpha = {alpha:5}: {text}; the true class is ruled out for {own} of {len(c_test)} test digits")

# %% [markdown]
# Here the damage is small: a hundred digits of each class are enough for 64 coins, and where the true class
# is ruled out another one explains the digit. With a picture that *no* class allows, $\log p(x)$ would be
# $-\infty$, and with it the mean over all pictures. The more features and the fewer examples, as in the
# classification of texts, the sooner that comes. The price of too large an $\alpha$ shows in the last line.

# %% [markdown]
# **As a sampler.** Choose a class, or draw one from $\pi$; then throw 64 coins. That is all.


# %%
def draw_bernoulli(c, theta, generator):
    """One binary picture for each class in c: (n,), (C, D) -> (n, D)."""
    return torch.bernoulli(theta[c].cpu(), generator=generator).to(theta)


# %% tags=["demo"]
ten = torch.arange(10, device=device).repeat(2)
coins = draw_bernoulli(ten, theta, torch.Generator().manual_seed(2))
fig, axes = plot.figure(2, 1, height=1.9)
plot.images(coins.reshape(-1, 8, 8), ax=axes[0], title="Drawn by naive Bayes, class 0 to 9")
plot.images(
    b_test[torch.cat([(c_test == c).nonzero()[:2] for c in range(10)], 1).flatten()].reshape(-1, 8, 8),
    ax=axes[1],
)
axes[1].set_title("Real digits, held out")
plt.show()

# %% [markdown]
# Most can be guessed, and none looks written: the strokes are frayed, with holes in them and crumbs beside
# them. Each pixel is inked as often as it should be, but none knows of its neighbours. Section 9 measures
# that.

# %% [markdown]
# ## 2 · The label is hidden: a mixture
#
# Take the labels away. The density of $x$ alone is the sum over the label that nobody told us, and a density
# that is such a sum is a *mixture*. With normal components it is
#
# $$p(x) = \sum_{k=1}^K \pi_k\, \mathcal N(x;\, \mu_k, \Sigma_k),\qquad
# \log \mathcal N = -\tfrac12\big(\lVert L^{-1}(x - \mu)\rVert^2 + 2 \textstyle\sum_d \log L_{dd} + D \log 2\pi\big) .$$
#
# $\Sigma_k$ is a full covariance matrix, and $L$ its Cholesky factor: lower triangular, with
# $LL^\top = \Sigma$. It gives both things that the formula needs, the distance (by solving a triangular
# system, without an inverse) and the determinant (the product of its diagonal, squared).


# %%
def log_normal(x, mu, Sigma):
    """log N(x; mu_k, Sigma_k) in nats: (N, D), (K, D), (K, D, D) -> (N, K).

    Raises torch.linalg.LinAlgError where a Sigma_k is not positive definite.
    """
    L = torch.linalg.cholesky(Sigma)
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False)  # (K, D, N)
    log_det = 2 * L.diagonal(dim1=1, dim2=2).log().sum(dim=1)  # (K,)
    return -0.5 * (z.square().sum(dim=1).T + log_det + x.shape[1] * math.log(2 * math.pi))


# %% [markdown]
# If somebody told us which component each $x$ came from, the fit would again be counting: a share, a mean and
# a covariance for each. If somebody told us the parameters, Bayes' rule would tell the component, as it told
# the class in section 1. Neither is known. *EM* starts with a guess and alternates:
#
# - **E-step.** The *responsibility* $r_{nk} = p(k \mid x_n)$ of component $k$ for $x_n$, by Bayes' rule.
# - **M-step.** Count, with $r_{nk}$ as the share of $x_n$ that belongs to component $k$:
#
# $$N_k = \sum_n r_{nk},\quad \pi_k = \frac{N_k}{N},\quad \mu_k = \frac1{N_k}\sum_n r_{nk}\, x_n,\quad
# \Sigma_k = \frac{\sum_n r_{nk}(x_n - \mu_k)(x_n - \mu_k)^\top + \nu\, T}{N_k + \nu} + \varepsilon I .$$
#
# With $\nu = \varepsilon = 0$ this is the counting, and the best fit. Both are repairs for later:
# $\varepsilon$ is a floor under every variance, and $\nu$ a number of imagined samples whose covariance is
# $T$, that of all data.


# %%
def e_step(x, log_pi, mu, Sigma):
    """r (N, K), each row summing to 1, and log p(x) in nats (N,)."""
    joint = log_pi + log_normal(x, mu, Sigma)  # log p(x, k)
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def m_step(x, r, floor=0.0, nu=0.0):
    """The parameters that fit x (N, D), given r (N, K): log pi, mu (K, D), Sigma (K, D, D)."""
    D = x.shape[1]
    n = r.sum(dim=0) + 10 * torch.finfo(x.dtype).eps  # a component may lose all its samples
    mu = r.T @ x / n[:, None]
    gap = x - mu[:, None]  # (K, N, D)
    scatter = (r.T[:, :, None] * gap).mT @ gap  # (K, D, D)
    T = x.T.cov(correction=0).reshape(D, D)
    Sigma = (scatter + nu * T) / (n + nu)[:, None, None] + floor * torch.eye(D).to(x)
    return (n / n.sum()).log(), mu, Sigma


# %% [markdown]
# Where to start? *k-means++* (Arthur and Vassilvitskii, 2007) takes a sample as the first centre, and each
# further one at random with probability proportional to its squared distance to the nearest centre so far. So
# the centres lie apart. Each sample then belongs to the nearest one.


# %%
def start(x, K, generator):
    """k-means++: responsibilities of 0 and 1 to begin with, (N, D) -> (N, K)."""
    centres = x[torch.randint(len(x), (1,), generator=generator).to(x.device)]
    for _ in range(K - 1):
        d2 = torch.cdist(x, centres).square().min(dim=1).values
        chosen = torch.multinomial(d2.cpu(), 1, generator=generator).to(x.device)
        centres = torch.cat([centres, x[chosen]])
    return torch.nn.functional.one_hot(torch.cdist(x, centres).argmin(dim=1), K).to(x)


def em(x, r, steps, floor=0.0, nu=0.0, tol=1e-5):
    """Alternate until ten steps gain less than tol: (log pi, mu, Sigma), mean log p of each step."""
    history = []
    for step in range(steps):
        parameters = m_step(x, r, floor, nu)
        r, log_p = e_step(x, *parameters)
        history.append(log_p.mean())
        if step and step % 10 == 0 and history[-1] - history[-11] < tol:  # the device waits once in ten
            break
    return parameters, torch.stack(history).cpu()


# %% [markdown]
# ### One dimension, where the truth is known
#
# These are the two modes of lesson 01: 2,000 numbers from
# $\tfrac12 \mathcal N(-0.6, 0.4^2) + \tfrac12 \mathcal N(0.6, 0.4^2)$. The modes overlap, so that no label
# can be told for sure. We start badly on purpose: the second component gets the right tail and the first all
# the rest.

# %%
MU, SIGMA = 0.6, 0.4
rng = np.random.default_rng(1)


def mixture_sample(n, rng):
    """n numbers from the two-mode mixture, as a column: (n, 1)."""
    x = rng.choice([-MU, MU], size=n) + SIGMA * rng.normal(size=n)
    return torch.tensor(x[:, None], device=device)


line = mixture_sample(2_000, rng)
line_held = mixture_sample(2_000, np.random.default_rng(7))
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
for name, value in zip(
    ("pi", "mu", "sigma"), (parameters[0].exp(), parameters[1], parameters[2].sqrt()), strict=True
):
    print(f"{name:6}", value.flatten().cpu().numpy().round(3))

# %% tags=["demo"]
t = torch.linspace(-2.2, 2.2, 441, dtype=torch.float64, device=device)[:, None]
fig, axes = plot.figure(1, 4, height=2.7)
for ax, step in zip(axes, (0, 10, 50, 400), strict=True):
    log_pi_s, mu_s, Sigma_s = snapshots[step]
    parts = (log_pi_s + log_normal(t, mu_s, Sigma_s)).exp().cpu()  # (441, 2)
    ax.fill_between(t[:, 0].cpu(), e_step(t, *truth)[1].exp().cpu(), color=plot.RULE)
    for part, colour in zip(parts.T, (plot.COLOURS.blue, plot.COLOURS.vermilion), strict=True):
        ax.plot(t[:, 0].cpu(), part, color=colour, lw=1.8)
    ax.plot(t[:, 0].cpu(), parts.sum(1), color=plot.INK, lw=1.2)
    nats = e_step(line, *snapshots[step])[1].mean()
    ax.set(
        title=f"step {step}", ylim=(0, 0.62), xticks=[-1, 0, 1], xlabel=f"{nats:.4f} nats".replace("-", "−")
    )
    ax.tick_params(labelleft=ax is axes[0])
plt.show()

# %% [markdown]
# The components (blue, vermilion) find the two modes of the truth (grey). It takes some fifty steps, because
# the modes overlap: where both components claim a sample, a step moves its responsibility only a little. That
# is EM's price for never overshooting.
#
# **Why the curve never falls.** For any responsibilities $r$,
#
# $$\log p(x) = \underbrace{\sum_k r_k \log \frac{\pi_k\, \mathcal N(x; \mu_k, \Sigma_k)}{r_k}}_{\text{lower bound}}
# + \underbrace{\sum_k r_k \log \frac{r_k}{p(k \mid x)}}_{\text{KL divergence},\ \ge 0} .$$
#
# The E-step makes the second term 0, so that the bound touches $\log p(x)$. The M-step raises the bound, and
# $\log p(x)$ lies above it. The same bound, with a network in the place of Bayes' rule, will train the
# variational autoencoder in lesson 10. So it can be checked: with $\nu = \varepsilon = 0$, a single fall
# would be a bug.

# %% tags=["demo"]
falls = 0
for seed in range(S.seeds):
    _, history = em(line, start(line, 3, torch.Generator().manual_seed(seed)), 200)
    falls += int((history.diff() < -1e-12).sum())
print(f"steps at which the log-likelihood fell, over {S.seeds} starts: {falls}")
print(f"held-out: EM {e_step(line_held, *parameters)[1].mean():.4f} nats,", end=" ")
print(f"the truth {e_step(line_held, *truth)[1].mean():.4f}")

# %% [markdown]
# Lesson 01's KDE, with 2,000 stored samples and its best bandwidth, reached −1.051 on the same held-out
# numbers. The mixture stores five.

# %% [markdown]
# ## 3 · How many components? BIC
#
# More components never fit the training data worse. The *Bayesian information criterion* (Schwarz, 1978)
# charges for each parameter $\tfrac12 \log N$ nats. (The formula has both sides times two.)
#
# $$\text{BIC}(K) = -2 \sum_n \log p(x_n) + P_K \log N,\qquad P_K = (K - 1) + KD + K\,\tfrac{D(D+1)}2 .$$
#
# Lower is better. It needs no held-out data. It is derived for many samples for each parameter; keep that in
# mind.


# %%
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


# %% [markdown]
# ### The plane of digits
#
# The same question on real data with two dimensions: the training digits, dequantised as in lesson 01 and
# projected on their first two principal components.


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

# %% tags=["demo"]
sizes = range(1, 9) if genmap.setting() != "smoke" else (1, 2, 4)
curves = {}
for name, x, held in (("the line", line, line_held), ("the plane of digits", z_train, z_val)):
    D, found = x.shape[1], []
    for K in progress.track(sizes, title=name):
        parameters = fit(x, K, 5 * S.steps, min(S.seeds, 3))
        log_p, held_p = e_step(x, *parameters)[1], e_step(held, *parameters)[1]
        found.append((bic(log_p, K, D) / (-2 * len(x)), log_p.mean().item(), held_p.mean().item()))
    curves[name] = np.array(found)  # (sizes, 3)

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.2)
labels = "by BIC, a sample", "training", "held out"
styles = ("-", plot.COLOURS.vermilion), (":", plot.COLOURS.blue), ("-", plot.COLOURS.blue)
for ax, (name, curve) in zip(axes, curves.items(), strict=True):
    for values, label, (dash, colour) in zip(curve.T, labels, styles, strict=True):
        ax.plot(sizes, values, dash, marker="o", color=colour, label=label, ms=4)
    K = list(sizes)[curve[:, 0].argmax()]
    ax.plot(K, curve[:, 0].max(), "o", ms=11, mfc="none", mec=plot.COLOURS.vermilion, mew=2)
    ax.set(title=f"{name[0].upper()}{name[1:]}: BIC says {K}", xlabel="components $K$", xticks=list(sizes))
axes[0].set_ylabel("nats, higher is better")
axes[1].legend(loc="lower right")
plt.show()

# %% [markdown]
# Both axes show nats for each sample, so BIC is drawn divided by $-2N$: higher is better. The training curve
# rises with every component. On the line BIC finds the two modes that are there, without having seen a
# held-out sample. On the plane nobody knows the truth; BIC's curve turns flat where a component only just
# pays for its six numbers, and the held-out curve is flat from about there.


# %% tags=["demo"]
def ellipse(ax, mu, Sigma, colour, **style):
    """Draw the curve at two standard deviations of a normal density in the plane."""
    angle = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()])  # (2, 100)
    x, y = mu.cpu()[:, None] + 2 * torch.linalg.cholesky(Sigma.cpu()) @ circle
    ax.plot(x, y, color=colour, **style)


R, plane_k = 2.4, list(sizes)[curves["the plane of digits"][:, 0].argmax()]
axis = torch.linspace(-R, R, 121, dtype=torch.float64)
grid = torch.cartesian_prod(axis, axis).to(device)


# %% tags=["demo"]
def draw_plane(ax, parameters, title):
    """The density of a mixture over the plane, and its components."""
    p = e_step(grid, *parameters)[1].exp().reshape(121, 121).T.cpu()
    plot.density(ax, axis, axis, p, top=0.35)
    ax.scatter(*z_train.cpu().T, s=2, color=plot.INK, alpha=0.25)
    for mu_k, Sigma_k in zip(*parameters[1:], strict=True):
        ellipse(ax, mu_k, Sigma_k, plot.COLOURS.vermilion, lw=1.4)
    ax.set(title=title, xlim=(-R, R), ylim=(-R, R), xticks=[-2, 0, 2], yticks=[-2, 0, 2])


fig, axes = plot.figure(1, 3, height=3.1)
for ax, steps in zip(axes, (1, 5, 10 * S.steps), strict=True):
    g = torch.Generator().manual_seed(4)
    parameters, history = em(z_train, start(z_train, plane_k, g), steps)
    nats = f"{history[-1]:.3f}".replace("-", "−")
    draw_plane(ax, parameters, f"step {len(history)}: {nats}")
plt.show()

# %% [markdown]
# EM in the plane. Dots are training digits, ellipses the components at two standard deviations, and the blue
# ground the density that they add up to. The title has the nats per training digit. The cloud of dots is not
# made of ellipses, and with a few of them the density still bends round it.
#
# ## 4 · All 64 dimensions
#
# The model is the same; only $D$ is 64. Each component now has 64 means and 2,080 covariances, for 1,257
# digits in all. That is far too much, and section 9 shows what happens. Here the repair is on from the start:
# $\nu = 30$ imagined digits with the covariance of all digits in each component. With them EM climbs the
# likelihood *and* what the imagined digits say; $\log p(x)$ alone may slip back by a hair near the top. Watch
# it climb, and samples improve.


# %%
def draw_normal(k, mu, Sigma, generator):
    """One draw of each component in k: mu_k + L_k eps, (n,), (K, D), (K, D, D) -> (n, D)."""
    eps = torch.randn(len(k), mu.shape[1], generator=generator, dtype=mu.dtype).to(mu.device)
    x = torch.empty_like(eps)
    for j, L in enumerate(torch.linalg.cholesky(Sigma)):
        own = k == j  # together: L[k] would copy a matrix for every draw
        x[own] = mu[j] + eps[own] @ L.T
    return x


def sample(n, log_pi, mu, Sigma, generator):
    """n draws: choose a component by pi, then draw from it. -> (n, D)"""
    k = torch.multinomial(log_pi.exp().cpu(), n, replacement=True, generator=generator)
    return draw_normal(k.to(mu.device), mu, Sigma, generator)


# %% tags=["demo"]
NU, K = 30.0, 20
loss, rows, began = (
    progress.Curve("EM on digits, K = 20", "step", "nats per training digit"),
    {},
    time.perf_counter(),
)
r = start(y_train, K, torch.Generator().manual_seed(0))
r = torch.full_like(r, 1 / K) + 1e-3 * r  # nearly equal shares: the start is kept weak so that one can watch
for step in range(min(S.steps, 15)):
    parameters = m_step(y_train, r / r.sum(1, keepdim=True), nu=NU)
    r, log_p = e_step(y_train, *parameters)
    loss.add(step, log_p.mean())
    if step in (0, 2, 9):
        drawn = sample(15, *parameters, torch.Generator().manual_seed(5))
        rows[f"step {step}: {e_step(y_val, *parameters)[1].mean():.1f} nats per validation digit"] = drawn
loss.close()
print(f"{time.perf_counter() - began:.1f} s")

# %% tags=["demo"]
fig, axes = plot.figure(len(rows), 1, height=0.97)
for ax, (title, y) in zip(axes, rows.items(), strict=True):
    plot.images(to_pixels(y), columns=15, ax=ax, title=title)
plt.show()

# %% [markdown]
# At step 0 all components are one normal distribution and draw clouds. At the end each has a kind of digit
# for itself. (EM finds *a* top, not the highest; which one, the start decides. Compare the validation nats
# with those of $K = 20$ below, from the other start.) Now the number of components. We fit several sizes,
# each from the k-means++ start, and ask BIC and the validation digits.

# %% tags=["demo"]
models, began = {}, time.perf_counter()
for K in progress.track(S.sizes, title="components"):
    models[K] = fit(y_train, K, S.steps, nu=NU, tol=0.01)
fit_seconds = time.perf_counter() - began
scores = {
    K: (bic(e_step(y_train, *p)[1], K, 64), e_step(y_val, *p)[1].mean().item()) for K, p in models.items()
}
print(f"{len(models)} fits in {fit_seconds:.1f} s")
for K, (criterion, nats) in scores.items():
    print(
        f"K = {K:3}: {free_parameters(K, 64):7,} parameters, "
        f"BIC {criterion:10,.0f}, {nats:5.1f} nats (validation)"
    )
by_bic, by_nats = min(scores, key=lambda K: scores[K][0]), max(scores, key=lambda K: scores[K][1])
gmm = models[by_nats]
print(f"BIC says {by_bic}, the validation digits say {by_nats}")

# %% [markdown]
# They disagree, and BIC is wrong: it charges each component 2,145 parameters at $\tfrac12 \log 1257 = 3.6$
# nats, 7,650 nats in all, as if the data had to determine each of them. But the imagined digits hold most
# directions in place. BIC's derivation assumes many samples for each parameter; here it is fewer than one.
# Where you can afford held-out data, believe them.

# %% tags=["demo"]
drawn = sample(30, *gmm, torch.Generator().manual_seed(6))
fig, axes = plot.figure(2, 1, height=1.75)
plot.images(
    to_pixels(gmm[1][gmm[0].argsort(descending=True)][:30]),
    columns=15,
    ax=axes[0],
    title=r"Means $\mu_k$ of the largest components",
)
plot.images(to_pixels(drawn), columns=15, ax=axes[1], title="Thirty draws")
plt.show()

# %% [markdown]
# Nobody told the model about classes, yet most components' means are a digit in one way of writing it; the
# largest stand for several. The draws have strokes: the covariance knows which pixels go together.

# %% [markdown]
# ## 5 · A digit that was asked for: p(x given class)
#
# With labels nothing is hidden, and EM has nothing to alternate: the responsibilities *are* the labels, and
# one M-step is the whole fit. A component for each class, full covariance, the same imagined digits. To draw
# a seven, draw from component 7. And the E-step of this model is a classifier.

# %%
NU = 30.0
labels_train = torch.nn.functional.one_hot(c_train, 10).to(y_train)
by_class = m_step(y_train, labels_train, nu=NU)

# %% tags=["demo"]
posterior_gauss, log_p_class = e_step(y_test, *by_class)
accuracy = (posterior_gauss.argmax(1) == c_test).double().mean().item()
print(f"one normal a class: accuracy {accuracy:.3f}, {log_p_class.mean():.1f} nats (test)")
alone = by_class[2].diagonal(dim1=1, dim2=2).diag_embed()  # the same variances, no covariances
r_alone, log_p_alone = e_step(y_test, *by_class[:2], alone)
hits = (r_alone.argmax(1) == c_test).double().mean()
print(f"its covariances set to 0: accuracy {hits:.3f}, {log_p_alone.mean():.1f} nats (test)")
asked = draw_normal(ten, *by_class[1:], torch.Generator().manual_seed(7))
fig, axes = plot.figure(2, 1, height=1.9)
plot.images(to_pixels(asked), ax=axes[0], title="A full covariance for each class, 0 to 9")
plot.images(coins.reshape(-1, 8, 8), ax=axes[1], title="Naive Bayes, the same classes, from section 1")
plt.show()

# %% [markdown]
# Same labels, same kind of fit. Two things changed: grey levels for black and white, and pixels that may
# depend on each other. The second line keeps the grey and takes the dependence away: nearly all of the gain
# goes with it. With it the strokes hold together, and the classifier makes a fraction of the errors.

# %% [markdown]
# ## 6 · The unknown digit: anomalies
#
# A density can do what a classifier cannot: say *I have never seen such a thing*. Take one digit out of the
# training data altogether, fit, and rank the test digits by $-\log p(x)$, the *surprise*. The digits of the
# class left out should surprise most.
#
# How well a score separates is measured without choosing a threshold. The **ROC-AUC** is the probability that
# a random anomaly has a higher score than a random normal digit: ½ is guessing, 1 is perfect.
#
# $$\text{AUC} = \frac1{M_a M_n} \sum_{i \in \text{anomalies}}\ \sum_{j \in \text{normal}} [\,s_i > s_j\,]$$
#
# $s$ is the score, $M_a$ and $M_n$ are the numbers of anomalies and of normal digits, and $[\cdot]$ is 1
# where the statement holds, else 0.


# %%
def auc(anomalous, normal):
    """The share of pairs in which the anomaly has the higher score: (A,), (B,) -> a number."""
    return (anomalous[:, None] > normal).double().mean().item()


def log_kde(x, points, h):
    """Lesson 01's kernel density estimate in nats: (M, D), (N, D) -> (M,)."""
    N, D = points.shape
    terms = torch.cdist(x, points).square() / (-2 * h**2)
    return torch.logsumexp(terms, dim=1) - math.log(N) - D / 2 * math.log(2 * math.pi * h**2)


# %% tags=["demo"]
H_DIGITS = max(np.geomspace(0.04, 0.6, 40), key=lambda h: log_kde(y_val, y_train, h).mean().item())
KINDS = "mixture, ν = 30", "mixture, ε = 0.01", "naive Bayes", "KDE"


def surprise(kept, x, b):
    """-log p under four models, fitted to the kept training digits: four tensors (M,)."""
    y, c = y_train[kept], c_train[kept]
    lp, th = fit_bernoulli(b_train[kept], c, 10)
    coins = torch.logsumexp(log_joint(b, lp, th), dim=1)  # the class left out has pi = 0
    shrunk, floored = (
        fit(y, S.crowd, min(S.steps, 20), tol=0.1, **repair) for repair in ({"nu": NU}, {"floor": 0.01})
    )
    return [-v for v in (e_step(x, *shrunk)[1], e_step(x, *floored)[1], coins, log_kde(x, y, H_DIGITS))]


table = {}
for c in progress.track(S.left_out, title="left out"):
    found = surprise(c_train != c, y_test, b_test)
    table[c] = [auc(s[c_test == c], s[c_test != c]) for s in found]
mean_auc = dict(zip(KINDS, np.mean(list(table.values()), axis=0), strict=True))
print({name: round(float(value), 3) for name, value in mean_auc.items()})

# %% tags=["demo"]
fig, ax = plot.figure(height=3.3)
colours = plot.COLOURS.blue, plot.COLOURS.sky, plot.COLOURS.orange, plot.COLOURS.grey
for i, (kind, colour) in enumerate(zip(KINDS, colours, strict=True)):
    heights = [row[i] for row in table.values()]
    ax.bar(
        np.arange(len(table)) + 0.2 * (i - 1.5),
        heights,
        0.18,
        color=colour,
        label=f"{kind}: {mean_auc[kind]:.3f}",
    )
ax.set(
    ylim=(0.5, 1.01), xticks=range(len(table)), xticklabels=[str(c) for c in table], xlabel="digit left out"
)
ax.set(ylabel="ROC-AUC")
ax.set_title("How well is a digit noticed that was never seen?", pad=34)
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=9.5, columnspacing=1.2)
plt.show()

# %% [markdown]
# A surprise of another kind. The mixture with the best nats (dark blue) is not the best alarm: the one with a
# floor of $\varepsilon = 0.01$ is, and lesson 01's clumsy KDE is as good. (Bandwidth, $\nu$ and $\varepsilon$
# were chosen once, not anew for each digit left out.) Why? A log density is a sum over directions, and a
# narrow direction speaks loudest: a gap of $\delta$ costs $\delta^2/2\sigma^2$. Ask both models about a grey
# speck in the quietest pixel, and about a missing stroke: the eight darkest pixels, erased.

# %% tags=["demo"]
speck, erased = y_test.clone(), y_test.clone()
speck[:, y_train.var(dim=0).argmin()] += 4 / 17
erased.scatter_(1, y_test.topk(8, dim=1).indices, 0.5 / 17)
fine, floored = fit(y_train, S.crowd, S.steps, nu=NU, tol=0.01), fit(y_train, S.crowd, 20, floor=0.01)
for name, model in (("ν = 30", fine), ("ε = 0.01", floored)):
    usual = e_step(y_test, *model)[1]
    price = [(usual - e_step(y, *model)[1]).median() for y in (speck, erased)]
    print(f"{name:8}: a speck costs {price[0]:6.1f} nats, a missing stroke {price[1]:6.1f}")

# %% [markdown]
# The floor says: below 0.1 a difference is noise. **Nats reward getting the noise right; an alarm must
# not listen to it.**

# %% tags=["demo"]
novel = S.left_out[-1]
scores_novel = surprise(c_train != novel, y_test, b_test)[1]
order = scores_novel.argsort(descending=True)[:15]
captions = ["new" if c_test[i] == novel else "seen" for i in order]
plot.images(
    to_pixels(y_test[order]),
    columns=15,
    title=f"The most surprising digits for a model without {novel}",
    captions=captions,
)
plt.show()

# %% [markdown]
# ## 7 · Held-out nats: against lesson 01
#
# All densities of $y \in [0, 1]^{64}$, on the same digits and the same split as in lesson 01. One more model
# joins them: naive Bayes whose pixels have 17 sides instead of 2. It is a mixture, too: ten classes,
# independent *levels* in each, added up.


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


# %% tags=["demo"]
def independent(x):
    """log p of normal pixels, each on its own."""
    return torch.distributions.Normal(y_train.mean(0), y_train.std(0)).log_prob(x).sum(1)


one_class = torch.zeros_like(c_train)
densities = {
    "KDE (lesson 01)": lambda y: log_kde(y, y_train, H_DIGITS),
    "normal pixels": independent,
    "+ covariance": lambda y: e_step(y, *m_step(y_train, torch.ones_like(y_train[:, :1])))[1],
    "+ components": lambda y: e_step(y, *gmm)[1],
    "17-level pixels": lambda y: log_levels(y, *fit_levels(y_train, one_class)),
    "+ classes": lambda y: log_levels(y, *fit_levels(y_train, c_train)),
}
nats = {name: f(y_test).mean().item() for name, f in densities.items()}
for name, value in nats.items():
    print(f"{name:16} {value:6.1f} nats, {(64 * math.log(17) - value) / (64 * math.log(2)):.2f} bits/dim")

# %% tags=["demo"]
fig, ax = plot.figure(height=2.9)
colours = [plot.COLOURS.grey] + [plot.COLOURS.blue] * 3 + [plot.COLOURS.orange] * 2
bars = ax.barh(list(nats)[::-1], list(nats.values())[::-1], color=colours[::-1])
ax.bar_label(bars, fmt="%.1f", padding=4)
ax.set(title="Held-out digits: two ways to climb", xlabel="nats per digit", xlim=(0, 95))
ax.grid(axis="y", visible=False)
plt.show()

# %% [markdown]
# The mixture leaves the KDE far behind: from the same ball round every digit to a few ellipsoids that know
# their directions. Read the blue bars as a ladder. The same normal pixels gain from covariances, that is from
# strokes, and gain again from components. The orange ladder starts higher, for a reason that has nothing to
# do with digits: a pixel is white or nearly so most of the time and anything else otherwise. A table of 17
# levels has that shape; no normal curve has. (A normal curve also spends part of its mass outside $[0, 1)$,
# where no digit is.) The best model of the page would know both, the shape of a pixel and the strokes.
# Lessons 03 and 04 build it.

# %% [markdown]
# ## 8 · Play: components and floor
#
# *Question: what does the floor do to many components?* Every position fits a mixture to a hundred training
# digits of the plane, from scratch, and scores it on the validation digits.

# %%
z_few = z_train[:100]


def plane_fit(K, floor):
    """A mixture of 100 digits in the plane: its parameters, training and validation nats."""
    parameters, history = em(z_few, start(z_few, K, torch.Generator().manual_seed(1)), 100, floor=floor)
    return parameters, history[-1].item(), e_step(z_val, *parameters)[1].mean().item()


# %% tags=["demo"]
def draw_fit(ax, K, floor):
    """The fit's density, its components and its figures."""
    parameters, inside, outside = plane_fit(K, floor)
    p = e_step(grid, *parameters)[1].exp().reshape(121, 121).T.cpu()
    plot.density(ax, axis, axis, p, top=0.5)
    ax.scatter(*z_few.cpu().T, s=5, color=plot.INK)
    for mu_k, Sigma_k in zip(*parameters[1:], strict=True):
        ellipse(ax, mu_k, Sigma_k, plot.COLOURS.vermilion, lw=1.2)
    ax.set(xlim=(-R, R), ylim=(-R, R), xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    ax.set_title(rf"$K = {K}$, $\varepsilon =$ {floor:g}", fontsize=11)
    ax.set_xlabel(f"train ${inside:.2f}$, held out ${outside:.2f}$")


def play(K, log_floor):
    """One fit for the two sliders."""
    draw_fit(plot.figure(height=3.6)[1], K, 10.0**log_floor)
    plt.show()


components = widgets.IntSlider(12, min=1, max=20, continuous_update=False)
floors = widgets.FloatSlider(
    -3.0, min=-5.0, max=0.0, step=0.5, continuous_update=False, description="log10 ε"
)
controls = interact(play, K=components, log_floor=floors)

# %% tags=["demo"]
fig, axes = plot.figure(2, 3, height=3.5)
for row, size in zip(axes, (3, 15), strict=True):
    for ax, floor in zip(row, (1e-4, 0.03, 0.3), strict=True):
        draw_fit(ax, size, floor)
plt.show()

# %% [markdown]
# Three components need little of a floor, and too large a one makes one blob of them. With many it is what
# keeps them from shrinking onto a handful of dots: on the lower left the training nats are the best of the
# figure and the held-out nats the worst.

# %% [markdown]
# ## 9 · What breaks
#
# **A component collapses onto one point.** The likelihood of a mixture has no maximum. Put one component on a
# single sample $x_1$ and let its width $\sigma$ shrink. At $x_1$ the density grows like $1/\sigma$ without
# limit, and the other samples lose nothing, for the other component looks after them. Two components on the
# line, the first with one sample of 2,000:


# %%
def collapsed(sigma):
    """The line's mixture with a component of this width on its first sample: (log pi, mu, Sigma)."""
    share = torch.tensor([1 / len(line), 1 - 1 / len(line)], dtype=line.dtype, device=device)
    mu = torch.stack([line[0], line.mean(dim=0)])
    Sigma = torch.tensor([sigma**2, line.var().item()], dtype=line.dtype, device=device)
    return share.log(), mu, Sigma.reshape(2, 1, 1)


# %% tags=["demo"]
parameters = collapsed(1e-4)
for step in range(4):
    r, log_p = e_step(line, *parameters)
    width, total = parameters[2][0].sqrt().item(), log_p.sum().item()
    print(
        f"EM step {step}: width {width:.1e}, highest log p {log_p.max():5.1f} nats, "
        f"sum over the data {total:.1f}"
    )
    parameters = m_step(line, r, floor=1e-300)
print(f"the fit of section 2, with two real modes: {2_000 * e_step(line, *snapshots[400])[1].mean():.1f}")

# %% [markdown]
# EM falls into the hole in one or two steps. It stops at a width of about $10^{-15}$ only because `m_step`
# adds a number of that size to every $N_k$, against a division by 0. In the formula nothing stops it:

# %% tags=["demo"]
sigmas = np.logspace(0, -150, 31)
inside, outside = (
    np.array([e_step(x, *collapsed(s))[1].sum().item() for s in sigmas]) for x in (line, line_held)
)
fig, axes = plot.figure(1, 2, height=3.0)
axes[0].plot(sigmas, inside - inside[0], color=plot.COLOURS.vermilion, label="training")
axes[0].plot(sigmas, outside - outside[0], color=plot.COLOURS.blue, label="held out")
axes[0].axhline(2_000 * e_step(line, *snapshots[400])[1].mean().item() - inside[0], color=plot.INK, lw=1.2)
axes[0].text(1e-2, 130, "the fit of section 2", va="bottom", fontsize=10)
axes[0].set(xscale="log", xlabel=r"width $\sigma$ of the component", ylabel="gain, nats in all")
axes[0].set(title="No maximum", xticks=[1, 1e-50, 1e-100, 1e-150], xlim=(1e3, 1e-153))
axes[0].legend(loc="upper left")
close = line[0].item() + torch.linspace(-1, 1, 40_001, dtype=torch.float64, device=device)[:, None]
spike = e_step(close, *collapsed(1e-4))[1].exp().cpu()
axes[1].plot(close[:, 0].cpu(), spike, color=plot.COLOURS.vermilion, lw=1.4)
axes[1].set(title=r"The density at $\sigma = 10^{-4}$", xlabel="$x$", ylim=(0, None))
plt.show()

# %% [markdown]
# In 64 dimensions it needs no bad luck: a component with fewer than 65 digits has directions in which its
# digits do not vary at all. There the width is 0, and the matrix has no Cholesky factor. Below, twenty
# components with floors and imagined digits of several sizes.

# %% tags=["demo"]
try:
    em(y_train, start(y_train, S.crowd, torch.Generator().manual_seed(0)), 20)
except torch.linalg.LinAlgError as error:
    print(f"no repair: {type(error).__name__}: {str(error).split('(')[0][:90].strip()}")
repairs = [{"floor": f} for f in (1e-12, 1e-6, 1e-4, 1e-3, 1e-2)] + [
    {"nu": n} for n in (1.0, 10.0, 30.0, 100.0)
]
ladder = {}
for repair in progress.track(repairs, title="repairs"):
    parameters = fit(y_train, S.crowd, min(S.steps, 30), tol=0.01, **repair)
    name = ", ".join(f"{'ε' if key == 'floor' else 'ν'} = {value:g}" for key, value in repair.items())
    ladder[name] = [e_step(y, *parameters)[1].mean().item() for y in (y_train, y_val)]
    print(f"{name:10} training {ladder[name][0]:8.1f}, held out {ladder[name][1]:14,.1f} nats")

# %% tags=["demo"]
fig, ax = plot.figure(height=3.0)
shown = [name for name in ladder if ladder[name][1] > -300]
for i, colour, label in ((0, plot.COLOURS.vermilion, "training"), (1, plot.COLOURS.blue, "held out")):
    ax.plot(shown, [ladder[name][i] for name in shown], "o", ms=9, color=colour, label=label)
ax.vlines(shown, *np.array([ladder[name] for name in shown]).T, color=plot.RULE, lw=3, zorder=0)
ax.axhline(0, color=plot.INK, lw=0.8)
ax.set(title="The gap between training and held-out nats closes", ylabel="nats per digit")
ax.legend(loc="lower right")
plt.show()

# %% [markdown]
# A floor of $10^{-12}$ makes the error message go away, and nothing else: held-out digits do worse than under
# the uniform density, which has 0 nats. The floor has to be of the size of real noise. The imagined digits do
# better still, for they know in *which* directions digits vary. How much of either, held-out digits must say
# (an alarm wants more than nats do: section 6); the training column would choose the worst of them every
# time.
#
# **Independence blurs strokes.** We provoked it in section 1. Now the measure: take what the class explains
# out of each pixel, and correlate what remains with the neighbour's. And count *crumbs*, inked pixels without
# an inked neighbour.


# %%
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


# %% tags=["demo"]
many = torch.arange(S.draws, device=device) % 10
g = torch.Generator().manual_seed(8)
by_coins = draw_bernoulli(many, theta, g)
by_strokes = (draw_normal(many, *by_class[1:], g) >= 0.5).double()
kinds = {
    "real digits": (b_test, c_test),
    "naive Bayes": (by_coins, many),
    "full covariance": (by_strokes, many),
}
measured = {name: (neighbour_correlation(b, c), crumbs(b)) for name, (b, c) in kinds.items()}
for name, (correlation, share) in measured.items():
    print(f"{name:16} correlation of neighbours {correlation:6.3f}, crumbs {share:.2%}")

# %% [markdown]
# Naive Bayes has no correlation, as it must, and many times the crumbs. The repair is to model what it leaves
# out: a full covariance for each class brings most of the correlation back, from the same labels. (Exercise 6
# repairs it another way: more than one set of coins.)

# %% [markdown]
# ## 10 · How good is it?
#
# Nats and alarms are measured. For the samples, the course's measuring net reads draws of which we know the
# wanted class: which share does it recognise? Its accuracy on real digits is the ceiling; on black and white
# ones it is lower.

# %% tags=["demo"]
judge = features.digits()
wanted = torch.arange(len(c_test)) % 10
g = torch.Generator().manual_seed(9)
real, real_binary = digits.test.x, b_test.reshape(-1, 1, 8, 8).float().cpu()
drawn_grey = to_pixels(draw_normal(wanted.to(device), *by_class[1:], g)).cpu()
drawn_binary = draw_bernoulli(wanted, theta, g).reshape(-1, 1, 8, 8).float().cpu()
looks_grey = judge.compare(drawn_grey, wanted, real, digits.test.y)
looks_binary = judge.compare(drawn_binary, wanted, real_binary, digits.test.y)
binary_ceiling = (judge(real_binary).labels == digits.test.y).mean()
print(f"recognised: real {judge.accuracy:.3f}, full covariance {looks_grey['class_accuracy']:.3f};", end=" ")
print(f"real in black and white {binary_ceiling:.3f}, naive Bayes {looks_binary['class_accuracy']:.3f}")

# %% tags=["demo"]
for nu in (0.3, 1.0, 3.0, 10.0, 30.0, 100.0):
    parameters = m_step(y_train, labels_train, nu=nu)
    drawn = to_pixels(draw_normal(wanted.to(device), *parameters[1:], torch.Generator().manual_seed(9)))
    looks = judge.compare(drawn.cpu(), wanted, real, digits.test.y)
    found = f"{e_step(y_val, *parameters)[1].mean():.1f} nats (validation)"
    print(
        f"ν = {nu:5}: {found}, recognised {looks['class_accuracy']:.3f}, "
        f"Fréchet distance {looks['frechet']:.2f}"
    )

# %% [markdown]
# The last table turns one knob, the number of imagined digits. The nats want some thirty of them: better to
# be vague than surprised. The looks want as few as possible: imagined digits are of all classes, and blur the
# one that was asked for.


# %% tags=["demo"]
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


# %% tags=["demo"]
g = torch.Generator().manual_seed(10)
jobs = {  # how it is fitted, how it draws S.draws samples
    "naive Bayes": (lambda: fit_bernoulli(b_train, c_train, 10), lambda: draw_bernoulli(many, theta, g)),
    "Gaussian mixture": (
        lambda: fit(y_train, by_nats, S.steps, nu=NU, tol=0.01),
        lambda: sample(S.draws, *gmm, g),
    ),
    "one normal a class": (
        lambda: m_step(y_train, labels_train, nu=NU),
        lambda: draw_normal(many, *by_class[1:], g),
    ),
}
costs = {
    name: {"train_seconds": seconds(train, 1), "sample_seconds": seconds(draw) / S.draws}
    for name, (train, draw) in jobs.items()
}


# %% tags=["demo"]
def put(model, nats, parameters, data="digits 8x8", **figures):
    """A row of the board, with bits per dimension where y is the dequantised digit."""
    if data == "digits 8x8":
        figures["bits_per_dim"] = (64 * math.log(17) - nats) / (64 * math.log(2))
        figures |= costs.get(model, {})
    board.record("02_mixtures", model, data=data, parameters=parameters, nats=nats, **figures)


coins_row = {"data": "digits 8x8, binary", "roc_auc": mean_auc["naive Bayes"], **costs["naive Bayes"]}
put("naive Bayes", log_p_b.mean().item(), 649, **coins_row, **looks_binary)
shrunk_row = {"roc_auc": mean_auc["mixture, ν = 30"]}
put("Gaussian mixture", nats["+ components"], free_parameters(by_nats, 64), **shrunk_row)
put("one normal a class", log_p_class.mean().item(), free_parameters(10, 64), **looks_grey)
put("naive Bayes, 17 levels", nats["+ classes"], 10 * 64 * 16 + 9)

# %% tags=["demo"]
nats_floored = e_step(y_test, *fit(y_train, S.crowd, S.steps, floor=0.01, tol=0.01))[1].mean().item()
floor_row = {"roc_auc": mean_auc["mixture, ε = 0.01"]}
put("Gaussian mixture, floor 0.01", nats_floored, free_parameters(S.crowd, 64), **floor_row)
put("Gaussian mixture", e_step(line_held, *snapshots[400])[1].mean().item(), 5, data="two modes")
board.table("digits 8x8")

# %% [markdown]
# Three questions, three winners: the best nats for 17-level coins, the best alarm for the floor, the
# best-looking digits, of the two that we drew, for one covariance a class. A model is good *at* something.

# %% [markdown]
# ## 11 · In production
#
# A draw is one component's work, a density is every component's:
#
# $$t_{\text{sample}} = t_{\text{choose}} + D^2\, t_{\text{mul}}, \qquad
# t_{\text{density}} = K\,D^2\, t_{\text{mul}}, \qquad \text{memory} = K\,\tfrac{D(D+3)}2 .$$
#
# Nothing waits for anything else: latency is one pass. No term has $N$ in it, the number of training samples,
# which the KDE carries for ever. The term to fear is $D^2$.

# %% tags=["demo"]
per = {K: seconds(lambda p=p: e_step(y_test, *p)) / len(y_test) for K, p in models.items()}
unit = per[max(per)] / max(per)
print(f"a multiplication, measured on the largest model: {unit / 64**2 * 1e9:.3f} ns")
for K, value in per.items():
    print(f"K = {K:3}: density of a digit {1e6 * value:7.1f} µs, predicted {1e6 * K * unit:7.1f} µs")
kde_time = seconds(lambda: log_kde(y_test, y_train, H_DIGITS)) / len(y_test)
print(
    f"KDE: {1e6 * kde_time:.1f} µs; "
    f"a draw from the mixture: {1e6 * costs['Gaussian mixture']['sample_seconds']:.1f} µs"
)
print(f"at 256 x 256 pixels one full covariance would fill {(256**2) ** 2 * 8 / 2**30:,.0f} GiB")

# %% [markdown]
# The prediction from the largest model holds roughly down to one component: the cost is linear in $K$. At the
# size of a photograph the covariance alone is the end. The rest of this course is about densities that need
# no such matrix.

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple.

# %% [markdown]
# ### 1 · A mean that never sees all its terms (easy, 15 minutes)
#
# `torch.logsumexp` needs all terms at once. A server that scores a picture under a mixture spread over
# machines gets them block by block. Compute the logarithm of the *mean* of $e^{a}$ over all terms $a$ of all
# blocks, in one pass. Keep the largest term so far, and the sum relative to it; when a larger one comes,
# rescale. (Attention kernels on GPUs do the same.) A block may be empty, and a term may be $-\infty$; if all
# are, so is the answer, and never NaN.


# %% exercise="log-mean-exp"
def log_mean_exp(blocks):
    """log of the mean of exp(a) over all terms of all blocks, a number.

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


# %% test="log-mean-exp" points=2
three = [[-math.inf, 0.0], [], [math.log(5.0)]]
got = log_mean_exp([torch.tensor(block, dtype=torch.float64) for block in three])
assert math.isclose(got, math.log(2), rel_tol=1e-6), (
    f"0, 1 and 5 have the mean 2, whose logarithm is 0.6931, not {got}"
)
got = log_mean_exp([torch.tensor([a], dtype=torch.float64) for a in (-5_000.0, 5_000.0)])
assert math.isclose(got, 5_000 - math.log(2), rel_tol=1e-6), f"stay in log space: 4999.31, not {got}"
assert log_mean_exp([torch.tensor([-math.inf])]) == -math.inf, "all terms -inf: the answer is -inf, not NaN"

# %% [markdown]
# ### 2 · One covariance for all, and samples that count more (medium, 20 minutes)
#
# With little data, let the components share a single covariance matrix: a *tied* mixture. And let sample $n$
# count $w_n \ge 0$ times, as if it stood $w_n$ times in the data; $w_n$ need not be whole. Derive the M-step:
# start from that of section 2 and ask where each sum gets its $w_n$. The data may lie far from the origin, so
# that $\overline{x x^\top} - \mu\mu^\top$ would lose all its digits.


# %% exercise="tied-m-step"
def tied_m_step(x, r, w):
    """The M-step of a mixture with one covariance for all components, from weighted samples.

    x: (N, D); r: (N, K), rows sum to 1; w: (N,), not negative. Every component has some weight.
    Returns pi (K,), not its logarithm; mu (K, D); Sigma (D, D), by maximum likelihood. All of it is float64:
    of data near 1,000,000 float32 keeps hardly a digit behind the point.
    """
    ### BEGIN SOLUTION
    share = r * w[:, None]  # (N, K)
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    gap = x[:, None] - mu  # (N, K, D)
    Sigma = torch.einsum("nk,nkd,nke->de", share, gap, gap) / w.sum()
    return n / w.sum(), mu, Sigma
    ### END SOLUTION


# %% test="tied-m-step" points=3
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
# ### 3 · BIC across shapes (medium, 20 minutes)
#
# Section 3 counted parameters of full covariances. Three cheaper shapes: `tied` (one full matrix for all
# components), `diag` (a variance for each coordinate of each component), `spherical` (one variance for each
# component). Compare fits of different shapes *and* sizes.


# %% exercise="bic"
def best_fit(fits, N, D):
    """The index of the fit with the lowest BIC, the first of equal ones, and the BIC of each, a list.

    fits: list of (shape, K, mean log p of the N training samples in D dimensions, in nats), where shape is
    "full", "tied", "diag" or "spherical". Raises ValueError for another shape.
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


# %% test="bic" points=3
index, scores_bic = best_fit([("spherical", 2, -3.0), ("tied", 2, -2.9)], 100, 3)
nine, thirteen = 600 + 9 * math.log(100), 580 + 13 * math.log(100)
assert math.isclose(scores_bic[0], nine, rel_tol=1e-6), "1 share, 6 means, 2 variances: 9 parameters"
assert math.isclose(scores_bic[1], thirteen, rel_tol=1e-6), "1 share, 6 means, 6 covariances: 13 parameters"
assert index == 1, "641.4 against 639.9: the second is lower"

# %% [markdown]
# ### 4 · ROC-AUC with ties and weights (medium, 20 minutes)
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


# %% test="auc" points=3
flags = torch.tensor([True, True, False, False])
same = weighted_auc(torch.zeros(4).double(), flags, torch.ones(4).double())
assert math.isclose(same, 0.5), f"one score for all is guessing: 0.5, not {same}"
ends = torch.tensor([math.inf, 1.0, math.inf, 0.0], dtype=torch.float64)
got = weighted_auc(ends, flags, torch.tensor([1.0, 3.0, 1.0, 1.0], dtype=torch.float64))
assert math.isclose(got, 4.5 / 8), f"of weight 8: a tie of weight 1, 1 and 3 won, 3 lost: 4.5 / 8, not {got}"
near = torch.tensor([1 + 1e-9, 1 + 1e-9, 1.0, 1.0], dtype=torch.float64)
got = weighted_auc(near, flags, torch.ones(4).double())
assert got == 1, f"nearly equal in float64 is not equal, as it would be in float32: 1, not {got}"

# %% [markdown]
# ### 5 · Half a digit (hard, 45 minutes)
#
# A Gaussian mixture knows every marginal and every conditional. For one component, split the coordinates of
# $x$ into observed ones $o$ and missing ones $m$:
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


# %% test="missing" points=5
two = (
    torch.tensor([0.5, 0.5], dtype=torch.float64).log(),
    torch.tensor([[0.0, 0.0], [4.0, 4.0]], dtype=torch.float64),
    torch.tensor([[[1.0, 0.9], [0.9, 1.0]]] * 2, dtype=torch.float64),
)
holes = torch.tensor([[2.0, math.nan], [math.nan, math.nan]], dtype=torch.float64)
r_holes, log_p_holes = e_step_missing(holes, *two)
assert torch.allclose(r_holes, torch.full((2, 2), 0.5, dtype=torch.float64)), (
    "2 lies half way; nothing tells nothing"
)
assert (log_p_holes - torch.tensor([-2.918938533205, 0.0], dtype=torch.float64)).abs().max() < 1e-10, (
    "a density of one number, to the digits of float64; of none: log 1"
)
corner = torch.tensor([[0.1, math.nan]] * 500, dtype=torch.float64)
whole = fill_in(corner, *two, torch.Generator().manual_seed(0))
assert not whole.isnan().any() and (whole[:, 0] == 0.1).all(), "fill only the holes; 0.1 stays, in float64"
assert abs(whole[:, 1].mean()) < 0.2, "the first component is nearly certain, and its mean given 0.1 is 0.09"
assert 0.35 < whole[:, 1].std() < 0.53, (
    "given the first number, the second has the deviation sqrt(0.19) = 0.44"
)

# %% [markdown]
# When it is done, try it on digits: set the lower half of some `y_test` to NaN, and fill it in with
# `by_class` or `gmm`.
#
# ### 6 · Repair a broken EM (hard, 35 minutes)
#
# Naive Bayes with *hidden* labels is a mixture of coins: pictures $x \in \{0, 1\}^D$, components $\theta_k$.
# Somebody wrote one EM step for it. It returns the new parameters and $\log p(x)$ under the old ones. On toys
# of three pixels it even seems to learn. It has **three** faults; on pictures of a thousand pixels it returns
# NaN. Run it, find them, and write the step that works: from hundreds of pixels up, with `theta` that may be
# exactly 0 or 1, and with $\alpha > 0$ as in section 1.
# (With coins at 0 or 1, `0 * log 0` is NaN in floating point and 0 in the formula.) Every picture is possible
# under some component.


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

    x: (N, D) float64 of 0 and 1; log_pi: (K,), may hold -inf; theta: (K, D) in [0, 1]; alpha > 0 is added
    to both sides of every coin. log p, in nats, is under the parameters that came in.
    """
    ### BEGIN SOLUTION
    x3 = x[:, None]
    joint = log_pi + (torch.xlogy(x3, theta) + torch.xlogy(1 - x3, 1 - theta)).sum(dim=2)
    r = joint.softmax(dim=1)
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), joint.logsumexp(dim=1)
    ### END SOLUTION


# %% test="repair" points=4
toss = torch.Generator().manual_seed(0)
wide = torch.bernoulli(torch.full((20, 2_000), 0.5, dtype=torch.float64), generator=toss)
coins_start = 0.25 + 0.5 * torch.rand(3, 2_000, generator=toss, dtype=torch.float64)
step_pi, step_theta, step_log_p = coin_step(
    wide, torch.full((3,), 1 / 3, dtype=torch.float64).log(), coins_start, 1.0
)
assert step_log_p.isfinite().all(), "2,000 pixels: the product underflows, its logarithm does not"
assert math.isclose(step_pi.exp().sum(), 1), "the shares add up to 1, to the digits of float64"
sure_coins = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
even = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
_, new_coins, seen = coin_step(torch.tensor([[1.0, 0.0]], dtype=torch.float64), even, sure_coins, 1.0)
assert math.isclose(seen.item(), math.log(0.5 + 0.125)), (
    "coins of 1 and 0 that show 1 and 0 have probability 1; count in float64"
)
assert torch.allclose(new_coins[0], torch.tensor([9 / 14, 5 / 14], dtype=torch.float64)), (
    "(0.8 + 1) / (0.8 + 2)"
)

# %% [markdown]
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
# - C. Fraley, A. E. Raftery. *Bayesian regularization for normal mixture estimation and model-based
#   clustering.* Journal of Classification 24, 2007. Imagined samples against the collapse.
# - D. Arthur, S. Vassilvitskii. *k-means++: the advantages of careful seeding.* SODA, 2007.
# - E. Nalisnick and others. *Do deep generative models know what they don't know?* 2018, arXiv:1810.09136.
#   The surprise of section 6, in deep models.
# - E. Richardson, Y. Weiss. *On GANs and GMMs.* 2018, arXiv:1805.12462. Mixtures at the size of photographs,
#   with low-rank covariances.

# %% tags=["demo"]
selfcheck.run("02_mixtures")
