"""Texts, clips and pictures made without a download: fixed, apart, and what their labels say."""

import hashlib
import os
import subprocess
import sys
import tokenize

import numpy as np
import pytest

from genmap import data
from genmap.data import texts

MAKERS = {
    "plucks": lambda **k: data.plucks(**{"each": 4} | k),
    "melodies": lambda **k: data.melodies(**{"n": 30} | k),
    "moving_glyphs": lambda **k: data.moving_glyphs(**{"each": 4} | k),
    "shapes": lambda **k: data.shapes(**{"n": 500} | k),
    "pairs": lambda **k: data.shapes(**{"n": 500, "objects": 2, "size": 32} | k),
}


def digest(part):
    if isinstance(part, str):
        return hashlib.sha256(part.encode()).hexdigest()
    fields = [a.tobytes() if isinstance(a, np.ndarray) else repr(a).encode() for a in part]
    return hashlib.sha256(b"".join(fields)).hexdigest()


@pytest.mark.parametrize("name", MAKERS)
def test_the_seed_changes_train_alone_and_gives_the_same_again(name):
    first, again, other = MAKERS[name](), MAKERS[name](), MAKERS[name](seed=1)
    assert [digest(part) for part in first] == [digest(part) for part in again]
    assert digest(first.train) != digest(other.train)
    assert [digest(part) for part in first[1:]] == [digest(part) for part in other[1:]]


@pytest.mark.parametrize("name", MAKERS)
def test_no_example_is_in_two_parts_and_all_are_float32(name):
    splits = MAKERS[name]()
    examples = [example.tobytes() for part in splits for example in part.x]
    assert len(set(examples)) == len(examples)
    for part in splits:
        assert part.x.dtype == np.float32 and np.isfinite(part.x).all()
        for field in part[1:]:
            assert len(field) == len(part.x)
            assert isinstance(field, list) or field.dtype == np.int64


@pytest.mark.parametrize("name", ["moving_glyphs", "shapes", "pairs"])
def test_pictures_are_from_0_to_1_in_255ths(name):
    for part in MAKERS[name]():
        levels = part.x * 255
        assert levels.min() >= 0 and levels.max() <= 255
        assert np.abs(levels - levels.round()).max() < 1e-4


