# %% [markdown]
# # 20 · Samplers: DDIM, DPM-Solver, and friends
#
# > **A trained diffusion is a differential equation, and most of it needs no network. Compute that part exactly,
# > and ask the network only for what is left.**
#
# | | |
# |---|---|
# | You will build | a network in EDM's frame; a family of samplers, each one flat function over `denoise(x, sigma)`: DDIM with any share of fresh noise, Heun, DPM-Solver-2, DPM-Solver++(2M), UniPC with a predictor of order 3, churn; time grids; inversion and editing; at the end a sampler of your own |
# | You need to know | lesson 19 (the forward process, DDIM and its family in η, the U-Net, guidance); what a differential equation says; a Taylor series |
# | Time on two CPU cores | five minutes to run, two of them training; an hour and a half to read, two hours and a half to solve |
# | Time on a GPU | a few minutes, with a larger net (`full`) |
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
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    pictures=(3, 40, 40),
    channels=(8, 32, 96),
    batch=(8, 32, 128),
    updates=(3, 1_000, 15_000),
    rate=(4e-3, 4e-3, 1e-3),
    decay=(0.5, 0.99, 0.9995),
    each=(2, 10, 20),
    starts=(1, 3, 3),
    counts=((3, 4, 5, 6), (5, 10, 20, 50), (5, 10, 20, 50)),
    fine=(8, 80, 200),
    toy=(50, 400, 4_000),
    many=(500, 20_000, 200_000),
)
real = torch.float64 if device.type != "mps" else torch.float32  # Apple's GPUs have no float64
torch.manual_seed(20)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("diffusion")
diagram.machine(
    "x | (B, 1, 16, 16) -> [c_in x | variance 1] -> [U-Net | F] -> [frame | c_skip x + c_out F]"
    " -> D(x; σ) | the picture -> [step | a sampler] -> x at a lower σ",
    "σ, y | noise, class -> U-Net",
    title="Four boxes are one function, denoise(x, sigma). All else in this lesson is the last box",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# Lesson 19 gave up the single pass: a thousand steps, or fifty, for one picture. A sampler changes *nothing in
# the network and nothing in its training*. (This lesson trains one network anew, in sections 2 and 3, only to
# show EDM's frame. The samplers need a guess of $x_0$, and lesson 19's network has one, too.) It asks how few
# calls will do, and gives up something smaller: exactness. A sampler of few calls follows the network's own path
# only approximately. How large is its error, and does it show in the pictures?
#
# | question | answer |
# |---|---|
# | What is modelled? | nothing new: pixels at every noise level, by one denoiser that is trained once |
# | Is the density explicit? | as in lesson 19 a bound; the equation that we solve here also gives densities (lesson 21) |
# | Is sampling one-shot or iterative? | iterative: 5 to 20 calls instead of 50 to 1,000 |
# | What conditions it? | here a class, amplified by guidance; a sampler does not see it |
# | How is it evaluated, and how does that fail? | distance to the network's own exact answer, against calls: it says nothing about the network; the Fréchet distance: it mixes the sampler's error with the network's, and may fall when the two cancel |
#
# Song, Meng and Ermon (2020) took DDPM's network and left out the noise. Song and others (2020) saw that what
# remains is an ordinary differential equation. Lu and others (2022) and Zhang and Chen (2022) solved its linear
# half in closed form; Karras, Aittala, Aila and Laine (2022) took the whole design apart: the network's frame,
# the grid, the solver, the noise. Zhao and others (2023) got one more order for free. Since then nobody draws
# with a thousand steps: DPM-Solver++ and Euler in some twenty calls have been the usual choice for Stable
# Diffusion and its successors.
#
# | symbol | is |
# |---|---|
# | $x_0$, $\varepsilon$, $x_t = \alpha_t x_0 + \sigma_t\varepsilon$ | a picture, normal noise, their mixture, as in lesson 19 |
# | $\sigma$ | **without an index:** noise per signal, $\sigma_t/\alpha_t$, from 0 (data) up. (EDM writes $\sigma$, lesson 19's SNR is $1/\sigma^2$) |
# | $x$ | $x_t/\alpha_t = x_0 + \sigma\varepsilon$ |
# | $t$, $s$ as indices | the noise level at which a step begins, and the lower one at which it ends: $\sigma_s < \sigma_t$ |
# | $\lambda$, $h$ | $-\log\sigma$, half the log-SNR; the length of a step in it, $\lambda_s - \lambda_t > 0$ |
# | $D(x; \sigma)$ | the denoiser, $\mathbb E[x_0 \mid x]$ at its best: lesson 19's $\hat x_0$ |
# | $F$, $c_\text{skip}$, $c_\text{out}$, $c_\text{in}$ | the network inside $D$, and three numbers around it |
# | $\sigma_\text{data}$ | the root mean square of pixels |
# | $\eta$, $\gamma$ | share of fresh noise in a step; how much churn adds |
# | $p$, $\rho$ | order of a method; the bend of a grid |
#
# ## 1 · Why few calls can work at all
#
# Lesson 19's DDIM jumps from one time to another: $x_s = \alpha_s\hat x_0 + \sigma_s\hat\varepsilon$. Divide by
# $\alpha_s$, and write $\sigma$ for $\sigma_t/\alpha_t$ and $x$ for $x_t/\alpha_t$: schedule and all signal
# factors are gone,
#
# $$x_s = D + \sigma_s\,\frac{x_t - D}{\sigma_t}, \qquad D = D(x_t; \sigma_t).$$
#
# So *every* path $\alpha_t x_0 + \sigma_t\varepsilon$, lesson 19's circle, lesson 23's straight line, is one and
# the same path $x_0 + \sigma\varepsilon$, seen in another unit and on another clock. This lesson stays in that
# one. Subtract $x_t$, divide by $\sigma_s - \sigma_t$, and let the step become short:
#
# $$\frac{dx}{d\sigma} = \frac{x - D(x; \sigma)}{\sigma}.$$
#
# This is the *probability-flow ODE*. Whoever follows it from much noise down to $\sigma = 0$ draws from the data,
# if $D$ is exact:
#
# <details><summary>Derivation: why its paths have the right density at every σ</summary>
#
# 1. $x = x_0 + \sigma\varepsilon$ has the density $p_\sigma = p_0 * \mathcal N(0, \sigma^2)$. A normal curve
#    spreads by the heat equation, in each dimension
#    $\frac{\partial}{\partial\sigma}\mathcal N(x; 0, \sigma^2) = \sigma\,\frac{\partial^2}{\partial x^2}\mathcal N(x; 0, \sigma^2)$,
#    so $\partial_\sigma p_\sigma = \sigma\,\Delta p_\sigma$.
# 2. Since $\nabla p = p\,\nabla\log p$, this is
#    $\partial_\sigma p_\sigma = -\operatorname{div}\big(p_\sigma\cdot(-\sigma\nabla\log p_\sigma)\big)$: the
#    continuity equation of a crowd that moves with velocity $-\sigma\nabla\log p_\sigma$. A crowd that has the
#    density $p_\sigma$ at one noise level and moves so has it at all.
# 3. Lesson 19 (section 7) had the score from the noise:
#    $\nabla\log p_\sigma(x) = -\mathbb E[\varepsilon \mid x]/\sigma = (D - x)/\sigma^2$. Put in, the velocity is
#    $(x - D)/\sigma$.
# </details>
#
# Where is the saving? Look at what changes along a path. In the equation $x$ and $\sigma$ are known at every
# moment; only $D$ costs a network call. If $D$ stood still, the equation could be solved with one call, however
# long the way. How still does it stand? We look where it has a closed form: lesson 19's two modes,
# $\tfrac12\mathcal N(-0.6, 0.15^2) + \tfrac12\mathcal N(0.6, 0.15^2)$. For a mixture of normal clouds (lesson
# 02) given $x$ each cloud has a responsibility, and within a cloud the best guess is a weighted mean of its
# centre and of $x$.
#
# **Question.** From $\sigma = 10$ to 0 a path moves some ten units, nearly all of it noise that goes. How far
# does the guess $D$ move, and when?


# %%
def mixture(means, widths, shares):
    """denoise(x, sigma) of round normal clouds, exactly: (K, D), (K,), (K,) -> a function of x (B, D)."""
    means, widths, shares = (torch.as_tensor(v, dtype=real, device=device) for v in (means, widths, shares))

    def denoise(x, sigma):
        var = widths**2 + sigma**2  # of each cloud, with the noise: (K,)
        apart = x[:, None] - means  # (B, K, D)
        log_share = shares.log() - x.shape[1] / 2 * var.log() - apart.square().sum(2) / (2 * var)
        best = means + (widths**2 / var)[:, None] * apart  # each cloud's own guess
        return (log_share.softmax(dim=1)[:, :, None] * best).sum(1)

    return denoise


two_modes = mixture([[-0.6], [0.6]], [0.15, 0.15], [0.5, 0.5])
three_clouds = mixture([[0.9, 0.2], [-0.7, 0.7], [-0.1, -0.9]], [0.3, 0.2, 0.25], [0.5, 0.3, 0.2])

# %% folded="Figure: what moves along a path" tags=["demo"]
# long: one figure, and what is measured for it
levels = torch.logspace(1, -2, 401, dtype=real, device=device)
x = 10 * torch.linspace(-1.8, 1.8, 12, dtype=real, device=device)[:, None]
ways, guesses = [], []
for t, s in itertools.pairwise(levels):
    D = two_modes(x, t)
    middle = two_modes(D + (s / t).sqrt() * (x - D), (s * t).sqrt())
    ways, guesses, x = [*ways, x], [*guesses, D], middle + s / t * (x - middle)
ways, guesses = (torch.stack(v)[..., 0].cpu() for v in (ways, guesses))
fig, axes = plot.figure(1, 2, height=2.9)
for ax, values, title in zip(
    axes, (ways, guesses), ("The path $x$", r"The guess $D(x; \sigma)$"), strict=True
):
    ax.plot(levels[:-1].cpu(), values, color=plot.COLOURS.blue, lw=1.2)
    ax.set(xscale="log", xlabel=r"noise level $\sigma$", title=title, ylim=(-1.1, 1.1))
    ax.invert_xaxis()
plt.show()
moved = [(v[1:] - v[:-1]).abs().sum(0).mean().item() for v in (ways, guesses)]
steps_of_D = (guesses[1:] - guesses[:-1]).abs().mean(1).cumsum(0)
inside = [levels[int((steps_of_D < q * steps_of_D[-1]).sum())].item() for q in (0.1, 0.9)]
print(
    f"on average x moves {moved[0]:.1f}, D {moved[1]:.2f}; four fifths of that from {inside[0]:.2f}", end=" "
)
print(f"to {inside[1]:.2f}, which are {math.log(inside[0] / inside[1]) / math.log(1_000):.0%} of the axis")
board.claim("The guess moves less than a fifth of what the path moves.", moved[1] < 0.2 * moved[0])

# %% [markdown]
# <details><summary>Answer</summary>
#
# In much noise the guess is near 0, the mean of all data. Four fifths of its way to one of the modes it makes on
# the stretch of the axis that is printed above, a third of the whole. At the end it stands still again, at what
# $x$ will become. All the rest of the way of $x$ is noise that leaves by itself.
# </details>
#
# **So most of the way needs no network.** A good sampler (a) computes what is known exactly, so that only the
# movement of $D$ is approximated; (b) guesses that movement from the calls it has made already; (c) puts its
# calls where $D$ moves. Sections 5 to 7 and 9 do these three.
#
# ## 2 · One network for all levels: EDM's frame
#
# First the denoiser. Lesson 19 let the network say $v$. Karras and others (2022) ask more generally: a network
# likes inputs and targets of variance 1, at every noise level. Which frame around it gives that? Write
#
# $$D(x; \sigma) = c_\text{skip}\,x + c_\text{out}\,F\big(c_\text{in}\,x,\ \sigma\big).$$
#
# Three demands fix the three numbers. Let $\sigma_\text{data}^2 = \mathbb E[x_0^2]$ per pixel.
#
# $$c_\text{in} = \frac{1}{\sqrt{\sigma_\text{data}^2 + \sigma^2}},\qquad
# c_\text{skip} = \frac{\sigma_\text{data}^2}{\sigma_\text{data}^2 + \sigma^2},\qquad
# c_\text{out} = \frac{\sigma\,\sigma_\text{data}}{\sqrt{\sigma_\text{data}^2 + \sigma^2}}.$$
#
# <details><summary>Derivation, in three steps</summary>
#
# 1. *Input of variance 1.* $\mathbb E[x^2] = \sigma_\text{data}^2 + \sigma^2$, since noise and picture are
#    independent: hence $c_\text{in}$.
# 2. *Target of variance 1.* $D$ should be $x_0$, so $F$ should be
#    $(x_0 - c_\text{skip}x)/c_\text{out} = \big((1 - c_\text{skip})\,x_0 - c_\text{skip}\,\sigma\varepsilon\big)/c_\text{out}$.
#    Its mean square is 1 if
#    $c_\text{out}^2 = (1 - c_\text{skip})^2\sigma_\text{data}^2 + c_\text{skip}^2\sigma^2$.
# 3. *The smallest $c_\text{out}$.* Whatever $F$ gets wrong is multiplied by it. The right side of 2 is a
#    parabola in $c_\text{skip}$; its slope $-2(1 - c_\text{skip})\sigma_\text{data}^2 + 2c_\text{skip}\sigma^2$
#    is 0 at $c_\text{skip}$ as above. Put in:
#    $c_\text{out}^2 = \frac{\sigma^4\sigma_\text{data}^2 + \sigma_\text{data}^4\sigma^2}{(\sigma_\text{data}^2+\sigma^2)^2} = \frac{\sigma^2\sigma_\text{data}^2}{\sigma_\text{data}^2+\sigma^2}$.
# </details>
#
# At little noise $D$ is $x$ with a small correction, at much noise the network says the whole picture.
#
# **Question.** With $\sigma_\text{data} = 1$ this is something you have built before. What?


# %% build="precondition"
def precondition(sigma, sigma_data):
    """c_skip, c_out and c_in (Karras et al. 2022, table 1), for sigma of any shape."""
    ### BEGIN SOLUTION
    total = sigma**2 + sigma_data**2  # E[x^2]
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt()
    ### END SOLUTION


# %% check="precondition"
levels = torch.logspace(-2, 2, 9, dtype=torch.float64)
skip, out, into = precondition(levels, 0.5)
assert torch.allclose(into**2 * (levels**2 + 0.25), torch.ones(9).double()), "the input has variance 1"
target = ((1 - skip) ** 2 * 0.25 + skip**2 * levels**2) / out**2
assert torch.allclose(target, torch.ones(9).double()), "the target has variance 1"
for nearby in (skip * 0.99, skip * 1.01):
    assert ((1 - nearby) ** 2 * 0.25 + nearby**2 * levels**2 >= out**2).all(), (
        "no other c_skip needs less c_out"
    )

# %% [markdown]
# <details><summary>Answer</summary>
#
# Lesson 19's $v$. (Mind the index: $\sigma_t$ is lesson 19's amount of noise, $\sigma$ the noise per signal.)
# There $\alpha_t^2 + \sigma_t^2 = 1$ and $\sigma = \sigma_t/\alpha_t$, so
# $c_\text{in} = 1/\sqrt{1 + \sigma^2} = \alpha_t$: the network sees $\alpha_t x = x_t$. And
# $c_\text{skip} = \alpha_t^2$, $c_\text{out} = \sigma_t$, so $D = \alpha_t x_t + \sigma_t F$; lesson 19 had
# $\hat x_0 = \alpha_t x_t - \sigma_t v$. So $F = -v$. The frame is $v$ for data of any variance.
# </details>
#
# How the level is told to the network is free. EDM feeds $\tfrac14\log\sigma$; we keep lesson 19's clock, whose
# cosine schedule has $\sigma = \tan(\pi t/2)$: $t = \tfrac2\pi\arctan(\sigma/\sigma_\text{data})$. The U-Net is
# lesson 19's, stated again.


# %% folded="Lesson 19's U-Net, and the glyphs"
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
    """F(x, t, y): (B, 1, 16, 16), t (B,) in [0, 1], labels (B,), the last for none -> (B, 1, 16, 16)."""

    def __init__(self, C, classes):
        super().__init__()
        width = 4 * C
        waves = -math.log(10_000) * torch.arange(C // 2) / (C // 2)
        self.register_buffer("frequency", 1_000 * torch.exp(waves))
        self.clock = nn.Sequential(nn.Linear(C, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)
        self.enter, self.leave = nn.Conv2d(4, C, 3, padding=1), nn.Conv2d(C, 4, 3, padding=1)
        self.down, self.up = nn.Conv2d(C, C, 3, 2, padding=1), nn.Conv2d(2 * C, 2 * C, 3, padding=1)
        sizes = [(1, 1), (1, 2), (2, 2), (2, 2), (4, 2), (3, 2), (3, 1), (2, 1)]  # in and out, in units of C
        self.blocks, self.norm = (
            nn.ModuleList(Block(a * C, b * C, width) for a, b in sizes),
            nn.GroupNorm(8, C),
        )
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x, t, y):
        angle, b = t[:, None].float() * self.frequency, self.blocks
        e = self.clock(torch.cat([angle.cos(), angle.sin()], dim=1)) + self.label(y)
        h0 = self.enter(F.pixel_unshuffle(x, 2))  # -> (B, C, 8, 8)
        h1 = b[0](h0, e)
        h2 = self.down(h1)  # -> (B, C, 4, 4)
        h3 = b[1](h2, e)
        h = b[4](torch.cat([b[3](b[2](h3, e), e), h3], dim=1), e)
        h = self.up(F.interpolate(b[5](torch.cat([h, h2], dim=1), e), scale_factor=2.0))
        h = b[7](torch.cat([b[6](torch.cat([h, h1], dim=1), e), h0], dim=1), e)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2)


glyphs = data.glyphs(16, each=S.pictures)
CLASSES = len(data.CAPITALS_AND_DIGITS)  # 36; the label 36 itself means "no class"
x_train, x_test = (2 * torch.as_tensor(part.x, device=device) - 1 for part in (glyphs.train, glyphs.test))
y_train, y_test = (torch.as_tensor(part.y, device=device) for part in (glyphs.train, glyphs.test))
SIGMA_DATA = x_train.square().mean().sqrt().item()
net = UNet(S.channels, CLASSES).to(device)
parameters = sum(p.numel() for p in net.parameters())
print(f"{parameters:,} parameters; sigma_data is {SIGMA_DATA:.3f}")


def along(values, x):
    """A number, or values (B,), shaped to multiply x (B, ...)."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def pictures(x):
    """From [-1, 1] to ink between 0 and 1, for figures and measures."""
    return ((x + 1) / 2).clamp(0, 1)


def framed(net, x, sigma, y):
    """D(x; sigma) of a network: x (B, ...), sigma (B,) or 0-d, labels (B,) -> (B, ...)."""
    c_skip, c_out, c_in = (along(c, x) for c in precondition(sigma, SIGMA_DATA))
    t = torch.atan(sigma / SIGMA_DATA) * 2 / math.pi
    return c_skip * x + c_out * net(c_in * x, t.expand(len(x)).to(x.dtype), y).float()


# %% [markdown]
# ## 3 · Train, once
#
# The loss of $D$ is $\lVert D - x_0\rVert^2$, and $D - x_0 = c_\text{out}\,(F - \text{target})$. For $F$ to have
# a plain squared error, whose target has variance 1 at every level, the weight is $1/c_\text{out}^2$:
#
# $$L = \mathbb E_{x_0, \varepsilon, \sigma}\ \frac{1}{c_\text{out}^2}\,\big\lVert D(x_0 + \sigma\varepsilon;\, \sigma) - x_0 \big\rVert^2, \qquad
# \log\sigma \sim \mathcal N(P_\text{mean}, P_\text{std}^2).$$
#
# Which levels to train at is a question by itself. At tiny $\sigma$ there is nothing to see, at huge $\sigma$
# nothing to learn but a mean; a normal curve for $\log\sigma$ puts the effort between. EDM takes
# $P_\text{mean} = -1.2$ and $P_\text{std} = 1.2$ for photographs with $\sigma_\text{data} = 0.5$. Our glyphs have
# nearly twice that $\sigma_\text{data}$. With $-0.3$ and 1.5 two thirds of the training fall between
# $\sigma = e^{-1.8} = 0.17$ and $e^{1.2} = 3.3$, about the stretch where $D$ moved in section 1. They are set,
# not tuned. As in lesson 19 the levels of a batch are spread evenly (over the normal's quantiles), a label in ten
# is dropped for guidance, and an average of the weights is kept.


# %%
P_MEAN, P_STD = -0.3, 1.5


def noise_levels(n, generator, place):
    """n levels, log-normal, one in each of n equal shares of the distribution: (n,)."""
    u = (torch.rand(n, generator=generator, device=place) + torch.arange(n, device=place)) / n
    return (P_MEAN + P_STD * torch.special.ndtri(u.clamp(1e-5, 1 - 1e-5))).exp()


# %% build="loss"
def edm_loss(net, x_0, y, generator, drop=0.1):
    """Mean over pixels and batch of |D - x_0|^2 / c_out^2; a label is dropped with probability `drop`."""
    ### BEGIN SOLUTION
    sigma = noise_levels(len(x_0), generator, x_0.device)
    eps = torch.randn(x_0.shape, generator=generator, device=x_0.device)
    dropped = torch.rand(len(y), generator=generator, device=y.device) < drop
    D = framed(net, x_0 + along(sigma, x_0) * eps, sigma, torch.where(dropped, CLASSES, y))
    c_out = along(precondition(sigma, SIGMA_DATA)[1], x_0)
    return ((D - x_0) / c_out).square().mean()
    ### END SOLUTION


# %% check="loss"
g = torch.Generator(device).manual_seed(0)
flat_y, black = torch.arange(400, device=device) % CLASSES, torch.zeros(400, 1, 2, 2, device=device)


def knows_black(x, t, y):
    """F of a network that knows that every picture is 0: D = 0, so F = -c_skip x / c_out."""
    sigma = SIGMA_DATA * torch.tan(t * math.pi / 2)
    c_skip, c_out, c_in = (along(c, x) for c in precondition(sigma, SIGMA_DATA))
    return -c_skip * x / c_in / c_out


assert edm_loss(knows_black, black, flat_y, g) < 1e-6, "who knows the picture has no loss"
silent = edm_loss(
    lambda x, t, y: 0 * x, SIGMA_DATA * (2.0 * (flat_y % 2) - 1)[:, None, None, None] + black, flat_y, g
)
assert 0.8 < silent < 1.2, "a network that says 0 pays the target's variance: 1"


# %% folded="An update, its average, and how to measure"
# long: what the training cell uses
def update(net, ema, optimizer, x_0, y, generator, decay):
    """One step of training, and of the average of the weights; the loss, on its device."""
    with genmap.autocast(x_0.device):
        loss = edm_loss(net, x_0, y, generator)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    with torch.no_grad():
        torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
    return loss.detach()


ema = copy.deepcopy(net).requires_grad_(False)
optimizer = torch.optim.AdamW(net.parameters(), lr=S.rate, betas=(0.9, 0.99), weight_decay=0.0)
rise = S.updates / 10
rate = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda n: min((n + 1) / rise, (S.updates - n) / (S.updates - rise))
)


def noise_like(y, seed):
    """Normal noise (n, 1, 16, 16) for n labels, always from a generator of the CPU."""
    return torch.randn(len(y), 1, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)


# %% tags=["demo"]
trainer = torch.Generator(device).manual_seed(0)
curve, began = progress.Curve("EDM on glyphs", "update", "loss"), time.perf_counter()
kept_nets = {}  # the average at some moments, to draw from when there is a sampler
for n in progress.track(range(1, S.updates + 1), title="training"):
    rows = torch.randint(len(x_train), (S.batch,), generator=trainer, device=device)
    decay = min(S.decay, (n + 1) / (n + 10))
    curve.add(n, update(net, ema, optimizer, x_train[rows], y_train[rows], trainer, decay))
    rate.step()
    if n in {max(1, S.updates // 10), max(2, S.updates // 3), S.updates}:
        kept_nets[n] = copy.deepcopy(ema)
curve.close()
train_seconds = time.perf_counter() - began
print(f"{S.updates} updates in {train_seconds:.0f} s")

# %% [markdown]
# That is all the training of this lesson. Everything from here on takes `denoise(x, sigma)`, a function of noisy
# pictures and *one* level for all of them. `guided` makes one of the network, a label and a weight of guidance
# (lesson 19: $D_w = D_\varnothing + w\,(D_y - D_\varnothing)$). `Counted` counts its calls: **an evaluation is
# one call of `denoise`**, whatever it costs; with guidance it runs the network twice.


# %%
def guided(net, y, w=1.0):
    """denoise(x, sigma) for labels y (B,), amplified w times; x (B, ...), sigma a 0-d tensor."""
    none = torch.full_like(y, CLASSES)

    @torch.no_grad()
    def denoise(x, sigma):
        with_label = framed(net, x, sigma, y)
        if w == 1:
            return with_label
        without = framed(net, x, sigma, none)
        return without + w * (with_label - without)

    return denoise


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, denoise):
        self.denoise, self.calls = denoise, 0

    def __call__(self, x, sigma):
        self.calls += 1
        return self.denoise(x, sigma)


# %% [markdown]
# ## 4 · Where to stop on the way: grids
#
# A sampler gets a grid $\sigma_0 > \sigma_1 > \dots > \sigma_{n-1} > \sigma_n = 0$ and makes $n$ steps. The last
# one ends on the guess, $x = D$: nothing more is known at $\sigma_{n-1}$. Four ways to lay $n$ levels between
# $\sigma_\text{max}$ and $\sigma_\text{min}$ are in use.
#
# - **uniform** in $\sigma$;
# - **log-SNR**: equal steps of $\lambda = -\log\sigma$ (DPM-Solver);
# - **cosine**: lesson 19's, equal steps of $t$ with $\sigma = \tan(\pi t/2)$;
# - **Karras**: equal steps of $\sigma^{1/\rho}$, with $\rho = 7$.
#
# What does $\rho$ do? With $\sigma^{1/\rho} = u$ and equal steps $\Delta u$ a step has the length
# $\Delta\sigma \approx \rho\,u^{\rho - 1}\Delta u \propto \sigma^{1 - 1/\rho}$. For $\rho = 1$ all are equal,
# for $\rho \to \infty$ they are proportional to $\sigma$, which is the log-SNR grid. So $\rho$ goes from the one
# to the other.


# %% build="grid"
def karras_grid(n, low, high, rho=7.0):
    """n levels from high to low, equally spaced in sigma^(1/rho), and 0 behind them: (n + 1,)."""
    ### BEGIN SOLUTION
    u = torch.linspace(high ** (1 / rho), low ** (1 / rho), n, dtype=real, device=device)
    return torch.cat([u**rho, torch.zeros(1, dtype=real, device=device)])
    ### END SOLUTION


# %% check="grid"
got = karras_grid(4, 0.01, 81.0, rho=2.0).cpu()
assert got.shape == (5,) and got[-1] == 0, "n levels, and 0 behind them"
assert torch.allclose(got[:4].sqrt(), torch.linspace(9, 0.1, 4, dtype=got.dtype)), "equal steps of the root"
assert torch.allclose(
    karras_grid(9, 1.0, 17.0, rho=1.0)[:-1].cpu(), torch.arange(17, 0, -2, dtype=got.dtype)
), "uniform"

# %%
HIGH, LOW = 80.0, 0.1


def other_grid(kind, n, low=LOW, high=HIGH):
    """The same for "uniform", "log-SNR", "cosine" and "Karras"."""
    if kind == "uniform":
        return karras_grid(n, low, high, rho=1.0)
    if kind == "Karras":
        return karras_grid(n, low, high)
    ends = torch.tensor([high, low], dtype=real, device=device)
    turn, back = (torch.log, torch.exp) if kind == "log-SNR" else (torch.atan, torch.tan)
    first, last = turn(ends).tolist()
    levels = back(torch.linspace(first, last, n, dtype=real, device=device))
    return torch.cat([levels, torch.zeros_like(levels[:1])])


for kind in ("uniform", "log-SNR", "cosine", "Karras"):
    print(f"{kind:8}", [float(f"{v:.2g}") for v in other_grid(kind, 6)])

# %% [markdown]
# Six levels each. The uniform grid spends five of six at 16 and above, where $D$ stands still; the cosine leaps
# from 80 to 3.2 at once. Section 9 measures what that costs. (Why end at 0.1? A glyph's pixels are mostly $-1$ or
# 1, and with so little noise the guess is nearly sure. On clouds of width 0.15 to 0.3 the last jump to the guess
# would itself be seen, so that those sections end at 0.02 or 0.05.)
#
# ## 5 · Order one: hold the guess still
#
# Write the ODE in $\lambda = -\log\sigma$. Since $d\sigma = -\sigma\,d\lambda$, it becomes
#
# $$\frac{dx}{d\lambda} = D - x,$$
#
# a linear equation with a driving term. Its exact solution over a step is
#
# $$x_s = \frac{\sigma_s}{\sigma_t}\,x_t + \int_{\lambda_t}^{\lambda_s} e^{\lambda - \lambda_s}\, D\big(x_\lambda; \sigma_\lambda\big)\,d\lambda .$$
#
# <details><summary>Derivation: variation of constants</summary>
#
# Without $D$ the solution is $x = C e^{-\lambda}$. Let $C$ vary: $x = C(\lambda)\,e^{-\lambda}$ gives
# $\frac{dx}{d\lambda} = C' e^{-\lambda} - x$, so that $C' = e^{\lambda} D$. Integrate from $\lambda_t$ to
# $\lambda_s$: $e^{\lambda_s}x_s - e^{\lambda_t}x_t = \int e^\lambda D\,d\lambda$, and multiply by
# $e^{-\lambda_s} = \sigma_s$.
# </details>
#
# The first term is the noise that leaves by itself; it is exact and costs nothing. The integral is a weighted
# mean of guesses, with weights that sum to
# $\int e^{\lambda-\lambda_s}d\lambda = 1 - e^{-h} = 1 - \sigma_s/\sigma_t$. Only $D$ in it is unknown. Samplers
# of this kind are *exponential integrators*. The simplest holds $D$ at its value where the step begins:
#
# $$x_s = \frac{\sigma_s}{\sigma_t}\,x_t + \Big(1 - \frac{\sigma_s}{\sigma_t}\Big) D = D + \sigma_s\,\frac{x_t - D}{\sigma_t}.$$
#
# That is DPM-Solver-1, and it is **DDIM**, the formula with which section 1 began. What looked like a trick is
# the exact solution for a guess that stands still. (It is Euler's method in $\sigma$, too:
# $dx/d\sigma = (x - D)/\sigma$ is constant along it.)
#
# **With fresh noise.** Lesson 19's family, divided by $\alpha_s$: keep less of the old noise and draw the rest,
#
# $$x_s = D + \sqrt{\sigma_s^2 - \eta^2c^2}\;\frac{x_t - D}{\sigma_t} + \eta\,c\,z,\qquad c = \sigma_s\sqrt{1 - \sigma_s^2/\sigma_t^2}.$$
#
# For the true $x_0$ the noise left has variance $\sigma_s^2$ for every $\eta$. And $\eta = 1$ is lesson 19's
# posterior: its deviation was $c = \sigma_s\sigma_{t|s}/\sigma_t$, and for $\alpha = 1$ the noise between two
# levels is $\sigma_{t|s}^2 = \sigma_t^2 - \sigma_s^2$. So **ancestral sampling is DDIM with $\eta = 1$.**


# %% build="ddim"
@torch.no_grad()
def ddim(denoise, x, sigmas, eta=0.0, generator=None):
    """From noise x at sigmas[0] down the grid; with eta times the posterior's noise, by a CPU generator."""
    ### BEGIN SOLUTION
    for t, s in itertools.pairwise(sigmas):
        D = denoise(x, t)
        new = eta * s * (1 - (s / t) ** 2).clamp(min=0).sqrt()  # up the grid there is none
        x = D + (s**2 - new**2).sqrt() / t * (x - D)
        if eta:
            x = x + new * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return x
    ### END SOLUTION


# %% check="ddim"
grid, start = karras_grid(4, 0.5, 8.0), 8 * torch.randn(4_000, 1, generator=torch.Generator().manual_seed(1))
start = start.to(device, real)
half = lambda x, sigma: torch.full_like(x, 0.5)  # noqa: E731
end = ddim(half, start, grid)
assert torch.allclose(end, torch.full_like(end, 0.5)), "who always sees the picture 1/2 ends there"
way = ddim(half, start, grid[:3])
assert torch.allclose(way, 0.5 + grid[2] / 8 * (start - 0.5)), "on the way the old noise is scaled down"
for eta in (0.5, 1.0):
    way = ddim(half, start, grid[:3], eta, torch.Generator().manual_seed(2))
    kept = torch.corrcoef(torch.stack([way[:, 0], start[:, 0]]))[0, 1]
    assert abs(way.std() / grid[2] - 1) < 0.05, "the noise has the level's size for every eta"
    assert kept < 0.98, "and some of it is fresh"


# %% [markdown]
# ## 6 · Order two: let the guess move on a straight line
#
# Over a step $D$ changes, to first order, by $D' h$. Put $D(\lambda) \approx D + (\lambda - \lambda_t)\,D'$ into
# the integral:
#
# $$x_s \approx \frac{\sigma_s}{\sigma_t}\,x_t + (1 - e^{-h})\,D + \big(h - 1 + e^{-h}\big)\,D'
# \;\approx\; \frac{\sigma_s}{\sigma_t}\,x_t + \big(1 - e^{-h}\big)\Big(D + \frac h2 D'\Big).$$
#
# <details><summary>Derivation of both signs ≈</summary>
#
# By parts,
# $\int_{\lambda_t}^{\lambda_s} e^{\lambda-\lambda_s}(\lambda - \lambda_t)\,d\lambda = h - (1 - e^{-h})$. As a
# series this is $\frac{h^2}2 - \frac{h^3}6 + \dots$, and
# $(1 - e^{-h})\frac h2 = \frac{h^2}2 - \frac{h^3}4 + \dots$: the two differ by $\frac{h^3}{12}D'$, no more than
# what the straight line leaves out anyway. The simpler form says: *use the guess in the middle of the step for
# all of the step.*
# </details>
#
# **What an order is.** A step that is right up to $h^{p}$ leaves a *local* error of about $C h^{p+1}$. A way of
# fixed length has about $1/h$ steps, and the equation carries each error along, enlarged by a factor that has a
# bound. So the *global* error is about $h^{p+1}/h = h^p$: the method is of order $p$, and twice the steps divide
# its error by $2^p$. Line by line: DDIM leaves $\frac{h^2}2D'$ in a step, order 1; both forms above leave
# something of $h^3$, order 2.
#
# Where does $D'$ come from? Three answers, three famous samplers.
#
# - **DPM-Solver-2** *looks ahead*: a DDIM step to the middle, $\sigma = \sqrt{\sigma_t\sigma_s}$, a second call
#   there, and that guess for the whole step. Two calls a step.
# - **Heun** (EDM) looks ahead to the *end* of the step, and takes the mean of both slopes $(x - D)/\sigma$. It
#   is Heun's method for $dx/d\sigma$ (lesson 23), not an exponential integrator. Two calls a step, one in the
#   last.
# - **DPM-Solver++(2M)** *remembers*: the guess of the step before gives the slope,
#   $D' \approx (D - D_\text{old})/(\lambda_t - \lambda_\text{old})$. One call a step, as cheap as DDIM.
#
# **Question.** For ten calls Heun makes five steps and 2M ten. Both have order 2. Which errs less?


# %%
# long: two samplers that look ahead
@torch.no_grad()
def dpm_2(denoise, x, sigmas):
    """DPM-Solver-2: the guess in the middle of a step, by a DDIM step to it; two calls, in the last one."""
    for t, s in itertools.pairwise(sigmas):
        D = denoise(x, t)
        if s > 0:
            middle = (t * s).sqrt()
            D = denoise(D + middle / t * (x - D), middle)
        x = D + s / t * (x - D)
    return x


@torch.no_grad()
def heun(denoise, x, sigmas):
    """Heun's method in sigma (Karras et al. 2022, algorithm 1); two calls a step, in the last one."""
    for t, s in itertools.pairwise(sigmas):
        slope = (x - denoise(x, t)) / t
        end = x + (s - t) * slope
        if s > 0:
            end = x + (s - t) * (slope + (end - denoise(end, s)) / s) / 2
        x = end
    return x


# %% build="two-m"
@torch.no_grad()
def dpm_2m(denoise, x, sigmas):
    """DPM-Solver++(2M): the slope of the guess from the step before. One call a step; the first is DDIM's."""
    ### BEGIN SOLUTION
    old = None
    for t, s in itertools.pairwise(sigmas):
        D = middle = denoise(x, t)
        if old is not None and s > 0:
            D_old, t_old = old
            slope = (D - D_old) / (t_old / t).log()  # dD/dlambda
            middle = D + (t / s).log() / 2 * slope
        x = middle + s / t * (x - middle)
        old = D, t
    return x
    ### END SOLUTION


# %% check="two-m"
rows = torch.tensor([[3.0], [-1.0]], dtype=real, device=device)
four = torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=real, device=device)
assert torch.allclose(dpm_2m(half, rows, four), 0 * rows + 0.5), "it ends at the guess"
clock = Counted(lambda x, sigma: 0 * x - sigma.log())  # D = lambda
by_hand = 0.5 * (0.5 * rows + 0.5 * -math.log(4)) + 0.5 * (-math.log(2) + math.log(2) / 2)
assert torch.allclose(dpm_2m(clock, rows, four[:3]), by_hand), "first DDIM; then the guess half a step ahead"
assert clock.calls == 2, "one call a step"
assert torch.allclose(dpm_2m(clock, rows, four), 0 * rows), (
    "the step to 0 takes the last guess as it is: D = 0"
)


