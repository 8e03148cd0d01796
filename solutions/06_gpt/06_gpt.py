# %% [markdown]
# # 06 · The transformer in its three shapes
#
# > **Every place looks at the others, takes a weighted mean of what it finds, and thinks. Who may look at
# > whom makes it a writer, a reader or a translator.**
#
# | | |
# |---|---|
# | You will build | bytes and byte pairs; attention, from one head by hand to the fused kernel; a GPT that writes the manual of Python; a masked encoder that fills gaps; an encoder–decoder that speaks Pig Latin; Muon beside AdamW |
# | You need to know | lesson 01 (nats, held-out data); the chain rule of probability, $p(a, b) = p(a)\,p(b \mid a)$; matrices; a training loop in PyTorch |
# | Time on two CPU cores | about five minutes to run, five hours to read and to solve |
# | On a GPU | larger networks, and a GPT on Tiny Shakespeare (`full`) |

# %%
import copy
import hashlib
import itertools
import math
import re
import time
import zlib
from collections import Counter
from functools import cache

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

# %%
device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
torch.set_float32_matmul_precision("high")
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait

# %%
S = genmap.settings(
    # smoke, quick, full
    merges=(40, 256, 768),
    width=(16, 96, 256),
    layers=(2, 3, 6),
    heads=(2, 4, 8),
    context=(64, 64, 256),
    batch=(4, 16, 32),
    dropout=(0.0, 0.0, 0.2),
    byte_steps=(12, 800, 3_000),
    pair_steps=(12, 550, 3_000),
    adam_steps=(6, 220, 1_000),
    short_steps=(6, 220, 500),
    fill_steps=(6, 600, 1_000),
    pig_width=(16, 64, 128),
    pig_steps=(6, 450, 2_000),
    pig_batch=(8, 64, 256),
    muon=(1.5e-2, 1.5e-2, 5e-3),
    adam=(1e-2, 1e-2, 3e-3),
    adamw=(2e-3, 2e-3, 1e-3),
    newton=(3, 3, 5),
    drift=(8, 64, 256),
    plays_steps=(0, 0, 1_000),
    plays_width=(16, 96, 384),
)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("autoregressive")
plt.show()

# %% [markdown]
# ## The compromise
#
# Bucket 1: the density is explicit and exact. A text $x_1, \dots, x_N$ gets its probability by the chain
# rule, one factor for each place:
#
# $$p(x_1, \dots, x_N) = \prod_{i=1}^{N} p(x_i \mid x_1, \dots, x_{i-1}).$$
#
# What is given up is speed at sampling: a text is written one token after the other, and each waits for the
# one before. *Training* waits for nothing: the true text is there, so all $N$ factors are computed at once.
# That is the trick of the transformer. A recurrent network reads step by step even while it learns.
#
# | question | answer |
# |---|---|
# | What is modelled? | a sequence of tokens: bytes, or byte pairs |
# | Is the density explicit? | exactly, for the decoder (GPT) and the encoder–decoder; *not* for the masked encoder, section 7 |
# | Is sampling one-shot or iterative? | serial: one run of the network for each token |
# | What conditions it? | a prefix; or another sequence, read by an encoder and looked up by cross-attention |
# | How is it evaluated, and how does that fail? | bits per byte on held-out text. The perplexity *per token* does not compare across tokenizers; and any likelihood is measured on true prefixes, while a sample grows on its own (section 9) |
#
# Bahdanau, Cho and Bengio (2014) let a recurrent translator look back at the source by attention. Vaswani and
# others (2017) kept only the attention, and called it the Transformer: an encoder and a decoder. Radford and
# others (2018) kept only the decoder: GPT. Devlin and others (2018) kept only the encoder: BERT. One block,
# three shapes. This lesson builds all three.
#
# ## 1 · Bytes
#
# Text in a computer is bytes, whole numbers from 0 to 255. They are the smallest vocabulary that can write
# everything: any language, any emoji, any program. Our text is the manual that comes inside Python. Its
# paragraphs are in training, validation or test by a hash of their text.

# %%
prose = data.prose()  # it differs between versions of Python
size = {name: len(getattr(prose, name).encode()) for name in ("train", "validation", "test")}
print(size, "bytes")
print(prose.test[:300])


def to_bytes(text):
    """The text's UTF-8 bytes as a tensor (N,) of whole numbers below 256, on the device."""
    return torch.tensor(list(text.encode()), device=device)


# %% [markdown]
# **How good is a model of text?** It gives a held-out text a probability. Take its logarithm to base 2,
# change the sign, and divide by the number of *bytes*:
#
# $$\text{bits per byte} = -\frac{1}{B} \sum_{i=1}^{N} \log_2 p(x_i \mid x_{<i}).$$
#
# $B$ is the number of bytes and $N$ the number of tokens, and $x_{<i}$ is short for all tokens before the
# $i$-th. It is also the size of the file after an ideal compressor with this model in it, in bits for each
# byte of the file. $B$ does not depend on how the text is cut into tokens, so models with different tokens
# compare. Perplexity per token, $\exp$ of the mean nats per *token*, does not: longer tokens are harder to
# guess, and there are fewer.
#
# Three numbers to beat: a byte without any context, a byte given the one before (tables of counts), and zlib,
# the compressor behind zip files. The tables count on the training text; zlib has no training and learns from
# the test text as it reads.


# %%
def table_bits(train, test, order):
    """Bits per byte of counts, plus 0.1 each: p(byte) for order 0, p(byte | byte before) for order 1."""
    rows = 256 if order else 1
    counts = torch.full((rows, 256), 0.1, device=train.device)
    flat = train[1:] + 256 * train[:-1] * order
    counts.view(-1).index_add_(0, flat, torch.ones(len(flat), device=train.device))
    log_p = (counts / counts.sum(1, keepdim=True)).log2()
    return -log_p[test[:-1] * order, test[1:]].mean().item()


# %% tags=["demo"]
train_bytes, test_bytes = to_bytes(prose.train), to_bytes(prose.test)
simple = {
    "no context": table_bits(train_bytes, test_bytes, 0),
    "one byte of context": table_bits(train_bytes, test_bytes, 1),
    "zlib": 8 * len(zlib.compress(prose.test.encode(), 9)) / size["test"],
}
print({name: f"{bits:.2f} bits per byte" for name, bits in simple.items()})

# %% [markdown]
# ## 2 · Byte pairs
#
# Bytes make long sequences, and a network pays for every place. *Byte-pair encoding* (Gage 1994; for
# translation, Sennrich, Haddow and Birch 2015) makes them shorter: find the pair of neighbours that occurs
# most often, give it a new number, replace it everywhere, and begin again. Each round is a *merge*; $m$
# merges give a vocabulary of $256 + m$. As in GPT-2, the text is first cut into words with the space before
# them, and no merge crosses a cut. Of pairs that occur equally often we take the one with the smallest
# numbers.


