# %% [markdown]
# # 19 · DDPM
#
# > **Destroy a picture in a thousand steps, each so small that a network can learn to undo it. Then undo a
# > thousand steps of a picture that never was.**
#
# | | |
# |---|---|
# | You will build | the forward process and its exact reverse; a small U-Net that knows the time and the class; guidance; two samplers; a bound on the likelihood in bits per dimension |
# | You need to know | lesson 01 (densities, bits/dim), lesson 02 (responsibilities, naive Bayes), lesson 10 (the ELBO, a KL divergence between normal distributions); convolutions |
# | Time on two CPU cores | about four minutes to run, one of them training; four hours to read and to solve; no GPU needed (the setting `full` is for one) |

# %%
import copy
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
from genmap import board, data, features, plot, progress, selfcheck, taxonomy

# %%
device = genmap.device()
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    pictures=(3, 40, 40),
    channels=(8, 32, 128),
    batch=(8, 32, 256),
    updates=(3, 1_000, 20_000),
    rate=(4e-3, 4e-3, 1e-3),
    decay=(0.5, 0.99, 0.9995),
    bf16=(False, False, True),
    each=(2, 20, 60),
    step_counts=((2, 4), (5, 10, 20, 50, 100), (5, 10, 20, 50, 100)),
    toy=(200, 20_000, 200_000),
    bound=(40, 540, 2_160),
)
torch.manual_seed(19)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("diffusion")
plt.show()

# %% [markdown]
# ## The compromise
#
# A GAN draws a picture in one pass and cannot say how likely it is. An autoregressive model can say, and
# draws pixel by pixel. Diffusion gives up the *single pass*: the network runs ten to a thousand times for one
# picture. In return every run is a task that a network learns without trouble, *which noise is in this
# picture?*, by least squares. There is no opponent, no order of pixels, no collapse onto a few modes. And a
# bound on the likelihood comes with it.
#
# | question | answer |
# |---|---|
# | What is modelled? | pixels, at every noise level |
# | Is the density explicit? | approximately: a lower bound on log p(x), the weighted ELBO |
# | Is sampling one-shot or iterative? | iterative: one network call per step, two with guidance |
# | What conditions it? | here a class, added to the time embedding and amplified by guidance |
# | How is it evaluated, and how does that fail? | Fréchet distance, accuracy of the class asked for, bits/dim; the last is nearly blind to what people see; accuracy rewards guidance until the pictures all look alike; the Fréchet distance turns earlier, and is biased when samples are few |
#
# Sohl-Dickstein, Weiss, Maheswaranathan and Ganguli (2015) took the idea from thermodynamics and trained the
# first such model. Five years passed. Ho, Jain and Abbeel (2020) found the two choices that made it draw:
# predict the noise, and drop the ELBO's weights. Song, Meng and Ermon (2020) sampled the same network in a
# tenth of the steps; Nichol and Dhariwal (2021) gave it a better schedule; Ho and Salimans (2022) gave it
# guidance without a classifier. Most text-to-image models since are built on these five papers.
#
# ## 1 · Noise, in one jump
#
# Let $x_0$ be a picture with pixels in $[-1, 1]$ and $\varepsilon \sim \mathcal N(0, I)$ noise of the same
# shape. Time $t$ runs from 0 (data) to 1 (noise), in $T$ steps: step $k$ is $t = k/T$. At each step a little
# of the picture is lost and a little noise comes in:
#
# $$q(x_k \mid x_{k-1}) = \mathcal N\big(\sqrt{1 - \beta_k}\; x_{k-1},\ \beta_k I\big).$$
#
# $\beta_k$ is the share of the variance that is replaced. A normal variable plus normal noise is normal, so
# that $k$ steps are one jump:
#
# $$q(x_t \mid x_0) = \mathcal N\big(\alpha_t\, x_0,\ \sigma_t^2 I\big),\qquad
# x_t = \alpha_t x_0 + \sigma_t \varepsilon,\qquad
# \alpha_t = \sqrt{\bar\alpha_t},\quad \sigma_t = \sqrt{1 - \bar\alpha_t},\quad \bar\alpha_k = \prod_{i=1}^{k} (1 - \beta_i).$$
#
# $\bar\alpha$ is the share of the variance that is still picture. The *signal-to-noise ratio* is
# $\mathrm{SNR} = \alpha_t^2 / \sigma_t^2$. A schedule is nothing but the table of $\bar\alpha_k$ for
# $k = 0, \dots, T$. Two are famous. DDPM lets $\beta$ grow in a straight line from $10^{-4}$ to $0.02$.
# Nichol and Dhariwal draw $\bar\alpha$ itself, as a squared cosine.

# %%
T = 1_000


def linear_schedule(T, first=1e-4, last=0.02):
    """alpha_bar (T + 1,), float64, of betas on a straight line (Ho et al. 2020, section 4)."""
    beta = torch.linspace(first, last, T, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(dim=0)])


def cosine_schedule(T, s=0.008):
    """alpha_bar (T + 1,), float64: a squared cosine (Nichol and Dhariwal 2021, equation 17), down to 0."""
    t = torch.arange(T + 1, dtype=torch.float64) / T
    f = ((t + s) / (1 + s) * math.pi / 2).cos().square()
    return f / f[0]


def alpha_sigma(schedule, t):
    """alpha_t and sigma_t at times t in [0, 1], a tensor of any shape, at the table's precision."""
    alpha_bar = schedule[(t * (len(schedule) - 1)).round().long()]
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def along(values, x):
    """Values (B,), shaped to multiply x (B, ...)."""
    return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


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


# %%
tables = torch.float64 if device.type != "mps" else torch.float32  # Apple's GPUs have no float64
COSINE, LINEAR = (f(T).to(device, tables) for f in (cosine_schedule, linear_schedule))
print(f"terminal alpha_bar: linear {LINEAR[-1]:.1e}, cosine {COSINE[-1]:.1e}")

# %% [markdown]
# The simplest case has a known truth. Let the data be single numbers, from two narrow modes:
# $\tfrac12\mathcal N(-0.6, 0.15^2) + \tfrac12 \mathcal N(0.6, 0.15^2)$. At time $t$ each mode is shrunk by
# $\alpha_t$ and widened by $\sigma_t$: the density is again two normal curves, with the deviation
# $\sqrt{\alpha_t^2\, 0.15^2 + \sigma_t^2}$. We walk the chain step by step, and compare with the formula.

# %%
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


# %% tags=["demo"]
g = torch.Generator().manual_seed(0)
x_k, seen = toy_sample(S.toy, g).double(), {}
seen[0], bar = x_k, LINEAR.cpu().double()
for k in range(1, T + 1):
    beta = 1 - bar[k] / bar[k - 1]
    x_k = (1 - beta).sqrt() * x_k + beta.sqrt() * torch.randn(x_k.shape, generator=g, dtype=x_k.dtype)
    if k in (100, 250, 500, 1_000):
        seen[k] = x_k

