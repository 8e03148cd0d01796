"""Wrong and other right answers to lesson 21_sde."""

# %% wrong="any-schedule" fails="test_any_schedule" name="the slope of alpha, not of its logarithm"
replace("a.log().sum()", "a.sum()")
# %% wrong="any-schedule" fails="test_any_schedule" name="the sign of the drift's part"
replace("slope - 2 * f * var", "slope + 2 * f * var")
# %% wrong="any-schedule" fails="test_any_schedule" name="the slope of sigma for that of its square"
replace("s.square().sum()", "s.sum()")
# %% wrong="any-schedule" fails="test_any_schedule" name="takes the path for VP"
replace("g2 = slope - 2 * f * var", "g2 = -2 * f")
# %% wrong="any-schedule" fails="test_any_schedule" name="forgets the two"
replace("slope - 2 * f * var", "slope - f * var")
# %% wrong="any-schedule" fails="test_any_schedule" name="g for its square"
replace("return f, g2", "return f, g2.clamp(min=0).sqrt()")
# %% wrong="any-schedule" fails="test_no_sde" name="refuses nothing"
replace("if (g2 < -1e-9 * var).any():", "if False:")
# %% wrong="any-schedule" fails="test_no_sde" name="refuses only if all times are at fault"
replace(".any()", ".all()")
# %% wrong="any-schedule" fails="test_no_sde" name="a negative square made 0"
replace("if (g2 < -1e-9 * var).any():", "g2 = g2.clamp(min=0)\nif (g2 < 0).any():")
# %% wrong="any-schedule" fails="test_no_sde" name="looks at the noise alone"
replace("if (g2 < -1e-9 * var).any():", "if (slope < 0).any():")

# %% wrong="any-schedule" fails="test_no_sde" name="refuses rounding"
replace("g2 < -1e-9 * var", "g2 < 0")
# %% wrong="any-schedule" fails="test_no_sde" name="what it accepts made 0"
replace("return f, g2", "return f, g2.clamp(min=0)")
# %% wrong="any-schedule" fails="test_no_sde" name="a threshold for all sizes"
replace("-1e-9 * var", "-1e-9")
# %% wrong="any-schedule" fails="test_no_sde" name="the largest noise for all times"
replace("-1e-9 * var", "-1e-9 * var.max()")
# %% wrong="any-schedule" fails="test_any_schedule" name="the first drift for all times"
replace("return f, g2", "return f[:1].expand_as(f), g2")

# %% equivalent="any-schedule" name="detach makes a tensor of its own: nothing writes to t"
replace("t.detach().clone().requires_grad_()", "t.detach().requires_grad_()")
# %% equivalent="any-schedule" name="a clone of times that need no gradient, as is promised"
replace("t.detach().clone().requires_grad_()", "t.clone().requires_grad_()")
# %% equivalent="any-schedule" name="autograd.grad gives what needs no gradient"
replace("f, var = f.detach(), s.detach() ** 2", "f, var = f, s.detach() ** 2")
# %% equivalent="any-schedule" name="exactly at the bound, where no schedule with noise comes to lie"
replace("g2 < -1e-9 * var", "g2 <= -1e-9 * var")


# %% right="any-schedule" name="by the noise per signal"
def coefficients(alpha, sigma, t):
    with torch.enable_grad():
        times = t.clone().detach()
        times.requires_grad_(True)
        signal, ratio = alpha(times), sigma(times) / alpha(times)
        of_signal = torch.autograd.grad(signal, times, torch.ones_like(signal), retain_graph=True)[0]
        of_ratio = torch.autograd.grad(ratio, times, torch.ones_like(ratio))[0]
    signal, ratio = signal.detach(), ratio.detach()
    squared = 2 * signal.square() * ratio * of_ratio  # g^2 = alpha^2 d(sigma/alpha)^2/dt
    if bool(torch.any(squared < -1e-9 * (signal * ratio) ** 2)):
        raise ValueError("no SDE makes noise per signal fall")
    return of_signal / signal, squared


