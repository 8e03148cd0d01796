# %% [markdown]
# # 04 · PixelRNN and PixelCNN
#
# > **What a pixel is like depends on its neighbours, and on them in the same way everywhere. So one small law,
# > used at every place, says how probable a whole picture is.**
#
# | | |
# |---|---|
# | You will build | a law of 80 numbers; masks A and B, and the same convolution without a mask; the blind spot, seen, asserted and repaired; two gated stacks with a class; a row LSTM; 17 levels by a softmax and by a mixture of logistics; the lower half of a picture, given the upper one; a sampler that computes only what is new; at the end a PixelCNN for colours of your own |
# | You need to know | lesson 03 (chain rule, masks, exact nats); what a convolution is |
# | Time on two CPU cores | three minutes to run; an hour to read, two and a half to solve |
# | Time on a GPU | eight minutes, MNIST in 256 levels included (`full`) |
#
# ## You are here

# %% folded="Imports and settings"
# long: what the whole lesson uses
import math
import time

import ipywidgets as widgets
import matplotlib
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
    channels=(8, 24, 64),
    layers=(3, 5, 6),
    updates=(3, 1_000, 4_000),
    glyph_updates=(3, 1_300, 6_000),
    glyph_layers=(3, 6, 9),
    rnn_updates=(3, 500, 2_000),
    blind_updates=(3, 200, 400),
    few_updates=(3, 450, 800),
    fit=(5, 150, 150),
    held_out=(20, 270, 270),
    mnist_updates=(0, 0, 8_000),
)
torch.manual_seed(4)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("autoregressive")
diagram.machine(
    "x | (B, n, n) -> [vertical stack | rows above] -> [horizontal stack | pixels to the left]"
    " -> [head] -> p of each pixel | K levels",
    "c | class -> vertical stack",
    "c -> horizontal stack",
    title="Two stacks: a pixel's law sees what comes before it, and nothing else",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# Lesson 03 wrote a picture's probability as a product, each pixel given those before it, and gave every pixel
# weights of its own. This family keeps the product and **shares the weights**: the same small convolution
# says the law of a pixel (its *law* is its probability distribution), wherever it is. What it gives up is as
# before: one order, from left to right and from top to bottom, and one pass for each pixel when it draws.
# What it gets: far fewer weights, so that fewer pictures teach it more, and likelihoods that were for years
# among the best.
#
# | question | answer |
# |---|---|
# | What is modelled? | levels of pixels, each given those above it and to its left |
# | Is the density explicit? | yes, and exact |
# | Is sampling one-shot or iterative? | iterative, $n^2$ steps; section 8 makes each of them cheap |
# | What conditions it? | a class, added before every gate; or pixels that come *first* in the order (section 10) |
# | How is it evaluated, and how does that fail? | held-out bits/dim, exactly; local detail counts for most of them, so a good figure may go with pictures that make no sense as a whole |
#
# Van den Oord, Kalchbrenner and Kavukcuoglu (January 2016) read pictures row by row with LSTMs (*PixelRNN*)
# and, in the same paper, with masked convolutions (*PixelCNN*): a little worse, and much faster. In June
# 2016, with others, they found and closed the blind spot and added gates and a class (*gated PixelCNN*).
# Salimans and others (2017, *PixelCNN++*) let the output know the order of grey levels. On CIFAR-10 the
# papers report, in bits/dim: PixelCNN 3.14, row LSTM 3.07, diagonal BiLSTM 3.00, gated PixelCNN 3.03,
# PixelCNN++ 2.92.
#
# | symbol | is |
# |---|---|
# | $x$, $n$, $D$ | a picture, its side, its number of pixels $D = n^2$ |
# | $K$ | number of levels: $x_{ij} \in \{0, \dots, K-1\}$, row $i$, column $j$ |
# | $x_{<ij}$ | the pixels before $(i, j)$: all rows above, and in row $i$ those to the left |
# | $c$ | the class |
# | $(r, s)$ | an offset: the pixel $r$ rows **above** and $s$ columns to the **right** of the one in question |
# | $v$, $h$, $C$ | numbers of the vertical and of the horizontal stack, channels of each |
# | $L$ | number of layers |
# | $\sigma$ | the logistic function, $\sigma(a) = 1/(1 + e^{-a})$ |
# | $\pi_m, \mu_m, s_m$ | weight, centre and scale of a logistic of a mixture of $M$ |
#
# Logarithms are natural; **nats** are means of $\log p(x)$ over held-out pictures, higher is better.
# **Bits/dim** are $-\log_2 p(x)/D$, lower is better. Where bars show *nats to describe a picture*, these are
# $-\log p(x)$, and lower is better. Three letters serve twice: $s$ is a column offset and, with an index, a
# scale; $k$ is the side of a kernel in section 2 and a level from section 5 on; `C` in the code, channels, is
# not `c`, the class. `S` in the code holds the settings.
#
# ## 1 · Why it can work: eighty numbers
#
# Before any network: what is there to share? Take the handwritten digits in black (1) and white (0), and look
# at four neighbours of a pixel that come before it: left, above left, above, above right (outside is white).
# They form one of 16 **contexts**. Four laws of a pixel:
#
# - **by place**: how often is *this* pixel black? 64 numbers, neighbours do not count (naive Bayes without
#   classes);
# - **by context**, the same law everywhere: how often is a pixel black after this context? 16 numbers;
# - **both, shared**: $\operatorname{logit} p = w_{\text{context}} + b_{ij}$, 16 + 64 = 80 numbers. What
#   neighbours say is the same everywhere, and each place only leans to black or white;
# - **both, not shared**: a table of its own for every place, $64 \times 16 = 1{,}024$ numbers.
#
# Each is a product of conditionals, so each is a law over all $2^{64}$ pictures. The last one contains all
# others.
#
# **Question.** Which is best with 20 digits to learn from? And with all 1,257?


# %%
# long: the data, and the four laws
digits = data.digits()
k_train, k_val, k_test = (
    torch.as_tensor(p.x, device=device).reshape(-1, 8, 8).mul(16).round().long() for p in digits
)
y_train, y_val, y_test = (torch.as_tensor(p.y, device=device).long() for p in digits)
b_train, b_test = k_train.ge(8).long(), k_test.ge(8).long()  # black where the grey is 1/2 or more


def contexts(x):
    """Which of 16 contexts each pixel has, by left, above left, above, above right: (N, n, n) -> alike."""
    p = F.pad(x, (1, 1, 1, 0))
    return 8 * p[:, 1:, :-2] + 4 * p[:, :-1, :-2] + 2 * p[:, :-1, 1:-1] + p[:, :-1, 2:]


def counted(cell, cells, x):
    """Share of black pixels in each cell of a table, half a pixel of either kind added: (cells,)."""
    n = torch.zeros(cells, 2, device=x.device).index_put_(
        (cell, x), torch.ones(x.shape, device=x.device), accumulate=True
    )
    return (n[:, 1] + 0.5) / (n.sum(1) + 1)


def fitted(x, steps=S.fit):
    """w (16,) and b (8, 8) of the shared law, by maximum likelihood with a pull of b towards 0."""
    w, b = (torch.zeros(s, device=x.device, requires_grad=True) for s in ((16,), (8, 8)))
    optimizer, cell = torch.optim.Adam([w, b], lr=0.1), contexts(x)
    for _ in range(steps):
        loss = F.softplus((1 - 2 * x) * (w[cell] + b)).sum() / len(x) + b.square().sum() / (4 * len(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return w.detach(), b.detach()


# %% folded="Figure: four laws and the number of pictures" tags=["demo"]
# long: four laws, fitted to more and more digits
place = torch.arange(64, device=device).reshape(8, 8)


def nats_of_laws(x, t):
    """Held-out nats of the four laws, learned from x, on t."""
    w, b = fitted(x)
    p = {
        "by place": counted(place.expand_as(x), 64, x)[place.expand_as(t)],
        "by context": counted(contexts(x), 16, x)[contexts(t)],
        "both, shared": torch.sigmoid(w[contexts(t)] + b),
        "both, not shared": counted(16 * place + contexts(x), 1_024, x)[16 * place + contexts(t)],
    }
    return {k: torch.where(t == 1, q, 1 - q).log().flatten(1).sum(1).mean().item() for k, q in p.items()}


few_sizes = (20, 50, 200, 1_257)
shuffled = torch.randperm(len(b_train), generator=torch.Generator().manual_seed(1)).to(device)
learned_from = {n: nats_of_laws(b_train[shuffled[:n]], b_test) for n in few_sizes}
fig, ax = plot.figure(height=2.7)
for name, mark in zip(learned_from[20], ("o", "s", "D", "^"), strict=True):
    ax.plot(few_sizes, [learned_from[n][name] for n in few_sizes], "-" + mark, label=name)
ax.set(
    xscale="log", xlabel="digits to learn from", ylabel="held-out nats", title="Sharing, and what it costs"
)
ax.set_xticks(few_sizes, few_sizes)
ax.minorticks_off()
ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
print({n: {k: round(v, 2) for k, v in found.items()} for n, found in learned_from.items()})
board.claim(
    "From 20 digits the shared law has a nat more than the one with a table for every place, or more.",
    learned_from[20]["both, shared"] > learned_from[20]["both, not shared"] + 1,
)
board.claim(
    "From all digits the one with a table for every place is the best, by half a nat or more.",
    learned_from[1_257]["both, not shared"] > max(list(learned_from[1_257].values())[:3]) + 0.5,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# With 20 digits the shared law, by far: each of its 16 context numbers has seen pixels from all 64 places,
# and a table for every place has seen 20 pixels for its 16 contexts. With all digits the larger model wins,
# for now it has enough to learn from, and what neighbours say is *not quite* the same everywhere. In the
# figure it overtakes between 50 and 200 digits. Context alone is the worst, however many pictures it sees:
# digits stand in the middle of their frame, and a law that is the same everywhere cannot know that.
# </details>
#
# That is the whole idea of this lesson. **Locality**: a few neighbours say most. **The same law everywhere**:
# what is learned here holds there. **A place**: where pictures have a frame, add what the place says. From
# here on the table becomes a network that sees more than four neighbours, and the place becomes a learned
# picture that is added inside it.
#
# ## 2 · Why training is parallel and drawing is not
#
# To score a given picture we need all $D$ conditionals, and all pixels are there. So one pass can compute all
# of them at once, *if* no number on the way to $(i, j)$'s logits has seen $x_{ij}$ or what comes after it. To
# draw, $x_{ij}$ has to exist before the next conditional can be asked for: $D$ steps, one after the other.
#
# A convolution whose kernel looks at the wrong side breaks the "if". Mask it. For a $k \times k$ kernel, $k$
# odd:
#
# - **mask A** keeps the rows above the centre and, in the centre's row, what is left of it. The *first* layer
#   uses it: its input is the picture, and the centre is the pixel to be guessed;
# - **mask B** keeps the centre, too. Layers after the first use it: their centre holds what the first layer
#   made of pixels *before*, and may be seen.


# %% build="mask"
def causal_mask(kind, k):
    """The mask of a k x k kernel, k odd, kind "A" or "B": (k, k), floats 0 and 1."""
    ### BEGIN SOLUTION
    place = torch.arange(k * k).reshape(k, k)
    centre = k * k // 2
    return (place < centre if kind == "A" else place <= centre).float()
    ### END SOLUTION


# %% check="mask"
assert torch.equal(causal_mask("A", 3), torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0]])), (
    "A: not the centre"
)
assert torch.equal(causal_mask("B", 3), torch.tensor([[1.0, 1, 1], [1, 1, 0], [0, 0, 0]])), "B: with it"
assert causal_mask("A", 5).sum() == 12 and causal_mask("B", 1).sum() == 1, "12 of 25 come before the centre"

# %% [markdown]
# **Cheaper: no mask.** A masked kernel multiplies by its zeros. Mask B of $3\times3$ keeps 5 taps, and the
# convolution does 9. The sum over the kept taps can be split: those of the rows above form a full rectangle,
# those of the centre's row another one,
#
# $$\sum_{(r, s)\ \text{kept}} W_{rs}\,x_{i-r,\,j+s} \;=\; \underbrace{\sum_{r=1}^{\lfloor k/2\rfloor}\ \sum_{|s| \le \lfloor k/2\rfloor} W_{rs}\,x_{i-r,\,j+s}}_{\text{rows above}}
# \;+\; \underbrace{\sum_{s \le 0} W_{0s}\,x_{i,\,j+s}}_{\text{to the left}},$$
#
# ($s < 0$ for A). Each is an ordinary convolution with a smaller kernel. Where the kernel sits is then a
# matter of **padding**: zeros above and none below, and the output at row $i$ has seen rows up to $i$. (A
# convolution that pads by itself does so above *and* below; it is quickest to let it, and to keep the first
# $n$ rows.) Pad one row more above and drop the last one, and everything has moved **down**: row $i$ has seen
# rows up to $i - 1$. Three functions do all that this lesson needs. A negative number in `F.pad` takes away.


# %% build="shifts"
def above(v, conv):
    """A convolution that sees rows i, i - 1, ... and columns on both sides: (B, C, n, n) -> (B, C', n, n)."""
    ### BEGIN SOLUTION
    rows, width = conv.kernel_size
    return F.conv2d(v, conv.weight, conv.bias, padding=(rows - 1, width // 2))[:, :, : v.shape[2]]
    ### END SOLUTION


def left(h, conv, first):
    """One that sees columns j, j - 1, ... of its row; in the first layer j - 1, j - 2, ... instead."""
    ### BEGIN SOLUTION
    width = conv.kernel_size[1]
    return conv(F.pad(h, (width, -1) if first else (width - 1, 0)))
    ### END SOLUTION


def down(a):
    """All rows one further down; a row of zeros comes in at the top."""
    ### BEGIN SOLUTION
    return F.pad(a, (0, 0, 1, -1))
    ### END SOLUTION


# %% check="shifts"
g = torch.Generator().manual_seed(2)
picture = torch.randn(2, 3, 6, 6, generator=g, dtype=torch.float64)
kernel = torch.randn(4, 3, 3, 3, generator=g, dtype=torch.float64)
upper, beside = nn.Conv2d(3, 4, (1, 3), bias=False).double(), nn.Conv2d(3, 4, (1, 2), bias=False).double()
upper.weight.data, beside.weight.data = kernel[:, :, :1], kernel[:, :, 1:2, :2]
cheap = down(above(picture, upper)) + left(picture, beside, first=False)
masked = F.conv2d(picture, kernel * causal_mask("B", 3), padding=1)
assert torch.allclose(cheap, masked), "two small convolutions are the masked one, with mask B"
beside.weight.data = F.pad(kernel[:, :, 1:2, :1], (1, 0))  # one pixel to the left, none two to the left
cheap = down(above(picture, upper)) + left(picture, beside, first=True)
masked = F.conv2d(picture, kernel * causal_mask("A", 3), padding=1)
assert torch.allclose(cheap, masked), "and with mask A"

# %% [markdown]
# ## 3 · What breaks: the blind spot
#
# Stack the masked convolutions of January 2016, A first, then B, B, B. How far does a pixel see? By the chain
# rule of calculus: where the **gradient** of its logits is not 0, they depend on the pixel. The other way
# round it holds but for accidents: with random weights and smooth functions hardly a gradient is 0 by chance.
#
# <details><summary>Derivation: what L masked layers see, and what they never will</summary>
#
# With $3\times3$ kernels, a layer moves by one of the offsets $(r, s) = (1, -1), (1, 0), (1, 1), (0, -1)$,
# and with mask B also $(0, 0)$. What the output sees are sums of $L$ such steps. Let $r$ of the steps go up.
# Each of them changes $s$ by $-1$, $0$ or $1$; each of the other $L - r$ by $-1$ or (with B) $0$. So all $s$
# from $-L$ to $r$ are reached, and no others:
#
# $$\text{seen} = \{(r, s):\ 0 \le r \le L,\ -L \le s \le r\} \setminus \{(0, 0)\}.$$
#
# To the right, $s \le r$: one column for each row up, **whatever $L$ is**. To go further right, a step in the
# row would have to go right, and those are what the mask forbids. The pixels with $s > r \ge 1$ come before
# $(i, j)$, and no depth makes them visible: the *blind spot*. A window that reaches $L$ pixels up and to
# either side has $2L(L+1)$ pixels before $(i, j)$. $L(L-1)/2$ of them are blind: nearly a quarter, when $L$
# is large.
# </details>
#
# **The repair** (June 2016): two stacks. The *vertical* one sees rows above only. There nothing is forbidden:
# all columns of a row above come before the pixel, so its kernels look to both sides. The *horizontal* one
# sees the pixels to the left in its own row, and listens at each layer to the vertical one, moved down by a
# row. Never the other way round: what the horizontal stack knows of row $i$ must not spread to the columns
# left of it.
#
# What do two stacks see? The vertical numbers of layer $\ell$, with kernels of 2 rows and 3 columns, know
# $\ell$ rows above their own and $\ell$ columns to each side. Moved down, $1 \le r \le \ell + 1$ and
# $|s| \le \ell$. With the row itself,
#
# $$\text{seen} = \{1 \le r \le L + 1,\ |s| \le L\}\ \cup\ \{r = 0,\ -(L+1) \le s \le -1\}:$$
#
# a full rectangle. The rows above have no hole.
#
# The layers are **gated**. With $a$ and $b$ two halves of what a convolution gives,
# $\text{gate}(a, b) = \tanh(a) \cdot \sigma(b)$: the one says what, the other how much of it. The paper took
# this from the LSTM. PixelRNN had been better than PixelCNN, and the paper offers two possible reasons: a
# recurrent layer reaches all pixels before, and its gates multiply. More layers help with the first, gates
# with the second. In equations, with $*$ for a convolution,
#
# $$a^v = W_v * v,\quad v' = \text{gate}(a^v + e^v_c),\qquad
# a^h = W_h * h + W_{1\times1}\,\text{down}(a^v) + e^h_c + b_{ij},\quad h' = h + W_o\,\text{gate}(a^h).$$
#
# - $e^v_c$ and $e^h_c$ are learned vectors of the **class**. It is known before the first pixel, so every
#   gate may hear it.
# - $b_{ij}$ is section 1's **place** (`place` in the code): a learned vector for each position, in the first
#   layer only. Without it a convolution knows where it is only near the border.
# - In the first layer $h' = W_o\,\text{gate}(a^h)$, without "$h\ +$": there $h$ is the picture, and to add it
#   would show each pixel to itself.
# - In training some of the gates' numbers are set to 0 at random (`drop`), against learning by heart.


# %% build="gate"
def gate(a):
    """tanh of the first half of the channels times sigmoid of the second: (B, 2 C, ...) -> (B, C, ...)."""
    ### BEGIN SOLUTION
    what, how_much = a.chunk(2, dim=1)
    return what.tanh() * how_much.sigmoid()
    ### END SOLUTION


# %% check="gate"
a = torch.tensor([[0.5, -1.0, 0.0, 2.0]])  # C = 2
assert gate(a).shape == (1, 2), "half as many channels"
assert torch.allclose(gate(a)[0, 1], torch.tanh(a[0, 1]) * torch.sigmoid(a[0, 3])), "channel 1 is gated by 3"


# %%
# long: both stacks of a layer
class GatedLayer(nn.Module):
    """One layer of both stacks."""

    def __init__(self, c_in, C, classes, first):
        super().__init__()
        self.first = first
        self.vertical, self.horizontal = nn.Conv2d(c_in, 2 * C, (2, 3)), nn.Conv2d(c_in, 2 * C, (1, 2))
        self.link, self.out = nn.Conv2d(2 * C, 2 * C, 1), nn.Conv2d(C, C, 1)
        self.label = nn.Embedding(classes, 4 * C)
        nn.init.zeros_(self.label.weight)

    def forward(self, v, h, c, drop=0.0, place=0.0):
        """v, h: (B, c_in, n, n) -> (B, C, n, n) each."""
        label_v, label_h = self.label(c)[:, :, None, None].chunk(2, dim=1)
        a_v = above(v, self.vertical)
        a_h = left(h, self.horizontal, self.first) + self.link(down(a_v)) + label_h + place
        out = self.out(F.dropout(gate(a_h), drop, self.training))
        return gate(a_v + label_v), out if self.first else h + out


# %%
# long: the network, whole
class PixelCNN(nn.Module):
    """Outputs (B, out, n, n), each pixel's from those before it. Two stacks, a class, a place."""

    def __init__(self, n, K, C, L, M=0, classes=10, drop=0.0):
        super().__init__()
        self.n, self.K, self.M, self.drop = n, K, M, drop
        out = 3 * M if M else K  # a mixture of M logistics (section 5), or logits of K levels
        self.layers = nn.ModuleList(GatedLayer(C if i else 2, C, classes, i == 0) for i in range(L))
        self.place = nn.Parameter(torch.zeros(1, 2 * C, n, n))
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(C, 2 * C, 1), nn.SiLU(), nn.Conv2d(2 * C, out, 1))

    def enter(self, x):
        """Levels from -1 to 1, and ones that tell the picture from the zeros around it: (B, 2, ...)."""
        level = 2 * x[:, None].float() / (self.K - 1) - 1
        return torch.cat([level, torch.ones_like(level)], dim=1)

    def through(self, v, c):
        """What follows `enter`."""
        h = v
        for i, layer in enumerate(self.layers):
            v, h = layer(v, h, c, self.drop, 0.0 if i else self.place)
        return self.head(h)

    def forward(self, x, c):
        """x: (B, n, n) int64, c: (B,) int64."""
        return self.through(self.enter(x), c)


# %%
class PlainCNN(PixelCNN):
    """January 2016: one stack of masked 3 x 3 convolutions, by multiplied masks."""

    def __init__(self, n, K, C, L):
        super().__init__(n, K, C, 0)
        self.convs = nn.ModuleList(nn.Conv2d(C if i else 2, C, 3, padding=1) for i in range(L))

    def through(self, v, c):
        """Residual layers with ReLU's smooth sister, so that no gradient is 0 by chance."""
        for i, conv in enumerate(self.convs):
            mask = causal_mask("B" if i else "A", 3).to(v)
            a = F.conv2d(F.silu(v) if i else v, conv.weight * mask, conv.bias, padding=1)
            v = v + a if i else a
        return self.head(v)


# %% [markdown]
# The first layer is the only one whose $h$ must not see its own centre. Its $v$ may: *down* comes after it.
#
# And one more machine, the oldest: **PixelRNN's row LSTM**. It reads row after row and keeps, for each
# column, a state of hidden numbers $h$ and memory $z$. The state of row $i$ comes from that of row $i-1$ by a
# convolution along the row (three columns wide), and from the pixels to the left in row $i$. With $x_i$ for
# row $i$ of what a mask-A convolution has made of the picture (it hides the pixel itself),
#
# $$[o, f, g, \tilde z] = W_\text{state} * h_{i-1} + W_\text{in} * x_{i},\qquad
# z_i = \sigma(f)\,z_{i-1} + \sigma(g)\tanh(\tilde z),\qquad h_i = \sigma(o)\tanh(z_i).$$
#
# The forget gate $f$ says how much of the old memory stays, the input gate $g$ how much of the new one,
# $\tilde z$, comes in, the output gate $o$ how much of it is shown. The code adds class and place, too.
#
# All columns of a row are computed at once; the rows one after the other, **in training, too**. What it sees
# has no end upwards: a state can carry anything along. But a state moves by one column a row. To the right
# that gives $s \le r$ again, the same blind spot. (The paper's *diagonal BiLSTM* has none, and is slower
# still.)


# %%
# long: a machine, whole
class RowLSTM(PixelCNN):
    """A mask-A convolution, one row LSTM, and the head."""

    def __init__(self, n, K, C, classes=10):
        super().__init__(n, K, C, 0, classes=classes)
        self.first = nn.Conv2d(2, C, 3, padding=1)
        self.from_row, self.from_state = (
            nn.Conv2d(C, 4 * C, (1, 2)),
            nn.Conv2d(C, 4 * C, (1, 3), padding=(0, 1)),
        )
        self.label = nn.Embedding(classes, 4 * C)
        self.place = nn.Parameter(torch.zeros(1, 4 * C, n, n))

    def through(self, v, c):
        """All rows' inputs at once, then row after row."""
        x = F.conv2d(v, self.first.weight * causal_mask("A", 3).to(v), self.first.bias, padding=1)
        inputs = left(x, self.from_row, False) + self.label(c)[:, :, None, None] + self.place
        h = z = torch.zeros_like(x[:, :, :1])
        rows = []
        for i in range(self.n):
            o, f, g, new = (inputs[:, :, i : i + 1] + self.from_state(h)).chunk(4, dim=1)
            z = f.sigmoid() * z + g.sigmoid() * new.tanh()
            h = o.sigmoid() * z.tanh()
            rows.append(h)
        return self.head(torch.cat(rows, dim=2))


# %% [markdown]
# **Question.** Each picture below shows what the logits of the black pixel depend on. Before you look, say
# for each of the three: how many rows up does it see? How many pixels to the left in its own row? Where, to the
# right and to the left, does it miss pixels that come before?


# %% folded="Figure: three receptive fields, by the gradient" tags=["demo"]
# long: the gradient of every pixel of a large canvas, drawn for one, compared with the formulas for all
side, depth = 12, 4


def seen(net):
    """On which pixels each pixel's outputs depend: (n, n, n, n) bool, the first two the output's."""
    net = net.double().eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.3)
    v = torch.randn(1, 2, side, side, dtype=torch.float64)
    of = lambda v: net.through(v, torch.zeros(1).long()).sum(1)  # noqa: E731
    return torch.autograd.functional.jacobian(of, v)[0, :, :, 0].abs().sum(2) != 0


i, j = (torch.arange(side).reshape(shape) for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)))
r, s = i - torch.arange(side).reshape(1, 1, -1, 1), torch.arange(side) - j  # offsets of the seen pixel
formulas = {
    "one masked stack": (r >= 0) & (r <= depth) & (s >= -depth) & (s <= r) & ~((r == 0) & (s == 0)),
    "row LSTM": ((r >= 1) & (s >= -r - 2) & (s <= r)) | ((r == 0) & (s < 0) & (s >= -2)),
    "two stacks": ((r >= 1) & (r <= depth + 1) & (s.abs() <= depth))
    | ((r == 0) & (s < 0) & (s >= -depth - 1)),
}
machines = (PlainCNN(side, 2, 8, depth), RowLSTM(side, 2, 8), PixelCNN(side, 2, 8, depth))
fields = {name: seen(net) for name, net in zip(formulas, machines, strict=True)}
fig, axes = plot.figure(1, 3, height=2.7)
before = (r > 0) | ((r == 0) & (s < 0))
for ax, (name, field) in zip(axes, fields.items(), strict=True):
    shade = 0.4 * field[7, 5].float() + 0.08 * (before & ~field)[7, 5].float()
    shade[7, 5] = 1.0
    ax.imshow(shade, cmap=plot.SEQUENTIAL, vmin=0, vmax=1)
    ax.set(title=name, xticks=[], yticks=[])
