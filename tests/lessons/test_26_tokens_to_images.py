"""Lesson 26_tokens_to_images: blocks and Gumbel-softmax agree with others, samplers with laws."""

import itertools
import math

import pytest
import torch
from course_root import COURSE
from lesson_runs import at_full_size

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "26_tokens_to_images")


def small(lesson, **how):
    torch.manual_seed(0)
    net = lesson["CodeTransformer"](3, N=4, d=16, layers=2, heads=2, **how)
    torch.nn.init.normal_(net.leave.weight)
    return net


def test_the_blocks_are_gpt2s(lesson):
    transformers = pytest.importorskip("transformers", reason="transformers is in the extra bench")
    net = lesson["CodeTransformer"](11, N=6, d=32, layers=2, heads=4)
    torch.nn.init.normal_(net.leave.weight)
    config = transformers.GPT2Config(vocab_size=1, n_positions=6, n_embd=32, n_layer=2, n_head=4)
    theirs = transformers.GPT2Model(config).eval()
    with torch.no_grad():
        theirs.wpe.weight.copy_(net.place)
        theirs.ln_f.load_state_dict(net.norm.state_dict())
        for a, b in zip(theirs.h, net.blocks, strict=True):
            a.ln_1.load_state_dict(b.norm1.state_dict())
            a.ln_2.load_state_dict(b.norm2.state_dict())
            pairs = (a.attn.c_attn, b.qkv), (a.attn.c_proj, b.out), (a.mlp.c_fc, b.up), (a.mlp.c_proj, b.down)
            for conv, linear in pairs:
                conv.weight.copy_(linear.weight.T)
                conv.bias.zero_()
        z, w = torch.randint(11, (5, 6)), torch.randint(1, 44, (5, 5))
        h = net.code(z) + net.caption(net.word(w).sum(1))[:, None]
        wanted = net.leave(theirs(inputs_embeds=h).last_hidden_state)
        assert (net(z, w) - wanted).abs().max() <= 1e-4


def test_gumbel_softmax_is_torchs(lesson):
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    ours = lesson["gumbel_softmax"](logits, 0.7, 1, torch.Generator().manual_seed(1))
    noise = -torch.empty_like(logits).exponential_(generator=torch.Generator().manual_seed(1)).log()
    assert torch.allclose(ours, ((logits + noise) / 0.7).softmax(1))
    torch.manual_seed(3)
    theirs = torch.nn.functional.gumbel_softmax(logits, 0.7, dim=1)
    torch.manual_seed(3)
    assert torch.allclose(lesson["gumbel_softmax"](logits, 0.7, 1), theirs, atol=1e-6)


def test_the_exact_gradient_is_autograds(lesson):
    logits = lesson["toy_logits"].clone().requires_grad_()
    (logits.softmax(0) * lesson["f_hard"]).sum().backward()
    assert torch.allclose(logits.grad, lesson["exact_gradient"])


def test_the_usage_terms_add_up(lesson):
    logits = torch.randn(6, 7, 4, 4, generator=torch.Generator().manual_seed(0))
    used, told = lesson["usage_terms"](logits)
    q = logits.softmax(1).movedim(1, -1)
    whole = torch.distributions.kl_divergence(
        torch.distributions.Categorical(q), torch.distributions.Categorical(torch.ones(7))
    ).mean()
    assert (used + told).item() == pytest.approx(whole.item(), rel=1e-5)
    assert used >= 0 and told >= 0


def test_the_adaptive_weight_balances(lesson):
    W = torch.randn(5, requires_grad=True)
    rec, fooled = (W**2).sum(), 7 * W.sin().sum()
    a, b = (
        torch.autograd.grad(rec, W, retain_graph=True)[0],
        torch.autograd.grad(fooled, W, retain_graph=True)[0],
    )
    assert lesson["adaptive_weight"](rec, fooled, W).item() == pytest.approx(
        (a.norm() / b.norm()).item(), rel=1e-3
    )


