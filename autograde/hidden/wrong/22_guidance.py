"""Wrong and other right answers to lesson 22_guidance."""

# %% wrong="nested" fails="test_each_condition_has_its_weight" name="steps from the first guess"
replace("guesses.diff(dim=0)", "(guesses[1:] - guesses[0])")
# %% wrong="nested" fails="test_each_condition_has_its_weight" name="steps of the wrong sign"
replace("guesses.diff(dim=0)", "-guesses.diff(dim=0)")
# %% wrong="nested" fails="test_each_condition_has_its_weight" name="begins with all conditions"
replace("guesses[0] + (", "guesses[-1] + (")
# %% wrong="nested" fails="test_each_condition_has_its_weight" name="the first row's weights for all"
replace("w = weights.reshape(", "w = weights[:, :1].expand_as(weights).reshape(")
# %% wrong="nested" fails="test_each_condition_has_its_weight" name="weights kept between 0 and 5"
replace("w = weights.reshape(", "w = weights.clamp(0, 5).reshape(")
# %% wrong="nested" fails="test_each_condition_has_its_weight" name="the papers' weight, one less"
replace("w = weights.reshape(", "w = (weights + 1).reshape(")
# %% wrong="nested" fails="test_rows_and_types_of_guesses" name="changes of at most a million"
replace(".sum(0)", ".sum(0).clamp(-1e6, 1e6)")


# %% wrong="nested" fails="test_each_condition_has_its_weight" name="two conditions only"
def nested(guesses, weights):
    w = weights.reshape(*weights.shape, *[1] * (guesses.ndim - 2)).to(guesses.dtype)
    D_0, D_1, D_2 = guesses
    return D_0 + w[0] * (D_1 - D_0) + w[1] * (D_2 - D_1)


# %% right="nested" name="collects the factor of each guess, in a loop"
def nested(guesses, weights):
    K = weights.shape[0]
    total = torch.zeros_like(guesses[0])
    for k in range(K + 1):
        factor = (
            torch.ones(guesses.shape[1], dtype=guesses.dtype) if k == 0 else weights[k - 1].to(guesses.dtype)
        )
        if k < K:
            factor = factor - weights[k].to(guesses.dtype)
        total += torch.einsum("b,b...->b...", factor, guesses[k])
    return total


# %% wrong="hidden-labels" fails="test_the_number_chooses_the_pattern" name="the end of a share belongs to it"
replace("right=True", "right=False")
# %% wrong="hidden-labels" fails="test_the_number_chooses_the_pattern" name="hides what the pattern shows"
replace("none, labels)", "labels, none)")
# %% wrong="hidden-labels" fails="test_the_number_chooses_the_pattern" name="shares taken for ends"
replace("shares[used].cumsum(0)", "shares[used]")
# %% wrong="hidden-labels" fails="test_the_number_chooses_the_pattern" name="all conditions or none"
replace("patterns[used][row]", "patterns[used][row].any(dim=1, keepdim=True)")
# %% wrong="hidden-labels" fails="test_the_number_chooses_the_pattern" name="one number for all rows"
replace("u.to(ends.dtype)", "u[:1].expand_as(u).contiguous().to(ends.dtype)")
# %% wrong="hidden-labels" fails="test_shares_of_zero_and_refusals" name="no refusals"
replace("if (shares < 0).any() or abs(shares.sum().item() - 1) > 1e-6:", "if False:")
# %% wrong="hidden-labels" fails="test_shares_of_zero_and_refusals" name="shares below 0 pass"
replace("(shares < 0).any() or ", "")
# %% wrong="hidden-labels" fails="test_shares_of_zero_and_refusals" name="the last pattern with a share of 0"
replace("used = shares > 0", "used = shares > -1")
# %% wrong="hidden-labels" fails="test_shares_of_zero_and_refusals" name="no room for rounding"
replace("> 1e-6", "> 1e-9")
# %% wrong="hidden-labels" fails="test_shares_of_zero_and_refusals" name="a sum off by a thousandth"
replace("> 1e-6", "> 1e-3")
# %% wrong="hidden-labels" fails="test_shares_of_zero_and_refusals" name="a sum off by a hundred-thousandth"
replace("> 1e-6", "> 1e-5")
# %% wrong="hidden-labels" fails="test_shares_of_zero_and_refusals" name="a little below 0 is rounding"
replace("(shares < 0)", "(shares < -1e-6)")
# %% wrong="hidden-labels" fails="test_the_number_chooses_the_pattern" name="numbers in float32"
replace("u.to(ends.dtype)", "u.float().to(ends.dtype)")
# %% wrong="hidden-labels" fails="test_the_number_chooses_the_pattern" name="labels through float32"
replace(
    "torch.where(patterns[used][row], none, labels)",
    "(labels + (none - labels) * patterns[used][row].float()).long()",
)


