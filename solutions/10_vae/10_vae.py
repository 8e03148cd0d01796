# %% [markdown]
# # 10 · Variational autoencoder
#
# > **Explain each picture by a few hidden numbers. Nobody can work out which ones, so a second network
# > guesses them, and one bound trains both.**
#
# | | |
# |---|---|
# | You will build | a latent variable whose true posterior you can see beside its guess; a convolutional VAE that writes the letter you ask for, in a style you choose; bounds that tighten; an alarm for unknown digits |
# | You need to know | lesson 02 (EM and its lower bound, ROC-AUC); normal densities; convolutions; the chain rule |
# | Time on two CPU cores | three minutes to run, four hours to read and to solve; a minute on a GPU |

# %%
import math
import time
from itertools import pairwise

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import genmap
from genmap import board, data, features, metrics, plot, progress, selfcheck, taxonomy

# %%
device = genmap.device()

# %%
S = genmap.settings(
    # smoke, quick, full
    fit=(20, 300, 1_000),
    noise=(200, 20_000, 200_000),
    line=(20, 1_500, 5_000),
    ks=((1, 10), (1, 2, 5, 10, 30, 100, 300, 1_000), (1, 2, 5, 10, 30, 100, 300, 1_000, 3_000)),
    repeats=(20, 2_000, 5_000),
    steps=(6, 2_500, 20_000),
    batch=(16, 64, 256),
    width=(8, 32, 96),
    latent=(16, 16, 24),
    digit_steps=(6, 600, 3_000),
    betas=((0.25, 4.0), (0.1, 0.3, 1.0, 3.0, 10.0), (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)),
    left_out=((1, 8), range(10), range(10)),
    draws=(72, 2_160, 2_160),
    bound=(20, 100, 1_000),
)
print(f"{genmap.setting()} on {device}")


# %%
def noise(*shape, seed=None, generator=None):
    """Standard normal numbers on the device, from a seed or a generator of the CPU:
    the same on any device.
    """
    generator = generator or torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(device)


# %% [markdown]
# ## You are here

# %% tags=["demo"]
taxonomy.figure("vae")
plt.show()

# %% [markdown]
# Bucket 2: there is a density, and it is not tractable. We train on a lower bound of it.
#
# ## The compromise
#
# The mixture of lesson 02 had one hidden label with $K$ values, and summing over it was easy. Give the hidden
# part a few *real* numbers $z$, and let a network turn them into a picture: now every $z$ is a component of
# its own, and the sum is an integral that nobody can take. The VAE gives up the exact likelihood. It gets a
# model with endlessly many components, samples in one pass, and a space of codes in which one can walk.
#
# | | |
# |---|---|
# | What is modelled? | $x$ together with hidden numbers $z$, the *latent*: $p(x, z) = p(z)\,p_\theta(x \mid z)$ |
# | Is the density explicit? | yes, but only a lower bound of it is cheap: the ELBO (section 2) |
# | Is sampling one-shot or iterative? | one-shot: draw $z$, run the decoder once |
# | What conditions it? | the label, given to both networks; or any direction in the space of $z$ |
# | How is it evaluated, and how does that fail? | held-out bound in nats: it may rise while the latent is unused; and averages look blurred |
#
# Kingma and Welling (December 2013) and, a month later, Rezende, Mohamed and Wierstra (January 2014) found
# the same trick: draw the hidden numbers as a smooth function of noise, and the gradient goes through.
# Before, one had to fit a posterior for each example anew, or live with gradients too noisy to use. Latent
# diffusion models still begin with an autoencoder trained this way.

# %% [markdown]
# ## 1 · One hidden number, and a truth that can be drawn
#
# Let $z$ be one normal number and $x$ another, which depends on it:
#
# $$p(z) = \mathcal N(z;\, 0, 1),\qquad p(x \mid z) = \mathcal N\big(x;\, f(z), s^2\big),\qquad f(z) = z^2 - 1,\quad s = 0.4 .$$
#
# $p(z)$ is the *prior*. Somebody shows us $x$: which $z$ made it? Bayes' rule answers with the *posterior*
# $p(z \mid x) = p(x, z) / p(x)$, and the trouble is the denominator, $p(x) = \int p(x, z)\,dz$. With one
# hidden number a fine grid takes this integral. With sixteen, a grid of 100 points a side would have
# $10^{32}$.

# %%
S_NOISE = 0.4


def log_normal(x, mu, log_var):
    """log N(x; mu, exp(log_var)) in nats, elementwise."""
    return -0.5 * ((x - mu) ** 2 * (-log_var).exp() + log_var + math.log(2 * math.pi))


def log_joint(x, z):
    """log p(x, z) in nats for the toy: broadcast x and z."""
    likelihood = log_normal(x, z**2 - 1, torch.full_like(z, 2 * math.log(S_NOISE)))
    return log_normal(z, 0.0, torch.zeros_like(z)) + likelihood


z_grid = torch.linspace(-4, 4, 4001, dtype=torch.float64)


def posterior(x):
    """The true posterior of the toy on z_grid, (4001,), and log p(x) in nats."""
    terms = log_joint(torch.tensor(x, dtype=torch.float64), z_grid) + math.log(8 / 4000)
    log_p = torch.logsumexp(terms, dim=0)
    return (terms - log_p).exp() / (8 / 4000), log_p


# %% tags=["demo"]
SHOWN = (-1.2, 0.0, 1.5)
fig, axes = plot.figure(1, 3, height=2.6)
for ax, x in zip(axes, SHOWN, strict=True):
    density, log_p = posterior(x)
    ax.fill_between(z_grid, density, color=plot.COLOURS.sky, alpha=0.5)
    name, nats = (f"{v}".replace("-", "−") for v in (f"x = {x:g}", f"$z$;  log p(x) = {log_p:.2f}"))
    ax.set(title=name, xlabel=nats, xlim=(-3, 3))
axes[0].set_ylabel("$p(z \\mid x)$")
axes[0].set_ylim(0, 1.25)
plt.show()

# %% [markdown]
# A low $x$ can only come from a $z$ near 0. A high one comes from either side, and the posterior has two
# modes.
#
# ## 2 · The bound
#
# Take any density $q(z)$ that we can draw from. The same two lines as in lesson 02, with an integral for the
# sum:
#
# $$\log p(x) = \underbrace{\mathbb E_{q}\big[\log p(x, z) - \log q(z)\big]}_{\text{ELBO}} + \mathrm{KL}\big(q(z)\,\|\,p(z \mid x)\big) .$$
#
# A KL divergence is never negative, so the first term is a lower bound of $\log p(x)$, the *evidence*: hence
# *evidence lower bound*, ELBO, and it is the higher the better $q$ matches the posterior. Nothing in it needs
# $p(x)$. Written with the prior it has the two terms that every VAE prints:
#
# $$\text{ELBO} = \underbrace{\mathbb E_{q}\big[\log p(x \mid z)\big]}_{\text{reconstruction}} - \underbrace{\mathrm{KL}\big(q(z)\,\|\,p(z)\big)}_{\text{rate}} .$$
#
# We let $q$ be normal with mean $\mu$ and variance $\sigma^2$ in each coordinate. Then the second term has a
# closed form, in nats:
#
# $$\mathrm{KL}\big(\mathcal N(\mu, \sigma^2)\,\|\,\mathcal N(0, 1)\big) = \tfrac12\big(\mu^2 + \sigma^2 - 1 - \log \sigma^2\big) .$$
#
# The network will put out $\log\sigma^2$, which may be any number.


# %% build="kl-and-draw"
def kl_to_prior(mu, log_var):
    """KL(N(mu, exp(log_var)) || N(0, 1)) of each coordinate in nats: same shape as mu."""
    ### BEGIN SOLUTION
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var)
    ### END SOLUTION


def reparameterise(mu, log_var, eps):
    """z = mu + sigma eps, with eps from N(0, 1): a draw from q, and smooth in mu and log_var."""
    ### BEGIN SOLUTION
    return mu + (0.5 * log_var).exp() * eps
    ### END SOLUTION


# %% check="kl-and-draw"
got = kl_to_prior(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, math.log(4.0)]))
assert torch.allclose(got, torch.tensor([0, 0.5, 1.5 - math.log(2.0)])), (
    f"N(0, 1) is no distance away, N(1, 1) half a nat, N(0, 4) 0.807 nats; not {got.tolist()}"
)
got = reparameterise(torch.ones(2), torch.full((2,), math.log(4.0)), torch.tensor([1.0, -1.0]))
assert torch.allclose(got, torch.tensor([3.0, -1.0])), f"sigma = 2: 1 and -1 of it from 1, not {got.tolist()}"


# %% [markdown]
# The second function is the *reparameterisation*. A draw from $\mathcal N(\mu, \sigma^2)$ is a fixed noise
# $\varepsilon$, shifted and stretched. So the expectation is over $\varepsilon$, which does not depend on
# $\mu$ and $\sigma$, and the gradient may go inside. Section 3 says what that is worth. First we climb the
# bound for one $x$ at a time.


# %%
def fit_q(x, steps, mu=1.0):
    """Climb the ELBO of the toy at one x, with 5,000 fixed values of the noise: mu, log_var, ELBO in nats."""
    q = torch.tensor([mu, -3.0], dtype=torch.float64, requires_grad=True)
    eps = torch.distributions.Normal(0, 1).icdf((torch.arange(5000) + 0.5).double() / 5000)
    optimiser = torch.optim.Adam([q], lr=0.05)
    for _ in range(steps):
        z = reparameterise(q[0], q[1], eps)
        elbo = (log_joint(x, z) - log_normal(z, q[0], q[1])).mean()
        optimiser.zero_grad()
        (-elbo).backward()
        optimiser.step()
    return *q.detach(), elbo.detach()


def kl_on_grid(mu, log_var, density):
    """KL(q || posterior) in nats, by the sum over z_grid."""
    log_q = log_normal(z_grid, mu, log_var)
    return (log_q.exp() * (log_q - density.clamp(min=1e-300).log())).sum() * 8 / 4000


# %% tags=["demo"]
fig, axes = plot.figure(1, 3, height=2.9)
for ax, x in zip(axes, SHOWN, strict=True):
    density, log_p = posterior(x)
    mu, log_var, elbo = fit_q(x, S.fit)
    gap = kl_on_grid(mu, log_var, density)
    print(f"x = {x:4}: ELBO {elbo:.3f} + KL {gap:.3f} = {elbo + gap:.3f}; log p(x) = {log_p:.3f} nats")
    ax.fill_between(z_grid, density, color=plot.COLOURS.sky, alpha=0.5, label="$p(z \\mid x)$")
    ax.plot(z_grid, log_normal(z_grid, mu, log_var).exp(), color=plot.COLOURS.vermilion, label="$q(z)$")
    ax.set(title=f"gap {gap:.2f} nats", xlabel="$z$", xlim=(-3, 3), xticks=[-2, 0, 2])
