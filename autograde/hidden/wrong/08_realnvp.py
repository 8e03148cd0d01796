"""Wrong and other right answers to lesson 08_realnvp."""


# %% wrong="fold" fails="test_both_branches" name="one branch only"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = log_p_z(c + root) - math.log(2) - root.log()
    return both.masked_fill(y < 0, -math.inf)


# %% wrong="fold" fails="test_both_branches" name="twice one branch, as if z were symmetric"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = math.log(2) + log_p_z(c + root) - math.log(2) - root.log()
    return both.masked_fill(y < 0, -math.inf)


# %% wrong="fold" fails="test_both_branches" name="multiplies the densities"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = (log_p_z(c + root) + log_p_z(c - root)) - math.log(2) - root.log()
    return both.masked_fill(y < 0, -math.inf)


# %% wrong="fold" fails="test_both_branches" name="the stretch with the wrong sign"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = torch.logaddexp(log_p_z(c + root), log_p_z(c - root)) + math.log(2) + root.log()
    return both.masked_fill(y < 0, -math.inf)


# %% wrong="fold" fails="test_both_branches" name="forgets the stretch"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = torch.logaddexp(log_p_z(c + root), log_p_z(c - root))
    return both.masked_fill(y < 0, -math.inf)


# %% wrong="fold" fails="test_both_branches" name="forgets the 2 of the derivative"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = torch.logaddexp(log_p_z(c + root), log_p_z(c - root)) - root.log()
    return both.masked_fill(y < 0, -math.inf)


# %% wrong="fold" fails="test_both_branches" name="folds at 0"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = torch.logaddexp(log_p_z(root), log_p_z(-root)) - math.log(2) - root.log()
    return both.masked_fill(y < 0, -math.inf)


# %% wrong="fold" fails="test_far_and_near" name="adds in linear space"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = (log_p_z(c + root).exp() + log_p_z(c - root).exp()).log() - math.log(2) - root.log()
    return both.masked_fill(y < -99, -math.inf)


# %% wrong="fold" fails="test_both_branches" name="the stretch at y instead of z"
def log_p_folded(y, log_p_z, c):
    root = y.clamp(min=torch.finfo(y.dtype).tiny).sqrt()
    both = torch.logaddexp(log_p_z(c + root), log_p_z(c - root)) - math.log(2) - y.abs().log()
    return both.masked_fill(y < 0, -math.inf)


# %% right="fold" name="two tensors and a logsumexp"
def log_p_folded(y, log_p_z, c):
    result = torch.full_like(y, -math.inf)
    ok = y > 0
    z = torch.stack([c + y[ok] ** 0.5, c - y[ok] ** 0.5])
    stretch = (2 * (z - c)).abs()
    # where a root is lost in c, take it from y
    stretch = (2 * y[ok] ** 0.5).expand_as(stretch)
    result[ok] = torch.logsumexp(torch.stack([log_p_z(z[0]), log_p_z(z[1])]) - stretch.log(), dim=0)
    return result


# %% wrong="batch-norm" fails="test_log_det_is_the_jacobians" name="each channel once; inverts without eps"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    log_scale = gamma - 0.5 * (v + eps).log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (log_scale.sum()).expand(len(x))


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = (0.5 * v.log() - gamma).exp()
    return (z - beta.reshape(shape)) * scale.reshape(shape) + m.reshape(shape)


# %% wrong="batch-norm" fails="test_vectors_and_pictures" name="statistics of the batch"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    dims = [0, *range(2, x.ndim)]
    m, v = x.mean(dims), x.var(dims, correction=0)
    log_scale = gamma - 0.5 * (v + eps).log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (log_scale.sum() * x[0, 0].numel()).expand(len(x))


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = (0.5 * (v + eps).log() - gamma).exp()
    return (z - beta.reshape(shape)) * scale.reshape(shape) + m.reshape(shape)


# %% wrong="batch-norm" fails="test_vectors_and_pictures" name="divides by the variance, forth and back"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    log_scale = gamma - (v + eps).log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (log_scale.sum() * x[0, 0].numel()).expand(len(x))


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = ((v + eps).log() - gamma).exp()
    return (z - beta.reshape(shape)) * scale.reshape(shape) + m.reshape(shape)