# %%
PIECE = re.compile(r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def merge(ids, pair, new):
    """Replace each occurrence of the pair, from the left, by the token `new`: a tuple -> a tuple."""
    out, i = [], 0
    while i < len(ids):
        found = ids[i : i + 2] == pair
        out.append(new if found else ids[i])
        i += 2 if found else 1
    return tuple(out)


print(PIECE.findall("The 3 dogs  don't bark."))
print(merge((1, 1, 1, 2), (1, 1), 9), "- the first pair wins where two overlap")

# %% [markdown]
# A word that occurs a thousand times need be cut only once. So we keep the different words with their counts,
# and how often each pair occurs, and of each pair which words hold it: a merge touches only those.


# %%
def count(word, times, counts, where):
    """Add `times` to the counts of the word's pairs, and note that the word holds them."""
    for pair in itertools.pairwise(word):
        counts[pair] += times
        where.setdefault(pair, set()).add(word)


def learn_merges(text, n):
    """The n merges of byte-pair encoding, in order: a list of pairs (Sennrich et al. 2015, algorithm 1)."""
    words = Counter(tuple(piece.encode()) for piece in PIECE.findall(text))
    counts, where, merges = Counter(), {}, []
    for word, times in words.items():
        count(word, times, counts, where)
    while len(merges) < n and +counts:
        pair = min(counts, key=lambda p: (-counts[p], p))  # the most frequent; of equals, the smallest
        merges.append(pair)
        for word in where.pop(pair) & words.keys():
            times = words.pop(word)
            count(word, -times, counts, where)
            merged = merge(word, pair, 255 + len(merges))
            words[merged] += times
            count(merged, times, counts, where)
    return merges


# %%
merges = learn_merges(prose.train, S.merges)
RANK = {pair: i for i, pair in enumerate(merges)}  # the earlier, the more urgent
spelled = [bytes([i]) for i in range(256)]  # the bytes of each token
for a, b in merges:
    spelled.append(spelled[a] + spelled[b])
print([token.decode() for token in spelled[256:280]])
print([token.decode(errors="replace") for token in spelled[-12:]])


# %% [markdown]
# To encode a new text, cut it into words, and in each word carry out the merges in the order in which they
# were learned: always the pair with the smallest rank next.


# %%
@cache
def encode_piece(piece):
    """The tokens of one word, as a tuple."""
    ids = tuple(piece.encode())
    while len(ids) > 1:
        pair = min(itertools.pairwise(ids), key=lambda p: RANK.get(p, math.inf))
        if pair not in RANK:
            break
        ids = merge(ids, pair, 256 + RANK[pair])
    return ids


def to_pairs(text):
    """The text's tokens as a tensor (N,), on the device."""
    return torch.tensor([i for piece in PIECE.findall(text) for i in encode_piece(piece)], device=device)


def to_text(ids):
    """The text of tokens (N,) or a list of them; bytes that are no UTF-8 become the sign of replacement."""
    return b"".join(spelled[i] for i in ids).decode(errors="replace")


# %% tags=["demo"]
train_pairs, test_pairs = to_pairs(prose.train), to_pairs(prose.test)
print("|".join(spelled[i].decode(errors="replace") for i in to_pairs(prose.test[:230])))
print(f"\n{size['test'] / len(test_pairs):.2f} bytes per token; and back:", to_text(test_pairs) == prose.test)
print(
    to_text(to_pairs("Smörgåsbord 🥨")), to_pairs("🥨").tolist(), "- what was never seen is spelled in bytes"
)

# %% [markdown]
# ## 3 · Attention
#
# A place $i$ in the sequence holds a vector. It wants something of the other places. So it asks a *query*
# $q_i$; each place $j$ offers a *key* $k_j$, what it has to do with, and a *value* $v_j$, what it has to say.
# The match is the scalar product. A softmax turns the matches into weights that add up to 1, and what comes
# back is the weighted mean of the values:
#
# $$\text{Attention}(Q, K, V) = A V, \qquad A = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt d}\right).$$
#
# $Q$, $K$ and $V$ have a row for each place, $d$ is the width of a key, and the softmax runs along each row.
# A *mask* says who may look at whom: where it forbids, the match becomes $-\infty$ and the weight 0.


# %%
def attention_weights(q, k, mask=None):
    """A of queries (..., T, d) and keys (..., S, d): (..., T, S), rows add up to 1.

    mask: True where allowed.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1)


def causal_mask(T):
    """True where place i may look at place j: at itself and at what came before. (T, T)"""
    return torch.ones(T, T, dtype=torch.bool).tril()


# %% [markdown]
# A case whose truth is known. Let a head *copy the letter before*. The query of place $i$ is $c$ times the
# unit vector of place $i - 1$, the key of place $j$ is the unit vector of place $j$, and the value is the
# unit vector of the letter at $j$. With $T$ places, $d = T$, the match with the place before is $c / \sqrt T$
# and with all others 0. So in a row without a mask the weight on the right place is
#
# $$A_{i, i-1} = \frac{e^{c/\sqrt T}}{e^{c/\sqrt T} + T - 1} .$$

# %%
word = "abracadabra"
T = len(word)
letters = F.one_hot(torch.tensor([ord(c) - ord("a") for c in word]), 26).float()  # (T, 26)
place = torch.eye(T)
before = place.roll(-1, dims=1)  # row i: the unit vector of i - 1; row 0, which has none, that of the last
for c in (1.0, 10.0, 40.0):
    A = attention_weights(c * before, place)
    formula = math.exp(c / math.sqrt(T)) / (math.exp(c / math.sqrt(T)) + T - 1)
    copied = "".join(chr(ord("a") + i) for i in (A @ letters).argmax(dim=1)[1:])
    print(f"c {c:4.0f}: weight {A[1, 0]:.4f}, formula {formula:.4f}; read off: {copied}")

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=3.0)
for ax, (c, mask) in zip(axes, ((1.0, None), (10.0, None), (10.0, causal_mask(T))), strict=True):
    ax.imshow(attention_weights(c * before, place, mask), vmin=0, vmax=1)
    ax.set(title=f"$c = {c:g}$" + (", causal" if mask is not None else ""), xlabel="looks at")
    ax.set_xticks(range(T), word)
    ax.set_yticks(range(T), word)
    ax.grid(False)
axes[0].set_ylabel("place")
plt.show()

# %% [markdown]
# With a small $c$ the head takes a mean of everything, with a large one it picks. A lookup that can be sharp
# or soft, and has a gradient everywhere, is all that attention is. Right: the causal mask. The upper triangle
# is gone, and every row shares its weight among what is left; the first place can only look at itself.
#
# **Why divide by $\sqrt d$?** Let the numbers in $q$ and $k$ be independent, with mean 0 and variance 1. Then
# $q \cdot k$ is a sum of $d$ products and has variance $d$. Without the division a wide head starts with
# matches so far apart that the softmax gives nearly everything to one place, and its gradient is nearly 0.
# The division makes the variance 1 for every $d$.

# %%
g = torch.Generator().manual_seed(0)
for d in (4, 64, 1024):
    q, k = torch.randn(2, 1_000, 32, d, generator=g)
    largest = [(scale * q @ k.transpose(1, 2)).softmax(-1).amax(-1).mean().item() for scale in (1, d**-0.5)]
    print(
        f"d {d:4}: the largest of 32 weights is {largest[0]:.2f} on average; after division {largest[1]:.2f}"
    )

# %% [markdown]
# **Many heads.** One head gives one weighted mean. So the width is split among $H$ heads, each with queries,
# keys and values of its own, made by learned matrices; their results are put side by side and mixed once
# more. And no matrix of weights need ever be stored: `scaled_dot_product_attention` is the same formula as
# *one* kernel that works through the keys in tiles (Dao and others 2022). On a GPU that saves most of the
# memory traffic.
#
# `Attention` below is for all three shapes. In *self*-attention queries, keys and values come from the same
# sequence $x$. In *cross*-attention keys and values come from a second one, the `memory`.


# %%
class Attention(nn.Module):
    """Multi-head attention: x (B, T, C) looks at itself, or at memory (B, S, C) -> (B, T, C)."""

    def __init__(self, width, heads, dropout=0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def qkv(self, x, memory=None):
        """Queries (B, H, T, d), keys and values (B, H, S, d)."""
        k, v = self.kv(x if memory is None else memory).chunk(2, dim=2)
        return [z.unflatten(2, (self.heads, -1)).transpose(1, 2) for z in (self.q(x), k, v)]

    def forward(self, x, memory=None, mask=None, causal=False):
        q, k, v = self.qkv(x, memory)
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, dropout_p=p)
        return self.out(y.transpose(1, 2).flatten(2))  # (B, H, T, d) -> (B, T, C)


# %%
torch.manual_seed(1)
layer, x = Attention(24, 3), torch.randn(2, 7, 24)
q, k, v = layer.qkv(x)
by_hand = attention_weights(q, k, causal_mask(7)) @ v
by_hand = layer.out(torch.cat(list(by_hand.unbind(1)), dim=2))
print(f"fused against by hand, three heads: {(layer(x, causal=True) - by_hand).abs().max():.0e}")

# %% [markdown]
# ## 4 · One block, and a GPT
#
# A block has two parts, and each *adds* to the vector that runs through: attention, which moves information
# between places, and a small network (MLP), which works at each place alone.
#
# $$x \leftarrow x + \text{Attention}(\text{norm}(x)), \qquad x \leftarrow x + \text{MLP}(\text{norm}(x)).$$
#
# The norm (LayerNorm) gives each vector mean 0 and variance 1 before it is read, and the sum itself is left
# alone, so that gradients pass straight through. In the encoder–decoder there is a third part between the
# two: cross-attention.


# %%
class Block(nn.Module):
    """Attention and MLP, each behind a norm and added (GPT-2's order);
    with `cross`, cross-attention between.
    """

    def __init__(self, width, heads, dropout=0.0, cross=False):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, dropout)
        self.norm_cross = nn.LayerNorm(width) if cross else None
        self.cross = Attention(width, heads, dropout) if cross else None
        self.norm2, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, x, causal=False, mask=None, memory=None, memory_mask=None):
        x = x + self.drop(self.attention(self.norm1(x), mask=mask, causal=causal))
        if self.cross is not None:
            x = x + self.drop(self.cross(self.norm_cross(x), memory, mask=memory_mask))
        return x + self.drop(self.mlp(self.norm2(x)))


# %% [markdown]
# Attention is a mean over a *set*: it does not know which place is which. So each place gets a learned vector
# of its position, added to that of its token. At the end a norm, and the scalar product with every token's
# vector: the same table reads and writes (*tied*). The result is a *logit* for each token of the vocabulary;
# a softmax makes it a probability.
#
# This class is GPT-2 (Radford and others 2019), layer for layer; a test of the course copies its weights into
# the `transformers` library's and compares the logits. The two switches make the other shapes: without
# `causal` it is the encoder of section 7; without `positions` a decoder of section 9.


# %%
def initialise(model):
    """GPT-2's start: weights N(0, 0.02^2), biases 0; what is added to the stream is smaller, by the depth."""
    last = {"out", "mlp.2"}
    depth = 2 * sum(isinstance(m, Block) for m in model.modules())
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear | nn.Embedding):
            nn.init.normal_(m.weight, std=0.02 / math.sqrt(depth) if name.endswith(tuple(last)) else 0.02)
        if isinstance(m, nn.Linear):
            nn.init.zeros_(m.bias)
    return model


# %%
class Transformer(nn.Module):
    """Tokens (B, T) -> logits (B, T, V), T at most `context`. causal: a decoder (GPT); else an encoder."""

    def __init__(self, vocabulary, context, width, layers, heads, dropout=0.0, causal=True, positions=True):
        super().__init__()
        self.causal, self.drop = causal, nn.Dropout(dropout)
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width) if positions else None
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        initialise(self)

    def embed(self, tokens):
        x = self.token(tokens)
        return self.drop(x if self.position is None else x + self.position.weight[: tokens.shape[1]])

    def forward(self, tokens):
        x = self.embed(tokens)  # (B, T) -> (B, T, C)
        for block in self.blocks:
            x = block(x, causal=self.causal)
        return F.linear(self.norm(x), self.token.weight)  # -> (B, T, V)


# %% [markdown]
# Does the mask hold, through all layers? Ask the gradient: of the logits at place $i$ (one random mix of the
# vector they are made of will do), with respect to the vector at place $j$. It must be exactly 0 for every
# $j > i$, and it should not be 0 for any other.


# %%
def influence(model, tokens):
    """How much the logits at place i feel the vector at place j, |gradient| summed:
    tokens (1, T) -> (T, T).
    """
    x = model.embed(tokens).detach().requires_grad_()
    h = x
    for block in model.blocks:
        h = block(h, causal=model.causal)
    weight = torch.randn(h.shape[-1], generator=torch.Generator().manual_seed(0)).to(h)
    rows = [torch.autograd.grad(out, x, retain_graph=True)[0][0] for out in model.norm(h)[0] @ weight]
    return torch.stack([row.abs().sum(1) for row in rows])  # (T, T)


# %%
torch.manual_seed(2)
sizes = (S.width, S.layers, S.heads, S.dropout)
untrained = {c: Transformer(256, 24, *sizes, causal=c).to(device).eval() for c in (True, False)}
seen = {c: influence(model, to_bytes(prose.test[:24])[None]).cpu() for c, model in untrained.items()}
print("largest influence of a later place on the decoder:", seen[True].triu(1).max().item())
print("smallest influence of an earlier place or its own:", f"{seen[True][causal_mask(24)].min():.1e}")

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.4)
for ax, c in zip(axes, (True, False), strict=True):
    ax.imshow((seen[c] + 1e-12).log10(), vmin=-3, vmax=seen[True].log10().max())
    ax.set(title="Decoder: causal" if c else "Encoder: no mask", xlabel="vector at place $j$")
    ax.grid(False)
axes[0].set_ylabel("logits at place $i$")
plt.show()

# %% [markdown]
# The darker, the more influence (a logarithm of the gradient, white is none). The decoder's upper triangle is
# empty: the logits at place $i$ know $x_1, \dots, x_i$ and nothing later, so they may be trained to say
# $x_{i+1}$. The encoder's square is full.

# %% [markdown]
# ## 5 · Train: Muon beside AdamW
#
# One window of $T + 1$ tokens makes $T$ exercises: from each place, guess the next token. The loss is their
# mean cross-entropy, which is minus the log-likelihood of the chain rule. Dividing nats by $\log 2$ gives
# bits.
#
# AdamW divides the gradient of every single weight by its own recent size. Muon (Jordan and others 2024)
# treats a weight *matrix* as one thing. Let $G$ be its gradient, $M \leftarrow \mu M + G$ the running sum
# ($\mu = 0.95$; PyTorch then takes $G + \mu M$ for $M$), and $\eta$ the learning rate. Then
#
# $$M = U \Sigma V^\top \quad\Rightarrow\quad W \leftarrow W - \eta\, s\, U V^\top .$$
#
# $U \Sigma V^\top$ is the singular value decomposition. A gradient's $\Sigma$ is dominated by a few large
# values: most directions hardly move. Muon sets all of them to 1, so that every direction moves equally far.
# ($s$ is a fixed factor for the matrix's shape; with $s = 0.2\sqrt{\max(\text{rows}, \text{columns})}$ an
# update is about as large as AdamW's, so that the two share a scale of learning rates, Liu and others 2025.)
# The decomposition itself is never computed. An odd polynomial of a matrix acts on its singular values alone,
# and a few rounds of $x \mapsto ax + bx^3 + cx^5$ drive every $x$ between 0 and 1 to the neighbourhood of 1,
# the larger ones first.


