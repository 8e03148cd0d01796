"""HTML of a submission's with nothing in it that runs: nh3 cleans it, until cleaning changes nothing more."""

import contextlib
import html
import re

import nh3

MAX_HTML_CHARACTERS = 30_000  # cleaned; more is shown as plain text
MAX_CLEANINGS = 5  # of one text; if it needs more, it is shown as plain text
MAX_CLEANED_CHARACTERS = 150_000  # of what cleaning makes of it
TAGS = frozenset(
    """
    a b blockquote br caption code del div em h1 h2 h3 h4 h5 h6 hr i img kbd li ol p pre s span strong
    sub sup table tbody td tfoot th thead tr ul
    """.split()
)
# Dropped where they are closed. Not among them: what changes how its content is read (svg, textarea, title).
DROPPED = frozenset(
    """
    abbr address article aside audio bdi bdo big body button canvas center cite colgroup data dd details
    dfn dialog dl dt fieldset figcaption figure font footer form head header hgroup html ins label
    legend main map mark menu meter nav object option output picture progress q rp rt ruby samp script
    search section small strike style summary time tt u var video
    """.split()
)
DROPPED_WITH_TEXT = frozenset("script style".split())
# Left open, each of these is opened again, attributes and all, in every paragraph that follows.
REOPENED = frozenset("b big code em font i s small strike strong tt u".split())
TAG = re.compile(r"<(?![!?])(/?)([^\t\n\f\r <>/]*)([^<>]*)(>?)")  # a slash, the name, the rest, the end
QUOTE = re.compile("[\"']")
FIRST_LINE = re.compile(r"(<pre[^<>]*>)\n")  # which a parser skips
# No id, name or style: a page finds its score fields by id. Classes are those of highlighting and tables.
FILE = r"[\w-]+(/[\w-]+)*\.(png|jpe?g|gif)"  # beside the notebook; anything else may be an address that acts
ATTRIBUTES = {
    "href": re.compile(r"(https?://|mailto:)[^\s]*", re.I),
    "src": re.compile(rf"data:image/(png|jpeg|gif);base64,[\w+/=]*|{FILE}", re.I | re.A),
    "class": re.compile(r"[a-z]{1,2}\d?|highlight|dataframe|ansi-[\w-]+"),
    **dict.fromkeys(("alt", "title"), re.compile(r"[^<>]*")),
    **dict.fromkeys("width height border colspan rowspan start".split(), re.compile(r"\d{1,4}")),
}
PROTOCOLS = frozenset("http https mailto data".split())


class Clean(str):
    """HTML that has been cleaned; it may hold formulas, which a second cleaning would garble."""

    def __html__(self) -> str:
        """Itself: a template that escapes what it shows asks for this, and leaves it as it is."""
        return self


def clean(text: object) -> Clean:
    """HTML with what `TAGS` and `ATTRIBUTES` allow; a second cleaning would change nothing.

    Other elements of HTML are dropped, and their text stays, but for that of scripts and styles. What is
    no element (`List<int>`, `<your name>`) or never closed (`<label>`) is shown as it was written.
    """
    if isinstance(text, Clean):
        return text
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    source = str(text)
    if len(source) <= MAX_HTML_CHARACTERS:
        with contextlib.suppress(Exception):
            return _stable(source)
    return as_written(source)


def _stable(source: str) -> Clean:
    """Cleaned until cleaning changes nothing, so that no browser reads it otherwise. Raises ValueError."""
    for _ in range(MAX_CLEANINGS):
        before, source = source, _cleaned(_shown(source))
        if source == before:
            return Clean(source)
        if len(source) > MAX_CLEANED_CHARACTERS:  # what is left open is opened again, paragraph by paragraph
            break
    raise ValueError("neither stable nor short")


def _cleaned(source: str) -> str:
    try:
        page = CLEANER.clean(source)
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # Rust's, and no Exception
            raise ValueError("the cleaner failed") from error
        raise
    return FIRST_LINE.sub(r"\1\n\n", page)


def _shown(source: str) -> str:
    """The source with `&lt;` where a tag would be dropped that may be meant as text; in linear time.

    No safer than the source: it is for the cleaner to read.
    """
    closed = {found[2].lower(): found.start() for found in TAG.finditer(source) if found[1]}

    def written(found: re.Match[str]) -> str:
        name = found[2].lower()
        known = name in TAGS or (name in DROPPED and found.start() <= closed.get(name, -1))
        tag = known and (_bare(found) if name in REOPENED else _whole(found))
        return tag or "&lt;" + found[0][1:]

    return TAG.sub(written, source)


def _whole(found: re.Match[str]) -> str:
    """The tag, whose end may be elsewhere where quotes hold a bracket; empty where it has none."""
    ends = found[4] or (found.end() < len(found.string) and QUOTE.search(found[3]))
    return found[0] if ends else ""


def _bare(found: re.Match[str]) -> str:
    """The tag without attributes; empty where it has no end, or stands in the quotes of another."""
    odd = found[3] and any(found[3].count(quote) % 2 for quote in "\"'")
    return "" if odd or not found[4] else f"<{found[1]}{found[2]}>"


def _allowed(tag: str, name: str, value: str) -> str | None:
    """The value if it is allowed. nh3 asks for attributes of any name, and prints what is raised."""
    pattern = ATTRIBUTES.get(name)
    return value if pattern is not None and pattern.fullmatch(value) else None


CLEANER = nh3.Cleaner(
    tags=TAGS,
    clean_content_tags=DROPPED_WITH_TEXT,
    attributes={"*": set(ATTRIBUTES)},
    attribute_filter=_allowed,
    strip_comments=True,
    link_rel=None,  # links open in no window of their own
    url_schemes=PROTOCOLS,
    url_relative="pass_through",  # a picture beside the notebook: `ATTRIBUTES` says which
)


def as_written(source: str) -> Clean:
    """The source itself, shown as plain text."""
    return Clean(f"<pre>{html.escape(source)}</pre>")
