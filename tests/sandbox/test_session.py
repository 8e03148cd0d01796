"""A submission's cells in a kernel: what one cell does costs what depends on it and no more."""

import os
import socket
import time
from dataclasses import replace
from functools import partial

import pytest
from nbformat.v4 import new_code_cell

from autograde.errors import CourseError, Died, OutOfTime, TimedOut
from autograde.judging.student import Missing, Student
from autograde.sandbox.forkserver_client import ForkServerClient, kernel_environment
from autograde.sandbox.kernel_process import KernelFactory, ended
from autograde.sandbox.limits import Limits
from autograde.sandbox.session import Session

LIMITS = replace(Limits(), cell=3, call=2, flood_bytes=4 << 20, output_bytes=1 << 16)
KERNELS = KernelFactory(LIMITS)
DEFINE = "def one():\n    return 1\n"
AFTER = "def two():\n    return one() + 1\n"
POISON = {
    "a loop": ("while True: pass", "TimeLimit"),
    "a loop that ignores interrupts": (
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "TimeLimit",
    ),
    "sleep": ("import time\ntime.sleep(1000)", "TimeLimit"),
    "exit": ("import os\nos._exit(0)", "KernelDied"),
    "a signal to itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "KernelDied"),
    "a flood": ("import time\nwhile True:\n    print('x' * 10000)\n    time.sleep(1e-4)", "OutputLimit"),
    "one huge line": ("print('x' * (200 << 20))", "OutputLimit"),
}


@pytest.mark.parametrize("source, name", POISON.values(), ids=POISON.keys())
def test_a_poisonous_cell_costs_only_itself(tmp_path, source, name):
    cells = [new_code_cell(text) for text in (DEFINE, source, AFTER)]
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        assert [session.run(cell) for cell in cells] == [True, False, True]
        assert Student(session.ask).two() == 2
        assert not session.delayed or name == "TimeLimit"
    assert [o.ename for o in cells[1].outputs if o.output_type == "error"] == [name]


def test_an_error_is_kept_as_output_and_the_rest_runs(tmp_path):
    cells = [new_code_cell(text) for text in ("print(3)\n1 / 0", "import warnings\nwarnings.warn('x')\n5")]
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        assert [session.run(cell) for cell in cells] == [False, True]
    assert [o.output_type for o in cells[0].outputs] == ["stream", "error"]
    assert {o.output_type for o in cells[1].outputs} == {"stream", "execute_result"}


def test_however_many_cells_hang_or_die_each_costs_only_itself(tmp_path):
    poison = ["import os\nos._exit(0)", "import time\ntime.sleep(1000)"] * 3
    cells = [new_code_cell(source) for source in (DEFINE, *poison, AFTER)]
    with Session(replace(LIMITS, cell=0.5), partial(KERNELS.start, tmp_path)) as session:
        assert [session.run(cell) for cell in cells] == [True, *[False] * len(poison), True]
        assert Student(session.ask).two() == 2


def test_what_ran_before_the_notebooks_time_was_over_is_judged(tmp_path):
    cells = [new_code_cell(source) for source in (DEFINE, "import time\ntime.sleep(1000)", AFTER)]
    start = time.monotonic()
    with Session(replace(LIMITS, cell=600, notebook=4), partial(KERNELS.start, tmp_path)) as session:
        assert [session.run(cell) for cell in cells] == [True, False, False]
        student = Student(session.ask)
        assert student.one() == 1
        with pytest.raises(Missing):
            student.two()
        assert session.delayed
    assert time.monotonic() - start < 500  # of the thousand that one sleeps
    assert "whole notebook" in cells[2].outputs[0].evalue


def test_calls_that_use_up_their_time_leave_none_and_say_so(tmp_path):
    with Session(replace(LIMITS, call=600, notebook=2), partial(KERNELS.start, tmp_path)) as session:
        session.run(new_code_cell(f"import time\ndef hang():\n    time.sleep(1000)\n\n{DEFINE}"))
        student = Student(session.ask)
        assert student.one() == 1
        with pytest.raises(TimedOut):
            student.hang()
        with pytest.raises(OutOfTime):
            student.one()
        assert session.delayed


def test_a_cell_that_waits_for_the_machine_is_not_out_of_time(tmp_path):
    """Stopped for longer than its limit after it has computed, it has used no more than it computed."""
    busy = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass\n"
    cell = new_code_cell(busy + "time.sleep(1.2)\n" + busy + "time.sleep(1.2)")
    with Session(replace(LIMITS, cell=2), partial(KERNELS.start, tmp_path)) as session:
        assert session.run(cell)
        assert not session.delayed


def test_much_output_is_cut_and_the_cell_still_counts(tmp_path):
    cell = new_code_cell("print('x' * 1000000)\nanswer = 42\nfor _ in range(100): print('y' * 10000)")
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        assert session.run(cell)
        student = Student(session.ask)
        assert student.value(student.answer) == 42
    assert sum(len(o.text) for o in cell.outputs) < 2 << 16
    assert "cut off" in cell.outputs[-1].text


def test_an_error_that_is_too_long_is_an_error_all_the_same(tmp_path):
    cell = new_code_cell("raise ValueError('x' * 300_000)")
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        assert not session.run(cell)
    assert [o.ename for o in cell.outputs if o.output_type == "error"] == ["Error"]


def test_the_kernel_is_told_that_it_is_graded_and_works_in_its_folder(tmp_path):
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        session.run(new_code_cell("import os\nfolder, setting = os.getcwd(), os.environ['GENMAP_SETTING']"))
        student = Student(session.ask)
        assert student.value(student.folder) == "/work"
        assert student.value(student.setting) == "smoke"


