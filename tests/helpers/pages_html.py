"""What a page could run or load, and the HTML of a notebook in the course's feedback look."""

from html.parser import HTMLParser

from nbformat import NotebookNode
from traitlets.config import Config

from autograde.grading.nbgrader_config import configure
from autograde.pages.exporter import Pages


class Page(HTMLParser):
    """Collects what a page could run or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if tag == "script":
            self.scripts.append(given.get("src"))
        self.handlers += [name for name in given if name.startswith("on") or name == "srcdoc"]
        if tag != "script":
            self.addresses += [given[name] or "" for name in ("href", "src", "action") if name in given]
        self.ids += [given["id"] or ""] if "id" in given else []


def exported(course, notebook: NotebookNode) -> str:
    """The HTML of a notebook in the course's feedback look, without a gradebook."""
    config = Config()
    configure(config, course.root)
    return Pages(config=config, template_name="classic").from_notebook_node(notebook)[0]
