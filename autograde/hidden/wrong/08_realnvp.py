"""Wrong and other right answers to lesson 08_realnvp."""

# %% wrong="fold" fails="test_both_branches" name="one branch only"
replace("torch.logaddexp(log_p_z(c + root), log_p_z(c - root))", "log_p_z(c + root)")
# %% wrong="fold" fails="test_both_branches" name="twice one branch, as if z were symmetric"
replace("log_p_z(c - root)", "log_p_z(c + root)")
# %% wrong="fold" fails="test_both_branches" name="multiplies the densities"
replace("torch.logaddexp(log_p_z(c + root), log_p_z(c - root))", "log_p_z(c + root) + log_p_z(c - root)")
# %% wrong="fold" fails="test_both_branches" name="the stretch with the wrong sign"
replace("- math.log(2) - root.log()", "+ math.log(2) + root.log()")
# %% wrong="fold" fails="test_both_branches" name="forgets the stretch"
replace(" - math.log(2) - root.log()", "")
# %% wrong="fold" fails="test_both_branches" name="forgets the 2 of the derivative"
replace(" - math.log(2)", "")
# %% wrong="fold" fails="test_both_branches" name="folds at 0"
replace("log_p_z(c + root), log_p_z(c - root)", "log_p_z(root), log_p_z(-root)")
# %% wrong="fold" fails="test_both_branches" name="the stretch at y instead of z"
replace("root.log()", "y.abs().log()")

# %% wrong="fold" fails="test_far_near_and_below" name="adds densities, not their logarithms"
replace(
    "torch.logaddexp(log_p_z(c + root), log_p_z(c - root))",
    "(log_p_z(c + root).exp() + log_p_z(c - root).exp()).log()",
)
# %% wrong="fold" fails="test_far_near_and_below" name="y at least 1e-20"
replace("torch.finfo(y.dtype).tiny", "1e-20")

# %% wrong="fold" fails="test_far_near_and_below" name="a sum that is NaN where both densities are 0"
replace(
    "both = torch.logaddexp(log_p_z(c + root), log_p_z(c - root)) - math.log(2) - root.log()",
    """
a, b = log_p_z(c + root), log_p_z(c - root)
both = torch.maximum(a, b) + (-(a - b).abs()).exp().log1p() - math.log(2) - root.log()
""",
)
# %% wrong="fold" fails="test_both_branches" name="asks for one density at a time"
replace(
    "torch.logaddexp(log_p_z(c + root), log_p_z(c - root))",
    "torch.stack([torch.logaddexp(log_p_z(c + r), log_p_z(c - r)) for r in root])",
)

# %% equivalent="fold" name="a density that is asked at NaN below 0, where its answer is not used"
replace("y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()", "y.sqrt()")
# %% equivalent="fold" name="the logarithm of a sum, whose terms may change places"
replace("log_p_z(c + root), log_p_z(c - root)", "log_p_z(c - root), log_p_z(c + root)")
# %% equivalent="fold" name="y is never exactly 0"
replace("masked_fill(y < 0", "masked_fill(y <= 0")


# %% right="fold" name="only where y is positive, by a logsumexp"
def log_p_folded(y, log_p_z, c):
    result, root = torch.full_like(y, -math.inf), y[y > 0] ** 0.5
    densities = torch.stack([log_p_z(c + root), log_p_z(c - root)]) - (2 * root).log()
    result[y > 0] = densities.logsumexp(dim=0)
    return result


# %% right="fold" name="both branches in one call"
replace(
    "torch.logaddexp(log_p_z(c + root), log_p_z(c - root))",
    "log_p_z(torch.cat([c + root, c - root])).reshape(2, -1).logsumexp(0)",
)

