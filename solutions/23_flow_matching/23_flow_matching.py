# %% [markdown]
# # 23 · Flow matching and rectified flow
#
# > **Draw straight lines from data to noise. Teach a network their average direction at every place. Follow
# > it home.**
#
# | | |
# |---|---|
# | You will build | flow matching on cases with a closed form, in the plane and on glyphs; four solvers, with their order measured; minibatch optimal transport; reflow, down to one step; likelihoods and scores from a velocity; a forecaster of trajectories; at the end a bridge between two data sets |
# | You need to know | lesson 19 (the forward process, DDIM, the U-Net, guidance by a class that is sometimes hidden); derivatives; what a differential equation says |
# | Time on two CPU cores | about four minutes to run, an hour for the text and two more with every derivation and cell, two to solve |
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
from matplotlib.collections import LineCollection
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, diagram, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
torch.set_num_threads(1)  # on a CPU: these networks are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    toy_steps=(10, 800, 5_000),
    toy_batch=(64, 256, 1_024),
    points=(200, 2_000, 10_000),
    pairs=(300, 10_000, 100_000),
    many=(1_000, 40_000, 200_000),
    channels=(8, 24, 96),
    steps=(2, 800, 10_000),
    batch=(8, 48, 128),
    rate=(3e-3, 3e-3, 1e-3),
    ema=(0.99, 0.99, 0.999),
    digit_width=(32, 256, 512),
    digit_steps=(2, 600, 5_000),
    digit_pairs=(50, 10_000, 50_000),
    path_steps=(10, 1_400, 5_000),
    draws=(72, 288, 1_440),
    counts=((1, 2), (1, 2, 4, 8), (1, 2, 4, 8, 16)),
)
torch.manual_seed(23)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("flow-matching")
diagram.machine(
    "x_0 | (B, 1, 16, 16) -> [line | (1 − t) x_0 + t ε] -> x_t | (B, 1, 16, 16) -> [U-Net | u_θ]"
    " -> u | (B, 1, 16, 16) -> [walk | x + h u] -> x_0 | drawn",
    "ε | noise -> line",
    "t, y | time, class -> U-Net",
    title="Training holds u to ε − x_0. Sampling begins at x = ε, and walks from t = 1 to 0",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# A normalising flow (lesson 08) has an exact density and pays with layers that can be inverted. A
# *continuous* flow moves a point by a differential equation instead, and any network may say where to. But to
# train it by likelihood, one must solve that equation in every step. Flow matching gives up maximum
# likelihood. It regresses on velocities that are known in closed form, and solves the equation only to
# sample.
#
# | question | answer |
# |---|---|
# | What is modelled? | the velocity of a point on its way between noise and data: of pixels, latents, trajectories |
# | Is the density explicit? | not in training; afterwards exact, by solving an ODE (section 7) |
# | Is sampling one-shot or iterative? | iterative, but the straighter the paths, the fewer the steps; after reflow one can be enough |
# | What conditions it? | an input of the network: class, text, an observation; guidance amplifies it |
# | How is it evaluated, and how does that fail? | as diffusion, quality *at a number of steps*: a figure for 100 steps says nothing about 4 |
#
# Neural ODEs (Chen et al., 2018) made a flow of a differential equation. In September and October 2022 three
# groups dropped the solver from its training, within weeks of each other: rectified flow (Liu, Gong, Liu),
# stochastic interpolants (Albergo, Vanden-Eijnden) and flow matching (Lipman et al.). Stable Diffusion 3 and
# Flux.1 (2024) are built on it.
#
# | symbol | is |
# |---|---|
# | $x_0$, $\varepsilon$ (or $x_1$), $x_t$ | data; noise; the point of their line at time $t$ |
# | $t$, $h$ | time, **0 at data and 1 at noise**, as in lesson 19; a solver's step: the solvers of section 3 take it negative on the way to data; elsewhere $h > 0$ is its length |
# | $u(x, t)$, $u_\theta$ | the marginal velocity; the network's |
# | $p_t$ | the density of $x_t$ |
# | $m$, $\delta$, $v_t$ | mean and deviation of Gaussian data; the variance of $x_t$ |
# | $\kappa$ | how bent a flow is, 0 for straight (section 4) |
# | $\alpha_t$, $\sigma_t$, $v$, $\tau$ | lesson 19's weights, what its network says, and its time on this lesson's clock (section 9) |
# | $\eta$, $w$ | how much fresh noise a sampler draws (section 8); how strongly a class guides |
#
# A warning: all three papers let time run the other way, from noise at 0 to data at 1. Their velocity at
# $1 - t$ is ours at $t$ with the sign changed.
#
# ## 1 · Why it can work at all: an average is enough
#
# Take a data point $x_0$ and a noise $\varepsilon \sim \mathcal N(0, I)$, and walk from one to the other in a
# straight line, at a constant speed:
#
# $$x_t = (1 - t)\, x_0 + t\, \varepsilon, \qquad \frac{\mathrm d x_t}{\mathrm d t} = \varepsilon - x_0 .$$
#
# This is the path of one *pair*. Whoever stands at $x$ at time $t$ does not know which pair came by: many do,
# in many directions. The **marginal velocity** is their average:
#
# $$u(x, t) = \mathbb E\big[\,\varepsilon - x_0 \,\big|\, x_t = x\,\big].$$
#
# **Theorem.** A crowd that follows $u$ has at every time the density $p_t$ of the crowd of pairs. So whoever
# starts as noise at $t = 1$ and follows $u$ to $t = 0$ arrives as data.
#
# The reason is bookkeeping. How many points a small box gains depends on how many cross its walls, and that
# depends on the *mean* velocity at the wall, not on who walks how.
#
# <details><summary>Derivation, in four steps</summary>
#
# 1. *Continuity equation.* Let $f$ be any smooth function that is 0 far away. If points of density $p_t$ move
#    with velocity $u$, then
#    $\frac{\mathrm d}{\mathrm dt}\mathbb E f(x_t) = \mathbb E[\nabla f(x_t)\cdot u(x_t, t)]$, by the chain
#    rule. Write both sides as integrals, and integrate the right one by parts:
#    $\int f\,\partial_t p_t = \int \nabla f\cdot u\,p_t = -\int f \operatorname{div}(u\,p_t)$. This holds for
#    every $f$, so $\partial_t p_t = -\operatorname{div}(p_t\,u)$. It says: the density falls where more flows
#    out than in.
# 2. *The crowd of pairs.* Its points have no velocity field, but the first half of step 1 needs none:
#    $\frac{\mathrm d}{\mathrm dt}\mathbb E f(x_t) = \mathbb E[\nabla f(x_t)\cdot(\varepsilon - x_0)]$.
# 3. *Average in two rounds*: first over the pairs that pass $x$, then over $x$. In the first round
#    $\nabla f(x_t)$ is a fixed vector, so only the mean of the other factor counts:
#    $\mathbb E[\nabla f(x_t)\cdot(\varepsilon - x_0)] = \mathbb E\big[\nabla f(x_t)\cdot \mathbb E[\varepsilon - x_0 \mid x_t]\big] = \mathbb E[\nabla f(x_t)\cdot u(x_t, t)]$.
# 4. So the pairs' density obeys step 1's equation *with the marginal velocity*. So does the density of the
#    crowd that follows $u$. Both start alike at $t = 1$, and (for a $u$ that is smooth enough) the equation
#    has one solution.
#
# Nothing was used about straight lines, noise, or independence. Any pairs and any smooth paths will do.
# Lipman et al. take $x_t = \alpha_t x_0 + \sigma_t\varepsilon$ with any smooth $\alpha_t$, $\sigma_t$, where
# one pair's velocity is $\dot\alpha_t x_0 + \dot\sigma_t\varepsilon$, or, seen from $x$,
# $u(x \mid x_0) = \dot\alpha_t x_0 + \frac{\dot\sigma_t}{\sigma_t}(x - \alpha_t x_0)$. Their "OT path" is our
# straight line, but for a small $\sigma_{\min}$ that they leave at the data; lesson 19's schedule is another
# choice.
# </details>


# %% build="pair"
def cfm_pair(x_0, eps, t):
    """A point of the straight path and its velocity: x_t = (1 - t) x_0 + t eps, and eps - x_0.

    x_0, eps: (B, ...); t: (B,), 0 at data and 1 at noise.
    Source: Liu et al. 2022, equation 1 (time reversed).
    """
    ### BEGIN SOLUTION
    t = t.reshape(-1, *[1] * (x_0.ndim - 1))  # (B,) -> (B, 1, ...)
    return (1 - t) * x_0 + t * eps, eps - x_0
    ### END SOLUTION


# %% check="pair"
x_0, eps = torch.ones(3, 1, 2, 2), torch.full((3, 1, 2, 2), 3.0)
x_t, u_pair = cfm_pair(x_0, eps, torch.tensor([0.0, 0.25, 1.0]))
assert x_t.shape == u_pair.shape == x_0.shape, "a time for each example, whatever the shape behind it"
assert x_t[:, 0, 0, 0].tolist() == [1.0, 1.5, 3.0], "data at 0, noise at 1, and a line between them"
assert (u_pair == 2).all(), "the same velocity all along, towards the noise"

# %% [markdown]
# First cases where $u$ is known. If $x_0 \sim \mathcal N(m, \delta^2 I)$, then $x_t$ is normal with mean
# $(1-t)\,m$ and variance $v_t = (1-t)^2 \delta^2 + t^2$, and
#
# $$u(x, t) = -m + \frac{t - (1-t)\,\delta^2}{v_t}\,\big(x - (1-t)\,m\big), \qquad x(t) = (1-t)\,m + \sqrt{v_t}\; x(1).$$
#
# The second formula is the path of a point that follows $u$: it keeps its place in the crowd, always as many
# standard deviations from the mean.
#
# <details><summary>Derivation</summary>
#
# $\varepsilon - x_0$ and $x_t$ are jointly normal, and then the mean of one given the other is a line whose
# slope is covariance over variance.
# $\mathrm{Cov}(\varepsilon - x_0,\ (1-t)x_0 + t\varepsilon) = t - (1-t)\delta^2$, the variance is $v_t$, and
# the line passes through the two means, $-m$ and $(1-t)m$. For the path: the slope is
# $\frac{\dot v_t}{2 v_t}$, for $\dot v_t = 2t - 2(1-t)\delta^2$; so the distance $d = x - (1-t)m$ obeys
# $\dot d = \frac{\dot v_t}{2v_t}\,d$, which $d = \sqrt{v_t}\,d(1)$ solves.
# </details>
#
# **Question.** Let the data be single numbers of *two* modes, at $-1$ and $1$. A point that follows $u$
# starts at noise 0.1. Many of the pairs that start there go to the left mode. Where will the point go?


# %%
M, SD = 1.5, 0.4  # mean and deviation of the one Gaussian that this lesson returns to


def gaussian_velocity(x, t, m, delta):
    """E[eps - x_0 | x_t = x] for data x_0 ~ N(m, delta^2 I): any shape of x, t a number or one that fits."""
    v = (1 - t) ** 2 * delta**2 + t**2
    return -m + (t - (1 - t) * delta**2) / v * (x - (1 - t) * m)


def gaussian_path(x_1, t, m, delta):
    """Where the flow of `gaussian_velocity` has a point at time t that starts at x_1 at time 1."""
    return (1 - t) * m + ((1 - t) ** 2 * delta**2 + t**2) ** 0.5 * x_1


def straight_case(x, t):
    """The velocity of data N(M, SD^2 I)."""
    return gaussian_velocity(x, t, M, SD)


def two_modes_velocity(x, t, m=1.0, delta=0.25):
    """The same for data of two modes, at m and -m: the mean of two lines, weighted by responsibility."""
    v = (1 - t) ** 2 * delta**2 + t**2
    side = torch.tanh((1 - t) * m * x / v)  # E[mode | x_t = x], from -1 to 1 (lesson 02)
    return -m * side + (t - (1 - t) * delta**2) / v * (x - (1 - t) * m * side)


# %% folded="Figure: the crowd of pairs, and the crowd that follows the average" tags=["demo"]
# long: two crowds, and their histograms half-way and at the end
g = torch.Generator().manual_seed(1)
side = 2.0 * torch.randint(2, (S.many,), generator=g) - 1
x_0, eps = side + 0.25 * torch.randn(S.many, generator=g), torch.randn(S.many, generator=g)
clock, crowd = torch.linspace(1, 0, 401), [torch.randn(S.many, generator=g)]
for t, later in pairwise(clock):
    between = crowd[-1] + (later - t) / 2 * two_modes_velocity(crowd[-1], t)
    crowd.append(crowd[-1] + (later - t) * two_modes_velocity(between, (t + later) / 2))
crowd = torch.stack(crowd)  # (401, N)
fig, axes = plot.figure(1, 4, height=2.6)
for i in range(60):
    axes[0].plot([1, 0], [eps[i], x_0[i]], color=plot.COLOURS.purple, lw=0.7, alpha=0.6)
    axes[1].plot(clock, crowd[:, i], color=plot.COLOURS.sky, lw=0.8)
for ax, title in zip(axes, ("Pairs", "The flow of $u$"), strict=False):
    ax.set(title=title, xlabel="$t$: noise on the left", ylim=(-3, 3), xlim=(1, 0))
gap = {}
for ax, t in zip(axes[2:], (0.3, 0.0), strict=True):
    pairs_t, flow_t = (1 - t) * x_0 + t * eps, crowd[round(400 * (1 - t))]
    for x, name, kind in ((pairs_t, "pairs", "stepfilled"), (flow_t, "flow", "step")):
        colour = plot.COLOURS.sky if name == "pairs" else plot.COLOURS.vermilion
        ax.hist(x, bins=61, range=(-2.5, 2.5), density=True, histtype=kind, color=colour, lw=1.5, label=name)
    gap[t] = (pairs_t.sort().values - flow_t.sort().values).abs().mean().item()
    ax.set(title=f"Both, $t = {t:g}$", yticks=[], xlabel="$x$")
axes[3].legend(fontsize=7.5, loc="upper center")
plt.show()
print("mean distance of the sorted crowds:", {t: round(value, 4) for t, value in gap.items()})
board.claim("Who follows the average has the density of the pairs.", max(gap.values()) < 0.03)
order = crowd[0].argsort()
board.claim("No point overtakes another.", bool((crowd[-1][order].diff() > -1e-3).all()))

# %% [markdown]
# <details><summary>Answer</summary>
#
# To the right mode, always. On a line no point of a flow can overtake another, since at one place and time
# there is one velocity; so the upper half of the noise goes to the upper mode. The pairs cross all the time.
# The two crowds agree at every time (blue: pairs, red: flow), although hardly anybody in them walks the same way.
# </details>
#
# ## 2 · Teach it to a network
#
# We do not know $u$ for glyphs, and we cannot collect the pairs that pass one place. But an average is what a
# least-squares fit finds. So draw a pair and a time, and regress on *that pair's* velocity:
#
# $$L(\theta) = \mathbb E\,\big\lVert u_\theta(x_t, t) - (\varepsilon - x_0) \big\rVert^2
# = \underbrace{\mathbb E\,\lVert u_\theta - u \rVert^2}_{\text{what we want small}} + \underbrace{\mathbb E\,\lVert u - (\varepsilon - x_0)\rVert^2}_{\text{no network removes it}} .$$
#
# <details><summary>Derivation: the cross term</summary>
#
# Write $u_\theta - (\varepsilon - x_0) = (u_\theta - u) + (u - (\varepsilon - x_0))$ and expand the square.
# The cross term is $2\,\mathbb E\big[(u_\theta - u)\cdot(u - (\varepsilon - x_0))\big]$. Average first over
# the pairs that pass $x_t$: the first factor depends on $x_t$ and $t$ alone, so it stays in front, and the
# second has the mean $u - \mathbb E[\varepsilon - x_0 \mid x_t] = 0$. So the term is 0 for *every* network,
# and both losses have the same gradient.
# </details>
#
# This is *conditional flow matching*: "conditional" because the target belongs to one pair. No ODE is solved.
#
# **Question.** A perfect network, $u_\theta = u$: is its loss 0?


# %% build="loss"
def flow_loss(net, x_0, eps, t, *condition):
    """Mean squared error of net(x_t, t, *condition) against the pairs' velocities, over batch and entries.

    x_0, eps: (B, ...), pairs; t: (B,). Computed in float32 whatever the network computes in.
    """
    ### BEGIN SOLUTION
    x_t, u = cfm_pair(x_0, eps, t)
    return F.mse_loss(net(x_t, t, *condition).float(), u.float())
    ### END SOLUTION


# %% check="loss"
g = torch.Generator().manual_seed(0)
x_0, eps, t = torch.full((500, 2), 0.3), torch.randn(500, 2, generator=g), torch.rand(500, generator=g)
assert flow_loss(lambda x, t: (x - 0.3) / t[:, None], x_0, eps, t) < 1e-6, (
    "one data point: each place has one pair"
)
loss = flow_loss(lambda x, t: 1 + (x - 0.3) / t[:, None], x_0, eps, t)
assert math.isclose(loss, 1.0, rel_tol=1e-3), "off by 1 in every entry: a mean, not a sum"
assert math.isclose(flow_loss(lambda x, t, c: c, x_0, eps, t, eps - x_0), 0.0), "the condition is passed on"

# %% [markdown]
# The network is an MLP that knows the time as waves of many lengths. The times of a batch are *stratified*:
# one in each of $B$ equal parts of $[0, 1]$, shifted together, so that no batch has only early ones. And what
# samples is an *exponential moving average* (EMA) of the weights, as in lesson 19.


# %% folded="A network, times, and the loop that trains every network of this lesson"
# long: the tools of training
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


def stratified(n, generator):
    """n times, each uniform on [0, 1), evenly spread together: (n,)."""
    return ((torch.rand(1, generator=generator) + torch.arange(n)) / n % 1).to(device)


def train_step(net, ema, optimizer, batch, decay, loss_of=flow_loss):
    """One step of least squares, and of the moving average; the loss stays on the device."""
    with genmap.autocast(device):
        loss = loss_of(net, *batch)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in net.parameters()], 1 - decay)
    return loss.detach()


