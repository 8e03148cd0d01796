"""A released lesson in a bare kernel: its first code cell installs genmap, or says in one line why it cannot.

The kernel's environment holds what Google Colab has and no genmap; its packages are links to ours.
"""

import json
import os
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import nbformat
import pytest
from course_root import COURSE, ROOT
from lesson_runs import execute
from nbformat import NotebookNode
from packaging.requirements import Requirement
from small_course import NAME, course, files
from wheels import build_wheel

from autograde.authoring.release import release
from autograde.authoring.script import read_lesson
from autograde.authoring.setup_cell import add_setup
from autograde.cells import cells_to_run, scored_cells
from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading.rebuild import rebuild

__all__ = ["course"]  # the fixture
COLAB = {"COLAB_RELEASE_TAG": "release-colab"}
NEEDED = version("genmap")
IMPORTS = "import sys; sys.path.pop(0); import {}"


@pytest.fixture
def bare(tmp_path) -> Path:
    """The Python of an environment with pip and what genmap asks for, but neither genmap nor autograde."""
    folder = tmp_path / "bare"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in requirements("genmap", {"pip"}) - {"genmap"}:
        for entry in {file.parts[0] for file in distribution(name).files} - {"..", "__pycache__"}:
            link = packages / entry
            if not link.exists():
                link.symlink_to(distribution(name).locate_file(entry))
    return folder / "bin" / "python"


def requirements(name: str, found: set[str]) -> set[str]:
    """The names of a distribution and of all that it asks for here, added to `found`."""
    found.add(name)
    for asked in map(Requirement, distribution(name).requires or []):
        if asked.name not in found and (asked.marker is None or asked.marker.evaluate({"extra": ""})):
            try:
                requirements(asked.name, found)
            except PackageNotFoundError:
                found.discard(asked.name)  # of another system's
    return found


@pytest.fixture
def environment(monkeypatch):
    """No network for pip and git, and none of the variables that say where a notebook runs."""
    for name in (*COLAB, "GENMAP_WHEEL", "PYTHONPATH", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "none")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return monkeypatch


@pytest.fixture
def cell(course: Course) -> str:
    """The setup cell of the small lesson."""
    return setup_of(add_setup(course, NAME, read_lesson(course.source(NAME)))).source


def setup_of(notebook: NotebookNode) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.cell_type == "code")


def wheel(folder: Path, made: str = NEEDED, asks: str = "numpy") -> Path:
    """A wheel of a genmap that holds its version and no more."""
    info = f"genmap-{made}.dist-info"
    path = folder / f"genmap-{made}-py3-none-any.whl"
    members = {
        "genmap/__init__.py": f"VERSION = {made!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: genmap\nVersion: {made}\nRequires-Dist: {asks}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def run(python: Path, code: str, **given: str) -> list[str]:
    """The lines that the code prints; it ends well and complains of nothing."""
    done = subprocess.run([python, "-c", code], env=os.environ | given, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def has(python: Path, module: str) -> bool:
    return not subprocess.run([python, "-c", IMPORTS.format(module)], capture_output=True).returncode


def test_the_first_lesson_runs_in_a_bare_kernel(bare, environment, tmp_path):
    build_wheel(ROOT, tmp_path)
    (built,) = tmp_path.glob("*.whl")
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    command = [str(bare), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": command, "display_name": "bare", "language": "python"}))
    given = {**COLAB, "GENMAP_WHEEL": str(built), "JUPYTER_PATH": str(tmp_path / "jupyter")}
    for name, value in given.items():
        environment.setenv(name, value)
    assert not has(bare, "genmap") and not has(bare, "autograde")
    notebook = nbformat.read(COURSE.lesson(COURSE.names()[0]), 4)
    errors = execute(notebook, tmp_path, allow_errors=True)
    assert {where for where, _ in errors} == {f"test-{exercise}" for exercise in scored_cells(notebook)}
    assert {kind for _, kind in errors} == {"NotImplementedError"}
    assert setup_of(notebook).outputs[0].text == f"Installing genmap from {built} ...\n"
    report = notebook.cells[-1].outputs[-1].data["text/plain"]
    assert "hidden tests, which give the points, are not installed here" in report
    assert has(bare, "genmap") and not has(bare, "autograde")


def test_where_genmap_is_installed_the_cell_does_nothing(cell, environment, tmp_path):
    for given in ({}, COLAB, {**COLAB, "GENMAP_WHEEL": str(wheel(tmp_path, "99.0"))}):
        assert run(Path(sys.executable), cell, **given) == []


def test_the_cell_leaves_no_name_behind(cell):
    namespace: dict[str, object] = {}
    exec(cell, namespace)
    assert set(namespace) == {"__builtins__"}


@pytest.mark.parametrize("given", [COLAB, {}], ids=["Colab", "elsewhere"])
def test_the_wheel_that_is_named_is_installed(bare, cell, environment, tmp_path, given):
    (tmp_path / "a b").mkdir()
    named = wheel(tmp_path / "a b")
    assert run(bare, cell, GENMAP_WHEEL=str(named), **given) == [f"Installing genmap from {named} ..."]
    assert has(bare, "genmap")
    assert run(bare, cell, GENMAP_WHEEL=str(named), **given) == []


@pytest.mark.parametrize("given", [COLAB, {}, {**COLAB, "GENMAP_WHEEL": ""}])
def test_without_a_source_the_cell_says_what_to_do(bare, cell, environment, given):
    (line,) = run(bare, cell, **given)
    assert line.startswith(f"This lesson needs genmap {NEEDED}; here is none. ") and "GENMAP_WHEEL" in line


def test_another_version_is_named_and_replaced(bare, cell, environment, tmp_path):
    old = "0.0.1"
    subprocess.run([bare, "-m", "pip", "install", "-q", wheel(tmp_path, old)], check=True)
    (line,) = run(bare, cell, **COLAB)
    assert f"needs genmap {NEEDED}; here is {old}." in line
    run(bare, cell, GENMAP_WHEEL=str(wheel(tmp_path)))
    assert run(bare, "import genmap; print(genmap.VERSION)") == [NEEDED]


def damage(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:200])
    return path


def rename(path: Path) -> Path:
    return path.rename(path.with_name("x.whl"))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda folder: folder / "none.whl", "none.whl"),
        (lambda folder: folder, "not installable"),
        (lambda folder: damage(wheel(folder)), "is invalid"),
        (lambda folder: rename(wheel(folder)), "not a valid wheel filename"),
        (lambda folder: wheel(folder, asks="genmap-asks-for-what-nobody-has"), "No matching distribution"),
        (lambda folder: "--help", "--help"),
    ],
    ids=["no file", "a folder", "damaged", "renamed", "what it needs is missing", "an option"],
)
def test_a_failure_is_told_in_one_line(bare, cell, environment, tmp_path, broken, reason):
    source = broken(tmp_path)
    first, line = run(bare, cell, GENMAP_WHEEL=str(source), **COLAB)
    assert first == f"Installing genmap from {source} ..."
    assert line.startswith("It failed: ") and reason in line and line.endswith("then run this cell again.")
    assert not has(bare, "genmap")


