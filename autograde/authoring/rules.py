"""The rules that a lesson's source keeps. The build refuses any other, with file, line and reason."""

import ast
import math
from pathlib import Path

from autograde.authoring.percent import Cell, check_name, read_text, refuse
from autograde.authoring.solution_regions import Region, check_stub, find_regions, gives_away, without_regions
from autograde.course import hidden_tests
from autograde.judging.student import Student

MARKS = ("exercise", "test", "answer", "build", "check", "points", "tags", "folded")
BELOW = {"test": "exercise", "check": "build"}  # what tries something stands below it
KINDS = ("exercise", "test", "answer", "build", "check")
PROTOCOL = {name for name in vars(Student) if not name.startswith("_")}  # student.read is not the learner's
POINTS = 20  # of a lesson's automatic tests; answers graded by hand come on top
LINE_CHARACTERS = 110  # of code: what is longer has to be scrolled in a notebook
CELL_LINES = 20  # of code: a longer cell says why
REASON = "# long: "  # begins the comment that does


def kind_of(cell: Cell) -> str:
    """What a cell is: exercise, test, answer, demo, or nothing of these."""
    return next((kind for kind in KINDS if kind in cell.marks), "demo" if "tags" in cell.marks else "")


def check_lesson(path: Path, cells: list[Cell]) -> None:
    """Raise CourseError for the first rule that the lesson breaks; its cells have passed check_marks."""
    _check_names(cells)
    regions = [_check_regions(cell) for cell in cells]
    code = [cell for cell in cells if not cell.markdown]
    _check_bindings(code)
    _check_uses(code)
    _check_total(cells)
    _check_hidden(path, {cell.marks["exercise"]: cell for cell in cells if "exercise" in cell.marks})
    _check_shown(cells, regions)
    for cell in cells:
        if not cell.markdown:
            _check_size(cell)


def hidden_exercises(path: Path) -> dict[str, tuple[str, int]]:
    """Hidden test -> (exercise, line), read without running the file. Raises CourseError for a bad mark."""
    try:
        tree = ast.parse(read_text(path))
    except (SyntaxError, ValueError) as error:
        raise refuse(path, getattr(error, "lineno", None) or 1, f"this is no Python ({error}).") from None
    found = {}
    for test in tree.body:
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            for mark in filter(_is_exercise_mark, test.decorator_list):
                found[test.name] = (_marked(path, mark), mark.lineno)
    return found


def check_marks(cell: Cell) -> None:
    """Raise CourseError where a cell's marks do not go together."""
    kinds = [kind for kind in KINDS if kind in cell.marks]
    if len(kinds) > 1:
        raise cell.refuse(f"a cell is one of {' and '.join(kinds)}: make two cells of it.")
    if "tags" in cell.marks and cell.marks["tags"] != ["demo"]:
        raise cell.refuse(f'unknown marker in tags: {cell.marks["tags"]!r}; the only one is tags=["demo"].')
    if "tags" in cell.marks and kinds:
        raise cell.refuse(f'a demo is not graded: drop tags=["demo"] or {kinds[0]}.')
    kind = kind_of(cell)
    if cell.markdown and kind not in ("answer", "demo", ""):
        raise cell.refuse(f"the {kind} is a code cell: drop [markdown].")
    if not cell.markdown and kind == "answer":
        raise cell.refuse("an answer graded by hand is prose: write `# %% [markdown] answer=...`.")
    if kinds:
        check_name(cell, cell.marks[kind])
    _check_points(cell, kind)
    _check_folded(cell, kind)


def _check_folded(cell: Cell, kind: str) -> None:
    """Code of the chapter may be folded under a title; a learner has to see what is theirs."""
    title = cell.marks.get("folded", "settings")
    if not (isinstance(title, str) and title.strip() and title.isprintable()):
        raise cell.refuse(f'folded={title!r}: give it the title that stands for it, folded="Settings".')
    if "folded" in cell.marks and (cell.markdown or kind in KINDS):
        raise cell.refuse("only code of the chapter is folded; a long derivation stands in <details>.")


