# Wrong and other right answers of lesson 01_map: `autograde verify` tries each in the exercise's place.

# %% wrong="interval-mass" fails="test_within_one_bin" name="counts whole bins only"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    return float(counts[(edges[:-1] >= a) & (edges[1:] <= b)].sum() / counts.sum())


# %% wrong="interval-mass" fails="test_whole_bins" name="forgets the bins' widths: takes counts for densities"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    overlap = np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, None)
    return float((counts * overlap).sum() / (counts * np.diff(edges)).sum())


# %% wrong="interval-mass" fails="test_within_one_bin" name="takes the first bin's width for all"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    overlap = np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, None)
    return float((counts * overlap / (edges[1] - edges[0])).sum() / counts.sum())


# %% wrong="interval-mass" fails="test_across_bins" name="counts every bin that is touched as a whole"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    return float(counts[(edges[1:] > a) & (edges[:-1] < b)].sum() / counts.sum())


# %% wrong="interval-mass" fails="test_split_bins" name="counts the bins whose centre lies inside"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    centre = (edges[1:] + edges[:-1]) / 2
    return float(counts[(centre >= a) & (centre <= b)].sum() / counts.sum())


# %% wrong="interval-mass" fails="test_across_bins" name="lets bins that the interval misses count negative"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    overlap = np.minimum(edges[1:], b) - np.maximum(edges[:-1], a)
    return float((counts * overlap / np.diff(edges)).sum() / counts.sum())


# %% wrong="interval-mass" fails="test_pieces_of_the_line" name="does not normalise"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    overlap = np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, None)
    return float((counts * overlap / np.diff(edges)).sum())


# %% wrong="interval-mass" fails="test_within_one_bin" name="the density at the middle times the length"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    k = np.clip(np.searchsorted(edges, (a + b) / 2) - 1, 0, len(counts) - 1)
    return float(counts[k] / counts.sum() * (b - a) / (edges[1] - edges[0]))


# %% wrong="interval-mass" fails="test_within_one_bin" name="forgets that both ends may lie in one bin"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError
    total = 0.0
    for n, low, high in zip(counts, edges, edges[1:]):
        if a <= low and high <= b:
            total += n
        elif low < a < high:
            total += n * (high - a) / (high - low)
        elif low < b < high:
            total += n * (b - low) / (high - low)
    return float(total / counts.sum())


# %% wrong="interval-mass" fails="test_backwards" name="a single point is an error"
def interval_mass(counts, edges, a, b):
    if a >= b:
        raise ValueError
    overlap = np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, None)
    return float((counts * overlap / np.diff(edges)).sum() / counts.sum())


# %% wrong="interval-mass" fails="test_outside_the_edges" name="an interval outside the edges is an error"
def interval_mass(counts, edges, a, b):
    if a > b or a > edges[-1] or b < edges[0]:
        raise ValueError
    overlap = np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, None)
    return float((counts * overlap / np.diff(edges)).sum() / counts.sum())


# %% right="interval-mass" name="interpolates the cumulative counts"
def interval_mass(counts, edges, a, b):
    if a > b:
        raise ValueError("a > b")
    cumulative = np.append(0, np.cumsum(counts)) / np.sum(counts)
    return np.interp(b, edges, cumulative) - np.interp(a, edges, cumulative)


# %% right="interval-mass" name="a loop over the bins"
def interval_mass(counts, edges, a, b):
    if not a <= b:
        raise ValueError("a > b")
    total = 0.0
    for n, low, high in zip(counts, edges, edges[1:]):
        if a < high and b > low:
            total += n * (min(b, high) - max(a, low)) / (high - low)
    return total / counts.sum()


# %% wrong="implicit" fails="test_refuses" name="log_prob is minus infinity"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        return torch.full((len(x),), -math.inf)


# %% wrong="implicit" fails="test_refuses" name="log_prob is the density of the noise"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        return -0.5 * x.square().sum(-1) - self.dim / 2 * math.log(2 * math.pi)


# %% wrong="implicit" fails="test_refuses" name="log_prob promises to come later"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise NotImplementedError("no density: use sample or mass")


# %% wrong="implicit" fails="test_draws_follow_g" name="uniform noise"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.rand(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_generator_decides" name="ignores the generator"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_mass" name="one fixed seed"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=torch.Generator().manual_seed(0)))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_draws_follow_g" name="the same noise in every dimension"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        z = torch.randn(n, 1, generator=generator)
        return self.g(z.expand(n, self.dim))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_draws_follow_g" name="antithetic: the second half mirrors the first"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        z = torch.randn((n + 1) // 2, self.dim, generator=generator)
        return self.g(torch.cat([z, -z])[:n])

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_draws_follow_g" name="uniform noise with mean 0 and variance 1"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        z = torch.rand(n, self.dim, generator=generator)
        return self.g((z - 0.5) * math.sqrt(12))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_generator_decides" name="starts the generator's seed anew in each call"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        torch.manual_seed(generator.initial_seed())
        return self.g(torch.randn(n, self.dim))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_mass" name="mass has a seed of its own"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, torch.Generator().manual_seed(0))).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_mass" name="mass draws 10,000, whatever n is"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(10_000, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_mass" name="mass draws no more than 4,000"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(min(n, 4_000), generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p) / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_mass" name="an error of 1/n at least"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, max(math.sqrt(p * (1 - p) / n), 1 / n)

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% wrong="implicit" fails="test_mass" name="the standard deviation of one draw, not of their mean"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.randn(n, self.dim, generator=generator))

    def mass(self, inside, n, generator):
        p = inside(self.sample(n, generator)).double().mean().item()
        return p, math.sqrt(p * (1 - p))

    def log_prob(self, x):
        raise TypeError("use sample or mass")


