"""Whether a worker may judge: it is what the grader is, has a sandbox, and room for temporary files."""

import functools
import hashlib
import importlib.util
import platform
import tempfile
from importlib import metadata
from pathlib import Path

from autograde.sandbox.kernel_process import sandbox_problem

PACKAGE = Path(__file__).parents[2]
LIBRARIES = ("numpy", "torch", "nbgrader")
APART = {"hidden", "build"}  # hidden tests travel with what is to be judged
ROOM_BYTES = 1 << 20


@functools.cache
def versions() -> dict[str, str]:
    """What has to be the same on a worker: the two packages, byte for byte, Python and some libraries."""
    found = {name: metadata.version(name) for name in LIBRARIES}
    return {"autograde": f"{metadata.version('genmap-autograde')}-{_digest()}"} | {
        "Python": platform.python_version(),
        **found,
    }


def _digest() -> str:
    """Of the two packages' files, hidden tests aside, and of the course's facts."""
    digest = hashlib.sha256()
    specs = [importlib.util.find_spec(name) for name in ("genmap", "genmap.facts")]
    places = [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]
    for root in (PACKAGE, *places):
        for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".toml")):
            name = path.relative_to(root)
            if not APART & set(name.parts):
                digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def problem(expected: dict[str, str]) -> str | None:
    """Why this process may not judge for a grader of these versions, and what to do, in a line."""
    own = versions()
    differ = [name for name in expected if own.get(name) != expected[name]]
    if differ:
        told = ", ".join(f"{name} {own.get(name)} and not {expected[name]}" for name in differ)
        return f"has {told}: install there what is here"
    if reason := sandbox_problem():
        return f"has no sandbox. {reason.rstrip('.')}"
    return room_problem()


def room_problem() -> str | None:
    """Why temporary files cannot be written here, and what to do, in a line; None where they can."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(ROOM_BYTES))
            file.flush()
    except OSError as error:
        return f"cannot write temporary files ({error.strerror}): make room there, or set TMPDIR"
    return None
