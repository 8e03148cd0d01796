"""JupyterLab as `make lab` starts it, over whatever folder the fixture `course` is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from genmap import lab


@pytest.fixture
def server(course):
    """The lab of `course`, running without a browser, with settings of its own; its lines of output."""
    own = {name: str(course / "home") for name in ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    path = os.pathsep.join([str(Path(lab.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    own |= {"JUPYTER_RUNTIME_DIR": str(course / "runtime"), "JUPYTER_PORT": "0", "PYTHONPATH": path}
    # no window, and none of what other tests tell matplotlib: a figure would not come
    env = {name: value for name, value in os.environ.items() if not re.search("DISPLAY|MPL", name)} | own
    command = [sys.executable, "-m", "genmap.lab"]
    lines = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, **lines) as process:
        yield process.stdout
        process.terminate()