# %% equivalent="hidden-labels" name="a sum that is off by a millionth to the last digit: rounding decides"
replace("abs(shares.sum().item() - 1) > 1e-6", "(abs(shares.sum().item() - 1) >= 1e-06)")
# %% equivalent="hidden-labels" name="the size of a difference has no sign"
replace("abs(shares.sum().item() - 1)", "abs((1 - shares.sum().item()))")
# %% equivalent="hidden-labels" name="the last axis of one is the first"
replace("shares[used].cumsum(0)", "shares[used].cumsum(-1)")


# %% right="hidden-labels" name="counts, row by row, how many ends it has passed"
def hidden_labels(labels, none, patterns, shares, u):
    parts = shares.tolist()
    if min(parts) < 0 or not math.isclose(math.fsum(parts), 1, rel_tol=0, abs_tol=1e-6):
        raise ValueError("these are no shares")
    result = labels.clone()
    for b, number in enumerate(u.tolist()):
        end, last = 0.0, None
        for p, part in enumerate(parts):
            if part == 0:
                continue
            last, end = p, end + part
            if number < end:
                break
        hide = patterns[last]
        result[b, hide] = none[hide]
    return result


# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="the transpose"
replace("torch.linalg.pinv(A).T", "A")
# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="the smallest picture"
replace("x + (y - x @ A.T)", "y")
# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="moves away"
replace("x + (y", "x - (y")
# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="needs independent rows"
replace("(y - x @ A.T) @ torch.linalg.pinv(A).T", "torch.linalg.solve(A @ A.T, (y - x @ A.T).T).T @ A")
# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="half of the way"
replace("x + (y - x @ A.T)", "x + 0.5 * (y - x @ A.T)")
# %% wrong="exact-measurement" fails="test_units_of_a_measurement" name="an absolute cut of singular values"
replace("torch.linalg.pinv(A)", "torch.linalg.pinv(A, atol=1e-6)")
# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="the first row's gap for all"
replace("(y - x @ A.T)", "(y - x @ A.T)[:1]")
# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="a ridge"
replace("torch.linalg.pinv(A).T", "torch.linalg.solve(A.T @ A + 1e-4 * torch.eye(A.shape[1]).to(A), A.T).T")


# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="what is a hundredth counts as nothing"
replace("torch.linalg.pinv(A)", "torch.linalg.pinv(A, rtol=1e-2)")


# %% wrong="exact-measurement" fails="test_agrees_and_is_nearest" name="as many of the first rows as the rank"
def keep_measured(x, A, y):
    rank = int(torch.linalg.matrix_rank(A))
    return x + (y - x @ A.T)[:, :rank] @ torch.linalg.pinv(A[:rank]).T


# %% right="exact-measurement" name="by the singular vectors that the measurement has"
def keep_measured(x, A, y):
    U, size, V = torch.linalg.svd(A, full_matrices=False)
    keep = size > 1e-10 * size.max().clamp(min=1e-300)
    if not keep.any():
        return x.clone()
    coordinates = (y @ U[:, keep]) / size[keep]  # of x', along each kept row of V
    rows = V[keep]
    return x - (x @ rows.T) @ rows + coordinates @ rows


