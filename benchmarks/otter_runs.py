"""Otter-Grader for the benchmark: what it needs to grade a lesson, and the scores that it wrote."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat

from autograde.cells import scored_cells
from autograde.course import Course

OTTER_TEST = """from otter.test_files import test_case

OK_FORMAT = False
name, points = {name!r}, {points!r}


@test_case()
def public(env):
    exec({source!r}, env)
"""
# Otter's kernel: this Python and its packages and, behind them on the path, those of Otter's environment.
# Two are hidden, as from our command: by what JupyterLab brings along, importing would take far longer.
OTTER_KERNEL = """import sys

sys.path.append({packages!r})
sys.modules["rfc3987_syntax"] = sys.modules["isoduration"] = None
from ipykernel.kernelapp import launch_new_instance

launch_new_instance()
"""
MISSING = (
    "Otter-Grader is left out. To have it: `pip install otter-grader` in an environment of its own, with the"
    " same version of Python, and `--otter PATH` with the path of its executable."
)


def equip(course: Course, lesson: str, otter: str) -> None:
    """What Otter needs to grade the lesson: the zip with its public tests, and a kernel that finds torch."""
    with zipfile.ZipFile(course.root / "autograder.zip", "w") as made:
        made.writestr("otter_config.json", json.dumps({"lang": "python"}))
        for name, cell in scored_cells(nbformat.read(course.released(lesson), 4)).items():
            points = cell.metadata.nbgrader.points
            test = OTTER_TEST.format(name=name, points=points, source=cell.source)
            made.writestr(f"tests/{name}.py", test)
    python = Path(otter).resolve().with_name("python")  # a link may lead to the executable
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    start = [sys.executable, "-c", OTTER_KERNEL.format(packages=packages), "-f", "{connection_file}"]
    folder = course.root / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    kernel = {"argv": start, "display_name": "Python and Otter", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(kernel))


def points(results: Path) -> list[float]:
    """The points of each test in a file of Otter's results; none where the kernel could not run the tests."""
    return [test["score"] for test in json.loads(results.read_text())["tests"] if "score" in test]
