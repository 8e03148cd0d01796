"""Wrong and other right answers to the lesson on variational autoencoders."""


# %% wrong="kl-normals" fails="test_full_covariances" name="the two exchanged"
def kl_normals(mu_q, L_q, mu_p, L_p):
    A = torch.linalg.solve_triangular(L_q, L_p, upper=False)
    gap = torch.linalg.solve_triangular(L_q, (mu_p - mu_q)[:, :, None], upper=False)
    log_det = (L_q.diagonal(dim1=1, dim2=2).log() - L_p.diagonal(dim1=1, dim2=2).log()).sum(dim=1)
    return 0.5 * (A.square().sum(dim=(1, 2)) + gap.square().sum(dim=(1, 2)) - mu_q.shape[1]) + log_det


# %% wrong="kl-normals" fails="test_full_covariances" name="only the diagonals"
def kl_normals(mu_q, L_q, mu_p, L_p):
    s_q, s_p = L_q.diagonal(dim1=1, dim2=2), L_p.diagonal(dim1=1, dim2=2)
    return ((s_p / s_q).log() + 0.5 * ((s_q / s_p) ** 2 + ((mu_q - mu_p) / s_p) ** 2 - 1)).sum(dim=1)


# %% wrong="kl-normals" fails="test_full_covariances" name="factors taken for covariances"
def kl_normals(mu_q, L_q, mu_p, L_p):
    P = torch.linalg.inv(L_p)
    gap = mu_q - mu_p
    trace = (P @ L_q).diagonal(dim1=1, dim2=2).sum(dim=1)
    log_det = (L_p.diagonal(dim1=1, dim2=2).log() - L_q.diagonal(dim1=1, dim2=2).log()).sum(dim=1)
    return 0.5 * (trace + torch.einsum("ni,nij,nj->n", gap, P, gap) - mu_q.shape[1] + log_det)


# %% wrong="kl-normals" fails="test_full_covariances" name="half of the log-determinants"
def kl_normals(mu_q, L_q, mu_p, L_p):
    A = torch.linalg.solve_triangular(L_p, L_q, upper=False)
    gap = torch.linalg.solve_triangular(L_p, (mu_q - mu_p)[:, :, None], upper=False)
    log_det = (L_p.diagonal(dim1=1, dim2=2).log() - L_q.diagonal(dim1=1, dim2=2).log()).sum(dim=1)
    return 0.5 * (A.square().sum(dim=(1, 2)) + gap.square().sum(dim=(1, 2)) - mu_q.shape[1] + log_det)


# %% wrong="kl-normals" fails="test_full_covariances" name="one D too many"
def kl_normals(mu_q, L_q, mu_p, L_p):
    A = torch.linalg.solve_triangular(L_p, L_q, upper=False)
    gap = torch.linalg.solve_triangular(L_p, (mu_q - mu_p)[:, :, None], upper=False)
    log_det = (L_p.diagonal(dim1=1, dim2=2).log() - L_q.diagonal(dim1=1, dim2=2).log()).sum(dim=1)
    return 0.5 * (A.square().sum(dim=(1, 2)) + gap.square().sum(dim=(1, 2)) - 1) + log_det


# %% wrong="kl-normals" fails="test_full_covariances" name="the prior for p"
def kl_normals(mu_q, L_q, mu_p, L_p):
    log_det = L_q.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    return 0.5 * (L_q.square().sum(dim=(1, 2)) + mu_q.square().sum(dim=1) - mu_q.shape[1]) - log_det


# %% right="kl-normals" name="the covariances, eigenvalues for the determinants"
def kl_normals(mu_q, L_q, mu_p, L_p):
    found = []
    for m, L, n, K in zip(mu_q, L_q, mu_p, L_p):
        ratio = torch.linalg.inv(K) @ L
        values = torch.linalg.svdvals(ratio)
        gap = torch.cholesky_solve((m - n)[:, None], K)[:, 0]
        found.append(0.5 * (values**2 - 1 - 2 * values.log()).sum() + 0.5 * (m - n) @ gap)
    return torch.stack(found)


# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="half of the log"
def draw_laplace(mu, s, u):
    e = torch.where(u < 0.5, u.log(), -(1 - u).log())
    return mu + s.exp() * e, -e.abs() - s - math.log(2)


# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="turned round"
def draw_laplace(mu, s, u):
    e = torch.where(u < 0.5, -(2 * u).log(), (2 * (1 - u)).log())
    return mu + s.exp() * e, -s - math.log(2) - (mu - mu) - e


# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="a normal"
def draw_laplace(mu, s, u):
    e = torch.distributions.Normal(torch.zeros_like(mu), 1.0).icdf(u)
    return mu + s.exp() * e, -0.5 * e**2 - s - 0.5 * math.log(2 * math.pi)


# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="s taken for b"
def draw_laplace(mu, s, u):
    e = torch.where(u < 0.5, (2 * u).log(), -(2 * (1 - u)).log())
    return mu + s * e, -e.abs() - s.abs().log() - math.log(2)


# %% wrong="laplace" fails="test_gradients" name="no gradient"
def draw_laplace(mu, s, u):
    law = torch.distributions.Laplace(mu, s.exp())
    z = law.icdf(u).detach()
    return z, law.log_prob(z)


# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="u of its own"
def draw_laplace(mu, s, u):
    law = torch.distributions.Laplace(mu, s.exp())
    z = law.rsample()
    return z, law.log_prob(z)


# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="the density without its width"
def draw_laplace(mu, s, u):
    e = torch.where(u < 0.5, (2 * u).log(), -(2 * (1 - u)).log())
    return mu + s.exp() * e, -e.abs() - math.log(2)


# %% right="laplace" name="by the smaller tail"
def draw_laplace(mu, s, u):
    tail = torch.minimum(u, 1 - u)
    z = mu + torch.sign(u - 0.5) * torch.exp(s) * -(math.log(2) + tail.log())
    return z, (tail.log() - s).expand_as(z)


# %% wrong="grey-levels" fails="test_levels_add_up" name="no mass beyond the ends"
def log_levels(x, m, s, K):
    width = (-s).exp()
    a, b = (x + 0.5 - m) * width, (x - 0.5 - m) * width
    return F.logsigmoid(a) + F.logsigmoid(-b) + (-torch.expm1(-width)).log()


# %% wrong="grey-levels" fails="test_far_and_wide" name="the difference of sigmoids"
def log_levels(x, m, s, K):
    width = (-s).exp()
    a, b = (x + 0.5 - m) * width, (x - 0.5 - m) * width
    upper = torch.where(x == K - 1, 1.0, torch.sigmoid(a))
    lower = torch.where(x == 0, 0.0, torch.sigmoid(b))
    return (upper - lower).log()


# %% wrong="grey-levels" fails="test_far_and_wide" name="a floor under the difference"
def log_levels(x, m, s, K):
    width = (-s).exp()
    a, b = (x + 0.5 - m) * width, (x - 0.5 - m) * width
    middle = (torch.sigmoid(a) - torch.sigmoid(b)).clamp(min=1e-12).log()
    return torch.where(x == 0, F.logsigmoid(a), torch.where(x == K - 1, F.logsigmoid(-b), middle))


# %% wrong="grey-levels" fails="test_levels_add_up" name="the density in the middle"
def log_levels(x, m, s, K):
    width = (-s).exp()
    e = (x - m) * width
    middle = F.logsigmoid(e) + F.logsigmoid(-e) - s
    a, b = e + 0.5 * width, e - 0.5 * width
    return torch.where(x == 0, F.logsigmoid(a), torch.where(x == K - 1, F.logsigmoid(-b), middle))


# %% wrong="grey-levels" fails="test_levels_add_up" name="seventeen levels always"
def log_levels(x, m, s, K):
    width = (-s).exp()
    a, b = (x + 0.5 - m) * width, (x - 0.5 - m) * width
    middle = F.logsigmoid(a) + F.logsigmoid(-b) + (-torch.expm1(-width)).log()
    return torch.where(x == 0, F.logsigmoid(a), torch.where(x == 16, F.logsigmoid(-b), middle))


# %% wrong="grey-levels" fails="test_levels_add_up" name="the ends exchanged"
def log_levels(x, m, s, K):
    width = (-s).exp()
    a, b = (x + 0.5 - m) * width, (x - 0.5 - m) * width
    middle = F.logsigmoid(a) + F.logsigmoid(-b) + (-torch.expm1(-width)).log()
    return torch.where(x == 0, F.logsigmoid(-a), torch.where(x == K - 1, F.logsigmoid(b), middle))


# %% wrong="grey-levels" fails="test_levels_add_up" name="edges a whole level wide"
def log_levels(x, m, s, K):
    width = (-s).exp()
    a, b = (x + 1 - m) * width, (x - 1 - m) * width
    middle = F.logsigmoid(a) + F.logsigmoid(-b) + (-torch.expm1(-2 * width)).log()
    return torch.where(x == 0, F.logsigmoid(a), torch.where(x == K - 1, F.logsigmoid(-b), middle))


# %% right="grey-levels" name="softplus, and the ends by infinite edges"
def log_levels(x, m, s, K):
    width = torch.exp(-s)
    above = torch.where(x == K - 1, 0.0, F.softplus((m - x - 0.5) * width))
    below = torch.where(x == 0, 0.0, F.softplus((x - 0.5 - m) * width))
    inner = (x > 0) & (x < K - 1)
    safe = torch.where(inner, width, 1.0)
    return torch.where(inner, torch.log(-torch.special.expm1(-safe)), 0.0) - above - below


