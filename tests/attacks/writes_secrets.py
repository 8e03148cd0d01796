"""Writes over hidden tests, gradebook, secret, other submissions, Python itself and its own given files."""

EXTRA = [
    """
import glob
import os
import sys

import numpy as np

targets = ["@COURSE@/hidden/test_90_small.py", "@COURSE@/.grading/gradebook.db", "@COURSE@/.grading/secret"]
targets += ["@COURSE@/.grading/submitted/zoe/90_small/90_small.ipynb", "/given/x", "/x", "/etc/x"]
targets += [os.path.join(sys.prefix, "x.pth"), np.__file__, "/usr/x", "/proc/sysrq-trigger", "/dev/x"]
for path in ("@TMP@/x", "@TMP@/k-x"):  # in a folder of its own, or in the grader's, where it would be found
    try:
        open(path, "w").write("mine")
    except OSError:
        pass
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
