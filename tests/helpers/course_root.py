"""Where this checkout is, and the course in it."""

from pathlib import Path

from autograde.course import Course

ROOT = Path(__file__).parents[2]
COURSE = Course.at(ROOT)
