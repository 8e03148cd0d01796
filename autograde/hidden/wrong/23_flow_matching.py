"""Wrong and other right answers to lesson 23_flow_matching."""

# %% wrong="path-ends" fails="test_any_path" name="this lesson's path, whatever is given"
replace("d_sigma * x_t - sigma * u, alpha * u - d_alpha * x_t", "x_t - sigma * u, x_t + (1 - sigma) * u")
# %% wrong="path-ends" fails="test_any_path" name="the determinant's sign"
replace("alpha * d_sigma - sigma * d_alpha", "alpha * d_sigma + sigma * d_alpha")
# %% wrong="path-ends" fails="test_any_path" name="forgets to divide by the determinant"
replace("(a / det)", "a")
# %% wrong="path-ends" fails="test_any_path" name="divides by sigma"
replace("alpha * d_sigma - sigma * d_alpha", "alpha * d_sigma / sigma - d_alpha")
replace("(a / det)", "(a / sigma / det)")
# %% wrong="path-ends" fails="test_any_path" name="one path for the whole batch"
replace("(a / det)", "(a / det)[:1]")
# %% wrong="path-ends" fails="test_any_path" name="swaps the ends"
replace(
    "d_sigma * x_t - sigma * u, alpha * u - d_alpha * x_t",
    "alpha * u - d_alpha * x_t, d_sigma * x_t - sigma * u",
)
# %% wrong="path-ends" fails="test_any_path" name="almost the same is the same"
replace("(det == 0)", "(det.abs() < 1e-6)")
# %% wrong="path-ends" fails="test_any_path" name="an epsilon beside the determinant"
replace("(a / det)", "(a / (det + 1e-9))")
# %% wrong="path-ends" fails="test_any_path" name="everything in float64"
replace("(a / det)", "(a / det).double()")
# %% wrong="path-ends" fails="test_no_answer_is_said" name="what is close is refused, too"
replace("(det == 0).any()", "torch.isclose(alpha * d_sigma, sigma * d_alpha).any()")
# %% wrong="path-ends" fails="test_no_answer_is_said" name="lets through what shows nothing of one end"
replace("(det == 0).any()", "((det == 0) & (d_alpha * d_sigma != 0)).any()")


# %% right="path-ends" name="a 2 x 2 system for each example"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    system = torch.stack([alpha, sigma, d_alpha, d_sigma], dim=1).reshape(-1, 2, 2)
    if (alpha * d_sigma == sigma * d_alpha).any():
        raise ValueError("no answer")
    ends = torch.linalg.solve(system, torch.stack([x_t, u], dim=1).reshape(len(u), 2, -1))
    return ends[:, 0].reshape(x_t.shape), ends[:, 1].reshape(x_t.shape)


# %% right="path-ends" name="the rank, and a system for each example"
def path_ends(x_t, u, alpha, sigma, d_alpha, d_sigma):
    system = torch.stack([alpha, sigma, d_alpha, d_sigma], dim=1).reshape(-1, 2, 2)
    if (torch.linalg.matrix_rank(system) < 2).any():
        raise ValueError("no answer")
    ends = torch.linalg.solve(system, torch.stack([x_t, u], dim=1).reshape(len(u), 2, -1))
    return tuple(end.reshape(x_t.shape) for end in ends.unbind(1))


# %% right="path-ends" name="both ends in one tensor"
replace(
    "return d_sigma * x_t - sigma * u, alpha * u - d_alpha * x_t",
    "return torch.stack([d_sigma * x_t - sigma * u, alpha * u - d_alpha * x_t])",
)