# %% wrong="batch-norm" fails="test_values_and_log_det" name="the variance of the batch"
replace("gamma - 0.5 * (v + eps)", "gamma - 0.5 * (x.transpose(0, 1).flatten(1).var(1, correction=0) + eps)")
# %% wrong="batch-norm" fails="test_round_trip" name="divides by the variance, forth and back"
replace("gamma - 0.5 * (v + eps).log()", "gamma - (v + eps).log()")
replace("0.5 * (v + eps).log() - gamma", "(v + eps).log() - gamma")
# %% wrong="batch-norm" fails="test_round_trip" name="forgets eps"
replace("gamma - 0.5 * (v + eps).log()", "gamma - 0.5 * v.log()")
replace("0.5 * (v + eps).log() - gamma", "0.5 * v.log() - gamma")
# %% wrong="batch-norm" fails="test_values_and_log_det" name="a gain of gamma instead of its exponential"
replace("log_scale.exp()", "(gamma * (v + eps).rsqrt())")
replace("(0.5 * (v + eps).log() - gamma).exp()", "(v + eps).sqrt() / gamma")
# %% wrong="batch-norm" fails="test_values_and_log_det" name="channels last"
replace("(1, -1) + (1,) * (x.ndim - 2)", "(1,) * (x.ndim - 1) + (-1,)")
replace("(1, -1) + (1,) * (z.ndim - 2)", "(1,) * (z.ndim - 1) + (-1,)")

# %% wrong="batch-norm" fails="test_values_and_log_det" name="a variance of at least 1e-5"
replace("gamma - 0.5 * (v + eps)", "gamma - 0.5 * (v + eps).clamp(min=1e-5)")
# %% wrong="batch-norm" fails="test_values_and_log_det" name="every factor counted once"
replace("* x[0, 0].numel()", "")

# %% equivalent="batch-norm" name="all pictures of a batch have as many pixels"
replace("x[0, 0].numel()", "x[-1, 0].numel()")
# %% equivalent="batch-norm" name="all channels have as many pixels"
replace("x[0, 0].numel()", "x[0, -1].numel()")


# %% right="batch-norm" name="torch's own, and a loop over the channels"
def batch_norm(x, m, v, gamma, beta, eps):
    z = torch.nn.functional.batch_norm(x, m, v, gamma.exp(), beta, False, 0.0, eps)
    total = sum(math.prod(x.shape[2:]) * (g - math.log(w + eps) / 2) for g, w in zip(gamma, v))
    return z, torch.ones(len(x), dtype=x.dtype) * total


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    x = z.clone()
    for i in range(z.shape[1]):
        x[:, i] = (z[:, i] - beta[i]) / gamma[i].exp() * (v[i] + eps).sqrt() + m[i]
    return x


# %% wrong="conditional" fails="test_marginal_and_conditional" name="nodes as if they were even"
replace("weights.log()", "gaps.mean().log()")
# %% wrong="conditional" fails="test_marginal_and_conditional" name="adds up and forgets the widths"
replace("joint + weights.log()", "joint")
# %% wrong="conditional" fails="test_marginal_and_conditional" name="integrates over the wrong coordinate"
replace("reshape(-1, 2)", "reshape(-1, 2).flip(1)")
# %% wrong="conditional" fails="test_marginal_and_conditional" name="rows and columns mixed up"
replace("reshape(len(x1), len(t))", "reshape(len(t), len(x1)).T")
# %% wrong="conditional" fails="test_trapezoid" name="a conditional that adds up to 1 without the widths"
replace("joint - log_p1[:, None]", "joint.log_softmax(dim=1)")
# %% wrong="conditional" fails="test_marginal_and_conditional" name="the joint for the conditional"
replace("joint - log_p1[:, None]", "joint")
# %% wrong="conditional" fails="test_marginal_and_conditional" name="divides by the wrong marginal"
replace("joint - log_p1[:, None]", "joint - torch.logsumexp(joint, dim=0)")
# %% wrong="conditional" fails="test_marginal_and_conditional" name="the integral of the log density"
replace("torch.logsumexp(joint + weights.log(), dim=1)", "(joint * weights).sum(dim=1)")
# %% wrong="conditional" fails="test_marginal_and_conditional" name="one maximum for all rows"
replace(
    "torch.logsumexp(joint + weights.log(), dim=1)",
    "joint.max() + ((joint - joint.max()).exp() @ weights).log()",
)
# %% wrong="conditional" fails="test_trapezoid" name="an epsilon in the logarithm"
replace("weights.log()", "(weights + 1e-12).log()")


