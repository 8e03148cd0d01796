# Wrong and other right answers of lesson 01_map: `autograde verify` tries each in the exercise's place.

# %% wrong="interval-mass" fails="test_within_one_bin" name="counts whole bins only"
replace("np.clip(overlap, 0, None) / np.diff(edges)", "(edges[:-1] >= a) & (edges[1:] <= b)")
# %% wrong="interval-mass" fails="test_whole_bins" name="forgets the bins' widths: takes counts for densities"
replace("(counts * share).sum() / counts.sum()", "np.average(share, weights=counts * np.diff(edges))")
# %% wrong="interval-mass" fails="test_within_one_bin" name="takes the first bin's width for all"
replace("np.diff(edges)", "(edges[1] - edges[0])")
# %% wrong="interval-mass" fails="test_across_bins" name="counts every bin that is touched as a whole"
replace("np.clip(overlap, 0, None) / np.diff(edges)", "(edges[1:] > a) & (edges[:-1] < b)")
# %% wrong="interval-mass" fails="test_split_bins" name="counts the bins whose centre lies inside"
replace(
    "np.clip(overlap, 0, None) / np.diff(edges)",
    "(edges[:-1] + edges[1:] >= 2 * a) & (edges[:-1] + edges[1:] <= 2 * b)",
)
# %% wrong="interval-mass" fails="test_across_bins" name="lets bins that the interval misses count negative"
replace("np.clip(overlap, 0, None)", "overlap")
# %% wrong="interval-mass" fails="test_pieces_of_the_line" name="does not normalise"
replace(" / counts.sum()", "")
# %% wrong="interval-mass" fails="test_across_bins" name="the density at the middle times the length"
replace(
    "return float((counts * share).sum() / counts.sum())",
    """
k = np.clip(np.searchsorted(edges, (a + b) / 2) - 1, 0, len(counts) - 1)
return float(counts[k] / counts.sum() * (b - a) / (edges[k + 1] - edges[k]))
""",
)
# %% wrong="interval-mass" fails="test_within_one_bin" name="forgets that both ends may lie in one bin"
replace("np.minimum(edges[1:], b)", "np.where(edges[:-1] < a, edges[1:], np.minimum(edges[1:], b))")
# %% wrong="interval-mass" fails="test_backwards" name="a single point is an error"
replace("if a > b:", "if a >= b:")
# %% wrong="interval-mass" fails="test_outside_the_edges" name="an interval outside the edges is an error"
replace("if a > b:", "if a > b or a > edges[-1] or b < edges[0]:")


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


# %% right="interval-mass" name="counted in float32"
replace(
    "float((counts * share).sum() / counts.sum())",
    "np.float32((counts * share).sum()) / np.float32(counts.sum())",
)
# %% equivalent="interval-mass" name="the smaller of two, in the other order"
replace("np.minimum(edges[1:], b)", "np.minimum(b, edges[1:])")
# %% equivalent="interval-mass" name="the larger of two, in the other order"
replace("np.maximum(edges[:-1], a)", "np.maximum(a, edges[:-1])")
# %% equivalent="interval-mass" name="a lower bound of the overlap at 0: the larger of the two either way"
replace("np.clip(overlap, 0, None)", "np.clip(0, overlap, None)")
# %% equivalent="interval-mass" name="NumPy's number is a number"
replace("float((counts * share).sum() / counts.sum())", "((counts * share).sum() / counts.sum())")
# %% equivalent="interval-mass" name="rounding only: counts are whole, so the sum is 1 or more"
replace("/ counts.sum()", "/ (counts.sum() + 1e-06)")

