"""The course's look: colours that stay apart, legible text, pictures that show what the array holds."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb, to_rgba

from genmap import plot

matplotlib.use("agg")

# What colour-blind eyes see, from linear RGB: G. Machado et al., IEEE TVCG 15(6), 2009, severity 1.
EYES = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colours):
    rgb = np.array([to_rgb(colour) for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE Lab of linear RGB, white D65."""
    f = np.cbrt(np.clip(rgb, 1e-4, 1) @ TO_XYZ.T / TO_XYZ.sum(1))
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def drawn(ax):
    """Draw the figure; return its pixels, from the top, as floats (height, width, 3)."""
    figure = ax.get_figure()
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255


def pixel(ax, x, y):
    picture = drawn(ax)
    across, up = ax.transData.transform((x, y))
    return picture[picture.shape[0] - 1 - int(up), int(across)]


def assert_nothing_clipped(figure):
    figure.canvas.draw()
    tight = figure.get_tightbbox()
    assert tight.x0 >= 0 and tight.y0 >= 0
    assert tight.x1 <= figure.get_figwidth() and tight.y1 <= figure.get_figheight()


@pytest.mark.parametrize("eye", EYES)
def test_colours_stay_apart_for_every_eye(eye):
    seen = lab(linear(plot.COLOURS) @ np.array(EYES[eye]).T)
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 10


def test_colours_show_on_white():
    luminance = linear(plot.COLOURS) @ TO_XYZ[1]
    assert (1.05 / (luminance + 0.05)).min() > 2


def test_the_first_two_colours_have_names():
    assert plot.COLOURS[0] == plot.COLOURS.blue
    assert plot.COLOURS[1] == plot.COLOURS.vermilion


@pytest.mark.parametrize("eye", EYES)
def test_the_density_colours_darken_all_the_way_from_white(eye):
    rgb = plot.SEQUENTIAL(np.linspace(0, 1, 64))[:, :3]
    assert np.allclose(rgb[0], 1)
    light = lab(linear(rgb) @ np.array(EYES[eye]).T)[:, 0]
    assert (np.diff(light) < 0).all()


def test_text_is_legible_at_notebook_width():
    plot.use()
    figure, ax = plot.figure()
    line = ax.plot([0, 1], label="a curve")[0]
    ax.set(title="title", xlabel="x", ylabel="y")
    texts = [
        ax.annotate("here", (0, 0)),
        ax.title,
        ax.xaxis.label,
        ax.yaxis.label,
        *ax.get_xticklabels(),
        *ax.legend().get_texts(),
    ]
    assert min(text.get_fontsize() for text in texts) >= 10
    assert 8 <= figure.get_figwidth() <= 9
    assert line.get_color() == plot.COLOURS.blue
    assert_nothing_clipped(figure)


def test_figure_has_rows_of_the_height_asked_for():
    figure, axes = plot.figure(2, 3, height=2)
    assert axes.shape == (2, 3)
    assert figure.get_size_inches().tolist() == [plot.WIDTH, 4]


def test_images_stand_in_order_with_every_pixel_as_it_is():
    x = np.arange(5 * 4 * 3).reshape(5, 4, 3) / 59
    ax = plot.images(x, columns=2)
    shown = ax.images[0]
    picture = shown.get_array()
    assert shown.get_interpolation() == "nearest"
    assert not ax.axison
    down, across = picture.shape[0] // 3, picture.shape[1] // 2
    for i, image in enumerate(x):
        row, column = divmod(i, 2)
        tile = picture[row * down : row * down + 4, column * across : column * across + 3]
        assert (tile[..., 3] == 1).all()
        order = tile[..., :3].sum(-1).ravel()
        assert (np.diff(order[np.argsort(image.ravel())]) <= 0).all()  # more is darker
    assert (picture[2 * down :, across:] == 0).all()  # there is no sixth: clear


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 1, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.bool, torch.uint8])
def test_images_take_tensors_as_arrays(shape, dtype):
    x = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5).to(dtype)
    if dtype.is_floating_point:
        x.requires_grad_()
    same = plot.images(x.detach().double().numpy()).images[0].get_array()
    assert np.array_equal(plot.images(x).images[0].get_array(), same)


def test_images_of_one_value_keep_their_grey():
    """Nothing is stretched: an empty image is paper, a full one ink, a grey one between."""
    paper, grey, ink = (
        drawn(plot.images(np.full((1, 8, 8), value)))[40, 40].mean() for value in (0.0, 0.5, 1.0)
    )
    assert paper > 0.9 > grey + 0.2
    assert ink < 0.15 < grey - 0.2


def test_images_beyond_the_range_are_drawn_at_its_ends():
    wild = np.array([[[-7.0, 0.0], [1.0, 1e9]]])
    tame = np.array([[[0.0, 0.0], [1.0, 1.0]]])
    assert np.array_equal(plot.images(wild).images[0].get_array(), plot.images(tame).images[0].get_array())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_catches_the_eye(bad):
    picture = plot.images(np.array([[[0.2, bad], [0.4, 1.0]]])).images[0].get_array()
    assert np.allclose(picture[0, 1, :3], to_rgb(plot.COLOURS.vermilion))
    greys = picture[[0, 1, 1], [0, 0, 1], :3]
    assert np.ptp(greys, axis=1).max() < 0.1


def test_colour_is_drawn_as_it_is():
    x = np.random.default_rng(0).random((3, 3, 4, 5)) * 1.4 - 0.2
    x[0, 1, 2, 3] = np.nan
    picture = plot.images(torch.tensor(x), columns=3).images[0].get_array()
    assert np.allclose(picture[2, 3], to_rgba(plot.COLOURS.vermilion))
    across = picture.shape[1] // 3
    assert np.allclose(picture[:4, across : across + 5, :3], x[1].transpose(1, 2, 0).clip(0, 1))


