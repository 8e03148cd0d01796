"""Looks for the hidden tests wherever they may lie, by path and by reading every Python file."""

EXTRA = [
    """
import os

wanted = ("canary" + "-of-the", "mark." + "exercise", "481516" + "23")


def look(path):
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 20).decode(errors="replace")
    except OSError:
        return
    for word in wanted:
        if word in text:
            print("GOT" + "-IN", path, text[:200])


import sys

PRUNED = ("torch", "proc", "sys", "usr", "scipy", "sklearn", "numpy", "pandas", "sympy", "matplotlib")
places = ["@COURSE@/hidden", "/work/..", "/given", *sys.path]
for place in places:
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if name not in PRUNED]
        for name in names:
            if name.startswith("test_") or name.endswith(".ipynb") or "hidden" in folder:
                look(os.path.join(folder, name))
try:
    import autograde.hidden
    print("GOT" + "-IN")
except ImportError:
    pass
""",
]
LIMITS = {"cell": 20}
