"""A submission rebuilt from the release: only the learner's own sources and pictures are taken from it.

Metadata, ids, tags and locked cells come from the release. A graded cell that is missing is put back, one
that appears twice or that the release does not know becomes an ordinary cell. What the learner wrote wins
over what was released, wherever it stands: a stub below an answer does not override it.
"""

import copy
import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from nbformat import NotebookNode, from_dict
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from autograde.cells import grade_id, is_demo, is_locked, scored_cells, track_mark
from autograde.grading.bindings import Stub, bindings, unsolved
from autograde.grading.recognise import recognise, text_of
from autograde.pages.attachments import kept

MAKERS = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
SHOWN_CHARACTERS = 40  # of a cell's first line, in a hint
LEFT_OUT = "# Released here, and answered in a cell above: {}."


@dataclass(frozen=True)
class Rebuilt:
    """The notebook to grade; for the log, what was mended; for the learner, by exercise, what went astray."""

    notebook: NotebookNode
    notes: list[str]
    hints: dict[str, list[str]]


@dataclass(eq=False)
class _Part:
    """A cell of the notebook to be, and the released one that it is, None for the learner's own."""

    cell: NotebookNode
    release: NotebookNode | None
    stubs: dict[str, str] = field(default_factory=dict)  # the release's, by name

    @functools.cached_property
    def written(self) -> frozenset[str]:
        """Names that the learner bound in it; not in a demo cell, which does not run, and no stubs."""
        if self.cell.cell_type != "code" or (self.release is not None and not _runs(self.release)):
            return frozenset()
        if self.release is not None and self.cell.source == self.release.source:
            return frozenset()
        own = bindings(self.cell.source).bound - _untouched(self.cell, self.stubs).keys()
        if self.release is None or grade_id(self.release):
            return own
        return own - bindings(self.release.source).bound


def _stubs(cell: NotebookNode) -> dict[str, Stub]:
    return unsolved(cell.source) if cell.cell_type == "code" else {}


def _untouched(cell: NotebookNode, stubs: dict[str, str]) -> dict[str, Stub]:
    """The stubs in a cell that are as they were released, however it is laid out."""
    return {name: stub for name, stub in _stubs(cell).items() if stubs.get(name) == stub.code}


def rebuild(submitted: NotebookNode, released: NotebookNode) -> Rebuilt:
    """The notebook to grade. Neither argument is changed."""
    notes: list[str] = []
    cells = [cell for cell in submitted.cells if not track_mark(cell, "track")]
    known = recognise(cells, released.cells)
    parts = [_part(*pair, number, notes) for number, pair in enumerate(zip(cells, known, strict=True))]
    _set_builds_apart(parts)
    _put_back(released.cells, parts, notes)
    _take_answers(parts, notes)
    stubs = {
        name: stub.code for cell in released.cells if grade_id(cell) for name, stub in _stubs(cell).items()
    }
    for part in parts:
        part.stubs = stubs
    for part in parts:
        _leave_out_stubs(part, parts, stubs)
    _distinct_ids([part.cell for part in parts])
    rest = {name: value for name, value in released.items() if name != "cells"}
    notebook = NotebookNode({**copy.deepcopy(rest), "cells": [part.cell for part in parts]})
    return Rebuilt(notebook, notes, _hints(notebook, parts))


def _part(submitted: NotebookNode, release: NotebookNode | None, number: int, notes: list[str]) -> _Part:
    if release is None:
        if name := grade_id(submitted):
            notes.append(f"cell {name!r} is unknown or appears twice: taken as an ordinary cell")
        return _Part(_own(submitted, number), None)
    cell = copy.deepcopy(release)
    if not is_locked(release):
        cell.source = text_of(submitted)
        _keep_pictures(cell, submitted)
    elif text_of(submitted) != release.source:
        notes.append(f"cell {grade_id(release)!r} had been changed: the release's is used")
    return _Part(cell, release)


def _set_builds_apart(parts: list[_Part]) -> None:
    """What a learner built runs before the chapter's own, which then counts.

    So exercises lean on the chapter's, and points are theirs alone.
    """
    for part in list(parts):
        if part.release is None or part.cell.source == part.release.source:
            continue
        if name := track_mark(part.release, "build"):
            own = new_code_cell(part.cell.source)
            own.id, part.cell.source = f"own-build-{name}", part.release.source
            parts.insert(parts.index(part), _Part(own, None))


def _own(submitted: NotebookNode, number: int) -> NotebookNode:
    cell = MAKERS.get(str(submitted.get("cell_type")), new_raw_cell)(text_of(submitted))
    cell.id = f"own-{number}"
    _keep_pictures(cell, submitted)
    return cell


def _keep_pictures(cell: NotebookNode, submitted: NotebookNode) -> None:
    if cell.cell_type == "markdown" and (pictures := kept(submitted.get("attachments"))):
        cell.attachments = from_dict(pictures)


