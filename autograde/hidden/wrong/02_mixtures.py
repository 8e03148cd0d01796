"""Wrong and other right answers to lesson 02_mixtures."""

# %% wrong="log-mean-exp" fails="test_blocks" name="adds in linear space"
replace("max([top, *block.tolist()])", "0.0")
# %% wrong="log-mean-exp" fails="test_blocks" name="the mean of the blocks' means"
replace(
    "for block in blocks:",
    "for block in [b.logsumexp(0, keepdim=True) - math.log(len(b)) for b in blocks if len(b)]:",
)
# %% wrong="log-mean-exp" fails="test_shift_and_order" name="the sum for the mean"
replace("math.log(total / count)", "math.log(total)")
# %% wrong="log-mean-exp" fails="test_blocks" name="does not rescale when a larger term comes"
replace("total * math.exp(top - new)", "total")
# %% wrong="log-mean-exp" fails="test_minus_infinity" name="NaN while all terms are -inf"
strike("if new == -math.inf:\n    continue")
# %% wrong="log-mean-exp" fails="test_shift_and_order" name="drops the terms that are -inf"
replace("count += len(block)", "count += int((block > -math.inf).sum())")

# %% wrong="log-mean-exp" fails="test_blocks" name="drops a block in which a term is -inf"
replace("if new == -math.inf:", "if new == -math.inf or (block == -math.inf).any():")
# %% wrong="log-mean-exp" fails="test_shift_and_order" name="the terms in float32"
replace("block - new", "block.float() - new")
# %% equivalent="log-mean-exp" name="the first largest term multiplies the start by exp(-inf), which is zero"
replace("-math.inf, 0.0, 0", "-math.inf, 1.0, 0")
# %% equivalent="log-mean-exp" name="rounding only: a term 30 nats below the top adds 1e-13 of it at most"
replace("(block - new).exp()", "(block - new).clip(-30, 30).exp()")


# %% right="log-mean-exp" name="pairs of logarithms, added two at a time"
def log_mean_exp(blocks):
    terms = [a for block in blocks for a in block.tolist()]
    if not terms:
        raise ValueError("no terms")
    return float(np.logaddexp.reduce(terms) - math.log(len(terms)))


# %% right="log-mean-exp" name="a tensor that holds one number"
replace(
    "return top + math.log(total / count) if total else -math.inf",
    "return torch.tensor([top + math.log(total / count) if total else -math.inf], dtype=torch.float64)",
)

# %% wrong="tied-m-step" fails="test_weighted_sums" name="weights in the means only"
replace("share, gap, gap) / w.sum()", "r, gap, gap) / len(x)")
# %% wrong="tied-m-step" fails="test_whole_weights_repeat" name="divides Sigma by the number of samples"
replace("share, gap, gap) / w.sum()", "share, gap, gap) / len(x)")
# %% wrong="tied-m-step" fails="test_weighted_sums" name="ignores the weights"
replace("share = r * w[:, None]", "share, w = r, torch.ones_like(w)")
# %% wrong="tied-m-step" fails="test_weighted_sums" name="around the mean of all samples"
replace("x[:, None] - mu", "x[:, None] - (n @ mu / n.sum()).expand_as(mu)")
# %% wrong="tied-m-step" fails="test_weighted_sums" name="the plain mean of the components' covariances"
replace("share, gap, gap) / w.sum()", "share / n, gap, gap) / len(n)")
# %% wrong="tied-m-step" fails="test_whole_weights_repeat" name="divides by the weight less one"
replace("share, gap, gap) / w.sum()", "share, gap, gap) / (w.sum() - 1)")
# %% wrong="tied-m-step" fails="promises" name="NumPy arrays"
replace("return n / w.sum(), mu, Sigma", "return (n / w.sum()).numpy(), mu.numpy(), Sigma.numpy()")
# %% equivalent="tied-m-step" name="each gap is multiplied by another gap, so both signs are lost"
replace("x[:, None] - mu", "mu - x[:, None]")
# %% right="tied-m-step" name="the mean square less the square of the mean"
replace('torch.einsum("nk,nkd,nke->de", share, gap, gap)', "((w * x.T) @ x - (n * mu.T) @ mu)")
# %% right="tied-m-step" name="component by component, around the first sample"
replace("share.T @ x / n[:, None]", "x[0] + share.T @ (x - x[0]) / n[:, None]")
replace(
    'torch.einsum("nk,nkd,nke->de", share, gap, gap)',
    "sum((s * g.T) @ g for s, g in zip(share.T, gap.transpose(0, 1)))",
)

