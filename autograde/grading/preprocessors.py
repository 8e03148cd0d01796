"""The nbgrader preprocessors: what the judge found is put in, and the score recorded. They fail closed."""

import copy
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveAutoGrades
from nbgrader.preprocessors.base import NbGraderPreprocessor
from nbgrader.utils import find_all_files
from traitlets import Bool, List, Unicode

from autograde import atomic_write
from autograde.cells import grade_id, scored_cells
from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import staleness
from autograde.grading.gradebook import held_back
from autograde.grading.in_progress import end
from autograde.grading.judged import NO_VERDICT, Judged, Task, judge, kit_of, read_judged
from autograde.grading.released import read_released
from autograde.grading.submission import copies_of, record, shown_points
from autograde.grading.submission_files import plain_files
from autograde.judging.verdict import NoVerdict, Result
from autograde.notebooks import content_of

Resources = dict[str, Any]
Pair = tuple[NotebookNode, Resources]
ANSWERED = "answered"  # in the place of what was: of a cell, nbgrader asks whether it is as it was released
CHANGED = "What its verdict depends on changed while it was graded: run again."


def convert_once(converter: Autograde, path: str) -> None:
    """nbgrader's Autograde.convert_single_notebook: the steps see the release, never what was handed in.

    The notebook that is written is the one that a confined process made.
    """
    resources = converter.init_single_notebook_resources(path)
    lesson, course = resources["nbgrader"]["assignment"], Course.at(Path(converter.coursedir.root))
    if not course.released(lesson).exists():
        raise CourseError(f"{lesson} was not released here: run `autograde release` first.")
    converter.exporter._preprocessors = []
    for step in (*converter.sanitize_preprocessors, *converter.autograde_preprocessors):
        converter.exporter.register_preprocessor(step)
    resources |= {"submitted": path, "output_extension": converter.exporter.file_extension}
    nb = copy.deepcopy(read_released(course, lesson))
    for step in converter.exporter._preprocessors:
        nb, resources = step(nb, resources)
    converter.write_single_notebook(resources["graded"], resources)


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


class RunAndJudge(_Step):
    """Writes text and number into the release's test cells, and hands over the notebook that is kept.

    `judged` is what came of the submission, judged.Judged as text; without it, it is judged here and now.
    `expected` is the key, as JSON, that this was decided by.
    """

    judged = Unicode().tag(config=True)
    expected = Unicode().tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Resources) -> Pair:
        """Raises CourseError where there is no notebook, no kernel or no verdict."""
        names = resources["nbgrader"]
        key = self._key(names)
        path = Path(resources["submitted"])
        found = read_judged(self.judged) if self.judged else self._judge(path, names, key)
        if json.dumps(asdict(self._key(names))) != (self.expected or json.dumps(asdict(key))):
            raise CourseError(CHANGED)
        record(nb, found.result)
        for cell in nb.cells:
            if grade_id(cell) in found.answered:
                cell.source = ANSWERED
        resources |= {"verdict": found.result, "key": key, "graded": found.notebook}
        return nb, resources

    def _key(self, names: dict[str, str]) -> staleness.Key:
        held_against = staleness.ingredients(self.course, names["assignment"])
        return staleness.key(held_against, self.folder(self.coursedir.submitted_directory, names))

    def _judge(self, path: Path, names: dict[str, str], key: staleness.Key) -> Judged:
        lesson = names["assignment"]
        task = Task(names["student"], str(path), content_of(path), [], "", key.excused, alone=True)
        with copies_of(files_beside(self.parent.parent, path.parent, lesson)) as files:
            return judge(kit_of(self.course, lesson), task, files)


def files_beside(converter: Autograde, submission: Path, lesson: str) -> dict[str, Path]:
    """The files beside a notebook, by name, as nbgrader has them: the submission's, then the lesson's."""
    coursedir = converter.coursedir
    ignored = [*coursedir.ignore, "*.ipynb"]
    found = {os.path.relpath(path, submission): path for path in plain_files(str(submission), ignored)}
    source = coursedir.format_path(coursedir.source_directory, ".", lesson)
    own = {os.path.relpath(path, source): path for path in find_all_files(source, ignored)}
    kept = converter.exclude_overwriting.get(lesson, [])
    found |= {name: path for name, path in own.items() if name not in kept}
    return {name: Path(path) for name, path in found.items()}


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
