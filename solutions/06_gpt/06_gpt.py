# %% [markdown]
# # 06 · The transformer in its three shapes
#
# > **Every place looks at the others, takes a weighted mean of what it finds, and works on it. Who may look at
# > whom makes it a writer, a reader or a translator.**
#
# | | |
# |---|---|
# | You will build | attention and its block; a GPT over bytes and over byte pairs; AdamW and Muon; the sampler; the block of today (RoPE, RMSNorm, SwiGLU); an encoder that fills gaps; a translator to Pig Latin; at the end a writer for any order |
# | You need to know | lesson 01 (nats, held-out data); the chain rule of probability, $p(a, b) = p(a)\,p(b \mid a)$; matrices; a training loop in PyTorch |
# | Time on two CPU cores | six to eight minutes to run, under two hours for the text; the exercises take 20 to 45 minutes each, the last one is the heart |
# | Time on a GPU | a quarter of an hour, with larger networks and a GPT on Tiny Shakespeare (`full`) |
#
# ## You are here

# %% folded="Imports and settings"
# long: what the whole lesson uses
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
from genmap import board, data, diagram, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
torch.set_float32_matmul_precision("high")
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    merges=(40, 256, 768),
    width=(16, 96, 256),
    layers=(2, 3, 6),
    heads=(2, 4, 8),
    context=(64, 64, 256),
    batch=(4, 16, 32),
    dropout=(0.0, 0.0, 0.2),
    byte_steps=(12, 800, 2_000),
    pair_steps=(12, 550, 2_400),
    short_steps=(6, 220, 500),
    fill_steps=(6, 600, 1_000),
    pig_width=(16, 64, 128),
    pig_steps=(6, 450, 2_000),
    pig_batch=(8, 64, 256),
    muon=(1.5e-2, 1.5e-2, 5e-3),
    adamw=(2e-3, 2e-3, 1e-3),
    tables=(1e-2, 1e-2, 3e-3),
    newton=(3, 3, 5),
    drift=(8, 64, 256),
    plays_steps=(0, 0, 1_000),
    plays_width=(16, 96, 384),
)
print(f"{genmap.setting()} on {device}")

prose = data.prose()  # it differs between versions of Python
size = {name: len(getattr(prose, name).encode()) for name in ("train", "validation", "test")}
print(size, "bytes")
print(prose.test[:300])


def to_bytes(text):
    """The text's UTF-8 bytes as a tensor (N,) of whole numbers below 256, on the device."""
    return torch.tensor(list(text.encode()), device=device)


# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("autoregressive")
diagram.machine(
    "tokens | (B, T) -> [tables | token + place] -> x | (B, T, C) -> [L blocks | attention, MLP]"
    " -> [norm, table | the same one] -> logits | (B, T, V)",
    "memory | (B, S, C) -> L blocks",
    title="Place i of the logits says which token is next, and has seen the tokens up to i",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# Bucket 1: the density is explicit and exact. A text $x_1, \dots, x_N$ gets its probability by the chain
# rule, one factor for each place:
#
# $$p(x_1, \dots, x_N) = \prod_{i=1}^{N} p(x_i \mid x_{<i}), \qquad x_{<i} = (x_1, \dots, x_{i-1}).$$
#
# What is given up is speed at sampling: a text is written one token after the other, and each waits for the
# one before. *Training* waits for nothing: the true text is there, so all $N$ factors are computed at once.
# A recurrent network reads step by step even while it learns.
#
# | question | answer |
# |---|---|
# | What is modelled? | a sequence of tokens: bytes, or byte pairs |
# | Is the density explicit? | exactly, for the decoder (GPT) and the encoder–decoder; not for the masked encoder as it is trained, section 8 |
# | Is sampling one-shot or iterative? | serial: one run of the network for each token |
# | What conditions it? | a prefix; or another sequence, read by an encoder and looked up by cross-attention |
# | How is it evaluated, and how does that fail? | bits per byte on held-out text. Perplexity *per token* does not compare across tokenizers; and any likelihood is measured on true prefixes, while a sample grows on its own (section 10) |
#
# Bahdanau, Cho and Bengio (2014) let a recurrent translator look back at the source by attention. Vaswani and
# others (2017) kept only the attention, and called it the Transformer: an encoder and a decoder. Radford and
# others (2018) kept only the decoder: GPT. Devlin and others (2018) kept only the encoder: BERT. Raffel and
# others (2019) compared the shapes: T5. GPT, Llama 3 and the language models that you talk to are decoders.
#
# | symbol | is |
# |---|---|
# | $x_i$, $N$, $n$ | the $i$-th token of a text; how many tokens and how many bytes it has |
# | $V$ | how many different tokens there are |
# | $T$, $S$ | places of the sequence that looks, and of the one that is looked at |
# | $C$, $H$, $d$, $L$ | width of the vectors; heads; width of one head, $C/H$; blocks |
# | $q_i$, $k_j$, $v_j$, $A_{ij}$ | query, key, value; how much place $i$ takes from place $j$ |
# | $\tau$ | temperature of sampling |
# | $W$, $G$, $M$, $\eta$, $\mu$ | a matrix of weights, its gradient, the running sum of these; learning rate, momentum |
# | $P\,\Sigma\,Q^\top$ | a matrix's singular value decomposition (mostly called $U \Sigma V^\top$) |
# | $m$, $x_{\setminus m}$ | the hidden places of a text, and the tokens at all others |
# | $s$, $y$ | source and target of a translation |
#
# ## 1 · Text, and what a good model of it is
#
# Text in a computer is bytes, whole numbers from 0 to 255. They are the smallest vocabulary that can write
# everything: any language, any emoji, any program. Our text is the manual that comes inside Python. Its
# paragraphs are in training, validation or test by a hash of their text.
#
# A model gives a held-out text a probability. Take its logarithm to base 2, change the sign, and divide by
# the number of *bytes*:
#
# $$\text{bits per byte} = -\frac{1}{n} \sum_{i=1}^{N} \log_2 p(x_i \mid x_{<i}).$$
#
# The denominator does not depend on how the text is cut into tokens, so models with different tokens
# compare. **Perplexity** per token is $\exp$ of the mean nats per *token*: the number of equally likely
# tokens that would be as hard to guess. It does not compare: longer tokens are harder to guess, and fewer.
#
# <details><summary>Derivation: why the true distribution has the fewest bits, and what they are</summary>
#
# 1. Let text come from $r$. The expected score of a model $p$ is
#    $-\mathbb E_r \log_2 p = \underbrace{-\mathbb E_r \log_2 r}_{\text{entropy of } r} + \underbrace{\mathbb E_r \log_2 (r/p)}_{\mathrm{KL}(r \,\|\, p)}$.
# 2. The second term is never negative: $-\log_2$ is convex, so by Jensen's inequality
#    $\mathbb E_r[-\log_2 (p/r)] \ge -\log_2 \mathbb E_r[p/r] = -\log_2 1 = 0$, and it is 0 for $p = r$ alone.
# 3. An arithmetic coder gives a text with probability $p$ a code of $-\log_2 p$ bits, and at most 2 more for
#    the whole file: it names a number inside an interval of length $p$. So bits per byte is the size of the
#    compressed file. A sum over places is enough, because the logarithm of the chain rule's product is one.
# </details>
#
# Numbers to beat: tables of counts, and zlib, the compressor behind zip files (which sees the test text alone,
# and no training text). A table of order $k$ knows how often each byte $x$ came after each context $u$ of $k$
# bytes, $n(u, x)$. Where it has seen little, it leans on the next shorter context $u'$ (Witten and Bell 1991;
# $D(u)$ is how many different bytes came after $u$, and $n(u)$ how often $u$ was seen):
#
# $$p_k(x \mid u) = \frac{n(u, x) + D(u)\, p_{k-1}(x \mid u')}{n(u) + D(u)}, \qquad p_{-1} = \frac{1}{256} .$$
#
# After a context that it never saw, $p_k$ is $p_{k-1}$.


# %% folded="Tables of counts, and zlib" tags=["demo"]
# long: the lookups, the tables, the numbers
def grams(x, n, order):
    """The n bytes that end at each place from `order` on, as one whole number: (N,) -> (N - order,)."""
    return sum(x[order - j : len(x) - j] << 8 * j for j in range(n))


def look_up(keys, values, asked):
    """The values of the keys, which are sorted, that are asked for; 0 where there is none."""
    i = torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)
    return torch.where(keys[i] == asked, values[i], 0)


def table_bits(train, test, order):
    """Bits of each byte of a test text but the first `order`, by the formula above: (N - order,)."""
    p = torch.full((len(test) - order,), 1 / 256, device=train.device)
    for k in range(order + 1):
        pairs, n = grams(train, k + 1, order).unique(return_counts=True)
        contexts, row = (pairs >> 8).unique(return_inverse=True)
        total, kinds = row.bincount(n), row.bincount()
        asked = grams(test, k + 1, order)
        total, kinds = (look_up(contexts, each, asked >> 8) for each in (total, kinds))
        p = torch.where(total > 0, (look_up(pairs, n, asked) + kinds * p) / (total + kinds), p)
    return -p.log2()


train_bytes, test_bytes = to_bytes(prose.train), to_bytes(prose.test)
simple = {
    f"table, order {order}": table_bits(train_bytes, test_bytes, order).mean().item()
    for order in (0, 1, 2, 5)
}
simple["zlib"] = 8 * len(zlib.compress(prose.test.encode(), 9)) / size["test"]
print({name: f"{bits:.2f} bits per byte" for name, bits in simple.items()})

# %% [markdown]
# The table of order 5 is a strong one. It has a row for each context that it saw, so it grows with the text,
# and where it did not see a context it falls back on a shorter one. Remember the number.
#
# ## 2 · Byte pairs
#
# Bytes make long sequences, and a network pays for every place. *Byte-pair encoding* (Gage 1994; for
# translation, Sennrich, Haddow and Birch 2015) makes them shorter: find the pair of neighbours that occurs
# most often, give it a new number, replace it everywhere, and begin again. Each round is a *merge*, and adds
# one token to the 256. As in GPT-2, the text is first cut into words with the space before them, and no merge
# crosses a cut. Of pairs that occur equally often we take the one with the smallest numbers.
#
# A word that occurs a thousand times need be cut only once. So we keep the different words with their counts,
# how often each pair occurs, and which words hold it: a merge touches only those.
#
# To encode a new text, cut it into words, and in each word carry out the merges in the order in which they
# were learned: always the pair with the smallest rank next. To decode, put the tokens' bytes side by side.
# (Where � is printed below, a token holds only some of the bytes of a longer sign, as of a curly quote.)

