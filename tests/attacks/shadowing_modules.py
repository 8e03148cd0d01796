"""Hands in modules named like those that grading imports, which end the process that imports them."""

EVIL = "import os\nos._exit(1)\n"
NAMES = ("json", "base64", "numpy", "torch", "ipykernel", "autograde", "nbgrader", "pytest", "genmap", "zmq")


def files(folder):
    for name in NAMES:
        (folder / f"{name}.py").write_text(EVIL)
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(EVIL)


SCORE = (8.0, 0.0, None)
