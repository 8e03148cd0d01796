"""nbgrader's configuration for a course: its folders, and our steps in its pipeline."""

import os
from pathlib import Path

from traitlets.config import Config

from autograde.cells import ANSWER_STUB, STUB
from autograde.course import Course
from autograde.grading import exchange, nbgrader_collect, nbgrader_patches, settings
from autograde.grading.in_progress import sweep
from autograde.grading.lateness import Lateness
from autograde.grading.preprocessors import Record, RunAndJudge
from autograde.pages.clean_html import clean
from autograde.pages.exporter import StudentPages
from autograde.pages.formgrader import ForGraders, NoExchange
from autograde.pages.sanitise import Sanitise, markdown_of_a_page, unchanged
from autograde.pages.truncate import Truncate


def configure(c: Config, root: Path) -> None:
    """Fill nbgrader's config object `c` for the course in `root`; its nbgrader_config.py calls this.

    The instructor's own settings, in .grading/settings.py, come first: what grading rests on is ours.
    Raises CourseError where that file fails.
    """
    root = root.resolve()
    settings.read(c, Course.at(root))
    nbgrader_patches.apply()
    os.environ["TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR"] = "1"
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.db_url = settings.gradebook_url(Course.at(root))
    for name in ("source", "submitted", "autograded", "feedback"):
        setattr(c.CourseDirectory, f"{name}_directory", f".grading/{name}")
    c.CourseDirectory.release_directory = ".grading/released"
    for ours in ("*.verdict.json", "*.graded.json", "*.unfinished", ".*.part"):
        c.CourseDirectory.ignore.append(ours)  # else nbgrader hands them out with the feedback
    sweep(Course.at(root))
    c.ClearSolutions.code_stub, c.ClearSolutions.text_stub = {"python": STUB}, ANSWER_STUB
    c.Autograde.sanitize_preprocessors = []  # the steps see the release, which is as it was released
    c.Autograde.autograde_preprocessors = [RunAndJudge, Record, Lateness]
    c.GenerateFeedback.preprocessors = []
    _collect_into(c)
    c.ForGraders.root = str(root)
    c.Exporter.optimistic_validation = True  # once after all steps, not after each
    _make_pages_harmless(c)


def _collect_into(c: Config) -> None:
    """Where what is collected goes, how its names are read, and nbgrader's exchange, if there is one."""
    c.ZipCollectApp.downloaded_directory = ".grading/downloaded"
    c.ZipCollectApp.collector_plugin = nbgrader_collect.Collector
    c.ZipCollectApp.extractor_plugin = nbgrader_collect.Extractor
    c.ExchangeFactory.collect = exchange.Collect
    c.ExchangeFactory.release_assignment = exchange.Release
    c.ExchangeFactory.release_feedback = exchange.ReleaseFeedback
    if not c.CourseDirectory.get("course_id"):  # the settings name a course where there is an exchange
        c.ExchangeFactory.list = NoExchange


def _make_pages_harmless(c: Config) -> None:
    """Nothing that a submission holds runs in the formgrader's pages or in feedback."""
    c.GenerateFeedback.exporter_class = StudentPages
    c.HTMLExporter.preprocessors = [Sanitise, Truncate, ForGraders]
    c.HTMLExporter.sanitize_html = True
    # nbconvert's strip_files_prefix takes hours for a megabyte of brackets; no link here starts with files/
    c.HTMLExporter.filters = {
        "markdown2html": markdown_of_a_page,
        "clean_html": clean,
        "strip_files_prefix": unchanged,
    }
    c.FormgradeExtension.debug = False  # else its first page prints the configuration, paths and all
