"""Glyphs: every one whole and legible, the parts fixed and apart, captions true, refusals in one line."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from genmap import data
from genmap.data import outlines

FACES = [face for faces in outlines.FACES for face in faces]


@pytest.fixture(scope="module")
def splits():
    return data.glyphs()


@pytest.fixture(scope="module")
def upright():
    """(face, character, 64, 64) of all faces and characters, without jitter."""
    paths = [outlines.outline(face, c) for face in FACES for c in data.CHARACTERS]
    maps = np.tile([[1.0, 0, 0.5], [0, 1.0, 1 - outlines.BASELINE]], (len(paths), 1, 1))
    return outlines.draw(paths, maps, 64).reshape(len(FACES), len(data.CHARACTERS), 64, 64)


def digest(part):
    return hash((part.x.tobytes(), part.y.tobytes(), part.style.tobytes(), tuple(part.captions)))


def test_the_documented_sizes_shapes_and_types(splits):
    assert [len(part.x) for part in splits] == [17280, 2160, 2160]
    for part in splits:
        assert part.x.shape == (len(part.y), 1, 16, 16)
        assert (part.x.dtype, part.y.dtype, part.style.dtype) == (np.float32, np.int64, np.int64)
        assert len(part.y) == len(part.style) == len(part.captions)


def test_ink_is_1_paper_is_0_in_255ths(splits):
    levels = splits.train.x * 255
    assert (splits.train.x.min(), splits.train.x.max()) == (0, 1)
    assert np.abs(levels - levels.round()).max() < 1e-4
    assert 0.05 < splits.train.x.mean() < 0.2


@pytest.mark.parametrize("part", range(3))
def test_every_character_in_every_style_equally_often(splits, part):
    pairs = np.bincount(splits[part].y * 12 + splits[part].style, minlength=36 * 12)
    assert pairs.tolist() == [(40, 5, 5)[part]] * 432


def test_captions_say_the_label_and_the_style(splits):
    for part in splits:
        for y, style, text in zip(part.y, part.style, part.captions, strict=True):
            assert text == data.caption(data.CAPITALS_AND_DIGITS[y], data.STYLES[style])
    assert len(set(splits.train.captions)) == 432
    assert data.caption("G", "bold italic serif") == "bold italic serif letter G"
    assert data.caption("7", "mono") == "mono digit 7"


def test_the_style_number_tells_family_weight_and_slant():
    for number, style in enumerate(data.STYLES):
        assert style.split()[-1] == ("sans", "serif", "mono")[number // 4]
        assert ("bold" in style) == bool(number // 2 % 2)
        assert ("italic" in style) == bool(number % 2)


def test_no_image_is_in_two_parts_or_twice(splits):
    images = [image.tobytes() for part in splits for image in part.x]
    assert len(set(images)) == len(images)


def test_the_order_says_nothing_of_the_class(splits):
    assert min(len(np.unique(splits.train.y[i : i + 360])) for i in range(0, 17280, 360)) > 30


def test_the_seed_changes_train_alone(splits):
    other = data.glyphs(seed=1)
    assert digest(other.train) != digest(splits.train)
    assert [digest(part) for part in other[1:]] == [digest(part) for part in splits[1:]]
    assert digest(data.glyphs(seed=1).train) == digest(other.train)


def test_the_number_of_training_images_changes_train_alone(splits):
    other = data.glyphs(each=2)
    assert len(other.train.x) == 864
    assert [digest(part) for part in other[1:]] == [digest(part) for part in splits[1:]]


def test_neither_matplotlib_settings_nor_other_random_numbers_nor_another_process_change_it(splits):
    code = (
        "import hashlib, numpy as np, matplotlib; from genmap import data;"
        "matplotlib.rcParams.update({'text.hinting': 'force_autohint', 'text.antialiased': False,"
        "'font.family': 'serif', 'path.snap': True, 'path.simplify': False, 'text.usetex': True});"
        "np.random.seed(5); print(hashlib.sha256(data.glyphs(each=1).test.x.tobytes()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert there.stdout.strip() == hashlib.sha256(splits.test.x.tobytes()).hexdigest()


def test_changing_the_arrays_harms_no_later_caller(splits):
    before = splits.test.x.copy()
    data.glyphs(each=1).test.x[:] = 0
    assert np.array_equal(data.glyphs(each=1).test.x, before)


def test_no_character_is_cut_off():
    """A fiftieth of the side stays free all round: at 64 pixels a whole row, where a cut would show."""
    for characters in (data.CHARACTERS, "MWQgj"):
        x = data.glyphs(64, characters, each=5).train.x
        assert max(x[..., 0, :].max(), x[..., -1, :].max(), x[..., 0].max(), x[..., -1].max()) == 0
    small = data.glyphs(16, data.CHARACTERS, each=5).train.x
    assert max(small[..., 0, :].max(), small[..., -1, :].max()) < 0.75  # the fiftieth is 0.3 of a pixel
    assert max(small[..., 0].max(), small[..., -1].max()) < 0.75


def test_capitals_stand_on_one_baseline_and_are_equally_high(upright):
    for character in "HEITL1":
        ink = upright[:, data.CHARACTERS.index(character)] > 127
        rows = ink.any(2)
        bottom = 63 - rows[:, ::-1].argmax(1)
        top = rows.argmax(1)
        assert np.ptp(bottom) <= 1, character
        assert abs(bottom.mean() + 1 - 64 * outlines.BASELINE) <= 1, character
        if character in "HEITL":
            assert np.ptp(top) <= 3, character


def test_all_faces_have_all_characters_and_no_two_look_alike(upright):
    flat = upright.reshape(-1, 64 * 64)
    assert (flat.sum(1) > 60 * 255).all()
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_bold_is_bolder_and_italic_leans(splits):
    """Of one family; the lean is the correlation of height with place to the right."""
    x, style = splits.train.x[:, 0].astype(float), splits.train.style
    ink = np.array([x[style == s].mean() for s in range(12)]).reshape(3, 2, 2)
    assert (ink[:, 1] > 1.2 * ink[:, 0]).all()
    row, column = np.mgrid[7.5:-8.5:-1, -7.5:8.5]
    lean = (x * row * column).sum((1, 2))
    lean = np.array([np.median(lean[style == s]) for s in range(12)]).reshape(3, 2, 2)
    assert (lean[..., 1] > lean[..., 0] + 25).all()


def test_less_jitter_is_less_variety():
    spread = [data.glyphs(each=40, characters="H", jitter=j).train.x.var(0).sum() for j in (0.1, 0.5, 1.0)]
    assert spread[0] < spread[1] < spread[2]


def test_labels_follow_the_characters_asked_for():
    part = data.glyphs(characters="gA", each=1).train
    assert {text.split()[-1]: y for text, y in zip(part.captions, part.y, strict=True)} == {"g": 0, "A": 1}


def test_held_out_captions_are_not_trained_on_but_tested(splits):
    unseen = data.unseen_captions()
    part = data.glyphs(held_out=unseen)
    assert not set(part.train.captions) & set(unseen)
    assert len(part.train.x) == len(part.train.captions) == len(part.train.y) == 17280 - 36 * 40
    assert set(part.test.captions) >= set(unseen)
    assert digest(part.test) == digest(splits.test)
    kept = [text not in unseen for text in splits.train.captions]
    assert np.array_equal(part.train.x, splits.train.x[kept])


def test_unseen_captions_leave_every_character_and_every_style():
    unseen = data.unseen_captions()
    left = {(c, s) for c in data.CAPITALS_AND_DIGITS for s in data.STYLES if data.caption(c, s) not in unseen}
    for c in data.CAPITALS_AND_DIGITS:
        assert sum((c, s) in left for s in data.STYLES) == 11
    for s in data.STYLES:
        assert sum((c, s) in left for c in data.CAPITALS_AND_DIGITS) == 33


def test_a_small_classifier_reads_them(splits):
    """A net of two convolutions; the letters O and the digits 0 of some styles are all but the same."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 24, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Conv2d(24, 48, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Flatten(), torch.nn.Linear(48 * 16, 36)),
    )
    x, y = torch.tensor(splits.train.x), torch.tensor(splits.train.y)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(3):
        for batch in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        accuracy = (net(torch.tensor(splits.test.x)).argmax(1).numpy() == splits.test.y).mean()
    assert accuracy > 0.96


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"size": 7}, "size is 7; it must be a whole number from 8 to 64"),
        ({"size": 65}, "size is 65"),
        ({"size": 16.5}, "size is 16.5"),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0 to"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"seed": None}, "seed is None"),
        ({"each": 0}, "each is 0"),
        ({"characters": ""}, "characters is ''"),
        ({"characters": "AÄ"}, "characters is 'AÄ'"),
        ({"characters": "AA"}, "characters is 'AA'; it must be different"),
        ({"characters": ["A"]}, "characters is"),
        ({"jitter": 0}, "jitter is 0"),
        ({"jitter": 1.5}, "jitter is 1.5"),
        ({"jitter": float("nan")}, "jitter is nan"),
        ({"held_out": ["serif letter Ä"]}, "held_out is .* such as"),
        ({"held_out": "serif letter A"}, "held_out is"),
        ({"held_out": ["serif letter a"]}, "held_out is"),
    ],
)
def test_wrong_arguments_get_one_line(arguments, says):
    with pytest.raises(ValueError, match=says) as caught:
        data.glyphs(**arguments)
    assert "\n" not in str(caught.value)
