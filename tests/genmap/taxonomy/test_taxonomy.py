"""genmap.taxonomy, tables and atlas: inheritance, tables, README's list, texts of figures stay apart."""

import copy
import tomllib
from dataclasses import FrozenInstanceError
from datetime import date
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from course_root import ROOT

from genmap import plot, taxonomy
from genmap.taxonomy import age, ranking, tables

FACTS = tomllib.loads((ROOT / "data" / "map.toml").read_text(encoding="utf-8"))
FACTS_OPEN = next(task["open"] for task in FACTS["task"] if task["id"] == "text-to-image")


@pytest.fixture
def facts():
    return copy.deepcopy(FACTS)


@pytest.fixture(autouse=True)
def no_figure_left():
    yield
    plt.close("all")


def test_a_model_takes_from_its_family_what_it_does_not_say():
    model, family = taxonomy.load().models["gan"], taxonomy.load().families["gan"]
    assert (model.density, model.strengths, model.shape) == (family.density, family.strengths, family.shape)
    assert model.conditioning == "nothing" != family.conditioning


def test_what_a_model_says_itself_holds():
    maskgit = taxonomy.load().models["maskgit"]
    assert (maskgit.density, maskgit.sampling) == ("none", "iterative")
    assert taxonomy.load().families["tokens"].sampling == "serial"


def test_facts_are_read_once_and_cannot_be_changed():
    assert taxonomy.load() is taxonomy.load()
    with pytest.raises(FrozenInstanceError):
        taxonomy.load().models["gan"].name = "x"
    with pytest.raises(TypeError):
        taxonomy.load().models["x"] = None


def test_year_and_link():
    models = taxonomy.load().models
    assert (models["ddpm"].year, models["ddpm"].link) == (2020, "https://arxiv.org/abs/2006.11239")
    assert models["musenet"].link.startswith("https://openai.com")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "Model gpt: unknown field colour"),
        ({"family": "gun"}, "Model gpt: there is no family 'gun'"),
        ({"id": "nade"}, "Model nade: the id is used twice"),
        ({"backbone": None}, "Model gpt: .*backbone"),
    ],
)
def test_a_bad_row_is_named(facts, change, said):
    row = next(row for row in facts["model"] if row["id"] == "gpt")
    row.update(change)
    for name in [name for name, value in change.items() if value is None]:
        del row[name]
    with pytest.raises(ValueError, match=f"^map.toml: {said}"):
        taxonomy.parse(facts)


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_table_is_whole_in_markdown_and_in_plain_text(name):
    made = taxonomy.table(name)
    assert made.rows
    lines = made.markdown().splitlines()
    assert len(lines) == len(made.rows) + 2
    assert {line.count("|") for line in lines} == {len(made.columns) + 1}, (
        "a cell holds a bar or a line break"
    )
    assert made._repr_markdown_() == made.markdown()
    assert all(cell in repr(made) for row in made.rows for cell in row)


def test_picks_say_what_they_are_ranked_by():
    (row,) = tables.tasks("text-to-video").rows
    assert row[3].startswith("Wan 2.2 (any use, 1133), LTX-2 (with limits, 1131)")
    assert row[4].startswith("Seedance 2.0 (1460), Veo 3.1 (1375)")
    assert "(any use, 9 GPUs)" in tables.tasks("text").rows[0][3]
    music = tables.tasks("music").rows[0]
    assert "ACE-Step 1.5 (Flow matching, any use)" in music[3], "it is not of the task's family"
    assert "MusicGen (non-commercial)" in music[3]
    assert tables.TABLES["tasks"]().columns[-1] == tables.TABLES["models"]().columns[-1] == "as of"


def test_boards_show_the_scores_the_highest_first():
    (row,) = tables.boards("video").rows
    assert row[-1].startswith("Seedance 2.0 1460, Veo 3.1 1375") and row[-1].endswith("Sora 1070")


