"""The nbgrader preprocessors: rebuild a submission, run and judge it, record the score. They fail closed."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.converters.base import BaseConverter
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveAutoGrades
from nbgrader.preprocessors.base import NbGraderPreprocessor
from traitlets import Bool, List, Unicode

from autograde import atomic_write
from autograde.cells import maximum_points, scored_cells
from autograde.course import Course, hidden_tests
from autograde.errors import CourseError
from autograde.grading import staleness, term
from autograde.grading.gradebook import held_back
from autograde.grading.in_progress import end
from autograde.grading.preload import imports
from autograde.grading.rebuild import rebuild
from autograde.grading.released import read_released
from autograde.grading.submission import course_secret, grade_notebook, record, shown_points
from autograde.grading.submission_files import MAX_CELLS
from autograde.judging.verdict import NoVerdict, Result, read_result
from autograde.notebooks import read_submission
from autograde.pages.sanitise import sanitise

Resources = dict[str, Any]
Pair = tuple[NotebookNode, Resources]
NO_VERDICT = "There is no verdict of the judge for this submission; nothing was recorded."


def convert_once(converter: Autograde, path: str) -> None:
    """nbgrader's Autograde.convert_single_notebook, without writing and reading the notebook in between."""
    converter.exporter._preprocessors = []
    # nbconvert would read UTF-8 alone, and say of others what nobody understands
    converter.exporter.from_filename = lambda name, resources: converter.exporter.from_notebook_node(
        read_submission(Path(name)), resources
    )
    for step in (*converter.sanitize_preprocessors, *converter.autograde_preprocessors):
        converter.exporter.register_preprocessor(step)
    BaseConverter.convert_single_notebook(converter, path)


class _Step(NbGraderPreprocessor):
    @property
    def coursedir(self) -> CourseDirectory:
        """nbgrader's folders: the preprocessor belongs to an exporter, which belongs to a converter."""
        return self.parent.parent.coursedir

    @property
    def course(self) -> Course:
        """The course whose folder nbgrader works in."""
        return Course.at(Path(self.coursedir.root))

    def folder(self, directory: str, names: dict[str, str]) -> Path:
        """The folder of the submission below nbgrader's `directory`."""
        return Path(self.coursedir.format_path(directory, names["student"], names["assignment"]))


