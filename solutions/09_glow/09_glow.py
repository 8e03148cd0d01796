# %% [markdown]
# # 09 · Glow and beyond
#
# > **A flow is only as good as what its layers can see. Mix the channels, bend each number more finely, or let a
# > transformer look at all that came before: the account of lesson 08 stays exact.**
#
# | | |
# |---|---|
# | You will build | activation normalisation and an invertible 1×1 convolution; Glow on glyphs, with temperature and walks between pictures; spline couplings; a continuous flow, and what its solver does to the likelihood; TarFlow, a transformer that is a flow, with guidance and a denoising step; at the end a TarFlow for sequences of your own |
# | You need to know | lesson 08 (change of variables, couplings, dequantisation), lesson 06 (attention, its cache). Later lessons take up what starts here: 18 and 21 the gradient of $\log p$, 19 guidance, 23 the continuous flow |
# | Time on two CPU cores | four minutes to run; an hour and a half to read, nearly three to solve |
# | Time on a GPU | a quarter of an hour, with larger nets (`full`) |
#
# ## You are here

# %% folded="Imports and settings"
# long: what the whole lesson uses
import math
import time
import zlib

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import display
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
    glow_depth=((1, 1), (4, 6), (8, 12)),
    glow_width=((8, 8), (64, 96), (192, 256)),
    glow_updates=(3, 1_000, 4_000),
    width=(16, 64, 192),
    layers=(1, 2, 4),
    blocks=(2, 4, 6),
    updates=(3, 1_200, 6_000),
    digit_blocks=(2, 3, 4),
    digit_width=(16, 64, 96),
    digit_updates=(3, 700, 3_000),
    batch=(8, 32, 128),
    each=(2, 10, 10),
    plane=(10, 350, 3_000),
    paths=(4, 160, 1_500),
    cells=(12, 80, 200),
)
torch.manual_seed(9)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("flow")
diagram.machine(
    "x | (N, 16, 16) -> [patches | 16 of 4 x 4] -> [transformer | causal]"
    " -> [shift, scale | (x - μ) exp(-α)] -> z | (N, 16, 16)",
    "c | class -> [transformer]",
    title="A block of TarFlow; every second block reads the patches from the last to the first",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# A flow (lesson 08) has an exact density and an exact code, and pays with its layers: each must be invertible and
# have a cheap determinant. RealNVP's coupling keeps half of the numbers and moves the other half along a line.
# After 2016 every part of this was loosened. Glow learns *which* numbers are kept. Splines bend instead of
# stretching. A continuous flow has no layers at all, and any network will do. TarFlow drops the quick inverse: its
# layers see everything that came before, and a sample takes as many passes as there are patches.
#
# | question | answer |
# |---|---|
# | What is modelled? | pictures with a little noise on them, as real vectors |
# | Is the density explicit? | yes, exact; a continuous flow's up to its solver's error |
# | Is sampling one-shot or iterative? | Glow: one pass. TarFlow: one pass for every patch and block |
# | What conditions it? | a class, fed to every layer; guidance makes it count more |
# | How is it evaluated, and how does that fail? | nats or bits/dim of held-out pictures. They say little of how samples look, and give the highest marks to the wrong pictures (section 9) |
#
# Kingma and Dhariwal (July 2018, *Glow*) drew the first convincing faces with a flow. Grathwohl and others (October
# 2018, *FFJORD*) made continuous flows affordable; Durkan and others (2019) brought splines. Then diffusion took
# the pictures. Zhai and others (December 2024, *TarFlow*) came back with nothing but transformers, noise and more
# compute, and samples near those of diffusion; *STARFlow* (Gu and others 2025) does it in the codes of an
# autoencoder, for pictures from text.
#
# | symbol | is |
# |---|---|
# | $x$, $z$ | a picture, a point; what the flow makes of it, standard normal unless a prior is named |
# | $c$ | the class; one number more than there are classes means *not told* |
# | $b$, $s$ | of actnorm: shift and scale of a channel |
# | $W = P\,L\,(U + \operatorname{diag} d)$ | the matrix of a 1×1 convolution: permutation, lower and upper triangle, diagonal |
# | $H$, $W_{\text{pic}}$ | height and width of a picture in pixels |
# | $\tau$ | temperature: what the noise is multiplied by before it is drawn from |
# | $w_k$, $h_k$, $\delta_k$ | of a spline: width and height of bin $k$, slope at knot $k$; $\sigma_k = h_k/w_k$ |
# | $K$, $B$, $\xi$ | of a spline: number of bins; they fill $[-B, B]$; the place within a bin, 0 to 1 |
# | $v(x, t)$, $e$ | velocity of a continuous flow; a random probe |
# | $T$, $d$, $D$ | number of patches; numbers in a patch; numbers in all |
# | $x_i$, $\mu_i$, $\alpha_i$ | patch $i$; what a TarFlow block subtracts from it, and the logarithm of what it divides by |
# | $\sigma$, $y$ | deviation of the noise put on pictures; the noisy picture, $y = x + \sigma\varepsilon$ |
# | $g$ | weight of guidance, 0 for none (in lessons 19 and 23 none is 1: $g$ here is their weight less 1) |
#
# Nats of noisy pictures are given *a number* (divided by 256), higher is better.
#
# **The pictures.** Glyphs, scaled to $[-1, 1]$. Lesson 08 spread grey levels with uniform noise, so that a density
# cannot pile up on them. TarFlow found that *normal* noise, and more of it, gives far better samples: each glyph
# then is a small round cloud, with no walls, and the flow has to explain a smooth density. All models of glyphs here
# learn $y = x + \sigma\varepsilon$ with $\sigma = 0.1$, so that their nats compare. Section 6 takes the noise off
# again.

# %%
SIGMA = 0.1  # of the noise on pictures between -1 and 1


def noisy(x, generator):
    """y = x + sigma eps, eps standard normal; all chance from a generator of the CPU."""
    return x + SIGMA * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def log_normal(z):
    """log N(z; 0, I) in nats over all but the first axis: (N, ...) -> (N,)."""
    return -0.5 * (z**2 + math.log(2 * math.pi)).flatten(1).sum(dim=1)


glyphs = data.glyphs(16, each=S.pictures)
x_train, x_val, x_test = (torch.as_tensor(part.x, device=device) * 2 - 1 for part in glyphs)
c_train, c_val, c_test = (torch.as_tensor(part.y, device=device) for part in glyphs)
CLASSES = 36

# %% [markdown]
# ## 1 · Actnorm: start with sensible numbers
#
# A deep flow is a product of many stretches. If each is off by a factor of two, thirty of them are off by a billion,
# and nothing is learned. Lesson 08's exercise met batch normalisation as a layer; it needs large batches, for its
# means are noisy, and a picture's density would depend on the pictures beside it. **Actnorm** has the same formula
# with numbers that are *parameters*, one shift and one scale for each channel,
#
# $$z_{n,i,h,w} = \frac{x_{n,i,h,w} - b_i}{s_i},\qquad \log|\det| = -H\,W_{\text{pic}}\sum_i\log s_i ,$$
#
# and with a data-dependent start: $b_i$ and $s_i$ are mean and deviation of channel $i$ over the first batch and all
# places. After that they are learned like other weights. The log-det has the factor $H\,W_{\text{pic}}$, since the
# same $s_i$ divides as many numbers: the Jacobian is diagonal, and its determinant the product over all of them.


# %% build="actnorm"
class ActNorm(nn.Module):
    """z = (x - b) / s, a pair for each channel. Source: Kingma and Dhariwal 2018, section 3.1."""

    def __init__(self, channels):
        super().__init__()
        self.b, self.log_s = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def start(self, x):
        """Set b and log s so that z of this batch (N, C, H, W) has mean 0 and deviation 1 in each channel."""
        ### BEGIN SOLUTION
        self.b.copy_(x.mean((0, 2, 3)))
        self.log_s.copy_(x.std((0, 2, 3), correction=0).clamp(min=1e-6).log())
        ### END SOLUTION

    def forward(self, x, c=None):
        """(N, C, H, W) -> z, log |det dz/dx| (N,)."""
        ### BEGIN SOLUTION
        z = (x - self.b[:, None, None]) * (-self.log_s).exp()[:, None, None]
        return z, (-self.log_s.sum() * x.shape[2] * x.shape[3]).expand(len(x))
        ### END SOLUTION

    def inverse(self, z, c=None):
        """(N, C, H, W) -> x."""
        ### BEGIN SOLUTION
        return z * self.log_s.exp()[:, None, None] + self.b[:, None, None]
        ### END SOLUTION


# %% check="actnorm"
layer, few = ActNorm(3), 2 * torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1)) + 7
layer.start(few)
z_few, log_det = layer(few)
assert z_few.mean((0, 2, 3)).abs().max() < 1e-5, "every channel has mean 0 after the start"
assert (z_few.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5, "and deviation 1"
wanted = -few.std((0, 2, 3), correction=0).log().sum() * 16
assert log_det.shape == (5,) and torch.allclose(log_det, wanted), "each scale counts for all 16 places"
assert torch.allclose(layer.inverse(z_few), few, atol=1e-5), "the way back"

# %% [markdown]
# ## 2 · An invertible 1×1 convolution: which half is kept?
#
# A coupling keeps half of the channels. RealNVP swaps the halves between layers, and a fixed swap can be a poor one.
# Any swap, any permutation of the channels is a matrix. So let the matrix be *learned*: at each pixel multiply the
# vector of channels by the same $C \times C$ matrix $W$. That is a convolution with a kernel of one pixel.
#
# All pixels together, the Jacobian has $H\,W_{\text{pic}}$ blocks $W$ on its diagonal and 0 elsewhere. Its
# determinant is the product of the blocks' determinants: $\log|\det| = H\,W_{\text{pic}}\log|\det W|$. A determinant
# of $W$ takes about $C^3$ operations in each step, and a $W$ that becomes singular breaks everything. Glow writes
# $W = P\,L\,(U + \operatorname{diag} d)$ instead. $P$ is a permutation that stays as it is; $L$ has ones on its
# diagonal and numbers below it; $U$ has numbers above its diagonal only.
#
# $$\log|\det W| = \underbrace{\log|\det P|}_{0} + \underbrace{\log|\det L|}_{0} + \sum_i \log|d_i| .$$
#
# <details><summary>Why these three, and why every invertible W can be written so</summary>
#
# 1. A determinant of a product is the product of determinants. A permutation's is $\pm1$. A triangle's is the product
#    of its diagonal (lesson 08): 1 for $L$, $\prod d_i$ for the last factor.
# 2. *Every* invertible $W$ has this form: it is Gaussian elimination. Choose in the first column the largest entry,
#    bring its row to the top (that is $P$), and subtract multiples of it from the other rows (these multiples are
#    $L$) until the column is 0 below the top. Go on with the rest. What is left is upper triangular, with the
#    *pivots* $d_i$ on its diagonal, none of which is 0.
# 3. We keep $\operatorname{sign} d_i$ and learn $\log|d_i|$. So $W$ never becomes singular, whatever the optimiser
#    does. The price: the signs and $P$ stay what they were, so training cannot pass from a rotation to a mirror
#    image.
# 4. The start: a random rotation, by a QR factorisation of a normal matrix. Its $\log|\det|$ is 0.
# </details>


# %% build="mixing"
# long: a layer and both of its directions
class Mixing(nn.Module):
    """z = W x at every pixel, W = P L (U + diag d). Source: Kingma and Dhariwal 2018, section 3.2."""

    def __init__(self, channels):
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        P, L, U = torch.linalg.lu(rotation)
        self.register_buffer("P", P)
        self.register_buffer("sign", U.diagonal().sign())
        self.log_d = nn.Parameter(U.diagonal().abs().log())
        self.lower, self.upper = nn.Parameter(L.tril(-1)), nn.Parameter(U.triu(1))

    def W(self):
        """The matrix, (C, C)."""
        ### BEGIN SOLUTION
        one = torch.eye(len(self.sign), device=self.sign.device, dtype=self.lower.dtype)
        return (
            self.P
            @ (self.lower.tril(-1) + one)
            @ (self.upper.triu(1) + torch.diag(self.sign * self.log_d.exp()))
        )
        ### END SOLUTION

    def forward(self, x, c=None):
        """(N, C, H, W) -> z, log |det dz/dx| (N,)."""
        ### BEGIN SOLUTION
        z = F.conv2d(x, self.W()[:, :, None, None])
        return z, (self.log_d.sum() * x.shape[2] * x.shape[3]).expand(len(x))
        ### END SOLUTION

    def inverse(self, z, c=None):
        """(N, C, H, W) -> x."""
        ### BEGIN SOLUTION
        return F.conv2d(z, torch.linalg.inv(self.W())[:, :, None, None])
        ### END SOLUTION


# %% check="mixing"
torch.manual_seed(2)
layer, few = Mixing(4).double(), torch.randn(2, 4, 3, 3, dtype=torch.float64)
with torch.no_grad():
    for p in layer.parameters():
        p.add_(0.3 * torch.randn_like(p))
z_few, log_det = layer(few)
assert torch.allclose(z_few[1, :, 2, 0], layer.W() @ few[1, :, 2, 0]), "each pixel by itself"
assert torch.allclose(log_det, 9 * torch.linalg.slogdet(layer.W()).logabsdet.expand(2)), (
    "nine pixels, nine blocks"
)
assert torch.allclose(layer.inverse(z_few), few), "the way back"

# %% tags=["demo"]
# long: the two layers against the determinant of the whole Jacobian
torch.manual_seed(3)
pair = nn.ModuleList([ActNorm(4), Mixing(4)]).double()
x_few = torch.randn(6, 4, 2, 2, dtype=torch.float64) * torch.tensor([0.1, 1.0, 5.0, 2.0])[:, None, None] + 3
pair[0].start(x_few)
with torch.no_grad():
    pair[1].log_d.add_(torch.tensor([0.4, -1.0, 0.2, 0.7]))


def through(x):
    """Both layers, one after the other: z and the sum of their log-dets."""
    h, first = pair[0](x)
    z, second = pair[1](h)
    return z, first + second


jacobian = torch.autograd.functional.jacobian(lambda v: through(v[None])[0].flatten(), x_few[0]).reshape(
    16, 16
)
both = torch.linalg.slogdet(jacobian).logabsdet.item(), through(x_few[:1])[1].item()
print(f"log|det| of the 16 x 16 Jacobian {both[0]:.9f}, by the two formulas {both[1]:.9f}")
board.claim("Actnorm's and the convolution's accounts are the Jacobian's.", abs(both[0] - both[1]) < 1e-9)

# %% [markdown]
# ## 3 · Glow
#
# One *step* of Glow is actnorm, a 1×1 convolution and an affine coupling (lesson 08: $z_a = x_a$,
# $z_b = x_b\,e^{s(x_a)} + t(x_a)$, $\log|\det| = \sum s$), whose network is a small convolutional net that also hears
# the class. Several steps make a *level*. Before each level comes a **squeeze**: every 2×2 pixels become one pixel of
# four times as many channels, without any change of volume. After it comes a **split**: half of the channels are
# finished, and later levels see the rest only (lesson 08's factoring out). Glow's split has one thing more. What is
# finished is not standard normal; its mean $m$ and log-deviation $r$ are computed from the half that goes on:
#
# $$\log p(x) = \log p(\text{deeper half}) + \log\mathcal N\big(\text{early half};\ m(\text{deeper half}),\ e^{2r}\big) + \text{log-dets}.$$
#
# **Question.** With a split like that the early half depends on the deeper half. Must
# $z = (\text{early} - m)\,e^{-r}$ then be counted as one more layer?
#
# <details><summary>Answer</summary>
#
# It may be counted either way. As a layer, an affine coupling: the early half moves, the deeper half is kept, its
# log-det is $-\sum r$, and $z$ is standard normal. As a prior: the normal density above, which holds $-\sum r$ in its
# constant. The two are the same number.
# </details>


# %% folded="A coupling and its network (lesson 08, with convolutions)"
# long: the coupling of lesson 08
class Net(nn.Module):
    """Two 3x3 convolutions around a 1x1; the class is added twice; the last layer starts at 0."""

    def __init__(self, inputs, width, outputs):
        super().__init__()
        self.into, self.across = nn.Conv2d(inputs, width, 3, padding=1), nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, outputs, 3, padding=1)
        self.told = nn.Embedding(CLASSES, 2 * width)
        nn.init.normal_(self.told.weight, std=0.3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x, c):
        """(N, inputs, H, W), classes (N,) -> (N, outputs, H, W), in float32."""
        first, second = self.told(c)[:, :, None, None].chunk(2, dim=1)
        with genmap.autocast(device):
            h = F.relu(self.into(x) + first)
            return self.out(F.relu(self.across(h) + second)).float()


