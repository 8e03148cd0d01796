# %% [markdown]
# # 25 · VQ-VAE and residual quantisation
#
# > **Learn a small alphabet in which pictures can be spelled. Then anything that writes text can draw.**
#
# | | |
# |---|---|
# | You will build | a quantiser with a known error; a gradient that passes through rounding; a code book that follows its data and revives its dead; a VQ-VAE that spells a glyph in 16 symbols of 64; residual and finite scalar quantisation beside it; a transformer that writes new spellings |
# | You need to know | lesson 10 (an encoder, a decoder, the ELBO), lesson 06 (a causal transformer, cross-entropy as a code length); a convolution |
# | Time on two CPU cores | five to seven minutes to run; an hour and a half to read, two hours to solve |
# | On a GPU | the `full` setting: 512 codes, wider networks, a deeper prior, a quarter of an hour at most |
#
# ## You are here

# %% folded="Imports, device, and settings: smoke, quick and full"
# long: one line for each number
import itertools
import math
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from IPython.display import display
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, diagram, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait
S = genmap.settings(
    line=(2_000, 20_000, 100_000),
    stream=(20, 1_000, 1_000),
    pictures=(3, 40, 40),
    C=(8, 24, 96),
    D=(4, 8, 16),
    K=(16, 64, 512),
    batch=(8, 48, 128),
    updates=(4, 1_000, 8_000),
    rate=(3e-3, 3e-3, 1e-3),
    narrow=(8, 16, 64),
    few=(2, 400, 2_000),
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
    same=(16, 64, 64),
)
torch.manual_seed(25)
print(f"{genmap.setting()} on {device}")

# %% tags=["demo"]
taxonomy.figure("tokens")
plt.show()
diagram.machine(
    "x | (B, 1, 16, 16) -> [encoder] -> z | 16 places of D -> [nearest] -> q | 16 places of D "
    "-> [decoder] -> x̂ | (B, 1, 16, 16)",
    "[prior | transformer] -> k | (B, 16), whole -> q | 16 places of D",
)
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
# | Is the density explicit? | exact over codes; over pixels a lower bound, section 5 |
# | Is sampling one-shot or iterative? | serial: one network call for each code, then one of the decoder |
# | What conditions it? | whatever can stand before or beside the codes: here a class, in lesson 26 a caption |
# | How is it evaluated, and how does that fail? | error at a *rate* in bits, use of the codes, then samples; errors compare only at equal rates, and a low error says nothing about how predictable the codes are |
#
# Networks with discrete latents are older. Van den Oord, Vinyals and Kavukcuoglu (2017) trained the one that
# the others follow, the *VQ-VAE*. Razavi, van den Oord and Vinyals (2019) drew photographs with it; VQGAN
# (2020) and DALL-E (2021) put transformers on top. SoundStream (Zeghidour and others, 2021) quantised sound
# in several rounds, each rounding what the last one left. Mentzer and others (2023) threw the code book away
# and rounded. Whatever speaks or draws with a language model today spells in such codes: speech models in
# those of residual quantisers (lesson 28), picture models in those of VQGAN's heirs (lesson 26).
#
# <details><summary>Symbols</summary>
#
# | symbol | is |
# |---|---|
# | $x$, $\hat x$; $z$, $q$ | a picture and its copy; a vector of the encoder and what it is rounded to |
# | $k$, $K$, $e_k$ | a code's number, how many codes there are, the code itself |
# | $D$ | the numbers of one vector; the *distortion* is called "error" in words |
# | $\operatorname{sg}$ | stop gradient: a constant for the backward pass (`detach`) |
# | $\beta$; $\gamma$ | weight of the commitment; memory of the moving averages |
# | $n_k$, $m_k$ | moving averages: how many vectors chose code $k$, and their sum |
# | $r_s$, $M$ | what is left over after stage $s$ of a residual quantiser; how many stages or books there are |
# | $L$ | the levels of a scalar quantiser |
#
# </details>
#
# ## 1 · The whole idea, with points in the plane
#
# Cut the square from -3.5 to 3.5 into 16 × 16 cells. A point is *spelled* by the two numbers of its cell,
# $k_1$ for the column and $k_2$ for the row: 256 spellings. Now count, in 20,000 points, how often each
# spelling occurs. The counts are a model, $p(k_1, k_2) = p(k_1)\, p(k_2 \mid k_1)$, and drawing from it is
# easy: first $k_1$, then $k_2$, then any place in the cell.
#
# *Question: suppose that we draw $k_1$ and $k_2$ each by its own counts, without looking at the other. What
# will the drawn points look like?* Run it.

# %% tags=["demo"]
# long: count, draw, and the figure
points = torch.as_tensor(data.toy("pinwheel", 20_000, seed=1))
k = ((points + 3.5) / 7 * 16).long().clamp(0, 15)  # (N, 2), each from 0 to 15
joint = torch.bincount(16 * k[:, 0] + k[:, 1], minlength=256).reshape(16, 16) / len(k)
apart = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0)
g = torch.Generator().manual_seed(1)
fig, axes = plot.figure(1, 3, height=3.4)
axes[0].scatter(*points[:3_000].T, s=2, color=plot.INK)
axes[0].set_title("Points")
for ax, (name, p), colour in zip(
    axes[1:], {"$p(k_1)\\,p(k_2|k_1)$": joint, "$p(k_1)\\,p(k_2)$": apart}.items(), plot.COLOURS, strict=False
):
    number = torch.multinomial(p.flatten(), 3_000, replacement=True, generator=g)
    cell = torch.stack([number // 16, number % 16], dim=1) + torch.rand(3_000, 2, generator=g)
    ax.scatter(*(cell / 16 * 7 - 3.5).T, s=2, color=colour)
    ax.set_title(name)
for ax in axes:
    ax.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), xticks=[], yticks=[], aspect="equal")