# %% wrong="gaussian-flow" fails="test_arrival" name="variances for deviations"
replace("(after / before).sqrt()", "after / before")
# %% wrong="gaussian-flow" fails="test_arrival" name="the mean is not moved"
replace("end[0] * m +", "m +")
# %% wrong="gaussian-flow" fails="test_arrival" name="the mean is not taken off"
replace("(x - begin[0] * m)", "x")
# %% wrong="gaussian-flow" fails="test_arrival" name="from the data, wherever it began"
replace("for a, s in (begin, end)", "for a, s in ((1.0, 0.0), end)")
# %% wrong="gaussian-flow" fails="test_arrival" name="backwards"
replace("after / before", "before / after")
# %% wrong="gaussian-flow" fails="test_arrival" name="the axes the wrong way round"
replace("@ vectors * grown) @ vectors.T", "@ vectors.T * grown) @ vectors")
# %% wrong="gaussian-flow" fails="test_arrival" name="takes the covariance for diagonal"
replace(
    "values, vectors = torch.linalg.eigh(C)",
    "values, vectors = torch.diagonal(C), torch.eye(len(C), dtype=C.dtype)",
)
# %% wrong="gaussian-flow" fails="test_arrival" name="the mean logarithm"
replace("grown.log().sum()", "grown.log().mean()")
# %% wrong="gaussian-flow" fails="test_arrival" name="signal not squared"
replace("a**2 * values", "a * values")

# %% wrong="gaussian-flow" fails="test_arrival" name="the product before its logarithm"
replace("grown.log().sum()", "grown.prod().log()")
# %% wrong="gaussian-flow" fails="test_laws_of_a_flow" name="an epsilon"
replace("a**2 * values + s**2", "a**2 * values + s**2 + 1e-12")

# %% equivalent="gaussian-flow" name="eigenvalues below 0 are rounding: not this line"
replace("values = values.clamp(min=0)", "pass")
# %% equivalent="gaussian-flow" name="eigenvalues below 0 are rounding: no clamp"
replace("values.clamp(min=0)", "values")
# %% equivalent="gaussian-flow" name="eigenvalues below 0 are rounding: not below -1"
replace("clamp(min=0)", "clamp(min=-1)")


# %% right="gaussian-flow" name="by square roots of matrices"
def gaussian_flow(x, m, C, begin, end):
    D = len(m)
    eye = torch.eye(D, dtype=x.dtype)
    sizes = [pair[0] ** 2 * C + pair[1] ** 2 * eye for pair in (begin, end)]
    U, each, _ = torch.linalg.svd(
        torch.linalg.solve(sizes[0], sizes[1]).mT + torch.linalg.solve(sizes[0], sizes[1])
    )
    A = U @ torch.diag((each / 2).sqrt()) @ U.mT  # symmetric, of matrices that commute
    return (A @ (x - begin[0] * m).T).T + end[0] * m, torch.linalg.slogdet(A).logabsdet


