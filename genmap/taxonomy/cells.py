"""A table of text: Markdown in a notebook, paragraphs in a terminal."""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    """Columns and rows of text; a notebook shows it as Markdown, a terminal as plain text.

    columns: their titles.
    rows: a cell for each column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return the table in Markdown; formulas stay in dollar signs."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __repr__(self) -> str:
        """Return one paragraph a row, its first cell above the others."""
        rest = self.columns[1:]
        return "\n\n".join(
            "\n".join([row[0], *(f"  {name}: {cell}" for name, cell in zip(rest, row[1:], strict=True))])
            for row in self.rows
        )
