# %% [markdown]
# # 01 · The map
#
# > **To draw a sample and to say how likely it is are two different skills. Every family of
# > generative models pays for them: one with the other, with its shape, or with time.**
#
# | | |
# |---|---|
# | You will build | three models that fit on a page, first on numbers whose distribution is known, then on handwritten digits; one tiny model of each of the five buckets of the map; in the exercises, a model that writes words, and a chooser that says which family a task calls for |
# | You need to know | Python, NumPy, the normal distribution; a little PyTorch (tensors and their shapes) |
# | Time on two CPU cores | two minutes to run; 90 minutes to read (sections 10 to 12 are for looking up), or 45 by the sections with a ★, without their code; four hours to solve, best in three sittings; no GPU needed |

# %% folded="Imports and settings"
# long: imports, and every setting
import math
import time
from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display

import genmap
from genmap import board, data, diagram, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
torch.set_num_threads(1)  # on a CPU: the networks are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    widths=(13, 40, 40),
    reflected=((0.1,), (0.08, 0.1, 0.12), (0.06, 0.08, 0.1, 0.12, 0.14)),
    updates=(20, 1_500, 6_000),
    draws=(200, 2_000, 2_000),
)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## ★ You are here: at the door
#
# A *generative model* describes where data are likely to be. Write $p(x)$ for the density of the data at $x$. Two
# questions can be put to such a model: *give me a new $x$* (to draw), and *how likely is this $x$?* (to score).
#
# ## ★ The compromise
#
# For one number all of this is easy. For a picture it is hard, and scoring is the hardest: a density must
# add up to 1 over all possible pictures, and nobody can visit them all. So every family gives up a part of the problem
# to keep the rest. Here are three models as small as can be, each with its answers to the *five questions* that sort
# any generative model before you read how it works:
#
# | | histogram | kernel density estimate (KDE) | nearest-sample generator |
# |---|---|---|---|
# | What is modelled? | a number, later 64 of them | the same | the same |
# | Is the density explicit? | yes, exact | yes, exact, but of blurred data | no |
# | Is sampling one-shot (one go) or iterative (many steps)? | one-shot | one-shot | one-shot |
# | What conditions (steers) it? | nothing | nothing | nothing |
# | How is it evaluated, and how does that fail? | the mean of $\log p$ over *held-out* data, which it has not seen; one empty bin makes that $-\infty$ | the same; a good one does not mean good draws | by looking; a perfect look can be a copy |
#
# The middle one is old: Rosenblatt (1956) and Parzen (1962) put a small bump on every observation and added the bumps
# up. Half a century later neural networks took both sides of the choice: the variational autoencoder (Kingma and
# Welling, 2013) kept a density that is only bounded, the generative adversarial network (Goodfellow and others, 2014)
# gave the density up.
#
# ## ★ 1 · Three models of one number
#
# Begin where the right answer can be computed. The data are numbers with two modes,
#
# $$p(x) = \tfrac12\,\mathcal N(x;\,-\mu,\,\sigma^2) + \tfrac12\,\mathcal N(x;\,\mu,\,\sigma^2),
# \qquad \mu = 0.6,\quad \sigma = 0.4 ,$$
#
# where $\mathcal N(x; m, s^2)$ is the normal density with mean $m$ and standard deviation $s$. Its integral is known,
# $\Phi(t) = \tfrac12\,(1 + \operatorname{erf}(t/\sqrt 2))$, so the probability of any interval is known, too. We ask for
# that of $[-0.5, 0.5]$: the valley between the modes, and the inner flank of each.


# %% folded="Figure: what every generative model is" tags=["demo"]
diagram.machine(
    "x | the data -> [fit] -> θ | what is kept -> [draw, score | two skills] -> new x, log p(x) | or one",
    "ε, x | noise, a question -> draw, score",
    title="To draw, noise goes in; to score, a question. Not every family can do both",
)
plt.show()

# %%
# long: the truth, its samples, and the question
MU, SIGMA = 0.6, 0.4


def normal_pdf(x, mean, std):
    """N(x; mean, std^2), elementwise."""
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


normal_cdf = np.vectorize(lambda t: 0.5 * (1 + math.erf(t / math.sqrt(2))))


def mixture_pdf(x, std=SIGMA):
    """p(x) of the two-mode mixture; `std` is the width of each mode."""
    return 0.5 * normal_pdf(x, -MU, std) + 0.5 * normal_pdf(x, MU, std)


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
# From now on we pretend not to know the formula. A model sees the $N = 2{,}000$ numbers $x_i$ only.
#
# - **Histogram.** Cut the line into bins of width $\Delta$. If $n_k$ samples lie in bin $k$, then
#   $\hat p(x) = n_k / (N \Delta)$ there. (The hat says *estimate*; dividing by $N\Delta$ makes the bars' areas add up
#   to 1.) An interval of whole bins has the areas of its bars.
# - **KDE.** Put a normal bump of width $h$, the *bandwidth*, on every sample:
#   $\hat p_h(x) = \frac1N \sum_i \mathcal N(x;\,x_i,\,h^2)$. An interval has the mean of the bumps' probabilities.
# - **Nearest-sample generator.** Take a sample at random, move it by noise of width $h$, and snap to the sample that is
#   nearest to where you landed. That draws. It has no formula for $p$.


# %% build="three-models"
# long: three models on a page
def histogram(x, edges):
    """n_k / (N Delta) for each bin: (N,), (K + 1,) -> (K,). The bins have one width."""
    ### BEGIN SOLUTION
    n = np.histogram(x, edges)[0]
    return n / (len(x) * (edges[1] - edges[0]))
    ### END SOLUTION


def kde(x, points, h):
    """The kernel density estimate at x: (M,), (N,) -> (M,)."""
    ### BEGIN SOLUTION
    return normal_pdf(x[:, None], points, h).mean(axis=1)  # (M, N) -> (M,)
    ### END SOLUTION


def kde_mass(a, b, points, h):
    """P(a <= x <= b) under the kernel density estimate, exact for these points."""
    ### BEGIN SOLUTION
    return float(np.mean(normal_cdf((b - points) / h) - normal_cdf((a - points) / h)))
    ### END SOLUTION


def nearest_sample(points, n, h, rng):
    """n draws: blur a training point, snap to the nearest training point. (N,) -> (n,)"""
    ### BEGIN SOLUTION
    moved = rng.choice(points, size=n) + h * rng.normal(size=n)
    i = np.abs(moved[:, None] - points).argmin(axis=1)  # (n, N) -> (n,)
    return points[i]
    ### END SOLUTION


# %% check="three-models"
four = np.array([0.1, 0.2, 0.3, 1.2])
bars = histogram(four, np.array([0.0, 0.5, 1.0, 1.5]))
assert np.allclose(bars, [1.5, 0, 0.5]), f"3, 0 and 1 of 4 samples, over bins of 0.5: 1.5, 0, 0.5, not {bars}"
fine = np.linspace(-9, 9, 9_001)
area = kde(fine, four, 0.3).sum() * (fine[1] - fine[0])
assert math.isclose(area, 1, rel_tol=1e-6), f"the bumps must integrate to 1, not to {area}"
part = kde(fine[(fine > 0) & (fine < 1)], four, 0.3).sum() * (fine[1] - fine[0])
assert abs(kde_mass(0, 1, four, 0.3) - part) < 5e-3, f"an interval's mass is the integral over it, {part:.4f}"
snapped = nearest_sample(four, 50, 0.01, np.random.default_rng(0))
assert set(snapped) == set(four), "each draw is one of the training points, and each of them can be drawn"

# %%
h = 0.25
edges = np.linspace(-3, 3, 61)
density = histogram(x_train, edges)
middle = (edges[1:] + edges[:-1]) / 2
mass_histogram = density[(middle > a) & (middle < b)].sum() * 0.1
mass_kde = kde_mass(a, b, x_train, h)
drawn = nearest_sample(x_train, 20, h, np.random.default_rng(14))
print(f"explicit density (histogram): p(x in [-0.5, 0.5]) ≈ {mass_histogram:.4f}   exact {exact:.4f}")
print(f"explicit density, blurred (KDE): p(x in [-0.5, 0.5]) ≈ {mass_kde:.4f}   exact {exact:.4f}")
print("implicit (nearest-sample gen): 20 new samples printed, no p(x)")
print(np.array2string(drawn, precision=3, max_line_width=75, suppress_small=True))

# %% folded="Figure: the truth and the three models" tags=["demo"]
t = np.linspace(-2.2, 2.2, 441)
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
# The line is the truth. **The histogram** is right on average and wrong by luck: a share of $N$ samples has the
# standard deviation $\sqrt{p(1-p)/N} = 0.011$. **The KDE** is wrong for a reason. Average it over all training sets:
#
# $$\mathbb E\,\hat p_h(x) = \int p(y)\,\mathcal N(x;\,y,\,h^2)\,dy
# = \tfrac12\,\mathcal N(x;\,-\mu,\,\sigma^2 + h^2) + \tfrac12\,\mathcal N(x;\,\mu,\,\sigma^2 + h^2) .$$
#
# Each $x_i$ has density $p$, so the average of a bump is this integral; it is the density of a sample plus noise of
# width $h$; a sample is its mode's centre plus noise of width $\sigma$, and the variances of independent noises add. So
# the KDE is an exact density, a mixture of $N$ components, *of blurred data*. It shows what an explicit formula is
# worth when it is the formula of something else.
#
# **The nearest-sample generator** has no density: each draw is one of 2,000 points, and between them is nothing. It can
# *count*, though: the share of its draws that fall into an interval. That tells the probability of a *set*, never the
# density at a *point*.
#
# **Question.** What will its count be near: the truth, or the KDE's answer?
#
# <details><summary>Answer</summary>
#
# The KDE's. Before the snap its draws *are* draws of the KDE, and the snap hardly moves them.
# </details>

# %% tags=["demo"]
for width in (0.1, 0.25, 0.447, 0.6):
    blurred = float(mixture_mass(a, b, math.hypot(SIGMA, width)))  # std sqrt(sigma^2 + h^2)
    ours = kde_mass(a, b, x_train, width)
    print(f"h = {width}: KDE {ours:.4f}, its average {blurred:.4f}, exact {exact:.4f}")
rng = np.random.default_rng(3)
line = np.sort(x_train)  # a million draws of the generator; the nearest sample, by bisection
moved = rng.choice(line, size=1_000_000) + h * rng.normal(size=1_000_000)
snapped = line[np.searchsorted((line[1:] + line[:-1]) / 2, moved)]
counted = np.mean((a < snapped) & (snapped < b))
print(f"the nearest-sample generator: {counted:.4f} of a million draws, counted")
others = [kde_mass(a, b, mixture_sample(2_000, rng), h) for _ in range(200)]
print(f"KDEs of 200 other training sets: {np.mean(others):.4f} on average, ± {np.std(others):.3f}")
board.claim("The generator's count is near the KDE's answer.", bool(abs(counted - mass_kde) < 0.003))
board.claim("KDEs of other training sets are too high on average.", bool(np.mean(others) > exact + 0.005))