# %% right="implicit" name="draws block by block, counts in a list"
class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        sizes = [100] * (n // 100) + [n % 100]
        return self.g(torch.cat([torch.empty(m, self.dim).normal_(generator=generator) for m in sizes]))

    def mass(self, inside, n, generator):
        hits = sum(inside(self.sample(n, generator)).tolist())
        return hits / n, (hits * (n - hits) / n**3) ** 0.5

    def log_prob(self, x):
        message = "log_prob needs a density. Call sample() for draws or mass() for a probability."
        raise TypeError(message)


# %% right="implicit" name="an error class of its own, the unbiased variance"
class NoDensity(TypeError):
    pass


class Implicit:
    def __init__(self, g, dim):
        self.g, self.dim = g, dim

    def sample(self, n, generator):
        return self.g(torch.normal(torch.zeros(n, self.dim), 1.0, generator=generator))

    def mass(self, inside, n, generator):
        hit = inside(self.sample(n, generator)).double()
        return hit.mean(), hit.std() / n**0.5

    def log_prob(self, *args, **kwargs):
        raise NoDensity("an implicit model has sample and mass, and nothing else")


# %% wrong="bandwidth" fails="test_each_point_left_out" name="leaves nothing out: each point sees itself"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1)
    scores = torch.stack([torch.logsumexp(d2 / (-2 * h * h), 1).mean() - D * h.log() for h in candidates])
    scores = scores - math.log(N) - D / 2 * math.log(2 * math.pi)
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_two_points" name="divides by N where N - 1 points are left"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    scores = torch.stack([torch.logsumexp(d2 / (-2 * h * h), 1).mean() - D * h.log() for h in candidates])
    scores = scores - math.log(N) - D / 2 * math.log(2 * math.pi)
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_twins" name="leaves out every point at distance zero"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1)
    d2[d2 == 0] = math.inf
    scores = torch.stack([torch.logsumexp(d2 / (-2 * h * h), 1).mean() - D * h.log() for h in candidates])
    scores = scores - math.log(N - 1) - D / 2 * math.log(2 * math.pi)
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_lonely_point" name="leaves log space: a lonely point gives minus infinity"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    scores = []
    for h in candidates:
        p = torch.exp(d2 / (-2 * h * h)).sum(1) / ((N - 1) * (2 * math.pi * h * h) ** (D / 2))
        scores.append(p.log().mean())
    scores = torch.stack(scores)
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_lonely_point" name="guards the logarithm with a small constant"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    scores = []
    for h in candidates:
        p = torch.exp(d2 / (-2 * h * h)).sum(1) / ((N - 1) * (2 * math.pi * h * h) ** (D / 2))
        scores.append((p + 1e-300).log().mean())
    scores = torch.stack(scores)
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_change_of_units" name="the normaliser of one dimension in all"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    scores = torch.stack([torch.logsumexp(d2 / (-2 * h * h), 1).mean() - h.log() for h in candidates])
    scores = scores - math.log(N - 1) - math.log(2 * math.pi) / 2
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_each_point_left_out" name="the logarithm of the mean density"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    logs = [torch.logsumexp((d2 / (-2 * h * h)).flatten(), 0) - D * h.log() for h in candidates]
    scores = torch.stack(logs) - math.log(N * (N - 1)) - D / 2 * math.log(2 * math.pi)
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_twins" name="picks the worst candidate"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    scores = torch.stack([torch.logsumexp(d2 / (-2 * h * h), 1).mean() - D * h.log() for h in candidates])
    scores = scores - math.log(N - 1) - D / 2 * math.log(2 * math.pi)
    return candidates[scores.argmin()].item(), scores


# %% wrong="bandwidth" fails="test_each_point_left_out" name="one half of the points scores the other"
def loo_bandwidth(points, candidates):
    half = len(points) // 2
    scores = torch.stack([log_kde(points[half:], points[:half], float(h)).mean() for h in candidates])
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_each_point_left_out" name="only the 50 nearest kernels"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    d2 = d2.topk(min(50, N - 1), largest=False).values
    scores = torch.stack([torch.logsumexp(d2 / (-2 * h * h), 1).mean() - D * h.log() for h in candidates])
    scores = scores - math.log(N - 1) - D / 2 * math.log(2 * math.pi)
    return candidates[scores.argmax()].item(), scores


# %% wrong="bandwidth" fails="test_each_point_left_out" name="sorts the candidates first"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    candidates = candidates.sort().values
    d2 = (points[:, None] - points).square().sum(-1).fill_diagonal_(math.inf)
    scores = torch.stack([torch.logsumexp(d2 / (-2 * h * h), 1).mean() - D * h.log() for h in candidates])
    scores = scores - math.log(N - 1) - D / 2 * math.log(2 * math.pi)
    return candidates[scores.argmax()].item(), scores


# %% right="bandwidth" name="a loop over the points, with the chapter's log_kde"
def loo_bandwidth(points, candidates):
    scores = []
    for h in candidates.tolist():
        each = []
        for i in range(len(points)):
            others = torch.cat([points[:i], points[i + 1 :]])
            d2 = (points[i] - others).square().sum(1)
            norm = points.shape[1] * math.log(h * math.sqrt(2 * math.pi)) + math.log(len(others))
            each.append(torch.logsumexp(-d2 / (2 * h**2), 0) - norm)
        scores.append(sum(each) / len(each))
    best = max(range(len(scores)), key=lambda k: scores[k])
    return float(candidates[best]), torch.stack(scores)


# %% right="bandwidth" name="NumPy scores, the bandwidth a 0-d tensor"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    d2 = (points[:, None] - points).square().sum(-1)[~torch.eye(N, dtype=torch.bool)].reshape(N, N - 1)
    norm = math.log(N - 1) + D / 2 * torch.log(2 * math.pi * candidates**2)
    scores = torch.logsumexp(-0.5 * (d2 / candidates[:, None, None] ** 2), 2).mean(1) - norm
    return candidates[scores.argmax()], scores.numpy()


# %% right="bandwidth" name="one table for all candidates"
def loo_bandwidth(points, candidates):
    N, D = points.shape
    i, j = torch.triu_indices(N, N, offset=1)
    d2 = points.new_full((N, N), math.inf)
    d2[i, j] = d2[j, i] = (points[i] - points[j]).pow(2).sum(1)
    log_kernel = -d2 / (2 * candidates[:, None, None] ** 2)  # (H, N, N)
    log_kernel = log_kernel - D / 2 * torch.log(2 * torch.pi * candidates[:, None, None] ** 2)
    scores = (log_kernel.logsumexp(2) - math.log(N - 1)).mean(1)
    return candidates[scores.argmax()], scores


# %% wrong="log-kde" fails="test_far_tails" name="leaves log space"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    kernel = torch.exp(-d2 / (2 * bandwidths**2)) / (2 * math.pi * bandwidths**2) ** (D / 2)
    return (kernel @ (weights / weights.sum())).log()


# %% wrong="log-kde" fails="test_far_tails" name="guards the logarithm with a small constant"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    kernel = torch.exp(-d2 / (2 * bandwidths**2)) / (2 * math.pi * bandwidths**2) ** (D / 2)
    return (kernel @ (weights / weights.sum()) + 1e-30).log()


# %% wrong="log-kde" fails="test_integrates_to_one" name="the normaliser of one dimension in all"
def log_adaptive_kde(x, points, bandwidths, weights):
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths**2) - bandwidths.log() - math.log(2 * math.pi) / 2
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% wrong="log-kde" fails="test_sum_of_normals" name="one normaliser for all, from the mean bandwidth"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    log_sums = torch.logsumexp(-d2 / (2 * bandwidths**2) + (weights / weights.sum()).log(), dim=1)
    return log_sums - D / 2 * torch.log(2 * math.pi * bandwidths.mean() ** 2)