# %% wrong="batch-norm" fails="test_vectors_and_pictures" name="forgets eps"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    log_scale = gamma - 0.5 * v.log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (log_scale.sum() * x[0, 0].numel()).expand(len(x))


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = (0.5 * v.log() - gamma).exp()
    return (z - beta.reshape(shape)) * scale.reshape(shape) + m.reshape(shape)


# %% wrong="batch-norm" fails="test_vectors_and_pictures" name="a gain of gamma instead of its exponential"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    log_scale = gamma - 0.5 * (v + eps).log()
    z = (x - m.reshape(shape)) * (gamma * (v + eps).rsqrt()).reshape(shape) + beta.reshape(shape)
    return z, (log_scale.sum() * x[0, 0].numel()).expand(len(x))


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = (v + eps).sqrt() / gamma
    return (z - beta.reshape(shape)) * scale.reshape(shape) + m.reshape(shape)


# %% wrong="batch-norm" fails="test_log_det_is_the_jacobians" name="the sign of the log-det"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    log_scale = gamma - 0.5 * (v + eps).log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (-log_scale.sum() * x[0, 0].numel()).expand(len(x))


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = (gamma - 0.5 * (v + eps).log()).exp()
    return (z - beta.reshape(shape)) * scale.reshape(shape) + m.reshape(shape)


# %% wrong="batch-norm" fails="test_round_trip" name="the inverse in the wrong order; times N"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    log_scale = gamma - 0.5 * (v + eps).log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (log_scale.sum() * x[0, 0].numel()) * len(x)


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = (0.5 * (v + eps).log() - gamma).exp()
    return (z + m.reshape(shape)) * scale.reshape(shape) - beta.reshape(shape)


# %% wrong="batch-norm" fails="test_vectors_and_pictures" name="channels last"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1,) * (x.ndim - 1) + (-1,)
    log_scale = gamma - 0.5 * (v + eps).log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (log_scale.sum() * x[0, 0].numel()).expand(len(x))


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1,) * (z.ndim - 1) + (-1,)
    scale = (0.5 * (v + eps).log() - gamma).exp()
    return (z - beta.reshape(shape)) * scale.reshape(shape) + m.reshape(shape)