@pytest.mark.parametrize(
    ("n", "columns", "size"), [(1, 10, 8), (7, 7, 28), (23, 10, 8), (20, 20, 8), (40, 12, 16)]
)
def test_titles_and_captions_are_neither_clipped_nor_over_an_image(n, columns, size):
    captions = [f"{i}" for i in range(n)]
    ax = plot.images(np.ones((n, size, size)), columns, title="A title", captions=captions)
    figure = ax.get_figure()
    assert_nothing_clipped(figure)
    assert [text.get_text() for text in ax.texts] == captions
    picture = ax.images[0].get_array()
    to_data = ax.transData.inverted()
    for text in ax.texts:
        (left, bottom), (right, top) = to_data.transform(text.get_window_extent())
        rows = slice(int(np.ceil(top + 0.5)), max(int(bottom + 0.5), 0) + 1)
        columns_ = slice(max(int(left + 0.5), 0), int(right + 0.5) + 1)
        assert (picture[rows, columns_, 3] == 0).all()


@pytest.mark.parametrize("n", [1, 10, 35])
@pytest.mark.parametrize("options", [{}, {"title": "A title"}])
def test_images_fill_the_width_and_are_not_larger_when_there_are_few(n, options):
    ax = plot.images(np.ones((n, 8, 8)), **options)
    ax.get_figure().canvas.draw()
    inches = ax.get_window_extent().width / ax.get_figure().dpi / min(n, 10)
    assert plot.TILE * 0.93 < inches <= plot.TILE * 1.15


def test_images_are_drawn_into_axes_that_are_given():
    _, axes = plot.figure(1, 2)
    assert plot.images(np.zeros((4, 8, 8)), ax=axes[1]) is axes[1]
    assert len(axes[1].images) == 1
    assert not axes[0].images
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (np.zeros((0, 8, 8)), {}, "no images"),
        (np.zeros((0, 1, 8, 8)), {}, "no images"),
        (np.zeros((8, 8)), {}, r"shape is \(8, 8\)"),
        (np.zeros((2, 2, 8, 8)), {}, "must be"),
        (np.zeros((2, 0, 8)), {}, "must be"),
        (np.zeros(()), {}, "must be"),
        (np.full((2, 8, 8), 255, np.uint8), {}, "up to 255"),
        (torch.full((2, 8, 8), 16), {}, "up to 16"),
        (np.zeros((2, 8, 8), complex), {}, "real numbers"),
        ([["a"]], {}, "real numbers"),
        ([[[0.0, 1.0]], [[0.0]]], {}, "real numbers"),
        (None, {}, "real numbers"),
        (np.zeros((2, 8, 8)), {"captions": ["one"]}, "1 captions for 2 images"),
        (np.zeros((2, 8, 8)), {"captions": []}, "0 captions for 2 images"),
        (np.zeros((2, 8, 8)), {"columns": 0}, "at least 1"),
    ],
)
def test_images_refuse_in_one_line_and_leave_no_figure(x, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        plot.images(x, **options)
    assert "\n" not in str(caught.value)
    assert not plt.get_fignums()


@pytest.mark.parametrize("edges", [False, True])
def test_density_is_dark_where_it_is_high_and_white_where_it_is_zero(edges):
    x, y = (np.linspace(0, 3, 4), np.linspace(0, 2, 3)) if edges else (np.arange(3) + 0.5, np.arange(2) + 0.5)
    z = np.zeros((2, 3))
    z[1, 2] = 0.7
    _, ax = plot.figure()
    plot.density(ax, x, y, z)
    assert np.allclose(pixel(ax, 0.52, 0.52), 1, atol=0.02)
    assert np.allclose(pixel(ax, 2.48, 0.52), 1, atol=0.05)
    assert pixel(ax, 2.48, 1.48).mean() < 0.2


def test_densities_with_one_top_can_be_compared():
    _, axes = plot.figure(1, 2)
    cell = np.array([0.0, 1.0])
    for ax, value in zip(axes, (0.5, 1.0), strict=True):
        plot.density(ax, cell, cell, [[value]], top=1.0)
    assert pixel(axes[0], 0.5, 0.5).mean() > pixel(axes[1], 0.5, 0.5).mean() + 0.2


def test_a_density_of_zero_is_white_without_a_warning(recwarn):
    _, ax = plot.figure()
    plot.density(ax, np.arange(4), np.arange(5), torch.zeros(5, 4))
    assert np.allclose(pixel(ax, 1.5, 2.5), 1)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("x", "y", "z", "words"),
    [
        (np.arange(3), np.arange(2), np.zeros((3, 2)), "do not fit"),
        (np.arange(4), np.arange(2), np.zeros((2, 3)), "do not fit"),
        (np.arange(3), np.arange(2), np.zeros(6), "do not fit"),
        (np.arange(0), np.arange(0), np.zeros((0, 0)), "do not fit"),
        (np.arange(3), np.arange(2), np.full((2, 3), np.nan), "6 of 6 values"),
        (np.arange(3), np.arange(2), np.array([[0, 1, 2], [3, -4, np.inf]]), "2 of 6 values"),
        (np.arange(3), [0, np.nan], np.zeros((2, 3)), "x and y"),
        ("ab", np.arange(2), np.zeros((2, 3)), "real numbers"),
    ],
)
def test_density_refuses_in_one_line(x, y, z, words):
    _, ax = plot.figure()
    with pytest.raises(ValueError, match=words) as caught:
        plot.density(ax, x, y, z)
    assert "\n" not in str(caught.value)
