"""Wrong and other right answers to lesson 06_gpt."""

# %% wrong="packed" fails="test_documents" name="positions go on counting"
replace("(at - start) * real", "at * real")
# %% wrong="packed" fails="test_documents" name="padding is a document like any other"
replace("document != -1", "torch.ones_like(prompt)")
# %% wrong="packed" fails="test_documents" name="padding only at the end of a row"
replace("document != -1", "(document != -1).flip(1).cummax(1).values.flip(1)")
# %% wrong="packed" fails="test_documents" name="names as floats"
replace("T = document", "document = document.double(); T = document")
# %% wrong="packed" fails="test_documents" name="the name 0 is padding, too"
replace("document != -1", "document > 0")
# %% wrong="packed" fails="test_prompts" name="a prompt sees those of other documents"
replace("(same & allowed)", "(same & allowed) | (prompt[:, :, None] & prompt[:, None])")


# %% right="packed" name="loops over the row"
def packed(document, prompt):
    B, T = document.shape
    mask, positions = torch.eye(T, dtype=torch.bool).repeat(B, 1, 1), torch.zeros_like(document)
    for b in range(B):
        begin = 0
        for i in range(T):
            if i and document[b, i] != document[b, i - 1]:
                begin = i
            if document[b, i] != -1:
                positions[b, i] = i - begin
                mask[b, i, begin:i] = True
                mask[b, begin:i, i] = prompt[b, i] & prompt[b, begin:i]
    return mask, positions


# %% equivalent="packed" name="documents are numbered from 0; the first one starts at place 0 anyhow"
replace("torch.ones_like(prompt)", "torch.zeros_like(prompt)")
# %% equivalent="packed" name="on the CPU, where the documents are, tensors are made anyhow: the places"
replace("torch.arange(T, device=document.device)", "torch.arange(T)")
# %% equivalent="packed" name="the start at place 0 is more than -1 as well"
replace("at, 0)", "at, -1)")
# %% equivalent="packed" name="what has the number of a real place is real: keys"
replace(" & real[:, :, None] & real[:, None]", " & real[:, :, None]")
# %% equivalent="packed" name="what has the number of a real place is real: queries"
replace(" & real[:, :, None] & real[:, None]", " & real[:, None]")
# %% equivalent="packed" name="everybody sees itself anyhow"
replace("at[:, None] >= at", "at[:, None] > at")
# %% equivalent="packed" name="after the prompt, everybody looks back at all of it anyhow"
replace("(prompt[:, :, None] & prompt[:, None])", "prompt[:, None]")
# %% equivalent="packed" name="on the CPU, where the documents are, tensors are made anyhow: the diagonal"
replace("torch.eye(T, dtype=torch.bool, device=document.device)", "torch.eye(T, dtype=torch.bool)")

# %% wrong="typical" fails="test_typical_set" name="top-p"
replace("(-log_p - entropy).abs()", "(-log_p)")
# %% wrong="typical" fails="test_typical_set" name="stops one token short"
replace("sorted_p.cumsum(-1) - sorted_p < mass", "sorted_p.cumsum(-1) < mass")
# %% wrong="typical" fails="test_limits" name="a finite number in the place of minus infinity"
replace("logits.log_softmax", "logits.clamp(min=-1e4).log_softmax")
# %% wrong="typical" fails="test_limits" name="NaN for what is too improbable for a float"
replace("torch.where(p > 0, p * log_p, 0)", "torch.where(logits > -torch.inf, p * p.log(), 0)")
# %% wrong="typical" fails="test_typical_set" name="works only on float64"
replace("log_p = logits", "assert logits.dtype == torch.float64; log_p = logits")


# %% right="typical" name="the mass of the tokens that come before, without sorting"
def typical(logits, mass):
    p = logits.softmax(-1)
    far = (p.log() + torch.special.entr(p).sum(-1, keepdim=True)).abs()
    before = far[:, None] < far[:, :, None]  # in row i, column j: token j comes before token i
    before |= (far[:, None] == far[:, :, None]) & torch.ones_like(before).tril(-1)
    kept = torch.where((before * p[:, None]).sum(-1) < mass, p, 0)
    return kept / kept.sum(-1, keepdim=True)