def train(net, batch, steps, rate, title, decay=0.99, watch=None, loss_of=flow_loss):
    """AdamW; the rate rises in a tenth of the steps, then falls to 0.

    batch(): what loss_of takes behind the net. Returns the averaged net, without gradients.
    """
    ema = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW(net.parameters(), rate, betas=(0.9, 0.99))
    cycle = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, 10 * (k + 1) / steps) * math.cos(math.pi / 2 * k / (steps + 1)) ** 2
    )
    curve = progress.Curve(title)
    for step in progress.track(range(steps), title=title):
        kept = min(decay, (step + 1) / (step + 10))  # a young average forgets its start
        curve.add(step, train_step(net, ema, optimizer, batch(), kept, loss_of))
        cycle.step()
        if watch:
            watch(step + 1, ema)
    curve.close()
    return ema


# %% folded="Figure: a net on a line, and where its loss comes from" tags=["demo"]
def gaussian_batch(generator, n=S.toy_batch):
    """Pairs and times of the Gaussian case."""
    x_0, eps = M + SD * torch.randn(n, 1, generator=generator), torch.randn(n, 1, generator=generator)
    return x_0.to(device), eps.to(device), stratified(n, generator)


g = torch.Generator().manual_seed(2)
line_net = train(MLP(1, width=64).to(device), lambda: gaussian_batch(g), S.toy_steps // 4, 3e-3, "a line")
x_0, eps, t = gaussian_batch(g, 10 * S.many)
with torch.no_grad():
    x_t, target = cfm_pair(x_0, eps, t)
    u, u_net = gaussian_velocity(x_t, t[:, None], M, SD), line_net(x_t, t)
    loss, floor, apart = ((a - b).square() for a, b in ((u_net, target), (u, target), (u_net, u)))
    cross = 2 * (u_net - u) * (u - target)
near = 3 * cross.std().item() / len(cross) ** 0.5
print(f"loss {loss.mean():.4f} = distance to u {apart.mean():.4f} + floor {floor.mean():.4f}", end=" ")
print(f"+ cross term {cross.mean():.4f} (three standard errors: {near:.4f})")
board.claim("The cross term is 0 within three standard errors.", abs(cross.mean().item()) < near)
board.claim("More than nine tenths of the loss is floor.", floor.mean() > 0.9 * loss.mean())
formula = math.pi / 2 * SD
print(f"floor by formula: {formula:.4f}")
board.claim("The floor is what the formula says.", abs(floor.mean().item() / formula - 1) < 0.02)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No: it is the floor, the variance of the targets that meet at one place. For Gaussian data it is
# $\delta^2/v_t$ a dimension (the variance of $\varepsilon - x_0$ is $1 + \delta^2$, and the line explains
# $(t - (1-t)\delta^2)^2/v_t$ of it), and over all times
# $\int_0^1 \delta^2/v_t\,\mathrm dt = \frac\pi2\delta$.
# </details>
#
# **A loss curve of flow matching that lies flat may still be learning**: what falls is the small term on top
# of a large one. Look at samples.
#
# ## 3 · Follow it: four solvers
#
# A solver walks along $\mathrm dx/\mathrm dt = u(x, t)$ in steps of size $h$; here $h < 0$, since we go from
# 1 down to 0. **Euler** takes the velocity at the start of the step. **Midpoint** looks once ahead, half a
# step, and uses the velocity there. **Heun** looks a whole step ahead and takes the mean of the velocities at
# both ends. The classical **Runge–Kutta** method (RK4) looks three times. A method has *order* $p$ if, for
# small steps, its error shrinks like $h^p$.
#
# Why does one look ahead gain an order? Along the path
# $x(t + h) = x + h\,u + \frac{h^2}{2}\,\dot u + O(h^3)$, where $\dot u$ is how fast the velocity changes for
# who walks. Euler misses the term with $\dot u$: an error of $h^2$ a step, in $1/h$ steps, so order 1. Half a
# step ahead the velocity is $u + \frac h2\dot u + O(h^2)$, and $h$ times that has the term.


# %% build="solve"
# long: four solvers, and the walk that uses them
def euler(u, x, t, h):
    """x + h u(x, t): one evaluation, order 1."""
    ### BEGIN SOLUTION
    return x + h * u(x, t)
    ### END SOLUTION


def midpoint(u, x, t, h):
    """The velocity half a step ahead: two evaluations, order 2."""
    ### BEGIN SOLUTION
    return x + h * u(x + h / 2 * u(x, t), t + h / 2)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    grid = torch.linspace(*times, steps + 1, dtype=x.dtype, device=x.device)
    places = [x]
    for t, later in pairwise(grid):
        places.append(method(u, places[-1], t, later - t))
    return torch.stack(places)
    ### END SOLUTION


# %% check="solve"
start = torch.tensor([2.0], dtype=torch.float64)
assert math.isclose(euler(lambda x, t: x * t, start, 1.0, -0.5), 1.0), (
    "2 - 0.5 * 2: the velocity at the start"
)
assert math.isclose(midpoint(lambda x, t: x * t, start, 1.0, -0.5), 2 - 0.5 * 1.5 * 0.75), (
    "half a step ahead, at t = 0.75, x is 1.5"
)
way = solve(lambda x, t: t + 0 * x, start, 4, midpoint)
assert way.shape == (5, 1) and way[0] == 2 and math.isclose(way[-1], 1.5), "all places, from 1 down to 0"
assert math.isclose(solve(lambda x, t: x, start, 1, times=(0.0, 1.0))[-1], 4.0), "or between other times"


# %% folded="Figure: orders, on two paths" tags=["demo"]
# long: the exact flows of two paths, the error of four methods on both, and a figure
COST = {euler: 1, midpoint: 2, heun: 2, rk4: 4}  # evaluations of u in a step
END, angle_end = 0.25, torch.tensor(math.pi / 8, dtype=torch.float64)  # where we compare, and its angle
x_1 = torch.randn(1_000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def cosine_case(x, t):
    """The Gaussian's velocity on x_t = cos(a) x_0 + sin(a) eps, a = t pi / 2 (lesson 19's, nearly)."""
    alpha, sigma = torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)
    slope = alpha * sigma * (1 - SD**2) / (alpha**2 * SD**2 + sigma**2)
    return math.pi / 2 * (slope * (x - alpha * M) - sigma * M)


spread = (angle_end.cos() ** 2 * SD**2 + angle_end.sin() ** 2).sqrt()
exact = {straight_case: gaussian_path(x_1, END, M, SD), cosine_case: angle_end.cos() * M + spread * x_1}


def solver_error(u, method, steps):
    """Root mean squared error at t = 1/4, where the exact flow is known."""
    return (solve(u, x_1, steps, method, times=(1.0, END))[-1] - exact[u]).square().mean().sqrt().item()


orders = {}
for method in COST:
    both = [(u, solver_error(u, method, 32), solver_error(u, method, 64)) for u in exact]
    orders[method] = [math.log2(coarse / fine) for _, coarse, fine in both]
    print(f"{method.__name__:8} order: straight path {orders[method][0]:.2f}, cosine {orders[method][1]:.2f}")
fig, axes = plot.figure(1, 2, height=2.9)
times = torch.linspace(1, 0, 101, dtype=torch.float64)
for z in torch.linspace(-2, 2, 9, dtype=torch.float64):
    axes[0].plot(times, gaussian_path(z, times, M, SD), color=plot.COLOURS.sky, lw=1.2)
    axes[0].plot(np.linspace(1, 0, 5), solve(straight_case, z, 4), "o-", color=plot.COLOURS.vermilion, ms=3)
axes[0].set(title="Exact paths, and Euler in four steps", xlabel="$t$: noise on the left", ylabel="$x$")
axes[0].invert_xaxis()
for method, colour in zip(COST, plot.COLOURS, strict=False):
    counts = np.array([4, 8, 16, 32, 64, 128])
    found = [solver_error(cosine_case, method, int(n)) for n in counts]
    axes[1].loglog(counts * COST[method], found, "o-", color=colour, label=method.__name__)
axes[1].set(title="Error against work", xlabel="evaluations of $u$", ylabel="error, cosine path")
axes[1].legend()
plt.show()
wanted = {euler: 1, midpoint: 2, heun: 2, rk4: 4}
board.claim(
    "On the cosine path the orders are 1, 2, 2 and 4.",
    all(abs(orders[method][1] - p) < 0.25 for method, p in wanted.items()),
)
board.claim("On the straight path of a Gaussian midpoint shows order 3.", abs(orders[midpoint][0] - 3) < 0.25)

# %% [markdown]
# The orders are those of theory, with one gift: on the straight path of a Gaussian, where $v_t$ is a
# quadratic, the leading error of midpoint happens to cancel. One case is not a proof. On the left Euler goes
# wrong where the exact paths *bend*. If they were straight, one step would be exact. The rest of the lesson
# follows this thought. (In section 11 a method of order 2 does worse than Euler.)
#
# ## 4 · The plane: lines that cross
#
# Data: eight small Gaussians on a circle. Noise: one in the middle.

# %% folded="The plane: data, pairs, and how they are drawn"
# long: what sections 4 to 8 train on and draw with
TOY = torch.tensor(data.toy("eight-gaussians", 20_000, seed=0), device=device)


def toy_pairs(generator, n):
    """Data and noise drawn independently of each other: two tensors (n, 2)."""
    chosen = torch.randint(len(TOY), (n,), generator=generator).to(device)
    return TOY[chosen], torch.randn(n, 2, generator=generator).to(device)


def velocity(net, *condition):
    """A net as a function of x and one time for all: what the solvers take."""
    return lambda x, t: net(x, t.expand(len(x)), *condition)


def fit_toy(pairs, title, start=None):
    """A velocity in the plane, trained on the pairs that `pairs(generator, n)` draws."""
    torch.manual_seed(5)
    g = torch.Generator().manual_seed(6)
    net = MLP(2, width=96, waves=2).to(device) if start is None else copy.deepcopy(start).requires_grad_(True)
    batch = lambda: (*pairs(g, S.toy_batch), stratified(S.toy_batch, g))  # noqa: E731
    return train(net, batch, S.toy_steps, 3e-3, title)


def frame(ax, title):
    """The same square for every panel."""
    ax.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    ax.set_title(title, fontsize=11)


def draw_paths(ax, places, title, colour=plot.COLOURS.sky):
    """Paths (K + 1, n, 2), from where they start, in grey, to where they end."""
    places = places.cpu()
    ax.add_collection(LineCollection(places.swapaxes(0, 1), colors=colour, linewidths=0.9, alpha=0.8))
    ax.scatter(*places[0].T, s=9, color=plot.COLOURS.grey, zorder=3)
    ax.scatter(*places[-1].T, s=9, color=plot.COLOURS.vermilion, zorder=3)
    frame(ax, title)


@torch.no_grad()
def draw_flow(ax, net, title, n=100):
    """Paths of a learned flow from noise."""
    x_1 = torch.randn(n, 2, generator=torch.Generator().manual_seed(7)).to(device)
    draw_paths(ax, solve(velocity(net), x_1, 60), title)


# %% tags=["demo"]
flows = {"independent": fit_toy(toy_pairs, "independent pairs")}
fig, axes = plot.figure(1, 2, height=3.6)
x_0, eps = toy_pairs(torch.Generator().manual_seed(8), 100)
draw_paths(axes[0], torch.stack([eps, x_0]), "What it is trained on: pairs", plot.COLOURS.purple)
draw_flow(axes[1], flows["independent"], "What it learns: their average")
plt.show()

# %% [markdown]
# Many pairs are at one place at one time and go different ways. Two points of a flow never are: from one
# place at one time there is one way on. (Their paths may cross in the picture, at different times.) Where pairs
# would meet, the flow turns. **Straight lines in, bent paths out.** In the middle of the cloud all eight
# directions meet, and their mean is nothing: a point there is slow at first and fast in the end, which the
# picture, without a clock, does not show, but the next number does.
#
# How bent? Compare the velocity on the way with the straight line from start to end (Liu et al. 2022),
# divided by the length of that line, squared, so that units drop out:
#
# $$\kappa = \frac{\int_0^1 \mathbb E\,\big\lVert (x_1 - x_0) - u(x_t, t)\big\rVert^2\, \mathrm dt}{\mathbb E\,\lVert x_1 - x_0\rVert^2}, \qquad x_t \text{ on the flow's own path.}$$
#
# It is 0 if, and only if, every path is straight and walked at a constant speed. And how far apart are two
# samples? The *energy distance*
# $2\,\mathbb E\lVert x - y\rVert - \mathbb E\lVert x - x'\rVert - \mathbb E\lVert y - y'\rVert$ is 0 for the
# same distribution and else positive.
#
# ## 5 · Choose the pairs: minibatch optimal transport
#
# Nobody said that data and noise must be paired at random. Any *coupling* will do that leaves both sides as
# they are: section 1's theorem never asked for independence. Choose one whose lines cross less: within each
# batch, pair so that the sum of squared distances is smallest.
#
# $$\pi^\star = \arg\min_{\pi}\ \sum_{i=1}^{B} \big\lVert x_0^{(i)} - \varepsilon^{(\pi(i))} \big\rVert^2 .$$
#
# In the best pairing no two walkers ever *meet*, at one place at one time.
#
# <details><summary>Derivation</summary>
#
# Let $a = x_0^{(i)} - x_0^{(j)}$ and $b = \varepsilon^{(i)} - \varepsilon^{(j)}$. Two walkers meet at a time
# $t$ strictly between 0 and 1 if $(1-t)\,a + t\,b = 0$; then $b$ points against $a$, so $a\cdot b < 0$ (if
# not both are 0). Exchange their ends. The sum of the two squared distances changes by $2\,a\cdot b$: expand
# the four squares, all but the products cancel. So a pair of walkers that meets could be exchanged at a gain,
# and in the best pairing none is left. (Their lines may still cross, if they pass the crossing at different
# times.)
# </details>
#
# Over all data this is the optimal transport of Monge (1781), with squared distances; over a batch it is
# *minibatch OT* (Pooladian et al.; Tong et al., both 2023), an approximation which gets better with $B$. The
# assignment problem costs $O(B^3)$.


# %%
# long: two measures, and the best pairing
def bend(u, x_1, steps=100):
    """kappa of the flow of u(x, t) from noise x_1 (B, D), in steps so fine that it is the flow's own."""
    places = solve(u, x_1, steps, midpoint)  # (steps + 1, B, D)
    line = places[0] - places[-1]
    moved = (places[:-1] - places[1:]) * steps  # mean velocity of each step
    return ((moved - line).square().sum(-1).mean() / line.square().sum(-1).mean()).item()


def energy_distance(x, y):
    """How far apart are two samples? 0 for the same distribution: (N, D), (M, D) -> a number."""
    between, own = torch.cdist(x, y).mean(), torch.cdist(x, x).mean() + torch.cdist(y, y).mean()
    return (2 * between - own).item()


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


# %% tags=["demo"]
flows["minibatch OT"] = fit_toy(ot_pairs, "minibatch OT")
for name, pairs in (("independent", toy_pairs), ("minibatch OT", ot_pairs)):
    x_0, eps = pairs(torch.Generator().manual_seed(8), 256)
    cost = (x_0 - eps).square().sum(1).mean()
    print(f"{name:12} {crossings(x_0, eps):.3f} of all couples would swap, mean squared length {cost:.2f}")
fig, axes = plot.figure(1, 2, height=3.6)
x_0, eps = ot_pairs(torch.Generator().manual_seed(8), 100)
draw_paths(axes[0], torch.stack([eps, x_0]), "Minibatch OT: pairs", plot.COLOURS.purple)
draw_flow(axes[1], flows["minibatch OT"], "Minibatch OT: the flow")
plt.show()

# %% [markdown]
# ## 6 · Rectified flow: let the flow choose the pairs
#
# There is another coupling with few crossings, and it costs no assignment problem. Take a trained flow, start
# at noise $x_1$, follow it to its own end $x_0$, and keep $(x_0, x_1)$ as a *pair*. The flow's paths never
# meet, and the straight lines between their ends meet far less often than those of pairs at random. So train
# a second flow on straight lines between *its* pairs. That is **reflow** (Liu et al. 2022). It never makes
# the transport dearer: for any convex cost $c$, $\mathbb E\,c(x_1 - x_0)$ over the flow's pairs is at most
# that over the pairs it was trained on.
#
# <details><summary>Derivation: Jensen, twice</summary>
#
# Let $(X_0, X_1)$ be the pairs that it was trained on, and $(x_0, x_1)$ those that the flow makes. The flow's
# displacement is $x_1 - x_0 = \int_0^1 u(x_t, t)\,\mathrm dt$.
#
# 1. *In time*: $c\big(\int_0^1 u\,\mathrm dt\big) \le \int_0^1 c(u)\,\mathrm dt$. So
#    $\mathbb E\,c(x_1 - x_0) \le \int_0^1 \mathbb E\,c\big(u(x_t, t)\big)\,\mathrm dt$, where $x_t$ has the
#    density $p_t$, in the flow as in the crowd of pairs (section 1).
# 2. *Over the pairs that pass*:
#    $c(u) = c\big(\mathbb E[X_1 - X_0 \mid X_t]\big) \le \mathbb E\big[c(X_1 - X_0) \mid X_t\big]$. So
#    $\int_0^1 \mathbb E\,c(u)\,\mathrm dt \le \mathbb E\,c(X_1 - X_0)$.
#
# For $c = \lVert\cdot\rVert^2$ the first step loses how bent the paths are, the second the floor of section
# 2. Nothing is lost only where paths are straight *and* each place has one velocity. So each reflow gains
# something until paths are straight. Liu et al. show more: with exact flows, the smallest
# $\mathbb E\int\lVert (x_1 - x_0) - u\rVert^2\mathrm dt$ of the first $K$ rounds is at most the first pairs'
# $\mathbb E\lVert X_1 - X_0\rVert^2$ over $K$.
# </details>
#
# Is the end of it optimal transport? Two toys with closed forms, before we train anything. In the first, two
# clouds swap heights: the pairs run crosswise. In the second every point of a round cloud is paired with
# itself, turned by a right angle about the origin.
#
# **Question.** What does the flow make of the crosswise pairs? And of the turned ones?


# %% folded="Figure: pairs that cross, and pairs that only seem to" tags=["demo"]
# long: two couplings, their flows in closed form, and what they cost
def crosswise(x, t, width=0.12):
    """u for heights: from 1 at t = 1 to -1 at t = 0 and the other way, each end jittered by `width`."""
    v = width**2 * ((1 - t) ** 2 + t**2)
    side = torch.tanh((2 * t - 1) * x / v)  # E[height at t = 1 | x]
    return 2 * side + width**2 * (2 * t - 1) / v * (x - (2 * t - 1) * side)


def quarter(x, t):
    """u for pairs x_1 = R x_0, R a quarter turn: x_t = ((1 - t) I + t R) x_0 can be solved for x_0."""
    turn, eye = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).to(x), torch.eye(2).to(x)
    return torch.linalg.solve((1 - t) * eye + t * turn, x.T).T @ (turn - eye).T


