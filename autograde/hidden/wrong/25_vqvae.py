"""Wrong and other right answers to lesson 25_vqvae."""

# %% wrong="message" fails="test_lengths_add_up" name="forgets a K in the denominator"
replace("(train.sum() + a * K)", "train.sum()")
# %% wrong="message" fails="test_lengths_add_up" name="nats"
replace("(share, p).sum().item() / math.log(2)", "(share, p).sum().item()")
replace("(share).sum().item() / math.log(2)", "(share).sum().item()")
# %% wrong="message" fails="test_lengths_add_up" name="the two messages exchanged"
replace("for k in (k_train, k_test)", "for k in (k_test, k_train)")
# %% wrong="message" fails="test_lengths_add_up" name="the entropy of section 1"
replace("-torch.xlogy(share, p)", "torch.special.entr(share)")
# %% wrong="message" fails="test_lengths_add_up" name="above the training codes' entropy"
replace("entr(share)", "entr(p)")
# %% wrong="message" fails="test_lengths_add_up" name="the bits of the whole message"
replace("torch.xlogy(share, p)", "torch.xlogy(test, p)")
# %% wrong="message" fails="test_missing_codes" name="0 log 0 becomes NaN"
replace("torch.special.entr(share)", "(-share * share.log())")
# %% wrong="message" fails="test_missing_codes" name="counts clipped away from 0"
replace("(train + a) / (train.sum() + a * K)", "F.normalize((train + a).clamp(min=1), p=1, dim=0)")
# %% wrong="message" fails="test_missing_codes" name="small probabilities taken for a larger one"
replace("-torch.xlogy(share, p)", "-torch.xlogy(share, torch.where(p > 0, p.clamp(min=1e-30), p))")
# %% wrong="message" fails="test_lengths_add_up" name="needs an axis"
replace("k.flatten()", "k[:].flatten()")


# %% right="message" name="a loop over codes, in plain Python"
def message_bits(k_train, k_test, K, a):
    train, test = k_train.flatten().tolist(), k_test.flatten().tolist()
    bits = above = 0.0
    for code in set(test):
        share, p = test.count(code) / len(test), (train.count(code) + a) / (len(train) + a * K)
        bits -= share * math.log2(p) if p else -math.inf
        above += share * math.log2(share / p) if p else math.inf
    return bits, above


# %% right="message" name="the mean length of each symbol's word"
replace("-torch.xlogy(share, p).sum().item() / math.log(2)", "-p.log2()[k_test].mean().item()")
replace("torch.special.entr(share).sum()", "torch.distributions.Categorical(share).entropy()")

# %% right="message" name="tensors of one number, in a list"
replace(
    "return bits, bits - torch.special.entr(share).sum().item() / math.log(2)",
    "return [torch.tensor([bits]), torch.tensor(bits) - torch.special.entr(share).sum() / math.log(2)]",
)

# %% wrong="product" fails="test_nearest_of_all_combinations" name="the first book moves fastest"
replace("number * len(book) + k", "number + math.prod(len(b) for b in books[: len(found)]) * k")
# %% wrong="product" fails="test_nearest_of_all_combinations" name="all books taken for as large as the first"
replace("number * len(book) + k", "number * len(books[0]) + k")
# %% wrong="product" fails="test_nearest_of_all_combinations" name="pieces of equal width"
replace("z.split(widths, dim=1)", "z.chunk(len(books), dim=1)")
# %% wrong="product" fails="test_nearest_of_all_combinations" name="forgets the lengths of the codes"
replace("nearest(piece, book)", "(piece @ book.T).argmax(dim=1)")
# %% wrong="product" fails="test_nearest_of_all_combinations" name="one digit for each book, not one number"
replace("torch.zeros(len(z), dtype=torch.long)", "torch.zeros(len(z), 0, dtype=torch.long)")
replace("number * len(book) + k", "torch.cat([number, k[:, None]], dim=1)")
# %% wrong="product" fails="test_too_many_to_list" name="the number through float64"
replace("number * len(book) + k", "(number.double() * len(book) + k).long()")
# %% wrong="product" fails="test_nearest_of_all_combinations" name="takes short distances for none"
replace("nearest(piece, book)", "(piece[:, None] - book).square().sum(dim=2).clamp(min=1e-6).argmin(dim=1)")
# %% wrong="product" fails="test_nearest_of_all_combinations" name="vectors that are too wide pass"
replace("sum(widths) != z.shape[1]", "sum(widths) > z.shape[1]")
replace("z.split(widths", "z[:, : sum(widths)].split(widths")

