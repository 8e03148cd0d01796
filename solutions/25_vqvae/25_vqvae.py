# %% [markdown]
# # 25 · VQ-VAE and residual quantisation
#
# > **Learn a small alphabet in which pictures can be spelled. Then anything that writes text can draw.**
#
# | | |
# |---|---|
# | You will build | the best rounding of a number, with its known error; a gradient that passes through rounding; a code book that follows its data and revives its dead; a VQ-VAE that spells a glyph in 16 symbols of 64; residual and finite scalar quantisation, all three on one plot; a transformer that writes new spellings |
# | You need to know | lesson 10 (an encoder, a decoder, a prior), lesson 06 (a causal transformer, cross-entropy as a code length); entropy; a convolution |
# | Time on two CPU cores | four to five minutes to run, four hours to read and to solve; no GPU needed |
# | On a GPU | the `full` setting: 512 codes, wider networks, a deeper prior |

# %%
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
from genmap.controls import interact

# %%
device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait

# %%
S = genmap.settings(
    # smoke, quick, full
    line=(2_000, 20_000, 100_000),
    stream=(20, 300, 1_000),
    pictures=(3, 40, 40),
    C=(8, 24, 96),
    D=(4, 8, 16),
    K=(16, 64, 512),
    batch=(8, 48, 128),
    updates=(4, 1_000, 8_000),
    rate=(3e-3, 3e-3, 1e-3),
    narrow=(8, 16, 64),
    few=(2, 550, 2_000),
    few_batch=(8, 32, 128),
    sizes=((4, 16), (4, 64, 1024), (4, 16, 64, 256, 1024, 4096)),
    levels=(
        ((4,), (4, 4)),
        ((4,), (4, 4, 4), (8, 5, 5, 5)),
        ((4,), (4, 4), (4, 4, 4), (8, 6, 5), (8, 5, 5, 5), (7, 5, 5, 5, 5)),
    ),
    stages=(2, 5, 6),
    width=(32, 128, 256),
    depth=(1, 3, 6),
    prior_batch=(8, 48, 256),
    prior_updates=(3, 800, 4_000),
    muon=(0.02, 0.02, 0.02),
    each=(4, 40, 60),
)
torch.manual_seed(25)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("tokens")
plt.show()

# %% [markdown]
# ## The compromise
#
# Text comes in symbols, and lesson 06 showed how well a transformer predicts the next one. Pictures and sound
# do not: a glyph is 256 numbers, a second of music tens of thousands. This family first learns a *tokenizer*:
# an encoder that spells a picture in a few symbols of a fixed alphabet, and a decoder that draws from the
# spelling. Then it models the symbols. It gives up exactness: what the spelling leaves out, no later model
# can bring back. It gets short sequences, and with them every tool that was made for text.
#
# | question | answer |
# |---|---|
# | What is modelled? | a short sequence of code numbers; the picture is decoded from it in one pass |
# | Is the density explicit? | exact over codes; none over pixels, for a spelling gives one picture and no spread around it |
# | Is sampling one-shot or iterative? | serial: one network call for each code, then one of the decoder |
# | What conditions it? | whatever can stand before or beside the codes: here a class, in lesson 26 a caption |
# | How is it evaluated, and how does that fail? | error at a *rate* in bits, use of the codes, then samples; errors compare only at equal rates, and a low error says nothing about how predictable the codes are |
#
# Networks with discrete latents are older. Van den Oord, Vinyals and Kavukcuoglu (2017) trained the one that
# the others follow, the *VQ-VAE*: its encoder does not collapse onto its prior as a VAE's may. Razavi, van den Oord and
# Vinyals (2019) drew photographs with it; VQGAN (2020) and DALL-E (2021) put transformers on top. SoundStream
# (Zeghidour and others, 2021) quantised sound in several rounds, each rounding what the last one left.
# Mentzer and others (2023) threw the code book away and rounded.
#
# ## 1 · Rounding, where the best is known
#
# A *quantiser* has a *code book* of $K$ vectors $e_1, \dots, e_K$, the *codes*. It replaces a vector $z$ by
# the nearest of them, and needs to send only its number:
#
# $$k(z) = \arg\min_k \lVert z - e_k \rVert^2 = \arg\max_k\ \big( z \cdot e_k - \tfrac12 \lVert e_k \rVert^2 \big), \qquad q(z) = e_{k(z)} .$$
#
# The second form drops $\lVert z \rVert^2$, which is the same for every code. What is left is one matrix
# product for all $z$ and all codes. The *rate* is $R = \log_2 K$ bits, if every number costs the same. The
# *distortion* $D$ is the mean squared error.


# %%
def nearest(z, codes):
    """The number of the nearest code, the lower of two at equal distance: (N, D), (K, D) -> (N,) int64."""
    return torch.addmm(codes.square().sum(dim=1), z, codes.T, beta=-0.5).argmax(dim=1)  # (N, K) -> (N,)


def lloyd(z, codes, rounds):
    """Codes (K, D) after so many rounds: each moves to the mean of the z (N, D) that are nearest to it.

    A code that no z is nearest to stays. Source: Lloyd 1957 (published 1982);
    the same rounds are called k-means.
    """
    for _ in range(rounds):
        k = nearest(z, codes)
        count = torch.zeros(len(codes), 1).to(z).index_add_(0, k, torch.ones_like(z[:, :1]))
        total = torch.zeros_like(codes).index_add_(0, k, z)
        codes = torch.where(count > 0, total / count.clamp(min=1), codes)
    return codes


# %% [markdown]
# Each round lowers the error or leaves it: moving a code to the mean of its cell is the best for the cell,
# and going to the nearest code is the best for each $z$. For the simplest data the best is known. Uniform on
# $[0, 1]$: $K$ equal cells, $D = 1/(12 K^2)$. Normal: Max (1960) tabulated the best errors for
# $K = 2, 4, 8$: 0.3634, 0.1175 and 0.03454. And no quantiser of any kind, however long the blocks it rounds
# at once, gets a standard normal number below Shannon's bound $D(R) = 2^{-2R}$.

# %% tags=["demo"]
g = torch.Generator().manual_seed(1)
evenly = (torch.arange(S.line, dtype=torch.float64) + 0.5) / S.line
numbers = {"uniform": evenly[:, None], "normal": torch.special.ndtri(evenly)[:, None]}  # evenly likely values
known = {"uniform": lambda K: 1 / (12 * K**2), "normal": {2: 0.3634, 4: 0.1175, 8: 0.03454}.get}
scalar_error = {}
for name, z in numbers.items():
    for K in (2, 4, 8):
        quantile = ((torch.arange(K) + 0.5) / K * S.line).long()
        codes = lloyd(z, z[quantile], 40 * K)
        scalar_error[name, K] = (z - codes[nearest(z, codes)]).square().mean().item()
        print(
            f"{name:7} K = {K}: error {scalar_error[name, K]:.5f}, best {known[name](K):.5f}"
            + f", Shannon's bound {K**-2.0:.5f}" * (name == "normal")
        )

# %% [markdown]
# Why quantise *vectors*? Because cells in the plane can have better shapes than squares, and codes can sit
# where the data are. Two normal numbers, two bits for each: a grid of 4 × 4 against 16 codes placed by
# Lloyd's rounds in the plane.

# %% tags=["demo"]
z = torch.randn(S.line, 2, generator=g)
line = lloyd(numbers["normal"], numbers["normal"][((torch.arange(4) + 0.5) / 4 * S.line).long()], 160)
grid = torch.cartesian_prod(line[:, 0], line[:, 0]).float()
plane = lloyd(z, z[:16], 60)

# %% tags=["demo"]
# long: one figure of three panels
fig, axes = plot.figure(1, 3, height=2.9)
for ax, (name, codes) in zip(axes, {"4 × 4 grid": grid, "16 vectors": plane}.items(), strict=False):
    D = (z - codes[nearest(z, codes)]).square().mean()
    some = z[:3_000]
    ax.scatter(*some.T, s=3, c=nearest(some, codes), cmap="tab20", alpha=0.6)
    ax.plot(*codes.T, "o", color=plot.INK, ms=4)
    ax.set(title=f"{name}: D = {D:.4f}", xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="$z_1$")
axes[0].set_ylabel("$z_2$")
bits = np.array([1, 2, 3])
axes[2].plot(
    bits,
    [scalar_error["normal", K] for K in (2, 4, 8)],
    "-o",
    color=plot.COLOURS.blue,
    label="Lloyd, one number",
)
axes[2].plot(bits, 2.0 ** (-2 * bits), "--", color=plot.INK, lw=1.5, label="$2^{-2R}$")
axes[2].set(yscale="log", xlabel="bits for a number", title="Distortion", xticks=bits, ylim=(0.012, 0.9))
axes[2].set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
axes[2].minorticks_off()
axes[2].legend(loc="upper right")
plt.show()

# %% [markdown]
# The 16 vectors win a few per cent, and would win more in more dimensions. Every further bit divides the
# bound by 4. It divides Lloyd's error by a little more than 3 here, and by nearly 4 when there are many bits.
#
# Codes that are never used are bits thrown away. So we count. With $p_k$ the share of vectors whose nearest
# code is $k$, the *entropy* is $H = -\sum_k p_k \log p_k$, and the *perplexity* is $e^H$: the number of
# equally used codes that would have the same entropy. It is at most $K$, and 1 if one code serves all. A good
# book need not reach $K$: a cell in the thin outskirts of the data is chosen less often.