plt.show()
often = joint > 1e-3
bits = [-(torch.xlogy(joint, p).sum() / math.log(2)).item() for p in (joint, apart)]
print(
    f"{often.sum()} of 256 spellings occur more than once in 1,000 points; they hold {joint[often].sum():.1%}"
)
print(
    f"bits for a spelling: 8 if all cost the same, {bits[1]:.2f} by p(k1) p(k2), {bits[0]:.2f} by p(k1, k2)"
)
board.claim(
    "Drawn each by its own counts, more than a fifth of the points fall elsewhere.", apart[often].sum() < 0.8
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Each column and each row is right, and the figure is smeared: the second symbol has to know the first.
#
# </details>
#
# This is why the family can work at all. **Data use few of the spellings that there are, and which they use
# can be learned by counting symbols in their company**, an old task for which language models exist. For
# letters there will be $64^{16}$ spellings, $2^{96}$: too many to count, so a transformer takes the table's
# place. And no grid in 256 dimensions would do: an encoder must find the alphabet. The rest of the lesson is
# about that alphabet, first where the best one is known.
#
# ## 2 · Rounding, where the best is known
#
# A *quantiser* has a *code book* of $K$ vectors $e_1, \dots, e_K$, the *codes*. It replaces a vector $z$ by
# the nearest of them, and needs to send only its number:
#
# $$k(z) = \arg\min_k \lVert z - e_k \rVert^2 = \arg\max_k\ \big( z \cdot e_k - \tfrac12 \lVert e_k \rVert^2 \big), \qquad q(z) = e_{k(z)} .$$
#
# The second form follows from $\lVert z - e \rVert^2 = \lVert z \rVert^2 - 2\, z \cdot e + \lVert e
# \rVert^2$: the first term is the same for every code, and the rest is halved with its sign changed. What
# is left is one matrix product for all $z$ and all codes. The *rate* is $\log_2 K$ bits, if every number
# costs the same. The *error* is the mean of $(z - q)^2$ over all numbers.
#
# Where should a code lie? For all $z$ of its cell, with mean $\mu$,
#
# $$\sum_z \lVert z - e \rVert^2 = \sum_z \lVert z - \mu \rVert^2 + n\, \lVert \mu - e \rVert^2 ,$$
#
# for the cross term $2 \sum_z (z - \mu) \cdot (\mu - e)$ is 0. So the best place is the mean. *Lloyd's
# rounds* take turns: every $z$ goes to its nearest code, every code to the mean of its cell. Neither step
# can raise the error.
#
# Codes that are never used are bits thrown away. So we count. With $p_k$ the share of vectors whose nearest
# code is $k$, the *entropy* is $H = -\sum_k p_k \log p_k$, and the *perplexity* is $e^H$: the number of
# equally used codes that would have the same entropy. It is at most $K$, and 1 if one code serves all.


# %% build="lloyd"
# long: the nearest code, Lloyd's rounds and a count
def nearest(z, codes):
    """The number of the nearest code, the lower of two at equal distance: (N, D), (K, D) -> (N,) int64."""
    ### BEGIN SOLUTION
    return torch.addmm(codes.square().sum(dim=1), z, codes.T, beta=-0.5).argmax(dim=1)  # (N, K) -> (N,)
    ### END SOLUTION


def lloyd(z, codes, rounds):
    """Codes (K, D) after so many rounds: each moves to the mean of the z (N, D) that are nearest to it.

    A code that no z is nearest to stays. Source: Lloyd 1957 (published 1982);
    the same rounds are called k-means.
    """
    ### BEGIN SOLUTION
    for _ in range(rounds):
        k = nearest(z, codes)
        count = torch.zeros(len(codes), 1).to(z).index_add_(0, k, torch.ones_like(z[:, :1]))
        total = torch.zeros_like(codes).index_add_(0, k, z)
        codes = torch.where(count > 0, total / count.clamp(min=1), codes)
    return codes
    ### END SOLUTION


def perplexity(k, K):
    """exp of the entropy of the code numbers k (any shape), each from 0 to K - 1: a float from 1 to K."""
    count = torch.bincount(k.flatten(), minlength=K).float()
    return torch.special.entr(count / count.sum()).sum().exp().item()


# %% check="lloyd"
z_check = torch.tensor([[0.0, 1.0], [3.0, 3.0], [4.0, 3.0]])
codes_check = torch.tensor([[0.0, 0.0], [3.0, 2.0], [90.0, 90.0]])
assert nearest(z_check, codes_check).tolist() == [0, 1, 1], "a long code has no advantage: - |e|^2 / 2"
after = lloyd(z_check, codes_check, 1)
assert after[:2].tolist() == [[0.0, 1.0], [3.5, 3.0]], "each code goes to the mean of its cell"
assert after[2].tolist() == [90.0, 90.0], "nobody is nearest to the third: it stays"
assert math.isclose(perplexity(torch.arange(8), 8), 8, rel_tol=1e-6), "eight codes used alike: 8"
assert math.isclose(perplexity(torch.zeros(5).long(), 8), 1, rel_tol=1e-6), "one of eight: 1"

# %% [markdown]
# For the simplest data the best error is known. Uniform on $[0, 1]$: $K$ equal cells, and in each the
# variance of a uniform number of width $1/K$, which is $1/(12 K^2)$. Normal: Max (1960) tabulated the best
# errors for $K = 2, 4, 8$: 0.3634, 0.1175 and 0.03454. And no quantiser of any kind, however long the blocks
# it rounds at once, gets a standard normal number below Shannon's bound $2^{-2R}$ at a rate of $R$ bits.
#
# Why quantise *vectors*? Because cells in the plane can have better shapes than squares, and codes can sit
# where the data are. Two normal numbers, two bits for each: a grid of 4 × 4 against 16 codes placed by
# Lloyd's rounds in the plane.

# %% tags=["demo"]
# long: the errors, and one figure of three panels
evenly = (torch.arange(S.line, dtype=torch.float64) + 0.5) / S.line
numbers = {"uniform": evenly[:, None], "normal": torch.special.ndtri(evenly)[:, None]}  # evenly likely values
known = {"uniform": lambda K: 1 / (12 * K**2), "normal": {2: 0.3634, 4: 0.1175, 8: 0.03454}.get}
scalar, worst = {}, 0.0  # the error of Lloyd's codes; the largest relative distance from the best
for name, z in numbers.items():
    for K in (2, 4, 8):
        codes = lloyd(z, z[((torch.arange(K) + 0.5) / K * S.line).long()], 40 * K)
        scalar[name, K] = (z - codes[nearest(z, codes)]).square().mean().item()
        worst = max(worst, abs(scalar[name, K] / known[name](K) - 1))
        print(f"{name:7} K = {K}: error {scalar[name, K]:.5f}, best {known[name](K):.5f}", end="")
        print(f", Shannon's bound {K**-2.0:.5f}" if name == "normal" else "")
board.claim("Lloyd's rounds find all six best errors to half a per cent.", worst < 0.005)
z = torch.randn(S.line, 2, generator=g)
line = lloyd(numbers["normal"], numbers["normal"][((torch.arange(4) + 0.5) / 4 * S.line).long()], 160)
books = {
    "4 × 4 grid": torch.cartesian_prod(line[:, 0], line[:, 0]).float(),
    "16 vectors": lloyd(z, z[:16], 60),
}
of_16 = {name: (z - book[nearest(z, book)]).square().mean().item() for name, book in books.items()}
board.claim(
    "16 vectors in the plane lose less than the best grid.", of_16["16 vectors"] < of_16["4 × 4 grid"]
)
fig, axes = plot.figure(1, 3, height=2.9)
for ax, (name, codes) in zip(axes, books.items(), strict=False):
    some = z[:3_000]
    ax.scatter(*some.T, s=3, c=nearest(some, codes), cmap="tab20", alpha=0.6)
    ax.plot(*codes.T, "o", color=plot.INK, ms=4)
    ax.set(
        title=f"{name}: error {of_16[name]:.4f}", xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="$z_1$"
    )
    print(f"{name}: perplexity {perplexity(nearest(z, codes), 16):.2f} of 16")
axes[0].set_ylabel("$z_2$")
rate = torch.tensor([1.0, 2.0, 3.0])
axes[2].plot(
    rate, [scalar["normal", K] for K in (2, 4, 8)], "-o", color=plot.COLOURS.blue, label="Lloyd, one number"
)
axes[2].plot(rate, 2.0 ** (-2 * rate), "--", color=plot.INK, lw=1.5, label="$2^{-2R}$")
axes[2].set(yscale="log", xlabel="bits for a number, $R$", title="Error", xticks=[1, 2, 3], ylim=(0.012, 0.9))
axes[2].set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
axes[2].minorticks_off()
axes[2].legend(loc="upper right")
plt.show()

# %% [markdown]
# The 16 vectors win a few per cent, and would win more in more dimensions. A good book need not use all its
# codes alike: a cell in the thin outskirts of the data is chosen less often. Every further bit divides the
# bound by 4. It divides Lloyd's error by a little more than 3 here, and by nearly 4 when there are many bits.
#
# ## 3 · A gradient through rounding
#
# The encoder should learn from the decoder's error. Between them stands $q(z)$, a staircase: its derivative
# is 0 almost everywhere, and does not exist at the steps. The *straight-through estimator* (Bengio, Léonard
# and Courville, 2013) rounds forwards, and backwards pretends that it did not:
#
# $$\tilde q(z) = z + \operatorname{sg}\big[q(z) - z\big], \qquad \frac{\partial \tilde q}{\partial z} = I .$$
#
# The value is $q(z)$; the gradient is that of $z$.


# %% build="straight-through"
def straight_through(z, q):
    """q forwards; backwards the gradient goes to z as if it were q, and none to q. Of one shape."""
    ### BEGIN SOLUTION
    return z + (q - z).detach()
    ### END SOLUTION


# %% check="straight-through"
z_check = torch.tensor([[0.3, 1.8]], requires_grad=True)
q_check = torch.tensor([[0.0, 2.0]], requires_grad=True)
through = straight_through(z_check, q_check)
assert torch.allclose(through, q_check), "forwards it is q"
at_z, at_q = torch.autograd.grad(
    (through * torch.tensor([5.0, 7.0])).sum(), (z_check, q_check), allow_unused=True
)
assert at_z.tolist() == [[5.0, 7.0]], "backwards z gets the gradient of q, whole"
assert at_q is None or not at_q.any(), "and q gets none"

# %% [markdown]
# A lie about the slope: why should it help? There is a case where it is the truth. Let a number be rounded to
# whole numbers with *dither*: a random shift $u$, uniform on $[-\tfrac12, \tfrac12]$, is added before rounding
# and taken off after it, $q_u(z) = \operatorname{round}(z + u) - u$. The error $q_u(z) - z$ is then uniform on
# $[-\tfrac12, \tfrac12]$ *whatever $z$ is*. So for any loss $f$
#
# $$\mathbb E_u\, f(q_u(z)) = \int_{-1/2}^{1/2} f(z + v)\, dv, \qquad \frac{d}{dz}\, \mathbb E_u\, f(q_u(z)) = \int_{-1/2}^{1/2} f'(z + v)\, dv = \mathbb E_u\, f'(q_u(z)) ,$$
#
# and the last expression is the mean of the straight-through gradient. The loss, averaged over the rounding's
# error, is smooth, and straight-through gives its slope. Without dither the error depends on $z$, and the
# gradient is right only so far as the error acts like such noise.
#
# <details><summary>Why the error is uniform</summary>
#
# $z + u$ is uniform on an interval of length 1, so its fractional part $w$ is uniform on $[0, 1)$, whatever $z$
# is. And $\operatorname{round}(z + u) - (z + u)$ depends on $f$ alone: it is $-f$ up to one half and $1 -
# f$ above it. That is uniform on $[-\tfrac12, \tfrac12]$, and it is $q_u(z) - z$.
#
# </details>

# %% tags=["demo"]
g = torch.Generator().manual_seed(2)
worst = 0.0
for at in (0.1, 0.4, 0.7, 1.3):
    u = torch.rand(1_000_000, generator=g, dtype=torch.float64) - 0.5
    z = torch.full_like(u, at, requires_grad=True)
    straight_through(z, (z + u).round() - u).mul(2).sin().sum().backward()  # f(q) = sin 2 q
    true = math.sin(2 * at + 1) - math.sin(2 * at - 1)  # the slope of the mean loss, in closed form
    worst = max(worst, abs(z.grad.mean().item() - true))
    print(f"z = {at}: straight-through {z.grad.mean():7.4f} with dither, the mean loss {true:7.4f}", end="")
    print(f"; without dither {2 * math.cos(2 * round(at)):7.4f}, the slope of the loss 0")
board.claim("With dither straight-through is the slope of the mean loss, to 0.005.", worst < 0.005)

# %% [markdown]
# Now without dither. One number $z$, codes 0, 1, 2, 3, and a loss that wants $q$ to be $c$: $(q - c)^2$. Its
# straight-through gradient is $2(q - c)$. If $c = 1.3$ it moves $z$ towards the right cell, and then, because
# no code is exactly $c$, to the cell's edge, where it flutters between two codes.
#
# *Question: let $c = 5$. The best that can be had is $q = 3$. Where does $z$ go?*
#
# <details><summary>Answer</summary>
#
# Once $q = 3$ the gradient is $2(3 - 5) = -4$, and it stays that for ever: $z$ runs off to infinity, and
# nothing gets better.
#
# </details>
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


# %% tags=["demo"]
# long: the numbers and the figure
for beta in (0.5, 1.0, 2.0):
    print(f"c = 5, beta {beta}: z ends at {walk(5.0, beta)[-1]:.4f}; in closed form {3 + 2 / beta:.4f}")
board.claim("With c = 5 and no commitment z goes on by the same step for ever.", walk(5.0, 0.0)[-1] > 40)
board.claim(
    "With commitment it ends where the formula says.",
    all(abs(walk(5.0, beta)[-1] - 3 - 2 / beta) < 1e-3 for beta in (0.5, 1.0, 2.0)),
)
fig, axes = plot.figure(1, 2, height=3.0)
at = torch.linspace(-0.7, 3.9, 600)
q = steps_of_one[nearest(at[:, None], steps_of_one)][:, 0]
axes[0].plot(at, (q - 1.3).square(), color=plot.COLOURS.blue, label="loss $(q - 1.3)^2$")
axes[0].plot(at, 2 * (q - 1.3), color=plot.COLOURS.vermilion, lw=1.5, label="straight-through gradient")
axes[0].axhline(0, color=plot.INK, lw=0.8)
axes[0].set(title="A staircase, and the gradient we use", xlabel="$z$")
axes[0].legend(loc="upper left")
for (c, beta), colour in zip(((1.3, 0.0), (5.0, 0.0), (5.0, 0.5), (5.0, 1.0)), plot.COLOURS, strict=False):
    axes[1].plot(walk(c, beta), color=colour, lw=1.8, label=rf"$c = {c:g}$, $\beta = {beta:g}$")
axes[1].set(title="Where $z$ goes", xlabel="step", ylabel="$z$", ylim=(0, 15))
axes[1].legend(loc="upper right")
plt.show()

# %% [markdown]
# In a VQ-VAE the codes also move. With the paper's loss they follow by a gradient, that of
# $\lVert \operatorname{sg}[z] - e_k \rVert^2$ (exercise 6). The next section has a way that needs no learning
# rate.
#
# ## 4 · A code book that follows its data
#
# Lloyd's rounds need all $z$ at once, and here $z$ changes with the encoder. So a code should go to the mean
# of the vectors that chose it *lately*. Weigh a batch that is $a$ batches old by $\gamma^a$, with a memory
# $\gamma$ just below 1. The weighted mean is a quotient, and both its parts can be kept as running averages.
# With $\hat n_k$ the number of vectors of this batch that choose code $k$, and $\hat m_k$ their sum:
#
# $$n_k \leftarrow \gamma\, n_k + (1 - \gamma)\, \hat n_k, \qquad m_k \leftarrow \gamma\, m_k + (1 - \gamma)\, \hat m_k, \qquad e_k = \frac{m_k}{n_k} .$$
#
# Unrolled, $n_k = (1 - \gamma) \sum_a \gamma^a\, \hat n_k^{(a)}$ and likewise $m_k$; in the quotient the
# factor $1 - \gamma$ cancels, and what is left is the weighted mean. It is Lloyd's step with a fading memory
# (the VQ-VAE paper's appendix A.1). A code that nobody chooses has $n_k \to 0$, so the division uses a
# smoothed count (*Laplace smoothing*): with $N = \sum_k n_k$ it is $(n_k + \epsilon)\, N / (N + K\epsilon)$.


# %% build="follow"
def follow(n, m, z, k, decay):
    """The moving averages (K,), (K, D) after a batch z (N, D) with code numbers k (N,): new tensors.

    decay: gamma. Source: van den Oord et al. 2017, appendix A.1.
    """
    ### BEGIN SOLUTION
    count = torch.zeros_like(n).index_add_(0, k, torch.ones_like(z[:, 0]))
    total = torch.zeros_like(m).index_add_(0, k, z)
    return n.lerp(count, 1 - decay), m.lerp(total, 1 - decay)
    ### END SOLUTION


def codes_of(n, m, eps=1e-5):
    """The codes (K, D): m over the smoothed counts."""
    ### BEGIN SOLUTION
    N = n.sum()
    return m / ((n + eps) * N / (N + len(n) * eps))[:, None]
    ### END SOLUTION


# %% check="follow"
n_check, m_check = torch.tensor([2.0, 1.0, 1.0]), torch.tensor([[2.0], [5.0], [7.0]])
z_check, k_check = torch.tensor([[4.0], [6.0], [9.0]]), torch.tensor([0, 0, 1])
n_new, m_new = follow(n_check, m_check, z_check, k_check, 0.75)
assert torch.allclose(n_new, torch.tensor([2.0, 1.0, 0.75])), "0.75 n + 0.25 times the batch's count"
assert torch.allclose(m_new, torch.tensor([[4.0], [6.0], [5.25]])), "likewise the sums"
assert n_check.tolist() == [2.0, 1.0, 1.0], "the old averages are left alone"
assert torch.allclose(codes_of(n_new, m_new), torch.tensor([[2.0], [6.0], [7.0]]), atol=1e-3), "m / n"
assert torch.isfinite(codes_of(torch.tensor([0.0, 4.0]), torch.tensor([[0.0], [4.0]]))).all(), (
    "n = 0 is no 0/0"
)

# %% [markdown]
# Two habits keep all codes at work. **Start from data**: a code that begins far from all $z$ is not chosen,
# so it does not move, so it is not chosen. **Revive**: a code chosen much less often than its share,
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
            self.move(z, k)
        return q, k

    def forward(self, z):
        """(N, D) -> q with a gradient to z (N, D), numbers (N, 1), the commitment |z - q|^2, a mean."""
        q, k = self.look_up(z)
        return straight_through(z, q), k[:, None], F.mse_loss(z, q)

    @torch.no_grad()
    def begin(self, z):
        """Codes at random vectors of z, then ten of Lloyd's rounds; each counts as used like the others."""
        self.place(lloyd(z, z[torch.randint(len(z), (self.K,), device=z.device)], 10), len(z) / self.K)
        self.waits = False

    def place(self, codes, n=1.0):
        """Put the codes (K, D) there, each with n vectors behind it."""
        self.codes.copy_(codes)
        self.n.fill_(n)
        self.m.copy_(codes * n)

    @torch.no_grad()
    def move(self, z, k):
        """One step of the moving averages; then revive what is dead."""
        n, m = follow(self.n, self.m, z, k, self.decay)
        self.n.copy_(n)
        self.m.copy_(m)
        self.codes.copy_(codes_of(self.n, self.m, self.eps))
        if self.floor > 0:
            self.revive(z, self.floor * self.n.sum() / self.K)

    def revive(self, z, least):
        """Codes used less than `least` jump to random vectors of z, and count as used so much."""
        found = z[torch.randint(len(z), (self.K,), device=z.device)]  # one for each: no wait for the device
        dead = self.n < least
        self.n.copy_(torch.where(dead, least, self.n))
        self.codes.copy_(torch.where(dead[:, None], found, self.codes))
        self.m.copy_(torch.where(dead[:, None], found * least, self.m))


# %% [markdown]
# In the plane we can watch: batches of 100 points of the pinwheel, 16 codes. Two books begin in a far corner,
# without revival, one with hardly any smoothing ($\epsilon = 10^{-30}$) and one with the usual $10^{-5}$; a
# third begins from data, with revival. Lloyd's rounds on all 20,000 points at once are the yardstick.
#
# *Question: what becomes of a code in the corner that nobody ever chooses? Its $n_k$ and $m_k$ both shrink by
# $\gamma$ a batch. Look at the smoothed quotient before you run.*

# %% tags=["demo"]
# long: three books on one stream, and the figure
torch.manual_seed(3)
names = ("far start", "far start, smoothed", "data, revival")
how = (dict(floor=0, start=False, eps=1e-30), dict(floor=0, start=False), {})
stream = dict(zip(names, (Codebook(16, 2, **h) for h in how), strict=True))
for name in names[:2]:
    stream[name].place(torch.randn(16, 2, generator=torch.Generator().manual_seed(4)) * 0.3 + 4)
turn = math.log(1 / 1e-5) / math.log(1 / 0.97)  # batches until gamma^t n_0, n_0 = 1, is epsilon
seen = {name: [] for name in names}
for _ in range(S.stream):
    batch = points[torch.randint(len(points), (100,))]
    for name, book in stream.items():
        book.look_up(batch)
        seen[name].append(perplexity(nearest(points[:2_000], book.codes), 16))
best = lloyd(points, points[:16], 50)
stream_error = {
    name: (points - codes[nearest(points, codes)]).square().mean().item()
    for name, codes in {**{name: book.codes for name, book in stream.items()}, "Lloyd": best}.items()
}
fig, axes = plot.figure(1, 3, height=3.2)
for (name, line), colour in zip(seen.items(), plot.COLOURS, strict=False):
    axes[0].plot(line, color=colour, label=name)
axes[0].axvline(turn, color=plot.INK, lw=1, ls=":")
axes[0].set(title="Perplexity", xlabel="batch", ylim=(0, 16.5))
axes[0].legend(loc="lower right", fontsize=8.5)
for ax, name, colour in zip(
    axes[1:], (names[0], names[2]), (plot.COLOURS.blue, plot.COLOURS.green), strict=True
):
    ax.scatter(*points[:2_000].T, s=2, color="#9CA3AF")
    ax.plot(*stream[name].codes.T, "o", color=colour, ms=6)
    ax.set(
        title=f"{name}: error {stream_error[name]:.3f}", xlim=(-3.3, 5), ylim=(-3.3, 5), xticks=[], yticks=[]
    )
    ax.set_aspect("equal")
plt.show()
print({name: round(error, 3) for name, error in stream_error.items()}, f"the dotted line: batch {turn:.0f}")
board.claim("Without smoothing most far codes still wait after 1,000 batches.", seen[names[0]][-1] < 8)
board.claim("With it they are at work after 1,000 batches.", seen[names[1]][-1] > 10)
board.claim(
    "Data and revival come within a quarter of Lloyd on all points.",
    stream_error[names[2]] < 1.25 * stream_error["Lloyd"],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# $m_k = \gamma^t m_k^{(0)}$ and $n_k = \gamma^t n_k^{(0)}$. While $n_k$ is far above $\epsilon$ the powers
# cancel, and the code stays where it is. Once $n_k$ is below $\epsilon$, after $\log(n_k^{(0)} / \epsilon)
# / \log(1/\gamma)$ batches, here 378, the denominator no longer shrinks, and the code goes to 0 with
# $\gamma^t$. The data lie around 0, so it is chosen again. With $\epsilon = 10^{-30}$ that takes 2,270
# batches. So smoothing brings the dead back, late, and only where the origin lies among the data.
#
# </details>
#
# The stream with both habits comes close to Lloyd, which saw everything at once.
#
# ## 5 · A VQ-VAE for glyphs
#
# The encoder turns a picture of 16 × 16 pixels into 4 × 4 places with $D$ numbers each. Every place is
# rounded to one of $K$ codes: a picture becomes 16 symbols. The decoder draws from the 16 codes. The loss is
#
# $$\frac{\lVert x - \hat x \rVert^2}{\operatorname{Var} x} + \beta\, \lVert z - \operatorname{sg}[q(z)] \rVert^2, \qquad \beta = \tfrac14,$$
#
# both as means over their numbers. The first term, divided by the variance of all pixels, is 1 for a decoder
# that always draws the mean grey, and 0 for a perfect one.
#
# **Where is the ELBO?** It is called a VAE, and there is no KL term. Take lesson 10's bound with a discrete
# latent $k = (k_1, \dots, k_{16})$:
#
# $$\log p(x) \ \ge\ \mathbb E_{Q(k|x)} \log p(x|k) \;-\; \mathrm{KL}\big(Q(k|x) \,\|\, p(k)\big) .$$
#
# ($Q$ is lesson 10's $q$; here $q$ is a rounded vector.)
#
# 1. The posterior is certain: $Q(k|x) = 1$ for the spelling that the encoder chooses, and 0 for all others.
#    Its expectation is one term, $\log p(x|k(x))$.
# 2. Its entropy is 0, so $\mathrm{KL} = \sum_k Q \log (Q/p) = -\log p(k(x))$: the length of the spelling.
# 3. While the networks train, $p(k)$ is uniform: $-\log p = 16 \log K$, whatever the encoder does. A constant
#    has no gradient, and it drops out. This is also why this family cannot collapse onto its prior as lesson
#    10's may: no encoder pays less by saying less.
# 4. With a normal $p(x|k)$ of fixed variance around the decoder's picture, $\log p(x|k)$ is a constant less a
#    multiple of the squared error. That is the first term of the loss. (The second only keeps $z$ near $q$,
#    for the gradient's sake; it has no part in the bound.)
#
# Afterwards, in section 9, a learned $p(k)$ takes the place of the uniform one, and the bound rises by the
# bits that it saves.

# %% folded="Glyphs; networks: residual blocks, encoder, decoder"
# long: the data, the encoder, and the same layers backwards
glyphs = data.glyphs(16, each=S.pictures)  # training pictures of each character in each style
CLASSES = len(data.CAPITALS_AND_DIGITS)  # 36
x_train, x_test = (torch.as_tensor(part.x, device=device) for part in (glyphs.train, glyphs.test))
y_train, y_test = (torch.as_tensor(part.y, device=device) for part in (glyphs.train, glyphs.test))
VARIANCE = x_train.var().item()
print(f"{len(x_train):,} pictures for training; ink from 0 to 1, variance {VARIANCE:.4f}")


class Residual(nn.Module):
    """Two convolutions and a bypass: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, C):
        super().__init__()
        halves = [(nn.GroupNorm(8, C), nn.SiLU(), nn.Conv2d(C, C, 3, padding=1)) for _ in range(2)]
        self.body = nn.Sequential(*halves[0], *halves[1])

    def forward(self, h):
        return h + self.body(h)


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


# %%
class Tokenizer(nn.Module):
    """An autoencoder that rounds in the middle: pictures (B, 1, 16, 16) <-> code numbers (B, 16, stages).

    quantiser: takes vectors (N, D) and returns what `Codebook` returns: q with a gradient, code numbers,
    the commitment. Sections 6 and 7 put others there.
    """

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


# %% build="loss"
def loss_of(model, x, beta=0.25):
    """Squared error over the variance of the pixels, plus beta times the commitment: a 0-d tensor."""
    ### BEGIN SOLUTION
    x_hat, _, commitment = model(x)
    return F.mse_loss(x_hat.float(), x) / VARIANCE + beta * commitment
    ### END SOLUTION


# %% check="loss"
x_check = torch.zeros(2, 1, 16, 16)
model_check = lambda x: (x + 0.5, torch.zeros(2, 16, 1).long(), torch.tensor(3.0))  # noqa: E731
assert math.isclose(loss_of(model_check, x_check, 0.0), 0.25 / VARIANCE, rel_tol=1e-5), (
    "off by a half everywhere"
)
more = loss_of(model_check, x_check, 2.0) - loss_of(model_check, x_check, 0.0)
assert math.isclose(more, 6.0, rel_tol=1e-5), "beta times the commitment"


# %% folded="The loop that trains every tokenizer here, passes over all pictures, and the model"
# long: the tools of training
def update(model, optimizer, x, beta=0.25):
    """One step of training; the loss stays on its device."""
    with genmap.autocast(device):
        loss = loss_of(model, x, beta)
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


def batch_of(rows):
    """So many random training pictures."""
    return x_train[torch.randint(len(x_train), (rows,), device=device)]


def train(model, updates, batch, title, watch=None):
    """AdamW; the rate rises for a tenth of the updates and falls to 0. Returns the model, and the seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), S.rate, betas=(0.9, 0.99), weight_decay=0.0)
    shape = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min(1, 10 * (n + 1) / updates) * math.cos(math.pi / 2 * n / (updates + 1)) ** 2
    )
    curve, began = progress.Curve(title) if watch else None, time.perf_counter()
    for n in progress.track(range(updates), title=title):
        loss = update(model.train(), optimizer, batch_of(batch))
        shape.step()
        if watch:
            curve.add(n, loss)
            watch(n + 1)
    seconds = time.perf_counter() - began
    _ = curve and curve.close()
    return model.eval(), seconds