g = torch.Generator().manual_seed(9)
side, jitter = (
    2.0 * torch.randint(2, (2_000, 1), generator=g) - 1,
    0.12 * torch.randn(2, 2_000, 1, generator=g),
)
up_1, up_0 = side + jitter[0], -side + jitter[1]
ways = {"crosswise": solve(crosswise, up_1, 200, midpoint)}
x_0 = torch.randn(2_000, 2, generator=g)
x_1 = torch.stack([-x_0[:, 1], x_0[:, 0]], dim=1)
ways["turned"] = solve(quarter, x_1, 200, midpoint)
costs = {
    "crosswise": [(up_1 - up_0).square().mean().item()],
    "turned": [(x_1 - x_0).square().sum(1).mean().item()],
}
costs["crosswise"] += [(ways["crosswise"][0] - ways["crosswise"][-1]).square().mean().item()]
costs["turned"] += [(ways["turned"][0] - ways["turned"][-1]).square().sum(1).mean().item()]
fig, axes = plot.figure(1, 4, height=2.3)
for i in range(60):
    colour = plot.COLOURS.purple if up_1[i] > 0 else plot.COLOURS.green  # by where they start
    axes[0].plot([1, 0], [up_1[i], up_0[i]], color=colour, lw=0.7)
    axes[1].plot(torch.linspace(1, 0, 201), ways["crosswise"][:, i], color=colour, lw=0.7)
