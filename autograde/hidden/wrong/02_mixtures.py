"""Wrong and other right answers to lesson 02_mixtures."""


# %% wrong="log-mean-exp" fails="test_blocks" name="adds in linear space"
def log_mean_exp(blocks):
    count = sum(len(block) for block in blocks)
    if count == 0:
        raise ValueError("no terms")
    total = sum(block.exp().sum().item() for block in blocks)
    return math.log(total / count) if total else -math.inf


# %% wrong="log-mean-exp" fails="test_blocks" name="the mean of the blocks' means"
def log_mean_exp(blocks):
    means = [torch.logsumexp(b, 0) - math.log(len(b)) for b in blocks if len(b)]
    if not means:
        raise ValueError("no terms")
    return (torch.logsumexp(torch.stack(means), 0) - math.log(len(means))).item()


# %% wrong="log-mean-exp" fails="test_shift_and_order" name="the sum for the mean"
def log_mean_exp(blocks):
    a = torch.cat([b.double() for b in blocks])
    if len(a) == 0:
        raise ValueError("no terms")
    return torch.logsumexp(a, 0).item()


# %% wrong="log-mean-exp" fails="test_blocks" name="does not rescale when a larger term comes"
def log_mean_exp(blocks):
    top, total, count = -math.inf, 0.0, 0
    for block in blocks:
        count += len(block)
        top = max([top, *block.tolist()])
        if top > -math.inf:
            total += (block - top).exp().sum().item()
    if count == 0:
        raise ValueError("no terms")
    return top + math.log(total / count) if total else -math.inf


# %% wrong="log-mean-exp" fails="test_minus_infinity" name="NaN while all terms are -inf"
def log_mean_exp(blocks):
    top, total, count = torch.tensor(-math.inf).double(), torch.tensor(0.0).double(), 0
    for block in blocks:
        if len(block) == 0:
            continue
        new = torch.maximum(top, block.max())
        total = total * (top - new).exp() + (block - new).exp().sum()
        top, count = new, count + len(block)
    if count == 0:
        raise ValueError("no terms")
    return (top + (total / count).log()).item()


# %% wrong="log-mean-exp" fails="test_shift_and_order" name="drops the terms that are -inf"
def log_mean_exp(blocks):
    a = torch.cat([b.double() for b in blocks])
    a = a[a > -math.inf]
    if len(a) == 0:
        raise ValueError("no terms")
    return (torch.logsumexp(a, 0) - math.log(len(a))).item()


# %% right="log-mean-exp" name="pairs of logarithms, added two at a time"
def log_mean_exp(blocks):
    total, count = -np.inf, 0
    for block in blocks:
        for a in block.numpy():
            total, count = np.logaddexp(total, a), count + 1
    if count == 0:
        raise ValueError("no terms")
    return float(total - np.log(count))


# %% wrong="tied-m-step" fails="test_weighted_sums" name="weights in the means only"
def tied_m_step(x, r, w):
    share = r * w[:, None]
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    gap = x[:, None] - mu
    Sigma = torch.einsum("nk,nkd,nke->de", r, gap, gap) / len(x)
    return n / w.sum(), mu, Sigma


# %% wrong="tied-m-step" fails="test_whole_weights_repeat" name="divides by the number of samples"
def tied_m_step(x, r, w):
    share = r * w[:, None]
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    gap = x[:, None] - mu
    Sigma = torch.einsum("nk,nkd,nke->de", share, gap, gap) / len(x)
    return n / len(x), mu, Sigma


# %% wrong="tied-m-step" fails="test_weighted_sums" name="ignores the weights"
def tied_m_step(x, r, w):
    w = torch.ones_like(w)
    share = r
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    gap = x[:, None] - mu
    Sigma = torch.einsum("nk,nkd,nke->de", share, gap, gap) / w.sum()
    return n / w.sum(), mu, Sigma


# %% wrong="tied-m-step" fails="test_weighted_sums" name="squares before it subtracts"
def tied_m_step(x, r, w):
    share = r * w[:, None]
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    Sigma = ((x * w[:, None]).T @ x - (mu * n[:, None]).T @ mu) / w.sum()
    return n / w.sum(), mu, Sigma