# %% right="typical" name="in float32"
replace("logits.log_softmax(-1)", "logits.float().log_softmax(-1)")
replace("keepdim=True))", "keepdim=True)).to(logits.dtype)")


# %% right="typical" name="logarithms in float32, the rest in the type given"
replace("logits.log_softmax(-1)", "logits.float().log_softmax(-1).to(logits.dtype)")


# %% equivalent="typical" name="rounding decides whether a set has exactly the mass"
replace("- sorted_p < mass", "- sorted_p <= mass")
# %% equivalent="typical" name="sorts the last axis, which is the default"
replace("dim=-1, stable", "stable")
# %% equivalent="typical" name="the sign of a difference goes with abs"
replace("-log_p - entropy", "entropy - -log_p")
# %% equivalent="typical" name="every place is written over"
replace("torch.zeros_like(p)", "torch.ones_like(p)")

# %% wrong="grouped" fails="test_groups" name="heads take turns"
replace("repeat_interleave(q.shape[1] // z.shape[1], dim=1)", "repeat(1, q.shape[1] // z.shape[1], 1, 1)")
# %% wrong="grouped" fails="test_empty_rows" name="an empty row looks at everything"
replace("torch.where(some, scores.softmax(-1) @ v, 0)", "scores.softmax(-1) @ v")
# %% wrong="grouped" fails="test_groups" name="-1e9 in the place of minus infinity"
replace("some, -math.inf", "some, -1e9")
# %% wrong="grouped" fails="test_empty_rows" name="NaN in the gradients of empty rows"
replace("~mask[:, None] & some", "~mask[:, None]")
# %% wrong="grouped" fails="test_empty_rows" name="masks the weights after the softmax"
strike("scores = scores.masked_fill(~mask[:, None] & some, -math.inf)")
replace("scores.softmax(-1)", "(scores.softmax(-1) * mask[:, None])")
# %% right="grouped" name="NaN replaced afterwards"
strike("some = mask.any(-1)[:, None, :, None]")
replace("~mask[:, None] & some", "~mask[:, None]")
replace("torch.where(some, scores.softmax(-1) @ v, 0)", "scores.softmax(-1).nan_to_num() @ v")


# %% right="grouped" name="masked weights, divided by their sum"
def grouped_attention(q, k, v, mask):
    q, allowed = q.unflatten(1, (k.shape[1], -1)), mask[:, None, None]
    scores = torch.einsum("bgntd,bgsd->bgnts", q, k) / q.shape[-1] ** 0.5
    top = scores.masked_fill(~allowed, -1e30).amax(-1, keepdim=True)
    weight = (scores - top).masked_fill(~allowed, -math.inf).exp()
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1)
    return torch.einsum("bgnts,bgsd->bgntd", weight, v).flatten(1, 2)


# %% equivalent="grouped" name="rounding only: the root of a width is 1 or more"
replace("q.shape[-1] ** 0.5", "(q.shape[-1] ** 0.5 + 1e-06)")

# %% wrong="strided" fails="test_overlapping" name="windows side by side"
replace("begin + stride", "begin + context")
# %% wrong="strided" fails="test_overlapping" name="scores the overlap again"
replace("log_p[-new:].gather(1, tokens[scored", "log_p.gather(1, tokens[begin + 1")
# %% wrong="strided" fails="test_ends_of_the_text" name="leaves the end out"
replace("while scored < len(tokens)", "while begin + context < len(tokens)")
# %% wrong="strided" fails="test_ends_of_the_text" name="counts the bytes of token 0"
replace("lengths[1:]", "lengths")
# %% wrong="strided" fails="test_overlapping" name="the product of a window's probabilities"
replace("None]).sum()", "None]).exp().prod().log()")
# %% wrong="strided" fails="test_overlapping" name="overwrites the model's logits"
replace("[0].log_softmax(-1)", "[0]; log_p -= log_p.logsumexp(-1, keepdim=True)")
# %% wrong="strided" fails="test_overlapping" name="the fullest context for each token, whatever the stride"
replace("begin + stride", "begin + 1")


