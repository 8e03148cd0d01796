"""A lesson is graded from one checkout at a time, also where several share a gradebook in PostgreSQL."""

import contextlib
import hashlib
from collections.abc import Iterator

from sqlalchemy import create_engine, func, make_url, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading.gradebook import one_line_errors
from autograde.grading.settings import gradebook_url

TAKEN = "{} is being graded from another checkout into this gradebook: wait for it, or end it."


@contextlib.contextmanager
def claimed(course: Course, lesson: str) -> Iterator[None]:
    """Inside, nobody else who does the same grades it; the server forgets a claim whose holder has ended.

    A file needs none: it belongs to one checkout, which has a lock. Raises CourseError where it is claimed.
    """
    url = gradebook_url(course)
    if make_url(url).get_backend_name() != "postgresql":
        yield
        return
    with one_line_errors(course):
        connection = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()
        mine = connection.scalar(select(func.pg_try_advisory_lock(_number(lesson))))
    try:
        if not mine:
            raise CourseError(TAKEN.format(lesson))
        yield
    finally:
        with contextlib.suppress(SQLAlchemyError):  # should the server have gone meanwhile
            connection.close()


def _number(lesson: str) -> int:
    """What PostgreSQL knows the claim by, 64 bits with a sign."""
    return int.from_bytes(hashlib.sha256(f"autograde {lesson}".encode()).digest()[:8], signed=True)
