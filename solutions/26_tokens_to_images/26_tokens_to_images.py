# %% [markdown]
# # 26 · Tokens to images
#
# > **Turn a picture into a short sentence of learned words. Then a language model can write pictures, and a
# > caption is where it starts. It will never draw better than those words allow.**
#
# | | |
# |---|---|
# | You will build | two tokenizers: a Gumbel-softmax dVAE (DALL-E 1) and a VQGAN with a patch discriminator; a transformer that writes their codes from a caption; guidance; parallel decoding (MaskGIT); letters in styles that were never seen together |
# | You need to know | lesson 25 (vector quantisation: nearest code, straight-through gradient, EMA codebook), lesson 06 (transformer, causal mask, sampling), lesson 13 (GAN losses), lesson 10 (the ELBO) |
# | Time on two CPU cores | about four minutes to run; four to five hours to read and to solve |
# | Time on a GPU | some minutes, with larger networks and more steps (`full`) |

# %%
import math
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import linprog
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

# %%
device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
if device.type == "cpu":
    torch.set_num_threads(1)  # layers this small gain nothing from a second thread, which mostly waits
S = genmap.settings(
    # smoke, quick, full
    each=(2, 40, 40),
    channels=(8, 32, 96),
    codes=(16, 256, 512),
    vq_steps=(4, 900, 8_000),
    dvae_steps=(3, 800, 6_000),
    width=(16, 128, 256),
    layers=(2, 3, 6),
    prior_steps=(3, 600, 5_000),
    short_steps=(2, 200, 1_000),
    mask_steps=(3, 600, 5_000),
    batch=(8, 48, 128),
    test=(216, 2_160, 2_160),
    sweep=(216, 432, 2_160),
    draws=(500, 20_000, 100_000),
)
torch.manual_seed(26)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("tokens")
plt.show()

# %% [markdown]
# ## The compromise
#
# An autoregressive model over pixels (lesson 04) needs one step for each pixel, and most of its effort goes
# into the grain of single pixels. This family gives up the *exact likelihood of pixels*: a first network, the
# **tokenizer**, replaces a picture by a few codes, and what it drops is lost. In return the second network,
# the **prior**, is an ordinary language model over short sequences, and text, pictures and sound become the
# same kind of thing.
#
# | question | answer |
# |---|---|
# | What is modelled? | codes of a learned tokenizer, here 16 for a picture of 256 pixels |
# | Is the density explicit? | of the codes, exactly; of the pixels, no |
# | Is sampling one-shot or iterative? | serial: one code after the other; or a few passes that fill in many codes at once |
# | What conditions it? | text: words, seen by the prior before it writes |
# | How is it evaluated, and how does that fail? | likelihood of codes, which does not see what the tokenizer lost, and does not compare between tokenizers; Fréchet distance and accuracy of the decoded pictures |
#
# Van den Oord, Vinyals and Kavukcuoglu wrote pictures as codes in 2017 (VQ-VAE). In December 2020 Esser,
# Rombach and Ommer added a discriminator, which made far fewer codes enough (VQGAN). In February 2021 Ramesh
# and others trained one transformer on caption and codes together: DALL-E 1. Chang and others let a
# transformer fill in many codes at once (MaskGIT, February 2022). Parti (Yu and others, June 2022) took the
# serial way to 20 billion parameters.
#
# ## 1 · A draw that has a gradient
#
# A tokenizer must *choose*: one code of $K$. A choice has no gradient. DALL-E's tokenizer uses a trick that
# begins with an exact fact. Let $\ell_1, \dots, \ell_K$ be logits and $p = \operatorname{softmax}(\ell)$. Add
# to each logit a **Gumbel** variable $g_k = -\log(-\log u_k)$, with $u_k$ uniform between 0 and 1. Then the
# place of the largest sum is a draw from $p$:
#
# $$P\big(\arg\max_k\, (\ell_k + g_k) = j\big) = p_j .$$
#
# (Why: $E_k = e^{-(\ell_k + g_k)}$ is an exponential waiting time with rate $e^{\ell_k}$, and of several such
# clocks clock $j$ rings first with a probability that is its rate, divided by the sum of all rates.)
#
# The randomness now stands outside, as in the reparameterisation of lesson 10. Only the $\arg\max$ is still
# hard. Replace it by a softmax with a **temperature** $\tau$:
#
# $$s_k = \frac{e^{(\ell_k + g_k)/\tau}}{\sum_j e^{(\ell_j + g_j)/\tau}} .$$
#
# This is the **Gumbel-softmax** (Jang, Gu, Poole; Maddison, Mnih, Teh; both 2016). As $\tau \to 0$ the vector
# $s$ becomes the chosen code, as a vector of zeros and a one; for a larger $\tau$ it is a mixture, and it has
# a gradient.


# %%
def gumbel_like(x, generator=None):
    """Gumbel variables -log E, E exponential, of the shape of x, on its device."""
    return -torch.empty_like(x).exponential_(generator=generator).clamp(min=1e-20).log()


def gumbel_softmax(logits, tau, dim, generator=None):
    """A relaxed draw: softmax((logits + g) / tau) along `dim` (Jang et al. 2016, equation 2)."""
    return ((logits + gumbel_like(logits, generator)) / tau).softmax(dim)


# %% [markdown]
# First the exact part, on four codes with a known law. Then the gradient. Let the loss be
# $f(s) = (v \cdot s - c)^2$ with fixed numbers $v$ and $c$. What we want is the gradient of the *mean over
# hard draws*, and with four codes we can write it down:
#
# $$\frac{\partial}{\partial \ell_j} \sum_k p_k\, f(e_k) = p_j \Big( f(e_j) - \sum_k p_k f(e_k) \Big),$$
#
# where $e_k$ is the vector with a one at place $k$. We compare two estimators with it: the gradient through
# $s$, and the *score function* estimator $f(e_k)\,(e_k - p)$ with a hard draw $k$, which is right on average
# (lesson 12 calls such an estimate unbiased) and needs no gradient of $f$.

# %%
toy_logits = torch.tensor([1.0, 0.0, -0.5, 0.5], dtype=torch.float64)
toy_v, toy_c = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64), 0.4
p = toy_logits.softmax(0)
f_hard = (toy_v - toy_c) ** 2  # f(e_k) for each k
exact_gradient = p * (f_hard - (p * f_hard).sum())


def relaxed_gradients(tau, n, generator):
    """n gradients of f with respect to the logits through the Gumbel-softmax: (n, 4)."""
    logits = toy_logits.expand(n, 4).clone().requires_grad_()
    s = gumbel_softmax(logits, tau, 1, generator)
    return torch.autograd.grad(((s @ toy_v - toy_c) ** 2).sum(), logits)[0]


g = torch.Generator().manual_seed(1)
picked = (toy_logits + gumbel_like(toy_logits.expand(S.draws, 4), g)).argmax(1)
print("softmax   ", [f"{value:.3f}" for value in p.tolist()])
print("Gumbel-max", [f"{(picked == k).double().mean():.3f}" for k in range(4)])

# %% tags=["demo"]
taus = [0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0]
g = torch.Generator().manual_seed(2)
draws = [relaxed_gradients(tau, S.draws, g) for tau in taus]
bias = [(d.mean(0) - exact_gradient).norm().item() for d in draws]
noise = [d.var(0).sum().sqrt().item() for d in draws]
score = f_hard[picked][:, None] * (F.one_hot(picked, 4) - p)
print(f"exact gradient: length {exact_gradient.norm():.3f}")
print(
    f"score function: bias {(score.mean(0) - exact_gradient).norm():.3f}, "
    f"noise {score.var(0).sum().sqrt():.3f}"
)

# %% tags=["demo"]
fig, ax = plot.figure(height=3.0)
ax.plot(taus, bias, marker="o", label="Gumbel-softmax: bias")
ax.plot(taus, noise, marker="o", label="Gumbel-softmax: noise of one draw")
ax.axhline(
    score.var(0).sum().sqrt(), color=plot.COLOURS.grey, ls="--", label="score function: noise of one draw"
)
ax.set(title="A temperature buys bias for noise", xlabel=r"temperature $\tau$", ylabel="length", xscale="log")
ax.set_xticks([0.1, 0.2, 0.5, 1, 2, 3], labels=["0.1", "0.2", "0.5", "1", "2", "3"])
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# *Bias* is the length of the mean error, *noise* the spread of one draw. (The score function has no bias: the
# little that is printed for it is the chance of finitely many draws.) Small $\tau$: the right direction on
# average, but one draw says little. Large $\tau$: steady, and wrong. So training starts warm and cools down.
#
# ## 2 · The data, and what will never be shown
#
# Pictures of letters and digits, 16 × 16, each with a caption such as "bold italic serif letter G". There are
# 36 characters and 12 styles: 432 captions. We hide one style of every character, 36 captions, from *both*
# networks: from the tokenizer and from the prior. Each character is seen in eleven other styles, and each
# style with most other characters. In the end we ask for the 36.

# %%
HELD = data.unseen_captions()
glyphs = data.glyphs(16, each=S.each, held_out=HELD)
x_train, x_test = (torch.as_tensor(part.x, device=device) for part in (glyphs.train, glyphs.test))
unseen = np.isin(glyphs.test.captions, HELD)  # (2160,)
print(f"{len(x_train):,} pictures to learn from; hidden: {HELD[0]!r}, {HELD[16]!r} and {len(HELD) - 2} more")