# %%
# long: the cut into words, a merge, and the search for merges
PIECE = re.compile(r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def merge(ids, pair, new):
    """Replace each occurrence of the pair, from the left, by the token `new`: a tuple -> a tuple."""
    out, i = [], 0
    while i < len(ids):
        found = ids[i : i + 2] == pair
        out.append(new if found else ids[i])
        i += 2 if found else 1
    return tuple(out)


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


merges = learn_merges(prose.train, S.merges)
RANK = {pair: i for i, pair in enumerate(merges)}  # the earlier, the more urgent
spelled = [bytes([i]) for i in range(256)]  # the bytes of each token
for a, b in merges:
    spelled.append(spelled[a] + spelled[b])


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
print("the first merges:", [token.decode() for token in spelled[256:276]])
print("the last:", [token.decode(errors="replace") for token in spelled[-10:]])
print("|".join(spelled[i].decode(errors="replace") for i in to_pairs(prose.test[:200])))
print(f"{size['test'] / len(test_pairs):.2f} bytes per token;", to_text(to_pairs("Smörgåsbord 🥨")))
board.claim("Encoding and decoding give the text back.", to_text(test_pairs) == prose.test)
board.claim("What was never seen is spelled in bytes.", list("🥨".encode()) == to_pairs("🥨").tolist())

# %% [markdown]
# ## 3 · Attention, and why it can work at all
#
# A place $i$ in the sequence holds a vector. It wants something of the other places. So it asks a *query*
# $q_i$; each place $j$ offers a *key* $k_j$, what it has to do with, and a *value* $v_j$, what it has to say.
# The match is the scalar product. A softmax turns the matches into weights that add up to 1, and what comes
# back is the weighted mean of the values:
#
# $$y_i = \sum_j A_{ij}\, v_j, \qquad A_{ij} = \frac{\exp(q_i \cdot k_j / \sqrt d)}{\sum_{j'} \exp(q_i \cdot k_{j'} / \sqrt d)} .$$
#
# A *mask* says who may look at whom: where it forbids, the match becomes $-\infty$ and the weight 0. The
# *causal* mask lets each place look at itself and at what came before.
#
# <details><summary>Derivation: why divide by √d</summary>
#
# Let the numbers in $q$ and $k$ be independent, with mean 0 and variance 1. Each product $q_a k_a$ has mean 0
# and variance $\mathbb E[q_a^2]\,\mathbb E[k_a^2] = 1$; a sum of $d$ independent ones has variance $d$.
# Without the division a wide head starts with matches $\sqrt d$ apart, and the softmax gives nearly all to one
# place. There it cannot learn:
# $\partial A_{ij} / \partial (\text{match}_{ij'}) = A_{ij}(\delta_{jj'} - A_{ij'})$, and this is nearly 0
# where all weights are nearly 0 or 1. The division makes the variance 1 for every $d$.
# </details>


# %% build="attention"
def attention_weights(q, k, mask=None):
    """A of queries (..., T, d) and keys (..., S, d): (..., T, S), rows add up to 1.

    mask: True where allowed.
    """
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1)
    ### END SOLUTION


def causal_mask(T):
    """True where place i may look at place j: at itself and at what came before. (T, T)"""
    ### BEGIN SOLUTION
    return torch.ones(T, T, dtype=torch.bool).tril()
    ### END SOLUTION


# %% check="attention"
assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
q, k = torch.tensor([[2.0, 0, 0, 0]]), torch.tensor([[1.0, 9, 9, 9], [0.0, 0, 0, 0]])
weight = math.e / (math.e + 1)
assert torch.allclose(attention_weights(q, k), torch.tensor([[weight, 1 - weight]])), "matches 2/√4 and 0"
assert attention_weights(q, k, torch.tensor([[False, True]])).tolist() == [[0, 1]], "nothing for the first"
A = attention_weights(*torch.randn(2, 5, 3, 7, 4), causal_mask(7))
assert A.shape == (5, 3, 7, 7) and torch.allclose(A.sum(-1), torch.ones(5, 3, 7)), "rows add up to 1"

# %% [markdown]
# **The one reason why it works: a match needs no table.** Take a string of letters that nobody has seen,
# twice: *qxzjkwvqxzjkwv*. Whoever reads it can say the second half. A table of counts cannot: it would need a
# row for every possible context, filled before. Two heads can, made by hand:
#
# - *Head 1, by place.* The query of place $i$ is $c$ times the unit vector of place $i - 1$, the key of place
#   $j$ is the unit vector of place $j$, and the value is the unit vector of the letter at $j$. So each place
#   learns **which letter stood before it**.
# - *Head 2, by content.* The query is the letter at $i$. The key is what head 1 found: the letter *before*
#   $j$. So place $i$ finds the places that came **after the same letter**, and reads the letter there.
#
# For head 1 the weight is known. The match with the place before is $c/\sqrt d$, with all others 0. So without
# a mask, with $T$ places and $d = T$,
#
# $$A_{i, i-1} = \frac{e^{c/\sqrt T}}{e^{c/\sqrt T} + T - 1} .$$
#
# Trained transformers grow such pairs of heads by themselves (Olsson and others 2022 call them *induction
# heads*).
#
# **Question.** What does head 1 hand back when $c$ is small? And what does the first place see under the mask?

# %% tags=["demo"]
# long: two heads by hand, and a figure
text = ".qxzjkwvqxzjkwv"
T = len(text)
letters = F.one_hot(torch.tensor([26 if c == "." else ord(c) - 97 for c in text]), 27).float()  # (T, 27)
place = torch.eye(T)
before = place.roll(-1, dims=1)  # row i: the unit vector of i - 1; row 0, which has none, that of the last
weights = {c: attention_weights(c * before, place)[1, 0].item() for c in (1.0, 10.0, 60.0)}
formula = {c: 1 / (1 + (T - 1) * math.exp(-c / math.sqrt(T))) for c in weights}
print("weight on the place before:", {c: (round(w, 4), round(formula[c], 4)) for c, w in weights.items()})
board.claim("The weight is the formula's.", all(abs(weights[c] - formula[c]) < 1e-6 for c in weights))
head_1 = attention_weights(60 * before, place, causal_mask(T))  # (T, T)
head_2 = attention_weights(60 * letters, head_1 @ letters, causal_mask(T))
said = "".join(chr(97 + i) for i in (head_2 @ letters).argmax(dim=1)[8:14].tolist())
print("after q, x, z, j, k, w of the second half it says:", said)
board.claim("Two heads continue a string that they never saw.", said == text[9:])
fig, axes = plot.figure(1, 3, height=3.0)
for ax, (title, A) in zip(
    axes,
    {"$c = 1$": attention_weights(before, place, causal_mask(T)), "Head 1": head_1, "Head 2": head_2}.items(),
    strict=True,
):
    ax.imshow(A, vmin=0, vmax=1)
    ax.set(title=title, xlabel="looks at")
    ax.set_xticks(range(T), text)
    ax.set_yticks(range(T), text)
    ax.grid(False)
axes[0].set_ylabel("place")
plt.show()

# %% [markdown]
# <details><summary>Answer</summary>
#
# With a small $c$ all weights are nearly equal: the head hands back a mean of everything (left). With a large
# one it picks (middle). So attention is a lookup that can be sharp or soft, and that can be differentiated.
# The first place can only look at itself, whatever it asks: its row has one entry. (In the first half of the
# string head 2, right, finds no place that came after the same letter, and takes the mean of all.)
# </details>
#
# **Many heads.** One head gives one weighted mean. So the width $C$ is split among $H$ heads, each with
# queries, keys and values of its own, made by learned matrices; their results are put side by side and mixed
# once more. And no matrix of weights need ever be stored: `scaled_dot_product_attention` is the same formula
# as *one* kernel that works through the keys in tiles (Dao and others 2022).
#
# `Attention` below is for all three shapes. In *self*-attention queries, keys and values come from the same
# sequence $x$. In *cross*-attention keys and values come from a second one, the `memory`. (`rope` is for
# section 7.)


# %%
class Attention(nn.Module):
    """Multi-head attention: x (B, T, C) looks at itself, or at memory (B, S, C) -> (B, T, C)."""

    def __init__(self, width, heads, dropout=0.0, rope=False):
        super().__init__()
        self.heads, self.dropout, self.rope = heads, dropout, rope
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def qkv(self, x, memory=None):
        """Queries (B, H, T, d), keys and values (B, H, S, d)."""
        k, v = self.kv(x if memory is None else memory).chunk(2, dim=2)
        return [z.unflatten(2, (self.heads, -1)).transpose(1, 2) for z in (self.q(x), k, v)]

    def forward(self, x, memory=None, mask=None, causal=False):
        q, k, v = self.qkv(x, memory)
        q, k = (rotate(q), rotate(k)) if self.rope else (q, k)
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, dropout_p=p)
        return self.out(y.transpose(1, 2).flatten(2))  # (B, H, T, d) -> (B, T, C)


# %% [markdown]
# ## 4 · One block, and a GPT
#
# A block has two parts, and each *adds* to the vector that runs through (the *stream*): attention, which moves
# information between places, and a small network (MLP), which works at each place alone.
#
# $$x \leftarrow x + \text{Attention}(\text{norm}(x)), \qquad x \leftarrow x + \text{MLP}(\text{norm}(x)).$$
#
# The norm (LayerNorm) shifts and scales each vector to mean 0 and variance 1 before it is read (and then
# multiplies and shifts each entry by numbers that are learned, at the start 1 and 0). In the encoder–decoder
# there is a third part between the two: cross-attention.
#
# **Why the norm stands inside the branch.** Let a part be $x' = x + f(\text{norm}(x))$. Its Jacobian is
# $I + J$, where $J$ is that of the branch $f(\text{norm}(x))$. Through all parts the gradient is multiplied
# by $\prod (I + J)$. Expanded, this product *contains the term $I$*. So one way leads back through all parts
# on which nothing is multiplied, however small the $J$ are. With the norm outside, as in 2017,
# $x' = \text{norm}(x + f(x))$, each part multiplies the gradient by the norm's Jacobian as well, and the
# product of many is what learning-rate warm-up had to tame (Xiong and others 2020).


# %% build="block"
# long: a class with its parts
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
        """x (B, T, C) -> (B, T, C); drop what each part adds. memory (B, S, C) is for cross-attention."""
        ### BEGIN SOLUTION
        x = x + self.drop(self.attention(self.norm1(x), mask=mask, causal=causal))
        if self.cross is not None:
            x = x + self.drop(self.cross(self.norm_cross(x), memory, mask=memory_mask))
        return x + self.drop(self.mlp(self.norm2(x)))
        ### END SOLUTION


# %% check="block"
torch.manual_seed(1)
block, x, memory = Block(24, 3, cross=True), torch.randn(2, 7, 24), torch.randn(2, 5, 24)
q, k, v = block.attention.qkv(block.norm1(x))
by_hand = attention_weights(q, k, causal_mask(7)) @ v  # (2, 3, 7, 8): three heads
h = x + block.attention.out(torch.cat(list(by_hand.unbind(1)), dim=2))
h = h + block.cross(block.norm_cross(h), memory)
h = h + block.mlp(block.norm2(h))
assert torch.allclose(block(x, causal=True, memory=memory), h, atol=1e-5), "each part reads a norm, and adds"
later = torch.cat([x[:, :4], x[:, 4:] + 1], dim=1)
moved = (block(later, causal=True, memory=memory) - block(x, causal=True, memory=memory)).abs().amax((0, 2))
assert moved[:4].max() < 1e-5 < moved[4:].min(), "causal: what comes later changes nothing before it"

