# %% [markdown]
# # 08 · Change of variables and RealNVP
#
# > **Bend the space until the data look like noise, and keep the account of how much you stretched it. The
# > account is the density; the bend run backwards is the sampler.**
#
# | | |
# |---|---|
# | You will build | a change of variables on the line; affine coupling layers; a flow that turns two moons into a round cloud and back; the same flow on digits and glyphs, with dequantisation, a learned noise and numbers that leave early; at the end a flow that learns without data |
# | You need to know | lesson 01 (densities, held-out nats), lesson 02 (log space); determinants; a training loop in PyTorch |
# | Time on two CPU cores | two to three minutes to run, an hour and a half for the text, nearly three hours for all exercises (the last one is the heart) |
# | Time on a GPU | about a quarter of an hour, with larger nets (`full`) |
#
# ## You are here

# %% folded="Imports and settings"
# long: what the whole lesson uses
import math
import time
from typing import NamedTuple

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import genmap
from genmap import board, data, diagram, features, metrics, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait
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
    broken_steps=(6, 1_400, 4_000),
    points=(2_000, 20_000, 20_000),
)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("flow")
diagram.machine(
    "k | (N, 64) levels -> [grey | + u, logit] -> x | (N, 64) -> [couplings | 8 layers]"
    " -> z | (N, 64) -> [account | + log det] -> log p(x) | (N,)",
    "u | noise -> grey",
    "c | (N, 10) class -> couplings",
    title="To the right: the density. A sample begins at z, and goes to the left",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# Bucket 1 again: an explicit density, exact. Mixtures (lesson 02) paid for it with a simple shape. A *flow* pays
# with its *architecture*: every layer must be a one-to-one map of the whole space onto itself, easy to run in both
# directions, with a determinant that is easy to compute. So nothing may be thrown away: 64 pixels in, 64 numbers
# out. In return come the exact likelihood, a sample in a single pass, and a code $z$ for every $x$, without loss.
#
# | question | answer for RealNVP |
# |---|---|
# | What is modelled? | real vectors: here 1, 2, 64 and 256 numbers. Discrete data must first be made continuous |
# | Is the density explicit? | yes, exact |
# | Is sampling one-shot or iterative? | one-shot: noise, then the layers backwards |
# | What conditions it? | here the class, fed to every layer |
# | How is it evaluated, and how does that fail? | held-out bits per dimension: without dequantisation they are not the bits of any code, and say nothing |
#
# NICE (Dinh, Krueger and Y. Bengio, October 2014) built maps from layers that *add* to one half of the vector what a
# network computes from the other half: invertible, whatever the network. Such a layer never changes a volume. RealNVP
# (Dinh, Sohl-Dickstein and S. Bengio, May 2016) let the layers *scale* as well, brought masks and several resolutions
# for pictures, and gave the family its standard form. Flows fit posteriors in the sciences (simulation-based
# inference) and inside other models (variational posteriors); FastFlow (2021, arXiv:2111.07677) finds defects in
# photographs of products; TarFlow (2024, arXiv:2412.06329) and STARFlow (2025, arXiv:2506.06276) draw pictures with
# autoregressive layers.
#
# | symbol | is |
# |---|---|
# | $x$, $z$, $D$ | data; what the flow makes of it, standard normal; how many numbers each has |
# | $f$, $f_\ell$, $L$ | the flow, from data to noise; its layer $\ell$, and what comes out of it ($f_0$ is $x$); how many layers |
# | $p_x$, $p_z$ | the density of $x$ by the model; of $z$, $\mathcal N(0, I)$ |
# | $x_a$, $x_b$ | of a layer: the part that it keeps, the part that it moves |
# | $s$, $t$ | log-scale and shift of $x_b$, computed from $x_a$ |
# | $k$, $u$, $y$ | a grey level; noise in $[0, 1)$; the pixel made continuous, $(k + u)/17$ |
# | $P(k)$ | the probability of a discrete picture |
# | $\lambda$, $v$ | the inset of the logit; $y$ after the inset |
# | $q(u \mid k)$, $m$, $\varepsilon$ | a learned noise; before the sigmoid, its mean ($s + \tfrac12$ is its log-scale there); standard normal noise |
# | $c$ | the class, one-hot |
# | $\tau$ | temperature: what the noise $z$ is multiplied by before it is drawn from |
#
# ## 1 · On the line
#
# Take noise $z \sim \mathcal N(0, 1)$ and bend it by an increasing function, $x = \sinh z$. Where is $x$ likely to be?
# Probability cannot get lost: what lies between $z$ and $z + dz$ lies between $x$ and $x + dx$ after the bend. So
# $p_x(x)\,dx = p_z(z)\,dz$, and where the map stretches, the density thins out:
#
# $$p_x(x) = p_z\big(f(x)\big)\,\Big|\frac{df}{dx}\Big|, \qquad z = f(x) = \operatorname{asinh} x,\qquad \frac{df}{dx} = \frac1{\sqrt{1 + x^2}} .$$
#
# $f$ runs from data to noise. That is the direction in which a flow computes a density; its inverse draws samples.
#
# <details><summary>Derivation, and why |·|</summary>
#
# Let $F_x(x)$ be the probability of a value of at most $x$. If $f$ increases, then $X \le x$ means $f(X) \le f(x)$, so
# $F_x(x) = F_z(f(x))$. Differentiate, by the chain rule: $p_x(x) = p_z(f(x))\,f'(x)$. If $f$ decreases, $X \le x$ means
# $f(X) \ge f(x)$, so $F_x(x) = 1 - F_z(f(x))$ and $p_x(x) = -p_z(f(x))\,f'(x)$, where $-f'(x)$ is positive. Both
# together are $|f'(x)|$: a mirror image has the same density.
# </details>
#
# **Question.** Without the factor the curve is no density: its area is not 1. Is it larger or smaller, and how large?


# %% build="line"
def log_standard(z):
    """log N(z; 0, 1), element by element, in nats."""
    return -0.5 * (z**2 + math.log(2 * math.pi))


def log_normal(z):
    """log N(z; 0, I) in nats: (N, D) -> (N,)."""
    return log_standard(z).sum(dim=1)


def log_p_line(x):
    """log p(x) for x = sinh z, z standard normal: (N,) -> (N,)."""
    ### BEGIN SOLUTION
    return log_standard(torch.asinh(x)) - 0.5 * torch.log1p(x.square())
    ### END SOLUTION


# %% check="line"
ticks = torch.linspace(-200, 200, 400_001, dtype=torch.float64)
assert math.isclose(log_p_line(ticks[200_000:200_001]), -0.5 * math.log(2 * math.pi)), "at 0 the slope is 1"
area = torch.trapezoid(log_p_line(ticks).exp(), ticks)
assert abs(area - 1) < 1e-4, f"a density adds up to 1, not to {area:.4f}"

# %% folded="Figure: a line that is stretched" tags=["demo"]
# long: one figure, the two panels of which share their curve
x_line = torch.sinh(torch.randn(S.points, generator=torch.Generator().manual_seed(1)))
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
bare = log_standard(torch.asinh(x_axis)).exp()
axes[1].plot(x_axis, bare, "--", lw=1.8, color=plot.COLOURS.vermilion, label="without the factor")
axes[1].set(title="The density thins out", xlabel="$x$", ylabel="density", xlim=(-6, 6), ylim=(0, 0.5))
axes[1].legend(loc="upper right", fontsize=9)
plt.show()
bare_area = torch.trapezoid(log_standard(torch.asinh(ticks)).exp(), ticks).item()
print(f"area with the factor: {area:.4f}; without it: {bare_area:.4f}; sqrt(e) = {math.exp(0.5):.4f}")
board.claim("Without the factor the area is the square root of e.", abs(bare_area - math.exp(0.5)) < 1e-3)

# %% [markdown]
# Left: each strip carries the same probability on both axes. Where it is wider on the $x$ axis (upright here) than on
# the $z$ axis, the same probability has more room, so the density is lower. Right: the formula lies on the histogram.
#
# <details><summary>Answer</summary>
#
# Larger, for $\sinh$ stretches everywhere: $dx = \cosh z\,dz$ with $\cosh z \ge 1$. The area is
# $\int p_z(\operatorname{asinh} x)\,dx = \int p_z(z)\cosh z\,dz = \mathbb E\,\tfrac12(e^z + e^{-z}) = e^{1/2}$.
# </details>
#
# **Why this can work for any data.** Is there always a map that makes noise of the data? On the line one can write it
# down. Let $F$ be the probability of at most $x$, and $\Phi$ that of a standard normal number. $F(x)$ is uniform on
# $[0, 1]$: it is the share of all $x$ below this one. And $\Phi^{-1}$ makes a normal number of a uniform one. So
# $f(x) = \Phi^{-1}(F(x))$. In $D$ dimensions do the same with one number after the other, each given those before it:
#
# $$z_d = \Phi^{-1}\big(F_d(x_d \mid x_1, \dots, x_{d-1})\big), \qquad \frac{\partial z_d}{\partial x_d} = \frac{p(x_d \mid x_1, \dots, x_{d-1})}{p_z(z_d)} .$$
#
# Given the numbers before it, each $z_d$ is standard normal whatever they are, so all are independent. **So for
# every smooth density that is nowhere 0 there is a flow that makes exactly standard normal noise of it, in which $z_d$
# depends on $x_1, \dots, x_d$ alone.** We do not know it, since we do not know $F$. A flow has to learn such a map.

# %% folded="Figure: two modes made normal by their own distribution function" tags=["demo"]
# long: a map made from the distribution function, checked and drawn
modes = torch.distributions.Normal(torch.tensor([-1.5, 1.0]), torch.tensor([0.3, 0.6]))
g = torch.Generator().manual_seed(2)
x_modes = modes.loc[torch.randint(2, (S.points,), generator=g)]
x_modes = x_modes + torch.where(x_modes < 0, 0.3, 0.6) * torch.randn(S.points, generator=g)
to_noise = lambda x: torch.special.ndtri(modes.cdf(x[:, None].double()).mean(1))  # noqa: E731
z_modes, x_axis = to_noise(x_modes), torch.linspace(-3, 3, 301, dtype=torch.float64)
slope = torch.autograd.functional.jacobian(lambda x: to_noise(x).sum(), x_axis)
by_flow, truth = log_standard(to_noise(x_axis)).exp() * slope, modes.log_prob(x_axis[:, None]).exp().mean(1)
fig, axes = plot.figure(1, 3, height=2.6)
axes[0].hist(x_modes, bins=80, range=(-3, 3), density=True, color=plot.COLOURS.sky, alpha=0.6)
axes[0].plot(x_axis, by_flow, color=plot.COLOURS.blue)
axes[0].set(title=r"Data, and $p_z(f(x))\,f'(x)$", xlabel="$x$", yticks=[])
axes[1].plot(x_axis, to_noise(x_axis), color=plot.INK)
axes[1].set(title=r"$f(x) = \Phi^{-1}(F(x))$", xlabel="$x$", ylabel="$z$")
axes[2].hist(z_modes, bins=80, range=(-4, 4), density=True, color=plot.COLOURS.sky, alpha=0.6)
axes[2].plot(wide := torch.linspace(-4, 4, 200), log_standard(wide).exp(), color=plot.COLOURS.blue)
axes[2].set(title="The data as $z$", xlabel="$z$", yticks=[], xlim=(-4, 4))
plt.show()
far = (z_modes.sort().values - torch.special.ndtri((torch.arange(S.points) + 0.5) / S.points)).abs().mean()
print(f"z against a normal number of the same rank: {far:.4f} apart on average")
board.claim("The map makes the data normal.", far < 0.05)
board.claim("Its formula is the true density at every tick.", (by_flow - truth).abs().max() < 1e-4)

# %% [markdown]
# ## 2 · In the plane and beyond: the factor becomes a determinant
#
# In $D$ dimensions a small cube becomes a small, slanted box. Its volume has been multiplied by the absolute
# determinant of the *Jacobian*, the matrix of all partial derivatives $\partial z_i / \partial x_j$. In log space, and
# for a chain of layers $f = f_L \circ \dots \circ f_1$, whose determinants multiply:
#
# $$\log p_x(x) = \log p_z\big(f(x)\big) + \sum_{\ell=1}^L \log\Big|\det \frac{\partial f_\ell}{\partial f_{\ell - 1}}\Big| .$$
#
# <details><summary>Derivation</summary>
#
# 1. *A matrix.* $A$ sends the unit cube to the box that its columns span, and $|\det A|$ is the box's volume: adding a
#    multiple of one column to another shears the box and changes neither its volume nor the determinant, and so any
#    box can be sheared until it is upright, where both are the product of its edges. The sign says only whether
#    the box is mirrored. A volume has no sign, hence $|\cdot|$.
# 2. *A smooth map* is nearly linear on a cube so small that its derivatives hardly change: volumes near $x$ are
#    multiplied by $|\det J(x)|$, $J = \partial f/\partial x$. This is the rule of substitution for integrals,
#    $\int_{f(B)} h(z)\,dz = \int_B h(f(x))\,|\det J(x)|\,dx$ for any region $B$.
# 3. *Probability is kept*: $f$ is one to one, so $X$ lies in $B$ when $f(X)$ lies in $f(B)$. Then
#    $\int_B p_x(x)\,dx = \int_{f(B)} p_z(z)\,dz = \int_B p_z(f(x))\,|\det J(x)|\,dx$. It holds for every $B$, so
#    the two integrands are equal.
# 4. *A chain*: by the chain rule $J = J_L \cdots J_1$, and the determinant of a product is the product of the
#    determinants. Its logarithm is a sum.
# </details>
#
# A general determinant costs about $D^3$ steps. RealNVP takes layers in which it costs almost nothing. Split the
# coordinates in two parts: $x_a$ is kept, and $x_b$ is scaled and shifted by numbers that a network computes *from
# $x_a$ alone*:
#
# $$z_a = x_a, \qquad z_b = x_b \odot e^{s(x_a)} + t(x_a), \qquad
# \frac{\partial z}{\partial x} = \begin{pmatrix} I & 0 \\ * & \operatorname{diag} e^{s} \end{pmatrix},\qquad
# \log|\det| = \sum_i s_i .$$
#
# $\odot$ multiplies element by element. The star holds the derivatives of the network, and it does not matter: above
# the diagonal all is 0, and of such a *triangular* matrix the determinant is the product of the diagonal. And the
# inverse needs no inverse of the network, for $x_a$ is still there: $x_b = (z_b - t(z_a)) \odot e^{-s(z_a)}$.
#
# <details><summary>Derivation: a triangular determinant</summary>
#
# Expand along the first row. Its only entry that is not 0 is the first, so the determinant is that entry times the
# determinant of what is left when first row and column are struck out, which is triangular again. After $D$ steps it is
# the product of the diagonal: of ones, one for each kept number, and of $e^{s_i}$. All are positive, so the absolute
# value changes nothing. Section 1's map, number after number, was triangular, too; a coupling has two blocks of numbers
# in the place of single ones.
# </details>

# %%
LIMIT = 2.0  # the largest |s| of a layer: no step stretches by more than e^2


class MLP(nn.Sequential):
    """Two hidden layers; the last layer starts at 0, so that a coupling starts as the identity."""

    def __init__(self, inputs, width, outputs, dropout=0.0):
        first, second, last = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)
        super().__init__(first, nn.ReLU(), nn.Dropout(dropout), second, nn.ReLU(), nn.Dropout(dropout), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x, c=None):
        """(N, D), and one-hot classes (N, C) or None -> (N, outputs)."""
        return super().forward(x if c is None else torch.cat([x, c], dim=1))


