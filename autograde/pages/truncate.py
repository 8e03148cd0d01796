"""Bounds what a page shows of a submission, so that it opens in seconds. The notebook's file keeps it all."""

from dataclasses import dataclass
from typing import Any

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from traitlets import Bool

PAGE_CHARACTERS = 200_000  # of sources and outputs; one of dense code takes up to 50 microseconds
PART_CHARACTERS = 30_000  # of one source, and of one output
PICTURE_CHARACTERS = 20_000_000  # of pictures, in base64
MAX_OUTPUTS = 500
MAX_CELLS = 500
NOTE = "[cut off here: {} more in the notebook's file]"


class Truncate(Preprocessor):
    """Cuts what is long, but for the course's own cells, and says so. Comes after Sanitise."""

    enabled = Bool(True).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """What a page may hold is given out from the notebook's top to its end; graded cells all stay."""
        room = Room()
        shown = [cell for cell in nb.cells if room.shows(cell)]
        if left := len(nb.cells) - len(shown):
            shown.append(new_markdown_cell(NOTE.format(f"{left} cells")))
        nb.cells = shown
        return nb, resources


@dataclass
class Room:
    """What may still be shown on a page."""

    text: int = PAGE_CHARACTERS
    pictures: int = PICTURE_CHARACTERS
    outputs: int = MAX_OUTPUTS
    cells: int = MAX_CELLS

    def shows(self, cell: NotebookNode) -> bool:
        """Cut a cell to what there is room for; returns whether there is room for the cell itself."""
        mark = cell.metadata.get("nbgrader", {})
        if mark.get("locked"):
            return True
        self.cells -= 1
        if not mark and not (self.text and self.cells >= 0):
            return False
        code = cell.cell_type == "code"
        cell.source = self.cut(cell.source, "# " if code else "")
        if code:
            cell.outputs = self.few(cell.outputs)
        if pictures := cell.get("attachments"):
            cell.attachments = {name: one for name, one in pictures.items() if self.holds(*one.values())}
        return True

    def holds(self, *pictures: str) -> bool:
        """Whether there is room for pictures in base64; one that is too large takes all that is left."""
        size = sum(map(len, pictures))
        fits, self.pictures = size <= self.pictures, self.pictures - size
        return fits

    def cut(self, whole: str, comment: str = "") -> str:
        """As much of a text as there is room for and, where that is not all, a note behind it."""
        shown = whole[: min(PART_CHARACTERS, self.text)]
        self.text -= len(shown)
        left = len(whole) - len(shown)
        return f"{shown}\n\n{comment}{NOTE.format(f'{left:,} characters')}" if left else whole

    def few(self, outputs: list[NotebookNode]) -> list[NotebookNode]:
        """As many outputs as there is room for, each cut."""
        shown = [self._cut_output(output) for output in outputs[: self.outputs]]
        self.outputs -= len(shown)
        if left := len(outputs) - len(shown):
            shown.append(new_output("stream", text=NOTE.format(f"{left} outputs")))
        return shown

    def _cut_output(self, output: NotebookNode) -> NotebookNode:
        if output.output_type == "stream":
            output.text = self.cut(output.text)
        elif output.output_type == "error":
            output.traceback = [self.cut("\n".join(output.traceback))]
        else:
            output.data = self._forms(output.data)
        return output

    def _forms(self, data: dict[str, str]) -> dict[str, str]:
        """Texts are cut; a picture or HTML cannot be, and is left out."""
        kept: dict[str, str] = {}
        for kind, form in data.items():
            if kind.startswith("image/"):
                fits = self.holds(form)
            elif kind == "text/html":
                fits, self.text = len(form) <= self.text, max(0, self.text - len(form))
            else:
                fits, form = True, self.cut(form)
            kept |= {kind: form} if fits else {}
        return kept or {"text/plain": NOTE.format("one output")}