# %% right="strided" name="token by token"
def strided_bits(model, tokens, lengths, context, stride):
    nats = 0.0
    for n in range(1, len(tokens)):
        begin = stride * max(0, -(-(n - context) // stride))
        nats -= model(tokens[None, begin:n])[0, -1].log_softmax(0)[tokens[n]].item()
    return nats / math.log(2) / lengths[1:].sum().item()


# %% equivalent="strided" name="the smaller of two, in the other order"
replace("min(begin + context, len(tokens) - 1)", "min(len(tokens) - 1, begin + context)")
# %% equivalent="strided" name="the last token goes in too: earlier logits do not see it"
replace("len(tokens) - 1)", "len(tokens))")
# %% equivalent="strided" name="the last token goes in too, less 0: earlier logits do not see it"
replace("len(tokens) - 1)", "len(tokens) - 0)")
# %% equivalent="strided" name="the only row of the batch is the last as well as the first"
replace("end])[0]", "end])[-1]")
# %% equivalent="strided" name="rounding only: there is a byte or more"
replace("lengths[1:].sum().item()", "(lengths[1:].sum().item() + 1e-06)")
# %% equivalent="strided" name="rounding only: less than a millionth of the logarithm of 2"
replace("math.log(2)", "math.log(2 + 1e-06)")
# %% equivalent="strided" name="rounding only: a millionth and a half of the logarithm of 2"
replace("math.log(2)", "(math.log(2) + 1e-06)")


# %% wrong="repair" fails="test_uneven_batches" name="the mean of the means"
replace('reduction="sum") / targets', 'reduction="mean") / len(batches)')
# %% wrong="repair" fails="test_one_batch" name="old gradients count"
strike("optimizer.zero_grad()")
# %% wrong="repair" fails="test_one_batch" name="still guesses the token it was given"
replace("tokens[:, 1:].flatten()", "tokens[:, :-1].flatten()")
# %% wrong="repair" fails="test_one_batch" name="old gradients times 0, which may be infinite"
replace("optimizer.zero_grad()", "[p.grad.mul_(0) for p in model.parameters() if p.grad is not None]")
# %% wrong="repair" fails="test_uneven_batches" name="clips the norm of each parameter"
replace(
    "torch.nn.utils.clip_grad_norm_(list(model.parameters()), max_norm)",
    "[torch.nn.utils.clip_grad_norm_([p], max_norm) for p in model.parameters()]",
)
# %% wrong="repair" fails="test_one_batch" name="padding is a target"
replace("tokens[:, 1:].flatten(), ignore_index=-1", "tokens[:, 1:].flatten().clamp(min=0)")
# %% wrong="repair" fails="test_uneven_batches" name="a step for each batch"
replace("    torch.nn.utils.clip", "        torch.nn.utils.clip")
replace("    optimizer.step()", "        optimizer.step()")


# %% right="repair" name="all batches padded to one"
def repaired_step(model, optimizer, batches, max_norm):
    T = max(tokens.shape[1] for tokens in batches)
    whole = torch.cat([F.pad(tokens, (0, T - tokens.shape[1]), value=-1) for tokens in batches])
    real = whole[:, 1:] != -1
    log_p = model(whole[:, :-1].clamp(min=0)).log_softmax(-1)[real]
    loss = -log_p.gather(1, whole[:, 1:][real][:, None]).mean()
    model.zero_grad()
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    for p in model.parameters():
        p.grad *= (max_norm / (norm + 1e-6)).clamp(max=1)
    optimizer.step()
    return loss.item()


# %% right="repair" name="the optimizer calls a closure"
replace("optimizer.zero_grad()", "optimizer.zero_grad(); closure = lambda: total")
replace("    optimizer.step()\n    return total", "    return optimizer.step(closure)")


# %% equivalent="repair" name="rounding only: there is a target or more"
replace("/ targets", "/ (targets + 1e-06)")


# %% wrong="cuts" fails="test_sum_over_cuts" name="the best cut alone, not the sum over cuts"
replace("tokens[::-1], best[-1], total[-1]", "tokens[::-1], best[-1], best[-1]")
# %% wrong="cuts" fails="test_sum_over_cuts" name="adds logarithms instead of probabilities"
replace("sums.logsumexp(0)", "sums.sum()")
# %% wrong="cuts" fails="test_sum_over_cuts" name="probabilities, which underflow"
replace("sums.logsumexp(0)", "sums.exp().sum().log()")
# %% wrong="cuts" fails="test_best_cut" name="a call inside a call for each byte"
replace("longest = ", "deep = lambda n: n and deep(n - 1); deep(len(text)); longest = ")
# %% wrong="cuts" fails="test_best_cut" name="an empty cut where there is none"
replace('raise ValueError("the tokens cannot spell this text")', "return [], best[-1], total[-1]")
# %% wrong="cuts" fails="test_best_cut" name="leaves out the longest tokens"
replace("end - longest", "end - longest + 1")
# %% wrong="cuts" fails="test_best_cut" name="the longest token each time"
replace("key=lambda i: best[i] + ways[i]", "key=lambda i: -i")
# %% wrong="cuts" fails="test_best_cut" name="the cut comes out backwards"
replace("tokens[::-1]", "tokens")


# %% right="cuts" name="from the end of the text"
def cuts(text, log_p):
    best, total, end = {len(text): 0.0}, {len(text): 0.0}, {}  # of the rest, by where it starts
    for i in reversed(range(len(text))):
        ways = {i + len(token): w for token, w in log_p.items() if text.startswith(token, i)}
        ways = {j: w for j, w in ways.items() if j in best}
        if ways:
            end[i] = max(ways, key=lambda j: ways[j] + best[j])
            best[i] = ways[end[i]] + best[end[i]]
            sums = [w + total[j] for j, w in ways.items()]
            total[i] = max(sums) + math.log(sum(math.exp(x - max(sums)) for x in sums))
    if 0 not in best:
        raise ValueError("no cut")
    tokens, i = [], 0
    while i < len(text):
        tokens.append(text[i : end[i]])
        i = end[i]
    return tokens, best[0], total[0]


# %% right="cuts" name="a tuple of tokens, and logarithms summed in float32"
replace("[-math.inf], dtype=torch.float64)", "[-math.inf])")
replace(
    "return tokens[::-1], best[-1], total[-1]",
    "return tuple(tokens[::-1]), best[-1], torch.tensor(total[-1])",
)

# %% equivalent="cuts" name="nobody asks where the token that ends at place 0 starts: 1"
replace("[0.0], [0.0], [0]", "[0.0], [0.0], [1]")
# %% equivalent="cuts" name="nobody asks where the token that ends at place 0 starts: -1"
replace("[0.0], [0.0], [0]", "[0.0], [0.0], [-1]")
# %% equivalent="cuts" name="the larger of two, in the other order"
replace("max(0, end - longest)", "max(end - longest, 0)")
# %% equivalent="cuts" name="a beginning without a cut is never the best, and adds 0 to the sum"
replace(" and best[i] > -math.inf", "")
# %% equivalent="cuts" name="a beginning without a cut may pass: it is never the best, and adds 0 to the sum"
replace("best[i] > -math.inf", "best[i] >= -math.inf")
# %% equivalent="cuts" name="no cut passes where no token ends, so nobody asks where it starts: 1"
replace("default=0", "default=1")
# %% equivalent="cuts" name="no cut passes where no token ends, so nobody asks where it starts: -1"
replace("default=0", "default=-1")
# %% equivalent="cuts" name="rounding only: float32 by default, whose digits suffice"
replace("[-math.inf], dtype=torch.float64)", "[-math.inf])")
# %% equivalent="cuts" name="rounding only: float32 by name, whose digits suffice"
replace("torch.float64", "torch.float32")
# %% equivalent="cuts" name="the logarithm of the sum of nothing is minus infinity already"
replace(" or [-math.inf]", "")
# %% equivalent="cuts" name="the sum of a beginning without a cut is never asked for"
replace("or [-math.inf]", "or [math.inf]")
# %% equivalent="cuts" name="the only axis is the last as well as the first"
replace("logsumexp(0)", "logsumexp(-1)")


# %% wrong="beam" fails="test_narrow" name="greedy"
replace("[:width]", "[:1]")
# %% wrong="beam" fails="test_narrow" name="finished ones are extended"
replace(" in held if not ids or ids[-1] != end]", " in held]")
replace("sorted(done + new", "sorted(new")
# %% wrong="beam" fails="test_narrow" name="NaN for impossible tokens"
replace("score + step", "score + math.log(math.exp(step)) if step > -math.inf else math.nan")
# %% wrong="beam" fails="test_narrow" name="the product of probabilities"
replace("score + step", "math.log(max(math.exp(score) * math.exp(step), 1e-300))")
# %% wrong="beam" fails="test_wide_enough" name="stops at the first that is finished"
replace("if not open_:", "if len(open_) < len(held):")
# %% wrong="beam" fails="test_narrow" name="a finished one is the answer, if there is any"
replace("max(held, key", "max([pair for pair in held if pair[1][-1] == end] or held, key")
# %% wrong="beam" fails="test_narrow" name="each prefix keeps its own best"
replace("in enumerate(row)", "in enumerate(row) if not ids or step == max(row)")


# %% right="beam" name="tensors; a finished one is filled up with the end token, at no cost"
def beam_search(log_p, width, length, end):
    ids, score = torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, dtype=torch.float64)
    for _ in range(length):
        done, table = (ids == end).any(dim=1), log_p(ids).double().clone()
        table[done] = -math.inf
        table[done, end] = 0.0
        score, flat = (score[:, None] + table).flatten().topk(min(width, table.numel()))
        ids = torch.cat([ids[flat // table.shape[1]], flat[:, None] % table.shape[1]], dim=1)
    found = ids[0].tolist()
    return found[: found.index(end) + 1] if end in found else found, score[0].item()


# %% right="beam" name="tensors, the score in float32"
replace("return ids, score", "return torch.tensor(ids), torch.tensor([score])")

# %% right="beam" name="in float32 throughout"
replace("held = [(0.0, [])]", "held = [(torch.zeros(()), [])]")
replace("table.tolist()", "table.float()")

# %% equivalent="beam" name="a table has a row for each prefix, so nothing is to be checked"
replace(", strict=True", "")
# %% equivalent="beam" name="a table has a row for each prefix, so a check that is switched off is none"
replace("strict=True", "strict=False")
# %% equivalent="beam" name="of two that are equally probable, either may be the answer"
replace("max(held, key=lambda pair: pair[0])", "max(held)")

# %% wrong="any-order" fails="test_order_loss" name="asks for the place it has just read"
replace("model(before, places, order)", "model(before, places, places.clamp(max=x.shape[1] - 1))")
# %% wrong="any-order" fails="test_order_loss" name="shows the answer"
replace("torch.cat([first, tokens[:, :-1]], dim=1)", "torch.cat([first, tokens[:, 1:]], dim=1)")
# %% wrong="any-order" fails="test_order_loss" name="targets in the order of the places"
replace("tokens.flatten())", "x.flatten())")
# %% wrong="any-order" fails="test_order_loss" name="one order for all rows"
replace("tokens = x", "order = order[:1].expand_as(order); tokens = x")
# %% wrong="any-order" fails="test_order_loss" name="the sum over places"
replace("tokens.flatten())", "tokens.flatten()) * x.shape[1]")
# %% wrong="any-order" fails="test_order_loss" name="in bits"
replace("tokens.flatten())", "tokens.flatten()) / math.log(2)")
# %% wrong="any-order" fails="test_order_loss" name="leaves the first token out"
replace(
    "model(before, places, order).flatten(0, 1), tokens.flatten()",
    "model(before, places, order)[:, 1:].flatten(0, 1), tokens[:, 1:].flatten()",
)
# %% wrong="any-order" fails="test_order_loss" name="nothing to learn from"
replace(
    "model(before, places, order).flatten", "model(before, places, order).detach().requires_grad_().flatten"
)
# %% wrong="any-order" fails="test_gaps" name="from left to right"
replace("known = torch", "order = order.sort(1).values; known = torch")
# %% wrong="any-order" fails="test_gaps" name="the likeliest token"
replace("torch.multinomial(row.exp(), 1, generator=generator)", "row.argmax(1, keepdim=True)")
# %% wrong="any-order" fails="test_gaps" name="draws from everywhere"
replace("torch.multinomial(row.exp(), 1, generator=generator)", "torch.multinomial(row.exp(), 1)")
# %% wrong="any-order" fails="test_gaps" name="logits taken for logarithms of probabilities"
replace("[:, -1].log_softmax(-1)", "[:, -1]")
# %% wrong="any-order" fails="test_gaps" name="the nats of the last token alone"
replace("log_p = log_p + row", "log_p = row")
# %% wrong="any-order" fails="test_gaps" name="draws what is known, too"
replace("range(given, x.shape[1])", "range(x.shape[1])")
# %% wrong="any-order" fails="test_gaps" name="all gaps at once, each from what is given"
replace("order[:, :t])], dim=1)", "order[:, :given])], dim=1)")
replace(
    "places[:, : t + 1], order[:, : t + 1]",
    "places[:, : given + 1], torch.cat([order[:, :given], order[:, t : t + 1]], 1)",
)
# %% wrong="any-order" fails="test_order_loss" name="ignores tokens with the number of start"
replace("tokens.flatten())", "tokens.flatten(), ignore_index=start)")
# %% wrong="any-order" fails="test_order_loss" name="an epsilon in the logarithm"
replace(
    "return F.cross_entropy(model(before, places, order).flatten(0, 1), tokens.flatten())",
    "return -(model(before, places, order).softmax(-1).gather(2, tokens[..., None]) + 1e-8).log().mean()",
)
# %% wrong="any-order" fails="test_order_loss" name="remembers the first order"
replace(
    "tokens = x.gather(1, order)",
    "order = any_order_loss.__dict__.setdefault(tuple(x.shape), order); tokens = x.gather(1, order)",
)
# %% wrong="any-order" fails="test_gaps" name="the inverse of the order"
replace(
    "places = torch.cat([torch.full_like(first, x.shape[1]), order], dim=1)",
    "order = order.argsort(1); places = torch.cat([torch.full_like(first, x.shape[1]), order], dim=1)",
)
# %% wrong="any-order" fails="test_gaps" name="what is given in the order, the gaps from left to right"
replace(
    "    for t in range(given, x.shape[1]):",
    """
    order = torch.cat([order[:, :given], order[:, given:].sort(1).values], dim=1)
    places = torch.cat([places[:, :1], order], dim=1)
    for t in range(given, x.shape[1]):
    """,
)
# %% wrong="any-order" fails="test_gaps" name="asks every row for the same place, as the loss does not"
replace("order[:, : t + 1])[:, -1]", "order[:, t : t + 1].expand(-1, t + 1))[:, -1]")
# %% wrong="any-order" fails="test_gaps" name="a call for each row"
replace(
    "        row = model(known, places[:, : t + 1], order[:, : t + 1])[:, -1].log_softmax(-1)",
    """
    asked = known, places[:, : t + 1], order[:, : t + 1]
    row = torch.cat([model(*(v[b : b + 1] for v in asked))[:, -1] for b in range(len(x))]).log_softmax(-1)
    """,
)
# %% wrong="any-order" fails="test_gaps" name="half of the rows use the other half's noise, turned round"
replace(
    "        drawn = torch.multinomial(row.exp(), 1, generator=generator)",
    """
    u = torch.rand((len(x) + 1) // 2, 1, generator=generator)
    u = torch.cat([u, 1 - u])[: len(x)]
    drawn = (row.exp().cumsum(1) < u).sum(1, keepdim=True).clamp(max=row.shape[1] - 1)
    """,
)
# %% wrong="any-order" fails="test_gaps" name="never draws the number of start"
replace(
    "drawn = torch.multinomial(row.exp(), 1, generator=generator)",
    "drawn = torch.multinomial(row.exp() * (torch.arange(row.shape[1]) != start), 1, generator=generator)",
)


# %% right="any-order" name="the whole sequence each time, of which the model sees the beginning"
def any_order_loss(model, x, order, start):
    B, T = x.shape
    rows = torch.arange(B)[:, None]
    written = torch.cat([torch.full((B, 1), start), x[rows, order]], 1)
    at = torch.cat([torch.full((B, 1), T), order], 1)
    said = torch.log_softmax(model(written[:, :T], at[:, :T], order), 2)
    return -torch.stack([said[:, i].gather(1, written[:, i + 1 : i + 2]).mean() for i in range(T)]).mean()


def fill_in(model, x, order, given, start, generator):
    B, T = x.shape
    out, written = x.clone(), torch.full((B, T + 1), 0)
    written[:, 0] = start
    nats = torch.zeros(B, dtype=torch.float64)
    at = torch.cat([torch.full((B, 1), T), order], 1)
    for i, row in enumerate(order.T):
        if i >= given:
            p = torch.softmax(model(written[:, :T], at[:, :T], order)[:, i], 1)
            out[range(B), row] = torch.multinomial(p, 1, generator=generator)[:, 0]
            nats += p[range(B), out[range(B), row]].log()
        written[:, i + 1] = out[range(B), row]
    return out, nats


# %% right="any-order" name="one-hot and einsum; Gumbel noise; in place on its own copies"
def any_order_loss(model, x, order, start):
    (B, T), b = x.shape, torch.arange(len(x)).unsqueeze(1)
    seen, stands = torch.empty(B, T, dtype=torch.long), torch.empty(B, T, dtype=torch.long)
    seen[:, 0], stands[:, 0] = start, T
    seen[:, 1:], stands[:, 1:] = x[b, order][:, : T - 1], order[:, : T - 1]
    logits = model(seen, stands, order)
    nats = torch.logsumexp(logits, 2) - torch.take_along_dim(logits, x[b, order].unsqueeze(2), 2).squeeze(2)
    return torch.einsum("bt->", nats) / (B * T)


def fill_in(model, x, order, given, start, generator):
    (B, T), b = x.shape, torch.arange(len(x))
    out = x.detach().clone()
    seen, stands = torch.full((B, T + 1), start), torch.full((B, T + 1), T)
    stands[:, 1:] = order
    seen[:, 1 : given + 1] = x[b.unsqueeze(1), order[:, :given]]
    nats = torch.zeros(B)
    with torch.no_grad():
        for t in range(given, T):
            logits = model(seen[:, : t + 1].clone(), stands[:, : t + 1], order[:, : t + 1])[:, t].double()
            noise = -torch.log(-torch.log(torch.rand(logits.shape, generator=generator, dtype=torch.float64)))
            new = (logits + noise).argmax(1)
            seen[:, t + 1] = new
            out[b, order[:, t]] = new
            nats += logits.log_softmax(1)[b, new].float()
    return out, nats


# %% right="any-order" name="the inverse of the distribution function, NumPy and keywords"
import numpy as np


def any_order_loss(model, x, order, start):
    T = x.shape[1]
    tokens = torch.from_numpy(np.take_along_axis(x.numpy(), order.numpy(), 1))
    shifted = F.pad(tokens, (1, -1), value=start)
    at = F.pad(order, (1, -1), value=T)
    p = torch.distributions.Categorical(logits=model(tokens=shifted, places=at, asked=order))
    return p.log_prob(tokens).neg().mean()


def fill_in(model, x, order, given, start, generator):
    B, T = x.shape
    order_np, out = order.numpy(), x.numpy().copy()
    known, log_p = [], np.zeros(B)
    for t in range(T):
        here = order_np[:, t]
        if t >= given:
            tokens = torch.tensor(np.stack([np.full(B, start), *known], 1))
            places = torch.tensor(np.concatenate([np.full((B, 1), T), order_np[:, :t]], 1))
            p = (
                model(tokens=tokens, places=places, asked=order[:, : t + 1])[:, -1]
                .double()
                .softmax(-1)
                .detach()
                .numpy()
            )
            u = torch.rand(B, generator=generator, dtype=torch.float64).numpy()
            total = p.cumsum(1)
            drawn = (total < u[:, None] * total[:, -1:]).sum(1)
            out[np.arange(B), here] = drawn
            log_p += np.log(p[np.arange(B), drawn])
        known.append(out[np.arange(B), here])
    return torch.tensor(out), torch.tensor(log_p)


# %% right="any-order" name="the loss as a mean over places"
replace(
    "return F.cross_entropy(model(before, places, order).flatten(0, 1), tokens.flatten())",
    "return -model(before, places, order).log_softmax(-1).gather(2, tokens[..., None]).mean()",
)

# %% equivalent="any-order" name="of one column the last is the first"
replace("log_p = log_p + row.gather(1, drawn)[:, 0]", "log_p = log_p + row.gather(1, drawn)[:, -1]")