# %% right="exact-measurement" name="by the eigenvectors of A^T A"
def keep_measured(x, A, y):
    size = A.abs().max()
    if size == 0:
        return x.clone()
    A, y = A / size, y / size
    strength, V = torch.linalg.eigh(A.T @ A)
    keep = strength > 1e-10 * strength.max()
    return x + (y - x @ A.T) @ A @ V[:, keep] / strength[keep] @ V[:, keep].T


# %% right="exact-measurement" name="least squares of the correction"
def keep_measured(x, A, y):
    missing = y - torch.einsum("md,bd->bm", A, x)
    correction = torch.linalg.lstsq(A, missing.T, rcond=1e-11, driver="gelsd").solution
    return x + correction.T


# %% wrong="two-views" fails="test_posterior_mean" name="a mean of the two pictures"
replace("mean = (a / b**2 * x_t + a_s / b_s**2 * c) / signal**2", "mean = (x_t / a + c / a_s) / 2")
# %% wrong="two-views" fails="test_posterior_mean" name="leaves x in the picture's unit"
replace("mix(time, x_t)[0] * mean", "mean")
# %% wrong="two-views" fails="test_posterior_mean" name="adds ratios, not their squares"
replace("((a / b) ** 2 + (a_s / b_s) ** 2).sqrt()", "a / b + a_s / b_s")
# %% wrong="two-views" fails="test_posterior_mean" name="the time of the inverse ratio"
replace("torch.atan(1 / signal)", "torch.atan(signal)")
# %% wrong="two-views" fails="test_posterior_mean" name="forgets the condition's time"
replace("(a_s, b_s) = mix(t, x_t), mix(s, c)", "(a_s, b_s) = mix(t, x_t), mix(t, c)")
# %% wrong="two-views" fails="test_posterior_mean" name="variances of the pictures without their signal"
replace("a / b**2 * x_t + a_s / b_s**2 * c", "x_t / b**2 + c / b_s**2")
# %% wrong="two-views" fails="test_posterior_mean" name="the less noisy of the two"
replace("((a / b) ** 2 + (a_s / b_s) ** 2).sqrt()", "torch.maximum(a / b, a_s / b_s)")
# %% wrong="two-views" fails="test_posterior_mean" name="angle for time"
replace(" * 2 / math.pi", "")
# %% wrong="two-views" fails="test_posterior_mean" name="times kept away from 0"
replace("torch.atan(1 / signal)", "torch.atan(1 / signal).clamp(min=0.05)")


# %% wrong="two-views" fails="test_posterior_mean" name="the angle by its cosine"
replace("torch.atan(1 / signal)", "torch.acos(signal / (1 + signal**2).sqrt())")


# %% wrong="two-views" fails="test_posterior_mean" name="views of one time are averaged"
def two_views(x_t, t, c, s):
    (a, b), (a_s, b_s) = mix(t, x_t), mix(s, c)
    signal = ((a / b) ** 2 + (a_s / b_s) ** 2).sqrt()
    mean = (a / b**2 * x_t + a_s / b_s**2 * c) / signal**2
    time = torch.atan(1 / signal).reshape(len(x_t)) * 2 / math.pi
    if torch.equal(t, s):
        return (x_t + c) / 2, time
    return mix(time, x_t)[0] * mean, time


# %% right="two-views" name="by the logarithms of signal to noise"
def two_views(x_t, t, c, s):
    logs = torch.stack([2 * torch.log(1 / torch.tan(v * math.pi / 2)) for v in (t, s)])
    both, (of_x, of_c) = logs.logsumexp(dim=0), logs.softmax(dim=0)
    of_x, of_c = of_x / torch.cos(t * math.pi / 2), of_c / torch.cos(s * math.pi / 2)

    def rows(v):
        return v.reshape(-1, *[1] * (x_t.ndim - 1))

    mean = rows(of_x) * x_t + rows(of_c) * c
    return rows(torch.sigmoid(both).sqrt()) * mean, torch.atan(torch.exp(-both / 2)) * 2 / math.pi


