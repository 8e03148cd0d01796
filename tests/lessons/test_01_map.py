"""Lesson 01_map: its definitions agree with SciPy and scikit-learn, its printed lines with the truth."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch
from course_root import COURSE
from scipy.stats import norm
from sklearn.neighbors import KernelDensity

from autograde.authoring.script import read_lesson
from autograde.cells import cells_to_run
from genmap.taxonomy import ranking

LINE = r"(?m)^{}: p\(x in \[-0\.5, 0\.5\]\) ≈ (\d\.\d+) .*exact (\d\.\d+)$"


@pytest.fixture(scope="module")
def lesson() -> dict[str, object]:
    """The names of the chapter and of the exercises' solutions, and under "printed" what it printed."""
    names: dict[str, object] = {"__name__": "__main__"}
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("GENMAP_SETTING", "smoke")
        for cell in cells_to_run(read_lesson(COURSE.source("01_map"))):
            exec(compile(cell.source, "01_map", "exec"), names)
    names["printed"] = printed.getvalue()
    return names


def truth(a: float, b: float) -> float:
    return sum(0.5 * (norm.cdf(b, m, 0.4) - norm.cdf(a, m, 0.4)) for m in (-0.6, 0.6))


def test_the_exact_mass_is_scipys(lesson):
    for a, b in [(-0.5, 0.5), (-np.inf, 0), (1, 3), (-9, 9)]:
        assert lesson["mixture_mass"](a, b) == pytest.approx(truth(a, b), abs=1e-12)
    assert truth(-0.5, 0.5) == pytest.approx(0.398, abs=5e-4)


@pytest.mark.parametrize("model", [r"explicit density \(histogram\)", r"explicit density, blurred \(KDE\)"])
def test_estimates_are_printed_beside_the_exact_value(lesson, model):
    estimate, exact = map(float, re.search(LINE.format(model), lesson["printed"]).groups())
    assert exact == pytest.approx(truth(-0.5, 0.5), abs=5e-5)
    assert abs(estimate - exact) < 4 * np.sqrt(exact * (1 - exact) / 2000) + 0.02


def test_the_implicit_model_prints_twenty_training_samples(lesson):
    title, rest = lesson["printed"].split("implicit (nearest-sample gen): ")[1].split("\n", 1)
    assert title == "20 new samples printed, no p(x)"
    numbers = [float(v) for v in rest[rest.index("[") + 1 : rest.index("]")].split()]
    assert len(numbers) == 20
    assert all(np.abs(lesson["x_train"] - v).min() < 1e-3 for v in numbers)


@pytest.mark.parametrize("D", [1, 2, 64])
def test_log_kde_is_scikit_learns(lesson, D):
    rng = np.random.default_rng(D)
    points, x = rng.normal(size=(300, D)), rng.normal(size=(50, D)) * 2
    h = 0.3 * D**0.5  # far out, where its terms underflow, scikit-learn's trees lose the nearest points
    theirs = KernelDensity(bandwidth=h).fit(points).score_samples(x)
    ours = lesson["log_kde"](torch.tensor(x), torch.tensor(points), h, chunk=7)
    assert np.allclose(ours.numpy(), theirs, atol=1e-6)


def test_the_histogram_integrates_to_one(lesson):
    x = np.random.default_rng(0).normal(size=500) * 0.5
    edges = np.linspace(-3, 3, 25)
    assert lesson["histogram"](x, edges).sum() * (edges[1] - edges[0]) == pytest.approx(1)
    grid = torch.linspace(-2.9999, 2.9999, 60_001, dtype=torch.float64)
    for alpha in (0.0, 1.0):
        log_p = lesson["log_histogram"](grid, torch.tensor(x), 0.25, alpha)
        assert float(log_p.exp().mean() * 6) == pytest.approx(1, abs=1e-3)


def test_the_tables_of_bucket_one_are_the_two_dimensional_histogram(lesson):
    x = torch.tensor(np.random.default_rng(1).normal(size=(400, 2)).clip(-2.9, 2.9))
    first, second = lesson["fit_tables"](x, bins=12)
    joint = (first[:, None] * second).numpy()
    theirs = np.histogram2d(*x.numpy().T, bins=12, range=[[-3, 3], [-3, 3]])[0] / 400
    assert np.allclose(joint, theirs, atol=1e-6)


def test_the_choosers_rows_are_tasks_of_the_map(lesson):
    atlas = lesson["ATLAS"]
    rows = {name for names in lesson["TASKS"].values() for name in names} | {"density-estimation"}
    assert rows <= set(atlas.tasks)
    assert all(len(atlas.tasks[row].open) >= 3 for row in rows)
    assert set(lesson["CALLS"]) == {family.sampling for family in atlas.families.values()}


def test_the_choosers_order_is_the_maps_ranking(lesson):
    atlas = lesson["ATLAS"]
    for row in atlas.tasks.values():
        for ids, board, is_open in ((row.open, row.open_board, True), (row.hosted, row.hosted_board, False)):
            models = [atlas.models[name] for name in ids]
            ours = sorted(models, key=lambda model: lesson["rank"](model, board, is_open))
            theirs = sorted(models, key=lambda model: ranking.place(atlas, model, board, is_open))
            assert ours == theirs
