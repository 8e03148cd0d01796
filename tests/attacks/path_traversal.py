"""Writes through names and paths that climb out of its folder, and leaves a link to the course's secret."""

EXTRA = [
    """
import os

for name in ("../x", "/work/../x", "/given/x", "@COURSE@/x", "../../../../@COURSE@/x"):
    try:
        open(name, "w").write("x")
        print("GOT" + "-IN", name)
    except OSError:
        pass
os.symlink("@COURSE@/.grading/secret", "outputs")
""",
]
