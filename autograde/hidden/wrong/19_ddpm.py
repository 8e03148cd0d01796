"""Wrong and other right answers to lesson 19_ddpm."""

# %% wrong="any-two" fails="test_every_pair" name="section 3's rotation"
replace(
    "if (det == 0).any():",
    'det = det.sign() if set(known) == {"x_t", "v"} else det\nif (det == 0).any():',
)
# %% wrong="any-two" fails="test_every_pair" name="the sign of v"
replace("(-sigma, alpha)", "(sigma, -alpha)")
# %% wrong="any-two" fails="test_every_pair" name="alpha and sigma of the first row for all"
replace("along(v, next(iter(known.values())))", "v[0]")
# %% wrong="any-two" fails="test_every_pair" name="does not broadcast over pictures"
replace("along(v, next(iter(known.values())))", "v[:, None]")
# %% wrong="any-two" fails="test_ends_and_refusals" name="needs x_t"
replace("len(known) != 2", 'len(known) != 2 or "x_t" not in known')
# %% wrong="any-two" fails="test_every_pair" name="swaps the two names"
replace("x_0, eps = (u", "eps, x_0 = (u")
# %% wrong="any-two" fails="test_ends_and_refusals" name="refuses alpha = 0 alone, not sigma = 0"
replace("(det == 0)", '(alpha == 0 if set(known) != {"x_t", "v"} else det == 0)')
# %% wrong="any-two" fails="test_ends_and_refusals" name="x_t and v taken for enough where both numbers are 0"
replace("(det == 0).any()", '(det == 0).any() and set(known) != {"x_t", "v"}')
# %% wrong="any-two" fails="test_every_pair" name="numbers (B,) against alpha (B, 1)"
replace(
    "along(v, next(iter(known.values())))", "v.view(-1, *[1] * max(next(iter(known.values())).ndim - 1, 1))"
)
# %% wrong="any-two" fails="test_ends_and_refusals" name="a small determinant taken for 0"
replace("(det == 0)", "(det < 1e-9)")
# %% wrong="any-two" fails="test_ends_and_refusals" name="an epsilon against division by 0"
replace("(w * a[0] - u * b[0]) / det", "(w * a[0] - u * b[0]) / (det + 1e-12)")

# %% equivalent="any-two" name="the two that are given, computed again: rounding only"
replace(" | known", "")


# %% right="any-two" name="solves the 2 x 2 systems by matrix"
def any_two(known, alpha, sigma):
    names = ["x_t", "x_0", "eps", "v"]
    if len(known) != 2 or not set(known) <= set(names):
        raise ValueError("two names")
    one, zero = torch.ones_like(alpha), torch.zeros_like(alpha)
    rows = torch.stack([alpha, sigma, one, zero, zero, one, -sigma, alpha], dim=1).view(-1, 4, 2)
    A, values = rows[:, [names.index(name) for name in known]], torch.stack([*known.values()], dim=1)
    if (torch.linalg.det(A) == 0).any():
        raise ValueError("singular")
    four = rows @ torch.linalg.solve(A, values.reshape(len(A), 2, -1))
    return {name: four[:, i].view_as(values[:, 0]) for i, name in enumerate(names)}


# %% right="any-two" name="another mapping than a dict"
replace(
    "return {name: p * x_0 + q * eps for name, (p, q) in rows.items()} | known",
    """
from collections import ChainMap
return ChainMap(known, {name: p * x_0 + q * eps for name, (p, q) in rows.items()})
""",
)

# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="independent noise at each time"
replace("covariance.fill_diagonal_(0) + torch.diag(sigma**2)", "torch.diag(sigma**2)")
# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="one and the same eps at all times"
replace("covariance.fill_diagonal_(0) + torch.diag(sigma**2)", "sigma[:, None] * sigma")
# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="takes the times as they come"
replace("torch.where(earlier, forward, forward.T)", "forward.triu(1) + forward.triu(1).T")
# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="the smaller sigma is earlier"
replace("alpha[:, None] * sigma >= alpha * sigma[:, None]", "sigma[:, None] <= sigma")
# %% wrong="two-times" fails="test_covariance_at_the_ends" name="0 over 0 at the ends"
replace(".fill_diagonal_(0) + torch.diag(sigma**2)", "")
# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="the later noise, shrunk"
replace("forward, forward.T", "forward.T, forward")
# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="forgets to square"
replace("sigma[:, None] ** 2", "sigma[:, None]")
# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="adds the picture's own spread"
replace("torch.diag(sigma**2)", "torch.diag(sigma**2 + alpha**2)")

