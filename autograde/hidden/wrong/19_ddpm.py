"""Wrong and other right answers to lesson 19_ddpm."""


# %% wrong="any-two" fails="test_not_variance_preserving" name="section 3's rotation"
def any_two(known, alpha, sigma):
    if len(known) != 2 or set(known) - {"x_t", "x_0", "eps", "v"}:
        raise ValueError
    alpha, sigma = (along(v, next(iter(known.values()))) for v in (alpha, sigma))
    x_t, x_0, eps, v = (known.get(name) for name in ("x_t", "x_0", "eps", "v"))
    if x_t is not None and v is not None:
        x_0, eps = alpha * x_t - sigma * v, sigma * x_t + alpha * v
    elif x_t is None and x_0 is None:
        x_0 = (alpha * eps - v) / sigma
    elif x_t is None and eps is None:
        eps = (v + sigma * x_0) / alpha
    elif x_0 is None:
        x_0 = (x_t - sigma * eps) / alpha
    elif eps is None:
        eps = (x_t - alpha * x_0) / sigma
    if not (x_0.isfinite().all() and eps.isfinite().all()):
        raise ValueError
    return {"x_t": alpha * x_0 + sigma * eps, "x_0": x_0, "eps": eps, "v": alpha * eps - sigma * x_0}


# %% wrong="any-two" fails="test_every_pair" name="the sign of v"
def any_two(known, alpha, sigma):
    alpha, sigma = (along(v, next(iter(known.values()))) for v in (alpha, sigma))
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    rows = {"x_t": (alpha, sigma), "x_0": (one, zero), "eps": (zero, one), "v": (sigma, -alpha)}
    if len(known) != 2 or set(known) - set(rows):
        raise ValueError("give two of x_t, x_0, eps and v")
    (a, u), (b, w) = ((rows[name], value) for name, value in known.items())
    det = a[0] * b[1] - a[1] * b[0]
    if (det == 0).any():
        raise ValueError("these two do not determine the others")
    x_0, eps = (u * b[1] - w * a[1]) / det, (w * a[0] - u * b[0]) / det
    return {name: p * x_0 + q * eps for name, (p, q) in rows.items()} | known


# %% wrong="any-two" fails="test_every_pair" name="alpha and sigma of the first row for all"
def any_two(known, alpha, sigma):
    alpha, sigma = (v[0] for v in (alpha, sigma))
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    rows = {"x_t": (alpha, sigma), "x_0": (one, zero), "eps": (zero, one), "v": (-sigma, alpha)}
    if len(known) != 2 or set(known) - set(rows):
        raise ValueError("give two of x_t, x_0, eps and v")
    (a, u), (b, w) = ((rows[name], value) for name, value in known.items())
    det = a[0] * b[1] - a[1] * b[0]
    if (det == 0).any():
        raise ValueError("these two do not determine the others")
    x_0, eps = (u * b[1] - w * a[1]) / det, (w * a[0] - u * b[0]) / det
    return {name: p * x_0 + q * eps for name, (p, q) in rows.items()} | known


# %% wrong="any-two" fails="test_every_pair" name="does not broadcast over pictures"
def any_two(known, alpha, sigma):
    alpha, sigma = (v[:, None] for v in (alpha, sigma))
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    rows = {"x_t": (alpha, sigma), "x_0": (one, zero), "eps": (zero, one), "v": (-sigma, alpha)}
    if len(known) != 2 or set(known) - set(rows):
        raise ValueError("give two of x_t, x_0, eps and v")
    (a, u), (b, w) = ((rows[name], value) for name, value in known.items())
    det = a[0] * b[1] - a[1] * b[0]
    if (det == 0).any():
        raise ValueError("these two do not determine the others")
    x_0, eps = (u * b[1] - w * a[1]) / det, (w * a[0] - u * b[0]) / det
    return {name: p * x_0 + q * eps for name, (p, q) in rows.items()} | known