# %%
def newton_schulz(M, rounds, a=3.4445, b=-4.7750, c=2.0315):
    """About U V^T of M = U S V^T: (m, n) -> (m, n) (Jordan et al. 2024; the same constants)."""
    X = M / M.norm().clamp(min=1e-7)
    X = X.T if len(M) > M.shape[1] else X
    for _ in range(rounds):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if len(M) > M.shape[1] else X


def next_token_loss(model, tokens):
    """Mean bits of tokens[:, 1:] given what stands before each: (B, T + 1) -> a number."""
    logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten()) / math.log(2)


def windows(tokens, n, generator, length):
    """n pieces of `length` tokens from random places of a text (N,): (n, length)."""
    start = torch.randint(len(tokens) - length + 1, (n,), generator=generator, device=tokens.device)
    return tokens[start[:, None] + torch.arange(length, device=tokens.device)]


# %% tags=["demo"]
torch.manual_seed(3)
model = Transformer(256, S.context, *sizes).to(device)
g = torch.Generator(device).manual_seed(3)
next_token_loss(model, windows(train_bytes, S.batch, g, S.context + 1)).backward()
G = model.blocks[1].mlp[0].weight.grad.float()
fig, ax = plot.figure(height=2.9)
for rounds, colour in zip(
    (0, 3, 5), (plot.COLOURS.grey, plot.COLOURS.orange, plot.COLOURS.blue), strict=True
):
    values = torch.linalg.svdvals(newton_schulz(G, rounds)).cpu()
    label = "the gradient, scaled to norm 1" if rounds == 0 else f"after {rounds} rounds"
    ax.plot(range(1, len(values) + 1), values, color=colour, label=label)
ax.set(yscale="log", ylim=(1e-5, 3), xlabel="number of the singular value", ylabel="singular value")
ax.set_title("What the polynomial does to the gradient of one matrix")
ax.legend(loc="lower left")
plt.show()

# %% [markdown]
# After five rounds all but the last are roughly 1 (a half at least); after three, only the larger ones are.
# Three are cheaper and were good enough here, so `quick` takes three. (The last value is 0 from the start:
# what an untrained LayerNorm gives has mean 0, so that one direction of the matrix is not used yet.) Muon is
# for the matrices inside the blocks. Embeddings are tables of which a batch touches a few rows, and vectors
# have no singular values: these stay with AdamW.
#
# The learning rate rises for 20 steps, holds until 30 % of the run, then falls to 0 in a straight line.


# %%
def make_optimizers(model, kind):
    """Kind "muon": Muon for the matrices of the blocks, AdamW for the rest; "adamw": AdamW for everything."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in tables]
    rest = [p for p in model.parameters() if p.ndim != 2 or id(p) in tables]
    how = {"lr": S.adam, "betas": (0.9, 0.95), "weight_decay": 0.0}
    if kind == "muon" and hasattr(torch.optim, "Muon"):
        muon = {"lr": S.muon, "weight_decay": 0.01, "ns_steps": S.newton, "adjust_lr_fn": "match_rms_adamw"}
        return [torch.optim.Muon(matrices, **muon), torch.optim.AdamW(rest, **how)]
    how = how | {"lr": S.adamw}
    return [torch.optim.AdamW(matrices, **how | {"weight_decay": 0.1}), torch.optim.AdamW(rest, **how)]


# %%
def schedule(n, steps):
    """The factor of the learning rate at step n, from 0."""
    return min((n + 1) / 20, 1, (steps - n) / (0.7 * steps))


def update(model, optimizers, loss_of):
    """One step down the loss that `loss_of(model)` draws; the loss, on its device."""
    with genmap.autocast(device):
        loss = loss_of(model)
    for optimizer in optimizers:
        optimizer.zero_grad()
    scaler.scale(loss).backward()
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    return loss.detach()


# %%
def fit(model, loss_of, steps, title, kind="muon", stop=None, watch=None):
    """Train by a schedule of `steps`, up to step `stop`:
    the losses (stop,) and the seconds, watching left out.
    """
    optimizers, losses, watching = make_optimizers(model.train(), kind), [], 0.0
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    curve, began = progress.Curve(title, "step", "bits"), time.perf_counter()
    for n in progress.track(range(stop or steps), title=title):
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * schedule(n, steps)
        losses.append(update(model, optimizers, loss_of))
        curve.add(n + 1, losses[-1])
        if watch is not None:
            watching -= time.perf_counter()
            watch(n + 1)
            watching += time.perf_counter()
    curve.close()
    return model.eval() and torch.stack(losses).cpu(), time.perf_counter() - began - watching


def text_loss(tokens, seed=0):
    """A function of a model: its loss on a fresh batch of the text, the batches fixed by the seed."""
    g = torch.Generator(device).manual_seed(seed)
    return lambda model: next_token_loss(model, windows(tokens, S.batch, g, S.context + 1))


# %% [markdown]
# To measure, cut the held-out text into windows that do not overlap and score every token once. A token at
# the start of a window has little to go by, so the figure is a bit pessimistic; exercise 4 does it better.
#
# To sample: take the logits of the last place, draw a token, append it, and begin again. A learned table of
# positions ends at `context`, so only the last so many tokens are looked at. (Every step computes everything
# anew. Lesson 07 keeps keys and values, and makes this fast.)


# %%
@torch.no_grad()
def bits_per_byte(model, tokens, n_bytes):
    """Bits per byte of a text of so many bytes, in windows of the model's context;
    its end may be left out.
    """
    T = model.position.num_embeddings
    n = (len(tokens) - 1) // T
    pieces = torch.cat([tokens[: n * T].view(n, T), tokens[T : n * T + 1 : T, None]], dim=1)  # (n, T + 1)
    bits = sum(len(part) * next_token_loss(model, part) for part in pieces.split(64)) / n  # per token
    return bits.item() * len(tokens) / n_bytes


@torch.no_grad()
def write(model, tokens, n, generator, context=None, choose=lambda logits: logits.softmax(-1)):
    """Append n tokens to (B, T), drawn from `choose` of the last place's logits: (B, T + n)."""
    context = context or model.position.num_embeddings
    for _ in range(n):
        p = choose(model(tokens[:, -context:])[:, -1].float())  # (B, V)
        tokens = torch.cat([tokens, torch.multinomial(p, 1, generator=generator)], dim=1)
    return tokens


# %% tags=["demo"]
torch.manual_seed(4)
byte_gpt = Transformer(256, S.context, *sizes).to(device)
adam_gpt = copy.deepcopy(byte_gpt)
prompt, growth = 'The "while" statement is used to', {}


