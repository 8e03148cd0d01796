"""Lesson 06_gpt: logits agree with transformers' GPT-2, merges with tokenizers; masks, Muon and sampling."""

import itertools
import math

import pytest
import torch
from course_root import COURSE
from lesson_runs import at_full_size

from autograde.authoring.definitions import definitions
from genmap import data


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "06_gpt")


def randomise(model):
    g = torch.Generator().manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2, generator=g)
    return model.eval()


def gpt2_of(ours, transformers, heads):
    """transformers' GPT-2 with our weights; its Conv1D keeps them transposed, q, k and v in one."""
    V, C, T = ours.token.num_embeddings, ours.token.embedding_dim, ours.position.num_embeddings
    shape = {"vocab_size": V, "n_positions": T, "n_embd": C, "n_layer": len(ours.blocks), "n_head": heads}
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**shape, bos_token_id=0, eos_token_id=0)
    ).eval()
    pairs = [(theirs.transformer.wte, ours.token), (theirs.transformer.wpe, ours.position)]
    pairs += [(theirs.transformer.ln_f, ours.norm)]
    with torch.no_grad():
        for block, b in zip(theirs.transformer.h, ours.blocks, strict=True):
            pairs += [(block.ln_1, b.norm1), (block.ln_2, b.norm2)]
            a = b.attention
            block.attn.c_attn.weight.copy_(torch.cat([a.q.weight, a.kv.weight]).T)
            block.attn.c_attn.bias.copy_(torch.cat([a.q.bias, a.kv.bias]))
            linear = (block.attn.c_proj, a.out), (block.mlp.c_fc, b.mlp[0]), (block.mlp.c_proj, b.mlp[2])
            for conv, layer in linear:
                conv.weight.copy_(layer.weight.T)
                conv.bias.copy_(layer.bias)
    for their_layer, our_layer in pairs:
        their_layer.load_state_dict(our_layer.state_dict())
    return theirs


@pytest.mark.parametrize(("layers", "heads", "T"), [(1, 1, 5), (3, 4, 32), (2, 2, 1)])
def test_the_logits_are_those_of_gpt2(lesson, layers, heads, T):
    transformers = pytest.importorskip("transformers", reason="transformers is in the extra bench")
    ours = randomise(lesson["Transformer"](300, 32, 48, layers, heads))
    tokens = torch.randint(300, (3, T), generator=torch.Generator().manual_seed(1))
    theirs = gpt2_of(ours, transformers, heads)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    with torch.no_grad():
        a, b = ours.double()(tokens), theirs.double()(tokens).logits
    assert (a - b).abs().max() <= 1e-5 and a.std() > 0.1


def reference_merges(tokenizers, lesson, text, n):
    """The reference's merges, byte b written as the character 0x4E00 + b so that ties break alike."""
    words = ("".join(chr(0x4E00 + b) for b in piece.encode()) for piece in lesson["PIECE"].findall(text))
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    alphabet = [chr(0x4E00 + b) for b in range(256)]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=256 + n, initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator([" ".join(words)], trainer)
    return model


def test_merges_and_tokens_are_those_of_tokenizers(lesson):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is in the extra bench")
    import json

    prose = data.prose()
    ours = lesson["learn_merges"](prose.train, 300)
    model = reference_merges(tokenizers, lesson, prose.train, 300)
    parts = json.loads(model.to_str())["model"]
    theirs = [tuple(parts["vocab"][token] for token in pair) for pair in parts["merges"]]
    assert ours == theirs
    small = reference_merges(tokenizers, lesson, prose.train, len(lesson["merges"]))
    pieces = lesson["PIECE"].findall(prose.test[:5_000])
    words = ["".join(chr(0x4E00 + b) for b in piece.encode()) for piece in pieces]
    theirs = [i for word in words for i in small.encode(word).ids]
    assert lesson["to_pairs"](prose.test[:5_000]).tolist() == theirs


@pytest.mark.parametrize(
    "text", ["", " ", "a\n\n\n  b", "naïve 🥨 \x00 \u2003 ends ", "--------- x2==3 _a__b"]
)
def test_any_text_comes_back(lesson, text):
    assert "".join(lesson["PIECE"].findall(text)) == text
    assert lesson["to_text"](lesson["to_pairs"](text).tolist()) == text


def test_merging_little_texts(lesson):
    assert lesson["learn_merges"]("aaa aaa", 9)[0] == (97, 97)
    assert lesson["learn_merges"]("", 5) == []
    assert len(lesson["learn_merges"]("ab", 5)) == 1


@pytest.mark.parametrize("causal", [True, False])
def test_who_feels_whom(lesson, causal):
    model = randomise(lesson["Transformer"](50, 12, 16, 2, 2, causal=causal))
    felt = lesson["influence"](model, torch.arange(10)[None]) > 0
    assert torch.equal(felt, torch.ones(10, 10, dtype=torch.bool).tril() if causal else felt | True)


def test_weights_by_hand_are_what_the_fused_kernel_uses(lesson):
    model = randomise(lesson["Transformer"](50, 12, 16, 2, 2))
    tokens = torch.arange(12)[None]
    weights, x = lesson["heat"](model, tokens), model.embed(tokens)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 2, 12)) and weights.triu(1).abs().max() == 0
    attention = model.blocks[0].attention
    normed = model.blocks[0].norm1(x)
    by_hand = weights[0] @ attention.qkv(normed)[2][0]
    assert torch.allclose(
        attention.out(by_hand.transpose(0, 1).flatten(1)), attention(normed, causal=True)[0], atol=1e-4
    )


