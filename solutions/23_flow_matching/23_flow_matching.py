# %% [markdown]
# # 23 · Flow matching and rectified flow
#
# > **Draw straight lines from data to noise. Teach a network their average direction at every place. Follow
# > it home.**
#
# | | |
# |---|---|
# | You will build | flow matching on a case with a closed form, in the plane and on glyphs; four solvers, with their order measured; minibatch optimal transport; reflow, down to one step; exact likelihoods from an ODE; a forecaster of trajectories that knows when the future is open |
# | You need to know | lesson 19 (the forward process, the U-Net, guidance by a class that is sometimes hidden); derivatives; what a differential equation says |
# | Time on two CPU cores | about five minutes to run, four to five hours to read and to solve |
# | Time on a GPU | a few minutes, with a larger net (`full`) |

# %%
import copy
import math
import time
from itertools import pairwise

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.collections import LineCollection
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

# %%
device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
torch.set_num_threads(1)  # on a CPU: these networks are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    toy_steps=(10, 1_000, 5_000),
    toy_batch=(64, 256, 1_024),
    points=(200, 2_000, 10_000),
    pairs=(300, 10_000, 200_000),
    channels=(8, 32, 128),
    steps=(2, 650, 20_000),
    batch=(8, 64, 256),
    rate=(2e-3, 2e-3, 1e-3),
    ema=(0.99, 0.99, 0.999),
    digit_steps=(2, 800, 10_000),
    digit_pairs=(50, 10_000, 100_000),
    path_steps=(10, 1_500, 10_000),
    draws=(72, 360, 2_160),
    counts=((1, 2), (1, 2, 4, 8, 16), (1, 2, 4, 8, 16, 32)),
)
torch.manual_seed(23)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("flow-matching")
plt.show()

# %% [markdown]
# Flow matching stands in bucket 4, beside score models and diffusion. Section 7 shows how close: a network of
# lesson 19 *is* a network of this lesson, on another clock.
#
# ## The compromise
#
# A normalising flow (lessons 08 and 09) has an exact density and pays with layers that can be inverted. A
# *continuous* flow moves a point by a differential equation instead, and any network may say where to. But to
# train it by likelihood, one must solve that equation in every step. Flow matching gives up maximum
# likelihood. It regresses on velocities that are known in closed form, and solves the equation only to
# sample.
#
# | | flow matching |
# |---|---|
# | What is modelled? | the velocity of a point on its way between noise and data: of pixels, latents, trajectories |
# | Is the density explicit? | not in training; afterwards exact, by solving an ODE (section 11) |
# | Is sampling one-shot or iterative? | iterative, but the straighter the paths, the fewer the steps; after reflow one can be enough |
# | What conditions it? | an input of the network: class, text, an observation; guidance amplifies it |
# | How is it evaluated, and how does that fail? | as diffusion, quality *at a number of steps*: a figure for 100 steps says nothing about 4 |
#
# Neural ODEs (Chen et al., 2018) made a flow of a differential equation. In September and October 2022 three
# groups dropped the solver from its training, within weeks of each other: rectified flow (Liu, Gong, Liu),
# stochastic interpolants (Albergo, Vanden-Eijnden) and flow matching (Lipman et al.). Stable Diffusion 3 and
# Flux.1 (2024) are built on it.
#
# A warning about clocks. Here, as in lesson 19, $t = 0$ is data and $t = 1$ is noise. All three papers let
# time run the other way, from noise at 0 to data at 1. Their velocity at $1 - t$ is ours at $t$ with the sign
# changed.

# %% [markdown]
# ## 1 · One path, and the velocity of all paths
#
# Take a data point $x_0$ and a noise $\varepsilon \sim \mathcal N(0, I)$, and walk from one to the other in a
# straight line, at a constant speed:
#
# $$x_t = (1 - t)\, x_0 + t\, \varepsilon, \qquad \frac{\mathrm d x_t}{\mathrm d t} = \varepsilon - x_0 .$$
#
# This is the path of one *pair*. Through a place $x$ at time $t$ many pairs pass, in many directions. The
# **marginal velocity** is their average:
#
# $$u(x, t) = \mathbb E\big[\,\varepsilon - x_0 \,\big|\, x_t = x\,\big].$$
#
# Follow it, $\mathrm d x / \mathrm d t = u(x, t)$, from noise at $t = 1$ to $t = 0$, and you arrive at data.
# The reason is bookkeeping: how many points enter and leave a small box depends on the average velocity in it
# and on nothing else. So the crowd that follows the average has, at every time, the same density as the crowd
# of pairs.


# %%
def cfm_pair(x_0, eps, t):
    """A point of the straight path and its velocity: x_t = (1 - t) x_0 + t eps, and eps - x_0.

    x_0, eps: (B, ...); t: (B,), 0 at data and 1 at noise.
    Source: Liu et al. 2022, equation 1 (time reversed).
    """
    t = t.reshape(-1, *[1] * (x_0.ndim - 1))  # (B,) -> (B, 1, ...)
    return (1 - t) * x_0 + t * eps, eps - x_0


# %% [markdown]
# First a case where $u$ is known. If $x_0 \sim \mathcal N(m, s^2 I)$, then $x_t$ is normal with mean
# $(1-t)\,m$ and variance $v_t = (1-t)^2 s^2 + t^2$. Velocity and place are jointly normal, and the mean of
# one given the other is a line:
#
# $$u(x, t) = -m + \frac{t - (1-t)\,s^2}{v_t}\,\big(x - (1-t)\,m\big).$$
#
# A point that follows it keeps its place in the crowd: so many standard deviations from the mean, always.
# That gives the whole path in closed form, $x(t) = (1-t)\,m + \sqrt{v_t}\; x(1)$.


# %%
def gaussian_velocity(x, t, m, s):
    """E[eps - x_0 | x_t = x] for data x_0 ~ N(m, s^2 I): any shape of x, t a number or a shape that fits."""
    v = (1 - t) ** 2 * s**2 + t**2
    return -m + (t - (1 - t) * s**2) / v * (x - (1 - t) * m)


def gaussian_path(x_1, t, m, s):
    """Where the flow of `gaussian_velocity` has a point at time t that starts at x_1 at time 1."""
    return (1 - t) * m + ((1 - t) ** 2 * s**2 + t**2) ** 0.5 * x_1


# %%
M, SD = 1.5, 0.4
g = torch.Generator().manual_seed(1)
x_0 = M + SD * torch.randn(400_000, generator=g)
x_t, u_pair = cfm_pair(x_0, torch.randn(400_000, generator=g), torch.full((400_000,), 0.6))
for place in (0.0, 0.6, 1.2):
    near = (x_t - place).abs() < 0.02
    u = gaussian_velocity(place, 0.6, M, SD)
    print(
        f"x = {place}: {near.sum():6} pairs pass, "
        f"mean velocity {u_pair[near].mean():.3f}, closed form {u:.3f}"
    )

# %% [markdown]
# ## 2 · Teach it to a network
#
# We do not know $u$ for glyphs. But an average is what a least-squares fit finds: the function of $(x_t, t)$
# closest to $\varepsilon - x_0$ *is* its conditional mean. So draw a pair, a time, and regress:
#
# $$L(\theta) = \mathbb E_{x_0,\, \varepsilon,\, t}\ \big\lVert u_\theta(x_t, t) - (\varepsilon - x_0) \big\rVert^2
# = \mathbb E\,\lVert u_\theta - u \rVert^2 + \underbrace{\mathbb E \operatorname{Var}\big[\varepsilon - x_0 \mid x_t\big]}_{\text{no network removes it}} .$$
#
# This is *conditional flow matching*: "conditional" because the target belongs to one pair. No ODE is solved.
# The times are *stratified*: one in each of $B$ equal parts of $[0, 1]$, shifted together, so that no batch
# has only early ones.


# %%
def stratified(n, generator):
    """n times, each uniform on [0, 1), evenly spread together: (n,)."""
    return ((torch.rand(1, generator=generator) + torch.arange(n)) / n % 1).to(device)


class MLP(nn.Module):
    """A velocity in D dimensions: x (B, D), t (B,), and, if it is conditional, c (B, C) -> (B, D).

    waves: how many sines and cosines of each coordinate it also sees; they make fine detail easy to learn.
    """

    def __init__(self, D, C=0, width=128, depth=3, waves=0):
        super().__init__()
        self.waves = waves
        self.register_buffer("frequency", torch.linspace(0, math.log(30), 16).exp())
        self.enter = nn.Linear(D + 2 * D * waves + 32 + C, width)
        self.body = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU()) for _ in range(depth)
        )
        self.leave = nn.Linear(width, D)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x, t, c=None):
        angle = t[:, None] * self.frequency  # (B, 16)
        fine = [wave(1.5 * 2**k * x) for k in range(self.waves) for wave in (torch.sin, torch.cos)]
        h = self.enter(torch.cat([x, *fine, angle.sin(), angle.cos(), *([] if c is None else [c])], dim=1))
        for block in self.body:
            h = h + block(h)
        return self.leave(h)


# %% [markdown]
# One loop trains every network of this lesson. `batch()` returns the network's arguments and the target. The
# net that samples is an *exponential moving average* (EMA) of the weights, as in lesson 19.


# %%
def train_step(net, ema, optimizer, arguments, target, decay):
    """One step of least squares, and of the moving average; the loss stays on the device."""
    with genmap.autocast(device):
        u = net(*arguments)
    loss = F.mse_loss(u.float(), target)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in net.parameters()], 1 - decay)
    return loss.detach()


# %%
def train(net, batch, steps, rate, title, decay=0.99, watch=None):
    """AdamW; the rate rises in a tenth of the steps, then falls to 0.

    Returns the averaged net, without gradients.
    """
    ema = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), rate, betas=(0.9, 0.99))
    cycle = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, 10 * (k + 1) / steps) * math.cos(math.pi / 2 * k / (steps + 1)) ** 2
    )
    curve = progress.Curve(title)
    for step in progress.track(range(steps), title=title):
        kept = min(decay, (step + 1) / (step + 10))  # a young average forgets its start
        curve.add(step, train_step(net, ema, optimizer, *batch(), kept))
        cycle.step()
        if watch:
            watch(step + 1, ema)
    curve.close()
    return ema


# %% [markdown]
# On Gaussian data we can watch both terms. The second one has a closed form: given $x_t$ the target's
# variance is $s^2 / v_t$ a dimension, and over all times its mean is
# $\int_0^1 s^2 / v_t\,\mathrm dt = \tfrac{\pi}{2}\, s$.


# %% tags=["demo"]
def gaussian_batch(generator):
    """A batch of the Gaussian case for `train`."""
    x_0 = M + SD * torch.randn(S.toy_batch, 1, generator=generator).to(device)
    t = stratified(S.toy_batch, generator)
    x_t, u = cfm_pair(x_0, torch.randn(S.toy_batch, 1, generator=generator).to(device), t)
    return (x_t, t), u


