# %% [markdown]
# # 22 · Guidance, inpainting, super-resolution
#
# > **A condition is one more slope. Add it once at every noise level, as Bayes' rule says, and a diffusion draws what
# > was asked for. Add it twice, and each picture shows more plainly what was asked for, but the pictures are more alike.**
#
# | | |
# |---|---|
# | You will build | guidance on two normal clouds with the exact result; classifier and classifier-free guidance, a limited interval, autoguidance, dynamic thresholding; letters filled in by replacement, by RePaint and by a trained network; posterior sampling for linear measurements, exactly for normal data and by a rule of thumb for letters; super-resolution in two stages, 8 to 16 to 28 pixels, beside one pass of a regression; at the end a sampler that draws from the density that guidance only seems to draw from |
# | You need to know | lesson 19 (the forward process, DDIM, the U-Net, dropped labels); that $D(x_t)$, the guess of $x_0$, and the score are the same thing in two units; Bayes' rule for normal variables |
# | Time on two CPU cores | about five minutes to run, an hour and a half to read, an hour and a half to solve |
# | Time on a GPU | a few minutes, with a larger net (`full`) |
#
# ## You are here

# %% folded="Imports and settings"
# long: what the whole lesson uses
import copy
import math
import time
from itertools import pairwise

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, diagram, features, metrics, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    pictures=(2, 40, 40),
    channels=(8, 32, 96),
    batch=(8, 32, 128),
    updates=(4, 1_000, 12_000),
    weak=(2, 100, 1_000),
    rate=(3e-3, 4e-3, 1e-3),
    decay=(0.5, 0.99, 0.999),
    judge_updates=(2, 200, 2_000),
    fill_updates=(2, 220, 3_000),
    stage_updates=((2, 2), (300, 300), (3_000, 3_000)),
    stage_batch=((4, 4), (32, 16), (128, 64)),
    gan_updates=(1, 50, 750),
    each=(2, 5, 20),
    steps=(2, 10, 25),
    few=(4, 180, 720),
    many=(500, 40_000, 400_000),
)
real = torch.float64 if device.type != "mps" else torch.float32  # Apple's GPUs have no float64
torch.manual_seed(22)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("diffusion")
diagram.machine(
    "x_t | (B, 1, 16, 16) -> [U-Net | with y] -> D_y | the guess -> [guide | D + w (D_y − D)] -> D_w"
    " -> [DDIM step | α_s D_w + σ_s ε] -> x_s | less noise",
    "x_t, too | the same -> [same net | without y] -> D | the guess -> guide",
    title="Guidance: one network, asked twice, and a line drawn through its two answers",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# A perfect conditional diffusion draws from $p(x \mid y)$. There are two separate reasons to want something else.
# First, no network is perfect: a half-trained one draws letters that belong to no class, and guidance removes many
# of them. Second, even a perfect one draws the average photo with a dog in it, and who asks for "a photo of a dog"
# wants a typical one. Guidance serves both by giving up the distribution: its pictures show their condition more
# plainly than the data do, and it pays with variety. Inpainting and inverse problems give up something else: a
# condition that the network has never seen is added while sampling, and its slope is known only approximately,
# except for normal data.
#
# | question | answer |
# |---|---|
# | What is modelled? | pixels at every noise level, with and without a class; later also with a part of the picture, or a small one |
# | Is the density explicit? | no; with guidance not even implicitly the one that the formula suggests (section 2) |
# | Is sampling one-shot or iterative? | iterative, and guidance runs the network twice a step |
# | What conditions it? | a class, a known part, a small picture, any measurement $y = Ax_0 + \text{noise}$ |
# | How is it evaluated, and how does that fail? | accuracy of the class asked for *and* diversity: either alone can be had for nothing; peak signal-to-noise ratio (PSNR) for restored pictures: it is highest for the mean of all possible answers, which need not look like any of them |
#
# Dhariwal and Nichol (2021) added a classifier's slope, and diffusion passed GANs on ImageNet. Ho and Salimans
# (2021, paper 2022) did it without a classifier; Imagen, Stable Diffusion and nearly all text-to-image systems
# since then sample in this way. SR3 (Saharia and others 2021) and Imagen (2022) draw large pictures in stages.
# RePaint (Lugmayr and others 2022) and DPS (Chung and others 2022) solve other problems with a network as it is.
#
# | symbol | is |
# |---|---|
# | $x_0$, $\varepsilon$, $x_t = \alpha_t x_0 + \sigma_t\varepsilon$ | a picture, noise, their mixture; $\alpha_t = \cos\frac{\pi t}2$, $\sigma_t = \sin\frac{\pi t}2$; $t$ is 0 at the data and 1 at the noise |
# | $t$, $s$ | the time at which a step begins; at which it ends, $s < t$ (in section 9 $s$ is the condition's noise) |
# | $y$, $\varnothing$ | the condition: a class, later a measurement; no condition |
# | $D$, $D_y$, $D_w$ | the guess $\mathbb E[x_0 \mid x_t]$; with the condition; guided |
# | $w$ | the weight: 0 ignores $y$, 1 is the conditional network, above 1 is guidance |
# | $v$ | what the network says, $\alpha_t\varepsilon - \sigma_t x_0$, so that $D = \alpha_t x_t - \sigma_t v$ |
# | $\mu, \delta$; $\delta_0$ | mean and deviation of one class; deviation of all data (sections 1 and 2) |
# | $\hat\sigma = \sigma_t/\alpha_t$ | the noise level of $x_t/\alpha_t$, lesson 20's unit (section 2); exercise 6 writes it $\sigma$ |
# | $A$, $\rho$; $C_t$, $J$ | a measurement's matrix, its noise; $\mathrm{Cov}[x_0 \mid x_t]$, and the derivative of $D$ (section 8) |
# | $c$ | a picture that the network sees as a condition (sections 7 and 9) |
#
# A warning: in Ho and Salimans' paper $w$ is what we call $w - 1$. Stable Diffusion's `guidance_scale` is ours.
#
# ## 1 · Why it can work: conditions add, as slopes
#
# Bayes' rule is a product, $p(x \mid y) = p(x)\,p(y \mid x)/p(y)$. The score is the slope of a logarithm, so the
# product becomes a sum, and $p(y)$, which nobody can compute, has no slope. It holds at every noise level:
#
# $$\nabla\log p_t(x \mid y) = \nabla\log p_t(x) + \nabla\log p_t(y \mid x).$$
#
# A network gives guesses. By lesson 19 (section 7) the score is $(\alpha_t D - x)/\sigma_t^2$, so a slope that is
# added to the score moves the guess by $\sigma_t^2/\alpha_t$ times that slope. **Guidance** takes the second slope
# $w$ times:
#
# $$D_w = D + w\,\frac{\sigma_t^2}{\alpha_t}\,\nabla\log p_t(y \mid x), \qquad\text{and with}\quad \nabla\log p_t(y\mid x) = \frac{\alpha_t}{\sigma_t^2}\,(D_y - D), \qquad D_w = D + w\,(D_y - D).$$
#
# The left form needs a classifier of noisy pictures. The right one needs none: *the difference of two guesses is a
# classifier's slope*. (The second equation is Bayes' rule again, solved for the last term.) One function makes
# both guesses in one pass.


# %% build="guided"
def guided(denoise, y, w, none):
    """D(x, t), guided w times: denoise(x, t, y) -> the guess, x (B, ...), t 0-d, y and none (B,) labels.

    Both guesses are made by one call with 2 B rows; w = 1 and w = 0 need only one of them.
    Source: Ho and Salimans 2022, equation 6 (their w is ours less 1).
    """
    ### BEGIN SOLUTION
    if w in (0, 1):
        return lambda x, t: denoise(x, t, y if w else none)
    both = torch.cat([y, none])

    def D(x, t):
        with_y, without = denoise(torch.cat([x, x]), t, both).chunk(2)
        return torch.lerp(without, with_y, w)

    return D
    ### END SOLUTION


# %% check="guided"
ask, none = torch.tensor([1, 2]), torch.tensor([9, 9])
says = lambda x, t, y: x + y[:, None]  # noqa: E731  # a network that adds its label
x = torch.zeros(2, 3)
assert guided(says, ask, 3.0, none)(x, 0.5)[:, 0].tolist() == [-15, -12], "9 + 3 (1 - 9), 9 + 3 (2 - 9)"
assert torch.equal(guided(says, ask, 1, none)(x, 0.5), says(x, 0.5, ask)), "weight 1: with the label"
assert torch.equal(guided(says, ask, 0, none)(x, 0.5), says(x, 0.5, none)), "weight 0: without"

# %% [markdown]
# The sampler is lesson 19's DDIM, in four functions: the mixture at a time, the times, a step, all steps.


# %%
def mix(t, x):
    """alpha_t and sigma_t, shaped to multiply x (B, ...): t 0-d or (B,)."""
    angle = torch.as_tensor(t, dtype=x.dtype, device=x.device) * math.pi / 2
    angle = angle.reshape(-1, *[1] * (x.ndim - 1)) if angle.ndim else angle
    return torch.cos(angle), torch.sin(angle)


def grid(n, start=1.0):
    """n + 1 times from start down to 0, in equal steps."""
    return torch.linspace(start, 0, n + 1, dtype=real, device=device)


def step(D_x, x, t, s):
    """DDIM: from time t to s with the guess D_x: x_s = alpha_s D + sigma_s (x_t - alpha_t D) / sigma_t."""
    alpha, sigma = mix(t, x)
    alpha_s, sigma_s = mix(s, x)
    return alpha_s * D_x + sigma_s / sigma * (x - alpha * D_x)


@torch.no_grad()
def ddim(D, x, times):
    """From noise x at times[0] to times[-1], with a guess D(x, t) at each."""
    for t, s in pairwise(times):
        x = step(D(x, t), x, t, s)
    return x


# %% [markdown]
# ## 2 · Two normal clouds, exactly
#
# What does guidance draw from? $D_w$ belongs to the score $(1-w)\nabla\log p_t(x) + w\,\nabla\log p_t(x\mid y)$. At
# $t = 0$ that is the slope of the *tilted* density
#
# $$q_w(x) \propto p(x)^{1-w}\,p(x \mid y)^{w} \propto p(x)\,p(y \mid x)^w .$$
#
# So one reads that guidance draws from $q_w$. Let us check it where everything can be written down: all data are
# $\mathcal N(0, \delta_0^2)$, those of the class $\mathcal N(\mu, \delta^2)$ with $\delta < \delta_0$.
#
# **Question.** Let $\delta_0 = 1$, $\delta = \tfrac12$ and $w = 2$. The tilted density has the precision (one over
# the variance) $-1 + 2\cdot 4 = 7$, a deviation of 0.378. Will the guided sampler's draws be as wide, wider or
# narrower?
#
# The sampler is an equation that can be solved. With $\hat\sigma = \sigma_t/\alpha_t$ and $x = x_t/\alpha_t$ (lesson
# 20) it is $\frac{dx}{d\hat\sigma} = \frac{x - D_w}{\hat\sigma}$, and for a normal cloud
# $x - D_y = \frac{\hat\sigma^2}{\delta^2 + \hat\sigma^2}(x - \mu)$. Hence
#
# $$\frac{dx}{d\hat\sigma} = \hat\sigma\left[\frac{(1-w)\,x}{\delta_0^2 + \hat\sigma^2} + \frac{w\,(x - \mu)}{\delta^2 + \hat\sigma^2}\right],$$
#
# and the draws are normal with
#
# $$\text{deviation}\quad \delta_0^{\,1-w}\,\delta^{\,w}, \qquad \text{mean}\quad w\,\mu\int_0^\infty \frac{\hat\sigma}{\delta^2+\hat\sigma^2}\,\frac{P(0)}{P(\hat\sigma)}\,d\hat\sigma,\qquad P(\hat\sigma) = (\delta_0^2+\hat\sigma^2)^{\frac{1-w}2}(\delta^2+\hat\sigma^2)^{\frac w2}.$$
#
# <details><summary>Derivation, in three steps</summary>
#
# 1. *Two paths.* Their distance $d$ obeys the equation without $\mu$:
#    $\frac{d'}{d} = \hat\sigma\big[\frac{1-w}{\delta_0^2+\hat\sigma^2} + \frac{w}{\delta^2+\hat\sigma^2}\big]$. The right side
#    is the derivative of $\log P(\hat\sigma)$. So $d \propto P(\hat\sigma)$.
# 2. *Deviation.* At a large $\hat\sigma$ the draws are noise of deviation $\hat\sigma$, and $P(\hat\sigma)/\hat\sigma \to 1$,
#    since the exponents add up to $\frac12$. At $\hat\sigma = 0$ their deviation is therefore $P(0) = \delta_0^{1-w}\delta^w$.
# 3. *Mean.* Write $x = P(\hat\sigma)\,k(\hat\sigma)$. Then $P\,k' = -\frac{w\mu\hat\sigma}{\delta^2+\hat\sigma^2}$ and the mean's $k$
#    is 0 at infinity; integrate from infinity to 0 and multiply by $P(0)$.
# </details>
#
# The sampler extrapolates *logarithms of deviations*; the tilt extrapolates *precisions*,
# $\frac{1-w}{\delta_0^2} + \frac w{\delta^2}$. They agree for $w = 0$ and $w = 1$ only.


# %%
def cloud(mean, width):
    """E[x_0 | x_t] for data N(mean, width^2): a function of x (B, 1) and t."""

    def D(x, t):
        a, b = mix(t, x)
        return mean + a * width**2 / ((a * width) ** 2 + b**2) * (x - a * mean)

    return D


def guided_cloud(w, mu, delta, delta_0):
    """Mean and deviation of what the guided ODE draws, exactly (integral over sigma-hat: 20,000 pieces)."""
    angle = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000 * math.pi / 2
    sigma, width = angle.tan(), math.pi / 2 / 20_000
    log_P = lambda r2: (1 - w) / 2 * (delta_0**2 + r2).log() + w / 2 * (delta**2 + r2).log()  # noqa: E731
    log_P0 = (1 - w) * math.log(delta_0) + w * math.log(delta)
    inside = sigma / (delta**2 + sigma**2) * (log_P0 - log_P(sigma**2)).exp()
    return w * mu * (inside / angle.cos() ** 2).sum().item() * width, math.exp(log_P0)


def tilted_cloud(w, mu, delta, delta_0):
    """Mean and deviation of p(x)^(1 - w) p(x | y)^w."""
    precision = (1 - w) / delta_0**2 + w / delta**2
    return w * mu / delta**2 / precision, precision**-0.5


# %% folded="Figure: what was asked for, and what is drawn" tags=["demo"]
# long: three weights on two clouds, formula, sampler and tilt
MU, DELTA, DELTA_0 = 0.8, 0.5, 1.0
g = torch.Generator().manual_seed(1)
z = torch.randn(S.many, 1, generator=g, dtype=torch.float64).to(device, real)
fig, axes = plot.figure(1, 3, height=2.6)
D_all, D_class = cloud(0.0, DELTA_0), cloud(MU, DELTA)
line, off, apart, coarser = torch.linspace(-1.5, 3, 400), [], [], []
bell = lambda m, s: torch.exp(-((line - m) ** 2) / (2 * s**2)) / s / math.sqrt(2 * math.pi)  # noqa: E731
for ax, w in zip(axes, (1.0, 2.0, 4.0), strict=True):
    drawn = ddim(lambda x, t, w=w: torch.lerp(D_all(x, t), D_class(x, t), w), z, grid(400)).cpu()
    (m_g, s_g), (m_q, s_q) = (f(w, MU, DELTA, DELTA_0) for f in (guided_cloud, tilted_cloud))
    off.append(max(abs(drawn.mean().item() - m_g), abs(drawn.std().item() / s_g - 1)))
    coarse = ddim(lambda x, t, w=w: torch.lerp(D_all(x, t), D_class(x, t), w), z, grid(10)).cpu()
    apart.append(s_g / s_q)
    coarser.append(coarse.std().item() / s_g)
    ax.hist(drawn[:, 0], bins=80, range=(-1.5, 3), density=True, color=plot.COLOURS.sky, label="drawn")
    ax.plot(line, bell(m_g, s_g), color=plot.COLOURS.blue, label="formula")
    ax.plot(line, bell(m_q, s_q), color=plot.COLOURS.vermilion, ls="--", label="tilted $q_w$")
    ax.set(title=f"$w = {w:g}$", yticks=[], xlabel="$x$")
    print(
        f"w = {w:g}: drawn {drawn.mean():.3f} ± {drawn.std():.3f}, formula {m_g:.3f} ± {s_g:.3f},"
        f" tilted {m_q:.3f} ± {s_q:.3f}; in ten steps ± {coarse.std():.3f}"
    )
axes[0].legend(fontsize=7.5)
plt.show()
print(f"formula's mean at w = 8: {guided_cloud(8.0, MU, DELTA, DELTA_0)[0]:.3f}")
print(f"variance at level 1, w = 2: noised tilt {1 / 7 + 1:.2f}, product {1 / (2 / 1.25 - 1 / 2):.2f}")
board.claim("The draws have the formula's mean and deviation.", max(off) < 0.02)
board.claim("At weight 4 they are less than half as wide as the tilted density.", apart[2] < 0.5)
board.claim(
    "Ten steps narrow the draws further, the more so the larger the weight.", coarser == sorted(coarser)[::-1]
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Narrower: $0.5^2/1 = 0.25$ instead of 0.378. And each further unit of $w$ halves the width again, where the tilted
# one falls only like $1/\sqrt w$.
# </details>
#
# Why? At $t = 0$ the two slopes agree. But at a higher noise level the ODE should follow the *noised* tilted
# density, while guidance follows the product of the noised ones, $p_t^{1-w}\,p_t(\cdot\mid y)^w$. These are two
# densities. For the clouds of the question, at level $\hat\sigma$ and $w = 2$, the noised $q_2$ has the variance
# $\frac17 + \hat\sigma^2$, and the product has
# $1\big/\big(\frac{2}{1/4 + \hat\sigma^2} - \frac{1}{1 + \hat\sigma^2}\big)$: put in $\hat\sigma = 0$, and both are
# $\frac17$; put in 1, and the first is 1.14, the second 0.91. An ODE carries every such error down to the data.
# Bradley and Nakkiran (2024) show by examples that neither DDIM nor DDPM with guidance draws from $q_w$. *Langevin
# dynamics* at a fixed level forgets where it began, and there the product's score is harmless, since the products
# end in $q_w$ at level 0. Exercise 6 builds that sampler.
#
# Ten steps, the number with which all letters below are drawn, narrow the draws once more. So a part of the variety
# that guidance takes from letters will be the solver's fault.
#
# With *two classes* there is a second effect. Let $p$ be half $\mathcal N(-1, 0.5^2)$, half $\mathcal N(1, 0.5^2)$,
# and ask for the right one. No formula, but on a line the order of points never changes, so a fine ODE tells the
# density.


# %% folded="Figure: two classes" tags=["demo"]
# long: two classes, guided and tilted
def two_classes(x, t, m=1.0, width=0.5):
    """E[x_0 | x_t] of half N(-m, width^2), half N(m, width^2)."""
    a, b = mix(t, x)
    var = (a * width) ** 2 + b**2
    side = torch.tanh(a * m * x / var)
    return m * side + a * width**2 / var * (x - a * m * side)


fig, axes = plot.figure(1, 3, height=2.4)
distance, beyond, widths, D_right = [], [], [], cloud(1.0, 0.5)
for ax, w in zip(axes, (1.0, 3.0, 8.0), strict=True):
    drawn = ddim(lambda x, t, w=w: torch.lerp(two_classes(x, t), D_right(x, t), w), z, grid(400)).cpu()[:, 0]
    log_p = torch.logaddexp(-2 * (line - 1) ** 2, -2 * (line + 1) ** 2) - math.log(2)
    q = (((1 - w) * log_p) + w * -2 * (line - 1) ** 2).double()
    q = (q - q.max()).exp()
    q = q / q.sum() / (line[1] - line[0])
    found, edges = torch.histogram(drawn.float(), bins=50, range=(-1.5, 3.0), density=True)
    cells = torch.stack([q[(line >= a) & (line < b)].mean() for a, b in pairwise(edges)])
    distance.append(0.5 * (found - cells).abs().sum().item() * 0.09)
    beyond.append(drawn.mean().item())
    mass = q / q.sum()
    widths.append((drawn.std().item(), ((mass * line**2).sum() - (mass * line).sum() ** 2).sqrt().item()))
    ax.stairs(found, edges, fill=True, color=plot.COLOURS.sky)
    ax.plot(line, q, color=plot.COLOURS.vermilion, ls="--")
    ax.set(title=f"$w = {w:g}$: apart {distance[-1]:.2f}", yticks=[], xlabel="$x$")
plt.show()
print("total variation, drawn to tilted:", [round(v, 3) for v in distance], "means", np.round(beyond, 2))
print("deviation, drawn and tilted:", np.round(widths, 2).tolist())
board.claim(
    "At weight 8 the draws are narrower than 0.7 of the tilted density.", widths[2][0] < 0.7 * widths[2][1]
)
board.claim(
    "Drawn and tilted agree at weight 1, and differ by more than 0.2 at weight 8.",
    distance[0] < 0.05 < 0.2 < distance[2],
)
board.claim("The guided draws move on, away from the other class.", beyond[0] < beyond[1] < beyond[2])

# %% [markdown]
# (Blue: drawn. Dashed: tilted. The number is the total variation, half the area between them.) With more weight the
# draws leave the middle of their class, on the side away from the other one, and their deviation shrinks, far below
# the tilted density's. So **guidance does two things: it narrows, and it moves away from the other class**. How far
# it moves depends on the data: in the first picture, where the class lies inside a broad cloud, the formula's mean
# is nearer to 0.8 again at weight 8 than at weight 4. Keep both effects in mind for section 5.
#
# ## 3 · One network for the whole lesson
#
# Now letters. The network is lesson 19's U-Net, trained as there: it says $v$, times are spread evenly over a batch,
# and one label in ten is replaced by $\varnothing$. That is all that classifier-free guidance asks of a training.
# Two inputs are new, and silent until sections 7 and 9: pictures `c` that it may look at, through a convolution
# that begins at zero, and a noise level `s` of theirs. Everything later starts from these weights.


# %% folded="Lesson 19's U-Net, with room for a condition, and the glyphs"
# long: the network of lesson 19, compactly
class Block(nn.Module):
    """Two convolutions and a bypass, modulated by e: (B, a, H, W), (B, width) -> (B, b, H, W)."""

    def __init__(self, a, b, width):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, a), nn.Conv2d(a, b, 3, padding=1)
        self.modulate = nn.Linear(width, 2 * b)
        self.norm2, self.conv2 = nn.GroupNorm(8, b), nn.Conv2d(b, b, 3, padding=1)
        self.bypass = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x, e):
        scale, shift = self.modulate(F.silu(e))[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        return self.bypass(x) + self.conv2(F.silu(h))


class UNet(nn.Module):
    """v(x, t, y) and, where it sees c, v(x, t, y, c, s): x (B, 1, H, W), t, s (B,), c (B, seen, H, W)."""

    def __init__(self, C, classes, seen=0):
        super().__init__()
        width = 4 * C
        self.register_buffer("frequency", 1_000 * 10_000 ** -(torch.arange(C // 2) / (C // 2)))
        self.clock = nn.Sequential(nn.Linear(C, width), nn.SiLU(), nn.Linear(width, width))
        self.label, self.level = nn.Embedding(classes + 1, width), nn.Linear(C, width)
        self.enter, self.leave = nn.Conv2d(4, C, 3, padding=1), nn.Conv2d(C, 4, 3, padding=1)
        self.see = nn.Conv2d(4 * seen, C, 3, padding=1) if seen else None
        self.down, self.up = nn.Conv2d(C, C, 3, 2, padding=1), nn.Conv2d(2 * C, 2 * C, 3, padding=1)
        sizes = [(1, 1), (1, 2), (2, 2), (2, 2), (4, 2), (3, 2), (3, 1), (2, 1)]  # in and out, in units of C
        self.blocks = nn.ModuleList(Block(a * C, b * C, width) for a, b in sizes)
        self.norm = nn.GroupNorm(8, C)
        for silent in (self.leave, self.level, *([self.see] if seen else [])):
            nn.init.zeros_(silent.weight)
            nn.init.zeros_(silent.bias)

    def waves(self, t):
        angle = t[:, None].float() * self.frequency
        return torch.cat([angle.cos(), angle.sin()], dim=1)

    def forward(self, x, t, y, c=None, s=None):
        e, b = self.clock(self.waves(t)) + self.label(y), self.blocks
        h0 = self.enter(F.pixel_unshuffle(x, 2))  # (B, 1, H, W) -> (B, C, H/2, W/2)
        if c is not None:
            h0, e = h0 + self.see(F.pixel_unshuffle(c, 2)), e + self.level(self.waves(s))
        h1 = b[0](h0, e)
        h2 = self.down(h1)  # -> (B, C, H/4, W/4)
        h3 = b[1](h2, e)
        h = b[4](torch.cat([b[3](b[2](h3, e), e), h3], dim=1), e)
        h = self.up(F.interpolate(b[5](torch.cat([h, h2], dim=1), e), scale_factor=2.0))
        h = b[7](torch.cat([b[6](torch.cat([h, h1], dim=1), e), h0], dim=1), e)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2)


glyphs = data.glyphs(16, each=S.pictures)
CLASSES = len(data.CAPITALS_AND_DIGITS)  # 36; the label 36 itself means "no class"
x_train, x_test = (2 * torch.as_tensor(part.x, device=device) - 1 for part in (glyphs.train, glyphs.test))
y_train, y_test = (torch.as_tensor(part.y, device=device) for part in (glyphs.train, glyphs.test))
base = UNet(S.channels, CLASSES).to(device)
parameters = sum(p.numel() for p in base.parameters())
print(f"{parameters:,} parameters")


# %%
def denoiser(net, *seen):
    """D(x, t, y) of a network: alpha x - sigma v; `seen` is the condition c and its noise level s, if any.

    With guidance x has 2 B rows; the condition is then repeated.
    """

    def D(x, t, y):
        a, b = mix(t, x)
        times, again = (
            t.expand(len(x)).to(x.dtype),
            [c.repeat(len(x) // len(c), *[1] * (c.ndim - 1)) for c in seen],
        )
        return a * x - b * net(x, times, y, *again).float()

    return D


def v_loss(net, x_0, y, generator, *seen, drop=0.1):
    """Mean of |v_net - v|^2 over pixels and batch; a label is dropped with probability `drop`."""
    t = (
        torch.rand(1, generator=generator, device=x_0.device) + torch.arange(len(x_0), device=x_0.device)
    ) / len(x_0)
    eps = torch.randn(x_0.shape, generator=generator, device=x_0.device)
    dropped = torch.rand(len(y), generator=generator, device=y.device) < drop
    a, b = mix(t % 1, x_0)
    said = net(a * x_0 + b * eps, t % 1, torch.where(dropped, CLASSES, y), *seen)
    return (said.float() - (a * eps - b * x_0)).square().mean()


# %%
def pictures(x):
    """From [-1, 1] to ink between 0 and 1, for figures and measures."""
    return ((x + 1) / 2).clamp(0, 1)


def noise_like(x, seed):
    """Normal noise of the shape of x, always from a generator of the CPU."""
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)


# %% folded="One loop for every training of this lesson"
# long: AdamW, a rate that rises and falls, an average of the weights
def fit(net, loss_of, updates, rate, title, keep=()):
    """Minimise loss_of(); returns the averaged network and, at the updates `keep`, what it was then."""
    ema, kept = copy.deepcopy(net).requires_grad_(False), {}
    optimizer = torch.optim.AdamW(net.parameters(), rate, betas=(0.9, 0.99), weight_decay=0.0)
    rise = max(1, updates // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min((n + 1) / rise, (updates - n) / (updates - rise))
    )
    curve = progress.Curve(title, "update", "loss")
    for n in progress.track(range(1, updates + 1), title=title):
        with genmap.autocast(device):
            loss = loss_of()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        decay = min(S.decay, (n + 1) / (n + 10))
        torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in net.parameters()], 1 - decay)
        curve.add(n, loss.detach())
        if n in keep:
            kept[n] = copy.deepcopy(ema)
    curve.close()
    return ema, kept


def chosen(x, y, batch, generator):
    """A batch of pictures and labels."""
    i = torch.randint(len(x), (batch,), generator=generator, device=x.device)
    return x[i], y[i]


# %% tags=["demo"]
g, began = torch.Generator(device).manual_seed(0), time.perf_counter()
ema, kept = fit(
    base,
    lambda: v_loss(base, *chosen(x_train, y_train, S.batch, g), g),
    S.updates,
    S.rate,
    "glyphs",
    keep=(S.weak,),
)
train_seconds, weak = time.perf_counter() - began, kept[S.weak]
print(f"{S.updates} updates in {train_seconds:.0f} s")

# %% [markdown]
# ## 4 · A classifier's slope
#
# The older way. Train a classifier on *noisy* letters, $x_t$ at all times, and take the slope of its
# log-probability. The network is asked without a class; all that it learns of $y$ comes from the classifier.


# %% build="classifier"
def classifier_guided(denoise, log_probability, y, w, none):
    """D(x, t) + w sigma^2 / alpha * slope of log p(y | x_t): denoise as in `guided`, y and none (B,).

    log_probability(x, t) -> (B, classes). Source: Dhariwal and Nichol 2021, algorithm 2, in guesses of x_0.
    """
    ### BEGIN SOLUTION

    def D(x, t):
        with torch.enable_grad():
            x_in = x.detach().requires_grad_(True)
            log_p = log_probability(x_in, t).gather(1, y[:, None]).sum()
            (slope,) = torch.autograd.grad(log_p, x_in)
        a, b = mix(t, x)
        return denoise(x, t, none) + w * b**2 / a.clamp(min=0.1) * slope  # at t = 1 alpha is 0: bounded

    return D
    ### END SOLUTION


# %% check="classifier"
def exact_side(x, t, m=1.0, width=0.5):
    """log p(y | x_t) of the two classes of section 2, left and right."""
    a, b = mix(t, x)
    side = 2 * a * m * x / ((a * width) ** 2 + b**2)
    return F.logsigmoid(torch.cat([-side, side], dim=1))


x, t = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None], torch.tensor(0.4, dtype=torch.float64)
right, none = torch.ones(9, dtype=torch.long), torch.full((9,), 2)
mixed = lambda x, t, y: two_classes(x, t)  # noqa: E731
for w in (1.0, 3.0):
    got = classifier_guided(mixed, exact_side, right, w, none)(x, t)
    wanted = torch.lerp(two_classes(x, t), cloud(1.0, 0.5)(x, t), w)
    assert torch.allclose(got, wanted, rtol=1e-9), "with the exact classifier it is D + w (D_y - D)"


# %% folded="A classifier of noisy letters" tags=["demo"]
# long: a small network, its loss, its training
class NoisyClassifier(nn.Module):
    """Logits of x_t (B, 1, 16, 16) at times t (B,)."""

    def __init__(self, C, classes):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, C, 3, 2, padding=1), nn.Conv2d(C, 2 * C, 3, 2, padding=1)
        self.third, self.out = nn.Linear(32 * C, 8 * C), nn.Linear(8 * C, classes)

    def forward(self, x, t):
        clock = t.to(x.dtype).reshape(-1, 1, 1, 1).expand_as(x)
        h = F.silu(self.second(F.silu(self.first(torch.cat([x, clock], dim=1)))))
        return self.out(F.silu(self.third(h.flatten(1))))


