"""`make lab`: lessons are copied, never over a learner's file, and JupyterLab opens at the first."""

import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from lab_server import server

from genmap import lab

__all__ = ["server"]  # the fixture: the lab of the fixture `course` below


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course folder with two lessons, the current one."""
    for name in ("01_map", "02_next"):
        folder = tmp_path / "lessons" / name
        folder.mkdir(parents=True)
        cell = nbformat.v4.new_code_cell(f"lesson = {name!r}")
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{name}.ipynb")
    (tmp_path / "lessons" / "01_map" / "figure.txt").write_text("a file beside the notebook")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_lessons_are_copied_whole(course):
    assert lab.copy_lessons(course) == ["01_map", "02_next"]
    for name in ("01_map/01_map.ipynb", "01_map/figure.txt", "02_next/02_next.ipynb"):
        assert (course / "work" / name).read_bytes() == (course / "lessons" / name).read_bytes()


def test_a_learners_file_is_never_overwritten(course):
    lab.copy_lessons(course)
    mine = course / "work" / "01_map" / "01_map.ipynb"
    mine.write_text("my answers")
    (course / "work" / "02_next" / "02_next.ipynb").unlink()
    (course / "work" / "02_next" / "02_next.ipynb").symlink_to("elsewhere")
    assert lab.copy_lessons(course) == []
    assert mine.read_text() == "my answers"
    assert (course / "work" / "02_next" / "02_next.ipynb").is_symlink()


def test_a_deleted_copy_comes_back(course):
    lab.copy_lessons(course)
    (course / "work" / "01_map" / "01_map.ipynb").unlink()
    assert lab.copy_lessons(course) == ["01_map"]


def test_the_build_track_takes_the_lessons_place_where_there_is_one(course):
    track = course / "lessons" / "02_next" / "build" / "02_next.ipynb"
    track.parent.mkdir()
    track.write_text("the build track")
    assert lab.copy_lessons(course) == ["01_map", "02_next"]
    mine = course / "work" / "02_next" / "02_next.ipynb"
    assert mine.read_bytes() == (course / "lessons" / "02_next" / "02_next.ipynb").read_bytes()
    assert not (course / "work" / "02_next" / "build").exists()
    assert lab.copy_lessons(course, "build") == [], "it is begun in the other track"
    mine.unlink()
    (course / "work" / "01_map" / "01_map.ipynb").unlink()
    assert lab.copy_lessons(course, "build") == ["01_map", "02_next"]
    assert mine.read_text() == "the build track"


def test_there_is_no_third_track(course):
    with pytest.raises(lab.LabError, match="no track 'read': name 'build', or none"):
        lab.copy_lessons(course, "read")


def test_hidden_files_stay(course):
    checkpoint = course / "lessons" / "01_map" / ".ipynb_checkpoints" / "01_map-checkpoint.ipynb"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    lab.copy_lessons(course)
    assert not (course / "work" / "01_map" / ".ipynb_checkpoints").exists()


def test_an_interrupted_copy_is_made_again(course, monkeypatch):
    def half(source, target):
        Path(target).write_text("{")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "copyfile", half)
        lab.copy_lessons(course)
    assert not list((course / "work").rglob("*.ipynb"))
    lab.copy_lessons(course)
    assert json.loads((course / "work" / "01_map" / "01_map.ipynb").read_text())["cells"]
    assert not list((course / "work").rglob("*.part"))


def refused(capsys) -> str:
    """The one line that `python -m genmap.lab` ends with."""
    assert lab.main() == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize("emptied", ["lessons", "lessons/01_map"])
def test_a_folder_without_lessons(tmp_path, monkeypatch, capsys, emptied):
    (tmp_path / emptied).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "lessons")
    assert "no lessons" in refused(capsys)
    monkeypatch.chdir(tmp_path)
    assert "no lessons" in refused(capsys)


def test_a_place_that_cannot_be_written(course, capsys):
    (course / "work").write_text("a file where the folder belongs")
    assert re.search(r"Cannot write .*work.*: make the course's folder writable", refused(capsys))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(course, capsys):
    course.chmod(0o555)
    assert "Permission denied" in refused(capsys)
    course.chmod(0o755)


def test_no_jupyterlab(course, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    assert "pip install jupyterlab" in refused(capsys)


@pytest.mark.parametrize(
    ("platform", "display", "browser", "expected"),
    [
        ("linux", "", True, False),
        ("linux", "DISPLAY", True, True),
        ("linux", "WAYLAND_DISPLAY", True, True),
        ("linux", "DISPLAY", False, False),
        ("darwin", "", True, True),
    ],
)
def test_when_a_browser_opens(course, monkeypatch, platform, display, browser, expected):
    def get():
        if not browser:
            raise lab.webbrowser.Error

    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv(display, ":0")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(lab.webbrowser, "get", get)
    assert lab.has_browser() is expected
    assert ("--no-browser" in lab.arguments(course)) is not expected


def fetch(url: str) -> str:
    """What is at `url`; the server prints its address a moment before it listens there."""
    while True:
        try:
            with urllib.request.urlopen(url) as reply:
                return reply.read().decode()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.1)


def test_the_lab_serves_the_first_lesson_and_nothing_for_teachers(server):
    assert next(server) == "Copied to work/: 01_map, 02_next. JupyterLab starts; Control-C stops it.\n"
    address = r"(http://127\.0\.0\.1:\d+)(/lab/tree/01_map/01_map\.ipynb)\?token=(\w+)"
    said = []
    while not (found := re.search(address, line := next(server))):
        said.append(line)
    assert not re.search(r"\[[IW] |nbgrader", "".join(said)), "more than the address was said"
    base, first, token = found.groups()
    served = json.loads(fetch(f"{base}/api/contents/01_map/01_map.ipynb?token={token}"))
    assert served["content"]["cells"][0]["source"] == "lesson = '01_map'"
    page = fetch(f"{base}{first}?token={token}")
    (settings,) = re.findall(
        r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', page, re.S
    )
    assert {"@jupyter/nbgrader", "@jupyterlab/apputils-extension:announcements"} <= set(
        json.loads(settings)["disabledExtensions"]
    )
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(f"{base}/assignments?token={token}")


@pytest.mark.parametrize("before", [None, "/mine"])
def test_the_learners_own_settings_stay_behind_the_labs(tmp_path, monkeypatch, before):
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", before or "")
    lab.calm(tmp_path)
    expected = [str(tmp_path), before] if before else [str(tmp_path)]
    assert os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep) == expected
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")} == set(lab.CALM)
