# %% [markdown]
# # 19 · DDPM
#
# > **Destroy a picture in a thousand steps, each so small that a network can learn to undo it. Then undo a
# > thousand steps of a picture that never was.**
#
# | | |
# |---|---|
# | You will build | the forward process and its exact reverse; a small U-Net that knows the time and the class; guidance; two samplers; a bound on the likelihood; at the end a diffusion of your own, in the plane |
# | You need to know | lesson 01 (densities, bits/dim), lesson 02 (responsibilities, naive Bayes), lesson 10 (the ELBO, a KL divergence between normal distributions); convolutions |
# | Time on two CPU cores | four minutes to run, one of them training; an hour and a half to read, as long to solve; no GPU needed (the setting `full` is for one) |
#
# ## You are here

# %% folded="Imports and settings"
# long: what the whole lesson uses
import copy
import functools
import itertools
import math
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, diagram, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    pictures=(3, 40, 40),
    channels=(8, 32, 96),
    batch=(8, 32, 128),
    updates=(3, 1_000, 15_000),
    rate=(4e-3, 4e-3, 1e-3),
    decay=(0.5, 0.99, 0.9995),
    each=(2, 20, 60),
    step_counts=((2, 4), (5, 10, 20, 50), (5, 10, 20, 50)),
    toy=(200, 20_000, 200_000),
    bound=(40, 540, 2_160),
    plane=(3, 2_000, 4_000),
)
T = 1_000  # steps of the chain
tables = torch.float64 if device.type != "mps" else torch.float32  # Apple's GPUs have no float64
torch.manual_seed(19)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("diffusion")
diagram.machine(
    "x_0 | (B, 1, 16, 16) -> [jump | α x_0 + σ ε] -> x_t | (B, 1, 16, 16) -> [U-Net | 0.7 M numbers]"
    " -> v | (B, 1, 16, 16) -> [turn back | section 3] -> x̂_0 | (B, 1, 16, 16)",
    "ε | noise -> jump",
    "t, y | time, class -> U-Net",
    title="Training holds v to the truth. Sampling begins at x_t = noise, and steps back by x̂_0",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# A GAN draws a picture in one pass and cannot say how likely it is. An autoregressive model can say, and
# draws pixel by pixel. Diffusion gives up the *single pass*: the network runs ten to a thousand times for one
# picture. In return every run is a task that a network learns without trouble, *which picture is under this
# noise?*, by least squares. There is no opponent and no order of pixels, and a bound on the likelihood comes
# with it. Section 11 measures what the many passes can do that one pass cannot.
#
# | question | answer |
# |---|---|
# | What is modelled? | pixels, at every noise level |
# | Is the density explicit? | approximately: a lower bound on log p(x), the ELBO; training weighs its terms differently |
# | Is sampling one-shot or iterative? | iterative: one network call per step, two with guidance |
# | What conditions it? | here a class, added to the time embedding and amplified by guidance |
# | How is it evaluated, and how does that fail? | Fréchet distance, accuracy of the class asked for, bits/dim; the last is nearly blind to what people see; accuracy rewards guidance until the pictures all look alike; the Fréchet distance is biased when samples are few |
#
# Sohl-Dickstein, Weiss, Maheswaranathan and Ganguli (2015) took the idea from thermodynamics and trained the
# first such model. Five years passed. Ho, Jain and Abbeel (2020) found the two choices that made it draw:
# predict the noise, and drop the ELBO's weights. Song, Meng and Ermon (2020) sampled the same network in a
# tenth of the steps; Nichol and Dhariwal (2021) gave it a better schedule; Ho and Salimans (2022) gave it
# guidance without a classifier. Stable Diffusion and Imagen (2022) draw pictures from text in this way, and
# AlphaFold 3 (2024) places the atoms of proteins.
#
# | symbol | is |
# |---|---|
# | $x_0$, $\varepsilon$, $x_t$ | a picture, with pixels in $[-1, 1]$; normal noise of its shape; their mixture at time $t$ |
# | $t$, $k$, $T$ | time from 0 (data) to 1 (noise); the step, $t = k/T$; how many steps there are, 1,000 |
# | $\beta_k$ | the share of the variance that step $k$ replaces by noise |
# | $\bar\alpha_k$ | the share that is still picture after $k$ steps |
# | $\alpha_t$, $\sigma_t$ | $\sqrt{\bar\alpha}$ and $\sqrt{1-\bar\alpha}$ at time $t$. **DDPM's paper writes $\alpha_k$ for $1 - \beta_k$**, which has no letter here |
# | $s$, $\alpha_{t\mid s}$, $\sigma_{t\mid s}$ | an earlier time, $s < t$; what the way from $s$ to $t$ does to the picture, and the noise it adds |
# | $v$ | $\alpha_t\varepsilon - \sigma_t x_0$, what the network says |
# | $\hat x_0$, $\hat\varepsilon$ | the picture and the noise by the network |
# | $a$, $b$, $c$ | of the step back: its mean is $a\,x_t + b\,x_0$, its deviation $c$ |
# | SNR | signal-to-noise ratio, $\alpha_t^2/\sigma_t^2$ |
# | $y$, $w$ | the class; how strongly it guides |
#
# ## 1 · Why it can work at all
#
# Noise destroys a picture, and nobody can undo that: many pictures lead to the same noise. Yet if the noise
# comes in *small* steps, undoing one step is easy. Let $q$ be the density at any time, and let a step shrink
# $x_s$ a little and add noise of a small variance $\beta$. Which $x_s$ did $x_t$ come from? Bayes' rule:
#
# $$q(x_s \mid x_t) \;\propto\; q(x_s)\; q(x_t \mid x_s).$$
#
# The second factor is a narrow normal curve around $x_t$. The first may have any shape, with humps and
# valleys; but over the few $\sqrt\beta$ that the second factor lets through, its logarithm is nearly a
# straight line. A normal curve times the exponential of a straight line is a normal curve, moved:
#
# <details><summary>In two lines</summary>
#
# Near $x_t$, $\log q(x_s) \approx \log q(x_t) + g\,(x_s - x_t)$ with the slope $g = \frac{d}{dx}\log q(x_t)$.
# And $-\frac{(x_s - x_t)^2}{2\beta} + g\,(x_s - x_t) = -\frac{(x_s - x_t - \beta g)^2}{2\beta} + \text{const}$, by
# completing the square (the shrinking, of order $\beta$ itself, moves the mean, too). So the variance stays
# $\beta$ and the mean moves by $\beta g$, uphill.
# </details>
#
# **So the reverse of a small step is nearly normal. Only its mean has to be learned, and a mean is what least
# squares finds.** This is the reason why diffusion can work at all, and why it takes many steps. How small is
# small? $\sqrt\beta$ has to be small against the structure that the density still has at that time: near the
# data, where the modes are sharp, a step must be smaller than half-way to noise. (Section 4 has a sampler that
# draws nothing on its way; why it may do so is another argument.)
#
# The simplest case has a known truth. Let the data be single numbers, from two narrow modes:
# $\tfrac12\mathcal N(-0.6, 0.15^2) + \tfrac12 \mathcal N(0.6, 0.15^2)$. We stand at $x_t = 0.1$, between the
# two, and draw exactly where it came from.
#
# Let time run from 0 (data) to 1 (noise); how the noise grows with it, section 2 says. We stand at $t = 0.6$.
#
# **Question.** From the middle between two modes, can the step back be one normal curve? Guess for a step to
# $t = 0.58$, to 0.4 and to 0, then look.


# %% folded="Two modes, and the schedule of section 2"
def cosine_schedule(T, s=0.008):
    """alpha_bar (T + 1,), float64: a squared cosine (Nichol and Dhariwal 2021, equation 17), down to 0."""
    t = torch.arange(T + 1, dtype=torch.float64) / T
    f = ((t + s) / (1 + s) * math.pi / 2).cos().square()
    return f / f[0]


MU, WIDTH = 0.6, 0.15


def toy_sample(n, generator):
    """n numbers of the two modes: (n, 1) on the CPU."""
    side = 2.0 * torch.randint(2, (n, 1), generator=generator) - 1
    return MU * side + WIDTH * torch.randn(n, 1, generator=generator)


def toy_density(x, alpha_bar):
    """q(x_t) of the two modes, exactly: (N,) and a number -> (N,)."""
    deviation = math.sqrt(alpha_bar * WIDTH**2 + 1 - alpha_bar)
    modes = [torch.distributions.Normal(m * math.sqrt(alpha_bar), deviation) for m in (-MU, MU)]
    return sum(mode.log_prob(x).exp() for mode in modes) / 2


# %% folded="Figure: the exact step back" tags=["demo"]
grid, bar, x_t, apart = torch.linspace(-2.5, 2.5, 5_001, dtype=torch.float64), cosine_schedule(T), 0.1, []
fig, axes = plot.figure(1, 3, height=2.5)
for ax, (k, j) in zip(axes, ((600, 580), (600, 400), (600, 0)), strict=True):
    ratio = bar[k] / bar[j]
    forward = torch.distributions.Normal(ratio.sqrt() * grid, (1 - ratio).sqrt())
    exact = toy_density(grid, bar[j].item()) * forward.log_prob(torch.tensor(x_t).double()).exp()
    exact = exact / (exact.sum() * 0.001)
    mean = (grid * exact).sum() * 0.001
    deviation = (((grid - mean) ** 2 * exact).sum() * 0.001).sqrt()
    normal = torch.distributions.Normal(mean, deviation).log_prob(grid).exp()
    apart.append(((exact - normal).abs().sum() * 0.0005).item())
    ax.fill_between(grid, exact, color=plot.COLOURS.sky, alpha=0.6)
    ax.plot(grid, normal, color=plot.COLOURS.vermilion, lw=1.8)
    ax.set(title=f"From t = 0.6 to {j / T:g}", xlabel="$x_s$", xlim=(-1.4, 1.4), yticks=[])
plt.show()
print("share of the area in which the two differ:", ", ".join(f"{share:.3f}" for share in apart))
board.claim(
    "The reverse of a small step is nearly normal, that of a large one is not.",
    apart[0] < 0.02 < 0.2 < apart[2],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Blue is exact, red the normal curve of the same mean and spread. For the smallest step the two cannot be told
# apart, for ten times as much they differ by some 2 %. In one long step to the data there are two humps,
# and nothing normal about it.
# </details>
#
# ## 2 · Noise, in one jump
#
# Now the chain itself. At each step a little of the picture is lost and a little noise comes in:
#
# $$q(x_k \mid x_{k-1}) = \mathcal N\big(\sqrt{1 - \beta_k}\; x_{k-1},\ \beta_k I\big).$$
#
# Why $\sqrt{1-\beta_k}$? It keeps the variance: data of variance 1 have $(1 - \beta_k)\cdot 1 + \beta_k = 1$
# afterwards. Many steps are one jump, and training never needs to walk:
#
# $$q(x_t \mid x_0) = \mathcal N\big(\alpha_t\, x_0,\ \sigma_t^2 I\big),\qquad
# x_t = \alpha_t x_0 + \sigma_t \varepsilon,\qquad
# \alpha_t = \sqrt{\bar\alpha_k},\quad \sigma_t = \sqrt{1 - \bar\alpha_k},\quad \bar\alpha_k = \prod_{i=1}^{k} (1 - \beta_i).$$
#
# <details><summary>Derivation, by induction</summary>
#
# Let it hold for $k-1$: $x_{k-1} = \sqrt{\bar\alpha_{k-1}}\,x_0 + \sqrt{1-\bar\alpha_{k-1}}\,\varepsilon'$. One step more,
# with fresh noise $z$, is $x_k = \sqrt{1-\beta_k}\,x_{k-1} + \sqrt{\beta_k}\,z$. The picture's factor becomes
# $\sqrt{(1-\beta_k)\,\bar\alpha_{k-1}} = \sqrt{\bar\alpha_k}$. The two noises are independent and normal, so that
# their variances add up: $(1-\beta_k)(1-\bar\alpha_{k-1}) + \beta_k = 1 - (1-\beta_k)\bar\alpha_{k-1} = 1 - \bar\alpha_k$. For
# $k = 0$ it holds with $\bar\alpha_0 = 1$.
# </details>
#
# A schedule is nothing but the table of $\bar\alpha_k$ for $k = 0, \dots, T$. Two are famous. DDPM lets
# $\beta$ grow in a straight line from $10^{-4}$ to $0.02$. Nichol and Dhariwal draw $\bar\alpha$ itself, as a
# squared cosine.
#
# Does the walk end where the jump does? On the two modes of section 1 the jump has a formula: at time $t$ each
# mode is shrunk by $\alpha_t$ and widened by noise, so the density is again two normal curves, of the deviation
# $\sqrt{\alpha_t^2\, 0.15^2 + \sigma_t^2}$. Below we walk a thousand small steps and compare.


# %%
def linear_schedule(T, first=1e-4, last=0.02):
    """alpha_bar (T + 1,), float64, of betas on a straight line (Ho et al. 2020, section 4)."""
    beta = torch.linspace(first, last, T, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(dim=0)])


def alpha_sigma(schedule, t):
    """alpha_t and sigma_t at times t in [0, 1], a tensor of any shape, at the table's precision."""
    alpha_bar = schedule[(t * (len(schedule) - 1)).round().long()]
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def along(values, x):
    """Values (B,), shaped to multiply x (B, ...)."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


COSINE, LINEAR = (f(T).to(device, tables) for f in (cosine_schedule, linear_schedule))
print(f"terminal alpha_bar: linear {LINEAR[-1]:.1e}, cosine {COSINE[-1]:.1e}")


# %% build="noisy-picture"
def q_sample(schedule, x_0, t, eps):
    """x_t = alpha_t x_0 + sigma_t eps, a draw of q(x_t | x_0): (B, ...), (B,), (B, ...) -> (B, ...)."""
    ### BEGIN SOLUTION
    alpha, sigma = alpha_sigma(schedule, t)
    return along(alpha, x_0) * x_0 + along(sigma, x_0) * eps
    ### END SOLUTION


# %% check="noisy-picture"
x_0, eps, t = torch.ones(3, 2), torch.full((3, 2), 2.0), torch.tensor([0.0, 0.5, 1.0])
got, half = q_sample(cosine_schedule(T), x_0, t, eps), cosine_schedule(T)[T // 2]
assert torch.allclose(got[0], x_0[0]), "at t = 0 there is no noise"
assert torch.allclose(got[1].double(), half.sqrt() + 2 * (1 - half).sqrt()), "half way both parts are there"
assert torch.allclose(got[2], eps[2], atol=1e-3), "at t = 1 there is nothing else"

# %% folded="Figure: the walk and the jump" tags=["demo"]
g = torch.Generator().manual_seed(0)
x_k, seen = toy_sample(S.toy, g).double(), {}
seen[0], bar, axis = x_k, LINEAR.cpu().double(), torch.linspace(-3, 3, 401, dtype=torch.float64)
for k in range(1, T + 1):
    beta = 1 - bar[k] / bar[k - 1]
    x_k = (1 - beta).sqrt() * x_k + beta.sqrt() * torch.randn(x_k.shape, generator=g, dtype=x_k.dtype)
    if k in (100, 250, 500, 1_000):
        seen[k] = x_k
fig, axes = plot.figure(1, 5, height=2.5)
for ax, (k, x) in zip(axes, seen.items(), strict=True):
    ax.hist(x[:, 0], bins=61, range=(-3, 3), density=True, color=plot.COLOURS.sky, alpha=0.6)
    ax.plot(axis, toy_density(axis, bar[k].item()), color=plot.COLOURS.vermilion, lw=1.8)
    ax.set(title=f"$t = {k / T:g}$", xlabel="$x_t$", xticks=[-2, 0, 2], ylim=(0, 1.45))
    ax.tick_params(labelleft=ax is axes[0])
plt.show()
formula = [math.sqrt(bar[k].item() * (MU**2 + WIDTH**2) + 1 - bar[k].item()) for k in seen]
close = [abs(x.std().item() / wanted - 1) < 0.03 for x, wanted in zip(seen.values(), formula, strict=True)]
board.claim("At every time the walk has the jump's spread.", all(close))

# %% [markdown]
# Blue: numbers that walked the chain, one small step after the other. Red: the formula's curve.
#
# Now real pictures: the course's glyphs, 36 characters in 12 styles. Ink is 1 and paper 0; we use $2x - 1$.

# %%
glyphs = data.glyphs(16, each=S.pictures)  # training pictures of each character in each style
CLASSES = len(data.CAPITALS_AND_DIGITS)  # 36; the label 36 itself will mean "no class"
x_train, x_test = (2 * torch.as_tensor(part.x, device=device) - 1 for part in (glyphs.train, glyphs.test))
y_train, y_test = (torch.as_tensor(part.y, device=device) for part in (glyphs.train, glyphs.test))
print(
    f"{tuple(x_train.shape)} pictures in [{x_train.min():.0f}, {x_train.max():.0f}], "
    f"mean {x_train.mean():.2f}"
)


def pictures(x):
    """From [-1, 1] to ink between 0 and 1, for figures and measures."""
    return ((x + 1) / 2).clamp(0, 1)


# %% folded="Figure: two schedules" tags=["demo"]
times = torch.linspace(0, 1, 11, device=device)
letter = x_test[(y_test == 16).nonzero()[3]].expand(11, -1, -1, -1)  # a G
noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(31)).to(device)
fig, axes = plot.figure(2, 1, height=1.3)
for ax, schedule, name in zip(axes, (LINEAR, COSINE), ("Linear", "Cosine"), strict=True):
    x_t = q_sample(schedule, letter, times, noise.expand(11, -1, -1, -1))
    captions = [f"t = {t:.1f}" for t in times]
    plot.images(pictures(x_t), columns=11, ax=ax, title=f"{name} schedule", captions=captions)
plt.show()

# %% [markdown]
# The same letter, the same noise, two schedules. On a picture this small the linear one has drowned the
# letter half-way, and its second half adds noise to noise. Section 10 measures how much of the time is lost.
#
# ## 3 · The step back, if the picture were known
#
# Section 1 says that a step back is nearly normal; its mean is still unknown. Suppose that somebody told us
# $x_0$. Let $s < t$ be two times, next to each other or far apart. Going from $s$ to $t$ is again a jump, with
# $\alpha_{t|s} = \alpha_t / \alpha_s$ and $\sigma_{t|s}^2 = \sigma_t^2 - \alpha_{t|s}^2 \sigma_s^2$: then the picture's
# factors multiply to $\alpha_t$ and the variances add up to $\sigma_t^2$. Where was $x_s$?
#
# $$q(x_s \mid x_t, x_0) = \mathcal N\Big(
# \underbrace{\tfrac{\alpha_{t|s}\,\sigma_s^2}{\sigma_t^2}}_{a}\, x_t + \underbrace{\tfrac{\alpha_s\,\sigma_{t|s}^2}{\sigma_t^2}}_{b}\, x_0,\
# \underbrace{\tfrac{\sigma_s^2\,\sigma_{t|s}^2}{\sigma_t^2}}_{c^2}\, I\Big).$$
#
# <details><summary>Derivation: two normal curves, multiplied</summary>
#
# By Bayes' rule $q(x_s \mid x_t, x_0) \propto q(x_s \mid x_0)\, q(x_t \mid x_s)$; the second factor needs no $x_0$, for the
# chain looks back one step only. As functions of $x_s$ the exponents are
# $-\frac{(x_s - \alpha_s x_0)^2}{2\sigma_s^2}$ and $-\frac{(x_t - \alpha_{t|s} x_s)^2}{2\sigma_{t|s}^2}$. Their sum is a parabola in $x_s$,
# so the product is normal.
#
# 1. The factor of $-\tfrac12 x_s^2$ is the inverse variance:
#    $\frac1{c^2} = \frac1{\sigma_s^2} + \frac{\alpha_{t|s}^2}{\sigma_{t|s}^2} = \frac{\sigma_{t|s}^2 + \alpha_{t|s}^2\sigma_s^2}{\sigma_s^2\sigma_{t|s}^2} = \frac{\sigma_t^2}{\sigma_s^2\sigma_{t|s}^2}$.
# 2. The factor of $x_s$ is the mean over the variance: $\frac{\text{mean}}{c^2} = \frac{\alpha_s x_0}{\sigma_s^2} + \frac{\alpha_{t|s} x_t}{\sigma_{t|s}^2}$.
# 3. Times $c^2$, that is $b\,x_0 + a\,x_t$ as above.
#
# With $s = (k-1)/T$ and $t = k/T$ these are equations 6 and 7 of DDPM.
# </details>


# %% build="posterior"
def posterior(alpha_s, sigma_s, alpha_t, sigma_t):
    """q(x_s | x_t, x_0) = N(a x_t + b x_0, c^2 I) for s < t: the numbers or tensors a, b, c."""
    ### BEGIN SOLUTION
    alpha_ts = alpha_t / alpha_s
    var_ts = (sigma_t**2 - (alpha_ts * sigma_s) ** 2).clamp(min=0)
    return (
        alpha_ts * sigma_s**2 / sigma_t**2,
        alpha_s * var_ts / sigma_t**2,
        sigma_s * var_ts.sqrt() / sigma_t,
    )
    ### END SOLUTION


# %% check="posterior"
alpha_s, sigma_s, alpha_t, sigma_t = torch.tensor([0.8, 0.6, 0.28, 0.96], dtype=torch.float64)
a, b, c = posterior(alpha_s, sigma_s, alpha_t, sigma_t)
assert torch.isclose(a * alpha_t + b, alpha_s), "x_t has the mean alpha_t x_0; then x_s must have alpha_s x_0"
assert torch.isclose((a * sigma_t) ** 2 + c**2, sigma_s**2), "and the variance sigma_s^2, x_t's share too"
grid, x_0, x_t = torch.linspace(-6, 6, 20_001, dtype=torch.float64), 0.8, torch.tensor(-0.5).double()
to_t = torch.distributions.Normal(
    alpha_t / alpha_s * grid, (sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2).sqrt()
)
from_x_0 = torch.distributions.Normal(alpha_s * x_0, sigma_s)
weight = (to_t.log_prob(x_t) + from_x_0.log_prob(grid)).softmax(dim=0)  # Bayes on a grid, no algebra
mean = (weight * grid).sum()
assert torch.isclose(a * x_t + b * x_0, mean, atol=1e-5), "the mean on a grid is another"
assert torch.isclose(c, (weight * (grid - mean) ** 2).sum().sqrt(), atol=1e-5), (
    "the deviation on a grid is another"
)


# %% [markdown]
# So if somebody told us $x_0$, we could walk back exactly. Nobody does, and that is what the network is for:
# it looks at $x_t$ and guesses. Trained by least squares, its best guess is the mean of all pictures that
# could lie under this noise, $m = \mathbb E[x_0 \mid x_t]$: for any other guess $f(x_t)$
# $\mathbb E\lVert x_0 - f\rVert^2 = \mathbb E\lVert x_0 - m\rVert^2 + \mathbb E\lVert m - f\rVert^2$, because the cross term
# $2\,\mathbb E[(x_0 - m)\cdot(m - f)]$ is 0: given $x_t$, $x_0 - m$ has mean 0 and the rest is fixed.
#
# ### What to ask the network
#
# $x_t = \alpha_t x_0 + \sigma_t \varepsilon$ is one equation; whoever knows one of the two unknowns knows the
# other. So these questions are worth the same in exact arithmetic:
#
# - $\varepsilon$: *which noise was added?* (Ho et al. 2020)
# - $x_0$: *which picture was it?*
# - $v = \alpha_t\,\varepsilon - \sigma_t\,x_0$: *in which direction does $x_t$ move?* (Salimans and Ho 2022)
#
# Why "direction"? Because $\alpha_t^2 + \sigma_t^2 = 1$, we may write $\alpha_t = \cos\phi$,
# $\sigma_t = \sin\phi$: then $x_t$ turns from the picture towards the noise, and
# $v = dx_t / d\phi = -\sin\phi\,x_0 + \cos\phi\,\varepsilon$ is its velocity. Turning back by the same angle gives
#
# $$x_0 = \alpha_t x_t - \sigma_t v,\qquad \varepsilon = \sigma_t x_t + \alpha_t v ,$$
#
# as putting in $x_t$ and $v$ confirms: $\alpha_t(\alpha_t x_0 + \sigma_t\varepsilon) - \sigma_t(\alpha_t\varepsilon - \sigma_t x_0) = (\alpha_t^2 + \sigma_t^2)\,x_0$.
# (In lesson 23 the path is a straight line, and the velocity is $\varepsilon - x_0$.)
#
# **Question.** A network errs by 1 in what it says. How wrong is its picture at $t = 0.99$, if it says
# $\varepsilon$? And its noise at $t = 0.01$, if it says $x_0$?


# %%
def picture_and_noise(kind, output, x_t, alpha, sigma):
    """(x_0, eps) from what the network said: kind is "eps", "x_0" or "v". All of one shape."""
    if kind == "eps":
        return (x_t - sigma * output) / alpha, output
    if kind == "x_0":
        return output, (x_t - alpha * output) / sigma
    if kind == "v":
        return alpha * x_t - sigma * output, sigma * x_t + alpha * output
    raise ValueError(f"kind is {kind!r}; it must be eps, x_0 or v")


# %% folded="Figure: what an error of 1 becomes" tags=["demo"]
t = torch.linspace(0.004, 0.996, 249)
alpha, sigma = alpha_sigma(cosine_schedule(T), t)
fig, axes = plot.figure(1, 2, height=3.0)
rows = {
    r"$\varepsilon$": (sigma / alpha, 1 + 0 * t),
    "$x_0$": (1 + 0 * t, alpha / sigma),
    "$v$": (sigma, alpha),
}
for (name, pair), colour in zip(rows.items(), plot.COLOURS, strict=False):
    for ax, values in zip(axes, pair, strict=True):
        ax.plot(t, values, color=colour, label=f"network says {name}")
for ax, name in zip(axes, ("the picture $x_0$", r"the noise $\varepsilon$"), strict=True):
    ax.set(yscale="log", ylim=(0.004, 300), xlabel="time $t$", title=f"Error in {name}")
axes[0].set_ylabel("per unit of error in the output")
axes[0].legend(loc="upper center")
plt.show()

# %% [markdown]
# <details><summary>Answer</summary>
#
# An error of 1 in $\varepsilon$ is an error of $\sigma_t/\alpha_t$ in the picture, some sixty at $t = 0.99$; one in $x_0$
# is an error of $\alpha_t/\sigma_t$ in the noise, some forty at $t = 0.01$. Both grow without limit towards the ends.
# An error in $v$ never grows.
# </details>
#
# That is why this lesson's network says $v$. It also answers at $t = 1$, where $\alpha = 0$ and "which
# noise?" has an answer in plain sight that tells nothing about the picture. Section 11 trains both.
#
# ## 4 · Two ways back
#
# From $t$ to an earlier $s$: let the network guess $\hat x_0$ and $\hat\varepsilon$. Then either
#
# - **ancestral** (DDPM): put $\hat x_0$ into the posterior of section 3 and draw,
#   $x_s = a\,x_t + b\,\hat x_0 + c\,z$ with fresh noise $z$; or
# - **DDIM** (Song, Meng and Ermon 2020): draw nothing; jump with the noise that is there,
#   $x_s = \alpha_s \hat x_0 + \sigma_s \hat\varepsilon$.
#
# Why may DDIM leave out the noise? Training has only ever seen *one time at once*: whatever has the right
# density at each time is as good. And there is a whole family of steps that has:
#
# <details><summary>Derivation: the family, with η from 0 to 1</summary>
#
# $$x_s = \alpha_s x_0 + \sqrt{\sigma_s^2 - \eta^2 c^2}\;\varepsilon + \eta\,c\,z .$$
#
# 1. If $x_t = \alpha_t x_0 + \sigma_t\varepsilon$, then $\varepsilon$ and $z$ are independent normal noises, and given $x_0$ the
#    variance of $x_s$ is $(\sigma_s^2 - \eta^2c^2) + \eta^2c^2 = \sigma_s^2$, its mean $\alpha_s x_0$: the marginal at $s$ is
#    right for *every* $\eta$.
# 2. $\eta = 0$ is DDIM.
# 3. $\eta = 1$ is the posterior: $\sigma_s^2 - c^2 = \sigma_s^2\,\frac{\sigma_t^2 - \sigma_{t|s}^2}{\sigma_t^2} = \big(\frac{\alpha_{t|s}\sigma_s^2}{\sigma_t}\big)^2 = (a\,\sigma_t)^2$, so the
#    factor of $\varepsilon = (x_t - \alpha_t x_0)/\sigma_t$ is $a\,\sigma_t$, and $x_s = a\,x_t + (\alpha_s - a\,\alpha_t)\,x_0 + c\,z$. And
#    $\alpha_s - a\,\alpha_t = \alpha_s\,\frac{\sigma_t^2 - \alpha_{t|s}^2\sigma_s^2}{\sigma_t^2} = b$.
#
# All this is with the true $x_0$. With a guess in its place neither is exact, and the figure below shows by
# how much each errs.
# </details>
#
# Pixels lie between $-1$ and $1$, so $\hat x_0$ may be clipped to that range. `denoise` does so, and asks the
# network twice where there is *guidance*; section 7 says why.


# %%
def denoise(net, x, t, y, guidance, schedule, clip):
    """The network's picture and noise at one time t, a 0-d tensor: x (B, ...) -> two tensors (B, ...)."""
    times = t.expand(len(x))
    v = net(x, times, y)
    if guidance != 1:
        v_none = net(x, times, torch.full_like(y, CLASSES))
        v = v_none + guidance * (v - v_none)
    alpha, sigma = alpha_sigma(schedule, t)
    x_0 = picture_and_noise("v", v, x, alpha, sigma)[0].clamp(-clip, clip)
    return x_0, (x - alpha * x_0) / sigma


def time_grid(steps, end=1.0):
    """steps + 1 times from `end` down to 0, each a whole number of 1/T."""
    return (torch.linspace(end, 0, steps + 1, device=device) * T).round() / T


# %% build="ddim"
@torch.no_grad()
def ddim(net, x, ts, y, guidance=1.0, schedule=COSINE, clip=1.0):
    """From noise x at ts[0] down to ts[-1], without new noise; ts (S + 1,) falls, to 0 at the end."""
    ### BEGIN SOLUTION
    for t, s in itertools.pairwise(ts):
        x_0, eps = denoise(net, x, t, y, guidance, schedule, clip)
        alpha, sigma = alpha_sigma(schedule, s)
        x = alpha * x_0 + sigma * eps
    return x
    ### END SOLUTION


# %% check="ddim"
def all_half(x, t, y):
    """v of a network that always sees the picture 1/2: (alpha x_t - 1/2) / sigma."""
    alpha, sigma = (along(v, x) for v in alpha_sigma(COSINE, t))
    return (alpha * x - 0.5) / sigma


start, seen = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0)).to(device), time_grid(5)
y = torch.zeros(6, dtype=torch.long, device=device)
assert torch.allclose(ddim(all_half, start, seen, y), torch.full_like(start, 0.5)), "it ends at the picture"
alpha, sigma = alpha_sigma(COSINE, seen[3])
way = ddim(all_half, start, seen[:4], y)
assert torch.allclose(way, (alpha * 0.5 + sigma * start).to(way.dtype), atol=1e-3), "and keeps its noise"


