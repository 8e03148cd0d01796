"""Wrong and other right answers to the exercises of lesson 18_score."""

# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="the other way round"
replace("b - a, 0", "a - b, 0")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="the score in the middle alone"
replace("leggauss(100)", "leggauss(1)")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="five nodes"
replace("leggauss(100)", "leggauss(5)")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="nodes for wide clouds alone"
replace("leggauss(100)", "leggauss(24)")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="a result of 50 at most"
replace("return total", "return total.clamp(-50, 50)")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="nodes from -1 to 1, taken for 0 to 1"
replace("((nodes + 1) / 2)", "nodes")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="weights of an interval of length 2"
replace("(weights / 2)", "weights")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="the mean over coordinates"
replace(".sum(1)", ".mean(1)")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="two thousand nodes"
replace("leggauss(100)", "leggauss(600)")
# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="the unit vector of the way"
replace("total = total + weight", "total = total + weight / way.norm()")


# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="the trapezoid rule"
def log_ratio(score, a, b):
    u, way = torch.linspace(0, 1, 500).tolist(), b - a
    slopes = torch.stack([(score(a + t * way) * way).flatten(1).sum(1) for t in u])
    return ((slopes[1:] + slopes[:-1]) / 2).mean(0)


# %% wrong="log-ratio" fails="test_log_densities_differ_by_it" name="Simpson's rule"
def log_ratio(score, a, b):
    u, way = torch.linspace(0, 1, 499).tolist(), b - a
    slopes = torch.stack([(score(a + t * way) * way).flatten(1).sum(1) for t in u])
    return (slopes[:-2:2] + 4 * slopes[1:-1:2] + slopes[2::2]).mean(0) / 6


# %% equivalent="log-ratio" name="a rule of 101 points is as exact"
replace(
    "nodes, weights = np.polynomial.legendre.leggauss(100)",
    "nodes, weights = np.polynomial.legendre.leggauss(101)",
)
# %% equivalent="log-ratio" name="a rule of 99 points is as exact"
replace(
    "nodes, weights = np.polynomial.legendre.leggauss(100)",
    "nodes, weights = np.polynomial.legendre.leggauss(99)",
)


# %% right="log-ratio" name="ten panels of Gauss, all points in one call"
def log_ratio(score, a, b):
    x5, w5 = np.polynomial.legendre.leggauss(12)
    u = torch.as_tensor((np.arange(20)[:, None] + (x5 + 1) / 2).ravel() / 20, dtype=a.dtype)
    w = torch.as_tensor(np.tile(w5 / 40, 20), dtype=a.dtype)
    points = torch.lerp(a[None], b[None], u.reshape(-1, *[1] * a.ndim))
    slopes = score(points.reshape(-1, *a.shape[1:])).reshape(points.shape)
    return torch.einsum("n,nbk,bk->b", w, slopes.reshape(len(u), len(a), -1), (b - a).reshape(len(a), -1))


# %% wrong="denoiser-covariance" fails="test_posterior_of_a_mixture" name="sigma for its square"
replace("sigma**2 *", "sigma *")
# %% wrong="denoiser-covariance" fails="test_symmetric_part" name="the Jacobian as it is"
replace("(J + J.transpose(1, 2)) / 2", "J")
# %% wrong="denoiser-covariance" fails="test_posterior_of_a_mixture" name="its diagonal"
replace("(J + J.transpose(1, 2)) / 2", "torch.diag_embed(torch.diagonal(J, dim1=1, dim2=2))")
# %% wrong="denoiser-covariance" fails="test_posterior_of_a_mixture" name="the Jacobian of the noise"
replace("J = torch.stack(rows, dim=1)", "J = torch.eye(x.shape[1]).to(x) - torch.stack(rows, dim=1)")
# %% wrong="denoiser-covariance" fails="test_posterior_of_a_mixture" name="the Jacobian of the score"
replace("sigma**2 *", "1 / sigma**2 *")
# %% wrong="denoiser-covariance" fails="test_posterior_of_a_mixture" name="the mean Jacobian of all rows"
replace(
    "J = torch.stack(rows, dim=1)",
    "J = torch.stack(rows, dim=1).mean(0, keepdim=True).expand(len(x), -1, -1)",
)
# %% wrong="denoiser-covariance" fails="test_symmetric_part" name="the sum with the transpose"
replace("(J + J.transpose(1, 2)) / 2", "(J + J.transpose(1, 2))")
# %% wrong="denoiser-covariance" fails="test_posterior_of_a_mixture" name="the covariance of the noise added"
replace("return sigma**2", "return sigma**2 * torch.eye(x.shape[1]).to(x) + sigma**2")