# %% wrong="any-two" fails="test_every_pair" name="needs x_t"
def any_two(known, alpha, sigma):
    alpha, sigma = (along(v, next(iter(known.values()))) for v in (alpha, sigma))
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    rows = {"x_t": (alpha, sigma), "x_0": (one, zero), "eps": (zero, one), "v": (-sigma, alpha)}
    if len(known) != 2 or "x_t" not in known or set(known) - set(rows):
        raise ValueError("give two of x_t, x_0, eps and v")
    (a, u), (b, w) = ((rows[name], value) for name, value in known.items())
    det = a[0] * b[1] - a[1] * b[0]
    if (det == 0).any():
        raise ValueError("these two do not determine the others")
    x_0, eps = (u * b[1] - w * a[1]) / det, (w * a[0] - u * b[0]) / det
    return {name: p * x_0 + q * eps for name, (p, q) in rows.items()} | known


# %% wrong="any-two" fails="test_every_pair" name="swaps the two names"
def any_two(known, alpha, sigma):
    alpha, sigma = (along(v, next(iter(known.values()))) for v in (alpha, sigma))
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    rows = {"x_t": (alpha, sigma), "x_0": (one, zero), "eps": (zero, one), "v": (-sigma, alpha)}
    if len(known) != 2 or set(known) - set(rows):
        raise ValueError("give two of x_t, x_0, eps and v")
    (a, u), (b, w) = ((rows[name], value) for name, value in known.items())
    det = a[0] * b[1] - a[1] * b[0]
    if (det == 0).any():
        raise ValueError("these two do not determine the others")
    x_0, eps = (w * a[0] - u * b[0]) / det, (u * b[1] - w * a[1]) / det
    return {name: p * x_0 + q * eps for name, (p, q) in rows.items()} | known


# %% wrong="any-two" fails="test_ends_and_refusals" name="least squares for the whole batch"
def any_two(known, alpha, sigma):
    rows = {
        "x_t": (alpha.mean(), sigma.mean()),
        "x_0": (1.0, 0.0),
        "eps": (0.0, 1.0),
        "v": (-sigma.mean(), alpha.mean()),
    }
    A = torch.tensor([[float(p) for p in rows[name]] for name in known], dtype=torch.float64)
    values = torch.stack([v.flatten() for v in known.values()])
    x_0, eps = torch.linalg.lstsq(A, values).solution
    shape = next(iter(known.values())).shape
    return {name: (p * x_0 + q * eps).reshape(shape) for name, (p, q) in rows.items()}


# %% right="any-two" name="solves the 2 x 2 systems by matrix"
def any_two(known, alpha, sigma):
    names = ("x_t", "x_0", "eps", "v")
    if len(known) != 2 or any(name not in names for name in known):
        raise ValueError("two names")
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    whole = torch.stack(
        [torch.stack(r, dim=1) for r in ((alpha, sigma), (one, zero), (zero, one), (-sigma, alpha))], dim=1
    )  # (B, 4, 2)
    (first, u), (second, w) = known.items()
    A = whole[:, [names.index(first), names.index(second)]]
    if (torch.linalg.det(A) == 0).any():
        raise ValueError("singular")
    right = torch.stack([u.flatten(1), w.flatten(1)], dim=1)  # (B, 2, D)
    all_four = whole @ torch.linalg.solve(A, right)
    return {name: all_four[:, i].reshape(u.shape) for i, name in enumerate(names)}


# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="independent noise at each time"
def path_covariance(alpha, sigma):
    return torch.diag(sigma**2)


# %% wrong="two-times" fails="test_covariance_in_any_order" name="takes the times as they come"
def path_covariance(alpha, sigma):
    forward = alpha / alpha[:, None] * sigma[:, None] ** 2
    covariance = forward.triu(1)
    return covariance + covariance.T + torch.diag(sigma**2)