# %% equivalent="product" name="the widths are those of the books, so there is a piece for each"
replace("books, strict=True", "books")
# %% equivalent="product" name="the widths are those of the books, so that strictness refuses nothing"
replace("strict=True", "strict=False")

# %% right="product" name="distances written out, products of the sizes"
replace("nearest(piece, book)", "(piece[:, None] - book).square().sum(dim=2).argmin(dim=1)")
replace("number * len(book) + k", "number + math.prod(len(b) for b in books[len(found) + 1 :]) * k")

# %% right="product" name="the codes as float32, in an iterator"
replace("return number, torch.cat(found, dim=1)", "return iter([number, torch.cat(found, dim=1).float()])")

# %% wrong="fsq-number" fails="test_grid_to_numbers" name="the last coordinate moves fastest"
replace("(digit * weight)", "(digit * (math.prod(levels) // L.cumprod(0)))")
replace("number[..., None] // weight", "number[..., None] // (math.prod(levels) // L.cumprod(0))")
# %% wrong="fsq-number" fails="test_grid_to_numbers" name="truncates instead of rounding"
replace("(q * (L // 2)).round().long()", "(q * (L // 2)).long()")
# %% wrong="fsq-number" fails="test_numbers_to_grid" name="scaled by (L - 1) / 2: wrong for even L"
replace("(q * (L // 2)).round().long() + L // 2", "((q + 1) * (L - 1) / 2).round().long()")
replace("(digit - L // 2).double() / (L // 2)", "2 * digit.double() / (L - 1) - 1")
# %% wrong="fsq-number" fails="test_grid_to_numbers" name="every base is the first number of levels"
replace("(digit * weight)", "(digit * levels[0] ** torch.arange(len(levels)))")
# %% wrong="fsq-number" fails="test_numbers_to_grid" name="forgets the remainder"
replace("// weight % L", "// weight")
# %% wrong="fsq-number" fails="test_grid_to_numbers" name="levels counted from the middle"
replace("round().long() + L // 2", "round().long()")
# %% wrong="fsq-number" fails="promises" name="numbers in float64, where int64 is asked"
replace("(digit * weight).sum(dim=-1)", "(digit * weight).sum(dim=-1).double()")
# %% wrong="fsq-number" fails="test_grid_to_numbers" name="adds up in float32"
replace("(digit * weight).sum(dim=-1)", "(digit.float() * weight).sum(dim=-1).long()")
# %% wrong="fsq-number" fails="test_grid_to_numbers" name="adds up in int32"
replace("(digit * weight).sum(dim=-1)", "(digit * weight).sum(dim=-1, dtype=torch.int32).long()")
# %% wrong="fsq-number" fails="test_grid_to_numbers" name="one point becomes a batch"
replace("(digit * weight).sum(dim=-1)", "(digit * weight).sum(dim=-1).reshape(q.shape[:-1] or (1,))")
# %% wrong="fsq-number" fails="test_numbers_to_grid" name="counts from the end below 0"
replace("(number < 0).any() or ", "")

# %% equivalent="fsq-number" name="digits off by a millionth cannot tell as many levels apart as int32 holds"
replace("round().long()", "round().int()")
# %% equivalent="fsq-number" name="levels have one axis, so that the first is the last, for points"
replace(
    """
digit = (q * (L // 2)).round().long() + L // 2
weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
""",
    """
digit = (q * (L // 2)).round().long() + L // 2
weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(-1)[:-1]])
""",
)
# %% equivalent="fsq-number" name="levels have one axis, so that the first is the last, for numbers"
replace(
    """
weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
digit = number[..., None] // weight % L
""",
    """
weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(-1)[:-1]])
digit = number[..., None] // weight % L
""",
)

