"""The sandbox: what a submission sees and may use, as root and as an ordinary user; refusal without one."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from course_root import ROOT
from nbformat.v4 import new_code_cell, new_notebook
from ordinary_user import ordinary_user

import autograde
from autograde.errors import CourseError
from autograde.grading.submission import grade_notebook
from autograde.judging.student import Student
from autograde.sandbox import kernel_process
from autograde.sandbox.kernel_process import KernelFactory
from autograde.sandbox.limits import Limits
from autograde.sandbox.session import Session

PROBE = r'''
import os
import socket
import subprocess
import sys


def sh(line):
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    return [done.returncode, done.stdout + done.stderr]


def find(words):
    """Paths with one of these words in the name, and Python files with one of them inside."""
    found = []
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys")]
        found += [os.path.join(folder, name) for name in folders + files if any(w in name for w in words)]
    return found


def reach(kind, address):
    try:
        socket.socket(getattr(socket, kind), socket.SOCK_STREAM).connect(
            tuple(address) if isinstance(address, list) else address
        )
        return "connected"
    except OSError as error:
        return type(error).__name__


def environment():
    return dict(os.environ)
'''


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Student]:
    folder = tmp_path_factory.mktemp("submission")
    (folder / "words.txt").write_text("mine")
    hidden = [ROOT / "solutions", ROOT / ".grading"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADER_SECRET", "canary")
        with Session(Limits(), partial(KernelFactory(Limits(), hidden).start, folder)) as session:
            assert session.run(new_code_cell(PROBE))
            yield Student(session.ask)


def test_the_facts_of_the_course_are_there(student):
    assert student.sh(
        f"{sys.executable} -c 'import genmap.taxonomy; print(len(genmap.taxonomy.load().buckets))'"
    ) == [0, "5\n"]


def test_neither_grader_nor_solutions_nor_gradebook_are_there(student):
    assert student.find(["judge_process", "test_01_map", "01_map.py", ".grading"]) == []
    for folder in student.find(["genmap_autograde-0"]):
        assert folder.endswith(".pth") or student.sh(f"ls -A {folder}") == [0, ""]
    for folder in (ROOT / "tests", ROOT / "solutions", Path(autograde.__file__).parent):
        assert student.sh(f"ls {folder}")[0] != 0


def test_the_environment_is_its_own(student):
    environment = student.environment()
    assert "GRADER_SECRET" not in environment and environment["GENMAP_SETTING"] == "smoke"


def test_nothing_but_three_sized_folders_can_be_written(student):
    for path in ("/", "/usr", "/dev", "/given", "/etc", sys.prefix):
        assert student.sh(f"touch {path}/x")[0] != 0
    for path in ("/tmp", "/work", "/dev/shm"):
        code, output = student.sh(f"df --output=size -B1 {path} | tail -1")
        assert code == 0 and int(output) <= Limits().disk_bytes
    assert student.sh("cat words.txt") == [0, "mine"]
    student.sh("for n in 1 2 3 4 5; do yes | head -c 1G > /tmp/big$n; done")
    assert 0 < int(student.sh("du -cb /tmp/big* | tail -1 | cut -f1")[1]) <= Limits().disk_bytes
    student.sh("rm /tmp/big*")


def test_it_is_alone(student):
    assert student.sh("ls /proc | grep -c '^[0-9]'")[1].strip() in "123456"
    assert student.sh("ls /sys/class/net 2>/dev/null; cat /proc/net/dev | grep -c :")[1].split()[-1] == "1"
    for kind, address in [("AF_INET", ["127.0.0.1", 22]), ("AF_INET", ["192.0.2.1", 80]), ("AF_UNIX", "\0x")]:
        assert student.reach(kind, address) != "connected"


@pytest.mark.parametrize(
    "line",
    [
        "unshare -U true",
        "unshare -m true",
        "mount -t tmpfs x /tmp",
        "chroot / true",
        "setpriv --reuid 0 true",
        "su root -c true",
        "nsenter -t 1 -m true",
    ],
)
def test_no_right_can_be_gained(student, line):
    assert student.sh(line)[0] != 0
    capabilities = student.sh("grep Cap /proc/self/status")[1].split()[1::2]
    assert set(capabilities) == {"0" * 16}
    assert student.sh("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status")[1].split()[1::2] == ["1", "2"]


def bomb(tmp_path: Path, source: str, **limits: float) -> list[str]:
    """The names of the errors of two cells, the bomb and an honest one, and what the honest one gives."""
    given = replace(Limits(), cell=8, **limits)
    cells = [new_code_cell(source), new_code_cell("def one():\n    return 1")]
    with Session(given, partial(KernelFactory(given).start, tmp_path)) as session:
        for cell in cells:
            session.run(cell)
        assert Student(session.ask).one() == 1
    return [o.ename for cell in cells for o in cell.outputs if o.output_type == "error"]


def test_a_memory_bomb_ends_alone(tmp_path):
    grow = "x = bytearray(1 << 20) * 200\nwhile True: pass"
    source = f"import os\nfor _ in range(8):\n    if os.fork() == 0:\n        break\n{grow}"
    assert bomb(tmp_path, source, memory=1 << 30) == ["KernelDied"]


def test_a_fork_bomb_ends_alone(tmp_path):
    source = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    assert bomb(tmp_path, source, processes=64) in (["KernelDied"], ["TimeLimit"])


def test_cpu_is_counted_over_all_processes(tmp_path):
    source = "import os\nfor _ in range(3):\n    os.fork()\nwhile True: pass"
    assert bomb(tmp_path, source, cpu=3) == ["KernelDied"]


def test_a_grader_installed_from_a_wheel_is_hidden_too(tmp_path):
    """The wheel lies below sys.prefix, which the sandbox sees."""
    site = Path(sys.prefix) / f"wheel-of-{os.getpid()}"
    copy, given = tmp_path / "autograde", tmp_path / "given"
    given.mkdir()
    shutil.copytree(
        ROOT / "autograde", copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    )
    options = ["--no-deps", "--no-build-isolation", "-q", "--target", str(site)]
    try:
        subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copy)], check=True)
        code = f"""