# %% [markdown]
# Attention is a mean over a *set*: it does not know which place is which. So each place gets a learned vector
# of its position, added to that of its token. At the end stand a norm, and the scalar product with every
# token's vector. The result is a *logit* for each token; a softmax makes it a probability.
#
# **Tied.** The same table reads and writes: the score of a token is how well the last vector points at the
# vector that the token has as an input. That saves $VC$ weights. And every row learns in every step, as an
# output: as an input a rare token would hardly ever learn.
#
# **The start.** Weights are $\mathcal N(0, 0.02^2)$. Then a logit is a sum of $C$ products of a normed vector
# with such a row: standard deviation $0.02\sqrt C$, 0.2 for $C = 96$. All tokens are about equally likely
# (the one just read stands out a little, since its own vector is still in the stream), and the loss begins
# near $\log_2 V$. A network that is wrong *and sure* at the start would first have to unlearn. What the $2L$
# parts add to the stream is made smaller by $\sqrt{2L}$: variances of independent terms add, so their sum is
# as large as one term, for every depth.
#
# This class is GPT-2 (Radford and others 2019), layer for layer; a test of the course copies its weights into
# the `transformers` library's and compares the logits. Without `causal` it is the encoder of section 8;
# without `positions` a decoder of section 7.
#
# Does the mask hold, through all layers? Ask the gradient: of the logits at place $i$ (one random mix of the
# vector they are made of will do), with respect to the vector at place $j$. It must be exactly 0 for every
# $j > i$, and it should not be 0 for any other. This is why all $N$ factors can be trained in one run: the
# logits at place $i$ are a function of $x_1, \dots, x_i$ alone, although the network was handed the whole text.


# %%
# long: the start and the network
def initialise(model):
    """GPT-2's start: weights N(0, 0.02^2), biases 0; what is added to the stream is smaller, by the depth."""
    last = {"out", "mlp.2", "mlp.down"}
    depth = 2 * sum(isinstance(m, Block) for m in model.modules())
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear | nn.Embedding):
            nn.init.normal_(m.weight, std=0.02 / math.sqrt(depth) if name.endswith(tuple(last)) else 0.02)
        if isinstance(m, nn.Linear):
            nn.init.zeros_(m.bias)
    return model


class Transformer(nn.Module):
    """Tokens (B, T) -> logits (B, T, V), T at most `context`. causal: a decoder (GPT); else an encoder."""

    def __init__(
        self, vocabulary, context, width, layers, heads, dropout=0.0, causal=True, positions=True, block=Block
    ):
        super().__init__()
        self.causal, self.context, self.drop = causal, context, nn.Dropout(dropout)
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width) if positions else None
        self.blocks = nn.ModuleList(block(width, heads, dropout) for _ in range(layers))
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


# %% folded="Look inside: gradients, and who feels whom" tags=["demo"]
# long: the gradients, and a figure


torch.manual_seed(2)
sizes = (S.width, S.layers, S.heads, S.dropout)
untrained = {c: Transformer(256, 24, *sizes, causal=c).to(device).eval() for c in (True, False)}
seen = {c: influence(model, to_bytes(prose.test[:24])[None]).cpu() for c, model in untrained.items()}
fig, axes = plot.figure(1, 2, height=3.4)
for ax, c in zip(axes, (True, False), strict=True):
    ax.imshow((seen[c] + 1e-12).log10(), vmin=-3, vmax=seen[True].log10().max())
    ax.set(title="Decoder: causal" if c else "Encoder: no mask", xlabel="vector at place $j$")
    ax.grid(False)
axes[0].set_ylabel("logits at place $i$")
plt.show()
board.claim("The decoder feels nothing of later places.", seen[True].triu(1).max().item() == 0)
board.claim(
    "It feels every earlier one, and the encoder all.",
    min(seen[True][causal_mask(24)].min(), seen[False].min()) > 0,
)

# %% [markdown]
# The darker, the more influence (a logarithm of the gradient, white is none). The decoder's upper triangle is
# empty: the logits at place $i$ know $x_1, \dots, x_i$ and nothing later, so they may be trained to say
# $x_{i+1}$. The encoder's square is full.
#
# ## 5 · Train, and look at it
#
# One window of $T + 1$ tokens makes $T$ exercises: from each place, guess the next token. The loss is their
# mean cross-entropy, minus the log-likelihood of the chain rule. Dividing nats by $\log 2$ gives bits.
#
# **Question.** What is the loss of an untrained network whose tokens are the 256 bytes, and why?


# %% build="loss"
def next_token_loss(model, tokens):
    """Mean bits of tokens[:, 1:] given what stands before each: (B, T + 1) -> a number.

    In float32 whatever the network computes in.
    """
    ### BEGIN SOLUTION
    logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten()) / math.log(2)
    ### END SOLUTION


# %% check="loss"
tokens = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
succ = lambda x: 1e4 * F.one_hot((x + 1) % 4, 4).float()  # noqa: E731
assert next_token_loss(succ, tokens[:1]) == 0, "it says x + 1, and that is what comes next"
assert next_token_loss(lambda x: torch.zeros(*x.shape, 4), tokens) == 2, "four equally likely tokens: 2 bits"
half = lambda x: torch.tensor([0.5, 0.25, 0.125, 0.125]).log().expand(*x.shape, 4)  # noqa: E731
assert math.isclose(next_token_loss(half, tokens), (2 + 3 + 3 + 3 + 2 + 1) / 6, rel_tol=1e-6), (
    "a mean, in bits"
)
torch.manual_seed(0)
start = next_token_loss(Transformer(256, 16, 96, 2, 4), torch.randint(256, (8, 17)))
assert abs(start - 8) < 0.2, f"an untrained network holds all bytes for about equally likely, not {start:.2f}"

# %% [markdown]
# <details><summary>Answer</summary>
#
# About 8 bits, $\log_2 256$: at the start every byte is about equally likely.
# </details>
#
# To measure, cut the held-out text into windows that do not overlap and score every token once. A token at
# the start of a window has little to go by, so the figure is a bit pessimistic; exercise 4 does it better. To
# sample: take the logits of the last place, draw a token, append it, and begin again. A table of positions
# ends at `context`, so only the last so many tokens are looked at. (Every step computes everything anew.
# Lesson 07 keeps keys and values, and makes this fast.)
#
# The first run is by AdamW, which divides the gradient of every single weight by its own recent size.


# %% folded="The loop that trains every network of this lesson, and what watches it"
# long: windows, optimizers, schedule, update, loop, losses, and what watches it
def windows(tokens, n, generator, length):
    """n pieces of `length` tokens from random places of a text (N,): (n, length)."""
    start = torch.randint(len(tokens) - length + 1, (n,), generator=generator, device=tokens.device)
    return tokens[start[:, None] + torch.arange(length, device=tokens.device)]


def side_by_side(tokens, T):
    """A text (N,) in windows of T inputs and the token after them; its end may be left out: (n, T + 1)."""
    n = (len(tokens) - 1) // T
    return torch.cat([tokens[: n * T].view(n, T), tokens[T : n * T + 1 : T, None]], dim=1)


@torch.no_grad()
def bits_per_byte(model, tokens, n_bytes):
    """Bits per byte of a text of so many bytes, in windows of the model's context."""
    pieces = side_by_side(tokens, model.context)
    bits = sum(len(part) * next_token_loss(model, part) for part in pieces.split(64)) / len(pieces)  # a token
    return bits.item() * len(tokens) / n_bytes


@torch.no_grad()
def write(model, tokens, n, generator, context=None, choose=lambda logits: logits.softmax(-1)):
    """Append n tokens to (B, T), drawn from `choose` of the last place's logits: (B, T + n)."""
    context = context or model.context
    for _ in range(n):
        p = choose(model(tokens[:, -context:])[:, -1].float())  # (B, V)
        tokens = torch.cat([tokens, torch.multinomial(p, 1, generator=generator)], dim=1)
    return tokens


