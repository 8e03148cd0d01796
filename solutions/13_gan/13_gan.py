# %% [markdown]
# # 13 · GAN, DCGAN, WGAN-GP
#
# > **Write no density down. Train a judge that tells real from made, and move what you make to where the
# > judge can no longer tell.**
#
# | | |
# |---|---|
# | You will build | the best judge in closed form; both losses of the generator; a Wasserstein critic whose number means something; a conditional DCGAN that writes letters; 72 small GANs, of which some chase and some collapse, and what repairs which; at the end a GAN of your own whose judge you choose |
# | You need to know | lesson 01 (what *implicit* means), lesson 02 (Bayes' rule as a classifier, KL divergence); gradients; a convolution |
# | Time on two CPU cores | about four minutes to run, an hour and a quarter for the text, two to three hours to solve |
# | Time on a GPU | some minutes, with letters of 28 x 28 pixels and wider networks (`full`) |
#
# ## You are here

# %% folded="Imports and settings"
# long: what the whole lesson uses
import copy
import math
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, diagram, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

device = genmap.device()
torch.set_float32_matmul_precision("high")
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait
S = genmap.settings(
    # smoke, quick, full
    judge_steps=(30, 1_000, 5_000),
    line_steps=(10, 400, 2_000),
    rings=(2, 8, 64),
    ring_steps=(25, 1_000, 5_000),
    size=(16, 16, 28),
    ch=((16, 8), (48, 32), (128, 96)),
    batch=(16, 32, 128),
    steps=(6, 2_000, 12_000),
    show=(3, 200, 1_000),
    ch_W=((8, 8), (32, 24), (64, 48)),
    steps_W=(4, 450, 4_000),
    eval=(144, 2_160, 2_160),
    detector=(5, 400, 2_000),
)
print(f"{genmap.setting()} on {device}")

# %% folded="Figure: the map, and the machine" tags=["demo"]
taxonomy.figure("gan")
diagram.machine(
    "z | (B, 64), noise -> [G | up-convolutions] -> G(z) | (B, 1, 16, 16) -> [D | down-convolutions]"
    " -> logit | (B,)",
    "x | real, (B, 1, 16, 16) -> D",
    title="D learns to tell x from G(z); G learns through D, and never sees x",
)
plt.show()

# %% [markdown]
# ## The compromise
#
# All models so far paid for a density: by independence, by an order, by an invertible map, by a bound, by a
# constant that nobody knows. A GAN pays nothing of the kind. Its generator $G$ may be any network from
# noise to pictures, one pass long. What it gives up is the number $\log p(x)$: there is nothing to compare
# on held-out data, no alarm for odd pictures, and no single curve that says whether training goes well. Two
# networks play against each other, and a game may go round in circles.
#
# | question | answer |
# |---|---|
# | What is modelled? | pixels, straight from noise: $x = G(z)$ |
# | Is the density explicit? | no (bucket 3); the judge knows a *ratio* of densities, section 2 |
# | Is sampling one-shot or iterative? | one-shot: one pass of $G$ |
# | What conditions it? | whatever both networks are given: here a class |
# | How is it evaluated, and how does that fail? | Fréchet distance, precision and recall in a feature space: all are blind to copies; precision alone does not see a collapse, recall alone does not see bad pictures |
#
# Goodfellow and others (2014) proposed the game. Radford, Metz and Chintala (2015) found the convolutional
# networks that made it work on pictures, the *DCGAN*. Arjovsky, Chintala and Bottou (January 2017) replaced
# the classifier by a distance, and Gulrajani and others (March 2017) trained it better, with a gradient
# penalty in place of clipped weights: the *WGAN-GP*. In 2021 diffusion models passed them in picture quality
# (Dhariwal and Nichol).
#
# | symbol | is |
# |---|---|
# | $p$, $q$ | the density of the data; of what the generator makes |
# | $z$, $G(z)$ | noise; what the generator makes of it |
# | $\ell(x)$, $D(x) = \sigma(\ell(x))$ | the discriminator's logit; its probability that $x$ is real. A star marks the best one |
# | $f(x)$ | the score of a Wasserstein critic |
# | $V$ | the value of the game, in nats: the judge wants it high, the generator low |
# | $\theta$, $\psi$ | the generator's one number in the small cases, and the judge's |
# | $\lambda$, $\eta$, $\beta$ | weight of the gradient penalty; learning rate; what an average keeps of its past |
#
# *Judge* is our word for either, discriminator or critic.
#
# ## 1 · Why it can work at all: the best judge knows both densities
#
# We want to compare two densities, and have nothing but samples of each. A classifier needs no more than
# that. Let it maximise
#
# $$V(D, G) = \mathbb E_{x \sim p}\,\log D(x) + \mathbb E_{x \sim q}\,\log\big(1 - D(x)\big) .$$
#
# **Theorem.** For a fixed generator the best discriminator, and its value, are
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}, \qquad V(D^*, G) = 2\,\text{JSD}(p, q) - \log 4 ,$$
#
# where the *Jensen–Shannon divergence* is
# $\text{JSD}(p, q) = \tfrac12 \text{KL}(p\,\|\,m) + \tfrac12 \text{KL}(q\,\|\,m)$ with $m = \frac{p + q}2$.
# It is 0 where $q = p$ and nowhere else, and at most $\log 2$. So whoever moves $q$ to lower the best judge's
# value moves it towards $p$, *without ever having written $q$ down*. That is the whole trick.
#
# <details><summary>Derivation, in four steps</summary>
#
# 1. *Point by point.* $V = \int \big(p \log D + q \log(1 - D)\big)\,\mathrm dx$, and $D$ may be chosen at
#    each $x$ for itself. So let $a = p(x)$ and $b = q(x)$ and maximise $h(D) = a \log D + b \log(1 - D)$ over
#    $0 < D < 1$.
# 2. *The maximum.* $h'(D) = \frac aD - \frac b{1 - D}$ is 0 where $a(1 - D) = bD$, that is at
#    $D = \frac a{a + b}$. It is a maximum, for $h''(D) = -\frac a{D^2} - \frac b{(1-D)^2} < 0$ everywhere.
# 3. *The value.* Put it in, and write $p + q = 2m$: $V = \mathbb E_p \log\frac p{2m} + \mathbb E_q \log\frac
#    q{2m} = \text{KL}(p\,\|\,m) + \text{KL}(q\,\|\,m) - 2\log 2$.
# 4. *Its range.* Both KL are 0 or more, and 0 only where $p = m = q$. And $p \le 2m$, so
#    $\log\frac pm \le \log 2$: neither is above $\log 2$.
# </details>
#
# A network gives a *logit* $\ell$, any number. With $D = \sigma(\ell) = 1/(1 + e^{-\ell})$ and
# $\text{softplus}(\ell) = \log(1 + e^\ell)$ we have $\log D = -\text{softplus}(-\ell)$ and
# $\log(1 - D) = -\text{softplus}(\ell)$, so nothing overflows. The best logit has the plainest form of all,
# $\ell^*(x) = \log p(x) - \log q(x)$.


# %% build="judge-loss"
def discriminator_loss(real, fake):
    """-V in nats, from logits of real and of made samples, of any shape."""
    ### BEGIN SOLUTION
    return F.softplus(-real).mean() + F.softplus(fake).mean()
    ### END SOLUTION


# %% check="judge-loss"
assert math.isclose(discriminator_loss(torch.zeros(3), torch.zeros(5)), math.log(4), rel_tol=1e-6), (
    "a judge that can only guess: V = -log 4"
)
assert discriminator_loss(torch.tensor([9.0]), torch.tensor([-9.0])) < 0.001, "right and sure: V is near 0"
assert discriminator_loss(torch.tensor([-900.0]), torch.tensor([900.0])) == 1_800, "huge logits stay finite"

# %% [markdown]
# A case with a known truth. The data are the two modes of lesson 01,
# $p = \tfrac12 \mathcal N(-0.6, 0.4^2) + \tfrac12 \mathcal N(0.6, 0.4^2)$. The generator makes
# $q = \mathcal N(0.5, 0.8^2)$. Everything can be added up on a grid. Beside it a network learns from samples
# of both, by a plain loop.
#
# **Question.** The network sees samples alone. Will it find $p/(p + q)$? Where will it be wrong?


# %% folded="Two densities on a line, and the loop that trains a judge"
# long: densities, samples, a small network and its loop
def log_normal(x, mu, sigma):
    """log N(x; mu, sigma^2) in nats, elementwise."""
    return -0.5 * ((x - mu) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)


def log_p_line(x):
    """The two modes of lesson 01, in nats."""
    return torch.logaddexp(log_normal(x, -0.6, 0.4), log_normal(x, 0.6, 0.4)) - math.log(2)


def log_q_line(x):
    """What the generator makes, in nats."""
    return log_normal(x, 0.5, 0.8)


