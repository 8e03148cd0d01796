"""What Moodle, Canvas, Blackboard and people hand out reaches the right folder, or is named."""

import datetime as dt
import io
import itertools
import stat
import tarfile
import unicodedata
import zipfile

import pytest
from small_course import NAME, course

from autograde.errors import CourseError, UsageError
from autograde.grading import archives, term
from autograde.grading.collecting import collect
from autograde.grading.roster import Person, enter

__all__ = ["course"]

MOODLE = "{}_assignsubmission_file_"
ATTEMPT = "2026-11-28-10-30-00"
number = itertools.count()


@pytest.fixture
def ready(course):
    """The course with its lesson released, as far as collecting looks."""
    course.released(NAME).parent.mkdir(parents=True)
    course.released(NAME).write_text("{}")
    return course


def zipped(folder, *names, **contents):
    """A zip of files, each with its name for content unless told otherwise: a new one each time."""
    path = folder / f"archive{next(number)}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
        for name, content in contents.items():
            archive.writestr(f"{name}.ipynb", content)
    return path


def submitted(course):
    """The content of every notebook handed in, by student."""
    paths = (course.grading / "submitted").glob(f"*/{NAME}/{NAME}.ipynb")
    return {path.parent.parent.name: path.read_text() for path in paths}


def students(course, tmp_path, *names):
    """Who is collected of an archive with these files, and the reasons of those that are not."""
    found = collect(course, NAME, [zipped(tmp_path, *names)])
    assert set(found.new + found.replaced + found.unchanged) <= set(submitted(course))
    return set(submitted(course)), {one.file.partition("/")[2]: one.reason for one in found.skipped}


@pytest.mark.parametrize(
    "name, student",
    (
        (MOODLE.format("Zoë Müller_12345") + f"{NAME}.ipynb", "Zoë Müller"),
        (MOODLE.format("Zoë Müller_12345") + f"/{NAME}.ipynb", "Zoë Müller"),
        ("Zoë Müller_12345_assignsubmission_file/my map (2).ipynb", "Zoë Müller"),
        (MOODLE.format("Zoë Müller_12345") + "/work/deep/other.ipynb", "Zoë Müller"),
        (f"liddellalice_12345_67890_{NAME}.ipynb", "liddellalice"),
        (f"liddellalice_LATE_12345_67890_{NAME}-1.ipynb", "liddellalice"),
        ("liddellalice_12345_67890_Map (1).ipynb", "liddellalice"),
        (f"anon_AbC12_67890_{NAME}.ipynb", "anon_AbC12"),
        (f"{NAME}_alice_attempt_{ATTEMPT}_{NAME}.ipynb", "alice"),
        (f"Homework 1_alice_attempt_{ATTEMPT}_x.ipynb", "alice"),
        *(
            (f"{name}.ipynb", "alice")
            for name in ("alice", f"alice_{NAME}", f"{NAME}_alice", "alice_90-small")
        ),
        *(
            (f"alice_{NAME}{added}.ipynb", "alice")
            for added in (" (2)", "(2)", "-1", "_1", " copy", "-Copy1")
        ),
        *((f"alice{added}.ipynb", "alice") for added in (" (2)", " copy 2")),
        ("alice_1.ipynb", "alice_1"),
        (f"alice/{NAME}.ipynb", "alice"),
        (f"alice/{NAME} (1).IPYNB", "alice"),
        (f"alice/{NAME}/{NAME}.ipynb", "alice"),
        (f"{NAME}/alice.ipynb", "alice"),
        ("प्रिया.ipynb", "प्रिया"),
        (unicodedata.normalize("NFD", "José") + ".ipynb", "José"),
    ),
)
def test_names_of_every_kind_are_read(ready, tmp_path, name, student):
    assert students(ready, tmp_path, name) == ({student}, {})
    assert submitted(ready)[student] == name


@pytest.mark.parametrize("name", [f"{NAME}.ipynb", ".ipynb", " .ipynb", "a'b.ipynb", "a\u202eb.ipynb"])
def test_a_name_that_names_nobody_is_said(ready, tmp_path, name):
    path = zipped(tmp_path, name)
    path = path.rename(tmp_path / "-.zip")
    found = collect(ready, NAME, [path])
    assert len(found.skipped) == 1 and submitted(ready) == {}
    assert found.skipped[0].file.isprintable()


