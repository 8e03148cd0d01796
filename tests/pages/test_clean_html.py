"""HTML is cleaned: what is harmless stays, nothing else does, and cleaning again changes nothing."""

import re
import time
from html.parser import HTMLParser

import pytest
from hostile import MARKDOWN, PIXEL, RUN
from hypothesis import given
from hypothesis import strategies as st
from pages_html import Page

from autograde.pages import clean_html
from autograde.pages.clean_html import (
    ATTRIBUTES,
    DROPPED,
    MAX_CLEANED_CHARACTERS,
    MAX_HTML_CHARACTERS,
    TAGS,
    clean,
)
from autograde.pages.mathml import TAGS as FORMULAS
from autograde.pages.sanitise import render_markdown

HARMLESS = re.compile(r"(https?:|mailto:|#|data:image/(png|jpeg|gif);base64,|[\w-]+\.png$)")


def test_what_learners_write_honestly_stays():
    table = '<table border="1" class="dataframe"><tr><td>1</td></tr></table>'
    assert (
        clean("<style scoped>\n.dataframe > a {color: red}\n</style>" + table)
        == '<table border="1" class="dataframe"><tbody><tr><td>1</td></tr></tbody></table>'
    )
    assert clean("<pre>\n\n  x</pre>") == "<pre>\n\n  x</pre>", "an empty first line"
    assert clean("<kbd title='a'>x</kbd>  &amp;\n<hr>") == '<kbd title="a">x</kbd>  &amp;\n<hr>'
    assert 'src="plot.png"' in render_markdown("![a](plot.png)")
    assert '<a href="https://example.org/a?b">' in render_markdown("[a](https://example.org/a?b)")
    assert '<span class="k">def</span>' in render_markdown("```python\ndef f(): pass\n```")


@pytest.mark.parametrize(
    "text",
    [
        *("a < b", "x<y", "if x<y:", "x<b", "x<y and z>w", "x<b and y<p", "a <- b <3 c", "</3 you>"),
        *("List<int>", "vector<vector<float>>", "Dict<str, object>", "<your name here>"),
        *("<label>", "from <input> to <output>", "a style <style>, or <script>", "<textarea> <xmp>"),
        *("<title>a</title>", "<svg><path d='M0 0'/></svg>", "<note>a</note>", "<iframe src='https://a.b'>"),
    ],
)
def test_words_in_angle_brackets_are_shown_as_they_are_written(text):
    assert shown_text(clean(text)) == text
    assert shown_text(clean(f"<p>{text}</p><p>more</p>")) == f"{text}more"
    assert shown_text(render_markdown(f"{text} more")).rstrip() == f"{text} more"


def shown_text(page: str) -> str:
    parser = Marks(page)
    return "".join(parser.texts)