# %% wrong="log-kde" fails="test_weights" name="does not normalise the weights"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel + weights.log(), dim=1)


# %% wrong="log-kde" fails="test_weights" name="ignores the weights"
def log_adaptive_kde(x, points, bandwidths, weights):
    N, D = points.shape
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel, dim=1) - math.log(N)


# %% wrong="log-kde" fails="test_sum_of_normals" name="the mean of logs for the log of the mean"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return log_kernel @ (weights / weights.sum())


# %% wrong="log-kde" fails="test_gradient" name="takes the bandwidth for the variance"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths) - D / 2 * (2 * math.pi * bandwidths).log()
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% wrong="log-kde" fails="test_far_tails" name="the chapter's log_kde with the mean bandwidth"
def log_adaptive_kde(x, points, bandwidths, weights):
    return log_kde(x, points, bandwidths.mean().item())


# %% wrong="log-kde" fails="test_gradient" name="only the nearest kernel"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    k = d2.argmin(1)
    log_w = (weights / weights.sum()).log()
    log_kernel = -d2 / (2 * bandwidths**2) - D / 2 * (2 * math.pi * bandwidths**2).log() + log_w
    return log_kernel.gather(1, k[:, None])[:, 0]


# %% wrong="log-kde" fails="test_far_from_origin" name="squares first, then subtracts"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = x.square().sum(1)[:, None] - 2 * x @ points.T + points.square().sum(1)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% wrong="log-kde" fails="test_far_from_origin" name="torch.cdist"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = torch.cdist(x, points).square()
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% wrong="log-kde" fails="test_gradient" name="the square of a norm: no gradient on a point"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1).sqrt().square()
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% wrong="log-kde" fails="test_gradient" name="not differentiable: detaches the queries"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x.detach()[:, None] - points).square().sum(-1) + 0 * x.sum()
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% wrong="log-kde" fails="test_gradient" name="both branches of a where: the gradient is NaN in the tails"
def log_adaptive_kde(x, points, bandwidths, weights):
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    log_kernel = log_kernel + (weights / weights.sum()).log()
    p = log_kernel.exp().sum(1)
    return torch.where(p > 1e-30, p.log(), torch.logsumexp(log_kernel, dim=1))


