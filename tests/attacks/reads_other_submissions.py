"""Reads other students' submissions and what was autograded of them."""

EXTRA = [
    """
import os

wanted = ("canary" + "-of-the", "mark." + "exercise", "481516" + "23")


def look(path):
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 20).decode(errors="replace")
    except OSError:
        return
    for word in wanted:
        if word in text:
            print("GOT" + "-IN", path, text[:200])


for folder in ("submitted", "autograded", "feedback"):
    look(f"@COURSE@/.grading/{folder}/zoe/90_small/90_small.ipynb")
    look(f"../{folder}/zoe/90_small/90_small.ipynb")
for folder, _, names in os.walk("@TMP@"):
    for name in names:
        print(name)
        look(os.path.join(folder, name))
""",
]