def judge_loss(net, x_0, y, generator):
    """Cross-entropy in nats at random times."""
    t = torch.rand(len(x_0), generator=generator, device=device)
    a, b = mix(t, x_0)
    return F.cross_entropy(
        net(a * x_0 + b * torch.randn(x_0.shape, generator=generator, device=device), t).float(), y
    )


torch.manual_seed(4)
noisy_net, g = NoisyClassifier(S.channels, CLASSES).to(device), torch.Generator(device).manual_seed(5)
noisy_judge, _ = fit(
    noisy_net,
    lambda: judge_loss(noisy_net, *chosen(x_train, y_train, 4 * S.batch, g), g),
    S.judge_updates,
    3e-3,
    "a classifier of noisy letters",
)

# %% [markdown]
# Each row of the figure asks for the same twelve letters, from the same noise, in another way. Look down the columns:
# which letters become readable, and which do not?

# %% folded="Figure: three weights, two ways" tags=["demo"]
# long: one word, three ways
WORD = torch.tensor([data.CAPITALS_AND_DIGITS.index(c) for c in "GUIDANCE2WRK"], device=device)
z_word = noise_like(x_test[: len(WORD)], 6)
log_judge = lambda x, t: noisy_judge(x, t.expand(len(x))).log_softmax(1)  # noqa: E731
nothing = torch.full_like(WORD, CLASSES)
rows = {
    "without a class": guided(denoiser(ema), WORD, 0, nothing),
    "conditional network, $w$ = 1": guided(denoiser(ema), WORD, 1, nothing),
    "classifier guidance, $w$ = 5": classifier_guided(denoiser(ema), log_judge, WORD, 5.0, nothing),
    "classifier-free guidance, $w$ = 2": guided(denoiser(ema), WORD, 2.0, nothing),
}
fig, axes = plot.figure(len(rows), 1, height=0.95)
for ax, (name, D) in zip(axes, rows.items(), strict=True):
    plot.images(pictures(ddim(D, z_word, grid(S.steps))), columns=12, ax=ax, title=name)
