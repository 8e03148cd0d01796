# %% [markdown]
# # 01 · The map
#
# > **To draw a sample and to say how likely it is are two different skills. Every family of
# > generative models pays for them: one with the other, with its shape, or with time.**
#
# | | |
# |---|---|
# | You will build | a histogram, a kernel density estimate and a nearest-sample generator: first on numbers whose distribution is known, then on real handwritten digits. At the end, a chooser that says which family of models a task calls for |
# | You need to know | Python, NumPy, the normal distribution; a little PyTorch (tensors and their shapes) |
# | Time on two CPU cores | a minute to run; two hours to read and six to solve, best in three sittings; no GPU needed |

# %% [markdown]
# Below the set-up cell, every lesson has the same two cells. The first imports what is used. The second
# chooses the device and the amount of work: `smoke` runs every cell in seconds, `quick` is made for two CPU
# cores, `full` for a GPU.

# %%
import math
import re
import time
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch

import genmap
from genmap import board, data, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

# %%
device = genmap.device()
S = genmap.settings(
    # smoke, quick, full
    queries=(20_000, 1_000_000, 1_000_000),
    chunk=(1_000, 1_000, 50_000),
    widths=(13, 40, 40),
    doublings=(6, 11, 15),
)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here
#
# This is the whole map: every family of generative models that the course builds, and some of their
# best-known members. Do not learn it now. The lesson first builds three tiny models by hand, so that the
# words in the boxes mean something, and comes back to the map in section 11.

# %% tags=["demo"]
taxonomy.figure()
plt.show()

# %% [markdown]
# ## The compromise
#
# A *generative model* describes where data are likely to be. Write $p(x)$ for the density of the
# data at $x$. Two questions can be put to such a model: *give me a new $x$* (sampling), and *how
# likely is this $x$?* (the density). For one number both are easy. For a picture both are hard, and
# the second is the harder one: a density must add up to 1 over all possible pictures, and nobody
# can visit them all. Every family of models gives up a part of the problem to keep the rest:
#
# - **Explicit density, tractable.** It computes $p(x)$ and pays with a restricted shape.
# - **Explicit density, approximate.** It has a formula, but not for $p(x)$ itself: for a blurred version of
#   it, as below, for a number that is certain to lie under it (a *lower bound*; lesson 10 derives one), or
#   for a multiple of it by a factor that nobody knows (lesson 12).
# - **Implicit.** It draws samples and has no $p(x)$ at all.
#
# This lesson builds one small model of each kind. The second is old: Rosenblatt (1956) and Parzen
# (1962) put a small bump on every observation and added the bumps up: the kernel density estimate.
# Half a century later neural networks took both sides of the choice: the variational autoencoder
# (Kingma and Welling, 2013) kept an approximate density, the generative adversarial network
# (Goodfellow and others, 2014) gave the density up.
#
# Five questions sort any generative model, before you read how it works. Four words first. *Held-out*
# data are data that the model has not seen; its *log-likelihood* is the mean of $\log p(x)$ over
# them. *One-shot* sampling makes a sample in one go, *iterative* sampling in many small steps. A
# *condition* is an input that steers what is drawn, such as "a seven". Here are the questions for
# the three models of this lesson:
#
# | | histogram | kernel density estimate (KDE) | nearest-sample generator |
# |---|---|---|---|
# | What is modelled? | a number, later 2 or 64 of them | the same | the same |
# | Is the density explicit? | yes | yes, of a blurred version | no |
# | Is sampling one-shot or iterative? | one-shot | one-shot | one-shot |
# | What conditions it? | nothing | nothing | nothing |
# | How is it evaluated, and how does that fail? | held-out log-likelihood; one empty bin makes it $-\infty$ | held-out log-likelihood; a good one does not mean good samples | by looking; a perfect look can be a copy |

# %% [markdown]
# ## 1 · Data whose truth is known
#
# Begin where the right answer can be computed. Our data are single numbers with two modes, drawn
# from a mixture of two normal distributions:
#
# $$p(x) = \tfrac12\,\mathcal N(x;\,-\mu,\,\sigma^2) + \tfrac12\,\mathcal N(x;\,\mu,\,\sigma^2),
# \qquad \mu = 0.6,\quad \sigma = 0.4 .$$
#
# $\mathcal N(x; m, s^2)$ is the normal density with mean $m$ and standard deviation $s$. The
# probability of an interval is the integral of $p$ over it. The integral of a normal density is
# known: $\Phi(t) = \tfrac12\,(1 + \operatorname{erf}(t/\sqrt 2))$, the normal distribution
# function.

# %%
MU, SIGMA = 0.6, 0.4


def normal_pdf(x, mean, std):
    """N(x; mean, std^2), elementwise."""
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


normal_cdf = np.vectorize(lambda t: 0.5 * (1 + math.erf(t / math.sqrt(2))))


def mixture_pdf(x, std=SIGMA):
    """p(x) of the two-mode mixture; `std` is the width of each mode."""
    return 0.5 * normal_pdf(x, -MU, std) + 0.5 * normal_pdf(x, MU, std)


# %%
def mixture_mass(a, b, std=SIGMA):
    """P(a <= x <= b) under the mixture, exact."""
    return sum(0.5 * (normal_cdf((b - m) / std) - normal_cdf((a - m) / std)) for m in (-MU, MU))


def mixture_sample(n, rng):
    """n numbers from the mixture: choose a mode, then a point of it. -> (n,)"""
    return rng.choice([-MU, MU], size=n) + SIGMA * rng.normal(size=n)


a, b = -0.5, 0.5
x_train = mixture_sample(2_000, np.random.default_rng(1))
exact = float(mixture_mass(a, b))
print(f"exact: p(x in [{a}, {b}]) = {exact:.4f}")

# %% [markdown]
# The interval $[-0.5, 0.5]$ is the valley between the modes and the inner flank of each. The truth
# is 0.398. From now on we pretend not to know the formula: a model sees the 2,000 numbers only.

# %% tags=["demo"]
t = np.linspace(-2.2, 2.2, 441)
inside = np.linspace(a, b, 101)
fig, ax = plot.figure(height=3.0)
ax.fill_between(inside, mixture_pdf(inside), color=plot.COLOURS.sky, alpha=0.35)
ax.plot(t, mixture_pdf(t), color=plot.INK, label="the true density $p(x)$")
few = x_train[:300]
ax.plot(few, np.full(300, -0.03), "|", color=plot.COLOURS.blue, alpha=0.5, label="300 of the samples")
ax.text(0, 0.12, f"{exact:.3f}", ha="center", fontsize=16, color=plot.COLOURS.blue)
ax.set(title="Two modes, and a question: how much lies in the middle?", xlabel="$x$", ylabel="density")
ax.margins(x=0)
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# ## 2 · Explicit density: the histogram
#
# Cut the line into bins of width $\Delta$ and count. If $n_k$ of the $N$ samples lie in bin $k$,
# the density in that bin is
#
# $$\hat p(x) = \frac{n_k}{N\,\Delta} \qquad\text{for } x \text{ in bin } k .$$
#
# The hat says *estimate*. Dividing by $N\Delta$ makes the bars' areas add up to 1. The probability
# of an interval made of whole bins is the sum of their areas.


# %%
def histogram(x, edges):
    """n_k / (N Delta) for each bin: (N,), (K + 1,) -> (K,). The bins have one width."""
    n = np.histogram(x, edges)[0]
    return n / (len(x) * (edges[1] - edges[0]))


edges = np.linspace(-3, 3, 61)
density = histogram(x_train, edges)
middle = (edges[1:] + edges[:-1]) / 2
in_interval = (middle > a) & (middle < b)
mass_histogram = density[in_interval].sum() * 0.1
print(f"explicit density (histogram): p(x in [-0.5, 0.5]) ≈ {mass_histogram:.4f}   exact {exact:.4f}")
print(f"standard deviation of such an estimate: {math.sqrt(exact * (1 - exact) / len(x_train)):.3f}")

# %% [markdown]
# The estimate is the share of samples that fell into the interval. It is right on average and wrong
# by luck: the standard deviation of a share is $\sqrt{p(1-p)/N}$, here 0.011.

# %% [markdown]
# ## 3 · Approximate density: kernels
#
# A histogram jumps at its edges, and moving the edges changes the answer. The kernel density
# estimate has no edges. It puts a normal bump of width $h$, the *bandwidth*, on every sample $x_i$:
#
# $$\hat p_h(x) = \frac1N \sum_{i=1}^N \mathcal N(x;\,x_i,\,h^2) .$$
#
# Its probability of an interval is the average of the bumps' probabilities, and each of those is a
# difference of two values of $\Phi$. We take $h = 0.25$ for now; section 8 finds a better one.


# %%
def kde(x, points, h):
    """The kernel density estimate at x: (M,), (N,) -> (M,)."""
    return normal_pdf(x[:, None], points, h).mean(axis=1)  # (M, N) -> (M,)


def kde_mass(a, b, points, h):
    """P(a <= x <= b) under the kernel density estimate, exact for these points."""
    return float(np.mean(normal_cdf((b - points) / h) - normal_cdf((a - points) / h)))


h = 0.25
mass_kde = kde_mass(a, b, x_train, h)
others = np.random.default_rng(2)
spread = np.std([kde_mass(a, b, mixture_sample(2_000, others), h) for _ in range(200)])
print(f"approximate density (KDE): p(x in [-0.5, 0.5]) ≈ {mass_kde:.4f}   exact {exact:.4f}")
print(f"standard deviation over 200 other training sets: {spread:.3f}")

# %% [markdown]
# It is off by 0.008, about as much as it scatters from one training set to the next. That alone could be
# luck. So ask what $\hat p_h$ is *on average* over all possible training sets, which is also where more and
# more data would lead. Each $x_i$ has density $p$, so the average of a bump is an integral:
#
# $$\mathbb E\,\hat p_h(x) = \int p(y)\,\mathcal N(x;\,y,\,h^2)\,dy
# = \tfrac12\,\mathcal N(x;\,-\mu,\,\sigma^2 + h^2) + \tfrac12\,\mathcal N(x;\,\mu,\,\sigma^2 + h^2) .$$
#
# The integral is the density of a sample to which normal noise of width $h$ is added. A sample is
# its mode's centre plus normal noise of width $\sigma$; the two noises are independent, so their
# variances add. That is the last step. So the KDE does not estimate $p$. It estimates $p$ *blurred*
# by the kernel, a mixture with wider modes. This is the *bias* of the KDE, and for our data it can
# be computed exactly. It is also what the word *approximate* in the printed line means: a formula
# for a density, but not for $p$ itself. (A histogram blurs too, within each bin; for an interval of
# whole bins that does no harm.)

# %% tags=["demo"]
for width in (0.1, 0.25, 0.3, 0.447, 0.6):
    blurred = float(mixture_mass(a, b, math.hypot(SIGMA, width)))  # std sqrt(sigma^2 + h^2)
    ours = kde_mass(a, b, x_train, width)
    print(f"h = {width}: KDE {ours:.4f}, its average {blurred:.4f}, exact {exact:.4f}")

# %% [markdown]
# At $h = 0.25$ the average is 0.4062: the error of 0.008 was not luck, and more data would not mend
# it. Blur moves mass from the hills into the valley, and from the hills out into the tails. For a
# narrow kernel the valley gains; at $h = 0.6$ the tails win, and the interval loses.

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=3.1)
for ax, width in zip(axes, (0.1, 0.3, 0.6), strict=True):
    blurred = math.hypot(SIGMA, width)  # sqrt(sigma^2 + h^2)
    ax.fill_between(t, mixture_pdf(t), color=plot.RULE, label="truth $p$")
    ax.plot(t, kde(t, x_train, width), color=plot.COLOURS.blue, label=r"KDE $\hat p_h$")
    average = r"its average $\mathbb{E}\,\hat p_h$"
    ax.plot(t, mixture_pdf(t, blurred), "--", color=plot.COLOURS.vermilion, lw=1.8, label=average)
    ax.set(title=f"$h$ = {width}", xlabel="$x$", ylim=(0, 0.76), xticks=[-2, -1, 0, 1, 2])
axes[0].set_ylabel("density")
axes[0].legend(loc="upper left", fontsize=9.5, borderaxespad=0)
plt.show()