@torch.no_grad()
def pass_through(model, x):
    """Pictures and code numbers of all x, a thousand at a time: (N, 1, 16, 16), (N, 16, stages)."""
    parts = [model(part)[:2] for part in x.split(1_000)]
    return torch.cat([p[0] for p in parts]).clamp(0, 1), torch.cat([p[1] for p in parts])


def short_run(quantiser, updates, beta=0.25, D=S.D, each=None):
    """A narrow tokenizer after so many updates at a fixed rate; each(n, model) is called after every one."""
    torch.manual_seed(10)
    net = Tokenizer(S.narrow, D, quantiser).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), S.rate, weight_decay=0.0)
    for n in progress.track(range(updates), title="short training"):
        update(net.train(), optimizer, batch_of(S.few_batch), beta)
        if each:
            each(n, net.eval())
    return net.eval()


@torch.no_grad()
def measured(model, x, depth=None):
    """Share of the variance that is missing, and the bits of entropy of a place, on pictures x."""
    missing, spelled = 0.0, []
    for part in x.split(1_000):
        z = model.spell(part)
        q, k, _ = model.quantiser(z) if depth is None else model.quantiser(z, depth)
        missing += F.mse_loss(model.draw(q), part, reduction="sum").item() / x.numel() / VARIANCE
        spelled.append(k)
    use = torch.unique(torch.cat(spelled), dim=0, return_counts=True)[1].cpu().double()
    return missing, torch.special.entr(use / use.sum()).sum().item() / math.log(2)