# %% tags=["demo"]
axis = torch.linspace(-3, 3, 401, dtype=torch.float64)
fig, axes = plot.figure(1, 5, height=2.5)
for ax, (k, x) in zip(axes, seen.items(), strict=True):
    ax.hist(x[:, 0], bins=61, range=(-3, 3), density=True, color=plot.COLOURS.sky, alpha=0.6)
    ax.plot(axis, toy_density(axis, bar[k].item()), color=plot.COLOURS.vermilion, lw=1.8)
    ax.set(title=f"$t = {k / T:g}$", xlabel="$x_t$", xticks=[-2, 0, 2], ylim=(0, 1.45))
    ax.tick_params(labelleft=ax is axes[0])
plt.show()

# %% [markdown]
# Blue: numbers that walked the chain, one small step after the other. Red: the formula's curve. They agree at
# every time, so training never needs to walk: it jumps to any $t$. At the end nothing is left of the two
# modes.
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


# %% tags=["demo"]
times = torch.linspace(0, 1, 11, device=device)
letter = x_test[(y_test == 16).nonzero()[3]].expand(11, -1, -1, -1)  # a G
noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(3)).to(device)
fig, axes = plot.figure(2, 1, height=1.3)
for ax, schedule, name in zip(axes, (LINEAR, COSINE), ("Linear", "Cosine"), strict=True):
    x_t = q_sample(schedule, letter, times, noise.expand(11, -1, -1, -1))
    captions = [f"t = {t:.1f}" for t in times]
    plot.images(pictures(x_t), columns=11, ax=ax, title=f"{name} schedule", captions=captions)
plt.show()

# %% [markdown]
# The same letter, the same noise, two schedules. On a picture this small the linear one has destroyed the
# letter half-way, and its second half adds noise to noise. Section 11 measures what that costs.
#
# ## 2 · The step back, if the picture were known
#
# Let $s < t$ be two times, next to each other or far apart. Going from $s$ to $t$ is again a jump, with
# $\alpha_{t|s} = \alpha_t / \alpha_s$ and $\sigma_{t|s}^2 = \sigma_t^2 - \alpha_{t|s}^2 \sigma_s^2$. Where
# was $x_s$, if we see $x_t$ *and* know $x_0$? Bayes' rule multiplies two normal densities in $x_s$, so the
# answer is normal:
#
# $$q(x_s \mid x_t, x_0) = \mathcal N\Big(
# \underbrace{\frac{\alpha_{t|s}\,\sigma_s^2}{\sigma_t^2}\, x_t + \frac{\alpha_s\,\sigma_{t|s}^2}{\sigma_t^2}\, x_0}_{\text{posterior mean}},\
# \frac{\sigma_s^2\,\sigma_{t|s}^2}{\sigma_t^2}\, I\Big).$$
#
# With $s = (k-1)/T$ and $t = k/T$ these are equations 6 and 7 of DDPM.


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
assert a > 0 and b > 0 and c < sigma_s, "both pull, and who knows x_t, too, knows more"


# %% [markdown]
# Check it without algebra: multiply the two densities on a grid, divide by the sum.

# %%
(a_s, s_s), (a_t, s_t) = ((COSINE[k].sqrt().cpu(), (1 - COSINE[k]).sqrt().cpu()) for k in (300, 700))
x_0, x_t = 0.8, -0.5
grid = torch.linspace(-6, 6, 20_001)
to_t = torch.distributions.Normal(a_t / a_s * grid, (s_t**2 - (a_t / a_s * s_s) ** 2).sqrt())
weight = to_t.log_prob(torch.tensor(x_t)) + torch.distributions.Normal(a_s * x_0, s_s).log_prob(grid)
p_grid = weight.softmax(dim=0)
mean = (p_grid * grid).sum()
a, b, c = posterior(a_s, s_s, a_t, s_t)
print(f"mean: grid {mean:.5f}, formula {a * x_t + b * x_0:.5f}")
print(f"deviation: grid {(p_grid * (grid - mean) ** 2).sum().sqrt():.5f}, formula {c:.5f}")

# %% [markdown]
# So if somebody told us $x_0$, we could walk back exactly. Nobody does, and that is what the network is for:
# it looks at $x_t$ and guesses.
#
# ## 3 · Three questions with one answer
#
# What should the network be asked? $x_t = \alpha_t x_0 + \sigma_t \varepsilon$ is one equation; whoever knows
# one of the two unknowns knows the other. So these questions are worth the same in exact arithmetic:
#
# - $\varepsilon$: *which noise was added?* (Ho et al. 2020)
# - $x_0$: *which picture was it?*
# - $v = \alpha_t\,\varepsilon - \sigma_t\,x_0$: *in which direction does $x_t$ move?* (Salimans and Ho 2022)
#
# Why "direction"? Because $\alpha_t^2 + \sigma_t^2 = 1$, we may write $\alpha_t = \cos\phi$,
# $\sigma_t = \sin\phi$: then $x_t$ turns from the picture towards the noise, and $v = dx_t / d\phi$ is its
# velocity. (In lesson 23 the path is a straight line, and the velocity is $\varepsilon - x_0$.) The
# identities are a rotation:
#
# $$x_0 = \alpha_t x_t - \sigma_t v,\qquad \varepsilon = \sigma_t x_t + \alpha_t v .$$


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


# %%
g = torch.Generator().manual_seed(1)
x_0, eps = torch.randn(2, 5, 3, generator=g, dtype=torch.float64)
t = torch.tensor([0.001, 0.1, 0.5, 0.9, 0.999], dtype=torch.float64)
alpha, sigma = (along(v, x_0) for v in alpha_sigma(cosine_schedule(T), t))
x_t = alpha * x_0 + sigma * eps
for kind, said in (("eps", eps), ("x_0", x_0), ("v", alpha * eps - sigma * x_0)):
    back = picture_and_noise(kind, said, x_t, alpha, sigma)
    print(f"{kind:4} largest error {max((back[0] - x_0).abs().max(), (back[1] - eps).abs().max()):.0e}")

# %% [markdown]
# They are not worth the same when the network errs. An error of 1 in $\varepsilon$ becomes an error of
# $\sigma_t/\alpha_t$ in the picture: without limit where only noise is left. An error in $x_0$ becomes
# $\alpha_t/\sigma_t$ in the noise: without limit where the picture is nearly clean. An error in $v$ never
# grows.

