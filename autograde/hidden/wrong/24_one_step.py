"""Wrong and other right answers to lesson 24_one_step."""

# %% wrong="boundary" fails="test_keeps_the_noise" name="the lesson's jump, as if the guess were a velocity"
replace("kept * x + (1 - kept) * F_x", "x - (t - s).reshape(-1, *[1] * (x.ndim - 1)) * F_x")
# %% wrong="boundary" fails="test_keeps_the_noise" name="the weights swapped"
replace("kept * x + (1 - kept) * F_x", "(1 - kept) * x + kept * F_x")
# %% wrong="boundary" fails="test_keeps_the_noise" name="the weight of the data's side"
replace("s / safe", "(1 - t) / (1 - s + 1e-12)")
# %% wrong="boundary" fails="test_keeps_the_noise" name="the duration, not the share"
replace("torch.where(t > 0, s / safe, torch.ones_like(t))", "1 - (t - s)")
# %% wrong="boundary" fails="test_both_ends" name="0 / 0 is NaN"
replace("torch.where(t > 0, s / safe, torch.ones_like(t))", "s / t")
# %% wrong="boundary" fails="test_both_ends" name="the branch not taken makes the gradient NaN"
replace("s / safe", "s / t")
# %% wrong="boundary" fails="test_both_ends" name="an epsilon beside t"
replace("torch.where(t > 0, s / safe, torch.ones_like(t))", "s / (t + 1e-8)")
# %% wrong="boundary" fails="test_both_ends" name="a floor under t"
replace("s / safe", "s / t.clamp(min=1e-8)")
# %% wrong="boundary" fails="test_both_ends" name="at 0 the guess"
replace("s / safe, torch.ones_like(t))", "s / safe, torch.zeros_like(t))")
# %% wrong="boundary" fails="test_keeps_the_noise" name="one time for the batch"
replace("kept.reshape(-1,", "kept[:1].reshape(-1,")


# %% right="boundary" name="guess plus the noise that is implied, by masks"
def data_jump(F_x, x, t, s):
    out = x.clone()
    for i in range(len(t)):
        if t[i] > 0:
            ratio = s[i] / t[i]
            out[i] = F_x[i] + ratio * (x[i] - F_x[i])
    return out + 0 * t.sum()


# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="always down to 0"
replace("jump(ema, x_r, r, s)", "jump(ema, x_r, r, 0 * s)")
replace("jump(net, x_t, t, s)", "jump(net, x_t, t, 0 * s)")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="the student's start for both"
replace("jump(ema, x_r, r, s)", "jump(ema, x_r, t, s)")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="forgets the weight"
replace("(d / (t - r)).mean()", "d.mean()")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="weights by the whole jump"
replace("(d / (t - r)).mean()", "(d / (t - s)).mean()")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="the sum over rows"
replace("(d / (t - r)).mean()", "(d / (t - r)).sum()")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="one distance for the whole batch"
replace(".flatten(1).square().sum(dim=1)", ".square().sum()")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="a mean over coordinates"
replace(".flatten(1).square().sum(dim=1)", ".flatten(1).square().mean(dim=1)")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="the square, not pseudo-Huber"
replace("square / ((square + rho**2).sqrt() + rho)", "square")
# %% wrong="trajectory-loss" fails="test_gradient_and_digits" name="the difference loses its digits"
replace("square / ((square + rho**2).sqrt() + rho)", "(square + rho**2).sqrt() - rho")
# %% wrong="trajectory-loss" fails="test_gradient_and_digits" name="the gradient goes by way of both"
replace("with torch.no_grad():", "if True:")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="one net for both"
replace("jump(ema, x_r, r, s)", "jump(net, x_r, r, s)")


