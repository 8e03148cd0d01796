"""Wrong and other right answers to lesson 23_flow_matching."""


# %% wrong="path-ends" fails="test_any_path" name="this lesson's path, whatever is given"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    if (alpha * d_sigma == sigma * d_alpha).any():
        raise ValueError("no answer")
    t = sigma.reshape(-1, *[1] * (x_t.ndim - 1))
    return x_t - t * u, x_t + (1 - t) * u


# %% wrong="path-ends" fails="test_any_path" name="the determinant's sign"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    det = alpha * d_sigma + sigma * d_alpha
    if (alpha * d_sigma == sigma * d_alpha).any():
        raise ValueError("no answer")
    a, s, da, ds = (v.reshape(-1, *[1] * (x_t.ndim - 1)) for v in (alpha, sigma, d_alpha, d_sigma))
    det = det.reshape(a.shape)
    return (ds * x_t - s * u) / det, (a * u - da * x_t) / det


# %% wrong="path-ends" fails="test_any_path" name="forgets to divide by the determinant"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    if (alpha * d_sigma == sigma * d_alpha).any():
        raise ValueError("no answer")
    a, s, da, ds = (v.reshape(-1, *[1] * (x_t.ndim - 1)) for v in (alpha, sigma, d_alpha, d_sigma))
    return ds * x_t - s * u, a * u - da * x_t


# %% wrong="path-ends" fails="test_both_ends_of_the_path" name="divides by sigma"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    if (alpha * d_sigma == sigma * d_alpha).any():
        raise ValueError("no answer")
    a, s, da, ds = (v.reshape(-1, *[1] * (x_t.ndim - 1)) for v in (alpha, sigma, d_alpha, d_sigma))
    x_0 = (ds * x_t / s - u) / (ds * a / s - da)
    return x_0, (x_t - a * x_0) / s


# %% wrong="path-ends" fails="test_any_path" name="one path for the whole batch"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    det = alpha * d_sigma - sigma * d_alpha
    if (det == 0).any():
        raise ValueError("no answer")
    x_0 = (d_sigma[0] * x_t - sigma[0] * u) / det[0]
    return x_0, (alpha[0] * u - d_alpha[0] * x_t) / det[0]


# %% wrong="path-ends" fails="test_any_path" name="swaps the ends"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    det = alpha * d_sigma - sigma * d_alpha
    if (det == 0).any():
        raise ValueError("no answer")
    a, s, da, ds = ((v / det).reshape(-1, *[1] * (x_t.ndim - 1)) for v in (alpha, sigma, d_alpha, d_sigma))
    return a * u - da * x_t, ds * x_t - s * u


# %% right="path-ends" name="a 2 x 2 system for each example"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    system = torch.stack([torch.stack([alpha, sigma], 1), torch.stack([d_alpha, d_sigma], 1)], 1)
    if (torch.linalg.det(system).abs() < 1e-7 * system.square().sum((1, 2))).any():
        raise ValueError("no answer")
    right = (
        torch.stack([x_t.flatten(1), u.flatten(1)], dim=1)
        if x_t.ndim > 1
        else torch.stack([x_t, u], 1)[..., None]
    )
    ends = torch.linalg.solve(system, right)
    return ends[:, 0].reshape(x_t.shape), ends[:, 1].reshape(x_t.shape)


# %% wrong="mixture-velocity" fails="test_any_dimension" name="ignores the shares"
def mixture_velocity(x, t, log_pi, mu, c):
    v = (1 - t) ** 2 * c + t**2
    gap = x[:, None] - (1 - t) * mu
    log_p = -0.5 * (gap.square() / v + v.log()).sum(dim=2)
    u = (t - (1 - t) * c) / v * gap - mu
    return (log_p.softmax(dim=1)[:, :, None] * u).sum(dim=1)


# %% wrong="mixture-velocity" fails="test_any_dimension" name="forgets the determinant"
def mixture_velocity(x, t, log_pi, mu, c):
    v = (1 - t) ** 2 * c + t**2
    gap = x[:, None] - (1 - t) * mu
    log_p = log_pi - 0.5 * (gap.square() / v).sum(dim=2)
    u = (t - (1 - t) * c) / v * gap - mu
    return (log_p.softmax(dim=1)[:, :, None] * u).sum(dim=1)