def make_optimizers(model, kind):
    """AdamW for embeddings and vectors; for the matrices inside the blocks Muon or AdamW, as `kind` says."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in tables]
    rest = [p for p in model.parameters() if p.ndim != 2 or id(p) in tables]
    others = torch.optim.AdamW(rest, lr=S.tables, betas=(0.9, 0.95), weight_decay=0.0)
    if kind == "muon" and hasattr(torch.optim, "Muon"):
        muon = {"lr": S.muon, "weight_decay": 0.01, "ns_steps": S.newton, "adjust_lr_fn": "match_rms_adamw"}
        return [torch.optim.Muon(matrices, **muon), others]
    return [torch.optim.AdamW(matrices, lr=S.adamw, betas=(0.9, 0.95), weight_decay=0.1), others]


def schedule(n, steps):
    """The factor of the learning rate at step n: it rises for 20 steps, holds, and from 30 % falls to 0."""
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


prompt = 'The "while" statement is used to'


def watcher(model, encode, steps):
    """What watches a run, and the dictionary it fills: at eight moments the step, bits per byte on a piece of
    the training text and on validation text; at three of them it prints what the model writes.
    """
    texts, seen = (prose.train[:12_000], prose.validation[:12_000]), {}
    moments = [max(1, steps * k // 8) for k in range(1, 9)]

    def watch(n):
        if n in moments:
            model.eval()
            seen[n] = [bits_per_byte(model, encode(text), len(text.encode())) for text in texts]
            if n in moments[1::3]:
                g = torch.Generator(device).manual_seed(n)
                written = to_text(write(model, encode(prompt)[None], 64, g)[0].tolist())
                print(f"step {n:4}, {seen[n][1]:.2f} bits/byte held out: {written!r}")
            model.train()

    return watch, seen


def smooth(losses, n=20):
    """The mean of each n neighbours: (N,) -> (N - n + 1,)."""
    n = min(n, len(losses))
    return losses.unfold(0, n, 1).mean(1)


# %% tags=["demo"]
torch.manual_seed(4)
byte_gpt = Transformer(256, S.context, *sizes).to(device)
adam_gpt = copy.deepcopy(byte_gpt)
watch, adam_seen = watcher(adam_gpt, to_bytes, S.byte_steps)
adam_losses, adam_seconds = fit(
    adam_gpt, text_loss(train_bytes), S.byte_steps, "GPT, bytes, AdamW", "adamw", watch=watch
)

# %% [markdown]
# ### Muon: every direction equally far
#
# Muon (Jordan and others 2024) treats a weight *matrix* as one thing. Let $G$ be its gradient,
# $M \leftarrow \mu M + G$ the running sum ($\mu = 0.95$; PyTorch then takes $G + \mu M$ for $M$), $\eta$ the
# learning rate. Then
#
# $$M = P\, \Sigma\, Q^\top \quad\Rightarrow\quad W \leftarrow W - \eta\, \gamma\, P Q^\top .$$
#
# A gradient's $\Sigma$ is dominated by a few large values: most directions would hardly move. Muon sets all
# of them to 1. ($\gamma = 0.2\sqrt{\max(\text{rows}, \text{columns})}$ makes an update about as large as
# AdamW's, Liu and others 2025.) Why *equally* far? Because that is the steepest descent, if the length of a
# step is measured by what it does to the layer's output.
#
# <details><summary>Derivation: the steepest step in the spectral norm</summary>
#
# 1. A step $D$ changes the layer's output by $D x$, and $\lVert D x\rVert \le \lVert D\rVert_2 \lVert x\rVert$,
#    where the spectral norm $\lVert D\rVert_2$ is the largest singular value. So bound that: no input may be
#    answered very differently.
# 2. To first order the loss falls by $\langle G, D\rangle = \operatorname{tr}(G^\top D)$ for
#    $W \leftarrow W - D$.
#    With $G = P\Sigma Q^\top$ this is $\operatorname{tr}(\Sigma\, P^\top D\, Q) = \sum_a \Sigma_{aa}\, p_a^\top D\, q_a$.
# 3. $p_a$ and $q_a$ have length 1, so each $p_a^\top D q_a \le \lVert D\rVert_2 \le 1$. The sum is at most
#    $\sum_a \Sigma_{aa}$, and $D = PQ^\top$ reaches it: all its singular values are 1.
# 4. Other norms give other steps by the same argument. Bounded sum of squares: $G/\lVert G\rVert$, gradient
#    descent. Every entry bounded by 1: $\operatorname{sign}(G)$, which is Adam without memory.
# </details>
#
# The decomposition itself is never computed. An odd polynomial of a matrix acts on its singular values alone:
# $M M^\top M = P \Sigma^3 Q^\top$, since $Q^\top Q$ and $P^\top P$ are $I$. So a few rounds of
# $x \mapsto ax + bx^3 + cx^5$ bring every $x$ in $(0, 1]$ near 1, the larger ones first. The constants are
# chosen for speed at 0 (each round multiplies a small $x$ by 3.4), and 1 is *not* a fixed point.


# %%
def newton_schulz(M, rounds, a=3.4445, b=-4.7750, c=2.0315):
    """About P Q^T of M = P S Q^T: (m, n) -> (m, n) (Jordan et al. 2024; the same constants)."""
    X = M / M.norm().clamp(min=1e-7)
    X = X.T if len(M) > M.shape[1] else X
    for _ in range(rounds):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if len(M) > M.shape[1] else X


# %% folded="Figure: what the polynomial does to one gradient" tags=["demo"]
# long: a gradient, its singular values, and a figure
g = torch.Generator(device).manual_seed(3)
fresh = copy.deepcopy(byte_gpt)
next_token_loss(fresh, windows(train_bytes, S.batch, g, S.context + 1)).backward()
G = fresh.blocks[1].mlp[0].weight.grad.float()
fig, ax = plot.figure(height=2.9)
colours = (plot.COLOURS.grey, plot.COLOURS.orange, plot.COLOURS.blue)
for rounds, colour in zip((0, 3, 5), colours, strict=True):
    values = torch.linalg.svdvals(newton_schulz(G, rounds)).cpu()[:-1]
    label = "the gradient, scaled to norm 1" if rounds == 0 else f"after {rounds} rounds"
    ax.plot(range(1, len(values) + 1), values, color=colour, label=label)
ax.set(yscale="log", ylim=(1e-5, 3), xlabel="number of the singular value", ylabel="singular value")
ax.set_title("What the polynomial does to the gradient of one matrix")
ax.legend(loc="lower left")
plt.show()
rounds = [newton_schulz(torch.diag(torch.tensor([1.0, 0.2, 0.05])), n).diagonal() for n in range(4, 10)]
print("three singular values, after 4 to 9 rounds:\n", torch.stack(rounds).T.numpy().round(2))
board.claim(
    "After five rounds nearly all are between 0.5 and 1.3, and they do not settle: 1 goes to 0.70.",
    ((values > 0.5) & (values < 1.3)).float().mean() > 0.8 and abs(3.4445 - 4.775 + 2.0315 - 0.70) < 0.01,
)

# %% [markdown]
# Rough is good enough: what counts is that small directions are lifted a lot, and large ones are not. (Three
# rounds lift the smallest some forty times, which leaves the last ones behind; five bring nearly all up.
# `quick` takes three, which are cheaper. The last singular value is left out of the figure: what an
# untrained LayerNorm gives has mean 0, so that one direction is not used yet.) Muon is for the matrices
# inside the blocks. Embeddings are tables of which a batch touches a few rows, and vectors have no singular
# values: these stay with AdamW.
#
# A fair comparison changes little. Both runs have the same weights at the start, the same batches, the same
# schedule, and the *same* rate for embeddings and vectors (`tables`; for AdamW that is a little better than
# one rate for all). AdamW's rate for the matrices was the best of four
# that were tried. (Weight decay differs as well; a step shrinks the weights by about as much in both.)

# %% tags=["demo"]
# long: the run by Muon, a comparison and its figure
watch, byte_seen = watcher(byte_gpt, to_bytes, S.byte_steps)
byte_losses, byte_seconds = fit(
    byte_gpt, text_loss(train_bytes), S.byte_steps, "GPT, bytes, Muon", watch=watch
)
end = smooth(adam_losses)[-1].item()
same = int((smooth(byte_losses) < end).int().argmax()) + 20  # the first time that Muon is as good
muon_step, adam_step = byte_seconds / len(byte_losses), adam_seconds / len(adam_losses)
print(f"AdamW after {len(adam_losses)} steps: {end:.2f} bits; Muon was there after {same} steps")
print(f"a step of Muon takes {muon_step / adam_step:.2f} times as long as one of AdamW")
fig, axes = plot.figure(1, 2, height=3.0)
for ax, unit in zip(axes, ("step", "second"), strict=True):
    for name, losses, each in (("Muon", byte_losses, muon_step), ("AdamW", adam_losses, adam_step)):
        x = torch.arange(len(smooth(losses))) + 20
        ax.plot(x * (each if unit == "second" else 1), smooth(losses), label=name)
    ax.set(xlabel=f"{unit}s", title=f"By the {unit}")
axes[0].set_ylabel("bits per byte, training")
axes[0].legend()
plt.show()
board.claim(
    "Muon is where AdamW ends after two thirds of the steps or fewer.", 20 < same < 2 / 3 * len(adam_losses)
)
board.claim(
    "On held-out text Muon ends at least 0.2 bits lower.",
    list(adam_seen.values())[-1][1] - list(byte_seen.values())[-1][1] > 0.2,
)

# %% [markdown]
# Both curves have a shoulder a little above the bits of section 1 for a table of order 1: there the network
# knows which byte follows which, and has yet to learn to look further back.
#
# Now the same network with byte pairs. A window of as many tokens covers more text.

# %% tags=["demo"]
# long: the run, the scores, what is learned by heart, and a figure
torch.manual_seed(5)
pair_gpt = Transformer(len(spelled), S.context, *sizes).to(device)
watch, pair_seen = watcher(pair_gpt, to_pairs, S.pair_steps)
pair_losses, pair_seconds = fit(
    pair_gpt, text_loss(train_pairs), S.pair_steps, "GPT, byte pairs", watch=watch
)
scores = {
    "GPT, bytes": bits_per_byte(byte_gpt, test_bytes, size["test"]),
    "GPT, byte pairs": bits_per_byte(pair_gpt, test_pairs, size["test"]),
}
for (name, bits), n in zip(scores.items(), (len(test_bytes), len(test_pairs)), strict=True):
    each = bits * size["test"] / n
    print(f"{name:15}: {bits:.3f} bits per byte; {each:.2f} bits per token, perplexity {2**each:.1f}")
fig, axes = plot.figure(1, 2, height=3.0)
for (name, seen_bits), colour in zip(
    {"bytes": byte_seen, "byte pairs": pair_seen}.items(),
    (plot.COLOURS.orange, plot.COLOURS.blue),
    strict=True,
):
    share = [n / max(seen_bits) for n in seen_bits]
    for i, style in enumerate(("--", "-")):
        label = f"{name}, " + ("training text" if i == 0 else "held out")
        axes[0].plot(share, [bits[i] for bits in seen_bits.values()], style, color=colour, label=label)
axes[0].set(
    title="Known and unknown text", xlabel="share of the run", ylabel="bits per byte", ylim=(1.4, 4.4)
)
axes[0].legend(fontsize=8)
names, values = zip(*(simple | scores).items(), strict=True)
bars = axes[1].barh(names, values, color=[plot.COLOURS.grey] * 5 + [plot.COLOURS.blue] * 2)
axes[1].bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
axes[1].set(title="Test text", xlabel="bits per byte", xlim=(0, 1.2 * max(values)))
axes[1].tick_params(axis="y", labelsize=8)
axes[1].grid(False)
axes[1].invert_yaxis()
plt.show()
gap = {n: s[max(s)][1] - s[max(s)][0] for n, s in (("bytes", byte_seen), ("byte pairs", pair_seen))}
print("held out minus training text, bits per byte:", {name: round(g, 2) for name, g in gap.items()})
board.claim(
    "Both know their training text better, the one of pairs most.", 0 < gap["bytes"] < gap["byte pairs"]
)
board.claim(
    "Both beat zlib and the table of order 2.",
    max(scores.values()) < min(simple["zlib"], simple["table, order 2"]),
)
board.claim(
    "In `quick` the table of order 5 is not beaten by more than 0.1.",
    simple["table, order 5"] < min(scores.values()) + 0.1,
)

# %% [markdown]
# Both know their training text better than the held-out one. (A part of the gap is no overfitting: the
# held-out part is the harder text. How much, the gap at the left end of the curves says roughly: there, after
# an eighth of the run, little can be known by heart.) Per token the model of byte pairs looks far worse, per
# byte it is the better one here. Only the second comparison means anything. And look at the table of order 5.
# On 300 kB of a manual that repeats its phrases, counting is hard to beat: in `quick` a network of fewer than
# 400,000 weights is at best about as good. So for the next letter of a phrase seen before, attention gains
# nothing here. What it adds is what no such table has: strings that come back (section 3), and rules about
# words that nobody has seen (section 9). With more text the table gets more rows, and the network keeps its
# size.
#
# **Why are pairs better per byte?** Three reasons are mixed in that number: longer tokens, windows that reach
# farther back, and more text read in training, for a window of pairs holds more of it. So compare at the *same
# number of bytes before*.


# %% folded="Figure: bits by what stands before, and what heads look at" tags=["demo"]
# long: bands of context, the weights of a sentence, two figures
@torch.no_grad()
def by_context(model, tokens, edges):
    """Bits per byte by the bytes that stand before in the window, in bands that begin at the edges."""
    x = side_by_side(tokens, model.context)
    width = torch.tensor([len(t) for t in spelled], device=x.device)[x]
    log_p = torch.cat([model(part[:, :-1]).log_softmax(-1) for part in x.split(64)])
    bits = -log_p.gather(2, x[:, 1:, None])[..., 0].cpu() / math.log(2)
    band = torch.bucketize(width.cumsum(1)[:, :-1].cpu().contiguous(), torch.tensor(edges), right=True) - 1
    inside = (band >= 0) & (band < len(edges) - 1)
    total, length = (
        torch.zeros(len(edges) - 1).index_add_(0, band[inside], z[inside])
        for z in (bits, width[:, 1:].cpu().float())
    )
    return (total / length.clamp(min=1)).tolist()


edges = [2, 4, 8, 16, 32, 64, 128]
bands = {
    "bytes": by_context(byte_gpt, test_bytes, edges[:-1]),
    "byte pairs": by_context(pair_gpt, test_pairs, edges),
}
print("bits per byte after 32 to 63 bytes:", {name: round(bits[4], 2) for name, bits in bands.items()})
sentence = "if the list is empty, the list"
weights = heat(byte_gpt, to_bytes(sentence)[None]).cpu()
previous = weights.diagonal(-1, 2, 3).mean(-1)  # (L, H): how much each head looks one place back
first, best = divmod(int(previous.argmax()), S.heads)
even = sum(1 / i for i in range(2, len(sentence) + 1)) / (len(sentence) - 1)
print(f"block {first + 1}, head {best + 1}: {previous.max():.0%} on the byte before; even: {even:.0%}")
fig, axes = plot.figure(1, 3, height=3.1)
for name, bits in bands.items():
    axes[0].plot([a * 1.41 for a in edges[: len(bits)]], bits, "-o", label=name)
axes[0].set(xscale="log", xlabel="bytes before, in the window", ylabel="bits per byte", title="Context")
axes[0].set_xticks([2, 8, 32, 128], [2, 8, 32, 128])
axes[0].legend()
for n, ax in zip((first, S.layers - 1), axes[1:], strict=True):
    h = best if n == first else int(weights[n].diagonal(-1, 1, 2).mean(-1).argmin())
    ax.imshow(weights[n, h], vmin=0, vmax=0.6)
    ax.set_xticks(range(len(sentence)), sentence, fontsize=6)
    ax.set_yticks(range(len(sentence)), sentence, fontsize=6)
    ax.set_title(f"Block {n + 1}, head {h + 1}", fontsize=11)
    ax.grid(False)
plt.show()
board.claim(
    "Each doubling up to 8 bytes saves bits; from there to 32 and more it is below 0.2 in all.",
    all(b[0] > b[1] > b[2] and b[2] - b[4] < 0.2 for b in bands.values()),
)
board.claim(
    "After 32 to 63 bytes both are equal to 0.1 bits.", abs(bands["bytes"][4] - bands["byte pairs"][4]) < 0.1
)
board.claim(
    "The head that looks back most looks more than evenly at the byte before.", previous.max() > 1.3 * even
)

# %% [markdown]
# Compare the two numbers after 32 to 63 bytes with the two for the whole text above. As far as the lead of
# the pairs is smaller there, it comes from the windows: one of 64 bytes starts from nothing more than twice
# as often as one of 64 pairs, and those first guesses cost many bits. And in both curves what is further back
# than some 8 bytes, a word or two, saves little: so small a network, trained so shortly, uses little but the
# last words.
#
# On the right, rows are places and dark cells what they look at: the head that looks most at the byte before,
# as our head 1 did, and one of the last block that looks elsewhere.
#
# ## 6 · From logits to text: temperature, top-k, top-p
#
# A distribution over tokens has a long tail. Each of its members is improbable, all together are not, and one
# bad draw spoils what comes after. Three knobs, applied in this order:
#
# - **temperature** $\tau$: divide the logits by $\tau$. Below 1 the likely gets likelier; towards 0 only the
#   likeliest is left (*greedy*).
# - **top-k**: keep the $k$ likeliest tokens, set the others to 0, and rescale to a sum of 1.
# - **top-p**, or *nucleus* (Holtzman and others 2019): keep the smallest set of likeliest tokens whose mass
#   reaches $p$. The set is small where the model is sure, and large where it is not.


# %% build="sampler"
def next_probabilities(logits, temperature=1.0, top_k=None, top_p=1.0):
    """What is drawn from: logits (..., V) -> probabilities (..., V). temperature 0: all on the likeliest."""
    ### BEGIN SOLUTION
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    p, order = (logits / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        p = torch.where(torch.arange(p.shape[-1], device=p.device) < top_k, p, 0)
        p = p / p.sum(-1, keepdim=True)
    if top_p < 1:
        p = torch.where(p.cumsum(-1) - p < top_p, p, 0)  # kept while the mass before it is below p
    return torch.zeros_like(p).scatter(-1, order, p / p.sum(-1, keepdim=True))
    ### END SOLUTION


# %% check="sampler"
toy = torch.tensor([0.25, 0.5, 0.15, 0.1]).log()
for how, wanted in (
    ({}, [0.25, 0.5, 0.15, 0.1]),
    ({"temperature": 0.5}, [x * x / 0.345 for x in (0.25, 0.5, 0.15, 0.1)]),
    ({"temperature": 0}, [0, 1, 0, 0]),
    ({"top_k": 2}, [1 / 3, 2 / 3, 0, 0]),
    ({"top_p": 0.7}, [1 / 3, 2 / 3, 0, 0]),
    ({"top_p": 0.8}, [0.25 / 0.9, 0.5 / 0.9, 0.15 / 0.9, 0]),
    ({"temperature": 0.5, "top_p": 0.7}, [0, 1, 0, 0]),
):
    assert torch.allclose(next_probabilities(toy, **how), torch.tensor(wanted, dtype=torch.float32)), how

# %% [markdown]
# ### Play: what is left to draw from?
#
# The bars are the model's probabilities after the temperature; the blue ones survive top-p. Under them is one
# continuation.
#
# **Question.** Lower the temperature, and leave top-p where it is. Does it keep more tokens, or fewer? And in
# the middle of a word?


# %% folded="Play: the knobs" tags=["demo"]
# long: what the control draws, the control, and a figure that says the same
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


controls = interact(
    play,
    text=widgets.Text(prompt, continuous_update=False),
    temperature=widgets.FloatSlider(0.8, min=0.0, max=2.0, step=0.1, continuous_update=False),
    top_p=widgets.FloatSlider(0.9, min=0.05, max=1.0, step=0.05, continuous_update=False),
)
fig, axes = plot.figure(1, 3, height=3.0)
grid, kept = torch.arange(1, 101) / 100, {}
for ax, text in zip(axes, ("The", "The val", "The value of the"), strict=True):
    with torch.no_grad():
        logits = pair_gpt(to_pairs(text)[None])[0, -1].cpu()
    for tau, colour in ((1.5, plot.COLOURS.vermilion), (1.0, plot.COLOURS.blue), (0.5, plot.COLOURS.green)):
        sizes_left = [int((next_probabilities(logits, tau, top_p=p.item()) > 0).sum()) for p in grid]
        kept[text, tau] = sizes_left
        ax.plot(grid, sizes_left, color=colour, label=rf"$\tau = {tau:g}$")
    ax.set(title=f"after “{text}”", xlabel="top-p", yscale="log", ylim=(0.9, 2 * len(spelled)))
axes[0].set_ylabel("tokens left")
axes[0].legend()
plt.show()
board.claim(
    "At the same top-p a lower temperature keeps fewer tokens, or as many.",
    all(kept[t, 0.5][i] <= kept[t, 1.0][i] <= kept[t, 1.5][i] for t, _ in kept for i in range(99)),
)
print("left at top-p 0.9:", {f"{text!r}, τ {tau:g}": n[89] for (text, tau), n in kept.items() if tau <= 1})

# %% [markdown]
# <details><summary>Answer</summary>
#
# Fewer. The mass is on fewer tokens, so a smaller set reaches $p$: top-p cuts *more tokens* after a low
# temperature, each of which had little mass left. And how many it leaves depends on the place: in the middle
# of a word few, where anything may come next many. A fixed $k$ cannot be right for both.
# </details>
#
# ## 7 · The block of today: RoPE, RMSNorm, SwiGLU
#
# Llama 3 and many open decoders since have the same two parts in a block, with three changes.
#
# **RoPE** (Su and others 2021). A table of positions ends, and what place 7 learns place 8 does not know. But
# what matters is mostly the *distance*. So turn the queries and keys: take the two halves of a head's vector
# as $d/2$ points in the plane, and turn point $a$ at place $i$ by the angle $i\,\omega_a$,
# $\omega_a = 10{,}000^{-2a/d}$, $a = 0, \dots, d/2 - 1$. Then the match of places $i$ and $j$ depends on
# $i - j$ alone.
#
# <details><summary>Derivation</summary>
#
# Write the points as complex numbers, $q^{(a)} = q_a + \mathrm i\, q_{a + d/2}$ (here $\mathrm i$ is the
# imaginary unit). Turning by an angle is multiplying by $e^{\mathrm i\,\text{angle}}$, and the scalar product
# of two points is $\operatorname{Re}(q^{(a)}\, \overline{k^{(a)}})$. So the match at places $i$, $j$ is
# $\sum_a \operatorname{Re}\big(q^{(a)} e^{\mathrm i\, i\omega_a}\, \overline{k^{(a)} e^{\mathrm i\, j\omega_a}}\big) = \sum_a \operatorname{Re}\big(q^{(a)}\, \overline{k^{(a)}}\, e^{\mathrm i\,(i - j)\,\omega_a}\big)$.
# Only $i - j$ is left. The fast angles tell neighbours apart, the slow ones far places. Values are not turned:
# what is said does not depend on where.
# </details>
#
# **RMSNorm** (Zhang and Sennrich 2019): $x / \sqrt{\operatorname{mean}(x^2)}$ times a learned scale. No mean
# is subtracted, which costs a pass over the vector and turned out not to be needed. **SwiGLU** (Shazeer 2020):
# $W_3\big(\text{silu}(W_1 x) \odot W_2 x\big)$ in the MLP's place, with $\text{silu}(z) = z\,\sigma(z)$: one
# half *gates* the other, so a layer can multiply. With a width of $\frac83 C$ instead of $4C$ its three
# matrices have as many weights as the two before.


# %% build="rope"
def rotate(x, base=10_000.0):
    """RoPE: (x_a, x_{a + d/2}) at place i turned by i base^(-2a/d): (..., T, d) -> (..., T, d), d even."""
    ### BEGIN SOLUTION
    half = x.shape[-1] // 2
    speed = base ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(x.shape[-2], device=x.device)[:, None] * speed  # (T, d/2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1).to(x)
    ### END SOLUTION


# %% check="rope"
x = rotate(torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(3, 4))
assert torch.allclose(x[:, 0], torch.arange(3.0).cos()) and torch.allclose(
    x[:, 2], torch.arange(3.0).sin()
), "the first pair, entries 0 and d/2: by the angle i"
x = rotate(torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(3, 4))
assert torch.allclose(x[:, 3], torch.tensor([0, 0.01, 0.02]).sin()), "the next pair: a hundred times slower"
q, k = (rotate(torch.randn(8).expand(9, 8)) for _ in range(2))
matches = q @ k.T  # the same query and key at every place
assert all(matches.diagonal(n).std() < 1e-5 for n in range(-7, 8)), "a match depends on the distance alone"
assert torch.allclose(q.norm(dim=1), q.norm(dim=1)[:1]), "turning keeps the length"


# %%
class SwiGLU(nn.Module):
    """W_3 (silu(W_1 x) * W_2 x): (..., C) -> (..., C)."""

    def __init__(self, width, inside):
        super().__init__()
        self.gate, self.up = nn.Linear(width, inside), nn.Linear(width, inside)
        self.down = nn.Linear(inside, width)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class ModernBlock(Block):
    """A block with RoPE, RMSNorm and SwiGLU, of about as many weights."""

    def __init__(self, width, heads, dropout=0.0):
        super().__init__(width, heads, dropout)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention.rope = True
        self.mlp = SwiGLU(width, 8 * width // 3)


# %% tags=["demo"]
# long: two short runs beside the long one, and a figure
variants, weights = {"GPT-2's block": byte_losses[: S.short_steps]}, {}
for name, how in (("no positions", {}), ("today's block", {"block": ModernBlock})):
    torch.manual_seed(4)
    other = Transformer(256, S.context, *sizes, positions=False, **how).to(device)
    variants[name], _ = fit(other, text_loss(train_bytes), S.byte_steps, name, stop=S.short_steps)
    weights[name] = sum(p.numel() for p in other.parameters())
last = {name: smooth(losses, 50)[-1].item() for name, losses in variants.items()}
print({name: f"{bits:.2f} bits after {S.short_steps} steps" for name, bits in last.items()}, weights)
fig, ax = plot.figure(height=2.7)
for name, losses in variants.items():
    ax.plot(torch.arange(len(smooth(losses))) + 20, smooth(losses), label=name)
ax.axhline(simple["table, order 1"], color=plot.COLOURS.grey, lw=1, ls=":")
ax.set(xlabel="steps", ylabel="bits per byte, training", ylim=(2, 5), title="Three blocks, the same batches")
ax.legend()
plt.show()
board.claim("Today's block learns faster than GPT-2's.", last["today's block"] < last["GPT-2's block"] - 0.1)
board.claim(
    "Without positions a decoder learns more slowly.", last["GPT-2's block"] < last["no positions"] - 0.1
)
board.claim(
    "But it learns more than a table of order 1 (dotted).", last["no positions"] < simple["table, order 1"]
)

# %% [markdown]
# Today's block ends ahead. Which of its three changes does it, one run of all three cannot say: undo them one
# by one in `ModernBlock`, and see.
#
# **Does a decoder need positions?** It has some without: place 1 sees one token, place 2 sees two, so order
# leaks in through the mask (Haviv and others 2022). It learns, but slowly. What a *reader* without positions
# does is section 10.
#
# ## 8 · The second shape: an encoder that fills gaps
#
# Take the causal mask away and every place sees both sides. "Guess the next token" would be no task then: it
# stands in plain sight. So hide some tokens behind a special one, and ask for what was there (Devlin and
# others 2018). With $m$ the set of hidden places and $x_{\setminus m}$ all others, the loss is
#
# $$\mathcal L = -\,\mathbb E\, \frac{1}{|m|} \sum_{i \in m} \log p(x_i \mid x_{\setminus m}).$$
#
# The blocks are the same. A step learns from the hidden places only, so training takes more steps. We keep the
# network small and let it read single words, letter by letter: a row of twelve numbers, its letters, then as
# many PAD as are left over.
#
# Is a second side worth anything? A controlled experiment: two networks from the same start, the same words
# in the same batches with the same letters hidden, and one difference, the causal mask. The one with the mask
# sees only what is to the left of a gap.

# %%
# long: words as numbers, and the loss
PAD, START, END, HIDDEN = 0, 1, 2, 29  # and a = 3 ... z = 28
SOURCE, TARGET = 12, 17  # letters of the longest word that we take; TARGET is for section 9


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


# %% folded="Two readers, trained, counted and asked" tags=["demo"]
# long: training, the share of right letters, and gaps filled
train_words, test_words = (to_letters(words_of(text), SOURCE) for text in (prose.train, prose.test))
readers = {}
for name in ("both sides", "left only"):
    torch.manual_seed(6)
    g = torch.Generator(device).manual_seed(6)
    reader = Transformer(30, SOURCE, S.pig_width, 2, 4, causal=name == "left only").to(device)

    def loss_of(model, g=g):
        rows = torch.randint(len(train_words), (2 * S.pig_batch,), generator=g, device=device)
        return masked_loss(model, train_words[rows], g)

    fit(reader, loss_of, S.fill_steps, f"Hidden letters, {name}")
    readers[name] = reader


@torch.no_grad()
def fill(model, text):
    """Fill the gaps, _, of each word: the letter of which the model is surest, then the next, and so on."""

    def word(match):
        x = to_letters([match.group()], SOURCE)
        while (x == HIDDEN).any():
            p, letter = model(x)[..., 3:29].softmax(-1).max(-1)
            i = torch.where(x == HIDDEN, p, -1).argmax()
            x[0, i] = letter[0, i] + 3
        return "".join(chr(94 + i) for i in x[0].tolist() if i != PAD)

    return re.sub("[a-z_]+", word, text)


lengths, rows = (test_words != PAD).sum(1), torch.arange(len(test_words), device=device)
at = (torch.rand(len(test_words), generator=torch.Generator().manual_seed(7)).to(device) * lengths).long()
hidden = test_words.clone()
hidden[rows, at] = HIDDEN  # one letter of each word
seen_words = set(words_of(prose.train))
new = torch.tensor([word not in seen_words for word in words_of(prose.test)], device=device)
sides = {}
for name, reader in readers.items():
    with torch.no_grad():
        right = reader(hidden)[rows, at].argmax(1) == test_words[rows, at]
    sides[name] = right.float().mean().item(), right[new].float().mean().item()
    print(f"{name:10}: {sides[name][0]:.1%} right; words not in training: {sides[name][1]:.1%}")
for text in ("the as_ert stat_ment che__s a con_ition", "if the ob_ect has no attr_b_te, an err_r is ra_sed"):
    for name, reader in readers.items():
        print(f"{name:10}: {text}  ->  {fill(reader, text)}")
board.claim(
    "The second side helps, with known words and with new ones.",
    all(a > b + 0.05 for a, b in zip(sides["both sides"], sides["left only"], strict=True)),
)

# %% [markdown]
# ### Why this is no likelihood
#
# The second side has a price. The encoder gives $p(x_i \mid \text{all others})$ for every place. It is
# tempting to multiply these, the *pseudo-likelihood*, and to call the product the probability of the word. It
# is none. Let the two hidden letters $a$, $b$ of a gap have the law $p(a, b)$, and let the encoder be
# perfect. Then
#
# $$\sum_{a,b} p(a \mid b)\,p(b \mid a) = \sum_{a,b} \frac{p(a,b)^2}{p(a)\,p(b)} = 1 + \sum_{a,b} \frac{\big(p(a,b) - p(a)\,p(b)\big)^2}{p(a)\,p(b)} \;\ge\; 1,$$
#
# and it is 1 for independent letters alone. (The last step: expand the square. Its first term gives the sum
# before, the other two give $-2$ and $+1$.) A *chain* of conditionals is a law: $p(a)\,p(b \mid a)$, first
# one letter with both hidden, then the other. So an encoder does define laws, one for each order of filling,
# and lesson 26 draws from them. But nothing makes the laws of two orders the same one, so none of them is
# *the* model's; and the loss above, with a quarter hidden, was never their likelihood.

# %% folded="Two letters, two orders" tags=["demo"]
# long: the encoder's tables for one gap
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
product, apart = (p_a_b * p_b_a).sum().item(), 0.5 * (a_first - b_first).abs().sum().item()
print(f"the sum of p(a|b) p(b|a) over all pairs is {product:.2f}")
print(
    f"a first or b first: each adds up to {a_first.sum():.2f}, and they differ in {apart:.0%} of their mass"
)
for name, table in (("a first", a_first), ("b first", b_first)):
    top = table.flatten().topk(4)
    pairs = ["f" + "".join(chr(94 + n) for n in divmod(k, 30)) + "m" for k in top.indices.tolist()]
    print(name, {pair: round(p, 3) for pair, p in zip(pairs, top.values.tolist(), strict=True)})
board.claim("The product is no law: its sum is far above 1.", product > 1.5)
board.claim("Two orders are two laws: more than a tenth of the mass differs.", apart > 0.1)

# %% [markdown]
# So readers (search, classification, embeddings) are encoders, and writers are mostly decoders. In exercise 8
# you train one network for *all* orders by the likelihood.
#
# ## 9 · The third shape: encoder–decoder
#
# A translator needs both: a reader that sees the whole source $s$, and a writer that goes from left to right.
# The encoder turns the source into vectors; the decoder writes the target $y$, and in each of its blocks,
# after looking at itself (causally), it looks at the source (all of it). The likelihood is exact again:
# $p(y \mid s) = \prod_i p(y_i \mid y_{<i}, s)$.
#
# Our language is Pig Latin: the consonants at the front of a word move behind it, and *ay* is added. *string*
# becomes *ingstray*. The words are the manual's own; about one in ten is held out, by a hash of the word.
# Short words are filled up with PAD. Nobody may look at it (`real` is the mask), and it is no target
# (`ignore_index`). To translate, encode once and write greedily.


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


def pig_latin(word):
    """The word in Pig Latin; one without a vowel only gets its "ay"."""
    front = re.match(r"[^aeiou]*", word).group()
    return word + "ay" if front == word else word[len(front) :] + front + "ay"


def to_word(row):
    """The letters of a row of numbers, up to END."""
    row = row.tolist()
    return "".join(chr(i + 94) for i in row[: row.index(END)] if i > 2) if END in row else "?"


words = sorted(set(words_of(prose.train + prose.validation + prose.test)))
held_out = [word for word in words if hashlib.sha256(word.encode()).digest()[0] < 26]
known = sorted(set(words) - set(held_out))


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


def exact(model, words):
    """The share of words that are translated without a mistake."""
    said = translate(model, to_letters(words, SOURCE))
    return sum(to_word(row) == pig_latin(word) for row, word in zip(said, words, strict=True)) / len(words)


def both_sides(words):
    """Words and their translations as numbers: (n, SOURCE), (n, TARGET)."""
    return to_letters(words, SOURCE), to_letters([pig_latin(word) for word in words], TARGET, ends=True)


def pig_loss(seed):
    """A function of a translator: its loss on a fresh batch of known words."""
    g = torch.Generator(device).manual_seed(seed)
    source, target = both_sides(known)

    def loss(model):
        rows = torch.randint(len(source), (S.pig_batch,), generator=g, device=device)
        return translation_loss(model, source[rows], target[rows])

    return loss


# %% [markdown]
# **A win, measured.** A table of counts reads the same words as a text, *string>ingstray*, and scores the
# letters behind the >. Its context of five bytes reaches the front of the shortest words only. And a row says
# what came after one context that was seen; the *rule*, which moves any letters, stands in no row.
#
# The cross-attention says where in the source each written letter came from.

# %% tags=["demo"]
# long: training, the words, the table's bits and the translator's
torch.manual_seed(8)
translator = Translator(S.pig_width, 2, 4).to(device)
pig_losses, pig_seconds = fit(translator, pig_loss(8), S.pig_steps, "Encoder–decoder, Pig Latin")
pig_right = {"known": exact(translator, known[::5]), "held out": exact(translator, held_out)}
print(len(known), "words to learn from,", len(held_out), "held out;", "without a mistake:", pig_right)
tried = ["string", "python", "shrink", "attention"]
print({w: to_word(y) for w, y in zip(tried, translate(translator, to_letters(tried, SOURCE)), strict=True)})
as_text = [to_bytes("".join(f"{w}>{pig_latin(w)}\n" for w in part)) for part in (known, held_out)]
behind, ends = as_text[1] == ord(">"), as_text[1] == ord("\n")
inside = (behind.cumsum(0) - ends.cumsum(0) + ends.int()).bool() & ~behind  # letters of targets, and the end
with torch.no_grad():
    pig_bits = {
        "table, order 5": table_bits(*as_text, 5)[inside[5:]].mean().item(),
        "encoder–decoder": translation_loss(translator, *both_sides(held_out)).item(),
    }
print("bits per letter of held-out words:", {name: round(bits, 2) for name, bits in pig_bits.items()})
board.claim("It translates at least 85 % of words that it never saw.", pig_right["held out"] >= 0.85)
board.claim(
    "The table needs at least five times as many bits.",
    pig_bits["table, order 5"] > 5 * pig_bits["encoder–decoder"],
)


# %% folded="Figure: what cross-attention looks at" tags=["demo"]
# long: the weights of the last block, and a figure
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


shown = [max((w for w in held_out if re.match(f"[^aeiou]{{{n}}}[aeiou]", w)), key=len) for n in (1, 2)]
fig, axes = plot.figure(1, len(shown), height=3.7)
share = []
for ax, w in zip(axes, shown, strict=True):
    source = to_letters([w], SOURCE)[:, : len(w)]
    said = to_letters([pig_latin(w)], TARGET, ends=True)
    label, front = pig_latin(w), len(re.match("[^aeiou]*", w).group())
    weights = cross_heat(translator, source, said)[-1][: len(label) + 1].cpu()
    moved = torch.arange(len(w)).roll(-front)  # where each letter of the target stands in the source
    share.append(weights[torch.arange(len(w)), moved].mean().item() * len(w))
    ax.imshow(weights, vmin=0, vmax=1)
    ax.set_xticks(range(len(w)), w)
    ax.set_yticks(range(len(label) + 1), [*label, "end"])
    ax.set(title=f"{w}", xlabel="looks at the source")
    ax.grid(False)
axes[0].set_ylabel("writes")
plt.show()
print("weight on the letter that is copied, against an even share:", [f"{x:.1f} times" for x in share])
board.claim("Each letter looks at its own in the source, at least twice an even share.", min(share) > 2)

# %% [markdown]
# The picture shows the rule, on words that the model never saw: the diagonal begins at the first vowel, runs
# to the end of the word, and starts again at the front. No target said which letter comes from where.
#
# ## 10 · What breaks
#
# ### No causal mask
#
# Train the decoder with its mask forgotten. Each place may now look at the next one, which is its own answer.
#
# **Question.** What will its loss on *test* text be? And where in a window is there no answer to copy?

# %% tags=["demo"]
# long: training, three losses, a sample and a figure
torch.manual_seed(9)
cheat = Transformer(256, S.context, *sizes, causal=False).to(device)
cheat_losses, _ = fit(cheat, text_loss(train_bytes), S.short_steps, "No causal mask")
x, T = side_by_side(test_bytes, S.context), S.context
with torch.no_grad():
    bits = -cheat(x[:, :-1]).log_softmax(-1).gather(2, x[:, 1:, None])[..., 0] / math.log(2)  # (n, T)
    asked = -cheat(x[:, : T // 2])[:, -1].log_softmax(-1).gather(1, x[:, T // 2, None]).mean() / math.log(2)
copied, last = bits[:, :-1].mean().item(), bits[:, -1].mean().item()
print(f"test text: {copied:.2f} bits where the answer is in view; at a window's last place: {last:.2f}")
print(f"after half a window, where a sampler would ask: {asked:.2f}")
g = torch.Generator(device).manual_seed(9)
print(repr(to_text(write(cheat, to_bytes(prompt)[None], 80, g)[0].tolist())))
fig, ax = plot.figure(height=2.7)
for name, losses in (("with the mask", byte_losses), ("without", cheat_losses)):
    ax.plot(torch.arange(len(smooth(losses, 10))) + 10, smooth(losses, 10), label=name)
ax.set(xlim=(0, 3 * len(cheat_losses)), ylim=(0, 8), xlabel="steps", ylabel="bits per byte, training")
ax.set_title("A loss too good to be true")
ax.legend()
plt.show()
board.claim("Test text notices nothing: less than 0.2 bits.", copied < 0.2)
board.claim(
    "Where no answer is in view, it knows no more than a table of order 1.", last > simple["table, order 1"]
)
board.claim("Where a sampler asks, it is worse than a table of order 0.", asked > simple["table, order 0"])

# %% [markdown]
# <details><summary>Answer</summary>
#
# Nearly 0, on test text too: the loss on held-out text does not notice. Only the last place of a full window
# has nothing to copy. It was trained that way, so it learned at least how often each byte occurs. Worse is any
# *shorter* text: there the last place was trained to copy from a neighbour who is now missing. That is where a
# sampler asks.
# </details>
#
# What notices is a sample, or the loss where nothing can be copied. **The repair** is one word, `causal=True`,
# and the check that finds the fault before any training is the gradient picture of section 4. Suspect any loss
# that is too good.
#
# ### No position
#
# An encoder without positions reads a *bag of letters*. Let $\Pi$ be a matrix that permutes places. It permutes
# queries and keys, so the table of matches has its rows and its columns permuted. The softmax acts on each row
# alone, so $A$ becomes $\Pi A \Pi^\top$, and the output $A\,(v_1, \dots)^\top$ becomes
# $\Pi A \Pi^\top \Pi\,(v_1, \dots)^\top$, which is $\Pi A\,(v_1, \dots)^\top$, for $\Pi^\top \Pi = I$: the same
# vectors, permuted. The MLP works at each place alone. What cross-attention then reads is a set, the same for
# all anagrams.
#
# **Question.** Our translator's reader loses its positions. What will it answer to *form* and *from*?

# %% tags=["demo"]
# long: training, the share that is right, and anagrams
torch.manual_seed(8)
bag = Translator(S.pig_width, 2, 4, positions=False).to(device)
bag_losses, _ = fit(bag, pig_loss(8), S.pig_steps, "No positions in the reader", stop=S.pig_steps // 2)
bag_right = {"known": exact(bag, known[::5]), "held out": exact(bag, held_out)}
for name, right in (("without positions", bag_right), ("with positions", pig_right)):
    print(f"{name:17}:", {part: f"{share:.1%}" for part, share in right.items()})
groups = {}
for w in words:
    groups.setdefault("".join(sorted(w)), []).append(w)
anagrams = sorted((g for g in groups.values() if len(g) > 1), key=lambda g: -len(g[0]))[:4]
alike = []
for pair in anagrams:
    said = [[to_word(y) for y in translate(m, to_letters(pair, SOURCE))] for m in (translator, bag)]
    alike.append(len(set(said[1])) == 1)
    print(f"{' and '.join(pair)}: with positions {', '.join(said[0])}; without {', '.join(said[1])}")
board.claim("Without positions anagrams get one answer.", all(alike))
board.claim(
    "Held-out words: at least 50 points fewer without positions.",
    pig_right["held out"] > bag_right["held out"] + 0.5,
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# The same, so at least one is wrong. (It had half of the steps, so a part of the distance between the shares
# above may be that. But after any number of steps anagrams get one answer.)
# </details>
#
# **The repair** is the table of positions, or RoPE.
#
# ### Exposure bias
#
# In training the model reads true prefixes. In sampling it reads its own. A slip leads to a prefix that no
# training text has; is the next slip likelier there? No held-out likelihood can say, since that, too, is
# measured on true prefixes. Two measurements:
#
# 1. *One slip.* In the middle of each test window put a wrong byte, drawn from the model's own probabilities
#    as a sampler would. How many bits more do the true bytes *after* it cost?
# 2. *Many.* A sampler draws every byte. The GPT of byte pairs judges what the byte GPT wrote after a true
#    prompt, in bits by the distance from the prompt.

# %% folded="Figure: one slip, and what a judge thinks of a long text" tags=["demo"]
# long: a slip, continuations, a judge, and a figure
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
late = slip[half // 2 :].mean().item()
print("extra bits of the next bytes:", [round(b, 2) for b in slip[:6].tolist()], f"far off: {late:.3f} each")


@torch.no_grad()
def surprise(judge, texts, edges, prompt=32):
    """The judge's bits per byte of what follows the prompt, in bands of bytes: (B, N) bytes -> (bands,)."""
    bits, length = torch.zeros(len(edges) - 1), torch.zeros(len(edges) - 1)
    for text in texts.tolist():
        ids = to_pairs(bytes(text).decode(errors="replace"))[: judge.context]
        width = torch.tensor([len(spelled[i]) for i in ids.tolist()])[1:]
        at = width.cumsum(0) - width + len(spelled[ids[0]]) - prompt  # where each token begins
        log_p = judge(ids[None, :-1])[0].log_softmax(-1).gather(1, ids[1:, None])[:, 0].cpu()
        band = torch.bucketize(at, torch.tensor(edges), right=True) - 1
        inside = (at >= 0) & (at < edges[-1])
        bits.index_add_(0, band[inside], -log_p[inside] / math.log(2))
        length.index_add_(0, band[inside], width[inside].float())
    return bits / length.clamp(min=1)


