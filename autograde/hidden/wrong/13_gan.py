"""Wrong and other right answers to lesson 13_gan."""

# %% wrong="coverage" fails="test_any_mixture" name="the plain distance"
replace("z.norm(dim=1).min(dim=0)", "torch.cdist(x, mu).min(dim=1)")
# %% wrong="coverage" fails="test_any_mixture" name="the mode is nearest by the plain distance"
replace(
    "distance, nearest = z.norm(dim=1).min(dim=0)",
    "nearest = torch.cdist(x, mu).argmin(dim=1)\ndistance = z.norm(dim=1).gather(0, nearest[None])[0]",
)
# %% wrong="coverage" fails="test_any_mixture" name="the squared distance against the radius"
replace("z.norm(dim=1)", "z.square().sum(dim=1)")
# %% wrong="coverage" fails="test_any_mixture" name="one good point is enough"
replace("share >= pi / 2", "n > 0")
# %% wrong="coverage" fails="test_uneven_shares" name="strays in the share"
replace("n / n.sum()", "n / len(x)")
# %% wrong="coverage" fails="test_uneven_shares" name="the same is due to every mode"
replace("share = n / n.sum()", "share, pi = n / n.sum(), torch.full_like(pi, 1 / len(mu))")
# %% wrong="coverage" fails="test_uneven_shares" name="KL the other way round"
replace("xlogy(share, share / pi)", "xlogy(pi, pi / share)")
# %% wrong="coverage" fails="test_any_mixture" name="0 times log 0 is NaN"
replace("torch.special.xlogy(share, share / pi)", "(share * (share / pi).log())")

# %% wrong="coverage" fails="test_uneven_shares" name="float32 from the start"
replace("L, (x - mu[:, None]).mT", "L.float(), (x.float() - mu[:, None].float()).mT")
# %% wrong="coverage" fails="test_any_mixture" name="as many points as modes: each is compared with one"
replace("x - mu[:, None]", "x - (mu if len(mu) == len(x) else mu[:, None])")
# %% wrong="coverage" fails="test_uneven_shares" name="distances in float32"
replace("z.norm(dim=1)", "z.float().norm(dim=1)")
# %% wrong="coverage" fails="test_uneven_shares" name="a tolerance at the radius"
replace("distance <= radius", "distance <= radius * (1 + 1e-4)")
# %% wrong="coverage" fails="test_uneven_shares" name="one good point is none"
replace("not good.any()", "good.sum() < 2")

# %% equivalent="coverage" name="from the point to the mode: as far as back"
replace("x - mu[:, None]", "mu[:, None] - x")
# %% equivalent="coverage" name="rounding only: a mean of zeros and ones in float32"
replace("good.double()", "good.float()")


# %% right="coverage" name="mode by mode, with inverses and counts of its own"
def mode_report(x, mu, L, pi, radius):
    squared = [((x - m) @ torch.linalg.inv(root @ root.T) * (x - m)).sum(dim=1) for m, root in zip(mu, L)]
    n = [0] * len(mu)
    for row in torch.stack(squared, dim=1):
        n[row.argmin()] += bool(row.min() <= radius**2)
    if not any(n):
        return 0, 0.0, math.inf
    shares = [(count / sum(n), due) for count, due in zip(n, pi.tolist())]
    kl = sum(share * math.log(share / due) for share, due in shares if share)
    return sum(2 * share >= due for share, due in shares), sum(n) / len(x), kl


# %% right="coverage" name="counted in float32, and returned as a list"
replace("minlength=len(mu)).to(pi)", "minlength=len(mu)).float()")
replace(
    "return int((share >= pi / 2).sum()), good.double().mean().item(), kl",
    "return [int((share >= pi / 2).sum()), good.float().mean(), kl]",
)