# %% [markdown]
# The dashed line is not fitted: it is the formula above. At $h = 0.6$ the valley is gone. Two
# normal densities of equal weight at $\pm\mu$ merge into one hill as soon as their standard
# deviation reaches $\mu$, here at $h = \sqrt{\mu^2 - \sigma^2} \approx 0.447$. Yet at that bandwidth
# the probability of the interval is off by 0.002 on average, less than at $h = 0.25$: what the
# valley gains, the flanks lose. One number can look fine while the shape is lost.

# %% [markdown]
# ## 4 · Implicit: samples and nothing else
#
# The third model is a machine that turns noise into samples. Take a training sample at random, move
# it by noise of width $h$, and snap to the training sample that is nearest to where you landed.


# %%
def nearest_sample(points, n, h, rng):
    """n draws: blur a training point, snap to the nearest training point. (N,) -> (n,)"""
    moved = rng.choice(points, size=n) + h * rng.normal(size=n)
    i = np.abs(moved[:, None] - points).argmin(axis=1)  # (n, N) -> (n,)
    return points[i]


drawn = nearest_sample(x_train, 20, h, np.random.default_rng(14))
print("implicit (nearest-sample gen): 20 new samples printed, no p(x)")
print(np.array2string(drawn, precision=3, max_line_width=75, suppress_small=True))

# %% [markdown]
# They look right: most lie near the modes, few far out. (*New* is a kind word: section 7 looks at how new
# they are.) But it has no density: every draw is one of the 2,000 training samples, and between them there is
# nothing. (How often each of them comes up is an integral over all noise that lands near it, easy on the
# line, out of reach in 64 dimensions.) A generative adversarial network is in the same position; there the
# map from noise to samples is a neural network. All that can be done with such a model is to draw from it and
# to count, which tells the probability of a *set*, never the density at a *point*.

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=3.0)
axes[0].stairs(density, edges, fill=True, color=plot.COLOURS.blue, alpha=0.75)
axes[0].set(title="Histogram", ylabel="density")
axes[1].fill_between(t, kde(t, x_train, h), color=plot.COLOURS.green, alpha=0.75)
axes[1].set(title=f"KDE, $h$ = {h}")
axes[2].vlines(drawn, 0, 0.06, color=plot.COLOURS.vermilion, lw=1.6)
axes[2].set(title="Nearest sample")
for ax, text in zip(axes, (f"{mass_histogram:.3f}", f"{mass_kde:.3f}", "no\n$p(x)$"), strict=True):
    ax.plot(t, mixture_pdf(t), color=plot.INK, lw=1.5)
    ax.axvspan(a, b, color=plot.COLOURS.sky, alpha=0.15, lw=0)
    ax.text(0, 0.65, text, ha="center", va="top", fontsize=13)
    ax.set(xlim=(-2.2, 2.2), ylim=(0, 0.68), xlabel="$x$", xticks=[-2, -1, 0, 1, 2])
plt.show()

# %% [markdown]
# ## 5 · A million questions
#
# NumPy was clear. For pictures we need many dimensions, many queries and, where there is one, a
# GPU. So here are the three models again, as functions on PyTorch tensors. A batch always comes
# first: $M$ queries in $D$ dimensions are a tensor of shape $(M, D)$.
#
# From here on the density stays a logarithm. Far from all data every bump is smaller than the
# smallest number a computer can hold, the sum becomes 0, and its logarithm $-\infty$. The cure is
# to add in log space, `torch.logsumexp`, which pulls the largest term out of the sum first:
#
# $$\log \hat p_h(x) = \log\sum_{i=1}^N \exp\!\Big(\!-\frac{\lVert x - x_i\rVert^2}{2h^2}\Big)
# - \log N - \frac D2 \log(2\pi h^2) .$$
#
# $M$ queries against $N$ points make an $M \times N$ table. For a million queries it would fill 8
# GB, so the queries come in chunks. Every chunk writes its part into one result that was made
# before the loop (`out=`); thousands of small results between big tables would leave the memory in
# pieces. The price: PyTorch cannot differentiate through `out=`. Exercise 4 needs a gradient and
# must do without.


# %%
def log_kde(x, points, h, chunk=1_000):
    """log p_h(x) in nats (natural logarithm): (M, D), (N, D) -> (M,)."""
    N, D = points.shape
    log_norm = math.log(N) + D / 2 * math.log(2 * math.pi * h**2)
    log_p = torch.empty_like(x[:, 0])
    for part, out in zip(x.split(chunk), log_p.split(chunk), strict=True):
        d2 = torch.cdist(part, points).square()  # (chunk, N)
        torch.logsumexp(d2 / (-2 * h**2), dim=1, out=out)
    return log_p - log_norm


def nearest(x, points, chunk=1_000):
    """Distance to the nearest point, and its index: (M, D), (N, D) -> (M,), (M,)."""
    distance = torch.empty_like(x[:, 0])
    index = torch.empty(len(x), dtype=torch.long, device=x.device)
    for part, d, i in zip(x.split(chunk), distance.split(chunk), index.split(chunk), strict=True):
        torch.min(torch.cdist(part, points), dim=1, out=(d, i))
    return distance, index


# %% [markdown]
# The histogram gets one number more: $\alpha$, a count that is added to each of the $K$ bins before
# anything is observed. With $\alpha = 0$ it is the histogram from above. We will need $\alpha = 1$
# soon.
#
# $$\hat p(x) = \frac{n_k + \alpha}{(N + \alpha K)\,\Delta}$$

# %%
LOW, HIGH = -3.0, 3.0  # the line that the bins cover


def log_histogram(x, points, delta, alpha=0.0):
    """log p(x) in nats; -inf in an empty bin and outside the bins: (M,), (N,) -> (M,)."""
    K = math.ceil((HIGH - LOW) / delta)

    def bin_of(v):
        return ((v - LOW) / delta).long().clamp(0, K - 1)

    n = torch.bincount(bin_of(points), minlength=K)
    density = (n + alpha) / ((len(points) + alpha * K) * delta)
    return density.log()[bin_of(x)].masked_fill((x < LOW) | (x >= HIGH), -math.inf)


def nearest_generator(points, n, h, generator):
    """n draws of the nearest-sample generator: (N, D) -> (n, D)."""
    start = torch.randint(len(points), (n,), generator=generator).to(points.device)
    noise = torch.randn(n, points.shape[1], generator=generator).to(points.device)
    return points[nearest(points[start] + h * noise, points)[1]]


# %% [markdown]
# First the check, then the clock. The tensor version must agree with the NumPy version where both
# work; and far out, at $x = 30$, only the one in log space still has an answer. The clock asks each
# model a million questions: *how dense is it at $x$?* The nearest-sample generator cannot answer
# that. We time the one step that it consists of, the search for the nearest sample.

# %%
P = torch.tensor(x_train, dtype=torch.float32, device=device)[:, None]  # (N, 1)

# %% tags=["demo"]
x_few = torch.linspace(-2, 2, 200, device=device)[:, None]
gap = log_kde(x_few, P, h).cpu().numpy() - np.log(kde(x_few[:, 0].cpu().numpy(), x_train, h))
print(f"largest difference from NumPy, in nats: {np.abs(gap).max():.1e}")

x_far = torch.tensor([[30.0]], device=device)
print(f"at x = 30: density {kde(np.array([30.0]), x_train, h)[0]}")
print(f"           log density {log_kde(x_far, P, h).item():.1f} nats")

# %% tags=["demo"]
queries = (4 * torch.rand(S.queries, 1, generator=torch.Generator().manual_seed(3)) - 2).to(device)
jobs = {
    "histogram": lambda: log_histogram(queries[:, 0], P[:, 0], 0.1),
    "KDE": lambda: log_kde(queries, P, h, S.chunk),
    "nearest sample": lambda: nearest(queries, P, S.chunk)[0],
}
seconds = {}
for name, job in jobs.items():
    start = time.perf_counter()
    job().cpu()  # bringing the result home waits until the device has finished
    seconds[name] = time.perf_counter() - start
    each = seconds[name] / S.queries * 1e9
    print(f"{name:15s} {S.queries:9,} queries in {seconds[name]:6.2f} s, {each:8.0f} ns each")
per_bump = seconds["KDE"] / (S.queries * len(P))
print(f"KDE: {S.queries:,} x {len(P):,} bumps at {per_bump * 1e9:.2f} ns")

# %% [markdown]
# What one query costs is an equation. The histogram looks into one bin, whatever $N$ is. The KDE
# visits every training sample, in every dimension: $t_{\text{query}} = N \cdot t_{\text{bump}}$,
# with the $t_{\text{bump}}$ that was just measured, and $t_{\text{bump}}$ grows with $D$. A model
# that *is* its training set gets slower with every sample it learns from.

# %% [markdown]
# ## 6 · Real digits, seen through two numbers
#
# Now real data: 1,797 digits written by hand, scanned and shrunk to 8×8 pixels with 17 grey levels.
# The models see the training part. The bandwidths and bins are chosen on the validation part. The
# figures that are reported come from the test part.

# %%
digits = data.digits()
print({name: part.x.shape for name, part in digits._asdict().items()})

# %% tags=["demo"]
plot.images(digits.train.x[:30], columns=15, title="Thirty of the training digits")
plt.show()

# %% [markdown]
# A density needs continuous values, and pixels are steps: a model could put an infinitely narrow
# spike on each of the 17 levels and win any contest. So we add to each pixel uniform noise $u$ of
# one grey step, which is called *dequantisation*. With $x$ from 0 to 1 in steps of 1/16,
#
# $$y = \frac{16\,x + u}{17}, \qquad u \sim \text{Uniform}[0, 1)^{64} .$$
#
# All densities of digits below are densities of $y$ on $[0, 1]^{64}$, and **nats per digit** are
# the average of $\log p(y)$ over held-out digits. The uniform density scores 0; higher is better.
# A density is no probability: it may exceed 1, and its logarithm 0. And nats in different spaces, the line,
# the plane and these 64 dimensions, cannot be compared with each other.
#
# The noise can only make a model look worse; here is why. A model of $y$ is also a model of the 17-level
# digit $x$: $P(x)$ is the integral of $p(y)$ over the cell of side 1/17 that belongs to $x$, which is
# $17^{-64}$ times the average of $p(y)$ over $u$. The logarithm of an average is at least the average of the
# logarithms, so $\log P(x) \ge \mathbb E_u \log p(y) - 64 \log 17$ (Theis and others, 2016). Turn the sign,
# divide by the 64 pixels, and by $\log 2$ to count in bits: that is a bound on the *bits per dimension*,
# where lower is better:
#
# $$\text{bits per dimension} = \frac{64 \log 17 - \text{nats per digit}}{64 \log 2} .$$


# %%
def dequantise(x, seed):
    """Digits (N, 1, 8, 8) in 17 levels -> continuous y in [0, 1), (N, 64)."""
    u = torch.rand(len(x), 64, generator=torch.Generator().manual_seed(seed))
    y = (16 * torch.as_tensor(x).flatten(1) + u) / 17
    return y.clamp(max=1 - 2**-20)  # float32 could round up to 1


def to_pixels(y):
    """The inverse: y (N, 64) -> digits (N, 1, 8, 8) in 17 levels; values outside [0, 1) are clipped."""
    return ((17 * y).floor().clamp(0, 16) / 16).reshape(-1, 1, 8, 8)


def bits_per_dim(nats):
    """Nats per digit of a density of y -> bits per pixel of the 17-level digit."""
    return (64 * math.log(17) - nats) / (64 * math.log(2))


y_train, y_val, y_test = (dequantise(part.x, seed).to(device) for seed, part in enumerate(digits))

# %% [markdown]
# Two dimensions can be drawn. *Principal component analysis* finds the directions in which the
# digits vary most. Subtract the mean digit $\bar y$ from each training digit and write them as the
# rows of a matrix; the singular value decomposition returns 64 orthogonal directions, sorted by how
# much the rows vary along them. The first two, the columns of $V$, span a plane. A digit becomes its
# place there, $z = (y - \bar y)V$, two numbers; and back, $y \approx \bar y + zV^\top$.

