"""Wrong and other right answers to the lesson on variational autoencoders."""

# %% wrong="kl-normals" fails="test_full_covariances" name="the two exchanged"
replace("(mu_q, L_q, mu_p, L_p)", "(mu_p, L_p, mu_q, L_q)")
# %% wrong="kl-normals" fails="test_full_covariances" name="only the diagonals"
replace("(L_p, L_q", "(L_p.triu(), L_q.triu()")
replace("(L_p, (mu_q", "(L_p.triu(), (mu_q")
# %% wrong="kl-normals" fails="test_full_covariances" name="factors taken for covariances"
replace("A.square().sum(dim=(1, 2))", "A.diagonal(dim1=1, dim2=2).sum(dim=1)")
replace("gap.square().sum(dim=(1, 2))", "(gap[:, :, 0] * (mu_q - mu_p)).sum(dim=1)")
replace(") + log_det", " + log_det)")
# %% wrong="kl-normals" fails="test_full_covariances" name="half of the log-determinants"
replace(") + log_det", " + log_det)")
# %% wrong="kl-normals" fails="test_full_covariances" name="one D too many"
replace("mu_q.shape[1]", "1")
# %% wrong="kl-normals" fails="test_full_covariances" name="the prior for p"
replace("torch.linalg.solve_triangular(L_p, L_q, upper=False)", "L_q")
replace("torch.linalg.solve_triangular(L_p, (mu_q - mu_p)[:, :, None], upper=False)", "mu_q[:, :, None]")
replace("L_p.diagonal(dim1=1, dim2=2).log() - ", "-")
# %% wrong="kl-normals" fails="test_full_covariances" name="the logarithm of a product that underflows"
replace(
    "(L_p.diagonal(dim1=1, dim2=2).log() - L_q.diagonal(dim1=1, dim2=2).log()).sum(dim=1)",
    "(L_p.det() / L_q.det()).log()",
)
# %% right="kl-normals" name="an inverse, and singular values for the determinants"
replace("torch.linalg.solve_triangular(L_p, L_q, upper=False)", "L_p.inverse() @ L_q")
replace("L_p.diagonal(dim1=1, dim2=2).log() - L_q.diagonal(dim1=1, dim2=2)", "-torch.linalg.svdvals(A)")

# %% equivalent="kl-normals" name="the gap is squared, so its sign is lost"
replace("(mu_q - mu_p)", "(mu_p - mu_q)")

# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="forgets the 2 in the logarithm"
replace("(2 * u).log(), -(2 * (1 - u)).log()", "u.log(), -(1 - u).log()")
# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="turned round"
replace("mu + s.exp() * e", "mu - s.exp() * e")
# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="a normal"
replace("torch.where(u < 0.5, (2 * u).log(), -(2 * (1 - u)).log())", "torch.special.ndtri(u)")
replace("-e.abs() - s - math.log(2)", "-(e**2) / 2 - s - math.log(2 * math.pi) / 2")
# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="s taken for b"
replace("s.exp() * e, -e.abs() - s", "s * e, -e.abs() - s.abs().log()")
# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="u of its own"
replace("u < 0.5", "(u := torch.rand_like(u)) < 0.5")
# %% wrong="laplace" fails="test_inverse_of_the_distribution_function" name="the density without its width"
replace("-e.abs() - s", "-e.abs()")
# %% right="laplace" name="by the smaller tail"
replace("(2 * u).log(), -(2 * (1 - u)).log()", "(tail := (2 * u.minimum(1 - u)).log()), -tail")

# %% right="laplace" name="both in one tensor"
replace(
    "return mu + s.exp() * e, -e.abs() - s - math.log(2)",
    "return torch.stack([mu + s.exp() * e, -e.abs() - s - math.log(2)])",
)

# %% equivalent="laplace" name="at a half both branches give zero, with the same gradients"
replace("u < 0.5", "u <= 0.5")

# %% wrong="grey-levels" fails="test_levels_add_up" name="no mass beyond the ends"
replace("middle = F", "return F")
# %% wrong="grey-levels" fails="test_far_and_wide" name="the difference of sigmoids"
replace("F.logsigmoid(a) + F.logsigmoid(-b) + (-torch.expm1(-width))", "(a.sigmoid() - b.sigmoid())")
# %% wrong="grey-levels" fails="test_far_and_wide" name="a floor under the difference"
replace("F.logsigmoid(a) + F.logsigmoid(-b) + (-torch.expm1(-width))", "(a.sigmoid() - b.sigmoid() + 1e-12)")
# %% wrong="grey-levels" fails="test_levels_add_up" name="the density in the middle"
replace("F.logsigmoid(a) + F.logsigmoid(-b)", "F.logsigmoid((a + b) / 2) + F.logsigmoid(-(a + b) / 2)")
replace("+ (-torch.expm1(-width)).log()", "- s")
# %% wrong="grey-levels" fails="test_levels_add_up" name="seventeen levels always"
replace("x == K - 1", "x == 16")
# %% wrong="grey-levels" fails="test_levels_add_up" name="the ends exchanged"
replace("x == 0, F.logsigmoid(a), torch.where(x == K - 1", "x == K - 1, F.logsigmoid(a), torch.where(x == 0")
# %% wrong="grey-levels" fails="test_levels_add_up" name="edges a whole level wide"
replace("(x + 0.5 - m) * width, (x - 0.5 - m)", "(x + 1 - m) * width, (x - 1 - m)")
replace("expm1(-width)", "expm1(-2 * width)")
# %% right="grey-levels" name="one logsumexp of four terms"
replace("F.logsigmoid(a) + F.logsigmoid(-b)", "-torch.stack([0 * a, b, -a, -width]).logsumexp(0)")

