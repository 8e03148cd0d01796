"""What honest and clumsy submissions do must not cost them, or anybody, more than what depends on it."""

import copy
import json
import resource
import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from classroom import WEIGHTED
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from small_course import NAME, course

from autograde.authoring.release import release
from autograde.authoring.script import read_lesson
from autograde.cells import grade_id
from autograde.checks import array
from autograde.course import Course
from autograde.demo import submissions
from autograde.errors import Unusable
from autograde.grading.rebuild import rebuild
from autograde.grading.submission import grade_notebook
from autograde.judging.in_process import in_process
from autograde.judging.judge import judge
from autograde.sandbox import wire
from autograde.sandbox.framing import WireError

__all__ = ["course"]
FULL = {"weighted-mean": 12, "running-mean": 8}
HANDLE = ["from IPython.display import display\nh = display('a', display_id='q')", "h.update('b')"]
OUTPUT = ["import ipywidgets\nwith ipywidgets.Output():\n    print('hi')"]
FORGE = """
executor = get_ipython().kernel.session.executor


def answer(question):
    size = content = None
    {frame}
    size = len(content) if size is None else size
    executor.line.sendall(size.to_bytes(8, "big") + content)


executor.call_server.answer = answer
"""
MORE = '''@pytest.mark.exercise("weighted-mean")
def test_more_{n}(student, rng):
    """More."""
    assert student.weighted_mean([0.0, 1.0], [1.0, 1.0]) == 0.5


'''


def grade(
    course: Course, answers: dict[str, str] | None = None, first: Sequence[str] = (), last: Sequence[str] = ()
) -> tuple[dict[str, float], NotebookNode]:
    """Points by exercise, and the notebook with its outputs: the reference, cells changed or added."""
    notebook = read_lesson(course.source(NAME))
    notebook.metadata.genmap["limits"] = {"call": 1}
    for cell in notebook.cells:
        cell.source = (answers or {}).get(grade_id(cell), cell.source)
    notebook.cells[1:1] = [new_code_cell(source, id=f"first-{n}") for n, source in enumerate(first)]
    notebook.cells += [new_code_cell(source, id=f"last-{n}") for n, source in enumerate(last)]
    files = course.root / "files"
    files.mkdir()
    result = grade_notebook(notebook, course.root / "hidden" / f"test_{NAME}.py", files, b"s", "x")
    return {name: row.points for name, row in result.exercises.items()}, notebook


def add_tests(course: Course, count: int) -> None:
    path = course.root / "hidden" / f"test_{NAME}.py"
    head, tail = path.read_text().split('@pytest.mark.exercise("running-mean")')
    more = "".join(MORE.format(n=n) for n in range(count))
    path.write_text(f'{head}{more}@pytest.mark.exercise("running-mean"){tail}')


@pytest.mark.parametrize("body", ["while True: pass", "import os; os._exit(1)"])
def test_a_hanging_or_dying_answer_costs_no_other_exercise(course, body):
    add_tests(course, 6)
    points, _ = grade(course, {"weighted-mean": f"def weighted_mean(x, w):\n    {body}\n"})
    assert points == {"weighted-mean": 0, "running-mean": 8}


def test_an_answer_that_hangs_is_not_asked_for_ever(course):
    add_tests(course, 6)
    calls: list[int] = []

    def hang(x: object, w: object) -> None:
        calls.append(1)
        while True:
            pass

    tests = course.root / "hidden" / f"test_{NAME}.py"
    judge(tests, in_process({"weighted_mean": hang}, 0.2), b"", ["s"], frozenset(["weighted-mean"]))
    assert len(calls) == 2


def test_exit_in_a_cell_costs_nothing(course):
    assert grade(course, last=["exit()"])[0] == FULL


@pytest.mark.parametrize("cells", [HANDLE * 2, OUTPUT * 4])
def test_display_handles_and_output_widgets_cost_nothing(course, cells):
    points, notebook = grade(course, {"weighted-mean": WEIGHTED}, first=cells)
    assert points == FULL
    assert not [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]


def test_a_flood_costs_its_own_cell_only(course):
    assert grade(course, first=["print('x' * 70_000_000)"])[0] == FULL


def test_formatters_have_no_say_in_a_reply(course):
    forge = "get_ipython().display_formatter.formatters['text/plain'].for_type"
    assert grade(course, last=[f"{forge}(str, lambda s, p, c: p.text('x'))"])[0] == FULL


FRAMES = {
    "a list without end": "content = b'[' + b'1,' * 1_000_000 + b']'",
    "no ASCII": "content = bytes([255, 254])",
    "less than it says": "size, content = 100, b'x'",
    "far more than may be": "size, content = 2**62, b'x'",
    "nothing": "size, content = 0, b''",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_a_forged_reply_is_no_answer_and_takes_no_memory(course, frame):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    points, _ = grade(course, last=[FORGE.format(frame=frame)])
    assert points == dict.fromkeys(FULL, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_surrogate_in_a_cell_loses_no_submission(course):
    notebook = read_lesson(course.source(NAME))
    mine = copy.deepcopy(notebook)
    mine.cells.append(new_code_cell("x = '\ud800'", id="s"))
    assert json.dumps(rebuild(mine, notebook).notebook, ensure_ascii=False).encode()


def test_a_file_that_shadows_the_kernels_own_is_harmless(course):
    (course.root / "files").mkdir()
    (course.root / "files" / "ipykernel_launcher.py").write_text("raise SystemExit")
    notebook = read_lesson(course.source(NAME))
    tests = course.root / "hidden" / f"test_{NAME}.py"
    result = grade_notebook(notebook, tests, course.root / "files", b"s", "x")
    assert result.points == 20


@pytest.mark.parametrize("shape", [(0,), (0, 1)])
def test_an_empty_array_is_no_answer(shape):
    with pytest.raises(Unusable):
        array(np.empty(shape))
    assert array(np.empty(shape), shape=shape).size == 0


def test_a_huge_lazy_tensor_is_refused_at_once():
    start = time.process_time()
    with pytest.raises(WireError):
        wire.dumps(torch.zeros(1).expand(3 * 10**8), lambda value: None)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("weight", ["0", "-1", "'two'", "float('inf')", "1, wieght=2"])
def test_a_weight_that_is_none_is_an_error_of_the_course(course, weight):
    path = course.root / "hidden" / f"test_{NAME}.py"
    path.write_text(path.read_text().replace("weight=2", f"weight={weight}"))
    with pytest.raises(Exception, match="needs a positive number as its weight"):
        judge(path, in_process({}, 1), b"", ["s"])


def test_a_lesson_with_one_exercise_can_be_played(course):
    head = course.source(NAME).read_text().split('# %% [markdown] answer="why-mean"')[0]
    course.source(NAME).write_text(head.replace("points=12", "points=20"))
    hidden = course.root / "hidden" / f"test_{NAME}.py"
    hidden.write_text(hidden.read_text().split('\n\n@pytest.mark.exercise("running-mean")')[0])
    release(course, [NAME])
    assert "crashing" in submissions(course, NAME)