# %% wrong="log-kde" fails="test_weights" name="adds a small constant to the weights"
def log_adaptive_kde(x, points, bandwidths, weights):
    weights = weights + 1e-12
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% wrong="log-kde" fails="test_weights" name="leaves out points of small weight"
def log_adaptive_kde(x, points, bandwidths, weights):
    keep = weights > 1e-2
    points, bandwidths, weights = points[keep], bandwidths[keep], weights[keep]
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% wrong="log-kde" fails="test_weights" name="leaves out weights below a thousandth of the largest"
def log_adaptive_kde(x, points, bandwidths, weights):
    keep = weights > 1e-3 * weights.max()
    points, bandwidths, weights = points[keep], bandwidths[keep], weights[keep]
    D = points.shape[1]
    d2 = (x[:, None] - points).square().sum(-1)
    log_kernel = -d2 / (2 * bandwidths**2) - D * bandwidths.log() - D / 2 * math.log(2 * math.pi)
    return torch.logsumexp(log_kernel + (weights / weights.sum()).log(), dim=1)


# %% right="log-kde" name="torch.distributions"
def log_adaptive_kde(x, points, bandwidths, weights):
    from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

    scale = bandwidths[:, None].expand_as(points)
    mixture = Categorical(logits=weights.log())
    return MixtureSameFamily(mixture, Independent(Normal(points, scale), 1), validate_args=False).log_prob(x)


# %% right="log-kde" name="a loop over the points, the largest term pulled out by hand"
def log_adaptive_kde(x, points, bandwidths, weights):
    terms = []
    for p, h, w in zip(points, bandwidths, weights / weights.sum()):
        if w > 0:
            z = (x - p) / h
            terms.append(-(z * z).sum(1) / 2 - z.shape[1] * torch.log(h * (2 * math.pi) ** 0.5) + w.log())
    terms = torch.stack(terms)
    top = terms.detach().amax(0)
    return top + (terms - top).exp().sum(0).log()


# %% wrong="memorised" fails="test_every_pair_and_tie" name="the share of exact copies, not calibrated"
def copy_score(train, test, generated):
    share = (nearest(generated, train)[0] == 0).double().mean().item()
    m, n = len(generated), len(test)
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_every_pair_and_tie" name="a tie is no win"
def copy_score(train, test, generated):
    wins = nearest(generated, train)[0][:, None] < nearest(test, train)[0]
    share, (m, n) = wins.double().mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_exchange" name="a tie is a whole win"
def copy_score(train, test, generated):
    wins = nearest(generated, train)[0][:, None] <= nearest(test, train)[0]
    share, (m, n) = wins.double().mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_every_pair_and_tie" name="compares with the median held-out distance only"
def copy_score(train, test, generated):
    d, typical = nearest(generated, train)[0], nearest(test, train)[0].median()
    share = ((d < typical).double() + 0.5 * (d == typical).double()).mean().item()
    m, n = len(generated), len(test)
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_copies" name="the wrong way round: the held-out sample is nearer"
def copy_score(train, test, generated):
    d_test, d = nearest(test, train)[0], nearest(generated, train)[0][:, None]
    share = ((d > d_test).double() + 0.5 * (d == d_test).double()).mean().item()
    m, n = len(generated), len(test)
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_rotation_and_scale" name="from training samples to generated ones"
def copy_score(train, test, generated):
    d_test, d = nearest(train, test)[0], nearest(train, generated)[0][:, None]
    wins = (d < d_test).double() + 0.5 * (d == d_test).double()
    share, (m, n) = wins.mean().item(), (len(generated), len(test))
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_rotation_and_scale" name="distances to the held-out set"
def copy_score(train, test, generated):
    d_test, d = nearest(test, train)[0], nearest(generated, test)[0][:, None]
    wins = (d < d_test).double() + 0.5 * (d == d_test).double()
    share, (m, n) = wins.mean().item(), (len(generated), len(test))
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_rotation_and_scale" name="the city-block distance"
def copy_score(train, test, generated):
    d_test = torch.cdist(test, train, p=1).amin(1)
    d = torch.cdist(generated, train, p=1).amin(1)[:, None]
    wins = (d < d_test).double() + 0.5 * (d == d_test).double()
    share, (m, n) = wins.mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_exchange" name="forgets one in the variance of the rank sum"
def copy_score(train, test, generated):
    d_test, d = nearest(test, train)[0], nearest(generated, train)[0][:, None]
    wins = (d < d_test).double() + 0.5 * (d == d_test).double()
    share, (m, n) = wins.mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n))


# %% wrong="memorised" fails="test_every_pair_and_tie" name="the mean distance to all training samples"
def copy_score(train, test, generated):
    d_test, d = torch.cdist(test, train).mean(1), torch.cdist(generated, train).mean(1)[:, None]
    wins = (d < d_test).double() + 0.5 * (d == d_test).double()
    share, (m, n) = wins.mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_every_pair_and_tie" name="the first 200 samples only"
def copy_score(train, test, generated):
    d_test, d = nearest(test[:200], train)[0], nearest(generated[:200], train)[0][:, None]
    wins = (d < d_test).double() + 0.5 * (d == d_test).double()
    share, (m, n) = wins.mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_every_pair_and_tie" name="takes nearly equal for equal"
