"""Wrong and other right answers to lesson 13_gan."""


# %% wrong="coverage" fails="test_any_mixture" name="the plain distance"
def mode_report(x, mu, L, pi, radius):
    distance, nearest = torch.cdist(x, mu).min(dim=1)
    good = distance <= radius
    n = torch.bincount(nearest[good], minlength=len(mu)).to(pi)
    if not good.any():
        return 0, 0.0, math.inf
    share = n / n.sum()
    kl = torch.special.xlogy(share, share / pi).sum().item()
    return int((share >= pi / 2).sum()), good.double().mean().item(), kl


# %% wrong="coverage" fails="test_any_mixture" name="the mode is nearest by the plain distance"
def mode_report(x, mu, L, pi, radius):
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False).norm(dim=1)
    nearest = torch.cdist(x, mu).argmin(dim=1)
    good = z.gather(0, nearest[None])[0] <= radius
    n = torch.bincount(nearest[good], minlength=len(mu)).to(pi)
    if not good.any():
        return 0, 0.0, math.inf
    share = n / n.sum()
    kl = torch.special.xlogy(share, share / pi).sum().item()
    return int((share >= 0.35 * pi).sum()), good.double().mean().item(), kl


# %% wrong="coverage" fails="test_uneven_shares" name="one good point is enough, strays in the share"
def mode_report(x, mu, L, pi, radius):
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False).norm(dim=1)
    distance, nearest = z.min(dim=0)
    good = distance <= radius
    n = torch.bincount(nearest[good], minlength=len(mu)).to(pi)
    share = n / len(x)
    kl = torch.special.xlogy(share, share / pi).sum().item()
    return int((n > 0).sum()), good.double().mean().item(), kl if good.any() else math.inf


# %% wrong="coverage" fails="test_uneven_shares" name="KL to equal shares"
def mode_report(x, mu, L, pi, radius):
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False).norm(dim=1)
    distance, nearest = z.min(dim=0)
    good = distance <= radius
    n = torch.bincount(nearest[good], minlength=len(mu)).to(pi)
    if not good.any():
        return 0, 0.0, math.inf
    share = n / n.sum()
    kl = torch.special.xlogy(share, share * len(mu)).sum().item()
    return int((share >= 0.5 / len(mu)).sum()), good.double().mean().item(), kl


# %% wrong="coverage" fails="test_uneven_shares" name="KL the other way round"
def mode_report(x, mu, L, pi, radius):
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False).norm(dim=1)
    distance, nearest = z.min(dim=0)
    good = distance <= radius
    n = torch.bincount(nearest[good], minlength=len(mu)).to(pi)
    if not good.any():
        return 0, 0.0, math.inf
    share = n / n.sum()
    kl = (pi * (pi / share.clamp(min=1e-12)).log()).sum().item()
    return int((share >= pi / 2).sum()), good.double().mean().item(), kl


# %% wrong="coverage" fails="test_any_mixture" name="0 times log 0 is NaN"
def mode_report(x, mu, L, pi, radius):
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False).norm(dim=1)
    distance, nearest = z.min(dim=0)
    good = distance <= radius
    n = torch.bincount(nearest[good], minlength=len(mu)).to(pi)
    share = n / n.sum()
    kl = (share * (share / pi).log()).sum().item()
    return int((share >= pi / 2).sum()), good.double().mean().item(), kl


# %% wrong="coverage" fails="test_any_mixture" name="the squared distance against the radius"
def mode_report(x, mu, L, pi, radius):
    z = torch.linalg.solve_triangular(L, (x - mu[:, None]).mT, upper=False).square().sum(dim=1)
    distance, nearest = z.min(dim=0)
    good = distance <= radius
    n = torch.bincount(nearest[good], minlength=len(mu)).to(pi)
    if not good.any():
        return 0, 0.0, math.inf
    share = n / n.sum()
    kl = torch.special.xlogy(share, share / pi).sum().item()
    return int((n > 1).sum()), good.double().mean().item(), kl


