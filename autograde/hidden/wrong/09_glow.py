"""Wrong and other right answers to lesson 09_glow."""

# %% wrong="repair" fails="test_valid_places_alone" name="padding is counted"
replace("channels = x.transpose(1, 2)[valid]", "channels = x.transpose(1, 2).flatten(0, 1)")
# %% wrong="repair" fails="test_valid_places_alone" name="the sign of log s"
replace("logabsdet - s.log().sum()", "logabsdet + s.log().sum()")
# %% wrong="repair" fails="test_valid_places_alone" name="all places of the longest recording"
replace("each * lengths", "each * (0 * lengths + x.shape[2])")
# %% wrong="repair" fails="test_valid_places_alone" name="padding is moved, too"
replace("torch.where(valid[:, None], z, 0.0)", "z")
# %% wrong="repair" fails="test_valid_places_alone" name="the divisor of a sample"
replace("correction=0", "correction=1")
# %% wrong="repair" fails="test_valid_places_alone" name="the transposed matrix"
replace("W @ (", "W.T @ (")
# %% wrong="repair" fails="test_valid_places_alone" name="W once for the recording"
replace("each * lengths", "torch.linalg.slogdet(W).logabsdet - s.log().sum() * lengths")
# %% wrong="repair" fails="test_sizes_and_kinds" name="an epsilon"
replace("channels.std(0, correction=0)", "channels.std(0, correction=0) + 1e-6")
# %% wrong="repair" fails="test_valid_places_alone" name="one place too many"
replace("< lengths[:, None]", "<= lengths[:, None]")
# %% wrong="repair" fails="test_valid_places_alone" name="z by a batch norm of each recording"
replace(
    "torch.where(valid[:, None], z, 0.0)",
    "torch.where(valid[:, None], z - z.mean((0, 2), keepdim=True), 0.0)",
)

# %% wrong="repair" fails="test_sizes_and_kinds" name="padding masked by a product"
replace("torch.where(valid[:, None], z, 0.0)", "z * valid[:, None]")
# %% wrong="repair" fails="test_valid_places_alone" name="a place of zeros is taken for padding"
replace(
    "valid = torch.arange(x.shape[2]) < lengths[:, None]",
    "valid = (torch.arange(x.shape[2]) < lengths[:, None]) & (x != 0).any(1)",
)
# %% wrong="repair" fails="test_sizes_and_kinds" name="the log of the product of deviations"
replace("s.log().sum()", "s.prod().log()")
# %% wrong="repair" fails="test_sizes_and_kinds" name="the mean square minus the squared mean"
replace("channels.std(0, correction=0)", "(channels.square().mean(0) - channels.mean(0) ** 2).sqrt()")
# %% wrong="repair" fails="test_sizes_and_kinds" name="an epsilon beside the determinant"
replace("torch.linalg.slogdet(W).logabsdet", "(torch.linalg.det(W).abs() + 1e-12).log()")


# %% right="repair" name="by sums, with a weight for each place"
def mended_step(x, lengths, W):
    weight = torch.zeros_like(x[:, :1])
    for n, length in enumerate(lengths.tolist()):
        weight[n, :, :length] = 1
    clean = torch.where(weight > 0, x, torch.zeros_like(x))
    b = clean.sum((0, 2)) / weight.sum()
    away = (clean - b[:, None]) * weight
    unit = away.abs().amax((0, 2))
    s = unit * ((away / unit[:, None]) ** 2).sum((0, 2)).div(weight.sum()).sqrt()
    z = torch.einsum("ij,njt->nit", W, away / s[:, None]) * weight
    return z, (torch.linalg.slogdet(W)[1] - torch.log(s).sum()) * lengths.to(x.dtype), b, s


