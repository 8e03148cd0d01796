"""Which answers to an exercise are alike: the same, or the same with other names, comments and layout.

A fingerprint is a run of RUN tokens (winnowing with a window of one: S. Schleimer, D. Wilkerson, A. Aiken,
Winnowing, SIGMOD 2003; answers are too short to leave any out). The library copydetect does it on characters,
layout and all, with one letter for every name, torch's too. A copy that was renamed and laid out anew keeps
as little as 2 % of them there, and independent answers have up to 5 % in common; here it is 69 % and 31 %.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy import sparse

from autograde.cells import grade_id
from autograde.course import Course
from autograde.notebooks import read_notebook
from autograde.report.handed_in import Released, answers, read_released
from autograde.report.normal_form import tokens

RUN = 6  # tokens of a fingerprint
LONG = 80  # tokens that a reference has beside what is released: fewer may well be written twice
SHORTEST = 30  # tokens that two answers share, to be listed
ALIKE = 0.5  # share of fingerprints, to be listed
COMMON = 1 / 3  # of the different answers: what more of them have, and at least FEW, tells nothing
FEW = 4
LISTED = 20
Tokens = tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """Answers to an exercise that are alike.

    sides: students whose answers are the same; two sides where one is only like the other.
    share: of the shorter one's fingerprints, those that the other has. tokens: how many these cover.
    sources: the first answer of each side, or two of one.
    """

    exercise: str
    sides: list[list[str]]
    share: float
    tokens: int
    sources: tuple[str, str]

    @property
    def shown(self) -> list[tuple[str, str]]:
        """Two students and their answers."""
        names = [side[0] for side in self.sides] if len(self.sides) > 1 else self.sides[0]
        return list(zip(names, self.sources, strict=False))


@dataclass(frozen=True)
class Similar:
    """Of a class.

    exercises: those that were compared. matches: the first LISTED of `found`, ranked.
    left_out: by student, why a notebook was not compared.
    """

    exercises: list[str]
    matches: list[Match]
    found: int
    left_out: dict[str, str]


def similar(course: Course, lesson: str) -> Similar:
    """All answers of a class to the long exercises. Raises CourseError where the lesson was not released."""
    paths = sorted(course.grading.glob(f"submitted/*/{lesson}/{lesson}.ipynb"))
    if len(paths) < 2:
        return Similar([], [], 0, {})
    released = read_released(read_notebook(course.released(lesson)))
    written: dict[str, dict[str, list[str]]] = {name: {} for name in released.exercises}
    left_out = {}
    for path in paths:
        student = path.parts[-3]
        try:
            for exercise, sources in answers(path, released).items():
                written[exercise][student] = sources
        except ValueError as error:
            left_out[student] = str(error)
    given = given_to_all(released)
    reference = read_notebook(course.instructors(lesson))
    solved = {grade_id(cell): cell.source for cell in reference.cells}
    long = long_exercises({name: solved[name] for name in released.exercises}, given)
    matches = ranked(chain.from_iterable(compare(name, written[name], given) for name in long), len(paths))
    return Similar(long, matches[:LISTED], len(matches), left_out)


def given_to_all(released: Released) -> frozenset[int]:
    """The fingerprints of the released code: whoever has these has not written them."""
    return frozenset(mark for source in released.sources for mark in _marks(tokens([source])))


def long_exercises(solved: Mapping[str, str], given: frozenset[int]) -> list[str]:
    """Of the references by exercise, the names of those that have LONG tokens beside what is released."""
    own = {name: Answer([], (source,), given) for name, source in solved.items()}
    return [name for name, answer in own.items() if answer.covered(answer.marks) >= LONG]


def compare(exercise: str, written: Mapping[str, Sequence[str]], given: frozenset[int]) -> Iterator[Match]:
    """The matches among the answers to an exercise (sources by student), in no order."""
    different = _different(written, given)
    for answer in different:
        if len(answer.students) > 1 and (length := answer.covered(answer.marks)) >= SHORTEST:
            yield Match(exercise, [answer.students], 1.0, length, (answer.texts[0], answer.texts[1]))
    for first, second, share in _pairs(different):
        shorter, longer = sorted((first, second), key=lambda answer: len(answer.marks))
        if share >= ALIKE and (length := shorter.covered(longer.marks)) >= SHORTEST:
            sides, sources = [first.students, second.students], (first.texts[0], second.texts[0])
            yield Match(exercise, sides, share, length, sources)


def ranked(matches: Iterable[Match], students: int) -> list[Match]:
    """By share, then by length; what much of a class of `students` wrote alike comes last."""

    def key(match: Match) -> tuple[bool, float, int]:
        crowd = sum(map(len, match.sides)) > max(FEW, COMMON * students)
        return crowd, -round(match.share, 2), -match.tokens

    return sorted(matches, key=key)


class Answer:
    """Of one or more students: its texts, and the fingerprints in it that nobody was given."""

    def __init__(self, students: list[str], sources: Sequence[str], given: frozenset[int]) -> None:
        self.students = students
        self.texts = ["\n\n\n".join(sources)]
        self.places = _marks(tokens(sources))
        self.marks = frozenset(self.places) - given

    def covered(self, marks: frozenset[int]) -> int:
        """How many of its tokens lie in fingerprints that are among `marks`, too."""
        shared = self.marks & marks
        return len({n + k for n, mark in enumerate(self.places) if mark in shared for k in range(RUN)})


def _different(written: Mapping[str, Sequence[str]], given: frozenset[int]) -> list[Answer]:
    """One for each that is not the same as another, without the fingerprints that are common."""
    found: dict[tuple[int, ...], Answer] = {}
    for student, sources in written.items():
        answer = Answer([student], sources, given)
        first = found.setdefault(tuple(answer.places), answer)
        if first is not answer:
            first.students.append(student)
            first.texts += answer.texts
    counts = Counter(mark for answer in found.values() for mark in answer.marks)
    most = max(FEW - 1, COMMON * len(found))
    common = frozenset(mark for mark, count in counts.items() if count > most)
    for answer in found.values():
        answer.marks -= common
    return list(found.values())


def _pairs(answers: Sequence[Answer]) -> Iterator[tuple[Answer, Answer, float]]:
    """Each two that share fingerprints, and the share, from a table of who has which."""
    numbers: dict[int, int] = {}
    columns = [[numbers.setdefault(mark, len(numbers)) for mark in answer.marks] for answer in answers]
    rows = np.repeat(np.arange(len(answers)), [len(each) for each in columns])
    flat = np.fromiter(chain.from_iterable(columns), dtype=int, count=len(rows))
    has = sparse.csr_array((np.ones(len(rows), int), (rows, flat)), (len(answers), max(1, len(numbers))))
    both = sparse.triu(has @ has.T, k=1).tocoo()
    for i, j, count in zip(both.row, both.col, both.data, strict=True):
        yield answers[i], answers[j], count / min(len(answers[i].marks), len(answers[j].marks))


def _marks(text: Tokens) -> list[int]:
    """The fingerprint of each run of tokens, in order: numbers that mean something in this process only."""
    return [hash(text[n : n + RUN]) for n in range(len(text) - RUN + 1)]
