# %% [markdown]
# # 26 · Tokens to images
#
# > **Turn a picture into a short sentence of learned words. Then a language model can write pictures, and a
# > caption is where it starts. What the words leave out, it cannot write.**
#
# | | |
# |---|---|
# | You will build | two tokenizers: a Gumbel-softmax dVAE (DALL-E 1) and a VQGAN with a patch discriminator; a transformer that writes their codes from a caption; guidance; parallel decoding (MaskGIT); letters in styles that were never seen together |
# | You need to know | lesson 25 (code book, nearest code, straight-through gradient), lesson 06 (transformer, causal mask, sampling), lesson 13 (GAN losses), lesson 10 (the ELBO) |
# | Time on two CPU cores | about four minutes to run; an hour and a half to read, three to four hours to solve |
# | Time on a GPU | some minutes, with larger networks and more steps (`full`) |
#
# ## You are here

# %% folded="Imports, device, and settings: smoke, quick and full"
# long: one line for each number
import copy
import itertools
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
from genmap import board, data, diagram, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
scaler = genmap.grad_scaler(device)  # idle, but for the half precision of older GPUs
if device.type == "cpu":
    torch.set_num_threads(1)  # layers this small gain nothing from a second thread, which mostly waits
S = genmap.settings(
    each=(2, 40, 40),
    channels=(8, 32, 96),
    codes=(16, 256, 512),
    vq_steps=(4, 900, 8_000),
    dvae_steps=(3, 600, 5_000),
    width=(16, 128, 256),
    layers=(2, 3, 6),
    prior_steps=(3, 600, 5_000),
    mask_steps=(3, 600, 5_000),
    batch=(8, 48, 128),
    newton=(3, 3, 5),  # Muon's Newton-Schulz steps
    pixel_steps=(2, 75, 625),  # as many places in all as the prior over codes in half of its steps
    pixel_batch=(2, 12, 32),
    pixel_test=(4, 72, 432),
    test=(216, 2_160, 2_160),
    sweep=(216, 432, 2_160),
    draws=(500, 20_000, 100_000),
)
torch.manual_seed(26)
print(f"{genmap.setting()} on {device}")

# %% tags=["demo"]
taxonomy.figure("tokens")
plt.show()
diagram.machine(
    "x | (B, 1, 16, 16) -> [encoder] -> z | (B, 16, 4, 4) -> [nearest] -> k | (B, 16) "
    "-> [decoder] -> x̂ | (B, 1, 16, 16)",
    "caption | (B, 5) -> [prior | transformer] -> k",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# An autoregressive model over pixels (lesson 04) needs one step for each pixel, and most of its effort goes
# into the grain of single pixels. This family gives up the *exact likelihood of pixels*: a first network, the
# **tokenizer**, replaces a picture by a few code numbers, and what it drops is lost. In return the second
# network, the **prior**, is an ordinary language model over short sequences, and text, pictures and sound
# become the same kind of thing. Section 6 measures what that is worth: the same transformer writes pixels,
# too.
#
# | question | answer |
# |---|---|
# | What is modelled? | codes of a learned tokenizer, here 16 for a picture of 256 pixels |
# | Is the density explicit? | of the codes, exactly; of the pixels, no |
# | Is sampling one-shot or iterative? | serial: one code after the other; or a few passes that fill in many codes at once |
# | What conditions it? | text: words, seen by the prior before it writes |
# | How is it evaluated, and how does that fail? | likelihood of codes, which does not see what the tokenizer lost, and does not compare between tokenizers; Fréchet distance and accuracy of the decoded pictures |
#
# Van den Oord, Vinyals and Kavukcuoglu wrote pictures as codes in 2017 (VQ-VAE, lesson 25). In December 2020
# Esser, Rombach and Ommer added a discriminator (VQGAN). In January 2021 Ramesh and others showed one
# transformer trained on caption and codes together: DALL-E 1. Chang and others let a transformer fill in many
# codes at once (MaskGIT, February 2022). Parti (Yu and others, June 2022) took the serial way to 20 billion
# parameters. VAR (Tian and others, April 2024) writes the codes of a whole scale at a time, from coarse to
# fine.
#
# <details><summary>Symbols</summary>
#
# | symbol | is |
# |---|---|
# | $x$, $\hat x$, $z$ | a picture and its copy; a vector of the encoder |
# | $k$, $K$, $e_k$, $D$ | a code number, how many there are, the code itself, its length (as in lesson 25) |
# | $N$ | places of a picture: 16 |
# | $q(k \mid x)$, $\bar q$ | the encoder's law over codes at a place (lesson 25 writes $Q$); its mean over data and places |
# | $\ell$, $p$, $g$ | logits, their softmax, Gumbel noise |
# | $\tau$, $s$ | temperature of the relaxed draw, the relaxed draw |
# | $d$, $L_D$, $L_G$, $\lambda$ | the critic's answer, the two sides' losses, the adaptive weight |
# | $c$, $w$, $T$ | a caption; guidance; temperature of sampling |
# | $h$; $r$, $R$ | how many places are hidden; a pass of the parallel sampler and how many there are |
#
# </details>
#
# ## 1 · A draw that has a gradient
#
# A tokenizer must *choose*: one code of $K$. A choice has no gradient: move the logits a little, and mostly
# the same code is chosen; then, suddenly, another. DALL-E's tokenizer uses a trick that begins with an exact
# fact. Let $\ell_1, \dots, \ell_K$ be logits and $p = \operatorname{softmax}(\ell)$. Add to each logit a
# **Gumbel** variable $g_k = -\log E_k$, with $E_k$ exponential of rate 1. Then the place of the largest sum
# is a draw from $p$ (*Gumbel-max*):
#
# $$P\big(\arg\max_k\, (\ell_k + g_k) = j\big) = p_j .$$
#
# <details><summary>Why, in three steps</summary>
#
# 1. $\ell_k + g_k = -\log C_k$ with $C_k = E_k\, e^{-\ell_k}$. The logarithm rises, so the largest sum
#    belongs to the smallest $C_k$.
# 2. $P(C_k > t) = P(E_k > t\, e^{\ell_k}) = \exp(-t\, e^{\ell_k})$: a clock that rings at rate $e^{\ell_k}$.
# 3. Clock $j$ rings first if it rings at some time $t$ and all others later:
#
# $$P(j \text{ first}) = \int_0^\infty e^{\ell_j} e^{-t e^{\ell_j}} \prod_{k \ne j} e^{-t e^{\ell_k}}\, dt = e^{\ell_j} \int_0^\infty e^{-t \sum_k e^{\ell_k}}\, dt = \frac{e^{\ell_j}}{\sum_k e^{\ell_k}} = p_j .$$
#
# </details>
#
# This is why the trick can work at all: **the randomness now stands outside**, as in the reparameterisation
# of lesson 10, and what is left between logits and choice is a plain function. Only its $\arg\max$ is still
# hard. Replace it by a softmax with a **temperature** $\tau$:
#
# $$s_k = \frac{e^{(\ell_k + g_k)/\tau}}{\sum_j e^{(\ell_j + g_j)/\tau}} , \qquad \frac{\partial s_k}{\partial \ell_j} = \frac{s_k (\mathbb 1[j = k] - s_j)}{\tau} .$$
#
# This is the **Gumbel-softmax** (Jang, Gu, Poole; Maddison, Mnih, Teh; both 2016). Divide numerator and
# denominator by the largest of the exponentials: every other term is $e^{-\text{gap}/\tau}$, which goes to 0
# as $\tau \to 0$. So $s$ becomes the chosen code, as a vector of zeros and a one, with the exact
# probabilities; for a larger $\tau$ it is a mixture, and it has a gradient.


# %% build="gumbel-softmax"
def gumbel_like(x, generator=None):
    """Gumbel variables -log E, E exponential, of the shape of x, on its device."""
    return -torch.empty_like(x).exponential_(generator=generator).clamp(min=1e-20).log()


def gumbel_softmax(logits, tau, dim, generator=None):
    """A relaxed draw: softmax((logits + g) / tau) along `dim` (Jang et al. 2016, equation 2)."""
    ### BEGIN SOLUTION
    return ((logits + gumbel_like(logits, generator)) / tau).softmax(dim)
    ### END SOLUTION


# %% check="gumbel-softmax"
ell_check = torch.tensor([1.0, 0.0, -2.0]).log_softmax(0).expand(20_000, 3)
s_check = gumbel_softmax(ell_check, 0.5, 1, torch.Generator().manual_seed(0))
assert torch.allclose(s_check.sum(1), torch.ones(20_000), atol=1e-4), "a mixture: the shares sum to 1"
chosen_check = F.one_hot(s_check.argmax(1), 3).float().mean(0)
assert (chosen_check - ell_check[0].exp()).abs().max() < 0.02, "its largest entry is a draw from p"
sharp_check = gumbel_softmax(ell_check, 0.01, 1, torch.Generator().manual_seed(0))
assert (sharp_check - F.one_hot(s_check.argmax(1), 3)).abs().mean() < 0.02, "cold: nearly the choice itself"

# %% [markdown]
# Now the gradient. Let the loss be $f(s) = (v \cdot s - 0.4)^2$ with fixed numbers $v$. What we want is
# the gradient of the *mean over hard draws*. With four codes we can write it down: with $e_k$ the vector
# that has a one at place $k$, and $\partial p_k / \partial \ell_j = p_k (\mathbb 1[j = k] - p_j)$,
#
# $$\frac{\partial}{\partial \ell_j} \sum_k p_k\, f(e_k) = p_j f(e_j) - p_j \sum_k p_k f(e_k) = p_j \Big( f(e_j) - \sum_k p_k f(e_k) \Big).$$
#
# We compare two estimators with it: the gradient through $s$, and the *score function* estimator
# $f(e_k)\,(e_k - p)$ with a hard draw $k$. The latter is right on average (unbiased), for
# $\partial \log p_k / \partial \ell = e_k - p$ and
# $\partial \sum_k p_k f(e_k) = \sum_k p_k f(e_k)\, \partial \log p_k$; it needs no gradient of $f$.
#
# *Question: what becomes of the gradient through $s$ when $\tau$ is small, and when it is large? The formula
# for $\partial s / \partial \ell$ has the answer. Then run it.*

# %%
toy_logits = torch.tensor([1.0, 0.0, -0.5, 0.5], dtype=torch.float64)
toy_v, toy_goal = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64), 0.4
p = toy_logits.softmax(0)
f_hard = (toy_v - toy_goal) ** 2  # f(e_k) for each k
exact_gradient = p * (f_hard - (p * f_hard).sum())


def relaxed_gradients(tau, n, generator):
    """n gradients of f with respect to the logits through the Gumbel-softmax: (n, 4)."""
    logits = toy_logits.expand(n, 4).clone().requires_grad_()
    s = gumbel_softmax(logits, tau, 1, generator)
    return torch.autograd.grad(((s @ toy_v - toy_goal) ** 2).sum(), logits)[0]


