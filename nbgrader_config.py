"""nbgrader's configuration for this course. Where our part does not load, it stops: nothing is graded."""

from pathlib import Path

try:
    from autograde.grading.nbgrader_config import configure

    configure(c, Path(__file__).parent)
except Exception as error:
    raise SystemExit(f"nbgrader_config.py: nothing is graded: {' '.join(str(error).split())}") from None