# %% wrong="trajectory-loss" fails="test_gradient_and_digits" name="the root, squared"
replace(".sum(dim=1)", ".sum(dim=1).sqrt() ** 2")
# %% wrong="trajectory-loss" fails="test_gradient_and_digits" name="another formula below a fixed threshold"
replace(
    "square / ((square + rho**2).sqrt() + rho)",
    "torch.where(square < 1e-9, square / (2 * rho), square / ((square + rho**2).sqrt() + rho))",
)
# %% wrong="trajectory-loss" fails="test_gradient_and_digits" name="the difference, but for the smallest"
replace(
    "square / ((square + rho**2).sqrt() + rho)",
    "torch.where(square < 1e-9 * rho**2, square / (2 * rho), (square + rho**2).sqrt() - rho)",
)
# %% wrong="trajectory-loss" fails="test_gradient_and_digits" name="an epsilon under the root"
replace("square + rho**2", "square + rho**2 + 1e-12")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="a floor under t - r"
replace("(d / (t - r)).mean()", "(d / (t - r).clamp(min=1e-3)).mean()")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="always float64"
replace("(d / (t - r)).mean()", "(d / (t - r)).double().mean()")
# %% wrong="trajectory-loss" fails="test_loss_by_formula" name="overwrites what ema returns"
replace("jump(ema, x_r, r, s)", "x_r - ema(x_r, r, s).mul_((r - s).reshape(-1, *[1] * (x_r.ndim - 1)))")


# %% equivalent="trajectory-loss" name="the square is the same either way"
replace("jump(net, x_t, t, s) - wanted", "(wanted - jump(net, x_t, t, s))")


# %% right="trajectory-loss" name="the root less 1 by logarithms"
def trajectory_loss(net, ema, x_t, x_r, t, r, s, rho):
    gap = (jump(net, x_t, t, s) - jump(ema, x_r, r, s).detach()).flatten(1) / rho
    d = rho * torch.expm1(0.5 * torch.log1p(torch.einsum("bd,bd->b", gap, gap)))
    return torch.mean(d / (t - r))


# %% right="trajectory-loss" name="row by row, with hypot"
def trajectory_loss(net, ema, x_t, x_r, t, r, s, rho):
    shape = (-1,) + (1,) * (x_t.dim() - 1)
    here = x_t - (t - s).view(shape) * net(x_t, t, s)
    there = (x_r - (r - s).view(shape) * ema(x_r, r, s)).detach()
    total = 0.0
    for i in range(len(t)):
        gap = ((here[i] - there[i]) / rho).pow(2).sum()
        total = total + rho * gap / (1 + torch.sqrt(1 + gap)) / (t[i] - r[i])
    return total / len(t)


# %% wrong="teacher-step" fails="test_lands_with_the_teacher" name="the mean of the teacher's two answers"
replace("return (cosine * x - y) / sine", "return (v_net(x, t) + v_net(y, r)) / 2")
# %% wrong="teacher-step" fails="test_lands_with_the_teacher" name="one step of the teacher"
replace("((t, r), (r, s))", "((t, s),)")
# %% wrong="teacher-step" fails="test_lands_with_the_teacher" name="the average velocity of the chapter"
replace("(cosine * x - y) / sine", "(x - y) / (t - s)[:, None]")
# %% wrong="teacher-step" fails="test_lands_with_the_teacher" name="the sign of the target"
replace("(cosine * x - y) / sine", "(y - cosine * x) / sine")
# %% wrong="teacher-step" fails="test_lands_with_the_teacher" name="the second step from x again"
replace("cosine * y - sine * v_net(y, now)", "cosine * x - sine * v_net(x, now)")
# %% wrong="teacher-step" fails="test_asks_twice" name="both times at t"
replace("v_net(y, now)", "v_net(y, t)")
# %% wrong="teacher-step" fails="test_asks_twice" name="the gradient goes through the teacher"
replace("with torch.no_grad():", "if True:")
# %% wrong="teacher-step" fails="test_lands_with_the_teacher" name="degrees of a whole turn"
replace("math.pi / 2 * (a - b)", "math.pi * (a - b)")


