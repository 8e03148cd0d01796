"""Hands in the grader's own marks: being graded by process 1, half a verdict, and folders in their place."""


def files(folder):
    (folder / "90_small.unfinished").mkdir()
    (folder / ".90_small.verdict.json.1.part").mkdir()
    (folder / "other.unfinished").write_text("1")
    (folder / ".90_small.ipynb.1.part").write_text("x")
    (folder / "feedback.html").write_text("20 of 20")
    (folder / "autograded").mkdir()