def copy_score(train, test, generated):
    d_test, d = nearest(test, train)[0], nearest(generated, train)[0][:, None]
    tie = torch.isclose(d, d_test, rtol=1e-2)
    wins = (~tie & (d < d_test)).double() + 0.5 * tie.double()
    share, (m, n) = wins.mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_rotation_and_scale" name="rounds the distances"
def copy_score(train, test, generated):
    d_test, d = nearest(test, train)[0], nearest(generated, train)[0][:, None]
    d_test, d = d_test.round(decimals=3), d.round(decimals=3)
    wins = (d < d_test).double() + 0.5 * (d == d_test).double()
    share, (m, n) = wins.mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_exchange" name="two copies are a win, not a tie"
def copy_score(train, test, generated):
    d_test, d = nearest(test, train)[0], nearest(generated, train)[0][:, None]
    wins = ((d < d_test) | (d == 0)).double() + 0.5 * ((d == d_test) & (d > 0)).double()
    share, (m, n) = wins.mean().item(), wins.shape
    return share, (share - 0.5) * math.sqrt(12 * m * n / (m + n + 1))


# %% wrong="memorised" fails="test_far_away" name="z is never negative"
def copy_score(train, test, generated):
    d_test, d = nearest(test, train)[0], nearest(generated, train)[0][:, None]
    wins = (d < d_test).double() + 0.5 * (d == d_test).double()
    share, (m, n) = wins.mean().item(), wins.shape
    return share, max(share - 0.5, 0) * math.sqrt(12 * m * n / (m + n + 1))


# %% right="memorised" name="scipy's Mann-Whitney statistic on squared distances"
def copy_score(train, test, generated):
    from scipy.stats import mannwhitneyu

    d_test, d = ((x[:, None] - train).square().sum(-1).amin(1).numpy() for x in (test, generated))
    pairs = len(d) * len(d_test)
    share = mannwhitneyu(d_test, d).statistic / pairs
    return share, (share - 0.5) * (12 * pairs / (len(d) + len(d_test) + 1)) ** 0.5


# %% right="memorised" name="loops, and the sign of each difference"
def copy_score(train, test, generated):
    def gap(x):
        return float((x - train).square().sum(1).min())

    ours, theirs = [gap(x) for x in generated], [gap(x) for x in test]
    m, n = len(ours), len(theirs)
    u = sum((a < b) + (a <= b) for a in ours for b in theirs) / 2
    return u / (m * n), (u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)


# %% wrong="products" fails="test_what_is_published" name="nothing is disclosed, says nobody"
def identify(product):
    urls = {
        "ChatGPT image": "https://openai.com/index/introducing-4o-image-generation/",
        "Midjourney v7": "https://docs.midjourney.com/hc/en-us/articles/32199405667853-Version",
        "Sora": "https://openai.com/sora/",
        "Runway Gen-3": "https://runwayml.com/research/introducing-gen-3-alpha",
        "ElevenLabs": "https://elevenlabs.io/docs/overview/models",
    }
    return {"family": "undisclosed", "backbone": "undisclosed", "url": urls[product], "quote": ""}


# %% wrong="products" fails="test_what_is_not" name="all of them are diffusion transformers, as blogs say"
def identify(product):
    if product == "ChatGPT image":
        quote = "4o image generation is an autoregressive model natively embedded within ChatGPT"
        url = "https://openai.com/index/gpt-4o-image-generation-system-card-addendum/"
        return {"family": "autoregressive", "backbone": "undisclosed", "url": url, "quote": quote}
    quote = f"{product} is a diffusion transformer."
    url = "https://openai.com/index/video-generation-models-as-world-simulators/"
    return {"family": "diffusion", "backbone": "transformer", "url": url, "quote": quote}


# %% wrong="products" fails="test_what_is_published" name="an encyclopedia for evidence"
def identify(product):
    known = {
        "Sora": ("diffusion", "transformer", "Sora is a diffusion transformer."),
        "ChatGPT image": ("autoregressive", "undisclosed", "GPT-4o draws by an autoregressive model."),
    }
    family, backbone, quote = known.get(product, ("undisclosed", "undisclosed", ""))
    url = "https://en.wikipedia.org/wiki/" + product.replace(" ", "_")
    return {"family": family, "backbone": backbone, "url": url, "quote": quote}


# %% wrong="products" fails="test_what_is_published" name="ChatGPT still draws with DALL-E"
def identify(product):
    urls = {
        "Midjourney v7": "https://docs.midjourney.com/hc/en-us/articles/32199405667853-Version",
        "Runway Gen-3": "https://runwayml.com/research/introducing-gen-3-alpha",
        "ElevenLabs": "https://elevenlabs.io/docs/overview/models",
    }
    if product in urls:
        return {"family": "undisclosed", "backbone": "undisclosed", "url": urls[product], "quote": ""}
    quote = "DALL-E operates as a diffusion model; Sora is a diffusion transformer."
    backbone = "transformer" if product == "Sora" else "undisclosed"
    url = "https://openai.com/index/video-generation-models-as-world-simulators/"
    return {"family": "diffusion", "backbone": backbone, "url": url, "quote": quote}