g = torch.Generator().manual_seed(2)
line_net = train(MLP(1, width=64).to(device), lambda: gaussian_batch(g), S.toy_steps // 2, 3e-3, "a line")
errors = torch.zeros(2, device=device)
for _ in range(50):
    (x_t, t), u_pair = gaussian_batch(g)
    u_net = line_net(x_t, t)
    u = gaussian_velocity(x_t, t[:, None], M, SD)
    errors += torch.stack([(u_net - u_pair).square().mean(), (u_net - u).square().mean()]) / 50
floor = math.pi / 2 * SD
print(f"expected: floor {floor:.4f} + distance to the closed form {errors[1]:.4f} = {floor + errors[1]:.4f}")
print(f"measured loss, mean of 50 batches: {errors[0]:.4f}")

# %% [markdown]
# The loss of a perfect network is far from zero here. **A loss curve of flow matching that lies flat may
# still be learning**: what falls is the small term on top of a large one. Even the mean of 50 batches strays
# by about 0.01, more than the whole term, and may lie below the floor. Look at samples.

# %% [markdown]
# ## 3 · Follow it: four solvers
#
# A solver walks along $\mathrm dx/\mathrm dt = u(x, t)$ in steps of size $h$; here $h < 0$, since we go from
# 1 down to 0. **Euler** takes the velocity at the start of the step. **Midpoint** and **Heun** look once
# ahead and correct; the classical **Runge–Kutta** method (RK4) looks three times. A method has *order* $p$
# if, for small steps, its error shrinks like $h^p$.


# %%
def euler(u, x, t, h):
    """x + h u(x, t): one evaluation, order 1."""
    return x + h * u(x, t)


def midpoint(u, x, t, h):
    """The velocity half a step ahead: two evaluations, order 2."""
    return x + h * u(x + h / 2 * u(x, t), t + h / 2)


def heun(u, x, t, h):
    """The mean of the velocities at both ends: two evaluations, order 2."""
    k = u(x, t)
    return x + h / 2 * (k + u(x + h * k, t + h))


def rk4(u, x, t, h):
    """The classical Runge-Kutta method: four evaluations, order 4."""
    k_1 = u(x, t)
    k_2 = u(x + h / 2 * k_1, t + h / 2)
    k_3 = u(x + h / 2 * k_2, t + h / 2)
    k_4 = u(x + h * k_3, t + h)
    return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


def solve(u, x, steps, method=euler, times=(1.0, 0.0)):
    """Follow u(x, t), t a 0-d tensor, in equal steps: all places on the way, (steps + 1, *x.shape)."""
    grid = torch.linspace(*times, steps + 1, dtype=x.dtype, device=x.device)
    places = [x]
    for t, later in pairwise(grid):
        places.append(method(u, places[-1], t, later - t))
    return torch.stack(places)


# %%
COST = {euler: 1, midpoint: 2, heun: 2, rk4: 4}  # evaluations of u in a step


def straight_case(x, t):
    """The velocity of section 1."""
    return gaussian_velocity(x, t, M, SD)


def cosine_case(x, t):
    """The same for the path x_t = cos(a) x_0 + sin(a) eps,
    where a = t pi / 2 (lesson 19's, but for its offset).
    """
    alpha, sigma = torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)
    slope = alpha * sigma * (1 - SD**2) / (alpha**2 * SD**2 + sigma**2)
    return math.pi / 2 * (slope * (x - alpha * M) - sigma * M)


# %%
END, corner = 0.25, torch.tensor(math.pi / 8, dtype=torch.float64)  # where we compare, and its angle
x_1 = torch.randn(1_000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
exact = {
    straight_case: gaussian_path(x_1, END, M, SD),
    cosine_case: corner.cos() * M + (corner.cos() ** 2 * SD**2 + corner.sin() ** 2).sqrt() * x_1,
}


def solver_error(u, method, steps):
    """Root mean squared error at t = 1/4, where the exact flow is known."""
    end = solve(u, x_1, steps, method, times=(1.0, END))[-1]
    return (end - exact[u]).square().mean().sqrt().item()


for method in COST:
    orders = [
        math.log2(solver_error(u, method, 32) / solver_error(u, method, 64))
        for u in (straight_case, cosine_case)
    ]
    print(f"{method.__name__:8} measured order: straight path {orders[0]:.2f}, cosine path {orders[1]:.2f}")

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.2)
times = torch.linspace(1, 0, 101, dtype=torch.float64)
for z in torch.linspace(-2, 2, 9, dtype=torch.float64):
    axes[0].plot(times, gaussian_path(z, times, M, SD), color=plot.COLOURS.sky, lw=1.2)
    walk = solve(straight_case, z, 4)
    axes[0].plot(np.linspace(1, 0, 5), walk, "o-", color=plot.COLOURS.vermilion, lw=0.8, ms=3)
axes[0].set(title="Exact paths, and Euler in four steps", xlabel="$t$: noise on the left", ylabel="$x$")
axes[0].invert_xaxis()
for method, colour in zip(COST, plot.COLOURS, strict=False):
    counts = np.array([4, 8, 16, 32, 64, 128])
    found = [solver_error(cosine_case, method, int(n)) for n in counts]
    axes[1].loglog(counts * COST[method], found, "o-", color=colour, label=method.__name__)
axes[1].set(
    title="Error against work", xlabel="evaluations of $u$", ylabel=r"error at $t = \frac{1}{4}$, cosine path"
)
axes[1].legend()
plt.show()

# %% [markdown]
# The orders are 1, 2, 2 and 4, as the theory says, with one gift: on the straight path of a Gaussian, where
# $v_t$ is a quadratic, the leading error of midpoint happens to cancel, and it shows order 3. One case is not
# a proof; the cosine path shows its true order. On the left Euler goes wrong where the exact paths *bend*.
# Each red piece is straight, as Euler's always are. If the paths were straight too, one step would be exact.
# The rest of the lesson follows this thought.
#
# ## 4 · The plane: lines that cross
#
# Data: eight small Gaussians on a circle. Noise: one in the middle.

# %%
TOY = torch.tensor(data.toy("eight-gaussians", 20_000, seed=0), device=device)


def toy_pairs(generator, n):
    """Data and noise drawn independently of each other: two tensors (n, 2)."""
    chosen = torch.randint(len(TOY), (n,), generator=generator).to(device)
    return TOY[chosen], torch.randn(n, 2, generator=generator).to(device)


def toy_batch(generator, pairs):
    """A batch for `train`, of the pairs that `pairs(generator, n)` draws."""
    x_0, eps = pairs(generator, S.toy_batch)
    t = stratified(S.toy_batch, generator)
    x_t, u = cfm_pair(x_0, eps, t)
    return (x_t, t), u


def velocity(net, *condition):
    """A net as a function of x and one time for all: what the solvers take."""
    return lambda x, t: net(x, t.expand(len(x)), *condition)


# %% tags=["demo"]
def fit_toy(pairs, title, start=None):
    """A velocity in the plane, trained on these pairs."""
    torch.manual_seed(5)
    g = torch.Generator().manual_seed(6)
    net = MLP(2, waves=2).to(device) if start is None else copy.deepcopy(start).requires_grad_(True)
    return train(net, lambda: toy_batch(g, pairs), S.toy_steps, 3e-3, title)


flows = {"independent": fit_toy(toy_pairs, "independent pairs")}


# %% tags=["demo"]
def draw_lines(ax, x_0, eps):
    """The straight paths of some pairs: data in blue, noise in grey."""
    lines = torch.stack([eps, x_0], dim=1).cpu()
    ax.add_collection(LineCollection(lines, colors=plot.COLOURS.purple, linewidths=0.9, alpha=0.8))
    ax.scatter(*eps.cpu().T, s=9, color=plot.COLOURS.grey, zorder=3)
    ax.scatter(*x_0.cpu().T, s=9, color=plot.COLOURS.blue, zorder=3)


def draw_flow(ax, net, steps=100, n=120):
    """Paths of the learned flow, from noise (grey) to where they end (vermilion)."""
    x_1 = torch.randn(n, 2, generator=torch.Generator().manual_seed(7)).to(device)
    with torch.no_grad():
        places = solve(velocity(net), x_1, steps).cpu()
    lines = LineCollection(places.swapaxes(0, 1), colors=plot.COLOURS.sky, linewidths=0.9)
    ax.add_collection(lines)
    ax.scatter(*places[0].T, s=9, color=plot.COLOURS.grey, zorder=3)
    ax.scatter(*places[-1].T, s=9, color=plot.COLOURS.vermilion, zorder=3)


def frame(ax, title):
    """The same square for every panel."""
    ax.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    ax.set_title(title, fontsize=11)


# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=4.1)
draw_lines(axes[0], *toy_pairs(torch.Generator().manual_seed(8), 120))
draw_flow(axes[1], flows["independent"])
frame(axes[0], "What it is trained on: pairs")
frame(axes[1], "What it learns: their average")
plt.show()

# %% [markdown]
# Two facts in one figure. The lines of pairs cross everywhere. The paths of the flow never do: at one place
# and one time there is one velocity. Where lines would cross, the flow turns. **Straight lines in, bent paths
# out.** In the middle of the cloud all eight directions meet, their mean is nothing, and a point there waits
# until it is late, then turns to one side.
#
# How bent? Compare the velocity on the way with the straight line from start to end (Liu et al. 2022). We
# divide by the length of that line, squared, so that units drop out:
#
# $$\mathcal S = \frac{\int_0^1 \mathbb E\,\big\lVert (x_1 - x_0) - u(x_t, t)\big\rVert^2\, \mathrm dt}{\mathbb E\,\lVert x_1 - x_0\rVert^2}, \qquad x_t \text{ on the flow's own path.}$$
#
# It is 0 if, and only if, every path is straight and walked at a constant speed.


# %%
def straightness(u, x_1, steps=100):
    """S of the flow of u(x, t) from noise x_1 (B, D): 0 is straight.

    Fine steps: it measures the flow, not Euler.
    """
    places = solve(u, x_1, steps, midpoint)  # (steps + 1, B, D)
    line = places[0] - places[-1]
    moved = (places[:-1] - places[1:]) * steps  # mean velocity of each step
    return ((moved - line).square().sum(-1).mean() / line.square().sum(-1).mean()).item()


def energy_distance(x, y):
    """How far apart are two samples? 0 for the same distribution: (N, D), (M, D) -> a number."""
    between, own = torch.cdist(x, y).mean(), torch.cdist(x, x).mean() + torch.cdist(y, y).mean()
    return (2 * between - own).item()


# %% [markdown]
# For the Gaussian there is a check. Its paths are $x(t) - (1-t)\,m = \sqrt{v_t}\,x(1)$, and $\sqrt{v_t}$
# bends, unless $s$ is 0.