# %% wrong="two-times" fails="test_covariance_in_any_order" name="the smaller sigma is earlier"
def path_covariance(alpha, sigma):
    earlier = sigma[:, None] <= sigma
    forward = alpha / alpha[:, None] * sigma[:, None] ** 2
    covariance = torch.where(earlier, forward, forward.T)
    return covariance.fill_diagonal_(0) + torch.diag(sigma**2)


# %% wrong="two-times" fails="test_covariance_at_the_ends" name="0 times infinity at the ends"
def path_covariance(alpha, sigma):
    noise = (sigma / alpha) ** 2
    return alpha[:, None] * alpha * torch.minimum(noise[:, None], noise)


# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="one and the same eps at all times"
def path_covariance(alpha, sigma):
    return sigma[:, None] * sigma


# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="the later noise, shrunk"
def path_covariance(alpha, sigma):
    earlier = alpha[:, None] * sigma >= alpha * sigma[:, None]
    forward = alpha / alpha[:, None] * sigma[:, None] ** 2
    covariance = torch.where(earlier, forward.T, forward)
    return covariance.fill_diagonal_(0) + torch.diag(sigma**2)


# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="forgets to square"
def path_covariance(alpha, sigma):
    earlier = alpha[:, None] * sigma >= alpha * sigma[:, None]
    forward = alpha / alpha[:, None] * sigma[:, None]
    covariance = torch.where(earlier, forward, forward.T)
    return covariance.fill_diagonal_(0) + torch.diag(sigma**2)


# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="adds the picture's own spread"
def path_covariance(alpha, sigma):
    earlier = alpha[:, None] * sigma >= alpha * sigma[:, None]
    forward = alpha / alpha[:, None] * sigma[:, None] ** 2
    covariance = torch.where(earlier, forward, forward.T)
    return covariance.fill_diagonal_(0) + torch.diag(sigma**2 + alpha**2)


# %% right="two-times" name="loops over pairs"
def path_covariance(alpha, sigma):
    n = len(alpha)
    covariance = torch.zeros(n, n, dtype=alpha.dtype)
    for i in range(n):
        for j in range(n):
            first, then = (i, j) if alpha[i] * sigma[j] >= alpha[j] * sigma[i] else (j, i)
            ratio = 1.0 if i == j else alpha[then] / alpha[first]
            covariance[i, j] = ratio * sigma[first] ** 2
    return covariance


# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="shifts alpha_bar, not its root"
def zero_terminal(alpha_bar):
    new = (alpha_bar - alpha_bar[-1]) * alpha_bar[1] / (alpha_bar[1] - alpha_bar[-1])
    new[0] = 1.0
    return new, 1 - new[1:] / new[:-1]


# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="keeps the clean end instead of the first step"
def zero_terminal(alpha_bar):
    root = alpha_bar.sqrt()
    root = (root - root[-1]) / (1 - root[-1])
    new = root**2
    return new, 1 - new[1:] / new[:-1]


# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="sets the last one to 0 and leaves the rest"
def zero_terminal(alpha_bar):
    new = alpha_bar.clone()
    new[-1] = 0
    return new, 1 - new[1:] / new[:-1]


# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="does not stretch"
def zero_terminal(alpha_bar):
    root = alpha_bar.sqrt()
    root = root - root[-1]
    root[0] = 1.0
    new = root**2
    return new, 1 - new[1:] / new[:-1]


# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="stretches the clean end, too"
def zero_terminal(alpha_bar):
    root = alpha_bar.sqrt()
    root = (root - root[-1]) * root[1] / (root[1] - root[-1])
    new = root**2
    return new, 1 - new[1:] / new[:-1]


# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="returns the roots"
def zero_terminal(alpha_bar):
    root = alpha_bar.sqrt()
    root = (root - root[-1]) * root[1] / (root[1] - root[-1])
    root[0] = 1.0
    new = root**2
    return root, 1 - new[1:] / new[:-1]


# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="squares of the betas"
def zero_terminal(alpha_bar):
    root = alpha_bar.sqrt()
    root = (root - root[-1]) * root[1] / (root[1] - root[-1])
    root[0] = 1.0
    new = root
    return new, 1 - new[1:] / new[:-1]


# %% right="zero-terminal" name="through the line's two numbers, betas in a loop"
def zero_terminal(alpha_bar):
    first, last = math.sqrt(alpha_bar[1]), math.sqrt(alpha_bar[-1])
    slope = first / (first - last)
    new = [1.0] + [(slope * (math.sqrt(v) - last)) ** 2 for v in alpha_bar[1:].tolist()]
    beta = [1 - b / a for a, b in itertools.pairwise(new)]
    return torch.tensor(new, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)


# %% wrong="min-snr" fails="test_far_ends" name="leaves log space: infinity over infinity"
def min_snr_weight(log_snr, kind, gamma):
    snr = log_snr.exp()
    if kind not in ("x_0", "eps", "v"):
        raise ValueError(kind)
    capped = snr.clamp(max=gamma) if kind != "eps" else snr * (gamma / snr).clamp(max=1)
    return capped / {"x_0": 1, "eps": snr, "v": snr + 1}[kind] + 0 * snr


# %% wrong="min-snr" fails="test_same_loss" name="the picture's weight for all"
def min_snr_weight(log_snr, kind, gamma):
    capped = log_snr.clamp(max=math.log(gamma))
    if kind == "x_0":
        return capped.exp()
    if kind == "eps":
        return capped.exp()
    if kind == "v":
        return capped.exp()
    raise ValueError(kind)


# %% wrong="min-snr" fails="test_same_loss" name="the larger of the two"
def min_snr_weight(log_snr, kind, gamma):
    capped = log_snr.clamp(min=math.log(gamma))
    if kind == "x_0":
        return capped.exp()
    if kind == "eps":
        return (math.log(gamma) - log_snr).clamp(min=0).exp()
    if kind == "v":
        return (capped - F.softplus(log_snr)).exp()
    raise ValueError(kind)


# %% wrong="min-snr" fails="test_same_loss" name="multiplies by SNR instead of dividing"
def min_snr_weight(log_snr, kind, gamma):
    capped = log_snr.clamp(max=math.log(gamma))
    if kind == "x_0":
        return capped.exp()
    if kind == "eps":
        return (capped + log_snr).exp()
    if kind == "v":
        return (capped + F.softplus(log_snr)).exp()
    raise ValueError(kind)


# %% wrong="min-snr" fails="test_same_loss" name="gamma without its logarithm"
def min_snr_weight(log_snr, kind, gamma):
    capped = log_snr.clamp(max=gamma)
    if kind == "x_0":
        return capped.exp()
    if kind == "eps":
        return (gamma - log_snr).clamp(max=0).exp()
    if kind == "v":
        return (capped - F.softplus(log_snr)).exp()
    raise ValueError(kind)


# %% wrong="min-snr" fails="test_same_loss" name="v with the weight of eps"
def min_snr_weight(log_snr, kind, gamma):
    capped = log_snr.clamp(max=math.log(gamma))
    if kind == "x_0":
        return capped.exp()
    if kind == "eps":
        return (math.log(gamma) - log_snr).clamp(max=0).exp()
    if kind == "v":
        return ((math.log(gamma) - log_snr).clamp(max=0)).exp()
    raise ValueError(kind)


# %% wrong="min-snr" fails="test_same_loss" name="errors by their size, not squared"
def min_snr_weight(log_snr, kind, gamma):
    capped = log_snr.clamp(max=math.log(gamma))
    if kind == "x_0":
        return capped.exp()
    if kind == "eps":
        return (capped - log_snr / 2).exp()
    if kind == "v":
        return (capped - F.softplus(log_snr) / 2).exp()
    raise ValueError(kind)