# %% wrong="tied-m-step" fails="test_weighted_sums" name="around the mean of all samples"
def tied_m_step(x, r, w):
    share = r * w[:, None]
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    gap = x[:, None] - (w @ x / w.sum()) + 0 * mu
    Sigma = torch.einsum("nk,nkd,nke->de", share, gap, gap) / w.sum()
    return n / w.sum(), mu, Sigma


# %% wrong="tied-m-step" fails="test_weighted_sums" name="the plain mean of the components' covariances"
def tied_m_step(x, r, w):
    share = r * w[:, None]
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    gap = x[:, None] - mu
    Sigma = (torch.einsum("nk,nkd,nke->kde", share, gap, gap) / n[:, None, None]).mean(dim=0)
    return n / w.sum(), mu, Sigma


# %% wrong="tied-m-step" fails="test_whole_weights_repeat" name="divides by the weight less one"
def tied_m_step(x, r, w):
    share = r * w[:, None]
    n = share.sum(dim=0)
    mu = share.T @ x / n[:, None]
    gap = x[:, None] - mu
    Sigma = torch.einsum("nk,nkd,nke->de", share, gap, gap) / (w.sum() - 1)
    return n / w.sum(), mu, Sigma


# %% right="tied-m-step" name="component by component, around the mean of all"
def tied_m_step(x, r, w):
    y = (x - x[0]).numpy()
    share = (r * w[:, None]).numpy()
    n = share.sum(axis=0)
    mu, Sigma = np.empty((len(n), y.shape[1])), np.zeros((y.shape[1],) * 2)
    for k in range(len(n)):
        mu[k] = np.average(y, axis=0, weights=share[:, k])
        Sigma += (share[:, k : k + 1] * (y - mu[k])).T @ (y - mu[k])
    return torch.tensor(n / n.sum()), torch.tensor(mu) + x[0], torch.tensor(Sigma / n.sum())


# %% wrong="bic" fails="test_parameters" name="K shares instead of K - 1"
def best_fit(fits, N, D):
    full = D * (D + 1) // 2
    scores = []
    for shape, K, mean_log_p in fits:
        covariances = {"full": K * full, "tied": full, "diag": K * D, "spherical": K}
        if shape not in covariances:
            raise ValueError(shape)
        parameters = K + K * D + covariances[shape]
        scores.append(-2 * N * mean_log_p + parameters * math.log(N))
    return scores.index(min(scores)), scores


# %% wrong="bic" fails="test_choice" name="forgets to multiply by N"
def best_fit(fits, N, D):
    full = D * (D + 1) // 2
    scores = []
    for shape, K, mean_log_p in fits:
        covariances = {"full": K * full, "tied": full, "diag": K * D, "spherical": K}
        if shape not in covariances:
            raise ValueError(shape)
        parameters = K - 1 + K * D + covariances[shape]
        scores.append(-2 * mean_log_p + parameters * math.log(N))
    return scores.index(min(scores)), scores


# %% wrong="bic" fails="test_parameters" name="counts both halves of the covariance"
def best_fit(fits, N, D):
    full = D * D
    scores = []
    for shape, K, mean_log_p in fits:
        covariances = {"full": K * full, "tied": full, "diag": K * D, "spherical": K}
        if shape not in covariances:
            raise ValueError(shape)
        parameters = K - 1 + K * D + covariances[shape]
        scores.append(-2 * N * mean_log_p + parameters * math.log(N))
    return scores.index(min(scores)), scores


# %% wrong="bic" fails="test_parameters" name="a tied covariance for each component"
def best_fit(fits, N, D):
    full = D * (D + 1) // 2
    scores = []
    for shape, K, mean_log_p in fits:
        covariances = {"full": K * full, "tied": K * full, "diag": K * D, "spherical": K}
        if shape not in covariances:
            raise ValueError(shape)
        parameters = K - 1 + K * D + covariances[shape]
        scores.append(-2 * N * mean_log_p + parameters * math.log(N))
    return scores.index(min(scores)), scores