# %% wrong="teacher-step" fails="test_asks_twice" name="overwrites what the teacher returns"
replace("sine * v_net(y, now)", "v_net(y, now).mul_(sine)")
# %% wrong="teacher-step" fails="test_lands_with_the_teacher" name="clamps where the teacher's steps land"
replace("cosine * y - sine * v_net(y, now)", "(cosine * y - sine * v_net(y, now)).clamp(-20, 20)")


# %% right="teacher-step" name="through both ends of the path"
def distilled_v(v_net, x, t, r, s):
    def weights(time):
        return torch.cos(time * math.pi / 2).unsqueeze(1), torch.sin(time * math.pi / 2).unsqueeze(1)

    def go(place, start, end):
        (a, b), (c, d) = weights(start), weights(end)
        v = v_net(place, start).detach()
        return c * (a * place - b * v) + d * (b * place + a * v)

    a, b = weights(t)
    c, d = weights(s)
    landed = go(go(x, t, r), r, s)
    return ((a * c + b * d) * x - landed) / (b * c - a * d)


# %% wrong="times-faster" fails="test_curves_that_rise_again" name="straight in n and d"
replace(
    "low, high = d_teacher[j - 1].log(), d_teacher[j].log()", "low, high = d_teacher[j - 1], d_teacher[j]"
)
replace("(low - level.log())", "(low - level)")
# %% wrong="times-faster" fails="test_curves_that_rise_again" name="the next measured number, no line"
replace("if j:", "if False:")
# %% wrong="times-faster" fails="test_curves_that_rise_again" name="the student over the teacher"
replace("return needed / n_student", "return n_student / needed")
# %% wrong="times-faster" fails="test_curves_that_rise_again" name="the number, not the ratio"
replace("return needed / n_student", "return needed")
# %% wrong="times-faster" fails="test_curves_that_rise_again" name="the last crossing"
strike("break")
# %% wrong="times-faster" fails="test_edges" name="equal is not reached"
replace("d_teacher[j] <= level", "d_teacher[j] < level")
# %% wrong="times-faster" fails="test_curves_that_rise_again" name="a million times at most"
replace(
    "return needed / n_student",
    "return torch.where(needed < math.inf, (needed / n_student).clamp(max=1e6), needed)",
)
# %% wrong="times-faster" fails="test_edges" name="almost equal is reached"
replace("d_teacher[j] <= level", "d_teacher[j] <= level * 1.0001")
# %% wrong="times-faster" fails="test_edges" name="a line from the best so far"
replace("low, high = d_teacher[j - 1].log()", "low, high = d_teacher[:j].min().log()")
# %% wrong="times-faster" fails="test_edges" name="one number alone is never enough"
replace("if d_teacher[j] <= level:", "if d_teacher[j] <= level and len(n_teacher) > 1:")
# %% wrong="times-faster" fails="test_edges" name="never is the last number"
replace("torch.full_like(d_student, math.inf)", "torch.ones_like(d_student) * n_teacher[-1]")


# %% wrong="times-faster" fails="test_edges" name="the curve goes on beyond its ends"
def times_faster(n_student, d_student, n_teacher, d_teacher):
    x, y = n_teacher.log(), d_teacher.log()
    slope = (x[-1] - x[0]) / (y[-1] - y[0]) if len(x) > 1 else 0.0
    return (x[0] + slope * (d_student.log() - y[0])).exp() / n_student


# %% right="times-faster" name="all at once"
def times_faster(n_student, d_student, n_teacher, d_teacher):
    reached = d_teacher[None] <= d_student[:, None]
    j = reached.int().argmax(dim=1)
    before = (j - 1).clamp(min=0)
    n, d = n_teacher.log(), d_teacher.log()
    gap = torch.where(j > 0, d[before] - d[j], 1.0)
    share = torch.where(j > 0, (d[before] - d_student.log()) / gap, 0.0)
    needed = torch.exp(n[before] + share * (n[j] - n[before]))
    return torch.where(reached.any(dim=1), needed, math.inf) / n_student


