# %% [markdown]
# # 24 · One step: distillation, consistency, MeanFlow
#
# > **Do not walk the path again for every sample. Learn where it ends.**
#
# | | |
# |---|---|
# | You will build | flow maps, which jump along a path; progressive distillation, consistency distillation and training, MeanFlow with a Jacobian–vector product, shortcut models, reflow, distribution matching, an adversarial student; a student with a guidance knob; one table of them all at equal cost |
# | You need to know | lesson 23 (velocity, guidance, reflow), lesson 19 (DDIM), lesson 13 (a discriminator); the chain rule in several variables |
# | Time on two CPU cores | about five minutes to run, an hour and a half for the text, two hours to solve |
# | Time on a GPU | a few minutes, with larger nets (`full`) |
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
from torch.func import jvp
from torch.nn import functional as F

import genmap
from genmap import board, data, diagram, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
torch.set_num_threads(1)  # on a CPU: these networks are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    points=(200, 2_000, 10_000),
    toy_steps=(4, 400, 3_000),
    width=(32, 256, 512),
    teacher=(2, 800, 5_000),
    passes=(36, 3_000, 20_000),
    glyph_width=(32, 384, 768),
    glyph_teacher=(2, 3_000, 12_000),
    glyph_student=(2, 900, 4_000),
    draws=(72, 288, 1_440),
)
torch.manual_seed(24)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("few-step")
diagram.machine(
    "x_t | (B, D) -> [network | U_θ] -> U | (B, D) -> [jump | x − (t − s) U] -> x_s | (B, D)",
    "t, s | from, to -> network",
    "y, w | class, guidance -> network",
    title="One evaluation goes from any time t to any time s; a sample is the jump from 1 to 0",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# Diffusion and flows ask their network ten to a hundred times for a sample. The methods of this lesson ask it
# once, or two to four times. They give up the simple regression on known targets: each target is made by
# another network (a teacher, or an older copy of the student), or by a discriminator. Likelihoods are lost. So is,
# at first, the choice of the guidance at sampling time; section 8 brings it back.
#
# | question | answer |
# |---|---|
# | What is modelled? | the *flow map*: where a path of the teacher's flow comes to, not how it goes on |
# | Is the density explicit? | no |
# | Is sampling one-shot or iterative? | one-shot; a few more evaluations correct the first |
# | What conditions it? | what conditioned the teacher; guidance is built in, or an input |
# | How is it evaluated, and how does that fail? | quality at a number of evaluations; accuracy alone hides a collapse, diversity alone counts rubbish as variety |
#
# Luhman and Luhman (January 2021) regressed on a sampler's results; progressive distillation (Salimans, Ho,
# February 2022) halved the steps again and again; consistency models (Song and others, March 2023) dropped the
# need for whole paths. Meng and others (October 2022) distilled guided text-to-image models; LCM (October 2023) and
# SDXL-Turbo (November 2023) made one to four steps common there. MeanFlow (Geng and others, May 2025) trains one
# step from scratch.
#
# | symbol | is |
# |---|---|
# | $x_0$, $\varepsilon$, $x_t$ | data, noise, $x_t = (1-t)\,x_0 + t\,\varepsilon$: 0 at data and 1 at noise, as in lesson 23 |
# | $t$, $r$, $s$ | times with $t \ge r \ge s$: where a jump starts, where it may pause, where it ends |
# | $u(x, t)$ | the marginal velocity $\mathbb E[\varepsilon - x_0 \mid x_t = x]$ (lesson 23) |
# | $X_{t \to s}(x)$ | the flow map: where the flow of $u$ carries $x$ from time $t$ to time $s$ |
# | $U(x, t, s)$, $U_\theta$ | the average velocity of that walk; the network's |
# | $\theta^-$ | weights that get no gradient: their moving average (in code `ema`), or the net itself, detached (`meanflow`) |
# | $w$ | how strongly a class guides (lesson 19) |
# | $N$ | into how many steps a grid of times cuts $[0, 1]$ |
#
# A warning: in the MeanFlow paper $r$ is our $s$; consistency papers let $t$ run to 80, with other weights.
#
# ## 1 · Why one Euler step fails
#
# At $t = 1$ the point is the noise, and the noise says nothing about $x_0$. So
# $u(x, 1) = x - \mathbb E[x_0]$, and one Euler step of length 1 lands on
#
# $$x - u(x, 1) = \mathbb E[x_0], \qquad \text{for every } x.$$
#
# This is no fault of training: the exact velocity does it. A velocity is right for the *next instant*. What
# one step needs is the mean of all velocities on the way,
#
# $$U(x, t, s) = \frac{1}{t - s}\int_s^t u\big(X_{t\to\tau}(x),\, \tau\big)\, \mathrm d\tau, \qquad
# X_{t \to s}(x) = x - (t - s)\,U(x, t, s).$$
#
# The second formula is the first, integrated: a walk's displacement is its duration times its average
# velocity. Nothing in it is approximate. **One step can be exact, if one knows $U$.** That is why this family
# can work at all: the map from noise to data is a function like any other, and a network of the same size may
# learn it.
#
# Two cases with a known truth: one Gaussian, $x_0 \sim \mathcal N(m, \delta^2)$, where lesson 23 derived the
# path (a point keeps its number of standard deviations from the mean); and two modes, where we integrate.
#
# **Question.** Two modes at $-1$ and $1$. Where do one, two and four Euler steps put the noise 0.5?


# %%
def two_modes_velocity(x, t, delta=0.25):
    """u(x, t) for data of two modes at -1 and 1 of deviation delta: x of any shape, t fitting (lesson 23)."""
    v = (1 - t) ** 2 * delta**2 + t**2
    side = torch.tanh((1 - t) * x / v)  # E[mode | x_t = x]
    return -side + (t - (1 - t) * delta**2) / v * (x - (1 - t) * side)


def gaussian_map(x, t, s, m, delta):
    """X_{t->s}(x) for data N(m, delta^2 I): the point keeps its place among the others (lesson 23)."""
    v_t, v_s = ((1 - a) ** 2 * delta**2 + a**2 for a in (t, s))
    return (1 - s) * m + (v_s / v_t) ** 0.5 * (x - (1 - t) * m)


# %%
def follow(u, x, t, s, n, method="midpoint"):
    """The flow of u from times t to s (numbers, or one for each row) in n steps: like x, (B, D)."""
    h = (s - t) / n
    for k in range(n):
        now = t + k * h
        slope = u(x, now)
        if method == "midpoint":
            slope = u(x + h / 2 * slope, now + h / 2)
        x = x + h * slope
    return x


# %% folded="Figure: the map that Euler does not find" tags=["demo"]
# long: maps, variances and paths in one figure
noise = torch.linspace(-2.5, 2.5, 401, dtype=torch.float64)[:, None]
crowd = torch.randn(S.points, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
one, zero = 1.0, 0.0
fig, axes = plot.figure(1, 2, height=2.8)
axes[0].plot(noise, follow(two_modes_velocity, noise, one, zero, 400), color=plot.INK, lw=2.5, label="exact")
spread = {"exact": follow(two_modes_velocity, crowd, one, zero, 400).var().item()}
for n, colour in zip((1, 2, 4, 16), plot.COLOURS, strict=False):
    axes[0].plot(
        noise, follow(two_modes_velocity, noise, one, zero, n, "euler"), color=colour, label=f"Euler, {n}"
    )
    spread[n] = follow(two_modes_velocity, crowd, one, zero, n, "euler").var().item()
axes[0].set(xlabel="noise", ylabel="where it lands", title="Flow map, and Euler's attempts")
axes[0].axvline(0.5, color=plot.COLOURS.grey, lw=1, ls=":")
axes[0].legend(fontsize=7)
spot = torch.full((1, 1), 0.5)
half = {n: follow(two_modes_velocity, spot, one, zero, n, "euler").item() for n in (1, 2, 4)}
half["exact"] = follow(two_modes_velocity, spot, one, zero, 400).item()
times = np.linspace(1, 0, 60)
for z in (-1.5, -0.5, 0.1, 0.5, 1.5):
    x = torch.tensor([[z]], dtype=torch.float64)
    way = [follow(two_modes_velocity, x, 1.0, float(a), 100).item() for a in times]
    axes[1].plot(times, way, color=plot.COLOURS.sky)
    axes[1].plot([1, 0], [z, way[-1]], color=plot.COLOURS.vermilion, ls="--", lw=1)
axes[1].set(xlabel="$t$: noise on the left", xlim=(1, 0), title="Paths, mean velocity dashed")
plt.show()
print("variance of what is drawn:", {k: round(v, 3) for k, v in spread.items()})
print("where the noise 0.5 (dotted) lands:", {k: round(v, 3) for k, v in half.items()})
board.claim("One Euler step has no variance at all.", spread[1] < 1e-9)
board.claim("Four steps have less variance than the flow.", spread[4] < 0.95 * spread["exact"])
board.claim("More steps carry the noise 0.5 further right.", 0 == half[1] < half[2] < half[4] < half["exact"])

# %% [markdown]
# <details><summary>Answer</summary>
#
# One step: on 0, the mean of the data, where no data are. Two steps go first to $x_{1/2} = 0.25$, half-way to the
# mean; there the velocity already leans to the right mode, and the second step ends near 0.44. Four steps end near 0.84,
# and the flow itself near 0.93 (second line of the output). The steep part of the black curve separates the modes: a
# student must learn it.
# </details>
#
# ## 2 · Flow maps: three ways to say what U must obey
#
# **Composition.** Walking from $t$ to $r$ and on to $s$ is walking from $t$ to $s$:
#
# $$X_{t\to s}(x) = X_{r \to s}\big(X_{t \to r}(x)\big), \qquad (t - s)\,U(x,t,s) = (t-r)\,U(x,t,r) + (r-s)\,U(X_{t\to r}(x), r, s).$$
#
# **The start does not matter along a path.** All points of one path end at the same place, so
# $\frac{\mathrm d}{\mathrm dt} X_{t\to s}(x_t) = 0$ while $x_t$ moves with the velocity $u$. Put in
# $X = x - (t-s)U$ and differentiate:
#
# $$0 = u - U - (t-s)\,\frac{\mathrm d U}{\mathrm d t}
# \quad\Longrightarrow\quad
# \boxed{\,U = u - (t - s)\,\frac{\mathrm d U}{\mathrm d t}, \qquad \frac{\mathrm d U}{\mathrm d t} = \frac{\partial U}{\partial x}\,u + \frac{\partial U}{\partial t}\,}$$
#
# This is the **MeanFlow identity**. The average differs from the velocity now by how fast the average changes.
#
# **The boundary.** $X_{s\to s}(x) = x$, and $U(x, t, t) = u(x, t)$.
#
# The first is used by progressive distillation and shortcut models ($r$ half-way), and by consistency models
# ($s = 0$, and $r$ a little below $t$); the second is its limit $r \to t$. Without the boundary all of them
# have a useless solution: $X$ constant, which composes perfectly. So build the boundary into the formula:


# %% build="jump"
def jump(net, x, t, s, *condition):
    """X_{t->s}(x) = x - (t - s) U(x, t, s): where the net says that x comes to. At t = s it is x.

    x: (B, ...); t, s: (B,), s <= t. net(x, t, s, *condition) says the average velocity, like x.
    """
    ### BEGIN SOLUTION
    span = (t - s).reshape(-1, *[1] * (x.ndim - 1))  # (B,) -> (B, 1, ...)
    return x - span * net(x, t, s, *condition)
    ### END SOLUTION


# %% check="jump"
x, late, early = torch.ones(2, 1, 3, 3), torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5])
landed = jump(lambda x, t, s: 3 * x, x, late, early)
assert landed.shape == x.shape and (landed[0] == -2).all(), "x - (1 - 0) 3 x"
assert (landed[1] == x[1]).all(), "from 0.5 to 0.5: nothing happens, whatever the net says"

# %% [markdown]
# The derivative $\mathrm dU/\mathrm dt$ along the path looks like a Jacobian of $D \times D$ numbers times a
# vector. It is a **Jacobian–vector product**: move the whole input $(x, t, s)$ by $h$ times the direction $(u, 1, 0)$, and
# ask how fast the output changes with the one number $h$. The direction is that of the path: $x$ moves with $u$, $t$
# runs, and the end $s$ stays, hence its 0. Forward-mode differentiation (`torch.func.jvp`) carries that slope along
# with the values through one pass, and never forms the Jacobian.
#
# A training uses the right side as a *target*, a fixed number without gradient. Otherwise we would need second
# derivatives, and the target would come to meet the net, where only the net shall move (section 12 shows what then happens).


# %% build="identity"
def meanflow(net, x, t, s, u, *condition):
    """U(x, t, s) of the net, with gradient, and the identity's right side u - (t - s) dU/dt, without.

    x, u: (B, ...); t, s: (B,). The slope is along (u, 1, 0). Source: Geng et al. 2025, equations 6 to 11.
    """
    ### BEGIN SOLUTION
    inputs, along = (x, t, s), (u, torch.ones_like(t), torch.zeros_like(s))
    U, slope = jvp(lambda x, t, s: net(x, t, s, *condition), inputs, along)
    span = (t - s).reshape(-1, *[1] * (x.ndim - 1))
    return U, (u - span * slope).detach()
    ### END SOLUTION