# %% wrong="shaped-probes" fails="test_exact_probes" name="as if M were I"
replace("torch.linalg.solve(M, probes.mT).mT", "probes")
# %% wrong="shaped-probes" fails="test_exact_probes" name="M for its inverse"
replace("torch.linalg.solve(M, probes.mT).mT", "probes @ M")
# %% wrong="shaped-probes" fails="test_exact_probes" name="only the scales, not the correlations"
replace("torch.linalg.solve(M, probes.mT).mT", "probes / M.diagonal()")
# %% wrong="shaped-probes" fails="test_exact_probes" name="only the mean scale"
replace("torch.linalg.solve(M, probes.mT).mT", "probes * len(M) / M.trace()")
# %% wrong="shaped-probes" fails="test_exact_probes" name="a sum over the probes"
replace(".mean(0)", ".sum(0)")
# %% wrong="shaped-probes" fails="test_exact_probes" name="the inverse on both sides"
replace(
    "torch.autograd.grad(out, u, v, retain_graph=True)",
    "torch.autograd.grad(out, u, torch.linalg.solve(M, v.T).T, retain_graph=True)",
)
# %% wrong="shaped-probes" fails="test_exact_probes" name="one field for each probe"
replace("torch.autograd.grad(out, u, v, retain_graph=True)", "torch.autograd.grad(field(u), u, v)")
# %% wrong="shaped-probes" fails="test_exact_probes" name="the mean over rows"
replace(
    "return (torch.stack(pulled) * straight).sum(2).mean(0).detach()",
    "found = (torch.stack(pulled) * straight).sum(2).mean(0).detach()\nreturn found.mean().expand(len(x))",
)
# %% wrong="shaped-probes" fails="test_exact_probes" name="the first row's probes for all"
replace(
    "straight = torch.linalg.solve(M, probes.mT).mT",
    "probes = probes[:, :1].expand_as(probes)\nstraight = torch.linalg.solve(M, probes.mT).mT",
)

# %% wrong="shaped-probes" fails="test_random_probes" name="the probes' own moment for the given one"
replace(
    "torch.linalg.solve(M, probes.mT)", "torch.linalg.solve(torch.cov(probes.flatten(0, 1).T), probes.mT)"
)
# %% wrong="shaped-probes" fails="test_exact_probes" name="all probes of one length"
replace(
    "pulled = [torch.autograd.grad(out, u, v, retain_graph=True)[0] for v in probes]",
    "size = (torch.linalg.solve(M, probes.mT).mT * probes).sum(2, keepdim=True)\n"
    "probes = probes * (x.shape[1] / size).sqrt()\n"
    "pulled = [torch.autograd.grad(out, u, v, retain_graph=True)[0] for v in probes]",
)


# %% wrong="shaped-probes" fails="test_random_probes" name="the whole Jacobian, whatever the probes"
def shaped_trace(field, x, probes, M):
    u = x.detach().clone().requires_grad_()
    out, total = field(u), 0
    for d in range(x.shape[1]):
        total = total + torch.autograd.grad(out[:, d].sum(), u, retain_graph=True)[0][:, d]
    return total


# %% equivalent="shaped-probes" name="detach makes a tensor of its own: nothing writes to x"
replace("x.detach().clone().requires_grad_()", "x.detach().requires_grad_()")
# %% equivalent="shaped-probes" name="a clone of points that need no gradient, as is promised"
replace("x.detach().clone().requires_grad_()", "x.clone().requires_grad_()")
# %% equivalent="shaped-probes" name="one input has one gradient: the last is the first"
replace("retain_graph=True)[0]", "retain_graph=True)[-1]")
# %% equivalent="shaped-probes" name="autograd.grad gives what needs no gradient"
replace(".mean(0).detach()", ".mean(0)")


# %% right="shaped-probes" name="whitened probes, by Cholesky"
def shaped_trace(field, x, probes, M):
    n, B, D = probes.shape
    factor = torch.linalg.cholesky(torch.linalg.inv(M))  # (factor^T v) has the second moment I ...
    with torch.enable_grad():
        points = x.clone().detach().requires_grad_(True)
        values = field(points)
        total = torch.zeros(B, dtype=x.dtype)
        for k in range(n):
            upward = probes[k] @ factor @ factor.T  # ... and factor factor^T v goes against v
            (vjp,) = torch.autograd.grad(values, points, upward, retain_graph=True)
            total = total + torch.einsum("bd,bd->b", vjp, probes[k])
    return (total / n).detach()