# %% wrong="conditional" fails="test_trapezoid" name="scaled by the mean of its row"
replace(
    "log_p1 = torch.logsumexp(joint + weights.log(), dim=1)",
    """
top = joint.mean(1, keepdim=True)
log_p1 = top[:, 0] + ((joint - top).exp() @ weights).log()
""",
)
# %% wrong="conditional" fails="test_marginal_and_conditional" name="asks for densities in float32"
replace("log_prob(points)", "log_prob(points.float()).double()")
# %% wrong="conditional" fails="promises" name="a marginal in float32"
replace("return log_p1,", "return log_p1.float(),")

# %% right="conditional" name="trapezoids one by one, in log space"
replace(
    "torch.logsumexp(joint + weights.log(), dim=1)",
    "torch.logsumexp(torch.logaddexp(joint[:, 1:], joint[:, :-1]) + (gaps / 2).log(), dim=1)",
)


# %% right="conditional" name="row by row, scaled by the largest"
def conditional(log_prob, x1, t):
    joint = torch.stack([log_prob(torch.stack([value.expand(len(t)), t], dim=1)) for value in x1])
    top = joint.amax(dim=1, keepdim=True)
    log_p1 = top + torch.trapezoid((joint - top).exp(), t).log()[:, None]
    return log_p1[:, 0], joint - log_p1


# %% right="conditional" name="an iterator of two"
replace(
    "return log_p1, joint - log_p1[:, None]",
    "return map(torch.Tensor.contiguous, (log_p1, joint - log_p1[:, None]))",
)

# %% wrong="monotone" fails="test_bend_and_log_det" name="the mask the other way round"
replace("w, m = net(x[:, mask])", "mask = ~mask\nw, m = net(x[:, mask])")
replace("w, m = net(z[:, mask])", "mask = ~mask\nw, m = net(z[:, mask])")
# %% wrong="monotone" fails="test_bend_and_log_det" name="forgets the x that is bent, and the 1 of its slope"
replace("x[:, ~mask] + (w * bend)", "(w * bend)")
replace("torch.log1p(", "torch.log(")
# %% wrong="monotone" fails="test_bend_and_log_det" name="the mean of the tanh, not their sum"
replace("w, m = net(x[:, mask])", "w, m = net(x[:, mask])\nw = w / w.shape[2]")
replace("w, m = net(z[:, mask])", "w, m = net(z[:, mask])\nw = w / w.shape[2]")
# %% wrong="monotone" fails="test_bend_and_log_det" name="tanh of x times m"
replace("tanh(x[:, ~mask][:, :, None] - m)", "tanh(x[:, ~mask][:, :, None] * m)")
replace("tanh(middle[:, :, None] - m)", "tanh(middle[:, :, None] * m)")
# %% wrong="monotone" fails="test_inverse" name="what is kept goes first"
replace("return z, torch", "return torch.cat([z[:, mask], z[:, ~mask]], dim=1), torch")
replace("return x", "return torch.cat([x[:, mask], x[:, ~mask]], dim=1)")

# %% wrong="monotone" fails="test_inverse" name="a bracket of fixed width"
replace("z_b - reach, z_b + reach", "z_b - 1e5, z_b + 1e5")
# %% wrong="monotone" fails="test_inverse" name="one bracket's width for all elements"
replace("z_b - reach, z_b + reach", "z_b - reach.max(), z_b + reach.max()")