# %% tags=["demo"]
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
# That is why this lesson's network says $v$. It also answers at $t = 1$, where $\alpha = 0$ and "which
# noise?" is a question whose answer is in plain sight and tells nothing about the picture.
#
# ## 4 · Two ways back
#
# From $t$ to an earlier $s$: let the network guess $\hat x_0$ and $\hat\varepsilon$. Then either
#
# - **ancestral** (DDPM): put $\hat x_0$ into the posterior of section 2 and draw,
#   $x_s = a\,x_t + b\,\hat x_0 + c\,z$ with fresh noise $z$; or
# - **DDIM** (Song, Meng and Ermon 2020): draw nothing; jump with the noise that is there,
#   $x_s = \alpha_s \hat x_0 + \sigma_s \hat\varepsilon$.
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


# %% build="ancestral"
@torch.no_grad()
def ancestral(net, x, ts, y, guidance=1.0, schedule=COSINE, clip=1.0, generator=None):
    """The same, with a draw from the posterior at every step; its randomness is the CPU generator's."""
    ### BEGIN SOLUTION
    for t, s in itertools.pairwise(ts):
        x_0, _ = denoise(net, x, t, y, guidance, schedule, clip)
        a, b, c = posterior(*alpha_sigma(schedule, s), *alpha_sigma(schedule, t))
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = a * x + b * x_0 + c * z
    return x
    ### END SOLUTION


# %%
def time_grid(steps, end=1.0):
    """steps + 1 times from `end` down to 0, each a whole number of 1/T."""
    return (torch.linspace(end, 0, steps + 1, device=device) * T).round() / T


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

# %% check="ancestral"
ends = [ancestral(all_half, start, seen, y, generator=torch.Generator().manual_seed(k)) for k in (1, 2)]
assert torch.allclose(ends[0], torch.full_like(start, 0.5), atol=1e-5), "at s = 0 the posterior adds no noise"
ways = [ancestral(all_half, start, seen[:4], y, generator=torch.Generator().manual_seed(k)) for k in (1, 2)]
assert (ways[0] - ways[1]).abs().max() > 0.05, "on the way there is fresh noise at every step"


# %% [markdown]
# The posterior's deviation $c$ is 0 at $s = 0$: the last step of either sampler is $\hat x_0$ itself, and no
# noise is left in the picture.
#
# Try them where no network is needed. For the two modes the best guess $\mathbb E[x_0 \mid x_t]$ has a closed
# form: given $x_t$, mode $i$ has a responsibility (lesson 02), and within a mode everything is normal. The
# function below answers like a network that was trained for ever.


# %%
def exact_net(x, t, y):
    """v of the two modes at its best, E[v | x_t], on the cosine schedule: (B, 1), (B,), (B,) -> (B, 1)."""
    alpha, sigma = (along(v, x) for v in alpha_sigma(COSINE, t))
    var = (alpha * WIDTH) ** 2 + sigma**2
    side = torch.tanh(alpha * MU * x / var)  # E[mode | x_t], between -1 and 1
    x_0 = MU * side + alpha * WIDTH**2 / var * (x - alpha * MU * side)
    return (alpha * x - x_0) / sigma


def wasserstein(x, y):
    """The mean distance of sorted numbers, the Wasserstein-1 distance of two equal-sized sets."""
    return (x.flatten().sort().values - y.flatten().sort().values).abs().mean().item()


# %% tags=["demo"]
g = torch.Generator().manual_seed(2)
start = torch.randn(S.toy, 1, generator=g).to(device)
nobody = torch.zeros(S.toy, dtype=torch.long, device=device)
probe = torch.linspace(-1.6, 1.6, 32_001, dtype=torch.float64)
cdf = toy_density(probe, 1.0).cumsum(0) * (probe[1] - probe[0])
truth = np.interp((np.arange(S.toy) + 0.5) / S.toy, cdf, probe)  # the exact quantiles of the two modes
truth = torch.tensor(truth, dtype=torch.float32, device=device)
toy_error, toy_drawn = {"ancestral": [], "DDIM": []}, {}
for steps in S.step_counts:
    how = {"ts": time_grid(steps), "y": nobody, "clip": math.inf}
    toy_drawn["DDIM", steps] = ddim(exact_net, start, **how)
    toy_drawn["ancestral", steps] = ancestral(exact_net, start, **how, generator=g)
    for name, found in toy_error.items():
        found.append(wasserstein(toy_drawn[name, steps], truth))
        print(f"{name:9} {steps:3} steps: distance from the truth {found[-1]:.4f}")

# %% tags=["demo"]
few, many = S.step_counts[0], S.step_counts[-1]
fig, axes = plot.figure(1, 4, height=2.5)
for ax, (name, steps) in zip(axes, ((n, k) for k in (few, many) for n in toy_error), strict=True):
    ax.hist(
        toy_drawn[name, steps][:, 0].cpu(), bins=61, range=(-1.5, 1.5), density=True, color=plot.COLOURS.sky
    )
    ax.plot(axis, toy_density(axis, 1.0), color=plot.COLOURS.vermilion, lw=1.8)
    ax.set(title=f"{name}, {steps}", xlabel="$x_0$", xlim=(-1.5, 1.5), ylim=(0, 2.9))
    ax.tick_params(labelleft=ax is axes[0])
plt.show()

# %% [markdown]
# The network is perfect here, so what is wrong is the sampler's own error. With few steps both make the modes
# too narrow and leave samples stranded between them: one step is so long that the guess $\hat x_0$, a mean
# over both modes, is taken for the truth. The ancestral sampler errs more: it draws from one normal
# distribution where the exact step back has two humps. DDIM solves a differential equation (lesson 21) with
# long strides. With a hundred steps both are close.
#
# ## 5 · A network that knows the time
#
# The network is a function $v_\theta(x_t, t, y)$: a noisy picture, the time, a class; out comes a picture of
# the same size. We build it in four pieces.
#
# **Time as a vector.** A network reads a single number badly. So $1000\,t$ becomes waves of many lengths, as
# positions do in a transformer: slow waves say roughly when, fast ones precisely.


# %%
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


# %% tags=["demo"]
fig, ax = plot.figure(height=2.3)
shown = time_features(torch.linspace(0, 1, 400), 32).T
ax.imshow(shown, aspect="auto", cmap="RdBu_r", extent=(0, 1, 32, 0), interpolation="nearest")
ax.set(title="Time as a vector of 32 numbers", xlabel="time $t$", yticks=[8, 24], yticklabels=["cos", "sin"])
ax.grid(False)
plt.show()

# %% [markdown]
# **A residual block.** Two convolutions, each after a normalisation, and a bypass. Between them the embedding
# sets the contrast and the level of every channel, $h \cdot (1 + \text{scale}) + \text{shift}$: this is how
# the block learns when it is, and what is wanted.


# %%
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
# **Unshuffled pixels.** A convolution costs in proportion to the area, and at 16 × 16 most of the work would
# go into single pixels. `pixel_unshuffle` folds each square of 2 × 2 pixels into four channels: nothing is
# lost, and everything after it is four times cheaper.

