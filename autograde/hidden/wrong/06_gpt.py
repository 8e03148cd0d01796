"""Wrong and other right answers to lesson 06_gpt."""


# %% wrong="packed" fails="test_documents" name="one causal mask for the whole row"
def packed(document, prompt):
    B, T = document.shape
    return causal_mask(T).expand(B, T, T), torch.arange(T).expand(B, T)


# %% wrong="packed" fails="test_documents" name="positions go on counting"
def packed(document, prompt):
    T = document.shape[1]
    new = torch.ones_like(prompt)
    new[:, 1:] = document[:, 1:] != document[:, :-1]
    number = new.cumsum(1)
    real = document != -1
    same = (number[:, :, None] == number[:, None]) & real[:, :, None] & real[:, None]
    at = torch.arange(T)
    allowed = (at[:, None] >= at) | (prompt[:, :, None] & prompt[:, None])
    return (same & allowed) | torch.eye(T, dtype=torch.bool), at * real


# %% wrong="packed" fails="test_documents" name="padding is a document like any other"
def packed(document, prompt):
    T = document.shape[1]
    new = torch.ones_like(prompt)
    new[:, 1:] = document[:, 1:] != document[:, :-1]
    number = new.cumsum(1)
    at = torch.arange(T)
    start = torch.where(new, at, 0).cummax(1).values
    same = number[:, :, None] == number[:, None]
    allowed = (at[:, None] >= at) | (prompt[:, :, None] & prompt[:, None])
    return same & allowed, at - start


# %% wrong="packed" fails="test_documents" name="rows of padding are empty"
def packed(document, prompt):
    T = document.shape[1]
    new = torch.ones_like(prompt)
    new[:, 1:] = document[:, 1:] != document[:, :-1]
    number = new.cumsum(1)
    at = torch.arange(T)
    start = torch.where(new, at, 0).cummax(1).values
    real = document != -1
    same = (number[:, :, None] == number[:, None]) & real[:, :, None] & real[:, None]
    allowed = (at[:, None] >= at) | (prompt[:, :, None] & prompt[:, None])
    return same & allowed, (at - start) * real


# %% wrong="packed" fails="test_documents" name="queries and keys exchanged"
def packed(document, prompt):
    T = document.shape[1]
    new = torch.ones_like(prompt)
    new[:, 1:] = document[:, 1:] != document[:, :-1]
    number = new.cumsum(1)
    at = torch.arange(T)
    start = torch.where(new, at, 0).cummax(1).values
    real = document != -1
    same = (number[:, :, None] == number[:, None]) & real[:, :, None] & real[:, None]
    allowed = (at[:, None] <= at) | (prompt[:, :, None] & prompt[:, None])
    return (same & allowed) | torch.eye(T, dtype=torch.bool), (at - start) * real


# %% wrong="packed" fails="test_prompts" name="everybody sees the prompt, of any document; names compared"
def packed(document, prompt):
    T = document.shape[1]
    at = torch.arange(T)
    real = document != -1
    same = (document[:, :, None] == document[:, None]) & real[:, :, None]
    mask = (same & (at[:, None] >= at)) | (prompt[:, :, None] & prompt[:, None])
    new = torch.ones_like(prompt)
    new[:, 1:] = document[:, 1:] != document[:, :-1]
    start = torch.where(new, at, 0).cummax(1).values
    return mask | torch.eye(T, dtype=torch.bool), (at - start) * real


# %% right="packed" name="loops over the row"
def packed(document, prompt):
    B, T = document.shape
    mask, positions = torch.eye(T, dtype=torch.bool).repeat(B, 1, 1), torch.zeros(B, T, dtype=torch.long)
    for b in range(B):
        begin = 0
        for i in range(T):
            if i and document[b, i] != document[b, i - 1]:
                begin = i
            if document[b, i] == -1:
                continue
            positions[b, i] = i - begin
            for j in range(begin, i + 1):
                mask[b, i, j] = True
                if prompt[b, i]:
                    mask[b, j, i] = mask[b, j, i] | prompt[b, j]
    return mask, positions