# %% build="coupling"
# long: a layer and both of its directions
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
        """(N, D) -> z (N, D), log |det dz/dx| (N,); self.back orders the columns of (z_a, z_b) as in x."""
        ### BEGIN SOLUTION
        x_a, x_b = x[:, self.a], x[:, self.b]
        s, t = self.s_t(x_a, c)
        return torch.cat([x_a, x_b * s.exp() + t], dim=1)[:, self.back], s.flatten(1).sum(dim=1)
        ### END SOLUTION

    def inverse(self, z, c=None):
        """(N, D) -> x (N, D)."""
        ### BEGIN SOLUTION
        z_a, z_b = z[:, self.a], z[:, self.b]
        s, t = self.s_t(z_a, c)
        return torch.cat([z_a, (z_b - t) * (-s).exp()], dim=1)[:, self.back]
        ### END SOLUTION


# %% check="coupling"
def knows(x_a, c):
    """t = x_0 + 1 and, before its limit, s = x_2 / 2."""
    return torch.stack([x_a[:, 0] + 1, 0.5 * x_a[:, 1]], dim=1)


layer = Coupling(torch.tensor([True, False, True]), knows)
z_few, log_det = layer(torch.tensor([[1.0, 5.0, 2.0], [0.0, 5.0, 0.0]]))
s_few = 1 / (1 + 1 / LIMIT)
assert torch.allclose(z_few, torch.tensor([[1, 5 * math.exp(s_few) + 2, 2], [0, 6, 0]])), (
    "x_a is kept where it stands; x_b is scaled by e^s and then shifted by t"
)
assert torch.allclose(log_det, torch.tensor([s_few, 0.0])), "the sum of s, one number for each row"
assert torch.allclose(layer.inverse(z_few)[:, 1], torch.tensor([5.0, 5.0])), "minus t, and then times e^-s"

# %% [markdown]
# One layer leaves half of the vector as it was. So the next one swaps the parts, and a *flow* is a stack of them.
#
# **Question.** What would a stack learn if all its layers had the same mask?
#
# <details><summary>Answer: why masks alternate</summary>
#
# The kept half would never move: $z_a = x_a$, so the flow would give it the density of a standard normal, whatever the
# data do. All that it could learn is $p(x_b \mid x_a)$. And even that only as a normal density with mean
# and width given by $x_a$: a stack of affine maps $x_b \mapsto x_b e^s + t$ with one and the same $x_a$ is *one*
# affine map. With two masks in turn, the next layer sees an $x_b$ that has been mixed with $x_a$, bends $x_a$ by it, and
# the maps no longer melt into one. It takes two layers to move every number, and three until each of them can depend on
# all others.
# </details>


# %% build="flow"
# long: a stack of layers, both of its directions, and its density
class Flow(nn.Module):
    """Coupling layers one after the other; z is standard normal."""

    def __init__(self, layers, dims):
        super().__init__()
        self.layers, self.dims = nn.ModuleList(layers), dims

    def forward(self, x, c=None):
        """From data to noise: (N, D) -> z (N, D), log |det dz/dx| (N,)."""
        ### BEGIN SOLUTION
        log_det = 0.0
        for layer in self.layers:
            x, change = layer(x, c)
            log_det = log_det + change
        return x, log_det
        ### END SOLUTION

    def inverse(self, z, c=None):
        """From noise to data, the last layer first: (N, D) -> (N, D)."""
        ### BEGIN SOLUTION
        for layer in reversed(self.layers):
            z = layer.inverse(z, c)
        return z
        ### END SOLUTION

    def log_prob(self, x, c=None):
        """log p(x) in nats: (N, D) -> (N,)."""
        ### BEGIN SOLUTION
        z, log_det = self(x, c)
        return log_normal(z) + log_det
        ### END SOLUTION


# %% check="flow"
turn = torch.tensor([True, False]), torch.tensor([False, True])
pair = Flow([Coupling(mask, lambda x_a, c: torch.cat([x_a, 0 * x_a + 1], dim=1)) for mask in turn], 2)
z_few, log_det = pair(torch.tensor([[1.0, 2.0]]))
e = math.exp(1 / (1 + 1 / LIMIT))  # both layers scale by this, and shift by what they keep
assert torch.allclose(z_few, torch.tensor([[e + 2 * e + 1, 2 * e + 1]])), "the first layer first"
assert torch.allclose(log_det, torch.tensor([2 * math.log(e)])), "what both layers stretch, added up"
assert torch.allclose(pair.inverse(z_few), torch.tensor([[1.0, 2.0]])), "the last layer is undone first"
assert torch.allclose(pair.log_prob(torch.tensor([[1.0, 2.0]])), log_normal(z_few) + log_det)


# %%
def couplings(masks, width, classes=0, dropout=0.0):
    """A coupling with an MLP of its own for each mask."""
    sizes = [(int(mask.sum()), int((~mask).sum())) for mask in masks]
    nets = [MLP(a + classes, width, 2 * b, dropout) for a, b in sizes]
    return [Coupling(mask, net) for mask, net in zip(masks, nets, strict=True)]


def swapped(layers, dims=2):
    """Masks that keep the even coordinates, then the odd ones, and so on."""
    return [torch.arange(dims) % 2 == i % 2 for i in range(layers)]


def log_det_by_autograd(f, x):
    """log |det df/dx| of a map (1, D) -> (1, D) at one x (D,): D backward passes and a determinant."""
    J = torch.autograd.functional.jacobian(lambda v: f(v[None])[0], x)  # (D, D)
    return torch.linalg.slogdet(J).logabsdet


# %% tags=["demo"]
# Before any training: is the inverse an inverse, and does \sum s agree with the determinant that
# automatic differentiation finds, entry by entry? Random weights make a harder case than the
# identity at which we start.
torch.manual_seed(0)
trial = Flow(couplings(swapped(6, dims=5), 32), 5).double()
for parameter in trial.parameters():
    nn.init.normal_(parameter, std=0.3)
x_trial = torch.randn(4, 5, dtype=torch.float64)
z_trial, log_det_trial = trial(x_trial)
by_autograd = torch.stack([log_det_by_autograd(lambda v: trial(v)[0], x) for x in x_trial])
back_off = (trial.inverse(z_trial) - x_trial).abs().max().item()
det_off = (log_det_trial - by_autograd).abs().max().item()
print(f"log-det of one point: {log_det_trial[0]:.6f}, by autograd {by_autograd[0]:.6f}")
print(f"round trip off by at most {back_off:.1e}, log-dets by at most {det_off:.1e}")
board.claim("Inverse and log-det are right to rounding.", max(back_off, det_off) < 1e-9)