class Coupling(nn.Module):
    """The first half of the channels is kept; it says how the second is scaled and shifted."""

    def __init__(self, channels, width):
        super().__init__()
        self.net = Net(channels // 2, width, channels)

    def s_t(self, x_a, c):
        """Log-scale, within -2 and 2, and shift."""
        t, s = self.net(x_a, c).chunk(2, dim=1)
        return s / (1 + s.abs() / 2), t

    def forward(self, x, c):
        """(N, C, H, W) -> z, log |det dz/dx| (N,)."""
        x_a, x_b = x.chunk(2, dim=1)
        s, t = self.s_t(x_a, c)
        return torch.cat([x_a, x_b * s.exp() + t], dim=1), s.flatten(1).sum(1)

    def inverse(self, z, c):
        """(N, C, H, W) -> x."""
        z_a, z_b = z.chunk(2, dim=1)
        s, t = self.s_t(z_a, c)
        return torch.cat([z_a, (z_b - t) * (-s).exp()], dim=1)


# %% build="levels"
# long: squeeze, steps, split, and both directions
class Glow(nn.Module):
    """Levels of steps. The code is a list of standard normal parts: what each level finished, the rest."""

    def __init__(self, depth, width):
        super().__init__()
        self.levels, self.splits, channels = nn.ModuleList(), nn.ModuleList(), 1
        for i, (steps, w) in enumerate(zip(depth, width, strict=True)):
            channels *= 4
            parts = [
                p for _ in range(steps) for p in (ActNorm(channels), Mixing(channels), Coupling(channels, w))
            ]
            self.levels.append(nn.ModuleList(parts))
            if i < len(depth) - 1:
                channels //= 2
                self.splits.append(Net(channels, w, 2 * channels))
        self.top = nn.Embedding(CLASSES, channels)  # the mean of the rest, by class
        nn.init.zeros_(self.top.weight)

    def forward(self, x, c):
        """(N, 1, H, W) -> the code, a list of parts, and log |det| (N,)."""
        ### BEGIN SOLUTION
        z, log_det = [], 0.0
        for i, level in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2)
            for layer in level:
                x, change = layer(x, c)
                log_det = log_det + change
            if i < len(self.splits):
                x, early = x.chunk(2, dim=1)
                m, r = self.splits[i](x, c).chunk(2, dim=1)
                z.append((early - m) * (-r).exp())
                log_det = log_det - r.flatten(1).sum(1)
        return [*z, x - self.top(c)[:, :, None, None]], log_det
        ### END SOLUTION

    def inverse(self, z, c):
        """From a code to pictures (N, 1, H, W): the last level first."""
        ### BEGIN SOLUTION
        x = z[-1] + self.top(c)[:, :, None, None]
        for i, level in reversed(list(enumerate(self.levels))):
            if i < len(self.splits):
                m, r = self.splits[i](x, c).chunk(2, dim=1)
                x = torch.cat([x, z[i] * r.exp() + m], dim=1)
            for layer in reversed(level):
                x = layer.inverse(x, c)
            x = F.pixel_shuffle(x, 2)
        return x
        ### END SOLUTION

    def log_prob(self, x, c):
        """log p(x | c) in nats: (N,)."""
        z, log_det = self(x, c)
        return sum(log_normal(part) for part in z) + log_det

    @torch.no_grad()
    def start(self, x, c):
        """The data-dependent start: each actnorm sees what the layers before it make of the batch."""
        for i, level in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2)
            for layer in level:
                if isinstance(layer, ActNorm):
                    layer.start(x)
                x, _ = layer(x, c)
            x = x.chunk(2, dim=1)[0] if i < len(self.splits) else x


# %% check="levels"
torch.manual_seed(4)
small = Glow((2, 1), (6, 6)).to(device)
with torch.no_grad():
    for p in small.parameters():
        p.add_(0.05 * torch.randn_like(p))
few, two = torch.randn(2, 1, 4, 4, device=device), torch.tensor([3, 5], device=device)
parts_few, log_det = small(few, two)
assert [tuple(v.shape) for v in parts_few] == [(2, 2, 2, 2), (2, 8, 1, 1)], (
    "half leaves after the first level"
)
assert torch.allclose(small.inverse(parts_few, two), few, atol=1e-4), "the way back"
J = torch.autograd.functional.jacobian(
    lambda v: torch.cat([part.flatten() for part in small(v[None], two[:1])[0]]), few[0]
)
assert torch.allclose(torch.linalg.slogdet(J.reshape(16, 16)).logabsdet, log_det[0], atol=1e-3), "the account"

# %% [markdown]
# Training is maximum likelihood. A batch of 256 pictures sets the actnorms first.


# %%
# long: the loop around a step, with a schedule and a curve; two losses
def fit(model, optimizers, loss_of, updates, title):
    """Train by a rate that rises and falls: the losses (updates,), and the seconds."""
    rates, losses = [o.param_groups[0]["lr"] for o in optimizers], []
    curve, began = progress.Curve(title, "step", "loss, nats"), time.perf_counter()
    for n in progress.track(range(updates), title=title):
        share = min(1, (n + 1) / (0.04 * updates + 1), (updates - n) / (0.6 * updates))
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * share
            optimizer.zero_grad()
        loss = loss_of(model)
        scaler.scale(loss).backward()
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())
        curve.add(n, losses[-1])
    curve.close()
    return torch.stack(losses).cpu(), time.perf_counter() - began


def glyph_loss(generator, forget=0.0):
    """A loss of noisy glyphs, minus nats a number; a share `forget` of the classes is not told."""

    def loss(model):
        chosen = torch.randint(len(x_train), (S.batch,), generator=generator).to(device)
        silent = (torch.rand(S.batch, generator=generator) < forget).to(device)
        c = c_train[chosen].masked_fill(silent, CLASSES)
        return -model.log_prob(noisy(x_train[chosen], generator), c).mean() / 256

    return loss


