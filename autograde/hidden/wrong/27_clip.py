"""Wrong and other right answers to lesson 27_clip."""

# %% wrong="many-positives" fails="test_positives_by_formula" name="only the first of the right answers"
replace(
    "log_p = ell[asked].log_softmax(1).masked_fill(~right[asked], 0)",
    "log_p = -F.cross_entropy(ell[asked], right[asked].int().argmax(1), reduction='none')[:, None]",
)
replace("log_p.sum(1) / count[asked]", "log_p.sum(1)")
# %% wrong="many-positives" fails="test_positives_by_formula" name="the sum over right answers, not the mean"
replace("log_p.sum(1) / count[asked]", "log_p.sum(1)")
# %% wrong="many-positives" fails="test_positives_by_formula" name="a mean over all rows"
replace("(log_p.sum(1) / count[asked]).mean() / 2", "(log_p.sum(1) / count[asked]).sum() / len(ell) / 2")
# %% wrong="many-positives" fails="test_positives_by_formula" name="rows and columns are added, not averaged"
replace("(log_p.sum(1) / count[asked]).mean() / 2", "(log_p.sum(1) / count[asked]).mean()")
# %% wrong="many-positives" fails="test_positives_by_formula" name="rows alone"
replace("(logits.T, fits.T)", "(logits, fits)")
# %% wrong="many-positives" fails="test_positives_by_formula" name="softmax and logarithm apart"
replace("ell[asked].log_softmax(1)", "(ell[asked].softmax(1) + 1e-12).log()")
# %% wrong="many-positives" fails="test_positives_by_formula" name="the logarithm of the summed probability"
replace(
    "(log_p.sum(1) / count[asked]).mean()",
    "ell[asked].log_softmax(1).masked_fill(~right[asked], -torch.inf).logsumexp(1).mean()",
)
# %% wrong="many-positives" fails="test_positives_edges" name="-inf times 0"
replace("log_softmax(1).masked_fill(~right[asked], 0)", "log_softmax(1) * right[asked]")
# %% wrong="many-positives" fails="test_positives_by_formula" name="the sum of rows"
replace("count[asked]).mean() / 2", "count[asked]).sum() / 2")
# %% equivalent="many-positives" name="0 times a mean is 0 times a sum"
replace("masked_fill(~fits, 0).sum()", "masked_fill(~fits, 0).mean()")
# %% equivalent="many-positives" name="0 times whatever is filled in"
replace("0 * logits.masked_fill(~fits, 0).sum()", "0 * logits.masked_fill(~fits, 1).sum()")
# %% equivalent="many-positives" name="0 times whatever is filled in, below 0 too"
replace("0 * logits.masked_fill(~fits, 0).sum()", "0 * logits.masked_fill(~fits, -1).sum()")
# %% equivalent="many-positives" name="a sum of two sides has no order"
replace(
    "for ell, right in ((logits, fits), (logits.T, fits.T)):",
    "for ell, right in (((logits.T, fits.T), (logits, fits))):",
)


# %% wrong="many-positives" fails="test_positives_edges" name="rows of -inf are masked after the softmax"
replace(
    "log_p = ell[asked].log_softmax(1).masked_fill(~right[asked], 0)",
    "log_p = ell.log_softmax(1).masked_fill(~right, 0)[asked]",
)
# %% wrong="many-positives" fails="test_positives_edges" name="numbers compared as float32"
replace("pictures[:, None] == captions", "pictures[:, None].float() == captions.float()")
# %% wrong="many-positives" fails="test_positives_edges" name="a constant without gradient where nothing fits"
replace("total = 0 * logits.masked_fill(~fits, 0).sum()", "total = torch.zeros((), dtype=logits.dtype)")
# %% wrong="many-positives" fails="test_positives_edges" name="numbers are taken for places from 0"