# %% wrong="denoiser-covariance" fails="test_symmetric_part" name="a gradient hangs on the result"
replace("retain_graph=True", "create_graph=True")


# %% wrong="denoiser-covariance" fails="test_symmetric_part" name="differences to either side"
def posterior_covariance(denoise, x, sigma):
    way = 1e-5 * torch.eye(x.shape[1], dtype=x.dtype)
    J = torch.stack([(denoise(x + e, sigma) - denoise(x - e, sigma)).detach() / 2e-5 for e in way], dim=2)
    return sigma**2 * (J + J.mT) / 2


# %% equivalent="denoiser-covariance" name="without create_graph there is no graph behind the result"
replace("x.detach().clone()", "x.clone()")
# %% equivalent="denoiser-covariance" name="what is detached may be marked without a copy"
replace("x.detach().clone()", "x.detach()")

# %% equivalent="denoiser-covariance" name="one input has one gradient: the last is the first"
replace(
    "rows = [torch.autograd.grad(D[:, i].sum(), place, retain_graph=True)[0] for i in range(x.shape[1])]",
    "rows = [torch.autograd.grad(D[:, i].sum(), place, retain_graph=True)[-1] for i in range(x.shape[1])]",
)
# %% equivalent="denoiser-covariance" name="the two halves of a symmetric matrix, exchanged"
replace("J = torch.stack(rows, dim=1)", "J = torch.stack(rows, dim=2)")
# %% equivalent="denoiser-covariance" name="two axes exchanged, in either order"
replace("return sigma**2 * (J + J.transpose(1, 2)) / 2", "return sigma**2 * (J + J.transpose(2, 1)) / 2")


# %% right="denoiser-covariance" name="forward differentiation, coordinate by coordinate"
def posterior_covariance(denoise, x, sigma):
    fixed = x.detach()
    columns = []
    for direction in torch.eye(fixed.shape[-1], dtype=fixed.dtype):
        _, change = torch.func.jvp(
            lambda p: denoise(p, sigma), (fixed,), (direction.expand_as(fixed).clone(),)
        )
        columns.append(change.detach())
    jacobian = torch.stack(columns, -1)
    return (jacobian + jacobian.mT) * (0.5 * sigma * sigma)


# %% wrong="ladder" fails="test_fewest_levels" name="one level too many"
replace("steps + 1))", "steps + 2))")
# %% wrong="ladder" fails="test_fewest_levels" name="the upper deviation forgotten"
replace("phi(way + 3 * gamma) - phi(way - 3 * gamma)", "phi(way + 3) - phi(way - 3)")
# %% wrong="ladder" fails="test_fewest_levels" name="the mass below the upper edge"
replace("phi(way + 3 * gamma) - phi(way - 3 * gamma)", "phi(way + 3 * gamma) + 0.5")
# %% wrong="ladder" fails="test_fewest_levels" name="sqrt D for sqrt 2D"
replace("math.sqrt(2 * D)", "math.sqrt(D)")
# %% wrong="ladder" fails="test_fewest_levels" name="equal differences"
replace("np.geomspace(", "np.linspace(")
# %% wrong="ladder" fails="test_fewest_levels" name="rising"
replace("np.geomspace(high, low,", "np.geomspace(low, high,")
# %% wrong="ladder" fails="test_ends_and_refusals" name="refuses nothing"
strike("if not (0 < low <= high < math.inf and 0 < share <= 0.99 and D >= 8):")
strike(
    '    raise ValueError("a ladder falls from a finite level to one above 0, and shells overlap in part")'
)
# %% wrong="ladder" fails="test_ends_and_refusals" name="two levels where both ends are one"
replace("0 if high == low else 1", "1")
# %% wrong="ladder" fails="test_ends_and_refusals" name="any share of 1 or less"
replace("share <= 0.99", "share <= 0.999")
# %% wrong="ladder" fails="test_ends_and_refusals" name="any number of coordinates"
replace("D >= 8", "D >= 1")
# %% wrong="ladder" fails="test_ends_and_refusals" name="both ends alike are refused"
replace("low <= high", "low < high")
# %% wrong="ladder" fails="test_ends_and_refusals" name="an infinite level"
replace("high < math.inf", "high <= math.inf and (high != math.inf or low != math.inf)")
replace("gamma = (high / low)", "gamma = min(high / low, 1e9)")
# %% wrong="ladder" fails="test_ends_and_refusals" name="eight coordinates are too few"
replace("D >= 8", "D > 8")
# %% wrong="ladder" fails="test_fewest_levels" name="five hundred levels at most"
replace(">= share:", ">= share or steps > 500:")


