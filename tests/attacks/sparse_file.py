"""Hands in a file of a terabyte that takes no space, until somebody copies it."""

SCORE = None


def files(folder):
    with open(folder / "data.bin", "wb") as file:
        file.truncate(1 << 40)
