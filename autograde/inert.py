"""Makes a submission inert where it is shown: no script, handler, style or foreign address reaches a page.

The formgrader and the feedback take their HTML from nbconvert, which trusts a notebook. Markdown is cleaned
after it has been rendered (before, code and formulas would be garbled), outputs before.
"""

import contextlib
import html
import re
from typing import Any

import bleach  # type: ignore[import-untyped]
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output
from traitlets import Bool

LONGEST = 30_000  # characters of markdown or HTML that are rendered; more is shown as plain text
TAGS = (
    *(
        "a",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "del",
        "div",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ),
    *("hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s", "span", "strong", "sub", "sup", "table", "tbody"),
    *("td", "tfoot", "th", "thead", "tr", "ul"),
)
# No id, name or style: a page finds its score fields by id. Classes are those of highlighting and tables.
FILE = r"[\w-]+(/[\w-]+)*\.(png|jpe?g|gif)"  # beside the notebook; anything else may be an address that acts
ATTRIBUTES = {
    "href": re.compile(r"(https?://|mailto:)[^\s]*", re.I),
    "src": re.compile(rf"data:image/(png|jpeg|gif);base64,[\w+/=]*|{FILE}", re.I | re.A),
    "class": re.compile(r"[a-z]{1,2}\d?|highlight|dataframe|ansi-[\w-]+"),
    **dict.fromkeys(("alt", "title"), re.compile(r"[^<>]*")),
    **dict.fromkeys(("width", "height", "border", "colspan", "rowspan", "start"), re.compile(r"\d{1,4}")),
}
STYLE = re.compile(r"<style\b[^<]*</style>", re.I)  # what pandas puts before a table: would be shown as text
PROTOCOLS = ("http", "https", "mailto", "data")
SIDES, IMAGES = ("width", "height"), ("image/png", "image/jpeg")
BASE64 = re.compile(r"[\w+/=\s]*", re.A)


class Ours(str):
    """Markdown of the course's own: shown in a box, which a submission has no means to draw."""


def clean(text: object) -> str:
    """HTML with what `TAGS` and `ATTRIBUTES` allow; other markup is shown as text."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    source = STYLE.sub("", str(text))
    if len(source) <= LONGEST:
        with contextlib.suppress(Exception, RecursionError):
            return str(bleach.clean(source, tags=TAGS, attributes=_allowed, protocols=PROTOCOLS))
    return f"<pre>{html.escape(source)}</pre>"


def render_markdown(source: str) -> str:
    """Markdown as clean HTML; what cannot be rendered is shown as it was written."""
    if len(source) <= LONGEST:
        with contextlib.suppress(Exception, RecursionError):
            renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
            page = clean(MarkdownWithMath(renderer=renderer).render(source))
            return f'<div class="alert alert-info">{page}</div>' if isinstance(source, Ours) else page
    return f"<pre>{html.escape(source)}</pre>"


class Inert(Preprocessor):
    """Makes the outputs anew from what is known to be harmless: text, clean HTML and pixel images."""

    enabled = Bool(True).tag(config=True)

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Never raises: a submission must not be able to stop the page that shows it."""
        if cell.cell_type == "code":
            count = cell.get("execution_count")
            cell.execution_count = count if type(count) is int else None
            cell.outputs = [_output(output) for output in cell.get("outputs", [])]
        return cell, resources

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Also drops the state of widgets, which a page would load code for."""
        nb.metadata.pop("widgets", None)
        return super().preprocess(nb, resources)


def _allowed(tag: str, name: str, value: str) -> bool:
    pattern = ATTRIBUTES.get(name)
    return pattern is not None and pattern.fullmatch(value) is not None


def _output(output: NotebookNode) -> NotebookNode:
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return new_output("stream", name=name, text=_text(output.get("text")))
    if kind == "error":
        name, value = _text(output.get("ename")), _text(output.get("evalue"))
        lines = output.get("traceback")
        shown = [_text(line) for line in lines] if isinstance(lines, list) else []
        return new_output("error", ename=name, evalue=value, traceback=shown)
    kind = "execute_result" if kind == "execute_result" else "display_data"
    return new_output(kind, data=_data(output.get("data")), metadata=_metadata(output.get("metadata")))


def _data(data: object) -> dict[str, str]:
    """The harmless forms of an output; where there is none, a line that says which were left out."""
    given = {key: _text(value) for key, value in data.items()} if isinstance(data, dict) else {}
    kept = {key: given[key] for key in ("text/plain", "text/latex", "text/markdown") if key in given}
    kept |= {key: given[key] for key in IMAGES if BASE64.fullmatch(given.get(key, "!"))}
    if "text/html" in given and (len(given["text/html"]) <= LONGEST or not kept):
        kept["text/html"] = clean(given["text/html"])
    return kept or {"text/plain": f"[not shown: {', '.join(map(_text, given))[:200]}]"}


def _metadata(metadata: object) -> dict[str, Any]:
    """The sizes of images: nbconvert writes them into a tag without quotes."""
    given = metadata if isinstance(metadata, dict) else {}
    images = {key: given[key] for key in IMAGES if isinstance(given.get(key), dict)}
    sizes = {
        key: {side: value for side, value in image.items() if side in SIDES and type(value) in (int, float)}
        for key, image in images.items()
    }
    return {key: size for key, size in sizes.items() if size}


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else repr(value)