@pytest.mark.parametrize(
    "name",
    (
        *(f"__MACOSX/._{NAME}.ipynb", f"alice/._{NAME}.ipynb", ".DS_Store", "alice/"),
        f"alice/.ipynb_checkpoints/{NAME}-checkpoint.ipynb",
    ),
)
def test_what_systems_lay_beside_files_is_no_submission(ready, tmp_path, name):
    assert students(ready, tmp_path, "bob.ipynb", name) == ({"bob"}, {})


@pytest.mark.parametrize(
    "own, other",
    (
        (f"carrollbob_5_6_{MOODLE.format('Alice Liddell_1')}{NAME}.ipynb", "carrollbob"),
        (f"carrollbob_5_6_alice_attempt_{ATTEMPT}_{NAME}.ipynb", "carrollbob"),
        (f"carrollbob_5_6_liddellalice_12345_7_{NAME}.ipynb", "carrollbob"),
        (f"{NAME}_bob_attempt_{ATTEMPT}_x_alice_attempt_2026-01-01-00-00-00_{NAME}.ipynb", "bob"),
        (MOODLE.format("Bob_5") + f"alice_attempt_{ATTEMPT}_{NAME}.ipynb", "Bob"),
        (MOODLE.format("Bob_5") + f"/{MOODLE.format('Alice Liddell_1')}/{NAME}.ipynb", "Bob"),
    ),
)
def test_a_file_that_looks_like_anothers_stays_its_senders(ready, tmp_path, own, other):
    enter(ready, [Person("alice", "Alice", "Liddell", lms_user_id="12345")])
    found = collect(ready, NAME, [zipped(tmp_path, own)])
    assert found.new == [other] == found.not_on_roster and "alice" not in submitted(ready)


def test_a_folder_of_a_student_holds_nobody_elses(ready, tmp_path):
    found, reasons = students(ready, tmp_path, f"bob/{MOODLE.format('Alice_1')}/{NAME}.ipynb")
    assert found == set() and "lies in a folder 'bob'" in next(iter(reasons.values()))


def test_the_roster_turns_names_into_ids(ready, tmp_path):
    enter(
        ready, [Person("alice", "Alice", "O'Liddell", "", "12345"), Person("zoë", "Zoë", "Müller", "", "7")]
    )
    names = (MOODLE.format("Alice OLiddell_3") + "x.ipynb", f"mullerzoe_7_8_{NAME}.ipynb", "bob.ipynb")
    found = collect(ready, NAME, [zipped(tmp_path, *names)])
    assert found.new == ["alice", "bob", "zoë"] and found.not_on_roster == ["bob"]
    turned = MOODLE.format("Müller Zoë_9") + "x.ipynb"
    assert collect(ready, NAME, [zipped(tmp_path, turned)]).replaced == ["zoë"]


@pytest.mark.parametrize("roster", [[], [Person("alice", "Anna", "Müller")]])
def test_two_people_of_one_name_stay_apart(ready, tmp_path, roster):
    enter(ready, roster)
    names = [MOODLE.format(f"{name}") + "x.ipynb" for name in ("Anna Müller_1", "Anna Müller_2")]
    assert students(ready, tmp_path, *names)[0] == {"Anna Müller (1)", "Anna Müller (2)"}
    assert students(ready, tmp_path, names[1])[0] == {"Anna Müller (1)", "Anna Müller (2)"}
    canvas = [f"mulleranna_{one}_6_{NAME}.ipynb" for one in "12"]
    assert students(ready, tmp_path, *canvas)[0] >= {"mulleranna (1)", "mulleranna (2)"}


@pytest.mark.parametrize("roster", [[], [Person("anna", "Anna", "Müller")]])
def test_a_folder_from_before_the_second_of_a_name_is_in_doubt(ready, tmp_path, roster):
    enter(ready, roster)
    names = [MOODLE.format(f"{name}") + "x.ipynb" for name in ("Anna Müller_1", "Anna Müller_2")]
    (before,) = collect(ready, NAME, [zipped(tmp_path, names[0])]).new
    found = collect(ready, NAME, [zipped(tmp_path, *names)])
    assert found.new == ["Anna Müller (1)", "Anna Müller (2)"]
    assert [one.file for one in found.skipped] == [f"submitted/{before}"]


def test_users_of_one_ending_are_told_apart_by_the_roster_only(ready, tmp_path):
    names = [f"HW_{one}_smith_attempt_{ATTEMPT}_x.ipynb" for one in "jk"]
    found, reasons = students(ready, tmp_path, *names)
    assert found == set() and all("enter the roster" in reason for reason in reasons.values())
    enter(ready, [Person("j_smith", "J", "Smith"), Person("k_smith", "K", "Smith")])
    assert students(ready, tmp_path, *names)[0] == {"j_smith", "k_smith"}