def many_positives(logits, pictures, captions):
    K = int(max(pictures.max(), captions.max())) + 1
    fits = (F.one_hot(pictures, K) @ F.one_hot(captions, K).T) > 0
    total = 0 * logits.masked_fill(~fits, 0).sum()
    for ell, right in ((logits, fits), (logits.T, fits.T)):
        count = right.sum(1)
        asked = count > 0
        if asked.any():
            log_p = ell[asked].log_softmax(1).masked_fill(~right[asked], 0)
            total = total - (log_p.sum(1) / count[asked]).mean() / 2
    return total


# %% wrong="many-positives" fails="test_positives_by_formula" name="logits are cut at -1e4"
replace(
    "fits = pictures[:, None] == captions",
    "fits = pictures[:, None] == captions; logits = logits.clamp(min=-1e4)",
)


# %% right="many-positives" name="row by row, by logsumexp"
def many_positives(logits, pictures, captions):
    def one_side(table, mine, theirs):
        found = []
        for i in range(table.shape[0]):
            places = torch.nonzero(theirs == mine[i]).flatten()
            if places.numel():
                found.append(torch.logsumexp(table[i], 0) - table[i, places].mean())
        return torch.stack(found).mean() if found else torch.where(torch.isinf(table), 0, table).sum() * 0

    across = one_side(logits, pictures, captions)
    down = one_side(logits.t(), captions, pictures)
    return 0.5 * (across + down)


# %% wrong="zero-shot" fails="test_posterior_by_bayes" name="prompts are averaged with their lengths"
replace("mine.T @ F.normalize(b, dim=1)", "mine.T @ b")
# %% wrong="zero-shot" fails="test_posterior_by_bayes" name="the mean keeps its length"
replace(
    "w = F.normalize(mine.T @ F.normalize(b, dim=1), dim=1)",
    "w = mine.T @ F.normalize(b, dim=1) / mine.sum(0).clamp(min=1)[:, None]",
)
# %% wrong="zero-shot" fails="test_posterior_by_bayes" name="forgets the shares"
replace(" + shares.log()", " + 0 * shares.clamp(min=1).log()")
# %% wrong="zero-shot" fails="test_posterior_by_bayes" name="shares are added to logits as they are"
replace("shares.log()", "shares")
# %% wrong="zero-shot" fails="test_posterior_by_bayes" name="the scale divides"
replace("scale * F.normalize(a, dim=1)", "F.normalize(a, dim=1) / scale")
# %% wrong="zero-shot" fails="test_posterior_edges" name="a class without prompts takes part"
replace("logits.masked_fill(mine.sum(0) == 0, -torch.inf).softmax(1)", "logits.softmax(1)")
# %% wrong="zero-shot" fails="test_posterior_edges" name="an epsilon in the logarithm"
replace("shares.log()", "(shares + 1e-6).log()")
# %% wrong="zero-shot" fails="test_posterior_by_bayes" name="pictures keep their length"
replace("scale * F.normalize(a, dim=1)", "scale * a")
# %% wrong="zero-shot" fails="test_posterior_by_bayes" name="owners are taken for sorted and even"
replace("mine = F.one_hot(owner, K).to(b)", "mine = F.one_hot(torch.arange(len(b)) * K // len(b), K).to(b)")
# %% equivalent="zero-shot" name="dim=1 is the default, for the mean"
replace("F.normalize(mine.T @ F.normalize(b, dim=1), dim=1)", "F.normalize(mine.T @ F.normalize(b, dim=1))")
# %% equivalent="zero-shot" name="dim=1 is the default, for prompts"
replace("F.normalize(mine.T @ F.normalize(b, dim=1), dim=1)", "F.normalize(mine.T @ F.normalize(b), dim=1)")
# %% equivalent="zero-shot" name="dim=1 is the default, for pictures"
replace("F.normalize(a, dim=1)", "F.normalize(a)")
# %% equivalent="zero-shot" name="a mean of ones and zeros is 0 where their sum is"
replace("mine.sum(0) == 0", "mine.mean(0) == 0")