# %% [markdown]
# Before the theory goes on, the first letters: 2M in ten evaluations, with guidance 2, from the same noise at
# three moments of the training.

# %% folded="Figure: three moments" tags=["demo"]
dozen = torch.tensor([16, 0, 27, 5, 34, 10, 22, 3, 19, 35, 13, 8], device=device)  # of some classes, one each
fig, axes = plot.figure(len(kept_nets), 1, height=0.95)
for ax, (n, moment) in zip(np.atleast_1d(axes), kept_nets.items(), strict=True):
    x = dpm_2m(guided(moment, dozen, 2.0), HIGH * noise_like(dozen, 4), other_grid("log-SNR", 10))
    plot.images(pictures(x), columns=12, ax=ax, title=f"After {n} updates")
plt.show()

# %% [markdown]
# ## 7 · Order three, and a correction for free
#
# Remember more. A polynomial through the last $n$ guesses, as a function of $\lambda$, can be integrated exactly
# against $e^{\lambda - \lambda_s}$. The result is linear in the guesses:
# $x_s = \frac{\sigma_s}{\sigma_t}x_t + \sum_j w_j D_j$. The weights must be right for $1, u, u^2, \dots$ with
# $u = \lambda - \lambda_s$:
#
# $$\sum_j w_j\,u_j^k = m_k,\qquad m_k = \int_{-h}^0 e^{u}u^k\,du,\qquad m_0 = 1 - e^{-h},\quad m_k = -(-h)^k e^{-h} - k\,m_{k-1}.$$
#
# (The recursion is integration by parts.) A method that takes the polynomial through the past to the future is
# called a *predictor*; with $n$ guesses it has order $n$.
#
# <details><summary>An example with three guesses</summary>
#
# Three levels at equal distances, and a step of the same length: $h = \log 2$, so $e^{-h} = \tfrac12$. Then
# $m_0 = \tfrac12$, $m_1 = \tfrac h2 - \tfrac12 = -0.1534$, and $m_2 = -\tfrac{h^2}2 - 2m_1 = 0.0666$. The guesses
# are at $u = -h, -2h, -3h$ (now, one and two steps ago). The three equations
#
# $$w_1 + w_2 + w_3 = m_0,\qquad -h\,(w_1 + 2w_2 + 3w_3) = m_1,\qquad h^2\,(w_1 + 4w_2 + 9w_3) = m_2$$
#
# give $w = (1.016,\ -0.753,\ 0.237)$. Their sum is $1 - e^{-h}$, as it must be for a guess that stands still. The
# signs alternate: this is an extrapolation, and what is wrong in a guess may leave it enlarged.
# </details>
#
# Now comes **UniPC** (Zhao and others 2023). The predictor lands at $x_s$, and the next step calls
# $D(x_s; \sigma_s)$ anyway. With this guess in hand, the step that has just been made can be made again, better:
# the polynomial now goes through the *end* of the step, too. This *corrector* costs no call; it has one order
# more. The corrected $x_s$ goes on; the guess is not asked for again.
#
# But that guess was asked for at the *predicted* $x_s$. Does its error not spoil the gain? A predictor of order
# $n$ misses $x_s$ by about $h^{n+1}$, and $D$ there is wrong by as much, times a constant. In the corrector it
# has a weight of about $h$. That makes $h^{n+2}$, the local error of a method of order $n + 1$: the gain stays.


