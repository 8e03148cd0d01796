"""Wrong and other right answers to lesson 03_made."""

# %% wrong="block-masks" fails="test_ways_through_all_layers" name="strict inside, too"
replace("b[:, None] >= a for", "b[:, None] > a for")
# %% wrong="block-masks" fails="test_ways_through_all_layers" name="not strict at the end: a leak"
replace("rank[:, None] > degrees[-1]", "rank[:, None] >= degrees[-1]")
# %% wrong="block-masks" fails="test_any_numbers" name="takes numbers for ranks"
replace("torch.unique(block, return_inverse=True)[1]", "block - block.min()")
# %% wrong="block-masks" fails="test_ways_through_all_layers" name="pixels of a block in a row"
replace("torch.unique(block, return_inverse=True)[1]", "block.argsort(stable=True).argsort()")
# %% wrong="block-masks" fails="test_ways_through_all_layers" name="hidden numbers that nobody hears"
replace("max(int(rank.max()), 1)", "int(rank.max()) + 1")
# %% wrong="block-masks" fails="test_ways_through_all_layers" name="(in, out)"
replace("b[:, None] >= a for", "(b[:, None] >= a).mT for")
# %% wrong="block-masks" fails="test_ways_through_all_layers" name="numbers for truth values"
replace("b[:, None] >= a for", "(b[:, None] >= a).float() for")
# %% wrong="block-masks" fails="test_ways_through_all_layers" name="MADE's degrees: one for each pixel"
replace("max(int(rank.max()), 1)", "max(len(block) - 1, 1)")
# %% wrong="block-masks" fails="test_any_numbers" name="no case for one block"
replace("max(int(rank.max()), 1)", "int(rank.max())")
# %% wrong="block-masks" fails="test_ways_through_all_layers" name="the larger number first"
replace("torch.unique(block, return_inverse=True)[1]", "torch.unique(-block, return_inverse=True)[1]")
# %% wrong="block-masks" fails="test_any_numbers" name="numbers pass through float64"
replace("torch.unique(block, ", "torch.unique(block.double(), ")


# %% right="block-masks" name="by the block's numbers, in lists"
def block_masks(block, widths):
    steps = sorted(set(block.tolist()))
    may_know = steps[:-1] or steps
    sources, found = block.tolist(), []
    for width in widths:
        targets = [may_know[h % len(may_know)] for h in range(width)]
        found.append(torch.tensor([[source <= target for source in sources] for target in targets]))
        sources = targets
    found.append(torch.tensor([[source < pixel for source in sources] for pixel in block.tolist()]))
    return tuple(found)


# %% wrong="ensemble-next" fails="test_conditional_of_the_mean" name="the mean of the logarithms"
replace(
    "return joint.logsumexp(dim=0) - log_known.logsumexp(dim=0)[:, None]",
    "return logits.log_softmax(2).mean(0)",
)


# %% wrong="ensemble-next" fails="test_conditional_of_the_mean" name="all members have the same say"
def ensemble_next(log_known, logits):
    return logits.log_softmax(2).logsumexp(0) - math.log(len(logits))


# %% wrong="ensemble-next" fails="test_conditional_of_the_mean" name="logits taken for log-probabilities"
replace(".log_softmax(dim=2)", "")
# %% wrong="ensemble-next" fails="test_conditional_of_the_mean" name="the joint, not the conditional"
replace(" - log_known.logsumexp(dim=0)[:, None]", "")
# %% wrong="ensemble-next" fails="test_members_far_apart" name="outside log space"
replace(
    "return joint.logsumexp(dim=0) - log_known.logsumexp(dim=0)[:, None]",
    "return (joint.exp().sum(dim=0) / log_known.exp().sum(dim=0)[:, None]).log()",
)
# %% wrong="ensemble-next" fails="test_members_far_apart" name="one maximum for all rows"
replace(
    "joint = log_known[:, :, None] + logits.log_softmax(dim=2)",
    "log_known = (log_known - log_known.max()).exp().log()\n"
    "joint = log_known[:, :, None] + logits.log_softmax(dim=2)",
)
# %% wrong="ensemble-next" fails="test_members_far_apart" name="a floor for what is ruled out"
replace("log_known[:, :, None] + logits", "log_known[:, :, None] + logits.clamp(min=-1e4)")
# %% wrong="ensemble-next" fails="test_conditional_of_the_mean" name="the best member alone"
replace("joint.logsumexp(dim=0)", "joint.amax(dim=0)")
# %% wrong="ensemble-next" fails="test_conditional_of_the_mean" name="normalised over members"
replace("log_softmax(dim=2)", "log_softmax(dim=0)")
# %% wrong="ensemble-next" fails="test_members_far_apart" name="the logarithm of what underflowed"
replace("logits.log_softmax(dim=2)", "logits.softmax(dim=2).log()")
# %% wrong="ensemble-next" fails="test_members_far_apart" name="a finite number for a member that is out"
replace(
    "joint = log_known[:, :, None] + logits.log_softmax(dim=2)",
    "log_known = log_known.clamp(min=-1e30)\njoint = log_known[:, :, None] + logits.log_softmax(dim=2)",
)