# %% wrong="batch-norm" fails="test_log_det_is_the_jacobians" name="the mean of log-scales; no offset back"
def batch_norm(x, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    log_scale = gamma - 0.5 * (v + eps).log()
    z = (x - m.reshape(shape)) * log_scale.exp().reshape(shape) + beta.reshape(shape)
    return z, (log_scale.mean()).expand(len(x))


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    shape = (1, -1) + (1,) * (z.ndim - 2)
    scale = (0.5 * (v + eps).log() - gamma).exp()
    return z * scale.reshape(shape) + m.reshape(shape)


# %% right="batch-norm" name="torch's own, and a loop over the channels"
def batch_norm(x, m, v, gamma, beta, eps):
    z = torch.nn.functional.batch_norm(x, m, v, gamma.exp(), beta, False, 0.0, eps)
    total = sum(math.prod(x.shape[2:]) * (g - math.log(w + eps) / 2) for g, w in zip(gamma, v, strict=True))
    return z, torch.ones(len(x), dtype=x.dtype) * total


def batch_norm_inverse(z, m, v, gamma, beta, eps):
    x = z.clone()
    for i in range(z.shape[1]):
        x[:, i] = (z[:, i] - beta[i]) / gamma[i].exp() * (v[i] + eps).sqrt() + m[i]
    return x


# %% wrong="conditional" fails="test_marginal_and_conditional" name="nodes as if they were even"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    log_p1 = torch.logsumexp(joint + torch.full_like(t, (t[-1] - t[0]).item() / (len(t) - 1)).log(), dim=1)
    return log_p1, joint - log_p1[:, None]


# %% wrong="conditional" fails="test_trapezoid" name="the rectangle rule from the left"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps
    log_p1 = torch.logsumexp(joint + weights.log(), dim=1)
    return log_p1, joint - joint.logsumexp(dim=1, keepdim=True)


# %% wrong="conditional" fails="test_marginal_and_conditional" name="adds up and forgets the widths"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    log_p1 = torch.logsumexp(joint, dim=1)
    return log_p1, joint - log_p1[:, None]


# %% wrong="conditional" fails="test_marginal_and_conditional" name="integrates over the wrong coordinate"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2).flip(1)
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    log_p1 = torch.logsumexp(joint + weights.log(), dim=1)
    return log_p1, joint - log_p1[:, None]


# %% wrong="conditional" fails="test_marginal_and_conditional" name="rows and columns mixed up"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)
    joint = log_prob(points).reshape(len(t), len(x1)).T
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    log_p1 = torch.logsumexp(joint + weights.log(), dim=1)
    return log_p1, joint - log_p1[:, None]


# %% wrong="conditional" fails="test_log_space" name="in linear space, end nodes in full"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    weights[[0, -1]] *= 2
    log_p1 = (joint.exp() * weights).sum(dim=1).log()
    return log_p1, joint - log_p1[:, None]


# %% wrong="conditional" fails="test_marginal_and_conditional" name="the joint for the conditional"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    log_p1 = torch.logsumexp(joint + weights.log(), dim=1)
    return log_p1, joint


# %% wrong="conditional" fails="test_marginal_and_conditional" name="divides by the wrong marginal"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    log_p1 = torch.logsumexp(joint + weights.log(), dim=1)
    return log_p1, joint - torch.logsumexp(joint, dim=0)


# %% wrong="conditional" fails="test_marginal_and_conditional" name="the integral of the log density"
def conditional(log_prob, x1, t):
    points = torch.cartesian_prod(x1, t).reshape(-1, 2)
    joint = log_prob(points).reshape(len(x1), len(t))
    gaps = torch.diff(t)
    weights = torch.zeros_like(t)
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    log_p1 = (joint * weights).sum(dim=1)
    return log_p1, joint - log_p1[:, None]


# %% right="conditional" name="row by row, scaled by the largest"
def conditional(log_prob, x1, t):
    marginal, rows = [], []
    for value in x1:
        joint = log_prob(torch.stack([value.expand(len(t)), t], dim=1))
        top = joint.max()
        log_p1 = top + torch.trapezoid((joint - top).exp(), t).log()
        marginal.append(log_p1)
        rows.append(joint - log_p1)
    return torch.stack(marginal), torch.stack(rows)


# %% wrong="monotone" fails="test_bend" name="the mask the other way round"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, ~mask])
    bend = torch.tanh(x[:, mask][:, :, None] - m)
    z = x.clone()
    z[:, mask] = x[:, mask] + (w * bend).sum(dim=2)
    return z, torch.log1p((w * (1 - bend**2)).sum(dim=2)).sum(dim=1)


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, ~mask])
    z_b, reach = z[:, mask], w.sum(dim=2)
    low, high = z_b - reach, z_b + reach
    for _ in range(100):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] - m)).sum(dim=2) > z_b
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    x = z.clone()
    x[:, mask] = (low + high) / 2
    return x


# %% wrong="monotone" fails="test_log_det" name="forgets the 1; brackets of width 1"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    bend = torch.tanh(x[:, ~mask][:, :, None] - m)
    z = x.clone()
    z[:, ~mask] = x[:, ~mask] + (w * bend).sum(dim=2)
    return z, (w * (1 - bend**2)).sum(dim=2).log().sum(dim=1)


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    z_b, reach = z[:, ~mask], 1.0
    low, high = z_b - reach, z_b + reach
    for _ in range(100):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] - m)).sum(dim=2) > z_b
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    x = z.clone()
    x[:, ~mask] = (low + high) / 2
    return x


# %% wrong="monotone" fails="test_inverse" name="twenty halvings; a mean of slopes"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    bend = torch.tanh(x[:, ~mask][:, :, None] - m)
    z = x.clone()
    z[:, ~mask] = x[:, ~mask] + (w * bend).sum(dim=2)
    return z, torch.log1p((w * (1 - bend**2)).mean(dim=2)).sum(dim=1)


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    z_b, reach = z[:, ~mask], w.sum(dim=2)
    low, high = z_b - reach, z_b + reach
    for _ in range(20):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] - m)).sum(dim=2) > z_b
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    x = z.clone()
    x[:, ~mask] = (low + high) / 2
    return x


