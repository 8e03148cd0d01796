"""Wrong and other right answers to lesson 26_tokens_to_images."""


# %% wrong="top-k" fails="test_ordered_results_sum_to_one" name="with replacement"
def log_p_ordered(logits, picked):
    return logits.log_softmax(1).gather(1, picked).sum(1)


# %% wrong="top-k" fails="test_ordered_far_apart" name="subtracts from 1"
def log_p_ordered(logits, picked):
    p = logits.softmax(1).gather(1, picked)
    before = p.cumsum(1) - p
    return (p / (1 - before)).log().sum(1)


# %% wrong="top-k" fails="test_ordered_results_sum_to_one" name="any order counts"
def log_p_ordered(logits, picked):
    total, left = 0.0, logits
    for j in range(picked.shape[1]):
        place = picked[:, j : j + 1]
        total = total + left.gather(1, place)[:, 0] - left.logsumexp(1)
        left = left.scatter(1, place, -torch.inf)
    return total + math.lgamma(picked.shape[1] + 1)


# %% wrong="top-k" fails="test_ordered_results_sum_to_one" name="only the first draw"
def log_p_ordered(logits, picked):
    return logits.log_softmax(1).gather(1, picked)[:, 0]


# %% wrong="top-k" fails="test_ordered_results_sum_to_one" name="removes the next one too early"
def log_p_ordered(logits, picked):
    total, left = 0.0, logits
    for j in range(picked.shape[1]):
        place = picked[:, j : j + 1]
        total = total + logits.gather(1, place)[:, 0]
        left = left.scatter(1, place, -torch.inf)
        if j < picked.shape[1] - 1:
            total = total - left.logsumexp(1)
    return total


# %% right="top-k" name="sums from the end"
def log_p_ordered(logits, picked):
    rest = logits.scatter(1, picked, -torch.inf)
    chosen = logits.gather(1, picked)  # (B, k)
    columns = torch.cat([chosen, rest], dim=1)
    k = picked.shape[1]
    return sum(chosen[:, j] - columns[:, j:].logsumexp(1) for j in range(k))


# %% wrong="noise-behind" fails="test_inversion" name="all sums shifted under the top"
def sums_given(logits, k, u):
    z = logits - (-u.log()).log()
    top = logits.logsumexp(1, keepdim=True) - (-u.gather(1, k[:, None]).log()).log()
    return torch.minimum(z, top).scatter(1, k[:, None], top)


# %% wrong="noise-behind" fails="test_inversion" name="the top has its own location"
def sums_given(logits, k, u):
    top = (logits - (-u.log()).log()).gather(1, k[:, None])
    others = -torch.logaddexp(-top, (-u.log()).log() - logits)
    return others.scatter(1, k[:, None], top)


# %% wrong="noise-behind" fails="test_inversion" name="no cut-off"
def sums_given(logits, k, u):
    top = logits.logsumexp(1, keepdim=True) - (-u.gather(1, k[:, None]).log()).log()
    return (logits - (-u.log()).log()).scatter(1, k[:, None], top)


# %% wrong="noise-behind" fails="test_inversion" name="the largest logit instead of the given place"
def sums_given(logits, k, u):
    k = logits.argmax(1)
    top = logits.logsumexp(1, keepdim=True) - (-u.gather(1, k[:, None]).log()).log()
    others = -torch.logaddexp(-top, (-u.log()).log() - logits)
    return others.scatter(1, k[:, None], top)


# %% wrong="noise-behind" fails="test_inversion" name="the sign of the noise"
def sums_given(logits, k, u):
    top = logits.logsumexp(1, keepdim=True) + (-u.gather(1, k[:, None]).log()).log()
    others = -torch.logaddexp(-top, (-u.log()).log() - logits)
    return others.scatter(1, k[:, None], top)


# %% right="noise-behind" name="row by row, with numbers"
def sums_given(logits, k, u):
    z = torch.empty_like(logits)
    for b in range(len(logits)):
        top = float(logits[b].logsumexp(0)) - math.log(-math.log(u[b, k[b]]))
        for j in range(logits.shape[1]):
            own = float(logits[b, j]) - math.log(-math.log(u[b, j]))
            small, gap = min(top, own), abs(top - own)
            z[b, j] = top if j == int(k[b]) else small - math.log1p(math.exp(-gap))
    return z


