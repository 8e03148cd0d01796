"""Hands in its notebook as UTF-16, and another beside it as bytes that are no text."""


def files(folder):
    path = folder / "90_small.ipynb"
    path.write_bytes(path.read_text().encode("utf-16"))
    (folder / "90_more.ipynb").write_bytes(bytes(range(256)) * 100)