# %% right="tied-m-step" name="a named tuple"
replace(
    "return n / w.sum(), mu, Sigma",
    """
from collections import namedtuple
return namedtuple("Step", "pi mu Sigma")(n / w.sum(), mu, Sigma)
""",
)

# %% wrong="bic" fails="test_parameters" name="K shares instead of K - 1"
replace("K - 1 + K * D", "K + K * D")
# %% wrong="bic" fails="test_choice" name="forgets to multiply by N"
replace("-2 * N * mean_log_p", "-2 * mean_log_p")
# %% wrong="bic" fails="test_parameters" name="counts both halves of the covariance"
replace("D * (D + 1) // 2", "D * D")
# %% wrong="bic" fails="test_parameters" name="a tied covariance for each component"
replace('"tied": full', '"tied": K * full')
# %% wrong="bic" fails="test_choice" name="takes the largest"
replace("min(scores)", "max(scores)")
# %% wrong="bic" fails="test_parameters" name="AIC: two for each parameter"
replace("parameters * math.log(N)", "parameters * 2")
# %% wrong="bic" fails="test_choice" name="half of BIC"
replace("min(scores)), scores", "min(scores)), [score / 2 for score in scores]")
# %% wrong="bic" fails="test_choice" name="compares in float32"
replace("scores.index(min(scores))", "int(torch.tensor(scores).argmin())")
# %% wrong="bic" fails="test_choice" name="of equal ones that with fewer components"
replace("scores.index(min(scores))", "min(range(len(fits)), key=lambda i: (scores[i], fits[i][1]))")
# %% equivalent="bic" name="D (D + 1) is even, so both divisions are exact"
replace("// 2", "/ 2")
# %% right="bic" name="counts the entries of a triangle"
replace("D * (D + 1) // 2", "np.tri(D).sum()")
replace("scores.index(min(scores))", "int(np.argmin(scores))")

# %% right="bic" name="a tensor for the logarithm"
replace("math.log(N)", "torch.tensor(N, dtype=torch.float64).log()")

# %% wrong="auc" fails="test_ties_and_weights" name="a tie counts nothing"
replace(" + 0.5 * (a[:, None] == b).double()", "")
# %% wrong="auc" fails="test_ties_and_weights" name="a tie counts one"
replace("0.5 * (a[:, None] == b)", "(a[:, None] == b)")
# %% wrong="auc" fails="test_ties_and_weights" name="ignores the weights"
replace("(pairs * credit).sum() / pairs.sum()", "credit.mean()")
# %% wrong="auc" fails="test_any_scale" name="low scores are anomalous"
replace("a[:, None] > b", "a[:, None] < b")
# %% wrong="auc" fails="test_ties_and_weights" name="clips what it finds too large"
replace("scores[anomaly], scores[~anomaly]", "scores[anomaly].clamp(-2, 2), scores[~anomaly].clamp(-2, 2)")
# %% wrong="auc" fails="test_any_scale" name="nearly equal is a tie"
replace("pairs * credit", "pairs * credit.masked_fill(torch.isclose(a[:, None], b), 0.5)")
# %% wrong="auc" fails="test_whole_weights_and_nothing" name="adds the weights of a pair"
replace("w_a[:, None] * w_b", "w_a[:, None] + w_b")

# %% wrong="auc" fails="test_ties_and_weights" name="refuses a weight of 0"
replace("if pairs.sum() == 0:", "if (w == 0).any() or pairs.sum() == 0:")
# %% equivalent="auc" name="0 and 1 are exact in float32, and the sum is in float64 all the same"
replace("(a[:, None] > b).double()", "(a[:, None] > b).float()")
# %% equivalent="auc" name="booleans that are added to float64 become float64 by themselves"
replace("(a[:, None] > b).double()", "(a[:, None] > b)")
# %% equivalent="auc" name="0 and a half are exact in float32, and the sum is in float64 all the same"
replace("(a[:, None] == b).double()", "(a[:, None] == b).float()")
# %% equivalent="auc" name="a half times a boolean is exact in any floating type"
replace("(a[:, None] == b).double()", "(a[:, None] == b)")


# %% right="auc" name="cumulative weights of the sorted scores"
def weighted_auc(scores, anomaly, w):
    group = torch.unique(scores, return_inverse=True)[1]
    a, b = (torch.bincount(group, w * kind) for kind in (anomaly, ~anomaly))
    if a.sum() == 0 or b.sum() == 0:
        raise ValueError("one kind only")
    return float((a * (b.cumsum(0) - b / 2)).sum() / (a.sum() * b.sum()))


