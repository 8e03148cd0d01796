"""The consoles that all commands print to."""

from rich.console import Console

WIDTH = 120  # where nothing says how wide it is: a file, a pipe
OUT = Console()
ERR = Console(stderr=True)
if not OUT.is_terminal:
    OUT.width = max(OUT.width, WIDTH)