# %% [markdown]
# ## 3 · Two moons
#
# Training is maximum likelihood: the loss is $-\log p_x(x)$, averaged over a batch. Two forces act. $\log p_z$ pulls
# all points towards 0; the log-determinant pays for every stretch, and so pushes them apart. Training ends where the
# two balance, at best where the model's density is that of the data. In expectation over data $x \sim p_{\text{data}}$
#
# $$\mathbb E\big[-\log p_x(x)\big] = \underbrace{\mathbb E\big[-\log p_{\text{data}}(x)\big]}_{\text{entropy of the data: no model can change it}} + \underbrace{\mathbb E\Big[\log\frac{p_{\text{data}}(x)}{p_x(x)}\Big]}_{\mathrm{KL}(p_{\text{data}}\,\Vert\,p_x)\ \ge\ 0} .$$
#
# <details><summary>Derivation</summary>
#
# Add and subtract $\log p_{\text{data}}(x)$ inside the expectation. The second term is not negative: $\log a \le a - 1$
# for every $a > 0$, so $\mathbb E\log\frac{p_x}{p_{\text{data}}} \le \int p_{\text{data}}\,\frac{p_x}{p_{\text{data}}}\,dx - 1 \le 1 - 1 = 0$,
# and it is 0 only where the two agree. So whoever minimises the loss minimises KL(data ‖ model), the *forward* KL:
# an average over the *data*, which makes a model pay for every place where there is data and it has little density.
# (The last exercise turns the roles around.)
# </details>
#
# The moons are made by a recipe, so we know their density: a point on one of two half circles, and normal noise of
# 0.12. We can tell how far from the truth the flow is.


# %%
# long: the training loop, an untrained flow and the moons' true density
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


def log_moons(x, n=400):
    """The moons' true log density in nats: the mean over places on both half circles, (N, 2) -> (N,)."""
    angle = (torch.arange(n, device=x.device) + 0.5) / n * math.pi
    arc = torch.stack([angle.cos(), angle.sin()], dim=1)
    middle = torch.tensor([0.5, 0.25], device=x.device)
    places = 1.4 * (torch.cat([arc, torch.tensor([1.0, 0.5], device=x.device) - arc]) - middle)  # (2n, 2)
    logs = [(torch.cdist(part, places).square() / (-2 * 0.12**2)).logsumexp(1) for part in x.split(2_000)]
    return torch.cat(logs) - math.log(2 * n * 2 * math.pi * 0.12**2)


# %% tags=["demo"]
moons, moons_test = (torch.tensor(data.toy("moons", S.points, seed), device=device) for seed in (1, 2))
flow = plane_flow()
train_plane(flow, moons, S.plane["steps"])
with torch.no_grad():
    held_out = flow.log_prob(moons_test).mean().item()
normal = torch.distributions.MultivariateNormal(moons.mean(0).cpu(), moons.T.cov().cpu())
by_normal, by_truth = normal.log_prob(moons_test.cpu()).mean().item(), log_moons(moons_test).mean().item()
print(f"held out, nats a point: one normal {by_normal:.3f}, flow {held_out:.3f}, the truth {by_truth:.3f}")
print(f"KL(data, model): one normal {by_truth - by_normal:.3f} nats, flow {by_truth - held_out:.3f}")
board.claim(
    "The flow's divergence from the truth is less than a fifth of a normal density's.",
    by_truth - held_out < (by_truth - by_normal) / 5,
)

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


def samples(flow, n, seed=0, c=None, temperature=1.0):
    """n samples: noise, times the temperature, then the layers backwards. -> (n, D)"""
    z = torch.randn(n, flow.dims, generator=torch.Generator().manual_seed(seed)).to(device)
    with torch.no_grad():
        return flow.inverse(temperature * z, c)


# %% tags=["demo"]
total, p_plane = grid_integral(flow.log_prob)
edges = np.linspace(-SIDE, SIDE, CELLS + 1)
fig, axes = plot.figure(1, 3, height=3.1)
axes[0].scatter(*moons[:2_000].T.cpu(), s=3, color=plot.COLOURS.grey)
plot.density(axes[1], edges, edges, p_plane)
axes[2].scatter(*samples(flow, 2_000).T.cpu(), s=3, color=plot.COLOURS.blue)
for ax, title in zip(axes, ("Data", f"Density, integral {total:.3f}", "Samples"), strict=True):
    ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
plt.show()
board.claim("The density adds up to 1, within one in a hundred.", abs(total - 1) < 0.01)

# %% [markdown]
# **Question.** A thin bridge joins the moons. Would longer training remove it?
#
# <details><summary>Answer</summary>
#
# No. The flow is a continuous map of a cloud in *one* piece, and a continuous map cannot tear it in two. It can make
# the bridge ever thinner, with ever steeper maps. A mixture has no such trouble. This is a limit of the family.
# </details>
#
# **Layer by layer.** Run the moons forward, through one layer after the other, and they end as a round cloud. Run noise
# backwards, and a grid of straight lines along with it, and it ends as moons. Each layer moves points along one
# axis only. A point's colour says in which direction from 0 its $z$ lies, in both rows.


# %%
def stages(flow, x, back=False):
    """x, and what it has become after each layer, or of the inverse if `back`: a list of (N, D)."""
    found = [x]
    with torch.no_grad():
        for layer in reversed(flow.layers) if back else flow.layers:
            found.append(layer.inverse(found[-1]) if back else layer(found[-1])[0])
    return found


def grid_lines(reach=2.5, lines=11, points=200):
    """Straight lines of both directions, one after the other: (2 * lines * points, 2)."""
    t, level = torch.linspace(-reach, reach, points), torch.linspace(-reach, reach, lines)
    u = torch.cartesian_prod(level, t)
    return torch.cat([u, u.flip(1)]).to(device)


# %% folded="Figure: all stages, from moons to noise and from noise to moons" tags=["demo"]
# long: two rows of stages, and what the moons have become
z_shown = torch.randn(1_500, 2, generator=torch.Generator().manual_seed(3)).to(device)
dots, lines = stages(flow, z_shown, back=True), stages(flow, grid_lines(), back=True)
hue = plt.cm.twilight((torch.atan2(*z_shown.T).cpu().numpy() / (2 * math.pi)) % 1)
forward, last = stages(flow, moons_test[:1_500]), len(flow.layers)
hue_moons = plt.cm.twilight((torch.atan2(*forward[-1].T).cpu().numpy() / (2 * math.pi)) % 1)


def draw_stage(ax, k, size=3):
    """The cloud and the grid after k layers of the inverse."""
    for line in lines[k].cpu().reshape(22, 200, 2):
        ax.plot(*line.T, color="#CBD5E1", lw=0.7, zorder=1)
    ax.scatter(*dots[k].T.cpu(), s=size, c=hue, zorder=2)
    ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
    ax.set_title("noise" if k == 0 else f"{k} layer{'s' if k > 1 else ''}", fontsize=10)


fig, axes = plot.figure(2, 9, height=1.15)
shown = np.linspace(0, last, 9).round().astype(int)
for above, below, k in zip(*axes, shown, strict=True):
    above.scatter(*forward[k].T.cpu(), s=1, c=hue_moons)
    above.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xticks=[], yticks=[])
    above.set_title("moons" if k == 0 else f"{k}", fontsize=10)
    draw_stage(below, k, size=1)
    below.set_title("noise" if k == 0 else f"{k} back", fontsize=10)
plt.show()
with torch.no_grad():
    cloud = flow(moons_test)[0]
inside = (cloud.square().sum(1) < 1).float().mean().item()
(mean_x, mean_y), (std_x, std_y) = cloud.mean(0).tolist(), cloud.std(0).tolist()
print(f"moons as z: means {mean_x:.3f} and {mean_y:.3f}, deviations {std_x:.3f} and {std_y:.3f};", end=" ")
print(f"inside the unit circle {inside:.3f}, of a round normal cloud {1 - math.exp(-0.5):.3f}")
board.claim("The unit circle holds as many as of a normal cloud.", abs(inside - 1 + math.exp(-0.5)) < 0.05)

# %% [markdown]
# ## 4 · Play: undo the layers one by one
#
# *Question: which layers do the work, and where has the volume gone?* The slider says through how many layers the noise
# runs. Each bar shows the mean log-determinant of each layer of the inverse at the points of the cloud: below 0 it has
# squeezed them.


# %% folded="Control, and a static figure" tags=["demo"]
# long: a control, and a figure for where there is none
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
play(last)
less = -by_truth - math.log(2 * math.pi * math.e)  # the noise's entropy is log(2 pi e)
print(f"all layers {sum(volume_changes()):.2f} nats; the moons' entropy less the noise's {less:.2f}")
board.claim("All layers together squeeze.", sum(volume_changes()) < 0)

# %% [markdown]
# Single layers squeeze much or little, and may even stretch; the density knows only their sum. How large must that be?
# Take the mean of $\log p_x(x) = \log p_z(z) - \log|\det \partial x/\partial z|$ over the flow's own draws: the mean
# log-determinant of the inverse is the entropy of what the flow draws less the entropy of the noise. The moons fill
# less of the plane than the round cloud, so it is negative. The second number printed is what it would be for the true
# moons.
#
# ## 5 · Pictures: masks
#
# A digit is a vector of 64 numbers. Which half should be kept? RealNVP uses two patterns. The *checkerboard* keeps
# every other pixel, so that a pixel that moves sees the pixels next to it. For the second pattern, cut the picture
# into blocks of 2×2 pixels, and make a *channel* of each place in the block: this *squeeze* turns (1, 8, 8) into
# (4, 4, 4). The *channel mask* keeps two of the four. The squeeze is a renumbering of pixels, so for a network that
# takes vectors both patterns are the same thing, a set of pixels. In the figure the dark pixels are kept.


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