def jensen_shannon(log_p, log_q, dx):
    """JSD in nats of two densities on a grid of step dx: (N,), (N,) -> a number."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    kl = [(log.exp() * (log - log_m)).sum() * dx for log in (log_p, log_q)]
    return (kl[0] + kl[1]) / 2


def draw_line(n, generator):
    """n samples of p and n of q: two columns (n, 1)."""
    sign = 2.0 * torch.randint(2, (n, 1), generator=generator, device=device) - 1
    eps = torch.randn(2, n, 1, generator=generator, device=device)
    return 0.6 * sign + 0.4 * eps[0], 0.5 + 0.8 * eps[1]


def small_net(d):
    """A judge of d numbers: (N, d) -> (N,)."""
    layers = nn.Linear(d, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1)
    return nn.Sequential(*layers, nn.Flatten(0)).to(device)


def train_judge(judge, draw, steps, penalty=0.0, batch=256, lr=1e-2):
    """Train it on the two columns of draw(n, generator); a penalty makes it a Wasserstein critic
    (section 4). Returns what it maximises, at all steps.
    """
    optimizer = torch.optim.Adam(judge.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator, values = torch.Generator(device=device).manual_seed(1), []
    for _ in progress.track(range(steps), title="judge"):
        loss = judge_loss(judge, *draw(batch, generator), penalty, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        values.append(-loss.detach())
    return torch.stack(values)


def judge_loss(judge, real, fake, penalty, generator):
    """The discriminator's loss, or with a penalty the Wasserstein critic's: a number."""
    a, b = judge(real), judge(fake)
    if not penalty:
        return discriminator_loss(a, b)
    return b.mean() - a.mean() + penalty * gradient_penalty(judge, real, fake, generator).mean()


# %% folded="Figure: the best judge and a trained one" tags=["demo"]
# long: two densities, two judges, and the value
t = torch.linspace(-6, 6, 6_001, device=device)
dt, log_p, log_q = 12 / 6_000, log_p_line(t), log_q_line(t)
best = log_p - log_q  # the best logit
V_best = ((log_p.exp() * F.logsigmoid(best) + log_q.exp() * F.logsigmoid(-best)).sum() * dt).item()
by_jsd = 2 * jensen_shannon(log_p, log_q, dt).item() - math.log(4)
print(f"V at the best judge, added up: {V_best:.5f};  2 JSD - log 4: {by_jsd:.5f}")
board.claim("The best judge's value is 2 JSD - log 4.", abs(V_best - by_jsd) < 1e-4)
torch.manual_seed(0)
judge_line = small_net(1)
values = train_judge(judge_line, draw_line, S.judge_steps, batch=512).cpu()
with torch.no_grad():
    logit = judge_line(t[:, None])
fig, axes = plot.figure(1, 3, height=2.9)
axes[0].fill_between(t.cpu(), log_p.exp().cpu(), color=plot.RULE)
axes[0].plot(t.cpu(), log_p.exp().cpu(), color=plot.INK, lw=1.5, label="$p$, data")
axes[0].plot(t.cpu(), log_q.exp().cpu(), color=plot.COLOURS.vermilion, label="$q$, made")
axes[1].plot(t.cpu(), logit.sigmoid().cpu(), color=plot.COLOURS.blue, label="trained")
axes[1].plot(t.cpu(), best.sigmoid().cpu(), "--", color=plot.INK, lw=1.5, label="$p/(p+q)$")
axes[2].plot(values.unfold(0, min(25, len(values)), 1).mean(1), color=plot.COLOURS.blue, lw=1.4)
axes[2].axhline(V_best, ls="--", color=plot.INK, lw=1.5)
axes[2].axhline(-math.log(4), color=plot.COLOURS.grey, lw=1.2)
axes[2].text(0.97, 0.72, "$V(D^*)$", ha="right", transform=axes[2].transAxes)
axes[2].text(
    len(values.unfold(0, min(25, len(values)), 1)),
    -math.log(4),
    "$-\\log 4$ ",
    ha="right",
    va="bottom",
    color=plot.COLOURS.grey,
)
for ax, title in zip(axes[:2], ("Two densities", "The discriminator $D$"), strict=True):
    ax.set(title=title, xlim=(-2.8, 3.2), xlabel="$x$", ylim=(0, None))
    ax.legend(loc="upper right", fontsize=9.5, borderaxespad=0.1)
axes[0].set_ylim(0, 0.72)
axes[1].set(ylim=(0, 1.25), yticks=[0, 0.5, 1])
axes[2].set(title="Its value", xlabel="step", ylabel="nats")
plt.show()
last = values[-200:].mean().item()
print(f"trained: V {last:.3f} in its last steps")
board.claim("The trained judge reaches the best value within 0.02 nats.", abs(last - V_best) < 0.02)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Yes, where there are samples. Far out on either side there are hardly any, and there the network is free to
# say what it likes: nothing in the loss holds it.
# </details>
#
# ## 2 · The ratio that it knows, and why there is no p(x)
#
# Turn $\ell^*$ round, and a trained discriminator is a *density ratio*,
# $\frac{p(x)}{q(x)} = \frac{D(x)}{1 - D(x)} = e^{\ell(x)}$. If $q$ is known, that is worth a density:
# $p(x) = q(x)\,e^{\ell(x)}$. (Lesson 12 trains energy-based models that way: *noise-contrastive
# estimation*.)

# %% folded="Figure: the log ratio, and the density that comes out" tags=["demo"]
# long: two panels and two claims
dense = (log_p.exp() > 0.02) & (log_q.exp() > 0.02)
gap, beyond = (logit - best)[dense].abs(), (logit - best)[t > 5].abs()
recovered = (log_q + logit).exp()
total = (recovered.sum() * dt).item()
print(f"log ratio: error where both have samples {gap.mean():.3f} nats; beyond x = 5: {beyond.mean():.1f}")
print(f"q exp(logit) adds up to {total:.4f}")
board.claim("Where both have samples it errs by less than 0.15 nats on average.", gap.mean().item() < 0.15)
board.claim("Beyond x = 5 it errs by more than ten times as much.", beyond.mean() > 10 * gap.mean())
board.claim("The density that comes out adds up to 1 within 3 percent.", abs(total - 1) < 0.03)
fig, axes = plot.figure(1, 2, height=2.8)
axes[0].axvspan(t[dense].min().item(), t[dense].max().item(), color=plot.RULE, lw=0, label="samples of both")
axes[0].plot(t.cpu(), logit.cpu(), color=plot.COLOURS.blue, label="trained logit")
axes[0].plot(t.cpu(), best.cpu(), "--", color=plot.INK, lw=1.5, label=r"$\log p - \log q$")
axes[0].set(title="The log ratio", xlabel="$x$", ylabel="nats", xlim=(-4, 8), ylim=(-14, 6))
axes[0].legend(loc="upper right", fontsize=9.5)
axes[1].fill_between(t.cpu(), log_p.exp().cpu(), color=plot.RULE, label="$p$")
axes[1].plot(t.cpu(), recovered.cpu(), color=plot.COLOURS.blue, label=r"$q\,e^{\ell}$")
axes[1].set(title="The density that comes out", xlabel="$x$", xlim=(-2.8, 3.2), ylim=(0, 0.75))
axes[1].legend(loc="upper right", fontsize=9.5)
plt.show()

# %% [markdown]
# In a GAN $q$ is *not* known. Why can it not be computed, when $G$ is a network that we have? A flow
# (lesson 08) computes it from $z = G^{-1}(x)$ and the determinant of the Jacobian. For this $G$ must be
# one-to-one, with an inverse and a determinant that one can get at. A GAN's generator has nothing of the
# kind: several $z$ may give the same $x$, most $x$ are given by none, and nobody knows which; even with as
# many numbers in as out, the sum over all $z$ with $G(z) = x$ is out of reach.
#
# On pictures it is worse. Sixty-four numbers go in and 256 pixels come out, so (for one class) the pictures
# that $G$ can make form a surface of at most 64 dimensions in a space of 256. Such a surface has no volume:
# there is no density on the space of pictures at all, and a new letter that lies off the surface has
# $\log q = -\infty$, however good the letters are. That a letter is impossible says nothing about how
# the made ones look; likelihood is the wrong question here. Sections 4 and 10 ask others.
#
# ## 3 · Two losses for the generator
#
# The generator wants $V$ low. Only the second term depends on it: the *minimax* loss, called *saturating*.
# Goodfellow's paper warns of it in the same breath and uses another, the *non-saturating* loss: do not lower
# the chance of being caught, raise the chance of being believed.
#
# $$\mathcal L_{\text{sat}} = \mathbb E_{x \sim q} \log\big(1 - D(x)\big), \qquad
# \mathcal L_{\text{ns}} = -\,\mathbb E_{x \sim q} \log D(x) .$$
#
# Look at what reaches a sample, the derivative by its logit. $\log(1 - D) = -\text{softplus}(\ell)$ has the
# derivative $-D$; $-\log D = \text{softplus}(-\ell)$ has $-(1 - D)$. A young generator's samples are soon
# all caught, $D \approx 0$. Then the first is nearly 0, and the second is at its largest.


# %% build="generator-losses"
def saturating(fake):
    """E log(1 - D) in nats from logits of made samples."""
    ### BEGIN SOLUTION
    return -F.softplus(fake).mean()
    ### END SOLUTION


def non_saturating(fake):
    """-E log D in nats from logits of made samples."""
    ### BEGIN SOLUTION
    return F.softplus(-fake).mean()
    ### END SOLUTION


# %% check="generator-losses"
logits = torch.tensor([-8.0, -4.0, 0.0, 4.0], requires_grad=True)
D_there = logits.detach().sigmoid()
for loss, wanted in ((saturating, -D_there), (non_saturating, D_there - 1)):
    slope = torch.autograd.grad(4 * loss(logits), logits)[0]  # of each sample
    print(f"{loss.__name__:15}", " ".join(f"{v:9.5f}" for v in slope.tolist()), "at logits -8, -4, 0, 4")
    assert torch.allclose(slope, wanted, atol=1e-6), f"the slope of {loss.__name__} by the logit"

# %% [markdown]
# The simplest case with a known truth: the data are $\mathcal N(0, s^2)$, the generator makes
# $\mathcal N(\theta, s^2)$ and learns $\theta$. The best logit is
# $\ell^*(x) = (\theta^2 - 2\theta x)/2s^2$, a straight line. How hard does each loss pull $\theta$ towards 0?
#
# **Question.** The table gives the pull of the *best* judge up to $\theta = 8$. Below it judges of two hidden
# layers are trained at the distances 4, 8 and 32. Will theirs grow with the distance, too?


# %%
def pull(theta, s=1.0, n=4_001):
    """How hard each loss pulls theta to 0 at the best judge, its derivative: a dict of floats.

    theta > 0, s: the width of both. The Wasserstein critic of section 4 is here f(x) = -x.
    """
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    eps = s * math.sqrt(2) * torch.erfinv(2 * u - 1)  # n evenly likely values of N(0, s^2)
    where = torch.tensor(float(theta), dtype=torch.float64, requires_grad=True)
    x = where + eps
    logit = (theta**2 - 2 * theta * x) / (2 * s**2)  # the judge does not move with theta
    losses = {
        "saturating": saturating(logit),
        "non-saturating": non_saturating(logit),
        "Wasserstein": x.mean(),
    }
    return {
        name: torch.autograd.grad(loss, where, retain_graph=True)[0].item() for name, loss in losses.items()
    }


# %% folded="Table: the pulls, and those of trained judges" tags=["demo"]
# long: a table, three judges, three claims
print("theta  " + "  ".join(f"{name:>14}" for name in pull(1.0)))
for theta in (0.5, 2.0, 4.0, 8.0):
    print(f"{theta:5}  " + "  ".join(f"{value:14.2e}" for value in pull(theta).values()))


def draw_far(theta):
    """A function that draws n points of N(0, 1) and n of N(theta, 1)."""

    def draw(n, generator):
        eps = torch.randn(2, n, 1, generator=generator, device=device)
        return eps[0], theta + eps[1]

    return draw


felt = {}
for theta in (4.0, 8.0, 32.0):
    torch.manual_seed(0)
    far = small_net(1)
    train_judge(far, draw_far(theta), S.line_steps)
    x = draw_far(theta)(2_000, torch.Generator(device=device).manual_seed(2))[1].requires_grad_()
    felt[theta] = torch.autograd.grad(non_saturating(far(x)), x)[0].sum().item()
print("non-saturating, trained judges:", {theta: round(value, 2) for theta, value in felt.items()})
board.claim(
    "At eight deviations the saturating loss pulls with less than a thousandth.", pull(8)["saturating"] < 1e-3
)
board.claim(
    "The best judge's non-saturating pull grows like the distance.", abs(pull(8)["non-saturating"] - 8) < 0.01
)
board.claim("The trained judge's does not: at 32 it pulls with less than at 8.", felt[32.0] < felt[8.0])

# %% [markdown]
# <details><summary>Answer</summary>
#
# Not for long: from 8 to 32 it falls. The best logit is a line whose slope is $\theta$: it grows for ever. A
# trained network has no reason to keep on rising between two heaps that it tells apart already, nor where it
# has no samples. So "non-saturating" says that the factor $1 - D$ stays near 1. The pull is that factor times
# the slope of the logit, and in empty space no sample controls the slope. Section 4 does.
# </details>
#
# **What the non-saturating loss minimises** (Arjovsky and Bottou, 2017). Against the best judge of the
# present generator $q_0$, its gradient is
#
# $$\nabla \mathcal L_{\text{ns}} = \nabla\big[\,\text{KL}(q\,\|\,p) - 2\,\text{JSD}(p, q)\,\big] .$$
#
# The first is lesson 02's reverse KL: it punishes a made sample where the data have none, and hardly minds a
# mode that is left out. The second has the *wrong* sign and pushes away. Neither asks for every mode, and
# section 9 shows what follows.
#
# <details><summary>Derivation, in three steps</summary>
#
# Let $q_\theta$ be the generator's density and $q_0$ the one at the present $\theta_0$, to which the judge
# $D = p/(p + q_0)$ belongs. The judge is held still while $\theta$ moves.
#
# 1. *Split the loss.* $-\log D = \log\frac{p + q_0}p = \log\frac{q_0}p + \log\frac{p + q_0}{q_0} =
#    \log\frac{q_0}p - \log(1 - D)$.
# 2. *First part.* $\text{KL}(q_\theta\,\|\,p) = \mathbb E_{q_\theta}\log\frac{q_\theta}{q_0} + \mathbb
#    E_{q_\theta}\log\frac{q_0}{p}$. The first term is $\text{KL}(q_\theta\,\|\,q_0)$, which has its minimum 0
#    at $\theta_0$, so its gradient there is 0. So
#    $\nabla\,\mathbb E_{q_\theta}\log\frac{q_0}p = \nabla\,\text{KL}(q_\theta\,\|\,p)$ at $\theta_0$.
# 3. *Second part.* By section 1, $2\,\text{JSD} - \log 4 = \max_D V(D, \theta)$. At a maximum a small change
#    of $D$ changes nothing to first order, so only the explicit $\theta$ counts:
#    $\nabla\,2\,\text{JSD} = \nabla\,\mathbb E_{q_\theta}\log(1 - D)$. With the minus sign of step 1 it is
#    the second part.
#
# Step 3 alone says what the saturating loss does: it descends $2\,\text{JSD}$ itself.
# </details>
#
# ## 4 · Parallel lines: a distance that sees how far
#
# Real points lie on the segment $x_1 = 0$, $0 \le x_2 \le 1$ of the plane, made ones on $x_1 = \theta$. This
# is what pictures are like: two thin sheets that hardly ever meet (Arjovsky, Chintala and Bottou, 2017).
#
# *JSD is flat.* Where $p > 0$, $q = 0$ and $m = p/2$, so $\text{KL}(p\,\|\,m) = \log 2$, and likewise for
# $q$. So JSD is $\log 2$ for every $\theta \ne 0$ and jumps to 0 at $\theta = 0$. Its slope is 0: the best
# judge is perfect, and says nothing about which way to go.
#
# *The earth mover's distance is not.* A *plan* $\gamma$ is a joint density of pairs $(x, y)$ with $x \sim p$
# and $y \sim q$: what is carried where. The distance is the cheapest plan's cost,
# $W(p, q) = \min_\gamma \mathbb E_\gamma \lVert x - y \rVert$. Here all mass goes straight across, so
# $W = \lvert\theta\rvert$.
#
# *A critic can measure it.* Let $f$ be any function with slope at most 1 (*1-Lipschitz*:
# $\lvert f(x) - f(y)\rvert \le \lVert x - y\rVert$). Then for every plan
#
# $$\mathbb E_p f - \mathbb E_q f \;=\; \mathbb E_\gamma\big[f(x) - f(y)\big] \;\le\; \mathbb E_\gamma \lVert x - y\rVert .$$
#
# The equality holds since a plan has the right ends, the inequality since $f$ is 1-Lipschitz. The left side
# does not know the plan, so it is at most the cheapest plan's cost, $W$. That is the easy half of
# *Kantorovich duality*. The other half says that some $f$ reaches $W$; so **maximise
# $\mathbb E_p f - \mathbb E_q f$ over 1-Lipschitz networks, and the value is a distance.** The generator's
# loss is $-\mathbb E_q f$.
#
# *Why the penalty asks for a slope of exactly 1.* Where the bound is reached,
# $f(x) - f(y) = \lVert x - y\rVert$ for the pairs of the best plan. Between $y$ and $x$ the critic climbs by
# the whole length, and never faster than 1, so it climbs at exactly 1 all the way. WGAN-GP asks for this on
# the lines between random pairs (we do not know the best plan, so that is only roughly right; exercise 3
# relaxes it):
#
# $$\lambda\,\mathbb E\big(\lVert \nabla f(\hat x) \rVert - 1\big)^2, \qquad \hat x = \epsilon\, x_{\text{real}} + (1 - \epsilon)\, x_{\text{made}},\quad \epsilon \sim \text{Uniform}[0, 1] .$$
#
# The gradient is itself part of a loss, so it must stay differentiable: `create_graph=True`. A penalty is
# soft: a critic of slope $a$ across the lines gets $a\theta - \lambda(a - 1)^2$, which is largest at
# $a = 1 + \frac{\theta}{2\lambda}$. (The figure takes $\lambda = 50$, so that $a$ stays below 1.05; the
# authors of WGAN-GP take 10, as section 7 does.)


# %% build="slope-penalty"
def gradient_penalty(critic, real, fake, generator):
    """(|grad f| - 1)^2 at one point of each line from fake to real: (..., B, d) -> (..., B)."""
    ### BEGIN SOLUTION
    eps = torch.rand(*real.shape[:-1], 1, generator=generator, device=real.device)
    between = (eps * real + (1 - eps) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(dim=-1) - 1) ** 2
    ### END SOLUTION


# %% check="slope-penalty"
steep, flat = torch.tensor([3.0, 4.0], requires_grad=True), torch.zeros(6, 2)
penalty = gradient_penalty(lambda x: x @ steep, flat, flat + 1, torch.Generator().manual_seed(0))
assert penalty.shape == (6,), "one for each pair"
assert torch.allclose(penalty, torch.full((6,), 16.0)), "a plane of slope 5: (5 - 1)^2"
assert torch.allclose(torch.autograd.grad(penalty.mean(), steep)[0], torch.tensor([4.8, 6.4])), (
    "differentiable in the critic's weights: 2 (5 - 1) times the direction"
)
bowl = gradient_penalty(lambda x: x.square().sum(-1) / 2, flat + 1, flat, torch.Generator().manual_seed(0))
assert 0 < bowl.min() < bowl.max() < 1, "the slope between the two, not at the ends"

# %% [markdown]
# **Question.** Both judges are trained at five distances, from an eighth to four. Which number will know
# $\theta$, and how will each generator be pulled?


# %% folded="Figure: parallel lines, two judges" tags=["demo"]
# long: ten judges, their values, and their pulls
LAMBDA, THETAS = 50.0, (0.125, 0.5, 1.0, 2.0, 4.0)


def draw_lines(theta):
    """A function that draws n real and n made points of the two lines."""

    def draw(n, generator):
        x = torch.rand(2, n, 2, generator=generator, device=device)
        x[0, :, 0], x[1, :, 0] = 0.0, theta
        return x[0], x[1]

    return draw


seen = {"discriminator": [], "critic": []}  # (value, pull, pull by the saturating loss) at each distance
for theta in THETAS:
    for name, penalty in (("discriminator", 0.0), ("critic", LAMBDA)):
        torch.manual_seed(0)
        judge_2d = small_net(2)
        longer = 2 + round(0.5 / theta) if penalty else 1  # a critic needs more, the most where it is close
        train_judge(judge_2d, draw_lines(theta), longer * S.line_steps, penalty)
        real, fake = draw_lines(theta)(2_000, torch.Generator(device=device).manual_seed(5))
        a, b = judge_2d(real), judge_2d(fake.requires_grad_())
        value = a.mean() - b.mean() if penalty else math.log(4) - discriminator_loss(a, b)
        losses = (-b.mean(),) if penalty else (non_saturating(b), saturating(b))
        pulls = [torch.autograd.grad(x, fake, retain_graph=True)[0][:, 0].sum().item() for x in losses]
        seen[name].append((value.item(), *pulls))
fig, axes = plot.figure(1, 2, height=2.8)
for name, colour in (("discriminator", plot.COLOURS.vermilion), ("critic", plot.COLOURS.green)):
    label = "discriminator: $V + \\log 4$" if name == "discriminator" else "Wasserstein critic"
    axes[0].plot(THETAS, [row[0] for row in seen[name]], "o-", color=colour, label=label)
    axes[1].plot(THETAS, [row[1] for row in seen[name]], "o-", color=colour, label=name)
axes[1].plot(
    THETAS, [max(row[2], 1e-9) for row in seen["discriminator"]], "o--", color=plot.COLOURS.vermilion
)
axes[1].text(1.1, 1e-4, "minimax loss", color=plot.COLOURS.vermilion)
axes[1].text(1.1, 200, "non-saturating loss", color=plot.COLOURS.vermilion)
axes[1].text(1.1, 0.03, "critic", color=plot.COLOURS.green)
axes[0].plot(THETAS, THETAS, ":", color=plot.INK, label=r"$W = \theta$")
axes[0].set(title="What the judge says", xlabel=r"$\theta$", ylim=(0, 5.6))
axes[1].set(title="The pull on $\\theta$", xlabel=r"$\theta$", yscale="log", ylim=(1e-9, 1e6))
axes[0].legend(loc="upper left", fontsize=9.5)
plt.show()
cliffs = [row[1] for row in seen["discriminator"]]
flat_at, critic_at = [row[0] for row in seen["discriminator"]], [row[0] for row in seen["critic"]]
soft = [(1 + theta / (2 * LAMBDA)) * theta for theta in THETAS]
print("discriminator", [f"{v:.3f}" for v in flat_at], "2 log 2 =", round(2 * math.log(2), 3))
print("critic       ", [f"{v:.3f}" for v in critic_at], "soft penalty:", [f"{v:.3f}" for v in soft])
board.claim("The discriminator says 2 log 2 at each distance.", min(flat_at) > 2 * math.log(2) - 0.02)
board.claim("The critic's value is the distance, as the soft penalty has it, within a twentieth.",
            all(abs(v / s - 1) < 0.05 for v, s in zip(critic_at, soft, strict=True)))  # fmt: skip
board.claim("The critic pulls with 0.9 to 1.2.", all(0.9 < row[1] < 1.2 for row in seen["critic"]))
board.claim("At an eighth the discriminator pulls more than five times as hard as at four.",
            cliffs[0] > 5 * cliffs[-1])  # fmt: skip

# %% [markdown]
# <details><summary>Answer</summary>
#
# The critic's. The discriminator is sure at every distance, so $V + \log 4$ is $2\log 2$ wherever $\theta$
# is. With the minimax loss hardly anything reaches the generator. With the non-saturating one the pull is
# the slope of the logit, which has to climb from one line to the other: it is steep where they are close.
# The critic's value is the distance, a little too large as the soft penalty foretells, and its pull is
# about 1. (It is given two to six times as many steps as the discriminator, most where the lines are close:
# there it settles late, and with as few steps as the discriminator's even its sign can be wrong.)
# </details>
#
# **Spectral normalisation** (Miyato and others, 2018) bounds the slope without a second gradient. The slope
# of a network is at most the product of its layers' largest stretches (times those of the activations). A
# matrix $W$ stretches by at most its largest singular value $\lVert W\rVert_2$; divide by it, and the layer
# lengthens no vector. *Power iteration* finds it. Write a start vector in the singular directions of $W$.
# Multiplying by $W^\top$ and $W$ in turn multiplies each share by its $\sigma_i^2$, so the largest wins:
#
# $$v \leftarrow \frac{W^\top u}{\lVert W^\top u \rVert}, \qquad u \leftarrow \frac{W v}{\lVert W v \rVert}, \qquad \lVert W\rVert_2 \approx u^\top W v .$$
#
# Weights move little in a step, so one round in each forward pass, from the $u$ of last time, is enough.
# Lesson 14's BigGAN is built on it.


# %% build="power"
def power_iteration(W, u, rounds=1):
    """The largest singular value, and u to go on from:
    W (..., b, a), u (..., b, 1) -> (..., 1, 1), (..., b, 1).

    The value is differentiable in W; u and v are held still.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        for _ in range(rounds):
            v = F.normalize(W.mT @ u, dim=-2)
            u = F.normalize(W @ v, dim=-2)
    return u.mT @ W @ v, u
    ### END SOLUTION


