"""Hands in 20,000 empty folders, which hold nothing and take long to look through."""

SCORE = None


def files(folder):
    for n in range(20_000):
        (folder / str(n)).mkdir()
