# %% [markdown]
# # 13 · GAN, DCGAN, WGAN-GP
#
# > **Write no density down. Train a critic that tells real from made, and move what you make to where the
# > critic can no longer tell.**
#
# | | |
# |---|---|
# | You will build | the best discriminator in closed form; eight GANs at once on a ring, which collapse, and four repairs; a conditional DCGAN that writes letters; a detector that finds its fakes |
# | You need to know | lesson 01 (what *implicit* means), lesson 02 (Bayes' rule as a classifier); gradients; a convolution |
# | Time on two CPU cores | three to four minutes to run, four to five hours to read and to solve; no GPU needed |
# | On a GPU | the `full` setting: glyphs of 28 x 28 pixels, a wider network, 12,000 steps |

# %%
import copy
import math
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, features, plot, progress, selfcheck, taxonomy
from genmap.controls import interact

# %%
device = genmap.device()
torch.set_float32_matmul_precision("high")
torch.set_num_threads(1)  # on a CPU: these layers are small, and a second thread would mostly wait

# %%
S = genmap.settings(
    # smoke, quick, full
    critic_steps=(30, 1_000, 5_000),
    rings=(2, 8, 64),
    ring_steps=(12, 1_500, 5_000),
    size=(16, 16, 28),
    ch_G=(16, 48, 128),
    ch_D=(8, 32, 96),
    batch=(16, 32, 128),
    steps=(6, 2_000, 12_000),
    show=(3, 200, 1_000),
    eval=(144, 2_160, 2_160),
    detector=(5, 400, 2_000),
    fakes=(288, 4_320, 8_640),
)
print(f"{genmap.setting()} on {device}")

# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("gan")
plt.show()

# %% [markdown]
# Bucket 3: the density is *implicit*. There is a machine that draws samples, and no formula for how likely
# one is.
#
# ## The compromise
#
# All models so far paid for a density: by independence, by an order, by an invertible map, by a bound. A GAN
# pays nothing of the kind. Its generator $G$ may be any network from noise to pictures, one pass long. What
# it gives up is the number $\log p(x)$: nothing to compare on held-out data, no alarm for odd pictures, and
# no single curve that says whether training goes well. Two networks play against each other, and a game may
# go round in circles.
#
# | | GAN |
# |---|---|
# | What is modelled? | pixels, straight from noise: $x = G(z)$ |
# | Is the density explicit? | no; the critic knows a *ratio* of densities, section 2 |
# | Is sampling one-shot or iterative? | one-shot: one pass of $G$ |
# | What conditions it? | whatever both networks are given: here a class |
# | How is it evaluated, and how does that fail? | Fréchet distance, precision and recall in a feature space: all are blind to copies; precision alone does not see a collapse, recall alone does not see bad pictures |
#
# Goodfellow and others (2014) proposed the game. Radford, Metz and Chintala (2015) found the convolutional
# networks that made it work on pictures, the *DCGAN*. Arjovsky, Chintala and Bottou (January 2017) replaced
# the judge by a distance, Gulrajani and others (March 2017) trained it better, with a gradient penalty in
# place of clipped weights, the *WGAN-GP*, and Miyato and others (2018) found a cheaper way, spectral
# normalisation. Until diffusion models passed them in 2021 (Dhariwal and Nichol), the sharpest pictures were
# a GAN's.

# %% [markdown]
# ## 1 · The best discriminator, in closed form
#
# Let $p$ be the density of the data and $q$ that of what the generator makes. The second network scores
# samples; *critic* and *judge* are its general names. As a *discriminator* $D(x)$ it gives the probability
# that $x$ is real. It wants this value to be high, and the generator wants it to be low:
#
# $$V(D, G) = \mathbb E_{x \sim p}\,\log D(x) + \mathbb E_{x \sim q}\,\log\big(1 - D(x)\big) .$$
#
# Hold $G$ still. At every $x$ the integrand is $p \log D + q \log(1 - D)$, and its derivative is 0 at
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}, \qquad
# V(D^*, G) = 2\,\text{JSD}(p, q) - \log 4 .$$
#
# That is Bayes' rule of lesson 02, with two classes of equal share. The *Jensen–Shannon divergence* JSD is
# the mean of two KL divergences, of $p$ and of $q$ to their average. It is 0 where $q = p$, and at most
# $\log 2$, where they have nothing in common. So the game has the value $-\log 4$ at best for the generator,
# and 0 at worst.
#
# A network gives a *logit* $\ell(x)$, any number, and $D = \sigma(\ell) = 1/(1 + e^{-\ell})$. Then
# $\log D = -\text{softplus}(-\ell)$ and $\log(1 - D) = -\text{softplus}(\ell)$, with
# $\text{softplus}(\ell) = \log(1 + e^\ell)$. Nothing overflows, and the best logit has the plainest form of
# all:
#
# $$\ell^*(x) = \log p(x) - \log q(x) .$$


# %%
def discriminator_loss(real, fake):
    """-V in nats, from logits of real and of made samples, of any shape."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def jensen_shannon(log_p, log_q, dx):
    """JSD in nats of two densities on a grid of step dx: (N,), (N,) -> a number."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    kl = [(log.exp() * (log - log_m)).sum() * dx for log in (log_p, log_q)]
    return (kl[0] + kl[1]) / 2


# %% [markdown]
# The data are the two modes of lesson 01,
# $p = \tfrac12 \mathcal N(-0.6, 0.4^2) + \tfrac12 \mathcal N(0.6, 0.4^2)$. A generator that knows one number,
# where to put a normal distribution, makes $q = \mathcal N(0.5, 0.8^2)$. Both are known, so that the value
# can be added up on a grid.


# %%
def log_normal(x, mu, sigma):
    """log N(x; mu, sigma^2) in nats, elementwise."""
    return -0.5 * ((x - mu) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)


def log_p_line(x):
    """The two modes of lesson 01, in nats."""
    return torch.logaddexp(log_normal(x, -0.6, 0.4), log_normal(x, 0.6, 0.4)) - math.log(2)


def log_q_line(x):
    """What the generator makes, in nats."""
    return log_normal(x, 0.5, 0.8)


def draw_line(n, generator):
    """n samples of p and n of q: two columns (n, 1)."""
    sign = 2.0 * torch.randint(2, (n, 1), generator=generator, device=device) - 1
    eps = torch.randn(2, n, 1, generator=generator, device=device)
    return 0.6 * sign + 0.4 * eps[0], 0.5 + 0.8 * eps[1]


# %%
t = torch.linspace(-6, 6, 6_001, device=device)
dt = 12 / 6_000
log_p, log_q = log_p_line(t), log_q_line(t)
best = log_p - log_q  # the best logit
V_best = (log_p.exp() * F.logsigmoid(best) + log_q.exp() * F.logsigmoid(-best)).sum() * dt
print(f"V at the best discriminator, added up: {V_best:.5f}")
print(f"2 JSD - log 4:                         {2 * jensen_shannon(log_p, log_q, dt) - math.log(4):.5f}")
print(f"if q were p: -log 4 =                  {-math.log(4):.5f}")

# %% [markdown]
# Now a network that is told nothing but samples: the same loss, a plain loop. Its value must climb to the
# line and stop there.