# %% right="products" name="other pages of the makers, other words"
def identify(product):
    makers = {
        "Midjourney v7": "https://www.midjourney.com/updates/v7-alpha",
        "Runway Gen-3": "https://help.runwayml.com/hc/en-us/articles/30266515017875",
        "ElevenLabs": "https://elevenlabs.io/blog/eleven-v3",
        "Sora": "https://openai.com/research/video-generation-models-as-world-simulators",
        "ChatGPT image": "https://cdn.openai.com/11998be9-5319-4302-bfbf-1167e093f1fb/Native_Image_Generation_System_Card.pdf",
    }
    found = {"family": "undisclosed", "backbone": "undisclosed", "url": makers[product], "quote": ""}
    if product == "Sora":
        found |= {"family": "diffusion", "backbone": "transformer"}
        found["quote"] = (
            "we train text-conditional diffusion models jointly on videos and images. "
            "We leverage a transformer architecture that operates on spacetime patches"
        )
    if product == "ChatGPT image":
        found |= {"family": "autoregressive"}
        found["quote"] = "4o image generation is an autoregressive model natively embedded within ChatGPT."
    return found


# %% wrong="triage" fails="test_complete" name="one sentence for all"
def my_triage(question):
    long = "this is a very good model of a very hard domain, and it does all that people want from it"
    texts = dict.fromkeys(("modelled", "condition", "evaluation", "failure"), long)
    rest = {"domain": "molecules", "model": "EDM", "density": "approximate", "sampling": "iterative"}
    return {**texts, **rest, "source": "https://arxiv.org/abs/2203.17003"}[question]


# %% wrong="triage" fails="test_complete" name="ten times the same word"
def my_triage(question):
    texts = {
        "modelled": "atoms " * 10,
        "condition": "nothing " * 10,
        "evaluation": "validity " * 10,
        "failure": "novelty " * 10,
    }
    rest = {"domain": "molecules", "model": "EDM", "density": "approximate", "sampling": "iterative"}
    return {**texts, **rest, "source": "https://arxiv.org/abs/2203.17003"}[question]


# %% wrong="triage" fails="test_complete" name="pictures again, and no address"
def my_triage(question):
    return {
        "domain": "image generation",
        "model": "SDXL",
        "modelled": "the latents of an autoencoder, eight times smaller than the picture in each direction",
        "density": "approximate",
        "sampling": "iterative",
        "condition": "text through two encoders, the size of the original and the crop that was trained on",
        "evaluation": "people compare two pictures made from one prompt and say which of them they prefer",
        "failure": "raters like tidy, saturated scenes, so whoever always draws them wins without variety",
        "source": "the SDXL paper",
    }[question]


# %% wrong="triage" fails="test_complete" name="words of its own where a list is given"
def my_triage(question):
    return {
        "domain": "weather",
        "model": "GenCast",
        "modelled": "the atmosphere on a grid of the sphere, twelve hours after the last two states",
        "density": "it has one, in principle",
        "sampling": "fast",
        "condition": "the two states before, which makes a forecast a chain of samples, each given the last",
        "evaluation": "a proper score of the ensemble against the weather, for each variable and lead time",
        "failure": "scores of single places ignore whether neighbouring places fit together, as in storms",
        "source": "https://arxiv.org/abs/2312.15796",
    }[question]


# %% right="triage" name="the weather"
def my_triage(question):
    return {
        "domain": "weather forecasts for ten days",
        "model": "GenCast",
        "modelled": "the atmosphere on a grid of the sphere, twelve hours after the last two states",
        "density": "approximate",
        "sampling": "iterative",
        "condition": "the two states before, which makes a forecast a chain of samples, each given the last",
        "evaluation": "a proper score of the ensemble against the weather, for each variable and lead time",
        "failure": "scores of single places ignore whether neighbouring places fit together, as in storms",
        "source": "https://arxiv.org/abs/2312.15796",
    }[question]


# %% wrong="choose" fails="test_likelihood" name="the domain decides alone"
def choose(task):
    word = next((word for word in DOMAINS if re.search(rf"\b{word}s?\b", task.lower())), None)
    if word is None:
        raise ValueError("no domain")
    row = ATLAS.tasks[DOMAINS[word]]
    budget = {"training": "none", "gpu_hours": 0, "seconds": 10.0}
    return {
        "family": row.family,
        "open": list(row.open[:3]),
        "hosted": list(row.hosted[:3]),
        "failure": row.failure,
        "budget": budget,
    }


def write_skill(path):
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text("\n".join(f"## {word}\n{choose(word)}" for word in DOMAINS))


# %% wrong="choose" fails="test_domains" name="does not hear a no"
def choose(task):
    said = [s for s in re.split(r"[.!?]", task.lower())]
    likelihood, speed, own = (
        any(word in s for word in words for s in said)
        for words in (("likelihood", "how probable"), ("real time",), ("our own", "my own"))
    )
    (word,) = (word for word in DOMAINS if re.search(rf"\b{word}s?\b", task.lower()))
    fast = speed and word == "picture" and not likelihood
    name = "density-estimation" if likelihood else "fast-text-to-image" if fast else DOMAINS[word]
    row = ATLAS.tasks[name]
    models, hosted = list(row.open[:3]), list(row.hosted[:3])
    scratch = all(ATLAS.models[model].openness != "open weights" for model in models)
    training = "none" if not own else "from scratch" if scratch else "fine-tune"
    hours = {"none": 0, "fine-tune": 8, "from scratch": 500}[training]
    budget = {"training": training, "gpu_hours": hours, "seconds": 0.1 if fast else 4.0}
    return {"family": row.family, "open": models, "hosted": hosted, "failure": row.failure, "budget": budget}


