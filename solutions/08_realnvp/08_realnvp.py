# %% [markdown]
# # 08 · Change of variables and RealNVP
#
# > **Bend the space until the data look like noise, and keep the account of how much you stretched it. The
# > account is the density; the bend run backwards is the sampler.**
#
# | | |
# |---|---|
# | You will build | a change of variables on the line by hand; affine coupling layers; a flow that turns two moons into a round cloud and back; the same flow on digits and glyphs, with dequantisation and bits counted correctly |
# | You need to know | lesson 01 (densities, held-out nats, dequantisation), lesson 02 (log space); determinants; a training loop in PyTorch |
# | Time on two CPU cores | two to three minutes to run, four to five hours to read and to solve; a GPU allows the larger nets of `full` |

# %%
import math
import time
from typing import NamedTuple

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import genmap
from genmap import board, data, features, metrics, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

# %%
device = genmap.device()
S = genmap.settings(
    # smoke, quick, full
    plane=(
        {"steps": 20, "layers": 8, "width": 16},
        {"steps": 800, "layers": 8, "width": 64},
        {"steps": 5_000, "layers": 12, "width": 128},
    ),
    digits=(
        {"steps": 6, "layers": 8, "width": 16, "batch": 16},
        {"steps": 800, "layers": 8, "width": 192, "batch": 64},
        {"steps": 4_000, "layers": 12, "width": 512, "batch": 128},
    ),
    glyphs=(
        {"steps": 4, "layers": 8, "width": 16, "batch": 8},
        {"steps": 1_000, "layers": 8, "width": 256, "batch": 64},
        {"steps": 20_000, "layers": 12, "width": 1_024, "batch": 256},
    ),
    noise_steps=(4, 300, 2_000),
    broken_steps=(6, 1_400, 4_000),
    points=(2_000, 20_000, 20_000),
)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("flow")
plt.show()

# %% [markdown]
# ## The compromise
#
# Bucket 1 again: an explicit density, exact. Mixtures (lesson 02) paid for it with a simple shape. A *flow*
# pays with its *architecture*: every layer must be a one-to-one map of the whole space onto itself, easy to
# run in both directions, with a determinant that is easy to compute. So nothing may be thrown away: 64 pixels
# in, 64 numbers out, at every layer. In return come the exact likelihood, a sample in a single pass, and a
# code $z$ for every $x$, without loss.
#
# | | RealNVP |
# |---|---|
# | What is modelled? | real vectors: here 1, 2, 64 and 256 numbers. Discrete data must first be made continuous |
# | Is the density explicit? | yes, exact |
# | Is sampling one-shot or iterative? | one-shot: noise, then the layers backwards |
# | What conditions it? | here the class, fed to every layer |
# | How is it evaluated, and how does that fail? | held-out bits per dimension: without dequantisation they fall without limit, and say nothing |
#
# NICE (Dinh, Krueger and Y. Bengio, October 2014) built maps from layers that *add* to one half of the vector
# what a network computes from the other half: invertible, whatever the network. Such a layer never changes a
# volume. RealNVP (Dinh, Sohl-Dickstein and S. Bengio, May 2016) let the layers *scale* as well, brought masks
# and several resolutions for pictures, and gave the family its standard form.

# %% [markdown]
# ## 1 · On the line, by hand
#
# Take noise $z \sim \mathcal N(0, 1)$ and bend it: $x = \sinh z$. Where is $x$ likely to be? The probability
# between $z$ and $z + dz$ is $p_z(z)\,dz$. It cannot get lost: after the bend the same probability lies
# between $x$ and $x + dx$. So $p_x(x)\,dx = p_z(z)\,dz$, and where the map stretches, the density thins out:
#
# $$p_x(x) = p_z\big(f(x)\big)\,\Big|\frac{df}{dx}\Big|, \qquad z = f(x) = \operatorname{asinh} x,\qquad \frac{df}{dx} = \frac1{\sqrt{1 + x^2}} .$$
#
# $f$ runs from data to noise. That is the direction in which a flow computes a density; its inverse draws
# samples.