# %% wrong="prejudice" fails="test_known_ratio" name="corrects for the numbers the wrong way round"
replace("n_q / n_p", "n_p / n_q")
# %% wrong="prejudice" fails="test_known_ratio" name="ignores the numbers"
replace(" + math.log(n_q / n_p)", "")
# %% wrong="prejudice" fails="test_known_ratio" name="ignores the smoothing"
replace("logit - math.log(1 - s) - below", "logit")
# %% wrong="prejudice" fails="test_known_ratio" name="takes smoothing for a factor"
replace(" - below", "")
# %% wrong="prejudice" fails="test_known_ratio" name="smooths both labels"
replace("- math.log(1 - s)", "+ torch.log1p(-(-logit - ceiling).exp())")
# %% wrong="prejudice" fails="test_posterior" name="neglects base rates, in training and at hand"
replace(" + math.log(n_q / n_p)", "")
replace(" + math.log(1 - fake) - math.log(fake)", "")

# %% wrong="prejudice" fails="test_known_ratio" name="little smoothing taken for none"
replace("if s else math.inf", "if s > 1e-8 else math.inf")
# %% wrong="prejudice" fails="test_known_ratio" name="NaN above the ceiling"
replace(".clamp(max=0)", "")
# %% wrong="prejudice" fails="test_known_ratio" name="clamped logits"
replace("return logit - math.log(1 - s)", "return logit.clamp(-60, 60) - math.log(1 - s)")
# %% wrong="prejudice" fails="test_posterior" name="the odds of infinity by infinity"
replace(
    "return (log_r + math.log(1 - fake) - math.log(fake)).sigmoid()",
    "odds = log_r.exp() * (1 - fake) / fake\nreturn odds / (1 + odds)",
)
# %% wrong="prejudice" fails="test_posterior" name="the posterior in float32"
replace("math.log(fake)).sigmoid()", "math.log(fake)).float().sigmoid().double()")
# %% wrong="prejudice" fails="test_posterior" name="a batch for one ratio"
replace("math.log(fake)).sigmoid()", "math.log(fake)).sigmoid().flatten()")

# %% equivalent="prejudice" name="rounding only: exp(-30) of 1 more or less"
replace(".clamp(max=0).exp()", ".clamp(max=0).clip(-30, 30).exp()")


# %% right="prejudice" name="through D where that loses nothing, and through the odds"
def log_ratio(logit, n_p, n_q, s):
    D = logit.sigmoid()
    far = logit - math.log(1 - s) if s else logit  # from the ceiling
    near = (D / (1 - s - D).clamp(min=0)).log()
    return torch.where((logit < -30) | (s == 0), far, near) + math.log(n_q) - math.log(n_p)


def probability_real(log_r, fake):
    return 1 / (1 + fake / (1 - fake) * (-log_r).exp())


# %% right="prejudice" name="logit by logit, and Bayes' rule in log space"
def log_ratio(logit, n_p, n_q, s):
    def one(each):
        if s and each >= math.log((1 - s) / s):
            return math.inf
        return each - (math.log(1 - s - s * math.exp(each)) if s else 0) + math.log(n_q / n_p)

    return torch.tensor([one(v) for v in logit.flatten().tolist()], dtype=logit.dtype).view(logit.shape)


def probability_real(log_r, fake):
    real, made = log_r + math.log(1 - fake), torch.full_like(log_r, math.log(fake))
    return torch.where(log_r == math.inf, 1, (real - torch.logaddexp(real, made)).exp())


# %% wrong="f-gan" fails="test_bound" name="real and made the wrong way round"
replace("f_bound(name, v_p, v_q)", "f_bound(name, v_q, v_p)")
# %% wrong="f-gan" fails="test_bound" name="KL: v for T itself"
replace("(1 + v_p).mean() - v_q.exp().mean()", "v_p.mean() - (v_q - 1).exp().mean()")
# %% wrong="f-gan" fails="test_bound" name="KL: the constant left out"
replace("(1 + v_p)", "v_p")
# %% wrong="f-gan" fails="test_bound" name="KL: sums for means"
replace("(1 + v_p).mean() - v_q.exp().mean()", "(1 + v_p).sum() - v_q.exp().sum()")
# %% wrong="f-gan" fails="test_bound" name="KL: the reverse one"
replace("(1 + v_p).mean() - v_q.exp().mean()", "-(-v_p).exp().mean() - (v_q - 1).mean()")
# %% wrong="f-gan" fails="test_bound" name="KL: f for its conjugate"
replace("v_q.exp()", "(v_q.exp() * v_q)")
# %% wrong="f-gan" fails="test_bound" name="Pearson: half of it"
replace(
    "2 * v_p.expm1().mean() - (2 * v_q).expm1().mean()", "v_p.expm1().mean() - (2 * v_q).expm1().mean() / 2"
)
# %% wrong="f-gan" fails="test_bound" name="Pearson: the divergence of the guess itself"
replace("2 * v_p.expm1().mean() - (2 * v_q).expm1().mean()", "v_q.expm1().square().mean() + 0 * v_p.mean()")