# %% tags=["demo"] folded="The two estimators over nine temperatures"
# long: numbers, figure, claims
g = torch.Generator().manual_seed(1)
picked = (toy_logits + gumbel_like(toy_logits.expand(S.draws, 4), g)).argmax(1)
share = torch.bincount(picked, minlength=4) / S.draws
print("softmax   ", [f"{value:.3f}" for value in p.tolist()])
print("Gumbel-max", [f"{value:.3f}" for value in share.tolist()])
taus = [0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 3.0, 10.0]
draws = {tau: relaxed_gradients(tau, S.draws, g) for tau in taus}
bias = {tau: (d.mean(0) - exact_gradient).norm().item() for tau, d in draws.items()}
noise = {tau: d.var(0).sum().sqrt().item() for tau, d in draws.items()}
size = {tau: d.mean(0).norm().item() for tau, d in draws.items()}
way = {tau: F.cosine_similarity(d.mean(0), exact_gradient, dim=0).item() for tau, d in draws.items()}
score = f_hard[picked][:, None] * (F.one_hot(picked, 4) - p)
score_noise, exact_size = score.var(0).sum().sqrt().item(), exact_gradient.norm().item()
score_bias = (score.mean(0) - exact_gradient).norm().item()
print(f"exact gradient: length {exact_size:.3f}")
print(f"score function: bias {score_bias:.3f} (chance), noise {score_noise:.3f}")
for tau in taus:
    print(f"tau {tau:5}: bias {bias[tau]:.3f}, noise {noise[tau]:.3f}, length of the mean {size[tau]:.3f}")
    print(f"          its cosine with the exact gradient {way[tau]:.2f}")
fig, ax = plot.figure(height=3.2)
ax.plot(taus, bias.values(), marker="o", label="bias")
ax.plot(taus, noise.values(), marker="o", label="noise of one draw")
ax.plot(taus, size.values(), marker="o", label="length of its mean")
ax.axhline(score_noise, color=plot.COLOURS.grey, ls="--", label="score function: noise of one draw")
ax.axhline(exact_size, color=plot.INK, lw=1, ls=":", label="exact gradient: length")
ax.set(title="The gradient through the Gumbel-softmax", xlabel=r"temperature $\tau$", xscale="log")
ax.set_xticks([0.1, 0.2, 0.5, 1, 3, 10], labels=["0.1", "0.2", "0.5", "1", "3", "10"])
ax.set(ylabel="length", ylim=(0, None))
ax.legend(loc="upper right", fontsize=9)
plt.show()
board.claim("Gumbel-max draws from the softmax, to 0.02.", (share - p).abs().max() < 0.02)
board.claim("The colder, the noisier.", all(noise[a] > noise[b] for a, b in itertools.pairwise(taus)))
board.claim("At 0.2 one draw is noisier than the score function's.", noise[0.2] > score_noise)
board.claim("At 1 it is steadier, and off by more than half.",
            noise[1.0] < score_noise and bias[1.0] > exact_size / 2)  # fmt: skip
board.claim("Up to 3 its direction stays within 45 degrees of the exact one.",
            min(way[tau] for tau in taus if tau <= 3) > 0.71)  # fmt: skip
board.claim("At 10 less than a tenth of the gradient's length is left.", size[10.0] < exact_size / 10)

# %% [markdown]
# <details><summary>Answer</summary>
#
# *Bias* is the length of the mean error, *noise* the spread of one draw. The factor $1/\tau$ makes the
# gradient large where $s$ is just between two codes, and $s (1 - s)$ makes it tiny everywhere else: a cold
# draw is rarely of use, and then violently. For a large $\tau$ all $s_k$ are near $1/K$, and $1/\tau$ shrinks
# the gradient to nothing. Between them it is steady and wrong: it is the exact gradient of *another* loss,
# that of the mixtures. Wrong is above all its length, and less its direction, as long as $\tau$ is not far
# above 1. An optimizer like Adam divides by the usual length of a gradient anyway. That is why the trick works.
#
# </details>
#
# So training starts warm and cools down. At the end it must be cold, because the decoder will be used with
# hard codes and should have seen nearly hard ones. On this toy the cold Gumbel-softmax is then a worse
# estimator than the score function: biased *and* noisier, from about 0.35 down. In a network thousands of draws
# of a batch are averaged, and the score function's noise grows with every further place that is drawn, since one
# number $f$ has to serve for all of them; the gradient through $s$ tells each place its own part.
#
# ## 2 · The data, and what will never be shown
#
# Pictures of letters and digits, 16 × 16, each with a caption such as "bold italic serif letter G". There are
# 36 characters and 12 styles: 432 captions. We hide one style of every character, 36 captions, from *both*
# networks: from the tokenizer and from the prior. Each character is seen in eleven other styles, and each
# style with most other characters. In the end we ask for the 36.
#
# The course's measuring net (lesson 33 tells how it is made) says what a picture shows. It has seen all 432
# captions, and it is the judge: **none of its features may enter a loss** here, or a model could learn to
# please it. (The VQGAN paper also trains with a *perceptual* loss, on features of a net that was trained to
# classify. We leave it out.) Its figures, from here on:
#
# - *class*, *style*: the share of pictures in which it sees the character, the style that was asked for;
#   *both*: the two together;
# - *Fréchet*: the distance between two normal laws, fitted to its features of real and of made pictures;
# - *precision*: the share of made pictures that lie near real ones; *recall*: of real ones near made ones;
# - *diversity*: the spread of its features among pictures of one class, 1 for real pictures.

# %%
HELD = data.unseen_captions()
glyphs = data.glyphs(16, each=S.each, held_out=HELD)
x_train, x_test = (torch.as_tensor(part.x, device=device) for part in (glyphs.train, glyphs.test))
unseen = np.isin(glyphs.test.captions, HELD)  # (2160,)
print(f"{len(x_train):,} pictures to learn from; hidden: {HELD[0]!r}, {HELD[16]!r} and {len(HELD) - 2} more")

# %% tags=["demo"] folded="The judge, and the line of figures that it gives"
# long: the judge's figures, and how a line of them is printed
judge = features.glyphs(16)


def style_of(images):
    """The style that the judge's second head sees: (N, 1, 16, 16) -> (N,)."""
    with torch.no_grad():
        return judge.net(images.float().clamp(0, 1).cpu())[1][1].argmax(1).numpy()


def measure(images):
    """Figures of pictures made for the first test captions: those for the board, and further ones."""
    part = slice(0, len(images))
    y, style, hidden = glyphs.test.y[part], glyphs.test.style[part], unseen[part]
    right, styled = judge(images).labels == y, style_of(images) == style
    figures = judge.compare(images, y, glyphs.test.x[part], y)
    named = {"style": styled.mean(), "both": (right & styled).mean()}
    hidden_only = {"unseen_accuracy": right[hidden].mean(), "unseen_style": styled[hidden].mean()}
    hidden_only["unseen_both"] = (right & styled)[hidden].mean()
    return figures, named | hidden_only


HEADINGS = "class  style   both  Fréchet  precision  recall  diversity"


def line(figures, named):
    """The figures below HEADINGS."""
    first = f"{figures['class_accuracy']:5.3f}  {named['style']:5.3f}  {named['both']:5.3f}"
    rest = f"{figures['precision']:9.3f}  {figures['recall']:6.3f}  {figures['diversity']:9.3f}"
    return f"{first}  {figures['frechet']:7.2f}  {rest}"


real = measure(x_test[: S.test])
print(f"{'':16}{HEADINGS}\n{'real pictures':16}{line(*real)}")

# %% [markdown]
# The judge reads the character of nearly every real picture. Of the style it is less sure: sans and mono
# letters of one weight differ by little on 16 pixels.
#
# ## 3 · Tokenizer A: a dVAE
#
# Both tokenizers have the same encoder and decoder. The encoder turns 16 × 16 pixels into a grid of 4 × 4
# vectors. The decoder goes the other way.
#
# In the **dVAE** (discrete VAE, DALL-E 1) the encoder gives $K$ logits at each of the $N = 16$ places:
# $q(k \mid x)$. A relaxed draw $s$ mixes the rows of a learned code book, and the decoder paints. The bound
# is lesson 10's, with a sum in the place of the integral:
#
# $$\log p(x) = \log \sum_k q(k|x)\, \frac{p(x|k)\, p(k)}{q(k|x)} \ \ge\ \mathbb E_{q(k|x)} \log p(x|k) - \mathrm{KL}\big(q(k|x) \,\|\, p(k)\big),$$
#
# since the logarithm of a mean is at least the mean of the logarithms. While the tokenizer trains, $p(k)$ is
# uniform, so at each place $\mathrm{KL} = \sum_k q \log (q K) = \log K - H(q)$ with the entropy $H$. With a
# Laplace law of scale $b$ at each of the 256 pixels, $-\log p(x|k) = \sum |x - \hat x| / b$ + a constant.
# Multiply minus the bound by $b / 256$: what is left is the mean L1 distance, plus $b N / 256 = b/16$ times
# the KL averaged over places. Our weight of 0.01 is a scale of $b = 0.16$.
#
# Averaged over data and places the KL falls into two parts. Put $\log (qK) = \log (q / \bar q) + \log (\bar q K)$
# with $\bar q = \mathbb E\, q$; in the second term only $q$ depends on $x$, and its mean is $\bar q$:
#
# $$\mathbb E \sum_k q \log (q K) = \underbrace{\sum_k \bar q \log (\bar q K)}_{\mathrm{KL}(\bar q\,\|\,\text{uniform}):\text{ are all codes used?}} + \underbrace{\mathbb E \sum_k q \log \frac{q}{\bar q}}_{\text{how much does } k \text{ tell about } x?} .$$
#
# A tokenizer should use all of its codes *and* tell much: the second part is what we want of it. So we weigh
# only the first. That is no bound any more, and need not be: the prior learns what the codes cost later.
#
# *Question: both parts weighed alike are the honest bound. What will be worse with them: the number of codes
# in use, what they tell, or the pictures?* We train it both ways, from the same start.


# %% build="usage"
def usage_terms(logits):
    """The two parts of the KL to uniform (used, told), in nats a place: (B, K, H, W) -> two numbers."""
    ### BEGIN SOLUTION
    log_q = logits.float().log_softmax(1)
    q_bar = log_q.exp().mean((0, 2, 3))  # (K,)
    used = (q_bar * (q_bar * len(q_bar)).clamp(min=1e-20).log()).sum()
    whole = (log_q.exp() * log_q).sum(1).mean() + math.log(len(q_bar))
    return used, whole - used
    ### END SOLUTION


# %% check="usage"
q_check = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])[..., None, None]
used_check, told_check = usage_terms(q_check.log() + 3.0)
assert math.isclose(used_check, 0.75 * math.log(9 / 8) + 0.25 * math.log(3 / 4), abs_tol=1e-5), (
    "q_bar is (3/8, 3/8, 1/4)"
)
whole_check = math.log(3) - 1.5 * math.log(2)  # log K less the entropy of each, 1.5 bits
assert math.isclose(used_check + told_check, whole_check, abs_tol=1e-5), "together they are the KL to uniform"
assert math.isclose(usage_terms(torch.zeros(2, 5, 4, 4))[1], 0, abs_tol=1e-5), "equal laws tell nothing"


# %% folded="Encoder and decoder, the same for both tokenizers"
# long: a block and two networks
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


# %%
# long: one class
class DVAE(nn.Module):
    """A dVAE with K codes; `tau` is its temperature. honest: weighs both parts of the KL."""

    def __init__(self, C, K, D=16, honest=False):
        super().__init__()
        self.encode, self.decode = encoder(C, K), decoder(C, D)
        self.book, self.tau, self.honest = nn.Parameter(torch.randn(K, D)), 1.0, honest

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
        used, told = usage_terms(logits)
        return (painted - x).abs().mean() + weight * (used + told if self.honest else used)