# %% right="fsq-number" name="coordinate by coordinate"
replace(
    "(digit * weight).sum(dim=-1)", "sum(digit[..., i] * math.prod(levels[:i]) for i in range(len(levels)))"
)
replace(
    "number[..., None] // weight % L",
    "torch.stack([number // math.prod(levels[:i]) % n for i, n in enumerate(levels)], dim=-1)",
)
# %% right="fsq-number" name="looks each coordinate up in a list of its levels"
replace(
    "digit = (q * (L // 2)).round().long() + L // 2",
    """
places = [fsq_point(torch.arange(n), (n,))[:, 0] for n in levels]
digit = torch.stack([(q[..., i, None] - at).abs().argmin(dim=-1) for i, at in enumerate(places)], dim=-1)
""",
)

# %% wrong="rotation" fails="test_gradient_is_turned" name="straight through for all"
replace("torch.where(good, turned, z)", "z")
# %% wrong="rotation" fails="test_gradient_is_turned" name="turned the wrong way round"
replace("from_z, to_q = z", "to_q, from_z = z")
# %% wrong="rotation" fails="test_gradient_is_turned" name="without the ratio of the lengths"
replace("scale * (z", "(z")
# %% wrong="rotation" fails="test_no_rotation" name="straight through for none"
replace("torch.where(good, turned, z)", "turned")
# %% wrong="rotation" fails="test_no_rotation" name="NaN where there is no rotation"
replace("size.clamp(min=1e-300)", "size")
# %% wrong="rotation" fails="test_gradient_is_turned" name="rotation not held constant"
replace("torch.no_grad()", "torch.enable_grad()")
# %% wrong="rotation" fails="test_gradient_is_turned" name="one reflection instead of a rotation"
replace("from_z + to_q", "from_z - to_q")
replace(" + 2 * along_z * to_q", "")
# %% wrong="rotation" fails="test_gradient_is_turned" name="scales and does not turn"
replace("(z - 2 * along_w * w + 2 * along_z * to_q)", "z")
# %% wrong="rotation" fails="test_gradient_is_turned" name="short vectors taken for 0"
replace("(length_z > 0) & (length_q > 0)", "(length_z > 1e-4) & (length_q > 1e-4)")
# %% wrong="rotation" fails="test_gradient_is_turned" name="q feels a gradient"
replace("(q - through).detach()", "(q - through.detach())")
# %% wrong="rotation" fails="test_gradient_is_turned" name="a D x D matrix"
replace("z * v).sum(dim=1, keepdim=True)", "z @ torch.eye(z.shape[1]).to(z) * v).sum(dim=1, keepdim=True)")
# %% wrong="rotation" fails="test_gradient_is_turned" name="all products of rows with rows"
replace("(z * v).sum(dim=1, keepdim=True)", "(z @ v.T).diagonal()[:, None]")
# %% wrong="rotation" fails="test_no_rotation" name="a view of what is not contiguous"
replace("z - 2 * along_w * w", "z.view(-1).view(z.shape) - 2 * along_w * w")

# %% wrong="rotation" fails="test_gradient_is_turned" name="F.normalize, with its least length of 1e-12"
replace("z / length_z.clamp(min=1e-300), q / length_q.clamp(min=1e-300)", "F.normalize(z), F.normalize(q)")
# %% wrong="rotation" fails="test_gradient_is_turned" name="a thousandth from opposite taken for opposite"
replace("size > 1e-7", "size > 1e-3")
# %% wrong="rotation" fails="test_no_rotation" name="opposite only without rounding"
replace("size > 1e-7", "size > 0")
# %% wrong="rotation" fails="test_no_rotation" name="one bad row, and all go straight through"
replace("torch.where(good, turned, z)", "torch.where(good.all(), turned, z)")

# %% equivalent="rotation" name="the largest gap from opposite that still counts as rounding, exclusive"
replace("size > 1e-7", "size >= 1e-7")

# %% right="rotation" name="two reflections, one after the other"
replace(
    "along_z, along_w = ((z * v).sum(dim=1, keepdim=True) for v in (from_z, w))",
    "once = z - 2 * (z * from_z).sum(dim=1, keepdim=True) * from_z",
)
replace("z - 2 * along_w * w + 2 * along_z * to_q", "once - 2 * (once * w).sum(dim=1, keepdim=True) * w")