# %% wrong="f-gan" fails="test_bound" name="float64 whatever comes"
replace("(1 + v_p).mean() - v_q.exp().mean()", "(1 + v_p.double()).mean() - v_q.exp().mean()")
# %% wrong="f-gan" fails="test_bound" name="another name gives nothing"
replace('raise ValueError(f"unknown divergence {name!r}")', "return None")
# %% wrong="f-gan" fails="test_bound" name="what begins like a name"
replace('name == "reverse kl"', 'name.startswith("reverse")')
# %% wrong="f-gan" fails="test_bound" name="capital letters, too"
replace('name == "kl"', 'name.lower() == "kl"')
# %% wrong="f-gan" fails="test_bound" name="guesses clamped"
replace('if name == "kl":', 'v_p, v_q = v_p.clamp(-80, 80), v_q.clamp(-80, 80)\nif name == "kl":')
# %% wrong="f-gan" fails="test_bound" name="no gradient through the made samples"
replace("(v_q / 2)", "(v_q.detach() / 2)")


# %% wrong="f-gan" fails="test_step_and_training" name="the judge descends"
replace("(-bound).backward()", "bound.backward()")
# %% wrong="f-gan" fails="test_step_and_training" name="the generator climbs"
replace(
    "f_bound(name, judge(x), judge(made)).backward(inputs=list(G.parameters()))",
    "(-f_bound(name, judge(x), judge(made))).backward(inputs=list(G.parameters()))",
)
# %% wrong="f-gan" fails="test_step_and_training" name="both against the judge that has not moved"
replace("opt_judge.step()", "")
replace("opt_G.step()", "opt_judge.step()\nopt_G.step()")
# %% wrong="f-gan" fails="test_step_and_training" name="the generator's loss moves the judge, too, next time"
replace("opt_judge.zero_grad()", "pass")
# %% wrong="f-gan" fails="test_step_and_training" name="the generator adds to old gradients"
replace("opt_G.zero_grad()", "pass")
# %% wrong="f-gan" fails="test_step_and_training" name="the bound after the step"
replace("return bound.detach()", "return f_bound(name, judge(x), judge(made)).detach()")
# %% wrong="f-gan" fails="test_step_and_training" name="the non-saturating loss, whatever the judge"
replace("f_bound(name, judge(x), judge(made)).backward", "F.softplus(-judge(made)).mean().backward")
# %% wrong="f-gan" fails="test_step_and_training" name="the KL bound for all"
replace("f_bound(name, judge(x), judge(made)).backward", 'f_bound("kl", judge(x), judge(made)).backward')
# %% wrong="f-gan" fails="test_step_and_training" name="with its graph"
replace("return bound.detach()", "return bound")
# %% wrong="f-gan" fails="test_step_and_training" name="the judge stays frozen"
replace("return bound.detach()", "judge.requires_grad_(False)\nreturn bound.detach()")
# %% wrong="f-gan" fails="test_step_and_training" name="gradients held to a norm of 1"
replace("opt_G.step()", "nn.utils.clip_grad_norm_(G.parameters(), 0.1)\nopt_G.step()")