# %% right="times-faster" name="one segment after another, from the right"
def times_faster(n_student, d_student, n_teacher, d_teacher):
    answers = []
    n, d = [math.log(v) for v in n_teacher.tolist()], d_teacher.tolist()
    for own, level in zip(n_student.tolist(), d_student.tolist(), strict=True):
        reached = [k for k, value in enumerate(d) if value <= level]
        if not reached:
            answers.append(math.inf)
            continue
        k = reached[0]
        place = n[k]
        if k > 0:
            rise = math.log(level / d[k]) / math.log(d[k - 1] / d[k])
            place = n[k] + rise * (n[k - 1] - n[k])
        answers.append(math.exp(place) / own)
    return torch.tensor(answers, dtype=torch.float64)


# %% wrong="repair" fails="test_the_walk" name="jumps to s, not below it"
replace("for v in (start, below))", "for v in (start, s))")
# %% wrong="repair" fails="test_the_law_stays" name="deviations subtracted"
replace("max(0.0, s**2 - (a * below) ** 2) ** 0.5", "max(0.0, s - a * below)")
# %% wrong="repair" fails="test_the_law_stays" name="the variance that was there, not shrunk by a"
replace("(a * below) ** 2", "below**2")
# %% wrong="repair" fails="test_the_walk" name="noise at the end"
replace("return x", "return x + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype)")
# %% wrong="repair" fails="test_the_walk" name="gamma the other way round"
replace("(1 - gamma) * s", "gamma * s")
# %% wrong="repair" fails="test_the_walk" name="forgets a"
replace("x = a * x + b * z", "x = x + b * z")
# %% wrong="repair" fails="test_the_law_stays" name="the variance for the deviation"
replace("(a * below) ** 2) ** 0.5", "(a * below) ** 2)")


# %% wrong="repair" fails="test_the_walk" name="draws nothing at time 0"
replace(
    "torch.randn(x.shape, generator=generator, dtype=x.dtype)",
    "torch.randn(x.shape, generator=generator, dtype=x.dtype) if s > 0 else 0.0",
)
# %% wrong="repair" fails="test_the_walk" name="draws nothing for plain jumps"
replace(
    "torch.randn(x.shape, generator=generator, dtype=x.dtype)",
    "torch.randn(x.shape, generator=generator, dtype=x.dtype) if gamma > 0 else 0.0",
)
# %% wrong="repair" fails="test_the_walk" name="overwrites what the net returns"
replace("jump(net, x, now, lower)", "x - net(x, now, lower).mul_(start - below)")


# %% equivalent="repair" name="the larger of two, in the other order"
replace("max(0.0, s**2 - (a * below) ** 2)", "max(s**2 - (a * below) ** 2, 0.0)")
# %% equivalent="repair" name="s is at least a times below, rounded too: a is at most 1"
replace("max(0.0,", "max(-1.0,")


# %% right="repair" name="by the share of noise in a point, with rsqrt"
def walk_back(net, x, times, gamma, generator):
    rows = x.new_ones(len(x))
    for k in range(1, len(times)):
        here, there = times[k - 1], times[k]
        low = there - gamma * there
        x = x - (here - low) * net(x, here * rows, low * rows)
        fade = (1 - there) / (1 - low)
        fresh = abs(there - fade * low) * (there + fade * low)
        x = x.mul(fade).add(torch.randn(*x.shape, generator=generator, dtype=x.dtype), alpha=math.sqrt(fresh))
    return x