# %% right="coverage" name="mode by mode, with inverses and counts of its own"
def mode_report(x, mu, L, pi, radius):
    squared = torch.empty(len(x), len(mu), dtype=x.dtype)
    for k in range(len(mu)):
        gap = x - mu[k]
        squared[:, k] = ((gap @ torch.linalg.inv(L[k] @ L[k].T)) * gap).sum(dim=1)
    n, covered, kl = [0] * len(mu), 0, 0.0
    for row in squared:
        k = int(row.argmin())
        n[k] += bool(row[k].sqrt() <= radius)
    if sum(n) == 0:
        return 0, 0.0, math.inf
    for count, due in zip(n, pi.tolist(), strict=True):
        covered += 2 * count >= due * sum(n)
        kl += count / sum(n) * math.log(count / sum(n) / due) if count else 0.0
    return covered, sum(n) / len(x), kl


# %% wrong="prejudice" fails="test_known_ratio" name="corrects for the numbers the wrong way round"
def log_ratio(logit, n_p, n_q, s):
    ceiling = math.log((1 - s) / s) if s else math.inf
    below = torch.log1p(-(logit - ceiling).clamp(max=0).exp())
    return logit - math.log(1 - s) - below - math.log(n_q / n_p)


def probability_real(log_r, fake):
    return (log_r + math.log(fake) - math.log(1 - fake)).sigmoid()


# %% wrong="prejudice" fails="test_known_ratio" name="ignores the numbers"
def log_ratio(logit, n_p, n_q, s):
    ceiling = math.log((1 - s) / s) if s else math.inf
    below = torch.log1p(-(logit - ceiling).clamp(max=0).exp())
    return logit - math.log(1 - s) - below


def probability_real(log_r, fake):
    return (log_r + math.log(1 - fake) - math.log(fake)).sigmoid()


# %% wrong="prejudice" fails="test_known_ratio" name="ignores the smoothing"
def log_ratio(logit, n_p, n_q, s):
    return logit + math.log(n_q / n_p)


def probability_real(log_r, fake):
    return (log_r + math.log(1 - fake) - math.log(fake)).sigmoid()


# %% wrong="prejudice" fails="test_known_ratio" name="takes smoothing for a factor"
def log_ratio(logit, n_p, n_q, s):
    return logit - math.log(1 - s) + math.log(n_q / n_p)


def probability_real(log_r, fake):
    return (log_r + math.log(1 - fake) - math.log(fake)).sigmoid()


# %% wrong="prejudice" fails="test_extreme_logits" name="through D, and the prior of training"
def log_ratio(logit, n_p, n_q, s):
    D = logit.sigmoid()
    return (D * n_q / (n_p * (1 - s - D))).log()


def probability_real(log_r, fake):
    return log_r.sigmoid()


# %% wrong="prejudice" fails="test_posterior" name="the share of fakes for that of real ones, no ceiling"
def log_ratio(logit, n_p, n_q, s):
    return logit - ((1 - s) - s * logit.exp()).log() + math.log(n_q / n_p)


def probability_real(log_r, fake):
    return (log_r + math.log(fake) - math.log(1 - fake)).sigmoid()


# %% wrong="prejudice" fails="test_extreme_logits" name="smooths both labels"
def log_ratio(logit, n_p, n_q, s):
    D = logit.sigmoid()
    return (D - s).log() - (1 - s - D).log() + math.log(n_q / n_p)


def probability_real(log_r, fake):
    return 1 / (1 + fake / (1 - fake) * (-log_r).exp())


# %% right="prejudice" name="differences of logarithms, in two cases"
def log_ratio(logit, n_p, n_q, s):
    D_to_p = torch.where(logit < 0, logit, -torch.log1p(torch.expm1(-logit)))  # log of e^l, kept small
    if s == 0:
        return logit + math.log(n_q) - math.log(n_p)
    top = math.log(1 - s) - math.log(s)
    gap = -torch.expm1(torch.where(logit < top, logit - top, torch.full_like(logit, -1.0)))
    found = D_to_p - math.log(1 - s) - gap.log() + math.log(n_q) - math.log(n_p)
    found = torch.where(logit < 0, found, logit - math.log(1 - s) - gap.log() + math.log(n_q) - math.log(n_p))
    return torch.where(logit < top, found, math.inf)


