"""Wrong and other right answers to lesson 20_samplers."""

# %% wrong="straight-path" fails="test_picture_at_every_level" name="takes sigma for the time"
replace("t = sigma / (1 + sigma)", "t = sigma")
# %% wrong="straight-path" fails="test_picture_at_every_level" name="leaves x in its own unit"
replace("x_t = x * (1 - t)", "x_t = x")
# %% wrong="straight-path" fails="test_picture_at_every_level" name="the sign of u"
replace("x_t - t * u(", "x_t + t * u(")
# %% wrong="straight-path" fails="test_picture_at_every_level" name="the noise, not the picture"
replace("x_t - t * u(", "x_t + (1 - t) * u(")
# %% wrong="straight-path" fails="test_picture_at_every_level" name="a 0-d time"
replace("t.to(x.dtype).expand(len(x))", "t.to(x.dtype)")
# %% wrong="straight-path" fails="test_kinds_of_batches" name="times of the default type"
replace("t.to(x.dtype)", "t.float()")
# %% wrong="straight-path" fails="test_picture_at_every_level" name="times kept away from 1"
replace("t = sigma / (1 + sigma)", "t = (sigma / (1 + sigma)).clamp(max=0.999)")
# %% wrong="straight-path" fails="test_picture_at_every_level" name="lesson 19's clock"
replace("t = sigma / (1 + sigma)", "t = torch.atan(sigma) * 2 / math.pi")
# %% wrong="straight-path" fails="test_picture_at_every_level" name="times kept away from 0"
replace("t = sigma / (1 + sigma)", "t = (sigma / (1 + sigma)).clamp(min=1e-5)")
# %% wrong="straight-path" fails="test_picture_at_every_level" name="pictures of at most 3"
replace(
    "return x_t - t * u(x_t, t.to(x.dtype).expand(len(x)))",
    "return (x_t - t * u(x_t, t.to(x.dtype).expand(len(x)))).clamp(-3, 3)",
)
# %% wrong="straight-path" fails="test_kinds_of_batches" name="overwrites the velocity"
replace("t * u(x_t, t.to(x.dtype).expand(len(x)))", "u(x_t, t.to(x.dtype).expand(len(x))).mul_(t)")


# %% right="straight-path" name="a class, by the noise"
def denoiser_of(u):
    class Straight:
        def __call__(self, x, sigma):
            signal = 1 / (1 + sigma)
            times = torch.full((x.shape[0],), float(1 - signal), dtype=x.dtype)
            point = signal * x
            velocity = u(point, times)
            eps = point + velocity * signal  # x_t = x_0 + t u, and x_0 = eps - u
            return eps - velocity

    return Straight()


# %% wrong="any-frame" fails="test_variance_and_least_error" name="section 2's c_skip: x not divided by alpha"
replace("signal / size * (sigma_data / size)", "(signal / size) ** 2")
# %% wrong="any-frame" fails="test_variance_and_least_error" name="the first row for all"
replace(
    "signal = alpha * sigma_data",
    "alpha, sigma_t = alpha[:1].expand_as(alpha), sigma_t[:1].expand_as(alpha)\nsignal = alpha * sigma_data",
)
# %% wrong="any-frame" fails="test_variance_and_least_error" name="takes the path for lesson 19's"
replace(
    "size = torch.hypot(signal, sigma_t)",
    "size = torch.hypot((1 - sigma_t**2).abs().sqrt() * sigma_data, sigma_t)",
)
# %% wrong="any-frame" fails="test_variance_and_least_error" name="pictures of size 1"
replace("signal = alpha * sigma_data", "signal, sigma_data = alpha, 1.0")
# %% wrong="any-frame" fails="test_variance_and_least_error" name="c_out with the sign of v"
replace("sigma_t / size * sigma_data", "-sigma_t / size * sigma_data")
# %% wrong="any-frame" fails="test_ends_and_units" name="by the ratio sigma_t / alpha"
replace(
    "size = torch.hypot(signal, sigma_t)",
    "size = alpha * torch.hypot(sigma_data + 0 * alpha, sigma_t / alpha)",
)
# %% wrong="any-frame" fails="test_ends_and_units" name="an epsilon under the root"
replace("torch.hypot(signal, sigma_t)", "(signal**2 + sigma_t**2 + 1e-12).sqrt()")
# %% wrong="any-frame" fails="test_variance_and_least_error" name="a variance for a deviation"
replace(", 1 / size", ", 1 / size**2")
# %% wrong="any-frame" fails="test_variance_and_least_error" name="c_skip from what is left: digits lost"
replace(
    "signal / size * (sigma_data / size)",
    "torch.where(alpha > 0, (1 - (sigma_t / size) ** 2) / alpha, 0 * alpha)",
)
# %% wrong="any-frame" fails="test_variance_and_least_error" name="little noise taken for none"
replace(
    "signal = alpha * sigma_data",
    "signal = alpha * sigma_data\nsigma_t = sigma_t * (sigma_t > 1e-4 * signal)",
)

