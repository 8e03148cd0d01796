"""Lesson 25_vqvae: its quantisers agree with vector-quantize-pytorch; errors and rates with known laws."""

import itertools
import math

import pytest
import torch
from course_root import COURSE
from lesson_runs import at_full_size

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "25_vqvae")


@pytest.fixture(scope="module")
def vq():
    return pytest.importorskip(
        "vector_quantize_pytorch", reason="vector-quantize-pytorch is in the extra bench"
    )


def vectors(n=500, D=8, seed=0):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def codebooks(lesson, vq, K=64, D=8, decay=0.97):
    """Ours and theirs, with the same codes and averages, without revival."""
    ours = lesson["Codebook"](K, D, decay=decay, floor=0, start=False)
    theirs = vq.VectorQuantize(D, K, decay=decay, threshold_ema_dead_code=0, rotation_trick=False)
    with torch.no_grad():
        theirs._codebook.embed.copy_(ours.codes[None])
        theirs._codebook.embed_avg.copy_(ours.m[None])
    return ours, theirs


@pytest.mark.parametrize(("K", "D"), [(64, 8), (5, 2), (512, 32), (7, 1)])
def test_the_codes_are_the_librarys(lesson, vq, K, D):
    ours, theirs = (book.eval() for book in codebooks(lesson, vq, K, D))
    z = vectors(400, D)
    (q, k, _), (q_theirs, k_theirs, _) = ours(z), theirs(z[None])
    assert torch.equal(k[:, 0], k_theirs[0])
    assert (q - q_theirs[0]).abs().max() <= 1e-6


def test_the_moving_averages_and_gradients_are_the_librarys(lesson, vq):
    ours, theirs = (book.train() for book in codebooks(lesson, vq))
    for step in range(20):
        z = [vectors(seed=step).requires_grad_() for _ in range(2)]
        (q, k, commitment), (q_theirs, k_theirs, loss) = ours(z[0]), theirs(z[1][None])
        assert torch.equal(k[:, 0], k_theirs[0]) and (q - q_theirs[0]).abs().max() <= 1e-6
        assert commitment.item() == pytest.approx(loss.item(), rel=1e-5)
        (q.sin().sum() + 3 * commitment).backward()
        (q_theirs.sin().sum() + 3 * loss).backward()
        assert (z[0].grad - z[1].grad).abs().max() <= 1e-5
    assert (ours.codes - theirs.codebook).abs().max() <= 1e-5
    assert (ours.n - theirs._codebook.cluster_size[0]).abs().max() <= 1e-4


def residuals(lesson, vq, stages=4, K=16, D=6):
    ours = lesson["ResidualCodebooks"](stages, K, D, start=False)
    theirs = vq.ResidualVQ(dim=D, num_quantizers=stages, codebook_size=K, quantize_dropout=True)
    with torch.no_grad():
        for s, (book, layer) in enumerate(zip(ours.books, theirs.layers, strict=True)):
            book.codes.mul_(0.6**s)
            layer._codebook.embed.copy_(book.codes[None])
    return ours.eval(), theirs.eval()


def test_residual_codes_are_the_librarys(lesson, vq):
    ours, theirs = residuals(lesson, vq)
    z = vectors(300, 6)
    (q, k, _), (q_theirs, k_theirs, _) = ours(z), theirs(z[None])
    assert torch.equal(k, k_theirs[0]) and (q - q_theirs[0]).abs().max() <= 1e-6
    for depth in (1, 2, 3):
        q, k, _ = ours(z, depth)
        assert (q - theirs.get_output_from_indices(k[None])[0]).abs().max() <= 1e-6


@pytest.mark.parametrize("levels", [(3,), (4,), (5, 4), (8, 6, 5), (8, 5, 5, 5), (7, 5, 5, 5, 5)])
def test_grid_points_are_the_librarys(lesson, vq, levels):
    ours, theirs = lesson["FSQ"](levels), vq.FSQ(levels=list(levels))
    z = [2 * vectors(600, len(levels)) for _ in range(2)]
    for each in z:
        each.requires_grad_()
    (q, _, commitment), (q_theirs, k_theirs) = ours(z[0]), theirs(z[1][None])
    assert (q - q_theirs[0]).abs().max() <= 1e-6 and commitment == 0
    assert torch.equal(lesson["fsq_number"](q.detach(), levels), k_theirs[0].long())
    every = torch.arange(math.prod(levels))
    assert (lesson["fsq_point"](every, levels) - theirs.implicit_codebook).abs().max() <= 1e-6
    q.sin().sum().backward()
    q_theirs.sin().sum().backward()
    assert (z[0].grad - z[1].grad).abs().max() <= 1e-5


def test_the_rotation_is_the_librarys(lesson, vq):
    from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

    z = [vectors(50, 5).requires_grad_() for _ in range(2)]
    q, pull = vectors(50, 5, 1), vectors(50, 5, 2)
    (lesson["rotate_through"](z[0], q) * pull).sum().backward()
    (rotate_to(z[1], q) * pull).sum().backward()
    assert torch.allclose(z[0].grad, z[1].grad, rtol=1e-3, atol=1e-4)