# %%
def perplexity(k, K):
    """exp of the entropy of the code numbers k (any shape), each from 0 to K - 1: a float from 1 to K."""
    count = torch.bincount(k.flatten(), minlength=K).float()
    return torch.special.entr(count / count.sum()).sum().exp().item()


print(
    f"all of 8 alike: {perplexity(torch.arange(8), 8):.2f}; "
    f"one of 8: {perplexity(torch.zeros(5).long(), 8):.2f}"
)

# %% tags=["demo"]
print(
    f"the 16 vectors: {perplexity(nearest(z, plane), 16):.2f}; "
    f"the grid: {perplexity(nearest(z, grid), 16):.2f}"
)

# %% [markdown]
# ## 2 · A gradient through rounding
#
# The encoder should learn from the decoder's error. Between them stands $q(z)$, a staircase: its derivative
# is 0 almost everywhere, and does not exist at the steps. The *straight-through estimator* (Bengio, Léonard
# and Courville, 2013) lies: forwards it rounds, backwards it pretends that it did not.
#
# $$\tilde q(z) = z + \operatorname{sg}\big[q(z) - z\big], \qquad \frac{\partial \tilde q}{\partial z} = I .$$
#
# $\operatorname{sg}$ is *stop gradient*: its argument is a constant for the backward pass (`detach`). The
# value is $q(z)$; the gradient is that of $z$.


# %%
def straight_through(z, q):
    """q forwards; backwards the gradient goes to z as if it were q. Of one shape."""
    return z + (q - z).detach()


# %% [markdown]
# What does the lie do? One number $z$, codes 0, 1, 2, 3, and a loss that wants $q$ to be $c$: $(q - c)^2$.
# Its true gradient by $z$ is 0. The straight-through gradient is $2(q - c)$. If $c = 1.3$ it moves $z$
# towards the right cell, and then, because no code is exactly $c$, to the cell's edge, where it flutters
# between two codes. If $c = 5$ the nearest thing to be had is $q = 3$. But the gradient there is $2(3 - 5)$,
# and it stays that for ever: $z$ runs off to infinity.
#
# Hence the second term of a VQ-VAE's loss, the *commitment* to the code that was chosen:
# $\beta \lVert z - \operatorname{sg}[q] \rVert^2$. Now there is a place where both pulls cancel (if it lies
# in the cell of $q$; else $z$ flutters at the edge as before), $2(q - c) + 2 \beta (z - q) = 0$, at
#
# $$z^* = q + \frac{c - q}{\beta} \quad (= 3 + 2/\beta \text{ here}).$$


# %%
steps_of_one = torch.arange(4.0)[:, None]


def walk(c, beta, start=1.8, rate=0.05, steps=200):
    """The path of z, a list, downhill by straight-through gradients of (q - c)^2 + beta (z - sg q)^2."""
    z, path = torch.full((1, 1), start), []
    for _ in range(steps):
        z.requires_grad_()
        q = steps_of_one[nearest(z.detach(), steps_of_one)]
        loss = (straight_through(z, q) - c).square() + beta * (z - q).square()
        (slope,) = torch.autograd.grad(loss.sum(), z)
        z = z.detach() - rate * slope
        path.append(z.item())
    return path


for beta in (0.5, 1.0, 2.0):
    print(f"c = 5, beta {beta}: z ends at {walk(5.0, beta)[-1]:.4f}; in closed form {3 + 2 / beta:.4f}")
print(f"c = 5, beta 0: z ends at {walk(5.0, 0.0)[-1]:.1f} and goes on")

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.0)
at = torch.linspace(-0.7, 3.9, 600)
q = steps_of_one[nearest(at[:, None], steps_of_one)][:, 0]
axes[0].plot(at, (q - 1.3).square(), color=plot.COLOURS.blue, label="loss $(q - 1.3)^2$")
axes[0].plot(at, 2 * (q - 1.3), color=plot.COLOURS.vermilion, lw=1.5, label="straight-through gradient")
axes[0].axhline(0, color=plot.INK, lw=0.8)
axes[0].set(title="A staircase, and the lie about its slope", xlabel="$z$")
axes[0].legend(loc="upper left")
for (c, beta), colour in zip(((1.3, 0.0), (5.0, 0.0), (5.0, 0.5), (5.0, 1.0)), plot.COLOURS, strict=False):
    axes[1].plot(walk(c, beta), color=colour, lw=1.8, label=rf"$c = {c:g}$, $\beta = {beta:g}$")
axes[1].set(title="Where $z$ goes", xlabel="step", ylabel="$z$", ylim=(0, 15))
axes[1].legend(loc="upper right")
plt.show()

# %% [markdown]
# In a VQ-VAE the codes also move. With the paper's loss they follow by a gradient, that of
# $\lVert \operatorname{sg}[z] - e_k \rVert^2$. The next section has a way that needs no learning rate.
#
# ## 3 · A code book that follows its data
#
# Lloyd's rounds need all $z$ at once, and here $z$ changes with the encoder. So keep running averages. Let
# $n_k$ be the average number of vectors that choose code $k$ in a batch, and $m_k$ the average of their sum.
# With the batch's own numbers $\hat n_k$, $\hat m_k$ and a memory $\gamma$ just below 1:
#
# $$n_k \leftarrow \gamma\, n_k + (1 - \gamma)\, \hat n_k, \qquad m_k \leftarrow \gamma\, m_k + (1 - \gamma)\, \hat m_k, \qquad e_k = \frac{m_k}{n_k} .$$
#
# It is Lloyd's step with a fading memory (the paper's appendix A.1). A code that nobody chooses has
# $n_k \to 0$, so the division uses a smoothed count (*Laplace smoothing*): with $N = \sum_k n_k$ it is
# $(n_k + \epsilon)\, N / (N + K\epsilon)$.
#
# Two habits keep all codes alive. **Start from data**: a code that begins far from all $z$ is never chosen,
# so never moves, so is never chosen. **Revive**: a code chosen much less often than its share,
# $n_k < f N / K$ with, say, $f = 0.1$, jumps to a vector of the present batch.


# %%
# long: one class: what is counted, what is revived and what is rounded share their state
class Codebook(nn.Module):
    """K codes of D numbers that follow, by moving averages, the vectors that choose them.

    decay: gamma, their memory;
    floor: f, the share of the mean use below which a code is revived, 0 for never;
    start: from K vectors of the first batch, else normal random numbers.
    """

    def __init__(self, K, D, decay=0.97, floor=0.1, start=True, eps=1e-5):
        super().__init__()
        self.K, self.decay, self.floor, self.waits, self.eps = K, decay, floor, start, eps
        self.register_buffer("codes", torch.randn(K, D))
        self.register_buffer("n", torch.ones(K))
        self.register_buffer("m", self.codes.clone())

    def look_up(self, z):
        """(N, D) -> the nearest codes (N, D) and their numbers (N,); in training the codes then follow."""
        z = z.detach()
        if self.training and self.waits:
            self.begin(z)
        k = nearest(z, self.codes)
        q = self.codes[k]
        if self.training:
            self.follow(z, k)
        return q, k

    def forward(self, z):
        """(N, D) -> q with a gradient to z (N, D), numbers (N, 1), the commitment |z - q|^2, a mean."""
        q, k = self.look_up(z)
        return straight_through(z, q), k[:, None], F.mse_loss(z, q)

    @torch.no_grad()
    def begin(self, z):
        """Codes at random vectors of z, then ten of Lloyd's rounds;
        each counts as used as often as the others.
        """
        self.codes.copy_(lloyd(z, z[torch.randint(len(z), (self.K,), device=z.device)], 10))
        self.n.fill_(len(z) / self.K)
        self.m.copy_(self.codes * self.n[:, None])
        self.waits = False

    @torch.no_grad()
    def follow(self, z, k):
        """One step of the moving averages; then revive what is dead."""
        self.n.lerp_(torch.zeros_like(self.n).index_add_(0, k, torch.ones_like(z[:, 0])), 1 - self.decay)
        self.m.lerp_(torch.zeros_like(self.m).index_add_(0, k, z), 1 - self.decay)
        N = self.n.sum()
        smooth = (self.n + self.eps) * N / (N + self.K * self.eps)
        self.codes.copy_(self.m / smooth[:, None])
        if self.floor > 0:
            self.revive(z, self.floor * N / self.K)

    def revive(self, z, least):
        """Codes used less than `least` jump to random vectors of z, and count as used so much."""
        found = z[torch.randint(len(z), (self.K,), device=z.device)]  # one for each: no wait for the device
        dead = self.n < least
        self.n.copy_(torch.where(dead, least, self.n))
        self.codes.copy_(torch.where(dead[:, None], found, self.codes))
        self.m.copy_(torch.where(dead[:, None], found * least, self.m))


# %% [markdown]
# In the plane we can watch. A stream of batches of 100 points, 16 codes, twice: from a bad start, in a far
# corner, without revival; and from data, with it. The last picture is Lloyd on thousands of points at once,
# for comparison.

# %% tags=["demo"]
points = torch.as_tensor(data.toy("pinwheel", 20_000, seed=1), device=device)
torch.manual_seed(3)
bad, good = Codebook(16, 2, floor=0, start=False).to(device), Codebook(16, 2).to(device)
bad.codes.mul_(0.3).add_(3)
bad.m.copy_(bad.codes)
for _ in range(S.stream):
    batch = points[torch.randint(len(points), (100,), device=device)]
    bad.look_up(batch)
    good.look_up(batch)
