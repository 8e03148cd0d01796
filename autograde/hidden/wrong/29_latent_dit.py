"""Wrong and other right answers to lesson 29_latent_dit."""

# %% wrong="patches" fails="test_cuts" name="drops what does not fill a patch"
replace(
    "wide = F.pad(x, (0, -W % pw, 0, -H % ph))",
    "wide = x[:, :, : max(H // ph, 1) * ph, : max(W // pw, 1) * pw]",
)
# %% wrong="patches" fails="test_cuts" name="fills up at the left and at the top"
replace("(0, -W % pw, 0, -H % ph)", "(-W % pw, 0, -H % ph, 0)")
# %% wrong="patches" fails="test_cuts" name="channels last"
replace("cut.permute(0, 2, 3, 1, 4, 5)", "cut.permute(0, 2, 3, 4, 5, 1)")
# %% wrong="patches" fails="test_cuts" name="columns of patches first"
replace("cut.permute(0, 2, 3, 1, 4, 5)", "cut.permute(0, 3, 2, 1, 4, 5)")
# %% wrong="patches" fails="test_cuts" name="rows and columns exchanged on the way back"
replace("grid.permute(0, 3, 1, 4, 2, 5)", "grid.permute(0, 3, 1, 2, 4, 5)")
# %% wrong="patches" fails="test_cuts" name="the filling stays"
replace("return wide[:, :, :H, :W]", "return wide")
# %% wrong="patches" fails="test_cuts" name="a share is all or nothing"
replace("torch.outer(rows, columns)", "torch.outer(rows.ceil(), columns.ceil())")
# %% wrong="patches" fails="test_cuts" name="shares by columns first"
replace("torch.outer(rows, columns).flatten()", "torch.outer(columns, rows).flatten()")


# %% wrong="patches" fails="test_cuts" name="black pixels count as filling"
replace(
    "torch.outer(rows, columns).flatten()",
    "(cut[0].permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1) != 0).to(x.dtype).mean(1)",
)
# %% wrong="patches" fails="test_cuts" name="remembers the patch of the last picture of that size"
replace(
    "H, W = x.shape[2:]",
    "H, W = x.shape[2:]; ph, pw = to_patches.__dict__.setdefault(str((H, W)), (ph, pw))",
)


# %% right="patches" name="unfold and fold"
def to_patches(x, ph, pw):
    H, W = x.shape[-2:]
    missing = [0, (pw - W % pw) % pw, 0, (ph - H % ph) % ph]
    real = F.pad(torch.ones(1, 1, H, W, dtype=x.dtype), missing)
    tokens = F.unfold(F.pad(x, missing), (ph, pw), stride=(ph, pw)).transpose(1, 2)
    return tokens, F.avg_pool2d(real, (ph, pw)).reshape(-1)


def from_patches(h, ph, pw, C, H, W):
    size = (math.ceil(H / ph) * ph, math.ceil(W / pw) * pw)
    return F.fold(h.transpose(1, 2), size, (ph, pw), stride=(ph, pw))[..., :H, :W]


# %% right="patches" name="patch by patch"
def to_patches(x, ph, pw):
    B, C, H, W = x.shape
    found, shares = [], []
    for top in range(0, H, ph):
        for left in range(0, W, pw):
            piece = x[:, :, top : top + ph, left : left + pw]
            h, w = piece.shape[-2:]
            full = torch.zeros(B, C, ph, pw, dtype=x.dtype)
            full[:, :, :h, :w] = piece
            found.append(full.reshape(B, C * ph * pw))
            shares.append(h * w / (ph * pw))
    return torch.stack(found, dim=1), torch.tensor(shares, dtype=x.dtype)


def from_patches(h, ph, pw, C, H, W):
    picture = torch.zeros(h.shape[0], C, H + ph, W + pw, dtype=h.dtype)
    number = 0
    for top in range(0, H, ph):
        for left in range(0, W, pw):
            picture[:, :, top : top + ph, left : left + pw] = h[:, number].reshape(-1, C, ph, pw)
            number += 1
    return picture[..., :H, :W]


