"""Opens the gradebook, the course secret and all else of the grading folder, by several ways."""

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


grading = "@COURSE@/.grading"
for root in ("", "/proc/1/root", "/proc/self/root", "/work/..", "/proc/@PID@/root", "/proc/@PID@/cwd"):
    for name in ("gradebook.db", "secret", "canary" + "-of-the", "submitted"):
        look(f"{root}{grading}/{name}")
        if os.path.exists(f"{root}{grading}/{name}"):
            print("GOT" + "-IN", root, name)
""",
]