axes[0].legend(loc="upper left")
axes[0].set_ylim(0, 1.25)
plt.show()

# %% [markdown]
# The identity holds, and the picture shows what the gap is. Where the posterior is one lump, a normal $q$
# fits and the bound nearly touches. Where it has two modes, $q$ takes *one* of them: to put mass where the
# posterior has none costs more than to miss a mode. Half the mass is missing, and the gap is close to
# $\log 2 = 0.69$ nats.

# %% [markdown]
# ## 3 · Two gradients for one expectation
#
# We want $\nabla_\mu \mathbb E_{q}[h(z)]$ from samples, for an $h$ without $\mu$ in it. (The ELBO has $\mu$
# in its $-\log q(z)$ as well, but the mean of that is the entropy of $q$, which does not depend on $\mu$.)
# There are two ways:
#
# $$\underbrace{\mathbb E_{\varepsilon}\big[\nabla_\mu\, h(\mu + \sigma\varepsilon)\big]}_{\text{reparameterised}} \;=\;
# \underbrace{\mathbb E_{q}\big[h(z)\, \nabla_\mu \log q(z)\big]}_{\text{score function}},\qquad \nabla_\mu \log q(z) = \frac{\varepsilon}{\sigma} .$$
#
# The right one needs only the *value* of $h$. It works for discrete $z$, too, where nothing is smooth. The
# left one uses the *slope*. Both have the right mean. To compare their variance we take a case where the
# gradient is known: $D$ hidden numbers, each seen with noise of variance ½, so that $\log p(x, z)$ is
# quadratic and the gradient of the ELBO is $2(x - \mu) - \mu$.


# %%
def value(x, z):
    """log p(x, z) up to a constant, each coordinate of z seen with noise of variance 1/2: (n, D) -> (n,)."""
    return -0.5 * z.square().sum(dim=1) - (x - z).square().sum(dim=1)


def gradient_samples(x, mu, sigma, eps):
    """Samples of d ELBO / d mu by slope and by score: x, mu (D,), eps (n, D) -> two of (n, D)."""
    z = (mu + sigma * eps).requires_grad_()
    slope = torch.autograd.grad(value(x, z).sum(), z)[0]  # dz/dmu = 1; the entropy of q has no mu
    log_q = -0.5 * eps.square().sum(dim=1) - x.shape[0] * math.log(sigma)
    h = value(x, z.detach()) - log_q
    return slope, h[:, None] * eps / sigma


# %% tags=["demo"]
sizes, spread = (1, 2, 4, 8, 16, 32, 64), []
for D in sizes:
    x, mu, sigma = torch.ones(D), torch.full((D,), 0.5), 0.5
    eps = torch.randn(S.noise, D, generator=torch.Generator().manual_seed(D))
    slope, score = gradient_samples(x, mu, sigma, eps)
    h = score * sigma / eps  # the value again, to take its mean off
    centred = (h - h.mean(dim=0)) * eps / sigma
    spread.append([g[:, 0].var().item() for g in (slope, score, centred)])
    if D in (1, 64):
        means = [g[:, 0].mean().item() for g in (slope, score, centred)]
        print(f"D = {D:2}: means {np.round(means, 2)}, exact 0.5; variances {np.round(spread[-1], 1)}")

# %% tags=["demo"]
fig, ax = plot.figure(height=3.0)
names = "reparameterised", "score function", "score function, mean taken off"
colours = plot.COLOURS.blue, plot.COLOURS.vermilion, plot.COLOURS.orange
for values, name, colour in zip(np.array(spread).T, names, colours, strict=True):
    ax.plot(sizes, values, "o-", color=colour, label=name)
ax.set(xscale="log", yscale="log", xlabel="hidden numbers $D$", ylabel="variance of one sample")
ax.set(title="The price of not using the slope", xticks=sizes, xticklabels=sizes, ylim=(1, None))
ax.minorticks_off()
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# The slope knows which coordinate it belongs to: its variance stays where it is. The score function
# multiplies one coordinate's noise with the value of *all* coordinates, so each further one adds to the
# noise. Taking the mean off helps and does not cure it. To bring a variance of thousands down to that of one
# reparameterised sample takes thousands of samples. (At $D = 64$ even the mean over all draws is still far
# from the exact 0.5.) **That factor is why VAEs train.**

# %% [markdown]
# ## 4 · A network that guesses: the encoder
#
# Fitting $q$ for each $x$ anew is slow. Let a network do it for all: the *encoder* maps $x$ to $\mu_\phi(x)$
# and $\log \sigma^2_\phi(x)$. The *decoder* $p_\theta(x \mid z)$ is learned as well. Both climb the same
# bound, averaged over the data.
#
# First in the plane, with one hidden number, so that everything can still be checked on a grid. The data lie
# along a curve that we know: $x = (1.2\,t, \sin 2t) + 0.15\,\varepsilon$ with $t$ normal.


# %%
def curve(t):
    """The curve's point for each t: (n,) -> (n, 2)."""
    return torch.stack([1.2 * t, (2 * t).sin()], dim=1)


def curve_sample(n, seed):
    """n noisy points of the curve, (n, 2)."""
    t = noise(n, seed=seed)
    return curve(t) + 0.15 * noise(n, 2, seed=seed + 1)


def mlp(*sizes):
    """Linear layers with SiLU between them."""
    layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.SiLU())]
    return nn.Sequential(*layers[:-1])