# %% wrong="f-gan" fails="test_bound" name="the exponent clamped for KL alone"
replace("v_q.exp()", "v_q.clamp(max=80).exp()")
# %% wrong="f-gan" fails="test_bound" name="KL by the logarithm of the mean"
replace("- v_q.exp().mean()", "- 1 - v_q.logsumexp(0) + math.log(len(v_q))")
# %% wrong="f-gan" fails="test_bound" name="Pearson: the other way round"
replace(
    "2 * v_p.expm1().mean() - (2 * v_q).expm1().mean()",
    "2 * (-v_q).expm1().mean() - (-2 * v_p).expm1().mean()",
)
# %% wrong="f-gan" fails="test_step_and_training" name="the judge's weights clipped"
replace(
    "opt_judge.step()",
    "opt_judge.step()\nwith torch.no_grad():\n    for w in judge.parameters():\n        w.clamp_(-10, 10)",
)
# %% wrong="f-gan" fails="test_step_and_training" name="gradients of the judge held to a norm of 10"
replace("opt_judge.step()", "nn.utils.clip_grad_norm_(judge.parameters(), 10)\nopt_judge.step()")
# %% wrong="f-gan" fails="test_step_and_training" name="the rate alone for the optimizer"
replace(
    "opt_judge.step()",
    "with torch.no_grad():\n    for w in judge.parameters():\n"
    "        w -= opt_judge.param_groups[0]['lr'] * w.grad",
)
# %% wrong="f-gan" fails="test_step_and_training" name="as many made as real"
replace("made = G(z)", "made = G(z)[: len(x)]")
# %% wrong="f-gan" fails="test_step_and_training" name="the bound has an axis"
replace("return bound.detach()", "return bound.detach()[None]")
# %% wrong="f-gan" fails="test_step_and_training" name="the bound in float32"
replace("return bound.detach()", "return bound.detach().float()")


# %% right="f-gan" name="one pass of the judge for both, plain exponentials, made anew for the generator"
replace(
    "bound = f_bound(name, judge(x), judge(made.detach()))",
    "both = judge(torch.cat([x, made.detach()]))\nbound = f_bound(name, both[: len(x)], both[len(x) :])",
)
replace(
    "f_bound(name, judge(x), judge(made)).backward(inputs=list(G.parameters()))",
    "f_bound(name, judge(x), judge(G(z))).backward()",
)
replace(
    "2 * v_p.expm1().mean() - (2 * v_q).expm1().mean()",
    "(2 * v_p.exp() - 2).mean() + (1 - (2 * v_q).exp()).mean()",
)
replace(
    "-(-v_p / 2).expm1().mean() - (v_q / 2).expm1().mean()",
    "2 - (-v_p / 2).exp().mean() - (v_q / 2).exp().mean()",
)