# %% wrong="repair" fails="test_each_part" name="still the sign of the integral"
replace("log_noise + torch.trapezoid(div, times, dim=0)", "log_noise - torch.trapezoid(div, times, dim=0)")
# %% wrong="repair" fails="test_each_part" name="still the mean for the integral"
replace("torch.trapezoid(div, times, dim=0)", "div.mean(0) * (times[-1] - times[0])")
# %% wrong="repair" fails="test_each_part" name="still no width of the noise in its density"
replace("math.log(sigma * math.sqrt(2 * math.pi))", "math.log(math.sqrt(2 * math.pi))")
# %% wrong="repair" fails="test_each_part" name="still the width of a cell in [0, 1]"
replace("(high - low) / levels", "1 / levels")
# %% wrong="repair" fails="test_each_part" name="still nats"
replace("/ math.log(2)", "/ 1")
# %% wrong="repair" fails="test_each_part" name="bits per picture"
replace("log_p / D + math.log(", "log_p + D * math.log(")
# %% wrong="repair" fails="test_each_part" name="a cell too few"
replace("/ levels)", "/ (levels - 1))")
# %% wrong="repair" fails="test_each_part" name="the sign of the cells"
replace("log_p / D + math.log(", "log_p / D - math.log(")
# %% wrong="repair" fails="test_each_part" name="the slope at a step's beginning"
replace("torch.trapezoid(div, times, dim=0)", "(div[:-1] * times.diff()[:, None]).sum(0)")
# %% wrong="repair" fails="test_each_part" name="mean over pictures"
replace("(log_p / D +", "(log_p.mean() / D + 0 * log_p +")

# %% wrong="repair" fails="test_known_cloud" name="no bits below 0"
replace(
    "return -(log_p / D + math.log((high - low) / levels)) / math.log(2)",
    "return (-(log_p / D + math.log((high - low) / levels)) / math.log(2)).clamp(min=0)",
)
# %% wrong="repair" fails="test_each_part" name="by the density, not its logarithm"
replace("log_noise + torch", "log_noise.exp().log() + torch")


# %% right="repair" name="piece by piece, in bits"
def repaired_bits(z, times, div, sigma, levels, low, high):
    B, D = z.shape
    nats = -0.5 * torch.einsum("bd,bd->b", z / sigma, z / sigma)
    nats = nats - D * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    for i in range(1, len(times)):
        nats = nats + (times[i] - times[i - 1]) * (div[i] + div[i - 1]) / 2
    cell = math.log2(high - low) - math.log2(levels)
    return -nats / (D * math.log(2)) - cell


# %% wrong="measurement" fails="test_exact_score" name="shares as they were"
replace("share.log() + evidence", "share.log()")
# %% wrong="measurement" fails="test_exact_score" name="without the shares"
replace("share.log() + evidence", "evidence")
# %% wrong="measurement" fails="test_exact_score" name="the cloud's own covariance"
replace("w**2 * (one - gain @ A)", "w**2 * one")
# %% wrong="measurement" fails="test_exact_score" name="the cloud's own mean"
replace("(mu + gain @ (y - A @ mu))", "mu")
# %% wrong="measurement" fails="test_exact_score" name="the variance of the measurement not squared"
replace("s_y**2", "s_y")
# %% wrong="measurement" fails="test_exact_score" name="signal not squared in the covariance"
replace("alpha**2", "alpha")
# %% wrong="measurement" fails="test_exact_score" name="the likeliest cloud alone"
replace("torch.stack(log_each).softmax(0)", "(1e9 * torch.stack(log_each)).softmax(0)")
# %% wrong="measurement" fails="test_exact_score" name="no determinant of the measurement"
replace(
    "(miss @ torch.linalg.solve(S_y, miss) + torch.logdet(S_y))", "(miss @ torch.linalg.solve(S_y, miss))"
)
# %% wrong="measurement" fails="test_exact_score" name="no determinant of the clouds"
replace("((gap * pull).sum(1) - torch.logdet(cov))", "(gap * pull).sum(1)")
# %% wrong="measurement" fails="test_exact_score" name="the noisy point taken for the clean one"
replace("(mu + gain @ (y - A @ mu))", "(mu + gain @ (y - alpha * A @ mu))")
# %% wrong="measurement" fails="test_far_clouds_and_kinds" name="outside log space"
replace(
    "torch.stack(log_each).softmax(0)", "(torch.stack(log_each).exp() / torch.stack(log_each).exp().sum(0))"
)