def test_what_is_retired_says_since_when():
    rows = {row[0].strip("*"): row[4] for row in tables.models("sora", "sd3-turbo", "gpt").rows}
    assert rows == {
        "Sora": "withdrawn, retired: Sep\N{NO-BREAK SPACE}2026",
        "SD3-Turbo": "withdrawn, retired: undated",
        "GPT": "open weights",
    }


def changed(facts, **changes):
    """The atlas, with these changes to the rows of models of these ids."""
    for row in facts["model"]:
        row.update(changes.get(row["id"], {}))
    return taxonomy.parse(facts)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({}, "qwen-image"),  # on the board before the others of any use
        ({"retired": "2026-11"}, "hidream-o1"),
        ({"permits": "non-commercial"}, "hidream-o1"),
        ({"id": "other"}, "hidream-o1"),
    ],
)
def test_the_criteria_decide_the_order(facts, change, first):
    atlas = changed(facts, **{"qwen-image": change})
    names = [change.get("id", name) if name == "qwen-image" else name for name in FACTS_OPEN]
    assert ranking.ranked(atlas, atlas.tasks["text-to-image"], names, is_open=True)[0] == first


def test_gpus_and_age_decide_where_licence_and_board_do_not(facts):
    atlas = changed(facts, **{"hidream-o1": {"gpus": 2}})
    task = atlas.tasks["text-to-image"]
    assert ranking.ranked(atlas, task, ["hidream-o1", "z-image"], is_open=True) == ("z-image", "hidream-o1")
    assert (
        ranking.ranked(atlas, task, ["midjourney-v8", "nano-banana-21"], is_open=False)[0] == "nano-banana-21"
    )


def test_what_nobody_has_looked_at_is_listed(facts, capsys):
    atlas = changed(facts, sora={"checked": "2026-01"}, gpt={"checked": "2026-05"})
    listed = age.stale(atlas, 6, date(2026, 11, 29))
    assert "2026-05  model gpt" in listed and "2026-04  board video" in listed
    assert "2026-01  model sora" not in listed, "what is retired does not age"
    assert age.stale(atlas, 6, date(2026, 10, 31))[0] == "2026-04  board images-open"
    assert not [line for line in age.stale(atlas, 6, date(2026, 10, 31)) if "gpt" in line]
    assert tables.main(["--stale", "6"]) == 0 and capsys.readouterr().out


def test_few_hosted_models_are_explained():
    (row,) = tables.tasks("cad").rows
    assert row[4] == "Zoo Text-to-CAD. Only one hosted model is known."


def test_triage_answers_for_the_works_asked_for():
    made = tables.triage("gpt", "stylegan2", "sora", "midjourney-v7")
    assert [row[0] for row in made.rows] == ["**GPT**", "**StyleGAN 2**", "**Sora**", "**Midjourney v7**"]
    assert [row[2].split(":")[0].split(",")[0] for row in made.rows] == ["yes", "no", "yes", "undisclosed"]
    assert all(cell for row in made.rows for cell in row)


def test_an_unknown_work_is_refused():
    with pytest.raises(ValueError, match="no 'gun' here"):
        tables.triage("gan", "gun")
    with pytest.raises(ValueError, match="no table 'gun'; there are triage, families"):
        taxonomy.table("gun")


def test_a_family_of_two_views_stands_in_both_buckets():
    rows = {row[0][2]: row[2] for row in tables.buckets().rows}
    assert "Score-based model" in rows["4"] and "(Score-based model)" in rows["3"]


def test_the_glossary_is_in_order():
    names = [row[0].strip("*").lower() for row in tables.terms().rows]
    assert names == sorted(names)
    assert tables.terms("elbo", "score").rows[0][0] == "**ELBO**"


