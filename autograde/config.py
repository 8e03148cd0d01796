"""nbgrader's configuration for a course: its folders, and our steps in its pipeline."""

import os
from pathlib import Path

from nbgrader.converters import Autograde, base
from nbgrader.preprocessors import (
    AssignLatePenalties,
    ClearOutput,
    DeduplicateIds,
    OverwriteCells,
    OverwriteKernelspec,
)
from traitlets.config import Config

from autograde.brief import Brief
from autograde.course import Course
from autograde.files import convert_plain_names, plain_files
from autograde.formgrader import ForGraders, NoExchange, protect
from autograde.inert import Inert, clean, markdown_of_a_page, unchanged
from autograde.pages import Pages
from autograde.preprocessors import Rebuild, Record, RunAndJudge, convert_once
from autograde.regions import ANSWER_STUB, STUB
from autograde.unfinished import sweep


def configure(c: Config, root: Path) -> None:
    """Fill nbgrader's config object `c` for the course in `root`; its nbgrader_config.py calls this."""
    root = root.resolve()
    base.find_all_files = plain_files  # nbgrader copies what links and devices give, before our first step
    base.BaseConverter.convert_notebooks = convert_plain_names
    Autograde.convert_single_notebook = convert_once
    os.environ["TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR"] = "1"
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.db_url = Course.at(root).gradebook
    for name in ("source", "submitted", "autograded", "feedback"):
        setattr(c.CourseDirectory, f"{name}_directory", f".grading/{name}")
    c.CourseDirectory.release_directory = ".grading/released"
    for ours in ("*.verdict.json", "*.graded.json", "*.unfinished", ".*.draft", "*.part"):
        c.CourseDirectory.ignore.append(ours)  # else nbgrader hands them out with the feedback
    sweep(Course.at(root))
    c.ClearSolutions.code_stub, c.ClearSolutions.text_stub = {"python": STUB}, ANSWER_STUB
    c.Autograde.sanitize_preprocessors = [
        *(Rebuild, ClearOutput, DeduplicateIds),
        *(OverwriteKernelspec, OverwriteCells),
    ]
    c.Autograde.autograde_preprocessors = [RunAndJudge, Record, AssignLatePenalties]
    c.ForGraders.root = str(root)
    c.Exporter.optimistic_validation = True  # once after all steps, not after each
    _make_pages_inert(c)


def _make_pages_inert(c: Config) -> None:
    """Nothing that a submission holds runs in the formgrader's pages or in feedback."""
    c.GenerateFeedback.exporter_class = Pages
    c.HTMLExporter.preprocessors = [Inert, Brief, ForGraders]
    c.HTMLExporter.sanitize_html = True
    # nbconvert's strip_files_prefix takes hours for a megabyte of brackets; no link here starts with files/
    c.HTMLExporter.filters = {
        "markdown2html": markdown_of_a_page,
        "clean_html": clean,
        "strip_files_prefix": unchanged,
    }
    c.ExchangeFactory.list = NoExchange
    c.FormgradeExtension.debug = False  # else its first page prints the configuration, paths and all
    protect()