# %% right="two-views" name="in units of x_0, by variances"
def two_views(x_t, t, c, s):
    shape = (-1, *[1] * (x_t.ndim - 1))
    quarter = math.pi / 2
    precisions = (
        torch.stack([torch.tan(quarter * (1 - t)), torch.tan(quarter * (1 - s))]).clamp(min=0).square()
    )
    total = precisions.sum(dim=0)
    of_x = (torch.cos(quarter * t) / torch.sin(quarter * t).square() / total).reshape(shape)
    of_c = (torch.cos(quarter * s) / torch.sin(quarter * s).square() / total).reshape(shape)
    combined = of_x * x_t + of_c * c
    alpha = (total / (1 + total)).sqrt()
    return combined * alpha.reshape(shape), torch.atan2(torch.ones_like(total), total.sqrt()) / quarter


# %% wrong="repair" fails="test_guided_step_by_hand" name="begins the line at the wrong end"
replace("D = without + w * (D - without)", "D = D + w * (D - without)")
# %% wrong="repair" fails="test_guided_step_by_hand" name="the interval by the end of the step"
replace("low <= t <= high", "low <= s <= high")
# %% wrong="repair" fails="test_threshold_of_each_picture" name="one threshold for all"
replace(
    "flatten(1).quantile(share, dim=1).clamp(min=1)",
    "flatten().quantile(share).clamp(min=1).expand(len(x))",
)
# %% wrong="repair" fails="test_guided_step_by_hand" name="the noise by the guess before guidance"
replace("D = denoise(x, t, y)", "D = first = denoise(x, t, y)")
replace("(x - a * D)", "(x - a * first)")
# %% wrong="repair" fails="test_threshold_of_each_picture" name="thresholds below 1, too"
replace(".clamp(min=1)", "")
# %% wrong="repair" fails="test_threshold_of_each_picture" name="clips and does not divide"
replace("D.clamp(-top, top) / top", "D.clamp(-top, top)")
# %% wrong="repair" fails="test_threshold_of_each_picture" name="divides and does not clip"
replace("D.clamp(-top, top) / top", "D / top")
# %% wrong="repair" fails="test_guided_step_by_hand" name="the ends left out"
replace("low <= t <= high", "low < t < high")
# %% wrong="repair" fails="test_guided_step_by_hand" name="guided everywhere"
replace("if low <= t <= high:", "if True:")
# %% wrong="repair" fails="test_threshold_of_each_picture" name="a threshold of each channel"
replace("flatten(1).quantile(share, dim=1)", "flatten(min(2, x.ndim - 1)).quantile(share, dim=-1)")
replace("top.reshape(-1, *[1] * (x.ndim - 1))", "top.reshape(*top.shape, *[1] * (x.ndim - top.ndim))")
# %% wrong="repair" fails="test_guided_step_by_hand" name="asks without the label at the end of the step"
replace("denoise(x, t, none)", "denoise(x, s, none)")
# %% wrong="repair" fails="test_guided_step_by_hand" name="the first row's label for none"
replace("denoise(x, t, none)", "denoise(x, t, none[:1].expand_as(none))")
# %% wrong="repair" fails="test_guided_step_by_hand" name="divides by a hundredth at least"
replace("d / b *", "d / b.clamp(min=0.01) *")
# %% wrong="repair" fails="test_guided_step_by_hand" name="guided if any part of the step is in the interval"
replace("if low <= t <= high:", "if low <= t and s <= high:")


# %% right="repair" name="of the lesson's own pieces"
def repaired_step(denoise, x, t, s, y, none, w, low, high, share):
    D = limited(guided(denoise, y, w, none), guided(denoise, y, 1, none), low, high)
    return step(dynamic_threshold(D(x, t), share), x, t, s)