# %% wrong="two-times" fails="test_covariance_of_any_schedule" name="the smaller alpha is later"
replace("alpha[:, None] * sigma >= alpha * sigma[:, None]", "alpha[:, None] >= alpha")
# %% wrong="two-times" fails="test_covariance_at_the_ends" name="an epsilon against division by 0"
replace("alpha / alpha[:, None]", "alpha / (alpha[:, None] + 1e-12)")
# %% wrong="two-times" fails="test_covariance_at_the_ends" name="SNR with an epsilon"
replace(
    "[:, None] * sigma >= alpha * sigma[:, None]",
    "[:, None] * (sigma + 1e-8) >= alpha * (sigma + 1e-8)[:, None]",
)

# %% equivalent="two-times" name="of two times with one SNR either may be the earlier: both give the same"
replace("sigma >= alpha", "sigma > alpha")


# %% right="two-times" name="loops over pairs"
def path_covariance(alpha, sigma):
    covariance = torch.diag(sigma**2)
    for i, j in itertools.permutations(range(len(alpha)), 2):
        first, then = (i, j) if alpha[i] * sigma[j] >= alpha[j] * sigma[i] else (j, i)
        covariance[i, j] = alpha[then] / alpha[first] * sigma[first] ** 2
    return covariance


# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="shifts alpha_bar, not its root"
replace("alpha_bar.sqrt()", "alpha_bar")
replace("root**2", "root")
# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="keeps the clean end instead of the first step"
replace("* root[1] / (root[1] - root[-1])", "/ (1 - root[-1])")
# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="sets the last one to 0 and leaves the rest"
replace("root = (root - root[-1]) * root[1] / (root[1] - root[-1])", "root[-1] = 0")
# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="does not stretch"
replace(" * root[1] / (root[1] - root[-1])", "")
# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="stretches the clean end, too"
strike("root[0] = 1.0")
# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="returns the roots"
replace("return new,", "return root,")
# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="forgets to square the roots"
replace("root**2", "root")
# %% wrong="zero-terminal" fails="test_roots_on_a_line" name="a small end taken for 0"
replace("(root - root[-1])", "(root - (root[-1] if root[-1] > 1e-3 else 0))")
# %% wrong="zero-terminal" fails="test_betas_give_the_table_back" name="betas no smaller than DDPM's first"
replace("1 - new[1:] / new[:-1]", "(1 - new[1:] / new[:-1]).clamp(min=1e-4)")

# %% equivalent="zero-terminal" name="the roots are squared, so the sign of their shift is lost"
replace("(root - root[-1])", "(root[-1] - root)")
# %% equivalent="zero-terminal" name="the roots are squared, so the sign of their factor is lost"
replace("(root[1] - root[-1])", "(root[-1] - root[1])")


# %% right="zero-terminal" name="through the line's two numbers, betas in a loop"
def zero_terminal(alpha_bar):
    first, last = math.sqrt(alpha_bar[1]), math.sqrt(alpha_bar[-1])
    slope = first / (first - last)
    new = [1.0] + [(slope * (math.sqrt(v) - last)) ** 2 for v in alpha_bar[1:].tolist()]
    beta = [1 - b / a for a, b in itertools.pairwise(new)]
    return torch.tensor(new, dtype=torch.float64), torch.tensor(beta, dtype=torch.float64)


