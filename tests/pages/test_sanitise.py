"""A submission is inert where it is shown, and feedback says what failed but shows no hidden test."""

import importlib
import re
from types import SimpleNamespace

import nbformat
import pytest
from classroom import RIGHT, autograded, filled, hand_in, released, run, scores
from hostile import CONFIG, FILE, PIXEL, RUN, hostile
from nbconvert.exporters import HTMLExporter
from nbformat import from_dict
from nbformat.v4 import new_code_cell, new_notebook
from nbgrader.converters import Autograde, GenerateFeedback
from pages_html import Page, exported
from small_course import HIDDEN, NAME, course
from traitlets.config import Config

from autograde.grading.nbgrader_config import configure
from autograde.pages.clean_html import MAX_HTML_CHARACTERS, TAGS
from autograde.pages.exporter import Pages
from autograde.pages.mathml import TAGS as FORMULAS
from autograde.pages.sanitise import MAX_MARKDOWN_CHARACTERS, Sanitise, render_markdown

__all__ = ["course", "released"]
HARMLESS = re.compile(r"(https?:|mailto:|#|data:image/(png|jpeg|gif);base64,|[\w-]+\.png$)")
HALF = {**RIGHT, "weighted-mean": "def weighted_mean(x, w):\n    return 7.25 * np.mean(x)\n"}


def feedback(course, student: str) -> str:
    return (course.grading / "feedback" / student / NAME / f"{NAME}.html").read_text()


def hand_in_hostile(course, student: str = "mallory") -> None:
    folder = hand_in(course, student, hostile(filled(course, RIGHT))).parent
    (folder / FILE).write_text(f"<script>{RUN}</script>")
    (folder / "nbgrader_config.py").write_text(CONFIG)
    (folder / "<img src=x onerror=alert(1)>.txt").write_text("a name")
    (folder / "plot.png").write_bytes(b"\x89PNG")


def test_a_hostile_submission_is_graded_and_its_feedback_runs_nothing(released):
    hand_in(released, "ann", filled(released, RIGHT))
    hand_in_hostile(released)
    run(released, Autograde)
    run(released, GenerateFeedback)
    assert scores(released) == {"ann": 20, "mallory": 20}
    ours, page = Page(feedback(released, "ann")), Page(feedback(released, "mallory"))
    assert page.scripts == [] == ours.scripts and page.handlers == [] == ours.handlers
    assert page.tags - ours.tags <= {*TAGS, *FORMULAS}
    assert not [address for address in page.addresses if not HARMLESS.match(address)]
    assert page.ids.count("why-mean") == 0
    text = feedback(released, "mallory")
    assert PIXEL in text and "bold</b>" in text and "12 of 12" in text
    assert (
        "<mi>a</mi><mo>&lt;</mo><mi>b</mi>" in text
        and "<code>a &lt; b</code>" in text
        and "<strong>2</strong>" in text
    )


def test_the_autograded_notebook_holds_no_script_in_its_outputs(released):
    hand_in_hostile(released)
    run(released, Autograde)
    outputs = [
        o for c in nbformat.read(autograded(released, "mallory"), 4).cells for o in c.get("outputs", [])
    ]
    shown = [o for o in outputs if "data" in o]
    assert {key for o in shown for key in o.data} <= {
        *("text/plain", "text/html", "text/markdown", "text/latex", "image/png"),
    }
    assert [o.metadata for o in shown if o.metadata] == [{"image/png": {"width": 40, "height": 30}}]
    assert any(o.data.get("text/plain") == "[not shown: application/javascript]" for o in shown)


def test_feedback_names_the_property_and_shows_neither_test_nor_expected_value(released):
    hand_in(released, "bob", filled(released, HALF))
    run(released, Autograde)
    run(released, GenerateFeedback)
    text = feedback(released, "bob")
    assert "FAILED</b> <span>Weights count." in text and "passed</b> <span>Two numbers." in text
    assert "0 of 12" in text and "8 of 22.5 so far" in text
    hidden = [line.strip() for line in HIDDEN.splitlines() if len(line.strip()) > 12 and '"""' not in line]
    for secret in (*hidden, "0.75", "[0.0, 1.0]", "test_weights", "test_two", "pytest", "squared distances"):
        assert secret not in text


def test_a_warning_costs_nothing_and_is_shown(released):
    hand_in(released, "ann", filled(released, {**RIGHT, "weighted-mean": _warns()}))
    run(released, Autograde)
    run(released, GenerateFeedback)
    assert scores(released) == {"ann": 20} and "UserWarning: careful" in feedback(released, "ann")


def _warns() -> str:
    return "import warnings\nwarnings.warn('careful')\n" + RIGHT["weighted-mean"]


