"""Hands in a timestamp that is no time and a verdict that is a folder."""


def files(folder):
    (folder / "timestamp.txt").write_text("never")
    (folder / "90_small.verdict.json").mkdir()
    (folder / "90_small.verdict.json" / "x").write_text("x")
