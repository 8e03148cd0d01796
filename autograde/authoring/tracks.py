"""The build track of a lesson: the released notebook, with what the chapter builds left to the learner.

What a `# %% build="name"` cell has between its markers is a stub there; the asserts of `# %% check="name"`
say whether what takes its place works, and the chapter's own stands folded below them.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from autograde.authoring.percent import Cell, read_cells
from autograde.authoring.rules import MARKS
from autograde.authoring.solution_regions import find_regions
from autograde.cells import STUB, track_mark

TRACK = {"genmap": {"track": "build"}}  # marks what only this track has
INTRODUCTION = """\
**The build track.** {count} parts of this chapter are yours to write: {names}. Each raises
`NotImplementedError` until you do. The asserts below it say whether yours works; the chapter's own is folded
behind *Show me*. What follows runs with what you wrote. Points come from the exercises at the end alone."""
SHOWN = """\
<details>
<summary>Show me</summary>

```python
{code}
```

</details>"""


@dataclass(frozen=True)
class Task:
    """What is to be built: the cell as it is given out, and as the chapter has it."""

    stub: str
    solution: str


def tasks(path: Path) -> dict[str, Task]:
    """The tasks of a lesson's source by name, in order. Raises CourseError."""
    _, cells = read_cells(path, MARKS)
    return {cell.marks["build"]: _task(cell) for cell in cells if "build" in cell.marks}


def build_track(released: NotebookNode, tasks: dict[str, Task]) -> NotebookNode:
    """The build track of a released notebook, which stays as it is."""
    notebook = copy.deepcopy(released)
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        cells.append(cell)
        if name := track_mark(cell, "build"):
            cell.source = tasks[name].stub
        if name := track_mark(cell, "check"):
            cell.metadata.tags = ["demo", "raises-exception"]  # "Run all" goes on to where it is needed
            cells.append(_prose(f"shown-{name}", SHOWN.format(code=tasks[name].solution)))
    names = ", ".join(f"*{name.replace('-', ' ')}*" for name in tasks)
    cells.insert(1, _prose("build-track", INTRODUCTION.format(count=len(tasks), names=names)))
    notebook.cells = cells
    return notebook


def _prose(name: str, text: str) -> NotebookNode:
    cell: NotebookNode = new_markdown_cell(text, metadata=copy.deepcopy(TRACK))
    cell.id = name
    return cell


def _task(cell: Cell) -> Task:
    lines, stub, solution, end = cell.lines, list[str](), list[str](), 0
    for region in find_regions(cell):
        marker = lines[region.begin]
        indent = marker[: len(marker) - len(marker.lstrip())]
        stub += [*lines[end : region.begin], indent + STUB]
        solution += [*lines[end : region.begin], *region.code]
        end = region.end + 1
    rest = lines[end:]
    return Task("\n".join(stub + rest).strip("\n"), "\n".join(solution + rest).strip("\n"))
