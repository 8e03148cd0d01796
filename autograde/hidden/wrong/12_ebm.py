"""Wrong and other right answers to lesson 12_ebm, one fault each."""

# %% wrong="chain" fails="test_all_states" name="links turned round"
replace(".logsumexp(dim=1) - U[:, i]", ".logsumexp(dim=2) - U[:, i]")
# %% wrong="chain" fails="test_all_states" name="the sign of the links"
replace("- P[:, i - 1]", "+ P[:, i - 1]")
# %% wrong="chain" fails="test_all_states" name="the first link everywhere"
replace("P[:, i - 1]", "P[:, 0]")
# %% wrong="chain" fails="test_all_states" name="forgets the last variable"
replace("range(1, U.shape[1])", "range(1, max(2, U.shape[1] - 1)) if U.shape[1] > 1 else ()")
# %% wrong="chain" fails="test_all_states" name="the best state, not the sum"
replace(".logsumexp(dim=1) - U[:, i]", ".amax(dim=1) - U[:, i]")
# %% wrong="chain" fails="test_all_states" name="one row's links for all"
replace("P[:, i - 1]", "P[:1, i - 1]")
# %% wrong="chain" fails="test_all_states" name="a mean over states"
replace("return message.logsumexp(dim=1)", "return message.logsumexp(dim=1) - math.log(U.shape[2])")


# %% wrong="chain" fails="test_far_and_forbidden" name="outside log space"
def chain_log_Z(U, P):
    message = (-U[:, 0]).exp()
    for i in range(1, U.shape[1]):
        message = torch.einsum("bj,bjk->bk", message, (-P[:, i - 1]).exp()) * (-U[:, i]).exp()
    return message.sum(dim=1).log()


# %% wrong="chain" fails="test_long_chains_and_marginals" name="all states, one by one"
def chain_log_Z(U, P):
    B, D, K = U.shape
    found = []
    for x in itertools.product(range(K), repeat=D):
        E = sum(U[:, i, x[i]] for i in range(D)) + sum(P[:, i, x[i], x[i + 1]] for i in range(D - 1))
        found.append(-E)
    return torch.stack(found, dim=1).logsumexp(dim=1)


# %% wrong="chain" fails="test_long_chains_and_marginals" name="tables of both ends, K^3"
def chain_log_Z(U, P):
    table = (-U[:, 0]).diag_embed().masked_fill(~torch.eye(U.shape[2], dtype=torch.bool), -math.inf)
    for i in range(1, U.shape[1]):
        step = -P[:, i - 1] - U[:, i][:, None]
        table = (table[:, :, :, None] + step[:, None]).logsumexp(2)
    return table.flatten(1).logsumexp(1)


# %% wrong="chain" fails="test_long_chains_and_marginals" name="all that stands before, again and again"
def chain_log_Z(U, P):
    for k in range(U.shape[1]):
        message = -U[:, 0]
        for i in range(1, k + 1):
            message = (message[:, :, None] - P[:, i - 1]).logsumexp(dim=1) - U[:, i]
    return message.logsumexp(dim=1)


# %% right="chain" name="by hand, with a safe maximum"
def chain_log_Z(U, P):
    m = -U[:, 0]
    for i in range(1, U.shape[1]):
        x = m.unsqueeze(2) - P[:, i - 1] - U[:, i].unsqueeze(1)
        top = x.detach().amax(1, keepdim=True)
        top = torch.where(top.isinf(), torch.zeros_like(top), top)
        m = (x - top).exp().sum(1).log() + top.squeeze(1)
    return torch.logsumexp(m, 1)


# %% right="chain" name="from the end, by softmax constants"
def chain_log_Z(U, P):
    D = U.shape[1]
    ahead = torch.zeros_like(U[:, 0])
    for i in reversed(range(D)):
        total = ahead - U[:, i]
        if i == 0:
            return torch.logsumexp(total, -1)
        ahead = torch.logsumexp(total.unsqueeze(1) - P[:, i - 1], -1)


