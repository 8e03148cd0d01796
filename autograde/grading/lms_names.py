"""What the names of files from Moodle, Canvas, Blackboard and people say: whose each is, and from when.

Moodle: mod/assign/classes/downloader.php. Canvas: lib/content_zipper.rb. Blackboard's source is not open: its
names are those of many archives. A student chooses only the end of a name; so the first part decides, always.
"""

import datetime as dt
import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from autograde.grading.archives import FOLDER, TAR, ZIP
from autograde.grading.student_names import same_name

ARCHIVES = (*ZIP, *TAR, FOLDER)
MOODLE = re.compile(r"(?P<name>[^_]+)(?:_(?P<number>\d+))?_assignsubmission_file(?:_.*)?", re.DOTALL)
# Name, LATE, the person's number, the file's number. A name that ends in a number makes it one longer.
CANVAS = re.compile(
    r"(?P<name>[^ .,@+=()~-]+?)(?P<late>_LATE)?_(?P<numbers>[1-9]\d*(?:_[1-9]\d*)+)_(?P<file>.+)", re.DOTALL
)
ANONYMOUS = re.compile(r"(?P<late>LATE_)?(?P<name>anon_[A-Za-z0-9]+)_[1-9]\d*_(?P<file>.+)", re.DOTALL)
BLACKBOARD = re.compile(r"(?P<head>.+?)_attempt_(?P<time>\d{4}(?:-\d\d){5})(?:[_.].*)?", re.DOTALL)
SECOND_UPLOAD = re.compile(r"-(\d{1,3})$")
# What browsers and systems put behind a name: surely theirs, or perhaps a part of it.
PUT_BEHIND = r" ?\(\d{1,2}\)|[ -][Cc]opy(?: ?\d{1,2})?"
SURELY_ADDED = re.compile(rf"(?:{PUT_BEHIND}){{1,4}}$")
ADDED = re.compile(rf"(?:{PUT_BEHIND}|[-_]\d{{1,2}}){{1,4}}$")


class Unclear(ValueError):
    """A name does not say whose the file is; its text is the reason."""


@dataclass(frozen=True)
class Sender:
    """Whose a file is, as its name says.

    lms: "Moodle", "Canvas", "Blackboard", or "" for a plain name. name: as it is written.
    person: what tells this one from others of the same name. number: the LMS's for this person, or "".
    ids: what the person's id may be. numbers: what Canvas's number of the person may be.
    when: the time of handing in, local. late: whether Canvas says so.
    upload: Canvas's name of the file, and its number among uploads of this name.
    """

    lms: str
    name: str
    person: str
    number: str = ""
    ids: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    when: dt.datetime | None = None
    late: bool = False
    upload: tuple[str, int] | None = None

    @property
    def is_full_name(self) -> bool:
        """Whether the name is a person's, which others may have, and no id."""
        return self.lms in ("Moodle", "Canvas")


def read_name(parts: Sequence[str], lesson: str, known: Container[str]) -> Sender:
    """Whose a file is, from its path below the folder of archives; `known` has the ids of the roster.

    A first part that is an archive's name counts where it is an LMS's or a known student's, or where nothing
    inside names anybody. Raises Unclear.
    """
    inside, archive = [same_name(part) for part in parts], ""
    if len(inside) > 1 and inside[0].lower().endswith(ARCHIVES):
        archive = _without(inside.pop(0), ARCHIVES)
        own = _from_lms(archive, lesson)
        if own or any(one in known for one in _plain_ids(archive, lesson)):
            return own or _plain(archive, lesson)
    for wrapper in (archive, lesson):
        if len(inside) > 1 and _is(inside[0], wrapper):
            del inside[0]
    first = inside[0] if len(inside) > 1 else _stem(inside[0])
    if found := _from_lms(first, lesson):
        return found
    if any(_from_lms(_stem(part), lesson) for part in inside[1:]):
        raise Unclear(f"it lies in a folder {first!r}, which no LMS makes: give what is in that folder")
    if _is(first, lesson) and archive:
        first = archive
    return _plain(first, lesson)


def _from_lms(text: str, lesson: str) -> Sender | None:
    kinds: tuple[Callable[[str, str], Sender | None], ...] = (_moodle, _canvas, _anonymous, _blackboard)
    return next((found for kind in kinds if (found := kind(text, lesson))), None)