# %% wrong="mixture-velocity" fails="test_any_dimension" name="ignores the shares"
replace("log_p = log_pi - 0.5", "log_p = -0.5")
# %% wrong="mixture-velocity" fails="test_any_dimension" name="forgets the determinant"
replace("(gap.square() / v + v.log())", "(gap.square() / v)")
# %% wrong="mixture-velocity" fails="test_points_and_many_dimensions" name="in linear space"
replace("log_p.softmax(dim=1)", "(log_p.exp() / log_p.exp().sum(dim=1, keepdim=True))")
# %% wrong="mixture-velocity" fails="test_any_dimension" name="the shares of the data for those at x"
replace("log_p.softmax(dim=1)[:, :, None]", "log_pi.exp()[:, None]")
# %% wrong="mixture-velocity" fails="test_any_dimension" name="deviations for variances"
replace("v = (1 - t) ** 2 * c + t**2  # (K, D)", "c = c**2\nv = (1 - t) ** 2 * c + t**2")
# %% wrong="mixture-velocity" fails="test_any_dimension" name="time the other way"
replace("v = (1 - t) ** 2 * c + t**2  # (K, D)", "t = 1 - t\nv = (1 - t) ** 2 * c + t**2")
# %% wrong="mixture-velocity" fails="test_any_dimension" name="x_0 from x and the noise: divides by 1 - t"
replace("(t - (1 - t) * c) / v * gap - mu", "(t / v * gap - x[:, None]) / (1 - t)")

# %% wrong="mixture-velocity" fails="test_points_and_many_dimensions" name="an epsilon beside the variance"
replace("+ t**2  # (K, D)", "+ t**2 + 1e-10")
# %% wrong="mixture-velocity" fails="test_any_dimension" name="the square multiplied out"
replace("gap.square() / v", "(x[:, None] ** 2 - 2 * (1 - t) * x[:, None] * mu + ((1 - t) * mu) ** 2) / v")
# %% wrong="mixture-velocity" fails="test_points_and_many_dimensions" name="-10,000 for -inf"
replace("log_p = log_pi -", "log_p = log_pi.clamp(min=-1e4) -")

# %% equivalent="mixture-velocity" name="a square loses the sign"
replace("(1 - t) ** 2", "(t - 1) ** 2")


# %% wrong="mixture-velocity" fails="test_any_dimension" name="one Gaussian of the same mean and variance"
def mixture_velocity(x, t, log_pi, mu, c):
    mean = log_pi.exp() @ mu
    c = log_pi.exp() @ (c + (mu - mean) ** 2)
    return (t - (1 - t) * c) / ((1 - t) ** 2 * c + t**2) * (x - (1 - t) * mean) - mean


# %% right="mixture-velocity" name="torch's density; noise and data apart"
replace("- 0.5 * (gap.square() / v + v.log())", "+ torch.distributions.Normal(0, v.sqrt()).log_prob(gap)")
replace("(t - (1 - t) * c) / v * gap - mu", "t / v * gap - (mu + (1 - t) * c / v * gap)")

# %% wrong="butcher" fails="test_any_table" name="all stages at the start of the step"
replace("t + c[i] * h", "t")
# %% wrong="butcher" fails="test_any_table" name="only the stage before"
replace("for j in range(i))", "for j in range(i)[-1:])")
# %% wrong="butcher" fails="test_any_table" name="the size of the step without its sign"
replace("s = len(b)", "s, h = len(b), abs(h)")
# %% wrong="butcher" fails="test_any_table" name="columns for rows"
replace("sum(A[i][j] * k[j]", "sum(A[j][i] * k[j]")
# %% wrong="butcher" fails="test_any_table" name="weights brought to the sum 1"
replace("zip(b, k, strict=True))", "zip(b, k, strict=True)) / sum(b)")
# %% wrong="butcher" fails="test_any_table" name="times from the rows"
replace("t + c[i] * h", "t + sum(A[i]) * h")
# %% wrong="butcher" fails="test_any_table" name="RK4, whatever the table"
replace("k = []", "return rk4(u, x, t, h)")