# %% wrong="implicit" fails="test_refuses" name="log_prob is minus infinity"
replace(
    'raise TypeError("no density: use sample() to draw, mass() for the probability of a set")',
    "return torch.full((len(x),), -math.inf)",
)
# %% wrong="implicit" fails="test_refuses" name="log_prob is the density of the noise"
replace(
    'raise TypeError("no density: use sample() to draw, mass() for the probability of a set")',
    "return -0.5 * x.square().sum(-1) - self.dim / 2 * math.log(2 * math.pi)",
)
# %% wrong="implicit" fails="test_refuses" name="log_prob promises to come later"
replace("raise TypeError", "raise NotImplementedError")
# %% wrong="implicit" fails="test_draws_follow_g" name="uniform noise"
replace("torch.randn", "torch.rand")
# %% wrong="implicit" fails="test_generator_decides" name="ignores the generator"
replace(", generator=generator, device=generator.device", "")
# %% wrong="implicit" fails="test_mass" name="one fixed seed"
replace("generator=generator,", "generator=torch.Generator().manual_seed(0),")
# %% wrong="implicit" fails="test_draws_follow_g" name="the same noise in every dimension"
replace("self.g(z)", "self.g(z[:, :1].expand(n, self.dim))")
# %% wrong="implicit" fails="test_draws_follow_g" name="antithetic: the second half mirrors the first"
replace("self.g(z)", "self.g(torch.cat([z[: (n + 1) // 2], -z])[:n])")
# %% wrong="implicit" fails="test_draws_follow_g" name="uniform noise with mean 0 and variance 1"
replace("torch.randn", "-math.sqrt(3) + math.sqrt(12) * torch.rand")
# %% wrong="implicit" fails="test_generator_decides" name="starts the generator's seed anew in each call"
replace("generator=generator,", "generator=generator.manual_seed(generator.initial_seed()),")
# %% wrong="implicit" fails="test_mass" name="mass has a seed of its own"
replace("self.sample(n, generator)", "self.sample(n, torch.Generator().manual_seed(0))")
# %% wrong="implicit" fails="test_mass" name="mass draws 10,000, whatever n is"
replace("self.sample(n, generator)", "self.sample(10_000, generator)")
# %% wrong="implicit" fails="test_mass" name="mass draws no more than 4,000"
replace("self.sample(n, generator)", "self.sample(min(n, 4_000), generator)")
# %% wrong="implicit" fails="test_mass" name="an error of 1/n at least"
replace("math.sqrt(p * (1 - p) / n)", "max(math.sqrt(p * (1 - p) / n), 1 / n)")
# %% wrong="implicit" fails="test_mass" name="the standard deviation of one draw, not of their mean"
replace("math.sqrt(p * (1 - p) / n)", "math.sqrt(p * (1 - p))")
# %% right="implicit" name="draws block by block, counts in a list"
replace(
    "z = torch.randn(n, self.dim, generator=generator, device=generator.device)",
    """
sizes = [100] * (n // 100) + [n % 100]
z = torch.cat([torch.empty(m, self.dim).normal_(generator=generator) for m in sizes])
""",
)
replace(".double().mean().item()", ".tolist().count(True) / n")
# %% right="implicit" name="an error class of its own, the unbiased variance"
replace("class Implicit:", "class NoDensity(TypeError):\n    pass\nclass Implicit:")
replace("raise TypeError", "raise NoDensity")
replace(
    "p = inside(self.sample(n, generator)).double().mean().item()",
    "hit = inside(self.sample(n, generator)).double()",
)
replace("p, math.sqrt(p * (1 - p) / n)", "hit.mean(), hit.std() / n**0.5")

# %% right="implicit" name="the estimate and its error in one tensor"
replace("return p, math.sqrt(p * (1 - p) / n)", "return torch.tensor([p, math.sqrt(p * (1 - p) / n)])")
# %% equivalent="implicit" name="on the CPU, where the generators are, tensors are made anyhow"
replace(", device=generator.device", "")
# %% equivalent="implicit" name="rounding only: the mean of zeros and ones in float32"
replace(".double()", ".float()")
# %% equivalent="implicit" name="rounding only: n is whole, so 1 or more"
replace("p * (1 - p) / n", "p * (1 - p) / (n + 1e-06)")

# %% wrong="bandwidth" fails="test_each_point_left_out" name="leaves nothing out: each point sees itself"
strike("d2.fill_diagonal_(math.inf)")
# %% wrong="bandwidth" fails="test_two_points" name="divides by N where N - 1 points are left"
replace("math.log(N - 1)", "math.log(N)")
# %% wrong="bandwidth" fails="test_twins" name="leaves out every point at distance zero"
replace("d2.fill_diagonal_(math.inf)", "d2[d2 == 0] = math.inf")
# %% wrong="bandwidth" fails="test_lonely_point" name="leaves log space: a lonely point gives minus infinity"
replace("torch.logsumexp(d2 / (-2 * h * h), dim=1)", "(d2 / (-2 * h * h)).exp().sum(dim=1).log()")
# %% wrong="bandwidth" fails="test_lonely_point" name="guards the logarithm with a small constant"
replace("torch.logsumexp(d2 / (-2 * h * h), dim=1)", "((d2 / (-2 * h * h)).exp().sum(dim=1) + 1e-300).log()")
# %% wrong="bandwidth" fails="test_change_of_units" name="the normaliser of one dimension in all"
replace("N, D = points.shape", "N, D = len(points), 1")
# %% wrong="bandwidth" fails="test_each_point_left_out" name="the logarithm of the mean density"
replace("dim=1).mean()", "dim=(0, 1)) - math.log(N)")
# %% wrong="bandwidth" fails="test_twins" name="picks the worst candidate"
replace("scores.argmax()", "scores.argmin()")
# %% wrong="bandwidth" fails="test_each_point_left_out" name="only the 50 nearest kernels"
replace("d2.fill_diagonal_(math.inf)", "d2 = d2.sort(dim=1).values[:, 1:51]  # the first is the point itself")
# %% wrong="bandwidth" fails="test_each_point_left_out" name="sorts the candidates first"
replace("N, D = points.shape", "N, D = points.shape\ncandidates = candidates.sort().values")
# %% wrong="bandwidth" fails="promises" name="scores in float64 whatever the points are"
replace("scores = torch.stack(log_sums)", "scores = torch.stack(log_sums).double()")


# %% wrong="bandwidth" fails="test_each_point_left_out" name="one half of the points scores the other"
def loo_bandwidth(points, candidates):
    half = len(points) // 2
    scores = torch.stack([log_kde(points[half:], points[:half], float(h)).mean() for h in candidates])
    return candidates[scores.argmax()].item(), scores