# %% right="ensemble-next" name="one member after the other"
def ensemble_next(log_known, logits):
    both, before = None, None
    for known, own in zip(log_known, logits, strict=True):
        scores = own - own.logsumexp(-1, keepdim=True) + known.unsqueeze(1)
        both = scores if both is None else torch.logaddexp(both, scores)
        before = known if before is None else torch.logaddexp(before, known)
    return both - before.unsqueeze(1)


# %% wrong="confident-law" fails="test_law_of_any_table" name="the least sure first"
replace("key=lambda a: -sure[a]", "key=lambda a: sure[a]")
# %% wrong="confident-law" fails="test_law_of_any_table" name="from left to right"
replace("key=lambda a: -sure[a]", "key=lambda a: 0")
# %% wrong="confident-law" fails="test_impossible_and_equal" name="of equally sure ones the higher"
replace("sorted(range(len(hidden)),", "sorted(reversed(range(len(hidden))),")
# %% wrong="confident-law" fails="test_law_of_any_table" name="drawn together, not independently"
replace("go((None,) * table.ndim, 1.0)", "q = table.clone()")
# %% wrong="confident-law" fails="test_impossible_and_equal" name="what is impossible is lost"
replace("torch.full_like(each, 1 / K)", "each")
# %% wrong="confident-law" fails="test_impossible_and_equal" name="sure is who has the largest lead"
replace("round(p.max().item(), 9)", "round(p.sort().values.diff()[-1].item(), 9)")
# %% wrong="confident-law" fails="test_law_of_any_table" name="two a pass, always"
replace("[:per_pass]", "[:2]")
# %% wrong="confident-law" fails="test_impossible_and_equal" name="tells apart what only rounding does"
replace("round(p.max().item(), 9)", "p.max().item()")
# %% wrong="confident-law" fails="test_law_of_any_table" name="the first pass's sureness for all passes"
replace(
    "sure = [round(p.max().item(), 9) for p in each]",
    "sure = [round(p.max().item(), 9) for p in each]\n"
    "if len(hidden) == table.ndim:\n"
    "    q.first = sure\n"
    "sure = [q.first[i] for i in hidden]",
)
# %% wrong="confident-law" fails="test_law_of_any_table" name="sure is who has the least entropy"
replace("round(p.max().item(), 9)", "round(-torch.special.entr(p).sum().item(), 9)")
# %% wrong="confident-law" fails="test_law_of_any_table" name="sure is whose second level is unlikely"
replace("round(p.max().item(), 9)", "round(-p.sort().values[-2].item(), 9)")
# %% wrong="confident-law" fails="test_impossible_and_equal" name="rounds the mass, not the probability"
replace(
    "each = each / each[0].sum() if rest.sum() > 0 else torch.full_like(each, 1 / K)\n"
    "sure = [round(p.max().item(), 9) for p in each]",
    "sure = [round(p.max().item(), 9) for p in each]\n"
    "each = each / each[0].sum() if rest.sum() > 0 else torch.full_like(each, 1 / K)",
)
# %% wrong="confident-law" fails="test_impossible_and_equal" name="very improbable is impossible"
replace("rest.sum() > 0", "rest.sum() > 1e-12")


# %% equivalent="confident-law" name="all axes are alike"
replace("K, q = table.shape[0], torch.zeros_like(table)", "K, q = table.shape[-1], torch.zeros_like(table)")


# %% equivalent="confident-law" name="a mean is 0 where a sum is"
replace("rest.sum() > 0", "rest.mean() > 0")
# %% equivalent="confident-law" name="both have one number for each chosen pixel: the names"
replace(
    "new = dict(zip([hidden[a] for a in chosen], levels, strict=True))",
    "new = dict(zip([hidden[a] for a in chosen], levels, strict=False))",
)
# %% equivalent="confident-law" name="both have one number for each chosen pixel: the probabilities"
replace("zip(chosen, levels, strict=True)", "zip(chosen, levels, strict=False)")