# %% folded="Training: the rate, batches, one step; the dVAE's loop; all codes, all pictures, perplexity"
# long: the tools of training
def warm_cosine(optimizer, steps):
    """A learning rate that rises for a twentieth of the steps, then falls to 0."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min(1, 20 * (n + 1) / steps) * math.cos(math.pi / 2 * n / (steps + 1)) ** 2
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


def train_dvae(dvae, steps, size, seed=0):
    """Trains in place: from temperature 1 down to 0.3, evenly in its logarithm."""
    optimizer = torch.optim.AdamW(dvae.parameters(), 4e-3, betas=(0.9, 0.99), weight_decay=0.0)
    rate, curve = warm_cosine(optimizer, steps), progress.Curve("dVAE, both parts" if dvae.honest else "dVAE")
    for step, i in batches(steps, size, torch.Generator().manual_seed(seed), "dVAE"):
        dvae.tau = 0.3 ** min(1, 1.25 * step / steps)
        with genmap.autocast(device):
            loss = dvae.loss(x_train[i])
        descend(loss, optimizer)
        rate.step()
        curve.add(step, loss.detach())
    curve.close()
    return dvae.eval()


@torch.no_grad()
def all_codes(tokenizer, x):
    """Codes of many pictures, in raster order: (B, 1, 16, 16) -> (B, 16)."""
    return torch.cat([tokenizer.codes(part).flatten(1) for part in x.split(1_000)])


@torch.no_grad()
def all_painted(tokenizer, codes):
    """Pictures of many codes, ink between 0 and 1: (B, 16) -> (B, 1, 16, 16)."""
    parts = [tokenizer.paint(part.view(-1, 4, 4)) for part in codes.split(1_000)]
    return torch.cat(parts).float().clamp(0, 1)


def perplexity(codes, K):
    """exp of the entropy of how often each of K codes is used: K if all are used alike (lesson 25)."""
    p = torch.bincount(codes.flatten().cpu(), minlength=K).double() / codes.numel()
    return torch.special.entr(p).sum().exp().item()


# %% tags=["demo"]
# long: two trainings from one start, and what came of them
dvae_k, painted_by, told, dvae_seconds = min(S.codes, 128), {}, {}, 0.0
for name, honest in (("dVAE, both parts", True), ("dVAE", False)):
    torch.manual_seed(1)
    clock = time.perf_counter()
    dvae = train_dvae(DVAE(S.channels, dvae_k, honest=honest).to(device), S.dvae_steps, min(S.batch, 32))
    dvae_seconds = time.perf_counter() - clock
    dvae_codes = all_codes(dvae, x_test[: S.test])
    with torch.no_grad():
        told[name] = usage_terms(dvae.encode(x_test[:1_000]))[1].item()
    painted_by[name], dvae_used = all_painted(dvae, dvae_codes), perplexity(dvae_codes, dvae_k)
    far = (painted_by[name] - x_test[: S.test]).abs().mean()
    print(f"{name:17} L1 {far:.3f}, perplexity {dvae_used:3.0f} of {dvae_k}", end="")
    print(f", told {told[name]:.2f} nats a place")
ceilings = {name: measure(x) for name, x in painted_by.items()}
print(f"{'':20}{HEADINGS}")
for name, both in ceilings.items():
    print(f"{name:20}{line(*both)}")
first, honest = ceilings["dVAE"][0], ceilings["dVAE, both parts"][0]
board.claim("With both parts the codes tell less.", told["dVAE, both parts"] < told["dVAE"])
board.claim(
    "Its copies are read more rarely, and lie farther from real pictures.",
    honest["class_accuracy"] < first["class_accuracy"] - 0.02 and honest["frechet"] > first["frechet"],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# All three, the number of codes least. What the codes tell is what the second part charges for, so they tell
# less, and the copies are worse. Fewer codes are in use, though no part charges for use. A larger scale $b$ would charge more, a smaller one less: the honest bound is not wrong,
# its uniform prior is. Under a prior that has learned the codes, telling costs less than $\log K - H(q)$ says.
#
# </details>
#
# ## 4 · Tokenizer B: a VQGAN
#
# A VQ-VAE (lesson 25) takes the nearest row of the code book instead of a draw, and copies the gradient
# straight through. The folded cell below restates it: a code book by moving averages, and codes that die are
# moved to a vector of the batch.


# %% folded="Lesson 25's quantiser, in short"
# long: one class: rounding and counting share their state
class Quantiser(nn.Module):
    """Nearest of K codes, straight-through gradient, EMA code book, revival of dead codes."""

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
    """Encoder, quantiser, decoder; the critic stands outside."""

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
# What does the "GAN" add? Many pictures share one *spelling*, the sixteen codes in their order, and the decoder must paint one of them. Look at
# one pixel, with ink $a$ in these pictures. The paint $y$ that minimises $\mathbb E\, (a - y)^2$ is the mean of
# $a$. The one that minimises $\mathbb E\, |a - y|$ has $P(a < y) = P(a > y)$ (the derivative is their
# difference): the *median*.
#
# *Question: a stroke one pixel wide stands at one of three places side by side, each in a third of the
# pictures. What does squared error paint, and what does L1?*
#
# <details><summary>Answer</summary>
#
# Squared error paints the mean: a third of the ink at each of the three, a grey blur. L1 paints the median of
# each pixel: at each place the ink is missing in two pictures of three, so it paints *no stroke at all*. L1
# does not blur, and it is no better: it decides pixel by pixel, and no pixel can know that the stroke must
# stand somewhere.
#
# </details>
#
# A **patch discriminator**, or *critic* (Isola and others, 2016), looks at windows of a picture, here of
# 12 × 12 pixels, and says of each whether it is real. (Its one normalisation layer takes mean and spread from
# the whole picture; that much each answer knows of the rest.) A blur gives itself away, and so does a letter that
# lacks its stroke. With $d(\cdot)$ for its answers, averaged over patches, the *hinge* losses are
#
# $$L_D = \mathbb E \max(0, 1 - d(x)) + \mathbb E \max(0, 1 + d(\hat x)),\qquad L_G = -\mathbb E\, d(\hat x),$$
#
# with $x$ real and $\hat x$ its reconstruction. The tokenizer's loss is
# $L_{\text{rec}} + \tfrac12 \lambda L_G$ plus lesson 25's commitment, with $L_{\text{rec}}$ the L1 distance
# of $x$ and $\hat x$. A fixed $\lambda$ would be too strong at one time and too weak at another. VQGAN sets
# it anew in every step, so that $L_{\text{rec}}$ and $\lambda L_G$ pull with like force at the decoder's last
# weights $W$: it asks for $\lVert \nabla_W L_{\text{rec}} \rVert = \lambda \lVert \nabla_W L_G \rVert$, and so
#
# $$\lambda = \frac{\lVert \nabla_W L_{\text{rec}} \rVert}{\lVert \nabla_W L_G \rVert + \delta} ,$$
#
# with a small $\delta$ against division by 0. (The ½ lets the first one lead.) The critic joins late, when
# the pictures are already close: before that it has an easy time, and its pull says little.


# %%
def patch_discriminator(C=16):
    """(B, 1, 16, 16) -> (B, 1, 8, 8): an answer for each window of 12 x 12 pixels, normalised by all."""
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
    """The critic's loss L_D: answers of any shape -> a number."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


# %%
# long: one step, and the loop around it
def tokenizer_step(model, critic, optimizers, x, adversarial, strength=0.5):
    """One step of the VQGAN and, if `adversarial`, of its critic; L1 distance, on the device."""
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


def train_vqgan(model, critic, steps, size, start=0.7, seed=0):
    """Trains in place; the critic joins after a share `start` of the steps. Returns the model, and a twin
    that went on from there on the same batches without a critic.
    """
    both = [torch.optim.AdamW(m.parameters(), r, betas=b)
            for m, r, b in ((model, 3e-3, (0.9, 0.99)), (critic, 2e-3, (0.5, 0.9)))]  # fmt: skip
    rate, curve, twin = warm_cosine(both[0], steps), progress.Curve("VQGAN", ylabel="L1 distance"), None
    for step, i in batches(steps, size, torch.Generator().manual_seed(seed), "VQGAN"):
        if twin is None and step >= start * steps:
            twin = copy.deepcopy(model)
            alone = torch.optim.AdamW(twin.parameters(), 3e-3, betas=(0.9, 0.99))
            alone.load_state_dict(both[0].state_dict())
        curve.add(step, tokenizer_step(model, critic, both, x_train[i], twin is not None))
        if twin is not None:
            alone.param_groups[0]["lr"] = both[0].param_groups[0]["lr"]
            tokenizer_step(twin, None, [alone], x_train[i], False)
        rate.step()
    curve.close()
    return model.eval(), twin.eval()


# %% [markdown]
# ## 5 · The ceiling, before any prior
#
# Before any prior is trained, we know much about how good the pictures can get. Encode real test pictures,
# decode, and measure. A prior that had learned the law of the codes *perfectly* would give these figures,
# apart from chance. (Its Fréchet distance would lie a little higher: here each picture is compared with a set
# that holds its own original.)

# %% tags=["demo"]
# long: training, figures of all tokenizers, pictures
torch.manual_seed(2)
clock = time.perf_counter()
vqgan, twin = train_vqgan(
    VQGAN(S.channels, S.codes).to(device), patch_discriminator().to(device), S.vq_steps, min(S.batch, 32)
)
vq_seconds = time.perf_counter() - clock
vq_codes, grey = all_codes(vqgan, x_test[: S.test]), lambda x: ((x > 0.25) & (x < 0.75)).float().mean().item()
painted_by["no critic"] = all_painted(twin, all_codes(twin, x_test[: S.test]))
painted_by["VQGAN"], vq_used = all_painted(vqgan, vq_codes), perplexity(vq_codes, S.codes)
ceilings = {"real pictures": real, **ceilings}
print(f"{vq_seconds:.0f} s; perplexity {vq_used:.0f} of {S.codes} codes\n{'':20}{HEADINGS}  grey pixels")
for name in ("real pictures", "dVAE", "no critic", "VQGAN"):
    x = painted_by.get(name, x_test[: S.test])
    ceilings[name] = ceilings.get(name) or measure(x)
    print(f"{name:20}{line(*ceilings[name])}  {grey(x):11.3f}")
with_critic, alone = ceilings["VQGAN"][0], ceilings["no critic"][0]
board.claim(
    "The critic lowers the Fréchet distance of the copies, and raises their recall.",
    with_critic["frechet"] < alone["frechet"] and with_critic["recall"] > alone["recall"],
)
board.claim("It leaves fewer grey pixels.", grey(painted_by["VQGAN"]) < grey(painted_by["no critic"]))
board.claim(
    "How often the character is read it moves by less than 0.02.",
    abs(with_critic["class_accuracy"] - alone["class_accuracy"]) < 0.02,
)
board.claim(
    "The VQGAN loses more of the style than of the character.",
    real[1]["style"] - ceilings["VQGAN"][1]["style"]
    > real[0]["class_accuracy"] - with_critic["class_accuracy"],
)
rows = {"Test pictures": x_test, **{name: painted_by[name] for name in ("dVAE", "no critic", "VQGAN")}}
fig, axes = plot.figure(4, 1, height=0.85)
for ax, (title, x) in zip(axes, rows.items(), strict=True):
    plot.images(x[:16], columns=16, ax=ax, title=title)