# %% right="patches" name="by an index of places"
def to_patches(x, ph, pw):
    B, C, H, W = x.shape
    down, across = math.ceil(H / ph), math.ceil(W / pw)
    i = torch.arange(down * ph).view(down, 1, ph, 1).expand(down, across, ph, pw)
    j = torch.arange(across * pw).view(1, across, 1, pw).expand(down, across, ph, pw)
    inside = (i < H) & (j < W)
    picked = x[:, :, i.clamp(max=H - 1), j.clamp(max=W - 1)]
    picked = torch.where(inside, picked, torch.zeros((), dtype=x.dtype))
    mean = inside.to(x.dtype).mean(dim=(2, 3))
    return torch.movedim(picked, 1, 3).reshape(B, down * across, -1), mean.reshape(-1)


def from_patches(h, ph, pw, C, H, W):
    across = math.ceil(W / pw)
    i, j = torch.arange(H)[:, None], torch.arange(W)[None]
    token = (i // ph) * across + j // pw  # (H, W)
    spot = (i % ph) * pw + j % pw
    channels = [h[:, token, c * ph * pw + spot] for c in range(C)]
    return torch.stack(channels, dim=1)


# %% wrong="fold" fails="test_folds" name="forgets that the shift goes through the layer"
replace("gate * (bias + weight @ shift)", "gate * (bias + shift.sum())")
# %% wrong="fold" fails="test_folds" name="the scale without 1"
replace("weight * (1 + scale)", "weight * scale")
# %% wrong="fold" fails="test_folds" name="the gate on the weights alone"
replace("gate * (bias + weight @ shift)", "bias + weight @ shift")
# %% wrong="fold" fails="test_folds" name="the shift is scaled, too"
replace("weight @ shift", "weight @ ((1 + scale) * shift)")
# %% wrong="fold" fails="test_folds" name="the bias stays outside"
replace("gate * (bias + weight @ shift)", "bias + gate * (weight @ shift)")
# %% wrong="fold" fails="test_folds" name="1 + gate"
replace("gate[:, None] * weight", "(1 + gate[:, None]) * weight")


# %% right="fold" name="the layer's slope and its value at 0"
def folded(weight, bias, shift, scale, gate):
    layer = lambda n: gate * F.linear((1 + scale) * n + shift, weight, bias)  # noqa: E731
    zero = torch.zeros_like(shift)
    return torch.autograd.functional.jacobian(layer, zero), layer(zero)


# %% right="fold" name="by diagonal matrices"
def folded(weight, bias, shift, scale, gate):
    closed = torch.diag(gate)
    return closed @ weight @ torch.diag(scale + 1), closed @ (weight @ shift + bias)


# %% wrong="weighted-words" fails="test_words_repeat" name="weights multiply the logits"
replace(
    "share = n[:, None, None] * (logits - top).exp()",
    "share = (n[:, None, None] * (logits - top)).exp() * (n != 0)[:, None, None]",
)
# %% wrong="weighted-words" fails="test_words_repeat" name="weights count above alone"
replace(
    "total = share.sum(-1, keepdim=True)",
    "total = (logits - top).exp().sum(-1, keepdim=True) * (n.sum(-1) > 0)[:, None, None, None]",
)
# %% wrong="weighted-words" fails="test_words_repeat" name="absent or present, no more"
replace("share = n[:, None, None] *", "share = (n[:, None, None] > 0) *")
# %% wrong="weighted-words" fails="test_words_absent" name="absent words may not hold anything"
replace("k, v = k.masked_fill(absent, 0), v.masked_fill(absent, 0)", "k, v = k + 0, v + 0")
replace("logits = logits.masked_fill(absent.mT, torch.finfo(q.dtype).min)", "logits = logits + 0")
# %% wrong="weighted-words" fails="test_words_absent" name="0 over 0 without a word"
replace("total.masked_fill(total == 0, 1)", "total")
replace("v.masked_fill(absent, 0)", "v")
# %% wrong="weighted-words" fails="test_words_repeat" name="not over the root of the width"
replace("q @ k.mT / q.shape[-1] ** 0.5", "q @ k.mT / q.shape[-1]")
# %% wrong="weighted-words" fails="test_words_repeat" name="without the largest logit"
replace("(logits - top).exp()", "logits.exp()")
replace("total.masked_fill(total == 0, 1)", "(total + 1e-9)")
# %% wrong="weighted-words" fails="test_words_fractions" name="weights are rounded"
replace("share = n[:, None, None] *", "share = n.round()[:, None, None] *")


# %% wrong="weighted-words" fails="test_words_absent" name="NaN made zeros in the end, not in the gradient"
replace("logits = logits.masked_fill(absent.mT, torch.finfo(q.dtype).min)", "logits = logits + 0")
replace(
    "return share @ v / total.masked_fill(total == 0, 1)",
    "return torch.nan_to_num((logits + n.log()[:, None, None]).softmax(-1) @ v)",
)


# %% right="weighted-words" name="repeated root of the width, weights over their largest"
def weighted_attention(q, k, v, n):
    gone = n == 0
    k, v = k.clone(), v.clone()
    k[gone[:, None].expand(k.shape[:3])] = 0
    v[gone[:, None].expand(v.shape[:3])] = 0
    logits = (q / q.shape[-1] ** 0.25) @ (k / k.shape[-1] ** 0.25).transpose(2, 3)
    logits = logits.masked_fill(gone[:, None, None], -1e30)
    weight = n / n.amax(1, keepdim=True).clamp(min=torch.finfo(n.dtype).tiny)
    e = torch.exp(logits - logits.max(-1, keepdim=True).values) * weight[:, None, None]
    total = e.sum(-1, keepdim=True)
    return torch.where(total > 0, e / torch.where(total > 0, total, torch.ones_like(total)), 0 * e) @ v


# %% right="weighted-words" name="NaN made zeros in the end, and kept out of the gradient by the mask"
def weighted_attention(q, k, v, n):
    absent = (n == 0)[:, None, None]
    k, v = (torch.where(absent.mT, torch.zeros_like(a), a) for a in (k, v))
    logits = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(absent, -math.inf)
    return torch.nan_to_num((logits + n.log()[:, None, None]).softmax(-1) @ v)


# %% equivalent="weighted-words" name="what absent keys hold is hidden in the logits"
replace("k.masked_fill(absent, 0)", "k.masked_fill(absent, 1)")
# %% equivalent="weighted-words" name="what absent keys hold is hidden in the logits, less one"
replace("k.masked_fill(absent, 0)", "k.masked_fill(absent, -1)")
# %% equivalent="weighted-words" name="values of absent words count 0 times"
replace("v.masked_fill(absent, 0)", "v.masked_fill(absent, 1)")
# %% equivalent="weighted-words" name="values of absent words count 0 times, less one"
replace("v.masked_fill(absent, 0)", "v.masked_fill(absent, -1)")
# %% equivalent="weighted-words" name="the largest logit cancels, and so does its gradient"
replace("logits.amax(-1, keepdim=True).detach()", "logits.amax(-1, keepdim=True)")
# %% equivalent="weighted-words" name="0 over any number"
replace("total.masked_fill(total == 0, 1)", "total.masked_fill(total == 0, 2)")


# %% right="weighted-words" name="softmax with the logarithm of the weights, picture by picture"
def weighted_attention(q, k, v, n):
    rows = []
    for b in range(q.shape[0]):
        there = torch.nonzero(n[b] > 0)[:, 0]
        if len(there) == 0:
            rows.append(torch.zeros(*q.shape[1:3], v.shape[-1], dtype=q.dtype) + 0 * q[b].sum())
            continue
        keys, values, weight = k[b][:, there], v[b][:, there], n[b][there]
        table = torch.einsum("hnd,hmd->hnm", q[b], keys) / math.sqrt(q.shape[-1])
        rows.append(torch.softmax(table + weight.log(), dim=-1) @ values)
    return torch.stack(rows)


# %% right="weighted-words" name="torch's attention with a mask of logarithms"
def weighted_attention(q, k, v, n):
    gone = (n <= 0)[:, None, :, None]
    empty = gone.all(dim=2, keepdim=True)
    safe = torch.where(n > 0, n, torch.ones_like(n))
    bias = torch.where(n > 0, safe.log(), torch.full_like(n, -math.inf))
    bias = torch.where(empty[:, 0, :, 0], torch.zeros_like(bias), bias)[:, None, None, :]
    mixed = F.scaled_dot_product_attention(
        q,
        torch.where(gone, torch.zeros_like(k), k),
        torch.where(gone, torch.zeros_like(v), v),
        attn_mask=bias.expand(-1, q.shape[1], q.shape[2], -1),
    )
    return torch.where(empty, torch.zeros_like(mixed), mixed)


# %% wrong="other-unit" fails="test_unit_any" name="asks at its own time"
replace("v = u(z, t_unit[:, 0])", "v = u(z, t[:, 0])")
# %% wrong="other-unit" fails="test_unit_any" name="times s where over s is right"
replace("t_unit = t / s / k", "t_unit = t * s / ((1 - t) + t * s)")
# %% wrong="other-unit" fails="test_unit_any" name="forgets the mean at the point"
replace("z = (y - (1 - t) * m) / (s * k)", "z = y / (s * k)")
# %% wrong="other-unit" fails="test_unit_any" name="takes the whole mean at every time"
replace("z = (y - (1 - t) * m) / (s * k)", "z = (y - m) / (s * k)")
# %% wrong="other-unit" fails="test_unit_any" name="the velocity times s"
replace("return noise - s * clean - m", "return s * v - m")
# %% wrong="other-unit" fails="test_unit_any" name="forgets the mean in the end"
replace("return noise - s * clean - m", "return noise - s * clean + 0 * m")


# %% equivalent="other-unit" name="of one column the last is the first"
replace("v = u(z, t_unit[:, 0])", "v = u(z, t_unit[:, -1])")


# %% wrong="other-unit" fails="test_unit_gaussian" name="noise from the raw point, over t"
replace("return noise - s * clean - m", "return (y - s * clean - m) / t.clamp(min=1e-12)")
# %% wrong="other-unit" fails="test_unit_gaussian" name="odds, and t kept away from 1"
replace("k = (1 - t) + t / s", "t = t.clamp(max=1 - 1e-7); k = (1 - t) + t / s")


# %% right="other-unit" name="time by the logarithm of the odds"
def raw_velocity(u, y, t, s, m):
    time = torch.sigmoid(torch.logit(t) - math.log(s))
    z = (y - torch.outer(1 - t, m)) / (s * (1 - t) + t)[:, None]
    said = u(z, time)
    clean = z - time[:, None] * said
    return said + (1 - s) * clean - m


# %% right="other-unit" name="by coefficients of the point"
def raw_velocity(u, y, t, s, m):
    time = t / (t + s * (1 - t))
    shrink = (t + s * (1 - t)).unsqueeze(1)  # y_t - (1 - t) m = shrink * z_t'
    centred = y - m + t.unsqueeze(1) * m
    direction = u(centred / shrink, time)
    late = time.unsqueeze(1)
    return centred * (1 - s) / shrink + direction * ((1 - late) + s * late) - m


# %% right="other-unit" name="one row after the other"
def raw_velocity(u, y, t, s, m):
    B, D = y.shape
    places, times = torch.empty_like(y), torch.empty_like(t)
    for b in range(B):
        data_part, noise_part = s * (1 - t[b]), t[b]
        whole = data_part + noise_part
        times[b] = noise_part / whole
        places[b] = (y[b] - m + t[b] * m) / whole
    said = u(places, times)
    result = []
    for b in range(B):
        z_0 = places[b] - times[b] * said[b]
        eps = said[b] + z_0
        result.append(eps - (z_0 * s + m))
    return torch.stack(result)


# %% wrong="repair" fails="test_repaired" name="time runs the wrong way still"
replace("1 - i / steps, dtype", "i / steps, dtype")
# %% wrong="repair" fails="test_repaired" name="guidance exchanged still"
replace("u_0 + w * (u_c - u_0)", "u_c + w * (u_0 - u_c)")
# %% wrong="repair" fails="test_repaired" name="scaled the wrong way still"
replace("z * s + m", "z / s + m")
# %% wrong="repair" fails="test_repaired" name="one too much of the condition"
replace("u_0 + w * (u_c - u_0)", "u_c + w * (u_c - u_0)")
# %% wrong="repair" fails="test_repaired" name="times of the ends of steps"
replace("1 - i / steps, dtype", "1 - (i + 1) / steps, dtype")
# %% wrong="repair" fails="test_repaired" name="the mean is scaled, too"
replace("z * s + m", "(z + m) * s")


# %% wrong="repair" fails="test_repaired" name="no condition in the shape of the latents"
replace("torch.zeros_like(condition)", "torch.zeros_like(z)")
# %% wrong="repair" fails="test_repaired" name="latents of two axes only"
replace("z = eps", "(B, D), z = eps.shape, eps")


# %% right="repair" name="both nets in one batch"
def repaired(net, decoder, eps, condition, w, steps, s, m):
    z, captions = eps.clone(), torch.cat([condition, 0 * condition])
    for left in range(steps, 0, -1):
        t = torch.ones(2 * len(z), dtype=z.dtype) * left / steps
        told, untold = net(torch.cat([z, z]), t, captions).chunk(2)
        z -= torch.lerp(untold, told, w) / steps
    return decoder(m + s * z)


# %% right="repair" name="over a list of times"
def repaired(net, decoder, eps, condition, w, steps, s, m):
    clock = [1 - k / steps for k in range(steps + 1)]
    nothing, here = condition * 0, eps.clone()
    for now, later in zip(clock[:-1], clock[1:]):
        times = now * torch.ones(here.shape[0], dtype=here.dtype)
        with_words, without = net(here, times, condition), net(here, times, nothing)
        here = here + (later - now) * (w * with_words - (w - 1) * without)
    return decoder(m + here * s)


# %% wrong="prior" fails="test_prior_formulas" name="the mean over the embedding's numbers"
replace("square().sum(1).mean()", "square().mean()")
# %% wrong="prior" fails="test_prior_formulas" name="a velocity that is not over t"
replace("e = guess + (e - guess) * ((i - 1) / i)", "e = e + (guess - e) / K")
# %% wrong="prior" fails="test_prior_formulas" name="walks the whole way in every step"
replace("e = guess + (e - guess) * ((i - 1) / i)", "e = guess")
# %% wrong="prior" fails="test_prior_formulas" name="the target is the velocity"
replace("(guess - e).square()", "(guess - (eps - e)).square()")
# %% wrong="prior" fails="test_prior_formulas" name="data and noise exchanged"
replace("torch.lerp(e, eps, t[:, None])", "torch.lerp(eps, e, t[:, None])")
# %% wrong="prior" fails="test_prior_formulas" name="the wrong rows are dropped"
replace("y.masked_fill(dropped[:, None], 0)", "y.masked_fill(~dropped[:, None], 0)")
# %% wrong="prior" fails="test_prior_formulas" name="guidance exchanged"
replace("plain + w * (f(e, t, y) - plain)", "f(e, t, y) + w * (plain - f(e, t, y))")
# %% wrong="prior" fails="test_prior_formulas" name="the nearest candidate by distance"
replace("(candidates * y).sum(2).argmax(0)", "(candidates - y).square().sum(2).argmin(0)")
# %% wrong="prior" fails="test_prior_formulas" name="one candidate for all captions"
replace("(candidates * y).sum(2).argmax(0)", "(candidates * y).sum((1, 2)).argmax(0)")


# %% wrong="prior" fails="test_prior_formulas" name="one step more, at time 0"
replace("range(K, 0, -1)", "range(K, -1, -1)")
replace("((i - 1) / i)", "((i - 1) / max(i, 1))")
# %% wrong="prior" fails="test_prior_formulas" name="products in single precision"
replace("(candidates * y).sum(2)", "(candidates.float() * y.float()).sum(2)")


# %% right="prior" name="both nets in one batch, a NumPy sort for the choice"
def prior_loss(f, e, y, t, eps, dropped):
    y = y.clone()
    y[dropped] = 0
    w = t.reshape(-1, 1)
    return F.mse_loss(f((1 - w) * e + w * eps, t, y), e, reduction="sum") / len(e)


def prior_draw(f, y, eps, K, w):
    clock = torch.linspace(1, 0, K + 1, dtype=eps.dtype)
    x = eps.detach().clone()
    for a, b in zip(clock[:-1], clock[1:]):
        with torch.no_grad():
            aware, plain = f(torch.cat([x, x]), a.repeat(2 * len(x)), torch.cat([y, 0 * y])).chunk(2)
            x += (b - a) * (x - w * aware - (1 - w) * plain) / a
    return x


def prior_choice(candidates, y):
    products = np.einsum("nbd,bd->nb", candidates.detach().numpy(), y.detach().numpy())
    order = np.argsort(-products, axis=0, kind="stable")[0]
    return torch.stack([candidates[i, b] for b, i in enumerate(order)])


# %% equivalent="prior" name="a square has no sign"
replace("return (guess - e).square()", "return (e - guess).square()")
# %% equivalent="prior" name="the mean is largest where the sum is"
replace("(candidates * y).sum(2)", "(candidates * y).mean(2)")


# %% right="prior" name="by the velocity, with a loop over captions for the choice"
def prior_loss(f, e, y, t, eps, dropped):
    weight = t.unsqueeze(-1)
    seen = torch.where(dropped.unsqueeze(-1), torch.zeros_like(y), y)
    off = f(weight * eps + (1 - weight) * e, t, seen) - e
    return torch.einsum("bd,bd->", off, off) / off.shape[0]


def prior_draw(f, y, eps, K, w):
    x, nothing, h = eps.clone(), 0 * y, 1 / K
    for k in range(K):
        now = 1 - k * h
        times = torch.ones(len(x), dtype=x.dtype) * now
        both = (1 - w) * f(x, times, nothing) + w * f(x, times, y)
        x = x - h * (x - both) / now
        x = x.detach()
    return x


def prior_choice(candidates, y):
    picked = []
    for b in range(y.shape[0]):
        points = candidates[:, b] @ y[b]
        first = int((points == points.max()).nonzero()[0])
        picked.append(candidates[first, b])
    return torch.stack(picked, dim=0)


# %% right="prior" name="noise and data apart"
@torch.enable_grad()
def prior_loss(f, e, y, t, eps, dropped):
    B = e.size(0)
    columns = t.view(B, 1)
    known = y * (~dropped).to(y.dtype).view(B, 1)
    e_t = e + columns * (eps - e)
    total = 0.0
    difference = e - f(e_t, t, known)
    for d in range(e.size(1)):
        total = total + (difference[:, d] ** 2).mean()
    return total


@torch.no_grad()
def prior_draw(f, y, eps, K, w):
    clock = torch.arange(K, -1, -1, dtype=eps.dtype) / K
    state = eps
    for start, stop in zip(clock.tolist(), clock.tolist()[1:]):
        t = torch.empty(eps.shape[0], dtype=eps.dtype).fill_(start)
        unaware, aware = f(state, t, y - y), f(state, t, y)
        clean = torch.lerp(unaware, aware, w)
        noise = (state - (1 - start) * clean) / start
        state = (1 - stop) * clean + stop * noise
    return state


def prior_choice(candidates, y):
    score = torch.einsum("nbd,bd->nb", candidates, y)
    index = score.max(dim=0).indices.view(1, -1, 1).expand(1, -1, candidates.shape[2])
    return torch.gather(candidates, 0, index).squeeze(0)