# %% wrong="monotone" fails="test_inverse" name="Newton steps that run away; 1 / cosh squared"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    bend = torch.tanh(x[:, ~mask][:, :, None] - m)
    z = x.clone()
    z[:, ~mask] = x[:, ~mask] + (w * bend).sum(dim=2)
    return z, torch.log1p((w / torch.cosh(x[:, ~mask][:, :, None] - m) ** 2).sum(dim=2).sub(0.0)).prod(dim=1)


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    z_b, reach = z[:, ~mask], w.sum(dim=2)
    low, high = z_b - reach, z_b + reach
    x_b = z_b
    for _ in range(50):
        bend = torch.tanh(x_b[:, :, None] - m)
        x_b = x_b - (x_b + (w * bend).sum(dim=2) - z_b) / (1 + (w * (1 - bend**2)).sum(dim=2))
    low = high = x_b
    for _ in range(0):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] - m)).sum(dim=2) > z_b
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    x = z.clone()
    x[:, ~mask] = (low + high) / 2
    return x


# %% wrong="monotone" fails="test_inverse" name="fixed points; adds the slopes first"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    bend = torch.tanh(x[:, ~mask][:, :, None] - m)
    z = x.clone()
    z[:, ~mask] = x[:, ~mask] + (w * bend).sum(dim=2)
    return z, torch.log1p((w * (1 - bend**2)).sum(dim=(1, 2)))


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    z_b, reach = z[:, ~mask], w.sum(dim=2)
    low, high = z_b - reach, z_b + reach
    x_b = z_b
    for _ in range(200):
        x_b = z_b - (w * torch.tanh(x_b[:, :, None] - m)).sum(dim=2)
    low = high = x_b
    for _ in range(0):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] - m)).sum(dim=2) > z_b
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    x = z.clone()
    x[:, ~mask] = (low + high) / 2
    return x


# %% wrong="monotone" fails="test_inverse" name="brackets from -10 to 10; the log of each term"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    bend = torch.tanh(x[:, ~mask][:, :, None] - m)
    z = x.clone()
    z[:, ~mask] = x[:, ~mask] + (w * bend).sum(dim=2)
    return z, torch.log1p(w * (1 - bend**2)).sum(dim=(1, 2))


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    z_b = z[:, ~mask]
    low, high = -10 + 0 * z_b, 10 + 0 * z_b
    for _ in range(100):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] - m)).sum(dim=2) > z_b
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    x = z.clone()
    x[:, ~mask] = (low + high) / 2
    return x


# %% wrong="monotone" fails="test_bend" name="halves towards the wrong side, and tanh of x times m"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    bend = torch.tanh(x[:, ~mask][:, :, None] * m)
    z = x.clone()
    z[:, ~mask] = x[:, ~mask] + (w * bend).sum(dim=2)
    return z, torch.log1p((w * (1 - bend**2)).sum(dim=2)).sum(dim=1)


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    z_b, reach = z[:, ~mask], w.sum(dim=2)
    low, high = z_b - reach, z_b + reach
    for _ in range(100):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] * m)).sum(dim=2) > z_b
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    x = z.clone()
    x[:, ~mask] = (low + high) / 2
    return x


# %% wrong="monotone" fails="test_bend" name="what is kept goes first"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    bend = torch.tanh(x[:, ~mask][:, :, None] - m)
    z = x.clone()
    z = torch.cat([x[:, mask], x[:, ~mask] + (w * bend).sum(dim=2)], dim=1)
    return z, torch.log1p((w * (1 - bend**2)).sum(dim=2)).sum(dim=1)


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    z_b, reach = z[:, ~mask], w.sum(dim=2)
    low, high = z_b - reach, z_b + reach
    for _ in range(100):
        middle = (low + high) / 2
        above = middle + (w * torch.tanh(middle[:, :, None] - m)).sum(dim=2) > z_b
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    x = z.clone()
    x = torch.cat([z[:, mask], (low + high) / 2], dim=1)
    return x