# %% wrong="bic" fails="test_choice" name="takes the largest"
def best_fit(fits, N, D):
    full = D * (D + 1) // 2
    scores = []
    for shape, K, mean_log_p in fits:
        covariances = {"full": K * full, "tied": full, "diag": K * D, "spherical": K}
        if shape not in covariances:
            raise ValueError(shape)
        parameters = K - 1 + K * D + covariances[shape]
        scores.append(-2 * N * mean_log_p + parameters * math.log(N))
    return scores.index(max(scores)), scores


# %% wrong="bic" fails="test_parameters" name="AIC: two for each parameter"
def best_fit(fits, N, D):
    full = D * (D + 1) // 2
    scores = []
    for shape, K, mean_log_p in fits:
        covariances = {"full": K * full, "tied": full, "diag": K * D, "spherical": K}
        if shape not in covariances:
            raise ValueError(shape)
        parameters = K - 1 + K * D + covariances[shape]
        scores.append(-2 * N * mean_log_p + parameters * 2)
    return scores.index(min(scores)), scores


# %% wrong="bic" fails="test_choice" name="half of BIC"
def best_fit(fits, N, D):
    full = D * (D + 1) // 2
    scores = []
    for shape, K, mean_log_p in fits:
        covariances = {"full": K * full, "tied": full, "diag": K * D, "spherical": K}
        if shape not in covariances:
            raise ValueError(shape)
        parameters = K - 1 + K * D + covariances[shape]
        scores.append(-N * mean_log_p + parameters * math.log(N) / 2)
    return scores.index(min(scores)), scores


# %% right="bic" name="counts an array of parameters"
def best_fit(fits, N, D):
    def free(shape, K):
        triangle = np.tri(D).sum()
        sizes = {"full": [triangle] * K, "tied": [triangle], "diag": [1] * (K * D), "spherical": [1] * K}
        if shape not in sizes:
            raise ValueError(f"{shape}?")
        return sum(sizes[shape]) + K * (D + 1) - 1

    scores = np.array([free(s, K) * np.log(N) - 2 * N * v for s, K, v in fits])
    return int(scores.argmin()), scores.tolist()


# %% wrong="auc" fails="test_ties_and_weights" name="a tie counts nothing"
def weighted_auc(scores, anomaly, w):
    a, b, w_a, w_b = scores[anomaly], scores[~anomaly], w[anomaly], w[~anomaly]
    pairs = w_a[:, None] * w_b
    if pairs.sum() == 0:
        raise ValueError("no pairs")
    credit = (a[:, None] > b).double()
    return ((pairs * credit).sum() / pairs.sum()).item()


# %% wrong="auc" fails="test_ties_and_weights" name="a tie counts one"
def weighted_auc(scores, anomaly, w):
    a, b, w_a, w_b = scores[anomaly], scores[~anomaly], w[anomaly], w[~anomaly]
    pairs = w_a[:, None] * w_b
    if pairs.sum() == 0:
        raise ValueError("no pairs")
    credit = (a[:, None] > b).double() + (a[:, None] == b).double()
    return ((pairs * credit).sum() / pairs.sum()).item()


# %% wrong="auc" fails="test_ties_and_weights" name="ignores the weights"
def weighted_auc(scores, anomaly, w):
    a, b, w_a, w_b = scores[anomaly], scores[~anomaly], w[anomaly], w[~anomaly]
    pairs = (w_a.sum() * w_b.sum() > 0).double() * torch.ones(len(a), len(b)).double()
    if pairs.sum() == 0:
        raise ValueError("no pairs")
    credit = (a[:, None] > b).double() + 0.5 * (a[:, None] == b).double()
    return ((pairs * credit).sum() / pairs.sum()).item()


# %% wrong="auc" fails="test_any_scale" name="low scores are anomalous"
def weighted_auc(scores, anomaly, w):
    a, b, w_a, w_b = scores[anomaly], scores[~anomaly], w[anomaly], w[~anomaly]
    pairs = w_a[:, None] * w_b
    if pairs.sum() == 0:
        raise ValueError("no pairs")
    credit = (a[:, None] < b).double() + 0.5 * (a[:, None] == b).double()
    return ((pairs * credit).sum() / pairs.sum()).item()