# %% right="bandwidth" name="removes the points one by one"
replace(
    "d2 = (points[:, None] - points).square().sum(-1)  # (N, N)",
    "others = torch.stack([torch.cat([points[:i], points[i + 1 :]]) for i in range(N)])",
)
replace("d2.fill_diagonal_(math.inf)", "d2 = (points[:, None] - others).square().sum(-1)  # (N, N - 1)")
# %% right="bandwidth" name="NumPy scores, the bandwidth a 0-d tensor"
replace("d2.fill_diagonal_(math.inf)", "d2 = d2[~torch.eye(N, dtype=torch.bool)].reshape(N, N - 1)")
replace(".item(), scores", ", scores.numpy()")
# %% right="bandwidth" name="one table for all candidates"
replace(
    "log_sums = [torch.logsumexp(d2 / (-2 * h * h), dim=1).mean() - D * h.log() for h in candidates]",
    """
h = candidates[:, None, None]
log_sums = torch.logsumexp(d2 / (-2 * h * h) - D * h.log(), dim=2).mean(dim=1)  # (H, N, N) -> (H,)
""",
)
replace("torch.stack(log_sums)", "log_sums")
# %% equivalent="bandwidth" name="the sign of a difference is squared away"
replace("points[:, None] - points", "points - points[:, None]")
# %% equivalent="bandwidth" name="the table of distances is symmetric: its columns are its rows"
replace("dim=1", "dim=0")

# %% wrong="log-kde" fails="test_far_tails" name="leaves log space"
replace("torch.logsumexp(log_w + log_kernel, dim=1)", "(log_w + log_kernel).exp().sum(dim=1).log()")
# %% wrong="log-kde" fails="test_far_tails" name="guards the logarithm with a small constant"
replace("torch.logsumexp(log_w + log_kernel, dim=1)", "((log_w + log_kernel).exp().sum(dim=1) + 1e-30).log()")
# %% wrong="log-kde" fails="test_integrates_to_one" name="the normaliser of one dimension in all"
replace("D = points.shape[1]", "D = 1")
# %% wrong="log-kde" fails="test_sum_of_normals" name="one normaliser for all, from the mean bandwidth"
replace("bandwidths.log()", "bandwidths.mean().log()")
# %% wrong="log-kde" fails="test_weights" name="does not normalise the weights"
replace(" - weights.sum().log()", "")
# %% wrong="log-kde" fails="test_weights" name="ignores the weights"
replace("weights.log() - weights.sum().log()", "-math.log(len(points))")
# %% wrong="log-kde" fails="test_sum_of_normals" name="the mean of logs for the log of the mean"
replace("torch.logsumexp(log_w + log_kernel, dim=1)", "log_kernel @ log_w.exp()")
# %% wrong="log-kde" fails="test_gradient" name="takes the bandwidth for the variance"
replace("D = points.shape[1]", "D = points.shape[1]\nbandwidths = bandwidths.sqrt()")
# %% wrong="log-kde" fails="test_far_tails" name="the mean bandwidth for all"
replace("D = points.shape[1]", "D = points.shape[1]\nbandwidths = bandwidths.mean()")
# %% wrong="log-kde" fails="test_gradient" name="only the nearest kernel"
replace("torch.logsumexp(log_w + log_kernel, dim=1)", "(log_w + log_kernel)[range(len(x)), d2.argmin(dim=1)]")
# %% wrong="log-kde" fails="test_far_from_origin" name="squares first, then subtracts"
replace("(x[:, None] - points).square()", "(x[:, None] ** 2 - 2 * x[:, None] * points + points**2)")
# %% wrong="log-kde" fails="test_far_from_origin" name="torch.cdist"
replace("(x[:, None] - points).square().sum(-1)", "torch.cdist(x, points).square()")
# %% wrong="log-kde" fails="test_gradient" name="the square of a norm: no gradient on a point"
replace(".square().sum(-1)", ".square().sum(-1).sqrt().square()")
# %% wrong="log-kde" fails="test_gradient" name="not differentiable: detaches the queries"
replace("x[:, None]", "x.detach()[:, None]")
# %% wrong="log-kde" fails="test_gradient" name="both branches of a where: the gradient is NaN in the tails"
replace(
    "return torch.logsumexp(log_w + log_kernel, dim=1)",
    """
p = (log_w + log_kernel).exp().sum(dim=1)
return torch.where(p > 1e-30, p.log(), torch.logsumexp(log_w + log_kernel, dim=1))
""",
)
# %% wrong="log-kde" fails="test_weights" name="adds a small constant to the weights"
replace("D = points.shape[1]", "D = points.shape[1]\nweights = weights + 1e-12")
# %% wrong="log-kde" fails="test_weights" name="leaves out points of small weight"
replace("D = points.shape[1]", "D = points.shape[1]\nweights = weights * (weights > 1e-2)")
# %% wrong="log-kde" fails="test_weights" name="leaves out weights below a thousandth of the largest"
replace("D = points.shape[1]", "D = points.shape[1]\nweights = weights * (weights > 1e-3 * weights.max())")
# %% right="log-kde" name="a loop over the points, the largest term pulled out by hand"
replace("(x[:, None] - points).square().sum(-1)", "torch.stack([(x - p).square().sum(1) for p in points], 1)")
replace(
    "return torch.logsumexp(log_w + log_kernel, dim=1)",
    """
top = (log_w + log_kernel).detach().amax(dim=1)
return top + (log_w + log_kernel - top[:, None]).exp().sum(dim=1).log()
""",
)