edges = [0, 16, 32, 48, 64]
starts = [int(i) for i in torch.linspace(0, len(test_bytes) - 112, S.drift)]
true = torch.stack([test_bytes[i : i + 112] for i in starts])  # 32 bytes of prompt, 64 judged, 16 so that no
g = torch.Generator(device).manual_seed(10)  # word that is judged ends at the cut
knobs = {"drawn, temperature 1": {}, "drawn, top-p 0.8": {"top_p": 0.8}, "greedy": {"temperature": 0}}
drift = {"real text": surprise(pair_gpt, true, edges)}
for name, how in progress.track(knobs.items(), title="continuing"):
    choose = lambda logits, how=how: next_probabilities(logits, **how)  # noqa: E731
    ids = write(byte_gpt, true[:, :32], 80, g, choose=choose)
    drift[name] = surprise(pair_gpt, ids, edges)
    print(f"{name:20}", repr(to_text(ids[0, 32:96].tolist())))
print({name: [round(b, 2) for b in values.tolist()] for name, values in drift.items()})
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
mean = {name: values.mean().item() for name, values in drift.items()}
board.claim(
    "One slip costs most at the next byte, and little far off.", slip[0] > 0.5 and late < 0.2 * slip[0]
)
board.claim(
    "Drawn text surprises the judge more than real text.", mean["drawn, temperature 1"] > mean["real text"]
)
board.claim("Top-p brings the surprise down.", mean["drawn, top-p 0.8"] < mean["drawn, temperature 1"] - 0.2)
board.claim("Greedy text surprises less than real text.", mean["greedy"] < mean["real text"])