# %% build="elbo"
class LineVAE(nn.Module):
    """One hidden number for a point of the plane, with a learned noise."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = mlp(2, 64, 64, 2), mlp(1, 64, 64, 2)
        self.log_s2 = nn.Parameter(torch.tensor(-2.0))

    def elbo(self, x, eps):
        """Reconstruction and KL in nats: x (N, 2), eps (N, 1) -> two of (N,)."""
        ### BEGIN SOLUTION
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        z = reparameterise(mu, log_var, eps)
        return log_normal(x, self.decoder(z), self.log_s2).sum(dim=1), kl_to_prior(mu, log_var).sum(dim=1)
        ### END SOLUTION


# %% check="elbo"
fresh, four = LineVAE(), curve_sample(4, seed=1)
reconstruction, kl = fresh.elbo(four, torch.zeros(4, 1))
assert reconstruction.shape == kl.shape == (4,), "a number for each point: a sum over its coordinates"
mu, log_var = fresh.encoder(four).chunk(2, dim=1)
assert torch.allclose(reconstruction, log_normal(four, fresh.decoder(mu), fresh.log_s2).sum(dim=1)), (
    "with eps = 0 the draw is the mean, and the first part is log p(x | z) there, noise s^2 and all"
)
assert torch.allclose(kl, kl_to_prior(mu, log_var).sum(dim=1)), "the second part is what q costs"


# %% tags=["demo"]
torch.manual_seed(0)
line_vae = LineVAE().to(device)
optimiser = torch.optim.AdamW(line_vae.parameters(), lr=1e-2, weight_decay=0)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, S.line)
points, g, terms = curve_sample(10_000, seed=1), torch.Generator().manual_seed(2), []
for _ in progress.track(range(S.line), title="line"):
    batch = points[torch.randint(len(points), (128,), generator=g).to(device)]
    reconstruction, kl = line_vae.elbo(batch, noise(128, 1, generator=g))
    optimiser.zero_grad()
    (kl - reconstruction).mean().backward()
    optimiser.step()
    schedule.step()
    terms.append(torch.stack([reconstruction.mean(), -kl.mean(), (reconstruction - kl).mean()]).detach())
terms = torch.stack(terms).cpu()


# %% [markdown]
# With one hidden number the decoder's $\log p(x)$ can be summed on a grid, and so can the truth's. Three
# figures should then stand in one order: ELBO below the model's $\log p(x)$, and that, on average over
# held-out points, below the truth's.


# %%
def log_p_by_grid(x, points, log_s2, z):
    """log p(x) and log p(z | x) for a decoder with points (G, 2) at z (G,): (N, 2) -> (N,), (N, G)."""
    joint = log_normal(x[:, None], points, log_s2).sum(dim=2) + log_normal(z, 0.0, torch.zeros_like(z))
    joint = joint + (z[1] - z[0]).log()
    log_p = torch.logsumexp(joint, dim=1)
    return log_p, joint - log_p[:, None]


# %% tags=["demo"]
t = torch.linspace(-4.5, 4.5, 2001, device=device)
held = curve_sample(500, seed=5)
with torch.no_grad():
    reached = line_vae.decoder(t[:, None])
    log_p, log_post = log_p_by_grid(held, reached, line_vae.log_s2, t)
    truth, _ = log_p_by_grid(held, curve(t), torch.tensor(2 * math.log(0.15), device=device), t)
    reconstruction, kl = line_vae.elbo(held.repeat(20, 1), noise(10_000, 1, seed=6))
elbo = (reconstruction - kl).mean()
print(f"held out: ELBO {elbo:.3f} <= model {log_p.mean():.3f} <= truth {truth.mean():.3f} nats")
print(f"learned noise {(0.5 * line_vae.log_s2).exp():.3f}, true noise 0.15")

# %% tags=["demo"]
# long: one figure of three panels
fig, axes = plot.figure(1, 3, height=3.0)
names = "reconstruction", "−KL", "ELBO"
colours = plot.COLOURS.sky, plot.COLOURS.orange, plot.COLOURS.vermilion
for values, name, colour in zip(terms.T, names, colours, strict=True):
    axes[0].plot(values, color=colour, label=name, lw=1)
axes[0].axhline(truth.mean().item(), color=plot.INK, lw=1)
axes[0].set(title="The ELBO's terms", xlabel="step", ylabel="nats", ylim=(-5, 2.5))
axes[0].legend(loc="lower right", fontsize=9.5, ncols=2)
axes[1].scatter(*points[:1500].T.cpu(), s=3, color=plot.COLOURS.grey, alpha=0.3)
inner = t.abs() < 2.6
axes[1].plot(*reached[inner].T.cpu(), color=plot.COLOURS.vermilion)
axes[1].set(title="The decoder's curve", xlim=(-3.6, 3.6), ylim=(-1.7, 1.7))
chosen = torch.tensor([[0.0, 0.0], [0.95, 1.05], [1.9, -0.3]], device=device)
with torch.no_grad():
    _, log_post = log_p_by_grid(chosen, reached, line_vae.log_s2, t)
    mu, log_var = line_vae.encoder(chosen).chunk(2, dim=1)
for i, colour in enumerate((plot.COLOURS.blue, plot.COLOURS.green, plot.COLOURS.purple)):
    axes[1].plot(*chosen[i].cpu(), "o", color=colour, ms=9, mec="white")
    axes[2].fill_between(t.cpu(), (log_post[i].exp() / (t[1] - t[0])).cpu(), color=colour, alpha=0.35)
    axes[2].plot(t.cpu(), log_normal(t, mu[i], log_var[i]).exp().cpu(), color=colour, lw=1.8)
axes[2].set(title="Posterior, and q (lines)", xlabel="$z$", xlim=(-2.6, 2.6))
plt.show()

# %% [markdown]
# The decoder has laid its line along the data, and its noise is still too large, 0.20 in the place of 0.15:
# where the line is not quite right, noise has to explain the rest. On the right, filled: the true posterior
# of three points under the learned decoder; lines: what the encoder says. It never saw a posterior, and it
# hits.

# %% [markdown]
# ## 5 · A tighter bound: IWAE
#
# One draw of $z$ gives $w = p(x, z) / q(z)$, whose mean is $p(x)$ exactly. The ELBO is $\mathbb E[\log w]$,
# and the logarithm of a noisy number is too low on average. So average *first*, over $k$ draws, as in the
# *importance weighted autoencoder*, IWAE (Burda, Grosse and Salakhutdinov, 2015):
#
# $$\mathcal L_k = \mathbb E_{z_1, \dots, z_k \sim q}\Big[\log \frac1k \sum_{i=1}^k \frac{p(x, z_i)}{q(z_i)}\Big],\qquad
# \text{ELBO} = \mathcal L_1 \le \mathcal L_2 \le \dots \le \log p(x) .$$


# %% build="importance-bound"
def iwae(log_w):
    """log of the mean of the weights, in nats: log_w (k, N), k draws of each x -> (N,)."""
    ### BEGIN SOLUTION
    return torch.logsumexp(log_w, dim=0) - math.log(len(log_w))
    ### END SOLUTION


# %% check="importance-bound"
got = iwae(torch.tensor([[0.0, -1_000.0], [math.log(3.0), -1_000.0]]))
assert torch.allclose(got, torch.tensor([math.log(2.0), -1_000.0])), (
    f"weights 1 and 3 have the mean 2; weights of exp(-1000) have it in log space; not {got.tolist()}"
)


# %% [markdown]
# To see it tighten we need $\log p(x)$. With a *linear* decoder, $x = Az + s\varepsilon$, it is known: $x$ is
# normal with covariance $AA^\top + s^2 I$. The posterior is normal, too, with covariance
# $\Sigma = (I + A^\top A / s^2)^{-1}$ and mean $\Sigma A^\top x / s^2$. We spoil it on purpose: $q$ ignores
# the correlations, as our encoders do; or is shifted besides; or has the right mean and twice the posterior's
# deviation in each coordinate.

# %%
A = torch.tensor([[1.0, 0.5], [0.8, 1.0], [0.2, 0.9]], dtype=torch.float64)
S2 = 0.25
x_linear = torch.tensor([1.0, 0.3, -0.6], dtype=torch.float64)
exact = torch.distributions.MultivariateNormal(
    torch.zeros(3, dtype=torch.float64), A @ A.T + S2 * torch.eye(3, dtype=torch.float64)
).log_prob(x_linear)
precision = torch.eye(2, dtype=torch.float64) + A.T @ A / S2
best_mean = torch.linalg.solve(precision, A.T @ x_linear / S2)
best_log_var = -precision.diagonal().log()  # the best normal without correlations


def linear_log_w(mu, log_var, eps):
    """log p(x, z) - log q(z) in nats of the linear model at x_linear: eps (..., 2) -> (...)."""
    z = reparameterise(mu, log_var, eps)
    log_p_x = log_normal(x_linear, z @ A.T, torch.full_like(x_linear, math.log(S2))).sum(dim=-1)
    return log_p_x + (log_normal(z, 0.0, torch.zeros_like(z)) - log_normal(z, mu, log_var)).sum(dim=-1)


# %% tags=["demo"]
kinds = {
    "no correlations": (best_mean, best_log_var),
    "shifted, too": (best_mean + 0.5, best_log_var),
    "twice as wide": (best_mean, torch.linalg.inv(precision).diagonal().log() + math.log(4)),
}
fig, axes = plot.figure(1, 2, height=3.1)
for (name, (mu, log_var)), colour in zip(kinds.items(), plot.COLOURS, strict=False):
    g, bounds = torch.Generator().manual_seed(3), []
    for k in S.ks:
        eps = torch.randn(k, S.repeats, 2, generator=g, dtype=torch.float64)
        bounds.append(iwae(linear_log_w(mu, log_var, eps)).mean().item())
    axes[0].plot(S.ks, bounds, "o-", color=colour, label=name)
    axes[1].plot(S.ks, [exact.item() - b for b in bounds], "o-", color=colour)
    print(f"{name:16} ELBO {bounds[0]:.3f}, k = {S.ks[-1]}: {bounds[-1]:.4f}, exact {exact:.4f} nats")
axes[0].axhline(exact.item(), color=plot.INK, lw=1)
axes[0].set(xscale="log", xlabel="draws $k$", ylabel="nats", title="The bound rises to log p(x)")
axes[0].legend(loc="lower right", fontsize=9.5)
axes[1].set(xscale="log", yscale="log", xlabel="draws $k$", title="The gap, in nats")
plt.show()

# %% [markdown]
# Every $q$ comes close, and the order changes on the way. The wide $q$ has the worst ELBO and the smallest
# gap in the end: its weights cannot grow without limit, and its gap falls like $1/k$. A $q$ that is narrower
# than the posterior misses its tails, and the rare draw from there has a huge weight; it needs more draws for
# the same gain. The bound needs no other network, so it is also the fair way to *measure* a VAE that was
# trained on the ELBO. We use it so below.

# %% [markdown]
# ## 6 · Letters: a convolutional, conditional VAE
#
# Now 16 × 16 glyphs: 36 letters and digits in twelve styles. The label $c$ goes to *both* networks. The
# decoder then need not find out from $z$ which letter it is, and $z$ is free for what the label leaves open:
# weight, slant, serifs, place.
#
# For a pixel with ink $x_d \in [0, 1]$ the decoder gives a logit, and we use the cross-entropy
#
# $$\log p(x \mid z, c) = \sum_d x_d \log p_d + (1 - x_d) \log (1 - p_d),\qquad p_d = \mathrm{sigmoid}(\text{logit}_d).$$
#
# For pixels that are 0 or 1 it is the log-likelihood of a coin. For grey ones it is the average over glyphs
# whose pixels were thrown with probability $x_d$; the nats below are those of such black-and-white glyphs.

# %% tags=["demo"]
glyphs = data.glyphs(16)


def on_device(part):
    """Images (N, 1, 16, 16), classes (N,) and styles (N,) on the device."""
    return tuple(torch.as_tensor(values, device=device) for values in (part.x, part.y, part.style))


x_train, c_train, style_train = on_device(glyphs.train)
x_test, c_test, style_test = on_device(glyphs.test)


# %%
CLASSES = 36


class ConditionalVAE(nn.Module):
    """q(z | x, c) and p(x | z, c) for 16 x 16 images: two strided convolutions down, two up."""

    def __init__(self, width, latent, classes=CLASSES):
        super().__init__()
        flat = 32 * width  # 2 width maps of 4 x 4
        self.label = nn.Embedding(classes, 64)
        down = nn.Conv2d(1, width, 4, 2, 1), nn.SiLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.SiLU()
        self.down = nn.Sequential(*down, nn.Flatten())
        self.to_q = mlp(flat + 64, 128, 2 * latent)
        self.from_z = nn.Sequential(mlp(latent + 64, 256, flat), nn.SiLU(), nn.Unflatten(1, (-1, 4, 4)))
        up = nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1)
        self.up = nn.Sequential(*up)

    def encode(self, x, c):
        """mu and log_var of q(z | x, c): (N, 1, 16, 16), (N,) -> two of (N, latent)."""
        return self.to_q(torch.cat([self.down(x), self.label(c)], dim=1)).chunk(2, dim=1)

    def decode(self, z, c):
        """Logits of the pixels: (N, latent), (N,) -> (N, 1, 16, 16)."""
        return self.up(self.from_z(torch.cat([z, self.label(c)], dim=1)))


def log_bernoulli(x, logits):
    """log p(x | z) in nats, summed over all but the first dimension: (N, ...) -> (N,)."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(dim=1)


# %% [markdown]
# A training step is the ELBO in seven lines. Note the *sums*: over pixels and over coordinates of $z$.
# Whoever takes the mean over 256 pixels makes the KL term 256 times as heavy; section 11 shows what comes of
# it.


# %% build="training-step"
def training_step(net, optimiser, x, c, eps, beta=1.0):
    """One step up the ELBO (of beta-VAE, if beta is not 1): reconstruction and KL in nats, on the device."""
    ### BEGIN SOLUTION
    mu, log_var = net.encode(x, c)
    logits = net.decode(reparameterise(mu, log_var, eps), c)
    reconstruction = log_bernoulli(x, logits).mean()
    kl = kl_to_prior(mu, log_var).sum(dim=1).mean()
    optimiser.zero_grad()
    (beta * kl - reconstruction).backward()
    optimiser.step()
    return reconstruction.detach(), kl.detach()
    ### END SOLUTION


# %% check="training-step"
small, few, e_few = ConditionalVAE(4, 2).to(device), (x_train[:8], c_train[:8]), noise(8, 2, seed=1)
descent, elbos = torch.optim.SGD(small.parameters(), lr=1e-5), []
for _ in range(2):
    reconstruction, kl = training_step(small, descent, *few, e_few)
    elbos.append((reconstruction - kl).item())
assert reconstruction.shape == () and not reconstruction.requires_grad, "two numbers of the batch, detached"
assert elbos[1] > elbos[0], f"a small step, with the same noise, raises the ELBO; not so {elbos}"


# %%
def adam(net, rate):
    """AdamW, all parameters in one kernel where PyTorch can."""
    return torch.optim.AdamW(net.parameters(), lr=rate, fused=device.type in ("cpu", "cuda"))


# %% tags=["demo"]
torch.manual_seed(0)
net = ConditionalVAE(S.width, S.latent).to(device)
n_parameters = sum(p.numel() for p in net.parameters())
print(f"{n_parameters:,} parameters, {len(x_train):,} glyphs")
word = torch.tensor([data.CAPITALS_AND_DIGITS.index(ch) for ch in "AUTOENCODER42"], device=device)
z_word = noise(1, S.latent, seed=4).expand(len(word), -1)  # one style for the whole word
z_free = noise(13, S.latent, seed=5)

