"""The protocol between hidden tests and a learner's answers, over both transports."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell

from autograde.checks import array, number
from autograde.errors import Died, StudentError, TimedOut, Unusable
from autograde.judging.in_process import in_process
from autograde.judging.student import Ask, Missing, Raised, Student
from autograde.sandbox.kernel_process import KernelFactory
from autograde.sandbox.limits import Limits
from autograde.sandbox.session import Session

CODE = """import os
import torch


class Counter:
    def __init__(self, start=0):
        self.count = start
        self.inner = self

    def add(self, n):
        self.count += n
        return self.count

    def __eq__(self, other):
        return True


class Liar(float):
    def __eq__(self, other):
        return True


def double(x):
    return 2 * x


def apply(function, x):
    return function(x)


def touch(x):
    x *= 0
    return x


def layout(x):
    return list(x.stride())


def noise(generator):
    return torch.rand(3, generator=generator)


def integers(generator):
    return generator.integers(0, 1000, 4)


def energy(x, scale):
    return scale * (x**2).sum(-1)


def fail(kind):
    text = "the secret is 42"
    raise {"value": ValueError, "own": type("Own", (ValueError,), {}), "key": KeyError}[kind](text)


def stub():
    raise NotImplementedError


def leave():
    raise SystemExit


def loop():
    while True:
        try:
            while True:
                pass
        except Exception:
            pass


def pair():
    return Counter(5), 1.0


with open("note.txt", "w") as file:
    file.write("twelve bytes")