# %% wrong="min-snr" fails="test_far_ends" name="leaves log space: 0 over 0"
replace("(math.log(gamma) - log_snr).clamp(max=0).exp()", "capped.exp() / log_snr.exp()")
# %% wrong="min-snr" fails="test_same_loss" name="the picture's weight for all"
replace('kind == "x_0"', 'kind in ("x_0", "eps", "v")')
# %% wrong="min-snr" fails="test_same_loss" name="the larger of the two"
replace("max=math.log(gamma)", "min=math.log(gamma)")
# %% wrong="min-snr" fails="test_same_loss" name="multiplies by SNR instead of dividing"
replace("(math.log(gamma) - log_snr).clamp(max=0)", "(capped + log_snr)")
# %% wrong="min-snr" fails="test_same_loss" name="gamma without its logarithm"
replace("max=math.log(gamma)", "max=gamma")
# %% wrong="min-snr" fails="test_same_loss" name="v with the weight of eps"
replace('kind == "eps"', 'kind in ("eps", "v")')
# %% wrong="min-snr" fails="test_same_loss" name="errors by their size, not squared"
replace("F.softplus(log_snr)", "F.softplus(log_snr) / 2")
# %% wrong="min-snr" fails="test_far_ends" name="log SNR clamped to what single precision holds"
replace("log_snr.clamp(max=math", "log_snr.clamp(-80, 80).clamp(max=math")
# %% wrong="min-snr" fails="test_far_ends" name="a floor under the weight"
replace("log_snr).clamp(max=0).exp()", "log_snr).clamp(max=0).exp().clamp(min=1e-20)")

# %% right="min-snr" name="outside of log space: the smaller of two, by alpha^2 and sigma^2"
replace("capped.exp()", "log_snr.exp().clamp(max=gamma)")
replace("(math.log(gamma) - log_snr).clamp(max=0).exp()", "(gamma * (-log_snr).exp()).clamp(max=1)")
replace("(capped - F.softplus(log_snr)).exp()", "log_snr.sigmoid().minimum(gamma * (-log_snr).sigmoid())")

# %% wrong="best-variance" fails="test_minimum" name="the posterior's own variance"
replace("(b / c) ** 2 * m", "0 * m")
# %% wrong="best-variance" fails="test_minimum" name="b not squared"
replace("(b / c) ** 2", "b / c**2")
# %% wrong="best-variance" fails="test_minimum" name="m as a deviation"
replace("** 2 * m", "** 2 * m**2")
# %% wrong="best-variance" fails="test_minimum" name="the deviation instead of the variance"
replace("c**2 * (1 + excess)", "c * (1 + excess).sqrt()")
# %% wrong="best-variance" fails="test_minimum" name="c for its square"
replace("c**2", "c")
# %% wrong="best-variance" fails="test_minimum" name="forgets the picture's weight b"
replace("(b / c) ** 2", "1 / c**2")
# %% wrong="best-variance" fails="test_minimum" name="half of the excess"
replace("(1 + excess)", "(1 + excess / 2)")
# %% wrong="best-variance" fails="test_minimum" name="the sign of the saving"
replace("excess - excess.log1p()", "excess.log1p() - excess")
# %% wrong="best-variance" fails="test_minimum" name="the saving in bits"
replace("excess.log1p()) / 2", "excess.log1p()) / (2 * math.log(2))")
# %% wrong="best-variance" fails="test_moments" name="a floor under the deviation"
replace("(b / c) ** 2", "(b / c.clamp(min=1e-9)) ** 2")


# %% right="best-variance" name="the difference of two KL divergences"
def best_variance(b, c, m):
    rho2 = c**2 + b**2 * m
    own, best = ((v.log() - 2 * c.log() + rho2 / v - 1) / 2 for v in (c**2, rho2))
    return rho2, own - best


# %% right="best-variance" name="both in one tensor"
replace(
    "return c**2 * (1 + excess), (excess - excess.log1p()) / 2",
    "return torch.stack([c**2 * (1 + excess), (excess - excess.log1p()) / 2])",
)