# %% right="log-kde" name="torch.distributions"
def log_adaptive_kde(x, points, bandwidths, weights):
    from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

    bumps = Independent(Normal(points, bandwidths[:, None]), 1)
    return MixtureSameFamily(Categorical(logits=weights.log()), bumps, validate_args=False).log_prob(x)


# %% equivalent="log-kde" name="the sign of a difference is squared away"
replace("x[:, None] - points", "points - x[:, None]")

# %% wrong="memorised" fails="test_every_pair_and_tie" name="the share of exact copies, not calibrated"
replace("wins.mean()", "(d_generated == 0).double().mean()")
# %% wrong="memorised" fails="test_every_pair_and_tie" name="a tie is no win"
replace(" + 0.5 * (d_generated == d_test).double()", "")
# %% wrong="memorised" fails="test_exchange" name="a tie is a whole win"
replace("0.5 * (d_generated == d_test)", "(d_generated == d_test)")
# %% wrong="memorised" fails="test_every_pair_and_tie" name="compares with the median held-out distance only"
replace("nearest(test, train)[0]", "nearest(test, train)[0].median().expand(len(test))")
# %% wrong="memorised" fails="test_copies" name="the wrong way round: the held-out sample is nearer"
replace("d_generated < d_test", "d_generated > d_test")
# %% wrong="memorised" fails="test_rotation_and_scale" name="from training samples to generated ones"
replace("nearest(test, train)", "nearest(train, test)")
replace("nearest(generated, train)", "nearest(train, generated)")
replace("m, n = wins.shape", "m, n = len(generated), len(test)")
# %% wrong="memorised" fails="test_rotation_and_scale" name="distances to the held-out set"
replace("nearest(generated, train)", "nearest(generated, test)")
# %% wrong="memorised" fails="test_rotation_and_scale" name="the city-block distance"
replace("nearest(test, train)[0]", "torch.cdist(test, train, p=1).amin(dim=1)")
replace("nearest(generated, train)[0]", "torch.cdist(generated, train, p=1).amin(dim=1)")
# %% wrong="memorised" fails="test_exchange" name="forgets one in the variance of the rank sum"
replace("(m + n + 1)", "(m + n)")
# %% wrong="memorised" fails="test_every_pair_and_tie" name="the mean distance to all training samples"
replace("nearest(test, train)[0]", "torch.cdist(test, train).mean(dim=1)")
replace("nearest(generated, train)[0]", "torch.cdist(generated, train).mean(dim=1)")
# %% wrong="memorised" fails="test_every_pair_and_tie" name="the first 200 samples only"
replace("m, n = wins.shape", "m, n = wins[:200, :200].shape")
replace("wins.mean()", "wins[:200, :200].mean()")
# %% wrong="memorised" fails="test_every_pair_and_tie" name="takes nearly equal for equal"
replace("wins.mean()", "wins.masked_fill(torch.isclose(d_generated, d_test, rtol=1e-2), 0.5).mean()")
# %% wrong="memorised" fails="test_rotation_and_scale" name="rounds the distances"
replace("nearest(test, train)[0]", "nearest(test, train)[0].round(decimals=3)")
replace("nearest(generated, train)[0]", "nearest(generated, train)[0].round(decimals=3)")
# %% wrong="memorised" fails="test_exchange" name="two copies are a win, not a tie"
replace("wins.mean()", "wins.masked_fill(d_generated == 0, 1).mean()")
# %% wrong="memorised" fails="test_far_away" name="z is never negative"
replace("(share - 0.5)", "max(share - 0.5, 0)")
# %% right="memorised" name="the sign of each difference"
replace(
    "(d_generated < d_test).double() + 0.5 * (d_generated == d_test).double()",
    "(1 + (d_test - d_generated).sign().double()) / 2",
)


# %% right="memorised" name="scipy's Mann-Whitney statistic on squared distances"
def copy_score(train, test, generated):
    from scipy.stats import mannwhitneyu

    d_test, d = ((x[:, None] - train).square().sum(-1).amin(1).numpy() for x in (test, generated))
    pairs = len(d) * len(d_test)
    share = mannwhitneyu(d_test, d).statistic / pairs
    return share, (share - 0.5) * (12 * pairs / (len(d) + len(d_test) + 1)) ** 0.5


# %% right="memorised" name="both numbers in one array"
replace("return share, (share - 0.5)", "return np.array([1, 0]) * share + np.array([0, 1]) * (share - 0.5)")
# %% equivalent="memorised" name="wins of 0 and 1 in float32, which the ties make float64"
replace("(d_generated < d_test).double()", "(d_generated < d_test).float()")
# %% equivalent="memorised" name="wins as booleans, which the ties make float64"
replace("(d_generated < d_test).double()", "(d_generated < d_test)")
# %% equivalent="memorised" name="ties of 0 and 1 in float32, exact when halved, which the wins make float64"
replace("(d_generated == d_test).double()", "(d_generated == d_test).float()")
# %% equivalent="memorised" name="ties as booleans, exact when halved, which the wins make float64"
replace("(d_generated == d_test).double()", "(d_generated == d_test)")
# %% equivalent="memorised" name="rounding only: there are three or more in the sum"
replace("(m + n + 1)", "(m + n + 1 + 1e-06)")