def _put_back(released: Sequence[NotebookNode], parts: list[_Part], notes: list[str]) -> None:
    """Insert each missing graded cell behind the cell that is before it in the release and is there."""
    place = 0
    for release in released:
        found = [index for index, part in enumerate(parts) if part.release is release]
        if not found and grade_id(release):
            notes.append(f"cell {grade_id(release)!r} was missing: put back")
            parts.insert(place, _Part(copy.deepcopy(release), release))
            found = [place]
        place = found[-1] + 1 if found else place


def _leave_out_stubs(part: _Part, parts: list[_Part], stubs: dict[str, str]) -> None:
    """Take stubs, as they were released, of what the learner defined above out of a cell; copies, too."""
    if part.cell.cell_type != "code" or not _runs(part.release):
        return
    if found := _untouched(part.cell, stubs):
        above = frozenset[str]().union(*(other.written for other in parts[: parts.index(part)]))
        found = {name: stub for name, stub in found.items() if name in above}
    if gone := {line for stub in found.values() for line in stub.lines}:
        left = [line for n, line in enumerate(part.cell.source.split("\n")) if n not in gone]
        part.cell.source = "\n".join([LEFT_OUT.format(", ".join(found)), *left]).strip()
        part.__dict__.pop("written", None)


def _take_answers(parts: list[_Part], notes: list[str]) -> None:
    """Take what a learner wrote beside an answer's untouched cell for the answer: nobody would read it."""
    for part in list(parts):
        if not _is_untouched_answer(part):
            continue
        own = [other for other in _beside(part, parts) if _says_more(other.cell, part.cell)]
        if own:
            notes.append(f"answer {grade_id(part.cell)!r} stood beside its cell")
            part.cell.source = "\n\n".join(other.cell.source for other in own)
            for other in own:
                part.cell.setdefault("attachments", NotebookNode()).update(other.cell.get("attachments", {}))
                parts.remove(other)


def _says_more(own: NotebookNode, answer: NotebookNode) -> bool:
    return own.cell_type == "markdown" and own.source.strip() not in ("", answer.source.strip())


def _is_untouched_answer(part: _Part) -> bool:
    if part.release is None or part.cell.cell_type != "markdown":
        return False
    marks = part.release.metadata.get("nbgrader", {})
    same = part.cell.source.strip() == part.release.source.strip()
    return same and bool(marks.get("grade") and marks.get("solution"))


def _beside(part: _Part, parts: list[_Part]) -> list[_Part]:
    """The learner's own cells next to it, up to the next that the release knows, on both sides."""
    place = parts.index(part)
    behind = takewhile(lambda other: other.release is None, parts[place + 1 :])
    before = takewhile(lambda other: other.release is None, reversed(parts[:place]))
    return [*reversed(list(before)), *behind]


def _hints(notebook: NotebookNode, parts: list[_Part]) -> dict[str, list[str]]:
    found = {}
    for name in scored_cells(notebook):
        mine = next(part for part in parts if grade_id(part.cell) == name)
        if lines := [*_overridden(mine, parts), *_in_demos(mine, parts)]:
            found[name] = lines
    return found


def _overridden(mine: _Part, parts: list[_Part]) -> list[str]:
    """Where a cell further down binds the exercise's names again."""
    names = bindings(mine.release.source if mine.release else "").bound & mine.written
    lines = []
    for part in parts[parts.index(mine) + 1 :]:
        for name in sorted(names & part.written):
            lines.append(f"`{name}` is defined again further down, {_where(part)}: that one was judged.")
    return lines


def _in_demos(mine: _Part, parts: list[_Part]) -> list[str]:
    """What the exercise needs and only a demo cell defines: demo cells do not run in grading."""
    running = [part for part in parts if part.cell.cell_type == "code" and _runs(part.release)]
    needed, before = set(bindings(mine.cell.source).used), -1
    while len(needed) > before:  # through the learner's own functions, too
        before = len(needed)
        own = [bindings(part.cell.source) for part in running if part.written & needed]
        needed = needed.union(*(each.used for each in own))
    missing = needed.difference(*(bindings(part.cell.source).bound for part in running))
    demos = [part for part in parts if part.release is not None and is_demo(part.release)]
    found = {name: part for part in demos for name in bindings(part.cell.source).bound & missing}
    tail = "which does not run in grading: define it in the exercise's own cell."
    return [f"`{name}` is defined {_where(part)} only, {tail}" for name, part in sorted(found.items())]


def _runs(release: NotebookNode | None) -> bool:
    """Whether grading runs a cell that is this one of the release."""
    return release is None or not (is_demo(release) or is_locked(release))


def _where(part: _Part) -> str:
    first = next((line.strip() for line in part.cell.source.split("\n") if line.strip()), "")
    return f"in the cell that begins with `{first[:SHOWN_CHARACTERS]}`"


def _distinct_ids(cells: list[NotebookNode]) -> None:
    """Number the copies of a cell that a learner pasted more than once."""
    seen: Counter[str] = Counter()
    for cell in cells:
        seen[cell.id] += 1
        if seen[cell.id] > 1:
            cell.id = f"{cell.id}-copy{seen[cell.id]}"
