"""Wrong and other right answers to lesson 04_pixelcnn."""

# %% wrong="unseen" fails="test_causal_stacks" name="what is seen, not what is not"
replace("(seen[0, 0] == 0)", "(seen[0, 0] > 0)")
# %% wrong="unseen" fails="test_causal_stacks" name="with the place itself"
replace("< i * n + j", "<= i * n + j")
# %% wrong="unseen" fails="test_any_masks" name="the first layer last"
replace("for mask in reversed(masks):", "for mask in masks:")
# %% wrong="unseen" fails="test_causal_stacks" name="looks the other way"
replace("F.conv_transpose2d(", "F.conv2d(")
# %% wrong="unseen" fails="test_any_masks" name="all layers as large as the first"
replace("padding=len(mask) // 2)", "padding=len(masks[0]) // 2)[:, :, :n, :n]")
# %% wrong="unseen" fails="test_causal_stacks" name="later pixels, too"
replace("before & (seen[0, 0] == 0)", "seen[0, 0] == 0")
# %% wrong="unseen" fails="test_causal_stacks" name="numbers for truth values"
replace("before & (seen[0, 0] == 0)", "(before & (seen[0, 0] == 0)).long()")
# %% wrong="unseen" fails="test_causal_stacks" name="column by column"
replace(".reshape(n, n) < i * n + j", ".reshape(n, n).mT < j * n + i")


# %% wrong="unseen" fails="test_any_masks" name="ways may lead outside the picture"
def unseen(masks, n, i, j):
    seen = {(i, j)}
    for mask in reversed(masks):
        half = len(mask) // 2
        steps = (mask.nonzero() - half).tolist()
        seen = {(a + p, b + q) for a, b in seen for p, q in steps}
    result = torch.zeros(n, n, dtype=torch.bool)
    for a in range(n):
        for b in range(n):
            result[a, b] = (a, b) < (i, j) and (a, b) not in seen
    return result


# %% wrong="unseen" fails="test_causal_stacks" name="the formula for kernels of 3"
def unseen(masks, n, i, j):
    L, result = len(masks), torch.zeros(n, n, dtype=torch.bool)
    for a in range(n):
        for b in range(n):
            r, s = i - a, b - j
            result[a, b] = (a, b) < (i, j) and not (0 <= r <= L and -L <= s <= r)
    return result


# %% wrong="unseen" fails="test_any_masks" name="ways through earlier pixels only"
replace("> 0).double()", "> 0).double() * (torch.arange(n * n).reshape(n, n) <= i * n + j)")
# %% wrong="unseen" fails="test_any_masks" name="counts ways in whole numbers: they overflow"
replace("seen = torch.zeros(1, 1, n, n, dtype=torch.float64)", "seen = torch.zeros(1, 1, n, n).long()")
replace("weight = mask.double()[None, None]", "weight = mask.long()[None, None]")
replace(
    "seen = (F.conv_transpose2d(seen, weight, padding=len(mask) // 2) > 0).double()",
    "seen = F.conv_transpose2d(seen, weight, padding=len(mask) // 2)",
)
# %% wrong="unseen" fails="test_any_masks" name="shares of ways: they vanish"
replace("weight = mask.double()[None, None]", "weight = mask.double()[None, None] / mask.sum().clamp(min=1)")
replace(
    "seen = (F.conv_transpose2d(seen, weight, padding=len(mask) // 2) > 0).double()",
    "seen = F.conv_transpose2d(seen, weight, padding=len(mask) // 2)",
)
replace("(seen[0, 0] == 0)", "(seen[0, 0] < 1e-9)")


# %% right="unseen" name="from place to place"
def unseen(masks, n, i, j):
    seen = {(i, j)}
    for mask in masks[::-1]:
        half = len(mask) // 2
        steps = (mask.nonzero() - half).tolist()
        seen = {(a + p, b + q) for a, b in seen for p, q in steps if 0 <= a + p < n and 0 <= b + q < n}
    result = torch.zeros(n, n, dtype=torch.bool)
    for a in range(n):
        for b in range(n):
            result[a, b] = (a, b) < (i, j) and (a, b) not in seen
    return result