def held_out(model, x, c, seed=0):
    """log p of noisy pictures in nats, one draw of the noise: (N,)."""
    y = noisy(x, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return torch.cat([model.log_prob(*part) for part in zip(y.split(500), c.split(500), strict=True)])


# %% tags=["demo"]
torch.manual_seed(5)
glow = Glow(S.glow_depth, S.glow_width).to(device)
g = torch.Generator().manual_seed(6)
first = torch.randint(len(x_train), (256,), generator=g).to(device)
glow.start(noisy(x_train[first], g), c_train[first])
adam = torch.optim.Adam(glow.parameters(), lr=2e-3)
_, glow_seconds = fit(glow, [adam], glyph_loss(g), S.glow_updates, "Glow")
glow_nats = held_out(glow, x_test, c_test)
size = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
print(f"{size(glow):,} numbers; held out {glow_nats.mean() / 256:.3f} nats a number")


# %%
def glow_code(n, generator):
    """A code of standard normal parts, for 16 x 16 pixels and the levels of `glow`."""
    parts, side, channels = [], 16, 1
    for i in range(len(S.glow_depth)):
        side, channels = side // 2, channels * 4
        channels = channels // 2 if i < len(S.glow_depth) - 1 else channels
        parts.append(torch.randn(n, channels, side, side, generator=generator).to(device))
    return parts


@torch.no_grad()
def draw_glow(c, tau, seed):
    """Pictures (N, 1, 16, 16) between -1 and 1, of the classes c (N,), at temperature tau."""
    return glow.inverse([tau * part for part in glow_code(len(c), torch.Generator().manual_seed(seed))], c)


def grey(x):
    """From [-1, 1] to ink: 0 to 1."""
    return ((x + 1) / 2).clamp(0, 1).reshape(-1, 1, 16, 16)


# %% folded="Figure: Glow at three temperatures" tags=["demo"]
# long: pictures, and their marks
judge = features.glyphs(16)
evenly = np.concatenate([np.flatnonzero(glyphs.test.y == c)[: S.each] for c in range(CLASSES)])
real, asked = (
    (glyphs.test.x[evenly], glyphs.test.y[evenly]),
    torch.arange(CLASSES, device=device).repeat(S.each),
)
asked_20 = torch.arange(10, 30, device=device)


def marks(x):
    """The figures of pictures of the classes `asked`, by the measuring net."""
    return judge.compare(grey(x).cpu(), asked.cpu(), *real)


glow_marks = {}
fig, axes = plot.figure(4, 1, height=0.75)
for ax, tau in zip(axes, (1.0, 0.7, 0.4), strict=False):
    glow_marks[tau] = marks(draw_glow(asked, tau, 7))
    plot.images(grey(draw_glow(asked_20, tau, 8)), columns=20, ax=ax, title=f"Glow, temperature {tau:g}")
    print(
        f"temperature {tau:g}: recognised {glow_marks[tau]['class_accuracy']:.3f},"
        f" diversity {glow_marks[tau]['diversity']:.2f}"
    )
plot.images(real[0][glyphs.test.y[evenly] >= 10][:: S.each][:20], columns=20, ax=axes[3], title="Held out")
plt.show()
board.claim(
    "At temperature 0.7 more glyphs are recognised than at 1, and they are less diverse.",
    glow_marks[0.7]["class_accuracy"] > glow_marks[1.0]["class_accuracy"]
    and glow_marks[0.7]["diversity"] < glow_marks[1.0]["diversity"],
)

# %% [markdown]
# *Recognised*: the share of drawn glyphs that a small net, trained on real ones, takes for the letter that was asked
# for. *Diversity*: the variance within a class in that net's features, as a share of that of real glyphs. *Fréchet
# distance*, below: between the two normal laws with the means and covariances of these features, of drawn and of
# real glyphs; smaller is nearer.
#
# Temperature multiplies the noise by $\tau < 1$ in every part of the code. The flow is not perfect: some codes lead to
# torn pictures, which its training set does not have. Shorter codes lead to them less often, as the marks above say,
# and to fewer different pictures, too. What comes out is no longer a draw from the density that was trained.
#
# **Walks.** Glow became known for its walks from face to face. The code of a picture is exact, so a walk starts and
# ends at *real* pictures. Two ways lead from code $z_0$ to $z_1$: the straight line, and (lesson 08) the arc
# $\cos a\,z_0 + \sin a\,z_1$, which keeps the length that normal noise has.
#
# **Question.** Half-way along the straight line the length is about $1/\sqrt2$ of that at the ends. To which
# temperature does this belong, and what will the half-way picture look like?

# %% folded="Figure: walks between held-out glyphs" tags=["demo"]
# long: codes of real pictures, and two ways between them
with torch.no_grad():
    of = [int(np.flatnonzero(glyphs.test.y == c)[n]) for c, n in ((10, 0), (10, -1), (27, 0), (27, -1))]
    ends_c = c_test[of]
    codes, _ = glow(noisy(x_test[of], torch.Generator().manual_seed(9)), ends_c)
    a = torch.linspace(0, 1, 10, device=device)
    walked = {}
    for name, (u, v) in {
        "arc": ((a * math.pi / 2).cos(), (a * math.pi / 2).sin()),
        "straight line": (1 - a, a),
    }.items():
        for k in (0, 2):
            way = [u[:, None, None, None] * p[k] + v[:, None, None, None] * p[k + 1] for p in codes]
            walked[name, k] = glow.inverse(way, ends_c[k].expand(10))
            walked[name, k, "length"] = sum(p[4:6].square().sum() for p in way).sqrt().item() / math.sqrt(2)
fig, axes = plot.figure(2, 2, height=0.8)
for i, name in enumerate(("arc", "straight line")):
    for j, k in enumerate((0, 2)):
        plot.images(grey(walked[name, k]), columns=10, ax=axes[i, j], title=f"{name}" if j == 0 else None)
plt.show()
lengths = {name: np.mean([walked[name, k, "length"] for k in (0, 2)]) for name in ("arc", "straight line")}
print("length of the code half-way:", {k: round(float(v), 1) for k, v in lengths.items()}, "of noise: 16")
board.claim(
    "Half-way the straight line's code is shorter than the arc's.",
    lengths["straight line"] < 0.9 * lengths["arc"],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# To $\tau \approx 0.7$: for independent normal $z_0$, $z_1$ the mean has half of the variance. So the half-way
# picture looks like a draw at that temperature: clean and plain. In the figure the two ways hardly differ for A, whose
# ends are alike. The two R are thin and bold. There the middle of the line is bold and whole, while the arc's is
# smeared. The arc keeps the noise of a typical code; it does not promise a better picture.
# </details>
#
# ## 4 · Splines: bend each number
#
# An affine coupling moves $x_b$ along a *line* whose two numbers depend on $x_a$. Where the law of $x_b$ given $x_a$
# has two humps, a line cannot make it normal; deeper layers must. A coupling may use any increasing curve instead.
# Durkan and others (2019) take one that is rich, cheap, and inverted by a formula: a **rational-quadratic spline**.
# Inside $[-B, B]$ there are $K$ bins. Bin $k$ has width $w_k$ and height $h_k$; at the knots, where bins meet, the
# curve has slopes $\delta_k > 0$; outside, it is the identity. With the place in the bin
# $\xi = (x - x_k)/w_k \in [0, 1]$ and the bin's mean slope $\sigma_k = h_k/w_k$:
#
# $$y = y_k + h_k\,\frac{\sigma_k\xi^2 + \delta_k\,\xi(1 - \xi)}{q},\qquad q = \sigma_k + (\delta_{k+1} + \delta_k - 2\sigma_k)\,\xi(1-\xi),$$
#
# $$\frac{dy}{dx} = \frac{\sigma_k^2\,\big(\delta_{k+1}\xi^2 + 2\sigma_k\,\xi(1-\xi) + \delta_k(1-\xi)^2\big)}{q^2} .$$
#
# ($\sigma_k$ here is a slope, no noise.)
#
# <details><summary>Derivation: ends, slope, and the inverse</summary>
#
# 1. *Ends.* At $\xi = 0$ the fraction is 0, so $y = y_k$; at $\xi = 1$ it is $\sigma_k/\sigma_k = 1$, so
#    $y = y_k + h_k$. Bins meet.
# 2. *Slope.* Write $u = \sigma\xi^2 + \delta_k\xi(1-\xi)$, so that $y = y_k + h\,u/q$ and
#    $dy/dx = (h/w)\,(u'q - uq')/q^2 = \sigma(u'q - uq')/q^2$, where a dash is $d/d\xi$.
#    $u' = 2\sigma\xi + \delta_k(1 - 2\xi)$ and $q' = (\delta_{k+1} + \delta_k - 2\sigma)(1 - 2\xi)$. Put
#    $\rho = \xi(1-\xi)$. In $u'q - uq'$ the terms with $\delta_k\,\rho\,(1 - 2\xi)$ cancel, and what is left is
#    $\sigma\big[2\sigma\xi + \delta_k(1 - 2\xi)\big] + (\delta_{k+1} + \delta_k - 2\sigma)\,\sigma\,\big[2\xi\rho - \xi^2(1 - 2\xi)\big]$.
#    The last bracket is $\xi^2$, for $2\xi^2(1 - \xi) - \xi^2 + 2\xi^3 = \xi^2$. Collect: $\delta_{k+1}\xi^2$,
#    $\delta_k(1 - 2\xi + \xi^2) = \delta_k(1-\xi)^2$, $2\sigma(\xi - \xi^2)$. That is the formula, with $\sigma$ in
#    front twice.
# 3. *Increasing:* all terms of the numerator are positive. And $q > 0$: it is
#    $\sigma(1 - 2\rho) + (\delta_{k+1} + \delta_k)\rho$ with $\rho \le 1/4$. At the ends the slope is $\delta_k$
#    and $\delta_{k+1}$, so slopes meet, too.
# 4. *Inverse.* Multiply by $q$: with $\eta = y - y_k$, $\eta q = h\,(\sigma\xi^2 + \delta_k\rho)$ is quadratic in
#    $\xi$, $a\xi^2 + b\xi + c = 0$ with $a = h(\sigma - \delta_k) + \eta\,(\delta_{k+1} + \delta_k - 2\sigma)$,
#    $b = h\delta_k - \eta\,(\delta_{k+1} + \delta_k - 2\sigma)$, $c = -\sigma\eta$. The root in $[0, 1]$ is
#    $\xi = 2c/(-b - \sqrt{b^2 - 4ac})$, the form that does not divide by a small $a$.
# </details>


# %%
LEAST = 1e-3  # the smallest share of a bin, and the smallest slope


def knots(logits, B):
    """K logits (..., K) -> K + 1 rising numbers from -B to B, of bins that are shares of the whole."""
    share = LEAST + (1 - LEAST * logits.shape[-1]) * logits.softmax(dim=-1)
    edges = F.pad(share.cumsum(dim=-1)[..., :-1], (1, 0))
    return F.pad(2 * B * edges - B, (0, 1), value=B)


def slopes(logits):
    """K - 1 logits -> K + 1 slopes; logits of 0, and both ends, have slope 1."""
    return F.pad(LEAST + F.softplus(logits + math.log(math.expm1(1 - LEAST))), (1, 1), value=1.0)


# %% build="spline"
# long: both directions of one curve
def spline(x, x_k, y_k, delta, back=False):
    """y and log dy/dx, or, back, x from y and log dx/dy; outside the knots the identity.

    x (...,); x_k, y_k, delta (..., K + 1): knots, where they go, slopes. Durkan et al. 2019, section 3.1.
    """
    inside = (x > x_k[..., 0]) & (x < x_k[..., -1])  # both ends of x_k and y_k are the same
    v = x.clamp(x_k[..., 0], x_k[..., -1])[..., None]
    k = (v >= (y_k if back else x_k)[..., 1:-1]).sum(dim=-1, keepdim=True)
    x_0, y_0, d_0 = (table.gather(-1, k) for table in (x_k, y_k, delta))
    x_1, y_1, d_1 = (table.gather(-1, k + 1) for table in (x_k, y_k, delta))
    w, h = x_1 - x_0, y_1 - y_0
    ### BEGIN SOLUTION
    s = h / w
    bend = d_1 + d_0 - 2 * s
    if back:
        eta = v - y_0
        a, b, c = h * (s - d_0) + eta * bend, h * d_0 - eta * bend, -s * eta
        xi = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())
    else:
        xi = (v - x_0) / w
    rho = xi * (1 - xi)
    q = s + bend * rho
    y = x_0 + xi * w if back else y_0 + h * (s * xi**2 + d_0 * rho) / q
    log_slope = 2 * s.log() + (d_1 * xi**2 + 2 * s * rho + d_0 * (1 - xi) ** 2).log() - 2 * q.log()
    log_slope = -log_slope if back else log_slope
    return torch.where(inside, y[..., 0], x), log_slope[..., 0].where(inside, 0.0)
    ### END SOLUTION


# %% check="spline"
g = torch.Generator().manual_seed(10)
u_k, v_k = (knots(torch.randn(7, 5, generator=g, dtype=torch.float64), 3.0) for _ in range(2))
d_k = slopes(torch.randn(7, 4, generator=g, dtype=torch.float64))
u = torch.tensor([-9.0, -2.9, -1.0, 0.0, 0.7, 2.5, 3.5], dtype=torch.float64, requires_grad=True)
v, log_slope = spline(u, u_k, v_k, d_k)
assert torch.allclose(torch.autograd.grad(v.sum(), u)[0].log(), log_slope), "the formula is the curve's slope"
again, log_back = spline(v, u_k, v_k, d_k, back=True)
assert torch.allclose(again, u, atol=1e-9) and torch.allclose(log_back, -log_slope, atol=1e-9), "and back"
assert v[0] == -9 and v[-1] == 3.5, "outside the knots it is the identity"

# %% [markdown]
# The test is a chessboard: density 1/8 on eight squares, 0 on the others, so $\log p = -\log 8 = -2.079$ everywhere
# on the data, and no model can have more on average. Two flows of four couplings have the same networks but for their
# last layer; one moves along lines, the other along splines of eight bins.


# %%
# long: a flow and both of its directions
class Curved(nn.Module):
    """Couplings of the plane in turns: affine for bins = 0, else rational-quadratic splines on [-3, 3]."""

    def __init__(self, layers=4, width=64, bins=8, B=3.0):
        super().__init__()
        outputs = 3 * bins - 1 if bins else 2
        self.bins, self.B = bins, B
        stack = lambda: nn.Sequential(  # noqa: E731
            nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
        )
        self.nets = nn.ModuleList(stack() for _ in range(layers))

    def move(self, x, made, back=False):
        """The moved coordinate (N,) and the log-slope, from what the network made (N, outputs)."""
        if not self.bins:
            t, s = made[:, 0], made[:, 1] / (1 + made[:, 1].abs() / 2)
            return ((x - t) * (-s).exp(), -s) if back else (x * s.exp() + t, s)
        w, h, d = made.split([self.bins, self.bins, self.bins - 1], dim=1)
        return spline(x, knots(w, self.B), knots(h, self.B), slopes(d), back)

    def forward(self, x):
        """(N, 2) -> z, log |det| (N,)."""
        log_det = 0.0
        for net in self.nets:
            moved, change = self.move(x[:, 1], net(x[:, :1]))
            x, log_det = torch.stack([moved, x[:, 0]], dim=1), log_det + change  # turned: the other is next
        return x, log_det

    def inverse(self, z):
        """(N, 2) -> x."""
        for net in reversed(self.nets):
            z = torch.stack([z[:, 1], self.move(z[:, 0], net(z[:, 1:]), back=True)[0]], dim=1)
        return z

    def log_prob(self, x):
        """log p(x) in nats: (N,)."""
        z, log_det = self(x)
        return log_normal(z) + log_det


# %% folded="Training on the chessboard, and the figure" tags=["demo"]
# long: two flows, their densities and samples
def plane_loss(points, generator):
    """A loss of 256 points of a toy: minus nats a point."""
    return lambda model: (
        -model.log_prob(points[torch.randint(len(points), (256,), generator=generator)]).mean()
    )


squares = torch.as_tensor(data.toy("checkerboard", 20_000, 1))
squares_test = torch.as_tensor(data.toy("checkerboard", 5_000, 2))
curved, nats_of = {}, {}
ticks = torch.linspace(-2.6, 2.6, 131)
fig, axes = plot.figure(1, 4, height=2.3)
for i, (name, bins) in enumerate({"affine": 0, "splines": 8}.items()):
    torch.manual_seed(11)
    curved[name] = Curved(bins=bins)
    adam = torch.optim.Adam(curved[name].parameters(), lr=5e-3)
    fit(curved[name], [adam], plane_loss(squares, torch.Generator().manual_seed(12)), S.plane, name)
    with torch.no_grad():
        nats_of[name] = curved[name].log_prob(squares_test).mean().item()
        p = curved[name].log_prob(torch.cartesian_prod(ticks, ticks)).exp().reshape(131, 131).T
        drawn = curved[name].inverse(torch.randn(1_500, 2, generator=torch.Generator().manual_seed(13)))
    plot.density(axes[2 * i], ticks, ticks, p)
    axes[2 * i].set_title(f"{name}: density", fontsize=10)
    axes[2 * i + 1].scatter(*drawn.T, s=2, color=plot.COLOURS.blue)
    axes[2 * i + 1].set_title("samples", fontsize=10)
for ax in axes:
    ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal", xticks=[], yticks=[])
plt.show()
print(
    f"held out, nats a point: { {k: round(v, 3) for k, v in nats_of.items()} }, the truth {-math.log(8):.3f}"
)
board.claim(
    "With splines the divergence from the truth is less than half of the affine flow's.",
    -math.log(8) - nats_of["splines"] < (-math.log(8) - nats_of["affine"]) / 2,
)

# %% [markdown]
# A line per layer cannot cut squares out of a cloud; eight bins per layer come much nearer. Splines are common in
# simulation-based inference (the packages sbi and zuko), where a posterior of a few numbers is wanted.
#
# ## 5 · No layers at all: a continuous flow
#
# Let $x$ follow $dx/dt = v(x, t)$ from $t = 0$ (noise) to $t = 1$ (data), for *any* network $v$. The account takes two
# steps.
#
# 1. *A log-det becomes a trace.* Over a short time $x$ goes to $x + v\,dt$. With $J = \partial v/\partial x$ this map
#    has the Jacobian $I + J\,dt$. Its determinant is a sum of products; the product of the diagonal is
#    $1 + \operatorname{tr}J\,dt + \dots$, and all else has $dt^2$ or more. So each short step adds
#    $\operatorname{tr}J\,dt$ to the log-det.
# 2. *A trace becomes a product.* Let $e$ be a random probe with $\mathbb E[ee^\top] = I$, such as random signs. Then
#    $\mathbb E[e^\top J\,e] = \operatorname{tr}\big(J\,\mathbb E[ee^\top]\big) = \operatorname{tr}J$ (Hutchinson).
#    No $J$ is ever written down.
#
# $$\log p_1(x) = \log\mathcal N(x_0;\ 0, I) - \int_0^1 \operatorname{tr}\frac{\partial v}{\partial x}\,dt,\qquad \operatorname{tr}J = \mathbb E\big[e^\top J\,e\big].$$
#
# As in FFJORD the velocity is trained by the *likelihood itself*: the solver runs inside the loss. (Lesson 21 will get
# a velocity from a score instead, which is learned by denoising.) Our gradient goes back through all the steps of the
# solver, and its memory grows with their number. FFJORD avoids that by the **adjoint**: the gradient
# $a(t) = \partial\,\text{loss}/\partial x(t)$ follows an equation of its own, $da/dt = -J^\top a$, which a second run
# of the solver follows from $t = 0$ back to the data, where the loss began. It keeps nothing on the way, and its
# gradient is exact up to the solver's error. Six steps fit in memory, so we do not need it.
#
# For the trace we take $J\,e$ by a pass *forwards*, beside the value (a dual number:
# $v(x + \epsilon e) = v(x) + \epsilon\,Je$). So the loss has to be differentiated backwards only once.


# %% build="trace"
def value_and_trace(v, x, t, probes):
    """v(x, t) (N, D), and the mean of e . (J e) over probes (n, N, D) for each row (N,); with gradients."""
    ### BEGIN SOLUTION
    found = [torch.func.jvp(lambda u: v(u, t), (x,), (e,)) for e in probes]
    return found[0][0], sum((e * Je).sum(1) for e, (_, Je) in zip(probes, found, strict=True)) / len(probes)
    ### END SOLUTION


# %% check="trace"
A = torch.randn(3, 3, generator=torch.Generator().manual_seed(14))
basis = math.sqrt(3) * torch.eye(3)[:, None].expand(3, 2, 3)  # their mean of e e^T is I: no chance
value, tr = value_and_trace(lambda x, t: x @ A.T * t, torch.ones(2, 3), 2.0, basis)
assert torch.allclose(value, 2 * A.sum(1).expand(2, 3)) and torch.allclose(tr, 2 * A.trace().expand(2)), (
    "the velocity, and its exact trace"
)
signs = torch.randint(2, (1, 40_000, 3), generator=torch.Generator().manual_seed(15)) * 2.0 - 1
assert abs(value_and_trace(lambda x, t: x @ A.T, signs[0], 0.0, signs)[1].mean() - A.trace()) < 0.05, (
    "unbiased"
)


# %%
# long: a network, and two solvers, one of which finds its own steps
class Velocity(nn.Module):
    """v(x, t): two hidden layers of tanh."""

    def __init__(self, width=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )

    def forward(self, x, t):
        """(N, 2), a number -> (N, 2)."""
        return self.net(torch.cat([x, torch.full_like(x[:, :1], t)], dim=1))


def rk4(f, state, start, end, steps):
    """Runge and Kutta's method of order 4 for a pair of tensors, in even steps."""
    h = (end - start) / steps
    move = lambda a, b, by: tuple(u + by * w for u, w in zip(a, b, strict=True))  # noqa: E731
    for n in range(steps):
        t = start + n * h
        k_1 = f(state, t)
        k_2 = f(move(state, k_1, h / 2), t + h / 2)
        k_3 = f(move(state, k_2, h / 2), t + h / 2)
        k_4 = f(move(state, k_3, h), t + h)
        for k, share in ((k_1, 1), (k_2, 2), (k_3, 2), (k_4, 1)):
            state = move(state, k, h * share / 6)
    return state


def one_step(f, state, t, h):
    """Bogacki and Shampine's step: the state of order 3 after h, and its gap to that of order 2."""
    add = lambda *terms: tuple(u + sum(a * k[i] for a, k in terms) for i, u in enumerate(state))  # noqa: E731
    k_1 = f(state, t)
    k_2 = f(add((h / 2, k_1)), t + h / 2)
    k_3 = f(add((3 * h / 4, k_2)), t + 3 * h / 4)
    new = add((2 * h / 9, k_1), (h / 3, k_2), (4 * h / 9, k_3))
    four, weights = (k_1, k_2, k_3, f(new, t + h)), (-5 / 72, 1 / 12, 1 / 9, -1 / 8)
    return new, [sum(a * h * k[i] for a, k in zip(weights, four, strict=True)) for i in (0, 1)]


def adaptive(f, state, start, end, tol):
    """Steps so long that a step's error is about `tol`: the last state, the steps taken, the calls of f."""
    t, h, steps, calls = start, (end - start) / 4, [], 0
    while abs(end - t) > 1e-12:
        h = math.copysign(min(abs(h), abs(end - t)), end - start)
        new, gap = one_step(f, state, t, h)
        error = max(e.square().mean().sqrt().item() for e in gap) / tol
        calls += 4
        if error <= 1:
            t, state = t + h, new
            steps.append(h)
        h = h * min(5.0, max(0.2, 0.9 * max(error, 1e-9) ** (-1 / 3)))
    return state, steps, calls


def replay(f, state, start, steps):
    """The same steps again, for other points."""
    t = start
    for h in steps:
        state, t = one_step(f, state, t, h)[0], t + h
    return state


# %% build="continuous"
def continuous_log_p(v, x, probes, solve):
    """log p(x) in nats (N,): solve(f, state, 1.0, 0.0) runs from data to noise, the integral beside."""
    ### BEGIN SOLUTION
    both = lambda state, t: value_and_trace(v, state[0], t, probes)  # noqa: E731
    z, integral = solve(both, (x, torch.zeros_like(x[:, 0])), 1.0, 0.0)
    return log_normal(z) + integral  # from 1 to 0 the integral has its minus sign already
    ### END SOLUTION


# %% check="continuous"
exact = math.sqrt(2) * torch.eye(2)[:, None]  # two probes that find the trace without chance
few = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
got = continuous_log_p(
    lambda x, t: 0.7 * x, few, exact.expand(2, 2, 2), lambda f, s, a, b: rk4(f, s, a, b, 16)
)
assert torch.allclose(got, log_normal(few * math.exp(-0.7)) - 1.4, atol=1e-4), (
    "noise that is blown up by exp(0.7): a normal law of that deviation, thinner by 0.7 nats a number"
)

# %% folded="Training a continuous flow on moons" tags=["demo"]
# long: training through six steps, with one probe
moons, moons_test = (torch.as_tensor(data.toy("moons", n, s)) for n, s in ((20_000, 1), (2_000, 2)))
torch.manual_seed(16)
velocity, g = Velocity(), torch.Generator().manual_seed(17)


def moon_loss(model):
    """Minus nats a point, with one new probe of signs for each point."""
    x = moons[torch.randint(len(moons), (256,), generator=g)]
    e = torch.randint(2, (1, 256, 2), generator=g) * 2.0 - 1
    return -continuous_log_p(model, x, e, lambda f, s, a, b: rk4(f, s, a, b, 6)).mean()


adam = torch.optim.Adam(velocity.parameters(), lr=1e-2)
fit(velocity, [adam], moon_loss, S.paths, "Continuous flow")
unit = lambda x: exact.expand(2, len(x), 2)  # noqa: E731


cell = torch.linspace(-5, 5, S.cells + 1)[:-1] + 5 / S.cells
points, claimed = torch.cartesian_prod(cell, cell), {}


def by_tolerance(tol):
    """Mean log p of test points; the integral over the plane by the *same* steps; steps, calls."""
    kept = {}

    def choose(f, state, start, end):
        state, kept["steps"], kept["calls"] = adaptive(f, state, start, end, tol)
        return state

    again = lambda f, state, start, end: replay(f, state, start, kept["steps"])  # noqa: E731
    with torch.no_grad():
        nats = continuous_log_p(velocity, moons_test, unit(moons_test), choose).mean().item()
        mass = continuous_log_p(velocity, points, unit(points), again).exp().sum().item()
    return nats, mass * (10 / S.cells) ** 2, len(kept["steps"]), kept["calls"]


for tol in (1.0, 0.3, 0.1, 1e-2, 1e-3, 1e-4):
    nats, mass, steps, calls = claimed[tol] = by_tolerance(tol)
    print(f"tolerance {tol:g}: {steps:2} steps, {calls:3} calls;", end=" ")
    print(f"claimed {nats:.3f} nats a point, integral {mass:.3f}")

# %% folded="Figure: the flow over time, and the likelihood against the tolerance" tags=["demo"]
# long: four times and a curve
with torch.no_grad():
    start = torch.randn(2_000, 2, generator=torch.Generator().manual_seed(18))
    only = lambda state, t: (velocity(state[0], t), state[1])  # noqa: E731
    shown = [rk4(only, (start, 0 * start[:, 0]), 0.0, t, 24)[0] if t else start for t in (0.0, 0.4, 0.7, 1.0)]
fig, axes = plot.figure(1, 5, height=1.9)
for ax, x, t in zip(axes, shown, (0, 0.4, 0.7, 1), strict=False):
    ax.scatter(*x.T, s=1, color=plot.COLOURS.blue)
    ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"$t = {t}$", fontsize=10)