def watcher(model, encode, growth, steps):
    """At a few moments of a run: bits per byte on validation text,
    and how the model goes on from the prompt.
    """
    text = prose.validation[:8_000]
    moments = {max(1, steps // k) for k in (20, 5, 2, 1)}

    def watch(n):
        if n in moments:
            g = torch.Generator(device).manual_seed(n)
            written = write(model.eval(), encode(prompt)[None], 64, g)[0].tolist()
            growth[n] = bits_per_byte(model, encode(text), len(text.encode())), to_text(written)
            model.train()

    return watch


watch = watcher(byte_gpt, to_bytes, growth, S.byte_steps)
byte_losses, byte_seconds = fit(
    byte_gpt, text_loss(train_bytes), S.byte_steps, "GPT, bytes, Muon", watch=watch
)
for n, (bits, text) in growth.items():
    print(f"step {n:4}, {bits:.2f} bits/byte: {text!r}")

# %% tags=["demo"]
adam_losses, adam_seconds = fit(
    adam_gpt, text_loss(train_bytes), S.byte_steps, "GPT, bytes, AdamW", "adamw", stop=S.adam_steps
)


def smooth(losses, n=20):
    """The mean of each n neighbours: (N,) -> (N - n + 1,)."""
    n = min(n, len(losses))
    return losses.unfold(0, n, 1).mean(1)


muon_step, adam_step = (
    t / len(x) for t, x in ((byte_seconds, byte_losses), (adam_seconds, adam_losses))
)  # seconds
end = smooth(adam_losses)[-1].item()
same = int((smooth(byte_losses) < end).int().argmax())  # the first time that Muon is as good
print(f"AdamW after {len(adam_losses)} steps: {end:.2f} bits; Muon was there after {same + 20} steps")
print(f"a step of Muon takes {muon_step / adam_step:.2f} times as long as one of AdamW")

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.0)
for ax, unit in zip(axes, ("step", "second"), strict=True):
    for name, losses, each in (("Muon", byte_losses, muon_step), ("AdamW", adam_losses, adam_step)):
        x = torch.arange(len(smooth(losses))) + 20
        ax.plot(x * (each if unit == "second" else 1), smooth(losses), label=name)
    ax.set(xlabel=f"{unit}s", title=f"By the {unit}")
axes[0].set_ylabel("bits per byte, training")
axes[0].legend()
plt.show()

# %% [markdown]
# Same weights at the start, same batches, same schedule, and for AdamW the best of four learning rates that
# were tried. Muon needs far fewer steps. Each costs more, but less than what the fewer steps save, so it wins
# by the clock, too. Both curves have a shoulder a little above the bits of section 1 for one byte of context:
# there the network knows which byte follows which, and has yet to learn to look further back.
#
# Now the same network with byte pairs. A window of the same length covers more text.

# %% tags=["demo"]
torch.manual_seed(5)
pair_gpt, pair_growth = Transformer(len(spelled), S.context, *sizes).to(device), {}
watch = watcher(pair_gpt, to_pairs, pair_growth, S.pair_steps)
pair_losses, pair_seconds = fit(
    pair_gpt, text_loss(train_pairs), S.pair_steps, "GPT, byte pairs", watch=watch
)
for n, (bits, text) in pair_growth.items():
    print(f"step {n:4}, {bits:.2f} bits/byte: {text!r}")

# %% tags=["demo"]
scores = {
    "GPT, bytes": bits_per_byte(byte_gpt, test_bytes, size["test"]),
    "GPT, byte pairs": bits_per_byte(pair_gpt, test_pairs, size["test"]),
}
for (name, bits), n in zip(scores.items(), (len(test_bytes), len(test_pairs)), strict=True):
    per_token = bits * size["test"] / n
    print(
        f"{name:15}: {bits:.3f} bits per byte; {per_token:.2f} bits per token, perplexity {2**per_token:.1f}"
    )
fig, ax = plot.figure(height=2.6)
names, values = zip(*(simple | scores).items(), strict=True)
bars = ax.barh(names, values, color=[plot.COLOURS.grey] * 3 + [plot.COLOURS.blue] * 2)
ax.bar_label(bars, fmt="%.2f", padding=4)
ax.set(title="Bits per byte on the test text", xlabel="bits per byte", xlim=(0, 1.1 * max(values)))
ax.invert_yaxis()
plt.show()

# %% [markdown]
# Per token the model of byte pairs looks far worse; per byte it is better. Only the second comparison means
# anything: both figures there are the size of the same file.
#
# ### Look inside: the heat map
#
# Which places does a trained head look at? `heat` walks through the blocks and keeps the weights.


# %%
@torch.no_grad()
def heat(model, tokens):
    """The attention weights of all blocks and heads: tokens (1, T) -> (L, H, T, T)."""
    x, found = model.embed(tokens), []
    for block in model.blocks:
        q, k, _ = block.attention.qkv(block.norm1(x))
        mask = causal_mask(tokens.shape[1]).to(x.device) if model.causal else None
        found.append(attention_weights(q, k, mask)[0])
        x = block(x, causal=model.causal)
    return torch.stack(found)


# %% tags=["demo"]
sentence = "if the list is empty, the list"
weights = heat(byte_gpt, to_bytes(sentence)[None]).cpu()
previous = weights.diagonal(-1, 2, 3).mean(-1)  # (L, H): how much each head looks one place back
first, best = divmod(int(previous.argmax()), S.heads)
print(f"block {first + 1}, head {best + 1} gives {previous.max():.0%} of its weight to the byte before")
fig, axes = plot.figure(1, min(3, S.layers), height=3.3)
for n, ax in enumerate(axes[:3]):
    h = best if n == first else int(weights[n].diagonal(-1, 1, 2).mean(-1).argmin())
    ax.imshow(weights[n, h], vmin=0, vmax=0.6)
    ax.set_xticks(range(len(sentence)), sentence, fontsize=7)
    ax.set_yticks(range(len(sentence)), sentence, fontsize=7)
    ax.set_title(f"Block {n + 1}, head {h + 1}", fontsize=11)
    ax.grid(False)
plt.show()

# %% [markdown]
# Each row is a place, its dark cells are what it looks at. In nearly every trained decoder some head has
# learned what we built by hand in section 3: *copy the one before*. Others may look back to the start of the
# word, or to where the same letters stood earlier.
#
# ## 6 · From logits to text: temperature, top-k, top-p
#
# A distribution over tokens has a long tail. Each of its members is improbable, all together are not, and one
# bad draw spoils what comes after. Three knobs:
#
# - **temperature** $\tau$: divide the logits by $\tau$. Below 1 the likely gets likelier; towards 0 only the
#   likeliest is left (*greedy*).
# - **top-k**: keep the $k$ likeliest tokens, set the others to 0, and rescale to a sum of 1.
# - **top-p**, or *nucleus* (Holtzman and others 2019): keep the smallest set of likeliest tokens whose mass
#   reaches $p$. The set is small where the model is sure, and large where it is not.
#
# They are applied in this order.


# %%
def next_probabilities(logits, temperature=1.0, top_k=None, top_p=1.0):
    """What is drawn from: logits (..., V) -> probabilities (..., V). temperature 0: all on the likeliest."""
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    p, order = (logits / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        p = torch.where(torch.arange(p.shape[-1], device=p.device) < top_k, p, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = torch.where(p.cumsum(-1) - p < top_p, p, 0)  # kept while the mass before it is below p
    return torch.zeros_like(p).scatter(-1, order, p / p.sum(-1, keepdim=True))


# %%
toy = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
for how in ({}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.7}, {"temperature": 0.5, "top_p": 0.7}):
    print(f"{how!s:38}", [round(p, 3) for p in next_probabilities(toy, **how).tolist()])


# %% [markdown]
# ### Play: what is left to draw from?
#
# *Question: at which places does top-p cut hard, and when does a low temperature make it pointless?* The bars
# are the model's probabilities after the temperature; the blue ones survive the cut. Under them is one
# continuation.


# %%
@torch.no_grad()
def play(text, temperature, top_p):
    """The distribution of the next token after a text, before and after the cut, and one continuation."""
    tokens = to_pairs(text)[None]
    logits = pair_gpt(tokens[:, -S.context :])[0, -1].cpu()
    before, after = (next_probabilities(logits, temperature, top_p=p) for p in (1.0, top_p))
    top = before.argsort(descending=True)[:26].tolist()
    _, ax = plot.figure(height=2.5)
    colours = [plot.COLOURS.blue if after[i] > 0 else "#C5CAD3" for i in top]
    ax.bar(range(len(top)), before[top], color=colours)
    ax.set_xticks(
        range(len(top)), [repr(to_text([i]))[1:-1].replace(" ", "␣") for i in top], rotation=45, ha="right"
    )
    ax.set(ylabel="probability", title=f"Drawn from: {int((after > 0).sum())} of {len(logits)} tokens")
    plt.show()
    g = torch.Generator(device).manual_seed(0)
    choose = lambda logits: next_probabilities(logits, temperature, top_p=top_p)  # noqa: E731
    print(to_text(write(pair_gpt, tokens, 40, g, choose=choose)[0].tolist()))


# %% tags=["demo"]
controls = interact(
    play,
    text=widgets.Text(prompt, continuous_update=False),
    temperature=widgets.FloatSlider(0.8, min=0.0, max=2.0, step=0.1, continuous_update=False),
    top_p=widgets.FloatSlider(0.9, min=0.05, max=1.0, step=0.05, continuous_update=False),
)

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=3.0)
places = ("The", "The val", "The value of the")
grid = torch.arange(1, 101) / 100
for ax, text in zip(axes, places, strict=True):
    with torch.no_grad():
        logits = pair_gpt(to_pairs(text)[None])[0, -1].cpu()
    for tau, colour in zip(
        (1.5, 1.0, 0.5), (plot.COLOURS.vermilion, plot.COLOURS.blue, plot.COLOURS.green), strict=True
    ):
        kept = [int((next_probabilities(logits, tau, top_p=p.item()) > 0).sum()) for p in grid]
        ax.plot(grid, kept, color=colour, label=rf"$\tau = {tau:g}$")
    ax.set(title=f"after “{text}”", xlabel="top-p", yscale="log", ylim=(0.9, 2 * len(spelled)))
axes[0].set_ylabel("tokens left")
axes[0].legend()
plt.show()

# %% [markdown]
# How many tokens top-p leaves depends on the place: in the middle of a word a few, where anything may come
# next many. A fixed $k$ cannot be right for both. With $\tau = 0.5$ most of the mass is on so few tokens that
# top-p has little left to cut.

# %% [markdown]
# ## 7 · The second shape: an encoder that fills gaps
#
# Take the causal mask away and every place sees both sides. "Guess the next token" would be no task then: it
# stands in plain sight. So hide some tokens behind a special one, and ask for what was there (Devlin and
# others 2018). With $m$ the set of hidden places and $x_{\setminus m}$ all others, the loss is
#
# $$L = -\,\mathbb E\, \frac{1}{|m|} \sum_{i \in m} \log p(x_i \mid x_{\setminus m}).$$
#
# The blocks are the same. A step now learns from the hidden places only, not from all, so training takes more
# steps. We keep the network small and let it read single words, letter by letter. A word is a row of twelve
# numbers: its letters, then as many PAD as are left over.

# %%
PAD, START, END, HIDDEN = 0, 1, 2, 29  # and a = 3 ... z = 28
SOURCE, TARGET = 12, 17  # letters of the longest word that we take; TARGET is for section 8


def to_letters(words, length, ends=False):
    """Words as numbers, filled up with PAD: (n, length), with START and END around each if `ends`."""
    rows = [[HIDDEN if c == "_" else ord(c) - ord("a") + 3 for c in word] for word in words]
    rows = [[START, *row, END] if ends else row for row in rows]
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows], device=device)


def words_of(text):
    """All words of 3 to SOURCE letters, in lower case, as often as they occur."""
    return [word for word in re.findall(r"[a-z]+", text.lower()) if 3 <= len(word) <= SOURCE]


def masked_loss(model, x, generator, share=0.25):
    """Mean bits of the hidden letters, each hidden with probability `share`: x (B, T) -> a number."""
    hide = (torch.rand(x.shape, generator=generator, device=x.device) < share) & (x != PAD)
    logits = model(torch.where(hide, HIDDEN, x))[hide]  # (number hidden, 30)
    return F.cross_entropy(logits.float(), x[hide]) / math.log(2)


# %% [markdown]
# Is a second side worth anything? A controlled experiment: two networks from the same start, the same words
# in the same batches with the same letters hidden, and one difference, the causal mask. The one with the mask
# sees only what is to the left of a gap.

# %% tags=["demo"]
train_words, test_words = (to_letters(words_of(text), SOURCE) for text in (prose.train, prose.test))
readers, fill_seconds = {}, {}
for name in ("both sides", "left only"):
    torch.manual_seed(6)
    g = torch.Generator(device).manual_seed(6)
    reader = Transformer(30, SOURCE, S.pig_width, 2, 4, causal=name == "left only").to(device)

    def loss_of(model, g=g):
        rows = torch.randint(len(train_words), (2 * S.pig_batch,), generator=g, device=device)
        return masked_loss(model, train_words[rows], g)

    _, fill_seconds[name] = fit(reader, loss_of, S.fill_steps, f"Hidden letters, {name}")
    readers[name] = reader


# %%
@torch.no_grad()
def one_hidden(model, x, at):
    """log p, in bits, of each letter at place at[b] of row b, which is hidden: (B, T), (B,) -> (B, V)."""
    rows, hidden = torch.arange(len(x), device=x.device), x.clone()
    hidden[rows, at] = HIDDEN
    return model(hidden)[rows, at].log_softmax(-1) / math.log(2)


# %% tags=["demo"]
lengths = (test_words != PAD).sum(1)
at = (torch.rand(len(test_words), generator=torch.Generator().manual_seed(7)).to(device) * lengths).long()
truth = test_words[torch.arange(len(at)), at]
seen_words = set(words_of(prose.train))
new = torch.tensor([word not in seen_words for word in words_of(prose.test)], device=device)
sides = {}
for name, reader in readers.items():
    log_p = one_hidden(reader, test_words, at)
    right, bits = log_p.argmax(1) == truth, -log_p.gather(1, truth[:, None]).mean().item()
    sides[name] = right.float().mean().item()
    print(
        f"{name:10}: {sides[name]:.1%} right, {bits:.2f} bits; "
        f"words not in training: {right[new].float().mean():.1%}"
    )


# %% tags=["demo"]
@torch.no_grad()
def fill(model, text):
    """Fill the gaps, _, of each word: again and again the letter of which the model is surest."""

    def word(match):
        x = to_letters([match.group()], SOURCE)
        while (x == HIDDEN).any():
            p, letter = model(x)[..., 3:29].softmax(-1).max(-1)
            i = torch.where(x == HIDDEN, p, -1).argmax()
            x[0, i] = letter[0, i] + 3
        return "".join(chr(94 + i) for i in x[0].tolist() if i != PAD)

    return re.sub("[a-z_]+", word, text)