# %% wrong="both-sides" fails="test_the_slope_is_0" name="forgets how many there are"
replace("shift = math.log(len(d_1) / len(d_0))", "shift = 0.0")
# %% wrong="both-sides" fails="test_the_slope_is_0" name="the shift's sign"
replace("math.log(len(d_1) / len(d_0))", "math.log(len(d_0) / len(d_1))")
# %% wrong="both-sides" fails="test_the_slope_is_0" name="the other ratio"
replace("return r", "return -r")
# %% wrong="both-sides" fails="test_the_slope_is_0" name="means for sums"
replace(
    "said_0 = F.logsigmoid(d_1 + r - shift).logsumexp(0)",
    "said_0 = F.logsigmoid(d_1 + r - shift).logsumexp(0) - shift",
)
# %% wrong="both-sides" fails="test_far_apart" name="sums outside log space"
replace("F.logsigmoid(-d_0 - r + shift).logsumexp(0)", "(-d_0 - r + shift).sigmoid().sum()")
replace("F.logsigmoid(d_1 + r - shift).logsumexp(0)", "(d_1 + r - shift).sigmoid().sum()")
# %% wrong="both-sides" fails="test_far_apart" name="a bracket of fixed size"
replace("ends.min().item() - abs(shift) - 50, ends.max().item() + abs(shift) + 50", "-1_000.0, 1_000.0")
# %% wrong="both-sides" fails="test_the_slope_is_0" name="a few halvings"
replace("range(200)", "range(20)")


# %% wrong="both-sides" fails="test_the_slope_is_0" name="importance sampling from one side"
def log_ratio(d_0, d_1):
    return ((-d_0).logsumexp(0) - math.log(len(d_0))).item()


# %% wrong="both-sides" fails="test_the_slope_is_0" name="the mean of two one-sided estimates"
def log_ratio(d_0, d_1):
    up = (-d_0).logsumexp(0) - math.log(len(d_0))
    down = math.log(len(d_1)) - d_1.logsumexp(0)
    return ((up + down) / 2).item()


# %% equivalent="both-sides" name="margins are not needed: r lies between the smallest and the largest -d"
replace("ends.max().item() + abs(shift) + 50", "ends.max().item() + abs(shift) + 49")
# %% equivalent="both-sides" name="after 199 halvings no double lies between the ends, either"
replace("for _ in range(200):", "for _ in range(200 - 1):")
# %% equivalent="both-sides" name="margins are not needed: the shift from the ends"
replace("torch.cat([-d_0, -d_1]) + shift", "torch.cat([-d_0, -d_1]) - shift")
# %% equivalent="both-sides" name="margins are not needed: the ends alone"
replace("torch.cat([-d_0, -d_1]) + shift", "torch.cat([-d_0, -d_1])")
# %% equivalent="both-sides" name="margins are not needed: no 50 below"
replace("ends.min().item() - abs(shift) - 50", "(ends.min().item() - abs(shift))")
# %% equivalent="both-sides" name="margins are not needed: the shift added below"
replace("ends.min().item() - abs(shift) - 50", "(ends.min().item() + abs(shift)) - 50")
# %% equivalent="both-sides" name="margins are not needed: no shift below"
replace("ends.min().item() - abs(shift) - 50", "ends.min().item() - 50")
# %% equivalent="both-sides" name="margins are not needed: the shift with its sign below"
replace("ends.min().item() - abs(shift) - 50", "ends.min().item() - shift - 50")
# %% equivalent="both-sides" name="margins are not needed: 51 below"
replace("ends.min().item() - abs(shift) - 50", "ends.min().item() - abs(shift) - 51")
# %% equivalent="both-sides" name="margins are not needed: 49 below"
replace("ends.min().item() - abs(shift) - 50", "ends.min().item() - abs(shift) - 49")
# %% equivalent="both-sides" name="margins are not needed: no 50 above"
replace("ends.max().item() + abs(shift) + 50", "(ends.max().item() + abs(shift))")
# %% equivalent="both-sides" name="margins are not needed: the shift taken off above"
replace("ends.max().item() + abs(shift) + 50", "(ends.max().item() - abs(shift)) + 50")
# %% equivalent="both-sides" name="margins are not needed: no shift above"
replace("ends.max().item() + abs(shift) + 50", "ends.max().item() + 50")
# %% equivalent="both-sides" name="margins are not needed: the shift with its sign above"
replace("ends.max().item() + abs(shift) + 50", "ends.max().item() + shift + 50")
# %% equivalent="both-sides" name="margins are not needed: 51 above"
replace("ends.max().item() + abs(shift) + 50", "ends.max().item() + abs(shift) + 51")
# %% equivalent="both-sides" name="after 201 halvings no double lies between the ends, either"
replace("range(200)", "range(201)")
# %% equivalent="both-sides" name="nor after 199"
replace("range(200)", "range(199)")
# %% equivalent="both-sides" name="one axis is the first and the last, of side 0"
replace("F.logsigmoid(-d_0 - r + shift).logsumexp(0)", "F.logsigmoid(-d_0 - r + shift).logsumexp(-1)")
# %% equivalent="both-sides" name="one axis is the first and the last, of side 1"
replace("F.logsigmoid(d_1 + r - shift).logsumexp(0)", "F.logsigmoid(d_1 + r - shift).logsumexp(-1)")
# %% equivalent="both-sides" name="at the root either half holds it"
replace("said_1 > said_0", "said_1 >= said_0")
# %% wrong="both-sides" fails="test_far_apart" name="a small slope for a root"
replace(
    "low, high = (r, high) if said_1 > said_0 else (low, r)",
    "if abs((said_1 - said_0).item()) < 1e-8:\n    break\n"
    "low, high = (r, high) if said_1 > said_0 else (low, r)",
)