# %% build="ancestral"
@torch.no_grad()
def ancestral(net, x, ts, y, guidance=1.0, schedule=COSINE, clip=1.0, generator=None, deviations=None):
    """With a draw at every step, from the posterior or of given deviations (S,); by the CPU generator."""
    ### BEGIN SOLUTION
    for i, (t, s) in enumerate(itertools.pairwise(ts)):
        x_0, _ = denoise(net, x, t, y, guidance, schedule, clip)
        a, b, c = posterior(*alpha_sigma(schedule, s), *alpha_sigma(schedule, t))
        c = c if deviations is None else deviations[i]
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = (a * x + b * x_0 + c * z).to(x.dtype)
    return x
    ### END SOLUTION


# %% check="ancestral"
ends = [ancestral(all_half, start, seen, y, generator=torch.Generator().manual_seed(k)) for k in (1, 2)]
assert torch.allclose(ends[0], torch.full_like(start, 0.5), atol=1e-5), "at s = 0 the posterior adds no noise"
ways = [ancestral(all_half, start, seen[:4], y, generator=torch.Generator().manual_seed(k)) for k in (1, 2)]
assert (ways[0] - ways[1]).abs().max() > 0.05, "on the way there is fresh noise at every step"
one = ancestral(all_half, start, seen[:2], y, generator=torch.Generator().manual_seed(1))
more = ancestral(all_half, start, seen[:2], y, generator=torch.Generator().manual_seed(1), deviations=[9.0])
assert (more - one).std() > 5, "where deviations are given they take the place of the posterior's"


