"""Writes over hidden tests, gradebook, secret, other submissions, Python itself and its own given files."""

EXTRA = [
    """
import glob
import os
import sys

targets = ["@COURSE@/hidden/test_90_small.py", "@COURSE@/.grading/gradebook.db", "@COURSE@/.grading/secret"]
targets += ["@COURSE@/.grading/submitted/zoe/90_small/90_small.ipynb", "@TMP@/x", "/given/x", "/x", "/etc/x"]
targets += [os.path.join(sys.prefix, "x.pth"), np.__file__, "/usr/x", "/proc/sysrq-trigger", "/dev/x"]
for path in targets:
    for way in ("w", "a"):
        try:
            open(path, way).write("mine")
            print("GOT" + "-IN", path)
        except OSError:
            pass
    try:
        os.remove(path)
        print("GOT" + "-IN", path)
    except OSError:
        pass
""",
]