# %% wrong="monotone" fails="test_inverse" name="a bracket for x of a million at most"
replace("z_b - reach, z_b + reach", "torch.full_like(z_b, -1e6), torch.full_like(z_b, 1e6)")
# %% wrong="monotone" fails="test_inverse" name="one bracket's width for all rows"
replace("z_b - reach, z_b + reach", "z_b - reach.amax(dim=0), z_b + reach.amax(dim=0)")
# %% wrong="monotone" fails="test_inverse" name="halves until the elements are near on average"
replace("for _ in range(100):", "while (high - low).mean() > 1e-9 * (1 + z_b.abs()).mean():")
# %% wrong="monotone" fails="test_inverse" name="halves until the largest of all is near"
replace("for _ in range(100):", "while (high - low).max() > 1e-9 * (1 + z_b.abs()).max():")
# %% wrong="monotone" fails="test_bend_and_log_det" name="x between -50 and 50"
replace(
    "bend = torch.tanh(x[:, ~mask][:, :, None] - m)",
    "x = x.clamp(-50, 50)\nbend = torch.tanh(x[:, ~mask][:, :, None] - m)",
)
# %% wrong="monotone" fails="test_bend_and_log_det" name="the mean of the logarithms"
replace(".sum(dim=2)).sum(dim=1)", ".sum(dim=2)).mean(dim=1)")

# %% equivalent="monotone" name="99 halvings, when about 60 use up the digits of a float64"
replace("range(100)", "range(99)")
# %% equivalent="monotone" name="one halving less, when about 60 use up the digits of a float64"
replace("range(100)", "range(100 - 1)")
# %% equivalent="monotone" name="one halving more"
replace("range(100)", "range(101)")
# %% equivalent="monotone" name="a middle that is the answer may become either end"
replace(".sum(dim=2) > z_b", ".sum(dim=2) >= z_b")


# %% right="monotone" name="a loop over k, and steps that halve"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    moved, slope = x[:, ~mask].clone(), torch.ones_like(x[:, ~mask])
    for k in range(w.shape[2]):
        u = x[:, ~mask] - m[:, :, k]
        moved += w[:, :, k] * torch.tanh(u)
        slope += w[:, :, k] / torch.cosh(u) ** 2
    return x.masked_scatter(~mask, moved), slope.log().sum(dim=1)


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    y, width = z[:, ~mask], 2 * w.sum(dim=2) + 2
    x = y - width / 2
    for _ in range(80):
        width = width / 2
        there = x + width
        x = torch.where(there + (w * torch.tanh(there[:, :, None] - m)).sum(dim=2) <= y, there, x)
    return z.masked_scatter(~mask, x)


# %% right="monotone" name="Newton's steps that stay in the bracket"
replace("middle = (low + high) / 2", "middle = (low + high) / 2 if _ == 0 else step")
replace(
    "low, high = torch.where(above, low, middle), torch.where(above, middle, high)",
    "low, high = torch.where(above, low, middle), torch.where(above, middle, high)\n"
    "bend = torch.tanh(middle[:, :, None] - m)\n"
    "gap = middle + (w * bend).sum(dim=2) - z_b\n"
    "step = middle - gap / (1 + (w * (1 - bend**2)).sum(dim=2))\n"
    "step = torch.where((step > low) & (step < high), step, (low + high) / 2)",
)
replace("x[:, ~mask] = (low + high) / 2", "x[:, ~mask] = step")


# %% right="monotone" name="30 halvings, which are just enough"
replace("range(100)", "range(30)")


# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="the mean of the logarithms"
replace("torch.logsumexp(log_p, dim=0) - math.log(K)", "log_p.mean(dim=0)")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="forgets the volume of the cell"
replace(" - D * math.log(levels)", "")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="the volume of one pixel's cell"
replace("D * math.log(levels)", "math.log(levels)")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="forgets to divide by K"
replace(" - math.log(K)", "")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="nats instead of bits"
replace("(D * math.log(2))", "D")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="bits of the whole picture"
replace("(D * math.log(2))", "math.log(2)")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="noise of half the width"
replace("(k + u)", "(k + u / 2)")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="noise on both sides of the level"
replace("(k + u)", "(k + u - 0.5)")
# %% wrong="iw-bits" fails="test_noise_of_its_own" name="one draw for all pixels of a picture"
replace("rand(K, N, D", "rand(K, N, 1")
# %% wrong="iw-bits" fails="test_noise_of_its_own" name="one draw for all pictures"
replace("rand(K, N, D", "rand(K, 1, D")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="the mean over the pictures"
replace("-log_P", "-log_P.mean().expand(N)")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="the sign"
replace("-log_P", "log_P")

# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="one maximum for all pictures"
replace("torch.logsumexp(log_p, dim=0)", "log_p.max() + (log_p - log_p.max()).exp().sum(dim=0).log()")
# %% wrong="iw-bits" fails="test_noise_of_its_own" name="the generator starts anew"
replace("generator=generator", "generator=torch.Generator().manual_seed(generator.initial_seed())")

# %% wrong="iw-bits" fails="test_noise_of_its_own" name="noise of four values"
replace(
    "generator=generator, dtype=k.dtype)",
    "generator=generator, dtype=k.dtype).mul(4).floor().add(0.5).div(4)",
)
# %% wrong="iw-bits" fails="test_noise_of_its_own" name="every second draw is 1 minus the one before"
replace(
    "u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)",
    """
u = torch.rand((K + 1) // 2, N, D, generator=generator, dtype=k.dtype)
u = torch.stack([u, 1 - u], dim=1).flatten(0, 1)[:K]
""",
)
# %% wrong="iw-bits" fails="test_noise_of_its_own" name="one of the draws is the middle of the cell"
replace("((k + u) / levels)", "((k + u.index_fill(0, torch.arange(int(K > 1)), 0.5)) / levels)")
# %% wrong="iw-bits" fails="test_noise_of_its_own" name="noise that keeps off the walls"
replace("(k + u)", "(k + 0.01 + 0.98 * u)")
# %% wrong="iw-bits" fails="test_noise_of_its_own" name="one draw less"
replace("N, D = k.shape", "(N, D), K = k.shape, max(K - 1, 1)")
# %% wrong="iw-bits" fails="test_from_the_plain_bound_to_the_truth" name="draws without density do not count"
replace("math.log(K)", "log_p.isfinite().sum(dim=0).clamp(min=1).log()")

# %% equivalent="iw-bits" name="noise of 24 random bits is uniform, too"
replace(", dtype=k.dtype", "")

# %% right="iw-bits" name="draws of a picture side by side, scaled by the largest"
replace("torch.rand(K, N, D,", "torch.rand(N, K, D,")
replace("k + u", "k[:, None] + u")
replace("reshape(K, N)", "reshape(N, K)")
replace(
    "log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - D * math.log(levels)",
    """
top = log_p.amax(dim=1).clamp(min=torch.finfo(log_p.dtype).min)
log_P = top + (log_p - top[:, None]).exp().mean(dim=1).log() - D * math.log(levels)
""",
)
# %% wrong="repair" fails="test_masked_forward" name="all three faults still there"
replace("net(x * b)", "net(x)")
replace("log_scale @ (1 - b)", "log_scale.sum(dim=1)")
replace("reversed(layers)", "layers")
# %% wrong="repair" fails="test_masked_forward" name="the net sees all"
replace("net(x * b)", "net(x)")
# %% wrong="repair" fails="test_masked_forward" name="the net sees what moves"
replace("net(x * b)", "net(x * (1 - b))")
replace("net(z * b)", "net(z * (1 - b))")
# %% wrong="repair" fails="test_masked_forward" name="shifts before it scales"
replace("x * log_scale.exp() + shift", "(x + shift) * log_scale.exp()")
# %% wrong="repair" fails="test_masked_forward" name="the sign of the log-scale"
replace("x * log_scale.exp()", "x * (-log_scale).exp()")
# %% wrong="repair" fails="test_masked_forward" name="the layers backwards"
replace("net in layers:", "net in reversed(layers):")
# %% wrong="repair" fails="test_masked_inverse" name="b where it should be 1 - b"
replace("torch.where(b.bool(), x,", "torch.where(~b.bool(), x,")
replace("torch.where(b.bool(), z,", "torch.where(~b.bool(), z,")
# %% wrong="repair" fails="test_masked_inverse" name="the caller's list is turned round"
replace("for b, net in reversed(layers):", "layers.reverse()\nfor b, net in layers:")
# %% wrong="repair" fails="test_masked_forward" name="a scale of e^2 at most"
replace("x * log_scale.exp()", "x * log_scale.clamp(-2, 2).exp()")
# %% wrong="repair" fails="test_masked_forward" name="without gradients"
replace("return x, total", "return x.detach(), total")
# %% wrong="repair" fails="test_masked_forward" name="a log-determinant without gradients"
replace("return x, total", "return x, total.detach()")
# %% wrong="repair" fails="test_masked_inverse" name="an inverse without gradients"
replace("return z", "return z.detach()")

