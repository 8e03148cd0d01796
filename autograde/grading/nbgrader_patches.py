"""Every part of nbgrader that is replaced: where it is, what takes its place, and why.

Where nbgrader has a setting, nbgrader_config.py uses that; it calls `apply`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

from autograde.grading import feedback, gradebook, lateness, nbgrader_collect, preprocessors, submission_files
from autograde.pages import exporter, formgrader

FORMGRADER = "nbgrader.server_extensions.formgrader"


@dataclass(frozen=True)
class Patch:
    """One replaced part.

    module: where its owner is; the formgrader's exist only in a Jupyter server.
    owner: a class or an object of the module, dotted; "" for the module itself.
    name: of the attribute.
    make: gives what takes its place.
    why: what would go wrong without.
    """

    module: str
    owner: str
    name: str
    make: Callable[[], Any]
    why: str


PATCHES = (
    Patch(
        "nbgrader.converters.base",
        "",
        "find_all_files",
        lambda: submission_files.plain_files,
        "it follows links and knows no bounds",
    ),
    Patch(
        "nbgrader.converters.base",
        "BaseConverter",
        "convert_notebooks",
        lambda: submission_files.convert_plain_names,
        "a student's folder name stands in pages, addresses and commands; it may change while it is read",
    ),
    Patch(
        "nbgrader.converters",
        "Autograde",
        "init_assignment",
        lambda: submission_files.begin_assignment,
        "what it has copied when it is killed would look like something graded",
    ),
    Patch(
        "nbgrader.converters",
        "GenerateFeedback",
        "init_assignment",
        lambda: submission_files.copy_pictures,
        "it hands back every file of a submission, pages with scripts too",
    ),
    Patch(
        "nbgrader.converters",
        "Autograde",
        "convert_single_notebook",
        lambda: preprocessors.convert_once,
        "it parses what was handed in with the rights of who writes the gradebook",
    ),
    Patch(
        "nbgrader.converters",
        "GenerateFeedback",
        "convert_single_notebook",
        lambda: feedback.convert_page,
        "so does this, when it makes a page",
    ),
    Patch(
        "nbgrader.coursedir",
        "CourseDirectory",
        "get_existing_timestamp",
        lambda: lateness.known_timestamp,
        "it takes the time of a submission from a file inside it, which is a student's own word",
    ),
    Patch(
        "nbgrader.apps.zipcollectapp",
        "ZipCollectApp",
        "_transfer_files",
        lambda: nbgrader_collect.transfer_files,
        "it empties students' folders, and leaves the time in a file there",
    ),
    Patch(
        "nbgrader.api",
        "",
        "create_engine",
        lambda: gradebook.make_engine,
        "it makes one for each of ten gradebooks a submission, and each compiles the same queries anew",
    ),
    Patch(
        "nbgrader.api",
        "Base.metadata",
        "create_all",
        lambda: gradebook.make_tables,
        "every gradebook looks for every table",
    ),
    Patch(
        "nbgrader.api",
        "",
        "inspect",
        lambda: gradebook.look_into,
        "every gradebook asks for the names of all tables, to tell a new file",
    ),
    Patch(
        "nbgrader.api",
        "Gradebook",
        "check_course",
        lambda: gradebook.check_course,
        "every gradebook looks for its course, and commits",
    ),
    Patch(
        "nbgrader.api",
        "Gradebook",
        "add_student",
        lambda: gradebook.add_student,
        "two graders of two lessons may meet a new student at the same moment: one of them would fail",
    ),
    Patch(
        "nbgrader.api",
        "",
        "sessionmaker",
        lambda: gradebook.make_sessions,
        "it commits twice for each exercise: a kill in between would leave half of a submission's scores",
    ),
    Patch(
        f"{FORMGRADER}.formgrader",
        "",
        "HTMLExporter",
        lambda: exporter.Pages,
        "its pages load MathJax from the network",
    ),
    Patch(
        f"{FORMGRADER}.handlers",
        "BaseHandler",
        "content_security_policy",
        formgrader.policy,
        "what the cleaning missed could run with the grader's rights",
    ),
    Patch(
        f"{FORMGRADER}.handlers",
        "SubmissionFilesHandler",
        "content_security_policy",
        lambda: f"{formgrader.policy()}; sandbox",
        "it serves the files of a submission on the server's own address",
    ),
    Patch(
        f"{FORMGRADER}.handlers",
        "SubmissionFilesHandler",
        "get_content_type",
        lambda: formgrader.harmless_type,
        "it serves them as what their names say, scripts too",
    ),
    Patch(
        f"{FORMGRADER}.handlers",
        "FormgraderHandler",
        "get_argument",
        lambda: formgrader.no_path,
        "it runs the nbgrader_config.py of the folder that an address names",
    ),
    Patch(
        f"{FORMGRADER}.handlers",
        "BaseHandler",
        "render",
        lambda: formgrader.render,
        "it writes names from an address into its pages as they are",
    ),
    Patch(
        f"{FORMGRADER}.handlers",
        "BaseHandler",
        "exporter",
        lambda: property(formgrader.safe_exporter),
        "where Jupyter was started in another folder, it was made without our steps",
    ),
)


def apply() -> None:
    """Replace every part whose module is there; a second time changes nothing. Raises AttributeError."""
    for patch in PATCHES:
        module = sys.modules.get(patch.module)
        if module is not None:
            owner = reduce(getattr, filter(None, patch.owner.split(".")), module)
            getattr(owner, patch.name)  # AttributeError, and nothing is graded, should nbgrader rename it
            setattr(owner, patch.name, patch.make())