# %%
x_toy = torch.arange(16.0).reshape(1, 1, 4, 4)
folded = F.pixel_unshuffle(x_toy, 2)  # (1, 1, 4, 4) -> (1, 4, 2, 2)
print(folded[0].tolist())
print("and back:", torch.equal(F.pixel_shuffle(folded, 2), x_toy))

# %% [markdown]
# **The U.** Down to half the side, 4 × 4, where the two convolutions of a block see nearly the whole letter;
# then up again, and on the way up each level gets what it was on the way down (the *skips*): the coarse map
# knows which letter, the fine one where its edges are. The last convolution starts at 0: the untrained
# network says $v = 0$, which is a mild mistake at every time.
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


# %%
torch.manual_seed(0)
net = UNet(S.channels).to(device)
parameters = sum(p.numel() for p in net.parameters())
probe_t = torch.full((2,), 0.5, device=device)
out = net(x_train[:2], probe_t, y_train[:2])
print(f"{parameters:,} parameters; {tuple(out.shape)}; untrained it says {out.abs().max():.0f}")

# %% [markdown]
# ## 6 · Train
#
# One update: draw a time for every picture of the batch, jump there, ask for $v$, and take the squared error,
#
# $$L = \mathbb E_{x_0,\, \varepsilon,\, t}\ \lVert v_\theta(x_t, t, y) - v \rVert^2 .$$
#
# Three habits make it work well.
#
# - **Stratified times.** The batch's times are spread evenly over the schedule, one in each of $B$ equal
#   pieces, instead of falling anywhere. The expectation is the same and the loss jumps less.
# - **Labels dropped.** One label in ten is replaced by "no class". The same network then also knows $p(x)$,
#   which guidance needs.
# - **An average of the weights.** The last weights of a run are as noisy as its last gradients. An
#   *exponential moving average* (EMA) of the weights,
#   $\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta$, is a steadier network, and only it is used
#   afterwards.


# %%
def stratified_times(n, generator, place):
    """n times, each a whole number of 1/T from 1/T to 1, spread evenly: (n,)."""
    u = (torch.rand(n, generator=generator, device=place) + torch.arange(n, device=place)) / n
    return ((u * T).floor() + 1).clamp(max=T) / T


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

# %%


def update(net, ema, optimizer, x_0, y, generator, decay):
    """One step of training, and of the average of the weights; the loss, on its device."""
    with torch.autocast(x_0.device.type, torch.bfloat16, enabled=S.bf16):
        loss = loss_v(net, x_0, y, generator)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
    return loss.detach()


# %% [markdown]
# The learning rate rises over the first tenth of the run and then falls to 0 in a straight line. The
# average's memory, $1 / (1 - d)$ updates, is shorter at the start, so that the random first weights are soon
# forgotten. At a few moments we let the average draw, and compare both networks on test pictures, with the
# same noise for both.

# %%
ema = copy.deepcopy(net).requires_grad_(False)
dozen = torch.tensor([16, 0, 27, 5, 34, 10, 22, 3, 19, 35, 13, 8], device=device)  # of some classes, one each


@torch.no_grad()
def test_loss(net, seed=1):
    """The loss on 512 test pictures, times and noise fixed by the seed, all labels kept."""
    generator = torch.Generator(device).manual_seed(seed)
    return loss_v(net, x_test[:512], y_test[:512], generator, drop=0.0).item()


def noise_like(y, seed):
    """The start of a sampler: normal noise (n, 1, 16, 16) for n labels."""
    return torch.randn(len(y), 1, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)


# %% tags=["demo"]
trainer = torch.Generator(device).manual_seed(0)
optimizer = torch.optim.AdamW(net.parameters(), lr=S.rate, betas=(0.9, 0.99), weight_decay=0.0)
rise = S.updates / 10
rate = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda n: min((n + 1) / rise, (S.updates - n) / (S.updates - rise))
)

# %% tags=["demo"]
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

# %% tags=["demo"]
fig, axes = plot.figure(len(drawn), 1, height=1.0)
for ax, (n, x) in zip(np.atleast_1d(axes), drawn.items(), strict=True):
    title = f"After {n} updates: test loss {losses[n][0]:.3f}, of the average {losses[n][1]:.3f}"
    plot.images(pictures(x), columns=12, ax=ax, title=title)
plt.show()

# %% [markdown]
# The same noise, at four moments of the run. Clouds, then strokes, then letters. The titles compare the last
# weights with their average: while the learning rate is high the average is the better network, without a
# single gradient of its own. At the end the rate has fallen, the weights have come to rest, and the two
# agree.

# %% [markdown]
# ## 7 · Guidance
#
# A network trained by least squares answers with the *mean* of what it holds possible, and a small one heeds
# the label only in part: asked for a G in much noise, it hedges towards a C. Guidance turns the label's voice
# up. Let $v_\theta(x_t, t, \varnothing)$ be the answer without a label; the difference of the two answers is
# what the label changes. Take more of it:
#
# $$v_w = v_\theta(x_t, t, \varnothing) + w\,\big(v_\theta(x_t, t, y) - v_\theta(x_t, t, \varnothing)\big).$$
#
# $w = 1$ is the network as it was trained. In terms of densities it walks uphill on
# $\log p(x_t) + w \log p(y \mid x_t)$: the classifier that is hidden in the two answers counts $w$ times (Ho
# and Salimans 2022). Pictures that an uncertain reader could take for another letter become rare, and with
# them everything unusual. What that costs is the *diversity*: the variance within a class over that of real
# pictures.


# %%
every = torch.arange(CLASSES, device=device)
sorted_test = torch.stack([(y_test == c).nonzero()[:60, 0] for c in every])  # 60 test pictures of each


def measured(x, n):
    """The board's figures of generated pictures x, n of each class in turn, against as many test pictures."""
    real = sorted_test[:, :n].T.flatten()
    return features.glyphs(16).compare(pictures(x), y_test[real], pictures(x_test[real]), y_test[real])


half = max(2, S.each // 2)
many_y, half_y = every.repeat(S.each), every.repeat(half)  # so many pictures of every class

# %% tags=["demo"]
guided, weights = {}, (1.0, 1.5, 2.0, 3.0, 4.0)
for w in progress.track(weights, title="guidance"):
    began = time.perf_counter()
    x = ddim(ema, noise_like(many_y, 5), time_grid(10), many_y, guidance=w)
    seconds = (time.perf_counter() - began) / len(x)
    guided[w] = x, measured(x, S.each), seconds
    figures = {name: round(guided[w][1][name], 3) for name in ("class_accuracy", "diversity", "frechet")}
    print(f"guidance {w}: {figures}")

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=2.7)
panels = ("class_accuracy", "Accuracy"), ("diversity", "Diversity"), ("frechet", "Fréchet distance")
for ax, (name, title), colour in zip(axes, panels, plot.COLOURS, strict=False):
    ax.plot(weights, [guided[w][1][name] for w in weights], "-o", color=colour)
    ax.set(title=title, xlabel="guidance $w$", xticks=[1, 2, 3, 4])
    ax.set_ylim(0, 1.08 if name != "frechet" else None)