# %% build="weights"
def weights(nodes, begin, end):
    """w (n,), of guesses at n levels lambda, so that sum w_j D_j is the integral from begin to end.

    Exact for polynomials of degree n - 1, but for two nodes: there the line's value in the middle of the
    step, as in section 6, so that order 2 is 2M. The two differ by h^3 / 12 D': that takes no order away.
    """
    ### BEGIN SOLUTION
    h, powers = end - begin, torch.arange(len(nodes), device=nodes.device)
    moments = [1 - (-h).exp()]
    for k in range(1, len(nodes)):
        moments.append(-((-h) ** k) * (-h).exp() - k * moments[-1])
    if len(nodes) == 2:
        moments[1] = moments[0] * -h / 2
    return torch.linalg.solve((nodes - end) ** powers[:, None], torch.stack(moments))
    ### END SOLUTION


# %% check="weights"
nodes = torch.tensor([-0.3, 0.1, 0.4, 0.9], dtype=torch.float64)
fine = torch.linspace(0.4, 0.9, 20_001, dtype=torch.float64)
fine = (fine[1:] + fine[:-1]) / 2  # the middle of each of 20,000 pieces
for n in (1, 3, 4):
    got, power = weights(nodes[-n:], nodes[2], nodes[3]), n - 1
    exact = ((fine - 0.9).exp() * fine**power).sum() * 0.5 / 20_000
    assert got.shape == (n,), "one weight for each node"
    assert torch.isclose(got @ nodes[-n:] ** power, exact, atol=1e-7), f"exact for degree {power}"
