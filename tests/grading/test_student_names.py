"""Which names a student's folder may have."""

import unicodedata

import pytest

from autograde.grading.student_names import plain_name, printable, same_name


@pytest.mark.parametrize(
    "name",
    (
        *("alice", "Zoë", unicodedata.normalize("NFD", "José"), "प्रिया", "王小明", "أليس", "7", "_x"),
        *("alice@example.org", "Alice Liddell (12345)", "(alice)", "a.b,c@d+e=f(g)h~i_j-k", "a" * 100),
    ),
)
def test_names_of_any_script_are_plain(name):
    assert plain_name(name) and plain_name(same_name(name))


@pytest.mark.parametrize(
    "name",
    (
        *("", " ", "zoe ", " zoe", "zoe\n", "zo\te", "a" * 101, "王" * 100, "-rf", ".", "..", ".alice"),
        *("a/b", "a\\b", "a:b", "a'b", 'a"b', "a<b", "a&b", "a$b", "a*b", "a;b", "a|b", "a%b", "[a]"),
        *("\u0301a", "a\u202eb", "a\u200bb", "a\x1b[31m", "a\u00a0b", "a\ud800", "a😀"),
    ),
)
def test_others_are_not(name):
    assert not plain_name(name)


def test_equal_names_become_equal_texts():
    assert same_name(unicodedata.normalize("NFD", "José") + " ") == "José"


def test_a_message_holds_nothing_that_a_terminal_obeys():
    shown = printable("a\x1b[31m\n\u202eb" + "x" * 500)
    assert shown.isprintable() and len(shown) <= 120 and shown.startswith("a")