axes[0].axhline(features.glyphs(16).accuracy, color=plot.INK, lw=1, ls=":")
axes[0].text(4, features.glyphs(16).accuracy + 0.015, "real pictures", ha="right", va="bottom", fontsize=9)
plt.show()

# %% tags=["demo"]
pick = torch.tensor([n * CLASSES + c for c in (16, 27) for n in range(min(6, S.each))])
fig, axes = plot.figure(3, 1, height=1.0)
for ax, w in zip(axes, (1.0, 2.0, 4.0), strict=True):
    plot.images(pictures(guided[w][0][pick]), columns=12, ax=ax, title=f"G and R, guidance {w:g}")
plt.show()

# %% [markdown]
# The same noise in each column. Without guidance some are torn, or half another letter; with 2 nearly all are
# the one that was asked for; with 4 the strokes grow heavy and the pictures look alike. Accuracy is best
# where diversity has long fallen, and the Fréchet distance, which feels both, turns earlier. A report that
# gives one of them without the others hides the trade.

# %% tags=["demo"]
x_two = guided[2.0][0]
captions = data.CAPITALS_AND_DIGITS
plot.images(
    pictures(x_two[: 2 * CLASSES]), columns=18, title="Two of every class: DDIM, 10 steps, guidance 2"
)
plt.show()

# %% [markdown]
# ## 8 · How many steps?
#
# Both samplers, 5 to 100 steps, twice: on the two modes of section 4, where the network is perfect and the
# truth exact; and on glyphs, without guidance, by the Fréchet distance to test pictures. There the network
# errs, too, and the distance between *real* sets of this size is the floor.

# %% tags=["demo"]
glyph_error, start = {"ancestral": [], "DDIM": []}, noise_like(half_y, 6)
g = torch.Generator().manual_seed(7)
for steps in progress.track(S.step_counts, title="steps"):
    for name, found in glyph_error.items():
        how = {"generator": g} if name == "ancestral" else {}
        x = {"ancestral": ancestral, "DDIM": ddim}[name](ema, start, time_grid(steps), half_y, **how)
        found.append(measured(x, half)["frechet"])
y_val = torch.as_tensor(glyphs.validation.y)
real = torch.stack([(y_val == c).nonzero()[:half, 0] for c in range(CLASSES)]).T.flatten()
floor = measured(2 * torch.as_tensor(glyphs.validation.x)[real] - 1, half)["frechet"]

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.1)
for ax, errors in zip(axes, (toy_error, glyph_error), strict=True):
    for (name, values), colour in zip(
        errors.items(), (plot.COLOURS.vermilion, plot.COLOURS.blue), strict=True
    ):
        ax.plot(S.step_counts, values, "-o", color=colour, label=name)
    ax.set(xscale="log", xlabel="steps", xticks=S.step_counts, xticklabels=S.step_counts)
    ax.minorticks_off()
axes[0].set_yscale("log")
axes[1].set_ylim(0, None)
axes[0].set(title="Two modes, perfect network", ylabel="Wasserstein distance")
axes[1].set(title="Glyphs, trained network", ylabel="Fréchet distance")
axes[1].axhline(floor, color=plot.INK, lw=1, ls=":")
axes[1].text(S.step_counts[0], floor + 0.1, "real pictures against real ones", fontsize=9, va="bottom")
axes[0].legend()
plt.show()
for name, values in glyph_error.items():
    print(f"{name:9}", {steps: round(v, 1) for steps, v in zip(S.step_counts, values, strict=True)})

# %% [markdown]
# Left, the sampler's own error: it falls each time the steps become more, and DDIM's lies below at every
# number. Right, with a trained network in it, the order turns round. DDIM soon stops gaining: what is left is
# the network's error, which no number of steps removes. The ancestral sampler goes on gaining a little, for
# its fresh noise gives the network a chance to mend what it did earlier. Both are far from the floor. And for
# most of what can be had, ten or twenty steps are enough: a thousand were never needed to *sample*.
#
# ## 9 · The weighted ELBO, in bits
#
# DDPM is a variational autoencoder (lesson 10) with a thousand layers whose encoder, $q$, is fixed. So there
# is an ELBO, and it falls into parts:
#
# $$-\log p(x_0) \le
# \underbrace{\mathrm{KL}\big(q(x_T \mid x_0)\,\|\,\mathcal N(0, I)\big)}_{\text{is the end really noise?}}
# + \sum_{k=2}^{T} \underbrace{\mathbb E\,\mathrm{KL}\big(q(x_{k-1} \mid x_k, x_0)\,\|\,p_\theta(x_{k-1} \mid x_k)\big)}_{L_k}
# + \underbrace{\mathbb E\big[-\log p(x_0 \mid x_1)\big]}_{\text{the last step}} .$$
#
# Each mean $\mathbb E$ is over the noise in $x_k$ (in $x_1$, at the last step). The reverse step $p_\theta$
# has the posterior's variance and $\hat x_0$ for $x_0$. Two normal densities of equal variance differ only in
# their means, and the algebra ends in one line (Kingma and others 2021):
#
# $$L_k = \tfrac12\,\big(\mathrm{SNR}_{k-1} - \mathrm{SNR}_k\big)\; \mathbb E\,\lVert x_0 - \hat x_0 \rVert^2 .$$
#
# So the ELBO *is* a weighted sum of squared errors, and the loss of section 6 is another weighting of the
# same errors: since for one $x_t$ the errors are tied, $v - \hat v = -(x_0 - \hat x_0)/\sigma_t$, it weighs
# the picture's error by $1/\sigma_t^2 = \mathrm{SNR} + 1$, and an $\varepsilon$-loss by $\mathrm{SNR}$. The
# ELBO's own weight is the *slope* of SNR, which grows far steeper towards $t = 0$: it spends nearly
# everything on the last, invisible grain.


# %%
def snr(schedule, k):
    """alpha_bar / (1 - alpha_bar) at the steps k."""
    return schedule[k] / (1 - schedule[k])


# %% tags=["demo"]
k = torch.arange(2, T + 1)
bar = cosine_schedule(T)
rows = {
    "ELBO": (snr(bar, k - 1) - snr(bar, k)) / 2 * T,
    r"$\varepsilon$-loss": snr(bar, k),
    "$v$-loss": snr(bar, k) + 1,
    "$x_0$-loss": torch.ones_like(bar[k]),
}
fig, ax = plot.figure(height=3.0)
for (name, values), colour in zip(rows.items(), plot.COLOURS, strict=False):
    ax.plot(k / T, values, label=name, color=colour)