# %% [markdown]
# The course's measuring net (lesson 33 tells how it is made) says what a picture shows. It has seen all 432
# captions, and it is the judge: **none of its features may enter a loss** here, or a model could learn to
# please it. (The VQGAN paper also trains with a *perceptual* loss, on features of a net that was trained to
# classify. We leave it out.)

# %% tags=["demo"]
judge = features.glyphs(16)


def style_of(images):
    """The style that the judge's second head sees: (N, 1, 16, 16) -> (N,)."""
    with torch.no_grad():
        return judge.net(images.float().clamp(0, 1).cpu())[1][1].argmax(1).numpy()


def measure(images, start=0):
    """Figures of pictures made for the test captions start, start + 1, ...:
    a dict, some for hidden captions.
    """
    part = slice(start, start + len(images))
    y, style, hidden = glyphs.test.y[part], glyphs.test.style[part], unseen[part]
    right, styled = judge(images).labels == y, style_of(images) == style
    figures = judge.compare(images, y, glyphs.test.x[part], y)
    named = {"style": styled.mean(), "both": (right & styled).mean()}
    hidden_only = {"unseen_accuracy": right[hidden].mean(), "unseen_style": styled[hidden].mean()}
    return figures, named | hidden_only


real, real_named = measure(x_test[: S.test])
print(f"real pictures: class {real['class_accuracy']:.3f}, style {real_named['style']:.3f}")

# %% [markdown]
# The judge reads the character of nearly every real picture. Of the style it is less sure: sans and mono
# letters of one weight differ by little on 16 pixels.
#
# ## 3 · Tokenizer A: a dVAE
#
# Both tokenizers have the same encoder and decoder. The encoder turns 16 × 16 pixels into a grid of 4 × 4
# vectors. The decoder goes the other way.


# %%
class Res(nn.Module):
    """h + a small convolutional network of h: (B, C, H, W) -> the same."""

    def __init__(self, C):
        super().__init__()
        self.net = nn.Sequential(
            nn.GroupNorm(8, C), nn.SiLU(), nn.Conv2d(C, C, 3, padding=1), nn.SiLU(), nn.Conv2d(C, C, 1)
        )

    def forward(self, h):
        return h + self.net(h)


def encoder(C, out):
    """(B, 1, 16, 16) -> (B, out, 4, 4)."""
    return nn.Sequential(
        nn.PixelUnshuffle(2), nn.Conv2d(4, C, 3, padding=1), Res(C),  # (B, C, 8, 8)
        nn.Conv2d(C, 2 * C, 4, stride=2, padding=1), Res(2 * C), Res(2 * C),  # (B, 2C, 4, 4)
        nn.GroupNorm(8, 2 * C), nn.SiLU(), nn.Conv2d(2 * C, out, 1),
    )  # fmt: skip


def decoder(C, D):
    """(B, D, 4, 4) -> (B, 1, 16, 16); its last layer with weights is number -2."""
    return nn.Sequential(
        nn.Conv2d(D, 2 * C, 3, padding=1), Res(2 * C), Res(2 * C),
        nn.Conv2d(2 * C, 4 * C, 1), nn.PixelShuffle(2), Res(C), Res(C),  # (B, C, 8, 8)
        nn.GroupNorm(8, C), nn.SiLU(), nn.Conv2d(C, 4, 3, padding=1), nn.PixelShuffle(2),
    )  # fmt: skip


# %% [markdown]
# In the **dVAE** (discrete VAE, DALL-E 1) the encoder gives $K$ logits at each of the 16 places:
# $q(z \mid x)$. A relaxed draw $s$ mixes the rows of a learned codebook, and the decoder paints. The ELBO
# (lesson 10) has a uniform prior over codes; its second term,
# $\mathrm{KL}(q \,\|\, \text{uniform}) = \log K - H(q)$ with the entropy $H$, averaged over data and places,
# falls into two parts:
#
# $$\underbrace{\mathbb E\,\mathrm{KL}\big(q(z \mid x)\,\|\,\text{uniform}\big)}_{\text{as written}} =
# \underbrace{\mathrm{KL}\big(\bar q\,\|\,\text{uniform}\big)}_{\text{are all codes used?}} +
# \underbrace{\mathbb E\,\mathrm{KL}\big(q(z \mid x)\,\|\,\bar q\big)}_{\text{how much does } z \text{ tell about } x?},\qquad \bar q = \mathbb E\, q(z \mid x).$$
#
# A tokenizer should tell much and use all of its words. So we weigh only the first part; weighing both alike,
# on pictures this small, leaves few codes in use.


# %%
def usage_terms(logits):
    """The two parts of the KL to uniform, in nats: (B, K, H, W) -> two numbers."""
    log_q = logits.float().log_softmax(1)
    q_bar = log_q.exp().mean((0, 2, 3))  # (K,)
    used = (q_bar * (q_bar * len(q_bar)).clamp(min=1e-20).log()).sum()
    whole = (log_q.exp() * log_q).sum(1).mean() + math.log(len(q_bar))
    return used, whole - used


class DVAE(nn.Module):
    """A dVAE with K codes; `tau` is its temperature."""

    def __init__(self, C, K, D=16):
        super().__init__()
        self.encode, self.decode = encoder(C, K), decoder(C, D)
        self.book, self.tau = nn.Parameter(torch.randn(K, D)), 1.0

    def codes(self, x):
        """The likeliest code at each place: (B, 1, 16, 16) -> (B, 4, 4)."""
        return self.encode(x).argmax(1)

    def paint(self, codes):
        """(B, 4, 4) -> (B, 1, 16, 16)."""
        return self.decode(self.book[codes].movedim(-1, 1))

    def loss(self, x, weight=0.01):
        """L1 distance of the relaxed reconstruction, and the use of codes."""
        logits = self.encode(x)
        s = gumbel_softmax(logits, self.tau, 1)
        painted = self.decode(torch.einsum("bkhw,kd->bdhw", s, self.book))
        return (painted - x).abs().mean() + weight * usage_terms(logits)[0]


# %%
def warm_cosine(optimizer, steps):
    """A learning rate that rises for a twentieth of the steps, then falls to 0."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, 20 * (k + 1) / steps) * math.cos(math.pi / 2 * k / (steps + 1)) ** 2
    )


def batches(steps, size, generator, title):
    """Pairs (step, indices of training pictures) under a progress bar."""
    for step in progress.track(range(steps), title=title):
        yield step, torch.randint(len(x_train), (size,), generator=generator).to(device)


def descend(loss, *optimizers):
    """One step of each optimizer down the loss."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    scaler.scale(loss).backward()
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()


# %%
def train_dvae(dvae, steps, size, seed=0):
    """Trains in place: from temperature 1 down to 0.3, evenly in its logarithm."""
    optimizer = torch.optim.AdamW(dvae.parameters(), 4e-3, betas=(0.9, 0.99), weight_decay=0.0)
    rate, curve = warm_cosine(optimizer, steps), progress.Curve("dVAE")
    for step, i in batches(steps, size, torch.Generator().manual_seed(seed), "dVAE"):
        dvae.tau = 0.3 ** min(1, 1.25 * step / steps)
        with genmap.autocast(device):
            loss = dvae.loss(x_train[i])
        descend(loss, optimizer)
        rate.step()
        curve.add(step, loss.detach())
    curve.close()


# %%
@torch.no_grad()
def all_codes(tokenizer, x):
    """Codes of many pictures, in raster order: (N, 1, 16, 16) -> (N, 16)."""
    return torch.cat([tokenizer.codes(part).flatten(1) for part in x.split(1_000)])


@torch.no_grad()
def all_painted(tokenizer, codes):
    """Pictures of many codes, ink between 0 and 1: (N, 16) -> (N, 1, 16, 16)."""
    parts = [tokenizer.paint(part.view(-1, 4, 4)) for part in codes.split(1_000)]
    return torch.cat(parts).float().clamp(0, 1)


def perplexity(codes, K):
    """exp of the entropy of how often each of K codes is used: K if all are used alike."""
    p = torch.bincount(codes.flatten().cpu(), minlength=K).double() / codes.numel()
    return torch.special.entr(p).sum().exp().item()


# %% tags=["demo"]
torch.manual_seed(1)
dvae, clock = DVAE(S.channels, min(S.codes, 128)).to(device), time.perf_counter()
train_dvae(dvae, S.dvae_steps, min(S.batch, 32))
dvae_seconds = time.perf_counter() - clock
dvae_codes = all_codes(dvae, x_test[: S.test])
dvae_used = perplexity(dvae_codes, len(dvae.book))
print(f"{dvae_seconds:.0f} s; perplexity {dvae_used:.0f} of {len(dvae.book)} codes")

# %% [markdown]
# ## 4 · Tokenizer B: a VQGAN
#
# A VQ-VAE (lesson 25) takes the nearest row of the codebook instead of a draw, and copies the gradient
# straight through. The cell below restates it: codebook by moving averages, codes that die are moved to a
# vector of the batch.