# %% check="power"
g = torch.Generator().manual_seed(0)
W, u = torch.randn(30, 50, generator=g, requires_grad=True), torch.randn(30, 1, generator=g)
exact = torch.linalg.matrix_norm(W, 2)
for rounds in (1, 5, 25, 200):
    print(f"{rounds:3} rounds: {power_iteration(W, u, rounds)[0].item():.4f}", end="   ")
print(f"exact: {exact:.4f}")
found, again = power_iteration(W, u, 200)
assert math.isclose(found.item(), exact.item(), rel_tol=1e-3), "200 rounds find the largest singular value"
assert math.isclose(power_iteration(W, again)[0].item(), exact.item(), rel_tol=1e-3), (
    "one more round from there stays there"
)
slope, wanted = (torch.autograd.grad(v.sum(), W)[0] for v in (found, exact))
assert torch.allclose(slope, wanted, atol=0.02), "its gradient by W is u v^T"

# %% [markdown]
# ## 5 · A game may go round in circles
#
# So far one player stood still. Let both move, in the smallest game there is: the datum is the point 0, the
# generator makes the point $\theta$, the critic is $f(x) = -\psi x$. Its value is
# $\mathbb E_p f - \mathbb E_q f = \psi\theta$. The generator descends it, the critic climbs it, with rate
# $\eta$. The only rest is $\theta = \psi = 0$.
#
# - *Both at once*: $\theta' = \theta - \eta\psi$ and $\psi' = \psi + \eta\theta$. Add the squares:
#   $\theta'^2 + \psi'^2 = (1 + \eta^2)(\theta^2 + \psi^2)$, for the mixed terms cancel. Each step lengthens
#   the distance by $\sqrt{1 + \eta^2}$: they **spiral out**, however small the rate.
# - *In turn*, the critic first: $\psi' = \psi + \eta\theta$, then $\theta' = \theta - \eta\psi'$. Now
#   $\theta^2 + \eta\theta\psi + \psi^2$ stays as it is (derivation below), which for $\eta < 2$ is an
#   ellipse: they **go round for ever**.
# - *Averages of turns*: from $\theta_{n+1} - \theta_n = -\eta\,\psi_{n+1}$ the mean of $\psi$ over $N$ steps
#   is $(\theta_0 - \theta_N)/(\eta N)$. The ellipse bounds the numerator, so the mean **converges** like
#   $1/N$, and $\theta$'s likewise.
#
# <details><summary>Derivation: what stays</summary>
#
# Write $Q = \theta^2 + \eta\theta\psi + \psi^2$. After the turn,
# $Q' = \theta'(\theta' + \eta\psi') + \psi'^2 = (\theta - \eta\psi')\,\theta + \psi'^2$, since $\theta' +
# \eta\psi' = \theta$. Insert $\psi' = \psi + \eta\theta$:
# $Q' = \theta^2 - \eta\theta\psi - \eta^2\theta^2 + \psi^2 + 2\eta\theta\psi + \eta^2\theta^2 = Q$.
# </details>
#
# **Question.** What will 150 steps of $\eta = 0.2$ do, from $(1, 1)$? Compute the factor first.


# %%
def bilinear(eta, steps, alternating):
    """The path of (theta, psi) from (1, 1) in the game theta psi: (steps + 1, 2)."""
    theta, psi, path = 1.0, 1.0, [(1.0, 1.0)]
    for _ in range(steps):
        up = psi + eta * theta
        theta -= eta * (up if alternating else psi)
        psi = up
        path.append((theta, psi))
    return torch.tensor(path)


# %% folded="Figure: three ways to play" tags=["demo"]
# long: three panels and their claims
at_once, in_turn = (bilinear(0.2, 150, alternating) for alternating in (False, True))
means = in_turn.cumsum(0) / torch.arange(1, 152)[:, None]
fig, axes = plot.figure(1, 3, height=2.9)
colours, titles = (
    (plot.COLOURS.vermilion, plot.COLOURS.blue, plot.COLOURS.green),
    ("At once", "In turn", "The mean of turns"),
)
for ax, path, colour, title in zip(axes, (at_once, in_turn, means), colours, titles, strict=True):
    ax.plot(*path.T, color=colour, lw=1.3)
    ax.plot(*path[0], "o", color=plot.INK, ms=5)
    ax.plot(0, 0, "+", color=plot.INK, ms=11)
    side = 1.15 * max(1.3, path.abs().max().item())
    ax.set(title=title, xlim=(-side, side), ylim=(-side, side), xlabel=r"$\theta$", aspect="equal")
axes[0].set_ylabel(r"$\psi$")
plt.show()
ends = [path[-1].norm().item() for path in (at_once, in_turn, means)]
print("distance from rest: at first 1.41; at the end {:.2f}, {:.2f}, {:.3f}".format(*ends))
board.claim(
    "At once: the distance grows by sqrt(1 + eta^2) a step.", abs(ends[0] / (2 * 1.04**150) ** 0.5 - 1) < 1e-3
)
board.claim(
    "In turn it stays between the half-axes of its ellipse, 1.41 and 1.56.",
    1.40 < in_turn.norm(dim=1).min() < in_turn.norm(dim=1).max() < 1.57,
)
board.claim("The mean comes within 0.1 of rest.", ends[2] < 0.1)

# %% [markdown]
# <details><summary>Answer</summary>
#
# $1.04^{75} \approx 19$: at once, they end 19 times as far away as they began. In turn they are still on
# the ellipse on which they began, and the mean of the turns is near the rest. (An average that forgets old
# steps, as is used in practice, damps the circle and does not end it.) So a GAN's step lets the judge move
# first, and what draws samples is an **average of the generator's weights**. In this game two unequal rates
# would still give an ellipse. Real games are not bilinear: their curvature may damp or drive the circling,
# and there a judge that learns faster can help, for it answers the generator's present place and not an old
# one.
# </details>
#
# ## 6 · A first GAN, eight times side by side
#
# Eight normal distributions of width 0.05 stand in a ring of radius 2. It is the smallest picture of what
# real data are: narrow heaps, and nothing in between. We know every mode, so that we can count. A point is
# *good* if it lies within four widths of a centre. A mode is *covered* if it holds at least one point in a
# hundred.
#
# One run proves nothing about a game. So we train eight at once, with different starts and different samples:
# every tensor gets a leading axis of length $R$, one entry for each GAN.
#
# One more tool: a judge that sees one sample at a time cannot notice that all samples are the same.
# **Minibatch standard deviation** (Karras and others, 2017; an idea of Salimans and others, 2016) tells it:
# the standard deviation of each feature over the batch, averaged over the features, is given to every sample
# as one more feature.


