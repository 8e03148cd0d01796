"""The formgrader's pages, made safe for submissions nobody has read, where nbgrader has no setting for it.

The pages lie on the Jupyter server's own address: whatever ran there could start a kernel with the grader's
rights. nbgrader serves the files of a submission there as they are, and `/formgrader?path=FOLDER` runs a
nbgrader_config.py of any folder, so of a submission too. Names from an address are written into its pages as
they are. A link in a submission would be enough for either.
"""

import base64
import hashlib
import html
import mimetypes
import sys
from pathlib import Path
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from nbgrader.exchange.abc import ExchangeList
from traitlets import Bool, Unicode

from autograde.cells import grade_id
from autograde.course import Course
from autograde.pages.exporter import Pages
from autograde.pages.sanitise import Ours, Sanitise
from autograde.pages.solutions import rubrics

PAGES = "nbgrader.server_extensions.formgrader"
# nbgrader's pages have scripts of their own, so inline scripts stay allowed; of handlers, only its own.
HANDLERS = (
    *("toggle_name(true);", "toggle_name(false);", "toggleAllNames()"),
    *("createAssignmentModal();", "createStudentModal();"),
)
# A message box takes its text for HTML, and names stand in it. Who is on no roster is shown by id, not as
# "None, None".
AMENDS = """<script>
(function (modal) {
  createModal = function (id, title, body, footer) {
    return modal(id, title, typeof body === "string" ? document.createTextNode(body) : body, footer);
  };
})(createModal);
$.each(["StudentUI", "SubmissionUI", "SubmittedNotebookUI"], function (_, kind) {
  var ui = window[kind];
  if (!ui) return;
  var render = ui.prototype.render;
  ui.prototype.render = function () {
    render.call(this);
    var id = this.model.get("student") || this.model.get("id");
    var names = [this.model.get("last_name"), this.model.get("first_name")];
    var shown = names.filter(Boolean).join(", ") || id, cell = this.$student_name || this.$name;
    if (kind !== "SubmittedNotebookUI") cell.attr("data-order", shown);
    (cell.find("a").length ? cell.find("a").not(".name-hidden") : cell).text(shown);
    if (this.$timestamp && this.$timestamp.text() === "None") this.$timestamp.text("not known");
  };
});
</script>
"""
# What needs nbgrader's exchange is offered where the course uses one.
NO_EXCHANGE = """<script>
$("th").filter(function () { return /^(Release|Collect|Release Feedback)$/.test($(this).text()); }).hide();
</script>
<style>td.release, td.collect, td.release-feedback { display: none; }</style>
"""
NAMES = ("student", "first_name", "last_name", "notebook_path")
PICTURES = ("image/png", "image/jpeg", "image/gif")


def policy() -> str:
    """What a page of the formgrader may load and run, as the header's value."""
    digests = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in HANDLERS]
    rules = {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-inline'",
        "script-src-attr": " ".join(["'unsafe-hashes'", *(f"'sha256-{digest}'" for digest in digests)]),
        "style-src": "'self' 'unsafe-inline'",
        "font-src": "'self' data:",
        "img-src": "'self' data:",
        **dict.fromkeys(("object-src", "base-uri", "frame-src"), "'none'"),
        **dict.fromkeys(("form-action", "frame-ancestors"), "'self'"),
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def no_path(handler: Any, name: str, default: str = "", strip: bool = True) -> str:
    """For the handler that would load the configuration of the folder in `path`: there is none."""
    return default


def harmless_type(handler: Any) -> str:
    """For the files of a submission: a picture, or text, which no page takes for a script."""
    given = mimetypes.guess_type(handler.absolute_path)[0]
    return given if given in PICTURES else "text/plain; charset=utf-8"


def render(handler: Any, name: str, **given: Any) -> str:
    """BaseHandler.render, with escaping, and without advice on an exchange that the course does not use."""
    amends = AMENDS if handler.coursedir.course_id else AMENDS + NO_EXCHANGE
    if "exchange_missing" in given and not handler.coursedir.course_id:
        given |= {"exchange_missing": False, "course_id": "none"}
    environment = handler.settings["nbgrader_jinja2_env"]
    environment.autoescape = True
    return str(environment.get_template(name).render(**given)).replace("</body>", f"{amends}</body>")


def safe_exporter(handler: Any) -> HTMLExporter:
    """BaseHandler.exporter; where Jupyter was started in another folder, it was made without our steps."""
    exporter = handler.settings["nbgrader_exporter"]
    if not isinstance(exporter, Pages) or Sanitise not in exporter.preprocessors:
        error = sys.modules[f"{PAGES}.handlers"].web.HTTPError
        raise error(403, "Start Jupyter in the course's folder: here submissions are not safe to show.")
    return exporter


class NoExchange(ExchangeList):
    """nbgrader's exchange is not used: submissions are laid into folders, so nothing is ever listed."""

    def start(self) -> list[Any]:
        """Stock nbgrader complains here, for every page, that it has no folder that all may write to."""
        return []


class ForGraders(Preprocessor):
    """Makes a submission's page of the formgrader: names escaped, rubrics above answers graded by hand."""

    enabled = Bool(True).tag(config=True)
    root = Unicode(help="The course's folder.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The page of a submission is known by its `submission_id`: feedback has none."""
        if "submission_id" in resources:
            resources |= {name: html.escape(resources[name]) for name in NAMES if resources.get(name)}
            found = rubrics(Course.at(Path(self.root)).instructors(resources["notebook_id"]))
            cells = [(found.get(grade_id(cell) or ""), cell) for cell in nb.cells]
            nb.cells = [shown for rubric, cell in cells for shown in (*_box(rubric), cell)]
        return nb, resources


def _box(rubric: str | None) -> list[NotebookNode]:
    if rubric is None:
        return []
    cell = new_markdown_cell()
    cell.source = Ours(f"**Rubric, for graders only**\n\n{rubric}")
    return [cell]
