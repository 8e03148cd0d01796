"""The exporter of the formgrader's and the feedback's pages: they load nothing from the network."""

import functools
import re
from typing import Any

from jinja2 import BytecodeCache, ChoiceLoader, DictLoader, Environment, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup
from nbconvert.exporters import HTMLExporter, TemplateExporter
from nbconvert.filters.highlight import Highlight2HTML
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from autograde.pages import feedback, feedback_style
from autograde.pages.clean_html import clean
from autograde.pages.feedback_template import TEMPLATE
from autograde.pages.sanitise import markdown_of_a_cell, markdown_of_a_page

# nbgrader's script waits for MathJax to be done; formulas are there before it starts (mathml.py).
NO_MATHJAX = """<script>
var MathJax = {Hub: {Startup: {signal: {Interest: function (told) { told("End"); }}}}};
</script>"""
STYLE = """<style>
.rendered_html table { margin: 0 0 1em; }
.rendered_html th, .rendered_html td { padding: 0.2em 1em 0.2em 0; vertical-align: top; }
.rendered_html pre, .output_area pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.rendered_html img, .output_area img { border: 0; max-width: 100%; }
.rendered_html math[display=block] { margin: 0.8em 0; }
</style>"""
POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"
FEEDBACK = f"""<meta http-equiv="Content-Security-Policy" content="{POLICY}">"""
KEPT_SOURCES = 500  # sources whose highlighting is remembered: most of a notebook is what the last one had
KEPT_CHARACTERS = 10_000  # characters of such a source: as HTML it is up to 24 times as long
PYTHON, BOX = PythonLexer(), HtmlFormatter(cssclass=" highlight hl-ipython3")
# What each rule of IPython's lexer for magics asks for: without it, the one for Python says the same, sooner.
MAGIC = re.compile(r"%[%\w]|\?|!(?!=)")
MACRO = "{%- macro mathjax(url='') -%}%s{%- endmacro -%}"


class _Compiled(BytecodeCache):
    """Compiled templates, for this process and its forks: compiling takes half the time of a page."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


COMPILED = _Compiled()


def highlighted(source: str) -> Markup:
    """Python code as HTML."""
    return _kept(source) if len(source) <= KEPT_CHARACTERS else _kept.__wrapped__(source)


@functools.lru_cache(maxsize=KEPT_SOURCES)
def _kept(source: str) -> Markup:
    if MAGIC.search(source):
        return Markup(Highlight2HTML(pygments_lexer="ipython3")(source))
    return Markup(highlight(source or " ", PYTHON, BOX))


class Pages(HTMLExporter):
    """nbconvert's HTML without MathJax: what stands in the place of its script is ours."""

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **how: Any
    ) -> tuple[str, dict[str, Any]]:
        """The page. nbconvert then reads it all again, for longer, to add what is in it here already."""
        self.register_filter("highlight_code", lambda source, metadata=None: highlighted(source))
        page, found = TemplateExporter.from_notebook_node(self, nb, self._init_resources(resources), **how)
        return str(page), found

    def _create_environment(self) -> Environment:
        environment = super()._create_environment()
        head = NO_MATHJAX if self.template_name == "formgrade" else FEEDBACK
        ours = DictLoader({"mathjax.html.j2": MACRO.replace("%s", head + STYLE)})
        assert environment.loader is not None
        environment.loader = ChoiceLoader([ours, environment.loader])
        environment.bytecode_cache = COMPILED
        return environment


class StudentPages(Pages):
    """The pages that students get: our own template, which asks for a `Sheet` in `resources["feedback"]`."""

    def _create_environment(self) -> Environment:
        environment = super()._create_environment()
        environment.loader = DictLoader({"index.html.j2": TEMPLATE})
        environment.autoescape, environment.undefined = True, StrictUndefined
        environment.globals |= {"policy": POLICY, "style": feedback_style.STYLE}
        ours = (feedback.arranged, feedback.properties, feedback.best_form, feedback.shown, clean)
        texts = (markdown_of_a_page, markdown_of_a_cell)
        environment.filters |= {each.__name__: each for each in (*ours, *texts)}
        return environment