# %% right="auc" name="a tensor of one number, rounded to float32"
replace("/ pairs.sum()).item()", "/ pairs.sum()).float()")

# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="the mean, without noise"
replace("mean + L @ torch.randn(int(m.sum()), generator=generator, dtype=x.dtype)", "mean")
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="the marginal covariance"
replace(" - Sigma[k][m][:, ~m] @ A", "")
# %% wrong="missing" fails="test_far_apart_rows" name="ignores what is observed, once the component is drawn"
replace(" + (row[~m] - mu[k][~m]) @ A", "")
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="draws the component from pi"
replace("e_step_missing(x, log_pi, mu, Sigma)[0]", "log_pi.exp().expand(len(x), -1)")
# %% wrong="missing" fails="test_observed_part" name="holes count as 0"
replace("row[o][None], mu[:, o], Sigma[:, o][:, :, o]", "row.nan_to_num()[None], mu, Sigma")
# %% wrong="missing" fails="test_observed_part" name="holes count as the component's mean"
replace("row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]", "torch.where(o, row, mu), mu, Sigma).diagonal()")
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="L twice"
replace("mean + L @", "mean + L @ L @")
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="each hole by itself"
replace("mean + L @", "mean + L.norm(dim=1) *")
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="L transposed"
replace("mean + L @", "mean + L.T @")
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="one number for all holes of a row"
replace("L @ torch.randn(int(m.sum()),", "L.sum(dim=1) * torch.randn(1,")
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="the likeliest component"
replace(
    "torch.multinomial(e_step_missing(x, log_pi, mu, Sigma)[0], 1, generator=generator)[:, 0]",
    "e_step_missing(x, log_pi, mu, Sigma)[0].argmax(dim=1)",
)
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="too little noise"
replace("mean + L @", "mean + 0.9 * L @")
# %% wrong="missing" fails="test_fillings_follow_the_conditional" name="noise that is not normal"
replace(
    "torch.randn(int(m.sum()), generator=generator, dtype=x.dtype)",
    "math.sqrt(12) * (torch.rand(int(m.sum()), generator=generator, dtype=x.dtype) - 0.5)",
)
# %% equivalent="missing" name="x and joint have as many rows, and strict=False is the default"
replace("zip(x, joint, strict=True)", "zip(x, joint)")
# %% equivalent="missing" name="x and joint have as many rows, so nothing is there to be refused"
replace("zip(x, joint, strict=True)", "zip(x, joint, strict=False)")
# %% equivalent="missing" name="of no coordinate at all the formula of the normal gives log 1 by itself"
replace("if o.any():", "if True:")
# %% equivalent="missing" name="the only row is the last as well as the first"
replace("[:, :, o])[0]", "[:, :, o])[-1]")
# %% equivalent="missing" name="the only draw is the last as well as the first"
replace("generator=generator)[:, 0]", "generator=generator)[:, -1]")
# %% equivalent="missing" name="one component is drawn for each row, and strict=False is the default"
replace("zip(filled, component, strict=True)", "zip(filled, component)")
# %% equivalent="missing" name="one component is drawn for each row, so nothing is there to be refused"
replace("zip(filled, component, strict=True)", "zip(filled, component, strict=False)")
# %% equivalent="missing" name="white noise is symmetric: with its sign turned it follows the same law"
replace("mean + L @", "mean - L @")
# %% right="missing" name="the precision matrix, and roots by eigenvectors"
replace(
    "out += log_normal(row[o][None], mu[:, o], Sigma[:, o][:, :, o])[0]",
    """
C, gap = Sigma[:, o][:, :, o], row[o] - mu[:, o]
out -= 0.5 * ((gap * torch.linalg.solve(C, gap)).sum(dim=1) + (2 * math.pi * C).logdet())
""",
)
replace("torch.linalg.solve(Sigma[k][~m][:, ~m], Sigma[k][~m][:, m])", "torch.linalg.inv(Sigma[k])")
replace("(row[~m] - mu[k][~m]) @ A", "-torch.linalg.solve(A[m][:, m], A[m][:, ~m] @ (row[~m] - mu[k][~m]))")
replace(
    "L = torch.linalg.cholesky(Sigma[k][m][:, m] - Sigma[k][m][:, ~m] @ A)",
    "spread, Q = torch.linalg.eigh(A[m][:, m])\nL = Q / spread.sqrt()",
)