# %% right="repair" name="scale and shift are masked, not the result"
replace("net(x * b)", "((1 - b) * v for v in net(x * b))")
replace("net(z * b)", "((1 - b) * v for v in net(z * b))")
replace("torch.where(b.bool(), x, x * log_scale.exp() + shift)", "x * log_scale.exp() + shift")
replace("torch.where(b.bool(), z, (z - shift) * (-log_scale).exp())", "(z - shift) * (-log_scale).exp()")
replace("log_scale @ (1 - b)", "log_scale.sum(dim=1)")


# %% right="repair" name="by products, and the determinant by autograd"
def mended_forward(x, layers):
    def run(v):
        for b, net in layers:
            log_scale, shift = net(b * v)
            v = b * v + (1 - b) * (v * log_scale.exp() + shift)
        return v

    J = torch.autograd.functional.jacobian(lambda v: run(v).sum(dim=0), x, create_graph=True)
    return run(x), torch.linalg.slogdet(J.transpose(0, 1)).logabsdet


def mended_inverse(z, layers):
    for b, net in layers[::-1]:
        log_scale, shift = net(b * z)
        z = b * z + (1 - b) * (z - shift) / log_scale.exp()
    return z


# %% wrong="posterior" fails="test_density_both_ways" name="the sign of the log-det"
replace("log_density_of_x - s.sum(dim=1)", "log_density_of_x + s.sum(dim=1)")
# %% wrong="posterior" fails="test_density_both_ways" name="the log-det forgotten on the way back"
strike("total = total - s[:, d]")
# %% wrong="posterior" fails="test_density_both_ways" name="columns are never turned round"
replace("(z * s.exp() + t).flip(1)", "z * s.exp() + t")
replace("x, z = x.flip(1), torch.zeros_like(x)", "z = torch.zeros_like(x)")
# %% wrong="posterior" fails="test_density_both_ways" name="back through the layers in the order of sampling"
replace("reversed(nets)", "nets")
# %% wrong="posterior" fails="test_density_both_ways" name="back in one pass, as through a coupling"
replace("net(z.clone())", "net(x.clone())")
# %% wrong="posterior" fails="test_density_both_ways" name="shifts before it scales"
replace("z * s.exp() + t", "(z + t) * s.exp()")
replace("(x[:, d] - t[:, d]) * (-s[:, d]).exp()", "x[:, d] * (-s[:, d]).exp() - t[:, d]")
# %% wrong="posterior" fails="test_density_both_ways" name="columns from the last to the first"
replace("range(x.shape[1])", "reversed(range(x.shape[1]))")
# %% wrong="posterior" fails="test_density_both_ways" name="the density of noise at x"
replace("log_density_of_x = log_normal(z)", "log_density_of_x = log_normal(z.flip(1) + 1)")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="the sign of the loss"
replace("(log_density_of_x - log_p(x)).mean()", "(log_p(x) - log_density_of_x).mean()")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="the sum for the mean"
replace("(log_density_of_x - log_p(x)).mean()", "(log_density_of_x - log_p(x)).sum()")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="only the target's part of the loss"
replace("(log_density_of_x - log_p(x)).mean()", "-log_p(x).mean()")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="no gradient through the samples"
replace("(log_density_of_x - log_p(x)).mean()", "(log_density_of_x - log_p(x.detach())).mean()")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="no gradient through log q"
replace("(log_density_of_x - log_p(x)).mean()", "(log_density_of_x.detach() - log_p(x)).mean()")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="the mean of the logarithms for log Z"
replace("log_sum - math.log(n)", "log_w.mean()")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="the sum of the weights for log Z"
replace("log_sum - math.log(n)", "log_sum")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="the number of samples, not their share"
replace(".exp() / n", ".exp()")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="one over the largest share of a weight"
replace("(2 * log_sum - log_squares).exp() / n", "(log_sum - log_w.max()).exp() / n")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="weights outside log space"
replace(
    "log_sum, log_squares = log_w.logsumexp(0), (2 * log_w).logsumexp(0)",
    "log_sum, log_squares = log_w.exp().sum().log(), (2 * log_w).exp().sum().log()",
)
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="one draw of noise for all"
replace(
    "return (log_density_of_x - log_p(x)).mean()",
    "x, log_density_of_x = draw_q(nets, torch.randn(1, D, generator=generator).double().expand(n, D))\n"
    "return (log_density_of_x - log_p(x)).mean()",
)