# %% check="identity"
U, target = meanflow(
    lambda x, t, s: x * t[:, None] + s[:, None],
    torch.full((2, 3), 2.0),
    *torch.tensor([[0.8, 0.5], [0.3, 0.5]]),
    torch.full((2, 3), 4.0),
)
assert torch.allclose(U[:, 0], torch.tensor([1.9, 1.5])), "what the net says"
assert torch.allclose(target[:, 0], torch.tensor([4 - 0.5 * (4 * 0.8 + 2), 4.0])), "u - (t - s) (t u + x)"
assert not target.requires_grad, "no gradient goes by way of the target"

# %% folded="The identity against an average that is integrated" tags=["demo"]
# long: a closed form, an integral and the identity
g, M, SD = torch.Generator().manual_seed(2), 0.5, 0.6
x = torch.randn(200, 1, generator=g, dtype=torch.float64)
s, t = torch.rand(2, 200, generator=g, dtype=torch.float64).sort(dim=0).values
exact = lambda x, t, s: (x - gaussian_map(x, t[:, None], s[:, None], M, SD)) / (t - s)[:, None]  # noqa: E731


def gaussian_velocity(x, t):
    """E[eps - x_0 | x_t = x] for N(M, SD^2) (lesson 23)."""
    v = (1 - t) ** 2 * SD**2 + t**2
    return -M + (t - (1 - t) * SD**2) / v * (x - (1 - t) * M)


def average(x, t, s, n=1_000):
    """(1 / (t - s)) times the integral of u along the path: by trapezoids, on a path by follow."""
    total = torch.zeros_like(x)
    for k in range(n):
        total += gaussian_velocity(x, now := t + k / n * (s - t)) / (2 * n)
        x = follow(gaussian_velocity, x, now, now + (s - t) / n, 1)
        total += gaussian_velocity(x, now + (s - t) / n) / (2 * n)
    return total


U, right_side = meanflow(exact, x, t, s, gaussian_velocity(x, t[:, None]))
integrated = average(x, t[:, None], s[:, None])
h, u = 1e-5 * (t - s), gaussian_velocity(x, t[:, None])  # a small move along (u, 1, 0), there and back
moved = (exact(x + h[:, None] * u, t + h, s) - exact(x - h[:, None] * u, t - h, s)) / (2 * h[:, None])
slope = (u - right_side) / (t - s)[:, None]
print(f"slope by jvp against a finite difference: {((moved - slope) / (1 + slope.abs())).abs().max():.1e}")
print(
    f"closed form against the integral: {(U - integrated).abs().max():.1e}; "
    f"against the identity: {(U - right_side).abs().max():.1e}"
)
board.claim("The integrated average obeys the identity.", (integrated - right_side).abs().max() < 1e-4)
board.claim(
    "The slope is a derivative along the path.", ((moved - slope) / (1 + slope.abs())).abs().max() < 1e-3
)

# %% [markdown]
# ## 3 · One teacher for all
#
# The network is lesson 23's MLP with a second time: it sees waves of $t$, and of the length $t - s$ by weights
# that start at 0. The waves of a length $d$ are $\sin(fd)$ and $\cos(fd) - 1$, all 0 at $d = 0$. So a net trained with
# $s = t$ is a velocity, and *every student starts as the teacher*.
#
# **Guidance as an input.** The class is one-hot, and zeros mean "no class". Later students see $w$ times the
# one-hot vector, so the same weights take any guidance.


# %% folded="The network, its times, and the loop that trains every network of this lesson"
# long: the tools of training
class FlowMap(nn.Module):
    """Average velocity in D dimensions: x (B, D), t, s (B,), c (B, C) -> (B, D). fastest: of the waves."""

    def __init__(self, D, C=0, width=256, depth=3, fastest=30.0):
        super().__init__()
        self.register_buffer("frequency", torch.linspace(0, math.log(fastest), 16).exp())
        self.enter = nn.Linear(D + 32 + C, width)
        self.span = nn.Linear(32, width, bias=False)
        self.body = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU()) for _ in range(depth)
        )
        self.leave = nn.Linear(width, D)
        nn.init.zeros_(self.span.weight)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x, t, s, c=None):
        a, d = t[:, None] * self.frequency, (t - s)[:, None] * self.frequency  # (B, 16) each
        seen = [x, a.sin(), a.cos(), *([] if c is None else [c])]
        h = self.enter(torch.cat(seen, dim=1)) + self.span(torch.cat([d.sin(), d.cos() - 1], dim=1))
        for block in self.body:
            h = h + block(h)
        return self.leave(h)


def stratified(n, generator):
    """n times, each uniform on [0, 1), evenly spread together: (n,)."""
    return ((torch.rand(1, generator=generator) + torch.arange(n)) / n % 1).to(device)


def update(net, ema, optimizer, loss, decay):
    """One step down the loss, and one of the moving average; the loss stays on the device."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    torch._foreach_lerp_(list(ema.parameters()), [p.detach() for p in net.parameters()], 1 - decay)
    return loss.detach()


def train(net, loss_of, steps, rate, title, decay=0.99):
    """AdamW; the rate rises in a tenth of the steps, then falls to 0. loss_of(net, ema, done) draws a batch.

    done: the share of the training that is over, from 0 to 1. Returns the averaged net, without gradients.
    """
    ema = copy.deepcopy(net).requires_grad_(False)
    net.requires_grad_(True)
    optimizer, curve = torch.optim.AdamW(net.parameters(), rate, betas=(0.9, 0.99)), progress.Curve(title)
    cycle = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, 10 * (k + 1) / steps) * math.cos(math.pi / 2 * k / (steps + 1)) ** 2
    )
    for k in progress.track(range(steps), title=title):
        kept = min(decay, (k + 1) / (k + 10))  # a young average forgets its start
        curve.add(k, update(net, ema, optimizer, loss_of(net, ema, k / steps), kept))
        cycle.step()
    curve.close()
    return ema


def mixed(x_0, eps, t):
    """x_t = (1 - t) x_0 + t eps: (B, D), (B, D), (B,) -> (B, D)."""
    return (1 - t[:, None]) * x_0 + t[:, None] * eps


def guided(net, x, t, c, w):
    """The velocity with guidance w, a number or (B, 1): from no class through c, in one pass of 2 B rows."""
    two = (torch.cat([a, a]) for a in (x, t, t))
    with_class, without = net(*two, torch.cat([c, 0 * c])).chunk(2)
    return without + w * (with_class - without)


# %% folded="Training: the teacher of the digits" tags=["demo"]
# long: data, batches, measures and the teacher
digits, judge = data.digits(), features.digits()
x_digits = 2 * torch.tensor(digits.train.x, device=device).flatten(1) - 1
c_digits = F.one_hot(torch.tensor(digits.train.y, device=device), 10).float()
W = 1.5  # the guidance that the digits' students learn
asked = torch.arange(len(digits.test.x)) % 10
c_asked = F.one_hot(asked, 10).float().to(device)
z_digits = torch.randn(len(asked), 64, generator=torch.Generator().manual_seed(3)).to(device)
draws_from = torch.Generator().manual_seed(4)


def digit_batch(n=128, drop=0.0, x=x_digits, c=c_digits, generator=draws_from):
    """n digits, noise, times, classes, of which a share is hidden."""
    i = torch.randint(len(x), (n,), generator=generator).to(device)
    eps = torch.randn(n, x.shape[1], generator=generator).to(device)
    kept = (torch.rand(n, 1, generator=generator) >= drop).to(device)
    return x[i], eps, stratified(n, generator), c[i] * kept


def flow_loss(net, ema, done, batch=digit_batch):
    """Lesson 23's regression on the velocities of pairs, with s = t."""
    x_0, eps, t, c = batch(drop=0.1)
    return F.mse_loss(net(mixed(x_0, eps, t), t, t, c), eps - x_0)


def digit_look(x):
    """The measures of digits (N, 64) of the classes asked for."""
    return judge.compare((x.reshape(-1, 1, 8, 8).cpu() + 1) / 2, asked, digits.test.x, digits.test.y)


def told(looks):
    """Three measures in a line."""
    return (f"accuracy {looks['class_accuracy']:.3f}, diversity {looks['diversity']:.2f}, "
            f"Fréchet {looks['frechet']:.2f}")  # fmt: skip


torch.manual_seed(5)
began, seconds = time.perf_counter(), {}
teacher = train(FlowMap(64, 10, S.width).to(device), flow_loss, S.teacher, 2e-3, "teacher")
seconds["teacher"] = time.perf_counter() - began
size = sum(p.numel() for p in teacher.parameters())


@torch.no_grad()
def by_teacher(n, w=W, z=z_digits, c=c_asked, net=teacher, clock=None):
    """Digits by n guided Euler steps of the teacher, 2 n passes; clock: its times, equal steps if None."""
    x, times = z, torch.linspace(1, 0, n + 1) if clock is None else clock
    for now, later in pairwise(times.tolist()):
        x = x + (later - now) * guided(net, x, torch.full((len(x),), now, device=device), c, w)
    return x


euler_looks = {n: digit_look(by_teacher(n)) for n in (1, 2, 4, 8, 16, 32)}
for n, looks in euler_looks.items():
    print(f"Euler, {n:2} steps: {told(looks)}")