# %% wrong="repair" fails="test_one_step" name="still divides by all pictures"
replace("n[:, None] + 2 * alpha", "len(x) + 2 * alpha")
# %% wrong="repair" fails="test_one_step" name="still multiplies in linear space"
replace(
    "x @ theta.log().T + (1 - x) @ (1 - theta).log().T",
    "(theta ** x[:, None] * (1 - theta) ** (1 - x[:, None])).prod(dim=2).log()",
)
# %% wrong="repair" fails="test_one_step" name="still normalises over the pictures"
replace("joint.softmax(dim=1)", "joint.softmax(dim=0)")
# %% wrong="repair" fails="test_one_step" name="equal shares for all"
replace("joint.softmax(dim=1)", "torch.full_like(joint, 1 / len(log_pi))")
# %% wrong="repair" fails="test_never_falls" name="alpha on one side"
replace("2 * alpha", "alpha")
# %% wrong="repair" fails="test_one_step" name="forgets the shares"
replace("joint = log_pi", "joint = -math.log(len(log_pi))")
# %% wrong="repair" fails="test_one_step" name="moves the coins away from 0 and 1"
replace(
    "x @ theta.log().T + (1 - x) @ (1 - theta).log().T",
    "x @ theta.clamp(0.01).log().T + (1 - x) @ (1 - theta.clamp(max=0.99)).log().T",
)
# %% wrong="repair" fails="test_one_step" name="one largest term for all pictures"
replace(
    "r = joint.softmax(dim=1)", "r = torch.nn.functional.normalize((joint - joint.max()).exp(), p=1, dim=1)"
)
# %% wrong="repair" fails="test_one_step" name="moves the new coins away from 0 and 1"
replace(
    "(r.T @ x + alpha) / (n[:, None] + 2 * alpha)",
    "((r.T @ x + alpha) / (n[:, None] + 2 * alpha)).clamp(1e-6, 1 - 1e-6)",
)
# %% right="repair" name="the logarithm of the side that shows"
replace(
    "x @ theta.log().T + (1 - x) @ (1 - theta).log().T",
    "torch.where(x[:, None] > 0, theta, 1 - theta).log().sum(dim=2)",
)


# %% right="repair" name="both sides counted"
def coin_step(x, log_pi, theta, alpha):
    joint = log_pi + torch.stack(
        [torch.xlogy(x, t).sum(1) + torch.xlogy(1 - x, 1 - t).sum(1) for t in theta], 1
    )
    log_p = joint.logsumexp(dim=1)
    r = (joint - log_p[:, None]).exp()
    ones, zeros = r.T @ x, r.T @ (1 - x)
    return r.mean(dim=0).log(), (ones + alpha) / (ones + zeros + 2 * alpha), log_p


# %% wrong="factors" fails="test_posterior_of_the_factors" name="the posterior's covariance is the prior's"
replace("torch.eye(Q, dtype=x.dtype) - A @ W", "torch.eye(Q, dtype=x.dtype)")
# %% wrong="factors" fails="test_posterior_of_the_factors" name="the deviation for the variance"
replace("s2 * torch.eye(D", "s2**0.5 * torch.eye(D")
# %% wrong="factors" fails="test_posterior_of_the_factors" name="log p under z = m alone"
replace(
    "log_normal(x, torch.zeros(1, D, dtype=x.dtype), covariance[None])[:, 0]",
    "-0.5 * ((x - x @ A.T @ W.T).square().sum(1) / s2 + D * math.log(2 * math.pi * s2))",
)
# %% wrong="factors" fails="test_posterior_of_the_factors" name="subtracts the data's mean"
replace(
    "return x @ A.T, C, log_normal(x,", "return (x - x.mean(dim=0)) @ A.T, C, log_normal(x - x.mean(dim=0),"
)
# %% wrong="factors" fails="test_posterior_of_the_factors" name="least squares: no prior on z"
replace("A = torch.linalg.solve(covariance, W).T", "A = torch.linalg.pinv(W)")
# %% wrong="factors" fails="test_best_parameters_for_given_posteriors" name="regresses on the means alone"
replace("len(x) * C + m.T @ m", "m.T @ m")
# %% wrong="factors" fails="test_best_parameters_for_given_posteriors" name="C once, not for each row"
replace("len(x) * C + m.T @ m", "C + m.T @ m")
# %% wrong="factors" fails="test_best_parameters_for_given_posteriors" name="s2 from the means alone"
replace("(W @ second * W).sum()", "(m @ W.T).square().sum()")
# %% wrong="factors" fails="test_best_parameters_for_given_posteriors" name="s2 is the sum over D"
replace("squares / x.numel()", "squares / len(x)")
# %% wrong="factors" fails="test_the_loop_climbs" name="history after the step"
strike("climb.append(log_p.mean())")
replace(
    "W, s2 = factor_m_step(x, m, C)",
    "W, s2 = factor_m_step(x, m, C); climb.append(factor_e_step(x, W, s2)[2].mean())",
)
# %% wrong="factors" fails="test_the_loop_climbs" name="the sum over the samples"
replace("climb.append(log_p.mean())", "climb.append(log_p.sum())")
# %% wrong="factors" fails="test_the_loop_climbs" name="keeps s2 where it was"
replace("W, s2 = factor_m_step(x, m, C)", "W, _ = factor_m_step(x, m, C)")
# %% wrong="factors" fails="test_the_loop_climbs" name="stops early"
replace("for _ in range(steps):", "for _ in range(min(steps, 10)):")


