"""What grading a class came to, in lines that end with what to do next."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from autograde.course import Course
from autograde.grading import term
from autograde.grading.lateness import due_date
from autograde.grading.standing import Standing, State, feedback_page
from autograde.grading.student_names import printable
from autograde.grading.work import Row

NAMES = 10  # that are written out
HOUR = 3600.0  # seconds


def summary(course: Course, lesson: str, rows: Sequence[Row], standings: Sequence[Standing]) -> Iterator[str]:
    """The lines for a terminal; names and reasons are never cut."""
    counts = Counter(row.status for row in rows if row.status != "left")
    said = ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "nothing is handed in now"
    yield f"{lesson}: {said}."
    failed = [row for row in rows if row.status == "failed"]
    yield from (f"  {printable(row.student)}: not graded. {printable(row.reason, 1000)}" for row in failed)
    if old := [row.student for row in failed if feedback_page(course, lesson, row.student).exists()]:
        yield f"Their feedback pages are of what was there before: {_counted(old)}."
    yield from (f"  {printable(row.student)}: {note}." for row in rows for note in row.notes)
    if changed := [row for row in rows if row.status == "graded" and row.before not in (None, row.points)]:
        yield f"Automatic points changed: {_counted(map(_change, changed))}."
    yield from _waiting(lesson, standings)
    yield from _timing(course, lesson, standings)
    yield from _missing(course, lesson, rows, standings)
    if excused := term.of_lesson(course, lesson).excused:
        yield f"Excused, so full points for everybody who handed in: {', '.join(excused)}."
    pages = _shown(feedback_page(course, lesson, "STUDENT"))
    yield f"Feedback: {pages}. How the class did: `autograde report {lesson}`."


def _change(row: Row) -> str:
    return f"{row.student} {row.before:.4g} → {row.points:.4g}"


def _waiting(lesson: str, standings: Sequence[Standing]) -> Iterator[str]:
    if waiting := [one.student for one in standings if one.state is State.WAITS]:
        yield (
            f"Waiting for a grader: {_counted(waiting)}. Their scores are not final, so the LMS's CSV files "
            "leave them out unless --provisional is given. Give the points in the formgrader (`jupyter lab`, "
            f"here), then run `autograde grade {lesson}` again."
        )


def _timing(course: Course, lesson: str, standings: Sequence[Standing]) -> Iterator[str]:
    end = due_date(course, lesson)
    if end is None:
        return
    graded = [one for one in standings if one.automatic is not None]
    if late := [one for one in graded if one.late]:
        taken = sum(one.penalty for one in late)
        cost = (
            f"{taken:.4g} points taken in all"
            if taken
            else "no points taken: .grading/settings.py says how many"
        )
        yield (
            f"Late, {cost}: {_counted(map(_delay, late))}. "
            f"More time for one: `autograde due {lesson} TIME --student NAME`."
        )
    if unknown := [one.student for one in graded if one.received is None]:
        yield (
            f"Counted as in time (due {term.shown_time(end)}), since nobody said when it came: "
            f"{_counted(unknown)}. To say so: `autograde received {lesson} NAME TIME`."
        )


def _delay(one: Standing) -> str:
    lost = f", −{one.penalty:.4g}" if one.penalty else ""
    return f"{one.student} {one.late / HOUR:.1f} h{lost}"


def _missing(
    course: Course, lesson: str, rows: Sequence[Row], standings: Sequence[Standing]
) -> Iterator[str]:
    """Who has no score: a run on some students says so of the others, too."""
    failed = {row.student for row in rows if row.status == "failed"}
    left = [one.student for one in standings if one.state in (State.UNGRADED, State.CHANGED)]
    if left := [student for student in left if student not in failed]:
        yield (
            f"Not graded, or changed since, so in no LMS's CSV file: {_counted(left)}. "
            f"Grade them: `autograde grade {lesson}`."
        )
    lying = course.grading.glob("submitted/*/*")
    if odd := ["/".join(path.parts[-2:]) for path in lying if not course.released(path.name).exists()]:
        yield f"In no folder of a lesson that was released, so not graded: {_counted(sorted(odd))}."
    if gone := [one.student for one in standings if one.state is State.GONE]:
        yield (
            f"Graded before, but nothing of theirs is in .grading/submitted now, so in no LMS's CSV file: "
            f"{_counted(gone)}. Their feedback pages are still there: move both, or bring the folders back."
        )
    if absent := [one.student for one in standings if one.state is State.ABSENT]:
        yield f"Nothing handed in, of the roster: {_counted(absent)}."


def _counted(names: Iterable[str]) -> str:
    """How many, and the first few of them."""
    everything = list(map(printable, names))
    more = f" and {len(everything) - NAMES} more" if len(everything) > NAMES else ""
    return f"{len(everything)} ({', '.join(everything[:NAMES])}{more})"


def _shown(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