# %% [markdown]
# At $h = 0.25$ blur moves mass from the hills into the valley: more data would not mend that. At $h = 0.447$ the number
# looks fine, and the shape is lost: $\sqrt{\sigma^2 + h^2}$ has reached $\mu$, and there two normal curves at $\pm\mu$
# merge into one hill. One number can be right while the model is wrong.
#
# ## ★ 2 · The same three on handwritten digits
#
# Now 1,797 digits, scanned and shrunk to 8×8 pixels with 17 grey levels. The models see the training part, widths are
# chosen on the validation part, and figures are reported from the test part. A density needs continuous values: on 17
# steps a model could put an infinitely narrow spike on each and win any contest. So each pixel gets uniform noise of
# one step, $y = (16x + u)/17$, which is called *dequantisation* (lesson 08 proves that it can only make a model look
# worse). All densities of digits are densities of $y$ on $[0, 1]^{64}$, and **nats per digit** are the mean of
# $\log p(y)$ over held-out digits. The uniform density scores 0; higher is better.


# %%
def dequantise(x, seed):
    """Digits (N, 1, 8, 8) in 17 levels -> continuous y in [0, 1), (N, 64)."""
    u = torch.rand(len(x), 64, generator=torch.Generator().manual_seed(seed))
    y = (16 * torch.as_tensor(x).flatten(1) + u) / 17
    return y.clamp(max=1 - 2**-20)  # float32 could round up to 1


def to_pixels(y):
    """The inverse: y (N, 64) -> digits (N, 1, 8, 8) in 17 levels; values outside [0, 1) are clipped."""
    return ((17 * y).floor().clamp(0, 16) / 16).reshape(-1, 1, 8, 8)


digits = data.digits()
y_train, y_val, y_test = (dequantise(part.x, seed).to(device) for seed, part in enumerate(digits))
print({name: part.x.shape for name, part in digits._asdict().items()})

# %% [markdown]
# **The histogram is lost.** Cut every pixel into two levels only, ink and paper: that makes $2^{64} \approx 1.8 \cdot
# 10^{19}$ bins for 1,257 digits. We count below how many held-out digits fall into a bin that holds any training digit.
#
# **The other two** need nothing new but tensors and logarithms. Far from all data every bump is smaller than the
# smallest number that a computer can hold, so add in log space, where `logsumexp` pulls the largest term out first:
#
# $$\log \hat p_h(y) = \log\sum_{i=1}^N \exp\!\Big(\!-\frac{\lVert y - y_i\rVert^2}{2h^2}\Big)
# - \log N - \frac D2 \log(2\pi h^2) .$$
#
# A number needs company. Two models that know nothing about digits join in: a *single normal distribution* with the
# training digits' mean and covariance, and *independent pixels*, a histogram of 17 levels for each pixel on its own.


# %% build="in-64-dimensions"
# long: the KDE and the nearest-sample generator as functions of tensors
def log_kde(x, points, h, chunk=1_000):
    """log p_h(x) in nats (natural logarithm): (M, D), (N, D) -> (M,)."""
    ### BEGIN SOLUTION
    N, D = points.shape
    log_norm = math.log(N) + D / 2 * math.log(2 * math.pi * h**2)
    d2 = (torch.cdist(part, points).square() for part in x.split(chunk))  # each (chunk, N)
    return torch.cat([torch.logsumexp(d / (-2 * h**2), dim=1) for d in d2]) - log_norm
    ### END SOLUTION