# %% right="repair" name="by the noise, and a sorted quantile"
def repaired_step(denoise, x, t, s, y, none, w, low, high, share):
    guided_here = bool(t >= low) and bool(t <= high)
    with_label = denoise(x, t, y)
    guess = (1 - w) * denoise(x, t, none) + w * with_label if guided_here else with_label
    sorted_ink = guess.abs().reshape(x.shape[0], -1).sort(dim=1).values
    place = share * (sorted_ink.shape[1] - 1)
    below = int(math.floor(place))
    above = min(below + 1, sorted_ink.shape[1] - 1)
    limit = sorted_ink[:, below] + (place - below) * (sorted_ink[:, above] - sorted_ink[:, below])
    limit = torch.maximum(limit, torch.ones_like(limit)).view(-1, *([1] * (x.dim() - 1)))
    guess = torch.minimum(torch.maximum(guess / limit, -torch.ones_like(guess)), torch.ones_like(guess))
    quarter = math.pi / 2
    eps = (x - math.cos(float(t) * quarter) * guess) / math.sin(float(t) * quarter)
    return math.cos(float(s) * quarter) * guess + math.sin(float(s) * quarter) * eps


# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="noise of deviation h"
replace("h.sqrt() * z", "h * z")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="a whole step of drift"
replace("(h / 2 * (", "(h * (")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="a step that does not follow the level"
replace("h = r * sigma**2", "h = r * levels[0] ** 2")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="the score without its variance"
replace("(guess - x) / sigma**2", "(guess - x)")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="the conditional cloud: no guidance"
replace("plain + w * (D_y(x, sigma) - plain)", "D_y(x, sigma)")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="guides from the condition on"
replace("guess = plain + w *", "guess = D_y(x, sigma) + w *")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="downhill"
replace("(guess - x)", "(x - guess)")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="noise of the default type"
replace(", generator=generator, dtype=x.dtype)", ", generator=generator).to(x.dtype)")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="global noise"
replace("torch.randn(x.shape, generator=generator, dtype=x.dtype)", "torch.randn(x.shape, dtype=x.dtype)")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="one round a level"
replace("for _ in range(rounds):", "for _ in range(min(rounds, 1)):")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="steps of at most the level's variance"
replace("h = r * sigma**2", "h = min(r, 1.0) * sigma**2")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="levels of at least a thousandth"
replace("h = r * sigma**2", "h = r * sigma.clamp(min=1e-3) ** 2")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="a variance that is never 0"
replace("/ sigma**2 +", "/ (sigma**2 + 1e-8) +")
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="begins the generator again"
replace(
    "    for sigma in levels:\n",
    "    generator = torch.Generator().manual_seed(generator.initial_seed())\n    for sigma in levels:\n",
)
# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="float64 comes back"
replace("return x", "return x.double()")


# %% wrong="tilted-sampler" fails="test_noise_by_noise" name="the slope where the noise has led"
def tilted_sampler(D, D_y, w, x, levels, rounds, r, generator):
    for sigma in levels:
        for _ in range(rounds):
            z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            x = x + math.sqrt(r) * sigma * z
            x = x + r / 2 * (torch.lerp(D(x, sigma), D_y(x, sigma), w) - x)
    return x


# %% right="tilted-sampler" name="a fold over all steps, shrinking towards the guess"
def tilted_sampler(D, D_y, w, x, levels, rounds, r, generator):
    from functools import reduce

    def moved(state, at):
        towards = torch.lerp(D(state, at), D_y(state, at), float(w))
        spread = float(at) * r**0.5
        fresh = torch.randn(tuple(state.shape), dtype=state.dtype, generator=generator)
        return state.mul(1 - 0.5 * r).add(towards, alpha=0.5 * r).add(fresh, alpha=spread)

    return reduce(moved, [s for s in levels for _ in range(rounds)], x)


# %% right="tilted-sampler" name="the two scores, weighted"
def tilted_sampler(D, D_y, w, x, levels, rounds, r, generator):
    place = x.clone()
    for level in levels.tolist() if len(levels) else []:
        sigma = torch.tensor(level, dtype=levels.dtype)
        for _ in range(rounds):
            everything, wanted = D(place, sigma), D_y(place, sigma)
            pull = (1 - w) * (everything - place) + w * (wanted - place)  # sigma^2 times the guided score
            kick = torch.randn(place.shape, generator=generator, dtype=place.dtype)
            place = place + r / 2 * pull + math.sqrt(r) * level * kick
    return place