def _check_points(cell: Cell, kind: str) -> None:
    points = cell.marks.get("points")
    if kind not in ("test", "answer"):
        if "points" in cell.marks:
            raise cell.refuse("points stand on the test cell, or on an answer: move them there.")
    elif "points" not in cell.marks:
        raise cell.refuse(f"the {kind} has no points: add points=4, say.")
    elif isinstance(points, bool) or not isinstance(points, int | float) or not 0 < points < math.inf:
        raise cell.refuse(f"points={points!r}: use a positive finite number.")


def _check_names(cells: list[Cell]) -> None:
    """Names are unique; every exercise and build has its test or check below it, which name one above."""
    seen: dict[tuple[bool, str], Cell] = {}
    for cell in cells:
        kind = kind_of(cell)
        if kind not in KINDS:
            continue
        key = (kind in BELOW, cell.marks[kind])
        if key in seen:
            raise cell.refuse(f"duplicate name {key[1]!r}: line {seen[key].line} has it already.")
        seen[key] = cell
        if kind in BELOW and BELOW[kind] not in getattr(seen.get((False, key[1])), "marks", {}):
            raise cell.refuse(f"no {BELOW[kind]} {key[1]!r} stands above this {kind}: name one that does.")
    for (_, name), cell in seen.items():
        if "exercise" in cell.marks and (True, name) not in seen:
            raise cell.refuse(f'exercise {name!r} has no points: add a cell `# %% test="{name}" points=4`.')
        if "build" in cell.marks and (True, name) not in seen:
            raise cell.refuse(f'build {name!r} has no asserts: add a cell `# %% check="{name}"`.')


def _check_regions(cell: Cell) -> list[Region]:
    regions, kind = find_regions(cell), kind_of(cell)
    if regions and kind not in ("exercise", "answer", "build"):
        reason = (
            "a solution in a cell that is no exercise would be released with it: mark the cell or move it."
        )
        raise cell.refuse(reason, regions[0].begin)
    if not regions and kind in ("exercise", "answer", "build"):
        raise cell.refuse("it would be released whole: put its solution between SOLUTION markers.")
    if not cell.markdown:
        cell.parse()
    if kind in ("exercise", "build"):
        check_stub(cell, regions)
    return [] if kind == "build" else regions  # whose solution the chapter shows


def _check_bindings(cells: list[Cell]) -> None:
    """An exercise defines something, and no other cell defines it again."""
    bound = [_bindings(cell.parse()) for cell in cells]
    for cell, names in zip(cells, bound, strict=True):
        if "exercise" not in cell.marks:
            continue
        own = set(_bindings(cell.parse(), imports=False))
        if not own:
            raise cell.refuse("the exercise defines nothing: write a function, a class or a variable.")
        for name in sorted(own & PROTOCOL):
            raise cell.refuse(f"{name!r} is a word of the hidden tests' own: rename it.", names[name] - 1)
        for other, others in zip(cells, bound, strict=True):
            for name in sorted(own & set(others)) if other is not cell else ():
                owner = f"exercise {cell.marks['exercise']!r} (line {cell.line + names[name]})"
                raise other.refuse(
                    f"{name!r} of {owner} is defined again: rename this one.", others[name] - 1
                )


def _check_uses(cells: list[Cell]) -> None:
    """Nothing but its own test leans on an exercise: else "Run all" stops there until it is solved."""
    owners = {
        name: cell.marks["exercise"]
        for cell in cells
        if "exercise" in cell.marks
        for name in _bindings(cell.parse(), imports=False)
    }
    for cell in cells:
        for node in ast.walk(cell.parse()):
            owner = owners.get(node.id) if isinstance(node, ast.Name) else None
            if isinstance(node, ast.Name) and owner not in (None, *map(cell.marks.get, ("exercise", "test"))):
                reason = f"{node.id!r} of exercise {owner!r} is used here, which not everybody has solved"
                mend = "leave that to its own cell and its test, or rename this one"
                raise cell.refuse(f"{reason}: {mend}.", node.lineno - 1)