def test_another_process_makes_the_same():
    code = (
        "import numpy as np; np.random.seed(3); from genmap import data; import hashlib;"
        "parts = [data.plucks(each=1).test, data.moving_glyphs(each=1).test, data.shapes(n=1).test];"
        "print(hashlib.sha256(b''.join(p.x.tobytes() for p in parts)).hexdigest(), data.prose().test[:9999])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "1"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    parts = [data.plucks(each=1).test, data.moving_glyphs(each=1).test, data.shapes(n=1).test]
    here = hashlib.sha256(b"".join(p.x.tobytes() for p in parts)).hexdigest()
    assert there.stdout == f"{here} {data.prose().test[:9999]}\n"


# Texts


def paragraphs(part):
    return [" ".join(piece.split()) for piece in part.split("\n\n") if piece.strip()]


def test_prose_is_english_and_no_paragraph_comes_twice():
    splits = data.prose()
    all_of_them = [piece for part in splits for piece in paragraphs(part)]
    assert len(set(all_of_them)) == len(all_of_them)
    assert 250_000 < sum(map(len, splits)) < 700_000
    for part in splits:
        words = part.lower().split()
        assert words.count("the") / len(words) > 0.04
    assert "\n\n\n" not in splits.train


def test_prose_has_nearly_all_of_its_source():
    """What is missing are the paragraphs that come twice."""
    from pydoc_data.topics import topics

    source = {" ".join(piece.split()) for topic in topics.values() for piece in topic.split("\n\n")} - {""}
    ours = {piece for part in data.prose() for piece in paragraphs(part)}
    assert len(source - ours) < 0.02 * len(source)


@pytest.mark.parametrize("name", ["prose", "code"])
def test_texts_are_split_about_8_to_1_to_1(name):
    sizes = np.array([len(part) for part in getattr(data, name)()])
    assert np.allclose(sizes / sizes.sum(), [0.8, 0.1, 0.1], atol=0.06)


def test_another_version_moves_no_piece_that_it_shares():
    old = texts._by_hash((f"key {k}", f"<{k}>") for k in range(300))
    new = texts._by_hash((f"key {k}", f"<{k}>") for k in range(1, 400, 3))
    for a, b in zip(old, new, strict=True):
        shared = [piece for piece in b.split(">") if piece and int(piece[1:]) < 300]
        assert set(shared) <= set(a.split(">"))
    assert texts._by_hash([("a", "1"), ("a", "2"), ("", "3")]) == texts._by_hash([("a", "1")])


def test_code_is_python_of_whole_modules():
    splits = data.code()
    assert sum(map(len, splits)) > 2_000_000
    for part in splits:
        assert part.count("\ndef ") > 100
    with tokenize.open(tokenize.__file__) as file:
        source = file.read()
    assert sum(source in part for part in splits) == 1


def test_code_without_sources_gets_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(texts.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"holds no modules; use a Python that comes with its source"):
        data.code.__wrapped__()


# Clips


def centres(x):
    """(N, T, 2): the middle of the ink, to the right and up, as parts of the side."""
    ink, size = x[:, :, 0].astype(float), x.shape[-1]
    total = ink.sum((2, 3))
    right = (ink.sum(2) * (np.arange(size) + 0.5)).sum(-1) / total
    down = (ink.sum(3) * (np.arange(size) + 0.5)).sum(-1) / total
    return np.stack([right, size - down], axis=-1) / size


def test_clips_move_as_their_labels_say():
    for size in (16, 28):
        part = data.moving_glyphs(size, each=4).train
        assert part.x.shape == (160, 8, 1, size, size)
        way = np.array(list(data.DIRECTIONS.values()))[part.direction]
        moved = np.diff(centres(part.x), axis=1)
        assert np.allclose(moved, 0.05 * way[:, None], atol=0.01)


def test_clips_keep_the_ink_and_the_parts_are_even():
    splits = data.moving_glyphs()
    assert [len(part.x) for part in splits] == [1600, 160, 160]
    for part, each in zip(splits, (40, 4, 4), strict=True):
        ink = part.x.sum((2, 3, 4))
        assert (np.ptp(ink, axis=1) < 0.03 * ink.mean(1)).all()  # nothing leaves the image
        assert np.bincount(part.y * 4 + part.direction).tolist() == [each] * 40
        for y, direction, text in zip(part.y, part.direction, part.captions, strict=True):
            assert text.endswith(f" digit {y} moving {tuple(data.DIRECTIONS)[direction]}")


def test_wide_and_deep_letters_stay_whole_too():
    ink = data.moving_glyphs(28, "WMQgj", each=6).train.x.sum((2, 3, 4))
    assert (np.ptp(ink, axis=1) < 0.03 * ink.mean(1)).all()


def test_clips_show_the_character_of_their_label():
    """Each digit, put to its first frame's middle, is nearest to the mean of its class."""
    splits = data.moving_glyphs(each=80)

    def upright(part):
        frames = part.x[:, 0, 0]
        shift = np.round(16 * (centres(part.x)[:, 0] - 0.5)).astype(int)
        return np.stack([np.roll(f, (s[1], -s[0]), (0, 1)) for f, s in zip(frames, shift, strict=True)])

    train, test = upright(splits.train), upright(splits.test)
    mean = np.stack([train[splits.train.y == k].mean(0) for k in range(10)])
    nearest = ((test[:, None] - mean) ** 2).sum((2, 3)).argmin(1)
    assert (nearest == splits.test.y).mean() > 0.75


# Shapes


def of_colour(image, name):
    """Where an image is of this colour rather than white or another: a mask."""
    known = np.array([(1, 1, 1), *data.COLOURS.values()])
    nearest = ((image[:, None] - known.T[..., None, None]) ** 2).sum(0).argmin(0)
    return nearest == 1 + list(data.COLOURS).index(name)


def test_single_shapes_have_the_colour_and_size_of_their_caption():
    part = data.shapes(size=32).test
    area = {"small": [], "large": []}
    for image, text, shape, colour in zip(part.x, part.captions, part.shape, part.colour, strict=True):
        size, colour_name, shape_name = text.split()
        assert shape_name == data.SHAPES[shape[0]]
        assert colour_name == list(data.COLOURS)[colour[0]]
        mask = of_colour(image, colour_name)
        assert mask.sum() > 0.6 * (image.min(0) < 0.5).sum()
        area[size].append(mask.sum())
        assert (image[:, 0] == 1).mean() > 0.9  # the edge is white but for faint ink
    assert np.mean(area["large"]) > 2.5 * np.mean(area["small"])
    assert len(set(part.captions)) == 60


def test_shapes_have_their_form():
    """The part of its box that a shape fills tells square, circle, triangle, cross and star apart."""
    part = data.shapes(size=64, n=600).train
    filled = {name: [] for name in data.SHAPES}
    for image, text in zip(part.x, part.captions, strict=True):
        size, _, name = text.split()
        if size == "large":
            ink = image.min(0) < 0.6
            box = ink[ink.any(1)][:, ink.any(0)]
            filled[name].append(box.mean())
    filled = {name: np.mean(values) for name, values in filled.items()}
    assert filled["square"] > 0.83 > filled["circle"] > 0.72
    assert 0.4 < filled["triangle"] < 0.6 and 0.4 < filled["cross"] < 0.6
    assert filled["star"] < 0.5


def test_pairs_stand_as_their_caption_says_and_differ():
    part = data.shapes(size=32, objects=2, n=400).train
    assert len(set(part.captions)) > 300
    for image, text, colour in zip(part.x, part.captions, part.colour, strict=True):
        first, second = text.split(" left of " if " left of " in text else " above ")
        assert first != second
        if colour[0] == colour[1]:
            continue
        (row, column), (other_row, other_column) = (
            np.mean(np.nonzero(of_colour(image, words.split()[0])), axis=1) for words in (first, second)
        )
        if " left of " in text:
            assert column < other_column - 8
        else:
            assert row < other_row - 8


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: data.plucks(samples=99), "samples is 99; it must be a whole number from 100 to 80000"),
        (lambda: data.plucks(each=0), "each is 0"),
        (lambda: data.plucks(seed=-1), "seed is -1"),
        (lambda: data.melodies(n=0), "n is 0"),
        (lambda: data.melodies(n=2.0), "n is 2.0"),
        (lambda: data.moving_glyphs(size=4), "size is 4"),
        (lambda: data.moving_glyphs(characters="11"), "characters is '11'"),
        (lambda: data.moving_glyphs(seed="0"), "seed is '0'"),
        (lambda: data.shapes(objects=3), "objects is 3; it must be a whole number from 1 to 2"),
        (lambda: data.shapes(n=-5), "n is -5"),
        (lambda: data.shapes(size=1000), "size is 1000"),
        (lambda: data.toy("moons", 3, 2**32), "seed is 4294967296"),
    ],
)
def test_wrong_arguments_get_one_line(call, says):
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