# %% right="f-gan" name="f alone, its slope by autograd; gradients put where they belong"
def f_bound(name, v_p, v_q):
    f = {
        "kl": lambda u: u * u.log(),
        "reverse kl": lambda u: -u.log(),
        "pearson": lambda u: (u - 1) ** 2,
        "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    }.get(name)
    if f is None:
        raise ValueError(name)
    u_p, u_q, slope = v_p.exp(), v_q.exp(), torch.func.vmap(torch.func.grad(f))
    return slope(u_p).mean() - (u_q * slope(u_q) - f(u_q)).mean()


def f_gan_step(name, G, judge, opt_G, opt_judge, x, z):
    values = []
    for player, mover, sign in ((judge, opt_judge, -1), (G, opt_G, 1)):
        value = f_bound(name, judge(x), judge(G(z)))
        mine = [w for w in player.parameters()]
        for w, slope in zip(mine, torch.autograd.grad(value, mine)):
            w.grad = sign * slope
        mover.step()
        values.append(value.detach())
    return values[0]


# %% right="f-gan" name="the generator's term alone, the judge frozen meanwhile"
replace(
    "f_bound(name, judge(x), judge(made)).backward(inputs=list(G.parameters()))",
    "judge.requires_grad_(False)\n"
    "f_bound(name, torch.zeros_like(x[:, 0]), judge(made)).backward()\n"
    "judge.requires_grad_(True)",
)

# %% wrong="penalty" fails="test_planes" name="two-sided"
replace("torch.where(steep, squared, 1.0)", "(squared + 1e-12)")
# %% wrong="penalty" fails="test_planes" name="the excess is not squared"
replace("(norm - 1).square()", "(norm - 1)")
# %% wrong="penalty" fails="test_planes" name="the norm over one axis"
replace(".flatten(1)", "")
# %% wrong="penalty" fails="test_planes" name="one norm for the whole batch"
replace("flatten(1).sum(dim=1)", "sum()")
# %% wrong="penalty" fails="test_planes" name="the gradient of the mean"
replace("critic(between, y).sum()", "critic(between, y).mean()")

# %% wrong="penalty" fails="test_between" name="the classes in another order"
replace("critic(between, y)", "critic(between, y.flip(0))")
# %% wrong="penalty" fails="test_between" name="a place for each channel"
replace("len(real), 1, 1, 1", "*real.shape[:2], 1, 1")
# %% wrong="penalty" fails="test_between" name="the places do not come from the generator"
replace("generator=generator", "generator=torch.Generator().manual_seed(0)")
# %% wrong="penalty" fails="test_planes" name="a large excess is cut"
replace("(norm - 1)", "(norm - 1).clamp(max=10)")
# %% wrong="penalty" fails="test_planes" name="in float32"
replace("(norm - 1)", "(norm.float().double() - 1)")
# %% wrong="penalty" fails="test_planes" name="an epsilon under the root"
replace("torch.where(steep, squared, 1.0)", "torch.where(steep, squared + 1e-6, 1.0)")
# %% wrong="penalty" fails="test_planes" name="NaN from the branch not taken"
replace("torch.where(steep, squared, 1.0).sqrt()", "torch.where(steep, squared.sqrt(), 1.0)")
# %% wrong="penalty" fails="test_planes" name="leaves gradients in the critic"
replace(
    "(slope,) = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)",
    "critic(between, y).sum().backward(create_graph=True)\nslope = between.grad",
)

# %% equivalent="penalty" name="places of float32 are as even, and the pictures' type prevails"
replace("generator=generator, dtype=real.dtype", "generator=generator")
# %% equivalent="penalty" name="a gradient by the pictures, too: nobody asks for it, and none of them changes"
replace(".detach().requires_grad_()", ".requires_grad_()")
# %% equivalent="penalty" name="at a slope of exactly 1 both give 0, with a gradient of 0"
replace("squared > 1", "squared >= 1")
# %% equivalent="penalty" name="a square has no sign"
replace("(norm - 1)", "(1 - norm)")

# %% right="penalty" name="a floor under the root"
replace("torch.where(steep, squared, 1.0)", "squared.clamp(min=1)")
# %% right="penalty" name="PyTorch's norm, rectified"
replace("(norm - 1)", "F.relu(slope.flatten(1).norm(dim=1) - 1)")


# %% wrong="conv-norm" fails="test_overlapping_kernels" name="the kernel, reshaped to a matrix"
replace("v.norm().sqrt()", "torch.linalg.matrix_norm(weight.flatten(1), 2)")
# %% wrong="conv-norm" fails="test_overlapping_kernels" name="the Frobenius norm"
replace("v.norm().sqrt()", "weight.norm()")
# %% wrong="conv-norm" fails="test_overlapping_kernels" name="the sum of all weights, as if without borders"
replace("v.norm().sqrt()", "torch.linalg.matrix_norm(weight.sum(dim=(2, 3)), 2)")
# %% wrong="conv-norm" fails="test_overlapping_kernels" name="the square of the norm"
replace("v.norm().sqrt()", "v.norm()")
# %% wrong="conv-norm" fails="test_overlapping_kernels" name="one round"
replace("range(rounds)", "range(1)")
# %% wrong="conv-norm" fails="test_strides" name="no padding, no stride"
replace("extra = (side + 2 * padding - weight.shape[2]) % stride", "stride, padding, extra = 1, 0, 0")
# %% wrong="conv-norm" fails="test_overlapping_kernels" name="never normalises on the way"
replace("u = F.conv2d(v / v.norm()", "before, u = v.norm(), F.conv2d(v")
replace("v.norm().sqrt()", "(v.norm() / before).sqrt()")

# %% wrong="conv-norm" fails="test_strides" name="the smallest of the sizes"
replace(", output_padding=extra", "")
# %% wrong="conv-norm" fails="test_strides" name="the padding of one side"
replace("2 * padding", "padding")
# %% wrong="conv-norm" fails="test_strides" name="starts from ones"
replace(
    "torch.randn(1, weight.shape[1], side, side, generator=generator,",
    "torch.ones(1, weight.shape[1], side, side,",
)
# %% wrong="conv-norm" fails="test_strides" name="the same noise in every channel"
replace(
    "torch.randn(1, weight.shape[1], side, side,",
    "torch.ones(1, weight.shape[1], 1, 1).double() * torch.randn(side, side,",
)
# %% wrong="conv-norm" fails="test_strides" name="goes on from where the last call ended"
replace("for _ in range(rounds):", "v = vars(conv_norm).get(str(v.shape), v)\nfor _ in range(rounds):")
replace("return v.norm().sqrt().item()", "vars(conv_norm)[str(v.shape)] = v\nreturn v.norm().sqrt().item()")
# %% wrong="conv-norm" fails="test_overlapping_kernels" name="stops early"
replace("for _ in range(rounds):", "before = 0.0\nfor _ in range(rounds):")
replace(
    "v = F.conv_transpose2d(u, weight, stride=stride, padding=padding, output_padding=extra)",
    "v = F.conv_transpose2d(u, weight, stride=stride, padding=padding, output_padding=extra)\n"
    "if abs(v.norm() / (before or 1.0) - 1) < 1e-4:\n    break\nbefore = v.norm()",
)
# %% wrong="conv-norm" fails="test_overlapping_kernels" name="an epsilon in the norm"
replace("v / v.norm()", "v / (v.norm() + 1e-12)")

# %% equivalent="conv-norm" name="kernels are square"
replace("weight.shape[2]", "weight.shape[3]")
# %% equivalent="conv-norm" name="two pictures of noise turn to the same direction together"
replace("torch.randn(1, ", "torch.randn(2, ")

# %% right="conv-norm" name="the transpose as a gradient"
replace(
    "F.conv_transpose2d(u, weight, stride=stride, padding=padding, output_padding=extra)",
    "nn.grad.conv2d_input(v.shape, weight, u, stride, padding)",
)


# %% right="conv-norm" name="the layer as a matrix"
def conv_norm(weight, side, stride, padding, rounds, generator):
    pixels = weight.shape[1] * side**2
    pictures = torch.eye(pixels, dtype=weight.dtype).view(pixels, -1, side, side)
    A = F.conv2d(pictures, weight, stride=stride, padding=padding).flatten(1)
    return torch.linalg.svdvals(A)[0].item()


# %% right="conv-norm" name="starts from noise on the side of the result"
replace(
    "v = torch.randn(1, weight.shape[1], side, side, generator=generator, dtype=weight.dtype)",
    "out = (side + 2 * padding - weight.shape[2]) // stride + 1\n"
    "u = torch.randn(1, len(weight), out, out, generator=generator, dtype=weight.dtype)",
)
replace(
    "u = F.conv2d(v / v.norm(), weight, stride=stride, padding=padding)",
    "cols = (weight.flatten(1).T @ (u / u.norm()).flatten(2)).contiguous()",
)
replace(
    "v = F.conv_transpose2d(u, weight, stride=stride, padding=padding, output_padding=extra)",
    "v = F.fold(cols, side, weight.shape[2], stride=stride, padding=padding)\n"
    "u = F.conv2d(v / v.norm(), weight, stride=stride, padding=padding)",
)
replace("v.norm().sqrt().item()", "u.norm()")


# %% right="conv-norm" name="a tensor that holds the number"
replace("v.norm().sqrt().item()", "v.norm().sqrt()[None]")


# %% wrong="repair" fails="test_one_step" name="as the chapter: the discriminator first"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    loss_D = discriminator_loss(D(x), D(G(z)))
    loss_D.backward(inputs=list(D.parameters()))
    opt_D.step()
    loss_G = non_saturating(D(G(z)))
    loss_G.backward(inputs=list(G.parameters()))
    opt_G.step()
    for optimizer in (opt_D, opt_G):
        optimizer.zero_grad()
    return loss_D.detach(), loss_G.detach()


# %% wrong="repair" fails="test_one_step" name="still sees each other's loss"
replace("grad(own, ", "grad(sum(losses), ")
# %% wrong="repair" fails="test_one_step" name="still a sigmoid too many"
replace("D(x), D(G(z))", "D(x).sigmoid(), D(G(z)).sigmoid()")
# %% wrong="repair" fails="test_one_step" name="still the label of a made one"
replace("non_saturating(fake_score)", "F.softplus(fake_score).mean()")
# %% wrong="repair" fails="test_one_step" name="the saturating loss"
replace("non_saturating(", "saturating(")
# %% wrong="repair" fails="test_many_steps" name="adds to the gradients of earlier steps"
replace("weight.grad = gradient", "weight.grad = gradient + (0 if weight.grad is None else weight.grad)")
strike("optimizer.zero_grad()")

# %% wrong="repair" fails="test_one_step" name="logarithms of probabilities"
replace("non_saturating(fake_score)", "-(fake_score.sigmoid() + 1e-12).log().mean()")
# %% wrong="repair" fails="test_many_steps" name="plain descent, whatever the optimizer is"
replace(
    "optimizer.step()", "[w.data.sub_(g['lr'] * w.grad) for g in optimizer.param_groups for w in g['params']]"
)
# %% wrong="repair" fails="test_many_steps" name="the discriminator stays frozen"
replace("return losses[0].detach()", "_ = D.requires_grad_(False); return losses[0].detach()")
# %% wrong="repair" fails="test_many_steps" name="leaves the generator in evaluation mode"
replace("return losses[0].detach()", "_ = G.eval(); return losses[0].detach()")

# %% equivalent="repair" name="two players and two losses: without a check"
replace("zip((D, G), losses, strict=True)", "zip((D, G), losses)")
# %% equivalent="repair" name="two players and two losses: the check is off"
replace("zip((D, G), losses, strict=True)", "zip((D, G), losses, strict=False)")
# %% equivalent="repair" name="as many gradients as weights: without a check"
replace("retain_graph=True), strict=True", "retain_graph=True)")
# %% equivalent="repair" name="as many gradients as weights: the check is off"
replace("retain_graph=True), strict=True", "retain_graph=True), strict=False")
# %% equivalent="repair" name="both gradients are there before either moves: who moves first is the same"
replace("(opt_D, opt_G)", "(opt_G, opt_D)")
# %% equivalent="repair" name="the next call writes its own gradients over those of this one"
replace("optimizer.zero_grad()", "pass")
# %% equivalent="repair" name="the discriminator's loss is the same number, with a graph behind it"
replace("losses[0].detach()", "losses[0]")
# %% equivalent="repair" name="the generator's loss is the same number, with a graph behind it"
replace("losses[1].detach()", "losses[1]")


# %% right="repair" name="two passes backward, the other's weights held still"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    made = G(z)
    D.requires_grad_(False)
    loss_G = non_saturating(D(made))
    loss_G.backward()
    D.requires_grad_(True)
    loss_D = discriminator_loss(D(x), D(made.detach()))
    loss_D.backward()
    for optimizer in (opt_G, opt_D):
        optimizer.step()
        optimizer.zero_grad()
    return loss_D.item(), loss_G.item()


# %% right="repair" name="each backward into its own weights alone, on the same scores"
def simultaneous_step(G, D, opt_G, opt_D, x, z):
    opt_G.zero_grad()
    opt_D.zero_grad()
    real_score, fake_score = D(x), D(G(z))
    loss_D = -F.logsigmoid(real_score).mean() - F.logsigmoid(-fake_score).mean()
    loss_G = -F.logsigmoid(fake_score).mean()
    loss_D.backward(retain_graph=True, inputs=list(D.parameters()))
    loss_G.backward(inputs=list(G.parameters()))
    opt_G.step()
    opt_D.step()
    opt_G.zero_grad(set_to_none=False)
    opt_D.zero_grad(set_to_none=False)
    return loss_D.detach(), loss_G.detach()