# %%
y_mean = y_train.mean(dim=0)
singular, Vt = torch.linalg.svd((y_train - y_mean).cpu(), full_matrices=False)[1:]
V = Vt[:2].T.to(device)  # (64, 2)
z_train, z_val, z_test = ((y - y_mean) @ V for y in (y_train, y_val, y_test))
kept = (singular[:2] ** 2).sum() / (singular**2).sum()
print(f"two components keep {kept:.0%} of the variance")

# %%
R = 2.4  # the bins cover the square [-R, R] x [-R, R]


def plane_histogram(z, bins, alpha=1.0):
    """The density in each square bin of the plane: (N, 2) -> (bins, bins)."""
    n = torch.histogramdd(z.cpu(), [bins, bins], range=[-R, R, -R, R]).hist
    return (n + alpha) / ((len(z) + alpha * bins**2) * (2 * R / bins) ** 2)


def plane_log_density(z, density):
    """log p(z) in nats, z within the square: (M, 2), (bins, bins) -> (M,)."""
    row, column = ((z.cpu() + R) / (2 * R) * len(density)).long().T
    return density[row, column].log()


# %% [markdown]
# Both models have a width to choose. We choose it as we will choose every setting in this course:
# try several, keep the one under which *held-out* data are most likely.


# %%
def best(candidates, score):
    """The candidate with the highest score, and that score."""
    scores = [float(score(c)) for c in candidates]
    return max(zip(candidates, scores, strict=True), key=lambda pair: pair[1])


# %% tags=["demo"]
bins, _ = best(range(4, 41), lambda k: plane_log_density(z_val, plane_histogram(z_train, k)).mean())
h_plane, _ = best(np.geomspace(0.03, 1, 40), lambda h: log_kde(z_val, z_train, h).mean())
plane = plane_histogram(z_train, bins)
nats_plane = plane_log_density(z_test, plane).mean(), log_kde(z_test, z_train, h_plane).mean()
print(f"histogram, {bins} x {bins} bins: {nats_plane[0]:.3f} nats per held-out digit (in the plane)")
print(f"KDE, h = {h_plane:.2f}:          {nats_plane[1]:.3f} nats")

# %% tags=["demo"]
line = torch.linspace(-R, R, 121)
grid = torch.cartesian_prod(line, line).to(device)
smooth = log_kde(grid, z_train, h_plane).exp().reshape(121, 121).cpu()
drawn_z = nearest_generator(z_train, 60, h_plane, torch.Generator().manual_seed(4)).cpu()
top = float(max(smooth.max(), plane.max()))
fig, axes = plot.figure(1, 3, height=3.2)
plot.density(axes[0], np.linspace(-R, R, bins + 1), np.linspace(-R, R, bins + 1), plane.T, top)
plot.density(axes[1], line, line, smooth.T, top)
axes[2].scatter(*z_train.cpu().T, s=5, color="#D1D5DB", label="training digits")
axes[2].scatter(*drawn_z.T, s=22, color=plot.COLOURS.vermilion, label="60 draws")
titles = f"Histogram: {nats_plane[0]:.2f} nats", f"KDE: {nats_plane[1]:.2f} nats", "Nearest: no $p(z)$"
for ax, title in zip(axes, titles, strict=True):
    ax.set_title(title.replace("-", "\N{MINUS SIGN}"))
    ax.set(xlabel="$z_1$", xlim=(-R, R), ylim=(-R, R), aspect="equal")
axes[0].set_ylabel("$z_2$")
axes[2].legend(loc="upper left", fontsize=9, borderaxespad=0, handletextpad=0.1)
plt.show()

# %% [markdown]
# In the plane all is well. Both densities show the same landscape (darker is denser, on one scale for
# both), and 60 draws of the third model
# follow it. Each of the three can also draw *new digits*: draw a $z$, then go back to pixels.