def test_a_beam_finds_what_greedy_misses(lesson, vq):
    """As wide as all spellings it is the best of them; one wide it is the library's greedy search."""
    ours, theirs = residuals(lesson, vq, stages=3, K=5, D=2)
    z, books = vectors(100, 2), torch.stack([book.codes for book in ours.books])
    k, greedy = lesson["beam_rvq"](z, books, 1)
    assert torch.equal(k, theirs(z[None])[1][0])
    every = torch.cartesian_prod(*[torch.arange(5)] * 3)
    points = sum(book[every[:, s]] for s, book in enumerate(books))
    _, error = lesson["beam_rvq"](z, books, 25)
    assert torch.allclose(error, torch.cdist(z, points).min(dim=1).values.square(), atol=1e-5)
    assert (error <= greedy + 1e-6).all() and (error < greedy - 1e-3).any()


@pytest.mark.parametrize(("K", "best"), [(2, 0.3634), (4, 0.1175), (8, 0.03454)])
def test_lloyd_reaches_max(lesson, K, best):
    """Max's table for a normal number; the uniform one has a formula."""
    n = 20_000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    start = ((torch.arange(K) + 0.5) / K * n).long()
    for z, wanted in ((torch.special.ndtri(u)[:, None], best), (u[:, None], 1 / (12 * K**2))):
        codes = lesson["lloyd"](z, z[start], 300)
        error = (z - codes[lesson["nearest"](z, codes)]).square().mean().item()
        assert error == pytest.approx(wanted, rel=5e-3)


def test_a_round_never_hurts(lesson):
    z = vectors(400, 3)
    codes, errors = z[:10] + 2, []
    for _ in range(8):
        errors.append((z - codes[lesson["nearest"](z, codes)]).square().mean().item())
        codes = lesson["lloyd"](z, codes, 1)
    assert all(b <= a + 1e-7 for a, b in itertools.pairwise(errors)) and errors[-1] < errors[0]


def test_perplexity(lesson):
    k = torch.tensor([0, 0, 1, 2])
    assert lesson["perplexity"](k, 5) == pytest.approx(2**1.5, rel=1e-6)
    assert lesson["perplexity"](torch.arange(64), 64) == pytest.approx(64, rel=1e-5)


def test_dead_codes_come_back(lesson):
    torch.manual_seed(0)
    book, z = lesson["Codebook"](32, 4, start=False), vectors(600, 4)
    book.codes.add_(50)
    book.m.copy_(book.codes)
    first = lesson["perplexity"](book.look_up(z)[1], 32)
    for _ in range(150):
        book.look_up(z)
    assert first < 3 and lesson["perplexity"](book.look_up(z)[1], 32) > 20
    assert book.look_up(z)[0].sub(z).square().mean() < 0.5


def test_the_walk_ends_where_the_formula_says(lesson):
    for c, beta in ((5.0, 1.0), (4.5, 3.0), (-2.0, 2.0)):
        q = min(max(c, 0), 3)
        start = 2.9 if c > 0 else 0.2
        assert lesson["walk"](c, beta, start=start)[-1] == pytest.approx(q + (c - q) / beta, abs=1e-3)


def test_spelling_and_drawing_keep_their_places(lesson):
    """Place i of a picture is row i // 4, column i % 4 of the encoder's map, and of the decoder's."""
    torch.manual_seed(0)
    model = lesson["Tokenizer"](8, 4, lesson["Codebook"](16, 4)).eval()
    x, h = torch.rand(3, 1, 16, 16), torch.randn(2, 4, 4, 4)
    q, seen = model.spell(x), model.encoder(x)
    for picture, row, column in ((0, 0, 0), (1, 2, 3), (2, 3, 1)):
        assert torch.equal(q[16 * picture + 4 * row + column], seen[picture, :, row, column])
    assert torch.allclose(model.draw(h.flatten(2).mT.flatten(0, 1)), model.decoder(h), atol=1e-6)


def test_the_prior_sees_no_future(lesson):
    torch.manual_seed(0)
    prior, y = lesson["Prior"](10, 32, 2), torch.tensor([3, 5])
    k = torch.randint(10, (2, 16))
    logits = prior(k, y)
    assert logits.shape == (2, 16, 10)
    for i in (0, 7, 15):
        other = k.clone()
        other[:, i:] = (other[:, i:] + 1) % 10
        assert torch.allclose(prior(other, y)[:, : i + 1], logits[:, : i + 1], atol=1e-5)
        assert torch.allclose(prior(k[:, :i], y)[:, -1], logits[:, i], atol=1e-5)


def test_one_step_at_full_size(lesson, monkeypatch):
    """The setting for a GPU: networks and books, one update of each, of eight pictures, on any device."""
    S = at_full_size(lesson, "25_vqvae", monkeypatch)
    x, y = lesson["x_train"][:8], lesson["y_train"][:8]
    model = lesson["Tokenizer"](S.C, S.D, lesson["Codebook"](S.K, S.D)).to(x.device)
    prior = lesson["Prior"](S.K, S.width, S.depth).to(x.device)
    assert sum(p.numel() for p in model.parameters()) > 2_500_000
    assert sum(p.numel() for p in prior.parameters()) > 4_000_000
    before = model.encoder[1].weight.clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=S.rate)
    assert lesson["update"](model.train(), optimizer, x).isfinite()
    assert not torch.equal(before, model.encoder[1].weight)
    k = lesson["pass_through"](model.eval(), x)[1][..., 0]
    assert lesson["perplexity"](k, S.K) > 1
    adam = torch.optim.AdamW(prior.parameters(), lr=S.rate)  # Muon counts in bf16: on a CPU for minutes
    assert lesson["prior_update"](prior, [adam], k, y).isfinite()
