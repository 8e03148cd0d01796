"""What travels to a worker, as text: a submission with the files beside its notebook."""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autograde.grading.judged import Task


def task_text(task: Task, files: Mapping[str, Path]) -> str:
    """A task and the files beside its notebook, by name. Raises OSError."""
    beside = {name: _packed(path.read_bytes()) for name, path in files.items()}
    return json.dumps({**asdict(task), "content": _packed(task.content), "files": beside})


def read_task(text: bytes) -> tuple[Task, dict[str, bytes]]:
    """What is in such a text. Raises ValueError, TypeError, LookupError where it is none."""
    found: dict[str, Any] = json.loads(text)
    files = {str(name): base64.b64decode(content) for name, content in found.pop("files").items()}
    return Task(**{**found, "content": base64.b64decode(found["content"])}), files


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode()
