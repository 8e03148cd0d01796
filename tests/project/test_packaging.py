"""The two distributions, the lists of packages, nbgrader's configuration, and what the documents name."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from course_root import ROOT
from wheels import build_wheel

PROJECTS = {"genmap": ROOT / "pyproject.toml", "autograde": ROOT / "autograde" / "pyproject.toml"}
CONDA_NAMES = {"pytorch": "torch"}
REQUIREMENT = re.compile(r"([\w.-]+)(.*)")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def split(requirement: str) -> tuple[str, str]:
    """Name and version range of a requirement; the system that it is for does not count."""
    name, versions = REQUIREMENT.fullmatch(requirement.partition(";")[0]).groups()
    return canonical(name), versions


def required(package: str, extras: bool = True) -> list[tuple[str, str]]:
    project = tomllib.loads(PROJECTS[package].read_text())["project"]
    optional = project.get("optional-dependencies", {}).values() if extras else []
    return [split(line) for lines in (project["dependencies"], *optional) for line in lines]


def third_party() -> set[tuple[str, str]]:
    return {
        (name, versions) for package in PROJECTS for name, versions in required(package) if name != "genmap"
    }


def files(package: str, pattern: str) -> set[str]:
    """The files of a package that match, by their places in a wheel; what a build left is none of them."""
    found = (path.relative_to(ROOT) for path in (ROOT / package).glob(pattern))
    return {str(path) for path in found if "build" not in path.parts}


def test_learners_wheel_holds_genmap_alone(tmp_path):
    facts = {
        f"genmap/facts/{path.name}" for path in (ROOT / "data").iterdir() if path.suffix in (".py", ".toml")
    }
    assert "genmap/facts/map.toml" in facts
    assert build_wheel(ROOT, tmp_path) == files("genmap", "**/*.py") | {"genmap/py.typed"} | facts
    reads_its_own_facts(tmp_path)


def reads_its_own_facts(folder: Path) -> None:
    """Unpacked, the wheel needs nothing of this repository."""
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "alone")
    source = "import genmap.facts, genmap.taxonomy as t; print(genmap.facts.__file__, len(t.load().lessons))"
    run = subprocess.run(
        [sys.executable, "-P", "-c", source],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "alone"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [str(folder / "alone" / "genmap" / "facts" / "__init__.py"), "35"]


def test_graders_wheel_holds_the_hidden_tests_and_answers(tmp_path):
    hidden = files("autograde", "hidden/*.py") | files("autograde", "hidden/wrong/*.py")
    assert hidden, "there are no hidden tests"
    assert hidden < files("autograde", "**/*.py") == build_wheel(ROOT / "autograde", tmp_path)


def test_conda_and_pip_install_the_same_packages():
    lines = re.findall(r"^ +- ([^\s#]+)", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    conda = [split(line) for line in lines if line not in ("conda-forge", "nodefaults", "pip", "pip:")]
    assert ("python", ">=3.11") in conda
    mapped = {(CONDA_NAMES.get(name, name), versions) for name, versions in conda if name != "python"}
    assert {name for name, _ in mapped} == {name for name, _ in third_party()}
    assert mapped <= third_party(), "a version range differs"


def test_both_distributions_ask_for_the_same_python():
    asked = {tomllib.loads(path.read_text())["project"]["requires-python"] for path in PROJECTS.values()}
    assert asked == {">=3.11"}


def test_every_package_is_pinned_once():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = [split(line) for line in lines]
    names = [name for name, _ in pinned]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"==[\w.]+", version) for _, version in pinned), (
        "a pin is exact, without a local label"
    )
    assert {name for name, _ in third_party()} <= set(names)


@pytest.mark.parametrize("package", PROJECTS)
def test_what_a_package_imports_is_declared(package):
    declared = {name for name, _ in required(package)}
    known = packages_distributions()
    for path in sorted((ROOT / package).rglob("*.py")):
        if "build" in path.relative_to(ROOT).parts:
            continue
        for name in imported(path) - {package} - sys.stdlib_module_names:
            offered = {canonical(found) for found in known.get(name, [name])}
            assert offered & declared, f"{path.relative_to(ROOT)} imports {name}, which is not declared"


def imported(path: Path) -> set[str]:
    """The top-level names of what a file imports, at whatever depth of the code."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def test_no_index_and_no_address_in_build_files():
    for name in ("Makefile", "constraints.txt", "environment.yml", ".ci/run", "autograde/pyproject.toml"):
        assert "://" not in (ROOT / name).read_text(), name


def targets() -> set[str]:
    (line,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(line.split()) - {"again"}


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_name_only_targets_that_exist(document):
    named = set(re.findall(r"`make ([a-z]+)", (ROOT / document).read_text()))
    assert named
    assert named <= targets()


def test_readme_names_every_target():
    assert set(re.findall(r"make ([a-z]+)", (ROOT / "README.md").read_text())) >= targets()


def test_documents_name_only_files_that_exist():
    for document in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text()):
            assert (ROOT / link).exists(), f"{document}: {link}"


def run_config(monkeypatch, configure) -> None:
    module = ModuleType("autograde.grading.nbgrader_config")
    if configure:
        module.configure = configure
    monkeypatch.setitem(sys.modules, "autograde.grading.nbgrader_config", module)
    runpy.run_path(str(ROOT / "nbgrader_config.py"), {"c": SimpleNamespace()})


def test_nbgrader_is_configured_for_this_folder(monkeypatch):
    seen = []
    run_config(monkeypatch, lambda c, root: seen.append(root))
    assert seen == [ROOT]


def broken(c, root):
    raise ValueError("two\nlines")


@pytest.mark.parametrize(("configure", "reason"), [(None, "cannot import"), (broken, "two lines")])
def test_nbgrader_stops_where_configuring_fails(monkeypatch, configure, reason):
    with pytest.raises(SystemExit, match=f"nothing is graded: .*{reason}") as stop:
        run_config(monkeypatch, configure)
    assert "\n" not in stop.value.code
