"""Makes a submission inert where it is shown: no script, handler, style or foreign address reaches a page.

The formgrader and the feedback take their HTML from nbconvert, which trusts a notebook. Markdown is cleaned
after it has been rendered (before, code and formulas would be garbled), outputs before.
"""

import contextlib
import functools
import html
import re
import secrets
import time
from typing import Any
from urllib.parse import unquote

from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode, from_dict
from traitlets import Bool

from autograde.pages.attachments import Pictures, gather
from autograde.pages.clean_html import MAX_HTML_CHARACTERS, Clean, as_written, clean
from autograde.pages.mathml import mathml

MAX_MARKDOWN_CHARACTERS = 10_000  # rendered; more is shown as plain text
MAX_NOTEBOOK_HTML_CHARACTERS = 300_000  # cleaned in the outputs of a notebook; more is shown as plain text
HTML_SECONDS = 2.0  # for the cleaning of a notebook's outputs; what is left then is shown as plain text
MARKDOWN_SECONDS = 3.0  # for the markdown of a page: nested brackets take a second a cell
ATTACHED = "attachment:"  # begins the address of a picture that belongs to the cell

SIDES, IMAGES = ("width", "height"), ("image/png", "image/jpeg")
ALT = "An image without a description"
TEXTS = ("text/plain", "text/latex", "text/markdown")
BASE64 = re.compile(r"[\w+/=\s]*", re.A)


class Ours(str):
    """Markdown of the course's own: shown in a box, which a submission has no means to draw."""


@functools.lru_cache(maxsize=500, typed=True)
def render_markdown(source: str) -> Clean:
    """Markdown as clean HTML; what cannot be rendered is shown as it was written."""
    return _rendered(source, {})


def _rendered(source: str, pictures: Pictures) -> Clean:
    if len(source) <= MAX_MARKDOWN_CHARACTERS:
        with contextlib.suppress(Exception):
            renderer = _Renderer(pictures)
            page = renderer.with_kept(clean(MarkdownWithMath(renderer=renderer).render(source)))
            return Clean(f'<div class="alert alert-info">{page}</div>' if isinstance(source, Ours) else page)
    return as_written(source)


@pass_context
def markdown_of_a_page(context: Context, source: str) -> Clean:
    """The filter of the pages for markdown; in a block that belongs to a cell, with the cell's pictures."""
    return _in_time(context, source, context.get("cell", {}).get("attachments", {}))


@pass_context
def markdown_of_a_cell(context: Context, cell: NotebookNode) -> Clean:
    """The filter of the pages for a markdown cell, with its pictures."""
    return _in_time(context, cell.source, cell.get("attachments", {}))


def _in_time(context: Context, source: str, pictures: Pictures) -> Clean:
    """Rendered, until the page's `MARKDOWN_SECONDS` are used up."""
    resources = context.get("resources", {})
    left, start = resources.get("markdown_seconds", MARKDOWN_SECONDS), time.monotonic()
    if left <= 0:
        return as_written(source)
    page = _rendered(source, pictures) if pictures else render_markdown(source)
    resources["markdown_seconds"] = left - (time.monotonic() - start)
    return page


def unchanged(text: str) -> str:
    """A filter that does nothing, in the place of one that does too much."""
    return text


class _Renderer(IPythonRenderer):
    """Keeps formulas and pictures out of the cleaning: a word of their own stands for each meanwhile.

    The cleaning knows no MathML, and does not take what is as long as a picture. What a word stands for is
    safe inside a double-quoted attribute, too, where the cleaning may have left the word.
    """

    def __init__(self, pictures: Pictures) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.pictures, self.kept = pictures, dict[str, str]()
        self.shown: set[str] = set()
        self.word = f"kept{secrets.token_hex(8)}n"

    def with_kept(self, page: str) -> str:
        """The page with each formula and picture in the place of its word; once, should there be copies."""
        return re.sub(rf"{self.word}(\d+)z", lambda found: self.kept.pop(found[1], ""), page)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A picture; one that was attached is shown once, or a text could ask for gigabytes."""
        if not url.startswith(ATTACHED):
            return super().image(text, url, title)
        name = unquote(url.removeprefix(ATTACHED))
        if name in self.shown:
            return html.escape(f"[picture shown above: {name}]")
        if name not in self.pictures:
            return html.escape(f"[picture not kept: {name}]")
        self.shown.add(name)
        ((kind, form),) = self.pictures[name].items()
        words = html.unescape(re.sub(rf"{self.word}\d+z|<[^<>]*>", "", text)) or name
        return self._word(f"<img src='data:{kind};base64,{form}' alt='{html.escape(words)}'>")

    def inline_math(self, body: str) -> str:
        return self._keep(body, super().inline_math(body), block=False)

    def block_math(self, body: str) -> str:
        return self._keep(body, super().block_math(body), block=True)

    def latex_environment(self, name: str, body: str) -> str:
        tex = f"\\begin{{{name}}}{body}\\end{{{name}}}"
        return self._keep(tex, super().latex_environment(name, body), block=True)

    def _keep(self, tex: str, otherwise: str, block: bool) -> str:
        if (formula := mathml(tex, block)) is None:
            return otherwise
        return self._word(formula)

    def _word(self, kept: str) -> str:
        number = str(len(self.kept))
        self.kept[number] = kept
        return f"{self.word}{number}z"


class Sanitise(Preprocessor):
    """Makes the outputs anew from what is known to be harmless: text, clean HTML and pixel images."""

    enabled = Bool(True).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Never raises: a submission must not be able to stop the page that shows it."""
        sanitise(nb)
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                gather(cell)
        for output in (output for cell in nb.cells for output in cell.get("outputs", [])):
            for kind in set(IMAGES) & set(output.get("data", {})):
                output.metadata.setdefault(kind, {})["alt"] = ALT
        return nb, resources