# %% wrong="repair" fails="test_guided_step" name="still 1 too much guidance"
replace("eps_none + w", "eps_y + w")
# %% wrong="repair" fails="test_guided_step" name="guidance the wrong way round"
replace("eps_none + w * (eps_y - eps_none)", "eps_y + w * (eps_none - eps_y)")
# %% wrong="repair" fails="test_posterior_step" name="still divides by the whole alpha"
replace("(1 - beta).sqrt()", "alpha_bar[k].sqrt()")
# %% wrong="repair" fails="test_posterior_step" name="still a variance for a deviation"
replace("variance.sqrt()", "variance")
# %% wrong="repair" fails="test_posterior_step" name="the forward variance beta"
replace("variance.sqrt()", "beta.sqrt()")
# %% wrong="repair" fails="test_posterior_step" name="no noise at all"
replace(" + variance.sqrt() * z", "")
# %% wrong="repair" fails="test_posterior_step" name="the beta of the step before"
replace("alpha_bar[k] / alpha_bar[k - 1]", "alpha_bar[k - 1] / alpha_bar[k - 2]")
# %% wrong="repair" fails="test_posterior_step" name="beta over 1 - alpha_bar without the root"
replace("(1 - alpha_bar[k]).sqrt()", "(1 - alpha_bar[k])")
# %% wrong="repair" fails="test_guided_step" name="the last step without guidance"
replace("eps_none + w", "(eps_y if k == 1 else eps_none) + w * (k > 1)")
# %% wrong="repair" fails="test_posterior_step" name="clips what it returns"
replace("mean + variance.sqrt() * z", "(mean + variance.sqrt() * z).clamp(-10, 10)")
# %% wrong="repair" fails="test_posterior_step" name="float64, whatever went in"
replace("mean + variance.sqrt() * z", "mean.double() + variance.sqrt() * z")
# %% wrong="repair" fails="test_posterior_step" name="a view of what is not contiguous"
replace("mean + variance.sqrt() * z", "mean + variance.sqrt() * z.view(-1).view(x_k.shape)")


# %% right="repair" name="through the picture and section 2's posterior"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    before, (alpha, sigma) = ((v.sqrt(), (1 - v).sqrt()) for v in (alpha_bar[k - 1], alpha_bar[k]))
    a, b, c = posterior(*before, alpha, sigma)
    return a * x_k + b * (x_k - sigma * torch.lerp(eps_none, eps_y, w)) / alpha + c * z


# %% right="repair" name="the deterministic step with less of the old noise"
def repaired_step(x_k, eps_y, eps_none, w, k, alpha_bar, z):
    eps, before, now = (1 - w) * eps_none + w * eps_y, alpha_bar[k - 1], alpha_bar[k]
    x_0 = (x_k - (1 - now).sqrt() * eps) / now.sqrt()
    var = (1 - before) / (1 - now) * (1 - now / before)
    return before.sqrt() * x_0 + (1 - before - var).clamp(min=0).sqrt() * eps + var.sqrt() * z


# %% wrong="bridge" fails="test_conditional_of_three" name="the posterior of section 2, as if r were clean"
replace("to_s, to_t = a_s / a_r, a_t / a_s", "to_s, to_t, s_r = a_s, a_t / a_s, 0")
# %% wrong="bridge" fails="test_conditional_of_three" name="a and b exchanged"
replace("to_s * var_t / both, to_t * var_s / both", "to_t * var_s / both, to_s * var_t / both")
# %% wrong="bridge" fails="test_conditional_of_three" name="the variance instead of the deviation"
replace("(var_s * var_t / both).sqrt()", "var_s * var_t / both")
# %% wrong="bridge" fails="test_conditional_of_three" name="variances added without the ratio"
replace("to_t**2 * var_s", "var_s")
# %% wrong="bridge" fails="test_conditional_of_three" name="all noise at s is new"
replace("s_s**2 - (to_s * s_r) ** 2", "s_s**2")
# %% wrong="bridge" fails="test_conditional_of_three" name="a straight line between the two"
replace("to_s * var_t / both, to_t * var_s / both", "(s_t - s_s) / (s_t - s_r), (s_s - s_r) / (s_t - s_r)")
# %% wrong="bridge" fails="test_conditional_of_three" name="sigma from alpha"
replace("alpha.T, sigma.T", "alpha.T, (1 - alpha**2).abs().sqrt().T")
# %% wrong="bridge" fails="test_conditional_of_three" name="an epsilon against division by 0"
replace("both = var_t + to_t**2 * var_s", "both = var_t + to_t**2 * var_s + 1e-12")
# %% wrong="bridge" fails="test_bridge_ends" name="from clean to pure noise, b is 1"
replace("to_t * var_s / both, (var_s", "to_t * var_s / both + (s_r == 0) * (a_t == 0), (var_s")