# %%
# long: one class: rounding and counting share their state
class Quantiser(nn.Module):
    """Lesson 25 in short: nearest of K codes, straight-through gradient,
    EMA codebook, revival of dead codes.
    """

    def __init__(self, K, D):
        super().__init__()
        self.register_buffer("book", torch.randn(K, D))
        self.register_buffer("count", torch.ones(K))
        self.register_buffer("total", self.book.clone())

    def nearest(self, z):
        """(B, D, H, W) -> (B, H, W)."""
        flat = z.float().movedim(1, -1)
        return (self.book.square().sum(1) - 2 * flat @ self.book.T).argmin(-1)

    @torch.no_grad()
    def learn(self, z, codes, decay=0.98):
        """Moves each code towards the mean of the vectors that chose it."""
        flat = z.float().movedim(1, -1).flatten(0, -2)  # (B H W, D)
        chosen = F.one_hot(codes.flatten(), len(self.book)).float()
        self.count.lerp_(chosen.sum(0), 1 - decay)
        self.total.lerp_(chosen.T @ flat, 1 - decay)
        fair = len(flat) / len(self.book)
        dead = (self.count < 0.03 * fair)[:, None]
        fresh = flat[torch.randint(len(flat), (len(self.book),), device=flat.device)]
        self.book.copy_(torch.where(dead, fresh, self.total / self.count[:, None].clamp(min=1e-6)))
        self.count.copy_(torch.where(dead[:, 0], 0.2 * fair, self.count))
        self.total.copy_(torch.where(dead, 0.2 * fair * fresh, self.total))


# %%
class VQGAN(nn.Module):
    """Encoder, quantiser, decoder; the discriminator stands outside."""

    def __init__(self, C, K, D=16):
        super().__init__()
        self.encode, self.quantise, self.decode = encoder(C, D), Quantiser(K, D), decoder(C, D)

    def codes(self, x):
        """(B, 1, 16, 16) -> (B, 4, 4)."""
        return self.quantise.nearest(self.encode(x))

    def paint(self, codes):
        """(B, 4, 4) -> (B, 1, 16, 16)."""
        return self.decode(self.quantise.book[codes].movedim(-1, 1))

    def forward(self, x):
        """The reconstruction, and the commitment loss: pictures (B, 1, 16, 16) -> the same, a number."""
        z = self.encode(x).float()
        with torch.autocast(x.device.type, enabled=False):  # distances need all the digits
            codes = self.quantise.nearest(z)
            e = self.quantise.book[codes].movedim(-1, 1)
            if self.training:
                self.quantise.learn(z, codes)
        return self.decode(z + (e - z).detach()), F.mse_loss(z, e)


# %% [markdown]
# What does the "GAN" add? L1 distance punishes a stroke that is one pixel off twice, and a grey blur between
# two places once. So it blurs. A **patch discriminator** (Isola and others, 2016) looks at windows of a
# picture, here of 12 × 12 pixels, and says of each whether it is real. It knows what edges look like, and a
# blur gives itself away. With $d(\cdot)$ for its answers, averaged over patches, the *hinge* losses are
#
# $$L_D = \mathbb E \max(0, 1 - d(x)) + \mathbb E \max(0, 1 + d(\hat x)),\qquad L_G = -\mathbb E\, d(\hat x),$$
#
# with $x$ real and $\hat x$ its reconstruction. The tokenizer's loss is
# $L_{\text{rec}} + \tfrac12 \lambda L_G$ plus lesson 25's commitment, with $L_{\text{rec}}$ the L1 distance
# of $x$ and $\hat x$. A fixed $\lambda$ would be too strong at one time and too weak at another. VQGAN sets
# it anew in every step, so that $L_{\text{rec}}$ and $\lambda L_G$ pull with like force at the decoder's last
# weights $W$ (the ½ lets the first one lead; $\delta$ is a small number against division by 0):
#
# $$\lambda = \frac{\lVert \nabla_W L_{\text{rec}} \rVert}{\lVert \nabla_W L_G \rVert + \delta} .$$
#
# The discriminator joins late, when the pictures are already close: before that every blur is easy to tell.


# %%
def patch_discriminator(C=16):
    """(B, 1, 16, 16) -> (B, 1, 8, 8): one answer for each window of 12 x 12 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, C, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
        nn.Conv2d(C, 2 * C, 3, padding=1), nn.GroupNorm(8, 2 * C), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * C, 1, 3, padding=1),
    )  # fmt: skip


def adaptive_weight(rec, adversarial, W, delta=1e-4):
    """lambda: ratio of the two gradients' lengths at W (Esser et al. 2020, equation 7), a number."""
    pulls = (torch.autograd.grad(scaler.scale(loss), W, retain_graph=True)[0] for loss in (rec, adversarial))
    a, b = (pull.norm() / scaler.get_scale() for pull in pulls)
    return (a / (b + delta)).clamp(max=1e4).detach()