# %% right="min-snr" name="by alpha^2 and sigma^2, which the logistic function gives"
def min_snr_weight(log_snr, kind, gamma):
    if kind not in ("x_0", "eps", "v"):
        raise ValueError("kind")
    low = log_snr <= math.log(gamma)
    alpha2, sigma2 = torch.sigmoid(log_snr), torch.sigmoid(-log_snr)
    if kind == "x_0":
        return torch.where(low, torch.exp(torch.where(low, log_snr, 0.0)), gamma)
    if kind == "eps":
        return torch.where(low, 1.0, gamma * torch.exp(-torch.where(low, 0.0, log_snr)))
    return torch.where(low, alpha2, gamma * sigma2)


# %% wrong="best-variance" fails="test_minimum" name="the posterior's own variance"
def best_variance(b, c, m):
    return c**2 + 0 * m, 0 * m


# %% wrong="best-variance" fails="test_minimum" name="b not squared"
def best_variance(b, c, m):
    excess = b / c**2 * m
    return c**2 * (1 + excess), (excess - excess.log1p()) / 2


# %% wrong="best-variance" fails="test_minimum" name="m as a deviation"
def best_variance(b, c, m):
    excess = (b / c) ** 2 * m**2
    return c**2 * (1 + excess), (excess - excess.log1p()) / 2


# %% wrong="best-variance" fails="test_minimum" name="the deviation instead of the variance"
def best_variance(b, c, m):
    excess = (b / c) ** 2 * m
    return (c**2 * (1 + excess)).sqrt(), (excess - excess.log1p()) / 2


# %% wrong="best-variance" fails="test_minimum" name="c for its square"
def best_variance(b, c, m):
    excess = b**2 / c * m
    return c * (1 + excess), (excess - excess.log1p()) / 2


# %% wrong="best-variance" fails="test_minimum" name="forgets the picture's weight b"
def best_variance(b, c, m):
    excess = m / c**2
    return c**2 * (1 + excess), (excess - excess.log1p()) / 2


# %% wrong="best-variance" fails="test_minimum" name="the sign of the saving, in bits, and half the excess"
def best_variance(b, c, m):
    excess = (b / c) ** 2 * m
    return c**2 * (1 + excess / 2), (excess.log1p() - excess) / (2 * math.log(2))


# %% right="best-variance" name="the difference of two KL divergences"
def best_variance(b, c, m):
    rho2 = c.square() + b.square() * m

    def kl(var):
        return 0.5 * ((var / c.square()).log() + rho2 / var - 1)

    return rho2, kl(c.square()) - kl(rho2)


# %% wrong="repair" fails="test_guided_step" name="still 1 too much guidance"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = eps_y + w * (eps_y - eps_none)
    beta = 1 - alpha_bar[k] / alpha_bar[k - 1]
    mean = (x_k - beta / (1 - alpha_bar[k]).sqrt() * eps) / (1 - beta).sqrt()
    variance = beta * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])
    return mean + variance.sqrt() * z


# %% wrong="repair" fails="test_posterior_step" name="still divides by the whole alpha"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = eps_none + w * (eps_y - eps_none)
    beta = 1 - alpha_bar[k] / alpha_bar[k - 1]
    mean = (x_k - beta / (1 - alpha_bar[k]).sqrt() * eps) / alpha_bar[k].sqrt()
    variance = beta * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])
    return mean + variance.sqrt() * z


# %% wrong="repair" fails="test_posterior_step" name="still a variance for a deviation"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = eps_none + w * (eps_y - eps_none)
    beta = 1 - alpha_bar[k] / alpha_bar[k - 1]
    mean = (x_k - beta / (1 - alpha_bar[k]).sqrt() * eps) / (1 - beta).sqrt()
    variance = beta * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])
    return mean + variance * z


