"""Packages import only those below them, and every file says in its first line what it is for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from course_root import ROOT

# From the bottom to the top. A package or module may import those on its own floor and on lower ones.
FLOORS = {
    "genmap": (
        ("arrays", "device"),
        ("plot", "progress"),
        ("data", "metrics", "board", "taxonomy", "selfcheck", "lab", "diagram"),
        ("features",),
    ),
    "autograde": (
        ("errors", "atomic_write", "cells", "notebooks", "course"),
        ("sandbox",),
        ("judging", "checks", "relations", "training"),
        ("pages",),
        ("grading",),
        ("authoring", "report"),
        ("demo", "doctor", "self_study"),
        ("commands",),
        ("cli",),
        ("__main__",),
    ),
}
SOURCES = sorted(
    path
    for package in FLOORS
    for path in (ROOT / package).rglob("*.py")
    if not {"hidden", "build"} & set(path.relative_to(ROOT).parts)
)


def module(path: Path) -> str:
    """A file's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """What a file imports, anywhere in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what is imported"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(name: str) -> int:
    """The floor of a module of a package, by its first part below the package."""
    package, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    return next(number for number, parts in enumerate(FLOORS[package]) if part in parts)


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_no_import_runs_back_up(path):
    own = module(path)
    package = own.partition(".")[0]
    if own == package:  # genmap's face: it shows what is below
        return
    for name in imports(path):
        root, _, rest = name.partition(".")
        assert not (package == "genmap" and root == "autograde"), f"{own} imports {name}"
        if root == package and rest.partition(".")[0] != own.split(".")[1]:
            if rest in ("device", "setting", "settings"):  # genmap's own face
                continue
            assert floor(name) <= floor(own), f"{own} imports {name}, which stands above it"


@pytest.mark.parametrize("package", FLOORS)
def test_no_two_modules_import_each_other_when_they_are_imported(package):
    """Circles, lazy imports included, may not exist between modules."""
    files = {module(path): path for path in SOURCES if module(path).startswith(f"{package}.")}
    graph = {
        name: {known(target, files) for target in imports(path)} - {None, name}
        for name, path in files.items()
    }
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' -> '.join([*above[above.index(name) :], name])}"
        if name not in done:
            for target in sorted(graph[name] - {"", name}):
                walk(target, (*above, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())


def known(target: str, files: dict[str, Path]) -> str:
    """The module that a dotted name is or comes from."""
    return next((name for name in (target, target.rpartition(".")[0]) if name in files), "")


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_the_first_line_says_what_the_file_is_for(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text and text.splitlines()[0].rstrip().endswith((".", ":", "?", "`"))


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_files_have_at_most_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300
