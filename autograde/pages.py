"""The exporter of the formgrader's and the feedback's pages: they load nothing from the network."""

from jinja2 import ChoiceLoader, DictLoader, Environment
from nbconvert.exporters import HTMLExporter

# nbgrader's script waits for MathJax to be done; formulas are there before it starts (formulas.py).
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
MACRO = "{%- macro mathjax(url='') -%}%s{%- endmacro -%}"


class Pages(HTMLExporter):
    """nbconvert's HTML without MathJax: what stands in the place of its script is ours."""

    def _create_environment(self) -> Environment:
        environment = super()._create_environment()
        head = NO_MATHJAX if self.template_name == "formgrade" else FEEDBACK
        ours = DictLoader({"mathjax.html.j2": MACRO.replace("%s", head + STYLE)})
        assert environment.loader is not None
        environment.loader = ChoiceLoader([ours, environment.loader])
        return environment