# %% right="rotation" name="an autograd function whose backward turns the gradient"
class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, q):
        ctx.save_for_backward(z, q)
        return q.clone()

    @staticmethod
    def backward(ctx, pull):
        (z, size_z), (q, size_q) = ((v, v.norm(dim=1, keepdim=True)) for v in ctx.saved_tensors)
        a, b = F.normalize(z, eps=1e-300), F.normalize(q, eps=1e-300)
        free = (size_z * size_q == 0) | ((a + b).norm(dim=1, keepdim=True) < 1e-7)
        w = F.normalize(a + b)
        turned = pull - 2 * (pull * w).sum(1, True) * w + 2 * (pull * b).sum(1, True) * a
        return torch.where(free, pull, size_q / size_z * turned), None


def rotate_through(z, q):
    return Turned.apply(z, q)


# %% wrong="beam" fails="test_any_width" name="greedy, whatever the width"
replace("min(width, error.shape[1])", "1")
# %% wrong="beam" fails="test_any_width" name="only the first stage looks wide"
replace("min(width, error", "min(1 if numbers.shape[2] else width, error")
# %% wrong="beam" fails="test_any_width" name="the worst are kept"
replace("largest=False", "largest=True")
# %% wrong="beam" fails="test_any_width" name="loses track of which spelling was extended"
replace("parent, code = best // len(book)", "parent, code = 0 * best")
# %% wrong="beam" fails="test_any_width" name="the length, not its square"
replace("beyond.square().sum(dim=3)", "beyond.norm(dim=3)")
# %% wrong="beam" fails="test_any_width" name="tries every spelling"
replace("min(width, error.shape[1])", "error.shape[1]")
# %% wrong="beam" fails="test_any_width" name="numbers in reverse"
replace("[kept, code[..., None]]", "[code[..., None], kept]")
# %% wrong="beam" fails="test_wide_is_exhaustive" name="never wider than 8"
replace("min(width, error.shape[1])", "min(width, 8, error.shape[1])")
# %% wrong="beam" fails="test_any_width" name="begins with as many copies of the vector"
replace("z[:, None], torch.zeros(N, 1, 0", "z[:, None].expand(-1, width, -1), torch.zeros(N, width, 0")
# %% wrong="beam" fails="promises" name="whole numbers in float32, where int64 is asked"
replace("torch.zeros(N, 1, 0, dtype=torch.long)", "torch.zeros(N, 1, 0)")

# %% wrong="beam" fails="test_any_width" name="takes short remainders for none"
replace("beyond.square().sum(dim=3)", "beyond.square().sum(dim=3).clamp(min=1e-6)")
# %% wrong="beam" fails="test_any_width" name="a view of what is not contiguous"
replace("left, numbers = z[:, None]", "left, numbers = z.view(-1).view(N, 1, D)")

# %% equivalent="beam" name="spellings of length 0 have no entry that could be 0 or 1"
replace("torch.zeros(N, 1, 0", "torch.ones(N, 1, 0")
# %% equivalent="beam" name="spellings of length 0 are all alike, and the candidates give the shape"
replace("torch.zeros(N, 1, 0", "torch.zeros(1, N, 0")
# %% equivalent="beam" name="two spellings of length 0, which are all alike"
replace("torch.zeros(N, 1, 0", "torch.zeros(N, 2, 0")
# %% equivalent="beam" name="no spelling of length 0: there is nothing to read from one"
replace("torch.zeros(N, 1, 0", "torch.zeros(N, 0, 0")
# %% equivalent="beam" name="the last axis, dim=1 here, is the default"
replace("dim=1, largest", "largest")
# %% equivalent="beam" name="the smaller of two, in either order"
replace("min(width, error.shape[1])", "min(error.shape[1], width)")

# %% right="beam" name="sorts all, then cuts"
replace(
    "error.topk(min(width, error.shape[1]), dim=1, largest=False)",
    "(t[:, :width] for t in error.sort(dim=1))",
)


# %% right="beam" name="a loop over vectors, with Python's sort"
def beam_rvq(z, books, width):
    found = []
    for row in z:
        kept = [((), row)]
        for book in books:
            longer = [((*k, j), rest - code) for k, rest in kept for j, code in enumerate(book)]
            kept = sorted(longer, key=lambda pair: float(pair[1].square().sum()))[:width]
        found.append(kept[0])
    return torch.tensor([k for k, _ in found]), torch.stack([rest.square().sum() for _, rest in found])