plt.show()

# %% [markdown]
# Two trainings that part only when the critic joins: with it the copies lie nearer to real pictures in the
# judge's features, and the edges are less grey. (Its own loss, L1, jumps up when the critic joins: it is no
# longer all that counts.) A letter is not read more often: on 16 × 16 pixels, with 16 codes, there is little
# to gain there. The papers' photographs have texture, and there the critic is what
# lets 256 codes stand for a picture.
#
# Look at serifs and at slopes: the character survives the bottleneck better than its style. The VQGAN has
# twice the codes of the dVAE and was trained longer, so the two rows say nothing about Gumbel-softmax against
# the nearest code. We go on with the VQGAN. A picture is now 16 whole numbers.
#
# ### From a caption to a vector
#
# The captions use 43 words. Each gets a learned vector; the caption is the sum of its words' vectors, sent
# through a small network. A sum does not know the order of words, and here no caption needs it. Parti reads
# its captions with a transformer; for *the red cube on the blue ball* a sum would fail.

# %%
WORDS = ["bold", "italic", "sans", "serif", "mono", "letter", "digit", *data.CAPITALS_AND_DIGITS]
NUMBER = {word: i + 1 for i, word in enumerate(WORDS)}  # 0 is "no word"


def read(captions):
    """Captions of at most five words as numbers: B strings -> (B, 5), filled up with 0.

    KeyError: unknown word.
    """
    rows = [[NUMBER[word] for word in text.split()] for text in captions]
    return torch.tensor([row + [0] * (5 - len(row)) for row in rows], device=device)


words_train, words_test = read(glyphs.train.captions), read(glyphs.test.captions)
print("bold italic serif letter G ->", read(["bold italic serif letter G"])[0].tolist())

# %% [markdown]
# ## 6 · A language model of pictures
#
# Write the grid of codes line by line, from the upper left: $k_1, \dots, k_{16}$. This is the **raster
# order**. With the caption $c$ the chain rule (lesson 03) gives, exactly,
#
# $$\log p(k \mid c) = \sum_{i=1}^{16} \log p(k_i \mid k_1, \dots, k_{i-1}, c) .$$
#
# Why does it help to maximise this, when the tokenizer's bound had a uniform prior? Put a learned $p(k)$ into
# section 3's bound: of all terms only $\mathbb E_{q(k|x)} \log p(k)$ depends on it. So training the prior on
# the codes of pictures raises the bound on $\log p(x)$, with the tokenizer frozen: two stages, one bound.
#
# The network is lesson 06's transformer, restated in the folded cell: causal attention, and a *cache* of the
# keys and values of the places that are done, so that the sampler computes one place at a time. Two things are
# new. It reads a $K + 1$-st code, used as "start" here and as "hidden" in section 8; and the caption's vector
# is added at every place. (DALL-E 1 writes its text *before* the codes instead, up to 256 pieces of it, then
# 1,024 codes, and lets attention look back. A condition that reaches every place by addition returns in
# lesson 29.)


# %% folded="The transformer of lesson 06, with a caption and a cache"
# long: a block and the network
class Block(nn.Module):
    """Attention and a two-layer network, each added to h (B, n, d);
    a cache is a list that is filled in place.
    """

    def __init__(self, d, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)

    def forward(self, h, cache=None):
        B, n, d = h.shape
        qkv = self.qkv(self.norm1(h)).view(B, n, 3, self.heads, -1).transpose(1, 3)  # (B, heads, 3, n, .)
        q, k, v = qkv.unbind(2)
        if cache is not None:  # the places before this one are known already
            k, v = (torch.cat([*old, new], dim=2) for old, new in zip(cache or [[], []], (k, v), strict=True))
            cache[:] = [[k], [v]]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal and n > 1)
        h = h + self.out(mixed.transpose(1, 2).reshape(B, n, d))
        return h + self.down(F.gelu(self.up(self.norm2(h)), approximate="tanh"))


class CodeTransformer(nn.Module):
    """Logits of the codes at n places: codes (B, n) in 0 ... K, words (B, 5) -> (B, n, K).

    causal: a place sees those before it, else all.
    """

    def __init__(self, K, N=16, d=128, layers=3, heads=4, causal=True):
        super().__init__()
        self.K, self.N = K, N
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
        h = self.code(codes) + self.place[places] + c
        for i, block in enumerate(self.blocks):
            h = block(h, None if caches is None else caches[i])
        return self.leave(self.norm(h))


# %% build="raster-loss"
def shifted(codes, first):
    """What the network reads: `first`, then all codes but the last one: (B, N) -> (B, N)."""
    ### BEGIN SOLUTION
    return F.pad(codes[:, :-1], (1, 0), value=first)
    ### END SOLUTION


def raster_loss(net, codes, words):
    """-log p(k_i | k_<i, c), the mean over places and pictures, in nats for a code: (B, N), (B, 5)."""
    ### BEGIN SOLUTION
    logits = net(shifted(codes, net.K), words)
    return F.cross_entropy(logits.float().flatten(0, 1), codes.flatten())
    ### END SOLUTION


# %% [markdown]
# Two checks need no training. The law over *all* sequences must sum to 1: with 3 codes at 4 places there are
# 81, and we can add them up. And a sampler that feeds one place at a time, and has never seen a later one,
# must get the logits of the whole network: so no place looks ahead.

# %% check="raster-loss"
torch.manual_seed(3)
tiny = CodeTransformer(3, N=4, d=16, layers=2, heads=2).to(device)
nn.init.normal_(tiny.leave.weight)
every = torch.cartesian_prod(*[torch.arange(3, device=device)] * 4)  # (81, 4)
caption_81 = read(["letter G"]).expand(81, 5)
assert shifted(torch.tensor([[2, 0, 1]]), 9).tolist() == [[9, 2, 0]], "the start, then all but the last"
with torch.no_grad():
    nats_81 = torch.stack([4 * raster_loss(tiny, row[None], caption_81[:1]) for row in every])
    caches_81 = [[] for _ in tiny.blocks]
    one_by_one = [tiny(k, caption_81, i, caches_81) for i, k in enumerate(shifted(every, 3).split(1, dim=1))]
    error_81 = (torch.cat(one_by_one, 1) - tiny(shifted(every, 3), caption_81)).abs().max()
assert math.isclose((-nats_81).exp().sum(), 1, abs_tol=1e-4), "all 81 sequences: their law sums to 1"
assert error_81 < 1e-4, "with the cache, place by place, as without"

# %% [markdown]
# Training is language modelling. The matrices of the blocks learn by **Muon** (lesson 06; Jordan and others,
# 2024), AdamW trains the rest. One caption in ten is dropped for guidance: all its words become 0.


