"""Mutants: each is one small change within the solution; the kinds of faults that there are to be."""

import ast

import pytest
from course_root import ROOT

from autograde.authoring.answers import without_markers
from autograde.authoring.candidates import read_sources
from autograde.authoring.mutants import mutants, same
from autograde.course import Course

CELL = """\
def answer(x, n):
    \"\"\"Something of x (N, D).\"\"\"
    shift = 1.5
    ### BEGIN SOLUTION
    {}
    ### END SOLUTION
"""
MADE = {
    "return x + n": {"x - n", "n", "x", "x.add_(n)"},
    "return x - n": {"x + n", "n - x"},
    "return x / n": {"x * n", "n / x", "x / (n + 1e-06)"},
    "return x ** 2": {"x * 2", "x", "2 ** x", "x ** 3", "x ** 1"},
    "return x < n": {"x <= n", "x > n"},
    "return x == n": {"x != n"},
    "return x and n": {"x or n", "x", "n"},
    "return -x": {"x"},
    "return x.mean(dim=1, keepdim=True)": {
        *(
            "x.sum(dim=1, keepdim=True)",
            "x.mean(keepdim=True)",
            "x.mean(dim=1)",
            "x.mean(dim=2, keepdim=True)",
        ),
        *("x.mean(dim=0, keepdim=True)", "x.mean(dim=1, keepdim=False)", "x.median(dim=1, keepdim=True)"),
    },
    "return x.detach()": {"x"},
    "return np.sqrt(x)": {"x"},
    "return x.exp()": {"x", "x.clip(-30, 30).exp()", "x.expm1()"},
    "return np.log(x)": {"x", "np.log(x + 1e-06)", "np.log1p(x)"},
    "return np.zeros(n, dtype=np.float64)": {"np.ones(n, dtype=np.float64)", "np.zeros(n, dtype=np.float32)"},
    "return x, n": {"(n, x)"},
    "return x if n else 0": {"x", "0"},
    "return x[n:]": {"x[n + 1:]"},
    "return np.where(x, n, 0)": {"np.where(n, x, 0)", "np.where(x, 0, n)"},
    "return list(range(n))": {"list(range(n - 1))"},
}


def returned(cell):
    """What each return statement of a cell gives, as a program."""
    return {ast.unparse(node.value) for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Return)}


@pytest.mark.parametrize("line", MADE)
def test_an_expression_has_its_faults(line):
    found = set().union(*(returned(mutant.source) for mutant in mutants("x", CELL.format(line))))
    wanted = {ast.unparse(ast.parse(each, mode="eval")) for each in MADE[line]}
    assert wanted <= found, wanted - found


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        ("x += n\n    return x", "pass\n    return x"),
        ("x += n\n    return x", "x -= n\n    return x"),
        ("if n:\n        x = 1\n    return x", "if False:"),
        ("if n:\n        x = 1\n    return x", "if True:"),
        ("with torch.no_grad():\n        return x", "with torch.enable_grad():"),
        ("return x", "    x = x[[0] * len(x)]\n    return x"),
        ("for i in x:\n        if i:\n            break\n    return i", "            pass"),
    ],
)
def test_a_statement_has_its_faults(lines, part):
    assert any(part in mutant.source for mutant in mutants("x", CELL.format(lines)))


def test_what_is_given_is_left_alone():
    """The signature, the docstring, what stands outside the markers, texts and annotations."""
    cell = CELL.format('label: "int" = 1\n    return f"{x:.3f} {n + 1}", "text"')
    given = cell[: cell.index("    ### BEGIN")]
    for mutant in mutants("x", cell):
        assert mutant.source.startswith(given)
        kept = ast.unparse(ast.parse(mutant.source))
        assert "label: 'int' = " in kept and "f'{x:.3f} {n + 1}'" in kept and "'text'" in kept


def test_letters_beyond_ascii_do_not_move_a_place():
    (mutant,) = (each for each in mutants("x", CELL.format('return "ä", x + n')) if "x - n" in each.source)
    assert 'return "ä", (x - n)' in mutant.source


@pytest.mark.parametrize("lesson", Course.at(ROOT).names())
def test_every_mutant_of_the_lessons_is_another_program(lesson):
    for exercise, solution in read_sources(Course.at(ROOT), lesson).solutions.items():
        made = mutants(exercise, solution)
        reference = without_markers(solution)
        programs = [ast.dump(ast.parse(mutant.source)) for mutant in made]
        assert len(set(programs)) == len(made) and ast.dump(ast.parse(reference)) not in programs
        for mutant in made:
            assert mutant.old in reference and mutant.new in mutant.source
            assert reference.count("\n") >= mutant.line - 1


def test_same_is_about_the_program():
    assert same("x = 1  # one", "x=1") and not same("x = 1", "x = 2")