# %%
def draw_plane(density, n, generator):
    """n draws of the plane's histogram: choose a bin by its mass, then a place in it. -> (n, 2)"""
    bins = len(density)
    k = torch.multinomial(density.flatten(), n, replacement=True, generator=generator)
    corner = torch.stack([k // bins, k % bins], dim=1)
    return (corner + torch.rand(n, 2, generator=generator)) * (2 * R / bins) - R


def draw_kde(points, n, h, generator):
    """n draws of the KDE: choose a point, add noise of the kernel's width. (N, D) -> (n, D)"""
    start = torch.randint(len(points), (n,), generator=generator).to(points.device)
    return points[start] + h * torch.randn(n, points.shape[1], generator=generator).to(points.device)


# %% tags=["demo"]
g = torch.Generator().manual_seed(5)
rows = {
    "real, held out": y_test[:15],
    "the same through two numbers": y_mean + z_test[:15] @ V.T,
    "histogram": y_mean + draw_plane(plane, 15, g).to(device) @ V.T,
    "KDE": y_mean + draw_kde(z_train, 15, h_plane, g) @ V.T,
    "nearest sample": y_mean + nearest_generator(z_train, 15, h_plane, g) @ V.T,
}
fig, axes = plot.figure(len(rows), 1, height=0.97)
for ax, (title, y) in zip(axes, rows.items(), strict=True):
    plot.images(to_pixels(y), columns=15, ax=ax, title=title)
plt.show()

# %% [markdown]
# The new digits are blurred, and so are the real ones when they are squeezed through two numbers:
# the second row is the best that any model of this plane could do. What makes a digit sharp lies in
# the other 62 dimensions. We must go there.

# %% [markdown]
# ## 7 · All 64 dimensions
#
# **The histogram.** Cut every pixel into only two levels, ink and paper. That makes
# $2^{64} \approx 1.8 \cdot 10^{19}$ bins for 1,257 training digits. How many held-out digits fall
# into a bin that holds any training digit at all?


# %%
def share_in_filled_bins(y, points, levels):
    """The share of y whose bin, of `levels` per pixel, holds a training point: (M, 64), (N, 64)."""

    def cut(v):
        return [row.tobytes() for row in (v * levels).byte().cpu().numpy()]

    filled = set(cut(points))
    return np.mean([row in filled for row in cut(y)])


# %% tags=["demo"]
for levels in (2, 3, 4, 17):
    share = share_in_filled_bins(y_test, y_train, levels)
    print(
        f"{levels:2d} levels a pixel: {levels**64:.1e} bins, {share:.1%} of held-out digits in a filled one"
    )
smoothed = math.log(17**64) - math.log(len(y_train) + 17**64)  # an empty bin's density is K / (N + K)
print(f"17 levels with alpha = 1: {smoothed:.1f} nats per held-out digit")

# %% [markdown]
# With 17 levels, the digits as they are, no held-out digit has a filled bin: the histogram calls
# every new digit impossible, and its held-out log-likelihood is $-\infty$. Coarser bins hardly
# help. Nor does $\alpha = 1$: the $10^{78}$ added counts drown the 1,257 real ones, and what is left
# is the uniform density, 0 nats. There are too many bins for any amount of data.
#
# **The kernels** do better: a bump reaches into empty space. We choose $h$ on the validation
# digits.

# %% tags=["demo"]
widths = np.geomspace(0.04, 0.6, S.widths)
h_digits, _ = best(widths, lambda h: log_kde(y_val, y_train, h).mean())
nats = {"KDE": log_kde(y_test, y_train, h_digits).mean().item()}
print(f"KDE, h = {h_digits:.3f}: {nats['KDE']:.1f} nats per held-out digit,", end=" ")
print(f"{bits_per_dim(nats['KDE']):.2f} bits/dim")

# %% [markdown]
# Is that good? A number needs company. Here are two models that know nothing about digits. One is a
# *single normal distribution* with the training digits' mean and covariance: one blob for all ten
# classes. The other is *independent pixels*: a histogram of 17 levels for each pixel on its own,
# blind to every stroke.


# %%
def log_gauss(x, points):
    """log density in nats of the normal distribution fitted to the points: (M, D), (N, D) -> (M,)."""
    points, x = points.cpu().double(), x.cpu().double()
    return torch.distributions.MultivariateNormal(points.mean(0), points.T.cov()).log_prob(x)


def pixel_table(points):
    """P(level) of each pixel, one count added to each of the 17 levels: (N, 64) -> (64, 17)."""
    levels = torch.nn.functional.one_hot((17 * points).long(), 17)  # (N, 64, 17)
    return (levels.sum(dim=0) + 1) / (len(points) + 17)


def log_pixels(x, points):
    """log density in nats of independent pixels: (M, 64), (N, 64) -> (M,)."""
    table = (17 * pixel_table(points)).log()  # a level is 1/17 wide, so density = 17 P
    return table[torch.arange(64, device=x.device), (17 * x).long()].sum(dim=1)


# %% [markdown]
# Both can draw, too. We write $L$ for the Cholesky factor of the covariance matrix: $L z$ has that
# covariance when $z$ is standard normal.


# %%
def draw_gauss(points, n, generator):
    """n draws of the normal distribution fitted to the points: (N, D) -> (n, D)."""
    L = torch.linalg.cholesky(points.cpu().double().T.cov())
    z = torch.randn(n, points.shape[1], generator=generator, dtype=torch.float64)
    return points.mean(0) + (z @ L.T).to(points)


def draw_pixels(points, n, generator):
    """n draws of the independent pixels: (N, 64) -> (n, 64)."""
    levels = torch.multinomial(pixel_table(points).cpu(), n, replacement=True, generator=generator).T
    return ((levels + torch.rand(n, 64, generator=generator)) / 17).to(points.device)


# %% tags=["demo"]
nats["single normal"] = log_gauss(y_test, y_train).mean().item()
nats["independent pixels"] = log_pixels(y_test, y_train).mean().item()
nats["uniform"] = 0.0
for name, value in sorted(nats.items(), key=lambda pair: pair[1]):
    print(f"{name:20s} {value:6.1f} nats per held-out digit")

# %% tags=["demo"]
fig, ax = plot.figure(height=3.4)
for y, name, style in ((y_train, "training digits", ":"), (y_test, "held-out digits", "-")):
    curve = [log_kde(y, y_train, h).mean().item() for h in widths]
    ax.plot(widths, curve, style, color=plot.COLOURS.blue, label=f"KDE, {name}")
for name, colour in (("independent pixels", plot.COLOURS.green), ("single normal", plot.COLOURS.vermilion)):
    ax.axhline(nats[name], color=colour, lw=1.6)
    ax.text(0.6, nats[name] + 4, name, ha="right", color=colour)
ax.plot(h_digits, nats["KDE"], "o", color=plot.COLOURS.blue, ms=8)
ax.set(xscale="log", ylim=(-40, 130), xlabel="bandwidth $h$", ylabel="nats per digit")
ax.set(xticks=[0.05, 0.1, 0.2, 0.5], xticklabels=["0.05", "0.1", "0.2", "0.5"])
ax.minorticks_off()
ax.set_title("In 64 dimensions the KDE loses at every bandwidth")
ax.legend(loc="lower center")
plt.show()

# %% [markdown]
# The KDE loses to both, at every bandwidth. A bump is a ball, equally wide in all 64 directions. To
# reach a held-out digit it must be wide; but some pixels are white in nearly every digit. White is
# $0 \le y < 1/17$, and of a bump that sits there less than a fifth stays there. Two fifths of it fall
# below 0, where no digit can be. A look at the distances says the same: the nearest training digit
# is not near.

# %% tags=["demo"]
white, level = np.linspace(0, 1 / 17, 1_000), 1 / 17  # where the bumps of a white pixel sit
below, above = normal_cdf(-white / h_digits).mean(), normal_cdf((white - level) / h_digits).mean()
often = ((y_train < level).float().mean(0) > 0.99).sum()
print(f"{often} of 64 pixels are white in over 99% of the training digits; of a bump on white,")
print(f"{1 - below - above:.0%} stays white and {below:.0%} falls below 0")
d_test = nearest(y_test, y_train)[0]
d_any = torch.cdist(y_test, y_train).mean()
print(f"from a held-out digit to its nearest training digit, the median: {d_test.median():.2f}")
print(f"from a held-out digit to all training digits, on average: {d_any:.2f}")
d_line = np.abs(x_train[:200, None] - x_train[200:])  # 200 samples against the other 1,800
print(f"the same two on the line of section 1: {np.median(d_line.min(1)):.4f} and {d_line.mean():.2f}")

# %% [markdown]
# **The samples.** Now draw from the models and look. The histogram is left out: all its filled bins
# are training digits, so its draws would be copies, like those of the last row.

# %% tags=["demo"]
g = torch.Generator().manual_seed(6)
copies = nearest_generator(y_train, 15, h_digits, g)
rows = {
    f"independent pixels: {nats['independent pixels']:.0f} nats": draw_pixels(y_train, 15, g),
    f"single normal: {nats['single normal']:.0f} nats": draw_gauss(y_train, 15, g),
    f"KDE: {nats['KDE']:.0f} nats": draw_kde(y_train, 15, h_digits, g),
    "nearest sample: no $p(y)$": copies,
}
fig, axes = plot.figure(len(rows), 1, height=0.97)
for ax, (title, y) in zip(axes, rows.items(), strict=True):
    plot.images(to_pixels(y), columns=15, ax=ax, title=title)
plt.show()

# %% [markdown]
# Read the figure from top to bottom: the likelihood falls and the samples improve. The model with
# the best nats draws confetti. The KDE draws digits under noise. The last row is perfect, and there
# lies the trap: put each of its digits beside the nearest training digit.

# %% tags=["demo"]
distance, index = nearest(copies[:10], y_train)
fig, axes = plot.figure(2, 1, height=1.25)
titles = "Drawn by the nearest-sample generator", "Nearest training digit, and the distance to it"
captions = [""] * 10, [f"{d:.1f}" for d in distance]
for ax, y, title, below in zip(axes, (copies[:10], y_train[index]), titles, captions, strict=True):
    plot.images(to_pixels(y), ax=ax, title=title, captions=below)
plt.show()

# %% [markdown]
# Ten of ten are copies, at distance 0. The generator has no idea what a digit is; it has a drawer
# full of them.
#
# So this is where we stand. In many dimensions the histogram is empty, the kernels are too blunt,
# and the perfect samples are stolen. None of the three *learned* anything: none found out that
# digits are made of strokes, and that a stroke seen in one digit may turn up in another. **A model
# that can, and still samples or still says how likely, is what each of the following lessons
# builds.**

# %% [markdown]
# ## 8 · Play: what does the width do?
#
# Back on the line. Move the two sliders. For every position the notebook recomputes both models
# from the 2,000 training samples and scores them on 2,000 fresh ones, in nats per sample. The
# histogram has $\alpha = 1$, so that no bin is empty. *Question: which of the two forgives a wrong
# width more readily, and on which side?* Compare like with like: a bin spreads the mass of a sample
# evenly over its width, with standard deviation $\Delta/\sqrt{12} \approx 0.29\,\Delta$, a bump with
# standard deviation $h$. So $\Delta = 1$ is a fair match for $h = 0.29$, not for $h = 1$.

# %%
x_held = mixture_sample(2_000, np.random.default_rng(7))
H = torch.tensor(x_held, dtype=torch.float32, device=device)[:, None]  # (M, 1)
ceiling = float(np.log(mixture_pdf(x_held)).mean())


def held_out_nats(delta, h, x=H):
    """Mean log-likelihood of x (M, 1) under the histogram with bins `delta`
    and the KDE with bandwidth `h`.
    """
    by_histogram = log_histogram(x[:, 0], P[:, 0], delta, alpha=1.0).mean()
    return by_histogram.item(), log_kde(x, P, h).mean().item()


# %% tags=["demo"]
def play(delta, h):
    """Draw both models at these widths, with their held-out log-likelihood."""
    x = torch.linspace(-2.2, 2.2, 881, device=device)
    curves = log_histogram(x, P[:, 0], delta, alpha=1.0).exp(), log_kde(x[:, None], P, h).exp()
    titles = f"Histogram, width {delta:.3f}", f"KDE, bandwidth {h:.3f}"
    _, axes = plot.figure(1, 2, height=3.0)
    for ax, curve, title, score in zip(axes, curves, titles, held_out_nats(delta, h), strict=True):
        ax.fill_between(t, mixture_pdf(t), color=plot.RULE)
        ax.plot(x.cpu(), curve.cpu(), color=plot.COLOURS.blue, lw=1.6)
        ax.set(title=title, ylim=(0, 1.2), xlabel="$x$")
        ax.text(0, 1.08, f"held out: ${score:.3f}$ nats (truth: ${ceiling:.3f}$)", ha="center")
    plt.show()


def slider(name, value):
    """A slider from 0.003 to 2, even in the logarithm."""
    look = {"style": {"description_width": "9em"}, "layout": {"width": "34em"}}
    return widgets.FloatLogSlider(
        value, min=-2.5, max=0.3, step=0.05, description=name, continuous_update=False, **look
    )


controls = interact(play, delta=slider("bin width Δ", 0.1), h=slider("bandwidth h", 0.25))

# %% [markdown]
# Where the sliders do not move, this figure tells the same: each point is one position of a slider.
# Its horizontal axis is the spread, so that what stands above one another is comparable.

# %% tags=["demo"]
scan = np.geomspace(0.003, 2, S.widths)
curves = np.array([held_out_nats(w, w) for w in progress.track(scan, title="widths")])  # (widths, 2)
best_delta, best_h = scan[curves.argmax(axis=0)]
print(f"best bin width {best_delta:.3f}: {curves[:, 0].max():.4f} nats per held-out sample")
print(f"best bandwidth {best_h:.3f}: {curves[:, 1].max():.4f} nats;   the truth itself: {ceiling:.4f}")
x_fresh = mixture_sample(2_000, np.random.default_rng(9))  # that have chosen nothing
F = torch.tensor(x_fresh, dtype=torch.float32, device=device)[:, None]
fresh_nats = held_out_nats(best_delta, best_h, F)
print(f"on 2,000 further samples: {fresh_nats[0]:.4f} and {fresh_nats[1]:.4f} nats;", end=" ")
print(f"the truth itself: {np.log(mixture_pdf(x_fresh)).mean():.4f}")


# %% tags=["demo"]
near = [(spread > 0.04) & (spread < 0.25) for spread in (scan / math.sqrt(12), scan)]
cost = [(curve.max() - curve)[part].max() for curve, part in zip(curves.T, near, strict=True)]
print(f"spreads from 0.04 to 0.25 cost at most {cost[0]:.3f} (histogram) and {cost[1]:.3f} nats (KDE)")
for width in (0.02, 1.0, 2.0):
    spread = width / math.sqrt(12)
    scores = held_out_nats(width, spread)
    print(f"spread {spread:.3f}: bins of {width} {scores[0]:.2f} nats, kernels {scores[1]:.2f} nats")

# %% tags=["demo"]
fig, ax = plot.figure(height=3.4)
train_curve = [log_kde(P, P, w).mean().item() for w in scan]
spreads = {"histogram": scan / math.sqrt(12), "KDE": scan}
colours = plot.COLOURS.orange, plot.COLOURS.blue
for (name, x), curve, colour in zip(spreads.items(), curves.T, colours, strict=True):
    ax.plot(x, curve, color=colour, label=f"{name}, held out")
    ax.plot(x[curve.argmax()], curve.max(), "o", color=colour, mfc="white", mew=2, ms=9, zorder=3)
ax.plot(scan, train_curve, ":", color=plot.COLOURS.blue, label="KDE, on its own training samples")
ax.axhline(ceiling, color=plot.INK, lw=1.2)
ax.text(1.95, ceiling + 0.012, "the truth", ha="right")
ax.set(xscale="log", xlim=(0.002, 2.1), ylim=(-1.45, -0.75), ylabel="nats per sample")
ax.set_xlabel(r"spread: bandwidth $h$, or bin width $\Delta$ divided by $\sqrt{12}$")
ax.set_title("Held-out data choose the width; training data never would")
ax.legend(loc="lower center")
plt.show()

# %% [markdown]
# A score that chose the width flatters it, if only a little with one number to choose; the printed line on
# further samples does not. Near the top both models forgive: over a wide range of spreads they lose a few
# hundredths of a nat. Far from it, at equal spread, they part. Too narrow, the KDE is the stricter one: a
# held-out sample at distance $d$ from its nearest training sample pays about $d^2 / 2h^2$ nats, without
# limit, where $\alpha$ gives the histogram a floor. Too wide, the KDE forgives more: its bumps still follow
# the data, while the bins lie where they lie. That is also why the histogram's curve goes up and down on the
# right: with the width the edges move, and sometimes they fit the two modes. The dotted line shows why the
# training data cannot choose: for them the narrowest kernel is the best.

# %% [markdown]
# ## 9 · What breaks
#
# **Width too small, width too large.** We provoke both. Too small, and the model describes the luck
# of this training set: every chance cluster becomes a spike. (Most samples have a neighbour nearer
# than 0.001, so a spike of width 0.004 is rarely one sample's own.) The histogram's floor is
# $\alpha$: 1,500 counts added to 2,000 samples give an empty bin the density 0.071. Too large, and
# the model describes nothing: the two modes melt. The cure is the curve above: take the width with
# the best held-out score.


# %% tags=["demo"]
def draw_models(axes, delta, h, lw):
    """Draw the histogram and the KDE of these widths, with their held-out scores, on two axes."""
    x = torch.linspace(-2.2, 2.2, 2001, device=device)
    models = log_histogram(x, P[:, 0], delta, alpha=1.0), log_kde(x[:, None], P, h)
    names = rf"$\Delta$ = {delta:.3g}", f"$h$ = {h:.3g}"
    for ax, log_p, name, score in zip(axes, models, names, held_out_nats(delta, h), strict=True):
        ax.fill_between(t, mixture_pdf(t), color=plot.RULE)
        ax.plot(x.cpu(), log_p.exp().cpu(), color=plot.COLOURS.blue, lw=lw)
        ax.set(ylim=(0, 1.0), xlim=(-2.2, 2.2), xticks=[-2, 0, 2])
        ax.text(0, 0.9, f"{name}: ${score:.2f}$ nats", ha="center", fontsize=10)


# %% tags=["demo"]
fig, axes = plot.figure(2, 3, height=2.6)
draw_models(axes[:, 0], 0.004, 0.004, lw=0.7)
draw_models(axes[:, 1], best_delta, best_h, lw=1.8)
draw_models(axes[:, 2], 2.0, 1.0, lw=1.8)
for ax, title in zip(axes[0], ("Too small", "Held-out choice", "Too large"), strict=True):
    ax.set_title(title)
axes[0, 0].set_ylabel("histogram")
axes[1, 0].set_ylabel("KDE")
plt.show()
gaps = np.diff(np.sort(x_train))
floor = log_histogram(P[:1, 0] * 0 + 2.9, P[:, 0], 0.004, alpha=1.0).exp().item()
print(f"from sample to next sample, the median: {np.median(gaps):.4f};   the histogram's floor: {floor:.3f}")

# %% [markdown]
# Without the added count $\alpha$ the histogram breaks completely, and not only the narrow one: at
# the best width, too, one held-out sample lies in an empty bin. One is enough, and the mean
# log-likelihood of all 2,000 is $-\infty$:

# %% tags=["demo"]
for width in (0.004, 0.05, float(best_delta)):
    bare = log_histogram(H[:, 0], P[:, 0], width)
    mended = log_histogram(H[:, 0], P[:, 0], width, alpha=1.0)
    print(
        f"width {width:.3f}: {bare.isinf().sum():4d} of {len(H)} held-out samples in an empty bin, "
        f"alpha = 0: {bare.mean():6.3f}, alpha = 1: {mended.mean():6.3f} nats"
    )

# %% [markdown]
# **Memorisation.** The nearest-sample generator copies. Can noise mend it? Add noise of width $h$
# to each copy and it *is* the KDE. Below, $h$ grows from row to row. We measure how far a draw is
# from its nearest training digit. The mark to aim for is what held-out digits do, the distance
# computed in section 7.

# %% tags=["demo"]
fig, axes = plot.figure(4, 1, height=0.97)
print(f"{'h':>5} {'distance':>9}   held-out digits: {d_test.median():.2f}")
for ax, width in zip(axes, (0.0, 0.04, h_digits, 0.3), strict=True):
    g = torch.Generator().manual_seed(8)  # the same start digits in each row
    many = draw_kde(y_train, 500, width, g)
    d = nearest(many, y_train)[0].median().item()
    plot.images(to_pixels(many[:15]), columns=15, ax=ax, title=f"$h$ = {width:.2f}: distance {d:.2f}")
    print(f"{width:5.2f} {d:9.2f}")
plt.show()

# %% [markdown]
# At $h$ near the held-out choice the draws are as far from the training set as real new digits are. They are
# no longer copies, but no new digits either: each is an old digit under noise, and you can still read which.
# Noise moves a copy in a random direction of 64; a new digit lies in one of the few directions that keep it a
# digit. Within this family there is no repair. It takes a model that learns those directions.
#
# A distance alone is a weak alarm, for nobody knows which value is suspicious. Exercise 5 builds a
# test that compares with held-out digits and needs no threshold.

# %% [markdown]
# ## 10 · How good is it?
#
# All models on one board: the same 270 test digits, all 64 dimensions. *Kept*: how many numbers the
# model stores. *Score*: the time to compute $\log p$ of the 270 digits. *Draw*: the time for 1,000
# draws, fitting included. *Distance*: from a draw to its nearest training digit, the median over
# the draws; section 7 printed the same for held-out digits. A dash: the model cannot, or, for the
# draws of the histogram, they would be copies again.

# %% tags=["demo"]
g = torch.Generator().manual_seed(9)
same_level = (17 * y_test).floor()[:, None] == (17 * y_train).floor()  # (M, N, 64)
kept = y_train.numel()
models = {  # name: (numbers kept, log density of the test digits, n draws)
    "uniform": (0, lambda: torch.zeros(1), lambda n: torch.rand(n, 64, generator=g).to(device)),
    "histogram": (kept, lambda: same_level.all(2).double().mean(1).log(), None),
    "KDE": (kept, lambda: log_kde(y_test, y_train, h_digits), lambda n: draw_kde(y_train, n, h_digits, g)),
    # 64 means and 64 * 65 / 2 covariances
    "single normal": (2_144, lambda: log_gauss(y_test, y_train), lambda n: draw_gauss(y_train, n, g)),
    # 64 * 16: the 17th probability follows from the others
    "independent pixels": (1_024, lambda: log_pixels(y_test, y_train), lambda n: draw_pixels(y_train, n, g)),
    "nearest sample": (kept, None, lambda n: nearest_generator(y_train, n, h_digits, g)),
}


# %% tags=["demo"]
def timed(job, *args):
    """The result of a job, a tensor, and its time in milliseconds."""
    start = time.perf_counter()
    result = job(*args).cpu()
    return result, 1e3 * (time.perf_counter() - start)


columns = ("kept", "nats/digit", "bits/dim", "score, ms", "draw, ms", "distance")
print(f"{'':18}" + "".join(f"{column:>11}" for column in columns))
for name, (kept, score, draw) in models.items():
    scored, score_ms = timed(score) if score else (torch.tensor(math.nan), math.nan)
    drawn, draw_ms = timed(draw, 1_000) if draw else (None, math.nan)
    far = nearest(drawn.to(device), y_train)[0].median().item() if draw else math.nan
    value = scored.mean().item()
    row = f"{value:11.1f}{bits_per_dim(value):11.2f}{score_ms:11.1f}{draw_ms:11.1f}{far:11.2f}"
    print(f"{name:18}{kept:11,}{row}".replace("nan", "  -"))
    if math.isfinite(value):  # no likelihood, or an infinite one, is no figure
        figures = {"nats": value, "bits_per_dim": bits_per_dim(value)}
        costs = {"parameters": kept, "sample_seconds": draw_ms / 1e6}
        board.record("01_map", name, data="digits 8x8", **costs, **figures)

# %% [markdown]
# Rows with a finite likelihood also go onto the common board of the course, which every lesson extends; its
# other columns come into use there. A number in parentheses is a target: what this model is held to whenever
# the lesson is tested.

# %% tags=["demo"]
sizes = math.ceil((HIGH - LOW) / best_delta), len(x_train)
for name, size, score in zip(("histogram", "KDE"), sizes, fresh_nats, strict=True):
    board.record("01_map", name, data="two modes", parameters=size, nats=score)
board.table("digits 8x8")

# %% [markdown]
# No single column tells which model is good. The nats reward the model whose samples are confetti;
# the eye rewards the thief. Theis and others (2016) show that this is no accident: a model can do
# well by likelihood and badly by looks, and the other way round. Every lesson of this course
# therefore reports more than one number.

# %% [markdown]
# ## 11 · The map
#
# Three small models stand for three of the answers that exist. Here are all of them. The tree asks
# first whether a family writes a density down, then what it pays. The colours are the five *working
# buckets* of this course, for what a family gives up decides how it is trained, sampled and judged.

# %% tags=["demo"]
taxonomy.figure()
plt.show()

# %% [markdown]
# **What is not on the map.** A classifier models $p(y \mid x)$, the class given the picture; it never
# says what pictures look like. That is a *discriminative* model. Everything here models $p(x)$, or
# $p(x \mid y)$. Bayes' rule turns the second kind into the first, and lesson 02 does so; no rule
# leads back.
#
# **Two views of score models.** A *score* is the gradient $\nabla_x \log p(x)$: it says in which direction a
# sample gets likelier, and leaves out how likely it is. Some authors therefore count score models as
# implicit: they know directions, not probabilities, and Langevin dynamics turns directions into samples (Song
# and Ermon, 2019). Others give them a bucket of their own, because who knows the score of the data blurred by
# *every* amount of noise can follow a differential equation from a picture to pure noise, and compute the
# density on the way (Song and others, 2020; take it on trust until lesson 21). Both are right, for different
# questions. The figure draws both edges; lessons 18 and 21 make either point with numbers.
#
# *Flow matching* learns a close relative of the score, a *velocity*: in which direction, and how fast, a
# point must move so that noise turns into data. **Diffusion stands in two places**, too. DDPM (Ho, Jain and
# Abbeel, 2020) was derived as a bound on $\log p(x)$, which puts it beside the VAE in bucket 2. Trained as
# everybody trains it, it is a score model in disguise, and a cousin of flow matching in bucket 4. Lessons 19
# to 23 use one notation for both.
#
# **Text is not tied to one order, nor pictures to one family.** *Masked diffusion* fills gaps of a text, many
# at once, and refutes that text must be written word by word (Austin and others, 2021; Nie and others, 2025).
# And one network can do both: write words by the next token, and draw what stands between them by diffusion
# (Zhou and others, 2024), or draw a film or a playable world frame by frame, each frame by a few steps of
# diffusion (Chen and others, 2024). Lessons 26 and 31 build these two.

# %% [markdown]
# ## 12 · How it came about
#
# Each dot is the first public version of a model, by the month of its paper or of its maker's report.

# %% tags=["demo"]
taxonomy.timeline()
plt.show()

# %% [markdown]
# Read a lane from left to right and you see a family's life. The adversarial lane is busy until 2019 and then
# goes quiet; about then the lane of diffusion, score and flow fills (diffusion itself was published in 2015,
# and waited), and it soon feeds text-to-image, video and sound. (The dots are landmarks, chosen by hand: the
# map has more models than this.) And look at who publishes: on the left papers with code, on the right more
# and more products of which the maker says little. For those the map says *undisclosed* and does not guess: a
# hollow dot is a model whose bucket its maker has not published. (That of ChatGPT's images is said to be
# autoregressive; over what, is not said.) A crossed dot is a system that is no longer offered as it was: some
# products stood for a year or less, and keep only their place here.
#
# Tables of this history often carry dates, and methods, that the papers do not. Where they disagree, the map
# has what the paper or its maker says, and a note:

# %% tags=["demo"]
taxonomy.table("dates")

# %% [markdown]
# ## 13 · Five questions, three famous models
#
# The five questions of the start, now for models that you may have heard of. Some words first. A *latent* is
# a smaller, hidden version of a picture from which a decoder restores it; a *codec* does the same for sound,
# in whole numbers called *tokens*. *FID*, the Fréchet inception distance, compares the mean and the
# covariance of a network's features between generated and real pictures: 0 is best. Read one column at a
# time, and note the last row: each measure can be satisfied by something you do not want.
#
# | | StyleGAN 2 (2019) | MusicGen (2023) | Stable Diffusion 3 (2024) |
# |---|---|---|---|
# | What is modelled? | pixels, up to 1024×1024, of one domain: faces, cars | tokens: four parallel streams from a codec, 50 times a second | latents: an autoencoder's 8 times smaller picture with 16 channels |
# | Is the density explicit? | no | yes, of the tokens; not of the sound | not as it is used; a bound or an ODE would give one, of the latents |
# | One-shot or iterative? | one pass | serial: one step for each frame, the four streams one step apart | iterative: some tens of steps, fewer when distilled |
# | What conditions it? | nothing; a style vector can be mixed | text; a melody, if given | text, through three encoders |
# | How is it evaluated, and how does that fail? | FID, 2.84 on faces: blind to copies, and biased when samples are few | Fréchet audio distance, text match, listeners: a codec's artefacts count for little | text match by GenEval, raters' preference: raters like saturated, tidy pictures |
#
# (Karras and others, 2019; Copet and others, 2023; Esser and others, 2024.) Now say for each what it
# cannot do. StyleGAN cannot tell you how likely a face is. MusicGen cannot change its second second
# after it wrote its tenth. Stable Diffusion cannot answer at once. None of that is a bug: it is the
# part of the problem that the family gave up.

# %% [markdown]
# ## 14 · What each family is good for
#
# Before you read on: which of the three models of this lesson would you use to find the odd digit in a pile,
# and which to print a pretty one? Then find the row of the table whose weakness would hurt you most.

# %% tags=["demo"]
taxonomy.table("families")

# %% [markdown]
# ## 15 · Which family for which task?
#
# The table names a family, the open models to start from and the hosted ones to rent. Where nobody rents one
# out, it says so. Its last column has the month in which its oldest row was last looked up; the column *why*
# will age more slowly than the names.
#
# *Ranked* means: by criteria that anybody can check, in this order.
#
# 1. **What the licence permits**, the strictest known of code and weights (open models only): any use, before use
#    with limits (of purpose, revenue or country), before non-commercial use, before no licence stated.
# 2. **A public board**, where one compares them: blind votes, as a number in which more is better. It
#    stands in parentheses. What a board does not list comes after what it lists.
# 3. **One GPU** of 80 GB holds the weights, or the number of GPUs is said (open models only).
# 4. **The newer** first.
#
# No criterion is quality for *your* task: start from the first that you may use, and compare it with the
# second on your own data. What is no longer offered is never named.

# %% tags=["demo"]
taxonomy.table("tasks")

# %% [markdown]
# These are the boards, each as it stood in one month. A vote says what people like at first sight, of texts
# that voters think of; it says little about rare wishes, and nothing about licences, speed or cost.

# %% tags=["demo"]
taxonomy.table("boards")

# %% [markdown]
# ## 16 · In production: six inference shapes
#
# How long does it take until a sample is there? Every family answers with one of six equations. Their
# letters are their own, said in the column *where*. The column *knobs* names what later lessons explain (07
# for transformers, 20 for samplers, 24 for distillation, 25 for codes); skip it at first.

# %% tags=["demo"]
taxonomy.table("shapes")

# %% [markdown]
# The equations differ in one thing above all: how many evaluations of a network must wait for each
# other. To see that alone, take *the same* network for all of them, a stand-in with 2.1 million
# weights whose values do not matter, and let each shape call it as often as it would. $t_{\text{net}}$
# is the time of one evaluation. The prediction is $T = \text{calls} \cdot t_{\text{net}}$. On a
# machine that does other things as well, expect it to be off by up to a factor of 2.


# %% tags=["demo"]
WIDTH = 512
net = torch.nn.Sequential(
    torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.GELU(), torch.nn.Linear(4 * WIDTH, WIDTH)
).to(device)
CALLS = {  # evaluations that wait for each other, for one sample
    "GAN: one pass": 1,
    "VAE: decoder of 4 levels": 4,
    "tokens: 16 codes + decoder": 16 + 1,
    "world model: a frame in 4 steps": 4 + 1,
    "diffusion: 25 steps x guidance": 25 * 2,
    "autoregression: 64 pixels": 64,
}


# %% tags=["demo"]
@torch.no_grad()
def draw_seconds(calls, batch, repeats=9):
    """Seconds for `calls` evaluations, each on the result of the one before: the fastest of `repeats`."""
    times = []
    for _ in range(repeats):
        x = torch.randn(batch, WIDTH, device=device)
        start = time.perf_counter()
        for _ in range(calls):
            x = net(x)
        x.cpu()  # waits until the device has finished
        times.append(time.perf_counter() - start)
    return min(times)  # whatever else the machine does only adds to it


# %% tags=["demo"]
draw_seconds(32, 1)  # the first calls are slower
t_net = draw_seconds(32, 1) / 32
measured = {name: draw_seconds(calls, 1) for name, calls in CALLS.items()}
print(f"one evaluation, batch 1: {1e3 * t_net:.2f} ms")
print(f"{'':32}{'predicted':>11}{'measured':>11}")
for name, calls in CALLS.items():
    print(f"{name:32}{1e3 * calls * t_net:8.2f} ms{1e3 * measured[name]:8.2f} ms")

# %% [markdown]
# That is the time until one sample is there. It is not what a sample costs when there are many. A
# batch of $B$ samples reads the weights once for all of them. On a GPU it takes hardly longer than one, up to
# a point; on these few cores it takes longer from two samples on, but less than $B$ times as long:

# %% tags=["demo"]
batches = [2**k for k in range(S.doublings)]
per_batch = np.array([draw_seconds(8, B) / 8 for B in batches])
fig, axes = plot.figure(1, 2, height=3.2)
names = list(CALLS)
axes[0].barh(names[::-1], [1e3 * measured[name] for name in names[::-1]], color=plot.COLOURS.blue)
axes[0].set(xscale="log", xlabel="milliseconds until one sample is there", title="Latency, batch of 1")
axes[0].grid(axis="y", visible=False)
axes[1].plot(batches, 1e6 * per_batch / batches, "o-", color=plot.COLOURS.vermilion)
axes[1].set(xscale="log", yscale="log", xlabel="batch $B$", ylabel="microseconds")
axes[1].set_title("Cost per sample")
for axis in (axes[1].yaxis.set_major_formatter, axes[1].yaxis.set_minor_formatter):
    axis("{x:g}")
axes[1].tick_params(axis="y", which="minor", labelsize=8)
plt.show()
print(
    f"per sample, a batch of {batches[-1]} costs 1/{per_batch[0] / (per_batch[-1] / batches[-1]):.0f} of one"
)

# %% [markdown]
# So two numbers describe a model in production: the *latency*, which the number of calls in a row
# decides, and the *cost per sample*, which the batch divides. A claim such as "faster than diffusion"
# is about one of them, and it can be true for only two reasons: **fewer steps at the same step cost, or
# the same steps at a lower one.** Ask which, and against how many steps the comparison was made: DDPM's
# 1,000, or the ten to fifty that everybody uses.

# %% [markdown]
# ## 17 · Words
#
# What people say, and what it means.

# %% tags=["demo"]
taxonomy.table("terms")

# %% [markdown]
# ## Exercises
#
# Twenty points, and seven more for two answers that are graded by hand: three in exercise 7, four in
# exercise 8. Exercises 1 to 5 are about the three small models, 6 to 9 about the map. Each comes with a cell
# to fill in and a cell that tests a few cases you can read. The grade comes from further tests of the same
# properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says. A number may be Python's own or an
# array or tensor that holds one; several results come as a tuple, a mapping as a dict, texts as strings.

# %% [markdown]
# ### 1 · Any interval, any bins (easy, 15 minutes)
#
# The histogram of section 2 had bins of one width, and the interval ended on their edges. Real
# histograms are not so kind: bins are narrow where data are dense, and an interval starts in the
# middle of one. Within a bin the density is constant, so an interval that covers a third of a bin
# gets a third of its mass. It may lie within one bin, or wholly outside all of them, where the mass
# is 0; and $a = b$ is no error: a single point has mass 0.


# %% exercise="interval-mass"
def interval_mass(counts, edges, a, b):
    """P(a <= x <= b) under a histogram whose bins may have different widths.

    counts: (K,) how many samples fell into each bin, not all 0; edges: (K + 1,) increasing. Outside the edges
    the density is 0. a and b are numbers, a may be -inf and b inf; a = b has mass 0. Returns a number.
    Raises ValueError if a > b.
    """
    ### BEGIN SOLUTION
    if a > b:
        raise ValueError(f"the interval from {a} to {b} runs backwards")
    overlap = np.minimum(edges[1:], b) - np.maximum(edges[:-1], a)
    share = np.clip(overlap, 0, None) / np.diff(edges)  # of each bin, (K,)
    return float((counts * share).sum() / counts.sum())
    ### END SOLUTION


# %% test="interval-mass" points=2
uneven = np.array([0.0, 1.0, 4.0])
three = np.array([6, 2])
whole = interval_mass(three, uneven, 0.0, 4.0)
assert np.isclose(whole, 1), f"the interval that holds all bins must have mass 1, not {whole}"
part = interval_mass(three, uneven, 0.0, 2.5)
assert np.isclose(part, 0.875), f"a whole bin (6 of 8) and half a bin (1 of 8) make 0.875, not {part}"
left = interval_mass(three, uneven, -np.inf, 0.25)
assert np.isclose(left, 0.1875), f"a quarter of the first bin is 0.1875, also from -inf on, not {left}"
inner = interval_mass(three, uneven, 2.0, 3.5)
assert np.isclose(inner, 0.125), f"a and b in one bin: half of its 2 of 8 is 0.125, not {inner}"
for c, d in ((2.0, 2.0), (5.0, 6.0), (-np.inf, -1.0)):
    nothing = interval_mass(three, uneven, c, d)
    assert np.isclose(nothing, 0), f"from {c} to {d} there is no mass, and no error: 0, not {nothing}"
try:
    backwards = interval_mass(three, uneven, 2.0, 1.0)
    raise AssertionError(f"an interval from 2 to 1 must raise ValueError, not return {backwards}")
except ValueError:
    pass

# %% [markdown]
# ### 2 · A model that knows what it cannot do (easy, 15 minutes)
#
# Give implicit models an interface that is honest. Such a model is a map $g$ from noise to data:
# draw $z \sim \mathcal N(0, I)$, return $g(z)$. It can do two things. It can *sample*: the draws
# are independent, and so are the dimensions of each $z$. And it can
# *count*: the probability of a set is about the share $\hat p$ of $n$ draws that fall into it, with
# the standard error $\sqrt{\hat p(1 - \hat p)/n}$, which is 0 where none falls into it. All $n$
# draws are made and counted, and no more: the error holds for them.
#
# Both take a `torch.Generator` and draw from it alone. The same seed gives the same draws; a second
# call with the same generator goes on where the first stopped, and gives fresh ones.
#
# What it cannot do is `log_prob`. A wrong number would be worse than no number: $-\infty$, 0 or a
# guess would flow through the next computation unseen. So `log_prob` must raise a `TypeError`, the
# error for an operation that this kind of object does not support (`NotImplementedError` would
# promise that someone will write it one day). Its message must name the two methods that can be
# called instead, `sample` and `mass`.


# %% exercise="implicit"
class Implicit:
    """The distribution of g(z), z ~ N(0, I) in `dim` dimensions. g: (n, dim) -> (n, D)."""

    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        """n draws g(z), (n, D). All randomness comes from `generator`, a torch.Generator."""
        ### BEGIN SOLUTION
        z = torch.randn(n, self.dim, generator=generator, device=generator.device)
        return self.g(z)
        ### END SOLUTION

    def mass(self, inside, n, generator):
        """P(x in A) from n new draws: the estimate and its standard error, two numbers.

        inside: function (n, D) -> (n,) of booleans, true where x lies in A.
        """
        ### BEGIN SOLUTION
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)
        ### END SOLUTION

    def log_prob(self, x):
        """Refuses: raises TypeError with a message that names `sample` and `mass`."""
        ### BEGIN SOLUTION
        raise TypeError("no density: use sample() to draw, mass() for the probability of a set")
        ### END SOLUTION


# %% test="implicit" points=2
model = Implicit(lambda z: 3 + 2 * z, dim=2)
draws = model.sample(5_000, torch.Generator().manual_seed(0))
assert draws.shape == (5_000, 2), f"5,000 draws in 2 dimensions, not {tuple(draws.shape)}"
assert (draws.mean(0) - 3).abs().max() < 0.2, "3 + 2 z has mean 3: is z normal?"
assert (draws.std(0) - 2).abs().max() < 0.2, "3 + 2 z has standard deviation 2"
assert torch.corrcoef(draws.T)[0, 1].abs() < 0.1, "the dimensions of z must be independent"
again = model.sample(5_000, torch.Generator().manual_seed(0))
assert torch.equal(draws, again), "the same seed must give the same draws: use the generator"
estimate, error = model.mass(lambda x: x[:, 0] > 3, 4_000, torch.Generator().manual_seed(1))
assert abs(estimate - 0.5) < 0.05, "half of the draws lie above the mean"
assert abs(error - 0.0079) < 1e-4, "the standard error of a share near 1/2 of 4,000 draws is 0.0079"
try:
    model.log_prob(draws)
    raise AssertionError("log_prob must raise, whatever it is given")
except TypeError as refusal:
    assert "sample" in str(refusal) and "mass" in str(refusal), "the message must name sample and mass"

# %% [markdown]
# ### 3 · A bandwidth without a validation set (medium, 30 minutes)
#
# Section 8 spent 2,000 fresh samples on choosing $h$. Data are rarely that plentiful. *Leave one
# out* (Duin, 1976) uses each training sample as the held-out sample of all others:
#
# $$\text{score}(h) = \frac1N \sum_{i=1}^N \log\, \frac{1}{N-1} \sum_{j \ne i} \mathcal N(x_i;\, x_j,\, h^2 I) .$$
#
# No refitting is needed: one table of distances serves all $i$ and all $h$. Leave out the sample itself, not
# its equals: if two samples coincide, each still sees the other. Stay in log space: a lonely sample, far from
# all others, must not give $-\infty$. Subtract first, then square: the route through
# $\lVert x\rVert^2 - 2x^\top y + \lVert y\rVert^2$, which `torch.cdist` takes for more than 25 points, loses
# digits. And keep the digits: from samples in float64 come scores in float64, which `torch.tensor` of a list
# of floats would not give.


# %% exercise="bandwidth"
def loo_bandwidth(points, candidates):
    """The bandwidth with the best leave-one-out score, and the scores.

    points: (N, D) tensor; candidates: (H,) tensor of bandwidths, in any order.
    Returns (h, scores): h a number, one of the candidates; scores (H,) in nats per point, in the
    order of `candidates` and of the dtype of `points`.
    """
    ### BEGIN SOLUTION
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1)  # (N, N)
    d2.fill_diagonal_(math.inf)
    log_sums = [torch.logsumexp(d2 / (-2 * h * h), dim=1).mean() - D * h.log() for h in candidates]
    scores = torch.stack(log_sums) - math.log(N - 1) - D / 2 * math.log(2 * math.pi)
    return candidates[scores.argmax()].item(), scores
    ### END SOLUTION


