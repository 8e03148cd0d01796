"""The page of `autograde report`: whole, loading nothing, described; what a student wrote is text in it."""

import json
import re
from html.parser import HTMLParser

from classroom import released
from command_line import refused, run
from small_course import NAME, course
from verdict_files import FAILED, graded, verdict, write

from autograde.report.page import page
from autograde.report.statistics import report, shown

__all__ = ["course", "graded", "released"]
HOSTILE = "<img src=x onerror=alert(1)>[red]\x1b[31m'\"\u202e"


class Parsed(HTMLParser):
    """What a page could load or run, the words on it, and whether every element is closed."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.given: list[tuple[str, str | None]] = []
        self.pictures: list[dict[str, str | None]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.given += attrs
        self.open += [] if tag in self.VOID else [tag]
        self.pictures += [dict(attrs)] if tag in ("svg", "img") else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.given += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def loads_nothing(text: str) -> Parsed:
    parsed = Parsed(text)
    assert parsed.tags.isdisjoint(
        ["script", "link", "iframe", "object", "embed", "img", "image", "a", "base", "form"]
    )
    for name, value in parsed.given:
        assert not name.startswith("on") and name not in ("src", "srcset", "action", "srcdoc")
        assert "href" not in name or (value or "").startswith("#")
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in parsed.given
    return parsed


def test_the_page_is_whole_loads_nothing_and_describes_its_figures(graded):
    parsed = loads_nothing(page(report(graded, NAME)))
    assert len(parsed.pictures) == 4
    for picture in parsed.pictures:
        assert picture["role"] == "img" and len(picture["aria-label"] or "") > 40
    for words in ("weighted-mean", "6 submitted, 5 graded, 1 without a verdict", "late", FAILED, "0.79"):
        assert words in parsed.words
    identifiers = [value for name, value in parsed.given if name == "id"]
    assert identifiers, "figures have clip paths"


def test_hostile_names_and_sentences_are_text(graded):
    write(graded, HOSTILE, verdict([False], [False], seconds={"start": 99.0}, memory=10**12))
    (graded.grading / "submitted" / f"{HOSTILE}2" / NAME).mkdir(parents=True)
    write(graded, f"{HOSTILE}3", "{")
    text = page(report(graded, NAME))
    parsed = loads_nothing(text)
    assert "<b>" not in text and FAILED in parsed.words
    assert parsed.words.count(shown(HOSTILE)) == 4, "slowest, most memory, not graded, unreadable"
    result = run("report", NAME)
    assert "\x1b" not in result.output and "\u202e" not in result.output
    assert shown(HOSTILE)[:20] in result.output and "[red]its[/red]" in result.output
    assert (
        result.exit_code == 1 and json.loads(run("report", NAME, "--json").stdout)["slowest"][HOSTILE] == 99
    )


def test_a_name_that_is_no_text_is_escaped():
    assert shown("Zoë\n\x1b[31m\u202e\udcff") == "Zoë\\n\\x1b[31m\\u202e\\udcff"


def test_the_page_is_replaced_whole_or_not_at_all(graded, monkeypatch):
    run("report", NAME)
    path = graded.grading / "reports" / f"{NAME}.html"
    before = path.read_text()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.replace", refuse)
    refused(run("report", NAME), 1, "Permission denied")
    assert path.read_text() == before and list(path.parent.iterdir()) == [path]


def test_the_command_writes_the_page(graded):
    assert run("report", NAME).exit_code == 0
    loads_nothing((graded.grading / "reports" / f"{NAME}.html").read_text())