# %% wrong="typical" fails="test_typical_set" name="top-p"
def typical(logits, mass):
    return next_probabilities(logits, top_p=mass)


# %% wrong="typical" fails="test_typical_set" name="the sign of the surprise"
def typical(logits, mass):
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -torch.where(p > 0, p * log_p, 0).sum(-1, keepdim=True)
    order = (log_p - entropy).abs().sort(dim=-1, stable=True).indices
    sorted_p = p.gather(-1, order)
    kept = torch.where(sorted_p.cumsum(-1) - sorted_p < mass, sorted_p, 0)
    return torch.zeros_like(p).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


# %% wrong="typical" fails="test_typical_set" name="stops one token short"
def typical(logits, mass):
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -torch.where(p > 0, p * log_p, 0).sum(-1, keepdim=True)
    order = (-log_p - entropy).abs().sort(dim=-1, stable=True).indices
    sorted_p = p.gather(-1, order)
    keep = sorted_p.cumsum(-1) < mass
    keep[..., 0] = True
    kept = torch.where(keep, sorted_p, 0)
    return torch.zeros_like(p).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


# %% wrong="typical" fails="test_typical_set" name="not scaled to a sum of 1"
def typical(logits, mass):
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -torch.where(p > 0, p * log_p, 0).sum(-1, keepdim=True)
    order = (-log_p - entropy).abs().sort(dim=-1, stable=True).indices
    sorted_p = p.gather(-1, order)
    kept = torch.where(sorted_p.cumsum(-1) - sorted_p < mass, sorted_p, 0)
    return torch.zeros_like(p).scatter(-1, order, kept)


# %% wrong="typical" fails="test_typical_set" name="the entropy of the whole batch"
def typical(logits, mass):
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -torch.where(p > 0, p * log_p, 0).sum()
    order = (-log_p - entropy).abs().sort(dim=-1, stable=True).indices
    sorted_p = p.gather(-1, order)
    kept = torch.where(sorted_p.cumsum(-1) - sorted_p < mass, sorted_p, 0)
    return torch.zeros_like(p).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


# %% wrong="typical" fails="test_typical_set" name="the entropy in bits; 0 log 0 is NaN"
def typical(logits, mass):
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    entropy = -(p * log_p / math.log(2)).sum(-1, keepdim=True)
    order = (-log_p - entropy).abs().sort(dim=-1, stable=True).indices
    sorted_p = p.gather(-1, order)
    kept = torch.where(sorted_p.cumsum(-1) - sorted_p < mass, sorted_p, 0)
    return torch.zeros_like(p).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


# %% right="typical" name="row by row, in plain Python"
def typical(logits, mass):
    out = torch.zeros_like(logits)
    for b, row in enumerate(torch.softmax(logits, -1).tolist()):
        entropy = -sum(p * math.log(p) for p in row if p > 0)
        total, kept = 0.0, []
        for i in sorted(
            (i for i, p in enumerate(row) if p > 0), key=lambda i: (abs(-math.log(row[i]) - entropy), i)
        ):
            kept.append(i)
            total += row[i]
            if total >= mass:
                break
        for i in kept:
            out[b, i] = row[i] / total
    return out


# %% wrong="grouped" fails="test_groups" name="heads take turns"
def grouped_attention(q, k, v, mask):
    n = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    some = mask.any(-1)[:, None, :, None]
    scores = scores.masked_fill(~mask[:, None] & some, -math.inf)
    return torch.where(some, scores.softmax(-1) @ v, 0)