# %% [markdown]
# One slip makes the next bytes dearer, most of all the first. (Part of that is right: after another letter
# another word is meant.) Within about a word it is over. Text drawn at temperature 1 surprises the judge more
# than real text does. Two causes are likely, and are not told apart here: the model gives the tail of each
# distribution too much, and each draw from the tail makes the next draws worse, for about a word. Does its
# distance from real text grow to the right? Each point is the mean of a few texts, too few to be sure. If a
# slip is forgotten at the next space, as on the left, errors need not grow without end; where each step
# depends on all before it, in arithmetic say, they can. **The repair** in common use is to draw less from the
# tail. And greedy writing shows that little surprise is not the aim: it repeats itself. (Training on the
# model's own prefixes, *scheduled sampling*, is another repair, Bengio and others 2015; but then training no
# longer maximises the likelihood.)
#
# ## 11 · How good is it, and what does it cost?
#
# On the board: bits per byte on the test text, and the time for samples of 100 bytes each. In the setting
# `full` one more decoder is trained, on Tiny Shakespeare, a million characters of plays: six layers of width
# 384, the shape with which nanoGPT reports 1.47 nats per character (Karpathy 2022).
#
# **In production.** A network with $w$ weights does about $2w$ operations for a token forward (one product
# and one sum for each weight), and $6w$ in training: the way back forms two products of the same size, one
# for the gradient of the input and one for that of the weight. Attention adds $4\,L\,T\,C$ for a token that
# looks back at $T$ places ($TC$ products and sums for the matches, as many for the mean, in each of $L$ blocks).
# To write more tokens after a prompt, first read the prompt (*prefill*), then take one step for each:
#
# $$\text{time} = t_{\text{prefill}} + (\text{tokens to write}) \cdot t_{\text{step}} .$$
#
# Our $t_{\text{step}}$ runs over all the tokens again, so it grows with the text until the window is full. A
# server keeps the keys and values and runs over one token; then a step is bound by *reading* the weights, not
# by arithmetic. Lesson 07.