# %% wrong="zero-shot" fails="test_posterior_edges" name="as many classes as owners say"
replace("F.one_hot(owner, K)", "F.one_hot(owner)")
# %% wrong="zero-shot" fails="test_posterior_edges" name="-1000 for -inf where there is no prompt"
replace("mine.sum(0) == 0, -torch.inf", "mine.sum(0) == 0, -1000.0")
# %% wrong="zero-shot" fails="test_posterior_edges" name="the softmax times the shares"
replace(" + shares.log()", "")
replace(
    "return logits.masked_fill(mine.sum(0) == 0, -torch.inf).softmax(1)",
    "p = shares * logits.masked_fill(mine.sum(0) == 0, -torch.inf).softmax(1); return p / p.sum(1)[:, None]",
)
# %% wrong="zero-shot" fails="test_posterior_edges" name="tiny shares are clamped"
replace("shares.log()", "shares.clamp(min=1e-9).masked_fill(shares == 0, 0).log()")
# %% wrong="zero-shot" fails="test_posterior_edges" name="cosines are kept off 1"
replace(
    "scale * F.normalize(a, dim=1) @ w.T", "scale * (F.normalize(a, dim=1) @ w.T).clamp(-1 + 1e-6, 1 - 1e-6)"
)


# %% right="zero-shot" name="only the possible classes, filled into zeros"


def class_posterior(a, b, owner, shares, scale):
    out = torch.zeros(len(a), len(shares), dtype=a.dtype)
    use = [k for k in range(len(shares)) if shares[k] > 0 and (owner == k).any()]
    w = torch.stack([F.normalize(F.normalize(b[owner == k], dim=1).mean(0), dim=0) for k in use])
    out[:, use] = (scale * F.cosine_similarity(a[:, None], w[None], dim=-1) + shares[use].log()).softmax(1)
    return out


# %% right="zero-shot" name="class by class, by log-sum-exp"
def class_posterior(a, b, owner, shares, scale):
    n_classes = shares.shape[0]
    looks = a / a.norm(dim=1, keepdim=True)
    columns = []
    for k in range(n_classes):
        own = b[owner == k]
        if len(own) == 0 or shares[k] <= 0:
            columns.append(torch.full((len(a),), -math.inf, dtype=a.dtype))
            continue
        direction = (own / own.norm(dim=1, keepdim=True)).mean(0)
        columns.append(torch.log(shares[k]) + scale * (looks @ (direction / direction.norm())))
    table = torch.stack(columns, dim=1)
    return (table - torch.logsumexp(table, dim=1, keepdim=True)).exp()


# %% wrong="recall" fails="test_recall_ties" name="ties are kind"
replace("scores >= best", "scores > best")
# %% wrong="recall" fails="test_recall_ties" name="relevant items stand in each other's way"
replace("((scores >= best) & ~relevant)", "((scores >= best) & ~(relevant & (scores > best)))")
# %% wrong="recall" fails="test_recall_by_sorting" name="one place too many"
replace("before < k", "before <= k")
# %% wrong="recall" fails="test_recall_by_sorting" name="the worst of the relevant"
replace(
    "scores.masked_fill(~relevant, -torch.inf).amax(1, keepdim=True)",
    "scores.masked_fill(~relevant, torch.inf).amin(1, keepdim=True)",
)
# %% wrong="recall" fails="test_recall_by_sorting" name="all relevant items must be found"
replace("(before < k) & relevant.any(1)", "(before + relevant.sum(1) <= k) & relevant.any(1)")
# %% wrong="recall" fails="test_recall_by_sorting" name="a row without a relevant item is found"
replace("((before < k) & relevant.any(1))", "((before < k) | ~relevant.any(1))")
# %% wrong="recall" fails="test_recall_by_sorting" name="rows without a relevant item are left out"
replace(
    "((before < k) & relevant.any(1)).double().mean()",
    "((before < k) & relevant.any(1)).double().sum() / relevant.any(1).sum().clamp(min=1)",
)
# %% wrong="recall" fails="test_recall_ties" name="topk by the order of the list"
replace(
    "((before < k) & relevant.any(1))",
    "relevant.gather(1, scores.topk(min(k, scores.shape[1]), dim=1).indices).any(1)",
)