# %% wrong="repair" fails="test_what_the_encoder_feels" name="still the largest product, not the nearest"
replace("nearest(z.detach(), codes.detach())", "(z @ codes.T).argmax(dim=1)")
# %% wrong="repair" fails="test_what_codes_and_decoder_feel" name="still decodes what was never rounded"
replace("z + (q - z).detach()", "q + (z - q).detach()")
# %% wrong="repair" fails="test_what_codes_and_decoder_feel" name="still the terms exchanged"
replace("F.mse_loss(q, z.detach()) + beta * F", "beta * F.mse_loss(q, z.detach()) + F")
# %% wrong="repair" fails="test_what_codes_and_decoder_feel" name="both terms without stopping a gradient"
replace("F.mse_loss(q, z.detach()) + beta * F.mse_loss(z, q.detach())", "(1 + beta) * F.mse_loss(z, q)")
# %% wrong="repair" fails="test_what_the_encoder_feels" name="decodes q itself"
replace("decode(z + (q - z).detach())", "decode(q)")
# %% wrong="repair" fails="test_what_the_encoder_feels" name="a sum instead of a mean"
replace("(q - z).detach()), x)", "(q - z).detach()), x, reduction='sum')")
# %% wrong="repair" fails="test_what_codes_and_decoder_feel" name="no code book term"
replace("F.mse_loss(q, z.detach()) + ", "")
# %% wrong="repair" fails="test_what_codes_and_decoder_feel" name="the decoder moves the codes, too"
replace("decode(z + (q - z).detach())", "decode(q + z - z.detach())")

# %% wrong="repair" fails="test_what_the_encoder_feels" name="decodes one vector after the other"
replace("decode(z + (q - z).detach())", "torch.cat([decode(v[None]) for v in z + (q - z).detach()])")
# %% wrong="repair" fails="test_what_the_encoder_feels" name="takes it that a decoder returns rows"
replace("decode(z + (q - z).detach()), x)", "decode(z + (q - z).detach()).flatten(1), x.flatten(1))")
# %% wrong="repair" fails="promises" name="one number with an axis"
replace("beta * F.mse_loss(z, q.detach())", "beta * F.mse_loss(z, q.detach()).reshape(1)")

# %% equivalent="repair" name="no gradient passes through argmax, to the vectors"
replace("nearest(z.detach(), codes.detach())", "nearest(z, codes.detach())")
# %% equivalent="repair" name="no gradient passes through argmax, to the codes"
replace("nearest(z.detach(), codes.detach())", "nearest(z.detach(), codes)")
# %% equivalent="repair" name="a squared gap has no sign: the reconstruction"
replace("F.mse_loss(decode(z + (q - z).detach()), x)", "F.mse_loss(x, decode(z + (q - z).detach()))")
# %% equivalent="repair" name="a squared gap has no sign: the code book term"
replace("F.mse_loss(q, z.detach())", "F.mse_loss(z.detach(), q)")
# %% equivalent="repair" name="a squared gap has no sign: the commitment"
replace("F.mse_loss(z, q.detach())", "F.mse_loss(q.detach(), z)")

# %% right="repair" name="distances by cdist, squares written out"
replace("nearest(z.detach(), codes.detach())", "torch.cdist(z, codes).argmin(dim=1)")
replace("F.mse_loss(decode(z + (q - z).detach()), x)", "(decode(straight_through(z, q)) - x).square().mean()")
# %% right="repair" name="through the one-hot table"
replace(
    "codes[nearest(z.detach(), codes.detach())]", "F.one_hot(nearest(z, codes), len(codes)).to(codes) @ codes"
)