# %% wrong="ring-conv" fails="test_every_shape" name="the wave's sign"
replace("torch.fft.fft2(K, s=x.shape[2:]).conj()", "torch.fft.fft2(K, s=x.shape[2:])")
# %% wrong="ring-conv" fails="test_every_shape" name="the inverse has the wave's sign wrong"
replace("torch.fft.fft2(K, s=z.shape[2:]).conj()", "torch.fft.fft2(K, s=z.shape[2:])")
# %% wrong="ring-conv" fails="test_every_shape" name="the mean over waves"
replace("logabsdet.sum()", "logabsdet.mean()")
# %% wrong="ring-conv" fails="test_every_shape" name="channels the wrong way round"
replace('"ijhw,njhw->nihw"', '"jihw,njhw->nihw"')
# %% wrong="ring-conv" fails="test_every_shape" name="the first matrix of the kernel alone"
replace(
    "return z, torch.linalg.slogdet(waves.permute(2, 3, 0, 1)).logabsdet.sum()",
    "return z, torch.linalg.slogdet(K[:, :, 0, 0]).logabsdet * x.shape[2] * x.shape[3]",
)
# %% wrong="ring-conv" fails="test_every_shape" name="a determinant that overflows"
replace(
    "torch.linalg.slogdet(waves.permute(2, 3, 0, 1)).logabsdet.sum()",
    "(torch.linalg.det(waves.permute(2, 3, 0, 1)).abs() + 1e-6).log().sum()",
)
# %% wrong="ring-conv" fails="test_every_shape" name="no gradient of the log-det"
replace("torch.linalg.slogdet(waves.permute", "torch.linalg.slogdet(waves.detach().permute")
# %% wrong="ring-conv" fails="test_every_shape" name="square pictures only"
replace("torch.fft.fft2(K, s=z.shape[2:])", "torch.fft.fft2(K, s=z.shape[3:] * 2)")
# %% wrong="ring-conv" fails="test_every_shape" name="half of the waves"
replace(
    "torch.linalg.slogdet(waves.permute(2, 3, 0, 1))",
    "torch.linalg.slogdet(waves.permute(2, 3, 0, 1)[:, ::2])",
)

# %% wrong="ring-conv" fails="test_every_shape" name="a pseudo-inverse with a cut"
replace("torch.linalg.solve(waves, ", "torch.linalg.pinv(waves, atol=1e-6) @ (")


# %% wrong="ring-conv" fails="test_large_pictures" name="the whole Jacobian"
def ring_conv(x, K):
    shape = x.shape[1:]
    units = torch.eye(shape.numel(), dtype=x.dtype).reshape(-1, *shape)

    def conv(v):
        z = 0
        for p in range(K.shape[2]):
            for q in range(K.shape[3]):
                z = z + torch.einsum("ij,njhw->nihw", K[:, :, p, q], v.roll((-p, -q), (2, 3)))
        return z

    return conv(x), torch.linalg.slogdet(conv(units).flatten(1)).logabsdet


def ring_inverse(z, K):
    shape = z.shape[1:]
    units = torch.eye(shape.numel(), dtype=z.dtype).reshape(-1, *shape)
    J = ring_conv(units, K)[0].flatten(1)
    return torch.linalg.solve(J.T, z.flatten(1).T).T.reshape(z.shape)


# %% right="ring-conv" name="z by rolling, waves by sums"
def matrices_of_waves(K, H, W):
    p, q = torch.arange(K.shape[2]), torch.arange(K.shape[3])
    f, g = torch.arange(H), torch.arange(W)
    kind = torch.complex128 if K.dtype == torch.float64 else torch.complex64
    rows = torch.exp(2j * math.pi * (f[:, None] * p).double() / H).to(kind)
    columns = torch.exp(2j * math.pi * (g[:, None] * q).double() / W).to(kind)
    return torch.einsum("fp,gq,ijpq->fgij", rows, columns, K.to(kind))


def ring_conv(x, K):
    z = 0
    for p in range(K.shape[2]):
        for q in range(K.shape[3]):
            z = z + torch.einsum("ij,njhw->nihw", K[:, :, p, q], x.roll((-p, -q), (2, 3)))
    return z, torch.linalg.slogdet(matrices_of_waves(K, *x.shape[2:])).logabsdet.sum()


def ring_inverse(z, K):
    inverses = torch.linalg.inv(matrices_of_waves(K, *z.shape[2:]))
    return torch.fft.ifft2(
        torch.einsum("fgij,njfg->nifg", inverses, torch.fft.fft2(z).to(inverses.dtype))
    ).real