# %% [markdown]
# The posterior's deviation $c$ is 0 at $s = 0$: the last step of either sampler is $\hat x_0$ itself, and no
# noise is left in the picture.
#
# ### Which of the two errs less, and why?
#
# Try them where no network is needed. For the two modes the best guess $\mathbb E[x_0 \mid x_t]$ has a closed
# form: given $x_t$, mode $i$ has a responsibility (lesson 02), and within a mode everything is normal.
# `exact_net` answers like a network that was trained for ever.
#
# Its ancestral step has the right *mean*: $\mathbb E[x_s \mid x_t] = a\,x_t + b\,\mathbb E[x_0 \mid x_t]$. What of its
# *variance*? $c^2$ is right for who knows $x_0$. Who only guesses it is unsure, and $x_s$ spreads wider. How
# much wider can be measured: take data, noise them to $s$, go on to $t$, and see how far $x_s$ lies from the
# step's mean. `real_deviations` does that for every step of a grid. (Exercise 5 finds the formula.)


# %%
def exact_net(x, t, y):
    """v of the two modes at its best, E[v | x_t], on the cosine schedule: (B, 1), (B,), (B,) -> (B, 1)."""
    alpha, sigma = (along(v, x) for v in alpha_sigma(COSINE, t))
    var = (alpha * WIDTH) ** 2 + sigma**2
    side = torch.tanh(alpha * MU * x / var)  # E[mode | x_t], between -1 and 1
    x_0 = MU * side + alpha * WIDTH**2 / var * (x - alpha * MU * side)
    return (alpha * x - x_0) / sigma


def wasserstein(x, y):
    """The mean distance of sorted numbers: how far, on average, each would have to move."""
    return (x.flatten().sort().values - y.flatten().sort().values).abs().mean().item()


def exact_last(x, t, generator):
    """A draw of q(x_0 | x_t) of the two modes, two humps and all: (B, 1), a 0-d time -> (B, 1)."""
    alpha, sigma = alpha_sigma(COSINE, t)
    var = (alpha * WIDTH) ** 2 + sigma**2
    right = (1 + torch.tanh(alpha * MU * x / var)) / 2  # the responsibility of the right mode
    side = 2 * (torch.rand(x.shape, generator=generator).to(x) < right).to(x) - 1
    mean = MU * side + alpha * WIDTH**2 / var * (x - alpha * MU * side)
    z = torch.randn(x.shape, generator=generator).to(x)
    return (mean + WIDTH * sigma / var.sqrt() * z).to(x)


# %%
@torch.no_grad()
def real_deviations(net, x_0, ts, generator, y=None):
    """How far x_s lies from a x_t + b x_0_hat, root mean square, for each step of the grid: (S,), 0 last."""
    y, found = torch.zeros(len(x_0), dtype=torch.long, device=x_0.device) if y is None else y, []
    for t, s in itertools.pairwise(ts):
        (alpha_s, sigma_s), (alpha_t, sigma_t) = alpha_sigma(COSINE, s), alpha_sigma(COSINE, t)
        z, new = torch.randn(2, *x_0.shape, generator=generator).to(x_0.device)
        x_s, ratio = alpha_s * x_0 + sigma_s * z, alpha_t / alpha_s
        x_t = ratio * x_s + (sigma_t**2 - (ratio * sigma_s) ** 2).clamp(min=0).sqrt() * new
        a, b, _ = posterior(alpha_s, sigma_s, alpha_t, sigma_t)
        x_hat, _ = denoise(net, x_t.to(x_0.dtype), t, y, 1.0, COSINE, math.inf)
        found.append((x_s - a * x_t - b * x_hat).square().mean().sqrt())
    return torch.stack([*found[:-1], 0 * found[-1]])  # no noise into the finished picture


# %% folded="Figure: three samplers, a perfect network" tags=["demo"]
# long: three samplers at four numbers of steps, and their figure
g = torch.Generator().manual_seed(2)
start, data_x = torch.randn(S.toy, 1, generator=g).to(device), toy_sample(S.toy, g).to(device)
nobody, probe = (
    torch.zeros(S.toy, dtype=torch.long, device=device),
    torch.linspace(-1.6, 1.6, 32_001).double(),
)
cdf = toy_density(probe, 1.0).cumsum(0) * (probe[1] - probe[0])
truth = np.interp((np.arange(S.toy) + 0.5) / S.toy, cdf, probe)  # the exact quantiles of the two modes
truth = torch.tensor(truth, dtype=torch.float32, device=device)
toy_error, toy_drawn = {"DDIM": [], "ancestral": [], "real variance": [], "…, exact last step": []}, {}
for steps in S.step_counts:
    how = {"ts": time_grid(steps), "y": nobody, "clip": math.inf}
    wider = real_deviations(exact_net, data_x, how["ts"], g)
    toy_drawn["DDIM", steps] = ddim(exact_net, start, **how)
    toy_drawn["ancestral", steps] = ancestral(exact_net, start, **how, generator=g)
    toy_drawn["real variance", steps] = ancestral(exact_net, start, **how, generator=g, deviations=wider)
    way = ancestral(exact_net, start, **how | {"ts": how["ts"][:-1]}, generator=g, deviations=wider)
    toy_drawn["…, exact last step", steps] = exact_last(way, how["ts"][-2], g)
    for name, found in toy_error.items():
        found.append(wasserstein(toy_drawn[name, steps], truth))
    print(f"{steps:3} steps:", {name: round(found[-1], 4) for name, found in toy_error.items()})
few = S.step_counts[0]
between = {name: (toy_drawn[name, few].abs() < 0.2).float().mean().item() for name in toy_error}
print(f"between the modes, |x| < 0.2, at {few} steps:", {n: f"{v:.1%}" for n, v in between.items()}, end=" ")
print(f"of the data {(truth.abs() < 0.2).float().mean():.1%}")
fig, axes = plot.figure(1, 4, height=2.6)
for ax, name in zip(axes[:3], toy_error, strict=False):
    x = toy_drawn[name, S.step_counts[0]][:, 0].cpu()
    ax.hist(x, bins=61, range=(-1.5, 1.5), density=True, color=plot.COLOURS.sky)
    ax.plot(axis, toy_density(axis, 1.0), color=plot.COLOURS.vermilion, lw=1.8)
    ax.set(title=name, xlabel=f"{S.step_counts[0]} steps", xlim=(-1.5, 1.5), ylim=(0, 2.4), yticks=[])
for (name, values), marker in zip(toy_error.items(), "so^v", strict=True):
    axes[3].plot(S.step_counts, values, f"-{marker}", label=name)
axes[3].set(xscale="log", yscale="log", title="Distance", xlabel="steps")
axes[3].set_xticks(S.step_counts, S.step_counts)
axes[3].minorticks_off()
axes[3].legend(fontsize=7.5)
plt.show()
errors = np.array([*toy_error.values()])
board.claim(
    "Ancestral sampling errs more than DDIM at every number of steps.", bool((errors[1] > errors[0]).all())
)
board.claim(
    "With 5, 10 and 20 steps the variance that is there errs less than both.",
    bool((errors[2, :3] < errors[:2, :3].min(0)).all()),
)
board.claim(
    "With 5 steps an exact last step takes off most of the error that is left.",
    errors[3, 0] < errors[2, 0] / 3,
)
board.claim("DDIM fills the valley between the modes.", between["DDIM"] > 0.05)

# %% [markdown]
# The network is perfect here, so what is wrong is the sampler's own error. In the histograms it is the valley:
# with 5 steps many numbers end between the modes, where next to no data are. Two things are behind it, and the
# last panel tells them apart.
#
# - **The variance.** Every ancestral step draws too little, and the loss adds up. Give each step the variance that
#   is really there, still in one normal curve, and with the same network it beats DDIM at 5, 10 and 20 steps;
#   from 10 steps on this was most of what it lacked. (At 50 the two are near the luck of the draw of 20,000
#   numbers.) Ho and others tried two variances: $c^2$, right for data of one point, and the forward step's own,
#   $\beta_k$, right for data that are normal noise. The real one lies between; Bao and others (2022) made a method
#   of it.
# - **The humps.** A long step back is not normal (section 1), whatever its variance. The last one is the worst,
#   because it goes to the data, where the modes are sharp, and our samplers end it on a mean. Draw that one step
#   from its exact law, two humps and all, and most of the rest is gone at 5 steps.
#
# DDIM draws nothing and has neither fault; it solves a differential equation with long strides, and errs by
# their length (lesson 21). With more steps all of them come close.
#
# ## 5 · A network that knows the time
#
# The network is a function $v_\theta(x_t, t, y)$: a noisy picture, the time, a class; out comes a picture of
# the same size. **Time as a vector.** A network reads a single number badly. So $1000\,t$ becomes waves of
# many lengths, as positions do in a transformer: slow waves say roughly when, fast ones precisely.
#
# **A residual block.** Two convolutions, each after a normalisation, and a bypass. Between them the embedding
# sets the contrast and the level of every channel, $h \cdot (1 + \text{scale}) + \text{shift}$: this is how
# the block learns when it is, and what is wanted.


# %%
# long: the two parts of which the network below is made
def time_features(t, width):
    """cos and sin of 1000 t at width / 2 frequencies from 1 down to about 1e-4: (B,) -> (B, width)."""
    frequency = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2))
    angle = 1_000 * t[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class Embedding(nn.Module):
    """One vector for the time and the class: waves, a small MLP, plus a learned vector of the label."""

    def __init__(self, channels, width, classes):
        super().__init__()
        self.channels = channels
        self.mlp = nn.Sequential(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)  # the last one means "no class"

    def forward(self, t, y):
        """(B,), (B,) -> (B, width)"""
        return self.mlp(time_features(t, self.channels)) + self.label(y)


class Block(nn.Module):
    """Two convolutions and a bypass, modulated by e: (B, a, H, W), (B, width) -> (B, b, H, W)."""

    def __init__(self, a, b, width):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, a), nn.Conv2d(a, b, 3, padding=1)
        self.modulate = nn.Linear(width, 2 * b)
        self.norm2, self.conv2 = nn.GroupNorm(8, b), nn.Conv2d(b, b, 3, padding=1)
        self.bypass = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x, e):
        scale, shift = self.modulate(F.silu(e))[:, :, None, None].chunk(2, dim=1)  # (B, b, 1, 1) each
        h = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        return self.bypass(x) + self.conv2(F.silu(h))