two = weights(nodes[1:3], nodes[2], nodes[3])
assert torch.isclose(two @ nodes[1:3], torch.tensor((1 - math.exp(-0.5)) * 0.65).double()), (
    "two nodes: the middle of the step"
)


# %%
@torch.no_grad()
def unipc(denoise, x, sigmas, order=3, correct=True):
    """UniPC: a predictor through `order` guesses, and a corrector through one more. One call a step."""
    lambdas, D, last = -sigmas.log(), [], x
    for i, (t, s) in enumerate(itertools.pairwise(sigmas)):
        D.append(denoise(x, t))
        if s == 0:
            return D[-1]
        if i and correct:  # the step that led here, again
            n = min(order, i) + 1
            w = weights(lambdas[i + 1 - n : i + 1], lambdas[i - 1], lambdas[i])
            x = t / sigmas[i - 1] * last + sum(a * d for a, d in zip(w, D[-n:], strict=True))
        last, n = x, min(order, i + 1)
        w = weights(lambdas[i + 1 - n : i + 1], lambdas[i], lambdas[i + 1])
        x = s / t * x + sum(a * d for a, d in zip(w, D[-n:], strict=True))
    return x


# %% [markdown]
# At the start there are fewer guesses than the order asks for, and the order grows from 1: the first step is
# DDIM, corrected by the second call.
#
# ## 8 · The order, measured
#
# On three clouds in the plane, of unequal weight and width, $D$ is exact, so that every error is the sampler's.
# We go from $\sigma = 10$ to $0.02$ on the log-SNR grid and compare with a solution of 640 steps. On logarithmic
# axes an order is a slope.