plt.show()

# %% [markdown]
# ## 5 · Quality against diversity, all on one plot
#
# The course's measuring net looks at letters whose class was asked for. *Accuracy* is the share in which it sees
# that class. *Diversity* is the variance of its features within a class, as a share of that of real letters.
# Letters that are plainly wrong vary, too: above 1 it is a bad sign. So the table also gives the diversity *among
# the letters that are read right*. *Fréchet distance* compares its features of drawn and of real letters, each
# taken for one normal cloud; less is better. It falls with the number of letters, so the row "real letters" says
# what as many real ones reach. Each method has a weight; each weight gives a point, from a few letters of each
# class.
#
# Above are twelve letters; some of the guided ones are still broken. Now many.
#
# Three refinements ask *where* and *away from what* to guide.
#
# - **A limited interval** (Kynkäänniemi and others 2024). At much noise guidance decides too early which of all R's
#   it will be; at little noise the letter is settled, and guidance is work for nothing. Guide only between two times.
# - **Autoguidance** (Karras and others 2024). Section 2: guidance narrows *and* moves away from the other classes. The
#   second is seldom wanted. So move away from *a worse version of the same network, asked for the same class*: what the
#   two disagree about is what the better one has learnt. Ours is the average after a tenth of the training.
# - **Dynamic thresholding** (Saharia and others 2022, Imagen) is for the next section.
#
# **Question.** Autoguidance does not know the other classes. Compared with classifier-free guidance at about the same
# diversity: will its letters be read more often or less? And will its Fréchet distance be larger or smaller?


# %% build="interval"
def limited(D_w, D_1, low, high):
    """A guess that is guided (D_w) at times low <= t <= high, and D_1 elsewhere.

    Source: Kynkäänniemi et al. 2024, equation 5, with times for noise levels.
    """
    ### BEGIN SOLUTION
    return lambda x, t: D_w(x, t) if low <= t <= high else D_1(x, t)
    ### END SOLUTION


def autoguided(denoise, denoise_worse, y, w):
    """D_bad + w (D_good - D_bad), both with the class. Source: Karras et al. 2024, equation 3."""
    ### BEGIN SOLUTION
    return lambda x, t: torch.lerp(denoise_worse(x, t, y), denoise(x, t, y), w)
    ### END SOLUTION


# %% check="interval"
seven, two = (lambda x, t: x + 7), (lambda x, t: x + 2)
x = torch.zeros(1, 3)
inside = [
    limited(seven, two, 0.25, 0.5)(x, torch.tensor(t))[0, 0].item() for t in (0.75, 0.5, 0.3, 0.25, 0.1)
]
assert inside == [2, 7, 7, 7, 2], "guided inside, both ends included"
good, bad = (lambda x, t, y: x + y), (lambda x, t, y: x - y)
assert autoguided(good, bad, 1.0, 2.0)(x, 0.5)[0, 0] == 3, "-1 + 2 (1 + 1)"


# %% tags=["demo"]
def pick(y, n):
    """The first n rows of each class: (36 n,)."""
    return torch.cat([(y == k).nonzero()[:n, 0] for k in range(CLASSES)])


some, many_y = pick(y_test, S.each), torch.arange(CLASSES, device=device).repeat_interleave(S.each)
none_y, z_many = torch.full_like(many_y, CLASSES), noise_like(x_test[some], 7)
judge, real_some = features.glyphs(16), pictures(x_test[pick(y_test, 20)])
real_y = y_test[pick(y_test, 20)]


def measured(x, y=many_y):
    """The figures of generated letters."""
    return judge.compare(pictures(x).cpu(), y.cpu(), real_some.cpu(), real_y.cpu())


def among_right(x, y=many_y):
    """The diversity of those letters that are read as asked for, in classes with two or more of them."""
    made, true, y = judge(pictures(x).cpu()), judge(real_some.cpu()), y.cpu().numpy()
    right = made.labels == y
    right &= np.bincount(y[right], minlength=CLASSES)[y] > 1
    own = np.isin(true_y := real_y.cpu().numpy(), y[right])
    if not right.any():
        return math.nan
    return metrics.diversity(made.features[right], y[right], true.features[own], true_y[own])


# %% tags=["demo"]
def watched(D):
    """Letters drawn from z_many, and the mean over the steps of what section 6 calls overshoot."""
    over = []

    def seen(x, t):
        guess = D(x, t)
        over.append((guess.abs() - 1).clamp(min=0).mean())
        return guess

    x = ddim(seen, z_many, grid(S.steps))
    return x, torch.stack(over).mean().item()


def way(kind, w):
    """A guess D(x, t) for many_y by one of four ways with a weight."""
    D = denoiser(ema)
    if kind == "classifier":
        return classifier_guided(D, log_judge, many_y, w, none_y)
    if kind == "autoguidance":
        return autoguided(D, denoiser(weak), many_y, w)
    free = guided(D, many_y, w, none_y)
    return limited(free, guided(D, many_y, 1, none_y), 0.2, 0.75) if kind == "interval" else free


# %% tags=["demo"]
# long: ten settings, one plot
WEIGHTS = {
    "classifier-free": (1, 1.5, 2.0, 3.0, 8.0),
    "classifier": (5.0, 15.0),
    "interval": (3.0,),
    "autoguidance": (1.5, 2.0),
}
found, drawn, over = {}, {}, {}
for kind in progress.track(WEIGHTS, title="guidance"):
    for w in WEIGHTS[kind]:
        drawn[kind, w], over[kind, w] = watched(way(kind, w))
        found[kind, w] = {**measured(drawn[kind, w]), "right": among_right(drawn[kind, w])}
fig, axes = plot.figure(1, 2, height=3.4)
for kind, colour in zip(WEIGHTS, plot.COLOURS, strict=False):
    points = [found[kind, w] for w in WEIGHTS[kind]]
    across = [p["diversity"] for p in points]
    for ax, metric in zip(axes, ("class_accuracy", "frechet"), strict=True):
        ax.plot(across, [p[metric] for p in points], "o-", ms=4, color=colour, label=kind)
        for w, p in zip(WEIGHTS[kind], points, strict=True):
            ax.annotate(
                f"{w:g}", (p["diversity"], p[metric]), fontsize=7, xytext=(3, 3), textcoords="offset points"
            )
axes[0].set(title="Accuracy", xlabel="diversity")
axes[1].set(title="Fréchet distance", xlabel="diversity", yscale="log")
axes[0].legend(fontsize=8, loc="lower left")
plt.show()
for (kind, w), p in found.items():
    print(
        f"{kind:16} w {w:4g}: accuracy {p['class_accuracy']:.3f}, diversity {p['diversity']:.3f}"
        f" ({p['right']:.3f} among right), Fréchet {p['frechet']:.2f}"
    )
