"""What an instructor decides in a term: roster, dates, excused exercises, solutions; and collecting."""

import datetime as dt
from pathlib import Path

import click

from autograde.commands.console import say
from autograde.course import Course
from autograde.errors import CourseError, UsageError

ONE_LESSON = click.argument("lesson")
A_TIME = (
    "TIME is 2026-12-01 (the end of that day), 2026-12-01T18:00, or with an offset 2026-12-01T18:00+01:00."
)


def _course(lesson: str) -> Course:
    course = Course.find()
    course.select((lesson,))
    if not course.released(lesson).exists():
        raise CourseError(f"{lesson} was not released here: run `autograde release {lesson}` first.")
    return course


@click.command(epilog=A_TIME)
@ONE_LESSON
@click.argument("time", required=False)
@click.option("--student", "students", multiple=True, help="An extension for this one; may be given again.")
@click.option("--never", is_flag=True, help="Take the due date, or the extensions, away.")
def due(lesson: str, time: str | None, students: tuple[str, ...], never: bool) -> None:
    """Until when LESSON can be handed in: set it to TIME, or show it."""
    from autograde.grading import lateness, term

    course = _course(lesson)
    if time is not None and never:
        raise UsageError("Give a TIME or --never, not both.")
    when = term.parse_time(time) if time is not None else None
    shown = term.of_lesson(course, lesson).solutions
    if shown and when is not None and when > dt.datetime.now(dt.UTC):
        raise CourseError(f"Solutions are shown: `autograde solutions {lesson} --hide` first.")
    if (when or never) and students:
        _extend(course, lesson, students, when)
    elif when or never:
        lateness.set_due_date(course, lesson, when)
    _print_dates(course, lesson)
    if when or never:
        say(f"Next: `autograde grade {lesson}` brings penalties, feedback and CSV files up to date.")


def _extend(course: Course, lesson: str, students: tuple[str, ...], when: dt.datetime | None) -> None:
    from autograde.grading import lateness, term
    from autograde.grading.student_names import same_name

    if when is not None and lateness.due_date(course, lesson) is None:
        raise CourseError(
            f"{lesson} has no due date, so nobody needs more time: `autograde due {lesson} TIME`."
        )
    known = {same_name(name): name for name in _class(course)}  # as the folder writes the name
    with term.change(course, lesson) as decided:
        for student in (known.get(same_name(name), same_name(name)) for name in students):
            if when is not None:
                decided.extensions[student] = when.isoformat()
            elif decided.extensions.pop(student, None) is None:
                raise CourseError(f"{student} has no extension for {lesson}.")
    if when is not None and (strange := set(map(same_name, students)) - known.keys()):
        names = ", ".join(sorted(strange))
        say(f"Nobody is called {names} yet, on the roster or among the submissions: is it spelt so?")


def _class(course: Course) -> set[str]:
    """The ids of all who are on the roster or have handed in anything."""
    from autograde.grading.roster import known

    return {*known(course), *(path.parent.name for path in course.grading.glob("submitted/*/*"))}


def _print_dates(course: Course, lesson: str) -> None:
    from autograde.grading import lateness, term

    end = lateness.due_date(course, lesson)
    say(f"{lesson}: due {term.shown_time(end)}." if end else f"{lesson} has no due date.")
    for student, until in sorted(term.of_lesson(course, lesson).extensions.items()):
        say(f"  {student}: until {term.shown_time(dt.datetime.fromisoformat(until))}.")


@click.command(epilog=A_TIME)
@ONE_LESSON
@click.argument("student")
@click.argument("time")
def received(lesson: str, student: str, time: str) -> None:
    """Say when STUDENT handed in the notebook of LESSON that lies there now."""
    from autograde.grading import term

    when = term.parse_time(time)
    term.receive(_course(lesson), lesson, student, when, term.INSTRUCTOR)
    say(f"{student} handed in {lesson} on {term.shown_time(when)}. Next: `autograde grade {lesson}`.")


@click.command()
@ONE_LESSON
@click.argument("exercise")
@click.option("--undo", is_flag=True, help="Let it count again.")
def excuse(lesson: str, exercise: str, undo: bool) -> None:
    """Give all who handed in LESSON the full points of EXERCISE: for one that turned out to be faulty."""
    from autograde.cells import maximum_points
    from autograde.grading import term
    from autograde.notebooks import read_notebook

    course = _course(lesson)
    known = maximum_points(read_notebook(course.released(lesson)))
    if exercise not in known:
        raise UsageError(f"{lesson} has no exercise {exercise!r} with tests: it has {', '.join(known)}.")
    with term.change(course, lesson) as decided:
        rest = [name for name in decided.excused if name != exercise]
        decided.excused = rest if undo else [*rest, exercise]
    said = "counts again" if undo else "is excused: everybody who handed in gets its points"
    say(f"{exercise} {said}. Next: `autograde grade {lesson}`.")


@click.command()
@ONE_LESSON
@click.option("--hide", is_flag=True, help="Take them away again.")
def solutions(lesson: str, hide: bool) -> None:
    """Show the reference solutions in LESSON's feedback, once nobody has time left to hand in."""
    from autograde.grading import lateness, term

    course = _course(lesson)
    end, extensions = lateness.due_date(course, lesson), term.of_lesson(course, lesson).extensions
    ends = [dt.datetime.fromisoformat(text) for text in extensions.values()]
    ends += [end.replace(tzinfo=dt.UTC)] if end else []
    if not hide and any(one > dt.datetime.now(dt.UTC) for one in ends):
        raise CourseError(
            f"{lesson} can be handed in until {term.shown_time(max(ends))}: no solutions before."
        )
    with term.change(course, lesson) as decided:
        decided.solutions = not hide
    said = "without" if hide else "with"
    say(f"Feedback is made {said} solutions from now on. Next: `autograde grade {lesson}`.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def roster(file: Path) -> None:
    """Enter a class into the gradebook from FILE: Canvas's or Moodle's export, or a CSV with a header."""
    from autograde.grading.roster import enter, read_roster

    entered = enter(Course.find(), read_roster(file))
    for line in entered.lines():
        say(line)
    say("Next: `autograde collect LESSON FILES`, or `autograde grade`.")


@click.command()
@ONE_LESSON
@click.argument("archives", nargs=-1, type=click.Path(path_type=Path))
def collect(lesson: str, archives: tuple[Path, ...]) -> None:
    """Put submissions where they belong, from ARCHIVES of Moodle, Canvas or Blackboard, or plain files."""
    from autograde.grading.collecting import collect as collect_all

    found = collect_all(_course(lesson), lesson, archives)
    for line in found.lines():
        say(line)
    say(f"Next: `autograde grade {lesson}`.")


COMMANDS = (roster, collect, due, received, excuse, solutions)