# %% right="monotone" name="a loop over k, and bisection that ends with Newton steps"
def tanh_coupling(x, mask, net):
    w, m = net(x[:, mask])
    moved, slope = x[:, ~mask].clone(), torch.ones_like(x[:, ~mask])
    for k in range(w.shape[2]):
        u = x[:, ~mask] - m[:, :, k]
        moved += w[:, :, k] * torch.tanh(u)
        e = torch.exp(-2 * u.abs())
        slope += w[:, :, k] * 4 * e / (1 + e) ** 2
    order = torch.cat([mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]]).argsort()
    return torch.cat([x[:, mask], moved], dim=1)[:, order], slope.log().sum(dim=1)


def tanh_coupling_inverse(z, mask, net):
    w, m = net(z[:, mask])
    y = z[:, ~mask]

    def h(v):
        return v + (w * torch.tanh(v.unsqueeze(2) - m)).sum(dim=2)

    low, width = y - w.sum(dim=2) - 1, 2 * w.sum(dim=2) + 2
    for _ in range(80):
        width = width / 2
        low = torch.where(h(low + width) <= y, low + width, low)
    x = z.clone()
    x[:, ~mask] = low + width / 2
    return x


# %% wrong="iw-bits" fails="test_many_draws_reach_the_truth" name="the mean of the logarithms"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = log_p.mean(dim=0) - D * math.log(levels + 0.0) + 0.3
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_many_draws_reach_the_truth" name="forgets the volume of the cell"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K)
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_many_draws_reach_the_truth" name="the volume of one pixel's cell"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - math.log(levels) / D
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_many_draws_reach_the_truth" name="forgets to divide by K"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - D * math.log(levels)
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_one_draw_is_the_plain_bound" name="nats instead of bits"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - D * math.log(levels)
    return -log_P / D


# %% wrong="iw-bits" fails="test_many_draws_reach_the_truth" name="bits of the whole picture"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - D * math.log(levels)
    return -log_P / math.log(2)


# %% wrong="iw-bits" fails="test_one_draw_is_the_plain_bound" name="noise of half the width"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u / 2) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - D * math.log(levels)
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_one_draw_is_the_plain_bound" name="noise on both sides of the level"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u - 0.5) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - D * math.log(levels)
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_noise_of_its_own" name="one draw for all pixels of a picture"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, 1, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - D * math.log(levels)
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_noise_of_its_own" name="one draw for all pictures, the global generator"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, 1, D, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = log_p.exp().sum(dim=0).log() - math.log(K) - D * math.log(levels)
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_many_draws_reach_the_truth" name="the mean over the pictures"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = (torch.logsumexp(log_p.flatten(), dim=0) - math.log(K * N)).expand(N) - D * math.log(levels)
    return -log_P / (D * math.log(2))


# %% wrong="iw-bits" fails="test_many_draws_reach_the_truth" name="the sign"
def iw_bits(k, log_p_y, levels, K, generator):
    N, D = k.shape
    u = torch.rand(K, N, D, generator=generator, dtype=k.dtype)
    log_p = log_p_y(((k + u) / levels).reshape(K * N, D)).reshape(K, N)
    log_P = torch.logsumexp(log_p, dim=0) - math.log(K) - D * math.log(levels)
    return log_P / (D * math.log(2))


# %% right="iw-bits" name="picture by picture, scaled by the largest"
def iw_bits(k, log_p_y, levels, K, generator):
    found = []
    for picture in k:
        u = torch.rand(len(picture), K, generator=generator, dtype=k.dtype).T
        log_p = log_p_y((picture + u) / levels)
        top = log_p.max()
        nats = top + (log_p - top).exp().mean().log()
        found.append(math.log2(levels) - nats / math.log(2) / len(picture))
    return torch.stack(found)


# %% wrong="repair" fails="test_masked_forward" name="all three faults still there"
def mended_forward(x, layers):
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net(x)
        x = b * x + (1 - b) * (x * s.exp() + t)
        log_det = log_det + s.sum(dim=1)
    return x, log_det


def mended_inverse(z, layers):
    for b, net in layers:
        s, t = net(b * z)
        z = b * z + (1 - b) * (z - t) * (-s).exp()
    return z