# %% wrong="words" fails="test_counts" name="no start sign: before a word stands letter 0"
replace("value=self.letters", "value=0")
# %% wrong="words" fails="test_counts" name="adds alpha once to the sum, not once a letter"
replace(
    "n / n.sum(dim=1, keepdim=True)", "n / (n.sum(dim=1, keepdim=True) - (self.letters - 1) * self.alpha)"
)
# %% wrong="words" fails="test_counts" name="adds no alpha"
replace("float(self.alpha)", "1e-12")
# %% wrong="words" fails="test_counts" name="remembers one letter at most"
replace(
    "self.letters, self.k, self.alpha = letters, k, alpha",
    "self.letters, self.k, self.alpha = letters, min(k, 1), alpha",
)
# %% wrong="words" fails="test_counts" name="the mean over letters, not the sum"
replace("].sum(dim=1)", "].mean(dim=1)")
# %% wrong="words" fails="test_counts" name="divides by all letters: the joint share of context and letter"
replace("n.sum(dim=1, keepdim=True)", "n.sum()")
# %% wrong="words" fails="test_counts" name="a second fit goes on counting"
replace(
    "n = torch.full(shape, float(self.alpha), dtype=torch.float64)",
    """
n = getattr(self, "n", torch.full(shape, float(self.alpha), dtype=torch.float64))
self.n = n
""",
)
# %% wrong="words" fails="test_draws" name="writes the likeliest letter"
replace("torch.multinomial(p, 1, generator=generator)[:, 0]", "p.argmax(dim=1)")
# %% wrong="words" fails="test_draws" name="does not use the generator"
replace("torch.multinomial(p, 1, generator=generator)", "torch.multinomial(p, 1)")
# %% wrong="words" fails="test_draws" name="one letter for all words"
replace(
    "torch.multinomial(p, 1, generator=generator)[:, 0]", "torch.multinomial(p[0], 1, generator=generator)[0]"
)
# %% wrong="words" fails="test_draws" name="forgets the context when it draws"
replace("self.log_p[self.contexts(x)[:, t]].exp()", "self.log_p[self.contexts(x[:, :1])[:, 0]].exp()")
# %% wrong="words" fails="test_draws" name="a seed of its own"
replace("generator=generator", "generator=torch.Generator().manual_seed(t)")
# %% wrong="words" fails="test_against_the_truth" name="the training words choose the memory"
replace("log_prob(held_out)", "log_prob(train)")
# %% wrong="words" fails="test_against_the_truth" name="the worst memory"
replace("return max(ks", "return min(ks")
# %% wrong="words" fails="test_against_the_truth" name="the first memory that is offered"
replace(
    "return max(ks, key=lambda k: Words(letters, k, alpha).fit(train).log_prob(held_out).mean().item())",
    "return ks[0]",
)

# %% wrong="words" fails="test_counts" name="takes the alphabet from the words"
replace(
    "n = torch.full(shape, float(self.alpha), dtype=torch.float64)",
    """
self.letters = int(x.max()) + 1
shape = ((self.letters + 1) ** self.k, self.letters)
n = torch.full(shape, float(self.alpha), dtype=torch.float64)
""",
)
# %% wrong="words" fails="test_counts" name="the start sign is one of the letters that may follow"
replace("n.sum(dim=1, keepdim=True)", "(n.sum(dim=1, keepdim=True) + self.alpha)")
# %% wrong="words" fails="test_counts" name="counts contexts across the words' ends"
replace(
    "n = torch.full(shape, float(self.alpha), dtype=torch.float64)",
    """
x = x.reshape(1, -1)
n = torch.full(shape, float(self.alpha), dtype=torch.float64)
""",
)
# %% wrong="words" fails="test_draws" name="the draws are int32"
replace("x = torch.zeros(n, length, dtype=torch.int64)", "x = torch.zeros(n, length, dtype=torch.int32)")
# %% wrong="words" fails="test_best_memory" name="chooses with an alpha of its own"
replace("Words(letters, k, alpha).fit(train)", "Words(letters, k, 1.0).fit(train)")
# %% wrong="words" fails="test_best_memory" name="tries all memories, also those that are not offered"
replace("return max(ks", "return max(range(max(ks) + 1)")

# %% right="words" name="the last of equal memories"
replace("return max(ks", "return max(reversed(list(ks))")


# %% right="words" name="dictionaries and loops"
class Words:
    def __init__(self, letters, k, alpha):
        self.letters, self.k, self.alpha = letters, k, alpha

    def context(self, word, t):
        return tuple(([None] * self.k + word[:t])[t : t + self.k])

    def fit(self, x):
        counts = {}
        for word in x.tolist():
            for t, letter in enumerate(word):
                counts.setdefault(self.context(word, t), [self.alpha] * self.letters)[letter] += 1
        self.tables = {context: [each / sum(n) for each in n] for context, n in counts.items()}
        return self

    def p(self, context):
        return self.tables.get(context, [1 / self.letters] * self.letters)

    def log_prob(self, x):
        logs = [
            sum(math.log(self.p(self.context(word, t))[letter]) for t, letter in enumerate(word))
            for word in x.tolist()
        ]
        return torch.tensor(logs, dtype=torch.float64)

    def sample(self, n, length, generator):
        words = [[] for _ in range(n)]
        for t in range(length):
            u = torch.rand(n, generator=generator, dtype=torch.float64).tolist()
            for word, level in zip(words, u):
                bounds = np.cumsum(self.p(self.context(word, t)))[:-1]
                word.append(int((level > bounds).sum()))
        return torch.tensor(words)


