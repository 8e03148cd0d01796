"""Hands in links to the gradebook, the secret, another submission and the root folder."""

EXTRA = [
    """
import os

for folder, folders, names in os.walk(".", followlinks=False):
    for name in names + folders:
        try:
            print(name, open(os.path.join(folder, name), errors="replace").read())
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