# %% wrong="class-after" fails="test_bayes_rule_at_every_pixel" name="without the prior"
replace("(so_far + log_prior[:, None])", "so_far")
# %% wrong="class-after" fails="test_bayes_rule_at_every_pixel" name="normalised over pixels"
replace("log_softmax(dim=1)", "log_softmax(dim=2)")
# %% wrong="class-after" fails="test_bayes_rule_at_every_pixel" name="one pixel late"
replace("F.pad(log_each.cumsum(dim=2), (1, 0))", "F.pad(log_each.cumsum(dim=2), (2, -1))")
# %% wrong="class-after" fails="test_bayes_rule_at_every_pixel" name="each pixel alone"
replace("log_each.cumsum(dim=2)", "log_each")
# %% wrong="class-after" fails="test_bayes_rule_at_every_pixel" name="probabilities for logarithms"
replace("log_softmax(dim=1)", "softmax(dim=1)")
# %% wrong="class-after" fails="test_ruled_out_and_far_apart" name="outside log space"
replace(".log_softmax(dim=1)", ".exp().div((so_far + log_prior[:, None]).exp().sum(1, keepdim=True)).log()")
# %% wrong="class-after" fails="test_ruled_out_and_far_apart" name="a floor for what is ruled out"
replace("log_each.cumsum(dim=2)", "log_each.clamp(min=-1e3).cumsum(dim=2)")
# %% wrong="class-after" fails="test_ruled_out_and_far_apart" name="one maximum for all rows"
replace(
    "return (so_far + log_prior[:, None]).log_softmax(dim=1).transpose(1, 2)",
    "joint = so_far + log_prior[:, None]\n"
    "joint = (joint - joint.max()).exp()\n"
    "return (joint / joint.sum(1, keepdim=True)).log().transpose(1, 2)",
)


# %% right="class-after" name="one pixel after the other"
def class_after(log_each, log_prior):
    now = log_prior.expand(log_each.shape[0], -1)
    found = [now - now.logsumexp(1, keepdim=True)]
    for pixel in log_each.unbind(2):
        now = now + pixel
        found.append(now - now.logsumexp(1, keepdim=True))
    return torch.stack(found, dim=1)


# %% wrong="laplace" fails="test_levels_of_a_mixture" name="the density for the mass"
def laplace_levels(outputs, x, K):
    weight, centre, log_scale = outputs.chunk(3, dim=1)
    each = -(x[:, None] - centre).abs() / log_scale.exp() - math.log(2) - log_scale
    return (weight.log_softmax(1) + each).logsumexp(1)


# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="the difference itself"
def laplace_levels(outputs, x, K):
    weight, centre, log_scale = outputs.chunk(3, dim=1)
    s, y = log_scale.exp(), x[:, None]
    F_of = lambda v: torch.where(v <= 0, v.clamp(max=0).exp() / 2, 1 - (-v.clamp(min=0)).exp() / 2)  # noqa: E731
    up = torch.where(y == K - 1, 1, F_of((y + 0.5 - centre) / s))
    low = torch.where(y == 0, 0, F_of((y - 0.5 - centre) / s))
    return (weight.log_softmax(1) + (up - low).log()).logsumexp(1)


# %% wrong="laplace" fails="test_levels_of_a_mixture" name="closed at both ends"
replace(
    "each = torch.where(y == 0, lowest, torch.where(y == K - 1, highest, each))\n",
    "",
)
# %% wrong="laplace" fails="test_levels_of_a_mixture" name="closed at the upper end"
replace("torch.where(y == K - 1, highest, each)", "each")
# %% wrong="laplace" fails="test_levels_of_a_mixture" name="logistics again"
replace(
    "each = torch.where(u <= 0, log_half + u + inner, torch.where(w >= 0, log_half - w + inner, across))",
    "each = F.logsigmoid(u) + F.logsigmoid(-w) + inner",
)
# %% wrong="laplace" fails="test_levels_of_a_mixture" name="the mean of the logarithms"
replace(
    "return (each + logits.log_softmax(dim=1)).logsumexp(dim=1)",
    "return (each * logits.softmax(dim=1)).sum(dim=1)",
)
# %% wrong="laplace" fails="test_levels_of_a_mixture" name="weights are not normalised"
replace("logits.log_softmax(dim=1)", "logits")
# %% wrong="laplace" fails="test_levels_of_a_mixture" name="scales for their logarithms"
replace("s, y = log_s.exp(), x[:, None]", "s, y = log_s.abs() + 1e-3, x[:, None]")
# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="scales are cut off"
replace("s, y = log_s.exp(), x[:, None]", "s, y = log_s.clamp(min=-5).exp(), x[:, None]")
# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="a floor"
replace("(each + logits", "(each.clamp(min=-1e3) + logits")
# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="a gradient that is NaN"
replace("torch.log1p(-(-u.clamp(min=0)).exp() / 2)", "torch.log1p(-(-u).exp() / 2)")
# %% wrong="laplace" fails="test_levels_of_a_mixture" name="levels from -1 to 1"
replace("s, y = log_s.exp(), x[:, None]", "s, y = log_s.exp() * (K - 1) / 2, x[:, None]")


# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="a floor far down"
replace("(each + logits", "(each.clamp(min=-1e5) + logits")
# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="logarithm of a softmax"
replace("logits.log_softmax(dim=1)", "logits.softmax(dim=1).log()")
# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="width without expm1: wrong in float32"
replace("(-torch.expm1(-1 / s)).log()", "(1 - (-1 / s).exp()).log()")
# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="around the centre without expm1"
replace(
    "(-(torch.expm1(-u.clamp(min=0)) + torch.expm1(w.clamp(max=0))) / 2).log()",
    "(1 - (-u.clamp(min=0)).exp() / 2 - w.clamp(max=0).exp() / 2).log()",
)
# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="no gradient for large scales"
replace(
    "logits, mu, log_s = outputs.chunk(3, dim=1)",
    "logits, mu, log_s = outputs.chunk(3, dim=1)\nlog_s = torch.where(log_s > 5, log_s.detach(), log_s)",
)
# %% wrong="laplace" fails="test_far_out_and_its_gradient" name="the density where levels are narrow"
replace("(-torch.expm1(-1 / s)).log()", "torch.where(s > 1e5, -log_s, (-torch.expm1(-1 / s)).log())")


# %% right="laplace" name="by the sides of the centre"
def laplace_levels(outputs, x, K):
    M = outputs.shape[1] // 3
    found = []
    for m in range(M):
        centre, scale = outputs[:, M + m], outputs[:, 2 * M + m].exp()
        flip = x < centre
        distance = torch.where(flip, centre - x, x - centre)
        near, width = (distance - 0.5) / scale, 1 / scale  # below 0 where the level holds the centre
        last = torch.where(flip, x == 0, x == K - 1)  # open, away from the centre
        opposite = torch.where(flip, x == K - 1, x == 0)  # open, across the centre
        outer = (
            -near.clamp(min=0)
            - math.log(2)
            + torch.where(last, torch.zeros_like(near), (-torch.expm1(-width)).log())
        )
        far = (distance + 0.5) / scale
        half_out = torch.where(last, torch.ones_like(far), -torch.expm1(-far)) / 2
        half_in = torch.where(opposite, torch.ones_like(far), -torch.expm1(near.clamp(max=0))) / 2
        inner = (half_out + half_in).log()
        beyond = torch.log1p(-(-far).exp() / 2)  # all up to the far edge
        beside = torch.where(opposite, torch.where(last, torch.zeros_like(far), beyond), outer)
        found.append(torch.where(near >= 0, beside, inner))
    return (outputs[:, :M].log_softmax(1) + torch.stack(found, 1)).logsumexp(1)


# %% wrong="repair" fails="test_layers_after_the_first" name="the side stack looks up only"
replace("(q - 1, 0, p // 2, p // 2)", "(q - 1, 0, p - 1, 0)")
# %% wrong="repair" fails="test_layers_after_the_first" name="not moved by a column"
replace("F.pad(a, (1, -1))", "a")
# %% wrong="repair" fails="test_first_layer_and_kinds" name="the first layer as the others: a leak"
replace("(0, 0, k, -1) if first else (0, 0, k - 1, 0)", "(0, 0, k - 1, 0)")
# %% wrong="repair" fails="test_layers_after_the_first" name="odd and even channels"
replace("out = gate(b)", "out = b[:, ::2].tanh() * b[:, 1::2].sigmoid()")
# %% wrong="repair" fails="test_layers_after_the_first" name="moved down, as in the chapter"
replace("F.pad(a, (1, -1))", "down(a)")
# %% wrong="repair" fails="test_layers_after_the_first" name="listens behind the gate"
replace(
    "F.conv2d(F.pad(a, (1, -1)), W_link)", "F.conv2d(F.pad(torch.cat([gate(a)] * 2, 1), (1, -1)), W_link)"
)
# %% wrong="repair" fails="test_layers_after_the_first" name="kernels of 3 x 2 and 2 x 1"
replace("(p, q), k = W_side.shape[2:], W_own.shape[2]", "(p, q), k = (3, 2), 2")
# %% wrong="repair" fails="test_first_layer_and_kinds" name="adds the input in the first layer, too"
replace("out if first else h + out", "h + out if h.shape == out.shape else out")
# %% wrong="repair" fails="test_layers_after_the_first" name="looks to the right"
replace("(q - 1, 0, p // 2, p // 2)", "(0, q - 1, p // 2, p // 2)")
# %% wrong="repair" fails="test_layers_after_the_first" name="moved the wrong way"
replace("F.pad(a, (1, -1))", "F.pad(a, (-1, 1))")