def _bindings(tree: ast.Module, imports: bool = True) -> dict[str, int]:
    """The names that the top level of a cell binds, each with the first line that does."""
    todo: list[ast.AST] = list(tree.body)
    found: list[tuple[str, int]] = []
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append((node.name, node.lineno))
            continue
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append((node.id, node.lineno))
        if isinstance(node, ast.Import | ast.ImportFrom) and imports:
            found += [((alias.asname or alias.name).split(".")[0], node.lineno) for alias in node.names]
        todo += ast.iter_child_nodes(node)
    return dict(sorted(found, key=lambda pair: -pair[1]))


def _check_total(cells: list[Cell]) -> None:
    tests = [cell for cell in cells if "test" in cell.marks]
    total = sum(cell.marks["points"] for cell in tests)
    if not math.isclose(total, POINTS):
        where = tests[-1] if tests else cells[0]
        raise where.refuse(f"the tests' points add up to {total:g}, not {POINTS}: change some.")


def _check_hidden(path: Path, exercises: dict[str, Cell]) -> None:
    hidden = hidden_tests(path.stem)
    found = hidden_exercises(hidden) if hidden.exists() else {}
    for name, line in found.values():
        if name not in exercises:
            raise refuse(hidden, line, f"unknown exercise {name!r}: {path.name} has {', '.join(exercises)}.")
    tested = {name for name, _ in found.values()}
    for name, cell in exercises.items():
        if name not in tested:
            mark = f'@pytest.mark.exercise("{name}")'
            raise cell.refuse(f"exercise {name!r} has no hidden test: mark one with {mark} in {hidden}.")


def _check_shown(cells: list[Cell], regions: list[list[Region]]) -> None:
    """No released line shows a solution."""
    released = [without_regions(cell, own) for cell, own in zip(cells, regions, strict=True)]
    for cell, own in zip(cells, regions, strict=True):
        for region in own:
            for other, lines in zip(cells, released, strict=True):
                index = gives_away(region.code, lines)
                if index is not None:
                    name = cell.marks[kind_of(cell)]
                    reason = (
                        f"this line of the solution of {name!r} (line {cell.line + 1 + region.begin}) would"
                    )
                    raise other.refuse(f"{reason} be released: change one of the two.", index)


def _check_size(cell: Cell) -> None:
    """A cell of code can be read without scrolling, or says why not."""
    for index, line in enumerate(cell.lines):
        if len(line) > LINE_CHARACTERS:
            raise cell.refuse(f"{len(line)} characters: a line of code has at most {LINE_CHARACTERS}.", index)
    count = len(_code(cell))
    if count > CELL_LINES and not any(line.strip().startswith(REASON) for line in cell.lines):
        mend = f"split it, or say in a comment `{REASON}...` why not"
        raise cell.refuse(f"{count} lines of code in a cell, more than {CELL_LINES}: {mend}.")


def _code(cell: Cell) -> list[str]:
    """A cell's lines of code: no blank line, comment or text that stands alone; its settings count as one."""
    left_out: set[int] = set()
    for node in ast.walk(cell.parse()):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "genmap.settings":
            left_out |= set(range(node.lineno + 1, (node.end_lineno or node.lineno) + 1))
    lines = (line.strip() for number, line in enumerate(cell.lines, 1) if number not in left_out)
    return [line for line in lines if line and not line.startswith("#")]


def _is_exercise_mark(decorator: ast.expr) -> bool:
    mark = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(mark, ast.Attribute) and mark.attr == "exercise"


def _marked(path: Path, mark: ast.expr) -> str:
    name = mark.args[0] if isinstance(mark, ast.Call) and mark.args else None
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
        raise refuse(path, mark.lineno, 'name the exercise: @pytest.mark.exercise("name").')
    return name.value