# %% wrong="butcher" fails="test_any_table" name="stages of weight 0 are left out"
replace("k.append(u(x +", "k.append(0 * x if b[i] == 0 and i else u(x +")
# %% wrong="butcher" fails="test_stages_and_refusals" name="stages that no other needs are left out"
replace("k.append(u(x +", "k.append(0 * x if not (b[i] or any(row[i] for row in A)) else u(x +")
# %% wrong="butcher" fails="test_stages_and_refusals" name="what stands above the diagonal summed"
replace("any(A[i][j] != 0 for i in range(s)", "sum(A[i][j] for i in range(s)")
replace("in range(i, s))", "in range(i, s)) != 0")
# %% wrong="butcher" fails="test_stages_and_refusals" name="only numbers above 0 are refused"
replace("A[i][j] != 0", "A[i][j] > 0")
# %% wrong="butcher" fails="test_any_table" name="a step in float64, whatever x is"
replace("return x + h", "return x + torch.tensor([h], dtype=torch.float64)")

# %% equivalent="butcher" name="there are as many slopes as weights anyhow"
replace("zip(b, k, strict=True)", "zip(b, k)")
# %% equivalent="butcher" name="there are as many slopes as weights: nothing to be strict about"
replace("strict=True", "strict=False")
# %% equivalent="butcher" name="a product, whose factors may change places"
replace("zip(b, k, strict=True)", "zip(k, b, strict=True)")


# %% right="butcher" name="slopes in one tensor"
def rk_step(u, x, t, h, A, b, c):
    A, b = (torch.as_tensor(table, dtype=x.dtype) for table in (A, b))
    if A.triu().any():
        raise ValueError("implicit")
    k = torch.zeros(len(b), *x.shape, dtype=x.dtype)
    for i in range(len(b)):
        k[i] = u(x + h * torch.tensordot(A[i], k, 1), t + c[i] * h)
    return x + h * torch.tensordot(b, k, 1)


# %% right="butcher" name="slopes kept in float32"
replace(
    "k.append(u(x + h * sum(A[i][j] * k[j] for j in range(i)), t + c[i] * h))",
    "k.append(u(x + h * sum(A[i][j] * k[j] for j in range(i)), t + c[i] * h).float())",
)

# %% wrong="entropic-plan" fails="test_small_entropy_and_no_weight" name="rows summed in linear space"
replace("(K + g).logsumexp(dim=1)", "(K + g).exp().sum(dim=1).log()")
# %% wrong="entropic-plan" fails="test_small_entropy_and_no_weight" name="linear, with an epsilon against 0"
replace("(K + g).logsumexp(dim=1)", "((K + g).exp().sum(dim=1) + 1e-8).log()")
replace("(K + f[:, None]).logsumexp(dim=0)", "((K + f[:, None]).exp().sum(dim=0) + 1e-8).log()")
# %% wrong="entropic-plan" fails="test_the_best_plan" name="rows only"
strike("g = log_b - (K + f[:, None]).logsumexp(dim=0)")
# %% wrong="entropic-plan" fails="test_the_best_plan" name="the independent plan"
replace("(K + f[:, None] + g).exp()", "a[:, None] * b / a.sum()")
# %% wrong="entropic-plan" fails="test_the_best_plan" name="multiplies by rho"
replace("-C / rho", "-C * rho")
# %% wrong="entropic-plan" fails="test_the_best_plan" name="all weights alike"
replace("a.log(), b.log()", "-math.log(len(a)), -math.log(len(b))")
# %% wrong="entropic-plan" fails="test_the_best_plan" name="one round"
replace("range(rounds)", "range(1)")
# %% wrong="entropic-plan" fails="test_the_best_plan" name="at least 100 rounds"
replace("range(rounds)", "range(max(rounds, 100))")
# %% wrong="entropic-plan" fails="test_the_best_plan" name="rows and columns at the same time"
replace("(K + f[:, None]).logsumexp", "(K + (f if _ == 0 else old)[:, None]).logsumexp")
replace("f = log_a", "old = f if _ else None; f = log_a")
# %% wrong="entropic-plan" fails="test_small_entropy_and_no_weight" name="weights of 0 by an epsilon"
replace("a.log(), b.log()", "(a + 1e-30).log(), (b + 1e-30).log()")