# %% wrong="factors" fails="test_the_loop_climbs" name="stops where little is gained"
replace(
    "W, s2 = factor_m_step(x, m, C)",
    """
if len(climb) > 1 and climb[-1] - climb[-2] < 1e-6:
    climb += climb[-1:] * (steps - len(climb))
    break
W, s2 = factor_m_step(x, m, C)
""",
)
# %% equivalent="factors" name="0 and 1 are exact in float32; s2 loses digits far below the tolerance of 1e-6"
replace("covariance = W @ W.T + s2 * torch.eye(D, dtype=x.dtype)", "covariance = W @ W.T + s2 * torch.eye(D)")
# %% equivalent="factors" name="0 and 1 are exact in float32, and the difference is in float64 all the same"
replace("C = torch.eye(Q, dtype=x.dtype) - A @ W", "C = torch.eye(Q) - A @ W")
# %% equivalent="factors" name="zeros of float32 are zeros, and the difference is in float64 all the same"
replace("torch.zeros(1, D, dtype=x.dtype)", "torch.zeros(1, D)")
# %% equivalent="factors" name="D components that are alike, of which the first is taken"
replace("torch.zeros(1, D, dtype=x.dtype)", "torch.zeros(D, 1, dtype=x.dtype)")
# %% equivalent="factors" name="the same component twice, of which the first is taken"
replace("torch.zeros(1, D, dtype=x.dtype)", "torch.zeros(2, D, dtype=x.dtype)")
# %% equivalent="factors" name="the only component is the last as well as the first"
replace("covariance[None])[:, 0]", "covariance[None])[:, -1]")
# %% equivalent="factors" name="a millionth more numbers change s2 by less than the tolerance"
replace("return W, squares / x.numel()", "return W, (squares / (x.numel() + 1e-06))")


# %% right="factors" name="the small matrix of the factors, and loops"
def factor_e_step(x, W, s2):
    D, Q = W.shape
    M = W.T @ W + s2 * torch.eye(Q, dtype=x.dtype)
    m = torch.linalg.solve(M, W.T @ x.T).T
    log_det = M.logdet() + (D - Q) * math.log(s2)
    distance = (x.square().sum(1) - (x @ W * m).sum(1)) / s2
    return m, s2 * torch.linalg.inv(M), -0.5 * (distance + log_det + D * math.log(2 * math.pi))


def factor_m_step(x, m, C):
    moments = [C + torch.outer(z, z) for z in m]
    W = sum(torch.outer(a, z) for a, z in zip(x, m, strict=True)) @ torch.linalg.inv(sum(moments))
    left = sum((a - W @ z).square().sum() for a, z in zip(x, m, strict=True)) + len(x) * torch.trace(
        W @ C @ W.T
    )
    return W, left.item() / x.numel()


def fit_factors(x, W, s2, steps):
    history = torch.zeros(steps, dtype=x.dtype)
    for step in range(steps):
        M = W.T @ W + s2 * torch.eye(W.shape[1], dtype=x.dtype)
        history[step] = factor_e_step(x, W, s2)[2].mean()
        m, C = x @ W @ torch.linalg.inv(M), s2 * torch.linalg.inv(M)
        second = len(x) * C + m.T @ m
        W = x.T @ m @ torch.linalg.inv(second)
        s2 = ((x.square().sum() - (x * (m @ W.T)).sum()) / x.numel()).item()
    return W, s2, history
