"""Wrong and other right answers to lesson 25_vqvae."""


# %% wrong="message" fails="test_lengths_add_up" name="forgets a K in the denominator"
def message_bits(k_train, k_test, K, a):
    train, test = (torch.bincount(k.flatten(), minlength=K).double() for k in (k_train, k_test))
    share = test / test.sum()
    p = (train + a) / train.sum()
    bits = -torch.xlogy(share, p).sum().item() / math.log(2)
    return bits, bits - torch.special.entr(share).sum().item() / math.log(2)


# %% wrong="message" fails="test_lengths_add_up" name="nats"
def message_bits(k_train, k_test, K, a):
    train, test = (torch.bincount(k.flatten(), minlength=K).double() for k in (k_train, k_test))
    share = test / test.sum()
    p = (train + a) / (train.sum() + a * K)
    bits = -torch.xlogy(share, p).sum().item()
    return bits, bits - torch.special.entr(share).sum().item()


# %% wrong="message" fails="test_lengths_add_up" name="the two messages exchanged"
def message_bits(k_train, k_test, K, a):
    train, test = (torch.bincount(k.flatten(), minlength=K).double() for k in (k_test, k_train))
    share = test / test.sum()
    p = (train + a) / (train.sum() + a * K)
    bits = -torch.xlogy(share, p).sum().item() / math.log(2)
    return bits, bits - torch.special.entr(share).sum().item() / math.log(2)


# %% wrong="message" fails="test_lengths_add_up" name="the perplexity of section 1"
def message_bits(k_train, k_test, K, a):
    bits = math.log2(perplexity(k_test, K))
    return bits, 0.0


# %% wrong="message" fails="test_lengths_add_up" name="above the training codes' entropy, and in all"
def message_bits(k_train, k_test, K, a):
    train, test = (torch.bincount(k.flatten(), minlength=K).double() for k in (k_train, k_test))
    p = (train + a) / (train.sum() + a * K)
    bits = -torch.xlogy(test, p).sum().item() / math.log(2)
    return bits, bits - torch.special.entr(p).sum().item() / math.log(2)


# %% wrong="message" fails="test_never_below_its_own_entropy" name="0 log 0 becomes NaN"
def message_bits(k_train, k_test, K, a):
    train, test = (torch.bincount(k.flatten(), minlength=K).double() for k in (k_train, k_test))
    share = test / test.sum()
    p = (train + a) / (train.sum() + a * K)
    bits = -(share * p.log2()).sum().item()
    return bits, bits + (share * share.log2()).sum().item()


# %% wrong="message" fails="test_unseen_codes" name="counts clipped away from 0"
def message_bits(k_train, k_test, K, a):
    train, test = (torch.bincount(k.flatten(), minlength=K).double() for k in (k_train, k_test))
    share = test / test.sum()
    p = (train + a).clamp(min=1)
    p = p / p.sum()
    bits = -torch.xlogy(share, p).sum().item() / math.log(2)
    return bits, bits - torch.special.entr(share).sum().item() / math.log(2)


# %% right="message" name="a loop over codes, in plain Python"
def message_bits(k_train, k_test, K, a):
    train, test = k_train.flatten().tolist(), k_test.flatten().tolist()
    bits = own = 0.0
    for code in set(test):
        share, p = test.count(code) / len(test), (train.count(code) + a) / (len(train) + a * K)
        if p == 0:
            return math.inf, math.inf
        bits -= share * math.log2(p)
        own -= share * math.log2(share)
    return bits, bits - own


# %% right="message" name="the mean length of each symbol's word, and a KL divergence"
def message_bits(k_train, k_test, K, a):
    p = (torch.bincount(k_train.reshape(-1), minlength=K).double() + a) / (k_train.numel() + a * K)
    share = torch.bincount(k_test.reshape(-1), minlength=K).double() / k_test.numel()
    seen = share > 0
    bits = -p.log2()[k_test.reshape(-1)].mean()
    return bits, (share[seen] * (share[seen].log2() - p[seen].log2())).sum()