# %% wrong="entropic-plan" fails="test_small_entropy_and_no_weight" name="linear, less each row's least cost"
def entropic_plan(C, a, b, rho, rounds):
    K, v = ((C.amin(dim=1, keepdim=True) - C) / rho).exp(), torch.ones_like(b)
    for _ in range(rounds):
        u = a / (K @ v)
        v = b / (K.T @ u)
    return (u[:, None] * K * v).nan_to_num()


# %% equivalent="entropic-plan" name="a number added to all of g is taken from all of f, and P is the same"
replace("torch.zeros_like(b)", "torch.ones_like(b)")


# %% right="entropic-plan" name="rescales the plan in log space, and leaves out what has no weight"
def entropic_plan(C, a, b, rho, rounds):
    i, j = (a > 0).nonzero(), (b > 0).nonzero()[:, 0]
    log_P = -C[i, j] / rho
    for _ in range(rounds):
        log_P = log_P.log_softmax(dim=1) + a[i].log()
        log_P = log_P.log_softmax(dim=0) + b[j].log()
    return torch.zeros_like(C).index_put((i, j), log_P.exp())


# %% wrong="straightness" fails="test_slow_sum" name="moments taken for even"
replace("times.diff().abs()", "times.diff().abs().mean().expand(len(times) - 1)")
# %% wrong="straightness" fails="test_slow_sum" name="length for action"
replace("(places.diff(dim=0).square().sum(dim=2) / dt[:, None])", "places.diff(dim=0).norm(dim=2)")
replace(".square().sum(dim=1) / dt.sum()", ".norm(dim=1)")
# %% wrong="straightness" fails="test_slow_sum" name="one share for all paths"
replace("1 - least / action", "1 - least.sum() / action.sum()")
# %% wrong="straightness" fails="test_slow_sum" name="total time 1"
replace(".sum(dim=1) / dt.sum()", ".sum(dim=1)")
# %% wrong="straightness" fails="test_slow_sum" name="multiplies by the time"
replace("/ dt[:, None]", "* dt[:, None]")
# %% wrong="straightness" fails="test_what_does_not_matter" name="an epsilon against 0 / 0"
replace("torch.where(action > 0, 1 - least / action, 0.0)", "(action - least) / (action + 1e-6)")
# %% wrong="straightness" fails="test_slow_sum" name="rising times not thought of"
replace("times.diff().abs()", "-times.diff()")
# %% wrong="straightness" fails="test_what_does_not_matter" name="moments in float32"
replace("times.diff()", "times.float().diff()")
# %% wrong="straightness" fails="test_what_does_not_matter" name="a little action is none"
replace("action > 0", "action > 1e-14")
# %% equivalent="straightness" name="a square loses the sign"
replace("(places[-1] - places[0])", "(places[0] - places[-1])")

# %% right="straightness" name="the action of what differs from the straight walk"
replace(
    "least = (places[-1] - places[0]).square().sum(dim=1) / dt.sum()",
    "off = places.diff(dim=0) - (places[-1] - places[0]) * (dt / dt.sum())[:, None, None]",
)
replace("1 - least / action", "(off.square().sum(dim=2) / dt[:, None]).sum(dim=0) / action")

# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="the divergence with the wrong sign"
replace("total[m] += h", "total[m] -= h")
# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="the noise's density at the data"
replace("x.square() + math.log(2 * math.pi)", "x_0.square() + math.log(2 * math.pi)")
# %% wrong="hutchinson" fails="test_order" name="Euler's method"
replace("half = x + h / 2 * u(x, torch.tensor(n * h, dtype=x.dtype))", "half = x")
replace("(n + 0.5) * h", "n * h")
# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="the mean over the probes"
replace("return total - 0.5", "return total.mean(dim=0).expand_as(total) - 0.5")
# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="sums the gradient without the probe"
replace("(row * v[m]).sum(dim=1)", "row.sum(dim=1)")
# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="steps back in time"
replace("h, x, total = 1 / steps", "h, x, total = -1 / steps")
# %% wrong="hutchinson" fails="test_order" name="the clock runs from noise to data"
replace("for n in range(steps):", "for n in reversed(range(steps)):")
# %% wrong="hutchinson" fails="test_order" name="at least 100 steps"
replace("steps, x_0, torch.zeros_like(v[..., 0])", "max(steps, 100), x_0, torch.zeros_like(v[..., 0])")
replace("for n in range(steps):", "for n in range(max(steps, 100)):")

# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="a result with a graph"
replace("retain_graph=True", "create_graph=True")
replace("total[m] += h", "total = total + 0; total[m] += h")

# %% equivalent="hutchinson" name="all coordinates of the probes have the same shape"
replace("v[..., 0]", "v[..., -1]")
# %% equivalent="hutchinson" name="memory only: the graph of the first half step is dropped by detach"
replace("torch.no_grad()", "torch.enable_grad()")
# %% equivalent="hutchinson" name="a middle off by a quarter of a millionth of a step, far below its error"
replace("h / 2 * u", "h / (2 + 1e-06) * u")
# %% equivalent="hutchinson" name="rounding only: the time at a step's start in float32"
replace("torch.tensor(n * h, dtype=x.dtype)", "torch.tensor(n * h)")
# %% equivalent="hutchinson" name="what was computed without gradients has no graph"
replace("half.detach().requires_grad_(True)", "half.requires_grad_(True)")
# %% equivalent="hutchinson" name="rounding only: the time in the middle in float32"
replace("torch.tensor((n + 0.5) * h, dtype=x.dtype)", "torch.tensor((n + 0.5) * h)")
# %% equivalent="hutchinson" name="of one gradient the last is the first"
replace("retain_graph=True)[0]", "retain_graph=True)[-1]")


# %% wrong="hutchinson" fails="test_each_probe_of_a_linear_flow" name="the exact trace, whatever the probes"
def log_p_hutchinson(u, x_0, v, steps):
    return log_likelihood(u, x_0, steps).detach().expand(len(v), -1)


# %% right="hutchinson" name="Heun, all probes in one batch"
def log_p_hutchinson(u, x_0, v, steps):
    def rates(x, t):
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            k = u(x, t)
            rows = torch.autograd.grad(k, x, v, is_grads_batched=True)[0]
        return k.detach(), (rows * v).sum(dim=2)

    x, total, h = x_0, 0.0, 1 / steps
    for n in range(steps):
        k_1, d_1 = rates(x, n * h)
        k_2, d_2 = rates(x + h * k_1, (n + 1) * h)
        x, total = x + h / 2 * (k_1 + k_2), total + h / 2 * (d_1 + d_2)
    return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=1) + total


# %% wrong="repair" fails="test_guidance" name="the sign is left"
replace("x_t = x_t - (u_any", "x_t = x_t + (u_any")
# %% wrong="repair" fails="test_guidance" name="the clock is left"
replace("now = 1 - k / steps", "now = k / steps")
# %% wrong="repair" fails="test_guidance" name="guidance away from the class is left"
replace("u_class, u_any = net", "u_any, u_class = net")
# %% wrong="repair" fails="test_guidance" name="fresh noise as the partner is left"
replace("return x_t, x_1", "return x_t, torch.randn_like(x_1)")
# %% wrong="repair" fails="test_guidance" name="one unit of guidance too many"
replace("(w if inside else 1)", "(w + 1 if inside else 1)")
# %% wrong="repair" fails="test_guidance" name="each step at the time of its end"
replace("1 - k / steps", "1 - (k + 1) / steps")
# %% wrong="repair" fails="test_guidance" name="the noise is overwritten"
replace("x_t = x_t - (u_any", "x_t -= (u_any")
# %% wrong="repair" fails="test_guidance" name="times always float64"
replace("dtype=x_1.dtype", "dtype=torch.float64")
# %% wrong="repair" fails="test_guidance" name="one time for the whole batch"
replace("(len(y),)", "(1,)")
# %% wrong="repair" fails="test_guidance_in_an_interval" name="guidance 0 for none"
replace("(w if inside else 1)", "(w or 1 if inside else 1)")
# %% equivalent="repair" name="on the CPU, where the exercise's tensors are, tensors are made anyhow"
replace(", device=x_1.device", "")