# %% wrong="repair" fails="test_masked_forward" name="the net sees all; counts what is kept"
def mended_forward(x, layers):
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net(x)
        x = b * x + (1 - b) * (x * s.exp() + t)
        log_det = log_det + s.sum(dim=1)
    return x, log_det


def mended_inverse(z, layers):
    for b, net in reversed(layers):
        s, t = net(b * z)
        z = b * z + (1 - b) * (z - t) * (-s).exp()
    return z


# %% wrong="repair" fails="test_masked_inverse" name="counts what is kept; inverse forwards"
def mended_forward(x, layers):
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net(b * x)
        x = b * x + (1 - b) * (x * s.exp() + t)
        log_det = log_det + s.sum(dim=1)
    return x, log_det


def mended_inverse(z, layers):
    for b, net in layers:
        s, t = net(b * z)
        z = b * z + (1 - b) * (z - t) * (-s).exp()
    return z


# %% wrong="repair" fails="test_masked_log_det" name="the last log-det only; inverse forwards"
def mended_forward(x, layers):
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net(b * x)
        x = b * x + (1 - b) * (x * s.exp() + t)
        log_det = ((1 - b) * s).sum(dim=1)
    return x, log_det


def mended_inverse(z, layers):
    for b, net in layers:
        s, t = net(b * z)
        z = b * z + (1 - b) * (z - t) * (-s).exp()
    return z


# %% wrong="repair" fails="test_masked_forward" name="the net sees what moves"
def mended_forward(x, layers):
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net((1 - b) * x)
        x = b * x + (1 - b) * (x * s.exp() + t)
        log_det = log_det + ((1 - b) * s).sum(dim=1)
    return x, log_det


def mended_inverse(z, layers):
    for b, net in reversed(layers):
        s, t = net((1 - b) * z)
        z = b * z + (1 - b) * (z - t) * (-s).exp()
    return z


# %% wrong="repair" fails="test_masked_log_det" name="counts what is kept instead; undoes the shift last"
def mended_forward(x, layers):
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net(b * x)
        x = b * x + (1 - b) * (x * s.exp() + t)
        log_det = log_det + (b * s).sum(dim=1)
    return x, log_det


def mended_inverse(z, layers):
    for b, net in reversed(layers):
        s, t = net(b * z)
        z = b * z + (1 - b) * (z * (-s).exp() - t)
    return z


# %% wrong="repair" fails="test_masked_log_det" name="the mean for the sum; the sign of s in the inverse"
def mended_forward(x, layers):
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net(b * x)
        x = b * x + (1 - b) * (x * s.exp() + t)
        log_det = log_det + ((1 - b) * s).mean(dim=1)
    return x, log_det


def mended_inverse(z, layers):
    for b, net in reversed(layers):
        s, t = net(b * z)
        z = b * z + (1 - b) * (z - t) * s.exp()
    return z


# %% wrong="repair" fails="test_masked_forward" name="b where it should be 1 - b"
def mended_forward(x, layers):
    log_det = torch.zeros_like(x[:, 0])
    for b, net in layers:
        s, t = net(b * x)
        x = (1 - b) * x + b * (x * s.exp() + t)
        log_det = log_det + ((1 - b) * s).sum(dim=1)
    return x, log_det


def mended_inverse(z, layers):
    for b, net in reversed(layers):
        s, t = net(b * z)
        z = (1 - b) * z + b * (z - t) * (-s).exp()
    return z


# %% right="repair" name="by index, and the determinant by autograd"
def mended_forward(x, layers):
    def run(v):
        for b, net in layers:
            moves = (b == 0).nonzero()[:, 0]
            s, t = (part[:, moves] for part in net(v * b))
            v = v.index_copy(1, moves, v[:, moves] * torch.exp(s) + t)
        return v

    dets = []
    for row in x:
        J = torch.autograd.functional.jacobian(lambda v: run(v[None])[0], row)
        dets.append(torch.linalg.slogdet(J).logabsdet)
    return run(x), torch.stack(dets)


def mended_inverse(z, layers):
    x = z.clone()
    for b, net in layers[::-1]:
        s, t = net(x * b)
        moves = b == 0
        x[:, moves] = ((x - t) / s.exp())[:, moves]
    return x