# %% test="bandwidth" points=3
pair = torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
scores = torch.as_tensor(loo_bandwidth(pair, torch.tensor([1.0, 0.5], dtype=torch.float64))[1])
assert scores.dtype == torch.float64, f"points in float64 have scores in float64, not {scores.dtype}"
right = torch.tensor([-2.337877066409, -2.451582705289], dtype=torch.float64)
assert torch.allclose(scores, right, rtol=1e-10, atol=1e-12), (
    f"two points 1 apart: one kernel each, and float64's digits, {right.tolist()}, not {scores.tolist()}"
)
single = torch.as_tensor(loo_bandwidth(pair.float(), torch.tensor([1.0, 0.5]))[1])
assert single.dtype == torch.float32, f"points in float32 have scores in float32, not {single.dtype}"
toy_points = torch.tensor(x_train[:400, None])
chosen, scores = loo_bandwidth(toy_points, torch.tensor([0.01, 0.2, 3.0], dtype=torch.float64))
assert scores.shape == (3,), "one score for each candidate"
assert chosen == 0.2, f"of 0.01, 0.2 and 3 the middle one fits 400 samples best, not {chosen}"

# %% [markdown]
# ### 4 · A bandwidth for every sample (medium, 35 minutes)
#
# One width cannot fit a crowded place and an empty one. The *adaptive* KDE (Breiman, Meisel and
# Purcell, 1977) gives each sample a bandwidth $h_i$ of its own, and here also a weight $w_i \ge 0$:
#
# $$p(x) = \sum_{i=1}^N \frac{w_i}{\sum_j w_j}\; \mathcal N(x;\, x_i,\, h_i^2 I) .$$
#
# The weights need not add up to 1: only their ratio counts, and if all of them are near $10^{-9}$,
# nothing changes. A sample of weight 0 counts as absent. Write it so that it survives three things
# that break a straightforward version:
#
# - queries far out in the tails, where every term is below the smallest number;
# - data far from the origin, near 10,000 in float32 with bandwidths near 0.1, where
#   $\lVert x\rVert^2 - 2x^\top x_i + \lVert x_i\rVert^2$ has lost all its digits (subtract first,
#   then square; `torch.cdist` takes the other route where there are more than 25 points);
# - differentiation, for the gradient of $\log p$ is what lesson 18 lives on: it must be finite and
#   right far out, near 10,000, and exactly on a sample, where a square root has no derivative.