# %% wrong="product" fails="test_nearest_of_all_combinations" name="the first book moves fastest"
def product_nearest(z, books):
    widths = [book.shape[1] for book in books]
    if sum(widths) != z.shape[1]:
        raise ValueError("widths")
    number, found, weight = torch.zeros(len(z), dtype=torch.long), [], 1
    for piece, book in zip(z.split(widths, dim=1), books):
        k = nearest(piece, book)
        number = number + weight * k
        weight *= len(book)
        found.append(book[k])
    return number, torch.cat(found, dim=1)


# %% wrong="product" fails="test_nearest_of_all_combinations" name="all books taken for as large as the first"
def product_nearest(z, books):
    widths = [book.shape[1] for book in books]
    if sum(widths) != z.shape[1]:
        raise ValueError("widths")
    number, found = torch.zeros(len(z), dtype=torch.long), []
    for piece, book in zip(z.split(widths, dim=1), books):
        k = nearest(piece, book)
        number = number * len(books[0]) + k
        found.append(-book[k])
    return number, torch.cat(found, dim=1)


# %% wrong="product" fails="test_too_many_to_list" name="lists all combinations"
def product_nearest(z, books):
    if sum(book.shape[1] for book in books) != z.shape[1]:
        raise ValueError("widths")
    total = math.prod(len(book) for book in books)
    if total > 100_000:
        raise MemoryError("too many")
    digits = torch.cartesian_prod(*[torch.arange(len(book)) for book in books]).reshape(total, -1)
    every = torch.cat([book[digits[:, m]] for m, book in enumerate(books)], dim=1)
    number = torch.cdist(z, every).argmax(dim=1)
    return number, every[number]


# %% wrong="product" fails="test_nearest_of_all_combinations" name="pieces of equal width"
def product_nearest(z, books):
    if sum(book.shape[1] for book in books) != z.shape[1]:
        raise ValueError("widths")
    number, found, width = torch.zeros(len(z), dtype=torch.long), [], z.shape[1] // len(books)
    for m, book in enumerate(books):
        k = nearest(z[:, m * width : m * width + book.shape[1]][:, : book.shape[1]], book)
        number = number * len(book) + k
        found.append(book[k])
    return number, torch.cat(found, dim=1)


# %% wrong="product" fails="test_nearest_of_all_combinations" name="forgets the lengths of the codes"
def product_nearest(z, books):
    widths = [book.shape[1] for book in books]
    if sum(widths) != z.shape[1]:
        raise ValueError("widths")
    number, found = torch.zeros(len(z), dtype=torch.long), []
    for piece, book in zip(z.split(widths, dim=1), books):
        k = (piece @ book.T).argmax(dim=1)
        number = number * len(book) + k
        found.append(book[k])
    return number, torch.cat(found, dim=1)


# %% wrong="product" fails="test_nearest_of_all_combinations" name="one digit for each book, not one number"
def product_nearest(z, books):
    widths = [book.shape[1] for book in books]
    if sum(widths) != z.shape[1]:
        raise ValueError("widths")
    k = [nearest(piece, book) for piece, book in zip(z.split(widths, dim=1), books)]
    return torch.stack(k, dim=1), torch.cat([book[i] for i, book in zip(k, books)], dim=1)


# %% wrong="product" fails="test_too_many_to_list" name="numbers in floating point, and no refusal"
def product_nearest(z, books):
    widths = [book.shape[1] for book in books]
    widths[-1] += z.shape[1] - sum(widths)
    number, found = torch.zeros(len(z), dtype=torch.float32), []
    for piece, book in zip(z.split(widths, dim=1), books):
        k = nearest(piece[:, : book.shape[1]], book)
        number = number * len(book) + k
        found.append(book[k])
    return number.long(), torch.cat(found, dim=1)