def test_cells_before_a_death_during_judging_are_run_again(tmp_path):
    cells = [DEFINE, "1 / 0\n", "def die():\n    import os\n    os._exit(1)\n"]
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        for source in cells:
            session.run(new_code_cell(source))
        student = Student(session.ask)
        with pytest.raises(Died):
            student.die()
        assert student.one() == 1


def test_learners_cannot_break_the_questions_by_accident(tmp_path):
    code = "import builtins\ndel In, Out\njson = sys = np = torch = wire = autograde = None\n"
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        session.run(new_code_cell(code + DEFINE))
        session.run(new_code_cell("%precision 2\n%xmode Minimal"))
        assert Student(session.ask).one() == 1


def test_a_missing_kernel_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CourseError, match="make setup"):
        Session(LIMITS, partial(KERNELS.start, tmp_path)).__enter__()


def test_a_kernel_that_cannot_start_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("autograde.sandbox.kernel_process.FORK_SERVER", ForkServerClient())
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(CourseError, match="autograde doctor"):
        Session(LIMITS, partial(KERNELS.start, tmp_path)).__enter__()


def test_a_kernel_that_fails_before_its_first_cell_is_one_line(tmp_path, monkeypatch):
    environment = {name: value for name, value in kernel_environment().items() if name != "MPLBACKEND"}
    monkeypatch.setattr("autograde.sandbox.kernel_process.kernel_environment", lambda: environment)
    with pytest.raises(CourseError, match=r"did not start.*autograde doctor"):
        Session(LIMITS, partial(replace(KERNELS, modules=["matplotlib"]).start, tmp_path)).__enter__()


def test_a_parent_of_kernels_that_lacks_a_part_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("autograde.sandbox.kernel_process.FORK_SERVER", fork_server := ForkServerClient())
    monkeypatch.setattr(
        "autograde.sandbox.forkserver_client.PARTS", ("protocol", "framing", "wire", "call_server")
    )
    with pytest.raises(CourseError, match=r"its parent ended.*autograde doctor"):
        Session(LIMITS, partial(KERNELS.start, tmp_path)).__enter__()
    fork_server.close()


def test_a_sandbox_is_entered_only_with_all_that_it_takes(tmp_path, monkeypatch):
    """Descriptors can be lost on their way to a process that has too many open."""
    sent = socket.send_fds
    monkeypatch.setattr(socket, "send_fds", lambda to, message, given: sent(to, message, given[:2]))
    with pytest.raises(CourseError, match="autograde doctor"):
        Session(LIMITS, partial(KERNELS.start, tmp_path)).__enter__()


def test_no_process_is_left(tmp_path):
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        assert session.kernel is not None
        processes = [session.kernel.sandbox.first, session.kernel.process]
        assert not any(map(ended, processes))
    assert all(map(ended, processes))


SHOWN = {
    "print('a')\nimport sys\nprint('b', file=sys.stderr)\nprint('c')": ["stream", "stream", "stream"],
    "await __import__('asyncio').sleep(0.01)\n3": ["execute_result"],
    "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))": ["display_data"],
    "import matplotlib.pyplot as plt\nplt.plot([1, 2]);": ["display_data"],
    "%%bash\necho z": ["stream"],
    "!echo z": ["stream"],
    "raise ValueError": ["error"],
    "input()": ["error"],
    "from IPython.display import clear_output\nprint(1)\nclear_output()\nprint(2)": ["stream"],
    "import ipywidgets\nipywidgets.IntSlider()": ["execute_result"],
    "x = 1; exit()": [],
}


def test_cells_show_what_they_show_in_jupyter(tmp_path):
    cells = [new_code_cell(source) for source in SHOWN]
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        for cell in cells:
            session.run(cell)
    shown = {cell.source: [output.output_type for output in cell.outputs] for cell in cells}
    assert shown == SHOWN
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert "image/png" in cells[3].outputs[0].data and cells[8].outputs[0].text == "2\n"


def test_figures_are_shown_though_matplotlib_was_there_before_the_kernel(tmp_path):
    modules = ("matplotlib.pyplot", "matplotlib_inline.backend_inline")
    cell = new_code_cell("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()")
    with Session(LIMITS, partial(KernelFactory(LIMITS, modules=modules).start, tmp_path)) as session:
        assert session.run(cell)
    assert ["image/png" in output.get("data", {}) for output in cell.outputs] == [True]


def test_ones_own_work_may_do_without_a_sandbox(tmp_path):
    cell = new_code_cell("import os\ndef where():\n    return os.getcwd(), os.getuid()")
    with Session(LIMITS, partial(KernelFactory(LIMITS, isolated=False).start, tmp_path)) as session:
        assert session.run(cell)
        assert Student(session.ask).where() == (str(tmp_path), os.getuid())
        assert session.kernel is not None
        process = session.kernel.process
    assert ended(process)


def test_threads_and_children_of_the_learner_do_not_break_the_line(tmp_path):
    talk = """
import multiprocessing, threading, time
def talk():
    for n in range(20):
        print(n)
        time.sleep(0.01)
threading.Thread(target=talk).start()
child = multiprocessing.get_context("fork").Process(target=talk)
child.start()
"""
    with Session(LIMITS, partial(KERNELS.start, tmp_path)) as session:
        assert session.run(new_code_cell(talk)) and session.run(new_code_cell(DEFINE))
        student = Student(session.ask)
        assert [student.one() for _ in range(50)] == [1] * 50