import sys, json
from functools import partial
sys.path.insert(0, {str(site)!r})
import autograde
from pathlib import Path
from nbformat.v4 import new_code_cell
from autograde.sandbox.session import Session
from autograde.sandbox.limits import Limits
from autograde.sandbox.kernel_process import KernelFactory
from autograde.judging.student import Student
with Session(Limits(), partial(KernelFactory(Limits()).start, Path({str(given)!r}))) as session:
    session.run(new_code_cell({PROBE!r}))
    student = Student(session.ask)
    print(json.dumps([autograde.__file__, student.find(["test_01_map", "judge_process", "genmap_autograde-"]),
                      student.sh("ls -a {site}/autograde")]))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        where, found, listing = json.loads(done.stdout)
    finally:
        shutil.rmtree(site)
    assert where.startswith(str(site)) and (copy / "hidden" / "test_01_map.py").exists()
    assert [path for path in found if "judge" in path or "test_01" in path] == []
    assert listing == [0, ".\n..\n"]


def test_it_works_as_an_ordinary_user():
    if os.getuid() != 0:
        pytest.skip("the other tests of this file ran as an ordinary user")
    code = f"""
import tempfile
from functools import partial
from pathlib import Path
from nbformat.v4 import new_code_cell
from autograde.sandbox.session import Session
from autograde.sandbox.limits import Limits
from autograde.sandbox.kernel_process import KernelFactory
from autograde.judging.student import Student
with Session(Limits(), partial(KernelFactory(Limits()).start, Path(tempfile.mkdtemp()))) as session:
    session.run(new_code_cell({PROBE!r}))
    student = Student(session.ask)
    print(student.sh("unshare -U true")[0], student.sh("id -u")[1].strip(), student.sh("touch /x")[0])
"""
    line = [*ordinary_user(), sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, cwd="/tmp")
    assert done.stdout.split() == ["1", "65534", "1"], done.stderr


def test_without_a_sandbox_others_work_is_not_graded(tmp_path, monkeypatch):
    kernel_process.sandbox_problem.cache_clear()
    monkeypatch.setattr(kernel_process, "find_bwrap", lambda: None)
    empty = new_notebook(metadata={"genmap": {"lesson": "99_x"}})
    try:
        with pytest.raises(
            CourseError, match=r"not run without the sandbox\. bubblewrap is missing: install"
        ):
            grade_notebook(empty, tmp_path / "test_99_x.py", tmp_path, b"", "seed")
    finally:
        kernel_process.sandbox_problem.cache_clear()


def test_a_bubblewrap_that_cannot_start_says_why(monkeypatch):
    kernel_process.sandbox_problem.cache_clear()
    monkeypatch.setattr("autograde.sandbox.bubblewrap.find_bwrap", lambda: "/bin/false")
    try:
        assert "does not start (no message): allow user namespaces" in str(kernel_process.sandbox_problem())
    finally:
        kernel_process.sandbox_problem.cache_clear()