# %%
x_1 = torch.randn(2_000, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
root_v = gaussian_path(1.0, torch.linspace(0, 1, 10_001, dtype=torch.float64), 0.0, SD)
bent = (root_v.diff() * 10_000 - (1 - SD)).square().mean() * x_1.square().mean()
line = (x_1 - gaussian_path(x_1, 0.0, M, SD)).square().mean()
found = straightness(straight_case, x_1)
print(f"straightness of the Gaussian's flow: {found:.5f}, from the closed form {bent / line:.5f}")

# %% [markdown]
# ## 5 · Choose the pairs: minibatch optimal transport
#
# Nobody said that data and noise must be paired at random. Any *coupling* will do that leaves both sides as
# they are. Choose one whose lines cross less: within each batch, pair so that the sum of squared distances is
# smallest.
#
# $$\pi^\star = \arg\min_{\pi}\ \sum_{i=1}^{B} \big\lVert x_0^{(i)} - \varepsilon^{(\pi(i))} \big\rVert^2 .$$
#
# In the best pairing no two walkers ever *meet*, at one place at one time. Two that meet have
# $(x_0^{(i)} - x_0^{(j)}) \cdot (\varepsilon^{(i)} - \varepsilon^{(j)}) < 0$, and then exchanging their ends
# makes the sum smaller. (Their lines may still cross, if they pass the crossing at different times.) Over all
# data this is the optimal transport of Monge (1781), with squared distances; over a batch it is *minibatch
# OT* (Pooladian et al.; Tong et al., both 2023), an approximation which gets better with $B$. The assignment
# problem costs $O(B^3)$.


# %%
def ot_order(x_0, eps):
    """The best pairing: the index (B,) such that eps[index] belongs to x_0, both (B, ...)."""
    cost = cdist(x_0.flatten(1).cpu().numpy(), eps.flatten(1).cpu().numpy(), "sqeuclidean")
    return torch.as_tensor(linear_sum_assignment(cost)[1], device=eps.device)


def ot_pairs(generator, n):
    """As `toy_pairs`, with the noise reordered within the batch."""
    x_0, eps = toy_pairs(generator, n)
    return x_0, eps[ot_order(x_0, eps)]


def crossings(x_0, eps):
    """The share of all couples of pairs that would gain by exchanging their ends:
    (B, D), (B, D) -> a number.
    """
    gain = ((x_0[:, None] - x_0) * (eps[:, None] - eps)).flatten(2).sum(2) < 0  # (B, B)
    return gain.sum().item() / (len(x_0) * (len(x_0) - 1))


# %%
for name, pairs in (("independent", toy_pairs), ("minibatch OT", ot_pairs)):
    x_0, eps = pairs(torch.Generator().manual_seed(8), 256)
    cost = (x_0 - eps).square().sum(1).mean()
    print(f"{name:12} {crossings(x_0, eps):.3f} of all couples would swap, mean squared length {cost:.2f}")

# %% tags=["demo"]
flows["minibatch OT"] = fit_toy(ot_pairs, "minibatch OT")
fig, axes = plot.figure(1, 2, height=4.1)
draw_lines(axes[0], *ot_pairs(torch.Generator().manual_seed(8), 120))
draw_flow(axes[1], flows["minibatch OT"])
frame(axes[0], "Minibatch OT: pairs")
frame(axes[1], "Minibatch OT: the flow")
plt.show()

# %% [markdown]
# ## 6 · Rectified flow: let the flow choose the pairs
#
# There is another coupling with few crossings, and it costs no assignment problem. Take a trained flow, start
# at noise $x_1$, follow it to its own end $x_0 = \Phi(x_1)$, and keep $(x_0, x_1)$ as a *pair*. The flow's
# paths never meet, and the straight lines between their ends meet far less often than those of pairs at
# random. So train a second flow on straight lines between *its* pairs. That is **reflow** (Liu et al. 2022).
# They show that the transport cost never rises, for any convex cost, and that repeating makes the paths
# straight.


# %%
@torch.no_grad()
def reflow_pairs(u, x_1, steps, method=heun):
    """Noise x_1 (N, ...) and where the flow of u carries it: the pairs (x_0, x_1) of the next flow."""
    return solve(u, x_1, steps, method)[-1], x_1


def draw_from(x_0, x_1):
    """Pairs at random out of a store of pairs, for `toy_batch`."""

    def pairs(generator, n):
        chosen = torch.randint(len(x_0), (n,), generator=generator).to(device)
        return x_0[chosen], x_1[chosen]

    return pairs


# %% tags=["demo"]
for before, after in (("independent", "reflow"), ("reflow", "reflow twice")):
    x_1 = torch.randn(S.pairs, 2, generator=torch.Generator().manual_seed(10)).to(device)
    store = reflow_pairs(velocity(flows[before]), x_1, 20)
    flows[after] = fit_toy(draw_from(*store), after, start=flows[before])

# %% tags=["demo"]
x_1 = torch.randn(S.points, 2, generator=torch.Generator().manual_seed(11)).to(device)
held_out = torch.tensor(data.toy("eight-gaussians", S.points, seed=1), device=device)
table = {}
for name, net in flows.items():
    with torch.no_grad():
        bend = straightness(velocity(net), x_1[:1_000])
        ends = {n: solve(velocity(net), x_1, n)[-1] for n in (1, 2, 4, 50)}
    table[name] = [energy_distance(end, held_out) for end in ends.values()]
    distances = ", ".join(f"{n}: {d:.3f}" for n, d in zip(ends, table[name], strict=True))
    print(f"{name:12} straightness {bend:.4f}; energy distance to data by Euler steps {distances}")
print(f"two samples of the data: {energy_distance(TOY[: S.points], held_out):.4f}")

# %% tags=["demo"]
fig, axes = plot.figure(2, len(flows), height=2.25)
for column, (name, net) in zip(axes.T, flows.items(), strict=True):
    draw_flow(column[0], net, n=70)
    frame(column[0], name)
    with torch.no_grad():
        one = solve(velocity(net), x_1[:1_000], 1)[-1].cpu()
    column[1].scatter(*one.T, s=3, color=plot.COLOURS.vermilion)
    frame(column[1], "one Euler step")
plt.show()

# %% [markdown]
# Read the lower row. From pairs at random, one step goes wrong completely: section 14 says why. Both repairs
# bring the eight clouds into reach of a single step. They differ in what they are straight *with respect to*:
# minibatch OT is limited by its batch, reflow by the flow that made its pairs. It inherits that flow's
# errors. A second round makes the paths straighter still, but in one step there is little left to gain.
#
# ## 7 · Diffusion is inside
#
# Lesson 19 mixes data and noise by other weights: $x_t = \alpha_t\, x_0 + \sigma_t\, \varepsilon$ with
# $\alpha_t^2 + \sigma_t^2 = 1$. Divide such a point by $\alpha_t + \sigma_t$:
#
# $$z = \frac{x_t}{\alpha_t + \sigma_t} = (1 - s)\,x_0 + s\,\varepsilon, \qquad s = \frac{\sigma_t}{\alpha_t + \sigma_t} .$$
#
# This is a point on the straight line, at the time $s$. So a diffusion model has seen the same mixtures; its
# clock and its scale are different, nothing else. From the v-prediction
# $v = \alpha_t \varepsilon - \sigma_t x_0$ of lesson 19 and the point itself we get back both ends, and their
# difference is the velocity:
#
# $$\hat x_0 = \alpha_t x_t - \sigma_t v,\quad \hat\varepsilon = \sigma_t x_t + \alpha_t v,\quad
# u(z, s) = \hat\varepsilon - \hat x_0 = (\sigma_t - \alpha_t)\,x_t + (\alpha_t + \sigma_t)\,v .$$
#
# The mean of $v$ given $x_t$ gives the mean of $\varepsilon - x_0$ given $z$, since all this is linear: **a
# DDPM network is a flow-matching network.** No training is needed to turn one into the other.


# %%
EARLY = 0.008  # the cosine schedule starts a little after the top of the cosine


def cosine(t):
    """alpha_t and sigma_t of lesson 19's cosine schedule. Source: Nichol and Dhariwal 2021, equation 17."""
    alpha = torch.cos((t + EARLY) / (1 + EARLY) * math.pi / 2) / math.cos(EARLY / (1 + EARLY) * math.pi / 2)
    return alpha, (1 - alpha.square()).clamp(min=0).sqrt()


def straight_clock(t):
    """s = sigma_t / (alpha_t + sigma_t)."""
    alpha, sigma = cosine(t)
    return sigma / (alpha + sigma)


# %%
def as_flow(v_net):
    """The velocity u(z, s) of a network v(x_t, t) that was trained on the cosine schedule."""

    def u(z, s):
        alpha, sigma = (1 - s) / torch.hypot(s, 1 - s), s / torch.hypot(s, 1 - s)
        angle = torch.arccos(alpha * math.cos(EARLY / (1 + EARLY) * math.pi / 2))  # `cosine` backwards
        t = angle * 2 / math.pi * (1 + EARLY) - EARLY
        x_t = (alpha + sigma) * z
        return (sigma - alpha) * x_t + (alpha + sigma) * v_net(x_t, t)

    return u


def ddim(v_net, x, times):
    """DDIM without noise: at each time guess both ends, then mix them for the next.

    Source: Song et al. 2020.
    """
    for t, later in pairwise(times):
        (alpha, sigma), (alpha_later, sigma_later) = cosine(t), cosine(later)
        v = v_net(x, t)
        x = alpha_later * (alpha * x - sigma * v) + sigma_later * (sigma * x + alpha * v)
    return x


# %% [markdown]
# The check, on Gaussian data, where the best $v$ is known too:
# $v(x, t) = \frac{\alpha\sigma(1 - s_0^2)\,x - \sigma m}{\alpha^2 s_0^2 + \sigma^2}$ with the mean $m$ and
# the deviation $s_0$ of the data. And more than the velocity agrees. **DDIM is Euler's method** on the
# straight clock: both keep the two guesses fixed for a step and move along the line between them.


# %%
def best_v(x, t):
    """E[alpha eps - sigma x_0 | x_t = x] for the Gaussian of section 1."""
    alpha, sigma = cosine(t)
    return (alpha * sigma * (1 - SD**2) * x - sigma * M) / (alpha**2 * SD**2 + sigma**2)


z = torch.linspace(-3, 3, 7, dtype=torch.float64)
s = torch.tensor(0.3, dtype=torch.float64)
apart = (as_flow(best_v)(z, s) - gaussian_velocity(z, s, M, SD)).abs().max()
print(f"diffusion's velocity and this lesson's differ by at most {apart:.1e}")
times = torch.linspace(1, 0, 11, dtype=torch.float64)  # equal steps of lesson 19's clock
by_ddim, clock = ddim(best_v, z, times), straight_clock(times)
by_euler = z
for now, later in pairwise(clock):
    by_euler = euler(as_flow(best_v), by_euler, now, later - now)
print(f"ten steps of DDIM and ten of Euler end at most {(by_ddim - by_euler).abs().max():.1e} apart")

# %% [markdown]
# What is left of the difference? The *weights*. Each puts other times into its training and other steps into
# its sampling. At equal steps of lesson 19's $t$, the straight clock $s$ hurries at both ends and dwells in
# the middle. That matters when the network is imperfect and the steps are few, and section 9 measures it.
#
# ## 8 · Glyphs
#
# Now the network of lesson 19, in one cell: pixels folded 2 x 2 into channels, residual blocks at 8 x 8 and
# at 4 x 4, time and class modulating each. Class 36 means "no class"; the net sees it in one example of ten,
# so that it also learns the velocity of all glyphs together.


# %%
# long: one network, to be read from the noise to the velocity
class Block(nn.Module):
    """Lesson 19's residual block, modulated by e: (B, a, H, W), (B, width) -> (B, b, H, W)."""

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


class UNet(nn.Module):
    """Lesson 19's network: x_t (B, 1, H, W), t (B,) in [0, 1], y (B,) -> (B, 1, H, W);
    y = classes: no class.
    """

    def __init__(self, channels, classes=36):
        super().__init__()
        C, width = channels, 4 * channels
        self.register_buffer("frequency", 1_000 * 10_000 ** -(torch.arange(C // 2) / (C // 2)))
        self.time = nn.Sequential(nn.Linear(C, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)
        self.enter = nn.Conv2d(4, C, 3, padding=1)
        self.down = nn.Conv2d(C, C, 3, stride=2, padding=1)
        self.up = nn.Conv2d(2 * C, 2 * C, 3, padding=1)
        sizes = [(1, 1), (1, 2), (2, 2), (2, 2), (4, 2), (3, 2), (3, 1), (2, 1)]  # in and out, in units of C
        self.blocks = nn.ModuleList(Block(a * C, b * C, width) for a, b in sizes)
        self.norm, self.leave = nn.GroupNorm(8, C), nn.Conv2d(C, 4, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x_t, t, y):
        angle, b = t[:, None] * self.frequency, self.blocks
        e = self.time(torch.cat([angle.cos(), angle.sin()], dim=1)) + self.label(y)
        h0 = self.enter(F.pixel_unshuffle(x_t, 2))  # (B, 1, 16, 16) -> (B, C, 8, 8)
        h1 = b[0](h0, e)
        h2 = self.down(h1)  # (B, C, 4, 4)
        h3 = b[1](h2, e)  # (B, 2C, 4, 4)
        h = b[4](torch.cat([b[3](b[2](h3, e), e), h3], dim=1), e)
        h = b[5](torch.cat([h, h2], dim=1), e)
        h = self.up(F.interpolate(h, scale_factor=2.0))  # (B, 2C, 8, 8)
        h = b[7](torch.cat([b[6](torch.cat([h, h1], dim=1), e), h0], dim=1), e)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2)


# %% [markdown]
# **Guidance** is a change of the velocity, as it was of the noise in lesson 19: go on from "any glyph"
# through "an R", by a factor $w$,
#
# $$u_w(x, t) = u_\theta(x, t, \varnothing) + w\,\big(u_\theta(x, t, y) - u_\theta(x, t, \varnothing)\big) .$$


# %%
def guided(net, y, w, classes=36):
    """A net as a function of x and one time, for the classes y (B,), with guidance w."""

    def u(x, t):
        t = t.expand(len(x))
        if w == 1:
            return net(x, t, y)
        nothing = torch.full_like(y, classes)
        with_class, without = net(torch.cat([x, x]), torch.cat([t, t]), torch.cat([y, nothing])).chunk(2)
        return without + w * (with_class - without)

    return u


def glyph_batch(x, y, generator, kind="flow"):
    """Arguments and target of one batch: the flow's u on the line,
    or lesson 19's v on the cosine schedule.
    """
    chosen = torch.randint(len(x), (S.batch,), generator=generator).to(device)
    hidden = (torch.rand(S.batch, generator=generator) < 0.1).to(device)
    eps = torch.randn(S.batch, *x.shape[1:], generator=generator).to(device)
    x_0, t, label = x[chosen], stratified(S.batch, generator), torch.where(hidden, 36, y[chosen])
    if kind == "flow":
        x_t, target = cfm_pair(x_0, eps, t)
    else:
        alpha, sigma = (a.reshape(-1, 1, 1, 1) for a in cosine(t))
        x_t, target = alpha * x_0 + sigma * eps, alpha * eps - sigma * x_0
    return (x_t, t, label), target


# %% tags=["demo"]
glyphs = data.glyphs(16)
x_train = 2 * torch.tensor(glyphs.train.x, device=device) - 1  # to [-1, 1]
y_train = torch.tensor(glyphs.train.y, device=device)
WORD = torch.tensor([data.CAPITALS_AND_DIGITS.index(c) for c in "FLOWMATCHING"], device=device)
z_word = torch.randn(12, 1, 16, 16, generator=torch.Generator().manual_seed(12)).to(device)
place, milestones = progress.Place(), [max(1, round(S.steps * f)) for f in (0.05, 0.15, 0.4, 1.0)]
shown = []


@torch.no_grad()
def watch(step, ema):
    """Four times in the training: the word so far."""
    if step in milestones and len(shown) < 12 * len(milestones):
        shown.extend((solve(guided(ema, WORD, 2), z_word, 10)[-1].cpu() + 1) / 2)
        ax = plot.images(torch.stack(shown), columns=12, title=f"Step {step} of {S.steps}")
        place.show(ax.figure)
        plt.close(ax.figure)


# %% tags=["demo"]
def fit_glyphs(kind, watch=None):
    """A U-Net for glyphs: the averaged net, and the seconds that it took."""
    torch.manual_seed(13)
    g, began = torch.Generator().manual_seed(14), time.perf_counter()
    net = UNet(channels=S.channels).to(device)
    ema = train(net, lambda: glyph_batch(x_train, y_train, g, kind), S.steps, S.rate, kind, S.ema, watch)
    return ema, time.perf_counter() - began


flow_net, flow_seconds = fit_glyphs("flow", watch)
size = sum(p.numel() for p in flow_net.parameters())
print(f"{size:,} parameters, {flow_seconds:.0f} s")

# %% [markdown]
# From top to bottom: the same noise, the same twelve letters, while the net learns. Then lesson 19's
# objective, for a fair comparison: the same network, the same start, the same batches, noise and steps.

# %% tags=["demo"]
ddpm_net, ddpm_seconds = fit_glyphs("diffusion")

# %% tags=["demo"]
wanted = (torch.arange(36, device=device)).repeat_interleave(2)
z_all = torch.randn(72, 1, 16, 16, generator=torch.Generator().manual_seed(15)).to(device)
with torch.no_grad():
    drawn = solve(guided(flow_net, wanted, 2), z_all, 10)[-1]
plot.images((drawn.cpu() + 1) / 2, columns=18, title="Flow matching, ten Euler steps, guidance 2")
plt.show()

# %% [markdown]
# ## 9 · Quality against steps, at equal training cost
#
# The course's measuring net looks at draws of known class. *Accuracy*: the share in which it sees the class
# that was asked for. *Diversity*: the variance within a class, as a share of that of real glyphs. *Fréchet
# distance*: between the measuring net's features of drawn and of real glyphs, each taken for a normal
# distribution; it feels both, and less is better. Accuracy or diversity without the other is worth nothing: a
# generator with one perfect R has accuracy 1 and diversity 0. An *evaluation* is one use of the guided
# velocity; Heun spends two in a step.


# %%
def draw_glyphs(method, net, y, w, evaluations, generator):
    """Glyphs of the classes y, from this many evaluations: (B, 1, 16, 16) in [0, 1]."""
    z, u = torch.randn(len(y), 1, 16, 16, generator=generator).to(device), guided(net, y, w)
    with torch.no_grad():
        if method == "DDIM":
            x = ddim(u, z, torch.linspace(1, 0, evaluations + 1, device=device))
        else:
            x = solve(u, z, evaluations // COST[method], method)[-1]
    return (x + 1).cpu() / 2


# %% tags=["demo"]
judge = features.glyphs(16)
asked = torch.arange(S.draws, device=device) % 36
evenly = np.concatenate([np.flatnonzero(glyphs.test.y == c)[: S.draws // 36] for c in range(36)])
real = glyphs.test.x[evenly], glyphs.test.y[evenly]
contest = {
    "flow, Euler": (euler, flow_net),
    "flow, Heun": (heun, flow_net),
    "diffusion, DDIM": ("DDIM", ddpm_net),
}
results = {}
for name, (method, net) in contest.items():
    for n in S.counts:
        if n % COST.get(method, 1) == 0:
            x = draw_glyphs(method, net, asked, 2, n, torch.Generator().manual_seed(16))
            results[name, n] = judge.compare(x, asked.cpu(), *real)

# %% tags=["demo"]
print("evaluations      " + "".join(f"{n:14}" for n in S.counts))
for name in contest:
    cells = [results.get((name, n)) for n in S.counts]
    text = [f"{c['class_accuracy']:8.2f} /{c['diversity']:4.2f}" if c else " " * 14 for c in cells]
    print(f"{name:17}" + "".join(text))
print(f"accuracy / diversity; the measuring net reads {judge.accuracy:.2f} of real glyphs")

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=3.0)
measures = {"class_accuracy": "Accuracy", "diversity": "Diversity", "frechet": "Fréchet distance"}
for ax, (metric, label) in zip(axes, measures.items(), strict=True):
    for name, colour in zip(contest, plot.COLOURS, strict=False):
        found = {n: results[name, n][metric] for n in S.counts if (name, n) in results}
        ax.plot(list(found), list(found.values()), "o-", color=colour, label=name)
    ax.set(xscale="log", xticks=S.counts, xticklabels=S.counts, xlabel="evaluations", title=label)
    ax.minorticks_off()
axes[2].set_yscale("log")
axes[0].legend(fontsize=9)
plt.show()

# %% [markdown]
# Both networks cost the same to train. With many evaluations they are alike, as section 7 says they should
# be. With few, the straight path is somewhat ahead in diversity and Fréchet distance: what differs is which
# times were trained most, and where the steps are. **Heun disappoints.** With two or four evaluations its
# glyphs are read far less often than Euler's, although its order is higher. Order is a promise about small
# steps; and Heun's last look is at $t = 0$, where a point says nothing about its noise: there
# $u(x, 0) = \mathbb E[\varepsilon] - x = -x$. Put this in, and a last step of size $h$ leaves $h/2$ of the
# noise in the picture, even with a perfect network: half of it after one step, a quarter after two. Much of
# Heun's high "diversity" is this noise. Note also what *one* step draws: high accuracy and almost no
# diversity. That is the failure of section 14, seen from the front: guidance makes the mean of a class
# legible, and it is still one picture.
#
# ## 10 · Reflow, down to one step
#
# On the 8 x 8 digits we can afford the whole chain: train, let the flow make pairs, train on them, draw in
# one step. The net is the MLP of section 2, with the class as a condition (ten zeros for "no class").


# %%
def digit_batch(x_0, x_1, c, generator, drop=0.1):
    """Arguments and target for digits x_0 (N, 64), classes c (N, 10);
    x_1: their noise, or None for fresh noise.
    """
    n = 128
    chosen = torch.randint(len(x_0), (n,), generator=generator).to(device)
    eps = torch.randn(n, 64, generator=generator).to(device) if x_1 is None else x_1[chosen]
    kept = (torch.rand(n, 1, generator=generator) >= drop).to(device)
    t = stratified(n, generator)
    x_t, u = cfm_pair(x_0[chosen], eps, t)
    return (x_t, t, c[chosen] * kept), u


def guided_digits(net, c, w):
    """A digit net as a function of x and one time, with guidance w."""

    def u(x, t):
        t = t.expand(len(x))
        without = net(x, t, torch.zeros_like(c))
        return without + w * (net(x, t, c) - without)

    return u


# %% tags=["demo"]
digits = data.digits()
digits_x = 2 * torch.tensor(digits.train.x, device=device).flatten(1) - 1
digits_c = F.one_hot(torch.tensor(digits.train.y, device=device), 10).float()
torch.manual_seed(17)
g = torch.Generator().manual_seed(18)
began = time.perf_counter()
first = train(
    MLP(64, 10, width=512).to(device),
    lambda: digit_batch(digits_x, None, digits_c, g),
    S.digit_steps, 1e-3, "digits: flow", 0.995,
)  # fmt: skip
c_store = F.one_hot(torch.arange(S.digit_pairs, device=device) % 10, 10).float()
noise = torch.randn(S.digit_pairs, 64, generator=g).to(device)
x_store, _ = reflow_pairs(guided_digits(first, c_store, 1.5), noise, 10, euler)
second = train(
    copy.deepcopy(first).requires_grad_(True),
    lambda: digit_batch(x_store, noise, c_store, g, drop=0.0),
    S.digit_steps, 1e-3, "digits: reflow", 0.995,
)  # fmt: skip
digit_seconds = time.perf_counter() - began

# %% [markdown]
# The guidance is in the pairs now: the second net needs one evaluation where the first needs two. Both get
# the same noise below.

# %% tags=["demo"]
digit_judge = features.digits()
digit_asked = torch.arange(len(digits.test.x), device=device) % 10
c_asked = F.one_hot(digit_asked, 10).float()
z_digits = torch.randn(len(c_asked), 64, generator=torch.Generator().manual_seed(19)).to(device)
digit_rows, digit_looks = {}, {}
chain = {"flow": guided_digits(first, c_asked, 1.5), "reflow": velocity(second, c_asked)}
for name, u in chain.items():
    for n in (1, 2, 10):
        with torch.no_grad():
            x = (solve(u, z_digits, n)[-1].reshape(-1, 1, 8, 8).cpu() + 1) / 2
        digit_rows[name, n] = x[:20]
        digit_looks[name, n] = digit_judge.compare(x, digit_asked.cpu(), digits.test.x, digits.test.y)
        looks = digit_looks[name, n]
        text = f"recognised {looks['class_accuracy']:.2f}, diversity {looks['diversity']:.2f}"
        print(f"{name:6} {n:2} steps: {text}, Fréchet distance {looks['frechet']:.1f}")

# %% tags=["demo"]
fig, axes = plot.figure(3, 1, height=1.15)
for ax, (name, n) in zip(axes, (("flow", 10), ("flow", 1), ("reflow", 1)), strict=True):
    plot.images(digit_rows[name, n], columns=20, ax=ax, title=f"{name}, {n} step{'s' * (n > 1)}")
plt.show()

# %% [markdown]
# In the middle row every seven is nearly the same seven. In the last row one step gives the digits of the
# first row, nearly: the noise *decides* which seven it is. What that costs: ten solver steps once for every
# stored pair, a second training, and a little quality, as the Fréchet distance says.
#
# ## 11 · How likely is it? Density by the ODE
#
# A flow has a density. Where paths spread, it gets thinner; where they draw together, denser. Along a path of
# $\mathrm dx/\mathrm dt = u(x, t)$ (Chen et al. 2018)
#
# $$\frac{\mathrm d}{\mathrm d t}\log p_t(x_t) = -\operatorname{div} u(x_t, t),\qquad
# \log p_0(x_0) = \log \mathcal N(x_1;\, 0, I) + \int_0^1 \operatorname{div} u(x_t, t)\,\mathrm d t .$$
#
# So walk *forward*, from data to noise, and add up the divergence $\sum_d \partial u_d / \partial x_d$ on the
# way. For two dimensions two derivatives give it exactly. (Exercise 6 does without the exact sum.)


# %%
def divergence(u, x, t):
    """div u at x (B, D) and the velocity itself: (B,), (B, D). One derivative for each dimension."""
    with torch.set_grad_enabled(True):
        x = x.detach().requires_grad_(True)
        v = u(x, t)
        rows = [torch.autograd.grad(v[:, d].sum(), x, retain_graph=True)[0][:, d] for d in range(x.shape[1])]
    return torch.stack(rows).sum(0), v.detach()


def log_likelihood(u, x_0, steps=50):
    """log p_0(x_0) in nats under the flow of u(x, t): (B, D) -> (B,). Midpoint steps from data to noise."""
    x, gained, h = x_0, torch.zeros_like(x_0[:, 0]), 1 / steps
    for t in torch.arange(steps, dtype=x_0.dtype, device=x_0.device) / steps:
        between = x + h / 2 * u(x, t).detach()
        div, v = divergence(u, between, t + h / 2)
        x, gained = x + h * v, gained + h * div
    log_noise = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)  # (B,)
    return log_noise + gained


# %% [markdown]
# Two cases with known answers. The Gaussian of section 1, through its closed-form velocity, tests the solver
# alone. The eight Gaussians, whose density is a sum of eight terms, test the trained flows.


# %%
def log_eight(x):
    """The exact log density of the eight Gaussians in nats: (B, 2) -> (B,)."""
    angle = torch.arange(8, dtype=x.dtype, device=x.device) * math.pi / 4
    means = 1.6 * torch.stack([angle.cos(), angle.sin()], dim=1)
    terms = torch.cdist(x, means).square() / (-2 * 0.16**2)
    return terms.logsumexp(1) - math.log(8 * 2 * math.pi * 0.16**2)


x_0 = M + SD * torch.randn(200, 3, generator=torch.Generator().manual_seed(20), dtype=torch.float64)
truth = torch.distributions.Normal(M, SD).log_prob(x_0).sum(1)
for steps in (10, 20, 40, 80):
    found = log_likelihood(straight_case, x_0, steps)
    print(f"Gaussian in 3-D, {steps} steps: largest error {(found - truth).abs().max():.5f} nats")

# %% tags=["demo"]
few = held_out[:500]
nats = {name: log_likelihood(velocity(net), few).mean().item() for name, net in flows.items()}
print(f"eight Gaussians, the truth: {log_eight(few).mean():.3f} nats a point")
for name, value in nats.items():
    print(f"  {name:12} {value:7.3f}, that is {log_eight(few).mean().item() - value:.3f} below")

# %% tags=["demo"]
axis = torch.linspace(-2.4, 2.4, 65, device=device)
grid = torch.cartesian_prod(axis, axis)  # (65 * 65, 2)
fig, axes = plot.figure(1, 3, height=2.9)
panels = {
    "The truth": log_eight(grid),
    "By the ODE: minibatch OT": log_likelihood(velocity(flows["minibatch OT"]), grid, 20),
    "By the ODE: reflow": log_likelihood(velocity(flows["reflow"]), grid, 20),
}
for ax, (title, log_p) in zip(axes, panels.items(), strict=True):
    p = log_p.exp().reshape(65, 65).T.cpu()
    plot.density(ax, axis.cpu(), axis.cpu(), p, top=0.8)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=11)
    ax.set_xlabel(f"sums to {p.sum() * 0.075**2:.3f} over the square")
plt.show()

# %% [markdown]
# The densities sum to about 1, as a density must. No flow reaches the truth, and none may, on average: the
# difference is the divergence KL(truth, model), which is not negative. Bridges between the clouds take a
# little mass, since a flow cannot tear the plane apart.

# %% [markdown]
# ## 12 · Trajectories: a future that is open
#
# A ball rolls in a landscape with two valleys, $V(q) = \tfrac14 q^4 - \tfrac12 q^2$, with friction
# $\gamma = 0.25$:
#
# $$\ddot q = q - q^3 - \gamma\, \dot q .$$
#
# We see its place and its velocity once, with noise of deviation 0.15, and ask for the next eight time units,
# at 32 moments. Near the ridge the smallest difference decides in which valley it ends. A least-squares
# forecast answers with the mean of both futures: a ball that comes to rest somewhere between the valleys,
# where no ball stays. We want *samples of the trajectory* given what was seen, so noise and data are now
# curves, vectors of 32 numbers. The truth is at hand: draw starts that fit the observation, and simulate.


# %%
GAMMA, BLUR, MOMENTS, SPAN = 0.25, 0.15, 32, 8.0


def roll(state, parts=4):
    """Simulate: state (B, 2) of place and velocity -> places at 32 moments after it, (B, 32). RK4."""

    def force(s, t):
        q, v = s[..., 0], s[..., 1]
        return torch.stack([v, q - q**3 - GAMMA * v], dim=-1)

    path = solve(force, state, MOMENTS * parts, rk4, times=(0.0, SPAN))
    return path[parts::parts, :, 0].T


def true_futures(seen, n, generator):
    """n trajectories for one noisy observation (2,):
    starts are uniform on [-1.5, 1.5]^2 before it is seen.
    """
    starts = torch.empty(0, 2)
    while len(starts) < n:  # the posterior is a normal cut off at the square
        tries = seen.cpu() + BLUR * torch.randn(4 * n, 2, generator=generator)
        starts = torch.cat([starts, tries[(tries.abs() < 1.5).all(dim=1)]])
    return roll(starts[:n].to(device))


def newton_error(q):
    """By how much a trajectory (B, 32) breaks the law of motion:
    root mean square of q'' - q + q^3 + gamma q'.
    """
    h = SPAN / MOMENTS
    middle, speed = q[:, 1:-1], (q[:, 2:] - q[:, :-2]) / (2 * h)
    acceleration = (q[:, 2:] - 2 * middle + q[:, :-2]) / h**2
    return (acceleration - middle + middle**3 + GAMMA * speed).square().mean().sqrt().item()


# %% tags=["demo"]
g = torch.Generator().manual_seed(21)
starts = (3 * torch.rand(S.pairs, 2, generator=g) - 1.5).to(device)
rolled = roll(starts)
observed = starts + BLUR * torch.randn(len(starts), 2, generator=g).to(device)


def path_batch(n=256):
    """Curves, their noisy observations as the condition, and the velocity: for `train`."""
    i = torch.randint(len(rolled), (n,), generator=g).to(device)
    t = stratified(n, g)
    x_t, u = cfm_pair(rolled[i], torch.randn(n, MOMENTS, generator=g).to(device), t)
    return (x_t, t, observed[i]), u


torch.manual_seed(22)
path_net = train(MLP(MOMENTS, 2, width=256).to(device), path_batch, S.path_steps, 2e-3, "trajectories", 0.995)


# %% tags=["demo"]
def forecast(seen, n, steps=20):
    """n trajectories for one observation (2,), by the flow: (n, 32)."""
    x_1 = torch.randn(n, MOMENTS, generator=torch.Generator().manual_seed(23)).to(device)
    with torch.no_grad():
        return solve(velocity(path_net, seen.expand(n, 2)), x_1, steps, midpoint)[-1]


cases = torch.tensor([[-1.2, 0.3], [-0.6, 0.6], [1.3, -0.6]], device=device)
moments = np.linspace(SPAN / MOMENTS, SPAN, MOMENTS)
fig, axes = plot.figure(2, 3, height=2.3)
for column, seen in zip(axes.T, cases, strict=True):
    futures = true_futures(seen, 300, torch.Generator().manual_seed(24)), forecast(seen, 300)
    for ax, q, colour in zip(column, futures, (plot.COLOURS.blue, plot.COLOURS.vermilion), strict=True):
        ax.plot(moments, q[:60].T.cpu(), color=colour, lw=0.7, alpha=0.5)
        ax.plot(moments, q.mean(0).cpu(), color=plot.INK, lw=2, ls="--")
        ax.set(ylim=(-1.9, 1.9), xticks=[0, 4, 8])
        ax.text(0.3, 1.5, f"right valley: {(q[:, -1] > 0).float().mean():.2f}", fontsize=10)
    column[0].set_title(f"seen: q = {seen[0]:.1f}, speed {seen[1]:.1f}", fontsize=11)
axes[0, 0].set_ylabel("simulated")
axes[1, 0].set_ylabel("flow")
plt.show()

# %% [markdown]
# Thin lines are possible futures, and the dashed line is their mean. In the middle column the future is open,
# and the mean follows neither branch. A figure says it for many observations.

# %% tags=["demo"]
g = torch.Generator().manual_seed(25)
tests = (3 * torch.rand(8 if genmap.setting() == "smoke" else 50, 2, generator=g) - 1.5).to(device)
tests = tests + BLUR * torch.randn(tests.shape, generator=g).to(device)
tests = tests[(tests.abs() < 1.5).all(dim=1)]
true_all, flow_all = [], []
for seen in tests:
    true_all.append(true_futures(seen, 200, g))
    flow_all.append(forecast(seen, 200, steps=10))
true_all, flow_all = torch.stack(true_all), torch.stack(flow_all)  # (observations, 200, 32)
p_true, p_flow = ((q[..., -1] > 0).float().mean(1).cpu() for q in (true_all, flow_all))
sure = torch.minimum(p_true, 1 - p_true) < 0.02

# %% tags=["demo"]
print(f"probability of the right valley: mean error {(p_true - p_flow).abs().mean():.3f}")
print(
    f"always betting 1/2: {(p_true - 0.5).abs().mean():.3f}; {(~sure).sum()} of {len(sure)} futures are open"
)
laws = {
    "simulated": true_all.flatten(0, 1),
    "flow": flow_all.flatten(0, 1),
    "their mean": true_all.mean(1)[~sure],
}
for name, q in laws.items():
    if len(q):
        print(f"{name:10} breaks the law of motion by {newton_error(q):.3f}")

# %% [markdown]
# Simulated curves break the law a little, too: that is the error of the differences by which we measure. The
# mean of an open future is smooth and breaks it all the same: no ball rolls like that. The flow's curves are
# of the right kind and not yet smooth. A second difference divides by $h^2 = 1/16$, so it makes much of the
# smallest jitter from one moment to the next. Two measures, two verdicts: the forecast knows where the ball
# will end, and how likely, and it would not pass for a simulation.
#
# ## 13 · Play: steps and guidance
#
# *Question: can guidance replace steps?* Every position draws four letters afresh, four times each.


# %% tags=["demo"]
def draw_sheet(ax, steps, w, title):
    """Four letters, four times each, from the same noise in every panel."""
    letters = torch.tensor([data.CAPITALS_AND_DIGITS.index(c) for c in "AGR8"], device=device).repeat(4)
    x = draw_glyphs(euler, flow_net, letters, w, steps, torch.Generator().manual_seed(26))
    seen = judge(x).labels == letters.cpu().numpy()
    plot.images(x, columns=4, ax=ax, title=title)
    ax.set_title(f"{title}: {seen.sum()} of 16 read", fontsize=10, fontweight="normal")


def play(steps, guidance):
    """One sheet for the two sliders."""
    draw_sheet(plot.figure(height=3.6)[1], steps, guidance, f"{steps} steps, guidance {guidance:g}")
    plt.show()


steps_slider = widgets.IntSlider(4, min=1, max=20, continuous_update=False)
guidance_slider = widgets.FloatSlider(2.0, min=0.0, max=8.0, step=0.5, continuous_update=False)
controls = interact(play, steps=steps_slider, guidance=guidance_slider)

# %% tags=["demo"]
fig, axes = plot.figure(3, 4, height=2.1)
for row, w in zip(axes, (1.0, 2.0, 6.0), strict=True):
    for ax, steps in zip(row, (1, 2, 4, 16), strict=True):
        draw_sheet(ax, steps, w, f"{steps} step{'s' * (steps > 1)}, w = {w:g}")
plt.show()

# %% [markdown]
# Guidance buys legibility, not variety: it makes the four columns readable sooner, and the four copies of a
# letter more alike. Far too much of it drives pixels out of range, and the strokes grow fat and hard. Steps
# buy variety.

# %% [markdown]
# ## 14 · What breaks
#
# **Crossing pairs, and the one step that averages.** At $t = 1$ the point *is* the noise, and an independent
# noise says nothing about $x_0$. So
#
# $$u(x, 1) = x - \mathbb E[x_0], \qquad \text{and one Euler step lands on}\quad x - u(x, 1) = \mathbb E[x_0]:$$
#
# the mean of all data, whatever the noise. No network and no amount of training changes that; it is a
# property of the coupling. With a class it is the mean of the class, with guidance something beyond it. The
# measure: how much one step's ends vary, as a share of the data's own variance; for the exact velocity it
# is 0. A trained network errs a little and lets some of the noise through, as the letters below show.

# %% tags=["demo"]
x_1 = torch.randn(S.points, 2, generator=torch.Generator().manual_seed(27)).to(device)
spread = {}
for name, net in flows.items():
    with torch.no_grad():
        one = solve(velocity(net), x_1, 1)[-1]
    spread[name] = one.var(dim=0).sum().item() / TOY.var(dim=0).sum().item()
    distance = energy_distance(one, held_out)
    print(
        f"plane, {name:12}: one step has {spread[name]:.3f} of the data's variance, distance {distance:.3f}"
    )
for name in ("flow", "reflow"):
    print(f"digits, {name:6}: one step has diversity {digit_looks[name, 1]['diversity']:.2f}")

# %% tags=["demo"]
letter = torch.full((6,), data.CAPITALS_AND_DIGITS.index("R"), device=device)
with torch.no_grad():
    z = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(28)).to(device)
    one = (solve(guided(flow_net, letter, 1), z, 1)[-1].cpu() + 1) / 2
mean_r = (x_train[y_train == letter[0]].mean(0, keepdim=True).cpu() + 1) / 2
captions = ["one step"] * 6 + ["mean of R"]
plot.images(
    torch.cat([one, mean_r]),
    columns=7,
    captions=captions,
    title="One step, six noises: the mean of R, six times",
)
plt.show()
gap = (one.mean(0) - mean_r[0]).square().mean().sqrt()
print(
    f"one step against the mean of the class: {gap:.3f} of the grey scale; the six among each other: ", end=""
)
print(f"{one.std(0).mean():.3f}; real Rs: {x_train[y_train == letter[0]].std(0).mean() / 2:.3f}")

# %% [markdown]
# The repairs are those of sections 5, 6 and 10: couple by optimal transport, so that the noise says much
# about its $x_0$ from the start; or let the flow couple, and train again. In the plane both lift the share
# above from nothing to nearly all; on the digits reflow lifts the diversity of one step to about that of ten
# steps of the first flow.
#
# **A coupling that leaks the class.** Minibatch OT with *labelled* data has a trap. Paired across the whole
# batch, the noise that goes to class 0 is the noise that lies near class 0. At sampling time you draw a class
# and, *independently*, a noise: pairs that training never showed. Here each of the eight clouds is a class.


# %% tags=["demo"]
def cloud(x):
    """The class (B,) of points (B, 2): which of the eight clouds is nearest."""
    return (torch.atan2(x[:, 1], x[:, 0]) * 4 / math.pi).round().long() % 8


def class_pairs(generator, within):
    """Pairs with classes one-hot: OT across the whole batch, or within each class."""
    x_0, eps = toy_pairs(generator, S.toy_batch)
    if not within:
        return x_0, eps[ot_order(x_0, eps)], F.one_hot(cloud(x_0), 8).float()
    for c in range(8):
        mine = (cloud(x_0) == c).nonzero()[:, 0]
        eps[mine] = eps[mine[ot_order(x_0[mine], eps[mine])]]
    return x_0, eps, F.one_hot(cloud(x_0), 8).float()


def class_batch(generator, within):
    """A batch of the conditional flow for `train`."""
    x_0, eps, c = class_pairs(generator, within)
    t = stratified(S.toy_batch, generator)
    x_t, u = cfm_pair(x_0, eps, t)
    return (x_t, t, c), u


# %% tags=["demo"]
# long: one figure, and the two flows that it compares
fig, axes = plot.figure(1, 2, height=3.8)
c_all = F.one_hot(torch.arange(S.points, device=device) % 8, 8).float()
for ax, within in zip(axes, (False, True), strict=True):
    torch.manual_seed(29)
    g = torch.Generator().manual_seed(30)
    name = "OT within each class" if within else "OT across classes"
    net = train(
        MLP(2, 8, waves=2).to(device), lambda g=g, w=within: class_batch(g, w), S.toy_steps, 3e-3, name
    )
    with torch.no_grad():
        ends = solve(velocity(net, c_all), x_1, 20)[-1]
    arrived = (cloud(ends) == torch.arange(S.points, device=device) % 8) & (
        (ends.norm(dim=1) - 1.6).abs() < 0.5
    )
    print(f"{name}: {arrived.float().mean():.3f} of the samples lie in the cloud that was asked for")
    third = c_all[:, 0] == 1
    ax.scatter(*ends[:1_500].cpu().T, s=4, color=plot.COLOURS.sky)
    ax.scatter(*ends[third].cpu().T, s=5, color=plot.COLOURS.vermilion, label="asked: the right-hand cloud")
    frame(ax, f"{name}, 20 steps")
    ax.legend(loc="lower center", fontsize=9, markerscale=3)
plt.show()

# %% [markdown]
# The repair in the last line: pair within the class only, so that the noise stays independent of it.
#
# ## 15 · How good is it?
#
# The board's rows, from draws of known class, ten evaluations each.


# %% tags=["demo"]
def seconds_each(job, n):
    """Seconds for one of n samples of a job, after a run to warm up."""
    job()
    began = time.perf_counter()
    job()
    return (time.perf_counter() - began) / n


def put(model, method, net, w, train_seconds):
    """Draw, judge, and write a row."""
    x = draw_glyphs(method, net, asked, w, 10, torch.Generator().manual_seed(31))
    looks = judge.compare(x, asked.cpu(), *real)
    few = asked[: S.batch]
    each = seconds_each(
        lambda: draw_glyphs(method, net, few, w, 10, torch.Generator().manual_seed(32)), len(few)
    )
    cost = {"parameters": size, "train_seconds": train_seconds, "sample_seconds": each}
    board.record("23_flow_matching", model, data="glyphs 16", **cost, **looks)
    print(f"{model:30} recognised {looks['class_accuracy']:.3f}, diversity {looks['diversity']:.2f}")


put("flow matching, guidance 2", euler, flow_net, 2, flow_seconds)
put("flow matching, guidance 1", euler, flow_net, 1, flow_seconds)
put("lesson 19's objective, DDIM", "DDIM", ddpm_net, 2, ddpm_seconds)

# %% tags=["demo"]
digit_size = sum(p.numel() for p in second.parameters())
u_one = velocity(second, c_asked)
with torch.no_grad():
    each = seconds_each(lambda: solve(u_one, z_digits, 1), len(z_digits))
cost = {"parameters": digit_size, "train_seconds": digit_seconds, "sample_seconds": each}
board.record("23_flow_matching", "reflow, one step", data="digits 8x8", **cost, **digit_looks["reflow", 1])
board.record(
    "23_flow_matching", "flow by minibatch OT", data="eight Gaussians",
    parameters=sum(p.numel() for p in flows["minibatch OT"].parameters()), nats=nats["minibatch OT"],
)  # fmt: skip
board.table("glyphs 16")

# %% [markdown]
# ## 16 · In production
#
# A batch costs its evaluations, one after the other, and a sample its share of them. With
# $t_{\text{batch}}(B)$, the time of one evaluation of the network for a batch of $B$, that is
#
# $$t_{\text{sample}} = n_{\text{steps}} \times n_{\text{evaluations a step}} \times n_{\text{guidance}} \times \frac{t_{\text{batch}}(B)}{B},
# \qquad n_{\text{guidance}} = 2 \text{ with guidance, else } 1 .$$
#
# Every factor is somebody's job: straighter paths lower the first, a better solver trades the first for the
# second, reflow on guided pairs removes the third, batches and bf16 lower the last.

# %% tags=["demo"]
B = 12 if genmap.setting() == "smoke" else 128
y_b, z_b = asked[:1].expand(B), torch.randn(B, 1, 16, 16).to(device)
with torch.no_grad():
    once = seconds_each(lambda: flow_net(z_b, torch.ones(B, device=device), y_b), B)
    for name, method, steps, w in (
        ("Euler, no guidance", euler, 10, 1), ("Euler, guided", euler, 10, 2), ("Heun, guided", heun, 5, 2),
        ("Euler, guided, 4 steps", euler, 4, 2),
    ):  # fmt: skip
        found = seconds_each(lambda m=method, n=steps, w=w: solve(guided(flow_net, y_b, w), z_b, n, m), B)
        predicted = steps * COST[method] * (1 if w == 1 else 2) * once
        print(f"{name:23} {1e3 * found:6.2f} ms a glyph, predicted {1e3 * predicted:6.2f} ms")

# %% [markdown]
# The equation holds, but for what a busy machine adds to a timing: hardly anything but the network's
# evaluations costs time. "Faster than diffusion" means fewer of them.

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple. What goes in stays as it
# is, and so does what a function that you are given returns.

# %% [markdown]
# ### 1 · Both ends of any path (easy, 15 minutes)
#
# Lesson 19 and this one are two cases of one path, $x_t = \alpha_t x_0 + \sigma_t \varepsilon$. A network
# that predicts its velocity $u = \dot\alpha_t x_0 + \dot\sigma_t \varepsilon$ (the dots are derivatives in
# $t$) predicts data and noise, too. Find both from the point and its velocity. It should work at the ends of
# the path, where $\alpha$ or $\sigma$ is 0. Where point and velocity do not determine both, in one example or
# in all, raise `ValueError`.


# %% exercise="path-ends"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    """x_0 and eps, each of the shape of x_t, from the point x_t (B, ...) and its velocity u (B, ...).

    alpha, sigma and their derivatives d_alpha, d_sigma: (B,), one for each example; the clock may be fast or
    slow. float64 is right to nine digits. Raises ValueError if point and velocity do not determine both ends
    of every example; if they barely do, they do.
    """
    ### BEGIN SOLUTION
    det = alpha * d_sigma - sigma * d_alpha
    if (det == 0).any():
        raise ValueError("the point and its velocity say the same thing")
    alpha, sigma, d_alpha, d_sigma = (
        (a / det).reshape(-1, *[1] * (x_t.ndim - 1)) for a in (alpha, sigma, d_alpha, d_sigma)
    )
    return d_sigma * x_t - sigma * u, alpha * u - d_alpha * x_t
    ### END SOLUTION


# %% test="path-ends" points=2
two = torch.tensor([[0.1, -2.0], [3.0, 0.7]], dtype=torch.float64)
noise_two = torch.tensor([[0.5, 0.0], [-1.0, 2.0]], dtype=torch.float64)
half, ones = torch.full((2,), 0.25, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
got = path_ends(0.75 * two + 0.25 * noise_two, noise_two - two, 1 - half, half, -ones, ones)
assert got[0].shape == got[1].shape == (2, 2), "x_0 and eps, each of the shape of x_t"
assert torch.allclose(got[0], two, rtol=1e-10, atol=1e-10), "on this lesson's path at t = 1/4: x_0"
assert torch.allclose(got[1], noise_two, rtol=1e-10, atol=1e-10), "and the noise, to nine digits and more"
got = path_ends(two, 2 * noise_two, ones, 0 * ones, 0 * ones, 2 * ones)
assert torch.allclose(got[1], noise_two), "where sigma is 0, the velocity alone shows the noise"
try:
    path_ends(two, two, ones, ones, ones, ones)
    raise AssertionError("x_0 + eps twice does not determine x_0: raise ValueError")
except ValueError:
    pass

# %% [markdown]
# ### 2 · The velocity of a mixture (medium, 35 minutes)
#
# Let the data be a mixture, $p(x_0) = \sum_k \pi_k\, \mathcal N(x_0;\, \mu_k, \operatorname{diag}(c_k))$.
# Then $x_t$ is a mixture, too, and the mean of $\varepsilon - x_0$ given $x_t = x$ has a closed form. Given
# the component, section 1 has the answer for each coordinate. Which component? Bayes' rule. Work in log
# space: there may be a thousand dimensions, and $x$ may lie far from everything. A variance may be 0 (a
# point: with one component for each training image this is the velocity that a network with no limits would
# learn), as long as $t > 0$.


# %% exercise="mixture-velocity"
def mixture_velocity(x, t, log_pi, mu, c):
    """E[eps - x_0 | x_t = x] in closed form: (B, D), on the path x_t = (1 - t) x_0 + t eps.

    x: (B, D) float64; t: a number in [0, 1]; log_pi: (K,), may hold -inf; mu: (K, D), the means;
    c: (K, D), the variances, 0 or more; at t = 0 all above 0. Stay in float64: log densities are in the
    millions in many dimensions, and the late digits of their differences decide.
    """
    ### BEGIN SOLUTION
    v = (1 - t) ** 2 * c + t**2  # (K, D)
    gap = x[:, None] - (1 - t) * mu  # (B, K, D)
    log_p = log_pi - 0.5 * (gap.square() / v + v.log()).sum(dim=2)
    u = (t - (1 - t) * c) / v * gap - mu  # (B, K, D)
    return (log_p.softmax(dim=1)[:, :, None] * u).sum(dim=1)
    ### END SOLUTION


# %% test="mixture-velocity" points=4
even = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
ends_at = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
points = torch.zeros(2, 1, dtype=torch.float64)
got = mixture_velocity(torch.tensor([[0.0], [5.0]], dtype=torch.float64), 0.5, even, ends_at, points)
assert got.shape == (2, 1), f"like x, (2, 1), not {tuple(got.shape)}"
assert torch.allclose(got[0], torch.zeros(1, dtype=torch.float64)), "half way between two points: they cancel"
assert torch.allclose(got[1], torch.tensor([8.0], dtype=torch.float64)), (
    "5 = (1 + 9) / 2 came, all but surely, from x_0 = 1 and eps = 9"
)
got = mixture_velocity(torch.tensor([[0.7]], dtype=torch.float64), 1.0, even, ends_at, points)
assert torch.allclose(got, torch.tensor([[0.7]], dtype=torch.float64), rtol=1e-12, atol=1e-12), (
    "at t = 1: x less the mean of the data, to the digits of float64"
)
wide = torch.full((1, 2_000), 40.0, dtype=torch.float64)
assert (
    mixture_velocity(wide, 0.5, even, ends_at.expand(2, 2_000), points.expand(2, 2_000)).isfinite().all()
), "2,000 dimensions: the densities underflow, their logarithms do not"

# %% [markdown]
# ### 3 · Every Runge–Kutta method at once (medium, 20 minutes)
#
# The four solvers of section 3 are one algorithm with different tables (Butcher, 1964). Stage $i$ looks at
#
# $$k_i = u\Big(x + h \sum_{j < i} A_{ij}\, k_j,\; t + c_i h\Big), \qquad x_{\text{new}} = x + h \sum_i b_i k_i .$$
#
# Each stage asks $u$ once. A table with anything but 0 on or above the diagonal of $A$ would need $k_i$
# before it is known: such a method is implicit. Raise `ValueError` for it.


# %% exercise="butcher"
def rk_step(u, x, t, h, A, b, c):
    """One step of the explicit Runge-Kutta method with this table, from time t to t + h: a tensor like x.

    u: a function of (x, t); A: a list of s lists of s numbers; b, c: lists of s numbers; h may be negative.
    Raises ValueError if the table is not explicit.
    """
    ### BEGIN SOLUTION
    s = len(b)
    if any(A[i][j] != 0 for i in range(s) for j in range(i, s)):
        raise ValueError("the table is not explicit")
    k = []
    for i in range(s):
        k.append(u(x + h * sum(A[i][j] * k[j] for j in range(i)), t + c[i] * h))
    return x + h * sum(weight * slope for weight, slope in zip(b, k, strict=True))
    ### END SOLUTION


# %% test="butcher" points=2
x_three = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)


def sway(x, t):
    return torch.sin(3 * x) * t - x


tables = {
    euler: ([[0]], [1], [0]),
    midpoint: ([[0, 0], [0.5, 0]], [0, 1], [0, 0.5]),
    heun: ([[0, 0], [1, 0]], [0.5, 0.5], [0, 1]),
}
for method, table_of in tables.items():
    got = rk_step(sway, x_three, 0.8, -0.2, *table_of)
    assert got.shape == (3,), f"a tensor like x, (3,), not {tuple(got.shape)}"
    assert torch.allclose(got, method(sway, x_three, 0.8, -0.2)), f"this table is {method.__name__}"
try:
    rk_step(sway, x_three, 0.8, -0.2, [[0.5]], [1], [0.5])
    raise AssertionError("the implicit midpoint rule is not explicit: raise ValueError")
except ValueError:
    pass

# %% [markdown]
# ### 4 · A softer pairing (medium, 30 minutes)
#
# The assignment of section 5 needs as many noises as data, all of equal weight, and $O(B^3)$ time. *Entropic*
# optimal transport (Cuturi, 2013) drops all three. It looks for a table $P$ of joint weights whose rows sum
# to $a$ and whose columns sum to $b$, with the lowest
# $\sum_{ij} P_{ij} C_{ij} + \rho \sum_{ij} P_{ij} \log P_{ij}$. The answer has the form
# $P_{ij} = e^{(f_i + g_j - C_{ij})/\rho}$. *Sinkhorn's* algorithm starts from $g = 0$ and alternates: choose
# $f$ so that the rows are right, then $g$ so that the columns are, and again. For a small $\rho$ the numbers
# $e^{-C/\rho}$ are all 0 in floating point: keep $f$ and $g$ and stay in log space. A weight may be 0: then
# so is its row or column, and nothing is NaN.


# %% exercise="entropic-plan"
def entropic_plan(C, a, b, rho, rounds):
    """The plan P (n, m) that transports a (n,) to b (m,) at cost C (n, m), with entropy of weight rho > 0.

    float64; a and b are not negative and have the same sum. rounds: how often rows and columns are set right,
    at least once.
    """
    ### BEGIN SOLUTION
    log_a, log_b, K = a.log(), b.log(), -C / rho
    g = torch.zeros_like(b)
    for _ in range(rounds):
        f = log_a - (K + g).logsumexp(dim=1)
        g = log_b - (K + f[:, None]).logsumexp(dim=0)
    return (K + f[:, None] + g).exp()
    ### END SOLUTION


# %% test="entropic-plan" points=3
C_two = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
fair = torch.tensor([0.5, 0.5], dtype=torch.float64)
got = entropic_plan(C_two, fair, fair, 1.0, 50)
assert math.isclose(got[0, 0], 0.5 / (1 + math.exp(-1)), rel_tol=1e-10), (
    "P_00 / P_01 = e in this symmetric case, to the digits of float64"
)
got = entropic_plan(1_000 * C_two, fair, fair, 0.1, 50)
assert torch.allclose(got, torch.diag(fair)), (
    "a small rho gives the best assignment, in log space without NaN"
)
got = entropic_plan(C_two[:, [0, 1, 1]], fair, torch.tensor([0.2, 0.8, 0.0], dtype=torch.float64), 0.5, 200)
assert torch.allclose(got.sum(1), fair) and (got[:, 2] == 0).all(), "a weight of 0 gives a column of 0"

# %% [markdown]
# ### 5 · Wasted action (medium, 20 minutes)
#
# A walker's *action* is $\int \lVert \dot x \rVert^2\, \mathrm dt$. Between two places in a time $T$ it is
# least on a straight line at a constant speed: $\lVert x_{\text{end}} - x_{\text{start}}\rVert^2 / T$
# (Benamou and Brenier made optimal transport of this, in 2000). Given places at some times, *not* evenly
# spaced, join them by straight pieces, and compute for each path the share of its action that the straight
# walk would save: 0 for the straight walk, 1 for one that returns to its start.


# %% exercise="straightness"
def wasted_action(places, times):
    """The share of each path's action that a straight walk at constant speed would save: (B,), in [0, 1].

    places: (K + 1, B, D), float64; times: (K + 1,), all rising or all falling, float64, for they may lie
    close together. A path that never moves wastes 0.
    """
    ### BEGIN SOLUTION
    dt = times.diff().abs()  # (K,)
    action = (places.diff(dim=0).square().sum(dim=2) / dt[:, None]).sum(dim=0)
    least = (places[-1] - places[0]).square().sum(dim=1) / dt.sum()
    return torch.where(action > 0, 1 - least / action, 0.0)
    ### END SOLUTION


# %% test="straightness" points=2
uneven = torch.tensor([1.0, 0.5, 0.4, 0.0], dtype=torch.float64)
walk_line = uneven[:, None, None] * torch.tensor([3.0, -4.0], dtype=torch.float64)
got = wasted_action(walk_line, uneven)
assert torch.allclose(got, torch.zeros(1, dtype=torch.float64)), (
    "straight, at a constant speed: nothing is wasted"
)
corner = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 1.0]]], dtype=torch.float64)
got = wasted_action(corner, torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64))
assert got.shape == (1,), f"one number for each path, (B,), not {tuple(got.shape)}"
assert torch.allclose(got, torch.tensor([5 / 9], dtype=torch.float64), rtol=1e-12, atol=1e-12), (
    "an action of 3/2 round the corner, 2/3 straight; to the digits of float64"
)
got = wasted_action(
    torch.zeros(3, 1, 2, dtype=torch.float64), torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
)
assert (got == 0).all(), "who stays wastes nothing, and 0 / 0 is NaN"

# %% [markdown]
# ### 6 · A likelihood for many dimensions (hard, 45 minutes)
#
# The exact divergence of section 11 takes one derivative for each dimension, 256 for a glyph. Hutchinson's
# estimator takes one in all: for a random *probe* $v$ with $\mathbb E[v v^\top] = I$,
#
# $$\operatorname{div} u = \operatorname{tr} J = \mathbb E\big[v^\top J\, v\big], \qquad v^\top J = \nabla_x\, (v \cdot u(x, t)),$$
#
# where $J$ is the Jacobian of $u$ (Grathwohl et al., 2018, call the result FFJORD). Compute $\log p_0(x_0)$
# with it, by a method of order two or more. Keep each probe for the whole path: then one solve integrates one
# smooth function. The probes are given, so your answer is not random. It should also work when the caller has
# switched gradients off.


# %% exercise="hutchinson"
def log_p_hutchinson(u, x_0, v, steps):
    """Estimates of log p_0(x_0) in nats under the flow of u(x, t), one for each probe:
    (M, B), float64, without gradient.

    u: a function of x (B, D) and t, a number or a 0-d tensor; x_0: (B, D) float64, data, at t = 0; the noise
    at t = 1 is N(0, I); v: (M, B, D), M probes for each point; steps: equal steps from 0 to 1.
    """
    ### BEGIN SOLUTION
    h, x, total = 1 / steps, x_0, torch.zeros_like(v[..., 0])
    for n in range(steps):
        with torch.no_grad():
            half = x + h / 2 * u(x, torch.tensor(n * h, dtype=x.dtype))
        with torch.enable_grad():
            half = half.detach().requires_grad_(True)
            k = u(half, torch.tensor((n + 0.5) * h, dtype=x.dtype))
            for m in range(len(v)):
                row = torch.autograd.grad((k * v[m]).sum(), half, retain_graph=True)[0]  # (B, D)
                total[m] += h * (row * v[m]).sum(dim=1)
        x = x + h * k.detach()
    return total - 0.5 * (x.square() + math.log(2 * math.pi)).sum(dim=1)
    ### END SOLUTION


# %% test="hutchinson" points=4
x_two = torch.tensor([[1.9, 1.0, 1.5], [0.0, 2.0, 1.0]], dtype=torch.float64)
signs = torch.tensor([[[1.0, 1.0, -1.0]] * 2, [[-1.0, 1.0, 1.0]] * 2], dtype=torch.float64)
truth_two = torch.distributions.Normal(M, SD).log_prob(x_two).sum(1)
with torch.no_grad():
    got = log_p_hutchinson(lambda x, t: gaussian_velocity(x, t, M, SD), x_two, signs, 200)
assert got.shape == (2, 2), "one estimate for each probe and point: (M, B)"
assert torch.allclose(got, truth_two.expand(2, 2), atol=1e-3), (
    "this velocity's Jacobian is a multiple of I, so that probes of 1 and -1 are exact"
)
turn = torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)  # u = (2 x_2, 0): its divergence is 0
x_one, probe = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[[1.0, 1.0]]], dtype=torch.float64)
got = log_p_hutchinson(lambda x, t: x @ turn.T, x_one, probe, 4)
assert not got.requires_grad, "without gradient: detach it"
assert math.isclose(got, 2 - math.log(2 * math.pi), rel_tol=1e-9), (
    "this probe sees v J v = 2, although the trace is 0; to nine digits, in float64"
)

# %% [markdown]
# ### 7 · Repair a reflow (hard, 30 minutes)
#
# Guidance does good in the middle of the path, harm near the noise, and next to nothing near the data; so it
# is often applied for times in an interval only (Kynkäänniemi et al., 2024). Somebody wrote a function that
# makes pairs for a reflow in this way. A second flow, trained on those pairs, draws nothing but noise. The
# network is fine; the interval, too, is what was wanted, and so is the times' dtype, that of the noise. Find
# the **four** faults, and write the function that works.


# %%
def broken_pairs(net, x_1, y, w, span, steps, classes):
    """Pairs (x_0, x_1) by Euler's method, with guidance w for times in span; with four faults."""
    x, h = x_1, 1 / steps
    for k in range(steps):
        t = torch.full((len(x),), k / steps, dtype=x.dtype)
        with_class, without = net(x, t, y), net(x, t, torch.full_like(y, classes))
        factor = w if span[0] <= k / steps <= span[1] else 1.0
        x = x + h * (with_class + factor * (without - with_class))
    return x, torch.randn_like(x_1)


# %% exercise="repair"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    """The pairs (x_0, x_1), two tensors like x_1, for a reflow: x_0 is where the guided flow carries x_1.

    net(x, t, y): the velocity on this lesson's clock, t (B,); x_1: (B, ...), noise;
    y: (B,), where `classes` means no class. Euler's method in equal steps from t = 1 to 0.
    In a step that starts at a time t with span[0] <= t <= span[1] the guidance is w, in others 1.
    """
    ### BEGIN SOLUTION
    x_t, nothing = x_1, torch.full_like(y, classes)
    for k in range(steps):
        now = 1 - k / steps
        t = torch.full((len(y),), now, dtype=x_1.dtype, device=x_1.device)
        u_class, u_any = net(x_t, t, y), net(x_t, t, nothing)
        inside = span[0] <= now <= span[1]
        x_t = x_t - (u_any + (w if inside else 1) * (u_class - u_any)) / steps
    return x_t, x_1
    ### END SOLUTION


# %% test="repair" points=3
def toy_net(x, t, y):
    """Class 0 lies at -1, class 1 at 1, no class (2) at 0: points without width, seen from x at time t."""
    target = torch.tensor([-1.0, 1.0, 0.0], dtype=x.dtype)[y]
    return (x - target[:, None]) / t[:, None]


noise_pair = torch.tensor([[0.3], [2.0]], dtype=torch.float64)
label_pair = torch.tensor([0, 1])
got = guided_pairs(toy_net, noise_pair, label_pair, 1.0, (0.0, 1.0), 4, 2)
assert torch.equal(got[1], noise_pair), "the partner of x_0 is the noise that led to it"
assert torch.allclose(got[0][:, 0], torch.tensor([-1.0, 1.0], dtype=torch.float64)), (
    "walk from t = 1 to 0: the paths to one point are straight, and Euler is exact"
)
got = guided_pairs(toy_net, noise_pair, label_pair, 3.0, (0.0, 1.0), 4, 2)[0]
assert torch.allclose(got[:, 0], torch.tensor([-3.0, 3.0], dtype=torch.float64)), (
    "guidance 3 goes from no class, at 0, three times as far as the class"
)

# %% [markdown]
# ## Further reading
#
# - J.-D. Benamou, Y. Brenier. *A computational fluid mechanics solution to the Monge–Kantorovich mass
#   transfer problem.* Numerische Mathematik 84, 2000.
# - M. Cuturi. *Sinkhorn distances: lightspeed computation of optimal transport.* 2013, arXiv:1306.0895.
# - R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud. *Neural ordinary differential equations.* 2018,
#   arXiv:1806.07366.
# - W. Grathwohl, R. T. Q. Chen, J. Bettencourt, I. Sutskever, D. Duvenaud. *FFJORD: free-form continuous
#   dynamics for scalable reversible generative models.* 2018, arXiv:1810.01367.
# - J. Song, C. Meng, S. Ermon. *Denoising diffusion implicit models.* 2020, arXiv:2010.02502.
# - A. Nichol, P. Dhariwal. *Improved denoising diffusion probabilistic models.* 2021, arXiv:2102.09672. The
#   cosine schedule.
# - X. Liu, C. Gong, Q. Liu. *Flow straight and fast: learning to generate and transfer data with rectified
#   flow.* 2022, arXiv:2209.03003.
# - M. S. Albergo, E. Vanden-Eijnden. *Building normalizing flows with stochastic interpolants.* 2022,
#   arXiv:2209.15571.
# - Y. Lipman, R. T. Q. Chen, H. Ben-Hamu, M. Nickel, M. Le. *Flow matching for generative modeling.* 2022,
#   arXiv:2210.02747.
# - A. Tong and others. *Improving and generalizing flow-based generative models with minibatch optimal
#   transport.* 2023, arXiv:2302.00482.
# - A.-A. Pooladian and others. *Multisample flow matching: straightening flows with minibatch couplings.*
#   2023, arXiv:2304.14772.
# - X. Liu and others. *InstaFlow: one step is enough for high-quality diffusion-based text-to-image
#   generation.* 2023, arXiv:2309.06380.
# - P. Esser and others. *Scaling rectified flow transformers for high-resolution image synthesis.* 2024,
#   arXiv:2403.03206. Stable Diffusion 3.
# - T. Kynkäänniemi and others. *Applying guidance in a limited interval improves sample and distribution
#   quality in diffusion models.* 2024, arXiv:2404.07724.

# %% tags=["demo"]
selfcheck.run("23_flow_matching")