# %% wrong="choose" fails="test_domains" name="finds a face in a surface"
def choose(task):
    said = [s for s in re.split(r"[.!?]", task.lower()) if not re.search(r"\b(no|not|without)\b", s)]
    likelihood, speed, own = (
        any(word in s for word in words for s in said)
        for words in (("likelihood", "how probable"), ("real time",), ("our own", "my own"))
    )
    (word,) = (word for word in DOMAINS if word in task.lower())
    fast = speed and word == "picture" and not likelihood
    name = "density-estimation" if likelihood else "fast-text-to-image" if fast else DOMAINS[word]
    row = ATLAS.tasks[name]
    models, hosted = list(row.open[:3]), list(row.hosted[:3])
    scratch = all(ATLAS.models[model].openness != "open weights" for model in models)
    training = "none" if not own else "from scratch" if scratch else "fine-tune"
    hours = {"none": 0, "fine-tune": 8, "from scratch": 500}[training]
    budget = {"training": training, "gpu_hours": hours, "seconds": 0.1 if fast else 4.0}
    return {"family": row.family, "open": models, "hosted": hosted, "failure": row.failure, "budget": budget}


# %% wrong="choose" fails="test_training" name="trains from scratch, data or not"
def choose(task):
    said = [s for s in re.split(r"[.!?]", task.lower()) if not re.search(r"\b(no|not|without)\b", s)]
    likelihood, speed = (
        any(word in s for word in words for s in said)
        for words in (("likelihood", "how probable"), ("real time",))
    )
    (word,) = (word for word in DOMAINS if re.search(rf"\b{word}s?\b", task.lower()))
    fast = speed and word == "picture" and not likelihood
    name = "density-estimation" if likelihood else "fast-text-to-image" if fast else DOMAINS[word]
    row = ATLAS.tasks[name]
    models, hosted = list(row.open[:3]), list(row.hosted[:3])
    training = "from scratch"
    hours = {"none": 0, "fine-tune": 8, "from scratch": 500}[training]
    budget = {"training": training, "gpu_hours": hours, "seconds": 0.1 if fast else 4.0}
    return {"family": row.family, "open": models, "hosted": hosted, "failure": row.failure, "budget": budget}


# %% wrong="choose" fails="test_likelihood" name="speed before likelihood"
def choose(task):
    said = [s for s in re.split(r"[.!?]", task.lower()) if not re.search(r"\b(no|not|without)\b", s)]
    likelihood, speed, own = (
        any(word in s for word in words for s in said)
        for words in (("likelihood", "how probable"), ("real time",), ("our own", "my own"))
    )
    (word,) = (word for word in DOMAINS if re.search(rf"\b{word}s?\b", task.lower()))
    fast = speed and word == "picture"
    name = "fast-text-to-image" if fast else "density-estimation" if likelihood else DOMAINS[word]
    row = ATLAS.tasks[name]
    models, hosted = list(row.open[:3]), list(row.hosted[:3])
    scratch = all(ATLAS.models[model].openness != "open weights" for model in models)
    training = "none" if not own else "from scratch" if scratch else "fine-tune"
    hours = {"none": 0, "fine-tune": 8, "from scratch": 500}[training]
    budget = {"training": training, "gpu_hours": hours, "seconds": 0.1 if fast else 4.0}
    return {"family": row.family, "open": models, "hosted": hosted, "failure": row.failure, "budget": budget}


# %% wrong="choose" fails="test_likelihood" name="a GAN where a likelihood is needed"
def choose(task):
    said = [s for s in re.split(r"[.!?]", task.lower()) if not re.search(r"\b(no|not|without)\b", s)]
    likelihood, speed, own = (
        any(word in s for word in words for s in said)
        for words in (("likelihood", "how probable"), ("real time",), ("our own", "my own"))
    )
    (word,) = (word for word in DOMAINS if re.search(rf"\b{word}s?\b", task.lower()))
    fast = speed and word == "picture" and not likelihood
    name = "fast-text-to-image" if fast else DOMAINS[word]
    row = ATLAS.tasks[name]
    models, hosted = list(row.open[:3]), list(row.hosted[:3])
    scratch = all(ATLAS.models[model].openness != "open weights" for model in models)
    training = "none" if not own else "from scratch" if scratch else "fine-tune"
    hours = {"none": 0, "fine-tune": 8, "from scratch": 500}[training]
    budget = {"training": training, "gpu_hours": hours, "seconds": 0.1 if fast else 4.0}
    return {"family": row.family, "open": models, "hosted": hosted, "failure": row.failure, "budget": budget}


# %% wrong="choose" fails="test_domains" name="reads lower case only"
def choose(task):
    said = [s for s in re.split(r"[.!?]", task) if not re.search(r"\b(no|not|without)\b", s)]
    likelihood, speed, own = (
        any(word in s for word in words for s in said)
        for words in (("likelihood", "how probable"), ("real time",), ("our own", "my own"))
    )
    (word,) = (word for word in DOMAINS if re.search(rf"\b{word}s?\b", task))
    fast = speed and word == "picture" and not likelihood
    name = "density-estimation" if likelihood else "fast-text-to-image" if fast else DOMAINS[word]
    row = ATLAS.tasks[name]
    models, hosted = list(row.open[:3]), list(row.hosted[:3])
    scratch = all(ATLAS.models[model].openness != "open weights" for model in models)
    training = "none" if not own else "from scratch" if scratch else "fine-tune"
    hours = {"none": 0, "fine-tune": 8, "from scratch": 500}[training]
    budget = {"training": training, "gpu_hours": hours, "seconds": 0.1 if fast else 4.0}
    return {"family": row.family, "open": models, "hosted": hosted, "failure": row.failure, "budget": budget}