# %% wrong="auc" fails="test_ties_and_weights" name="clips what it finds too large"
def weighted_auc(scores, anomaly, w):
    scores = scores.clamp(-2, 2)
    a, b, w_a, w_b = scores[anomaly], scores[~anomaly], w[anomaly], w[~anomaly]
    pairs = w_a[:, None] * w_b
    if pairs.sum() == 0:
        raise ValueError("no pairs")
    credit = (a[:, None] > b).double() + 0.5 * (a[:, None] == b).double()
    return ((pairs * credit).sum() / pairs.sum()).item()


# %% wrong="auc" fails="test_any_scale" name="nearly equal is a tie"
def weighted_auc(scores, anomaly, w):
    a, b, w_a, w_b = scores[anomaly], scores[~anomaly], w[anomaly], w[~anomaly]
    pairs = w_a[:, None] * w_b
    if pairs.sum() == 0:
        raise ValueError("no pairs")
    credit = (a[:, None] > b + 1e-6).double() + 0.5 * (
        (a[:, None] == b) | ((a[:, None] - b).abs() < 1e-6)
    ).double()
    return ((pairs * credit).sum() / pairs.sum()).item()


# %% wrong="auc" fails="test_whole_weights_and_nothing" name="adds the weights of a pair"
def weighted_auc(scores, anomaly, w):
    a, b, w_a, w_b = scores[anomaly], scores[~anomaly], w[anomaly], w[~anomaly]
    pairs = (w_a[:, None] + w_b) * (w_a.sum() * w_b.sum() > 0)
    if pairs.sum() == 0:
        raise ValueError("no pairs")
    credit = (a[:, None] > b).double() + 0.5 * (a[:, None] == b).double()
    return ((pairs * credit).sum() / pairs.sum()).item()


# %% right="auc" name="walks down the sorted scores"
def weighted_auc(scores, anomaly, w):
    values, group = torch.unique(scores, return_inverse=True)
    a, b = (
        torch.zeros(len(values), dtype=w.dtype).index_add_(0, group[m], w[m]) for m in (anomaly, ~anomaly)
    )
    if a.sum() == 0 or b.sum() == 0:
        raise ValueError("one kind only")
    below = b.cumsum(0) - b
    return float((a * (below + b / 2)).sum() / (a.sum() * b.sum()))


# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="the mean, without noise"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(r, 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        row[m] = mean
    return filled


# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="the marginal covariance"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(r, 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        L = torch.linalg.cholesky(Sigma[k][m][:, m])
        row[m] = mean + L @ torch.randn(int(m.sum()), generator=generator, dtype=x.dtype)
    return filled


# %% wrong="missing" fails="test_far_apart_rows" name="ignores what is observed, once the component is drawn"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(r, 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m]
        L = torch.linalg.cholesky(Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A)
        row[m] = mean + L @ torch.randn(int(m.sum()), generator=generator, dtype=x.dtype)
    return filled


# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="draws the component from pi"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(log_pi.exp().expand_as(r), 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        L = torch.linalg.cholesky(Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A)
        row[m] = mean + L @ torch.randn(int(m.sum()), generator=generator, dtype=x.dtype)
    return filled


# %% wrong="missing" fails="test_observed_part" name="holes count as 0"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        out += log_normal(row.nan_to_num()[None], mu, Sigma)[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(r, 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        L = torch.linalg.cholesky(Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A)
        row[m] = mean + L @ torch.randn(int(m.sum()), generator=generator, dtype=x.dtype)
    return filled


# %% wrong="missing" fails="test_far_apart_rows" name="L twice, from the global generator"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(r, 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        L = torch.linalg.cholesky(Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A)
        row[m] = mean + L @ L @ torch.randn(int(m.sum()), dtype=x.dtype)
    return filled


# %% wrong="missing" fails="test_observed_part" name="holes count as the component's mean"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        whole = torch.where(row.isnan(), mu, row)
        out += torch.stack([log_normal(v[None], m[None], C[None])[0, 0] for v, m, C in zip(whole, mu, Sigma)])
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = r.argmax(dim=1)
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        L = torch.linalg.cholesky(Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A)
        row[m] = mean + L @ torch.randn(int(m.sum()), generator=generator, dtype=x.dtype)
    return filled


# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="each hole by itself"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(r, 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        cov = Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A
        row[m] = mean + cov.diagonal().sqrt() * torch.randn(len(mean), generator=generator, dtype=x.dtype)
    return filled


# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="L transposed"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(r, 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        cov = Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A
        row[m] = mean + torch.linalg.cholesky(cov).T @ torch.randn(
            len(mean), generator=generator, dtype=x.dtype
        )
    return filled


# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="one number for all holes of a row"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = log_pi.repeat(len(x), 1)
    for row, out in zip(x, joint, strict=True):
        o = ~row.isnan()
        if o.any():
            out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]
    log_p = torch.logsumexp(joint, dim=1)
    return (joint - log_p[:, None]).exp(), log_p


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    component = torch.multinomial(r, 1, generator=generator)[:, 0]
    filled = x.clone()
    for row, k in zip(filled, component, strict=True):
        m = row.isnan()
        A = torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])
        mean = mu[k][m] + (row[~m] - mu[k][~m]) @ A
        cov = Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A
        eps = torch.randn(1, generator=generator, dtype=x.dtype).expand(len(mean))
        row[m] = mean + torch.linalg.cholesky(cov) @ eps
    return filled


# %% right="missing" name="the precision matrix, and roots by eigenvectors"
def e_step_missing(x, log_pi, mu, Sigma):
    joint = torch.empty(len(x), len(log_pi), dtype=x.dtype)
    for i, row in enumerate(x):
        o = (~row.isnan()).nonzero()[:, 0]
        for k in range(len(log_pi)):
            joint[i, k] = log_pi[k]
            if len(o):
                C, gap = Sigma[k][o[:, None], o], row[o] - mu[k][o]
                joint[i, k] -= 0.5 * (gap @ torch.linalg.inv(C) @ gap + (2 * math.pi * C).logdet())
    return joint.softmax(dim=1), joint.logsumexp(dim=1)


def fill_in(x, log_pi, mu, Sigma, generator):
    r = e_step_missing(x, log_pi, mu, Sigma)[0]
    u = torch.rand(len(x), 1, generator=generator, dtype=x.dtype)
    component = (r.cumsum(dim=1) < u).sum(dim=1).clamp(max=len(log_pi) - 1)
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    rows = []
    for row, k, eps in zip(x, component, noise, strict=True):
        m = row.isnan()
        P = torch.linalg.inv(Sigma[k])
        C = torch.linalg.inv(P[m][:, m])
        new = row.clone()
        w, Q = torch.linalg.eigh(C)
        new[m] = mu[k][m] - C @ P[m][:, ~m] @ (row[~m] - mu[k][~m]) + Q @ (w.sqrt() * eps[m])
        rows.append(new)
    return torch.stack(rows)


# %% wrong="repair" fails="test_one_step" name="still divides by all pictures"
def coin_step(x, log_pi, theta, alpha):
    x3 = x[:, None]
    joint = log_pi + (torch.xlogy(x3, theta) + torch.xlogy(1 - x3, 1 - theta)).sum(dim=2)
    log_p = torch.logsumexp(joint, dim=1)
    r = (joint - log_p[:, None]).exp()
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (len(x) + 2 * alpha), log_p


# %% wrong="repair" fails="test_one_step" name="still multiplies in linear space"
def coin_step(x, log_pi, theta, alpha):
    x3 = x[:, None]
    joint = log_pi + (theta**x3 * (1 - theta) ** (1 - x3)).prod(dim=2).log()
    log_p = torch.logsumexp(joint, dim=1)
    r = (joint - log_p[:, None]).exp()
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), log_p


# %% wrong="repair" fails="test_one_step" name="still normalises over the pictures"
def coin_step(x, log_pi, theta, alpha):
    x3 = x[:, None]
    joint = log_pi + (torch.xlogy(x3, theta) + torch.xlogy(1 - x3, 1 - theta)).sum(dim=2)
    log_p = torch.logsumexp(joint, dim=1)
    r = joint.softmax(dim=0)
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), log_p