# %% wrong="landing" fails="test_loss_and_slope" name="the derivative by the start"
replace(
    "lambda end: jump(net, x, t, end), (s,), (torch.ones_like(s),)",
    "lambda a: jump(net, x, a, s), (t,), (torch.ones_like(t),)",
)
# %% wrong="landing" fails="test_loss_and_slope" name="a gradient through the place"
replace("with torch.no_grad():", "if True:")
# %% wrong="landing" fails="test_loss_and_slope" name="the derivative without gradient"
replace("(slope - wanted)", "(slope.detach() - wanted)")
# %% wrong="landing" fails="test_loss_and_slope" name="u where the jump starts"
replace("wanted = u(X, s)", "wanted = u(x, t)")
# %% wrong="landing" fails="test_loss_and_slope" name="u at the start's time"
replace("wanted = u(X, s)", "wanted = u(X, t)")
# %% wrong="landing" fails="test_loss_and_slope" name="the sign of the derivative"
replace("(slope - wanted)", "(slope + wanted)")
# %% wrong="landing" fails="test_loss_and_slope" name="a mean over coordinates"
replace(".square().sum(dim=1).mean()", ".square().mean()")
# %% wrong="landing" fails="test_the_step" name="the times as they come"
replace(".sort(dim=0).values", "")
# %% wrong="landing" fails="test_the_step" name="mixes for the end"
replace("mixed(x_0, eps, t)", "mixed(x_0, eps, s)")
# %% wrong="landing" fails="test_the_step" name="gradients add up"
strike("optimizer.zero_grad()")
# %% wrong="landing" fails="test_the_step" name="a gradient of norm 1 at most"
replace(
    "optimizer.step()",
    "torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]['params'], 1.0), optimizer.step()",
)
# %% wrong="landing" fails="test_the_step" name="no time near 0"
replace("mixed(x_0, eps, t), t, s)", "mixed(x_0, eps, t), t, s.clamp(min=0.01))")
# %% wrong="landing" fails="test_the_step" name="a gradient to the weights of u"
replace("with torch.no_grad():", "if True:")
replace("wanted = u(X, s)", "wanted = u(X.detach(), s)")
# %% wrong="landing" fails="test_loss_and_slope" name="the average velocity for the derivative"
replace("(slope - wanted)", "(net(x, t, s) - wanted)")


# %% wrong="landing" fails="test_loss_and_slope" name="a difference quotient"
def landing_loss(net, u, x, t, s):
    h = 1e-3
    X = jump(net, x, t, s)
    slope = (jump(net, x, t, s + h) - X) / h
    return (slope - u(X, s).detach()).square().sum(dim=1).mean()


def landing_step(net, optimizer, u, x_0, generator):
    eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
    s, t = torch.rand(2, len(x_0), generator=generator, dtype=x_0.dtype).sort(dim=0).values
    loss = landing_loss(net, u, mixed(x_0, eps, s), s, t)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


# %% wrong="landing" fails="test_loss_and_slope" name="MeanFlow's loss"
def landing_loss(net, u, x, t, s):
    U, target = meanflow(net, x, t, s, u(x, t))
    return (U - target).square().sum(dim=1).mean()


def landing_step(net, optimizer, u, x_0, generator):
    eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
    s, t = torch.rand(2, len(x_0), generator=generator, dtype=x_0.dtype).sort(dim=0).values
    loss = landing_loss(net, u, mixed(x_0, eps, t), t, s)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


# %% equivalent="landing" name="the square is the same either way"
replace("(slope - wanted)", "(wanted - slope)")


# %% right="landing" name="reverse mode twice, one coordinate at a time"
def landing_loss(net, u, x, t, s):
    end = s.detach().clone().requires_grad_(True)
    place = x - (t - end).unsqueeze(1) * net(x, t, end)
    rates = [torch.autograd.grad(column.sum(), end, create_graph=True)[0] for column in place.unbind(1)]
    goal = u(place.detach(), s).detach()
    return torch.stack(rates, 1).sub(goal).pow(2).sum() / len(x)


def landing_step(net, optimizer, u, x_0, generator):
    noise = torch.randn(*x_0.shape, generator=generator, dtype=x_0.dtype)
    first, second = torch.rand(2, x_0.shape[0], generator=generator, dtype=x_0.dtype)
    start, end = torch.maximum(first, second), torch.minimum(first, second)
    optimizer.zero_grad()
    weight = start.unsqueeze(1)
    value = landing_loss(net, u, torch.lerp(x_0, noise, weight.expand_as(x_0)), start, end)
    value.backward()
    optimizer.step()
    return value.detach()