# %% folded="Figure: error against evaluations, denoiser exact" tags=["demo"]
# long: five samplers at six numbers of steps, their orders, and a figure
SOLVERS = {
    "DDIM": (ddim, 1),
    "Heun": (heun, 2),
    "DPM-Solver-2": (dpm_2, 2),
    "2M": (dpm_2m, 1),
    "UniPC-3": (unipc, 1),
}
z = 10 * torch.randn(S.toy, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(
    device, real
)
plain_grid = lambda n: other_grid("log-SNR", n + 1, 0.02, 10.0)[:-1]  # noqa: E731
best = unipc(three_clouds, z, plain_grid(640))
toy_error, slope, counts = {}, {}, np.array([5, 10, 20, 40, 80, 160])
for name, (sampler, per_step) in SOLVERS.items():
    found = [
        (sampler(three_clouds, z, plain_grid(int(n))) - best).square().mean().sqrt().item() for n in counts
    ]
    toy_error[name] = dict(zip((counts * per_step).tolist(), found, strict=True))
    slope[name] = -np.polyfit(np.log(counts[3:]), np.log(found[3:]), 1)[0]
    errors = f"error {found[0]:.1e} in 5 steps, {found[1]:.1e} in 10, {found[2]:.1e} in 20"
    print(f"{name:13} order {slope[name]:.2f}; {errors}; evaluations a step: {per_step}")
fig, axes = plot.figure(1, 2, height=3.2)
cloud = ddim(three_clouds, z, torch.cat([plain_grid(100), 0 * z[:1, 0]])).cpu()
few = ddim(
    three_clouds, z, torch.cat([plain_grid(4), 0 * z[:1, 0]]), 1.0, torch.Generator().manual_seed(4)
).cpu()
axes[0].scatter(*cloud.T, s=5, color=plot.COLOURS.blue, label="100 steps of DDIM")
axes[0].scatter(*few.T, s=5, color=plot.COLOURS.vermilion, label="5 ancestral steps")
axes[0].set(title="Three clouds", aspect="equal", xlim=(-2.1, 2.5), ylim=(-2.7, 1.9))
axes[0].legend(loc="lower right", fontsize=8, markerscale=2)
for (name, found), marker in zip(toy_error.items(), "os^vD", strict=True):
    axes[1].loglog(list(found), list(found.values()), f"-{marker}", ms=4, label=f"{name}: {slope[name]:.1f}")
axes[1].set(xlabel="evaluations", title="Error against evaluations")
axes[1].legend(title="measured order", fontsize=8, title_fontsize=8)
plt.show()
wanted = {"DDIM": 1, "Heun": 2, "DPM-Solver-2": 2, "2M": 2}
board.claim(
    "To 0.3 DDIM has order 1; Heun, DPM-Solver-2 and 2M have order 2.",
    all(abs(slope[name] - p) < 0.3 for name, p in wanted.items()),
)
board.claim("UniPC-3, with a predictor of order 3, has order 3 or more, to 0.3.", slope["UniPC-3"] > 2.7)
board.claim(
    "With 20 evaluations UniPC errs less than DDIM with 160, and 2M less than Heun.",
    toy_error["UniPC-3"][20] < toy_error["DDIM"][160] and toy_error["2M"][20] < toy_error["Heun"][20],
)

# %% [markdown]
# <details><summary>Answer to section 6's question</summary>
#
# 2M. Even with the same number of *steps* it errs less when they are few: look at 5 and 10 in the printed lines.
# From twenty steps on Heun is a little ahead per step, but it pays two calls for each; per call 2M is ahead
# everywhere. A method that remembers has its second opinion for nothing. (What it cannot do is start: the first
# step has no past.)
# </details>
#
# The slopes are those of theory. For UniPC-3 the predictor has order 3 and the corrector 4. Its first two steps
# have lower orders, and in the end they should hold the whole at 3. Up to 160 steps this does not show, and we
# measure nearly 4. (A likely reason: they are made at $\sigma \approx 10$, where $D$ hardly moves.) With five
# evaluations no slope holds yet, and UniPC is no better than 2M: the order of a method says nothing about steps
# as long as these.

# %% [markdown]
# ## 9 · Which grid?
#
# An error of order $p$ is $C h^p$, and $C$ is large where $D$ bends. So one would make short steps there. Section
# 1 has shown where: $D$ changes over a stretch of $\lambda$ and stands still before and after. The cosine grid
# does that. Four grids from 80 to 0.02, the same three clouds, 2M with the same numbers of steps, and DDIM with
# ten:
#
# **Question.** Will 2M and DDIM want the same grid?

# %% folded="Figure: four grids" tags=["demo"]
# long: one figure, and what is measured for it
z = torch.randn(S.toy, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(device, real)
best = unipc(three_clouds, HIGH * z, other_grid("log-SNR", 640, 0.002))
kinds, steps_tried = ("uniform", "cosine", "Karras", "log-SNR"), (5, 10, 20, 40)
grid_error = {
    kind: [
        (dpm_2m(three_clouds, HIGH * z, other_grid(kind, n, 0.02)) - best).square().mean().sqrt().item()
        for n in steps_tried
    ]
    for kind in kinds
}
ten = {kind: ddim(three_clouds, HIGH * z, other_grid(kind, 10, 0.02)) for kind in kinds}
ddim_error = {kind: (x - best).square().mean().sqrt().item() for kind, x in ten.items()}
fig, axes = plot.figure(1, 2, height=2.9)
print("error with 10 steps")
for i, (kind, marker) in enumerate(zip(kinds, "os^v", strict=True)):
    axes[0].plot(other_grid(kind, 10, 0.02)[:-1].cpu(), [i] * 10, marker, ms=6)
    axes[1].loglog(steps_tried, grid_error[kind], f"-{marker}", label=kind)
    print(f"{kind:8} 2M {grid_error[kind][1]:.3f}, DDIM {ddim_error[kind]:.3f}")
axes[0].set(xscale="log", xlabel=r"$\sigma$", title="Ten levels, then 0", yticks=range(4), yticklabels=kinds)
axes[0].invert_xaxis()
axes[1].set(xlabel="evaluations", title="Error of 2M")
axes[1].set_xticks(steps_tried, steps_tried)
axes[1].minorticks_off()
axes[1].legend(fontsize=8)
plt.show()
board.claim(
    "With 10 steps of 2M the uniform grid errs four times as much as any other, and log-SNR least.",
    grid_error["uniform"][1] > 4 * max(grid_error[k][1] for k in kinds[1:])
    and grid_error["log-SNR"][1] == min(grid_error[k][1] for k in kinds),
)
board.claim(
    "With 10 steps of DDIM the cosine grid errs least.", min(ddim_error, key=ddim_error.get) == "cosine"
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. DDIM asks at each level anew, and for it the rule above holds: short steps where $D$ bends, the cosine grid.
# 2M extends a line through the last two guesses. The cosine grid's first step is many times as long as those
# after it, and a slope from such a step says little about the next. Equal steps in $\lambda$ suit an
# extrapolation better: probably this is why the log-SNR grid wins for 2M although it takes no notice of $D$.
# </details>
#
# So the best grid depends on the sampler, and on the denoiser, too: the next section prints what five evaluations
# make of three grids on the trained network. All figures of the glyphs use log-SNR; it is our default, no law. On
# large pictures, whose letters and textures settle at different levels, Karras' grid is the usual choice, and
# there are methods that fit a grid to a network.
#
# ## 10 · On the trained network: two plots
#
# **How near to the network's own answer?** The truth is now the network's own path, followed with very many
# steps; how good the network is does not enter. **How good are the pictures?** Three measures, all in the
# features of the course's measuring net: the *Fréchet distance* to real pictures (0 is equal; normal curves are
# fitted to both sets of features), the *accuracy* (how often the net reads the letter that was asked for) and
# the *diversity* (variance within a class, real pictures have 1).
#
# **Question.** Which of the two plots will show the orders of section 8? And which sampler do you bet on, with
# five evaluations?


# %%
every = torch.arange(CLASSES, device=device)
many_y, pair_y = every.repeat(S.each), every.repeat(2)
real_test = torch.stack([(y_test == c).nonzero()[: S.each, 0] for c in every]).T.flatten()
glyph_grid = lambda n: other_grid("log-SNR", n)  # noqa: E731


def measured(x):
    """The board's figures of pictures, S.each of each class in turn, against as many test pictures."""
    real_y, real_x = y_test[real_test], pictures(x_test[real_test])
    return features.glyphs(16).compare(pictures(x), many_y, real_x, real_y)


def draw(sampler, n, y, seed=1, w=1.0, grid=glyph_grid):
    """Pictures for labels y by a sampler in n steps, and how often it called."""
    denoise, levels = Counted(guided(ema, y, w)), grid(n)
    return sampler(denoise, levels[0] * noise_like(y, seed), levels), denoise.calls


def steps_for(evaluations, per_step):
    """As many steps as these evaluations pay for; the last one costs one."""
    return max(2, (evaluations + per_step - 1) // per_step)


def ancestral(denoise, x, sigmas, seed=2):
    """DDIM with eta = 1, always with the same noises."""
    return ddim(denoise, x, sigmas, 1.0, torch.Generator().manual_seed(seed))


# %% folded="Figure: distance to the network's own answer" tags=["demo"]
# long: one figure, and what is measured for it
own, also = (draw(unipc, n, pair_y)[0] for n in (S.fine, 3 * S.fine // 4))
sure = (own - also).square().mean().sqrt().item()
print(f"UniPC's answers with {S.fine} steps and with {3 * S.fine // 4} differ by {sure:.1g}")
net_error = {}
for name, (sampler, per_step) in progress.track(SOLVERS.items(), title="solvers"):
    net_error[name] = {}
    for n in S.counts[:3]:
        x, calls = draw(sampler, steps_for(n, per_step), pair_y)
        net_error[name][calls] = (x - own).square().mean().sqrt().item()
    print(f"{name:13}", {calls: float(f"{e:.2g}") for calls, e in net_error[name].items()})
for kind in kinds[1:]:
    x = draw(dpm_2m, S.counts[0], pair_y, grid=functools.partial(other_grid, kind))[0]
    print(f"2M, {S.counts[0]} evaluations, {kind} grid: {(x - own).square().mean().sqrt().item():.3f}")
ax = plot.figure(1, 1, height=2.8)[1]
for (name, found), marker in zip(net_error.items(), "os^vD", strict=True):
    ax.loglog(list(found), list(found.values()), f"-{marker}", label=name)
ax.set(
    xlabel="evaluations",
    ylabel="root mean square, in pixels",
    title="Glyphs: distance to the network's own answer",
)
ax.set_xticks(S.counts[:3], S.counts[:3])
ax.minorticks_off()
ax.legend(fontsize=8)
plt.show()
board.claim(
    "With 10 evaluations 2M and UniPC are nearer to the network's own answer than DDIM and Heun with 20.",
    max(list(net_error[name].values())[-2] for name in ("2M", "UniPC-3"))
    < min(list(net_error[name].values())[-1] for name in ("DDIM", "Heun")),
)

# %% folded="Figure: quality against evaluations" tags=["demo"]
# long: four samplers and three measures
quality, sets = {}, {}
PLAN = {"ancestral": (ancestral, S.counts), "DDIM": (ddim, S.counts[:3])}
PLAN |= {"2M": (dpm_2m, S.counts[:3]), "UniPC-3": (unipc, S.counts[:3])}
few, most = S.counts[0], S.counts[-1]
for name, (sampler, counts) in progress.track(PLAN.items(), title="samplers"):
    for n in counts:
        sets[name, n] = draw(sampler, n, many_y, seed=10)[0]
        quality[name, n] = measured(sets[name, n])
panels = {"frechet": "Fréchet distance", "class_accuracy": "Accuracy", "diversity": "Diversity"}
fig, axes = plot.figure(1, 3, height=2.9)
for (name, (_, counts)), marker in zip(PLAN.items(), "osvD", strict=True):
    for ax, (key, title) in zip(axes, panels.items(), strict=True):
        ax.plot(counts, [quality[name, n][key] for n in counts], f"-{marker}", ms=5, label=name)
        ax.set(title=title, xlabel="evaluations", xscale="log")
        ax.set_xticks(S.counts, S.counts)
        ax.minorticks_off()
for ax in axes:
    ax.set_ylim(0, None)
axes[1].legend(fontsize=8, loc="lower left")
plt.show()
for (name, n), found in quality.items():
    print(f"{name:9} {n:2} evaluations:", ", ".join(f"{key} {found[key]:.3f}" for key in panels))
frechet = {key: found["frechet"] for key, found in quality.items()}
board.claim(
    "Fréchet with 5 evaluations: DDIM and ancestral sampling have 1.3 times what 2M has, or more.",
    min(frechet["DDIM", few], frechet["ancestral", few]) > 1.3 * frechet["2M", few],
)
board.claim(
    "UniPC with 5 evaluations has less than 1.3 times the Fréchet distance of 50 ancestral steps.",
    frechet["UniPC-3", few] < 1.3 * frechet["ancestral", most],
)
board.claim(
    "Of all, 5 ancestral steps are read best and vary least.",
    quality["ancestral", few]["class_accuracy"] == max(found["class_accuracy"] for found in quality.values())
    and quality["ancestral", few]["diversity"] == min(found["diversity"] for found in quality.values()),
)
board.claim(
    "UniPC-3 with 5 evaluations varies over 1.1 times as much as real letters, 50 ancestral steps do not.",
    quality["UniPC-3", few]["diversity"] > 1.1 > quality["ancestral", most]["diversity"],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The orders show in the first plot, as far as a network of finite smoothness has any. In the second they do not
# show at all, because it holds the network's errors, too, which no solver removes.
# </details>
#
# **First the distances.** The first printed line says how well we know the truth: differences of that size say
# nothing. At equal numbers of calls 2M and UniPC are ahead from ten on. (DPM-Solver-2 with 19 is about as near as
# these two with 10: it needs twice the calls.) Heun with five evaluations errs by more than 1, for pixels between
# $-1$ and 1. Its step gives the second guess the weight $(\sigma_t - \sigma_s)/(2\sigma_s)$. That is more than 1
# as soon as a level is less than a third of the one before. Five evaluations pay for three levels, each a 28th of
# the one before: the weight is 14, and what is wrong in that guess is multiplied by it. In an exponential
# integrator the guesses' weights sum to $1 - \sigma_s/\sigma_t$, which is below 1. And the grid: for five
# evaluations of 2M on this network the cosine grid is better than our default. With so few calls more is to be
# gained by trying grids than by a higher order.
#
# **Then the pictures.** The left panel would make a good headline: with five evaluations UniPC has about the
# Fréchet distance of fifty ancestral steps, or a smaller one. Look at the other panels before you print it. With
# 20 evaluations 2M and UniPC agree in all three measures: they have arrived at what this network's ODE draws.
# That answer varies more than real letters do, and no more of its letters are read as what was asked for than of
# the ancestral ones. This is the network, not a solver. UniPC with five evaluations is read about as well as the
# exact answer and varies a little more; and its Fréchet distance is *smaller* than that of the exact answer. A
# sampler that is further from the network's answer (first plot) is not the better solver. Two errors seem to
# cancel here, the sampler's and the network's, of which the opening table has warned. Fifty ancestral steps vary
# about as real letters do, and are read no worse than the ODE's answer. Five *ancestral* steps win the panel of accuracy,
# with clean letters that look alike (section 13).
#
# From ten evaluations on more steps change little for 2M and UniPC. DDIM is still on its way with 20: in all
# three panels it has not reached the other two. All of this is from one start; the next figure draws from several
# and prints by how much the distance moves between them. Differences of that size say nothing.
#
# ### The win
#
# In practice class and text models are nearly always drawn from with guidance. With $w = 2$ nearly all letters
# are what was asked for. The price is variety, and the Fréchet distance sees that: for 2M with five evaluations
# it is *larger* than without guidance. Five evaluations of 2M (the sturdy one at so few) against fifty ancestral
# steps, from several starts each:

# %% folded="Figure: five evaluations against fifty" tags=["demo"]
# long: one figure, and what is measured for it
duel, shown = {}, {}
for name, sampler, n in (("2M", dpm_2m, few), ("ancestral", ancestral, most), ("ancestral", ancestral, few)):
    found = []
    for seed in progress.track(range(S.starts if name == "2M" or n == most else 1), title=name):
        how = (
            functools.partial(ancestral, seed=50 + seed) if name == "ancestral" else sampler
        )  # noises of its own
        found.append(draw(how, n, many_y, seed=10 + seed, w=2.0)[0])
    duel[name, n], shown[name, n] = [measured(x) for x in found], found[0]
fig, axes = plot.figure(3, 1, height=0.95)
for ax, (key, x) in zip(axes, shown.items(), strict=True):
    title = f"{key[0]}, {key[1]} evaluations, guidance 2"
    plot.images(pictures(x[10:28]), columns=18, ax=ax, title=title)
plt.show()
ends = {}
for (name, n), found in duel.items():
    values = {key: np.array([f[key] for f in found]) for key in (*panels, "precision", "recall")}
    ends[name, n] = {key: v.mean() for key, v in values.items()}
    spread = {key: v.std(ddof=1) if len(v) > 1 else math.nan for key, v in values.items()}
    print(f"{name} {n}:", ", ".join(f"{key} {ends[name, n][key]:.3f} ± {spread[key]:.3f}" for key in values))
ours, theirs = ends["2M", few], ends["ancestral", most]
board.claim(
    "With guidance 5 evaluations of 2M are read as well as 50 ancestral steps, or worse by 0.03 at most.",
    ours["class_accuracy"] > theirs["class_accuracy"] - 0.03,
)
board.claim(
    "Their Fréchet distance is larger than with 50 by a fifth at most; with 5 ancestral steps by more.",
    ours["frechet"] < 1.2 * theirs["frechet"] < ends["ancestral", few]["frechet"],
)
board.claim(
    "Their diversity is not smaller by more than 0.03.", ours["diversity"] > theirs["diversity"] - 0.03
)

# %% [markdown]
# A tenth of the price. The spread behind ± is that between starts: judge by it how much of a difference is luck.
# In these measures we find nothing that the fifty steps buy beyond that spread. And five *ancestral* steps do not
# give the same: they are read best, but their letters are alike, and their Fréchet distance is the largest.

# %% [markdown]
# ## 11 · Churn: what fresh noise is good for
#
# A solver of the ODE carries every mistake along to the end: its own, and the network's. EDM's stochastic
# sampler goes, at each step, *up* a little before it goes down. It adds fresh noise until the level is
# $\hat\sigma = (1 + \gamma)\,\sigma_t$,
#
# $$\hat x = x_t + \sqrt{\hat\sigma^2 - \sigma_t^2}\;z,$$
#
# and makes Heun's step from there. The variances add up, so a right $x_t$ becomes a right $\hat x$. But a *wrong*
# one becomes a little less wrong: noise blurs the difference between what is and what should be, and the way down
# rebuilds from the blur. (Adding noise and going back down is a step of Langevin's dynamics, lesson 18; many of
# them at one level forget where they began.) The price: randomness that a deterministic solver need not resolve,
# so that more steps are needed. We leave out two of EDM's dials: it churns only at levels within a window
# $[S_\text{min}, S_\text{max}]$, and makes the fresh noise a little larger, by a factor $S_\text{noise}$.


# %% build="churn"
@torch.no_grad()
def churned(denoise, x, sigmas, gamma=0.2, generator=None):
    """EDM's stochastic sampler (algorithm 2): up to (1 + gamma) sigma with fresh noise, then Heun's step."""
    ### BEGIN SOLUTION
    for t, s in itertools.pairwise(sigmas):
        up = t * (1 + gamma)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = x + (up**2 - t**2).sqrt() * z
        slope = (x - denoise(x, up)) / up
        end = x + (s - up) * slope
        if s > 0:
            end = x + (s - up) * (slope + (end - denoise(end, s)) / s) / 2
        x = end
    return x
    ### END SOLUTION


# %% check="churn"
start, short = torch.randn(4_000, 1, generator=torch.Generator().manual_seed(6)).to(device, real), four[:3]
for gamma in (0.0, 0.3):
    clock = Counted(half)
    way = churned(clock, 0.5 + 4 * start, short, gamma, torch.Generator().manual_seed(7))
    assert abs((way - 0.5).std() - 1) < 0.06, "noise of size 4 becomes noise of size 1, with churn or without"
    assert clock.calls == 4, "two calls a step"
assert torch.allclose(churned(two_modes, start, four, 0.0), heun(two_modes, start, four)), "no churn: Heun"

# %% folded="Figure: a wrong start, with and without churn" tags=["demo"]
# long: a wrong start on the clouds, and churn on glyphs
g = torch.Generator().manual_seed(8)
centres = torch.tensor([[0.9, 0.2], [-0.7, 0.7], [-0.1, -0.9]], dtype=torch.float64)
deviations = torch.tensor([0.3, 0.2, 0.25], dtype=torch.float64)


def clouds(n):
    """n exact draws of the three clouds: (n, 2)."""
    which = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), n, replacement=True, generator=g)
    z = torch.randn(n, 2, generator=g, dtype=torch.float64)
    return (centres[which] + deviations[which, None] * z).to(device, real)


def energy_distance(x, y):
    """0 for two samples of one distribution, else larger: (n, D), (m, D) -> a number."""
    own = torch.cdist(x, x).mean() + torch.cdist(y, y).mean()
    return (2 * torch.cdist(x, y).mean() - own).item()


n = min(2_000, 5 * S.toy)
data_points, noise = clouds(n), torch.randn(n, 2, generator=g, dtype=torch.float64).to(device, real)
wrong = 0.6 * (clouds(n) + 2 * noise)  # at sigma = 2 everything is too small by 0.6
levels, ended = other_grid("log-SNR", 20, 0.05, 2.0), {}
for gamma in (0.0, 0.1, 0.2, 0.4):
    ended[gamma] = churned(three_clouds, wrong, levels, gamma, g)
distance = {gamma: energy_distance(x, data_points) for gamma, x in ended.items()}
floor = energy_distance(clouds(n), data_points)
print(
    "energy distance by churn:",
    {k: round(v, 4) for k, v in distance.items()},
    f"; two samples of data {floor:.4f}",
)
fig, axes = plot.figure(1, 3, height=2.7)
shown = {"no churn": ended[0.0], r"$\gamma$ = 0.2": ended[0.2], "data": data_points}
for ax, (title, x) in zip(axes, shown.items(), strict=True):
    ax.scatter(*x[:600].T.cpu(), s=3, color=plot.COLOURS.blue)
    ax.set(title=title, xlim=(-1.9, 2.1), ylim=(-1.9, 1.6), aspect="equal", xticks=[], yticks=[])
plt.show()
board.claim(
    "Churn takes three quarters of a wrong start's error away, or more.", distance[0.2] < 0.25 * distance[0.0]
)
churn_found = {}
for gamma in (0.0, 0.2):
    how = functools.partial(churned, gamma=gamma, generator=torch.Generator().manual_seed(9))
    x, calls = draw(how, 10, many_y, seed=10)
    churn_found[gamma] = measured(x)
    texts = ", ".join(f"{key} {churn_found[gamma][key]:.3f}" for key in panels)
    print(f"glyphs, gamma {gamma:g}, {calls} evaluations: {texts}")

# %% [markdown]
# Begun too narrow at $\sigma = 2$, the plain solver ends too narrow: the clouds are too close and too small. With
# churn the same wrong start ends where the data are. We made this error by hand. That fresh noise also removes a
# *network's* errors is a likely reason why ancestral sampling, slow as it is, is often ahead when evaluations are
# plenty (lesson 19 saw it, too). On our glyphs the printed lines are one start each, and so no proof.
#
# ## 12 · Inversion: the way up, and editing
#
# The ODE can be followed the other way. Start from a *real* picture at a small $\sigma$ and make DDIM's steps
# upwards: the formula is the same, with $\sigma_s > \sigma_t$. What comes out at $\sigma_\text{max}$ is the noise
# from which the sampler would draw this very picture. (Exactly so only for short steps: a step up asks for $D$
# where it begins, the step down asks at the other end.) A clean picture carries no noise, but the path has some
# at every level above 0. So we first add noise of the lowest level, $\sigma = 0.1$, and the round trip is
# measured to this noisy picture. Whoever now goes down again with *another label* gets another letter out of the
# same noise: editing by inversion.
#
# **Question.** Noise has no letters in it. What do a G and the R that comes out of the G's noise have in common?


# %%
def invert(denoise, x, sigmas, sampler=ddim):
    """The noise of pictures x at the lowest level above 0: the same sampler, up the grid."""
    return sampler(denoise, x, sigmas[:-1].flip(0))


# %% folded="Figure: round trips, and edited letters" tags=["demo"]
# long: round trips by two samplers, and letters with other labels
some = real_test[: 2 * CLASSES] if len(real_test) >= 2 * CLASSES else real_test
x_0, own_y = x_test[some], y_test[some]
begin = x_0 + LOW * noise_like(own_y, 11)
trips = {"DDIM": (ddim, []), "Heun": (heun, [])}
trip_counts = (5, 10, 20) if S.fine > 10 else (3, 5)
for name, (sampler, found) in trips.items():
    for n in trip_counts:
        steps = n if name == "DDIM" else max(2, n // 2)
        denoise, levels = guided(ema, own_y), other_grid("log-SNR", steps)
        there = invert(denoise, begin, levels, sampler)
        back = sampler(denoise, there, levels[:-1])
        found.append((back - begin).square().mean().sqrt().item())
    print(
        f"{name}: root mean square of a round trip",
        {n: round(e, 3) for n, e in zip(trip_counts, found, strict=True)},
    )
levels = other_grid("log-SNR", max(trip_counts))
there = invert(guided(ema, own_y), begin, levels)
other_y = (own_y + 7) % CLASSES  # another letter for each
edited = ddim(guided(ema, other_y, 1.5), there, levels)
fresh = ddim(guided(ema, other_y, 1.5), HIGH * noise_like(other_y, 12), levels)
with torch.no_grad():
    style = [features.glyphs(16).net(pictures(x).cpu())[1][1].argmax(1) for x in (x_0, edited, fresh)]
kept, chance = ((style[0] == other).float().mean().item() for other in style[1:])
right = (features.glyphs(16)(pictures(edited)).labels == other_y.cpu().numpy()).mean()
size = there.square().flatten(1).mean(1).sqrt().mean().item() / HIGH
print(f"the inverted noise has {size:.3f} of the size of noise; edited letters read as asked: {right:.2f}")
print(f"style kept: {kept:.2f} (fresh noise {chance:.2f})")
fig, axes = plot.figure(3, 1, height=0.95)
for ax, x, title in zip(
    axes, (x_0, edited, fresh), ("Real", "The same noise, another label", "Other noise"), strict=True
):
    plot.images(pictures(x[:18]), columns=18, ax=ax, title=title)
plt.show()
board.claim(
    "From 10 to 20 evaluations both round trips come nearer home, by a third or more.",
    all(found[-1] < found[-2] / 1.5 for _, found in trips.values()),
)
board.claim(
    "Edited letters keep the real one's style over one and a half times as often as fresh ones.",
    kept > 1.5 * chance,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Some of what the label does not say: here the style of the type. Our measuring net finds it again two to four times
# as often as in a letter from fresh noise, and misses it in most of the letters all the same. The label was told to the
# network on the way up, so there was no need to put it into the noise; what it does not say could only go there.
# Real photographs are edited like this by changing a word (with more care for guidance, which makes inversion
# unstable: Mokady and others 2022).
# </details>
#
# Heun's round trip with 5 is lost altogether. It has two levels, 80 and 0.1, and goes from one to the other in
# one step; the weight of section 10, $(\sigma_t - \sigma_s)/(2\sigma_s)$, is 400 on the way down. With short
# steps it is small, and order two tells: with 20 Heun comes back nearer than DDIM.
#
# ## 13 · Play, and what breaks
#
# *Question: how few evaluations, with which sampler and how much fresh noise?* Every position of the controls
# draws sixteen pictures of one letter, from the same noise. (Spots in Heun's row are section 10's large weight.)


# %% folded="Controls, and a figure of what they show" tags=["demo"]
# long: one figure, and what is measured for it
def sixteen(letter, sampler, evaluations, eta):
    """Sixteen pictures of a character; eta counts for DDIM alone."""
    y = torch.full((16,), data.CAPITALS_AND_DIGITS.index(letter), device=device)
    how, per_step = SOLVERS[sampler]
    if sampler == "DDIM":
        how = functools.partial(ddim, eta=eta, generator=torch.Generator().manual_seed(3))
    return draw(how, steps_for(evaluations, per_step), y, seed=13)[0]


def play(letter, sampler, evaluations, eta):
    """One row for the four controls."""
    x = sixteen(letter, sampler, evaluations, eta)
    right = features.glyphs(16)(pictures(x)).labels == data.CAPITALS_AND_DIGITS.index(letter)
    plot.images(
        pictures(x),
        columns=16,
        title=f"{sampler}, {evaluations} evaluations: {right.sum()} of 16 read as {letter}",
    )
    plt.show()


letters = widgets.Dropdown(options=list(data.CAPITALS_AND_DIGITS), value="R")
names = widgets.Dropdown(options=list(SOLVERS), value="2M")
evaluations = widgets.IntSlider(6, min=3, max=40, continuous_update=False)
eta = widgets.FloatSlider(0.0, min=0.0, max=1.0, step=0.25, continuous_update=False)
controls = interact(play, letter=letters, sampler=names, evaluations=evaluations, eta=eta)
fig, axes = plot.figure(5, 1, height=0.85)
cases = [("DDIM", 6, 1.0), ("DDIM", 6, 0.0), ("Heun", 7, 0.0), ("2M", 6, 0.0), ("2M", 20, 0.0)]
for ax, (name, n, amount) in zip(axes, cases, strict=True):
    title = f"{name}, {n} evaluations" + (f", eta {amount:g}" if name == "DDIM" else "")
    plot.images(pictures(sixteen("R", name, n, amount)), columns=16, ax=ax, title=title)
plt.show()

# %% [markdown]
# ### Few ancestral steps
#
# With five evaluations ancestral sampling draws clean letters that all look the same: in section 10's plots its
# accuracy is high, its diversity is the smallest of all, and its Fréchet distance is as large as that of DDIM
# with five. What goes wrong? On the two modes of section 1 the denoiser is exact, and we can see it. The measure
# is the mean distance of sorted numbers to the exact quantiles (how far each would have to move).

# %% folded="Figure: where few ancestral steps end" tags=["demo"]
# long: five samplers on the two modes, and a figure
g = torch.Generator().manual_seed(14)
start = HIGH * torch.randn(S.many, 1, generator=g, dtype=torch.float64).to(device, real)
probe = np.linspace(-1.6, 1.6, 32_001)
law = sum(np.exp(-((probe - m) ** 2) / (2 * 0.15**2)) for m in (-0.6, 0.6)) / (2 * 0.15 * np.sqrt(2 * np.pi))
quantiles = torch.tensor(np.interp((np.arange(S.many) + 0.5) / S.many, law.cumsum() / law.sum(), probe)).to(
    device, real
)
tried = {f"eta {eta:g}": functools.partial(ddim, eta=eta, generator=g) for eta in (1.0, 0.5)}
tried |= {"DDIM": ddim, "2M": dpm_2m, "UniPC-3": unipc}
missed, drawn = {name: [] for name in tried}, {}
for n in S.counts:
    for name, sampler in tried.items():
        x = sampler(two_modes, start, other_grid("log-SNR", n, 0.05))[:, 0]
        if name not in drawn:
            drawn[name] = x.cpu()
            print(f"{name:8} {n} steps, share with |x| < 1/4: {(x.abs() < 0.25).double().mean().item():.3f}")
        missed[name].append((x.sort().values - quantiles).abs().mean().item())
print(f"exactly: {law[np.abs(probe) < 0.25].sum() / law.sum():.3f}. Distances by evaluations:")
fig, axes = plot.figure(1, 4, height=2.5)
for ax, name in zip(axes[:3], ("eta 1", "2M", "UniPC-3"), strict=True):
    ax.hist(drawn[name], bins=61, range=(-1.5, 1.5), density=True, color=plot.COLOURS.sky)
    ax.plot(probe, law, color=plot.COLOURS.vermilion, lw=1.8)
    ax.set(title=f"{name}, {S.counts[0]} steps", xlim=(-1.5, 1.5), ylim=(0, 2.4), yticks=[])
for (name, values), marker in zip(missed.items(), "os^vD", strict=True):
    axes[3].loglog(S.counts, values, f"-{marker}", ms=4, label=name)
    print(f"{name:8}", [round(v, 4) for v in values])
axes[3].set(title="Distance", xlabel="evaluations")
axes[3].set_xticks(S.counts, S.counts)
axes[3].minorticks_off()
axes[3].legend(fontsize=7)
plt.show()
board.claim(
    "With 5 steps fresh noise makes it worse: eta 1 errs more than DDIM.",
    missed["eta 1"][0] > missed["DDIM"][0],
)
board.claim(
    "The repair: 2M errs less than half as much with 5 steps, and with 20 less than eta 1 with 50.",
    missed["2M"][0] < missed["eta 1"][0] / 2 and missed["2M"][-2] < missed["eta 1"][-1],
)
board.claim("With 5 steps order three errs more than order two.", missed["UniPC-3"][0] > missed["2M"][0])

# %% [markdown]
# Most of it is DDIM's error of first order: without any fresh noise the distance with five steps is hardly
# smaller, and about as many points end in the valley between the modes, where hardly any data are. Ancestral
# sampling adds a second, smaller error. It throws most of the noise away that told *which* picture is under way,
# and asks for fresh noise that a few more steps would have to shape. On the glyphs this part is larger: with five
# steps DDIM's letters vary clearly more than ancestral ones. **The repair** is the lesson: order two, which does
# most of it here, and less noise ($\eta$ towards 0).
#
# And a limit of the repair: on these two modes with five steps a *higher* order is worse. UniPC-3 puts a parabola
# through three guesses, one of which is from before the decision, and shoots past the modes. An order is a
# promise for short steps. With five evaluations use order two. With ten 2M is still a little ahead of UniPC here.
# From twenty on we cannot tell them apart: the means alone of two samples of 20,000 differ by some thousandths.
# On the clouds of section 8 order three is ahead from ten on.
#
# ## 14 · How good is it?

# %% tags=["demo"]
began = time.perf_counter()
final, _ = draw(dpm_2m, 10, many_y, seed=21)
each_call = (time.perf_counter() - began) / len(many_y) / 10
costs = {"parameters": parameters, "train_seconds": train_seconds}
rows = {
    "EDM, 10 evaluations": (measured(final), 10),
    "EDM, 5 evaluations, guidance 2": (duel["2M", few][0], 2 * few),
    "EDM, 50 ancestral, guidance 2": (duel["ancestral", most][0], 2 * most),
}
for model, (found, calls) in rows.items():
    board.record("20_samplers", model, data="glyphs 16", sample_seconds=calls * each_call, **costs, **found)
board.plot("glyphs 16")
plt.show()
board.table("glyphs 16")

# %% [markdown]
# Three rows, one network. The Fréchet distances are from ten pictures of a class, and from few pictures the
# distance comes out larger than from many (lesson 19 drew twenty): compare the three with each other. If your
# board has rows of the one-pass models, the VAE of lesson 10 and the GAN of lesson 13, look there, too: on these
# glyphs they have the smaller Fréchet distances, in a small part of the sampling time. A sampler changes the
# price of a diffusion; it draws what the network has learnt, and a short training on small pictures with two
# colours does not show what diffusion is chosen for.
#
# ## 15 · In production
#
# One sample costs
#
# $$\text{time} = N \times g \times t_\text{net} + n \times t_\text{step},$$
#
# $N$ evaluations in $n$ steps, $g = 2$ with guidance, $t_\text{net}$ one run of the network, $t_\text{step}$ the
# sampler's own arithmetic. A sampler that remembers also keeps its last guesses: one to three more pictures of
# memory.

# %% tags=["demo"]
y, timed = torch.full((64,), 3, device=device), {}
free = lambda x, sigma: x / (1 + sigma**2)  # noqa: E731  # a denoiser that costs next to nothing
for name, (sampler, _) in SOLVERS.items():
    levels, parts_of_it = glyph_grid(10), []
    for denoise in (guided(ema, y), free):
        sampler(denoise, HIGH * noise_like(y, 15), glyph_grid(2)).sum().item()  # the first calls are slower
        began = time.perf_counter()
        sampler(denoise, HIGH * noise_like(y, 15), levels).sum().item()  # waits for the device
        parts_of_it.append(1_000 * (time.perf_counter() - began) / 64)
    timed[name] = parts_of_it
    print(
        f"{name:13} 10 steps: {parts_of_it[0]:6.2f} ms a sample, of which the sampler {parts_of_it[1]:.3f} ms"
    )
board.claim(
    "The arithmetic of every sampler is less than a tenth of its time.",
    all(b < 0.1 * a for a, b in timed.values()),
)

# %% [markdown]
# The network is nearly all of it, even ours. So the number of evaluations is the price, and all samplers that
# make one call a step cost about the same. What is left to gain: fewer still, by training for it (lesson 24), or
# a cheaper network (lesson 29).

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs. In all of them `denoise(x, sigma)` is as in
# the chapter: x (B, ...), sigma a 0-d tensor, back comes (B, ...). What a function that you are given returned
# stays as it is. Noise levels and grids are 0-d tensors and tensors (n,) in float64. What x is, float32 or
# float64, contiguous in memory or not, the result is: of its shape and type. Where no tolerance is named, results
# agree to 9 digits in float64, and to 4 in float32.
#
# ### 1 · A straight path, by this lesson's samplers (easy, 10 minutes)
#
# A network of lesson 23 says the velocity $u(x_t, t) = \mathbb E[\varepsilon - x_0 \mid x_t]$ on the path
# $x_t = (1-t)\,x_0 + t\,\varepsilon$. Make a `denoise` of it: which $t$ has the noise per signal $\sigma$, what
# is $x_t$ there, and what is the picture? Then 2M and UniPC draw from it as they are.


# %% exercise="straight-path"
def denoiser_of(u):
    """A function denoise(x, sigma) that asks the velocity u once: x (B, ...), sigma a 0-d tensor above 0.

    u: u(x_t, t), of x_t (B, ...) and times t (B,), both of the type of x -> (B, ...).
    """
    ### BEGIN SOLUTION

    def denoise(x, sigma):
        t = sigma / (1 + sigma)
        x_t = x * (1 - t)
        return x_t - t * u(x_t, t.to(x.dtype).expand(len(x)))

    return denoise
    ### END SOLUTION


# %% test="straight-path" points=2
asked, ends = [], torch.tensor([[0.3, -0.7], [1.0, 0.5]], dtype=torch.float64)
denoise = denoiser_of(lambda x_t, t: asked.append((x_t, t)) or (x_t - ends) / t[:, None])  # it knows x_0
level, eps = torch.tensor(3.0, dtype=torch.float64), torch.tensor([[1.0, 2.0], [-1.0, 0.0]]).double()
got = denoise(ends + level * eps, level)
assert len(asked) == 1 and asked[0][1].tolist() == [0.75, 0.75], (
    "noise 0.75 per signal 0.25 is sigma = 3; (B,)"
)
assert torch.allclose(asked[0][0], 0.25 * ends + 0.75 * eps), "the path's own point at that time"
assert torch.allclose(got, ends, rtol=1e-9), "u knows the pictures, and so does denoise, to nine digits"

# %% [markdown]
# ### 2 · The frame of any path (easy, 15 minutes)
#
# Section 2 found the frame for $x_0 + \sigma\varepsilon$. Find it for $x_t = \alpha x_0 + \sigma_t\varepsilon$
# with *any* $\alpha$ and $\sigma_t$, not negative and not both 0:
# $D(x_t) = c_\text{skip}x_t + c_\text{out}F(c_\text{in}x_t)$ with input and target of variance 1, and the
# smallest $c_\text{out} \ge 0$ that this allows. $\sigma_\text{data} > 0$ is the root mean square of $x_0$. At
# the ends, $\alpha = 0$ or $\sigma_t = 0$, the answer is the limit, and near them it is as exact as elsewhere.
# Units are anybody's: all three numbers may be $10^{-20}$ or $10^{20}$ times as large, and one row's two as well.


# %% exercise="any-frame"
def any_frame(alpha, sigma_t, sigma_data):
    """c_skip, c_out and c_in, each (B,): alpha, sigma_t (B,) float64, sigma_data a number."""
    ### BEGIN SOLUTION
    signal = alpha * sigma_data
    size = torch.hypot(signal, sigma_t)
    return signal / size * (sigma_data / size), sigma_t / size * sigma_data, 1 / size
    ### END SOLUTION


# %% test="any-frame" points=2
alpha, noise = torch.tensor([[1.0, 0.6, 0.0, 0.5], [0.75, 0.8, 2.0, 0.0]], dtype=torch.float64)
skip, out, into = any_frame(alpha, noise, 1.0)
assert torch.allclose(skip[1:2], alpha[1:2], rtol=1e-9), "0.36 + 0.64 = 1: lesson 19's v, to nine digits"
assert torch.allclose(out[1:2], noise[1:2], rtol=1e-9), "and its output's factor, sigma_t"
assert torch.isclose(into[0], torch.tensor(0.8).double()), "1 + 0.5625 is 1.25 squared"
assert skip[2] == 0 and out[2] == 1, "no signal: F says the whole picture"
assert skip[3] == 2 and out[3] == 0, "no noise: the picture is x_t / alpha, and F has no say"

# %% [markdown]
# ### 3 · One step, two calls, any ratio (medium, 15 minutes)
#
# DPM-Solver-2 calls at the beginning of a step and in the middle (in $\lambda$). Let the second call be
# anywhere: after the share $r$ of the step, $\lambda_m = \lambda_t + r h$ with $0 < r \le 1$, reached by a DDIM
# step. Put a straight line, in $\lambda$, through the two guesses, and use its value *in the middle* of the step
# for all of the step, as in section 6. With $r = \tfrac12$ this is `dpm_2`; with $r = 1$ the second call is at
# the end. A step to $\sigma_s = 0$ ends on the first guess and makes no second call.


# %% exercise="two-stage"
def two_stage(denoise, x, t, s, ratio):
    """x at the level s, from x (B, ...) at t > s >= 0, two calls; ratio: a number, 0 < ratio <= 1."""
    ### BEGIN SOLUTION
    D = denoise(x, t)
    if s == 0:
        return D
    m = t * (s / t) ** ratio
    D_m = denoise(D + m / t * (x - D), m)
    middle = D + (D_m - D) / (2 * ratio)
    return middle + s / t * (x - middle)
    ### END SOLUTION


# %% test="two-stage" points=2
t, s = torch.tensor([4.0, 0.25], dtype=torch.float64)
x = torch.tensor([[3.0], [-1.0]], dtype=torch.float64)
pair = torch.stack([t, s])
assert torch.allclose(two_stage(two_modes, x, t, s, 0.5), dpm_2(two_modes, x, pair), rtol=1e-9), (
    "ratio 1/2 is DPM-Solver-2, to nine digits"
)
asked = []
got = two_stage(lambda x, sigma: asked.append(sigma.item()) or 0 * x - sigma.log(), x, t, s, 0.25)
assert asked[0] == 4 and math.isclose(asked[1], 2), (
    "a quarter of the way from 4 to 1/4, in the logarithm, is 2"
)
assert torch.allclose(got, x / 16), "a guess of lambda itself: -log 4 to log 4, 0 in the middle"
assert torch.allclose(two_stage(two_modes, x, t, 0 * s, 0.5), two_modes(x, t)), "to 0: the first guess"

# %% [markdown]
# ### 4 · The order, when nobody knows the truth (medium, 15 minutes)
#
# Section 8 measured orders against a very fine solution. Three coarse ones are enough. Let a method with $n$,
# $kn$ and $k^2n$ steps end at $y_n$, $y_{kn}$ and $y_{k^2n}$, and suppose that its error is exactly
# $y_n - y = C n^{-p}$, with an unknown $y$ and $C$ of the shape of $y$, and one unknown order $p$. Find $p$,
# from the root mean squares (over all entries) of the differences between neighbours, and with it the limit $y$.
# It is more exact than the finest of the three; Richardson (1911) called it *the deferred approach to the
# limit*. Raise `ValueError` unless the second difference is smaller than the first, and neither is 0: then no
# order can be told.


# %% exercise="no-truth"
def without_truth(coarse, middle, fine, factor):
    """The order p, a number, and the limit, of the shape of fine: three tensors (B, ...), factor k > 1.

    Differences may be as small as 1e-20 or as large as 1e20, in float64.
    """
    ### BEGIN SOLUTION
    first, second = ((a - b).square().mean().sqrt().item() for a, b in ((coarse, middle), (middle, fine)))
    if not first > second > 0:
        raise ValueError("the differences do not shrink, or there are none")
    order = math.log(first / second) / math.log(factor)
    return order, fine + (fine - middle) / (first / second - 1)
    ### END SOLUTION


# %% test="no-truth" points=2
truth, off = torch.tensor([[1.1, -2.3]]).double(), torch.tensor([[0.5, 0.25]]).double()
order, limit = without_truth(truth + off, truth + off / 6, truth + off / 36, 3)
assert math.isclose(order, math.log(6) / math.log(3)), "three times the steps divide the error by 3^p = 6"
assert torch.allclose(limit, truth, rtol=1e-9), "and the limit is the truth, to nine digits"
try:
    without_truth(truth, truth + off, truth - off, 2)
    raise AssertionError("differences that grow have no order: ValueError")
except ValueError:
    pass

# %% [markdown]
# ### 5 · Repair a stochastic 2M (medium, 20 minutes)
#
# 2M with fresh noise at every step (Lu and others 2022, the "SDE" form): ancestral sampling, $\eta = 1$, in
# which the guess moves on 2M's straight line. As DDIM with $\eta = 1$ it has, with $r = \sigma_s/\sigma_t$,
#
# $$x_s = r^2 x_t + (1 - r^2)\,M + \sigma_s\sqrt{1 - r^2}\;z,$$
#
# where $M$ is the guess in the middle of the step by the line through this guess and the one before. The step
# below has **four** faults, and one case is missing. Find them, and write the step that works. It takes what the
# step before remembered (`None` in the first step, then a pair of a guess and its level), and gives what the
# next one needs.
#
# ```python
# def broken_step(denoise, x, t, s, old, z):
#     D = denoise(x, t)
#     M = D
#     if old is not None:
#         D_old, t_old = old
#         M = D + (t_old / t).log() / (2 * (t / s).log()) * (D - D_old)
#     r = s / t
#     return r * x + (1 - r**2) * M + s * (1 - r**2) * z, (M, t)
# ```


# %% exercise="repair"
def repaired_step(denoise, x, t, s, old, z):
    """x at the level s, and what to remember: x, z (B, ...) -> (B, ...), (the guess at t, t).

    t > s >= 0; a step to s = 0 ends on the guess D. old: None, or (guess, level) of the step before.
    """
    ### BEGIN SOLUTION
    D = M = denoise(x, t)
    if s == 0:
        return D, (D, t)
    if old is not None:
        D_old, t_old = old
        M = D + (t / s).log() / (2 * (t_old / t).log()) * (D - D_old)
    r2 = (s / t) ** 2
    return r2 * x + (1 - r2) * M + s * (1 - r2).sqrt() * z, (D, t)
    ### END SOLUTION


# %% test="repair" points=3
z = torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
t_old, t, s = torch.tensor([8.0, 2.0, 1.0], dtype=torch.float64)
got, kept = repaired_step(lambda x, sigma: 0 * x + 0.5, 0.5 + 2 * z, t, s, None, 0 * z)
assert torch.allclose(got, 0.5 + z / 2), "noise 2 z times r^2 = 1/4, around a guess that stands still"
assert torch.allclose(kept[0], 0 * z + 0.5) and kept[1] == 2, "remember the guess, and where it was made"
fresh, _ = repaired_step(lambda x, sigma: 0 * x + 0.5, 0.5 + 2 * z, t, s, None, z)
assert torch.allclose(fresh - got, 0.75**0.5 * z, rtol=1e-9), (
    "with the old noise's 1/2 a variance of 1/4 + 3/4 = sigma_s^2, to nine digits"
)
got, kept = repaired_step(lambda x, sigma: 0 * x + 1, 0 * z, t, s, (0 * z, t_old), 0 * z)
assert torch.allclose(got, 0 * z + 0.75 * 1.25), "1 more in log 4, so 1/4 more in half of log 2"
assert torch.equal(kept[0], 0 * z + 1), "not the middle: the guess itself"
end, _ = repaired_step(lambda x, sigma: 0 * x + 1, z, t, 0 * s, (0 * z, t_old), z)
assert torch.equal(end, 0 * z + 1), "to 0: the guess, without noise"

# %% [markdown]
# ### 6 · Undo a step exactly (hard, 25 minutes)
#
# Section 12 inverts DDIM by walking up the grid, and the round trip misses by the length of its steps, because it
# asks for the guess where it *is* instead of where the step *began*. The step down from $t$ to $s$ is
# $x_s = D(x_t; \sigma_t) + \frac{\sigma_s}{\sigma_t}\big(x_t - D(x_t; \sigma_t)\big)$. Given $x_s$, find $x_t$.
# It stands on both sides. An answer counts where a DDIM step from it lands within $10^{-9}$ of $x_s$, times the
# largest $|x_s|$, in every entry. You have 200 calls. `ValueError` if none is found, for instance because nothing
# leads to $x_s$. $x_s$ is not all 0. The hidden tests go up by at most half, $\sigma_t \le 1.5\,\sigma_s$, and
# where there is a way back their guesses never move further than $x$ does: $|D(x) - D(x')| \le |x - x'|$ in each
# row.


# %% exercise="exact-inverse"
def undo_step(denoise, x_s, t, s):
    """x_t from which a DDIM step goes to x_s: (B, ...) float64 -> (B, ...); at most 200 calls; t > s > 0."""
    ### BEGIN SOLUTION
    near, x = 1e-9 * x_s.abs().max(), x_s
    for _ in range(200):
        D = denoise(x, t)
        if ((D + s / t * (x - D) - x_s).abs() <= near).all():
            return x
        x = t / s * (x_s - (1 - s / t) * D)
    raise ValueError("no x_t leads to this x_s")
    ### END SOLUTION


# %% test="exact-inverse" points=3
t, s = torch.tensor([0.6, 0.4], dtype=torch.float64)
x = torch.linspace(-2, 2.1, 9, dtype=torch.float64)[:, None]
down = ddim(two_modes, x, torch.stack([t, s]))
calls = Counted(two_modes)
up = undo_step(calls, down, t, s)
again = ddim(two_modes, up, torch.stack([t, s]))
assert (again - down).abs().max() <= 1e-9 * down.abs().max(), "a step down from it lands where we came from"
assert calls.calls <= 200, f"200 calls are enough, not {calls.calls}"
try:
    undo_step(
        lambda x, sigma: -2 * x, 0 * x + 1, t, s
    )  # a step down leads to (1/3) (-2 x) + (2/3) x = 0, from anywhere
    raise AssertionError("nothing leads to 1: ValueError")
except ValueError:
    pass

# %% [markdown]
# ### 7 · Build your own sampler (hard, 40 minutes)
#
# The chapter's multistep samplers put a polynomial through guesses, in $\lambda$. Build the classical
# alternative: **Adams–Bashforth in $\sigma$** (in k-diffusion it is called LMS). The ODE is
# $\frac{dx}{d\sigma} = d(\sigma)$ with the slope $d = (x - D)/\sigma$. Keep the slopes of the steps so far. Put
# the polynomial through the last `order` of them (fewer at the start: as many as there are), as a function of
# $\sigma$, and integrate it exactly from $\sigma_i$ to $\sigma_{i+1}$:
#
# $$x_{i+1} = x_i + \int_{\sigma_i}^{\sigma_{i+1}} P(\sigma)\,d\sigma .$$
#
# With order 1 it is DDIM. The grid is anybody's: steps of any length, ending at 0 or above (the slope is only
# asked for where a step begins). Order is 1 to 4. The hidden tests compare with exact integrals of polynomials,
# and with the exact solution for a normal cloud: the error must fall with the order, up to 2 (the first step has
# no past and is of order 1, so that higher orders pay only while steps are few). To see it draw, run in a cell
# of your own:
#
# ```python
# y = torch.arange(36, device=device)
# x = adams(guided(ema, y, 2.0), HIGH * noise_like(y, 1), karras_grid(10, LOW, HIGH), 3)
# plot.images(pictures(x), columns=18); plt.show()
# ```


# %% exercise="adams"
def adams(denoise, x, sigmas, order):
    """x at sigmas[-1], one call a step: x (B, ...) at sigmas[0]; sigmas (n + 1,), falling; order 1 to 4."""
    ### BEGIN SOLUTION
    slopes = []
    for i in range(len(sigmas) - 1):
        t, s = sigmas[i], sigmas[i + 1]
        slopes.append((x - denoise(x, t)) / t)
        n = min(order, i + 1)
        u, end = (sigmas[i + 1 - n : i + 1] - t) / (s - t), torch.arange(1, n + 1, dtype=sigmas.dtype)
        w = torch.linalg.solve(u ** (end[:, None] - 1), 1 / end)  # integrals of 1, u, u^2, ... over [0, 1]
        x = x + (s - t) * sum(a * d for a, d in zip(w, slopes[-n:], strict=True))
    return x
    ### END SOLUTION


# %% test="adams" points=6
levels = torch.tensor([8.0, 6.0, 3.0, 1.0, 0.5, 0.0], dtype=torch.float64)
x = torch.tensor([[3.0, 1.0], [-2.0, 0.0]], dtype=torch.float64)
assert torch.allclose(adams(two_modes, x[:, :1], levels, 1), ddim(two_modes, x[:, :1], levels), rtol=1e-9), (
    "order 1 is DDIM, to nine digits"
)
calls = Counted(lambda x, sigma: x - sigma * (2 * sigma))  # the slope is 2 sigma, wherever x is
got = adams(calls, x, levels, 2)
first = x + 2 * 8.0 * (6.0 - 8.0)  # the first step holds the slope still
assert torch.allclose(got, first + (0 - 36.0)), (
    "then lines are exact: the integral of 2 sigma from 6 to 0 is -36"
)
assert calls.calls == 5, "one call a step"
got = adams(lambda x, sigma: x - sigma, x, levels, 4)
assert torch.allclose(got, x - 8), "a slope of 1 all the way: 8 less"

# %% [markdown]
# ## Further reading
#
# - J. Song, C. Meng, S. Ermon. *Denoising diffusion implicit models.* 2020, arXiv:2010.02502. DDIM, the family
#   in η.
# - Y. Song, J. Sohl-Dickstein, D. Kingma, A. Kumar, S. Ermon, B. Poole. *Score-based generative modeling through
#   stochastic differential equations.* 2020, arXiv:2011.13456. The probability-flow ODE.
# - T. Karras, M. Aittala, T. Aila, S. Laine. *Elucidating the design space of diffusion-based generative
#   models.* 2022, arXiv:2206.00364. The frame, the grid, Heun, churn.
# - C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu. *DPM-Solver: a fast ODE solver for diffusion probabilistic
#   model sampling in around 10 steps.* 2022, arXiv:2206.00927.
# - C. Lu and others. *DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models.* 2022,
#   arXiv:2211.01095. 2M, 2S, and the stochastic form of exercise 5.
# - Q. Zhang, Y. Chen. *Fast sampling of diffusion models with exponential integrator.* 2022, arXiv:2204.13902.
#   Polynomials through the past.
# - W. Zhao, L. Bai, Y. Rao, J. Zhou, J. Lu. *UniPC: a unified predictor-corrector framework for fast sampling of
#   diffusion models.* 2023, arXiv:2302.04867.
# - R. Mokady, A. Hertz, K. Aberman, Y. Pritch, D. Cohen-Or. *Null-text inversion for editing real images using
#   guided diffusion models.* 2022, arXiv:2211.09794.
# - B. Wallace, A. Gokul, N. Naik. *EDICT: exact diffusion inversion via coupled transformations.* 2022,
#   arXiv:2211.12446. Another way to exercise 6.
# - A. Sabour, S. Fidler, K. Kreis. *Align your steps: optimizing sampling schedules in diffusion models.* 2024,
#   arXiv:2404.14507. Grids fitted to a network.

# %% tags=["demo"]
selfcheck.run("20_samplers")
