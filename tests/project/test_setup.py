"""`make setup`: nothing when it is current, again after a change, afresh after an interruption or a move."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from course_root import ROOT

FAKE_PYTHON = """#!/bin/sh
# Plays python3: `-c` asks for its version or for venv, `-m venv` makes a .venv whose pip ends as PIP says.
case "$*" in
  *version_info*) exit $OLD ;;
  *ensurepip*) exit $BARE ;;
  "-m venv .venv") echo made >> log; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m pip install"*) echo pip >> log; exit $PIP ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder in which `make setup` runs with a Python that installs nothing and logs what it was asked."""
    (tmp_path / "autograde").mkdir()
    for name in ("Makefile", "pyproject.toml", "autograde/pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return tmp_path


def setup(folder: Path, old=0, bare=0, pip=0) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Run `make setup`; return how it ended and what it did: "made" an environment, ran "pip"."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    env = {"PATH": os.environ["PATH"], "OLD": str(old), "BARE": str(bare), "PIP": str(pip)}
    command = ["make", "setup", "PYTHON=./python"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    return done, log.read_text().split() if log.exists() else []


def test_setup_does_nothing_when_it_is_current(checkout):
    assert setup(checkout)[1] == ["made", "pip"]
    done, did = setup(checkout)
    assert (done.returncode, did) == (0, [])


@pytest.mark.parametrize("name", ["pyproject.toml", "autograde/pyproject.toml", "constraints.txt"])
def test_setup_installs_again_after_a_change(checkout, name):
    setup(checkout)
    stamp = (checkout / ".venv" / ".complete").stat().st_mtime
    os.utime(checkout / name, (stamp + 1, stamp + 1))
    assert setup(checkout)[1] == ["pip"]


def test_setup_starts_afresh_after_an_interruption(checkout):
    done, did = setup(checkout, pip=1)
    assert (done.returncode, did) == (2, ["made", "pip"])
    (checkout / ".venv" / "half").touch()
    assert setup(checkout)[1] == ["made", "pip"]
    assert not (checkout / ".venv" / "half").exists()


def test_setup_starts_afresh_after_a_failed_update(checkout):
    setup(checkout)
    os.utime(checkout / "constraints.txt", (2**32, 2**32))
    assert setup(checkout, pip=1)[0].returncode == 2
    assert setup(checkout)[1] == ["made", "pip"]


def test_setup_starts_afresh_after_a_move(checkout, tmp_path_factory):
    setup(checkout)
    moved = checkout.rename(tmp_path_factory.mktemp("new") / "with space")
    assert setup(moved)[1] == ["made", "pip"]
    assert setup(moved)[1] == []


@pytest.mark.parametrize(
    ("lacks", "says"), [("old", "Python 3.11 or newer is needed"), ("bare", "python3-venv")]
)
def test_setup_says_what_python_lacks(checkout, lacks, says):
    done, did = setup(checkout, **{lacks: 1})
    assert did == []
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert says in first
    assert len(rest) == 1, "make's own line and no other"