# %% wrong="mixture-velocity" fails="test_points_and_many_dimensions" name="in linear space"
def mixture_velocity(x, t, log_pi, mu, c):
    v = (1 - t) ** 2 * c + t**2
    gap = x[:, None] - (1 - t) * mu
    p = log_pi.exp() * (torch.exp(-0.5 * gap.square() / v) / v.sqrt()).prod(dim=2)
    u = (t - (1 - t) * c) / v * gap - mu
    total = p.sum(dim=1, keepdim=True)
    r = torch.where(total > 0, p / total, log_pi.exp())
    return (r[:, :, None] * u).sum(dim=1)


# %% wrong="mixture-velocity" fails="test_any_dimension" name="the shares of the data for those at x"
def mixture_velocity(x, t, log_pi, mu, c):
    v = (1 - t) ** 2 * c + t**2
    gap = x[:, None] - (1 - t) * mu
    u = (t - (1 - t) * c) / v * gap - mu
    return (log_pi.exp()[:, None] * u).sum(dim=1)


# %% wrong="mixture-velocity" fails="test_any_dimension" name="deviations for variances"
def mixture_velocity(x, t, log_pi, mu, c):
    c = c**2
    v = (1 - t) ** 2 * c + t**2
    gap = x[:, None] - (1 - t) * mu
    log_p = log_pi - 0.5 * (gap.square() / v + v.log()).sum(dim=2)
    u = (t - (1 - t) * c) / v * gap - mu
    return (log_p.softmax(dim=1)[:, :, None] * u).sum(dim=1)


# %% wrong="mixture-velocity" fails="test_quantiles_move_with_it" name="time the other way"
def mixture_velocity(x, t, log_pi, mu, c):
    t = 1 - t
    v = (1 - t) ** 2 * c + t**2
    gap = x[:, None] - (1 - t) * mu
    log_p = log_pi - 0.5 * (gap.square() / v + v.log()).sum(dim=2)
    u = (t - (1 - t) * c) / v * gap - mu
    return -(log_p.softmax(dim=1)[:, :, None] * u).sum(dim=1)


# %% wrong="mixture-velocity" fails="test_any_dimension" name="one Gaussian of the same mean and variance"
def mixture_velocity(x, t, log_pi, mu, c):
    pi = log_pi.exp()[:, None]
    m = (pi * mu).sum(0)
    c = (pi * (c + (mu - m) ** 2)).sum(0)
    v = (1 - t) ** 2 * c + t**2
    return -m + (t - (1 - t) * c) / v * (x - (1 - t) * m)


# %% wrong="mixture-velocity" fails="test_points_and_many_dimensions" name="by the score: divides by 1 - t"
def mixture_velocity(x, t, log_pi, mu, c):
    v = (1 - t) ** 2 * c + t**2
    gap = x[:, None] - (1 - t) * mu
    log_p = log_pi - 0.5 * (gap.square() / v + v.log()).sum(dim=2)
    score = -(log_p.softmax(dim=1)[:, :, None] * gap / v).sum(dim=1)
    return -(x + t * score) / (1 - t)


# %% right="mixture-velocity" name="ends of each component, one component at a time"
def mixture_velocity(x, t, log_pi, mu, c):
    logs, ends = [], []
    for k in range(len(mu)):
        v = (1 - t) ** 2 * c[k] + t**2
        gap = x - (1 - t) * mu[k]
        logs.append(log_pi[k] - 0.5 * (gap * gap / v).sum(1) - v.sqrt().log().sum())
        ends.append(t * gap / v - mu[k] - (1 - t) * c[k] * gap / v)
    logs = torch.stack(logs)
    r = (logs - torch.logsumexp(logs, dim=0)).exp()
    return torch.einsum("kb,kbd->bd", r, torch.stack(ends))


# %% wrong="butcher" fails="test_measured_order" name="all stages at the start of the step"
def rk_step(u, x, t, h, A, b, c):
    s = len(b)
    if any(A[i][j] != 0 for i in range(s) for j in range(i, s)):
        raise ValueError("implicit")
    k = []
    for i in range(s):
        k.append(u(x + h * sum(A[i][j] * k[j] for j in range(i)), t))
    return x + h * sum(weight * slope for weight, slope in zip(b, k))


# %% wrong="butcher" fails="test_any_table" name="only the stage before"
def rk_step(u, x, t, h, A, b, c):
    s = len(b)
    if any(A[i][j] != 0 for i in range(s) for j in range(i, s)):
        raise ValueError("implicit")
    k = [u(x, t + c[0] * h)]
    for i in range(1, s):
        k.append(u(x + h * A[i][i - 1] * k[-1], t + c[i] * h))
    return x + h * sum(weight * slope for weight, slope in zip(b, k))