# %% wrong="sphere" fails="test_nearest_direction" name="opposite directions taken for near"
replace("codes.detach().T).argmax(dim=1)", "codes.detach().T).abs().argmax(dim=1)")
# %% wrong="sphere" fails="test_nearest_direction" name="the commitment is a sum over each vector"
replace("F.mse_loss(u, q)", "(u - q).square().sum(dim=1).mean()")
# %% wrong="sphere" fails="test_nearest_direction" name="commits the vector itself"
replace("F.mse_loss(u, q)", "F.mse_loss(z, q)")
# %% wrong="sphere" fails="test_gradient_of_directions" name="straight through to z, past the normalisation"
replace("u + (q - u).detach()", "z + (q - z).detach()")
# %% wrong="sphere" fails="test_gradient_of_directions" name="the length taken for a constant"
replace("u = z / z.norm(dim=1, keepdim=True)", "u = z / z.norm(dim=1, keepdim=True).detach()")
# %% wrong="sphere" fails="test_gradient_of_directions" name="a commitment without a gradient"
replace("F.mse_loss(u, q)", "F.mse_loss(u.detach(), q)")
# %% wrong="sphere" fails="test_codes_follow_directions" name="sums of vectors as long as they are"
replace("u = (z / z.norm(dim=1, keepdim=True)).detach()", "u = z.detach()")
# %% wrong="sphere" fails="test_codes_follow_directions" name="means for sums"
replace(
    "torch.zeros_like(m).index_add(0, k, u)",
    "torch.zeros_like(m).index_reduce(0, k, u, 'mean', include_self=False)",
)
# %% wrong="sphere" fails="test_codes_follow_directions" name="the memory for the news"
replace("m = decay * m + (1 - decay) *", "m = (1 - decay) * m + decay *")
# %% wrong="sphere" fails="test_codes_follow_directions" name="codes of any length"
replace("m / length, codes", "m, codes")
# %% wrong="sphere" fails="test_codes_follow_directions" name="NaN where nothing is behind a code"
replace("torch.where(length > 0, m / length, codes), m", "m / length, m")
# %% wrong="sphere" fails="test_codes_follow_directions" name="short sums taken for none"
replace("length > 0", "length > 1e-6")
# %% wrong="sphere" fails="test_updates_in_turn" name="never clears the gradients"
strike("optimizer.zero_grad()")
# %% wrong="sphere" fails="test_updates_in_turn" name="the book stands still"
strike("model.codes, model.m = sphere_follow(model.codes, model.m, z, k, decay)")
# %% wrong="sphere" fails="test_updates_in_turn" name="the sums are not kept"
replace(
    "model.codes, model.m = sphere_follow(model.codes, model.m, z, k, decay)",
    "model.codes = sphere_follow(model.codes, model.m, z, k, decay)[0]",
)
# %% wrong="sphere" fails="test_updates_in_turn" name="beta on the other term"
replace(
    "F.mse_loss(model.decode(q), x) + beta * commitment", "beta * F.mse_loss(model.decode(q), x) + commitment"
)
# %% wrong="sphere" fails="test_updates_in_turn" name="the decoder sees what was not rounded"
replace("F.mse_loss(model.decode(q), x) +", "F.mse_loss(model.decode(z / z.norm(dim=1, keepdim=True)), x) +")
# %% wrong="sphere" fails="test_updates_in_turn" name="the book follows the encoder after its step"
replace("model.m, z, k, decay)", "model.m, model.encode(x), k, decay)")
# %% wrong="sphere" fails="test_updates_in_turn" name="the loss after the step"
replace("return loss.detach()", "return F.mse_loss(model.decode(q), x).detach()")
# %% wrong="sphere" fails="test_nearest_direction" name="lengths of at least 1e-3"
replace(
    "    u = z / z.norm(dim=1, keepdim=True)\n", "    u = z / z.norm(dim=1, keepdim=True).clamp(min=1e-3)\n"
)
# %% wrong="sphere" fails="test_gradient_of_directions" name="the value moves the codes"
replace("q = codes.detach()[k]", "q = codes[k]")
replace("u + (q - u).detach(), k, F.mse_loss(u, q)", "q + u - u.detach(), k, F.mse_loss(u, q.detach())")
# %% wrong="sphere" fails="test_codes_follow_directions" name="the length is at least that of F.normalize"
replace("torch.where(length > 0, m / length, codes)", "torch.where(length > 0, F.normalize(m, dim=1), codes)")
# %% wrong="sphere" fails="test_codes_follow_directions" name="a sum of coordinates of 0 taken for nothing"
replace("length > 0, m", "m.sum(1, keepdim=True) != 0, m")
# %% wrong="sphere" fails="test_codes_follow_directions" name="nothing is looked for in each coordinate"
replace("length > 0, m", "m != 0, m")
# %% wrong="sphere" fails="test_codes_follow_directions" name="chooses the codes again"
replace("m = decay * m", "k = (u @ codes.T).argmax(1); m = decay * m")
# %% wrong="sphere" fails="test_updates_in_turn" name="clears the gradients when it is done, and not before"
replace(
    "    optimizer.zero_grad()\n    loss.backward()\n    optimizer.step()",
    "    loss.backward()\n    optimizer.step()\n    optimizer.zero_grad()",
)
# %% wrong="sphere" fails="test_updates_in_turn" name="writes over the codes"
replace(
    "model.codes, model.m = sphere_follow(model.codes, model.m, z, k, decay)",
    "new, model.m = sphere_follow(model.codes, model.m, z, k, decay); model.codes.copy_(new)",
)
# %% wrong="sphere" fails="test_updates_in_turn" name="the loss as a number"
replace("return loss.detach()", "return loss.item()")
# %% wrong="sphere" fails="test_updates_in_turn" name="codes chosen again after the step"
replace("model.m, z, k, decay)", "model.m, z, sphere_round(model.encode(x), model.codes)[1], decay)")