# %% right="repair" name="two branches in one batch"
replace(
    "net(x_t, t, y), net(x_t, t, nothing)",
    "net(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, nothing])).chunk(2)",
)

# %% right="repair" name="the pairs in one tensor"
replace("return x_t, x_1", "return torch.stack([x_t, x_1])")

# %% wrong="bridge" fails="test_loss" name="forgets that the noise's share moves, too"
replace("x_1 - x_0 + c * (1 - 2 * s) * z", "x_1 - x_0")
# %% wrong="bridge" fails="test_loss" name="the direction of the chapter's clock"
replace("x_1 - x_0 + c", "x_0 - x_1 + c")
# %% wrong="bridge" fails="test_loss" name="a wrong derivative"
replace("(1 - 2 * s)", "(1 - s)")
# %% wrong="bridge" fails="test_loss" name="the mean over coordinates"
replace(".sum(dim=1).mean()", ".mean()")
# %% wrong="bridge" fails="test_loss" name="one time for the whole batch"
replace("torch.rand(len(x_0), generator=generator", "torch.rand(1, generator=generator")
replace("c * s * (1 - s) * z, t)", "c * s * (1 - s) * z, t.expand(len(x_0)))")
# %% wrong="bridge" fails="test_loss" name="one noise for the whole batch"
replace("torch.randn(x_0.shape, generator", "torch.randn(x_0.shape[1:], generator")
# %% wrong="bridge" fails="test_loss" name="fresh noise as the second target"
replace("(z_net - z)", "(z_net - torch.randn(z.shape, generator=generator, dtype=z.dtype))")
# %% wrong="bridge" fails="test_loss" name="the velocity alone"
replace(" + (z_net - z) ** 2", "")
# %% wrong="bridge" fails="test_loss" name="nothing to learn from"
replace("((u - target) ** 2", "((u.detach() - target) ** 2")
# %% wrong="bridge" fails="test_sampler" name="the push with the sign of the step"
replace("- abs(h) * eta * z_net", "- h * eta * z_net")
# %% wrong="bridge" fails="test_sampler" name="the push up is a push down"
replace("- abs(h) * eta", "+ abs(h) * eta")
# %% wrong="bridge" fails="test_sampler" name="noise without a push"
replace(" - abs(h) * eta * z_net", "")
# %% wrong="bridge" fails="test_sampler" name="half of the variance"
replace("(2 * D * abs(h))", "(D * abs(h))")
# %% wrong="bridge" fails="test_sampler" name="the variance for the deviation"
replace("(2 * D * abs(h)) ** 0.5", "(2 * D * abs(h))")
# %% wrong="bridge" fails="test_sampler" name="each step at the time of its end"
replace(
    "t = k / steps if not back else 1 - k / steps", "t = (k + 1) / steps if not back else 1 - (k + 1) / steps"
)
# %% wrong="bridge" fails="test_sampler" name="the clock runs forward on the way back"
replace("t = k / steps if not back else 1 - k / steps", "t = k / steps")
# %% wrong="bridge" fails="test_sampler" name="the same noise in every step"
replace("noise = torch.randn(x.shape", "noise = noise if k else torch.randn(x.shape")


