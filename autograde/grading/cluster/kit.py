"""What a worker needs of a lesson, as text and as a folder: release, tests, secret; and its answers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

JUDGED, REFUSED, UNFIT = b"=", b"!", b"-"  # what came of a submission, why nothing, why a worker may not
RELEASE, SECRET, REST = "released.ipynb", "secret", "kit.json"


def kit_text(lesson: str, released: str, tests: str, secret: str, modules: Sequence[str]) -> str:
    """All of it as text, read from these files. Raises OSError."""
    files = {RELEASE: released, f"test_{lesson}.py": tests, SECRET: secret}
    packed = {name: Path(path).read_bytes().hex() for name, path in files.items()}
    return json.dumps({"lesson": lesson, "modules": list(modules), "files": packed})


def write_kit(text: bytes, folder: Path) -> None:
    """Write it into a folder that its owner alone may read. Raises OSError."""
    found: dict[str, Any] = json.loads(text)
    for name, content in found.pop("files").items():
        (folder / name).write_bytes(bytes.fromhex(content))
    (folder / REST).write_text(json.dumps(found))