# %% wrong="circle" fails="test_curve_and_inverse" name="whole turns count"
replace("u = torch.remainder(x - source[0], turn) + source[0]", "u = x")
# %% wrong="circle" fails="test_curve_and_inverse" name="angles as they come out"
replace("torch.remainder(angle, turn)", "angle")
# %% wrong="circle" fails="test_curve_and_inverse" name="the logarithm has the forward sign"
replace("-log_rise if back else log_rise", "log_rise")
# %% wrong="circle" fails="test_curve_and_inverse" name="knots begin at 0"
replace("torch.remainder(x - source[0], turn) + source[0]", "torch.remainder(x, turn)")
# %% wrong="circle" fails="test_curve_and_inverse" name="the last slope is 1"
replace("torch.cat([slope, slope[:1]])", "torch.cat([slope, torch.ones_like(slope[:1])])")
# %% wrong="circle" fails="test_curve_and_inverse" name="slopes of a bin exchanged"
replace(
    "(right * p**2 + 2 * mean * pr + left * (1 - p) ** 2)",
    "(left * p**2 + 2 * mean * pr + right * (1 - p) ** 2)",
)
# %% wrong="circle" fails="test_curve_and_inverse" name="the slope of the bin forgotten"
replace("2 * (mean / below).log()", "2 * (1 / below).log()")
# %% wrong="circle" fails="test_curve_and_inverse" name="the other root"
replace("2 * C / (-B - (B**2 - 4 * A * C).sqrt())", "2 * C / (-B + (B**2 - 4 * A * C).sqrt())")
# %% wrong="circle" fails="test_geometry_and_kinds" name="no gradient of the slopes"
replace("torch.cat([slope, slope[:1]])", "torch.cat([slope, slope[:1]]).detach()")
# %% wrong="circle" fails="test_curve_and_inverse" name="straight between knots"
replace("high * (mean * p**2 + left * pr) / below", "high * p")

# %% wrong="circle" fails="test_curve_and_inverse" name="a root that divides by 0 in a straight bin"
replace("2 * C / (-B - (B**2 - 4 * A * C).sqrt())", "(-B + (B**2 - 4 * A * C).sqrt()) / (2 * A)")
# %% wrong="circle" fails="test_curve_and_inverse" name="slopes at least 1e-3"
replace("torch.cat([slope, slope[:1]])", "torch.cat([slope, slope[:1]]).clamp(min=1e-3)")
# %% wrong="circle" fails="test_curve_and_inverse" name="bins at least 1e-3 wide"
replace("a.diff()[k], b.diff()[k]", "a.diff()[k].clamp(min=1e-3), b.diff()[k].clamp(min=1e-3)")
# %% wrong="circle" fails="test_geometry_and_kinds" name="an epsilon in the logarithm"
replace("left * (1 - p) ** 2).log()", "left * (1 - p) ** 2 + 1e-10).log()")