# %% wrong="recall" fails="test_recall_ties" name="computes in float32"
replace("best = scores", "scores = scores.float(); best = scores")
# %% wrong="recall" fails="test_recall_ties" name="ties within 1e-6"
replace("scores >= best", "scores >= best - 1e-6")
# %% wrong="recall" fails="test_recall_ties" name="ties by isclose"
replace("(scores >= best)", "((scores > best) | torch.isclose(scores, best))")
# %% wrong="recall" fails="test_recall_ties" name="a tensor, no float"
replace(".item()", "")


# %% equivalent="recall" name="a share in float32 is exact enough, by the statement"
replace("relevant.any(1)).double()", "relevant.any(1)).float()")

# %% right="recall" name="a mean in float32"


def recall_at_k(scores, relevant, k):
    top = scores.masked_fill(~relevant, float("-inf")).max(dim=1, keepdim=True).values
    ahead = ((scores >= top) & ~relevant).sum(dim=1)
    return ((ahead < k) & relevant.any(dim=1)).float().mean().item()


# %% right="recall" name="row by row, by sorting twice"
def recall_at_k(scores, relevant, k):
    hits = 0
    for row, right in zip(scores.tolist(), relevant.tolist()):
        ranked = sorted(zip(row, right), key=lambda item: (-item[0], item[1]))
        hits += any(found for _, found in ranked[:k])
    return hits / len(scores)


# %% wrong="adversarial" fails="test_climbs" name="each place once, from left to right"
def adversarial_caption(score, words, choices, budget):
    now = words.clone()
    for place, allowed in enumerate(choices):
        if budget > 0 and allowed:
            tries = now.repeat(len(allowed) + 1, 1)
            tries[1:, place] = torch.tensor(allowed)
            best = int(score(tries).argmax())
            budget -= best > 0
            now = tries[best]
    return now


# %% wrong="adversarial" fails="test_climbs" name="one change and no more"
replace("range(budget if changes else 0)", "range(min(budget, 1) if changes else 0)")
# %% wrong="adversarial" fails="test_climbs_strictly" name="changes although nothing rises"
replace("if not found[best] > score(now[None])[0]:", "if False:")
# %% wrong="adversarial" fails="test_climbs_strictly" name="changes that keep the score count too"
replace("if not found[best] > score(now[None])[0]:", "if found[best] < score(now[None])[0]:")
# %% wrong="adversarial" fails="test_climbs" name="the first change that raises it"
replace(
    "best = int((found == found.max()).nonzero()[0, 0])",
    "best = int((found > score(now[None])[0]).int().argmax())",
)
# %% wrong="adversarial" fails="test_climbs" name="every try begins from the first caption"
replace("tries = now.repeat(len(changes), 1)", "tries = words.repeat(len(changes), 1)")
# %% wrong="adversarial" fails="test_climbs_strictly" name="the last of equally good ones"
replace("nonzero()[0, 0]", "nonzero()[-1, 0]")
# %% wrong="adversarial" fails="test_climbs" name="the change that costs least"
replace("found == found.max()", "found == found.min()")
# %% wrong="adversarial" fails="test_climbs" name="without a budget"
replace("range(budget if changes else 0)", "range(len(changes) * 9)")
# %% equivalent="adversarial" name="nothing is written into the words, so they need no copy"
replace("now = words.clone()", "now = words")
# %% equivalent="adversarial" name="a range of -1 is as empty as one of 0"
replace("budget if changes else 0", "budget if changes else -1")
# %% equivalent="adversarial" name="both are equally long by construction"
replace("zip(tries, changes, strict=True)", "zip(tries, changes)")
# %% equivalent="adversarial" name="both are equally long by construction, said again"
replace("zip(tries, changes, strict=True)", "zip(tries, changes, strict=False)")
# %% equivalent="adversarial" name="of one column the last is the first"
replace("nonzero()[0, 0]", "nonzero()[0, -1]")
# %% equivalent="adversarial" name="of one score the last is the first"
replace("score(now[None])[0]", "score(now[None])[-1]")