# %% wrong="any-order" fails="test_orders_by_brute_force" name="the mean of the logarithms"
def log_p_any_order(net, codes, words, orders, K):
    found = []
    for order in orders.tolist():
        seen, total = torch.full_like(codes, K), 0.0
        for place in order:
            log_p = net(seen.clone(), words)[:, place].log_softmax(1)
            total = total + log_p.gather(1, codes[:, place : place + 1])[:, 0]
            seen[:, place] = codes[:, place]
        found.append(total)
    return torch.stack(found).mean(0)


# %% wrong="any-order" fails="test_orders_by_brute_force" name="a pass that sees its own code"
def log_p_any_order(net, codes, words, orders, K):
    found = []
    for order in orders.tolist():
        seen, total = torch.full_like(codes, K), 0.0
        for place in order:
            seen[:, place] = codes[:, place]
            log_p = net(seen.clone(), words)[:, place].log_softmax(1)
            total = total + log_p.gather(1, codes[:, place : place + 1])[:, 0]
        found.append(total)
    return torch.stack(found).logsumexp(0) - math.log(len(found))


# %% wrong="any-order" fails="test_orders_by_brute_force" name="raster order always"
def log_p_any_order(net, codes, words, orders, K):
    seen, total = torch.full_like(codes, K), 0.0
    for place in range(codes.shape[1]):
        log_p = net(seen.clone(), words)[:, place].log_softmax(1)
        total = total + log_p.gather(1, codes[:, place : place + 1])[:, 0]
        seen[:, place] = codes[:, place]
    return total


# %% wrong="any-order" fails="test_orders_by_brute_force" name="all places hidden at once"
def log_p_any_order(net, codes, words, orders, K):
    log_p = net(torch.full_like(codes, K), words).log_softmax(2)
    return log_p.gather(2, codes[:, :, None])[:, :, 0].sum(1)


# %% wrong="any-order" fails="test_orders_by_brute_force" name="the sum over orders, not the mean"
def log_p_any_order(net, codes, words, orders, K):
    found = []
    for order in orders.tolist():
        seen, total = torch.full_like(codes, K), 0.0
        for place in order:
            log_p = net(seen.clone(), words)[:, place].log_softmax(1)
            total = total + log_p.gather(1, codes[:, place : place + 1])[:, 0]
            seen[:, place] = codes[:, place]
        found.append(total)
    return torch.stack(found).logsumexp(0)


# %% wrong="any-order" fails="test_improbable_sequences" name="probabilities, and the codes change"
def log_p_any_order(net, codes, words, orders, K):
    found = []
    kept = codes.clone()
    for order in orders.tolist():
        codes[:] = K
        total = torch.zeros(len(codes), dtype=torch.float64)
        for place in order:
            log_p = net(codes.clone(), words)[:, place].log_softmax(1)
            total = total + log_p.gather(1, kept[:, place : place + 1])[:, 0]
            codes[:, place] = kept[:, place]
        found.append(total.exp())
        codes[:] = K
    return torch.stack(found).mean(0).log()


# %% right="any-order" name="all orders in one batch"
def log_p_any_order(net, codes, words, orders, K):
    M, (B, N) = len(orders), codes.shape
    z, w = codes.repeat(M, 1), words.repeat(M, 1)
    when = orders.argsort(1).repeat_interleave(B, 0)  # (M B, N): the moment at which a place is revealed
    total = 0
    for step in range(N):
        log_p = net(torch.where(when < step, z, K), w).log_softmax(2)
        total = total + (log_p.gather(2, z[:, :, None])[:, :, 0] * (when == step)).sum(1)
    return total.view(M, B).logsumexp(0) - math.log(M)


# %% wrong="budget" fails="test_budget_is_spent" name="the other direction of the divergence"
def budget_guidance(with_caption, without, budget, w_max):
    low, high = torch.ones(len(without)).double(), torch.full((len(without),), float(w_max)).double()
    base = with_caption.log_softmax(1)
    for _ in range(60):
        middle = (low + high) / 2
        log_p = (without + middle[:, None] * (with_caption - without)).log_softmax(1)
        inside = (base.exp() * (base - log_p)).sum(1) <= budget
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