floor = measured(x_train[pick(y_train, S.each)])
print(
    f"{'real letters':24}accuracy {floor['class_accuracy']:.3f}, diversity {floor['diversity']:.3f},", end=" "
)
print(f"Fréchet {floor['frechet']:.2f}; {S.each} letters a class, here and above")
guided_steps = int(((grid(S.steps)[:-1] >= 0.2) & (grid(S.steps)[:-1] <= 0.75)).sum())
print(f"the interval guides in {guided_steps} of {S.steps} steps")
free = [found["classifier-free", w] for w in WEIGHTS["classifier-free"]]
board.claim(
    "With every step of weight diversity falls.", bool((np.diff([p["diversity"] for p in free]) < 0).all())
)
board.claim("Among letters read right it falls from weight 1 to 3, too.", free[3]["right"] < free[0]["right"])
board.claim(
    "From weight 1 to 2 accuracy gains 0.1 or more.",
    free[2]["class_accuracy"] > free[0]["class_accuracy"] + 0.1,
)
board.claim(
    "The classifier's letters are read less often than classifier-free guidance's at weight 2.",
    max(found["classifier", w]["class_accuracy"] for w in WEIGHTS["classifier"]) < free[2]["class_accuracy"],
)
best = {kind: min(found[kind, w]["frechet"] for w in WEIGHTS[kind]) for kind in WEIGHTS}
board.claim(
    "The smallest Fréchet distance of all settings is autoguidance's.",
    best["autoguidance"] == min(best.values()),
)
board.claim(
    "Autoguidance at weight 2 is read less often than classifier-free guidance at 1.5.",
    found["autoguidance", 2.0]["class_accuracy"] < free[1]["class_accuracy"],
)
a, b = found["interval", 3.0], free[2]
board.claim(
    "Weight 3 in the interval is within 0.05 of weight 2 all the way, in accuracy and in diversity.",
    max(abs(a[k] - b[k]) for k in ("class_accuracy", "diversity")) < 0.05,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Read less often, and yet a smaller Fréchet distance: autoguidance at its smaller weight has the smallest of all
# settings. It pulls towards "better drawn", not towards "more R". On the plot of accuracy it lies *below* the
# classifier-free curve, and at its larger weight little or nothing of the lead in Fréchet distance is left.
# </details>
#
# The interval lies *on* the classifier-free curve: weight 3 in the interval is about weight 2 everywhere. It buys
# no better point here, but pays for the second guess in a part of the steps only. The classifier's letters are read
# least often of the guided, also at three times the weight of the figure. We cannot say which of its handicaps is
# to blame: it had a short training of its own, and all that the letter has of its class must come from its slope.
#
# At weight 1 diversity is near 1, with the classifier above, and a part of that is mistakes. But among the letters
# that are read right it falls with the weight of classifier-free guidance, too: that loss of variety is real.
#
# **What is won.** One training gives the whole curve, and at weight 2 nearly every letter is the one that was asked
# for. Others have such a number at the time of drawing as well: truncation in BigGAN, the temperature of a flow or
# a VAE (lessons 9 and 10). Those draw nearer to the middle of what was learnt. Guidance also uses the *other*
# classes, to know which way to go.
#
# ## 6 · What breaks: too much guidance saturates
#
# Weight 8 on the plot: nearly all letters are read, with the least diversity of all and a Fréchet distance several
# times as large. What has happened to the pixels? $D_w$ is a line *through* two guesses, far beyond the second.
# Real pixels lie between $-1$ and 1; nothing keeps $D_w$ there. *Overshoot* is the mean of $\max(|D_w| - 1,\, 0)$
# over all pixels and steps.
#
# Three attempts to keep the weight and lose the harm. *Static thresholding* clips the guess to $[-1, 1]$ at every
# step. **Dynamic thresholding** (Imagen) takes a high quantile of each picture's $|D_w|$; where it is above 1, it
# clips there and divides by it, so that what overshoots pulls the whole picture back. The *interval* leaves half of
# the steps alone.


# %% build="threshold"
def dynamic_threshold(x_0, share=0.8):
    """Clip each picture at the quantile `share` of its |pixels|, if above 1, and divide by it.

    x_0: (B, ...) -> (B, ...). Source: Saharia et al. 2022 (Imagen), section 2.3.
    """
    ### BEGIN SOLUTION
    q = x_0.abs().flatten(1).quantile(share, dim=1).clamp(min=1)
    q = q.reshape(-1, *[1] * (x_0.ndim - 1))
    return x_0.clamp(-q, q) / q
    ### END SOLUTION


# %% check="threshold"
x = torch.tensor([[-0.5, 0.2, 0.9], [-4.0, 1.0, 2.0]])
got = dynamic_threshold(x, 0.5)
assert torch.equal(got[0], x[0]), "a picture inside [-1, 1] stays as it is"
assert got[1].tolist() == [-1.0, 0.5, 1.0], "the median of 4, 1, 2 is 2: clipped at 2, divided by 2"

# %% folded="Figure: weight 8, and what helps" tags=["demo"]
# long: one break, three attempts
free8, one, times = way("classifier-free", 8.0), way("classifier-free", 1), grid(S.steps)
attempts = {
    "static threshold": lambda x, t: free8(x, t).clamp(-1, 1),
    "dynamic threshold, quantile 0.8": lambda x, t: dynamic_threshold(free8(x, t)),
    "dynamic threshold, quantile 0.95": lambda x, t: dynamic_threshold(free8(x, t), 0.95),
    "times 0.2 to 0.6 only": limited(free8, one, 0.2, 0.6),
}
letters_8 = {f"weight {w:g}": drawn["classifier-free", w] for w in (1, 3.0, 8.0)}
letters_8 |= {f"weight 8, {name}": ddim(D, z_many, times) for name, D in attempts.items()}
fig, axes = plot.figure(len(letters_8), 1, height=0.95)
shown = pick(many_y, 1)[torch.arange(0, 36, 3, device=device)]
mended, corner = {name: measured(x) for name, x in letters_8.items()}, {}
for ax, (name, x) in zip(axes, letters_8.items(), strict=True):
    plot.images(pictures(x[shown]), columns=12, ax=ax, title=name)
    p, corner[name] = mended[name], pictures(x)[..., :2, :2].mean().item()
    print(
        f"{name:42} accuracy {p['class_accuracy']:.3f}, diversity {p['diversity']:.3f},"
        f" Fréchet {p['frechet']:5.1f}, ink in the corner {corner[name]:.3f}"
    )
plt.show()
over_1, over_8 = over["classifier-free", 1], over["classifier-free", 8.0]
print(f"overshoot at weight 1: {over_1:.3f}, at weight 8: {over_8:.3f}; with thresholds none")
far = {name.removeprefix("weight 8, "): p["frechet"] for name, p in mended.items()}
board.claim("Weight 8 overshoots three times as much as weight 1.", over_8 > 3 * over_1)
board.claim(
    "Of the attempts the interval has the smallest Fréchet distance.",
    far["times 0.2 to 0.6 only"] == min(far[k] for k in attempts),
)
board.claim(
    "Plain weight 3 has a smaller one than all of them.", far["weight 3"] < min(far[k] for k in attempts)
)
board.claim(
    "A dynamic threshold at 0.95 is worse than at 0.8, and that is worse than none.",
    far["dynamic threshold, quantile 0.95"] > far["dynamic threshold, quantile 0.8"] > far["weight 8"],
)
board.claim(
    "Both thresholds make paper greyer.",
    min(corner["weight 8, " + k] for k in list(attempts)[:2]) > corner["weight 8"],
)

# %% [markdown]
# The cheapest repair is a smaller weight: plain weight 3 has a smaller Fréchet distance than all three attempts at
# weight 8. Of these the interval helps most. It leaves alone the early steps, where a large step away from the
# other classes decides which R it will be (section 10 looks at that); the thresholds leave the path where it was
# and act on the range.
#
# Dynamic thresholding, which Imagen needs for photographs, makes *letters* worse, and a quantile nearer to 1, as
# one uses for photographs, does most harm; 0.8 was chosen for letters. Nearly all pixels of a letter are $-1$ or 1,
# so dividing by more than 1 turns paper into grey. Clipping alone greys it, too. One reason may be in `step`: what
# remains of $x_t$ once the *clipped* guess is taken out counts as noise, and is carried on.
#
# ## 7 · Inpainting
#
# Half a letter is known. How do we draw the other half? Three ways, in the order of their cost in training.
#
# **Replacement** (Song and others 2020) needs none. After each step, put the known pixels in place, with as much
# noise as the step's time has: $\alpha_s c + \sigma_s z$. It goes wrong in a way that one sees at once. The step
# follows $\nabla\log p_t(x_t)$, as if both halves were on their common way. Wanted is the slope of
# $p_t(x_t \mid \text{known})$, in which the known half *stays*; section 8 derives what is missing. Each step fits
# the drawn half to the known one as it is now, with its noise of now, and then the known half gets other noise.
#
# **RePaint** (Lugmayr and others 2022) does each step several times: after the step from $t$ to $s$ and the
# replacement, add noise to get from $s$ back to $t$,
# $x_t = \frac{\alpha_t}{\alpha_s}x_s + \sqrt{\sigma_t^2 - \frac{\alpha_t^2}{\alpha_s^2}\sigma_s^2}\;z$, and step
# again. Now both halves have time to agree, at every level of noise. (In the spirit of Gibbs sampling, which draws
# one half given the other, again and again. Our step is DDIM's, which draws nothing: so this is not exact, however
# many rounds there are. RePaint's own step is the *ancestral* one of lesson 19, with fresh noise.)


# %% build="fill"
def fill(D, c, known, times, rounds, generator):
    """Draw what is not known: c (B, ...) the picture, known: True where it is to be kept; like c.

    rounds = 1: replacement. rounds > 1: each step that many times, as in RePaint (jump length 1).
    """
    ### BEGIN SOLUTION
    fresh = lambda: torch.randn(c.shape, generator=generator, dtype=c.dtype).to(c.device)  # noqa: E731
    x = fresh()
    for t, s in pairwise(times):
        (a, b), (a_s, b_s) = mix(t, x), mix(s, x)
        for again in range(rounds - 1, -1, -1):
            x = torch.where(known, a_s * c + b_s * fresh(), step(D(x, t), x, t, s))
            if again and s > 0:
                x = a / a_s * x + (b**2 - (a / a_s * b_s) ** 2).clamp(min=0).sqrt() * fresh()
            elif s == 0:
                break
    return x
    ### END SOLUTION


# %% check="fill"
c, known = torch.arange(6.0).reshape(2, 3), torch.tensor([True, False, True])
g = torch.Generator().manual_seed(0)
got = fill(lambda x, t: 0 * x + 9, c, known, torch.tensor([1.0, 0.5, 0.0]), 3, g)
assert torch.equal(got[:, ::2], c[:, ::2]) and (got[:, 1] == 9).all(), "the known stays, exactly"
calls = []
fill(lambda x, t: calls.append(float(t)) or 0 * x, c, known, torch.tensor([1.0, 0.5, 0.0]), 3, g)
assert calls == [1.0, 1.0, 1.0, 0.5], "each step three times; the last, to no noise, once"

# %% [markdown]
# First where the truth is known: two numbers, normal, of variance 1 and covariance 0.9. The first is known to be 1.5.
# The second then is normal with mean $0.9\cdot1.5 = 1.35$ and deviation $\sqrt{1 - 0.81} = 0.436$. The exact guess is
# linear: $D(x, t) = \alpha_t\Sigma(\alpha_t^2\Sigma + \sigma_t^2 I)^{-1}x$.

# %% folded="Figure: half a normal cloud" tags=["demo"]
# long: replacement and RePaint where the answer is known
SIGMA = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=real, device=device)


def pair_guess(x, t):
    """E[x_0 | x_t] of the correlated pair."""
    a, b = mix(t, x)
    return x @ torch.linalg.solve(a**2 * SIGMA + b**2 * torch.eye(2).to(x), a * SIGMA)


n = S.many // 20
c = torch.tensor([[1.5, 0.0]], dtype=real, device=device).expand(n, 2)
known = torch.tensor([True, False], device=device)


def ancestral(times, generator):
    """Replacement with steps that add fresh noise: of p(x_s | x_t, x_0 = D), lesson 19."""
    fresh = lambda: torch.randn(n, 2, generator=generator, dtype=torch.float64).to(c)  # noqa: E731
    x = fresh()
    for t, s in pairwise(times):
        (a, b), (a_s, b_s), D_x = mix(t, x), mix(s, x), pair_guess(x, t)
        new = b_s / b * (b**2 - (a / a_s * b_s) ** 2).clamp(min=0).sqrt()  # deviation of the fresh noise
        kept = (b_s**2 - new**2).clamp(min=0).sqrt()
        x = torch.where(known, a_s * c + b_s * fresh(), a_s * D_x + kept * (x - a * D_x) / b + new * fresh())
    return x


ends = {}
for rounds, steps in ((1, 25), (2, 25), (5, 25), (20, 25), (20, 100)):
    g = torch.Generator().manual_seed(8)
    ends[rounds, steps] = fill(pair_guess, c, known, grid(steps), rounds, g)[:, 1].cpu()
ends["ancestral", 25] = ancestral(grid(25), torch.Generator().manual_seed(8))[:, 1].cpu()
for (rounds, steps), x in ends.items():
    print(f"{rounds!s:9} round(s), {steps:3} steps: mean {x.mean():.3f}, deviation {x.std():.3f}")
print("truth 1.350, 0.436")
fig, ax = plot.figure(1, 1, height=2.4)
for ((rounds, _), x), colour in zip(list(ends.items())[:4], plot.COLOURS, strict=False):
    ax.hist(
        x,
        bins=70,
        range=(-1.5, 3.5),
        density=True,
        histtype="step",
        lw=1.5,
        color=colour,
        label=f"{rounds} rounds",
    )