def hinge(real, fake):
    """The discriminator's loss: answers of any shape -> a number."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


# %%
def tokenizer_step(model, critic, optimizers, x, adversarial, strength=0.5):
    """One step of the VQGAN and, if `adversarial`, of its discriminator; L1 distance, on the device."""
    with genmap.autocast(x.device):
        painted, commitment = model(x)
        rec = (painted - x).abs().mean()
        loss = rec + 0.25 * commitment
        if adversarial:
            fooled = -critic(painted).mean()
            loss = loss + strength * adaptive_weight(rec, fooled, model.decode[-2].weight) * fooled
    descend(loss, optimizers[0])
    if adversarial:
        loss_d = hinge(critic(x), critic(painted.detach().float()))
        optimizers[1].zero_grad()
        loss_d.backward()
        optimizers[1].step()
    return rec.detach()


# %%
def train_vqgan(model, critic, steps, size, start=0.7, seed=0):
    """Trains in place; the discriminator joins after a share `start` of the steps."""
    optimizers = [
        torch.optim.AdamW(model.parameters(), 3e-3, betas=(0.9, 0.99)),
        torch.optim.AdamW(critic.parameters(), 2e-3, betas=(0.5, 0.9)),
    ]
    rate, curve = warm_cosine(optimizers[0], steps), progress.Curve("VQGAN", ylabel="L1 distance")
    for step, i in batches(steps, size, torch.Generator().manual_seed(seed), "VQGAN"):
        curve.add(step, tokenizer_step(model, critic, optimizers, x_train[i], step >= start * steps))
        rate.step()
    curve.close()
    return model.eval()


# %% tags=["demo"]
torch.manual_seed(2)
vqgan, clock = VQGAN(S.channels, S.codes).to(device), time.perf_counter()
train_vqgan(vqgan, patch_discriminator().to(device), S.vq_steps, min(S.batch, 32))
vq_seconds = time.perf_counter() - clock
vq_codes = all_codes(vqgan, x_test[: S.test])
vq_used = perplexity(vq_codes, S.codes)
print(f"{vq_seconds:.0f} s; perplexity {vq_used:.0f} of {S.codes} codes")

# %% [markdown]
# ## 5 · The ceiling
#
# Before any prior is trained, we know much about how good the pictures can get. Encode real test pictures,
# decode, and measure. A prior that had learned the distribution of codes *perfectly* would give these
# figures, apart from chance. (Its Fréchet distance would lie a little higher: here each picture is compared
# with a set that holds its own original.)

# %% tags=["demo"]
ceilings = {}
print("                class   style    both  Fréchet")
for name, model, codes in (("dVAE", dvae, dvae_codes), ("VQGAN", vqgan, vq_codes)):
    ceilings[name] = measure(all_painted(model, codes))
for name, (figures, named) in {"real": (real, real_named), **ceilings}.items():
    scores = figures["class_accuracy"], named["style"], named["both"]
    print(f"{name:14}", *(f"{score:7.3f}" for score in scores), f"{figures['frechet']:8.2f}")

# %% tags=["demo"]
fig, axes = plot.figure(3, 1, height=0.85)
shown = x_test[:16], all_painted(dvae, dvae_codes[:16]), all_painted(vqgan, vq_codes[:16])
for ax, x, title in zip(axes, shown, ("Test pictures", "dVAE", "VQGAN"), strict=True):
    plot.images(x, columns=16, ax=ax, title=title)
plt.show()

# %% [markdown]
# Look at serifs and at slopes: the character survives the bottleneck better than its style. The VQGAN has
# more codes and has trained a little longer; it is the better of the two, and we go on with it. A picture is
# now 16 whole numbers.

# %% [markdown]
# ## 6 · From a caption to a vector
#
# The captions use 43 words. Each gets a learned vector; the caption is the sum of its words' vectors, sent
# through a small network. A sum does not know the order of words, and here no caption needs it. Parti reads
# its captions with a transformer; for *the red cube on the blue ball* a sum would fail.

# %%
WORDS = ["bold", "italic", "sans", "serif", "mono", "letter", "digit", *data.CAPITALS_AND_DIGITS]
NUMBER = {word: i + 1 for i, word in enumerate(WORDS)}  # 0 is "no word"


def read(captions):
    """Captions of at most five words as numbers: N strings -> (N, 5), filled up with 0.

    KeyError: unknown word.
    """
    rows = [[NUMBER[word] for word in text.split()] for text in captions]
    return torch.tensor([row + [0] * (5 - len(row)) for row in rows], device=device)


w_train, w_test = read(glyphs.train.captions), read(glyphs.test.captions)
print("bold italic serif letter G ->", read(["bold italic serif letter G"])[0].tolist())

# %% [markdown]
# ## 7 · A language model of pictures
#
# Write the grid of codes line by line, from the upper left: $z_1, \dots, z_{16}$. This is the **raster
# order**. With the caption $c$ the chain rule (lesson 03) gives, exactly,
#
# $$\log p(z \mid c) = \sum_{i=1}^{16} \log p(z_i \mid z_1, \dots, z_{i-1}, c) .$$
#
# The network is lesson 06's transformer, restated in the next cell: causal attention, and a *cache* of keys
# and values, so that the sampler computes one place at a time. Two things are new. It reads a $K + 1$-st
# code, used as "start" here and as "hidden" in section 10; and the caption's vector is **added at every
# position**. Section 9 asks how much that matters.


# %%
class Block(nn.Module):
    """Attention and a two-layer network, each added to h (B, T, d);
    a cache is a list that is filled in place.
    """

    def __init__(self, d, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)

    def forward(self, h, cache=None):
        B, T, d = h.shape
        qkv = self.qkv(self.norm1(h)).view(B, T, 3, self.heads, -1).transpose(1, 3)  # (B, heads, 3, T, .)
        q, k, v = qkv.unbind(2)
        if cache is not None:  # the places before this one are known already
            k, v = (torch.cat([*old, new], dim=2) for old, new in zip(cache or [[], []], (k, v), strict=True))
            cache[:] = [[k], [v]]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal and T > 1)
        h = h + self.out(mixed.transpose(1, 2).reshape(B, T, d))
        return h + self.down(F.gelu(self.up(self.norm2(h)), approximate="tanh"))


# %%
class CodeTransformer(nn.Module):
    """Logits of the codes at T places: codes (B, T) in 0 ... K, words (B, 5) -> (B, T, K).

    causal: a place sees those before it, else all.
    everywhere: the caption enters at every place, else at the first.
    """

    def __init__(self, K, N=16, d=128, layers=3, heads=4, causal=True, everywhere=True):
        super().__init__()
        self.K, self.N, self.everywhere = K, N, everywhere
        self.code, self.word = nn.Embedding(K + 1, d), nn.Embedding(len(WORDS) + 1, d, padding_idx=0)
        self.place = nn.Parameter(0.02 * torch.randn(N, d))
        self.caption = nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d))
        self.blocks = nn.ModuleList(Block(d, heads, causal) for _ in range(layers))
        self.norm, self.leave = nn.LayerNorm(d), nn.Linear(d, K)
        nn.init.normal_(self.code.weight, std=0.1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, codes, words, start=0, caches=None):
        places = torch.arange(start, start + codes.shape[1], device=codes.device)
        c = self.caption(self.word(words).sum(1))[:, None]  # (B, 1, d)
        if not self.everywhere:
            c = c * (places == 0)[None, :, None]
        h = self.code(codes) + self.place[places] + c
        for i, block in enumerate(self.blocks):
            h = block(h, None if caches is None else caches[i])
        return self.leave(self.norm(h))


# %%
def shifted(codes, first):
    """What the network reads: `first`, then all codes but the last one: (B, N) -> (B, N)."""
    return F.pad(codes[:, :-1], (1, 0), value=first)


def raster_loss(net, codes, words):
    """-log p(z_i | z_<i, c), the mean over places and pictures, in nats for a code."""
    logits = net(shifted(codes, net.K), words)
    return F.cross_entropy(logits.float().flatten(0, 1), codes.flatten())


# %% [markdown]
# Two checks that need no training. The sampler, which feeds one place at a time and has never seen a later
# one, must get the logits of the whole network: so no place looks ahead. And the law over *all* sequences
# must sum to 1: with 3 codes at 4 places there are 81, and we can add them up.

# %%
torch.manual_seed(3)
tiny = CodeTransformer(3, N=4, d=16, layers=2, heads=2).to(device)
nn.init.normal_(tiny.leave.weight)
every = torch.cartesian_prod(*[torch.arange(3, device=device)] * 4)  # (81, 4)
caption_81 = read(["letter G"]).expand(81, 5)
with torch.no_grad():
    log_p = tiny(shifted(every, 3), caption_81).log_softmax(2).gather(2, every[:, :, None])[:, :, 0].sum(1)
    caches = [[] for _ in tiny.blocks]
    one_by_one = [tiny(z, caption_81, i, caches) for i, z in enumerate(shifted(every, 3).split(1, dim=1))]
    error = (torch.cat(one_by_one, 1) - tiny(shifted(every, 3), caption_81)).abs().max()
print(f"sum over all 81 sequences: {log_p.exp().sum():.6f}; cached against whole: {error:.0e}")

# %% [markdown]
# Training is language modelling. The matrices of the blocks learn by **Muon** (Jordan and others, 2024), an
# optimiser that makes the directions of a matrix's update equally long; AdamW trains the rest. One caption in
# ten is dropped for guidance: all its words become 0.


# %%
def optimizers_of(net, rate=0.02, other=3e-3):
    """Muon for the matrices of the blocks, where this torch has it; AdamW for everything else."""
    matrices = [p for p in net.blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    adam = {"betas": (0.9, 0.99), "weight_decay": 0.01}
    if not hasattr(torch.optim, "Muon"):
        return [torch.optim.AdamW(net.parameters(), other, **adam)]
    muon = torch.optim.Muon(matrices, rate, weight_decay=0.01)
    return [muon, torch.optim.AdamW(rest, other, **adam)]


def prior_step(net, loss_of, optimizers, codes, words):
    """One step on codes (B, 16) and words (B, 5), of which a tenth are dropped; the loss, on the device."""
    dropped = torch.rand(len(words), 1, device=words.device) < 0.1
    with genmap.autocast(codes.device):
        loss = loss_of(net, codes, torch.where(dropped, 0, words))
    descend(loss, *optimizers)
    return loss.detach()


# %%
def train_prior(net, loss_of, codes, steps, title, watch=None, seed=0):
    """Trains in place on the codes (N, 16) of the training pictures; the seconds that it took."""
    optimizers, clock = optimizers_of(net), time.perf_counter()
    rates = [warm_cosine(optimizer, steps) for optimizer in optimizers]
    curve = progress.Curve(title, ylabel="nats for a code")
    for step, i in batches(steps, S.batch, torch.Generator().manual_seed(seed), title):
        curve.add(step, prior_step(net, loss_of, optimizers, codes[i], w_train[i]))
        for rate in rates:
            rate.step()
        if watch:
            watch(step + 1)
    curve.close()
    return time.perf_counter() - clock


# %% [markdown]
# The sampler writes one code after the other. With **guidance** $w$ (lesson 19) it asks the network twice,
# with the caption and without, and goes past the caption's logits, away from those of no caption:
#
# $$\tilde\ell = \ell_{\text{none}} + w\,(\ell_{c} - \ell_{\text{none}}), \qquad z_i \sim \operatorname{softmax}(\tilde\ell / T) .$$
#
# $w = 1$ is the model itself. $T$ is the temperature of lesson 06. On *logits* guidance is well defined: any
# logits are a law.


# %%
def choose(logits, temperature, generator):
    """A draw from softmax(logits / T): (..., K) -> (...), random numbers from the CPU's generator."""
    u = torch.empty(logits.shape).exponential_(generator=generator).clamp(min=1e-20)
    return (logits.float() / temperature - u.log().to(logits.device)).argmax(-1)  # section 1's Gumbel-max


def guided(net, codes, words, w, **how):
    """Logits with guidance w; the network runs once on the captions and, if w is not 1, on none."""
    if w == 1:
        return net(codes, words, **how)
    both = net(codes.repeat(2, 1), torch.cat([words, torch.zeros_like(words)]), **how)
    with_words, without = both.chunk(2)
    return without + w * (with_words - without)


@torch.no_grad()
def write(net, words, w=2.0, temperature=1.0, seed=0):
    """Codes in raster order, one place at a time: (B, 5) -> (B, N)."""
    generator, caches = torch.Generator().manual_seed(seed), [[] for _ in net.blocks]
    z = [torch.full((len(words), 1), net.K, device=words.device)]
    for i in range(net.N):
        logits = guided(net, z[-1], words, w, start=i, caches=caches)
        z.append(choose(logits, temperature, generator))
    return torch.cat(z[1:], dim=1)


# %% [markdown]
# We watch six captions while it trains. Three of them belong to the hidden ones: their letter and their style
# were never seen together.

