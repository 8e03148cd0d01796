"""The data: the digits' split is fair and never changes; each toy is what its documentation says."""

import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from genmap import data

N = 20_000


@pytest.fixture(scope="module")
def splits():
    return data.digits()


def test_digits_have_the_documented_sizes_shapes_and_types(splits):
    assert [len(part.x) for part in splits] == [1257, 270, 270]
    for part in splits:
        assert part.x.shape == (len(part.y), 1, 8, 8)
        assert part.x.dtype == np.float32
        assert part.y.dtype == np.int64
        assert part.y.shape == (len(part.x),)


def test_digits_have_17_grey_levels(splits):
    for part in splits:
        assert np.array_equal(np.unique(part.x), np.arange(17, dtype=np.float32) / 16)


def test_the_split_is_disjoint_and_complete_and_keeps_the_labels(splits):
    """All 1,797 images differ, so that each names itself."""
    raw = load_digits()
    source = {
        np.float32(image / 16).tobytes(): label for image, label in zip(raw.images, raw.target, strict=True)
    }
    assert len(source) == 1797
    found = [(image.tobytes(), label) for part in splits for image, label in zip(part.x, part.y, strict=True)]
    assert len(found) == 1797
    assert dict(found) == source


def test_every_class_is_in_every_split_evenly(splits):
    assert np.bincount(splits.validation.y).tolist() == [27] * 10
    assert np.bincount(splits.test.y).tolist() == [27] * 10
    train = np.bincount(splits.train.y)
    assert len(train) == 10
    assert (train.min(), train.max()) == (120, 129)


def test_the_order_says_nothing_of_the_class(splits):
    """Every batch of 128 has all classes, though scikit-learn's order has runs of writers."""
    for start in range(0, 1152, 128):
        assert len(np.unique(splits.train.y[start : start + 128])) == 10


def test_the_split_never_changes(splits):
    """Figures on the board are of this split: another one needs other targets."""
    digest = hashlib.sha256(b"".join(a.tobytes() for part in splits for a in part))
    assert digest.hexdigest() == "5ca3d7a8c0befe1dc5ef0a88ec09025bbe2df672b91b6872a5c138f53125782b"


def test_changing_the_arrays_harms_no_later_caller(splits):
    before = splits.train.x.copy()
    mine = data.digits()
    mine.train.x[:] = 0
    assert np.array_equal(data.digits().train.x, before)


@pytest.mark.parametrize("name", data.TOYS)
def test_toys_are_float32_points_deterministic_by_seed(name):
    points = data.toy(name, 500, 3)
    assert points.shape == (500, 2)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert np.array_equal(points, data.toy(name, 500, 3))
    assert not np.array_equal(points, data.toy(name, 500, 4))


@pytest.mark.parametrize("name", data.TOYS)
def test_toys_may_be_empty(name):
    assert data.toy(name, 0, 0).shape == (0, 2)


@pytest.mark.parametrize("name", data.TOYS)
def test_toys_are_centred_and_of_one_scale(name):
    points = data.toy(name, N, 0)
    assert np.abs(points.mean(0)).max() < 0.1
    assert points.std(0).min() > 0.6 and points.std(0).max() < 1.4
    assert (np.abs(points) < 3).all(1).mean() > 0.99


def test_the_named_toys():
    assert set(data.TOYS) == {"moons", "rings", "spirals", "checkerboard", "eight-gaussians", "pinwheel"}


def test_checkerboard_is_uniform_on_the_dark_squares():
    points = data.toy("checkerboard", N, 1)
    squares = np.floor(points + 2).astype(int)
    counts = np.zeros((4, 4))
    np.add.at(counts, tuple(squares.T), 1)
    dark = np.indices((4, 4)).sum(0) % 2 == 0
    assert (counts[~dark] == 0).all()
    assert np.allclose(counts[dark] / N, 1 / 8, atol=0.015)  # six standard errors
    inside = points + 2 - squares
    assert np.allclose(inside.mean(0), 0.5, atol=0.015)
    assert np.allclose(inside.var(0), 1 / 12, atol=0.005)