# %% folded="The board, and the plays" tags=["demo"]
# long: the plays in `full`, seconds, rows
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
for name, model, seconds, encode in (
    ("bytes", byte_gpt, byte_seconds, to_bytes),
    ("byte pairs", pair_gpt, pair_seconds, to_pairs),
):
    g = torch.Generator(device).manual_seed(12)
    began = time.perf_counter()
    ids = write(model, encode("The ")[None].repeat(32, 1), 32, g).tolist()  # waits for the device
    took, made = time.perf_counter() - began, sum(len(spelled[i]) for row in ids for i in row) - 32 * 4
    print(f"{name:10}: {took / 32:.4f} s a run of the network, {100 * took / made:.4f} s for 100 bytes")
    board.record(
        "06_gpt", f"GPT, {name}", data="prose", parameters=sum(p.numel() for p in model.parameters()),
        train_seconds=seconds, sample_seconds=100 * took / made, bits_per_byte=scores[f"GPT, {name}"],
    )  # fmt: skip
board.record(
    "06_gpt", "encoder–decoder", data="Pig Latin", train_seconds=pig_seconds,
    parameters=sum(p.numel() for p in translator.parameters()), exact_match=pig_right["held out"],
)  # fmt: skip
board.table("prose")

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went
# in. A number may be Python's own or a tensor that holds one; several results come as a tuple. Numbers are to
# be right to five digits. What goes in stays as it is, and so does what a function that you are given returns.
#
# ### 1 · Packed documents (easy, 20 minutes)
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