# %% right="circle" name="angle by angle, the inverse by the quadratic with the other form"
def circle_spline(x, at, to, slope, back=False):
    ring = lambda v, n: v[n % len(v)] + 2 * math.pi * (n // len(v))  # noqa: E731
    angles, logs = [], []
    first = to if back else at
    for value in x:
        u = value - 2 * math.pi * torch.floor((value - first[0]).detach() / (2 * math.pi))
        k = max([n for n in range(len(at)) if first[n] <= u], default=0)
        x_0, x_1, y_0, y_1 = ring(at, k), ring(at, k + 1), ring(to, k), ring(to, k + 1)
        d_0, d_1 = slope[k], slope[(k + 1) % len(slope)]
        s = (y_1 - y_0) / (x_1 - x_0)
        e = d_0 + d_1 - 2 * s
        if back:
            v = (u - y_0) / (y_1 - y_0)
            b, c = d_0 - v * e, -s * v
            a = s - d_0 + v * e
            xi = -2 * c / (b + torch.sqrt(b * b - 4 * a * c))
        else:
            xi = (u - x_0) / (x_1 - x_0)
        q = s + e * xi * (1 - xi)
        rise = torch.log(s * s * (d_1 * xi**2 + 2 * s * xi * (1 - xi) + d_0 * (1 - xi) ** 2) / q**2)
        y = x_0 + xi * (x_1 - x_0) if back else y_0 + (y_1 - y_0) * (s * xi**2 + d_0 * xi * (1 - xi)) / q
        angles.append(y - 2 * math.pi * torch.floor(y.detach() / (2 * math.pi)))
        logs.append(-rise if back else rise)
    return torch.stack(angles), torch.stack(logs)


# %% wrong="roulette" fails="test_terms_of_each_probe" name="all signs plus"
replace("total - (-1) ** k *", "total +")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="the sign turned round"
replace("total - (-1) ** k *", "total + (-1) ** k *")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="no 1 / k"
replace("(k * alive[k - 1])", "alive[k - 1]")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="a cut series: biased"
replace("(k * alive[k - 1])", "k")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="the next probability"
replace("alive[k - 1]", "alive[min(k, len(alive) - 1)]")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="one term too few"
replace("range(1, count + 1)", "range(1, max(count, 2))")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="the same number of terms for all"
replace("for k in range(1, count + 1)", "for k in range(1, int(terms[0]) + 1)")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="the sum over probes"
replace("total / len(probes)", "total")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="a new product with the probe each time"
replace("grad(out, u, w, retain_graph=True)", "grad(out, u, v, retain_graph=True)")

# %% wrong="roulette" fails="test_terms_of_each_probe" name="ten terms at most"
replace("range(1, count + 1)", "range(1, min(count, 10) + 1)")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="probabilities of at least 1 in 100"
replace("alive[k - 1]", "alive[k - 1].clamp(min=1e-2)")
# %% wrong="roulette" fails="test_terms_of_each_probe" name="gradients of parameters pile up"
replace(
    "w = torch.autograd.grad(out, u, w, retain_graph=True)[0]",
    "u.grad = None\nout.backward(w, retain_graph=True)\nw = u.grad.clone()",
)


# %% wrong="roulette" fails="test_cost_of_terms" name="the whole Jacobian"
def roulette_log_det(f, x, probes, terms, alive):
    J = torch.autograd.functional.jacobian(lambda u: f(u).sum(0), x.detach()).transpose(0, 1)
    total = torch.zeros_like(x[:, 0])
    for v, count in zip(probes, terms.tolist(), strict=True):
        w = v
        for k in range(1, count + 1):
            w = torch.einsum("bij,bj->bi", J, w)
            total = total - (-1) ** k * (w * v).sum(1) / (k * alive[k - 1])
    return total / len(probes)


# %% wrong="roulette" fails="test_cost_of_terms" name="each power from the beginning"
def roulette_log_det(f, x, probes, terms, alive):
    u = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        out = f(u)
    total = torch.zeros_like(x[:, 0])
    for v, count in zip(probes, terms.tolist(), strict=True):
        for k in range(1, count + 1):
            w = v
            for _ in range(k):
                w = torch.autograd.grad(out, u, w, retain_graph=True)[0]
            total = total - (-1) ** k * (w * v).sum(1) / (k * alive[k - 1])
    return total / len(probes)


# %% right="roulette" name="forwards, by dual numbers"
def roulette_log_det(f, x, probes, terms, alive):
    rows, x = [], x.detach()
    for v, count in zip(probes, terms.tolist(), strict=True):
        power, row = v, 0
        for k in range(1, count + 1):
            _, power = torch.autograd.functional.jvp(f, (x,), (power,))
            row = row + (1 if k % 2 else -1) / k * (v * power).sum(1) / alive[k - 1]
        rows.append(row)
    return torch.stack(rows).mean(0).detach()


# %% wrong="sequences" fails="test_forward_and_draw" name="every cell reads forwards"
replace(
    "        x = torch.stack(z, dim=1)\n        x = x.flip(1) if n % 2 else x",
    "        x = torch.stack(z, dim=1)",
)
# %% wrong="sequences" fails="test_forward_and_draw" name="the sign of the account"
replace("log_det = log_det - alpha.sum(1)", "log_det = log_det + alpha.sum(1)")
# %% wrong="sequences" fails="test_forward_and_draw" name="the first cell is undone first"
replace("for n, cell in reversed(list(enumerate(cells))):", "for n, cell in enumerate(cells):")
# %% wrong="sequences" fails="test_forward_and_draw" name="the state is forgotten"
replace(
    "mu, alpha, state = cell(state, before)\nbefore = x[:, t]",
    "mu, alpha, _ = cell(None, before)\nbefore = x[:, t]",
)
# %% wrong="sequences" fails="test_forward_and_draw" name="drawn from the noise before, not from the step"
replace(
    "before = z[:, t] * alpha.exp() + mu\nx.append(before)",
    "x.append(z[:, t] * alpha.exp() + mu)\nbefore = z[:, t]",
)
# %% wrong="sequences" fails="test_forward_and_draw" name="alpha held between -3 and 3"
replace("z.append((before - mu) * (-alpha).exp())", "z.append((before - mu) * (-alpha.clamp(-3, 3)).exp())")
# %% wrong="sequences" fails="test_forward_and_draw" name="drawn with alpha held between -3 and 3"
replace("before = z[:, t] * alpha.exp() + mu", "before = z[:, t] * alpha.clamp(-3, 3).exp() + mu")
# %% wrong="sequences" fails="test_forward_and_draw" name="all but the first read backwards"
replace(
    "        x = torch.stack(z, dim=1)\n        x = x.flip(1) if n % 2 else x",
    "        x = torch.stack(z, dim=1)\n        x = x.flip(1) if n > 0 else x",
)
# %% wrong="sequences" fails="test_forward_and_draw" name="drawn with two calls a step"
replace("before = z[:, t] * alpha.exp() + mu", "cell(state, before)\nbefore = z[:, t] * alpha.exp() + mu")
# %% wrong="sequences" fails="test_loss" name="not a number, a sequence"
replace(" / (x.shape[1] * x.shape[2])", "")
# %% wrong="sequences" fails="test_loss" name="the noise is forgotten"
replace(
    "y = x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)",
    "y = x + 0 * torch.randn(x.shape, generator=generator, dtype=x.dtype)",
)
# %% wrong="sequences" fails="test_loss" name="the log-det is forgotten"
replace("-(log_normal(z) + log_det).mean()", "-log_normal(z).mean()")
# %% wrong="sequences" fails="test_loss" name="global noise"
replace(
    "torch.randn(x.shape, generator=generator, dtype=x.dtype)",
    "torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)",
)
# %% wrong="sequences" fails="test_loss" name="one noise for all sequences"
replace(
    "torch.randn(x.shape, generator=generator, dtype=x.dtype)",
    "torch.randn(x.shape, generator=generator, dtype=x.dtype)[:1]",
)
# %% wrong="sequences" fails="test_cleaning" name="sigma, not its square"
replace("sigma**2 * score", "sigma * score")
# %% wrong="sequences" fails="test_cleaning" name="away from the data"
replace("y.detach() + sigma**2 * score", "y.detach() - sigma**2 * score")
# %% wrong="sequences" fails="test_cleaning" name="the score of the noise alone"
replace(
    "torch.autograd.grad((log_normal(z) + log_det).sum(), u)", "torch.autograd.grad(log_normal(z).sum(), u)"
)
# %% wrong="sequences" fails="test_cleaning" name="the mean for the sum"
replace("(log_normal(z) + log_det).sum(), u", "(log_normal(z) + log_det).mean(), u")


# %% right="sequences" name="indices run to and fro; one column at a time"
def walk(cell, x, steps, draw):
    done, state, before, total = [None] * len(steps), None, torch.zeros_like(x[:, 0]), 0
    for t in steps:
        mu, alpha, state = cell(state, before)
        if draw:
            before = done[t] = torch.addcmul(mu, x[:, t], torch.exp(alpha))
        else:
            done[t] = torch.exp(-alpha) * (x[:, t] - mu)
            before = x[:, t]
        total = total - alpha.sum(dim=-1)
    return torch.stack(done, 1), total


def ways(cells, T):
    return [(c, range(T) if i % 2 == 0 else range(T - 1, -1, -1)) for i, c in enumerate(cells)]


def sequence_forward(cells, x):
    total = x.new_zeros(len(x))
    for cell, steps in ways(cells, x.shape[1]):
        x, change = walk(cell, x, steps, False)
        total = total + change
    return x, total


def sequence_draw(cells, z):
    for cell, steps in ways(cells, z.shape[1])[::-1]:
        z = walk(cell, z, steps, True)[0]
    return z


def log_p_of(cells, x):
    z, total = sequence_forward(cells, x)
    return total - z.square().sum((1, 2)) / 2 - z[0].numel() / 2 * math.log(2 * math.pi)


def sequence_loss(cells, x, sigma, generator):
    eps = torch.empty_like(x, memory_format=torch.contiguous_format).normal_(generator=generator)
    return -log_p_of(cells, x + sigma * eps).sum() / x.numel()


def sequence_clean(cells, y, sigma):
    with torch.enable_grad():
        place = y.detach().clone().requires_grad_(True)
        slope = torch.autograd.grad([log_p_of(cells, place).sum()], [place])
    return (place + slope[0] * sigma * sigma).detach()


# %% equivalent="repair" name="two axes exchanged are named in either order"
replace("x.transpose(1, 2)[valid]", "x.transpose(2, 1)[valid]")
# %% equivalent="ring-conv" name="a sum over all waves, in either order"
replace("waves.permute(2, 3, 0, 1)", "waves.permute(3, 2, 0, 1)")
# %% equivalent="ring-conv" name="a transposed matrix has the same determinant"
replace("waves.permute(2, 3, 0, 1)", "waves.permute(2, 3, 1, 0)")
# %% equivalent="circle" name="a knot one turn after the second: no angle comes so far"
replace("at[:1] + turn", "at[:2] + turn")
# %% equivalent="circle" name="a value one turn after the second: no bin reads it"
replace("to[:1] + turn", "to[:2] + turn")
# %% equivalent="circle" name="a slope after the last: no bin reads it"
replace("slope[:1]", "slope[:2]")
# %% equivalent="circle" name="the last knot is the first, one turn later"
replace("torch.remainder(x - source[0], turn)", "torch.remainder(x - source[-1], turn)")
# %% equivalent="circle" name="on a knot both bins agree"
replace("u[:, None] >= source[1:-1]", "u[:, None] > source[1:-1]")
# %% equivalent="circle" name="a square has no sign"
replace("left * (1 - p) ** 2", "left * (p - 1) ** 2")
# %% equivalent="roulette" name="detached is a tensor of its own; nobody writes into it"
replace("x.detach().clone().requires_grad_()", "x.detach().requires_grad_()")
# %% equivalent="roulette" name="a copy whose history nobody asks for"
replace("x.detach().clone().requires_grad_()", "x.clone().requires_grad_()")
# %% equivalent="roulette" name="zeros like any column"
replace("torch.zeros_like(x[:, 0])", "torch.zeros_like(x[:, -1])")
# %% equivalent="roulette" name="the statement's two arguments are as long"
replace("terms.tolist(), strict=True", "terms.tolist()")
# %% equivalent="roulette" name="as long, said otherwise"
replace("strict=True", "strict=False")
# %% equivalent="roulette" name="one gradient: the first is the last"
replace("retain_graph=True)[0]", "retain_graph=True)[-1]")
# %% equivalent="sequences" name="zeros like any step's"
replace("torch.zeros_like(x[:, 0, 0])", "torch.zeros_like(x[:, -1, 0])")
# %% equivalent="sequences" name="zeros like any number's"
replace("torch.zeros_like(x[:, 0, 0])", "torch.zeros_like(x[:, 0, -1])")
# %% equivalent="sequences" name="zeros like any step's, forward"
replace("torch.zeros_like(x[:, 0]), []", "torch.zeros_like(x[:, -1]), []")
# %% equivalent="sequences" name="zeros like any step's, drawing"
replace("torch.zeros_like(z[:, 0]), []", "torch.zeros_like(z[:, -1]), []")
# %% equivalent="sequences" name="sorted by number: they are so already"
replace("reversed(list(enumerate(cells)))", "reversed(sorted(enumerate(cells)))")
# %% equivalent="sequences" name="detached is a tensor of its own; nobody writes into it"
replace("y.detach().clone().requires_grad_()", "y.detach().requires_grad_()")
# %% equivalent="sequences" name="a copy whose history nobody asks for"
replace("y.detach().clone().requires_grad_()", "y.clone().requires_grad_()")
# %% equivalent="sequences" name="one gradient: the first is the last"
replace("log_det).sum(), u)[0]", "log_det).sum(), u)[-1]")
# %% equivalent="sequences" name="noisy sequences are data: they ask for no gradient"
replace("return y.detach() + sigma**2 * score", "return y + sigma**2 * score")
