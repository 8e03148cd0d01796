"""Swaps its folder, one in it and its notebook for links to secrets and back, while they are read."""

import os
import time

SECONDS = 6.0  # for as long as reading may take
SCORE = (8.0, None)


def notebook(nb):
    nb.cells[0].source += " "


def files(folder):
    grading, inner, book = folder.parents[2], folder / "given", folder / "90_small.ipynb"
    inner.mkdir()
    (inner / "canary-of-the").write_text("mine")
    if os.fork() == 0:  # and its child, so that it is nobody's
        if os.fork() == 0:
            swap_for_a_while([(inner, grading), (book, grading / "secret"), (folder, grading)])
        os._exit(0)
    os.wait()


def swap_for_a_while(pairs):
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for own, secret in pairs:
                aside = own.with_name(f"{own.name}.aside")
                os.rename(own, aside)
                os.symlink(secret, own)
                os.unlink(own)
                os.rename(aside, own)
    except OSError:  # the class is over
        pass
    finally:
        os._exit(0)