torch.manual_seed(1)
model = Tokenizer(S.C, S.D, Codebook(S.K, S.D)).to(device)
vq_parameters = sum(p.numel() for p in model.parameters()) + S.K * S.D
with torch.no_grad():
    x_hat, k, _ = model.eval()(x_train[:2])
print(f"{vq_parameters:,} parameters; pictures {tuple(x_hat.shape)}, code numbers {tuple(k.shape)}")

# %% tags=["demo"]
# long: the training and its figure
some = x_test[torch.randperm(len(x_test), generator=torch.Generator().manual_seed(4))[:18].to(device)]
drawn = {}


@torch.no_grad()
def watch(n):
    """Keep what the model makes of some test pictures, at a few moments."""
    if n in (S.updates // 20, S.updates // 4, S.updates):
        drawn[n] = model.eval()(some)[0]


model, vq_seconds = train(model, S.updates, S.batch, "VQ-VAE", watch)
fig, axes = plot.figure(len(drawn) + 1, 1, height=0.9)
for ax, (n, x) in zip(axes, drawn.items(), strict=False):
    error = F.mse_loss(x, some).item() / VARIANCE
    plot.images(
        x, columns=18, ax=ax, title=f"After {n} updates: of these 18, {error:.1%} of the variance is missing"
    )
plot.images(some, columns=18, ax=axes[-1], title="The pictures themselves")
plt.show()
print(f"{S.updates} updates in {vq_seconds:.0f} s")

# %% [markdown]
# The whole test set: how much is lost, how many codes are at work, and does the *measuring net*, a classifier
# of letters that no model here was trained with, still read them? Below the figures: the surroundings, 8 × 8
# pixels, of every place where a code was used, averaged.

# %% tags=["demo"]
# long: the figures, and the mean surroundings of each code
x_hat, k_test = pass_through(model, x_test)
vq_missing = (F.mse_loss(x_hat, x_test) / VARIANCE).item()
vq_perplexity = perplexity(k_test, S.K)
judge = features.glyphs(16)
read = (torch.as_tensor(judge(x_hat).labels, device=device) == y_test).float().mean()
print(f"missing: {vq_missing:.1%} of the variance; perplexity {vq_perplexity:.1f} of {S.K}")
print(f"{16 * math.log2(S.K):.0f} bits a picture, instead of {256 * 8:,}")
print(f"letters read correctly: {read:.3f} of the copies, {judge.accuracy:.3f} of the originals")
patches = F.unfold(x_test, 8, padding=2, stride=4).mT.flatten(0, 1)  # (16 N, 64), in the order of `spell`
used = torch.bincount(k_test.flatten(), minlength=S.K).float()
mean_patch = torch.zeros(S.K, 64, device=device).index_add_(0, k_test.flatten(), patches)
mean_patch /= used[:, None].clamp(min=1)
order = used.argsort(descending=True)[:64]
plot.images(
    mean_patch[order].reshape(-1, 1, 8, 8),
    columns=16,
    title="Mean surroundings of each code, the most used first",
)
plt.show()
board.claim("More than nine in ten copies are read as their letter.", read > 0.9)

# %% [markdown]
# Some are plain: empty paper, an edge on one side, a heavy bar. Others are blurred, like many letters laid on
# each other. The encoder's convolutions see the whole picture from every place, so a symbol may say "the
# third stroke of a slanted, heavy one" as well as "an edge here". The codes are what 16 symbols say about
# letters with the least error, not what we would call an alphabet.
#
# *Question: does a code mean the same wherever it stands? If one symbol is changed, how much of the change
# will lie in its own 4 × 4 pixels of 256?* Choose a letter, a place and another code, and look.


# %% folded="Respelling: one symbol changed"
# long: the swap, the codes worth trying, and the row for the controls
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
# long: the controls, a figure that says the same, and the share in its place
controls = interact(
    play_respell,
    letter=widgets.Dropdown(options=list(data.CAPITALS_AND_DIGITS), value="G"),
    row=widgets.IntSlider(1, min=0, max=3, continuous_update=False),
    column=widgets.IntSlider(2, min=0, max=3, continuous_update=False),
    code=widgets.IntSlider(farthest("G", 1, 2, 1)[0], min=0, max=S.K - 1, continuous_update=False),
)
fig, axes = plot.figure(2, 1, height=1.25)
for ax, (row, column) in zip(axes, ((1, 2), (2, 0)), strict=True):
    far = farthest("G", row, column, 8)
    rows = [respell("G", row, column, code)[2] for code in far]
    plot.images(
        torch.stack([respell("G", row, column, 0)[1], *rows]), columns=9, ax=ax, captions=["copy", *far]
    )
    ax.set_title(f"Row {row}, column {column}: the eight codes farthest from its own")
plt.show()
inside = total = 0.0
for n, letter in enumerate(data.CAPITALS_AND_DIGITS):
    for place in range(16):
        row, column = divmod(place, 4)
        change = respell(letter, row, column, (7 * n + place) % S.K)[3, 0].square()
        inside += change[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].sum().item()
        total += change.sum().item()
print(f"{inside / total:.0%} of the change lies in the place's own pixels; evenly spread it is {1 / 16:.0%}")
board.claim(
    "Between three times an even spread and two thirds lie in the place's own pixels.",
    3 / 16 < inside / total < 0.67,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The share inside is several times what an even spread would put there, and far from all. The decoder, too,
# looks at the neighbours. It mends the joints, and it takes a single odd symbol for less than it says if the
# others disagree. So a code means a stroke *in its company*, and whoever writes codes must write them to fit:
# the task of section 9.
#
# </details>
#
# ### How hard should the commitment pull?
#
# Section 3 says that without it $z$ may run off. With too much of it the encoder attends to its codes and not
# to the picture. Four short trainings from one seed, with $\beta$ from 0 to 16: the length of $z$, the
# rounding's error as a share of the variance of $z$, and the share of the pixels' variance that is missing.

# %% tags=["demo"]
held, swept = x_test[:2_000], {}
for beta in (0.0, 0.25, 2.0, 16.0):
    torch.manual_seed(10)
    net = short_run(Codebook(64, S.D), -(-S.few // 3), beta)
    with torch.no_grad():
        z = net.spell(held)
        error = ((z - net.quantiser(z)[0]).square().sum() / (z - z.mean(dim=0)).square().sum()).item()
    swept[beta] = (z.norm(dim=1).mean().item(), error, measured(net, held)[0])
    length, error, missing = swept[beta]
    print(f"beta {beta:5}: |z| {length:5.2f}, rounding loses {error:5.1%} of z, {missing:.1%} missing")
lengths, errors, missing = zip(*swept.values(), strict=True)
board.claim("The more commitment, the shorter z.", all(a > b for a, b in itertools.pairwise(lengths)))
board.claim("Without commitment rounding loses the largest share of z.", errors[0] == max(errors))
board.claim("With beta = 16 more is missing than with a quarter.", missing[3] > missing[1])

# %% [markdown]
# Too much holds the encoder back. Without any, $z$ grows and the rounding loses more of it; after so few
# updates that does not yet cost pixels for sure. Between the two the choice matters little, and the paper's
# $\tfrac14$ is a usual one.
#
# ## 6 · Residual quantisation: round, then round what is left
#
# More bits want more codes, and $2^{R}$ of them: 10 bits a place are 1,024 codes to search, to store and to
# keep alive. *Residual* quantisation spends the bits in stages. With $r_0 = z$,
#
# $$q_s = \text{nearest code of book } s \text{ to } r_{s-1}, \qquad r_s = r_{s-1} - q_s, \qquad q = \sum_{s} q_s .$$
#
# Add up $r_s = r_{s-1} - q_s$ over all stages: $z - q$ is what the last one left over. And no stage with
# trained codes can make things worse: its codes are means of cells, so
# $\sum \lVert r_{s-1} \rVert^2 = \sum \lVert r_s \rVert^2 + \sum \lVert q_s \rVert^2$ (the identity of
# section 2 with $e = 0$). $M$ books of $K$ codes reach $K^M$ points with $M K$ stored vectors.
#
# *Question: is that as good as one book of $K^M$ free codes?* Pairs of normal numbers, four stages of 4
# codes. The first stage is Lloyd's; what is left has another shape, so each stage has its own book.

# %% tags=["demo"]
# long: two codes side by side, stage by stage
z = torch.randn(S.line, 2, generator=torch.Generator().manual_seed(5))
rest, left, single = z, [], []
for stage in range(1, 5):
    book = lloyd(rest, rest[:4], 40)
    rest = rest - book[nearest(rest, book)]
    left.append(rest.square().mean().item())
    one = lloyd(z, z[: 4**stage], 20)
    single.append((z - one[nearest(z, one)]).square().mean().item())
    print(
        f"{stage} bits: {stage} stages of 4 {left[-1]:.4f}, one book of {4**stage:3} {single[-1]:.4f}",
        end="",
    )
    print(
        f", bound {4.0**-stage:.4f}"
        + (f"; the stage divided by {left[-2] / left[-1]:.2f}" if stage > 1 else "")
    )
board.claim("Every stage lowers the error.", all(a > b for a, b in itertools.pairwise(left)))
board.claim(
    "From the second on one free book of as many bits is better.",
    all(a > b for a, b in zip(left[1:], single[1:], strict=True)),
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. The sums form a pattern that repeats in every cell of the first book, where a free code book could fit
# each cell. That is the price for $M K$ vectors instead of $K^M$.
#
# </details>
#
# In training we draw the number of stages for each batch (*quantiser dropout*, SoundStream): the same network
# then works at every rate, and the first stages carry what matters most.


# %%
class ResidualCodebooks(nn.Module):
    """Several code books of K codes, each for what the ones before it left over
    (Zeghidour et al. 2021, algorithm 1). dropout: a random number of stages in training, else all.
    """

    def __init__(self, stages, K, D, dropout=True, **how):
        super().__init__()
        self.K, self.dropout = K, dropout
        self.books = nn.ModuleList(Codebook(K, D, **how) for _ in range(stages))

    def forward(self, z, depth=None):
        """(N, D) -> q (N, D), numbers (N, depth), commitment. depth: the number of stages, if given."""
        if depth is None:
            drop = self.training and self.dropout
            depth = int(torch.randint(len(self.books), ())) + 1 if drop else len(self.books)
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
# FSQ has the plainest book there is, a grid, like the cells of section 1. The encoder gives few numbers, say
# three. Each is squeezed into an interval by a $\tanh$ and rounded to one of $L_i$ levels; the codes are all
# $\prod L_i$ combinations. With $h = \tfrac12 (L - 1)$, which the code widens by a thousandth (all levels are
# reached without that, too),
#
# $$u = h \tanh(z + b) - o, \qquad q = \frac{\operatorname{round}(u)}{\lfloor L/2 \rfloor},$$
#
# where for odd $L$ the offset $o$ and the shift $b$ are 0: levels $-h, \dots, h$. For even $L$,
# $o = \tfrac12$ puts the levels on whole numbers, $-L/2, \dots, L/2 - 1$, and
# $b = \operatorname{artanh}(o/h)$ sends $z = 0$ to $u = 0$.
#
# The gradient goes straight through the rounding, and the $\tanh$ keeps $u$ within half a level of the grid:
# nothing runs off, so there is nothing to commit to, and no code waits far away, so there is nothing to
# revive. The symbol of a place is the list of its levels (exercise 3 makes one number of it).


# %%
# long: two classes
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


class Unrounded(nn.Module):
    """No quantiser: z itself, no numbers, a commitment of 0."""

    def forward(self, z):
        return z, torch.zeros(len(z), 1, dtype=torch.long, device=z.device), z.new_zeros(())


# %% [markdown]
# ## 8 · Rate and error of all three
#
# The same narrow encoder and decoder, the same number of updates, three quantisers at 2 to 10 bits a place.
# The residual one is trained once, with books of 4 codes and random depth, and then used at every depth; it
# gets no more updates than the others, although it learns all rates at once. Two more trainings show where
# the error comes from: residual books that always use all stages, and no quantiser at all.


# %% tags=["demo"]
curves, nets = {"VQ": [], "RVQ": [], "FSQ": []}, {}
for K in S.sizes:
    nets["VQ", K] = short_run(Codebook(K, S.D), S.few)
    curves["VQ"].append((math.log2(K), *measured(nets["VQ", K], held)))
for levels in S.levels:
    nets["FSQ", math.prod(levels)] = net = short_run(FSQ(levels), S.few, D=len(levels))
    curves["FSQ"].append((math.log2(math.prod(levels)), *measured(net, held)))
staged = short_run(ResidualCodebooks(S.stages, 4, S.D), S.few)
curves["RVQ"] = [(2.0 * depth, *measured(staged, held, depth)) for depth in range(1, S.stages + 1)]
fixed = short_run(ResidualCodebooks(S.stages, 4, S.D, dropout=False), S.few)
floor = measured(short_run(Unrounded(), S.few), held)[0]

# %% tags=["demo"]
# long: two panels, the numbers and what they show
fig, axes = plot.figure(1, 2, height=3.3)
for (name, rows), colour, mark in zip(curves.items(), plot.COLOURS, "os^", strict=False):
    rate, missing, entropy = zip(*rows, strict=True)
    axes[0].plot(rate, missing, marker=mark, color=colour, label=name)
    axes[1].plot(rate, [2**h for h in entropy], marker=mark, color=colour, label=name)
    print(f"{name:3}", ", ".join(f"{r:.1f} bits: {m:.1%} missing, {h:.1f} used" for r, m, h in rows))
print(f"always all {S.stages} stages: {measured(fixed, held)[0]:.1%}; no quantiser: {floor:.1%}")
axes[0].axhline(floor, color=plot.INK, lw=1.2, ls="--", label="no quantiser")
axes[0].set(yscale="log", title="Error at a rate", xlabel="bits a place", ylabel="missing variance")
axes[0].set_yticks([0.07, 0.1, 0.15, 0.2, 0.3], ["7%", "10%", "15%", "20%", "30%"])
axes[0].minorticks_off()
axes[1].plot([2, 10], [4, 1024], ":", color=plot.INK, lw=1.2)
axes[1].text(7.6, 2**8.4, "all in use", ha="right", fontsize=9.5)
axes[1].set(yscale="log", title="Codes at work", xlabel="bits a place", ylabel="perplexity of the codes")
axes[0].legend(fontsize=9)
plt.show()
board.claim(
    "The error of all three falls with the rate.",
    all(a[1] > b[1] for rows in curves.values() for a, b in itertools.pairwise(rows)),
)
most = curves["VQ"][-1][1], curves["FSQ"][-1][1], curves["RVQ"][-1][1]
board.claim(
    "At 10 bits VQ and FSQ would miss more than half of it without rounding.", floor > max(most[:2]) / 2
)
board.claim("At 10 bits FSQ uses fewer codes than VQ.", curves["FSQ"][-1][2] < curves["VQ"][-1][2])
board.claim("There its error is within three points of VQ's.", abs(most[1] - most[0]) < 0.03)
board.claim("Always using all stages lowers the last point of RVQ.", measured(fixed, held)[0] < most[2])

# %% [markdown]
# All three fall with the rate, far more slowly than in section 2, where every bit *for a number* divides the
# error by three or four. One reason is that the bits of a place are shared by the many numbers that it has to
# tell. The other is the dashed line: after so short a training the networks alone miss that much, and no
# rounding can get below it. At 10 bits it is more than half of VQ's and of FSQ's error.
#
# Which of the three is best? One training cannot say, and with other seeds VQ and FSQ change places. What
# differs is how they get there. VQ searches up to a thousand codes where RVQ searches 4 a stage. RVQ pays for
# serving every rate with one network: trained for all stages only, it ends lower. FSQ has no book, no moving
# averages and no revival, its encoder gives only 1, 3 or 4 numbers a place where the others give 8, and it
# keeps up: the encoder learns to use the grid. At 10 bits it leaves more codes unused than VQ does.
#
# ## 9 · A prior over spellings
#
# So far nothing is generated. A random spelling draws nonsense, because letters use few of the $K^{16}$
# spellings. So learn which, as in section 1: the VQ-VAE of section 5 is frozen, all training pictures are
# spelled, and a causal transformer (lesson 06) learns
# $p(k_1, \dots, k_{16} \mid y) = \prod_i p(k_i \mid k_{<i}, y)$, place by place. The class is added at
# *every* place, so that the network need not carry it along from the start.
#
# The optimiser is Muon for the matrices of the blocks (lesson 06) and AdamW for the rest. The loss is the
# cross-entropy, in nats for one code. In bits and times 16 it is the mean length of the shortest message that
# this prior can make of a picture's spelling.


# %% folded="The prior: blocks of lesson 06, and a head over the codes"
# long: one network
class Block(nn.Module):
    """A transformer block as in lesson 06, with heads of 32 numbers: (B, T, W) -> (B, T, W)."""

    def __init__(self, W):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(W), nn.LayerNorm(W)
        self.qkv, self.mix = nn.Linear(W, 3 * W, bias=False), nn.Linear(W, W, bias=False)
        self.up, self.down = nn.Linear(W, 4 * W, bias=False), nn.Linear(4 * W, W, bias=False)

    def forward(self, h):
        parts = self.qkv(self.norm1(h)).unflatten(2, (3, -1, 32))  # (B, T, 3, heads, 32)
        seen = F.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4), is_causal=True)
        h = h + self.mix(seen.transpose(1, 2).flatten(2))
        return h + self.down(F.gelu(self.up(self.norm2(h))))


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


# %% build="write"
def prior_loss(prior, k, y):
    """Mean nats of a code: (B, 16), (B,) -> a 0-d tensor."""
    ### BEGIN SOLUTION
    return F.cross_entropy(prior(k, y).flatten(0, 1).float(), k.flatten())
    ### END SOLUTION


@torch.no_grad()
def write(prior, y, temperature=1.0, generator=None):
    """Draw spellings, code by code, from softmax(logits / temperature): (B,) -> (B, 16)."""
    ### BEGIN SOLUTION
    k = y.new_zeros(len(y), 0)
    for _ in range(16):
        p = (prior(k, y)[:, -1].float() / temperature).softmax(dim=1)
        k = torch.cat([k, torch.multinomial(p, 1, generator=generator)], dim=1)
    return k
    ### END SOLUTION


# %% check="write"
def repeats(k, y):
    """A prior of three codes that begins with code y and then nearly surely repeats the code before."""
    before = torch.cat([y[:, None], k], dim=1)[:, :16]
    return 20.0 * F.one_hot(before, 3).float()


y_check = torch.tensor([0, 1, 2])
assert prior_loss(repeats, y_check[:, None].expand(3, 16), y_check) < 1e-6, "nearly sure, and right: 0 nats"
wrong_once = y_check[:, None].repeat(1, 16)
wrong_once[:, 15] = (wrong_once[:, 15] + 1) % 3
assert math.isclose(prior_loss(repeats, wrong_once, y_check), 20 / 16, rel_tol=1e-5), "20 nats in one of 16"
assert torch.equal(write(repeats, y_check), y_check[:, None].expand(3, 16)), "each code from those before it"
hot = write(repeats, torch.zeros(500, dtype=torch.long), 1e3, torch.Generator().manual_seed(0))
assert (torch.bincount(hot.flatten(), minlength=3) > 2_400).all(), "a high temperature makes all codes alike"


# %% folded="Its optimisers and one update; from spellings to pictures; the prior itself"
# long: the tools of the prior
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


def fit_prior(prior, k, updates, each=lambda n, loss: None):
    """Train on the spellings k (N, 16) of x_train; each(n, loss) is called after every update."""
    both, warm = optimizers(prior), max(1, updates // 20)
    rate = lambda n: min((n + 1) / warm, 1.1 * (updates - n) / updates, 1)  # noqa: E731
    shapes = [torch.optim.lr_scheduler.LambdaLR(o, rate) for o in both]
    for n in progress.track(range(updates), title="prior"):
        rows = torch.randint(len(k), (S.prior_batch,), device=device)
        loss = prior_update(prior, both, k[rows], y_train[rows])
        for shape in shapes:
            shape.step()
        each(n, loss)


@torch.no_grad()
def draw(k):
    """Spellings (B, 16) -> pictures (B, 1, 16, 16)."""
    return model.draw(model.quantiser.codes[k.flatten()]).clamp(0, 1)


torch.manual_seed(7)
prior = Prior(S.K, S.width, S.depth).to(device)
prior_parameters = sum(p.numel() for p in prior.parameters())
print(f"{prior_parameters:,} parameters; logits {tuple(prior(y_train[:3, None] % S.K, y_train[:3]).shape)}")

# %% tags=["demo"]
# long: the training and its figure
k_train, k_test = (pass_through(model, x)[1][..., 0] for x in (x_train, x_test))
dozen, N = torch.arange(0, 36, 2, device=device), S.prior_updates
curve, written, began = progress.Curve("prior over spellings", ylabel="nats a code"), {}, time.perf_counter()


def look(n, loss):
    """The curve, and at a few moments what the prior writes."""
    curve.add(n, loss)
    if n + 1 in (N // 10, N // 3, N):
        written[n + 1] = draw(write(prior, dozen, generator=torch.Generator(device).manual_seed(8)))


fit_prior(prior, k_train, N, look)
prior_seconds = time.perf_counter() - began
curve.close()
fig, axes = plot.figure(len(written), 1, height=0.9)
for ax, (n, x) in zip(axes, written.items(), strict=True):
    plot.images(x, columns=18, ax=ax, title=f"After {n} updates: every second character, 0 to Y")
plt.show()

# %% [markdown]
# How long is a spelling now? Section 5 said that a learned $p(k)$ raises the bound by the bits it saves.
# Compare with the best *linear* code: turn the picture into its principal components, of variances
# $\lambda_i$, and round each. For normal components of these variances no such code, however it rounds, beats
# *reverse water-filling* (Cover and Thomas, chapter 10): at a level $\theta$ the error is
# $\sum_i \min(\lambda_i, \theta)$ and the rate $\sum_i \max(0, \tfrac12 \log_2 (\lambda_i / \theta))$ bits.
# The prior knows the class, so there is a second linear code that knows it, too: its components are those of
# one class.
#
# *Question: at the same number of bits, which misses less of a letter?*


# %% tags=["demo"]
# long: two linear codes, four lengths, and both codes at each
def components(x):
    """Mean, variances and directions of the principal components of pictures x."""
    x = x.flatten(1).double().cpu()
    values, directions = torch.linalg.eigh((x - x.mean(dim=0)).T @ (x - x.mean(dim=0)) / len(x))
    return x.mean(dim=0), values.clamp(min=1e-12), directions


def water_filling(values, bits):
    """Share of the pixels' variance that the ideal code of such components misses at so many bits."""
    low, high = 0.0, values.max().item()
    for _ in range(60):
        level = (low + high) / 2
        enough = (values / level).log2().clamp(min=0).sum() / 2 > bits
        low, high = (level, high) if enough else (low, level)
    return values.clamp(max=level).sum().item() / 256 / VARIANCE


with torch.no_grad():
    bits = prior_loss(prior, k_test[:2_000], y_test[:2_000]).item() * 16 / math.log(2)
rates = {
    "equal lengths": 16 * math.log2(S.K),
    "by how often each code is used": 16 * math.log2(perplexity(k_test, S.K)),
    "counted at each place": sum(math.log2(perplexity(k_test[:, i], S.K)) for i in range(16)),
    "by the prior, and 5.2 bits for the class": bits + math.log2(CLASSES),
}
for_all, by_class = components(x_train), [components(x_train[y_train == c]) for c in range(CLASSES)]
linear, knowing = {}, {}
for name, rate in rates.items():
    linear[name] = water_filling(for_all[1], rate)
    knowing[name] = sum(water_filling(v, rate - math.log2(CLASSES)) for _, v, _ in by_class) / CLASSES
    print(f"{name:40} {rate:5.1f} bits: {vq_missing:.1%} missing; linear {linear[name]:.1%}", end="")
    print(f", linear with the class {knowing[name]:.1%}")
by_length, *_, by_prior = linear.values()
board.claim(
    "The prior saves more than a third of the bits.", bits + math.log2(CLASSES) < 16 * math.log2(S.K) * 2 / 3
)
board.claim("With equal lengths the linear code misses less.", by_length < vq_missing)
board.claim("With the prior's lengths it misses 1.5 times as much.", by_prior > 1.5 * vq_missing)
board.claim("A linear code that knows the class misses less.", [*knowing.values()][-1] < vq_missing)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Without a prior the spelling loses to the linear code. The prior takes more than a third off its length without
# changing a pixel, and then it is ahead of the code that does not know the class, and behind the one that
# does. (Both are limits that a real linear code does not quite reach. The spelling and its length are real.)
#
# </details>
#
# Now draw. *Temperature* divides the logits: below 1 likely codes become likelier. It trades diversity for
# accuracy, as guidance does in lesson 19. *Class accuracy* is the share of samples that the measuring net
# reads as what was asked for; *diversity* is the spread within a class in its features, 1 for real pictures;
# *Fréchet* is the distance between the normal distributions that fit samples and real pictures in its
# features, lower is better.

# %% tags=["demo"]
# long: samples at three temperatures, their figures, the yardstick
every = torch.arange(CLASSES, device=device).repeat(S.each)
sorted_test = torch.stack([(y_test == c).nonzero()[: S.each, 0] for c in range(CLASSES)]).T.flatten()
real = x_test[sorted_test], y_test[sorted_test]
figures, pictures = {}, {}
for T in (1.0, 0.8, 0.6):
    began = time.perf_counter()
    pictures[T] = draw(write(prior, every, T, torch.Generator(device).manual_seed(9)))
    seconds = (time.perf_counter() - began) / len(every)
    figures[T] = {"sample_seconds": seconds, **judge.compare(pictures[T], every, *real)}
figures["copies"] = judge.compare(x_hat[sorted_test], real[1], *real)
normal = torch.zeros(
    len(every), 256, dtype=torch.float64
)  # what the linear code that knows the class would draw
for c, (mean, values, directions) in enumerate(by_class):
    noise = torch.randn(S.each, 256, generator=torch.Generator().manual_seed(c)).double()
    normal[c::CLASSES] = mean + (noise * values.sqrt()) @ directions.T
normal = normal.float().reshape(-1, 1, 16, 16).clamp(0, 1).to(device)
figures["linear"] = judge.compare(normal, every, *real)
for name, row in figures.items():
    print(
        f"{name!s:6}",
        {key: round(row[key], 3) for key in ("class_accuracy", "diversity", "precision", "frechet")},
    )
rows = {"Random spellings": draw(torch.randint(S.K, (18, 16), device=device))}
rows["One of every second class, temperature 1"] = pictures[1.0][dozen]
rows["The same, by the linear code"] = normal[dozen]
R = torch.full((18,), data.CAPITALS_AND_DIGITS.index("R"), device=device)
rows |= {f"R at temperature {T:g}": draw(write(prior, R, T)) for T in (1.0, 0.6)}
fig, axes = plot.figure(len(rows), 1, height=0.9)
for ax, (title, x) in zip(axes, rows.items(), strict=True):
    plot.images(x, columns=18, ax=ax, title=title)
plt.show()
board.claim(
    "A lower temperature raises class accuracy and lowers diversity.",
    figures[0.6]["class_accuracy"] > figures[1.0]["class_accuracy"]
    and figures[0.6]["diversity"] < figures[1.0]["diversity"],
)
board.claim(
    "The linear code draws worse: more than 1.5 times the Fréchet distance, less precision.",
    figures["linear"]["frechet"] > 1.5 * figures[1.0]["frechet"]
    and figures["linear"]["precision"] < figures[1.0]["precision"],
)
board.claim(
    "Most of the Fréchet distance at temperature 0.6 is there in the copies.",
    figures["copies"]["frechet"] > figures[0.6]["frechet"] / 2,
)

# %% [markdown]
# The line `copies` is the yardstick: real pictures, decoded from their own spellings. A perfect prior at
# temperature 1 would do about as well. Its Fréchet distance is the tokenizer's, the price of 16 symbols. Note
# that the distance falls with the temperature although diversity falls, too: here it charges more for wrong
# letters than for lost variety.
#
# **What is won.** The linear code that knows the class copies better, and it cannot draw: a normal law for
# each class gives mottled letters, at twice the Fréchet distance of ours. Its bits count each component as if
# the others did not matter; the prior knows which symbols go together. That is how the family is used today:
# neural audio codecs send speech in the codes of residual quantisers, and a language model over the same
# codes speaks (lesson 28).
#
# ### Whose spellings are easier to predict?
#
# In section 8 FSQ with 4 × 4 × 4 levels and VQ with 64 codes spell with equally many symbols and err about
# alike. *Question: does that make them equally good alphabets?* The same prior, trained for as long, on both.


# %% tags=["demo"]
def spellings(name, x):
    """Numbers (N, 16) below 64 of pictures x by a narrow tokenizer of section 8."""
    k = pass_through(nets[name, S.same], x)[1]
    if name == "FSQ":
        k = ((k + 2) * torch.tensor([1, 4, 16], device=device)[: k.shape[-1]]).sum(dim=-1, keepdim=True)
    return k[..., 0]


predicted = {}
for name, net in (("VQ", nets["VQ", S.same]), ("FSQ", nets["FSQ", S.same])):
    torch.manual_seed(7)
    reader = Prior(S.same, S.width, S.depth).to(device)
    fit_prior(reader, spellings(name, x_train), -(-S.prior_updates // 4))
    with torch.no_grad():
        nats = prior_loss(reader, spellings(name, held), y_test[:2_000]).item()
    predicted[name] = 16 * nats / math.log(2), measured(net, held)[0]
    print(
        f"{name:3}: {predicted[name][0]:.1f} bits a spelling by the prior, {predicted[name][1]:.1%} missing"
    )
board.claim("The two lengths differ by less than 8 bits.", abs(predicted["FSQ"][0] - predicted["VQ"][0]) < 8)

# %% [markdown]
# <details><summary>Answer</summary>
#
# About, and with other seeds either is ahead: a grid that nobody trained spells as predictably as a book that
# followed its data, for in both cases it is the encoder that chooses what is said. (These bits are without the
# class's 5.2.) It had to be measured: an error at a rate shows how much the codes say, and not how well they
# can be predicted, and a generator needs both.
#
# </details>
#
# ## 10 · What breaks: the book collapses
#
# Only codes that are chosen move. So in a book that begins badly a few codes take all vectors, and the
# decoder learns to live with it. Nothing crashes; the loss falls. We provoke it with a start far from the
# encoder's vectors, watch the perplexity, and add the repairs one by one: smoothing, revival, a start from
# data.


# %% tags=["demo"]
# long: the run, four cases, their figure
def collapse(start, floor, eps, updates):
    """A narrow VQ-VAE whose book of 64 begins far away (unless it starts from data), and its perplexity
    on training pictures as it goes, a list of (update, perplexity).
    """
    torch.manual_seed(10)
    book, found = Codebook(64, S.D, floor=floor, start=start, eps=eps), []
    book.place(book.codes + 3.0)

    def each(n, net):
        if n % 10 == 0 or n == updates - 1:
            found.append((n, perplexity(pass_through(net, x_train[:256])[1], 64)))

    return found, short_run(book.to(device), updates, each=each)


cases = {
    "far start": (False, 0.0, 1e-30),
    "smoothing": (False, 0.0, 1e-5),
    "smoothing, revival": (False, 0.1, 1e-5),
    "data and revival": (True, 0.1, 1e-5),
}
broken = {name: collapse(*how, S.few) for name, how in cases.items()}
fig, axes = plot.figure(1, 2, height=3.3)
for (name, (found, net)), colour in zip(broken.items(), plot.COLOURS, strict=False):
    missing, _ = measured(net, held)
    axes[0].plot(*zip(*found, strict=True), color=colour, label=name)
    axes[1].barh(name, missing, color=colour)
    axes[1].text(missing, name, f" {missing:.1%}", va="center", fontsize=10)
    print(f"{name:19} perplexity {found[-1][1]:5.1f} of 64, {missing:.1%} of the variance missing")
axes[0].set(title="Perplexity of the codes", xlabel="update", ylim=(0, 64))
axes[1].set(
    title="Variance missing",
    xlim=(0, 1.3 * max(measured(net, held)[0] for _, net in broken.values())),
    xticks=[],
)
axes[1].grid(False)
axes[1].invert_yaxis()
plt.show()
lost = [measured(net, held)[0] for _, net in broken.values()]
board.claim("The two with few codes at work miss the most.", min(lost[:2]) > max(lost[2:]))
at_end = {name: found[-1][1] for name, (found, _) in broken.items()}
board.claim("From the far start fewer than 16 of 64 codes are at work.", at_end["far start"] < 16)
board.claim(
    "Smoothing alone brings more to work, but fewer than 45.", at_end["far start"] < at_end["smoothing"] < 45
)
board.claim(
    "Revival brings more than 45 to work, from either start.",
    min(at_end["smoothing, revival"], at_end["data and revival"]) > 45,
)

# %% [markdown]
# From the far start a few codes catch everything. With smoothing the curve turns after some 380 updates, when
# the unused codes reach the origin: section 4's formula. Revival has most of them at work within some hundred
# updates, since dead codes jump to where the vectors are.
#
# The two books with few codes at work miss the most. But perplexity is not error: in section 8, at 10 bits,
# FSQ used far fewer codes than VQ, and their errors are close. So watch both. FSQ has no book that could die:
# it is one more repair.
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
seconds = vq_seconds + prior_seconds
for T, name in ((1.0, "VQ-VAE + prior"), (0.6, "VQ-VAE + prior, temperature 0.6")):
    board.record("25_vqvae", name, data="glyphs 16", parameters=total, train_seconds=seconds, **figures[T])
display(board.table("glyphs 16"))
board.plot("glyphs 16")
plt.show()

# %% [markdown]
# Read accuracy and diversity together: a lower temperature buys the first with the second. On these letters
# the comparison is lost. Lesson 10's VAE is ahead in accuracy and in Fréchet distance, at a fiftieth of the
# seconds; only its diversity is lower than ours at temperature 1. Lesson 13's GAN is ahead of temperature 1 in
# all three. `copies` says why: 16 symbols of 64 already cost more than the whole Fréchet distance of either.
# What else goes wrong is composition: a stroke that belongs to another letter or another style, and grey
# smears where neighbouring symbols do not fit. That is the prior's doing; a deeper one and a longer training
# (the `full` setting) are the first things to try, and lesson 26 improves the tokenizer.
#
# ## 12 · In production
#
# One sample costs
#
# $$\text{time} = 16 \times t_{\text{prior}} + t_{\text{decoder}},$$
#
# one call of the prior for each code, then one of the decoder. Our `write` computes the whole prefix again at
# every step; the cache of lesson 07 computes each place once. With $M$ stages there are $M$ times as many
# codes, unless the stages are predicted together (lesson 28); masked decoding (lesson 26) fills many places
# in one call. A pixel-by-pixel model of the same picture would need 256 calls.

# %% tags=["demo"]
y = torch.full((64,), 3, device=device)
began = time.perf_counter()
k = write(prior, y).cpu()  # waits for the device
middle = time.perf_counter()
draw(k.to(device)).cpu()
end = time.perf_counter()
print(f"prior: {1_000 * (middle - began) / 64:.2f} ms a sample in 16 calls; ", end="")
print(f"decoder: {1_000 * (end - middle) / 64:.2f} ms in one")

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The
# grade comes from further tests of the same properties on other inputs. Numbers of codes are `int64`, and
# everything else is `float64` unless said otherwise. Where tensors go in, return tensors, of the shape that
# the docstring says. A number may be Python's own or a tensor that holds one; several results come as a
# tuple.
#
# ### 1 · How long is the message? (easy, 20 minutes)
#
# Section 2 measured the codes' own entropy. A real coder fixes the lengths beforehand, from *training* codes:
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


# %% test="product" points=2
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


# %% test="fsq-number" points=2
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


# %% test="rotation" points=3
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
# $w = 1$ it is section 6; with $w = K^{M-1}$ it tries everything.


# %% exercise="beam"
def beam_rvq(z, books, width):
    """Numbers (N, M) int64 of the best spelling found, and what it leaves over, |z - q|^2: (N,).

    z: (N, D); books: (M, K, D); width: w, at least 1, and perhaps more than there are spellings.
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


# %% test="beam" points=3
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


# %% test="repair" points=2
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
# ### 7 · A book of directions (hard, 50 minutes)
#
# Many tokenizers of today compare directions only (ViT-VQGAN: Yu and others, 2021). The codes are vectors of
# length 1. A vector $z$ is first normalised, $u = z / \lVert z \rVert$, and its code is the one at the
# smallest angle. Write the whole training, in three functions:
#
# 1. **Round.** The value is the code. The gradient goes straight through the rounding to $u$, and from $u$ to
#    $z$ by the true derivative of $z / \lVert z \rVert$; none goes to the codes. The commitment is the mean
#    of $(u - \operatorname{sg}[q])^2$ over all numbers.
# 2. **Follow.** $m_k \leftarrow \gamma\, m_k + (1 - \gamma)\, \hat m_k$, where $\hat m_k$ is the sum of the
#    $u$ that chose code $k$. The new code is the vector of length 1 for which the error $\sum \lVert u - e
#    \rVert^2$, so weighted, is least. (Write out the square: all lengths in it are 1.) A code whose $m_k$
#    is exactly 0 stays.
# 3. **Step.** One update of the networks on the mean squared error of the copy plus $\beta$ times the
#    commitment; then the book follows the $z$ of this update.
#
# The truth is known for points all around a circle of radius 1, in any number of dimensions. The best that
# $K$ codes can do is $K$ equal arcs; a copy lies at the mean of its arc, at the distance $\sin(\pi/K) /
# (\pi/K)$ from the centre, and the squared error of a point is $1 - \big(\sin(\pi/K)/(\pi/K)\big)^2$ in the
# mean.


# %% exercise="sphere"
# long: three functions
def sphere_round(z, codes):
    """The value and its gradient (N, D), the code numbers (N,), int64, and the commitment, a 0-d tensor.

    z: (N, D), no row of it 0; codes: (K, D), each of length 1.
    """
    ### BEGIN SOLUTION
    u = z / z.norm(dim=1, keepdim=True)
    k = (u.detach() @ codes.detach().T).argmax(dim=1)
    q = codes.detach()[k]
    return u + (q - u).detach(), k, F.mse_loss(u, q)
    ### END SOLUTION


def sphere_follow(codes, m, z, k, decay):
    """The new codes (K, D) and the new m (K, D), two new tensors without gradients.

    codes, m: (K, D), as they were; z: (N, D), no row of it 0; k: (N,), their code numbers; decay: gamma.
    """
    ### BEGIN SOLUTION
    u = (z / z.norm(dim=1, keepdim=True)).detach()
    m = decay * m + (1 - decay) * torch.zeros_like(m).index_add(0, k, u)
    length = m.norm(dim=1, keepdim=True)
    return torch.where(length > 0, m / length, codes), m
    ### END SOLUTION


def sphere_step(model, optimizer, x, beta, decay):
    """One update, by the gradients of this loss alone. The loss before it, a 0-d tensor without a gradient.

    model.encode(x) -> z, model.decode(q) -> the copy of x; model.codes and model.m are replaced by new ones.
    """
    ### BEGIN SOLUTION
    z = model.encode(x)
    q, k, commitment = sphere_round(z, model.codes)
    loss = F.mse_loss(model.decode(q), x) + beta * commitment
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    model.codes, model.m = sphere_follow(model.codes, model.m, z, k, decay)
    return loss.detach()
    ### END SOLUTION


# %% test="sphere" points=6
# long: one vector, one book, and a circle
z_one = torch.tensor([[3.0, 4.0]], dtype=torch.float64, requires_grad=True)
axes_two = torch.eye(2, dtype=torch.float64)
q_one, k_one, commitment = sphere_round(z_one, axes_two)
assert k_one.tolist() == [1] and torch.allclose(q_one, axes_two[1:]), (
    "(0.6, 0.8) is nearer to the second axis"
)
assert math.isclose(commitment.item(), (0.36 + 0.04) / 2), "the mean of 0.6^2 and 0.2^2"
(got,) = torch.autograd.grad(q_one[0, 0], z_one)
assert torch.allclose(got, torch.tensor([[0.128, -0.096]]).double()), (
    "what turns z, over |z|: (0.64, -0.48) / 5"
)
codes, m = sphere_follow(axes_two, torch.tensor([[0.0, 0.0], [0.0, 1.0]]).double(), z_one, k_one, 0.5)
assert codes[0].tolist() == [1, 0], "m = 0: the code stays"
assert torch.allclose(m[1], torch.tensor([0.3, 0.9]).double()), "0.5 (0, 1) + 0.5 (0.6, 0.8)"
assert math.isclose(codes[1].norm().item(), 1), "codes have length 1"
torch.manual_seed(0)
angle = torch.rand(4_000, dtype=torch.float64) * 2 * math.pi
x_circle = torch.stack([angle.cos(), angle.sin()], dim=1)
circle = nn.Module()
circle.encode, circle.decode = (nn.Linear(2, 2, bias=False).double() for _ in range(2))
circle.codes = F.normalize(torch.tensor([[1.0, 0.1], [-0.2, 1.0], [-1.0, 0.3], [0.1, -1.0]]).double())
circle.m = circle.codes.clone()
adam = torch.optim.Adam(circle.parameters(), 0.02)
for _ in range(300):
    last = sphere_step(circle, adam, x_circle[torch.randint(4_000, (200,))], 0.25, 0.9)
assert not any(v.requires_grad for v in (last, circle.codes, circle.m)), "loss and book carry no gradients"
k = (F.normalize(circle.encode(x_circle)) @ circle.codes.T).argmax(dim=1)
off = (circle.decode(circle.codes[k]) - x_circle).square().sum(dim=1).mean().item()
assert off < 1.1 * (1 - (math.sin(math.pi / 4) / (math.pi / 4)) ** 2), (
    f"four equal arcs err by 0.189, not {off:.3f}"
)

# %% [markdown]
# ## Further reading
#
# - J. Max. *Quantizing for minimum distortion.* IRE Transactions on Information Theory 6, 1960. The table of
#   section 2.
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
# - J. Yu and others. *Vector-quantized image modeling with improved VQGAN.* 2021, arXiv:2110.04627.
#   ViT-VQGAN, exercise 7.
# - N. Zeghidour, A. Luebs, A. Omran, J. Skoglund, M. Tagliasacchi. *SoundStream: an end-to-end neural audio
#   codec.* 2021, arXiv:2107.03312.
# - F. Mentzer, D. Minnen, E. Agustsson, M. Tschannen. *Finite scalar quantization: VQ-VAE made simple.* 2023,
#   arXiv:2309.15505.
# - C. Fifty and others. *Restructuring vector quantization with the rotation trick.* 2024, arXiv:2410.06424.

# %% tags=["demo"]
selfcheck.run("25_vqvae")