def probability_real(log_r, fake):
    return torch.special.expit(log_r - math.log(fake / (1 - fake)))


# %% wrong="f-gan" fails="test_tight_at_the_true_ratio" name="real and made the wrong way round"
def f_bound(name, v_p, v_q):
    f = {
        "kl": lambda u: u * u.log(),
        "reverse kl": lambda u: -u.log(),
        "pearson": lambda u: (u - 1) ** 2,
        "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    }
    if name not in f:
        raise ValueError(name)
    slope = {
        "kl": lambda u: 1 + u.log(),
        "reverse kl": lambda u: -1 / u,
        "pearson": lambda u: 2 * (u - 1),
        "hellinger": lambda u: 1 - u**-0.5,
    }[name]
    u_p, u_q = v_q.exp(), v_p.exp()
    return slope(u_p).mean() - (u_q * slope(u_q) - f[name](u_q)).mean()


# %% wrong="f-gan" fails="test_tight_at_the_true_ratio" name="v for T itself"
def f_bound(name, v_p, v_q):
    conjugate = {
        "kl": lambda t: (t - 1).exp(),
        "reverse kl": lambda t: -1 - (-t).log(),
        "pearson": lambda t: t**2 / 4 + t,
        "hellinger": lambda t: t / (1 - t),
    }
    if name not in conjugate:
        raise ValueError(name)
    return v_p.mean() - conjugate[name](v_q).mean()


# %% wrong="f-gan" fails="test_tight_at_the_true_ratio" name="f for its conjugate"
def f_bound(name, v_p, v_q):
    if name == "kl":
        return (1 + v_p).mean() - (v_q.exp() * v_q).mean()
    if name == "reverse kl":
        return -(-v_p).exp().mean() + v_q.mean()
    if name == "pearson":
        return 2 * v_p.expm1().mean() - v_q.expm1().square().mean()
    if name == "hellinger":
        return -(-v_p / 2).expm1().mean() - (v_q / 2).expm1().square().mean()
    raise ValueError(name)


# %% wrong="f-gan" fails="test_bound_elsewhere" name="the divergence of the guess itself"
def f_bound(name, v_p, v_q):
    f = {
        "kl": lambda u: u * u.log(),
        "reverse kl": lambda u: -u.log(),
        "pearson": lambda u: (u - 1) ** 2,
        "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    }
    if name not in f:
        raise ValueError(name)
    return f[name](v_q.exp()).mean() + 0 * v_p.mean()


# %% wrong="f-gan" fails="test_tight_at_the_true_ratio" name="KL and reverse KL exchanged, Pearson halved"
def f_bound(name, v_p, v_q):
    if name == "reverse kl":
        return (1 + v_p).mean() - v_q.exp().mean()
    if name == "kl":
        return -(-v_p).exp().mean() - (v_q - 1).mean()
    if name == "pearson":
        return v_p.expm1().mean() - (2 * v_q).expm1().mean() / 2
    if name == "hellinger":
        return -(-v_p / 2).expm1().mean() - (v_q / 2).expm1().mean()
    raise ValueError(name)


# %% wrong="f-gan" fails="test_tight_at_the_true_ratio" name="sums for means"
def f_bound(name, v_p, v_q):
    if name == "kl":
        return (1 + v_p).sum() - v_q.exp().sum()
    if name == "reverse kl":
        return -(-v_p).exp().sum() - (v_q - 1).sum()
    if name == "pearson":
        return 2 * v_p.expm1().sum() - (2 * v_q).expm1().sum()
    if name == "hellinger":
        return -(-v_p / 2).expm1().sum() - (v_q / 2).expm1().sum()
    raise ValueError(name)


# %% wrong="f-gan" fails="test_tight_at_the_true_ratio" name="the constants left out"
def f_bound(name, v_p, v_q):
    if name == "kl":
        return v_p.mean() - v_q.exp().mean()
    if name == "reverse kl":
        return -(-v_p).exp().mean() - v_q.mean()
    if name == "pearson":
        return 2 * v_p.exp().mean() - (2 * v_q).exp().mean()
    if name == "hellinger":
        return -(-v_p / 2).exp().mean() - (v_q / 2).exp().mean()
    raise ValueError(name)


# %% right="f-gan" name="f alone, its slope by autograd"
def f_bound(name, v_p, v_q):
    f = {
        "kl": lambda u: u * u.log(),
        "reverse kl": lambda u: -u.log(),
        "pearson": lambda u: (u - 1) ** 2,
        "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    }
    if name not in f:
        raise ValueError(f"no judge is called {name!r}")

    def slope(u):
        with torch.enable_grad():
            u = u if u.requires_grad else u.clone().requires_grad_()
            return torch.autograd.grad(f[name](u).sum(), u, create_graph=True)[0]

    u_p, u_q = v_p.exp(), v_q.exp()
    T_q = slope(u_q)
    return slope(u_p).mean() - (u_q * T_q - f[name](u_q)).mean()


# %% wrong="conv-norm" fails="test_overlapping_kernels" name="the kernel, reshaped to a matrix"
def conv_norm(weight, side, stride, padding, rounds, generator):
    return torch.linalg.matrix_norm(weight.flatten(1), 2).item()


# %% wrong="conv-norm" fails="test_strides" name="on whatever size the transpose returns"
def conv_norm(weight, side, stride, padding, rounds, generator):
    v = torch.randn(1, weight.shape[1], side, side, generator=generator, dtype=weight.dtype)
    for _ in range(rounds):
        u = F.conv2d(v / v.norm(), weight, stride=stride, padding=padding)
        v = F.conv_transpose2d(u, weight, stride=stride, padding=padding)
    return (v.norm() / math.sqrt(v.norm() + 1e-300) if stride > 1 else v.norm().sqrt()).item() * (1 + 1e-4)


# %% wrong="conv-norm" fails="test_overlapping_kernels" name="the square of the norm"
def conv_norm(weight, side, stride, padding, rounds, generator):
    extra = (side + 2 * padding - weight.shape[2]) % stride
    v = torch.randn(1, weight.shape[1], side, side, generator=generator, dtype=weight.dtype)
    for _ in range(rounds):
        u = F.conv2d(v / v.norm(), weight, stride=stride, padding=padding)
        v = F.conv_transpose2d(u, weight, stride=stride, padding=padding, output_padding=extra)
    return v.norm().item()


# %% wrong="conv-norm" fails="test_overlapping_kernels" name="the Frobenius norm"
def conv_norm(weight, side, stride, padding, rounds, generator):
    return weight.norm().item()


# %% wrong="conv-norm" fails="test_overlapping_kernels" name="the sum of all weights, as if without borders"
def conv_norm(weight, side, stride, padding, rounds, generator):
    return torch.linalg.matrix_norm(weight.sum(dim=(2, 3)), 2).item()


# %% wrong="conv-norm" fails="test_overlapping_kernels" name="one round"
def conv_norm(weight, side, stride, padding, rounds, generator):
    v = torch.randn(1, weight.shape[1], side, side, generator=generator, dtype=weight.dtype)
    return F.conv2d(v / v.norm(), weight, stride=stride, padding=padding).norm().item()


# %% wrong="conv-norm" fails="test_overlapping_kernels" name="no padding, no stride"
def conv_norm(weight, side, stride, padding, rounds, generator):
    v = torch.randn(1, weight.shape[1], side, side, generator=generator, dtype=weight.dtype)
    for _ in range(rounds):
        v = F.conv_transpose2d(F.conv2d(v / v.norm(), weight), weight)
    return v.norm().sqrt().item()


# %% wrong="conv-norm" fails="test_scale" name="never normalises on the way"
def conv_norm(weight, side, stride, padding, rounds, generator):
    extra = (side + 2 * padding - weight.shape[2]) % stride
    v = torch.randn(1, weight.shape[1], side, side, generator=generator, dtype=weight.dtype)
    for _ in range(rounds):
        last = v.norm()
        u = F.conv2d(v, weight, stride=stride, padding=padding)
        v = F.conv_transpose2d(u, weight, stride=stride, padding=padding, output_padding=extra)
    return (v.norm() / last).sqrt().item()


# %% right="conv-norm" name="the transpose by autograd"
def conv_norm(weight, side, stride, padding, rounds, generator):
    v = torch.randn(weight.shape[1], side, side, generator=generator, dtype=weight.dtype)
    for _ in range(rounds):
        v = (v / torch.linalg.vector_norm(v)).requires_grad_()
        u = F.conv2d(v[None], weight, stride=stride, padding=padding)
        sigma = torch.linalg.vector_norm(u.detach())
        (v,) = torch.autograd.grad(u, v, u.detach() / sigma)
    return float(torch.linalg.vector_norm(v))


# %% right="conv-norm" name="the layer as a matrix, column by column"
def conv_norm(weight, side, stride, padding, rounds, generator):
    columns = torch.eye(weight.shape[1] * side * side, dtype=weight.dtype).view(
        -1, weight.shape[1], side, side
    )
    A = torch.stack([F.conv2d(c[None], weight, stride=stride, padding=padding).flatten() for c in columns])
    return torch.linalg.svdvals(A)[0].item()


# %% wrong="penalty" fails="test_planes" name="two-sided"
def one_sided_penalty(critic, real, fake, y, generator):
    eps = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    between = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)
    return ((slope.square().flatten(1).sum(dim=1) + 1e-12).sqrt() - 1).square().mean()


# %% wrong="penalty" fails="test_weights_learn" name="NaN where the slope is 0, an epsilon for each pixel"
def one_sided_penalty(critic, real, fake, y, generator):
    eps = torch.rand(real.shape, generator=generator, dtype=real.dtype)
    between = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)
    return (slope.square().flatten(1).sum(dim=1).sqrt() - 1).clamp(min=0).square().mean()


# %% wrong="penalty" fails="test_weights_learn" name="not differentiable in the weights, at the real pictures"
def one_sided_penalty(critic, real, fake, y, generator):
    between = real.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, y).sum(), between)
    return (slope.flatten(1).norm(dim=1) - 1).clamp(min=0).square().mean()


