"""Has the judge read files through links and paths that climb out, and writes where names lead."""

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