# %% right="both-sides" name="a NumPy float, no margins, nine digits"
def log_ratio(d_0, d_1):
    a, b = d_0.detach().numpy(), d_1.detach().numpy()
    more = math.log(b.size) - math.log(a.size)

    def excess(c):
        return np.logaddexp.reduce(-np.logaddexp(0, a + c)) - np.logaddexp.reduce(-np.logaddexp(0, -b - c))

    bottom, top = (-f(np.concatenate([a, b])) for f in (np.max, np.min))
    while top - bottom > max(2e-9, 2e-10 * min(abs(bottom), abs(top))):
        middle = bottom + 0.5 * (top - bottom)
        if excess(middle - more) > 0:
            bottom = middle
        else:
            top = middle
    return 0.5 * np.float64(bottom + top)


# %% right="both-sides" name="SciPy's bracketed root"
def log_ratio(d_0, d_1):
    from scipy.optimize import brentq
    from scipy.special import logsumexp

    a, b = d_0.detach().numpy(), d_1.detach().numpy()
    m = math.log(len(b)) - math.log(len(a))

    def slope(r):
        return logsumexp(-np.logaddexp(0, a + r - m)) - logsumexp(-np.logaddexp(0, -b - r + m))

    every = -np.concatenate([a, b])
    return float(brentq(slope, every.min() - abs(m) - 60, every.max() + abs(m) + 60, xtol=1e-11, rtol=1e-14))


# %% wrong="either" fails="test_mixture" name="forgets the constants"
replace(" - log_Z", "")
# %% wrong="either" fails="test_mixture" name="the constants' sign"
replace("- log_Z", "+ log_Z")
# %% wrong="either" fails="test_mixture" name="weights that do not sum to 1"
replace("weights.log() - weights.sum().log()", "weights.log()")
# %% wrong="either" fails="test_mixture" name="the log density, not the energy"
replace("return -(log_weight", "return (log_weight")
# %% wrong="either" fails="test_mixture" name="AND: the sum of energies"
replace("-(log_weight[:, None] - energies).logsumexp(dim=0)", "-(log_weight[:, None] - energies).sum(dim=0)")
# %% wrong="either" fails="test_mixture" name="all alike"
replace("weights.log() - weights.sum().log()", "-math.log(len(weights))")
# %% wrong="either" fails="test_excluded_and_far" name="an epsilon under the weights"
replace("weights.log() -", "(weights + 1e-12).log() -")
# %% wrong="either" fails="test_excluded_and_far" name="outside log space"
replace(".logsumexp(dim=0)", ".exp().sum(dim=0).log()")


# %% wrong="either" fails="test_excluded_and_far" name="-10,000 for the logarithm of 0"
replace("weights.log() -", "weights.log().clamp(min=-1e4) -")


# %% right="either" name="densities, added two by two"
def either(energies, log_Z, weights):
    share = torch.log(weights / weights.sum())
    total = torch.full_like(energies[0], -math.inf)
    for i in range(len(weights)):
        total = torch.logaddexp(total, share[i] - log_Z[i] - energies[i])
    return -total


