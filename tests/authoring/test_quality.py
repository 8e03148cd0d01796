"""`make quality`: runs lessons in `quick`, writes their rows and no others, and says what does not hold."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from course_root import ROOT
from hypothesis import given
from hypothesis import strategies as st
from small_course import NAME, change
from small_course import course as course

from autograde.authoring import quality
from autograde.course import Course
from autograde.errors import CourseError
from genmap.board.entries import METRICS, Board, Row, Target, parse, row_of

HEAD = f"""# What stands above the line stays as it is.
[[target]]
lesson = "{NAME}"
model = "a mean"
data = "numbers"
metric = "nats"
at_least = -2  # about as much
source = "a test"

"""
OTHER = """
[[measured]]
lesson = "01_map"
model = "KDE"
data = "digits 8x8"
setting = "quick"
machine = "2 CPU cores"
parameters = 3
sample_seconds = 5.5e-07
nats = 32.35
"""
DEMO = "print(centred(np.arange(3)))"
RECORD = f"""
from genmap import board
board.record("{NAME}", "a mean", data="numbers", parameters=3, train_seconds=0.123456, nats=-1.23456789)
board.record("{NAME}", "second", data="numbers", kid=0.0)
"""


@pytest.fixture
def board(course) -> Path:
    """The board of the small course, whose lesson records two rows."""
    path = course.root / "data" / "board.toml"
    path.parent.mkdir()
    path.write_text(HEAD + quality.MEASURED + OTHER)
    change(course, DEMO, RECORD)
    return path


def test_a_run_writes_the_lessons_rows_and_leaves_the_rest(course, board, capsys):
    quality.main([NAME])
    text = board.read_text()
    assert text.startswith(HEAD + quality.MEASURED + OTHER), "byte for byte"
    rows = [row for row in parse(text).rows if row.lesson == NAME]
    assert [row.model for row in rows] == ["a mean", "second"], "in the order of recording"
    assert rows[0].figures == {"nats": -1.235}
    assert (rows[0].parameters, rows[0].train_seconds) == (3, 0.12)
    assert {(row.setting, row.machine) for row in rows} == {("quick", "2 CPU cores")}
    said = capsys.readouterr().out
    assert "-1.235" in said
    assert "≥ -2" in said
    assert "CPU-seconds of 300" in said
    kept = nbformat.read(course.grading / "quality" / f"{NAME}.ipynb", 4)
    assert any(cell.get("execution_count") for cell in kept.cells)
    quality.main([NAME])
    assert board.read_text() == text, "the same figures, the same bytes"


def test_a_missed_target_is_written_and_ends_with_1(course, board):
    board.write_text(board.read_text().replace("at_least = -2 ", "at_least = 0 "))
    with pytest.raises(CourseError) as error:
        quality.main([])
    head, *lines = str(error.value).splitlines()
    assert head == "these do not hold:"
    assert lines == [f"{NAME}: nats per example of a mean on numbers is -1.235; the target is ≥ 0"]
    assert error.value.exit_code == 1
    assert "-1.235" in board.read_text()


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("1 / 0", "a cell raises ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')", "a cell raises ValueError: two lines"),
        ("import os; os._exit(1)", "the kernel died"),
        (RECORD.replace(NAME, "91_other", 1), "records figures of 91_other"),
        (RECORD.replace("-1.23456789", "float('nan')"), "nats is nan; it must be finite"),
    ],
)
def test_a_lesson_that_fails_is_one_line_and_changes_nothing(course, board, cell, says):
    change(course, RECORD, cell)
    before = board.read_text()
    with pytest.raises(CourseError) as error:
        quality.main([NAME])
    _, *lines = str(error.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{NAME}: ")
    assert says in lines[0]
    assert board.read_text() == before


def test_the_cpu_time_of_the_kernel_is_counted(course, board):
    burn = "import time\nwhile time.process_time() < 4: pass\n"
    change(course, RECORD, burn + RECORD)
    run = quality.run_lesson(course, NAME)
    assert 4 <= run.cpu < 20
    assert run.wall > 3


def test_a_cell_that_never_ends_is_stopped(course, board, monkeypatch):
    monkeypatch.setattr(quality, "CELL_SECONDS", 2)
    change(course, RECORD, "while True: pass")
    with pytest.raises(CourseError, match="a cell runs for more than 2 seconds"):
        quality.run_lesson(course, NAME)


def row(model: str = "a mean", **given) -> Row:
    names = {"lesson": NAME, "data": "numbers", "setting": "quick", "machine": "2 CPU cores"}
    return row_of({**names, "model": model, "nats": -1.0, **given})


TARGET = Target(lesson=NAME, model="a mean", data="numbers", metric="nats", limit=-2.0, source="a test")


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (quality.Run([row()], 10, 10), []),
        (quality.Run([row(nats=-3.0)], 10, 10), ["is -3; the target is ≥ -2"]),
        (
            quality.Run([row(model="another")], 10, 10),
            ["no nats per example of a mean on numbers was recorded"],
        ),
        (quality.Run([row()], quality.CPU_SECONDS + 1, 10), ["takes 301 CPU-seconds, more than 300"]),
        (quality.Run([], 10, 10), ["no nats", "it records no figure: call board.record"]),
    ],
)
def test_what_does_not_hold_is_a_line_each(run, says):
    lines = quality.misses(NAME, run, [TARGET])
    assert len(lines) == len(says)
    for line, part in zip(lines, says, strict=True):
        assert line.startswith(f"{NAME}: ")
        assert part in line
    assert quality.misses("91_other", quality.Run([row()], 1, 1), [TARGET]) == [], "another lesson's target"


printable = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1).filter(
    lambda text: text.strip() and text.isprintable()
)
finite = st.floats(-1e300, 1e300)


@given(st.lists(st.tuples(printable, finite, st.integers(0, 10**12)), max_size=4))
def test_what_is_written_can_be_read(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("board") / "board.toml"
    path.write_text(HEAD + quality.MEASURED + OTHER, encoding="utf-8")
    rows = {model: row(model=model, nats=nats, parameters=n) for model, nats, n in entries}
    quality.write_rows(path, NAME, list(rows.values()))
    read = [each for each in parse(path.read_text(encoding="utf-8")).rows if each.lesson == NAME]
    assert [each.model for each in read] == list(rows)
    for each in read:
        assert each.parameters == rows[each.model].parameters
        assert each.figures["nats"] == pytest.approx(rows[each.model].figures["nats"], rel=1e-3)
    quality.write_rows(path, NAME, [])
    assert path.read_text(encoding="utf-8") == HEAD + quality.MEASURED + OTHER


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEAD, "lacks its line"),
        (HEAD + quality.MEASURED * 2, "lacks its line"),
        (HEAD + quality.MEASURED + "[[measured", "damaged"),
        (HEAD + quality.MEASURED + OTHER * 2, "stands there twice"),
        ("", "lacks its line"),
    ],
)
def test_a_damaged_board_is_left_alone(tmp_path, text, says):
    path = tmp_path / "board.toml"
    path.write_text(text)
    with pytest.raises(CourseError, match=says) as error:
        quality.write_rows(path, NAME, [row()])
    assert "\n" not in str(error.value)
    assert path.read_text() == text


def test_a_missing_board_is_one_line(tmp_path):
    with pytest.raises(CourseError, match=r"board.toml: No such file or directory: restore it from git\."):
        quality.read_board(tmp_path / "board.toml")


def test_an_interrupted_write_leaves_the_old_board(tmp_path, monkeypatch):
    path = tmp_path / "board.toml"
    path.write_text(HEAD + quality.MEASURED + OTHER)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        quality.write_rows(path, NAME, [row()])
    assert path.read_text() == HEAD + quality.MEASURED + OTHER


def test_the_command_is_called_wrongly(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "autograde.authoring.quality", "99_none"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("quality: Unknown lesson '99_none'")
    assert len(done.stderr.splitlines()) == 1


def test_the_courses_own_board_can_be_written(tmp_path):
    source = Course.at(ROOT).root / "data" / "board.toml"
    path = tmp_path / "board.toml"
    path.write_bytes(source.read_bytes())
    board = quality.read_board(path)
    assert isinstance(board, Board)
    for name in {row.lesson for row in board.rows}:
        quality.write_rows(path, name, [row for row in board.rows if row.lesson == name])
    assert path.read_bytes() == source.read_bytes(), "nothing there was written by hand"
    assert set().union(*(row.figures for row in board.rows)) <= set(METRICS)


CLAIM = RECORD + 'board.claim("Two is more than one.", {})\n'
SEED = "torch.Generator().manual_seed(3).initial_seed()"


@pytest.mark.parametrize(
    ("holds", "broken"),
    [
        ("True", []),
        ("False", ["", " with 1000 added to the seeds", " with 2000 added to the seeds"]),
        (f"{SEED} == 3", [" with 1000 added to the seeds", " with 2000 added to the seeds"]),
        (f"{SEED} < 2000", [" with 2000 added to the seeds"]),
        (f"{SEED} != 3", [""]),
    ],
)
def test_a_claim_holds_with_every_set_of_seeds(course, board, holds, broken):
    change(course, RECORD, "import torch\n" + CLAIM.format(holds))
    before = [f"{NAME}: this does not hold{where}: Two is more than one." for where in broken]
    try:
        quality.main([NAME])
        found = []
    except CourseError as error:
        found = str(error).splitlines()[1:]
    assert found == before


def test_other_seeds_are_those_of_cells_alone(course, board):
    cell = """
import numpy as np
import torch
theirs = {"__name__": "genmap.metrics", "np": np, "torch": torch}
exec("def draws(): return np.random.default_rng(7).integers(10**9), torch.Generator().manual_seed(7)", theirs)
torch.manual_seed(5)
board.claim("torch's seed is another.", torch.initial_seed() == 1005)
board.claim("NumPy's seed is another.", np.random.default_rng(7).integers(10**9) != theirs["draws"]()[0])
board.claim("A module's seeds are its own.", theirs["draws"]()[1].initial_seed() == 7)
board.claim("torch takes the generator.", torch.randn(3, generator=torch.Generator()).numel() == 3)
"""
    change(course, RECORD, RECORD + cell)
    assert quality.run_lesson(course, NAME).broken == ("torch's seed is another.", "NumPy's seed is another.")
    assert quality.run_lesson(course, NAME, 1000).broken == ()