# %% equivalent="ladder" name="the larger of two, in either order"
replace("max(steps, 1)", "max(1, steps)")

# %% equivalent="ladder" name="the search ends before: two steps less"
replace(
    "for steps in range(0 if high == low else 1, 9_999):",
    "for steps in range(0 if high == low else 1, 9999 - 1):",
)
# %% equivalent="ladder" name="the search ends before: one step more"
replace(
    "for steps in range(0 if high == low else 1, 9_999):",
    "for steps in range(0 if high == low else 1, 10000):",
)
# %% equivalent="ladder" name="the search ends before: one step less"
replace(
    "for steps in range(0 if high == low else 1, 9_999):",
    "for steps in range(0 if high == low else 1, 9998):",
)
# %% equivalent="ladder" name="phi is odd: a shift to either side covers as much"
replace("way = math.sqrt(2 * D) * (gamma - 1)", "way = math.sqrt(2 * D) * ((1 - gamma))")
# %% equivalent="ladder" name="no ladder covers the share exactly"
replace(
    "if phi(way + 3 * gamma) - phi(way - 3 * gamma) >= share:",
    "if (phi(way + 3 * gamma) - phi(way - 3 * gamma) > share):",
)


# %% right="ladder" name="the largest ratio by bisection, then as many as it takes"
def overlap_ladder(high, low, D, share):
    if not high >= low > 0 or math.isinf(high) or not 0.99 >= share > 0 or D < 8:
        raise ValueError("no ladder")
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)

    def common(gamma):
        centre = (2 * D) ** 0.5 * (gamma - 1)
        edges = torch.tensor([centre - 3 * gamma, centre + 3 * gamma], dtype=torch.float64)
        return normal.cdf(edges).diff().item()

    below, above = 1.0, 2.0
    while common(above) >= share:
        below, above = above, 2 * above
    for _ in range(200):
        middle = (below + above) / 2
        below, above = (middle, above) if common(middle) >= share else (below, middle)
    jumps = math.ceil(math.log(high / low) / math.log(below) - 1e-12)
    ratio = torch.arange(jumps + 1, dtype=torch.float64) / max(jumps, 1)
    return high * torch.exp(-ratio * math.log(high / low))


# %% wrong="repair" fails="test_sweep_by_hand" name="still one norm for all rows"
replace(
    "v.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))",
    "v.norm().expand(len(x)).reshape(-1, *[1] * (x.ndim - 1))",
)
# %% wrong="repair" fails="test_sweep_by_hand" name="still the ratio upside down"
replace("(r * spread / drift)", "(r * drift / spread)")
# %% wrong="repair" fails="test_sweep_by_hand" name="still the noise of another step"
replace("(2 * h).sqrt()", "h.sqrt()")
# %% wrong="repair" fails="test_sweep_by_hand" name="still sigma for its square"
replace("sigma**2 * score(x, sigma)", "sigma * score(x, sigma)")
# %% wrong="repair" fails="test_sweep_by_hand" name="still no case for a score of 0"
replace("torch.where(drift > 0, 2 * (r * spread / drift) ** 2, 0)", "2 * (r * spread / drift) ** 2")
# %% wrong="repair" fails="test_sweep_by_hand" name="the ratio without its square"
replace("(r * spread / drift) ** 2", "(r * spread / drift)")
# %% wrong="repair" fails="test_sweep_by_hand" name="no last step"
replace("return x + sigma**2 * score(x, sigma)", "return x")
# %% wrong="repair" fails="test_sweep_by_hand" name="the first level's denoising"
replace("return x + sigma**2 * score(x, sigma)", "return x + sigmas[0] ** 2 * score(x, sigmas[0])")
# %% wrong="repair" fails="test_kinds_of_rows" name="a small score taken for 0"
replace("drift > 0", "drift > 1e-6")
# %% wrong="repair" fails="test_kinds_of_rows" name="a small number under the fraction"
replace(
    "torch.where(drift > 0, 2 * (r * spread / drift) ** 2, 0)",
    "2 * (r * spread / (drift + 1e-3)) ** 2 * (drift > 0)",
)
# %% wrong="repair" fails="test_sweep_by_hand" name="norms of the last axis"
replace("v.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))", "v.norm(dim=-1, keepdim=True)")


