"""Hands in links to the gradebook, the secret, another submission and the root folder."""

EXTRA = [
    """
import os

inside = ("root@COURSE@/.grading/secret", "loop/link-1", "root/proc/@PID@/environ")
for name in [*os.listdir("."), *inside]:
    try:
        print(name, open(name, errors="replace").read(100_000))
    except OSError:
        pass
""",
]


def files(folder):
    grading = folder.parents[2]
    for number, name in enumerate(("gradebook.db", "secret", "canary-of-the")):
        (folder / f"link-{number}").symlink_to(grading / name)
    (folder / "other").symlink_to(grading / "submitted" / "zoe" / "90_small" / "90_small.ipynb")
    (folder / "root").symlink_to("/")
    (folder / "loop").symlink_to(".")