# %% equivalent="any-frame" name="the root of a sum of squares, in either order"
replace("torch.hypot(signal, sigma_t)", "torch.hypot(sigma_t, signal)")


# %% right="any-frame" name="by least squares"
def any_frame(alpha, sigma_t, sigma_data):
    energy = (alpha * sigma_data) ** 2 + sigma_t**2  # of the input
    regression = alpha * sigma_data**2 / energy  # of x_0 on x_t
    left = (sigma_data * sigma_t) ** 2 / energy
    return torch.stack([regression, left.sqrt(), energy.rsqrt()])


# %% right="any-frame" name="c_out from c_skip: rounding where there is no noise"
def any_frame(alpha, sigma_t, sigma_data):
    a, b = (alpha * sigma_data) ** 2, sigma_t**2
    c_skip = alpha * sigma_data**2 / (a + b)
    left = (1 - alpha * c_skip) ** 2 * sigma_data**2 + c_skip**2 * b
    return c_skip, left.sqrt(), (a + b) ** -0.5


# %% wrong="two-stage" fails="test_step_by_hand" name="the second call by share of sigma"
replace("m = t * (s / t) ** ratio", "m = t + ratio * (s - t)")
# %% wrong="two-stage" fails="test_step_by_hand" name="always the middle"
replace("** ratio", "** 0.5")
# %% wrong="two-stage" fails="test_step_by_hand" name="the second guess for all of the step"
replace("middle = D + (D_m - D) / (2 * ratio)", "middle = D_m")
# %% wrong="two-stage" fails="test_step_by_hand" name="the line's value at the end of the step"
replace("(2 * ratio)", "ratio")
# %% wrong="two-stage" fails="test_step_by_hand" name="asks there without going there"
replace("denoise(D + m / t * (x - D), m)", "denoise(x, m)")
# %% wrong="two-stage" fails="test_step_by_hand" name="asks with the first level"
replace("(x - D), m)", "(x - D), t)")
# %% wrong="two-stage" fails="test_to_zero_and_kinds" name="no case for 0"
strike("if s == 0:")
strike("    return D")
# %% wrong="two-stage" fails="test_to_zero_and_kinds" name="a small level for 0"
replace("if s == 0:\n    return D", "s = s.clamp(min=1e-6)")
# %% wrong="two-stage" fails="test_step_by_hand" name="the share counted from the end"
replace("** ratio", "** (1 - ratio)")
# %% wrong="two-stage" fails="test_step_by_hand" name="a long step cut short"
replace("(s / t) ** ratio", "(s / t).clamp(min=1e-4) ** ratio")
# %% wrong="two-stage" fails="test_step_by_hand" name="a line limited where the second call is near"
replace("(2 * ratio)", "max(2 * ratio, 0.1)")
# %% wrong="two-stage" fails="test_step_by_hand" name="a far lower level taken for 0"
replace("if s == 0:", "if s < 1e-4 * t:")


# %% right="two-stage" name="in lambda, with the integral's weights"
def two_stage(denoise, x, t, s, ratio):
    first = denoise(x, t)
    if float(s) == 0.0:
        return first
    begin, end = -torch.log(t), -torch.log(s)
    h = end - begin
    there = begin + ratio * h
    reached = torch.exp(begin - there) * x - torch.expm1(begin - there) * first
    second = denoise(reached, torch.exp(-there))
    share = 1 / (2 * ratio)
    return torch.exp(-h) * x - torch.expm1(-h) * ((1 - share) * first + share * second)