# %% wrong="adversarial" fails="test_climbs" name="raises by 1e-9 at least"
replace("if not found[best] > score(now[None])[0]:", "if not found[best] > score(now[None])[0] + 1e-9:")
# %% wrong="adversarial" fails="test_climbs" name="ties by isclose"
replace("found == found.max()", "torch.isclose(found, found.max())")
# %% wrong="adversarial" fails="test_climbs" name="scores in float32"
replace("found = score(tries)", "found = score(tries).float()")
replace("score(now[None])[0]", "score(now[None])[0].float()")
# %% wrong="adversarial" fails="test_climbs" name="at most L changes"
replace("range(budget if", "range(min(budget, len(words)) if")
# %% wrong="adversarial" fails="test_climbs" name="each place changes once"


def adversarial_caption(score, words, choices, budget):
    now, used = words.clone(), set()
    for _ in range(budget):
        level, win = score(now[None])[0], None
        for i, c in enumerate(choices):
            if i in used:
                continue
            for w in c:
                t = now.clone()
                t[i] = w
                got = score(t[None])[0]
                if got > level:
                    level, win = got, (i, t)
        if win is None:
            break
        used.add(win[0])
        now = win[1]
    return now


# %% right="adversarial" name="one caption at a time"
def adversarial_caption(score, words, choices, budget):
    current, left = words.tolist(), budget
    value = lambda row: float(score(torch.tensor([row], dtype=torch.int64))[0])  # noqa: E731
    level = value(current)
    while left > 0:
        winner = None
        for i in range(len(current)):
            for option in choices[i]:
                trial = list(current)
                trial[i] = option
                got = value(trial)
                if got > level:
                    winner, level = trial, got
        if winner is None:
            return torch.tensor(current, dtype=torch.int64)
        current, left = winner, left - 1
    return torch.tensor(current, dtype=torch.int64)


# %% wrong="repair" fails="test_pieces" name="every piece has a diagonal of its own"
replace("if i == j else -1.0", "if len(a) == len(b) else -1.0")
# %% wrong="repair" fails="test_pieces" name="over the number of pieces"
replace("sum(map(len, pictures))", "len(pictures)")
# %% wrong="repair" fails="test_pieces" name="captions are normalised along the wrong axis"
replace("F.normalize(b, dim=1)", "F.normalize(b, dim=0)")
# %% wrong="repair" fails="test_pieces" name="over all pairs"
replace("sum(map(len, pictures))", "sum(map(len, pictures)) ** 2")
# %% wrong="repair" fails="test_pieces" name="pieces of a pair alone"
replace("for j, b in enumerate(captions):", "for j, b in [(i, captions[i])]:")
# %% wrong="repair" fails="test_pieces" name="the bias is taken off"
replace(".T + bias", ".T - bias")
# %% wrong="repair" fails="test_pieces_gradient" name="captions from elsewhere have no gradient"
replace("F.normalize(b, dim=1)", "F.normalize(b if i == j else b.detach(), dim=1)")
replace("+ bias", "+ (bias if i == j else float(bias))")


# %% wrong="repair" fails="test_pieces" name="one table of all pairs"
def sigmoid_in_pieces(pictures, captions, scale, bias):
    a, b = torch.cat(list(pictures)), torch.cat(list(captions))
    logits = scale * F.normalize(a, dim=1) @ F.normalize(b, dim=1).T + bias
    return (F.softplus(logits).sum() - logits.diagonal().sum()) / len(a)


# %% equivalent="repair" name="dim=1 is the default, for pictures"
replace("F.normalize(a, dim=1)", "F.normalize(a)")
# %% equivalent="repair" name="dim=1 is the default, for captions"
replace("F.normalize(b, dim=1)", "F.normalize(b)")
# %% equivalent="repair" name="1 and -1 are exact in float32, and the product has the logits' type"
replace("torch.eye(len(a), dtype=a.dtype)", "torch.eye(len(a))")


# %% wrong="repair" fails="test_pieces" name="the logarithm of the sigmoid"
replace("F.logsigmoid(sign * logits)", "torch.sigmoid(sign * logits).log()")
# %% wrong="repair" fails="test_pieces" name="lengths have a floor of 1e-2"
replace("F.normalize(a, dim=1)", "F.normalize(a, dim=1, eps=1e-2)")