# %% wrong="jackknife" fails="test_leave_one_out" name="the plain bound"
replace("k * full - (k - 1) * rest.mean(dim=0)", "full")
# %% wrong="jackknife" fails="test_leave_one_out" name="still divides by k"
replace("math.log(k - 1)", "math.log(k)")
# %% wrong="jackknife" fails="test_leave_one_out" name="leaves out the last only"
replace("rest.mean(dim=0)", "rest[-1]")
# %% wrong="jackknife" fails="test_leave_one_out" name="averages in linear space"
replace("rest.mean(dim=0)", "(torch.logsumexp(rest, dim=0) - math.log(k))")
# %% wrong="jackknife" fails="test_log_space" name="exponents as they come, a floor under the sum"
replace("torch.logsumexp(log_w, dim=0)", "(log_w.exp().sum(dim=0) + 1e-30).log()")
# %% wrong="jackknife" fails="test_leave_one_out" name="both weights one too small"
replace("k * full - (k - 1) * rest", "(k - 1) * full - (k - 2) * rest")
# %% right="jackknife" name="subtracts from the sum"
replace("rest.mean", "(full + torch.log1p(-(log_w - full).exp() / k) - math.log(1 - 1 / k)).mean")
# %% right="jackknife" name="a loop over what is left out"
replace(
    "rest = torch.logsumexp(log_w.expand(k, -1, -1).masked_fill(own, -math.inf), dim=1) - math.log(k - 1)",
    "rest = torch.stack([log_w[torch.arange(k) != i].logsumexp(0) for i in range(k)]) - math.log(k - 1)",
)

# %% wrong="slerp" fails="test_even_pace" name="the straight line"
replace("(way.cos() * u + way.sin() * side) * torch.lerp(norm_a, norm_b", "torch.lerp(a, b")
# %% wrong="slerp" fails="test_even_pace" name="the straight line, with its length put right"
replace("(way.cos() * u + way.sin() * side)", "F.normalize(torch.lerp(u, v, t[:, None]), dim=1)")
# %% wrong="slerp" fails="test_parallel_rows" name="divides by the sine of the angle"
replace("way.cos() * u", "(angle - way).sin() * u")
replace("way.sin() * side)", "way.sin() * v) / angle.sin()")
# %% wrong="slerp" fails="test_even_pace" name="one angle for the whole batch"
replace("way = angle * t", "way = angle.mean() * t")
# %% wrong="slerp" fails="test_even_pace" name="the angle from its cosine"
replace("2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))", "(u * v).sum(dim=1).clamp(-1, 1).acos()")
# %% wrong="slerp" fails="test_even_pace" name="t turned round"
replace("(a, b, t)", "(b, a, t)")
# %% wrong="slerp" fails="test_even_pace" name="the length of a throughout"
replace("torch.lerp(norm_a, norm_b, t[:, None])", "norm_a")


# %% right="slerp" name="as complex numbers in the plane that a and b span"
def slerp_batch(a, b, t):
    plane, R = torch.linalg.qr(torch.stack([a, b], dim=2))
    a, b = torch.complex(R[:, 0], R[:, 1]).unbind(dim=1)
    z = torch.polar(torch.lerp(a.abs(), b.abs(), t), a.angle() + t * (b * a.conj()).angle())
    return (plane @ torch.view_as_real(z)[:, :, None])[:, :, 0]


# %% equivalent="slerp" name="the length of the gap does not depend on its sign"
replace("(u - v).norm(dim=1), (u", "(v - u).norm(dim=1), (u")
# %% equivalent="slerp" name="dim=1 is the default"
replace("keepdim=True), dim=1)", "keepdim=True))")