# %% exercise="log-kde"
def log_adaptive_kde(x, points, bandwidths, weights):
    """log p(x) in nats of a KDE with a bandwidth and a weight for each point.

    x: (M, D); points: (N, D); bandwidths: (N,), positive; weights: (N,), not negative, not all 0.
    Tensors of one floating dtype; returns (M,) of that dtype, with its digits, differentiable at every x.
    """
    ### BEGIN SOLUTION
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)  # (M, N)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    log_w = weights.log() - weights.sum().log()
    return torch.logsumexp(log_w + log_kernel, dim=1)
    ### END SOLUTION


# %% test="log-kde" points=3
centres = torch.tensor([[-1.0], [2.0]], dtype=torch.float64)
own, heavy = torch.tensor([[0.5, 2.0], [3.0, 1.0]], dtype=torch.float64)
at = torch.linspace(-30, 30, 3001, dtype=torch.float64)[:, None]
area = torch.trapezoid(log_adaptive_kde(at, centres, own, heavy).exp(), at[:, 0])
assert abs(area - 1) < 1e-6, f"the density must integrate to 1, not {area:.4f}: look at each bump's factors"
value = log_adaptive_kde(at[1550:1551], centres, own, heavy)
assert value.shape == (1,), "one query, one number: (1, D) -> (1,)"
assert abs(value + 3.118828899717) < 1e-9, f"at x = 1: -3.118828899717, not {value.item():.12f}"
edge = torch.tensor([[1e4], [2.0]], dtype=torch.float64, requires_grad=True)
tail = log_adaptive_kde(edge, centres, own, heavy)
assert tail.isfinite().all(), "far out in the tails the log density is very negative, not -inf"
assert tail.requires_grad, "the result must be differentiable in x: do not detach"
slope = torch.autograd.grad(tail.sum(), edge)[0]
away = slope - torch.tensor([[-2499.5], [0.0]])
assert away.abs().max() < 1e-3, f"far out and on a point the gradient is -2499.5 and 0, not {slope}"
same = torch.full((30, 3), 1e4)  # one place in three dimensions, 30 times, in float32
near = log_adaptive_kde(same + 0.125, same, torch.full((30,), 0.125), torch.full((30,), 2e-9))
kinds = value.dtype, near.dtype
assert kinds == (torch.float64, torch.float32), f"float64 gives float64, float32 float32, not {kinds}"
assert torch.allclose(near, torch.tensor(1.9815), atol=1e-3), f"near 10,000: 1.9815, not {near[0]:.4f}"