# %%
def train_critic(critic, draw, steps, batch=512, lr=1e-2):
    """Fit logits that tell the two columns of draw(n, generator) apart: the values V of all steps."""
    optimizer = torch.optim.Adam(critic.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator, values = torch.Generator(device=device).manual_seed(1), []
    for _ in range(steps):
        real, fake = draw(batch, generator)
        loss = discriminator_loss(critic(real), critic(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        values.append(-loss.detach())
    return torch.stack(values)


def small_net(d):
    """Logits from d numbers: (N, d) -> (N, 1)."""
    layers = nn.Linear(d, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1)
    return nn.Sequential(*layers).to(device)


# %% tags=["demo"]
torch.manual_seed(0)
critic = small_net(1)
values = train_critic(critic, draw_line, S.critic_steps).cpu()
with torch.no_grad():
    logit = critic(t[:, None])[:, 0]

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=3.0)
axes[0].fill_between(t.cpu(), log_p.exp().cpu(), color=plot.RULE)
axes[0].plot(t.cpu(), log_p.exp().cpu(), color=plot.INK, lw=1.5, label="$p$, data")
axes[0].plot(t.cpu(), log_q.exp().cpu(), color=plot.COLOURS.vermilion, label="$q$, made")
axes[1].plot(t.cpu(), logit.sigmoid().cpu(), color=plot.COLOURS.blue, label="trained")
axes[1].plot(t.cpu(), best.sigmoid().cpu(), "--", color=plot.INK, lw=1.5, label="$p/(p+q)$")
smooth = values.unfold(0, min(25, len(values)), 1).mean(1)
axes[2].plot(smooth, color=plot.COLOURS.blue, lw=1.4)
axes[2].axhline(V_best.item(), ls="--", color=plot.INK, lw=1.5)
axes[2].axhline(-math.log(4), color=plot.COLOURS.grey, lw=1.2)
axes[2].text(0, V_best.item(), "$V^*$", va="bottom")
axes[2].text(len(smooth), -math.log(4), "$-\\log 4$ ", ha="right", va="bottom", color=plot.COLOURS.grey)
for ax, title in zip(axes[:2], ("Two densities", "The discriminator $D$"), strict=True):
    ax.set(title=title, xlim=(-2.8, 3.2), xlabel="$x$", ylim=(0, None))
    ax.legend(loc="upper right", fontsize=9.5, borderaxespad=0.1)
axes[0].set_ylim(0, 0.72)
axes[1].set_ylim(0, 1.25)
axes[2].set(title="Its value", xlabel="step", ylabel="nats")
plt.show()

# %% [markdown]
# The network has found $p/(p+q)$ from samples alone. Only far out, where there are hardly any, is it free to
# say what it likes.
#
# ## 2 · The ratio that it knows, and why there is no p(x)
#
# Turn $\ell^*$ round and a trained discriminator is a *density ratio*:
#
# $$r(x) = \frac{p(x)}{q(x)} = \frac{D(x)}{1 - D(x)} = e^{\ell(x)} .$$
#
# If $q$ is known, that is worth a density: $p(x) = q(x)\,e^{\ell(x)}$. It need not even be normalised by
# hand; if the fit is good, it adds up to 1. (Lesson 12 trains energy-based models that way:
# *noise-contrastive estimation*.)

# %% tags=["demo"]
dense = (log_p.exp() > 0.02) & (log_q.exp() > 0.02)
gap = (logit - best)[dense].abs()
recovered = (log_q + logit).exp()
print(f"log ratio, where both have samples: error {gap.mean():.3f} nats on average, {gap.max():.2f} at most")
print(f"q exp(logit) adds up to {recovered.sum() * dt:.4f}")
fig, axes = plot.figure(1, 2, height=3.0)
axes[0].axvspan(t[dense].min().item(), t[dense].max().item(), color=plot.RULE, lw=0, label="samples of both")
axes[0].plot(t.cpu(), logit.cpu(), color=plot.COLOURS.blue, label="trained logit")
axes[0].plot(t.cpu(), best.cpu(), "--", color=plot.INK, lw=1.5, label=r"$\log p - \log q$")
axes[0].set(title="The log ratio", xlabel="$x$", ylabel="nats", xlim=(-4, 7), ylim=(-14, 6))
axes[0].legend(loc="upper right", fontsize=9.5)
axes[1].fill_between(t.cpu(), log_p.exp().cpu(), color=plot.RULE, label="$p$")
axes[1].plot(t.cpu(), recovered.cpu(), color=plot.COLOURS.blue, label=r"$q\,e^{\ell}$")
axes[1].set(title="The density that comes out", xlabel="$x$", xlim=(-2.8, 3.2), ylim=(0, 0.75))
axes[1].legend(loc="upper right", fontsize=9.5)
plt.show()

# %% [markdown]
# In a GAN $q$ is *not* known. The discriminator then says how much likelier $x$ is among the data than among
# what $G$ makes, and nothing tells the second factor. Why can it not be computed, when $G$ is a network that
# we have? Because $z$ has fewer numbers than $x$. Sixty-four numbers in, 256 pixels out: the pictures that
# $G$ can make form a surface of at most 64 dimensions in a space of 256. Such a surface has no volume. Off it
# $q$ is 0, on it infinite, and a new letter that is off by one grey step has $\log q = -\infty$. Section 7
# measures the dimension of the trained surface. (A flow, lesson 08, keeps all dimensions, and pays for it.)

# %% [markdown]
# ## 3 · Two losses for the generator
#
# The generator wants $V$ low. Only the second term depends on it, so the *minimax* loss is
# $\mathbb E_{x\sim q} \log(1 - D(x))$. Goodfellow's paper warns of it in the same breath and uses another,
# the *non-saturating* loss: do not lower the chance of being caught, raise the chance of being believed.
#
# $$\mathcal L_{\text{sat}} = \mathbb E_{x \sim q} \log\big(1 - D(x)\big), \qquad
# \mathcal L_{\text{ns}} = -\,\mathbb E_{x \sim q} \log D(x) .$$
#
# Look at what reaches a sample, the derivative by its logit: $-D$ for the first, $-(1 - D)$ for the second.
# At the start every made sample is caught, $D \approx 0$. Then the first gradient is nothing, and the second
# is at its largest.


# %%
def saturating(fake):
    """E log(1 - D) in nats from logits of made samples."""
    return -F.softplus(fake).mean()


def non_saturating(fake):
    """-E log D in nats from logits of made samples."""
    return F.softplus(-fake).mean()


logits = torch.tensor([-8.0, -4.0, 0.0, 4.0], requires_grad=True)
for loss in (saturating, non_saturating):
    slope = torch.autograd.grad(4 * loss(logits), logits)[0]  # of each sample
    print(f"{loss.__name__:15}", " ".join(f"{v:9.5f}" for v in slope.tolist()), "at logits -8, -4, 0, 4")

# %% [markdown]
# The simplest case with a known truth: the data are $\mathcal N(0, s^2)$, and the generator makes
# $\mathcal N(\theta, s^2)$, with one number $\theta$ to learn. The best logit is
# $\ell^*(x) = (\theta^2 - 2\theta x)/2s^2$, a straight line. A third judge joins: the *Wasserstein critic*
# $f$, which may be any function whose slope is at most 1 and scores real samples high and made ones low.
# (Arjovsky, Chintala and Bottou, 2017. The best such score gap is the *earth mover's distance*: how far mass
# must be carried on average to turn $q$ into $p$.) Here $f(x) = -x$ for positive $\theta$, and the
# generator's loss is $-\mathbb E_q f = \theta$.


# %%
def pull(theta, s=1.0, n=4_001):
    """How hard each loss pulls theta to 0, its derivative: a dict of floats.

    theta > 0, s: the width of both.
    """
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    eps = s * math.sqrt(2) * torch.erfinv(2 * u - 1)  # n evenly likely values of N(0, s^2)
    where = torch.tensor(float(theta), dtype=torch.float64, requires_grad=True)
    x = where + eps
    logit = (theta**2 - 2 * theta * x) / (2 * s**2)  # the discriminator does not move with theta
    losses = {
        "saturating": saturating(logit),
        "non-saturating": non_saturating(logit),
        "Wasserstein": x.mean(),
    }
    return {
        name: torch.autograd.grad(loss, where, retain_graph=True)[0].item() for name, loss in losses.items()
    }


print("theta  " + "  ".join(f"{name:>14}" for name in pull(1.0)))
for theta in (0.5, 2.0, 4.0, 8.0):
    print(f"{theta:5}  " + "  ".join(f"{value:14.2e}" for value in pull(theta).values()))

# %% [markdown]
# Eight standard deviations away, the minimax loss pulls with almost nothing: the discriminator is perfect,
# and a perfect teacher who only says *wrong* teaches nothing. The non-saturating loss pulls harder the
# farther away it is, and the Wasserstein critic always with 1. Section 9 lets all three run.
#
# ## 4 · Three tools that keep a critic useful
#
# **Minibatch standard deviation** (Karras and others, 2017; an idea of Salimans and others, 2016). A
# discriminator that sees one sample at a time cannot notice that all samples are the same. So tell it:
# compute the standard deviation of each feature over the batch, average over the features, and give that
# number to every sample as one more feature.


# %%
def minibatch_std(h, batch_dim=0):
    """The standard deviation over the batch, averaged over all that belongs to a sample:
    (B, ...) -> a number.

    With batch_dim=1, for (R, B, C): one number for each of R batches, (R, 1, 1).
    """
    std = (h.var(dim=batch_dim, correction=0) + 1e-8).sqrt()  # the root's slope at 0 would be infinite
    return std.mean() if batch_dim == 0 else std.mean(dim=1)[:, None, None]


varied = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
print(
    f"a varied batch {minibatch_std(varied):.3f}, "
    f"one sample 64 times {minibatch_std(varied[:1].expand(64, 5)):.4f}"
)

# %% [markdown]
# **Gradient penalty.** A Wasserstein critic must keep its slope at or below 1. WGAN-GP asks for a slope of
# exactly 1 on the way between real and made samples, for the best critic has it on the lines along which mass
# is carried. (The pairs here are random, so this is only roughly right; exercise 5 relaxes it.)
#
# $$\lambda\,\mathbb E\big(\lVert \nabla_{\hat x} f(\hat x) \rVert - 1\big)^2, \qquad \hat x = \epsilon\, x_{\text{real}} + (1 - \epsilon)\, x_{\text{made}},\quad \epsilon \sim \text{Uniform}[0, 1] .$$
#
# The gradient is itself part of a loss, so it must stay differentiable: `create_graph=True`.


# %%
def gradient_penalty(critic, real, fake, generator):
    """(|grad f| - 1)^2 at one point of each line from fake to real: (..., B, d) -> (..., B)."""
    eps = torch.rand(*real.shape[:-1], 1, generator=generator, device=real.device)
    between = (eps * real + (1 - eps) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(dim=-1) - 1) ** 2


direction = torch.tensor([3.0, 4.0])
flat = torch.zeros(6, 2)
penalty = gradient_penalty(lambda x: x @ direction, flat, flat + 1, torch.Generator().manual_seed(0))
print(f"a plane of slope 5: (5 - 1)^2 = {penalty.mean():.1f}")

# %% [markdown]
# **Spectral normalisation** (Miyato and others, 2018). The slope of a network is at most the product of its
# layers' largest stretches. A matrix $W$ stretches by its largest singular value, written $\sigma(W)$ (not
# the sigmoid); divide by it, and the layer lengthens no vector. (ReLU and leaky ReLU have slopes of at
# most 1.) *Power iteration* finds it: multiply a vector by $W^\top$ and $W$ in turn, and the direction that
# grows fastest wins.
#
# $$v \leftarrow \frac{W^\top u}{\lVert W^\top u \rVert}, \qquad u \leftarrow \frac{W v}{\lVert W v \rVert}, \qquad \sigma \approx u^\top W v .$$
#
# Weights move little in a step, so one round in each forward pass, from the $u$ of last time, is enough.


# %%
def power_iteration(W, u, rounds=1):
    """The largest singular value, and u to go on from:
    W (..., b, a), u (..., b, 1) -> (..., 1, 1), (..., b, 1).
    """
    with torch.no_grad():
        for _ in range(rounds):
            v = F.normalize(W.mT @ u, dim=-2)
            u = F.normalize(W @ v, dim=-2)
    return u.mT @ W @ v, u  # differentiable in W; u and v are held still


g = torch.Generator().manual_seed(0)
W, u = torch.randn(30, 50, generator=g), torch.randn(30, 1, generator=g)
for rounds in (1, 5, 25):
    print(f"{rounds:2} rounds: {power_iteration(W, u, rounds)[0].item():.4f}", end="   ")
print(f"exact: {torch.linalg.matrix_norm(W, 2):.4f}")

# %% [markdown]
# ## 5 · A first GAN: eight of them side by side
#
# Eight normal distributions of width 0.05 stand in a ring of radius 2. It is the smallest picture of what
# real data are: narrow heaps, and nothing in between. We know every mode, so that we can count which of them
# the generator reaches.
#
# Whether a GAN collapses is a matter of luck, and one run proves nothing. So we train eight at once, with
# different starts and different samples: every tensor gets a leading axis of length $R$, one entry for each
# GAN. It costs far less than eight runs, because small networks spend much of their time on overhead.


# %%
MODES, RADIUS, WIDTH = 8, 2.0, 0.05
angle = 2 * math.pi * torch.arange(MODES, device=device) / MODES
centres = RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)  # (8, 2)


def draw_ring(R, B, generator):
    """B points of the ring for each of R GANs: (R, B, 2)."""
    k = torch.randint(MODES, (R, B), generator=generator, device=device)
    return centres[k] + WIDTH * torch.randn(R, B, 2, generator=generator, device=device)


# %%
class Linears(nn.Module):
    """A linear layer in each of R networks: (R, B, a) -> (R, B, b)."""

    def __init__(self, R, a, b):
        super().__init__()
        bound = a**-0.5
        self.W = nn.Parameter(torch.empty(R, b, a).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(R, 1, b).uniform_(-bound, bound))

    def weight(self):
        """The matrices in use."""
        return self.W

    def forward(self, x):
        """x W^T + bias."""
        return torch.baddbmm(self.bias, x, self.weight().mT)


class SpectralLinears(Linears):
    """The same, each matrix divided by its largest singular value."""

    def __init__(self, R, a, b):
        super().__init__(R, a, b)
        self.register_buffer("u", torch.randn(R, b, 1))

    def weight(self):
        """W / sigma(W), with one round of power iteration."""
        sigma, self.u = power_iteration(self.W, self.u)
        return self.W / sigma


# %%
class RingGenerator(nn.Module):
    """R generators: noise z (R, B, 2) -> points (R, B, 2)."""

    def __init__(self, R, h=64):
        super().__init__()
        self.layers = nn.ModuleList([Linears(R, 2, h), Linears(R, h, h), Linears(R, h, 2)])

    def forward(self, z):
        """Two hidden layers."""
        return self.layers[2](F.relu(self.layers[1](F.relu(self.layers[0](z)))))


class RingCritic(nn.Module):
    """R critics: points (R, B, 2) -> logits (R, B). see_batch: each also sees its batch's deviation."""

    def __init__(self, R, linear=Linears, see_batch=False, h=64):
        super().__init__()
        self.see_batch = see_batch
        self.layers = nn.ModuleList([linear(R, 2, h), linear(R, h + see_batch, h), linear(R, h, 1)])

    def forward(self, x):
        """Two hidden layers."""
        h = F.leaky_relu(self.layers[0](x), 0.2)
        if self.see_batch:
            h = torch.cat([h, minibatch_std(h, 1).expand(*h.shape[:2], 1)], dim=2)
        return self.layers[2](F.leaky_relu(self.layers[1](h), 0.2))[..., 0]


# %% [markdown]
# One step of each player. The critic's step must not move the generator, so its samples are drawn without a
# graph. The generator's step must not move the critic; its weights take no part (`requires_grad_(False)`),
# which also saves the work. `penalty` turns the game into a WGAN-GP.


# %%
def critic_step(G, D, optimizer, real, z, generator, penalty):
    """One step of the critics on real points (R, B, 2) and noise z (R, B, 2)."""
    with torch.no_grad():
        fake = G(z)
    a, b = D(real), D(fake)
    if penalty:
        losses = b - a + penalty * gradient_penalty(D, real, fake, generator)
    else:
        losses = F.softplus(-a) + F.softplus(b)
    optimizer.zero_grad()
    losses.mean(dim=1).sum().backward()  # a sum over GANs: none feels the others
    optimizer.step()


def generator_step(G, D, optimizer, z, penalty):
    """One step of the generators."""
    D.requires_grad_(False)
    fake = D(G(z))
    losses = -fake if penalty else F.softplus(-fake)
    optimizer.zero_grad()
    losses.mean(dim=1).sum().backward()
    optimizer.step()
    D.requires_grad_(True)


# %% [markdown]
# **Counting modes.** A point is *good* if it lies within four widths of a centre. A mode is *covered* if it
# holds at least one point in a hundred.


# %%
def count_modes(x):
    """For each GAN's points (R, n, 2): the number of modes covered (R,) and the share of good points (R,)."""
    distance, nearest = torch.cdist(x, centres.expand(len(x), -1, -1)).min(dim=2)
    good = distance < 4 * WIDTH
    per_mode = (F.one_hot(nearest, MODES) * good[..., None]).sum(dim=1)  # (R, 8)
    return (per_mode >= x.shape[1] / 100).sum(dim=1), good.float().mean(dim=1)


FAST_G, TWO_SCALES = (3e-3, 3e-4), (1e-3, 3e-3)  # learning rates of generator and critic


def make_rings(R, rates, linear=Linears, see_batch=False):
    """R generators and critics with an optimizer each: (G, D), (opt_G, opt_D)."""
    torch.manual_seed(0)
    nets = RingGenerator(R).to(device), RingCritic(R, linear, see_batch).to(device)
    return nets, [
        torch.optim.Adam(n.parameters(), lr, betas=(0.5, 0.99)) for n, lr in zip(nets, rates, strict=True)
    ]


# %%
def train_rings(steps, rates, linear=Linears, see_batch=False, penalty=0.0, keep=(), B=128):
    """Train S.rings GANs: counts over time [(step, modes, good)], points at the steps in keep, G, D."""
    (G, D), optimizers = make_rings(S.rings, rates, linear, see_batch)
    generator, look = (torch.Generator(device=device).manual_seed(s) for s in (0, 1))
    z_look, counts, kept = torch.randn(S.rings, 1_000, 2, generator=look, device=device), [], {}
    for step in range(1, steps + 1):
        z = torch.randn(2, S.rings, B, 2, generator=generator, device=device)
        critic_step(G, D, optimizers[1], draw_ring(S.rings, B, generator), z[0], generator, penalty)
        generator_step(G, D, optimizers[0], z[1], penalty)
        if step % max(1, steps // 30) == 0 or step in keep:
            with torch.no_grad():
                x = G(z_look)
            counts.append((step, *count_modes(x)))
            kept |= {step: x.cpu()} if step in keep else {}
    return counts, kept, G, D


# %% [markdown]
# First with rates that work: the critic learns three times as fast as the generator, *two time scales*
# (Heusel and others, 2017).

# %% tags=["demo"]
moments = [max(1, round(S.ring_steps * share)) for share in (0.01, 0.05, 0.2, 1)]
began = time.process_time()
counts, kept, G_ring, _ = train_rings(S.ring_steps, TWO_SCALES, keep=moments)
ring_seconds = {"two time scales": time.process_time() - began}
print(f"modes covered by each GAN: {counts[-1][1].tolist()}")


# %% tags=["demo"]
def draw_points(ax, x, title):
    """One GAN's points over the ring's centres."""
    ax.scatter(*centres.cpu().T, s=130, facecolors="none", edgecolors=plot.COLOURS.grey, linewidths=1.0)
    ax.scatter(*x.T, s=4, color=plot.COLOURS.vermilion, alpha=0.5)
    ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xticks=[-2, 0, 2], yticks=[-2, 0, 2], aspect="equal")
    ax.tick_params(labelleft=False)


fig, axes = plot.figure(1, 4, height=2.5)
for ax, (step, x) in zip(axes, kept.items(), strict=False):
    draw_points(ax, x[0, :500], f"step {step:,}")
plt.show()

# %% [markdown]
# One of the eight, from the first steps to the last: 500 made points (vermilion) and the modes (circles). It
# arrives. The threads between the modes stay, for $G$ is continuous: where two neighbouring values of $z$ go
# to different modes, those in between go to the space in between.

# %% [markdown]
# ## 6 · DCGAN: letters
#
# Now pictures: capitals and digits in twelve styles, 36 classes. The generator starts from noise $z$ and a
# learned vector for the class $y$, makes a stack of small maps, and doubles their side twice. A *transposed
# convolution* with stride 2 does the doubling: every value of the small map lays down a whole kernel on the
# large map, two pixels further each time. The discriminator is the mirror image, with strided convolutions.
# From the DCGAN paper: batch normalisation in the generator, ReLU there and leaky ReLU in the discriminator,
# $\tanh$ at the end (so ink is 1 and paper −1), weights from $\mathcal N(0, 0.02^2)$.
#
# Both players are told the class, otherwise neither could be held to it (Mirza and Osindero, 2014). $D$ gets
# it as one more picture, learned for each class. Ours has no batch normalisation in $D$ but a minibatch
# standard deviation.


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


def start_weights(layer):
    """N(0, 0.02^2) for every convolution and linear layer."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.02)


# %% [markdown]
# The step. One batch of fakes serves both players: with `detach()` it carries no gradient into the generator
# while the discriminator learns, and without it, it does when the generator learns. Three things make the
# difference between letters and mud:
#
# - **two time scales**: the discriminator's learning rate is five times the generator's, so that the judge is
#   nearly right before it is obeyed;
# - **minibatch standard deviation**, against collapse;
# - **EMA**: the samples come from a second generator whose weights are the running average of the first
#   one's, $\bar w \leftarrow \beta \bar w + (1 - \beta) w$. The players circle round each other, and the
#   average of a circle is its middle.


# %%
def gan_step(G, D, opt_G, opt_D, x, y, z):
    """One step of both players: real pictures x of classes y, noise z. The losses of D and G, in nats."""
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


# %%
@torch.no_grad()
def average(G_ema, G, beta):
    """w_ema <- beta w_ema + (1 - beta) w; the statistics of batch norm are averages already, and copied."""
    torch._foreach_lerp_(list(G_ema.parameters()), list(G.parameters()), 1 - beta)
    for mean, new in zip(G_ema.buffers(), G.buffers(), strict=True):
        mean.copy_(new)


def make_gan(ch_G, ch_D, size, lr=4e-4, ratio=5.0):
    """G, D, the averaged G, and the optimizers of G and D."""
    torch.manual_seed(0)
    G, D = Generator(ch_G, size).to(device), Discriminator(ch_D, size).to(device)
    for net in (G, D):
        net.apply(start_weights)
    opt_G = torch.optim.Adam(G.parameters(), lr, betas=(0.0, 0.99))
    opt_D = torch.optim.Adam(D.parameters(), ratio * lr, betas=(0.0, 0.99))
    return G, D, copy.deepcopy(G).eval(), opt_G, opt_D


# %%
G, D, G_ema, opt_G, opt_D = make_gan(S.ch_G, S.ch_D, S.size)
parameters = {name: sum(w.numel() for w in net.parameters()) for name, net in (("G", G), ("D", D))}
print(f"G {parameters['G']:,} parameters, D {parameters['D']:,}")

# %% [markdown]
# ## 7 · Train
#
# What should the curves look like? If the discriminator can only guess, $D = \tfrac12$ everywhere, its loss
# is $\log 4 \approx 1.39$ and the generator's $\log 2 \approx 0.69$. A loss of the discriminator near 0 means
# that it has won: with the minimax loss no gradient would be left, and with ours there is one, but it says
# little about what to improve. In between, the curves tell nearly nothing about the pictures. Therefore the
# live view shows both.

# %% tags=["demo"]
glyphs = data.glyphs(S.size)
x_train = torch.as_tensor(glyphs.train.x, device=device) * 2 - 1
y_train = torch.as_tensor(glyphs.train.y, device=device)
NAMES = data.CAPITALS_AND_DIGITS
word = torch.tensor([NAMES.index(c) for c in "GAN13ADVERSARIAL"], device=device).repeat(6)  # 96 letters
z_live = torch.randn(len(word), 64, generator=torch.Generator().manual_seed(3)).to(device)


def to_ink(x):
    """From [-1, 1] to [0, 1], in 255ths like the real pictures."""
    return ((x + 1) / 2 * 255).round() / 255


# %% tags=["demo"]
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


# %% tags=["demo"]
losses, rows, place = [], {}, progress.Place()
began, wall = time.process_time(), time.perf_counter()
generator = torch.Generator(device=device).manual_seed(4)
moments = sorted({max(1, round(S.steps * share)) for share in (0.01, 0.1, 0.3, 1)})
for step in progress.track(range(1, S.steps + 1), title="DCGAN"):
    i = torch.randint(len(x_train), (S.batch,), generator=generator, device=device)
    z = torch.randn(S.batch, 64, generator=generator, device=device)
    losses.append(gan_step(G, D, opt_G, opt_D, x_train[i], y_train[i], z))
    average(G_ema, G, min(0.995, step / (step + 9)))  # young averages forget faster
    if step % S.show == 0 or step in moments:
        made = live_view(place, losses, step)
        rows |= {step: made} if step in moments else {}
train_seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - began
print(f"{S.steps:,} steps, {cpu_seconds:.0f} CPU-seconds")

# %% tags=["demo"]
fig, axes = plot.figure(len(rows), 1, height=0.93)
for ax, (step, made) in zip(axes, rows.items(), strict=True):
    plot.images(made, columns=16, ax=ax, title=f"step {step:,}")
plt.show()

# %% [markdown]
# The same noise and the same letters all along. At step 20 there is nothing but the grid that strides leave
# behind. Then mud, then strokes in the right places, then letters in styles of their own.


# %% tags=["demo"]
@torch.no_grad()
def draw(net, y, seed):
    """Pictures (N, 1, size, size) in [0, 1] of the classes y (N,), on the CPU."""
    net.eval()
    z = torch.randn(len(y), 64, generator=torch.Generator().manual_seed(seed)).to(device)
    parts = zip(z.split(1_000), y.to(device).split(1_000), strict=True)
    return torch.cat([to_ink(net(*part)).cpu() for part in parts])


def even(part, n):
    """The first n pictures of each class of a part of the data, by class:
    x (36 n, 1, size, size), y (36 n,).
    """
    i = torch.argsort(torch.as_tensor(part.y), stable=True).view(36, -1)[:, :n].flatten().numpy()
    return torch.as_tensor(part.x[i]), torch.as_tensor(part.y[i])


every = torch.arange(36).repeat(3)
fig, axes = plot.figure(2, 1, height=2.9)
plot.images(draw(G_ema, every, 5), columns=18, ax=axes[0], title="Made: every class, three times")
held_out = even(glyphs.test, 3)[0].unflatten(0, (36, 3)).transpose(0, 1).flatten(0, 1)
plot.images(held_out, columns=18, ax=axes[1], title="Real, held out")
plt.show()

# %% [markdown]
# **The dimension of the surface.** The claim of section 2: pictures made for one class form a surface of at
# most 64 dimensions. The Jacobian $\partial x / \partial z$ at a point says how the surface runs there; its
# rank is the dimension.

# %% tags=["demo"]
a_letter = torch.tensor([NAMES.index("G")], device=device)
z0 = torch.randn(1, 64, generator=torch.Generator().manual_seed(6)).to(device)
J = torch.func.jacrev(lambda z: G_ema(z, a_letter).flatten())(z0)[:, 0]  # (pixels, 64)
sigma_J = torch.linalg.svdvals(J.cpu().double())
held = torch.as_tensor(glyphs.test.x[glyphs.test.y == a_letter.item()][:30]).to(device) * 2 - 1


def closest(target, steps):
    """Search z for the made picture closest to each target: the root mean square difference in grey, (n,)."""
    z = torch.zeros(len(target), 64, device=device, requires_grad=True)
    search = torch.optim.Adam([z], 0.1)
    for _ in range(steps):
        d2 = (G_ema(z, a_letter.expand(len(z))) - target).square().flatten(1).mean(1)
        search.zero_grad()
        d2.sum().backward()
        search.step()
    return d2.detach().sqrt().cpu() / 2


# %% tags=["demo"]
print(f"rank {(sigma_J > 1e-6 * sigma_J[0]).sum()} of {len(J)} pixels")
print(
    "half of the squared stretch in "
    f"{(sigma_J.square().cumsum(0) < sigma_J.square().sum() / 2).sum() + 1} directions"
)
print(
    "held-out letters G: "
    f"the closest made picture is off by {closest(held, S.detector).min():.3f} or more, in grey"
)

# %% [markdown]
# A surface of 64 dimensions fills nothing of a space of 256, so if the data have a density there, a held-out
# letter lies on it with probability 0; and even the closest picture that the search found is off by more than
# a grey step, 0.004. Under $q$ these letters are impossible, $\log q(x) = -\infty$. That says nothing about
# how good the letters look. It says that likelihood is the wrong question here. Section 10 asks others.

# %% [markdown]
# ## 8 · Play: does the generator still feel its judge?
#
# *Question: how far may the generator be, before no gradient reaches it, and what does noise change?* Data
# $\mathcal N(0, 1)$, made $\mathcal N(\theta, 1)$. The noise is added to both (*instance noise*; Sønderby and
# others, 2016). Every position computes the best discriminator and the pull of the three losses of section 3.


# %% tags=["demo"]
def draw_pull(axes, theta, noise):
    """The densities with the best discriminator, and the pull of each loss."""
    s = math.hypot(1, noise)
    x = torch.linspace(-6, 14, 600)
    log_real, log_fake = log_normal(x, 0.0, s), log_normal(x, theta, s)
    axes[0].fill_between(x, log_real.exp(), color=plot.COLOURS.grey, alpha=0.35, label="data")
    axes[0].fill_between(x, log_fake.exp(), color=plot.COLOURS.vermilion, alpha=0.35, label="made")
    axes[0].set(xlim=(-6, 14), ylim=(0, 0.44), yticks=[], title=rf"$\theta = {theta:g}$, noise {noise:g}")
    judge = axes[0].twinx()
    judge.plot(x, (log_real - log_fake).sigmoid(), color=plot.COLOURS.blue, lw=1.8)
    judge.set(ylim=(0, 1.1), yticks=[0, 1])
    judge.text(-5.7, 0.97, "$D^*$", color=plot.COLOURS.blue, va="top")
    judge.grid(False)
    found = pull(theta, s)
    colours = plot.COLOURS.vermilion, plot.COLOURS.blue, plot.COLOURS.green
    axes[1].barh(list(found), [max(v, 1e-9) for v in found.values()], color=colours)
    axes[1].set(xscale="log", xlim=(1e-6, 30), title="pull on $\\theta$")
    axes[1].invert_yaxis()


# %% tags=["demo"]
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

# %% tags=["demo"]
fig, axes = plot.figure(3, 2, height=1.75)
for row, (theta, noise) in zip(axes, ((1.0, 0.0), (7.0, 0.0), (7.0, 3.0)), strict=True):
    draw_pull(row, theta, noise)
axes[0, 0].legend(loc="upper right", fontsize=9)
plt.show()

# %% [markdown]
# The axis of the bars is logarithmic. From the first row to the second the minimax pull falls by orders of
# magnitude; noise (third row) makes the two overlap again and brings it back. The price: with noise the goal
# is a blurred one, so it must fade out in the end.

# %% [markdown]
# ## 9 · What breaks
#
# ### Vanishing gradients
#
# The one-number generator, started eight standard deviations away, against a perfect discriminator at each
# step. Gradient descent, the same learning rate for all three.


# %%
def descend(loss, theta=8.0, lr=0.05, steps=300):
    """The path of theta under one of the losses of `pull`."""
    path = [theta]
    for _ in range(steps):
        side = math.copysign(1.0, theta)  # the picture is the same from the left
        theta -= lr * side * pull(max(abs(theta), 1e-3), n=201)[loss]
        path.append(theta)
    return path


# %% tags=["demo"]
fig, ax = plot.figure(height=2.9)
colours = plot.COLOURS.vermilion, plot.COLOURS.blue, plot.COLOURS.green
for name, colour in zip(pull(1.0), colours, strict=True):
    path = descend(name)
    ax.plot(path, color=colour, label=name)
    first = next((i for i, v in enumerate(path) if abs(v) < 0.5), None)
    print(f"{name:15} within half a deviation of the data after {first} steps, at the end {path[-1]:.3f}")
ax.set(title="From eight deviations away", xlabel="step", ylabel=r"$\theta$", ylim=(-0.5, 8.6))
ax.legend(loc="center right")
plt.show()

# %% [markdown]
# The saturating generator has not moved after three hundred steps. The two repairs arrive: the non-saturating
# loss races while it is far and slows down as it gets near; the Wasserstein critic walks at one speed. This
# is why a *better* discriminator can be *worse* for training, and why each repair changes what the judge
# tells, not how well it judges.
#
# ### Mode collapse
#
# Now the ring with the rates the wrong way round: the generator learns ten times as fast as its critic.

# %% tags=["demo"]
moments = sorted({max(1, round(S.ring_steps * share)) for share in (0.3, 0.34, 0.38, 0.42)})
began = time.process_time()
counts_fast, kept, G_fast, _ = train_rings(S.ring_steps, FAST_G, keep=moments)
ring_seconds["fast generator"] = time.process_time() - began
fig, axes = plot.figure(1, 4, height=2.5)
for ax, (step, x) in zip(axes, kept.items(), strict=False):
    draw_points(ax, x[0, :500], f"step {step:,}")
plt.show()

# %% [markdown]
# All 500 points of one GAN lie in one place, and the place travels. That is the whole story of mode collapse.
# The generator finds the place that the critic likes best and moves *everything* there. The critic catches
# up, marks that place as made, and the generator moves on, round and round. No sample of the batch knows that
# the others are in the same place.
#
# What brings the modes back? One table, two by four: the rates (generator ten times as fast; or two time
# scales) and the critic (plain, with minibatch standard deviation, spectrally normalised, WGAN-GP).

# %% tags=["demo"]
CRITICS = {
    "plain": {}, "minibatch std": {"see_batch": True},
    "spectral norm": {"linear": SpectralLinears}, "WGAN-GP": {"penalty": 1.0},
}  # fmt: skip
RATES = {"fast generator": FAST_G, "two time scales": TWO_SCALES}
runs = {("fast generator", "plain"): (counts_fast, G_fast), ("two time scales", "plain"): (counts, G_ring)}
cells = [(r, c) for r in RATES for c in CRITICS if c != "plain"]
for rate, kind in progress.track(cells, title="repairs"):
    began = time.process_time()
    history, _, net, _ = train_rings(S.ring_steps, RATES[rate], **CRITICS[kind])
    runs[rate, kind] = history, net
    ring_seconds[f"{rate}, {kind}"] = time.process_time() - began
print(f"all eight cells: {sum(ring_seconds.values()):.0f} CPU-seconds")

# %% tags=["demo"]
z_look = torch.randn(S.rings, 1_000, 2, generator=torch.Generator().manual_seed(1)).to(device)
seconds_of = dict(zip(runs, [ring_seconds["fast generator"], ring_seconds["two time scales"]], strict=False))
seconds_of |= {cell: ring_seconds[f"{cell[0]}, {cell[1]}"] for cell in cells}
print(f"{'rates':16}{'critic':15}{'modes of 8':>11}{'GANs with all 8':>17}{'good points':>13}{'CPU s':>7}")
table = {}
for key in [(r, c) for r in RATES for c in CRITICS]:
    last = runs[key][0][-3:]  # the mean of three looks: a collapsed GAN travels
    modes, good = (torch.stack([look[i].float() for look in last]).mean(0) for i in (1, 2))
    table[key] = modes.mean().item(), (last[-1][1] == MODES).sum().item(), good.mean().item()
    share = f"{table[key][1]} of {S.rings}"
    print(
        f"{key[0]:16}{key[1]:15}{table[key][0]:11.1f}{share:>17}{table[key][2]:13.2f}{seconds_of[key]:7.0f}"
    )

# %% tags=["demo"]
fig, axes = plot.figure(2, 4, height=2.55)
for row, rate in zip(axes, RATES, strict=True):
    for ax, kind in zip(row, CRITICS, strict=True):
        with torch.no_grad():
            x = runs[rate, kind][1](z_look)[1, :500].cpu()
        draw_points(ax, x, kind[0].upper() + kind[1:] if rate == "fast generator" else "")
        ax.set_xlabel(f"{table[rate, kind][0]:.1f} of 8 modes")
    row[0].set_ylabel(rate)
plt.show()

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=2.9)
colours = plot.COLOURS.vermilion, plot.COLOURS.blue, plot.COLOURS.orange, plot.COLOURS.green
for ax, rate in zip(axes, RATES, strict=True):
    for kind, colour in zip(CRITICS, colours, strict=True):
        history = runs[rate, kind][0]
        ax.plot(
            [h[0] for h in history], [h[1].float().mean().item() for h in history], color=colour, label=kind
        )
    ax.set(title=rate[0].upper() + rate[1:], xlabel="step", ylim=(-0.2, 8.4), yticks=[0, 2, 4, 6, 8])
axes[0].set_ylabel("modes covered, mean")
axes[0].legend(loc="upper left", fontsize=9.5)
plt.show()

# %% [markdown]
# Read it by rows. With the fast generator only one critic brings the modes back: the one that *sees the
# batch*, for it alone can notice that all samples are alike. A smoother critic, by spectral norm or gradient
# penalty, does not help while it lags behind: its slope is well behaved, and leads away from where the made
# samples were some steps ago. (WGAN-GP's authors give their critic five steps for each of the generator's,
# and they mean it.) With two time scales every critic covers nearly all modes, in nearly all GANs. So first
# let the judge keep up; then choose a judge that sees collapse. The DCGAN does both. And note what each
# repair pays, in the last column: minibatch standard deviation one more statistic, spectral norm two small
# products in every pass, the penalty a second backward pass. In networks this small the time is mostly
# overhead, so the cheapest on paper need not be the cheapest here.
#
# ### Deepfakes, and how they are found
#
# A *deepfake* is a made picture, voice or film of a real person that passes for a recording; the name comes
# from 2017, when faces were swapped with autoencoders, and GANs soon made them sharp. It is used for fraud by
# telephone and video call, for slander, and most of all against women: of the deepfake videos that the firm
# Deeptrace counted on the web in 2019, 96 % were pornography, made without consent. It also does harm where
# none is shown: whoever is caught on film can say that the film is fake. Three defences exist. *Provenance*:
# cameras and editors sign what they record (C2PA), so that a missing signature is a question. *Marks*: the
# maker hides a watermark; the EU's AI Act (Regulation 2024/1689, article 50) obliges providers to mark what
# their systems make, and deployers to disclose deepfakes. *Detection*: somebody trains a classifier, which is
# what a discriminator is. Detection is an arms race, and the following shows on our own fakes why. (Wang and
# others, 2020: detectors carry over to other convolutional generators, *for now*. Later studies find that
# they mostly learn the fingerprint of the generators they saw.)
#
# **The fingerprint.** A transposed convolution lays kernels side by side. With a kernel of 3 and a stride of
# 2 they overlap here and not there, which leaves a chessboard (Odena, Dumoulin and Olah, 2016); with 4 and 2
# every pixel is covered equally often. But even then each step invents the finest frequencies from nothing,
# and large generators get their strength wrong (Durall, Keuper and Keuper, 2020).


# %%
def overlap(kernel, stride=2, padding=1, small=8):
    """How many kernels cover each pixel of the large map: a transposed convolution of ones by ones."""
    return F.conv_transpose2d(
        torch.ones(1, 1, small, small), torch.ones(1, 1, kernel, kernel), None, stride, padding
    )


def log_spectrum(x):
    """log10 of the power of each frequency:
    pictures (N, 1, s, s) -> (N, s, s // 2 + 1), from 0 to the finest.
    """
    x = x[:, 0] - x[:, 0].mean(dim=(1, 2), keepdim=True)
    return (torch.fft.rfft2(x, norm="ortho").abs().square() + 1e-6).log10()


def radial(spectrum):
    """The mean over all directions: (N, s, s // 2 + 1) -> (N, s // 2), by whole cycles to the picture."""
    s = spectrum.shape[1]
    rows, columns = torch.fft.fftfreq(s) * s, torch.arange(s // 2 + 1)
    ring = torch.hypot(rows[:, None], columns[None].float()).round().long()
    return torch.stack([spectrum[:, ring == k].mean(dim=1) for k in range(1, s // 2 + 1)], dim=1)


# %% tags=["demo"]
some = torch.arange(S.fakes) % 36
fakes = draw(G_ema, some, 8)
reals = torch.as_tensor(glyphs.train.x)[: S.fakes]

# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=2.7)
for ax, kernel in zip(axes, (3, 4), strict=False):
    cover = overlap(kernel)[0, 0, 1:-1, 1:-1]
    ax.imshow(cover, cmap="genmap", vmin=0, vmax=4)
    ax.set(
        title=f"Kernel {kernel}, stride 2",
        xticks=[],
        yticks=[],
        xlabel=f"covered {cover.min():.0f} to {cover.max():.0f} times",
    )
    ax.grid(False)
for x, colour, label in ((reals, plot.INK, "real"), (fakes, plot.COLOURS.vermilion, "made")):
    axes[2].plot(
        range(1, S.size // 2 + 1), radial(log_spectrum(x)).mean(0), "o-", color=colour, label=label, ms=4
    )
axes[2].set(title="Power by frequency", xlabel="cycles to the picture", ylabel="log$_{10}$ power")
axes[2].legend()
plt.show()

# %% [markdown]
# On our small letters the power is right on average, at every frequency: the discriminator sees the finest
# ones and has policed them. (At step 20 of section 7 the grid was there to see.) So averages do not give
# these fakes away. A network that looks at each picture may.
#
# **A detector.** A small network, trained on real training letters and on as many fakes. It is tested on
# held-out real letters and fresh fakes; then on the same after a slight blur, as a platform's compression
# would; and on fakes of *another* maker, a normal distribution for each class as in lesson 02.


# %%
def small_detector(size):
    """Logits for real, (N, 1, size, size) -> (N, 1)."""
    flat = 32 * (size // 4) ** 2
    layers = nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(flat, 1)).to(device)


def blur(x):
    """A little out of focus: weights 1 2 1 along both sides."""
    w = torch.tensor([0.25, 0.5, 0.25])
    return F.conv2d(x, (w[:, None] * w)[None, None], padding=1)


def class_normals(x, y, wanted, seed):
    """Draws of one normal distribution a class, lesson 02's:
    x (N, 1, s, s), y (N,) -> (len(wanted), 1, s, s).
    """
    g, made = torch.Generator().manual_seed(seed), torch.empty(len(wanted), *x.shape[1:])
    for c in wanted.unique():
        own, n = x[y == c].flatten(1), int((wanted == c).sum())
        mixed = torch.randn(n, len(own), generator=g) @ (own - own.mean(0)) / math.sqrt(len(own))
        made[wanted == c] = (own.mean(0) + mixed).clamp(0, 1).view(n, *x.shape[1:])
    return (made * 255).round() / 255


# %% tags=["demo"]
torch.manual_seed(0)
detector = small_detector(S.size)
both = reals.to(device), fakes.to(device)


def draw_pairs(n, generator):
    """n real letters and n fakes."""
    i = torch.randint(len(fakes), (2, n), generator=generator, device=device)
    return both[0][i[0]], both[1][i[1]]


train_critic(detector, draw_pairs, S.detector, batch=64, lr=2e-3)
wanted = torch.arange(S.eval) % 36
fresh, held_out = draw(G_ema, wanted, 9), even(glyphs.test, S.eval // 36)[0]
others = class_normals(torch.as_tensor(glyphs.train.x), torch.as_tensor(glyphs.train.y), wanted, 10)
TRIALS = {
    "the same maker": (held_out, fresh), "all blurred": (blur(held_out), blur(fresh)),
    "another maker": (held_out, others),
}  # fmt: skip


# %% tags=["demo"]
@torch.no_grad()
def rates_of(trial):
    """The share of real letters let pass and of fakes caught."""
    real, fake = (detector(x.to(device))[:, 0] > 0 for x in TRIALS[trial])
    return real.float().mean().item(), 1 - fake.float().mean().item()


caught = {trial: rates_of(trial) for trial in TRIALS}
for trial, (passed, found) in caught.items():
    print(
        f"{trial:15} real letters that pass {passed:.3f}, "
        f"fakes caught {found:.3f}, balanced {(passed + found) / 2:.3f}"
    )
false_alarm, hit = 1 - caught["the same maker"][0], caught["the same maker"][1]
for share in (0.5, 0.01, 0.001):
    right = share * hit / max(share * hit + (1 - share) * false_alarm, 1e-12)
    print(f"if {share:.1%} of all pictures are fake: of those it calls fake, {right:.1%} are")

# %% tags=["demo"]
fig, axes = plot.figure(3, 1, height=0.95)
for ax, (title, x) in zip(
    axes, (("Fakes", fresh), ("Blurred fakes", blur(fresh)), ("Another maker's", others)), strict=True
):
    plot.images(x[:18], columns=18, ax=ax, title=title)
plt.show()

# %% [markdown]
# The detector catches most fakes of its own maker and lets most real letters pass, but far from all of
# either: a generator that was trained against one detector is hard for the next. After a blur that leaves
# every letter legible, the verdict is worthless, for it calls nearly everything fake, real letters too:
# *sharp paper and clean strokes* was what it took for real. That the other maker's fakes are caught is luck
# of the same kind; they happen to be dirtier. The last lines are arithmetic that no detector escapes: where
# fakes are rare, most alarms are false. A detector's verdict is evidence, to be weighed with a prior, and
# never proof.

# %% [markdown]
# ## 10 · How good is it?
#
# No likelihood; so we ask in the features of the course's measuring net, as for every family. *Class
# accuracy*: is it the letter that was asked for? *Diversity*: the variance within a class, over that of real
# letters. *Fréchet distance*: how far apart two normal distributions are that fit the features of made and of
# held-out letters. *KID*, the kernel distance: a similar gap without the normal distributions, estimated
# without bias, so noise may push it just below 0. *Precision*: the share of made letters that lie among real
# ones; *recall*: the share of real letters that lie among made ones. A collapsed model keeps its precision
# and loses its recall. The first row, real letters against other real letters, is what a perfect model would
# get.

# %% tags=["demo"]
DATA = f"glyphs {S.size}"
judge = features.glyphs(S.size)
real_x, wanted = even(glyphs.test, S.eval // 36)
looks = {"real letters": judge.compare(*even(glyphs.validation, S.eval // 36), real_x, wanted)}
looks["conditional DCGAN"] = judge.compare(draw(G_ema, wanted, 11), wanted, real_x, wanted)
looks["conditional DCGAN, no EMA"] = judge.compare(draw(G, wanted, 11), wanted, real_x, wanted)
for name, row in looks.items():
    print(f"{name:26}", ", ".join(f"{metric} {value:.3f}" for metric, value in row.items()))


# %% tags=["demo"]
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


many = torch.arange(1_008, device=device) % 36
z_many = torch.randn(len(many), 64, device=device)
with torch.no_grad():
    sample_seconds = seconds(lambda: G_ema(z_many, many)) / len(many)
costs = {"parameters": parameters["G"], "train_seconds": train_seconds, "sample_seconds": sample_seconds}
for name in list(looks)[1:]:
    board.record("13_gan", name, data=DATA, **costs, **looks[name])
board.table(DATA)

# %% tags=["demo"]
beside = [row for row in board.published().rows if (row.lesson, row.data) == ("10_vae", DATA)]
shown = {**looks, **{f"{row.model}, lesson 10": row.figures for row in beside}}
fig, axes = plot.figure(1, 3, height=2.1 + 0.22 * len(shown))
for ax, metric in zip(axes, ("frechet", "precision", "recall"), strict=True):
    bars = ax.barh(
        list(shown),
        [row.get(metric, math.nan) for row in shown.values()],
        color=list(plot.COLOURS)[: len(shown)],
    )
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set(title={"frechet": "Fréchet distance"}.get(metric, metric.capitalize()))
    ax.margins(x=0.25)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.tick_params(labelleft=ax is axes[0])
plt.show()

# %% [markdown]
# A small Fréchet distance is better, and a high precision and recall. The averaged generator has the better
# accuracy, distance and precision; the one that was trained is a little more varied, noise included. Where
# the board holds lesson 10's autoencoder, its row stands beside these, measured on the same letters. In the
# course's quick runs the Fréchet distances are nearly the same, and the failures opposite: the autoencoder
# keeps to the safe middle (precision high, recall low); the GAN reaches more of the variety and pays with
# letters that resemble no real one.

# %% tags=["demo"]
board.plot(DATA)
plt.show()

# %% [markdown]
# ## 11 · In production
#
# One pass, no loop. A batch of $B$ samples takes
#
# $$t(B) = t_0 + B\, \frac{M}{R}, \qquad M = \sum_{\text{layers}} C_{\text{in}}\, C_{\text{out}}\, k^2\, H W ,$$
#
# where $t_0$ is the overhead of starting the layers, $M$ the multiplications for one sample, and $R$ how many
# the machine does a second. ($H W$: for a convolution the places of its output, for a transposed one those of
# its input.) The discriminator stays at home. The time to the first output is nearly all the time there is:
# nothing to speed up by fewer steps, for there is one.


# %%
def multiplications(G):
    """Multiplications for one sample: each layer's weights times the places it is applied at."""
    counts, side = [G.first.weight.numel()], G.small
    for layer in G.body:
        if isinstance(layer, nn.ConvTranspose2d):
            counts.append(layer.weight.numel() * side**2)
            side *= 2
        elif isinstance(layer, nn.Conv2d):
            counts.append(layer.weight.numel() * side**2)
    return counts


# %% tags=["demo"]
with torch.no_grad():
    sizes = (1, 4, 16, 64, 256, 1_008)
    measured = {B: seconds(lambda B=B: G_ema(z_many[:B], many[:B])) for B in sizes}
M, t_0 = sum(multiplications(G)), measured[1]
each = (measured[1_008] - measured[1]) / 1_007
print(f"{M / 1e6:.2f} million multiplications a sample, {M / each / 1e9:.1f} thousand million a second")
for B, value in measured.items():
    print(
        f"B = {B:5}: {1e3 * value:8.2f} ms, predicted {1e3 * (t_0 + (B - 1) * each):8.2f} ms, "
        f"{1e6 * value / B:7.1f} µs a sample"
    )

# %% [markdown]
# The prediction is the line through the first and the last batch. Batches in between may lie below it, while
# their maps still fit into the cache. Compare the microseconds on the board: families that need many passes
# stand to the right.

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple.

# %% [markdown]
# ### 1 · Modes with shares of their own (easy, 20 minutes)
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
# ### 2 · A judge with a prejudice (medium, 25 minutes)
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
# ### 3 · A family of judges (medium, 35 minutes)
#
# JSD is one of many. For a convex $f$ with $f(1) = 0$, $D_f(p, q) = \mathbb E_q f\big(p(x)/q(x)\big)$ is an
# *f-divergence*. For any function $T(x)$ it has a lower bound from samples alone (Nowozin, Cseke and
# Tomioka, 2016), with $f^*(t) = \sup_u\,(ut - f(u))$, tight where $T = f'(p/q)$:
#
# $$D_f(p, q) \ \ge\ \mathbb E_p\,T - \mathbb E_q\,f^*(T), \qquad f^*\big(f'(u)\big) = u f'(u) - f(u) .$$
#
# A range of $T$ that suits $f^*$ is a nuisance. So let the network give $v(x)$, any number, read it as its
# guess of $\log p/q$, and set $T = f'(e^v)$: then the second formula applies, and one network serves all
# judges. Write the bound for
#
# | name | $f(u)$ |
# |---|---|
# | `"kl"` | $u \log u$ |
# | `"reverse kl"` | $-\log u$ |
# | `"pearson"` | $(u - 1)^2$ |
# | `"hellinger"` | $(\sqrt u - 1)^2$ |


# %% exercise="f-gan"
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


# %% test="f-gan" points=4
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


# %% test="conv-norm" points=4
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
# ### 5 · A one-sided penalty for a conditional critic (hard, 35 minutes)
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


# %% test="penalty" points=3
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
# ### 6 · Repair a step in which both move at once (hard, 40 minutes)
#
# `gan_step` lets the discriminator move first. Much of the theory is about players who move *simultaneously*:
# both gradients are taken at the same weights, then both move. It is cheaper, too, for the discriminator
# looks at the fakes once. The step below was meant to do that. It runs, returns losses, and teaches nothing.
# It has **four** faults. Find them and write the step that works: the discriminator is moved by its own loss
# $-V$ alone, the generator by its own non-saturating loss alone, and nothing is left over for the next call.
# Logits may be huge.


# %%
def broken_step(G, D, opt_G, opt_D, x, z):
    """One simultaneous step, with four faults: real x (B, d), noise z (B, k). The two losses."""
    fake, bce = G(z), F.binary_cross_entropy_with_logits
    real_score, fake_score = D(x).sigmoid(), D(fake).sigmoid()
    loss_D = bce(real_score, torch.ones_like(real_score)) + bce(fake_score, torch.zeros_like(fake_score))
    loss_G = bce(fake_score, torch.zeros_like(fake_score))
    (loss_D + loss_G).backward()
    opt_D.step()
    opt_G.step()
    opt_G.zero_grad()
    return loss_D.detach(), loss_G.detach()


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
# - A. Odena, V. Dumoulin, C. Olah. *Deconvolution and checkerboard artifacts.* Distill, 2016.
# - P. Dhariwal, A. Nichol. *Diffusion models beat GANs on image synthesis.* 2021, arXiv:2105.05233.
# - H. Ajder and others. *The state of deepfakes: landscape, threats, and impact.* Deeptrace, 2019.
# - S.-Y. Wang and others. *CNN-generated images are surprisingly easy to spot... for now.* 2019,
#   arXiv:1912.11035.
# - R. Durall, M. Keuper, J. Keuper. *Watch your up-convolution.* 2020, arXiv:2003.01826. Spectra of fakes.

# %% tags=["demo"]
selfcheck.run("13_gan")