# %% wrong="no-truth" fails="test_order_and_limit" name="the factor taken for 2"
replace("math.log(factor)", "math.log(2)")
# %% wrong="no-truth" fails="test_order_and_limit" name="the limit on the wrong side"
replace("fine + (fine - middle)", "fine - (fine - middle)")
# %% wrong="no-truth" fails="test_order_and_limit" name="order 1 for all limits"
replace("(first / second - 1)", "(factor - 1)")
# %% wrong="no-truth" fails="test_order_and_limit" name="mean errors, not root mean squares"
replace(".square().mean().sqrt()", ".abs().mean()")
# %% wrong="no-truth" fails="test_order_and_limit" name="the first row decides"
replace("(a - b)", "(a - b)[:1]")
# %% wrong="no-truth" fails="test_order_and_limit" name="coarse against fine"
replace("(coarse, middle), ", "(coarse, fine), ")
# %% wrong="no-truth" fails="test_nothing_to_tell" name="refuses nothing"
strike("if not first > second > 0:")
strike('    raise ValueError("the differences do not shrink, or there are none")')
# %% wrong="no-truth" fails="test_nothing_to_tell" name="takes equal differences for an order of 0"
replace("first > second > 0", "first >= second > 0")
replace("(first / second - 1)", "max(first / second - 1, 1e-300)")
# %% wrong="no-truth" fails="test_nothing_to_tell" name="small differences taken for none"
replace("second > 0", "second > 1e-12")
# %% wrong="no-truth" fails="test_nothing_to_tell" name="an infinite order where the second difference is 0"
replace(
    "if not first > second > 0:",
    "if second == 0 < first:\n    return math.inf, fine\nif not first > second > 0:",
)
# %% wrong="no-truth" fails="test_nothing_to_tell" name="nearly equal taken for equal"
replace("first > second > 0", "first > 1.0001 * second > 0")
# %% wrong="no-truth" fails="test_nothing_to_tell" name="far smaller taken for none"
replace("second > 0", "second > 1e-9 * first")
# %% wrong="no-truth" fails="test_order_and_limit" name="refuses where one entry grows"
replace(
    "if not first > second > 0:",
    "if not first > second > 0 or ((fine - middle).abs() > (coarse - middle).abs()).any():",
)

# %% equivalent="no-truth" name="only the ratio of the two counts: sums for means"
replace(".mean()", ".sum()")
# %% equivalent="no-truth" name="differences are squared: their sign is lost"
replace("(a - b)", "(b - a)")
# %% equivalent="no-truth" name="differences are squared: the first the other way round"
replace("(coarse, middle),", "(middle, coarse),")
# %% equivalent="no-truth" name="differences are squared: the second the other way round"
replace("(middle, fine))", "(fine, middle))")


# %% right="no-truth" name="by the vector norm, Aitken's way"
def without_truth(coarse, middle, fine, factor):
    steps = torch.stack([(coarse - middle).flatten(), (middle - fine).flatten()])
    norm = torch.linalg.vector_norm(steps.double(), dim=1)
    if not bool((norm[1] > 0) & (norm[0] > norm[1])):
        raise ValueError(f"no order from differences of {norm.tolist()}")
    shrink = norm[1] / norm[0]
    order = -torch.log(shrink) / torch.log(torch.tensor(float(factor), dtype=torch.float64))
    return order.item(), (fine - middle * shrink.to(fine)) / (1 - shrink.to(fine))


# %% right="no-truth" name="a NumPy number for the order"
def without_truth(coarse, middle, fine, factor):
    d1, d2 = (np.sqrt(np.mean(d.numpy().astype(float) ** 2)) for d in (coarse - middle, middle - fine))
    if d2 >= d1 or d2 == 0:
        raise ValueError("no order")
    p = np.log(d1 / d2) / np.log(factor)
    return p, fine + (fine - middle) / (float(factor) ** float(p) - 1)


# %% wrong="repair" fails="test_later_steps" name="the ratio of the steps still upside down"
replace("(t / s).log() / (2 * (t_old / t).log())", "(t_old / t).log() / (2 * (t / s).log())")
# %% wrong="repair" fails="test_first_and_last_step" name="still too much of x"
replace("return r2 * x +", "return s / t * x +")
# %% wrong="repair" fails="test_first_and_last_step" name="still a variance for a deviation"
replace("(1 - r2).sqrt()", "(1 - r2)")
# %% wrong="repair" fails="test_later_steps" name="still remembers the middle"
replace("z, (D, t)", "z, (M, t)")
# %% wrong="repair" fails="test_first_and_last_step" name="no case for 0"
strike("if s == 0:")
strike("    return D, (D, t)")
# %% wrong="repair" fails="test_first_and_last_step" name="the line in the step to 0, too"
replace("if s == 0:\n    return D, (D, t)", "s = s.clamp(min=1e-12)")
# %% wrong="repair" fails="test_later_steps" name="forgets the half"
replace("(2 * (t_old / t).log())", "(t_old / t).log()")
# %% wrong="repair" fails="test_later_steps" name="remembers the level it goes to"
replace("z, (D, t)", "z, (D, s)")
# %% wrong="repair" fails="test_later_steps" name="the line backwards"
replace("(D - D_old)", "(D_old - D)")
# %% wrong="repair" fails="test_first_and_last_step" name="the noise of the level it came from"
replace("s * (1 - r2)", "t * (1 - r2)")
# %% wrong="repair" fails="test_first_and_last_step" name="one noise for all rows"
replace(".sqrt() * z,", ".sqrt() * z[:1],")
# %% wrong="repair" fails="test_later_steps" name="a low level taken for 0"
replace("if s == 0:", "if s < 1e-3:")
# %% wrong="repair" fails="test_later_steps" name="a line that is limited"
replace("(t / s).log() / (2 * (t_old / t).log())", "((t / s).log() / (2 * (t_old / t).log())).clamp(max=20)")