class _Budget:
    """The HTML of a notebook that may still be cleaned: in characters and in seconds."""

    def __init__(self) -> None:
        self.characters, self.seconds = MAX_NOTEBOOK_HTML_CHARACTERS, HTML_SECONDS

    def takes(self, characters: int) -> bool:
        """Whether so many more are cleaned."""
        self.characters -= characters
        return characters <= MAX_HTML_CHARACTERS and self.characters >= 0 < self.seconds

    def cleaned(self, source: str) -> Clean:
        """Clean HTML; the time that it took is paid."""
        start = time.monotonic()
        page = clean(source)
        self.seconds -= time.monotonic() - start
        return page


def sanitise(nb: NotebookNode) -> None:
    """Make the outputs anew, whatever they are, and drop the state of widgets: a page loads code for it."""
    nb.metadata.pop("widgets", None)
    budget = _Budget()
    for cell in nb.cells:
        if cell.cell_type == "code":
            count, outputs = cell.get("execution_count"), cell.get("outputs")
            cell.execution_count = count if type(count) is int else None
            given = outputs if isinstance(outputs, list) else []
            cell.outputs = [_output(output, budget) for output in given if isinstance(output, dict)]


def _output(output: dict[str, Any], budget: _Budget) -> NotebookNode:
    """An output of nbformat's from anything; `budget` is the HTML that the notebook may still hold."""
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return NotebookNode(output_type=kind, name=name, text=_text(output.get("text")))
    if kind == "error":
        name, value = _text(output.get("ename")), _text(output.get("evalue"))
        lines = output.get("traceback")
        shown = [_text(line) for line in lines] if isinstance(lines, list) else []
        return NotebookNode(output_type=kind, ename=name, evalue=value, traceback=shown)
    data, metadata = _data(output.get("data"), budget), _metadata(output.get("metadata"))
    result = {"execution_count": None} if kind == "execute_result" else {}
    made: NotebookNode = from_dict(
        {"output_type": kind if result else "display_data", "data": data, "metadata": metadata, **result}
    )
    return made


def _data(data: object, budget: _Budget) -> dict[str, str]:
    """The harmless forms of an output; where there is none, a line that says which were left out."""
    given = {_text(key): _text(value) for key, value in data.items()} if isinstance(data, dict) else {}
    kept: dict[str, str] = {key: given[key] for key in TEXTS if key in given}
    kept |= {key: given[key] for key in IMAGES if BASE64.fullmatch(given.get(key, "!"))}
    if source := given.get("text/html"):
        if budget.takes(len(source)):
            kept["text/html"] = budget.cleaned(source)
        elif not kept:
            kept["text/plain"] = source
    return kept or {"text/plain": f"[not shown: {', '.join(given)[:200]}]"}


def _metadata(metadata: object) -> dict[str, Any]:
    """The sizes of images: nbconvert writes them into a tag without quotes."""
    given = metadata if isinstance(metadata, dict) else {}
    images = {key: given[key] for key in IMAGES if isinstance(given.get(key), dict)}
    sizes = {
        key: {side: size for side, size in image.items() if side in SIDES and _is_size(size)}
        for key, image in images.items()
    }
    return {key: size for key, size in sizes.items() if size}


def _is_size(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < 10_000  # type: ignore[operator]


def _text(value: object) -> str:
    """A text that a file takes, so without halves of surrogate pairs."""
    try:
        text = value if isinstance(value, str) else "" if value is None else repr(value)
    except (RecursionError, ValueError):  # nested too deep, or an integer of too many digits
        return "[not shown]"
    return text.encode(errors="replace").decode()