for text in (
    "the as_ert stat_ment che__s a con_ition",
    "if the ob_ect has no attr_b_te, an err_r is ra_sed",
    "a fun_t_on that ret_rns a v_lue",
):
    for name, reader in readers.items():
        print(f"{name:10}: {text}  ->  {fill(reader, text)}")

# %% [markdown]
# The right side helps with words that are known by heart, and with words that are new. The guesses are not
# always a word: each letter is filled as the likeliest by itself.
#
# ### Why this is no likelihood
#
# The second side is worth much: with it more letters are right, in new words, too. But there is a price. The
# encoder gives $p(x_i \mid \text{all others})$ for every place. It is tempting to multiply these, the
# *pseudo-likelihood*, and to call the product the probability of the word. It is none. Two hidden letters
# $a$, $b$ in one gap show why. Add up $p(a \mid b)\,p(b \mid a)$ over all pairs: a probability would give 1.
# And there is a second trouble. Fill $a$ first and then $b$, or the other way round: both are proper
# distributions of the pair, but nothing makes them the same one.

# %% tags=["demo"]
word, i, encoder = "f__m", 1, readers["both sides"]  # form? from?
x = to_letters([word], SOURCE).repeat(30, 1)
every = torch.arange(30, device=device)
left, right = x.clone(), x.clone()
left[:, i + 1], right[:, i] = every, every  # b given, a hidden; a given, b hidden
with torch.no_grad():
    p_a_b = encoder(left)[:, i].softmax(-1).T.cpu().double()  # [a, b] = p(a | b)
    p_b_a = encoder(right)[:, i + 1].softmax(-1).cpu().double()  # [a, b] = p(b | a)
    p_a, p_b = encoder(x[:1])[0, i : i + 2].softmax(-1).cpu().double()
a_first, b_first = p_a[:, None] * p_b_a, p_b * p_a_b
print(f"the sum of p(a|b) p(b|a) over all pairs is {(p_a_b * p_b_a).sum():.2f}")
print(f"a first or b first: the two differ in {0.5 * (a_first - b_first).abs().sum():.0%} of their mass")
for name, table in (("a first", a_first), ("b first", b_first)):
    top = table.flatten().topk(4)
    pairs = ["f" + "".join(chr(94 + n) for n in divmod(k, 30)) + "m" for k in top.indices.tolist()]
    print(name, {pair: round(p, 3) for pair, p in zip(pairs, top.values.tolist(), strict=True)})

# %% [markdown]
# So the encoder understands more of each place and *generates* nothing by itself: it has no order in which
# its answers would multiply to the probability of a text. That is why readers (search, classification,
# embeddings) are encoders and writers are decoders. Lesson 26 makes a generator of a masked model after all,
# by filling in a few rounds.
#
# ## 8 · The third shape: encoder–decoder
#
# A translator needs both: a reader that sees the whole source, and a writer that goes from left to right. The
# encoder turns the source $s$ into vectors; the decoder writes the target $y$, and in each of its blocks,
# after looking at itself (causally), it looks at the source (all of it). The likelihood is exact again:
# $p(y \mid s) = \prod_i p(y_i \mid y_{<i}, s)$.
#
# Our language is Pig Latin: the consonants at the front of a word move behind it, and *ay* is added. *string*
# becomes *ingstray*. The words are the manual's own; about one in ten is held out, by a hash of the word.


# %%
def pig_latin(word):
    """The word in Pig Latin; one without a vowel only gets its "ay"."""
    front = re.match(r"[^aeiou]*", word).group()
    return word + "ay" if front == word else word[len(front) :] + front + "ay"


def to_word(row):
    """The letters of a row of numbers, up to END."""
    row = row.tolist()
    return "".join(chr(i + 94) for i in row[: row.index(END)] if i > 2) if END in row else "?"


# %%
words = sorted(set(words_of(prose.train + prose.validation + prose.test)))
held_out = [word for word in words if hashlib.sha256(word.encode()).digest()[0] < 26]
known = sorted(set(words) - set(held_out))
print(len(known), "words to learn from,", len(held_out), "held out:")
print({word: pig_latin(word) for word in held_out[5::40]})


# %%
# long: one class, so that encoder, decoder and cross-attention stand together
class Translator(nn.Module):
    """Encoder–decoder: source (B, S) and the target so far (B, T)
    -> logits (B, T, 29) of the next letters.
    """

    def __init__(self, width, layers, heads, dropout=0.0, positions=True):
        super().__init__()
        self.token, self.positions = nn.Embedding(29, width), positions
        self.place_in, self.place_out = nn.Embedding(SOURCE, width), nn.Embedding(TARGET, width)
        self.reader = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.blocks = nn.ModuleList(Block(width, heads, dropout, cross=True) for _ in range(layers))
        self.norm_in, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        initialise(self)

    def encode(self, source):
        """The memory (B, S, C), and where there are letters in it (B, 1, 1, S)."""
        real = (source != PAD)[:, None, None]
        x = self.token(source) + (self.place_in.weight[: source.shape[1]] if self.positions else 0)
        for block in self.reader:
            x = block(x, mask=real)
        return self.norm_in(x), real

    def forward(self, source, target, encoded=None):
        memory, real = encoded or self.encode(source)
        x = self.token(target) + self.place_out.weight[: target.shape[1]]
        for block in self.blocks:
            x = block(x, causal=True, memory=memory, memory_mask=real)
        return F.linear(self.norm(x), self.token.weight)


# %% [markdown]
# Words have different lengths, so short ones are filled up with PAD. Nobody may look at it (`real` is the
# mask), and it is no target (`ignore_index`). To translate, encode once and write greedily; this is the loop
# of section 5 with a memory.


# %%
def translation_loss(model, source, target):
    """Mean bits of the target's letters and END, given the source and the true letters before."""
    logits = model(source, target[:, :-1]).flatten(0, 1).float()
    return F.cross_entropy(logits, target[:, 1:].flatten(), ignore_index=PAD) / math.log(2)


@torch.no_grad()
def translate(model, source):
    """The likeliest letter each time, from START: (B, S) -> (B, TARGET)."""
    encoded, y = model.encode(source), torch.full((len(source), 1), START, device=source.device)
    while y.shape[1] < TARGET:
        y = torch.cat([y, model(source, y, encoded)[:, -1:].argmax(-1)], dim=1)
    return y


# %%
def exact(model, words):
    """The share of words that are translated without a mistake."""
    said = translate(model, to_letters(words, SOURCE))
    return sum(to_word(row) == pig_latin(word) for row, word in zip(said, words, strict=True)) / len(words)


def pig_loss(seed):
    """A function of a translator: its loss on a fresh batch of known words."""
    g = torch.Generator(device).manual_seed(seed)
    source = to_letters(known, SOURCE)
    target = to_letters([pig_latin(word) for word in known], TARGET, ends=True)

    def loss(model):
        rows = torch.randint(len(source), (S.pig_batch,), generator=g, device=device)
        return translation_loss(model, source[rows], target[rows])

    return loss


# %% tags=["demo"]
torch.manual_seed(8)
translator = Translator(S.pig_width, 2, 4).to(device)
pig_losses, pig_seconds = fit(translator, pig_loss(8), S.pig_steps, "Encoder–decoder, Pig Latin")
pig_right = {"known": exact(translator, known[::5]), "held out": exact(translator, held_out)}
print({name: f"{share:.1%} of the words without a mistake" for name, share in pig_right.items()})
tried = ["string", "python", "transformer"[:SOURCE], "shrink", "attention"]
print({w: to_word(y) for w, y in zip(tried, translate(translator, to_letters(tried, SOURCE)), strict=True)})


# %% [markdown]
# The cross-attention says where in the source each written letter came from.


# %%
@torch.no_grad()
def cross_heat(model, source, target):
    """The weights of cross-attention, the mean over heads: (1, S), (1, T) -> (L, T, S)."""
    memory, real = model.encode(source)
    x, found = model.token(target) + model.place_out.weight[: target.shape[1]], []
    for block in model.blocks:
        inside = x + block.attention(block.norm1(x), causal=True)
        q, k, _ = block.cross.qkv(block.norm_cross(inside), memory)
        found.append(attention_weights(q, k, real)[0].mean(0))
        x = block(x, causal=True, memory=memory, memory_mask=real)
    return torch.stack(found)


# %% tags=["demo"]
shown = [max((w for w in held_out if re.match(f"[^aeiou]{{{n}}}[aeiou]", w)), key=len) for n in (1, 2)]
fig, axes = plot.figure(1, len(shown), height=3.7)
for ax, w in zip(axes, shown, strict=True):
    source = to_letters([w], SOURCE)[:, : len(w)]
    said = translate(translator, source)
    label = to_word(said[0])
    weights = cross_heat(translator, source, said)[-1][: len(label) + 1].cpu()
    ax.imshow(weights, vmin=0, vmax=1)
    ax.set_xticks(range(len(w)), w)
    ax.set_yticks(range(len(label) + 1), [*label, "end"])
    ax.set(title=f"{w}", xlabel="looks at the source")
    ax.grid(False)
axes[0].set_ylabel("writes")
plt.show()

# %% [markdown]
# The rule stands in the picture, on words that the model never saw: the diagonal begins at the first vowel,
# runs to the end of the word, and starts again at the front. Nobody told it the alignment.

# %% [markdown]
# ## 9 · What breaks
#
# ### No causal mask
#
# Train the decoder with its mask forgotten. Each place may now look at the next one, which is its own answer.