# %% wrong="repair" fails="test_kinds_of_rows" name="a row once without a score stays for good"
replace(
    "for sigma, noise in zip(sigmas, z, strict=True):",
    "alive = True\nfor sigma, noise in zip(sigmas, z, strict=True):",
)
replace(
    "h = torch.where(drift > 0, 2 * (r * spread / drift) ** 2, 0)",
    "alive = alive & (drift > 0)\nh = torch.where(alive, 2 * (r * spread / drift) ** 2, 0)",
)
# %% wrong="repair" fails="test_kinds_of_rows" name="stops where no row has a score"
replace(
    "h = torch.where(drift > 0, 2 * (r * spread / drift) ** 2, 0)",
    "if not drift.any():\n    return x\nh = torch.where(drift > 0, 2 * (r * spread / drift) ** 2, 0)",
)
# %% wrong="repair" fails="test_sweep_by_hand" name="each channel by its own norm"
replace(
    "v.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))",
    "v.norm(dim=1 if x.ndim == 2 else (2, 3), keepdim=True)",
)
# %% wrong="repair" fails="test_sweep_by_hand" name="overwrites the score"
replace("h * g", "g.mul_(h)")

# %% equivalent="repair" name="as many noises as levels: not said"
replace("for sigma, noise in zip(sigmas, z, strict=True):", "for sigma, noise in zip(sigmas, z):")
# %% equivalent="repair" name="as many noises as levels, as is promised"
replace(
    "for sigma, noise in zip(sigmas, z, strict=True):", "for sigma, noise in zip(sigmas, z, strict=False):"
)
# %% equivalent="repair" name="x is the loop's own by then"
replace("return x + sigma**2 * score(x, sigma)", "return x.add_(sigma ** 2 * score(x, sigma))")


# %% right="repair" name="row by row"
def repaired_sweep(score, x, sigmas, r, z):
    for i in range(len(sigmas)):
        g, moved = score(x, sigmas[i]), x.clone()
        for n in range(len(x)):
            slope = torch.linalg.vector_norm(g[n])
            if slope == 0:
                continue
            root = 2 * r * torch.linalg.vector_norm(z[i][n]) / slope  # sqrt(2 h)
            moved[n] = x[n] + root * (root * g[n] / 2 + z[i][n])
        x = moved
    last = sigmas[len(sigmas) - 1]
    return x + score(x, last) * last * last


# %% wrong="mala" fails="test_steps_by_hand" name="accepts everything"
replace("accepted = u.log() < log_a", "accepted = u < 2")
# %% wrong="mala" fails="test_steps_by_hand" name="the proposal taken for symmetric"
replace(" + square(z) / 2 - square(back) / (4 * h)", "")
# %% wrong="mala" fails="test_steps_by_hand" name="the ratio of the proposals upside down"
replace("+ square(z) / 2 - square(back) / (4 * h)", "- square(z) / 2 + square(back) / (4 * h)")
# %% wrong="mala" fails="test_steps_by_hand" name="the way back without its drift"
replace("x - y - h * score(y)", "x - y - h * score(x)")
# %% wrong="mala" fails="test_steps_by_hand" name="a variance of h"
replace("square(back) / (4 * h)", "square(back) / (2 * h)")
# %% wrong="mala" fails="test_steps_by_hand" name="noise of deviation sqrt h"
replace("math.sqrt(2 * h)", "math.sqrt(h)")
# %% wrong="mala" fails="test_steps_by_hand" name="the densities the other way round"
replace("log_p(y) - log_p(x)", "log_p(x) - log_p(y)")
# %% wrong="mala" fails="test_steps_by_hand" name="one decision for all rows"
replace("accepted = u.log() < log_a", "accepted = (u.log() < log_a).all().expand(len(u))")
# %% wrong="mala" fails="test_steps_by_hand" name="rejected rows are proposed"
replace("y, x), accepted", "x, y), accepted")
# %% wrong="mala" fails="test_walls" name="what is not surely worse is accepted"
replace("accepted = u.log() < log_a", "accepted = ~(u.log() >= log_a)")
# %% wrong="mala" fails="test_walls" name="mixed by numbers, so that NaN spreads"
replace(
    "torch.where(accepted.reshape(-1, *[1] * (x.ndim - 1)), y, x)",
    "x + accepted.to(x).reshape(-1, *[1] * (x.ndim - 1)) * (y - x + 0 * back)",
)
# %% wrong="mala" fails="test_steps_by_hand" name="accepts where the density rises, only"
replace("accepted = u.log() < log_a", "accepted = log_a > 0")