axes[4].semilogx(list(claimed), [row[0] for row in claimed.values()], "-o", ms=4)
axes[4].set_xlabel("tolerance", fontsize=9)
axes[4].set_title("claimed nats", fontsize=10)
axes[4].tick_params(labelsize=8)
plt.show()
tight = claimed[1e-4][0]
drift = max(abs(claimed[t][0] - tight) for t in (1.0, 0.3))
board.claim(
    "With a tolerance of 0.001 or less the density adds up to 1, within two in a hundred.",
    all(abs(claimed[t][1] - 1) < 0.02 for t in (1e-3, 1e-4)),
)
board.claim(
    "With a tolerance of 1 the integral is off by three times as much as with 0.0001, or more.",
    abs(claimed[1.0][1] - 1) > 3 * abs(claimed[1e-4][1] - 1),
)
board.claim(
    "With a tolerance of 0.3 or more the claimed nats are off by more than with 0.01.",
    drift > abs(claimed[1e-2][0] - tight),
)

# %% [markdown]
# **Question.** A coarse solver still sends every point somewhere and still adds up traces. Why is what it says no
# density?
#
# <details><summary>Answer</summary>
#
# The exact flow is one-to-one and the exact integral is its log-det. The map of a coarse solver is another map, and
# the sum of traces at its few places is not the log-det of *that* map. So $\exp$ of the result need not add up to 1,
# as the integrals above show, and a number that is not a density can be better or worse than the truth. Whoever
# reports a likelihood of a continuous flow has to say the tolerance, and to show that a tighter one gives the same.
#
# There is a second trap. The solver chooses its steps by the error of all points together. So $\log p$ of one point
# depends on the points beside it, as with batch normalisation. We therefore choose the steps once, on the test points,
# and repeat the same steps for the integral.
# </details>
#
# A solver inside the loss is slow: each update of this small run makes 24 calls of the velocity, and goes back
# through them. Flow matching (lesson 23) will keep the machine and train it with one call. That ended the
# likelihood-trained continuous flow for pictures.
#
# ## 6 · TarFlow: a transformer is a flow
#
# Couplings see half. Lesson 08's table named the layer that sees the most: an **autoregressive** affine layer,
# density first. Cut the picture into $T$ patches $x_1, \dots, x_T$ of $d$ numbers, and let each be moved by what *all
# earlier ones* say:
#
# $$z_i = \big(x_i - \mu_i(x_{<i})\big) \odot e^{-\alpha_i(x_{<i})},\qquad \log|\det| = -\sum_{i=1}^{T}\sum_{j=1}^{d}\alpha_{ij} .$$
#
# The Jacobian is triangular in the order of the patches, with $e^{-\alpha}$ on its diagonal; hence the log-det
# (lesson 08). A causal transformer (lesson 06) computes all $\mu_i$ and $\alpha_i$ in *one* pass: the input is
# shifted by one patch, so that position $i$ sees $x_1, \dots, x_{i-1}$. The inverse knows $x_{<i}$ only when it has
# made them:
#
# $$x_i = z_i \odot e^{\alpha_i(x_{<i})} + \mu_i(x_{<i}),\qquad i = 1, 2, \dots, T\ \text{one after the other}.$$
#
# **Why one block is not enough.** In one block each patch, given those before, is *normal*: mean $\mu_i$, deviation
# $e^{\alpha_i}$, numbers within a patch independent. A letter whose next patch is either ink or paper has two humps.
# So TarFlow stacks blocks, and turns the order round in between. What the first block left wrong in $z$ is, for the
# next block, a picture like others, read from the other end: given all *later* patches, it can find out which hump it
# was. As always in a flow the log-dets add up.
#
# **Question.** Which of these destroys the density, and which only makes the model worse: no reversal between blocks;
# position $i$ sees patch $i$ itself; an attention without a mask?
#
# <details><summary>Answer</summary>
#
# No reversal is valid, and worse. (A stack of blocks in one order is still triangular: each $z_i$ is an increasing
# function of $x_i$ given $x_{<i}$, and affine, if nothing else changes. So the stack is one
# affine block with a larger network, and its patches stay normal given those before.) The other two destroy it: the Jacobian is no longer triangular with $e^{-\alpha}$ on its diagonal, and the
# sum is not its log-det.
# </details>


# %%
PATCH, SIDE = 4, 16


