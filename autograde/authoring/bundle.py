"""The learners' zip: lessons, genmap's wheel, facts, packages, README, licence; nothing that grades."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from autograde import atomic_write
from autograde.authoring.percent import read_text
from autograde.authoring.release import release
from autograde.course import Course
from autograde.errors import CourseError, UsageError
from genmap.taxonomy.tables import lessons

FOLDER = "generative-model-map"  # the one folder that the zip unpacks to
MARK = b"The Generative Model Map: learners' copy"  # the zip's comment, by which a former bundle is known
OLDEST_SECONDS = 315532800  # 1 January 1980, the oldest date that a zip's members can have: that of all
PACKAGE = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "genmap/**/*.py",
    "genmap/py.typed",
    "data/*.py",
    "data/*.toml",
)
FACTS = ("LICENSE", "data/README.md", "data/*.toml")
CONDA = {"torch": "pytorch"}  # a package's name on conda-forge, where it is another
ENVIRONMENT = """\
# The environment of the lessons, with conda; README.md says how to use it.
name: genmap
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python{python}
  - pip
{packages}
"""
README = """\
# The Generative Model Map

A course on generative models in which you build every family of them yourself. Each lesson is one notebook,
made for two CPU cores. This is the learners' copy: the lessons, and `genmap`, the package that they import.

## Start

You need Python 3.11 or newer, with its `venv` module. In this folder:

```sh
python3 -m venv .venv
.venv/bin/pip install -c constraints.txt "./{wheel}[lab]"
.venv/bin/python -m genmap.lab
```

The last line copies the lessons to `work/` and opens JupyterLab at the first; where no browser can be
opened, open the address that it prints. It never overwrites a file in `work/`. To start a lesson again,
delete your copy of it and run that line again. `python -m genmap.lab build` copies the build track of the
lessons that have one, in which you write the core of the family. On Windows, write `.venv\\Scripts\\` for
`.venv/bin/`.

**Without a GPU, on Linux:** PyPI's PyTorch brings CUDA with it, several gigabytes; the CPU build takes 200
MB. To get it, set `PIP_EXTRA_INDEX_URL` to PyTorch's CPU wheel index (its installation page names it)
before you install.

**With conda:**

```sh
conda env create -f environment.yml && conda activate genmap
pip install --no-deps ./{wheel}
python -m genmap.lab
```

**On Google Colab:** upload `{wheel}` and a notebook of `lessons/`. Before its first cell, run `import os;
os.environ["GENMAP_WHEEL"] = "/content/{wheel}"`.

**A newer copy of the course:** unpack it over this one, run `.venv/bin/pip uninstall --yes genmap`, and then
the three lines again. `work/` stays as it is.

## Work

Work in `work/`, one folder a lesson. An exercise is a cell that raises `NotImplementedError`: replace that
line. The cell below it holds a few asserts, each with a hint. The last cell of the notebook is the
self-check: it runs these asserts again and says which exercises pass. The hidden tests, which give the
points, are with your instructor; hand in the notebook, such as `work/{first}/{first}.ipynb`.

`GENMAP_SETTING` chooses how much a lesson computes: `smoke` (seconds), `quick` (two CPU cores; the default
there) or `full` (a GPU).

## Lessons

{lessons}

## Folders

```text
lessons/    the notebooks as they were handed out: `genmap.lab` copies them to work/
work/       your copies
data/       the facts behind figures and tables, and where each data set comes from
```

## Licence

The code is under the [MIT License](LICENSE). The prose and the figures of the lessons are under CC BY 4.0.
"""


def bundle(course: Course, target: Path | None = None) -> Path:
    """Write the learners' zip, by default to dist/ in the course's folder; returns its path.

    The same course gives the same bytes. Raises CourseError where lessons are stale, the wheel is not built
    or the zip not written (then a former zip stays), UsageError where `target` is something else.
    """
    project = _project(course)
    target = target or course.root / "dist" / f"{FOLDER}-{project['version']}.zip"
    _check_target(target)
    release(course, [], check=True)
    content = _zip(_members(course, project))
    _put(target, content)
    return target


def _project(course: Course) -> dict[str, Any]:
    """The [project] table of pyproject.toml."""
    path = course.root / "pyproject.toml"
    try:
        return dict(tomllib.loads(read_text(path))["project"])
    except ValueError as error:
        raise CourseError(f"{path} is no TOML: {error}.") from None
    except KeyError:
        raise CourseError(f"{path} names no [project]: it must be that of the course.") from None


def _check_target(target: Path) -> None:
    if not os.path.lexists(target):
        return
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(target) as former:
        if former.comment == MARK and not target.is_symlink():
            return
    raise UsageError(f"{target} stays: it is no former bundle. Name another file, or move it away.")


def _members(course: Course, project: dict[str, Any]) -> dict[str, bytes]:
    """The files of the zip by their names in it: these and no others."""
    wheel, content = _wheel(course)
    names = course.names()
    texts = {
        "README.md": README.format(wheel=wheel, first=names[0], lessons=lessons(names)),
        "environment.yml": _environment(project),
        "constraints.txt": _pins(course),
    }
    tracks = [path for name in names if (path := course.build_track(name)).exists()]
    files = [*(course.lesson(name) for name in names), *tracks, *_found(course, FACTS)]
    members = {str(path.relative_to(course.root)): path.read_bytes() for path in files}
    return members | {name: text.encode() for name, text in texts.items()} | {wheel: content}


def _found(course: Course, patterns: tuple[str, ...]) -> list[Path]:
    return [path for pattern in patterns for path in course.root.glob(pattern)]


def _environment(project: dict[str, Any]) -> str:
    """environment.yml with what genmap and JupyterLab need, from pyproject.toml."""
    asked = [*project["dependencies"], *project["optional-dependencies"]["lab"]]
    lines = []
    for requirement in asked:
        name, versions = re.findall(r"^[\w.-]+|.+", requirement)
        lines.append(f"  - {CONDA.get(name, name)}{versions}")
    return ENVIRONMENT.format(python=project["requires-python"], packages="\n".join(sorted(lines)))


def _pins(course: Course) -> str:
    """constraints.txt with a first line for learners."""
    lines = read_text(course.root / "constraints.txt").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    return "\n".join(
        ["# The versions that the course is tested with; README.md says how to use them.", *pins, ""]
    )


def _wheel(course: Course) -> tuple[str, bytes]:
    """The name and the bytes of genmap's wheel, built by pip from a copy of what belongs in it."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        source = Path(folder) / "source"
        for path in _found(course, PACKAGE):
            copy = source / path.relative_to(course.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o644)
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder]
        command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(OLDEST_SECONDS)}
        done = subprocess.run(command, env=environment, umask=0o022, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
            raise CourseError(f"pip cannot build genmap's wheel: {lines[-1].strip()}")
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.name, wheel.read_bytes()


def _zip(members: dict[str, bytes]) -> bytes:
    """A zip that depends on the names and contents of its members alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = MARK
        for name, content in sorted(members.items()):
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def _put(target: Path, content: bytes) -> None:
    try:
        atomic_write.write(target, content)
    except OSError as error:
        raise CourseError(f"Cannot write {target}: {error.strerror}. Mend that and run it again.") from None