# %% equivalent="posterior" name="no gradient is asked for, so a network's input may change after it answered"
replace("net(z.clone())", "net(z)")


# %% equivalent="posterior" name="the only axis is the last, too: of the squares"
replace("(2 * log_w).logsumexp(0)", "(2 * log_w).logsumexp(-1)")
# %% equivalent="posterior" name="the only axis is the last, too: of the weights"
replace("= log_w.logsumexp(0)", "= log_w.logsumexp(-1)")


# %% wrong="posterior" fails="test_density_both_ways" name="eight passes back, whatever D"
replace(
    """
    for d in range(x.shape[1]):  # column d needs those before it
        s, t = net(z.clone())
        z[:, d] = (x[:, d] - t[:, d]) * (-s[:, d]).exp()
        total = total - s[:, d]
    """,
    """
    for _ in range(8):
        s, t = net(z)
        z = (x - t) * (-s).exp()
    total = total - net(z)[0].sum(dim=1)
    """,
)
# %% wrong="posterior" fails="test_density_both_ways" name="back until two passes are close"
replace(
    """
    for d in range(x.shape[1]):  # column d needs those before it
        s, t = net(z.clone())
        z[:, d] = (x[:, d] - t[:, d]) * (-s[:, d]).exp()
        total = total - s[:, d]
    """,
    """
    old = z + 1
    while not torch.allclose(old, z):
        s, t = net(z)
        old, z = z, (x - t) * (-s).exp()
    total = total - net(z)[0].sum(dim=1)
    """,
)
# %% wrong="posterior" fails="test_density_both_ways" name="the list of networks stays turned round"
replace("for net in reversed(nets):", "nets.reverse()\nfor net in nets:")
# %% wrong="posterior" fails="test_density_both_ways" name="the log-det in float32 on the way back"
replace("total = torch.zeros_like(x[:, 0])", "total = torch.zeros(len(x))")
replace("total = total - s[:, d]", "total -= s[:, d]")
# %% wrong="posterior" fails="test_density_both_ways" name="no log q below -1e6"
replace("return total + log_normal(x)", "return (total + log_normal(x)).clamp(min=-1e6)")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="the loss of the finite ones"
replace(
    "return (log_density_of_x - log_p(x)).mean()",
    "gap = log_density_of_x - log_p(x)\nreturn gap[gap.isfinite()].mean()",
)
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="-10,000 for -inf"
replace("log_w = log_p(x) - log_density_of_x", "log_w = (log_p(x) - log_density_of_x).clamp(min=-1e4)")
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="all weights by the first"
replace(
    "log_sum, log_squares = log_w.logsumexp(0), (2 * log_w).logsumexp(0)",
    "one = log_w[0]\nlog_sum = (log_w - one).exp().sum().log() + one\n"
    "log_squares = (2 * (log_w - one)).exp().sum().log() + 2 * one",
)
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="the generator begins again afterwards"
replace(
    "return (log_density_of_x - log_p(x)).mean()",
    "generator.manual_seed(0)\nreturn (log_density_of_x - log_p(x)).mean()",
)
# %% wrong="posterior" fails="test_loss_evidence_and_learning" name="no gradient through log q but its points"
replace(
    "return (log_density_of_x - log_p(x)).mean()",
    "gap, own = log_density_of_x - log_p(x), log_q_at(nets, x.detach())\n"
    "return (gap - own + own.detach()).mean()",
)
# %% wrong="posterior" fails="promises" name="the loss has an axis"
replace("return (log_density_of_x - log_p(x)).mean()", "return (log_density_of_x - log_p(x)).mean()[None]")