def test_eight_gaussians_have_the_claimed_means_parts_and_deviation():
    points = data.toy("eight-gaussians", N, 1)
    angle = np.pi / 4 * np.arange(8)
    means = 1.6 * np.stack([np.cos(angle), np.sin(angle)], 1)
    nearest = np.linalg.norm(points[:, None] - means, axis=-1).argmin(1)
    assert np.allclose(np.bincount(nearest) / N, 1 / 8, atol=0.015)
    for k in range(8):
        assert np.allclose(points[nearest == k].mean(0), means[k], atol=0.02)
        assert np.allclose(points[nearest == k].std(0), 0.16, atol=0.01)


def test_rings_have_the_claimed_radii_in_proportion_to_their_length():
    radius = np.linalg.norm(data.toy("rings", N, 1), axis=1)
    radii = np.array([0.7, 1.4, 2.1])
    off = radius[:, None] - radii
    nearest = np.abs(off).argmin(1)
    assert np.allclose(np.bincount(nearest) / N, radii / radii.sum(), atol=0.02)
    assert np.isclose(off[np.arange(N), nearest].std(), 0.08, atol=0.005)


def test_moons_are_two_half_circles():
    points = data.toy("moons", N, 1)
    centres = 1.4 * np.array([[-0.5, -0.25], [0.5, 0.25]])
    off = np.linalg.norm(points[:, None] - centres, axis=-1) - 1.4
    upper = (np.abs(off[:, 0]) < 0.5) & (points[:, 1] > centres[0, 1])
    lower = (np.abs(off[:, 1]) < 0.5) & (points[:, 1] < centres[1, 1])
    assert (upper | lower).mean() > 0.97  # the others are noise at the horns' ends
    near = np.abs(off).min(1)
    assert np.sqrt((near**2).mean()) < 0.13
    assert 0.45 < (points[:, 0] + points[:, 1] < 0).mean() < 0.55


def test_spirals_are_two_arms_evenly_filled():
    points = data.toy("spirals", N, 1)
    radius, angle = np.linalg.norm(points, axis=1), np.arctan2(points[:, 1], points[:, 0])
    turns = (
        radius / 0.8 - angle / np.pi
    )  # whole on the arms, which lie 0.8 apart; even on one, odd on the other
    off = 0.8 * (turns - turns.round())[radius > 0.6]
    assert np.sqrt((off**2).mean()) < 0.1  # 0.23 if the plane were filled
    assert 0.48 < (turns.round() % 2).mean() < 0.52
    assert np.allclose(np.quantile((radius / 2.4) ** 2, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)


def test_pinwheel_looks_the_same_after_a_fifth_of_a_turn():
    points = data.toy("pinwheel", 5 * N, 1)
    turn = 2 * np.pi / 5
    back = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    bins = [np.linspace(-3, 3, 16)] * 2
    here, there = (np.histogram2d(*p.T, bins=bins)[0] / len(p) for p in (points, back))
    mirrored = np.histogram2d(points[:, 0], -points[:, 1], bins=bins)[0] / len(points)
    assert np.abs(here - there).sum() < 0.06
    assert np.abs(here - mirrored).sum() > 0.3  # the blades are curved: a mirror shows


@pytest.mark.parametrize("name", ["moon", "", None, ["moons"], "Moons"])
def test_an_unknown_toy_gets_one_line_with_the_list(name):
    with pytest.raises(ValueError, match=", ".join(data.TOYS)) as caught:
        data.toy(name, 10, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("what", "n", "seed"), [("n", -1, 0), ("n", 2.5, 0), ("n", "9", 0), ("seed", 9, -1)])
def test_a_wrong_number_gets_one_line(what, n, seed):
    with pytest.raises(ValueError, match=f"^{what} is .*whole number") as caught:
        data.toy("moons", n, seed)
    assert "\n" not in str(caught.value)