# %% tags=["demo"]
train_codes = all_codes(vqgan, x_train)
SHOWN = [HELD[16], HELD[22], HELD[5], "bold italic serif letter R", "mono letter W", "italic sans digit 8"]
torch.manual_seed(4)
prior = CodeTransformer(S.codes, d=S.width, layers=S.layers).to(device)
moments = sorted({max(1, S.prior_steps * k // 12) for k in (1, 3, 6, 12)})
seen = {}


def watch(step):
    if step in moments:
        seen[step] = all_painted(vqgan, write(prior, read(SHOWN).repeat_interleave(2, 0)))


prior_seconds = train_prior(prior, raster_loss, train_codes, S.prior_steps, "raster prior", watch)

# %% tags=["demo"]
fig, axes = plot.figure(len(seen), 1, height=0.95)
for ax, (step, x) in zip(np.atleast_1d(axes), seen.items(), strict=True):
    plot.images(x, columns=12, ax=ax, title=f"After {step} steps")
plt.show()
print("two of each:", "; ".join(SHOWN))

# %% [markdown]
# ## 8 · Guidance, and captions that were never seen
#
# We ask for every caption of the test split. `both` counts pictures whose character *and* style the judge
# confirms; `unseen` counts the hidden captions alone. `precision` is the share of written pictures that lie
# near real ones, `recall` the share of real pictures that lie near written ones.

# %% tags=["demo"]
guided_figures = {}
print("guidance    class  unseen   style  unseen style   both  Fréchet  recall")
for w in (1.0, 1.5, 2.0, 3.0, 5.0):
    clock = time.perf_counter()
    z = write(prior, w_test[: S.test], w)
    x = all_painted(vqgan, z)
    seconds = (time.perf_counter() - clock) / len(x)
    figures, named = guided_figures[w] = measure(x)
    guided_figures[w] = (figures, named, seconds, z)
    scores = figures["class_accuracy"], named["unseen_accuracy"], named["style"], named["unseen_style"]
    tail = f"{named['both']:7.3f}{figures['frechet']:9.2f}{figures['recall']:8.3f}"
    print(f"{w:8g}", *(f"{score:7.3f}" for score in scores[:3]), f"{scores[3]:13.3f}", tail)

# %% tags=["demo"]
ws, ceiling = list(guided_figures), ceilings["VQGAN"]
fig, axes = plot.figure(1, 2, height=3.2)
curves = {"character": [guided_figures[w][0]["class_accuracy"] for w in ws]}
curves |= {"style": [guided_figures[w][1]["style"] for w in ws]}
curves |= {"hidden captions: character": [guided_figures[w][1]["unseen_accuracy"] for w in ws]}
curves |= {"hidden captions: style": [guided_figures[w][1]["unseen_style"] for w in ws]}
for (name, values), colour, line in zip(
    curves.items(), [*plot.COLOURS][:2] * 2, ["-", "-", ":", ":"], strict=True
):
    axes[0].plot(ws, values, line, color=colour, marker="o", label=name)
axes[0].set(title="Share that is right", xlabel="guidance $w$", ylim=(0, 1.05))
axes[0].legend(loc="lower right", fontsize=9)
axes[1].plot(ws, [guided_figures[w][0]["frechet"] for w in ws], marker="o", label="prior")
axes[1].axhline(ceiling[0]["frechet"], color=plot.COLOURS.grey, ls="--", label="its tokenizer")
axes[1].set(title="Fréchet distance", xlabel="guidance $w$", ylim=(0, None))
axes[1].legend(loc="lower right", fontsize=9)
plt.show()

# %% [markdown]
# Guidance lifts character and style, for hidden captions, too: the words' vectors add up, and so a letter and
# a style that never met can. Too much of it costs: the pictures of one caption look more and more alike,
# recall falls and the distance grows. The two accuracies on hidden captions rest on 180 pictures each; expect
# them to wobble by a few hundredths.

# %% tags=["demo"]
columns = [HELD[i] for i in (10, 13, 16, 20, 25, 31)]
x = all_painted(vqgan, write(prior, read(columns).repeat_interleave(2, 0), 2.0, seed=1))
fig, axes = plot.figure(2, 1, height=1.0)
plot.images(x, columns=12, ax=axes[0], title="Written for captions that no network has seen (two each)")
true = [np.flatnonzero(np.array(glyphs.test.captions) == text)[:2] for text in columns]
plot.images(x_test[np.concatenate(true)], columns=12, ax=axes[1], title="Real pictures with these captions")
plt.show()
print("; ".join(columns))

# %% [markdown]
# ## 9 · Where the caption has to enter
#
# Text usually comes *before* the codes, as a prefix: DALL-E 1 has up to 256 pieces of text, then 1,024 codes.
# Attention must then look back at it from every place. Does it matter? We train two networks from the same
# start for the same few steps: one has the caption added at every place, the other at the *first* place only.

# %% tags=["demo"]
places = {}
for name, everywhere in (("every place", True), ("first place", False)):
    torch.manual_seed(5)
    net = CodeTransformer(S.codes, d=S.width, layers=S.layers, everywhere=everywhere).to(device)
    train_prior(net, raster_loss, train_codes, S.short_steps, f"caption at {name}")
    places[name] = all_painted(vqgan, write(net, w_test[: S.test], 2.0))
    figures, named = measure(places[name])
    print(f"caption at {name}: class {figures['class_accuracy']:.3f}, style {named['style']:.3f}")

# %% tags=["demo"]
fig, axes = plot.figure(2, 1, height=1.1)
for ax, (name, x) in zip(axes, places.items(), strict=True):
    asked = [data.CAPITALS_AND_DIGITS[k] for k in glyphs.test.y[:12]]
    plot.images(x[:12], columns=12, ax=ax, title=f"Caption at {name}", captions=asked)
plt.show()

# %% [markdown]
# Under each picture stands the character that was asked for. On 16 codes the two lie close: the short way
# gets the character right a little more often, but attention finds a caption at the first place, too, and the
# loss of that network is no worse. Large models use prefixes. A condition that reaches every place by
# addition returns in lesson 29, where it modulates every layer.
#
# ## 10 · Many codes at once
#
# Sixteen places, sixteen passes; for 32 × 32 codes it would be 1,024. **MaskGIT** drops the order. Hide some
# places, chosen at random, and let a transformer *without* causal mask guess the hidden codes from the
# visible ones. Which share is hidden? In training $\cos(\pi u / 2)$ with $u$ uniform on $[0, 1)$: often much,
# since the sampler starts from nothing.


# %%
def hide(codes, u, generator=None):
    """Which places are hidden: ceil(N cos(pi u / 2)) of each row, at random: (B, N), (B,) -> (B, N) bool."""
    count = (codes.shape[1] * torch.cos(math.pi / 2 * u)).ceil().clamp(min=1)
    order = torch.rand(codes.shape, generator=generator, device=codes.device).argsort(1).argsort(1)
    return order < count[:, None]


def masked_loss(net, codes, words):
    """-log p(z_i | visible, c) at the hidden places, their mean in nats; the shares are spread evenly."""
    u = (torch.rand(1, device=codes.device) + torch.arange(len(codes), device=codes.device)) / len(codes)
    hidden = hide(codes, u % 1)
    logits = net(torch.where(hidden, net.K, codes), words)
    return F.cross_entropy(logits[hidden].float(), codes[hidden])


# %% [markdown]
# Why not fill in everything in one pass? Because the places would not know of each other. Take two places
# with two codes, and a law that says that both are equal: 00 and 11 with probability ½ each. The true law of
# each place is ½, ½. Drawn at once, the pair is unequal half of the time; drawn one after the other, never. A
# pass may commit many places only if they hardly depend on each other *given what is visible*.
#
# So MaskGIT draws a guess for every hidden place, keeps those in which it is most *confident*, and hides the
# rest again. After pass $s$ of $S$, $\lfloor N \cos(\tfrac{\pi s}{2 S}) \rfloor$ places stay hidden: few are
# kept at first, when little is known, many at the end. The confidence is $\log p$ of the drawn code, plus
# Gumbel noise that fades out; without noise the safest place always comes first, and the pictures become
# alike.


# %%
def keep_confident(codes, guess, confidence, hidden_after, K):
    """Commits the most confident guesses until `hidden_after` places are left hidden:
    (B, N) each -> (B, N).
    """
    hidden = codes == K
    confidence = confidence.masked_fill(~hidden, torch.inf)  # what is committed stays
    rank = confidence.argsort(1).argsort(1)  # 0: the least confident
    return torch.where(hidden, guess, codes).masked_fill(rank < hidden_after, K)


@torch.no_grad()
def fill_in(net, words, passes=8, w=2.0, temperature=1.0, noise=1.5, seed=0):
    """MaskGIT's parallel decoding (Chang et al. 2022, section 3.2): (B, 5) -> (B, N)."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.full((len(words), net.N), net.K, device=words.device)
    for s in range(1, passes + 1):
        logits = guided(net, codes, words, w)
        guess = choose(logits, temperature, generator)
        log_p = (logits.float() / temperature).log_softmax(2).gather(2, guess[:, :, None])[:, :, 0]
        fading = noise * (1 - s / passes) * gumbel_like(torch.empty(log_p.shape), generator)
        left = math.floor(net.N * math.cos(math.pi / 2 * s / passes) + 1e-9)
        codes = keep_confident(codes, guess, log_p + fading.to(log_p.device), left, net.K)
    return codes


# %% tags=["demo"]
torch.manual_seed(6)
masked = CodeTransformer(S.codes, d=S.width, layers=S.layers, causal=False).to(device)
masked_seconds = train_prior(masked, masked_loss, train_codes, S.mask_steps, "masked transformer")

# %% [markdown]
# Its loss is not that of the raster prior: it is the mean over other questions, and cannot be compared.
# Samples can. Two clocks are needed, too. *Passes* decide when somebody waits for one picture: each is a
# round trip through the network. *Work* decides when pictures are made by the thousand: the cached raster
# sampler computes each place once, 16 in all; a masked pass computes all 16 every time. (A Fréchet distance
# over fewer pictures comes out larger: compare within this table, not with section 8.)


# %% tags=["demo"]
def clocked(sampler, words, repeats=1):
    """Result and seconds a picture of a sampler."""
    clock = time.perf_counter()
    for _ in range(repeats):
        z = sampler(words)
    z.sum().item()  # waits for the device
    return z, (time.perf_counter() - clock) / repeats / len(words)


words = w_test[: S.sweep]
runs = {("raster", 16): lambda words: write(prior, words)}
runs |= {("masked", k): lambda words, k=k: fill_in(masked, words, k) for k in (1, 2, 4, 8, 16)}
race = {}
for key, sampler in runs.items():
    z, many = clocked(sampler, words)
    _, alone = clocked(sampler, words[:1], repeats=3)
    figures, named = measure(all_painted(vqgan, z))
    race[key] = figures["frechet"], named["both"], 1_000 * alone, 1_000 * many
    print(
        f"{key[0]:7} {key[1]:2} passes: Fréchet {race[key][0]:5.2f}, both right {race[key][1]:.3f},", end=" "
    )
    print(f"{race[key][2]:5.1f} ms alone, {race[key][3]:5.2f} ms each of {len(words)}")

# %% tags=["demo"]
# long: one figure of three panels
fig, axes = plot.figure(1, 3, height=3.1)
for ax, (column, xlabel) in zip(
    axes, ((None, "passes"), (2, "ms, one alone"), (3, f"ms each, {S.sweep} at once")), strict=True
):
    keys = [key for key in race if key[0] == "masked"]
    at = [key[1] if column is None else race[key][column] for key in keys]
    ax.plot(at, [race[key][0] for key in keys], marker="o", label="masked, 1 to 16 passes")
    best = race["raster", 16]
    ax.plot(
        [16 if column is None else best[column]],
        [best[0]],
        "s",
        ms=9,
        color=plot.COLOURS.vermilion,
        label="raster, 16 passes",
    )
    ax.set(xlabel=xlabel, xscale="log", ylim=(0, 1.1 * max(race[key][0] for key in keys)))
    ax.set_xticks([], minor=True)
    low, high = ax.get_xlim()
    ticks = [t for t in (0.2, 0.5, 1, 2, 4, 8, 16, 32, 64) if low <= t <= high]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
axes[0].set_ylabel("Fréchet distance")
axes[0].set_title("One race, three scales")
axes[1].legend(loc="lower right", fontsize=9)
plt.show()

# %% tags=["demo"]
fig, axes = plot.figure(3, 1, height=0.95)
few = read(SHOWN).repeat_interleave(2, 0)
for ax, (key, title) in zip(
    axes,
    ((("masked", 1), "Masked, 1 pass"), (("masked", 8), "Masked, 8 passes"), (("raster", 16), "Raster")),
    strict=True,
):
    plot.images(all_painted(vqgan, runs[key](few)), columns=12, ax=ax, title=title)
plt.show()

# %% [markdown]
# One pass is the worst, for its places do not know of each other; more passes heal a part of that. For one
# waiting person a few passes can be quicker than sixteen steps. For a full batch on a CPU they are not, since
# each pass is as much work as the whole cached raster sampler. MaskGIT's gain in the paper comes from grids
# of 256 places and more, and from hardware that is idle while it writes one code at a time. With 16 places
# there is little to gain.
#
# ## 11 · Play
#
# Choose the words. The picture is computed now.


# %% tags=["demo"]
def draw(
    character="G", weight="bold", slant="italic", family="serif", guidance=2.0, temperature=1.0, passes=0
):
    """Twelve pictures of a caption; passes 0: raster order."""
    style = " ".join(word for word in (weight, slant, family) if word != "regular" and word != "upright")
    text = data.caption(character, style)
    words = read([text] * 12)
    if passes:
        z = fill_in(masked, words, passes, guidance, temperature)
    else:
        z = write(prior, words, guidance, temperature)
    plot.images(
        all_painted(vqgan, z), columns=12, title=text + (" (hidden in training)" if text in HELD else "")
    )
    plt.show()


# %% tags=["demo"]
options = {
    "character": list(data.CAPITALS_AND_DIGITS),
    "weight": ["bold", "regular"],
    "slant": ["italic", "upright"],
}
options |= {
    "family": ["serif", "sans", "mono"],
    "passes": [("raster", 0), ("masked, 4", 4), ("masked, 8", 8)],
}
menus = {name: widgets.Dropdown(options=values) for name, values in options.items()}
menus["character"].value = "G"
sliders = {
    "guidance": widgets.FloatSlider(2.0, min=0.0, max=8.0, step=0.5, continuous_update=False),
    "temperature": widgets.FloatSlider(1.0, min=0.1, max=2.0, step=0.1, continuous_update=False),
}
controls = interact(draw, **menus, **sliders)

# %% tags=["demo"]
fig, axes = plot.figure(5, 1, height=0.85)
cases = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.3), (8.0, 1.0)]
for ax, (w, T) in zip(axes, cases, strict=True):
    z = write(prior, read(["bold italic serif letter G"] * 14), w, T)
    plot.images(
        all_painted(vqgan, z),
        columns=14,
        ax=ax,
        title=f"bold italic serif letter G: guidance {w:g}, temperature {T:g}",
    )
plt.show()

# %% [markdown]
# Guidance 0 ignores the caption. A low temperature draws the same picture again and again; a high guidance
# does nearly the same.
#
# ## 12 · What breaks: a poor vocabulary
#
# The prior writes in the tokenizer's words, and no prior can say what these cannot. To see the ceiling come
# down, take words away from the finished tokenizer: cluster its codebook into fewer vectors ($k$-means,
# weighted by use), and give each code the mean of its cluster. The *same* map goes over the codes of real
# pictures and over those that the prior wrote.


# %%
def merge_codes(book, weight, k, rounds=20, seed=0):
    """k-means of a codebook (K, D) with weights (K,):
    the codebook with each row replaced by its centre (K, D).
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.multinomial(weight.cpu().double() + 1e-9, k, generator=generator).to(book.device)
    centres = book[start].clone()
    for _ in range(rounds):
        nearest = torch.cdist(book, centres).argmin(1)  # (K,)
        share = F.one_hot(nearest, k).to(book) * (weight[:, None] + 1e-9)
        centres = torch.where(
            (share.sum(0) > 0)[:, None], share.T @ book / share.sum(0)[:, None].clamp(min=1e-9), centres
        )
    return centres[torch.cdist(book, centres).argmin(1)]


# %% tags=["demo"]
full_book = vqgan.quantise.book.clone()
use = torch.bincount(train_codes.flatten(), minlength=S.codes).float()
written, sizes = guided_figures[2.0][3], sorted({k for k in (2, 8, 16, 64, 256) if k < S.codes} | {S.codes})
falling, torn = {"tokenizer": [], "prior": []}, {}
for k in sizes:
    vqgan.quantise.book.copy_(merge_codes(full_book, use, k) if k < S.codes else full_book)
    for name, z in (("tokenizer", vq_codes), ("prior", written)):
        figures, named = measure(all_painted(vqgan, z))
        falling[name].append((figures["frechet"], named["both"], figures["class_accuracy"]))
    torn[k] = all_painted(vqgan, vq_codes[:16])
    rows = " ".join(f"{name}: Fréchet {v[-1][0]:6.2f}, both {v[-1][1]:.3f};" for name, v in falling.items())
    print(f"{k:4} codes  {rows}")

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.2)
for ax, column, title in ((axes[0], 0, "Fréchet distance"), (axes[1], 1, "Character and style right")):
    for (name, values), colour in zip(falling.items(), plot.COLOURS, strict=False):
        ax.plot(sizes, [v[column] for v in values], marker="o", color=colour, label=name)
    ax.set(title=title, xlabel="codes left", xscale="log", ylim=(0, None))
    ax.set_xticks(sizes, [str(k) for k in sizes], fontsize=9)
    ax.set_xticks([], minor=True)
axes[1].legend(loc="upper left", fontsize=9)
plt.show()

# %% tags=["demo"]
fig, axes = plot.figure(4, 1, height=0.85)
three = sizes[-1], sizes[len(sizes) // 2], sizes[0]
rows = {"Test pictures": x_test[:16]} | {f"{k} codes": torn[k] for k in three}
for ax, (title, x) in zip(axes, rows.items(), strict=True):
    plot.images(x, columns=16, ax=ax, title=title)
plt.show()

# %% [markdown]
# The prior's curve follows its tokenizer's down. With few codes the two lie close, and no training of the
# prior would help; with many codes it could close what is left of the gap. The repair is to give the words
# back: read the figure from left to right, where nothing but the tokenizer changes, and the same sixteen
# choices of the same prior become better pictures.
#
# What exactly is the ceiling? A *perfect* prior, which has the true law of codes given captions, gets the
# tokenizer's figures. But accuracy by itself is no strict bound: a prior may *avoid* the letters that the
# tokenizer draws badly, and guidance pushes it there, at the price of variety. Exercise 5 makes this exact.
#
# ## 13 · How good is it?


# %% tags=["demo"]
def size_of(*modules):
    """How many numbers the modules store as parameters."""
    return sum(p.numel() for module in modules for p in module.parameters())


figures, named, seconds, _ = guided_figures[2.0]
common = {"lesson": "26_tokens_to_images", "data": "glyphs 16"}
costs = {
    "parameters": size_of(prior, vqgan),
    "train_seconds": vq_seconds + prior_seconds,
    "sample_seconds": seconds,
}
board.record(
    model="transformer over codes", **common, **costs, **figures, unseen_accuracy=named["unseen_accuracy"]
)

# %% tags=["demo"]
z, seconds = clocked(lambda words: fill_in(masked, words, 8), w_test[: S.test])
figures, named = measure(all_painted(vqgan, z))
costs = {
    "parameters": size_of(masked, vqgan),
    "train_seconds": vq_seconds + masked_seconds,
    "sample_seconds": seconds,
}
board.record(
    model="masked transformer, 8 passes",
    **common,
    **costs,
    **figures,
    unseen_accuracy=named["unseen_accuracy"],
)

# %% tags=["demo"]
for name, model, used, seconds in (
    ("dVAE", dvae, dvae_used, dvae_seconds),
    ("VQGAN", vqgan, vq_used, vq_seconds),
):
    costs = {"parameters": size_of(model), "train_seconds": seconds, "code_perplexity": used}
    board.record(model=f"{name}, reconstructions", **common, **costs, **ceilings[name][0])
board.table("glyphs 16")

# %% tags=["demo"]
board.plot("glyphs 16")
plt.show()

# %% [markdown]
# The rows called "reconstructions" are no generators: they show the ceiling. Compare ours with the guided
# rows of lessons 19 and 23: there the character is right more often, for their pixels pass through no
# bottleneck. What codes buy is that one language model can write text, pictures and sound.
#
# ## 14 · In production
#
# One picture costs
#
# $$\text{time} = D\, g\, t_{\text{step}} + t_{\text{decoder}},$$
#
# $D$ steps (the number of codes in raster order, the number of passes in parallel), $g = 2$ with guidance and
# 1 without (or one step with a double batch), $t_{\text{step}}$ one step of the prior, $t_{\text{decoder}}$
# from codes to pixels.

# %% tags=["demo"]
for batch in (1, min(S.test, 256)):
    words = w_test[:batch]
    z, plain = clocked(lambda words: write(prior, words, 1.0), words, 2)
    _, doubled = clocked(lambda words: write(prior, words, 2.0), words, 2)
    clock = time.perf_counter()
    all_painted(vqgan, z).sum().item()
    decode = (time.perf_counter() - clock) / batch
    print(
        f"batch {batch:3}: t_step {1_000 * plain / 16:6.3f} ms, guided {1_000 * doubled / 16:6.3f} ms, ",
        end="",
    )
    print(f"t_decoder {1_000 * decode:6.3f} ms; D t_step is {plain / (plain + decode):.0%} of the time")

# %% [markdown]
# Alone, guidance costs little, for the double batch fills idle units; in a full batch it doubles the work,
# and up to that much time. A cache makes the steps short (lesson 07). What language models use to serve text
# quickly serves these pictures, too: one reason why some assistants that write and draw in one network are
# built on codes. (Others write tokens and draw by diffusion, with the same network: lesson 01.)
#
# ## Exercises
#
# Six exercises, 20 points. Each asks for a step beyond the chapter.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or an array or tensor that holds one; several results come as a tuple.
#
# ### 1 · The k largest (easy, 20 minutes)
#
# Add Gumbel noise to $K$ logits and take the *largest* sum: one draw. Take the $k$ largest, in falling order:
# these are $k$ draws **without replacement**, each from what is left (after Yellott, 1977; Kool and
# others, 2019). How likely is a given ordered result? Logits may be hundreds apart, and what is left may have
# a probability of $10^{-200}$: stay in log space, and never subtract from 1.


# %% exercise="top-k"
def log_p_ordered(logits, picked):
    """log of the probability that the k largest of logits + Gumbel noise are `picked`, in this order: (B,).

    logits: (B, K), float64; picked: (B, k) int64, different places of each row, 1 <= k <= K.
    """
    ### BEGIN SOLUTION
    total = torch.zeros(len(logits), dtype=logits.dtype)
    left = logits.clone()
    for j in range(picked.shape[1]):
        place = picked[:, j : j + 1]
        total = total + (left.gather(1, place)[:, 0] - left.logsumexp(1) if j < logits.shape[1] - 1 else 0)
        left = left.scatter(1, place, -torch.inf)
    return total
    ### END SOLUTION


# %% test="top-k" points=3
even_logits = torch.zeros(1, 3, dtype=torch.float64)
got = log_p_ordered(even_logits, torch.tensor([[2, 0]]))
assert got.shape == (1,), f"one number for each row, (B,), not {tuple(got.shape)}"
assert got.dtype == torch.float64, f"of the type that went in, float64, not {got.dtype}"
assert math.isclose(got.item(), math.log(1 / 6)), "three equal codes: 1/3, then 1/2 of what is left"
steep_logits = torch.tensor([[900.0, 0.0, 0.0]], dtype=torch.float64)
got = log_p_ordered(steep_logits, torch.tensor([[0, 1, 2]]))
assert math.isclose(got.item(), math.log(0.5)), "the first is certain, then one of two: stay in log space"

# %% [markdown]
# ### 2 · The noise behind a choice (medium, 35 minutes)
#
# Section 1 went from noise to a choice. Go back: the choice $k$ is known; draw sums $z_j = \ell_j + g_j$ *as
# they are, given that the largest is at $k$*. (Straight-through and low-variance estimators need this.) Two
# facts: the largest sum is itself Gumbel, with location $L = \log \sum_j e^{\ell_j}$, whichever place it is
# at: $P(z_k \le t) = \exp(-e^{L - t})$. And the others are independent Gumbels with location $\ell_j$, cut
# off at $z_k$: $P(z_j \le t) = \exp(-e^{\ell_j - t}) / \exp(-e^{\ell_j - z_k})$ for $t \le z_k$. Draw by
# inversion: $z_j$ is where its distribution function equals the uniform number $u_j$.


# %% exercise="noise-behind"
def sums_given(logits, k, u):
    """The sums z (B, K) whose largest is at place k, by inversion of the given uniform numbers.

    logits: (B, K), float64, may be hundreds apart; k: (B,) int64;
    u: (B, K), between 0 and 1, one for each sum.
    """
    ### BEGIN SOLUTION
    top = logits.logsumexp(1, keepdim=True) - (-u.gather(1, k[:, None]).log()).log()  # (B, 1)
    others = -torch.logaddexp(-top, (-u.log()).log() - logits)  # e^-z = e^-top - log(u) e^-logit
    return others.scatter(1, k[:, None], top)
    ### END SOLUTION


# %% test="noise-behind" points=3
u_given = torch.tensor([[0.3, 0.6, 0.9]], dtype=torch.float64)
z_given = sums_given(torch.tensor([[0.0, 5.0, 1.0]], dtype=torch.float64), torch.tensor([0]), u_given)
assert z_given.shape == (1, 3), f"a sum for each logit, (B, K), not {tuple(z_given.shape)}"
assert z_given.dtype == torch.float64, f"of the type that went in, float64, not {z_given.dtype}"
assert z_given.argmax(1).item() == 0, "the largest is at k, however unlikely"
L_given = math.log(1 + math.exp(5) + math.exp(1))
assert math.isclose(math.exp(-math.exp(L_given - z_given[0, 0])), 0.3), "the largest: exp(-e^(L - z)) = u_k"
ratio = math.exp(-math.exp(5 - z_given[0, 1]) + math.exp(5 - z_given[0, 0]))
assert math.isclose(ratio, 0.6), "another: its distribution function, cut off at the largest, is u_j"

# %% [markdown]
# ### 3 · Likelihood without an order (medium, 30 minutes)
#
# The masked transformer was trained to guess hidden codes. It also has likelihoods: reveal the places *in a
# given order*, and add up $\log p(\text{code} \mid \text{what is revealed})$. Each order gives an exact law
# of sequences (lesson 03), and the mean of the *probabilities* over several orders is a law, too. Return its
# logarithm. All rows share the orders.


# %% exercise="any-order"
def log_p_any_order(net, codes, words, orders, K):
    """log of the mean over M orders of p(codes | words), each by revealing one place at a time:
    (B,), in nats.

    net(codes, words) -> logits (B, N, K), where the code K means hidden; codes: (B, N); words: (B, 5);
    orders: (M, N) int64, each row a permutation of 0 ... N - 1, the places in the order in which they are
    revealed.
    """
    ### BEGIN SOLUTION
    found = []
    for order in orders.tolist():
        seen, total = torch.full_like(codes, K), 0.0
        for place in order:
            log_p = net(seen, words)[:, place].log_softmax(1)
            total = total + log_p.gather(1, codes[:, place : place + 1])[:, 0]
            seen = seen.clone()
            seen[:, place] = codes[:, place]
        found.append(total)
    return torch.stack(found).logsumexp(0) - math.log(len(found))
    ### END SOLUTION


# %% test="any-order" points=4
def copycat(codes, words):
    """Two codes: at a place beside a visible 1 the logit of 1 is 2, else 0; that of 0 is 0."""
    one = F.pad(codes == 1, (1, 1))
    beside = (one[:, :-2] | one[:, 2:]).double()
    return torch.stack([torch.zeros_like(beside), 2 * beside], dim=2)


pair = torch.cartesian_prod(*[torch.arange(2)] * 3)  # all 8 sequences of three codes
ways = torch.tensor([[0, 1, 2], [1, 2, 0]])
got = log_p_any_order(copycat, pair, torch.zeros(8, 5, dtype=torch.long), ways, 2)
assert got.shape == (8,), f"one number for each sequence, (B,), not {tuple(got.shape)}"
assert math.isclose(got.exp().sum().item(), 1), "a mean of laws is a law: all sequences sum to 1"
one_way = log_p_any_order(copycat, torch.tensor([[1, 1, 0]]), torch.zeros(1, 5).long(), ways[1:], 2)
assert math.isclose(
    one_way.item(), math.log(0.5) + math.log(1 / (1 + math.exp(-2))) - math.log(1 + math.exp(2))
), "a place is guessed from those revealed before it, and from nothing else"

# %% [markdown]
# ### 4 · Guidance with a budget (hard, 40 minutes)
#
# One guidance for all places is crude: where caption and no caption agree it does nothing, and where they
# differ much it may leave a single code. Set it by its effect instead. With
# $p_w = \operatorname{softmax}\big(\ell_{\text{none}} + w(\ell_c - \ell_{\text{none}})\big)$, find for each
# row the largest $w$ in $[1, w_{\max}]$ whose law is no farther than a budget from the model's own:
# $\mathrm{KL}(p_w \,\|\, p_1) \le b$, in nats. (From $w = 1$ on the divergence never falls: its derivative is
# $(w - 1)$ times the variance of $\ell_c - \ell_{\text{none}}$ under $p_w$.)


# %% exercise="budget"
def budget_guidance(with_caption, without, budget, w_max):
    """The largest w in [1, w_max] with KL(p_w || p_1) <= budget: (B,), to an accuracy of 1e-6.

    with_caption, without: logits (B, K), float64, known up to a constant of each row;
    budget: nats, not negative.
    """

    ### BEGIN SOLUTION
    def divergence(w):
        log_p = (without + w[:, None] * (with_caption - without)).log_softmax(1)
        return (log_p.exp() * (log_p - with_caption.log_softmax(1))).sum(1)

    low = torch.ones(len(without), dtype=without.dtype)
    high = torch.full_like(low, w_max)
    fits = divergence(high) <= budget
    for _ in range(60):
        middle = (low + high) / 2
        inside = divergence(middle) <= budget
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return torch.where(fits, w_max, low)
    ### END SOLUTION


# %% test="budget" points=4
with_two = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.1, 0.0]], dtype=torch.float64)
got = budget_guidance(with_two, torch.zeros(3, 2, dtype=torch.float64), 0.05, 10.0)
assert got.dtype == torch.float64, f"of the type that went in, float64, not {got.dtype}"
p_two = torch.stack([got[0], torch.zeros(())]).softmax(0)
kl_two = (p_two * (p_two.log() - with_two[0].log_softmax(0))).sum().item()
assert math.isclose(kl_two, 0.05, abs_tol=1e-6), "row 0: its divergence is the budget"
assert math.isclose(got[1], 10, abs_tol=1e-6), "row 1: the caption says nothing, no guidance moves it"
assert got[0] < got[2] < 10, "row 2: a weak caption allows more guidance than a strong one"
got = budget_guidance(with_two, torch.zeros(3, 2, dtype=torch.float64), 1.0, 5_000.0)
assert math.isclose(got[0], 5_000, abs_tol=1e-6), "a law of one code alone may be within the budget"