# %% wrong="budget" fails="test_budget_is_spent" name="one guidance for all rows"
def budget_guidance(with_caption, without, budget, w_max):
    low, high = 1.0, float(w_max)
    base = with_caption.log_softmax(1)
    for _ in range(60):
        middle = (low + high) / 2
        log_p = (without + middle * (with_caption - without)).log_softmax(1)
        inside = (log_p.exp() * (log_p - base)).sum(1).mean() <= budget
        low, high = (middle, high) if inside else (low, middle)
    return torch.full((len(without),), low, dtype=torch.float64)


# %% wrong="budget" fails="test_budget_is_spent" name="a coarse grid"
def budget_guidance(with_caption, without, budget, w_max):
    base, best = with_caption.log_softmax(1), torch.ones(len(without)).double()
    for w in torch.linspace(1, w_max, 20).tolist():
        log_p = (without + w * (with_caption - without)).log_softmax(1)
        best = torch.where((log_p.exp() * (log_p - base)).sum(1) <= budget, w, best)
    return best


# %% wrong="budget" fails="test_budget_is_spent" name="the divergence from no caption"
def budget_guidance(with_caption, without, budget, w_max):
    low, high = torch.ones(len(without)).double(), torch.full((len(without),), float(w_max)).double()
    base = without.log_softmax(1)
    for _ in range(60):
        middle = (low + high) / 2
        log_p = (without + middle[:, None] * (with_caption - without)).log_softmax(1)
        inside = (log_p.exp() * (log_p - base)).sum(1) <= budget
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


# %% wrong="budget" fails="test_budget_is_spent" name="logits that are not normalised"
def budget_guidance(with_caption, without, budget, w_max):
    low, high = torch.ones(len(without)).double(), torch.full((len(without),), float(w_max)).double()
    for _ in range(60):
        middle = (low + high) / 2
        logits = without + middle[:, None] * (with_caption - without)
        inside = (logits.softmax(1) * (logits - with_caption)).sum(1) <= budget
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


# %% right="budget" name="a root finder, row by row"
def budget_guidance(with_caption, without, budget, w_max):
    from scipy.optimize import brentq

    found = []
    for a, b in zip(with_caption, without):
        base = a.log_softmax(0)

        def excess(w, a=a, b=b, base=base):
            log_p = (b + w * (a - b)).log_softmax(0)
            return float((log_p.exp() * (log_p - base)).sum()) - budget

        if excess(w_max) <= 0:
            found.append(float(w_max))
        else:
            found.append(1.0 if excess(1.0) >= 0 else brentq(excess, 1.0, w_max, xtol=1e-9))
    return torch.tensor(found, dtype=torch.float64)


# %% wrong="ceiling" fails="test_perfect_and_best" name="A read the wrong way round"
def ceilings_of(Q, A):
    Y, M = Q.shape
    perfect = float((Q * A.T).sum() / M)
    return perfect, float(A.max(1).mean()), perfect


# %% wrong="ceiling" fails="test_true_shares" name="the third is the perfect one"
def ceilings_of(Q, A):
    perfect = float((Q * A.T).sum() / len(Q))
    return perfect, float(A.max(0).mean()), perfect


# %% wrong="ceiling" fails="test_true_shares" name="the third is the best one"
def ceilings_of(Q, A):
    best = float(A.max(0).mean())
    return float((Q * A.T).sum()), best, best


# %% wrong="ceiling" fails="test_true_shares" name="shares may not be reached"
def ceilings_of(Q, A):
    Y, M = Q.shape
    rows, columns = np.kron(np.eye(Y), np.ones(M)), np.kron(np.ones(Y), np.eye(M))
    found = linprog(-A.T.ravel() / Y, A_ub=columns, b_ub=2 * Q.sum(0), A_eq=rows, b_eq=np.ones(Y))
    return float((Q * A.T).sum() / Y), float(A.max(0).mean()), float(-found.fun)


# %% wrong="ceiling" fails="test_perfect_and_best" name="a vote of the grid for one class"
def ceilings_of(Q, A):
    seen = A == A.max(1, keepdims=True)
    perfect = float((Q * seen.T).sum() / len(Q))
    return perfect, float(seen.any(0).mean()), perfect