# %%
MODES, RADIUS, WIDTH = 8, 2.0, 0.05
angle = 2 * math.pi * torch.arange(MODES, device=device) / MODES
centres = RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)  # (8, 2)


def draw_ring(R, B, generator):
    """B points of the ring for each of R GANs: (R, B, 2)."""
    k = torch.randint(MODES, (R, B), generator=generator, device=device)
    return centres[k] + WIDTH * torch.randn(R, B, 2, generator=generator, device=device)


def count_modes(x):
    """For each GAN's points (R, n, 2): the number of modes covered (R,) and the share of good points (R,)."""
    distance, nearest = torch.cdist(x, centres.expand(len(x), -1, -1)).min(dim=2)
    good = distance < 4 * WIDTH
    per_mode = (F.one_hot(nearest, MODES) * good[..., None]).sum(dim=1)  # (R, 8)
    return (per_mode >= x.shape[1] / 100).sum(dim=1), good.float().mean(dim=1)


# %% folded="R generators and R judges in one tensor each"
# long: three small classes and a statistic
def minibatch_std(h, batch_dim=0):
    """The standard deviation over the batch, averaged over all that belongs to a sample:
    (B, ...) -> a number.

    With batch_dim=1, for (R, B, C): one number for each of R batches, (R, 1, 1).
    """
    std = (h.var(dim=batch_dim, correction=0) + 1e-8).sqrt()  # the root's slope at 0 would be infinite
    return std.mean() if batch_dim == 0 else std.mean(dim=1)[:, None, None]


class Linears(nn.Module):
    """A linear layer in each of R networks: (R, B, a) -> (R, B, b)."""

    def __init__(self, R, a, b):
        super().__init__()
        bound = a**-0.5
        self.W = nn.Parameter(torch.empty(R, b, a).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(R, 1, b).uniform_(-bound, bound))

    def forward(self, x):
        """x W^T + bias."""
        return torch.baddbmm(self.bias, x, self.W.mT)


class RingGenerator(nn.Module):
    """R generators: noise z (R, B, 2) -> points (R, B, 2). spread: a factor of their first width."""

    def __init__(self, R, spread=1.0, h=64):
        super().__init__()
        self.layers = nn.ModuleList([Linears(R, 2, h), Linears(R, h, h), Linears(R, h, 2)])
        with torch.no_grad():
            self.layers[2].W *= spread

    def forward(self, z):
        """Two hidden layers."""
        return self.layers[2](F.relu(self.layers[1](F.relu(self.layers[0](z)))))


class RingJudge(nn.Module):
    """R judges: points (R, B, 2) -> scores (R, B). see_batch: each also sees its batch's deviation."""

    def __init__(self, R, see_batch=False, h=64):
        super().__init__()
        self.see_batch = see_batch
        self.layers = nn.ModuleList([Linears(R, 2, h), Linears(R, h + see_batch, h), Linears(R, h, 1)])

    def forward(self, x):
        """Two hidden layers."""
        h = F.leaky_relu(self.layers[0](x), 0.2)
        if self.see_batch:
            h = torch.cat([h, minibatch_std(h, 1).expand(*h.shape[:2], 1)], dim=2)
        return self.layers[2](F.leaky_relu(self.layers[1](h), 0.2))[..., 0]


# %% [markdown]
# One step of each player. The judge's step must not move the generator, so its samples are drawn without a
# graph. The generator's step must not move the judge; its weights take no part (`requires_grad_(False)`),
# which also saves the work. A `penalty` turns the game into a WGAN-GP. The rates that work let the judge
# learn faster than the generator, *two time scales* (Heusel and others, 2017).


# %%
def judge_step(G, D, optimizer, real, z, penalty, generator):
    """One step of the judges on real points (R, B, 2) and noise z (R, B, 2)."""
    with torch.no_grad():
        fake = G(z)
    loss = judge_loss(D, real, fake, penalty, generator)  # a mean over GANs: none feels the others
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def generator_step(G, D, optimizer, z, penalty):
    """One step of the generators."""
    D.requires_grad_(False)
    score = D(G(z))
    loss = -score.mean() if penalty else non_saturating(score)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    D.requires_grad_(True)


# %% folded="Train R GANs on the ring"
# long: two networks, two optimizers, one loop that looks now and then
TWO_SCALES = {"rates": (1e-3, 3e-3)}  # learning rates of generator and judge


def train_rings(steps, rates, spread=1.0, see_batch=False, penalty=0.0, keep=(), title="rings", B=64):
    """Train S.rings GANs: counts over time [(step, modes, good)], and points at the steps in keep.

    The last look is at the end.
    """
    torch.manual_seed(0)
    G, D = RingGenerator(S.rings, spread).to(device), RingJudge(S.rings, see_batch).to(device)
    opt_G, opt_D = (
        torch.optim.Adam(net.parameters(), lr, betas=(0.0, 0.99))
        for net, lr in zip((G, D), rates, strict=True)
    )
    generator, look = (torch.Generator(device=device).manual_seed(s) for s in (0, 1))
    z_look, counts, kept = torch.randn(S.rings, 1_000, 2, generator=look, device=device), [], {}
    for step in progress.track(range(1, steps + 1), title=title):
        z = torch.randn(2, S.rings, B, 2, generator=generator, device=device)
        judge_step(G, D, opt_D, draw_ring(S.rings, B, generator), z[0], penalty, generator)
        generator_step(G, D, opt_G, z[1], penalty)
        if step % (steps // 25) == 0 or step in keep:
            with torch.no_grad():
                x = G(z_look)
            counts.append((step, *count_modes(x)))
            kept |= {step: x.cpu()} if step in keep else {}
    return counts, kept | {steps: x.cpu()}


# %% folded="Figure: one of eight learns the ring" tags=["demo"]
def draw_points(ax, x, title):
    """One GAN's points over the ring's centres."""
    ax.scatter(*centres.cpu().T, s=130, facecolors="none", edgecolors=plot.COLOURS.grey, linewidths=1.0)
    ax.scatter(*x.T, s=4, color=plot.COLOURS.vermilion, alpha=0.5)
    ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xticks=[-2, 0, 2], yticks=[-2, 0, 2], aspect="equal")
    ax.tick_params(labelleft=False)


moments = [max(1, round(S.ring_steps * share)) for share in (0.02, 0.1, 0.3)]
runs = {("two time scales", "plain"): train_rings(S.ring_steps, **TWO_SCALES, keep=moments)}
counts, kept = runs["two time scales", "plain"]
fig, axes = plot.figure(1, 4, height=2.4)
for ax, (step, x) in zip(axes, kept.items(), strict=False):
    draw_points(ax, x[0, :500], f"step {step:,}")
plt.show()
print(f"modes covered by each GAN: {counts[-1][1].tolist()}")
good_at = {step: good.mean().item() for step, _, good in counts if step in kept}
print("good points, mean of all GANs:", {step: round(value, 2) for step, value in good_at.items()})
grown = good_at[S.ring_steps] > good_at[moments[-1]]
board.claim("More points are good at the end than at the third picture.", grown)
board.claim(
    "At two time scales the mean GAN covers more than seven of eight modes.", counts[-1][1].float().mean() > 7
)

# %% [markdown]
# Vermilion: 500 made points of one GAN; circles: the modes. The threads between the modes stay, for $G$ is
# continuous: where two neighbouring values of $z$ go to different modes, those in between go to the space
# in between. That costs good points. From the third picture to the last the threads grow thinner, and more
# points are good; but no training cuts a thread.
#
# ## 7 · DCGAN: letters
#
# Now pictures: capitals and digits in twelve styles, 36 classes. The generator starts from noise $z$ and a
# learned vector for the class $y$, makes a stack of small maps, and doubles their side twice. A *transposed
# convolution* with stride 2 does the doubling: every value of the small map lays down a whole kernel on the
# large map, two pixels further each time. The discriminator is the mirror image, with strided convolutions.
# From the DCGAN paper: batch normalisation in the generator, ReLU there and leaky ReLU in the discriminator,
# $\tanh$ at the end (so ink is 1 and paper −1), weights from $\mathcal N(0, 0.02^2)$.
#
# Both players are told the class, otherwise neither could be held to it (Mirza and Osindero, 2014). $D$ gets
# it as one more picture, learned for each class; lesson 14 does it better. Ours has no batch normalisation
# in $D$ but a minibatch standard deviation.