def nearest(x, points, chunk=1_000):
    """Distance to the nearest point, and its index: (M, D), (N, D) -> (M,), (M,)."""
    found = [torch.cdist(part, points).min(dim=1) for part in x.split(chunk)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def draw_kde(points, n, h, generator):
    """n draws of the KDE: choose a point, add noise of the kernel's width. (N, D) -> (n, D)"""
    ### BEGIN SOLUTION
    start = torch.randint(len(points), (n,), generator=generator).to(points.device)
    return points[start] + h * torch.randn(n, points.shape[1], generator=generator).to(points.device)
    ### END SOLUTION


def nearest_generator(points, n, h, generator):
    """n draws of the nearest-sample generator: a draw of the KDE, snapped. (N, D) -> (n, D)"""
    ### BEGIN SOLUTION
    return points[nearest(draw_kde(points, n, h, generator), points)[1]]
    ### END SOLUTION


# %% check="in-64-dimensions"
P = torch.tensor(x_train, dtype=torch.float32, device=device)[:, None]  # (N, 1)
at = torch.linspace(-2, 2, 200, device=device)[:, None]
gap = log_kde(at, P, h, chunk=7).cpu().numpy() - np.log(kde(at[:, 0].cpu().numpy(), x_train, h))
assert np.abs(gap).max() < 1e-3, f"in one dimension it must agree with `kde`; off by {np.abs(gap).max():.4f}"
far = log_kde(torch.full((1, 1), 30.0, device=device), P, h).item()
assert -1e5 < far < -5e3, f"far out the log density is very negative, but finite, not {far}"
few = draw_kde(y_train[:3], 3_000, 0.1, torch.Generator().manual_seed(0))
spread = nearest(few, y_train[:3])[0].square().mean().sqrt().item()
assert abs(spread / 0.8 - 1) < 0.05, f"noise of 0.1 in 64 dimensions has the length 0.8, not {spread:.3f}"
copies = nearest_generator(y_train[:3], 50, 0.1, torch.Generator().manual_seed(0))
assert nearest(copies, y_train[:3])[0].max() < 1e-2, "each draw is one of the points"


# %%
# long: two models that know nothing about digits
def log_gauss(x, points):
    """log density in nats of the normal distribution fitted to the points: (M, D), (N, D) -> (M,)."""
    points, x = points.cpu().double(), x.cpu().double()
    return torch.distributions.MultivariateNormal(points.mean(0), points.T.cov()).log_prob(x)


def draw_gauss(points, n, generator):
    """n draws of it: the Cholesky factor gives standard normal noise the covariance. (N, D) -> (n, D)"""
    L = torch.linalg.cholesky(points.cpu().double().T.cov())
    noise = torch.randn(n, points.shape[1], generator=generator, dtype=torch.float64)
    return points.mean(0) + (noise @ L.T).to(points)


def pixel_table(points):
    """P(level) of each pixel, one count added to each of the 17 levels: (N, 64) -> (64, 17)."""
    levels = torch.nn.functional.one_hot((17 * points).long(), 17)  # (N, 64, 17)
    return (levels.sum(dim=0) + 1) / (len(points) + 17)


def log_pixels(x, points):
    """log density in nats of each pixel, to be added up: (M, 64), (N, 64) -> (M, 64)."""
    table = (17 * pixel_table(points)).log()  # a level is 1/17 wide, so density = 17 P
    return table[torch.arange(64, device=x.device), (17 * x).long()]


def draw_pixels(points, n, generator):
    """n draws of the independent pixels: (N, 64) -> (n, 64)."""
    levels = torch.multinomial(pixel_table(points).cpu(), n, replacement=True, generator=generator).T
    return ((levels + torch.rand(n, 64, generator=generator)) / 17).to(points.device)


def best(candidates, score):
    """The candidate with the highest score."""
    return max(candidates, key=lambda c: float(score(c)))


# %% tags=["demo"]
filled = {row.tobytes() for row in (2 * y_train).byte().cpu().numpy()}
hits = sum(row.tobytes() in filled for row in (2 * y_test).byte().cpu().numpy())
print(f"histogram with two levels a pixel: {hits} of {len(y_test)} held-out digits in a filled bin")
widths = np.geomspace(0.04, 0.6, S.widths)
h_digits = best(widths, lambda width: log_kde(y_val, y_train, width).mean())
nats = {
    "KDE": log_kde(y_test, y_train, h_digits).mean().item(),
    "single normal": log_gauss(y_test, y_train).mean().item(),
    "independent pixels": log_pixels(y_test, y_train).sum(1).mean().item(),
}
print(f"KDE with the validation digits' choice, h = {h_digits:.3f}")
for name, value in nats.items():
    print(f"{name:20} {value:6.1f} nats per held-out digit")
order = nats["KDE"] + 10 < nats["single normal"] < nats["independent pixels"] - 10
board.claim("The two models that know nothing about digits have better nats than the KDE.", bool(order))
board.claim("Even two levels a pixel leave most held-out digits in an empty bin.", hits < 0.1 * len(y_test))

# %% [markdown]
# **Question.** These are the nats. Order the *draws* of the three by how much they look like digits. And where will the
# draws of the nearest-sample generator stand? Run the next cell.
#
# <details><summary>Answer</summary>
#
# In the opposite order. The model with the best nats draws confetti, the KDE draws digits under noise, and the model
# without nats draws perfect digits.
# </details>

# %% folded="Figure: draws, from the best nats to none" tags=["demo"]
g = torch.Generator().manual_seed(6)
copies = nearest_generator(y_train, 15, h_digits, g)
rows = {
    f"independent pixels: {nats['independent pixels']:.0f} nats": draw_pixels(y_train, 15, g),
    f"single normal: {nats['single normal']:.0f} nats": draw_gauss(y_train, 15, g),
    f"KDE: {nats['KDE']:.0f} nats": draw_kde(y_train, 15, h_digits, g),
    "nearest sample: no $p(y)$": copies,
    "real digits, held out": y_test[:15],
}
fig, axes = plot.figure(len(rows), 1, height=0.97)
for ax, (title, y) in zip(axes, rows.items(), strict=True):
    plot.images(to_pixels(y), columns=15, ax=ax, title=title)
plt.show()

# %% [markdown]
# **From top to bottom the likelihood falls and the samples improve.** (Theis and others, 2016, show that this is no
# accident: a model can do well by likelihood and badly by looks, and the other way round. The KDE stands here as it is;
# section 3 finds what its nats suffer from, and mends it.) And the perfect row? Put each of its digits beside the
# training digit that is nearest.

# %% folded="Figure: ten of ten" tags=["demo"]
distance, index = nearest(copies[:10], y_train)
fig, axes = plot.figure(2, 1, height=1.25)
titles = "Drawn by the nearest-sample generator", "Nearest training digit, and the distance to it"
captions = [""] * 10, [f"{d:.1f}" for d in distance]
for ax, y, title, below in zip(axes, (copies[:10], y_train[index]), titles, captions, strict=True):
    plot.images(to_pixels(y), ax=ax, title=title, captions=below)
plt.show()
start = torch.randint(len(y_train), (1_000,), generator=g).to(device)
moved = y_train[start] + h_digits * torch.randn(1_000, 64, generator=g).to(device)
back = (nearest(moved, y_train)[1] == start).double().mean().item()
print(f"of 1,000 snaps {back:.1%} end at the digit from which they started")
board.claim("Ten of ten are copies.", torch.equal(copies[:10], y_train[index]))
board.claim("Nearly every snap ends at the digit from which it started.", back > 0.97)

# %% [markdown]
# Ten of ten are copies. The generator has a drawer full of digits, and nearly every snap ends at the digit from which
# it started: its noise moves nothing.
#
# None of these models *learned* anything: none found out that digits are made of strokes, and that a stroke seen in one
# digit may turn up in another. **A model that can, and still draws or still says how likely, is what each of the
# following lessons builds.** (You build the first one yourself, in exercise 6.)
#
# ## 3 · Why the bumps fail: shells and edges
#
# Where is the mass of a bump? Noise $h\varepsilon$ with $\varepsilon \sim \mathcal N(0, I)$ in $D$ dimensions has the
# mean squared length $h^2\,\mathbb E \sum_d \varepsilon_d^2 = D h^2$, and a sum of so many terms hardly scatters. So in
# 64 dimensions a bump is a *shell* of radius $8h$: its density is highest in the middle, and nothing is there. To give
# a held-out digit a share, the shell must reach as far as the nearest training digit is.
#
# But a shell of that radius leaves the range of the pixels. Many are white in nearly every digit, that is
# $0 \le y < 1/17$, and nearly half of a wide bump there falls below 0. *Reflect* the bumps at 0 and 1, so that what falls out
# comes back (each bump $b(y - y_i)$ becomes $b(y - y_i) + b(y + y_i) + b(2 - y - y_i)$, pixel by pixel):


# %% tags=["demo"]
# long: shells, edges and the pixels that are always white, measured
def log_reflected(x, points, h):
    """log density in nats of the KDE with bumps reflected at 0 and 1: (M, D), (N, D) -> (M,)."""
    parts = []
    for part in x.split(30):
        bumps = sum((-(part[:, None] - m).square() / (2 * h**2)).exp() for m in (points, -points, 2 - points))
        parts.append(torch.logsumexp(bumps.log().sum(2), dim=1))  # (30, N, D) -> (30, N) -> (30,)
    return torch.cat(parts) - math.log(len(points)) - points.shape[1] / 2 * math.log(2 * math.pi * h**2)


radius = (draw_kde(y_train[:1], 1_000, h_digits, torch.Generator().manual_seed(7)) - y_train[0]).norm(dim=1)
d_test = nearest(y_test, y_train)[0].median().item()
print(
    f"1,000 draws of one bump: radius {radius.mean():.2f} ± {radius.std():.2f}, at least {radius.min():.2f}"
)
print(f"from a held-out digit to its nearest training digit, the median: {d_test:.2f}")
h_reflected = best(S.reflected, lambda width: log_reflected(y_val, y_train, width).mean())
reflected = log_reflected(y_test, y_train, h_reflected).mean().item()
below = (draw_kde(y_train, 1_000, h_digits, torch.Generator().manual_seed(8)) < 0).double().mean(0).max()
print(f"KDE: {nats['KDE']:.1f} nats, reflected {reflected:.1f}", end="; ")
print(f"in the whitest pixel {below:.0%} of its draws are below 0")
white = (y_train < 1 / 17).double().mean(0) > 0.99
by_pixel = log_pixels(y_test, y_train).mean(0)
print(f"{white.sum()} pixels are white in over 99% of the training digits: independent pixels have", end=" ")
print(f"{by_pixel[white].sum():.1f} of their {by_pixel.sum():.1f} nats from these alone")
ratio = radius.mean().item() / d_test
board.claim("A bump's shell reaches about as far as the nearest training digit.", 0.7 < ratio < 1.3)
board.claim("To reflect its bumps gives the KDE more than 20 nats.", reflected > nats["KDE"] + 20)
board.claim("Reflected, the KDE passes the single normal.", reflected > nats["single normal"])
behind = nats["independent pixels"] - nats["KDE"]
board.claim("The edge is more than half of what it lacked.", reflected - nats["KDE"] > behind / 2)
share = by_pixel[white].sum() / by_pixel.sum()
board.claim("A few white pixels give independent pixels a third of their nats.", bool(share > 1 / 3))

# %% [markdown]
# So more than half of what the KDE lacked against independent pixels was no fact about digits: it was the edge. Mended,
# the KDE stands above the single normal in nats, too (whose edge we left as it is). Independent pixels stay ahead of
# both, with the worst draws, and owe a third of their nats to a few pixels that are nearly always white. Nats reward
# every detail of the density, also those that no eye looks at. That is why each lesson of this course reports more than
# one number.
#
# ## ★ 4 · The map
#
# Three small models stand for three of the answers that exist. Here is every family of generative models that the course
# builds, with some of its best-known members. The tree asks whether a family writes a density down, and how. The colours
# are the five *working buckets* of this course, for what a family gives up decides how it is trained, sampled and judged.
# A dashed edge, in the colour of another bucket, is another view: some count the family there.

# %% folded="Figure: the map" tags=["demo"]
taxonomy.figure()
plt.show()

# %% [markdown]
# | bucket | gives up | learns by | draws by | for example |
# |---|---|---|---|---|
# | **1** explicit, tractable | freedom: a shape or an order, so that $p(x)$ adds up to 1 by construction | raising the mean $\log p(x)$ of the data | one number after the other (autoregression), or in one pass (mixtures, flows) | PixelCNN, GPT; RealNVP; the histogram and the KDE |
# | **2** explicit, approximate | the exact value: it has a *bound* on $\log p(x)$, or $p(x)$ up to a factor that nobody knows | raising the bound; or making data likelier than the model's own draws | a short hidden vector, then a decoder; or a long chain of small noisy steps (energies) | VAE; energy-based models; DDPM as it was derived |
# | **3** implicit | $p(x)$ altogether | letting a judge compare a pile of draws with a pile of data, and pleasing the judge | one pass | GAN, StyleGAN; the nearest-sample generator |
# | **4** score / continuous time | one pass and, as it is used, the density: it knows a direction at every noise level | regression: guess the noise, or the way back, of data that one has spoilt oneself | many small steps from noise to data | score SDE; flow matching; Stable Diffusion 3 |
# | **5** autoregression over discrete codes | the data themselves: it models codes of them | two stages: a *tokenizer* learns to restore data from few whole numbers; then as in 1, on these numbers | code after code, then a decoder | Parti, MusicGen |
#
# *Why is 5 not 1?* Its likelihood is exact, but it is one of codes. Many $x$ share a code, the decoder gives back one of
# them, and what the tokenizer dropped is lost for both questions. So the nats of two tokenizers cannot be compared, and
# the quality of draws has a ceiling that the likelihood does not see. (GPT writes tokens, too, but its tokenizer drops
# nothing: the text comes back letter by letter, so GPT is 1. Stable Diffusion 3 models latents that drop something; it
# is counted by what it does with them, which is 4.)
#
# **Some stand in two places.** A *score*, as the name of a family, is the gradient $\nabla_x \log p(x)$ (*to score*, the
# second skill, means $\log p(x)$ itself, and a board's score is a count of votes). It says in which direction a sample gets
# likelier, and leaves out how likely it is. Some authors count score models as implicit: they know directions, not
# probabilities, and Langevin dynamics turns directions into samples (Song and Ermon, 2019). Others give them a bucket
# of their own, because who knows the score of the data blurred by *every* amount of noise can compute the density on
# the way (Song and others, 2020; lesson 21). *Flow matching* (Lipman and others, 2022) learns a close relative, a
# *velocity*: where to, and how fast, a point must move so that noise becomes data. *Diffusion* (Ho, Jain and Abbeel,
# 2020) was derived as a bound, beside the VAE, and is trained as a score model. *Masked diffusion* fills gaps of a text,
# many at once: text need not be written word by word (Austin and others, 2021; Nie and others, 2025). And one network can
# write words by the next token and draw what stands between them by diffusion (Zhou and others, 2024).
#
# **What is not on the map.** A classifier models $p(y \mid x)$, the class given the picture; it never says what pictures
# look like. That is a *discriminative* model. Everything here models $p(x)$, or $p(x \mid y)$. Bayes' rule turns the
# second kind into the first (lesson 02); no rule leads back.
#
# ## ★ 5 · One data set, five tiny models
#
# To see the five columns at work, give each bucket the same 2,000 points, two half moons of radius 1.4 with noise of
# width 0.12 around them. Each model is as small as it can be. We keep the *way* of a few draws, from where they start
# to where they end, and one measure: **off**, the share of draws that lie more than 0.36, three widths of the noise,
# from both half circles.


# %%
# long: the data, the measure, and what the networks share
moons = torch.as_tensor(data.toy("moons", 2_000, seed=1), device=device)
angle = torch.linspace(0, math.pi, 400, device=device)
arc = torch.stack([angle.cos(), angle.sin()], dim=1)
ARCS = 1.4 * (torch.cat([arc, torch.tensor([1.0, 0.5]).to(arc) - arc]) - torch.tensor([0.5, 0.25]).to(arc))


def off(x):
    """The share of x (n, 2) that lies farther than 0.36 from both half circles."""
    return (nearest(x, ARCS)[0] > 0.36).double().mean().item()


def network(inputs, outputs):
    """Two hidden layers of 64."""
    sizes = [torch.nn.Linear(inputs, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU()]
    return torch.nn.Sequential(*sizes, torch.nn.Linear(64, outputs)).to(device)


def train(parameters, loss, title):
    """Minimise loss(batch) over the moons, 256 points at a time."""
    optimizer = torch.optim.Adam(parameters, 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=S.updates)
    for _ in progress.track(range(S.updates), title=title):
        value = loss(moons[torch.randint(len(moons), (256,), device=device)])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


def randn(n, D=2):
    """Standard normal noise, (n, D)."""
    return torch.randn(n, D, device=device)


# %% [markdown]
# **Bucket 1: one number after the other.** Any density of two numbers is $p(x_1, x_2) = p(x_1)\,p(x_2 \mid x_1)$. Give
# both factors bins of width $\Delta = 6/32$: a table for $x_1$, and for each of its bins a table for $x_2$. The
# likelihood of the data is highest where each table holds shares, so *learning is counting*.


# %% build="one-after-the-other"
def fit_tables(x, bins=32):
    """p(x1's bin) (bins,) and p(x2's bin | x1's bin) (bins, bins), on [-3, 3] x [-3, 3]; x: (N, 2)."""
    ### BEGIN SOLUTION
    k = ((x + 3) / 6 * bins).long().clamp(0, bins - 1)
    n = torch.zeros(bins, bins).to(x)
    n.index_put_((k[:, 0], k[:, 1]), torch.ones(len(x)).to(x), accumulate=True)
    first = n.sum(dim=1)
    return first / len(x), (n + 1e-6) / (first[:, None] + bins * 1e-6)
    ### END SOLUTION


def draw_tables(first, second, n):
    """x1 from its table, then x2 from the table of x1's bin; each somewhere in its bin. -> (n, 2)"""
    ### BEGIN SOLUTION
    k1 = torch.multinomial(first, n, replacement=True)
    k2 = torch.multinomial(second[k1], 1)[:, 0]
    k = torch.stack([k1, k2], dim=1)
    return (k + torch.rand(n, 2).to(first)) / len(first) * 6 - 3
    ### END SOLUTION


# %% check="one-after-the-other"
torch.manual_seed(0)
three = torch.tensor([[-2.9, -2.9], [-2.9, 2.9], [2.9, 0.1], [2.9, 0.1]], device=device)
first, second = fit_tables(three, bins=2)
assert torch.allclose(first, torch.tensor([0.5, 0.5]).to(first)), f"half of x1 in each bin, not {first}"
assert torch.allclose(second[0], torch.tensor([0.5, 0.5]).to(first), atol=1e-3), (
    "the left bin sees both of x2"
)
assert second[1, 1] > 0.99, "the right bin has only seen an x2 above 0"
x_new = draw_tables(first, second, 400)
assert (x_new[x_new[:, 0] > 0, 1] > 0).all(), "given an x1 on the right, x2 must be above 0"
assert 120 < (x_new[:, 0] > 0).sum() < 280, "half of the x1 lie on the right"

# %% tags=["demo"]
torch.manual_seed(1)
first, second = fit_tables(moons)
draws = {1: draw_tables(first, second, S.draws)}
one = draws[1][:30]
ways = {
    1: torch.stack([torch.stack([one[:, 0], torch.full_like(one[:, 0], -2.4)], 1), one])
}  # (steps, 30, 2)
k1, k2 = 16, 16  # the bin whose lower left corner is (0, 0)
print(f"bucket 1: p(0, 0) = {(first[k1] * second[k1, k2]).item() / (6 / 32) ** 2:.1e}, exact for this model")

# %% [markdown]
# **Bucket 2: a hidden vector.** A *decoder* $f$ turns hidden numbers $z \sim \mathcal N(0, I)$ into a point, and noise
# of width $s$ comes on top: $p(x) = \int \mathcal N(z; 0, I)\,\mathcal N(x; f(z), s^2 I)\,dz$. That is a formula, and
# nobody can integrate it in many dimensions. An *encoder* guesses $q(z \mid x)$, normal, and what is raised is a number
# that lies below $\log p(x)$ for certain (lesson 10 derives it):
# $\mathbb E_q \log \mathcal N(x; f(z), s^2 I) - \mathrm{KL}(q\,\|\,\mathcal N(0, I))$. Here $z$ has two dimensions, so a
# fine grid can do the integral, and we see both: the bound and what it bounds.

# %% tags=["demo"]
# long: a variational autoencoder, trained, drawn from, and its bound held to the integral
encoder, decoder, log_s = network(2, 4), network(2, 2), torch.nn.Parameter(torch.tensor(-1.0, device=device))


def bound(x):
    """A lower bound of log p(x) in nats, with one z for each x: (M, 2) -> (M,)."""
    mean, log_var = encoder(x).chunk(2, dim=1)
    z = mean + (log_var / 2).exp() * torch.randn_like(mean)
    log_likelihood = torch.distributions.Normal(decoder(z), log_s.exp()).log_prob(x).sum(dim=1)
    return log_likelihood - 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(dim=1)


train([*encoder.parameters(), *decoder.parameters(), log_s], lambda x: -bound(x).mean(), "bucket 2")
with torch.no_grad():
    z = randn(S.draws)
    draws[2] = decoder(z) + log_s.exp() * torch.randn_like(z)
    ways[2] = torch.stack([z[:30], decoder(z[:30]), draws[2][:30]])
    below = torch.stack([bound(moons[:300]) for _ in range(50)]).mean().item()
    line = torch.linspace(-4, 4, 81, device=device)
    grid = torch.cartesian_prod(line, line)
    log_w = -0.5 * grid.square().sum(1) - math.log(2 * math.pi) + 2 * math.log(0.1)
    at = torch.cat([moons[:300], torch.zeros(1, 2, device=device)])
    log_x = torch.distributions.Normal(decoder(grid), log_s.exp()).log_prob(at[:, None]).sum(2)  # (301, 6561)
    log_p = torch.logsumexp(log_w + log_x, dim=1)
near = torch.distributions.Normal(ARCS, 0.12).log_prob(torch.zeros(2).to(ARCS)).sum(1).exp().mean()
print(f"bucket 2: p(0, 0) = {log_p[-1].exp():.4f} by a grid over z; the truth {near:.1e}", end="; ")
print(f"300 points: bound {below:.3f}, log p(x) {log_p[:300].mean():.3f} nats each")
board.claim("The bound lies below what it bounds.", below < log_p[:300].mean().item())
board.claim("In the gap the decoder's density is far too high.", log_p[-1].exp() > 1_000 * near)

# %% [markdown]
# **Bucket 3: a judge.** A *generator* turns noise into points in one pass. The judge compares piles: with $x, x'$ from
# the data and $g, g'$ from the generator, $2\,\mathbb E\lVert x - g\rVert - \mathbb E\lVert g - g'\rVert - \mathbb
# E\lVert x - x'\rVert$ is never negative, and 0 only if the two piles have one law (the *energy distance*, Székely and
# Rizzo, 2013). In a GAN the judge is a second network (lesson 13).
#
# **Bucket 4: a velocity.** Take a point of noise $e$, a point of data $x$ and a time $t$ between 0 and 1. On the
# straight way from one to the other a network must guess the velocity $x - e$. Many ways cross, so it learns their mean;
# to draw, follow it in 40 small steps. (Why the mean is the right answer is lesson 23.)

# %% tags=["demo"]
# long: two networks, trained and drawn from
generator, velocity = network(2, 2), network(3, 2)


def judge(x):
    """The energy distance to as many draws, without the term of the data alone; x: (M, 2) -> a number."""
    g = generator(torch.randn_like(x))
    return 2 * torch.cdist(x, g).mean() - torch.cdist(g, g).sum() / (len(g) * (len(g) - 1))


def regression(x):
    """The squared error of the guessed velocity at a random place of the way; x: (M, 2) -> a number."""
    e, t = torch.randn_like(x), torch.rand(len(x), 1, device=x.device)
    guess = velocity(torch.cat([(1 - t) * e + t * x, t], dim=1))
    return (guess - (x - e)).square().mean()


train(generator.parameters(), judge, "bucket 3")
train(velocity.parameters(), regression, "bucket 4")
with torch.no_grad():
    z = randn(S.draws)
    draws[3] = generator(z)
    ways[3] = torch.stack([z[:30], draws[3][:30]])
    steps = [randn(S.draws)]
    for k in range(40):
        time_k = torch.full((S.draws, 1), k / 40, device=device)
        steps.append(steps[-1] + velocity(torch.cat([steps[-1], time_k], dim=1)) / 40)
    draws[4], ways[4] = steps[-1], torch.stack(steps)[:, :30]

# %% [markdown]
# **Bucket 5: codes.** The tokenizer is a pair of code books with 8 entries each. The first entry is the nearest of 8
# centres (*k-means*: each centre moves to the mean of its points, again and again); the second is the nearest of 8
# centres of what is left over, the *residual*. A point becomes two whole numbers; then as in bucket 1, a table for the
# first and a table for the second given the first. The decoder adds the two centres.


# %% tags=["demo"]
# long: k-means, the two code books, and draws
def k_means(x, K, rounds=30):
    """K centres (K, D) of the points x (N, D), and each point's centre (N,)."""
    centres = x[torch.randperm(len(x), device=x.device)[:K]]
    for _ in range(rounds):
        code = torch.cdist(x, centres).argmin(dim=1)
        mine = torch.nn.functional.one_hot(code, K).to(x)  # (N, K)
        count = mine.sum(dim=0)[:, None]
        centres = torch.where(count > 0, mine.T @ x / count.clamp(min=1), centres)
    return centres, torch.cdist(x, centres).argmin(dim=1)


torch.manual_seed(2)
coarse, c1 = k_means(moons, 8)
fine, c2 = k_means(moons - coarse[c1], 8)
n = torch.zeros(8, 8).to(moons).index_put((c1, c2), torch.ones_like(moons[:, 0]), accumulate=True)
code = torch.multinomial(n.flatten(), S.draws, replacement=True)  # p(c1) p(c2 | c1) = n / N
draws[5] = coarse[code // 8] + fine[code % 8]
ways[5] = torch.stack([torch.zeros_like(draws[5]), coarse[code // 8], draws[5]])[:, :30]
print(f"bucket 5: {len(draws[5].unique(dim=0))} different points among {S.draws:,} draws", end="; ")
p = n / n.sum()
print(f"the codes of the data have {torch.xlogy(p, p).sum():.2f} nats a point, which are no nats of x")
board.claim("Bucket 5 draws at most 64 different points.", len(draws[5].unique(dim=0)) <= 64)

# %% folded="Figure: five buckets, and the way of thirty draws" tags=["demo"]
# long: six panels, one look
names = ("1 · one after the other", "2 · hidden vector", "3 · one pass", "4 · small steps", "5 · codes")
fig, axes = plot.figure(2, 3, height=3.1)
axes = axes.flatten()
axes[0].scatter(*moons.cpu().T, s=4, color=plot.COLOURS.grey)
axes[0].set(title="The data", xlabel=" ")
shares = {}
for k, (ax, name) in enumerate(zip(axes[1:], names, strict=True), start=1):
    shares[k] = off(draws[k])
    ax.scatter(*draws[k].cpu().T, s=4, color=plot.COLOURS.sky, alpha=0.7)
    way = ways[k].cpu()
    ax.plot(way[:, :, 0], way[:, :, 1], color=plot.COLOURS.vermilion, lw=0.6, alpha=0.55)
    ax.plot(*way[0].T, ".", color=plot.COLOURS.grey, ms=3)
    ax.plot(*way[-1].T, ".", color=plot.COLOURS.vermilion, ms=5)
    ax.set_title(name)
    ax.set_xlabel(f"off: {shares[k]:.0%}", loc="right")
for ax in axes:
    ax.set(xlim=(-2.8, 2.8), ylim=(-2.8, 2.4), aspect="equal", xticks=[], yticks=[])
    ax.grid(visible=False)
plt.show()
print("off:", {k: f"{share:.1%}" for k, share in shares.items()}, f"data: {off(moons):.1%}")
board.claim("The tables and the codes draw hardly anything off the moons.", max(shares[1], shares[5]) < 0.05)
strays = [shares[k] for k in (2, 3, 4)]
board.claim(
    "The three networks put between a twentieth and a third of their draws off the moons.",
    min(strays) > 0.05 and max(strays) < 1 / 3,
)

# %% [markdown]
# Grey dots are where a way starts, red ones where it ends. Bucket 1 chooses $x_1$ on the lower edge and goes straight up
# to its $x_2$. Buckets 2, 3 and 4 must carry one round cloud of noise to two moons. A continuous map cannot tear, so
# each leaves a bridge between them; and networks as small, and as briefly trained, as these leave more than that: the
# figure says how many draws lie off. Bucket 5 jumps to a coarse centre, then to a fine one, and knows at most 64 places.
#
# In two dimensions counting beats the networks. Section 2 has shown what becomes of counting in 64. The rest of the
# course is about the middle columns of the table in section 4: what a family gives up, how it learns, how it draws.
#
# **Question.** *How likely is the point $(0, 0)$?* What can each of the five say?
#
# <details><summary>Answer</summary>
#
# The truth is nearly 0: the point lies in the gap, five widths of the noise from either moon. 1: a density, exact for
# this model, and tiny: no point fell into the bin, and the $10^{-6}$ that `fit_tables` adds is all that keeps it from 0.
# 2: a bound; the value itself by an integral that only works with few hidden numbers; here it is far too high, for the
# bridge runs through the gap. 3: nothing; a count for a region around it. 4: nothing as it is; a value by following a differential equation
# (lesson 21). 5: a probability of the code that the point has, which it shares with all points of its cell.
# </details>
#
# ## 6 · Play: what does the width do?
#
# Back on the line. $\hat p$ has one more number now: $\alpha$, a count that is added to each of the $K$ bins, so that no
# bin is empty: $\hat p(x) = (n_k + \alpha) / ((N + \alpha K)\,\Delta)$. Move the sliders. For every position both models
# are computed anew and scored on 2,000 fresh samples, in nats per sample. *Which of the two forgives a wrong width more
# readily, and on which side?* Compare like with like: a bin spreads the mass of a sample evenly over its width, with
# standard deviation $\Delta/\sqrt{12}$, a bump with standard deviation $h$. So $\Delta = 2$ is a match for $h = 0.58$.
#
# Where the sliders do not move, the figures under them say the same. **What breaks:** both widths can be too small, and
# both too large. The cure is one that we use for every setting in this course: try several, keep the one under which
# held-out data are likeliest.

# %%
# long: the histogram with an added count, and the score of two widths
LOW, HIGH = -3.0, 3.0  # the line that the bins cover
H = torch.tensor(mixture_sample(2_000, np.random.default_rng(7)), dtype=torch.float32, device=device)[:, None]
P = torch.tensor(x_train, dtype=torch.float32, device=device)[:, None]  # (N, 1)
ceiling = float(np.log(mixture_pdf(H.cpu().double().numpy())).mean())


def log_histogram(x, points, delta, alpha=0.0):
    """log p(x) in nats; -inf in an empty bin and outside the bins: (M,), (N,) -> (M,)."""
    K = math.ceil((HIGH - LOW) / delta)

    def bin_of(v):
        return ((v - LOW) / delta).long().clamp(0, K - 1)

    n = torch.bincount(bin_of(points), minlength=K)
    density = (n + alpha) / ((len(points) + alpha * K) * delta)
    return density.log()[bin_of(x)].masked_fill((x < LOW) | (x >= HIGH), -math.inf)


def held_out_nats(delta, h, x=H):
    """Mean log density of x (M, 1) under the histogram with bins `delta` and the KDE with bandwidth `h`."""
    by_histogram = log_histogram(x[:, 0], P[:, 0], delta, alpha=1.0).mean()
    return by_histogram.item(), log_kde(x, P, h).mean().item()


# %% folded="Control: two widths; and figures that say the same" tags=["demo"]
# long: a picture of both models, two sliders, six panels and a curve
def play(delta, h, axes=None, lw=1.6):
    """Draw both models at these widths, with their held-out log-likelihood."""
    x = torch.linspace(-2.2, 2.2, 2001, device=device)
    models = log_histogram(x, P[:, 0], delta, alpha=1.0), log_kde(x[:, None], P, h)
    names = rf"$\Delta$ = {delta:.3g}", f"$h$ = {h:.3g}"
    shown = plot.figure(1, 2, height=2.8)[1] if axes is None else axes
    for ax, log_p, name, score in zip(shown, models, names, held_out_nats(delta, h), strict=True):
        ax.fill_between(t, mixture_pdf(t), color=plot.RULE)
        ax.plot(x.cpu(), log_p.exp().cpu(), color=plot.COLOURS.blue, lw=lw)
        ax.set(ylim=(0, 1.0), xlim=(-2.2, 2.2), xticks=[-2, 0, 2])
        ax.text(0, 0.9, f"{name}: ${score:.3f}$ nats", ha="center", fontsize=10)
    if axes is None:
        plt.show()


def slider(name, value):
    """A slider from 0.003 to 2, even in the logarithm."""
    look = {"style": {"description_width": "9em"}, "layout": {"width": "34em"}}
    return widgets.FloatLogSlider(
        value, min=-2.5, max=0.3, step=0.05, description=name, continuous_update=False, **look
    )


controls = interact(play, delta=slider("bin width Δ", 0.1), h=slider("bandwidth h", 0.25))
scan = np.geomspace(0.003, 2, S.widths)
curves = np.array([held_out_nats(w, w) for w in progress.track(scan, title="widths")])  # (widths, 2)
best_delta, best_h = scan[curves.argmax(axis=0)]
fig, axes = plot.figure(2, 3, height=2.3)
for column, (delta, width) in enumerate(((0.004, 0.004), (best_delta, best_h), (2.0, 2 / math.sqrt(12)))):
    play(delta, width, axes[:, column], lw=0.7 if column == 0 else 1.8)
    axes[0, column].set_title(("Too small", "Held-out choice", "Too large")[column])
axes[0, 0].set_ylabel("histogram")
axes[1, 0].set_ylabel("KDE")
plt.show()
fig, ax = plot.figure(height=3.2)
train_curve = [log_kde(P, P, w).mean().item() for w in scan]
colours = plot.COLOURS.orange, plot.COLOURS.blue
names, spreads = ("histogram", "KDE"), (scan / math.sqrt(12), scan)
for name, x, curve, colour in zip(names, spreads, curves.T, colours, strict=True):
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
F = torch.tensor(mixture_sample(2_000, np.random.default_rng(9)), dtype=torch.float32, device=device)[:, None]
fresh_nats = held_out_nats(best_delta, best_h, F)  # on samples that have chosen nothing
print(f"chosen: Δ = {best_delta:.3f}, h = {best_h:.3f}; on 2,000 further samples", end=" ")
truth_nats = np.log(mixture_pdf(F.cpu().numpy())).mean()
print(f"{fresh_nats[0]:.4f} and {fresh_nats[1]:.4f} nats; the truth {truth_nats:.4f}")
wide, thin = held_out_nats(2.0, 2 / math.sqrt(12)), held_out_nats(0.02, 0.02 / math.sqrt(12))
bare = log_histogram(H[:, 0], P[:, 0], 0.05).isinf().sum().item()
print(f"spread 0.58: histogram {wide[0]:.2f}, KDE {wide[1]:.2f} nats; 0.006: {thin[0]:.2f} and {thin[1]:.2f}")
print(f"without α, bins of 0.05: {bare} of 2,000 held-out samples in an empty bin, so the mean is -inf")
board.claim("Too narrow, the KDE loses more than the histogram.", thin[1] < thin[0])
board.claim("Too wide, the histogram loses more than the KDE.", wide[0] < wide[1])
board.claim(
    "For its own training samples the narrowest kernel is the best.", int(np.argmax(train_curve)) == 0
)
board.claim("Without α one empty bin makes the mean minus infinity.", bare > 0)

# %% [markdown]
# Too narrow, the KDE is the stricter one: a held-out sample at distance $d$ from its nearest training sample pays about
# $d^2 / 2h^2$ nats, without limit, where $\alpha$ gives the histogram a floor. Too wide, the KDE forgives more: its
# bumps still follow the data, while the bins lie where they lie. And the dotted line shows why training data cannot
# choose: for them the narrowest kernel is the best. (The highest of forty results is
# partly luck. So the printed line counts again, on samples that have chosen nothing.)
#
# ## 7 · What breaks: a copy under noise
#
# The nearest-sample generator copies. Can noise mend it? A copy with noise of width $h$ *is* a draw of the KDE. Below,
# $h$ grows from row to row. We measure how far a draw is from its nearest training digit; held-out digits say what an
# honest distance is. And we ask whether that nearest digit is the one from which the draw was made.

# %% folded="Figure: copies under more and more noise" tags=["demo"]
fig, axes = plot.figure(4, 1, height=0.97)
traced = {}
for ax, width in zip(axes, (0.0, 0.04, h_digits, 0.3), strict=True):
    g = torch.Generator().manual_seed(8)  # the same start digits in each row
    start = torch.randint(len(y_train), (500,), generator=g).to(device)
    many = y_train[start] + width * torch.randn(500, 64, generator=g).to(device)
    d, i = nearest(many, y_train)
    traced[width] = (i == start).double().mean().item()
    plot.images(
        to_pixels(many[:15]), columns=15, ax=ax, title=f"$h$ = {width:.2f}: distance {d.median():.2f}"
    )
    print(f"h = {width:.2f}: distance {d.median():.2f}, {traced[width]:.1%} nearest to their own start")
print(f"held-out digits: distance {d_test:.2f}")
plt.show()
board.claim(
    "At the chosen h nearly every draw is nearest to the digit it was made from.", traced[h_digits] > 0.97
)

# %% [markdown]
# At the chosen $h$ the draws are about as far from the training set as real new digits are, so a distance acquits them.
# Yet nearly every one is nearest to the digit it was made from: an old digit under noise. Noise moves a copy in a random
# direction of 64, and nothing in the model knows which directions lead to another digit. No width mends that; it takes
# a model that learns directions. (Bumps with a shape of their own are a first step: Vincent and Bengio, 2003.) Exercise 5 builds an alarm for copies that needs no threshold,
# and this is the copy that it does *not* catch.
#
# ## 8 · How good is it?
#
# All models on the course's common board: the same 270 test digits, *nats*, and *bits/dim*, which counts the 17-level
# pixels in bits, $(64 \log 17 - \text{nats}) / (64 \log 2)$, lower is better. The nearest-sample generator has no
# likelihood, and the histogram's is $-\infty$: neither has a row. A number in parentheses is a target, to which the
# model is held whenever the lesson is tested.

# %% folded="Table: the board" tags=["demo"]
# long: times and rows
sizes = {
    "KDE": y_train.numel(),
    "single normal": 64 + 64 * 65 // 2,
    "independent pixels": 64 * 16,
    "uniform": 0,
}
drawers = {
    "KDE": lambda g: draw_kde(y_train, 1_000, h_digits, g),
    "single normal": lambda g: draw_gauss(y_train, 1_000, g),
    "independent pixels": lambda g: draw_pixels(y_train, 1_000, g),
    "uniform": lambda g: torch.rand(1_000, 64, generator=g).to(device),
}
for name, value in {**nats, "uniform": 0.0}.items():
    begin = time.perf_counter()
    drawers[name](torch.Generator().manual_seed(9)).cpu()  # bringing it home waits until the device is done
    costs = {"parameters": sizes[name], "sample_seconds": (time.perf_counter() - begin) / 1_000}
    bits = (64 * math.log(17) - value) / (64 * math.log(2))
    board.record("01_map", name, data="digits 8x8", nats=value, bits_per_dim=bits, **costs)
bins = math.ceil((HIGH - LOW) / best_delta)
board.record("01_map", "histogram", data="two modes", parameters=bins, nats=fresh_nats[0])
board.record("01_map", "KDE", data="two modes", parameters=len(x_train), nats=fresh_nats[1])
board.table("digits 8x8")

# %% [markdown]
# ## 9 · How it came about
#
# Each dot is the first public version of a model, by the month of its paper or of its maker's report.

# %% folded="Figure: the history; and a table: where the usual story is wrong" tags=["demo"]
taxonomy.timeline()
plt.show()
taxonomy.table("dates")

# %% [markdown]
# Read a lane from left to right and you see a family's life. The adversarial lane is busy until 2019 and then goes
# quiet; about then the lane of diffusion, score and flow fills, and it soon feeds text-to-image, video and sound. And
# look at who publishes: on the left papers with code, on the right more and more products of which the maker says
# little. For those the map says *undisclosed* and does not guess: a hollow dot is a model whose bucket its maker has
# not published. A crossed dot is a system that is no longer offered as it was.
#
# Tables of this history often carry dates, and methods, that the papers do not. Where they disagree, the map has what
# the paper or its maker says, and a note: that is the table under the figure.
#
# ## 10 · Five questions, and what each family is good for
#
# The five questions again, for three models that you may have heard of. A *latent* is a smaller, hidden version of a
# picture from which a decoder restores it; a *codec* does the same for sound, in whole numbers called *tokens*. *FID*,
# the Fréchet inception distance, compares the mean and the covariance of a network's features between generated and
# real pictures: 0 is best. Note the last row: each measure can be satisfied by something that you do not want.
#
# | | StyleGAN 2 (2019) | MusicGen (2023) | Stable Diffusion 3 (2024) |
# |---|---|---|---|
# | What is modelled? | pixels, up to 1024×1024, of one domain: faces, cars | tokens: four parallel streams from a codec, 50 times a second | latents: an autoencoder's 8 times smaller picture with 16 channels |
# | Is the density explicit? | no | yes, of the tokens; not of the sound | not as it is used; a bound or an ODE would give one, of the latents |
# | One-shot or iterative? | one pass | serial: one step for each frame, the four streams one step apart | iterative: some tens of steps, fewer when distilled |
# | What conditions it? | nothing; a style vector can be mixed | text; a melody, if given | text, through three encoders |
# | How is it evaluated, and how does that fail? | FID, 2.84 on faces: blind to copies, and biased when samples are few | Fréchet audio distance, text match, listeners: a codec's artefacts count for little | text match by GenEval, raters' preference: raters like saturated, tidy pictures |
#
# (Karras and others, 2019; Copet and others, 2023; Esser and others, 2024.) Now say for each what it cannot do.
# StyleGAN cannot tell you how likely a face is. MusicGen cannot change its second second after it wrote its tenth.
# Stable Diffusion cannot answer at once. None of that is a bug: it is the part of the problem that the family gave up.

# %% tags=["demo"]
taxonomy.table("families")

# %% [markdown]
# ## 11 · Which family for which task?
#
# The table names a family, the open models to start from and the hosted ones to rent. The last column says when all of
# that was looked up: no fact in the row is older. The column *why* will age more slowly than the names.
#
# Which models stand in a row is a choice of ours: well-known ones of several makers, with a paper or a report. Where one
# is not of the row's family, its family is in the parentheses. Their order is not a choice. *Ranked* means: by criteria
# that anybody can check, in this order.
#
# 1. **What the licence permits**, the strictest known of code and weights (open models only): any use, before use
#    with limits (of purpose, revenue or country), before non-commercial use, before no licence stated.
# 2. **A public board**, where one compares them at this very task: blind votes, as a number in which more is better.
#    It stands in parentheses. What a board does not list comes after what it lists.
# 3. **Whether one GPU** of 80 GB holds the weights (open models only): what needs more comes after, two or nine alike.
# 4. **The newer** first.
#
# No criterion is quality for *your* task: start from the first that you may use, and compare it with the
# second on your own data. What is no longer offered is never named. Exercise 10 asks you to write this down as code.
# The boards stand below, each as it was in one month. A vote says what people like at first sight, of texts that voters
# think of; it says little about rare wishes, and nothing about licences, speed or cost.

# %% tags=["demo"]
display(taxonomy.table("tasks"))
taxonomy.table("boards")

# %% [markdown]
# ## 12 · In production
#
# How long does it take until a sample is there? Every family answers with one of six equations. Their letters are their
# own, said in the column *where*. The column *knobs* names what later lessons explain; skip it at first.
#
# The equations differ in one thing above all: how many evaluations of a network must wait for each other. To see that
# alone, take one stand-in network, and call it as often as five of the six would. The prediction is
# $T = \text{calls} \cdot t_{\text{net}}$, where $t_{\text{net}}$ is the time of one evaluation. On a machine that does
# other things as well expect a factor of 2 or more, in the short rows above all.

# %% folded="Table: six shapes; and one network, called as often as five of them" tags=["demo"]
# long: a table, and times
display(taxonomy.table("shapes"))
net = torch.nn.Sequential(torch.nn.Linear(512, 2_048), torch.nn.GELU(), torch.nn.Linear(2_048, 512)).to(
    device
)
CALLS_OF = {
    "GAN: one pass": 1,
    "VAE: decoder of 4 levels": 4,
    "tokens: 16 codes + decoder": 16 + 1,
    "diffusion: 25 steps x guidance": 25 * 2,
    "autoregression: 64 pixels": 64,
}


@torch.no_grad()
def draw_seconds(calls):
    """Seconds for `calls` evaluations, each on the result of the one before: the fastest of 9."""
    times = []
    for _ in range(9):
        x, begin = torch.randn(1, 512, device=device), time.perf_counter()
        for _ in range(calls):
            x = net(x)
        x.cpu()  # waits until the device has finished
        times.append(time.perf_counter() - begin)
    return min(times)  # whatever else the machine does only adds to it


draw_seconds(32)  # the first calls are slower
t_net = draw_seconds(32) / 32
for name, calls in CALLS_OF.items():
    print(f"{name:32} predicted {1e3 * calls * t_net:6.2f} ms, measured {1e3 * draw_seconds(calls):6.2f} ms")

# %% [markdown]
# So a claim such as "faster than diffusion" can be true for two reasons, or both: **fewer steps at the same step cost, or
# the same steps at a lower one.** (A GAN is the first, driven to its end: one step.) Ask which, and against how many steps the comparison was made: DDPM's 1,000, or the
# ten to fifty that everybody uses. (What a sample costs when many are drawn at once is another number; lesson 34.)
#
# What people say, and what it means, of some words of this field:

# %% folded="Table: words" tags=["demo"]
words = "generative-model discriminative-model explicit-density implicit-density likelihood elbo score latent"
more = "autoregressive tokenizer mode-collapse posterior-collapse exposure-bias guidance manifold-hypothesis"
taxonomy.table("terms", *words.split(), *more.split(), "undisclosed")

# %% [markdown]
# ## Exercises
#
# Twenty points, and seven more for two answers that are graded by hand: three in exercise 8, four in exercise 9. Start
# with 1, 2 and 6, if you have one evening. Each exercise comes with a cell to fill in and a cell that tests a few cases
# that you can read. The grade comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says. A number may be Python's own or an
# array or tensor that holds one; several results come as a tuple, a mapping as a dict, texts as strings.
#
# ### 1 · Any interval, any bins (easy, 10 minutes)
#
# The histogram of section 1 has bins of one width, and the interval ended on their edges. Real
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


# %% test="interval-mass" points=1
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
# ### 2 · A model that knows what it cannot do (easy, 10 minutes)
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


# %% test="implicit" points=1
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
# ### 3 · A bandwidth without a validation set (medium, 20 minutes)
#
# Section 6 spends 2,000 fresh samples on choosing $h$. Data are rarely that plentiful. *Leave one
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


# %% test="bandwidth" points=1
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
# ### 4 · A bandwidth for every sample (medium, 25 minutes)
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


# %% test="log-kde" points=2
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
# ### 5 · Catch the copier (medium, 25 minutes)
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
#
# The last line of the test shows where the alarm ends: under enough noise a copy has an honest distance (section 7).


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


# %% test="memorised" points=2
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
g = torch.Generator().manual_seed(0)
noisy = [copy_score(y_train, y_test, draw_kde(y_train, 200, width, g))[0] for width in (0.04, 0.13)]
print(f"share of copies under noise: {noisy[0]:.2f} at h = 0.04, {noisy[1]:.2f} at h = 0.13")

# %% [markdown]
# ### 6 · Build: a model that writes words (hard, 45 minutes)
#
# Now a whole generative model of your own, and one that learns. The data are $N$ words of $L$ letters, from an alphabet
# of $A$ letters, $0$ to $A - 1$. Any density of words is a product, one letter after the other (bucket 1):
#
# $$p(w) = \prod_{t=1}^{L} p(w_t \mid w_1, \dots, w_{t-1}) .$$
#
# A table for all beginnings would be a histogram of whole words, and empty. So give up memory: a letter depends on the
# $k$ letters before it, its *context* $c$, and on nothing else. What stands before the first letter is a sign of its
# own, "start", $k$ times; so at the beginning of a word contexts are other ones than in its middle. The table is the
# same at every place of a word, and learning is counting: with $n_{ca}$, how often letter $a$ follows context $c$ in all
# words and at all places, and $\alpha > 0$ added to each count,
#
# $$p(a \mid c) = \frac{n_{ca} + \alpha}{\sum_b n_{cb} + \alpha A} .$$
#
# $k$ is the width of this model: with $k = 0$ all letters are independent, with $k = L - 1$ it *is* the histogram of
# whole words. And what does it win? The test below knows the truth, a chain that remembers two letters. Your model of
# 500 words must come closer to it than both ends, held-out data must say which $k$ is right, and its draws must be words
# that it has never seen.
#
# *Then look at a picture of your own.* A digit of black and white pixels, row by row, is a word of 64 letters of an
# alphabet of 2. With $k = 9$ a pixel knows the one above it and that one's left neighbour. After the test passes, run
#
# ```python
# ink = torch.as_tensor(digits.train.x).flatten(1).ge(0.5).long()
# pen = Words(letters=2, k=9, alpha=0.1).fit(ink)
# plot.images(pen.sample(30, 64, torch.Generator().manual_seed(0)).reshape(-1, 8, 8).float(), columns=15)
# ```


# %% exercise="words"
# long: a whole model
class Words:
    """A density of words in which a letter depends on the k letters before it.

    letters: A, how many there are; k: 0 or more; alpha: above 0.
    """

    def __init__(self, letters, k, alpha):
        self.letters, self.k, self.alpha = letters, k, alpha

    def contexts(self, x):
        """A helper, if you like: the k signs before each place, as one number: (M, L) -> (M, L)."""
        ### BEGIN SOLUTION
        padded = torch.nn.functional.pad(x, (self.k, 0), value=self.letters)
        code = torch.zeros_like(x)
        for back in range(self.k):
            code = code * (self.letters + 1) + padded[:, back : back + x.shape[1]]
        return code
        ### END SOLUTION

    def fit(self, x):
        """Count the words x, int64 (N, L), and forget what was counted before. Returns the model itself."""
        ### BEGIN SOLUTION
        shape = ((self.letters + 1) ** self.k, self.letters)
        n = torch.full(shape, float(self.alpha), dtype=torch.float64)
        n.index_put_((self.contexts(x), x), torch.ones(x.shape, dtype=torch.float64), accumulate=True)
        self.log_p = (n / n.sum(dim=1, keepdim=True)).log()
        return self
        ### END SOLUTION

    def log_prob(self, x):
        """log p in nats of the words x, int64 (M, L) of any length L: float64 (M,)."""
        ### BEGIN SOLUTION
        return self.log_p[self.contexts(x), x].sum(dim=1)
        ### END SOLUTION

    def sample(self, n, length, generator):
        """n words, int64 (n, length). All randomness comes from `generator`, a torch.Generator."""
        ### BEGIN SOLUTION
        x = torch.zeros(n, length, dtype=torch.int64)
        for t in range(length):
            p = self.log_p[self.contexts(x)[:, t]].exp()
            x[:, t] = torch.multinomial(p, 1, generator=generator)[:, 0]
        return x
        ### END SOLUTION


def best_memory(train, held_out, letters, alpha, ks):
    """The k of the list `ks` whose model, fitted to `train`, gives `held_out` the highest mean log p."""
    ### BEGIN SOLUTION
    return max(ks, key=lambda k: Words(letters, k, alpha).fit(train).log_prob(held_out).mean().item())
    ### END SOLUTION


# %% test="words" points=6
# long: a tiny case by hand, then a chain whose truth is known
tiny = torch.tensor([[0, 1], [0, 0], [1, 1]])
p = Words(letters=2, k=1, alpha=1.0).fit(tiny).log_prob(torch.tensor([[0, 1], [1, 0]])).exp()
# two of three words start with 0: (2 + 1) / (3 + 2); after 0 came 1 and 0; after 1 came 1
assert torch.allclose(p, torch.tensor([3 / 5 * 2 / 4, 2 / 5 * 1 / 3], dtype=p.dtype)), (
    f"0.3 and 0.1333, not {p}"
)
p = Words(letters=2, k=0, alpha=1.0).fit(tiny).log_prob(torch.tensor([[0, 0, 1]])).exp()
assert abs(p.item() - 4 / 8 * 4 / 8 * 4 / 8) < 1e-9, f"k = 0: three of six letters are 0, so 1/8, not {p}"
every = torch.cartesian_prod(*[torch.arange(2)] * 6)
total = Words(letters=2, k=3, alpha=0.1).fit(every[::3]).log_prob(every).exp().sum().item()
assert abs(total - 1) < 1e-9, f"p must add up to 1 over all 64 words of 6 letters, not to {total}"
g = torch.Generator().manual_seed(0)
truth = Words(letters=3, k=2, alpha=0.2).fit(torch.randint(3, (30, 10), generator=g))  # a chain of memory 2
words = truth.sample(1_500, 10, g)
fitted = {k: Words(3, k, 0.2).fit(words[:500]) for k in (0, 1, 2, 3, 9)}
gap = {
    k: (truth.log_prob(words[1_000:]) - m.log_prob(words[1_000:])).mean().item() for k, m in fitted.items()
}
print("nats behind the truth on held-out words:", {k: round(v, 2) for k, v in gap.items()})
assert 0 < gap[2] < min(gap[0], gap[9]) / 3, f"memory 2 must come nearer to the truth than 0 and 9: {gap}"
chosen = best_memory(words[:500], words[500:1_000], 3, 0.2, [0, 1, 2, 3, 9])
assert chosen == 2, f"the truth remembers 2 letters, and so says held-out data, not {chosen}"
fresh = fitted[2].sample(500, 10, g)
assert fresh.dtype == torch.int64, f"letters are int64, as the words that were counted, not {fresh.dtype}"
new = (fresh[:, None] != words[:500]).any(2).all(1).double().mean().item()
assert new > 0.5, f"most words that it writes must be new: {new:.0%}"

# %% [markdown]
# ### 7 · Five products (easy, 20 minutes)
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


# %% test="products" points=1
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
# ### 8 · "100x faster than diffusion" (medium, 15 minutes, graded by hand)
#
# A paper's abstract says: *our one-step generator is 100 times faster than diffusion at the same
# quality*. Its table shows unconditional samples of 64×64 pixels, one FID, one GPU. You want to make
# 1024×1024 pictures from text.
#
# In the cell below, write **three questions** to the authors that decide whether the claim survives
# conditioning and high resolution. For each: which term of the cost equations of section 12, or which
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
# ### 9 · Ten cards, and a domain of your own (hard, 45 minutes)
#
# **Cards.** Ten models, described as a paper's second paragraph would. For each say its bucket (1 to 5), its density
# (`"tractable"`, `"approximate"`, `"score"` for a gradient or a velocity, `"none"`) and its sampling (`"one-shot"`,
# `"iterative"` for many passes over the whole sample, `"serial"` for one element after the other). In bucket 5 the
# density is that of the codes. An example: the nearest-sample generator is `(3, "none", "one-shot")`.
#
# | card | the model |
# |---|---|
# | A | reads the notes of a melody so far and gives the probability of each of 128 next notes; trained on the logarithm of the probability of the note that came |
# | B | turns 100 random numbers into a face in one pass; was trained by a second network, since thrown away, that told its faces from photographs |
# | C | a chain of invertible layers with triangular Jacobians takes the readings of an engine to normal noise, and back in one pass; trained on their log-likelihood |
# | D | one network gives mean and width of 20 hidden numbers for a molecule, another restores it from them; drawn by the second alone; trained on an evidence lower bound |
# | E | says for each set of atom places and each time between 0 and 1 where every atom must move and how fast; trained by squared error on straight lines from noise to proteins; 20 Euler steps |
# | F | a codec makes 50 whole numbers of a second of speech; a transformer writes these numbers one by one; the codec's decoder turns them into sound |
# | G | gives every picture one number, the lower the likelier; the factor that makes $e^{-\text{number}}$ add up to 1 is unknown; drawn by a long chain of small noisy steps downhill |
# | H | has learned the gradient of the log density of heart scans blurred by ten amounts of noise; starts in much noise and follows the gradients, with fresh noise each time, through ever smaller amounts |
# | I | describes the customers of a bank as thirty normal clouds, each with a weight, a mean and a covariance |
# | J | turns noise into the surface of a bone in one pass; trained until the average distances between its bones and real ones, and among its own, agree; no other network took part |
#
# **Your own.** Choose a domain that you care about and that is not pictures, film, speech, music or text for readers:
# protein structure, molecules, CAD, trajectories, weather, tables, graphs, source code that must compile. Find *one*
# paper that held the state of the art when it came out. Answer the five questions for its model, in your own words; with
# its name, its domain, its source and how its measure fails these are nine entries. These are tested for being complete;
# the thinking is graded by hand, from these answers and the cell after them. Cards and entries count alike.


# %% exercise="triage"
# long: ten cards and nine answers
def card(name):
    """(bucket, density, sampling) of the model on the card "A" to "J": a whole number and two words."""
    ### BEGIN SOLUTION
    return {
        "A": (1, "tractable", "serial"),
        "B": (3, "none", "one-shot"),
        "C": (1, "tractable", "one-shot"),
        "D": (2, "approximate", "one-shot"),
        "E": (4, "score", "iterative"),
        "F": (5, "tractable", "serial"),
        "G": (2, "approximate", "iterative"),
        "H": (4, "score", "iterative"),
        "I": (1, "tractable", "one-shot"),
        "J": (3, "none", "one-shot"),
    }[name]
    ### END SOLUTION


def my_triage(question):
    """The answer to one question about one model of a domain of your own, a string.

    question, ten words or more for each: "modelled" (what is modelled?), "condition" (what conditions it?),
    "evaluation" (how is it evaluated?), "failure" (how does that measure fail: when is it good although the
    model is bad?). A few words, 20 at most: "domain", "model" (its name). One word of a list: "density"
    ("tractable", "approximate", "score" or "none"), "sampling" ("one-shot", "iterative" or "serial").
    "source": the https address of the paper.
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


# %% test="triage" points=3
for name in "AB":  # the form; all ten have the same
    bucket, density_word, sampling = card(name)
    assert bucket in {1, 2, 3, 4, 5}, f"card {name}: the bucket is a number from 1 to 5, not {bucket!r}"
    assert density_word in {"tractable", "approximate", "score", "none"}, f"card {name}: {density_word!r}"
    assert sampling in {"one-shot", "iterative", "serial"}, f"card {name}: {sampling!r}"
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
# Read the answers of exercise 9 together with this cell. 1 point: the five answers fit the paper (density and
# sampling above all). 1 point: the failure of the measure is specific, a model could exploit it. 1 point: the
# thing that cannot be done today is concrete, and follows from the answer that is named. 1 point: the other
# family is one that gives this, and what it gives up is named (a density, speed, sharpness, an order, freedom
# of architecture).
# ### END SOLUTION

# %% [markdown]
# ### 10 · Ship it: the model chooser (hard, 60 minutes)
#
# The last exercise is a tool to keep: a function that turns a task into a recommendation *by criteria*, and a file that
# says the same to a person or to an assistant. Names age. The hidden tests change the map (a licence, a score, a
# retirement, what a family can) and ask again.
#
# A *task* is a dict. `domain` is a word of `TASKS` below; every other entry may be missing:
#
# | entry | if it is missing | criterion |
# |---|---|---|
# | `likelihood` | `False` | if true, the family computes $p(x)$ of the data themselves: its `density` is `"tractable"` and its `bucket` is not 5; so do the open models (their `density`); and no hosted model is named, for none returns it |
# | `seconds` | no limit | one sample must not take longer. A sample takes `CALLS[family.sampling]` evaluations in a row, at 0.02 seconds each |
# | `use` | `"no licence stated"` | of the open models only those whose `permits` is this word of `taxonomy.PERMITS` or a freer one, which stands before it |
# | `one_gpu` | `False` | if true, only open models with `gpus` of 1 |
# | `own_data` | `False` | if true, the model is trained on data of your own |
# | `gpu_hours` | no limit | the training must not take longer |
#
# 1. **Which family.** Try the rows of the map in order: those that `TASKS` has for the domain and then, if a likelihood
#    is asked for, `"density-estimation"`. A row is `ATLAS.tasks[...]`, its family `ATLAS.families[row.family]`.
# 2. **Which models.** Of `row.open` and `row.hosted` (ids of `ATLAS.models`) take those that meet the criteria and are
#    not retired (`retired` is `""` for what still stands); rank them as section 11 says, and name the first three. The
#    scores are `ATLAS.boards[row.open_board].scores` and those of `row.hosted_board`; a board may be `""`, which is no
#    board. Of dates (`"2024-11"`) the newer goes first; a year alone counts as its June. Do not trust the order in which
#    the map lists them.
# 3. **Which training.** `"fine-tune"` for own data if one of the open models that you name has open weights
#    (`openness`); `"none"` without own data if one has, or if there is a hosted one; else `"from scratch"`. As an order
#    of magnitude a fine-tuning takes 10 GPU hours, a training from scratch 1,000, none 0.
# 4. **The first row that holds** is the answer: its family meets `likelihood` and `seconds`, at least one model is left,
#    and the training fits into `gpu_hours`. If none holds, or the domain is missing or no word of `TASKS`, raise
#    `ValueError`: better no advice than a guess. A misspelt entry (a key that is not in the table) is one, too.
#
# `write_skill` writes a Markdown file. For each word of `TASKS` it has a heading `## word`, and below it what `choose`
# says to this domain and no other wish: the family, the open and hosted models by their ids, with what each is ranked
# by (what the licence permits; the score and the month, `seen`, of the board), the failure, the training. A last
# section, `## Refusals`, lists what the chooser never recommends, and why: three items or more, each starting with a
# dash.

# %%
ATLAS = taxonomy.load()
TASKS = {  # a domain: the rows of the map that serve it, the better one first
    "picture": ("text-to-image", "fast-text-to-image"),
    "face": ("faces",),
    "film": ("text-to-video",),
    "voice": ("speech",),
    "song": ("music",),
    "essay": ("text",),
    "scene": ("scenes-3d",),
    "table": ("tabular",),
    "molecule": ("molecules",),
    "protein": ("protein",),
    "robot": ("trajectories",),
}
CALLS = {"one-shot": 1, "iterative": 50, "serial": 1_000}  # evaluations in a row, as an order of magnitude
HOURS = {"none": 0, "fine-tune": 10, "from scratch": 1_000}  # of a GPU, as an order of magnitude


# %% exercise="choose"
# long: the chooser and the file that it ships, which must say the same
def choose(task):
    """A recommendation for a task, a dict of the entries of the table above.

    Returns a dict: family (id); open and hosted (lists of ids, three at most); failure (the row's); budget,
    a dict of training ("none", "fine-tune" or "from scratch"), its gpu_hours, and seconds (of one sample).
    Raises ValueError where no row of the map holds.
    """
    ### BEGIN SOLUTION
    wishes = {"likelihood": False, "seconds": math.inf, "use": "no licence stated", "one_gpu": False}
    wishes |= {"own_data": False, "gpu_hours": math.inf, "domain": ""}
    if unknown := set(task) - set(wishes):
        raise ValueError(f"the task has entries that nobody knows: {unknown}")
    wishes |= task
    if wishes["domain"] not in TASKS:
        raise ValueError(f"the map has no domain {wishes['domain']!r}")
    for name in (*TASKS[wishes["domain"]], *["density-estimation"] * wishes["likelihood"]):
        advice = advice_of(ATLAS.tasks[name], wishes)
        if advice is not None:
            return advice
    raise ValueError(f"no row of the map holds for {task}")
    ### END SOLUTION


def rank(model, board, is_open):
    """A helper, if you like: what models are sorted by, the first one smallest."""
    ### BEGIN SOLUTION
    score = ATLAS.boards[board].scores.get(model.id, 0) if board else 0
    age = -int((model.date + "-06")[:7].replace("-", ""))
    if not is_open:
        return -score, age
    return taxonomy.PERMITS.index(model.permits), -score, model.gpus > 1, age
    ### END SOLUTION


def first_three(ids, board, is_open, meets):
    """A helper: the ids of the first three models that still stand and for which meets(model) is true."""
    ### BEGIN SOLUTION
    models = [ATLAS.models[name] for name in ids]
    alive = [model for model in models if not model.retired and meets(model)]
    return [model.id for model in sorted(alive, key=lambda model: rank(model, board, is_open))[:3]]
    ### END SOLUTION


def advice_of(row, wishes):
    """A helper: what `choose` returns for one row of the map, or None where it does not hold."""
    ### BEGIN SOLUTION
    family = ATLAS.families[row.family]
    seconds = 0.02 * CALLS[family.sampling]
    if wishes["likelihood"] and (family.density != "tractable" or family.bucket == 5):
        return None

    def meets(model):
        if taxonomy.PERMITS.index(model.permits) > taxonomy.PERMITS.index(wishes["use"]):
            return False
        if wishes["likelihood"] and model.density != "tractable":
            return False
        return model.gpus == 1 or not wishes["one_gpu"]

    open_ids = first_three(row.open, row.open_board, True, meets)
    hosted = first_three(row.hosted, row.hosted_board, False, lambda model: not wishes["likelihood"])
    if any(ATLAS.models[name].openness == "open weights" for name in open_ids):
        training = "fine-tune" if wishes["own_data"] else "none"
    else:
        training = "from scratch" if wishes["own_data"] or not hosted else "none"
    hours = HOURS[training]
    if seconds > wishes["seconds"] or hours > wishes["gpu_hours"] or not open_ids + hosted:
        return None
    budget = {"training": training, "gpu_hours": hours, "seconds": seconds}
    return {
        "family": row.family,
        "open": open_ids,
        "hosted": hosted,
        "failure": row.failure,
        "budget": budget,
    }
    ### END SOLUTION


def write_skill(path):
    """Write the chooser's advice for every domain, and its refusals, to a Markdown file at `path`.

    Makes the file's folder where there is none, and replaces an older file.
    """
    ### BEGIN SOLUTION
    lines = ["# Model chooser", "", "From a domain to a family of generative models, by criteria.", ""]
    for word, names in TASKS.items():
        advice, row = choose({"domain": word}), ATLAS.tasks[names[0]]
        lines += [f"## {word}", "", f"- family: {advice['family']}"]
        for kind, votes in (("open", row.open_board), ("hosted", row.hosted_board)):
            for name in advice[kind]:
                marks = [ATLAS.models[name].permits] if kind == "open" else []
                if votes and name in ATLAS.boards[votes].scores:
                    marks += [f"{ATLAS.boards[votes].scores[name]} in {ATLAS.boards[votes].seen}"]
                lines += [f"- {kind}: {name} ({', '.join(marks)})" if marks else f"- {kind}: {name}"]
        lines += [f"- failure: {advice['failure']}", f"- training: {advice['budget']['training']}", ""]
    lines += ["## Refusals", ""]
    lines += ["- No GAN where a likelihood is needed: it has none."]
    lines += ["- No likelihood of codes for one of the data: many x share a code."]
    lines += [
        "- No training from scratch where open weights cover the domain: it costs a hundred times more."
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    ### END SOLUTION


# %% test="choose" points=3
# long: one case for each criterion
advice = choose({"domain": "picture"})
assert advice["family"] == ATLAS.tasks["text-to-image"].family, (
    f"no wish: the first row's, not {advice['family']}"
)
assert len(set(advice["open"])) == 3, f"three open models, not {advice['open']}"
freest = [taxonomy.PERMITS.index(ATLAS.models[name].permits) for name in advice["open"]]
assert freest == sorted(freest), f"the freer licence goes first, not {advice['open']}"
assert advice["budget"]["training"] == "none", "nobody spoke of own data, and open weights exist"
quick = choose({"domain": "picture", "seconds": 0.1})
assert quick["family"] == "few-step", (
    f"50 evaluations take a second; the second row is faster, not {quick['family']}"
)
assert choose({"domain": "essay", "likelihood": True})["family"] == "autoregressive", (
    "it computes p of an essay"
)
voice = choose({"domain": "voice", "likelihood": True})
assert voice["family"] == "flow", f"a likelihood of codes is none of the sound: not {voice['family']}"
assert voice["hosted"] == [], "no hosted model returns a likelihood"
tuned = choose({"domain": "picture", "own_data": True, "gpu_hours": 20})["budget"]
assert tuned["training"] == "fine-tune" and tuned["gpu_hours"] == 10, f"open weights exist: {tuned}"
for impossible in (
    {"domain": "essay", "seconds": 1},
    {"domain": "poem"},
    {"domain": "song", "licence": "any use"},
):
    try:
        choose(impossible)
        raise AssertionError(f"this must raise ValueError: {impossible}")
    except ValueError:
        pass
write_skill("outputs/skill-model-chooser.md")
skill = Path("outputs/skill-model-chooser.md").read_text(encoding="utf-8")
assert all(f"## {word}\n" in skill for word in [*TASKS, "Refusals"]), (
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
# - Y. Lipman and others. *Flow Matching for Generative Modeling.* 2022, arXiv:2210.02747.
# - G. J. Székely, M. L. Rizzo. *Energy statistics: a class of statistics based on distances.* Journal of
#   Statistical Planning and Inference 143, 2013.

# %% tags=["demo"]
selfcheck.run("01_map")