taken = [np.flatnonzero(np.asarray(digits.train.y) == c)[i // 10] for i, c in enumerate(asked.tolist())]
real = digit_look(x_digits[torch.tensor(taken)])
print(f"digits of the training half: {told(real)}")
board.claim(
    "One step of the teacher has less than a third of real diversity.", euler_looks[1]["diversity"] < 1 / 3
)
board.claim("32 steps have more than half.", euler_looks[32]["diversity"] > 0.5)
if genmap.setting() != "smoke":
    board.claim("Real training digits have a diversity below 0.85.", real["diversity"] < 0.85)
    board.claim("And a smaller Fréchet distance than 32 steps.", real["frechet"] < euler_looks[32]["frechet"])

# %% [markdown]
# The course's measuring net looks at draws of known class. *Accuracy*: the share in which it sees the class
# asked for. *Diversity*: the variance of features within a class, over that of the test digits. *Fréchet*: the
# distance of the two clouds of features, each taken for a normal one; it feels both, and less is better. *Recall*: the share
# of the test digits that have a draw among their neighbours in features: what of the variety is reached.
#
# The last line is the ruler's own zero. Real digits of the *training* half are less diverse by it than the test digits, most
# likely as the measuring net was trained on them and maps what it knows closer together. So 1 is no goal for a model of
# the training digits, and what lies above their diversity is partly error.
#
# **The price of a training.** All students get the same number of *passes* of 128 rows through the network:
# forward 1, backward 2, a Jacobian–vector product 2 more than the forward it is carried by. A guided velocity counts
# twice. Trainings from scratch get the teacher's passes in addition, since the others inherit them. Passes are not
# seconds: section 9 prints those, too.
#
# ## 4 · Progressive distillation: one step for two
#
# Composition with $r$ half-way: *one* step of the student shall land where *two* steps of the teacher land. Then
# the student is the teacher, and the number of steps is halved again, 8 → 4 → 2 → 1 (Salimans, Ho 2022). For
# a step from $t$ to $s$ the target is the average velocity of the teacher's two steps:
#
# $$\text{target} = \frac{x_t - x_s^{\text{teacher}}}{t - s}.$$


# %% build="halving"
def halving_loss(net, step, x_t, t, s, *condition):
    """The student's average velocity over [s, t] against that of two teacher steps: a mean over all entries.

    step(x, t, s): one step of the teacher, from times t to s, (B,) each. Source: Salimans and Ho 2022.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        r = (t + s) / 2
        x_s = step(step(x_t, t, r), r, s)
        target = (x_t - x_s) / (t - s)[:, None]
    return F.mse_loss(net(x_t, t, s, *condition), target)
    ### END SOLUTION


# %% check="halving"
half_step = lambda x, t, s: x * (s / t)[:, None]  # noqa: E731 a teacher whose paths are x_t = t eps
x, t, s = torch.full((3, 2), 2.0), torch.full((3,), 1.0), torch.full((3,), 0.5)
assert halving_loss(lambda x, t, s: x, half_step, x, t, s) < 1e-12, "its average velocity is x_t / t"
assert math.isclose(halving_loss(lambda x, t, s: x + 1, half_step, x, t, s), 1.0, rel_tol=1e-6)


# %% folded="Training: progressive distillation" tags=["demo"]
# long: four stages, and what a student draws
def steps_for(cost, share=1.0, scratch=False):
    """How many updates of so many passes the budget buys."""
    return max(1, int(share * (S.passes + 3 * S.teacher * scratch) / cost))


def student():
    """A copy of the teacher, to be trained."""
    return copy.deepcopy(teacher)


@torch.no_grad()
def by_jumps(net, n, c=c_asked, z=z_digits):
    """n jumps of equal length from noise to data."""
    x, times = z, torch.linspace(1, 0, n + 1).tolist()
    for now, later in pairwise(times):
        x = jump(
            net, x, torch.full((len(x),), now, device=device), torch.full((len(x),), later, device=device), c
        )
    return x


def halve(N, before):
    """A student that takes N steps, from a teacher that takes 2 N: `before`, or the guided velocity."""

    def loss_of(net, ema, done):
        x_0, eps, _, c = digit_batch()
        t = torch.randint(1, N + 1, (len(c),), generator=draws_from).to(device) / N
        if before is None:
            step = lambda x, t, s: x - (t - s)[:, None] * guided(teacher, x, t, c, W)  # noqa: E731
        else:
            step = lambda x, t, s: jump(before, x, t, s, c)  # noqa: E731
        return halving_loss(net, step, mixed(x_0, eps, t), t, t - 1 / N, c)

    cost = 7 if before is None else 5
    return train(copy.deepcopy(before or teacher), loss_of, steps_for(cost, 0.25), 1e-3, f"{N} steps")


began, halved, before = time.perf_counter(), {}, None
for N in (8, 4, 2, 1):
    halved[N] = before = halve(N, before)
    print(f"student of {N} steps: {told(digit_look(by_jumps(before, N)))}")
seconds["progressive"] = time.perf_counter() - began

# %% [markdown]
# Each stage learns from what the stage before can do. By Fréchet distance the last student is in one evaluation where
# the first teacher is after 16 steps of two passes each (section 3's list). That compares crowds. Does it carry each
# noise to the *same* digit? Section 9's table has a column for that.
#
# ## 5 · Consistency: agree with your neighbour on the path
#
# Fix $s = 0$: the *consistency function* $f_\theta(x, t) = X_{t\to0}(x)$ (Song and others 2023). Composition says: two
# neighbours on one path have the same end. Take a step of the teacher from $x_t$ to $x_r$, and ask
#
# $$L = \mathbb E\,\big\lVert f_\theta(x_t, t) - f_{\theta^-}(x_r, r) \big\rVert^2, \qquad f_\theta(x, 0) = x .$$
#
# The boundary is where knowledge comes from: at $r = 0$ the target is a data point; what is learned there
# reaches the next time, and so on up to the noise. No path is ever walked whole.
#
# - **Consistency distillation** gets $x_r$ by one step of the (guided) teacher.
# - **Consistency training** has no teacher: it uses the pair's own velocity,
#   $x_r = x_t - (t - r)(\varepsilon - x_0)$, the same noise at a smaller time. Many pairs pass through one $x_t$, and the
#   target is an average over them. With $h = t - r$ and the pair's velocity $v = \varepsilon - x_0$,
#
# $$\mathbb E\big[f(x_t - h\,v,\; r)\,\big|\,x_t\big] = f(x_t, r) - h\,\frac{\partial f}{\partial x}\,\mathbb E[v \mid x_t] + O(h^2),
# \qquad \mathbb E[v \mid x_t] = u(x_t, t):$$
#
# the pair's velocity does the same as the marginal one, up to $h^2$ a step, and $1/h$ steps make an error of order $h$.


# %% build="consistency"
def consistency_loss(net, ema, x_t, x_r, t, r, *condition):
    """Squared distance of two neighbours' ends, f(x_t, t) by net and f(x_r, r) by ema: a mean over entries.

    x_t, x_r: (B, D), points of one path at the times t > r, (B,). Source: Song et al. 2023, equation 7.
    """
    ### BEGIN SOLUTION
    data_time = torch.zeros_like(t)
    with torch.no_grad():
        end = jump(ema, x_r, r, data_time, *condition)
    return F.mse_loss(jump(net, x_t, t, data_time, *condition), end)
    ### END SOLUTION


# %% check="consistency"
weight = torch.tensor(1.0, requires_grad=True)
line = lambda x, t, s: weight * x / t.clamp(min=1e-9)[:, None]  # noqa: E731 for x_t = t eps: all end at 0
x, t, r = torch.full((3, 2), 2.0), torch.full((3,), 0.8), torch.full((3,), 0.4)
assert consistency_loss(line, line, x, x / 2, t, r).item() == 0, "two points of one path"
shift = lambda x, t, s: line(x, t, s) - 1 / t[:, None]  # noqa: E731 lands on 1
consistency_loss(line, shift, x, x / 2, t, r).backward()
assert math.isclose(weight.grad, 2 * -1 * -2.0), "the gradient goes by way of net, not of ema"

# %% [markdown]
# **How many times on the grid?** Few, and one step of a teacher is coarse, a bias that no training removes.
# Many, and neighbours teach each other almost nothing: what the boundary knows takes long to reach the noise.
# Here is the truth of two modes, an equal training on grids of $N$ times, and one whose $N$ doubles as it
# trains. The left figure shows at which times $t$ the net knows the end: how far $f_\theta(x_t, t)$ is from it along exact
# paths. Before training the last layer is 0, so $f(x_t, t) = x_t$: the dashed line.
#
# **Question.** At which times will $N = 2$ be wrong, and at which will $N = 256$?


# %% folded="Figure: the grid, and the continuous limit" tags=["demo"]
# long: trainings in one dimension, against the exact map
true_ends = follow(two_modes_velocity, crowd, 1.0, 0.0, 400).float()
toy_times = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
toy_paths = {t: follow(two_modes_velocity, crowd, 1.0, t, 200) for t in toy_times}


def toy_error(net, t=1.0):
    """Root mean squared distance to the exact end of the net's one step from time t of an exact path."""
    x_t, times = toy_paths[t].float().to(device), torch.full((len(crowd),), t, device=device)
    with torch.no_grad():
        ends = jump(net, x_t, times, 0 * times).cpu()
    return (ends - true_ends).square().mean().sqrt().item(), ends


def toy_points(generator, n=256):
    """x_t of two modes at times t, and the noise: (n, 1), (n,)."""
    side = 2.0 * torch.randint(2, (n, 1), generator=generator) - 1
    x_0 = side + 0.25 * torch.randn(n, 1, generator=generator)
    eps, t = torch.randn(n, 1, generator=generator), stratified(n, generator)
    return x_0.to(device), eps.to(device), t


def toy_student(title, grid=None, fastest=30.0, rate=3e-3):
    """A map of two modes with the exact velocity as its teacher: on a grid, or in the continuous limit."""
    torch.manual_seed(6)
    g, sizes = torch.Generator().manual_seed(7), []

    def loss_of(net, ema, done):
        x_0, eps, t = toy_points(g)
        if grid is None:
            x_t = mixed(x_0, eps, t)
            U, target = meanflow(net, x_t, t, 0 * t, two_modes_velocity(x_t, t[:, None]))
            sizes.append((target - U).detach().square().mean().sqrt())
            return F.mse_loss(U, target)
        N = grid(done)
        t = (t * N).floor().add(1) / N
        x_t, r = mixed(x_0, eps, t), t - 1 / N
        x_r = x_t - two_modes_velocity(x_t, t[:, None]) / N
        return consistency_loss(net, ema, x_t, x_r, t, r)

    net = FlowMap(1, width=64, fastest=fastest).to(device)
    return train(net, loss_of, S.toy_steps, rate, title, decay=0.9), torch.stack(sizes or [torch.zeros(())])


def rms(x):
    """Root mean square, a number."""
    return x.square().mean().sqrt().item()


nets, sizes = {f"N = {N}": toy_student(f"N = {N}", lambda done, N=N: N)[0] for N in (2, 16, 256)}, {}
nets["N doubles, 4 to 128"] = toy_student("N doubles", lambda done: 4 * 2 ** int(6 * done))[0]
for fastest in (30, 1_000):
    name = f"continuous, {fastest}"
    nets[name], sizes[fastest] = toy_student(f"continuous, waves up to {fastest}", fastest=fastest)
fronts = {name: [toy_error(net, t)[0] for t in toy_times] for name, net in nets.items()}
fronts["untrained"] = [rms(toy_paths[t] - true_ends) for t in toy_times]
errors = {name: front[-1] for name, front in fronts.items()}
errors["Euler, 2 steps"] = rms(follow(two_modes_velocity, crowd, 1.0, 0.0, 2, "euler") - true_ends)
errors["0 for every noise"] = rms(true_ends)
fig, axes = plot.figure(1, 2, height=2.9)
shown = [name for name in fronts if "1000" not in name]
for name, colour in zip(shown, (*[*plot.COLOURS][:5], plot.INK), strict=True):
    axes[0].semilogy(
        toy_times, fronts[name], ".--" if name == "untrained" else ".-", color=colour, lw=1.2, label=name
    )
axes[0].set(
    xlabel="$t$, where the jump starts", ylabel="distance to the exact end", title="Who knows the end?"
)
axes[0].legend(fontsize=6)
for fastest, colour in zip(sizes, plot.COLOURS, strict=False):
    axes[1].semilogy(
        sizes[fastest].cpu().clamp(min=1e-3), color=colour, lw=0.8, label=f"waves up to {fastest}"
    )
axes[1].set(xlabel="update", title="Continuous limit: |target − U|")
axes[1].legend(fontsize=7)
plt.show()
print("distance to the exact map, t = 1:", {name: round(e, 3) for name, e in errors.items()})
if genmap.setting() != "smoke":
    coarse, good, fine, doubled = (errors[name] for name in shown[:4])
    board.claim("The best grid is in the middle.", good < 0.6 * min(coarse, fine))
    board.claim("Doubling lies between.", good < doubled < 0.65 * min(coarse, fine))
    board.claim("Two times learn Euler's two steps.", abs(coarse - errors["Euler, 2 steps"]) < 0.05)
    board.claim(
        "N = 256 knows the ends near the data, and at the noise no more than an untrained net.",
        fronts["N = 256"][1] < 0.7 * fronts["untrained"][1] and fine > 0.9 * errors["untrained"],
    )
    board.claim(
        "Nor does the continuous limit know more there; with fast waves it is worse than saying 0.",
        errors["continuous, 30"] > 0.9 * errors["untrained"]
        and errors["continuous, 1000"] > errors["0 for every noise"],
    )
    board.claim(
        "With slow waves the target stays within 100 of U, with fast ones it leaves by more than 1,000.",
        sizes[30].max() < 100 and sizes[1_000].max() > 1_000,
    )

# %% [markdown]
# <details><summary>Answer</summary>
#
# $N = 2$ has learned what its teacher does, Euler's two steps, and is as wrong as they are (printed side by side): that is
# bias. $N = 256$ has learned the ends near the data. At the noise it is where an untrained net is: knowledge walks from
# $t = 0$ to $t = 1$, one step of the grid at a time, and in so many updates its front has not arrived. More updates move it
# further, so the best $N$ grows with the budget. Doubling $N$ is safe, not best: it beats both bad grids without knowing
# the good one, which it does not reach. (Song and Dhariwal, 2023, double $N$ in consistency *training*.)
# </details>
#
# **A loss that says nothing.** Watch the curves of those trainings whose $N$ doubles: they go down in stairs. Neighbours come
# twice as near with each doubling, so their squared distance falls by about four, whatever the net knows. Within a stair
# the curve is nearly flat while the net learns.
#
# **The continuous limit.** Let $N \to \infty$. What is left of the difference of neighbours, divided by its
# length, is the identity of section 2: its target has a derivative of the *network itself* in it,
# $\partial_t U_{\theta^-}$. A network with fast waves of $t$ may fit well and still have huge slopes, and the
# target multiplies them: in the right-hand figure it runs away, and takes the training with it. Nothing is wrong
# with the formula: the trouble is the slope of the network that goes into it. Lu and Song (2024) mended it for large
# networks: slow waves of time, normalised slopes, and a slope that is faded in. Our waves up to 30 are slow enough for
# stability. They do not make it quick: it is the limit of the finest grids, whose front is the slowest, and at equal
# updates its curve in the left figure still lies on the dashed line. (MeanFlow, in section 6, helps it by a second task
# in each batch.) With the fast waves the net ends farther from the exact map than one that says 0 for every noise.
#
# Both kinds of consistency on the digits. The grid doubles from 4 to 64.


# %% folded="Training: consistency, with a teacher and without" tags=["demo"]
# long: two trainings, and the sampler of more than one evaluation
def agree(distil, w_of=None):
    """A loss for `train`: consistency distillation by the guided teacher, or training by the pairs."""

    def loss_of(net, ema, done):
        x_0, eps, t, c = digit_batch()
        N = 4 * 2 ** int(5 * done)
        t = (t * N).floor().add(1) / N
        x_t, r = mixed(x_0, eps, t), t - 1 / N
        with torch.no_grad():
            w = w_of(len(c)) if w_of else W
            u = guided(teacher, x_t, t, c, w) if distil else eps - x_0
        return consistency_loss(net, ema, x_t, x_t - u / N, t, r, w * c if w_of else c)

    return loss_of


@torch.no_grad()
def by_renoising(net, n, c=c_asked, z=z_digits, seed=8):
    """Jump to data, mix with fresh noise down to the next time, jump again: n evaluations."""
    g, x = torch.Generator().manual_seed(seed), z
    for k in range(n):
        now = torch.full((len(x),), 1 - k / n, device=device)
        if k:
            x = mixed(x, torch.randn(x.shape, generator=g).to(device), now)
        x = jump(net, x, now, 0 * now, c)
    return x


began = time.perf_counter()
distilled = train(student(), agree(True), steps_for(6), 1e-3, "consistency distillation", 0.95)
seconds["consistency distillation"] = time.perf_counter() - began
began = time.perf_counter()
trained = train(student(), agree(False), steps_for(4), 1e-3, "consistency training", 0.95)
seconds["consistency training"] = time.perf_counter() - began
both = {
    name: digit_look(by_renoising(net, 1))
    for name, net in (("distillation", distilled), ("training", trained))
}
for name, looks in both.items():
    print(f"consistency {name}, one evaluation: {told(looks)}")
if genmap.setting() != "smoke":
    board.claim(
        "Consistency training is more diverse, and worse by Fréchet distance.",
        both["training"]["diversity"] > 1.1 * both["distillation"]["diversity"]
        and both["training"]["frechet"] > 1.2 * both["distillation"]["frechet"],
    )

# %% [markdown]
# Training has no guidance in it, since pairs have none. Its crowd is that of an unguided flow: more diverse, less often
# recognised, and by Fréchet distance clearly worse. Part of such diversity is rubbish: a digit that is no digit is far from
# all others. Section 8 shows the extreme. More evaluations: jump to the data, add fresh noise to an earlier time, and
# jump again (`by_renoising`).
#
# ## 6 · From scratch: MeanFlow
#
# **MeanFlow** trains $U_\theta$ by the identity. Its right side needs the marginal velocity $u$, which nobody
# knows; but it is *linear* in $u$, as $\frac{\mathrm dU}{\mathrm dt} = \frac{\partial U}{\partial x}u +
# \frac{\partial U}{\partial t}$. So put in a pair's $\varepsilon - x_0$: for given $x_t$ its mean is $u$, hence
# the mean of the target is the right target, exactly, with no error in $t - r$, and least squares finds means.
# (Strictly: for a fixed net in the derivative. That fixed point is the identity's solution.)
#
# In half of the batch $s = t$: the identity is then lesson 23's flow matching, which anchors the rest.
# **Guidance** goes into the target, by the net's own velocity without class:
#
# $$u_w = w\,(\varepsilon - x_0) + (1 - w)\,U_{\theta^-}(x_t, t, t, \varnothing).$$
#
# Its fixed point is $w\,u(x\mid y) + (1 - w)\,u(x)$: the guided velocity of lesson 23. A squared error with rare
# large targets is dampened by dividing each row's by its own size to a power (Geng and others, section 4.3). That has a
# price: with the power 1/2 it is about a *distance*, not its square, and what has the least mean distance is a median, not
# the mean. So the "exactly" above holds for plain least squares; the dampened loss trades it for fewer wild steps.


# %% tags=["demo"]
def guided_pair(ema, x_0, eps, x_t, t, c):
    """w (eps - x_0) + (1 - w) U(x_t, t, t, no class); rows without a class keep eps - x_0."""
    with torch.no_grad():
        other = ema(x_t, t, t, 0 * c)
    w = torch.where(c.sum(dim=1, keepdim=True) > 0, W, 1.0)
    return w * (eps - x_0) + (1 - w) * other


def meanflow_loss(net, ema, done):
    """The identity with a pair's velocity; half of the rows have s = t. Rows weigh about 1 / size^(1/2)."""
    x_0, eps, _, c = digit_batch(drop=0.1)
    a, b = torch.rand(2, len(c), generator=draws_from).to(device).sort(dim=0).values
    s, t = torch.where(torch.arange(len(c), device=device) % 2 == 0, b, a), b
    x_t = mixed(x_0, eps, t)
    U, target = meanflow(net, x_t, t, s, guided_pair(ema, x_0, eps, x_t, t, c), c)
    error = (U - target).square().mean(dim=1)
    return (error / (error.detach() + 0.01).sqrt()).mean()


# %% [markdown]
# **Shortcut models** (Frans and others 2024) use composition instead, and no derivative: a net that knows its step length.
# Half of the batch is flow matching. In the other half one step of length 1, 1/2 or 1/4 is two half-steps of $\theta^-$;
# the shortest, 1/8, is one Euler step: its target is the velocity, and there the boundary's knowledge comes in.


# %% tags=["demo"]
def shortcut_loss(net, ema, done):
    """Half of the rows: s = t, flow matching. The others: a step is two half-steps, of ema."""
    x_0, eps, t, c = digit_batch(drop=0.1)
    n = len(c) // 2
    length = 0.5 ** torch.randint(0, 4, (n,), generator=draws_from).to(device)
    t = torch.cat([((t[:n] / length).floor() + 1) * length, t[n:]])
    s = torch.cat([t[:n] - length, t[n:]])
    x_t = mixed(x_0, eps, t)
    u, fine = guided_pair(ema, x_0, eps, x_t, t, c), (length == 0.125)[:, None]
    first, (x, y, now, end) = c[:n], (v[:n] for v in (x_t, u, t, s))
    with torch.no_grad():  # the shortest step is one of the velocity, the others are two of half the length
        slope_1 = ema(x, now, (now + end) / 2, first)
        x_r = x - length[:, None] / 2 * slope_1
        slope_2 = ema(x_r, (now + end) / 2, end, first)
        target = torch.cat([torch.where(fine, y, (slope_1 + slope_2) / 2), u[n:]])
    return F.mse_loss(net(x_t, t, s, c), target)


# %% folded="Training: MeanFlow, shortcut, reflow" tags=["demo"]
# long: two trainings from scratch, and lesson 23's reflow
def fresh():
    """A net that has learned nothing."""
    torch.manual_seed(9)
    return FlowMap(64, 10, S.width).to(device)


began = time.perf_counter()
mean_net = train(fresh(), meanflow_loss, steps_for(6, scratch=True), 2e-3, "MeanFlow")
seconds["MeanFlow, from scratch"] = time.perf_counter() - began
began = time.perf_counter()
short_net = train(fresh(), shortcut_loss, steps_for(5, scratch=True), 2e-3, "shortcut")
seconds["shortcut, from scratch"] = time.perf_counter() - began
began = time.perf_counter()
kept = 128 * max(
    1, S.passes // 120
)  # a sixth of the passes makes pairs, by ten guided steps of two passes each
c_pairs = F.one_hot(torch.arange(kept, device=device) % 10, 10).float()
z_pairs = torch.randn(kept, 64, generator=torch.Generator().manual_seed(10)).to(device)
x_pairs = by_teacher(10, z=z_pairs, c=c_pairs)


def reflow_loss(net, ema, done):
    """Lesson 23's reflow: flow matching on pairs of noise and where the guided flow carries it."""
    i, t = torch.randint(kept, (128,), generator=draws_from).to(device), stratified(128, draws_from)
    return F.mse_loss(net(mixed(x_pairs[i], z_pairs[i], t), t, t, c_pairs[i]), z_pairs[i] - x_pairs[i])


straight = train(student(), reflow_loss, steps_for(3, 5 / 6), 1e-3, "reflow")
seconds["reflow"] = time.perf_counter() - began
velocity_of = lambda net: lambda x, t, s, c: net(x, t, t, c)  # noqa: E731 a velocity as a net of two times
for name, net in (("MeanFlow", mean_net), ("shortcut", short_net), ("reflow", velocity_of(straight))):
    print(f"{name}, one evaluation: {told(digit_look(by_jumps(net, 1)))}")

# %% [markdown]
# Reflow is lesson 23's one step: its pairs are ends of whole paths, so its teacher walks ten steps for each.
#
# **MeanFlow comes behind at this price.** At one evaluation it has less diversity and a larger Fréchet distance than the
# shortcut model with as many passes. Shortcut trains the whole jump, from 1 to 0, in one row of eight. MeanFlow's two uniform
# times are farther apart than 0.9 in one pair of a hundred, and half of its rows are no jump at all: the one jump that
# is asked for in the end is hardly trained. That is our reading, not a proof; Geng and others train it much longer and
# draw times with more care.
#
# ## 7 · Match the distribution, not the paths
#
# So far each noise had an end that the teacher decided. Two methods let the student choose, and only compare the
# *crowds*.
#
# **Distribution matching distillation** (DMD, Yin and others 2023) goes down the reverse KL divergence of the
# student's crowd $q$ from the teacher's $p$, both with noise added up to a time $t$. For a sample
# $x_t = (1-t)\,G_\theta(z) + t\varepsilon$ that moves with $\theta$,
#
# $$\nabla_\theta\,\mathrm{KL}(q_t \Vert p_t) = \mathbb E\Big[\big(\nabla\log q_t(x_t) - \nabla \log p_t(x_t)\big)\cdot(1-t)\,\tfrac{\partial G_\theta}{\partial\theta}\Big].$$
#
# <details><summary>Why the density's own change drops out</summary>
#
# $\mathrm{KL} = \mathbb E_{q}[\log q - \log p]$, where $\theta$ stands in two places: in the samples, and in the
# function $\log q$. The first gives the formula. The second gives $\mathbb E_q[\partial_\theta \log q] =
# \int \partial_\theta q = \partial_\theta 1 = 0$.
# </details>
#
# This divergence is *reverse*: an average over the student's own draws. It is large where the student draws what the teacher
# never would, and does not notice a mode that the student leaves out. Hence samples look good, and variety is at risk
# (section 12). The first paper therefore adds a regression on pairs of a noise and the teacher's end. We leave it out, as
# its successor does (DMD2, Yin and others 2024, arXiv:2405.14867).
#
# A score and a velocity say the same (lesson 23): the mean $\hat x_0 = x_t - t\,u$, and
# $\nabla \log p_t = ((1-t)\hat x_0 - x_t)/t^2$. So the difference of scores is a difference of velocities:
# $\nabla\log q_t - \nabla\log p_t = \frac{1-t}{t}\,(u_p - u_q)$. The teacher says $u_p$. A second
# network, the *fake* one, learns $u_q$ by flow matching on what the student draws, all the time. Any positive factor
# leaves the direction as it is, so the weights by $t$ are chosen for steps of about one size: we take $t\,(u_p - u_q)$,
# over the distance from the sample to the teacher's guess.


# %% build="crowd"
def crowd_direction(x, x_t, t, u_teacher, u_fake):
    """The gradient of the reverse KL by the student's samples x (B, D), rescaled: a step goes against it.

    t (u_teacher - u_fake), the difference of the two guesses of x_0, over each row's mean distance of the
    teacher's guess from x. Source: Yin et al. 2023, equations 7 and 8.
    """
    ### BEGIN SOLUTION
    guess = x_t - t[:, None] * u_teacher
    apart = (x - guess).abs().mean(dim=1, keepdim=True)
    return t[:, None] * (u_teacher - u_fake) / (apart + 1e-3)
    ### END SOLUTION


# %% check="crowd"
x, t = torch.zeros(2, 3), torch.tensor([0.5, 0.2])
way = crowd_direction(x, x + 1.0, t, 4 * torch.ones(2, 3), torch.ones(2, 3))
assert torch.allclose(way[:, 0], torch.tensor([1.5 / 1.001, 0.6 / 0.201]), rtol=1e-5), (
    "t (4 - 1) over |x - guess|"
)
assert (crowd_direction(x, x, t, x, x) == 0).all(), "equal crowds: nothing to do"

# %% [markdown]
# **Adversarial distillation** (SDXL-Turbo, Sauer and others 2023) uses lesson 13's discriminator on the student's
# one step, and a second term that keeps it near the teacher: the student's picture gets noise again, the teacher
# says its guess of $x_0$, and the student should be close to it. Ours is a small MLP on noisy pixels; theirs
# looks at features of a large trained network.


# %% folded="Training: distribution matching, and an adversary" tags=["demo"]
# long: two loops with two networks each
def generator_loop(title, cost, helper, losses):
    """Train a one-step student and a helper, in turn; losses(G, helper) says both, of a fresh batch."""
    G, ema = student().requires_grad_(True), student().requires_grad_(False)
    down = [torch.optim.AdamW(p.parameters(), r, betas=(0.0, 0.99)) for p, r in ((G, 4e-4), (helper, 1e-3))]
    for _ in progress.track(range(steps_for(cost)), title=title):
        of_student, of_helper = losses(G, helper)
        update(G, ema, down[0], of_student, 0.98)
        down[1].zero_grad()
        of_helper().backward()
        down[1].step()
    return ema


def one_step(G, c, eps):
    """Digits from noise, one evaluation."""
    ones = torch.ones(len(c), device=device)
    return jump(G, eps, ones, 0 * ones, c)


def dmd_losses(G, fake):
    """The student's: a square whose gradient is `crowd_direction`. The fake's: flow matching on x."""
    _, eps, t, c = digit_batch()
    x, t = one_step(G, c, eps), 0.1 + 0.8 * t
    with torch.no_grad():
        x_t = mixed(x, torch.randn(x.shape, generator=draws_from).to(device), t)
        way = crowd_direction(x, x_t, t, guided(teacher, x_t, t, c, W), fake(x_t, t, t, c))
    own, late = x.detach(), stratified(len(c), draws_from)
    again = torch.randn(x.shape, generator=draws_from).to(device)
    return F.mse_loss(x, own - way), lambda: F.mse_loss(
        fake(mixed(own, again, late), late, late, c), again - own
    )


def adversarial_losses(G, D):
    """The student's: fool D, and stay near the teacher's guess. D's: tell noisy digits, real from drawn."""
    x_0, eps, t, c = digit_batch()
    x, t = one_step(G, c, eps), 0.1 + 0.8 * t

    def blur(a):
        return torch.cat([a + 0.3 * torch.randn(a.shape, generator=draws_from).to(device), c], dim=1)

    with torch.no_grad():
        x_t = mixed(x, torch.randn(x.shape, generator=draws_from).to(device), t)
        guess = x_t - t[:, None] * guided(teacher, x_t, t, c, W)
    drawn = blur(x.detach())
    of_student = F.softplus(-D(blur(x))).mean() + 3 * F.mse_loss(x, guess)
    return of_student, lambda: F.softplus(D(drawn)).mean() + F.softplus(-D(blur(x_0))).mean()


began = time.perf_counter()
matched = generator_loop("distribution matching", 9, student().requires_grad_(True), dmd_losses)
seconds["distribution matching"] = time.perf_counter() - began
torch.manual_seed(11)
critic = nn.Sequential(
    nn.Linear(74, S.width), nn.LeakyReLU(0.2), nn.Linear(S.width, S.width), nn.LeakyReLU(0.2),
    nn.Linear(S.width, 1),
).to(device)  # fmt: skip
began = time.perf_counter()
fooled = generator_loop("adversarial", 9, critic, adversarial_losses)
seconds["adversarial"] = time.perf_counter() - began
for name, net in (("distribution matching", matched), ("adversarial", fooled)):
    print(f"{name}, one evaluation: {told(digit_look(by_jumps(net, 1)))}")

# %% [markdown]
# ## 8 · The knob comes back: guidance as an input
#
# A student of a guided teacher draws at *one* guidance. **Latent consistency models** (Luo and others 2023) let
# the student know $w$, draw a $w$ for each row of the batch, and distil the teacher guided by it (the idea is
# Meng and others', 2022). They do so in the latents of Stable Diffusion; for the method it is all the same what
# $x$ is. Ours sees $w$ times the one-hot class. It needs *one* pass where the teacher needs two for each step.


# %% folded="Training: a student with a knob" tags=["demo"]
# long: a training, and quality by guidance
drawn_w = lambda n: 3 * torch.rand(n, 1, generator=draws_from).to(device)  # noqa: E731
knob = train(student(), agree(True, drawn_w), steps_for(6), 1e-3, "guidance as an input", 0.95)
fig, axes = plot.figure(1, 2, height=2.7)
knob_looks, guides = {}, (0.5, 1.0, 1.5, 2.0, 3.0)
for w in guides:
    knob_looks["student, 1 evaluation", w] = digit_look(by_renoising(knob, 1, w * c_asked))
    knob_looks["teacher, 10 steps", w] = digit_look(by_teacher(10, w))
for name, colour in zip(("student, 1 evaluation", "teacher, 10 steps"), plot.COLOURS, strict=False):
    for ax, metric in zip(axes, ("class_accuracy", "diversity"), strict=True):
        ax.plot(guides, [knob_looks[name, w][metric] for w in guides], "o-", color=colour, label=name)
        ax.set(xlabel="guidance $w$", title=metric.replace("class_", "").capitalize())
axes[0].legend(fontsize=7)
plt.show()
for name, w in knob_looks:
    print(f"{name}, w = {w:g}: {told(knob_looks[name, w])}")
ask = [knob_looks["student, 1 evaluation", w] for w in (1.0, 3.0)]
weak, asked_for = (knob_looks["student, 1 evaluation", w] for w in (0.5, 1.5))
board.claim(
    "At w = 0.5 diversity is above real digits', accuracy below 0.7: rubbish is diverse.",
    genmap.setting() == "smoke" or (weak["diversity"] > 1.2 and weak["class_accuracy"] < 0.7),
)
board.claim(
    "The knob works: more guidance, more accuracy.", ask[1]["class_accuracy"] > ask[0]["class_accuracy"]
)
board.claim("And less diversity.", ask[1]["diversity"] < 0.8 * ask[0]["diversity"])

# %% [markdown]
# Any guidance from one set of weights, but at a price: below $w = 1.5$ the student's digits are read less often than those of
# the teacher's ten steps. And at $w = 0.5$ both have more "diversity" than real digits, and about half of the digits
# cannot be read. Diversity counts any spread, errors too: read it only beside the accuracy.
#
# ## 9 · One table
#
# Every student for the same price, at one, two and four evaluations, beside the teacher's Euler steps and DDIM.
# On this straight path DDIM is Euler on another clock (lesson 23, section 9), here that of the cosine schedule,
# $\tau = \sigma/(\alpha + \sigma)$. *Passes*: teachers are guided, so two an evaluation. *Way off*: the root mean squared
# distance to where 64 guided steps of the teacher carry the *same* noise, pixels from $-1$ to 1. A student of paths should
# be near; a student of crowds need not. Students that only know the jump from 1 to 0 have no second evaluation.
#
# **Question.** Will more evaluations always be better? By which column?


# %% folded="The table" tags=["demo"]
# long: all methods at three numbers of evaluations
def cosine_clock(n):
    """Lesson 19's equal steps on the straight path's clock: (n + 1,)."""
    angle = torch.linspace(1, 0, n + 1, dtype=torch.float64) * math.pi / 2
    return angle.sin() / (angle.sin() + angle.cos())


methods = {
    "Euler, guided": by_teacher,
    "DDIM, guided": lambda n: by_teacher(n, clock=cosine_clock(n)),
    "progressive": lambda n: by_jumps(halved[n], n),
    "consistency distillation": lambda n: by_renoising(distilled, n),
    "consistency training": lambda n: by_renoising(trained, n),
    "MeanFlow, from scratch": lambda n: by_jumps(mean_net, n),
    "shortcut, from scratch": lambda n: by_jumps(short_net, n),
    "reflow": lambda n: by_jumps(velocity_of(straight), n),
    "distribution matching": lambda n: by_jumps(matched, n) if n == 1 else None,
    "adversarial": lambda n: by_jumps(fooled, n) if n == 1 else None,
}


def timed(job, n, times=3):
    """The result, and the least seconds of some tries, for 1,000 of n."""
    best = math.inf
    for _ in range(times):
        began = time.perf_counter()
        result = job()
        best = min(best, time.perf_counter() - began)
    return result, 1_000 * best / n


table, pictures, off, walked = {}, {}, {}, by_teacher(64)
print(f"{'':26}evaluations: accuracy, diversity, Fréchet distance, recall, way off, passes")
for name, method in methods.items():
    for n in (1, 2, 4):
        x, each = timed(lambda method=method, n=n: method(n), len(asked))
        if x is not None:
            table[name, n], pictures[name, n] = digit_look(x) | {"seconds": each}, x
            line = [table[name, n][k] for k in ("class_accuracy", "diversity", "frechet", "recall")]
            off[name, n] = rms(x - walked)
            print(
                f"{name if n == 1 else '':26}{n}: {line[0]:.3f}  {line[1]:.2f}  {line[2]:5.2f}"
                f"  {line[3]:.2f}  {off[name, n]:.3f}  {n * (1 + ('guided' in name))}"
            )
print(f"{'digits of training half':26}   {told(real)}, recall {real['recall']:.2f}")
print("training, seconds on this machine:", {name: round(each) for name, each in seconds.items()})
same = [walked, *(pictures[name, 1] for name in methods)]
fig, ax = plot.figure(height=5.4)
plot.images((torch.cat([x[:20] for x in same]).reshape(-1, 1, 8, 8).cpu() + 1) / 2, columns=20, ax=ax)
for i, name in enumerate(["teacher, 64 steps", *methods]):
    ax.text(-3, (i + 0.45) / len(same) * ax.get_ylim()[0], name, ha="right", va="center", fontsize=8)
ax.set_title("One evaluation. Each column is the same noise", fontsize=10)
plt.show()
if genmap.setting() != "smoke":
    more = [name for name in methods if (name, 2) in table]
    board.claim(
        "By Fréchet distance two evaluations are in no row worse than one by more than 0.25.",
        all(table[m, 2]["frechet"] < table[m, 1]["frechet"] + 0.25 for m in more),
    )
    board.claim(
        "Renoising loses diversity: at four evaluations a tenth at least, in both consistency rows.",
        all(table[m, 4]["diversity"] < 0.9 * table[m, 1]["diversity"] for m in more if "consist" in m),
    )
    board.claim(
        "Progressive, consistency distillation, reflow stay nearer to the walk than the students of crowds.",
        max(off[m, 1] for m in ("progressive", "consistency distillation", "reflow"))
        < min(off[m, 1] for m in ("distribution matching", "adversarial")),
    )
    board.claim(
        "By Fréchet distance distribution matching stays behind progressive and consistency distillation.",
        table["distribution matching", 1]["frechet"]
        > max(table[m, 1]["frechet"] for m in ("progressive", "consistency distillation")),
    )
    board.claim(
        "MeanFlow's one evaluation is less diverse than the shortcut model's, and worse by Fréchet distance.",
        table["MeanFlow, from scratch", 1]["diversity"] < table["shortcut, from scratch", 1]["diversity"]
        and table["MeanFlow, from scratch", 1]["frechet"] > table["shortcut, from scratch", 1]["frechet"],
    )
    others = ("guided", "scratch", "adversarial")
    ours = [name for name in methods if not any(word in name for word in others)]
    board.claim(
        "With one evaluation all students of the teacher but the adversarial one are twice as diverse as it.",
        all(table[m, 1]["diversity"] > 2 * table["Euler, guided", 1]["diversity"] for m in ours),
    )
    board.claim(
        "The adversarial student is the least diverse of them.",
        table["adversarial", 1]["diversity"] < min(table[m, 1]["diversity"] for m in ours),
    )
    board.claim(
        "By Fréchet distance one evaluation of the consistency student beats four guided teacher steps.",
        table["consistency distillation", 1]["frechet"]
        < min(table[m, 4]["frechet"] for m in ("Euler, guided", "DDIM, guided")),
    )

# %% [markdown]
# <details><summary>Answer</summary>
#
# By Fréchet distance two are never clearly worse than one: the second evaluation corrects the first. (Progressive
# distillation has another student for each number. Distances of 270 digits and 64 features carry a good part of noise;
# differences of a tenth or two say nothing.) By diversity and recall no: with renoising, the two consistency rows, both fall from one
# to four. A likely reason: each jump lands a little too near the middle of what is possible. Fresh noise wipes out part of
# what the first noise had decided, and the next jump pulls towards the middle again. (Fresh noise is also why *way off*
# leaps in these rows: the second jump starts on another path.)
# </details>
#
# **Which one shall I take?** With a teacher at hand, and to keep each noise's digit: progressive or consistency distillation,
# here equal within the noise of the table. Progressive trains a student for each number of steps; consistency is one
# training, and one net for any number. Distribution matching leaves the teacher's paths (*way off* is large, and need not be
# small); by Fréchet distance it stays behind those two here. Reflow is the simplest, since it is plain regression, if one
# can pay for whole walks. Without a teacher: the shortcut model, here, which needs no derivative.
#
# ## 10 · Glyphs: one evaluation
#
# The same two trainings on 16 x 16 letters and digits, 36 classes: a teacher, and a student by consistency
# distillation at guidance 3 on a grid that doubles once, from 4 to 8.

# %% folded="Training: glyphs" tags=["demo"]
# long: a teacher, a student, and their measures
glyphs, glyph_judge, GLYPH_W = data.glyphs(16), features.glyphs(16), 3.0
x_glyphs = 2 * torch.tensor(glyphs.train.x, device=device).flatten(1) - 1
c_glyphs = F.one_hot(torch.tensor(glyphs.train.y, device=device), 36).float()
glyph_asked = torch.arange(S.draws) % 36
c_letters = F.one_hot(glyph_asked, 36).float().to(device)
z_letters = torch.randn(S.draws, 256, generator=torch.Generator().manual_seed(12)).to(device)
evenly = np.concatenate([np.flatnonzero(glyphs.test.y == c)[: S.draws // 36] for c in range(36)])


def glyph_batch(drop=0.0):
    """A batch of glyphs."""
    return digit_batch(128, drop, x_glyphs, c_glyphs)


def glyph_agree(net, ema, done):
    """Consistency distillation of the guided glyph teacher."""
    x_0, eps, t, c = glyph_batch()
    N = 4 * 2 ** int(2 * done)
    t = (t * N).floor().add(1) / N
    x_t = mixed(x_0, eps, t)
    with torch.no_grad():
        x_r = x_t - guided(glyph_teacher, x_t, t, c, GLYPH_W) / N
    return consistency_loss(net, ema, x_t, x_r, t, t - 1 / N, c)


def glyph_look(x):
    """The measures of glyphs (N, 256) of the classes asked for."""
    return glyph_judge.compare(
        (x.reshape(-1, 1, 16, 16).cpu() + 1) / 2, glyph_asked, glyphs.test.x[evenly], glyphs.test.y[evenly]
    )


torch.manual_seed(13)
began = time.perf_counter()
glyph_teacher = train(
    FlowMap(256, 36, S.glyph_width, 4).to(device), lambda *a: flow_loss(*a, batch=glyph_batch),
    S.glyph_teacher, 2e-3, "glyph teacher",
)  # fmt: skip
glyph_net = train(copy.deepcopy(glyph_teacher), glyph_agree, S.glyph_student, 1e-3, "glyph student", 0.95)
seconds["glyphs"] = time.perf_counter() - began
letters, glyph_looks = {}, {}
for n in (1, 2, 4, 10):
    letters["teacher", n] = by_teacher(n, GLYPH_W, z_letters, c_letters, glyph_teacher)
letters["student", 1] = by_renoising(glyph_net, 1, c_letters, z_letters)
letters["student", 2] = by_renoising(glyph_net, 2, c_letters, z_letters)
for key, x in letters.items():
    glyph_looks[key] = glyph_look(x)
    print(f"{key[0]}, {key[1]:2} evaluations: {told(glyph_looks[key])}")
fig, axes = plot.figure(3, 1, height=1.1)
for ax, key in zip(axes, (("teacher", 1), ("teacher", 10), ("student", 1)), strict=True):
    rows = letters[key][:72].reshape(-1, 1, 16, 16).cpu()
    plot.images((rows + 1) / 2, columns=36, ax=ax)
    ax.set_title(f"{key[0]}, {key[1]} evaluation{'s' * (key[1] > 1)}", fontsize=9)
plt.show()
if genmap.setting() != "smoke":
    distances = {key: looks["frechet"] for key, looks in glyph_looks.items()}
    board.claim(
        "One evaluation of the student is twice as diverse as one of its teacher.",
        glyph_looks["student", 1]["diversity"] > 2 * glyph_looks["teacher", 1]["diversity"],
    )
    board.claim(
        "By Fréchet distance it lies between one and ten of the teacher.",
        distances["teacher", 10] < distances["student", 1] < 0.85 * distances["teacher", 1],
    )
    board.claim(
        "It is read about as often as ten steps of the teacher: within 0.05.",
        abs(glyph_looks["student", 1]["class_accuracy"] - glyph_looks["teacher", 10]["class_accuracy"])
        < 0.05,
    )
    board.claim(
        "A second evaluation does not bring it nearer.", distances["student", 2] > distances["student", 1]
    )

# %% [markdown]
# One step of the teacher is read well, and is little more than the mean of each class. The student's one pass is about as diverse as the
# teacher's twenty, and read about as often. By Fréchet distance it is nearer than the teacher's one
# step, and behind ten; a second evaluation, with fresh noise, does not help. Look at the sheets: the specks are in the
# teacher's ten steps, too. A student learns the flow that it distils, faults included, and this teacher is a small MLP,
# briefly trained (section 13 lists the glyphs of other lessons). Distillation gives speed; what the teacher lacks, it does
# not mend.
#
# ## 11 · Play: one knob, one evaluation
#
# *Question: what does guidance buy if there is only one evaluation, and do more evaluations buy it back?* Every
# position draws forty digits afresh, from the same noise, with the student of section 8.


# %% folded="Controls, and a figure of what they show" tags=["demo"]
# long: the controls, and the same as a figure
def draw_sheet(ax, evaluations, w):
    """Forty digits, four of each, and how many of them are read."""
    c = F.one_hot(torch.arange(40, device=device) % 10, 10).float()
    z = torch.randn(40, 64, generator=torch.Generator().manual_seed(14)).to(device)
    x = (by_renoising(knob, evaluations, w * c, z).reshape(-1, 1, 8, 8).cpu() + 1) / 2
    right = (judge(x).labels == np.arange(40) % 10).sum()
    plot.images(x, columns=10, ax=ax)
    ax.set_title(
        f"{evaluations} evaluation{'s' * (evaluations > 1)}, w = {w:g}: {right} of 40 read", fontsize=9
    )


def play(evaluations, guidance):
    """One sheet for the two sliders."""
    draw_sheet(plot.figure(height=2.4)[1], evaluations, guidance)
    plt.show()


evaluations_slider = widgets.IntSlider(1, min=1, max=8, continuous_update=False)
guidance_slider = widgets.FloatSlider(1.5, min=0.0, max=3.0, step=0.25, continuous_update=False)
controls = interact(play, evaluations=evaluations_slider, guidance=guidance_slider)
fig, axes = plot.figure(2, 3, height=1.7)
for row, n in zip(axes, (1, 4), strict=True):
    for ax, w in zip(row, (0.5, 1.5, 3.0), strict=True):
        draw_sheet(ax, n, w)
plt.show()

# %% [markdown]
# Guidance makes digits legible at the price of variety, as in section 8. More evaluations make up for little
# guidance only in part: with $w = 0.5$ many digits stay hard to read, as the teacher's do (section 8's list).
#
# ## 12 · What breaks
#
# **The boundary left out.** Composition holds for the exact map, and also for any function that says the same
# along a path, such as a constant. We break two things. First, the boundary: the network says $f$ itself,
# $f(x, t) = U_\theta(x, t)$ without $x$ and without $(t - s)$, from random weights; nothing ties $f$ to the data any more.
# Second, the frozen target: the gradient goes by way of both sides, since "they shall agree" sounds symmetric. That makes
# four trainings: with both, with one of them, with neither.
#
# **Question.** How does the loss look as it collapses?


# %% folded="Figure: without the boundary, with it, and with a frozen target" tags=["demo"]
# long: three trainings in one dimension
def without_boundary(net, ema, x_t, x_r, t, r):
    """Two neighbours shall agree, and the net says f itself: nothing makes f(x, 0) = x."""
    return F.mse_loss(net(x_t, t, 0 * t), net(x_r, r, 0 * r))


def only_frozen(net, ema, x_t, x_r, t, r):
    """As without_boundary, but the later end is a fixed target."""
    return F.mse_loss(net(x_t, t, 0 * t), ema(x_r, r, 0 * r).detach())


def with_boundary(net, ema, x_t, x_r, t, r):
    """The same, with the gradient on both sides, too, for f(x, t) = x - t U(x, t, 0)."""
    return F.mse_loss(jump(net, x_t, t, 0 * t), jump(net, x_r, r, 0 * r))


def toy_consistency(loss, title):
    """Consistency training of two modes; the loss at each step."""
    torch.manual_seed(15)
    g, losses = torch.Generator().manual_seed(16), []

    def loss_of(net, ema, done):
        x_0, eps, t = toy_points(g)
        N = 4 * 2 ** int(4 * done)
        t = (t * N).floor().add(1) / N
        value = loss(net, ema, mixed(x_0, eps, t), mixed(x_0, eps, t - 1 / N), t, t - 1 / N)
        losses.append(value.detach())
        return value

    net = FlowMap(1, width=64).to(device)
    if loss in (without_boundary, only_frozen):
        nn.init.normal_(
            net.leave.weight, std=0.3
        )  # a start of about unit variance: at 0 it would be constant
    trained = train(net, loss_of, 2 * S.toy_steps, 3e-3, title, 0.9)
    return trained, torch.stack(losses)


ones = torch.ones(len(crowd), device=device)
cases = {
    "neither": without_boundary,
    "frozen target": only_frozen,
    "boundary": with_boundary,
    "both": consistency_loss,
}
ends, curves, z = {}, {}, crowd.float().to(device)
for name, loss in cases.items():
    net, curves[name] = toy_consistency(loss, name)
    with torch.no_grad():
        bounded = "boundary" in name or name == "both"
        ends[name] = (jump(net, z, ones, 0 * ones) if bounded else net(z, ones, 0 * ones)).cpu()
fig, axes = plot.figure(1, 2, height=2.8)
for (name, x), colour in zip(ends.items(), plot.COLOURS, strict=False):
    axes[0].hist(x[:, 0].numpy(), bins=80, range=(-4, 4), color=colour, alpha=0.7, label=name)
    axes[1].semilogy(curves[name].cpu().clamp(min=1e-9), color=colour, lw=0.8, label=name)
axes[0].set(title="One evaluation", xlabel="$x_0$ (what is higher is cut off)", yticks=[])
axes[0].set_ylim(0, S.points / 8)
axes[0].legend(fontsize=7, title="what is kept", title_fontsize=7)
axes[1].set(title="Loss", xlabel="update")
plt.show()
shrunk = {name: x.var().item() / true_ends.var().item() for name, x in ends.items()}
apart, lacking = {name: rms(x - true_ends) for name, x in ends.items()}, [*cases][:3]
print("share of the data's variance:", {name: round(v, 4) for name, v in shrunk.items()})
print("mean of what is drawn:", {name: round(x.mean().item(), 2) for name, x in ends.items()})
print("distance to the exact map:", {name: round(d, 3) for name, d in apart.items()})
if genmap.setting() != "smoke":
    board.claim(
        "Without the boundary less than a hundredth of the variance is left.", shrunk["neither"] < 0.01
    )
    board.claim(
        "With the boundary and a frozen target more than half is, with the boundary alone less than half.",
        shrunk["both"] > 0.5 > shrunk["boundary"],
    )
    board.claim(
        "Only with both the net comes near the exact map.",
        apart["both"] < 0.8 * min(apart[n] for n in lacking),
    )
    last = {name: curve[-50:].mean().item() for name, curve in curves.items()}
    print("loss at the end:", {name: f"{value:.1e}" for name, value in last.items()})
    board.claim(
        "The nets without a frozen target have smaller losses than the good one.",
        max(last["neither"], last["boundary"]) < last["both"],
    )

# %% [markdown]
# <details><summary>Answer</summary>
#
# Better than that of the good net; even the shrunk crowd of "boundary" has a smaller loss. A loss between two outputs of
# one network says that they agree, not that they are right. (The stairs are again the doublings of $N$.) Watch samples, and a
# distance to real data. Where the collapsed crowd sits, on a mode or between, is chance. The repair has two halves, and
# neither does alone. The boundary, `jump`, ties $f$ to the data at $t = 0$: with a frozen target but no boundary nothing
# says where the ends are, and the crowd drifts away from the data, collapsed or not (its mean is printed). The frozen
# target makes knowledge flow one way: late times learn from early ones. With the gradient on both sides early times also
# learn from late ones, which know nothing yet, and the variance shrinks.
# </details>
#
# **Diversity lost.** The direction of DMD is a difference of two scores. Leave out the second network, and let the
# noise that was just added stand for it: $u_q = \varepsilon - x$. This is *score distillation sampling*
# (DreamFusion, Poole and others 2022). It says only "be more likely", and all samples of a class can be more
# likely at the same place.


# %% folded="Figure: the fake network left out" tags=["demo"]
# long: one more loop, and the diversity of all students
def sds_losses(G, unused):
    """As dmd_losses, with eps - x in the place of the fake network's answer; the helper has nothing to do."""
    _, eps, t, c = digit_batch()
    x, t = one_step(G, c, eps), 0.1 + 0.8 * t
    with torch.no_grad():
        noise = torch.randn(x.shape, generator=draws_from).to(device)
        x_t = mixed(x, noise, t)
        way = crowd_direction(x, x_t, t, guided(teacher, x_t, t, c, W), noise - x)
    return F.mse_loss(x, x.detach() - way), lambda: sum(p.sum() for p in unused.parameters()) * 0


likely = generator_loop("no fake network", 9, nn.Linear(1, 1).to(device), sds_losses)
sds_looks, sds_x = digit_look(by_jumps(likely, 1)), by_jumps(likely, 1)
print("score distillation, one evaluation:", told(sds_looks))
long_walk = euler_looks[32]["diversity"]
lost = {name: table[name, 1]["diversity"] for name in methods} | {"no fake network": sds_looks["diversity"]}
less = ("Euler", "DDIM", "MeanFlow", "adversarial", "no fake network")
fig, axes = plot.figure(1, 2, height=2.8)
axes[0].barh(list(lost), list(lost.values()), color=plot.COLOURS.sky)
axes[0].axvline(long_walk, color=plot.COLOURS.vermilion, label="teacher, 32 steps, guided")
axes[0].axvline(real["diversity"], color=plot.INK, ls=":", label="real digits, training half")
axes[0].axvline(1, color=plot.COLOURS.grey, ls="--", label="real digits, test half")
axes[0].tick_params(labelsize=7)
axes[0].set_title("Diversity, one evaluation")
axes[0].legend(fontsize=6, loc=(0.24, 0.02), frameon=True, framealpha=1, facecolor="white", edgecolor="none")
plot.images((sds_x[:60].reshape(-1, 1, 8, 8).cpu() + 1) / 2, columns=10, ax=axes[1], title="No fake network")
plt.show()
if genmap.setting() != "smoke":
    board.claim(
        "Without the fake network less than half of the diversity is left.",
        sds_looks["diversity"] < table["distribution matching", 1]["diversity"] / 2,
    )
    board.claim(
        "Euler, the adversary, MeanFlow and score distillation are less diverse than the training digits.",
        all(d < real["diversity"] for name, d in lost.items() if name.split(",")[0] in less),
    )
    board.claim(
        "Progressive and consistency distillation are more diverse, and nearly as much as their teacher.",
        min(lost["progressive"], lost["consistency distillation"]) > max(real["diversity"], 0.9 * long_walk),
    )

# %% [markdown]
# Measure a loss from the dotted line, what the training digits themselves have by this ruler (section 3). Bars that end well before
# it have lost variety: one step of Euler or DDIM, the adversarial student, MeanFlow here, and the crowd without a fake
# network. Bars beyond it have not; there part of the "diversity" may be error, the teacher's own 32 steps included. Accuracy
# does not show the loss: it is perfect or nearly so for most rows, and also where nearly all diversity is gone. In the
# adversarial student, at this price, the pull to the teacher's guess has won: a mean of what is possible. The repair in DMD is
# the fake network: it says where the student's own crowd is too dense, and pushes apart.
#
# ## 13 · How good is it?
#
# The board's rows, with one evaluation each. Training includes the teacher, except where there is none. *KID* compares the
# clouds by a kernel, without taking them for normal; *precision* is recall the other way round: the share of draws
# with a real picture as their neighbour.


# %% folded="Rows for the board" tags=["demo"]
# long: measures and timings of one evaluation
for name in ("consistency distillation", "progressive", "MeanFlow, from scratch", "distribution matching"):
    row = dict(table[name, 1])
    each = row.pop("seconds") / 1_000
    spent = seconds[name] + (0 if "scratch" in name else seconds["teacher"])
    board.record(
        "24_one_step", f"{name}, one evaluation", data="digits 8x8", parameters=size, train_seconds=spent,
        sample_seconds=each, **row,
    )  # fmt: skip
_, each = timed(lambda: by_renoising(glyph_net, 1, c_letters, z_letters), S.draws)
board.record(
    "24_one_step", "consistency distillation, one evaluation", data="glyphs 16",
    parameters=sum(p.numel() for p in glyph_net.parameters()), train_seconds=seconds["glyphs"],
    sample_seconds=each / 1_000, **glyph_looks["student", 1],
)  # fmt: skip
board.table("digits 8x8")
board.table("glyphs 16")

# %% [markdown]
# **Where this family wins**: at one evaluation. There Euler and DDIM draw little more than the mean of a class
# (section 9's first two methods), and the students draw digits. Consistency and Turbo students draw while
# one types (LCM, SDXL-Turbo), and FLUX.1 [schnell] is a distilled flow of one to four steps.
#
# ## 14 · In production: "100 times faster", taken apart
#
# A sample costs
#
# $$t_{\text{sample}} = n_{\text{evaluations}} \times \frac{t(g B)}{B} + t_{\text{decoder}},\qquad g = 2 \text{ with guidance, } 1 \text{ without},$$
#
# with $t(B)$ the time of one pass of $B$ rows. A speed-up in an abstract is a product of factors, and only some of
# them are the method's. Here are ours, for the glyph student against its teacher's ten guided steps.

# %% tags=["demo"]
B = 8 if genmap.setting() == "smoke" else 32
c_few, z_few = c_letters[:B], z_letters[:B]
jobs = (
    lambda: by_teacher(10, GLYPH_W, z_few, c_few, glyph_teacher),
    lambda: by_jumps(glyph_teacher, 10, c_few, z_few),
    lambda: by_jumps(glyph_net, 1, c_few, z_few),
    lambda: by_jumps(glyph_net, 1, c_few[:1], z_few[:1]),
)
rounds = [[timed(job, B, 1)[1] for job in jobs] for _ in range(15)]  # in turn: what slows one slows all
walk, ten, once, alone = np.median(rounds, axis=0)
alone *= B  # for each glyph of a batch of one
print(f"ten guided steps over one evaluation: {walk / once:.1f} times in time, 20 in passes")
print(f"  of which fewer evaluations: {ten / once:.1f} (10 in passes),")
print(f"  and no second pass for guidance: {walk / ten:.2f} (2 in passes)")
print(f"one at a time instead of {B} at once costs {alone / once:.1f} times as much for each glyph")
print(f"a decoder as costly as one pass would leave of it: {(walk + once) / (2 * once):.1f} times")
print(f"and against 50 guided steps it would be called {5 * walk / once:.0f} times faster")
board.claim("One evaluation is more than five times as fast as ten guided steps.", walk > 5 * once)

# %% [markdown]
# - *Evaluations*: 10 to 1. Against a teacher that is run with 50 steps the same student is "five times faster" still,
#   though the teacher's extra steps may add little (compare its 16 and 32 steps on the digits, section 3).
# - *Guidance*: it doubles the rows, which costs up to a factor of 2, less where a pass of few rows wastes the machine.
# - *Batch*: the factor is for one batch size. Compare both sides at the size that is served.
# - *Decoder*, text encoder, safety checks: they stay as they are. A decoder as costly as one pass is one part of 21 with ten
#   guided steps, and one of two with one evaluation (Amdahl's law).
# - *Quality*: is it equal? Not on the glyphs (section 10). Exercise 4 asks for the speed-up at equal distance: section 3's
#   list and section 9's table have the numbers for the digits.
#
# What is it worth? Latency. The training of the student is paid once, and the samples are many.

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors of the floating type that went in. What goes in stays as it is, and so does
# what a function that you are given returns. Times are tensors (B,), one for each row, and a batch may hold one
# row. float64 is right to nine digits.
#
# ### 1 · Another boundary (easy, 10 minutes)
#
# `jump` asks its network for a velocity. Let the network say a guess $F$ of the data instead. With $F$ fixed, a
# DDIM step from $t$ to $s$ keeps the noise that $x$ and $F$ imply. Write that landing place as a mixture of $x$ and
# $F$: it obeys the boundary $X_{t \to t}(x) = x$ whatever $F$ says, and the jump to $s = 0$ lands on $F$. (Consistency
# models do so by two weights that they call $c_{\text{skip}}$ and $c_{\text{out}}$.) At $t = 0$ there is nothing to do: $x$, with a finite gradient by $t$, too.


# %% exercise="boundary"
def data_jump(F_x, x, t, s):
    """Where the guess F_x of the data takes x from time t to time s, on x_t = (1 - t) x_0 + t eps: like x.

    F_x, x: (B, ...), finite; t, s: (B,), 0 <= s <= t <= 1. Where t = s it is x, also at 0; no result and no
    gradient is NaN there.
    """
    ### BEGIN SOLUTION
    safe = torch.where(t > 0, t, torch.ones_like(t))
    kept = torch.where(t > 0, s / safe, torch.ones_like(t))
    kept = kept.reshape(-1, *[1] * (x.ndim - 1))
    return kept * x + (1 - kept) * F_x
    ### END SOLUTION


# %% test="boundary" points=3
x_two = torch.tensor([[1.0, 2.0], [4.0, -2.0], [3.0, 3.0]], dtype=torch.float64)
guess_two = torch.tensor([[5.0, 6.0], [0.0, 2.0], [9.0, 9.0]], dtype=torch.float64)
late, early = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.2, 0.0]], dtype=torch.float64)
got = data_jump(guess_two, x_two, late, early)
assert got.shape == (3, 2), "like x"
assert torch.allclose(got[0], guess_two[0], rtol=1e-12), "down to time 0: the guess itself"
assert torch.allclose(got[1], torch.tensor([1.0, 1.0], dtype=torch.float64), rtol=1e-12), (
    "from 0.8 to 0.2 a quarter of x and three quarters of the guess"
)
assert torch.equal(got[2], x_two[2]), "at t = 0 it is x, not NaN"
got = data_jump(guess_two, x_two, 0 * late + 0.9, 0 * late + 0.3)
assert torch.allclose(got, (x_two + 2 * guess_two) / 3, rtol=1e-9), "a third of the way: nine digits"
late.requires_grad_(True)
data_jump(guess_two, x_two, late, early).sum().backward()
assert late.grad.isfinite().all(), "the branch not taken must not make the gradient NaN"

# %% [markdown]
# ### 2 · A consistency loss for every target time (medium, 20 minutes)
#
# The chapter's loss compares ends at time 0 by a square. Consistency *trajectory* models (Kim and others 2023)
# compare landing places at any $s \le r$, and most recipes use a loss that does not let one bad row rule: the
# pseudo-Huber distance of a whole row, $d = \sqrt{\lVert a - b\rVert^2 + \rho^2} - \rho$ (Song, Dhariwal 2023).
# Rows are weighted by $1/(t - r)$. Neighbours are close: $\lVert a - b\rVert$ may be a millionth of $\rho$, and
# the difference of two nearly equal numbers would lose all its digits.


# %% exercise="trajectory-loss"
def trajectory_loss(net, ema, x_t, x_r, t, r, s, rho):
    """The mean over rows of d / (t - r), for the landing places of x_t by net and of x_r by ema at time s.

    net, ema: net(x, t, s) says the average velocity, like x; x_t, x_r: (B, ...); t > r >= s: (B,);
    rho: a number above 0. A 0-d tensor. Its gradient goes by way of net alone. Right to nine digits however
    small d is.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        wanted = jump(ema, x_r, r, s)
    square = (jump(net, x_t, t, s) - wanted).flatten(1).square().sum(dim=1)
    d = square / ((square + rho**2).sqrt() + rho)
    return (d / (t - r)).mean()
    ### END SOLUTION


# %% test="trajectory-loss" points=4
x_pair = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
still = lambda x, t, s: torch.zeros_like(x)  # noqa: E731
time_t, time_r, time_s = (torch.full((2,), a, dtype=torch.float64) for a in (0.75, 0.5, 0.25))
got = trajectory_loss(still, still, x_pair, 0 * x_pair, time_t, time_r, time_s, 12.0)
assert torch.is_tensor(got) and got.shape == (), "a tensor of one number"
assert math.isclose(got, (13 - 12) / 0.25 / 2, rel_tol=1e-9), "sqrt(25 + 144) - 12 = 1, over 1/4, of two rows"
moving = lambda x, t, s: torch.ones_like(x)  # noqa: E731
got = trajectory_loss(moving, still, x_pair, x_pair - 0.5, time_t, time_r, time_s, 1.0)
assert math.isclose(got, 0.0, abs_tol=1e-12), "x_t falls by (t - s) 1 = 0.5, to where x_r rests"
got = trajectory_loss(still, still, 1e-9 * x_pair, 0 * x_pair, time_t, time_r, time_s, 1.0)
assert math.isclose(got, 12.5e-18 / 0.25 / 2, rel_tol=1e-9), "tiny distances keep their digits"

# %% [markdown]
# ### 3 · The teacher's two steps in v (medium, 15 minutes)
#
# Salimans and Ho distilled networks that say $v = \alpha_t\,\varepsilon - \sigma_t\,x_0$ on lesson 19's path,
# $x_t = \alpha_t x_0 + \sigma_t \varepsilon$, here with $\alpha_t = \cos\frac\pi2 t$ and $\sigma_t = \sin\frac\pi2
# t$. Let the teacher take two DDIM steps, $t \to r \to s$ (guess both ends, mix them for the next time). What must
# a *student's* $v$ be at $x$ and $t$, so that its one DDIM step to $s$ lands at the same place?


# %% exercise="teacher-step"
def distilled_v(v_net, x, t, r, s):
    """The student's target v, (B, D), without gradient, for one DDIM step t -> s instead of t -> r -> s.

    v_net(x, t): (B, D), (B,) -> (B, D), asked twice; x: (B, D); t > r > s: (B,), between 0 and 1.
    """

    ### BEGIN SOLUTION
    def turn(a, b):
        angle = (math.pi / 2 * (a - b))[:, None]
        return angle.cos(), angle.sin()

    with torch.no_grad():
        y = x
        for now, later in ((t, r), (r, s)):
            cosine, sine = turn(now, later)
            y = cosine * y - sine * v_net(y, now)
        cosine, sine = turn(t, s)
        return (cosine * x - y) / sine
    ### END SOLUTION


# %% test="teacher-step" points=3
x_one = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
t_one, r_half, s_zero = (torch.tensor([a], dtype=torch.float64) for a in (1.0, 0.5, 0.0))
got = distilled_v(lambda x, t: -3 * torch.ones_like(x), x_one, t_one, t_one * 0.5, s_zero)
wanted = -(math.sqrt(0.5) * (math.sqrt(0.5) * x_one + math.sqrt(0.5) * 3) + math.sqrt(0.5) * 3)
assert got.shape == (1, 2), "like x"
assert torch.allclose(got, wanted, rtol=1e-10), (
    "from 1 to 0 the student lands on -v: where the teacher's two steps land"
)


def one_pair(x, t):
    """v for the one pair x_0 = 0.2, eps = 0.7."""
    angle = math.pi / 2 * t[:, None]
    return angle.cos() * 0.7 - angle.sin() * 0.2


point = torch.tensor([[math.cos(0.4 * math.pi) * 0.2 + math.sin(0.4 * math.pi) * 0.7]], dtype=torch.float64)
got = distilled_v(one_pair, point, 0.8 * t_one, 0.3 * t_one, 0.1 * t_one)
assert torch.allclose(got, one_pair(point, 0.8 * t_one), rtol=1e-9), (
    "a teacher that knows the pair is its own student"
)
assert not got.requires_grad, "a target has no gradient"

# %% [markdown]
# ### 4 · How many times faster? (easy, 15 minutes)
#
# An abstract says "25 times faster". At equal *quality*, one hopes. Given the distances of a teacher and of a
# student at some numbers of evaluations, say for each of the student's numbers how many times as many evaluations
# the teacher takes for a distance as small. Between its measured numbers the teacher's distance is a straight line
# in $\log n$ and $\log d$; take the *first* crossing, for the curve may rise again. If the teacher's first number is
# good enough, that is the number. If it never comes so far: infinity. Then try it on the chapter's digits, with
# `euler_looks` of section 3 as the teacher's and `table["consistency distillation", 1]["frechet"]` as the student's.


# %% exercise="times-faster"
def times_faster(n_student, d_student, n_teacher, d_teacher):
    """For each of the student's numbers, teacher's evaluations over student's: (K,) float64, inf where never.

    n_student, d_student: (K,) float64; n_teacher, d_teacher: (M,) float64, M at least 1; all above 0,
    n_teacher rising. Equal distances count as reached.
    """
    ### BEGIN SOLUTION
    needed = torch.full_like(d_student, math.inf)
    for i, level in enumerate(d_student):
        for j in range(len(n_teacher)):
            if d_teacher[j] <= level:
                needed[i] = n_teacher[j]
                if j:
                    low, high = d_teacher[j - 1].log(), d_teacher[j].log()
                    share = (low - level.log()) / (low - high)
                    needed[i] = (
                        n_teacher[j - 1].log() + share * (n_teacher[j] / n_teacher[j - 1]).log()
                    ).exp()
                break
    return needed / n_student
    ### END SOLUTION


# %% test="times-faster" points=2
counts, distances = torch.tensor([[1.0, 4.0, 16.0], [8.0, 2.0, 1.0]], dtype=torch.float64)
got = times_faster(torch.tensor([1.0, 2.0]).double(), torch.tensor([4.0, 0.5]).double(), counts, distances)
assert got.shape == (2,), "one ratio for each of the student's numbers"
assert math.isclose(got[0], 2.0, rel_tol=1e-9), (
    "half-way from 8 to 2 in logarithms is 4, half-way from 1 to 4 is 2"
)
assert got[1] == math.inf, "no number of the teacher's reaches 0.5"
got = times_faster(torch.tensor([2.0]).double(), torch.tensor([9.0]).double(), counts, distances)
assert math.isclose(got, 0.5, rel_tol=1e-9), "the teacher's first is enough: 1 for the student's 2"
got = times_faster(torch.tensor([1.0]).double(), torch.tensor([3.0]).double(), counts, distances)
assert math.isclose(got, 8 / 3, rel_tol=1e-9), "8 falls like 1 / n: to 3 at n = 8 / 3"
assert torch.is_tensor(got) and got.dtype == torch.float64, "a tensor, float64"

# %% [markdown]
# ### 5 · Repair: jump, and walk back a little (medium, 15 minutes)
#
# Between plain jumps and the chapter's renoising lies a family (Kim and others 2023): to get from $t$ to the next
# time $s$, jump *below* it, to $(1-\gamma)s$ (their $\gamma$ counts in another way), and mix with fresh noise until the
# time is $s$. If $x_q = (1-q)x_0 + q\,\varepsilon$, then $x_s = a\,x_q + b\,z$ with $z \sim \mathcal N(0, I)$ has the right law for one $a$ and one $b$.
# With $\gamma = 0$ these are plain jumps, with $\gamma = 1$ it is renoising. Somebody's version loses contrast, and its
# last picture is noisy. Find the **three** faults and write the function that works.
#
# ```python
# def broken_walk(net, x, times, gamma, generator):
#     """Jumps with fresh noise; with three faults."""
#     for t, s in pairwise(times):
#         q = (1 - gamma) * s
#         x = jump(net, x, torch.full((len(x),), t, dtype=x.dtype), torch.full((len(x),), s, dtype=x.dtype))
#         a, b = (1 - s) / (1 - q), s - q
#         x = a * x + b * torch.randn(x.shape, generator=generator, dtype=x.dtype)
#     return x + times[-2] * torch.randn(x.shape, generator=generator, dtype=x.dtype)
# ```


# %% exercise="repair"
def walk_back(net, x, times, gamma, generator):
    """From x (B, D) at times[0] to times[-1], a list of falling numbers in [0, 1]: (B, D).

    net(x, t, s) says the average velocity; gamma in [0, 1]. Between two times: one jump, then one draw
    of noise, torch.randn of the shape and type of x from the generator, also where its weight is 0.
    """
    ### BEGIN SOLUTION
    for start, s in pairwise(times):  # from the start below s, and back up
        below = (1 - gamma) * s
        now, lower = (torch.full((len(x),), v, dtype=x.dtype) for v in (start, below))
        x = jump(net, x, now, lower)
        a = (1 - s) / (1 - below)
        b = max(0.0, s**2 - (a * below) ** 2) ** 0.5
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = a * x + b * z
    return x
    ### END SOLUTION


# %% test="repair" points=2
walk_g = torch.Generator().manual_seed(0)
x_four = torch.ones(4, 2, dtype=torch.float64)
got = walk_back(lambda x, t, s: torch.ones_like(x), x_four, [1.0, 0.5, 0.0], 0.0, walk_g)
assert torch.allclose(got, torch.zeros(4, 2, dtype=torch.float64)), "gamma = 0: jumps, and no noise"
got = walk_back(lambda x, t, s: torch.ones_like(x), x_four, [1.0, 0.3], 0.0, walk_g)
assert torch.allclose(got, 0.3 * x_four, rtol=1e-9), "gamma = 0: one jump, to nine digits"
many = torch.randn(40_000, 1, dtype=torch.float64, generator=walk_g)
to_zero = lambda x, t, s: x / t[:, None]  # noqa: E731 all data at 0, x_t = t eps
got = walk_back(to_zero, many, [1.0, 0.6], 0.5, walk_g)
assert abs(got.std() - 0.6) < 0.02, "at time 0.6 the noise has the deviation 0.6, whatever gamma"
assert walk_back(to_zero, many, [1.0, 0.6, 0.0], 0.5, walk_g).abs().max() < 1e-12, "no noise at time 0"

# %% [markdown]
# ### 6 · Build your own: learn the map from its other end (hard, 40 minutes)
#
# MeanFlow differentiates by the *start* of the jump. Differentiate by its end instead: the landing place moves with
# the velocity there,
#
# $$\frac{\partial}{\partial s} X_{t \to s}(x) = u\big(X_{t\to s}(x),\, s\big)$$
#
# (Boffi, Albergo and Vanden-Eijnden 2024 call it Lagrangian). With a teacher $u$ this trains a map too. Nothing
# of the teacher is differentiated.
#
# - **The loss** of points and times: the squared difference of both sides, summed over coordinates, the mean over
#   rows, where $X = x - (t - s)\,U_\theta(x, t, s)$. The left side carries the gradient, to the weights, also through
#   its derivative by $s$. The right side is a fixed number: no gradient by way of $u$ or of its argument.
# - **The step** draws noise, then two times for each row, uniform on $[0, 1]$, of which the larger is $t$; mixes
#   $x_t$; steps down the loss; and returns the loss before the step, without gradient. Draw by `torch.randn` of the
#   shape of x_0 and then by one `torch.rand(2, B)`, both from the generator, of the type of x_0.
#
# The hidden tests compare the loss and its gradient with closed forms, and train a map of two weights by 25 of
# your steps, to within 0.02 (root mean square) of the exact map of a Gaussian. To see it learn, run in a cell of
# your own:
#
# ```python
# g, net = torch.Generator().manual_seed(0), FlowMap(1, width=64)
# adam = torch.optim.Adam(net.parameters(), 3e-3)
# u = lambda x, t: two_modes_velocity(x, t[:, None])
# for n in range(1_000):
#     x_0 = 2.0 * torch.randint(2, (256, 1), generator=g) - 1 + 0.25 * torch.randn(256, 1, generator=g)
#     landing_step(net, adam, u, x_0, g)
# print(toy_error(net.to(device))[0], "and section 5's best grid:", errors["N = 16"])
# ```


# %% exercise="landing"
def landing_loss(net, u, x, t, s):
    """The mean over rows of |dX/ds - u(X, s)|^2, X = x - (t - s) net(x, t, s): a 0-d tensor with gradient.

    net(x, t, s) and u(x, t): (B, D) for x (B, D) and times (B,), of each row from that row alone.
    """
    ### BEGIN SOLUTION
    X, slope = jvp(lambda end: jump(net, x, t, end), (s,), (torch.ones_like(s),))
    with torch.no_grad():
        wanted = u(X, s)
    return (slope - wanted).square().sum(dim=1).mean()
    ### END SOLUTION


def landing_step(net, optimizer, u, x_0, generator):
    """One update of the net; the loss before it, a 0-d tensor without gradient. x_0: (B, D), data."""
    ### BEGIN SOLUTION
    eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
    s, t = torch.rand(2, len(x_0), generator=generator, dtype=x_0.dtype).sort(dim=0).values
    loss = landing_loss(net, u, mixed(x_0, eps, t), t, s)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
    ### END SOLUTION


# %% test="landing" points=6
# long: one thought, and its asserts
slope_w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
linear = lambda x, t, s: slope_w * s[:, None] * torch.ones_like(x)  # noqa: E731 X = x - (t - s) w s
x_land = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
t_land, s_land = torch.tensor([0.9], dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)
loss_land = landing_loss(linear, lambda x, t: 0 * x + 1, x_land, t_land, s_land)
assert loss_land.shape == (), "one number"
assert math.isclose(loss_land.item(), 2 * (-0.15 - 1) ** 2, rel_tol=1e-9), (
    "dX/ds = -w (t - 2 s) = -0.15 in both coordinates"
)
loss_land.backward()
assert math.isclose(slope_w.grad, 2 * 2 * -1.15 * -0.3, rel_tol=1e-9), (
    "the gradient goes through the derivative by s"
)


def exact_net(x, t, s):
    """The average velocity of data N(0.5, 0.36)."""
    return (x - gaussian_map(x, t[:, None], s[:, None], 0.5, 0.6)) / (t - s)[:, None]


def exact_u(x, t):
    """The velocity of data N(0.5, 0.36)."""
    v = (1 - t[:, None]) ** 2 * 0.36 + t[:, None] ** 2
    return -0.5 + (t[:, None] - (1 - t[:, None]) * 0.36) / v * (x - (1 - t[:, None]) * 0.5)


assert landing_loss(exact_net, exact_u, x_land, t_land, s_land).item() < 1e-18, "the exact map has no loss"
tiny = nn.Linear(4, 2).double()
tiny_net = lambda x, t, s: tiny(torch.cat([x, t[:, None], s[:, None]], dim=1))  # noqa: E731
before_step = [p.detach().clone() for p in tiny.parameters()]
sgd, data_land = torch.optim.SGD(tiny.parameters(), 0.1), torch.ones(8, 2, dtype=torch.float64)
value = landing_step(tiny_net, sgd, exact_u, data_land, torch.Generator().manual_seed(1))
assert value.shape == () and not value.requires_grad, "the loss, without gradient"
assert not torch.equal(before_step[0], tiny.weight), "the step moves the weights"

# %% [markdown]
# ## Further reading
#
# - E. Luhman, T. Luhman. *Knowledge distillation in iterative generative models for improved sampling speed.*
#   2021, arXiv:2101.02388.
# - T. Salimans, J. Ho. *Progressive distillation for fast sampling of diffusion models.* 2022, arXiv:2202.00512.
# - C. Meng and others. *On distillation of guided diffusion models.* 2022, arXiv:2210.03142.
# - Y. Song, P. Dhariwal, M. Chen, I. Sutskever. *Consistency models.* 2023, arXiv:2303.01469.
# - Y. Song, P. Dhariwal. *Improved techniques for training consistency models.* 2023, arXiv:2310.14189.
# - D. Kim and others. *Consistency trajectory models: learning probability flow ODE trajectory of diffusion.*
#   2023, arXiv:2310.02279.
# - S. Luo, Y. Tan, L. Huang, J. Li, H. Zhao. *Latent consistency models: synthesizing high-resolution images with
#   few-step inference.* 2023, arXiv:2310.04378.
# - A. Sauer, D. Lorenz, A. Blattmann, R. Rombach. *Adversarial diffusion distillation.* 2023, arXiv:2311.17042.
# - T. Yin and others. *One-step diffusion with distribution matching distillation.* 2023, arXiv:2311.18828.
# - N. M. Boffi, M. S. Albergo, E. Vanden-Eijnden. *Flow map matching.* 2024, arXiv:2406.07507.
# - C. Lu, Y. Song. *Simplifying, stabilizing and scaling continuous-time consistency models.* 2024,
#   arXiv:2410.11081.
# - K. Frans, D. Hafner, S. Levine, P. Abbeel. *One step diffusion via shortcut models.* 2024, arXiv:2410.12557.
# - Z. Geng, M. Deng, X. Bai, J. Z. Kolter, K. He. *Mean flows for one-step generative modeling.* 2025,
#   arXiv:2505.13447.

# %% tags=["demo"]
selfcheck.run("24_one_step")