# %% tags=["demo"]
torch.manual_seed(9)
cheat = Transformer(256, S.context, *sizes, causal=False).to(device)
cheat_losses, _ = fit(cheat, text_loss(train_bytes), S.short_steps, "No causal mask")
g = torch.Generator(device).manual_seed(9)
x = test_bytes[: len(test_bytes) // S.context * S.context].view(-1, S.context)[:256]
with torch.no_grad():
    last = cheat(x[:, :-1])[:, -1].log_softmax(-1)[torch.arange(len(x)), x[:, -1]]
cheat_bits = bits_per_byte(cheat, test_bytes, size["test"]), -last.mean().item() / math.log(2)
print(
    f"loss on test text: {cheat_bits[0]:.2f} bits; "
    f"on the last place, which has no answer to copy: {cheat_bits[1]:.2f}"
)
print(repr(to_text(write(cheat, to_bytes(prompt)[None], 80, g)[0].tolist())))

# %% tags=["demo"]
fig, ax = plot.figure(height=2.9)
for name, losses in (("with the mask", byte_losses), ("without", cheat_losses)):
    ax.plot(torch.arange(len(smooth(losses, 10))) + 10, smooth(losses, 10), label=name)
ax.set(xlim=(0, 3 * len(cheat_losses)), ylim=(0, 8), xlabel="steps", ylabel="bits per byte, training")
ax.set_title("A loss too good to be true")
ax.legend()
plt.show()

# %% [markdown]
# The loss falls towards 0, on test text, too: no held-out set notices. What notices is a *sample*, for there
# the answer does not stand in plain sight; and the loss at the last place alone. **The repair** is one word,
# `causal=True`, and the check that finds the fault before any training is the gradient picture of section 4.
# Suspect any loss that is too good.
#
# ### No position
#
# Attention is a weighted mean over a set, and a mean does not care for order. An encoder without positions
# therefore gives the letters of a word the same vectors in whatever order they come: it reads a *bag of
# letters*. Take them from our translator's reader. Two words with the same letters, anagrams, must then get
# the same translation, so at least one of them is wrong.

# %% tags=["demo"]
torch.manual_seed(8)
bag = Translator(S.pig_width, 2, 4, positions=False).to(device)
bag_losses, _ = fit(bag, pig_loss(8), S.pig_steps, "No positions in the reader", stop=S.pig_steps // 2)
bag_right = {"known": exact(bag, known[::5]), "held out": exact(bag, held_out)}
print("without positions:", {name: f"{share:.1%}" for name, share in bag_right.items()})
print("with positions:   ", {name: f"{share:.1%}" for name, share in pig_right.items()})
groups = {}
for w in words:
    groups.setdefault("".join(sorted(w)), []).append(w)
anagrams = sorted((g for g in groups.values() if len(g) > 1), key=lambda g: -len(g[0]))[:4]
for pair in anagrams:
    said = [[to_word(y) for y in translate(m, to_letters(pair, SOURCE))] for m in (translator, bag)]
    print(f"{' and '.join(pair)}: with positions {', '.join(said[0])}; without {', '.join(said[1])}")

# %% [markdown]
# For some words it has learned the order by heart; for the others it guesses one. (It had half of the steps,
# but no number of steps can tell anagrams apart.) **The repair** is the table of positions. Does a *decoder*
# need one as well? Its causal mask already treats places differently: place 1 sees one token, place 2 sees
# two. So order leaks in through the mask (Haviv and others 2022). Below, a decoder without the table learns
# more slowly, but it learns.

# %% tags=["demo"]
torch.manual_seed(4)
placeless = Transformer(256, S.context, *sizes, positions=False).to(device)
placeless_losses, _ = fit(
    placeless, text_loss(train_bytes), S.byte_steps, "GPT without positions", stop=S.adam_steps
)
ends = [smooth(losses[: S.adam_steps], 50)[-1].item() for losses in (byte_losses, placeless_losses)]
print(
    f"after {S.adam_steps} steps: {ends[0]:.2f} bits with positions, {ends[1]:.2f} without; "
    f"one byte of context {simple['one byte of context']:.2f}"
)

# %% [markdown]
# ### Exposure bias
#
# In training the model reads true prefixes. In sampling it reads its own. A slip leads to a prefix that no
# training text has; is the next slip likelier there? No held-out likelihood can say, since that, too, is
# measured on true prefixes. So make one slip: in the middle of each test window put a wrong byte, drawn from
# the model's own probabilities as a sampler would, and measure how many bits the true bytes *after* it cost
# more than without the slip.

# %% tags=["demo"]
half = S.context // 2
x = test_bytes[: len(test_bytes) // S.context * S.context].view(-1, S.context)
with torch.no_grad():
    p = byte_gpt(x)[:, half - 1].softmax(-1)
    p[torch.arange(len(x)), x[:, half]] = 0  # anything but the truth
    slipped = x.clone()
    slipped[:, half] = torch.multinomial(p, 1, generator=torch.Generator(device).manual_seed(10))[:, 0]
    costs = []
    for tokens in (x, slipped):
        log_p = byte_gpt(tokens)[:, half:-1].log_softmax(-1)
        costs.append(-log_p.gather(2, x[:, half + 1 :, None])[..., 0].mean(0) / math.log(2))
slip = (costs[1] - costs[0]).cpu()  # by distance from 1
print("extra bits for the next bytes:", [round(bits, 2) for bits in slip[:6].tolist()])
print(f"and {half // 2} to {half - 1} bytes later: {slip[half // 2 :].mean():.3f} bits each")

# %% [markdown]
# One slip makes the next bytes dearer, most of all the first. (Part of that is right: after another letter
# another word is meant. The rest is a model on ground where it has never been.) Within about a word it is
# over. But a sampler draws every byte, and slips again. How does that add up? Let another model be the judge:
# the GPT of byte pairs reads what the byte GPT wrote after a true prompt, and we look at the judge's bits by
# the distance from the prompt.


# %%
@torch.no_grad()
def surprise(judge, texts, edges, prompt=32):
    """The judge's bits per byte of what follows the prompt, in bands of bytes: (B, N) bytes -> (bands,)."""
    bits, length = torch.zeros(len(edges) - 1), torch.zeros(len(edges) - 1)
    for text in texts.tolist():
        ids = to_pairs(bytes(text).decode(errors="replace"))[: judge.position.num_embeddings]
        width = torch.tensor([len(spelled[i]) for i in ids.tolist()])[1:]
        at = width.cumsum(0) - width + len(spelled[ids[0]]) - prompt  # where each token begins
        log_p = judge(ids[None, :-1])[0].log_softmax(-1).gather(1, ids[1:, None])[:, 0].cpu()
        band = torch.bucketize(at, torch.tensor(edges), right=True) - 1
        inside = (at >= 0) & (at < edges[-1])
        bits.index_add_(0, band[inside], -log_p[inside] / math.log(2))
        length.index_add_(0, band[inside], width[inside].float())
    return bits / length.clamp(min=1)


# %% tags=["demo"]
edges, names = (
    [0, 16, 32, 48, 64],
    ("real text", "drawn, temperature 1", "drawn, top-p 0.8", "greedy"),
)
starts = [int(i) for i in torch.linspace(0, len(test_bytes) - 96, S.drift)]
true = torch.stack([test_bytes[i : i + 96] for i in starts])  # 32 bytes of prompt, 64 of continuation
g = torch.Generator(device).manual_seed(10)
knobs = {names[1]: {}, names[2]: {"top_p": 0.8}, names[3]: {"temperature": 0}}
continued = {names[0]: true}
for name, how in progress.track(knobs.items(), title="continuing"):
    choose = lambda logits, how=how: next_probabilities(logits, **how)  # noqa: E731
    continued[name] = write(byte_gpt, true[:, :32], 64, g, choose=choose)
drift = {}
for name, ids in continued.items():
    drift[name] = surprise(pair_gpt, ids, edges)
    print(f"{name:20}", [round(b, 2) for b in drift[name].tolist()], repr(to_text(ids[0, 32:96].tolist())))

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.2)
axes[0].bar(range(1, len(slip) + 1), slip, color=plot.COLOURS.vermilion)
axes[0].set(title="After one slip", xlabel="bytes after the slip", ylabel="extra bits of the true byte")
middle = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
colours = (plot.COLOURS.grey, plot.COLOURS.vermilion, plot.COLOURS.blue, plot.COLOURS.green)
for (name, values), colour in zip(drift.items(), colours, strict=True):
    axes[1].plot(middle, values, "-o", color=colour, label=name)
axes[1].set(title="What a judge thinks", xlabel="bytes after the prompt", ylabel="judge's bits per byte")
axes[1].set(xticks=edges, ylim=(0, 1.75 * max(float(v.max()) for v in drift.values())))
axes[1].legend(ncols=2, fontsize=9, loc="upper left", columnspacing=1.0)
plt.show()

# %% [markdown]
# Text drawn at temperature 1 surprises the judge more than real text does, from the first bytes on, and the
# gap stays. Two causes add up: the model gives the tail of each distribution too much, and each draw from the
# tail makes the next draws worse, for about a word. Where a model can find its feet again, as here at the
# next space, the errors do not grow without end; where each step depends on all before it, in arithmetic say,
# they can. **The repair** that everybody uses is to draw less from the tail. With top-p the judge is about as
# content as with real text. And greedy writing shows that content is not the aim: it goes *below* real text,
# because it repeats itself. The right amount of surprise is that of real text, which is the idea of
# exercise 2. (Training on the model's own prefixes, *scheduled sampling*, is another repair, Bengio and
# others 2015; but then training no longer maximises the likelihood.)
#
# ## 10 · A larger text, on a GPU
#
# In the setting `full` one more decoder is trained, on Tiny Shakespeare: a million characters of plays, all
# ASCII, so that a byte is a character. It has six layers and a width of 384, the shape with which nanoGPT
# reports 1.47 nats per character (Karpathy 2022). The other settings leave it out.

# %% tags=["demo"]
if S.plays_steps:
    plays = data.tiny_shakespeare()
    torch.manual_seed(11)
    bard = Transformer(256, S.context, S.plays_width, 6, 6, S.dropout).to(device)
    play_losses, play_seconds = fit(
        bard, text_loss(to_bytes(plays.train)), S.plays_steps, "GPT, Tiny Shakespeare"
    )
    plays_bits = bits_per_byte(bard, to_bytes(plays.test), len(plays.test))
    print(f"{plays_bits:.3f} bits per byte, {plays_bits * math.log(2):.3f} nats per character")
    g = torch.Generator(device).manual_seed(11)
    print(to_text(write(bard, to_bytes("ROMEO:")[None], 500, g)[0].tolist()))
    board.record(
        "06_gpt", "GPT, bytes", data="Tiny Shakespeare", bits_per_byte=plays_bits, train_seconds=play_seconds,
        parameters=sum(p.numel() for p in bard.parameters()),
    )  # fmt: skip
else:
    print("only in the setting full")

# %% [markdown]
# ## 11 · How good is it?
#
# On the board: bits per byte on the test text; the cost of a sample is that of 100 bytes of text.

# %% tags=["demo"]
speed = {}
for name, model in (("bytes", byte_gpt), ("byte pairs", pair_gpt)):
    g = torch.Generator(device).manual_seed(12)
    begin = (to_bytes if name == "bytes" else to_pairs)("The ")[None].repeat(32, 1)
    began = time.perf_counter()
    ids = write(model, begin, 32, g).tolist()  # waits for the device
    seconds = time.perf_counter() - began
    made = sum(len(b"".join(spelled[i] for i in row)) for row in ids) - 32 * 4
    speed[name] = 100 * seconds / made, seconds / 32
    print(
        f"{name:10}: {1_000 * speed[name][1]:.1f} ms a run of the network, "
        f"{1_000 * speed[name][0]:.1f} ms for 100 bytes, in a batch of 32"
    )

# %% tags=["demo"]
for name, model, seconds in (("bytes", byte_gpt, byte_seconds), ("byte pairs", pair_gpt, pair_seconds)):
    board.record(
        "06_gpt",
        f"GPT, {name}",
        data="prose",
        parameters=sum(p.numel() for p in model.parameters()),
        train_seconds=seconds,
        sample_seconds=speed[name][0],
        bits_per_byte=scores[f"GPT, {name}"],
    )
board.record(
    "06_gpt",
    "encoder–decoder",
    data="Pig Latin",
    parameters=sum(p.numel() for p in translator.parameters()),
    train_seconds=pig_seconds,
    exact_match=pig_right["held out"],
)
board.table("prose")

# %% [markdown]
# ## 12 · In production
#
# A network with $W$ weights does about $2W$ operations for a token forward, and $6W$ in training, for the way
# back costs twice the way forward. Attention adds $4\,L\,T\,C$ operations for a token that looks back at $T$
# places, with $L$ layers of width $C$. To write $N$ tokens after a prompt of $P$, first read the prompt
# (*prefill*), then take $N$ steps:
#
# $$\text{time} = t_{\text{prefill}}(P) + N\, t_{\text{step}} .$$
#
# Our $t_{\text{step}}$ runs over all the tokens again, so it grows with the text. A server keeps the keys and
# values and runs over one token; then a step is bound by *reading* the weights, not by arithmetic. That, and
# how to serve many at once, is lesson 07. Here are steps without a cache. While the texts are short, the
# fixed cost of each call hides the growth.

# %% tags=["demo"]
lengths, times = [k for k in (8, 16, 32, 64) if k <= S.context], []
for k in lengths:
    x = test_bytes[: 16 * k].view(16, k)
    with torch.no_grad():
        byte_gpt(x)
        began = time.perf_counter()
        for _ in range(5):
            byte_gpt(x)[0, -1, 0].item()  # waits for the device
    times.append((time.perf_counter() - began) / 5)
flops = [2 * sum(p.numel() for p in byte_gpt.parameters()) * 16 * k for k in lengths]
for k, t, f in zip(lengths, times, flops, strict=True):
    print(f"16 texts of {k:2} tokens: {1_000 * t:5.1f} ms a step, {f / t / 1e9:5.1f} GFLOP/s")

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple. Numbers are to be right to
# five digits. What goes in stays as it is, and so does what a function that you are given returns.

# %% [markdown]
# ### 1 · Packed documents (easy, 25 minutes)
#
# Short documents waste a window, so trainers *pack* several into one row. Then a token must see its own
# document only, and positions start again at 0 with each. Some documents begin with a *prompt*, whose tokens
# may look at each other in both directions (a *prefix language model*, Raffel and others 2019); after the
# prompt everything is causal, and everybody may look back at the prompt of the own document.
#
# A row names the document of each place; $-1$ is padding. A change of the name is a change of the document,
# and a name that comes back later names *another* document. A padded place looks at itself and at nothing
# else (a row without any place to look at would be NaN after the softmax), nobody else looks at it, and its
# position is 0.


# %% exercise="packed"
def packed(document, prompt):
    """Who may look at whom: mask (B, T, T), bool; and where they stand: positions (B, T), of an integer type.

    document: (B, T), int64: any number may be a name but -1, which is padding; prompt: (B, T), bool, True for
    the places of prompts, which stand at the start of their documents.
    """
    ### BEGIN SOLUTION
    T = document.shape[1]
    new = torch.ones_like(prompt)
    new[:, 1:] = document[:, 1:] != document[:, :-1]
    number = new.cumsum(1)  # of the document in the row
    at = torch.arange(T, device=document.device)
    start = torch.where(new, at, 0).cummax(1).values
    real = document != -1
    same = (number[:, :, None] == number[:, None]) & real[:, :, None] & real[:, None]
    allowed = (at[:, None] >= at) | (prompt[:, :, None] & prompt[:, None])
    return (same & allowed) | torch.eye(T, dtype=torch.bool, device=document.device), (at - start) * real
    ### END SOLUTION


# %% test="packed" points=3
mask, positions = packed(torch.tensor([[4, 4, 4, 9, 9, -1]]), torch.tensor([[True, True] + [False] * 4]))
assert mask.shape == (1, 6, 6) and mask.dtype == torch.bool, "a square of bools for each row of the batch"
assert not positions.is_floating_point(), "positions are whole numbers"
assert positions.tolist() == [[0, 1, 2, 0, 1, 0]], "each document counts from 0; padding has position 0"
assert mask[0, 0].tolist() == [True, True, False, False, False, False], "the prompt sees all of the prompt"
assert mask[0, 2].tolist() == [True, True, True, False, False, False], (
    "after it: what came before, and itself"
)
assert mask[0, 4].tolist() == [False, False, False, True, True, False], "another document, without a prompt"
assert mask[0, 5].tolist() == [False] * 5 + [True], "padding looks at itself"

# %% [markdown]
# ### 2 · Typical sampling (easy, 20 minutes)
#
# Top-p always keeps the likeliest token. But a stretch of text in which *every* token is the likeliest is not
# typical of a language: its surprise, $-\log p$, is on average the entropy $H = -\sum_i p_i \log p_i$.
# *Locally typical sampling* (Meister and others 2022) orders the tokens by how far their surprise is from the
# entropy, $\lvert -\log p_i - H \rvert$, nearest first, and keeps the smallest set at the front of this order
# whose mass reaches $\mu$. Where two are equally far, the smaller index comes first. A logit may be
# $-\infty$: such a token has probability 0, adds nothing to $H$, and is never kept.


# %% exercise="typical"
def typical(logits, mass):
    """The distribution that is drawn from: logits (B, V) -> probabilities (B, V).

    mass: mu, above 0 and at most 1, which keeps every token that has a probability.
    """
    ### BEGIN SOLUTION
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -torch.where(p > 0, p * log_p, 0).sum(-1, keepdim=True)
    order = (-log_p - entropy).abs().sort(dim=-1, stable=True).indices
    sorted_p = p.gather(-1, order)
    kept = torch.where(sorted_p.cumsum(-1) - sorted_p < mass, sorted_p, 0)
    return torch.zeros_like(p).scatter(-1, order, kept / kept.sum(-1, keepdim=True))
    ### END SOLUTION


# %% test="typical" points=2
four = torch.tensor([[0.7, 0.15, 0.1, 0.05]], dtype=torch.float64)  # entropy 0.914 nats
got = typical(four.log(), 0.2)  # surprises 0.357, 1.897, 2.303, 2.996
assert got.shape == (1, 4), f"(B, V) -> (B, V), not {tuple(got.shape)}"
assert torch.allclose(got, torch.tensor([[1.0, 0, 0, 0]]).double()), "0.7 is nearest, and reaches 0.2 alone"
got = typical(torch.tensor([[0.4, 0.3, 0.2, 0.1]]).double().log(), 0.25)  # entropy 1.280 nats
assert torch.allclose(got, torch.tensor([[0, 1.0, 0, 0]]).double()), (
    "the second is nearest to the entropy: 1.204"
)
assert torch.allclose(typical(torch.zeros(1, 4), 0.6), torch.tensor([[1, 1, 1, 0]]) / 3), (
    "equal: the first ones"
)

# %% [markdown]
# ### 3 · Fewer keys than queries (medium, 30 minutes)
#
# When a model writes, reading the stored keys and values costs most of the time. *Grouped-query attention*
# (Ainslie and others 2023) has $H$ heads of queries but only $G$ heads of keys and values: query heads
# $0, \dots, H/G - 1$ use the first, the next $H/G$ the second, and so on. Write it, with a mask of which a
# row may forbid *everything* (a padded place, say). Such a row has no mean; return 0 for it. No NaN may
# appear, *nor in the gradients* of $q$, $k$ and $v$.


# %% exercise="grouped"
def grouped_attention(q, k, v, mask):
    """softmax(q k^T / sqrt(d)) v where mask allows: (B, H, T, d); rows that may look at nothing are 0.

    q: (B, H, T, d); k, v: (B, G, S, d), G divides H; mask: (B, T, S), bool, True where allowed.
    """
    ### BEGIN SOLUTION
    k, v = (z.repeat_interleave(q.shape[1] // z.shape[1], dim=1) for z in (k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    some = mask.any(-1)[:, None, :, None]
    scores = scores.masked_fill(~mask[:, None] & some, -math.inf)
    return torch.where(some, scores.softmax(-1) @ v, 0)
    ### END SOLUTION


# %% test="grouped" points=3
g = torch.Generator().manual_seed(0)
q, k, v = (torch.randn(2, n, 5, 8, generator=g) for n in (4, 2, 2))
allowed = causal_mask(5).expand(2, 5, 5).clone()
got = grouped_attention(q, k, v, allowed)
for h in range(4):
    one = attention_weights(q[:, h], k[:, h // 2], causal_mask(5)) @ v[:, h // 2]
    assert torch.allclose(got[:, h], one, atol=1e-6), f"query head {h} belongs to key head {h // 2}"
allowed[0, 3] = False
got = grouped_attention(q, k, v, allowed)
assert (got[0, :, 3] == 0).all() and got.isfinite().all(), "a place that may look at nothing gets 0"

# %% [markdown]
# ### 4 · Bits per byte with more context (medium, 30 minutes)
#
# Section 5 cut the text into windows side by side, so the first token of a window was guessed from a single
# one before it. Let windows *overlap* instead. The first window of inputs holds the tokens
# $0, \dots, \text{context} - 1$ (or up to the last but one, if the text is shorter), each next one begins
# `stride` tokens later, up to the window that scores the last token; it ends there. In each window, score
# only the tokens that no earlier window has scored. Token 0 has nothing before it, and is not scored. Divide
# the bits by the bytes of the scored tokens.


# %% exercise="strided"
def strided_bits(model, tokens, lengths, context, stride):
    """Bits per byte of tokens[1:], each scored once: a number.

    model: a function of tokens (1, t), whole numbers, t at most `context`, that returns logits (1, t, V) of
    each next token; tokens: (N,), N >= 2; lengths: (N,), the bytes of each token; stride: 1 to `context`.
    """
    ### BEGIN SOLUTION
    nats, scored, begin = 0.0, 1, 0  # the number of tokens that need no more score
    while scored < len(tokens):
        end = min(begin + context, len(tokens) - 1)
        log_p = model(tokens[None, begin:end])[0].log_softmax(-1)  # of tokens[begin + 1 : end + 1]
        new = end + 1 - scored
        nats -= log_p[-new:].gather(1, tokens[scored : end + 1, None]).sum().item()
        scored, begin = end + 1, begin + stride
    return nats / math.log(2) / lengths[1:].sum().item()
    ### END SOLUTION


# %% test="strided" points=3
def knows_more_with_context(x):
    """Logits whose true token, 0, has probability 1/2 after one token of context,
    2/3 after two, 3/4 after three.
    """
    seen = torch.arange(1.0, x.shape[1] + 1)
    return torch.stack([seen.log(), torch.zeros_like(seen)], dim=1)[None]


zeros, two_bytes = torch.zeros(7, dtype=torch.long), torch.full((7,), 2)
got = strided_bits(knows_more_with_context, zeros, two_bytes, 3, 3)
assert math.isclose(got, 2 * math.log2(4) / 12, rel_tol=1e-5), (
    "two windows of 1/2 * 2/3 * 3/4 = 1/4, six tokens of 2 bytes"
)
got = strided_bits(knows_more_with_context, zeros, two_bytes, 3, 1)
assert math.isclose(got, (2 - 3 * math.log2(3 / 4)) / 12, rel_tol=1e-5), (
    "after the first window always three of context"
)
got = strided_bits(knows_more_with_context, zeros, two_bytes, 3, 2)
assert math.isclose(got, (2 - math.log2(2 / 3 * 3 / 4) - math.log2(2 / 3)) / 12, rel_tol=1e-5), (
    "5 is scored after 2 and 3 of context, 6 after 2"
)

# %% [markdown]
# ### 5 · Repair a training step (medium, 35 minutes)
#
# One step of training on several small batches, because a large one does not fit in memory: the gradients add
# up, then the optimizer moves once (*gradient accumulation*). The result should be the step on the *mean loss
# over all real targets of all batches*, its gradient's norm clipped once at `max_norm`. Rows are filled up at
# the end with $-1$, which is neither input nor target; batches have different numbers of real targets, some
# have none. The step below runs, the loss falls, and **four** things are wrong. Find them, and write the step
# that is right. A gradient that lies around from before must not count.


# %%
def broken_step(model, optimizer, batches, max_norm):
    """One step on batches of tokens (B, T), -1 for padding; the mean loss. It has four faults."""
    losses = []
    for tokens in batches:
        logits = model(tokens[:, :-1].clamp(min=0))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, :-1].flatten(), ignore_index=-1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        losses.append(loss.item())
    optimizer.step()
    return sum(losses) / len(losses)


# %% exercise="repair"
def repaired_step(model, optimizer, batches, max_norm):
    """One step down the mean loss in nats over all real targets of all batches; returns that loss, a number.

    model: (B, T) tokens -> (B, T, V) logits of the next ones; optimizer: of its parameters;
    batches: a list of (B, T), -1 for padding at the ends of rows, at least one real target in all;
    max_norm: of the whole gradient.
    """
    ### BEGIN SOLUTION
    targets = sum((tokens[:, 1:] != -1).sum() for tokens in batches)
    optimizer.zero_grad()
    total = 0.0
    for tokens in batches:
        logits = model(tokens[:, :-1].clamp(min=0)).flatten(0, 1)
        loss = F.cross_entropy(logits, tokens[:, 1:].flatten(), ignore_index=-1, reduction="sum") / targets
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(list(model.parameters()), max_norm)
    optimizer.step()
    return total
    ### END SOLUTION


# %% test="repair" points=3
def step_of(batches, max_norm=1e9, stale=0.0):
    """A table of 4 tokens that knows nothing, after one step of plain descent at rate 1; and the loss."""
    table = nn.Embedding(4, 4)
    nn.init.zeros_(table.weight)
    table.weight.grad = torch.full((4, 4), stale)
    loss = repaired_step(table, torch.optim.SGD(table.parameters(), lr=1.0), batches, max_norm)
    return table.weight.detach(), loss


whole = torch.tensor([[0, 1, 2, 3], [2, 1, -1, -1], [3, -1, -1, -1]])
table, loss = step_of([whole])
assert math.isclose(loss, math.log(4), rel_tol=1e-5), "a table of zeros: log 4 nats for every target"
assert torch.allclose(table[0], torch.tensor([-1, 3, -1, -1]) / 16), "after 0 came 1, one of four targets"
assert table[3].abs().max() == 0, "after 3 came nothing but padding"
assert torch.allclose(step_of([whole[:1], whole[1:]])[0], table, atol=1e-6), "in two batches: the same step"
assert torch.allclose(step_of([whole], stale=5.0)[0], table, atol=1e-6), "old gradients do not count"
table, _ = step_of([whole[:1], whole[1:]], max_norm=0.01)
assert math.isclose(table.norm().item(), 0.01, rel_tol=1e-2), "the sum of all gradients is clipped, once"

# %% [markdown]
# ### 6 · All ways to cut a text (hard, 40 minutes)
#
# Byte pairs cut a text in one way; other tokenizers hold several possible. In the *unigram* tokenizer
# (Kudo 2018) each token has a probability of its own, and a cut of a text into tokens has the product of
# theirs. Which cut is the most probable? And what is the probability of the *text*, the sum over all cuts?
# (Bits per byte that are computed from one cut only are an upper bound, and this says by how much.) There are
# up to $2^{n-1}$ cuts of $n$ bytes, so do not list them: what is best up to byte $i$ follows from what is
# best up to the bytes before it.


# %% exercise="cuts"
def cuts(text, log_p):
    """The most probable cut (a list of tokens), its log-probability, and that of the text: the sum over cuts.

    text: bytes, not empty; log_p: a dict of tokens, bytes, with their log-probabilities in nats;
    a token may be as long as the text. Raises ValueError where no cut exists.
    """
    ### BEGIN SOLUTION
    longest = max(map(len, log_p))
    best, total, last = [0.0], [0.0], [0]  # up to byte i; last: where the best cut's last token starts
    for end in range(1, len(text) + 1):
        starts = [
            i for i in range(max(0, end - longest), end) if text[i:end] in log_p and best[i] > -math.inf
        ]
        ways = {i: log_p[text[i:end]] for i in starts}
        last.append(max(ways, key=lambda i: best[i] + ways[i], default=0))
        best.append(max((best[i] + w for i, w in ways.items()), default=-math.inf))
        sums = torch.tensor([total[i] + w for i, w in ways.items()] or [-math.inf], dtype=torch.float64)
        total.append(sums.logsumexp(0).item())
    if best[-1] == -math.inf:
        raise ValueError("the tokens cannot spell this text")
    tokens, end = [], len(text)
    while end:
        tokens.append(text[last[end] : end])
        end = last[end]
    return tokens[::-1], best[-1], total[-1]
    ### END SOLUTION


# %% test="cuts" points=3
table = {b"a": math.log(0.5), b"b": math.log(0.2), b"ab": math.log(0.3)}
best, log_best, log_total = cuts(b"ab", table)
assert list(best) == [b"ab"], "0.3 is more than 0.5 * 0.2"
assert math.isclose(log_best, math.log(0.3), rel_tol=1e-5), "the best cut's own log-probability"
assert math.isclose(log_total, math.log(0.3 + 0.1), rel_tol=1e-5), "the sum over both cuts"
best, _, log_total = cuts(b"abab", table)
assert list(best) == [b"ab", b"ab"] and math.isclose(log_total, math.log(0.16), rel_tol=1e-5)
try:
    cuts(b"abc", table)
except ValueError:
    pass
else:
    raise AssertionError("c cannot be spelled: raise ValueError")

# %% [markdown]
# ### 7 · Beam search (hard, 45 minutes)
#
# `translate` takes the likeliest letter each time and may walk into a corner: a good first step with only bad
# ones after it. *Beam search* keeps the $w$ best prefixes. In each round, every prefix that is not finished
# is extended by every token; finished ones, which end in `end`, stay as they are and compete on; of all these
# the $w$ most probable are kept, by the sum of the log-probabilities. It stops when all are finished, or when
# they have `length` tokens. The answer is the most probable sequence then held.


# %% exercise="beam"
def beam_search(log_p, width, length, end):
    """The sequence found, a list of whole numbers, and its log-probability.

    log_p: a function of prefixes (n, t), t >= 0, whole numbers, that returns (n, V), the log-probabilities
    of the next token; it may be -inf. width: prefixes kept; length: the most tokens, `end` included;
    end: a token.
    """
    ### BEGIN SOLUTION
    held = [(0.0, [])]
    for _ in range(length):
        open_ = [(score, ids) for score, ids in held if not ids or ids[-1] != end]
        if not open_:
            break
        table = log_p(torch.tensor([ids for _, ids in open_], dtype=torch.long).reshape(len(open_), -1))
        new = [
            (score + step, [*ids, token])
            for (score, ids), row in zip(open_, table.tolist(), strict=True)
            for token, step in enumerate(row)
        ]
        done = [(score, ids) for score, ids in held if ids and ids[-1] == end]
        held = sorted(done + new, key=lambda pair: -pair[0])[:width]
    score, ids = max(held, key=lambda pair: pair[0])
    return ids, score
    ### END SOLUTION


# %% test="beam" points=3
def corner(prefixes):
    """Token 1 looks best at first (0.6), but then everything has 1/3;
    after 2 (0.4) the end, 0, is certain.
    """
    assert not prefixes.is_floating_point(), "prefixes are whole numbers, the empty one too"
    rows = {(): [0.0, 0.6, 0.4], (1,): [1 / 3] * 3, (2,): [1.0, 0.0, 0.0]}
    return torch.tensor([rows.get(tuple(p), [1 / 3] * 3) for p in prefixes.tolist()]).log()


ids, score = beam_search(corner, 2, 4, 0)
assert list(ids) == [2, 0] and math.isclose(score, math.log(0.4), rel_tol=1e-5), (
    "0.4 * 1 is more than 0.6 / 3"
)
ids, score = beam_search(corner, 1, 2, 0)
assert ids[0] == 1 and math.isclose(score, math.log(0.2), rel_tol=1e-5), (
    "one beam takes the likeliest: 0.6, then 1/3"
)

# %% [markdown]
# ## Further reading
#
# - P. Gage. *A new algorithm for data compression.* The C Users Journal, 1994. Byte pairs.
# - D. Bahdanau, K. Cho, Y. Bengio. *Neural machine translation by jointly learning to align and translate.*
#   2014, arXiv:1409.0473.
# - S. Bengio, O. Vinyals, N. Jaitly, N. Shazeer. *Scheduled sampling for sequence prediction with recurrent
#   neural networks.* 2015, arXiv:1506.03099.
# - R. Sennrich, B. Haddow, A. Birch. *Neural machine translation of rare words with subword units.* 2015,
#   arXiv:1508.07909.
# - A. Vaswani and others. *Attention is all you need.* 2017, arXiv:1706.03762.
# - A. Radford, K. Narasimhan, T. Salimans, I. Sutskever. *Improving language understanding by generative
#   pre-training.* 2018. GPT.
# - J. Devlin, M.-W. Chang, K. Lee, K. Toutanova. *BERT: pre-training of deep bidirectional transformers for
#   language understanding.* 2018, arXiv:1810.04805.
# - T. Kudo. *Subword regularization.* 2018, arXiv:1804.10959. The unigram tokenizer.
# - A. Radford and others. *Language models are unsupervised multitask learners.* 2019. GPT-2.
# - A. Holtzman and others. *The curious case of neural text degeneration.* 2019, arXiv:1904.09751. Top-p.
# - C. Raffel and others. *Exploring the limits of transfer learning with a unified text-to-text transformer.*
#   2019, arXiv:1910.10683. The three shapes compared.
# - C. Meister, T. Pimentel, G. Wiher, R. Cotterell. *Locally typical sampling.* 2022, arXiv:2202.00666.
# - A. Haviv and others. *Transformer language models without positional encodings still learn positional
#   information.* 2022, arXiv:2203.16634.
# - A. Karpathy. *nanoGPT.* 2022, github.com/karpathy/nanoGPT. A GPT on one screen.
# - T. Dao and others. *FlashAttention: fast and memory-efficient exact attention with IO-awareness.* 2022,
#   arXiv:2205.14135.
# - J. Ainslie and others. *GQA: training generalized multi-query transformer models from multi-head
#   checkpoints.* 2023, arXiv:2305.13245.
# - K. Jordan and others. *Muon: an optimizer for hidden layers in neural networks.* 2024,
#   kellerjordan.github.io/posts/muon.
# - J. Liu and others. *Muon is scalable for LLM training.* 2025, arXiv:2502.16982.

# %% tags=["demo"]
selfcheck.run("06_gpt")
