"""Which released cell each submitted one is: by its id, its source or, where a tool took ids, its place."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from nbformat import NotebookNode

from autograde.cells import grade_id, is_demo, is_locked, track_mark
from autograde.grading.bindings import bindings, defined

ALIKE = 0.6  # share of tokens: a demo cell without its id that was edited has more, another cell less
MOST_COMPARED = 100  # pairs of an unknown cell and a demo cell: each takes up to a tenth of a second
MAX_TOKENS = 500  # of each that are compared
COMMENT = re.compile(r"#[^\n]*")
TOKEN = re.compile(r"\w+|[^\w\s]")
Known = list[NotebookNode | None]  # for each submitted cell, the release's, or None: the learner's own


def recognise(submitted: Sequence[NotebookNode], released: Sequence[NotebookNode]) -> Known:
    """The released cell of each submitted one. Of a cell without points copies are known, too."""
    return _Search(submitted, released).known


def text_of(cell: NotebookNode) -> str:
    """A cell's source with plain line ends, and none of what no file takes."""
    source = cell.get("source", "")
    if not isinstance(source, str):
        return ""
    # half of a surrogate pair cannot be written to the file again
    return source.replace("\r\n", "\n").replace("\r", "\n").encode(errors="replace").decode()


class _Search:
    """Fills `known`, from what is certain to what is likely."""

    def __init__(self, submitted: Sequence[NotebookNode], released: Sequence[NotebookNode]) -> None:
        self.submitted, self.released = submitted, released
        self.known: Known = [None] * len(submitted)
        self.taken: set[int] = set()  # of the released
        self._by_grade_id()
        ids = self._by_id()
        self._by_source()
        if not ids:
            self._by_place()
            self._by_definitions()
        self._edited_demos()

    def _take(self, index: int, release: int) -> None:
        self.known[index] = self.released[release]
        self.taken.add(release)

    def _free(self) -> Iterator[tuple[int, NotebookNode]]:
        return ((index, cell) for index, cell in enumerate(self.submitted) if self.known[index] is None)

    def _left(self) -> Iterator[tuple[int, NotebookNode]]:
        return ((index, cell) for index, cell in enumerate(self.released) if index not in self.taken)

    def _by_grade_id(self) -> None:
        places = {name: index for index, cell in enumerate(self.released) if (name := _name(cell))}
        for index, cell in self._free():
            release = places.get(_name(cell))
            if release is not None and release not in self.taken:
                self._take(index, release)

    def _by_id(self) -> bool:
        """Returns whether any cell had the id of a released one."""
        places = {cell.id: index for index, cell in enumerate(self.released)}
        names = [cell.get("id") for cell in self.submitted]
        for index, cell in self._free():
            release = places.get(names[index]) if isinstance(names[index], str) else None
            if release is not None and release not in self.taken and _alike(cell, self.released[release]):
                self._take(index, release)
        return any(isinstance(name, str) and name in places for name in names)

    def _by_source(self) -> None:
        """The same source, however it is laid out. Cells without points may come more than once."""
        places: dict[tuple[str, str], int] = {}
        for index, cell in enumerate(self.released):
            if not (grade_id(cell) and index in self.taken):
                places.setdefault(_look(cell), index)
        for index, cell in self._free():
            release = places.get(_look(cell))
            if release is not None and not (grade_id(self.released[release]) and release in self.taken):
                self._take(index, release)

    def _by_place(self) -> None:
        """Between two cells that are known, as many of the same kinds as the release has there."""
        for here, there in self._gaps():
            if not self.taken.isdisjoint(there):  # cells were moved
                continue
            if [self.submitted[i].cell_type for i in here] == [self.released[i].cell_type for i in there]:
                for index, release in zip(here, there, strict=True):
                    self._take(index, release)

    def _gaps(self) -> list[tuple[range, range]]:
        order = {id(cell): index for index, cell in enumerate(self.released)}
        known = [(index, order[id(cell)]) for index, cell in enumerate(self.known) if cell is not None]
        ends = [(-1, -1), *known, (len(self.submitted), len(self.released))]
        return [(range(a + 1, c), range(b + 1, d)) for (a, b), (c, d) in pairwise(ends) if b < d]

    def _by_definitions(self) -> None:
        """An exercise's cell: the last that defines what it asks for."""
        for release, cell in list(self._left()):
            wanted = defined(text_of(cell)) if grade_id(cell) and not is_locked(cell) else frozenset()
            code = [index for index, own in self._free() if own.get("cell_type") == "code"]
            found = [index for index in code if wanted <= bindings(text_of(self.submitted[index])).bound]
            if wanted and cell.cell_type == "code" and found:
                self._take(found[-1], release)

    def _edited_demos(self) -> None:
        pairs = (
            (index, release) for release, demo in self._left() if is_demo(demo) for index, _ in self._free()
        )
        alike = [(i, r) for i, r in pairs if _perhaps(self.submitted[i], self.released[r])]
        for index, release in alike[:MOST_COMPARED]:
            free = self.known[index] is None and release not in self.taken
            if free and _matcher(self.submitted[index], self.released[release]).ratio() >= ALIKE:
                self._take(index, release)


def _name(cell: NotebookNode) -> str:
    """What tells a cell with points, or one that builds, from all others; "" of any other."""
    built = track_mark(cell, "build")
    return grade_id(cell) or (f"build {built}" if built else "")


def _alike(cell: NotebookNode, release: NotebookNode) -> bool:
    """Of one kind; a cell with points keeps its place whatever a learner made of it."""
    return bool(grade_id(release)) or cell.get("cell_type") == release.cell_type


def _look(cell: NotebookNode) -> tuple[str, str]:
    lines = (line.rstrip() for line in text_of(cell).split("\n"))
    return str(cell.get("cell_type")), "\n".join(line for line in lines if line)


def _tokens(cell: NotebookNode) -> list[str]:
    return TOKEN.findall(COMMENT.sub("", text_of(cell)))[:MAX_TOKENS]


def _matcher(cell: NotebookNode, demo: NotebookNode) -> SequenceMatcher[str]:
    return SequenceMatcher(None, _tokens(cell), _tokens(demo), autojunk=False)


def _perhaps(cell: NotebookNode, demo: NotebookNode) -> bool:
    return cell.get("cell_type") == "code" and _matcher(cell, demo).quick_ratio() >= ALIKE
