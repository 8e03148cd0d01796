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

# %% wrong="triage" fails="test_complete" name="one sentence for all"
replace(
    "answers[question]",
    'answers["modelled" if question in ("condition", "evaluation", "failure") else question]',
)
# %% wrong="triage" fails="test_complete" name="ten times the same word"
replace("answers[question]", '"symmetry " * 10 if question == "condition" else answers[question]')
# %% wrong="triage" fails="test_complete" name="pictures again"
replace('"protein structure"', '"image generation"')
# %% wrong="triage" fails="test_complete" name="no address"
replace("https://doi.org/10.1038/s41586-023-06415-8", "the paper in Nature")
# %% wrong="triage" fails="test_complete" name="words of its own where a list is given"
replace('"density": "approximate"', '"density": "it has one, in principle"')


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
replace("any(word in sentence for word in words for sentence in said)", "False")
# %% wrong="choose" fails="test_domains" name="does not hear a no"
replace(r' if not re.search(r"\b(no|not|without)\b", s)', "")
# %% wrong="choose" fails="test_domains" name="finds a face in a surface"
replace(r're.search(rf"\b{word}s?\b", task.lower())', "word in task.lower()")
# %% wrong="choose" fails="test_training" name="trains from scratch, data or not"
replace(
    '"none" if not needs("our own", "my own") else "fine-tune" if weights else "from scratch"',
    '"from scratch"',
)
# %% wrong="choose" fails="test_likelihood" name="speed before likelihood"
replace('"how probable")', '"how probable") and not needs("real time")')
# %% wrong="choose" fails="test_likelihood" name="a GAN where a likelihood is needed"
replace('"density-estimation" if likelihood else ', "")
# %% wrong="choose" fails="test_domains" name="finds the domain in lower case only"
replace(r's?\b", task.lower()', r's?\b", task')
# %% wrong="choose" fails="test_domains" name="a hosted model among the open ones"
replace("alive[0][:3],", "[*row.hosted[:1], *row.open[:2]],")
# %% wrong="choose" fails="test_domains" name="the models in the order of the alphabet"
replace("alive[0][:3],", "sorted(alive[0][:3]),")
# %% wrong="choose" fails="test_retired" name="recommends what is retired"
replace("if not ATLAS.models[model].retired", "if model")
# %% wrong="choose" fails="test_retired" name="the open ones are taken as the map lists them"
replace("alive[0][:3],", "list(row.open[:3]),")
# %% wrong="choose" fails="test_retired" name="the hosted ones are taken as the map lists them"
replace("alive[1][:3]", "list(row.hosted[:3])")
# %% right="choose" name="word by word"
replace(r'not re.search(r"\b(no|not|without)\b", s)', '{"no", "not", "without"}.isdisjoint(s.split())')
replace("word in sentence for word", 'f" {word} " in f" {sentence} " for word')
replace(
    r're.search(rf"\b{word}s?\b", task.lower())',
    '{word, word + "s"} & set(re.findall("[a-z]+", task.lower()))',
)

# %% equivalent="choose" name="the words of a likelihood in another order"
replace('"likelihood", "how probable"', '"how probable", "likelihood"')
# %% equivalent="choose" name="the words of own data in another order"
replace('"our own", "my own"', '"my own", "our own"')
# %% equivalent="choose" name="the only domain is the last as well as the first"
replace("domains[0]", "domains[-1]")
# %% equivalent="choose" name="with a likelihood the task is another already; a sample may be quick there too"
replace(' and domains == ["picture"] and not likelihood', ' and domains == ["picture"]')
# %% equivalent="choose" name="no task of the map has open weights at its fourth open model alone"
replace("in alive[0][:3])", "in alive[0][:4])")
# %% equivalent="choose" name="no task of the map has open weights at its third open model alone"
replace("in alive[0][:3])", "in alive[0][:2])")
# %% equivalent="choose" name="the estimate of fine-tuning is free: an hour more"
replace('"fine-tune": 10', '"fine-tune": 11')
# %% equivalent="choose" name="the estimate of fine-tuning is free: an hour less"
replace('"fine-tune": 10', '"fine-tune": 9')
# %% equivalent="choose" name="the estimate of training from scratch is free: an hour more"
replace("1_000}", "1_001}")
# %% equivalent="choose" name="the estimate of training from scratch is free: an hour less"
replace("1_000}", "999}")
# %% equivalent="choose" name="the estimate of a sample is free: 0.05 seconds for every task"
replace("0.05 if fast else 10.0", "0.05")
# %% equivalent="choose" name="0.055 seconds are less than 0.1"
replace("0.05 if", "0.05500000000000001 if")
# %% equivalent="choose" name="the estimate of a sample is free: a second more"
replace("10.0", "11.0")
# %% equivalent="choose" name="the estimate of a sample is free: a second less"
replace("10.0", "9.0")
# %% equivalent="choose" name="a heading needs no empty line before it"
replace('        lines += [""]', "        pass")
# %% equivalent="choose" name="the text is ASCII, which has the same bytes in any encoding of a text file"
replace(', encoding="utf-8"', "")
# %% equivalent="choose" name="nobody asks for a line break at the end of the file"
replace('"\\n".join(lines) + "\\n"', '"\\n".join(lines)')
