"""The diagram of a machine: where boxes stand, that no text leaves its box, and what is refused."""

import pytest
from matplotlib.text import Annotation

from genmap.diagram import machine

VAE = (
    "x | (B, 1, 16, 16) -> [encoder | 3 conv] -> μ, log σ² | (B, 16) -> z | (B, 16) -> [decoder] -> logits",
    "ε | (B, 16) -> z",
    "y | (B,) -> [decoder]",
)


@pytest.fixture
def drawn():
    ax = machine(*VAE, title="A conditional VAE")
    ax.figure.canvas.draw()
    return ax


def centres(ax):
    """The middle of each box by its name."""
    return {text.get_text(): (text.get_position()[0], round(text.get_position()[1])) for text in ax.texts}


def test_the_first_row_is_level_and_others_stand_below_what_they_meet(drawn):
    at = centres(drawn)
    first = [at[name] for name in ("x", "encoder", "μ, log σ²", "z", "decoder", "logits")]
    assert [x for x, _ in first] == sorted({x for x, _ in first})
    assert len({y for _, y in first}) == 1
    assert at["ε"][0] < at["z"][0] and at["ε"][1] > at["z"][1]
    assert at["y"][0] < at["decoder"][0] and at["y"][1] == at["ε"][1], "there is room beside it"


def test_every_text_stands_inside_a_box_and_no_boxes_meet(drawn):
    renderer = drawn.figure.canvas.get_renderer()
    boxes = [patch.get_window_extent(renderer) for patch in drawn.patches]
    texts = [text.get_window_extent(renderer) for text in drawn.texts if text.get_text()]
    assert len(texts) == 14
    assert all(any(box.contains(t.x0, t.y0) and box.contains(t.x1, t.y1) for box in boxes) for t in texts)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_every_arrow_joins_the_edges_of_two_boxes(drawn):
    arrows = [text for text in drawn.texts if isinstance(text, Annotation)]
    assert len(arrows) == 7
    edges = [patch.get_bbox() for patch in drawn.patches]
    for arrow in arrows:
        for x, y in (arrow.xy, arrow.xyann):
            assert any(
                b.x0 - 1e-9 <= x <= b.x1 + 1e-9 and min(b.y0, b.y1) - 1e-9 <= y <= max(b.y0, b.y1) + 1e-9
                for b in edges
            )


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((), "at least one row"),
        (("x -> y", "a -> b"), "meets none of the boxes above it"),
        (("x ->  -> y",), "a box without a name"),
        ((" -> ".join("abcdefgh"),), "8 columns"),
    ],
)
def test_what_cannot_be_drawn_is_refused(rows, says):
    with pytest.raises(ValueError, match=says):
        machine(*rows)