# %% right="bridge" name="precisions add up"
replace("both = var_t + to_t**2 * var_s", "precision = 1 / var_s + to_t**2 / var_t")
replace("to_s * var_t / both, to_t * var_s / both", "to_s / var_s / precision, to_t / var_t / precision")
replace("(var_s * var_t / both).sqrt()", "precision.rsqrt()")


# %% right="bridge" name="conditions the joint normal of the three"
def bridge(alpha, sigma):
    C = (alpha[:, None] / alpha[:, :, None] * sigma[:, :, None] ** 2).triu(1)
    C = C + C.mT + torch.diag_embed(sigma**2)
    middle = C[:, ::2, 1:2]
    weights = torch.linalg.pinv(C[:, ::2, ::2]) @ middle  # C is singular where r is clean: the first is open
    b, deviation = weights[:, 1, 0], (C[:, 1, 1] - (weights.mT @ middle)[:, 0, 0]).sqrt()
    return (alpha[:, 1] - b * alpha[:, 2]) / alpha[:, 0], b, deviation  # x_0 does not matter


# %% right="bridge" name="the three in one tensor"
replace(
    "return to_s * var_t / both, to_t * var_s / both, (var_s * var_t / both).sqrt()",
    "return torch.stack([to_s * var_t / both, to_t * var_s / both, (var_s * var_t / both).sqrt()])",
)

# %% wrong="plane" fails="test_loss" name="forgets that one step of T - 1 was drawn"
replace("(T - 1) * (weight", "(weight")
# %% wrong="plane" fails="test_loss" name="T steps instead of T - 1"
replace("(T - 1) * (weight", "T * (weight")
# %% wrong="plane" fails="test_loss" name="forgets the half"
replace("ratio[k - 1]) / 2", "ratio[k - 1])")
# %% wrong="plane" fails="test_loss" name="the mean over coordinates"
replace(".sum(1)", ".mean(1)")
# %% wrong="plane" fails="test_loss" name="SNR itself for its slope"
replace("(ratio[k - 2] - ratio[k - 1])", "ratio[k - 1]")
# %% wrong="plane" fails="test_loss" name="the weight of the step after"
replace("(ratio[k - 2] - ratio[k - 1])", "(ratio[k - 1] - ratio[k.clamp(max=T - 1)])")
# %% wrong="plane" fails="test_loss" name="never draws the last step"
replace("torch.randint(2, T + 1, (len", "torch.randint(2, max(T, 3), (len")
# %% wrong="plane" fails="test_loss" name="one step for the whole batch"
replace("(len(x_0),), generator=generator)", "(1,), generator=generator).expand(len(x_0))")
# %% wrong="plane" fails="test_loss" name="the noise of deviation 1"
replace("sigma[k, None] * eps", "eps")
# %% wrong="plane" fails="test_loss" name="takes alpha for 1"
replace("alpha[k, None] * x_0", "x_0")
# %% wrong="plane" fails="test_loss" name="one noise for both coordinates"
replace("eps = torch.randn(x_0.shape, generator", "eps = torch.randn(len(x_0), 1, generator")
# %% wrong="plane" fails="test_loss" name="one noise for all rows"
replace("eps = torch.randn(x_0.shape, generator", "eps = torch.randn(1, 2, generator")
# %% wrong="plane" fails="test_loss" name="noise from the global state"
replace("eps = torch.randn(x_0.shape, generator=generator,", "eps = torch.randn(x_0.shape,")
# %% wrong="plane" fails="test_loss" name="no gradient reaches the network"
replace("- guess)", "- guess.detach())")
# %% wrong="plane" fails="test_sampler" name="a variance for a deviation"
replace("c * torch.randn", "c**2 * torch.randn")
# %% wrong="plane" fails="test_sampler" name="DDIM: no noise on the way"
replace(
    "x = a * x + b * guess + c * torch.randn(n, 2, generator=generator, dtype=x.dtype)",
    """
x = alpha[k - 1] * guess + sigma[k - 1] / sigma[k] * (x - alpha[k] * guess)
""",
)
# %% wrong="plane" fails="test_sampler" name="starts from noise of deviation 1"
replace("sigma[-1] * torch.randn(n, 2, g", "torch.randn(n, 2, g")
# %% wrong="plane" fails="test_sampler" name="stops before the last step"
replace("- 1, 0, -1)", "- 1, 1, -1)")
# %% wrong="plane" fails="test_sampler" name="tells the network the step that comes"
replace("torch.full((n,), k)", "torch.full((n,), k - 1)")
# %% wrong="plane" fails="test_sampler" name="the deviation of the forward step"
replace(
    "a, b, c = posterior(alpha[k - 1], sigma[k - 1], alpha[k], sigma[k])",
    """
a, b, _ = posterior(alpha[k - 1], sigma[k - 1], alpha[k], sigma[k])
c = (sigma[k] ** 2 - (alpha[k] / alpha[k - 1] * sigma[k - 1]) ** 2).sqrt() * (k > 1)
""",
)
# %% wrong="plane" fails="test_sampler" name="the same noise at every step"
replace(
    "x = sigma[-1] * torch.randn(n, 2, generator=generator, dtype=sigma.dtype)",
    """
z = torch.randn(n, 2, generator=generator, dtype=sigma.dtype)
x = sigma[-1] * z
""",
)
replace("c * torch.randn(n, 2, generator=generator, dtype=x.dtype)", "c * z")
# %% wrong="plane" fails="test_sampler" name="one noise at each step for both coordinates"
replace("c * torch.randn(n, 2, g", "c * torch.randn(n, 1, g")
# %% wrong="plane" fails="test_sampler" name="clips the network's picture"
replace("b * guess", "b * guess.clamp(-1, 1)")