# %% [markdown]
# ### 5 · What a ceiling is (hard, 40 minutes)
#
# Let there be $M$ different grids of codes, and $Y$ classes, equally often asked for. You know $Q_{ym}$, the
# share of real pictures of class $y$ that get grid $m$, and $A_{my}$, the probability that the judge sees
# class $y$ in the decoded grid $m$. A prior is a table $R_{ym}$, the probability that it writes $m$ for $y$,
# and its accuracy is $\frac1Y \sum_{y,m} R_{ym} A_{my}$. Return three accuracies: of the *perfect* prior,
# $R = Q$; the best of *any* prior; and the best of any prior that writes, over all classes together, each
# grid as often as it occurs in real pictures. The third is a linear programme (`linprog` is imported): such a
# prior cannot write favourites only. "Any" prior may write every one of the $M$ grids for every class, also
# one that no real picture of that class has.


# %% exercise="ceiling"
def ceilings_of(Q, A):
    """(perfect, best, best with the true share of each grid), three floats.

    Q: (Y, M), each row sums to 1; A: (M, Y), between 0 and 1; NumPy arrays of float64.
    """
    ### BEGIN SOLUTION
    Y, M = Q.shape
    rows = np.kron(np.eye(Y), np.ones(M))  # sums over m
    columns = np.kron(np.ones(Y), np.eye(M))  # sums over y
    found = linprog(
        -A.T.ravel() / Y, A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([np.ones(Y), Q.sum(0)])
    )
    return float((Q * A.T).sum() / Y), float(A.max(0).mean()), float(-found.fun)
    ### END SOLUTION


