"""Hands in folders nested as deep as a path can just be long, deeper than Python may recurse."""

SCORE = (8.0, None)


def files(folder):
    inner = folder.joinpath(*["d"] * 1500)
    current = folder
    for part in inner.relative_to(folder).parts:
        current = current / part
        current.mkdir()
    (inner / "x").write_text("x")