# %% right="ceiling" name="marginals by loops"
def ceilings_of(Q, A):
    Y, M = Q.shape
    conditions, wanted = [], []
    for y in range(Y):
        line = np.zeros((Y, M))
        line[y] = 1
        conditions.append(line.ravel())
        wanted.append(1.0)
    for m in range(M):
        line = np.zeros((Y, M))
        line[:, m] = 1
        conditions.append(line.ravel())
        wanted.append(Q[:, m].sum())
    value = np.array([[A[m, y] for m in range(M)] for y in range(Y)])
    R = linprog(-value.ravel(), A_eq=np.array(conditions), b_eq=wanted).x.reshape(Y, M)
    perfect = np.mean([Q[y] @ value[y] for y in range(Y)])
    return perfect, np.mean([value[y].max() for y in range(Y)]), (R * value).sum() / Y


# %% wrong="repair" fails="test_pass_by_hand" name="guidance still the other way"
def repaired_pass(with_caption, without, codes, left, w, T, g, K):
    log_p = ((with_caption + w * (without - with_caption)) / T).log_softmax(2)
    guess = (log_p + g).argmax(2)
    hidden = codes == K
    confidence = log_p.gather(2, guess[:, :, None])[:, :, 0].masked_fill(~hidden, torch.inf)
    return torch.where(confidence.argsort(1).argsort(1) < left, K, torch.where(hidden, guess, codes))


# %% wrong="repair" fails="test_pass_by_hand" name="the noise still grows with the temperature"
def repaired_pass(with_caption, without, codes, left, w, T, g, K):
    log_p = ((without + w * (with_caption - without)) / T).log_softmax(2)
    guess = (log_p + T * g).argmax(2)
    hidden = codes == K
    confidence = log_p.gather(2, guess[:, :, None])[:, :, 0].masked_fill(~hidden, torch.inf)
    return torch.where(confidence.argsort(1).argsort(1) < left, K, torch.where(hidden, guess, codes))


# %% wrong="repair" fails="test_pass_by_hand" name="committed codes still change"
def repaired_pass(with_caption, without, codes, left, w, T, g, K):
    log_p = ((without + w * (with_caption - without)) / T).log_softmax(2)
    guess = (log_p + g).argmax(2)
    hidden = codes == K
    confidence = log_p.gather(2, guess[:, :, None])[:, :, 0].masked_fill(~hidden, torch.inf)
    return torch.where(confidence.argsort(1).argsort(1) < left, K, guess)


# %% wrong="repair" fails="test_pass_by_hand" name="committed codes are hidden first"
def repaired_pass(with_caption, without, codes, left, w, T, g, K):
    log_p = ((without + w * (with_caption - without)) / T).log_softmax(2)
    guess = (log_p + g).argmax(2)
    hidden = codes == K
    confidence = log_p.gather(2, guess[:, :, None])[:, :, 0].masked_fill(~hidden, -torch.inf)
    kept = torch.where(hidden, guess, codes)
    return torch.where(confidence.argsort(1).argsort(1) < left, K, kept)


# %% wrong="repair" fails="test_pass_by_hand" name="the surest are hidden"
def repaired_pass(with_caption, without, codes, left, w, T, g, K):
    log_p = ((without + w * (with_caption - without)) / T).log_softmax(2)
    guess = (log_p + g * T).argmax(2)
    hidden = codes == K
    confidence = (-log_p.gather(2, guess[:, :, None])[:, :, 0]).masked_fill(~hidden, torch.inf)
    return torch.where(confidence.argsort(1).argsort(1) < left, K, torch.where(hidden, guess, codes))


# %% right="repair" name="row by row"
def repaired_pass(with_caption, without, codes, left, w, T, g, K):
    mixed = (1 - w) * without + w * with_caption
    out = codes.clone()
    for b in range(len(codes)):
        law = (mixed[b] / T).softmax(1).log()
        open_places = [n for n in range(codes.shape[1]) if codes[b, n] == K]
        drawn = {n: int((mixed[b, n] / T + g[b, n]).argmax()) for n in open_places}
        open_places.sort(key=lambda n: float(law[n, drawn[n]]), reverse=True)
        for n in open_places[: len(open_places) - left]:
            out[b, n] = drawn[n]
    return out
