"""genmap.board: what a lesson records, the table and the plot, the file, and what is refused."""

import json
import math
import re
import tomllib
from importlib.resources import files

import numpy as np
import pytest
import torch
from course_root import COURSE
from matplotlib.text import Text

from genmap import board
from genmap.board.entries import METRICS, Board, Row, Target, parse, row_of
from genmap.board.views import Table, draw
from genmap.taxonomy import load

ROW = {
    "lesson": "10_vae",
    "model": "a VAE",
    "data": "glyphs 16",
    "setting": "quick",
    "machine": "2 CPU cores",
}


def row(**given) -> Row:
    return row_of({**ROW, "class_accuracy": 0.9, **given})


def target(metric: str = "class_accuracy", limit: float = 0.5, **given) -> Target:
    names = {name: ROW[name] for name in ("lesson", "model", "data")}
    return Target(metric=metric, limit=limit, source="a test", **{**names, **given})


@pytest.fixture(autouse=True)
def session(monkeypatch):
    """An empty board, no file asked for, and the quick setting."""
    monkeypatch.setattr(board, "_session", {})
    monkeypatch.setattr(board, "published", lambda: Board([target()], [row(), row(data="digits 8x8")]))
    monkeypatch.delenv(board.RECORD, raising=False)
    monkeypatch.setenv("GENMAP_SETTING", "quick")


def test_every_target_of_a_lesson_that_is_there_is_met():
    """`make quality` keeps the rows; a lesson that changed for the worse shows here once it has run."""
    published = parse(files("genmap.facts").joinpath("board.toml").read_text(encoding="utf-8"))
    rows = {each.key: each for each in published.rows}
    asked = [each for each in published.targets if each.lesson in COURSE.names()]
    assert asked
    for each in asked:
        assert each.key in rows, f"{each.key}: run `make quality LESSON={each.lesson}`"
        assert each.held(rows[each.key].figures[each.metric]), (each.key, each.metric)


def test_the_file_names_lessons_of_the_map():
    text = (COURSE.root / "data" / "board.toml").read_text(encoding="utf-8")
    published, lessons = parse(text), {lesson.id for lesson in load().lessons.values()}
    assert {each.lesson for each in published.targets} <= lessons
    assert {each.lesson for each in published.rows} <= set(COURSE.names())
    assert {each.setting for each in published.rows} <= {"quick"}


def test_a_recorded_row_is_shown_in_place_of_the_published_one():
    board.record("10_vae", "a VAE", data="glyphs 16", class_accuracy=torch.tensor(0.875))
    glyphs, digits = (part.splitlines() for part in str(board.table()).split("\n\n"))
    assert "glyphs 16" in glyphs[0] and "0.875 (≥ 0.5)" in glyphs[2]
    assert "digits 8x8" in digits[0] and "0.9" in digits[2]
    assert len(glyphs) == len(digits) == 3
    assert "digits 8x8" not in str(board.table("glyphs 16"))


def test_recorded_again_a_row_is_replaced():
    for accuracy in (0.1, 0.2):
        board.record("10_vae", "another", data="glyphs 16", class_accuracy=accuracy)
    assert [line for line in str(board.table()).splitlines() if "another" in line and "0.2" in line]
    assert "0.1" not in str(board.table())