# %% folded="Figure: four masks" tags=["demo"]
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
# The digits have 17 grey levels, $k \in \{0, \dots, 16\}$. A density on such data can be made as large as you like;
# section 11 lets a flow try. The cure is *uniform dequantisation* (Uria, Murray and Larochelle, 2013): add noise $u$,
# uniform on $[0, 1)$, and fit $y = (k + u)/17$. Then each grey level owns a cell of width $1/17$, and what
# a density says of the *discrete* picture is the mass that it puts into the picture's cell, $P(k)$:
#
# $$\log P(k) = \log \int_{[0,1)^D} p_y\Big(\frac{k + u}{17}\Big)\,17^{-D}\,du \;\ge\; \mathbb E_u \log p_y\Big(\frac{k + u}{17}\Big) - D\log 17 .$$
#
# <details><summary>Derivation: a bound on a true, discrete likelihood</summary>
#
# 1. *A discrete model.* The cells of all pictures fill $[0, 1)^D$ without overlap, so the masses
#    $P(k) = \int_{\text{cell}} p_y(y)\,dy$ add up to at most 1. $P$ is a proper model of discrete pictures: a code of
#    $-\log_2 P(k)$ bits exists.
# 2. *Substitute* $y = (k + u)/17$: the cell becomes $[0, 1)^D$, and $dy = 17^{-D}\,du$, the change of variables once more.
# 3. *Read the integral as a mean.* The uniform $u$ has density 1 there, so $P(k) = \mathbb E_u\big[p_y\,17^{-D}\big]$.
# 4. *Jensen's inequality.* A logarithm lies below its tangent: $\log a \le \log \bar a + (a - \bar a)/\bar a$. Put in
#    $\bar a = \mathbb E a$ and take the mean of both sides: $\mathbb E \log a \le \log \mathbb E a$. Here
#    $a = p_y\,17^{-D}$. Equality holds only if $p_y$ is the same all over the cell.
# </details>
#
# So noise can only make a model look worse than the discrete model $P$ that it stands for, never better (lesson 01
# promised this proof), and bits per dimension by the right side,
#
# $$-\big(\mathbb E_u \log p_y - D \log 17\big) / (D \log 2),$$
#
# are an upper bound on the bits of a real code. `metrics.bits_per_dim` computes them. Forget the $17^{-D}$, and
# the result is better by $\log_2 17 \approx 4.09$ bits for nothing.
#
# One more map: $y$ lives in $[0, 1]$, but a normal $z$ has no walls. The *logit* takes them away, after a small inset
# $\lambda$ that keeps it finite. Its log-determinant belongs to the account. It works on each number alone, so its
# Jacobian is diagonal, and the derivatives are $\frac{dv}{dy} = 1 - 2\lambda$ and
# $\frac{dx}{dv} = \frac1v + \frac1{1 - v} = \frac{1}{v(1 - v)}$:
#
# $$v = \lambda + (1 - 2\lambda)\, y,\quad x = \log\frac{v}{1 - v},\qquad
# \log\Big|\det\frac{\partial x}{\partial y}\Big| = \sum_d \big(\log(1 - 2\lambda) - \log v_d - \log(1 - v_d)\big) .$$


# %% build="grey"
# long: the two maps from grey levels to real numbers
class Pixels(NamedTuple):
    """Grey levels as real numbers: how many there are, the inset lambda, what the logit is divided by."""

    levels: int
    inset: float
    width: float


DIGITS = Pixels(levels=17, inset=0.05, width=1.0)


def dequantise(k, generator, how=DIGITS):
    """y = (k + u) / levels, with u uniform: (N, D) whole numbers -> (N, D) in [0, 1)."""
    ### BEGIN SOLUTION
    u = torch.rand(k.shape, generator=generator, dtype=k.dtype).to(k.device)
    return (k + u) / how.levels
    ### END SOLUTION


def logit(y, how=DIGITS):
    """x = log(v / (1 - v)) / width, and log |det dx/dy|: (N, D) in [0, 1] -> (N, D), (N,)."""
    ### BEGIN SOLUTION
    v = how.inset + (1 - 2 * how.inset) * y
    slope = math.log((1 - 2 * how.inset) / how.width) - v.log() - torch.log1p(-v)
    return (v.log() - torch.log1p(-v)) / how.width, slope.sum(dim=1)
    ### END SOLUTION


# %% check="grey"
y_few = dequantise(torch.full((2_000, 1), 3.0), torch.Generator().manual_seed(0))
assert ((17 * y_few).floor() == 3).all() and abs(17 * y_few.mean() - 3.5) < 0.05, (
    "all over the cell of level 3"
)
x_few, log_det = logit(torch.tensor([[0.5, 1.0]]))
assert torch.allclose(x_few, torch.tensor([[0.0, math.log(0.95 / 0.05)]])), (
    "1/2 goes to 0; the end stays finite"
)
assert torch.allclose(log_det, torch.tensor([2 * math.log(0.9) - math.log(0.25) - math.log(0.95 * 0.05)]))


# %%
def to_levels(x, how=DIGITS):
    """Back to whole grey levels: the inverse of the logit, and then the cell. (N, D) -> (N, D)"""
    y = (torch.sigmoid(how.width * x) - how.inset) / (1 - 2 * how.inset)
    return (y * how.levels).floor().clamp(0, how.levels - 1)


def log_density(flow, y, c=None, how=DIGITS):
    """log p(y) in nats, for y in [0, 1]^D: the flow's density of x, and the account of the logit."""
    x, log_det = logit(y, how)
    return flow.log_prob(x, c) + log_det


def uniform_bound(flow, k, c, generator, how=DIGITS):
    """log p(y | c) at one draw of uniform noise, in nats: (N, D) -> (N,). bits() takes its mean."""
    return log_density(flow, dequantise(k, generator, how), c, how)


# %% [markdown]
# ## 7 · Digits
#
# Every layer also sees the class, as ten numbers of which one is 1. There are only 1,257 training digits, and the net
# could learn them by heart. Three things are to prevent it: fresh noise $u$ in every batch, weight decay, and dropout.
#
# Dropout in an invertible map? It sits inside the networks of $s$ and $t$, which nobody inverts. For any one draw of
# what is dropped, the layer is an affine coupling like others, with the right log-determinant, so training maximises the
# mean of the log-densities of many flows that share their weights. But forward and inverse must use the same draw to
# undo each other. So a flow is inverted, and measured, in `eval` mode only, where nothing is dropped.


# %% build="step"
def training_step(flow, optimizer, k, c, generator, bound=uniform_bound, how=DIGITS):
    """One step of maximum likelihood on pictures k (N, D) of whole levels, classes c (N, C).

    bound: (flow, k, c, generator, how) -> log-likelihoods in nats (N,). The gradient's norm is cut to 50.
    Returns the loss, minus their mean, detached and on the device.
    """
    ### BEGIN SOLUTION
    loss = -bound(flow, k, c, generator, how).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 50.0)
    optimizer.step()
    return loss.detach()
    ### END SOLUTION


# %% check="step"
weights = nn.Parameter(torch.zeros(2))
one = Flow([Coupling(torch.tensor([False]), lambda x_a, c: weights.expand(len(x_a), 2))], 1)
sgd, k_few = torch.optim.SGD([weights], lr=1e-2), torch.full((64, 1), 8.0)
losses = [training_step(one, sgd, k_few, None, torch.Generator().manual_seed(0)) for _ in range(200)]
assert losses[0].shape == () and not losses[0].requires_grad, "one number, without its graph"
assert losses[-1] < losses[0] - 0.5, "64 pixels of the middle level, again and again: the loss must fall"


# %%
# long: a flow of pictures, and the loop around the step, with a curve and a schedule
def one_hot(y, classes=10):
    """(N,) -> (N, C), as float32 on the device."""
    return nn.functional.one_hot(torch.as_tensor(y), classes).float().to(device)


def picture_flow(size, classes, settings, dropout=0.1):
    """An untrained flow of pictures with size x size pixels."""
    torch.manual_seed(0)
    masks = picture_masks(size, settings["layers"])
    return Flow(couplings(masks, settings["width"], classes, dropout), size**2).to(device)