def test_a_full_name_that_is_anothers_id_goes_into_another_folder(ready, tmp_path):
    enter(ready, [Person("alice", "Alice", "Liddell", "", "12345")])
    names = (MOODLE.format("alice_3") + "x.ipynb", f"alice_4_5_{NAME}.ipynb", f"anon_x_5_{NAME}.ipynb")
    assert students(ready, tmp_path, *names)[0] == {"alice (3)", "alice (4)", "anon_x"}


def test_a_canvas_name_that_ends_in_anothers_number_is_refused(ready, tmp_path):
    enter(ready, [Person("alice", "A", "L", "", "12345"), Person("bob", "B", "C", "", "5")])
    found, reasons = students(ready, tmp_path, f"bob_12345_5_67890_{NAME}.ipynb")
    assert found == set() and reasons == {f"bob_12345_5_67890_{NAME}.ipynb": "may be from any of alice, bob"}


@pytest.mark.parametrize(
    "older, newer",
    (
        (f"HW_alice_attempt_{ATTEMPT}_x.ipynb", "HW_alice_attempt_2026-11-29-08-00-00_a.ipynb"),
        (f"alice_1_30_{NAME}.ipynb", f"alice_1_20_{NAME}-1.ipynb"),
        (f"alice_1_30_{NAME}-2.ipynb", f"alice_1_20_{NAME}-10.ipynb"),
    ),
)
def test_the_newest_of_a_students_files_counts(ready, tmp_path, older, newer):
    for names in ((older, newer), (newer, older)):
        found, reasons = students(ready, tmp_path, *names)
        assert found == {"alice"} and submitted(ready)["alice"] == newer
        assert list(reasons) == [older] and "counts instead" in reasons[older]


@pytest.mark.parametrize(
    "names",
    (
        (f"alice/{NAME}.ipynb", "alice/other.ipynb"),
        ("alice.ipynb", "alice (1).ipynb"),
        (f"alice_1_30_{NAME}.ipynb", "alice_1_31_other.ipynb"),
        (f"HW_alice_attempt_{ATTEMPT}_x.ipynb", f"HW_alice_attempt_{ATTEMPT}_y.ipynb"),
    ),
)
def test_where_none_is_known_to_be_the_newest_both_are_named(ready, tmp_path, names):
    found, reasons = students(ready, tmp_path, *names, "bob.ipynb")
    assert found == {"bob"}
    ((files, reason),) = reasons.items()
    assert all(name in files for name in names) and "none is known to be the newest" in reason


def test_two_files_with_the_same_content_are_one(ready, tmp_path):
    path = zipped(tmp_path, alice="same", **{"alice (1)": "same"})
    assert collect(ready, NAME, [path]).new == ["alice"]


def test_blackboards_time_is_kept_and_a_students_own_word_is_not(ready, tmp_path):
    names = (
        f"{NAME}_alice_attempt_{ATTEMPT}_x.ipynb",
        f"{NAME}_alice_attempt_{ATTEMPT}.txt",
        "bob/timestamp.txt",
    )
    found = collect(ready, NAME, [zipped(tmp_path, *names, "bob/x.ipynb")])
    when = dt.datetime(2026, 11, 28, 10, 30).astimezone()
    assert found.received == {"alice": when} and found.skipped == []
    kept = term.of_lesson(ready, NAME).received
    assert list(kept) == ["alice"] and kept["alice"].source == "Blackboard"
    assert dt.datetime.fromisoformat(kept["alice"].time) == when
    notebook = ready.grading / "submitted" / "alice" / NAME / f"{NAME}.ipynb"
    assert kept["alice"].notebook == term.notebook_digest(notebook)
    assert [path.name for path in (ready.grading / "submitted").rglob("*.txt")] == []


def test_a_blackboard_time_that_is_none(ready, tmp_path):
    assert students(ready, tmp_path, f"{NAME}_alice_attempt_2026-13-28-10-30-00_x.ipynb")[0] == set()


def test_canvas_says_late_without_a_time(ready, tmp_path):
    found = collect(ready, NAME, [zipped(tmp_path, f"alice_LATE_1_2_{NAME}.ipynb", f"bob_3_4_{NAME}.ipynb")])
    assert found.late == ["alice"] and found.received == {} == term.of_lesson(ready, NAME).received
    assert any(line.startswith("Late") and "alice" in line for line in found.lines())


