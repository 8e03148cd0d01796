"""Lesson 27_clip: logits and losses are those of transformers and open_clip; the bound holds."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from course_root import COURSE
from torch.nn import functional as F

from autograde.authoring.definitions import definitions


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    return definitions(COURSE, "27_clip")


def vectors(N, D, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, N, D, generator=g) * torch.rand(2, N, 1, generator=g)


def tiny(kind):
    """A two-tower model of transformers, with random weights, and its inputs."""
    transformers = pytest.importorskip("transformers", reason="transformers is in the extra bench")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 49}
    config = getattr(transformers, f"{kind}Config")(
        text_config=text,
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        **({"projection_dim": 24} if kind == "CLIP" else {}),
    )
    model = getattr(transformers, f"{kind}Model")(config).eval()
    words = torch.cat([torch.randint(1, 49, (6, 7)), torch.full((6, 1), 49)], dim=1)
    return model, {"pixel_values": torch.randn(6, 3, 16, 16), "input_ids": words}


def test_logits_and_loss_are_transformers_clip(lesson):
    model, inputs = tiny("CLIP")
    with torch.no_grad():
        theirs = model(**inputs, return_loss=True)
        a, b = 3 * theirs.image_embeds, torch.rand(6, 1) * theirs.text_embeds  # lengths do not matter
        ours = lesson["clip_logits"](a, b, model.logit_scale)
    assert (ours - theirs.logits_per_image).abs().max() <= 1e-5
    assert abs(lesson["symmetric_loss"](ours) - theirs.loss) <= 1e-5


def test_logits_and_loss_are_transformers_siglip(lesson):
    model, inputs = tiny("Siglip")
    with torch.no_grad():
        theirs = model(**inputs, return_loss=True)
        a, b = theirs.vision_model_output.pooler_output, theirs.text_model_output.pooler_output
        logits = lesson["clip_logits"](a, b, model.logit_scale[0])
        ours = lesson["sigmoid_loss"](logits, model.logit_bias)
    assert (logits + model.logit_bias - theirs.logits_per_image).abs().max() <= 1e-5
    assert abs(ours - theirs.loss) <= 1e-5


def open_clip_losses():
    """open_clip's module of losses, by itself: it needs torch alone, the whole package torchvision."""
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        pytest.skip("open_clip is not installed")
    path = Path(found.submodule_search_locations[0]) / "loss.py"
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("N, D", [(16, 8), (2, 64), (256, 64)])
def test_losses_are_open_clips(lesson, N, D):
    theirs = open_clip_losses()
    a, b = vectors(N, D)
    unit, scale = (F.normalize(a, dim=1), F.normalize(b, dim=1)), torch.tensor(2.0).exp()
    logits = lesson["clip_logits"](a, b, torch.tensor(2.0))
    assert abs(lesson["symmetric_loss"](logits) - theirs.ClipLoss()(*unit, scale)) <= 1e-5
    bias = torch.tensor(-3.0)
    # a sum of hundreds of terms for each row: float32 allows seven digits of it
    wanted = theirs.SigLipLoss()(*unit, scale, bias)
    assert abs(lesson["sigmoid_loss"](logits, bias) - wanted) <= 1e-5 * max(1, wanted.item())


def test_the_bound_holds(lesson):
    """For the best critic it is below the information and below log N, for another critic lower."""
    g, rho, N = torch.Generator().manual_seed(0), 0.8, 64
    truth, found, worse = -2 * math.log(1 - rho**2), [], []
    for _ in range(100):
        x, y = lesson["gaussian_pairs"](N, rho, 4, g)
        best = lesson["gaussian_ratio"](x, y, rho)
        found.append(math.log(N) - lesson["symmetric_loss"](best).item())
        worse.append(math.log(N) - lesson["symmetric_loss"](best / 2).item())
    mean = sum(found) / len(found)
    assert truth - 0.4 < mean < truth < math.log(N) and sum(worse) / len(worse) < mean


def test_hidden_pairs_are_no_candidates(lesson):
    """A duplicate that is hidden leaves the loss as if its column and row were not asked."""
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 3, generator=g)
    y = torch.tensor([4, 4, 7])
    row = [
        F.cross_entropy(logits[0, [0, 2]][None], torch.tensor([0])),
        F.cross_entropy(logits[1, 1:][None], torch.tensor([0])),
    ]
    rows = (sum(row) + F.cross_entropy(logits[2][None], torch.tensor([2]))) / 3
    turned = logits.T
    column = [
        F.cross_entropy(turned[0, [0, 2]][None], torch.tensor([0])),
        F.cross_entropy(turned[1, 1:][None], torch.tensor([0])),
    ]
    columns = (sum(column) + F.cross_entropy(turned[2][None], torch.tensor([2]))) / 3
    hidden = (y[:, None] == y) & ~torch.eye(3, dtype=torch.bool)
    assert torch.allclose(lesson["symmetric_loss"](logits, hidden), (rows + columns) / 2)