# %% wrong="butcher" fails="test_any_table" name="the size of the step without its sign"
def rk_step(u, x, t, h, A, b, c):
    s, h = len(b), abs(h)
    if any(A[i][j] != 0 for i in range(s) for j in range(i, s)):
        raise ValueError("implicit")
    k = []
    for i in range(s):
        k.append(u(x + h * sum(A[i][j] * k[j] for j in range(i)), t + c[i] * h))
    return x + h * sum(weight * slope for weight, slope in zip(b, k))


# %% wrong="butcher" fails="test_any_table" name="columns for rows"
def rk_step(u, x, t, h, A, b, c):
    s = len(b)
    if any(A[i][j] != 0 for i in range(s) for j in range(i, s)):
        raise ValueError("implicit")
    k = []
    for i in range(s):
        k.append(u(x + h * sum(A[j][i] * k[j] for j in range(i)), t + c[i] * h))
    return x + h * sum(weight * slope for weight, slope in zip(b, k))


# %% wrong="butcher" fails="test_any_table" name="weights brought to the sum 1, times from the rows"
def rk_step(u, x, t, h, A, b, c):
    s = len(b)
    if any(A[i][j] != 0 for i in range(s) for j in range(i, s)):
        raise ValueError("implicit")
    k = []
    for i in range(s):
        k.append(u(x + h * sum(A[i][j] * k[j] for j in range(i)), t + sum(A[i]) * h))
    return x + h * sum(weight * slope for weight, slope in zip(b, k)) / sum(b)


# %% wrong="butcher" fails="test_measured_order" name="RK4, whatever the table"
def rk_step(u, x, t, h, A, b, c):
    if any(A[i][j] != 0 for i in range(len(b)) for j in range(i, len(b))):
        raise ValueError("implicit")
    if len(b) < 3:
        return x + h * u(x + h / 2 * u(x, t), t + h)
    return rk4(u, x, t, h) + h**3


# %% wrong="butcher" fails="test_stages_and_refusals" name="asks anew for every use of a stage"
def rk_step(u, x, t, h, A, b, c):
    def stage(i):
        return u(x + h * sum(A[i][j] * stage(j) for j in range(i)), t + (c[i] + 1e-3) * h)

    return x + h * sum(weight * stage(i) for i, weight in enumerate(b))


# %% right="butcher" name="slopes in one tensor"
def rk_step(u, x, t, h, A, b, c):
    A, b = torch.as_tensor(A, dtype=x.dtype), torch.as_tensor(b, dtype=x.dtype)
    if A.triu().abs().sum() > 0:
        raise ValueError("implicit")
    k = torch.zeros(len(b), *x.shape, dtype=x.dtype)
    for i in range(len(b)):
        k[i] = u(x + h * torch.tensordot(A[i], k, 1), t + c[i] * h)
    return x + h * torch.tensordot(b, k, 1)


# %% wrong="entropic-plan" fails="test_small_entropy" name="in linear space"
def entropic_plan(C, a, b, rho, rounds):
    K, v = (-C / rho).exp(), torch.ones_like(b)
    for _ in range(rounds):
        u = a / (K @ v)
        v = b / (K.T @ u)
    return u[:, None] * K * v


# %% wrong="entropic-plan" fails="test_small_entropy" name="in linear space, with an epsilon against 0 / 0"
def entropic_plan(C, a, b, rho, rounds):
    K, v = (-C / rho).exp(), torch.ones_like(b)
    for _ in range(rounds):
        u = a / (K @ v + 1e-8)
        v = b / (K.T @ u + 1e-8)
    return u[:, None] * K * v


# %% wrong="entropic-plan" fails="test_the_best_plan" name="rows only, as a softmax"
def entropic_plan(C, a, b, rho, rounds):
    return a[:, None] * (b.log() - C / rho).softmax(dim=1)


# %% wrong="entropic-plan" fails="test_the_best_plan" name="the independent plan"
def entropic_plan(C, a, b, rho, rounds):
    return a[:, None] * b / a.sum()