# %% wrong="repair" fails="test_posterior_step" name="the forward variance beta"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = eps_none + w * (eps_y - eps_none)
    beta = 1 - alpha_bar[k] / alpha_bar[k - 1]
    mean = (x_k - beta / (1 - alpha_bar[k]).sqrt() * eps) / (1 - beta).sqrt()
    return mean + beta.sqrt() * z


# %% wrong="repair" fails="test_posterior_step" name="DDIM: no noise at all"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = eps_none + w * (eps_y - eps_none)
    beta = 1 - alpha_bar[k] / alpha_bar[k - 1]
    mean = (x_k - beta / (1 - alpha_bar[k]).sqrt() * eps) / (1 - beta).sqrt()
    return mean


# %% wrong="repair" fails="test_guided_step" name="guidance the wrong way round"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = eps_y + w * (eps_none - eps_y)
    beta = 1 - alpha_bar[k] / alpha_bar[k - 1]
    mean = (x_k - beta / (1 - alpha_bar[k]).sqrt() * eps) / (1 - beta).sqrt()
    variance = beta * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])
    return mean + variance.sqrt() * z


# %% wrong="repair" fails="test_posterior_step" name="an index off by one"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = eps_none + w * (eps_y - eps_none)
    beta = 1 - alpha_bar[min(k + 1, len(alpha_bar) - 1)] / alpha_bar[min(k, len(alpha_bar) - 2)]
    mean = (x_k - beta / (1 - alpha_bar[k]).sqrt() * eps) / (1 - beta).sqrt()
    variance = beta * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])
    return mean + variance.sqrt() * z


# %% wrong="repair" fails="test_posterior_step" name="beta over 1 - alpha_bar without the root"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = eps_none + w * (eps_y - eps_none)
    beta = 1 - alpha_bar[k] / alpha_bar[k - 1]
    mean = (x_k - beta / (1 - alpha_bar[k]) * eps) / (1 - beta).sqrt()
    variance = beta * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k])
    return mean + variance.sqrt() * z


# %% right="repair" name="through the picture and section 2's posterior"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = (1 - w) * eps_none + w * eps_y
    x_0 = (x_k - (1 - alpha_bar[k]).sqrt() * eps) / alpha_bar[k].sqrt()
    pair = [(v.sqrt(), (1 - v).sqrt()) for v in (alpha_bar[k - 1], alpha_bar[k])]
    a, b, c = posterior(*pair[0], *pair[1])
    return a * x_k + b * x_0 + c * z


# %% right="repair" name="the deterministic step with less of the old noise"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps = torch.lerp(eps_none, eps_y, w)
    x_0 = (x_k - (1 - alpha_bar[k]).sqrt() * eps) / alpha_bar[k].sqrt()
    before = alpha_bar[k - 1]
    var = (1 - before) / (1 - alpha_bar[k]) * (1 - alpha_bar[k] / before)
    return before.sqrt() * x_0 + (1 - before - var).clamp(min=0).sqrt() * eps + var.sqrt() * z


# %% wrong="bridge" fails="test_conditional_of_three" name="the posterior of section 2, as if r were clean"
def bridge(alpha, sigma):
    a, b, c = posterior(alpha[:, 1], sigma[:, 1], alpha[:, 2], sigma[:, 2])
    return b, a, c


# %% wrong="bridge" fails="test_conditional_of_three" name="a and b exchanged"
def bridge(alpha, sigma):
    (a_r, a_s, a_t), (s_r, s_s, s_t) = alpha.T, sigma.T
    to_s, to_t = a_s / a_r, a_t / a_s
    var_s = s_s**2 - (to_s * s_r) ** 2
    var_t = s_t**2 - (to_t * s_s) ** 2
    both = var_t + to_t**2 * var_s
    return to_t * var_s / both, to_s * var_t / both, (var_s * var_t / both).sqrt()


