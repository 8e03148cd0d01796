"""The limits of grading, all in this one place; a lesson's header may raise some of them."""

from dataclasses import dataclass, replace
from typing import Any

from autograde.errors import CourseError


@dataclass(frozen=True)
class Limits:
    """Seconds, counts and bytes. How `cell`, `call` and `notebook` are counted: see allowance.py."""

    call: float = 10
    cell: float = 60
    notebook: float = 600  # of all cells together, and as much of all calls
    start: float = 60  # until a kernel is ready
    output_bytes: int = 2 << 20  # kept of one cell's output; the rest is cut off
    notebook_output_bytes: int = 32 << 20  # kept of all cells together
    flood_bytes: int = 64 << 20  # of one cell's output: more ends the kernel
    cpu: int = 1500  # seconds of all processes of a kernel together: more than cells and calls may use
    memory: int = 4 << 30  # bytes that all processes of the submission hold
    address_space: int = 16 << 30  # of one process: torch alone maps several GB
    grader: int = 2 << 30  # bytes that the grader's own process may gain while a submission runs
    files: int = 50_000  # in each of the sandbox's writable folders
    processes: int = 128  # with their threads
    open_files: int = 512
    terminals: int = 16  # the machine has some thousands for all
    file_bytes: int = 256 << 20
    disk_bytes: int = 512 << 20  # of each of the sandbox's writable folders
    judge_cpu: int = 240
    judge_wall: int = 2400  # longer than all calls may take
    judge_memory: int = 16 << 30  # of address space: torch alone maps several GB


RAISABLE = ("call", "cell", "notebook")
MAX_LIMIT = 10**6


def limits_of(metadata: dict[str, Any]) -> Limits:
    """The limits of a released notebook, from its metadata `genmap.limits`. Raises CourseError for others."""
    given = metadata.get("genmap", {}).get("limits", {})
    for name, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in RAISABLE or not number or not 0 < value < MAX_LIMIT:
            raise CourseError(f"limits has {name}: {value!r}; use {', '.join(RAISABLE)} with a number.")
    return replace(Limits(), **given)
