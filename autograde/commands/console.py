"""The one way to print: to these consoles, and by `say`: what it is told steers no terminal."""

import click
from rich.console import Console

from autograde.grading.student_names import printable

WIDTH = 120  # where nothing says how wide it is: a file, a pipe
OUT = Console()
ERR = Console(stderr=True)
if not OUT.is_terminal:
    OUT.width = max(OUT.width, WIDTH)


def say(text: object, err: bool = False) -> None:
    """Print text, whatever names are in it: what would steer a terminal, or is no text, is replaced."""
    lines = str(text).split("\n")
    click.echo("\n".join(printable(line, len(line)) for line in lines), err=err)