def best_memory(train, held_out, letters, alpha, ks):
    scores = [float(Words(letters, k, alpha).fit(train).log_prob(held_out).sum()) for k in ks]
    return ks[scores.index(max(scores))]


# %% wrong="products" fails="test_what_is_published" name="nothing is disclosed, says nobody"
replace("answers[product]", '{**unknown, "url": answers[product]["url"]}')
# %% wrong="products" fails="test_what_is_not" name="the others are diffusion transformers, as blogs say"
replace('"undisclosed", "backbone": "undisclosed"', '"diffusion", "backbone": "transformer"')
# %% wrong="products" fails="test_what_is_published" name="an encyclopedia for evidence"
replace("answers[product]", '{**answers[product], "url": f"https://en.wikipedia.org/wiki/{product}"}')
# %% wrong="products" fails="test_what_is_published" name="ChatGPT still draws with DALL-E"
replace('"autoregressive"', '"diffusion"')
# %% right="products" name="other pages of the makers, other words"
replace("docs.midjourney.com/hc/en-us/articles/32199405667853-Version", "www.midjourney.com/updates/v7-alpha")
replace("runwayml.com/research/introducing-gen-3-alpha", "help.runwayml.com/hc/en-us/articles/30266515017875")
replace("elevenlabs.io/docs/overview/models", "elevenlabs.io/blog/eleven-v3")
replace("openai.com/index/video", "openai.com/research/video")
replace(
    "openai.com/index/gpt-4o-image-generation-system-card-addendum/",
    "cdn.openai.com/11998be9-5319-4302-bfbf-1167e093f1fb/Native_Image_Generation_System_Card.pdf",
)
replace(
    "Importantly, Sora is a diffusion transformer.",
    "we train text-conditional diffusion models jointly on videos and images. "
    "We leverage a transformer architecture that operates on spacetime patches",
)

# %% right="products" name="another mapping than a dict"
replace(
    "return answers[product]",
    """
from collections import ChainMap
return ChainMap(answers[product])
""",
)

# %% wrong="triage" fails="test_cards" name="a bound is a density like any other"
replace('(2, "approximate", "one-shot")', '(1, "tractable", "one-shot")')
# %% wrong="triage" fails="test_cards" name="an energy is a score: it knows only which way is downhill"
replace('(2, "approximate", "iterative")', '(4, "score", "iterative")')
# %% wrong="triage" fails="test_cards" name="codes are written one by one, as in bucket 1"
replace('(5, "tractable", "serial")', '(1, "tractable", "serial")')
# %% wrong="triage" fails="test_cards" name="whoever knows only directions is implicit"
replace('"H": (4, "score", "iterative")', '"H": (3, "none", "iterative")')
# %% wrong="triage" fails="test_cards" name="many steps are serial"
replace('"E": (4, "score", "iterative")', '"E": (4, "score", "serial")')
# %% wrong="triage" fails="test_cards" name="no second network, no implicit model"
replace('"J": (3, "none", "one-shot")', '"J": (2, "approximate", "one-shot")')

# %% wrong="triage" fails="test_complete" name="one sentence for all"
replace(
    "answers[question]",
    'answers["modelled" if question in ("condition", "evaluation", "failure") else question]',
)
# %% wrong="triage" fails="test_complete" name="ten times the same word"
replace("answers[question]", '"symmetry " * 10 if question == "condition" else answers[question]')
# %% wrong="triage" fails="test_complete" name="pictures again"
replace('"protein structure"', '"image generation"')
# %% wrong="triage" fails="test_complete" name="pictures by another name"
replace('"protein structure"', '"photographs of faces"')
# %% wrong="triage" fails="test_complete" name="says the question back"
replace(
    "return answers[question]",
    """
answers["failure"] = "how does the measure fail: when is it good although the model is bad?"
return answers[question]
""",
)
# %% wrong="triage" fails="test_complete" name="no address"
replace("https://doi.org/10.1038/s41586-023-06415-8", "the paper in Nature")
# %% wrong="triage" fails="test_complete" name="words of its own where a list is given"
replace('"density": "approximate"', '"density": "it has one, in principle"')


# %% right="triage" name="films that are no pictures"
replace('"protein structure"', '"thin films of perovskite crystals"')


# %% right="triage" name="the weather"
def card(name):
    bucket = [1, 3, 1, 2, 4, 5, 2, 4, 1, 3]["ABCDEFGHIJ".index(name)]
    one_shot, serial = name in "BCDIJ", name in "AF"
    density = {1: "tractable", 2: "approximate", 3: "none", 4: "score", 5: "tractable"}[bucket]
    return bucket, density, "one-shot" if one_shot else "serial" if serial else "iterative"


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