plt.show()
for name, field in fields.items():
    share = (field & before)[7, 5].sum().item() / before[7, 5].sum().item()
    print(f"{name}: sees {share:.0%} of what comes before the pixel; leaks: {(field & ~before).sum().item()}")
board.claim(
    "At all pixels the gradient is other than 0 exactly where the formulas say.",
    all(torch.equal(fields[name], formulas[name]) for name in formulas),
)
board.claim(
    "No machine sees what does not come before.", not any((f & ~before).any() for f in fields.values())
)
blind = (r >= 1) & (r <= depth) & (s > r) & (s <= depth)
board.claim(
    "One masked stack and the row LSTM see nothing of the blind spot, two stacks all of it.",
    not (fields["one masked stack"] & blind).any()
    and not (fields["row LSTM"] & blind).any()
    and (fields["two stacks"] & blind).sum() == blind.sum(),
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Pale is what comes before the pixel and is not seen. With $L = 4$ layers:
#
# - *one masked stack* sees 4 rows up and 4 pixels to the left. On the right it misses all beyond the
#   diagonal;
# - *the row LSTM* sees all rows above, and misses the same pixels on the right. It has a second staircase, on
#   the **left**. In its own row it sees two pixels only: mask A shows one, a kernel of two columns one more,
#   and nothing is carried along a row. From there a state brings one column more for each row up,
#   $s \ge -r - 2$. It sees far up, and not far to the sides;
# - *two stacks* see $L + 1 = 5$ rows up and 5 pixels to the left: a full rectangle above. What they miss lies
#   outside this window, and more layers make it wider.
#
# The claims compare all $144 \times 144$ entries with the formulas, not only what is drawn: a picture that is
# also an assert.
# </details>
#
# ## 4 · Exact nats, drawing, and what the blind spot costs
#
# The likelihood is the sum of the pixels' log-probabilities, one pass. With few pixels all pictures can be
# added up: whatever the weights are, the sum must be 1.
#
# **Question.** Suppose a network's masks are wrong: every pixel sees those to its *right* and none to its
# left. Does the sum tell?
#
# <details><summary>Answer</summary>
#
# No. The factors are a chain rule still, in another order, and add up to 1 (the check of `draw` below shows
# it). The sum finds a **circle**: a pixel that sees itself, or two that see each other. Then no order fits
# the factors, and in general they do not add up to 1. That a network keeps to *this* order, in which we draw,
# the gradient says. So both are asked here.
# </details>


# %%
def log_each(net, x, c):
    """log p(x_ij | x_<ij, c) of each pixel in nats: x (B, n, n) int64, c (B,) -> (B, n, n)."""
    outputs = net(x, c).float()
    if net.M:
        return discretised(outputs, x, net.K)  # section 5
    return -F.cross_entropy(outputs, x, reduction="none")


def log_p(net, x, c):
    """log p(x | c) in nats, exact: (B,)."""
    return log_each(net, x, c).flatten(1).sum(dim=1)


# %% [markdown]
# To draw, go through the pixels. A level is drawn from its law by one uniform number $u$: the level whose
# interval of the cumulated probabilities holds $u$. So with the same numbers $u$ a sampler gives the same
# pictures, and two samplers can be compared pixel by pixel. `heat` is a **temperature**: it divides the
# log-probabilities before the draw. At 1 the law stays as it is; below 1 what is probable gets more probable
# still.


# %% build="draw"
def draw(net, c, u, canvas=None, rows=0, heat=1.0):
    """Pictures (B, n, n) int64 of the classes c, by uniform numbers u (B, n, n): one pass for each pixel.

    canvas: (B, n, n), whose first `rows` rows are kept; it is not overwritten.
    """
    ### BEGIN SOLUTION
    x = torch.zeros(u.shape, dtype=torch.long, device=u.device) if canvas is None else canvas.clone()
    for i in range(rows, net.n):
        for j in range(net.n):
            log_levels = levels(net, net(x, c)[:, :, i, j])  # (B, K)
            x[:, i, j] = picked((log_levels / heat).softmax(dim=1), u[:, i, j])
    return x
    ### END SOLUTION


def levels(net, outputs):
    """log p of all K levels of a pixel from its outputs: (B, out) -> (B, K)."""
    if net.M:
        every = torch.arange(net.K, device=outputs.device).expand(len(outputs), -1)
        return discretised(outputs.float()[:, :, None], every, net.K)
    return outputs.float().log_softmax(dim=1)


def picked(p, u):
    """The level whose interval of the cumulated probabilities holds u: (B, K), (B,) -> (B,)."""
    return (p.cumsum(dim=1)[:, :-1] <= u[:, None]).sum(dim=1)


# %% check="draw"
torch.manual_seed(3)
all_512 = torch.cartesian_prod(*[torch.arange(2)] * 9).reshape(-1, 3, 3)
ones = torch.ones(4_000).long()
for small in (PixelCNN(3, 2, 6, 2), PlainCNN(3, 2, 6, 2), RowLSTM(3, 2, 6)):
    for weights in small.parameters():
        nn.init.normal_(weights, std=1.2)  # large ones, so that the law is far from uniform
    p = log_p(small.eval(), all_512, ones[:512]).exp()
    assert abs(p.sum().item() - 1) < 1e-5, "all 512 pictures of 3 x 3 pixels sum to 1"
    turned = log_p(small, all_512.flip(2), ones[:512]).exp()  # every pixel sees those to its right
    assert abs(turned.sum().item() - 1) < 1e-5, "they do in another order, too: the sum knows no order"
    u = torch.rand(4_000, 3, 3, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        drawn = draw(small, ones, u)
    share = (drawn.flatten(1) @ 2 ** torch.arange(8, -1, -1)).bincount(minlength=512) / 4_000
    assert (p - 1 / 512).abs().sum() / 2 > 0.3, "not nearly uniform, so that wrong draws show"
    assert (share - p).abs().sum() / 2 < 0.15, "drawn as often as log_p says"


# %%
# long: one loop for all networks of the lesson
def train(net, x, c, updates, title, rate=5e-3, decay=0.1, batch=32, watch=None):
    """Maximise log p(x | c). Seconds that it took; watch(n) is called after every 50th update."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.99))
    rise = max(1, updates // 10)
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / rise, 1.02 - n / updates))
    g, began = torch.Generator().manual_seed(0), time.perf_counter()
    curve = progress.Curve(title, "update", "bits/dim")
    net.train()
    for n in progress.track(range(updates), title=title):
        rows = torch.randint(len(x), (batch,), generator=g).to(x.device)
        with genmap.autocast(device):
            loss = -log_p(net, x[rows], c[rows]).mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 50.0)
        scaler.step(optimizer)
        scaler.update()
        plan.step()
        curve.add(n + 1, loss.detach() / (net.n**2 * math.log(2)))
        if watch and (n + 1) % 50 == 0:
            watch(n)
    curve.close()
    net.eval()
    return time.perf_counter() - began


def bits(nats, pixels):
    """Bits per pixel from the log p of whole pictures."""
    return -nats.mean().item() / pixels / math.log(2)


# %% [markdown]
# **What the blind spot costs** we see best where it is everything. A law that is known: $6\times6$ pixels,
# black or white. The first row and the last two columns are fair coins. Every other pixel copies the one a
# row **above and two columns to the right**, and is wrong in one of twenty cases. By the chain rule its
# entropy is
#
# $$\underbrace{(6 + 5\cdot 2)\log 2}_{16\ \text{coins}} + \underbrace{20\,H(0.05)}_{\text{20 copies}} = 11.09 + 3.97 = 15.06\ \text{nats},$$
#
# with $H(q) = -q\log q - (1-q)\log(1-q)$. The offset is $(1, 2)$, and $s > r$: it is in the blind spot.
# Nothing else that a single masked stack sees tells about the pixel, so the best that it can do is
# $36\log 2 = 24.95$.
#
# **Question.** Would twice as many layers help it?


# %% folded="Figure: a law in the blind spot" tags=["demo"]
# long: a law that one stack cannot see, learned by both
def copies(N, generator):
    """Pictures of the law: (N, 6, 6)."""
    x = torch.randint(2, (N, 6, 6), generator=generator)
    wrong = torch.rand(N, 6, 6, generator=generator) < 0.05
    for i in range(1, 6):
        x[:, i, :4] = x[:, i - 1, 2:] ^ wrong[:, i, :4]
    return x.to(device)


copy_g = torch.Generator().manual_seed(5)
copy_train, copy_test = copies(4_000, copy_g), copies(1_000, copy_g)
entropy = 16 * math.log(2) - 20 * (0.05 * math.log(0.05) + 0.95 * math.log(0.95))
zero = torch.zeros(4_000, device=device).long()
reached = {}
for name, net in (
    ("one stack, 3 layers", PlainCNN(6, 2, 16, 3)),
    ("one stack, 6 layers", PlainCNN(6, 2, 16, 6)),
    ("two stacks, 3 layers", PixelCNN(6, 2, 16, 3)),
):
    train(net.to(device), copy_train, zero, S.blind_updates, name, rate=1e-2, decay=0.0)
    with torch.no_grad():
        reached[name] = -log_p(net, copy_test, zero[:1_000]).mean().item()
print({name: round(v, 2) for name, v in reached.items()}, end=" ")
print(f"nats; entropy {entropy:.2f}, all coins {36 * math.log(2):.2f}")
fig, ax = plot.figure(height=1.8)
ax.barh(list(reached), list(reached.values()), color=[plot.COLOURS.vermilion] * 2 + [plot.COLOURS.blue])
ax.axvline(entropy, color=plot.COLOURS.green, label="entropy of the law")
ax.axvline(36 * math.log(2), color=plot.COLOURS.grey, ls="--", label="36 coins")
ax.set(
    xlabel="held-out nats to describe a picture (less is better)",
    title="A law in the blind spot",
    xlim=(0, 34),
)
ax.invert_yaxis()
ax.legend(fontsize=9, loc="center right")
plt.show()
one_stack = min(v for name, v in reached.items() if name.startswith("one"))
board.claim(
    "One stack, shallow or deep, stays within half a nat of 36 coins.", one_stack > 36 * math.log(2) - 0.5
)
board.claim("Two stacks come within a nat of the entropy.", reached["two stacks, 3 layers"] < entropy + 1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. $s \le r$ holds for every $L$. More layers see more rows, and the same triangle. It is the shape of the
# kernels that has to change.
# </details>
#
# ## 5 · Levels have an order: a mixture of logistics
#
# With $K = 2$ a softmax says all. With 17 or 256 levels it has $K$ logits for each pixel, and does not know
# that level 8 lies between 7 and 9: whatever it learns about one level it has to learn about its neighbours
# again. PixelCNN++ lets a *continuous* law stand behind the levels. A mixture of $M$ logistics has the
# cumulative probability
#
# $$F(y) = \sum_{m=1}^M \pi_m\,\sigma\!\Big(\frac{y - \mu_m}{s_m}\Big),$$
#
# and level $k$ gets what falls between its two edges, $p(k) = F(k + \tfrac12) - F(k - \tfrac12)$. The lowest
# level gets all that is below its upper edge, the highest all that is above its lower edge. These sum to 1,
# for the sum telescopes. The network says $3M$ numbers for each pixel, whatever $K$ is.
#
# A difference of two $\sigma$ near 1 has no digits left. It can be written as a product:
#
# <details><summary>Derivation: log of a difference of logistics, without a difference</summary>
#
# Let $b > a$ be the two edges, in units of the scale. With $1 - \sigma(a) = \sigma(-a)$,
#
# $$\sigma(b) - \sigma(a) = \sigma(b)\big(1 - \sigma(a)\big) - \sigma(a)\big(1 - \sigma(b)\big) = \sigma(b)\,\sigma(-a) - \sigma(a)\,\sigma(-b).$$
#
# Since $\sigma(a)/\sigma(-a) = e^{a}$, the second product is the first one times $e^{a}e^{-b}$. So
#
# $$\log\big(\sigma(b) - \sigma(a)\big) = \log\sigma(b) + \log\sigma(-a) + \log\big(1 - e^{-(b - a)}\big).$$
#
# All three terms keep their digits for all $a < b$, far out, too: $b - a$ is the width of a level over the
# scale, and does not depend on the level at all.
# (PixelCNN++ takes the density times the width where the difference is too small. Here nothing has to be
# approximated.)
# </details>
#
# Levels are scaled as the network sees them, from $-1$ to $1$: they lie $2/(K-1)$ apart. The network says
# $\log s_m$; below $-6$ it is cut off.


# %% build="logistics"
def discretised(outputs, x, K):
    """log p of levels under a mixture of M logistics: outputs (B, 3 M, ...), x (B, ...) int64 -> (B, ...).

    outputs: logits of the weights, centres, logarithms of the scales. Axes of size 1 stretch to those of x.
    """
    ### BEGIN SOLUTION
    weight, centre, log_scale = outputs.chunk(3, dim=1)
    scale = log_scale.clamp(min=-6).exp()
    half, y = 1 / (K - 1), (2 * x / (K - 1) - 1)[:, None]
    b, a = (y + half - centre) / scale, (y - half - centre) / scale
    inside = F.logsigmoid(b) + F.logsigmoid(-a) + (-torch.expm1(-2 * half / scale)).log()
    each = torch.where(x[:, None] == 0, F.logsigmoid(b), inside)
    each = torch.where(x[:, None] == K - 1, F.logsigmoid(-a), each)
    return (weight.log_softmax(dim=1) + each).logsumexp(dim=1)
    ### END SOLUTION


# %% check="logistics"
outputs = 2 * torch.randn(5, 6, 1, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
p = discretised(outputs, torch.arange(17).expand(5, -1), 17).exp()  # M = 2, five pixels, 17 levels
assert p.shape == (5, 17) and torch.allclose(p.sum(1), torch.ones(5).double()), "17 levels sum to 1"
weight, centre, scale = (v[:, :, 0] for v in outputs.chunk(3, dim=1))
below = ((torch.tensor(0.5) * 2 / 16 - 1 - centre) / scale.exp()).sigmoid()  # at the upper edge of level 0
assert torch.allclose(p[:, 0], (weight.softmax(1) * below).sum(1)), "level 0 gets all that is below its edge"
far = discretised(torch.tensor([[0.0], [-1.0], [-3.0]]).double()[None, :, 0], torch.tensor([200]), 256)
assert -30 > far.item() > -40, "far out it is small, and no -inf"

# %% [markdown]
# **Question.** A single pixel with 256 levels, whose law is smooth, with two bumps. From 30, 100, 1,000
# examples learn it in two ways: a free softmax (fitted by counting, with half an example added to each level)
# and a mixture of three logistics, fitted by maximum likelihood. How many examples does the softmax need to
# come as near to the law as the mixture?

# %% folded="Figure: 256 levels from few examples" tags=["demo"]
# long: a law of 256 levels, learned by counting and by a mixture
grid_256 = torch.arange(256)
true_law = torch.distributions.Normal(0, 1).log_prob((grid_256 - 90) / 25).exp() * 0.6
true_law = true_law + 0.4 * torch.distributions.Normal(0, 1).log_prob((grid_256 - 180) / 15).exp() * 25 / 15
true_law = true_law.double() / true_law.sum()


def kl_of_fits(N, generator):
    """KL in nats of the counted law and of the mixture's, learned from N examples."""
    found = torch.multinomial(true_law, N, replacement=True, generator=generator)
    count = (found.bincount(minlength=256) + 0.5) / (N + 128)
    theta = torch.tensor([0.0, 0, 0, -0.5, 0, 0.5, -1, -1, -1]).double()[None, :, None].requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=0.05)
    for _ in range(S.fit):
        loss = -discretised(theta, found[None], 256).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        log_mixture = discretised(theta, grid_256[None], 256)[0]
    kl = lambda log_q: (true_law * (true_law.log() - log_q)).sum().item()  # noqa: E731
    return kl(count.double().log()), kl(log_mixture), log_mixture.exp(), count


kl_g = torch.Generator().manual_seed(7)
kls = {N: np.mean([kl_of_fits(N, kl_g)[:2] for _ in range(3)], axis=0) for N in (30, 100, 1_000, 10_000)}
fig, axes = plot.figure(1, 2, height=2.4)
*_, mixture_law, count_law = kl_of_fits(100, kl_g)
axes[0].plot(count_law, color=plot.COLOURS.orange, lw=1, label="counted")
axes[0].plot(mixture_law, color=plot.COLOURS.blue, label="mixture")
axes[0].plot(true_law, color=plot.COLOURS.grey, ls="--", label="law")
axes[0].set(title="From 100 examples", xlabel="level", yticks=[])
axes[0].legend(fontsize=8)
for n, (name, colour) in enumerate((("counted", plot.COLOURS.orange), ("mixture", plot.COLOURS.blue))):
    axes[1].plot(list(kls), [v[n] for v in kls.values()], "-o", color=colour, label=name)
axes[1].set(xscale="log", yscale="log", title="Nats from the law", xlabel="examples")
plt.show()
print({N: f"counted {a:.3f}, mixture {b:.3f}" for N, (a, b) in kls.items()})
board.claim(
    "From 100 examples the mixture is five times nearer to the law, or more.", kls[100][0] > 5 * kls[100][1]
)
board.claim("The softmax from 1,000 is no nearer than the mixture from 100.", kls[1_000][0] > kls[100][1])

# %% [markdown]
# <details><summary>Answer</summary>
#
# Between ten and a hundred times as many, next to the mixture's 100. Counting learns 255 numbers that know
# nothing of each other; the mixture has 8. But the law is no mixture of logistics: the mixture has a bias
# that no number of examples takes away. Counting has none, and with enough of them it must win. 10,000 are
# not enough yet.
# </details>
#
# ## 6 · Digits in 17 levels
#
# Now the real digits, 8 × 8, in their 17 levels, with their class. Three machines: two stacks with a softmax,
# two stacks with a mixture of five logistics, and the row LSTM with a softmax. To stand beside models that
# are not told the class, add the classes up: $p(x) = \frac1{10}\sum_c p(x \mid c)$, exact. The same ten
# numbers tell the digit, by Bayes' rule.


# %%
@torch.no_grad()
def by_class(net, x):
    """log p(x_ij | x_<ij, c) for each of the ten classes: (N, n, n) -> (N, 10, n, n)."""
    every = torch.arange(10, device=x.device)
    return torch.stack([log_each(net, x, c.expand(len(x))) for c in every], dim=1)


def class_unknown(joint):
    """log p(x) from log p(x | c), all classes alike: (..., 10) -> (...,)."""
    return joint.logsumexp(-1) - math.log(joint.shape[-1])


# %% tags=["demo"]
# long: three machines on grey digits
torch.manual_seed(8)
C, L = S.channels, S.layers
grey = {
    "two stacks, softmax": PixelCNN(8, 17, C, L, drop=0.1),
    "two stacks, mixture": PixelCNN(8, 17, C, L, M=5, drop=0.1),
    "row LSTM, softmax": RowLSTM(8, 17, C),
}
grey_seconds, grey_joint = {}, {}
for name, net in grey.items():
    updates = S.rnn_updates if "LSTM" in name else S.updates
    grey_seconds[name] = train(net.to(device), k_train, y_train, updates, name)
    grey_joint[name] = by_class(net, k_test).flatten(2).sum(2)  # (N, 10)
size = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
of_class = lambda joint: joint.gather(1, y_test[:, None])[:, 0]  # noqa: E731
grey_bits = {name: bits(class_unknown(joint), 64) for name, joint in grey_joint.items()}
given_bits = {name: bits(of_class(joint), 64) for name, joint in grey_joint.items()}
worth = {name: (of_class(joint) - class_unknown(joint)).mean().item() for name, joint in grey_joint.items()}
tells = {name: (joint.argmax(1) == y_test).float().mean().item() for name, joint in grey_joint.items()}
for name, net in grey.items():
    print(f"{name}: {grey_bits[name]:.3f} bits/dim, {given_bits[name]:.3f} given the class", end=" ")
    print(f"({worth[name]:.2f} nats a digit), tells {tells[name]:.3f};", end=" ")
    print(f"{size(net):,} weights, {grey_seconds[name]:.0f} s")
before_us = {
    row.model: row.figures["bits_per_dim"]
    for row in board.published().rows
    if row.data == "digits 8x8" and "bits_per_dim" in row.figures
}
print("class unknown, before:", {m: before_us[m] for m in ("RealNVP", "MADE", "MADE, 2 orders")})
best_grey = min(grey_bits["two stacks, softmax"], grey_bits["two stacks, mixture"])
board.claim(
    "Both heads need 0.2 bits per pixel less than lesson 03's MADE, or better than that.",
    max(grey_bits["two stacks, softmax"], grey_bits["two stacks, mixture"]) < before_us["MADE"] - 0.2,
)
board.claim(
    "The better one needs 0.15 bits less than two of MADE's orders mixed, 0.25 less than lesson 08's flow.",
    best_grey < min(before_us["MADE, 2 orders"] - 0.15, before_us["RealNVP"] - 0.25),
)
board.claim(
    "The two heads are less than 0.05 bits per pixel apart.",
    abs(grey_bits["two stacks, softmax"] - grey_bits["two stacks, mixture"]) < 0.05,
)
board.claim(
    "Knowing the class is worth two nats or more to each of them, and less than log 10.",
    all(2 < worth[name] < math.log(10) for name in grey if "stacks" in name),
)
board.claim(
    "By Bayes' rule it tells 95 of 100 held-out digits, or more.", tells["two stacks, softmax"] > 0.95
)

# %% [markdown]
# 0.2 bits/dim are 13 bits a digit, and the network has a fourteenth of MADE's 870,080 weights. The row LSTM
# has fewer weights still and had half as many updates, so that its figure is no verdict on it.
#
# **And the mixture?** After section 5 one might expect more of it. But there the softmax had 256 levels to
# learn from 100 examples, with 255 numbers that know nothing of each other. Here 17 levels meet
# $1{,}257 \times 64 = 80{,}448$ pixels, and all logits come from the same $C$ channels: what is learned
# about one level reaches the next one by these. So the two are near each other. With 256 levels, or few
# pictures, a mixture may have more to give.
#
# **What is it worth to know the class?** By Bayes' rule $p(x \mid c) = p(x)\,p(c \mid x)/p(c)$, so
#
# $$\log p(x \mid c) - \log p(x) = \log 10 + \log p(c \mid x) \le \log 10 = 2.30\ \text{nats}:$$
#
# a class is one of ten, and no more than that can be learned from it. The heads get nearly all of it (in
# brackets above), for a picture says its class almost surely.
#
# ### What serial rows cost
#
# In training, the LSTM goes through the rows one after the other. Each step is small, and a machine with many
# units waits most of the time. A stack does all rows at once. Take a row LSTM and two gated layers, which
# have a third *more* multiplications (printed below), one picture, forwards and backwards, and let it grow.


# %% folded="Figure: an LSTM's step and a layer's" tags=["demo"]
# long: forward and backward of both, on one picture
def seconds(job, repeats=5):
    """The fastest of some runs."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        job().cpu()  # bringing the result home waits for the device
        taken.append(time.perf_counter() - begin)
    return min(taken)


def step_of(net, n):
    """A job: log p of one picture of side n, and its gradient."""
    x, c = torch.zeros(1, n, n, dtype=torch.long, device=device), torch.zeros(1, device=device).long()

    def run():
        net.zero_grad()
        loss = -log_p(net, x, c).mean()
        loss.backward()
        return loss.detach()

    return run


sides, step_ms, work = (8, 16, 32), {}, {}
for n in sides:
    for name, net in (("row LSTM", RowLSTM(n, 2, 16)), ("two gated layers", PixelCNN(n, 2, 16, 2))):
        kernels = (p for k, p in net.named_parameters() if p.dim() == 4 and k[:4] not in ("head", "plac"))
        work[name] = sum(p.numel() for p in kernels)  # multiplications for each pixel, without the head
        run = step_of(net.to(device), n)
        run()
        step_ms[name, n] = 1e3 * seconds(run)
fig, ax = plot.figure(height=2.3)
for name in ("row LSTM", "two gated layers"):
    ax.plot(sides, [step_ms[name, n] for n in sides], "-o", label=name)
ax.set(xlabel="side of the picture", ylabel="ms", title="A training step on one picture", xticks=sides)
ax.legend()
plt.show()
print("multiplications a pixel:", work, "and yet the LSTM's step takes", end=" ")
print({n: f"{step_ms['row LSTM', n] / step_ms['two gated layers', n]:.1f} times as long" for n in sides})
board.claim(
    "At a side of 32 the LSTM's step takes 1.3 times as long or more.",
    step_ms["row LSTM", 32] > 1.3 * step_ms["two gated layers", 32],
)

# %% folded="Figure: digits drawn, and real ones" tags=["demo"]
# long: pictures of the two heads and real ones
wanted = torch.arange(40, device=device) % 10
show_u = torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(9)).to(device)
heads = ("two stacks, softmax", "two stacks, mixture")
with torch.no_grad():
    drawn = {name: draw(grey[name], wanted, show_u) for name in heads}
fig, axes = plot.figure(3, 1, height=1.35)
real_rows = torch.stack([k_test[y_test == c][n] for n in range(4) for c in range(10)])
for ax, x, title in zip(axes, (*drawn.values(), real_rows), ("Softmax", "Mixture", "Real"), strict=True):
    plot.images(x.float() / 16, columns=20, ax=ax, title=title)
plt.show()

# %% [markdown]
# ## 7 · Fewer weights, fewer pictures
#
# The claim of section 1 again, with networks. How many pictures does each need? Black-and-white digits, the
# class given, 100 or 400 of them to learn from. MADE is lesson 03's, stated again in the folded cell. Both
# train for the same number of updates, and for both all the validation digits say when to stop. (Who has only
# 100 digits has no such set; the help is the same for both.)


# %% folded="Lesson 03's MADE, once more"
class MADE(nn.Module):
    """log p by masked layers, raster order: every pixel has weights of its own."""

    def __init__(self, n, width, drop):
        super().__init__()
        D, self.n, self.M, self.K = n * n, n, 0, 2
        self.enter, self.across = nn.Linear(D, width), nn.Linear(width, width)
        self.leave, self.drop = nn.Linear(width, 2 * D), nn.Dropout(drop)
        self.label, self.bias = nn.Embedding(10, width), nn.Embedding(10, 2 * D)
        nn.init.zeros_(self.bias.weight)
        degree, pixel = torch.arange(width) % (D - 1), torch.arange(D)
        masks = degree[:, None] >= pixel, degree[:, None] >= degree, pixel.repeat(2)[:, None] > degree
        for name, mask in zip(("into", "over", "out"), masks, strict=True):
            self.register_buffer(name, mask.float())

    def forward(self, x, c):
        """(B, n, n), (B,) -> logits (B, 2, n, n)."""
        h = F.linear(2 * x.flatten(1).float() - 1, self.enter.weight * self.into, self.enter.bias)
        h = self.drop(F.silu(h + self.label(c)))
        h = self.drop(h + F.silu(F.linear(h, self.across.weight * self.over, self.across.bias)))
        logits = F.linear(h, self.leave.weight * self.out, self.leave.bias) + self.bias(c)
        return logits.reshape(len(x), 2, self.n, self.n)


# %% folded="Figure: from 100 and from 400 digits" tags=["demo"]
# long: both networks on few digits, stopped by validation
b_val = k_val.ge(8).long()
few = {}


def best_stop(net, n, title, order=slice(None), **how):
    """Held-out nats at the update of the best validation nats; the pixels are taken in an order."""
    best = [-math.inf, math.nan]
    moved = lambda x: x.flatten(1)[:, order].reshape(x.shape)  # noqa: E731

    @torch.no_grad()
    def watch(_):
        net.eval()
        found = [log_p(net, moved(x), y).mean().item() for x, y in ((b_val, y_val), (b_test, y_test))]
        best[:] = max(best, found)
        net.train()

    chosen = shuffled[:n]
    x, y = moved(b_train[chosen]), y_train[chosen]
    train(net.to(device), x, y, S.few_updates, title, watch=watch, **how)
    if S.few_updates < 50:
        watch(0)
    return best[1]


torch.manual_seed(10)
for n in (100, 400):
    few["MADE", n] = best_stop(MADE(8, 512, 0.3), n, f"MADE, {n}", rate=2e-3, decay=0.05, batch=64)
    few["PixelCNN", n] = best_stop(PixelCNN(8, 2, 16, 4, drop=0.1), n, f"PixelCNN, {n}")
little, large = PixelCNN(8, 2, 16, 4), MADE(8, 512, 0.3)
print(f"weights: {size(little):,} of PixelCNN, {size(large):,} of MADE")
print({f"{name}, {n} digits": round(v, 2) for (name, n), v in few.items()})
fig, ax = plot.figure(height=1.9)
labels = [f"{name}, {n} digits" for name, n in few]
ax.barh(labels, [-v for v in few.values()], color=[plot.COLOURS.orange, plot.COLOURS.blue] * 2)
ax.set(xlabel="held-out nats to describe a digit, class given (less is better)", title="From few pictures")
ax.invert_yaxis()
plt.show()
board.claim(
    "From 100 digits PixelCNN has a nat more than MADE, or better than that.",
    few["PixelCNN", 100] > few["MADE", 100] + 1,
)
board.claim(
    "From 400 it is ahead, too, by a fifth of a nat or more.", few["PixelCNN", 400] > few["MADE", 400] + 0.2
)

# %% [markdown]
# The network with a fifteenth of the weights wins in both. Is it the smaller number of weights, or *which*
# weights are shared?
#
# **Question.** Shuffle the pixels of all pictures by one and the same shuffle, and train both again on 400.
# Nothing is lost: who knows the shuffle can undo it. Which of the two gets worse?


# %% folded="Figure: shuffled pixels" tags=["demo"]
# long: both networks on 400 shuffled digits
one_shuffle = torch.randperm(64, generator=torch.Generator().manual_seed(23)).to(device)
few["MADE", "shuffled"] = best_stop(
    MADE(8, 512, 0.3), 400, "MADE, shuffled", one_shuffle, rate=2e-3, decay=0.05, batch=64
)
few["PixelCNN", "shuffled"] = best_stop(PixelCNN(8, 2, 16, 4, drop=0.1), 400, "PixelCNN", one_shuffle)
fig, ax = plot.figure(height=1.9)
bars = {}
for name in ("MADE", "PixelCNN"):
    bars |= {f"{name}, as they are": -few[name, 400], f"{name}, shuffled": -few[name, "shuffled"]}
ax.barh(list(bars), list(bars.values()), color=[plot.COLOURS.orange] * 2 + [plot.COLOURS.blue] * 2)
ax.set(xlabel="held-out nats to describe a digit, class given (less is better)", title="Shuffled pixels")
ax.invert_yaxis()
plt.show()
print({name: round(-v, 2) for name, v in bars.items()})
board.claim(
    "The shuffle costs PixelCNN a nat and a half or more.",
    few["PixelCNN", "shuffled"] < few["PixelCNN", 400] - 1.5,
)
board.claim(
    "It changes MADE by less than a nat, and MADE is then ahead, by a nat or more.",
    abs(few["MADE", "shuffled"] - few["MADE", 400]) < 1
    and few["MADE", "shuffled"] > few["PixelCNN", "shuffled"] + 1,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# PixelCNN. Its kernels look at neighbours, and after a shuffle a pixel's neighbours are pixels from anywhere;
# what they say differs from place to place, and the shared weights cannot follow. For MADE a shuffle is one
# more order of the pixels, neither much better nor much worse (lesson 03). Sharing is no free lunch: it is
# right for pictures, where a stroke is a stroke wherever it stands.
# </details>
#
# ## 8 · What a sample costs, and a sampler that computes only what is new
#
# The sampler of section 4 asks the whole network $D$ times, and looks at one pixel each time. With $D$
# positions a pass, that is of the order $D^2$, for each layer. What does a **new pixel** touch? The masks
# say that no number at an earlier position depends on it. All that was computed there stays as it is. So
# keep it.
#
# - *Horizontal stack*: to go from $(i, j-1)$ to $(i, j)$ each layer needs its input at two columns, $j - 1$
#   (kept) and $j$ (new).
# - *Vertical stack*: it does not see row $i$ while row $i$ is being drawn. When the row is finished, one row
#   is added to each layer, from two rows of its input: the kept one and the new one.
#
# So each number of the network is computed **once**: of the order $D$. A picture costs as many
# multiplications as *one* pass. What stays serial are the $D$ steps. (Lesson 05 does this for sound, lesson
# 06's KV cache for text.) The figure shows the input of one layer. Blue is kept from before, and red comes in;
# in `Cache` these are two columns of `pixels` and the two rows of `rows`.

# %% folded="Figure: what is kept and what is new" tags=["demo"]
# the input of one layer, while (3, 3) is drawn and when row 3 is finished
at_pixel, at_row = np.zeros((2, 6, 6))
at_pixel[:3] = at_pixel[3, :2] = at_row[:2] = 1
at_pixel[3, 2:4], at_row[2:4] = (2, 3), ([2], [3])
colours = ("white", "#e6edf3", plot.COLOURS.blue, plot.COLOURS.vermilion)
fig, axes = plot.figure(1, 2, height=2.5)
for ax, state, title in zip(
    axes, (at_pixel, at_row), ("Horizontal: a new pixel", "Vertical: a finished row"), strict=True
):
    ax.pcolormesh(state[::-1], cmap=matplotlib.colors.ListedColormap(colours), edgecolors="grey", lw=0.5)
    ax.set(title=title, xticks=[], yticks=[], aspect="equal")
axes[0].legend(
    [plt.Rectangle((0, 0), 1, 1, fc=c, ec="grey", lw=0.5) for c in colours],
    ("not drawn yet", "done, not asked for", "kept, asked for", "new"),
    fontsize=9,
    loc="center left",
    bbox_to_anchor=(1, 0.5),
)
plt.show()


# %%
# long: what is kept, a row and a pixel
class Cache:
    """What the network has computed for B pictures of classes c: of the row above, and of this row."""

    def __init__(self, net, c):
        self.net, self.c, n = net, c, net.n
        widths = [2] + [layer.out.out_channels for layer in net.layers[:-1]]
        zeros = lambda w, *shape: torch.zeros(len(c), w, *shape, device=c.device)  # noqa: E731
        self.rows = [
            zeros(w, 2, n + 2) for w in widths
        ]  # input of each layer: the row above, and the new one
        self.pixels = [zeros(w, 1, n + (1 if i else 2)) for i, w in enumerate(widths)]
        self.labels = [layer.label(c)[:, :, None, None].chunk(2, dim=1) for layer in net.layers]
        self.links = [layer.link(zeros(layer.link.in_channels, 1, n)) for layer in net.layers]

    def finish_row(self, levels):
        """The vertical stack takes in a row of the picture: (B, n) int64."""
        row = self.net.enter(levels[:, None])  # (B, 2, 1, n)
        for i, layer in enumerate(self.net.layers):
            self.rows[i] = torch.cat([self.rows[i][:, :, 1:], F.pad(row, (1, 1))], dim=2)
            a_v = layer.vertical(self.rows[i])
            self.links[i] = layer.link(a_v)
            row = gate(a_v + self.labels[i][0])

    def outputs(self, i, j, last):
        """The net's outputs at (i, j): (B, out); last: (B,) int64, the level at (i, j - 1), if j > 0."""
        if j > 0:
            self.pixels[0][..., j + 1 : j + 2] = self.net.enter(last[:, None, None])
        h = None
        for n, layer in enumerate(self.net.layers):
            if n > 0:
                self.pixels[n][..., j + 1 : j + 2] = h
            a_h = (
                layer.horizontal(self.pixels[n][..., j : j + 2])
                + self.links[n][..., j : j + 1]
                + self.labels[n][1]
            )
            out = layer.out(gate(a_h if n else a_h + self.net.place[:, :, i : i + 1, j : j + 1]))
            h = h + out if n else out
        return self.net.head(h)[:, :, 0, 0]


@torch.no_grad()
def draw_cached(net, c, u, canvas=None, rows=0, heat=1.0):
    """The pictures of `draw`, each number of the network computed once."""
    x = torch.zeros(u.shape, dtype=torch.long, device=u.device) if canvas is None else canvas.clone()
    cache = Cache(net, c)
    for i in range(net.n):
        if i >= rows:
            for row in cache.pixels:
                row.zero_()
            for j in range(net.n):
                log_levels = levels(net, cache.outputs(i, j, x[:, i, j - 1]))
                x[:, i, j] = picked((log_levels / heat).softmax(dim=1), u[:, i, j])
        cache.finish_row(x[:, i])
    return x


# %% folded="Figure: both samplers as the picture grows" tags=["demo"]
# long: equal pictures, and times
same, taken = {}, {}
for n in (4, 8, 16):
    torch.manual_seed(14)
    growing = PixelCNN(n, 17, C, 5).to(device).eval()
    for p in growing.parameters():
        nn.init.normal_(p, std=0.15)
    c = torch.arange(12, device=device) % 10
    u = torch.rand(12, n, n, generator=torch.Generator().manual_seed(n)).to(device)
    pictures, taken[n] = [], []
    for sampler in (draw, draw_cached):
        with torch.no_grad():
            begin = time.perf_counter()
            pictures.append(sampler(growing, c, u).cpu())
            taken[n].append(time.perf_counter() - begin)
    same[n] = (pictures[0] == pictures[1]).float().mean().item()
with torch.no_grad():
    again = {name: draw_cached(grey[name], wanted, show_u) for name in heads}
digit_same = min((again[name] == drawn[name]).float().mean().item() for name in heads)
ratio = {n: slow / fast for n, (slow, fast) in taken.items()}
fig, ax = plot.figure(height=2.5)
for k, name in enumerate(("whole passes", "only what is new")):
    ax.plot([n * n for n in taken], [t[k] for t in taken.values()], "-o", label=name)
ax.set(
    xscale="log",
    yscale="log",
    xlabel="pixels",
    ylabel="seconds, 12 pictures",
    title="Two samplers, the same pictures",
)
ax.set_xticks([16, 64, 256], [16, 64, 256])
ax.minorticks_off()
ax.legend()
plt.show()
print(
    "equal pixels:", {n: f"{v:.4f}" for n, v in same.items()}, f"and of section 6's digits {digit_same:.4f}"
)
print("times as fast:", {n: round(v, 1) for n, v in ratio.items()})
board.claim("Both samplers draw the same pictures, but for rounding.", min(*same.values(), digit_same) > 0.98)
board.claim("At 16 x 16 the second is more than five times as fast.", ratio[16] > 5)
board.claim("And the more pixels, the more it gains.", ratio[16] > ratio[8] > ratio[4])

# %% [markdown]
# ## 9 · Glyphs: ten digits in twelve styles
#
# Larger pictures: 16 × 16 in black and white, ten digits in twelve styles of type. Each is turned, moved and
# scaled a little at random, held-out ones by other random numbers. It takes 256 steps to draw one, and each
# wrong pixel is built upon.
#
# We draw at temperatures 1 and 0.7 with the same numbers $u$, and measure what is drawn by the course's own
# classifier. *Class accuracy* is the share of pictures in which it finds the class that was asked for. This
# judge knows 36 characters and is not always right about real ones, either; their share is printed, too.

# %% tags=["demo"]
# long: ten digits in twelve styles
type_set = data.glyphs(16, "0123456789", each=100, jitter=0.2)
g_train, g_test = (
    torch.as_tensor(part.x, device=device).reshape(-1, 16, 16).ge(0.5).long()
    for part in (type_set.train, type_set.test)
)
gy_train, gy_test = (
    torch.as_tensor(part.y, device=device).long() for part in (type_set.train, type_set.test)
)
torch.manual_seed(11)
glyph_net = PixelCNN(16, 2, C, S.glyph_layers, drop=0.05).to(device)
glyph_seconds = train(glyph_net, g_train, gy_train, S.glyph_updates, "glyphs", rate=6e-3, batch=8)
with torch.no_grad():
    glyph_given = log_p(glyph_net, g_test, gy_test)
print(f"held-out glyphs, class given: {glyph_given.mean():.2f} nats, {bits(glyph_given, 256):.4f} bits/dim")

# %% tags=["demo"]
# long: glyphs drawn at two temperatures, and what the judge finds
lesson, glyph_judge, count = "04_pixelcnn", features.glyphs(16), 200
asked_g = torch.arange(count, device=device) % 10
u_glyph = torch.rand(count, 16, 16, generator=torch.Generator().manual_seed(19)).to(device)
glyphs_made, glyph_looks = {}, {}
picked_test = torch.cat([(gy_test == c).nonzero()[: count // 10, 0] for c in range(10)])
real = g_test[picked_test].cpu()
for heat in (1.0, 0.7):
    begin = time.perf_counter()
    x = glyphs_made[heat] = draw_cached(glyph_net, asked_g, u_glyph, heat=heat).cpu()
    glyph_time = (time.perf_counter() - begin) / count
    glyph_looks[heat] = glyph_judge.compare(
        x[:, None].float(), asked_g.cpu(), real[:, None].float(), gy_test[picked_test].cpu()
    )
    print(f"glyphs at temperature {heat}: recognised {glyph_looks[heat]['class_accuracy']:.3f}", end=", ")
    print(f"diversity {glyph_looks[heat]['diversity']:.2f}")
    name = "PixelCNN" if heat == 1 else f"PixelCNN, temperature {heat}"
    costs = {"parameters": size(glyph_net), "train_seconds": glyph_seconds, "sample_seconds": glyph_time}
    board.record(lesson, name, data="glyphs 16, ten digits, binary", **costs, **glyph_looks[heat])
found = torch.as_tensor(glyph_judge(g_test[:, None].cpu().float()).labels)
real_found = (found == gy_test.cpu()).float().mean().item()
print(f"real held-out glyphs: {real_found:.3f}")
board.claim(
    "Of real held-out glyphs more are recognised than of those drawn at 1, by a twentieth or more.",
    real_found > glyph_looks[1.0]["class_accuracy"] + 0.05,
)
board.claim(
    "At the lower temperature more glyphs are recognised, and they are less diverse.",
    glyph_looks[0.7]["class_accuracy"] > glyph_looks[1.0]["class_accuracy"]
    and glyph_looks[0.7]["diversity"] < glyph_looks[1.0]["diversity"],
)

# %% folded="Figure: glyphs drawn, and real ones" tags=["demo"]
fig, axes = plot.figure(3, 1, height=1.3)
real_rows = torch.stack([g_test[gy_test == c][6 * n] for n in range(4) for c in range(10)])
for ax, x, title in zip(
    axes,
    (glyphs_made[1.0], glyphs_made[0.7], real_rows),
    ("Drawn at temperature 1", "Drawn at temperature 0.7", "Real, held out"),
    strict=True,
):
    plot.images(x[:40].float(), columns=20, ax=ax, title=title)
plt.show()

# %% [markdown]
# At temperature 1 most glyphs are recognised, but fewer than of the real ones. Broken strokes are no sign of
# it: the real ones have them, too, for thin type that is cut at 1/2 on 16 × 16 pixels breaks. Look instead
# for shapes that are no digit, or another one than was asked for (the columns go from 0 to 9, twice). At 0.7
# more are recognised, and they vary less; they are no draws from the model's law any more.
#
# ## 10 · The lower half of a picture
#
# A raster model conditions on the pixels that come **first**, without any more training: put them there, and
# draw on. For the *lower* half, given the upper one, that is a draw from the model's own conditional law:
# each factor that is asked for is one that it has learned.
#
# With the class unknown it is one step more. By Bayes' rule the known rows say which class it may be,
#
# $$p(c \mid x_\text{upper}) = \frac{p(x_\text{upper} \mid c)\,p(c)}{\sum_{c'} p(x_\text{upper} \mid c')\,p(c')},\qquad
# \log p(x_\text{upper} \mid c) = \sum_{(i, j)\ \text{in upper rows}} \log p(x_{ij} \mid x_{<ij}, c).$$
#
# The sum stops at the last known row, for the conditionals of a raster model do not look further down. Draw
# $c$ from this, then the rows below, given $c$ and the rows above. The result is a draw from
# $p(x_\text{lower} \mid x_\text{upper})$.
#
# **And the upper half, given the lower one?** The same sampler with a canvas that holds the lower half: the
# upper pixels are drawn before it is ever looked at.
#
# We measure by the course's own classifier: in how many of the completed digits does it find the class that
# the real one has? Half a digit may show its class by itself. So we compare with lower halves that are drawn
# for a class picked blindly.


# %% build="complete"
@torch.no_grad()
def complete(net, x, rows, u, u_class, draw):
    """Fill in all rows from `rows` on, the class unknown: pictures (B, n, n) int64, p(c | known) (B, 10).

    x: (B, n, n); u: (B, n, n) and u_class: (B,), uniform; draw: a sampler as above.
    """
    ### BEGIN SOLUTION
    known = by_class(net, x)[:, :, :rows].flatten(2).sum(2)  # (B, 10)
    p = known.softmax(dim=1)
    return draw(net, picked(p, u_class), u, x, rows), p
    ### END SOLUTION


# %% check="complete"
torch.manual_seed(12)
small, g = PixelCNN(3, 2, 4, 2).eval(), torch.Generator().manual_seed(13)
for layer in small.layers:
    nn.init.normal_(layer.label.weight)
x, u = torch.randint(2, (6, 3, 3), generator=g), torch.rand(6, 3, 3, generator=g)
filled, p = complete(small, x, 2, u, torch.rand(6, generator=g), draw)
assert torch.equal(filled[:, :2], x[:, :2]) and p.shape == (6, 10), "known rows stay"
assert torch.allclose(complete(small, 1 - x, 0, u, u[:, 0, 0], draw)[1], torch.tensor(0.1)), (
    "nothing known: 1/10"
)
other = torch.cat([x[:, :2], 1 - x[:, 2:]], dim=1)
assert torch.allclose(complete(small, other, 2, u, u[:, 0, 0], draw)[1], p), (
    "what is not known does not count"
)


# %% folded="Figure: lower halves, and upper ones" tags=["demo"]
# long: completions, and in how many the class is kept
judge, best = features.digits(), grey["two stacks, softmax"]
fill_x, fill_y = k_test[: S.held_out], y_test[: S.held_out]
fill_g = torch.Generator().manual_seed(15)
fill_u = torch.rand(len(fill_x), 8, 8, generator=fill_g).to(device)
u_class = torch.rand(len(fill_x), generator=fill_g).to(device)


def kept(x):
    """Share of pictures in which the judge finds the real one's class."""
    found = torch.as_tensor(judge(x.reshape(-1, 1, 8, 8).cpu().float() / 16).labels)
    return (found == fill_y.cpu()).float().mean().item()


lower, p_class = complete(best, fill_x, 4, fill_u, u_class, draw_cached)
blindly = draw_cached(best, (10 * u_class).long(), fill_u, fill_x, 4)  # any class, rows above known
free, _ = complete(best, fill_x, 0, fill_u, u_class, draw_cached)  # nothing known
upper = torch.cat(
    [free[:, :4], fill_x[:, 4:]], dim=1
)  # what a raster sampler gives with the lower half known
shares = {"lower half filled": kept(lower), "the same, any class": kept(blindly)}
shares |= {"upper half filled in raster order": kept(upper), "real digits": kept(fill_x)}
tells_upper = (p_class.argmax(1) == fill_y).float().mean().item()
print("class kept:", {name: round(v, 3) for name, v in shares.items()})
print(f"the upper half tells the class, by Bayes' rule, in {tells_upper:.3f} of the digits")
fig, axes = plot.figure(4, 1, height=0.85)
hole = torch.full((20, 4, 8), 0.35, device=device)
rows_shown = (
    fill_x[:20] / 16,
    torch.cat([fill_x[:20, :4] / 16, hole], dim=1),
    lower[:20] / 16,
    upper[:20] / 16,
)
titles = (
    "Real, held out",
    "Known: the upper half",
    "The lower half, filled",
    "The upper half, filled in raster order",
)
for ax, x, title in zip(axes, rows_shown, titles, strict=True):
    plot.images(x, columns=20, ax=ax, title=title)
plt.show()
board.claim(
    "With the lower half filled the class is kept in 80 of 100 digits, or more.",
    shares["lower half filled"] > 0.8,
)
board.claim(
    "Filled for any class, it is kept less often, by a tenth or more.",
    shares["the same, any class"] < shares["lower half filled"] - 0.1,
)
board.claim(
    "An upper half filled in raster order keeps it less often than the lower half, by three tenths or more.",
    shares["upper half filled in raster order"] < shares["lower half filled"] - 0.3,
)

# %% [markdown]
# A filled lower half goes on with the strokes of the upper one. A filled upper half knows nothing of what
# stands below: many of these pictures are halves of two digits.
#
# **The repair**, at a price, is lesson 03's likelihood weighting. Draw many upper halves without looking;
# each gets the weight $p(x_\text{lower} \mid \text{its upper half}, c)$, one pass; pick one in proportion to
# its weight. With ever more draws the pick comes as near to a draw from the conditional law as one likes.
#
# How near do 200 draws come? With weights $w_m$ that sum to 1, their **effective number** is
# $1/\sum_m w_m^2$: 200 if all weigh alike, 1 if one outweighs all others. The cell prints it.

# %% tags=["demo"]
# long: 200 upper halves for each digit, one of them picked by its weight
weigh_x, weigh_y = fill_x[:40], fill_y[:40]
many = 200 if S.held_out > 100 else 4
weigh_g = torch.Generator().manual_seed(16)
c_many = torch.randint(10, (many,), generator=weigh_g).to(device)
pool = draw_cached(best, c_many, torch.rand(many, 8, 8, generator=weigh_g).to(device))
with torch.no_grad():
    chosen, effective = [], []
    for x in weigh_x:
        pairs = torch.cat([pool[:, :4], x[4:].expand(many, 4, 8)], dim=1)
        log_w = log_each(best, pairs, c_many)[:, 4:].flatten(1).sum(1)
        w = log_w.softmax(0).cpu()
        effective.append(1 / w.square().sum().item())
        chosen.append(pairs[torch.multinomial(w, 1, generator=weigh_g)[0]])
weighed = torch.stack(chosen)
found = torch.as_tensor(judge(weighed.reshape(-1, 1, 8, 8).cpu().float() / 16).labels)
weighed_kept = (found == weigh_y.cpu()).float().mean().item()
same_40 = torch.as_tensor(judge(upper[:40, None].cpu().float() / 16).labels) == weigh_y.cpu()
as_they_come = same_40.float().mean().item()
print(f"upper halves picked among {many} by weight: class kept in {weighed_kept:.3f} of 40", end=" ")
print(f"(as they come, of the same 40: {as_they_come:.3f})")
print(f"effective number of the {many}: median {np.median(effective):.1f}", end=", ")
print(f"from {min(effective):.1f} to {max(effective):.1f}")
board.claim(
    "Picked by weight among 200, upper halves keep the class more often, by a tenth or more of the same 40.",
    weighed_kept > as_they_come + 0.1,
)
board.claim(
    "For most of the digits the effective number of the 200 draws is below 20.", np.median(effective) < 20
)

# %% [markdown]
# Better than blind, and far from exact: a few of the 200 carry nearly all of the weight, so what we see is
# the best of a few and no draw from the conditional law. With a larger hidden part or a sharper condition it
# gets hopeless. A model for all orders (lesson 03) needs none of this.

# %% [markdown]
# ## 11 · Play
#
# *Question: after how many rows is it clear which digit it will be?* Choose a held-out digit and how many of
# its rows are known. The model says the class by Bayes' rule and draws ten ways to go on.


# %% folded="Controls, and a figure of what they show" tags=["demo"]
# long: one control, one figure
def play(digit, rows, ax=None):
    """Ten completions of a held-out digit of which some rows are known."""
    x = k_test[y_test == digit][1:2].expand(10, 8, 8)
    g = torch.Generator().manual_seed(17)
    u = torch.rand(10, 8, 8, generator=g).to(device)
    u_class = (torch.arange(10, device=device) + 0.5) / 10  # spread evenly, so that ten stand for many
    filled, p = complete(best, x, rows, u, u_class, draw_cached)
    likely = p[0].topk(2)
    pairs = zip(likely.indices.tolist(), likely.values.tolist(), strict=True)
    says = ", ".join(f"{c}: {v:.2f}" for c, v in pairs) if rows else "All classes alike"
    known = torch.where(torch.arange(8, device=device)[:, None] < rows, x[:1] / 16, 0.35)
    shown = torch.cat([known, filled / 16])
    plot.images(shown, columns=11, title=f"{rows} rows of a {digit} known. {says}", ax=ax)
    if ax is None:
        plt.show()


controls = interact(
    play,
    digit=widgets.Dropdown(options=list(range(10)), value=3),
    rows=widgets.IntSlider(value=3, min=0, max=8, continuous_update=False),
)
fig, axes = plot.figure(4, 1, height=1.05)
for ax, rows in zip(axes, (0, 2, 4, 6), strict=True):
    play(3, rows, ax)
plt.show()

# %% folded="Figure: after how many rows is it clear?" tags=["demo"]
row_nats = by_class(best, fill_x).sum(3)  # (N, 10, 8): log p of each row, given those above and the class
p_rows = [row_nats[:, :, :rows].sum(2).softmax(1) for rows in range(9)]
told = [(p.argmax(1) == fill_y).float().mean().item() for p in p_rows[1:]]
surely = [p.gather(1, fill_y[:, None]).mean().item() for p in p_rows]
fig, ax = plot.figure(height=2.2)
ax.plot(range(1, 9), told, "-o", label="digits told right, share")
ax.plot(range(9), surely, "-s", label="probability of the right class, mean")
ax.set(xlabel="rows known", ylim=(0, 1.05), title="After how many rows is it clear?")
ax.legend(fontsize=9, loc="lower right")
plt.show()
print("told right after 1 to 8 rows:", [round(v, 2) for v in told])
board.claim("When half of the rows are known, four in five digits are told, or more.", told[3] > 0.8)

# %% [markdown]
# So mostly after half of the rows, and sooner or later from digit to digit: a 3 may begin like a 2.
#
# ## 12 · How good is it?
#
# The board's *class accuracy* is section 9's. Its *nats* are those of a density, as for models of continuous
# pixels: a picture's probability is spread evenly over a cell that is 1/17 wide in each of 64 pixels, so that
# $64 \log 17$ is added to $\log p(x)$.


# %% tags=["demo"]
# long: the rows of the board
asked = torch.arange(len(y_test), device=device) % 10
u_board = torch.rand(len(asked), 8, 8, generator=torch.Generator().manual_seed(18)).to(device)
begin = time.perf_counter()
made = {name: draw_cached(net, asked, u_board).cpu() for name, net in grey.items() if "LSTM" not in name}
grey_sample_time = (time.perf_counter() - begin) / 2 / len(asked)
looks = {
    name: judge.compare(x[:, None].float() / 16, asked.cpu(), digits.test.x, digits.test.y)
    for name, x in made.items()
}
for name, net in grey.items():
    row = {
        "bits_per_dim": grey_bits[name],
        "nats": class_unknown(grey_joint[name]).mean().item() + 64 * math.log(17),
    }
    row |= {"parameters": size(net), "train_seconds": grey_seconds[name], **looks.get(name, {})}
    if name in looks:
        row["sample_seconds"] = grey_sample_time
        print(f"{name}: recognised {looks[name]['class_accuracy']:.3f} (real {judge.accuracy:.3f})")
    board.record(lesson, f"PixelCNN, {name}".replace("PixelCNN, row", "Row"), data="digits 8x8", **row)
board.claim(
    "Of drawn digits four in five or more are recognised, with the mixture seven in eight or more.",
    looks["two stacks, softmax"]["class_accuracy"] > 0.8
    and looks["two stacks, mixture"]["class_accuracy"] > 0.875,
)
display(board.table("digits 8x8"))

# %% [markdown]
# In 17 levels this is the best exact likelihood of the lessons so far (section 6 has the margin).
#
# **MNIST**, by name, in `full` only: 28 × 28, 256 levels, a softmax, no class. UvA's deep learning tutorial
# 12 reports 0.808 bits/dim for a gated PixelCNN.

# %% tags=["demo"]
# long: MNIST in 256 levels, in `full`
if S.mnist_updates:
    mnist = data.mnist()
    m_train, m_test = (
        torch.as_tensor(part.x, device=device).reshape(-1, 28, 28).mul(255).round().long()
        for part in (mnist.train, mnist.test)
    )
    m_zero = torch.zeros(len(m_train), device=device).long()
    m_net = PixelCNN(28, 256, 64, 9, classes=1).to(device)
    train(m_net, m_train, m_zero, S.mnist_updates, "MNIST", rate=2e-3, decay=0.0, batch=64)
    with torch.no_grad():
        m_nats = torch.cat([log_p(m_net, x, m_zero[: len(x)]) for x in m_test.split(250)])
    print(f"MNIST, 256 levels, test: {bits(m_nats, 784):.3f} bits/dim (UvA's tutorial 12: 0.808)")
    m_u = torch.rand(20, 28, 28, generator=torch.Generator().manual_seed(20)).to(device)
    plot.images(draw_cached(m_net, m_zero[:20], m_u).float() / 255, columns=10, title="MNIST, drawn")
    plt.show()
else:
    print("MNIST is for `full`")

# %% [markdown]
# **Where it is used.** As a model of pixels PixelCNN has given way to diffusion, and to transformers that
# keep its product and its raster: *image GPT* (2020) is lesson 06 on pixels, *PixelSNAIL* (2017) put
# attention between the convolutions. As a **prior over codes** it lives on: VQ-VAE (lesson 25) draws a small
# grid of codes with a PixelCNN and lets a decoder make a picture of them, VQ-VAE-2 does so on two levels, and
# transformers (lesson 26) do the same. *VAR* (2024) keeps the product and changes the order: coarse pictures
# before fine ones. Causal convolutions are WaveNet's (lesson 05).
#
# ## 13 · In production
#
# With $P$ weights in convolutions and $D$ pixels, one pass takes $P D$ multiplications. So
#
# $$\text{density} = P D,\qquad \text{sample} = P D^2\ \text{(whole passes)}\quad\text{or}\quad P D\ \text{(cached)},$$
#
# and $D$ serial steps either way, each of at least the time that a machine needs to start $L$ small layers.

# %% tags=["demo"]
# long: a density and a sample, timed
x, c = k_test[:100], y_test[:100]
with torch.no_grad():
    density_time = seconds(lambda: log_p(best, x, c), 3)
    u = torch.rand(100, 8, 8, generator=torch.Generator().manual_seed(21)).to(device)
    sample_time = seconds(lambda: draw_cached(best, c, u), 2)
print(f"100 densities {1e3 * density_time:.0f} ms, 100 samples {1e3 * sample_time:.0f} ms (cached)", end=" ")
print(f"whole passes would take {64e3 * density_time:.0f} ms")
board.claim(
    "A cached sample costs more than a density, and less than a fifth of 64 passes.",
    density_time < sample_time < 64 * density_time / 5,
)

# %% [markdown]
# As many multiplications as one density, and yet it takes longer: small steps, one after the other, leave the
# machine idle.
#
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs. Levels are int64. Other numbers are float64
# or float32, and a result has the type of what went in; in float64 it agrees with the formula to nine digits,
# in float32 to four. What goes in stays as it is, and may lie in memory in any way. Rows of a batch do not
# know of each other.
#
# ### 1 · What a stack does not see (medium, 20 minutes)
#
# Layers of masked convolutions, each padded with zeros so that the picture keeps its size $n \times n$. Each
# layer has a mask of its own: `mask[p, q]` is True where the layer's output at $(i, j)$ may look at its input
# at $(i + p - \lfloor k/2\rfloor,\ j + q - \lfloor k/2\rfloor)$; the sizes $k$ are odd and may differ, and
# the masks may be anything, causal or not, and there may be hundreds of layers. Which pixels that come
# **before** $(i, j)$ in raster order does the output at $(i, j)$ of the last layer *not* depend on? A way from
# a pixel to the output goes through one position in each layer, and all of them lie inside the picture:
# outside there are only zeros.


# %% exercise="unseen"
def unseen(masks, n, i, j):
    """Pixels before (i, j) that the stack's output there does not see: (n, n) bool.

    masks: a list of bool tensors (k, k), the first layer's first; without any the output is the picture.
    """
    ### BEGIN SOLUTION
    seen = torch.zeros(1, 1, n, n, dtype=torch.float64)
    seen[0, 0, i, j] = 1
    for mask in reversed(masks):
        weight = mask.double()[None, None]
        seen = (F.conv_transpose2d(seen, weight, padding=len(mask) // 2) > 0).double()
    before = torch.arange(n * n).reshape(n, n) < i * n + j
    return before & (seen[0, 0] == 0)
    ### END SOLUTION


# %% test="unseen" points=3
mask_a, mask_b = (causal_mask(kind, 3).bool() for kind in "AB")
got = unseen([mask_a, mask_b], 4, 2, 1)
assert got.dtype == torch.bool and got.shape == (4, 4), "a truth value for each pixel"
assert got.nonzero().tolist() == [[1, 3]], (
    "two layers see two rows up; the blind spot is the last pixel of row 1"
)
assert unseen([mask_a], 3, 2, 2).nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0]], (
    "one layer: five of eight pixels"
)
right_then_back = [torch.tensor([[False] * 3, [True, False, False], [False] * 3]), torch.zeros(3, 3).bool()]
right_then_back[1][0, 2] = True  # the last layer looks up and right, the first one then to the left
assert not unseen(right_then_back, 3, 1, 1)[0, 1], "(1, 1) sees (0, 1) by way of (0, 2)"
assert unseen(right_then_back, 3, 1, 2)[0, 2], "(1, 2) does not see (0, 2): the way leads outside the picture"

# %% [markdown]
# ### 2 · When is the class clear? (easy, 12 minutes)
#
# A raster model has seen the first pixels of a picture. Which class is it? Return the class's
# **log**-probability, by Bayes' rule, after each number of known pixels, 0 to $D$. A class may rule out a
# level ($-\infty$), and from there on it is out; a prior may rule out a class. Never are all classes out.
# Pictures may be thousands of nats apart.


# %% exercise="class-after"
def class_after(log_each, log_prior):
    """log p(c | the first d pixels) for d = 0, ..., D: (B, D + 1, C).

    log_each: (B, C, D), log p of each pixel given those before it and the class, in the order.
    log_prior: (C,), logarithms of what sums to 1.
    """
    ### BEGIN SOLUTION
    so_far = F.pad(log_each.cumsum(dim=2), (1, 0))  # (B, C, D + 1)
    return (so_far + log_prior[:, None]).log_softmax(dim=1).transpose(1, 2)
    ### END SOLUTION


# %% test="class-after" points=2
two_classes = torch.tensor([[[0.5, 0.5], [0.25, 0.5]]], dtype=torch.float64).log()
prior = torch.tensor([0.4, 0.6], dtype=torch.float64).log()
got = class_after(two_classes, prior)
assert got.shape == (1, 3, 2) and got.dtype == torch.float64, "(B, D + 1, C), of the type of what went in"
assert torch.allclose(got[0, 0].exp(), prior.exp(), rtol=1e-9, atol=1e-12), "nothing known: the prior"
wanted_p = torch.tensor([4 / 7, 3 / 7], dtype=torch.float64)  # 0.4 x 0.5 against 0.6 x 0.25
assert torch.allclose(got[0, 1:].exp(), wanted_p.expand(2, 2), rtol=1e-9, atol=1e-12), (
    "the first pixel speaks for class 0, the second for none"
)

# %% [markdown]
# ### 3 · Another law behind the levels (hard, 35 minutes)
#
# Section 5 put logistics behind the levels. Put a mixture of **Laplace** laws there. A Laplace law with
# centre $\mu$ and scale $s$ has the cumulative probability $\tfrac12 e^{(y-\mu)/s}$ for $y \le \mu$ and
# $1 - \tfrac12 e^{-(y - \mu)/s}$ for $y \ge \mu$. Level $k$ of $0, \dots, K-1$ gets
# $F(k + \tfrac12) - F(k - \tfrac12)$, the lowest level all below its upper edge, the highest all above its
# lower edge. Centres and scales are in levels here, not from $-1$ to $1$, and no scale is cut off. The
# logarithm must be right far out, thousands and millions of scales from the centre, for levels left of a
# centre, right of it and around it, for scales from $10^{-3}$ to $10^{6}$ levels, for logits thousands apart,
# and in float32, too. So must its gradient; in float32 it must be finite.


# %% exercise="laplace"
def laplace_levels(outputs, x, K):
    """log p of levels under a mixture of M discretised Laplace laws: outputs (B, 3 M, N), x (B, N) -> (B, N).

    outputs: M logits of the weights, then M centres, then M logarithms of scales.
    x: int64 from 0 to K - 1, K >= 2.
    """
    ### BEGIN SOLUTION
    logits, mu, log_s = outputs.chunk(3, dim=1)
    s, y = log_s.exp(), x[:, None]
    u, w = (y - mu + 0.5) / s, (y - mu - 0.5) / s  # upper and lower edge, in scales
    inner, log_half = (-torch.expm1(-1 / s)).log(), -math.log(2)
    across = (-(torch.expm1(-u.clamp(min=0)) + torch.expm1(w.clamp(max=0))) / 2).log()
    each = torch.where(u <= 0, log_half + u + inner, torch.where(w >= 0, log_half - w + inner, across))
    lowest = torch.where(u <= 0, log_half + u, torch.log1p(-(-u.clamp(min=0)).exp() / 2))
    highest = torch.where(w >= 0, log_half - w, torch.log1p(-w.clamp(max=0).exp() / 2))
    each = torch.where(y == 0, lowest, torch.where(y == K - 1, highest, each))
    return (each + logits.log_softmax(dim=1)).logsumexp(dim=1)
    ### END SOLUTION


# %% test="laplace" points=4
one_law = torch.tensor([[[0.3], [2.0], [math.log(2.0)]]], dtype=torch.float64)  # M = 1, centre 2, scale 2
five_levels = torch.arange(5)[None]
got = laplace_levels(one_law.expand(1, 3, 5), five_levels, 5)
assert got.shape == (1, 5) and got.dtype == torch.float64, "(B, N), of the type of the outputs"
edges = torch.tensor([0.5 * math.exp(-0.75), 0.5 * math.exp(-0.25)], dtype=torch.float64)  # F(0.5), F(1.5)
wanted_p = torch.stack([edges[0], edges[1] - edges[0], 1 - 2 * edges[1], edges[1] - edges[0], edges[0]])
assert torch.allclose(got[0].exp(), wanted_p, rtol=1e-9, atol=1e-12), (
    "symmetrical about the centre; sums to 1"
)
far_law = torch.tensor([[[0.0], [-5_000.0], [0.0]]], dtype=torch.float64)
got = laplace_levels(far_law, torch.tensor([[3]]), 256).item()
assert math.isclose(got, math.log(0.5) - 5_002.5 + math.log(1 - math.exp(-1)), rel_tol=1e-9), (
    "5,000 scales away"
)

# %% [markdown]
# ### 4 · Repair: a gated layer that reads in columns (medium, 30 minutes)
#
# Some pictures are better read column by column: the first column from top to bottom, then the second. The
# layer has two stacks again. The *side* stack $v$ sees whole columns, its own and those to the left, and in
# them up and down. The *own* stack $h$ sees its own column, from above down to its own row; in the **first**
# layer, from above to the row *before* its own. It listens to the side stack of the same layer (before the
# gate) **moved by a column**, through a $1\times1$ convolution. Both are gated, and $h$ is added to its
# input, but not in the first layer. The function below has **four** faults. Write the one that works, for all
# kernel sizes.
#
# ```python
# def broken_layer(v, h, W_side, W_own, W_link, first):
#     p, q = W_side.shape[2:]
#     a = F.conv2d(F.pad(v, (q - 1, 0, p - 1, 0)), W_side)
#     b = F.conv2d(F.pad(h, (0, 0, W_own.shape[2] - 1, 0)), W_own) + F.conv2d(a, W_link)
#     gated = lambda t: t[:, ::2].tanh() * t[:, 1::2].sigmoid()
#     return gated(a), gated(b) if first else h + gated(b)
# ```
#
# The gate is section 3's: the first half of the channels through tanh, the second through the sigmoid.
# Numbers may be large, and a gradient passes to all that goes in.


# %% exercise="repair"
def repaired_layer(v, h, W_side, W_own, W_link, first):
    """v' and h', (B, C, n, n) each, from v and h, (B, c, n, n); c = C unless it is the first layer.

    W_side: (2 C, c, p, q), p odd, its last column the own one.
    W_own: (2 C, c, k, 1), its last row the latest one that it may see.
    W_link: (2 C, 2 C, 1, 1). first: bool. There are no biases.
    """
    ### BEGIN SOLUTION
    (p, q), k = W_side.shape[2:], W_own.shape[2]
    a = F.conv2d(F.pad(v, (q - 1, 0, p // 2, p // 2)), W_side)
    b = F.conv2d(F.pad(h, (0, 0, k, -1) if first else (0, 0, k - 1, 0)), W_own)
    b = b + F.conv2d(F.pad(a, (1, -1)), W_link)
    out = gate(b)
    return gate(a), out if first else h + out
    ### END SOLUTION


# %% test="repair" points=4
# long: a small layer, and what moves what
g = torch.Generator().manual_seed(22)
normal = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)  # noqa: E731
weights_own = normal(4, 2, 3, 2), normal(4, 2, 2, 1), normal(4, 4, 1, 1)
v_own = normal(1, 2, 4, 4)


def moved_by(layer, place, first):
    """Which pixels of v' and of h' move with the input at a place."""
    other = v_own.clone()
    other[:, :, *place] += 1
    both = [layer(x, x, *weights_own, first) for x in (v_own, other)]
    return [(a != b).any(1)[0].nonzero().tolist() for a, b in zip(*both, strict=True)]


moved_v, moved_h = moved_by(repaired_layer, (2, 1), True)
assert moved_v == [[1, 1], [1, 2], [2, 1], [2, 2], [3, 1], [3, 2]], "its column and the next, up and down"
assert moved_h == [[1, 2], [1, 3], [2, 2], [2, 3], [3, 1], [3, 2], [3, 3]], (
    "below in its column, and to the right"
)
assert [2, 1] in moved_by(repaired_layer, (2, 1), False)[1], "not in the first layer: its own place, too"
_, only_h = repaired_layer(v_own, v_own, *weights_own[:2], 0 * weights_own[2], True)
assert torch.equal(only_h[:, :, 0], torch.zeros(1, 2, 4).double()), "in the first row nothing is above"
own_pixel = normal(4, 2, 1, 1)
only_v, _ = repaired_layer(v_own, v_own, own_pixel, *weights_own[1:], False)
gated = gate(F.conv2d(v_own, own_pixel))
assert torch.allclose(only_v, gated, rtol=1e-9, atol=1e-12), "with kernels of one pixel v' is its own, gated"

# %% [markdown]
# ### 5 · Build your own: a PixelCNN for colours (hard, 50 minutes)
#
# A pixel of a colour picture has $G$ numbers (red, green, blue: $G = 3$), and they are far from independent.
# PixelCNN draws them one after the other: pixels in raster order, and
# **within a pixel colour 0, then colour 1, and so on**. The law of colour $g$ at $(i, j)$ sees all colours of
# all pixels before, and the colours $0, \dots, g - 1$ of its own pixel. You write the family's core for it,
# in three functions.
#
# - **The mask** of a $k\times k$ convolution, $k$ odd. Channels are in groups, the first group belongs to
#   colour 0, and so on; `c_in` and `c_out` are channels *of a group*. Away from the centre it is section 2's.
#   At the centre a channel of colour $g$ sees those of colours below $g$ (kind "A"), and of its own, too
#   (kind "B").
# - **The nats**: `net(x)` gives logits (B, G, K, n, n) for x (B, G, n, n), of any size. One may be $-\infty$:
#   its level is ruled out, and never drawn.
# - **A sampler**: draws by uniform numbers, as in section 4: the level $k$ with $P(k - 1) \le u < P(k)$, $P$
#   the cumulated probabilities. The net is asked once for each of the $G n^2$ numbers. What it is shown at
#   places that are not drawn yet does not matter, but must be a level.
#
# The hidden tests compare with the rules, and train a small network of your masks with your nats on a law
# that is known: 256 pictures of 2 × 2 pixels in two colours. It must come within 0.05 nats of its entropy,
# and its probabilities must sum to 1.


# %% exercise="colours"
def colour_mask(kind, k, G, c_in, c_out):
    """The mask of a convolution's weights: (G c_out, G c_in, k, k) bool."""
    ### BEGIN SOLUTION
    place, centre = torch.arange(k * k).reshape(k, k), k * k // 2
    own, other = torch.arange(G).repeat_interleave(c_out), torch.arange(G).repeat_interleave(c_in)
    at_centre = other < own[:, None] if kind == "A" else other <= own[:, None]  # (G c_out, G c_in)
    return (place < centre) | (at_centre[:, :, None, None] & (place == centre))
    ### END SOLUTION


def colour_log_p(net, x):
    """log p(x) in nats: (B,), of the type of the logits, with a gradient."""
    ### BEGIN SOLUTION
    log_levels = net(x).log_softmax(dim=2)
    return log_levels.gather(2, x[:, :, None])[:, :, 0].flatten(1).sum(dim=1)
    ### END SOLUTION


def colour_draw(net, u):
    """Pictures (B, G, n, n) int64 by uniform numbers u (B, G, n, n)."""
    ### BEGIN SOLUTION
    x = torch.zeros(u.shape, dtype=torch.int64)
    for i in range(u.shape[2]):
        for j in range(u.shape[3]):
            for g in range(u.shape[1]):
                p = net(x)[:, g, :, i, j].softmax(dim=1)
                x[:, g, i, j] = (p.cumsum(dim=1)[:, :-1] <= u[:, g, i, j, None]).sum(dim=1)
    return x
    ### END SOLUTION


# %% test="colours" points=7
# long: the three functions on small cases
got = colour_mask("A", 3, 2, 1, 2)
assert got.shape == (4, 2, 3, 3) and got.dtype == torch.bool, "(out, in, k, k), True and False"
assert got[:, :, 0].all() and got[:, :, 1, 0].all(), "all colours of earlier pixels are seen"
assert not got[:, :, 2].any() and not got[:, :, 1, 2].any(), "nothing of later pixels"
assert got[:, :, 1, 1].tolist() == [[False, False]] * 2 + [[True, False]] * 2, "A: colour 1 sees colour 0"
assert colour_mask("B", 1, 2, 1, 1)[:, :, 0, 0].tolist() == [[True, False], [True, True]], "B: its own, too"


def echo(x):
    """Level 1 has 3/4; for colour 1 it is the level that colour 0 has at its pixel that has 3/4."""
    first = (
        torch.tensor([0.25, 0.75], dtype=torch.float64).log()[:, None, None].expand(len(x), 2, *x.shape[2:])
    )
    second = torch.where(F.one_hot(x[:, 0], 2).bool(), 0.75, 0.25).double().log().movedim(3, 1)
    return torch.stack([first, second], dim=1)


got = colour_log_p(echo, torch.tensor([[[[1, 0], [0, 0]], [[1, 1], [0, 0]]]]))
assert got.shape == (1,) and got.dtype == torch.float64, "one number for each picture"
assert math.isclose(got.item(), math.log(0.75**4 * 0.25**4), rel_tol=1e-9), "eight factors"
u_own = torch.tensor([[[[0.2, 0.3], [0.9, 0.1]], [[0.7, 0.8], [0.3, 0.2]]]], dtype=torch.float64)
got = colour_draw(echo, u_own)
assert got.dtype == torch.int64 and got.tolist() == [[[[0, 1], [1, 0]], [[0, 1], [1, 0]]]], (
    "0 where u is below P(0): 1/4 for colour 0; for colour 1 it is 3/4 after 0 and 1/4 after 1"
)

# %% [markdown]
# ## Further reading
#
# - A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu. *Pixel recurrent neural networks.* 2016,
#   arXiv:1601.06759. PixelRNN, masks A and B, PixelCNN.
# - A. van den Oord, N. Kalchbrenner, O. Vinyals, L. Espeholt, A. Graves, K. Kavukcuoglu. *Conditional image
#   generation with PixelCNN decoders.* 2016, arXiv:1606.05328. The blind spot, two stacks, gates, a class.
# - T. Salimans, A. Karpathy, X. Chen, D. P. Kingma. *PixelCNN++.* 2017, arXiv:1701.05517. The mixture of
#   logistics.
# - P. Ramachandran and others. *Fast generation for convolutional autoregressive models.* 2017,
#   arXiv:1704.06001. The cache.
# - X. Chen, N. Mishra, M. Rohaninejad, P. Abbeel. *PixelSNAIL: an improved autoregressive generative model.*
#   2017, arXiv:1712.09763.
# - A. van den Oord, O. Vinyals, K. Kavukcuoglu. *Neural discrete representation learning.* 2017,
#   arXiv:1711.00937. VQ-VAE, with a PixelCNN over its codes.
# - K. Tian, Y. Jiang, Z. Yuan, B. Peng, L. Wang. *Visual autoregressive modeling.* 2024, arXiv:2404.02905.
#   VAR.
# - P. Lippe. *UvA deep learning tutorials*, number 12: autoregressive image modeling.

# %% tags=["demo"]
selfcheck.run("04_pixelcnn")