# %% wrong="penalty" fails="test_planes" name="the norm over one axis"
def one_sided_penalty(critic, real, fake, y, generator):
    eps = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    between = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)
    return ((slope.square().sum(dim=1) + 1e-12).sqrt() - 1).clamp(min=0).square().mean()


# %% wrong="penalty" fails="test_planes" name="the gradient of the mean"
def one_sided_penalty(critic, real, fake, y, generator):
    eps = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    between = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, y).mean(), between, create_graph=True)
    return ((slope.square().flatten(1).sum(dim=1) + 1e-12).sqrt() - 1).clamp(min=0).square().mean()


# %% wrong="penalty" fails="test_planes" name="the excess is not squared"
def one_sided_penalty(critic, real, fake, y, generator):
    eps = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    between = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)
    return ((slope.square().flatten(1).sum(dim=1) + 1e-12).sqrt() - 1).clamp(min=0).mean()


# %% wrong="penalty" fails="test_planes" name="one norm for the whole batch"
def one_sided_penalty(critic, real, fake, y, generator):
    eps = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    between = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)
    return ((slope.square().sum() + 1e-12).sqrt() - 1).clamp(min=0).square()


# %% right="penalty" name="the excess by a rectified difference, with a floor under the root"
def one_sided_penalty(critic, real, fake, y, generator):
    eps = torch.rand(len(real), generator=generator).to(real.dtype).view(-1, *[1] * (real.ndim - 1))
    between = torch.lerp(fake.detach(), real.detach(), eps).requires_grad_()
    score = critic(between, y)
    (slope,) = torch.autograd.grad(score, between, torch.ones_like(score), create_graph=True)
    norm = torch.einsum("bchw,bchw->b", slope, slope).clamp(min=1.0).sqrt()
    return ((norm - 1) ** 2).sum() / len(real)


