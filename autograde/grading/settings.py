"""The instructor's own settings, .grading/settings.py, and the gradebook that they may name."""

import functools
import traceback

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from traitlets.config import Config

from autograde.course import Course
from autograde.errors import CourseError

FILE = "settings.py"


def read(c: Config, course: Course) -> None:
    """Run the settings, `c.Class.setting = value` as nbgrader's manual has them, where there are any.

    Raises CourseError, with file and line, where they fail.
    """
    path = course.grading / FILE
    if not path.exists():
        return
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), {"c": c, "__file__": str(path)})
    except Exception as error:
        line = next((frame.lineno for frame in traceback.extract_tb(error.__traceback__)[::-1]), 0)
        where = getattr(error, "lineno", None) or line
        raise CourseError(f"{path}, line {where}: {type(error).__name__}: {error}. Mend it.") from None


def gradebook_url(course: Course) -> str:
    """SQLAlchemy's address of the gradebook: nbgrader's `db_url` in the settings, else the course's own file.

    Raises CourseError where the settings fail, or name something else.
    """
    path = course.grading / FILE
    try:
        state = path.stat()
    except OSError:
        return course.gradebook
    return _named(course, (state.st_mtime_ns, state.st_size)) or course.gradebook


@functools.lru_cache(maxsize=8)
def _named(course: Course, _: tuple[int, int]) -> str:
    """The address in settings of a certain time and size; "" where they name none."""
    c = Config()
    read(c, course)
    if "db_url" not in c.CourseDirectory:
        return ""
    try:
        return make_url(c.CourseDirectory.db_url).render_as_string(hide_password=False)
    except ArgumentError:
        line = "c.CourseDirectory.db_url is no address, such as postgresql+psycopg://user@host/database"
        raise CourseError(f"{course.grading / FILE}: {line}.") from None


def shown(url: str) -> str:
    """An address as people may see it: a file's path, or without the password."""
    return make_url(url).render_as_string(hide_password=True).removeprefix("sqlite:///")