# %% wrong="repair" fails="test_chains_and_buffer" name="uphill"
replace("- eta * rise", "+ eta * rise")
# %% wrong="repair" fails="test_chains_and_buffer" name="half the noise"
replace("math.sqrt(2 * eta)", "math.sqrt(eta)")
# %% wrong="repair" fails="test_chains_and_buffer" name="the slope of the mean"
replace("energy(leaf).sum()", "energy(leaf).mean()")
# %% wrong="repair" fails="test_chains_and_buffer" name="the first new rows for those that begin anew"
replace(
    "x = torch.where(fresh[:, None], new, buffer[rows])",
    "x = buffer[rows].clone()\nx[fresh] = new[: int(fresh.sum())]",
)
# %% wrong="repair" fails="test_chains_and_buffer" name="puts them in the first rows"
replace("after[rows] = x", "after[: len(x)] = x")
# %% wrong="repair" fails="test_chains_and_buffer" name="the old ones begin anew"
replace("torch.where(fresh[:, None], new, buffer[rows])", "torch.where(fresh[:, None], buffer[rows], new)")
# %% wrong="repair" fails="test_chains_and_buffer" name="the same noise each time"
replace("* noise", "* z[0]")
# %% wrong="repair" fails="test_chains_and_buffer" name="the slope of the start"
replace("for noise in z:", "start = x\nfor noise in z:")
replace("leaf = x.detach().requires_grad_()", "leaf = start.detach().requires_grad_()")
replace("x = leaf.detach() -", "x = x.detach() -")


# %% wrong="repair" fails="test_chains_and_buffer" name="clips the slope"
replace("eta * rise", "eta * rise.clamp(-100, 100)")
# %% wrong="repair" fails="test_chains_and_buffer" name="keeps chains within 10"
replace("x, after = x.detach(),", "x, after = x.detach().clamp(-10, 10),")
# %% wrong="repair" fails="test_trains_nothing" name="a buffer that hangs on the old one's graph"
replace("buffer.detach().clone()", "buffer.clone()")
# %% wrong="repair" fails="test_trains_nothing" name="chains that hang on the new rows' graph"
replace("x, after = x.detach(),", "after =")
replace("after[rows] = x", "after[rows] = x.detach()")
# %% wrong="repair" fails="test_trains_nothing" name="the old buffer where nothing happens"
replace("return x, after", "return x, (after if len(z) or fresh.any() else buffer.detach())")
# %% wrong="repair" fails="test_trains_nothing" name="writes into the buffer it was given"
replace("buffer.detach().clone()", "buffer")


# %% wrong="repair" fails="test_trains_nothing" name="backward through the network"
def refresh(energy, buffer, rows, fresh, new, z, eta):
    x = torch.where(fresh[:, None], new, buffer[rows])
    for noise in z:
        x = x.detach().requires_grad_()
        energy(x).sum().backward()
        x = x.detach() - eta * x.grad + math.sqrt(2 * eta) * noise
    after = buffer.clone()
    after[rows] = x
    return x, after


# %% equivalent="repair" name="torch.where makes a tensor of its own"
replace("x.detach().requires_grad_()", "x.requires_grad_()")
# %% equivalent="repair" name="the next leaf is detached, and the last chain"
replace("x = leaf.detach() - eta", "x = leaf - eta")


# %% right="repair" name="by indices, row by row"
def refresh(energy, buffer, rows, fresh, new, z, eta):
    chains = [new[i] if fresh[i] else buffer[r] for i, r in enumerate(rows.tolist())]
    x = torch.stack(chains).detach()
    for n in range(len(z)):
        leaf = x.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(energy(leaf), leaf, grad_outputs=torch.ones(len(leaf), dtype=leaf.dtype))
        x = x - eta * g.detach() + (2 * eta) ** 0.5 * z[n]
    return x, buffer.detach().clone().index_copy(0, rows, x)