def test_the_cell_is_below_the_title_and_not_graded(course: Course):
    release(course, [])
    lesson = nbformat.read(course.lesson(NAME), 4)
    setup = setup_of(lesson)
    assert lesson.cells[0].source.startswith("# Means") and lesson.cells[1] == setup
    assert setup in nbformat.read(course.instructors(NAME), 4).cells
    rebuilt = rebuild(lesson, lesson)
    assert rebuilt.notebook.cells[1] == setup and rebuilt.notes == []
    assert setup.source not in [cell.source for cell in cells_to_run(rebuilt.notebook)]
    assert "colab-badge" not in course.lesson(NAME).read_text()


def test_a_public_course_has_a_badge_and_is_installed_from_there(course: Course, bare, environment):
    address = "https://github.com/some-one/the.map"
    (course.root / "pyproject.toml").write_text(f'[tool.genmap]\nrepository = "{address}"\n')
    release(course, [])
    before = files(course)
    assert release(course, []) == [] and files(course) == before
    lesson = nbformat.read(course.lesson(NAME), 4)
    target = (
        f"https://colab.research.google.com/github/some-one/the.map/blob/main/lessons/{NAME}/{NAME}.ipynb"
    )
    assert lesson.cells[1].source.endswith(f"({target})") and "colab-badge" in lesson.cells[1].source
    (elsewhere,) = run(bare, setup_of(lesson).source)
    assert "here is none" in elsewhere
    assert run(bare, setup_of(lesson).source, **COLAB)[0] == f"Installing genmap from git+{address} ..."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[tool.genmap]\nrepository = "github.com/a/b"', "use https://github.com/OWNER/NAME"),
        ('[tool.genmap]\nrepository = "https://github.com/a/b)\\n# x"', "use https://github.com/OWNER/NAME"),
        ("[tool.genmap]\nrepository = 3", "use https://github.com/OWNER/NAME"),
        ("[tool.genmap", "is no TOML"),
    ],
)
def test_an_address_that_is_none(course: Course, text, reason):
    (course.root / "pyproject.toml").write_text(text)
    with pytest.raises(CourseError, match=reason) as caught:
        release(course, [])
    assert "\n" not in str(caught.value)


def test_every_lesson_begins_with_the_same_setup():
    found = {setup_of(nbformat.read(path, 4)).source for path in ROOT.glob("lessons/*/*.ipynb")}
    assert len(found) == 1 and "install_genmap" in found.pop()