def test_a_quality_run_gets_the_rows_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv(board.RECORD, str(tmp_path / "figures"))
    costs = {"parameters": np.int64(7), "train_seconds": np.float32(1.5), "sample_seconds": 1e-3}
    board.record("10_vae", "VAE, β = 2", data="glyphs 16", **costs, kid=-0.25)
    board.record("10_vae", "second", data="glyphs 16", nats=torch.tensor([-3.0], requires_grad=True))
    first, second = (row_of(json.loads(line)) for line in (tmp_path / "figures").read_text().splitlines())
    assert first.model == "VAE, β = 2"
    assert (first.parameters, first.train_seconds, first.sample_seconds) == (7, 1.5, 1e-3)
    assert first.figures == {"kid": -0.25}
    assert (second.figures, second.parameters) == ({"nats": -3.0}, None)
    assert second.setting == "quick"
    assert re.fullmatch(r"\d+ CPU cores?", second.machine) or torch.cuda.is_available()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"class_accuracy": math.nan}, "class_accuracy is nan; it must be finite"),
        ({"nats": -math.inf}, "nats is -inf; it must be finite"),
        ({"nats": "3 nats"}, "nats must be one number, not this"),
        ({"nats": np.zeros(2)}, "nats must be one number, not this"),
        ({"nats": torch.zeros(2)}, "nats must be one number, not this"),
        ({"nats": torch.zeros(0)}, "nats must be one number, not this"),
        ({"nats": 10**400}, "nats must be one number, not this"),
        ({"accuracy": 0.9}, "there is no metric 'accuracy'; choose of class_accuracy"),
        ({}, "there is no figure"),
        ({"nats": None}, "there is no figure"),
        ({"nats": 1.0, "train_seconds": -1.0}, "train_seconds is -1.0"),
        ({"nats": 1.0, "sample_seconds": math.nan}, "sample_seconds is nan"),
        ({"nats": 1.0, "parameters": 2.5}, "parameters must be one whole number, not this float"),
        ({"nats": 1.0, "model": ""}, "model is ''"),
        ({"nats": 1.0, "model": "two\nlines"}, "a line of text"),
        ({"nats": 1.0, "data": 16}, "data is 16"),
    ],
)
def test_record_refuses_in_one_line_and_keeps_nothing(tmp_path, monkeypatch, given, says):
    monkeypatch.setenv(board.RECORD, str(tmp_path / "figures"))
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        board.record(**{"lesson": "10_vae", "model": "a VAE", "data": "glyphs 16", **given})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "figures").exists()
    assert board._session == {}


def test_targets_look_the_way_that_is_better():
    assert target("class_accuracy", 0.5).held(0.5)
    assert not target("class_accuracy", 0.5).held(0.499)
    assert target("bits_per_dim", 2.95).held(2.9)
    assert not target("bits_per_dim", 2.95).held(3.0)
    assert target("exact_match", 0.9).held(0.95)
    assert not any(target(metric).held(math.nan) for metric in METRICS)


def test_the_table_says_what_misses_its_target():
    table = Table([row(class_accuracy=0.4, nats=-1234.5), row(model="b")], [target(limit=0.5)])
    assert "0.4 (not ≥ 0.5)" in str(table)
    assert "-1230" in str(table)
    assert "–" in str(table).splitlines()[3], "no nats were measured of the second"
    assert str(table).splitlines()[0] == "glyphs 16 (quick, 2 CPU cores)"
    assert "KDE" not in str(table)


def test_the_table_is_html_in_a_notebook():
    table = Table([row(model="a < b & c"), Row(**ROW, figures={"kid": 1e-9}, here=True)], [])
    page = table._repr_html_()
    assert "a &lt; b &amp; c" in page
    assert page.count("<tr") == 3
    assert page.count("font-weight: bold") == 1, "this session's row"
    assert f'title="{METRICS["class_accuracy"].meaning}"' in page, "what a column measures"


def test_no_column_is_empty_and_what_few_rows_have_stands_together():
    rows = [row(model="a", nats=-3.0, parameters=7), row(model="b"), row(model="c", kid=0.5)]
    (part,) = Table(rows, [target(metric="kid", model="c", limit=0.7)]).parts
    assert part.header == ["lesson", "model", "class accuracy", "parameters", "also"]
    assert [line[-1] for line in part.lines] == ["nats per example -3", "", "KID 0.5 (≤ 0.7)"]
    assert [line[-2] for line in part.lines] == ["7", "–", "–"]


def test_what_was_measured_elsewhere_is_told_apart():
    rows = [row(), Row(**{**ROW, "model": "b", "setting": "full", "machine": "T4"}, figures={}, here=True)]
    (part,) = Table(rows, []).parts
    assert part.measured == "quick, 2 CPU cores; bold: full, T4"