# %% right="repair" name="softplus of all, less the diagonal"
def sigmoid_in_pieces(pictures, captions, scale, bias):
    directions = [v / v.norm(dim=1, keepdim=True) for v in captions]
    rows, nats = 0, []
    for k in range(len(pictures)):
        own = pictures[k] / pictures[k].norm(dim=1, keepdim=True)
        rows += own.shape[0]
        nats.append(-(scale * (own * directions[k]).sum(1) + bias).sum())
        for d in directions:
            nats.append(F.softplus(bias + scale * torch.einsum("id,jd->ij", own, d)).sum())
    return torch.stack(nats).sum() / rows


# %% wrong="information" fails="test_information_by_formula" name="forgets the prior of a true pair"
replace("(found.mean() + math.log(N_train - 1)).item()", "found.mean().item()")
# %% wrong="information" fails="test_information_by_formula" name="the mean of all pairs, true or not"
replace("critic(a, b).diagonal() for", "critic(a, b).flatten() for")
# %% wrong="information" fails="test_information_by_formula" name="takes the logarithm off"
replace("found.mean() + math.log(N_train - 1)", "found.mean() - math.log(N_train - 1)")
# %% wrong="information" fails="test_ratio_step" name="true pairs alone"
replace("F.softplus(logits).sum() - right.sum()", "F.softplus(right).sum() - right.sum()")
# %% wrong="information" fails="test_ratio_step" name="signs exchanged"
replace("F.softplus(logits).sum() - right.sum()", "F.softplus(-logits).sum() + right.sum()")
# %% wrong="information" fails="test_ratio_step" name="the softmax"
replace("return (F.softplus(logits).sum() - right.sum()) / len(x)", "return symmetric_loss(logits)")
# %% wrong="information" fails="test_information_by_formula" name="the critic is asked with captions first"
replace("logits = critic(x, y)", "logits = critic(y, x)")
replace("critic(a, b).diagonal()", "critic(b, a).diagonal()")
# %% equivalent="information" name="x and y have equally many chunks"
replace("zip(x.split(chunk), y.split(chunk), strict=True)", "zip(x.split(chunk), y.split(chunk))")
# %% equivalent="information" name="x and y have equally many chunks, said again"
replace("y.split(chunk), strict=True)", "y.split(chunk), strict=False)")


# %% right="information" name="by logsigmoid, with a loop over chunks"
def ratio_loss(critic, x, y):
    ell = critic(x, y)
    own = torch.eye(ell.shape[0], dtype=torch.bool)
    return -(F.logsigmoid(ell)[own].sum() + F.logsigmoid(-ell)[~own].sum()) / ell.shape[0]


def ratio_step(critic, optimizer, x, y):
    optimizer.zero_grad(set_to_none=True)
    before = ratio_loss(critic, x, y)
    before.backward()
    optimizer.step()
    return before.detach().clone()


@torch.no_grad()
def information(critic, x, y, N_train, chunk=256):
    total, squares, n = 0.0, [], x.shape[0]
    for begin in range(0, n, chunk):
        table = critic(x[begin : begin + chunk], y[begin : begin + chunk])
        squares.extend(float(table[i, i]) for i in range(table.shape[0]))
    total = sum(squares) / n
    spread = sum((v - total) ** 2 for v in squares) / (n - 1)
    return total + math.log(N_train - 1), math.sqrt(spread / n)


# %% right="repair" name="a row block at a time"


def sigmoid_in_pieces(pictures, captions, scale, bias):
    words = F.normalize(torch.cat(list(captions)), dim=-1)
    total, row = [], 0
    for a in pictures:
        table = scale * (F.normalize(a, dim=-1) @ words.mT) + bias
        z = torch.full_like(table, -1)
        n = torch.arange(len(a))
        z[n, row + n] = 1
        total.append(-F.logsigmoid(z * table).sum())
        row += len(a)
    return sum(total) / row