# %% [markdown]
# **The U.** A convolution costs in proportion to the area. `pixel_unshuffle` folds each square of 2 × 2
# pixels into four channels: nothing is lost, and everything after it is four times cheaper. Then down to half
# the side, 4 × 4, where the two convolutions of a block see nearly the whole letter; then up again, and on
# the way up each level gets what it was on the way down (the *skips*): the coarse map knows which letter, the
# fine one where its edges are. The last convolution starts at 0: the untrained network says $v = 0$, which is
# a mild mistake at every time.
#
# ```
# 16x16 ─ unshuffle ─▶ 8x8 ─ enter ─ block ──────── skip, skip ────────▶ block ─ block ─ leave ─ shuffle ─▶ 16x16
#                                      └ down ─▶ 4x4 ─ block ─ 2 blocks ─ 2 blocks ─ up ┘
# ```


# %%
# long: one network, to be read from the noise to the estimate
class UNet(nn.Module):
    """v_theta(x_t, t, y): (B, 1, 16, 16), (B,) in [0, 1], (B,) in 0 ... classes -> (B, 1, 16, 16)."""

    def __init__(self, channels, classes=CLASSES):
        super().__init__()
        C, width = channels, 4 * channels
        self.embed = Embedding(C, width, classes)
        self.enter = nn.Conv2d(4, C, 3, padding=1)
        self.down = nn.Conv2d(C, C, 3, stride=2, padding=1)
        self.up = nn.Conv2d(2 * C, 2 * C, 3, padding=1)
        sizes = [(1, 1), (1, 2), (2, 2), (2, 2), (4, 2), (3, 2), (3, 1), (2, 1)]  # in and out, in units of C
        self.blocks = nn.ModuleList(Block(a * C, b * C, width) for a, b in sizes)
        self.norm, self.leave = nn.GroupNorm(8, C), nn.Conv2d(C, 4, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x, t, y):
        e, b = self.embed(t, y), self.blocks
        h0 = self.enter(F.pixel_unshuffle(x, 2))  # (B, 1, 16, 16) -> (B, C, 8, 8)
        h1 = b[0](h0, e)
        h2 = self.down(h1)  # -> (B, C, 4, 4)
        h3 = b[1](h2, e)  # -> (B, 2C, 4, 4)
        h = b[3](b[2](h3, e), e)
        h = b[4](torch.cat([h, h3], dim=1), e)
        h = b[5](torch.cat([h, h2], dim=1), e)
        h = self.up(F.interpolate(h, scale_factor=2.0))  # -> (B, 2C, 8, 8)
        h = b[6](torch.cat([h, h1], dim=1), e)
        h = b[7](torch.cat([h, h0], dim=1), e)  # -> (B, C, 8, 8)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2)  # -> (B, 1, 16, 16)


torch.manual_seed(0)
net = UNet(S.channels).to(device)
parameters = sum(p.numel() for p in net.parameters())
out = net(x_train[:2], torch.full((2,), 0.5, device=device), y_train[:2])
print(f"{parameters:,} parameters; {tuple(out.shape)}; untrained it says {out.abs().max():.0f}")

# %% [markdown]
# ## 6 · Train
#
# One update: draw a time for every picture of the batch, jump there, ask for $v$, and take the squared error,
#
# $$L = \mathbb E_{x_0,\, \varepsilon,\, t}\ \lVert v_\theta(x_t, t, y) - v \rVert^2 .$$
#
# Its minimum is the conditional mean, $\mathbb E[v \mid x_t, y]$, and with it $\mathbb E[x_0 \mid x_t, y]$: what a sampler
# needs. Three habits make it work well.
#
# - **Stratified times.** The batch's times are spread evenly over the schedule, one in each of $B$ equal
#   pieces, instead of falling anywhere. The expectation is the same and the loss jumps less.
# - **Labels dropped.** One label in ten is replaced by "no class". The same network then also knows $p(x)$,
#   which guidance needs.
# - **An average of the weights.** The last weights of a run are as noisy as its last gradients. An
#   *exponential moving average* (EMA) of the weights,
#   $\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta$, is steadier, and only it is used afterwards.
#
# The learning rate rises over the first tenth of the run and then falls to 0 in a straight line.


# %%
# long: an update of the network and of its average, and what they need
def stratified_times(n, generator, place):
    """n times, each a whole number of 1/T from 1/T to 1, spread evenly: (n,)."""
    u = (torch.rand(n, generator=generator, device=place) + torch.arange(n, device=place)) / n
    return ((u * T).floor() + 1).clamp(max=T) / T


def update(net, ema, optimizer, x_0, y, generator, decay):
    """One step of training, and of the average of the weights; the loss, on its device."""
    with genmap.autocast(x_0.device):
        loss = loss_v(net, x_0, y, generator)
    optimizer.zero_grad()
    scaler.scale(loss).backward()  # float16 loses small gradients, so they are scaled where it is used
    scaler.step(optimizer)
    scaler.update()
    with torch.no_grad():
        torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
    return loss.detach()


ema, scaler = copy.deepcopy(net).requires_grad_(False), genmap.grad_scaler(device)
dozen = torch.tensor([16, 0, 27, 5, 34, 10, 22, 3, 19, 35, 13, 8], device=device)  # of some classes, one each
optimizer = torch.optim.AdamW(net.parameters(), lr=S.rate, betas=(0.9, 0.99), weight_decay=0.0)
rise = S.updates / 10
rate = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda n: min((n + 1) / rise, (S.updates - n) / (S.updates - rise))
)


@torch.no_grad()
def test_loss(net, seed=1):
    """The loss on 512 test pictures, times and noise fixed by the seed, all labels kept."""
    generator = torch.Generator(device).manual_seed(seed)
    return loss_v(net, x_test[:512], y_test[:512], generator, drop=0.0).item()


def noise_like(y, seed):
    """The start of a sampler: normal noise (n, 1, 16, 16) for n labels."""
    return torch.randn(len(y), 1, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)


# %% build="loss"
def loss_v(net, x_0, y, generator, schedule=COSINE, drop=0.1):
    """Mean of |v_theta - v|^2 over pixels and batch; a label is dropped with probability `drop`."""
    ### BEGIN SOLUTION
    t = stratified_times(len(x_0), generator, x_0.device)
    eps = torch.randn(x_0.shape, generator=generator, device=x_0.device)
    alpha, sigma = (along(v, x_0) for v in alpha_sigma(schedule, t))
    dropped = torch.rand(len(y), generator=generator, device=y.device) < drop
    v = net(alpha * x_0 + sigma * eps, t, torch.where(dropped, CLASSES, y))
    return F.mse_loss(v.float(), alpha * eps - sigma * x_0)
    ### END SOLUTION


# %% check="loss"
def all_black(x, t, y):
    """v of a network that knows that every picture is 0: then x_t = sigma eps, and v = alpha eps."""
    labels.append(y)
    alpha, sigma = (along(v, x) for v in alpha_sigma(COSINE, t))
    return alpha * x / sigma


g, labels, black = torch.Generator(device).manual_seed(0), [], torch.zeros(400, 1, 2, 2, device=device)
y = torch.arange(400, device=device) % CLASSES
assert loss_v(all_black, black, y, g) < 1e-6, "who knows the picture knows v"
assert loss_v(all_black, black + 1, y, g) > 0.1, "another picture has another v"
kept = labels[0] == y
assert 0.8 < kept.float().mean() < 0.98 and (labels[0][~kept] == CLASSES).all(), "a tenth of labels goes"


# %% [markdown]
# **Question.** The average $\bar\theta$ never sees a gradient. Will it be better or worse than the network that is
# trained: early in the run, in its middle, at its end? At four moments the average draws twelve letters, from
# the same noise each time, and both are tried on test pictures.