def to_patches(x, p=PATCH):
    """(N, 1, H, W) -> (N, T, p p), the patches row by row."""
    N, _, H, W = x.shape
    return x.reshape(N, H // p, p, W // p, p).transpose(2, 3).reshape(N, -1, p * p)


def to_picture(patches, p=PATCH, side=SIDE):
    """The inverse of to_patches: (N, T, p p) -> (N, 1, side, side)."""
    x = patches.reshape(-1, side // p, side // p, p, p)
    return x.transpose(2, 3).reshape(-1, 1, side, side)


# %% folded="A transformer layer with a cache (lesson 06)"
# long: lesson 06's block, with its cache
class Layer(nn.Module):
    """Causal attention and an MLP, each after a LayerNorm and added to what comes in."""

    def __init__(self, width, heads=4, dropout=0.0):
        super().__init__()
        linear = lambda a, b: nn.Linear(a, b, bias=False)  # noqa: E731
        self.norm_1, self.norm_2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
        self.qkv, self.out = linear(width, 3 * width), linear(width, width)
        self.up, self.down, self.drop = (
            linear(width, 4 * width),
            linear(4 * width, width),
            nn.Dropout(dropout),
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, h, cache=None):
        """(N, T, width); with a cache, a list that holds keys and values so far, h is the newest position."""
        q, k, v = self.qkv(self.norm_1(h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
            cache[:] = [k, v]
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        h = h + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        return h + self.drop(self.down(F.gelu(self.up(self.norm_2(h)))))


# %% build="block"
# long: a block, both of its directions
class Block(nn.Module):
    """An autoregressive affine flow over patches. Source: Zhai et al. 2024, arXiv:2412.06329, eq. 2 to 5."""

    def __init__(self, T, d, width, layers, classes, backwards, dropout=0.0):
        super().__init__()
        self.into, self.out = nn.Linear(d, width), nn.Linear(width, 2 * d)
        self.place = nn.Parameter(0.02 * torch.randn(T, width))
        self.told = nn.Embedding(classes + 1, width)
        self.layers = nn.ModuleList(Layer(width, dropout=dropout) for _ in range(layers))
        self.norm, self.backwards = nn.LayerNorm(width), backwards
        nn.init.normal_(self.told.weight, std=0.02)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def mu_alpha(self, before, place, c, caches=None):
        """mu, alpha (N, t, d) of patches, from the one before each (N, t, d), and places (t, width)."""
        with genmap.autocast(device):
            h = self.into(before) + place + self.told(c)[:, None]
            for i, layer in enumerate(self.layers):
                h = layer(h, caches and caches[i])
            return self.out(self.norm(h)).float().chunk(2, dim=2)

    def forward(self, x, c):
        """(N, T, d) -> z, log |det dz/dx| (N,); in one pass."""
        ### BEGIN SOLUTION
        x = x.flip(1) if self.backwards else x
        mu, alpha = self.mu_alpha(F.pad(x[:, :-1], (0, 0, 1, 0)), self.place, c)
        z = (x - mu) * (-alpha).exp()
        return z.flip(1) if self.backwards else z, -alpha.sum((1, 2))
        ### END SOLUTION

    def inverse(self, z, c, guide):
        """(N, T, d) -> x, patch by patch; guide(mu, alpha, share) may change both; share from 0 to 1."""
        ### BEGIN SOLUTION
        z = z.flip(1) if self.backwards else z
        x, caches = [torch.zeros_like(z[:, :1])], [[] for _ in self.layers]
        for i in range(z.shape[1]):
            before = x[-1].repeat(len(c) // len(z), 1, 1)  # twice, where guide wants both classes
            mu, alpha = guide(*self.mu_alpha(before, self.place[i], c, caches), i / max(z.shape[1] - 1, 1))
            x.append(z[:, i : i + 1] * alpha.exp() + mu)
        x = torch.cat(x[1:], dim=1)
        return x.flip(1) if self.backwards else x
        ### END SOLUTION


# %% check="block"
# long: four properties, of both orders
torch.manual_seed(19)
for backwards in (False, True):
    block = Block(5, 3, 8, 2, 4, backwards).to(device)
    with torch.no_grad():
        for p in block.parameters():
            p.add_(0.2 * torch.randn_like(p))
    few, two = torch.randn(2, 5, 3, device=device), torch.tensor([1, 4], device=device)
    z_few, log_det = block(few, two)
    one = lambda v, b=block, c=two[:1]: b(v[None], c)[0][0]  # noqa: E731
    J = torch.autograd.functional.jacobian(one, few[0]).reshape(15, 15)
    assert torch.allclose(torch.linalg.slogdet(J).logabsdet, log_det[0], atol=1e-3), (
        "the log-det is not the Jacobian's"
    )
    later = (
        J.reshape(5, 3, 5, 3).abs().amax((1, 3)).triu(1)
        if not backwards
        else J.reshape(5, 3, 5, 3).abs().amax((1, 3)).tril(-1)
    )
    assert later.max() < 1e-6, "a patch sees only those before it"
    back = block.inverse(z_few, two, lambda mu, alpha, share: (mu, alpha))
    assert torch.allclose(back, few, atol=1e-3), "patch by patch, with the cache, leads back"

# %% [markdown]
# **Guidance** means: find out what the class changes, and change more of it. (Lesson 19 will do so in a diffusion.)
# Here a block says a mean and a log-deviation, with the class, $\mu, \alpha$, and without it,
# $\mu_\varnothing, \alpha_\varnothing$. Both are shifted, more and more along the sequence, for the first patches
# have little to go by:
#
# $$\tilde\mu_i = \mu_i + g_i\,(\mu_i - \mu_{\varnothing,i}),\qquad \tilde\alpha_i = \alpha_i + g_i\,(\alpha_i - \alpha_{\varnothing,i}),\qquad g_i = g\,\tfrac{i-1}{T-1} .$$
#
# One tenth of the training classes are replaced by *not told*, so that the network knows both. What is drawn with
# $g > 0$ is not a draw from the density, like a temperature below 1.
#
# **Taking the noise off.** The flow has learned the law of $y = x + \sigma\varepsilon$, and draws such $y$. The mean
# of the clean picture behind $y$ is one gradient away (Tweedie's formula, on which lesson 18 will build):
#
# $$\mathbb E[x \mid y] = y + \sigma^2\,\nabla_y\log p(y) .$$
#
# <details><summary>Its two lines</summary>
#
# $p(y) = \int p(x)\,\mathcal N(y;\,x, \sigma^2I)\,dx$ has the gradient
# $\int p(x)\,\mathcal N(y;\,x, \sigma^2I)\,\frac{x - y}{\sigma^2}\,dx$. Divide by $p(y)$: the weights become
# $p(x \mid y)$, so $\nabla\log p(y) = (\mathbb E[x \mid y] - y)/\sigma^2$.
# </details>
#
# A diffusion *learns* this gradient. A flow has it, by backpropagation through its own exact density. The formula is
# for a $y$ that was drawn from $p$. With guidance or a lower temperature $y$ is not, and the step is an approximation:
# the table below says what it is worth there.


# %% build="tarflow"
# long: blocks in turns, the density, the sampler and the last step
class TarFlow(nn.Module):
    """Blocks over patches (N, T, d), every second one from the end to the beginning."""

    def __init__(self, T, d, width, blocks, layers, classes, dropout=0.0):
        super().__init__()
        self.classes, turns = classes, [n % 2 == 1 for n in range(blocks)]
        self.blocks = nn.ModuleList(Block(T, d, width, layers, classes, back, dropout) for back in turns)

    def log_prob(self, x, c):
        """log p(x | c) in nats (N,); c = classes: not told."""
        ### BEGIN SOLUTION
        log_det = 0.0
        for block in self.blocks:
            x, change = block(x, c)
            log_det = log_det + change
        return log_normal(x) + log_det
        ### END SOLUTION

    @torch.no_grad()
    def draw(self, z, c, g=0.0):
        """From noise (N, T, d) to noisy patches, of classes c (N,), with guidance g."""

        ### BEGIN SOLUTION
        def guide(mu, alpha, share):
            if not g:
                return mu, alpha
            (mu, mu_0), (alpha, alpha_0) = mu.chunk(2), alpha.chunk(2)
            return mu + g * share * (mu - mu_0), alpha + g * share * (alpha - alpha_0)

        both = torch.cat([c, torch.full_like(c, self.classes)]) if g else c
        for block in reversed(self.blocks):
            z = block.inverse(z, both, guide)
        return z
        ### END SOLUTION


def denoised(log_prob, y, sigma=SIGMA):
    """E[x | y] = y + sigma^2 grad log p(y), for log_prob (N, ...) -> (N,)."""
    ### BEGIN SOLUTION
    y = y.detach().requires_grad_()
    return (y + sigma**2 * torch.autograd.grad(log_prob(y).sum(), y)[0]).detach()
    ### END SOLUTION


# %% check="tarflow"
# long: five properties
torch.manual_seed(20)
small = TarFlow(4, 3, 8, 2, 1, 5).to(device)
with torch.no_grad():
    for p in small.parameters():
        p.add_(0.1 * torch.randn_like(p))
noise_few, two = torch.randn(2, 4, 3, device=device), torch.tensor([0, 3], device=device)
few = small.draw(noise_few, two)
h, total = few, 0.0
for block in small.blocks:
    h, change = block(h, two)
    total = total + change
assert torch.allclose(h, noise_few, atol=1e-3), "drawn, and back to the noise"
assert torch.allclose(small.log_prob(few, two), log_normal(noise_few) + total, atol=1e-3), (
    "the account of all blocks"
)
same = small.draw(noise_few, torch.full_like(two, 5), 3.0)
assert torch.allclose(same, small.draw(noise_few, torch.full_like(two, 5)), atol=1e-4), (
    "no class: nothing to guide"
)
shrunk = denoised(lambda y: -(y**2).sum(1) / (2 * (4 + 0.25)), torch.ones(1, 2), sigma=0.5)
assert torch.allclose(shrunk, torch.full((1, 2), 4 / 4.25)), "N(0, 4) under noise 0.5: back by 4 / 4.25"

# %% [markdown]
# The matrices inside the transformers are trained by Muon (lesson 06), all else by AdamW.


# %%
def optimizers_of(model, muon=1e-2, adam=3e-3, decay=0.0):
    """Muon for the matrices of the layers, where this torch has it; AdamW for the rest."""
    matrices = [p for block in model.blocks for p in block.layers.parameters() if p.ndim == 2]
    mine = {id(p) for p in matrices}
    rest = torch.optim.AdamW([p for p in model.parameters() if id(p) not in mine], lr=adam, weight_decay=0.0)
    if hasattr(torch.optim, "Muon"):
        how = {"weight_decay": decay, "adjust_lr_fn": "match_rms_adamw"}
        return [torch.optim.Muon(matrices, lr=muon, **how), rest]
    return [torch.optim.AdamW(matrices, lr=adam, weight_decay=decay), rest]


class OfPictures(nn.Module):
    """A TarFlow of pictures (N, 1, H, W): cuts them, and puts them together."""

    def __init__(self, side, p, width, blocks, layers, classes, dropout=0.0):
        super().__init__()
        self.side, self.p, self.shape = side, p, ((side // p) ** 2, p * p)
        self.flow = TarFlow(*self.shape, width, blocks, layers, classes, dropout)
        self.blocks = self.flow.blocks

    def log_prob(self, x, c):
        """log p(x | c) in nats: (N,)."""
        return self.flow.log_prob(to_patches(x, self.p), c)

    def draw(self, c, generator, g=0.0, tau=1.0):
        """Noisy pictures of classes c."""
        z = torch.randn(len(c), *self.shape, generator=generator).to(c.device)
        return to_picture(self.flow.draw(tau * z, c, g), self.p, self.side)


# %% [markdown]
# **What a second block is worth.** Before the long run, the smallest sequence: the two numbers of a point of the
# moons, each a patch. Four stacks are trained alike; above each figure stand its nats a held-out point.
#
# **Question.** The first number of a point has no earlier one. Which laws can one block give it?
#
# <details><summary>Answer</summary>
#
# A normal law, since $\mu_1$ and $\alpha_1$ are constants. A second block in the same order only adds another constant
# shift and scale. A second block that reads from the other end moves the first number by what the second says. Now
# its law may have two humps.
# </details>

# %% folded="One block, two, and two in one order" tags=["demo"]
# long: four small trainings, and samples of each
stacks = {"one block": "f", "two, one order": "ff", "two, turned": "fb", "four, turned": "fbfb"}
worth, told = {}, torch.zeros(2_000, dtype=torch.long)
fig, axes = plot.figure(1, 4, height=2.2)
for ax, (name, turns) in zip(axes, stacks.items(), strict=True):
    torch.manual_seed(33)
    tiny = TarFlow(2, 1, 32, len(turns), 1, 1)
    for block, turn in zip(tiny.blocks, turns, strict=True):
        block.backwards = turn == "b"
    g, rounds = torch.Generator().manual_seed(34), min(250, S.plane)
    adam = torch.optim.AdamW(tiny.parameters())
    for n in range(rounds):
        adam.param_groups[0]["lr"] = 5e-3 * min((n + 1) / 20, 1, (rounds - n) / (0.6 * rounds))
        x = moons[torch.randint(len(moons), (128,), generator=g)]
        adam.zero_grad()
        (-tiny.log_prob(x[..., None], told[:128]).mean()).backward()
        nn.utils.clip_grad_norm_(tiny.parameters(), 1.0)
        adam.step()
    with torch.no_grad():
        worth[name] = tiny.log_prob(moons_test[..., None], told).mean().item()
    drawn = tiny.draw(torch.randn(2_000, 2, 1, generator=torch.Generator().manual_seed(35)), told)
    ax.scatter(*drawn[..., 0].T, s=1, color=plot.COLOURS.blue)
    ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
    ax.set_title(f"{name}: {worth[name]:.2f}", fontsize=10)
plt.show()
board.claim(
    "A second block in the same order is worth less than 0.03 nats; turned round it is worth more.",
    worth["two, one order"] < worth["one block"] + 0.03
    and worth["two, turned"] > worth["two, one order"] + 0.03,
)

# %% tags=["demo"]
# long: the run, and samples on the way
torch.manual_seed(21)
tar = OfPictures(16, PATCH, S.width, S.blocks, S.layers, CLASSES).to(device)
g_tar, grown = torch.Generator().manual_seed(22), []
one_loss = glyph_loss(g_tar, forget=0.1)


moments = max(1, S.updates // 10), max(2, S.updates // 4), S.updates


def watched_loss(model):
    """The loss; at three moments also samples of twenty letters from the same noise."""
    watched_loss.n += 1
    if watched_loss.n in moments:
        grown.append(model.draw(torch.arange(10, 30, device=device), torch.Generator().manual_seed(23), 2.0))
    return one_loss(model)


watched_loss.n = 0
_, tar_seconds = fit(tar, optimizers_of(tar), watched_loss, S.updates, "TarFlow")
tar_nats = held_out(tar, x_test, c_test)
fig, axes = plot.figure(len(grown), 1, height=0.75)
for ax, x, when in zip(axes, grown, ("a tenth", "a quarter", "nearly all"), strict=True):
    plot.images(grey(x), columns=20, ax=ax, title=f"Guidance 2, after {when} of the updates")
plt.show()
gain = (tar_nats - glow_nats).double()
print(
    f"TarFlow: {size(tar):,} numbers, {tar_seconds:.0f} s; Glow: {size(glow):,} numbers, {glow_seconds:.0f} s"
)
print(
    f"held out, nats a number: TarFlow {tar_nats.mean() / 256:.3f}, Glow {glow_nats.mean() / 256:.3f};",
    end=" ",
)
print(f"TarFlow less Glow: {gain.mean():.1f} ± {gain.std() / len(gain) ** 0.5:.2f} nats each, over pictures")
board.claim("The two flows' nats differ by less than 0.1 a number.", abs(gain.mean().item()) / 256 < 0.1)

# %% folded="Figure: guidance, and the last step" tags=["demo"]
# long: marks with and without guidance, noisy and denoised
tar_marks, tar_drawn = {}, {}
for w, tau in ((0, 1), (1, 1), (2, 1), (2, 0.8)):
    y = tar.draw(asked, torch.Generator().manual_seed(24), w, tau)
    clean = denoised(lambda v: tar.log_prob(v, asked), y)
    tar_drawn[w, tau] = y, clean
    for name, x in (("noisy", y), ("denoised", clean)):
        m = tar_marks[w, tau, name] = marks(x)
        print(f"guidance {w}, temperature {tau}, {name:8}: recognised {m['class_accuracy']:.3f},", end=" ")
        print(f"diversity {m['diversity']:.2f}, Fréchet {m['frechet']:.1f}")
plain, pushed, guided, cooled = (tar_marks[*pair, "denoised"] for pair in ((0, 1), (1, 1), (2, 1), (2, 0.8)))
glow_clean = {}
for tau in (1.0, 0.7):
    glow_clean[tau] = denoised(lambda v: glow.log_prob(v, asked), draw_glow(asked, tau, 7))
    m = glow_marks[tau, "denoised"] = marks(glow_clean[tau])
    print(f"Glow, temperature {tau:g}, denoised: recognised {m['class_accuracy']:.3f},", end=" ")
    print(f"diversity {m['diversity']:.2f}, Fréchet {m['frechet']:.1f};", end=" ")
    print(f"noisy, Fréchet {glow_marks[tau]['frechet']:.1f}")
fig, axes = plot.figure(4, 1, height=0.75)
rows = (
    ("Guidance 0, as drawn", tar_drawn[0, 1][0]),
    ("Guidance 0, denoised", tar_drawn[0, 1][1]),
    ("Guidance 2, temperature 0.8, denoised", tar_drawn[2, 0.8][1]),
    ("Glow, temperature 0.7, denoised", glow_clean[0.7]),
)
for ax, (title, x) in zip(axes, rows, strict=True):
    plot.images(grey(x[10:30]), columns=20, ax=ax, title=title)
plt.show()
board.claim(
    "Denoising takes off a tenth of the Fréchet distance to real glyphs, or more, each time.",
    all(
        tar_marks[w, tau, "denoised"]["frechet"] < 0.9 * tar_marks[w, tau, "noisy"]["frechet"]
        for w, tau in tar_drawn
    )
    and all(glow_marks[tau, "denoised"]["frechet"] < 0.9 * glow_marks[tau]["frechet"] for tau in (1.0, 0.7)),
)
board.claim(
    "With guidance 2 more glyphs are recognised than without, by a tenth or more; they are less diverse.",
    guided["class_accuracy"] > plain["class_accuracy"] + 0.1 and guided["diversity"] < plain["diversity"],
)
board.claim(
    "Both denoised, temperature 1, no guidance: TarFlow is recognised more often by a tenth, and nearer.",
    plain["class_accuracy"] > glow_marks[1.0, "denoised"]["class_accuracy"] + 0.1
    and plain["frechet"] < glow_marks[1.0, "denoised"]["frechet"],
)
board.claim(
    "So is TarFlow with guidance 2 and temperature 0.8 against Glow at 0.7, both denoised.",
    cooled["class_accuracy"] > glow_marks[0.7, "denoised"]["class_accuracy"] + 0.1
    and cooled["frechet"] < glow_marks[0.7, "denoised"]["frechet"],
)

# %% [markdown]
# This is what the family is for: glyphs of a given class from an *exact* density. Both flows learned the same noisy
# pictures, and their nats are close. Their samples are not. At equal treatment (temperature 1, no guidance, denoised)
# TarFlow's are recognised more often and lie nearer to real glyphs: nats say little of how samples look. The
# last step is worth something to both, since Glow's density has a gradient, too.
#
# The comparison is of two flows as they stand here, not of two kinds of layer at equal cost. TarFlow has more numbers
# and takes more updates (both are printed above, and in the first cell), its matrices are trained by Muon, and it sees
# a tenth of the pictures without their class. Each was trained once; the ± above is over test pictures, not over
# trainings.
#
# With guidance 2 the letters are recognised more often, and are less diverse. The last step brings nearer what was
# drawn with guidance, too, in the Fréchet distance; whether more letters are then recognised is another matter:
# compare the lines *noisy* and *denoised*.
#
# ## 7 · The same on digits, in bits
#
# Noise of a chosen size makes good pictures, but nats of noisy pictures are no bits of real ones. For bits, lesson
# 08's way: levels $k \in \{0, \dots, 16\}$ with uniform noise, $y = (k + u)/17$, a small inset and the logit, whose
# log-det counts; then $-\big(\mathbb E\log p_y - D\log 17\big)/(D\log 2)$ is a bound on the bits of a code. The
# TarFlow is a smaller one (three blocks for four, in `quick`) on patches of 2×2, with dropout and weight decay, since
# there are only 1,257 digits. Like lesson 08 we give
# the bits with the class told, and without it: $p(x) = \frac1{10}\sum_c p(x \mid c)$.

# %% folded="Digits: the logit, training, and bits" tags=["demo"]
# long: dequantisation of lesson 08, a run, four draws of the noise
lesson, digits = "09_glow", data.digits()
k_train, k_val, k_test = (torch.as_tensor(p.x, device=device).mul(16).round() for p in digits)
d_train, d_val, d_test = (torch.as_tensor(p.y, device=device) for p in digits)


def digit_nats(model, k, c, generator, inset=0.05):
    """log p(y | c) at one draw of uniform noise, in nats: levels (N, 1, 8, 8) -> (N,)."""
    y = (k + torch.rand(k.shape, generator=generator).to(k.device)) / 17
    v = inset + (1 - 2 * inset) * y
    log_det = math.log(1 - 2 * inset) - v.log() - torch.log1p(-v)
    return model.log_prob(v.log() - torch.log1p(-v), c) + log_det.flatten(1).sum(1)


torch.manual_seed(25)
tar_8 = OfPictures(8, 2, S.digit_width, S.digit_blocks, S.layers, 10, dropout=0.1).to(device)
g_8 = torch.Generator().manual_seed(26)


def digit_loss(model):
    """Minus nats a number, of 64 digits."""
    chosen = torch.randint(len(k_train), (2 * S.batch,), generator=g_8).to(device)
    return -digit_nats(model, k_train[chosen], d_train[chosen], g_8).mean() / 64


_, digit_seconds = fit(tar_8, optimizers_of(tar_8, decay=0.1), digit_loss, S.digit_updates, "TarFlow, digits")
tar_8.eval()
with torch.no_grad():
    g_8 = torch.Generator().manual_seed(27)
    each = [
        torch.stack([digit_nats(tar_8, k_test, torch.full_like(d_test, c), g_8) for c in range(10)], dim=1)
        for _ in range(4)
    ]
joint = torch.stack(each)  # (draws, N, classes)
given = joint.gather(2, d_test[None, :, None].expand(4, -1, 1)).mean().item()
alone = (joint.logsumexp(2) - math.log(10)).mean().item()
told = (joint.mean(0).argmax(1) == d_test).float().mean().item()
digit_bits, digit_bits_given = (metrics.bits_per_dim(v, 64, 17) for v in (alone, given))
print(f"held out: class given {digit_bits_given:.3f} bits/dim, class unknown {digit_bits:.3f}")
print(f"as a classifier, by Bayes' rule: {told:.3f} of the test digits right; on the board:")
others = {
    (r.lesson, r.model): r.figures["bits_per_dim"]
    for r in board.published().rows
    if r.data == "digits 8x8" and r.lesson < lesson and "bits_per_dim" in r.figures
}
for (number, model), bits in sorted(others.items(), key=lambda row: row[1])[:6]:
    print(f"  {bits:.3f} bits/dim: {model} ({number})")
board.claim(
    "TarFlow needs fewer bits than lesson 08's RealNVP with uniform noise.",
    digit_bits < others["08_realnvp", "RealNVP"],
)
board.claim(
    "Lesson 04's best PixelCNN needs fewer bits still.",
    min(bits for (number, _), bits in others.items() if number == "04_pixelcnn") < digit_bits,
)

# %% [markdown]
# Of the flows with uniform noise TarFlow needs the fewest bits. (RealNVP with *learned* noise and the class given, on
# the board, comes near TarFlow with the class given: noise that is learned costs less.) MADE, with one order or two,
# and the PixelCNNs need fewer. They give a probability to each grey level itself; a flow has to spread the level over an
# interval first, and its bits are only a bound.
#
# ## 8 · Play: guidance and temperature
#
# *Question: do guidance and a lower temperature do the same thing?* Both cost diversity. The control draws with
# TarFlow at any pair of values; the figure below has three pairs.


# %% folded="Control, and a static figure" tags=["demo"]
# long: a control, and a figure for where there is none
def play(g=2.0, tau=1.0, seed=0, ax=None):
    """Twenty letters, drawn and denoised."""
    letters = torch.arange(10, 30, device=device)
    y = tar.draw(letters, torch.Generator().manual_seed(seed), g, tau)
    x = denoised(lambda v: tar.log_prob(v, letters), y)
    plot.images(grey(x), columns=20, ax=ax, title=f"guidance {g:g}, temperature {tau:g}")
    if ax is None:
        plt.show()
    return x


def show(g, tau, seed):
    """What the control shows."""
    play(g, tau, seed)


controls = interact(
    show,
    g=widgets.FloatSlider(2.0, min=0, max=6, step=0.5, continuous_update=False, description="guidance"),
    tau=widgets.FloatSlider(
        1.0, min=0, max=1.2, step=0.1, continuous_update=False, description="temperature"
    ),
    seed=widgets.IntSlider(0, min=0, max=9, continuous_update=False, description="seed"),
)
fig, axes = plot.figure(3, 1, height=0.75)
for ax, (w, tau) in zip(axes, ((0.0, 1.0), (2.0, 1.0), (0.0, 0.7)), strict=True):
    play(w, tau, 1, ax)
plt.show()
cool = marks(
    denoised(lambda v: tar.log_prob(v, asked), tar.draw(asked, torch.Generator().manual_seed(24), 0.0, 0.7))
)
for name, m in (
    ("guidance 0, temperature 0.7", cool),
    ("guidance 2, temperature 1", guided),
    ("guidance 2, temperature 0.8", cooled),
):
    print(f"{name}: recognised {m['class_accuracy']:.3f}, diversity {m['diversity']:.2f}")
board.claim(
    "Guidance 2 alone and temperature 0.7 alone: more is recognised than with neither, by a tenth or more.",
    min(cool["class_accuracy"], guided["class_accuracy"]) > plain["class_accuracy"] + 0.1,
)
board.claim(
    "Temperature 0.7 alone, and guidance 2 with 0.8, differ by less than 0.15 in diversity.",
    abs(cool["diversity"] - cooled["diversity"]) < 0.15,
)

# %% [markdown]
# By what they do inside, they differ. Guidance shifts means and log-deviations, most where the class changes them
# most, and leaves $z$ alone. Temperature shrinks $z$ in every direction, whatever the class. By what comes out, they are
# close. Either alone makes more letters recognisable, and costs diversity. The first and the third line have about the
# same diversity: compare what is recognised there. Temperature has one more thing for it, it costs no second pass.
#
# ## 9 · What breaks
#
# ### More likely is not more typical
#
# Glow's code has a normal density, which is highest at $z = 0$. What picture is there? Draw at temperature 0. (The
# density of the *picture* need not be highest there. It also holds the log-det, which is another one at each place.)
#
# **Question.** Will the picture at $z = 0$ be *more* or *less* likely, by the model, than real glyphs? And would you
# ever draw such a code by chance?
#
# To compare like with like, both are taken twice: without noise, and both with noise of the same $\sigma$, as in
# training.

# %% folded="Figure: the picture at z = 0, and where the mass is" tags=["demo"]
# long: lengths of codes, and log p of glyphs and of decoded zeros, both without noise and both with it
letters, glow_nats_of = torch.arange(CLASSES, device=device), {}
at_zero = draw_glow(letters, 0.0, 0)
paper = torch.full_like(at_zero, -1.0)
with torch.no_grad():
    z_test, _ = glow(noisy(x_test, torch.Generator().manual_seed(28)), c_test)
    lengths_test = sum(part.flatten(1).square().sum(1) for part in z_test).sqrt().cpu()
    for name, x, c in (("glyphs", x_test, c_test), ("z = 0", at_zero, letters), ("paper", paper, letters)):
        pieces = zip(x.split(500), c.split(500), strict=True)
        glow_nats_of[name] = torch.cat([glow.log_prob(*piece) for piece in pieces]).cpu()
        glow_nats_of[name + ", with noise"] = held_out(glow, x, c, 29).cpu()
    z_clean, _ = glow(x_test, c_test)
    lengths_clean = sum(part.flatten(1).square().sum(1) for part in z_clean).sqrt().cpu()
fig, axes = plot.figure(1, 2, height=2.7)
bins = np.linspace(0, 26, 53)
axes[0].hist(
    lengths_test, bins=bins, density=True, color=plot.COLOURS.sky, alpha=0.7, label="held-out glyphs"
)
r = torch.linspace(0.1, 26, 400)
chi = (255 * r.log() - r**2 / 2 - 127 * math.log(2) - math.lgamma(128)).exp()
axes[0].plot(r, chi, color=plot.INK, lw=1.5, label="normal noise")
look = {"histtype": "step", "lw": 1.5, "color": plot.COLOURS.blue, "label": "without noise"}
axes[0].hist(lengths_clean, bins=bins, density=True, **look)
axes[0].axvline(0, color=plot.COLOURS.vermilion, label="z = 0")
axes[0].set(title="Length of the code", xlabel=r"$\|z\|$", yticks=[])
axes[0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.05, 1))
bins = np.linspace(0, max(1.3, glow_nats_of["z = 0"].max().item() / 256), 53)
for name, colour in (("glyphs", plot.COLOURS.blue), ("z = 0", plot.COLOURS.vermilion)):
    for more, kind in (("", "stepfilled"), (", with noise", "step")):
        look = {"alpha": 0.6} if not more else {"lw": 1.5}
        values = (glow_nats_of[name + more] / 256).clamp(min=0)
        axes[1].hist(values, bins=bins, density=True, histtype=kind, color=colour, label=name + more, **look)
axes[1].set(title="By the model, nats a number", xlabel=r"$\log p\,/\,256$", yticks=[])
axes[1].legend(fontsize=7, loc="upper left")
plt.show()
plot.images(grey(at_zero), columns=18, title="Glow at temperature 0: one picture a class")
plt.show()
print(f"length of held-out codes {lengths_test.mean():.1f} ± {lengths_test.std():.1f}; of noise 16.0 ± 0.7")
print(f"length of their codes without the noise {lengths_clean.mean():.1f} ± {lengths_clean.std():.1f}")
for more in ("", ", with noise"):
    glyph, zero = glow_nats_of["glyphs" + more], glow_nats_of["z = 0" + more]
    beaten = (glyph[None] > zero[:, None]).float().mean().item()
    print(f"nats a number{more or ', no noise'}: glyphs {glyph.mean() / 256:.3f},", end=" ")
    print(f"z = 0 {zero.mean() / 256:.3f}; a glyph beats a picture at z = 0 in {beaten:.3f} of the pairs")
blanks = (glow_nats_of["paper"] > glow_nats_of["z = 0"]).sum().item()
print(f"blank paper is more likely than the picture at z = 0 for {blanks} of {CLASSES} classes")
top = glow_nats_of["z = 0"].mean()
fair, unfair = (top - glow_nats_of[name].mean() for name in ("glyphs", "glyphs, with noise"))
board.claim("The lead of z = 0 over noisy glyphs is missing noise, for more than half.", fair < unfair / 2)
board.claim(
    "Without noise a glyph's code is shorter, by a quarter or more.",
    lengths_clean.mean() < 0.75 * lengths_test.mean(),
)
board.claim("Blank paper beats the picture at z = 0 in at least half of the classes.", blanks >= CLASSES // 2)
board.claim("No held-out code is shorter than 8, half of the length of noise.", lengths_test.min() > 8)

# %% [markdown]
# <details><summary>Answer, and the derivation of 16</summary>
#
# One never draws it. The codes of held-out pictures, noisy as in training, are about as long as noise is; none is
# shorter than 8.
#
# Is it more likely? Compare a clean picture at $z = 0$ with *noisy* glyphs, and it wins by a wide margin. But that is no
# like comparison. The noise is the larger part of what a code records: without it, the code of the same glyph is much
# shorter, and its density higher. Like with like, the lead of $z = 0$ is small, and a good part of the glyphs beat it.
#
# The squared length of normal noise is a sum of $D$ squares, each of mean 1 and variance 2. So it is
# $D \pm \sqrt{2D}$, and the length is
# $\sqrt D\,\sqrt{1 \pm \sqrt{2/D}} \approx \sqrt D \pm \sqrt{1/2}$, for $\sqrt{1 + a} \approx 1 + a/2$. With
# $D = 256$: $16 \pm 0.7$. All the noise lies in a thin shell, the *typical set*. Density is highest at the centre,
# but the volume at distance $r$ grows like $r^{D-1}$, and mass is density times volume. At the centre
# $\log\mathcal N$ is $D/2 = 128$ nats higher than on the shell, and there is nearly no volume.
# </details>
#
# So "more likely" and "more typical" are two things. A code that is *too* likely is as odd as one that is not likely
# enough. And the picture at $z = 0$ is not the likeliest one: the last line of numbers counts the classes for which
# *blank paper* is more likely. How can that be?
#
# ### Likelihood prefers the wrong pictures
#
# A density of glyphs should know what is *not* a glyph. Take $-\log_2 p(x)$ as an alarm: high means strange.
# Nalisnick and others (2018) found that flows (and VAEs, and PixelCNNs) trained on photographs of objects give
# *higher* likelihoods to photographs of house numbers. Here: TarFlow, trained on letters of full size, class not
# told. What does it think of the same letters at *half* the size? Of blank paper? **ROC-AUC** is the share of pairs
# (strange picture, held-out glyph) that the alarm puts in the right order: 1 is perfect, ½ a coin, 0 upside down.
#
# **Question.** The flow has never seen a small letter. Higher or lower?

# %% folded="Figure: wrong pictures, the alarm, and two repairs" tags=["demo"]
# long: strange pictures, bits, and scores
known = x_test[:: max(1, len(x_test) // 720)]
letters_01 = grey(known)
strange = {
    "half size": F.pad(F.avg_pool2d(letters_01, 2), (4, 4, 4, 4)),
    "blank": torch.zeros(200, 1, 16, 16, device=device),
    "mirrored": letters_01.flip(3),
    "upside down": letters_01.flip(2),
    "blurred": F.avg_pool2d(letters_01, 3, 1, 1),
    "negative": 1 - letters_01,
}


def bits_of(x, seed):
    """-log2 p in bits of a noisy picture, class not told: ink (N, 1, 16, 16) -> (N,)."""
    untold = torch.full((len(x),), CLASSES, device=device)
    return -held_out(tar, 2 * x - 1, untold, seed).cpu().double() / math.log(2)


def packed_bits(x):
    """Bits of the picture in 16 grey levels, packed by zlib: (N,)."""
    levels = (15 * x).round().to(torch.uint8).cpu().numpy()
    return torch.tensor([8.0 * len(zlib.compress(picture.tobytes(), 9)) for picture in levels]).double()


def auc(usual, odd):
    """Share of pairs with odd > usual, ties half."""
    more = (odd[:, None] > usual[None]).double() + 0.5 * (odd[:, None] == usual[None]).double()
    return more.mean().item()


usual_bits, usual_packed = bits_of(letters_01, 30), packed_bits(letters_01)
alarm, repaired = {}, {}
for name, x in strange.items():
    odd_bits, odd_packed = bits_of(x, 31), packed_bits(x)
    alarm[name] = auc(usual_bits, odd_bits)
    repaired[name] = auc(usual_bits - usual_packed, odd_bits - odd_packed)
    print(
        f"{name:12} ROC-AUC of -log p {alarm[name]:.3f}; minus the packed size {repaired[name]:.3f}", end="; "
    )
    print(f"packed {odd_packed.mean():.0f} bits (glyphs {usual_packed.mean():.0f})")
fig, axes = plot.figure(1, 2, height=2.5)
half_bits, half_packed = bits_of(strange["half size"], 31), packed_bits(strange["half size"])
for ax, (one, other), title in (
    (axes[0], (usual_bits, half_bits), r"$-\log_2 p(x)$"),
    (axes[1], (usual_bits - usual_packed, half_bits - half_packed), r"$-\log_2 p(x)\;-$ packed size"),
):
    for values, name, colour in (
        (one, "held-out glyphs", plot.COLOURS.sky),
        (other, "half size", plot.COLOURS.vermilion),
    ):
        ax.hist(values, bins=40, density=True, alpha=0.65, color=colour, label=name)
    ax.set(title=title, xlabel="bits", yticks=[])
axes[0].legend(fontsize=8)
plt.show()
plot.images(
    torch.cat([x[:6] for x in strange.values()]), columns=18, title=", ".join(strange) + " (six of each)"
)
plt.show()
board.claim(
    "Letters of half the size and blank paper are more likely than held-out glyphs: both ROC-AUC below 0.4.",
    alarm["half size"] < 0.4 and alarm["blank"] < 0.4,
)
board.claim(
    "With the packed size subtracted both are above 0.9.",
    repaired["half size"] > 0.9 and repaired["blank"] > 0.9,
)
board.claim(
    "For blurred letters it is the other way: the plain alarm is right, and the repair makes it worse.",
    alarm["blurred"] > 0.8 and repaired["blurred"] < alarm["blurred"] - 0.1,
)

# %% [markdown]
# <details><summary>Answer: why, and what the repairs do</summary>
#
# Higher. Half-size letters are mostly paper, and paper is what the model predicts best: all that it knows of *local*
# structure holds for them, and there are fewer edges to pay for. In bits: a picture's price is the sum of the prices
# of its patches, and a simple picture has cheap patches. That the whole is impossible as a glyph costs little beside
# it.
#
# (Prices in the figure are negative, since $p$ is a density. To store a number one has to round it, to steps of size
# $\Delta$, say. That adds $D\log_2(1/\Delta)$ bits, the same for every picture. So differences of prices mean what
# they say, and $-\log_2p$ may be set against a packer's bits up to that constant.)
#
# Write $\log p(x) = \log p_{\text{what any model of pictures knows}} + \log\text{(what is special to glyphs)}$. The
# first part is the same for all models, and dominates. Take it off, and the rest is a likelihood *ratio*. Ren and
# others (2019) train a second model on spoilt pictures for it, the *background*. Serrà and others (2019) let a packer
# be the background: the length of its code is minus the logarithm of a probability that knows nothing of glyphs. That
# is `packed_bits`.
# </details>
#
# When does the subtraction help? It lowers the score of a picture by what the packer needs for it. Small letters and
# blank paper need few bits, so their score falls less than that of glyphs, and they stand out. A blurred letter needs
# more bits than a sharp one, because it has more grey levels. Its score falls more, and the alarm that was right
# becomes worse. Mirrored letters and letters upside down need as many bits as glyphs (see the print): the packer has
# nothing to say about them, and the plain alarm finds few of them, too. A negative is found by both. No score of one
# picture is right for every alternative: a ratio needs an idea of what else there might be. (Lesson 02's alarm has its
# background built in: all the other digits.)
#
# ## 10 · How good is it?


# %% tags=["demo"]
# long: the rows of the board
def seconds(job, repeats=2):
    """The fastest of some runs."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        job().cpu()
        taken.append(time.perf_counter() - begin)
    return min(taken)


glow_time = seconds(lambda: draw_glow(asked, 0.7, 1)) / len(asked)


def drawn_clean(g):
    """TarFlow's pictures of the classes asked for, with the last step."""
    return denoised(lambda v: tar.log_prob(v, asked), tar.draw(asked, torch.Generator().manual_seed(1), g))


tar_time, led_time = (seconds(lambda g=g: drawn_clean(g), 1) / len(asked) for g in (0.0, 2.0))
on = {"data": "glyphs 16"}
glow_cost = {"parameters": size(glow), "train_seconds": glow_seconds, "sample_seconds": glow_time}
tar_cost = {"parameters": size(tar), "train_seconds": tar_seconds, "sample_seconds": tar_time}
led_cost = tar_cost | {"sample_seconds": led_time}
board.record(lesson, "Glow", **on, **glow_cost, **glow_marks[1.0])
board.record(lesson, "Glow, temperature 0.7", **on, **glow_cost, **glow_marks[0.7])
clean_cost = {"parameters": size(glow), "train_seconds": glow_seconds}
board.record(lesson, "Glow, temperature 0.7, denoised", **on, **clean_cost, **glow_marks[0.7, "denoised"])
board.record(lesson, "TarFlow", **on, **tar_cost, **plain)
board.record(lesson, "TarFlow, g = 1", **on, **led_cost, **pushed)
board.record(lesson, "TarFlow, g = 2", **on, **led_cost, **guided)
board.record(lesson, "TarFlow, g = 2, temperature 0.8", **on, **led_cost, **cooled)
costs = {"parameters": size(tar_8), "train_seconds": digit_seconds}
board.record(lesson, "TarFlow", data="digits 8x8", bits_per_dim=digit_bits, nats=alone, **costs)
row = {"bits_per_dim": digit_bits_given, "nats": given}
board.record(lesson, "TarFlow, class given", data="digits 8x8", **row, **costs)
display(board.table("glyphs 16"))
display(board.table("digits 8x8"))

# %% [markdown]
# The tables list the figures of all lessons, later ones, too; (≥) and (≤) are what the course asks of a row. Fréchet
# distance and KID say how far the drawn glyphs are from real ones, and are better when small. Precision is the share
# of drawn glyphs that lie among real ones, recall the share of real glyphs that lie among drawn ones.
#
# Mind what compares. TarFlow's rows are of denoised pictures, and their seconds hold that step; Glow's rows are as
# drawn, but for the one that says so. Nats of noisy glyphs stand in section 6 only, since no other lesson has them.
# The digits' bits are a bound for flows, which dequantise, and exact for lessons 03 and 04. And guidance has two
# scales: DDPM and flow matching write 1 for none and 2 for what is $g = 1$ here. So *DDPM, guidance 2* and *flow
# matching, guidance 2* belong beside *TarFlow, g = 1*. Even then TarFlow gets less of it, for its weight only rises to
# $g$ along the sequence.
#
# **Where it is used.** Spline flows give posteriors in physics and biology (sbi, zuko); continuous flows live on as
# flow matching; WaveGlow-like vocoders turned spectra into speech; FastFlow finds defects. TarFlow's successor
# STARFlow draws pictures from text in the codes of an autoencoder, with one deep block that does most of the work and
# a few shallow ones.
#
# ## 11 · In production
#
# $$\text{time of a density} = \text{blocks} \times t_\text{pass},\qquad \text{time of a sample} = \text{blocks} \times T \times t_\text{step},$$
#
# where a step is a pass of one patch that looks up the cache. Guidance doubles the batch. Glow has $T = 1$.


# %% tags=["demo"]
# long: one sample and many, with and without the cache
def without_cache(z, c):
    """As draw, but every patch passes the whole sequence again."""
    for block in reversed(tar.blocks):
        z, x = z.flip(1) if block.backwards else z, torch.zeros_like(z)
        for i in range(z.shape[1]):
            mu, alpha = block.mu_alpha(F.pad(x[:, :-1], (0, 0, 1, 0)), block.place, c)
            x[:, i] = z[:, i] * alpha[:, i].exp() + mu[:, i]
        z = x.flip(1) if block.backwards else x
    return z


z_many = torch.randn(len(asked), 16, 16, generator=torch.Generator().manual_seed(32)).to(device)
with torch.no_grad():
    times = {
        "density": seconds(lambda: tar.log_prob(to_picture(z_many), asked)),
        "sample": seconds(lambda: tar.flow.draw(z_many, asked)),
        "sample, no cache": seconds(lambda: without_cache(z_many, asked), 1),
        "Glow's sample": seconds(lambda: draw_glow(asked, 1.0, 1)),
    }
    one = seconds(lambda: tar.flow.draw(z_many[:1], asked[:1]))
    apart = (tar.flow.draw(z_many, asked) - without_cache(z_many, asked)).abs().max().item()
print(
    f"{len(asked)} pictures, ms:",
    {k: round(1e3 * v) for k, v in times.items()},
    f"one sample alone {1e3 * one:.0f} ms",
)
print(f"with and without the cache, pictures differ by at most {apart:.1e}")
board.claim(
    "Without the cache a batch of samples takes at least three times as long.",
    times["sample, no cache"] > 3 * times["sample"],
)
board.claim(
    "A picture alone costs more than twenty times its share of a batch.",
    one > 20 * times["sample"] / len(asked),
)

# %% [markdown]
# A picture alone waits for all its small steps, one after the other, in which the machine has little to do; a batch
# fills them. That is the trade of every autoregressive sampler.
#
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade comes
# from further tests of the same properties on other inputs. Numbers are float64 or float32, and a result is a tensor
# of the type of what went in; in float64 it agrees with the formula to nine digits or $10^{-9}$, whichever is more,
# in float32 to three digits or $10^{-3}$. What goes in stays as it is, and may lie in memory in any way.
#
# ### 1 · Repair: a step for recordings (medium, 25 minutes)
#
# WaveGlow (2018) is Glow for sound. Recordings $x$ (N, C, T) have different lengths: recording $n$ has `lengths[n]`
# valid places, at least 1, and what stands behind them is padding, any finite number. The function below starts an
# actnorm from this batch (mean and deviation of each channel over the *valid* places of all recordings), applies it
# and then the matrix $W$, as in sections 1 and 2. Padding must come out as 0, and a recording's log-det must count
# its own places, no others. It has **four** faults. Write the one that works.
#
# ```python
# def broken_step(x, lengths, W):
#     b, s = x.mean((0, 2)), x.std((0, 2), correction=0)
#     z = torch.einsum("ij,njt->nit", W, (x - b[:, None]) / s[:, None])
#     log_det = (torch.linalg.slogdet(W).logabsdet + s.log().sum()) * x.shape[2]
#     return z, log_det.expand(len(x)), b, s
# ```
#
# Every channel varies over the valid places. In float64, channels, of which there may be twenty, and rows of $W$ may
# be of very different size, $10^{-20}$ or $10^{20}$, and a channel's mean may be $10^5$ times its deviation.


# %% exercise="repair"
def mended_step(x, lengths, W):
    """z (N, C, T), log |det| (N,) in nats, and b, s (C,), deviations with the divisor of all valid places.

    x: (N, C, T); lengths: (N,) int64, 1 to T; W: (C, C), invertible.
    """
    ### BEGIN SOLUTION
    valid = torch.arange(x.shape[2]) < lengths[:, None]
    channels = x.transpose(1, 2)[valid]  # (places, C)
    b, s = channels.mean(0), channels.std(0, correction=0)
    z = W @ ((x - b[:, None]) / s[:, None])
    each = torch.linalg.slogdet(W).logabsdet - s.log().sum()
    return torch.where(valid[:, None], z, 0.0), each * lengths, b, s
    ### END SOLUTION


# %% test="repair" points=3
# long: two recordings by hand
x_own = torch.tensor(
    [[[1.0, 3.0, 99.0], [0.0, 4.0, -7.0]], [[5.0, 8.0, 8.0], [2.0, 0.0, 0.0]]], dtype=torch.float64
)
W_own = torch.tensor([[0.0, 2.0], [1.0, 0.0]], dtype=torch.float64)
z_own, log_det, b_own, s_own = mended_step(x_own, torch.tensor([2, 1]), W_own)
assert torch.allclose(b_own, torch.tensor([3.0, 2.0], dtype=torch.float64), rtol=1e-9), (
    "means of 1, 3, 5 and 0, 4, 2"
)
root = math.sqrt(8 / 3)
assert torch.allclose(s_own, torch.full((2,), root, dtype=torch.float64), rtol=1e-9), (
    "deviations of the three"
)
assert z_own.dtype == torch.float64 and z_own.shape == x_own.shape, "a tensor like x"
assert torch.allclose(z_own[0, :, 0], torch.tensor([-4 / root, -2 / root], dtype=torch.float64), rtol=1e-9), (
    "W z"
)
assert (z_own[0, :, 2] == 0).all() and (z_own[1, :, 1:] == 0).all(), "padding comes out as 0"
one_place = math.log(2) - 2 * math.log(root)
assert torch.allclose(log_det, one_place * torch.tensor([2.0, 1.0], dtype=torch.float64), rtol=1e-9), (
    "two places and one"
)

# %% [markdown]
# ### 2 · An invertible convolution with a larger kernel (hard, 35 minutes)
#
# A 1×1 convolution mixes channels, a larger kernel would mix pixels, too. On a picture whose edges are joined (left
# to right, top to bottom) it is
#
# $$z_{n,i,h,w} = \sum_{j,p,q} K_{i,j,p,q}\;x_{n,\,j,\,(h+p) \bmod H,\,(w+q) \bmod W} .$$
#
# The Jacobian has $(CHW)^2$ entries. But shifts in a ring have common eigenvectors, the Fourier waves: a wave goes
# in, and the same wave comes out, its channels multiplied by a $C \times C$ matrix of its own. So the determinant is
# a product of small ones, and the inverse solves small systems. Write both directions (`torch.fft.fft2`,
# `torch.linalg.slogdet`, `torch.linalg.solve`; think about the sign in the wave's exponent). Gradients pass through
# both results of the first function. The kernel has at most as many rows and columns as the picture; a test has 8
# channels of 32×32 pixels, for which there is no memory for the Jacobian. The kernels are far from singular, and may
# be of any size, $10^{-20}$ or $10^{20}$.


# %% exercise="ring-conv"
def ring_conv(x, K):
    """z (N, C, H, W), and log |det dz/dx| of one picture in nats, a 0-d tensor.

    x: (N, C, H, W); K: (C, C, a, b).
    """
    ### BEGIN SOLUTION
    waves = torch.fft.fft2(K, s=x.shape[2:]).conj()  # (C, C, H, W)
    z = torch.fft.ifft2(torch.einsum("ijhw,njhw->nihw", waves, torch.fft.fft2(x).to(waves.dtype))).real
    return z, torch.linalg.slogdet(waves.permute(2, 3, 0, 1)).logabsdet.sum()
    ### END SOLUTION


def ring_inverse(z, K):
    """x (N, C, H, W), for which ring_conv gives z."""
    ### BEGIN SOLUTION
    waves = torch.fft.fft2(K, s=z.shape[2:]).conj().permute(2, 3, 0, 1)  # (H, W, C, C)
    x = torch.linalg.solve(waves, torch.fft.fft2(z).permute(2, 3, 1, 0))  # (H, W, C, N)
    return torch.fft.ifft2(x.permute(3, 2, 0, 1)).real
    ### END SOLUTION


# %% test="ring-conv" points=4
K_own = torch.tensor([[[[2.0, 1.0, 0.5]]]], dtype=torch.float64)
x_own = torch.tensor([[[[1.0, 0.0, 0.0, 3.0]]]], dtype=torch.float64)
z_own, log_det = ring_conv(x_own, K_own)
assert z_own.dtype == torch.float64 and z_own.shape == x_own.shape and log_det.shape == (), (
    "(N, C, H, W), and a number"
)
assert torch.allclose(z_own, torch.tensor([[[[2.0, 1.5, 3.5, 7.0]]]], dtype=torch.float64), rtol=1e-9), (
    "place 0: 2 x_0 + x_1 + x_2 / 2; place 3: 2 x_3 + x_0 + x_1 / 2"
)
shifted = (
    torch.stack([2 * torch.eye(4), torch.eye(4).roll(1, 1), 0.5 * torch.eye(4).roll(2, 1)]).sum(0).double()
)
assert math.isclose(log_det, torch.linalg.slogdet(shifted).logabsdet, rel_tol=1e-9), "the 4 x 4 matrix's"
assert torch.allclose(ring_inverse(z_own, K_own), x_own, rtol=1e-9, atol=1e-9), "the way back"
K_swap = torch.zeros(2, 2, 1, 1, dtype=torch.float64)
K_swap[0, 1], K_swap[1, 0] = 3.0, 1.0
z_own, log_det = ring_conv(torch.arange(12.0).double().reshape(1, 2, 2, 3), K_swap)
assert math.isclose(log_det, 6 * math.log(3), rel_tol=1e-9) and z_own[0, 0, 0, 0] == 18.0, (
    "1 x 1: section 2, six pixels"
)

# %% [markdown]
# ### 3 · A spline on the circle (medium, 30 minutes)
#
# Angles (of a wind, a molecule's bond, a clock) live on a circle. A flow on them needs a map of the circle onto
# itself. Take section 4's rational-quadratic curve between $K$ knots: angle `at[k]` goes to `to[k]`, with slope
# `slope[k]`. The last bin goes from `at[-1]` on to the first knot, one turn later. Knots rise, and all of them lie
# within less than one turn, but they begin anywhere: `at` may be $(-3, -1, 2)$ and `to` $(5, 6, 11)$. Angles $x$ are
# any real numbers, of which whole turns do not count; what comes out lies in $[0, 2\pi)$, up to rounding. $K$ may be
# 1. A bin may be straight, or $3 \cdot 10^{-4}$ wide, and a slope $10^{-4}$ or $10^3$. Write both directions; gradients
# pass through both results, also by the knots and their slopes.


# %% exercise="circle"
def circle_spline(x, at, to, slope, back=False):
    """The angle y (N,) and log dy/dx (N,); back: x from y (given as x), and log dx/dy.

    x (N,); at, to, slope (K,), angles in radians, slopes above 0.
    """
    ### BEGIN SOLUTION
    turn = 2 * math.pi
    a, b, d = torch.cat([at, at[:1] + turn]), torch.cat([to, to[:1] + turn]), torch.cat([slope, slope[:1]])
    source = b if back else a
    u = torch.remainder(x - source[0], turn) + source[0]
    k = (u[:, None] >= source[1:-1]).sum(1)
    wide, high, left, right = a.diff()[k], b.diff()[k], d[k], d[k + 1]
    mean = high / wide
    more = left + right - 2 * mean
    if back:
        up = u - b[k]
        A, B, C = high * (mean - left) + up * more, high * left - up * more, -mean * up
        p = 2 * C / (-B - (B**2 - 4 * A * C).sqrt())
    else:
        p = (u - a[k]) / wide
    pr, below = p * (1 - p), mean + more * p * (1 - p)
    log_rise = (right * p**2 + 2 * mean * pr + left * (1 - p) ** 2).log() + 2 * (mean / below).log()
    angle = a[k] + wide * p if back else b[k] + high * (mean * p**2 + left * pr) / below
    return torch.remainder(angle, turn), -log_rise if back else log_rise
    ### END SOLUTION


# %% test="circle" points=4
turn = 2 * math.pi
at_own, to_own, slope_own = (
    torch.tensor(v, dtype=torch.float64) for v in ([-3.0, -1.0, 2.0], [5.0, 6.0, 11.0], [0.5, 2.0, 1.0])
)
y_own, log_slope = circle_spline(at_own + turn, at_own, to_own, slope_own)
assert y_own.dtype == torch.float64 and ((y_own >= 0) & (y_own < turn)).all(), "angles of one turn"
assert torch.allclose(y_own, torch.tensor([5.0, 6.0, 11.0 - turn], dtype=torch.float64), rtol=1e-9), (
    "knots go to knots"
)
assert torch.allclose(log_slope, slope_own.log(), rtol=1e-9, atol=1e-9), "with their slopes"
dense = torch.linspace(0, turn, 100_001, dtype=torch.float64)
area = torch.trapezoid(circle_spline(dense, at_own, to_own, slope_own)[1].exp(), dense)
assert abs(area - turn) < 1e-6, "the curve goes round once: the mean slope is 1"
x_own = torch.tensor([0.1, 3.0, 4.0, 6.2], dtype=torch.float64)
y_own, log_slope = circle_spline(x_own, at_own, to_own, slope_own)
x_back, log_back = circle_spline(y_own, at_own, to_own, slope_own, back=True)
assert torch.allclose(x_back, x_own, rtol=1e-9) and torch.allclose(log_back, -log_slope, atol=1e-9), (
    "the way back"
)

# %% [markdown]
# ### 4 · A log-det by roulette (medium, 30 minutes)
#
# Residual flows (Chen and others 2019) take $z = x + f(x)$ with any network $f$ whose Jacobian $J$ has a norm below
# 1. Then the map is invertible, and
#
# $$\log|\det(I + J)| = \sum_{k=1}^\infty \frac{(-1)^{k+1}}{k}\operatorname{tr}J^k .$$
#
# (The logarithm's series, for each eigenvalue.) Hutchinson's probe makes of each trace one number, $v^\top J^k v$.
# But the series has no end, and cutting it is a bias. *Russian roulette* draws at random how
# many terms a probe computes, at least one; a term that was reached is divided by the probability of getting so far,
# `alive[k - 1]` $= P(\text{at least } k \text{ terms})$. Its mean
# is then the whole series. Return, for each row, the mean over the probes of
#
# $$\sum_{k=1}^{\text{terms}_m}\frac{(-1)^{k+1}}{k\;\text{alive}_{k-1}}\;v_m^\top J^k\,v_m .$$
#
# The cost must grow with the number of terms, not with its square: one product of vector and Jacobian for a term. `f`
# is any function that autograd can differentiate, and row $i$ of $f(x)$
# depends on row $i$ of $x$ alone. A test has 9,000 numbers a row, for which there is no memory for a Jacobian. Nobody
# asks for a gradient of the result: it has none, and those of `f`'s parameters stay as they were.


# %% exercise="roulette"
def roulette_log_det(f, x, probes, terms, alive):
    """The estimate (B,): x (B, D), probes (n, B, D), terms (n,) int64, from 1 to K, alive (K,)."""
    ### BEGIN SOLUTION
    u = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        out = f(u)
    total = torch.zeros_like(x[:, 0])
    for v, count in zip(probes, terms.tolist(), strict=True):
        w = v
        for k in range(1, count + 1):
            w = torch.autograd.grad(out, u, w, retain_graph=True)[0]
            total = total - (-1) ** k * (w * v).sum(1) / (k * alive[k - 1])
    return total / len(probes)
    ### END SOLUTION


# %% test="roulette" points=3
A = torch.tensor([[0.3, 0.5], [-0.2, 0.4]], dtype=torch.float64)
x_own = torch.tensor([[1.0, -2.0], [0.5, 0.1], [0.0, 3.0]], dtype=torch.float64)
basis = math.sqrt(2) * torch.eye(2, dtype=torch.float64)[:, None].expand(2, 3, 2)  # exact traces
sure = torch.ones(90, dtype=torch.float64)
got = roulette_log_det(lambda x: x @ A.T, x_own, basis, torch.tensor([90, 90]), sure)
assert got.dtype == torch.float64 and got.shape == (3,) and not got.requires_grad, "a number for each row"
wanted = torch.linalg.slogdet(torch.eye(2).double() + A).logabsdet
assert torch.allclose(got, wanted.expand(3), rtol=1e-9), "90 terms, none of them by chance: the log-det"
alive_own = torch.tensor([1.0, 0.5], dtype=torch.float64)
got = roulette_log_det(lambda x: 0.1 * x**2, x_own, basis, torch.tensor([2, 1]), alive_own)
first = 0.2 * x_own
wanted = first.sum(1) - first[:, 0] ** 2 / (2 * 0.5)
assert torch.allclose(got, wanted, rtol=1e-9), (
    "the first probe has a second term, reached half of the time; each row its J"
)

# %% [markdown]
# ### 5 · Build a TarFlow for sequences (hard, 50 minutes)
#
# A transformer's cache grows. A *recurrent* cell carries a state of fixed size instead, and so can be a block of a
# flow over sequences of any length (N, T, D), at the same cost for density and for
# sample. `cell(state, before)` takes the state (`None` at the beginning) and the step before (N, D), which is 0 for
# the first; it returns $\mu$, $\alpha$, both (N, D), and the new state. A block is one cell:
#
# $$z_t = (x_t - \mu_t)\,e^{-\alpha_t},\qquad (\mu_t, \alpha_t, \text{state}) = \texttt{cell}(\text{state}, x_{t-1}),\qquad x_0 = 0 .$$
#
# A flow is a list of cells (an empty one changes nothing): the first one works on $x$ from the beginning to the end, the second on what the first
# made of it, *from the end to the beginning*, the third as the first, and so on.
# Columns of $z$ stand where those of $x$ stood. Write four functions:
#
# - **forward**: $z$, and the log-det of each sequence;
# - **draw**: from noise to sequences, the last cell first. Each cell is called $T$ times, no more, in either
#   direction;
# - **the loss**: minus nats *a number* (divided by $T D$), the mean over sequences of $x + \sigma\varepsilon$; all
#   noise by one draw from the generator, of the shape and type of $x$;
# - **cleaning**: $\mathbb E[x \mid y]$ of noisy sequences, by the flow's own score. It leaves gradients of parameters
#   alone, and has none itself.
#
# The hidden tests compare with the formulas for cells of their own, and with laws that are known exactly (a normal
# chain), and train a small cell with your loss. With cells $\mu = a\,x_{t-1}$, $\alpha = \log s$ the
# flow *is* the normal chain $x_t = a\,x_{t-1} + s\,\varepsilon_t$. To see one learn, run in a cell of your own:
#
# ```python
# g, x = torch.Generator().manual_seed(0), torch.zeros(2_000, 12, 1)
# for t in range(12):  # a chain that flips its sign now and then: two humps
#     flip = 1 - 2 * (torch.rand(2_000, 1, generator=g) < 0.2).float()
#     x[:, t] = flip * (x[:, t - 1] if t else 1) + 0.1 * torch.randn(2_000, 1, generator=g)
# class Cell(nn.Module):
#     def __init__(self):
#         super().__init__()
#         self.gru, self.out = nn.GRUCell(1, 24), nn.Linear(24, 2)
#     def forward(self, state, before):
#         state = self.gru(before, state)
#         mu, alpha = self.out(state).chunk(2, dim=1)
#         return mu, alpha.clamp(-3, 3), state
# for count in (1, 2):  # what does the second cell add?
#     torch.manual_seed(1); cells = nn.ModuleList(Cell() for _ in range(count))
#     adam = torch.optim.Adam(cells.parameters(), 1e-2)
#     for n in range(300):
#         loss = sequence_loss(cells, x[torch.randint(2_000, (128,), generator=g)], 0.05, g)
#         adam.zero_grad(); loss.backward(); adam.step()
#     print(count, loss.item())
# with torch.no_grad(): made = sequence_draw(cells, torch.randn(8, 12, 1))
# plt.plot(made[:, :, 0].T); plt.show()
# ```


# %% exercise="sequences"
# long: four functions of one machine
def sequence_forward(cells, x):
    """z (N, T, D), log |det dz/dx| in nats (N,); with gradients."""
    ### BEGIN SOLUTION
    log_det = torch.zeros_like(x[:, 0, 0])
    for n, cell in enumerate(cells):
        x = x.flip(1) if n % 2 else x
        state, before, z = None, torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            mu, alpha, state = cell(state, before)
            before = x[:, t]
            z.append((before - mu) * (-alpha).exp())
            log_det = log_det - alpha.sum(1)
        x = torch.stack(z, dim=1)
        x = x.flip(1) if n % 2 else x
    return x, log_det
    ### END SOLUTION


def sequence_draw(cells, z):
    """x (N, T, D), so that sequence_forward(cells, x) gives z again."""
    ### BEGIN SOLUTION
    for n, cell in reversed(list(enumerate(cells))):
        z = z.flip(1) if n % 2 else z
        state, before, x = None, torch.zeros_like(z[:, 0]), []
        for t in range(z.shape[1]):
            mu, alpha, state = cell(state, before)
            before = z[:, t] * alpha.exp() + mu
            x.append(before)
        z = torch.stack(x, dim=1)
        z = z.flip(1) if n % 2 else z
    return z
    ### END SOLUTION


def sequence_loss(cells, x, sigma, generator):
    """Minus nats a number of x + sigma eps: a 0-d tensor with a gradient."""
    ### BEGIN SOLUTION
    y = x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    z, log_det = sequence_forward(cells, y)
    return -(log_normal(z) + log_det).mean() / (x.shape[1] * x.shape[2])
    ### END SOLUTION


def sequence_clean(cells, y, sigma):
    """E[x | y] (N, T, D), for y = x + sigma eps whose law is the flow's."""
    ### BEGIN SOLUTION
    u = y.detach().clone().requires_grad_()
    with torch.enable_grad():
        z, log_det = sequence_forward(cells, u)
        score = torch.autograd.grad((log_normal(z) + log_det).sum(), u)[0]
    return y.detach() + sigma**2 * score
    ### END SOLUTION


# %% test="sequences" points=6
# long: four functions to look at
def doubling(state, before):
    """mu is twice the step before; alpha is log 2 times the number of steps so far. One number a step."""
    steps = 0.0 if state is None else state + 1.0
    return 2 * before, torch.full_like(before, steps * math.log(2)), steps


x_own = torch.tensor([[[1.0], [3.0], [2.0]]], dtype=torch.float64)
z_own, log_det = sequence_forward([doubling], x_own)
assert torch.allclose(z_own[0, :, 0], torch.tensor([1.0, 0.5, -1.0], dtype=torch.float64), rtol=1e-9), (
    "(1 - 0) / 1, (3 - 2) / 2, (2 - 6) / 4"
)
assert torch.allclose(log_det, torch.tensor([-3 * math.log(2)], dtype=torch.float64), rtol=1e-9), (
    "0 + 1 + 2 times"
)
z_two, log_det = sequence_forward([doubling, doubling], x_own)
assert torch.allclose(z_two[0, :, 0], torch.tensor([0.0, 1.25, -1.0], dtype=torch.float64), rtol=1e-9), (
    "the second cell begins at the end: -1, then (0.5 + 2) / 2, then (1 - 1) / 4"
)
assert torch.allclose(sequence_draw([doubling, doubling], z_two), x_own, rtol=1e-9), (
    "the last cell is undone first"
)
plain = lambda state, before: (0 * before, 0 * before + math.log(0.5), None)  # noqa: E731
value = sequence_loss([plain], 0 * x_own, 0.0, torch.Generator().manual_seed(0))
assert value.shape == () and math.isclose(value, 0.5 * math.log(2 * math.pi) + math.log(0.5), rel_tol=1e-9), (
    "N(0, 1/4) at its peak, a number"
)
cleaned = sequence_clean([plain], x_own, 0.3)
assert torch.allclose(cleaned, x_own * (1 - 0.09 / 0.25), rtol=1e-9) and not cleaned.requires_grad, (
    "noisy numbers of variance 0.25, of which 0.09 is noise"
)

# %% [markdown]
# ## Further reading
#
# - D. P. Kingma, P. Dhariwal. *Glow: Generative flow with invertible 1x1 convolutions.* 2018, arXiv:1807.03039.
# - W. Grathwohl, R. T. Q. Chen, J. Bettencourt, I. Sutskever, D. Duvenaud. *FFJORD: Free-form continuous dynamics for
#   scalable reversible generative models.* 2018, arXiv:1810.01367.
# - C. Durkan, A. Bekasov, I. Murray, G. Papamakarios. *Neural spline flows.* 2019, arXiv:1906.04032.
# - S. Zhai and others. *Normalizing flows are capable generative models.* 2024, arXiv:2412.06329. TarFlow.
# - J. Gu and others. *STARFlow: Scaling latent normalizing flows for high-resolution image synthesis.* 2025,
#   arXiv:2506.06276.
# - E. Nalisnick, A. Matsukawa, Y. W. Teh, D. Gorur, B. Lakshminarayanan. *Do deep generative models know what they
#   don't know?* 2018, arXiv:1810.09136.
# - J. Ren and others. *Likelihood ratios for out-of-distribution detection.* 2019, arXiv:1906.02845.
# - J. Serrà and others. *Input complexity and out-of-distribution detection with likelihood-based generative models.*
#   2019, arXiv:1909.11480. The packed size.
# - R. Prenger, R. Valle, B. Catanzaro. *WaveGlow: A flow-based generative network for speech synthesis.* 2018,
#   arXiv:1811.00002.
# - R. T. Q. Chen, J. Behrmann, D. Duvenaud, J.-H. Jacobsen. *Residual flows for invertible generative modeling.*
#   2019, arXiv:1906.02735. The roulette of exercise 4.
# - E. Hoogeboom, R. van den Berg, M. Welling. *Emerging convolutions for generative normalizing flows.* 2019,
#   arXiv:1901.11137. Exercise 2.
# - D. J. Rezende and others. *Normalizing flows on tori and spheres.* 2020, arXiv:2002.02428. Exercise 3.

# %% tags=["demo"]
selfcheck.run("09_glow")