# %% [markdown]
# ### 5 · Catch the copier (hard, 35 minutes)
#
# You are shown samples of a generator, and suspect that they are copies with a little make-up. A
# threshold on the distance to the training set would depend on the data, the dimension and the
# amount of training data. Held-out data calibrate it: a *fresh* sample of the true distribution
# also has some distance to the training set. If the generator is honest, generated and held-out
# distances follow the same law, whatever that law is.
#
# Compare every generated sample with every held-out one. With $d(x)$ the Euclidean distance from
# $x$ to its nearest training sample, $m$ generated and $n$ held-out samples,
#
# $$\text{share} = \frac{1}{mn} \sum_{i=1}^m \sum_{j=1}^n \Big( \mathbb 1[d(g_i) < d(t_j)] + \tfrac12\,\mathbb 1[d(g_i) = d(t_j)] \Big),
# \qquad z = \Big(\text{share} - \tfrac12\Big)\sqrt{\frac{12\,mn}{m + n + 1}} .$$
#
# $\mathbb 1[\cdot]$ is 1 where the condition holds, else 0. An honest generator has a share near
# 1/2; a copier is near 1. $z$ says how far the share is from 1/2 in standard deviations (Mann and
# Whitney, 1947; as a test for copying: Meehan, Chaudhuri and Dasgupta, 2020); it is negative where
# generated samples lie farther out than held-out ones. Mind the ties: pixels come in 17 levels, so
# equal distances are common, 0 among them. Compare as they are, without a tolerance: only the order of
# the distances counts, so that another unit of length changes nothing. (In units that cannot be held exactly,
# rounding may break a few ties; that is accepted.)


# %% exercise="memorised"
def copy_score(train, test, generated):
    """(share, z), two numbers: how often a generated sample lies nearer to `train` than a held-out one.

    train: (N, D), test: (n, D), generated: (m, D) tensors; N, n and m may differ.
    """
    ### BEGIN SOLUTION
    d_test = nearest(test, train)[0]
    d_generated = nearest(generated, train)[0][:, None]  # (m, 1)
    wins = (d_generated < d_test).double() + 0.5 * (d_generated == d_test).double()  # (m, n)
    share = wins.mean().item()
    m, n = wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))
    ### END SOLUTION


# %% test="memorised" points=3
known = torch.tensor([[0.0], [10.0]])
share, z = copy_score(known, torch.tensor([[1.0], [12.0]]), torch.tensor([[0.0], [9.0], [15.0]]))
assert abs(share - 3.5 / 6) < 1e-6, (
    f"distances 0, 1, 5 against 1, 2: 3 wins and 1 tie of 6 pairs, not {share}"
)
assert abs(z - 0.2887) < 1e-3, (
    f"z is the distance of the share from 1/2 in standard deviations: 0.2887, not {z}"
)
pixels = {name: torch.as_tensor(part.x).flatten(1) for name, part in digits._asdict().items()}
share, z = copy_score(pixels["train"], pixels["test"], pixels["train"][:200])
assert share > 0.999 and z > 15, "training digits handed out as new must be caught"
share, z = copy_score(pixels["train"], pixels["test"], pixels["validation"])
assert 0.4 < share < 0.6, "honest new digits must not be accused"

# %% [markdown]
# ### 6 · Five products (easy, 35 minutes)
#
# What are these, and how do you know? *ChatGPT image* (the image generation that came with GPT-4o in March
# 2025), *Midjourney v7*, *Sora* (the report of February 2024), *Runway Gen-3* (Alpha), *ElevenLabs* (its
# text-to-speech). Many pages on the web will tell you. Most of them guess. The course's own map has a reading
# of all five, too; do not take its word. What counts is what the maker, or a paper by the maker, has
# published; where it has not, the right answer is `"undisclosed"`, for the family and for the backbone. A
# thing may be half disclosed. Some of the five are no longer offered; what was published of them still
# stands.
#
# For each product give
#
# - `family`: one of `"autoregressive"`, `"diffusion"`, `"flow matching"`, `"GAN"`, `"VAE"`, `"undisclosed"`;
# - `backbone`: one of `"transformer"`, `"U-Net"`, `"convolutional"`, `"undisclosed"`;
# - `url`: the maker's own page, report or paper (on arXiv, say) that you rely on; for what is undisclosed,
#   the maker's page where it ought to stand;
# - `quote`: words copied from there that contain the family and the backbone that you give; `""` if
#   both are undisclosed, for nothing can be quoted.


# %% exercise="products"
def identify(product):
    """The family and backbone of one of the five products, with evidence.

    product: "ChatGPT image", "Midjourney v7", "Sora", "Runway Gen-3" or "ElevenLabs".
    Returns a dict of strings: family, backbone, url, quote.
    """
    ### BEGIN SOLUTION
    # long: five products, each with its evidence
    unknown = {"family": "undisclosed", "backbone": "undisclosed", "quote": ""}
    answers = {
        "ChatGPT image": {
            "family": "autoregressive",
            "backbone": "undisclosed",
            "url": "https://openai.com/index/gpt-4o-image-generation-system-card-addendum/",
            "quote": "Unlike DALL·E, which operates as a diffusion model, 4o image generation is an "
            "autoregressive model natively embedded within ChatGPT.",
        },
        "Midjourney v7": {
            **unknown,
            "url": "https://docs.midjourney.com/hc/en-us/articles/32199405667853-Version",
        },
        "Sora": {
            "family": "diffusion",
            "backbone": "transformer",
            "url": "https://openai.com/index/video-generation-models-as-world-simulators/",
            "quote": "Importantly, Sora is a diffusion transformer.",
        },
        "Runway Gen-3": {**unknown, "url": "https://runwayml.com/research/introducing-gen-3-alpha"},
        "ElevenLabs": {**unknown, "url": "https://elevenlabs.io/docs/overview/models"},
    }
    return answers[product]
    ### END SOLUTION


# %% test="products" points=2
sora = identify("Sora")  # the other four have the same form
assert set(sora) == {"family", "backbone", "url", "quote"}, f"four entries, not {set(sora)}"
families = {"autoregressive", "diffusion", "flow matching", "GAN", "VAE", "undisclosed"}
assert sora["family"] in families, f"{sora['family']!r} is not one of {families}"
backbones = {"transformer", "U-Net", "convolutional", "undisclosed"}
assert sora["backbone"] in backbones, f"{sora['backbone']!r} is not one of {backbones}"
assert sora["url"].startswith("https://"), "the evidence needs an address"
for word in {sora["family"], sora["backbone"]} - {"undisclosed"}:
    assert word.lower() in sora["quote"].lower(), f"the quote does not say {word!r}"

# %% [markdown]
# ### 7 · "100x faster than diffusion" (medium, 30 minutes, graded by hand)
#
# A paper's abstract says: *our one-step generator is 100 times faster than diffusion at the same
# quality*. Its table shows unconditional samples of 64×64 pixels, one FID, one GPU. You want to make
# 1024×1024 pictures from text.
#
# In the cell below, write **three questions** to the authors that decide whether the claim survives
# conditioning and high resolution. For each: which term of the cost equations of section 16, or which
# measure, it is about; the answer that would save the claim; the answer that would sink it.

# %% [markdown] answer="faster-claim" points=3
# *Your three questions.*
#
# ### BEGIN SOLUTION
# One point for each question that (a) is about another thing than the two before, (b) names the term or
# the measure it hits, and (c) says what answer would save and what would sink the claim. Half a point where
# (c) is missing. Good ones: How many steps had the diffusion model that it is compared with (1,000
# ancestral steps, or 10 to 50 by DDIM or a solver, or a distilled one)? Same network, same
# parameters, same precision and batch: fewer steps, or a cheaper step? With text and guidance: does one
# step still do, and is guidance's factor of 2 counted on both sides? At 1024×1024 in a latent space: what
# share of the time is then the decoder and the text encoder, which one step does not make cheaper? Is
# quality FID alone: what do diversity (recall), text match and preference say at equal FID? What does
# training or distilling the one-step model cost, and how many samples does that buy?
# ### END SOLUTION

# %% [markdown]
# ### 8 · The triage of a domain of your own (hard, 70 minutes)
#
# Choose a domain that you care about and that is not pictures, film, speech, music or text for readers:
# protein structure, molecules, CAD, trajectories, weather, tables, graphs, source code that must compile.
# Find *one* paper that held the state of the art when it came out. Answer the five questions for its model,
# in your own words; with its name, its domain, its source and how its measure fails these are nine entries.
# The point below is for completeness; the thinking is graded by hand, from these answers and the cell after
# them.