# %% wrong="bridge" fails="test_loss" name="times spread evenly over the rows"
replace(
    "t = torch.rand(len(x_0), generator=generator, dtype=x_0.dtype)",
    "t = torch.rand(len(x_0), generator=generator, dtype=x_0.dtype)\n"
    "t = (t + torch.randperm(len(t), generator=generator)) / len(t)",
)
# %% wrong="bridge" fails="test_loss" name="times in mirrored pairs"
replace(
    "t = torch.rand(len(x_0), generator=generator, dtype=x_0.dtype)",
    "t = torch.rand((len(x_0) + 1) // 2, generator=generator, dtype=x_0.dtype)\n"
    "t = torch.cat([t, 1 - t])[: len(x_0)]",
)
# %% wrong="bridge" fails="test_loss" name="times not near the ends"
replace("s = t[:, None]", "t = 1e-3 + (1 - 2e-3) * t\ns = t[:, None]")
# %% wrong="bridge" fails="test_loss" name="a row's loss is bounded"
replace(".sum(dim=1).mean()", ".sum(dim=1).clamp(max=1e3).mean()")
# %% wrong="bridge" fails="test_loss" name="noise in mirrored pairs"
replace("s = t[:, None]", "z = torch.cat([z[: (len(z) + 1) // 2], -z])[: len(z)]\ns = t[:, None]")
# %% wrong="bridge" fails="test_sampler" name="points are kept within 1,000"
replace("D = eta * c * t * (1 - t)", "D = eta * c * t * (1 - t)\nx = x.clamp(-1e3, 1e3)")
# %% wrong="bridge" fails="test_sampler" name="noise in mirrored pairs of steps"
replace("D = eta * c * t * (1 - t)", "D = eta * c * t * (1 - t)\nbefore = noise if k % 2 else 0")
replace("** 0.5 * noise", "** 0.5 * (-before if k % 2 else noise)")


# %% right="bridge" name="times and noise of float32, the squares by einsum, the net asked for each answer"
replace(
    "t = torch.rand(len(x_0), generator=generator, dtype=x_0.dtype)",
    "t = torch.rand(len(x_0), generator=generator).double()",
)
replace(
    "return ((u - target) ** 2 + (z_net - z) ** 2).sum(dim=1).mean()",
    "errors = torch.cat([u - target, z_net - z], dim=1)\n"
    'return torch.einsum("bd,bd->", errors, errors) / len(errors)',
)
replace(
    "u, z_net = net((1 - s) * x_0 + s * x_1 + c * s * (1 - s) * z, t)",
    "x = (1 - s) * x_0 + s * x_1 + c * s * (1 - s) * z\nu, z_net = net(x, t)[0], net(x, t)[1]",
)
# %% right="bridge" name="all noise in one draw, time that adds up"
replace(
    "h = (-1 if back else 1) / steps",
    "h = (-1 if back else 1) / steps\n"
    "every, t = torch.randn(steps, *x.shape, generator=generator, dtype=x.dtype), float(back)",
)
replace("t = k / steps if not back else 1 - k / steps", "t = t + h * (k > 0)")
replace("D = eta * c * t * (1 - t)", "D = max(0, eta * c * t * (1 - t))")
replace("** 0.5 * noise", "** 0.5 * every[k]")


# %% right="bridge" name="both answers in one tensor, another order of draws, times by hand"
def bridge_loss(net, x_0, x_1, c, generator):
    z = torch.randn(len(x_0), 2, generator=generator, dtype=torch.float64)
    t = torch.rand(len(x_0), 1, generator=generator, dtype=torch.float64)
    x_t = torch.lerp(x_0, x_1, t) + c * (t - t**2) * z
    said = torch.cat(net(x_t, t[:, 0]), dim=1)
    wanted = torch.cat([x_1 - x_0 + (c - 2 * c * t) * z, z], dim=1)
    return 4 * F.mse_loss(said, wanted)


def carry(net, x, steps, c, eta, generator, back=False):
    times = torch.arange(steps + 1, dtype=torch.float64) / steps
    times = 1 - times if back else times
    for t, later in pairwise(times):
        u, z = net(x, t.repeat(len(x)))
        size = (later - t).abs()
        spread = (2 * size * eta * c * t * (1 - t)).clamp(min=0).sqrt()
        x = x + (later - t) * u - size * eta * z
        if spread > 0:
            x = x + spread * torch.randn(len(x), 2, generator=generator, dtype=torch.float64)
    return x
