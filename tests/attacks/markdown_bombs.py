"""Writes markdown, as answer and beside it, on which parsers and cleaners of HTML take for ever."""

from nbformat.v4 import new_markdown_cell

N = 20_000
BOMBS = (
    "[" * N,
    "![" * N + "](",
    "*a **b " * N,
    "`" * N + "a" + "`" * (N - 1),
    "<" * N,
    "<a " * N,
    "<!--" * N,
    "<div>" * 5000,
    "> " * 3000 + "x",
    "".join(f"{' ' * n}- x\n" for n in range(300)),
    "|a" * N + "\n" + "|-" * N + "\n" + "|b" * N,
    "$" * N + "x" + "$$" * N,
    "&" * N + ";" * N,
    "a" * N + "@" + "a." * N,
    "[a](" * N,
    "[a]: " + "(" * N + "\n" * 50,
    "\\\\(" * N,
    "_" * N + " " + "_" * N,
    "\n".join(f"[^{n}]: x [^{n + 1}]" for n in range(2000)),
)
CELLS = {"why-mean": "\n\n".join(BOMBS)}


def notebook(nb):
    nb.cells += [new_markdown_cell(text) for text in BOMBS]