def test_who_sent_no_notebook_is_said_and_others_files_are_not(ready, tmp_path):
    names = ("Alice_1_assignsubmission_file_/work.zip", "Bob_2_assignsubmission_file_/work.pdf")
    _, reasons = students(ready, tmp_path, *names, "Bob_2_assignsubmission_file_/x.ipynb")
    assert list(reasons) == [names[0]] and "unpack it" in reasons[names[0]]


def test_a_newer_archive_replaces_what_changed_and_loses_nothing(ready, tmp_path):
    first = collect(ready, NAME, [zipped(tmp_path, alice="1", bob="1")])
    own = ready.grading / "submitted" / "alice" / NAME / "data.txt"
    own.write_text("by hand")
    second = collect(ready, NAME, [zipped(tmp_path, alice="2", bob="1", zoë="1")])
    third = collect(ready, NAME, [zipped(tmp_path, alice="3")])
    assert (first.new, second.new, third.new) == (["alice", "bob"], ["zoë"], [])
    assert (second.replaced, second.unchanged, third.replaced) == (["alice"], ["bob"], ["alice"])
    assert submitted(ready) == {"alice": "3", "bob": "1", "zoë": "1"} and own.read_text() == "by hand"
    place = ready.grading / "downloaded" / NAME
    assert {path.name: path.read_text() for path in (place / "replaced").iterdir()} == {
        "alice-1.ipynb": "1",
        "alice-2.ipynb": "2",
    }
    assert len(list((place / "earlier").iterdir())) == 2 and len(list((place / "archive").iterdir())) == 1
    assert sorted(path.name for path in place.iterdir()) == ["archive", "earlier", "replaced"]


def test_without_archives_what_lies_there_is_collected(ready, tmp_path):
    with pytest.raises(CourseError, match="Nothing to collect"):
        collect(ready, NAME)
    collect(ready, NAME, [zipped(tmp_path, alice="1")])
    assert collect(ready, NAME).unchanged == ["alice"]


def test_folders_tars_and_notebooks_are_collected_too(ready, tmp_path):
    folder = tmp_path / "unpacked"
    (folder / "Alice_1_assignsubmission_file_").mkdir(parents=True)
    (folder / "Alice_1_assignsubmission_file_" / "x.ipynb").write_text("1")
    (folder / "link.ipynb").symlink_to(ready.released(NAME))
    own = tmp_path / "zoë"
    own.mkdir()
    (own / f"{NAME}.ipynb").write_text("1")
    with tarfile.open(tmp_path / "more.tar.gz", "w:gz") as archive:
        archive.add(own / f"{NAME}.ipynb", "bob.ipynb")
    (tmp_path / "carol.ipynb").write_text("1")
    paths = [folder, own, tmp_path / "more.tar.gz", tmp_path / "carol.ipynb"]
    assert collect(ready, NAME, paths).new == ["Alice", "bob", "carol", "zoë"]
    assert collect(ready, NAME).unchanged == ["Alice", "bob", "carol", "zoë"]


def test_archives_of_one_name_are_told_apart(ready, tmp_path):
    for section, student in (("one", "alice"), ("two", "bob")):
        (tmp_path / section).mkdir()
        zipped(tmp_path, **{student: "1"}).rename(tmp_path / section / "submissions.zip")
    paths = [tmp_path / section / "submissions.zip" for section in ("one", "two")]
    assert collect(ready, NAME, paths).new == ["alice", "bob"]


@pytest.mark.parametrize(
    "name", ["alice.zip", "alice_1_2_work.zip", "Alice_1_assignsubmission_file_work.zip"]
)
def test_an_archive_of_one_student_is_all_that_students(ready, tmp_path, name):
    enter(ready, [Person("alice", "Alice", "", "", "1"), Person("bob", "Bob", "", "", "3")])
    path = zipped(tmp_path, f"bob_3_4_{NAME}.ipynb").rename(tmp_path / name)
    (student,) = collect(ready, NAME, [path]).new
    assert student.casefold() == "alice"