for ax, title in zip(axes, ("Crosswise: pairs", "their flow"), strict=False):
    ax.set(title=title, xlabel="$t$", xlim=(1, 0), ylim=(-1.6, 1.6))
draw_paths(axes[2], torch.stack([x_1, x_0])[:, :60], "Turned: pairs", plot.COLOURS.purple)
draw_paths(axes[3], ways["turned"][:, :60], "their flow")
plt.show()
for name, (before, after) in costs.items():
    print(f"{name:9} mean squared length of pairs {before:.2f}, of the flow's {after:.2f}")
kept = ((ways["crosswise"][-1] > 0) == (up_1 > 0)).float().mean().item()
print(f"of the crosswise pairs' flow {kept:.3f} stay on their side")
board.claim("The flow uncrosses pairs that meet.", kept > 0.95 and costs["crosswise"][1] < 0.2)
board.claim(
    "The flow leaves the turned pairs as they are.",
    (ways["turned"][-1] - x_0).abs().max() < 0.01 and abs(costs["turned"][1] - costs["turned"][0]) < 0.05,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Crosswise, all walkers meet at half time, nobody can pass, and each turns back to its own side: the flow has
# exchanged their ends, which is what optimal transport would do (on a line every flow does). Turned, the
# lines cross in the picture, but nobody meets anybody: they pass the crossings at different times. So each
# place has one velocity already, the flow *is* the pairs, and a reflow changes nothing. Its cost stays at about
# 4, where optimal transport would let everybody stay, at 0. **Reflow makes paths straight. It does not make them
# short.**
# </details>
#
# Now with trained networks, twice in a row.


# %% tags=["demo"]
# long: the coupling that a flow makes, and two rounds of training on it
@torch.no_grad()
def reflow_pairs(u, x_1, steps, method=midpoint):
    """Noise x_1 (N, ...) and where the flow of u carries it: the pairs (x_0, x_1) of the next flow."""
    return solve(u, x_1, steps, method)[-1], x_1


for before, after in (("independent", "reflow"), ("reflow", "reflow twice")):
    x_1 = torch.randn(S.pairs, 2, generator=torch.Generator().manual_seed(10)).to(device)
    store = reflow_pairs(velocity(flows[before]), x_1, 15)

    def stored(generator, n, store=store):
        """Pairs at random out of the store."""
        chosen = torch.randint(len(store[0]), (n,), generator=generator).to(device)
        return store[0][chosen], store[1][chosen]

    flows[after] = fit_toy(stored, after, start=flows[before])

# %% folded="Figure: four flows, and one step of each" tags=["demo"]
# long: four flows measured and drawn
x_1 = torch.randn(S.points, 2, generator=torch.Generator().manual_seed(11)).to(device)
held_out = torch.tensor(data.toy("eight-gaussians", S.points, seed=1), device=device)
table, kappa, fig, axes = {}, {}, *plot.figure(2, len(flows), height=2.1)
for column, (name, net) in zip(axes.T, flows.items(), strict=True):
    with torch.no_grad():
        kappa[name] = bend(velocity(net), x_1[:1_000])
        ends = {n: solve(velocity(net), x_1, n)[-1] for n in (1, 2, 4, 50)}
    table[name] = {n: energy_distance(end, held_out) for n, end in ends.items()}
    distances = ", ".join(f"{n}: {d:.3f}" for n, d in table[name].items())
    print(f"{name:12} bend {kappa[name]:.4f}; energy distance to data by Euler steps {distances}")
    draw_flow(column[0], net, name, n=70)
    column[1].scatter(*ends[1][:1_000].cpu().T, s=3, color=plot.COLOURS.vermilion)
    frame(column[1], "one Euler step")
plt.show()
print(f"two samples of the data: {energy_distance(TOY[: S.points], held_out):.4f}")
board.claim(
    "OT and reflow bend less than a fifth of what independent pairs do.",
    max(kappa["minibatch OT"], kappa["reflow"], kappa["reflow twice"]) < kappa["independent"] / 5,
)
board.claim("The second round is straighter still.", kappa["reflow twice"] < kappa["reflow"])
board.claim(
    "In one step OT and reflow are ten times nearer to the data than independent pairs.",
    max(table[name][1] for name in list(flows)[1:]) < table["independent"][1] / 10,
)

# %% [markdown]
# Lower row: from pairs at random, one step goes wrong completely; section 15 says why. After both
# repairs one step reaches the eight clouds, and draws too much between them. Minibatch OT knows the best pairs
# of a batch only, not of all data; reflow inherits the errors of the flow that made its pairs. Section 7 weighs them.
#
# ## 7 · How likely is it? Density by the ODE
#
# Where paths spread, a flow gets thinner; where they draw together, denser. Along a path (Chen et al. 2018)
#
# $$\frac{\mathrm d}{\mathrm d t}\log p_t(x_t) = -\operatorname{div} u(x_t, t),\qquad
# \log p_0(x_0) = \log \mathcal N(x_1;\, 0, I) + \int_0^1 \operatorname{div} u(x_t, t)\,\mathrm d t .$$
#
# <details><summary>Derivation</summary>
#
# For who walks along, $\log p_t$ changes because time passes and because the place changes:
# $\frac{\mathrm d}{\mathrm dt}\log p_t(x_t) = \frac{\partial_t p_t}{p_t} + \frac{\nabla p_t}{p_t}\cdot u$.
# Section 1's continuity equation, with the product rule, is
# $\partial_t p_t = -\nabla p_t\cdot u - p_t\operatorname{div}u$. Put in, the terms with $\nabla p_t$ cancel.
# Then integrate from 0 to 1, where $p_1$ is the noise's density.
# </details>
#
# So walk *forward*, from data to noise, and add up the divergence $\sum_d \partial u_d / \partial x_d$ on the
# way. For two dimensions two derivatives give it exactly. (Exercise 6 does without the exact sum.)
#
# **Question.** Each reflow learns from samples of the one before. Which way will the likelihood of real data
# go from round to round?


# %%
def divergence(u, x, t):
    """div u at x (B, D) and the velocity itself: (B,), (B, D). One derivative for each dimension."""
    with torch.set_grad_enabled(True):
        x = x.detach().requires_grad_(True)
        v = u(x, t)
        rows = [torch.autograd.grad(v[:, d].sum(), x, retain_graph=True)[0][:, d] for d in range(x.shape[1])]
    return torch.stack(rows).sum(0), v.detach()


def log_likelihood(u, x_0, steps=40):
    """log p_0(x_0) in nats under the flow of u(x, t): (B, D) -> (B,). Midpoint steps from data to noise."""
    x, gained, h = x_0, torch.zeros_like(x_0[:, 0]), 1 / steps
    for t in torch.arange(steps, dtype=x_0.dtype, device=x_0.device) / steps:
        between = x + h / 2 * u(x, t).detach()
        div, v = divergence(u, between, t + h / 2)
        x, gained = x + h * v, gained + h * div
    log_noise = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)  # (B,)
    return log_noise + gained


def log_eight(x):
    """The exact log density of the eight Gaussians in nats: (B, 2) -> (B,)."""
    angle = torch.arange(8, dtype=x.dtype, device=x.device) * math.pi / 4
    means = 1.6 * torch.stack([angle.cos(), angle.sin()], dim=1)
    terms = torch.cdist(x, means).square() / (-2 * 0.16**2)
    return terms.logsumexp(1) - math.log(8 * 2 * math.pi * 0.16**2)


# %% folded="Figure: densities, true and by the ODE" tags=["demo"]
# long: the solver alone, four flows in nats, and two densities drawn
x_0 = M + SD * torch.randn(200, 3, generator=torch.Generator().manual_seed(20), dtype=torch.float64)
truth = torch.distributions.Normal(M, SD).log_prob(x_0).sum(1)
wrong = {n: (log_likelihood(straight_case, x_0, n) - truth).abs().max().item() for n in (10, 20, 40)}
print("Gaussian in 3-D, largest error in nats by steps:", {n: round(e, 5) for n, e in wrong.items()})
few, nats = held_out[:1_000], {}
print(f"eight Gaussians, the truth: {log_eight(few).mean():.3f} nats a point")
for name, net in flows.items():
    nats[name] = log_likelihood(velocity(net), few).mean().item()
missing = {name: log_eight(few).mean().item() - value for name, value in nats.items()}
print("below the truth, that is KL(truth, model):", {name: round(gap, 3) for name, gap in missing.items()})
axis = torch.linspace(-2.4, 2.4, 49, device=device)
grid = torch.cartesian_prod(axis, axis)  # (49 * 49, 2)
fig, axes = plot.figure(1, 3, height=2.7)
panels = {"The truth": log_eight(grid)}
for name in ("minibatch OT", "reflow twice"):
    panels[f"By the ODE: {name}"] = log_likelihood(velocity(flows[name]), grid, 15)
for ax, (title, log_p) in zip(axes, panels.items(), strict=True):
    p = log_p.exp().reshape(49, 49).T.cpu()
    plot.density(ax, axis.cpu(), axis.cpu(), p, top=0.8)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=11)
    ax.set_xlabel(f"sums to {p.sum() * 0.1**2:.3f} over the square")