def train_pictures(
    flow, k, c, settings, steps=None, bound=uniform_bound, how=DIGITS, title="Digits", watch=None, noise=()
):
    """Fit a flow, and the parameters `noise`; returns bits/dim of each step. watch(step): now and then."""
    steps, D = steps or settings["steps"], k.shape[1]
    optimizer = torch.optim.AdamW([*flow.parameters(), *noise], weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    g, found, curve = torch.Generator().manual_seed(0), [], progress.Curve(title, "step", "bits/dim")
    flow.train()
    for step in progress.track(range(steps), title=title):
        chosen = torch.randint(len(k), (settings["batch"],), generator=g).to(k.device)
        nats = training_step(flow, optimizer, k[chosen], c[chosen], g, bound, how)
        schedule.step()
        found.append(nats / (D * math.log(2)) + math.log2(how.levels))
        curve.add(step, found[-1])
        if watch and (step + 1) % -(-steps // 4) == 0:
            watch(step + 1)
    curve.close()
    flow.eval()
    return torch.stack(found).cpu()


digits = data.digits()
k_train, k_val, k_test = (torch.as_tensor(p.x, device=device).flatten(1).mul(16).round() for p in digits)
c_train, c_val, c_test = (one_hot(part.y) for part in digits)


def mean_nats(flow, k, c, draws=4, how=DIGITS, bound=uniform_bound):
    """The bound's mean over pictures and over fresh noise, log p(y | c) in nats."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return np.mean([bound(flow, k, c, g, how).mean().item() for _ in range(draws)])


def bits(nats, dims=64, levels=DIGITS.levels):
    """Bits per dimension of the discrete picture, from nats of the dequantised one."""
    return metrics.bits_per_dim(nats, dims, levels)


# %% tags=["demo"]
# long: the run, what it looks at, and what it has learned
digit_flow = picture_flow(8, 10, S.digits)
ten, grown, measured = torch.arange(10), [], []


def watch(step):
    """Samples of ten classes from the same noise, and held-out bits, while it trains."""
    digit_flow.eval()
    grown.append(to_levels(samples(digit_flow, 10, 5, one_hot(ten))) / 16)
    measured.append((step, bits(mean_nats(digit_flow, k_val, c_val, 1))))
    digit_flow.train()


start = time.perf_counter()
history = train_pictures(digit_flow, k_train, c_train, S.digits, watch=watch)
digit_seconds = time.perf_counter() - start
print(f"{sum(p.numel() for p in digit_flow.parameters()):,} numbers for {len(k_train):,} training digits")
for step, value in measured:
    print(f"step {step:5}: {value:.3f} bits/dim on the validation digits")
known = bits(mean_nats(digit_flow.eval(), k_train, c_train, 1))
print(f"after training: {known:.3f} on the training digits")
steps_shown = ", ".join(str(step) for step, _ in measured)
plot.images(torch.cat(grown).reshape(-1, 8, 8), title=f"The same noise after {steps_shown} steps")
plt.show()
board.claim(
    "It knows its training digits better than others, by 0.1 bits or more.",
    known < measured[-1][1] - 0.1,
)

# %% [markdown]
# Noise, weight decay and dropout do not prevent it wholly: the flow knows its training digits better than the held-out
# ones. Only those count.
#
# A digit's class is known to this model, so its bits are those of $p(x \mid c)$. For a fair comparison with models that
# do not know it, add the classes up: $p(x) = \frac1{10}\sum_c p(x \mid c)$. That is at least a tenth of the term of the
# true class, so it costs at most $\log 10$ nats a picture. Bayes' rule then turns the flow into a classifier, as in
# lesson 02.


# %%
def log_all_classes(flow, y, classes=10):
    """log p(y | c) for every class: (N, D) -> (N, C)."""
    eye = torch.eye(classes, device=y.device)
    with torch.no_grad():
        return torch.stack([log_density(flow, y, c.expand(len(y), -1)) for c in eye], dim=1)


# %% tags=["demo"]
# long: five figures of the test digits, and pictures
g = torch.Generator().manual_seed(1)
joint = torch.stack([log_all_classes(digit_flow, dequantise(k_test, g)) for _ in range(4)])  # (4, M, 10)
given = (joint * c_test).sum(2).mean().item()
alone = (joint.logsumexp(2) - math.log(10)).mean().item()
right = (joint.mean(0).argmax(1) == c_test.argmax(1)).float().mean().item()
print(f"held out: class given {bits(given):.3f} bits/dim; class unknown {bits(alone):.3f} ({alone:.1f} nats)")
print(f"as a classifier: {right:.3f} of the test digits right")
x_test, _ = logit(dequantise(k_test, g))
no_logit = bits(digit_flow.log_prob(x_test, c_test).mean().item())
no_levels = metrics.bits_per_dim(given, 64)
print(f"counted wrongly: without the 17 levels {no_levels:.3f},", end=" ")
print(f"without the logit's log-det {no_logit:.3f} bits/dim")
board.claim("To sum over the classes costs at most log 10 nats.", given - alone <= math.log(10))
board.claim("The flow tells more than nine of ten test digits.", right > 0.9)
board.claim("Both wrong counts lie outside 0 to log2 17.", no_levels < 0 and no_logit > math.log2(17))
wanted = torch.arange(40) % 10
made = to_levels(samples(digit_flow, 40, 7, one_hot(wanted))) / 16
real = torch.cat([k_test[c_test.argmax(1) == c][:4] for c in range(10)]).reshape(10, 4, 64).transpose(0, 1)
fig, axes = plot.figure(2, 1, height=1.35)
plot.images(made.reshape(-1, 8, 8), columns=20, ax=axes[0], title="Drawn by the flow, classes 0 to 9")
plot.images(real.reshape(-1, 8, 8) / 16, columns=20, ax=axes[1], title="Real digits, held out")
plt.show()

# %% [markdown]
# Two mistakes, counted out above. Without the 17 levels the bits are negative, and no code has negative bits. Without
# the logit's log-determinant they are above $\log_2 17 \approx 4.09$: so many needs a code that knows nothing about
# digits. Where a trained model is outside of these two bounds, look for a missing term.
#
# ## 8 · Learned noise: variational dequantisation
#
# Uniform noise asks the flow to fill every cell evenly, up to its walls. Where only one level occurs, as in a corner
# that is always white, a smooth density would have to be level inside the cell and fall off at once at its wall. Let
# the noise be *learned* instead: any density $q(u \mid k)$ on the cell gives a bound (Ho and others, 2019),
#
# $$\log P(k) \;\ge\; \mathbb E_{q(u \mid k)}\Big[\log p_y\Big(\frac{k + u}{17}\Big) - \log q(u \mid k)\Big] - D \log 17 ,$$
#
# and uniform noise is the special case $q = 1$.
#
# <details><summary>Derivation, and how large the gap is</summary>
#
# Let $a(u) = p_y\big(\frac{k+u}{17}\big)\,17^{-D}$, so that $P(k) = \int a(u)\,du$. Multiply and divide by $q$:
# $P(k) = \mathbb E_q\big[\frac{a(u)}{q(u \mid k)}\big]$, and by Jensen
# $\log P(k) \ge \mathbb E_q[\log a - \log q]$. The gap: the model's own law of the noise, given the picture, is
# $p(u \mid k) = a(u)/P(k)$. So $\log P(k) - \mathbb E_q[\log a - \log q] = \mathbb E_q\big[\log q - \log\frac{a}{P(k)}\big]
# = \mathrm{KL}\big(q(u \mid k)\,\Vert\,p(u \mid k)\big)$. It is 0 if $q$ is that law. (Lesson 10 has the same bound for
# a hidden code in the place of $u$.)
# </details>
#
# Our $q$ is the smallest flow that fits: $w = m + e^{s + 1/2}\,\varepsilon$ and $u = \operatorname{sigmoid}(w)$, where a
# network computes $m$ and $s$ from the picture. Its density is the change of variables once more:
# $\log q = \log\mathcal N(\varepsilon;\, 0, I) - \sum_d \big(s_d + \tfrac12 + \log u_d + \log (1 - u_d)\big)$, since
# $\frac{du}{dw} = u(1 - u)$ and $\frac{dw}{d\varepsilon} = e^{s + 1/2}$.
#
# Why the ½? The network starts at $m = s = 0$, and $q$ should then start as nearly uniform noise. A number whose sigmoid
# is exactly uniform has the logistic law, of deviation $\pi/\sqrt3 \approx 1.81$. A normal number of deviation
# $e^{1/2} \approx 1.65$ comes near to it; a cell further down prints how near.


# %% build="noise"
# long: a small network, and the bound that it gives
class Noise(nn.Module):
    """q(u | k): u = sigmoid(m(k) + exp(s(k) + 1/2) eps), eps standard normal."""

    def __init__(self, dims, width, levels=DIGITS.levels):
        super().__init__()
        self.net, self.levels = MLP(dims, width, 2 * dims), levels

    def forward(self, k, generator):
        """u (N, D) in (0, 1), and log q(u | k) in nats (N,)."""
        eps = torch.randn(k.shape, generator=generator).to(k.device)
        m, s = self.net(k / self.levels - 0.5).unflatten(1, (-1, 2)).unbind(2)
        ### BEGIN SOLUTION
        w = m + (s + 0.5).exp() * eps
        log_du_dw = nn.functional.logsigmoid(w) + nn.functional.logsigmoid(-w)
        return torch.sigmoid(w), log_normal(eps) - (s + 0.5 + log_du_dw).sum(dim=1)
        ### END SOLUTION


def variational_bound(flow, noise, k, c, generator):
    """log p(y | c) - log q(u | k) at one draw of u, in nats: (N, D) -> (N,). bits() takes its mean."""
    ### BEGIN SOLUTION
    u, log_q = noise(k, generator)
    return log_density(flow, (k + u) / DIGITS.levels, c) - log_q
    ### END SOLUTION


# %% check="noise"
fresh = Noise(3, 4)
nn.init.constant_(fresh.net[-1].bias, 0.3)
u_few, log_q = fresh(torch.zeros(20_000, 3), torch.Generator().manual_seed(0))
assert log_q.shape == (20_000,) and ((u_few > 0) & (u_few < 1)).all(), "noise inside the cell"
middle = ((u_few - 0.5).abs() < 0.3).all(dim=1)
assert abs(((-log_q).exp() * middle).mean() - 0.6**3) < 0.02, "the mean of 1 / q over a set is its volume"
flat = Flow([], 1)
flat.log_prob = lambda x, c: -logit((torch.sigmoid(x) - 0.05) / 0.9)[1]
bound_few = variational_bound(
    flat, lambda k, g: (0 * k + 0.5, 0 * k[:, 0] + 2.0), torch.zeros(2, 1), None, None
)
assert torch.allclose(bound_few, torch.full((2,), -2.0), atol=1e-4), "a flat density: 0 nats, and minus log q"

# %% [markdown]
# The flow and its noise are trained together, from the start: the noise looks for places where the flow has density,
# and the flow no longer has to fill the corners that the noise avoids.

# %% tags=["demo"]
with torch.no_grad():
    u, log_q = Noise(1, 4)(torch.zeros(200_000, 1), torch.Generator().manual_seed(1))
from_uniform = log_q.mean().item()
print(f"untrained, the learned noise is {from_uniform:.4f} nats a pixel away from uniform noise")
together, noise = picture_flow(8, 10, S.digits), Noise(64, S.digits["width"]).to(device)
learned_noise = lambda flow, k, c, g, how: variational_bound(flow, noise, k, c, g)  # noqa: E731
options = {"bound": learned_noise, "noise": noise.parameters(), "title": "Flow and noise"}
train_pictures(together, k_train, c_train, S.digits, **options)
learned = mean_nats(together, k_test, c_test, bound=learned_noise)
print(f"test digits: uniform noise {bits(given):.3f} bits/dim, learned noise {bits(learned):.3f}")
board.claim("The untrained noise is nearly uniform.", 0 <= from_uniform < 0.02)
board.claim("Flow and noise together need fewer bits.", bits(learned) < bits(given) - 0.015)

# %% folded="Figure: what the noise has learned" tags=["demo"]
# long: one figure, and the two groups of pixels that it compares
with torch.no_grad():
    u, _ = noise(k_test[3:4].expand(2_000, -1), torch.Generator().manual_seed(4))
spread = u.std(0).reshape(8, 8).cpu()
fig, axes = plot.figure(1, 3, height=2.7)
plot.images(k_test[3].reshape(1, 8, 8) / 16, ax=axes[0], title="A digit")
spread_u = axes[1].imshow(spread, vmin=0.1, vmax=0.35, cmap="genmap")
axes[1].set_axis_off()
axes[1].set_title("Deviation of its noise $u$", loc="left")
fig.colorbar(spread_u, ax=axes[1], fraction=0.045, ticks=[0.1, 0.2, 0.3])
for pixel, label in ((0, "the upper left corner"), (int(k_test[3].argmax()), "the darkest pixel")):
    axes[2].hist(u[:, pixel].cpu(), bins=25, range=(0, 1), density=True, histtype="step", lw=2, label=label)
axes[2].axhline(1, color=plot.INK, lw=1, ls="--")
axes[2].set(title="Two pixels' noise", xlabel="$u$", xlim=(0, 1))
axes[2].set(ylim=(0, 3), yticks=[0, 1, 2, 3])
axes[2].legend(fontsize=8.5, loc="upper right", ncols=1, borderaxespad=0)
plt.show()
sides, middle = spread[:, [0, 7]].mean().item(), spread[:, 2:6].mean().item()
white = (k_train.reshape(-1, 8, 8)[:, :, [0, 7]] == 0).float().mean().item()
print(f"first and last columns: {white:.1%} white in training; deviation of the noise {sides:.3f};", end=" ")
print(f"in the middle four {middle:.3f}, of uniform noise {12**-0.5:.3f}")
board.claim("The noise is narrow in the outer columns, not in the middle.", sides < 0.25 < middle)

# %% [markdown]
# The noise is narrow where the place is nearly always white, in the outer columns: it has left the walls of that cell,
# and the flow can put a smooth hill where it had to fill a box. In the middle many levels occur, their cells lie side
# by side, and a smooth density runs on from one to the next. There the noise stays nearly uniform, under white pixels,
# too.
#
# ## 9 · Glyphs: 256 numbers, and a half that leaves early
#
# Sixteen by sixteen pixels, twelve styles, and 256 grey levels. (For large pictures RealNVP's networks are convolutions;
# at this size an MLP will do, and sees all pixels that are kept.) Three things change.
#
# **The inset.** Most pixels of a glyph are pure paper, and the cell of paper is now 1/256 wide: with the old
# $\lambda = 0.05$ paper would be a needle, which the flow must first learn to blow up. With $\lambda = 0.001$ the logit
# itself does it, for it stretches most near 0 and 1. It is also divided by 4 (the field *width* of section 6), so that
# $x$ has about the size of a normal number. There is no dropout.
#
# **Factoring out.** After some of the layers, here a third, half of the numbers are finished: they *are* part of $z$,
# and the other layers see only the rest. What does that do to the density? Let $h = (h_1, h_2)$ be what comes out of these first
# layers $f'$, and $z = (h_1, f''(h_2))$ with the later ones $f''$ (two maps, no derivatives). Then
#
# $$\log p_x(x) = \underbrace{\log \mathcal N(h_1;\, 0, I)}_{\text{finished}} + \underbrace{\log \mathcal N\big(f''(h_2);\, 0, I\big) + \log\Big|\det\frac{\partial f''}{\partial h_2}\Big|}_{\text{a flow of its own, of half the numbers}} + \log\Big|\det\frac{\partial f'}{\partial x}\Big| .$$
#
# <details><summary>Derivation: nothing new</summary>
#
# The normal density of independent numbers is a product, so its logarithm is a sum over both parts. The Jacobian of
# $h \mapsto z$ has the blocks $I$ and $\partial f''/\partial h_2$ on its diagonal and 0 elsewhere; its determinant
# is that of the second block. So to factor out is to add one more layer, which keeps $h_1$. It costs nothing in
# exactness, and it saves work: the later layers carry half of the numbers. RealNVP does so several times, with a squeeze
# before each.
# </details>
#
# **Temperature.** To draw, the noise may be multiplied by $\tau < 1$: $z = \tau\,\varepsilon$. It stays where the density
# is high. These are no longer samples of $p_x$, but of another, narrower law. (Lesson 09 says more, and why the place
# of highest density itself is nowhere near a typical picture.)


# %%
# long: a layer, and a flow with it
class Rest(nn.Module):
    """A layer that passes the coordinates of a mask (D,) through a flow of their own; the others are done."""

    def __init__(self, mask, flow):
        super().__init__()
        self.register_buffer("kept", mask.nonzero()[:, 0])
        self.flow = flow

    def forward(self, x, c=None):
        """(N, D) -> z (N, D), log |det dz/dx| (N,)."""
        inner, log_det = self.flow(x[:, self.kept], c)
        return x.index_copy(1, self.kept, inner), log_det

    def inverse(self, z, c=None):
        """(N, D) -> x (N, D)."""
        return z.index_copy(1, self.kept, self.flow.inverse(z[:, self.kept], c))


def factored_flow(size, classes, settings):
    """Layers on all pixels, then twice as many on channels 0 and 1 alone; size: pixels a side."""
    torch.manual_seed(0)
    layers, width, half = settings["layers"], settings["width"], size**2 // 2
    inner = Flow(couplings(swapped(layers, half), width, classes), half)
    outer = couplings(picture_masks(size, layers // 2), width, classes)
    return Flow([*outer, Rest(channel_mask(size), inner)], size**2).to(device)


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
glyph_flow = factored_flow(16, 10, S.glyphs)
glyph_parameters = sum(p.numel() for p in glyph_flow.parameters())
start = time.perf_counter()
train_pictures(glyph_flow, k_glyphs, c_glyphs, S.glyphs, how=GLYPHS, title="Glyphs")
glyph_seconds = time.perf_counter() - start
glyph_nats = mean_nats(glyph_flow, k_held, c_held, draws=1, how=GLYPHS)
paper = (k_glyphs == 0).float().mean().item()
print(f"{paper:.0%} of the training pixels are pure paper; {glyph_parameters:,} numbers;", end=" ")
print(f"held out {bits(glyph_nats, 256, 256):.3f} bits/dim, class given")


# %% folded="Figure: glyphs at two temperatures" tags=["demo"]
def draw_glyphs(wanted, temperature, seed):
    """Glyphs of the classes `wanted`: (n, 1, 16, 16)."""
    x = samples(glyph_flow, len(wanted), seed, one_hot(wanted), temperature)
    return to_levels(x, GLYPHS).reshape(-1, 1, 16, 16) / 255


forty = torch.arange(40) % 10
held = torch.cat([k_held[c_held.argmax(1) == c][:4] for c in range(10)]).reshape(10, 4, 256).transpose(0, 1)
rows = {
    "Drawn, temperature 1": draw_glyphs(forty, 1.0, 5),
    "Drawn, temperature 0.7": draw_glyphs(forty, 0.7, 5),
    "Held out": held.reshape(-1, 16, 16) / 255,
}
fig, axes = plot.figure(3, 1, height=1.5)
for ax, (title, x) in zip(axes, rows.items(), strict=True):
    plot.images(x, columns=20, ax=ax, title=title)
plt.show()

# %% [markdown]
# Rough, but digits, in many styles. A flow may not drop anything: it has to model every grey level of every pixel, also
# those that no eye would miss, and the bits count them all alike. The crumbs around the strokes are what it has not
# learned. At the lower temperature the strokes get cleaner. That the styles grow alike as well is hard to see in a few;
# section 12 measures it.
#
# **Question.** Keep the deep half of $z$ and draw the early half anew, or the other way round. Which half decides what
# the glyph looks like? And what lies between two glyphs?
#
# Between two codes $z_0$ and $z_1$ we walk along $z_\alpha = \cos\alpha\, z_0 + \sin\alpha\, z_1$, from $\alpha = 0$ to
# $\pi/2$: for independent normal $z_0$ and $z_1$ each point on this way is standard normal, too, since
# $\cos^2\alpha + \sin^2\alpha = 1$. On the straight line the middle would have half of the variance, as if it came from a
# lower temperature.

# %% folded="Figure: halves drawn anew, and what lies between two glyphs" tags=["demo"]
# long: two experiments with codes, measured and drawn
deep = channel_mask(16).to(device)  # the half that went through all layers


def mixed_glyphs(seed, n=20):
    """Glyphs of one class from n deep halves of codes, each with n early halves: (n, n, 256) levels."""
    g, digit = torch.Generator().manual_seed(seed), one_hot(torch.full((n * n,), seed % 10))
    one, other = torch.randn(2, n, 256, generator=g).to(device)
    z = torch.where(deep, one[:, None], other[None]).reshape(-1, 256)  # rows share the deep half
    with torch.no_grad():
        return to_levels(glyph_flow.inverse(z, digit), GLYPHS).reshape(n, n, 256)


grids = torch.stack([mixed_glyphs(seed) for seed in range(10)]) / 255  # (10, n, n, 256)
moves = {"both halves": grids.diagonal(dim1=1, dim2=2).var(2).sum().item()}
moves |= {"early half": grids.var(2).mean(1).sum().item(), "deep half": grids.var(1).mean(1).sum().item()}
for name, variance in moves.items():
    print(f"{name} drawn anew: variance of the pixels, all classes together, {variance:.1f}")
with torch.no_grad():
    pairs = [torch.arange(len(k_held))[c_held.argmax(1).cpu() == c][:2] for c in (2, 5, 8)]
    ends = torch.stack([k_held[pair] for pair in pairs])  # (3, 2, 256)
    c_ends = torch.stack([c_held[pair] for pair in pairs]).flatten(0, 1)
    z_ends = glyph_flow(logit((ends.flatten(0, 1) + 0.5) / 256, GLYPHS)[0], c_ends)[0].reshape(3, 2, 1, 256)
    a = torch.linspace(0, math.pi / 2, 10, device=device)[:, None]
    way = (a.cos() * z_ends[:, 0] + a.sin() * z_ends[:, 1]).flatten(0, 1)  # (30, 256)
    between = to_levels(glyph_flow.inverse(way, c_ends[::2].repeat_interleave(10, 0)), GLYPHS) / 255
blend = ends[:, :1] / 255 * (1 - a / a[-1]) + ends[:, 1:] / 255 * a / a[-1]  # (3, 10, 256)
grey = [
    ((x > 0.2) & (x < 0.8)).float().mean().item()
    for x in (between.reshape(3, 10, 256)[:, 4:6], blend[:, 4:6], ends / 255)
]
print(f"grey pixels half-way: {grey[0]:.3f} through z, {grey[1]:.3f} in the mean of the pixels;", end=" ")
print(f"at both ends {grey[2]:.3f}")
fig, axes = plot.figure(2, 2, height=1.9)
titles = "Deep half kept, early half anew", "Early half kept, deep half anew"
for ax, title, x in zip(axes[0], titles, (grids[:3, 0, :10], grids[:3, :10, 0]), strict=True):
    plot.images(x.reshape(-1, 16, 16).cpu(), columns=10, ax=ax, title=title)
for ax, title, x in zip(
    axes[1], ("Between two glyphs, through $z$", "The mean of the pixels"), (between, blend), strict=True
):
    plot.images(x.reshape(-1, 16, 16).cpu(), columns=10, ax=ax, title=title)
plt.show()
board.claim(
    "The deep half moves four times as much as the early one.", moves["deep half"] > 4 * moves["early half"]
)
board.claim("Half-way, a walk through z has fewer grey pixels than a blend.", grey[0] < grey[1])

# %% [markdown]
# <details><summary>Answer</summary>
#
# The deep half: with it style, weight and slant change; the early half changes crumbs at the edges of the strokes.
# Nobody told it which half that should be. A likely reason: the early half, every other row of the picture, has to be
# noise after a third of the layers. They see pixels of the rows beside it, so what is left in it is what those do not
# tell: details. Style and weight are in all rows, and stay with the half that goes through all layers. Between two glyphs
# strokes move and change, some of them pale on the way, where a mean of pixels shows both glyphs, faded.
# </details>
#
# ## 10 · Other layers
#
# An affine coupling is one of four common layers with a triangular Jacobian:
#
# | layer | $z_d$ from $x_d$ | what it sees | density | sample | where |
# |---|---|---|---|---|---|
# | affine coupling | $x_d e^{s} + t$, a line | the kept half | one pass | one pass | NICE, RealNVP; Glow (lesson 09) |
# | spline coupling | an increasing curve of several pieces | the kept half | one pass | one pass, and a formula to invert the curve | neural spline flows (lesson 09); exercise 4 bends with tanh |
# | autoregressive, density first | $x_d e^{s} + t$ or any increasing map | all of $x_1, \dots, x_{d-1}$ | one pass | $D$ passes, one after the other | masked autoregressive flow (2017), TarFlow |
# | autoregressive, sample first | the same, read backwards: $x_d = z_d e^{s} + t$ | all of $z_1, \dots, z_{d-1}$ | $D$ passes | one pass | inverse autoregressive flow (2016); exercise 7 |
#
# An autoregressive layer sees more; a coupling is the only kind that is quick in *both* directions. A stack of
# couplings makes up by depth for what each of them does not see.
#
# ## 11 · What breaks
#
# **Dequantisation left out.** Fit the digits as they are, $y = (k + \tfrac12)/17$, in the middle of each cell, every time
# the same. Dropout is off, too, and the run is longer; nothing else changes. Why can the density grow without limit? All
# data lie on points. Around each of them put a normal density of width $\sigma$ in each of $D$ directions: its height
# grows like $\sigma^{-D}$, so the mean of $\log p$ grows by $D \log 2$ whenever $\sigma$ is halved: one bit for each
# pixel, as often as you like.
#
# **A missed log-det.** Two versions of an easy mistake, on the moons. One forgets a single layer, the other forgets the
# account altogether.
#
# **Question.** With the log-det of one layer left out: will the loss end better or worse than the right one's, and will the
# samples show it?


# %%
def middle_bound(flow, k, c, generator, how=DIGITS):
    """log p(y | c) in the middle of every cell: what dequantisation is there to prevent. (N, D) -> (N,)"""
    return log_density(flow, (k + 0.5) / how.levels, c, how)


def claimed_log_prob(flow, x, missing=()):
    """What log_prob would be if the layers numbered in `missing` forgot their log-det: (N, D) -> (N,)."""
    total = 0.0
    for number, layer in enumerate(flow.layers):
        x, change = layer(x)
        total = total if number in missing else total + change
    return log_normal(x) + total


# %% tags=["demo"]
# long: a run without noise, counted properly, and one pixel's density
needles, options = (
    picture_flow(8, 10, S.digits, dropout=0.0),
    {"bound": middle_bound, "title": "Noise left out"},
)
run = train_pictures(needles, k_train, c_train, S.digits, S.broken_steps, **options)
nets = {"noise left out": (needles, run), "uniform noise": (digit_flow, history)}
proper = {name: bits(mean_nats(net, k_test, c_test)) for name, (net, _) in nets.items()}
learnt = {name: bits(mean_nats(net, k_train, c_train)) for name, (net, _) in nets.items()}
for name, (_, losses) in nets.items():
    print(f"{name:15} last step {losses[-1]:5.2f} bits/dim; counted properly, {learnt[name]:.2f}", end=" ")
    print(f"on training digits, {proper[name]:.2f} on test digits")
centres = bits(mean_nats(needles, k_test, c_test, 1, bound=middle_bound))
print(f"noise left out, test digits at the middles of their cells: {centres:.2f} bits/dim")
fig, axes = plot.figure(1, 2, height=3.2)
colours = plot.COLOURS.vermilion, plot.COLOURS.blue
pixel = int(k_train.std(0).argmin())  # one that is hardly ever inked
y_line = torch.linspace(0.001, 3 / 17, 3_000, device=device)
moved = ((k_test[:1] + 0.5) / 17).repeat(len(y_line), 1)
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
board.claim("Without noise the loss falls below 0 bits, which no code can.", run[-1].item() < 0)
board.claim(
    "Counted over whole cells that flow is worse than the uniform density, on training digits, too.",
    min(proper["noise left out"], learnt["noise left out"]) > math.log2(17),
)
board.claim("On test digits it gains nothing at the middles, either.", centres > proper["uniform noise"])

# %% [markdown]
# The flow has found the loophole: it raises needles at its training digits (right). What stops it here is the end of
# the schedule; with more steps it would be the soft limit on $s$. Counted properly, a needle in the middle of the cell
# leaves next to nothing for the rest of it. The test digits lie beside the needles, even at the middles of their cells.
# The repair is section 6's noise: then a needle thinner than a cell gains nothing. Now the missed log-dets.

# %% folded="Figure: three flows, two of which keep false accounts" tags=["demo"]
# long: one figure, and the three flows that it compares
faults = {"all kept": (), "one missed": (0,), "all missed": tuple(range(S.plane["layers"]))}
fig, axes = plot.figure(1, 3, height=3.4)
ended, areas, wrong, left = {}, {}, {}, {}
for ax, (name, missing) in zip(axes, faults.items(), strict=True):
    net = plane_flow()
    losses = train_plane(
        net, moons, S.plane["steps"] // 3, lambda f, x, m=missing: -claimed_log_prob(f, x, m), name
    )
    areas[name], _ = grid_integral(lambda x, n=net, m=missing: claimed_log_prob(n, x, m))
    drawn, ended[name] = samples(net, 2_000).cpu(), losses[-20:].mean().item()
    left[name] = (drawn.abs() < 6).all(dim=1).float().mean().item()
    ax.scatter(*drawn.T, s=3, color=plot.COLOURS.blue if not missing else plot.COLOURS.vermilion)
    ax.set(title=name, xlabel=f"integral {areas[name]:.2f}, loss ${ended[name]:.2f}$ nats")
    ax.set(xticks=[-5, 0, 5], yticks=[-5, 0, 5], xlim=(-6, 6), ylim=(-6, 6), aspect="equal")
    truth = torch.stack([log_det_by_autograd(lambda v, n=net: n(v)[0], v) for v in moons[:3]])
    claim = claimed_log_prob(net, moons[:3], missing) - log_normal(net(moons[:3])[0])
    wrong[name] = (claim - truth).abs().max().item()
    print(
        f"{name:11} integral {areas[name]:8.3f}; log-det of three points off by up to {wrong[name]:.3f} nats"
    )
plt.show()
board.claim(
    "With one log-det missed the loss is better than the right one, and than the truth allows.",
    ended["one missed"] < min(ended["all kept"], -by_truth),
)
board.claim(
    "With none kept the loss stays above log 2 pi, and hardly a sample is in the picture.",
    ended["all missed"] > math.log(2 * math.pi) - 1e-3 and left["all missed"] < 0.1,
)
board.claim(
    "Both tests tell the false accounts from the true one.",
    all(abs(areas[n] - 1) > 0.1 and wrong[n] > 0.1 for n in ("one missed", "all missed"))
    and abs(areas["all kept"] - 1) < 0.02
    and wrong["all kept"] < 1e-3,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Better, and no: the samples are moons. The layer without its log-det squeezes for free. So a good loss proves nothing
# by itself. (Here it is too good to be true: on average no density does better than the true one, whose nats section 3
# printed. For real data nobody knows these.) With no account at all, everything is squeezed into a point, where
# $\log p_z$ is highest: the loss can never fall below $\log 2\pi = 1.84$, and run backwards the flow explodes; hardly
# a sample is left in the picture.
# </details>
#
# Under each picture stands the integral of the *claimed* density over the square, which must be 1. (With all missed,
# all of the square goes to one point, and the claimed density is $1/(2\pi)$ everywhere: the number is little more than
# the square's area, $12^2$, times that.) That is one test, in two dimensions; in any dimension there is the Jacobian by
# autograd, at a few points. Both cost seconds. Run them before you train, but with random weights, as in section 2: a
# fresh flow is the identity, every log-det is 0, and a missed one does not show.
#
# ## 12 · How good is it?
#
# As in lesson 02 the course's measuring net reads draws of which we know the wanted class: which share does it
# *recognise*? *Diversity* is the variance within a class, of draws over that of real pictures: 1 is as varied as real.

# %% tags=["demo"]
# long: looks, times, and the rows of the digits
judge = features.digits()
wanted = torch.arange(len(c_test)) % 10
made = (to_levels(samples(digit_flow, len(wanted), 9, one_hot(wanted))) / 16).reshape(-1, 1, 8, 8)
looks = judge.compare(made.cpu(), wanted, digits.test.x, digits.test.y)


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
lesson, on = "08_realnvp", {"data": "digits 8x8"}
sizes = [sum(p.numel() for p in net.parameters()) for net in (digit_flow, noise, flow)]
row = {"bits_per_dim": bits(alone), "nats": alone, "parameters": sizes[0], "train_seconds": digit_seconds}
board.record(lesson, "RealNVP", sample_seconds=sample_time, **on, **row, **looks)
row = {"bits_per_dim": bits(learned), "nats": learned, "parameters": sum(sizes[:2])}
board.record(lesson, "RealNVP, learned noise, class given", **on, **row)
board.record(lesson, "RealNVP", data="moons", parameters=sizes[2], nats=held_out)

# %% tags=["demo"]
# long: the rows of the glyphs, the table, and who is beaten
by_heat, asked = {}, torch.arange(360) % 10
for heat in (1.0, 0.7):
    drawn = draw_glyphs(asked, heat, 6).cpu()
    by_heat[heat] = features.glyphs(16).compare(drawn, asked, glyphs.test.x[:360], glyphs.test.y[:360])
    text = f"recognised {by_heat[heat]['class_accuracy']:.3f}, diversity {by_heat[heat]['diversity']:.2f}"
    print(f"glyphs at temperature {heat}: {text}")
row = {"data": "glyphs 16, ten digits", "parameters": glyph_parameters, "train_seconds": glyph_seconds}
glyph_bits = bits(glyph_nats, 256, GLYPHS.levels)
board.record(lesson, "RealNVP", bits_per_dim=glyph_bits, nats=glyph_nats, **row, **by_heat[1.0])
board.record(lesson, "RealNVP, temperature 0.7", **row, **by_heat[0.7])
before = [r for r in board.published().rows if r.data == on["data"] and r.lesson in ("01_map", "02_mixtures")]
best = {
    "bits_per_dim": min(r.figures["bits_per_dim"] for r in before if "bits_per_dim" in r.figures),
    "class_accuracy": max(r.figures["class_accuracy"] for r in before if "class_accuracy" in r.figures),
}
print(
    f"best of lessons 01 and 02: {best['bits_per_dim']:.3f} bits/dim, {best['class_accuracy']:.3f} recognised"
)
print(f"this flow: {bits(alone):.3f} bits/dim, {looks['class_accuracy']:.3f} recognised", end=" ")
print(f"(real digits: {judge.accuracy:.3f})")
board.claim("Fewer bits than every model of lessons 01 and 02.", bits(alone) < best["bits_per_dim"])
board.claim(
    "And its digits are better recognised than theirs.", looks["class_accuracy"] > best["class_accuracy"]
)
cooler, warm = by_heat[0.7], by_heat[1.0]
board.claim(
    "A lower temperature: recognised more often, and less diverse.",
    cooler["class_accuracy"] > warm["class_accuracy"] and cooler["diversity"] < warm["diversity"],
)
board.table("digits 8x8")

# %% [markdown]
# The bits of the row *RealNVP* are those of $p(x)$ with the class unknown, so that it stands beside the models of
# lessons 01 and 02 on equal terms: same data, same split. Naive Bayes, with the best bits there, has exact ones; the
# mixtures' are upper bounds by uniform noise, like the flow's. There the best bits and the recognised digits belonged
# to two different models; this flow is ahead in both. Autoregressive models (lessons 03 and 04) give whole grey levels
# their probability and need no noise; a flow pays for the noise (compare MADE's bits in the table), and draws all
# pixels at once.
#
# ## 13 · In production
#
# A sample is one pass through $L$ layers, and so is a density. Nothing is serial in the pixels:
#
# $$\text{seconds a sample} \approx \text{seconds a density} \approx L\,\big(2\,P_{\text{layer}}\cdot\text{seconds an operation} + \text{overhead}\big).$$
#
# $P_{\text{layer}}$ is the number of weights of a layer's network; each is used in one multiplication and one addition.
# (The density is measured with its noise, its logit and the graph that training needs, which is more work.) An
# autoregressive model needs a pass for each pixel to draw a sample; the last line runs so many passes of one layer's
# network, one after the other. (The sum of the layers need not be what is measured: a layer that runs again and again
# finds its weights at hand, and a busy machine delays the longer runs.) The price of a flow is memory and width: every
# layer carries all $D$ numbers, training keeps the numbers of every layer, and many layers are needed, because each one
# moves only half.

# %% tags=["demo"]
first = digit_flow.layers[0]
weights = sum(p.numel() for p in first.net.parameters())
x_many = torch.randn(1_000, 64, device=device)
with torch.no_grad():
    one_layer = seconds(lambda: first(x_many, many)[0]) / 1_000
    serial = seconds(lambda: [first(x_many, many)[0] for _ in range(64)][-1]) / 1_000
speed = 2 * weights / one_layer / 1e9
print(f"one layer, {weights:,} weights: {1e6 * one_layer:.2f} µs a picture, {speed:.1f} GFLOP/s")
print(f"{len(digit_flow.layers)} layers predict {1e6 * len(digit_flow.layers) * one_layer:.1f} µs")
print(f"measured: a sample {1e6 * sample_time:.1f} µs, a density {1e6 * density_time:.1f} µs")
print(f"64 passes of one layer, as an autoregressive layer needs for a sample: {1e6 * serial:.0f} µs")
board.claim("A sample takes less than half of what 64 passes of one layer take.", sample_time < serial / 2)

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade comes from
# further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in. A
# number may be Python's own or a tensor that holds one; several results come as a tuple. The logarithm of a density that
# is 0 is -inf.
#
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


# %% test="fold" points=2
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
# ### 2 · Batch normalisation is a layer, too (easy, 15 minutes)
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


# %% test="batch-norm" points=2
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


# %% test="conditional" points=2
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
# ### 4 · A coupling that bends (hard, 35 minutes)
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


# %% test="monotone" points=3
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
# ### 5 · A tighter bound on the bits (medium, 20 minutes)
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


# %% test="iw-bits" points=3
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
# ### 6 · Repair a broken flow (medium, 20 minutes)
#
# Somebody wrote RealNVP as in equation 9 of the paper: with a mask $b$ of zeros and ones,
# $z = b \odot x + (1 - b) \odot (x \odot e^{s(b \odot x)} + t(b \odot x))$. Here `layers` is a list of pairs
# `(b, net)`, and `net` takes (N, D) and returns `s` and `t`, both (N, D). The code trains, its loss is even
# good. But its samples are not like the data, and its density does not integrate to 1. It has **three**
# faults. Use the round trip of section 2 and the two tests of section 11 to find them, and write both
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


# %% test="repair" points=2
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
# ### 7 · Build: a flow that learns without data (hard, 45 minutes)
#
# A scientist has a posterior that she can evaluate, but only up to its constant: $\log \tilde p(x)$, where
# $p = \tilde p/Z$ and $Z$ is unknown. There are no data to fit. A flow can be its own data: draw $x$ from the flow, whose
# density we call $q$ here, and minimise the *reverse* KL,
#
# $$\mathrm{KL}(q\,\Vert\,p) = \mathbb E_{x \sim q}\big[\log q(x) - \log \tilde p(x)\big] + \log Z .$$
#
# $\log Z$ does not depend on the flow, so the mean can be minimised without it. It can never fall below
# $-\log Z$, and reaches it only for $q = p$. Afterwards the samples, weighted by $w_i = \tilde p(x_i)/q(x_i)$, give what
# is left: $Z = \int \tilde p = \mathbb E_q[w]$. How good they are says the *effective sample size*, here as a share
# of the $n$ samples, $\big(\sum_i w_i\big)^2 / \big(n \sum_i w_i^2\big)$: 1 if all weights are equal, $1/n$ if one has
# everything.
#
# Since we only sample, take *inverse autoregressive* layers. `nets` holds one network a layer, in the order of
# sampling. `net(z)` returns $s$ and $t$, both (N, D), whose column $d$ depends on the columns of $z$ before $d$ alone.
# A layer maps
#
# $$x_d = z_d\, e^{s_d(z_1, \dots, z_{d-1})} + t_d(z_1, \dots, z_{d-1}),$$
#
# and then turns the columns round: the last becomes the first. Noise $z$ is standard normal. Write four functions:
# the way from noise to $x$ with $\log q(x)$; $\log q$ of points that come from elsewhere (how many passes of a
# network does it take?); the loss; and $\log Z$ with the effective sample size. The last two draw $n$ points of noise in
# one go, from the given generator and from nothing else, and ask $\log\tilde p$ once, for all of them.
#
# The hidden tests recompute all four for networks of their own, and train a flow with your loss on a law that it can
# reach exactly: it must end within 0.05 nats of it. To see one learn, run in a cell of your own:
#
# ```python
# W = torch.zeros(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)  # layers; s, t; two inputs and 1; columns
# sees = torch.tensor([[0, 1], [0, 0], [1, 1]])  # column 1 sees input 0; both have an offset
# one = lambda z: torch.cat([z, torch.ones_like(z[:, :1])], dim=1)
# nets = [lambda z, l=l: [one(z) @ (sees * W[l, i]) for i in (0, 1)] for l in (0, 1)]
# funnel = lambda x: -x[:, 0]**2 / 2 - x[:, 1]**2 / 2 * torch.exp(-2 * x[:, 0]) - x[:, 0]  # Z = 2 pi
# g, adam = torch.Generator().manual_seed(0), torch.optim.Adam([W], 0.02)
# for n in range(400):
#     loss = reverse_kl(nets, funnel, 512, 2, g)
#     adam.zero_grad(); loss.backward(); adam.step()
# with torch.no_grad():
#     print(loss.item(), "at least", -math.log(2 * math.pi), evidence(nets, funnel, 10_000, 2, g))
# # within 0.02 of -1.838; log Z 1.84; nearly all of the effective sample size
# ```


# %% exercise="posterior"
# long: four functions of one machine
def draw_q(nets, z):
    """From noise to x through all layers, and log q(x) in nats: z (N, D) -> (N, D), (N,); with gradients."""
    ### BEGIN SOLUTION
    log_density_of_x = log_normal(z)
    for net in nets:
        s, t = net(z)
        z = (z * s.exp() + t).flip(1)
        log_density_of_x = log_density_of_x - s.sum(dim=1)
    return z, log_density_of_x
    ### END SOLUTION


def log_q_at(nets, x):
    """log q(x) in nats of points from anywhere: (N, D) -> (N,). No gradient is asked for."""
    ### BEGIN SOLUTION
    total = torch.zeros_like(x[:, 0])
    for net in reversed(nets):
        x, z = x.flip(1), torch.zeros_like(x)
        for d in range(x.shape[1]):  # column d needs those before it
            s, t = net(z.clone())
            z[:, d] = (x[:, d] - t[:, d]) * (-s[:, d]).exp()
            total = total - s[:, d]
        x = z
    return total + log_normal(x)
    ### END SOLUTION


def reverse_kl(nets, log_p, n, D, generator):
    """The mean of log q(x) - log p~(x) over n draws of q: a 0-d tensor with a gradient.

    log_p: (n, D) -> (n,), the unnormalised log density in nats. All float64. Infinite where p~ is 0 at one of
    the draws. For the same noise the gradient is the slope, by whatever the nets compute with.
    """
    ### BEGIN SOLUTION
    x, log_density_of_x = draw_q(nets, torch.randn(n, D, generator=generator, dtype=torch.float64))
    return (log_density_of_x - log_p(x)).mean()
    ### END SOLUTION


def evidence(nets, log_p, n, D, generator):
    """log Z in nats, and the effective sample size over n, by n draws of q: two numbers.

    nets, log_p, n, D, generator: as above. Some of the weights may be 0.
    """
    ### BEGIN SOLUTION
    x, log_density_of_x = draw_q(nets, torch.randn(n, D, generator=generator, dtype=torch.float64))
    log_w = log_p(x) - log_density_of_x
    log_sum, log_squares = log_w.logsumexp(0), (2 * log_w).logsumexp(0)
    return log_sum - math.log(n), (2 * log_sum - log_squares).exp() / n
    ### END SOLUTION


# %% test="posterior" points=6
# long: four functions to look at
def net_shift(z):
    """s is 0 and log 2 times the first column, t is 1 and 0."""
    zero, one_column = torch.zeros_like(z[:, 0]), torch.ones_like(z[:, 0])
    return torch.stack([zero, math.log(2) * z[:, 0]], 1), torch.stack([one_column, zero], 1)


z_one = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
x_one, log_q_one = draw_q([net_shift], z_one)
assert torch.allclose(x_one, torch.tensor([[6.0, 2.0]]).double()), "1 + 1 and 3 * 2, and then turned round"
assert torch.allclose(log_q_one, log_normal(z_one) - math.log(2)), "stretched by 2, so the density is halved"
x_two, log_q_two = draw_q([net_shift] * 2, z_one)
assert torch.allclose(log_q_at([net_shift] * 2, x_two), log_q_two), "the same density, found from x"
g, few = torch.Generator().manual_seed(0), (1_000, 2)
five = math.log(5)  # Z = 5
value = reverse_kl([], lambda x: log_normal(x) + five, *few, g)
assert math.isclose(value, -five, rel_tol=1e-9), "q = p: the loss is -log Z"
log_Z, share = evidence([], lambda x: log_normal(x) + five, *few, g)
assert math.isclose(log_Z, five) and math.isclose(share, 1), "q = p: all weights are 5"
log_Z, share = evidence([net_shift], lambda x: log_q_at([net_shift], x) - 1e4, *few, g)
assert math.isclose(log_Z, -1e4) and math.isclose(share, 1, rel_tol=1e-6), "stay in log space"
log_Z, share = evidence([], lambda x: log_normal(x).masked_fill(x[:, 0] < 0, -math.inf), 40_000, 2, g)
assert abs(log_Z - math.log(0.5)) < 0.05 and abs(share - 0.5) < 0.02, (
    "half of the weights are 0, the others equal"
)

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
# - D. P. Kingma and others. *Improving variational inference with inverse autoregressive flow.* 2016,
#   arXiv:1606.04934. The layers of exercise 7.
# - G. Papamakarios, T. Pavlakou, I. Murray. *Masked autoregressive flow for density estimation.* 2017,
#   arXiv:1705.07057.
# - G. Papamakarios and others. *Normalizing flows for probabilistic modeling and inference.* 2019,
#   arXiv:1912.02762. A survey.
# - C.-W. Huang, D. Krueger, A. Lacoste, A. Courville. *Neural autoregressive flows.* 2018, arXiv:1804.00779.
#   A monotone network in the place of the affine map.

# %% tags=["demo"]
selfcheck.run("08_realnvp")