# %% right="plane" name="by the formulas, not by the chapter's posterior; noise drawn first"
def bound_loss(net, x_0, alpha, sigma, generator):
    T, (B, D) = len(alpha) - 1, x_0.shape
    eps = torch.randn(B, D, generator=generator, dtype=x_0.dtype)
    k = 2 + torch.randperm(B, generator=generator) % (T - 1) if B % (T - 1) == 0 else None
    k = torch.randint(2, T + 1, (B,), generator=generator) if k is None else k
    x_k = torch.einsum("b,bd->bd", alpha[k], x_0) + torch.einsum("b,bd->bd", sigma[k], eps)
    error = torch.linalg.vector_norm(x_0 - net(x_k, k), dim=1) ** 2
    ratio = alpha[k] / alpha[k - 1]
    added = sigma[k] ** 2 - ratio**2 * sigma[k - 1] ** 2
    b, c2 = alpha[k - 1] * added / sigma[k] ** 2, added * sigma[k - 1] ** 2 / sigma[k] ** 2
    return ((T - 1) * b**2 / c2 / 2 * error).sum() / B


def draw(net, n, alpha, sigma, generator):
    T = len(alpha) - 1
    z = torch.randn(T + 1, n, 2, generator=generator, dtype=torch.float64)
    x = z[0] * sigma[T]
    for k in reversed(range(1, T + 1)):
        x_0 = net(x, k * torch.ones(n, dtype=torch.int64))
        eps = (x - alpha[k] * x_0) / sigma[k]
        c2 = (sigma[k - 1] / sigma[k]) ** 2 * (sigma[k] ** 2 - (alpha[k] / alpha[k - 1] * sigma[k - 1]) ** 2)
        left = (sigma[k - 1] ** 2 - c2).clamp(min=0).sqrt()
        x = alpha[k - 1] * x_0 + left * eps + c2.clamp(min=0).sqrt() * z[T + 1 - k]
    return x


# %% equivalent="plane" name="the square is the same for the difference turned round"
replace("((x_0 - guess) ** 2)", "((guess - x_0) ** 2)")
