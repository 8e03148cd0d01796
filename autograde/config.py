"""nbgrader's configuration for a course: its folders, and our steps in its pipeline."""

import os
from pathlib import Path

from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    OverwriteCells,
    OverwriteKernelspec,
)
from traitlets.config import Config

from autograde.course import Course
from autograde.preprocessors import Rebuild, Record, RunAndJudge
from autograde.regions import STUB
from autograde.release import ANSWER_STUB


def configure(c: Config, root: Path) -> None:
    """Fill nbgrader's config object `c` for the course in `root`; its nbgrader_config.py calls this."""
    root = root.resolve()
    os.environ["TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR"] = "1"
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.db_url = Course.at(root).gradebook
    for name in ("source", "submitted", "autograded", "feedback"):
        setattr(c.CourseDirectory, f"{name}_directory", f".grading/{name}")
    c.CourseDirectory.release_directory = ".grading/released"
    c.CourseDirectory.ignore.append("*.verdict.json")  # else nbgrader hands it back with the feedback
    c.ClearSolutions.code_stub, c.ClearSolutions.text_stub = {"python": STUB}, ANSWER_STUB
    c.Autograde.sanitize_preprocessors = [
        *(Rebuild, ClearOutput, DeduplicateIds),
        *(OverwriteKernelspec, OverwriteCells, CheckCellMetadata),
    ]
    c.Autograde.autograde_preprocessors = [RunAndJudge, Record, AssignLatePenalties, CheckCellMetadata]