# %% test="ceiling" points=3
# grid 1 is shared: the tokenizer confuses the two; no real picture gets grid 3
Q_two = np.array([[0.5, 0.4, 0.1, 0.0], [0.1, 0.4, 0.5, 0.0]])
A_two = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.7], [0.95, 0.0]])
perfect, best, fair_best = ceilings_of(Q_two, A_two)
assert math.isclose(perfect, (0.71 + 0.52) / 2, rel_tol=1e-6), "the perfect prior writes as real pictures do"
assert math.isclose(best, (0.95 + 0.7) / 2, rel_tol=1e-6), "the best one writes one favourite for each class"
assert perfect + 0.01 < fair_best < best - 0.01, "here the third lies strictly between the two"

# %% [markdown]
# ### 6 · Repair a parallel sampler (medium, 30 minutes)
#
# Somebody wrote one pass of parallel decoding. Its noise is drawn outside: $g$ for the draw of codes.
# Confidence is $\log p$ of the drawn code, without noise, under the law that the code was drawn from. The
# pictures are garbage, and the longer it runs the worse. Find the **four** faults, and write the pass that
# works.


# %%
def broken_pass(with_caption, without, codes, left, w, T, g, K):
    """One pass of parallel decoding, with four faults: codes (B, N) in, codes (B, N) out."""
    logits = (with_caption + w * (without - with_caption)) / T
    guess = (logits + T * g).argmax(2)
    confidence = logits.log_softmax(2).gather(2, guess[:, :, None])[:, :, 0]
    confidence = torch.where(codes == K, confidence, 0 * confidence)
    rank = confidence.argsort(1).argsort(1)
    return torch.where(rank < left, K, guess)