# %% right="repair" name="as DDIM with eta = 1 around the middle"
def repaired_step(denoise, x, t, s, old, z):
    guess = denoise(x, t)
    if not s:
        return guess.clone(), (guess, t)
    ahead = guess
    if old is not None:
        log_old, log_t, log_s = torch.log(torch.stack([old[1], t, s]))
        rise = (guess - old[0]) / (log_old - log_t)
        ahead = guess + rise * (log_t - log_s) / 2
    fresh = s * torch.sqrt((t - s) * (t + s)) / t
    kept = s**2 / t
    return ahead + kept * (x - ahead) / t + fresh * z, (guess, t)


# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="section 12's inversion"
replace("for _ in range(200):", "D = denoise(x_s, s)\nreturn D + t / s * (x_s - D)\nfor _ in range(200):")
# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="asks once, for the level above"
replace("for _ in range(200):", "D = denoise(x_s, t)\nreturn D + t / s * (x_s - D)\nfor _ in range(200):")
# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="five rounds are enough"
replace("range(200)", "range(5)")
# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="asks at the lower level"
replace("denoise(x, t)", "denoise(x, s)")
# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="near enough"
replace("1e-9", "1e-5")
# %% wrong="exact-inverse" fails="test_no_way_back" name="never refuses"
replace('raise ValueError("no x_t leads to this x_s")', "return x")
# %% wrong="exact-inverse" fails="test_no_way_back" name="looks at the first row"
replace("<= near).all()", "<= near)[:1].all()")
# %% wrong="exact-inverse" fails="test_no_way_back" name="content when most have arrived"
replace("<= near).all()", "<= near).double().mean() > 0.6")
# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="near in absolute terms"
replace("1e-9 * x_s.abs().max()", "1e-9")
# %% wrong="exact-inverse" fails="test_no_way_back" name="a thousand calls"
replace("range(200)", "range(1000)")
# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="steps that are too small"
replace("x = t / s * (x_s - (1 - s / t) * D)", "x = x + 0.02 * (t / s * (x_s - (1 - s / t) * D) - x)")
# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="near by the length, not in every entry"
replace("near, x = 1e-9 * x_s.abs().max(), x_s", "near, x = 1e-9 * x_s.norm(), x_s")
replace("- x_s).abs() <= near).all()", "- x_s).norm() <= near)")
# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="near in terms of each entry"
replace("<= near).all()", "<= 1e-9 * x_s.abs()).all()")
# %% wrong="exact-inverse" fails="test_no_way_back" name="no miss is larger than NaN"
replace(
    "if ((D + s / t * (x - D) - x_s).abs() <= near).all()",
    "if not ((D + s / t * (x - D) - x_s).abs() > near).any()",
)


# %% wrong="exact-inverse" fails="test_step_down_leads_back" name="gives up when the miss grows"
def undo_step(denoise, x_s, t, s):
    near, x, last = 1e-9 * x_s.abs().max(), x_s, math.inf
    for _ in range(200):
        D = denoise(x, t)
        miss = (D + s / t * (x - D) - x_s).abs().max()
        if miss <= near:
            return x
        if not miss <= last:
            break
        last, x = miss, t / s * (x_s - (1 - s / t) * D)
    raise ValueError("no x_t leads to this x_s")


# %% wrong="exact-inverse" fails="test_no_way_back" name="refuses by size, not by where a step lands"
def undo_step(denoise, x_s, t, s):
    x = x_s
    for _ in range(200):
        x = t / s * (x_s - (1 - s / t) * denoise(x, t))
    if not x.abs().max() < 100 * x_s.abs().max():
        raise ValueError("no x_t leads to this x_s")
    return x