# %% folded="Optimisers, one step, and the loop that trains every prior here"
# long: the tools of the priors
def optimizers_of(net, rate=0.02, other=3e-3):
    """Muon for the matrices of the blocks, where this torch has it; AdamW for everything else."""
    matrices = [p for p in net.blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    rest = [p for p in net.parameters() if id(p) not in chosen]
    adam = {"betas": (0.9, 0.99), "weight_decay": 0.01}
    if not hasattr(torch.optim, "Muon"):
        return [torch.optim.AdamW(net.parameters(), other, **adam)]
    muon = torch.optim.Muon(matrices, rate, weight_decay=0.01, ns_steps=S.newton)
    return [muon, torch.optim.AdamW(rest, other, **adam)]


def prior_step(net, loss_of, optimizers, codes, words):
    """One step on codes (B, N) and words (B, 5), of which a tenth are dropped; the loss, on the device."""
    dropped = torch.rand(len(words), 1, device=words.device) < 0.1
    with genmap.autocast(codes.device):
        loss = loss_of(net, codes, torch.where(dropped, 0, words))
    descend(loss, *optimizers)
    return loss.detach()


def train_prior(net, loss_of, codes, steps, title, watch=None, seed=0, size=S.batch):
    """Trains in place on the codes (B, N) of the training pictures; the seconds that it took."""
    optimizers, clock = optimizers_of(net), time.perf_counter()
    rates = [warm_cosine(optimizer, steps) for optimizer in optimizers]
    curve = progress.Curve(title, ylabel="nats for a place")
    for step, i in batches(steps, size, torch.Generator().manual_seed(seed), title):
        curve.add(step, prior_step(net, loss_of, optimizers, codes[i], words_train[i]))
        for rate in rates:
            rate.step()
        if watch:
            watch(step + 1)
    curve.close()
    return time.perf_counter() - clock


# %% [markdown]
# The sampler writes one code after the other. **Guidance** (lesson 22 goes deeper) makes it follow the caption
# more. Ask how much a code $k_i$ speaks for the caption. By Bayes' rule, given what is written already,
#
# $$\frac{p(c \mid k_{\le i})}{p(c \mid k_{<i})} = \frac{p(k_i \mid k_{<i}, c)}{p(k_i \mid k_{<i})} .$$
#
# Take the law without a caption, and multiply it by this ratio to the power $w$. In logits, $\ell_c$ with the
# caption and $\ell_{\text{none}}$ without (each is a log-probability up to a constant, which the softmax
# drops):
#
# $$\tilde\ell = \ell_{\text{none}} + w\,(\ell_{c} - \ell_{\text{none}}), \qquad k_i \sim \operatorname{softmax}(\tilde\ell / T) .$$
#
# $w = 1$ is the model itself, $w = 0$ ignores the caption, and $T$ is the temperature of lesson 06.
#
# *Question: is writing with $w$ at each step the same as drawing whole sentences from
# $p(k)\,(p(k|c)/p(k))^w$, normalised?* The tiny network has 81 sentences: both laws can be written down.


# %% build="write"
# long: three functions, the choice, guidance and the sampler
def choose(logits, temperature, generator):
    """A draw from softmax(logits / T): (..., K) -> (...), random numbers from the CPU's generator."""
    u = torch.empty(logits.shape).exponential_(generator=generator).clamp(min=1e-20)
    return (logits.float() / temperature - u.log().to(logits.device)).argmax(-1)  # section 1's Gumbel-max


def guided(net, codes, words, w, **how):
    """Logits with guidance w; the network runs once on the captions and, if w is not 1, on none."""
    ### BEGIN SOLUTION
    if w == 1:
        return net(codes, words, **how)
    both = net(codes.repeat(2, 1), torch.cat([words, torch.zeros_like(words)]), **how)
    with_words, without = both.chunk(2)
    return without + w * (with_words - without)
    ### END SOLUTION


@torch.no_grad()
def write(net, words, w=2.0, temperature=1.0, seed=0):
    """Codes in raster order, one place at a time: (B, 5) -> (B, N)."""
    ### BEGIN SOLUTION
    generator, caches = torch.Generator().manual_seed(seed), [[] for _ in net.blocks]
    codes = [torch.full((len(words), 1), net.K, device=words.device)]
    for i in range(net.N):
        logits = guided(net, codes[-1], words, w, start=i, caches=caches)
        codes.append(choose(logits, temperature, generator))
    return torch.cat(codes[1:], dim=1)
    ### END SOLUTION


# %% check="write"
def law_of(w):
    """Probabilities of all 81 sentences, written step by step with guidance w: (81,)."""
    with torch.no_grad():
        log_p = guided(tiny, shifted(every, 3), caption_81, w).log_softmax(2)
    return log_p.gather(2, every[:, :, None])[:, :, 0].sum(1).exp()


for w_check in (1.0, 3.0):
    drawn = write(tiny, caption_81[:1].expand(8_000, 5), w_check, seed=1).cpu()
    found = torch.bincount((drawn * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81) / 8_000
    assert (found - law_of(w_check).cpu()).abs().max() < 0.03, "the share of each sentence is its probability"
with torch.no_grad():
    doubled = guided(tiny, every[:2], caption_81[:2], 2.0) + guided(tiny, every[:2], caption_81[:2], 0.0)
    assert torch.allclose(doubled, 2 * tiny(every[:2], caption_81[:2]), atol=1e-4), "w = 0, 1, 2 on one line"

# %% tags=["demo"]
joint = law_of(0.0) * (law_of(1.0) / law_of(0.0)) ** 3
by_step, joint = law_of(3.0), joint / joint.sum()
apart = (by_step - joint).abs().sum().item() / 2
print(f"w = 3: the two laws over 81 sentences differ by {apart:.3f} (half the sum of all differences)")
board.claim("Guidance at each step is not guidance of whole sentences.", apart > 0.01)

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. The product over the steps of $p(k_i|k_{<i})\,(\cdot)^w$ is the joint law, up to a constant; but the
# sampler normalises at *every* step, by $Z_i(k_{<i}) = \sum_{k_i} p(k_i|k_{<i})\,(\cdot)^w$. So
# step by step a sentence gets the joint probability divided by $\prod_i Z_i(k_{<i})$, and these differ from
# sentence to sentence. The sampler cannot look ahead: it does not know that a beginning will leave only
# endings that speak for the caption. Only at $w = 0$ and $w = 1$ all $Z_i$ are 1.
#
# </details>
#
# Train. We watch six captions. Three of them belong to the hidden ones: their letter and their style were
# never seen together.

# %% tags=["demo"]
# long: training, what it writes meanwhile, and the likelihoods
train_codes = all_codes(vqgan, x_train)
SHOWN = [HELD[16], HELD[22], HELD[5], "bold italic serif letter R", "mono letter W", "italic sans digit 8"]
torch.manual_seed(4)
prior = CodeTransformer(S.codes, d=S.width, layers=S.layers).to(device)
moments = sorted({max(1, S.prior_steps * k // 12) for k in (1, 3, 6, 12)})
seen, halfway = {}, None


def watch(step):
    global halfway
    if step == max(1, S.prior_steps // 2):
        halfway = write(prior, words_test[: S.pixel_test])
    if step in moments:
        seen[step] = all_painted(vqgan, write(prior, read(SHOWN).repeat_interleave(2, 0)))


prior_seconds = train_prior(prior, raster_loss, train_codes, S.prior_steps, "raster prior", watch)
fig, axes = plot.figure(len(seen), 1, height=0.95)
for ax, (step, x) in zip(np.atleast_1d(axes), seen.items(), strict=True):
    plot.images(x, columns=12, ax=ax, title=f"After {step} steps")
plt.show()
print("two of each:", "; ".join(SHOWN))
hidden_row = torch.as_tensor(unseen[: S.test], device=device)
asked = {"training pictures": (train_codes[:2_000], words_train[:2_000])}
asked |= {"test, captions seen": (vq_codes[~hidden_row], words_test[: S.test][~hidden_row])}
asked |= {"test, captions hidden": (vq_codes[hidden_row], words_test[: S.test][hidden_row])}
asked |= {"test, no caption": (vq_codes, 0 * words_test[: S.test])}
with torch.no_grad():
    nats = {name: raster_loss(prior, *pair).item() for name, pair in asked.items()}
print("nats for a code:", ", ".join(f"{name} {value:.3f}" for name, value in nats.items()))
print(f"all codes alike: {math.log(S.codes):.3f}; each as often as it comes: {math.log(vq_used):.3f}")
in_training, on_seen, on_hidden, without = nats.values()
board.claim("Test pictures cost more than those of the training.", on_seen > in_training)
board.claim("Hidden captions cost more than seen ones.", on_hidden > on_seen)
board.claim("The caption is worth more than a twentieth of a nat for each code.", without - on_seen > 0.05)

# %% [markdown]
# The likelihood says how well the codes are predicted, in nats for a code. It tells of overfitting and of the
# hidden captions. It says nothing of the pictures: a tokenizer with two codes would have a far better one. In
# the pictures above some letters fail whose captions *were* seen: this prior is small and trained for minutes.
#
# ### What is won: the same transformer on pixels
#
# Is the tokenizer worth its trouble? Give the same network the pixels themselves, four levels of ink at 256
# places, as in lesson 04. The prior over codes has read some number of places when half of its training is
# over. Let the network over pixels read as many, and compare the two at that moment. The seconds are printed,
# too: the codes had more of them, and the tokenizer's training on top.

# %% tags=["demo"]
# long: the pixel model and its figures, beside the prior over codes
LEVELS = 4
torch.manual_seed(8)
pixels = CodeTransformer(LEVELS, N=256, d=S.width, layers=S.layers).to(device)
inked = (x_train.flatten(1) * (LEVELS - 1)).round().long()
pixel_seconds = train_prior(
    pixels, raster_loss, inked, S.pixel_steps, "the same on pixels", size=S.pixel_batch
)
few, race, shown = words_test[: S.pixel_test], {}, {}
for name, net in (("codes", prior), ("pixels", pixels)):
    clock = time.perf_counter()
    codes = write(net, few)
    seconds = (time.perf_counter() - clock) / len(few)
    x = all_painted(vqgan, halfway) if net is prior else codes.view(-1, 1, 16, 16).float() / (LEVELS - 1)
    shown[name], race[name] = x[:12], judge(x).labels == glyphs.test.y[: len(x)]
    trained = prior_seconds / 2 if net is prior else pixel_seconds
    print(f"{name:7} class {race[name].mean():.3f}", end="")
    print(f", {trained:.0f} s of training, {1e3 * seconds:.1f} ms a picture")
fig, axes = plot.figure(2, 1, height=0.95)
letters = [data.CAPITALS_AND_DIGITS[c] for c in glyphs.test.y[:12]]
for ax, (name, x) in zip(axes, shown.items(), strict=True):
    plot.images(
        x,
        columns=len(x),
        ax=ax,
        title=f"A transformer over {name}, after as many places",
        captions=letters[: len(x)],
    )
plt.show()
board.claim(
    "From as many places read, codes are right at least twice as often as pixels.",
    race["codes"].mean() > 2 * race["pixels"].mean(),
)

# %% [markdown]
# Under each picture stands the character that was asked for. The network over pixels has spent its places on
# the grain of strokes and has hardly begun to write letters, and each of its pictures takes 256 steps in the
# place of 16. The VQGAN's training comes on top for the codes, once for all priors. This is what the family
# is used for: DALL-E 1, Parti and VAR write pictures in codes, AudioLM and VALL-E speech (lesson 28), each
# with the transformer of text.
#
# ## 7 · Guidance, and captions that were never seen
#
# We ask for every caption of the test split. `unseen` counts the hidden captions alone.

# %% tags=["demo"]
# long: five guidances, the table, the figure
guided_figures = {}
print(f"   w  {HEADINGS}  unseen class  unseen style   unseen both")
for w in (1.0, 1.5, 2.0, 3.0, 5.0):
    clock = time.perf_counter()
    codes = write(prior, words_test[: S.test], w)
    x = all_painted(vqgan, codes)
    seconds = (time.perf_counter() - clock) / len(x)
    guided_figures[w] = (*measure(x), seconds, codes)
    named = guided_figures[w][1]
    print(f"{w:4g}  {line(*guided_figures[w][:2])}", end="")
    print("".join(f"  {named[f'unseen_{what}']:12.3f}" for what in ("accuracy", "style", "both")))
ws, ceiling = list(guided_figures), ceilings["VQGAN"]
print(f"its tokenizer's copies of hidden captions: both {ceiling[1]['unseen_both']:.3f}")
curves = {"character": [guided_figures[w][0]["class_accuracy"] for w in ws]}
curves |= {"style": [guided_figures[w][1]["style"] for w in ws]}
curves |= {"hidden captions: character": [guided_figures[w][1]["unseen_accuracy"] for w in ws]}
curves |= {"hidden captions: style": [guided_figures[w][1]["unseen_style"] for w in ws]}
curves |= {"hidden captions: both": [guided_figures[w][1]["unseen_both"] for w in ws]}
frechet = [guided_figures[w][0]["frechet"] for w in ws]
spread = [guided_figures[w][0]["diversity"] for w in ws]
recall = [guided_figures[w][0]["recall"] for w in ws]
fig, axes = plot.figure(1, 2, height=4.2)
two = [*plot.COLOURS][:2]
looks = zip(curves.items(), [*two, *two, plot.COLOURS.green], ["-", "-", ":", ":", ":"], strict=True)
for (name, values), colour, dash in looks:
    axes[0].plot(ws, values, dash, color=colour, marker="o", label=name)
both = ceiling[1]["unseen_both"]
axes[0].axhline(both, color=plot.COLOURS.green, ls="--", label="both, its tokenizer's copies")
axes[0].set(title="Share that is right", xlabel="guidance $w$", ylim=(0, 1.05))
axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8)
axes[1].plot(ws, frechet, marker="o", label="prior")
axes[1].axhline(ceiling[0]["frechet"], color=plot.COLOURS.grey, ls="--", label="its tokenizer's copies")
axes[1].set(title="Fréchet distance", xlabel="guidance $w$", ylim=(0, None))
axes[1].legend(loc="lower right", fontsize=9)
plt.show()
character, style, new_character, *_ = curves.values()
board.claim("From 1 to 2 guidance lifts character, style, and the character of hidden captions.",
            all(v[2] > v[0] for v in (character, style, new_character)))  # fmt: skip
board.claim("At 5 recall is lower than at 1, and the Fréchet distance larger than at 2.",
            recall[-1] < recall[0] and frechet[-1] > frechet[2])  # fmt: skip
board.claim("The spread within a class does not fall: at 5 it is above that at 1.", spread[-1] > spread[0])
kept, all_right = ceiling[0]["class_accuracy"], real[0]["class_accuracy"]
board.claim(
    "At 2 the prior loses more letters than its tokenizer does.", kept - character[2] > all_right - kept
)

# %% [markdown]
# Guidance lifts character and style, for hidden captions, too: the words' vectors add up, and so a letter and
# a style that never met can; *unseen both* says how often they do, and the dashed green line how often the
# tokenizer's copies of the real pictures do. Too much guidance costs: recall falls and the distance grows.
# This is no loss of variety by our measure, which even rises. It is taken within a class, and a class holds
# twelve styles: the pictures of one caption may grow more alike (section 9 shows it) while those of different
# styles move apart. We have not taken the two apart here. The worst figure of the table is precision: about
# half of the written pictures lie near no real one, where nine of ten of the tokenizer's copies do. The
# figures of hidden captions rest on 180 pictures each; expect them to wobble by a few hundredths.

# %% tags=["demo"]
columns = [HELD[i] for i in (10, 13, 16, 20, 25, 31)]
x = all_painted(vqgan, write(prior, read(columns).repeat_interleave(2, 0), 2.0, seed=1))
fig, axes = plot.figure(2, 1, height=1.0)
plot.images(x, columns=12, ax=axes[0], title="Written for captions that neither stage has seen (two each)")
true = [np.flatnonzero(np.array(glyphs.test.captions) == text)[:2] for text in columns]
plot.images(x_test[np.concatenate(true)], columns=12, ax=axes[1], title="Real pictures with these captions")
plt.show()
print("; ".join(columns))

# %% [markdown]
# ## 8 · Many codes at once
#
# Sixteen places, sixteen passes; for 32 × 32 codes it would be 1,024. **MaskGIT** drops the order. Hide some
# places, chosen at random, and let a transformer *without* causal mask guess the hidden codes from the
# visible ones.
#
# How many should be hidden? Reveal the places in a random order. By the chain rule each order has a law of
# whole sentences, and the mean over orders of $-\log p$ is
#
# $$\mathbb E_{\text{order}} \sum_{j=1}^{N} -\log p\big(k_{\text{next}} \mid j - 1 \text{ visible}\big) = \sum_{h=1}^{N} \mathbb E_{\text{hidden set of } h} \Big[ \text{mean over the hidden places of } -\log p(k_i \mid \text{visible}) \Big].$$
#
# The equation holds for $h = N - j + 1$: of the places that are revealed already only the set matters, and the
# next one is any of the $h$ others, equally likely. The left side is at least $-\log$ of the mean law of all orders
# (Jensen). So a *bound on the likelihood* asks for every $h$ from 1 to $N$ equally often, each with the mean
# over its hidden places. MaskGIT is not after a bound. It hides
# $h = \lceil N \cos(\pi u / 2) \rceil$ places with $u$ uniform on $[0, 1)$ and takes the mean over all hidden
# places of the *batch*, so that a picture with many counts for more. A share
# $\eta = h/N = \cos(\pi u / 2)$ has the density $|du/d\eta| = 2 / (\pi \sqrt{1 - \eta^2})$: both choices weigh the questions with much hidden, which
# the sampler asks first.


# %% build="masked-loss"
def hide(codes, u, generator=None):
    """Which places are hidden: ceil(N cos(pi u / 2)) of each row, at least 1, at random:
    (B, N), (B,) -> (B, N) bool.
    """
    ### BEGIN SOLUTION
    count = (codes.shape[1] * torch.cos(math.pi / 2 * u)).ceil().clamp(min=1)
    order = torch.rand(codes.shape, generator=generator, device=codes.device).argsort(1).argsort(1)
    return order < count[:, None]
    ### END SOLUTION


def masked_loss(net, codes, words):
    """-log p(k_i | visible, c) at the hidden places, their mean in nats; u is spread over the batch."""
    ### BEGIN SOLUTION
    u = (torch.rand(1, device=codes.device) + torch.arange(len(codes), device=codes.device)) / len(codes)
    hidden = hide(codes, u % 1)
    logits = net(torch.where(hidden, net.K, codes), words)
    return F.cross_entropy(logits[hidden].float(), codes[hidden])
    ### END SOLUTION


# %% check="masked-loss"
hidden_check = hide(torch.zeros(4_000, 8), torch.full((4_000,), 2 / 3), torch.Generator().manual_seed(0))
assert (hidden_check.sum(1) == 4).all(), "cos(pi / 3) = 1/2: four of eight"
assert (hidden_check.float().mean(0) - 0.5).abs().max() < 0.05, "each place as often as the others"
assert hide(torch.zeros(1, 8), torch.tensor([0.9999])).sum() == 1, "at least one"


class Peeps(nn.Module):
    """Two codes; sure of code 1 at each hidden place, of code 0 at each visible one."""

    K = 2

    def forward(self, codes, words):
        return 20.0 * F.one_hot((codes == 2).long(), 2).float()


ones_check = torch.ones(6, 8, dtype=torch.long)
assert masked_loss(Peeps(), ones_check, None) < 1e-6, "only hidden places count: there it is sure and right"
assert masked_loss(Peeps(), 0 * ones_check, None) > 19, "and there it is asked for the true code"

# %% [markdown]
# *Question: why not fill in everything in one pass?* Take two places with two codes, and a law that says that
# both are equal: 00 and 11 with probability ½ each. What does one pass draw?
#
# <details><summary>Answer</summary>
#
# The true law of each place is ½, ½. Drawn at once, each by its own law, the pair is unequal half of the
# time; drawn one after the other, never. A pass may commit many places only if they hardly depend on each
# other *given what is visible*.
#
# </details>
#
# So MaskGIT draws a guess for every hidden place, keeps those in which it is most *confident*, and hides the
# rest again. After pass $r$ of $R$, $\lfloor N \cos(\tfrac{\pi r}{2 R}) \rfloor$ places stay hidden, the same
# curve as in training: few are kept at first, when little is known, many at the end. The confidence is
# $\log p$ of the drawn code, plus Gumbel noise that fades out. *Question: with that noise a less safe place
# sometimes comes first. What does it do to the Fréchet distance?* The race below has a row without it.


# %% build="fill-in"
def keep_confident(codes, guess, confidence, hidden_after, K):
    """Commits the most confident guesses until `hidden_after` places are left hidden:
    (B, N) each -> (B, N).
    """
    ### BEGIN SOLUTION
    hidden = codes == K
    confidence = confidence.masked_fill(~hidden, torch.inf)  # what is committed stays
    rank = confidence.argsort(1).argsort(1)  # 0: the least confident
    return torch.where(hidden, guess, codes).masked_fill(rank < hidden_after, K)
    ### END SOLUTION


@torch.no_grad()
def fill_in(net, words, passes=8, w=2.0, temperature=1.0, noise=1.5, seed=0):
    """MaskGIT's parallel decoding (Chang et al. 2022, section 3.2): (B, 5) -> (B, N)."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.full((len(words), net.N), net.K, device=words.device)
    for r in range(1, passes + 1):
        logits = guided(net, codes, words, w)
        guess = choose(logits, temperature, generator)
        log_p = (logits.float() / temperature).log_softmax(2).gather(2, guess[:, :, None])[:, :, 0]
        fading = noise * (1 - r / passes) * gumbel_like(torch.empty(log_p.shape), generator)
        left = math.floor(net.N * math.cos(math.pi / 2 * r / passes) + 1e-9)
        codes = keep_confident(codes, guess, log_p + fading.to(log_p.device), left, net.K)
    return codes


# %% check="fill-in"
codes_check = torch.tensor([[5, 1, 5, 5]])  # 5 is hidden
guess_check, sure_check = torch.tensor([[0, 0, 2, 3]]), torch.tensor([[-1.0, -9.0, -0.1, -2.0]])
assert keep_confident(codes_check, guess_check, sure_check, 1, 5).tolist() == [[0, 1, 2, 5]], (
    "the least sure stays hidden; what was committed stays as it was"
)
assert keep_confident(codes_check, guess_check, sure_check, 3, 5).tolist() == [[5, 1, 5, 5]], "none committed"
both_ways = CodeTransformer(3, N=4, d=16, layers=1, heads=2, causal=False).to(device)
filled_check = fill_in(both_ways, caption_81[:6], passes=3)
assert filled_check.shape == (6, 4) and filled_check.max() < 3, "at the end nothing is hidden"

# %% tags=["demo"]
torch.manual_seed(6)
masked = CodeTransformer(S.codes, d=S.width, layers=S.layers, causal=False).to(device)
masked_seconds = train_prior(masked, masked_loss, train_codes, S.mask_steps, "masked transformer")

# %% [markdown]
# Its loss is the mean over other questions than the raster prior's, and cannot be compared with it. Samples
# can. Two clocks are needed, too. *Passes* decide when somebody waits for one picture: each is a round trip
# through the network. *Work* decides when pictures are made by the thousand: the cached raster sampler
# computes each place once, 16 in all; a masked pass computes all 16 every time. (Fréchet distance, precision
# and recall depend on the number of pictures: compare within this table, not with section 7.)


# %% tags=["demo"]
# long: the race, its figure and its pictures
def clocked(sampler, words, repeats=1):
    """Result and seconds a picture: the median, where it repeats, after a first run to warm up."""
    seconds = []
    for _ in range(repeats + (repeats > 1)):
        clock = time.perf_counter()
        codes = sampler(words)
        codes.sum().item()  # waits for the device
        seconds.append((time.perf_counter() - clock) / len(words))
    return codes, sorted(seconds[-repeats:])[repeats // 2]


words = words_test[: S.sweep]
runs = {"raster, 16": lambda words: write(prior, words)}
runs |= {f"masked, {n}": lambda words, n=n: fill_in(masked, words, n) for n in (1, 2, 4, 8, 16)}
runs |= {"masked, 8, no noise": lambda words: fill_in(masked, words, 8, noise=0.0)}
race = {}
print(f"{'passes':20}{HEADINGS}  ms alone  ms each of {len(words)}")
for name, sampler in runs.items():
    codes, many = clocked(sampler, words)
    _, alone = clocked(sampler, words[:1], repeats=5)
    figures, named = measure(all_painted(vqgan, codes))
    race[name] = figures["frechet"], 1_000 * alone, 1_000 * many, named["both"]
    print(f"{name:20}{line(figures, named)}  {race[name][1]:8.1f}  {race[name][2]:11.2f}")
passes, scales = (1, 2, 4, 8, 16), ("passes", "ms, one alone", f"ms each, {S.sweep} at once")
fig, axes = plot.figure(1, 3, height=3.1)
for n, (ax, xlabel) in enumerate(zip(axes, scales, strict=True)):
    rows = [race[f"masked, {r}"] for r in passes]
    at, best = [row[n] for row in rows] if n else passes, race["raster, 16"]
    ax.plot(at, [row[0] for row in rows], marker="o", label="masked, 1 to 16 passes")
    ax.plot(best[n] if n else 16, best[0], "s", ms=9, color=plot.COLOURS.vermilion, label="raster, 16 passes")
    ax.set(xlabel=xlabel, xscale="log", ylim=(0, 1.1 * max(row[0] for row in rows)))
    ax.set_xticks([], minor=True)
    ticks = [t for t in (0.2, 0.5, 1, 2, 4, 8, 16, 32, 64) if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
axes[0].set(ylabel="Fréchet distance", title="One race, three scales")
axes[1].legend(loc="lower right", fontsize=9)
plt.show()
few, names = read(SHOWN).repeat_interleave(2, 0), ("masked, 1", "masked, 8", "raster, 16")
fig, axes = plot.figure(3, 1, height=0.95)
for ax, name in zip(axes, names, strict=True):
    plot.images(
        all_painted(vqgan, runs[name](few)),
        columns=12,
        ax=ax,
        title=f"{name} pass" + "es" * (name[-2:] != " 1"),
    )
plt.show()
print("two of each:", "; ".join(SHOWN))
board.claim("Raster order has a smaller distance than any number of masked passes.",
            race["raster, 16"][0] < min(race[f"masked, {n}"][0] for n in passes))  # fmt: skip
board.claim("One pass is worse than two, four or eight.",
            all(race["masked, 1"][0] > race[f"masked, {n}"][0] for n in (2, 4, 8)))  # fmt: skip
board.claim(
    "Noise or none changes the distance less than one pass or eight.",
    abs(race["masked, 8, no noise"][0] - race["masked, 8"][0]) < race["masked, 1"][0] - race["masked, 8"][0],
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Little, here: the two rows lie close. MaskGIT wants the noise because the safest place always
# coming first can make pictures alike. With 16 places and a draw at each of them recall and diversity hardly
# show it.
#
# </details>
#
# One pass is the worst, for its places do not know of each other; more passes heal a part of that. By the
# Fréchet distance raster order stays ahead, even of sixteen passes (style and precision hardly tell the two
# apart), and the clocks do not help the masked transformer either: on a CPU a masked pass takes longer than a
# cached step, so that eight of them take about as long as sixteen steps for one picture, and several times as
# long in a full batch. Two reasons: the same training has to answer for *every* set of hidden places, and not
# for one order; and sixteen places are few. MaskGIT's gain in the paper comes from grids of 256
# places and more, where raster order needs 256 steps and 8 to 12 passes are enough, and from hardware that is
# idle while it writes one code at a time. Here parallel decoding does not pay.
#
# ## 9 · Play
#
# Choose the words. The picture is computed now. Below it the same caption at five settings.


# %% tags=["demo"] folded="The controls, and a figure that says the same"
# long: twelve pictures of a caption, the controls, the figure
def draw(
    character="G", weight="bold", slant="italic", family="serif", guidance=2.0, temperature=1.0, passes=0
):
    """Twelve pictures of a caption; passes 0: raster order."""
    style = " ".join(word for word in (weight, slant, family) if word != "regular" and word != "upright")
    text = data.caption(character, style)
    words = read([text] * 12)
    if passes:
        codes = fill_in(masked, words, passes, guidance, temperature)
    else:
        codes = write(prior, words, guidance, temperature)
    title = text + (" (hidden in training)" if text in HELD else "")
    plot.images(all_painted(vqgan, codes), columns=12, title=title)
    plt.show()


options = {"character": list(data.CAPITALS_AND_DIGITS), "weight": ["bold", "regular"]}
options |= {"slant": ["italic", "upright"], "family": ["serif", "sans", "mono"]}
options |= {"passes": [("raster", 0), ("masked, 4", 4), ("masked, 8", 8)]}
menus = {name: widgets.Dropdown(options=values) for name, values in options.items()}
menus["character"].value = "G"
sliders = {
    "guidance": widgets.FloatSlider(2.0, min=0.0, max=8.0, step=0.5, continuous_update=False),
    "temperature": widgets.FloatSlider(1.0, min=0.1, max=2.0, step=0.1, continuous_update=False),
}
controls = interact(draw, **menus, **sliders)
fig, axes = plot.figure(5, 1, height=0.85)
for ax, (w, T) in zip(axes, [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.3), (8.0, 1.0)], strict=True):
    codes = write(prior, read(["bold italic serif letter G"] * 14), w, T)
    title = f"bold italic serif letter G: guidance {w:g}, temperature {T:g}"
    plot.images(all_painted(vqgan, codes), columns=14, ax=ax, title=title)
plt.show()

# %% [markdown]
# Guidance 0 ignores the caption. A low temperature draws nearly the same picture again and again, and so does
# strong guidance.
#
# ## 10 · What breaks: a poor vocabulary
#
# The prior writes in the tokenizer's words, and what these cannot say it cannot write. To see the ceiling come
# down, take words away from the finished tokenizer: cluster its code book into fewer vectors (Lloyd's rounds
# of lesson 25, weighted by use), and give each code the mean of its cluster. The *same* map goes over the
# codes of real pictures and over those that the prior wrote.


# %%
def merge_codes(book, weight, n, rounds=20, seed=0):
    """A code book (K, D) with each row replaced by one of n centres, by Lloyd's rounds with weights (K,)."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.multinomial(weight.cpu().double() + 1e-9, n, generator=generator).to(book.device)
    centres = book[start].clone()
    for _ in range(rounds):
        nearest = torch.cdist(book, centres).argmin(1)  # (K,)
        share = F.one_hot(nearest, n).to(book) * (weight[:, None] + 1e-9)
        mean = share.T @ book / share.sum(0)[:, None].clamp(min=1e-9)
        centres = torch.where((share.sum(0) > 0)[:, None], mean, centres)
    return centres[torch.cdist(book, centres).argmin(1)]


# %% tags=["demo"]
# long: codes taken away, two curves, pictures
full_book = vqgan.quantise.book.clone()
use = torch.bincount(train_codes.flatten(), minlength=S.codes).float()
written, sizes = guided_figures[2.0][3], sorted({n for n in (2, 8, 16, 64, 256) if n < S.codes} | {S.codes})
falling, torn = {"tokenizer": [], "prior": []}, {}
for n in sizes:
    vqgan.quantise.book.copy_(merge_codes(full_book, use, n) if n < S.codes else full_book)
    for name, codes in (("tokenizer", vq_codes), ("prior", written)):
        figures, named = measure(all_painted(vqgan, codes))
        falling[name].append((figures["frechet"], named["both"], figures["class_accuracy"]))
    torn[n] = all_painted(vqgan, vq_codes[:16])
    rows = " ".join(f"{name}: Fréchet {v[-1][0]:6.2f}, both {v[-1][1]:.3f};" for name, v in falling.items())
    print(f"{n:4} codes  {rows}")
fig, axes = plot.figure(1, 2, height=3.2)
for ax, column, title in ((axes[0], 0, "Fréchet distance"), (axes[1], 1, "Character and style right")):
    for (name, values), colour in zip(falling.items(), plot.COLOURS, strict=False):
        ax.plot(sizes, [v[column] for v in values], marker="o", color=colour, label=name)
    ax.set(title=title, xlabel="codes left", xscale="log", ylim=(0, None))
    ax.set_xticks(sizes, [str(n) for n in sizes], fontsize=9)
    ax.set_xticks([], minor=True)
axes[1].legend(loc="upper left", fontsize=9)
plt.show()
three = sizes[-1], sizes[len(sizes) // 2], sizes[0]
rows = {"Test pictures": x_test[:16]} | {f"{n} codes": torn[n] for n in three}
fig, axes = plot.figure(4, 1, height=0.85)
for ax, (title, x) in zip(axes, rows.items(), strict=True):
    plot.images(x, columns=16, ax=ax, title=title)
plt.show()
few_codes, all_of_them = ([falling[name][at][2] for name in falling] for at in (0, -1))
board.claim(
    "With 2 codes neither reads a third of the characters, with all of them both read four in five.",
    max(few_codes) < 1 / 3 and min(all_of_them) > 0.8,
)
board.claim("The prior's Fréchet distance falls with every code given back.", all(
    a[0] > b[0] for a, b in itertools.pairwise(falling["prior"])))  # fmt: skip

# %% [markdown]
# The prior's curve follows its tokenizer's down. With few codes the two lie close, and no training of the
# prior would help much. (With two codes it even looks better than its ceiling, at figures that are worth
# nothing.) With all of them there is a gap, and a better prior could close it: of the characters it loses more
# than the tokenizer does (section 7). Of the Fréchet distance most is still the tokenizer's. The repair is to give the words back: read the figure from left to right, where nothing
# but the tokenizer changes, and the same sixteen choices of the same prior become better pictures.
#
# What exactly is the ceiling? A *perfect* prior, which has the true law of codes given captions, gets the
# tokenizer's figures. But accuracy by itself is no strict bound: a prior may *avoid* the letters that the
# tokenizer draws badly, and guidance pushes it there, at the price of variety. Exercise 5 makes this exact.
#
# ## 11 · How good is it?


# %% tags=["demo"] folded="Records for the board"
# long: four rows
def size_of(*modules):
    """How many numbers the modules store as parameters."""
    return sum(p.numel() for module in modules for p in module.parameters())


def costs_of(net, seconds, sample):
    """What the board asks of a prior."""
    cost = {"parameters": size_of(net, vqgan), "train_seconds": vq_seconds + seconds}
    return cost | {"sample_seconds": sample}


common = {"lesson": "26_tokens_to_images", "data": "glyphs 16"}
figures, named, seconds, _ = guided_figures[2.0]
figures = figures | {"unseen_accuracy": named["unseen_accuracy"]} | costs_of(prior, prior_seconds, seconds)
board.record(model="transformer over codes", **common, **figures)
codes, seconds = clocked(lambda words: fill_in(masked, words, 8), words_test[: S.test])
figures, named = measure(all_painted(vqgan, codes))
figures = figures | {"unseen_accuracy": named["unseen_accuracy"]} | costs_of(masked, masked_seconds, seconds)
board.record(model="masked transformer, 8 passes", **common, **figures)
for name, model, used, seconds in (
    ("dVAE", dvae, dvae_used, dvae_seconds),
    ("VQGAN", vqgan, vq_used, vq_seconds),
):
    costs = {"parameters": size_of(model), "train_seconds": seconds, "code_perplexity": used}
    board.record(model=f"{name}, reconstructions", **common, **costs, **ceilings[name][0])
board.plot("glyphs 16")
plt.show()
board.table("glyphs 16")

# %% [markdown]
# The rows called "reconstructions" are no generators: they show the ceiling. Compare the transformer over codes
# with the guided rows of lessons 19 and 23: there the character is right more often; here the Fréchet distance
# is smaller, and the raster sampler draws a picture in less time. (Lesson 25's prior, on a tokenizer of its own,
# is right more often, too, at a low temperature: a bottleneck alone does not cost the character.) The conditional VAE
# and DCGAN of lessons 10 and 13 are better by both figures, and quicker. On pictures this small codes do not win.
# What they buy is that one language model can write text, pictures and sound.
#
# ## 12 · In production
#
# One picture costs
#
# $$\text{time} = n\, m\, t_{\text{step}} + t_{\text{decoder}},$$
#
# $n$ steps (the number of codes in raster order, the number of passes in parallel), $m = 2$ with guidance and
# 1 without (or one step with a double batch), $t_{\text{step}}$ one step of the prior, $t_{\text{decoder}}$
# from codes to pixels.

# %% tags=["demo"]
for batch in (1, min(S.test, 256)):
    words = words_test[:batch]
    codes, plain = clocked(lambda words: write(prior, words, 1.0), words, 3)
    _, doubled = clocked(lambda words: write(prior, words, 2.0), words, 3)
    clock = time.perf_counter()
    all_painted(vqgan, codes).sum().item()
    decode = (time.perf_counter() - clock) / batch
    print(f"batch {batch:3}: t_step {1_000 * plain / 16:6.3f} ms", end="")
    print(f", guided {1_000 * doubled / 16:6.3f} ms, t_decoder {1_000 * decode:6.3f} ms", end="")
    print(f"; n t_step is {plain / (plain + decode):.0%} of the time")

# %% [markdown]
# Alone, guidance costs less than twice the time, for the double batch fills idle units; in a full batch it
# doubles the work, and up to that much time. A cache makes the steps short. What language models use to
# serve text quickly serves these pictures, too: one reason why some assistants that write and draw in one
# network are built on codes. (Others write tokens and draw by diffusion, with the same network: lesson 01.)
#
# ## Exercises
#
# Seven exercises, 20 points. Each asks for a step beyond the chapter; the last builds the whole family once.
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


# %% test="top-k" points=2
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
# Section 1 went from noise to a choice. Go back: the choice $k$ is known; draw sums $a_j = \ell_j + g_j$ *as
# they are, given that the largest is at $k$*. (Straight-through and low-variance estimators need this.) Two
# facts: the largest sum is itself Gumbel, with location $L = \log \sum_j e^{\ell_j}$, whichever place it is
# at: $P(a_k \le t) = \exp(-e^{L - t})$. And the others are independent Gumbels with location $\ell_j$, cut
# off at $a_k$: $P(a_j \le t) = \exp(-e^{\ell_j - t}) / \exp(-e^{\ell_j - a_k})$ for $t \le a_k$. Draw by
# inversion: $a_j$ is where its distribution function equals the uniform number $u_j$.


# %% exercise="noise-behind"
def sums_given(logits, k, u):
    """The sums a (B, K) whose largest is at place k, by inversion of the given uniform numbers.

    logits: (B, K), float64, may be hundreds apart; k: (B,) int64;
    u: (B, K), between 0 and 1, one for each sum.
    """
    ### BEGIN SOLUTION
    top = logits.logsumexp(1, keepdim=True) - (-u.gather(1, k[:, None]).log()).log()  # (B, 1)
    others = -torch.logaddexp(-top, (-u.log()).log() - logits)  # e^-z = e^-top - log(u) e^-logit
    return others.scatter(1, k[:, None], top)
    ### END SOLUTION


# %% test="noise-behind" points=2
u_given = torch.tensor([[0.3, 0.6, 0.9]], dtype=torch.float64)
a_given = sums_given(torch.tensor([[0.0, 5.0, 1.0]], dtype=torch.float64), torch.tensor([0]), u_given)
assert a_given.shape == (1, 3), f"a sum for each logit, (B, K), not {tuple(a_given.shape)}"
assert a_given.dtype == torch.float64, f"of the type that went in, float64, not {a_given.dtype}"
assert a_given.argmax(1).item() == 0, "the largest is at k, however unlikely"
L_given = math.log(1 + math.exp(5) + math.exp(1))
assert math.isclose(math.exp(-math.exp(L_given - a_given[0, 0])), 0.3), "the largest: exp(-e^(L - a)) = u_k"
ratio = math.exp(-math.exp(5 - a_given[0, 1]) + math.exp(5 - a_given[0, 0]))
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
    """log of the mean over several orders of p(codes | words), each by revealing one place at a time:
    (B,), in nats.

    net(codes, words) -> logits (B, N, K), where the code K means hidden; codes: (B, N); words: (B, 5);
    orders: (rows, N) int64, each row a permutation of 0 ... N - 1, the places in the order in which they are
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


# %% test="any-order" points=3
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


# %% test="budget" points=3
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
# class $y$ in the decoded grid $m$. A prior is a table $\rho_{ym}$, the probability that it writes $m$ for $y$,
# and its accuracy is $\frac1Y \sum_{y,m} \rho_{ym} A_{my}$. Return three accuracies: of the *perfect* prior,
# $\rho = Q$; the best of *any* prior; and the best of any prior that writes, over all classes together, each
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


# %% test="ceiling" points=2
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


# %% test="repair" points=2
said = torch.tensor([[[0.0, 3.0], [0.0, 1.0], [5.0, 0.0]]], dtype=torch.float64)
quiet = torch.zeros(1, 3, 2, dtype=torch.float64)
begun = torch.tensor([[2, 2, 1]])  # the code 2 is hidden; the third place is committed
got = repaired_pass(said, quiet, begun, 1, 1.0, 1.0, quiet, 2)
assert got.dtype == torch.int64, f"codes are int64, not {got.dtype}"
assert got.tolist() == [[1, 2, 1]], "the surer of the hidden places is committed; what was committed stays"
got = repaired_pass(said, quiet, begun, 0, 1.0, 10.0, torch.tensor([[[1.0, 0.0]] * 3]).double(), 2)
assert got.tolist() == [[0, 0, 1]], "at temperature 10 the logits shrink, and the noise does not grow"
against = torch.tensor([[[0.0, 1.8]] * 3], dtype=torch.float64)
got = repaired_pass(against - against + torch.tensor([0.0, 1.0]), against, begun, 0, 2.0, 1.0, quiet, 2)
assert got.tolist() == [[1, 1, 1]], "guidance 2: from 1.8 without a caption to 1.8 + 2 (1 - 1.8) = 0.2"
certain = torch.tensor([[[900.0, 0.0]] * 3], dtype=torch.float64)
got = repaired_pass(certain, quiet, torch.tensor([[1, 2, 2]]), 1, 1.0, 1.0, quiet, 2)
assert got[0, 0] == 1 and (got == 2).sum() == 1, "a certain guess does not push out what was committed"

# %% [markdown]
# ### 7 · Two stages, and a law that is known (build, hard, 50 minutes)
#
# Write the family once, from bound to picture, for pictures so small that their law is known. A picture has
# $N$ places with $D$ numbers each. A law over sequences of $K$ things says which thing is where; place $i$
# then shows its vector $e_{k_i}$ plus normal noise of standard deviation $\sigma$.
#
# *Stage one* is a dVAE with *hard* draws. At each place take the code with the largest $\ell_k + g_k$, and
# paint its row of the book: that is what later the prior's codes will paint, too. Backwards the choice passes
# the gradient of the relaxed draw $s$ at temperature $\tau$ (section 1): straight through, as in lesson 25.
# The loss is minus the bound with the uniform prior, for each picture, in nats and complete: the constant of
# the normal law belongs to it, and the KL is that of $q = \operatorname{softmax}(\ell)$, exactly.
#
# *Stage two* learns $p(k_1, \dots, k_N)$ from codes, and *writes*: the code of each place by Gumbel-max from
# what is written before it, then the picture.


# %% exercise="two-stage"
def stage_one(logits, book, x, g, tau, sigma):
    """Minus the bound on log p(x) with a uniform prior, by one draw at each place, in nats: (B,), like x.

    logits: (B, N, K), also hundreds apart; book: (K, D); x: (B, N, D); g: Gumbel noise (B, N, K);
    tau > 0; sigma > 0: of the noise of x.
    Forwards each place paints one row of the book, and that row gets the gradient of what it painted;
    backwards the choice is softmax((logits + g) / tau).
    """
    ### BEGIN SOLUTION
    relaxed = ((logits + g) / tau).softmax(2)
    hard = F.one_hot((logits + g).argmax(2), len(book)).to(relaxed)
    painted = (hard - relaxed.detach() + relaxed) @ book  # (B, N, D)
    constant = x.shape[1] * x.shape[2] * math.log(sigma * math.sqrt(2 * math.pi))
    log_q = logits.log_softmax(2)
    kl = (log_q.exp() * (log_q + math.log(len(book)))).sum((1, 2))
    return ((x - painted) / sigma).square().sum((1, 2)) / 2 + constant + kl
    ### END SOLUTION


def stage_two(net, codes):
    """-log p(codes) in nats, for each row: (B,). codes: (B, N) int64.

    net(seen) -> logits (B, K) of the next code, also hundreds apart; seen: the codes before it, (B, t),
    t from 0 on.
    """
    ### BEGIN SOLUTION
    nats = 0.0
    for i in range(codes.shape[1]):
        nats = nats + F.cross_entropy(net(codes[:, :i]), codes[:, i], reduction="none")
    return nats
    ### END SOLUTION


def write_pictures(net, book, g, noise):
    """New codes (B, N) int64 and their pictures (B, N, D), like book, by Gumbel-max, place after place.

    net: as above; book: (K, D); g: Gumbel noise (B, N, K); noise: what is added to the pictures (B, N, D).
    """
    ### BEGIN SOLUTION
    codes = torch.zeros(len(g), 0, dtype=torch.long, device=g.device)
    for i in range(g.shape[1]):
        codes = torch.cat([codes, (net(codes) + g[:, i]).argmax(1, keepdim=True)], dim=1)
    return codes, book[codes] + noise
    ### END SOLUTION


# %% test="two-stage" points=6
# long: three small cases by hand, then both stages trained on a law that is known
ell_two, book_two = torch.zeros(1, 1, 2).double(), torch.tensor([[1.0], [3.0]]).double()
g_two, x_two = torch.tensor([[[0.0, 2.0]]]).double(), torch.tensor([[[2.5]]]).double()
got = stage_one(ell_two, book_two, x_two, g_two, 1.0, 0.5)
assert got.shape == (1,) and got.dtype == torch.float64, "one number for each picture, of the type of x"
wanted_two = 0.5 + math.log(0.5 * math.sqrt(2 * math.pi))
assert math.isclose(got.item(), wanted_two, rel_tol=1e-6), "paints 3, and a KL of 0"
got = stage_one(torch.tensor([[[math.log(3), 0.0]]]).double(), book_two, x_two, g_two, 0.1, 0.5)
wanted_two += 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
assert math.isclose(got.item(), wanted_two, rel_tol=1e-6), (
    "paints 3 still; q is (3/4, 1/4) without the noise g"
)
assert math.isclose(
    stage_two(lambda seen: torch.zeros(1, 4).double(), torch.tensor([[3, 0]])).item(), math.log(16)
), "two places, four codes each: the nats of both, added"
centres = torch.tensor([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])  # what is shown: one thing, then the next
generator = torch.Generator().manual_seed(0)
things = torch.randint(3, (600, 1), generator=generator) + torch.arange(2)
x_two = centres[things % 3] + 0.4 * torch.randn(600, 2, 2, generator=generator)
weight, first, second = (torch.zeros(n, 3, requires_grad=True) for n in (3, 1, 3))
book_two = (centres + 0.5).requires_grad_()  # begins a little off
enter = lambda x: x @ weight[:2] + weight[2]  # noqa: E731
after = lambda seen: second[seen[:, -1]] if seen.shape[1] else first.expand(len(seen), 3)  # noqa: E731
optimizer = torch.optim.Adam([weight, first, second, book_two], 0.1)
for _ in range(150):
    loss = stage_one(enter(x_two), book_two, x_two, gumbel_like(torch.zeros(600, 2, 3), generator), 0.5, 0.4)
    loss = loss + stage_two(after, enter(x_two).argmax(2))
    optimizer.zero_grad()
    loss.mean().backward()
    optimizer.step()
with torch.no_grad():
    g_two = gumbel_like(torch.zeros(900, 2, 3), generator)
    _, louder_two = write_pictures(after, book_two, g_two, torch.ones(900, 2, 2))
    _, written_two = write_pictures(after, book_two, g_two, torch.zeros(900, 2, 2))
assert torch.allclose(louder_two, written_two + 1), "the noise is added to the pictures"
thing = torch.cdist(written_two, centres).argmin(2)
assert (thing[:, 1] == (thing[:, 0] + 1) % 3).float().mean() > 0.9, "the second thing follows from the first"
assert (torch.bincount(thing[:, 0], minlength=3) > 200).all(), "and the first is any of the three"

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
# - K. Tian and others. *Visual autoregressive modeling: scalable image generation via next-scale prediction.*
#   2024, arXiv:2404.02905. VAR.
# - J. Yu and others. *Scaling autoregressive models for content-rich text-to-image generation.* 2022,
#   arXiv:2206.10789. Parti.
# - K. Jordan and others. *Muon: an optimizer for hidden layers in neural networks.* 2024,
#   https://kellerjordan.github.io/posts/muon/.

# %% tags=["demo"]
selfcheck.run("26_tokens_to_images")