# %% tags=["demo"]
trainer = torch.Generator(device).manual_seed(0)
curve, drawn, losses = progress.Curve("DDPM on glyphs", "update", "loss"), {}, {}
moments = sorted({min(S.updates, m) for m in (S.updates // 12, S.updates // 4, S.updates // 2, S.updates)})
began = time.perf_counter()
for n in progress.track(range(1, S.updates + 1), title="training"):
    rows = torch.randint(len(x_train), (S.batch,), generator=trainer, device=device)
    decay = min(S.decay, (n + 1) / (n + 10))
    curve.add(n, update(net, ema, optimizer, x_train[rows], y_train[rows], trainer, decay))
    rate.step()
    if n in moments:
        paused = time.perf_counter()
        drawn[n] = ddim(ema, noise_like(dozen, 4), time_grid(10), dozen, guidance=2.0)
        losses[n] = test_loss(net), test_loss(ema)
        began += time.perf_counter() - paused
curve.close()
train_seconds = time.perf_counter() - began
print(f"{S.updates} updates in {train_seconds:.0f} s")

# %% folded="Figure: four moments" tags=["demo"]
fig, axes = plot.figure(len(drawn), 1, height=1.0)
for ax, (n, x) in zip(np.atleast_1d(axes), drawn.items(), strict=True):
    title = f"After {n} updates: test loss {losses[n][0]:.3f}, of the average {losses[n][1]:.3f}"
    plot.images(pictures(x), columns=12, ax=ax, title=title)
plt.show()
(early, *middle, last) = losses.values()
board.claim("At the first moment the average is behind.", early[1] > early[0])
board.claim(
    "In the middle of the run the average is the better network.",
    all(average < own for own, average in middle),
)
board.claim("At the end the two differ by less than two per cent.", abs(last[1] / last[0] - 1) < 0.02)

# %% [markdown]
# <details><summary>Answer</summary>
#
# In `quick` it is worse at the first moment, for it still holds the weights of a few dozen updates ago, and
# these were far worse. In the middle it is better: the rate is high, the weights jump about, and the average
# lies in the midst of the jumps. At the end the rate has fallen, the weights have come to rest, and the two
# agree.
# </details>
#
# Now look at the sampler while it works. Above, $x_t$ on its way from noise to picture in ten steps of DDIM;
# below, what the network would answer at once, $\hat x_0$.

# %% folded="Figure: the film of one sample" tags=["demo"]
ts, strip, x = time_grid(10), [], noise_like(dozen, 4)
for t, s in itertools.pairwise(ts):
    guess, left = denoise(ema, x, t, dozen, 1.0, COSINE, 1.0)
    strip.append((x, guess))
    x = (alpha_sigma(COSINE, s)[0] * guess + alpha_sigma(COSINE, s)[1] * left).to(x.dtype)
fig, axes = plot.figure(2, 1, height=1.25)
names = ("The noisy picture $x_t$", r"The network's picture $\hat x_0$")
for ax, row, name in zip(axes, zip(*strip, strict=True), names, strict=True):
    captions = [f"t = {t:.1f}" for t in ts[:-1]]
    first = torch.cat([x[:1] for x in row])  # of the twelve
    plot.images(pictures(first), columns=10, ax=ax, title=name, captions=captions)
plt.show()
grey = [(1 - guess.square()).mean().item() for _, guess in strip]  # of all twelve: 0 where only ink and paper
print("grey:", [round(value, 3) for value in grey])
board.claim("The network's picture loses a fifth of its grey or more on the way.", grey[-1] < 0.8 * grey[0])

# %% [markdown]
# At $t = 1$ nothing but the label is known, and $\hat x_0$ is a pale blend of all pictures of the class. As the
# noise goes, fewer pictures remain possible, the blend becomes sharper, and the path bends towards one of
# them. No single step decides: this is what "many passes" buys.
#
# ## 7 · Guidance
#
# A network trained by least squares answers with the *mean* of what it holds possible, and a small one heeds
# the label only in part: asked for a G in much noise, it hedges towards a C. Guidance turns the label's voice
# up. Let $v_\theta(x_t, t, \varnothing)$ be the answer without a label:
#
# $$v_w = v_\theta(x_t, t, \varnothing) + w\,\big(v_\theta(x_t, t, y) - v_\theta(x_t, t, \varnothing)\big).$$
#
# $w = 1$ is the network as it was trained. What does it do to densities? The slope of a log-density,
# $\nabla_{x_t} \log q(x_t)$, is called its *score*. Bayes' rule, $q(x_t \mid y) = q(x_t)\,q(y \mid x_t) / q(y)$, gives
#
# $$\nabla \log q(x_t \mid y) = \nabla \log q(x_t) + \nabla \log q(y \mid x_t),$$
#
# so the difference of two scores is the slope of a *classifier*, $\nabla\log q(y \mid x_t)$. And $v$ is a score in other
# words:
#
# $$\nabla \log q(x_t) = -\frac{\mathbb E[\varepsilon \mid x_t]}{\sigma_t} = -\Big(x_t + \frac{\alpha_t}{\sigma_t}\,\mathbb E[v \mid x_t]\Big).$$
#
# <details><summary>Derivation</summary>
#
# $q(x_t) = \int q(x_0)\,\mathcal N(x_t;\, \alpha_t x_0, \sigma_t^2)\,dx_0$. Differentiate under the integral and divide by $q(x_t)$:
# the slope of the normal's logarithm, $-(x_t - \alpha_t x_0)/\sigma_t^2 = -\varepsilon/\sigma_t$, is averaged over $q(x_0 \mid x_t)$. The second
# form puts in $\varepsilon = \sigma_t x_t + \alpha_t v$ of section 3.
# </details>
#
# Both scores hold the same $x_t$, with weights $(1-w) + w = 1$; so $v_w$ follows
# $\nabla \log q(x_t) + w\,\nabla \log q(y \mid x_t)$. The classifier that is hidden in the two answers counts $w$ times (Ho and
# Salimans 2022), and pictures that could be taken for another letter become rare. (At each time by itself:
# these densities are not the noisy versions of one sharpened $p(x \mid y)$; lesson 22.)
#
# **Question.** What does $w > 1$ cost? Three measures: *accuracy*, how often the measuring network reads the
# letter that was asked for; *diversity*, the variance within a class over that of real pictures; and the
# *Fréchet distance* between real and drawn pictures in that network's features, which feels both (0 is equal).


# %%
every = torch.arange(CLASSES, device=device)
sorted_test = torch.stack([(y_test == c).nonzero()[:60, 0] for c in every])  # 60 test pictures of each


def measured(x, n):
    """The board's figures of generated pictures x, n of each class in turn, against as many test pictures."""
    real = sorted_test[:, :n].T.flatten()
    return features.glyphs(16).compare(pictures(x), y_test[real], pictures(x_test[real]), y_test[real])


half = max(2, S.each // 2)
many_y, half_y = every.repeat(S.each), every.repeat(half)  # so many pictures of every class

# %% folded="Figure: five weights of guidance" tags=["demo"]
# long: the draws, three measures of them, and three rows of pictures
guided, weights = {}, (1.0, 1.5, 2.0, 3.0, 4.0)
for w in progress.track(weights, title="guidance"):
    began = time.perf_counter()
    x = ddim(ema, noise_like(many_y, 5), time_grid(10), many_y, guidance=w)
    seconds = (time.perf_counter() - began) / len(x)
    guided[w] = x, measured(x, S.each), seconds
fig, axes = plot.figure(1, 3, height=2.7)
panels = {"class_accuracy": "Accuracy", "diversity": "Diversity", "frechet": "Fréchet distance"}
series = {name: [guided[w][1][name] for w in weights] for name in panels}
for ax, (name, title), colour in zip(axes, panels.items(), plot.COLOURS, strict=False):
    ax.plot(weights, series[name], "-o", color=colour)
    ax.set(title=title, xlabel="guidance $w$", xticks=[1, 2, 3, 4])
    ax.set_ylim(0, 1.08 if name != "frechet" else None)
axes[0].axhline(features.glyphs(16).accuracy, color=plot.INK, lw=1, ls=":")
axes[0].text(4, features.glyphs(16).accuracy + 0.015, "real pictures", ha="right", va="bottom", fontsize=9)
plt.show()
print({name: [round(v, 3) for v in values] for name, values in series.items()})
pick = torch.tensor([n * CLASSES + c for c in (16, 27) for n in range(min(6, S.each))])
fig, axes = plot.figure(3, 1, height=1.0)
for ax, w in zip(axes, (1.0, 2.0, 4.0), strict=True):
    plot.images(pictures(guided[w][0][pick]), columns=12, ax=ax, title=f"G and R, guidance {w:g}")
plt.show()
board.claim(
    "Guidance 2 raises accuracy by a tenth or more.",
    series["class_accuracy"][2] > series["class_accuracy"][0] + 0.1,
)
board.claim("Diversity falls with every step of guidance.", bool((np.diff(series["diversity"]) < 0).all()))
board.claim("The Fréchet distance is worst at guidance 4.", max(series["frechet"]) == series["frechet"][-1])
fewer = measured(guided[1.0][0][: half * CLASSES], half)["frechet"]
print(f"guidance 1 by {S.each} pictures of a class: {series['frechet'][0]:.2f}; by {half}: {fewer:.2f}")
board.claim("From half as many pictures the Fréchet distance comes out larger.", fewer > series["frechet"][0])

# %% [markdown]
# <details><summary>Answer</summary>
#
# Without guidance some are torn, or half another letter; with 2 nearly all are the one that was asked for;
# with 4 the strokes grow heavy and the pictures look alike. Diversity pays from the start, and at strong
# guidance the Fréchet distance does, too. A report that gives the accuracy alone hides the trade.
# </details>
#
# ## 8 · How many steps, with a trained network?
#
# In section 4 the network was perfect. Now it errs, too. Both samplers on glyphs, without guidance, by the
# Fréchet distance to test pictures; the distance between *real* sets of this size is the floor. (There are half
# as many pictures of a class as in section 7, and from so few the distance comes out larger: compare within a
# figure.)

# %% folded="Figure: steps and samplers" tags=["demo"]
# long: one figure, and what is measured for it
glyph_error, start = {"DDIM": [], "ancestral": []}, noise_like(half_y, 6)
g = torch.Generator().manual_seed(7)
for steps in progress.track(S.step_counts, title="steps"):
    x = ddim(ema, start, time_grid(steps), half_y)
    glyph_error["DDIM"].append(measured(x, half)["frechet"])
    x = ancestral(ema, start, time_grid(steps), half_y, generator=g)
    glyph_error["ancestral"].append(measured(x, half)["frechet"])
y_val = torch.as_tensor(glyphs.validation.y)
real = torch.stack([(y_val == c).nonzero()[:half, 0] for c in range(CLASSES)]).T.flatten()
floor = measured(2 * torch.as_tensor(glyphs.validation.x)[real] - 1, half)["frechet"]
ax = plot.figure(1, 1, height=2.8)[1]
for (name, values), marker in zip(glyph_error.items(), "so", strict=True):
    ax.plot(range(len(values)), values, f"-{marker}", label=name)
ax.axhline(floor, color=plot.INK, lw=1, ls=":", label="real against real")
ax.set(title="Glyphs, trained network", xlabel="steps", ylabel="Fréchet distance", ylim=(0, None))
ax.set_xticks(range(len(S.step_counts)), S.step_counts)
ax.legend(ncols=3, loc="lower left")
plt.show()
found = np.array([*glyph_error.values()])
board.claim(
    "With 20 and 50 steps the ancestral sampler lies below DDIM.", bool((found[1, -2:] < found[0, -2:]).all())
)

# %% [markdown]
# With many steps the order of section 4 turns round: now the ancestral sampler is ahead. DDIM carries what it
# has got wrong along to the end; fresh noise at every step gives the network a chance to mend it (Karras and
# others 2022 found the same). Both stay far above the floor: what is left is the network's own error, which
# no number of steps removes. Ten or twenty steps reach most of what can be had; a thousand were never needed
# to *sample*.
#
# ## 9 · The ELBO, a weighted sum, in bits
#
# DDPM is a variational autoencoder (lesson 10) with a thousand layers whose encoder, $q$, is fixed. So there
# is an ELBO, and it falls into parts:
#
# $$-\log p(x_0) \le
# \underbrace{\mathrm{KL}\big(q(x_T \mid x_0)\,\|\,\mathcal N(0, I)\big)}_{\text{is the end really noise?}}
# + \sum_{k=2}^{T} \underbrace{\mathbb E\,\mathrm{KL}\big(q(x_{k-1} \mid x_k, x_0)\,\|\,p_\theta(x_{k-1} \mid x_k)\big)}_{L_k}
# + \underbrace{\mathbb E\big[-\log p(x_0 \mid x_1)\big]}_{\text{the last step}} .$$
#
# <details><summary>Derivation: why the picture stands in the condition</summary>
#
# 1. Jensen's inequality, as in lesson 10, with all of $x_1, \dots, x_T$ as hidden numbers:
#    $-\log p(x_0) \le \mathbb E_q\big[-\log p(x_T) - \sum_{k=1}^T \log \frac{p_\theta(x_{k-1} \mid x_k)}{q(x_k \mid x_{k-1})}\big]$.
# 2. $p_\theta$ steps back and $q$ forward: they cannot be compared as they stand. Bayes' rule turns $q$ round. Alone,
#    $q(x_{k-1} \mid x_k)$ would need the unknown density of the data; **given $x_0$** it is section 3's posterior.
#    The chain looks back one step only, so conditioning on $x_0$ changes nothing on the left:
#    $q(x_k \mid x_{k-1}) = q(x_k \mid x_{k-1}, x_0) = q(x_{k-1} \mid x_k, x_0)\,\frac{q(x_k \mid x_0)}{q(x_{k-1} \mid x_0)}$ for $k \ge 2$.
# 3. The fractions cancel along the chain: their product from 2 to $T$ is $q(x_T \mid x_0) / q(x_1 \mid x_0)$, and
#    $q(x_1 \mid x_0)$ cancels against the term $k = 1$.
# 4. What is left: $\log\frac{q(x_T \mid x_0)}{p(x_T)}$, for each $k \ge 2$ $\log\frac{q(x_{k-1} \mid x_k, x_0)}{p_\theta(x_{k-1} \mid x_k)}$, and $-\log p_\theta(x_0 \mid x_1)$.
#    Their means are the three parts.
# </details>
#
# Each mean $\mathbb E$ is over the noise in $x_k$ (in $x_1$, at the last step). The reverse step $p_\theta$
# has the posterior's variance and $\hat x_0$ for $x_0$. Then (Kingma and others 2021)
#
# $$L_k = \tfrac12\,\big(\mathrm{SNR}_{k-1} - \mathrm{SNR}_k\big)\; \mathbb E\,\lVert x_0 - \hat x_0 \rVert^2 .$$
#
# <details><summary>Derivation</summary>
#
# Two normals of one variance $c^2$ differ by $\frac{(\text{difference of means})^2}{2c^2}$, here $\frac{b^2}{2c^2}\lVert x_0 - \hat x_0\rVert^2$. With $b$ and $c$ of
# section 3 and $\sigma_{t|s}^2 = \sigma_t^2 - \alpha_{t|s}^2\sigma_s^2$:
# $\frac{b^2}{c^2} = \frac{\alpha_s^2\,\sigma_{t|s}^2}{\sigma_s^2\,\sigma_t^2} = \frac{\alpha_s^2}{\sigma_s^2} - \frac{\alpha_s^2\alpha_{t|s}^2}{\sigma_t^2} = \mathrm{SNR}_s - \mathrm{SNR}_t$, as $\alpha_s\alpha_{t|s} = \alpha_t$.
# </details>
#
# So the ELBO *is* a weighted sum of squared errors, and the loss of section 6 is another weighting of the
# same errors: since for one $x_t$ the errors are tied, $v - \hat v = -(x_0 - \hat x_0)/\sigma_t$, it weighs
# the picture's error by $1/\sigma_t^2 = \mathrm{SNR} + 1$, and an $\varepsilon$-loss by $\mathrm{SNR}$. The
# ELBO's own weight is the *slope* of SNR, which grows far steeper towards $t = 0$.
#
# Now the bits. The glyphs have 256 levels, so the last step must give a *probability* to each level: the mass
# of a normal curve around $\hat x_0$, between half a level below and half a level above; the first and the
# last level get the tails. Its width is the one free number, and we fit it on training pictures. That keeps
# the bound a bound. The thousand terms would need a thousand network calls for each picture: we draw a few
# steps for each, spread evenly over the test set: their mean, times the number of steps, estimates the sum.
#
# **Question.** Against what? Eight bits for the grey level as it is; and a model without any neighbours, a
# table of 256 levels for each pixel of each class (the naive Bayes of lesson 02), which is exact and no
# bound. It cannot draw a letter. Will it get more bits, or fewer?


# %%
# long: the bound and its two parts
def log_levels(x_0, guess, width):
    """log of the mass that N(guess, width^2) gives to the level of x_0, one of 256 in [-1, 1]; by pixel."""
    below, above = ((x_0 + side / 255 - guess) / width for side in (-1, 1))
    below = torch.where(x_0 < -0.999, -torch.inf, below)
    above = torch.where(x_0 > 0.999, torch.inf, above)
    flip = (below + above) > 0  # the normal CDF is exact in its lower tail only
    below, above = torch.where(flip, -above, below), torch.where(flip, -below, above)
    mass = torch.special.ndtr(above.to(tables)) - torch.special.ndtr(below.to(tables))
    return mass.clamp(min=1e-30).log()


@torch.no_grad()
def guess_at(net, x_0, y, k, generator):
    """The network's picture from a draw of q(x_k | x_0), clipped: (B, 1, 16, 16), (B,) labels and steps."""
    t, eps = k / T, torch.randn(x_0.shape, generator=generator).to(x_0)
    x_t = q_sample(COSINE, x_0, t, eps)
    alpha, sigma = (along(v, x_0) for v in alpha_sigma(COSINE, t))
    return picture_and_noise("v", net(x_t, t, y), x_t, alpha, sigma)[0].clamp(-1, 1)


def snr(schedule, k):
    """alpha_bar / (1 - alpha_bar) at the steps k."""
    return schedule[k] / (1 - schedule[k])


def bound(net, x_0, y, draws, generator):
    """-log p(x_0 | y) from above, bits/dim: prior (B,), steps and terms (draws, B), last step (B,)."""
    B, D, bits = len(x_0), x_0[0].numel(), math.log(2) * x_0[0].numel()
    signal = COSINE[-1] * x_0.square().flatten(1).sum(1)
    prior = 0.5 * (signal - D * COSINE[-1] - D * torch.log1p(-COSINE[-1])) / bits
    u = (torch.randperm(draws * B, generator=generator) + 0.5) / (draws * B)
    k = (2 + (u * (T - 1)).floor().long()).reshape(draws, B).to(x_0.device)
    weight = (snr(COSINE, k - 1) - snr(COSINE, k)) / 2
    error = [(guess_at(net, x_0, y, row, generator) - x_0).square().flatten(1).sum(1) for row in k]
    terms = (T - 1) * weight.to(x_0) * torch.stack(error) / bits
    one = torch.ones_like(y)
    width = (guess_at(net, x_train[:B], y_train[:B], one, generator) - x_train[:B]).square().mean().sqrt()
    last = -log_levels(x_0, guess_at(net, x_0, y, one, generator), width).flatten(1).sum(1) / bits
    return prior, k, terms, last


# %% folded="Figure: what each loss pays, and where the bits are spent" tags=["demo"]
# long: the bound, the table of pixels, and a figure of both
prior, ks, terms, last = bound(
    ema, x_test[: S.bound], y_test[: S.bound], 20, torch.Generator().manual_seed(8)
)
per_picture = prior.to(terms) + terms.mean(0) + last.to(terms)
bits_per_dim = per_picture.mean().item()
error = per_picture.std().item() / math.sqrt(len(per_picture))
print(
    f"the end: {prior.mean():.4f} bits/dim; the steps: {terms.mean():.3f}; the last step: {last.mean():.3f}"
)
print(f"in all at most {bits_per_dim:.3f} bits/dim (standard error {error:.3f})")
both = ((pictures(x) * 255).round().long().flatten(1) for x in (x_train, x_test[: S.bound]))
levels_train, levels_test = both
table = torch.full((CLASSES, 256, 256), 1e-2, device=device)  # class, pixel, level; a little for the unseen
pixel = torch.arange(256, device=device)
flat = (y_train[:, None] * 256 + pixel) * 256 + levels_train
table.view(-1).index_add_(0, flat.flatten(), torch.ones_like(flat.flatten(), dtype=table.dtype))
log_table = (table / table.sum(2, keepdim=True)).log()
naive = -log_table[y_test[: S.bound, None], pixel, levels_test].mean().item() / math.log(2)
print(f"independent pixels: {naive:.3f} bits/dim; DDPM: at most {bits_per_dim:.3f}")
edges = [1, 2, 5, 20, 100, 300, T]
k_all, bits, share = ks.flatten().cpu(), terms.flatten().cpu(), [last.mean().item()]
for lo, hi in itertools.pairwise(edges[1:]):
    share.append(bits[(k_all >= lo) & (k_all < hi + (hi == T))].sum().item() / bits.numel())
names = ["1"] + [f"{lo}–{hi - (hi < T)}" for lo, hi in itertools.pairwise(edges[1:])]
k, ratio = torch.arange(2, T + 1), snr(cosine_schedule(T), torch.arange(T + 1))
paid = {"ELBO": (ratio[k - 1] - ratio[k]) / 2 * T, r"$\varepsilon$-loss": ratio[k], "$v$-loss": ratio[k] + 1}
fig, axes = plot.figure(1, 2, height=3.0)
for name, values in (paid | {"$x_0$-loss": torch.ones(T - 1)}).items():
    axes[0].plot(k / T, values, label=name)
axes[0].set(yscale="log", ylim=(1e-4, 1e8), xlabel="time $t$", title="Price of an error in the picture")
axes[0].legend(ncols=2, loc="upper right", fontsize=9)
axes[1].bar(names, share, color=[plot.COLOURS.orange] + [plot.COLOURS.blue] * (len(share) - 1))
axes[1].set(xlabel="steps $k$ of the thousand", ylabel="bits/dim", title="Where the bits are spent")
axes[1].tick_params(axis="x", labelsize=8)
plt.show()
board.claim("The table of pixels needs fewer bits than our bound.", naive < bits_per_dim)
board.claim("Times above 0.3 cost less than a tenth of the sum.", share[-1] < 0.1 * bits_per_dim)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Fewer. The table knows that most pixels are paper, *exactly* paper, and pays next to nothing for them. Our
# network guesses them to within a few levels (the figures above show it as a faint mottle of the paper) and
# pays for the difference in every pixel.
# </details>
#
# Most bits go to times at which hardly any noise is left: they pay for exact grey levels. The times above
# 0.3, at which letters are decided, cost little. That is why bits/dim and the look of samples are nearly
# strangers, and why dropping the ELBO's weights made DDPM draw. (Its paper reports at most 3.75 bits/dim on
# CIFAR-10, beside 2.80 of an autoregressive transformer.)
#
# ## 10 · Play, and what breaks
#
# *Question: how few steps will do, and does guidance need more of them?* Each position of the controls draws
# sixteen pictures of one letter, from the same noise.


# %% folded="Controls, and a figure of what they show" tags=["demo"]
# long: the controls, and the same as a figure
def sixteen(letter, steps, guidance):
    """Sixteen pictures of a character by DDIM, always from the same noise."""
    y = torch.full((16,), data.CAPITALS_AND_DIGITS.index(letter), device=device)
    return ddim(ema, noise_like(y, 9), time_grid(steps), y, guidance=guidance)


def play(letter, steps, guidance):
    """One row for the three controls."""
    x = sixteen(letter, steps, guidance)
    right = features.glyphs(16)(pictures(x)).labels == data.CAPITALS_AND_DIGITS.index(letter)
    title = f"{letter}: {steps} steps, guidance {guidance:g}: {right.sum()} of 16 are read as {letter}"
    plot.images(pictures(x), columns=16, title=title)
    plt.show()


letters = widgets.Dropdown(options=list(data.CAPITALS_AND_DIGITS), value="G")
steps = widgets.IntSlider(10, min=1, max=50, continuous_update=False)
guidance = widgets.FloatSlider(2.0, min=0.0, max=6.0, step=0.5, continuous_update=False)
controls = interact(play, letter=letters, steps=steps, guidance=guidance)
fig, axes = plot.figure(6, 1, height=0.85)
cases = [(s, w) for s in (2, 5, 20) for w in (1.0, 3.0)]
for ax, (s, w) in zip(axes, cases, strict=True):
    plot.images(pictures(sixteen("G", s, w)), columns=16, ax=ax, title=f"{s} steps, guidance {w:g}")
plt.show()
by_steps = {}
for s in (2, 5, 20):
    got = measured(ddim(ema, noise_like(half_y, 12), time_grid(s), half_y), half)
    by_steps[s] = [got[name] for name in panels]
    print(f"{s:2} steps, guidance 1, all classes:", ", ".join(f"{n} {got[n]:.3f}" for n in panels))
board.claim(
    "Without guidance, more steps make letters more varied and less often right.",
    by_steps[2][0] > by_steps[20][0] and by_steps[2][1] < by_steps[5][1] < by_steps[20][1],
)

# %% [markdown]
# Without guidance two steps already draw the letter, in pale and blurred strokes: a mean over many. More steps
# make the strokes sharp and the letters different from each other, and some of them wrong: a mean over many Gs
# is read as a G, a single one may be torn. Few steps and guidance push the same way, towards what is typical of the
# class; guidance does it with strokes that stay dark.
#
# ### A schedule that never reaches noise
#
# The sampler starts from $\mathcal N(0, I)$. That is right if $\bar\alpha$ ends at 0. A schedule that ends at
# $\bar\alpha_T > 0$ has never shown its network pure noise: at its last time there is always a trace of the
# picture in $x_T$, and the network has learned to trust it. (Lin and others, 2023, found it in Stable
# Diffusion, whose pictures were all of medium brightness.)
#
# We need no second network to see it. A schedule that stops early is ours, cut off at some
# $t_{\text{end}} < 1$, and a network trained on it alone could answer no better there.
#
# **Question.** The mean of pure noise is 0, half-way between ink and paper. Will letters drawn from such a
# start have too much ink or too little?

# %% folded="Figure: where the schedule ends" tags=["demo"]
stable_diffusion = 1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1_000, dtype=torch.float64) ** 2
print(f"Stable Diffusion 1 ends at alpha_bar {stable_diffusion.prod():.4f}")
ends, ended, ink = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5), {}, pictures(x_test).mean().item()
for end in progress.track(ends, title="cut off"):
    x = ddim(ema, noise_like(half_y, 10), time_grid(10, end), half_y, guidance=2.0)
    ended[end] = x, measured(x, half)["class_accuracy"], pictures(x).mean().item()
    bar_end, (_, right, dark) = COSINE[round(end * T)].item(), ended[end]
    print(f"ends at alpha_bar {bar_end:.3f}: accuracy {right:.3f}, ink {dark:.3f} (real {ink:.3f})")
fig, axes = plot.figure(3, 1, height=1.0)
for ax, end in zip(axes, (0.5, 0.7, 1.0), strict=True):
    title = rf"Starts from noise where $\bar\alpha_T$ = {COSINE[round(end * T)].item():.2f}"
    plot.images(pictures(ended[end][0][10:28]), columns=18, ax=ax, title=title)
plt.show()
inks, rights = ([v[i] for v in ended.values()] for i in (2, 1))
board.claim("The further from noise the schedule ends, the more ink.", inks == sorted(inks))
board.claim("Cut off at half time, accuracy falls by 0.5 or more.", rights[-1] < rights[0] - 0.5)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Too much: the network takes the noise's mean, grey, for a trace of the picture. (At $\bar\alpha_T = 0$ there is still a
# little too much ink: guidance makes strokes heavier.)
# </details>
#
# **The repair** is the last row: let $\bar\alpha$ go all the way to 0, and ask for $v$, since at $\bar\alpha = 0$ the
# noise tells nothing. Where a schedule cannot be redrawn it can be *rescaled*: exercise 2.
#
# ### A linear schedule on small pictures
#
# DDPM's line was made for larger pictures. In a large picture neighbouring pixels say the same thing many
# times over, so that much noise is needed to hide it; a picture of 16 × 16 pixels drowns early. What share of
# the schedule's time is spent where there is nothing to see? The measure is the network's error in the
# picture over that of the class's mean picture: near 1, or a little above, it sees no more than the label.


# %% folded="Figure: time with nothing to see" tags=["demo"]
# long: one figure, and what is measured for it
def cosine_time(schedule, t):
    """The time at which the cosine schedule has the alpha_bar that `schedule` has at t: (n,) -> (n,)."""
    bar = schedule[(t * T).round().long()]
    return (COSINE[None] - bar[:, None]).abs().argmin(dim=1).to(t.dtype) / T


means = torch.stack([x_train[y_train == c].mean(0) for c in range(CLASSES)])
some, some_y, unseen, g = x_test[:256], y_test[:256], [], torch.Generator().manual_seed(11)
blind, ks_grid = (some - means[some_y]).square().mean().item(), torch.arange(25, T + 1, 25, device=device)
for k in ks_grid:
    guess = guess_at(ema, some, some_y, k.expand(len(some)), g)
    unseen.append((guess - some).square().mean().item() / blind)
fig, axes, spent = *plot.figure(1, 2, height=2.9), {}
for name, schedule in (("linear", LINEAR), ("cosine", COSINE)):
    as_cosine = cosine_time(schedule, ks_grid / T).cpu().numpy()
    curve = np.interp(as_cosine, ks_grid.cpu() / T, unseen)
    spent[name] = (curve > 0.9).mean()
    axes[0].plot(ks_grid.cpu() / T, schedule[ks_grid].cpu(), label=name)
    axes[1].plot(ks_grid.cpu() / T, curve, label=f"{name}: {spent[name]:.0%} above 0.9")
axes[0].set(title=r"$\bar\alpha$", xlabel="time $t$")
axes[1].set(title="Error of the guess, over the mean's", xlabel="time $t$", ylim=(0, 1.1))
axes[1].legend(loc="lower right")
plt.show()
board.claim(
    "The linear schedule spends twice as much time with nothing to see.",
    spent["linear"] > 2 * spent["cosine"],
)

# %% [markdown]
# Under the linear schedule about half of every training batch teaches the network little, and as many of a
# sampler's steps move next to nothing. The cosine is one repair. Another keeps any schedule and *shifts* its
# log-SNR by what the size of the picture asks for (Hoogeboom and others 2023): noise that is right at one
# resolution is right at another after a shift of $2\log$ of the ratio of the sides (a larger picture needs a
# lower log-SNR).
#
# ## 11 · Where it wins: many modes
#
# Sixteen small clouds in the plane, and four models with the *same* network, a few seconds each: a VAE, a
# GAN, a diffusion that says $v$ and one that says $\varepsilon$.
#
# **Question.** A decoder or a generator is one smooth map of one round cloud of noise. What must it do to
# make sixteen separate ones?


# %% folded="Four models of sixteen clouds" tags=["demo"]
# long: one network for four families, and their losses
CLOUD, batch = 0.06, 256
corners = torch.cartesian_prod(*[torch.linspace(-1, 1, 4)] * 2).to(device)  # (16, 2)
g = torch.Generator(device).manual_seed(14)


def clouds(n):
    """n points of the sixteen clouds: (n, 2)."""
    at = corners[torch.randint(16, (n,), generator=g, device=device)]
    return at + CLOUD * torch.randn(n, 2, generator=g, device=device)


def ask(net, x, t=None):
    """What a network says to points, and a time, as waves of three lengths: (B, 2), (B,) -> (B, m)."""
    u = torch.cat([x, 0 * x[:, :1] if t is None else t[:, None].to(x)], dim=1)
    waves = (u[..., None] * torch.tensor([1.5, 3.0, 6.0], device=device)).flatten(1)
    return net(torch.cat([u, waves.sin(), waves.cos()], dim=1))


def fit(*parts):
    """Train each network of the parts by its loss of a batch, in turn."""
    adams = [torch.optim.Adam(net.parameters(), r, betas) for net, _, r, betas in parts]
    falls = [torch.optim.lr_scheduler.LambdaLR(o, lambda n: 1 - n / S.plane) for o in adams]
    for _ in range(S.plane):
        x = clouds(batch)
        for (_, loss, *_), adam, fall in zip(parts, adams, falls, strict=True):
            adam.zero_grad()
            loss(x).backward()
            adam.step()
            fall.step()


torch.manual_seed(15)
sizes = {"encoder": 4, "decoder": 2, "D": 1, "G": 2, "v": 2, "eps": 2}
hidden = [lambda: nn.Linear(96, 96), nn.SiLU] * 2
six = {
    name: nn.Sequential(nn.Linear(21, 96), nn.SiLU(), *(make() for make in hidden), nn.Linear(96, m)).to(
        device
    )
    for name, m in sizes.items()
}


def normal_like(x):
    """Normal noise like x, by this section's generator."""
    return torch.randn(x.shape, generator=g, device=device)


def vae_loss(x):
    """The negative ELBO of lesson 10, less a constant; the decoder's deviation is the clouds' own."""
    mu, log_var = ask(six["encoder"], x).chunk(2, dim=1)
    z = mu + (log_var / 2).exp() * normal_like(mu)
    error = (x - ask(six["decoder"], z)).square() / (2 * CLOUD**2)
    return (error + (mu.square() + log_var.exp() - log_var) / 2).sum(1).mean()


def d_loss(x):
    """The discriminator's of lesson 13."""
    fake = ask(six["D"], ask(six["G"], normal_like(x)).detach())
    return (F.softplus(-ask(six["D"], x)) + F.softplus(fake)).mean()


def noised_loss(kind, x):
    """Least squares in v, or in the noise."""
    t, eps = stratified_times(len(x), g, device), normal_like(x)
    alpha, sigma = (along(value, x) for value in alpha_sigma(COSINE, t))
    said = ask(six[kind], alpha * x + sigma * eps, t)
    return F.mse_loss(said, eps if kind == "eps" else alpha * eps - sigma * x)


# %% folded="Figure: sixteen clouds, four models" tags=["demo"]
six["both"] = nn.ModuleList([six["encoder"], six["decoder"]])
fit((six["both"], vae_loss, 1e-3, (0.9, 0.99)))
g_loss = lambda x: F.softplus(-ask(six["D"], ask(six["G"], normal_like(x)))).mean()  # noqa: E731
fit((six["D"], d_loss, 1e-3, (0.5, 0.99)), (six["G"], g_loss, 5e-4, (0.5, 0.99)))
for kind in ("v", "eps"):
    fit((six[kind], functools.partial(noised_loss, kind), 4e-3, (0.9, 0.99)))
# long: one figure of five panels, and what is measured in each
start = torch.randn(4_000, 2, generator=torch.Generator().manual_seed(16)).to(device)
one = torch.zeros(len(start), dtype=torch.long, device=device)
with torch.no_grad():
    found = {"data": clouds(4_000), "VAE": ask(six["decoder"], start) + CLOUD * normal_like(start)}
    found["GAN"] = ask(six["G"], start)
    found["says v"] = ddim(lambda x, t, y: ask(six["v"], x, t), start, time_grid(50), one, clip=1.3)

    def v_of_eps(x, t, y):
        """eps = sigma x_t + alpha v, solved for v."""
        alpha, sigma = (along(value, x) for value in alpha_sigma(COSINE, t))
        return (ask(six["eps"], x, t) - sigma * x) / alpha

    found["says ε"] = ddim(v_of_eps, start, time_grid(50, 0.98), one, clip=1.3)
near, uneven = {}, {}
fig, axes = plot.figure(1, 5, height=2.1)
for ax, (name, x) in zip(axes, found.items(), strict=True):
    distance, which = (x[:, None] - corners).norm(dim=2).min(dim=1)
    on = distance < 3 * CLOUD
    served = torch.bincount(which[on], minlength=16) / len(x)
    near[name], uneven[name] = on.float().mean().item(), (served - 1 / 16).clamp(max=0).sum().neg().item()
    ax.scatter(*x[:2_000].T.cpu(), s=1.5, color=plot.COLOURS.blue)
    ax.set(title=name, xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), xticks=[], yticks=[], aspect="equal")
    ax.set_xlabel(f"{near[name]:.0%} near,\n{uneven[name]:.0%} missing", fontsize=9)
plt.show()
with torch.no_grad():
    for n in (1, 2, 5, 10, 20, 50):
        x = ddim(lambda x, t, y: ask(six["v"], x, t), start, time_grid(n), one, clip=1.3)
        near[n] = ((x[:, None] - corners).norm(dim=2).min(dim=1).values < 3 * CLOUD).float().mean().item()
print("near a cloud, says v:", ", ".join(f"{near[n]:.0%} in {n} steps" for n in (1, 2, 5, 10, 20, 50)))
board.claim(
    "In one or two steps the same network does worse than the GAN.", max(near[1], near[2]) < near["GAN"]
)
board.claim(
    "Diffusion puts more points near the clouds, and leaves fewer out, than VAE and GAN.",
    all(near["says v"] > near[o] + 0.05 and uneven["says v"] < uneven[o] / 1.5 for o in ("VAE", "GAN")),
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# It must pull the cloud apart, with an enormous slope wherever two neighbours part. A network of three layers
# does not reach such slopes in one pass: it draws threads between the modes and leaves some modes short (GAN), or
# its codes fall between those that it was trained on and decode to the space between (VAE). Fifty passes of the
# same network are one smooth map, too, but one of fifty times the depth: slopes multiply from step to step.
# </details>
#
# Under each panel: the share of points that lie within three deviations of a cloud (of the data nearly all), and by
# how much clouds fall short of their sixteenth, in all. The printed line says what the passes are worth: with one or
# two the same network is worse than the GAN, with twenty better. Diffusion falls short of the data, too.
# What it says matters less here: $\varepsilon$ does about as well as $v$, if its walk begins at $t = 0.98$; at
# $t = 1$ it would know nothing. (Each family has the learning rate that suited it in a few trials, 4e-3, 1e-3 and
# 5e-4; more search might bring the four nearer together.)
#
# This is why diffusion took over where data have very many modes: the photographs of the web (Stable
# Diffusion, Imagen, DALL-E 2), protein structures (AlphaFold 3), weather (GenCast). On our small glyphs, with a minute of training, it has no such lead, as the board shows.
#
# ## 12 · How good is it?

# %% tags=["demo"]
for w in (1.0, 2.0):
    x, figures, seconds = guided[w]
    extra = {"bits_per_dim": bits_per_dim} if w == 1 else {}
    costs = {"parameters": parameters, "train_seconds": train_seconds, "sample_seconds": seconds}
    board.record("19_ddpm", f"DDPM, guidance {w:g}", data="glyphs 16", **costs, **figures, **extra)
gan = next(row.figures for row in board.published().rows if row.model == "conditional DCGAN")
board.claim(
    "Guidance 2 has more precision than the GAN of lesson 13.", guided[2.0][1]["precision"] > gan["precision"]
)
board.plot("glyphs 16")
plt.show()
board.table("glyphs 16")

# %% [markdown]
# Both rows are one network and ten steps of DDIM; only guidance differs, and with it the seconds (twice the
# calls). After so short a training the Fréchet distance of both is well above those of lesson 10's VAE and
# lesson 13's GAN, and a picture takes many times as long. What is gained against the GAN is precision (the
# share of drawn pictures that lie among real ones), a bound on the likelihood and a training without an
# opponent. Against the VAE it is diversity, at guidance 1, and its price stands in the same row: fewer letters are
# the one that was asked for, and fewer lie among real ones. The bits belong to
# the network as trained, without guidance: guided samples come from no density that anybody has written down.
#
# ## 13 · In production
#
# One sample costs
#
# $$\text{time} = S \times g \times t_{\text{net}},$$
#
# $S$ steps, $g = 2$ with guidance and 1 without, $t_{\text{net}}$ one run of the network. So there are four
# knobs: fewer steps (DDIM here; better solvers in lesson 20; distillation in lesson 24), guidance built into
# the network, a cheaper network (our unshuffled pixels; latents in lesson 29), and lower precision.

# %% tags=["demo"]
y, per_call = torch.full((64,), 3, device=device), []
x = noise_like(y, 13)
for name, steps, w in (("10 steps", 10, 1.0), ("10 steps, guided", 10, 2.0), ("40 steps", 40, 1.0)):
    began = time.perf_counter()
    ddim(ema, x, time_grid(steps), y, guidance=w).sum().item()  # waits for the device
    each = 1_000 * (time.perf_counter() - began) / 64
    per_call.append(each / steps / (2 if w != 1 else 1))
    print(f"{name:17} {each:6.2f} ms a sample, {per_call[-1]:.3f} ms a call")

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs. In all of them $\alpha$ and $\sigma$ are
# what section 2 says, $x_t = \alpha_t x_0 + \sigma_t\varepsilon$. But where an exercise says *any schedule*,
# $\alpha^2 + \sigma^2$ need not be 1; all that holds is that SNR falls with time. (Lesson 23 uses
# $\alpha = 1 - t$, $\sigma = t$.)
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple.
#
# ### 1 · Any two tell the others (easy, 15 minutes)
#
# Section 3 went from $x_t$ and one answer to the others, where $\alpha^2 + \sigma^2 = 1$. Now take *any
# schedule*, and any two of the four quantities $x_t$, $x_0$, $\varepsilon$ and
# $v = \alpha\,\varepsilon - \sigma\,x_0$: find all four. Each is $p\,x_0 + q\,\varepsilon$ with known numbers
# $p$ and $q$, so that two of them are two linear equations. Where these do not determine $x_0$ and
# $\varepsilon$ (for example $x_t$ and $\varepsilon$ with $\alpha = 0$), in one row of the batch or in all,
# raise `ValueError`.


# %% exercise="any-two"
def any_two(known, alpha, sigma):
    """All of "x_t", "x_0", "eps" and "v", as a dict, from the two that `known` holds.

    known: a dict of two of these names, each (B, ...); alpha, sigma: (B,), not negative, of any schedule.
    All float64: close to the ends of a schedule little is left of a quantity, and it takes the late digits.
    Raises ValueError unless `known` has exactly two of the names, and where the two leave the others open.
    """
    ### BEGIN SOLUTION
    if len(known) != 2 or set(known) - {"x_t", "x_0", "eps", "v"}:
        raise ValueError("give two of x_t, x_0, eps and v")
    alpha, sigma = (along(v, next(iter(known.values()))) for v in (alpha, sigma))
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    rows = {"x_t": (alpha, sigma), "x_0": (one, zero), "eps": (zero, one), "v": (-sigma, alpha)}
    (a, u), (b, w) = ((rows[name], value) for name, value in known.items())
    det = a[0] * b[1] - a[1] * b[0]
    if (det == 0).any():
        raise ValueError("these two do not determine the others")
    x_0, eps = (u * b[1] - w * a[1]) / det, (w * a[0] - u * b[0]) / det
    return {name: p * x_0 + q * eps for name, (p, q) in rows.items()} | known
    ### END SOLUTION


# %% test="any-two" points=1
half_way = torch.tensor([0.5], dtype=torch.float64)  # alpha = sigma = 0.5: alpha^2 + sigma^2 is not 1
four = any_two(
    {"x_t": torch.tensor([[1.0]]).double(), "v": torch.tensor([[0.0]]).double()}, half_way, half_way
)
assert set(four) == {"x_t", "x_0", "eps", "v"}, "all four, by name"
assert math.isclose(four["x_0"].item(), 1) and math.isclose(four["eps"].item(), 1), (
    "0.5 + 0.5 = 1, 0.5 - 0.5 = 0"
)
at_tenth = torch.tensor([[0.1]], dtype=torch.float64)
four = any_two({"v": torch.tensor([[0.5]]).double(), "x_0": at_tenth}, half_way, half_way)
assert four["eps"].shape == (1, 1), f"each of the shape that came in, (1, 1), not {tuple(four['eps'].shape)}"
assert math.isclose(four["eps"].item(), 1.1), "0.5 eps - 0.5 * 0.1 = 0.5, to the digits of float64"

# %% [markdown]
# ### 2 · A schedule that ends in noise (easy, 5 minutes)
#
# The repair of section 10 for a schedule that somebody else has chosen (Lin and others 2023). Shift
# $\sqrt{\bar\alpha_k}$ by a constant, so that the last one becomes 0, then multiply by a constant, so that
# the one at $k = 1$ is what it was; the clean end, $\bar\alpha_0 = 1$, stays. Return the new table and its
# $\beta_1, \dots, \beta_T$.


# %% exercise="zero-terminal"
def zero_terminal(alpha_bar):
    """The rescaled table (T + 1,), 1 first and exactly 0 last, and its betas (T,).

    alpha_bar: (T + 1,), float64, falling, 1 first; it may end at 0 already. T is at least 2.
    """
    ### BEGIN SOLUTION
    root = alpha_bar.sqrt()
    root = (root - root[-1]) * root[1] / (root[1] - root[-1])
    root[0] = 1.0
    new = root**2
    return new, 1 - new[1:] / new[:-1]
    ### END SOLUTION


# %% test="zero-terminal" points=2
short = torch.tensor([1.0, 0.81, 0.49, 0.09], dtype=torch.float64)  # roots 1, 0.9, 0.7, 0.3
kept = short.clone()
new_bar, new_beta = zero_terminal(short)
assert torch.allclose(new_bar.sqrt(), torch.tensor([1.0, 0.9, 0.6, 0.0], dtype=torch.float64)), (
    "0.9, 0.7, 0.3 less 0.3 are 0.6, 0.4, 0; times 1.5"
)
assert new_beta.shape == (3,) and math.isclose(new_beta[0].item(), 0.19), (
    "1 - 0.81: the first step is the old one"
)
assert new_beta[-1] == 1, "the last step replaces everything"
assert torch.equal(short, kept), "leave the table that came in as it is"

# %% [markdown]
# ### 3 · Repair a broken sampler (easy, 10 minutes)
#
#
# Somebody wrote DDPM's step from $x_k$ to $x_{k-1}$ for a network that says $\varepsilon$, with guidance, in
# DDPM's own form of the posterior mean: $\hat x_0$ is put in and everything is sorted by $x_k$ and
# $\hat\varepsilon$. The noise $z$ is drawn outside. It has **three** faults, and draws nothing: in single
# precision (float32) its numbers run off to infinity within a few dozen of the thousand steps. Find the
# faults, and write the step that works. $w$ is the guidance of section 7, and nothing is clipped.
#
# ```python
# def broken_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
#     """x_{k-1} from x_k, with three faults. alpha_bar: the table (T + 1,); k from 1 to T."""
#     before, now = alpha_bar[k - 1], alpha_bar[k]
#     beta_k = 1 - now / before
#     guided = eps_y + w * (eps_y - eps_none)
#     mean_k = (x_k - beta_k / (1 - now).sqrt() * guided) / now.sqrt()
#     return mean_k + beta_k * (1 - before) / (1 - now) * z
# ```


# %% exercise="repair"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    """A draw of p(x_{k-1} | x_k), the posterior with the guided picture in it: (B, ...) -> (B, ...).

    eps_y, eps_none: what the network says with the label and without; w: guidance, 1 for none; k: a number
    from 1 to T; alpha_bar: the table (T + 1,), 1 first, above 0; z: standard normal noise like x_k.
    """
    ### BEGIN SOLUTION
    eps = eps_none + w * (eps_y - eps_none)
    beta = 1 - alpha_bar[k] / alpha_bar[k - 1]
    mean = (x_k - beta / (1 - alpha_bar[k]).sqrt() * eps) / (1 - beta).sqrt()
    variance = beta * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])
    return mean + variance.sqrt() * z
    ### END SOLUTION


# %% test="repair" points=2
steps_bar = torch.tensor([1.0, 0.8, 0.4], dtype=torch.float64)
clean, grain = torch.tensor([[0.3, -0.7]]).double(), torch.tensor([[1.0, -2.0]]).double()
first = steps_bar[1].sqrt() * clean + (1 - steps_bar[1]).sqrt() * grain
got = repaired_step(first, grain, 9 * grain, 1.0, 1, steps_bar, grain)
assert got.shape == (1, 2), f"of the shape of x_k, (1, 2), not {tuple(got.shape)}"
assert torch.allclose(got, clean), "k = 1, w = 1: the network knows the noise; take it away, and add none"
noisy = steps_bar[2].sqrt() * clean + (1 - steps_bar[2]).sqrt() * grain
mean = repaired_step(noisy, grain, grain, 3.0, 2, steps_bar, 0 * grain)
a, b, c = posterior(
    *(v[1:2] for v in alpha_sigma(steps_bar, torch.tensor([0, 0.5]))), *alpha_sigma(steps_bar, torch.ones(1))
)
assert torch.allclose(mean, a * noisy + b * clean), "without z: the mean of section 3's posterior"
spread = repaired_step(noisy, grain, grain, 3.0, 2, steps_bar, 0 * grain + 1) - mean
assert torch.allclose(spread, c.expand(1, 2)), "one unit of z moves x by the posterior's deviation"

# %% [markdown]
# ### 4 · Two moments of one path (medium, 10 minutes)
#
# A picture is noised once, step by step, and looked at several times on the way. Given $x_0$, the pixel's
# values at these times are normal *together*. How do they covary? From the earlier time $s$ to the later $t$
# one jump of section 3 leads: $x_t = \alpha_{t|s}\, x_s + \text{new noise}$. The times come in any order, and
# the schedule is *any schedule*; of two times, the one with the smaller SNR is the later.


# %% exercise="two-times"
def path_covariance(alpha, sigma):
    """Cov(x_i, x_j | x_0) of one pixel at n times of one path: (n,), (n,) -> (n, n).

    alpha, sigma: float64, of any schedule, in any order. sigma may be 0 (no noise yet); alpha may be 0 for
    at most one of the times (nothing left of the picture).
    """
    ### BEGIN SOLUTION
    earlier = alpha[:, None] * sigma >= alpha * sigma[:, None]  # i has more signal than j
    forward = alpha / alpha[:, None] * sigma[:, None] ** 2
    covariance = torch.where(earlier, forward, forward.T)
    return covariance.fill_diagonal_(0) + torch.diag(sigma**2)
    ### END SOLUTION


# %% test="two-times" points=2
at = torch.tensor([0.0, 0.8, 0.6], dtype=torch.float64)
covariance = path_covariance(at, (1 - at**2).sqrt())
assert torch.allclose(covariance.diagonal(), 1 - at**2), "each time by itself: sigma^2"
assert torch.allclose(covariance, covariance.T), "symmetric, whichever of the two is later"
assert math.isclose(covariance[1, 2].item(), 0.75 * 0.36), "the earlier noise, 0.36, shrunk by 0.6 / 0.8"
assert covariance[0, 1] == 0, "pure noise remembers nothing"

# %% [markdown]
# ### 5 · The variance of the step back (medium, 10 minutes)
#
# Section 4 measured it; here is the formula to find. The step back is
# $p_\theta(x_s \mid x_t) = \mathcal N(a x_t + b\hat x_0, \rho^2 I)$, in section 9 with the posterior's own variance, $\rho^2 = c^2$.
# But the network's picture is off by a mean squared error $m = \mathbb E(x_0 - \hat x_0)^2$ per pixel, and the step could
# admit that. Which $\rho^2$ makes
# $\mathbb E\,\mathrm{KL}\big(\mathcal N(a x_t + b x_0, c^2)\,\|\,\mathcal N(a x_t + b \hat x_0, \rho^2)\big)$
# smallest, the mean taken over pixels, and how many nats per pixel does it save against $\rho^2 = c^2$? (Bao
# and others 2022 sample with such variances.)


# %% exercise="best-variance"
def best_variance(b, c, m):
    """The best rho^2, and the nats per pixel that it saves against c^2: b, c, m (n,) -> (n,), (n,).

    b, c: of the posterior, c > 0; m: the mean squared error of the picture, not negative. All float64.
    """
    ### BEGIN SOLUTION
    excess = (b / c) ** 2 * m  # of the mean, in units of the variance
    return c**2 * (1 + excess), (excess - excess.log1p()) / 2
    ### END SOLUTION


# %% test="best-variance" points=2
one = torch.ones(1, dtype=torch.float64)
rho2, saved = best_variance(0.5 * one, 0.1 * one, 0 * one)
assert rho2.shape == saved.shape == (1,), "two answers (n,), one after the other"
assert math.isclose(rho2.item(), 0.01) and saved.item() == 0, (
    "a perfect picture: the posterior's variance is best"
)
rho2, saved = best_variance(one, one, (math.e - 1) * one)
assert math.isclose(rho2.item(), math.e), "the variance that is there: c^2, and b^2 m from the wrong mean"
assert math.isclose(saved.item(), (math.e - 1) / 2 - 0.5), (
    "KL with rho^2 = 1: (e - 1) / 2; with e: log(e) / 2"
)

# %% [markdown]
# ### 6 · One weighting, three losses (medium, 10 minutes)
#
#
# Hang and others (2023) weigh the squared error *of the picture* by $\min(\mathrm{SNR}, \gamma)$: what is
# easy counts no more than $\gamma$. A network that says $\varepsilon$ or $v$ has errors in $\varepsilon$ or
# $v$. By which number must *its* squared error be multiplied, so that the loss is the same? Take
# $\alpha^2 + \sigma^2 = 1$, and $\log \mathrm{SNR}$ as input, which may be huge, or infinite at the ends of a
# schedule. The answer there is the limit, a finite number.


# %% exercise="min-snr"
def min_snr_weight(log_snr, kind, gamma):
    """The weight of the squared error of a network that says `kind`: (B,) -> (B,), finite.

    log_snr: (B,), float64, from -inf to inf; kind: "eps", "x_0" or "v", else ValueError; gamma > 0.
    """
    ### BEGIN SOLUTION
    capped = log_snr.clamp(max=math.log(gamma))
    if kind == "x_0":
        return capped.exp()
    if kind == "eps":
        return (math.log(gamma) - log_snr).clamp(max=0).exp()
    if kind == "v":
        return (capped - F.softplus(log_snr)).exp()
    raise ValueError(f"no loss is called {kind!r}")
    ### END SOLUTION


# %% test="min-snr" points=2
at_three = torch.tensor([3.0], dtype=torch.float64).log()  # SNR 3: alpha^2 = 3/4, sigma^2 = 1/4
for kind, wanted in (("x_0", 2), ("eps", 2 / 3), ("v", 1 / 2)):
    got = min_snr_weight(at_three, kind, 2.0).item()
    assert math.isclose(got, wanted), (
        f"{kind}: an error of 1 in the picture is how much there? {wanted:.3f}, not {got}"
    )
edge = torch.tensor([-math.inf, 1_000.0], dtype=torch.float64)
assert min_snr_weight(edge, "eps", 5.0).tolist() == [1, 0], (
    "pure noise: weight 1; clean: 0, and neither is NaN"
)

# %% [markdown]
# ### 7 · The bridge (medium, 10 minutes)
#
# Two photographs of one path, $x_r$ and $x_t$, taken at $r < t$. Where was the path at a time $s$ between
# them? Since each step only looks at the one before it, the picture $x_0$ itself no longer matters:
#
# $$q(x_s \mid x_r, x_t) \propto q(x_s \mid x_r)\; q(x_t \mid x_s) = \mathcal N\big(a\,x_r + b\,x_t,\ c^2 I\big).$$
#
# Find $a$, $b$ and $c$, for *any schedule*. (Section 3 is the case $r = 0$. A solver that rejects a long
# random step and tries a shorter one on the same path needs the general one.) The first time may be clean,
# $\sigma_r = 0$, and the last may be pure noise, $\alpha_t = 0$.


# %% exercise="bridge"
def bridge(alpha, sigma):
    """a, b and c of q(x_s | x_r, x_t), each (B,).

    alpha, sigma: (B, 3), float64, at three times r < s < t, of any schedule; SNR falls from each to the next.
    """
    ### BEGIN SOLUTION
    (a_r, a_s, a_t), (s_r, s_s, s_t) = alpha.T, sigma.T
    to_s, to_t = a_s / a_r, a_t / a_s
    var_s = s_s**2 - (to_s * s_r) ** 2  # of x_s, given x_r
    var_t = s_t**2 - (to_t * s_s) ** 2  # of x_t, given x_s
    both = var_t + to_t**2 * var_s  # of x_t, given x_r
    return to_s * var_t / both, to_t * var_s / both, (var_s * var_t / both).sqrt()
    ### END SOLUTION


# %% test="bridge" points=3
three_times = torch.tensor([[1.0, 0.8, 0.6], [0.9, 0.5, 0.0]], dtype=torch.float64)
a, b, c = bridge(three_times, (1 - three_times**2).sqrt())
assert a.shape == b.shape == c.shape == (2,), "each (B,): one number for each row"
again = posterior(*(torch.tensor(v, dtype=torch.float64) for v in (0.8, 0.6, 0.6, 0.8)))
assert math.isclose(a[0].item(), again[1].item()), "from a clean r the path starts at x_0: section 3's b"
assert math.isclose(b[0].item(), again[0].item()) and math.isclose(c[0].item(), again[2].item()), (
    "its a, its c"
)
assert b[1] == 0 and math.isclose(a[1].item(), 5 / 9), "pure noise at t tells nothing: only x_r counts"
assert math.isclose(c[1].item() ** 2, 0.75 - (5 / 9) ** 2 * 0.19), "and c is that of q(x_s | x_r)"

# %% [markdown]
# ### 8 · Build your own diffusion (hard, 30 minutes)
#
# Points in the plane instead of pictures, a network that says $x_0$ instead of $v$, *any schedule* instead of
# the circle: above all those that only add noise, $\alpha = 1$ and $\sigma$ growing from 0 to well above the
# data (*variance exploding*). You write the two halves of the family for it.
#
# - **The loss** is the part of the bound that trains, $\sum_{k=2}^T L_k$ of section 9, in nats. Draw for each row a step $k$
#   of its own, uniform from 2 to $T$, and its noise, and weigh the squared error so that the mean over rows is
#   an *unbiased* estimate of the sum. (The formula of $L_k$ holds for any schedule: its derivation used
#   nothing else.)
# - **The sampler** starts from $\mathcal N(0, \sigma_T^2 I)$ and goes down one step at a time, each a draw from section 3's
#   posterior with the network's $\hat x_0$ in it.
#
# Both draw from the given generator, and from nothing else. The hidden tests compare the loss with its exact
# mean for networks that err in a known way (six standard errors), train a small network with it (0.3 from the
# exact answer, root mean square), and follow your sampler's mean and variance from step to step (six standard
# errors). To see it learn, run in a cell of your own:
#
# ```python
# sigma_k = torch.cat([torch.zeros(1), torch.logspace(-1, 0.5, 30)]).double()  # 0, then 0.1 to 3.2
# alpha_k, g = torch.ones(31).double(), torch.Generator().manual_seed(0)
# body = nn.Sequential(nn.Linear(3, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)).double()
# def net(x, k):  # a share of x_t, which is nearly x_0 where sigma is small, and what the layers add
#     share = 1 / (1 + 2 * sigma_k[k, None] ** 2)
#     return share * x + (1 - share).sqrt() * body(torch.cat([x * share.sqrt(), share.log()], dim=1))
# adam = torch.optim.Adam(body.parameters(), 3e-3)
# for n in range(1_000):
#     angle = 6.28 * torch.rand(256, 1, generator=g).double()
#     loss = bound_loss(net, torch.cat([angle.cos(), angle.sin()], dim=1), alpha_k, sigma_k, g)
#     adam.zero_grad(); loss.backward(); adam.step()
# plt.scatter(*draw(net, 2_000, alpha_k, sigma_k, g).detach().T, s=2); plt.show()
# ```


# %% exercise="plane"
def bound_loss(net, x_0, alpha, sigma, generator):
    """An unbiased estimate of sum_{k=2}^T L_k in nats, the mean over rows: a 0-d tensor with a gradient.

    net: net(x_t, k) says x_0: (B, 2), int64 (B,) -> (B, 2). x_0: (B, 2). alpha, sigma: (T + 1,), T at least
    2, of any schedule: alpha[0] = 1 and sigma[0] = 0 are clean data, then sigma > 0; alpha may be 0 at T.
    What net returns stays as it is. All float64.
    """
    ### BEGIN SOLUTION
    T = len(alpha) - 1
    k = torch.randint(2, T + 1, (len(x_0),), generator=generator)
    eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
    guess = net(alpha[k, None] * x_0 + sigma[k, None] * eps, k)
    ratio = (alpha[1:] / sigma[1:]) ** 2  # SNR of the steps 1 to T
    weight = (ratio[k - 2] - ratio[k - 1]) / 2
    return (T - 1) * (weight * ((x_0 - guess) ** 2).sum(1)).mean()
    ### END SOLUTION


def draw(net, n, alpha, sigma, generator):
    """n points by the ancestral sampler, from step T down to 0, float64: (n, 2).

    net, alpha, sigma: as above; the net is asked once a step, for k = T, ..., 1, and gets (n, 2), int64 (n,).
    """
    ### BEGIN SOLUTION
    x = sigma[-1] * torch.randn(n, 2, generator=generator, dtype=sigma.dtype)
    for k in range(len(alpha) - 1, 0, -1):
        guess = net(x, torch.full((n,), k))
        a, b, c = posterior(alpha[k - 1], sigma[k - 1], alpha[k], sigma[k])
        x = a * x + b * guess + c * torch.randn(n, 2, generator=generator, dtype=x.dtype)
    return x
    ### END SOLUTION


# %% test="plane" points=6
g, point = torch.Generator().manual_seed(0), torch.tensor([[0.3, -1.1]], dtype=torch.float64)
ones, noises = torch.ones(3).double(), torch.tensor([0.0, 0.5, 1.0]).double()  # T = 2: SNR 4, then 1
value = bound_loss(lambda x, k: point.expand(len(x), 2), point.expand(9, 2), ones, noises, g)
assert value.shape == () and value.item() == 0, "the network knows the point: 0, one number"
value = bound_loss(lambda x, k: point + torch.ones(len(x), 2), point.expand(9, 2), ones, noises, g)
assert math.isclose(value.item(), 3.0), "T = 2, so k = 2: (4 - 1) / 2 for each of two errors of 1"
asked = []
points = draw(lambda x, k: asked.append((k, x)) or point.expand(len(x), 2), 5, ones, noises, g)
assert points.shape == (5, 2) and (points - point).abs().max() < 1e-12, (
    "it ends at the network's picture, to the digits of float64"
)
assert [k.tolist() for k, _ in asked] == [[2] * 5, [1] * 5], "asked for k = 2, then 1, each time for all rows"

# %% [markdown]
# ## Further reading
#
# - J. Sohl-Dickstein, E. Weiss, N. Maheswaranathan, S. Ganguli. *Deep unsupervised learning using
#   nonequilibrium thermodynamics.* 2015, arXiv:1503.03585.
# - J. Ho, A. Jain, P. Abbeel. *Denoising diffusion probabilistic models.* 2020, arXiv:2006.11239.
# - J. Song, C. Meng, S. Ermon. *Denoising diffusion implicit models.* 2020, arXiv:2010.02502.
# - A. Nichol, P. Dhariwal. *Improved denoising diffusion probabilistic models.* 2021, arXiv:2102.09672. The
#   cosine schedule.
# - D. Kingma, T. Salimans, B. Poole, J. Ho. *Variational diffusion models.* 2021, arXiv:2107.00630. The ELBO
#   by SNR.
# - F. Bao, C. Li, J. Zhu, B. Zhang. *Analytic-DPM: an analytic estimate of the optimal reverse variance in
#   diffusion probabilistic models.* 2022, arXiv:2201.06503.
# - T. Salimans, J. Ho. *Progressive distillation for fast sampling of diffusion models.* 2022,
#   arXiv:2202.00512. Where $v$ comes from.
# - J. Ho, T. Salimans. *Classifier-free diffusion guidance.* 2022, arXiv:2207.12598.
# - E. Hoogeboom, J. Heek, T. Salimans. *Simple diffusion: end-to-end diffusion for high resolution images.*
#   2023, arXiv:2301.11093. Schedules by resolution.
# - T. Karras, M. Aittala, T. Aila, S. Laine. *Elucidating the design space of diffusion-based generative
#   models.* 2022, arXiv:2206.00364. What fresh noise mends.
# - T. Hang and others. *Efficient diffusion training via min-SNR weighting strategy.* 2023, arXiv:2303.09556.
# - S. Lin, B. Liu, J. Li, X. Yang. *Common diffusion noise schedules and sample steps are flawed.* 2023,

# %% tags=["demo"]
selfcheck.run("19_ddpm")