# %% test="packed" points=2
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


# %% test="typical" points=1
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
# ### 3 · Fewer keys than queries (medium, 20 minutes)
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


# %% test="grouped" points=2
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
# ### 4 · Bits per byte with more context (medium, 20 minutes)
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


# %% test="strided" points=2
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
# ### 5 · Repair a training step (medium, 20 minutes)
#
# One step of training on several small batches, because a large one does not fit in memory: the gradients add
# up, then the optimizer moves once (*gradient accumulation*). The result should be the step on the *mean loss
# over all real targets of all batches*, its gradient's norm clipped once at `max_norm`. Rows are filled up at
# the end with $-1$, which is neither input nor target; batches have different numbers of real targets, some
# have none. The step below runs, the loss falls, and **four** things are wrong. Find them, and write the step
# that is right. A gradient that lies around from before must not count.
#
# ```python
# def broken_step(model, optimizer, batches, max_norm):
#     """One step on batches of tokens (B, T), -1 for padding; the mean loss. It has four faults."""
#     losses = []
#     for tokens in batches:
#         logits = model(tokens[:, :-1].clamp(min=0))
#         loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, :-1].flatten(), ignore_index=-1)
#         loss.backward()
#         nn.utils.clip_grad_norm_(model.parameters(), max_norm)
#         losses.append(loss.item())
#     optimizer.step()
#     return sum(losses) / len(losses)
# ```


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


# %% test="cuts" points=2
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


# %% test="beam" points=2
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
# ### 8 · Build your own: a writer for any order (hard, 40 minutes)
#
# Section 8 ended with as many laws as there are orders. Train *one* network for all of them by the likelihood,
# and it can fill any gap, with an exact probability (Yang and others 2019, XLNet; Pannatier and others 2024,
# σ-GPT). It is a decoder that is told where each token stands, and **which place is asked next**:
# `model(tokens, places, asked)`, three tensors $(B, t)$ of whole numbers, gives logits $(B, t, V)$. Its row $i$
# has seen the first $i + 1$ tokens and their places, and speaks about the token at place `asked[:, i]`.
#
# For a sequence $x$ of $T$ tokens and an order $o$ of its places,
# $\log p(x) = \sum_{i=1}^{T} \log p(x_{o_i} \mid x_{o_1}, \dots, x_{o_{i-1}})$. The first token is asked for
# when nothing is known: for that the sequence begins with the token `start`, which stands at place $T$. You
# write both halves.
#
# - **The loss**: the mean nats per token. All $T$ factors of all rows in *one* call of the model; each row
#   has an order of its own.
# - **The sampler**: in each row the first `given` places of its order are known. Draw the others in the
#   order, one call of the model for each, with all rows, which are drawn independently. Say what their
#   log-probability is, given the known ones: whatever the model is, the sum of those factors of the loss.
#   What stands in `x` at other places is no token yet (it may be any number): overwrite it, and never show it
#   to the model.
#
# The hidden tests call your functions with a model that knows an exact law. There the loss is the exact
# $-\log p(x)/T$ for every order, and what you draw has the exact conditional law (six standard errors). One
# test trains a small network with your loss on a chain of letters, up to 0.2 nats per token above its entropy.
# To see it learn, run in a cell of your own (half a minute; *form* or *from*?):
#
# ```python
# class AnyOrder(nn.Module):
#     def __init__(self, V, T, C=64):
#         super().__init__()
#         self.token, self.at, self.next = nn.Embedding(V, C), nn.Embedding(T + 1, C), nn.Embedding(T, C)
#         self.blocks, self.out = nn.ModuleList(Block(C, 4) for _ in range(2)), nn.Linear(C, V)
#     def forward(self, tokens, places, asked):
#         x = self.token(tokens) + self.at(places) + self.next(asked)
#         for block in self.blocks:
#             x = block(x, causal=True)
#         return self.out(x)
# four = to_letters([w for w in words_of(prose.train) if len(w) == 4], 4)
# net, g = AnyOrder(30, 4).to(device), torch.Generator(device).manual_seed(0)
# def loss_of(net):
#     x = four[torch.randint(len(four), (128,), generator=g, device=device)]
#     return any_order_loss(net, x, torch.rand(x.shape, generator=g, device=device).argsort(1), START)
# fit(net, loss_of, 600, "any order")
# x = to_letters(["f__m"], 4).repeat(2_000, 1)
# for order in ([0, 3, 1, 2], [0, 3, 2, 1]):
#     drawn, _ = fill_in(net, x, torch.tensor(order, device=device).expand(2_000, 4), 2, START, g)
#     print(Counter("".join(chr(94 + i) for i in row) for row in drawn.tolist()).most_common(4))
# ```


# %% exercise="any-order"
def any_order_loss(model, x, order, start):
    """The mean nats per token of sequences x (B, T), each written in its order: a 0-d tensor with a gradient.

    model: as above; order: (B, T), each row the places 0 to T - 1 in the order in which they are written;
    start: the token that stands at place T, before all others, any number, perhaps one that stands in x, too.
    x and order are int64.
    """
    ### BEGIN SOLUTION
    tokens = x.gather(1, order)
    first = torch.full_like(tokens[:, :1], start)
    before = torch.cat([first, tokens[:, :-1]], dim=1)
    places = torch.cat([torch.full_like(first, x.shape[1]), order[:, :-1]], dim=1)
    return F.cross_entropy(model(before, places, order).flatten(0, 1), tokens.flatten())
    ### END SOLUTION


def fill_in(model, x, order, given, start, generator):
    """x with all places but the first `given` of each row's order drawn: (B, T), int64; and the nats (B,) of
    log p(what was drawn | what was given), 0 where nothing is drawn.

    given: 0 to T; the rest as above. Draws from the generator alone.
    """
    ### BEGIN SOLUTION
    first, log_p = torch.full_like(x[:, :1], start), torch.zeros(len(x), device=x.device)
    places = torch.cat([torch.full_like(first, x.shape[1]), order], dim=1)
    for t in range(given, x.shape[1]):
        known = torch.cat([first, x.gather(1, order[:, :t])], dim=1)
        row = model(known, places[:, : t + 1], order[:, : t + 1])[:, -1].log_softmax(-1)
        drawn = torch.multinomial(row.exp(), 1, generator=generator)
        x = x.scatter(1, order[:, t : t + 1], drawn)
        log_p = log_p + row.gather(1, drawn)[:, 0]
    return x, log_p
    ### END SOLUTION


# %% test="any-order" points=6
def coins(tokens, places, asked):
    """Knows the law of two letters of {0, 1}, which are 00 with probability 1/2, 01 with 1/6, 11 with 1/3."""
    assert places[:, 0].eq(2).all() and tokens[:, 0].eq(7).all(), "start, here 7, stands at place T first"
    joint = torch.tensor([[3.0, 1.0], [0.0, 2.0]]) / 6  # first letter, second letter
    first = torch.where(asked[:, :1, None] == 0, joint.sum(1), joint.sum(0))  # (B, 1, 2)
    rows = [joint[:, s] if a == 0 else joint[s] for s, a in zip(tokens[:, -1] % 2, asked[:, -1], strict=True)]
    both = [first] if tokens.shape[1] == 1 else [first, torch.stack(rows)[:, None]]
    return torch.cat(both, dim=1).log()


x, order = torch.tensor([[0, 0], [1, 1], [0, 1]]), torch.tensor([[0, 1], [1, 0], [1, 0]])
wanted = (math.log(2) + math.log(3) + math.log(6)) / 6
assert math.isclose(any_order_loss(coins, x, order, 7), wanted, rel_tol=1e-5), (
    "-log p(x) / T, in whatever order"
)
g = torch.Generator().manual_seed(0)
unknown = torch.tensor([[-9, 1]]).repeat(4_000, 1)
drawn, log_p = fill_in(coins, unknown, torch.tensor([[1, 0]]).repeat(4_000, 1), 1, 7, g)
assert (drawn[:, 1] == 1).all() and (unknown[:, 0] == -9).all(), "what is given stays, and so does your input"
assert abs(drawn[:, 0].float().mean() - 2 / 3) < 0.04, "before a 1 stands a 1 with probability 2/3"
assert torch.allclose(log_p.float(), torch.tensor([1 / 3, 2 / 3])[drawn[:, 0]].log()), (
    "the nats of what was drawn"
)

# %% [markdown]
# ## Further reading
#
# - P. Gage. *A new algorithm for data compression.* The C Users Journal, 1994. Byte pairs.
# - I. Witten, T. Bell. *The zero-frequency problem.* IEEE Transactions on Information Theory, 1991. Tables
#   of counts.
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
# - A. Radford and others. *Language models are unsupervised multitask learners.* 2019. GPT-2.
# - Z. Yang and others. *XLNet: generalized autoregressive pretraining for language understanding.* 2019,
#   arXiv:1906.08237.
# - A. Holtzman and others. *The curious case of neural text degeneration.* 2019, arXiv:1904.09751. Top-p.
# - B. Zhang, R. Sennrich. *Root mean square layer normalization.* 2019, arXiv:1910.07467.
# - C. Raffel and others. *Exploring the limits of transfer learning with a unified text-to-text transformer.*
#   2019, arXiv:1910.10683. The three shapes compared.
# - R. Xiong and others. *On layer normalization in the transformer architecture.* 2020, arXiv:2002.04745.
# - N. Shazeer. *GLU variants improve transformer.* 2020, arXiv:2002.05202. SwiGLU.
# - J. Su and others. *RoFormer: enhanced transformer with rotary position embedding.* 2021, arXiv:2104.09864.
# - C. Olsson and others. *In-context learning and induction heads.* 2022, arXiv:2209.11895.
# - A. Haviv and others. *Transformer language models without positional encodings still learn positional
#   information.* 2022, arXiv:2203.16634.
# - A. Karpathy. *nanoGPT.* 2022, github.com/karpathy/nanoGPT. A GPT on one screen.
# - T. Dao and others. *FlashAttention: fast and memory-efficient exact attention with IO-awareness.* 2022,
#   arXiv:2205.14135.
# - J. Ainslie and others. *GQA: training generalized multi-query transformer models from multi-head
#   checkpoints.* 2023, arXiv:2305.13245.
# - A. Pannatier, E. Courdier, F. Fleuret. *σ-GPTs: a new approach to autoregressive models.* 2024,
#   arXiv:2404.09562.
# - K. Jordan and others. *Muon: an optimizer for hidden layers in neural networks.* 2024,
#   kellerjordan.github.io/posts/muon.
# - J. Liu and others. *Muon is scalable for LLM training.* 2025, arXiv:2502.16982.

# %% tags=["demo"]
selfcheck.run("06_gpt")