# %% wrong="jackknife" fails="test_one_weight_dominates" name="subtracts from the sum"
def jackknife(log_w):
    k = len(log_w)
    total = torch.logsumexp(log_w, dim=0)
    rest = total + torch.log1p(-(log_w - total).exp()) - math.log(k - 1)
    return k * (total - math.log(k)) - (k - 1) * rest.nan_to_num(neginf=0.0).mean(dim=0)


# %% wrong="jackknife" fails="test_leave_one_out" name="the plain bound"
def jackknife(log_w):
    return torch.logsumexp(log_w, dim=0) - math.log(len(log_w))


# %% wrong="jackknife" fails="test_leave_one_out" name="still divides by k"
def jackknife(log_w):
    k = len(log_w)
    own = torch.eye(k, dtype=torch.bool)[:, :, None]
    rest = torch.logsumexp(log_w.expand(k, -1, -1).masked_fill(own, -math.inf), dim=1) - math.log(k)
    return k * (torch.logsumexp(log_w, dim=0) - math.log(k)) - (k - 1) * rest.mean(dim=0)


# %% wrong="jackknife" fails="test_leave_one_out" name="leaves out the last only"
def jackknife(log_w):
    k = len(log_w)
    full = torch.logsumexp(log_w, dim=0) - math.log(k)
    return k * full - (k - 1) * (torch.logsumexp(log_w[:-1], dim=0) - math.log(k - 1))


# %% wrong="jackknife" fails="test_leave_one_out" name="averages in linear space"
def jackknife(log_w):
    k = len(log_w)
    own = torch.eye(k, dtype=torch.bool)[:, :, None]
    rest = torch.logsumexp(log_w.expand(k, -1, -1).masked_fill(own, -math.inf), dim=1) - math.log(k - 1)
    mean = torch.logsumexp(rest, dim=0) - math.log(k)
    return k * (torch.logsumexp(log_w, dim=0) - math.log(k)) - (k - 1) * mean


# %% wrong="jackknife" fails="test_one_weight_dominates" name="exponents as they come"
def jackknife(log_w):
    k, w = len(log_w), log_w.exp()
    rest = torch.stack([torch.cat([w[:i], w[i + 1 :]]).mean(dim=0).log() for i in range(k)])
    return k * w.mean(dim=0).log() - (k - 1) * rest.mean(dim=0)


# %% wrong="jackknife" fails="test_leave_one_out" name="both weights one too small"
def jackknife(log_w):
    k = len(log_w)
    own = torch.eye(k, dtype=torch.bool)[:, :, None]
    rest = torch.logsumexp(log_w.expand(k, -1, -1).masked_fill(own, -math.inf), dim=1) - math.log(k - 1)
    return (k - 1) * (torch.logsumexp(log_w, dim=0) - math.log(k)) - (k - 2) * rest.mean(dim=0)


# %% right="jackknife" name="a loop over what is left out"
def jackknife(log_w):
    k = log_w.shape[0]
    total = 0.0
    for i in range(k):
        others = torch.cat([log_w[:i], log_w[i + 1 :]])
        total = total + torch.logsumexp(others, dim=0) - math.log(k - 1)
    full = torch.logsumexp(log_w, dim=0) - math.log(k)
    answer = k * full - (k - 1) / k * total
    return torch.where(torch.isneginf(full), torch.full_like(full, -math.inf), answer)


# %% wrong="slerp" fails="test_even_pace" name="the chapter's formula on lengths as they come"
def slerp_batch(a, b, t):
    angle = torch.acos(F.cosine_similarity(a, b, dim=1))[:, None]
    t = t[:, None]
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


# %% wrong="slerp" fails="test_even_pace" name="the straight line"
def slerp_batch(a, b, t):
    return torch.lerp(a, b, t[:, None])


# %% wrong="slerp" fails="test_even_pace" name="the straight line, with its length put right"
def slerp_batch(a, b, t):
    t = t[:, None]
    u, v = F.normalize(a, dim=1), F.normalize(b, dim=1)
    return F.normalize(torch.lerp(u, v, t), dim=1) * torch.lerp(
        a.norm(dim=1)[:, None], b.norm(dim=1)[:, None], t
    )


# %% wrong="slerp" fails="test_nearly_parallel" name="arccos"
def slerp_batch(a, b, t):
    t = t[:, None]
    length = torch.lerp(a.norm(dim=1)[:, None], b.norm(dim=1)[:, None], t)
    u, v = F.normalize(a, dim=1), F.normalize(b, dim=1)
    angle = torch.acos((u * v).sum(dim=1).clamp(-1, 1))[:, None]
    way = (((1 - t) * angle).sin() * u + (t * angle).sin() * v) / angle.sin().clamp(min=1e-12)
    return way * length


