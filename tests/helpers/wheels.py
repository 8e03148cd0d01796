"""Builds the wheel of a distribution, from a copy of its folder."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path


def build_wheel(folder: Path, target: Path) -> set[str]:
    """The names of the files in the wheel of a copy of `folder`."""
    ignored = shutil.ignore_patterns(".*", "work", "build", "*.egg-info", "__pycache__")
    copy = shutil.copytree(folder, target / "copy", ignore=ignored)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(target)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(copy)], check=True, capture_output=True
    )
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}