# %% wrong="measurement" fails="test_far_clouds_and_kinds" name="a determinant before its logarithm"
replace("torch.logdet(cov)", "torch.linalg.det(cov).log()")
# %% wrong="measurement" fails="test_far_clouds_and_kinds" name="one maximum for all points"
replace(
    "return (torch.stack(log_each).softmax(0)[:, :, None] * torch.stack(pulls)).sum(0)",
    "share = (torch.stack(log_each) - torch.stack(log_each).max()).exp()\n"
    "return ((share / share.sum(0))[:, :, None] * torch.stack(pulls)).sum(0)",
)

# %% equivalent="measurement" name="clouds come in equal numbers: not said"
replace(", strict=True", "")
# %% equivalent="measurement" name="clouds come in equal numbers, as is promised"
replace("strict=True", "strict=False")
# %% equivalent="measurement" name="the evidence has the square of what is missed"
replace("gain @ (y - A @ mu)), y - A @ mu", "gain @ (y - A @ mu)), A @ mu - y")
# %% equivalent="measurement" name="a square with a symmetric matrix, in either order"
replace("miss @ torch.linalg.solve(S_y, miss)", "torch.linalg.solve(S_y, miss) @ miss")


# %% right="measurement" name="Bayes' rule, differentiated"
def measured_score(x, means, widths, shares, A, y, s_y, alpha, sigma):
    D, M = x.shape[1], len(y)
    with torch.enable_grad():
        point = x.detach().clone().requires_grad_()
        joint = torch.cat([point, y.expand(len(x), M)], dim=1)
        lift = torch.cat([alpha * torch.eye(D, dtype=x.dtype), A])  # (x_t, y) is lift x_0 and noise
        floor = torch.diag(torch.tensor([sigma**2] * D + [s_y**2] * M, dtype=x.dtype))
        logs = []
        for k in range(len(shares)):
            law = torch.distributions.MultivariateNormal(
                lift @ means[k], widths[k] ** 2 * lift @ lift.T + floor, validate_args=False
            )
            logs.append(law.log_prob(joint) + shares[k].log())
        total = torch.logsumexp(torch.stack(logs), dim=0)
        (gradient,) = torch.autograd.grad(total.sum(), point)
    return gradient


# %% wrong="rates" fails="test_reverse_rates" name="the ratio upside down"
replace("Q.T * p / p[:, None].clamp(min=1e-300)", "Q.T * p[:, None] / p.clamp(min=1e-300)")
replace("back = (jump * p_s[:, None]).T.clamp(min=0)", "back = (jump / p_s[:, None]).T.clamp(min=0)")
# %% wrong="rates" fails="test_joint_law" name="forward rates and forward steps"
replace("Q.T * p / p[:, None].clamp(min=1e-300)", "Q")
replace("(jump * p_s[:, None]).T", "jump")
# %% wrong="rates" fails="test_joint_law" name="without the ratio"
replace("Q.T * p / p[:, None].clamp(min=1e-300)", "Q.T")
replace("(jump * p_s[:, None]).T", "jump.T")
# %% wrong="rates" fails="test_joint_law" name="draws from the data, whatever the start"
replace("(jump * p_s[:, None]).T", "p_s.expand_as(jump)")
# %% wrong="rates" fails="test_joint_law" name="p_0 at all times"
replace("torch.linalg.matrix_exp(s * Q.T) @ p_0, torch", "p_0, torch")
# %% wrong="rates" fails="test_joint_law" name="the density moved by Q, not its transpose"
replace("(s * Q.T) @ p_0", "(s * Q) @ p_0")
# %% wrong="rates" fails="test_joint_law" name="one Euler step from stop to stop"
replace(
    "torch.linalg.matrix_exp((t - s) * Q)", "(torch.eye(len(Q), dtype=Q.dtype) + (t - s) * Q).clamp(min=0)"
)
# %% wrong="rates" fails="test_joint_law" name="each step as long as the time left"
replace("(t - s) * Q", "t * Q")
# %% wrong="rates" fails="test_joint_law" name="the start again at every stop"
replace("back[rows[-1]]", "back[start]")
# %% wrong="rates" fails="test_joint_law" name="one draw for all walkers of a state"
replace(
    "torch.multinomial(back[rows[-1]], 1, generator=generator)[:, 0]",
    "torch.multinomial(back, 1, generator=generator)[:, 0][rows[-1]]",
)
# %% wrong="rates" fails="test_joint_law" name="the likeliest state, not a draw"
replace("torch.multinomial(back[rows[-1]], 1, generator=generator)[:, 0]", "back[rows[-1]].argmax(1)")