def test_an_encoder_without_positions_reads_a_bag(lesson):
    model = randomise(lesson["Translator"](16, 2, 2, positions=False))
    words = ["listen", "silent", "tinsel"]
    logits = model(lesson["to_letters"](words, 12), torch.ones(3, 1, dtype=torch.long))
    assert (logits - logits[:1]).abs().max() < 1e-4
    model.positions = True
    logits = model(lesson["to_letters"](words, 12), torch.ones(3, 1, dtype=torch.long))
    assert (logits[1:] - logits[:1]).abs().max() > 1e-3


def test_padding_changes_nothing(lesson):
    model = randomise(lesson["Translator"](16, 2, 2))
    source, y = lesson["to_letters"](["glyph"], 12), torch.tensor([[1, 5, 9]])
    assert torch.allclose(model(source, y), model(source[:, :5], y), atol=1e-4)


def test_newton_schulz_is_muons(lesson):
    muon = pytest.importorskip("torch.optim._muon")
    for shape in ((12, 30), (30, 12), (8, 8)):
        G = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        theirs = muon._zeropower_via_newtonschulz(G.clone(), (3.4445, -4.7750, 2.0315), 5, 1e-7).float()
        assert (lesson["newton_schulz"](G, 5) - theirs).abs().max() < 0.05  # theirs computes in bfloat16
        values = torch.linalg.svdvals(lesson["newton_schulz"](G, 5))
        assert values.max() < 1.3


def test_next_probabilities(lesson):
    choose, g = lesson["next_probabilities"], torch.Generator().manual_seed(0)
    logits = torch.randn(4, 50, generator=g, dtype=torch.float64)
    assert torch.allclose(choose(logits, 0.7), (logits / 0.7).softmax(-1))
    assert torch.equal(choose(logits, 0), torch.nn.functional.one_hot(logits.argmax(-1), 50).double())
    for k, p in itertools.product((1, 7, None), (0.01, 0.5, 1.0)):
        q = choose(logits, 1.3, k, p)
        kept = (logits / 1.3).softmax(-1).where(q > 0, 0)
        assert torch.allclose(q, kept / kept.sum(-1, keepdim=True))
        assert (q > 0).sum(-1).max() <= (k or 50)
        likeliest = torch.where(q > 0, 0, logits).masked_fill(q > 0, -math.inf).amax(-1)  # of those left out
        assert (torch.where(q > 0, logits, math.inf).amin(-1) >= likeliest).all()
    p = logits.softmax(-1)
    q = choose(logits, top_p=0.6)
    for a, b in zip(p, q, strict=True):
        assert a[b > 0].sum() >= 0.6 > a[b > 0].sum() - a[b > 0].min()


def test_bits_per_byte_of_a_model_that_knows_nothing(lesson):
    model = lesson["Transformer"](256, 8, 8, 1, 1)
    torch.nn.init.zeros_(model.token.weight)
    text = torch.randint(256, (1_000,), generator=torch.Generator().manual_seed(0))
    assert lesson["bits_per_byte"](model, text, 1_000) == pytest.approx(8)
    assert lesson["bits_per_byte"](model, text, 2_000) == pytest.approx(4)


def test_pig_latin(lesson):
    words = {"string": "ingstray", "apple": "appleay", "rhythm": "rhythmay", "python": "onpythay"}
    assert {word: lesson["pig_latin"](word) for word in words} == words
    assert not set(lesson["known"]) & set(lesson["held_out"])
    row = lesson["to_letters"](["string"], 17, ends=True)[0]
    assert lesson["to_word"](row) == "string"


def test_one_step_at_full_size(lesson, monkeypatch):
    """The setting for a GPU: decoders and translator, one update each of two rows, on any device."""
    S = at_full_size(lesson, "06_gpt", monkeypatch, batch=2, pig_batch=2)
    device, vocabulary = lesson["device"], 256 + S.merges
    gpt = lesson["Transformer"](256, S.context, S.plays_width, 6, 6, S.dropout).to(device)
    assert sum(p.numel() for p in gpt.parameters()) > 10_000_000
    small = lesson["Transformer"](vocabulary, S.context, S.width, S.layers, S.heads, S.dropout).to(device)
    pig = lesson["Translator"](S.pig_width, 2, 4).to(device)
    text_loss = lesson["text_loss"](lesson["to_bytes"](data.prose().train))
    for model, loss_of in ((gpt, text_loss), (small, text_loss), (pig, lesson["pig_loss"](0))):
        before = [p.detach().clone() for p in model.parameters()]
        # by AdamW: Muon counts in bf16, on a CPU for minutes
        losses, _ = lesson["fit"](model, loss_of, 100, "one step", "adamw", stop=1)
        assert losses.shape == (1,) and 0 < losses[0] < 2 * math.log2(vocabulary)
        assert any(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_rotation_is_that_of_llama(lesson):
    llama = pytest.importorskip(
        "transformers.models.llama.modeling_llama", reason="transformers is in the extra bench"
    )
    q = torch.randn(2, 3, 9, 16, generator=torch.Generator().manual_seed(0))
    speed = 10_000.0 ** (-torch.arange(8) / 8)
    angle = (torch.arange(9)[:, None] * speed).repeat(1, 2)[None]
    theirs = llama.apply_rotary_pos_emb(q, q, angle.cos(), angle.sin())[0]
    assert torch.allclose(lesson["rotate"](q), theirs, atol=1e-5)


def test_the_block_of_today(lesson):
    model = randomise(lesson["Transformer"](50, 12, 16, 2, 2, positions=False, block=lesson["ModernBlock"]))
    tokens = torch.arange(12)[None]
    felt = lesson["influence"](model, tokens) > 0
    assert torch.equal(felt, torch.ones(12, 12, dtype=torch.bool).tril())
    swapped = tokens.clone()
    swapped[0, :2] = tokens[0, [1, 0]]
    assert (model(tokens)[0, -1] - model(swapped)[0, -1]).abs().max() > 1e-3