@pytest.mark.parametrize(
    "given",
    [
        {"output_type": "stream", "name": "<b>", "text": 3},
        {"output_type": "stream", "name": "stdout", "text": None},
        {"output_type": "error", "ename": 1, "evalue": [], "traceback": "<script>"},
        {"output_type": "error", "traceback": [1, None, {"a": 1}]},
        {"output_type": "display_data", "data": ["text/html"], "metadata": "x"},
        {"output_type": "display_data", "data": {"text/html": ["<script>"], "image/png": 3}},
        {"output_type": "<script>", "data": {}, "metadata": {"image/png": {"width": "1 onload=alert(1)"}}},
        {"data": {"image/png": 'x" onerror="alert(1)', "a/<script>": "x"}},
        {"output_type": "display_data", "data": {"text/plain": "\ud800", "image/png": "x"}, "metadata": 3},
        {"output_type": "stream", "text": 10**5000},
        {
            "data": {"image/png": "AA=="},
            "metadata": {"image/png": {"width": float("nan"), "height": 10**400}},
        },
        {},
    ],
)
def test_forged_outputs_neither_break_a_page_nor_run(course, given):
    notebook = new_notebook(cells=[new_code_cell("1")])
    empty = Page(exported(course, notebook))
    notebook.cells[0].update(execution_count="<script>", outputs=[from_dict(given)])
    notebook, _ = Sanitise().preprocess(notebook, {})
    nbformat.validate(notebook)
    nbformat.writes(notebook).encode()
    page = Page(exported(course, notebook))
    assert page.scripts == empty.scripts and page.handlers == []


@pytest.mark.parametrize(
    "text",
    [
        "[" * MAX_MARKDOWN_CHARACTERS,
        "<" * MAX_MARKDOWN_CHARACTERS,
        "<div>" * (MAX_MARKDOWN_CHARACTERS // 5),
        "> " * (MAX_MARKDOWN_CHARACTERS // 2),
        "![a](attachment:b)",
        "\0<b",
    ],
)
def test_markdown_that_cannot_be_rendered_is_shown_as_text(text):
    assert "<script" not in render_markdown(text + "<script>") and render_markdown(text)


def test_formulas_survive_the_cleaning():
    page = render_markdown("a $x < y$ b <script>a</script> $$z^2$$ <b>$w$</b>")
    assert page.count("<math") == 3 and "<mo>&lt;</mo>" in page and "script" not in page


def test_long_html_gives_way_to_its_text():
    data = {"text/html": "<p>" * MAX_HTML_CHARACTERS, "text/plain": "short"}
    cell = new_code_cell(outputs=[from_dict({"output_type": "display_data", "data": data, "metadata": {}})])
    notebook, _ = Sanitise().preprocess(new_notebook(cells=[cell]), {})
    assert notebook.cells[0].outputs[0].data == {"text/plain": "short"}


# The first kind ends its cell; the others go on, and the last one no file takes.
FORGER = """
import json

kernel = get_ipython().kernel
kernel.session.pack = lambda content: json.dumps(content, default=str).encode()
for kind, content in {messages!r}:
    kernel.session.send(kernel.iopub_socket, kind, content, kernel.get_parent("shell"))
"""
MALFORMED = [
    ("stream", {"name": 7, "text": ["a"]}),
    ("display_data", {"data": {"no-type": {}, "": None}, "metadata": {"image/png": [1]}}),
    ("execute_result", {"data": {"text/plain": "20.0"}, "execution_count": "many", "metadata": None}),
    ("error", {"ename": 1, "evalue": {}, "traceback": "text"}),
]
SHOWN = {"data": {"text/plain": "a"}, "metadata": {}, "transient": {"display_id": "a"}}
UPDATES = [
    ("display_data", SHOWN),
    (
        "update_display_data",
        SHOWN | {"data": {"text/plain": 5, "no-type": [{}], "image/png": {}}, "metadata": 3},
    ),
]
HALVES = [
    ("stream", {"name": "stdout", "text": "\ud800"}),
    ("display_data", SHOWN | {"metadata": {"\ud800": 1}}),
]


@pytest.mark.parametrize("messages", [MALFORMED, UPDATES, HALVES])
def test_outputs_that_a_kernel_forges_leave_the_honest_score(released, messages):
    source = FORGER.format(messages=messages)
    notebook = filled(released, HALF)
    notebook.cells.insert(1, new_code_cell(source, id="forger"))
    hand_in(released, "forger", notebook)
    run(released, Autograde)
    assert scores(released) == {"forger": 8}
    graded = nbformat.read(autograded(released, "forger"), 4)
    nbformat.validate(graded)
    (forger,) = (cell for cell in graded.cells if cell.source == source)
    assert [kind for output in forger.outputs for kind in output.get("data", {})] in ([], ["text/plain"])


def test_a_server_that_was_started_elsewhere_shows_no_submission(course):
    pages = importlib.import_module("nbgrader.server_extensions.formgrader.handlers")
    config = Config()
    configure(config, course.root)
    handler = object.__new__(pages.SubmissionHandler)
    handler.application = SimpleNamespace(settings={"nbgrader_exporter": Pages(config=config)})
    assert handler.exporter is handler.settings["nbgrader_exporter"]
    handler.settings["nbgrader_exporter"] = HTMLExporter()
    with pytest.raises(pages.web.HTTPError, match="Start Jupyter in the course's folder"):
        assert handler.exporter
