"""Hands in files whose names climb out of folders, hold control characters, quotes, or no UTF-8 at all."""

import os

NAMES = (
    "..\\..\\x",
    "-rf",
    "--config.ipynb",
    "$(touch x)",
    "a;b\n'c\"",
    "<img onerror=x>.txt",
    "\u202etxt",
    "%2e%2e%2fx",
)


def files(folder):
    for name in NAMES:
        (folder / name).write_text("x")
    open(os.path.join(os.fsencode(folder), b"\xff\xfe.txt"), "w").close()
    deep = folder.joinpath(*["d"] * 60)
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