os.mkdir("folder")
os.symlink("/etc", "folder/link")
os.symlink("/etc/passwd", "passwd")
"""
DIE = "def die():\n    import os\n    os._exit(3)"
LIMITS = replace(Limits(), call=1)


@pytest.fixture(scope="module", params=["in process", "kernel"])
def ask(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    folder: Path = tmp_path_factory.mktemp("cwd")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in process":
            patch.chdir(folder)
            namespace: dict[str, object] = {}
            exec(CODE, namespace)
            yield in_process(namespace, LIMITS.call)
            return
        with Session(LIMITS, partial(KernelFactory(LIMITS).start, folder)) as session:
            assert session.run(new_code_cell(CODE))
            session.run(new_code_cell(DIE))
            yield session.ask


@pytest.fixture
def student(ask: Ask) -> Student:
    return Student(ask)


def test_only_what_is_kept_has_to_be_forgotten(ask):
    asked = []
    student = Student(lambda request: asked.append(request) or ask(request))
    for answer, given, questions in (("double", 3, 0), ("Counter", 5, 1), ("double", 3, 0)):
        getattr(student, answer)(given)
        asked.clear()
        student.reset()
        assert len(asked) == questions


def test_values_come_back_with_their_type(student):
    assert student.double(3) == 6
    assert student.double("ab") == "abab"
    x = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(student.double(x), 2 * x)
    assert student.double(x=np.float32([1, 2])).dtype == np.float32


def test_arguments_are_copies(student):
    x = np.ones(3)
    assert student.touch(x).tolist() == [0, 0, 0]
    assert x.tolist() == [1, 1, 1]


def test_strides_arrive(student):
    x = torch.zeros(4, 6).T[::2]
    assert student.layout(x) == list(x.stride())


def test_objects_stay_behind_handles(student):
    counter = student.Counter(start=2)
    counter.add(3)
    assert counter.inner.add(1) == 6
    assert student.value(counter.count) == 6
    other, one = student.pair()
    assert one == 1.0 and other.add(1) == 6
    assert student.apply(student.define("def f(c):\n    return c.count + 1"), counter) == 7


@pytest.mark.parametrize(
    "use",
    [
        bool,
        float,
        int,
        len,
        list,
        np.asarray,
        lambda h: h == 1,
        lambda h: 1 == h,  # noqa: SIM300 - the order is the point
        lambda h: h != 1,
        lambda h: h < 1,
        lambda h: 1 in h,
        lambda h: h + 1,
        lambda h: 1 * h,
        lambda h: h[0],
        lambda h: -h,
        lambda h: h in [1, 2],
        lambda h: pytest.approx(1.0) == h,
        lambda h: np.allclose(h, 1),
        lambda h: torch.as_tensor(h),
        lambda h: number(h),
        lambda h: array(h),
    ],
)
def test_a_handle_decides_nothing(student, use):
    for handle in (student.Counter(), student.Counter):
        with pytest.raises((Unusable, TypeError)):
            use(handle)


def test_an_attribute_is_fetched_before_it_is_passed_on(student):
    counter = student.Counter()
    with pytest.raises(TypeError, match="fetch"):
        student.double(counter.count)


def test_define_hands_over_a_function(student):
    assert student.apply(student.define("import math\n\ndef f(x):\n    return math.pow(x, 2)"), 3.0) == 9


def test_grad_is_the_gradient(student):
    x, scale = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 10.0])
    assert torch.allclose(student.grad(student.energy, 0, x, scale), 2 * x * scale[:, None])
    assert torch.allclose(student.grad(student.energy, 1, x, scale), (x**2).sum(-1))


def test_generators_are_seeded(student):
    expected = torch.rand(3, generator=torch.Generator().manual_seed(7))
    assert torch.equal(student.noise(student.generator(7)), expected)
    expected = np.random.default_rng(7).integers(0, 1000, 4)
    assert np.array_equal(student.integers(student.generator(7, "numpy")), expected)


def test_read_stays_inside_and_follows_no_link(student):
    assert student.read("note.txt", 100) == b"twelve bytes"
    with pytest.raises(Unusable):
        student.read("note.txt", 3)
    for path in ("missing", "passwd", "folder/link/passwd", "folder", "../../etc/passwd", "/etc/passwd"):
        with pytest.raises(Raised):
            student.read(path, 10**6)


def test_raises_is_satisfied_by_the_kind_alone(student):
    student.raises(ValueError, student.fail, "value")
    student.raises(ValueError, student.fail, "own")
    with pytest.raises(Raised):
        student.raises(ValueError, student.fail, "key")
    with pytest.raises(Raised):
        student.raises(RuntimeError, student.stub)
    with pytest.raises(Raised):
        student.raises(Exception, student.stub)
    with pytest.raises(AssertionError):
        student.raises(ValueError, student.double, 1)
    with pytest.raises(TimedOut):
        student.raises(BaseException, student.loop)
    with pytest.raises(Missing):
        student.raises(Exception, student.nowhere)


def test_an_error_tells_class_and_line_and_nothing_else(student):
    with pytest.raises(Raised) as caught:
        student.fail("value")
    assert caught.value.reason == "Your code raised ValueError.", "graded, it says no more"
    with pytest.raises(Raised) as caught:
        Student(student._transport, lines=True).fail("value")
    line = CODE.splitlines().index(
        '    raise {"value": ValueError, "own": type("Own", (ValueError,), {}), "key": KeyError}[kind](text)'
    )
    assert caught.value.reason == f"Your code raised ValueError at line {line + 1} of its cell."
    with pytest.raises(Raised) as caught:
        student.fail("own")
    assert "Own" not in caught.value.reason and "42" not in str(caught.value.reason)
    with pytest.raises(Raised) as caught:
        student.stub()
    assert "Not answered yet" in caught.value.reason
    with pytest.raises(Raised):
        student.leave()


def test_a_missing_name_says_so(student):
    with pytest.raises(Missing, match="nowhere"):
        student.nowhere(1)


def test_a_number_that_lies_stays_a_handle(student):
    with pytest.raises(Unusable):
        assert student.Liar(1.0) == 5


def test_a_call_without_end_times_out_and_the_next_one_works(student):
    with pytest.raises(TimedOut):
        student.loop()
    assert student.double(2) == 4


def test_a_death_is_reported_and_the_kernel_comes_back(tmp_path):
    with Session(LIMITS, partial(KernelFactory(LIMITS).start, tmp_path)) as session:
        session.run(new_code_cell(DIE + "\n\ndef double(x):\n    return 2 * x"))
        student = Student(session.ask)
        with pytest.raises(Died):
            student.die()
        assert student.double(2) == 4
        with pytest.raises(Died):
            student.raises(BaseException, student.die)
        assert session.cells.left > LIMITS.notebook - 60  # what the cells may cost is not touched


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "null",
        '{"d": []}',
        '{"d": [["ok", null], ["error", null]]}',
        '{"d": [["error", null]]}',
        '{"d": [["unusable", null]]}',
        '{"d": [["error", {"d": [["kinds", null], ["line", "x"]]}]]}',
        '{"d": [["error", {"d": [["kinds", {"l": [null]}], ["line", {"i": "-0x1"}]]}]]}',
    ],
)
def test_a_forged_reply_is_an_error_of_the_student(reply):
    with pytest.raises(StudentError) as caught:
        Student(lambda _: reply).f()
    assert "None" not in caught.value.reason