@pytest.mark.parametrize(
    "name", ["../alice.ipynb", "/alice.ipynb", "a/../../b.ipynb", "..\\alice.ipynb", "\\x.txt"]
)
def test_names_that_lead_out_are_refused(ready, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    path = zipped(tmp_path, "bob.ipynb", name)
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    for hostile in (path, tmp_path / "t.tar.gz"):
        with pytest.raises(CourseError, match="leads out of the archive") as caught:
            collect(ready, NAME, [hostile])
        assert "\n" not in str(caught.value)
    left = set(tmp_path.rglob("*")) - {*before, path, tmp_path / "t.tar.gz"}
    assert {one.name for one in left} <= {"downloaded", NAME} and submitted(ready) == {}


def test_bombs_are_refused(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 2 << 20)
    monkeypatch.setattr(archives, "MAX_BYTES", 5 << 20)
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    big = zipped(tmp_path, bob="1")
    with zipfile.ZipFile(big, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("alice.ipynb", bytes(3 << 20))
        archive.writestr("data.bin", bytes(9 << 20))  # never unpacked
    found = collect(ready, NAME, [big])
    assert found.new == ["bob"] and found.skipped[0].reason.startswith("is larger than")
    many = zipped(tmp_path, **{f"s{one}": bytes(1 << 20) for one in range(6)})
    countless = zipped(tmp_path, *(f"{one}.txt" for one in range(21)))
    deep = tmp_path / "deep.tar.gz"
    with tarfile.open(deep, "w:gz") as archive:
        member = tarfile.TarInfo("data.bin")
        member.size = 9 << 20
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    for bomb in (many, countless, deep):
        with pytest.raises(CourseError, match="is refused: it holds more than"):
            collect(ready, NAME, [bomb])
    assert set(submitted(ready)) == {"bob"}


def test_members_that_cannot_be_unpacked_cost_nobody_else(ready, tmp_path):
    path = zipped(tmp_path, alice="1" * 1000, bob="1")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1" * 1000, b"2" * 1000))  # its checksum is wrong now
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("carol.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr(f"{'x' * 300}.ipynb", "1")
        archive.writestr("a/" * 300 + "x.ipynb", "1")
    found = collect(ready, NAME, [path])
    assert found.new == ["bob"] and len(found.skipped) == 4
    assert all(len(line) < 400 and line.isprintable() for line in found.lines())


@pytest.mark.parametrize("name", ["broken.zip", "broken.tar.gz", "broken.rar", "none.zip"])
def test_what_is_no_archive_is_one_line(ready, tmp_path, name):
    if name != "none.zip":
        (tmp_path / name).write_bytes(b"PK no archive")
    with pytest.raises((CourseError, UsageError)) as caught:
        collect(ready, NAME, [tmp_path / name])
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert not (ready.grading / "downloaded" / NAME / "archive").exists()


def test_a_member_that_is_there_twice(ready, tmp_path):
    path = zipped(tmp_path, "alice.ipynb")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("alice.ipynb", "2")
    with pytest.raises(CourseError, match="is there twice"):
        collect(ready, NAME, [path])


def test_macs_names_in_utf_8_are_read(ready, tmp_path):
    path = zipped(tmp_path, **{"ZZZ": "1"})
    path.write_bytes(path.read_bytes().replace(b"ZZZ.ipynb", "Zë.ipynb".encode()))
    assert collect(ready, NAME, [path]).new == ["Zë"]


def test_a_notebook_that_is_a_link_is_left(ready, tmp_path):
    target = ready.grading / "submitted" / "alice" / NAME / f"{NAME}.ipynb"
    target.parent.mkdir(parents=True)
    target.symlink_to(ready.released(NAME))
    found = collect(ready, NAME, [zipped(tmp_path, alice="1")])
    assert found.new == [] and "is a link or a folder" in found.skipped[0].reason
    assert ready.released(NAME).read_text() == "{}"


def test_a_lesson_that_was_not_released(course, tmp_path):
    with pytest.raises(CourseError, match="was not released"):
        collect(course, NAME, [zipped(tmp_path, alice="1")])


def test_numbers_in_the_name_that_a_sender_chose_are_nobodys(ready, tmp_path):
    enter(ready, [Person("bob", "Bob", "Ray", "", "777")])
    found = collect(ready, NAME, [zipped(tmp_path, "evemallory_12345_67890_777_1_x.ipynb")])
    assert "bob" not in submitted(ready) and found.not_on_roster == found.new


def test_nobody_is_taken_for_one_with_whose_id_theirs_ends(ready, tmp_path):
    enter(ready, [Person("smith", "S", "Smith"), Person("alice", "A", "Lee")])
    names = [f"Essay_{user}_attempt_{ATTEMPT}_x.ipynb" for user in ("j_smith", "alice")]
    assert students(ready, tmp_path, *names)[0] == {"alice"}
    assert students(ready, tmp_path, names[0])[0] == {"alice"}, "one file alone does not tell"
    both = [f"Essay_{user}_attempt_{ATTEMPT}_x.ipynb" for user in ("smith", "alice")]
    assert students(ready, tmp_path, *both)[0] == {"alice", "smith"}
