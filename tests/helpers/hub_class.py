"""What a class on a hub does: the page's commands for a lesson, and a student's notebook and feedback."""

from hub import Hub, User
from hub_site import commands
from small_course import HIDDEN, NAME

NOTEBOOK = f"{NAME}/{NAME}.ipynb"
RELEASE, COLLECT = 2, 3  # of the page's commands, how many give a lesson out, and bring its feedback back

HIDDEN_CODE = [line.strip().encode() for line in HIDDEN.splitlines() if line.startswith("    assert ")]


def lesson(hub: Hub, part: slice) -> str:
    """Some of the page's commands for a lesson, run by the instructor; what they say."""
    return "".join(hub.site.grade(line) for line in commands("A lesson")[part])


def released(hub: Hub) -> None:
    """The lesson in the exchange; the page's commands give it out once."""
    if not (hub.site.exchange / "genmap" / "outbound" / NAME).exists():
        lesson(hub, slice(RELEASE))


def answer(user: User, answers: dict[str, str]) -> None:
    """Write answers into the user's notebook."""
    model = user.read(NOTEBOOK)
    for cell in model["content"]["cells"]:
        cell["source"] = answers.get(cell["metadata"].get("nbgrader", {}).get("grade_id"), cell["source"])
    user.save(NOTEBOOK, model)


def failed(found: dict) -> dict[str, str]:
    """What Validate shows: by the first line of each cell that failed, what it says."""
    return {row["source"].splitlines()[0]: row["raw_error"] for row in found.get("failed", [])}


def pages(user: User) -> dict[str, str]:
    """The user's feedback by the time of what was handed in, as JupyterLab opens it."""
    top = f"{NAME}/feedback"
    times = [one["name"] for one in user.read(top)["content"]]
    return {time: user.read(f"{top}/{time}/{NAME}.html")["content"] for time in times}
