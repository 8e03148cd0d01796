"""Hands in files and marks whose names would steer a terminal, and a notebook whose name is no text."""

import os


def notebook(nb):
    nb.metadata["genmap"] = {"lesson": "90_small", "\x1b]0;mine\x07": "\x1b[2J"}
    nb.metadata["kernelspec"] = {"name": "\x1b[31m", "display_name": "\x1b[2J"}


def files(folder):
    (folder / "\x1b]0;mine\x07.ipynb").write_text("{}")
    (folder / "\x1b[2Jx\r\n.txt").write_text("x")
    open(os.path.join(os.fsencode(folder), b"\xff\x1b[2J.ipynb"), "w").close()