# %% wrong="grouped" fails="test_groups" name="no root of d"
def grouped_attention(q, k, v, mask):
    k, v = (z.repeat_interleave(q.shape[1] // z.shape[1], dim=1) for z in (k, v))
    scores = q @ k.transpose(-2, -1)
    some = mask.any(-1)[:, None, :, None]
    scores = scores.masked_fill(~mask[:, None] & some, -math.inf)
    return torch.where(some, scores.softmax(-1) @ v, 0)


# %% wrong="grouped" fails="test_gradient_of_empty_rows" name="NaN replaced afterwards"
def grouped_attention(q, k, v, mask):
    k, v = (z.repeat_interleave(q.shape[1] // z.shape[1], dim=1) for z in (k, v))
    scores = q @ k.transpose(-2, -1) / q.shape[-1]  # and the wrong scale
    scores = scores.masked_fill(~mask[:, None], -math.inf)
    return scores.softmax(-1).nan_to_num() @ v


# %% wrong="grouped" fails="test_empty_rows" name="an empty row takes the mean of everything"
def grouped_attention(q, k, v, mask):
    k, v = (z.repeat_interleave(q.shape[1] // z.shape[1], dim=1) for z in (k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask[:, None], -1e9).softmax(-1) @ v


# %% wrong="grouped" fails="test_empty_rows" name="softmax over the queries"
def grouped_attention(q, k, v, mask):
    k, v = (z.repeat_interleave(q.shape[1] // z.shape[1], dim=1) for z in (k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask[:, None], -1e9).softmax(-2) @ v


# %% wrong="grouped" fails="test_empty_rows" name="masks the weights after the softmax"
def grouped_attention(q, k, v, mask):
    k, v = (z.repeat_interleave(q.shape[1] // z.shape[1], dim=1) for z in (k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return (scores.softmax(-1) * mask[:, None]) @ v


# %% right="grouped" name="masked weights, divided by their sum"
def grouped_attention(q, k, v, mask):
    B, H, T, d = q.shape
    q = q.reshape(B, k.shape[1], -1, T, d)
    scores = torch.einsum("bgntd,bgsd->bgnts", q, k) / d**0.5
    allowed = mask[:, None, None]
    top = scores.masked_fill(~allowed, -1e30).amax(-1, keepdim=True).detach()
    weight = torch.where(allowed, (scores - top).masked_fill(~allowed, 0).exp(), 0)
    total = weight.sum(-1, keepdim=True)
    weight = weight / torch.where(total > 0, total, 1)
    return torch.einsum("bgnts,bgsd->bgntd", weight, v).reshape(B, H, T, -1)


# %% wrong="strided" fails="test_overlapping" name="windows side by side"
def strided_bits(model, tokens, lengths, context, stride):
    nats = 0.0
    for begin in range(0, len(tokens) - 1, context):
        end = min(begin + context, len(tokens) - 1)
        log_p = model(tokens[None, begin:end])[0].log_softmax(-1)
        nats -= log_p.gather(1, tokens[begin + 1 : end + 1, None]).sum().item()
    return nats / math.log(2) / lengths[1:].sum().item()


# %% wrong="strided" fails="test_overlapping" name="scores the overlap again"
def strided_bits(model, tokens, lengths, context, stride):
    nats, n_bytes, begin, end = 0.0, 0, 0, 0
    while end < len(tokens) - 1:
        end = min(begin + context, len(tokens) - 1)
        log_p = model(tokens[None, begin:end])[0].log_softmax(-1)
        nats -= log_p.gather(1, tokens[begin + 1 : end + 1, None]).sum().item()
        n_bytes += lengths[begin + 1 : end + 1].sum().item()
        begin += stride
    return nats / math.log(2) / (n_bytes + 1e-9)


# %% wrong="strided" fails="test_ends_of_the_text" name="leaves the end out"
def strided_bits(model, tokens, lengths, context, stride):
    nats, scored, begin = 0.0, 1, 0
    while begin + context < len(tokens):
        end = begin + context
        log_p = model(tokens[None, begin:end])[0].log_softmax(-1)
        new = end + 1 - scored
        nats -= log_p[-new:].gather(1, tokens[scored : end + 1, None]).sum().item()
        scored, begin = end + 1, begin + stride
    return nats / math.log(2) / lengths[1:].sum().item()


# %% wrong="strided" fails="test_side_by_side" name="per token"
def strided_bits(model, tokens, lengths, context, stride):
    nats, scored, begin = 0.0, 1, 0
    while scored < len(tokens):
        end = min(begin + context, len(tokens) - 1)
        log_p = model(tokens[None, begin:end])[0].log_softmax(-1)
        new = end + 1 - scored
        nats -= log_p[-new:].gather(1, tokens[scored : end + 1, None]).sum().item()
        scored, begin = end + 1, begin + stride
    return nats / math.log(2) / (len(tokens) - 1)


# %% wrong="strided" fails="test_ends_of_the_text" name="counts the bytes of token 0"
def strided_bits(model, tokens, lengths, context, stride):
    nats, scored, begin = 0.0, 1, 0
    while scored < len(tokens):
        end = min(begin + context, len(tokens) - 1)
        log_p = model(tokens[None, begin:end])[0].log_softmax(-1)
        new = end + 1 - scored
        nats -= log_p[-new:].gather(1, tokens[scored : end + 1, None]).sum().item()
        scored, begin = end + 1, begin + stride
    return nats / math.log(2) / lengths.sum().item()


# %% wrong="strided" fails="test_side_by_side" name="nats; the target is the token itself"
def strided_bits(model, tokens, lengths, context, stride):
    nats, scored, begin = 0.0, 1, 0
    while scored < len(tokens):
        end = min(begin + context, len(tokens) - 1)
        log_p = model(tokens[None, begin:end])[0].log_softmax(-1)
        new = end + 1 - scored
        nats -= log_p[-new:].gather(1, tokens[scored - 1 : end, None]).sum().item()
        scored, begin = end + 1, begin + stride
    return nats / lengths[1:].sum().item()


# %% wrong="strided" fails="test_overlapping" name="the fullest context for each token, whatever the stride"
def strided_bits(model, tokens, lengths, context, stride):
    nats = 0.0
    for n in range(1, len(tokens)):
        log_p = model(tokens[None, max(0, n - context) : n])[0, -1].log_softmax(-1)
        nats -= log_p[tokens[n]].item()
    return nats / math.log(2) / lengths[1:].sum().item()


# %% right="strided" name="token by token"
def strided_bits(model, tokens, lengths, context, stride):
    bits = 0.0
    for n in range(1, len(tokens)):
        begin = stride * max(0, -(-(n - context) // stride))
        log_p = torch.log_softmax(model(tokens[begin:n][None])[0, -1], 0)
        bits -= float(log_p[tokens[n]]) / math.log(2)
    return bits / float(sum(lengths[1:]))


# %% wrong="repair" fails="test_one_batch" name="as it was found"
def repaired_step(model, optimizer, batches, max_norm):
    return broken_step(model, optimizer, batches, max_norm)


# %% wrong="repair" fails="test_uneven_batches" name="the mean of the means"
def repaired_step(model, optimizer, batches, max_norm):
    optimizer.zero_grad()
    losses = []
    for tokens in batches:
        logits = model(tokens[:, :-1].clamp(min=0))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=-1)
        (loss / len(batches)).backward()
        losses.append(loss.item())
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return sum(losses) / len(losses)


# %% wrong="repair" fails="test_clipped_once" name="clips each batch, adds the means"
def repaired_step(model, optimizer, batches, max_norm):
    optimizer.zero_grad()
    total, n = 0.0, 0
    for tokens in batches:
        logits = model(tokens[:, :-1].clamp(min=0))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=-1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        count = (tokens[:, 1:] != -1).sum().item()
        total, n = total + loss.item() * count, n + count
    optimizer.step()
    return total / n


# %% wrong="repair" fails="test_one_batch" name="old gradients count"
def repaired_step(model, optimizer, batches, max_norm):
    targets = sum((tokens[:, 1:] != -1).sum() for tokens in batches)
    total = 0.0
    for tokens in batches:
        logits = model(tokens[:, :-1].clamp(min=0)).flatten(0, 1)
        loss = F.cross_entropy(logits, tokens[:, 1:].flatten(), ignore_index=-1, reduction="sum") / targets
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total


# %% wrong="repair" fails="test_one_batch" name="still guesses the token it was given"
def repaired_step(model, optimizer, batches, max_norm):
    targets = sum((tokens[:, :-1] != -1).sum() for tokens in batches)
    optimizer.zero_grad()
    total = 0.0
    for tokens in batches:
        logits = model(tokens[:, :-1].clamp(min=0)).flatten(0, 1)
        loss = F.cross_entropy(logits, tokens[:, :-1].flatten(), ignore_index=-1, reduction="sum") / targets
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total


# %% wrong="repair" fails="test_one_batch" name="padding is a target"
def repaired_step(model, optimizer, batches, max_norm):
    targets = sum(tokens[:, 1:].numel() for tokens in batches)
    optimizer.zero_grad()
    total = 0.0
    for tokens in batches:
        tokens = tokens.clamp(min=0)
        logits = model(tokens[:, :-1]).flatten(0, 1)
        loss = F.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum") / targets
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total


# %% wrong="repair" fails="test_uneven_batches" name="a step for each batch"
def repaired_step(model, optimizer, batches, max_norm):
    losses = []
    for tokens in batches:
        optimizer.zero_grad()
        logits = model(tokens[:, :-1].clamp(min=0))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=-1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


# %% right="repair" name="all batches padded to one"
def repaired_step(model, optimizer, batches, max_norm):
    T = max(tokens.shape[1] for tokens in batches)
    whole = torch.cat([F.pad(tokens, (0, T - tokens.shape[1]), value=-1) for tokens in batches])
    model.zero_grad(set_to_none=True)
    logits = model(whole[:, :-1].clamp(min=0))
    real = whole[:, 1:] != -1
    loss = -logits.log_softmax(-1)[real].gather(1, whole[:, 1:][real][:, None]).mean()
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    for p in model.parameters():
        p.grad *= min(1.0, max_norm / (norm.item() + 1e-6))
    optimizer.step()
    return loss.item()


# %% wrong="cuts" fails="test_best_cut" name="the longest token each time"
def cuts(text, log_p):
    tokens, i = [], 0
    while i < len(text):
        n = next((n for n in range(len(text) - i, 0, -1) if text[i : i + n] in log_p), 0)
        if not n:
            raise ValueError("no cut")
        tokens.append(text[i : i + n])
        i += n
    score = sum(log_p[token] for token in tokens)
    return tokens, score, score


# %% wrong="cuts" fails="test_sum_over_cuts" name="adds the log-probabilities' best, not the sum"
def cuts(text, log_p):
    best = [(0.0, [])]
    for end in range(1, len(text) + 1):
        found = [
            (best[i][0] + log_p[text[i:end]], [*best[i][1], text[i:end]])
            for i in range(end)
            if text[i:end] in log_p and best[i]
        ]
        best.append(max(found, key=lambda pair: pair[0], default=None))
    if best[-1] is None:
        return [], -math.inf, -math.inf
    return best[-1][1], best[-1][0], best[-1][0]


# %% wrong="cuts" fails="test_dead_ends" name="fewest tokens"
def cuts(text, log_p):
    best, total = [[]], [0.0]
    for end in range(1, len(text) + 1):
        starts = [i for i in range(end) if text[i:end] in log_p and best[i] is not None]
        best.append(min(([*best[i], text[i:end]] for i in starts), key=len, default=None))
        sums = torch.tensor([total[i] + log_p[text[i:end]] for i in starts] or [-math.inf]).double()
        total.append(sums.logsumexp(0).item())
    if best[-1] is None:
        return [], -math.inf, -math.inf
    return best[-1], sum(log_p[t] for t in best[-1]), total[-1]


# %% wrong="cuts" fails="test_sum_over_cuts" name="probabilities instead of logarithms"
def cuts(text, log_p):
    best, total = [(0.0, [])], [1.0]
    for end in range(1, len(text) + 1):
        starts = [i for i in range(max(0, end - 2), end) if text[i:end] in log_p]
        found = [(best[i][0] + log_p[text[i:end]], [*best[i][1], text[i:end]]) for i in starts]
        best.append(max(found, key=lambda pair: pair[0], default=(-math.inf, [])))
        total.append(sum(total[i] * math.exp(log_p[text[i:end]]) for i in starts))
    return best[-1][1], best[-1][0], math.log(total[-1])


# %% wrong="cuts" fails="test_sum_over_cuts" name="lists every cut"
def cuts(text, log_p):
    found = []

    def walk(i, tokens, score):
        if i == len(text):
            found.append((score, tokens))
        for n in range(1, len(text) - i):
            if text[i : i + n] in log_p:
                walk(i + n, [*tokens, text[i : i + n]], score + log_p[text[i : i + n]])

    walk(0, [], 0.0)
    if not found:
        raise ValueError("no cut")
    score, tokens = max(found, key=lambda pair: pair[0])
    return tokens, score, torch.tensor([s for s, _ in found]).double().logsumexp(0).item()


# %% wrong="cuts" fails="test_best_cut" name="the cut comes out backwards"
def cuts(text, log_p):
    best, total, last = [0.0], [0.0], [0]
    for end in range(1, len(text) + 1):
        ways = {i: log_p[text[i:end]] for i in range(end) if text[i:end] in log_p}
        last.append(max(ways, key=lambda i: best[i] + ways[i], default=0))
        best.append(max((best[i] + w for i, w in ways.items()), default=-math.inf))
        total.append(math.log(sum(math.exp(total[i] + w) for i, w in ways.items()) or 1.0))
    tokens, end = [], len(text)
    while end:
        tokens.append(text[last[end] : end])
        end = last[end]
    return tokens, best[-1], total[-1]


# %% right="cuts" name="from the end of the text"
def cuts(text, log_p):
    longest = max(len(token) for token in log_p)
    after = {len(text): (0.0, None, 0.0)}
    for i in range(len(text) - 1, -1, -1):
        steps = [
            n
            for n in range(1, longest + 1)
            if text[i : i + n] in log_p and i + n in after and len(text) - i >= n
        ]
        if steps:
            scores = [(log_p[text[i : i + n]] + after[i + n][0], n) for n in steps]
            sums = [log_p[text[i : i + n]] + after[i + n][2] for n in steps]
            top = max(sums)
            after[i] = (*max(scores), top + math.log(sum(math.exp(s - top) for s in sums)))
    if 0 not in after:
        raise ValueError("no cut")
    tokens, i = [], 0
    while i < len(text):
        tokens.append(text[i : i + after[i][1]])
        i += after[i][1]
    return tokens, after[0][0], after[0][2]


# %% wrong="beam" fails="test_narrow" name="greedy"
def beam_search(log_p, width, length, end):
    ids, score = [], 0.0
    while len(ids) < length and (not ids or ids[-1] != end):
        step, token = log_p(torch.tensor([ids], dtype=torch.long))[0].max(0)
        ids, score = [*ids, token.item()], score + step.item()
    return ids, score


# %% wrong="beam" fails="test_narrow" name="finished ones are extended"
def beam_search(log_p, width, length, end):
    held = [(0.0, [])]
    for _ in range(length):
        table = log_p(torch.tensor([ids for _, ids in held], dtype=torch.long).reshape(len(held), -1))
        new = [(s + x, [*ids, i]) for (s, ids), row in zip(held, table.tolist()) for i, x in enumerate(row)]
        held = sorted(new, key=lambda pair: -pair[0])[:width]
    score, ids = held[0]
    return ids[: ids.index(end) + 1] if end in ids else ids, score


# %% wrong="beam" fails="test_wide_enough" name="stops at the first that is finished"
def beam_search(log_p, width, length, end):
    held = [(0.0, [])]
    for _ in range(length):
        table = log_p(torch.tensor([ids for _, ids in held], dtype=torch.long).reshape(len(held), -1))
        new = [(s + x, [*ids, i]) for (s, ids), row in zip(held, table.tolist()) for i, x in enumerate(row)]
        held = sorted(new, key=lambda pair: -pair[0])[:width]
        done = [pair for pair in held if pair[1][-1] == end]
        if done:
            return done[0][1], done[0][0]
    return held[0][1], held[0][0]


# %% wrong="beam" fails="test_narrow" name="the best by the mean of a token"
def beam_search(log_p, width, length, end):
    held = [(0.0, [])]
    for _ in range(length):
        open_ = [(s, ids) for s, ids in held if not ids or ids[-1] != end]
        if not open_:
            break
        table = log_p(torch.tensor([ids for _, ids in open_], dtype=torch.long).reshape(len(open_), -1))
        new = [(s + x, [*ids, i]) for (s, ids), row in zip(open_, table.tolist()) for i, x in enumerate(row)]
        new += [(s, ids) for s, ids in held if ids and ids[-1] == end]
        held = sorted(new, key=lambda pair: -pair[0] / len(pair[1]))[:width]
    return held[0][1], held[0][0]


# %% wrong="beam" fails="test_narrow" name="each prefix keeps its own best"
def beam_search(log_p, width, length, end):
    held = [(0.0, [])]
    for _ in range(length):
        new = []
        for s, ids in held:
            if ids and ids[-1] == end:
                new.append((s, ids))
                continue
            x, i = log_p(torch.tensor([ids], dtype=torch.long))[0].topk(2 if not ids else 1)
            new += [(s + a, [*ids, b]) for a, b in zip(x.tolist(), i.tolist())]
        held = sorted(new, key=lambda pair: -pair[0])[:width]
    return held[0][1], held[0][0]


# %% wrong="beam" fails="test_narrow" name="finished ones lose their place"
def beam_search(log_p, width, length, end):
    held = [(0.0, [])]
    for _ in range(length):
        if not held:
            break
        table = log_p(torch.tensor([ids for _, ids in held], dtype=torch.long).reshape(len(held), -1))
        new = [(s + x, [*ids, i]) for (s, ids), row in zip(held, table.tolist()) for i, x in enumerate(row)]
        held = sorted(new, key=lambda pair: -pair[0])[:width]
        held = [pair for pair in held if pair[1][-1] != end]
    return held[0][1] if held else [end], held[0][0] if held else 0.0


# %% right="beam" name="tensors, and a flag for what is finished"
def beam_search(log_p, width, length, end):
    ids, score, done = (
        torch.zeros(1, 0, dtype=torch.long),
        torch.zeros(1).double(),
        torch.zeros(1, dtype=torch.bool),
    )
    for _ in range(length):
        if done.all():
            break
        table = log_p(ids).double()
        V = table.shape[1]
        table[done] = -math.inf
        table[done, end] = 0.0  # a finished one is filled up with `end`, at no cost
        best, flat = (score[:, None] + table).flatten().topk(min(width, table.numel()))
        rows, token = flat // V, flat % V
        ids = torch.cat([ids[rows], token[:, None]], dim=1)
        score, done = best, done[rows] | (token == end)
    found = ids[score.argmax()].tolist()
    return found[: found.index(end) + 1] if end in found else found, score.max().item()