rows = {"Bad start": bad.codes, "Data, revival": good.codes, "Lloyd": lloyd(points, points[:16], 50)}

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=3.6)
for ax, (name, codes), colour in zip(axes, rows.items(), plot.COLOURS, strict=False):
    k = nearest(points, codes)
    error = (points - codes[k]).square().mean()
    ax.scatter(*points[:2_000].cpu().T, s=2, color="#9CA3AF")
    ax.plot(*codes.cpu().T, "o", color=colour, ms=6)
    ax.set(
        title=f"{name}: D = {error:.3f}", xlabel=f"perplexity {perplexity(k, 16):.1f} of 16", aspect="equal"
    )
    ax.set(xlim=(-3.3, 4), ylim=(-3.3, 4), xticks=[], yticks=[])
plt.show()

# %% [markdown]
# From the bad start a few codes caught the whole crowd and moved into it; the others wait in the corner for
# ever. The stream with both habits comes close to Lloyd, which saw everything at once.

# %% [markdown]
# ## 4 · A VQ-VAE for glyphs
#
# The encoder turns a picture of 16 × 16 pixels into 4 × 4 places with $D$ numbers each. Every place is
# rounded to one of $K$ codes: a picture becomes 16 symbols. The decoder draws from the 16 codes. The loss is
#
# $$L = \frac{\lVert x - \hat x \rVert^2}{\operatorname{Var} x} + \beta\, \lVert z - \operatorname{sg}[q(z)] \rVert^2, \qquad \beta = \tfrac14,$$
#
# both as means over their numbers. The first term, divided by the variance of all pixels, is 1 for a decoder
# that always draws the mean grey, and 0 for a perfect one.

# %%
glyphs = data.glyphs(16, each=S.pictures)  # training pictures of each character in each style
CLASSES = len(data.CAPITALS_AND_DIGITS)  # 36
x_train, x_test = (torch.as_tensor(part.x, device=device) for part in (glyphs.train, glyphs.test))
y_train, y_test = (torch.as_tensor(part.y, device=device) for part in (glyphs.train, glyphs.test))
VARIANCE = x_train.var().item()
print(f"{len(x_train):,} pictures for training; ink from 0 to 1, variance {VARIANCE:.4f}")


# %%
class Residual(nn.Module):
    """Two convolutions and a bypass: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, C):
        super().__init__()
        halves = [(nn.GroupNorm(8, C), nn.SiLU(), nn.Conv2d(C, C, 3, padding=1)) for _ in range(2)]
        self.body = nn.Sequential(*halves[0], *halves[1])

    def forward(self, h):
        return h + self.body(h)


# %%
def encoder(C, D):
    """(B, 1, 16, 16) -> (B, D, 4, 4): each 2 x 2 pixels become 4 channels, then twice as coarse."""
    enter = nn.PixelUnshuffle(2), nn.Conv2d(4, C, 3, padding=1), Residual(C)  # -> (B, C, 8, 8)
    coarse = nn.Conv2d(C, 2 * C, 2, stride=2), Residual(2 * C), Residual(2 * C)  # -> (B, 2C, 4, 4)
    return nn.Sequential(*enter, *coarse, nn.GroupNorm(8, 2 * C), nn.SiLU(), nn.Conv2d(2 * C, D, 1))


def decoder(C, D):
    """The way back: (B, D, 4, 4) -> (B, 1, 16, 16)."""
    coarse = nn.Conv2d(D, 2 * C, 3, padding=1), Residual(2 * C), Residual(2 * C)  # -> (B, 2C, 4, 4)
    fine = nn.ConvTranspose2d(2 * C, C, 2, stride=2), Residual(C), nn.GroupNorm(8, C), nn.SiLU()
    return nn.Sequential(*coarse, *fine, nn.Conv2d(C, 4, 3, padding=1), nn.PixelShuffle(2))


# %% [markdown]
# Between the two stands any quantiser that takes vectors $(N, D)$ and returns what `Codebook` returns: $q$
# with a gradient, code numbers, the commitment. Sections 6 and 7 put others there.


# %%
class Tokenizer(nn.Module):
    """An autoencoder that rounds in the middle: pictures (B, 1, 16, 16) <-> code numbers (B, 16, stages)."""

    def __init__(self, C, D, quantiser):
        super().__init__()
        self.encoder, self.decoder, self.quantiser = encoder(C, D), decoder(C, D), quantiser

    def spell(self, x):
        """Vectors of the 16 places of each picture, row by row: (B, 1, 16, 16) -> (16 B, D)."""
        return self.encoder(x).flatten(2).mT.flatten(0, 1)

    def draw(self, q):
        """(16 B, D) -> (B, 1, 16, 16)"""
        return self.decoder(q.unflatten(0, (-1, 16)).mT.unflatten(2, (4, 4)))

    def forward(self, x):
        """Pictures, code numbers (B, 16, stages), commitment; quantised in 32 bits under any autocast."""
        q, k, commitment = self.quantiser(self.spell(x).float())
        return self.draw(q), k.unflatten(0, (-1, 16)), commitment


# %%
def loss_of(model, x, beta=0.25):
    """Squared error over the variance of the pixels, plus beta times the commitment."""
    x_hat, _, commitment = model(x)
    return F.mse_loss(x_hat.float(), x) / VARIANCE + beta * commitment


# %%
def update(model, optimizer, x, beta=0.25):
    """One step of training; the loss stays on its device."""
    with genmap.autocast(device):
        loss = loss_of(model, x, beta)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


# %%
def train(model, updates, batch, title, watch=None):
    """AdamW; the rate rises for a tenth of the updates and falls to 0. Returns the model, and the seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), S.rate, betas=(0.9, 0.99), weight_decay=0.0)
    shape = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min(1, 10 * (n + 1) / updates) * math.cos(math.pi / 2 * n / (updates + 1)) ** 2
    )
    curve, began = progress.Curve(title) if watch else None, time.perf_counter()
    for n in progress.track(range(updates), title=title):
        loss = update(model.train(), optimizer, x_train[torch.randint(len(x_train), (batch,), device=device)])
        shape.step()
        if watch:
            curve.add(n, loss)
            watch(n + 1)
    seconds = time.perf_counter() - began
    _ = curve and curve.close()
    return model.eval(), seconds


# %%
torch.manual_seed(1)
model = Tokenizer(S.C, S.D, Codebook(S.K, S.D)).to(device)
vq_parameters = sum(p.numel() for p in model.parameters()) + S.K * S.D
with torch.no_grad():
    x_hat, k, _ = model.eval()(x_train[:2])
print(f"{vq_parameters:,} parameters; pictures {tuple(x_hat.shape)}, code numbers {tuple(k.shape)}")

# %% tags=["demo"]
some = x_test[torch.randperm(len(x_test), generator=torch.Generator().manual_seed(4))[:18].to(device)]
drawn = {}