def test_a_patch_sees_twelve_pixels(lesson):
    critic = lesson["patch_discriminator"]()
    critic[3] = torch.nn.Identity()  # the normalisation looks at the whole picture
    x = torch.randn(1, 1, 16, 16, requires_grad=True)
    critic(x)[0, 0, 4, 4].backward()
    rows = (x.grad[0, 0].abs().sum(1) > 0).sum()
    assert rows == 12


def test_samples_follow_the_model(lesson):
    """The share of each of 81 sequences among samples, against the chain rule, with and without guidance."""
    net, words = small(lesson), lesson["read"](["letter G"]).expand(8_000, 5)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    for w in (1.0, 2.0):
        with torch.no_grad():
            logits = lesson["guided"](net, lesson["shifted"](every, 3), words[:81], w)
        p = logits.log_softmax(2).gather(2, every[:, :, None])[:, :, 0].sum(1).exp()
        z = lesson["write"](net, words, w, seed=1)
        found = torch.bincount((z * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81) / len(z)
        assert ((found - p).abs() <= 6 * (p * (1 - p) / len(z)).sqrt() + 1e-3).all()


def test_parallel_decoding_one_at_a_time(lesson):
    net, words = small(lesson, causal=False), lesson["read"](["digit 7"]).expand(50, 5)
    for passes in (1, 2, 3, 4, 9):
        z = lesson["fill_in"](net, words, passes)
        assert z.shape == (50, 4) and z.max() < 3 and z.min() >= 0


def test_committed_codes_stay(lesson):
    codes = torch.tensor([[5, 1, 5, 5]])
    guess, sure = torch.tensor([[0, 0, 2, 3]]), torch.tensor([[-1.0, -9.0, -0.1, -2.0]])
    assert lesson["keep_confident"](codes, guess, sure, 1, 5).tolist() == [[0, 1, 2, 5]]
    assert lesson["keep_confident"](codes, guess, sure, 0, 5).tolist() == [[0, 1, 2, 3]]


def test_the_hidden_share(lesson):
    u = torch.linspace(0, 0.999, 100)
    hidden = lesson["hide"](torch.zeros(100, 16), u)
    assert hidden.sum(1).tolist() == [max(1, math.ceil(16 * math.cos(math.pi / 2 * v))) for v in u.tolist()]


def test_merging_keeps_a_codebook(lesson):
    book = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    assert len(lesson["merge_codes"](book, torch.ones(20), 5).unique(dim=0)) <= 5
    mean = lesson["merge_codes"](book, torch.arange(20.0), 1)[0]
    assert torch.allclose(mean, torch.arange(20.0) @ book / 190, atol=1e-5)


def test_one_step_at_full_size(lesson, monkeypatch):
    """The setting for a GPU: tokenizer with discriminator, and both priors, one update each at full size."""
    S = at_full_size(lesson, "26_tokens_to_images", monkeypatch)
    x, words = lesson["x_train"][:4], lesson["words_train"][:4]
    vqgan = lesson["VQGAN"](S.channels, S.codes).to(x.device)
    critic = lesson["patch_discriminator"]().to(x.device)
    optimizers = [torch.optim.AdamW(m.parameters(), 1e-3) for m in (vqgan, critic)]
    assert lesson["tokenizer_step"](vqgan, critic, optimizers, x, True).isfinite()
    assert lesson["DVAE"](S.channels, 128).to(x.device).loss(x).isfinite()
    z = lesson["all_codes"](vqgan, x)
    for causal, loss in ((True, lesson["raster_loss"]), (False, lesson["masked_loss"])):
        net = lesson["CodeTransformer"](S.codes, d=S.width, layers=S.layers, causal=causal).to(x.device)
        assert sum(p.numel() for p in net.parameters()) > 4_000_000
        before = net.leave.weight.detach().clone()
        adam = torch.optim.AdamW(net.parameters(), 1e-3)  # Muon counts in bf16: on a CPU for minutes
        assert lesson["prior_step"](net, loss, [adam], z, words).isfinite()
        assert not torch.equal(before, net.leave.weight)