# %% exercise="triage"
def my_triage(question):
    """The answer to one question about one model of a domain of your own, a string.

    question, ten words or more for each: "modelled" (what is modelled?), "condition" (what conditions it?),
    "evaluation" (how is it evaluated?), "failure" (how does that measure fail: when is it good although the
    model is bad?). A few words: "domain", "model" (its name). One word of a list: "density" ("tractable",
    "approximate", "score" or "none"), "sampling" ("one-shot", "iterative" or "serial"). "source": the
    https address of the paper.
    """
    ### BEGIN SOLUTION
    answers = {
        "domain": "protein structure",
        "model": "RFdiffusion",
        "modelled": "one rigid frame for each residue: where it lies and how it is turned, "
        "without side chains",
        "density": "approximate",
        "sampling": "iterative",
        "condition": "a motif to build around, a target to bind, a symmetry, or only the length of the chain",
        "evaluation": "a sequence is designed for each backbone and folded by a predictor; "
        "the two are compared, and some designs are made in the laboratory",
        "failure": "the judge was trained on the same proteins, so it favours familiar helices, and little "
        "variety still scores well",
        "source": "https://doi.org/10.1038/s41586-023-06415-8",
    }
    return answers[question]
    ### END SOLUTION


# %% test="triage" points=1
modelled = my_triage("modelled").split()
assert len(modelled) >= 10, f"{len(modelled)} words are too few for somebody who does not know the model"
assert my_triage("density") in {"tractable", "approximate", "score", "none"}, "density: a word of the list"
assert my_triage("sampling") in {"one-shot", "iterative", "serial"}, "sampling: a word of the list"
assert my_triage("source").startswith("https://"), f"not an https address: {my_triage('source')!r}"

# %% [markdown] answer="better-model" points=4
# *What would a better model change? Name one thing that people in this domain cannot do today, the one of
# the five answers that stands in the way, and the family of the map whose answer is different. What would
# that family give up?*
#
# ### BEGIN SOLUTION
# Read the answers of exercise 8 together with this cell. 1 point: the five answers fit the paper (density and
# sampling above all). 1 point: the failure of the measure is specific, a model could exploit it. 1 point: the
# thing that cannot be done today is concrete, and follows from the answer that is named. 1 point: the other
# family is one that gives this, and what it gives up is named (a density, speed, sharpness, an order, freedom
# of architecture).
# ### END SOLUTION

# %% [markdown]
# ### 9 · Ship it: the model chooser (hard, 75 minutes)
#
# The last exercise is a tool to keep: a function that turns a brief into a recommendation, and a file
# that says the same to a person or to an assistant.
#
# A *brief* is a few English sentences. It names one domain, by a word of the table `DOMAINS` below, and
# it may state needs:
#
# | need | its words | what follows |
# |---|---|---|
# | likelihood | `likelihood`, `how probable` | whatever the domain, the task is `"density-estimation"`: a family that computes $p(x)$; never a GAN |
# | speed | `real time` | for the domain `picture` (no other) the task is `"fast-text-to-image"`, and a sample may take 0.1 seconds at most; never autoregression over pixels, never dozens of steps; other tasks stay as they are |
# | own data | `our own`, `my own` | the model is trained on them: `"fine-tune"` where at least one of the open models that you name has open weights, `"from scratch"` only where none has; without this need `"none"`: you train nothing on data of your own |
#
# - Case does not matter. A domain's word is a whole word, with or without a plural s: *surface* names no
#   face, *faces* does. It names its domain wherever it stands.
# - A sentence that contains *no*, *not* or *without* as a whole word denies the needs (not the domain) that
#   it names. A sentence ends with `.`, `!` or `?`. Needs are spelt as above: *real time*, not *real-time*.
# - Likelihood goes before speed where both are asked for.
# - A brief that names no domain, or two, gets a `ValueError`: better no advice than a guess.
#
# The rest is in the map: `ATLAS.tasks[task]` has `family`, `open` and `hosted` (ids, in the order of section
# 15's criteria) and `failure`; `ATLAS.models[id].openness` says `"open weights"`, `"code"`, `"hosted"`,
# `"withdrawn"` or `"paper only"`. Products end without notice: `ATLAS.models[id].retired` is `""` for what
# still stands, else the month of its end. Ask at every call, and recommend nothing that is retired, even
# where a task still lists it: then the next one of the list moves up, and if fewer than three stand, there
# are fewer.
#
# What training and a sample may cost is yours to estimate. For the order of magnitude: fine-tuning an open
# model by a small adapter takes from one to some ten GPU hours, training one from scratch from hundreds to
# hundreds of thousands; a large model takes seconds for a sample, a distilled one tenths of a second.
#
# `write_skill` writes a Markdown file. For each word of `DOMAINS` it has a heading `## word`, and below
# it what `choose` says to a brief that names this domain and no need: the family, the open and the
# hosted models by their ids, the failure, and the budget. A last section, `## Refusals`, lists what
# the chooser never recommends, and why: three items or more, each starting with a dash.

# %%
ATLAS = taxonomy.load()
DOMAINS = {  # a brief's word: the task of the map
    "picture": "text-to-image",
    "face": "faces",
    "film": "text-to-video",
    "voice": "speech",
    "song": "music",
    "essay": "text",
    "scene": "scenes-3d",
    "table": "tabular",
    "molecule": "molecules",
    "protein": "protein",
    "robot": "trajectories",
}


# %% exercise="choose"
def choose(task):
    """A recommendation for a brief (a string).

    Returns a dict: family (id); open and hosted (lists of ids, the first three of the map's that are not
    retired, in its order; fewer where it has fewer); failure (what is likely to go wrong, five words or
    more); budget, a dict of training ("none", "fine-tune" or "from scratch"), gpu_hours of training (0 for
    "none"; here every training from scratch takes more than every fine-tuning) and seconds for one sample
    (above 0).
    Raises ValueError if the brief does not name exactly one domain.
    """
    ### BEGIN SOLUTION
    # long: the chooser and the file that it ships, which must say the same
    said = [s for s in re.split(r"[.!?]", task.lower()) if not re.search(r"\b(no|not|without)\b", s)]

    def needs(*words):
        return any(word in sentence for word in words for sentence in said)

    domains = [word for word in DOMAINS if re.search(rf"\b{word}s?\b", task.lower())]
    if len(domains) != 1:
        raise ValueError(f"the brief names {len(domains)} domains, not one: {domains}")
    likelihood = needs("likelihood", "how probable")
    fast = needs("real time") and domains == ["picture"] and not likelihood
    name = "density-estimation" if likelihood else "fast-text-to-image" if fast else DOMAINS[domains[0]]
    row = ATLAS.tasks[name]
    alive = [[model for model in ids if not ATLAS.models[model].retired] for ids in (row.open, row.hosted)]
    weights = any(ATLAS.models[model].openness == "open weights" for model in alive[0][:3])
    training = "none" if not needs("our own", "my own") else "fine-tune" if weights else "from scratch"
    hours = {"none": 0, "fine-tune": 10, "from scratch": 1_000}[training]
    return {
        "family": row.family,
        "open": alive[0][:3],
        "hosted": alive[1][:3],
        "failure": row.failure,
        "budget": {"training": training, "gpu_hours": hours, "seconds": 0.05 if fast else 10.0},
    }
    ### END SOLUTION


def write_skill(path):
    """Write the chooser's advice for every domain, and its refusals, to a Markdown file at `path`.

    Makes the file's folder where there is none.
    """
    ### BEGIN SOLUTION
    lines = [
        "# Model chooser",
        "",
        "From a domain to a family of generative models, with models, failure and budget.",
        "",
    ]
    for word in DOMAINS:
        advice = choose(f"One {word}.")
        lines += [f"## {word}", ""]
        lines += [
            f"- {key}: {', '.join(v) or 'none known'}" for key, v in advice.items() if isinstance(v, list)
        ]
        lines += [f"- {key}: {v}" for key, v in advice.items() if not isinstance(v, list)]
        lines += [""]
    lines += [
        "## Refusals",
        "",
        "- No GAN where a likelihood is needed: it has none.",
        "- No autoregression over pixels for high resolution in real time: "
        "a million steps wait for each other.",
        "- No training from scratch where an open backbone covers the domain: fine-tuning costs a hundredth.",
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    ### END SOLUTION


# %% test="choose" points=4
advice = choose("We sell games. Draw one picture of a surface for each of them. It is not for real time.")
assert advice["family"] == "flow-matching", f"a picture, no need: the map's family, not {advice['family']}"
assert len(set(advice["open"])) == 3, f"three open models, not {advice['open']}"
assert advice["budget"]["training"] == "none", "nobody spoke of own data"
rare = choose("Find out HOW PROBABLE each of these faces is, in real time.")
density = ATLAS.families[rare["family"]].density
assert density == "tractable", f"a likelihood is needed, and {rare['family']} has the density {density!r}"
tuned = choose("Pictures in the style of our own shop.")["budget"]
assert tuned["training"] == "fine-tune" and tuned["gpu_hours"] > 0, f"open weights exist: {tuned}"
for unclear in ("Something nice, please.", "A song for my robot."):
    try:
        choose(unclear)
        raise AssertionError(f"no domain, or two, must raise ValueError: {unclear!r}")
    except ValueError:
        pass
write_skill("outputs/skill-model-chooser.md")
skill = Path("outputs/skill-model-chooser.md").read_text(encoding="utf-8")
assert all(f"## {word}\n" in skill for word in [*DOMAINS, "Refusals"]), (
    "a heading for each domain, and Refusals"
)

# %% [markdown]
# ## Further reading
#
# - M. Rosenblatt. *Remarks on some nonparametric estimates of a density function.* Annals of
#   Mathematical Statistics 27, 1956.
# - E. Parzen. *On estimation of a probability density function and mode.* Annals of Mathematical
#   Statistics 33, 1962.
# - B. W. Silverman. *Density Estimation for Statistics and Data Analysis.* Chapman and Hall, 1986.
#   How to choose a bandwidth, and why high dimensions hurt.
# - R. P. W. Duin. *On the choice of smoothing parameters for Parzen estimators of probability
#   density functions.* IEEE Transactions on Computers C-25, 1976. Leave one out.
# - L. Breiman, W. Meisel, E. Purcell. *Variable kernel estimates of multivariate densities.*
#   Technometrics 19, 1977.
# - H. B. Mann, D. R. Whitney. *On a test of whether one of two random variables is stochastically
#   larger than the other.* Annals of Mathematical Statistics 18, 1947.
# - C. Meehan, K. Chaudhuri, S. Dasgupta. *A non-parametric test to detect data-copying in
#   generative models.* 2020, arXiv:2004.05675.
# - L. Theis, A. van den Oord, M. Bethge. *A note on the evaluation of generative models.* 2016,
#   arXiv:1511.01844.
# - Y. Song, S. Ermon. *Generative Modeling by Estimating Gradients of the Data Distribution.* 2019,
#   arXiv:1907.05600.
# - Y. Song and others. *Score-Based Generative Modeling through Stochastic Differential Equations.* 2020,
#   arXiv:2011.13456.
# - T. Karras and others. *Analyzing and Improving the Image Quality of StyleGAN.* 2019, arXiv:1912.04958.
# - J. Copet and others. *Simple and Controllable Music Generation.* 2023, arXiv:2306.05284.
# - P. Esser and others. *Scaling Rectified Flow Transformers for High-Resolution Image Synthesis.* 2024,
#   arXiv:2403.03206.
# - D. P. Kingma, M. Welling. *Auto-Encoding Variational Bayes.* 2013, arXiv:1312.6114.
# - I. Goodfellow and others. *Generative Adversarial Networks.* 2014, arXiv:1406.2661.
# - J. Ho, A. Jain, P. Abbeel. *Denoising Diffusion Probabilistic Models.* 2020, arXiv:2006.11239.
# - J. Austin and others. *Structured Denoising Diffusion Models in Discrete State-Spaces.* 2021,
#   arXiv:2107.03006.
# - S. Nie and others. *Large Language Diffusion Models.* 2025, arXiv:2502.09992.
# - C. Zhou and others. *Transfusion: Predict the Next Token and Diffuse Images with One Multi-Modal Model.*
#   2024, arXiv:2408.11039.
# - B. Chen and others. *Diffusion Forcing: Next-token Prediction Meets Full-Sequence Diffusion.* 2024,
#   arXiv:2407.01392.

# %% tags=["demo"]
selfcheck.run("01_map")
