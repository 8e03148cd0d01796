"""A submission is read once, by descriptors: no link, nothing without end, whatever changes meanwhile."""

import os
from pathlib import Path

import pytest
from classroom import RIGHT, filled, hand_in, released, run
from nbgrader.converters import Autograde
from nbgrader.converters.base import NbGraderException
from small_course import NAME, course

from autograde.errors import CourseError
from autograde.grading import in_progress, submission_files
from autograde.grading.in_progress import COPIES, lock, sweep
from autograde.grading.submission_files import MAX_BYTES, MAX_ENTRIES, MAX_NOTEBOOK_BYTES, digest, plain_files

__all__ = ["course", "released"]


@pytest.fixture
def folder(tmp_path):
    """.../submitted/ann/90_small with a notebook and a file in a folder; beside it a secret."""
    made = tmp_path / "submitted" / "ann" / NAME
    (made / "given").mkdir(parents=True)
    (made / f"{NAME}.ipynb").write_text("{}")
    (made / "given" / "words.txt").write_text("words")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "words.txt").write_text("secret")
    return made


def copied(folder: Path, tmp_path: Path) -> dict[str, str]:
    digest(folder, tmp_path / "copy")
    return {
        str(path.relative_to(tmp_path / "copy")): path.read_text()
        for path in (tmp_path / "copy").rglob("*")
        if path.is_file()
    }


def test_it_is_copied_whole_and_links_and_pipes_are_not(folder, tmp_path):
    (folder / "link").symlink_to(tmp_path / "secret" / "words.txt")
    (folder / "linked").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    assert copied(folder, tmp_path) == {f"{NAME}.ipynb": "{}", "given/words.txt": "words"}


def test_the_digest_is_of_names_and_contents_alone(folder):
    before = digest(folder)
    os.utime(folder / "given" / "words.txt", (1, 1))
    assert digest(folder) == before
    (folder / "given" / "words.txt").rename(folder / "given" / "other.txt")
    renamed = digest(folder)
    (folder / "given" / "other.txt").write_text("more")
    assert len({before, renamed, digest(folder)}) == 3


@pytest.mark.parametrize("what", ["student", "lesson", "given"])
def test_a_folder_that_becomes_a_link_while_it_is_read(folder, tmp_path, monkeypatch, what):
    """At the moment between looking at an entry and opening it, for each level."""
    place = {"student": folder.parent, "lesson": folder, "given": folder / "given"}[what]
    original, swapped = os.open, []

    def swapping(path, flags, *args, **named):
        if path == place.name and not swapped:
            swapped.append(place)
            place.rename(place.with_name("aside"))
            place.symlink_to(tmp_path / "secret")
        return original(path, flags, *args, **named)

    monkeypatch.setattr(os, "open", swapping)
    with pytest.raises((CourseError, OSError)):
        copied(folder, tmp_path)
    kept = [path.read_text() for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert swapped and "secret" not in kept


@pytest.mark.parametrize("kind", ["folders", "links", "files"])
def test_too_many_entries_of_any_kind_are_refused_at_the_first(folder, monkeypatch, kind):
    make = {"folders": Path.mkdir, "links": lambda path: path.symlink_to("/"), "files": Path.touch}[kind]
    for n in range(MAX_ENTRIES + 50):
        make(folder / "given" / str(n))
    seen = []
    monkeypatch.setattr(submission_files.os, "fstat", lambda fd, real=os.fstat: seen.append(fd) or real(fd))
    with pytest.raises(CourseError, match=f"more than {MAX_ENTRIES} files and folders"):
        digest(folder)
    assert len(seen) <= MAX_ENTRIES


def test_too_much_is_refused_before_it_is_read(folder, tmp_path):
    with (folder / "sparse").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(CourseError, match="or 200 MB: not graded"):
        digest(folder)
    with (folder / "sparse").open("wb") as file:
        file.truncate(10)
    with (folder / f"{NAME}.ipynb").open("wb") as file:
        file.truncate(MAX_NOTEBOOK_BYTES + 1)
    with pytest.raises(CourseError, match="larger than 12 MB: clear its outputs and hand it in again"):
        digest(folder)


def test_a_notebook_that_is_a_link_is_refused(folder, tmp_path):
    (folder / "other.ipynb").symlink_to(tmp_path / "secret" / "words.txt")
    with pytest.raises(CourseError, match=r"other\.ipynb is a link"):
        digest(folder)


def test_nbgrader_sees_plain_files_without_those_it_ignores(folder):
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "x.txt").touch()
    (folder / "link").symlink_to("/etc/passwd")
    found = plain_files(str(folder), [".ipynb_checkpoints", "*.ipynb"])
    assert found == [str(folder / "given" / "words.txt")]


def test_nbgraders_own_command_grades_a_copy_and_refuses_a_link(released):
    hand_in(released, "ann", filled(released, RIGHT))
    bob = released.grading / "submitted" / "bob"
    bob.mkdir()
    (bob / NAME).symlink_to(f"../ann/{NAME}")
    with pytest.raises(NbGraderException, match=r"'bob'.*is a link or no folder"):
        run(released, Autograde)
    assert not (released.grading / "autograded" / "bob").exists()
    assert list((released.grading / COPIES).iterdir()) == []


def test_what_is_being_copied_is_not_swept(released, monkeypatch):
    hand_in(released, "ann", filled(released, RIGHT))
    original, left = submission_files.STOCK_INIT_ASSIGNMENT, []

    def copying(converter, *names):
        original(converter, *names)
        left.append(sweep(released))  # as any nbgrader command does when it starts

    monkeypatch.setattr(submission_files, "STOCK_INIT_ASSIGNMENT", copying)
    run(released, Autograde)
    assert left == [[]]


def test_a_lesson_that_is_being_graded_is_not_swept(released):
    left = released.grading / "autograded" / "ann" / NAME
    left.mkdir(parents=True)
    with lock(released, NAME):
        assert sweep(released) == [] and left.exists()
        assert sweep(released, held=NAME) == [left]
    left.mkdir()
    assert sweep(released) == [left] and not left.exists()


def test_copies_that_a_killed_grader_left_go(released):
    gone, ours = (released.grading / COPIES / f"{number}-x" for number in (2**22 + 1, os.getpid()))
    gone.mkdir(parents=True)
    ours.mkdir()
    sweep(released)
    assert not gone.exists() and ours.exists()
    assert in_progress.alive(str(os.getpid()))