# %% wrong="choose" fails="test_criteria_on_another_map" name="takes the models as the map lists them"
replace("sorted(alive, key=lambda model: rank(model, board, is_open))[:3]", "alive[:3]")
# %% wrong="choose" fails="test_criteria_on_another_map" name="recommends what is retired"
replace("if not model.retired and meets(model)", "if meets(model)")
# %% wrong="choose" fails="test_criteria_on_another_map" name="does not ask what the licence permits"
replace('taxonomy.PERMITS.index(model.permits) > taxonomy.PERMITS.index(wishes["use"])', "False")
# %% wrong="choose" fails="test_criteria_on_another_map" name="the board before the licence"
replace(
    "return taxonomy.PERMITS.index(model.permits), -score,",
    "return -score, taxonomy.PERMITS.index(model.permits),",
)
# %% wrong="choose" fails="test_criteria_on_another_map" name="the older model first"
replace("age = -int(", "age = int(")
# %% wrong="choose" fails="test_criteria_on_another_map" name="the lower score first"
replace("score = ATLAS", "score = -ATLAS")
# %% wrong="choose" fails="test_criteria_on_another_map" name="forgets the wish for one GPU"
replace('model.gpus == 1 or not wishes["one_gpu"]', "True")
# %% wrong="choose" fails="test_likelihood" name="a likelihood of codes will do"
replace(" or family.bucket == 5", "")
# %% wrong="choose" fails="test_likelihood" name="a flow for every likelihood, of an essay, too"
replace(
    '(*TASKS[wishes["domain"]], *["density-estimation"] * wishes["likelihood"])',
    '(["density-estimation"] if wishes["likelihood"] else TASKS[wishes["domain"]])',
)
# %% wrong="choose" fails="test_likelihood" name="names a hosted model where a likelihood is needed"
replace('lambda model: not wishes["likelihood"]', "lambda model: True")
# %% wrong="choose" fails="test_limits" name="does not look at the seconds"
replace('seconds > wishes["seconds"]', "False")
# %% wrong="choose" fails="test_limits" name="does not look at the GPU hours"
replace('hours > wishes["gpu_hours"]', "False")
# %% wrong="choose" fails="test_limits" name="a limit may not be reached"
replace('hours > wishes["gpu_hours"]', 'hours >= wishes["gpu_hours"]')
# %% wrong="choose" fails="test_criteria_on_another_map" name="fine-tunes what has code only"
replace('ATLAS.models[name].openness == "open weights"', "ATLAS.models[name]")
# %% wrong="choose" fails="test_criteria_on_another_map" name="a year alone is its January"
replace('"-06"', '"-01"')
# %% wrong="choose" fails="test_criteria_on_another_map" name="only the first row of a domain"
replace('(*TASKS[wishes["domain"]],', '(*TASKS[wishes["domain"]][:1],')
# %% wrong="choose" fails="test_criteria_on_another_map" name="the bucket says what a family can"
replace('(family.density != "tractable" or family.bucket == 5)', "family.bucket != 1")
# %% wrong="choose" fails="test_limits" name="0 seconds are no limit"
replace('seconds > wishes["seconds"]', 'wishes["seconds"] and seconds > wishes["seconds"]')
# %% right="choose" name="sorts three times, the least important first"
replace(
    "return [model.id for model in sorted(alive, key=lambda model: rank(model, board, is_open))[:3]]",
    """
by_age = sorted(alive, key=lambda model: (model.date + "-06")[:7], reverse=True)
votes = ATLAS.boards[board].scores if board else {}
by_gpus = sorted(by_age, key=lambda model: model.gpus > 1) if is_open else by_age
by_votes = sorted(by_gpus, key=lambda model: votes.get(model.id, -1), reverse=True)
order = {name: i for i, name in enumerate(taxonomy.PERMITS)}
ranked = sorted(by_votes, key=lambda model: order[model.permits]) if is_open else by_votes
return [model.id for model in ranked[:3]]
""",
)


# %% right="choose" name="one function, a table in the file"
def when(m):
    year, _, month = m.date.partition("-")
    return -(int(year) * 12 + int(month or 6))


def votes(m, b):
    return -(ATLAS.boards[b].scores.get(m.id, float("-inf")) if b else 0)


def named(row, task, like):
    allowed = taxonomy.PERMITS[: taxonomy.PERMITS.index(task.get("use", "no licence stated")) + 1]
    opened = [m for m in map(ATLAS.models.get, row.open) if not m.retired and m.permits in allowed]
    opened = [m for m in opened if m.gpus == 1 or not task.get("one_gpu")]
    opened = [m for m in opened if m.density == "tractable" or not like]
    opened.sort(key=lambda m: (allowed.index(m.permits), votes(m, row.open_board), m.gpus != 1, when(m)))
    rented = [] if like else [m for m in map(ATLAS.models.get, row.hosted) if m.retired == ""]
    rented.sort(key=lambda m: (votes(m, row.hosted_board), when(m)))
    return opened[:3], rented[:3]


def choose(task):
    keys = {"domain", "likelihood", "seconds", "use", "one_gpu", "own_data", "gpu_hours"}
    if not set(task) <= keys or task.get("domain") not in TASKS:
        raise ValueError("no")
    like = task.get("likelihood", False)
    for key in [*TASKS[task["domain"]], *(["density-estimation"] if like else [])]:
        row = ATLAS.tasks[key]
        fam, (opened, rented) = ATLAS.families[row.family], named(row, task, like)
        holds = fam.density == "tractable" and fam.bucket != 5 if like else True
        secs = CALLS[fam.sampling] * 0.02
        own, weights = task.get("own_data", False), any(m.openness == "open weights" for m in opened)
        trains = "none" if weights or rented and not own else "from scratch"
        trains = "fine-tune" if own and weights else trains
        fits = HOURS[trains] <= task.get("gpu_hours", math.inf) and secs <= task.get("seconds", math.inf)
        if holds and fits and (opened or rented):
            budget = {"seconds": secs, "gpu_hours": HOURS[trains], "training": trains}
            ids = {"open": [m.id for m in opened], "hosted": [m.id for m in rented]}
            return {"budget": budget, "family": fam.id, "failure": row.failure} | ids
    raise ValueError("no row")