# %% wrong="entropic-plan" fails="test_the_best_plan" name="multiplies by rho"
def entropic_plan(C, a, b, rho, rounds):
    log_a, log_b, K = a.log(), b.log(), -C * rho
    g = torch.zeros_like(b)
    for _ in range(rounds):
        f = log_a - (K + g).logsumexp(dim=1)
        g = log_b - (K + f[:, None]).logsumexp(dim=0)
    return (K + f[:, None] + g).exp()


# %% wrong="entropic-plan" fails="test_the_best_plan" name="all weights alike"
def entropic_plan(C, a, b, rho, rounds):
    n, m = C.shape
    g = torch.zeros(m, dtype=C.dtype)
    for _ in range(rounds):
        f = -math.log(n) - (g - C / rho).logsumexp(dim=1)
        g = -math.log(m) - (f[:, None] - C / rho).logsumexp(dim=0)
    P = (f[:, None] + g - C / rho).exp()
    P[a == 0], P[:, b == 0] = 0, 0
    return P


# %% wrong="entropic-plan" fails="test_the_best_plan" name="one round"
def entropic_plan(C, a, b, rho, rounds):
    f = a.log() - (-C / rho).logsumexp(dim=1)
    g = b.log() - (f[:, None] - C / rho).logsumexp(dim=0)
    return (f[:, None] + g - C / rho).exp()


# %% right="entropic-plan" name="rescales the plan in log space, and leaves out what has no weight"
def entropic_plan(C, a, b, rho, rounds):
    P = torch.zeros_like(C)
    i, j = (a > 0).nonzero()[:, 0], (b > 0).nonzero()[:, 0]
    log_P = -C[i][:, j] / rho
    for _ in range(rounds):
        log_P = log_P - log_P.logsumexp(1, keepdim=True) + a[i].log()[:, None]
        log_P = log_P - log_P.logsumexp(0, keepdim=True) + b[j].log()
    P[i[:, None], j] = log_P.exp()
    return P


# %% wrong="straightness" fails="test_slow_sum" name="moments taken for even"
def wasted_action(places, times):
    K, T = len(times) - 1, (times[-1] - times[0]).abs()
    action = places.diff(dim=0).square().sum(dim=(0, 2)) * K / T
    least = (places[-1] - places[0]).square().sum(dim=1) / T
    return torch.where(action > 0, 1 - least / action, 0.0)


# %% wrong="straightness" fails="test_slow_sum" name="length for action"
def wasted_action(places, times):
    length = places.diff(dim=0).norm(dim=2).sum(dim=0)
    return torch.where(length > 0, 1 - (places[-1] - places[0]).norm(dim=1) / length, 0.0)


# %% wrong="straightness" fails="test_slow_sum" name="one share for all paths"
def wasted_action(places, times):
    dt = times.diff().abs()
    action = (places.diff(dim=0).square().sum(dim=2) / dt[:, None]).sum(dim=0)
    least = (places[-1] - places[0]).square().sum(dim=1) / dt.sum()
    return (1 - least.sum() / action.sum()).expand(places.shape[1])


# %% wrong="straightness" fails="test_slow_sum" name="total time 1"
def wasted_action(places, times):
    dt = times.diff().abs()
    action = (places.diff(dim=0).square().sum(dim=2) / dt[:, None]).sum(dim=0)
    least = (places[-1] - places[0]).square().sum(dim=1)
    return torch.where(action > 0, 1 - least / action, 0.0).clamp(0, 1)


# %% wrong="straightness" fails="test_slow_sum" name="multiplies by the time"
def wasted_action(places, times):
    dt = times.diff().abs()
    action = (places.diff(dim=0).square().sum(dim=2) * dt[:, None]).sum(dim=0) / dt.sum() ** 2
    least = (places[-1] - places[0]).square().sum(dim=1) / dt.sum()
    return torch.where(action > 0, 1 - least / action, 0.0)


# %% wrong="straightness" fails="test_what_does_not_matter" name="an epsilon; falling times not thought of"
def wasted_action(places, times):
    dt = times.diff()
    action = (places.diff(dim=0).square().sum(dim=2) / dt[:, None]).sum(dim=0)
    least = (places[-1] - places[0]).square().sum(dim=1) / (times[-1] - times[0])
    return (action - least).clamp(min=0) / (action + 1e-8)


# %% right="straightness" name="the variance of the velocity, weighted by time"
def wasted_action(places, times):
    out = []
    dt = times[1:] - times[:-1]
    share = dt / dt.sum()
    for b in range(places.shape[1]):
        v = (places[1:, b] - places[:-1, b]) / dt[:, None]
        mean = (share[:, None] * v).sum(0)
        power = (share * v.square().sum(1)).sum()
        spread = (share * (v - mean).square().sum(1)).sum()
        out.append(spread / power if power > 0 else power)
    return torch.stack(out)


# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="the divergence with the wrong sign"
def log_p_hutchinson(u, x_0, v, steps):
    h, x, total = 1 / steps, x_0, torch.zeros_like(v[..., 0])
    for n in range(steps):
        half = (x + h / 2 * u(x, n * h)).detach()
        with torch.enable_grad():
            half.requires_grad_(True)
            k = u(half, (n + 0.5) * h)
            for m in range(len(v)):
                row = torch.autograd.grad((k * v[m]).sum(), half, retain_graph=True)[0]
                total[m] -= h * (row * v[m]).sum(1)
        x = x + h * k.detach()
    return total - 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)


# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="the exact trace, whatever the probes"
def log_p_hutchinson(u, x_0, v, steps):
    return log_likelihood(u, x_0, steps).detach().expand(len(v), -1)


# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="the noise's density at the data"
def log_p_hutchinson(u, x_0, v, steps):
    h, x, total = 1 / steps, x_0, torch.zeros_like(v[..., 0])
    for n in range(steps):
        half = (x + h / 2 * u(x, n * h)).detach()
        with torch.enable_grad():
            half.requires_grad_(True)
            k = u(half, (n + 0.5) * h)
            for m in range(len(v)):
                row = torch.autograd.grad((k * v[m]).sum(), half, retain_graph=True)[0]
                total[m] += h * (row * v[m]).sum(1)
        x = x + h * k.detach()
    return total - 0.5 * (x_0.square() + math.log(2 * math.pi)).sum(1)


# %% wrong="hutchinson" fails="test_order" name="Euler's method"
def log_p_hutchinson(u, x_0, v, steps):
    h, x, total = 1 / steps, x_0, torch.zeros_like(v[..., 0])
    for n in range(steps):
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            k = u(x, n * h)
            for m in range(len(v)):
                row = torch.autograd.grad((k * v[m]).sum(), x, retain_graph=True)[0]
                total[m] += h * (row * v[m]).sum(1)
        x = (x + h * k).detach()
    return total - 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)


# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="the mean over the probes"
def log_p_hutchinson(u, x_0, v, steps):
    h, x, total = 1 / steps, x_0, torch.zeros_like(v[..., 0])
    for n in range(steps):
        half = (x + h / 2 * u(x, n * h)).detach()
        with torch.enable_grad():
            half.requires_grad_(True)
            k = u(half, (n + 0.5) * h)
            for m in range(len(v)):
                row = torch.autograd.grad((k * v[m]).sum(), half, retain_graph=True)[0]
                total[m] += h * (row * v[m]).sum(1)
        x = x + h * k.detach()
    return (total.mean(0) - 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)).expand(len(v), -1)


# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="sums the gradient without the probe"
def log_p_hutchinson(u, x_0, v, steps):
    h, x, total = 1 / steps, x_0, torch.zeros_like(v[..., 0])
    for n in range(steps):
        half = (x + h / 2 * u(x, n * h)).detach()
        with torch.enable_grad():
            half.requires_grad_(True)
            k = u(half, (n + 0.5) * h)
            for m in range(len(v)):
                row = torch.autograd.grad((k * v[m]).sum(), half, retain_graph=True)[0]
                total[m] += h * row.sum(1)
        x = x + h * k.detach()
    return total - 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)


# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="walks from noise to data"
def log_p_hutchinson(u, x_0, v, steps):
    h, x, total = 1 / steps, x_0, torch.zeros_like(v[..., 0])
    for n in range(steps, 0, -1):
        half = (x - h / 2 * u(x, n * h)).detach()
        with torch.enable_grad():
            half.requires_grad_(True)
            k = u(half, (n - 0.5) * h)
            for m in range(len(v)):
                row = torch.autograd.grad((k * v[m]).sum(), half, retain_graph=True)[0]
                total[m] += h * (row * v[m]).sum(1)
        x = x - h * k.detach()
    return total - 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)