def test_dates_that_are_often_given_wrong():
    rows = {row[0].strip("*"): row for row in tables.dates().rows}
    assert rows["Veo 2"][1:3] == ("2025", "Dec\N{NO-BREAK SPACE}2024")
    assert all(model.note for model in taxonomy.load().models.values() if model.usual)


def test_readme_lists_the_lessons():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    there = [path.stem for path in ROOT.glob("solutions/*/*.py")]
    assert tables.renewed(readme, there) == readme, "stale: run .venv/bin/python -m genmap.taxonomy.tables"


def test_a_lesson_stands_once_in_the_list():
    listed = tables.lessons({"01_map", "13_gan"})
    assert "](lessons/13_gan/13_gan.ipynb)" in listed
    for lesson in taxonomy.load().lessons.values():
        assert listed.count(lesson.title) == 1, lesson.id


def test_a_readme_without_marks_is_refused():
    with pytest.raises(ValueError, match="put both back"):
        tables.renewed(f"# Title\n{tables.END}\n", [])


def test_renewing_writes_readme_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert tables.main() == 2
    Path("README.md").write_text(f"a\n{tables.BEGIN}\n{tables.END}\nb\n")
    assert tables.main() == 0 and "renewed" in capsys.readouterr().out
    assert tables.main() == 0 and "current" in capsys.readouterr().out
    text = Path("README.md").read_text()
    assert text.startswith("a\n") and text.endswith("\nb\n") and "35 lessons" in text


@cache
def drawn(name: str | None):
    """The timeline, or the map with this family lit, drawn once for all tests."""
    figure = taxonomy.timeline() if name == "timeline" else taxonomy.figure(name)
    figure.canvas.draw()
    return figure


@pytest.mark.parametrize("name", [None, "timeline", *taxonomy.load().families])
def test_texts_are_legible_inside_and_apart(name):
    figure = drawn(name)
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    assert figure.get_figwidth() == plot.WIDTH
    assert min(text.get_fontsize() for text in texts) >= 9
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for text, box in boxes:
        assert box.x0 >= 2 and box.y0 >= 2, text
        assert box.x1 <= figure.bbox.x1 - 2 and box.y1 <= figure.bbox.y1 - 2, text
    for (first, a), (second, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"{first!r} lies on {second!r}"


def dashed(figure):
    return [patch for patch in figure.axes[0].patches if patch.get_linestyle() not in ("solid", "-")]


def test_the_map_shows_both_views():
    assert len(dashed(drawn(None))) == sum(f.also > 0 for f in taxonomy.load().families.values()) >= 2


@pytest.mark.parametrize("name", taxonomy.load().families)
def test_the_lit_family_is_the_only_bold_one(name):
    names = {family.name for family in taxonomy.load().families.values()}
    figure = drawn(name)
    (bold,) = (t for t in figure.axes[0].texts if t.get_weight() == "bold" and t.get_text() in names)
    assert bold.get_text() == taxonomy.load().families[name].name
    text = bold.get_window_extent()
    (box,) = (
        b for patch in figure.axes[0].patches if (b := patch.get_window_extent()).contains(text.x0, text.y0)
    )
    assert box.x1 - 4 > text.x1, "the name ends in its box"


def test_an_unknown_family_cannot_be_lit():
    with pytest.raises(ValueError, match="no family 'gun' on the map"):
        taxonomy.figure("gun")


def test_the_timeline_shows_every_landmark_in_order():
    texts = {text.get_text(): text.get_position()[0] for text in drawn("timeline").axes[0].texts}
    marks = [model for model in taxonomy.load().models.values() if model.landmark]
    assert {model.name for model in marks} <= set(texts)
    years = [texts[str(year)] for year in range(2013, 2027)]
    steps = [later - earlier for earlier, later in pairwise(years)]
    assert max(steps) - min(steps) < 1e-6, "years are equally wide"
    for model in marks:
        assert abs(texts[model.name] - (years[0] + (model.year - 2013) * steps[0])) < steps[0] * 1.3, (
            model.name
        )
