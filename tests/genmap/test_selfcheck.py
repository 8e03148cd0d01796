"""The self-check: hidden tests where there are any, else public asserts; a clear line where neither runs."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from genmap import selfcheck

TESTED = "of the exercises whose tests have run,"
ABSENT = "The hidden tests, which give the points, are not installed here."


class EntryPoint:
    """Stands for the entry point of a package with hidden tests."""

    def __init__(self, function):
        self.load = lambda: function


@pytest.fixture
def install(monkeypatch):
    """Make `function` the hidden tests, or none."""

    def install(function=None):
        points = [] if function is None else [EntryPoint(function)]
        monkeypatch.setattr(selfcheck, "entry_points", lambda *, group, name: points)

    install()
    return install


def row(exercise="mass", points=1.0, most=4.0, tests=(("test_tails", False, "Far out it stays finite."),)):
    tests = [
        {
            "name": name,
            "passed": ok,
            "weight": 1,
            "sentence": said,
            "message": "" if ok else " ".join([said, *why]),
        }
        for name, ok, said, *why in tests
    ]
    return {"exercise": exercise, "points": points, "max": most, "tests": tests}


def check(*inputs, **namespace):
    report = selfcheck._report("01_map", inputs, namespace)
    return selfcheck._text(report) if report.lines else report.head


def test_public_asserts_say_which_exercises_hold_and_why_others_do_not(install):
    text = check(
        "x = 1",
        "# test mass: 4 points\nassert f(2) == 4, 'twice the number'",
        "# test kde: 1 point\nassert f(2) == 3, 'one more'",
        f=lambda x: x + 1,
    )
    head, mass, kde = text.splitlines()
    assert head == f"Self-check of 01_map: {TESTED} 1 of 2 pass their public asserts. {ABSENT}"
    assert mass.split() == ["✗", "mass", "worth", "4", "twice", "the", "number"]
    assert kde.split() == ["✓", "kde", "worth", "1"]


def test_the_definitions_of_now_are_tested_not_those_of_then(install):
    cell = "# test mass: 4 points\nassert f() == 1"
    assert "0 of 1" in check(cell, f=lambda: 2)
    assert "1 of 1" in check(cell, f=lambda: 1)


def test_the_latest_version_of_a_test_cell_counts(install):
    old, new = "# test mass: 4 points\nassert False, 'old'", "# test mass: 4 points\nassert True"
    assert "1 of 1" in check(old, new)
    assert "0 of 1" in check(new, old)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("assert 1 + 1 == 3", "AssertionError, in: assert 1 + 1 == 3"),
        ("y = absent(1)", "NameError: name 'absent' is not defined, in: y = absent(1)"),
        ("f()", "not written yet"),
        ("1 +", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('x')", "Odd: x, in: raise Odd('x')"),
        ("class Rude(Exception):\n    def __str__(self): raise OSError\nraise Rude", "Rude, in: raise Rude"),
        ("assert False, 'a' * 10_000", "a" * 400 + " …"),
        ("raise ValueError('first\\nsecond')", "ValueError: first, in:"),
    ],
)
def test_whatever_a_test_cell_does_is_one_remark(install, body, words):
    def f():
        raise NotImplementedError

    text = check(f"# test mass: 4 points\n{body}", f=f)
    assert words in text
    assert "Traceback" not in text
    assert len(text) < 1000


def test_a_test_cell_leaves_no_name_and_no_text_behind(install, capsys):
    namespace = {}
    selfcheck._report("01_map", ["# test mass: 4 points\nleft = 1\nprint('noise')"], namespace)
    assert namespace == {}
    assert capsys.readouterr().out == ""


def test_an_interrupt_stops_the_check(install):
    with pytest.raises(KeyboardInterrupt):
        check("# test mass: 4 points\nraise KeyboardInterrupt")


@pytest.mark.parametrize(
    "cell", ["", "test mass: 4 points", "x = 1\n# test mass: 4 points", "# test mass: many points"]
)
def test_other_cells_are_no_test_cells(install, cell):
    assert check(cell) == f"{ABSENT} No test cell has run in this kernel yet: run them, then this cell again."


def test_hidden_tests_come_first_and_get_the_lesson_and_the_names(install):
    asked = []

    def hidden(lesson, namespace):
        asked.append((lesson, namespace))
        return [row(), row("kde", 2.5, 2.5, [("test_sum", True, "unseen")])]

    install(hidden)
    head, mass, kde = check("# test other: 4 points\nassert False", x=1).splitlines()
    assert asked == [("01_map", {"x": 1})]
    assert head == "Self-check of 01_map: 3.5 of 6.5 points by the hidden tests."
    assert mass.split(maxsplit=5) == ["✗", "mass", "1", "of", "4", "Far out it stays finite."]
    assert kde.split() == ["✓", "kde", "2.5", "of", "2.5"]


def test_a_failed_hidden_test_without_a_message_is_named(install):
    install(lambda lesson, namespace: [row(tests=[("test_tails", False, "")])])
    assert "test_tails" in check()


LATE, ERROR = "The call took too long.", "Your code raised ValueError at line 3 of its cell."


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([("a", False, "A.", LATE), ("b", False, "B.", LATE)], [LATE]),
        ([("a", False, "A.", "Not answered: it raises NotImplementedError.")], ["not written yet"]),
        ([("a", False, "A.", LATE), ("b", True, "B.")], [LATE, "- A."]),
        ([("a", False, "A."), ("b", False, "B.")], ["- A.", "- B."]),
        ([("a", False, "A."), ("b", True, "B.")], ["A."]),
        (
            [("a", False, "A.", LATE), ("b", False, "B."), ("c", False, "C.", LATE)],
            ["- B.", LATE, "- A.", "- C."],
        ),
        ([("a", False, "A.", LATE), ("b", False, "B.", ERROR)], [LATE, "- A.", ERROR, "- B."]),
        ([("a", True, "A."), ("b", True, "B.")], [""]),
    ],
)
def test_a_reason_is_said_once_and_alone_where_it_explains_everything(install, tests, expected):
    install(lambda lesson, namespace: [row(tests=tests)])
    first, *others = check().splitlines()[1:]
    start = first.index("1 of 4") + len("1 of 4  ")
    assert [first[start:], *(line[start:] for line in others)] == expected
    page = selfcheck._html(selfcheck._report("01_map", [], {}))
    said = re.findall(r"(?:pre-wrap\">|<li>|</ul>)([^<]+)", page)
    assert said == [line.removeprefix("- ") for line in expected if line]
    assert page.count("<li>") == sum(line.startswith("- ") for line in expected)


def test_points_have_at_most_two_decimals(install):
    install(lambda lesson, namespace: [row(points=8 / 3), row("kde", 10 / 3, 5.0)])
    head, mass, kde = check().splitlines()
    assert "6 of 9 points" in head
    assert "2.67 of 4 " in mass
    assert "3.33 of 5 " in kde


def test_it_says_that_it_runs_before_the_tests_do_and_that_it_was_stopped(install, monkeypatch):
    shown = []

    def interrupt():
        shown.append("here the tests run")
        raise KeyboardInterrupt

    inputs = SimpleNamespace(input_hist_parsed=["# test mass: 4 points\nwait()"])
    shell = SimpleNamespace(history_manager=inputs, user_ns={"wait": interrupt})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr(
        selfcheck.Place, "show", lambda place, content, raw: shown.append(content["text/plain"])
    )
    with pytest.raises(KeyboardInterrupt):
        selfcheck.run("01_map")
    running, tests, stopped = shown
    assert "Self-check of 01_map: the tests are running." in running
    assert tests == "here the tests run"
    assert stopped == "Self-check of 01_map: stopped."


def fails(error):
    def hidden(lesson, namespace):
        raise error

    return hidden


@pytest.mark.parametrize(
    ("hidden", "words"),
    [
        (
            fails(LookupError("there is no lesson '01_mop'; choose 01_map.")),
            "LookupError: there is no lesson '01_mop'",
        ),
        (fails(SystemExit("a\nb")), "SystemExit: a"),
        (lambda lesson, namespace: [{"exercise": "mass"}], "KeyError: 'tests'"),
        (lambda lesson, namespace: None, "TypeError"),
        (lambda lesson, namespace: [], "no hidden tests of 01_map"),
    ],
)
def test_hidden_tests_that_cannot_run_leave_the_public_ones(install, hidden, words):
    install(hidden)
    head, mass = check("# test mass: 4 points\nassert True").splitlines()
    assert head.startswith(f"Self-check of 01_map: {TESTED} 1 of 1 pass their public asserts. ")
    assert words in head
    assert mass.split() == ["✓", "mass", "worth", "4"]
    assert words in check()


def test_the_entry_point_is_found_by_group_and_name(tmp_path, monkeypatch):
    """A real package's metadata on the path, as pip would install it."""
    folder = tmp_path / "elsewhere-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[genmap.selfcheck]\nhidden = elsewhere_hidden:rows\n")
    (tmp_path / "elsewhere_hidden.py").write_text(f"def rows(lesson, namespace): return [{row()!r}]\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(p for p in sys.path if "site-packages" not in p)])
    assert "1 of 4 points by the hidden tests" in check()


class Cells(HTMLParser):
    """Reads a page back: its tags, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, text):
        self.text += text


def test_everything_from_outside_is_escaped_in_html(install):
    evil = "<script>alert('x')</script> & <img src=x onerror=alert(1)>"
    install(lambda lesson, namespace: [row(exercise=evil, tests=[("t", False, evil)])])
    page = selfcheck._html(selfcheck._report(evil, [], {}))
    cells = Cells(page)
    assert cells.tags == {"p", "b", "table", "tr", "th", "td"}
    assert cells.text.count(evil) == 3


def test_without_ipython_it_is_one_line():
    code = "from genmap import selfcheck; selfcheck.run('01_map')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "open the lesson in JupyterLab" in done.stdout
    assert done.stderr == ""


def test_in_a_notebook_it_is_a_table():
    absent = "from genmap import selfcheck\nselfcheck.entry_points = lambda **which: []"
    sources = [
        absent,
        "selfcheck.run('01_map')",
        "def f():\n    raise NotImplementedError",
        "# test mass: 4 points\nassert f() == 1, 'it is <one>'",
        "selfcheck.run('01_map')",
        "def f():\n    return 2",
        "selfcheck.run('01_map')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=1200, kernel_name="python3", allow_errors=True).execute()
    early, blank, wrong = (notebook.cells[i].outputs for i in (1, 4, 6))
    for outputs in (early, blank, wrong):
        assert [set(output.data) for output in outputs] == [{"text/html", "text/plain"}]
        assert "are running" not in outputs[0].data["text/html"]
    assert "No test cell has run" in early[0].data["text/html"]
    assert "not written yet" in blank[0].data["text/html"]
    assert "it is &lt;one&gt;" in wrong[0].data["text/html"]
    assert "it is <one>" in wrong[0].data["text/plain"]