# %% exercise="repair"
def repaired_pass(with_caption, without, codes, left, w, T, g, K):
    """The codes after one pass: (B, N) int64, of which `left` in each row are K, hidden.

    with_caption, without: logits (B, N, K);
    codes: (B, N), where K is hidden, at least `left` of them in each row;
    w: guidance; T > 0: temperature; g: Gumbel noise (B, N, K). A committed code never changes.
    """
    ### BEGIN SOLUTION
    log_p = ((without + w * (with_caption - without)) / T).log_softmax(2)
    guess = (log_p + g).argmax(2)
    is_open = codes == K
    sure = log_p.gather(2, guess[..., None]).squeeze(2).masked_fill(~is_open, torch.inf)
    least_sure_first = sure.argsort(dim=1).argsort(dim=1)
    return torch.where(least_sure_first < left, K, torch.where(is_open, guess, codes))
    ### END SOLUTION


# %% test="repair" points=3
said = torch.tensor([[[0.0, 3.0], [0.0, 1.0], [5.0, 0.0]]], dtype=torch.float64)
quiet = torch.zeros(1, 3, 2, dtype=torch.float64)
begun = torch.tensor([[2, 2, 1]])  # the code 2 is hidden; the third place is committed
got = repaired_pass(said, quiet, begun, 1, 1.0, 1.0, quiet, 2)
assert got.dtype == torch.int64, f"codes are int64, not {got.dtype}"
assert got.tolist() == [[1, 2, 1]], "the surer of the hidden places is committed; what was committed stays"
got = repaired_pass(said, quiet, begun, 0, 1.0, 10.0, torch.tensor([[[1.0, 0.0]] * 3]).double(), 2)
assert got.tolist() == [[0, 0, 1]], "at temperature 10 the logits shrink, and the noise does not grow"
certain = torch.tensor([[[900.0, 0.0]] * 3], dtype=torch.float64)
got = repaired_pass(certain, quiet, torch.tensor([[1, 2, 2]]), 1, 1.0, 1.0, quiet, 2)
assert got[0, 0] == 1 and (got == 2).sum() == 1, "a certain guess does not push out what was committed"

# %% [markdown]
# ## Further reading
#
# - J. I. Yellott. *The relationship between Luce's choice axiom, Thurstone's theory of comparative judgment,
#   and the double exponential distribution.* Journal of Mathematical Psychology 15, 1977.
# - E. Jang, S. Gu, B. Poole. *Categorical reparameterization with Gumbel-softmax.* 2016, arXiv:1611.01144.
# - C. J. Maddison, A. Mnih, Y. W. Teh. *The concrete distribution: a continuous relaxation of discrete random
#   variables.* 2016, arXiv:1611.00712.
# - P. Isola, J.-Y. Zhu, T. Zhou, A. A. Efros. *Image-to-image translation with conditional adversarial
#   networks.* 2016, arXiv:1611.07004. The patch discriminator.
# - A. van den Oord, O. Vinyals, K. Kavukcuoglu. *Neural discrete representation learning.* 2017,
#   arXiv:1711.00937.
# - W. Kool, H. van Hoof, M. Welling. *Stochastic beams and where to find them.* 2019, arXiv:1903.06059. The k
#   largest.
# - P. Esser, R. Rombach, B. Ommer. *Taming transformers for high-resolution image synthesis.* 2020,
#   arXiv:2012.09841. VQGAN.
# - A. Ramesh and others. *Zero-shot text-to-image generation.* 2021, arXiv:2102.12092. DALL-E 1.
# - H. Chang, H. Zhang, L. Jiang, C. Liu, W. T. Freeman. *MaskGIT: masked generative image transformer.* 2022,
#   arXiv:2202.04200.
# - J. Yu and others. *Scaling autoregressive models for content-rich text-to-image generation.* 2022,
#   arXiv:2206.10789. Parti.
# - K. Jordan and others. *Muon: an optimizer for hidden layers in neural networks.* 2024,
#   https://kellerjordan.github.io/posts/muon/.

# %% tags=["demo"]
selfcheck.run("26_tokens_to_images")