class Marks(HTMLParser):
    """The texts of a page; raises where it finds what is not allowed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert len(dict(attrs)) == len(attrs)
        assert all(ATTRIBUTES[name].fullmatch(value or "") for name, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert tag in TAGS

    def unexpected(self, data: str) -> None:
        raise AssertionError(data)

    handle_comment = handle_decl = handle_pi = unknown_decl = unexpected


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("<label onclick='a'>a <u>b</u></label>", "a b"),
        ("a<script>alert(1)</script>b<style>p {color: red}</style>c", "abc"),
        ("a<!-- b -->c<!x>d<?php e>f", "acdf"),
        ("<details><summary>a</summary><p>b</p></details>", "a<p>b</p>"),
        ("<p><button><p>a</p></button></p>", "<p></p><p>a</p><p></p>"),
        ("<b style='color: red'>a</b><b title=1>b</b>", "<b>a</b><b>b</b>"),
        ("<img title='a<b c' src='a.png'>d", '<img src="a.png">d'),
        ("<a title='a<p c' href='https://a.b'>d</a>", '<a href="https://a.b">d</a>'),
    ],
)
def test_elements_that_are_not_allowed_go_and_their_text_stays(text, page):
    assert clean(text) == page


@pytest.mark.parametrize(
    ("source", "stays"),
    [
        *(
            (name, True)
            for name in ("picture.png", "folder/picture.png", "a.JPG", f"data:image/png;base64,{PIXEL}")
        ),
        *(
            (name, False)
            for name in ("../a.png", "/a.png", "//a.b/c.png", "https://a.b/c.png", "a.svg", "a.png?b")
        ),
        *(
            (name, False)
            for name in ("data:text/html,a", "data:image/svg+xml;base64,AAAA", "javascript:a", "a")
        ),
    ],
)
def test_a_picture_lies_beside_the_notebook_or_in_the_page(source, stays):
    assert clean(f"<img src='{source}'>") == (f'<img src="{source}">' if stays else "<img>")


MUTATIONS = (
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<math><mtext><table><mglyph><style><math><table id='</table>'><img src onerror=alert(1)'>",
    '<form><math><mtext></form><form><mglyph><style></math><img src onerror="alert(1)"></style></mglyph>',
    '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
    '<svg><style><img title="</style><img src=1 onerror=alert(1)>"></style></svg>',
    "<svg><desc><title><![CDATA[</title><img src=1 onerror=alert(1)>]]></title></desc></svg>",
    '<noscript><p title="</noscript><img src=1 onerror=alert(1)>"></noscript>',
    "<noscript><style></noscript><img src=1 onerror=alert(1)></style></noscript>",
    '<title><a title="</title><img src=1 onerror=alert(1)>"></title>',
    '<textarea><p title="</textarea><img src=1 onerror=alert(1)>"></textarea>',
    '<iframe><p title="</iframe><script>alert(1)</script>"></iframe>',
    "<xmp><p title='</xmp><img src=1 onerror=alert(1)>'></xmp><plaintext><script>alert(1)</script>",
    "<select><template><style></select><img src=1 onerror=alert(1)></style></template>",
    "<style><style/><img src=1 onerror=alert(1)></style>",
    "<script><!--<script></script><img src=1 onerror=alert(1)>--></script><img src=1 onerror=alert(1)>",
    "<!--><img src=1 onerror=alert(1)>-->",
    "<!---><img src=1 onerror=alert(1)>-->",
    "<!-- --!><img src=1 onerror=alert(1)>-->",
    "<![CDATA[<img src=1 onerror=alert(1)>]]>",
    "<?xml <img src=1 onerror=alert(1)>?>",
    "</3 <img src=1 onerror=alert(1)>>",
    "<scr\0ipt>alert(1)</scr\0ipt><img\0src=1\0onerror=alert(1)><\0img src=1 onerror=alert(1)>",
    "<b\0onclick=alert(1)>x</b><img src='a.png\0' onerror\0=alert(1)>",
    "<a href='https://a.b' href='javascript:alert(1)' HREF=javascript:alert(1)>x</a>",
    "<img src=a.png src=x onerror=alert(1) onerror=''><img/src=1/onerror=alert(1)>",
    '<a title="`" href="https://a.b/`onclick=alert(1)">x</a><a href="java\tscript:alert(1)">y</a>',
    "<scr<script>ipt>alert(1)</scr</script>ipt><<img src=1 onerror=alert(1)>>",
    "<b<img src=1 onerror=alert(1)>x</b<script>alert(1)</script>",
    "<b title='><img src=1 onerror=alert(1)>'>x</b><b '<script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;<p title='&quot;><img src=1 onerror=alert(1)>'>x</p>",
    '<p title=" onclick=alert(1) ">x</p><p id=why-mean name=a style="position: fixed" class="score">y</p>',
)


@pytest.mark.parametrize("text", [*MUTATIONS, *MARKDOWN])
def test_what_browsers_read_in_another_way_than_parsers_runs_nothing(text):
    for around in ("{}", "<p>{}</p>", "<table><tr><td>{}", "<svg>{}", "<b title='{}'>", "<!--{}"):
        Marks(clean(around.replace("{}", text)))
    assert clean(str(clean(text))) == clean(text)
    page = Page(render_markdown(text))
    assert page.scripts == page.handlers == page.ids == []
    assert page.tags <= {*TAGS, *FORMULAS}


NAMES = st.sampled_from(sorted({*TAGS, *DROPPED, *"svg math mtext title textarea select x".split()}))
VALUES = (
    "",
    " class=k",
    " title='<b>'",
    " href=javascript:a",
    " onclick=a",
    " id=a",
    " src=a.png",
    " a='>'",
    "/",
)
PIECES = ("a", " ", "\n", "<", ">", "&", "'", '"', "&lt;", "<!--", "-->", "<!", "<?", "</", "\0", "\r", "]]>")
SOUP = st.lists(
    st.builds("<{}{}>".format, NAMES, st.sampled_from(VALUES))
    | st.builds("</{}>".format, NAMES)
    | st.sampled_from(PIECES)
).map("".join)


@given(SOUP | st.text())
def test_of_any_text_only_what_is_allowed_stays_and_cleaning_again_changes_nothing(text):
    page = clean(text)
    Marks(page)
    assert clean(str(page)) == page


FILLS = (
    "<div>",
    "<ul><li>",
    "<a><p>",
    "<b><p>",
    "<table><td>",
    "<x ",
    "<style>",
    "<b title='",
    "</p><div>",
    "&",
)


@pytest.mark.parametrize("text", FILLS)
def test_hostile_nesting_is_cleaned_in_time(text):
    start = time.process_time()
    clean(text * (MAX_HTML_CHARACTERS // len(text)))
    assert time.process_time() - start < 3


def test_text_that_grows_where_it_is_cleaned_is_shown_as_text():
    left_open = "<p>" + "".join(f"<{name}>" * 3 for name in sorted(clean_html.REOPENED & TAGS))
    bomb = left_open + "<p>x" * 5000
    assert clean(bomb) == f"<pre>{bomb.replace('<', '&lt;').replace('>', '&gt;')}</pre>"
    distinct = "<p>" + "".join(f"<b title={number}>" for number in range(1000))
    assert len(clean(distinct + "<p>x" * 3000)) < MAX_CLEANED_CHARACTERS


@pytest.mark.parametrize("error", [ValueError, type("PanicException", (BaseException,), {})])
def test_a_cleaner_that_fails_leaves_the_text(monkeypatch, error):
    class Broken:
        def clean(self, text: str) -> str:
            raise error

    monkeypatch.setattr(clean_html, "CLEANER", Broken())
    assert clean("<b>x") == "<pre>&lt;b&gt;x</pre>"


def test_a_handler_goes_and_its_text_stays():
    assert clean(f"<b onclick='{RUN}' style='position: fixed' id='why-mean'>x</b>") == "<b>x</b>"
