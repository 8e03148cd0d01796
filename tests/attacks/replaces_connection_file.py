"""Replaces the file that describes its connections by another address, then by a link to the gradebook."""

EXTRA = [
    """
import glob
import json
import os

for path in glob.glob("@TMP@/k-*/*.json"):
    told = json.load(open(path))
    told |= {"transport": "tcp", "ip": "127.0.0.1", "key": "", "kernel_name": "python3", "shell_port": 22}
    json.dump(told, open(path, "w"))
""",
    """
for path in glob.glob("@TMP@/k-*/*.json"):
    os.unlink(path)
    os.symlink("@COURSE@/.grading/gradebook.db", path)
    for n in range(1, 6):
        os.unlink(path.replace("connection.json", f"k-{n}"))
        os.symlink("@COURSE@/.grading/secret", path.replace("connection.json", f"k-{n}"))
os._exit(0)
""",
]