# %% tags=["demo"]
optimiser = adam(net, 4e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, S.steps)
g, loss = torch.Generator().manual_seed(6), progress.Curve("conditional VAE on glyphs", "step", "ELBO, nats")
snapshots, terms, began = {}, [], time.perf_counter()
watch = {S.steps // 50, S.steps // 12, S.steps // 4, S.steps - 1}
for step in progress.track(range(S.steps), title="glyphs"):
    rows = torch.randint(len(x_train), (S.batch,), generator=g).to(device)
    eps = noise(S.batch, S.latent, generator=g)
    reconstruction, kl = training_step(net, optimiser, x_train[rows], c_train[rows], eps)
    schedule.step()
    terms.append(torch.stack([reconstruction, kl]))
    loss.add(step, reconstruction - kl)
    if step in watch:
        with torch.no_grad():
            snapshots[step + 1] = net.decode(z_free, word).sigmoid().cpu()
loss.close()
train_seconds = time.perf_counter() - began
terms = torch.stack(terms).cpu()
print(f"{train_seconds:.0f} s")

# %% tags=["demo"]
fig, axes = plot.figure(len(snapshots), 1, height=0.92)
for ax, (step, drawn) in zip(axes, snapshots.items(), strict=True):
    plot.images(drawn, columns=13, ax=ax, title=f"step {step:,}")
plt.show()

# %% [markdown]
# First an average of each letter, then letters, then styles. The two terms of the ELBO tell the same story:


# %% tags=["demo"]
def smooth(values, width=25):
    """Means of so many neighbours, so that the curve can be read."""
    n = len(values) // width * width
    return (values[:n].reshape(-1, width).mean(dim=1), np.arange(n // width) * width) if n else (values, [0])


fig, axes = plot.figure(1, 2, height=2.8)
smoothing = min(25, S.steps)
for ax, values, name, colour in zip(
    axes, terms.T, ("Reconstruction", "KL (rate)"), (plot.COLOURS.blue, plot.COLOURS.orange), strict=True
):
    curve_values, at = smooth(values, smoothing)
    ax.plot(at, curve_values, color=colour)
    ax.set(title=f"{name}, nats", xlabel="step")
axes[0].set_ylim(-80, None)
plt.show()

# %% [markdown]
# After a first shock, in which the codes are wild and then fall silent, the KL *rises* while the model
# learns: it is the price of what $z$ carries about the glyph (at most so many nats), and they are worth
# paying for as long as each buys more than a nat of reconstruction. Now held-out glyphs: can it say them
# again, and can it write on demand?

# %% tags=["demo"]
with torch.no_grad():
    some = torch.randperm(len(x_test), generator=torch.Generator().manual_seed(7))[:13].to(device)
    mu, log_var = net.encode(x_test[some], c_test[some])
    again = net.decode(mu, c_test[some]).sigmoid()
    free, same = net.decode(z_free, word).sigmoid(), net.decode(z_word, word).sigmoid()
shown = {
    "Held-out glyphs": x_test[some],
    "The same after the bottleneck": again,
    "Asked for, each with a z of its own": free,
    "Asked for, all with one z: one style": same,
}
fig, axes = plot.figure(4, 1, height=0.92)
for ax, (title, tiles) in zip(axes, shown.items(), strict=True):
    plot.images(tiles, columns=13, ax=ax, title=title)
plt.show()

# %% [markdown]
# The last row is a small font. Nobody told the model that styles exist; the same $z$ under another label is
# the same hand.

# %% tags=["demo"]
judge = features.glyphs(16)
wanted = torch.arange(S.draws) % CLASSES
with torch.no_grad():
    generated = net.decode(noise(S.draws, S.latent, seed=8), wanted.to(device)).sigmoid().cpu()
looks = judge.compare(generated, wanted, glyphs.test.x, glyphs.test.y)
print(f"class accuracy {looks['class_accuracy']:.3f} (real glyphs {judge.accuracy:.3f})", end=", ")
print(f"diversity {looks['diversity']:.2f}, precision {looks['precision']:.2f}, recall {looks['recall']:.2f}")


# %%
def log_weights(net, x, c, eps):
    """log p(x, z | c) - log q(z | x, c) in nats, for eps (k, N, latent) -> (k, N)."""
    mu, log_var = net.encode(x, c)
    rows = []
    for e in eps:
        z = reparameterise(mu, log_var, e)
        log_prior_over_q = 0.5 * (e.square() - z.square() + log_var).sum(dim=1)
        rows.append(log_bernoulli(x, net.decode(z, c)) + log_prior_over_q)
    return torch.stack(rows)


# %% tags=["demo"]
with torch.no_grad():
    few = slice(0, 540)
    eps = noise(S.bound, len(x_test[few]), S.latent, seed=9)
    log_w = log_weights(net, x_test[few], c_test[few], eps)
glyph_nats = iwae(log_w).mean().item()
print(f"held out: ELBO {log_w.mean():.2f}, IWAE with {S.bound} draws {glyph_nats:.2f} nats per glyph")

# %% [markdown]
# ## 7 · The space of codes
#
# **Two ways from here to there.** Between the codes $a$ and $b$ lies the straight line $(1-t)\,a + t\,b$. But
# in many dimensions almost all of the prior lies near a shell of radius $\sqrt D$, and the middle of a
# straight line lies inside of it, where the decoder was hardly ever trained. *Spherical* interpolation goes
# along the arc: with $\Omega$ the angle between $a$ and $b$,
#
# $$\mathrm{slerp}(a, b, t) = \frac{\sin\big((1-t)\,\Omega\big)}{\sin\Omega}\,a + \frac{\sin(t\,\Omega)}{\sin\Omega}\,b .$$


# %%
def lerp(a, b, t):
    """The straight line from a (t = 0) to b (t = 1): (D,), (D,), (T,) -> (T, D)."""
    return (1 - t)[:, None] * a + t[:, None] * b


def slerp(a, b, t):
    """The arc from a to b, which must not be parallel: (D,), (D,), (T,) -> (T, D)."""
    angle = torch.acos(F.cosine_similarity(a, b, dim=0))
    return (((1 - t) * angle).sin()[:, None] * a + (t * angle).sin()[:, None] * b) / angle.sin()


# %% tags=["demo"]
t = torch.linspace(0, 1, 13, device=device)
ends = 1.5 * noise(2, S.latent, seed=21)
letter = torch.full((13,), data.CAPITALS_AND_DIGITS.index("R"), device=device)
pairs = noise(200, 2, S.latent, seed=10)
norms = {
    name: torch.stack([walk(a, b, t).norm(dim=1) for a, b in pairs]).mean(dim=0)
    for name, walk in (("straight", lerp), ("spherical", slerp))
}
with torch.no_grad():
    walks = [net.decode(walk(*ends, t), letter).sigmoid() for walk in (lerp, slerp)]
half = norms["straight"][6] / norms["straight"][0], norms["spherical"][6] / norms["spherical"][0]
print(f"length half way, over that at the start: straight {half[0]:.2f}, spherical {half[1]:.2f}")

# %% tags=["demo"]
fig = plt.figure(figsize=(plot.WIDTH, 3.7))
top, middle, below = fig.subplots(3, 1, height_ratios=(1, 1, 2.2))
plot.images(walks[0], columns=13, ax=top, title="The straight line between two codes, label R")
plot.images(walks[1], columns=13, ax=middle, title="The arc")
for (name, values), colour in zip(norms.items(), (plot.COLOURS.vermilion, plot.COLOURS.blue), strict=True):
    below.plot(t.cpu(), values.cpu(), "o-", color=colour, label=name)
below.set(xlabel="$t$", title="Mean length of the code, 200 pairs", ylim=(0, None))
below.legend(loc="lower right", ncols=2)
plt.show()

# %% [markdown]
# Half way along the line a code has lost about three tenths of its length: two independent vectors of equal
# length average to $1/\sqrt2$ of it. The ends of the two walks are draws made 1.5 times as long. Both stay
# letters here, for this decoder is smooth inside the shell and beyond it as well. The difference grows with
# the number of dimensions that are used.
#
# **Arithmetic with attributes.** Take the mean code of all bold training glyphs, less the mean code of all
# light ones. Is this *bold*? Add it to the codes of held-out light glyphs, whatever their letter, and
# measure: the share of ink. The same for *italic*, measured by the slant of the ink.


# %%
def ink(x):
    """The mean ink of each image: (N, 1, H, W) -> (N,)."""
    return x.flatten(1).mean(dim=1)


def slant(x):
    """How far the ink leans to the right: - cov(column, row) / var(row), (N, 1, H, W) -> (N,)."""
    h, w = x.shape[2:]
    mass = x[:, 0] / x.sum(dim=(1, 2, 3))[:, None, None]
    row = torch.arange(h).to(x)[:, None] - (mass.sum(2) * torch.arange(h).to(x)).sum(1)[:, None, None]
    column = torch.arange(w).to(x) - (mass.sum(1) * torch.arange(w).to(x)).sum(1)[:, None, None]
    return -(mass * row * column).sum(dim=(1, 2)) / (mass * row**2).sum(dim=(1, 2))


# %% tags=["demo"]
with torch.no_grad():
    codes = net.encode(x_train, c_train)[0]
    codes_test = net.encode(x_test, c_test)[0]

# %% tags=["demo"]
attributes = {"bold": (style_train // 2 % 2, style_test // 2 % 2, ink)}
attributes["italic"] = (style_train % 2, style_test % 2, slant)
moved = {}
for name, (train_flag, test_flag, measure) in attributes.items():
    direction = codes[train_flag == 1].mean(0) - codes[train_flag == 0].mean(0)
    plain = test_flag == 0
    with torch.no_grad():
        before, after = (
            net.decode(codes_test[plain] + s * direction, c_test[plain]).sigmoid() for s in (0, 1)
        )
    real = [measure(x_test[test_flag == flag]).mean().item() for flag in (0, 1)]
    print(
        f"{name:7} real {real[0]:.3f} -> {real[1]:.3f}; "
        f"moved {measure(before).mean():.3f} -> {measure(after).mean():.3f};",
        end=" ",
    )
    right = (judge(after.cpu()).labels == c_test[plain].cpu().numpy()).mean()
    print(f"still the same letter: {right:.3f}")
    moved[name] = direction

# %% tags=["demo"]
plain = ((style_test % 4) == 0).nonzero()[:, 0]  # neither bold nor italic
some = plain[torch.randperm(len(plain), generator=torch.Generator().manual_seed(3))[:13].to(plain.device)]
steps = {
    "Held-out light, upright glyphs": 0,
    "+ bold": moved["bold"],
    "+ italic": moved["italic"],
    "+ bold + italic": moved["bold"] + moved["italic"],
}
fig, axes = plot.figure(4, 1, height=0.92)
for ax, (title, direction) in zip(axes, steps.items(), strict=True):
    with torch.no_grad():
        tiles = (
            x_test[some]
            if title.startswith("Held")
            else net.decode(codes_test[some] + direction, c_test[some]).sigmoid()
        )
    plot.images(tiles, columns=13, ax=ax, title=title)
plt.show()

# %% [markdown]
# One vector for each attribute serves all 36 letters. The first row is real, the others are decoded: the
# directions were found from means alone.
#
# **A map.** With two hidden numbers the whole space fits on a page. We train a small VAE on the handwritten
# digits of lesson 02, *without* labels: 64 pixels, black or white where the grey is one half or more, two
# hidden layers each way.

# %% tags=["demo"]
digits = data.digits()
y_train, y_val, y_test = (torch.as_tensor(part.y, device=device) for part in digits)
grey_train, grey_val, grey_test = (torch.as_tensor(part.x, device=device).flatten(1) for part in digits)
b_train, b_val, b_test = (x.ge(0.5).float() for x in (grey_train, grey_val, grey_test))


# %%
class DigitVAE(nn.Module):
    """A VAE of 8 x 8 digits without labels: x (N, 64), z (N, latent)."""

    def __init__(self, latent):
        super().__init__()
        self.encoder, self.decoder = mlp(64, 256, 256, 2 * latent), mlp(latent, 256, 256, 64)

    def encode(self, x):
        """mu and log_var: (N, 64) -> two of (N, latent)."""
        return self.encoder(x).chunk(2, dim=1)

    def decode(self, z, x):
        """Logits of the pixels: (N, latent) -> (N, 64). x is not looked at; section 11 changes that."""
        return self.decoder(z)


# %%
def fit_digits(net, x, steps, weight=lambda t: 1.0, free=0.0, seed=0, rate=4e-3):
    """Train on x (N, 64).

    weight(t): of the KL at the share t of training; free: nats a coordinate costs anyway.
    """
    optimiser, g = adam(net, rate), torch.Generator().manual_seed(seed)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    for step in range(steps):
        batch = x[torch.randint(len(x), (128,), generator=g).to(device)]
        mu, log_var = net.encode(batch)
        z = reparameterise(mu, log_var, noise(*mu.shape, generator=g))
        kl = kl_to_prior(mu, log_var).mean(dim=0).clamp(min=free).sum()
        optimiser.zero_grad()
        (weight(step / steps) * kl - log_bernoulli(batch, net.decode(z, batch)).mean()).backward()
        optimiser.step()
        schedule.step()
    return net


# %%
@torch.no_grad()
def digit_log_weights(net, x, k, seed=0):
    """log p(x, z) - log q(z | x) in nats for k draws of each x (N, 64): (k, N)."""
    mu, log_var = net.encode(x)
    eps = noise(k, *mu.shape, seed=seed)
    z = reparameterise(mu, log_var, eps)
    copies = x.expand(k, -1, -1)
    log_x = log_bernoulli(copies.flatten(0, 1), net.decode(z.flatten(0, 1), copies.flatten(0, 1)))
    return log_x.reshape(k, -1) + 0.5 * (eps.square() - z.square() + log_var).sum(dim=2)


@torch.no_grad()
def kl_by_coordinate(net, x):
    """The mean KL of each coordinate of z in nats: (N, 64) -> (latent,)."""
    return kl_to_prior(*net.encode(x)).mean(dim=0)


@torch.no_grad()
def active_units(net, x):
    """Coordinates whose mean moves with x by more than 0.01 in variance (Burda et al., 2015): a number."""
    return int((net.encode(x)[0].var(dim=0) > 0.01).sum())


def new_digit_vae(latent, seed=0, kind=DigitVAE):
    """A fresh network with weights from the seed."""
    torch.manual_seed(seed)
    return kind(latent).to(device)


# %% tags=["demo"]
map_net = fit_digits(new_digit_vae(2), b_train, 2 * S.digit_steps)
nats_map = iwae(digit_log_weights(map_net, b_test, S.bound)).mean()
with torch.no_grad():
    map_train, map_test = map_net.encode(b_train)[0], map_net.encode(b_test)[0]
nearest = y_train[torch.cdist(map_test, map_train).argmin(dim=1)]
map_accuracy = (nearest == y_test).float().mean()
print(
    f"two numbers a digit: {nats_map:.2f} nats; "
    f"the nearest training code has the same class for {map_accuracy:.2f}"
)

# %% tags=["demo"]
TEN = plt.get_cmap("tab10")
side = 15
quantiles = torch.distributions.Normal(0, 1).icdf((torch.arange(side) + 0.5) / side)
lattice = torch.cartesian_prod(quantiles.flip(0), quantiles).flip(1).to(device)  # rows from the top
with torch.no_grad():
    tiles = map_net.decode(lattice, None).sigmoid().reshape(-1, 8, 8)

# %% tags=["demo"]
fig, (left, right) = plot.figure(1, 2, height=4.2)
for c in range(10):
    at = map_train[y_train == c].cpu()
    left.scatter(*at.T, s=9, color=TEN(c), alpha=0.8)
    left.text(
        *at.median(dim=0).values,
        str(c),
        fontsize=14,
        weight="bold",
        ha="center",
        va="center",
        bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": TEN(c), "lw": 1.5},
    )
left.set(title="Codes of training digits, by class", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
left.set(xlabel="$z_1$", ylabel="$z_2$")
plot.images(tiles, columns=side, ax=right, title="What the decoder draws there")
plt.show()

# %% [markdown]
# The model never saw a label; the colours were added afterwards. Digits that look alike became neighbours. On
# the right every tile stands for an equal share of the prior: a walk over the page is a walk through $p(z)$,
# and all of it is inhabited.

# %% [markdown]
# ## 8 · β: how much may the code say?
#
# Weigh the KL with $\beta$ (Higgins and others, 2017). $\beta = 1$ is the bound; more makes codes cheap and
# vague, less makes them rich. Each $\beta$ buys another point on one curve: *rate* (the KL, an upper bound of
# the nats that $z$ carries) against *distortion* (nats that the reconstruction still costs).

# %% tags=["demo"]
beta_nets, rows = {}, []
for beta in progress.track(S.betas, title="beta"):
    beta_nets[beta] = fit_digits(new_digit_vae(8), b_train, S.digit_steps, weight=lambda t, b=beta: b)
    log_w = digit_log_weights(beta_nets[beta], b_test, S.bound)
    rate = kl_by_coordinate(beta_nets[beta], b_test).sum().item()
    rows.append((rate, -(log_w.mean().item() + rate), iwae(log_w).mean().item()))
    units = active_units(beta_nets[beta], b_test)
    print(
        f"β = {beta:4}: rate {rate:5.2f}, distortion {rows[-1][1]:5.2f}, "
        f"{units} of 8 units, IWAE {rows[-1][2]:.2f}"
    )

# %% tags=["demo"]
some = torch.arange(12, device=device) * 7
fig = plt.figure(figsize=(plot.WIDTH, 3.9))
left, right = fig.subplots(1, 2, width_ratios=(1, 1.25))
left.plot(*np.array(rows)[:, :2].T, "o-", color=plot.COLOURS.blue)
for beta, (rate, distortion, _) in zip(S.betas, rows, strict=True):
    left.annotate(f"β = {beta:g}", (rate, distortion), (7, 4), textcoords="offset points", fontsize=10)
left.set(xlabel="rate, nats", ylabel="distortion, nats", title="Rate and distortion")
left.margins(x=0.2, y=0.12)
with torch.no_grad():
    lines = [b_test[some]] + [n.decode(n.encode(b_test[some])[0], None).sigmoid() for n in beta_nets.values()]
plot.images(
    torch.cat(lines).reshape(-1, 8, 8), columns=12, ax=right, title="Held-out digits, and β from low to high"
)
plt.show()

# %% [markdown]
# First row: held-out digits. Below, one row for each β, the lowest first. At a high β the code says nothing
# any more, and every digit comes back as the same average. The best bound on the likelihood is near
# $\beta = 1$, as it should be. Whoever wants faithful codes, as latent diffusion does, takes a much smaller
# one and models $p(z)$ afterwards.

# %% [markdown]
# ## 9 · The unknown digit, again
#
# Section 6 of lesson 02, with the same digits and the same rule: leave a class out, fit, and rank the test
# digits by their surprise. The VAE reads grey pixels, as the mixtures did, and its surprise is $-$ELBO. There
# is a trap. A grey pixel costs nats *even if the decoder is right*: a coin of probability $x_d$ has the
# entropy $H(x_d)$. A digit with many grey pixels looks surprising for no reason. So we also score without it:
#
# $$\text{excess}(x) = \mathrm{KL}\big(q(z \mid x)\,\|\,p(z)\big) + \mathbb E_q\Big[\sum_d \mathrm{KL}\big(x_d \,\|\, p_d\big)\Big] = -\text{ELBO}(x) - \sum_d H(x_d) .$$


# %%
def auc(anomalous, normal):
    """The share of pairs in which the anomaly has the higher score: (A,), (B,) -> a number."""
    return (anomalous[:, None] > normal).double().mean().item()


def own_entropy(x):
    """What the greys cost under a perfect decoder, sum_d H(x_d) in nats: (N, D) -> (N,)."""
    return (torch.special.entr(x) + torch.special.entr(1 - x)).sum(dim=1)


def surprise(net, x, k):
    """-ELBO and the excess over the greys' own entropy, in nats, from k draws: two of (N,)."""
    minus_elbo = -digit_log_weights(net, x, k).mean(dim=0)
    return minus_elbo, minus_elbo - own_entropy(x)


# %% tags=["demo"]
alarms = {}
for c in progress.track(S.left_out, title="left out"):
    alarm_net = fit_digits(new_digit_vae(8), grey_train[y_train != c], S.digit_steps * 2 // 3)
    alarms[c] = [auc(s[y_test == c], s[y_test != c]) for s in surprise(alarm_net, grey_test, S.bound)]
mean_auc = np.mean(list(alarms.values()), axis=0)
earlier = {
    row.model: row.figures["roc_auc"]
    for row in board.published().rows
    if row.lesson == "02_mixtures" and "roc_auc" in row.figures
}
print(f"VAE: −ELBO {mean_auc[0]:.3f}, excess {mean_auc[1]:.3f}")
print("lesson 02:", {name: round(value, 3) for name, value in earlier.items()})

# %% tags=["demo"]
fig, ax = plot.figure(height=3.0)
for i, (name, colour) in enumerate((("−ELBO", plot.COLOURS.sky), ("excess", plot.COLOURS.blue))):
    heights = [row[i] for row in alarms.values()]
    ax.bar(
        np.arange(len(alarms)) + 0.4 * (i - 0.5),
        heights,
        0.36,
        color=colour,
        label=f"VAE, {name}: {mean_auc[i]:.3f}",
    )
for (name, value), style in zip(earlier.items(), (":", "--", "-"), strict=False):
    ax.axhline(value, color=plot.INK, ls=style, lw=1.2, label=f"{name}: {value:.3f}")
ax.set(ylim=(0.5, 1.01), xticks=range(len(alarms)), xticklabels=[str(c) for c in alarms])
ax.set(xlabel="digit left out", ylabel="ROC-AUC")
ax.set_title("How well is a digit noticed that was never seen?", pad=50)
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9.5, columnspacing=1.2)
plt.show()

# %% [markdown]
# Lines: the averages of lesson 02. The plain bound misses the *1*: it listens to the noise. A one is simple,
# with few grey pixels, so its cost is low whether it was seen or not. Without the entropy the ones are found,
# and the eights are not: a blend of threes, fives and nines comes close to an eight. On average the VAE is
# about as good an alarm as naive Bayes, and both mixtures stay ahead, although the excess is the best of six
# scores that were tried on these very digits, which flatters it. **A network that reconstructs well also
# reconstructs strangers**, and its bound says so little about them that this is a poor use of it.

# %% [markdown]
# ## 10 · Play: walk through the codes
#
# *Question: what lies between two classes: a third one, a mixture of both, or nothing?* The sliders set $z$.
# The decoder draws the digit, and the nearest training codes say whom it resembles.


# %% tags=["demo"]
@torch.no_grad()
def draw_place(axes, z1, z2):
    """The digit at z, its place on the map, and the classes of the 25 nearest codes."""
    z = torch.tensor([[z1, z2]], device=device)
    plot.images(map_net.decode(z, None).sigmoid().reshape(1, 8, 8), ax=axes[0])
    axes[1].scatter(*map_train.T.cpu(), s=5, c=[TEN(int(c)) for c in y_train])
    axes[1].plot(z1, z2, "o", ms=13, mfc="none", mec=plot.INK, mew=2.5)
    axes[1].set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    near = y_train[torch.cdist(z, map_train)[0].topk(25, largest=False).indices]
    shares = torch.bincount(near, minlength=10).cpu() / 25
    axes[2].bar(range(10), shares, color=[TEN(c) for c in range(10)])
    axes[2].set(ylim=(0, 1), xticks=range(10), title="its 25 neighbours")


def play(z1, z2):
    """One place for the two sliders."""
    draw_place(plot.figure(1, 3, height=2.7)[1], z1, z2)
    plt.show()


sliders = {
    name: widgets.FloatSlider(0.0, min=-3, max=3, step=0.1, continuous_update=False, description=name)
    for name in ("z1", "z2")
}
controls = widgets.interact(play, **sliders)

# %% tags=["demo"]
centres = torch.stack([map_train[y_train == c].median(dim=0).values for c in range(10)]).cpu()
fig, axes = plot.figure(2, 1, height=1.15)
for ax, (a, b) in zip(axes, ((4, 9), (6, 7)), strict=True):
    way = lerp(centres[a], centres[b], torch.linspace(0, 1, 13)).to(device)
    with torch.no_grad():
        drawn = map_net.decode(way, None).sigmoid().reshape(-1, 8, 8)
    near = [
        int(y_train[d.topk(25, largest=False).indices].mode().values) for d in torch.cdist(way, map_train)
    ]
    plot.images(
        drawn, columns=13, ax=ax, captions=near, title=f"From the middle of the {a} to that of the {b}"
    )
plt.show()

# %% [markdown]
# Under each tile stands the commonest class of its 25 neighbours. The answer is on the tiles: mostly a third
# class, and at each border one or two tiles that are nothing yet. The decoder is smooth, so it must draw
# *something* there; no real digit looks like it.

# %% [markdown]
# ## 11 · What breaks
#
# **Posterior collapse.** The KL is 0 when $q(z \mid x)$ is the prior, whatever $x$: then $z$ says nothing. It
# is a comfortable place. At the start the decoder cannot read $z$, so that every nat of KL is wasted, and the
# encoder learns to be silent; then the decoder learns to do without. The commonest way into it is an innocent
# line: `binary_cross_entropy` with its default, the *mean* over 64 pixels, beside a KL that is summed. That
# makes the KL 64 times as heavy. Two repairs:
#
# - **Warm-up.** The right sums, and the weight of the KL rises from 0 to 1 over the first half of the
#   training. The code is in use before it costs anything.
# - **Free bits** (Kingma and others, 2016). Each coordinate may spend $\lambda$ nats without paying:
#   $\sum_j \max(\lambda, \mathrm{KL}_j)$. Below $\lambda$ there is no gradient towards silence. This holds
#   even under the wrong weight.

# %% tags=["demo"]
plans = {
    "plain": {},
    "mean over pixels": {"weight": lambda t: 64.0},
    "repair 1: sums and warm-up": {"weight": lambda t: min(1.0, 2 * t)},
    "repair 2: ×64, free 0.5 nats": {"weight": lambda t: 64.0, "free": 0.5},
}
broken = {}
for name, plan in progress.track(plans.items(), title="collapse"):
    broken[name] = fit_digits(new_digit_vae(8), b_train, S.digit_steps, **plan)
    kl, units = kl_by_coordinate(broken[name], b_test).sum().item(), active_units(broken[name], b_test)
    nats = iwae(digit_log_weights(broken[name], b_test, S.bound)).mean().item()
    print(f"{name:28} KL {kl:5.2f} nats, {units} of 8 units active, IWAE {nats:6.2f} nats")

# %% tags=["demo"]
fig, axes = plot.figure(1, 2, height=3.4)
colours = plot.COLOURS.grey, plot.COLOURS.vermilion, plot.COLOURS.blue, plot.COLOURS.green
for i, ((name, model), colour) in enumerate(zip(broken.items(), colours, strict=True)):
    spent = kl_by_coordinate(model, b_test).sort(descending=True).values.cpu()
    axes[0].bar(np.arange(8) + 0.2 * (i - 1.5), spent, 0.19, color=colour, label=name)
axes[0].set(title="KL of each coordinate", xlabel="coordinate, the largest first", ylabel="nats")
axes[0].set_ylim(0, 2.3)
axes[0].legend(fontsize=9.5, loc="upper right")
with torch.no_grad():
    lines = [b_test[:12]] + [m.decode(m.encode(b_test[:12])[0], None).sigmoid() for m in broken.values()]
plot.images(torch.cat(lines).reshape(-1, 8, 8), columns=12, ax=axes[1], title="Digits, and what comes back")
plt.show()

# %% [markdown]
# The rows on the right are the held-out digits, then the four models in order. The collapsed one returns the
# same grey average for each. Its ELBO is no error message: the loss falls smoothly to the end. **Print the
# KL.** Free bits under the wrong weight keep the code alive, but it does not even use up the
# $8 \times 0.5 = 4$ nats that are free; the right weight is worth more.
#
# **A decoder that can do without.** There is a second way towards collapse. Let the decoder also see the
# pixels that come *before* the one it predicts, as lesson 03's MADE does. What the neighbours tell, $z$ need
# not. The repair here is to hide a part of these pixels while training (Bowman and others, 2015).


# %%
class ContextVAE(DigitVAE):
    """The decoder also sees all pixels before each one, through masked layers;
    in training a share is hidden.
    """

    def __init__(self, latent, hide=0.0):
        super().__init__(latent)
        self.hide, pixel = hide, torch.arange(1, 65)
        degree = torch.arange(256) % 63 + 1
        self.register_buffer("mask_in", (degree[:, None] >= pixel).float())  # (256, 64)
        self.register_buffer("mask_out", (pixel[:, None] > degree).float())  # (64, 256)
        self.inward, self.outward, self.from_z = (
            nn.Linear(64, 256),
            nn.Linear(256, 64),
            nn.Linear(latent, 256),
        )

    def decode(self, z, x):
        """Logits of each pixel from z and the pixels before it: (N, latent), (N, 64) -> (N, 64)."""
        if self.training and self.hide:
            x = x * (torch.rand(x.shape) >= self.hide).to(x)
        h = F.linear(x, self.inward.weight * self.mask_in, self.inward.bias) + self.from_z(z)
        return F.linear(F.silu(h), self.outward.weight * self.mask_out, self.outward.bias)


# %% tags=["demo"]
context = {"no context": broken["plain"]}
for name, hide in (("context", 0.0), ("context, 70 % hidden", 0.7)):
    model = new_digit_vae(8, kind=lambda latent, h=hide: ContextVAE(latent, h))
    context[name] = fit_digits(model, b_train, S.digit_steps).eval()
for name, model in context.items():
    kl = kl_by_coordinate(model, b_test).sum().item()
    nats = iwae(digit_log_weights(model, b_test, S.bound)).mean().item()
    print(f"{name:22} KL {kl:5.2f} nats, IWAE {nats:6.2f} nats")

# %% [markdown]
# The pixels took over a part of what $z$ had said, without a better bound. (This decoder also has one hidden
# layer where the plain one has two.) With most of them hidden, $z$ gets its work back. The price is a decoder
# that trusts its neighbours less than it could.
#
# **Blur.** Where $z$ leaves something open, the best single answer is the average of all possibilities, and
# an average of sharp edges is a soft one. We measure it: *edge* is the mean difference of neighbouring
# pixels, *grey* the share of pixels between ¼ and ¾.


# %%
def edge(x):
    """The mean absolute difference of neighbouring pixels: (N, 1, H, W) -> a number."""
    across, down = x.diff(dim=3).abs().mean(), x.diff(dim=2).abs().mean()
    return (0.5 * (across + down)).item()


def grey(x):
    """The share of pixels between 1/4 and 3/4: (N, 1, H, W) -> a number."""
    return ((x > 0.25) & (x < 0.75)).float().mean().item()


# %% tags=["demo"]
with torch.no_grad():
    decoded = net.decode(codes_test, c_test).sigmoid()
average = torch.stack([x_train[c_train == c].mean(dim=0) for c in range(CLASSES)])
kinds = {
    "real glyphs": x_test,
    "reconstructed": decoded,
    "generated": generated,
    "mean of each letter": average,
}
for name, tiles in kinds.items():
    print(f"{name:20} edge {edge(tiles):.3f}, grey {grey(tiles):.3f}")

# %% [markdown]
# Between the letter's mean and the real glyph: $z$ has removed most of the blur, not all. A lower $\beta$
# lets $z$ say more, and the reconstructions get sharper. But then the codes no longer fill the prior, and
# draws from it land where no code was. The repair has two parts: a low $\beta$, *and* a density fitted to the
# codes afterwards, such as lesson 02's mixture (Ghosh and others, 2019).

# %% tags=["demo"]
from sklearn.mixture import GaussianMixture  # lesson 02's EM

judge_digits, low = features.digits(), min(S.betas)
real_digits = b_test.reshape(-1, 1, 8, 8)


def frechet_of(tiles):
    """The Fréchet distance to held-out digits in the course's feature space."""
    return metrics.frechet_distance(
        judge_digits(tiles.cpu()).features, judge_digits(real_digits.cpu()).features
    )


def draws_of(model, z):
    """The decoder's images for z: (N, 8) -> (N, 1, 8, 8)."""
    with torch.no_grad():
        return model.decode(z.to(device).float(), None).sigmoid().reshape(-1, 1, 8, 8)


# %% tags=["demo"]
with torch.no_grad():
    mu, log_var = beta_nets[low].encode(b_train)
    spread_codes = reparameterise(mu, log_var, noise(*mu.shape, seed=11)).double().cpu().numpy()
mixture = GaussianMixture(10, reg_covar=1e-2, random_state=0).fit(spread_codes)
mixture.covariances_ = 0.5 * (mixture.covariances_ + mixture.covariances_.transpose(0, 2, 1))
z_prior = noise(len(b_test), 8, seed=12)
z_mixture = torch.tensor(mixture.sample(len(b_test))[0])
one = 1.0 if 1.0 in beta_nets else low
blur = {
    "β = 1, from the prior": draws_of(beta_nets[one], z_prior),
    f"β = {low:g}, from the prior": draws_of(beta_nets[low], z_prior),
    f"β = {low:g}, from a mixture of codes": draws_of(
        beta_nets[low], z_mixture[torch.randperm(len(z_mixture), generator=torch.Generator().manual_seed(0))]
    ),
}
print(f"real digits: edge {edge(real_digits):.3f}, grey {grey(real_digits):.3f}")
for name, tiles in blur.items():
    print(
        f"{name:32} edge {edge(tiles):.3f}, grey {grey(tiles):.3f}, Fréchet distance {frechet_of(tiles):.1f}"
    )

# %% tags=["demo"]
fig, axes = plot.figure(3, 1, height=0.95)
for ax, (name, tiles) in zip(axes, blur.items(), strict=True):
    plot.images(tiles[:15], columns=15, ax=ax, title=name)
plt.show()

# %% [markdown]
# The grey share says how undecided the decoder is. It falls with $\beta$, and the Fréchet distance with it,
# even for draws from the prior; the mixture brings the draws back to where codes are, and gains more still.
# Lesson 25 does the same at the size of photographs, with a diffusion model in the place of the mixture.

# %% [markdown]
# ## 12 · How good is it?


# %% tags=["demo"]
def seconds(job, repeats=5):
    """The fastest of some runs: whatever else the machine does only adds to it."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


@torch.no_grad()
def draw_glyphs(n):
    """n glyphs from the prior, classes in turn."""
    return net.decode(noise(n, S.latent, seed=1), torch.arange(n, device=device) % CLASSES).sigmoid()


timing = {n: seconds(lambda n=n: draw_glyphs(n)) for n in (1, 10, 100, 1_000)}

# %% tags=["demo"]
costs = {"parameters": n_parameters, "train_seconds": train_seconds, "sample_seconds": timing[1_000] / 1_000}
board.record("10_vae", "conditional VAE", data="glyphs 16", nats=glyph_nats, **costs, **looks)
digit_net = broken["repair 1: sums and warm-up"]
digit_nats = iwae(digit_log_weights(digit_net, b_test, 5 * S.bound)).mean().item()
digit_size = sum(p.numel() for p in digit_net.parameters())
board.record("10_vae", "VAE, 8 codes", data="digits 8x8, binary", parameters=digit_size, nats=digit_nats)
board.record("10_vae", "VAE, 8 codes", data="digits 8x8", parameters=digit_size, roc_auc=mean_auc[1])
naive = next(row for row in board.published().rows if row.model == "naive Bayes")
print(f"black-and-white digits, held out: VAE at least {digit_nats:.2f} nats,", end=" ")
print(f"naive Bayes of lesson 02, which knows the classes, {naive.figures['nats']:.2f}")
board.table("glyphs 16")

# %% [markdown]
# The letters are recognised nearly always, as often as real ones or oftener. That alone would not be much: 36
# stored averages could do it. Read it beside diversity and recall, which say that the model keeps to the safe
# middle of each style.

# %% [markdown]
# ## 13 · In production
#
# A sample is one pass through the decoder, whatever the training cost:
#
# $$t_{\text{batch}} = t_{\text{start}} + n\, t_{\text{decoder}},\qquad \text{and nothing is repeated}.$$
#
# The encoder is not needed to generate. A diffusion model with a decoder of this size pays
# $t_{\text{decoder}}$ once *per step*. Below, $t_{\text{decoder}}$ is the slope from $n = 100$ to $1{,}000$,
# and $t_{\text{start}}$ is what $n = 1$ takes beyond it; in between the formula is only a rough guide.

# %% tags=["demo"]
per_glyph = (timing[1_000] - timing[100]) / 900
start_up = max(timing[1] - per_glyph, 0.0)
print(f"start {1e3 * start_up:.2f} ms, decoder {1e6 * per_glyph:.0f} µs a glyph")
for n, value in timing.items():
    print(f"n = {n:5,}: {1e3 * value:7.2f} ms, predicted {1e3 * (start_up + n * per_glyph):7.2f} ms")
decoder_size = sum(p.numel() for part in (net.label, net.from_z, net.up) for p in part.parameters())
print(f"{decoder_size:,} of {n_parameters:,} parameters are the decoder's")

# %% [markdown]
# ## Exercises
#
# Twenty points. Each exercise has a cell to fill in and a cell that tests a few cases you can read. The grade
# comes from further tests of the same properties on other inputs.
#
# Where tensors go in, return tensors, of the shape that the docstring says and of the floating type that went in.
# A number may be Python's own or a tensor that holds one; several results come as a tuple.

# %% [markdown]
# ### 1 · KL between any two normals (easy, 20 minutes)
#
# Section 2 knew one case: independent coordinates against $\mathcal N(0, I)$. Now both normals have a full
# covariance, given by lower triangular Cholesky factors: $\Sigma_q = L_q L_q^\top$ and
# $\Sigma_p = L_p L_p^\top$. In $D$ dimensions
#
# $$\mathrm{KL}(q\,\|\,p) = \tfrac12\Big(\mathrm{tr}\big(\Sigma_p^{-1}\Sigma_q\big) + \lVert L_p^{-1}(\mu_q - \mu_p)\rVert^2 - D\Big) + \log\det L_p - \log\det L_q .$$
#
# Work with the factors: a triangular system for each inverse, the diagonal for each determinant. A
# determinant itself may leave the range of floats; its logarithm does not. (What is $\mathrm{tr}(A A^\top)$?)


# %% exercise="kl-normals"
def kl_normals(mu_q, L_q, mu_p, L_p):
    """KL(N(mu_q, L_q L_q^T) || N(mu_p, L_p L_p^T)) in nats, for each of N pairs: (N,).

    mu_q, mu_p: (N, D); L_q, L_p: (N, D, D), lower triangular with a positive diagonal. float64.
    """
    ### BEGIN SOLUTION
    A = torch.linalg.solve_triangular(L_p, L_q, upper=False)
    gap = torch.linalg.solve_triangular(L_p, (mu_q - mu_p)[:, :, None], upper=False)
    log_det = (L_p.diagonal(dim1=1, dim2=2).log() - L_q.diagonal(dim1=1, dim2=2).log()).sum(dim=1)
    return 0.5 * (A.square().sum(dim=(1, 2)) + gap.square().sum(dim=(1, 2)) - mu_q.shape[1]) + log_det
    ### END SOLUTION


# %% test="kl-normals" points=3
one_mu, one_L = torch.zeros(1, 1).double(), torch.ones(1, 1, 1).double()
got = kl_normals(one_mu, 2 * one_L, one_mu, one_L)
assert got.shape == (1,), "one number for each pair"
assert math.isclose(got.item(), 1.5 - math.log(2)), f"deviation 2 against 1: 3/2 - log 2 = 0.807, not {got}"
got = kl_normals(one_mu + 3, one_L, one_mu, 2 * one_L)
assert math.isclose(got.item(), 0.75 + math.log(2)), (
    f"p has the deviation 2: (1/4 + 9/4 - 1)/2 + log 2, not {got}"
)
big = 1e-8 * torch.eye(100).double()[None]
got = kl_normals(torch.zeros(1, 100).double(), big, torch.zeros(1, 100).double(), big)
assert abs(got.item()) < 1e-6, "equal normals: 0, even where the determinant is 1e-800"

# %% [markdown]
# ### 2 · Reparameterise something else (medium, 20 minutes)
#
# The trick is not about normals. A uniform number $u$, sent through the inverse of a distribution function,
# follows that distribution, and depends smoothly on its parameters. Do it for the Laplace density
# $q(z) = \frac{1}{2b}\, e^{-|z - \mu| / b}$, with $b = e^{s}$, and return $\log q(z)$ along with $z$. $u$ may
# be as small as $10^{-300}$: the tail must not be cut off. Gradients must reach $\mu$ and $s$.


# %% exercise="laplace"
def draw_laplace(mu, s, u):
    """z with density exp(-|z - mu| / b) / (2 b), b = exp(s), from uniform u; and log q(z) in nats.

    mu, s, u: the same shape, float64, 0 < u < 1. z grows with u. Returns z and log q(z), of that shape.
    """
    ### BEGIN SOLUTION
    e = torch.where(u < 0.5, (2 * u).log(), -(2 * (1 - u)).log())
    return mu + s.exp() * e, -e.abs() - s - math.log(2)
    ### END SOLUTION


# %% test="laplace" points=3
u_three = torch.tensor([0.5, 0.25, 0.75], dtype=torch.float64)
mu_three = torch.full((3,), 2.0, dtype=torch.float64, requires_grad=True)
s_three = torch.full((3,), math.log(3.0), dtype=torch.float64)
z_three, log_q_three = draw_laplace(mu_three, s_three, u_three)
right = torch.tensor([2.0, 2 - 3 * math.log(2), 2 + 3 * math.log(2)], dtype=torch.float64)
assert torch.allclose(z_three, right), (
    f"the median is mu, the quartiles lie b log 2 beside it: {right}, not {z_three}"
)
assert math.isclose(log_q_three[0].item(), -math.log(6)), "at its peak the density is 1 / (2 b) = 1/6"
assert torch.allclose(torch.autograd.grad(z_three.sum(), mu_three)[0], torch.ones(3).double()), (
    "shift mu by 1, and z moves by 1"
)

# %% [markdown]
# ### 3 · A likelihood for grey levels (hard, 35 minutes)
#
# Cross-entropy is honest for black and white only. For a pixel with levels $0, 1, \dots, K-1$ take a
# *discretised logistic*: a logistic density with mean $m$ and scale $e^{s}$, in units of levels, whose mass
# is collected level by level. With $\sigma$ the sigmoid,
#
# $$P(x) = \sigma\Big(\frac{x + \frac12 - m}{e^s}\Big) - \sigma\Big(\frac{x - \frac12 - m}{e^s}\Big),$$
#
# where the lowest level gets all the mass below and the highest all above, so that the levels add up to 1.
# Return $\log P(x)$. The difference of two nearly equal sigmoids loses every digit, 50 scales from the mean
# and for very wide scales alike. First show that
# $\sigma(a) - \sigma(b) = \sigma(a)\,\sigma(-b)\,(1 - e^{b-a})$; then stay in log space. The gradient must be
# finite, too.


# %% exercise="grey-levels"
def log_levels(x, m, s, K):
    """log P(x) of a discretised logistic in nats, elementwise; finite wherever it fits a float.

    x: levels 0 to K - 1, as float64; m, s: float64; all the same shape. K >= 2.
    """
    ### BEGIN SOLUTION
    width = (-s).exp()
    a, b = (x + 0.5 - m) * width, (x - 0.5 - m) * width
    middle = F.logsigmoid(a) + F.logsigmoid(-b) + (-torch.expm1(-width)).log()
    return torch.where(x == 0, F.logsigmoid(a), torch.where(x == K - 1, F.logsigmoid(-b), middle))
    ### END SOLUTION


# %% test="grey-levels" points=4
levels = torch.arange(17, dtype=torch.float64)
flat = torch.ones_like(levels)
got = log_levels(levels, 5.3 * flat, 0.4 * flat, 17)
assert got.shape == (17,), f"elementwise: (17,) -> (17,), not {tuple(got.shape)}"
assert math.isclose(got.exp().sum(), 1, rel_tol=1e-6), (
    f"the 17 levels add up to {got.exp().sum()}, not 1: look at the two ends"
)
assert got.argmax() == 5, "the level nearest the mean is the likeliest"
far = log_levels(levels[1:2], 900 * flat[:1], 0 * flat[:1], 1_000)
assert math.isclose(far.item(), -898.958675145387, rel_tol=1e-12), (
    f"899 scales away, to the digits of float64: -898.958675145387, not {far.item()}"
)

# %% [markdown]
# ### 4 · Take the bias off (hard, 40 minutes)
#
# The gap of $\mathcal L_k$ falls like $1/k$: $\mathcal L_k \approx \log p(x) - \frac ck$. Two values with
# different $k$ can cancel $c$. The *jackknife* takes $k - 1$ and $k$:
#
# $$\mathcal J_k = k\,\mathcal L_k - (k - 1)\,\overline{\mathcal L_{k-1}},$$
#
# where $\overline{\mathcal L_{k-1}}$ is the mean of the IWAE bound over all $k$ ways to leave one weight out
# (Nowozin, 2018). The gap is now of order $1/k^2$, though it is no longer a bound. Work in log space: one
# weight may be 1,000 nats above all others, so that leaving it out by *subtracting* it from the sum leaves
# nothing. Log weights may be $-\infty$. If all are $-\infty$, or all but one, say what the formula's limit
# says: $-\infty$ in the first case, $+\infty$ in the second. No NaN.


# %% exercise="jackknife"
def jackknife(log_w):
    """k L_k - (k - 1) mean of the leave-one-out L_{k-1}, in nats: log_w (k, N), k >= 2 -> (N,)."""
    ### BEGIN SOLUTION
    k = len(log_w)
    full = torch.logsumexp(log_w, dim=0) - math.log(k)
    own = torch.eye(k, dtype=torch.bool)[:, :, None]
    rest = torch.logsumexp(log_w.expand(k, -1, -1).masked_fill(own, -math.inf), dim=1) - math.log(k - 1)
    return torch.where(full.isneginf(), full, k * full - (k - 1) * rest.mean(dim=0))
    ### END SOLUTION


# %% test="jackknife" points=4
got = jackknife(torch.tensor([[0.0, 2.0], [math.log(3.0), 2.0]], dtype=torch.float64))
right = 2 * math.log(2) - 0.5 * math.log(3)
assert got.shape == (2,), f"(k, N) -> (N,), not {tuple(got.shape)}"
assert math.isclose(got[0].item(), right), (
    f"weights 1 and 3: 2 log 2 - (log 1 + log 3)/2 = {right:.4f}, not {got[0]}"
)
assert math.isclose(got[1].item(), 2.0), "equal weights have no bias to take off"
got = jackknife(torch.tensor([[1_000.0], [0.0], [0.0]], dtype=torch.float64))
right = 3 * (1_000 - math.log(3)) - 2 / 3 * (2_000 - 2 * math.log(2))
assert math.isclose(got.item(), right), f"leave one out without subtracting: {right:.2f}, not {got.item()}"

# %% [markdown]
# ### 5 · An arc for every pair (medium, 25 minutes)
#
# `slerp` of section 7 divides by $\sin\Omega$, and takes the norms as they come. Write it for batches, and
# for all pairs: the *direction* goes along the great circle at an even pace, the *length* changes linearly
# from $\lVert a\rVert$ to $\lVert b\rVert$. For parallel vectors the direction stays. For nearly parallel
# ones nothing may be lost to rounding ($\arccos$ near 1 is blind to angles below $10^{-8}$). If either vector
# is 0 it has no direction: the other's is used; between two zero vectors all is 0. Where both directions are
# exactly opposite, every half circle is as good: any unit vector at right angles to $a$ may stand half way.
# $D \ge 2$.


# %% exercise="slerp"
def slerp_batch(a, b, t):
    """From a (t = 0) to b (t = 1), the direction along the great circle, the length linearly.

    a, b: (N, D), D >= 2, float64, of lengths from 1e-100 to 1e100 or 0; t: (N,), in [0, 1].
    Returns (N, D), never NaN.
    """
    ### BEGIN SOLUTION
    norm_a, norm_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    u = torch.where(norm_a > 0, a / norm_a, b / norm_b).nan_to_num()
    v = torch.where(norm_b > 0, b / norm_b, u)
    angle = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))[:, None]
    other = v - u * (u * v).sum(dim=1, keepdim=True)  # at right angles to u
    spare = F.one_hot(u.abs().argmin(dim=1), u.shape[1]).to(u)
    spare = spare - u * (u * spare).sum(dim=1, keepdim=True)
    opposite = ((u + v).norm(dim=1, keepdim=True) < 1e-12) & (norm_a > 0)
    side = F.normalize(torch.where(opposite, spare, other), dim=1, eps=1e-300)
    way = angle * t[:, None]
    return (way.cos() * u + way.sin() * side) * torch.lerp(norm_a, norm_b, t[:, None])
    ### END SOLUTION


# %% test="slerp" points=3
a_pair = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
b_pair = torch.tensor([[0.0, 4.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]], dtype=torch.float64)
got = slerp_batch(a_pair, b_pair, torch.full((4,), 0.5, dtype=torch.float64))
assert not got.isnan().any(), "parallel, opposite and zero vectors have an answer, too"
half = torch.full((2,), 4.5**0.5, dtype=torch.float64)
assert torch.allclose(got[0], half, rtol=1e-12, atol=1e-12), (
    "half way: 45 degrees, length 3, to the digits of float64"
)
assert torch.allclose(got[1], torch.tensor([2.0, 0.0]).double()), "parallel: the length goes from 1 to 3"
assert torch.allclose(got[2], torch.tensor([0.0, 1.0]).double()), "from zero: along the other's direction"
assert torch.allclose(got[3].abs(), torch.tensor([0.0, 1.0]).double()), "opposite: half way at right angles"

# %% [markdown]
# ### 6 · Repair a silent autoencoder (hard, 30 minutes)
#
# Somebody's VAE on pictures of 0 and 1 trains without an error, returns the same picture for everything, and
# on some data ends in NaN. The loss below has **three** faults. Find them, and write the loss that is right:
# the mean over the batch of $-$ELBO in nats, from one draw of $z$ each. `decode` gives logits, which may be
# as large as $\pm 1000$; its output has the shape of `x`, whatever that is after the first dimension.


# %%
def broken_loss(x, mu, log_var, decode, eps):
    """The mean of -ELBO over a batch, with three faults."""
    z = mu + log_var.exp() * eps
    p = torch.sigmoid(decode(z))
    reconstruction = (x * p.log() + (1 - x) * (1 - p).log()).mean()
    rate = kl_to_prior(mu, log_var).sum(dim=1).mean()
    return rate - reconstruction


# %% exercise="repair"
def vae_loss(x, mu, log_var, decode, eps):
    """The mean over the batch of -ELBO in nats, a tensor of one number.

    x: (N, ...) of 0 and 1; mu, log_var, eps: (N, D); decode: a function of z (N, D) to logits (N, ...).
    """
    ### BEGIN SOLUTION
    z = mu + (0.5 * log_var).exp() * eps
    cost = F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").flatten(1).sum(dim=1)
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1)
    return (cost + kl).mean()
    ### END SOLUTION


# %% test="repair" points=3
x_two = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
nothing = torch.zeros(2, 1, dtype=torch.float64)
got = vae_loss(x_two, nothing, nothing, lambda z: torch.zeros(2, 3).double(), nothing)
assert torch.is_tensor(got), f"a tensor, so that gradients can pass, not a {type(got).__name__}"
assert math.isclose(got.item(), 3 * math.log(2)), (
    f"three fair coins cost 3 log 2 = 2.079 nats a picture, not {got}"
)
got = vae_loss(x_two, nothing, nothing + math.log(4.0), lambda z: z * torch.ones(3).double(), nothing + 1)
right = (8 * math.log1p(math.exp(2)) - 2 * 3 + 4 * 0) / 2 - math.log1p(math.exp(2)) + 0.5 * (3 - math.log(4))
assert math.isclose(got.item(), right), f"variance 4 and noise 1 put z at 2: {right:.4f}, not {got.item()}"
sure = vae_loss(x_two, nothing, nothing, lambda z: 2_000 * (x_two - 0.5), nothing)
assert math.isclose(sure.item(), 0, abs_tol=1e-9), (
    "a decoder that is sure and right costs nothing, and never NaN"
)

# %% [markdown]
# ## Further reading
#
# - D. P. Kingma, M. Welling. *Auto-encoding variational Bayes.* 2013, arXiv:1312.6114.
# - D. J. Rezende, S. Mohamed, D. Wierstra. *Stochastic backpropagation and approximate inference in deep
#   generative models.* 2014, arXiv:1401.4082.
# - Y. Burda, R. Grosse, R. Salakhutdinov. *Importance weighted autoencoders.* 2015, arXiv:1509.00519.
# - S. R. Bowman and others. *Generating sentences from a continuous space.* 2015, arXiv:1511.06349. Collapse,
#   warm-up and hidden words.
# - D. P. Kingma and others. *Improving variational inference with inverse autoregressive flow.* 2016,
#   arXiv:1606.04934. Free bits.
# - T. White. *Sampling generative networks.* 2016, arXiv:1609.04468. Spherical interpolation, attribute
#   vectors.
# - I. Higgins and others. *β-VAE: learning basic visual concepts with a constrained variational framework.*
#   ICLR 2017.
# - T. Salimans and others. *PixelCNN++.* 2017, arXiv:1701.05517. The discretised logistic.
# - S. Nowozin. *Debiasing evidence approximations: on importance-weighted autoencoders and jackknife
#   variational inference.* ICLR 2018.
# - P. Ghosh and others. *From variational to deterministic autoencoders.* 2019, arXiv:1903.12436. A density
#   fitted to the codes.

# %% tags=["demo"]
selfcheck.run("10_vae")