# %%
def log_normal(z):
    """log N(z; 0, I) in nats: (N, D) -> (N,)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)


def log_p_line(x):
    """log p(x) for x = sinh z, z standard normal: (N,) -> (N,)."""
    return log_normal(torch.asinh(x)[:, None]) - 0.5 * torch.log1p(x.square())


g = torch.Generator().manual_seed(1)
z_line = torch.randn(S.points, generator=g)
x_line = torch.sinh(z_line)
ticks = torch.linspace(-200, 200, 400_001, dtype=torch.float64)
print(f"the density adds up to {torch.trapezoid(log_p_line(ticks).exp(), ticks):.6f} over [-200, 200]")
print(
    f"without the factor |df/dx|: {torch.trapezoid(log_normal(torch.asinh(ticks)[:, None]).exp(), ticks):.3f}"
)

# %% tags=["demo"]
# long: one figure, the two panels of which share their curve
fig, axes = plot.figure(1, 2, height=3.4)
z_axis = torch.linspace(-2.2, 2.2, 200)
axes[0].plot(z_axis, torch.sinh(z_axis), color=plot.INK)
for low in np.arange(-2, 2, 0.5):
    colour = plot.SEQUENTIAL(0.25 + 0.6 * math.exp(-((low + 0.25) ** 2) / 2))
    axes[0].fill_between([low, low + 0.5], -4.4, np.sinh([low, low + 0.5]), color=colour, alpha=0.55)
    axes[0].fill_betweenx(np.sinh([low, low + 0.5]), -2.3, [low, low + 0.5], color=colour, alpha=0.55)
axes[0].set(title="Equal steps of z, unequal steps of x", xlabel="$z$", ylabel=r"$x = \sinh z$")
axes[0].set(xlim=(-2.3, 2.3), ylim=(-4.4, 4.4))
x_axis = torch.linspace(-6, 6, 400)
axes[1].hist(
    x_line,
    bins=np.linspace(-6, 6, 81),
    weights=np.full(len(x_line), 1 / (0.15 * len(x_line))),
    color=plot.COLOURS.sky,
    alpha=0.5,
    label="bent noise",
)
axes[1].plot(x_axis, log_p_line(x_axis).exp(), color=plot.COLOURS.blue, label=r"$p_z(f(x))\,|df/dx|$")
axes[1].plot(
    x_axis,
    log_normal(torch.asinh(x_axis)[:, None]).exp(),
    "--",
    lw=1.8,
    color=plot.COLOURS.vermilion,
    label="without the factor",
)
axes[1].set(title="The density thins out", xlabel="$x$", ylabel="density", xlim=(-6, 6), ylim=(0, 0.5))
axes[1].legend(loc="upper right", fontsize=9)
plt.show()

# %% [markdown]
# Left: each strip carries the same probability on both axes; the wide ones on the $x$ axis must be thin.
# Right: the formula lies on the histogram. Without the factor the curve is too high wherever the map
# stretched, and its area is not 1: it is no density at all.
#
# ## 2 · In the plane: the factor becomes a determinant
#
# In $D$ dimensions a small cube becomes a small, slanted box. Its volume has been multiplied by the absolute
# determinant of the *Jacobian*, the matrix of all partial derivatives $\partial z_i / \partial x_j$. In log
# space, and for a chain of layers $f = f_L \circ \dots \circ f_1$, whose determinants multiply (in the
# fraction $f_\ell$ is what comes out of layer $\ell$, and $f_0$ is $x$):
#
# $$\log p_x(x) = \log p_z\big(f(x)\big) + \sum_{\ell=1}^L \log\Big|\det \frac{\partial f_\ell}{\partial f_{\ell - 1}}\Big| .$$
#
# A general determinant costs $D^3$. RealNVP takes layers in which it costs almost nothing. Split the
# coordinates in two parts: $x_a$ is kept, and $x_b$ is scaled and shifted by numbers that a network computes
# *from $x_a$ alone*:
#
# $$z_a = x_a, \qquad z_b = x_b \odot e^{s(x_a)} + t(x_a), \qquad
# \frac{\partial z}{\partial x} = \begin{pmatrix} I & 0 \\ * & \operatorname{diag} e^{s} \end{pmatrix},\qquad
# \log\det = \sum_i s_i .$$
#
# $\odot$ multiplies element by element. The star is complicated, it holds the derivatives of the network, and
# it does not matter: the determinant of a triangular matrix is the product of its diagonal. And the inverse
# needs no inverse of the network, for $x_a$ is still there: $x_b = (z_b - t(z_a)) \odot e^{-s(z_a)}$.

# %%
LIMIT = 2.0  # the largest |s| of a layer: no step stretches by more than e^2


class MLP(nn.Sequential):
    """Two hidden layers; the last layer starts at 0, so that a coupling starts as the identity."""

    def __init__(self, inputs, width, outputs, dropout=0.0):
        hidden = [
            nn.Linear(inputs, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
        ]
        super().__init__(*hidden, nn.Dropout(dropout), nn.Linear(width, outputs))
        nn.init.zeros_(self[-1].weight)
        nn.init.zeros_(self[-1].bias)

    def forward(self, x, c=None):
        """(N, D), and one-hot classes (N, C) or None -> (N, outputs)."""
        return super().forward(x if c is None else torch.cat([x, c], dim=1))


# %%
class Coupling(nn.Module):
    """z_a = x_a, z_b = x_b exp(s(x_a)) + t(x_a). Source: Dinh et al. 2016, arXiv:1605.08803, eq. 4 to 8."""

    def __init__(self, mask, net):
        """mask: (D,) of booleans, True for x_a, which is kept;
        net: (x_a, c) -> two numbers for each of x_b.
        """
        super().__init__()
        a, b = mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]
        for name, index in (("a", a), ("b", b), ("back", torch.cat([a, b]).argsort())):
            self.register_buffer(name, index)
        self.net = net

    def s_t(self, x_a, c):
        """Log-scale and shift of x_b, both (N, D_b); c: one-hot classes (N, C), or None."""
        t, s = self.net(x_a, c).unflatten(1, (-1, 2)).unbind(2)
        return s / (1 + s.abs() / LIMIT), t  # soft limits on s

    def forward(self, x, c=None):
        """(N, D) -> z (N, D), log |det dz/dx| (N,)."""
        x_a, x_b = x[:, self.a], x[:, self.b]
        s, t = self.s_t(x_a, c)
        return torch.cat([x_a, x_b * s.exp() + t], dim=1)[:, self.back], s.flatten(1).sum(dim=1)

    def inverse(self, z, c=None):
        """(N, D) -> x (N, D)."""
        z_a, z_b = z[:, self.a], z[:, self.b]
        s, t = self.s_t(z_a, c)
        return torch.cat([z_a, (z_b - t) * (-s).exp()], dim=1)[:, self.back]


# %% [markdown]
# One layer leaves half of the vector as it was. So the next one swaps the parts, and a *flow* is a stack of
# them.


# %%
class Flow(nn.Module):
    """Coupling layers one after the other; z is standard normal."""

    def __init__(self, layers, dims):
        super().__init__()
        self.layers, self.dims = nn.ModuleList(layers), dims

    def forward(self, x, c=None):
        """From data to noise: (N, D) -> z (N, D), log |det dz/dx| (N,)."""
        log_det = 0.0
        for layer in self.layers:
            x, change = layer(x, c)
            log_det = log_det + change
        return x, log_det

    def inverse(self, z, c=None):
        """From noise to data, the last layer first: (N, D) -> (N, D)."""
        for layer in reversed(self.layers):
            z = layer.inverse(z, c)
        return z

    def log_prob(self, x, c=None):
        """log p(x) in nats: (N, D) -> (N,)."""
        z, log_det = self(x, c)
        return log_normal(z) + log_det


# %%
def couplings(masks, width, classes=0, dropout=0.0):
    """A coupling with an MLP of its own for each mask."""
    sizes = [(int(mask.sum()), int((~mask).sum())) for mask in masks]
    nets = [MLP(a + classes, width, 2 * b, dropout) for a, b in sizes]
    return [Coupling(mask, net) for mask, net in zip(masks, nets, strict=True)]


# %% [markdown]
# Before any training: is the inverse an inverse, and does $\sum s$ agree with the determinant that automatic
# differentiation finds, entry by entry? Random weights make a harder case than the identity at which we
# start.


# %%
def log_det_by_autograd(f, x):
    """log |det df/dx| of a map (1, D) -> (1, D) at one x (D,): D backward passes and a determinant."""
    J = torch.autograd.functional.jacobian(lambda v: f(v[None])[0], x)  # (D, D)
    return torch.linalg.slogdet(J).logabsdet


def swapped(layers, dims=2):
    """Masks that keep the even coordinates, then the odd ones, and so on."""
    return [torch.arange(dims) % 2 == i % 2 for i in range(layers)]


torch.manual_seed(0)
trial = Flow(couplings(swapped(6, dims=5), 32), 5).double()
for parameter in trial.parameters():
    nn.init.normal_(parameter, std=0.3)
x_trial = torch.randn(4, 5, dtype=torch.float64)
z_trial, log_det_trial = trial(x_trial)
by_autograd = torch.stack([log_det_by_autograd(lambda v: trial(v)[0], x) for x in x_trial])
print(f"round trip off by at most {(trial.inverse(z_trial) - x_trial).abs().max():.1e}")
print(f"log-det: {log_det_trial.tolist()[0]:.6f}, by autograd {by_autograd.tolist()[0]:.6f}")
print(f"largest difference of four points: {(log_det_trial - by_autograd).abs().max():.1e}")

# %% [markdown]
# ## 3 · Two moons
#
# Training is maximum likelihood: the loss is $-\log p(x)$, averaged over a batch. Two forces act. $\log p_z$
# pulls all points towards 0; the log-determinant pays for every stretch, and so pushes them apart. The
# balance is the density.


# %%
def train_plane(flow, x, steps, loss_of=lambda flow, x: -flow.log_prob(x), title="Two moons", batch=256):
    """Fit a flow to points (N, 2); returns the loss of each step, (steps,), in nats."""
    optimizer = torch.optim.Adam(flow.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    g, losses, curve = torch.Generator().manual_seed(0), [], progress.Curve(title, "step", "loss, nats")
    for step in progress.track(range(steps), title=title):
        loss = loss_of(flow, x[torch.randint(len(x), (batch,), generator=g).to(x.device)]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        curve.add(step, loss)
    curve.close()
    return torch.stack(losses).cpu()


def plane_flow():
    """An untrained flow of the plane."""
    torch.manual_seed(0)
    return Flow(couplings(swapped(S.plane["layers"]), S.plane["width"]), 2).to(device)


# %% tags=["demo"]
moons, moons_test = (torch.tensor(data.toy("moons", S.points, seed), device=device) for seed in (1, 2))
flow = plane_flow()
train_plane(flow, moons, S.plane["steps"])
with torch.no_grad():
    held_out = flow.log_prob(moons_test).mean()
print(f"held out: {held_out:.3f} nats per point; a normal density of the same mean and covariance:", end=" ")
gauss = torch.distributions.MultivariateNormal(moons.mean(0).cpu(), moons.T.cov().cpu())
print(f"{gauss.log_prob(moons_test.cpu()).mean():.3f}")

# %% [markdown]
# Is it a density? Add it up over a fine grid. The sum must be 1, up to the error of the grid.

# %%
SIDE, CELLS = 6.0, 600


def grid_integral(log_prob, side=SIDE, cells=CELLS):
    """The integral of exp(log_prob) over [-side, side]^2 (cell midpoints), and the density (cells, cells)."""
    middles = (torch.arange(cells, device=device) + 0.5) / cells * 2 * side - side
    points = torch.cartesian_prod(middles, middles)  # x varies along the rows
    with torch.no_grad():
        p = torch.cat([log_prob(part) for part in points.split(60_000)]).exp()
    return p.sum().item() * (2 * side / cells) ** 2, p.reshape(cells, cells).T.cpu()


def samples(flow, n, seed=0, c=None):
    """n samples: noise, then the layers backwards. -> (n, D)"""
    z = torch.randn(n, flow.dims, generator=torch.Generator().manual_seed(seed)).to(device)
    with torch.no_grad():
        return flow.inverse(z, c)


# %% tags=["demo"]
total, p_plane = grid_integral(flow.log_prob)
print(f"the density adds up to {total:.4f}")
edges = np.linspace(-SIDE, SIDE, CELLS + 1)
fig, axes = plot.figure(1, 3, height=3.1)
axes[0].scatter(*moons[:2_000].T.cpu(), s=3, color=plot.COLOURS.grey)
plot.density(axes[1], edges, edges, p_plane)
axes[2].scatter(*samples(flow, 2_000).T.cpu(), s=3, color=plot.COLOURS.blue)
for ax, title in zip(axes, ("Data", f"Density, integral {total:.3f}", "Samples"), strict=True):
    ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
plt.show()

# %% [markdown]
# A thin bridge joins the moons. It must: the flow is a continuous map of a cloud in *one* piece, and a
# continuous map cannot tear it in two. It can only make the bridge thin. A mixture has no such trouble. This
# is a limit of the family.
#
# **Layer by layer.** Run the noise backwards through one layer after the other, and a grid of straight lines
# along with it. Each layer moves points along one axis only.


# %%
def stages(flow, z):
    """z, and what it has become after each layer of the inverse: a list of (N, D)."""
    found = [z]
    with torch.no_grad():
        for layer in reversed(flow.layers):
            found.append(layer.inverse(found[-1]))
    return found


def grid_lines(reach=2.5, lines=11, points=200):
    """Straight lines of both directions, one after the other: (2 * lines * points, 2)."""
    t, level = torch.linspace(-reach, reach, points), torch.linspace(-reach, reach, lines)
    u = torch.cartesian_prod(level, t)
    return torch.cat([u, u.flip(1)]).to(device)


# %% tags=["demo"]
z_shown = torch.randn(1_500, 2, generator=torch.Generator().manual_seed(3)).to(device)
dots, lines = stages(flow, z_shown), stages(flow, grid_lines())
hue = plt.cm.twilight((torch.atan2(*z_shown.T).cpu().numpy() / (2 * math.pi)) % 1)


def draw_stage(ax, k):
    """The cloud and the grid after k layers of the inverse."""
    for line in lines[k].cpu().reshape(22, 200, 2):
        ax.plot(*line.T, color="#CBD5E1", lw=0.7, zorder=1)
    ax.scatter(*dots[k].T.cpu(), s=3, c=hue, zorder=2)
    ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
    ax.set_title("noise" if k == 0 else f"{k} layer{'s' if k > 1 else ''}", fontsize=11)


fig, axes = plot.figure(2, 4, height=2.3)
last = len(flow.layers)
for ax, k in zip(axes.flat, np.linspace(0, last, 8).round().astype(int), strict=True):
    draw_stage(ax, k)
plt.show()

# %% [markdown]
# ## 4 · Play: undo the layers one by one
#
# *Question: which layers do the work, and where has the volume gone?* The slider runs the noise through so
# many layers. Each bar shows the mean log-determinant of each layer of the inverse at the points of the
# cloud: below 0 it has squeezed them.


# %% tags=["demo"]
def volume_changes():
    """The mean log |det dx/dz| of each layer of the inverse, on the cloud."""
    with torch.no_grad():
        layers = zip(reversed(flow.layers), dots[1:], strict=True)
        return [-layer(x)[1].mean().item() for layer, x in layers]


def play(k):
    """The cloud after k layers, and what each layer did to the volume."""
    _, axes = plot.figure(1, 2, height=3.6)
    draw_stage(axes[0], k)
    bars = volume_changes()
    colours = [plot.COLOURS.blue if i < k else plot.RULE for i in range(last)]
    axes[1].bar(range(1, last + 1), bars, color=colours)
    axes[1].axhline(0, color=plot.INK, lw=0.8)
    axes[1].set(title=rf"Volume so far: $e^{{{sum(bars[:k]):.2f}}}$", xlabel="layer of the inverse")
    axes[1].set(ylabel="mean log-determinant, nats", xticks=range(1, last + 1))
    plt.show()


slider = widgets.IntSlider(last // 2, min=0, max=last, continuous_update=False, description="layers")
controls = interact(play, k=slider)

# %% tags=["demo"]
play(last)

# %% [markdown]
# Most layers squeeze, and some give a little back. Only the sum counts: the moons fill less of the plane than
# the round cloud, so the total is negative.
#
# ## 5 · Pictures: masks
#
# A digit is a vector of 64 numbers. Which half should be kept? RealNVP uses two patterns. The *checkerboard*
# keeps every other pixel, so that each pixel that moves sees its four neighbours. For the second pattern, cut
# the picture into blocks of 2×2 pixels, and make a *channel* of each place in the block: this *squeeze* turns
# (1, 8, 8) into (4, 4, 4). The *channel mask* keeps two of the four. The squeeze is a renumbering of pixels,
# so for a network that takes vectors both patterns are the same thing, a set of pixels.


# %%
def squeeze(x):
    """(N, C, H, W) -> (N, 4 C, H/2, W/2): each place in a 2x2 block becomes a channel. Its log-det is 0."""
    N, C, H, W = x.shape
    return x.reshape(N, C, H // 2, 2, W // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(N, 4 * C, H // 2, W // 2)


def checkerboard_mask(size):
    """Every other pixel: (size * size,) of booleans."""
    return (torch.arange(size)[:, None] + torch.arange(size)).flatten() % 2 == 0


def channel_mask(size):
    """Channels 0 and 1 of the squeezed picture, as pixels: (size * size,) of booleans."""
    number = torch.arange(size**2).reshape(1, 1, size, size)
    mask = torch.zeros(size**2, dtype=torch.bool)
    mask[squeeze(number)[0, :2].flatten()] = True
    return mask


def picture_masks(size, layers):
    """Checkerboard, its complement, channels, their complement, and again."""
    four = [m for mask in (checkerboard_mask(size), channel_mask(size)) for m in (mask, ~mask)]
    return [four[i % 4] for i in range(layers)]


# %% tags=["demo"]
names = "checkerboard", "the rest", "channels 0, 1", "channels 2, 3"
fig, axes = plot.figure(1, 4, height=2.2)
for ax, mask, name in zip(axes, picture_masks(8, 4), names, strict=True):
    ax.imshow(mask.reshape(8, 8), cmap="genmap", vmax=1.3)
    ax.set_title(name, fontsize=11)
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## 6 · Grey levels are not real numbers
#
# The digits have 17 grey levels, $k \in \{0, \dots, 16\}$. A density on such data can be made as large as you
# like; section 10 does it. The cure is *uniform dequantisation* (Uria, Murray and Larochelle, 2013): add
# noise $u$, uniform on $[0, 1)$, and fit $y = (k + u)/17$. Then each grey level owns a cell of width $1/17$,
# and a density is judged by the mass that it puts into the cell. By Jensen's inequality, for a picture of $D$
# pixels,
#
# $$\log P(k) = \log \int_{[0,1)^D} p_y\Big(\frac{k + u}{17}\Big)\,17^{-D}\,du \;\ge\; \mathbb E_u \log p_y\Big(\frac{k + u}{17}\Big) - D\log 17 .$$
#
# So the density that we train is a *lower bound* on the log-probability of the true, discrete picture, and
# bits per dimension are an upper bound: $-\big(\mathbb E_u \log p_y - D \log 17\big) / (D \log 2)$.
# `metrics.bits_per_dim` computes this. Forget the $17^{-D}$, and the result is better by
# $\log_2 17 \approx 4.09$ bits for nothing.
#
# One more map: $y$ lives in $[0, 1]$, but a normal $z$ has no walls. The *logit* takes them away, after a
# small inset $\lambda$ that keeps it finite. Its log-determinant belongs to the account:
#
# $$v = \lambda + (1 - 2\lambda)\, y,\quad x = \log\frac{v}{1 - v},\qquad
# \log\Big|\frac{dx}{dy}\Big| = \sum_d \big(\log(1 - 2\lambda) - \log v_d - \log(1 - v_d)\big) .$$


# %%
class Pixels(NamedTuple):
    """How grey levels become real numbers: their number, the inset lambda,
    and what the logit is divided by.
    """

    levels: int
    inset: float
    width: float


DIGITS = Pixels(levels=17, inset=0.05, width=1.0)


def dequantise(k, generator, how=DIGITS):
    """y = (k + u) / levels, with u uniform: (N, D) whole numbers -> (N, D) in [0, 1)."""
    u = torch.rand(k.shape, generator=generator, dtype=k.dtype).to(k.device)
    return (k + u) / how.levels


def logit(y, how=DIGITS):
    """x, and log |det dx/dy|: (N, D) in [0, 1] -> (N, D), (N,)."""
    v = how.inset + (1 - 2 * how.inset) * y
    slope = math.log((1 - 2 * how.inset) / how.width) - v.log() - torch.log1p(-v)
    return (v.log() - torch.log1p(-v)) / how.width, slope.sum(dim=1)


# %%
def to_levels(x, how=DIGITS):
    """Back to whole grey levels: the inverse of the logit, and then the cell. (N, D) -> (N, D)"""
    y = (torch.sigmoid(how.width * x) - how.inset) / (1 - 2 * how.inset)
    return (y * how.levels).floor().clamp(0, how.levels - 1)


def log_density(flow, y, c=None, how=DIGITS):
    """log p(y) in nats, for y in [0, 1]^D: the flow's density of x, and the account of the logit."""
    x, log_det = logit(y, how)
    return flow.log_prob(x, c) + log_det