# %% wrong="bridge" fails="test_conditional_of_three" name="the variance instead of the deviation"
def bridge(alpha, sigma):
    (a_r, a_s, a_t), (s_r, s_s, s_t) = alpha.T, sigma.T
    to_s, to_t = a_s / a_r, a_t / a_s
    var_s = s_s**2 - (to_s * s_r) ** 2
    var_t = s_t**2 - (to_t * s_s) ** 2
    both = var_t + to_t**2 * var_s
    return to_s * var_t / both, to_t * var_s / both, var_s * var_t / both


# %% wrong="bridge" fails="test_conditional_of_three" name="variances added without the ratio"
def bridge(alpha, sigma):
    (a_r, a_s, a_t), (s_r, s_s, s_t) = alpha.T, sigma.T
    to_s, to_t = a_s / a_r, a_t / a_s
    var_s = s_s**2 - (to_s * s_r) ** 2
    var_t = s_t**2 - (to_t * s_s) ** 2
    both = var_t + var_s
    return to_s * var_t / both, to_t * var_s / both, (var_s * var_t / both).sqrt()


# %% wrong="bridge" fails="test_conditional_of_three" name="all noise at s is new"
def bridge(alpha, sigma):
    (a_r, a_s, a_t), (_, s_s, s_t) = alpha.T, sigma.T
    to_s, to_t = a_s / a_r, a_t / a_s
    var_s = s_s**2
    var_t = s_t**2 - (to_t * s_s) ** 2
    both = var_t + to_t**2 * var_s
    return to_s * var_t / both, to_t * var_s / both, (var_s * var_t / both).sqrt()


# %% wrong="bridge" fails="test_conditional_of_three" name="a straight line between the two"
def bridge(alpha, sigma):
    s_r, s_s, s_t = sigma.T
    share = (s_s - s_r) / (s_t - s_r)
    return 1 - share, share, (s_s**2 - s_r**2).clamp(min=0).sqrt()


# %% wrong="bridge" fails="test_conditional_of_three" name="sigma from alpha, and no noise at r"
def bridge(alpha, sigma):
    (a_r, a_s, a_t), (_, s_s, s_t) = alpha.T, (1 - alpha**2).abs().sqrt().T
    to_s, to_t = a_s / a_r, a_t / a_s
    var_s = s_s**2
    var_t = s_t**2 - (to_t * s_s) ** 2
    both = var_t + to_t**2 * var_s
    return to_s * var_t / both, to_t * var_s / both, (var_s * var_t / both).sqrt()


# %% right="bridge" name="conditions the joint normal of the three"
def bridge(alpha, sigma):
    found = []
    for a, s in zip(alpha, sigma):
        cov_rs, cov_rt, cov_st = a[1] / a[0] * s[0] ** 2, a[2] / a[0] * s[0] ** 2, a[2] / a[1] * s[1] ** 2
        to_s, to_t = a[1] / a[0], a[2] / a[0]
        if s[0] == 0:  # x_r is known exactly; condition on x_t alone
            var = s[1] ** 2
            gain = cov_st / s[2] ** 2
            found.append(torch.stack([to_s - gain * to_t, gain, (var - gain * cov_st).sqrt()]))
            continue
        C = torch.stack([torch.stack([s[0] ** 2, cov_rt]), torch.stack([cov_rt, s[2] ** 2])])
        right = torch.stack([cov_rs, cov_st])
        weights = torch.linalg.solve(C, right)
        found.append(torch.stack([*weights, (s[1] ** 2 - weights @ right).sqrt()]))
    return tuple(torch.stack(found).T)


# %% right="bridge" name="precisions add up"
def bridge(alpha, sigma):
    a, s2 = alpha, sigma**2
    to_s, to_t = a[:, 1] / a[:, 0], a[:, 2] / a[:, 1]
    from_r = 1 / (s2[:, 1] - to_s**2 * s2[:, 0])
    from_t = 1 / (s2[:, 2] - to_t**2 * s2[:, 1])
    precision = from_r + to_t**2 * from_t
    return to_s * from_r / precision, to_t * from_t / precision, precision.rsqrt()
