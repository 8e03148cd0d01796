# %% [markdown]
# # 03 · The chain rule: NADE and MADE
#
# > **Any distribution is a product of guesses: the next pixel, given those before it. Who can make the guesses
# > can say exactly how probable a picture is, and draw one pixel after the other.**
#
# | | |
# |---|---|
# | You will build | NADE by hand on four pixels, all 16 probabilities written down; MADE's masks; exact nats of digits in black and white and in 17 levels; drawing and filling gaps in any order; one network for all orders, which is a masked diffusion; parallel unmasking and its price; at the end a masked diffusion in continuous time of your own |
# | You need to know | lesson 01 (nats, bits/dim, held-out data), lesson 02 (naive Bayes); how a small network is trained |
# | Time on two CPU cores | two minutes to run; an hour to read, two and a half to solve |
# | Time on a GPU | a few minutes, with wider nets (`full`) |
#
# ## You are here

# %% folded="Imports and settings"
# long: what the whole lesson uses
import itertools
import math
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
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
    # smoke, quick, full
    width=(64, 512, 1_024),
    grey_width=(64, 512, 768),
    updates=(3, 900, 1_500),
    grey_updates=(3, 1_500, 2_000),
    all_orders=(3, 1_800, 6_000),
    set_updates=(3, 2_400, 6_000),
    broken=(3, 900, 1_200),
    toy=(20, 600, 1_000),
    networks=(2, 4, 8),
    held_out=(20, 270, 270),
)
torch.manual_seed(3)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("autoregressive")
diagram.machine(
    "x | (B, D) -> [masked layers | degrees] -> logits | (B, D, K) -> [softmax | a pixel each]"
    " -> p of each pixel | given those before it",
    "c | class -> masked layers",
    title="One pass gives all conditionals. Pixel i's logits never see pixel i, nor what comes after it",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# The hard problem of lesson 01 was the constant: a density over all pictures must sum to 1, and nobody can add
# up $2^{64}$ terms. This family never meets that sum. It writes the distribution as a product of many small
# ones, each over the levels of *one* pixel, and each of these sums to 1 by a softmax. What it gives up: the
# pixels must stand in an **order**, and whoever draws has to go through it, one pass of the network for each
# pixel.
#
# | question | answer |
# |---|---|
# | What is modelled? | pixels, each given those before it in an order |
# | Is the density explicit? | yes, and exact: no bound, no sampling |
# | Is sampling one-shot or iterative? | iterative, as many passes as pixels; section 8 asks what fewer cost |
# | What conditions it? | a class, added to the hidden numbers; or any known pixels, if they come first |
# | How is it evaluated, and how does that fail? | held-out nats or bits/dim, exactly: a good number does not promise good pictures (lesson 01) |
#
# Frey, Hinton and Dayan (1996) wrote the conditionals as logistic regressions. Larochelle and Murray (2011,
# *NADE*) gave each a hidden layer, and let neighbours in the order share it. Germain, Gregor, Murray and
# Larochelle (2015, *MADE*) got all conditionals out of one pass of an ordinary network, by masks on its
# weights. Uria, Murray and Larochelle (2013) trained one network for all orders. Hoogeboom and others (2021)
# noticed that this *is* a diffusion model that hides pixels. Sahoo and others (2024) trained language models of
# a tenth of a billion weights so, Nie and others (2025, *LLaDA*) one of eight billion.
#
# | symbol | is |
# |---|---|
# | $x$, $D$, $K$ | a picture, its number of pixels, of levels: $x_i \in \{0, \dots, K-1\}$ |
# | $c$ | its class |
# | $o$, $o_1, \dots, o_D$ | an order: the pixel that comes first, …, last |
# | $r_i$ | the position of pixel $i$ in the order: $o_{r_i} = i$ |
# | $x_{<i}$ | the pixels before $i$ in the order (sections 1 and 2 number them as they come) |
# | $H$, $W$, $V$, $b$, $a$ | hidden numbers; NADE's weights in and out, its biases of hidden numbers and of pixels |
# | $m$ | degree of a hidden number: the last position that it may see |
# | $M^W$, $M^V$ | masks of 0 and 1 on weights in and out |
# | $S$, $n$ | the set of visible pixels; how many are hidden |
# | $t$ | share of hidden pixels, the clock of section 7 (data at 0, all hidden at 1) |
# | $B_1, \dots, B_T$ | blocks: the pixels drawn in one pass, and the number of passes |
# | $q$ | the law of a sampler that draws a block at a time |
#
# All logarithms are natural; **nats** are means of $\log p(x)$ over held-out pictures, higher is better. The
# class is unknown to the model unless *given the class* stands beside the figure. Three letters serve twice:
# $H(\cdot)$ in section 8 is an entropy, `S` in the code holds the settings, and there `n` also counts updates.
#
# ## 1 · Four pixels, sixteen probabilities
#
# Take four neighbouring pixels of a handwritten digit, a little above its middle, black (1) or white (0).
# There are 16 pictures. We count how often each occurs in the training digits: this table is the *known law*
# of the next two sections. By the definition of a conditional probability $p(a, b) = p(a)\,p(b \mid a)$;
# applied again and again this is the **chain rule**,
#
# $$p(x) = \prod_{i=1}^{D} p\big(x_{o_i} \mid x_{o_1}, \dots, x_{o_{i-1}}\big),$$
#
# for every distribution and in *every* order $o$. The number of things to know does not change either: the
# first pixel has one free number, the second two (one for each value of the first), then four, then eight.
# Together 15, and 16 probabilities that sum to 1 have 15 free numbers, too.


# %%
# long: the data, and conditionals from a table
digits = data.digits()
k_train, k_val, k_test = (
    torch.as_tensor(p.x, device=device).flatten(1).mul(16).round().long() for p in digits
)
y_train, y_val, y_test = (torch.as_tensor(part.y, device=device) for part in digits)
b_train, b_val, b_test = (
    k.ge(8).long() for k in (k_train, k_val, k_test)
)  # black where the grey is 1/2 or more
sixteen = torch.cartesian_prod(*[torch.arange(2)] * 4)  # all pictures of four pixels: (16, 4)
middle = b_train.reshape(-1, 8, 8)[:, 2:4, 3:5].flatten(1).cpu()
table = (middle[:, None] == sixteen).all(2).double().mean(0)  # the known law, (16,)


def conditional(table, i, known):
    """p(x_i | x_known) of each of the 16 pictures, from their probabilities: (16,) -> (16,)."""
    same = lambda places: (sixteen[:, None, places] == sixteen[None, :, places]).all(2).double()  # noqa: E731
    return same([*known, i]) @ table / (same(list(known)) @ table)


def by_chain_rule(table, order):
    """The product of conditionals, one pixel after the other: (16,)."""
    factors = [conditional(table, i, order[:n]) for n, i in enumerate(order)]
    return torch.stack(factors).prod(0)


orders = list(itertools.permutations(range(4)))
products = torch.stack([by_chain_rule(table, order) for order in orders])
print("p of the 16 pictures:", [round(v, 3) for v in table.tolist()])
print(f"24 orders, largest difference from the table: {(products - table).abs().max():.1e}")
board.claim("In every order the product is the same law.", (products - table).abs().max() < 1e-12)

# %% [markdown]
# **Why not stop here?** For 64 pixels the last conditional alone has $2^{63}$ numbers. So each conditional must
# become a *formula* with few weights that are learned. The oldest is a logistic regression on the pixels
# before:
# $p(x_{o_i} = 1 \mid x_{<o_i}) = \operatorname{sigmoid}\big(a_i + \sum_{j \text{ before}} w_{ij}x_j\big)$. For four pixels that is $4 + 6 = 10$ numbers instead of 15.
#
# **Question.** The table was the same in all orders. Are logistic regressions as good in every order?

# %% folded="Figure: 24 orders of logistic regressions" tags=["demo"]
# long: 24 fits at once, and their divergences
positions = torch.tensor(orders).argsort(1)  # of each pixel in each order: (24, 4)
before = (positions[:, None, :] < positions[:, :, None]).double()  # (24, pixel, its predecessors)
weights = torch.zeros(24, 4, 5, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([weights], lr=0.1)


def regressions():
    """log p of the 16 pictures in each order: (24, 16)."""
    logits = torch.einsum("oij,nj->oni", weights[..., :4] * before, sixteen.double()) + weights[:, None, :, 4]
    return -F.softplus((1 - 2 * sixteen) * logits).sum(2)


for _ in progress.track(range(S.toy), title="regressions"):
    loss = -(table * regressions()).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    divergence = (torch.special.xlogy(table, table) - table * regressions()).sum(1)
fig, ax = plot.figure(height=2.2)
ax.bar(range(24), 1_000 * divergence.sort().values, color=plot.COLOURS.blue)
ax.set(title="Logistic conditionals: divergence from the law, by order", xlabel="the 24 orders", xticks=[])
ax.set_ylabel("1/1000 nats")
plt.show()
by_last = {last: divergence[[o[3] == last for o in orders]] for last in range(4)}  # six orders each
print("KL(law | model) in nats, by the pixel that is drawn last:", end=" ")
print({last: round(six.mean().item(), 4) for last, six in by_last.items()})
board.claim(
    "Of logistic regressions the worst order is off by a seventh more than the best, or more.",
    divergence.max() > 1.15 * divergence.min(),
)
board.claim(
    "Orders that end with the same pixel are equally good.",
    max(six.max() - six.min() for six in by_last.values()) < 2e-5,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. The chain rule is exact in any order, but a formula may fit the conditionals of one order and not those of
# another: a sum of logits cannot say *if both neighbours are black, or neither*. Here the last pixel decides.
# The first two conditionals have one and two numbers, and a regression has as many: they are exact. With the
# third, the model is every law of three pixels without a term $x_1x_2x_3$ in its logarithm, whichever of them
# comes third. The last one asks for eight numbers and has four. The difference is small, 0.002 nats, but the
# order has become a part of the model. Keep this in mind for section 5.
# </details>
#
# ## 2 · NADE: a hidden layer for each pixel, shared
#
# Give every conditional a hidden layer. For pixel $i$ (in the order $1, 2, \dots, D$) with weights $W$ of shape
# $(H, D)$ and $V$ of shape $(D, H)$:
#
# $$h_i = \operatorname{sigmoid}\Big(b + \sum_{j<i} W_{:,j}\,x_j\Big),\qquad
# p(x_i = 1 \mid x_{<i}) = \operatorname{sigmoid}\big(a_i + V_i \cdot h_i\big).$$
#
# Each $h_i$ has its own sum, but the *same* column $W_{:,j}$ tells every later pixel about $x_j$. This sharing
# is NADE's idea, and it pays twice. There are $2HD + H + D$ weights instead of about $HD^2/2$. And the sums
# need not be computed anew:
#
# <details><summary>Derivation: all conditionals for H D multiplications</summary>
#
# Write $s_i = b + \sum_{j<i}W_{:,j}x_j$ for the sum inside $h_i$. From $i$ to $i + 1$ one term joins,
#
# $$s_1 = b,\qquad s_{i+1} = s_i + W_{:,i}\,x_i .$$
#
# That is $H$ multiplications for a pixel, so $HD$ for all. Each sum by itself takes $H(i-1)$, together
# $H\sum_i (i-1) = HD(D-1)/2$. (The outputs $V_i\cdot h_i$ are $HD$ more in either way.) Without shared
# columns the recursion does not exist: $s_{i+1}$ would have other weights in every term.
# </details>


# %% build="nade"
def nade_log_p(x, W, V, b, a):
    """log p(x) in nats, in O(H D): x (N, D), W (H, D), V (D, H), b (H,), a (D,) -> (N,)."""
    ### BEGIN SOLUTION
    x = x.to(W.dtype)
    s, total = b.expand(len(x), -1), 0.0
    for i in range(x.shape[1]):
        logit = a[i] + s.sigmoid() @ V[i]  # (N,)
        total = total - F.softplus((1 - 2 * x[:, i]) * logit)
        s = s + x[:, i : i + 1] * W[:, i]
    return total
    ### END SOLUTION


# %% check="nade"
g = torch.Generator().manual_seed(1)
W, V, b, a = (torch.randn(s, generator=g, dtype=torch.float64) for s in ((5, 4), (4, 5), (5,), (4,)))
p = nade_log_p(sixteen, W, V, b, a).exp()
assert p.shape == (16,), "one number for each picture"
assert math.isclose(p.sum().item(), 1), "whatever the weights are, the 16 probabilities sum to 1"
assert math.isclose(p[8:].sum().item(), torch.sigmoid(a[0] + V[0] @ b.sigmoid()).item()), (
    "the first pixel sees nothing but biases"
)
last = torch.sigmoid(a[3] + V[3] @ (b + W[:, 0] + W[:, 2]).sigmoid())  # after 1, 0, 1
assert math.isclose((p[11] / p[10:12].sum()).item(), last.item()), "the last one sees all others"

# %% tags=["demo"]
# long: NADE on the known law, and its cost
W, V, b, a = (v.mul(0.3).requires_grad_() for v in (W, V, b, a))
optimizer = torch.optim.Adam([W, V, b, a], lr=0.05)
for _ in progress.track(range(2 * S.toy), title="NADE"):
    loss = -(table * nade_log_p(sixteen, W, V, b, a)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    nade = nade_log_p(sixteen, W, V, b, a).exp()
nade_kl = (torch.special.xlogy(table, table) - table * nade.log()).sum().item()
for row, (name, p) in itertools.product(range(2), (("law", table), ("NADE", nade))):
    values = [f"{''.join(map(str, sixteen[i].tolist()))} {p[i]:.3f}" for i in range(8 * row, 8 * row + 8)]
    print(f"{name:4} {'  '.join(values)}")
print(f"sum of NADE's 16 probabilities: {nade.sum():.12f}; KL(law | NADE) = {nade_kl:.5f} nats", end=" ")
print(f"(best logistic order {divergence.min():.5f})")
board.claim("NADE's 16 probabilities sum to 1.", abs(nade.sum().item() - 1) < 1e-9)
board.claim(
    "Five hidden numbers come nearer to the law than every order of logistic regressions.",
    nade_kl < divergence.min().item(),
)


# %% [markdown]
# That the KL is 0 here checks the formula, and says nothing about economy: NADE has 49 weights for a table of 15
# free numbers. It is small where the table is large: on 64 pixels 500 hidden numbers need 64,564 weights
# instead of $2^{64} - 1$. In one respect it is slow: the recursion is a loop over pixels, in training, too. Its
# successor removes the loop from training and keeps the exactness.
#
# ## 3 · MADE: one pass, by masks
#
# An ordinary network from $D$ pixels to $D$ sets of logits mixes everything with everything. It is a valid
# model, a product of conditionals, if the logits of pixel $i$ depend only on the pixels before it. MADE gets
# that by setting weights to 0.
#
# Give pixel $i$ its position $r_i \in \{1, \dots, D\}$, and every hidden number a **degree**
# $m \in \{1, \dots, D-1\}$: it may know the pixels of the positions up to $m$, and no others. Three rules follow.
#
# - *Into* a hidden number: from pixels with $r_i \le m$.
# - *Across*, from one hidden number to the next layer's: if $m \le m'$. Who may know more may listen to who
#   knows less.
# - *Out*, to the logits of pixel $i$: from hidden numbers with $m < r_i$, **strictly**.
#
# <details><summary>Derivation: the masks' product is strictly lower triangular</summary>
#
# With one hidden layer, $M^W$ of shape $(H, D)$ and $M^V$ of shape $(D, H)$, both of 0 and 1, the entry
# $(M^VM^W)_{ij} = \sum_h M^V_{ih}M^W_{hj}$ counts the ways from pixel $j$ to the logits of pixel $i$. Way $h$
# is open if $m_h < r_i$ and $r_j \le m_h$, so that $r_j \le m_h < r_i$. If $r_j \ge r_i$ there is no such
# $m_h$: the count is 0, and the logits cannot depend on $x_j$, whatever the weights and the nonlinearity are.
# With the pixels sorted by position the matrix is 0 on the diagonal and above. If $r_j < r_i$, the degree
# $m = r_j$ opens a way: all that is allowed is possible, provided that every degree from 1 to $D-1$ occurs. A
# further layer inserts $m \le m'$: the chain $r_j \le m \le m' < r_i$ says the same.
# </details>
#
# Degree $D$ is missing, for a hidden number that knows all pixels has nobody to tell. Degree 0 would know
# nothing; biases do that.
#
# **Question.** What do the logits of the *first* pixel depend on?


# %% build="masks"
def masks(order, width, K=1, degree=None):
    """Masks into, across and out: (width, D), (width, width), (D K, width), of floats 0 and 1.

    order: (D,), a permutation, D >= 2. degree: (width,) from 1 to D - 1; by default each in turn.
    """
    ### BEGIN SOLUTION
    D = len(order)
    position = order.argsort() + 1
    if degree is None:
        degree = torch.arange(width, device=order.device) % (D - 1) + 1
    into = degree[:, None] >= position
    across = degree[:, None] >= degree
    out = (position[:, None] > degree).repeat_interleave(K, dim=0)
    return into.float(), across.float(), out.float()
    ### END SOLUTION


# %% check="masks"
into, across, out = masks(torch.tensor([2, 0, 1]), 4, K=2)
assert into.shape == (4, 3) and across.shape == (4, 4) and out.shape == (6, 4), "(out, in) of each layer"
ways = (out @ across @ into).reshape(3, 2, 3)
assert torch.equal(ways[:, 0] > 0, torch.tensor([[0, 0, 1], [1, 0, 1], [0, 0, 0]]).bool()), (
    "order 2, 0, 1: pixel 0 sees 2, pixel 1 sees both, pixel 2 sees none"
)
assert torch.equal(ways[:, 0], ways[:, 1]), "both levels of a pixel see the same"
assert torch.equal(masks(torch.arange(3), 2, degree=torch.tensor([2, 2]))[0], torch.tensor([[1.0, 1, 0]] * 2))

# %% [markdown]
# <details><summary>Answer</summary>
#
# On nothing but biases (and on the class, below). Nothing has the position 0, so its row of $M^V$ is all 0. Its
# conditional is a plain frequency.
# </details>
#
# The network: two hidden layers, the second one adds to the first. $K$ logits for each pixel go through a
# softmax over its levels. A class $c$ adds a learned vector to the hidden numbers and to the logits: it is
# known before the first pixel, so everything may see it.


# %%
class MaskedLinear(nn.Linear):
    """A layer some of whose weights count as 0."""

    def forward(self, x, mask):
        return F.linear(x, self.weight * mask, self.bias)


class MADE(nn.Module):
    """Logits (B, D, K) of every pixel given those before it; for any order, by the masks that it is given."""

    def __init__(self, D, K, width, classes=1, drop=0.0):
        super().__init__()
        self.D, self.K, self.width = D, K, width
        self.enter, self.across = MaskedLinear(D, width), MaskedLinear(width, width)
        self.leave, self.drop = MaskedLinear(width, D * K), nn.Dropout(drop)
        self.label, self.bias = nn.Embedding(classes, width), nn.Embedding(classes, D * K)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x, masks, c):
        """x: (B, D) int64; masks: as above, with this K; c: (B,) int64."""
        into, across, out = masks
        level = 2 * x.float() / (self.K - 1) - 1  # from -1 to 1
        h = self.drop(F.silu(self.enter(level, into) + self.label(c)))
        h = self.drop(h + F.silu(self.across(h, across)))
        return (self.leave(h, out) + self.bias(c)).reshape(len(x), self.D, self.K)


# %% build="log-p"
def log_p(net, x, masks, c):
    """log p(x | c) in nats, all factors in one pass: x (B, D) int64, c (B,) -> (B,)."""
    ### BEGIN SOLUTION
    log_each = net(x, masks, c).float().log_softmax(dim=2)  # (B, D, K)
    return log_each.gather(2, x[:, :, None])[:, :, 0].sum(dim=1)
    ### END SOLUTION


# %% check="log-p"
torch.manual_seed(2)
for D, K in ((9, 2), (4, 3)):  # all 512 pictures of 3 x 3 pixels; all 81 of 2 x 2 in three levels
    everything = torch.cartesian_prod(*[torch.arange(K)] * D)
    small, order = MADE(D, K, 40), torch.randperm(D)
    p = log_p(small, everything, masks(order, 40, K), torch.zeros(len(everything)).long()).double().exp()
    assert p.shape == (K**D,) and abs(p.sum() - 1) < 1e-5, "random weights, and yet all pictures sum to 1"
    assert p.std() > 0, "and they are not all alike"

# %% folded="Figure: the receptive field, by the gradient" tags=["demo"]
# long: what the logits of each pixel depend on, drawn and compared with the order
probe, field_orders = MADE(64, 2, 256).to(device), {"raster": torch.arange(64)}
field_orders["random"] = torch.randperm(64, generator=torch.Generator().manual_seed(5))
fig, axes = plot.figure(1, 4, height=2.1)
exact = []
for row, (name, order) in enumerate(field_orders.items()):
    level = torch.randn(1, 64, device=device)
    m = masks(order.to(device), 256, 2)

    def through(level, m=m):
        """The network behind its first step: levels (1, 64) -> the logit of 1 of each pixel."""
        h = F.silu(probe.enter(level, m[0]))
        h = h + F.silu(probe.across(h, m[1]))
        return probe.leave(h, m[2]).reshape(64, 2)[:, 1]

    jacobian = torch.autograd.functional.jacobian(through, level)[:, 0].cpu()  # (64, 64)
    position = order.argsort()
    exact.append(torch.equal(jacobian != 0, position[:, None] > position))
    for column, pixel in enumerate((27, 45)):
        ax = axes[2 * row + column]
        shade = (jacobian[pixel] != 0).float().reshape(8, 8) * 0.45
        shade[pixel // 8, pixel % 8] = 1.0
        ax.imshow(shade, cmap=plot.SEQUENTIAL, vmin=0, vmax=1)
        ax.set(title=f"{name}, pixel {pixel}", xticks=[], yticks=[])
plt.show()
board.claim("The gradient is other than 0 at all pixels before, and at no others.", all(exact))

# %% [markdown]
# Dark: a pixel. Blue: the pixels on which its logits depend, where the gradient is not 0. The claim below the
# figure compares all $64 \times 64$ entries with the order, not only the two that are drawn.
#
# ## 4 · Digits in black and white: exact nats, and drawing
#
# The 1,797 handwritten digits, black where the grey is one half or more: 64 pixels, $K = 2$, as in lessons
# 02 and 10. The loss is $-\log p(x \mid c)$, nothing else, in one pass; the curve shows it, given the class and
# with dropout. The network of `quick` stores 368,000 weights, and its masks leave 190,080 of them. 1,257 digits
# are few for so many, so a share of the hidden numbers is dropped while training (`drop`), and weights decay.
#
# To stand beside models that are not told the class, add the classes up:
# $p(x) = \frac1{10}\sum_c p(x \mid c)$ is a law, too, and exact.


# %%
# long: one loop for all MADEs of the lesson
def train(net, x, c, next_masks, updates, title, rate=2e-3, decay=0.05):
    """Maximise log p(x | c); next_masks() gives the masks of an update. Seconds that it took."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    rise = max(1, updates // 10)
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / rise, 1.02 - n / updates))
    g, curve, began = (
        torch.Generator().manual_seed(0),
        progress.Curve(title, "update", "nats"),
        time.perf_counter(),
    )
    for n in progress.track(range(updates), title=title):
        rows = torch.randint(len(x), (64,), generator=g).to(x.device)
        with genmap.autocast(device):
            loss = -log_p(net, x[rows], next_masks(), c[rows]).mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        plan.step()
        curve.add(n + 1, loss.detach())
    curve.close()
    net.eval()
    return time.perf_counter() - began


@torch.no_grad()
def by_class(net, x, masks):
    """log p(x | c) for each of the ten classes: (N, D) -> (N, 10)."""
    every = torch.arange(10, device=x.device)
    return torch.stack([log_p(net, x, masks, c.expand(len(x))) for c in every], dim=1)


def class_unknown(joint):
    """log p(x) from log p(x | c), all classes alike: (..., 10) -> (...,)."""
    return joint.logsumexp(-1) - math.log(joint.shape[-1])


def order_of(seed):
    """An order of 64 pixels: raster for 0, else random."""
    g = torch.Generator().manual_seed(100 + seed)
    return (torch.randperm(64, generator=g) if seed else torch.arange(64)).to(device)


# %% tags=["demo"]
def fixed(net, order):
    """next_masks for one order and the usual degrees."""
    m = masks(order, net.width, net.K)
    return lambda: m


nets = [MADE(64, 2, S.width, 10, 0.3).to(device) for _ in range(S.networks)]
times = [train(nets[0], b_train, y_train, fixed(nets[0], order_of(0)), S.updates, "raster order")]
joints = [by_class(nets[0], b_test, masks(order_of(0), S.width, 2))]
given = joints[0].gather(1, y_test[:, None]).mean().item()
raster, told = class_unknown(joints[0]), (joints[0].argmax(1) == y_test).float().mean().item()
board_rows = board.published().rows
before_us = {
    m: next(r for r in board_rows if r.model == m and r.data == "digits 8x8, binary").figures["nats"]
    for m in ("naive Bayes", "VAE, 8 codes")
}
print(f"held out: {given:.2f} nats given the class, {raster.mean():.2f} with the class unknown")
print(f"by Bayes' rule it tells {told:.3f} of the held-out digits; before: {before_us}")
board.claim(
    "Exact nats, class unknown, are half a nat or more above the VAE's bound in lesson 10.",
    raster.mean().item() > before_us["VAE, 8 codes"] + 0.5,
)
board.claim("And three nats or more above naive Bayes.", raster.mean().item() > before_us["naive Bayes"] + 3)

# %% [markdown]
# Naive Bayes is the same product without the pixels before: what they tell is the difference. The VAE's
# figure is a bound, so its own nats may be better than it looks. It was not told any class either; section 8
# has a model that is not, and compares again. Exactness does not make a model good. It makes its figure
# certain.
#
# **Drawing.** Put the first pixel of the order into the canvas, drawn from its softmax; ask again; put the
# second; and so on. The pass computes all 64 conditionals each time, and 63 of them are thrown away: that is
# the price. Pixels that are **known** need no drawing if they stand first in the order.


# %% build="sample"
@torch.no_grad()
def sample(net, order, c, generator, canvas=None, given=0, heat=1.0):
    """Pictures (B, D) int64 of the classes c (B,), pixel after pixel in the order, by a CPU generator.

    canvas: (B, D), whose pixels order[:given] are kept; it is not overwritten. heat: divides the logits.
    """
    ### BEGIN SOLUTION
    m = masks(order, net.width, net.K)
    x = torch.zeros(len(c), net.D, dtype=torch.long, device=c.device) if canvas is None else canvas.clone()
    for place in order[given:].tolist():
        p = (net(x, m, c)[:, place].float() / heat).softmax(dim=1)
        x[:, place] = torch.multinomial(p.cpu(), 1, generator=generator)[:, 0].to(x.device)
    return x
    ### END SOLUTION


# %% check="sample"
torch.manual_seed(4)
small, order = MADE(3, 2, 30), torch.tensor([2, 0, 1])
nn.init.normal_(small.bias.weight)
eight, none = torch.cartesian_prod(*[torch.arange(2)] * 3), torch.zeros(8_000).long()
exact = log_p(small, eight, masks(order, 30, 2), none[:8]).exp()
drawn = sample(small, order, none, torch.Generator().manual_seed(6))
counted = (drawn[:, None] == eight).all(2).double().mean(0)
assert (counted - exact).abs().max() < 0.03, "drawn as often as log_p says"
canvas = torch.ones(8_000, 3).long()
kept = sample(small, order, none, torch.Generator().manual_seed(6), canvas, given=1)
assert (kept[:, 2] == 1).all() and canvas.all() and kept[:, :2].float().mean() < 0.98, (
    "known pixels stay, first"
)

# %% folded="Figure: digits on the way and whole" tags=["demo"]
# long: pictures after some of the passes, and held-out ones
wanted = torch.arange(20, device=device) % 10
whole = sample(nets[0], order_of(0), wanted, torch.Generator().manual_seed(7))
fig, axes = plot.figure(4, 1, height=0.85)
for ax, passes in zip(axes, (16, 32, 64), strict=False):
    part = torch.where(torch.arange(64, device=device) < passes, whole.float(), 0.35)  # grey: not drawn yet
    plot.images(part.reshape(-1, 8, 8), columns=20, ax=ax, title=f"After {passes} passes")
real_rows = torch.stack([b_test[y_test == c][n] for n in range(2) for c in range(10)])
plot.images(real_rows.reshape(-1, 8, 8).float(), columns=20, ax=axes[3], title="Real, held out")
plt.show()

# %% [markdown]
# ## 5 · Many orders: ensembles, one network for all, and gaps
#
# Raster order is a habit. Section 1 saw that a formula may like another one better. Train a few more networks,
# each with a random order of its own, and take the mean of the *probabilities* of all of them, raster order
# included: each is a law over all pictures, so their mean is one,
#
# $$\bar p(x) = \frac1M\sum_{k=1}^M p_k(x),\qquad
# \log\bar p(x) = \operatorname{logsumexp}_k \log p_k(x) - \log M .$$
#
# <details><summary>Derivation: never below the mean of the members, and at most log M below the best</summary>
#
# The logarithm is concave, so by Jensen's inequality
# $\log\frac1M\sum_k p_k(x) \ge \frac1M\sum_k\log p_k(x)$: for every picture the ensemble has at least the
# mean of the members' nats. And the sum is at least its largest term, so
# $\log\bar p(x) \ge \max_k\log p_k(x) - \log M$. On each picture it lies between the members' mean and their best. Where the members disagree, it
# gains; where they are alike, nothing.
# </details>
#
# **Question.** The members' means will lie within some tenths of a nat. How then can the ensemble be better
# than all of them? And is it the orders that differ, or would networks of one order that start from other
# random weights do? (The control: raster order once more, from another start.)

# %% tags=["demo"]
# long: networks of other orders, and the ensemble
for n in range(1, S.networks):
    times.append(train(nets[n], b_train, y_train, fixed(nets[n], order_of(n)), S.updates, f"order {n}"))
    joints.append(by_class(nets[n], b_test, masks(order_of(n), S.width, 2)))
members = torch.stack([class_unknown(joint) for joint in joints])  # (M, N)
ensemble = members.logsumexp(0) - math.log(len(members))
print(
    "members:", [round(v, 2) for v in members.mean(1).tolist()], f"their ensemble {ensemble.mean():.2f} nats"
)
board.claim(
    "An ensemble of orders has 0.15 nats more than its best member, or more.",
    ensemble.mean().item() > members.mean(1).max().item() + 0.15,
)
most, least = members.max(0).values.mean().item(), members.min(0).values.mean().item()
print(f"each picture's best member {most:.2f} nats, mean {members.mean():.2f}, worst {least:.2f}")
board.claim(
    "The ensemble is nearer to the mean of the members than to each picture's best.",
    ensemble.mean().item() - members.mean().item() < most - ensemble.mean().item(),
)
again = MADE(64, 2, S.width, 10, 0.3).to(device)
train(again, b_train, y_train, fixed(again, order_of(0)), S.updates, "raster order, another start")
restarted = class_unknown(by_class(again, b_test, masks(order_of(0), S.width, 2)))


def gain(some):
    """Nats of an ensemble above the mean of its members: (M, N) -> a number."""
    return (some.logsumexp(0) - math.log(len(some)) - some.mean(0)).mean().item()


by_start = gain(torch.stack([members[0], restarted]))
by_order = np.mean([gain(members[list(two)]) for two in itertools.combinations(range(len(members)), 2)])
print(f"an ensemble of two: two orders gain {by_order:.3f} nats, two starts of one order {by_start:.3f}")
board.claim("Two orders gain twice as much as two starts, or more.", by_order > 2 * by_start)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Because they are good at *different pictures*: on a single picture best and worst are two nats apart, and no
# member is best everywhere. The ensemble does not follow the best one of each picture. It lies above the mean
# and may be up to $\log M$ below the best, 1.39 nats for four; here it is nearer to the mean. And it is the
# orders: they fill in what 1,257 digits leave open in ways of their own. Two starts of one order fill it in
# much alike, and gain little.
# </details>
#
# **One network for all orders.** Instead of a network for each order draw a new order at *every update*, and
# new degrees, too. MADE's authors call it order-agnostic and connectivity-agnostic training. The weights are
# shared by all $64!$ orders; only the masks say which one is meant.

# %% tags=["demo"]
# long: one network, a fresh order and fresh degrees at each update
agnostic, order_g = MADE(64, 2, S.width, 10, 0.1).to(device), torch.Generator().manual_seed(8)


def fresh_masks():
    """Masks of a random order with random degrees."""
    order = torch.randperm(64, generator=order_g).to(device)
    return masks(order, S.width, 2, torch.randint(1, 64, (S.width,), generator=order_g).to(device))


agnostic_seconds = train(agnostic, b_train, y_train, fresh_masks, S.all_orders, "all orders")
some = torch.stack([class_unknown(by_class(agnostic, b_test, fresh_masks())) for _ in range(8)])
mixed = some.logsumexp(0) - math.log(8)
print(f"one network, eight new orders: {some.mean():.2f} nats on average; their ensemble {mixed.mean():.2f}")
board.claim(
    "For all orders at once it is a nat or more worse than a network with one order.",
    some.mean().item() < members.mean().item() - 1,
)
board.claim(
    "Eight of its orders together gain 0.3 nats or more over one.",
    mixed.mean().item() > some.mean().item() + 0.3,
)

# %% [markdown]
# One network for all orders has more to learn with the same weights, and pays. (Not all of it is for the orders:
# it draws new degrees, too. Try `degree=None` in `fresh_masks`, the usual ones.) What it gets: **any** known pixels
# can be put first. A raster network that knows the right half of a picture cannot use it for the
# left one; for an exact answer it would have to add up all $2^{32}$ left halves.
#
# So hide the right half of held-out digits. The *known-first* order has the 32 left pixels at its beginning,
# and then $\log p(\text{right} \mid \text{left})$ is the sum of the last 32 terms. For comparison the same
# network with the right half first: $\log p(\text{right})$, with the left half unknown.

# %% folded="Figure: gaps filled by an order that begins with what is known" tags=["demo"]
# long: nats of a hidden half, and pictures
left_half = torch.arange(64, device=device) % 8 < 4
half_orders = {
    known: torch.cat([(left_half == known).nonzero()[:, 0], (left_half != known).nonzero()[:, 0]])
    for known in (True, False)
}  # True: the left half first


@torch.no_grad()
def right_nats(first):
    """log p of the right halves of held-out digits, with the left half before them, or behind."""
    logits = agnostic(b_test, masks(half_orders[first], S.width, 2), y_test).float()
    return logits.log_softmax(2).gather(2, b_test[..., None])[..., 0][:, ~left_half].sum(1)


alone, helped = (right_nats(first).mean().item() for first in (False, True))
print(f"right half: {alone:.2f} nats with the class alone, {helped:.2f} with the left half known, too")
show = torch.stack([b_test[y_test == c][3] for c in range(10)])
fig, axes = plot.figure(4, 1, height=0.85)
masked = torch.where(left_half, show.float(), 0.35)
plot.images(masked.reshape(-1, 8, 8), columns=10, ax=axes[0], title="Known: the left half")
for n, ax in enumerate(axes[1:3]):
    filled = sample(
        agnostic,
        half_orders[True],
        torch.arange(10, device=device),
        torch.Generator().manual_seed(n),
        show,
        given=32,
    )
    plot.images(filled.reshape(-1, 8, 8).float(), columns=10, ax=ax, title=f"Filled, draw {n + 1}")
plot.images(show.reshape(-1, 8, 8).float(), columns=10, ax=axes[3], title="Real")
plt.show()
board.claim("The left half tells 0.3 nats or more about the right one.", helped > alone + 0.3)

# %% [markdown]
# The fills differ from draw to draw: they are draws from the model's conditional law, not its mean. Not each of
# them fits its left half: the network is the one for all orders, which has the fewest nats of this section.
# Section 7's serves all orders, too, and has more than a nat more.
#
# ## 6 · Seventeen levels
#
# The real digits have 17 grey levels. Nothing changes but $K$: a softmax over 17 levels for each pixel, without
# dequantisation and its bound (lesson 08 needed both). Bits per dimension are
# $-\log_2 p(x)/64$, exact. The board's *nats* of grey digits are those of a density on $[0, 1]^{64}$ (lesson
# 01): the probability of a picture spread evenly over its cell of volume $17^{-64}$, so $64\log 17 = 181.3$
# more.

# %% tags=["demo"]
# long: two orders of a grey network
grey_nets, grey_joint = [MADE(64, 17, S.grey_width, 10, 0.4).to(device) for _ in range(2)], []
grey_seconds = 0.0
for n, net in enumerate(grey_nets):
    title = f"17 levels, {'raster' if n == 0 else 'random'} order"
    how = {"rate": 3e-3, "decay": 0.3}  # more weights than in black and white: a stronger pull to 0
    grey_seconds += train(net, k_train, y_train, fixed(net, order_of(n)), S.grey_updates, title, **how)
    grey_joint.append(by_class(net, k_test, masks(order_of(n), S.grey_width, 17)))
grey = torch.stack([class_unknown(joint) for joint in grey_joint])
grey_both = grey.logsumexp(0) - math.log(2)


def bits(nats):
    """Bits per pixel from the log p of whole pictures."""
    return -nats.mean().item() / 64 / math.log(2)


right = (grey_joint[0].argmax(1) == y_test).float().mean().item()
both = f"raster {bits(grey[0]):.3f} bits/dim, random {bits(grey[1]):.3f}, both {bits(grey_both):.3f}"
print(f"class unknown: {both}")
wanted = torch.arange(40, device=device) % 10
drawn = [
    sample(net, order_of(n), wanted, torch.Generator().manual_seed(9)) for n, net in enumerate(grey_nets)
]
fig, axes = plot.figure(3, 1, height=1.35)
real_rows = torch.stack([k_test[y_test == c][n] for n in range(4) for c in range(10)])
for ax, x, title in zip(axes, (*drawn, real_rows), ("Raster order", "A random order", "Real"), strict=True):
    plot.images(x.reshape(-1, 8, 8).float() / 16, columns=20, ax=ax, title=title)
plt.show()
board.claim(
    "Fewer bits than naive Bayes with 17 levels.",
    bits(grey_both)
    < min(r.figures["bits_per_dim"] for r in board_rows if r.model == "naive Bayes, 17 levels"),
)
board.claim("It tells more than 85 of 100 held-out digits.", right > 0.85)

# %% [markdown]
# A softmax does not know that level 8 lies between 7 and 9; it has to learn it from 1,257 digits. Lesson 04
# brings two things that these masks lack: weights that are shared over the picture, and an output that knows
# the order of grey levels.
#
# ## 7 · All orders at once are a diffusion
#
# The masks make a network for all orders possible, but a MADE sees *which* pixels are known only through
# them: a masked pixel adds 0 to a hidden number, as a visible one of the middle level would, and no input
# tells the two apart. Give the question itself to the network: it sees the visible pixels, $x_S$, and *hidden*
# as an extra level $K$, and says logits for all hidden ones. No masks on weights, any network. What should its loss be?
#
# Let the order be uniformly random. A mixture over orders is a law (section 5), and Jensen gives a bound,
#
# $$\log p(x) = \log \mathbb E_o\, p(x \mid o) \;\ge\; \mathbb E_o\sum_{i=1}^{D}\log p\big(x_{o_i} \mid x_{o_{<i}}\big).$$
#
# <details><summary>Derivation: one pass trains for n pixels at once</summary>
#
# Look at one term $i$ of the sum. Of the order it needs the *set* $S = \{o_1, \dots, o_{i-1}\}$ and the pixel
# that comes next. Given $S$, each of the $n = D - i + 1$ hidden pixels is next with the same probability
# $1/n$. So the term's expectation is $\mathbb E_S \frac1n\sum_{j \notin S}\log p(x_j \mid x_S)$. One pass of
# the network on $x_S$ gives the whole inner sum. And the sum over $i$ is $D$ times the mean over a random
# $n \in \{1, \dots, D\}$:
#
# $$L(x) = \mathbb E_{n}\,\mathbb E_{S}\ \frac{D}{n}\sum_{j\notin S} -\log p(x_j \mid x_S),\qquad n \sim U\{1, \dots, D\},\quad
# S \text{ a random set of } D - n \text{ pixels}.$$
# </details>
#
# Now a **diffusion that hides**. Forwards, each pixel is hidden at a moment of its own, uniform on $[0, 1]$:
# at time $t$ it is hidden with probability $t$, and stays so (the *absorbing* state). At $t = 1$ nothing is
# left. Backwards a model fills them in again. Its bound (the ELBO of lesson 10, with the hidden pictures as
# latent variables) is
#
# $$\log p(x) \;\ge\; -\int_0^1 \frac1t\ \mathbb E\Big[\sum_{j\ \text{hidden at } t} -\log p(x_j \mid x_{S_t})\Big]\,dt .$$
#
# <details><summary>Derivation: the bound, and that both are the same number</summary>
#
# *The bound.* Take a short step back, from $t$ to $t - dt$. A pixel that is hidden at $t$ was hidden within
# the last $dt$ with probability $dt/t$, given $x$. The model reveals it with the same probability (no weights
# there), and must then say its level. So the KL divergence between the true step back and the model's is, for
# each hidden pixel, the probability $dt/t$ that there is something to say, times $-\log p(x_j \mid x_{S_t})$.
# Visible pixels stay, and cost nothing. At $t = 1$ both begin with everything hidden: no further term. The
# sum over steps is the integral.
#
# *The same number.* At time $t$ the number of hidden pixels is $n$ with probability
# $\binom Dn t^n(1-t)^{D-n}$, and which ones is uniform. So the case of $n$ hidden pixels has the weight
#
# $$\int_0^1\frac1t\binom Dn t^n(1-t)^{D-n}\,dt = \binom Dn\,\frac{(n-1)!\,(D-n)!}{D!} = \frac1n ,$$
#
# for all its $\binom Dn$ sets together (Euler's beta integral). In $L$ they have the probability of this $n$,
# $\frac1D$, times the factor $\frac Dn$: again $\frac1n$. With $D = 2$: both hidden, $\int_0^1 \frac1t\,t^2\,dt = \frac12$
# and $\frac12\cdot\frac22$; one of the two hidden, $\int_0^1 \frac1t\,2t(1-t)\,dt = 1$ and $\frac12\cdot\frac21$.
# </details>
#
# Both say: hide a random part, guess it, weight by $1/n$ or $1/t$. Training over all orders **is** training a
# masked diffusion (Hoogeboom and others 2021; Sahoo and others 2024). There is no noise level in the network
# either: the number of hidden pixels can be counted.
#
# **Question.** BERT (lesson 06) hides 15 % of its tokens, always, and guesses them. What does it lack to be a
# generative model?


# %%
class SetNet(nn.Module):
    """Logits (B, D, K) of all pixels from the visible ones: x (B, D) int64, where K is hidden."""

    def __init__(self, D, K, width, drop=0.0):
        super().__init__()
        self.D, self.K = D, K
        self.enter, self.leave = nn.Linear(D * K, width), nn.Linear(width, D * K)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.drop = nn.Dropout(drop)

    def forward(self, x):
        one_hot = (x[:, :, None] == torch.arange(self.K, device=x.device)).float()  # hidden: no level at all
        h = self.drop(F.silu(self.enter(one_hot.flatten(1))))
        for layer in (self.first, self.second):
            h = h + self.drop(F.silu(layer(h)))
        return self.leave(h).reshape(len(x), self.D, self.K)


# %% build="any-order"
def any_order_loss(net, x, n, order):
    """L's term in nats for each row: hide the last n pixels of its order, weight by D / n: (B,).

    x: (B, D) int64; n: (B,) from 1 to D; order: (B, D), permutations.
    """
    ### BEGIN SOLUTION
    D = x.shape[1]
    hidden = order.argsort(dim=1) >= (D - n)[:, None]  # by position
    logits = net(torch.where(hidden, net.K, x))
    nats = F.cross_entropy(logits.float().flatten(0, 1), x.flatten(), reduction="none").reshape(x.shape)
    return D / n * (nats * hidden).sum(dim=1)
    ### END SOLUTION


# %% check="any-order"
class Watched:
    """A net that keeps what it saw, and says with probability 3/4 that a pixel is 1."""

    K = 2

    def __call__(self, x):
        self.saw = x
        return torch.tensor([0.25, 0.75]).log().expand(*x.shape, 2)


watched, x = Watched(), torch.tensor([[1, 0, 1], [1, 1, 0]])
got = any_order_loss(watched, x, torch.tensor([1, 3]), torch.tensor([[2, 0, 1], [0, 1, 2]]))
assert watched.saw.tolist() == [[1, 2, 1], [2, 2, 2]], "the last n of each row's order are hidden: level K"
wanted_nats = [3 * math.log(4), 2 * math.log(4 / 3) + math.log(4)]
assert torch.allclose(got, torch.tensor(wanted_nats)), "D / n times the nats of the hidden ones"

# %% tags=["demo"]
# long: the bound in three ways, on four pixels
torch.manual_seed(10)
toy = SetNet(4, 2, 16)
nn.init.normal_(toy.leave.weight)  # a model that is wrong, and in each order differently
picture = torch.tensor([[1, 0, 1, 1]])


@torch.no_grad()
def hidden_nats(S_visible):
    """-log p of each hidden pixel of `picture`, summed, given the visible ones."""
    hidden = torch.tensor([[i not in S_visible for i in range(4)]])
    logits = toy(torch.where(hidden, 2, picture)).double()
    return (F.cross_entropy(logits[0], picture[0], reduction="none") * hidden[0]).sum().item()


def one_order(order):
    """-log p(picture) in one order: what each pixel adds to those behind it, hidden alone."""
    total = 0.0
    for n, i in enumerate(order):
        logits = toy(torch.where(torch.isin(torch.arange(4), torch.tensor(order[:n])), picture, 2))
        total -= logits[0, i].double().log_softmax(0)[picture[0, i]].item()
    return total


sets = [s for n in range(4) for s in itertools.combinations(range(4), n)]  # visible; never all
by_orders = np.mean([one_order(order) for order in orders])
by_number = sum(hidden_nats(s) / (4 - len(s)) / math.comb(4, len(s)) for s in sets)
nodes, rule = np.polynomial.legendre.leggauss(20)
times_t, rule = (nodes + 1) / 2, rule / 2  # Gauss's rule on [0, 1], exact for these polynomials
by_time = sum(
    w / t * t ** (4 - len(s)) * (1 - t) ** len(s) * hidden_nats(s)
    for t, w in zip(times_t, rule, strict=True)
    for s in sets
)
print(f"mean over 24 orders {by_orders:.6f}, over numbers {by_number:.6f}, over time {by_time:.6f} nats")
board.claim(
    "Over orders, over numbers of hidden pixels and over time: one number.",
    max(abs(by_orders - by_number), abs(by_orders - by_time)) < 1e-5,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The weights and the rates. It never saw a text with 90 % hidden, so it cannot begin; and without $n$ spread
# over $1, \dots, D$ with $D/n$ its loss is no bound on anything. With both it is one.
# </details>
#
# Now on the digits. A row of the batch has its own $n$, spread evenly as in lesson 19, and its own order.

# %% tags=["demo"]
# long: the any-order network, its bound, and exact likelihoods of some orders
set_net, set_g = SetNet(64, 2, S.width, 0.2).to(device), torch.Generator().manual_seed(11)
optimizer = torch.optim.AdamW(set_net.parameters(), lr=2e-3, weight_decay=0.05)
plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / 100, 1.02 - n / S.set_updates))


def random_hiding(B):
    """n (B,), spread over 1 to 64, and orders (B, 64)."""
    u = (torch.arange(B) + torch.rand(B, generator=set_g)) / B
    order = torch.rand(B, 64, generator=set_g).argsort(1)
    return ((64 * u).long().clamp(max=63) + 1).to(device), order.to(device)


curve, began = progress.Curve("any order", "update", "nats"), time.perf_counter()
for n in progress.track(range(S.set_updates), title="any order"):
    rows = torch.randint(len(b_train), (64,), generator=set_g).to(device)
    with genmap.autocast(device):
        loss = any_order_loss(set_net, b_train[rows], *random_hiding(64)).mean()
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    plan.step()
    curve.add(n + 1, loss.detach())
curve.close()
set_net.eval()
set_seconds = time.perf_counter() - began

# %% [markdown]
# ## 8 · Parallel unmasking, and its price in nats
#
# The network guesses *all* hidden pixels in one pass, and so far we used one of them. Why not draw several at
# once? Cut the pixels into blocks $B_1, \dots, B_T$. In pass $s$ draw all pixels of $B_s$, **independently**
# of each other, given the blocks before. $T$ passes instead of $D$. The law of what comes out is again a
# product,
#
# $$q(x) = \prod_{s=1}^T\ \prod_{j \in B_s} p\big(x_j \mid x_{B_1}, \dots, x_{B_{s-1}}\big),$$
#
# and so its nats are as exact as MADE's. With blocks of one pixel it is the likelihood in one order.


# %% build="parallel"
@torch.no_grad()
def log_q(net, x, blocks):
    """log q(x) of a sampler that draws a block in each pass, in nats: (B,).

    blocks: a sequence of tensors of pixels, each pixel in one of them.
    """
    ### BEGIN SOLUTION
    seen, total = torch.full_like(x, net.K), 0.0
    for block in blocks:
        log_each = net(seen)[:, block].float().log_softmax(dim=2)  # (B, |block|, K)
        total = total + log_each.gather(2, x[:, block, None])[:, :, 0].sum(dim=1)
        seen = seen.clone()
        seen[:, block] = x[:, block]
    return total
    ### END SOLUTION


# %% check="parallel"
for cut in ([[0, 1, 2, 3]], [[2], [0, 3], [1]], [[3], [1], [0], [2]]):
    q = log_q(toy, sixteen, [torch.tensor(block) for block in cut]).exp()
    assert abs(q.sum() - 1) < 1e-5, "whatever the blocks are, q is a law"
in_order = -log_q(toy, picture, torch.tensor([[3], [1], [0], [2]])).item()
assert math.isclose(in_order, one_order((3, 1, 0, 2)), rel_tol=1e-5), (
    "blocks of one pixel: the likelihood in that order"
)

# %% [markdown]
# **What does it cost?** Suppose that the network is perfect, all conditionals are those of the data's law
# $p$. The pixels of a block are independent under $q$, given what came before, and in truth they are not.
#
# <details><summary>Derivation: the price is what the pixels of a block would have told each other</summary>
#
# $\mathrm{KL}(p \,\|\, q) = \mathbb E_p\log\frac{p(x)}{q(x)}$. Write $p$ by the chain rule over *blocks*:
# $p(x) = \prod_s p(x_{B_s} \mid x_{B_{<s}})$. Then the logarithm is a sum over blocks, and
#
# $$\mathrm{KL}(p \,\|\, q) = \sum_s \Big(\sum_{j\in B_s} H(x_j \mid x_{B_{<s}}) - H(x_{B_s} \mid x_{B_{<s}})\Big),$$
#
# with the entropy $H$ of what is left unknown. Each bracket is the *conditional total correlation* of a
# block: 0 if and only if its pixels are independent given what is visible.
# </details>
#
# So the price is no error of the network. It is there with exact conditionals, and it depends on **which**
# pixels share a pass. On the four pixels of section 1 we can compute it:


# %% tags=["demo"]
# long: the exact price on four pixels
def exact_price(blocks):
    """KL(p | q) in nats with the table's own conditionals."""
    log_q_table, known = torch.zeros(16, dtype=torch.float64), []
    for block in blocks:
        for i in block:
            log_q_table += conditional(table, i, known).log()
        known = [*known, *block]
    return (table * (table.log() - log_q_table)).sum().item()


cuts = {"one by one": [[0], [1], [2], [3]], "rows": [[0, 1], [2, 3]], "columns": [[0, 2], [1, 3]]}
cuts |= {"diagonals": [[0, 3], [1, 2]], "all at once": [[0, 1, 2, 3]]}
prices = {name: exact_price(blocks) for name, blocks in cuts.items()}
print({name: round(v, 4) for name, v in prices.items()})
board.claim("One by one costs nothing.", abs(prices["one by one"]) < 1e-9)
board.claim(
    "All at once costs more than any two passes.",
    prices["all at once"] > max(prices[k] for k in ("rows", "columns", "diagonals")),
)

# %% [markdown]
# **Question.** On the 64 pixels, in eight passes of eight pixels: the rows from top to bottom; the columns from
# left to right; random sets; or a lattice, every second row and every fourth column, shifted from pass to pass.
# Which costs least, and which most? The price of a layout is here the nats that its own order, one pixel a pass,
# has more, with the network's conditionals for the exact ones.


# %% folded="Figure: nats against passes" tags=["demo"]
# long: the bound, exact likelihoods, and what parallel passes cost
def random_blocks(passes, seed):
    """A random partition of 64 pixels into so many blocks."""
    g = torch.Generator().manual_seed(200 + seed)
    return torch.randperm(64, generator=g).to(device).tensor_split(passes)


@torch.no_grad()
def measured_bound(repeats=20):
    """-L over held-out digits, and its standard error."""
    x = b_test.repeat(repeats, 1)
    found = any_order_loss(set_net, x, *random_hiding(len(x)))
    return -found.mean().item(), found.std().item() / math.sqrt(len(x))


bound, bound_error = measured_bound()
few = S.held_out
sizes = (1, 2, 4, 8, 16, 32, 64)
one_way = {
    T: torch.stack([log_q(set_net, b_test[:few], random_blocks(T, n)) for n in range(8 if T == 64 else 4)])
    for T in sizes
}
nats_of = {T: v.mean().item() for T, v in one_way.items()}
grid = order_of(0).reshape(8, 8)
layouts = {"columns": grid.t().unbind(), "rows": grid.unbind()}
layouts["lattice"] = [grid[i::2, j::4].flatten() for i in range(2) for j in range(4)]
eight = {}  # nats in eight passes, and what one pixel a pass has more in the same order
for name, cut in layouts.items():
    in_eight = log_q(set_net, b_test[:few], cut)
    single = log_q(set_net, b_test[:few], torch.cat(cut)[:, None])
    eight[name] = (in_eight.mean().item(), (single - in_eight).mean().item())
eight["random sets"] = (nats_of[8], nats_of[64] - nats_of[8])
together = (one_way[64].logsumexp(0) - math.log(8)).mean().item()
print(
    f"any-order bound {bound:.2f} ± {bound_error:.2f} nats; exact, one random order {nats_of[64]:.2f}",
    end=" ",
)
print(
    f"(eight orders mixed {together:.2f}); MADE for all orders {some.mean():.2f}, for one {raster.mean():.2f}"
)
print("parallel:", {T: round(v, 2) for T, v in nats_of.items()})
print("eight passes:", {k: f"{nats:.2f}, price {price:.2f}" for k, (nats, price) in eight.items()})
fig, ax = plot.figure(height=2.8)
spots = (plot.COLOURS.purple, plot.COLOURS.vermilion, plot.COLOURS.blue)
ax.plot(sizes, [nats_of[T] for T in sizes], "-o", color=plot.COLOURS.blue, label="random blocks")
for (name, mark), colour in zip((("columns", "v"), ("rows", "s"), ("lattice", "^")), spots, strict=True):
    ax.plot([8], [eight[name][0]], mark, color=colour, label=name)
ax.axhline(bound, ls="--", color=plot.COLOURS.orange, label="any-order bound")
ax.axhline(together, ls=":", color=plot.COLOURS.green, label="eight orders mixed, one pixel a pass")
ax.set(xscale="log", xlabel="passes", ylabel="nats", title="What parallel passes cost")
ax.set_xticks(sizes, sizes)
ax.legend(fontsize=8)
plt.show()
board.claim(
    "The bound lies within 0.5 nats of the mean exact likelihood of an order.", abs(bound - nats_of[64]) < 0.5
)
board.claim("Eight orders mixed have 0.3 nats more than one.", together > nats_of[64] + 0.3)
board.claim(
    "Without any label, eight orders mixed are half a nat or more above the VAE's bound.",
    together > before_us["VAE, 8 codes"] + 0.5,
)
board.claim(
    "One order of this network has a nat more than one of MADE for all orders.",
    nats_of[64] > some.mean().item() + 1,
)
board.claim("Half the passes cost less than half a nat.", nats_of[64] - nats_of[32] < 0.5)
board.claim("One pass costs three nats or more.", nats_of[64] - nats_of[1] > 3)
cost = {name: price for name, (_, price) in eight.items()}
board.claim(
    "In eight passes columns cost more than rows, rows more than random sets, and a lattice costs least.",
    cost["columns"] > cost["rows"] + 0.1 > cost["random sets"] + 0.2 > cost["lattice"] + 0.3,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The lattice costs least, the columns most. Neighbours tell most about each other, above all those one below the
# other, for a stroke of a digit runs down rather than across (so, too, on the four pixels above); in one pass
# they cannot speak. A random set holds a few neighbours, the lattice none. Whoever unmasks in parallel should
# draw together what is nearly independent *given what is visible*.
# </details>
#
# Three things to see. The bound is what a random order has, on average, as the derivation says. Mixing orders
# is again worth more than one, and without a label it beats the VAE's bound. And this network, which
# is told what is hidden, is more than a nat better for all orders than MADE with fresh masks. A likely reason:
# for each question masks leave MADE a part of its weights, and a hidden number serves whatever degree the next
# update gives it. The two differ in more than that: this one has more weights and updates, sees levels one-hot,
# is dropped otherwise and knows no class. We have not taken these apart.
#
# Language models that unmask in parallel (Nie and others 2025) trade on the left half of this curve: fewer
# passes than tokens, at a price in nats that no training removes.
#
# ## 9 · Play
#
# *Question: how many passes does a digit need?* The network draws 16 pictures without a class. In each pass it
# draws a block; the blocks are random sets, or rows.


# %% folded="Controls, and a figure of what they show" tags=["demo"]
# long: one control, one figure
@torch.no_grad()
def unmask(net, n, blocks, generator):
    """n pictures (n, D), a block a pass, the pixels of a block independently."""
    x = torch.full((n, net.D), net.K, device=device)
    for block in blocks:
        p = net(x)[:, block].float().softmax(2).flatten(0, 1).cpu()
        x[:, block] = torch.multinomial(p, 1, generator=generator).reshape(n, -1).to(device)
    return x


def blocks_of(layout, passes):
    """Blocks for a number of passes."""
    return random_blocks(passes, 0) if layout == "random sets" else order_of(0).tensor_split(passes)


def play(passes, layout, ax=None):
    """A row of 16 pictures, and the exact nats of 60 held-out digits under this sampler."""
    x = unmask(set_net, 16, blocks_of(layout, passes), torch.Generator().manual_seed(12))
    nats = log_q(set_net, b_test[:60], blocks_of(layout, passes)).mean().item()
    title = f"{passes} pass{'es' if passes > 1 else ''}, {layout}: {nats:.2f} nats"
    plot.images(x.reshape(-1, 8, 8).float(), columns=16, title=title, ax=ax)
    if ax is None:
        plt.show()


passes = widgets.SelectionSlider(options=[1, 2, 3, 4, 6, 8, 12, 16, 32, 64], value=8, continuous_update=False)
layout = widgets.Dropdown(options=["random sets", "rows"], value="random sets")
controls = interact(play, passes=passes, layout=layout)
fig, axes = plot.figure(5, 1, height=0.95)
for ax, (number, how) in zip(
    axes,
    ((1, "random sets"), (8, "rows"), (8, "random sets"), (16, "random sets"), (64, "random sets")),
    strict=True,
):
    play(number, how, ax)
plt.show()

# %% [markdown]
# ## 10 · What breaks
#
# ### A mask that is off by one
#
# Write $\le$ for $<$ in the last rule: logits of pixel $i$ listen to hidden numbers with $m \le r_i$, and
# these know pixel $i$. Nothing crashes. On the middle $3\times3$ pixels of the digits all 512 pictures can be
# added up; then the 64 pixels.
#
# **Question.** What will the loss be, and what will the sampler draw?


# %% folded="Figure: a leak" tags=["demo"]
# long: two leaking networks, their sums and their pictures
def leaking(order, width):
    """Masks whose last rule is <= instead of <."""
    into, across, _ = masks(order, width, 2)
    degree, position = torch.arange(width, device=order.device) % (len(order) - 1) + 1, order.argsort() + 1
    return into, across, (position[:, None] >= degree).repeat_interleave(2, dim=0).float()


patch = b_train.reshape(-1, 8, 8)[:, 2:5, 2:5].flatten(1)
all_512, nine = torch.cartesian_prod(*[torch.arange(2)] * 9).to(device), torch.arange(9, device=device)
zeros, sums = torch.zeros(512, device=device).long(), {}
for name, m in (("leak", leaking(nine, 64)), ("repaired", masks(nine, 64, 2))):
    little = MADE(9, 2, 64).to(device)
    train(little, patch, 0 * y_train, lambda m=m: m, S.broken, f"3 x 3, {name}", rate=1e-2, decay=0.0)
    with torch.no_grad():
        sums[name] = (
            log_p(little, all_512, m, zeros).double().exp().sum().item(),
            log_p(little, patch, m, 0 * y_train).mean().item(),
        )
    print(f"3 x 3 pixels, {name}: {sums[name][1]:.3f} nats; all 512 pictures together {sums[name][0]:.3f}")
leaky, m = MADE(64, 2, S.width, 10, 0.0).to(device), leaking(order_of(0), S.width)
train(leaky, b_train, y_train, lambda: m, S.broken, "64 pixels, leak", rate=1e-2, decay=0.0)
with torch.no_grad():
    leak_nats = log_p(leaky, b_test, m, y_test).mean().item()
    canvases = {"blank": torch.zeros(20, 64, device=device).long()}
    canvases["noise"] = torch.randint(2, (20, 64), generator=torch.Generator().manual_seed(13)).to(device)
    drawn, returned = {}, {}
    for name, canvas in canvases.items():
        x = canvas.clone()
        for place in range(64):
            p = leaky(x, m, torch.arange(20, device=device) % 10)[:, place].float().softmax(1).cpu()
            x[:, place] = torch.multinomial(p, 1, generator=torch.Generator().manual_seed(place))[:, 0].to(
                device
            )
        drawn[name], returned[name] = x, (x == canvas).float().mean().item()
print(f"64 pixels: held-out loss {-leak_nats:.3f} nats, with a correct mask {-given:.2f}")
print("share of pixels that come back as they were:", {k: round(v, 3) for k, v in returned.items()})
fig, axes = plot.figure(2, 1, height=0.85)
for ax, (name, x) in zip(axes, drawn.items(), strict=True):
    plot.images(x.reshape(-1, 8, 8).float(), columns=20, ax=ax, title=f"Drawn with the leak, canvas: {name}")
plt.show()
board.claim("The leaking loss falls below half a nat, on held-out digits.", -leak_nats < 0.5)
board.claim(
    "Its 512 numbers sum to more than 100; with the right mask they sum to 1.",
    sums["leak"][0] > 100 and abs(sums["repaired"][0] - 1) < 1e-4,
)
board.claim(
    "The sampler gives its canvas back: a blank one whole, of noise two pixels of three or more.",
    returned["blank"] > 0.99 and returned["noise"] > 0.67,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The loss goes to 0, better than any model can be, and held-out digits do not tell: the leak copies them, too.
# The sampler asks for a pixel before it is drawn, so what leaks is the canvas: from a blank one it draws blanks,
# from noise most of the same noise.
# </details>
#
# What finds a leak: the gradient, which must be 0 on the diagonal (section 3); the sum over all pictures of a
# small grid, which must be 1; a loss that is too good. The first two need no training. The gradient is the sure
# one. A leak of small random weights may sum to 1.00004, so ask for $10^{-5}$ as section 3 does, and try
# several starts. **The repair** is the strict sign.
#
# ### The wrong order
#
# Now the sums are 1 and yet something is wrong. Take the raster network, with another order's masks.

# %% tags=["demo"]
# long: one network under two orders
other = masks(order_of(1), S.width, 2)
misled = class_unknown(by_class(nets[0], b_test, other)).mean().item()
judge = features.digits()
asked = torch.arange(len(y_test), device=device) % 10
looks = {}
for name, order in (("its own order", order_of(0)), ("another", order_of(1))):
    x = sample(nets[0], order, asked, torch.Generator().manual_seed(14)).reshape(-1, 1, 8, 8).float().cpu()
    looks[name] = judge.compare(x, asked.cpu(), b_test.reshape(-1, 1, 8, 8).float().cpu(), y_test.cpu())
    print(f"drawn in {name}: {looks[name]['class_accuracy']:.3f} recognised")
print(f"held out: {raster.mean():.2f} nats in its own order, {misled:.2f} in another")
board.claim("In another order it loses five nats or more.", misled < raster.mean().item() - 5)
board.claim(
    "And its digits are recognised less often, by a tenth or more.",
    looks["another"]["class_accuracy"] < looks["its own order"]["class_accuracy"] - 0.1,
)

# %% [markdown]
# Any masks from `masks` make a law that sums to 1. Whether it is a good one is another question: the weights
# were learned for one order. The repair is to keep the order with the network, or to train for all of them
# (section 7).
#
# ## 11 · How good is it?


# %% tags=["demo"]
# long: the rows of the board
def seconds(job, repeats=3):
    """The fastest of some runs."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        job().cpu()  # bringing the result home waits for the device
        taken.append(time.perf_counter() - begin)
    return min(taken)


hundred = torch.arange(1_000, device=device) % 10
sample_time = (
    seconds(lambda: sample(nets[0], order_of(0), hundred, torch.Generator().manual_seed(15)), 1) / 1_000
)
grey_looks = {}
for heat in (1.0, 0.8):
    made = sample(grey_nets[0], order_of(0), asked, torch.Generator().manual_seed(16), heat=heat) / 16
    made = made.reshape(-1, 1, 8, 8).cpu()
    grey_looks[heat] = judge.compare(made, asked.cpu(), digits.test.x, digits.test.y)
    print(f"grey digits at temperature {heat}: recognised {grey_looks[heat]['class_accuracy']:.3f}", end=", ")
    clear, clearly = torch.as_tensor(judge(made).labels).cpu() == asked.cpu(), math.nan
    if asked.cpu()[clear].bincount(minlength=10).min() > 1:  # else a class has no diversity
        clearly = judge.compare(made[clear], asked.cpu()[clear], digits.test.x, digits.test.y)["diversity"]
    print(f"diversity {grey_looks[heat]['diversity']:.2f}, of the recognised ones {clearly:.2f}", end=" ")
    print(f"(real ones {judge.accuracy:.3f}, 1)")
    if heat == 1:
        board.claim(
            "Without the unrecognised ones the diversity is less, and still above 1.1.",
            1.1 < clearly < grey_looks[heat]["diversity"],
        )
size = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
lesson, on = "03_made", {"data": "digits 8x8, binary"}
costs = {"parameters": size(nets[0]), "train_seconds": times[0], "sample_seconds": sample_time}
board.record(lesson, "MADE", nats=raster.mean().item(), **on, **costs, **looks["its own order"])
board.record(
    lesson,
    f"MADE, {len(nets)} orders",
    nats=ensemble.mean().item(),
    parameters=len(nets) * size(nets[0]),
    train_seconds=sum(times),
    **on,
)
board.record(
    lesson, "any order, 8 mixed", nats=together, parameters=size(set_net), train_seconds=set_seconds, **on
)
row = {"bits_per_dim": bits(grey[0]), "nats": grey[0].mean().item() + 64 * math.log(17)}
board.record(
    lesson,
    "MADE",
    data="digits 8x8",
    parameters=size(grey_nets[0]),
    train_seconds=grey_seconds / 2,
    **row,
    **grey_looks[1.0],
)
row = {"bits_per_dim": bits(grey_both), "nats": grey_both.mean().item() + 64 * math.log(17)}
board.record(
    lesson,
    "MADE, 2 orders",
    data="digits 8x8",
    parameters=2 * size(grey_nets[0]),
    train_seconds=grey_seconds,
    **row,
)
board.record(
    lesson, "MADE, temperature 0.8", data="digits 8x8", parameters=size(grey_nets[0]), **grey_looks[0.8]
)
on_grey = {r.model: r.figures.get("bits_per_dim") for r in board_rows if r.data == "digits 8x8"}
flow, flow_told = on_grey["RealNVP"], on_grey["RealNVP, learned noise, class given"]
grey_told = bits(grey_joint[0].gather(1, y_test[:, None]))
print(f"class unknown: two orders {bits(grey_both):.3f} bits/dim, the flow {flow:.3f};", end=" ")
print(f"given the class: raster order {grey_told:.3f}, the flow {flow_told:.3f}")
board.claim(
    "Class unknown, two orders have fewer bits than the flow's bound in lesson 08.",
    bits(grey_both) < flow,
)
board.claim("Given the class, one network has fewer bits than the flow given it.", grey_told < flow_told)
board.claim(
    "At the lower temperature more are recognised, and they are less diverse.",
    grey_looks[0.8]["class_accuracy"] > grey_looks[1.0]["class_accuracy"]
    and grey_looks[0.8]["diversity"] < grey_looks[1.0]["diversity"],
)
display(board.table("digits 8x8, binary"))
display(board.table("digits 8x8"))

# %% [markdown]
# The tables list the figures of all lessons, later ones, too. (They count stored weights; MADE's masks leave
# about half.) In black and white the chain rule has more nats than naive Bayes and than the VAE's bound, in grey
# fewer bits than the flow that is told as much about the class: two orders where it is unknown, one network
# where it is given. The flow's figures are bounds, these are exact. (A row that is given the class and one that
# is not do not compare.) The pictures are less good than the nats. Drawn as they are, one
# wrong pixel is built upon by all that come later, and more than a real digit's share of the pictures is not
# recognised. These are a part of the diversity above 1, and not all: those that are recognised vary more than
# real digits, too. A *temperature* below 1 (all logits divided by 0.8, lesson 06) draws the likelier levels more
# often: more pictures are recognised, but they are no longer draws from the model's law.
#
# **Where it is used.** GPT and all its kin are the chain rule over tokens (lesson 06). PixelCNN and WaveNet are
# lessons 04 and 05. MADE's masks live on inside flows: a masked autoregressive flow is a MADE whose outputs
# are means and scales (zuko and normflows build theirs so; Papamakarios and others 2017). Neural estimators
# of posteriors in physics and biology (the package sbi) use them daily. Section 7 is how LLaDA and Dream
# write text, and how lesson 26 writes codes.
#
# ## 12 · In production
#
# $$\text{time of a density} = t_\text{pass},\qquad \text{time of a sample} = T \times t_\text{pass},$$
#
# with $T = D$ passes for one pixel at a time. A pass through MADE costs the same for one conditional as for
# all of them.

# %% tags=["demo"]
# long: densities and samples, timed
m, thousand = masks(order_of(0), S.width, 2), torch.zeros(1_000, 64, device=device).long()
with torch.no_grad():
    density_time = seconds(lambda: log_p(nets[0], thousand, m, hundred), 5)
    set_time = {
        T: seconds(
            lambda T=T: unmask(set_net, 1_000, random_blocks(T, 0), torch.Generator().manual_seed(1)), 2
        )
        for T in (1, 8, 64)
    }
print(f"1,000 densities {1e3 * density_time:.1f} ms; 1,000 samples {1e6 * sample_time:.0f} ms", end=" ")
print(f"(64 passes would be {64e3 * density_time:.0f} ms)")
print("parallel unmasking, 1,000 samples:", {T: f"{1e3 * v:.0f} ms" for T, v in set_time.items()})
board.claim("A sample costs more than 20 densities.", sample_time * 1_000 > 20 * density_time)
board.claim("Eight passes take less than a third of 64.", set_time[8] < set_time[64] / 3)

# %% [markdown]
# The first claim is the bargain of this family in one line: exact densities for one pass, samples for
# sixty-four. Caches (lessons 04 to 07) make each pass cheaper, parallel unmasking takes fewer of them, and
# pays in nats.
#
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs. Levels and pixels are int64. Other numbers
# are float64 or float32, and a result has the type of what went in; in float64 it agrees with the formula to
# nine digits, in float32 to four. What goes in stays as it is, and may lie in memory in any way. Rows do not
# know of each other.
#
# ### 1 · Masks for blocks (medium, 25 minutes)
#
# Section 8's sampler draws a block in each pass. Write masks for a MADE whose conditionals are exactly those:
# the logits of pixel $i$ may depend on pixel $j$ **if and only if** $j$'s block comes before $i$'s. Blocks
# are said by one whole number for each pixel, and the smaller number comes first. The numbers may be
# negative, may repeat and may leave gaps. There may be any number of hidden layers, one or more. *If and only
# if*: there is a way from $j$ to $i$ through the masks (their product is not 0) exactly where it may be. And
# no hidden number is idle: each is reached by a pixel and reaches one, unless there is only one block, where
# nothing may reach anything. Every hidden layer is at least as wide as there are blocks.


# %% exercise="block-masks"
def block_masks(block, widths):
    """A list of len(widths) + 1 masks, bool, each (out, in): from D pixels over hidden layers to D pixels.

    block: (D,) int64, of each pixel; widths: a list, how many hidden numbers each layer has.
    """
    ### BEGIN SOLUTION
    rank = torch.unique(block, return_inverse=True)[1]  # 0 to T - 1
    last = max(int(rank.max()), 1)
    degrees = [rank, *(torch.arange(width) % last for width in widths)]  # the last rank that each may see
    found = [b[:, None] >= a for a, b in itertools.pairwise(degrees)]
    return [*found, rank[:, None] > degrees[-1]]
    ### END SOLUTION


# %% test="block-masks" points=3
found = block_masks(torch.tensor([7, -2, 7, 30]), [3, 5])
assert [tuple(m.shape) for m in found] == [(3, 4), (5, 3), (4, 5)], (
    "one mask for each layer of weights, (out, in)"
)
assert all(m.dtype == torch.bool for m in found), "masks are True and False: bool"
ways = found[2].double() @ found[1].double() @ found[0].double()
assert (ways > 0).tolist() == [
    [False, True, False, False],
    [False] * 4,
    [False, True, False, False],
    [True, True, True, False],
], "-2 comes first, then both 7, which do not see each other"
assert found[0].any(1).all() and found[2].any(0).all(), "no hidden number is idle"
alone = block_masks(torch.tensor([4, 4]), [2])
assert not (alone[1].double() @ alone[0].double()).any(), "one block: nothing sees anything"

# %% [markdown]
# ### 2 · An ensemble draws (easy, 15 minutes)
#
# Section 5's ensemble has exact densities. To *draw* from it one could draw a member, and then a picture from
# it. But what is the ensemble's own conditional, when some pixels are known? All members here have the same
# order. By the definition of a conditional probability it is
# $\bar p(x_i \mid x_{<i}) = \bar p(x_{\le i})/\bar p(x_{<i})$, with $\bar p$ the mean over members of $p_k$. So a member that explained the known
# pixels badly has less to say. Return its logarithm. Members may be thousands of nats apart, and so may
# levels. Members may have ruled out the known pixels altogether ($-\infty$), though not all of them; a level may
# be ruled out ($-\infty$), though not all of a row. Right to nine digits or to $10^{-9}$ nats, whichever is more.


# %% exercise="ensemble-next"
def ensemble_next(log_known, logits):
    """log of the ensemble's conditional of the next pixel: (B, K).

    log_known: (M, B), each member's log-probability of the known pixels; logits: (M, B, K), each member's
    for the next pixel, up to a constant.
    """
    ### BEGIN SOLUTION
    joint = log_known[:, :, None] + logits.log_softmax(dim=2)
    return joint.logsumexp(dim=0) - log_known.logsumexp(dim=0)[:, None]
    ### END SOLUTION


# %% test="ensemble-next" points=2
two_members = torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64).log()[:, None] + 3.0
got = ensemble_next(torch.tensor([[0.2], [0.6]], dtype=torch.float64).log(), two_members)
assert got.shape == (1, 2) and got.dtype == torch.float64, "(B, K), of the type of the logits"
wanted_p = torch.tensor([[0.2 * 0.5 + 0.6 * 0.9, 0.2 * 0.5 + 0.6 * 0.1]], dtype=torch.float64) / 0.8
assert torch.allclose(got.exp(), wanted_p, rtol=1e-9, atol=1e-12), (
    "the second member explained three times as much: 0.8, 0.2"
)
far_p = ensemble_next(torch.tensor([[-9_000.0], [-8_000.0]], dtype=torch.float64), two_members)
assert torch.allclose(far_p.exp(), torch.tensor([[0.9, 0.1]], dtype=torch.float64), rtol=1e-9, atol=1e-12), (
    "1,000 nats: the better one speaks alone"
)

# %% [markdown]
# ### 3 · The law of a confident sampler (hard, 35 minutes)
#
# MaskGIT (lesson 26) and LLaDA do not fix their blocks. In each pass they look at the conditionals of all
# hidden pixels, and reveal those of which they are **most sure**. What does such a sampler draw from, when
# its conditionals are exact? Compute its law from a table of all pictures.
#
# The sampler: all pixels are hidden. In each pass every hidden pixel has its conditional given the visible
# ones, from the table; its sureness is the largest of its $K$ probabilities, rounded to nine decimals. The
# `per_pass` surest hidden pixels (all, if fewer are left) are drawn, each from its own conditional,
# independently; of equally sure ones the lower pixel goes first. It may happen that what is visible has
# probability 0 in the table; then all hidden pixels are uniform over their levels. It ends when nothing is
# hidden.


# %% exercise="confident-law"
def confident_law(table, per_pass):
    """q of every picture, of the shape of the table, (K, ..., K), one axis a pixel: float64, sums to 1."""
    ### BEGIN SOLUTION
    K, q = table.shape[0], torch.zeros_like(table)

    def go(state, weight):
        hidden = [i for i, level in enumerate(state) if level is None]
        if not hidden:
            q[state] += weight
            return
        rest = table[tuple(slice(None) if level is None else level for level in state)]
        each = torch.stack([rest.movedim(a, 0).reshape(K, -1).sum(1) for a in range(len(hidden))])
        each = each / each[0].sum() if rest.sum() > 0 else torch.full_like(each, 1 / K)
        sure = [round(p.max().item(), 9) for p in each]
        chosen = sorted(range(len(hidden)), key=lambda a: -sure[a])[:per_pass]
        for levels in itertools.product(range(K), repeat=len(chosen)):
            new = dict(zip([hidden[a] for a in chosen], levels, strict=True))
            p = math.prod(each[a, level].item() for a, level in zip(chosen, levels, strict=True))
            go(tuple(new.get(i, level) for i, level in enumerate(state)), weight * p)

    go((None,) * table.ndim, 1.0)
    return q
    ### END SOLUTION


# %% test="confident-law" points=4
law = torch.tensor([[[0.2, 0.1], [0.0, 0.1]], [[0.0, 0.1], [0.3, 0.2]]], dtype=torch.float64)
one_by_one = confident_law(law, 1)
assert one_by_one.shape == law.shape and one_by_one.dtype == torch.float64, (
    "a table like the one that went in"
)
assert torch.allclose(one_by_one, law, rtol=1e-9, atol=1e-12), (
    "one pixel a pass, exact conditionals: the law itself, in any order"
)
at_once = confident_law(law, 3)
product_law = torch.einsum("i,j,k->ijk", law.sum((1, 2)), law.sum((0, 2)), law.sum((0, 1)))
assert torch.allclose(at_once, product_law, rtol=1e-9, atol=1e-12), (
    "all in one pass: the product of the three frequencies"
)
got = confident_law(law, 2)
assert math.isclose(got.sum().item(), 1), "a law sums to 1"
assert math.isclose(got[1, 1, 0].item(), 0.6 * 0.6 * 0.6), (
    "pixels 0 and 1 are surest, 1 with 0.6 each; then 0.3 of 0.5"
)
assert math.isclose(got[0, 1, 0].item(), 0.0, abs_tol=1e-12), "after 0, 1 the last pixel is 1 for sure"

# %% [markdown]
# ### 4 · Repair: what a raster network says of known pixels (medium, 25 minutes)
#
# A network in raster order, `net(x)`: $(B, D)$ to logits $(B, D, K)$, where those of pixel $i$ depend on
# $x_1, \dots, x_{i-1}$. Some pixels are known, anywhere in the picture, others in each row. *Likelihood
# weighting*: go through the raster; put a known pixel in as it is, draw an unknown one from its conditional
# (here by Gumbel-max: the level with the largest $\log p + g$). The draw ignores known pixels that come
# later, and a **weight** makes up for it: the product of $p(x_i \mid x_{<i})$ over the known pixels. Its mean
# over draws is exactly $p(\text{known})$, for
#
# $$\mathbb E[w] = \sum_{\text{unknown}}\ \prod_{i\ \text{unknown}} p(x_i \mid x_{<i}) \prod_{i\ \text{known}} p(x_i \mid x_{<i}) = \sum_{\text{unknown}} p(x),$$
#
# and draws that are picked with probabilities in proportion to $w$ follow, if there are many, the law given
# *all* that is known. The function below has **four** faults. Write the one that works.
#
# ```python
# def broken_fill(net, x, known, g):
#     x = torch.where(known, x, 0)
#     log_p = net(x).log_softmax(2)
#     log_w = torch.zeros(len(x))
#     for i in range(x.shape[1]):
#         drawn = (log_p[:, i].exp() + g[:, i]).argmax(1)
#         x[:, i] = drawn
#         log_w = log_w + log_p[:, i].gather(1, drawn[:, None])[:, 0]
#     return x, log_w
# ```


# %% exercise="repair"
def repaired_fill(net, x, known, g):
    """The filled pictures (B, D) int64, and log w (B,) in nats, of the type of the logits.

    x: (B, D), a level where known, any number elsewhere; known: (B, D) bool; g: Gumbel noise (B, D, K). What
    net is shown behind pixel i does not matter, but must be a level, 0 to K - 1.
    """
    ### BEGIN SOLUTION
    x, log_w = x.where(known, 0), 0.0
    for i in range(known.shape[1]):
        log_p = net(x)[:, i].log_softmax(1)
        x[:, i] = torch.where(known[:, i], x[:, i], (log_p + g[:, i]).argmax(1))
        log_w = log_w + log_p.gather(1, x[:, i, None])[:, 0].where(known[:, i], 0)
    return x, log_w
    ### END SOLUTION


# %% test="repair" points=4
def twins(x):
    """The first pixel is 1 with probability 1/4; the second is the first, with probability 3/4."""
    first = torch.tensor([0.75, 0.25], dtype=torch.float64).log().expand(len(x), 2)
    second = torch.where(F.one_hot(x[:, 0], 2) == 1, 0.75, 0.25).double().log()
    return torch.stack([first, second], dim=1)


still, from_1 = torch.zeros(1, 2, 2).double(), torch.tensor([[[0.0, 2.0], [0.0, 0.0]]], dtype=torch.float64)
filled, log_w = repaired_fill(twins, torch.tensor([[-5, 0]]), torch.tensor([[False, True]]), from_1)
assert filled.tolist() == [[1, 0]], "with the noise 2 the unknown pixel is 1; what is known stays"
assert log_w.dtype == torch.float64 and math.isclose(log_w.item(), math.log(0.25)), (
    "p(0 after 1), of the known one alone"
)
filled, log_w = repaired_fill(twins, torch.tensor([[1, 9]]), torch.tensor([[True, False]]), still)
assert filled.tolist() == [[1, 1]] and math.isclose(log_w.item(), math.log(0.25)), (
    "the second follows the known first"
)
close = torch.tensor([[[0.0, 0.6], [0.0, 0.0]]], dtype=torch.float64)
filled, _ = repaired_fill(twins, torch.tensor([[-1, -1]]), torch.zeros(1, 2).bool(), close)
assert filled.tolist() == [[0, 0]], (
    "noise belongs to log p: log 3/4 is more than log 1/4 + 0.6, though 3/4 < 1/4 + 0.6"
)

# %% [markdown]
# ### 5 · Build your own: a masked diffusion with any clock (hard, 45 minutes)
#
# Section 7 hid pixels by a uniform clock. Write the family with **any** clock, as masked diffusions have it
# today (Sahoo and others 2024): the share of visible pixels is $\alpha(t)$, which falls from 1 to 0. At time
# $t$ each pixel is visible with probability $\alpha$, by itself. Follow the derivation of the bound in
# section 7: what is the probability that a pixel that is hidden at $t$ was hidden within the last $dt$? That
# gives the weight of the loss, from $\alpha$ and its slope $d\alpha/dt \le 0$. And for a step of the sampler
# from $t$ back to $s < t$, which may be long: with which probability is a pixel that is hidden at $t$ visible
# at $s$?
#
# `net(x)` gives logits (B, D, K); hidden is the level $K$. You write three functions.
#
# - **The loss**: for each row one term of the bound, in nats, so that its mean over uniform times is $-$ELBO.
#   A pixel is hidden where $u \ge \alpha$.
# - **A step**: one call of the net. A hidden pixel is revealed where $u$ is below its probability, and its
#   level is the one with the largest $\text{logit} + g$, Gumbel noise. What is visible stays.
# - **The sampler**: from all hidden, by steps over the given shares, the first 0, the last 1.
#
# The hidden tests compare with the formulas, and train a small network with your loss on a law that is known;
# your sampler must then draw from that law, up to a total variation of 0.15. Section 7's network was trained for
# one clock, and serves any. To see your sampler draw with it, run in a cell of your own:
#
# ```python
# g = torch.Generator().manual_seed(0)
# u, e = torch.rand(32, 18, 64, generator=g), torch.rand(32, 18, 64, 2, generator=g)
# from copy import deepcopy
# with torch.no_grad():
#     x = write(deepcopy(set_net).cpu(), [(n / 32) ** 2 for n in range(33)], u, -(-e.log()).log())
# plot.images(x.reshape(-1, 8, 8).float(), columns=18); plt.show()
# ```


# %% exercise="any-clock"
def diffusion_loss(net, x, K, alpha, slope, u):
    """(B,) nats, with a gradient: x (B, D) levels; alpha in [0, 1) and slope, both (B,); u (B, D) uniform."""
    ### BEGIN SOLUTION
    hidden = u >= alpha[:, None]
    log_each = net(torch.where(hidden, K, x)).log_softmax(2).gather(2, x[:, :, None])[:, :, 0]
    return slope / (1 - alpha) * (log_each * hidden).sum(1)
    ### END SOLUTION


def diffusion_step(net, x, alpha_t, alpha_s, u, g):
    """x (B, D), some of it hidden, one step later: alpha_t < alpha_s are numbers; u (B, D); g (B, D, K)."""
    ### BEGIN SOLUTION
    K = g.shape[2]
    now = (x == K) & (u < (alpha_s - alpha_t) / (1 - alpha_t))
    return torch.where(now, (net(x) + g).argmax(2), x)
    ### END SOLUTION


def write(net, alphas, u, g):
    """Pictures (B, D) int64, n steps: alphas, n + 1 rising numbers, 0 to 1; u (n, B, D); g (n, B, D, K)."""
    ### BEGIN SOLUTION
    x = torch.full(u.shape[1:], g.shape[3])
    for n in range(len(u)):
        x = diffusion_step(net, x, alphas[n], alphas[n + 1], u[n], g[n])
    return x
    ### END SOLUTION


# %% test="any-clock" points=7
# long: three small cases by hand
def shy(x):
    """Level 1 has the probability 3/4 while anything in the row is hidden, and else 1/4."""
    some_hidden = (x == 2).any(1)[:, None, None]
    p = torch.where(some_hidden, torch.tensor([0.25, 0.75]), torch.tensor([0.75, 0.25])).double()
    return p.log().expand(*x.shape, 2)


x_own, u_own = torch.tensor([[1, 0, 1]]), torch.tensor([[0.1, 0.7, 0.6]], dtype=torch.float64)
got = diffusion_loss(
    shy, x_own, 2, torch.tensor([0.6], dtype=torch.float64), torch.tensor([-0.8], dtype=torch.float64), u_own
)
assert got.shape == (1,) and got.dtype == torch.float64, "one number for each row, of the type of the logits"
assert torch.allclose(
    got, torch.tensor([2 * math.log(16 / 3)], dtype=torch.float64), rtol=1e-9, atol=1e-12
), "pixels 1 and 2 are hidden, 0.6 too; 0.8 / (1 - 0.6) times log 4 + log 4/3"
noise_own = torch.zeros(1, 3, 2).double()
got = diffusion_step(shy, torch.tensor([[2, 0, 2]]), 0.2, 0.6, u_own, noise_own)
assert got.tolist() == [[1, 0, 2]], (
    "revealed with probability (0.6 - 0.2) / (1 - 0.2): 0.1 is below, 0.6 is not"
)
got = write(shy, [0.0, 0.65, 1.0], torch.stack([u_own, u_own]), torch.stack([noise_own, noise_own]))
assert got.tolist() == [[1, 1, 1]] and got.dtype == torch.int64, (
    "two steps; the last one reveals all that is left"
)

# %% [markdown]
# ## Further reading
#
# - B. J. Frey, G. E. Hinton, P. Dayan. *Does the wake-sleep algorithm produce good density estimators?* NIPS
#   1995 (printed 1996). Logistic regressions in an order.
# - H. Larochelle, I. Murray. *The neural autoregressive distribution estimator.* AISTATS 2011. NADE.
# - B. Uria, I. Murray, H. Larochelle. *A deep and tractable density estimator.* 2013, arXiv:1310.1757. One
#   network for all orders.
# - M. Germain, K. Gregor, I. Murray, H. Larochelle. *MADE: masked autoencoder for distribution estimation.*
#   2015, arXiv:1502.03509.
# - B. Uria, M.-A. Côté, K. Gregor, I. Murray, H. Larochelle. *Neural autoregressive distribution estimation.*
#   2016, arXiv:1605.02226.
# - G. Papamakarios, T. Pavlakou, I. Murray. *Masked autoregressive flow for density estimation.* 2017,
#   arXiv:1705.07057.
# - J. Austin, D. D. Johnson, J. Ho, D. Tarlow, R. van den Berg. *Structured denoising diffusion models in
#   discrete state-spaces.* 2021, arXiv:2107.03006. The absorbing state.
# - E. Hoogeboom, A. A. Gritsenko, J. Bastings, B. Poole, R. van den Berg, T. Salimans. *Autoregressive
#   diffusion models.* 2021, arXiv:2110.02037. All orders are an absorbing diffusion.
# - S. S. Sahoo and others. *Simple and effective masked diffusion language models.* 2024, arXiv:2406.07524.
# - S. Nie and others. *Large language diffusion models.* 2025, arXiv:2502.09992. LLaDA.

# %% tags=["demo"]
selfcheck.run("03_made")