# %% [markdown]
# ## 7 · Digits
#
# Every layer also sees the class, as ten numbers of which one is 1. There are only 1,257 training digits, and
# the net could learn them by heart. Three things hold it back: fresh noise $u$ in every batch, dropout, and
# weight decay.


# %%
def one_hot(y, classes=10):
    """(N,) -> (N, C), as float32 on the device."""
    return nn.functional.one_hot(torch.as_tensor(y), classes).float().to(device)


def picture_flow(size, classes, settings, dropout=0.1):
    """An untrained flow of pictures with size x size pixels."""
    torch.manual_seed(0)
    masks = picture_masks(size, settings["layers"])
    return Flow(couplings(masks, settings["width"], classes, dropout), size**2).to(device)


def training_step(flow, optimizer, k, c, generator, noise=dequantise, how=DIGITS):
    """One step on pictures k (N, D) of whole levels; returns the loss in nats, on the device."""
    loss = -log_density(flow, noise(k, generator, how), c, how).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(flow.parameters(), 50.0)
    optimizer.step()
    return loss.detach()


# %%
def train_pictures(
    flow, k, c, settings, steps=None, noise=dequantise, how=DIGITS, title="Digits", watch=None
):
    """Fit a flow to pictures; returns bits/dim of each step. watch(step) is called now and then."""
    steps, D = steps or settings["steps"], k.shape[1]
    optimizer = torch.optim.AdamW(flow.parameters(), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    g, found, curve = torch.Generator().manual_seed(0), [], progress.Curve(title, "step", "bits/dim")
    flow.train()
    for step in progress.track(range(steps), title=title):
        chosen = torch.randint(len(k), (settings["batch"],), generator=g).to(k.device)
        nats = training_step(flow, optimizer, k[chosen], c[chosen], g, noise, how)
        schedule.step()
        found.append(nats / (D * math.log(2)) + math.log2(how.levels))
        curve.add(step, found[-1])
        if watch and (step + 1) % -(-steps // 4) == 0:
            watch(step + 1)
    curve.close()
    flow.eval()
    return torch.stack(found).cpu()


# %%
digits = data.digits()
k_train, k_val, k_test = (torch.as_tensor(p.x, device=device).flatten(1).mul(16).round() for p in digits)
c_train, c_val, c_test = (one_hot(part.y) for part in digits)


def mean_nats(flow, k, c, draws=4, how=DIGITS):
    """The bound's mean over pictures and over fresh noise, log p(y | c) in nats."""
    g, found = torch.Generator().manual_seed(0), []
    with torch.no_grad():
        for _ in range(draws):
            found.append(log_density(flow, dequantise(k, g, how), c, how).mean().item())
    return np.mean(found)


def bits(nats, dims=64, levels=DIGITS.levels):
    """Bits per dimension of the discrete picture, from nats of the dequantised one."""
    return metrics.bits_per_dim(nats, dims, levels)


# %% tags=["demo"]
digit_flow = picture_flow(8, 10, S.digits)
ten = torch.arange(10)
grown, measured = [], []


def watch(step):
    """Samples of ten classes from the same noise, and held-out bits, while it trains."""
    digit_flow.eval()
    grown.append(to_levels(samples(digit_flow, 10, 5, one_hot(ten))) / 16)
    measured.append((step, bits(mean_nats(digit_flow, k_val, c_val, 1))))
    digit_flow.train()


start = time.perf_counter()
history = train_pictures(digit_flow, k_train, c_train, S.digits, watch=watch)
digit_seconds = time.perf_counter() - start
print(f"{sum(p.numel() for p in digit_flow.parameters()):,} numbers")
for step, value in measured:
    print(f"step {step:5}: {value:.3f} bits/dim on the validation digits")

# %% tags=["demo"]
plot.images(torch.cat(grown).reshape(-1, 8, 8), title="The same noise, four times during training")
plt.show()

# %% [markdown]
# A digit's class is known to this model, so its bits are those of $p(x \mid c)$. For a fair comparison with
# models that do not know it, add the classes up: $p(x) = \frac1{10}\sum_c p(x \mid c)$. That costs at most
# $\log 10$ nats a picture. Bayes' rule then turns the flow into a classifier, as in lesson 02.


# %%
def log_all_classes(flow, y, classes=10):
    """log p(y | c) for every class: (N, D) -> (N, C)."""
    eye = torch.eye(classes, device=y.device)
    with torch.no_grad():
        return torch.stack([log_density(flow, y, c.expand(len(y), -1)) for c in eye], dim=1)


# %% tags=["demo"]
g = torch.Generator().manual_seed(1)
joint = torch.stack([log_all_classes(digit_flow, dequantise(k_test, g)) for _ in range(4)])  # (4, M, 10)
given = (joint * c_test).sum(2).mean().item()
alone = (joint.logsumexp(2) - math.log(10)).mean().item()
right = (joint.mean(0).argmax(1) == c_test.argmax(1)).float().mean()
print(
    f"held out, class given: {bits(given):.3f} bits/dim; class unknown: {bits(alone):.3f} ({alone:.1f} nats)"
)
print(f"as a classifier: {right:.3f} of the test digits right")
print(f"counted wrongly, without the 17 levels: {metrics.bits_per_dim(given, 64):.3f} bits/dim")
x_test, _ = logit(dequantise(k_test, g))
print(
    "counted wrongly, without the logit's log-det: "
    f"{bits(digit_flow.log_prob(x_test, c_test).mean().item()):.3f}"
)

# %% tags=["demo"]
wanted = torch.arange(40) % 10
made = to_levels(samples(digit_flow, 40, 7, one_hot(wanted))) / 16
real = torch.cat([k_test[c_test.argmax(1) == c][:4] for c in range(10)]).reshape(10, 4, 64).transpose(0, 1)
fig, axes = plot.figure(2, 1, height=1.35)
plot.images(made.reshape(-1, 8, 8), columns=20, ax=axes[0], title="Drawn by the flow, classes 0 to 9")
plot.images(real.reshape(-1, 8, 8) / 16, columns=20, ax=axes[1], title="Real digits, held out")
plt.show()

# %% [markdown]
# ## 8 · Learned noise: variational dequantisation
#
# Uniform noise asks the flow to fill every cell evenly, up to its walls. A smooth density does not like
# walls. Let the noise be *learned* instead: any density $q(u \mid k)$ on the cell gives a bound (Ho and
# others, 2019),
#
# $$\log P(k) \;\ge\; \mathbb E_{q(u \mid k)}\Big[\log p_y\Big(\frac{k + u}{17}\Big) - \log q(u \mid k)\Big] - D \log 17 ,$$
#
# and uniform noise is the special case $q = 1$. The gap is the divergence of $q$ from the true posterior of
# $u$. Our $q$ is the smallest flow that fits: normal noise $\varepsilon$, scaled and shifted pixel by pixel
# by a network that sees the picture, then a sigmoid. Its density comes from the change of variables, once
# more.


# %%
class Noise(nn.Module):
    """q(u | k): u = sigmoid(m(k) + exp(s(k) + 1/2) eps), eps standard normal."""

    def __init__(self, dims, width, levels=DIGITS.levels):
        super().__init__()
        self.net, self.levels = MLP(dims, width, 2 * dims), levels

    def forward(self, k, generator):
        """u (N, D) in (0, 1), and log q(u | k) in nats (N,)."""
        eps = torch.randn(k.shape, generator=generator).to(k.device)
        m, s = self.net(k / self.levels - 0.5).unflatten(1, (-1, 2)).unbind(2)
        w = m + (s + 0.5).exp() * eps
        log_du_dw = nn.functional.logsigmoid(w) + nn.functional.logsigmoid(-w)
        return torch.sigmoid(w), log_normal(eps) - (s + 0.5 + log_du_dw).sum(dim=1)


def variational_bound(flow, noise, k, c, generator):
    """log p(y | c) - log q(u | k) at one draw of u, in nats: (N, D) -> (N,). bits() takes its mean."""
    u, log_q = noise(k, generator)
    return log_density(flow, (k + u) / DIGITS.levels, c) - log_q


# %% [markdown]
# To see what the noise alone is worth, the flow of section 7 stays as it is, and only $q$ is trained.


# %% tags=["demo"]
torch.manual_seed(0)
noise = Noise(64, S.digits["width"]).to(device)
optimizer = torch.optim.Adam(noise.parameters(), lr=2e-3)
digit_flow.requires_grad_(False)
g, curve = torch.Generator().manual_seed(0), progress.Curve("Learned noise", "step", "bits/dim")
for step in progress.track(range(S.noise_steps), title="learned noise"):
    chosen = torch.randint(len(k_train), (S.digits["batch"],), generator=g).to(device)
    loss = -variational_bound(digit_flow, noise, k_train[chosen], c_train[chosen], g).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.add(step, loss / (64 * math.log(2)) + math.log2(DIGITS.levels))
curve.close()
digit_flow.requires_grad_(True)
with torch.no_grad():
    g = torch.Generator().manual_seed(2)
    learned = np.mean(
        [variational_bound(digit_flow, noise, k_test, c_test, g).mean().item() for _ in range(4)]
    )
print(f"test digits: uniform noise {bits(given):.3f} bits/dim, learned noise {bits(learned):.3f}")

# %% [markdown]
# The gain is small: the flow was trained with uniform noise, has not moved, and expects such noise; all that
# can improve is the bound. What the learned noise looks like, for one digit:

# %% tags=["demo"]
with torch.no_grad():
    one = k_test[3:4].expand(2_000, -1)
    u, _ = noise(one, torch.Generator().manual_seed(4))
fig, axes = plot.figure(1, 3, height=2.7)
plot.images(k_test[3].reshape(1, 8, 8) / 16, ax=axes[0], title="A digit")
mean_u = axes[1].imshow(u.mean(0).reshape(8, 8).cpu(), vmin=0, vmax=1, cmap="genmap")
axes[1].set_axis_off()
axes[1].set_title("Mean of its noise $u$", loc="left")
fig.colorbar(mean_u, ax=axes[1], fraction=0.045)
darkest, empty = int(k_test[3].argmax()), 0
for pixel, label in ((empty, "a white pixel"), (darkest, "the darkest pixel")):
    axes[2].hist(u[:, pixel].cpu(), bins=25, range=(0, 1), density=True, histtype="step", lw=2, label=label)
axes[2].axhline(1, color=plot.INK, lw=1, ls="--")
axes[2].set(title="Two pixels' noise", xlabel="$u$", xlim=(0, 1))
axes[2].set_ylim(0, 1.9)
axes[2].legend(fontsize=8.5, loc="upper left", ncols=1, borderaxespad=0)
plt.show()

# %% [markdown]
# ## 9 · Glyphs: 256 numbers, 256 levels
#
# Sixteen by sixteen pixels, twelve styles, and grey levels as fine as a photograph's. The same flow, with
# masks of another size. (For large pictures RealNVP's networks are convolutions; at this size an MLP sees the
# whole picture at once and learns faster.) The logit is now divided by 4 (the field *width* of section 6), so
# that $x$ has about the size of a normal number, and there is no dropout. But above all $\lambda$ must
# change. Most pixels of a glyph are pure paper or pure ink, and their cell is now 1/256 wide: with the old
# $\lambda = 0.05$ paper would be a needle, which the flow must first learn to blow up. With $\lambda = 0.001$
# the logit itself does it, for it stretches most near 0 and 1. How wide does the cell of paper become?

# %%
GLYPHS = Pixels(levels=256, inset=0.001, width=4.0)
CHARACTERS = "0123456789"
for inset in (0.05, 0.001):
    ends, _ = logit(torch.tensor([[0.0, 1 / 256, 1.0]]), Pixels(256, inset, 1.0))
    low, edge, high = ends[0].tolist()
    print(f"inset {inset}: paper fills {(edge - low) / (high - low):.2%} of the logit's axis")

# %% tags=["demo"]
glyphs = data.glyphs(16, CHARACTERS)
k_glyphs, k_held = (
    torch.as_tensor(part.x, device=device).flatten(1).mul(255).round() for part in (glyphs.train, glyphs.test)
)
c_glyphs, c_held = (one_hot(part.y) for part in (glyphs.train, glyphs.test))
glyph_flow = picture_flow(16, 10, S.glyphs, dropout=0.0)
glyph_parameters = sum(p.numel() for p in glyph_flow.parameters())
start = time.perf_counter()
train_pictures(glyph_flow, k_glyphs, c_glyphs, S.glyphs, how=GLYPHS, title="Glyphs")
glyph_seconds = time.perf_counter() - start
glyph_nats = mean_nats(glyph_flow, k_held, c_held, draws=1, how=GLYPHS)
print(f"{glyph_parameters:,} numbers; held out {bits(glyph_nats, 256, 256):.3f} bits/dim, class given")


# %% tags=["demo"]
def draw_glyphs(wanted, width, seed):
    """Glyphs of the classes `wanted`, from noise of this width: (n, 1, 16, 16)."""
    z = width * torch.randn(len(wanted), 256, generator=torch.Generator().manual_seed(seed)).to(device)
    with torch.no_grad():
        x = glyph_flow.inverse(z, one_hot(wanted))
    return to_levels(x, GLYPHS).reshape(-1, 1, 16, 16) / 255


forty = torch.arange(40) % 10
held = torch.cat([k_held[c_held.argmax(1) == c][:4] for c in range(10)]).reshape(10, 4, 256).transpose(0, 1)
rows = {
    "Drawn": draw_glyphs(forty, 1.0, 5),
    "Drawn from noise of width 0.7": draw_glyphs(forty, 0.7, 5),
    "Held out": held.reshape(-1, 16, 16) / 255,
}
fig, axes = plot.figure(3, 1, height=1.5)
for ax, (title, x) in zip(axes, rows.items(), strict=True):
    plot.images(x, columns=20, ax=ax, title=title)
plt.show()

# %% [markdown]
# Rough, but digits, in many styles. A flow may not forget anything: it has to model every grey level of every
# pixel as carefully as the shape of the digit, and the crumbs around the strokes show where it spends its
# layers. Noise of less width than 1 stays where the density is high. The strokes get cleaner, but these are
# no longer samples of $p$: the styles grow alike.
#
# ## 10 · What breaks
#
# **Dequantisation left out.** Fit the digits as they are, $y = (k + \tfrac12)/17$, in the middle of each
# cell, every time the same. Dropout is off, too, and the run is longer; nothing else changes.


# %%
def no_noise(k, generator, how=DIGITS):
    """The middle of every cell: what dequantisation is there to prevent. (N, D) -> (N, D)"""
    return (k + 0.5) / how.levels


# %% tags=["demo"]
needles = picture_flow(8, 10, S.digits, dropout=0.0)
run = train_pictures(needles, k_train, c_train, S.digits, S.broken_steps, no_noise, title="Noise left out")
nets = {"noise left out": (needles, run), "uniform noise": (digit_flow, history)}
for name, (net, losses) in nets.items():
    proper = bits(mean_nats(net, k_test, c_test))
    print(f"{name:15} last step {losses[-1]:6.2f} bits/dim; counted properly, {proper:.2f} on test digits")

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.2)
colours = plot.COLOURS.vermilion, plot.COLOURS.blue
pixel = int(k_train.std(0).argmin())  # one that is hardly ever inked
y_line = torch.linspace(0.001, 3 / 17, 3_000, device=device)
moved = no_noise(k_test[:1], None).repeat(len(y_line), 1)
moved[:, pixel] = y_line
for (name, (net, losses)), colour in zip(nets.items(), colours, strict=True):
    axes[0].plot(losses, color=colour, label=name)
    with torch.no_grad():
        height = log_density(net, moved, c_test[:1].expand(len(moved), -1))
    p = (height - height.logsumexp(0)).exp() / (y_line[1] - y_line[0])
    axes[1].plot(17 * y_line.cpu(), p.cpu() / 17, color=colour, lw=1.8)
axes[0].axhline(0, color=plot.INK, lw=1)
axes[0].set(title="Too good to be true", xlabel="step", ylabel="bits/dim, training", ylim=(None, 5))
axes[0].legend(loc="upper right")
axes[1].set(title="A white pixel's density", xlabel="$17\\,y$: the cells of levels 0, 1, 2", xlim=(0, 3))
axes[1].set(ylabel="density, given the others", xticks=[0, 1, 2, 3], ylim=(0, None))
plt.show()

# %% [markdown]
# No code can spend less than 0 bits on a picture. The flow has found a loophole: the data lie on a lattice of
# volume 0, and a density may grow there without limit. Every step makes the needles thinner (right), and
# training longer makes it only worse; in this flow only the end of the schedule, and at last the soft limit
# on $s$, stops it. Counted properly, over the whole cell, it is far worse than the uniform density's 4.09
# bits: a needle in the middle of the cell leaves nothing for the rest of it. The repair is section 6's noise.
# Then a needle thinner than a cell gains nothing.
#
# **A missed log-det.** Two versions of an easy mistake, on the moons. One forgets a single layer (middle
# panel), the other forgets the account altogether (right).


# %%
def claimed_log_prob(flow, x, missing=()):
    """What log_prob would be if the layers numbered in `missing` forgot their log-det: (N, D) -> (N,)."""
    total = 0.0
    for number, layer in enumerate(flow.layers):
        x, change = layer(x)
        total = total if number in missing else total + change
    return log_normal(x) + total


# %% tags=["demo"]
# long: one figure, and the three flows that it compares
faults = {"all kept": (), "one missed": (0,), "all missed": tuple(range(S.plane["layers"]))}
fig, axes = plot.figure(1, 3, height=3.4)
for ax, (name, missing) in zip(axes, faults.items(), strict=True):
    net = plane_flow()
    losses = train_plane(
        net, moons, S.plane["steps"] // 3, lambda f, x, m=missing: -claimed_log_prob(f, x, m), name
    )
    area, _ = grid_integral(lambda x, n=net, m=missing: claimed_log_prob(n, x, m))
    drawn = samples(net, 2_000).cpu()
    ax.scatter(*drawn.T, s=3, color=plot.COLOURS.blue if not missing else plot.COLOURS.vermilion)
    ax.set(
        title=f"{name}: {area:.2f}",
        xticks=[-5, 0, 5],
        yticks=[-5, 0, 5],
        xlabel=f"loss ${losses[-1]:.2f}$ nats",
        xlim=(-6, 6),
        ylim=(-6, 6),
    )
    ax.set(aspect="equal")
    x = moons[:3]
    truth = torch.stack([log_det_by_autograd(lambda v, n=net: n(v)[0], v) for v in x])
    claim = claimed_log_prob(net, x, missing) - log_normal(net(x)[0])
    print(
        f"{name:11} integral {area:8.3f}; "
        f"log-det of three points off by up to {(claim - truth).abs().max():.3f} nats"
    )
plt.show()

# %% [markdown]
# Each title gives the integral of the *claimed* density over the square, which must be 1. With no account at
# all, everything is squeezed into a point, where $\log p_z$ is highest: the loss ends near $\log 2\pi = 1.84$
# and can never fall below, and run backwards the flow explodes: hardly a sample is left in the picture. With
# one layer missed it is worse, because it looks fine. The samples are moons, and the loss is even *better*
# than the right one: that layer squeezes for free. A loss that is too good tells nothing by itself. Two tests
# do: the integral, in two dimensions; and in any dimension the Jacobian by autograd, at a few points. Both
# cost seconds. Run them before you train, but with random weights, as in section 2: a fresh flow is the
# identity, every log-det is 0, and a missed one does not show.
#
# ## 11 · How good is it?

# %% tags=["demo"]
judge = features.digits()
wanted = torch.arange(len(c_test)) % 10
made = (to_levels(samples(digit_flow, len(wanted), 9, one_hot(wanted))) / 16).reshape(-1, 1, 8, 8)
looks = judge.compare(made.cpu(), wanted, digits.test.x, digits.test.y)
print(
    f"recognised: flow {looks['class_accuracy']:.3f}, real {judge.accuracy:.3f}; "
    f"diversity {looks['diversity']:.2f}"
)


def seconds(job, repeats=3):
    """The fastest of some runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        job().cpu()  # bringing the result home waits for the device
        times.append(time.perf_counter() - begin)
    return min(times)


many = one_hot(torch.arange(1_000) % 10)
sample_time = seconds(lambda: samples(digit_flow, 1_000, 0, many)) / 1_000
density_time = seconds(lambda: log_density(digit_flow, dequantise(k_train[:1_000], g), many).detach()) / 1_000

# %% tags=["demo"]
lesson, sizes = "08_realnvp", [sum(p.numel() for p in net.parameters()) for net in (digit_flow, noise, flow)]
board.record(
    lesson,
    "RealNVP",
    data="digits 8x8",
    bits_per_dim=bits(alone),
    nats=alone,
    parameters=sizes[0],
    train_seconds=digit_seconds,
    sample_seconds=sample_time,
    **looks,
)
row = {"bits_per_dim": bits(learned), "nats": learned, "parameters": sum(sizes[:2])}
board.record(lesson, "RealNVP, learned noise, class given", data="digits 8x8", **row)
board.record(lesson, "RealNVP", data="moons", parameters=sizes[2], nats=held_out)

# %% tags=["demo"]
by_width, asked = {}, torch.arange(360) % 10
for width in (1.0, 0.7):
    drawn = draw_glyphs(asked, width, 6).cpu()
    found = features.glyphs(16).compare(drawn, asked, glyphs.test.x[:360], glyphs.test.y[:360])
    by_width[width] = found
    text = f"recognised {found['class_accuracy']:.3f}, diversity {found['diversity']:.2f}"
    print(f"glyphs from noise of width {width}: {text}")
row = {"data": "glyphs 16, ten digits", "parameters": glyph_parameters, "train_seconds": glyph_seconds}
glyph_bits = bits(glyph_nats, 256, GLYPHS.levels)
board.record(lesson, "RealNVP", bits_per_dim=glyph_bits, nats=glyph_nats, **row, **by_width[1.0])
board.record(lesson, "RealNVP, noise of width 0.7", **row, **by_width[0.7])
board.table("digits 8x8")

# %% [markdown]
# The bits of the row *RealNVP* are those of $p(x)$ with the class unknown, so that it stands beside the
# mixtures of lesson 02 on equal terms: fewer bits than any of them, and better looks. There, the best bits
# and the best looks belonged to two different models. Autoregressive models (lessons 03 and 04) give whole
# grey levels their probability and need no noise; a flow pays for the noise, and draws all pixels at once.
#
# ## 12 · In production
#
# A sample is one pass through $L$ layers, and so is a density. Nothing is serial in the pixels:
#
# $$t_{\text{sample}} \approx t_{\text{density}} \approx L\,\big(2\,P_{\text{layer}}\, t_{\text{flop}} + t_{\text{overhead}}\big).$$
#
# $P_{\text{layer}}$ is the number of weights of a layer's network; each is used in one multiplication and one
# addition. (The density is measured with its noise, its logit and the graph that training needs, and so comes
# out slower.) An autoregressive model (lessons 03 to 07) needs a pass for each pixel to draw a sample. The
# price of a flow is memory and width: every layer carries all $D$ numbers, training keeps the numbers of
# every layer, and many layers are needed, because each one moves only half.

# %% tags=["demo"]
first = digit_flow.layers[0]
weights = sum(p.numel() for p in first.net.parameters())
x_many = torch.randn(1_000, 64, device=device)
with torch.no_grad():
    one_layer = seconds(lambda: first(x_many, many)[0]) / 1_000
print(
    f"one layer, {weights:,} weights: {1e6 * one_layer:.2f} µs a picture, "
    f"{2 * weights / one_layer / 1e9:.1f} GFLOP/s"
)
print(f"{len(digit_flow.layers)} layers predict {1e6 * len(digit_flow.layers) * one_layer:.1f} µs")
print(f"measured: a sample {1e6 * sample_time:.1f} µs, a density {1e6 * density_time:.1f} µs")

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple. The logarithm of a
# density that is 0 is -inf.


# %%
def log_standard(z):
    """log N(z; 0, 1), element by element, in nats; the tests below use it."""
    return -0.5 * (z**2 + math.log(2 * math.pi))


# %% [markdown]
# ### 1 · A map that folds (easy, 15 minutes)
#
# Section 1 needs a one-to-one map. Let $y = (z - c)^2$ instead: two values of $z$ lead to the same $y$. The
# probability near $y$ comes from both. Find the two $z$, the stretch at each, and *add the densities*, in log
# space. Nothing leads to $y < 0$.


# %% exercise="fold"
def log_p_folded(y, log_p_z, c):
    """log p(y) in nats of y = (z - c)^2: (N,) -> (N,); -inf where y < 0.

    y: float64, never exactly 0; log_p_z: a function, (N,) -> (N,), the log density of z; c: a number.
    """
    ### BEGIN SOLUTION
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = torch.logaddexp(log_p_z(c + root), log_p_z(c - root)) - math.log(2) - root.log()
    return both.masked_fill(y < 0, -math.inf)
    ### END SOLUTION


# %% test="fold" points=3
y_fold = torch.tensor([1.0, 4.0, -1.0], dtype=torch.float64)
got = log_p_folded(y_fold, log_standard, 0.0)
assert got.shape == (3,), f"(N,) -> (N,), not {tuple(got.shape)}"
assert math.isclose(got[0].exp(), 0.24197, rel_tol=1e-4), (
    f"z = 1 and z = -1, each stretched by 2: 0.2420, not {got[0].exp()}"
)
assert math.isclose(got[1].exp(), 0.02700, rel_tol=1e-3), (
    f"z = 2 and z = -2, each stretched by 4: 0.0270, not {got[1].exp()}"
)
assert got[2] == -math.inf, "a square is not negative"
far = log_p_folded(torch.tensor([1e6], dtype=torch.float64), log_standard, 0.0)
assert math.isclose(far.item(), -500007.8267, rel_tol=1e-9), (
    f"stay in log space: -500007.83, not {far.item()}"
)

# %% [markdown]
# ### 2 · Batch normalisation is a layer, too (medium, 20 minutes)
#
# RealNVP puts *batch normalisation* between its couplings. With fixed statistics $m$ and $v$ of each channel,
# gain $e^{\gamma}$ and offset $\beta$, also one for each channel, it maps
#
# $$z = e^{\gamma}\,\frac{x - m}{\sqrt{v + \epsilon}} + \beta .$$
#
# Write it, its inverse and its log-determinant, for vectors (N, C) and for pictures (N, C, H, W). How many
# numbers does one channel's factor stretch in a picture?


# %% exercise="batch-norm"
def batch_norm(x, m, v, gamma, beta, eps):
    """z, of x's shape, and log |det dz/dx| in nats (N,).

    x: (N, C) or (N, C, H, W); m, v, gamma, beta: (C,).
    """
    ### BEGIN SOLUTION
    shape = (1, -1) + (1,) * (x.ndim - 2)
    log_scale = gamma - 0.5 * (v + eps).log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (log_scale.sum() * x[0, 0].numel()).expand(len(x))
    ### END SOLUTION


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    """x, from z: the inverse of batch_norm."""
    ### BEGIN SOLUTION
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = (0.5 * (v + eps).log() - gamma).exp()
    return (z - beta.reshape(shape)) * scale.reshape(shape) + m.reshape(shape)
    ### END SOLUTION


# %% test="batch-norm" points=3
stats_bn = [
    torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.0], [3.5, 0.5], [0.0, math.log(3)], [0.0, 5.0])
]
x_bn = torch.tensor([[3.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
z_bn, log_det_bn = batch_norm(x_bn, *stats_bn, 0.5)
assert torch.allclose(z_bn, torch.tensor([[1.0, 8.0], [0.0, 5.0]], dtype=torch.float64)), (
    "sqrt(3.5 + 0.5) = 2, sqrt(0.5 + 0.5) = 1"
)
assert log_det_bn.shape == (2,) and torch.allclose(log_det_bn, torch.full_like(log_det_bn, math.log(1.5))), (
    "1/2 times 3/1"
)
assert torch.allclose(batch_norm_inverse(z_bn, *stats_bn, 0.5), x_bn), "the inverse leads back"
_, log_det_bn = batch_norm(torch.zeros(1, 2, 3, 5, dtype=torch.float64), *stats_bn, 0.5)
assert math.isclose(log_det_bn.item(), 15 * math.log(1.5)), (
    "in a 3x5 picture every factor stretches 15 numbers"
)

# %% [markdown]
# ### 3 · Half of a point (medium, 25 minutes)
#
# A flow knows $p(x_1, x_2)$, but, unlike a Gaussian mixture, neither $p(x_1)$ nor $p(x_2 \mid x_1)$. With one
# unknown coordinate, numerical integration gets them. Use the trapezoidal rule on the nodes
# $t_1 < \dots < t_G$, *unevenly* spaced: $\int f \approx \sum_j \tfrac12 (f_j + f_{j+1})(t_{j+1} - t_j)$. The
# densities may be too small for a float, their logarithms are not.


# %% exercise="conditional"
def conditional(log_prob, x1, t):
    """log p(x1) (M,), and log p(x2 = t | x1) (M, G), in nats, by the trapezoidal rule over x2.

    log_prob: a function, (N, 2) -> (N,); x1: (M,); t: (G,), increasing; float64.
    """
    ### BEGIN SOLUTION
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)  # x2 varies fastest
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    log_p1 = torch.logsumexp(joint + weights.log(), dim=1)
    return log_p1, joint - log_p1[:, None]
    ### END SOLUTION


# %% test="conditional" points=3
nodes = torch.cat([torch.linspace(-9, 0, 2_000), torch.linspace(0.002, 9, 3_000)]).double()
x1_few = torch.tensor([0.0, 1.0], dtype=torch.float64)


def log_two(x):
    """x1 standard normal; x2 given x1 normal with mean x1 and deviation 1/2."""
    return log_standard(x[:, 0]) + log_standard(2 * (x[:, 1] - x[:, 0])) + math.log(2)


log_p1, log_p2 = conditional(log_two, x1_few, nodes)
assert torch.allclose(log_p1, log_standard(x1_few), atol=1e-4), "x1 alone is standard normal"
assert torch.allclose(torch.trapezoid(log_p2.exp(), nodes), torch.ones(2).double()), (
    "given x1, x2 has a density that integrates to 1"
)
assert (nodes[log_p2.argmax(1)] - x1_few).abs().max() < 0.01, "given x1, x2 is most likely at x1"
low, _ = conditional(lambda x: log_two(x) - 5_000, x1_few, nodes)
assert torch.allclose(low, log_p1 - 5_000), "stay in log space"

# %% [markdown]
# ### 4 · A coupling that bends (hard, 45 minutes)
#
# An affine coupling only stretches and shifts: for a fixed $x_a$, the map of each coordinate of $x_b$ is a
# straight line. Any smooth *increasing* function of the line onto itself will do in its place. Take
#
# $$z_b = h(x_b) = x_b + \sum_{k=1}^K w_k \tanh(x_b - m_k), \qquad w_k \ge 0,$$
#
# element by element; `net(x_a)` gives $w$ and $m$, of shape (N, D_b, K). There is no formula for the inverse.
# But $h$ increases, and differs from $x_b$ by at most $\sum_k w_k$: find $x_b$ by *bisection*, all elements
# at once. Beware of $1/\cosh^2$ far out: it overflows on the way to 0.


# %% exercise="monotone"
def tanh_coupling(x, mask, net):
    """z (N, D), and log |det dz/dx| in nats (N,). mask: (D,) of booleans, True where x is kept (x_a).

    x: float64; net: a function, x_a (N, D_a) -> w, m, both (N, D_b, K), w not negative.
    """
    ### BEGIN SOLUTION
    w, m = net(x[:, mask])
    bend = torch.tanh(x[:, ~mask][:, :, None] - m)
    z = x.clone()
    z[:, ~mask] = x[:, ~mask] + (w * bend).sum(dim=2)
    return z, torch.log1p((w * (1 - bend**2)).sum(dim=2)).sum(dim=1)
    ### END SOLUTION


def tanh_coupling_inverse(z, mask, net):
    """x (N, D), from z; each element off by at most 1e-9 times (1 + its |x| + its sum of w)."""
    ### BEGIN SOLUTION
    w, m = net(z[:, mask])
    z_b, reach = z[:, ~mask], w.sum(dim=2)
    low, high = z_b - reach, z_b + reach
    for _ in range(100):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] - m)).sum(dim=2) > z_b
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    x = z.clone()
    x[:, ~mask] = (low + high) / 2
    return x
    ### END SOLUTION


# %% test="monotone" points=4
def net_bend(x_a):
    """One tanh of weight 2 in the middle of x_a."""
    return torch.full((len(x_a), 1, 1), 2.0, dtype=x_a.dtype), x_a[:, :1, None]


first_kept = torch.tensor([True, False])
x_bend = torch.tensor([[0.0, 0.0], [3.0, 3.5], [-1.0, 40.0]], dtype=torch.float64)
z_bend, log_det_bend = tanh_coupling(x_bend, first_kept, net_bend)
assert torch.equal(z_bend[:, 0], x_bend[:, 0]), "x_a is kept"
assert math.isclose(z_bend[1, 1], 3.5 + 2 * math.tanh(0.5)), "3.5 + 2 tanh(0.5)"
assert torch.allclose(log_det_bend[:2], torch.tensor([3.0, 1 + 2 / math.cosh(0.5) ** 2]).double().log()), (
    "the slope of h, in log space"
)
assert abs(log_det_bend[2]) < 1e-12, "far out h has slope 1: a log-det of 0, not NaN"
off = (tanh_coupling_inverse(z_bend, first_kept, net_bend) - x_bend).abs()
assert (off <= 1e-9 * (3 + x_bend.abs())).all(), "the inverse leads back, to 1e-9 of 1 + |x| + the weight"

# %% [markdown]
# ### 5 · A tighter bound on the bits (hard, 35 minutes)
#
# Section 6 averages $\log p_y$ over the noise. By Jensen, averaging *inside* the logarithm is tighter: with
# $K$ draws $u_1, \dots, u_K$ for each picture,
#
# $$\log P(k) \;\ge\; \mathbb E\,\log\Big(\frac1K\sum_{i=1}^K p_y\Big(\frac{k + u_i}{\text{levels}}\Big)\Big) - D \log \text{levels},$$
#
# and as $K$ grows the right side tends to $\log P(k)$. Return the *bits per dimension* of each picture by
# this estimate. Every picture, every pixel and every draw gets noise of its own.


# %% exercise="iw-bits"
def iw_bits(k, log_p_y, levels, K, generator):
    """Bits per dimension of each picture, (N,), estimated with K draws of uniform noise for each;
    inf where the density of all K is 0.

    k: (N, D) float64, whole numbers from 0 to levels - 1;
    log_p_y: a function, (M, D) in [0, 1] -> (M,), nats;
    generator: a torch.Generator; all randomness comes from it.
    """
    ### BEGIN SOLUTION
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - D * math.log(levels)
    return -log_P / (D * math.log(2))
    ### END SOLUTION


# %% test="iw-bits" points=4
k_iw = torch.tensor([[0.0, 3.0, 1.0], [2.0, 2.0, 2.0]], dtype=torch.float64)
flat = iw_bits(k_iw, lambda y: torch.zeros(len(y), dtype=y.dtype), 4, 5, torch.Generator().manual_seed(0))
assert flat.shape == (2,), f"bits for each of two pictures, (N,), not {tuple(flat.shape)}"
assert torch.allclose(flat, torch.full((2,), 2.0, dtype=torch.float64)), (
    f"a uniform density needs 2 bits for one of 4 levels, not {flat}"
)
half = iw_bits(
    k_iw[1:],
    lambda y: torch.log(1e-300 + 12 * ((y * 4 % 1) < 0.5).all(1)),
    4,
    40_000,
    torch.Generator().manual_seed(0),
)
assert abs(half.item() - (2 - math.log2(1.5) / 3)) < 0.02, (
    "density 12 on an eighth of the cell, and next to nothing on the rest: the mean is 1.5"
)
tiny = iw_bits(
    k_iw, lambda y: torch.full((len(y),), -9e3, dtype=y.dtype), 4, 2, torch.Generator().manual_seed(0)
)
assert torch.allclose(tiny, 2 + 3e3 / math.log(2) * torch.ones(2).double()), "stay in log space"

# %% [markdown]
# ### 6 · Repair a broken flow (hard, 30 minutes)
#
# Somebody wrote RealNVP as in equation 9 of the paper: with a mask $b$ of zeros and ones,
# $z = b \odot x + (1 - b) \odot (x \odot e^{s(b \odot x)} + t(b \odot x))$. Here `layers` is a list of pairs
# `(b, net)`, and `net` takes (N, D) and returns `s` and `t`, both (N, D). The code trains, its loss is even
# good. But its samples are not like the data, and its density does not integrate to 1. It has **three**
# faults. Use the round trip of section 2 and the two tests of section 10 to find them, and write both
# directions as they should be.


# %%
def broken_forward(x, layers):
    """z (N, D) and log |det dz/dx| (N,), with faults."""
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net(x)
        x = b * x + (1 - b) * (x * s.exp() + t)
        log_det = log_det + s.sum(dim=1)
    return x, log_det


def broken_inverse(z, layers):
    """x (N, D), with a fault."""
    for b, net in layers:
        s, t = net(b * z)
        z = b * z + (1 - b) * (z - t) * (-s).exp()
    return z


# %% exercise="repair"
def mended_forward(x, layers):
    """z (N, D) and log |det dz/dx| in nats (N,), through both of which gradients pass.

    layers: list of (b, net); b (D,) float64 of 0 and 1.
    """
    ### BEGIN SOLUTION
    total = 0.0
    for b, net in layers:
        log_scale, shift = net(x * b)
        x = torch.where(b.bool(), x, x * log_scale.exp() + shift)
        total = total + log_scale @ (1 - b)
    return x, total
    ### END SOLUTION


def mended_inverse(z, layers):
    """x (N, D), so that mended_forward(x, layers) gives z again; gradients pass through it, too."""
    ### BEGIN SOLUTION
    for b, net in reversed(layers):
        log_scale, shift = net(z * b)
        z = torch.where(b.bool(), z, (z - shift) * (-log_scale).exp())
    return z
    ### END SOLUTION


# %% test="repair" points=3
def net_repair(x):
    """s is the sum of the coordinates, t its double, for every coordinate."""
    total = x.sum(dim=1, keepdim=True).expand(-1, x.shape[1])
    return total, 2 * total


b_repair = torch.tensor([1.0, 0.0], dtype=torch.float64)
two_layers = [(b_repair, net_repair), (1 - b_repair, net_repair)]
x_repair = torch.tensor([[0.5, -1.0], [0.1, 0.3]], dtype=torch.float64)
z_repair, log_det_repair = mended_forward(x_repair, two_layers)
one_z, one_log_det = mended_forward(x_repair, two_layers[:1])
assert torch.allclose(one_z[0], torch.tensor([0.5, 1 - math.exp(0.5)], dtype=torch.float64)), (
    "s and t see x_a only: s = 0.5, t = 1"
)
assert torch.allclose(one_log_det, x_repair[:, 0]), "only what moves counts for the determinant"
J_repair = torch.autograd.functional.jacobian(
    lambda v: mended_forward(v[None], two_layers)[0][0], x_repair[0]
)
assert math.isclose(torch.linalg.slogdet(J_repair).logabsdet, log_det_repair[0]), (
    "the log-det is not the Jacobian's"
)
assert torch.allclose(mended_inverse(z_repair, two_layers), x_repair), "the inverse does not lead back"

# %% [markdown]
# ## Further reading
#
# - L. Dinh, D. Krueger, Y. Bengio. *NICE: Non-linear independent components estimation.* 2014,
#   arXiv:1410.8516.
# - L. Dinh, J. Sohl-Dickstein, S. Bengio. *Density estimation using Real NVP.* 2016, arXiv:1605.08803.
# - B. Uria, I. Murray, H. Larochelle. *RNADE: The real-valued neural autoregressive density-estimator.* 2013,
#   arXiv:1306.0186. Uniform noise on grey levels.
# - L. Theis, A. van den Oord, M. Bethge. *A note on the evaluation of generative models.* 2015,
#   arXiv:1511.01844. Why the noise makes it a bound.
# - J. Ho and others. *Flow++: Improving flow-based generative models with variational dequantization and
#   architecture design.* 2019, arXiv:1902.00275.
# - E. Hoogeboom, T. Cohen, J. Tomczak. *Learning discrete distributions by dequantization.* 2020,
#   arXiv:2001.11235. The bound of exercise 5.
# - G. Papamakarios and others. *Normalizing flows for probabilistic modeling and inference.* 2019,
#   arXiv:1912.02762. A survey.
# - C.-W. Huang, D. Krueger, A. Lacoste, A. Courville. *Neural autoregressive flows.* 2018, arXiv:1804.00779.
#   A monotone network in the place of the affine map.

# %% tags=["demo"]
selfcheck.run("08_realnvp")