class Rebuild(_Step):
    """First of the sanitizers: the notebook as it was released, with the learner's own sources in it."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> Pair:
        """Raises CourseError where the lesson was not released here."""
        names = resources["nbgrader"]
        if not self.course.released(names["assignment"]).exists():
            raise CourseError(f"{names['assignment']} was not released here: run `autograde release` first.")
        if len(nb.cells) > MAX_CELLS:
            raise CourseError(f"The notebook has more than {MAX_CELLS} cells: not graded.")
        rebuilt = rebuild(nb, read_released(self.course, names["assignment"]))
        for note in rebuilt.notes:
            self.log.warning("%s, %s: %s", names["student"], names["assignment"], note)
        resources["rebuilt"] = rebuilt
        return rebuilt.notebook, resources


class RunAndJudge(_Step):
    """Runs the cells, has the hidden tests judge them and writes text and number into the test cells.

    With `again` only these exercises are judged; the others keep what `before` has, a verdict file's text.
    `expected` is the key, as JSON, that this was decided by.
    """

    again = List(Unicode()).tag(config=True)
    before = Unicode().tag(config=True)
    expected = Unicode().tag(config=True)
    alone = Bool(True, help="Whether no other submission is graded beside it.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Resources) -> Pair:
        """Raises CourseError where the notebook was not rebuilt, or there is no kernel or no verdict."""
        names, rebuilt = resources["nbgrader"], resources.get("rebuilt")
        if rebuilt is None:
            raise CourseError("The notebook was not rebuilt from the release: nothing is graded.")
        folder = self.folder(self.coursedir.autograded_directory, names)
        key = self._key(names)
        result = self._decide(self._grade(nb, folder, names), rebuilt.hints, names["assignment"])
        if json.dumps(asdict(self._key(names))) != (self.expected or json.dumps(asdict(key))):
            raise CourseError("What its verdict depends on changed while it was graded: run again.")
        sanitise(nb)  # before nbconvert checks what a kernel may have forged, and refuses all of it
        record(nb, result)
        nbformat.validate(nb, relax_add_props=True)  # before a score is saved
        resources |= {"verdict": result, "key": key}
        return nb, resources

    def _key(self, names: dict[str, str]) -> staleness.Key:
        held_against = staleness.ingredients(self.course, names["assignment"])
        return staleness.key(held_against, self.folder(self.coursedir.submitted_directory, names))

    def _grade(self, nb: NotebookNode, folder: Path, names: dict[str, str]) -> Result:
        lesson, secret = names["assignment"], course_secret(self.course.grading)
        seed = f"{lesson}\0{names['student']}"
        own = [self.course.grading, self.course.sources, self.course.root / "work"]
        modules, wanted = imports(read_released(self.course, lesson)), self.again or None
        tests = hidden_tests(lesson)
        return grade_notebook(nb, tests, folder, secret, seed, own, modules=modules, exercises=wanted)

    def _decide(self, result: Result, hints: dict[str, list[str]], lesson: str) -> Result:
        """The result with the exercises that are kept, hints, and full points for what is excused."""
        kept = read_result(self.before.encode()).exercises if self.again else {}
        excused = term.of_lesson(self.course, lesson).excused
        judged = {**kept, **result.exercises}
        order = maximum_points(read_released(self.course, lesson))
        scores = {name: judged[name].excuse() if name in excused else judged[name] for name in order}
        return replace(result, exercises=scores, hints=hints, delayed=result.delayed and not self.alone)


class Record(_Step, SaveAutoGrades):
    """Saves the scores, but only those that the judge gave in this run: no verdict is an error.

    same: whether the submission is the one that was graded before. Then what a grader gave stands, unless the
    automatic points changed; else all of it is to be looked at again, extra points and comments, too.
    look_at: graded cells of which it is to be looked at again in any case.
    """

    same = Bool(False).tag(config=True)
    look_at = List(Unicode()).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Resources) -> Pair:
        """Raises NoVerdict where a test cell does not show the judge's own number.

        All are one change of the gradebook; nbgrader makes two for each exercise, and waits for the disk. The
        verdict's file is written last: where it is, the gradebook has it.
        """
        result: Result | None = resources.get("verdict")
        if result is None:
            raise NoVerdict(NO_VERDICT)
        for name, cell in scored_cells(nb).items():
            shown = [o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result"]
            if shown != [shown_points(result, name)]:
                raise NoVerdict(NO_VERDICT)
        names = resources["nbgrader"]
        self.notebook_id, self.assignment_id = names["notebook"], names["assignment"]
        self.student_id, self.commented = names["student"], set[str]()
        with Gradebook(names["db_url"]) as self.gradebook, held_back(self.gradebook) as commit:
            for index, cell in enumerate(nb.cells):
                self.preprocess_cell(cell, resources, index)
            for grade in self.gradebook.find_submission_notebook(*self._place()).grades:
                grade.needs_manual_grade |= grade.name.removeprefix("test-") in self.commented
            commit()
        whose = {name: value for name, value in names.items() if name != "db_url"}
        folder = self.folder(self.coursedir.autograded_directory, names)
        path = folder / f"{names['notebook']}.verdict.json"
        atomic_write.write(path, result.text(**whose, key=asdict(resources["key"])))
        end(folder, names["notebook"])
        return nb, resources

    def _place(self) -> tuple[str, str, str]:
        return self.notebook_id, self.assignment_id, self.student_id

    def _add_score(self, cell: NotebookNode, resources: Resources) -> None:
        grade = self.gradebook.find_grade(cell.metadata.nbgrader.grade_id, *self._place())
        points, waited = grade.auto_score, grade.needs_manual_grade
        super()._add_score(cell, resources)
        given = grade.manual_score is not None or bool(grade.extra_credit)
        if self.same:
            changed = points != grade.auto_score and grade.needs_manual_grade
            grade.needs_manual_grade = waited or changed or (given and grade.name in self.look_at)
        elif grade.extra_credit:
            grade.needs_manual_grade = True

    def _add_comment(self, cell: NotebookNode, resources: Resources) -> None:
        super()._add_comment(cell, resources)
        name = cell.metadata.nbgrader.grade_id
        if not self.same and self.gradebook.find_comment(name, *self._place()).manual_comment:
            self.commented.add(name)
