"""What a release adds below a lesson's title: the Colab badge, and the cell that installs genmap."""

import re
import tomllib
from importlib.metadata import version

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograde.authoring.script import set_ids
from autograde.course import Course
from autograde.errors import CourseError

GITHUB = re.compile(r"https://github\.com/[\w.-]+/[\w.-]*\w")
COLAB = "https://colab.research.google.com"
# It leaves no name behind: grading skips it, and an answer that leans on its imports would fail only there.
SETUP = """\
# Setup: on Google Colab this installs genmap.
# Where genmap is installed, as by `make lab`, nothing happens.
def install_genmap(needed, source):
    import importlib.metadata
    import importlib.util
    import os
    import subprocess
    import sys

    here = [found.version for found in importlib.metadata.distributions(name="genmap")][:1]
    if importlib.util.find_spec("genmap") and here in ([], [needed]):
        return
    if "COLAB_RELEASE_TAG" not in os.environ:
        source = ""
    source = os.environ.get("GENMAP_WHEEL") or source
    if not source:
        print(f"This lesson needs genmap {needed}; here is {', '.join(here) or 'none'}.", end=" ")
        print("Choose the course's kernel, or install its wheel, or name that in GENMAP_WHEEL.")
        return
    print(f"Installing genmap from {source} ...")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--", source]
    done = subprocess.run(pip, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    importlib.invalidate_caches()
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = ([line for line in lines if line.startswith("ERROR")] or lines or ["no reason"])[-1]
        print(f"It failed: {reason}. Check the network and GENMAP_WHEEL, then run this cell again.")


"""


def add_setup(course: Course, name: str, notebook: NotebookNode) -> NotebookNode:
    """The lesson with its badge, where the course has a public address, and the setup cell, below its title.

    It is `notebook` itself. Raises CourseError where the address in pyproject.toml is none of GitHub's.
    """
    repository = _repository(course)
    source = f"git+{repository}" if repository else ""
    call = f"install_genmap({version('genmap')!r}, {source!r})\ndel install_genmap"
    cell = new_code_cell(SETUP + call)
    cell.metadata = nbformat.from_dict({"tags": ["demo"], "jupyter": {"source_hidden": True}})
    added = [_badge(repository, name)] if repository else []
    place = 1 if notebook.cells[0].cell_type == "markdown" else 0
    notebook.cells[place:place] = [*added, cell]
    set_ids(notebook.cells)
    return notebook


def _badge(repository: str, name: str) -> NotebookNode:
    path = repository.removeprefix("https://github.com")
    address = f"{COLAB}/github{path}/blob/main/lessons/{name}/{name}.ipynb"
    return new_markdown_cell(f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({address})")


def _repository(course: Course) -> str:
    """The public address of the course, "" where it has none; it stands beside the lessons' sources."""
    path = course.sources.parent / "pyproject.toml"
    try:
        tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}) if path.exists() else {}
    except ValueError as error:
        raise CourseError(f"{path} is no TOML: {error}.") from None
    address = str(tools.get("genmap", {}).get("repository", ""))
    if address and not GITHUB.fullmatch(address):
        raise CourseError(
            f"{path}: repository is {address!r}: use https://github.com/OWNER/NAME, or nothing."
        )
    return address