# %% wrong="repair" fails="test_coins_of_zero_and_one" name="0 times log 0"
def coin_step(x, log_pi, theta, alpha):
    x3 = x[:, None]
    joint = log_pi + (x3 * theta.log() + (1 - x3) * (1 - theta).log()).sum(dim=2)
    log_p = torch.logsumexp(joint, dim=1)
    r = (joint - log_p[:, None]).exp()
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + alpha), log_p


# %% wrong="repair" fails="test_one_step" name="equal shares for all"
def coin_step(x, log_pi, theta, alpha):
    x3 = x[:, None]
    joint = log_pi + (torch.xlogy(x3, theta) + torch.xlogy(1 - x3, 1 - theta)).sum(dim=2)
    log_p = torch.logsumexp(joint, dim=1)
    r = torch.ones_like(joint) / joint.shape[1]
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), log_p


# %% wrong="repair" fails="test_never_falls" name="alpha on one side"
def coin_step(x, log_pi, theta, alpha):
    x3 = x[:, None]
    joint = log_pi + (torch.xlogy(x3, theta) + torch.xlogy(1 - x3, 1 - theta)).sum(dim=2)
    log_p = torch.logsumexp(joint, dim=1)
    r = (joint - log_p[:, None]).exp()
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + alpha), log_p


# %% wrong="repair" fails="test_one_step" name="forgets the shares"
def coin_step(x, log_pi, theta, alpha):
    x3 = x[:, None]
    joint = -math.log(len(log_pi)) + (torch.xlogy(x3, theta) + torch.xlogy(1 - x3, 1 - theta)).sum(dim=2)
    log_p = torch.logsumexp(joint, dim=1)
    r = (joint - log_p[:, None]).exp()
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), log_p


# %% wrong="repair" fails="test_coins_of_zero_and_one" name="moves the coins off 0 and 1"
def coin_step(x, log_pi, theta, alpha):
    x3, theta = x[:, None], theta.clamp(0.3, 0.7)
    joint = log_pi + (torch.xlogy(x3, theta) + torch.xlogy(1 - x3, 1 - theta)).sum(dim=2)
    log_p = torch.logsumexp(joint, dim=1)
    r = (joint - log_p[:, None]).exp()
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), log_p


# %% wrong="repair" fails="test_coins_of_zero_and_one" name="never quite impossible"
def coin_step(x, log_pi, theta, alpha):
    safe = theta.clamp(1e-12, 1 - 1e-12)
    joint = log_pi + x @ safe.log().T + (1 - x) @ (1 - safe).log().T
    r = joint.softmax(dim=1)
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), joint.logsumexp(dim=1)


# %% wrong="repair" fails="test_coins_of_zero_and_one" name="adds a little before the logarithm"
def coin_step(x, log_pi, theta, alpha):
    joint = log_pi + x @ (theta + 1e-12).log().T + (1 - x) @ (1 - theta + 1e-12).log().T
    r = joint.softmax(dim=1)
    n = r.sum(dim=0)
    return (n / len(x)).log(), (r.T @ x + alpha) / (n[:, None] + 2 * alpha), joint.logsumexp(dim=1)


# %% right="repair" name="matrix products, with the impossible kept apart"
def coin_step(x, log_pi, theta, alpha):
    heads, tails = theta.log(), (1 - theta).log()
    ruled_out = x @ heads.isneginf().T.to(x) + (1 - x) @ tails.isneginf().T.to(x) > 0
    safe = [torch.where(v.isneginf(), 0.0, v) for v in (heads, tails)]
    joint = (x @ safe[0].T + (1 - x) @ safe[1].T + log_pi).masked_fill(ruled_out, -math.inf)
    r = joint.softmax(dim=1)
    ones = (r[:, :, None] * x[:, None]).sum(dim=0)
    zeros = (r[:, :, None] * (1 - x[:, None])).sum(dim=0)
    return r.mean(dim=0).log(), (ones + alpha) / (ones + zeros + 2 * alpha), joint.logsumexp(dim=1)
