"""TeX formulas as MathML, which browsers show by themselves: a page needs neither script nor network."""

import html
import re
import unicodedata
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

MAX_CHARACTERS = 2000  # characters of a formula that is converted
TAGS = frozenset(
    """
    math menclose mfenced mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow
    mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none
    """.split()
)
ATTRIBUTES = frozenset(
    """
    accent columnalign columnspacing display displaystyle fence largeop linebreak linethickness
    lspace mathcolor mathvariant maxsize minsize movablelimits notation rowspacing rspace
    scriptlevel separator stretchy width
    """.split()
)
VALUE = re.compile(r"[\w.%# -]{1,40}", re.ASCII)
LETTERS = {"double-struck": "DOUBLE-STRUCK", "script": "SCRIPT", "fraktur": "FRAKTUR", "bold": "BOLD"}


def mathml(tex: str, block: bool) -> str | None:
    """The formula as MathML, or None where it is too long or no TeX that is understood.

    Safe in a page and inside a double-quoted attribute: tags and attributes are listed ones, and no quote or
    angle bracket of the formula's own is left.
    """
    if len(tex) > MAX_CHARACTERS:
        return None
    try:
        return _written(convert_to_element(tex, display="block" if block else "inline"))
    except Exception:  # the converter raises its own and others, RecursionError included
        return None


def _written(element: Element) -> str:
    """An element as HTML. Raises ValueError for a tag or an attribute that is not listed."""
    given = {name: value for name, value in element.attrib.items() if name != "xmlns"}
    if element.tag not in TAGS or not given.keys() <= ATTRIBUTES:
        raise ValueError(element.tag)
    if not all(VALUE.fullmatch(value) for value in given.values()):
        raise ValueError(given)
    text = _lettered(html.unescape(element.text or ""), given.pop("mathvariant", ""))
    marks = "".join(f" {name}='{value}'" for name, value in given.items())
    inner = html.escape(text) + "".join(map(_written, element))
    return f"<{element.tag}{marks}>{inner}</{element.tag}>"


def _lettered(text: str, variant: str) -> str:
    """Letters of another alphabet as characters of their own: browsers do not know `mathvariant`."""
    if variant not in LETTERS:
        return text
    return "".join(_letter(letter, LETTERS[variant]) for letter in text)


def _letter(letter: str, alphabet: str) -> str:
    case = "CAPITAL" if letter.isupper() else "SMALL"
    for name in (f"MATHEMATICAL {alphabet} {case} {letter.upper()}", f"{alphabet} {case} {letter.upper()}"):
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    return letter