# %% wrong="choose" fails="test_domains" name="a hosted model among the open ones"
def choose(task):
    said = [s for s in re.split(r"[.!?]", task.lower()) if not re.search(r"\b(no|not|without)\b", s)]
    likelihood, speed, own = (
        any(word in s for word in words for s in said)
        for words in (("likelihood", "how probable"), ("real time",), ("our own", "my own"))
    )
    (word,) = (word for word in DOMAINS if re.search(rf"\b{word}s?\b", task.lower()))
    fast = speed and word == "picture" and not likelihood
    name = "density-estimation" if likelihood else "fast-text-to-image" if fast else DOMAINS[word]
    row = ATLAS.tasks[name]
    models, hosted = [*row.hosted[:1], *row.open[:2]], list(row.hosted[:3])
    scratch = all(ATLAS.models[model].openness != "open weights" for model in models)
    training = "none" if not own else "from scratch" if scratch else "fine-tune"
    hours = {"none": 0, "fine-tune": 8, "from scratch": 500}[training]
    budget = {"training": training, "gpu_hours": hours, "seconds": 0.1 if fast else 4.0}
    return {"family": row.family, "open": models, "hosted": hosted, "failure": row.failure, "budget": budget}


# %% wrong="choose" fails="test_domains" name="the models in the order of the alphabet"
def choose(task):
    said = [s for s in re.split(r"[.!?]", task.lower()) if not re.search(r"\b(no|not|without)\b", s)]
    likelihood, speed, own = (
        any(word in s for word in words for s in said)
        for words in (("likelihood", "how probable"), ("real time",), ("our own", "my own"))
    )
    (word,) = (word for word in DOMAINS if re.search(rf"\b{word}s?\b", task.lower()))
    fast = speed and word == "picture" and not likelihood
    name = "density-estimation" if likelihood else "fast-text-to-image" if fast else DOMAINS[word]
    row = ATLAS.tasks[name]
    models, hosted = sorted(row.open[:3]), list(row.hosted[:3])
    scratch = all(ATLAS.models[model].openness != "open weights" for model in models)
    training = "none" if not own else "from scratch" if scratch else "fine-tune"
    hours = {"none": 0, "fine-tune": 8, "from scratch": 500}[training]
    budget = {"training": training, "gpu_hours": hours, "seconds": 0.1 if fast else 4.0}
    return {"family": row.family, "open": models, "hosted": hosted, "failure": row.failure, "budget": budget}


# %% right="choose" name="word by word"
def choose(task):
    words = re.findall(r"[a-z]+", task.lower())
    likelihood, speed, own = (asked(task, phrases) for phrases in PHRASES)
    domains = [word for word in DOMAINS if {word, word + "s"} & set(words)]
    if len(domains) != 1:
        raise ValueError(f"the brief names {len(domains)} domains, not one: {domains}")
    fast = speed and domains == ["picture"] and not likelihood
    id = "density-estimation" if likelihood else "fast-text-to-image" if fast else DOMAINS[domains[0]]
    row = ATLAS.tasks[id]
    weights = any(ATLAS.models[m].openness == "open weights" for m in row.open[:3])
    training = ("fine-tune" if weights else "from scratch") if own else "none"
    return {
        "family": row.family,
        "open": list(row.open[:3]),
        "hosted": list(row.hosted[:3]),
        "failure": row.failure,
        "budget": {
            "training": training,
            "gpu_hours": {"none": 0, "fine-tune": 10, "from scratch": 1_000}[training],
            "seconds": 0.05 if fast else 10.0,
        },
    }


PHRASES = (("likelihood",), ("how", "probable")), (("real", "time"),), (("our", "own"), ("my", "own"))


def asked(brief, phrases):
    for sentence in brief.lower().replace("!", ".").replace("?", ".").split("."):
        words = re.findall(r"[a-z]+", sentence)
        if not {"no", "not", "without"} & set(words):
            for phrase in phrases:
                if any(tuple(words[i : i + len(phrase)]) == phrase for i in range(len(words))):
                    return True
    return False


def write_skill(path):
    lines = [
        "# Model chooser",
        "",
        "From a domain to a family of generative models, with models, failure and budget.",
        "",
    ]
    for word in DOMAINS:
        advice = choose(f"One {word}.")
        lines += [f"## {word}", ""]
        lines += [
            f"- {key}: {', '.join(v) or 'none known'}" for key, v in advice.items() if isinstance(v, list)
        ]
        lines += [f"- {key}: {v}" for key, v in advice.items() if not isinstance(v, list)]
        lines += [""]
    lines += [
        "## Refusals",
        "",
        "- No GAN where a likelihood is needed: it has none.",
        "- No autoregression over pixels in real time at high resolution: a million steps wait.",
        "- No training from scratch where an open backbone covers the domain: fine-tuning costs a hundredth.",
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