# %% right="confident-law" name="pass after pass, with sums over all pictures"
def confident_law(table, per_pass):
    K, D, p = len(table), table.dim(), table.flatten()
    pictures = torch.tensor(list(itertools.product(range(K), repeat=D)))
    shows = F.one_hot(pictures, K).to(p.dtype)
    states = {(K,) * D: 1.0}
    for _ in range(0, D, per_pass):
        later = {}
        for state, share in states.items():
            s = torch.tensor(state)
            mass = p * ((pictures == s) | (s == K)).all(dim=1)
            each = torch.einsum("n,ndk->dk", mass, shows)
            each = torch.ones_like(each) / K if mass.sum() == 0 else each / mass.sum()
            sure = (each.amax(dim=1) * 1e9).round().tolist()
            chosen = sorted((i for i in range(D) if state[i] == K), key=lambda i: (-sure[i], i))[:per_pass]
            ways = {state: share}
            for i in chosen:
                ways = {
                    (*w[:i], level, *w[i + 1 :]): have * each[i, level].item()
                    for w, have in ways.items()
                    for level in range(K)
                    if each[i, level] > 0
                }
            for w, have in ways.items():
                later[w] = later.get(w, 0.0) + have
        states = later
    q = torch.zeros(table.shape, dtype=table.dtype)
    for state, share in states.items():
        q[state] = share
    return q


# %% wrong="repair" fails="test_filled_and_weighed" name="asks once, before anything is drawn"
replace(
    "x, log_w = x.where(known, 0), 0.0",
    "x, log_w = x.where(known, 0), 0.0\nfirst = net(x.clone())",
)
replace("net(x)[:, i]", "first[:, i]")
# %% wrong="repair" fails="test_filled_and_weighed" name="draws over what is known"
replace("torch.where(known[:, i], x[:, i], (log_p + g[:, i]).argmax(1))", "(log_p + g[:, i]).argmax(1)")
# %% wrong="repair" fails="test_filled_and_weighed" name="weighs what is drawn, too"
replace(".where(known[:, i], 0)", "")
# %% wrong="repair" fails="test_filled_and_weighed" name="noise on probabilities"
replace("(log_p + g[:, i])", "(log_p.exp() + g[:, i])")
# %% wrong="repair" fails="test_filled_and_weighed" name="weighs the drawn ones alone"
replace(".where(known[:, i], 0)", ".where(~known[:, i], 0)")
# %% wrong="repair" fails="test_filled_and_weighed" name="shows what is no level"
replace("x.where(known, 0), 0.0", "x.clone(), 0.0")
# %% wrong="repair" fails="test_filled_and_weighed" name="logits taken for nats"
replace(".log_softmax(1)", "")
# %% wrong="repair" fails="test_filled_and_weighed" name="the weight, not its logarithm"
replace("return x, log_w", "return x, log_w.exp()")
# %% wrong="repair" fails="test_filled_and_weighed" name="one weight for all rows"
replace("return x, log_w", "return x, log_w.mean().expand(len(x))")
# %% wrong="repair" fails="test_filled_and_weighed" name="the likeliest level for a draw"
replace("(log_p + g[:, i])", "log_p")
# %% wrong="repair" fails="test_filled_and_weighed" name="the first row's gaps for all"
replace(
    "x, log_w = x.where(known, 0), 0.0",
    "x, log_w = x.where(known, 0), 0.0\nknown = known[:1].expand_as(known)",
)
# %% wrong="repair" fails="test_filled_and_weighed" name="the logarithm of what underflowed"
replace(".log_softmax(1)", ".softmax(1).log()")
# %% wrong="repair" fails="test_all_none_and_kinds" name="weights of the noise's type"
replace("return x, log_w", "return x, log_w.to(g.dtype)")


# %% equivalent="repair" name="any level may stand where nothing is known yet"
replace("x, log_w = x.where(known, 0), 0.0", "x, log_w = x.where(known, 1), 0.0")


# %% right="repair" name="columns, put together at the end"
def repaired_fill(net, x, known, g):
    given = x * known
    canvas = torch.zeros_like(given)
    nats = []
    for i in range(g.shape[1]):
        logits = net(canvas.clone())[:, i, :]
        total = logits.logsumexp(-1, keepdim=True)
        choice = torch.max(logits - total + g[:, i, :], dim=-1).indices
        level = given[:, i] * known[:, i] + choice * ~known[:, i]
        own = torch.gather(logits, 1, level[:, None]) - total
        nats.append(torch.where(known[:, i], own.squeeze(1), torch.zeros_like(own.squeeze(1))))
        canvas = torch.cat([canvas[:, :i], level[:, None], canvas[:, i + 1 :]], dim=1)
    return canvas, torch.stack(nats).sum(0)