across = np.linspace(-1.5, 3.5, 200)
ax.plot(
    across,
    np.exp(-((across - 1.35) ** 2) / 0.38) / (2 * math.pi * 0.19) ** 0.5,
    color=plot.INK,
    label="truth",
)
ax.set(yticks=[], xlabel="the unknown number")
ax.legend(fontsize=8)
plt.show()
off = {r: abs(x.mean().item() - 1.35) for r, x in ends.items()}
board.claim(
    "The mean's error of replacement is more than three times that of 20 rounds.",
    off[1, 25] > 3 * off[20, 25],
)
board.claim(
    "With ancestral steps replacement's error is smaller, but more than three times that of 20 rounds.",
    off[1, 25] > off["ancestral", 25] > 3 * off[20, 25],
)
narrow = {k: 1 - x.std().item() / 0.19**0.5 for k, x in ends.items()}
board.claim(
    "20 rounds are too narrow by 5 % or more on 25 steps, and by less on 100.",
    narrow[20, 25] > 0.05 and abs(narrow[20, 100]) < narrow[20, 25],
)

# %% [markdown]
# Rounds bring the mean near the truth, the first few most. But 20 rounds are too *narrow* on 25 steps: that is the
# error of DDIM's large steps, and finer ones mend most of it. (The deviation after 5 rounds looks right because two
# errors cancel: its mean is wrong.) And a part of replacement's failure is DDIM's, too: ancestral steps, with fresh
# noise, take about a third off the mean's error, without any rounds. The rest is replacement's own.
#
# **A trained conditional** (Palette, Saharia and others 2021) sees what is known while it draws: two more pictures for
# the network, the known pixels (0 elsewhere) and the mask. We start from section 3's weights. In training each letter
# loses a part, from one of its four sides, of random size.


# %% tags=["demo"]
def masks(n, generator):
    """True where known: each letter keeps 5 to 11 rows or columns, from one of four sides: (n, 1, 16, 16)."""
    side = torch.randint(4, (n, 1), generator=generator, device=device)
    at = torch.randint(5, 12, (n, 1), generator=generator, device=device)
    line = (torch.arange(16, device=device) < at) ^ (side % 2 == 1)  # (n, 16)
    down, across = line[:, None, :, None], line[:, None, None, :]
    return torch.where((side < 2)[:, :, None, None], down, across).expand(n, 1, 16, 16)


def seen_part(x, known):
    """What the network sees of a picture: the known pixels, and where they are: (B, 2, H, W)."""
    return torch.cat([x * known, known.expand_as(x).to(x.dtype)], dim=1)


def warm(seen):
    """Section 3's weights in a network that sees c; the convolution that looks at it begins at zero."""
    net = UNet(S.channels, CLASSES, seen).to(device)
    net.load_state_dict(ema.state_dict(), strict=False)
    return net


def fill_loss():
    """The loss of one batch of letters with known parts."""
    x, y = chosen(x_train, y_train, S.batch, g)
    return v_loss(fill_net, x, y, g, seen_part(x, masks(len(x), g)), torch.zeros(len(x), device=device))


torch.manual_seed(9)
fill_net, g = warm(2), torch.Generator(device).manual_seed(9)
fill_ema, _ = fit(fill_net, fill_loss, S.fill_updates, 0.75 * S.rate, "a network that sees the known part")