# %%
class Generator(nn.Module):
    """z (B, 64) and class y (B,) -> pictures (B, 1, size, size) from -1 (paper) to 1 (ink)."""

    def __init__(self, ch, size=16, d=64, classes=36):
        super().__init__()
        self.d, self.small = d, size // 4
        self.name = nn.Embedding(classes, 32)
        self.first = nn.Linear(d + 32, 2 * ch * self.small**2, bias=False)
        self.body = nn.Sequential(
            nn.BatchNorm2d(2 * ch), nn.ReLU(),
            nn.ConvTranspose2d(2 * ch, ch, 4, 2, 1, bias=False), nn.BatchNorm2d(ch), nn.ReLU(),
            nn.ConvTranspose2d(ch, ch // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(ch // 2), nn.ReLU(),
            nn.Conv2d(ch // 2, 1, 3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z, y):
        """Noise and name side by side, then up."""
        h = self.first(torch.cat([z, self.name(y)], dim=1))  # (B, 2 ch small^2)
        return self.body(h.unflatten(1, (-1, self.small, self.small)))


# %%
# long: the network is one thought
class Discriminator(nn.Module):
    """Pictures (B, 1, size, size) and their classes (B,) -> logits (B,)."""

    def __init__(self, ch, size=16, classes=36):
        super().__init__()
        self.size, small = size, size // 4
        self.name = nn.Embedding(classes, size**2)  # the class as a picture
        self.down = nn.Sequential(
            nn.Conv2d(2, ch, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(ch, 2 * ch, 4, 2, 1), nn.LeakyReLU(0.2)
        )
        self.mix = nn.Conv2d(2 * ch + 1, 2 * ch, 3, padding=1)
        self.last = nn.Linear(2 * ch * small**2, 1)

    def forward(self, x, y):
        """Down, the batch's deviation as one more map, then a logit."""
        name = self.name(y).view(-1, 1, self.size, self.size)
        h = self.down(torch.cat([x, name], dim=1))  # (B, 2 ch, small, small)
        spread = minibatch_std(h).expand(len(h), 1, *h.shape[2:])
        h = F.leaky_relu(self.mix(torch.cat([h, spread], dim=1)), 0.2)
        return self.last(h.flatten(1))[:, 0]


# %% [markdown]
# The step. One batch of fakes serves both players: with `detach()` it carries no gradient into the generator
# while the discriminator learns, and without it, it does when the generator learns. The judge moves first, at
# five times the generator's rate, and the samples come from the running average of the generator's weights
# (*exponential moving average*, EMA): $\bar w \leftarrow \beta \bar w + (1 - \beta)\, w$.


# %% build="gan-step"
def gan_step(G, D, opt_G, opt_D, x, y, z):
    """One step of both players: real pictures x of classes y, noise z. The losses of D and G, in nats.

    D moves first; G then learns from the D that has moved, by the non-saturating loss, on the same noise.
    """
    ### BEGIN SOLUTION
    fake = G(z, y)
    loss_D = discriminator_loss(D(x, y), D(fake.detach(), y))
    opt_D.zero_grad()
    loss_D.backward()
    opt_D.step()
    D.requires_grad_(False)  # the next pass needs the slope by pictures, not by D's weights
    loss_G = non_saturating(D(fake, y))
    opt_G.zero_grad()
    loss_G.backward()
    opt_G.step()
    D.requires_grad_(True)
    return loss_D.detach(), loss_G.detach()
    ### END SOLUTION


# %% check="gan-step"
# long: two players of one number, and their algebra
class Shift(nn.Module):
    """A player of one number: as a generator it adds it, as a discriminator it multiplies by it."""

    def __init__(self, w, times):
        super().__init__()
        self.w, self.times = nn.Parameter(torch.tensor(w)), times

    def forward(self, x, y):
        """y is not used."""
        return self.w * x if self.times else self.w + x


tiny = Shift(1.0, False), Shift(0.5, True)
tiny_opts = [torch.optim.SGD(player.parameters(), 0.4) for player in tiny]
for _ in range(2):  # the second step, too, begins with clean gradients
    w_G, w_D = (player.w.item() for player in tiny)
    losses = gan_step(*tiny, *tiny_opts, torch.full((4,), 2.0), None, torch.zeros(4))
    D_real, D_fake = (1 / (1 + math.exp(-w_D * at)) for at in (2.0, w_G))
    assert math.isclose(losses[0], -math.log(D_real) - math.log(1 - D_fake), rel_tol=1e-5), (
        "D's loss, before it moves"
    )
    moved = w_D + 0.4 * (2 * (1 - D_real) - w_G * D_fake)
    assert math.isclose(tiny[1].w.item(), moved, rel_tol=1e-5), (
        "D climbs V, and nothing of G's loss reaches it"
    )
    D_now = 1 / (1 + math.exp(-moved * w_G))
    assert math.isclose(tiny[0].w.item(), w_G + 0.4 * (1 - D_now) * moved, rel_tol=1e-5), (
        "G against the D that has moved"
    )


# %% build="average"
@torch.no_grad()
def average(G_ema, G, beta):
    """w_ema <- beta w_ema + (1 - beta) w; the statistics of batch norm are averages already, and copied."""
    ### BEGIN SOLUTION
    torch._foreach_lerp_(list(G_ema.parameters()), list(G.parameters()), 1 - beta)
    for mean, new in zip(G_ema.buffers(), G.buffers(), strict=True):
        mean.copy_(new)
    ### END SOLUTION


# %% check="average"
slow, fast = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
nn.init.constant_(fast.weight, 3.0)
fast.running_mean += 7
average(slow, fast, 0.75)
assert slow.weight.tolist() == [1.5] * 3, "three quarters of 1 and a quarter of 3"
assert slow.running_mean.tolist() == [7] * 3 and fast.weight.tolist() == [3] * 3, "statistics are copied"


# %%
def start_weights(layer):
    """N(0, 0.02^2) for every convolution and linear layer."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.02)


def make_gan(ch_G, ch_D, size, lr=4e-4, ratio=5.0):
    """G, D, the averaged G, and the optimizers of G and D."""
    torch.manual_seed(0)
    G, D = Generator(ch_G, size).to(device), Discriminator(ch_D, size).to(device)
    for net in (G, D):
        net.apply(start_weights)
    opt_G = torch.optim.Adam(G.parameters(), lr, betas=(0.0, 0.99))
    opt_D = torch.optim.Adam(D.parameters(), ratio * lr, betas=(0.0, 0.99))
    return G, D, copy.deepcopy(G).eval(), opt_G, opt_D


# %% folded="The letters, and a view of the game while it runs" tags=["demo"]
# long: data, drawing, looking
glyphs, NAMES = data.glyphs(S.size), data.CAPITALS_AND_DIGITS
x_train = torch.as_tensor(glyphs.train.x, device=device) * 2 - 1
y_train = torch.as_tensor(glyphs.train.y, device=device)
word = torch.tensor([NAMES.index(c) for c in "GAN13ADVERSARIAL"], device=device).repeat(6)  # 96 letters
z_live = torch.randn(len(word), 64, generator=torch.Generator().manual_seed(3)).to(device)


def to_ink(x):
    """From [-1, 1] to [0, 1], in 255ths like the real pictures."""
    return ((x + 1) / 2 * 255).round() / 255


@torch.no_grad()
def draw(net, y, seed):
    """Pictures (N, 1, size, size) in [0, 1] of the classes y (N,), on the CPU."""
    training = net.training
    net.eval()
    z = torch.randn(len(y), 64, generator=torch.Generator().manual_seed(seed)).to(device)
    parts = zip(z.split(1_000), y.to(device).split(1_000), strict=True)
    made = torch.cat([to_ink(net(*part)).cpu() for part in parts])
    net.train(training)
    return made


def even(part, n):
    """The first n pictures of each class of a part of the data: x (36 n, 1, size, size), y (36 n,)."""
    i = torch.argsort(torch.as_tensor(part.y), stable=True).view(36, -1)[:, :n].flatten().numpy()
    return torch.as_tensor(part.x[i]), torch.as_tensor(part.y[i])


@torch.no_grad()
def live_view(place, losses, step):
    """Redraw the losses so far and the same 96 letters in their place of the notebook."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(plot.WIDTH, 2.65), width_ratios=(1, 1.75))
    both = torch.stack([torch.stack(pair) for pair in losses]).cpu()
    window = max(1, len(both) // 60)
    for values, colour, label in zip(both.T, (plot.COLOURS.blue, plot.COLOURS.vermilion), "DG", strict=True):
        left.plot(values.unfold(0, window, 1).mean(1), color=colour, lw=1.3, label=f"${label}$")
    for level, colour in ((math.log(4), plot.COLOURS.blue), (math.log(2), plot.COLOURS.vermilion)):
        left.axhline(level, color=colour, lw=1, ls=":")
    left.set(title="Losses, nats", xlabel="step", ylim=(0, 3))
    left.legend(loc="upper right", ncols=2)
    made = to_ink(G_ema(z_live, word)).cpu()
    plot.images(made, columns=16, ax=right, title=f"Step {step:,}")
    plt.close(fig)
    place.show(fig)
    return made[:16]


judge = features.glyphs(S.size)
checked_x, checked_y = even(glyphs.test, 20)


def watched(net):
    """The Fréchet distance of 720 made letters from as many held-out ones (section 10 says what it is)."""
    return judge.compare(draw(net, checked_y, 11), checked_y, checked_x, checked_y)["frechet"]


# %% [markdown]
# ### Train
#
# What should the curves look like? If the discriminator can only guess, $D = \tfrac12$ everywhere, its loss
# is $\log 4 \approx 1.39$ and the generator's $\log 2 \approx 0.69$ (dotted). A loss of the discriminator
# near 0 means that it has won. In between, the curves tell nearly nothing about the pictures. Therefore the
# live view shows both, and we take the Fréchet distance now and then.

# %% tags=["demo"]
# long: the loop, and three kinds of looks
G, D, G_ema, opt_G, opt_D = make_gan(*S.ch, S.size)
parameters = {name: sum(w.numel() for w in net.parameters()) for name, net in (("G", G), ("D", D))}
print(f"G {parameters['G']:,} parameters, D {parameters['D']:,}")
losses, rows, track_D, place = [], {}, [], progress.Place()
began = time.process_time()
generator = torch.Generator(device=device).manual_seed(4)
moments = [max(1, round(S.steps * share)) for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1)]
looking = 0.0
for step in progress.track(range(1, S.steps + 1), title="DCGAN"):
    i = torch.randint(len(x_train), (S.batch,), generator=generator, device=device)
    z = torch.randn(S.batch, 64, generator=generator, device=device)
    losses.append(gan_step(G, D, opt_G, opt_D, x_train[i], y_train[i], z))
    average(G_ema, G, min(0.995, step / (step + 9)))  # young averages forget faster
    if step % S.show == 0 or step in moments:
        paused = time.process_time()
        made = live_view(place, losses, step)
        if step in moments:
            rows[step] = made
            recent = torch.stack([pair[0] for pair in losses[-20:]]).mean().item()
            track_D.append((step, recent, watched(G)))
        looking += time.process_time() - paused
train_seconds = time.process_time() - began - looking
print(f"{S.steps:,} steps, {train_seconds:.0f} CPU-seconds")

# %% folded="Figure: the letters from step to step, and every class" tags=["demo"]
shown = [rows[step] for step in list(rows)[:: max(1, len(rows) // 4)]]
fig, axes = plot.figure(len(shown), 1, height=0.9)
for ax, (step, made) in zip(axes, list(rows.items())[:: max(1, len(rows) // 4)], strict=True):
    plot.images(made, columns=16, ax=ax, title=f"step {step:,}")
every = torch.arange(36).repeat(3)
fig, axes = plot.figure(2, 1, height=2.9)
plot.images(draw(G_ema, every, 5), columns=18, ax=axes[0], title="Made: every class, three times")
held_out = even(glyphs.test, 3)[0].unflatten(0, (36, 3)).transpose(0, 1).flatten(0, 1)
plot.images(held_out, columns=18, ax=axes[1], title="Real, held out")
plt.show()

# %% [markdown]
# The same noise and the same letters all along: first the grid that strides leave behind, then mud, then
# strokes in the right places, then letters in styles of their own.
#
# ### A critic whose number means something
#
# Now WGAN-GP on the same letters, with smaller networks and two steps of the critic for each of the generator
# (its authors take five). What it gains is not first of all the pictures: it is the curve.
#
# **Question.** As the letters get better, what will the discriminator's loss do, and what the critic's
# distance?

# %% tags=["demo"]
# long: the loop of a WGAN-GP on pictures
G_W, D_W, _, opt_G, opt_D = make_gan(*S.ch_W, S.size, lr=1e-3, ratio=1.0)
generator, gaps, track_W = torch.Generator(device=device).manual_seed(4), [], []
moments = [max(1, round(S.steps_W * share)) for share in (0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 1)]
for step in progress.track(range(1, S.steps_W + 1), title="WGAN-GP"):
    for _ in range(2):
        i = torch.randint(len(x_train), (S.batch,), generator=generator, device=device)
        x, y = x_train[i].flatten(1), y_train[i]
        z = torch.randn(S.batch, 64, generator=generator, device=device)
        with torch.no_grad():
            fake = G_W(z, y).flatten(1)
        score = lambda x: D_W(x.unflatten(1, (1, S.size, S.size)), y)  # noqa: B023, E731
        loss = judge_loss(score, x, fake, 10.0, generator)
        opt_D.zero_grad()
        loss.backward()
        opt_D.step()
        with torch.no_grad():
            gaps.append(score(x).mean() - score(fake).mean())
    D_W.requires_grad_(False)
    loss = -D_W(G_W(torch.randn(S.batch, 64, generator=generator, device=device), y), y).mean()
    opt_G.zero_grad()
    loss.backward()
    opt_G.step()
    D_W.requires_grad_(True)
    if step in moments:
        track_W.append((step, torch.stack(gaps[-40:]).mean().item(), watched(G_W)))


# %% folded="Figure: which curve tracks the letters?" tags=["demo"]
# long: two panels and their claims
def rank_correlation(a, b):
    """Of two columns of numbers: 1 if they have the same order, -1 if the opposite one (Spearman)."""
    ranks = [torch.tensor(v).argsort().argsort().double() for v in (a, b)]
    return torch.corrcoef(torch.stack(ranks))[0, 1].item() if len(a) > 1 else math.nan


agree = {}
fig, axes = plot.figure(1, 2, height=2.9)
for ax, name, track, label in (
    (axes[0], "DCGAN", track_D, "discriminator's loss"), (axes[1], "WGAN-GP", track_W, "critic's distance"),
):  # fmt: skip
    steps, value, frechet = zip(*track, strict=True)
    agree[name] = rank_correlation(value, frechet)
    ax.plot(steps, value, "o-", color=plot.COLOURS.blue)
    ax.set(title=f"{name}: rank correlation {agree[name]:.2f}", xlabel="step", ylim=(0, 1.1 * max(value)))
    ax.set_ylabel(label, color=plot.COLOURS.blue)
    ax.set_xscale("log" if name == "DCGAN" else "linear")
    right = ax.twinx()
    right.plot(steps, frechet, "s--", color=plot.COLOURS.vermilion)
    right.set(yscale="log")
    right.set_ylabel("Fréchet distance", color=plot.COLOURS.vermilion)
    right.grid(False)
plt.show()
board.claim(
    "The critic's distance follows the letters' Fréchet distance more closely than the discriminator's loss.",
    agree["WGAN-GP"] > agree["DCGAN"] + 0.2,
)
board.claim("The discriminator's loss does not follow it: rank correlation below 0.4.", agree["DCGAN"] < 0.4)
board.claim("The DCGAN's Fréchet distance falls more than tenfold.", track_D[0][2] > 10 * track_D[-1][2])
early = torch.stack(gaps[:5]).mean().item()
print(f"the critic's distance: {early:.2f} in its first five steps, {track_W[0][1]:.2f} at the first point")
board.claim("Its first steps see less distance than the figure's first point.", early < track_W[0][1])

# %% [markdown]
# <details><summary>Answer</summary>
#
# The discriminator's loss wanders a little up and down, while the letters' Fréchet distance falls more than
# tenfold: the loss says who is winning, and that depends on both. The critic's distance has a meaning of its
# own, and on the whole it falls as the letters approach the real ones, though not at every step. Before the
# first point of the figure it was smaller: a critic that has not learned yet sees no distance, so a small one
# counts only once the critic is trained. (It is on a scale of its own: another critic would give another
# number. And this is one run of each.)
# </details>
#
# ## 8 · Play: does the generator still feel its judge?
#
# *How far may the generator be, before no gradient reaches it, and what does noise change?* Data
# $\mathcal N(0, 1)$, made $\mathcal N(\theta, 1)$. The noise is added to both (*instance noise*; Sønderby and
# others, 2016). Every position computes the best judge and the pull of the three losses.


# %% folded="Panels of the play" tags=["demo"]
# long: the panels, the control, and a figure that says the same
def draw_pull(axes, theta, noise):
    """The densities with the best judge, and the pull of each loss."""
    s = math.hypot(1, noise)
    x = torch.linspace(-6, 14, 600)
    log_real, log_fake = log_normal(x, 0.0, s), log_normal(x, theta, s)
    axes[0].fill_between(x, log_real.exp(), color=plot.COLOURS.grey, alpha=0.35, label="data")
    axes[0].fill_between(x, log_fake.exp(), color=plot.COLOURS.vermilion, alpha=0.35, label="made")
    axes[0].set(xlim=(-6, 14), ylim=(0, 0.44), yticks=[], title=rf"$\theta = {theta:g}$, noise {noise:g}")
    above = axes[0].twinx()
    above.plot(x, (log_real - log_fake).sigmoid(), color=plot.COLOURS.blue, lw=1.8)
    above.set(ylim=(0, 1.1), yticks=[0, 1])
    above.text(-5.7, 0.97, "$D^*$", color=plot.COLOURS.blue, va="top")
    above.grid(False)
    found = pull(theta, s)
    colours = plot.COLOURS.vermilion, plot.COLOURS.blue, plot.COLOURS.green
    axes[1].barh(list(found), [max(v, 1e-9) for v in found.values()], color=colours)
    axes[1].set(xscale="log", xlim=(1e-6, 30), title="pull on $\\theta$")
    axes[1].invert_yaxis()


def play(theta, noise):
    """The panels for the two sliders."""
    axes = plot.figure(1, 2, height=2.6)[1]
    draw_pull(axes, theta, noise)
    axes[0].legend(loc="upper right", fontsize=9)
    plt.show()


controls = interact(
    play,
    theta=widgets.FloatSlider(
        5.0, min=0.2, max=10.0, step=0.2, continuous_update=False, description="distance θ"
    ),
    noise=widgets.FloatSlider(0.0, min=0.0, max=4.0, step=0.25, continuous_update=False),
)

# %% folded="Figure: near, far, far with noise" tags=["demo"]
fig, axes = plot.figure(3, 2, height=1.75)
for row, (theta, noise) in zip(axes, ((1.0, 0.0), (7.0, 0.0), (7.0, 3.0)), strict=True):
    draw_pull(row, theta, noise)
axes[0, 0].legend(loc="upper right", fontsize=9)
plt.show()
board.claim(
    "Noise of 3 brings the minimax pull at distance 7 back more than fortyfold.",
    pull(7.0, math.hypot(1, 3))["saturating"] > 40 * pull(7.0)["saturating"],
)

# %% [markdown]
# The axis of the bars is logarithmic. Noise makes the two overlap again, and the minimax pull comes back. The
# price: the judge compares two blurred densities, and sees little of details finer than the noise. So the
# noise must fade out in the end.
#
# ## 9 · What breaks: two ways to lose modes
#
# The eight GANs of section 6 again, in two more situations. In the first, the **generator learns ten times
# as fast** as its judge. In the second the **judge learns thirty-three times as fast**, and the generator
# starts with all its points close together. In each: the plain judge, one that sees the batch (minibatch
# standard deviation), and WGAN-GP.
#
# **Question.** Both situations lose modes. In which of them are the points that are made still good ones? And
# which repair helps in which?

# %% folded="Nine cells of eight GANs" tags=["demo"]
# long: the runs, and their table
SITUATIONS = {
    "two time scales": TWO_SCALES,
    "fast generator": {"rates": (3e-3, 3e-4)},
    "fast judge": {"rates": (3e-4, 1e-2), "spread": 0.1},
}
JUDGES = {"plain": {}, "minibatch std": {"see_batch": True}, "WGAN-GP": {"penalty": 1.0}}
table, spent = {}, time.process_time()
moments = [max(1, round(S.ring_steps * share)) for share in (0.7, 0.75)]
print(f"{'situation':17}{'judge':15}{'modes of 8':>11}{'GANs with all 8':>17}{'good points':>13}")
for key in [(situation, kind) for situation in SITUATIONS for kind in JUDGES]:
    if key not in runs:
        options = {**SITUATIONS[key[0]], **JUDGES[key[1]]}
        runs[key] = train_rings(S.ring_steps, **options, keep=moments, title=", ".join(key))
    last = runs[key][0][-3:]  # the mean of three looks: who chases, travels
    modes, good = (torch.stack([look[i].float() for look in last]).mean(0) for i in (1, 2))
    table[key] = modes.mean().item(), good.mean().item()
    share = f"{(last[-1][1] == MODES).sum().item()} of {S.rings}"
    print(f"{key[0]:17}{key[1]:15}{table[key][0]:11.1f}{share:>17}{table[key][1]:13.2f}")
print(f"{time.process_time() - spent:.0f} CPU-seconds")
chase, fall = "fast generator", "fast judge"
board.claim(
    "Chasing: with a fast generator the plain GAN covers less than two modes, with few good points.",
    table[chase, "plain"][0] < 2 and table[chase, "plain"][1] < 0.3,
)
board.claim(
    "Collapse: with a fast judge it covers less than two modes, and more than 80 % of its points are good.",
    table[fall, "plain"][0] < 2 and table[fall, "plain"][1] > 0.8,
)
board.claim(
    "Against chasing, seeing the batch helps (more than four modes), and WGAN-GP does not (less than two).",
    table[chase, "minibatch std"][0] > 4 and table[chase, "WGAN-GP"][0] < 2,
)
board.claim(
    "Against collapse, WGAN-GP covers more than five modes, and at least two more than seeing the batch.",
    table[fall, "WGAN-GP"][0] > max(5, 2 + table[fall, "minibatch std"][0]),
)
board.claim(
    "With two time scales each judge covers more than seven modes.",
    min(table["two time scales", kind][0] for kind in JUDGES) > 7,
)
board.claim(
    "WGAN-GP pays in good points: with a fast judge less than half of the collapsed GAN's share.",
    table[fall, "WGAN-GP"][1] < table[fall, "plain"][1] / 2,
)

# %% folded="Figure: chasing, collapse, and their repairs" tags=["demo"]
fig, axes = plot.figure(2, 4, height=2.5)
for row, (situation, repair) in zip(axes, ((chase, "minibatch std"), (fall, "WGAN-GP")), strict=True):
    kept = list(runs[situation, "plain"][1].items())
    for ax, (step, x) in zip(row, kept, strict=False):
        draw_points(ax, x[1, :500], f"Plain, step {step:,}")
    draw_points(row[3], runs[situation, repair][1][S.ring_steps][1, :500], repair[0].upper() + repair[1:])
    row[0].set_ylabel(situation)
plt.show()
travel = {}
for situation in (chase, fall):
    before, after = list(runs[situation, "plain"][1].values())[:2]
    travel[situation] = (after - before).norm(dim=2).mean().item()  # over all points of all GANs
print(f"way of a point from step {kept[0][0]} to {kept[1][0]}:", {k: round(v, 2) for k, v in travel.items()})
board.claim("The chasing points travel more than three times as far.", travel[chase] > 3 * travel[fall])

# %% [markdown]
# <details><summary>Answer</summary>
#
# *Chasing* (upper row): the points lie on a band or a curve, and it travels: between the first two pictures
# a point goes much further than in the lower row. We read it so: the generator moves everything to where
# the judge's score is highest; the judge catches up and marks that place as made; the generator moves on.
# Few points are good at any time: precision is lost as well. Only a judge that *sees the batch* can notice
# that its samples are too much alike. A smoother judge does not help, for it lags as well: its slope leads
# away from where the points were some steps ago.
#
# *Collapse* (lower row): nearly every point is good, and seven modes of eight are missing. Two things come
# together here: a generator that begins narrow, and a judge so fast that it is nearly perfect, whose slope
# near the points holds them where they are. (Which of the two weighs more? Try `spread` alone and `rates`
# alone.) The reverse KL of section 3 does not ask for the other modes. Here the Wasserstein critic wins:
# its slope is pulled to 1 *everywhere between made and real points*, so there is a way to the other modes,
# and the more mass is missing there, the more the critic gains by saying so. Seeing the batch gives the
# points the spread of the ring, the one figure that the judge is shown, and lands them between the modes.
#
# The last column is the price: most of the points that WGAN-GP has spread out lie between the modes. Its
# authors give it five steps of the critic for each of the generator, and many more of both.
# </details>
#
# So first let the judge keep up, by its rate; then choose by what is missing. "Mode collapse" in the
# literature is used for both.
#
# ### Deepfakes, and how they are found
#
# A *deepfake* is a made picture, voice or film of a real person that passes for a recording. It serves fraud
# and slander, and most of all it is used against women: of the deepfake videos that the firm Deeptrace
# counted in 2019, 96 % were pornography, made without consent. Three defences exist: *provenance* (cameras
# and editors sign what they record: C2PA), *marks* (the EU's AI Act, Regulation 2024/1689, article 50,
# obliges providers to mark what their systems make), and *detection*: a classifier, which is what a
# discriminator is. We train one on our own fakes, and test it on fresh ones, and then on the same after a
# slight blur, as a platform's compression would.


# %% folded="A detector of our own fakes" tags=["demo"]
# long: a network, two trials, and Bayes' rule
def blur(x):
    """A little out of focus: weights 1 2 1 along both sides."""
    w = torch.tensor([0.25, 0.5, 0.25])
    return F.conv2d(x, (w[:, None] * w)[None, None], padding=1)


torch.manual_seed(0)
layers = nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()
detector = nn.Sequential(*layers, nn.Linear(32 * (S.size // 4) ** 2, 1), nn.Flatten(0)).to(device)
reals = torch.as_tensor(glyphs.train.x)[:4_320].to(device)
fakes = draw(G_ema, torch.arange(len(reals)) % 36, 8).to(device)


def draw_pairs(n, generator):
    """n real letters and n fakes."""
    i = torch.randint(len(fakes), (2, n), generator=generator, device=device)
    return reals[i[0]], fakes[i[1]]


train_judge(detector, draw_pairs, S.detector, batch=64, lr=2e-3)
wanted = torch.arange(S.eval) % 36
fresh, held_out = draw(G_ema, wanted, 9), even(glyphs.test, S.eval // 36)[0]
caught = {}
for trial, pair in (("as made", (held_out, fresh)), ("blurred", (blur(held_out), blur(fresh)))):
    with torch.no_grad():
        passed, slipped = ((detector(x.to(device)) > 0).float().mean().item() for x in pair)
    caught[trial] = passed, 1 - slipped
    print(f"{trial:8} real letters that pass {passed:.3f}, fakes caught {1 - slipped:.3f}")
false_alarm, hit = 1 - caught["as made"][0], caught["as made"][1]
for share in (0.5, 0.001):
    right = share * hit / max(share * hit + (1 - share) * false_alarm, 1e-12)
    print(f"if {share:.1%} of all pictures are fake: of those it calls fake, {right:.1%} are")
board.claim("It tells more than six of ten apart.", sum(caught["as made"]) / 2 > 0.6)
board.claim("After the blur it calls most real letters fake.", caught["blurred"][0] < 0.5)

# %% [markdown]
# It learned what its training fakes and real letters happened to differ in, and a blur moves both. The last
# two lines are Bayes' rule, which no detector escapes: where fakes are rare, most alarms are false. A
# detector's verdict is evidence, to be weighed with a prior, and never proof. (Wang and others, 2019, found
# that detectors carry over to other convolutional generators, *for now*.)
#
# ## 10 · How good is it?
#
# No likelihood; so we ask in the features of the course's measuring net, as for every family. *Class
# accuracy*: is it the letter that was asked for? *Diversity*: the variance within a class, over that of real
# letters. *Fréchet distance*: how far apart two normal distributions are that fit the features of made and of
# held-out letters. *KID*, the kernel distance: a similar gap without the normal distributions, estimated
# without bias, so noise may push it just below 0. *Precision*: the share of made letters that lie among real
# ones; *recall*: the share of real letters that lie among made ones. A collapsed model keeps its precision
# and loses its recall; one that chases loses both. The first row, real letters against other real letters, is
# what a perfect model would get.

# %% tags=["demo"]
# long: figures, seconds, the board
DATA = f"glyphs {S.size}"
real_x, wanted = even(glyphs.test, S.eval // 36)
looks = {"real letters": judge.compare(*even(glyphs.validation, S.eval // 36), real_x, wanted)}
looks["conditional DCGAN"] = judge.compare(draw(G_ema, wanted, 11), wanted, real_x, wanted)
looks["conditional DCGAN, no EMA"] = judge.compare(draw(G, wanted, 11), wanted, real_x, wanted)
for name, row in looks.items():
    print(f"{name:26}", ", ".join(f"{metric} {value:.3f}" for metric, value in row.items()))


def seconds(job, repeats=5):
    """The fastest of some runs, device included."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        job()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)


many, z_many = torch.arange(1_008, device=device) % 36, torch.randn(1_008, 64, device=device)
with torch.no_grad():
    measured = {B: seconds(lambda B=B: G_ema(z_many[:B], many[:B])) for B in (1, 16, 256, 1_008)}
costs = {
    "parameters": parameters["G"], "train_seconds": train_seconds, "sample_seconds": measured[1_008] / 1_008,
}  # fmt: skip
for name in list(looks)[1:]:
    board.record("13_gan", name, data=DATA, **costs, **looks[name])
board.table(DATA)

# %% folded="Figure: beside lesson 10's autoencoder" tags=["demo"]
# long: three panels and their claims
beside = [row for row in board.published().rows if (row.lesson, row.data) == ("10_vae", DATA)]
shown = {**looks, **{f"{row.model}, lesson 10": row.figures for row in beside}}
fig, axes = plot.figure(1, 3, height=2.1 + 0.22 * len(shown))
for ax, metric in zip(axes, ("frechet", "precision", "recall"), strict=True):
    found = [row.get(metric, math.nan) for row in shown.values()]
    bars = ax.barh(list(shown), found, color=list(plot.COLOURS)[: len(shown)])
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set(title={"frechet": "Fréchet distance"}.get(metric, metric.capitalize()))
    ax.margins(x=0.25)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.tick_params(labelleft=ax is axes[0])
plt.show()
ema, raw = looks["conditional DCGAN"], looks["conditional DCGAN, no EMA"]
board.claim(
    "The averaged generator writes the right letter more often.",
    ema["class_accuracy"] > raw["class_accuracy"],
)
board.claim("It has the higher precision.", ema["precision"] > raw["precision"])
for row in (row.figures for row in beside):
    board.claim("The GAN has more recall and diversity than lesson 10's VAE.",
                ema["recall"] > row["recall"] and ema["diversity"] > row["diversity"])  # fmt: skip
    board.claim("It has less precision than the VAE.", ema["precision"] < row["precision"])
    board.claim("The VAE writes the right letter more often.", row["class_accuracy"] > ema["class_accuracy"])

# %% [markdown]
# A small Fréchet distance is better, and a high precision and recall. This is what the family wins here: the
# letters cover more of the variety of real ones. The VAE keeps to the safe middle (precision high, recall
# low); the GAN pays for its reach with letters that resemble no real one. The Fréchet distance, one number,
# cannot tell these two faults apart. The table has the other losses: the VAE writes the right letter more
# often, trained in less time and draws faster, for its decoder is smaller. (The table's parameters are the
# generator's alone; with the discriminator it is two thirds of the autoencoder.)
#
# Of the three tools of section 7 we have measured one, the average: it brings right letters and precision. What
# it does to diversity differs from run to run. The two rates and the minibatch statistic were measured on the
# ring.
#
# ## 11 · In production, and where GANs are used today
#
# One pass, no loop. A batch of $B$ samples takes
#
# $$t(B) = t_0 + B\, \frac{M}{C}, \qquad M = \sum_{\text{layers}} C_{\text{in}}\, C_{\text{out}}\, k^2\, H W ,$$
#
# where $t_0$ is the overhead of starting the layers, $M$ the multiplications for one sample, and $C$ how many
# the machine does a second. It is a line, and the measured times bend: small batches leave the machine idle,
# and large ones leave its caches. ($H W$: for a convolution the places of its output, for a transposed one
# those of its input.) The discriminator is not needed any more.


# %% tags=["demo"]
M, side = G.first.weight.numel(), G.small
for layer in G.body:
    if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d):
        M += layer.weight.numel() * side**2
        side *= 2 if isinstance(layer, nn.ConvTranspose2d) else 1
each = (measured[1_008] - measured[1]) / 1_007
print(f"{M / 1e6:.2f} million multiplications a sample, {M / each / 1e9:.1f} billion a second")
for B, value in measured.items():
    predicted = measured[1] + (B - 1) * each
    print(f"B = {B:5}: {1e3 * value:8.2f} ms, line {1e3 * predicted:8.2f}, {1e6 * value / B:7.1f} µs each")

# %% [markdown]
# One pass is why GANs live on where iterative samplers are too slow; and since a judge compares two piles
# of pictures, they serve where no pairs exist: super-resolution (Real-ESRGAN, 2021), translation without
# pairs (CUT, 2020; img2img-turbo, 2024), faces with a latent space to edit (StyleGAN 3, 2021), tables
# (CTGAN, 2019). And as a *loss*: the judge of lesson 26's VQGAN makes its decoder sharp, and Flux.1
# [schnell] (2024) was distilled to a few steps with a discriminator in latent space. R3GAN (2025) says that
# most tricks can be left out if the loss is right: lesson 14.
#
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that
# went in. A number may be Python's own or a tensor that holds one; several results come as a tuple.
#
# ### 1 · Modes with shares of their own (easy, 15 minutes)
#
# `count_modes` knows round modes of equal size. Count for any Gaussian mixture: modes with means $\mu_k$,
# covariances $L_k L_k^\top$ and shares $\pi_k$. The distance of a point from a mode is
# $\lVert L_k^{-1}(x - \mu_k) \rVert$, in deviations of that mode. A point belongs to the mode from which it
# is least distant, and it is *good* if that distance is at most `radius`. Let $n_k$ good points belong to
# mode $k$, of $n$ good points in all. A mode is covered if it has at least half of its due:
# $n_k \ge \tfrac12 \pi_k n$. How unevenly the modes are filled is measured by
# $\text{KL} = \sum_k \frac{n_k}{n} \log \frac{n_k}{n\,\pi_k}$, to which an empty mode adds 0.


# %% exercise="coverage"
def mode_report(x, mu, L, pi, radius):
    """The number of covered modes, the share of good points, and the KL divergence in nats, as a tuple.

    x: (N, D), float64; mu: (K, D); L: (K, D, D), lower triangular; pi: (K,), above 0, adding up to 1.
    Without a good point it is (0, 0.0, math.inf).
    """
    ### BEGIN SOLUTION
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False)  # (K, D, N)
    distance, nearest = z.norm(dim=1).min(dim=0)
    good = distance <= radius
    n = torch.bincount(nearest[good], minlength=len(mu)).to(pi)
    if not good.any():
        return 0, 0.0, math.inf
    share = n / n.sum()
    kl = torch.special.xlogy(share, share / pi).sum().item()
    return int((share >= pi / 2).sum()), good.double().mean().item(), kl
    ### END SOLUTION


# %% test="coverage" points=3
two_mu = torch.tensor([[0.0, 0.0], [10.0, 0.0]], dtype=torch.float64)
two_L = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 0.5]]], dtype=torch.float64)
three_x = torch.tensor([[0.5, 0.0], [4.0, 0.0], [10.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
shares = torch.tensor([0.4, 0.6], dtype=torch.float64)
covered, quality, kl = mode_report(three_x, two_mu, two_L, shares, 3.0)
assert math.isclose(quality, 0.75, rel_tol=1e-6), (
    "(4, 0) is two deviations from the wide mode; (10, 2) is four, for it is flat"
)
assert covered == 2, "one good point of three is more than half of the 0.6 that are due to the wide mode"
shares_good = 2 / 3 * math.log(2 / 3 / 0.4) + 1 / 3 * math.log(1 / 3 / 0.6)
assert math.isclose(kl, shares_good, rel_tol=1e-6), "shares of the good points"
nothing_good = tuple(mode_report(three_x + 99, two_mu, two_L, shares, 3.0))
assert nothing_good == (0, 0.0, math.inf), f"not one good point: (0, 0.0, inf), not {nothing_good}"

# %% [markdown]
# ### 2 · A judge with a prejudice (medium, 20 minutes)
#
# Section 2 read the density ratio from a discriminator that saw as many real samples as made ones. Somebody
# trained one with batches of $n_p$ real and $n_q$ made samples, summing the loss over all of them, and with
# *one-sided label smoothing* (Salimans and others, 2016): the label of a real sample is $1 - s$ instead of 1,
# that of a made one 0. Find what its best $D(x)$ is, and turn it round: $\log \frac{p(x)}{q(x)}$ from the
# logit $\ell$ with $D = \sigma(\ell)$. Logits may be huge in either direction. Smoothing gives $D$ a ceiling;
# at or above it the answer is $\infty$.
#
# Then use it as a detector where a share `fake` of all pictures is made: the probability that a picture is
# real.


# %% exercise="prejudice"
def log_ratio(logit, n_p, n_q, s):
    """log p/q in nats from logits of any shape, float64; s in [0, 1) is the smoothing. inf at the ceiling."""
    ### BEGIN SOLUTION
    ceiling = math.log((1 - s) / s) if s else math.inf  # the logit of 1 - s
    below = torch.log1p(-(logit - ceiling).clamp(max=0).exp())
    return logit - math.log(1 - s) - below + math.log(n_q / n_p)
    ### END SOLUTION


def probability_real(log_r, fake):
    """P(real | x) from log p/q, any shape, may hold inf and -inf,
    where the share `fake`, in (0, 1), is made.
    """
    ### BEGIN SOLUTION
    return (log_r + math.log(1 - fake) - math.log(fake)).sigmoid()
    ### END SOLUTION


# %% test="prejudice" points=3
D_half = torch.tensor([0.5, 0.2], dtype=torch.float64).logit()
found = log_ratio(D_half, 10, 30, 0.0).exp()
assert torch.allclose(found, torch.tensor([3.0, 0.75]).double()), (
    "three times as many made ones: D = 1/2 means p = 3 q"
)
found = log_ratio(D_half, 1, 1, 0.1).exp()
assert torch.allclose(found, torch.tensor([1.25, 2 / 7], dtype=torch.float64), rtol=1e-10, atol=1e-12), (
    "D = 0.9 r / (r + 1): 1/2 at r = 5/4, to the digits of float64"
)
far = log_ratio(torch.tensor([900.0, -900.0]).double(), 1, 1, 0.0)
assert far.tolist() == [900.0, -900.0], "without smoothing the logit is the log ratio, however large"
assert log_ratio(torch.tensor([3.0]).double(), 1, 1, 0.1).isinf().all(), (
    "sigma(3) = 0.95 is above the ceiling of 0.9"
)
odds = probability_real(torch.tensor([0.0, math.log(9)], dtype=torch.float64), 0.9)
assert torch.allclose(odds, torch.tensor([0.1, 0.5], dtype=torch.float64), rtol=1e-10, atol=1e-12), (
    "nine of ten are made: likelier by 9 makes it even, to the digits of float64"
)

# %% [markdown]
# ### 3 · A one-sided penalty for a conditional critic (medium, 20 minutes)
#
# WGAN-GP pulls every slope to 1, also where a smaller one would be right. The one-sided penalty (Petzka,
# Fischer and Lukovnikov, 2017) punishes only slopes above 1:
#
# $$\mathbb E\,\max\big(0,\ \lVert \nabla_{\hat x} f(\hat x, y) \rVert - 1\big)^2 .$$
#
# Write it for pictures and a critic that is told the class: one $\epsilon$ for each picture, one norm over
# all its pixels, a mean over the batch. It must be differentiable in the critic's weights. A trap: where the
# slope is exactly 0, as for a critic whose last layer still is 0, the derivative of a norm is 0/0: PyTorch's
# own norms put 0 there, but the root of a sum of squares gives NaN, and one NaN ruins all weights.


# %% exercise="penalty"
def one_sided_penalty(critic, real, fake, y, generator):
    """The penalty, a tensor of one number: real, fake (B, C, H, W) of classes y (B,); critic(x, y) -> (B,).

    The epsilons come from `generator`. Real and fake are left alone.
    """
    ### BEGIN SOLUTION
    eps = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    between = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)
    squared = slope.square().flatten(1).sum(dim=1)
    steep = squared > 1
    norm = torch.where(steep, squared, 1.0).sqrt()  # 1 where it is not punished: no root of 0
    return (norm - 1).square().mean()
    ### END SOLUTION


# %% test="penalty" points=2
tilt = torch.tensor([0.5, 3.1, 2.0], dtype=torch.float64)  # the critic's slope for each of three classes


def plane(x, y):
    """A critic that looks at the first pixel alone."""
    return tilt[y] * x[:, 0, 0, 0]


classes = torch.tensor([0, 1, 2, 2])
zeros, ones = torch.zeros(4, 1, 3, 3).double(), torch.ones(4, 1, 3, 3).double()
penalty = one_sided_penalty(plane, zeros, ones, classes, torch.Generator().manual_seed(0))
assert math.isclose(penalty, (0 + 2.1**2 + 1 + 1) / 4), (
    "slopes 0.5, 3.1, 2, 2: excess 0, 2.1, 1, 1; the mean of the squares, to the digits of float64"
)
scale = torch.zeros(1, dtype=torch.float64, requires_grad=True)
penalty = one_sided_penalty(lambda x, y: scale * plane(x, y), zeros, ones, classes, torch.Generator())
assert torch.autograd.grad(penalty, scale)[0].item() == 0, (
    "a critic of slope 0 is not punished, and nothing is NaN"
)

# %% [markdown]
# ### 4 · The true norm of a convolution (hard, 40 minutes)
#
# Spectral normalisation of a convolution is often done on its kernel, reshaped to a matrix
# $C_{\text{out}} \times C_{\text{in}} k^2$. That is not the norm of the layer, because the kernel is applied
# at many places and its traces overlap. The layer is a linear map from pictures to pictures; run power
# iteration on *that*. You need its transpose, which is a transposed convolution with the same kernel. Mind
# the size that it returns: with a stride, several sizes are shrunk to the same one.


# %% exercise="conv-norm"
def conv_norm(weight, side, stride, padding, rounds, generator):
    """The largest singular value of x -> conv2d(x, weight, stride, padding) on pictures (C_in, side, side).

    weight: (C_out, C_in, k, k), float64. Starts from noise of `generator`. Returns a number.
    """
    ### BEGIN SOLUTION
    extra = (side + 2 * padding - weight.shape[2]) % stride
    v = torch.randn(1, weight.shape[1], side, side, generator=generator, dtype=weight.dtype)
    for _ in range(rounds):
        u = F.conv2d(v / v.norm(), weight, stride=stride, padding=padding)
        v = F.conv_transpose2d(u, weight, stride=stride, padding=padding, output_padding=extra)
    return v.norm().sqrt().item()
    ### END SOLUTION


# %% test="conv-norm" points=2
g = torch.Generator().manual_seed(0)
mean3 = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
assert math.isclose(conv_norm(mean3, 5, 1, 1, 200, g), ((1 + math.sqrt(3)) / 3) ** 2, rel_tol=1e-6), (
    "a mean of nine: on five by five pictures with a border of 0 the norm is 0.829; that of the kernel is 1/3"
)
pick = torch.tensor([[[[0.0, 0.0], [0.0, 3.0]]]], dtype=torch.float64)
assert math.isclose(conv_norm(pick, 5, 2, 0, 20, g), 3.0, rel_tol=1e-9), (
    "it picks pixels and multiplies them by 3"
)
assert math.isclose(conv_norm(1e-60 * pick, 5, 2, 0, 20, g), 3e-60, rel_tol=1e-6), (
    "1e-60 is no 0: stay in float64, and normalise in every round"
)

# %% [markdown]
# ### 5 · Repair a step in which both move at once (hard, 25 minutes)
#
# `gan_step` lets the discriminator move first. Section 5's other players move *simultaneously*: both
# gradients are taken at the same weights, then both move. It is cheaper, for the discriminator looks at the
# fakes once. The step below was meant to do that. It runs, returns losses, and teaches nothing. It has
# **four** faults. Find them and write the step that works: the discriminator is moved by its own loss $-V$
# alone, the generator by its own non-saturating loss alone, and nothing is left over for the next call.
# Logits may be huge.
#
# ```python
# def broken_step(G, D, opt_G, opt_D, x, z):
#     """One simultaneous step, with four faults: real x (B, d), noise z (B, k). The two losses."""
#     fake, bce = G(z), F.binary_cross_entropy_with_logits
#     real_score, fake_score = D(x).sigmoid(), D(fake).sigmoid()
#     loss_D = bce(real_score, torch.ones_like(real_score)) + bce(fake_score, torch.zeros_like(fake_score))
#     loss_G = bce(fake_score, torch.zeros_like(fake_score))
#     (loss_D + loss_G).backward()
#     opt_D.step()
#     opt_G.step()
#     opt_G.zero_grad()
#     return loss_D.detach(), loss_G.detach()
# ```


# %% exercise="repair"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    """One step of both at once: x (B, d) real, z (B, k) noise; D gives logits.

    loss_D, loss_G: means, in nats.
    """
    ### BEGIN SOLUTION
    real_score, fake_score = D(x), D(G(z))
    losses = discriminator_loss(real_score, fake_score), non_saturating(fake_score)
    for net, own in zip((D, G), losses, strict=True):
        weights = list(net.parameters())
        for weight, gradient in zip(
            weights, torch.autograd.grad(own, weights, retain_graph=True), strict=True
        ):
            weight.grad = gradient
    for optimizer in (opt_D, opt_G):
        optimizer.step()
        optimizer.zero_grad()
    return losses[0].detach(), losses[1].detach()
    ### END SOLUTION


# %% test="repair" points=3
tiny_G, tiny_D = nn.Linear(1, 1).double(), nn.Linear(1, 1).double()
for layer, start in ((tiny_G, 1.0), (tiny_D, 0.5)):
    nn.init.constant_(layer.weight, start)
    nn.init.zeros_(layer.bias)
tiny_opts = [torch.optim.SGD(net.parameters(), 0.4) for net in (tiny_G, tiny_D)]
at_two, at_zero = torch.full((4, 1), 2.0).double(), torch.zeros(4, 1).double()  # real points; noise, so fakes
first = simultaneous_step(tiny_G, tiny_D, *tiny_opts, at_two, at_zero)
assert math.isclose(first[0], math.log1p(math.exp(-1)) + math.log(2), rel_tol=1e-6), (
    "logits 1 and 0, in nats: does the loss get logits?"
)
assert math.isclose(first[1], math.log(2), rel_tol=1e-6), "-log D at a logit of 0"
assert math.isclose(tiny_D.weight.item(), 0.5 + 0.8 / (1 + math.e)), (
    "moved by its own loss: 0.4 x 2 x sigma(-1)"
)
assert math.isclose(tiny_G.bias.item(), 0.1), "0.4 x (1 - D) x 0.5: the weight of D before it moved"
simultaneous_step(tiny_G, tiny_D, *tiny_opts, at_two, at_zero)
assert math.isclose(tiny_D.weight.item(), 0.861649, abs_tol=1e-5), (
    "the second step starts with clean gradients"
)

# %% [markdown]
# ### 6 · Build your own: a GAN whose judge you choose (hard, 40 minutes)
#
# JSD is one of many. For a convex $f$ with $f(1) = 0$, $D_f(p, q) = \mathbb E_q f\big(p(x)/q(x)\big)$ is an
# *f-divergence*. For any function $T(x)$ it has a lower bound from samples alone (Nowozin, Cseke and
# Tomioka, 2016), with $f^*(t) = \sup_u\,(ut - f(u))$, tight where $T = f'(p/q)$:
#
# $$D_f(p, q) \ \ge\ \mathbb E_p\,T - \mathbb E_q\,f^*(T), \qquad f^*\big(f'(u)\big) = u f'(u) - f(u) .$$
#
# (For each $x$ and any $t$, $f(u) \ge ut - f^*(t)$ by the definition of $f^*$; set $u = p/q$ and take the
# mean over $q$.) Let the judge give $v(x)$, any number, read it as its guess of $\log p/q$, and set
# $T = f'(e^v)$: then the second formula applies, and one network serves all judges.
#
# - **The bound**, for these four:
#
# | name | $f(u)$ |
# |---|---|
# | `"kl"` | $u \log u$ |
# | `"reverse kl"` | $-\log u$ |
# | `"pearson"` | $(u - 1)^2$ |
# | `"hellinger"` | $(\sqrt u - 1)^2$ |
#
# - **The step.** First the judge climbs the bound. Then the generator descends it, against the judge that has
#   just moved, on the same $x$ and $z$. Each is moved by its own optimizer and by this alone: gradients that
#   are there before the call do not count.
#
# What will you see? Let the data be normal in the plane, with mean 0, variances 1 and correlation 0.6, and
# let the generator stretch its two coordinates, $G(z) = m + s \odot z$: it cannot lean. The best it can do
# depends on the judge (lesson 02): KL wants the data's own variances, $s_i = 1$; reverse KL those of each
# coordinate *given the other*, $s_i^2 = 1 - 0.6^2$, so $s_i = 0.8$. And $\log p/q$ is quadratic in $x$, so a
# judge of six weights can be exact. The hidden tests compare steps with their algebra, and train this pair
# with either judge. The two circle around the best (section 5), so it is the *mean* over the last steps that
# comes near it: to see it learn, run in a cell of your own:
#
# ```python
# class Upright(nn.Module):
#     def __init__(self):
#         super().__init__()
#         self.m = nn.Parameter(torch.ones(2).double())
#         self.log_s = nn.Parameter(torch.tensor([0.4, 0.2]).double())
#     def forward(self, z):
#         return self.m + self.log_s.exp() * z
# class Quadratic(nn.Module):
#     def __init__(self):
#         super().__init__()
#         self.w = nn.Parameter(torch.zeros(6).double())
#     def forward(self, x):
#         a, b = x.T
#         return torch.stack([0 * a + 1, a, b, a * a - 1, b * b - 1, a * b], dim=1) @ self.w
# lean = torch.tensor([[1.0, 0.0], [0.6, 0.8]]).double()
# for name in ("kl", "reverse kl"):
#     g, own, judge = torch.Generator().manual_seed(0), Upright(), Quadratic()
#     rates = ((own, 1e-2), (judge, 2e-2))
#     opts = [torch.optim.Adam(net.parameters(), lr, betas=(0.5, 0.99)) for net, lr in rates]
#     late = []
#     for n in range(800):
#         x, z = torch.randn(2, 512, 2, generator=g).double()
#         f_gan_step(name, own, judge, *opts, x @ lean.T, z)
#         late.append(torch.cat([own.m, own.log_s.exp()]).detach())
#     print(name, torch.stack(late[-200:]).mean(0))  # 0, 0, and 1, 1 or 0.8, 0.8, to 0.1
# ```


# %% exercise="f-gan"
# long: a bound and a step
def f_bound(name, v_p, v_q):
    """The bound on D_f, a tensor of one number, differentiable:
    v_p (N,) of real samples, v_q (M,) of made ones.

    Raises ValueError for another name.
    """
    ### BEGIN SOLUTION
    if name == "kl":
        return (1 + v_p).mean() - v_q.exp().mean()
    if name == "reverse kl":
        return -(-v_p).exp().mean() - (v_q - 1).mean()
    if name == "pearson":
        return 2 * v_p.expm1().mean() - (2 * v_q).expm1().mean()
    if name == "hellinger":
        return -(-v_p / 2).expm1().mean() - (v_q / 2).expm1().mean()
    raise ValueError(f"unknown divergence {name!r}")
    ### END SOLUTION


def f_gan_step(name, G, judge, opt_G, opt_judge, x, z):
    """One step of the judge, then one of the generator: the bound before either moved, a 0-d tensor
    without gradient.

    G: noise z (M, k) -> points (M, d). judge: points (N, d) -> v (N,). x: (N, d), real.
    """
    ### BEGIN SOLUTION
    made = G(z)
    bound = f_bound(name, judge(x), judge(made.detach()))
    opt_judge.zero_grad()
    (-bound).backward()
    opt_judge.step()
    opt_G.zero_grad()
    f_bound(name, judge(x), judge(made)).backward(inputs=list(G.parameters()))
    opt_G.step()
    return bound.detach()
    ### END SOLUTION


# %% test="f-gan" points=7
# long: the bound, then two steps
nothing = torch.zeros(5, dtype=torch.float64)
for name in ("kl", "reverse kl", "pearson", "hellinger"):
    assert abs(f_bound(name, nothing, nothing[:3])) < 1e-12, f"{name}: who sees no difference proves none: 0"
p_coin, q_coin = [3, 1], [1, 1]  # a coin that shows heads three times of four, and a fair one
v_coin = torch.tensor([1.5, 0.5], dtype=torch.float64).log()  # the true log ratio of either side
bound = f_bound("pearson", v_coin.repeat_interleave(torch.tensor(p_coin)), v_coin)
assert torch.is_tensor(bound), f"a tensor, so that gradients can pass, not a {type(bound).__name__}"
assert math.isclose(bound, 0.25), (
    "the mean of (0.5)^2 and (-0.5)^2 under q: the bound is tight at the true ratio"
)
bound = f_bound("kl", v_coin.repeat_interleave(torch.tensor(p_coin)), v_coin)
assert math.isclose(bound, 0.75 * math.log(1.5) + 0.25 * math.log(0.5)), "KL of the two coins"
mover, scorer = nn.Linear(1, 1).double(), nn.Sequential(nn.Linear(1, 1), nn.Flatten(0)).double()
for layer, start in ((mover, 1.0), (scorer[0], 0.5)):
    nn.init.constant_(layer.weight, start)
    nn.init.zeros_(layer.bias)
pair = [torch.optim.SGD(net.parameters(), 0.1) for net in (mover, scorer)]
real_at_two, noise_at_zero = torch.full((4, 1), 2.0).double(), torch.zeros(3, 1).double()
got = f_gan_step("kl", mover, scorer, *pair, real_at_two, noise_at_zero)
assert torch.is_tensor(got) and not got.requires_grad, "the bound, without gradient"
assert math.isclose(got, 1.0), "v is 1 on real points and 0 on made ones: 1 + 1 - 1, before either moves"
assert math.isclose(scorer[0].weight.item(), 0.7), "the judge climbs: 0.5 + 0.1 (2 - 0)"
assert math.isclose(mover.bias.item(), 0.07), "the generator descends, by the judge that has moved: 0.1 x 0.7"
got = f_gan_step("kl", mover, scorer, *pair, real_at_two, noise_at_zero)
assert math.isclose(got, 2.4 - math.exp(0.049)), "real at 2, made at 0.07, a judge of slope 0.7"
assert math.isclose(scorer[0].weight.item(), 0.9 - 0.007 * math.exp(0.049)), "with clean gradients"

# %% [markdown]
# ## Further reading
#
# - I. Goodfellow and others. *Generative adversarial networks.* 2014, arXiv:1406.2661.
# - M. Mirza, S. Osindero. *Conditional generative adversarial nets.* 2014, arXiv:1411.1784.
# - A. Radford, L. Metz, S. Chintala. *Unsupervised representation learning with deep convolutional generative
#   adversarial networks.* 2015, arXiv:1511.06434.
# - T. Salimans and others. *Improved techniques for training GANs.* 2016, arXiv:1606.03498. Minibatch
#   discrimination, one-sided label smoothing.
# - S. Nowozin, B. Cseke, R. Tomioka. *f-GAN: training generative neural samplers using variational divergence
#   minimization.* 2016, arXiv:1606.00709.
# - C. K. Sønderby and others. *Amortised MAP inference for image super-resolution.* 2016, arXiv:1610.04490.
#   Instance noise.
# - L. Metz and others. *Unrolled generative adversarial networks.* 2016, arXiv:1611.02163. The ring of
#   Gaussians.
# - M. Arjovsky, L. Bottou. *Towards principled methods for training generative adversarial networks.* 2017,
#   arXiv:1701.04862. Why the gradient vanishes.
# - M. Arjovsky, S. Chintala, L. Bottou. *Wasserstein GAN.* 2017, arXiv:1701.07875.
# - I. Gulrajani and others. *Improved training of Wasserstein GANs.* 2017, arXiv:1704.00028.
# - M. Heusel and others. *GANs trained by a two time-scale update rule converge to a local Nash equilibrium.*
#   2017, arXiv:1706.08500.
# - H. Petzka, A. Fischer, D. Lukovnikov. *On the regularization of Wasserstein GANs.* 2017, arXiv:1709.08894.
# - T. Karras and others. *Progressive growing of GANs for improved quality, stability, and variation.* 2017,
#   arXiv:1710.10196. Minibatch standard deviation.
# - T. Miyato and others. *Spectral normalization for generative adversarial networks.* 2018,
#   arXiv:1802.05957.
# - P. Dhariwal, A. Nichol. *Diffusion models beat GANs on image synthesis.* 2021, arXiv:2105.05233.
# - H. Ajder and others. *The state of deepfakes: landscape, threats, and impact.* Deeptrace, 2019.
# - S.-Y. Wang and others. *CNN-generated images are surprisingly easy to spot... for now.* 2019,
#   arXiv:1912.11035.

# %% tags=["demo"]
selfcheck.run("13_gan")
