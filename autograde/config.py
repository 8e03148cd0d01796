"""nbgrader's configuration for a course: its folders, and our steps in its pipeline."""

import os
from pathlib import Path

from nbgrader.converters import base
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
from autograde.files import plain_files
from autograde.formgrader import ShowRubrics, protect
from autograde.inert import Inert, clean, render_markdown
from autograde.preprocessors import Rebuild, Record, RunAndJudge
from autograde.regions import STUB
from autograde.release import ANSWER_STUB
from autograde.unfinished import sweep


def configure(c: Config, root: Path) -> None:
    """Fill nbgrader's config object `c` for the course in `root`; its nbgrader_config.py calls this."""
    root = root.resolve()
    base.find_all_files = plain_files  # nbgrader copies what links and devices give, before our first step
    os.environ["TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR"] = "1"
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.db_url = Course.at(root).gradebook
    for name in ("source", "submitted", "autograded", "feedback"):
        setattr(c.CourseDirectory, f"{name}_directory", f".grading/{name}")
    c.CourseDirectory.release_directory = ".grading/released"
    for ours in ("*.verdict.json", "*.unfinished", ".*.draft", "*.part"):
        c.CourseDirectory.ignore.append(ours)  # else nbgrader hands them out with the feedback
    sweep(Course.at(root))
    c.ClearSolutions.code_stub, c.ClearSolutions.text_stub = {"python": STUB}, ANSWER_STUB
    c.Autograde.sanitize_preprocessors = [
        *(Rebuild, ClearOutput, DeduplicateIds),
        *(OverwriteKernelspec, OverwriteCells, CheckCellMetadata),
    ]
    c.Autograde.autograde_preprocessors = [
        *(RunAndJudge, Inert, Record),
        *(AssignLatePenalties, CheckCellMetadata),
    ]
    c.ShowRubrics.root = str(root)
    _make_pages_inert(c)


def _make_pages_inert(c: Config) -> None:
    """Nothing that a submission holds runs in the formgrader's pages or in feedback."""
    c.HTMLExporter.preprocessors = [Inert, ShowRubrics]
    c.HTMLExporter.sanitize_html = True
    c.HTMLExporter.filters = {"markdown2html": render_markdown, "clean_html": clean}
    c.FormgradeExtension.debug = False  # else its first page prints the configuration, paths and all
    protect()