# %% wrong="mala" fails="test_walls" name="at u = 0 everything is accepted"
replace("u.log() < log_a", "u.log() <= log_a")
# %% wrong="mala" fails="test_steps_by_hand" name="densities, not their logarithms"
replace("log_p(y) - log_p(x)", "(log_p(y).exp() / log_p(x).exp()).log()")

# %% equivalent="mala" name="the way back is squared"
replace("back = x - y - h * score(y)", "back = (h * score(y) - (x - y))")


# %% right="mala" name="by the densities' ratio, through torch.distributions"
def mala_step(log_p, score, x, h, z, u):
    spread = (2 * h) ** 0.5
    ahead = x + score(x) * h
    y = ahead + z * spread

    def log_q(to, centre):
        gap = (to - centre).reshape(len(to), -1) / spread
        return -0.5 * torch.einsum("bi,bi->b", gap, gap)

    gain = (log_p(y) + log_q(x, y + score(y) * h)) - (log_p(x) + log_q(y, ahead))
    chance = torch.nan_to_num(gain, nan=-math.inf, posinf=math.inf, neginf=-math.inf).clamp(max=0).exp()
    took = chance > u
    new = x.clone()
    new[took] = y[took]
    return new, took


# %% wrong="circle" fails="test_loss_of_what_was_shown" name="the noise's sign"
replace("sigma) + eps).square()", "sigma) - eps).square()")
# %% wrong="circle" fails="test_loss_of_what_was_shown" name="not weighted by the level"
replace(
    "(sigma * net(torch.stack([noisy.cos(), noisy.sin()], dim=1), sigma) + eps)",
    "(net(torch.stack([noisy.cos(), noisy.sin()], dim=1), sigma) + eps / sigma)",
)
# %% wrong="circle" fails="test_loss_of_what_was_shown" name="shows the clean angle"
replace("[noisy.cos(), noisy.sin()]", "[theta.cos(), theta.sin()]")
# %% wrong="circle" fails="test_loss_of_what_was_shown" name="one noise for all rows"
replace("eps = torch.randn(theta.shape,", "eps = torch.randn(1,")
replace("dtype=theta.dtype)", "dtype=theta.dtype).expand(len(theta))")
# %% wrong="circle" fails="test_loss_of_what_was_shown" name="uniform noise"
replace(
    "eps = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)",
    "eps = 12**0.5 * (torch.rand(theta.shape, generator=generator, dtype=theta.dtype) - 0.5)",
)
# %% wrong="circle" fails="test_loss_of_what_was_shown" name="the noise is wrapped with the angle"
replace(
    "noisy = theta + sigma * eps",
    "noisy = theta + sigma * eps\neps = torch.atan2((noisy - theta).sin(), (noisy - theta).cos()) / sigma",
)
# %% wrong="circle" fails="test_loss_of_what_was_shown" name="sine and cosine exchanged"
replace("[noisy.cos(), noisy.sin()]", "[noisy.sin(), noisy.cos()]")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="the noise of half the step"
replace("(2 * c) ** 0.5", "c**0.5")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="no last step"
strike("theta = theta + sigmas[-1] ** 2 * ask(sigmas[-1])")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="begins in one place"
replace(
    "theta = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)",
    "theta = torch.zeros(n, dtype=torch.float64)",
)
# %% wrong="circle" fails="test_walk_from_call_to_call" name="begins on half of the circle"
replace("theta = 2 * math.pi *", "theta = math.pi *")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="from 0 to two pi"
replace("(theta + math.pi) % (2 * math.pi) - math.pi", "theta % (2 * math.pi)")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="one step length for all levels"
replace("c * sigma**2 * ask(sigma)", "c * sigmas[0] ** 2 * ask(sigma)")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="the ladder upwards"
replace("for sigma in sigmas:", "for sigma in sigmas.flip(0):")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="a last step of the first level"
replace("theta + sigmas[-1] ** 2 * ask(sigmas[-1])", "theta + sigmas[0] ** 2 * ask(sigmas[0])")