# %% wrong="repair" fails="test_layers_after_the_first" name="no gradient through the link"
replace("F.pad(a, (1, -1))", "F.pad(a.detach(), (1, -1))")
# %% wrong="repair" fails="test_layers_after_the_first" name="a gate of exponentials that overflow"
replace(
    "out = gate(b)",
    "what, how = b.chunk(2, dim=1)\n"
    "out = (what.exp() - (-what).exp()) / (what.exp() + (-what).exp()) * how.sigmoid()",
)


# %% right="repair" name="turned, by the chapter's functions"
def repaired_layer(v, h, W_side, W_own, W_link, first):
    def turned(x, W, pad):
        return F.conv2d(F.pad(x.mT, pad), W.mT).mT

    rows, columns = W_side.shape[2], W_side.shape[3]
    a = turned(v, W_side, (rows // 2, rows // 2, columns - 1, 0))
    k = W_own.shape[2]
    b = turned(h, W_own, (k - 1, 0, 0, 0))
    if first:
        b = down(b)
    shifted = torch.cat([torch.zeros_like(a[..., :1]), a[..., :-1]], dim=3)
    b = b + torch.einsum("oc,bcij->boij", W_link[:, :, 0, 0], shifted)
    own = gate(b)
    return gate(a), own if first else own + h


# %% wrong="colours" fails="test_masks_of_colours" name="colours interleaved, not in groups"
replace(
    "torch.arange(G).repeat_interleave(c_out), torch.arange(G).repeat_interleave(c_in)",
    "torch.arange(G).repeat(c_out), torch.arange(G).repeat(c_in)",
)
# %% wrong="colours" fails="test_masks_of_colours" name="A sees its own colour: a leak"
replace('other < own[:, None] if kind == "A" else', 'other <= own[:, None] if kind == "A" else')
# %% wrong="colours" fails="test_masks_of_colours" name="colours of a pixel do not see each other"
replace(
    'other < own[:, None] if kind == "A" else other <= own[:, None]',
    'other != other + 0 * own[:, None] if kind == "A" else other == own[:, None]',
)
# %% wrong="colours" fails="test_masks_of_colours" name="the last colour first"
replace(
    'other < own[:, None] if kind == "A" else other <= own[:, None]',
    'other > own[:, None] if kind == "A" else other >= own[:, None]',
)
# %% wrong="colours" fails="test_masks_of_colours" name="a colour sees its own kind only"
replace("return (place < centre) |", "return (place < centre) & (other == own[:, None])[:, :, None, None] |")
# %% wrong="colours" fails="test_nats_and_draws" name="the mean for the sum"
replace("[:, :, 0].flatten(1).sum(dim=1)", "[:, :, 0].flatten(1).mean(dim=1)")
# %% wrong="colours" fails="test_nats_and_draws" name="normalised over colours"
replace("net(x).log_softmax(dim=2)", "net(x).log_softmax(dim=1)")
# %% wrong="colours" fails="test_nats_and_draws" name="logits taken for logarithms of probabilities"
replace("net(x).log_softmax(dim=2)", "net(x)")
# %% wrong="colours" fails="test_nats_and_draws" name="the logarithm of what underflowed"
replace("net(x).log_softmax(dim=2)", "net(x).softmax(dim=2).log()")
# %% wrong="colours" fails="test_nats_and_draws" name="draws the last colour first"
replace("for g in range(u.shape[1]):", "for g in reversed(range(u.shape[1])):")
# %% wrong="colours" fails="test_nats_and_draws" name="plane after plane"
replace(
    "for i in range(u.shape[2]):\n    for j in range(u.shape[3]):\n        for g in range(u.shape[1]):",
    "for g in range(u.shape[1]):\n    for i in range(u.shape[2]):\n        for j in range(u.shape[3]):",
)
# %% wrong="colours" fails="test_nats_and_draws" name="column after column"
replace(
    "for i in range(u.shape[2]):\n    for j in range(u.shape[3]):",
    "for j in range(u.shape[3]):\n    for i in range(u.shape[2]):",
)
# %% wrong="colours" fails="test_nats_and_draws" name="the likeliest level"
replace("(p.cumsum(dim=1)[:, :-1] <= u[:, g, i, j, None]).sum(dim=1)", "p.argmax(dim=1)")
# %% wrong="colours" fails="test_nats_and_draws" name="one number for all colours"
replace("u[:, g, i, j, None]", "u[:, 0, i, j, None]")
# %% wrong="colours" fails="test_nats_and_draws" name="all levels counted, none left for the last"
replace("(p.cumsum(dim=1)[:, :-1] <= ", "(p.cumsum(dim=1)[:, :] / 2 <= ")


# %% wrong="colours" fails="test_nats_and_draws" name="the sum may stay below u: no such level"
replace("p.cumsum(dim=1)[:, :-1] <= ", "p.cumsum(dim=1) <= ")
# %% wrong="colours" fails="test_nats_and_draws" name="an interval without its lower edge"
replace("[:, :-1] <= u", "[:, :-1] < u")
# %% wrong="colours" fails="test_nats_and_draws" name="draws in float32"
replace("p.cumsum(dim=1)[:, :-1]", "p.float().cumsum(dim=1)[:, :-1]")
# %% wrong="colours" fails="test_nats_and_draws" name="u away from 0 and 1"
replace("<= u[:, g, i, j, None]", "<= u[:, g, i, j, None].clamp(1e-3, 1 - 1e-3)")
# %% wrong="colours" fails="test_nats_and_draws" name="draws by exponentials that overflow"
replace("[:, g, :, i, j].softmax(dim=1)", "[:, g, :, i, j].exp()")
replace("p.cumsum(dim=1)[:, :-1]", "(p / p.sum(1, keepdim=True)).cumsum(dim=1)[:, :-1]")
# %% wrong="colours" fails="test_nats_and_draws" name="nought times minus infinity"
replace(
    "log_levels.gather(2, x[:, :, None])[:, :, 0]",
    "(log_levels * F.one_hot(x, log_levels.shape[2]).movedim(-1, 2)).sum(2)",
)
# %% wrong="colours" fails="test_nats_and_draws" name="a floor for nats"
replace("net(x).log_softmax(dim=2)", "net(x).log_softmax(dim=2).clamp(min=-1e4)")
# %% wrong="colours" fails="test_nats_and_draws" name="nats without a gradient"
replace("net(x).log_softmax(dim=2)", "net(x).detach().log_softmax(dim=2)")
# %% wrong="colours" fails="test_nats_and_draws" name="nats in float64 always"
replace("net(x).log_softmax(dim=2)", "net(x).double().log_softmax(dim=2)")


# %% right="colours" name="number by number"
def colour_mask(kind, k, G, c_in, c_out):
    mask, half = torch.zeros(G * c_out, G * c_in, k, k, dtype=torch.bool), k // 2
    mask[:, :, :half] = True
    mask[:, :, half, :half] = True
    for g in range(G):
        last = g if kind == "A" else g + 1
        mask[g * c_out : (g + 1) * c_out, : last * c_in, half, half] = True
    return mask


def colour_log_p(net, x):
    logits = net(x).movedim(2, 1)
    return -F.cross_entropy(logits, x, reduction="none").sum(dim=(1, 2, 3))


def colour_draw(net, u):
    B, G, n, _ = u.shape
    x = torch.zeros(B, G, n, n).long()
    for a in range(G * n * n):
        i, j, g = a // (G * n), a // G % n, a % G
        so_far, own = net(x)[:, g, :, i, j].softmax(1).cumsum(1), u[:, g, i, j].contiguous()
        x[:, g, i, j] = torch.searchsorted(so_far[:, :-1].contiguous(), own[:, None], right=True)[:, 0]
    return x


# %% right="colours" name="by logarithms"
def colour_mask(kind, k, G, c_in, c_out):
    blocks = torch.ones(G, G, dtype=torch.bool).tril(-1 if kind == "A" else 0)
    mask = torch.zeros(G * c_out, G * c_in, k * k, dtype=torch.bool)
    mask[:, :, : k * k // 2] = True
    mask[:, :, k * k // 2] = blocks.repeat_interleave(c_out, 0).repeat_interleave(c_in, 1)
    return mask.reshape(G * c_out, G * c_in, k, k)


def colour_log_p(net, x):
    logits = net(x)
    chosen = torch.take_along_dim(logits, x[:, :, None], 2)[:, :, 0]
    return (chosen - logits.logsumexp(2)).sum((1, 2, 3))


def colour_draw(net, u):
    x = torch.ones(u.shape).long()
    for i in range(u.shape[2]):
        for j in range(u.shape[3]):
            for g in range(u.shape[1]):
                log_P = net(x)[:, g, :, i, j].log_softmax(1).logcumsumexp(1)
                x[:, g, i, j] = (log_P[:, :-1] <= u[:, g, i, j, None].log()).sum(1)
    return x


# %% equivalent="colours" name="an axis of one level: its first is its last"
replace("[:, :, 0].flatten(1).sum(dim=1)", "[:, :, -1].flatten(1).sum(dim=1)")
# %% equivalent="unseen" name="a second picture that nobody looks at"
replace("torch.zeros(1, 1, n, n,", "torch.zeros(2, 1, n, n,")
# %% equivalent="unseen" name="a batch of one: its first is its last"
replace("seen[0, 0, i, j] = 1", "seen[-1, 0, i, j] = 1")
# %% equivalent="unseen" name="one channel: its first is its last"
replace("seen[0, 0, i, j] = 1", "seen[0, -1, i, j] = 1")
# %% equivalent="unseen" name="any number above 0 is seen"
replace("seen[0, 0, i, j] = 1", "seen[0, 0, i, j] = 2")
# %% equivalent="unseen" name="a convolution's two factors may be exchanged"
replace("F.conv_transpose2d(seen, weight,", "F.conv_transpose2d(weight, seen,")
# %% equivalent="unseen" name="at the end, too, the first picture is the last"
replace("(seen[0, 0] == 0)", "(seen[-1, 0] == 0)")
# %% equivalent="unseen" name="at the end, too, the first channel is the last"
replace("(seen[0, 0] == 0)", "(seen[0, -1] == 0)")
# %% equivalent="class-after" name="two axes exchanged are named in either order"
replace(".transpose(1, 2)", ".transpose(2, 1)")
# %% equivalent="laplace" name="above -1: where u is below 0 this branch is not taken"
replace("torch.expm1(-u.clamp(min=0))", "torch.expm1(-u.clamp(min=-1))")
# %% equivalent="laplace" name="below 1: where w is above 0 this branch is not taken"
replace("torch.expm1(w.clamp(max=0))", "torch.expm1(w.clamp(max=1))")
# %% equivalent="laplace" name="an upper edge on the centre: both formulas agree"
replace("each = torch.where(u <= 0, ", "each = torch.where(u < 0, ")
# %% equivalent="laplace" name="a lower edge on the centre: both formulas agree"
replace(
    "torch.where(w >= 0, log_half - w + inner, across)", "torch.where(w > 0, log_half - w + inner, across)"
)
# %% equivalent="laplace" name="the lowest level's edge on the centre: both formulas agree"
replace("lowest = torch.where(u <= 0,", "lowest = torch.where(u < 0,")
# %% equivalent="laplace" name="the highest level's edge on the centre: both formulas agree"
replace("highest = torch.where(w >= 0,", "highest = torch.where(w > 0,")
# %% equivalent="laplace" name="rounding only: exp(-30) beside 1, upwards"
replace(
    "torch.log1p(-(-u.clamp(min=0)).exp() / 2)", "torch.log1p(-(-u.clamp(min=0)).clip(-30, 30).exp() / 2)"
)
# %% equivalent="laplace" name="the lowest level's other branch is not taken below 0"
replace("torch.log1p(-(-u.clamp(min=0)).exp() / 2)", "torch.log1p(-(-u.clamp(min=-1)).exp() / 2)")
# %% equivalent="laplace" name="rounding only: exp(-30) beside 1, downwards"
replace("torch.log1p(-w.clamp(max=0).exp() / 2)", "torch.log1p(-w.clamp(max=0).clip(-30, 30).exp() / 2)")
# %% equivalent="laplace" name="the highest level's other branch is not taken above 0"
replace("torch.log1p(-w.clamp(max=0).exp() / 2)", "torch.log1p(-w.clamp(max=1).exp() / 2)")
# %% equivalent="colours" name="nobody reads what is not drawn yet"
replace("x = torch.zeros(u.shape,", "x = torch.ones(u.shape,")
# %% equivalent="colours" name="the statement's pictures are square: rows by columns"
replace("range(u.shape[2])", "range(u.shape[3])")
# %% equivalent="colours" name="the statement's pictures are square: columns by rows"
replace("range(u.shape[3])", "range(u.shape[2])")