def many(n: int) -> list[Row]:
    rng = np.random.default_rng(n)
    rows = []
    for i in range(n):
        figures = {"class_accuracy": rng.choice([rng.uniform(0.9, 0.99), rng.uniform(0.4, 0.9)])}
        rows.append(row(model=f"model number {i}", sample_seconds=10 ** rng.uniform(-5, -1), **figures))
    return rows


@pytest.mark.parametrize("n", [1, 2, 12, 25])
def test_names_in_the_plot_cover_neither_each_other_nor_points(n):
    figure = draw(many(n), [])
    figure.canvas.draw()
    (ax,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in ax.texts]  # without its line to the point
    assert len(boxes) == n
    inside = ax.get_window_extent()
    for i, box in enumerate(boxes):
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1
        assert inside.y0 - 1 <= box.y0 and box.y1 <= inside.y1 + 1
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in boxes[:i])
        points = [ax.transData.transform(line.get_xydata()[0]) for line in ax.lines]
        assert not any(box.contains(*point) for point in points)


def test_the_plot_has_a_panel_for_each_data_set_in_the_metric_of_most():
    rows = [
        row(sample_seconds=1e-3),
        row(model="b", sample_seconds=1e-2),
        row(model="c", data="digits 8x8", sample_seconds=1e-4, bits_per_dim=2.0),
        row_of({**ROW, "model": "d", "data": "digits 8x8", "sample_seconds": 1e-4, "bits_per_dim": 3.0}),
        row(model="without a time", data="prose"),
    ]
    figure = draw(rows, [target(limit=0.75)])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["glyphs 16", "digits 8x8"]
    assert ["class accuracy" in figure.axes[0].get_ylabel(), "bits/dim" in figure.axes[1].get_ylabel()] == [
        True
    ] * 2
    assert "lower is better" in figure.axes[1].get_ylabel()
    heights = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "_"]
    assert heights == [0.75], "the target of the first row alone"


def test_a_plot_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no row has both"):
        board.plot("prose")


GOOD = """
[[target]]
lesson = "10_vae"
model = "a VAE"
data = "glyphs 16"
metric = "class_accuracy"
at_least = 0.9
source = "somewhere"

[[measured]]
lesson = "10_vae"
model = "a VAE"
data = "glyphs 16"
setting = "quick"
machine = "2 CPU cores"
parameters = 10
class_accuracy = 0.95
"""


def test_a_whole_file_is_read():
    read = parse(GOOD)
    assert [str(each) for each in read.targets] == ["≥ 0.9"]
    assert [each.figures for each in read.rows] == [{"class_accuracy": 0.95}]
    assert read.rows[0].flat() == tomllib.loads(GOOD)["measured"][0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("at_least = 0.9", "at_least = ", "board.toml is damaged"),
        ("at_least = 0.9", "at_most = 0.9", "give lesson, model, data, metric, source and at_least"),
        ("at_least = 0.9", "at_least = 0.9\nat_most = 1", "and nothing else"),
        ("at_least = 0.9", 'at_least = "0.9"', "a finite number"),
        ("at_least = 0.9", "at_least = nan", "a finite number"),
        ("at_least = 0.9", "at_least = true", "a finite number"),
        ('metric = "class_accuracy"', 'metric = "fid"', "there is no metric 'fid'"),
        ('source = "somewhere"', "", "source is None"),
        ("class_accuracy = 0.95", "class_accuracy = inf", "it must be finite"),
        ("class_accuracy = 0.95", "", "there is no figure"),
        ("class_accuracy = 0.95", "fid = 3.0", "there is no metric 'fid'"),
        ("parameters = 10", "parameters = 10.5", "a whole number"),
        ("[[measured]]", "[[meassured]]", "holds [[target]] and [[measured]], and nothing else"),
        ("[[measured]]", "[measured]", "board.toml is damaged"),
        ("[[measured]]", "measured = 3\n[[other]]", "board.toml is damaged"),
        (GOOD, GOOD + GOOD[GOOD.index("[[measured]]") :], "stands there twice"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(old, new, says):
    assert old in GOOD
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        parse(GOOD.replace(old, new))
    assert "\n" not in str(error.value)
