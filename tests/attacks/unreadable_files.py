"""Hands in files and folders without the right to read, enter or remove them, and set-user-id ones."""

SCORE = (8.0, None)


def files(folder):
    for number, mode in enumerate((0o000, 0o200, 0o444, 0o4755, 0o6777, 0o1777)):
        (folder / f"file-{number}").write_text("x")
        inner = folder / f"folder-{number}"
        inner.mkdir()
        (inner / "x").write_text("x")
        (folder / f"file-{number}").chmod(mode)
        inner.chmod(mode)