# %% wrong="any-clock" fails="test_loss_of_any_clock" name="by the visible share"
replace("slope / (1 - alpha)", "slope / (alpha + 1e-3)")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="the uniform clock's weight for all"
replace("slope / (1 - alpha)", "-1 / (1 - alpha)")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="counts what is visible"
replace("(log_each * hidden)", "(log_each * ~hidden)")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="shows what is hidden"
replace("net(torch.where(hidden, K, x))", "net(x)")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="the sign"
replace("return slope /", "return -slope /")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="hides the wrong ones"
replace("hidden = u >= alpha[:, None]", "hidden = u < alpha[:, None]")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="a mean over pixels"
replace("(log_each * hidden).sum(1)", "(log_each * hidden).mean(1)")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="no gradient"
replace("log_softmax(2).gather", "log_softmax(2).detach().gather")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="the first row's time for all"
replace("hidden = u >= alpha[:, None]", "hidden = u >= alpha[:1, None]")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="the share that comes, of all pixels"
replace("(alpha_s - alpha_t) / (1 - alpha_t)", "(alpha_s - alpha_t)")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="draws again what is visible"
replace("(x == K) & (u", "(u")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="visible with probability alpha_s"
replace("(alpha_s - alpha_t) / (1 - alpha_t)", "alpha_s")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="the likeliest level, without noise"
replace("(net(x) + g)", "net(x)")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="begins with level 0"
replace("torch.full(u.shape[1:], g.shape[3])", "torch.zeros(u.shape[1:], dtype=torch.int64)")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="the same uniforms in each step"
replace("u[n], g[n])", "u[0], g[n])")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="the same noise in each step"
replace("u[n], g[n])", "u[n], g[0])")
# %% wrong="any-clock" fails="test_loss_of_any_clock" name="an epsilon under the weight"
replace("slope / (1 - alpha)", "slope / (1 - alpha + 1e-10)")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="an epsilon under the probability"
replace("(alpha_s - alpha_t) / (1 - alpha_t)", "(alpha_s - alpha_t) / (1 - alpha_t + 1e-8)")
# %% wrong="any-clock" fails="test_steps_and_pictures" name="never quite sure to reveal"
replace("u < (alpha_s - alpha_t) / (1 - alpha_t)", "u < min((alpha_s - alpha_t) / (1 - alpha_t), 1 - 1e-6)")


# %% right="any-clock" name="cross entropy and loops"
def diffusion_loss(net, x, K, alpha, slope, u):
    shown = x.clone()
    hidden = ~(u < alpha[:, None])
    shown[hidden] = K
    logits = net(shown)
    nats = F.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none").reshape(x.shape)
    return -slope * nats.masked_fill(~hidden, 0).sum(-1) / (1 - alpha)


def diffusion_step(net, x, alpha_t, alpha_s, u, g):
    K = g.shape[-1]
    p = (alpha_s - alpha_t) / (1 - alpha_t)
    scores = net(x) + g
    out = []
    for b in range(x.shape[0]):
        out.append([])
        for d in range(x.shape[1]):
            v = int(x[b, d])
            out[-1].append(int(scores[b, d].argmax()) if v == K and float(u[b, d]) < p else v)
    return torch.tensor(out)


def write(net, alphas, u, g):
    n, B, D, K = g.shape
    x = torch.tensor([[K] * D] * B)
    for i, (t, s) in enumerate(itertools.pairwise(alphas)):
        x = diffusion_step(net, x, t, s, u[i], g[i])
    return x


# %% right="any-clock" name="by masks, products and lists"
def diffusion_loss(net, x, K, alpha, slope, u):
    seen = (u < alpha.unsqueeze(1)).long()
    logits = net(x * seen + K * (1 - seen))
    chosen = (logits * F.one_hot(x, K)).sum(-1)
    missed = logits.logsumexp(-1) - chosen
    rate = slope.neg().div(1 - alpha)
    return torch.einsum("b,bd,bd->b", rate, missed, (1 - seen).to(missed.dtype))


def diffusion_step(net, x, alpha_t, alpha_s, u, g):
    stays_hidden = (1 - alpha_s) / (1 - alpha_t)
    levels = torch.max(net(x).log_softmax(-1) + g, dim=-1).indices
    opened = x.eq(g.size(-1)).logical_and(1 - u > stays_hidden)
    result = x.clone()
    result[opened] = levels[opened]
    return result


def write(net, alphas, u, g):
    x = torch.zeros_like(g[0, :, :, 0], dtype=torch.int64) + g.size(-1)
    clock = list(alphas)
    for before, after, own_u, own_g in zip(clock[:-1], clock[1:], u, g, strict=True):
        x = diffusion_step(net, x, before, after, own_u, own_g)
    return x