# %% equivalent="exact-inverse" name="where there is a way it is found in far fewer calls"
replace("range(200)", "range(199)")
# %% equivalent="exact-inverse" name="likewise, 200 - 1"
replace("range(200)", "range(200 - 1)")
# %% equivalent="exact-inverse" name="no miss is exactly as large as what is allowed"
replace("<= near", "< near")
# %% equivalent="exact-inverse" name="a size has no sign"
replace("(D + s / t * (x - D) - x_s).abs()", "(x_s - (D + s / t * (x - D))).abs()")


# %% right="exact-inverse" name="walks against the miss, from the naive inversion"
def undo_step(denoise, x_s, t, s):
    ratio = s / t
    near = x_s.abs().max() * 1e-9

    def miss(x):
        return ratio * x + (1 - ratio) * denoise(x, t) - x_s

    x = x_s + (t / s - 1) * (x_s - denoise(x_s, s))
    for _ in range(198):
        off = miss(x)
        if torch.all(torch.abs(off) <= near):
            return x
        x = x - off / ratio
    raise ValueError("not found")


# %% wrong="adams" fails="test_polynomials_through_slopes" name="polynomials in lambda"
replace(
    "u, end = (sigmas[i + 1 - n : i + 1] - t) / (s - t),",
    "u, end = (sigmas[i + 1 - n : i + 1] / t).log() / (s.clamp(min=1e-3) / t).log(),",
)
# %% wrong="adams" fails="test_polynomials_through_slopes" name="the weights of equal steps"
replace(
    "u, end = (sigmas[i + 1 - n : i + 1] - t) / (s - t),",
    "u, end = torch.arange(1.0 - n, 1.0, dtype=sigmas.dtype),",
)
# %% wrong="adams" fails="test_polynomials_through_slopes" name="one slope fewer"
replace("n = min(order, i + 1)", "n = max(1, min(order, i + 1) - 1)")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="order 1 until there are enough"
replace("n = min(order, i + 1)", "n = order if i + 1 >= order else 1")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="the slope's sign"
replace("(x - denoise(x, t)) / t", "(denoise(x, t) - x) / t")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="a last step of DDIM"
replace("n = min(order, i + 1)", "n = min(order, i + 1) if s > 0 else 1")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="order 3 at most"
replace("min(order, i + 1)", "min(order, i + 1, 3)")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="the newest slope for the oldest"
replace("zip(w, slopes[-n:], strict=True)", "zip(w, slopes[-n:][::-1], strict=True)")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="order 2, whatever is asked"
replace("min(order, i + 1)", "min(2, i + 1)")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="polynomials through guesses"
replace("slopes.append((x - denoise(x, t)) / t)", "slopes.append(denoise(x, t))")
replace("x = x + (s - t) * sum(", "x = x + (s - t) / t * (x - sum(")
replace("slopes[-n:], strict=True))", "slopes[-n:], strict=True)))")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="order 1 where a step is far longer"
replace(
    "n = min(order, i + 1)",
    "n = min(order, i + 1)\nif i and t - s > 8 * (sigmas[i - 1] - t):\n    n = 1",
)
# %% wrong="adams" fails="test_polynomials_through_slopes" name="order 1 where a level is far lower"
replace("n = min(order, i + 1)", "n = min(order, i + 1) if s == 0 or s > 0.05 * t else 1")
# %% wrong="adams" fails="test_polynomials_through_slopes" name="a number for the level"
replace("denoise(x, t)", "denoise(x, t.item())")

# %% equivalent="adams" name="the smaller of two, in either order"
replace("min(order, i + 1)", "min(i + 1, order)")
# %% equivalent="adams" name="there are as many weights as slopes"
replace(", strict=True", "")
# %% equivalent="adams" name="as many, checked or not"
replace("strict=True", "strict=False")
# %% equivalent="adams" name="a product in either order"
replace("zip(w, slopes[-n:], strict=True)", "zip(slopes[-n:], w, strict=True)")


# %% right="adams" name="Lagrange's polynomials by Gauss-Legendre points"
def adams(denoise, x, sigmas, order):
    nodes01, share = np.polynomial.legendre.leggauss(3)  # exact to degree 5
    past, levels = [], sigmas.tolist()
    for i in range(len(levels) - 1):
        past = [((x - denoise(x, sigmas[i])) / sigmas[i], levels[i])] + past[: order - 1]
        width = levels[i + 1] - levels[i]
        for j, (slope, own) in enumerate(past):
            area = 0.0
            for point, part in zip(nodes01, share):
                at, value = levels[i] + width * (point + 1) / 2, part / 2
                for k, (_, other) in enumerate(past):
                    value *= 1.0 if k == j else (at - other) / (own - other)
                area += value
            x = x + width * area * slope
    return x