ax.set(yscale="log", ylim=(1e-4, 1e8), xlabel="time $t$", ylabel="weight")
ax.set(title="What each loss pays for one unit of error in the picture")
ax.legend(ncols=4, loc="upper right")
plt.show()

# %% [markdown]
# Now the bits. The glyphs have 256 levels, so the last step must give a *probability* to each level: the mass
# of a normal curve around $\hat x_0$, between half a level below and half a level above; the first and the
# last level get the tails. Its width is the one free number, and we fit it on training pictures. That keeps
# the bound a bound.


# %%
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


# %% [markdown]
# The thousand terms would need a thousand network calls for each picture. We draw a few steps for each,
# spread evenly over the test set: a nearly unbiased estimate of the sum, with a standard error beside it.


# %%
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


# %% tags=["demo"]
prior, ks, terms, last = bound(
    ema, x_test[: S.bound], y_test[: S.bound], 20, torch.Generator().manual_seed(8)
)
per_picture = prior.to(terms) + terms.mean(0) + last.to(terms)
bits_per_dim = per_picture.mean().item()
error = per_picture.std().item() / math.sqrt(len(per_picture))
print(
    f"the end is noise: {prior.mean():.4f} bits/dim; "
    f"the steps: {terms.mean():.3f}; the last step: {last.mean():.3f}"
)
print(f"in all at most {bits_per_dim:.3f} bits/dim (standard error {error:.3f})")
signal = (
    LINEAR[-1].item() * x_test.square().mean().item() - LINEAR[-1].item() - math.log1p(-LINEAR[-1].item())
)
print(f"the first part under the linear schedule: {signal / 2 / math.log(2):.6f} bits/dim")

# %% [markdown]
# Against what? Eight bits for the grey level as it is. And a model without any neighbours, a table of 256
# levels for each pixel of each class (the naive Bayes of lesson 02), which is exact and no bound.

# %% tags=["demo"]
levels_train, levels_test = (
    (pictures(x) * 255).round().long().flatten(1) for x in (x_train, x_test[: S.bound])
)
table = torch.full((CLASSES, 256, 256), 1e-2, device=device)  # class, pixel, level; a little for the unseen
pixel = torch.arange(256, device=device)
flat = (y_train[:, None] * 256 + pixel) * 256 + levels_train
table.view(-1).index_add_(0, flat.flatten(), torch.ones_like(flat.flatten(), dtype=table.dtype))
log_table = (table / table.sum(2, keepdim=True)).log()
naive = -log_table[y_test[: S.bound, None], pixel, levels_test].mean().item() / math.log(2)
print(f"independent pixels: {naive:.3f} bits/dim; DDPM: at most {bits_per_dim:.3f}")

# %% [markdown]
# The table beats the bound, and cannot draw a letter. It knows that most pixels are paper, *exactly* paper,
# and pays next to nothing for them. Our network guesses them to within a few levels, which no eye sees, and
# pays for the difference in every pixel. Where the bits go shows the same:

# %% tags=["demo"]
edges = torch.logspace(math.log10(2), math.log10(T), 13)
edges[-1] += 1
k_all, bits = ks.flatten().cpu(), terms.flatten().cpu()
inside = [((k_all >= lo) & (k_all < hi)) for lo, hi in itertools.pairwise(edges)]
share = [bits[mask].sum().item() / bits.numel() for mask in inside]  # bits/dim of the bin
fig, ax = plot.figure(height=2.8)
ax.bar(
    edges[:-1] / T, share, width=(edges[1:] - edges[:-1]) / T * 0.92, align="edge", color=plot.COLOURS.blue
)
ax.bar(0.00085, last.mean().item(), width=0.0008, align="edge", color=plot.COLOURS.orange)
ax.set(xscale="log", xlabel="time $t$", ylabel="bits/dim", title="Where the bits are spent")
ax.set_ylim(0, 1.2 * max(*share, last.mean().item()))
ax.text(0.00085, last.mean().item(), " the last step", va="bottom", fontsize=9.5)
plt.show()

# %% [markdown]
# Most bits go to times at which the noise can hardly be seen: they pay for exact grey levels. The times at
# which letters are decided, say $t > 0.3$, cost a few hundredths of the sum. That is why bits/dim and the
# look of samples are nearly strangers, and why dropping the ELBO's weights made DDPM draw. (Its paper reports
# at most 3.75 bits/dim on CIFAR-10, beside 2.80 of an autoregressive transformer.)
#
# ## 10 · Play: steps and guidance
#
# *Question: how few steps will do, and does guidance need more of them?* Each position draws sixteen pictures
# of one letter, from the same noise.


# %%
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


# %% tags=["demo"]
letters = widgets.Dropdown(options=list(data.CAPITALS_AND_DIGITS), value="G")
steps = widgets.IntSlider(10, min=1, max=50, continuous_update=False)
guidance = widgets.FloatSlider(2.0, min=0.0, max=6.0, step=0.5, continuous_update=False)
controls = widgets.interact(play, letter=letters, steps=steps, guidance=guidance)

# %% tags=["demo"]
fig, axes = plot.figure(6, 1, height=0.85)
cases = [(s, w) for s in (2, 5, 20) for w in (1.0, 3.0)]
for ax, (s, w) in zip(axes, cases, strict=True):
    plot.images(pictures(sixteen("G", s, w)), columns=16, ax=ax, title=f"{s} steps, guidance {w:g}")
plt.show()

# %% [markdown]
# Two steps already draw the letter, in pale and blurred strokes: a mean over many. From five on the strokes
# are sharp, and little changes. Guidance acts at every number of steps; it does not replace them, and they do
# not replace it.
#
# ## 11 · What breaks
#
# ### A schedule that never reaches noise
#
# The sampler starts from $\mathcal N(0, I)$. That is right if $\bar\alpha$ ends at 0. A schedule that ends at
# $\bar\alpha_T > 0$ has never shown its network pure noise: at its last time there is always a trace of the
# picture in $x_T$, and the network has learned to trust it. Give it noise, and it trusts that: the average of
# noise is 0, halfway between ink and paper, so it draws pictures with too much ink. (Lin and others, 2023,
# found it in Stable Diffusion, whose pictures were all of medium brightness. The next cell prints where its
# schedule ends.)
#
# We need no second network to see it. A schedule that stops early is ours, cut off at some
# $t_{\text{end}} < 1$, and a network trained on it alone could answer no better there. The cost in bits is
# the first part of the ELBO.