# %% right="sphere" name="angles by cosine_similarity, a loop over codes, gradients by hand"
def sphere_round(z, codes):
    u = F.normalize(z, dim=1)
    angle = F.cosine_similarity(z.detach()[:, None], codes.detach()[None], dim=2)
    k = torch.max(angle, dim=1).indices
    chosen = torch.stack([codes[i].detach() for i in k.tolist()])
    gap = u - chosen
    return chosen + u - u.detach(), k, gap.pow(2).sum() / gap.numel()


def sphere_follow(codes, m, z, k, decay):
    new_m, new_codes = m * decay, codes.clone()
    with torch.no_grad():
        for code in range(len(codes)):
            for row in z[k == code]:
                new_m[code] += (1 - decay) * row / math.sqrt(float((row * row).sum()))
            if new_m[code].any():
                new_codes[code] = new_m[code] / new_m[code].norm()
    return new_codes, new_m


def sphere_step(model, optimizer, x, beta, decay):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = None
    z = model.encode(x)
    out, k, held = sphere_round(z, model.codes)
    loss = (model.decode(out) - x).pow(2).mean() + held * beta
    loss.backward()
    book = sphere_follow(model.codes, model.m, z.detach(), k, decay)
    optimizer.step()
    model.codes = book[0]
    model.m = book[1]
    return torch.tensor(loss.item(), dtype=x.dtype)


# %% right="sphere" name="distances, one-hot sums, an autograd function of its own"
class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, q):
        return q.clone()

    @staticmethod
    def backward(ctx, g):
        return g, None


def sphere_round(z, codes):
    with torch.no_grad():
        k = torch.cdist(z / torch.linalg.vector_norm(z, dim=1, keepdim=True), codes).argmin(1)
        q = codes.index_select(0, k)
    u = z / z.square().sum(1, keepdim=True).sqrt()
    return _Straight.apply(u, q), k, torch.mean((u - q) ** 2)


@torch.no_grad()
def sphere_follow(codes, m, z, k, decay):
    u = z / torch.linalg.vector_norm(z, dim=1, keepdim=True)
    hat = F.one_hot(k, len(codes)).to(u).T @ u
    m = torch.lerp(hat, m, decay)
    new = codes.clone()
    alive = (m != 0).any(1)
    new[alive] = m[alive] / torch.linalg.vector_norm(m[alive], dim=1, keepdim=True)
    return new, m


def sphere_step(model, optimizer, x, beta, decay):
    optimizer.zero_grad(set_to_none=False)
    z = model.encode(x)
    q, k, commitment = sphere_round(z, model.codes)
    model.codes, model.m = sphere_follow(model.codes, model.m, z, k, decay)
    loss = torch.mean((x - model.decode(q)) ** 2) + commitment * beta
    loss.backward()
    optimizer.step()
    return loss.detach().clone()