# %% wrong="circle" fails="test_walk_from_call_to_call" name="half of the drift"
replace("c * sigma**2 * ask(sigma)", "c / 2 * sigma**2 * ask(sigma)")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="the same noise at every level"
replace("with torch.no_grad():", "fresh = [normal() for _ in range(steps)]\nwith torch.no_grad():")
replace("for _ in range(steps):", "for k in range(steps):")
replace("sigma * normal()", "sigma * fresh[k]")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="begins on a grid"
replace(
    "2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)",
    "2 * math.pi * torch.arange(n, dtype=torch.float64) / n",
)
# %% wrong="circle" fails="test_walk_from_call_to_call" name="a gradient hangs on the walk"
replace("with torch.no_grad():", "if True:")
# %% wrong="circle" fails="test_walk_from_call_to_call" name="the walk stops at the ends of a line"
replace("theta = theta + c", "theta = theta.clamp(0, 2 * math.pi) + c")
# %% wrong="circle" fails="test_loss_of_what_was_shown" name="noise of 3 at most"
replace("sigma * eps", "sigma * eps.clamp_(-3, 3)")
# %% wrong="circle" fails="test_loss_of_what_was_shown" name="noise in float64 always"
replace("generator=generator, dtype=theta.dtype)", "generator=generator, dtype=torch.float64)")

# %% equivalent="circle" name="a normal draw in float32 is one"
replace(
    "eps = torch.randn(theta.shape, generator=generator, dtype=theta.dtype)",
    "eps = torch.randn(theta.shape, generator=generator)",
)
# %% equivalent="circle" name="a normal draw of the sampler in float32 is one"
replace(
    "normal = lambda: torch.randn(n, generator=generator, dtype=torch.float64)",
    "normal = lambda: torch.randn(n, generator=generator)",
)
# %% equivalent="circle" name="a normal draw of the sampler in float32, said"
replace(
    "normal = lambda: torch.randn(n, generator=generator, dtype=torch.float64)",
    "normal = lambda: torch.randn(n, generator=generator, dtype=torch.float32)",
)
# %% equivalent="circle" name="noise has either sign"
replace(
    "theta = theta + c * sigma**2 * ask(sigma) + (2 * c) ** 0.5 * sigma * normal()",
    "theta = (theta + c * sigma ** 2 * ask(sigma) - (2 * c) ** 0.5 * sigma * normal())",
)
# %% equivalent="circle" name="theta is the sampler's own"
replace(
    "theta = theta + c * sigma**2 * ask(sigma) + (2 * c) ** 0.5 * sigma * normal()",
    "theta = theta.add_(c * sigma ** 2 * ask(sigma)) + (2 * c) ** 0.5 * sigma * normal()",
)
# %% equivalent="circle" name="theta is the sampler's own at the end"
replace(
    "theta = theta + sigmas[-1] ** 2 * ask(sigmas[-1])",
    "theta = theta.add_(sigmas[-1] ** 2 * ask(sigmas[-1]))",
)
# %% equivalent="circle" name="half a turn either way, before the remainder"
replace(
    "return (theta + math.pi) % (2 * math.pi) - math.pi",
    "return ((theta - math.pi)) % (2 * math.pi) - math.pi",
)
# %% equivalent="circle" name="theta is the sampler's own, and not asked again"
replace(
    "return (theta + math.pi) % (2 * math.pi) - math.pi",
    "return (theta.add_(math.pi)) % (2 * math.pi) - math.pi",
)


# %% right="circle" name="on unit vectors, with the loss in parts"
def circle_loss(net, theta, sigma, generator):
    noise = torch.normal(torch.zeros_like(theta), torch.ones_like(theta), generator=generator)
    place = torch.polar(torch.ones_like(theta), theta + noise * sigma)
    said = net(torch.view_as_real(place), sigma)
    gap = said + noise / sigma
    return torch.mean(sigma.square() * gap.square())


def circle_draw(net, n, sigmas, steps, c, generator):
    uniform = torch.empty(n, dtype=torch.float64).uniform_(-math.pi, math.pi, generator=generator)
    place = torch.polar(torch.ones(n, dtype=torch.float64), uniform)
    for i in range(len(sigmas) * steps + 1):
        last = i == len(sigmas) * steps
        level = sigmas[-1] if last else sigmas[i // steps]
        with torch.no_grad():
            slope = net(torch.view_as_real(place), torch.full((n,), level.item(), dtype=torch.float64))
        turn = level**2 * slope
        if not last:
            fresh = torch.normal(0.0, 1.0, (n,), generator=generator, dtype=torch.float64)
            turn = c * turn + level * math.sqrt(2 * c) * fresh
        place = place * torch.polar(torch.ones_like(turn), turn)
    angle = place.angle()
    return torch.where(angle >= math.pi, angle - 2 * math.pi, angle)