# %% right="penalty" name="the norm plus a hair"
def one_sided_penalty(critic, real, fake, y, generator):
    eps = torch.rand(len(real), 1, 1, 1, generator=generator, dtype=real.dtype)
    between = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    slope = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)[0].flatten(1)
    return F.relu((slope.square().sum(dim=1) + 1e-24).sqrt() - 1).square().mean()


# %% wrong="repair" fails="test_one_step" name="as the chapter: the discriminator first"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    fake = G(z)
    loss_D = discriminator_loss(D(x), D(fake.detach()))
    opt_D.zero_grad()
    loss_D.backward()
    opt_D.step()
    loss_G = non_saturating(D(fake))
    opt_G.zero_grad()
    loss_G.backward()
    opt_G.step()
    opt_D.zero_grad()
    return loss_D.detach(), loss_G.detach()


# %% wrong="repair" fails="test_one_step" name="still sees each other's loss"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    real, fake = D(x), D(G(z))
    losses = discriminator_loss(real, fake), non_saturating(fake)
    for optimizer in (opt_D, opt_G):
        optimizer.zero_grad()
    (losses[0] + losses[1]).backward()
    opt_D.step()
    opt_G.step()
    return losses[0].detach(), losses[1].detach()


# %% wrong="repair" fails="test_many_steps" name="leaves the discriminator's gradients, of both losses"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    fake = G(z)
    loss_D, loss_G = discriminator_loss(D(x), D(fake.detach())), non_saturating(D(fake))
    opt_G.zero_grad()
    loss_G.backward()
    loss_D.backward()
    opt_D.step()
    opt_G.step()
    return loss_D.detach(), loss_G.detach()


