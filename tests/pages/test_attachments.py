"""Pictures in an answer are shown, pasted or inlined; what is none is not kept, and nothing of it runs."""

import base64

import pytest
from hostile import PIXEL, RUN
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from pages_html import Page, exported
from small_course import course

from autograde.pages.attachments import MAX_NAME_CHARACTERS, MAX_PICTURE_BYTES, MAX_PICTURES, gather, kept
from autograde.pages.truncate import PICTURE_CHARACTERS

__all__ = ["course"]
PNG = {"image/png": PIXEL}
LOST = "[picture not kept: "


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def large(size: int, mark: bytes = b"a") -> dict[str, str]:
    """What begins as a PNG, of `size` bytes."""
    start = base64.b64decode(PIXEL)
    return {"image/png": encoded(start + mark * (size - len(start)))}


def answer(source: str, attachments: object = None) -> NotebookNode:
    cell = new_markdown_cell(source)
    if attachments is not None:
        dict.__setitem__(cell, "attachments", attachments)
    return cell


def page(course, *cells: NotebookNode) -> str:
    return exported(course, new_notebook(cells=list(cells)))


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("image/png", b"\x89PNG\r\n\x1a\n"),
        ("image/jpeg", b"\xff\xd8\xff\xe0"),
        *(("image/gif", start) for start in (b"GIF87a", b"GIF89a")),
    ],
)
def test_a_picture_is_kept_whole(kind, start):
    text = encoded(start + bytes(100))
    lines = "\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    assert kept({"my plot.png": {kind: lines}}) == {"my plot.png": {kind: text}}


@pytest.mark.parametrize(
    "given",
    [
        *(None, 7, "a", [PNG], {"a": None}, {"a": []}, {"a": {}}, {"a": {"image/png": None}}, {3: PNG}),
        {"a": {"image/svg+xml": encoded(b"<svg/>")}},
        {"a": {"text/html": PIXEL}},
        {"a": {"image/jpeg": PIXEL}},
        {"a": {"image/png": encoded(b"<script>alert(1)</script>")}},
        {"a": {"image/png": f'{PIXEL}" onerror="{RUN}'}},
        {"a": {"image/png": [PIXEL]}},
        {"a": large(MAX_PICTURE_BYTES + 1)},
        *({name: PNG} for name in ("", "a\nb", "a\0", "\ud800", "\u202eb", "a" * (MAX_NAME_CHARACTERS + 1))),
    ],
)
def test_what_is_no_picture_with_a_plain_name_is_left_out(given):
    assert kept(given) == {}


def test_what_is_kept_is_bounded_and_an_honest_picture_fits():
    many = {f"{number}.png": PNG for number in range(10 * MAX_PICTURES)}
    assert list(kept({"junk": {}, **many})) == list(many)[:MAX_PICTURES]
    assert len(kept({"a": large(MAX_PICTURE_BYTES)})) == 1
    assert len(kept({"a" * MAX_NAME_CHARACTERS: PNG})) == 1


@pytest.mark.parametrize(
    ("source", "attachments"),
    [
        ("![image.png](attachment:image.png)", {"image.png": PNG}),
        ("![a](attachment:my%20plot%20%25.png)", {"my plot %.png": PNG}),
        ("see ![](<attachment:ä.png>) there", {"ä.png": PNG}),
        (f"![](data:image/png;base64,{PIXEL})", None),
        (f"![][plot]\n\n[plot]: data:image/png;base64,{PIXEL}", None),
        (f"![]( <data:image/png;base64,{PIXEL}> )", {"inlined-1": {}}),
    ],
)
def test_a_picture_is_shown_pasted_or_inlined(course, source, attachments):
    shown = page(course, answer(source, attachments))
    assert shown.count(f"src='data:image/png;base64,{PIXEL}'") == 1 and LOST not in shown


def test_an_answer_with_a_large_inlined_picture_is_no_raw_source(course):
    form = large(200_000)["image/png"]
    shown = page(course, answer(f"**Before** $x^2$ ![](data:image/png;base64,{form}) *after*"))
    assert "<strong>Before</strong>" in shown and "<em>after</em>" in shown and "<math" in shown
    assert shown.count(form) == 1 and f"<img src='data:image/png;base64,{form}' alt='" in shown


def test_a_picture_that_is_not_there_is_named(course):
    shown = page(course, answer("![a](attachment:gone.png) ![b](attachment:%3Cscript%3E%22'.png) **end**"))
    assert f"{LOST}gone.png]" in shown and f"{LOST}&lt;script&gt;" in shown
    assert "<strong>end</strong>" in shown
    assert f"{LOST}inlined-1]" in page(course, answer("![](data:image/jpeg;base64,AAAA)"))


def test_a_picture_is_shown_once_however_often_it_is_asked_for(course):
    shown = page(course, answer("![](attachment:a.png) " * 300, {"a.png": PNG}))
    assert shown.count(PIXEL) == 1 and shown.count("[picture shown above: a.png]") == 299


def test_the_pictures_of_a_page_are_bounded_as_outputs_are(course):
    size = MAX_PICTURE_BYTES - 1000
    marks = (b"a", b"b", b"c", b"d")
    shown = page(course, *[answer("![](attachment:a.png)", {"a.png": large(size, mark)}) for mark in marks])
    assert [encoded(mark * 300) in shown for mark in marks] == [True, True, False, False]
    assert shown.count(f"{LOST}a.png]") == 2 and len(shown) < PICTURE_CHARACTERS + 10**6


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "![{}](plot.png)",
        "[{}](https://a.b)",
        "<b title='{}'>",
        '<div title="\n\n{}\n\n<b a="">',
        "| a |\n|---|\n| {} |",
        "<a href='https://a.b/\n{}'>x</a>",
        "# {}",
    ],
)
@pytest.mark.parametrize(
    "alt",
    ["a", f"' onerror='{RUN}", f'"><script>{RUN}</script>', "$x$", "![b](attachment:b.png)", "&#39;&lt;"],
)
def test_a_picture_runs_nothing_wherever_it_stands(course, around, alt):
    pictures = {"a.png": PNG, "b.png": PNG, f"' onerror='{RUN}": PNG}
    source = around.replace("{}", f"![{alt}](attachment:a.png)") + f"![](<attachment:' onerror='{RUN}>)"
    found = Page(page(course, answer(source, pictures)))
    empty = Page(page(course, answer("")))
    assert found.scripts == empty.scripts and found.handlers == []


def test_gathering_leaves_no_attachment_that_is_not_a_picture():
    cell = answer("text", {"a.html": {"text/html": "<script>"}, "b.png": PNG})
    gather(cell)
    assert cell.attachments == {"b.png": PNG}
    cell = answer("text", {"a.html": {"text/html": "<script>"}})
    gather(cell)
    assert "attachments" not in cell