# %% wrong="rates" fails="test_reverse_rates" name="little mass is none"
replace("p[:, None] > 0", "p[:, None] > 1e-13")
# %% wrong="rates" fails="test_reverse_rates" name="rows that do not sum to 0"
replace("return R - torch.diag(R.sum(1))", "return R")
# %% wrong="rates" fails="test_walkers" name="one long step with the rates of its middle"
replace(
    "torch.linalg.matrix_exp(s * Q.T) @ p_0, torch", "torch.linalg.matrix_exp((t + s) / 2 * Q.T) @ p_0, torch"
)
replace(
    "back = (jump * p_s[:, None]).T.clamp(min=0)",
    "back = torch.linalg.matrix_exp((t - s) * reverse_rates(Q, p_s)).clamp(min=0)",
)


# %% equivalent="rates" name="the first of two draws is a draw"
replace("back[rows[-1]], 1,", "back[rows[-1]], 2,")

# %% equivalent="rates" name="0 / 0 stands where `where` takes the other"
replace("p[:, None].clamp(min=1e-300)", "p[:, None]")
# %% equivalent="rates" name="a clamp below all probabilities"
replace("clamp(min=1e-300)", "clamp(min=-1.0)")
# %% equivalent="rates" name="matrix_exp of a rate matrix has no entry below 0"
replace(".T.clamp(min=0)", ".T")
# %% equivalent="rates" name="a clamp below all entries"
replace(".T.clamp(min=0)", ".T.clamp(min=-1)")
# %% equivalent="rates" name="one draw: the last is the first"
replace("generator=generator)[:, 0]", "generator=generator)[:, -1]")


# %% right="rates" name="many short steps with the reverse rates"
def reverse_rates(Q, p):
    K = len(p)
    R = torch.zeros(K, K, dtype=Q.dtype)
    for i in range(K):
        for j in range(K):
            if i != j and p[i] > 0:
                R[i, j] = Q[j, i] * p[j] / p[i]
        R[i, i] = -R[i].sum()
    return R


def walk_back(Q, p_0, times, start, generator):
    now, kept = start.clone(), [start.clone()]
    for n in range(len(times) - 1):
        t, s = times[n].item(), times[n + 1].item()
        count = max(1, math.ceil((t - s) / 0.02))
        h = (t - s) / count
        for k in range(count):
            p = torch.matrix_exp((t - (k + 0.5) * h) * Q.T) @ p_0
            chance = torch.matrix_exp(h * reverse_rates(Q, p))
            u = torch.rand(len(now), 1, generator=generator, dtype=torch.float64)
            now = (u > chance.cumsum(dim=1)[now]).sum(dim=1).clamp(max=len(Q) - 1)
        kept.append(now)
    return torch.stack(kept)
