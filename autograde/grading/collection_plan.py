"""Whose each collected file is, by its name and the roster, and which of a student's files counts."""

import filecmp
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from autograde.grading.archives import Found
from autograde.grading.lms_names import Sender, Unclear, read_name
from autograde.grading.roster import Person
from autograde.grading.student_names import PLAIN, plain_name, printable

LOST_IN_MOODLE = re.compile(r"""[\s_&<>"'`|:\\/]+""")  # what a name loses in its names of files
NUMBERED = re.compile(r"(.+) \(\d+\)")  # the folder of one of several people of a name


@dataclass(frozen=True)
class Skipped:
    """A file, or several, that went into no submission, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """The file that counts of a student's, and what its name says."""

    path: Path
    sender: Sender
    shown: str


@dataclass
class Plan:
    """Whose file goes where: a choice by student, and the files that go nowhere."""

    choices: dict[str, Choice] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


_File = tuple[Found, Sender]


def make_plan(
    found: Iterable[Found], lesson: str, people: Mapping[str, Person], collected: Collection[str]
) -> Plan:
    """Whose the files are, and which counts of each student's.

    people: the roster. collected: the names of those who have a folder: a namesake of theirs gets another.
    """
    plan, notebooks, others = Plan(), list[_File](), list[_File]()
    for file in found:
        try:
            sender = read_name(file.parts, lesson, people)
        except Unclear as error:
            plan.skipped.append(Skipped(file.shown, file.reason or str(error)))
        else:
            (notebooks if file.path else others).append((file, sender))
    whose = _Whose(people, [sender for _, sender in notebooks], collected)
    by_student = defaultdict[str, list[_File]](list)
    for file, sender in notebooks:
        try:
            by_student[whose.student(sender)].append((file, sender))
        except Unclear as error:
            plan.skipped.append(Skipped(file.shown, str(error)))
    for student, files in sorted(by_student.items()):
        _choose(student, files, plan)
    plan.skipped += whose.in_doubt()
    with_notebook = {choice.sender.person for choice in plan.choices.values()}
    plan.skipped += [
        Skipped(file.shown, file.reason) for file, one in others if one.person not in with_notebook
    ]
    return plan


class _Whose:
    """Finds students' ids."""

    def __init__(
        self, people: Mapping[str, Person], senders: Sequence[Sender], collected: Collection[str]
    ) -> None:
        self.people, self.collected = people, collected
        self.by_number, self.by_name = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
        self.namesakes = defaultdict[tuple[str, str], set[str]](set)
        self.numbered = {_loose(found[1]) for name in collected if (found := NUMBERED.fullmatch(name))}
        for person in people.values():
            self.by_number[person.lms_user_id].add(person.id)
            for name in (f"{person.first_name}{person.last_name}", f"{person.last_name}{person.first_name}"):
                self.by_name[_loose(name)].add(person.id)
        self.heads = {one.person for one in senders if one.lms == "Blackboard"}
        for sender in senders:
            self.namesakes[sender.lms, _loose(sender.name)].add(sender.person)

    def student(self, sender: Sender) -> str:
        """The id of the student whose a file is. Raises Unclear."""
        matches = self._on_roster(sender)
        if len(matches) > 1:
            raise Unclear(f"may be from any of {', '.join(sorted(matches))}")
        if matches:
            return matches.pop()
        if self._is_alone(sender) and not (sender.is_full_name and sender.name in self.people):
            return _plain(sender.name)
        if sender.number:
            return _plain(f"{sender.name} ({sender.number})")
        raise Unclear(
            f"is not the only one of {printable(sender.name, 40)!r}: enter the roster, or rename it"
        )

    def in_doubt(self) -> Iterator[Skipped]:
        """Folders from before a second person of the name was known: they may be of either."""
        for (lms, name), people in self.namesakes.items():
            ids = {one for one in self.collected if _loose(one) == name}
            ids |= self.by_name[name] & set(self.collected) if lms == "Moodle" else set()
            for student in sorted(ids) if len(people) > 1 else ():
                yield Skipped(
                    f"submitted/{student}", f"is of one of {len(people)} people of this name: move it"
                )

    def _on_roster(self, sender: Sender) -> set[str]:
        """The ids of those on the roster who may have sent it. A full name that two have is nobody's."""
        if sender.lms == "Canvas":
            # behind the second stands what the sender called the file
            return {student for number in sender.numbers[:2] for student in self.by_number[number]}
        if sender.lms == "Moodle":
            found = self.by_name[_loose(sender.name)]
            return set(found) if len(found) == 1 and self._is_alone(sender) else set()
        if sender.lms == "Blackboard":
            return self._of_blackboard(sender)
        return {one for one in sender.ids if one in self.people}

    def _of_blackboard(self, sender: Sender) -> set[str]:
        """Ids on the roster that may stand behind a name of the assignment that nobody knows.

        What all names begin with is the assignment's: the user's id is what follows, or longer. So nobody is
        taken for one with whose id theirs ends. Raises Unclear where one file alone does not tell.
        """
        known = [one for one in sender.ids if one in self.people]
        if known and len(sender.ids) > 1:
            firsts = zip(*(head.split("_") for head in self.heads), strict=False)
            common = len(list(takewhile(lambda pieces: len(set(pieces)) == 1, firsts)))
            least = len(sender.ids) - common if len(self.heads) > 1 else len(sender.ids)
            known = [one for one in known if len(one.split("_")) >= least]
            if not known:
                raise Unclear(
                    "may be of one on the roster, or of one whose id ends so: name it after its user"
                )
        return set(known)

    def _is_alone(self, sender: Sender) -> bool:
        """Whether nobody else has this name, in these archives or in those of before."""
        name = _loose(sender.name)
        before = sender.is_full_name and name in self.numbered
        return len(self.namesakes[sender.lms, name]) == 1 and not before


def _loose(name: str) -> str:
    """A name without what differs between a roster and Moodle's names of files."""
    return LOST_IN_MOODLE.sub("", name).casefold()


def _plain(name: str) -> str:
    if not plain_name(name):
        raise Unclear(f"would be of {printable(name, 40)!r}, where {PLAIN}")
    return name


def _choose(student: str, files: Sequence[_File], plan: Plan) -> None:
    """Enter into the plan which of a student's files counts, and that others do not."""
    best = _newest(files)
    if best is None or best[0].path is None:
        shown = ", ".join(file.shown for file, _ in files)
        reason = f"are all of {student}, and none is known to be the newest: give the one that counts"
        plan.skipped.append(Skipped(shown, reason))
        return
    counts, sender = best
    plan.choices[student] = Choice(best[0].path, sender, counts.shown)
    plan.skipped += [
        Skipped(file.shown, f"{counts.shown} counts instead") for file, _ in files if file is not counts
    ]


def _newest(files: Sequence[_File]) -> _File | None:
    """By Blackboard's times, by Canvas's numbers of uploads of one name; None where neither tells."""
    senders = [sender for _, sender in files]
    times = [one.when for one in senders if one.when]
    uploads = [(one.person, *one.upload) for one in senders if one.upload]
    newest = list(files)
    if len(times) == len(files):
        newest = [pair for pair in files if pair[1].when == max(times)]
    elif len(uploads) == len(files) and len({upload[:2] for upload in uploads}) == 1:
        last = max(number for *_, number in uploads)
        newest = [pair for pair in files if pair[1].upload and pair[1].upload[1] == last]
    return newest[0] if all(_same(newest[0][0], file) for file, _ in newest[1:]) else None


def _same(one: Found, other: Found) -> bool:
    return bool(one.path and other.path and filecmp.cmp(one.path, other.path, shallow=False))