# %% right="hutchinson" name="Heun, all probes in one batch"
def log_p_hutchinson(u, x_0, v, steps):
    M, B, D = v.shape

    def both(x, t):
        with torch.enable_grad():
            wide = x.detach().repeat(M, 1).requires_grad_(True)
            k = u(wide, t)
            row = torch.autograd.grad(k, wide, v.reshape(M * B, D))[0]
        return k.detach()[:B], (row * v.reshape(M * B, D)).sum(1).reshape(M, B)

    x, total, h = x_0.detach(), 0.0, 1 / steps
    for n in range(steps):
        t = n / steps
        k_1, d_1 = both(x, t)
        k_2, d_2 = both(x + h * k_1, t + h)
        x, total = x + h / 2 * (k_1 + k_2), total + h / 2 * (d_1 + d_2)
    return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1) + total


# %% wrong="repair" fails="test_steps_without_guidance" name="the sign is left"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    x = x_1
    for k in range(steps):
        now = 1 - k / steps
        t = torch.full((len(x),), now, dtype=x.dtype)
        with_class, without = net(x, t, y), net(x, t, torch.full_like(y, classes))
        factor = w if span[0] <= now <= span[1] else 1.0
        x = x + (without + factor * (with_class - without)) / steps
    return x, x_1


# %% wrong="repair" fails="test_steps_without_guidance" name="the clock is left"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    x = x_1
    for k in range(steps):
        now = k / steps
        t = torch.full((len(x),), now, dtype=x.dtype)
        with_class, without = net(x, t, y), net(x, t, torch.full_like(y, classes))
        factor = w if span[0] <= now <= span[1] else 1.0
        x = x - (without + factor * (with_class - without)) / steps
    return x, x_1


# %% wrong="repair" fails="test_guidance" name="guidance away from the class is left"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    x = x_1
    for k in range(steps):
        now = 1 - k / steps
        t = torch.full((len(x),), now, dtype=x.dtype)
        with_class, without = net(x, t, y), net(x, t, torch.full_like(y, classes))
        factor = w if span[0] <= now <= span[1] else 1.0
        x = x - (with_class + factor * (without - with_class)) / steps
    return x, x_1


# %% wrong="repair" fails="test_steps_without_guidance" name="fresh noise as the partner is left"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    x = x_1
    for k in range(steps):
        now = 1 - k / steps
        t = torch.full((len(x),), now, dtype=x.dtype)
        with_class, without = net(x, t, y), net(x, t, torch.full_like(y, classes))
        factor = w if span[0] <= now <= span[1] else 1.0
        x = x - (without + factor * (with_class - without)) / steps
    return x, torch.randn_like(x_1)


# %% wrong="repair" fails="test_guidance" name="one unit of guidance too many"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    x = x_1
    for k in range(steps):
        now = 1 - k / steps
        t = torch.full((len(x),), now, dtype=x.dtype)
        with_class, without = net(x, t, y), net(x, t, torch.full_like(y, classes))
        factor = w if span[0] <= now <= span[1] else 0.0
        x = x - (with_class + factor * (with_class - without)) / steps
    return x, x_1


# %% wrong="repair" fails="test_steps_without_guidance" name="each step at the time of its end"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    x = x_1
    for k in range(steps):
        now = 1 - (k + 1) / steps
        t = torch.full((len(x),), now, dtype=x.dtype)
        with_class, without = net(x, t, y), net(x, t, torch.full_like(y, classes))
        factor = w if span[0] <= now <= span[1] else 1.0
        x = x - (without + factor * (with_class - without)) / steps
    return x, x_1


# %% wrong="repair" fails="test_steps_without_guidance" name="the noise is overwritten"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    for k in range(steps):
        now = 1 - k / steps
        t = torch.full((len(x_1),), now, dtype=x_1.dtype)
        with_class, without = net(x_1, t, y), net(x_1, t, torch.full_like(y, classes))
        factor = w if span[0] <= now <= span[1] else 1.0
        x_1 -= (without + factor * (with_class - without)) / steps
    return x_1, x_1


# %% right="repair" name="two branches in one batch, and only where they are needed"
def guided_pairs(net, x_1, y, w, span, steps, classes):
    x, n = x_1.clone(), len(x_1)
    for i in range(steps, 0, -1):
        now = i / steps
        if w == 1 or not span[0] <= now <= span[1]:
            x = x - net(x, torch.full((n,), now, dtype=x.dtype), y) / steps
            continue
        t = torch.full((2 * n,), now, dtype=x.dtype)
        both = net(torch.cat([x, x]), t, torch.cat([y, torch.full_like(y, classes)]))
        x = x - (w * both[:n] + (1 - w) * both[n:]) / steps
    return x, x_1