# %% right="posterior" name="back until nothing moves, and weights as numbers of Python"
replace(
    """
    for d in range(x.shape[1]):  # column d needs those before it
        s, t = net(z.clone())
        z[:, d] = (x[:, d] - t[:, d]) * (-s[:, d]).exp()
        total = total - s[:, d]
    """,
    """
    moves = True
    while moves:
        s, t = net(z)
        new = (x - t) * (-s).exp()
        moves, z = not torch.equal(new, z), new
    total = total - s.sum(1)
    """,
)
replace(
    "return log_sum - math.log(n), (2 * log_sum - log_squares).exp() / n",
    "top = max(log_w.tolist())\nw = [math.exp(each - top) for each in log_w.tolist()]\n"
    "return top + math.log(sum(w) / n), sum(w) ** 2 / n / sum(each * each for each in w)",
)
# %% right="posterior" name="the loss by log q at the points"
replace("return (log_density_of_x - log_p(x)).mean()", "return (log_q_at(nets, x) - log_p(x)).mean()")


# %% right="posterior" name="rounds that settle one more column each, and softmax weights"
def draw_q(nets, z):
    stretched = 0
    start = z
    for net in nets:
        s, t = net(z)
        z = torch.flip(torch.addcmul(t, z, torch.exp(s)), dims=[1])
        stretched = stretched + torch.sum(s, 1)
    return z, log_normal(start) - stretched


def log_q_at(nets, x):
    stretched = 0
    for net in nets[::-1]:
        turned = x.flip(1)
        x = turned * 0
        for _ in range(turned.shape[1]):
            s, t = net(x)
            x = (turned - t) / s.exp()
        stretched = stretched + net(x)[0].sum(1)
    return log_normal(x) - stretched


def reverse_kl(nets, log_p, n, D, generator):
    noise = torch.randn((n, D), dtype=torch.float64, generator=generator)
    points, own = draw_q(nets, noise)
    return own.mean() - log_p(points).mean()


def evidence(nets, log_p, n, D, generator):
    noise = torch.randn((n, D), dtype=torch.float64, generator=generator)
    points, own = draw_q(nets, noise)
    log_w = log_p(points) - own
    top = log_w.max()
    w = (log_w - top).exp()
    return top + w.mean().log(), w.mean() ** 2 / (w**2).mean()


# %% right="posterior" name="noise of float32"
replace(
    "return (log_density_of_x - log_p(x)).mean()",
    "x, log_density_of_x = draw_q(nets, torch.randn(n, D, generator=generator).double())\n"
    "return (log_density_of_x - log_p(x)).mean()",
)