def _moodle(text: str, lesson: str) -> Sender | None:
    found = MOODLE.fullmatch(text)
    if not found:
        return None
    name, number = same_name(found["name"]), found["number"] or ""
    return Sender("Moodle", name, f"{name}_{number}", number)


def _canvas(text: str, lesson: str) -> Sender | None:
    """Its number of the person is the first, unless the name ends in a number: then a roster has to tell."""
    before = _ends_with(lesson, ADDED.sub("", text))  # else its number could be taken for the file's
    found = CANVAS.fullmatch(f"{before}_it" if before else text)
    if not found:
        return None
    name, numbers = found["name"], tuple(found["numbers"].split("_")[:-1])
    late, upload = bool(found["late"]), _upload(text, found["file"])
    return Sender("Canvas", name, f"{name}_{numbers[0]}", numbers[0], (), numbers, None, late, upload)


def _anonymous(text: str, lesson: str) -> Sender | None:
    found = ANONYMOUS.fullmatch(text)
    if not found:
        return None
    name, upload = found["name"], _upload(text, found["file"])
    return Sender("Canvas", name, name, late=bool(found["late"]), upload=upload)


def _upload(text: str, file: str) -> tuple[str, int]:
    """The name of an upload of Canvas, and which of this name it is: Canvas puts -1 behind a second one."""
    again = SECOND_UPLOAD.search(text)
    return SECOND_UPLOAD.sub("", file), int(again[1]) if again else 0


def _blackboard(text: str, lesson: str) -> Sender | None:
    found = BLACKBOARD.fullmatch(text)
    if not found:
        return None
    try:
        when = dt.datetime.strptime(found["time"], "%Y-%m-%d-%H-%M-%S").astimezone()
    except (ValueError, OverflowError, OSError):
        raise Unclear(f"{found['time']} is no time") from None
    head = found["head"]
    behind = re.fullmatch(f"{_pattern(lesson)}_(.+)", head)
    ids = (behind[1],) if behind else tuple(_ends(head))
    return Sender("Blackboard", ids[0], head, ids=ids, when=when)


def _ends(head: str) -> Iterator[str]:
    """What may be the user's name behind the name of the assignment, the shortest first."""
    pieces = head.split("_")
    for count in range(1, len(pieces) + 1):
        yield "_".join(pieces[-count:])


def _plain(text: str, lesson: str) -> Sender:
    ids = _plain_ids(text, lesson)
    if not ids:
        raise Unclear("its name names nobody")
    return Sender("", ids[0], ids[0], ids=ids)


def _plain_ids(text: str, lesson: str) -> tuple[str, ...]:
    """What the student's id may be, the likeliest first: alice, alice_LESSON, LESSON_alice; () for LESSON."""
    if _is(text, lesson):
        return ()
    for shown in (text, ADDED.sub("", text)):
        if name := _ends_with(lesson, shown):
            return (name,)
    behind = re.fullmatch(f"{_pattern(lesson)}[_ -](.+)", text, re.DOTALL)
    name = same_name(behind[1] if behind else text)
    likely = SURELY_ADDED.sub("", name)
    return tuple(dict.fromkeys(one for one in (likely, ADDED.sub("", name), name) if one))


def _ends_with(lesson: str, text: str) -> str:
    """What stands before the lesson's name at the end of a text; "" where it does not end so."""
    found = re.fullmatch(f"(.+)[_ -]{_pattern(lesson)}", text, re.DOTALL)
    return same_name(found[1]) if found else ""


def _is(text: str, lesson: str) -> bool:
    return any(re.fullmatch(_pattern(lesson), shown) for shown in (text, ADDED.sub("", text)))


def _pattern(lesson: str) -> str:
    """The lesson's name, also with spaces or hyphens in the place of its underscores."""
    return "(?i:" + "[_ -]".join(re.escape(piece) for piece in lesson.split("_")) + ")"


def _stem(name: str) -> str:
    return _without(name, (".ipynb",))


def _without(name: str, endings: tuple[str, ...]) -> str:
    return next((name[: -len(end)] for end in endings if name.lower().endswith(end)), name)