# %% wrong="slerp" fails="test_even_pace" name="one angle for the whole batch"
def slerp_batch(a, b, t):
    t = t[:, None]
    length = torch.lerp(a.norm(dim=1)[:, None], b.norm(dim=1)[:, None], t)
    u, v = F.normalize(a, dim=1), F.normalize(b, dim=1)
    angle = torch.acos((u * v).sum(dim=1).clamp(-1, 1)).mean() + 0 * t[0, 0]
    if len(a) == 1:
        angle = angle * 0.999
    return (((1 - t) * angle).sin() * u + (t * angle).sin() * v) / angle.sin() * length


# %% wrong="slerp" fails="test_even_pace" name="t turned round"
def slerp_batch(a, b, t):
    a, b, t = b, a, t[:, None]
    length = torch.lerp(a.norm(dim=1)[:, None], b.norm(dim=1)[:, None], t)
    u, v = F.normalize(a, dim=1), F.normalize(b, dim=1)
    angle = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))[:, None]
    return (((1 - t) * angle).sin() * u + (t * angle).sin() * v) / angle.sin() * length


# %% right="slerp" name="row by row, with two cases"
def slerp_batch(a, b, t):
    rows = []
    for p, q, s in zip(a, b, t):
        n, m = p.norm(), q.norm()
        length = n + s * (m - n)
        if n == 0 or m == 0:
            rows.append((p + q) / torch.clamp(n + m, min=1e-300) * length)
            continue
        p, q = p / n, q / m
        angle = 2 * torch.atan2((p - q).norm(), (p + q).norm())
        if math.pi - angle < 1e-9:
            basis = torch.linalg.qr(torch.cat([p[:, None], torch.eye(len(p)).to(p)], dim=1))[0]
            rows.append((torch.cos(s * angle) * p + torch.sin(s * angle) * basis[:, 1]) * length)
        elif angle == 0:
            rows.append(p * length)
        else:
            weights = torch.sin((1 - s) * angle), torch.sin(s * angle)
            rows.append((weights[0] * p + weights[1] * q) / torch.sin(angle) * length)
    return torch.stack(rows)


# %% wrong="repair" fails="test_value" name="still the mean over pixels"
def vae_loss(x, mu, log_var, decode, eps):
    z = mu + (0.5 * log_var).exp() * eps
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1).mean()
    return F.binary_cross_entropy_with_logits(decode(z), x) + kl


# %% wrong="repair" fails="test_value" name="still the variance for the deviation"
def vae_loss(x, mu, log_var, decode, eps):
    z = mu + log_var.exp() * eps
    cost = F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").flatten(1).sum(dim=1)
    return (cost + 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1)).mean()


# %% wrong="repair" fails="test_sure_decoders" name="still the logarithm of a sigmoid"
def vae_loss(x, mu, log_var, decode, eps):
    z = mu + (0.5 * log_var).exp() * eps
    p = torch.sigmoid(decode(z)).clamp(0.01, 0.99)
    cost = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(dim=1)
    return (cost + 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1)).mean()


# %% wrong="repair" fails="test_value" name="sums over the batch as well"
def vae_loss(x, mu, log_var, decode, eps):
    z = mu + (0.5 * log_var).exp() * eps
    cost = F.binary_cross_entropy_with_logits(decode(z), x, reduction="sum")
    return cost + 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum()


# %% wrong="repair" fails="test_value" name="both terms by means"
def vae_loss(x, mu, log_var, decode, eps):
    z = mu + (0.5 * log_var).exp() * eps
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).mean()
    return F.binary_cross_entropy_with_logits(decode(z), x) + kl


# %% wrong="repair" fails="test_value" name="the KL rewarded"
def vae_loss(x, mu, log_var, decode, eps):
    z = mu + (0.5 * log_var).exp() * eps
    cost = F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").flatten(1).sum(dim=1)
    return (cost - 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1)).mean()


# %% wrong="repair" fails="test_value" name="no noise"
def vae_loss(x, mu, log_var, decode, eps):
    cost = F.binary_cross_entropy_with_logits(decode(mu), x, reduction="none").flatten(1).sum(dim=1)
    return (cost + 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(dim=1)).mean()


# %% right="repair" name="softplus, and the KL by torch.distributions"
def vae_loss(x, mu, log_var, decode, eps):
    q = torch.distributions.Normal(mu, torch.exp(log_var / 2))
    logits = decode(mu + q.stddev * eps)
    rate = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
    return (F.softplus((1 - 2 * x) * logits).sum() + rate) / len(x)