@torch.no_grad()
def watch(n):
    """Keep what the model makes of some test pictures, at a few moments."""
    if n in (S.updates // 20, S.updates // 4, S.updates):
        drawn[n] = model.eval()(some)[0]


model, vq_seconds = train(model, S.updates, S.batch, "VQ-VAE", watch)
print(f"{S.updates} updates in {vq_seconds:.0f} s")

# %% tags=["demo"]
fig, axes = plot.figure(len(drawn) + 1, 1, height=0.9)
for ax, (n, x) in zip(axes, drawn.items(), strict=False):
    error = F.mse_loss(x, some).item() / VARIANCE
    plot.images(x, columns=18, ax=ax, title=f"After {n} updates: {error:.1%} of the variance is missing")
plot.images(some, columns=18, ax=axes[-1], title="The pictures themselves")
plt.show()

# %% [markdown]
# The whole test set: how much is lost, how many codes are at work, and does the measuring net still read the
# letters?


# %%
@torch.no_grad()
def pass_through(model, x):
    """Pictures and code numbers of all x, a thousand at a time: (N, 1, 16, 16), (N, 16, stages)."""
    parts = [model(part)[:2] for part in x.split(1_000)]
    return torch.cat([p[0] for p in parts]).clamp(0, 1), torch.cat([p[1] for p in parts])


# %% tags=["demo"]
x_hat, k_test = pass_through(model, x_test)
vq_perplexity = perplexity(k_test, S.K)
judge = features.glyphs(16)
read = (torch.as_tensor(judge(x_hat).labels, device=device) == y_test).float().mean()
print(f"missing: {F.mse_loss(x_hat, x_test) / VARIANCE:.1%} of the variance")
print(
    f"perplexity {vq_perplexity:.1f} of {S.K}: "
    f"{math.log2(vq_perplexity):.2f} of {math.log2(S.K):.0f} bits a symbol"
)
print(f"{16 * math.log2(S.K):.0f} bits a picture, instead of {256 * 8:,}")
print(f"letters read correctly: {read:.3f} of the copies, {judge.accuracy:.3f} of the originals")

# %% [markdown]
# ### What does a code mean?
#
# Collect the surroundings, 8 × 8 pixels, of every place where a code was used, and average them.

# %% tags=["demo"]
patches = F.unfold(x_test, 8, padding=2, stride=4).mT.flatten(0, 1)  # (16 N, 64), in the order of `spell`
numbers_of = k_test.flatten()
used = torch.bincount(numbers_of, minlength=S.K).float()
mean_patch = torch.zeros(S.K, 64, device=device).index_add_(0, numbers_of, patches) / used[:, None].clamp(
    min=1
)
order = used.argsort(descending=True)
plot.images(
    mean_patch[order][:64].reshape(-1, 1, 8, 8),
    columns=16,
    title="Mean surroundings of each code, the most used first",
)
plt.show()

# %% [markdown]
# Some are plain: empty paper, an edge on one side, a heavy bar. Others are blurred, like many letters laid on
# each other. That is no accident. The encoder's convolutions see the whole picture from every place, so a
# symbol may say "the third stroke of a slanted, heavy one" as well as "an edge here". The codes are what 16
# symbols say about letters with the least error, not what we would call an alphabet. Does a symbol speak
# about its place at all? Change one, and see where the copy changes.
#
# ## 5 · Play: change one symbol
#
# *Question: does a code mean the same wherever it stands?* Choose a letter, a place and another code. The
# model draws from the changed spelling.


# %%
@torch.no_grad()
def respell(letter, row, column, code):
    """A test picture of the letter, its copy, the copy after the swap,
    and where it changed: (4, 1, 16, 16).
    """
    x = x_test[y_test == data.CAPITALS_AND_DIGITS.index(letter)][:1]
    k = nearest(model.spell(x), model.quantiser.codes)
    swapped = k.clone()
    swapped[4 * row + column] = code
    before, after = (model.draw(model.quantiser.codes[numbers]) for numbers in (k, swapped))
    return torch.cat([x, before, after, (after - before).abs()]).clamp(0, 1)


@torch.no_grad()
def farthest(letter, row, column, n):
    """The n codes farthest from the one that the letter's first test picture has in this place."""
    x, codes = x_test[y_test == data.CAPITALS_AND_DIGITS.index(letter)][:1], model.quantiser.codes
    here = codes[nearest(model.spell(x), codes)[4 * row + column]]
    return (codes - here).square().sum(dim=1).argsort(descending=True)[:n].tolist()


def play_respell(letter, row, column, code):
    """One row for the controls."""
    captions = ["picture", "copy", f"code {code}", "change"]
    plot.images(respell(letter, row, column, code), columns=4, captions=captions)
    plt.show()


# %% tags=["demo"]
controls = interact(
    play_respell,
    letter=widgets.Dropdown(options=list(data.CAPITALS_AND_DIGITS), value="G"),
    row=widgets.IntSlider(1, min=0, max=3, continuous_update=False),
    column=widgets.IntSlider(2, min=0, max=3, continuous_update=False),
    code=widgets.IntSlider(farthest("G", 1, 2, 1)[0], min=0, max=S.K - 1, continuous_update=False),
)

# %% tags=["demo"]
fig, axes = plot.figure(2, 1, height=1.25)
for ax, (row, column) in zip(axes, ((1, 2), (2, 0)), strict=True):
    far = farthest("G", row, column, 8)
    rows = [respell("G", row, column, code)[2] for code in far]
    plot.images(
        torch.stack([respell("G", row, column, 0)[1], *rows]), columns=9, ax=ax, captions=["copy", *far]
    )
    ax.set_title(f"Row {row}, column {column}: the eight codes farthest from its own")
plt.show()

# %% tags=["demo"]
inside = total = 0.0
for n, letter in enumerate(data.CAPITALS_AND_DIGITS):
    for place in range(16):
        row, column = divmod(place, 4)
        change = respell(letter, row, column, (7 * n + place) % S.K)[3, 0].square()
        inside += change[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].sum().item()
        total += change.sum().item()
print(
    f"{inside / total:.0%} of the change lies in the place's own 4 x 4 pixels; "
    f"spread evenly it would be {1 / 16:.0%}"
)

# %% [markdown]
# The change is strongest at its place: the share inside is several times what an even spread would put there.
# The rest spills over to the other places. The decoder, too, looks at the neighbours. It mends the joints,
# and it takes a single odd symbol for less than it says, if the others disagree. So a code means a stroke *in
# its company*, and whoever writes codes must write them to fit: the task of section 9.
#
# ## 6 · Residual quantisation: round, then round what is left
#
# More bits want more codes, and $2^{R}$ of them: 10 bits a place are 1,024 codes to search, to store and to
# keep alive. *Residual* quantisation spends the bits in stages. With $r_0 = z$,
#
# $$q_s = \text{nearest code of book } s \text{ to } r_{s-1}, \qquad r_s = r_{s-1} - q_s, \qquad q = \sum_{s=1}^{S} q_s .$$
#
# $S$ books of $K$ codes reach $K^S$ points with $S K$ stored vectors. Take pairs of normal numbers. The first
# stage is Lloyd's, as in section 1; what is left has another shape, and each stage has its own book.

# %% tags=["demo"]
z, left = torch.randn(S.line, 2, generator=torch.Generator().manual_seed(5)), []
rest = z
for _ in range(4):
    book = lloyd(rest, rest[:4], 40)
    rest = rest - book[nearest(rest, book)]
    left.append(rest.square().mean().item())
for stage, error in enumerate(left, 1):
    one = lloyd(z, z[: 4**stage], 20)
    single = (z - one[nearest(z, one)]).square().mean().item()
    print(
        f"{stage} bits a number: {stage} stages of 4 {error:.4f}, "
        f"one book of {4**stage:3} {single:.4f}, bound {4.0**-stage:.4f}"
    )

# %% [markdown]
# The error falls with every stage, each time by a smaller factor, and from the second stage on it stays above
# that of one large book: the sums form a pattern that repeats in every cell, where a free code book could fit
# each cell. That is the price for $S K$ vectors instead of $K^S$.
#
# In training we draw the number of stages for each batch (*quantiser dropout*, SoundStream): the same network
# then works at every rate, and the first stages carry what matters most.


# %%
class ResidualCodebooks(nn.Module):
    """S code books of K codes, each for what the ones before it left over
    (Zeghidour et al. 2021, algorithm 1).
    """

    def __init__(self, stages, K, D, **how):
        super().__init__()
        self.K, self.books = K, nn.ModuleList(Codebook(K, D, **how) for _ in range(stages))

    def forward(self, z, depth=None):
        """(N, D) -> q (N, D), numbers (N, depth), commitment. depth: in training random, else all stages."""
        if depth is None:
            depth = int(torch.randint(len(self.books), ())) + 1 if self.training else len(self.books)
        q, numbers = torch.zeros_like(z), []
        for book in self.books[:depth]:
            found, k = book.look_up(z - q)
            q = q + found
            numbers.append(k)
        q = q.detach()
        return straight_through(z, q), torch.stack(numbers, dim=1), F.mse_loss(z, q)


# %% [markdown]
# ## 7 · Finite scalar quantisation: no book at all
#
# FSQ has the plainest book there is, a grid. The encoder gives few numbers, say three. Each is squeezed into
# an interval by a $\tanh$ and rounded to one of $L_i$ levels; the codes are all $\prod L_i$ combinations.
# With $h = \tfrac12 (L - 1)$, which the code widens by a thousandth (all levels are reached without that,
# too),
#
# $$u = h \tanh(z + s) - o, \qquad q = \frac{\operatorname{round}(u)}{\lfloor L/2 \rfloor},$$
#
# where for odd $L$ the offset $o$ and the shift $s$ are 0: levels $-h, \dots, h$. For even $L$,
# $o = \tfrac12$ puts the levels on whole numbers, $-L/2, \dots, L/2 - 1$, and
# $s = \operatorname{artanh}(o/h)$ sends $z = 0$ to $u = 0$.
#
# The gradient goes straight through the rounding, and the $\tanh$ keeps $z$ from running off: nothing to
# commit to, nothing to revive. The symbol of a place is the list of its levels (exercise 3 makes one number
# of it).


# %%
class FSQ(nn.Module):
    """Round len(levels) numbers, each to its own number of levels, at least 3 (Mentzer et al. 2023)."""

    def __init__(self, levels):
        super().__init__()
        L = torch.tensor(levels)
        self.K, half = math.prod(levels), (L - 1) * 1.001 / 2
        self.register_buffer("reach", half)
        self.register_buffer("offset", torch.where(L % 2 == 0, 0.5, 0.0))
        self.register_buffer("shift", torch.atanh(self.offset / half))
        self.register_buffer("width", L // 2)

    def forward(self, z):
        """(N, D) -> q (N, D) on the grid, the level of each coordinate (N, D), around 0;
        a commitment of 0.
        """
        u = self.reach * torch.tanh(z + self.shift) - self.offset
        return straight_through(u, u.round()) / self.width, u.detach().round().long(), z.new_zeros(())


# %% tags=["demo"]
wide = torch.linspace(-3.5, 3.5, 500)
fig, ax = plot.figure(height=2.6)
for L, colour in ((3, plot.COLOURS.blue), (4, plot.COLOURS.vermilion), (5, plot.COLOURS.green)):
    q = FSQ((L,))(wide[:, None])[0][:, 0]
    ax.plot(wide, q, color=colour, label=f"$L = {L}$: levels {', '.join(f'{v:g}' for v in q.unique())}")
ax.set(title="One number, rounded to L levels", xlabel="$z$", ylabel="$q$", ylim=(-1.15, 1.15))
ax.legend(loc="upper left", fontsize=9.5)
plt.show()

# %% [markdown]
# ## 8 · Rate and distortion of all three
#
# The same narrow encoder and decoder, the same number of updates, three quantisers at 2 to 10 bits a place.
# The residual one is trained once, with books of 4 codes and random depth, and then used at every depth; it
# gets no more updates than the others, although it learns all rates at once.


# %%
def measured(model, x, depth=None):
    """Share of the variance that is missing, and the bits of entropy of a place, on pictures x."""
    missing, spelled = 0.0, []
    for part in x.split(1_000):
        with torch.no_grad():
            z = model.spell(part)
            q, k, _ = model.quantiser(z) if depth is None else model.quantiser(z, depth)
            missing += F.mse_loss(model.draw(q), part, reduction="sum").item() / x.numel() / VARIANCE
            spelled.append(k)
    use = torch.unique(torch.cat(spelled), dim=0, return_counts=True)[1].cpu().double()
    return missing, torch.special.entr(use / use.sum()).sum().item() / math.log(2)


# %% tags=["demo"]
curves, held = {"VQ": [], "RVQ": [], "FSQ": []}, x_test[:2_000]
for K in S.sizes:
    torch.manual_seed(6)
    net = Tokenizer(S.narrow, S.D, Codebook(K, S.D)).to(device)
    net, _ = train(net, S.few, S.few_batch, f"VQ, {K} codes")
    curves["VQ"].append((math.log2(K), *measured(net, held)))
for levels in S.levels:
    torch.manual_seed(6)
    net = Tokenizer(S.narrow, len(levels), FSQ(levels)).to(device)
    net, _ = train(net, S.few, S.few_batch, f"FSQ, levels {levels}")
    curves["FSQ"].append((math.log2(math.prod(levels)), *measured(net, held)))
torch.manual_seed(6)
staged = Tokenizer(S.narrow, S.D, ResidualCodebooks(S.stages, 4, S.D)).to(device)
staged, _ = train(staged, S.few, S.few_batch, f"RVQ, {S.stages} stages of 4 codes")
curves["RVQ"] = [(2.0 * depth, *measured(staged, held, depth)) for depth in range(1, S.stages + 1)]

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.3)
for (name, rows), colour, mark in zip(curves.items(), plot.COLOURS, "os^", strict=False):
    rate, missing, entropy = zip(*rows, strict=True)
    axes[0].plot(rate, missing, marker=mark, color=colour, label=name)
    axes[1].plot(rate, [2**h for h in entropy], marker=mark, color=colour, label=name)
axes[0].set(yscale="log", title="Distortion at a rate", xlabel="bits a place", ylabel="missing variance")
ticks = [
    t for t in (0.05, 0.1, 0.2, 0.3, 0.5, 1.0) if t >= 0.7 * min(row[1] for r in curves.values() for row in r)
]
axes[0].set_yticks(ticks, [f"{t:.0%}" for t in ticks])
axes[0].minorticks_off()
axes[1].plot([2, 10], [4, 1024], ":", color=plot.INK, lw=1.2)
axes[1].text(7.6, 2**8.4, "all in use", ha="right", fontsize=9.5)
axes[1].set(yscale="log", title="Codes at work", xlabel="bits a place", ylabel="perplexity of the codes")
axes[0].legend()
plt.show()

# %% tags=["demo"]
for name, rows in curves.items():
    print(
        f"{name:3}",
        ", ".join(f"{rate:.1f} bits: {missing:.1%} missing, {h:.1f} used" for rate, missing, h in rows),
    )

# %% [markdown]
# All three fall with the rate, far more slowly than fourfold a bit as in section 1: these bits are shared by
# the many numbers of a place, and after so short a training part of the error is the networks' and not the
# rounding's. The three lie close together. RVQ pays for its pattern, and for serving every rate with one
# network, which the others do not. It searches 4 codes a stage where VQ searches up to a thousand. FSQ holds
# its own without a book, a moving average or a revival: where the encoder can learn to use a grid, the grid
# is good enough. The right panel shows which bits are at work. At 10 bits all three leave some unused, FSQ
# the most: nothing moves a point of the grid to where it would be needed.
#
# *Question: what does each stage add?* The same network, at any depth.


# %%
@torch.no_grad()
def at_depth(letter, depth):
    """Six test pictures of a letter through the residual model with so many stages: (6, 1, 16, 16)."""
    x = x_test[y_test == data.CAPITALS_AND_DIGITS.index(letter)][:6]
    return staged.draw(staged.quantiser(staged.spell(x), depth)[0]).clamp(0, 1)


def play_depth(letter, stages):
    """The pictures, and below them their copies."""
    x = x_test[y_test == data.CAPITALS_AND_DIGITS.index(letter)][:6]
    copies = at_depth(letter, stages)
    missing = F.mse_loss(copies, x).item() / VARIANCE
    title = f"{16 * 2 * stages} bits a picture: {missing:.1%} missing"
    plot.images(torch.cat([x, copies]), columns=6, title=title)
    plt.show()


# %% tags=["demo"]
more = interact(
    play_depth,
    letter=widgets.Dropdown(options=list(data.CAPITALS_AND_DIGITS), value="R"),
    stages=widgets.IntSlider(2, min=1, max=S.stages, continuous_update=False),
)

# %% tags=["demo"]
fig, axes = plot.figure(1, S.stages + 1, height=2.0)
for depth, ax in enumerate(axes, 1):
    last = depth > S.stages
    x = x_test[y_test == data.CAPITALS_AND_DIGITS.index("R")][:6] if last else at_depth("R", depth)
    plot.images(x, columns=2, ax=ax, title="originals" if last else f"{depth} stage{'s' * (depth > 1)}")
    ax.title.set_fontsize(10.5)
plt.show()

# %% [markdown]
# ## 9 · A prior over spellings
#
# So far nothing is generated. A random spelling draws nonsense, because letters use few of the $K^{16}$
# spellings. So learn which: the VQ-VAE of section 4 is frozen, all training pictures are spelled, and a
# causal transformer (lesson 06) learns $p(k_1, \dots, k_{16} \mid y) = \prod_i p(k_i \mid k_{<i}, y)$, place
# by place. The class is added at *every* place, so that the network need not carry it along from the start.


# %%
class Block(nn.Module):
    """A transformer block as in lesson 06, with heads of 32 numbers: (B, T, W) -> (B, T, W)."""

    def __init__(self, W):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(W), nn.LayerNorm(W)
        self.qkv, self.mix = nn.Linear(W, 3 * W, bias=False), nn.Linear(W, W, bias=False)
        self.up, self.down = nn.Linear(W, 4 * W, bias=False), nn.Linear(4 * W, W, bias=False)

    def forward(self, h):
        heads = (
            self.qkv(self.norm1(h)).unflatten(2, (3, -1, 32)).permute(2, 0, 3, 1, 4)
        )  # (3, B, heads, T, 32)
        seen = F.scaled_dot_product_attention(*heads, is_causal=True)
        h = h + self.mix(seen.transpose(1, 2).flatten(2))
        return h + self.down(F.gelu(self.up(self.norm2(h))))


# %%
class Prior(nn.Module):
    """log p(k | y), unnormalised: numbers (B, t), t < 16 or 16,
    and classes (B,) -> logits (B, min(t + 1, 16), K).
    """

    def __init__(self, K, W, depth):
        super().__init__()
        self.K, self.code, self.label = (
            K,
            nn.Embedding(K + 1, W),
            nn.Embedding(CLASSES, W),
        )  # code K: the start
        self.place = nn.Parameter(torch.zeros(16, W))
        for table in (self.code.weight, self.label.weight, self.place):
            nn.init.normal_(table, std=0.02)
        self.blocks = nn.Sequential(*(Block(W) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(W), nn.Linear(W, K)

    def forward(self, k, y):
        k = torch.cat([torch.full_like(y, self.K)[:, None], k], dim=1)[:, :16]
        h = self.code(k) + self.place[: k.shape[1]] + self.label(y)[:, None]
        return self.head(self.norm(self.blocks(h)))


# %% [markdown]
# The optimiser is Muon for the matrices of the blocks (lesson 06) and AdamW for the rest. The loss is the
# cross-entropy, in nats for one code. In bits and times 16 it is the mean length of the shortest message that
# this prior can make of a picture's spelling.


# %%
def optimizers(prior):
    """Muon for the blocks' matrices, where this torch has it, AdamW for the rest;
    both with S.muon's rates.
    """
    inside = [p for p in prior.blocks.parameters() if p.ndim == 2]
    rest = [p for p in prior.parameters() if not any(p is q for q in inside)]
    if hasattr(torch.optim, "Muon"):
        first = torch.optim.Muon(inside, S.muon, weight_decay=0.01, momentum=0.95)
    else:
        first = torch.optim.AdamW(inside, S.muon / 10)
    return [first, torch.optim.AdamW(rest, S.muon / 5, betas=(0.9, 0.98), weight_decay=0.01)]


# %%
def prior_loss(prior, k, y):
    """Mean nats of a code: (B, 16), (B,)."""
    return F.cross_entropy(prior(k, y).flatten(0, 1).float(), k.flatten())


def prior_update(prior, both, k, y):
    """One step; the loss stays on its device."""
    with genmap.autocast(device):
        loss = prior_loss(prior, k, y)
    for optimizer in both:
        optimizer.zero_grad()
    scaler.scale(loss).backward()
    for optimizer in both:
        scaler.step(optimizer)
    scaler.update()
    return loss.detach()


# %%
@torch.no_grad()
def write(prior, y, temperature=1.0, generator=None):
    """Draw spellings, code by code; a low temperature prefers likely codes: (B,) -> (B, 16)."""
    k = y.new_zeros(len(y), 0)
    for _ in range(16):
        p = (prior(k, y)[:, -1].float() / temperature).softmax(dim=1)
        k = torch.cat([k, torch.multinomial(p, 1, generator=generator)], dim=1)
    return k


@torch.no_grad()
def draw(k):
    """Spellings (B, 16) -> pictures (B, 1, 16, 16)."""
    return model.draw(model.quantiser.codes[k.flatten()]).clamp(0, 1)


# %%
torch.manual_seed(7)
prior = Prior(S.K, S.width, S.depth).to(device)
prior_parameters = sum(p.numel() for p in prior.parameters())
print(f"{prior_parameters:,} parameters; logits {tuple(prior(y_train[:3, None] % S.K, y_train[:3]).shape)}")

# %% tags=["demo"]
k_train, k_test = (pass_through(model, x)[1][..., 0] for x in (x_train, x_test))
both = optimizers(prior)
warm, N = max(1, S.prior_updates // 20), S.prior_updates
shape = [
    torch.optim.lr_scheduler.LambdaLR(o, lambda n: min((n + 1) / warm, 1.1 * (N - n) / N, 1)) for o in both
]
dozen = torch.arange(0, 36, 2, device=device)
curve, written, began = progress.Curve("prior over spellings", ylabel="nats a code"), {}, time.perf_counter()
for n in progress.track(range(N), title="prior"):
    rows = torch.randint(len(k_train), (S.prior_batch,), device=device)
    curve.add(n, prior_update(prior, both, k_train[rows], y_train[rows]))
    for each in shape:
        each.step()
    if n + 1 in (N // 10, N // 3, N):
        written[n + 1] = draw(write(prior, dozen, generator=torch.Generator(device).manual_seed(8)))
prior_seconds = time.perf_counter() - began
curve.close()
print(f"{N} updates in {prior_seconds:.0f} s")

# %% tags=["demo"]
fig, axes = plot.figure(len(written), 1, height=0.9)
for ax, (n, x) in zip(axes, written.items(), strict=True):
    plot.images(x, columns=18, ax=ax, title=f"After {n} updates: every second character, 0 to Y")
plt.show()

# %% tags=["demo"]
with torch.no_grad():
    bits = prior_loss(prior, k_test[:2_000], y_test[:2_000]).item() * 16 / math.log(2)
by_place = sum(math.log2(perplexity(k_test[:, i], S.K)) for i in range(16))
print(f"bits for a spelling: {16 * math.log2(S.K):.1f} with equal lengths,")
print(
    f"{16 * math.log2(perplexity(k_test, S.K)):.1f} by how often each code is used, "
    f"{by_place:.1f} if counted at each place,"
)
print(f"{bits:.1f} by the prior, which knows the class and the codes before (test pictures)")

# %% [markdown]
# That is the other use of a prior: it compresses. A receiver who has the prior and knows the class needs far
# less than 16 times $\log_2 K$ bits. (To name one class of 36 costs $\log_2 36 \approx 5.2$ bits more.)
#
# Temperature divides the logits: below 1 likely codes become likelier. It trades diversity for accuracy, as
# guidance does in lesson 19.

# %% tags=["demo"]
every = torch.arange(CLASSES, device=device).repeat(S.each)
sorted_test = torch.stack([(y_test == c).nonzero()[: S.each, 0] for c in range(CLASSES)]).T.flatten()
figures, pictures = {}, {}
for T in (1.0, 0.8, 0.6):
    began = time.perf_counter()
    pictures[T] = draw(write(prior, every, T, torch.Generator(device).manual_seed(9)))
    seconds = (time.perf_counter() - began) / len(every)
    figures[T] = {
        "sample_seconds": seconds,
        **judge.compare(pictures[T], every, x_test[sorted_test], y_test[sorted_test]),
    }
    print(
        f"T = {T}:", {name: round(figures[T][name], 3) for name in ("class_accuracy", "diversity", "frechet")}
    )
ceiling = judge.compare(x_hat[sorted_test], y_test[sorted_test], x_test[sorted_test], y_test[sorted_test])
print("copies:", {name: round(ceiling[name], 3) for name in ("class_accuracy", "diversity", "frechet")})

# %% tags=["demo"]
plot.images(pictures[1.0][: 2 * CLASSES], columns=18, title="Two of every class, temperature 1")
plt.show()

# %% tags=["demo"]
rows = {"Random spellings": torch.randint(S.K, (18, 16), device=device)}
rows |= {
    f"R at temperature {T:g}": write(
        prior, torch.full((18,), data.CAPITALS_AND_DIGITS.index("R"), device=device), T
    )
    for T in (1.0, 0.6)
}
fig, axes = plot.figure(3, 1, height=0.9)
for ax, (title, k) in zip(axes, rows.items(), strict=True):
    plot.images(draw(k), columns=18, ax=ax, title=title)
plt.show()

# %% [markdown]
# The line `copies` above is the yardstick: real pictures, decoded from their own spellings. A perfect prior
# at temperature 1 would do about as well. The Fréchet distance that remains there is the tokenizer's, the
# price of 16 symbols.
#
# ## 10 · What breaks: the book collapses
#
# Only codes that are chosen move. So a book that begins badly stays bad: a few codes take all vectors, the
# others are dead, and the decoder learns to live with it. Nothing crashes; the loss falls. We provoke it with
# a start far from the encoder's vectors, and add the two repairs one by one. The number to watch is the
# perplexity.


# %%
def collapse(start, floor, shift, updates, beta=0.25):
    """A narrow VQ-VAE from such a book: the perplexity on training batches as it goes, and the model."""
    torch.manual_seed(10)
    book = Codebook(64, S.D, floor=floor, start=start)
    book.codes.add_(shift)
    book.m.copy_(book.codes)
    net = Tokenizer(S.narrow, S.D, book).to(device)
    optimizer, found = torch.optim.AdamW(net.parameters(), S.rate, weight_decay=0.0), []
    for n in progress.track(range(updates), title="collapse"):
        update(
            net.train(), optimizer, x_train[torch.randint(len(x_train), (S.few_batch,), device=device)], beta
        )
        if n % 10 == 0 or n == updates - 1:
            with torch.no_grad():
                found.append((n, perplexity(net.eval()(x_train[:256])[1], 64)))
    return found, net


# %% tags=["demo"]
cases = {
    "far start": (False, 0.0, 3.0),
    "random start": (False, 0.0, 0.0),
    "far start, revival": (False, 0.1, 3.0),
    "start from data": (True, 0.0, 0.0),
    "data and revival": (True, 0.1, 0.0),
}
broken = {name: collapse(*how, -(-S.few // 3)) for name, how in cases.items()}
fig, axes = plot.figure(1, 2, height=3.3)
for (name, (found, net)), colour in zip(broken.items(), plot.COLOURS, strict=False):
    missing, _ = measured(net, held)
    axes[0].plot(*zip(*found, strict=True), color=colour, label=name)
    axes[1].barh(name, missing, color=colour)
    axes[1].text(missing, name, f" {missing:.0%}", va="center", fontsize=10)
    print(f"{name:19} perplexity {found[-1][1]:5.1f} of 64, {missing:.1%} of the variance missing")
axes[0].set(title="Perplexity of the codes", xlabel="update", ylim=(0, 64))
axes[1].set(title="Variance missing", xlim=(0, 1.15), xticks=[])
axes[1].grid(False)
axes[1].invert_yaxis()
plt.show()

# %% tags=["demo"]
fig, axes = plot.figure(2, 1, height=0.95)
for ax, name in zip(axes, ("far start", "data and revival"), strict=True):
    x = pass_through(broken[name][1], some)[0]
    plot.images(x, columns=18, ax=ax, title=f"{name.capitalize()}: perplexity {broken[name][0][-1][1]:.1f}")
plt.show()

# %% [markdown]
# From the far start a few codes catch everything, and the copies are blurred. Either repair brings the book
# back: revival alone, even from the far start, since dead codes jump to where the vectors are; a start from
# data alone, for as long as the encoder does not leave its codes behind. Use both. Compare the two panels,
# too: perplexity is not error. A book that comes alive late may use many codes and still miss more than one
# with few codes that were trained from the start. FSQ has no book that could die, and it is the third repair.
#
# In the wild look for the same signs: perplexity far below $K$ and flat; a rate–distortion curve that stops
# falling although $K$ grows; a prior whose loss is too good to be true.
#
# ## 11 · How good is it?

# %% tags=["demo"]
total = vq_parameters + prior_parameters
board.record(
    "25_vqvae",
    "VQ-VAE",
    data="glyphs 16",
    parameters=vq_parameters,
    train_seconds=vq_seconds,
    code_perplexity=vq_perplexity,
)
for T, name in ((1.0, "VQ-VAE + prior"), (0.6, "VQ-VAE + prior, temperature 0.6")):
    board.record(
        "25_vqvae",
        name,
        data="glyphs 16",
        parameters=total,
        train_seconds=vq_seconds + prior_seconds,
        **figures[T],
    )
board.table("glyphs 16")

# %% tags=["demo"]
board.plot("glyphs 16")
plt.show()

# %% [markdown]
# Read accuracy and diversity together: a lower temperature buys the first with the second. The Fréchet
# distance charges for faults in both. Strokes come out clean, because the decoder has only clean ones to draw
# with. What goes wrong is composition: a stroke that belongs to another letter, or to another style. That is
# the prior's doing; a deeper one and a longer training (the `full` setting) are the first things to try.
#
# ## 12 · In production
#
# One sample costs
#
# $$\text{time} = n \times t_{\text{prior}} + t_{\text{decoder}},$$
#
# $n$ codes, one call of the prior for each, then one of the decoder. Our `write` computes the whole prefix
# again at every step; the cache of lesson 07 computes each place once. With $S$ stages $n$ is $S$ times
# larger, unless the stages are predicted together (lesson 28); masked decoding (lesson 26) fills many places
# in one call.

# %% tags=["demo"]
y = torch.full((64,), 3, device=device)
began = time.perf_counter()
k = write(prior, y).cpu()  # waits for the device
middle = time.perf_counter()
draw(k.to(device)).cpu()
end = time.perf_counter()
print(
    f"prior: {1_000 * (middle - began) / 64:.2f} ms a sample in 16 calls; "
    f"decoder: {1_000 * (end - middle) / 64:.2f} ms in one"
)

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs. Numbers of codes are `int64`, and
# everything else is `float64` unless said otherwise. Where tensors go in, return tensors, of the shape that
# the docstring says. A number may be Python's own or a tensor that holds one; several results come as a tuple.

# %% [markdown]
# ### 1 · How long is the message? (easy, 20 minutes)
#
# Section 1 measured the codes' own entropy. A real coder fixes the lengths beforehand, from *training* codes:
# it spends $-\log_2 p_k$ bits on code $k$, with $p_k = (c_k + a)/(N + a K)$, where $c_k$ of the $N$ training
# codes were $k$, and $a \ge 0$ keeps the unseen possible. What does a *test* message cost, per code? And how
# much of that is more than the entropy of the test message's own shares, the least that lengths fixed for
# this message could reach?


# %% exercise="message"
def message_bits(k_train, k_test, K, a):
    """(bits a code, bits above the test codes' own entropy), two numbers.

    k_train, k_test: code numbers of any shape, from 0 to K - 1. Where a code of the test message has
    p = 0, both are infinite; a code that is in neither must do no harm.
    """
    ### BEGIN SOLUTION
    train, test = (torch.bincount(k.flatten(), minlength=K).double() for k in (k_train, k_test))
    share = test / test.sum()
    p = (train + a) / (train.sum() + a * K)
    bits = -torch.xlogy(share, p).sum().item() / math.log(2)
    return bits, bits - torch.special.entr(share).sum().item() / math.log(2)
    ### END SOLUTION


# %% test="message" points=2
bits, above = message_bits(torch.tensor([0, 0, 1, 2]), torch.tensor([[0, 1], [0, 2]]), 4, 0.0)
assert math.isclose(bits, 1.5) and math.isclose(above, 0, abs_tol=1e-9), (
    "shares 1/2, 1/4, 1/4 on both sides: 1.5 bits, the entropy itself; code 3 is in neither"
)
bits, above = message_bits(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0]), 2, 0.0)
assert math.isclose(bits, 1) and math.isclose(above, 1), (
    "one bit for a message that is always the same: all above"
)
bits, above = message_bits(torch.tensor([0]), torch.tensor([1]), 2, 0.0)
assert bits == above == math.inf, f"nobody reserved a word: inf for both, not {bits} and {above}"
bits, _ = message_bits(torch.tensor([0]), torch.tensor([1]), 2, 1.0)
assert math.isclose(bits, math.log2(3), rel_tol=1e-6), f"a = 1: p = 1/3, log2(3) bits, not {bits}"

# %% [markdown]
# ### 2 · Product quantisation (medium, 25 minutes)
#
# Cut each vector into pieces and give every piece its own book (Jégou, Douze and Schmid, 2011). $M$ books of
# $K_m$ codes reach $\prod K_m$ points, far too many to list. Find the nearest of them, and give it one
# number: the digits are the numbers of the pieces, the last book's digit moves fastest. With books of 3 and 5
# codes the digits $(2, 4)$ make $2 \cdot 5 + 4 = 14$.


# %% exercise="product"
def product_nearest(z, books):
    """The number (N,) int64 of the nearest combination, and the combination itself (N, D).

    z: (N, D); books: a list of (K_m, D_m), for the pieces of z in order; the D_m add up to D, else
    ValueError. The product of all K_m is below 2^62.
    """
    ### BEGIN SOLUTION
    widths = [book.shape[1] for book in books]
    if sum(widths) != z.shape[1]:
        raise ValueError(f"the books are for {sum(widths)} numbers, the vectors have {z.shape[1]}")
    number, found = torch.zeros(len(z), dtype=torch.long), []
    for piece, book in zip(z.split(widths, dim=1), books, strict=True):
        k = nearest(piece, book)
        number = number * len(book) + k
        found.append(book[k])
    return number, torch.cat(found, dim=1)
    ### END SOLUTION


# %% test="product" points=3
two_books = [torch.tensor([[0.0], [1.0], [2.0]]).double(), torch.tensor([[0.0, 0.0], [4.0, 4.0]]).double()]
number, found = product_nearest(torch.tensor([[1.9, 3.0, 3.5], [0.2, 1.0, 0.0]]).double(), two_books)
assert number.tolist() == [5, 0], "digits (2, 1) make 2 * 2 + 1; digits (0, 0) make 0"
assert found.tolist() == [[2, 4, 4], [0, 0, 0]], "the pieces, put together again"
seven_books = [torch.arange(250.0).double()[:, None]] * 7
number, _ = product_nearest(torch.full((1, 7), 249.0).double(), seven_books)
assert number.tolist() == [250**7 - 1], (
    f"the number needs int64, exactly: {250**7 - 1}, not {number.tolist()}"
)
try:
    product_nearest(torch.zeros(1, 4).double(), two_books)
    raise AssertionError("books for 1 + 2 numbers do not fit vectors of 4: ValueError")
except ValueError:
    pass

# %% [markdown]
# ### 3 · The number of a grid point (medium, 25 minutes)
#
# `FSQ` returns one level for each coordinate; a transformer wants one number for a place. Write both
# directions. Section 7 says which values a coordinate of $q$ can have: $L$ whole numbers, divided by
# $\lfloor L/2 \rfloor$. Count the levels of each coordinate from 0 at the lowest; the *first* coordinate
# moves fastest (as in the paper's code). $q$ comes out of float32 arithmetic: it may be off by a millionth.


# %% exercise="fsq-number"
def fsq_number(q, levels):
    """Points on the grid (..., d) -> their numbers (...), int64, from 0 to the product of the levels less 1.

    levels: a tuple of d whole numbers, each at least 3.
    """
    ### BEGIN SOLUTION
    L = torch.tensor(levels)
    digit = (q * (L // 2)).round().long() + L // 2
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return (digit * weight).sum(dim=-1)
    ### END SOLUTION


def fsq_point(number, levels):
    """Numbers (...) -> their points (..., d), float64. ValueError if a number is none of the grid's."""
    ### BEGIN SOLUTION
    if (number < 0).any() or (number >= math.prod(levels)).any():
        raise ValueError(f"numbers go from 0 to {math.prod(levels) - 1}")
    L = torch.tensor(levels)
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    digit = number[..., None] // weight % L
    return (digit - L // 2).double() / (L // 2)
    ### END SOLUTION


# %% test="fsq-number" points=3
corners = torch.tensor([[-1.0, -1.0], [0.5, 1.0], [-0.5, -1.0], [-1.0, 0.0]])
assert fsq_number(corners, (4, 3)).tolist() == [0, 11, 1, 4], (
    "4 levels are -1, -0.5, 0, 0.5, and 3 are -1, 0, 1; one step of the second coordinate counts 4"
)
assert fsq_number(corners, (4, 3)).dtype == torch.int64, "numbers of places are int64"
assert torch.allclose(fsq_point(torch.tensor([0, 11, 1, 4]), (4, 3)), corners.double()), "and back"
assert abs(fsq_point(torch.tensor(4), (7,)).item() - 1 / 3) < 1e-12, "in float64: a third, to its last digits"
assert fsq_number(torch.tensor([0.4999999]), (5,)).item() == 3, (
    "off by a millionth is still level 3 of 0 to 4"
)
try:
    fsq_point(torch.tensor([12]), (4, 3))
    raise AssertionError("4 * 3 points have the numbers 0 to 11: ValueError")
except ValueError:
    pass

# %% [markdown]
# ### 4 · Turn the gradient (hard, 40 minutes)
#
# Straight-through hands every $z$ of a cell the same gradient, wherever it lies. The *rotation trick* (Fifty
# and others, 2024) hands it over turned. Let $\lambda = \lVert q \rVert / \lVert z \rVert$, and let $R$ be
# the rotation in the plane of $z$ and $q$ that turns the direction of $z$ into that of $q$ by the shorter
# way, and leaves alone what is perpendicular to both. Then $\lambda R z = q$. Treat $\lambda$ and $R$ as
# constants: the value is $q$, and the gradient at $z$ is $\lambda R^\top$ times that at $q$. (A rotation is
# two reflections: first in the hyperplane perpendicular to $z$, then in that perpendicular to
# $z/\lVert z \rVert + q/\lVert q \rVert$.) Where the rotation is not defined, because $z$ or $q$ is 0 or they
# point in exactly opposite ways, go straight through.


# %% exercise="rotation"
def rotate_through(z, q):
    """q, with the gradient of lambda R z with respect to z and none to q: (N, D), (N, D) -> (N, D).

    Directions within 1e-4 of opposite may count as opposite. Cost and memory grow like N D: no D x D
    matrices. Nothing is NaN, in value or gradient, and no vector but 0 is too short to turn.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        length_z, length_q = z.norm(dim=1, keepdim=True), q.norm(dim=1, keepdim=True)
        from_z, to_q = z / length_z.clamp(min=1e-300), q / length_q.clamp(min=1e-300)
        between = from_z + to_q
        size = between.norm(dim=1, keepdim=True)
        good = (length_z > 0) & (length_q > 0) & (size > 1e-7)
        w = between / size.clamp(min=1e-300)
        scale = length_q / length_z.clamp(min=1e-300)
    along_z, along_w = ((z * v).sum(dim=1, keepdim=True) for v in (from_z, w))
    turned = scale * (z - 2 * along_w * w + 2 * along_z * to_q)
    through = torch.where(good, turned, z)
    return through + (q - through).detach()
    ### END SOLUTION


# %% test="rotation" points=4
z_one = torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
q_one = torch.tensor([[0.0, 3.0, 0.0]], dtype=torch.float64)  # a quarter turn, and 1.5 times as long
for at_q, at_z in (((0, 1, 0), (1.5, 0, 0)), ((1, 0, 0), (0, -1.5, 0)), ((0, 0, 1), (0, 0, 1.5))):
    through = rotate_through(z_one, q_one)
    assert torch.allclose(through, q_one), "forwards it is q"
    pull = torch.tensor([at_q], dtype=torch.float64)
    (got,) = torch.autograd.grad((through * pull).sum(), z_one)
    assert torch.allclose(got, torch.tensor([at_z], dtype=torch.float64)), f"{at_q} at q, turned back: {at_z}"
opposite = torch.tensor([[-2.0, 0.0, 0.0]], dtype=torch.float64)
(got,) = torch.autograd.grad(rotate_through(z_one, opposite)[0, 1], z_one)
assert got.tolist() == [[0, 1, 0]], "opposite directions: straight through"

# %% [markdown]
# ### 5 · Look before you round (hard, 40 minutes)
#
# Section 6 takes the nearest code at every stage. A worse first code may leave a remainder that the second
# book fits better. *Beam search* keeps, for each vector, the $w$ best spellings so far, by the length of what
# they leave over. At each stage it extends each of them by every code, and keeps the $w$ best of all. With
# $w = 1$ it is section 6; with $w = K^{S-1}$ it tries everything.


# %% exercise="beam"
def beam_rvq(z, books, width):
    """Numbers (N, S) int64 of the best spelling found, and what it leaves over, |z - q|^2: (N,).

    z: (N, D); books: (S, K, D); width: w, at least 1, and perhaps more than there are spellings.
    """
    ### BEGIN SOLUTION
    N, D = z.shape
    left, numbers = z[:, None], torch.zeros(N, 1, 0, dtype=torch.long)  # (N, w, D), (N, w, s)
    for book in books:
        beyond = left[:, :, None] - book  # (N, w, K, D)
        error = beyond.square().sum(dim=3).flatten(1)  # (N, w K)
        error, best = error.topk(min(width, error.shape[1]), dim=1, largest=False)
        parent, code = best // len(book), best % len(book)
        left = beyond.flatten(1, 2).gather(1, best[..., None].expand(-1, -1, D))
        kept = numbers.gather(1, parent[..., None].expand(-1, -1, numbers.shape[2]))
        numbers = torch.cat([kept, code[..., None]], dim=2)
    return numbers[:, 0], error[:, 0]
    ### END SOLUTION


# %% test="beam" points=4
trap = torch.tensor([[[0.0], [10.0]], [[0.0], [-4.0]]], dtype=torch.float64)  # 6 = 10 - 4, but 10 is not ...
got, left = beam_rvq(torch.tensor([[4.9]], dtype=torch.float64), trap, 1)
assert got.tolist() == [[0, 0]] and math.isclose(left.item(), 4.9**2), "greedy: 0 is nearer to 4.9 than 10 is"
got, left = beam_rvq(torch.tensor([[4.9]], dtype=torch.float64), trap, 2)
assert got.tolist() == [[1, 1]] and math.isclose(left.item(), 1.1**2), "two candidates: 10 - 4 = 6 is better"
assert got.dtype == torch.int64, "numbers of codes are int64"
got, left = beam_rvq(torch.tensor([[4.9], [0.3]], dtype=torch.float64), trap, 100)
assert got.tolist() == [[1, 1], [0, 0]] and left.shape == (2,), "more candidates than spellings: all of them"

# %% [markdown]
# ### 6 · Repair a loss (hard, 35 minutes)
#
# This is the paper's own loss, without moving averages: the codes, too, learn by gradients. The
# reconstruction moves the decoder and, straight through, the encoder. The *code book term* moves the chosen
# codes to their vectors. The *commitment*, $\beta$ times, holds the vectors at their codes. Somebody wrote it
# with **three** faults. It runs, and its value falls; but the decoder works on vectors that were never
# rounded, so that with the rounded ones it draws rubbish. Find the faults. Each of the three terms is a mean
# over all its numbers, and moves only what the text says.


# %%
def broken_loss(x, z, codes, decode, beta):
    """The loss of a VQ-VAE, with three faults."""
    q = codes[(z @ codes.T).argmax(dim=1)]
    reconstruction = (decode(q + (z - q).detach()) - x).square().mean()
    book, commitment = (z - q.detach()).square().mean(), (z.detach() - q).square().mean()
    return reconstruction + book + beta * commitment


# %% exercise="repair"
def repaired_loss(x, z, codes, decode, beta):
    """The loss of van den Oord et al. (2017), equation 3, with means: a 0-d tensor.

    x: what decode should return; z: (N, D), from the encoder; codes: (K, D); decode: any function of (N, D).
    """
    ### BEGIN SOLUTION
    q = codes[nearest(z.detach(), codes.detach())]
    reconstruction = F.mse_loss(decode(z + (q - z).detach()), x)
    return reconstruction + F.mse_loss(q, z.detach()) + beta * F.mse_loss(z, q.detach())
    ### END SOLUTION


# %% test="repair" points=4
z_two = torch.tensor([[1.0], [4.0]], dtype=torch.float64, requires_grad=True)
codes_two = torch.tensor([[1.5], [9.0]], dtype=torch.float64, requires_grad=True)
goal = torch.tensor([[2.0], [0.5]], dtype=torch.float64)
loss = repaired_loss(goal, z_two, codes_two, lambda q: 2 * q, 0.5)
assert loss.shape == (), f"a 0-d tensor, not one of shape {tuple(loss.shape)}"
assert math.isclose(loss.item(), (1 + 6.25) / 2 + 1.5 * (0.25 + 6.25) / 2), (
    "both vectors are nearest to 1.5; 2 q is 3"
)
at_z, at_codes = torch.autograd.grad(loss, (z_two, codes_two))
assert torch.allclose(at_codes, torch.tensor([[-2.0], [0.0]], dtype=torch.float64)), (
    "only the code book term moves codes: (0.5 - 2.5) for the chosen one, nothing for the other"
)
assert torch.allclose(at_z, torch.tensor([[2 - 0.25], [5 + 1.25]], dtype=torch.float64)), (
    "z feels the decoder, straight through, and the commitment"
)

# %% [markdown]
# ## Further reading
#
# - J. Max. *Quantizing for minimum distortion.* IRE Transactions on Information Theory 6, 1960. The table of
#   section 1.
# - S. Lloyd. *Least squares quantization in PCM.* IEEE Transactions on Information Theory 28, 1982 (written
#   in 1957).
# - T. Cover, J. Thomas. *Elements of information theory.* 2nd edition, 2006, chapter 10: rate–distortion.
# - H. Jégou, M. Douze, C. Schmid. *Product quantization for nearest neighbor search.* IEEE TPAMI 33, 2011.
# - Y. Bengio, N. Léonard, A. Courville. *Estimating or propagating gradients through stochastic neurons for
#   conditional computation.* 2013, arXiv:1308.3432.
# - A. van den Oord, O. Vinyals, K. Kavukcuoglu. *Neural discrete representation learning.* 2017,
#   arXiv:1711.00937. VQ-VAE.
# - A. Razavi, A. van den Oord, O. Vinyals. *Generating diverse high-fidelity images with VQ-VAE-2.* 2019,
#   arXiv:1906.00446.
# - P. Esser, R. Rombach, B. Ommer. *Taming transformers for high-resolution image synthesis.* 2020,
#   arXiv:2012.09841. VQGAN.
# - A. Ramesh and others. *Zero-shot text-to-image generation.* 2021, arXiv:2102.12092. DALL-E.
# - N. Zeghidour, A. Luebs, A. Omran, J. Skoglund, M. Tagliasacchi. *SoundStream: an end-to-end neural audio
#   codec.* 2021, arXiv:2107.03312.
# - F. Mentzer, D. Minnen, E. Agustsson, M. Tschannen. *Finite scalar quantization: VQ-VAE made simple.* 2023,
#   arXiv:2309.15505.
# - C. Fifty and others. *Restructuring vector quantization with the rotation trick.* 2024, arXiv:2410.06424.

# %% tags=["demo"]
selfcheck.run("25_vqvae")