# %% tags=["demo"]
stable_diffusion = 1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1_000, dtype=torch.float64) ** 2
print(f"Stable Diffusion 1 ends at alpha_bar {stable_diffusion.prod():.4f}")
ends, ended = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5), {}
ink = pictures(x_test).mean().item()
for end in progress.track(ends, title="cut off"):
    ts = time_grid(10, end)
    bar_end = COSINE[round(end * T)].item()
    x = ddim(ema, noise_like(half_y, 10), ts, half_y, guidance=2.0)
    kl = 0.5 * (bar_end * x_test.square().mean().item() - bar_end - math.log1p(-bar_end)) / math.log(2)
    ended[end] = bar_end, measured(x, half), pictures(x).mean().item(), kl, x
    print(
        f"ends at alpha_bar {bar_end:.3f}: accuracy {ended[end][1]['class_accuracy']:.3f}, "
        f"ink {ended[end][2]:.3f} (real {ink:.3f}), Fréchet {ended[end][1]['frechet']:.1f}, {kl:.4f} bits/dim"
    )

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=2.6)
bars = [v[0] for v in ended.values()]
lines = {
    "Accuracy": [v[1]["class_accuracy"] for v in ended.values()],
    "Ink": [v[2] for v in ended.values()],
    "Fréchet distance": [v[1]["frechet"] for v in ended.values()],
}
for ax, (title, values), colour in zip(axes, lines.items(), plot.COLOURS, strict=False):
    ax.plot(bars, values, "-o", color=colour)
    ax.set(title=title, xlabel=r"terminal $\bar\alpha_T$", ylim=(0, 1.08 * max(values)))
axes[1].axhline(ink, color=plot.INK, lw=1, ls=":")
axes[1].text(bars[-1], ink * 0.97, "real", ha="right", va="top", fontsize=9)
plt.show()

# %% tags=["demo"]
fig, axes = plot.figure(3, 1, height=1.0)
for ax, end in zip(axes, (0.5, 0.7, 1.0), strict=True):
    title = rf"Starts from noise where $\bar\alpha_T$ = {ended[end][0]:.2f}"
    plot.images(pictures(ended[end][4][10:28]), columns=18, ax=ax, title=title)
plt.show()

# %% [markdown]
# Accuracy falls and ink grows from the first step away from 0. (At 0 there is still a little too much ink:
# guidance makes strokes heavier, section 7.) **The repair** is the last row: let $\bar\alpha$ go all the way
# to 0, and ask for $v$, since at $\bar\alpha = 0$ the noise tells nothing. Where a schedule cannot be redrawn
# it can be *rescaled*: exercise 3.
#
# ### A linear schedule on small pictures
#
# DDPM's line was made for larger pictures. In a large picture neighbouring pixels say the same thing many
# times over, so that much noise is needed to hide it; a picture of 16 × 16 pixels drowns early. For the same
# network we now ask: what share of the schedule's time is spent where there is nothing to see? The measure is
# the network's error in the picture over that of the class's mean picture.


# %%
def cosine_time(schedule, t):
    """The time at which the cosine schedule has the alpha_bar that `schedule` has at t: (n,) -> (n,)."""
    bar = schedule[(t * T).round().long()]
    return (COSINE[None] - bar[:, None]).abs().argmin(dim=1).to(t.dtype) / T


# %% tags=["demo"]
means = torch.stack([x_train[y_train == c].mean(0) for c in range(CLASSES)])
some, some_y = x_test[:256], y_test[:256]
blind = (some - means[some_y]).square().mean().item()
unseen, g = [], torch.Generator().manual_seed(11)
ks_grid = torch.arange(25, T + 1, 25, device=device)
for k in ks_grid:
    guess = guess_at(ema, some, some_y, k.expand(len(some)), g)
    unseen.append((guess - some).square().mean().item() / blind)
unseen = np.array(unseen)

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=2.9)
spent = {}
for name, schedule, colour in (
    ("linear", LINEAR, plot.COLOURS.vermilion),
    ("cosine", COSINE, plot.COLOURS.blue),
):
    as_cosine = cosine_time(schedule, ks_grid / T).cpu().numpy()
    curve = np.interp(as_cosine, ks_grid.cpu() / T, unseen)
    spent[name] = (curve > 0.9).mean()
    axes[0].plot(ks_grid.cpu() / T, schedule[ks_grid].cpu(), color=colour, label=name)
    axes[1].plot(ks_grid.cpu() / T, curve, color=colour, label=name)
axes[0].set(title=r"$\bar\alpha$", xlabel="time $t$")
axes[1].set(title="Error of the guess, over the mean's", xlabel="time $t$", ylim=(0, 1.1))
axes[1].axhline(0.9, color=plot.INK, lw=1, ls=":")
axes[0].legend()
plt.show()
print({name: f"{share:.0%} of the steps have nothing to see (above 0.9)" for name, share in spent.items()})

# %% [markdown]
# Under the linear schedule, that share of every training batch teaches the network little, and that share of
# a sampler's steps moves next to nothing. Take the steps where either schedule puts them, with the same
# network.

# %% tags=["demo"]
low = {}
for steps in S.step_counts[:3]:
    for name, schedule in (("linear", LINEAR), ("cosine", COSINE)):
        ts = cosine_time(schedule, time_grid(steps))
        x = ddim(ema, noise_like(half_y, 12), ts, half_y, guidance=2.0)
        low[name, steps] = x, measured(x, half)
        found = {key: round(low[name, steps][1][key], 3) for key in ("class_accuracy", "frechet")}
        print(f"{steps:3} steps, {name}: {found}")

# %% tags=["demo"]
fig, axes = plot.figure(2, 1, height=1.0)
for ax, name in zip(axes, ("linear", "cosine"), strict=True):
    x, figures = low[name, S.step_counts[0]]
    title = (
        f"{name.capitalize()} schedule, {S.step_counts[0]} steps: Fréchet distance {figures['frechet']:.1f}"
    )
    plot.images(pictures(x[10:28]), columns=18, ax=ax, title=title)
plt.show()

# %% [markdown]
# With five steps the linear schedule leaves too few for the part where letters take shape, and the Fréchet
# distance shows it (the accuracy does not); with more steps the gap shrinks, since steps through nothing do
# no harm and only cost time. The waste in training stays. The cosine is one repair. Another keeps any
# schedule and *shifts* its log-SNR by what the size of the picture asks for (Hoogeboom and others 2023):
# noise that is right at one resolution is right at another after a shift of $2\log$ of the ratio of the sides
# (a larger picture needs a lower log-SNR).
#
# ## 12 · How good is it?

# %% tags=["demo"]
for w in (1.0, 2.0):
    x, figures, seconds = guided[w]
    extra = {"bits_per_dim": bits_per_dim} if w == 1 else {}
    board.record(
        "19_ddpm",
        f"DDPM, guidance {w:g}",
        data="glyphs 16",
        parameters=parameters,
        train_seconds=train_seconds,
        sample_seconds=seconds,
        **figures,
        **extra,
    )
board.table("glyphs 16")

# %% tags=["demo"]
board.plot("glyphs 16")
plt.show()