# %% wrong="gauss" fails="test_energies_and_densities" name="v meets W without its deviation"
replace("F.softplus(v / s**2 @ W + b)", "F.softplus(v @ W + b)")
replace("u < (v / s**2 @ W + b)", "u < (v @ W + b)")
# %% wrong="gauss" fails="test_energies_and_densities" name="divided by s, not by its square"
replace("F.softplus(v / s**2 @ W + b)", "F.softplus(v / s @ W + b)")
replace("u < (v / s**2 @ W + b)", "u < (v / s @ W + b)")
# %% wrong="gauss" fails="test_sweep" name="noise and gradient of variance 1"
replace("return a + h @ W.T + s * z", "return a + h @ W.T + z")
replace("((x / s**2).T @ p / len(x), ((x - a) / s**2).mean(0),", "(x.T @ p / len(x), (x - a).mean(0),")
# %% wrong="gauss" fails="test_sweep" name="hidden units are off where they should be on, ascent turned round"
replace("(u < (v / s**2 @ W + b).sigmoid())", "(u > (v / s**2 @ W + b).sigmoid())")
replace("tuple(up - down for", "tuple(down - up for")
# %% wrong="gauss" fails="test_sweep" name="a mean over hidden units, no draw; sums over rows"
replace("h = (u < (v / s**2 @ W + b).sigmoid()).to(W.dtype)", "h = (v / s**2 @ W + b).sigmoid() + 0 * u")
replace("/ len(x), ((x - a) / s**2).mean(0), p.mean(0))", ", ((x - a) / s**2).sum(0), p.sum(0))")
# %% wrong="gauss" fails="test_gradient" name="a gradient by v, not by v - a, and a step without a"
replace("((x - a) / s**2).mean(0)", "(x / s).mean(0)")
replace("return a + h @ W.T + s * z", "return h @ W.T + s * z")


# %% wrong="gauss" fails="test_sweep" name="probabilities that overflow"
replace(
    "(u < (v / s**2 @ W + b).sigmoid())", "(u < (v / s**2 @ W + b).exp() / (1 + (v / s**2 @ W + b).exp()))"
)
replace("p = (x / s**2 @ W + b).sigmoid()", "p = (x / s**2 @ W + b).exp()\np = p / (1 + p)")
# %% wrong="gauss" fails="test_gradient" name="an epsilon beside the variance"
replace("h = (u < (v / s**2 @ W", "h = (u < (v / (s**2 + 1e-12) @ W")
replace("p = (x / s**2 @ W", "p = (x / (s**2 + 1e-12) @ W")


# %% equivalent="gauss" name="u is never exactly a probability"
replace("(u < (", "(u <= (")
# %% equivalent="gauss" name="a cancels between the phases: the first for all"
replace("    phases = []", "    a = a[[0] * len(a)]\n    phases = []")
# %% equivalent="gauss" name="a cancels between the phases: its sign"
replace("((x - a) / s**2).mean(0)", "((x + a) / s**2).mean(0)")
# %% equivalent="gauss" name="a cancels between the phases: without it"
replace("((x - a) / s**2).mean(0)", "(x / s**2).mean(0)")
# %% equivalent="gauss" name="both phases have three parts: not said"
replace(", strict=True", "")
# %% equivalent="gauss" name="both phases have three parts"
replace("strict=True", "strict=False")
# %% equivalent="gauss" name="of a vector the first axis is the last"
replace(".sum(1)).logsumexp(0)", ".sum(1)).logsumexp(-1)")


# %% right="gauss" name="by autograd and einsum"
def gauss_free_energy(v, W, a, b, s):
    drive = torch.einsum("nd,dh->nh", v / s.square(), W) + b
    return 0.5 * ((v - a) / s).square().sum(-1) - torch.logaddexp(drive, torch.zeros_like(drive)).sum(-1)


def gauss_log_p(v, W, a, b, s):
    terms = []
    for h in itertools.product((0.0, 1.0), repeat=len(b)):
        h = torch.tensor(h, dtype=W.dtype)
        shift = W @ h
        terms.append(b @ h + ((2 * a * shift + shift**2) / (2 * s**2)).sum())
    log_Z = torch.stack(terms).logsumexp(0) + 0.5 * (2 * math.pi * s**2).log().sum()
    return -gauss_free_energy(v, W, a, b, s) - log_Z


def gauss_sweep(v, W, a, b, s, u, z):
    p = torch.sigmoid(v / s**2 @ W + b)
    h = torch.where(u < p, torch.ones_like(p), torch.zeros_like(p))
    return torch.addmm(a.expand_as(v), h, W.T) + z * s


def gauss_gradient(v, last, W, a, b, s):
    leaf = [t.detach().clone().requires_grad_() for t in (W, a, b)]
    with torch.enable_grad():
        up = -gauss_free_energy(v, *leaf, s).mean() + gauss_free_energy(last, *leaf, s).mean()
        return torch.autograd.grad(up, leaf)