plt.show()
board.claim("Four times the steps, a tenth of the error or less.", wrong[40] < wrong[10] / 10)
board.claim(
    "Of the four, minibatch OT is nearest to the truth.", min(missing, key=missing.get) == "minibatch OT"
)
board.claim(
    "Each reflow is further from the data than the flow before.",
    missing["independent"] < missing["reflow"] < missing["reflow twice"],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Down. Each round is fitted to what the round before drew, errors and all: after the first the divergence
# KL(truth, model) is clearly higher than before any reflow, though the paths get straighter, and the second round
# does not bring it down again (the small step between the two is within what another seed may change). Reflow buys steps with
# likelihood. Minibatch OT, which learns from data and has short paths to learn, is the best of the four. (No
# flow reaches the truth. Bridges between the clouds take a little mass, since a flow cannot tear the plane
# apart.)
# </details>
#
# ## 8 · A velocity is a score, and a random walk
#
# Lesson 19 met the *score*, the slope $\nabla \log p_t$. Whoever knows the velocity knows it:
#
# $$\nabla \log p_t(x) = -\frac{\mathbb E[\varepsilon \mid x_t = x]}{t} = -\frac{x + (1 - t)\,u(x, t)}{t} .$$
#
# <details><summary>Derivation</summary>
#
# 1. $p_t(x) = \int p_0(x_0)\,\mathcal N\big(x;\,(1-t)x_0,\,t^2 I\big)\,\mathrm dx_0$. Differentiate under the
#    integral, divide by $p_t$: the normal's slope, $-(x - (1-t)x_0)/t^2 = -\varepsilon/t$, is averaged over
#    the pairs that pass $x$.
# 2. Let $\hat x_0$ and $\hat\varepsilon$ be the means of data and noise given $x$. Then
#    $x = (1-t)\,\hat x_0 + t\,\hat\varepsilon$ and $u = \hat\varepsilon - \hat x_0$. Solve:
#    $\hat\varepsilon = x + (1-t)\,u$ and $\hat x_0 = x - t\,u$.
# </details>
#
# So the same network can also be sampled with fresh noise. On the way to the data, add to each step a push
# along the score and noise that undoes it:
#
# $$x_{t-h} = x - h\,u + h\,\eta\,t\,\nabla\log p_t(x) + \sqrt{2\,\eta\,t\,h}\;z .$$
#
# $\eta = 0$ is the ODE. For any other $\eta$ and small steps, each point wanders, and the crowd has the same
# density.
#
# <details><summary>Why the crowd stays the same</summary>
#
# Noise of variance $2Dh$ in a time $h$ spreads a density: $\partial p = D\,\Delta p$ (the heat equation). A
# push with the velocity $D\,\nabla\log p$ changes it by
# $-\operatorname{div}(p\,D\,\nabla\log p) = -D\operatorname{div}(\nabla p) = -D\,\Delta p$. The two cancel.
# Here $D = \eta t$, so that the division by $t$ goes away, too.
# </details>


# %% build="score"
def score(u, x, t):
    """The slope of log p_t at x by the velocity u(x, t), t above 0: like x."""
    ### BEGIN SOLUTION
    return -(x + (1 - t) * u(x, t)) / t
    ### END SOLUTION


def wander(u, x_1, steps, eta, generator):
    """From noise x_1 at t = 1 to data, with fresh noise of strength eta in each step: like x_1."""
    ### BEGIN SOLUTION
    x, h = x_1, 1 / steps
    for k in range(steps, 0, -1):
        t = torch.tensor(k * h, dtype=x.dtype, device=x.device)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = x - h * u(x, t) + h * eta * t * score(u, x, t) + (2 * eta * t * h).sqrt() * z
    return x
    ### END SOLUTION


# %% check="score"
x, t = torch.tensor([[0.3], [2.0]], dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
exact_score = (0.4 * M - x) / (0.4**2 * SD**2 + 0.6**2)
assert torch.allclose(score(straight_case, x, t), exact_score), "of N(0.4 M, v_t): (mean - x) / variance"
g = torch.Generator().manual_seed(0)
z = torch.randn(20_000, 1, generator=g, dtype=torch.float64)
assert torch.allclose(wander(straight_case, z, 8, 0.0, g), solve(straight_case, z, 8)[-1]), "eta = 0 is Euler"
ends = wander(straight_case, z, 400, 1.0, g)
assert abs(ends.mean() - M) < 0.02 and abs(ends.std() - SD) < 0.02, (
    "many steps: the data's mean and deviation"
)

# %% folded="Figure: one start, many ends" tags=["demo"]
fig, axes = plot.figure(1, 3, height=2.4)
z, ends = torch.full((1_000, 2), 0.3).to(device), {}
for ax, eta in zip(axes, (0.0, 0.3, 1.0), strict=True):
    g = torch.Generator().manual_seed(33)
    with torch.no_grad():
        one = wander(velocity(flows["independent"]), z, 50, eta, g)
        ends[eta] = energy_distance(wander(velocity(flows["independent"]), x_1, 50, eta, g), held_out)
    ax.scatter(*one.cpu().T, s=3, color=plot.COLOURS.vermilion)
    ax.scatter(0.3, 0.3, s=30, color=plot.COLOURS.grey)
    frame(ax, rf"$\eta = {eta:g}$: ends from one start")
    ax.set_xlabel(f"all starts: distance {ends[eta]:.4f}")
plt.show()
board.claim("With or without noise the crowd comes to the data.", max(ends.values()) < 0.03)

# %% [markdown]
# Without noise a start decides its end, which is what reflow and exact likelihoods need. With noise it does
# not, and the crowd comes to the data all the same.
#
# ## 9 · Diffusion is inside
#
# Lesson 19 mixes data and noise by other weights: $x_t = \alpha_t\, x_0 + \sigma_t\, \varepsilon$ with
# $\alpha_t^2 + \sigma_t^2 = 1$. Divide such a point by $\alpha_t + \sigma_t$:
#
# $$z = \frac{x_t}{\alpha_t + \sigma_t} = (1 - \tau)\,x_0 + \tau\,\varepsilon, \qquad \tau = \frac{\sigma_t}{\alpha_t + \sigma_t} .$$
#
# This is a point on the straight line, at the time $\tau$. So a diffusion model has seen the same mixtures,
# on another clock and another scale. From the v-prediction $v = \alpha_t \varepsilon - \sigma_t x_0$ and the
# point itself we get back both ends, $\hat x_0 = \alpha_t x_t - \sigma_t v$ and
# $\hat\varepsilon = \sigma_t x_t + \alpha_t v$, and their difference is the velocity:
#
# $$u(z, \tau) = \hat\varepsilon - \hat x_0 = (\sigma_t - \alpha_t)\,x_t + (\alpha_t + \sigma_t)\,v .$$
#
# The mean of $v$ given $x_t$ gives the mean of $\varepsilon - x_0$ given $z$, since all this is linear: **a
# DDPM network is a flow-matching network**, without any training. And **DDIM is Euler's method** on the
# straight clock: both keep the two guesses fixed for a step and move along the line between them.
#
# Is it at least another *loss*? An error in $v$ is an error in $u$ over $\alpha_t + \sigma_t$. With the angle
# $\phi = \frac\pi2 t$, so that $\alpha = \cos\phi$ and $\sigma = \sin\phi$ (we drop the schedule's small
# offset),
# $\frac{\mathrm d\tau}{\mathrm d\phi} = \frac{\cos\phi\,(\cos\phi + \sin\phi) - \sin\phi\,(\cos\phi - \sin\phi)}{(\cos\phi + \sin\phi)^2} = \frac{1}{(\alpha + \sigma)^2}$,
# and
#
# $$\int_0^1 \mathbb E\lVert v_\theta - v\rVert^2\,\mathrm dt = \int_0^{\pi/2} \frac{\mathbb E\lVert u_\theta - u\rVert^2}{(\alpha + \sigma)^2}\,\frac{2\,\mathrm d\phi}{\pi} = \frac2\pi\int_0^1 \mathbb E\lVert u_\theta - u\rVert^2\,\mathrm d\tau .$$
#
# The loss of a cosine v-prediction with uniform $t$ *is* the flow's loss, times $2/\pi$. All three statements
# below, on Gaussian data.


# %%
# long: lesson 19's schedule and sampler, and its network as a velocity
EARLY = 0.008  # the cosine schedule starts a little after the top of the cosine


def cosine(t):
    """alpha_t and sigma_t of lesson 19's cosine schedule. Source: Nichol and Dhariwal 2021, equation 17."""
    alpha = torch.cos((t + EARLY) / (1 + EARLY) * math.pi / 2) / math.cos(EARLY / (1 + EARLY) * math.pi / 2)
    return alpha, (1 - alpha.square()).clamp(min=0).sqrt()


def straight_clock(t):
    """tau = sigma_t / (alpha_t + sigma_t)."""
    alpha, sigma = cosine(t)
    return sigma / (alpha + sigma)


def ddim(v_net, x, times):
    """DDIM: at each time guess both ends, then mix them for the next. Source: Song et al. 2020."""
    for t, later in pairwise(times):
        (alpha, sigma), (alpha_later, sigma_later) = cosine(t), cosine(later)
        v = v_net(x, t)
        x = alpha_later * (alpha * x - sigma * v) + sigma_later * (sigma * x + alpha * v)
    return x


def as_flow(v_net):
    """The velocity u(z, tau) of a network v(x_t, t) of the cosine schedule."""

    def u(z, tau):
        alpha, sigma = (1 - tau) / torch.hypot(tau, 1 - tau), tau / torch.hypot(tau, 1 - tau)
        angle = torch.arccos(alpha * math.cos(EARLY / (1 + EARLY) * math.pi / 2))  # `cosine` backwards
        t = angle * 2 / math.pi * (1 + EARLY) - EARLY
        x_t = (alpha + sigma) * z
        return (sigma - alpha) * x_t + (alpha + sigma) * v_net(x_t, t)

    return u


def best_v(x, t):
    """E[alpha eps - sigma x_0 | x_t = x] for the Gaussian of section 2."""
    alpha, sigma = cosine(t)
    return (alpha * sigma * (1 - SD**2) * x - sigma * M) / (alpha**2 * SD**2 + sigma**2)


# %% folded="Three statements, checked" tags=["demo"]
z, tau = torch.linspace(-3, 3, 7, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
apart = (as_flow(best_v)(z, tau) - gaussian_velocity(z, tau, M, SD)).abs().max().item()
print(f"diffusion's velocity and this lesson's differ by at most {apart:.1e}")
times = torch.linspace(1, 0, 11, dtype=torch.float64)  # equal steps of lesson 19's clock
by_ddim, by_euler = ddim(best_v, z, times), z
for now, later in pairwise(straight_clock(times)):
    by_euler = euler(as_flow(best_v), by_euler, now, later - now)
steps_apart = (by_ddim - by_euler).abs().max().item()
print(f"ten steps of DDIM and ten of Euler end at most {steps_apart:.1e} apart")
x_0, eps, t = gaussian_batch(torch.Generator().manual_seed(34), 5 * S.many)
(alpha, sigma) = (a[:, None] for a in cosine(t))
x_t, target = alpha * x_0 + sigma * eps, alpha * eps - sigma * x_0
v_loss = (best_v(x_t, t[:, None]) - target).square().mean().item()
z_t, target = cfm_pair(x_0, eps, t)
u_loss = (gaussian_velocity(z_t, t[:, None], M, SD) - target).square().mean().item()
print(f"loss in v, uniform t: {v_loss:.4f}; in u, uniform tau: {u_loss:.4f}; ratio {v_loss / u_loss:.3f}")
board.claim("The two velocities agree to rounding, and so do DDIM and Euler.", max(apart, steps_apart) < 1e-9)
board.claim("The two losses differ by the factor 2/pi.", abs(v_loss / u_loss * math.pi / 2 - 1) < 0.03)

# %% [markdown]
# Same mixtures, same steps, same loss. Is anything left? What the network *says*. Close to the noise
# ($t \to 1$) the velocity is $x - \mathbb E[x_0]$: who says $u$ must pass the noise through, pixel by pixel;
# who says $v \to -x_0$ need not. Close to the data it is the other way round: $u \to \varepsilon - x_0$ holds
# a picture that is in plain sight, $v \to \varepsilon$ does not. Section 12 trains both and compares.
#
# ## 10 · Glyphs
#
# Now the network of lesson 19, in one cell: pixels folded 2 x 2 into channels, residual blocks at 8 x 8 and
# at 4 x 4, time and class modulating each. Class 36 means "no class"; the net sees it in one example of ten,
# so that it also learns the velocity of all glyphs together.
#
# **Guidance** is a change of the velocity, as it was of $v$ in lesson 19: go on from "any glyph" through "an
# R", by a factor $w$,
#
# $$u_w(x, t) = u_\theta(x, t, \varnothing) + w\,\big(u_\theta(x, t, y) - u_\theta(x, t, \varnothing)\big) .$$


# %% folded="The U-Net of lesson 19"
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


def glyph_batch(x, y, generator):
    """Pairs, times and labels of one batch, of which one in ten is hidden: what `flow_loss` takes."""
    chosen = torch.randint(len(x), (S.batch,), generator=generator).to(device)
    hidden = (torch.rand(S.batch, generator=generator) < 0.1).to(device)
    eps = torch.randn(S.batch, *x.shape[1:], generator=generator).to(device)
    return x[chosen], eps, stratified(S.batch, generator), torch.where(hidden, 36, y[chosen])


# %% folded="Training on glyphs" tags=["demo"]
# long: data, what is watched, and the training
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


torch.manual_seed(13)
g, began = torch.Generator().manual_seed(14), time.perf_counter()
flow_net = train(
    UNet(S.channels).to(device),
    lambda: glyph_batch(x_train, y_train, g),
    S.steps, S.rate, "glyphs", S.ema, watch,
)  # fmt: skip
flow_seconds = time.perf_counter() - began
size = sum(p.numel() for p in flow_net.parameters())
print(f"{size:,} parameters, {flow_seconds:.0f} s")

# %% [markdown]
# From top to bottom: the same noise, the same twelve letters, while the net learns.
#
# ## 11 · Quality against steps
#
# The course's measuring net looks at draws of known class. *Accuracy*: the share in which it sees the class
# that was asked for. *Diversity*: the variance within a class, as a share of that of real glyphs. *Fréchet
# distance*: between the measuring net's features of drawn and of real glyphs, each taken for a normal
# distribution; it feels both, and less is better. Accuracy or diversity without the other is worth nothing: a
# generator with one perfect R has accuracy 1 and diversity 0. An *evaluation* is one use of the guided
# velocity; midpoint and Heun spend two in a step.
#
# **Question.** Section 3: for small steps midpoint and Heun are far better than Euler, and like each other.
# And for two to eight evaluations?


# %% folded="Figure: four solvers and few evaluations" tags=["demo"]
# long: four solvers at several numbers of evaluations, and a figure of three measures
judge = features.glyphs(16)
asked = torch.arange(S.draws, device=device) % 36
evenly = np.concatenate([np.flatnonzero(glyphs.test.y == c)[: S.draws // 36] for c in range(36)])
real = glyphs.test.x[evenly], glyphs.test.y[evenly]


def draw_glyphs(method, net, y, w, evaluations, generator):
    """Glyphs of the classes y, from this many evaluations: (B, 1, 16, 16) in [0, 1]."""
    z, u = torch.randn(len(y), 1, 16, 16, generator=generator).to(device), guided(net, y, w)
    with torch.no_grad():
        if method == "mended":  # Heun, but for a last step by Euler
            K = (evaluations + 1) // 2
            x = solve(u, z, K - 1, heun, times=(1.0, 1 / K))[-1] if K > 1 else z
            x = euler(u, x, torch.tensor(1 / K, device=device), -1 / K)
        else:
            x = solve(u, z, evaluations // COST[method], method)[-1]
    return (x + 1).cpu() / 2


def look(method, w, n, seed=16):
    """The measures of draws with n evaluations."""
    x = draw_glyphs(method, flow_net, asked, w, n, torch.Generator().manual_seed(seed))
    return judge.compare(x, asked.cpu(), *real)


contest = {"Euler": euler, "midpoint": midpoint, "Heun": heun, "Heun, Euler at the end": "mended"}
results = {}
for name, method in contest.items():
    for n in S.counts:
        if method != "mended" and n % COST[method] == 0:
            results[name, n] = look(method, 2, n)
        elif method == "mended" and n > 2:
            results[name, n - 1] = look(method, 2, n - 1)
fig, axes = plot.figure(1, 3, height=2.9)
measures = {"class_accuracy": "Accuracy", "diversity": "Diversity", "frechet": "Fréchet distance"}
for ax, (metric, label) in zip(axes, measures.items(), strict=True):
    for name, colour in zip(contest, plot.COLOURS, strict=False):
        found = {n: looks[metric] for (who, n), looks in results.items() if who == name}
        ax.plot(list(found), list(found.values()), "o-", color=colour, label=name)
        print(f"{label}, {name}:", {n: round(value, 2) for n, value in found.items()})
    ax.set(xscale="log", xticks=S.counts, xticklabels=S.counts, xlabel="evaluations", title=label)
    ax.minorticks_off()
axes[2].set_yscale("log")
axes[0].legend(fontsize=7, loc="lower right")
plt.show()
plain = {n: look(euler, 1, n)["class_accuracy"] for n in (1, S.counts[-1])}
helped = {n: results["Euler", n]["class_accuracy"] - value for n, value in plain.items()}
print("accuracy that guidance 2 adds, by Euler steps:", {n: round(v, 3) for n, v in helped.items()})
if genmap.setting() != "smoke":
    few = {name: results[name, n]["frechet"] for name, n in zip(contest, (4, 4, 4, 3), strict=True)}
    board.claim("With four evaluations Heun is the worst of the solvers.", max(few, key=few.get) == "Heun")
    board.claim(
        "An Euler step at the end mends it, with one evaluation less.",
        few["Heun, Euler at the end"] < few["Heun"] / 1.5,
    )
    board.claim("With one step, diversity is below a third.", results["Euler", 1]["diversity"] < 1 / 3)
    board.claim("Guidance makes the letters of one step more legible, too.", helped[1] > 0.05)

# %% [markdown]
# <details><summary>Answer</summary>
#
# From four evaluations on midpoint is fine, and Heun fails, at the same order. The reason is the *place* of its
# last look, $t = 0$. There a point says nothing about its noise: $u(x, 0) = \mathbb E[\varepsilon] - x = -x$.
# Put this into a last step of size $h$ from $x = (1-h)x_0 + h\varepsilon$, with data so thin, or $h$ so small,
# that $x$ tells $x_0$ and $\varepsilon$ apart: Heun takes the mean of $\varepsilon - x_0$ and $-x_0$, and lands
# on $x_0 + \frac h2\varepsilon$. Half of the last step's noise stays in the picture, and a measure of
# diversity counts noise as well. Order is a promise about small steps where
# $u$ is smooth; where data are thin, $u$ jumps at $t = 0$. So leave out that one look: a last step by Euler,
# as Karras et al. (2022) do, too.
# </details>
#
# *One* step draws legible letters of almost no diversity: the mean of a class is one picture, and a legible
# one, all the more so with guidance. Whatever diversity is left there is the network's error; with a perfect
# network it would be 0 (section 15). So do not read a higher diversity at one step as a lead.
#
# ## 12 · Digits: what a network says, when it is trained, and one step
#
# On the 8 x 8 digits a training takes seconds, so that we can compare. Four trainings with one network (the
# MLP, with the class as a condition; ten zeros mean "no class"), the same start, pairs and number of steps:
#
# 1. it says $u$, times uniform: this lesson;
# 2. it says $v$, times uniform on *this* clock, by this lesson's loss;
# 3. it says $v$, by *lesson 19's* loss and clock;
# 4. it says $u$, times logit-normal: $t = 1/(1 + e^{-z})$ with normal $z$, dense in the middle (Stable
#    Diffusion 3, Esser et al. 2024). Their reason: at the ends the best answer is easy, $x - \mathbb E[x_0]$
#    at the noise and $-x$ at the data; what has to be learned is in between.
#
# **Question.** Which of the first three will be alike? Section 9 knows the loss; this tells what the
# *network* makes of it.


# %% folded="Four trainings on digits" tags=["demo"]
# long: networks that say v, batches of digits, four trainings, and what became of them
class SaysV(nn.Module):
    """A net that says v on the cosine schedule, as a velocity on this lesson's clock."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, z, tau, c):
        return as_flow(lambda x_t, t: self.net(x_t, t[:, 0], c))(z, tau[:, None])


def lesson_19_loss(says_v, x_0, eps, t, c):
    """Mean squared error in v, at times t of the cosine schedule."""
    alpha, sigma = (a[:, None] for a in cosine(t))
    v = says_v.net(alpha * x_0 + sigma * eps, t, c)
    return F.mse_loss(v.float(), alpha * eps - sigma * x_0)


def digit_batch(x_0, x_1, c, generator, drop=0.1, logit_normal=False, n=128):
    """A batch of digits x_0 (N, 64), classes c (N, 10); x_1: their noise, or None for fresh noise."""
    chosen = torch.randint(len(x_0), (n,), generator=generator).to(device)
    eps = torch.randn(n, 64, generator=generator).to(device) if x_1 is None else x_1[chosen]
    kept = (torch.rand(n, 1, generator=generator) >= drop).to(device)
    t = stratified(n, generator)
    if logit_normal:
        t = torch.special.ndtri(t.clamp(1e-4, 1 - 1e-4)).sigmoid()
    return x_0[chosen], eps, t, c[chosen] * kept


def guided_digits(net, c, w):
    """A digit net as a function of x and one time, with guidance w."""

    def u(x, t):
        t = t.expand(len(x))
        if w == 1:
            return net(x, t, c)
        without = net(x, t, torch.zeros_like(c))
        return without + w * (net(x, t, c) - without)

    return u


digits = data.digits()
digits_x = 2 * torch.tensor(digits.train.x, device=device).flatten(1) - 1
digits_c = F.one_hot(torch.tensor(digits.train.y, device=device), 10).float()


def fit_digits(title, wrap, loss_of=flow_loss, **times):
    """A net for digits, the same start and the same draws for all."""
    torch.manual_seed(17)
    g = torch.Generator().manual_seed(18)
    net = wrap(MLP(64, 10, width=S.digit_width)).to(device)
    batch = lambda: digit_batch(digits_x, None, digits_c, g, **times)  # noqa: E731
    return train(net, batch, S.digit_steps, 2e-3, title, loss_of=loss_of)


began = time.perf_counter()
digit_nets = {"says u": fit_digits("says u", lambda net: net)}
digit_seconds = time.perf_counter() - began
digit_nets["says v"] = fit_digits("says v", SaysV)
digit_nets["says v, lesson 19's loss"] = fit_digits("lesson 19's loss", SaysV, lesson_19_loss)
digit_nets["says u, logit-normal t"] = fit_digits("logit-normal", lambda net: net, logit_normal=True)
digit_judge = features.digits()
x_test = 2 * torch.tensor(digits.test.x, device=device).flatten(1) - 1
c_test = F.one_hot(torch.tensor(digits.test.y, device=device), 10).float()
digit_asked = torch.arange(len(x_test), device=device) % 10
c_asked = F.one_hot(digit_asked, 10).float()
z_digits = torch.randn(len(c_asked), 64, generator=torch.Generator().manual_seed(19)).to(device)


def digit_look(x):
    """The measures of digits (N, 64) of the classes asked for."""
    x = (x.reshape(-1, 1, 8, 8).cpu() + 1) / 2
    return digit_judge.compare(x, digit_asked.cpu(), digits.test.x, digits.test.y)


losses, leaks, fares, draw = {}, {}, {}, (1, 2, 4, 10)
for name, net in digit_nets.items():
    g = torch.Generator().manual_seed(35)
    with torch.no_grad():
        tries = [flow_loss(net, *digit_batch(x_test, None, c_test, g, 0.0, n=2_000)) for _ in range(5)]
        ends = {n: solve(velocity(net, c_asked), z_digits, n)[-1] for n in draw}
    losses[name] = torch.stack(tries).mean().item()
    leaks[name] = ((ends[1] - ends[1].mean(0)) * z_digits).mean().item() / z_digits.square().mean().item()
    fares[name] = {n: digit_look(x) for n, x in ends.items()}
    row = ", ".join(f"{n}: {looks['frechet']:.2f}" for n, looks in fares[name].items())
    print(f"{name:25} loss {losses[name]:.4f}, leak {leaks[name]:+.3f}, Fréchet distance by steps {row}")
u, v, v_19, logit = digit_nets
board.claim(
    "Two nets that say v are alike, whatever loss and clock: their leaks differ by less than a fifth.",
    abs(leaks[v] - leaks[v_19]) < abs(leaks[v]) / 5,
)
board.claim("The one that says u leaks less than a third of that.", abs(leaks[u]) < abs(leaks[v]) / 3)
board.claim(
    "In one step and in ten, who says u has the smaller Fréchet distance.",
    all(fares[u][n]["frechet"] < min(fares[v][n]["frechet"], fares[v_19][n]["frechet"]) for n in (1, 10)),
)
board.claim("Logit-normal times have the larger loss.", losses[logit] > losses[u])
board.claim(
    "With one step they are worse, with two better.",
    fares[logit][1]["frechet"] > fares[u][1]["frechet"]
    and fares[logit][2]["frechet"] < fares[u][2]["frechet"],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The two that say $v$, though they differ in loss and clock. So on these digits and this network what is left
# between diffusion and flow matching is neither the weights nor the steps but **what the network is asked to say**
# (the *parametrisation*), and each may say either.
#
# The *leak* shows how they differ: the slope of one step's end against its noise. It is 0 for an exact
# velocity, whose one step forgets the noise (section 15). Who says $v$ is at the noise asked for
# $-\mathbb E[x_0]$, a constant that must not depend on the input, and this small MLP does not get rid of all
# dependence. Who says $u$ passes the noise through. On other networks and data the balance may be another: we
# have measured one.
# </details>
#
# Logit-normal times leave the ends untrained. That costs loss (which counts all times alike), and one step,
# which asks at $t = 1$ alone. With more steps, which ask in the middle, it pays.
#
# ### Where it wins: one evaluation
#
# Now the whole chain: let the first net make pairs, *with guidance*, and train a second on them (its guidance
# is in the pairs, so it needs one evaluation where the first needs two). Against it: the diffusion of lesson
# 19 by DDIM, and the first flow, both guided, and both at liberty to take more evaluations.

# %% folded="Reflow on digits" tags=["demo"]
# long: pairs, a second training, and the contest
c_store = F.one_hot(torch.arange(S.digit_pairs, device=device) % 10, 10).float()
noise = torch.randn(S.digit_pairs, 64, generator=torch.Generator().manual_seed(36)).to(device)
first, began, g = digit_nets["says u"], time.perf_counter(), torch.Generator().manual_seed(37)
x_store, _ = reflow_pairs(guided_digits(first, c_store, 1.5), noise, 10, euler)
second = train(
    copy.deepcopy(first).requires_grad_(True),
    lambda: digit_batch(x_store, noise, c_store, g, drop=0.0),
    S.digit_steps, 2e-3, "digits: reflow",
)  # fmt: skip
digit_seconds += time.perf_counter() - began
by_ddim = guided_digits(digit_nets["says v, lesson 19's loss"].net, c_asked, 1.5)
rivals = {"flow": guided_digits(first, c_asked, 1.5), "reflow": velocity(second, c_asked), "DDIM": by_ddim}
digit_rows, digit_looks = {}, {}
for name, u in rivals.items():
    for n in (1, 2, 5, 10):
        with torch.no_grad():
            times = torch.linspace(1, 0, n + 1, device=device)
            x = ddim(u, z_digits, times) if name == "DDIM" else solve(u, z_digits, n)[-1]
        digit_rows[name, n], digit_looks[name, n] = (x[:20].reshape(-1, 1, 8, 8).cpu() + 1) / 2, digit_look(x)
        looks, asks = digit_looks[name, n], n * (1 + (name != "reflow"))
        text = f"recognised {looks['class_accuracy']:.2f}, diversity {looks['diversity']:.2f}"
        print(f"{name:6} {asks:2} evaluations: {text}, Fréchet distance {looks['frechet']:.2f}")
fig, axes = plot.figure(4, 1, height=1.05)
for ax, (name, n) in zip(axes, (("flow", 10), ("flow", 1), ("DDIM", 1), ("reflow", 1)), strict=True):
    plot.images(digit_rows[name, n], columns=20, ax=ax, title=f"{name}, {n} step{'s' * (n > 1)}")
plt.show()
one = digit_looks["reflow", 1]
board.claim(
    "One evaluation of the reflowed net beats four of DDIM and of the flow.",
    one["frechet"] < min(digit_looks[name, 2]["frechet"] for name in ("flow", "DDIM")),
)
board.claim(
    "One step of reflow is twice as diverse as one of the flow, and is recognised in nine of ten.",
    one["diversity"] > 2 * digit_looks["flow", 1]["diversity"] and one["class_accuracy"] > 0.9,
)

# %% [markdown]
# In the rows of one step of the flow and of DDIM both sevens are nearly the same seven, and the table's diversity
# says so for all digits. In the last row one evaluation gives the digits of the first row, nearly, and its distance is
# no worse than that of ten evaluations: the noise *decides* which seven it is. It inherits the
# first row's taste, too: guided, so less diverse than real digits. What it costs: ten solver steps once for
# every stored pair, and a second training. This is how flow matching came to draw in one to four steps:
# InstaFlow (Liu et al. 2023) reflowed Stable Diffusion. With steps it is what Stable Diffusion 3 and Flux.1
# are trained by.
#
# ## 13 · Trajectories: a future that is open
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


# %% folded="The ball: simulation, the true futures, the law of motion"
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
    return roll(starts[:n].to(device), 2)


def newton_error(q):
    """By how much a trajectory (B, 32) breaks the law of motion:
    root mean square of q'' - q + q^3 + gamma q'.
    """
    h = SPAN / MOMENTS
    middle, speed = q[:, 1:-1], (q[:, 2:] - q[:, :-2]) / (2 * h)
    acceleration = (q[:, 2:] - 2 * middle + q[:, :-2]) / h**2
    return (acceleration - middle + middle**3 + GAMMA * speed).square().mean().sqrt().item()


# %% folded="Training the forecaster, and three observations" tags=["demo"]
# long: a training, one figure of what it forecasts, and measures for many observations
g = torch.Generator().manual_seed(21)
starts = (3 * torch.rand(S.pairs, 2, generator=g) - 1.5).to(device)
rolled = roll(starts, 2)
observed = starts + BLUR * torch.randn(len(starts), 2, generator=g).to(device)


def path_batch(n=256):
    """Curves, noise, times, and the noisy observations as the condition."""
    i = torch.randint(len(rolled), (n,), generator=g).to(device)
    return rolled[i], torch.randn(n, MOMENTS, generator=g).to(device), stratified(n, g), observed[i]


def forecast(seen, n, steps=10):
    """n trajectories for each observation (m, 2), by the flow: (m, n, 32)."""
    x_1 = torch.randn(len(seen) * n, MOMENTS, generator=torch.Generator().manual_seed(23)).to(device)
    with torch.no_grad():
        u = velocity(path_net, seen.repeat_interleave(n, dim=0))
        return solve(u, x_1, steps, midpoint)[-1].reshape(len(seen), n, MOMENTS)


torch.manual_seed(22)
path_net = train(MLP(MOMENTS, 2, width=192).to(device), path_batch, S.path_steps, 2e-3, "trajectories", 0.995)
cases = torch.tensor([[-1.2, 0.3], [-0.6, 0.6], [1.3, -0.6]], device=device)
moments, fans = np.linspace(SPAN / MOMENTS, SPAN, MOMENTS), forecast(cases, 300)
fig, axes = plot.figure(2, 3, height=2.1)
for column, seen, fan in zip(axes.T, cases, fans, strict=True):
    futures = true_futures(seen, 300, torch.Generator().manual_seed(24)), fan
    for ax, q, colour in zip(column, futures, (plot.COLOURS.blue, plot.COLOURS.vermilion), strict=True):
        ax.plot(moments, q[:60].T.cpu(), color=colour, lw=0.7, alpha=0.5)
        ax.plot(moments, q.mean(0).cpu(), color=plot.INK, lw=2, ls="--")
        ax.set(ylim=(-1.9, 1.9), xticks=[0, 4, 8])
        ax.text(0.3, 1.5, f"right valley: {(q[:, -1] > 0).float().mean():.2f}", fontsize=10)
    column[0].set_title(f"seen: q = {seen[0]:.1f}, speed {seen[1]:.1f}", fontsize=11)
axes[0, 0].set_ylabel("simulated")
axes[1, 0].set_ylabel("flow")
plt.show()
g = torch.Generator().manual_seed(25)
tests = (3 * torch.rand(8 if genmap.setting() == "smoke" else 60, 2, generator=g) - 1.5).to(device)
tests = tests + BLUR * torch.randn(tests.shape, generator=g).to(device)
tests = tests[(tests.abs() < 1.5).all(dim=1)]
true_all, flow_all = torch.stack([true_futures(seen, 200, g) for seen in tests]), forecast(tests, 200)
p_true, p_flow = ((q[..., -1] > 0).float().mean(1).cpu() for q in (true_all, flow_all))
sure, miss, bet = torch.minimum(p_true, 1 - p_true) < 0.02, (p_true - p_flow).abs(), (p_true - 0.5).abs()
print(f"{(~sure).sum()} of {len(sure)} futures are open")
print(
    f"probability of the right valley, mean error: all {miss.mean():.3f}, open {miss[~sure].mean():.3f}",
    end="",
)
print(f"; always betting 1/2: {bet.mean():.3f}, open {bet[~sure].mean():.3f}")
laws = {
    "simulated": true_all.flatten(0, 1),
    "flow": flow_all.flatten(0, 1),
    "mean of open": true_all.mean(1)[~sure],
}
laws = {name: newton_error(q) if len(q) else math.nan for name, q in laws.items()}
print("breaks the law of motion by", {name: round(value, 3) for name, value in laws.items()})
valley = {"flow": flow_all[~sure], "mean": true_all.mean(1)[~sure]}
between = {name: (q[..., -1].abs() < 0.4).float().mean().item() for name, q in valley.items()}
between["simulated"] = (true_all[~sure][..., -1].abs() < 0.4).float().mean().item()
print("open futures that end between the valleys, |q| < 0.4:", {k: round(v, 3) for k, v in between.items()})
board.claim("The forecast errs by less than half of what a bet on 1/2 does.", miss.mean() < bet.mean() / 2)
board.claim("On open futures it errs more than on the others.", miss[~sure].mean() > miss[sure].mean())
board.claim(
    "Means of open futures end between the valleys more often than the flow's.",
    between["mean"] > 2 * between["flow"],
)
board.claim(
    "By the law of motion the flow's curves are worse than the mean.", laws["flow"] > laws["mean of open"]
)

# %% [markdown]
# Thin lines are possible futures, and the dashed line is their mean. In the middle column the future is open,
# and the mean follows neither branch. The lines above say it for many observations.
#
# The forecast knows that a future is open, and about how the odds stand; where it is open, its probability is
# off by a tenth or more. And its curves are *not* physics: by the law of motion they are worse than the mean
# of the futures, which is smooth. (The law is held against second differences, which divide by $h^2 = 1/16$
# and make much of the smallest jitter between moments.) So choose the measure by the use: for where, and how
# likely, the samples; for a curve that a simulation would accept, this net is not enough.
#
# ## 14 · Play: steps and guidance
#
# *Question: can guidance replace steps?* Every position draws four letters afresh, four times each.


# %% folded="Controls, and a figure of what they show" tags=["demo"]
# long: the controls, and the same as a figure
def draw_sheet(ax, steps, w, title):
    """Four letters, four times each, from the same noise in every panel."""
    letters = torch.tensor([data.CAPITALS_AND_DIGITS.index(c) for c in "AGR8"], device=device).repeat(4)
    x = draw_glyphs(euler, flow_net, letters, w, steps, torch.Generator().manual_seed(26))
    seen = judge(x).labels == letters.cpu().numpy()
    plot.images(x, columns=4, ax=ax, title=title)
    ax.set_title(f"{title}: {seen.sum()} of 16 read", fontsize=9, fontweight="normal")


def play(steps, guidance):
    """One sheet for the two sliders."""
    draw_sheet(plot.figure(height=3.6)[1], steps, guidance, f"{steps} steps, guidance {guidance:g}")
    plt.show()


steps_slider = widgets.IntSlider(4, min=1, max=20, continuous_update=False)
guidance_slider = widgets.FloatSlider(2.0, min=0.0, max=8.0, step=0.5, continuous_update=False)
controls = interact(play, steps=steps_slider, guidance=guidance_slider)
fig, axes = plot.figure(2, 4, height=2.1)
for row, w in zip(axes, (1.0, 5.0), strict=True):
    for ax, steps in zip(row, (1, 2, 4, 16), strict=True):
        draw_sheet(ax, steps, w, f"{steps} step{'s' * (steps > 1)}, w = {w:g}")
plt.show()

# %% [markdown]
# No. Guidance makes letters legible with any number of steps, and the four copies of a letter more alike.
# With one step they are one blend anyway, guided or not: no guidance makes them vary. Too much of it drives
# pixels out of range, and strokes grow fat and hard. Steps buy variety.
#
# ## 15 · What breaks
#
# **Crossing pairs, and the one step that averages.** At $t = 1$ the point *is* the noise, and an independent
# noise says nothing about $x_0$. So
#
# $$u(x, 1) = x - \mathbb E[x_0], \qquad \text{and one Euler step lands on}\quad x - u(x, 1) = \mathbb E[x_0]:$$
#
# the mean of all data, whatever the noise. No network and no amount of training changes that; it is a
# property of the coupling. With a class it is the mean of the class, with guidance something beyond it. The
# measure: how much one step's ends vary, as a share of the data's own variance; for the exact velocity it
# is 0. A trained network errs a little and lets some of the noise through.

# %% folded="Figure: one step, six noises" tags=["demo"]
# long: one step in the plane and of a letter
x_1 = torch.randn(S.points, 2, generator=torch.Generator().manual_seed(27)).to(device)
spread = {}
for name, net in flows.items():
    with torch.no_grad():
        one = solve(velocity(net), x_1, 1)[-1]
    spread[name] = one.var(dim=0).sum().item() / TOY.var(dim=0).sum().item()
print("one step's share of the data's variance:", {name: round(v, 3) for name, v in spread.items()})
letter = torch.full((6,), data.CAPITALS_AND_DIGITS.index("R"), device=device)
with torch.no_grad():
    z = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(28)).to(device)
    one = (solve(guided(flow_net, letter, 1), z, 1)[-1].cpu() + 1) / 2
mean_r = (x_train[y_train == letter[0]].mean(0, keepdim=True).cpu() + 1) / 2
captions, title = ["one step"] * 6 + ["mean of R"], "One step, six noises: the mean of R, six times"
plot.images(torch.cat([one, mean_r]), columns=7, captions=captions, title=title)
plt.show()
gap, apart = (one.mean(0) - mean_r[0]).square().mean().sqrt(), one.std(0).mean()
really = x_train[y_train == letter[0]].std(0).mean().cpu() / 2
print(
    f"one step against the mean of the class: {gap:.3f} of the grey scale; among each other {apart:.3f}",
    end="",
)
print(f"; real Rs {really:.3f}")
board.claim("Independent pairs: one step has less than 5 % of the variance.", spread["independent"] < 0.05)
board.claim("OT and reflow: more than 80 %.", min(list(spread.values())[1:]) > 0.8)
board.claim("Six Rs of one step vary less than real ones do, by a third or more.", apart < really * 2 / 3)

# %% [markdown]
# The repairs are those of sections 5, 6 and 12: couple by optimal transport, so that the noise says much
# about its $x_0$ from the start; or let the flow couple, and train again.
#
# **A coupling that leaks the class.** Minibatch OT with *labelled* data has a trap. Paired across the whole
# batch, the noise that goes to class 0 is the noise that lies near class 0. At sampling time you draw a class
# and, *independently*, a noise: pairs that training never showed. Here each of the eight clouds is a class.


# %% folded="Figure: OT across classes, and within each" tags=["demo"]
# long: one figure, and the two flows that it compares
def cloud(x):
    """The class (B,) of points (B, 2): which of the eight clouds is nearest."""
    return (torch.atan2(x[:, 1], x[:, 0]) * 4 / math.pi).round().long() % 8


def class_batch(generator, within):
    """A batch with classes one-hot: OT across the whole batch, or within each class."""
    x_0, eps = toy_pairs(generator, S.toy_batch)
    if not within:
        eps = eps[ot_order(x_0, eps)]
    for c in range(8 if within else 0):
        mine = (cloud(x_0) == c).nonzero()[:, 0]
        eps[mine] = eps[mine[ot_order(x_0[mine], eps[mine])]]
    return x_0, eps, stratified(S.toy_batch, generator), F.one_hot(cloud(x_0), 8).float()


fig, axes = plot.figure(1, 2, height=3.3)
labels, shares = torch.arange(S.points, device=device) % 8, {}
for ax, within in zip(axes, (False, True), strict=True):
    torch.manual_seed(29)
    g, net = torch.Generator().manual_seed(30), MLP(2, 8, width=96, waves=2).to(device)
    name = "OT within each class" if within else "OT across classes"
    net = train(net, lambda g=g, w=within: class_batch(g, w), S.toy_steps // 2, 3e-3, name)
    with torch.no_grad():
        ends = solve(velocity(net, F.one_hot(labels, 8).float()), x_1, 20)[-1]
    arrived = (cloud(ends) == labels) & ((ends.norm(dim=1) - 1.6).abs() < 0.5)
    shares[name] = arrived.float().mean().item()
    ax.scatter(*ends[:1_500].cpu().T, s=4, color=plot.COLOURS.sky)
    ax.scatter(
        *ends[labels == 0].cpu().T, s=5, color=plot.COLOURS.vermilion, label="asked: the right-hand cloud"
    )
    frame(ax, f"{name}, 20 steps")
    ax.legend(loc="lower center", fontsize=9, markerscale=3)
plt.show()
print("share in the cloud that was asked for:", {name: round(share, 3) for name, share in shares.items()})
board.claim(
    "Paired within each class, more samples arrive.", shares[name] > max(0.9, shares["OT across classes"])
)

# %% [markdown]
# The repair: pair within the class only, so that the noise stays independent of it.
#
# ## 16 · How good is it?
#
# The board's rows, from draws of known class, ten evaluations each.


# %% folded="Rows for the board" tags=["demo"]
# long: draws, measures, timings
def seconds_each(job, n, times=1):
    """Seconds for one of n samples of a job, after a run to warm up: the best of some times."""
    job()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        job()
        found.append((time.perf_counter() - began) / n)
    return min(found)


for w in (2, 1):
    x = draw_glyphs(euler, flow_net, asked, w, 10, torch.Generator().manual_seed(31))
    looks, few = judge.compare(x, asked.cpu(), *real), asked[: S.batch]

    def job(w=w, y=few):
        draw_glyphs(euler, flow_net, y, w, 10, torch.Generator().manual_seed(32))

    cost = {"parameters": size, "train_seconds": flow_seconds, "sample_seconds": seconds_each(job, len(few))}
    board.record("23_flow_matching", f"flow matching, guidance {w}", data="glyphs 16", **cost, **looks)
digit_size, u_one = sum(p.numel() for p in second.parameters()), velocity(second, c_asked)
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
# On these glyphs flow matching and diffusion stand close together, as section 9 says they should. What sets
# it apart is the row of section 12: one evaluation.
#
# ## 17 · In production
#
# A batch costs its evaluations, one after the other, and a sample its share of them. Guidance evaluates twice
# as many rows. With $t(B)$, the time of one evaluation of the network for a batch of $B$ rows, that is
#
# $$t_{\text{sample}} = n_{\text{steps}} \times n_{\text{evaluations a step}} \times \frac{t(B)}{B}, \qquad
# \text{with guidance } \frac{t(2B)}{B} .$$
#
# Every factor is somebody's job: straighter paths lower the first, a better solver trades the first for the
# second, reflow on guided pairs halves the rows, larger batches and bf16 lower $t(B)/B$.

# %% tags=["demo"]
B, closest = 12 if genmap.setting() == "smoke" else 32, []
y_b, z_b = asked[:1].expand(B), torch.randn(B, 1, 16, 16).to(device)
rows_of = {1: (z_b, torch.ones(B, device=device), y_b)}
rows_of[2] = tuple(torch.cat([part, part]) for part in rows_of[1])
with torch.no_grad():
    for name, method, steps, w in (
        ("Euler, 10 steps", euler, 10, 1), ("Euler, 10, guided", euler, 10, 2),
        ("midpoint, 5, guided", midpoint, 5, 2), ("Euler, 4, guided", euler, 4, 2),
    ):  # fmt: skip
        once = seconds_each(lambda w=w: flow_net(*rows_of[w]), B, 5)
        found = seconds_each(lambda m=method, n=steps, w=w: solve(guided(flow_net, y_b, w), z_b, n, m), B, 2)
        predicted = steps * COST[method] * once
        closest.append(found / predicted)
        print(f"{name:20} {1e3 * found:6.2f} ms a glyph, predicted {1e3 * predicted:6.2f} ms")
print(f"measured over predicted: {min(closest):.2f} to {max(closest):.2f}")

# %% [markdown]
# The last line says how well it holds here; on a machine that does other work as well, each of the two
# timings may be off. Hardly anything but the network's evaluations costs time. "Faster than diffusion" means
# fewer of them.

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went
# in. A number may be Python's own or a tensor that holds one; several results come as a tuple. What goes in
# stays as it is, and so does what a function that you are given returns.
#
# ### 1 · Both ends of any path (easy, 10 minutes)
#
# Lesson 19 and this one are two cases of one path, $x_t = \alpha_t x_0 + \sigma_t \varepsilon$. A network
# that predicts its velocity $u = \dot\alpha_t x_0 + \dot\sigma_t \varepsilon$ (the dots are derivatives in
# $t$) predicts data and noise, too. Find both from the point and its velocity. It should work at the ends of
# the path, where $\alpha$ or $\sigma$ is 0, and in any unit of time. Where point and velocity do not determine both,
# in one example or in all, raise `ValueError`.


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


# %% test="path-ends" points=1
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
# ### 2 · The velocity of a mixture (medium, 20 minutes)
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


# %% test="mixture-velocity" points=3
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
# ### 3 · Every Runge–Kutta method at once (easy, 10 minutes)
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


# %% test="butcher" points=1
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
# ### 4 · A softer pairing (medium, 15 minutes)
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


# %% test="entropic-plan" points=2
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
# ### 5 · Wasted action (medium, 10 minutes)
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
# ### 6 · A likelihood for many dimensions (medium, 20 minutes)
#
# The exact divergence of section 7 takes one derivative for each dimension, 256 for a glyph. Hutchinson's
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


# %% test="hutchinson" points=3
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
# ### 7 · Repair a reflow (medium, 15 minutes)
#
# Guidance does good in the middle of the path, harm near the noise, and next to nothing near the data; so it
# is often applied for times in an interval only (Kynkäänniemi et al., 2024). Somebody wrote a function that
# makes pairs for a reflow in this way. A second flow, trained on those pairs, draws nothing but noise. The
# network is fine; the interval, too, is what was wanted, and so is the times' dtype, that of the noise. Find
# the **four** faults, and write the function that works.
#
# ```python
# def broken_pairs(net, x_1, y, w, span, steps, classes):
#     """Pairs (x_0, x_1) by Euler's method, with guidance w for times in span; with four faults."""
#     x, h = x_1, 1 / steps
#     for k in range(steps):
#         t = torch.full((len(x),), k / steps, dtype=x.dtype)
#         with_class, without = net(x, t, y), net(x, t, torch.full_like(y, classes))
#         factor = w if span[0] <= k / steps <= span[1] else 1.0
#         x = x + h * (with_class + factor * (without - with_class))
#     return x, torch.randn_like(x_1)
# ```


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


# %% test="repair" points=2
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
# ### 8 · Build your own: a bridge between two data sets (hard, 30 minutes)
#
# Nothing said that one end must be noise. Let *both* ends be data, pairs $(x_0, x_1)$ of points in the plane,
# and let the way between them be a little uncertain (a *stochastic interpolant*, Albergo and Vanden-Eijnden
# 2022, with Boffi 2023):
#
# $$x_t = (1 - t)\,x_0 + t\,x_1 + c\,t(1 - t)\,z, \qquad z \sim \mathcal N(0, I).$$
#
# You write both halves. A network answers with two things at once, $u_\theta(x, t)$ and $z_\theta(x, t)$.
#
# - **The loss** regresses the first on the velocity of the *path* $t \mapsto x_t$ of a pair and its $z$
#   (differentiate), and the second on $z$: the squared errors of both, summed over coordinates, and their
#   mean over the rows. Draw for each row a time of its own, uniform on $[0, 1]$, and its $z$.
# - **The sampler** carries points from $t = 0$ to $t = 1$, or back, in equal steps, with fresh noise of
#   strength $\eta$. Section 8's argument holds with any strength of noise that depends on $t$ alone. Take
#   $D = \eta\, c\, t(1-t)$: noise of the variance $2D\,|h|$ in a step, and a push along the score,
#   $D\,\nabla\log p_t\,|h|$, in *whichever direction* you walk. Derive the score from
#   $\mathbb E[z \mid x_t]$, as section 8 does from $\mathbb E[\varepsilon \mid x_t]$: there is nothing to
#   divide by any more. What a step needs is taken at its start.
#
# Both draw from the given generator, and from nothing else. The hidden tests compare the loss with its exact
# mean for networks that err in a known way (six standard errors), train a small network with it (0.25 from
# the exact answer, root mean square), and look at what each step of your sampler adds (six standard errors). To see it learn, run in a cell of your own:
#
# ```python
# g = torch.Generator().manual_seed(0)
# body = nn.Sequential(nn.Linear(3, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 4)).double()
# net = lambda x, t: body(torch.cat([x, t[:, None]], dim=1)).chunk(2, dim=1)
# def ring(n):
#     angle = 6.28 * torch.rand(n, 1, generator=g).double()
#     return torch.cat([angle.cos(), angle.sin()], dim=1)
# def line(n):
#     return torch.cat([4 * torch.rand(n, 1, generator=g) - 2, torch.zeros(n, 1)], dim=1).double()
# adam = torch.optim.Adam(body.parameters(), 3e-3)
# for n in range(1_500):
#     loss = bridge_loss(net, ring(256), line(256), 1.0, g)
#     adam.zero_grad(); loss.backward(); adam.step()
# with torch.no_grad():
#     plt.scatter(*carry(net, ring(2_000), 50, 1.0, 0.5, g).T, s=2); plt.show()
# ```


# %% exercise="bridge"
def bridge_loss(net, x_0, x_1, c, generator):
    """The mean over rows of |u - velocity|^2 + |z_net - z|^2, at a time and a z for each row: a 0-d tensor.

    net: net(x, t) says u and z_net: (B, 2), (B,) -> two tensors (B, 2). x_0, x_1: (B, 2), pairs as they are.
    c: a number, 0 or more. The result has a gradient; what net returns stays as it is. All float64.
    """
    ### BEGIN SOLUTION
    t = torch.rand(len(x_0), generator=generator, dtype=x_0.dtype)
    z = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
    s = t[:, None]
    u, z_net = net((1 - s) * x_0 + s * x_1 + c * s * (1 - s) * z, t)
    target = x_1 - x_0 + c * (1 - 2 * s) * z
    return ((u - target) ** 2 + (z_net - z) ** 2).sum(dim=1).mean()
    ### END SOLUTION


def carry(net, x, steps, c, eta, generator, back=False):
    """Where points x (n, 2) at t = 0 come to at t = 1, or from 1 to 0 if `back`: (n, 2), float64.

    net: as above; it is asked once a step, and gets (n, 2), (n,). c: above 0; eta: 0 or more.
    """
    ### BEGIN SOLUTION
    h = (-1 if back else 1) / steps
    for k in range(steps):
        t = k / steps if not back else 1 - k / steps
        u, z_net = net(x, torch.full((len(x),), t, dtype=x.dtype))
        D = eta * c * t * (1 - t)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = x + h * u - abs(h) * eta * z_net + (2 * D * abs(h)) ** 0.5 * noise
    return x
    ### END SOLUTION


# %% test="bridge" points=6
g, here, there = torch.Generator().manual_seed(0), torch.zeros(9, 2).double(), torch.ones(9, 2).double()


def knows(x, t):
    """The answers for the one pair (0, 0), (1, 1) and c = 2: z can be read from the point."""
    s = t[:, None].clamp(1e-9, 1 - 1e-9)
    z = (x - s) / (2 * s * (1 - s))
    return 1 + 2 * (1 - 2 * s) * z, z


value = bridge_loss(knows, here, there, 2.0, g)
assert value.shape == () and value < 1e-9, "it knows velocity and z: 0, one number"
value = bridge_loss(lambda x, t: [part + 0.1 for part in knows(x, t)], here, there, 2.0, g)
assert math.isclose(value, 0.04, rel_tol=1e-9), (
    "two answers, two coordinates, each off by 0.1; to nine digits, in float64"
)
asked = []
flat = lambda x, t: asked.append(t.tolist()) or (torch.ones_like(x), 0 * x)  # noqa: E731
assert torch.allclose(carry(flat, here, 4, 1.0, 0.0, g), there), "velocity 1 for a time 1"
assert torch.allclose(carry(flat, there, 2, 1.0, 0.0, g, back=True), here), "and back"
assert asked == [[t] * 9 for t in (0, 0.25, 0.5, 0.75, 1, 0.5)], "once a step, at its start, for all rows"
push = carry(lambda x, t: (0 * x, there), here, 1, 1.0, 0.5, g)
assert torch.allclose(push, -0.5 * there), "at t = 0 there is no fresh noise yet: only the push, -eta z"

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
# - T. Karras, M. Aittala, T. Aila, S. Laine. *Elucidating the design space of diffusion-based generative
#   models.* 2022, arXiv:2206.00364. Heun, with a last step by Euler.
# - M. S. Albergo, N. M. Boffi, E. Vanden-Eijnden. *Stochastic interpolants: a unifying framework for flows
#   and diffusions.* 2023, arXiv:2303.08797.
# - T. Kynkäänniemi and others. *Applying guidance in a limited interval improves sample and distribution
#   quality in diffusion models.* 2024, arXiv:2404.07724.

# %% tags=["demo"]
selfcheck.run("23_flow_matching")