def write_skill(path):
    import os

    text = "# A chooser\n"
    for word in TASKS:
        found = choose({"domain": word})
        rows = (ATLAS.tasks[key] for key in TASKS[word])
        row = next(row for row in rows if row.failure == found["failure"])
        text += f"\n## {word}\n\nTake **{found['family']}** ({found['failure']}).\n"
        text += f"Training: {found['budget']['training']}.\n\n| model | how | by |\n|---|---|---|\n"
        for kind, board in (("open", row.open_board), ("hosted", row.hosted_board)):
            for name in found[kind]:
                by = ATLAS.models[name].permits if kind == "open" else ""
                if board and name in ATLAS.boards[board].scores:
                    by += f"; score {ATLAS.boards[board].scores[name]} ({ATLAS.boards[board].seen})"
                text += f"| `{name}` | {kind} | {by} |\n"
    text += "\n## Refusals\n\n- **GAN for a likelihood**: it has no density.\n"
    text += "- a likelihood of codes:\n  it is none of x\n- a retired model\n- a guess\n"
    if os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


# %% equivalent="choose" name="no score is as low as 1, so what is not listed still comes last"
replace("scores.get(model.id, 0)", "scores.get(model.id, 1)")
# %% equivalent="choose" name="where there is no board the same number for all is no order"
replace("if board else 0", "if board else 1")
# %% equivalent="words" name="the start sign comes before letters only, so no two contexts share a number"
replace("code = code * (self.letters + 1)", "code = code * (self.letters)")
# %% equivalent="words" name="the first of two letters drawn without replacement has the same law"
replace("torch.multinomial(p, 1,", "torch.multinomial(p, 2,")


# %% equivalent="words" name="a column behind the word is read by nobody"
replace(
    "padded = torch.nn.functional.pad(x, (self.k, 0), value=self.letters)",
    "padded = torch.nn.functional.pad(x, (self.k, 1), value=self.letters)",
)


# %% equivalent="words" name="the last letter is no context"
replace(
    "padded = torch.nn.functional.pad(x, (self.k, 0), value=self.letters)",
    "padded = torch.nn.functional.pad(x, (self.k, -1), value=self.letters)",
)


# %% equivalent="words" name="rows counted from the end, each context still its own"
replace(
    "code = code * (self.letters + 1) + padded[:, back : back + x.shape[1]]",
    "code = (code * (self.letters + 1) - padded[:, back:back + x.shape[1]])",
)


# %% equivalent="words" name="what stands before a word comes first alone, so no two contexts meet"
replace(
    "code = code * (self.letters + 1) + padded[:, back : back + x.shape[1]]",
    "code = code * (self.letters + 0) + padded[:, back : back + x.shape[1]]",
)


# %% equivalent="words" name="rows that nobody asks for"
replace(
    "shape = ((self.letters + 1) ** self.k, self.letters)",
    "shape = ((self.letters + 2) ** self.k, self.letters)",
)


# %% equivalent="words" name="the type is given beside it"
replace(
    "n = torch.full(shape, float(self.alpha), dtype=torch.float64)",
    "n = torch.full(shape, self.alpha, dtype=torch.float64)",
)


# %% equivalent="words" name="the counts are its own"
replace(
    "self.log_p = (n / n.sum(dim=1, keepdim=True)).log()",
    "self.log_p = (n.div_(n.sum(dim=1, keepdim=True))).log()",
)


# %% equivalent="words" name="every place is written before it is read"
replace("x = torch.zeros(n, length, dtype=torch.int64)", "x = torch.ones(n, length, dtype=torch.int64)")


# %% equivalent="words" name="one column"
replace(
    "x[:, t] = torch.multinomial(p, 1, generator=generator)[:, 0]",
    "x[:, t] = torch.multinomial(p, 1, generator=generator)[:, -1]",
)


# %% equivalent="words" name="the same number of words for every k"
replace(
    "return max(ks, key=lambda k: Words(letters, k, alpha).fit(train).log_prob(held_out).mean().item())",
    "return max(ks, key=lambda k: Words(letters, k, alpha).fit(train).log_prob(held_out).sum().item())",
)


# %% equivalent="choose" name="below every score, as 0 is"
replace(
    "score = ATLAS.boards[board].scores.get(model.id, 0) if board else 0",
    "score = ATLAS.boards[board].scores.get(model.id, -1) if board else 0",
)


# %% equivalent="choose" name="the same for all models where there is no board"
replace(
    "score = ATLAS.boards[board].scores.get(model.id, 0) if board else 0",
    "score = ATLAS.boards[board].scores.get(model.id, 0) if board else -1",
)


# %% equivalent="choose" name="a hyphen more, which goes with the others"
replace(
    'age = -int((model.date + "-06")[:7].replace("-", ""))',
    'age = -int((model.date + "-06")[:8].replace("-", ""))',
)