# %% [markdown]
# Both rows are one network and ten steps of DDIM; only guidance differs, and with it the seconds (twice the
# calls). After so short a training the Fréchet distance of both is well above that of lessons 10 and 13, and
# a picture takes many times as long; against the GAN, what is gained is precision, a bound on the likelihood
# and a training without an opponent. The bits belong to the network as trained, without guidance: guided
# samples come from no density that anybody has written down.
#
# ## 13 · In production
#
# One sample costs
#
# $$\text{time} = S \times g \times t_{\text{net}},$$
#
# $S$ steps, $g = 2$ with guidance and 1 without, $t_{\text{net}}$ one run of the network. Nothing else
# matters. So there are four knobs: fewer steps (DDIM here; better solvers in lesson 20; distillation in
# lesson 24), guidance built into the network, a cheaper network (our unshuffled pixels; latents in
# lesson 29), and lower precision.

# %% tags=["demo"]
y = torch.full((64,), 3, device=device)
x = noise_like(y, 13)
for name, steps, w in (("10 steps", 10, 1.0), ("10 steps, guided", 10, 2.0), ("40 steps", 40, 1.0)):
    began = time.perf_counter()
    ddim(ema, x, time_grid(steps), y, guidance=w).sum().item()  # waits for the device
    seconds = time.perf_counter() - began
    calls = steps * (2 if w != 1 else 1)
    print(f"{name:17} {1_000 * seconds / 64:6.2f} ms a sample, {1_000 * seconds / 64 / calls:.3f} ms a call")

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs. In all of them $\alpha$ and $\sigma$ are
# what section 1 says, $x_t = \alpha_t x_0 + \sigma_t\varepsilon$. But where an exercise says *any schedule*,
# $\alpha^2 + \sigma^2$ need not be 1; all that holds is that SNR falls with time. (Lesson 23 uses
# $\alpha = 1 - t$, $\sigma = t$.)
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple.

# %% [markdown]
# ### 1 · Any two tell the others (easy, 20 minutes)
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


# %% test="any-two" points=2
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
# ### 2 · Two moments of one path (medium, 25 minutes)
#
# A picture is noised once, step by step, and looked at several times on the way. Given $x_0$, the pixel's
# values at these times are normal *together*. How do they covary? From the earlier time $s$ to the later $t$
# one jump of section 2 leads: $x_t = \alpha_{t|s}\, x_s + \text{new noise}$. The times come in any order, and
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


# %% test="two-times" points=3
at = torch.tensor([0.0, 0.8, 0.6], dtype=torch.float64)
covariance = path_covariance(at, (1 - at**2).sqrt())
assert torch.allclose(covariance.diagonal(), 1 - at**2), "each time by itself: sigma^2"
assert torch.allclose(covariance, covariance.T), "symmetric, whichever of the two is later"
assert math.isclose(covariance[1, 2].item(), 0.75 * 0.36), "the earlier noise, 0.36, shrunk by 0.6 / 0.8"
assert covariance[0, 1] == 0, "pure noise remembers nothing"

# %% [markdown]
# ### 3 · A schedule that ends in noise (medium, 20 minutes)
#
# The repair of section 11 for a schedule that somebody else has chosen (Lin and others 2023). Shift
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


# %% test="zero-terminal" points=3
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
# ### 4 · One weighting, three losses (medium, 25 minutes)
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


# %% test="min-snr" points=3
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
# ### 5 · A better variance for the step back (medium, 25 minutes)
#
# Section 9 gave the step back, $p_\theta(x_s \mid x_t) = \mathcal N(a x_t + b\hat x_0, \rho^2 I)$, the
# posterior's own variance $\rho^2 = c^2$. But the network's picture is off by a mean squared error
# $m = \mathbb E(x_0 - \hat x_0)^2$ per pixel, and the step could admit that. Which $\rho^2$ makes
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


# %% test="best-variance" points=3
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
# ### 6 · Repair a broken sampler (hard, 35 minutes)
#
# Somebody wrote DDPM's step from $x_k$ to $x_{k-1}$ for a network that says $\varepsilon$, with guidance, in
# DDPM's own form of the posterior mean: $\hat x_0$ is put in and everything is sorted by $x_k$ and
# $\hat\varepsilon$. The noise $z$ is drawn outside. It has **three** faults, and draws nothing: in single
# precision (float32) its numbers run off to infinity within a few dozen of the thousand steps. Find the
# faults, and write the step that works. $w$ is the guidance of section 7, and nothing is clipped.


# %%
def broken_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    """x_{k-1} from x_k, with three faults. alpha_bar: the table (T + 1,); k from 1 to T."""
    before, now = alpha_bar[k - 1], alpha_bar[k]
    beta_k = 1 - now / before
    guided = eps_y + w * (eps_y - eps_none)
    mean_k = (x_k - beta_k / (1 - now).sqrt() * guided) / now.sqrt()
    return mean_k + beta_k * (1 - before) / (1 - now) * z


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


# %% test="repair" points=3
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
assert torch.allclose(mean, a * noisy + b * clean), "without z: the mean of section 2's posterior"
spread = repaired_step(noisy, grain, grain, 3.0, 2, steps_bar, 0 * grain + 1) - mean
assert torch.allclose(spread, c.expand(1, 2)), "one unit of z moves x by the posterior's deviation"

# %% [markdown]
# ### 7 · The bridge (hard, 40 minutes)
#
# Two photographs of one path, $x_r$ and $x_t$, taken at $r < t$. Where was the path at a time $s$ between
# them? Since each step only looks at the one before it, the picture $x_0$ itself no longer matters:
#
# $$q(x_s \mid x_r, x_t) \propto q(x_s \mid x_r)\; q(x_t \mid x_s) = \mathcal N\big(a\,x_r + b\,x_t,\ c^2 I\big).$$
#
# Find $a$, $b$ and $c$, for *any schedule*. (Section 2 is the case $r = 0$. A solver that rejects a long
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
assert math.isclose(a[0].item(), again[1].item()), "from a clean r the path starts at x_0: section 2's b"
assert math.isclose(b[0].item(), again[0].item()) and math.isclose(c[0].item(), again[2].item()), (
    "its a, its c"
)
assert b[1] == 0 and math.isclose(a[1].item(), 5 / 9), "pure noise at t tells nothing: only x_r counts"
assert math.isclose(c[1].item() ** 2, 0.75 - (5 / 9) ** 2 * 0.19), "and c is that of q(x_s | x_r)"

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
# - T. Hang and others. *Efficient diffusion training via min-SNR weighting strategy.* 2023, arXiv:2303.09556.
# - S. Lin, B. Liu, J. Li, X. Yang. *Common diffusion noise schedules and sample steps are flawed.* 2023,
#   arXiv:2305.08891. Terminal SNR.

# %% tags=["demo"]
selfcheck.run("19_ddpm")