# %% wrong="repair" fails="test_one_step" name="still a sigmoid too many"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    real, fake = D(x).sigmoid(), D(G(z)).sigmoid()
    losses = discriminator_loss(real, fake), non_saturating(fake)
    for net, own in zip((D, G), losses, strict=True):
        for w, g in zip(
            net.parameters(), torch.autograd.grad(own, list(net.parameters()), retain_graph=True)
        ):
            w.grad = g
    opt_D.step()
    opt_G.step()
    return losses[0].detach(), losses[1].detach()


# %% wrong="repair" fails="test_one_step" name="still the label of a made one"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    real, fake = D(x), D(G(z))
    losses = discriminator_loss(real, fake), F.softplus(fake).mean()
    for net, own in zip((D, G), losses, strict=True):
        for w, g in zip(
            net.parameters(), torch.autograd.grad(own, list(net.parameters()), retain_graph=True)
        ):
            w.grad = g
    opt_D.step()
    opt_G.step()
    return losses[0].detach(), losses[1].detach()


# %% wrong="repair" fails="test_one_step" name="the saturating loss"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    real, fake = D(x), D(G(z))
    losses = discriminator_loss(real, fake), saturating(fake)
    for net, own in zip((D, G), losses, strict=True):
        for w, g in zip(
            net.parameters(), torch.autograd.grad(own, list(net.parameters()), retain_graph=True)
        ):
            w.grad = g
    opt_D.step()
    opt_G.step()
    return losses[0].detach(), losses[1].detach()


# %% wrong="repair" fails="test_huge_logits" name="the logarithm of a sigmoid, the discriminator first"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    fake = G(z)
    loss_D = -D(x).sigmoid().log().mean() - (1 - D(fake.detach()).sigmoid()).log().mean()
    opt_D.zero_grad()
    loss_D.backward()
    opt_D.step()
    loss_G = -D(fake).sigmoid().log().mean()
    opt_G.zero_grad()
    loss_G.backward()
    opt_G.step()
    return loss_D.detach(), loss_G.detach()


# %% right="repair" name="two passes backward, the other's weights held still"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    for optimizer in (opt_G, opt_D):
        optimizer.zero_grad()
    made = G(z)
    D.requires_grad_(False)
    loss_G = F.softplus(-D(made)).mean()
    loss_G.backward()
    D.requires_grad_(True)
    loss_D = F.softplus(-D(x)).mean() + F.softplus(D(made.detach())).mean()
    loss_D.backward()
    opt_G.step()
    opt_D.step()
    return loss_D.item(), loss_G.item()