# %% folded="Figure: halves filled in" tags=["demo"]
# long: three ways, without the class, with it and guided, read and measured at the seam
rows_16 = pick(y_test, 3)[:: max(1, 108 // S.few)]
whole, half_y = x_test[rows_16], y_test[rows_16]
half_none, known = (
    torch.full_like(half_y, CLASSES),
    torch.zeros(1, 1, 16, 16, dtype=torch.bool, device=device),
)
known[..., :8, :] = True  # the upper half


def read(x, y, by=judge):
    """The share of letters read as y."""
    return metrics.class_accuracy(by(pictures(x).cpu()).labels, y.cpu())


def seam(x):
    """The mean step from row 8 to row 9, where known meets drawn, less that of the real letters."""
    return (
        (x[..., 8, :] - x[..., 7, :]).abs().mean() - (whole[..., 8, :] - whole[..., 7, :]).abs().mean()
    ).item()


@torch.no_grad()
def filled(kind, y, w=1):
    """The halves filled in, for classes y (or no class)."""
    times, g = grid(S.steps), torch.Generator().manual_seed(10)
    if kind == "trained":
        level = torch.zeros(len(whole), device=device)
        D = guided(denoiser(fill_ema, seen_part(whole, known), level), y, w, half_none)
        return torch.where(known, whole, ddim(D, noise_like(whole, 10), times))
    return fill(guided(denoiser(ema), y, w, half_none), whole, known, times, 4 if kind == "RePaint" else 1, g)


blank = torch.where(known, whole, -torch.ones_like(whole))
halves = {"whole letters": whole, "upper halves": blank}
WAYS, HOW = ("replacement", "RePaint", "trained"), ("no class", "with class", "guidance 2")
for how, (y, w) in zip(HOW, ((half_none, 1), (half_y, 1), (half_y, 2.0)), strict=True):
    halves |= {f"{kind}, {how}": filled(kind, y, w) for kind in WAYS}
reads, seams = {k: read(x, half_y) for k, x in halves.items()}, {k: seam(x) for k, x in halves.items()}
fig, axes = plot.figure(len(halves), 1, height=0.95)
shown = torch.linspace(0, len(whole) - 1, 12).long().to(device)
for ax, (name, x) in zip(axes, halves.items(), strict=True):
    plot.images(
        pictures(x[shown]),
        columns=12,
        ax=ax,
        title=f"{name}: read {reads[name]:.2f}, seam {seams[name]:+.3f}",
    )
plt.show()
board.claim(
    "With the class every way is read more often.",
    all(reads[f"{k}, with class"] > reads[f"{k}, no class"] for k in WAYS),
)
board.claim(
    "RePaint's seams are the smallest of the three, each time.",
    all(min(WAYS, key=lambda k: seams[f"{k}, {how}"]) == "RePaint" for how in HOW),
)
board.claim(
    "With guidance 2 all three are read in 0.85 or more.",
    min(reads[f"{k}, guidance 2"] for k in WAYS) >= 0.85,
)
board.claim(
    "With guidance 2 the trained network's seams are larger than without.",
    seams["trained, guidance 2"] > seams["trained, with class"],
)

# %% [markdown]
# (The class is what was asked for; without it the upper half of a P may rightly become an R.) Replacement leaves
# seams, strokes that end at the border. RePaint's seams are the smallest, for several times the calls.
#
# **A lost comparison.** The trained network had a training of its own, and yet it is no better: its seams are
# larger than those of RePaint, which had none, and with guidance they grow. A class and guidance do more for all
# three than the choice among them. What speaks for the trained one: it needs no more calls than any other drawing,
# it is told what stays, and more training helps it. Ours had about a fifth of the updates of section 3, and it
# knows only the masks that it was trained with.
#
# ## 8 · Any linear measurement: posterior sampling
#
# A known half is one case of a *measurement* $y = Ax_0 + \rho\,z$: $A$ may choose pixels, average them, blur. Its
# slope is $\nabla\log p_t(y \mid x_t)$, and $p_t(y\mid x_t) = \int p(y \mid x_0)\,p(x_0 \mid x_t)\,dx_0$: an
# average over all pictures that $x_t$ may become. **DPS** (Chung and others 2022) takes one of them, the guess:
# $p(y\mid x_0 = D(x_t))$. What is left out is how far $x_0$ may be from the guess,
# $C_t = \mathrm{Cov}[x_0 \mid x_t]$. If $x_0$ given $x_t$ is normal, the average is a normal density,
#
# $$p_t(y \mid x_t) = \mathcal N\big(y;\; A D,\; \rho^2 I + A\,C_t A^\top\big), \qquad \nabla\log p_t(y\mid x_t) = J^\top A^\top\big(\rho^2 I + A\,C_tA^\top\big)^{-1}(y - AD),$$
#
# with $J = \partial D/\partial x_t$, the network's derivative. And $C_t$ needs no second network:
# $C_t = \frac{\sigma_t^2}{\alpha_t}J$ (Tweedie's second formula, lesson 18). So $D$ alone is enough to do it exactly
# for normal data. It has a price: $J$ is a matrix of pixels by pixels for each picture, one backward pass
# for each row, at each step. DPS, without $C_t$, needs $J^\top$ times *one* vector, a single backward pass.
#
# <details><summary>Derivation of the second formula, and of the guess that follows</summary>
#
# 1. *The score's derivative.* From $p_t(x) = \int p(x_0)\,\mathcal N(x; \alpha x_0, \sigma^2)\,dx_0$ the score is
#    $(\alpha\,\mathbb E[x_0\mid x] - x)/\sigma^2$. Differentiate $\mathbb E[x_0 \mid x] = \int x_0\,p(x_0 \mid x)\,dx_0$: with
#    $\nabla_x\log p(x_0\mid x) = \frac{\alpha}{\sigma^2}(x_0 - D)$ it is
#    $J = \frac{\alpha}{\sigma^2}\,\mathbb E\big[x_0\,(x_0 - D)^\top\big] = \frac{\alpha}{\sigma^2}C_t$.
# 2. *The guess.* Section 1 moves $D$ by $\frac{\sigma^2}\alpha$ times the slope; with $J^\top = J = \frac\alpha{\sigma^2}C_t$ that is
#    $D_y = D + C_tA^\top(\rho^2 I + A C_t A^\top)^{-1}(y - AD)$, the update of a Kalman filter.
# </details>
#
# **Question.** Without $C_t$ the slope divides by $\rho^2$ alone. Where is that most wrong, at much noise or at
# little?


# %% build="posterior"
def posterior_guess(D, y, A, rho, exact=True):
    """D_y(x, t) for a measurement y (B, M) = A x_0 + rho z, A (M, N): x (B, N) -> (B, N), B separate rows.

    exact: with C_t = sigma^2 / alpha * J in the variance (exact for normal data); else DPS, rho^2 alone.
    """
    ### BEGIN SOLUTION

    def D_y(x, t):
        a, b = mix(t, x)
        J = torch.func.vmap(torch.func.jacrev(lambda row: D(row[None], t)[0]))(x)  # (B, N, N)
        AC = b**2 / a * (A @ J)  # (B, M, N); C_t is symmetric
        var = rho**2 * torch.eye(len(A)).to(x) + (AC @ A.T if exact else 0)
        guess = D(x, t)
        gap = torch.linalg.solve(var.expand(len(x), -1, -1), y - guess @ A.T)  # (B, M)
        return guess + torch.einsum("bmd,bm->bd", AC, gap)

    return D_y
    ### END SOLUTION


# %% check="posterior"
A, y = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([[1.5]], dtype=torch.float64)
x, t = torch.tensor([[0.3, -0.2]], dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
C = torch.linalg.inv(torch.linalg.inv(SIGMA.cpu().double()) + torch.eye(2).double())  # t = 1/2: precision 1
both = C @ (x[0] / 0.5**0.5)
wanted = both + C[:, 0] / (C[0, 0] + 0.04) * (1.5 - both[0])
got = posterior_guess(lambda x, t: pair_guess(x, t), y, A, 0.2)(x, t)
assert torch.allclose(got[0], wanted.to(got), rtol=1e-6), "the mean of x_0 given x_t and y, by Bayes' rule"

# %% folded="Figure: a posterior, exactly" tags=["demo"]
# long: a blurred measurement of four correlated numbers
gap4 = (torch.arange(4)[:, None] - torch.arange(4)).abs().to(real)
SIGMA4 = (0.8**gap4).to(device)
A4 = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]], dtype=real, device=device)
y4, RHO, n = torch.tensor([[1.2, -0.4]], dtype=real, device=device), 0.3, max(100, S.many // 20)


def four_guess(x, t):
    """E[x_0 | x_t] of N(0, SIGMA4)."""
    a, b = mix(t, x)
    return x @ torch.linalg.solve(a**2 * SIGMA4 + b**2 * torch.eye(4).to(x), a * SIGMA4)


gain = SIGMA4 @ A4.T @ torch.linalg.inv(A4 @ SIGMA4 @ A4.T + RHO**2 * torch.eye(2).to(SIGMA4))
true_mean, true_cov = (gain @ y4[0]).cpu(), (SIGMA4 - gain @ A4 @ SIGMA4).cpu()
z4 = torch.randn(n, 4, generator=torch.Generator().manual_seed(11), dtype=torch.float64).to(device, real)
off, ellipses = {}, {}
for name, exact in (("with $C_t$", True), ("DPS, without", False)):
    draws = ddim(
        posterior_guess(four_guess, y4.expand(n, 2), A4, RHO, exact), z4, grid(200, start=0.98)
    ).cpu()
    off[exact] = max(
        (draws.mean(0) - true_mean).abs().max().item(), (draws.T.cov() - true_cov).abs().max().item()
    )
    ellipses[name] = draws
    print(f"{name:12} largest error of a mean or covariance {off[exact]:.3f}")
fig, axes = plot.figure(1, 2, height=2.7)
g = torch.Generator().manual_seed(12)
truth = true_mean + torch.randn(n, 4, generator=g, dtype=real) @ torch.linalg.cholesky(true_cov).T
for ax, (name, draws) in zip(axes, ellipses.items(), strict=True):
    ax.scatter(*truth[:1_000, :2].T, s=3, color=plot.COLOURS.sky, label="truth")
    ax.scatter(*draws[:1_000, :2].T, s=3, color=plot.COLOURS.vermilion, label="drawn")
    ax.set(title=name, xlabel="$x_1$", ylabel="$x_2$")
axes[0].legend(fontsize=8)
plt.show()
board.claim("With C_t the posterior is exact to 0.05.", off[True] < 0.05)
board.claim("Without it the error is more than three times as large.", off[False] > 3 * off[True])

# %% [markdown]
# <details><summary>Answer</summary>
#
# At much noise: there $C_t$ is as large as the data's own covariance and $\rho^2$ is all that DPS divides by. Its
# steps along the slope are far too large. (The times begin at 0.98: at 1 the formula divides by $\alpha_t = 0$.)
# </details>
#
# In practice DPS is therefore used with a step size that is tuned by hand, or with a simple guess of $C_t$: ΠGDM
# (Song and others 2023) takes $C_t \approx r^2 I$ with $r^2 = \hat\sigma^2/(1 + \hat\sigma^2) = \sigma_t^2$, what
# it would be for pixels of variance 1 that know nothing of each other. Then a known half of a letter, $\rho = 0$
# and $A$ a choice of pixels, has $\rho^2I + AC_tA^\top \approx \sigma_t^2 I$, and section 1's factor
# $\sigma_t^2/\alpha_t$ leaves $D_y = D + \frac1{\alpha_t}J^\top A^\top(c - AD)$: one backward pass, and nothing to
# tune. Section 7's halves, once more:


# %%
def pulled(D, c, known):
    """D + J^T A^T (c - A D) / alpha: ΠGDM for known pixels of pictures c (B, 1, H, W), without noise."""

    def D_y(x, t):
        with torch.enable_grad():
            x_in = x.detach().requires_grad_(True)
            guess = D(x_in, t)
            gap = (known * (c - guess)).detach()
            (pull,) = torch.autograd.grad((gap * guess).sum(), x_in)
        return guess.detach() + pull / mix(t, x)[0].clamp(min=0.1)

    return D_y


# %% tags=["demo"]
for how, w in (("with class", 1), ("guidance 2", 2.0)):
    D = pulled(guided(denoiser(ema), half_y, w, half_none), whole, known)
    x = torch.where(known, whole, ddim(D, noise_like(whole, 10), grid(S.steps)))
    reads[f"ΠGDM, {how}"], seams[f"ΠGDM, {how}"] = read(x, half_y), seam(x)
    for kind in (*WAYS, "ΠGDM"):
        print(
            f"{kind + ', ' + how:24} read {reads[f'{kind}, {how}']:.3f}, seam {seams[f'{kind}, {how}']:+.3f}"
        )

board.claim(
    "ΠGDM's seams are the smallest, with the class and guided.",
    all(min((*WAYS, "ΠGDM"), key=lambda k: seams[f"{k}, {how}"]) == "ΠGDM" for how in HOW[1:]),
)

# %% [markdown]
# The seams are the smallest of all four, at the price of one backward pass a step and without any training: the
# slope tells the drawn half what will stay, which replacement could not. How often the halves are read is again
# decided by class and guidance.
#
# ## 9 · Super-resolution in stages
#
# From 8 x 8 pixels to 28 x 28. **SR3** (Saharia and others 2021) lets the diffusion look at the small picture,
# enlarged, beside $x_t$: section 7's trained conditional with another condition. A *cascade* (Ho and others 2021;
# Imagen) does it in stages, 8 → 16 → 28, each with a network of its own, so that none must invent everything at
# once.
#
# The second stage has a problem that the first has not. It is trained on small pictures made from real ones, and
# gets small pictures made by stage one, with that stage's errors. **Noise augmentation**: in training, add noise of
# a random level $s$ to the condition, $c_s = \alpha_s c + \sigma_s z$, and tell the network $s$. It learns to trust
# the condition only as far as $s$ says. When drawing, a little noise at a known level covers the errors of the
# stage before.
#
# All that is known of a letter are its 64 pixels. Imagen also tells every stage the text; so do we the class, in
# half of the training, so that both can be asked for.


# %%
def noised(c, s, generator):
    """The condition at noise level s, alpha_s c + sigma_s z: c (B, ...), s (B,) in [0, 1).

    Source: Ho et al. 2021, section 4.2, with this lesson's mixture.
    """
    a, b = mix(s, c)
    return a * c + b * torch.randn(c.shape, generator=generator, device=c.device, dtype=c.dtype)


def shrink(x, size):
    """Averages over blocks of pixels, or weighted ones where blocks do not fit: -> (B, 1, size, size)."""
    if x.shape[-1] % size == 0:
        return F.avg_pool2d(x, x.shape[-1] // size)
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)


def enlarge(x, size):
    """What a stage looks at: the small picture at its own size."""
    return F.interpolate(x, (size, size), mode="bilinear" if size % x.shape[-1] else "nearest")


def stage_loss(net, x_0, y, small, most, generator):
    """v_loss of a stage: x_0 (B, 1, H, W) given itself, smaller; levels up to `most`; no class in half."""
    c = enlarge(shrink(x_0, small), x_0.shape[-1])
    s = most * torch.rand(len(x_0), generator=generator, device=x_0.device)
    return v_loss(net, x_0, y, generator, noised(c, s, generator), s, drop=0.5)


# %% tags=["demo"]
# long: both stages, one after the other
letters = data.glyphs(28, each=S.pictures)
x_28 = 2 * torch.as_tensor(letters.train.x, device=device) - 1
y_28 = torch.as_tensor(letters.train.y, device=device)
x_16, stages, stage_seconds = shrink(x_28, 16), {}, time.perf_counter()
torch.manual_seed(13)
for k, (x, size, small, most) in enumerate(((x_16, 16, 8, 0.1), (x_28, 28, 16, 0.2))):
    net, g = warm(1), torch.Generator(device).manual_seed(14 + k)
    if k:
        net.load_state_dict(stages[16].state_dict())
    stages[size], _ = fit(
        net,
        lambda net=net, x=x, k=k, small=small, most=most, g=g: stage_loss(
            net, *chosen(x, y_28, S.stage_batch[k], g), small, most, g
        ),
        S.stage_updates[k],
        0.75 * S.rate,
        f"{small} to {size} pixels",
    )
stage_seconds = time.perf_counter() - stage_seconds


# %% [markdown]
# The rival enlarges in one pass. A generator of residual blocks first learns with the squared error alone: that is
# a *regression*. Then, as in **SRGAN** (Ledig and others 2016), a little of what a discriminator says is added to
# the loss; it looks at the large and the small picture together. We keep both, the regression and what the GAN made
# of it.


# %% folded="A regression, and SRGAN, in small" tags=["demo"]
# long: a generator, a discriminator, and their loop
class Residual(nn.Module):
    """Two convolutions beside a bypass."""

    def __init__(self, C):
        super().__init__()
        self.first, self.second = nn.Conv2d(C, C, 3, padding=1), nn.Conv2d(C, C, 3, padding=1)

    def forward(self, h):
        return h + self.second(F.relu(self.first(F.relu(h))))


class Generator(nn.Module):
    """The large picture from the small one: (B, 1, 8, 8) -> (B, 1, 28, 28)."""

    def __init__(self, C=48):
        super().__init__()
        self.enter, self.early, self.late = (
            nn.Conv2d(1, C, 3, padding=1),
            nn.Sequential(Residual(C), Residual(C)),
            Residual(C),
        )
        self.middle, self.leave = nn.Conv2d(C, C // 2, 3, padding=1), nn.Conv2d(C // 2, 1, 3, padding=1)

    def forward(self, c):
        h = self.late(enlarge(self.early(self.enter(c)), 14))
        return enlarge(c, 28) + self.leave(F.relu(self.middle(F.interpolate(h, (28, 28)))))


class Discriminator(nn.Module):
    """Logits of patches: is this large picture of this small one real?"""

    def __init__(self, C=32):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, C, 3, 2, padding=1), nn.Conv2d(C, 2 * C, 3, 2, padding=1)
        self.third, self.leave = nn.Conv2d(2 * C, 2 * C, 3, padding=1), nn.Conv2d(2 * C, 1, 1)

    def forward(self, x, c):
        h = F.leaky_relu(self.first(torch.cat([x, F.interpolate(c, x.shape[-2:])], dim=1)), 0.2)
        return self.leave(F.leaky_relu(self.third(F.leaky_relu(self.second(h), 0.2)), 0.2))


torch.manual_seed(16)
gan, critic, g = Generator().to(device), Discriminator().to(device), torch.Generator(device).manual_seed(17)
opt_G, opt_D = (torch.optim.Adam(n.parameters(), 1e-3, betas=(0.5, 0.99)) for n in (gan, critic))
gan_seconds = time.perf_counter()
for n in progress.track(range(4 * S.gan_updates), title="SRGAN"):
    x = chosen(x_28, x_28, S.stage_batch[1], g)[0]
    c = shrink(shrink(x, 16), 8)
    made = gan(c)
    loss_G = (made - x).square().mean()
    if n == 3 * S.gan_updates:
        regression = copy.deepcopy(gan)
    if n >= 3 * S.gan_updates:
        loss_D = F.softplus(-critic(x, c)).mean() + F.softplus(critic(made.detach(), c)).mean()
        opt_D.zero_grad()
        loss_D.backward()
        opt_D.step()
        loss_G = loss_G + 0.01 * F.softplus(-critic(made, c)).mean()
    opt_G.zero_grad()
    loss_G.backward()
    opt_G.step()
gan_seconds = time.perf_counter() - gan_seconds

# %% [markdown]
# Three measures, on held-out letters. **PSNR**, the peak signal-to-noise ratio, is $-10\log_{10}$ of the mean
# squared error for ink from 0 to 1, in decibels; more is better, and what maximises it is the mean of all letters
# that it could be: where they differ, a blur. The *feature distance* is the mean squared distance of the measuring
# net's features to those of the true letter (LPIPS, Zhang and others 2018, does this with a larger net). *Read* is
# the share that it reads right. Beside them stands *sharpness*, the mean of $|x|$: nearly 1 for letters of two
# colours, less for grey edges. It says nothing of right or wrong.
#
# **Question.** The mean of three draws of the cascade is less sharp than each of them. In which of the three
# measures will it be better, in which worse?


# %% folded="Figure: 8 to 28 pixels" tags=["demo"]
# long: seven ways to enlarge, drawn and measured
judge_28 = features.glyphs(28)
rows_28 = pick(torch.as_tensor(letters.test.y), 10)[:: max(1, 360 // (2 * S.few))].cpu()
large = 2 * torch.as_tensor(letters.test.x)[rows_28].to(device) - 1
large_y = torch.as_tensor(letters.test.y)[rows_28].to(device)
tiny, nothing = shrink(shrink(large, 16), 8), torch.full_like(large_y, CLASSES)


def enlarged(small, size, s, seed, y=None, steps=8):
    """One stage: what its network draws of small pictures with noise of level s, for classes y."""
    level = torch.full((len(small),), s, device=device)
    c = noised(enlarge(small, size).cpu(), level.cpu(), torch.Generator().manual_seed(seed)).to(device)
    D = guided(denoiser(stages[size], c, level), nothing[: len(c)] if y is None else y, 1, None)
    return ddim(D, noise_like(c, seed + 1), grid(steps))


def restored(x):
    """PSNR in decibels, feature distance, share read right, sharpness."""
    every = len(large) // len(x)
    real_x, real_y = large[::every], large_y[::every]
    seen, true = judge_28(pictures(x).cpu()), judge_28(pictures(real_x).cpu())
    psnr = -10 * math.log10((pictures(x) - pictures(real_x)).square().mean().item())
    return (
        psnr,
        ((seen.features - true.features) ** 2).mean(),
        metrics.class_accuracy(seen.labels, real_y.cpu()),
        (2 * pictures(x) - 1).abs().mean().item(),
    )


began = time.perf_counter()
first = enlarged(tiny, 16, 0.0, 18)
ways = {"bicubic": F.interpolate(tiny, (28, 28), mode="bicubic"), "cascade": enlarged(first, 28, 0.0, 20)}
cascade_seconds = (time.perf_counter() - began) / len(tiny)
with torch.no_grad():
    ways["regression"], ways["GAN"] = regression(tiny), gan(tiny)
ways["cascade, with class"] = enlarged(enlarged(tiny, 16, 0.0, 18, large_y), 28, 0.0, 20, large_y)
ways["cascade, noise 0.2"] = enlarged(first, 28, 0.2, 20)
ways["cascade, 2nd letters"] = ways["cascade"][::2]  # every second letter; three draws of each cost much
ways["mean of 3, 2nd letters"] = (
    ways["cascade"][::2] + sum(enlarged(enlarged(tiny[::2], 16, 0.0, k), 28, 0.0, k + 2) for k in (22, 32))
) / 3
table = {name: restored(x) for name, x in ways.items()}
shown = 2 * torch.linspace(0, len(large) // 2 - 1, 12).long().to(device)
rows = {"the truth": large, "8 x 8 pixels": F.interpolate(tiny, (28, 28)), **ways}
fig, axes = plot.figure(len(rows), 1, height=0.98)
for ax, (name, x) in zip(axes, rows.items(), strict=True):
    plot.images(pictures(x[shown // (len(large) // len(x))]), columns=12, ax=ax, title=name)
plt.show()
for name, (psnr, far, share, sharp) in table.items():
    print(
        f"{name:22} PSNR {psnr:.2f} dB, feature distance {far:.3f}, read {share:.3f}, sharpness {sharp:.3f}"
    )
print(
    f"real letters are read {read(large, large_y, judge_28):.3f}, sharpness {restored(large - 1e-3)[3]:.3f}"
)


def beats(a, b):
    """Is a better than b in all three measures?"""
    (psnr, far, share, _), (psnr_b, far_b, share_b, _) = table[a], table[b]
    return psnr > psnr_b and far < far_b and share > share_b


board.claim(
    "The cascade is read more than twice as often as bicubic interpolation.",
    table["cascade"][2] > 2 * table["bicubic"][2],
)
board.claim(
    "With the class it is read at least as often.", table["cascade, with class"][2] >= table["cascade"][2]
)
board.claim(
    "The GAN beats the cascade in PSNR and in how often it is read.",
    table["GAN"][0] > table["cascade"][0] and table["GAN"][2] > table["cascade"][2],
)
board.claim(
    "The regression has a better PSNR than the cascade, and is less sharp.",
    table["regression"][0] > table["cascade"][0] and table["regression"][3] < table["cascade"][3],
)
one, mean = "cascade, 2nd letters", "mean of 3, 2nd letters"
board.claim("The mean of three cascades beats one in all three.", beats(mean, one))
board.claim("It is less sharp than one.", table[mean][3] < table[one][3])
board.claim(
    "With noise 0.2 on the condition the cascade is worse in all.", beats("cascade", "cascade, noise 0.2")
)
board.claim(
    "Told the class, the cascade still has a smaller PSNR than the regression.",
    table["cascade, with class"][0] < table["regression"][0],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Better in all three. PSNR was to be expected: a mean has the smaller squared error. But here the mean is read more
# often, too. A single draw is now and then plainly the wrong letter, and averaging lets the three vote. So the
# mean is no example of a good PSNR with a bad picture: its blur costs no readability here.
# </details>
#
# **A lost comparison.** One pass with the critic has a better PSNR than the cascade and is read more often. Told
# the class, which one pass is not, the cascade still has the smaller PSNR than the regression. It also had more
# training: two stages, on top of section 3's. The squared error alone gives the better PSNR already, with letters
# that are less sharp: *that* is how PSNR rewards blur. (The critic came in the last quarter of the updates. So we
# cannot say what was its doing and what that of the further updates.) From 64 pixels of a letter with two colours
# there is little left to choose, and where one answer is right, a network that gives one answer is hard to beat.
# The cascade draws from all that the letter may be. That pays where much is open: faces, textures, weather.
# Super-resolution by diffusion is used in Imagen and in Stable Diffusion's upscaler.
#
# And noise on the condition? A level of 0.2 while drawing, the most that the second stage was trained with, makes
# all three measures worse. Whether a smaller level helps, or the noise in *training* did, these rows do not say:
# that would need a second stage trained without.
#
# ## 10 · Play
#
# *Question: what does guidance do to one letter, and where on the way does it do it?* Choose a letter, a weight and
# the interval of times in which it guides.


# %% folded="A control: one letter, a weight, an interval" tags=["demo"]
# long: a control, and a figure that says the same
z_play = noise_like(x_test[:12], 24)


def twelve(letter, w, low, high):
    """Twelve draws of a letter, from the same noise for every weight."""
    y = torch.full((12,), data.CAPITALS_AND_DIGITS.index(letter), device=device)
    nothing = torch.full_like(y, CLASSES)
    D_1 = guided(denoiser(ema), y, 1, nothing)
    return ddim(limited(guided(denoiser(ema), y, w, nothing), D_1, low, high), z_play, grid(S.steps))


def play(letter, w, between):
    """Draw them."""
    plot.images(pictures(twelve(letter, w, *between)), columns=12, title=f"{letter}, weight {w:g}")
    plt.show()


controls = interact(
    play,
    letter=widgets.Dropdown(options=list("RGB8Q"), value="R"),
    w=widgets.FloatSlider(2.0, min=0.0, max=10.0, step=0.5, continuous_update=False),
    between=widgets.FloatRangeSlider(value=(0.0, 1.0), min=0.0, max=1.0, step=0.05, continuous_update=False),
)
fig, axes = plot.figure(4, 1, height=0.95)
settings = ((1.0, 0.0, 1.0), (3.0, 0.0, 1.0), (3.0, 0.6, 1.0), (3.0, 0.0, 0.6))
rs = [pictures(twelve("R", *setting)) for setting in settings]
for ax, (w, low, high), x in zip(axes, settings, rs, strict=True):
    title = f"R, weight {w:g}" + (f", times {low:g} to {high:g}" if w > 1 else "")
    plot.images(x, columns=12, ax=ax, title=title)
plt.show()
early, late = ([(x - y).square().mean().item() for y in rs[:2]] for x in rs[2:])
print(
    f"mean squares to weight 1 and to guidance all the way: early only {early[0]:.4f}, {early[1]:.4f};",
    end=" ",
)
print(f"late only {late[0]:.4f}, {late[1]:.4f}")
board.claim(
    "Guided early only, the R's are nearer to those guided all the way than to plain ones.",
    early[1] < early[0] / 2,
)
board.claim("Guided late only, they are nearer to the plain ones.", late[0] < late[1])

# %% [markdown]
# Early. Guided at the times 0.6 to 1 only, in the first steps, the twelve R's are nearly those that are guided all the
# way; guided from 0.6 down to 0 only, in more than half of the steps, they are still nearer to the plain ones. So the
# first steps decide *which* R it will be, and an interval that leaves them alone keeps variety (section 6).
#
# ## 11 · How good is it?
#
# The row of guidance 2.1 has twice as many letters of a class as section 5's points, in half as many steps again.
# For halves and small letters the board's accuracy is the share read. The cascade's training includes section 3's,
# from which it starts.

# %% folded="Rows on the board" tags=["demo"]
# long: what is measured, and recorded
board_y = torch.arange(CLASSES, device=device).repeat_interleave(2 * S.each)
board_z, board_none = (
    noise_like(board_y[:, None, None, None].expand(-1, 1, 16, 16).float(), 25),
    torch.full_like(board_y, CLASSES),
)
began = time.perf_counter()
x = ddim(guided(denoiser(ema), board_y, 2.1, board_none), board_z, grid(S.steps + S.steps // 2))
each_call = (time.perf_counter() - began) / len(board_y)
final = measured(x, board_y)
board.record(
    "22_guidance",
    "diffusion, guidance 2.1",
    data="glyphs 16",
    parameters=parameters,
    train_seconds=train_seconds,
    sample_seconds=each_call,
    **final,
)
board.record(
    "22_guidance",
    "halves filled in, guidance 2",
    data="glyphs 16",
    class_accuracy=reads["trained, guidance 2"],
)
board.record(
    "22_guidance",
    "cascade 8 to 28, with class",
    data="glyphs 28",
    class_accuracy=table["cascade, with class"][2],
)
board.record(
    "22_guidance",
    "cascade 8 to 28",
    data="glyphs 28",
    train_seconds=train_seconds + stage_seconds,
    sample_seconds=cascade_seconds,
    class_accuracy=table["cascade"][2],
)
board.record(
    "22_guidance",
    "SRGAN 8 to 28",
    data="glyphs 28",
    train_seconds=gan_seconds,
    class_accuracy=table["GAN"][2],
)
print(f"guidance 2.1: accuracy {final['class_accuracy']:.3f} at diversity {final['diversity']:.3f}")
board.plot("glyphs 16")
plt.show()
board.table("glyphs 16")

# %% [markdown]
# The table is sober. Of the rows from other lessons lesson 10's conditional VAE is read at least as often as
# guidance 2.1, at about the same diversity, and its Fréchet distance is less than half; lesson 13's conditional GAN
# has a small Fréchet distance, too, at more diversity. They were trained for less time. With a short training, 16
# pixels and 36 classes a small model that draws in one pass is hard to beat. Why guide, then? Because a diffusion
# is what one has where a VAE blurs and a GAN does not train, on large pictures of many kinds, and because the
# weight, the known half, the small picture are asked of *one* network, most of them without training it again.
#
# ## 12 · In production
#
# One sample costs
#
# $$\text{time} = \big(n + f\,n\big)\,t_\text{net}\ \text{(guided for a share } f \text{ of } n \text{ steps)},\qquad \text{RePaint: } \big(r\,(n - 1) + 1\big)\,t_\text{net},\qquad \text{a cascade: } \textstyle\sum_k n_k\,t_k .$$
#
# Both guesses in one pass of $2B$ rows keep a GPU busy and read the weights once. Where that is too dear, a student
# is trained to say $D_w$ by itself (lesson 24). A posterior step needs a backward pass as well (ΠGDM), or one for
# each pixel (the exact $C_t$).

# %% tags=["demo"]
y, timed = torch.full((32,), 3, device=device), {}
for name, w, low in (("w = 1", 1, 0.0), ("guided", 2.0, 0.0), ("guided in 0.2 to 0.75", 2.0, 0.2)):
    D = limited(
        guided(denoiser(ema), y, w, y * 0 + CLASSES),
        guided(denoiser(ema), y, 1, None),
        low,
        0.75 if low else 1.0,
    )
    times = []
    for _ in range(2):
        began = time.perf_counter()
        ddim(D, noise_like(x_test[:32], 26), grid(S.steps)).sum().item()
        times.append(time.perf_counter() - began)
    timed[name] = 1_000 * min(times) / 32
print({name: f"{ms:.2f} ms a sample" for name, ms in timed.items()})
board.claim(
    "An interval costs less than guidance all the way.", timed["guided in 0.2 to 0.75"] < timed["guided"]
)

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs. Pictures and points are x (B, ...), batch first.
# What x is, float32 or float64, contiguous in memory or not, the result is: of its shape and type. Rows have nothing
# to do with each other. What you are given stays as it is. Where no tolerance is named, results agree to 9 digits in
# float64, and to 4 in float32.
#
# ### 1 · Several conditions, nested (easy, 5 minutes)
#
# A picture is edited by a source picture and a sentence (InstructPix2Pix, Brooks and others 2023). There are three
# guesses: without both, with the source, with both. Each condition has a weight of its own:
# $D = D_0 + w_1\,(D_1 - D_0) + w_2\,(D_2 - D_1)$. Write it for any number $K$ of nested conditions, with a weight
# for each row of the batch. With no condition at all, $K = 0$, the answer is $D_0$.


# %% exercise="nested"
def nested(guesses, weights):
    """The guided guess: guesses (K + 1, B, ...), from no condition to all K; weights (K, B) -> (B, ...)."""
    ### BEGIN SOLUTION
    w = weights.reshape(*weights.shape, *[1] * (guesses.ndim - 2)).to(guesses.dtype)
    return guesses[0] + (w * guesses.diff(dim=0)).sum(0)
    ### END SOLUTION


# %% test="nested" points=2
three = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64).reshape(3, 1, 1, 1).expand(3, 2, 2, 2)
got = nested(three, torch.tensor([[2.0, 1.0], [3.0, 0.0]], dtype=torch.float64))
assert got.shape == (2, 2, 2), "one guess for each row, of its shape"
assert (got[0] == 14).all(), "the first row: 0 + 2 (1 - 0) + 3 (5 - 1)"
assert (got[1] == 1).all(), "the second row has weights of its own: 0 + 1 (1 - 0) + 0"
assert torch.equal(nested(three[:1] + 0.1, torch.zeros(0, 2).double()), three[0] + 0.1), "no condition: D_0"

# %% [markdown]
# ### 2 · Which labels are hidden (easy, 10 minutes)
#
# With $K$ conditions the network must learn every pattern of hidden ones that guidance will ask for. Each row of the
# batch gets one of $P$ patterns, by shares: pattern $p$ hides the conditions where `patterns[p]` is True. To be
# reproducible, the choice is made by a number $u \in [0, 1)$ for each row: pattern 0 for $u$ from 0 to below the first
# share, pattern 1 from there to below the sum of the first two shares, and so on. Shares are not negative and their
# sum is 1, but for rounding; a pattern of share 0 is never chosen, and every row gets a pattern. `ValueError` for a
# negative share, or a sum that differs from 1 by more than $10^{-6}$.


# %% exercise="hidden-labels"
def hidden_labels(labels, none, patterns, shares, u):
    """labels (B, K) whole numbers, none (K,), patterns (P, K) bool, shares (P,), u (B,) -> labels (B, K)."""
    ### BEGIN SOLUTION
    if (shares < 0).any() or abs(shares.sum().item() - 1) > 1e-6:
        raise ValueError("shares are not negative, and add up to 1")
    used = shares > 0
    ends = shares[used].cumsum(0)
    row = torch.searchsorted(ends, u.to(ends.dtype), right=True).clamp(max=len(ends) - 1)
    return torch.where(patterns[used][row], none, labels)
    ### END SOLUTION


# %% test="hidden-labels" points=2
labels, none = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]]), torch.tensor([10, 20])
patterns = torch.tensor([[True, True], [False, True], [False, False]])
shares, u = torch.tensor([0.25, 0.0, 0.75]).double(), torch.tensor([0.0, 0.2, 0.25, 0.99]).double()
got = hidden_labels(labels, none, patterns, shares, u)
assert torch.equal(got, torch.tensor([[10, 20], [10, 20], [5, 6], [7, 8]])), (
    "both hidden below 0.25, none hidden from there on"
)
try:
    hidden_labels(labels, none, patterns, 2 * shares, u)
    raise AssertionError("shares of 0.5 and 1.5: ValueError")
except ValueError:
    pass

# %% [markdown]
# ### 3 · Keep what was measured, exactly (medium, 15 minutes)
#
# Replacement keeps known *pixels* exactly. Now any linear measurement is known without noise, $Ax_0 = y$: averages
# over blocks (then the answer restores a small picture *consistently*), differences, sums. Change a guess as little as
# possible: among all $x'$ with $Ax' = y$ return the one with the smallest $\lVert x' - x\rVert$ (DDNM, Wang and others
# 2022, calls it range–null space decomposition). Rows of $A$ may depend on each other, as long as $y$ agrees, $A$ may
# have more rows than columns, and all of it may be 0. Its singular values, but those of 0, are at most a factor of 1,000
# apart. The measurement's unit is anybody's: $A$ and $y$ may be $10^{-20}$ or $10^{20}$ times as large. Tolerance: 7
# digits.


# %% exercise="exact-measurement"
def keep_measured(x, A, y):
    """The nearest x' with A x' = y: x (B, D), A (M, D), y (B, M), float64 -> (B, D)."""
    ### BEGIN SOLUTION
    return x + (y - x @ A.T) @ torch.linalg.pinv(A).T
    ### END SOLUTION


# %% test="exact-measurement" points=3
x = torch.tensor([[1.0, 3.0, 5.0, 7.0]], dtype=torch.float64)
blocks = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]], dtype=torch.float64)
got = keep_measured(x, blocks, torch.tensor([[0.0, 10.0]]).double())
assert torch.allclose(got, torch.tensor([[-1.0, 1.0, 9.0, 11.0]]).double(), rtol=1e-7), (
    "each block is moved as one"
)
x = x / 3
assert torch.allclose(keep_measured(x, blocks, x @ blocks.T), x, rtol=1e-9), "what already agrees stays"
x = x * 3
double = torch.cat([blocks, blocks[:1] - blocks[1:]])  # a third row that says nothing new
again = keep_measured(x, double, torch.tensor([[0.0, 10.0, -10.0]]).double())
assert torch.allclose(again, got, rtol=1e-7), "rows that depend on each other are no obstacle"

# %% [markdown]
# ### 4 · Two noisy views are one (medium, 20 minutes)
#
# SR3 trains a network to look at a noisy condition *beside* $x_t$. If the condition is the picture itself, with noise,
# $c = \alpha_s x_0 + \sigma_s z$, no training is needed: a network without any condition can do it. Given $x_0$, the
# noises of $x_t$ and $c$ are independent. Find one $x'$ at one time $t'$ that says about $x_0$ all that the two say
# together: $\mathbb E[x_0 \mid x_t, c] = D(x', t')$, whatever the data are. Times are those of section 1,
# $\alpha_t = \cos\frac{\pi t}2$; $t$ and $s$ are between 0 and 1, neither is 0, and not both are 1. A view at time 1 is
# nothing but noise, to be left out. A time may be as small as $10^{-6}$.


# %% exercise="two-views"
def two_views(x_t, t, c, s):
    """x' (B, ...) and t' (B,): x_t, c (B, ...), t, s (B,), float64, one pair of times for each row."""
    ### BEGIN SOLUTION
    (a, b), (a_s, b_s) = mix(t, x_t), mix(s, c)
    signal = ((a / b) ** 2 + (a_s / b_s) ** 2).sqrt()  # alpha / sigma of both together
    mean = (a / b**2 * x_t + a_s / b_s**2 * c) / signal**2
    time = torch.atan(1 / signal).reshape(len(x_t)) * 2 / math.pi
    return mix(time, x_t)[0] * mean, time
    ### END SOLUTION


# %% test="two-views" points=3
x, t = torch.tensor([[0.3], [-1.2]], dtype=torch.float64), torch.tensor([0.5, 0.7], dtype=torch.float64)
c, s = torch.tensor([[0.9], [0.4]], dtype=torch.float64), torch.tensor([0.5, 0.2], dtype=torch.float64)
both, time_of_both = two_views(x, t, c, s)
assert torch.isclose(time_of_both[0], torch.tensor(2 / math.pi).double() * math.atan(0.5**0.5)), (
    "two views of signal-to-noise 1 (squared) add up to 2"
)
(a, b), (a_s, b_s) = mix(t, x), mix(s, x)
precision = 1 / 0.25 + (a / b) ** 2 + (a_s / b_s) ** 2  # of x_0 ~ N(0.6, 0.25), seen twice
wanted = (0.6 / 0.25 + a / b**2 * x + a_s / b_s**2 * c) / precision
assert torch.allclose(cloud(0.6, 0.5)(both, time_of_both), wanted, rtol=1e-9), (
    "E[x_0 | x_t, c], by Bayes' rule"
)

# %% [markdown]
# ### 5 · Repair a guided step (medium, 15 minutes)
#
# A DDIM step with guidance in a limited interval and dynamic thresholding, for this lesson's $w$. The step below has
# **four** faults. Find them, and write the step that works: guided where `low <= t <= high`; then every picture is
# thresholded on its own (also outside the interval), as in section 6; the noise of the step is what *remains of $x$ with
# the guess that the step uses*.
#
# ```python
# def broken_step(denoise, x, t, s, y, none, w, low, high, share):
#     D = denoise(x, t, y)
#     a, b = mix(t, x)
#     eps = (x - a * D) / b
#     if low <= s <= high:
#         D = D + w * (D - denoise(x, t, none))
#     q = D.abs().quantile(share).clamp(min=1)
#     D = D.clamp(-q, q) / q
#     a_s, b_s = mix(s, x)
#     return a_s * D + b_s * eps
# ```


# %% exercise="repair"
def repaired_step(denoise, x, t, s, y, none, w, low, high, share):
    """x_s from x (B, ...): denoise(x, t, y) -> the guess; t > s >= 0 are 0-d tensors; y, none (B,) labels.

    w, low, high, share: numbers; share, from 0 to 1, is the quantile of the threshold.
    """
    ### BEGIN SOLUTION
    D = denoise(x, t, y)
    if low <= t <= high:
        without = denoise(x, t, none)
        D = without + w * (D - without)
    top = D.abs().flatten(1).quantile(share, dim=1).clamp(min=1)
    top = top.reshape(-1, *[1] * (x.ndim - 1))
    D = D.clamp(-top, top) / top
    (a, b), (c, d) = mix(t, x), mix(s, x)
    return c * D + d / b * (x - a * D)
    ### END SOLUTION


# %% test="repair" points=3
t, s, lab, none = (
    torch.tensor(0.5).double(),
    torch.tensor(0.2).double(),
    torch.tensor([1, 2]),
    torch.tensor([0, 0]),
)
x = torch.tensor([[0.1, -0.2, 0.3], [0.4, 0.0, -0.5]], dtype=torch.float64)
says = lambda x, t, y: 0.1 * x + 0.2 * y[:, None].to(x)  # noqa: E731
got = repaired_step(says, x, t, s, lab, none, 2.0, 0.4, 0.6, 1.0)
assert torch.allclose(got, step(says(x, t, 2 * lab), x, t, s), rtol=1e-9), (
    "inside: 0.2 y + (2 - 1) 0.2 y, a DDIM step"
)
got = repaired_step(says, x, t, s, lab, none, 2.0, 0.1, 0.3, 1.0)
assert torch.allclose(got, step(says(x, t, lab), x, t, s), rtol=1e-9), (
    "the interval holds t, where the step begins"
)
got = repaired_step(says, x, t, s, 10 * lab, none, 1.0, 0.0, 1.0, 1.0)
one = repaired_step(says, x[:1], t, s, 10 * lab[:1], none[:1], 1.0, 0.0, 1.0, 1.0)
assert torch.allclose(got[:1], one, rtol=1e-9), "each picture has a threshold of its own"

# %% [markdown]
# ### 6 · Build a sampler that draws from the tilted density (hard, 25 minutes)
#
# Section 2: guidance does *not* draw from $q_w \propto p(x)^{1-w}p(x\mid y)^w$. Annealed Langevin dynamics does (lesson
# 18; Du and others 2023). At a fixed level it needs only the score of *some* density and forgets where it began. Here that
# density is $p_\sigma^{1-w}\,p_\sigma(\cdot\mid y)^w$, which is not the noised $q_w$ (section 2), but ends in $q_w$ as
# $\sigma \to 0$: wrong for an ODE, harmless for Langevin, if there are enough rounds at each level.
#
# Build it. Levels $\sigma_1 > \dots > \sigma_n$, in the unit of lesson 20: $x = x_0 + \sigma\varepsilon$, guesses
# $D(x; \sigma)$. At each level make `rounds` steps with the guided score $g(x) = \frac{D_w(x;\sigma) - x}{\sigma^2}$:
#
# $$x \leftarrow x + \frac{h}{2}\,g(x) + \sqrt h\; z, \qquad h = r\,\sigma^2 .$$
#
# $D_w = D + w\,(D_y - D)$; $z$ is drawn by `torch.randn(x.shape, generator=generator, dtype=x.dtype)`, once for each step.
# Begin at the $x$ that you are given, at $\sigma_1$. Return the $x$ after the last level; with `rounds = 0`, or
# without levels, it is the given one. The hidden tests compare with the exact law of the steps for normal clouds, and with $q_w$ itself where
# levels are many and low. $r$ is above 0. Levels are a tensor (n,), above 0.


# %% exercise="tilted-sampler"
def tilted_sampler(D, D_y, w, x, levels, rounds, r, generator):
    """Annealed Langevin with the guided score: D(x, sigma), D_y(x, sigma) -> (B, ...), sigma 0-d; like x."""
    ### BEGIN SOLUTION
    for sigma in levels:
        h = r * sigma**2
        for _ in range(rounds):
            plain = D(x, sigma)
            guess = plain + w * (D_y(x, sigma) - plain)
            z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + (h / 2 * (guess - x) / sigma**2 + h.sqrt() * z).to(x.dtype)
    return x
    ### END SOLUTION


# %% test="tilted-sampler" points=7
normal = lambda m, v: lambda x, sigma: m + v / (v + sigma**2) * (x - m)  # noqa: E731  # N(m, v)
levels = torch.tensor([2.0, 1.0], dtype=torch.float64)
x, g = torch.tensor([[4.0], [-2.0]], dtype=torch.float64), torch.Generator().manual_seed(1)
once = tilted_sampler(normal(0.0, 1.0), normal(0.0, 1.0), 3.0, x, levels[:1], 1, 0.1, g)
z = torch.randn(2, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
assert torch.allclose(once, x - 0.2 * x / 5 + 0.4**0.5 * z, rtol=1e-9), (
    "h = 0.1 * 4, and the slope is -x / (1 + 4)"
)
ladder = torch.logspace(1, -1.3, 24, dtype=torch.float64)
x = 10 * torch.randn(4_000, 1, generator=g, dtype=torch.float64)
ends = tilted_sampler(normal(0.0, 1.0), normal(0.8, 0.25), 2.0, x, ladder, 20, 0.3, g)
m_q, s_q = tilted_cloud(2.0, 0.8, 0.5, 1.0)
assert abs(ends.mean() - m_q) < 0.05 and abs(ends.std() - s_q) < 0.05, (
    "the tilted density, which guidance misses"
)

# %% [markdown]
# ## Further reading
#
# - Y. Song, J. Sohl-Dickstein, D. Kingma, A. Kumar, S. Ermon, B. Poole. *Score-based generative modeling through stochastic
#   differential equations.* 2020, arXiv:2011.13456. Replacement.
# - P. Dhariwal, A. Nichol. *Diffusion models beat GANs on image synthesis.* 2021, arXiv:2105.05233. Classifier guidance.
# - J. Ho, T. Salimans. *Classifier-free diffusion guidance.* 2022, arXiv:2207.12598.
# - A. Bradley, P. Nakkiran. *Classifier-free guidance is a predictor-corrector.* 2024, arXiv:2408.09000. Section 2's
#   question, and its answer.
# - Y. Du and others. *Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC.* 2023,
#   arXiv:2302.11552. Exercise 6.
# - T. Kynkäänniemi, M. Aittala, T. Karras, S. Laine, T. Aila, J. Lehtinen. *Applying guidance in a limited interval
#   improves sample and distribution quality in diffusion models.* 2024, arXiv:2404.07724.
# - T. Karras, M. Aittala, T. Kynkäänniemi, J. Lehtinen, T. Aila, S. Laine. *Guiding a diffusion model with a bad version
#   of itself.* 2024, arXiv:2406.02507. Autoguidance.
# - C. Saharia and others. *Photorealistic text-to-image diffusion models with deep language understanding.* 2022,
#   arXiv:2205.11487. Imagen: dynamic thresholding, cascades with noise augmentation.
# - A. Lugmayr and others. *RePaint: inpainting using denoising diffusion probabilistic models.* 2022, arXiv:2201.09865.
# - C. Saharia and others. *Palette: image-to-image diffusion models.* 2021, arXiv:2111.05826. A trained conditional.
# - H. Chung, J. Kim, M. McCann, M. Klasky, J. C. Ye. *Diffusion posterior sampling for general noisy inverse problems.*
#   2022, arXiv:2209.14687. DPS.
# - J. Song, A. Vahdat, M. Mardani, J. Kautz. *Pseudoinverse-guided diffusion models for inverse problems.* 2023, ICLR. ΠGDM.
# - Y. Wang, J. Yu, J. Zhang. *Zero-shot image restoration using denoising diffusion null-space model.* 2022,
#   arXiv:2212.00490. Exercise 3.
# - C. Saharia and others. *Image super-resolution via iterative refinement.* 2021, arXiv:2104.07636. SR3.
# - J. Ho and others. *Cascaded diffusion models for high fidelity image generation.* 2021, arXiv:2106.15282. Noise
#   augmentation.
# - C. Ledig and others. *Photo-realistic single image super-resolution using a generative adversarial network.* 2016,
#   arXiv:1609.04802. SRGAN.
# - R. Zhang, P. Isola, A. Efros, E. Shechtman, O. Wang. *The unreasonable effectiveness of deep features as a perceptual
#   metric.* 2018, arXiv:1801.03924. LPIPS.
# - T. Brooks, A. Holynski, A. Efros. *InstructPix2Pix: learning to follow image editing instructions.* 2022,
#   arXiv:2211.09800. Exercise 1.

# %% tags=["demo"]
selfcheck.run("22_guidance")