# %% wrong="repair" fails="test_value" name="still the mean over pixels"
replace("flatten(1).sum(dim=1)", "flatten(1).mean(dim=1)")
# %% wrong="repair" fails="test_value" name="still the variance for the deviation"
replace("(0.5 * log_var).exp()", "log_var.exp()")
# %% wrong="repair" fails="test_sure_decoders" name="the logarithm of a clamped sigmoid"
replace("_with_logits(decode(z)", "(decode(z).sigmoid().clamp(0.01, 0.99)")
# %% wrong="repair" fails="test_value" name="sums over the batch as well"
replace("(cost + kl).mean()", "(cost + kl).sum()")
# %% wrong="repair" fails="test_value" name="both terms by means"
replace("cost + kl", "cost / x[0].numel() + kl / mu.shape[1]")
# %% wrong="repair" fails="test_value" name="the KL rewarded"
replace("cost + kl", "cost - kl")
# %% wrong="repair" fails="test_value" name="no noise"
replace("decode(z)", "decode(mu)")
# %% right="repair" name="the softplus of the logit that speaks against x"
replace(
    'cost = F.binary_cross_entropy_with_logits(decode(z), x, reduction="none").flatten(1).sum(dim=1)',
    "cost = F.softplus((1 - 2 * x) * decode(z)).flatten(1).sum(dim=1)",
)

# %% right="repair" name="a tensor of shape (1,)"
replace("(cost + kl).mean()", "(cost + kl).mean(dim=0, keepdim=True)")

# %% wrong="counts" fails="test_bound_of_a_draw" name="without the factorials"
replace(" - torch.lgamma(x + 1)", "")
# %% wrong="counts" fails="test_bound_of_a_draw" name="the factorial of x - 1"
replace("lgamma(x + 1)", "lgamma(x.clamp(min=1))")
# %% wrong="counts" fails="test_bound_of_a_draw" name="the decoder gives the rates"
replace("x * log_rate - log_rate.exp()", "x * log_rate.abs().log() - log_rate.abs()")
# %% wrong="counts" fails="test_bound_of_a_draw" name="the variance for the deviation"
replace("(0.5 * log_var).exp()", "log_var.exp()")
# %% wrong="counts" fails="test_bound_of_a_draw" name="the mean over counts"
replace("torch.lgamma(x + 1)).sum(dim=1)", "torch.lgamma(x + 1)).mean(dim=1)")
# %% wrong="counts" fails="test_bound_of_a_draw" name="the divergence added"
replace("reconstruction - 0.5", "reconstruction + 0.5")
# %% wrong="counts" fails="test_bound_of_a_draw" name="no noise"
replace("mu + (0.5 * log_var).exp() * eps", "mu")
# %% wrong="counts" fails="test_mean_of_draws_is_a_bound" name="the noise is not let through"
replace("decoder(mu + (0.5 * log_var).exp() * eps)", "decoder((mu + (0.5 * log_var).exp() * eps).detach())")
# %% wrong="counts" fails="test_one_step" name="gradients add up"
strike("optimiser.zero_grad()")
# %% wrong="counts" fails="test_training_finds_the_law" name="down the bound"
replace("(-elbo).backward()", "elbo.backward()")
# %% wrong="counts" fails="test_one_step" name="the sum over the batch"
replace("encoder, decoder, eps).mean()", "encoder, decoder, eps).sum()")


# %% wrong="counts" fails="test_bound_of_a_draw" name="log variances clamped"
replace("encoder(x).chunk(2, dim=1)", "encoder(x).clamp(-10, 10).chunk(2, dim=1)")
# %% wrong="counts" fails="test_one_step" name="the bound comes back with its gradient"
replace("return elbo.detach()", "return elbo")
# %% wrong="counts" fails="test_one_step" name="a rate of its own instead of the optimiser's"
replace(
    "optimiser.step()", "[p.data.sub_(0.01 * p.grad) for g in optimiser.param_groups for p in g['params']]"
)
# %% wrong="counts" fails="test_one_step" name="noise of the default type"
replace("generator=generator, dtype=x.dtype)", "generator=generator)")


# %% right="counts" name="torch.distributions"
def count_elbo(x, encoder, decoder, eps):
    mu, log_var = encoder(x).tensor_split(2, dim=-1)
    q = torch.distributions.Normal(mu, log_var.div(2).exp())
    p = torch.distributions.Poisson(decoder(q.loc + q.scale * eps).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return p.log_prob(x).sum(-1) - torch.distributions.kl_divergence(q, prior).sum(-1)


def count_step(x, encoder, decoder, optimiser, generator):
    eps = torch.randn(len(x), encoder(x).shape[1] // 2, generator=generator, dtype=x.dtype)
    loss = -count_elbo(x, encoder, decoder, eps).sum() / len(x)
    optimiser.zero_grad(set_to_none=False)
    loss.backward()
    optimiser.step()
    return -loss.item()


# %% right="counts" name="the library's Poisson loss, with a correction"
replace(
    "reconstruction = (x * log_rate - log_rate.exp() - torch.lgamma(x + 1)).sum(dim=1)",
    'reconstruction = -(F.poisson_nll_loss(log_rate, x, reduction="none") + torch.lgamma(x + 1)).sum(dim=1)',
)