# %% right="product" name="distances written out, powers of the sizes"
def product_nearest(z, books):
    if sum(book.shape[1] for book in books) != z.shape[1]:
        raise ValueError("the widths do not fit")
    digits, start, found = [], 0, torch.empty_like(z)
    for book in books:
        stop = start + book.shape[1]
        digits.append(((z[:, None, start:stop] - book) ** 2).sum(-1).argmin(1))
        found[:, start:stop] = book[digits[-1]]
        start = stop
    weights = [math.prod(len(book) for book in books[m + 1 :]) for m in range(len(books))]
    return sum(w * d for w, d in zip(weights, digits)), found


# %% wrong="fsq-number" fails="test_grid_to_numbers" name="the last coordinate moves fastest"
def fsq_number(q, levels):
    L = torch.tensor(levels)
    digit = (q * (L // 2)).round().long() + L // 2
    number = digit[..., 0]
    for i in range(1, len(levels)):
        number = number * levels[i] + digit[..., i]
    return number


def fsq_point(number, levels):
    if (number < 0).any() or (number >= math.prod(levels)).any():
        raise ValueError
    digits = []
    for L in reversed(levels):
        digits.append((number % L - L // 2) / (L // 2))
        number = number // L
    return torch.stack(digits[::-1], dim=-1).double()


# %% wrong="fsq-number" fails="test_grid_to_numbers" name="truncates instead of rounding"
def fsq_number(q, levels):
    L = torch.tensor(levels)
    digit = (q * (L // 2)).long() + L // 2
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return (digit * weight).sum(dim=-1)


def fsq_point(number, levels):
    if (number < 0).any() or (number >= math.prod(levels)).any():
        raise ValueError
    L = torch.tensor(levels)
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return ((number[..., None] // weight % L) - L // 2).double() / (L // 2)


# %% wrong="fsq-number" fails="test_numbers_to_grid" name="scaled by (L - 1) / 2: wrong for even L"
def fsq_number(q, levels):
    L = torch.tensor(levels)
    digit = ((q + 1) * (L - 1) / 2).round().long()
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return (digit * weight).sum(dim=-1)


def fsq_point(number, levels):
    if (number < 0).any() or (number >= math.prod(levels)).any():
        raise ValueError
    L = torch.tensor(levels)
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return 2 * (number[..., None] // weight % L).double() / (L - 1) - 1


# %% wrong="fsq-number" fails="test_grid_to_numbers" name="every base is the first number of levels"
def fsq_number(q, levels):
    L = torch.tensor(levels)
    digit = (q * (L // 2)).round().long() + L // 2
    return sum(digit[..., i] * levels[0] ** i for i in range(len(levels)))


def fsq_point(number, levels):
    if (number < 0).any() or (number >= math.prod(levels)).any():
        raise ValueError
    digits = [number // levels[0] ** i % levels[i] for i in range(len(levels))]
    return torch.stack([(d - L // 2) / (L // 2) for d, L in zip(digits, levels)], dim=-1).double()


# %% wrong="fsq-number" fails="test_numbers_to_grid" name="forgets the remainder"
def fsq_number(q, levels):
    L = torch.tensor(levels)
    digit = (q * (L // 2)).round().long() + L // 2
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return (digit * weight).sum(dim=-1)


def fsq_point(number, levels):
    L = torch.tensor(levels)
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return ((number[..., None] // weight) - L // 2).double() / (L // 2)


# %% wrong="fsq-number" fails="test_grid_to_numbers" name="levels counted from the middle"
def fsq_number(q, levels):
    L = torch.tensor(levels)
    digit = (q * (L // 2)).round().long()
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return (digit * weight).sum(dim=-1)


def fsq_point(number, levels):
    L = torch.tensor(levels)
    weight = torch.cat([torch.ones(1, dtype=torch.long), L.cumprod(0)[:-1]])
    return (number[..., None] // weight % L).double() / (L // 2)


# %% right="fsq-number" name="a loop that divides"
def fsq_number(q, levels):
    number = torch.zeros(q.shape[:-1], dtype=torch.long)
    for i in reversed(range(len(levels))):
        number = number * levels[i] + torch.round(q[..., i] * (levels[i] // 2)).long() + levels[i] // 2
    return number


def fsq_point(number, levels):
    if number.min() < 0 or number.max() >= math.prod(levels):
        raise ValueError("no such point")
    digits = []
    for L in levels:
        digits.append((number % L - L // 2).double() / (L // 2))
        number = torch.div(number, L, rounding_mode="floor")
    return torch.stack(digits, dim=-1)


# %% right="fsq-number" name="looks the point up in a list of all"
def all_points(levels):
    axes = [(torch.arange(L) - L // 2).double() / (L // 2) for L in levels][::-1]
    return torch.cartesian_prod(*axes).reshape(math.prod(levels), -1).flip(1)


def fsq_number(q, levels):
    return (
        torch.cdist(q.double().reshape(-1, len(levels)), all_points(levels)).argmin(1).reshape(q.shape[:-1])
    )


def fsq_point(number, levels):
    if not ((number >= 0) & (number < math.prod(levels))).all():
        raise ValueError("outside")
    return all_points(levels)[number]


# %% wrong="rotation" fails="test_gradient_is_turned" name="straight through for all"
def rotate_through(z, q):
    return straight_through(z, q)


# %% wrong="rotation" fails="test_gradient_is_turned" name="turned the wrong way round"
def rotate_through(z, q):
    with torch.no_grad():
        a, b = z / z.norm(dim=1, keepdim=True), q / q.norm(dim=1, keepdim=True)
        w = (a + b) / (a + b).norm(dim=1, keepdim=True)
        scale = q.norm(dim=1, keepdim=True) / z.norm(dim=1, keepdim=True)
    turned = scale * (z - 2 * (z * w).sum(1, keepdim=True) * w + 2 * (z * b).sum(1, keepdim=True) * a)
    return turned + (q - turned).detach()


# %% wrong="rotation" fails="test_gradient_is_turned" name="without the ratio of the lengths, and NaN at 0"
def rotate_through(z, q):
    with torch.no_grad():
        a, b = z / z.norm(dim=1, keepdim=True), q / q.norm(dim=1, keepdim=True)
        w = (a + b) / (a + b).norm(dim=1, keepdim=True)
    turned = z - 2 * (z * w).sum(1, keepdim=True) * w + 2 * (z * a).sum(1, keepdim=True) * b
    return turned + (q - turned).detach()


# %% wrong="rotation" fails="test_no_rotation" name="NaN where there is no rotation"
def rotate_through(z, q):
    with torch.no_grad():
        a, b = z / z.norm(dim=1, keepdim=True), q / q.norm(dim=1, keepdim=True)
        w = (a + b) / (a + b).norm(dim=1, keepdim=True)
        scale = q.norm(dim=1, keepdim=True) / z.norm(dim=1, keepdim=True)
    turned = scale * (z - 2 * (z * w).sum(1, keepdim=True) * w + 2 * (z * a).sum(1, keepdim=True) * b)
    return turned + (q - turned).detach()


# %% wrong="rotation" fails="test_gradient_is_turned" name="rotation not held constant"
def rotate_through(z, q):
    a, b = F.normalize(z, dim=1), F.normalize(q, dim=1)
    w = F.normalize(a + b, dim=1)
    scale = q.norm(dim=1, keepdim=True) / z.norm(dim=1, keepdim=True).clamp(min=1e-12)
    turned = scale * (z - 2 * (z * w).sum(1, keepdim=True) * w + 2 * (z * a).sum(1, keepdim=True) * b)
    return turned + (q - turned).detach()


# %% wrong="rotation" fails="test_gradient_is_turned" name="one reflection instead of a rotation"
def rotate_through(z, q):
    with torch.no_grad():
        a, b = F.normalize(z, dim=1), F.normalize(q, dim=1)
        w = F.normalize(a - b, dim=1)
        scale = q.norm(dim=1, keepdim=True) / z.norm(dim=1, keepdim=True).clamp(min=1e-12)
    turned = scale * (z - 2 * (z * w).sum(1, keepdim=True) * w)
    return turned + (q - turned).detach()


# %% wrong="rotation" fails="test_gradient_is_turned" name="scales and does not turn"
def rotate_through(z, q):
    scale = (q.norm(dim=1, keepdim=True) / z.norm(dim=1, keepdim=True).clamp(min=1e-12)).detach()
    return straight_through(scale * z, q)


# %% right="rotation" name="a basis of the plane for each row"
def rotate_through(z, q):
    with torch.no_grad():
        a, b = F.normalize(z, dim=1, eps=1e-300), F.normalize(q, dim=1, eps=1e-300)
        cos = (a * b).sum(1, keepdim=True).clamp(-1, 1)
        across = b - cos * a
        sin = across.norm(dim=1, keepdim=True)
        n = across / sin.clamp(min=1e-12)
        scale = q.norm(dim=1, keepdim=True) / z.norm(dim=1, keepdim=True).clamp(min=1e-300)
        free = (z.norm(dim=1) == 0) | (q.norm(dim=1) == 0) | ((cos[:, 0] < 0) & (sin[:, 0] < 1e-7))
    on_a, on_n = (z * a).sum(1, keepdim=True), (z * n).sum(1, keepdim=True)
    turned = z + on_a * ((cos - 1) * a + sin * n) + on_n * ((cos - 1) * n - sin * a)
    through = torch.where(free[:, None], z, scale * turned)
    return through + (q - through).detach()


# %% right="rotation" name="an autograd function whose backward turns the gradient"
class Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, q):
        ctx.save_for_backward(z, q)
        return q.clone()

    @staticmethod
    def backward(ctx, g):
        rows = []
        for z, q, pull in zip(*ctx.saved_tensors, g):
            size_z, size_q = z.norm(), q.norm()
            if size_z == 0 or size_q == 0 or (z / size_z + q / size_q).norm() < 1e-7:
                rows.append(pull)
                continue
            a, b = z / size_z, q / size_q
            w = (a + b) / (a + b).norm()
            rows.append(size_q / size_z * (pull - 2 * (pull @ w) * w + 2 * (pull @ b) * a))
        return torch.stack(rows), None


def rotate_through(z, q):
    return Turned.apply(z, q)


# %% wrong="beam" fails="test_widths_between" name="greedy, whatever the width"
def beam_rvq(z, books, width):
    rest, numbers = z, []
    for book in books:
        k = nearest(rest, book)
        rest = rest - book[k]
        numbers.append(k)
    return torch.stack(numbers, dim=1), rest.square().sum(dim=1)


# %% wrong="beam" fails="test_widths_between" name="only the first stage looks wide"
def beam_rvq(z, books, width):
    first = torch.cdist(z, books[0]).topk(min(width, books.shape[1]), largest=False).indices
    best_k, best = None, None
    for j in range(first.shape[1]):
        rest, numbers = z - books[0][first[:, j]], [first[:, j]]
        for book in books[1:]:
            k = nearest(rest, book)
            rest = rest - book[k]
            numbers.append(k)
        k, error = torch.stack(numbers, dim=1), rest.square().sum(dim=1)
        better = torch.ones(len(z), dtype=torch.bool) if best is None else error < best
        best_k = k if best is None else torch.where(better[:, None], k, best_k)
        best = error if best is None else torch.where(better, error, best)
    return best_k, best


# %% wrong="beam" fails="test_one_is_greedy" name="the worst are kept"
def beam_rvq(z, books, width):
    N, D = z.shape
    left, numbers = z[:, None], torch.zeros(N, 1, 0, dtype=torch.long)
    for book in books:
        beyond = left[:, :, None] - book
        error = beyond.square().sum(dim=3).flatten(1)
        error, best = error.topk(min(width, error.shape[1]), dim=1)
        left = beyond.flatten(1, 2).gather(1, best[..., None].expand(-1, -1, D))
        kept = numbers.gather(1, (best // len(book))[..., None].expand(-1, -1, numbers.shape[2]))
        numbers = torch.cat([kept, (best % len(book))[..., None]], dim=2)
    return numbers[:, 0], error[:, 0]


# %% wrong="beam" fails="test_widths_between" name="loses track of which spelling was extended"
def beam_rvq(z, books, width):
    N, D = z.shape
    left, numbers = z[:, None], torch.zeros(N, 1, 0, dtype=torch.long)
    for book in books:
        beyond = left[:, :, None] - book
        error = beyond.square().sum(dim=3).flatten(1)
        error, best = error.topk(min(width, error.shape[1]), dim=1, largest=False)
        left = beyond.flatten(1, 2).gather(1, best[..., None].expand(-1, -1, D))
        kept = numbers[:, :1].expand(-1, best.shape[1], -1)
        numbers = torch.cat([kept, (best % len(book))[..., None]], dim=2)
    return numbers[:, 0], error[:, 0]


# %% wrong="beam" fails="test_widths_between" name="each stage starts again from the best one"
def beam_rvq(z, books, width):
    rest, numbers = z, []
    for book in books:
        error = torch.cdist(rest, book) ** 2
        best = error.topk(min(width, len(book)), dim=1, largest=False).indices[:, 0]
        rest = rest - book[best]
        numbers.append(best)
    return torch.stack(numbers, dim=1), rest.square().sum(dim=1)


# %% wrong="beam" fails="test_one_is_greedy" name="the length, not its square"
def beam_rvq(z, books, width):
    N, D = z.shape
    left, numbers = z[:, None], torch.zeros(N, 1, 0, dtype=torch.long)
    for book in books:
        beyond = left[:, :, None] - book
        error = beyond.norm(dim=3).flatten(1)
        error, best = error.topk(min(width, error.shape[1]), dim=1, largest=False)
        left = beyond.flatten(1, 2).gather(1, best[..., None].expand(-1, -1, D))
        kept = numbers.gather(1, (best // len(book))[..., None].expand(-1, -1, numbers.shape[2]))
        numbers = torch.cat([kept, (best % len(book))[..., None]], dim=2)
    return numbers[:, 0], error[:, 0]


# %% wrong="beam" fails="test_widths_between" name="tries every spelling, numbers in reverse"
def beam_rvq(z, books, width):
    S, K, _ = books.shape
    every = torch.cartesian_prod(*[torch.arange(K)] * S).reshape(K**S, S)
    error = torch.cdist(z, sum(books[s][every[:, s]] for s in range(S))) ** 2
    best = error.argmin(dim=1)
    return every[best].flip(1), error.gather(1, best[:, None])[:, 0]


# %% right="beam" name="a loop over vectors, with Python's sort"
def beam_rvq(z, books, width):
    found, errors = [], []
    for row in z:
        kept = [((), row)]
        for book in books:
            longer = [((*k, j), rest - code) for k, rest in kept for j, code in enumerate(book)]
            kept = sorted(longer, key=lambda pair: float(pair[1].square().sum()))[:width]
        found.append(kept[0][0])
        errors.append(kept[0][1].square().sum())
    return torch.tensor(found), torch.stack(errors)


# %% right="beam" name="sums instead of remainders, argsort"
def beam_rvq(z, books, width):
    N, rows = len(z), torch.arange(len(z))[:, None]
    q, numbers = torch.zeros_like(z)[:, None], torch.zeros(N, 1, 0, dtype=torch.long)
    for book in books:
        K = len(book)
        q = (q[:, :, None] + book).flatten(1, 2)
        numbers = torch.cat(
            [numbers.repeat_interleave(K, 1), torch.arange(K).repeat(N, numbers.shape[1])[..., None]], 2
        )
        best = (q - z[:, None]).square().sum(2).argsort(1)[:, :width]
        q, numbers = q[rows, best], numbers[rows, best]
    return numbers[:, 0], (z - q[:, 0]).square().sum(1)


# %% wrong="repair" fails="test_what_the_encoder_feels" name="still the largest product, not the nearest"
def repaired_loss(x, z, codes, decode, beta):
    q = codes[(z @ codes.T).argmax(dim=1)]
    reconstruction = F.mse_loss(decode(z + (q - z).detach()), x)
    return reconstruction + F.mse_loss(q, z.detach()) + beta * F.mse_loss(z, q.detach())


# %% wrong="repair" fails="test_what_the_decoder_feels" name="still decodes what was never rounded"
def repaired_loss(x, z, codes, decode, beta):
    q = codes[nearest(z.detach(), codes.detach())]
    reconstruction = F.mse_loss(decode(q + (z - q).detach()), x)
    return reconstruction + F.mse_loss(q, z.detach()) + beta * F.mse_loss(z, q.detach())


# %% wrong="repair" fails="test_what_the_codes_feel" name="still the terms exchanged"
def repaired_loss(x, z, codes, decode, beta):
    q = codes[nearest(z.detach(), codes.detach())]
    reconstruction = F.mse_loss(decode(z + (q - z).detach()), x)
    return reconstruction + F.mse_loss(z, q.detach()) + beta * F.mse_loss(q, z.detach())


# %% wrong="repair" fails="test_what_the_codes_feel" name="both terms without stopping a gradient"
def repaired_loss(x, z, codes, decode, beta):
    q = codes[nearest(z.detach(), codes.detach())]
    reconstruction = F.mse_loss(decode(z + (q - z).detach()), x)
    return reconstruction + (1 + beta) * F.mse_loss(z, q)


# %% wrong="repair" fails="test_what_the_encoder_feels" name="decodes q itself"
def repaired_loss(x, z, codes, decode, beta):
    q = codes[nearest(z.detach(), codes.detach())]
    return F.mse_loss(decode(q), x) + F.mse_loss(q, z.detach()) + beta * F.mse_loss(z, q.detach())


# %% wrong="repair" fails="test_what_the_encoder_feels" name="sums instead of means"
def repaired_loss(x, z, codes, decode, beta):
    q = codes[nearest(z.detach(), codes.detach())]
    reconstruction = F.mse_loss(decode(z + (q - z).detach()), x)
    return (
        reconstruction
        + (q - z.detach()).square().sum(1).mean()
        + beta * (z - q.detach()).square().sum(1).mean()
    )


# %% wrong="repair" fails="test_what_the_codes_feel" name="no code book term"
def repaired_loss(x, z, codes, decode, beta):
    q = codes[nearest(z.detach(), codes.detach())]
    return F.mse_loss(decode(z + (q - z).detach()), x) + beta * F.mse_loss(z, q.detach())


# %% right="repair" name="distances by cdist, squares written out"
def repaired_loss(x, z, codes, decode, beta):
    q = codes.index_select(0, torch.cdist(z, codes).argmin(dim=1))
    said = decode(straight_through(z, q))
    pull = ((z.detach() - q) ** 2).mean() + beta * ((q.detach() - z) ** 2).mean()
    return ((said - x) ** 2).mean() + pull


# %% right="repair" name="through the one-hot table"
def repaired_loss(x, z, codes, decode, beta):
    choice = ((z[:, None] - codes) ** 2).sum(-1).argmin(1)
    q = F.one_hot(choice, len(codes)).to(codes) @ codes
    through = q.detach() + z - z.detach()
    return F.mse_loss(decode(through), x) + F.mse_loss(q, z.detach()) + beta * F.mse_loss(q.detach(), z)
