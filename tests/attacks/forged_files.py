"""Hands in a verdict, a feedback page, a timestamp of the next century and a second notebook of its own."""

import json
import shutil

VERDICT = {"exercises": {"weighted-mean": {"points": 12.0, "max": 12.0, "tests": []}}}


def files(folder):
    for name in ("90_small.verdict.json", "90_small.verdict.part"):
        (folder / name).write_text(json.dumps(VERDICT))
    (folder / "90_small.html").write_text("20 of 20 points")
    (folder / "timestamp.txt").write_text("2100-01-01 00:00:00 UTC")
    shutil.copy(folder / "90_small.ipynb", folder / "91_other.ipynb")
